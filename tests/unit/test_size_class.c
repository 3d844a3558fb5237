/* SPDX-License-Identifier: MIT */
/*
 * The rules of size classes against the allocator of this system, and against what allocators document.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "reader/size_class.h"
#include "draw.h"

static uint64_t random_state = 88172645463325252u;

static unsigned draw(unsigned below)
{
	return (unsigned)draw_below(&random_state, below);
}

/* What the allocator under this test gives must be what the rule says. */
static void glibc_takes_what_the_rule_says(void **state)
{
	const struct size_classes classes = { .heap = SIZE_RULE_GLIBC, .python = SIZE_RULE_GLIBC, .page_size = 4096 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();
#endif
	static char *blocks[6000];
	unsigned larger = 0;

	for (unsigned i = 0; i < 6000; i++) {
		const uint64_t size = i < 4000 ? i : draw(1 << (10 + draw(14)));
		blocks[i] = malloc(size);
		const uint64_t given = size_class_given(&classes, false, size, (uint64_t)(uintptr_t)blocks[i]);
		const bool mapped = given >= 128 * 1024 && given % 4096 == 0;
		/* Its header is not usable: one word, and two where it is a mapping of its own. */
		const uint64_t really = malloc_usable_size(blocks[i]) + (mapped ? 16 : 8);

		/* A free chunk of which less than a chunk would be left is given whole. */
		assert_in_range(really, given, given + 16);
		larger += really > given;
	}
	for (unsigned i = 0; i < 6000; i++)
		free(blocks[i]);
	assert_true(larger < 60);
}

static void size_classes_are_those_that_allocators_document(void **state)
{
	const struct size_classes py = { .heap = SIZE_RULE_GLIBC, .python = SIZE_RULE_PYMALLOC, .page_size = 4096 };
	const struct size_classes debug = { .heap = SIZE_RULE_GLIBC, .python = SIZE_RULE_PYMALLOC, .python_extra = 24,
		.page_size = 4096 };
	const struct size_classes je = { .heap = SIZE_RULE_QUARTERS, .python = SIZE_RULE_QUARTERS, .page_size = 4096 };
	const struct size_classes none = { .page_size = 4096 };
	static const uint64_t quarters[] = { 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
		640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288,
		14336, 16384, 20480 };
	unsigned class = 0;

	assert_int_equal(size_class_given(&py, true, 0, 0), 16);
	assert_int_equal(size_class_given(&py, true, 33, 0), 48);
	assert_int_equal(size_class_given(&py, true, 512, 0), 512);
	assert_int_equal(size_class_given(&py, true, 513, 0), 528);
	assert_int_equal(size_class_given(&py, false, 33, 0), 48);
	assert_int_equal(size_class_given(&debug, true, 33, 0), 64);
	assert_int_equal(size_class_given(&none, false, 33, 0), 0);
	assert_true(size_class_in_pool(&py, true, 512));
	assert_false(size_class_in_pool(&py, true, 513));
	assert_false(size_class_in_pool(&py, false, 100));
	assert_false(size_class_in_pool(&debug, true, 500));
	/* jemalloc's own list of classes. */
	for (uint64_t size = 1; size <= 20480; size++) {
		while (quarters[class] < size)
			class++;
		assert_int_equal(size_class_given(&je, false, size, 0), quarters[class]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(glibc_takes_what_the_rule_says),
		cmocka_unit_test(size_classes_are_those_that_allocators_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
