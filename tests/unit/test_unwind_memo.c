/* SPDX-License-Identifier: MIT */
/*
 * A walk with the memo of the one before finds what a walk without one does, on stacks that no compiler would make.
 *
 * A made-up stack is full of return addresses and of saved bp, each in its own class of words:
 *
 *     16 * n       a place further up, likewise a multiple of 16
 *     16 * n + 8   a return address of which the rule is known; near the end one that has no caller
 *
 * So by rules whose sizes are multiples of 16 every walk finds its way up from wherever it begins, and stacks that
 * begin apart come together.  Between two walks a few words change, or only the place to begin or to end at does.
 */
#include "preload/lasting.h"
#include "preload/stack_native.h"
#include "preload/unwind.h"

#include "unwind_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { CAPACITY = 256, WORDS = 512, BOTTOM_WORDS = 128, WALKS = 300000, KINDS = 3, OF_A_KIND = 12 };

static _Alignas(struct native_frame) char memory[NATIVE_MEMORY(CAPACITY)], fresh_memory[NATIVE_MEMORY(CAPACITY)];
static uintptr_t *words, bottom, pcs[KINDS * OF_A_KIND];
void (*volatile cases_hook)(void);

/* By what a rule does with bp: it leaves it, it loads it, it counts from it. */
static int kind_of(uint32_t code)
{
	if (code == UNWIND_FRAME_POINTER)
		return 2;
	if (code & UNWIND_RARE || unwind_code_size(code) % 16 != 0 || unwind_code_slot(code) % 2 != 0 ||
			unwind_code_size(code) > 256)
		return -1;
	return unwind_code_slot(code) ? 1 : 0;
}

static void find_addresses(void)
{
	static cases_function *const builds[] = { cases_o2, cases_frame_pointers, cases_no_red_zone };
	unsigned found[KINDS] = { 0 };

	for (size_t i = 0; i < sizeof(builds) / sizeof(builds[0]); i++) {
		for (uintptr_t pc = (uintptr_t)builds[i]; pc < (uintptr_t)builds[i] + 4096; pc += 7) {
			int kind = kind_of(unwind_code(unwind_table(), unwind_generation(), pc));

			if (kind >= 0 && found[kind] < OF_A_KIND)
				pcs[kind * OF_A_KIND + found[kind]++] = pc;
		}
	}
	for (int kind = 0; kind < KINDS; kind++)
		assert_int_equal(found[kind], OF_A_KIND);
}

static uintptr_t random_word(uint64_t *random, uint32_t index)
{
	if (index % 2 == 0)
		return (uintptr_t)&words[index + 2 * (cases_random(random) % 16)];
	if (index >= WORDS - BOTTOM_WORDS)
		return bottom + 1;
	return pcs[cases_random(random) % (KINDS * OF_A_KIND)] + 1;
}

static uint32_t node_of(uint32_t parent, const struct native_frame *frame)
{
	uint32_t node = (parent + 1) * 2654435761u ^ (uint32_t)frame->pc * 40503u ^ (uint32_t)frame->sp;

	return node ? node : 1;
}

/* `walked` with the memo, `fresh` without.  Then its frames are given nodes, which those that are kept must have. */
static void compare(struct native_stack *walked, const struct native_stack *fresh)
{
	uint32_t node = 0;

	assert_int_equal(walked->count, fresh->count);
	assert_int_equal(walked->stopped, fresh->stopped);
	assert_int_equal(walked->guessed, fresh->guessed);
	assert_int_equal(walked->irregular, fresh->irregular);
	assert_true(walked->kept <= walked->count);
	for (uint32_t i = 0; i < walked->count; i++) {
		struct native_frame *frame = &walked->frames[i];

		assert_int_equal(frame->pc, fresh->frames[i].pc);
		assert_int_equal(frame->sp, fresh->frames[i].sp);
		assert_int_equal(frame->cfa, fresh->frames[i].cfa);
		if (frame->flags & NATIVE_BP_LIVE)
			assert_int_equal(frame->bp, fresh->frames[i].bp);
		node = node_of(node, frame);
		assert_int_equal(frame->node, i < walked->kept ? node : 0);
		frame->node = node;
	}
}

static void random_stacks_are_walked_with_a_memo_as_without(void **state)
{
	struct native_start start = { 0 };
	struct native_stack walked, fresh;
	unsigned long frames = 0, kept = 0;
	uintptr_t stop_cfa = 0;
	uint64_t random = 11;

	(void)state;
	find_addresses();
	native_init(&walked, memory, CAPACITY);
	for (uint32_t i = 0; i < WORDS; i++)
		words[i] = random_word(&random, i);
	for (unsigned i = 0; i < WALKS; i++) {
		uint32_t change = cases_random(&random) % 4, at = 2 * (cases_random(&random) % 40);

		for (uint32_t n = cases_random(&random) % 8; n < 3; n++) {
			uint32_t index = cases_random(&random) % (WORDS - BOTTOM_WORDS);

			words[index] = random_word(&random, index);
		}
		if (change <= 1) {
			start.sp = (uintptr_t)&words[at];
			start.pc = pcs[cases_random(&random) % (KINDS * OF_A_KIND)] + 1;
		}
		if (change <= 2)
			start.bp = start.sp + 16 * (cases_random(&random) % 16);
		if (cases_random(&random) % 32 == 0)
			stop_cfa = cases_random(&random) % 2 ? (uintptr_t)&words[100 + cases_random(&random) % 280] : 0;
		if (cases_random(&random) % 4096 == 0)
			unwind_modules_changed();
		native_walk(&walked, &start, stop_cfa);
		native_init(&fresh, fresh_memory, CAPACITY);
		memcpy(fresh.ranges, walked.ranges, sizeof(fresh.ranges));
		native_walk(&fresh, &start, stop_cfa);
		compare(&walked, &fresh);
		frames += walked.count;
		kept += walked.kept;
	}
	printf("           %lu frames, %lu kept\n", frames, kept);
	assert_true(kept * 4 > frames && kept < frames);
}

static void a_place_tells_without_a_walk_that_there_is_none(void **state)
{
	unsigned none = 0, some = 0;
	uint64_t random = 12;

	(void)state;
	find_addresses();
	for (uint32_t i = 0; i < WORDS; i++)
		words[i] = random_word(&random, i);
	for (unsigned i = 0; i < WALKS / 10; i++) {
		struct native_start learnt = { .pc = pcs[cases_random(&random) % (KINDS * OF_A_KIND)] + 1 }, start = learnt;
		struct native_place place = { 0 };
		struct native_stack fresh;

		learnt.sp = (uintptr_t)&words[2 * (cases_random(&random) % 40)];
		learnt.bp = learnt.sp + 16;
		start.sp = (uintptr_t)&words[2 * (cases_random(&random) % 40)];
		start.bp = start.sp + 16 * (cases_random(&random) % 16);
		const uintptr_t stop_cfa = start.sp + cases_random(&random) % 320;

		assert_false(native_place_stops(&place, &start, stop_cfa));
		if (!native_place_learn(&place, &learnt))
			continue;
		native_init(&fresh, fresh_memory, CAPACITY);
		native_walk(&fresh, &start, stop_cfa);
		assert_int_equal(native_place_stops(&place, &start, stop_cfa),
			fresh.count == 0 && fresh.end == NATIVE_END_BEYOND);
		none += fresh.count == 0;
		some += fresh.count != 0;
	}
	assert_true(none > 1000 && some > 1000);
}

/* The frame next to the innermost one counts from bp, and there is a caller in both places that bp may say. */
static void the_same_words_with_another_bp_are_another_stack(void **state)
{
	struct native_start start = { .sp = (uintptr_t)&words[16] };
	struct native_stack stack;
	uint64_t random = 5;

	(void)state;
	find_addresses();
	native_init(&stack, memory, CAPACITY);
	for (int i = 0; i < OF_A_KIND; i++) {
		uintptr_t pc = pcs[i], size = unwind_code_size(unwind_code(unwind_table(), unwind_generation(), pc));

		for (uint32_t n = 0; n < WORDS; n++)
			words[n] = n % 2 ? bottom + 1 : random_word(&random, n);
		*(uintptr_t *)(start.sp + size - 8) = pcs[2 * OF_A_KIND] + 1;
		start.pc = pc + 1;
		/* Each place twice: the second time from frames inside of it. */
		for (int n = 0; n < 4; n++) {
			start.bp = (uintptr_t)&words[100 + 20 * (n / 2)];
			native_walk(&stack, &start, 0);
			assert_int_equal(stack.count, 3);
			assert_int_equal(stack.frames[0].sp, start.bp + 16);
		}
	}
}

static void a_rule_is_that_of_one_address_and_one_generation(void **state)
{
	struct unwind_table *table = unwind_table();
	enum { WRONG = UNWIND_SIZE_MAX / 8 };
	uint32_t generation = unwind_generation(), code;
	uintptr_t pc = (uintptr_t)find_addresses;

	(void)state;
	code = unwind_code(table, generation, pc);
	assert_int_not_equal(code, WRONG);
	atomic_store(&unwind_pair(table, pc)[0], unwind_key(generation, pc) ^ WRONG);
	assert_int_equal(unwind_code(table, generation, pc), WRONG);
	for (unsigned bit = 0; bit < UNWIND_PC_BITS; bit++)
		assert_int_not_equal(unwind_code(table, generation, pc ^ (uintptr_t)1 << bit), WRONG);
	/* Of two that share a place the one entered last is found first; the other stays. */
	atomic_store(&unwind_pair(table, pc)[0], unwind_key(generation, pc) ^ WRONG);
	assert_int_not_equal(unwind_code(table, generation, pc ^ (uintptr_t)1 << 40), WRONG);
	assert_int_equal(unwind_code(table, generation, pc), WRONG);
	unwind_modules_changed();
	generation = unwind_generation();
	assert_int_equal(unwind_code(table, generation, pc), code);
	/* A slot where nothing was entered yet, as its address and the generation would have it if no code was 0. */
	pc = (uintptr_t)generation << UNWIND_LOW_BITS;
	atomic_store(&unwind_pair(table, pc)[0], 0);
	atomic_store(&unwind_pair(table, pc)[1], 0);
	assert_int_equal(unwind_code(table, generation, pc), UNWIND_NONE);
}

static void rules_of_modules_that_stay_outlive_a_change(void **state)
{
	struct unwind_table *table = unwind_table();
	enum { WRONG = UNWIND_SIZE_MAX / 8 };
	uintptr_t pc = (uintptr_t)find_addresses, outside = pc ^ (uintptr_t)1 << 40;
	uint32_t right, before = unwind_generation();

	(void)state;
	right = unwind_code(table, before, pc);
	lasting_add(pc & ~(uintptr_t)4095, pc + 1);
	lasting_end();
	for (unsigned place = 0; place < 2; place++) {
		atomic_store(&unwind_pair(table, pc)[place], unwind_key(before, pc) ^ WRONG);
		atomic_store(&unwind_pair(table, pc)[1 - place], unwind_key(before, outside) ^ WRONG);
		unwind_modules_changed();
		assert_int_not_equal(unwind_generation(), before);
		assert_int_equal(unwind_code(table, unwind_generation(), pc), WRONG);
		assert_int_equal(atomic_load(&unwind_pair(table, pc)[place]), unwind_key(unwind_generation(), pc) ^ WRONG);
		assert_int_equal(unwind_code(table, unwind_generation(), outside), UNWIND_NONE);
	}
	lasting_give_up();
	unwind_modules_changed();
	assert_int_equal(unwind_code(table, unwind_generation(), pc), right);
}

static __attribute__((noinline)) void find_bottom(void)
{
	uintptr_t *frame = __builtin_frame_address(0);
	struct native_start start = { (uintptr_t)__builtin_return_address(0), (uintptr_t)(frame + 2), frame[0] };
	struct native_stack stack;

	native_init(&stack, memory, CAPACITY);
	native_walk(&stack, &start, 0);
	assert_int_equal(stack.end, NATIVE_END_BOTTOM);
	bottom = stack.frames[0].pc;
}

static int set_up(void **state)
{
	(void)state;
	words = mmap(NULL, WORDS * sizeof(*words), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(words, MAP_FAILED);
	find_bottom();
	return 0;
}

int main(void)
{
	if (!UNWIND_SUPPORTED)
		return 77;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_stacks_are_walked_with_a_memo_as_without),
		cmocka_unit_test(a_place_tells_without_a_walk_that_there_is_none),
		cmocka_unit_test(the_same_words_with_another_bp_are_another_stack),
		cmocka_unit_test(a_rule_is_that_of_one_address_and_one_generation),
		cmocka_unit_test(rules_of_modules_that_stay_outlive_a_change),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
