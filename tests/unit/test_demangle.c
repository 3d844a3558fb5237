/* SPDX-License-Identifier: MIT */
/* Readable names, and that hostile ones end soon, within the buffer and within the stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "reader/demangle.h"
#include "reader/rust_v0.h"

struct example {
	const char *mangled, *readable;
};

static void check_examples(const struct example *examples, size_t count)
{
	char out[4096];
	for (size_t i = 0; i < count; i++) {
		if (!demangle(examples[i].mangled, out, sizeof(out)))
			fail_msg("not taken for a mangled name: %s", examples[i].mangled);
		assert_string_equal(out, examples[i].readable);
	}
}

#define CHECK_EXAMPLES(examples) check_examples(examples, sizeof(examples) / sizeof((examples)[0]))

static void cxx_names_are_readable(void **state)
{
	static const struct example examples[] = {
		{ "_Z3foov", "foo" },
		{ "_Z3fooiPKc", "foo" },
		{ "_ZN5outer5inner3barEi", "outer::inner::bar" },
		{ "_ZNSt6vectorIiSaIiEE7reserveEm", "std::vector<int, std::allocator<int> >::reserve" },
		{ "_ZN12_GLOBAL__N_16hiddenEv", "(anonymous namespace)::hidden" },
		{ "_ZN3FooC4Ev", "Foo::Foo" },
		{ "_ZN3FooD0Ev", "Foo::~Foo" },
		{ "_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()" },
		{ "_ZnwmSt11align_val_t", "operator new" },
		{ "_Z3maxIdET_S0_S0_", "max<double>" },
		{ "_ZN3foo3barEv.part.0", "foo::bar" },
		{ "_ZN3foo3barEv.constprop.0.isra.0", "foo::bar" },
	};
	CHECK_EXAMPLES(examples);
}

static void legacy_rust_names_lose_their_hash(void **state)
{
	static const struct example examples[] = {
		{ "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt" },
		{ "_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
			"<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop" },
		{ "_ZN4main4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE.llvm.1234567",
			"main::main::{{closure}}" },
	};
	CHECK_EXAMPLES(examples);
}

static void v0_rust_names_are_readable(void **state)
{
	static const struct example examples[] = {
		{ "_RNvC6_123foo3bar", "123foo::bar" },
		{ "_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar" },
		{ "_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_", "cc::spawn::{closure#0}::{closure#0}" },
		{ "_RINbNbCskIICzLVDPPb_5alloc5alloc8box_freeDINbNiB4_5boxed5FnBoxuEp6OutputuEL_ECs1iopQbuBiw2_3std",
			"alloc::alloc::box_free::<dyn alloc::boxed::FnBox<(), Output = ()>>" },
		{ "_RMC0INtC8arrayvec8ArrayVechKj7b_E", "<arrayvec::ArrayVec<u8, 123>>" },
		{ "_RNvNtCs1234_7mycrate3foo3bar.llvm.123", "mycrate::foo::bar" },
		{ "_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y",
			"utf8_idents::\xe1\x83\xa1\xe1\x83\x90\xe1\x83\xad\xe1\x83\x9b\xe1\x83\x94\xe1\x83\x9a\xe1\x83\x90"
			"\xe1\x83\x93_\xe1\x83\x92\xe1\x83\x94\xe1\x83\x9b\xe1\x83\xa0\xe1\x83\x98\xe1\x83\x94\xe1\x83\x9a"
			"\xe1\x83\x98_\xe1\x83\xa1\xe1\x83\x90\xe1\x83\x93\xe1\x83\x98\xe1\x83\x9a\xe1\x83\x98" },
	};
	CHECK_EXAMPLES(examples);
}

static void other_names_stay_as_they_are(void **state)
{
	static const char *const names[] = { "", "_", "_Z", "_R", "main", "_start", "_Zzzz", "_RX", "malloc",
		"PyObject_Malloc", "_ZN", "_RNvC", "Z3foov", "\xff\xfe", "_GLOBAL_OFFSET_TABLE_" };
	char out[256];
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_false(demangle(names[i], out, sizeof(out)));
		assert_string_equal(out, names[i]);
	}
}

static void what_does_not_fit_is_cut_and_says_so(void **state)
{
	char out[64];
	memset(out, 'x', sizeof(out));
	assert_true(demangle("_ZNSt6vectorIiSaIiEE7reserveEm", out, 16));
	assert_string_equal(out, "std::vector<...");
	assert_int_equal(out[16], 'x');
	assert_false(demangle("a_rather_long_name", out, 8));
	assert_string_equal(out, "a_ra...");
	for (size_t size = 1; size <= 4; size++) {
		memset(out, 'x', sizeof(out));
		demangle("_ZNSt6vectorIiSaIiEE7reserveEm", out, size);
		assert_true(strlen(out) < size);
		assert_int_equal(out[size], 'x');
	}
	assert_false(demangle("main", out, 0));
	demangle_copy("main", out, 5);
	assert_string_equal(out, "main");
}

static void a_cut_never_splits_a_character(void **state)
{
	char out[16];
	demangle_copy("ab\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80zzzzzzzz", out, 8);   /* room for ab, é; half of € */
	assert_string_equal(out, "ab\xc3\xa9...");
	demangle_copy("\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80", out, 10);
	assert_string_equal(out, "\xf0\x9f\x98\x80...");
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Demangles within a second and within the buffer, or fails the test. */
static bool check_hostile(const char *name)
{
	char *out = malloc(4096);
	assert_non_null(out);
	double start = seconds();
	bool mangled = demangle(name, out, 4096);
	assert_true(memchr(out, '\0', 4096) != NULL);
	assert_true(seconds() - start < 1);
	free(out);
	return mangled;
}

static char *repeat(const char *before, const char *part, size_t count, const char *after)
{
	size_t size = strlen(part);
	char *text = malloc(strlen(before) + size * count + strlen(after) + 1), *at;
	assert_non_null(text);
	at = stpcpy(text, before);
	for (size_t i = 0; i < count; i++)
		at = stpcpy(at, part);
	strcpy(at, after);
	return text;
}

static void names_of_all_lengths_end_soon(void **state)
{
	static const char *const parts[] = { "P", "N1a", "I1a", "F", "St", "1aI", "XadL_Z", "S_", "T_", "R", "A1_", "Dp",
		"1aIRT_E", "RT_1aI", "DTcl", "Z1a", "UlvE_", "K", "N", "LZ", "J", "sr", "fp_", "_Z", "B1a", "C1", "cv" };
	static const size_t counts[] = { 10, 100, 160, 300, 500, 1000, 2000, 4000, 11000 };
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (size_t j = 0; j < sizeof(counts) / sizeof(counts[0]); j++) {
			char *name = repeat("_Z1f", parts[i], counts[j], "v");
			check_hostile(name);
			free(name);
			name = repeat("_Z1fI", parts[i], counts[j], "E");
			check_hostile(name);
			free(name);
			name = repeat("_ZN1f", parts[i], counts[j], "E");
			check_hostile(name);
			free(name);
		}
	}
}

static void names_longer_than_a_kilobyte_are_readable(void **state)
{
	char *name = repeat("_ZN", "9namespace", 150, "3barEv"), out[8192];
	assert_true(demangle(name, out, sizeof(out)));
	assert_true(strncmp(out, "namespace::namespace::", 22) == 0);
	assert_string_equal(out + strlen(out) - 5, "::bar");
	free(name);
	name = repeat("_Z1fI", "St6vectorIiSaIiEE", 200, "Evv");
	assert_true(demangle(name, out, 4096));
	assert_string_equal(out + strlen(out) - 3, "...");
	free(name);
}

static void exponential_cxx_output_is_cut(void **state)
{
	/* Each pair consists of the one before, twice. */
	char name[4096] = "_Z1fISt4pairIiiE", *at = name + strlen(name);
	strcpy(name, "_Z1fIP1a");
	at = name + strlen(name);
	at = stpcpy(at, "St4pairIS0_S0_E");
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	for (int i = 2; i < 34; i++)
		at += sprintf(at, "St4pairIS%c_S%c_E", digits[i], digits[i]);
	strcpy(at, "Evv");
	check_hostile(name);
}

static void exponential_rust_output_is_cut(void **state)
{
	/* _RINvC1a1f T u u E  T B_ B_ E ... : each tuple refers twice to the one before. */
	char name[4096] = "_RINvC1a1f";
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t before = strlen(name) - 2;
	strcat(name, "TuuE");
	for (int i = 0; i < 60; i++) {
		char reference[8];
		size_t here = strlen(name) - 2;
		if (before == 0)
			strcpy(reference, "B_");
		else if (before - 1 < 62)
			sprintf(reference, "B%c_", digits[before - 1]);
		else
			sprintf(reference, "B%c%c_", digits[(before - 1) / 62], digits[(before - 1) % 62]);
		sprintf(name + strlen(name), "T%s%sE", reference, reference);
		before = here;
	}
	strcat(name, "E");
	assert_true(rust_v0_is_sound(name, strlen(name)));
	assert_true(check_hostile(name));
}

static void announced_lifetimes_are_not_counted_out(void **state)
{
	assert_true(rust_v0_is_sound("_RINvC1a1fFG_EuE", strlen("_RINvC1a1fFG_EuE")));
	assert_false(check_hostile("_RINvC1a1fFGzzzzzzzzzz_EuE"));
	/* In a part that is not printed: the crate that made the function, and the path of an impl. */
	assert_false(check_hostile("_RNvC1a1fINvC1a1fFGzzzzzzzzzz_EuE"));
	assert_false(check_hostile("_RNvMINvC1a1fFGzzzzzzzzzz_EuEu1f"));
	/* Behind a reference into an identifier. */
	assert_false(check_hostile("_RINvC35_MINvC1a1fFGzzzzzzzzzz_EuEuabcdefg1fB5_E"));
}

static void references_lead_back_to_something(void **state)
{
	static const char *const bad[] = { "_RINvC1a1fB_E", "_RB_", "_RINvC1a1fB9_E", "_RINvC1a1fBzzzzzzzzzzzzzzzz_E",
		"_RINvC1a1fTB8_EE" };
	/* "B_" is the whole name's own start: a name inside itself. */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(check_hostile(bad[i]));
}

static void deep_rust_names_are_refused(void **state)
{
	for (size_t count = 100; count <= 32000; count += 4000) {
		char *name = repeat("_RINvC1a1f", "R", count, "uE");
		assert_int_equal(check_hostile(name), count < RUST_V0_DEPTH_MAX);
		free(name);
		name = repeat("_RINvC1a1f", "T", count, "");
		assert_false(check_hostile(name));
		free(name);
	}
}

static void random_names_stay_within_bounds(void **state)
{
	static const char alphabet[] = "_ZNRSTIEPKFLXDJABCMYGUOQsdhvijlmxyabc0123456789.$";
	uint64_t random = 0x9e3779b97f4a7c15u;
	for (int round = 0; round < 30000; round++) {
		char name[256], out[64];
		size_t size = 2 + (random >> 33) % 200;
		memcpy(name, round % 3 == 0 ? "_R" : round % 3 == 1 ? "_Z" : "_ZN", 3);
		for (size_t i = 2 + (round % 3 == 2); i < size; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			name[i] = alphabet[(random >> 33) % (sizeof(alphabet) - 1)];
		}
		name[size] = '\0';
		demangle(name, out, sizeof(out));
		assert_true(memchr(out, '\0', sizeof(out)) != NULL);
	}
}

static void *demangle_in_thread(void *context)
{
	names_longer_than_a_kilobyte_are_readable(NULL);
	exponential_cxx_output_is_cut(NULL);
	return NULL;
}

static void threads_do_not_meet(void **state)
{
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, demangle_in_thread, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cxx_names_are_readable),
		cmocka_unit_test(legacy_rust_names_lose_their_hash),
		cmocka_unit_test(v0_rust_names_are_readable),
		cmocka_unit_test(other_names_stay_as_they_are),
		cmocka_unit_test(what_does_not_fit_is_cut_and_says_so),
		cmocka_unit_test(a_cut_never_splits_a_character),
		cmocka_unit_test(names_of_all_lengths_end_soon),
		cmocka_unit_test(names_longer_than_a_kilobyte_are_readable),
		cmocka_unit_test(exponential_cxx_output_is_cut),
		cmocka_unit_test(exponential_rust_output_is_cut),
		cmocka_unit_test(announced_lifetimes_are_not_counted_out),
		cmocka_unit_test(references_lead_back_to_something),
		cmocka_unit_test(deep_rust_names_are_refused),
		cmocka_unit_test(random_names_stay_within_bounds),
		cmocka_unit_test(threads_do_not_meet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
