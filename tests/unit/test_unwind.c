/* SPDX-License-Identifier: MIT */
/*
 * The stack walker against libunwind, frame for frame, on stacks of every kind that we could think of.
 *
 * oracle_check() stands where a hook would: it walks its caller with native_walk() and with unw_step() and compares
 * the addresses; and it gives each frame a node that depends on all frames outside of it, so that a frame wrongly
 * reported as kept is found out as well.
 */
#include "preload/lasting.h"
#include "preload/stack_native.h"
#include "preload/stack_recent.h"
#include "preload/unwind.h"
#include "preload/unwind_cfi.h"
#include "preload/unwind_modules.h"

#include "unwind_cases.h"

#define UNW_LOCAL_ONLY
#include <alloca.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <libunwind.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#define NOINLINE __attribute__((noinline))

enum { CAPACITY = 1024, ORACLE_MAX = 8192 };

struct oracle {
	struct native_stack stack;
	struct recent recent;
	_Alignas(struct native_frame) char memory[NATIVE_MEMORY(CAPACITY)];
	struct native_frame *frames;
	uintptr_t pcs[ORACLE_MAX];
	uint32_t nodes[CAPACITY];
	bool guessing;                /* libunwind is wrong about sp outside guessed frames, and may end early */
	uintptr_t stop_cfa;
	sig_atomic_t busy;
};

void (*volatile cases_hook)(void);
static __thread struct oracle *mine;
static _Atomic unsigned long checks, frames_seen, frames_kept, mismatches, guesses, stops, truncations, stacks_met;

static struct oracle *oracle(void)
{
	if (!mine) {
		mine = calloc(1, sizeof(*mine));
		native_init(&mine->stack, mine->memory, CAPACITY);
		mine->frames = mine->stack.frames;
		mine->recent.memory = calloc(1, recent_size());
	}
	return mine;
}

static uint32_t node_hash(uint32_t parent, uintptr_t pc)
{
	uint32_t hash = (uint32_t)((parent + 1) * 2654435761u ^ (pc * 0x9e3779b97f4a7c15u) >> 32);

	return hash ? hash : 1;
}

static void mismatch(struct oracle *o, const char *what, size_t theirs)
{
	struct native_stack *stack = &o->stack;

	if (++mismatches > 5)
		return;
	fprintf(stderr, "mismatch: %s; ours %u frames (kept %u)%s%s%s, libunwind %zu\n", what, stack->count,
		stack->kept, stack->truncated ? " truncated" : "", stack->stopped ? " stopped" : "",
		stack->guessed ? " guessed" : "", theirs);
	for (size_t i = 0; i < 16 && (i < stack->count || i < theirs); i++) {
		const struct native_frame *frame = i < stack->count ? &stack->frames[stack->count - 1 - i] : NULL;
		Dl_info info = { .dli_fname = "?" };

		if (i < theirs)
			dladdr((void *)(o->pcs[i] - 1), &info);
		fprintf(stderr, "  %2zu ours %#lx sp %#lx bp %#lx flags %#x, libunwind %#lx %s+%#lx %s\n", i,
			frame ? frame->pc : 0, frame ? frame->sp : 0, frame ? frame->bp : 0, frame ? frame->flags : 0,
			i < theirs ? o->pcs[i] : 0, info.dli_fname,
			i < theirs ? o->pcs[i] - (uintptr_t)info.dli_fbase : 0, info.dli_sname ? info.dli_sname : "");
	}
}

/* The caller's frames by libunwind, innermost first: return addresses, or exact ones above signal trampolines. */
static size_t oracle_walk(struct oracle *o, unw_context_t *context, uintptr_t sp)
{
	unw_cursor_t cursor;
	unw_word_t value;
	size_t count = 0;
	bool inside = false;

	unw_init_local(&cursor, context);
	while (unw_step(&cursor) > 0 && count < ORACLE_MAX) {
		unw_get_reg(&cursor, UNW_REG_SP, &value);
		inside = inside || value == sp;
		unw_get_reg(&cursor, UNW_REG_IP, &value);
		if (value == 0)
			break;
		if (inside)
			o->pcs[count++] = value;
	}
	return count;
}

static void compare_walks(struct oracle *o, size_t theirs)
{
	struct native_stack *stack = &o->stack;
	uint32_t node = 0;

	checks++;
	frames_seen += stack->count;
	frames_kept += stack->kept;
	guesses += stack->guessed;
	stops += stack->stopped;
	truncations += stack->truncated;
	if (stack->truncated ? stack->count > theirs || stack->count < CAPACITY / 2 :
			stack->count < theirs || (stack->count > theirs && !o->guessing)) {
		mismatch(o, "number of frames", theirs);
		return;
	}
	for (size_t i = 0; i < stack->count; i++) {
		struct native_frame *frame = &stack->frames[i];

		if (stack->count - 1 - i < theirs &&
				frame->pc + !(frame->flags & NATIVE_EXACT) != o->pcs[stack->count - 1 - i]) {
			mismatch(o, "address", theirs);
			return;
		}
		node = node_hash(node, frame->pc);
		if (frame->node != (i < stack->kept ? node : 0)) {
			mismatch(o, "kept", theirs);
			return;
		}
		frame->node = node;
	}
	if (stack->stopped)
		mismatch(o, "stopped", theirs);
}

/* All that a walk says of a stack, in one number. */
static uint32_t whole_hash(const struct native_stack *stack)
{
	uint32_t hash = 1;

	for (uint32_t i = 0; i < stack->count; i++)
		hash = node_hash(node_hash(hash, stack->frames[i].pc), stack->frames[i].sp);
	return hash;
}

/* Walks, after a look whether the stack is known: then the walk must find it. */
static void walk(struct oracle *o, const struct native_start *start, uintptr_t stop_cfa)
{
	struct recent_stack *found = recent_find(&o->recent, &o->stack, start, stop_cfa), *put;
	uint64_t identity = found ? found->identity : 0;
	uint32_t known = found ? found->node : 0, hash;

	native_walk(&o->stack, start, stop_cfa);
	hash = whole_hash(&o->stack);
	if (identity) {
		stacks_met++;
		if (known != hash || o->stack.guessed || o->stack.stopped || o->stack.truncated)
			mismatch(o, "known stack", o->stack.count);
	}
	put = recent_put(&o->recent, &o->stack);
	if (!put)
		put = recent_put(&o->recent, &o->stack);
	if (put) {
		put->node = hash;
		if (recent_find(&o->recent, &o->stack, start, stop_cfa) != put || put->identity == identity)
			mismatch(o, "stack just put", 0);
	}
}

static NOINLINE void oracle_check(void)
{
	uintptr_t *frame = __builtin_frame_address(0);
	struct native_start start = { (uintptr_t)__builtin_return_address(0), (uintptr_t)(frame + 2), frame[0] };
	struct oracle *o = oracle();
	unw_context_t context;
	int error = errno;

	if (o->busy)
		return;
	o->busy = 1;
	errno = 12345;
	walk(o, &start, 0);
	if (errno != 12345)
		mismatch(o, "errno", 0);
	unw_getcontext(&context);
	compare_walks(o, oracle_walk(o, &context, start.sp));
	errno = error;
	o->busy = 0;
}

static int report(void **state)
{
	(void)state;
	printf("           %lu walks, %lu frames, %lu kept, %lu guessed, %lu stopped, %lu truncated, %lu known stacks, "
		"%lu mismatches\n", checks, frames_seen, frames_kept, guesses, stops, truncations, stacks_met, mismatches);
	checks = frames_seen = frames_kept = guesses = stops = truncations = stacks_met = mismatches = 0;
	cases_hook = oracle_check;
	return 0;
}

static const struct {
	const char *name;
	cases_function *run;
} builds[] = {
	{ "-O0", cases_o0 },
	{ "-O2", cases_o2 },
	{ "-O2 -fno-omit-frame-pointer", cases_frame_pointers },
	{ "-O2 -mno-red-zone", cases_no_red_zone },
};
enum { BUILDS = sizeof(builds) / sizeof(builds[0]) };

static void run_trees(uint64_t seed, unsigned rounds, unsigned depth)
{
	uint64_t random = seed;

	for (unsigned i = 0; i < rounds; i++)
		builds[cases_random(&random) % BUILDS].run(&random, cases_random(&random) % depth);
}

static void random_call_trees_are_walked_as_libunwind_does(void **state)
{
	(void)state;
	run_trees(1, 600, 12);
	assert_int_equal(mismatches, 0);
	assert_true(checks > 1000);
}

static NOINLINE uint64_t deep(unsigned depth, unsigned inner, uint64_t *random)
{
	volatile uint64_t local[3] = { depth };

	if (depth > 0)
		return deep(depth - 1, inner, random) + local[0];
	for (unsigned i = 0; i < inner; i++) {
		oracle_check();
		builds[i % BUILDS].run(random, 2);
	}
	return local[0];
}

static void inner_frames_change_at_many_depths(void **state)
{
	uint64_t random = 7;

	(void)state;
	for (unsigned depth = 1; depth < 200; depth += depth < 20 ? 1 : 37)
		deep(depth, 6, &random);
	assert_int_equal(mismatches, 0);
	assert_true(frames_kept * 2 > frames_seen);
}

static NOINLINE uint64_t climb(unsigned depth, unsigned step)
{
	volatile uint64_t local = depth;

	if (depth % step == 0)
		oracle_check();
	if (depth > 0)
		local += climb(depth - 1, step);
	if (depth % step == 1)
		oracle_check();
	return local;
}

static void deep_recursion_keeps_the_innermost_frames(void **state)
{
	(void)state;
	climb(5000, 53);
	assert_int_equal(mismatches, 0);
	assert_true(truncations > 50);
	oracle_check();
	assert_false(oracle()->stack.truncated);
	assert_int_equal(mismatches, 0);
}

static void *thread_main(void *seed)
{
	run_trees((uintptr_t)seed, 60, 10);
	free(mine);
	mine = NULL;
	return NULL;
}

static void threads_walk_their_own_stacks(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (uintptr_t round = 0; round < 3; round++) {
		for (uintptr_t i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, thread_main, (void *)(round * 4 + i)), 0);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	assert_int_equal(mismatches, 0);
}

static void on_signal(int signal)
{
	static __thread uint64_t random = 99;

	(void)signal;
	if (!oracle()->busy) {
		oracle_check();
		cases_o2(&random, 1);
	}
}

static void handle(int signal, int flags)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags | SA_RESTART };

	sigaction(signal, &action, NULL);
}

static void signals_come_on_the_stack_and_beside_it(void **state)
{
	stack_t alternate = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 }, off = { .ss_flags = SS_DISABLE };
	uint64_t random = 5;

	(void)state;
	sigaltstack(&alternate, NULL);
	for (int i = 0; i < 40; i++) {
		handle(SIGUSR1, i & 1 ? SA_ONSTACK : 0);
		raise(SIGUSR1);
		cases_o2(&random, 4);
	}
	sigaltstack(&off, NULL);
	free(alternate.ss_sp);
	assert_int_equal(mismatches, 0);
	assert_true(checks > 80);
}

static void timers_interrupt_anywhere(void **state)
{
	struct itimerval timer = { { 0, 700 }, { 0, 700 } }, off = { { 0, 0 }, { 0, 0 } };

	(void)state;
	handle(SIGPROF, 0);
	setitimer(ITIMER_PROF, &timer, NULL);
	run_trees(11, 300, 10);
	setitimer(ITIMER_PROF, &off, NULL);
	handle(SIGPROF, 0);
	assert_int_equal(mismatches, 0);
}

static _Atomic unsigned long traps;

static void on_trap(int signal)
{
	(void)signal;
	traps++;
	oracle_check();
}

/* Sets or clears the trap flag, with rules for each instruction of its own. */
void asm_single_step(bool on);
__asm__(
	".text\n.globl asm_single_step\n.type asm_single_step, @function\nasm_single_step:\n.cfi_startproc\n"
	"pushfq\n.cfi_adjust_cfa_offset 8\n"
	"andl $~0x100, (%rsp)\nshll $8, %edi\norl %edi, (%rsp)\n"
	"popfq\n.cfi_adjust_cfa_offset -8\nret\n.cfi_endproc\n"
	".size asm_single_step, .-asm_single_step\n");

static int by_number(const void *left, const void *right)
{
	return *(const int *)left - *(const int *)right;
}

static volatile double sink;
static void hook_none(void)
{
}

/* Every instruction of prologues, epilogues, PLT stubs and of the loader's lazy binding. */
static void every_instruction_can_be_interrupted(void **state)
{
	struct sigaction action = { .sa_handler = on_trap };
	int numbers[] = { 3, 1, 2 };
	uint64_t random = 21;
	char text[40];

	(void)state;
	sigaction(SIGTRAP, &action, NULL);
	oracle_check();
	cases_hook = hook_none;
	asm_single_step(true);
	for (int i = 0; i < BUILDS; i++)
		builds[i].run(&random, 2);
	/* First calls, hence resolved by the loader; not used elsewhere in this file. */
	sink = atof("1.5") + strtol("17", NULL, 10) + atoi(strchr("a1", '1')) + labs(-3);
	qsort(numbers, 3, sizeof(int), by_number);
	text[0] = (char)(*strrchr("xyz", 'y') + ffsl(numbers[0]));
	asm_single_step(false);
	signal(SIGTRAP, SIG_DFL);
	assert_true(traps > 1000);
	assert_true(text[0]);
	assert_int_equal(mismatches, 0);
}

enum { COROUTINES = 5, COROUTINE_STACK = 256 << 10 };
static ucontext_t scheduler, coroutines[COROUTINES];
static int current, switches;

static void hook_switch(void)
{
	oracle_check();
	if (++switches % 3 == 0)
		swapcontext(&coroutines[current], &scheduler);
}

static void coroutine_main(void)
{
	uint64_t random = 77;

	for (;;)
		cases_o2(&random, 3), cases_frame_pointers(&random, 3);
}

static void coroutine_make(ucontext_t *context, void *memory, size_t size, void (*run)(void))
{
	getcontext(context);
	context->uc_stack.ss_sp = memory;
	context->uc_stack.ss_size = size;
	makecontext(context, run, 0);
}

static void coroutines_switch_stacks(void **state)
{
	char *memory[COROUTINES];

	(void)state;
	cases_hook = hook_switch;
	for (int i = 0; i < COROUTINES; i++) {
		memory[i] = mmap(NULL, COROUTINE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		coroutine_make(&coroutines[i], memory[i], COROUTINE_STACK, coroutine_main);
	}
	for (int i = 0; i < 600; i++) {
		current = i * 7 / 3 % COROUTINES;
		swapcontext(&scheduler, &coroutines[current]);
		oracle_check();
	}
	for (int i = 0; i < COROUTINES; i++)
		munmap(memory[i], COROUTINE_STACK);
	oracle_check();
	cases_hook = oracle_check;
	assert_int_equal(mismatches, 0);
}

/* A stack is unmapped and a smaller one appears in its place: the memo of the first is a trap. */
static NOINLINE void recurse_and_switch(int depth)
{
	volatile char pad[64];

	pad[0] = (char)depth;
	if (depth > 0) {
		recurse_and_switch(depth - 1);
		pad[0]++;
		return;
	}
	oracle_check();
	oracle_check();
	swapcontext(&coroutines[0], &scheduler);
}

static void coroutine_recurse(void)
{
	recurse_and_switch(40);
}

static void coroutine_shallow(void)
{
	recurse_and_switch(1);
}

static void a_stack_unmapped_is_not_read_by_its_memo(void **state)
{
	const size_t large = 128 << 10, small = 16 << 10;
	char *memory = mmap(NULL, large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	coroutine_make(&coroutines[0], memory, large, coroutine_recurse);
	swapcontext(&scheduler, &coroutines[0]);
	/* The new stack ends where inner frames of the old one were; everything above is gone. */
	munmap(memory, large);
	for (size_t at = large - small; at >= small; at -= 4096) {
		char *again = mmap(memory + at - small, small, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		coroutine_make(&coroutines[0], again, small, coroutine_shallow);
		swapcontext(&scheduler, &coroutines[0]);
		munmap(again, small);
	}
	assert_int_equal(mismatches, 0);
}

static jmp_buf target;
static uint64_t jumps;

static void hook_jump(void)
{
	oracle_check();
	if (cases_random(&jumps) % 8 == 0)
		longjmp(target, 1);
}

static void longjmp_leaves_no_wrong_memo(void **state)
{
	static uint64_t random = 31;
	static volatile int i;

	(void)state;
	cases_hook = hook_jump;
	for (i = 0; i < 1500; i++)
		if (setjmp(target) == 0)
			builds[i % BUILDS].run(&random, 6);
	cases_hook = oracle_check;
	assert_int_equal(mismatches, 0);
}

#ifdef UNWIND_MODULE_A
static void run_module(const char *path)
{
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	cases_function *run;
	void (*volatile *hook)(void);
	uint64_t random = 3;

	assert_non_null(module);
	unwind_modules_changed();
	run = (cases_function *)dlsym(module, "cases_module");
	hook = (void (*volatile *)(void))dlsym(module, "cases_module_hook");
	*hook = oracle_check;
	for (int i = 0; i < 20; i++)
		run(&random, 5);
	dlclose(module);
	unw_flush_cache(unw_local_addr_space, 0, 0);
	unwind_modules_changed();
	oracle_check();
}

static void modules_come_and_go_at_the_same_place(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++)
		run_module(i & 1 ? UNWIND_MODULE_A : UNWIND_MODULE_B);
	assert_int_equal(mismatches, 0);
}
#endif

static void generations_wrap_around(void **state)
{
	(void)state;
	for (int i = 0; i < 1 << 16; i++) {
		unwind_modules_changed();
		if (i % 4096 == 0)
			oracle_check();
		assert_int_not_equal(unwind_generation(), 0);
	}
	assert_int_equal(mismatches, 0);
}

static void modules_are_found_by_the_maps_alone(void **state)
{
	(void)state;
	unwind_modules_without_loader(true);
	run_trees(41, 100, 10);
	assert_int_equal(mismatches, 0);
	raise(SIGUSR1);
	unwind_modules_without_loader(false);
	assert_int_equal(mismatches, 0);
}

/* A module of one page, whose frame header is at this place in it. */
static void put_image(int fd, uint64_t frame_header)
{
	struct { Elf64_Ehdr header; Elf64_Phdr phdrs[2]; } image = {
		.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 }, .e_phoff = sizeof(image.header),
			.e_phentsize = sizeof(image.phdrs[0]), .e_phnum = 2 },
		.phdrs = { { .p_type = PT_LOAD, .p_filesz = 4096, .p_memsz = 4096, .p_flags = PF_R | PF_X },
			{ .p_type = PT_GNU_EH_FRAME, .p_vaddr = frame_header } },
	};

	assert_int_equal(pwrite(fd, &image, sizeof(image), 0), sizeof(image));
}

static uint64_t frame_header_of(uintptr_t place)
{
	struct unwind_module module;

	assert_true(unwind_module_find(place + 2000, unwind_generation(), &module));
	assert_int_equal(module.start, place);
	return module.frame_header - place;
}

static void what_is_known_of_a_module_lasts_as_long_as_it_does(void **state)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	uintptr_t place = (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);

	unwind_modules_without_loader(true);
	put_image(fd, 256);
	assert_int_equal(frame_header_of(place), 256);
	/* As if another had come to its place. */
	put_image(fd, 512);
	assert_int_equal(frame_header_of(place), 256);
	unwind_modules_changed();
	assert_int_equal(frame_header_of(place), 512);
	lasting_add(place, place + 4096);
	lasting_end();
	put_image(fd, 256);
	unwind_modules_changed();
	assert_int_equal(frame_header_of(place), 512);
	lasting_give_up();
	assert_int_equal(frame_header_of(place), 256);
	unwind_modules_without_loader(false);
	munmap((void *)place, 4096);
	close(fd);
}

/* Hand-written frames: the CFA in rbx and in r12, as in the loader's trampolines; and one that changes stacks. */
void asm_frame_rbx(void (*call)(void));
void asm_frame_r12(void (*call)(void));
void asm_on_stack(void (*call)(void), void *top);
__asm__(
	".text\n"
	".globl asm_frame_rbx\n.type asm_frame_rbx, @function\nasm_frame_rbx:\n.cfi_startproc\n"
	"push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbx, 0\n"
	"mov %rsp, %rbx\n.cfi_def_cfa_register rbx\n"
	"sub $64, %rsp\nand $-64, %rsp\ncall *%rdi\n"
	"mov %rbx, %rsp\n.cfi_def_cfa_register rsp\n"
	"pop %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore rbx\nret\n.cfi_endproc\n"
	".size asm_frame_rbx, .-asm_frame_rbx\n"
	".globl asm_frame_r12\n.type asm_frame_r12, @function\nasm_frame_r12:\n.cfi_startproc\n"
	"push %r12\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset r12, 0\n"
	"push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0\n"
	"mov %rsp, %r12\n.cfi_def_cfa_register r12\n"
	"mov $17, %ebp\nsub $40, %rsp\nand $-64, %rsp\ncall *%rdi\n"
	"mov %r12, %rsp\n.cfi_def_cfa_register rsp\n"
	"pop %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore rbp\n"
	"pop %r12\n.cfi_adjust_cfa_offset -8\n.cfi_restore r12\nret\n.cfi_endproc\n"
	".size asm_frame_r12, .-asm_frame_r12\n"
	".globl asm_on_stack\n.type asm_on_stack, @function\nasm_on_stack:\n.cfi_startproc\n"
	"push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n"
	"mov %rsp, %rbp\n.cfi_def_cfa_register rbp\n"
	"mov %rsi, %rsp\ncall *%rdi\nmov %rbp, %rsp\npop %rbp\n.cfi_def_cfa rsp, 8\nret\n.cfi_endproc\n"
	".size asm_on_stack, .-asm_on_stack\n"
	".section .note.GNU-stack,\"\",@progbits\n.text\n");

static uint64_t nested_random = 13;

static void nested_trees(void)
{
	oracle_check();
	cases_o2(&nested_random, 3);
	cases_frame_pointers(&nested_random, 3);
}

static void nested_r12(void)
{
	asm_frame_r12(nested_trees);
	oracle_check();
	asm_frame_r12(oracle_check);
}

static void frames_addressed_by_other_registers_are_recovered(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		asm_frame_rbx(oracle_check);
		asm_frame_r12(oracle_check);
		asm_frame_rbx(nested_trees);
		asm_frame_rbx(nested_r12);
	}
	assert_int_equal(mismatches, 0);
}

static void functions_that_change_stacks_are_crossed(void **state)
{
	char *memory = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	for (int i = 0; i < 3; i++) {
		asm_on_stack(oracle_check, memory + (1 << 18));
		asm_on_stack(nested_trees, memory + (1 << 18));
	}
	munmap(memory, 1 << 18);
	assert_int_equal(mismatches, 0);
}

/* push rbp; mov rbp, rsp; sub rsp, 48; call rdi; leave; ret */
static const uint8_t generated[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x30, 0xff, 0xd7, 0xc9, 0xc3 };

static void generated_code_is_guessed_through(void **state)
{
	uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void (*call)(void (*)(void));
	uint32_t depth;

	(void)state;
	memcpy(code, generated, sizeof(generated));
	call = (void (*)(void (*)(void)))(uintptr_t)code;
	oracle_check();
	depth = oracle()->stack.count;
	oracle()->guessing = true;
	for (int i = 0; i < 3; i++) {
		call(oracle_check);
		assert_true(oracle()->stack.guessed);
		assert_int_equal(oracle()->stack.count, depth + 1);
		assert_true(oracle()->stack.frames[depth - 1].flags & NATIVE_GUESSED);
		call(nested_trees);
		assert_true(oracle()->stack.guessed);
		assert_false(oracle()->stack.stopped);
	}
	oracle()->guessing = false;
	oracle_check();
	assert_false(oracle()->stack.guessed);
	assert_int_equal(mismatches, 0);
	munmap(code, 4096);
}

/* Code without rules or frame pointer: the walk ends there and says so. */
static void an_impossible_frame_stops_the_walk(void **state)
{
	struct oracle *o = oracle();
	uintptr_t words[8] = { 0 };
	struct native_start start = { (uintptr_t)words, (uintptr_t)words, 0x1000 };

	(void)state;
	native_forget(&o->stack);
	for (int i = 0; i < 3; i++) {
		native_walk(&o->stack, &start, 0);
		assert_int_equal(o->stack.count, 1);
		assert_true(o->stack.stopped);
	}
	start.bp = 0;
	native_walk(&o->stack, &start, 0);
	assert_int_equal(o->stack.count, 1);
	assert_false(o->stack.stopped);
	start.sp = 0x10;
	native_walk(&o->stack, &start, 0);
	assert_int_equal(o->stack.count, 0);
	assert_true(o->stack.stopped);
}

static NOINLINE void walk_to(uintptr_t stop_cfa)
{
	uintptr_t *frame = __builtin_frame_address(0);
	struct native_start start = { (uintptr_t)__builtin_return_address(0), (uintptr_t)(frame + 2), frame[0] };
	struct oracle *o = oracle();
	static _Alignas(struct native_frame) char memory[NATIVE_MEMORY(CAPACITY)];
	struct native_stack fresh;
	uint32_t expected = 0;

	native_init(&fresh, memory, CAPACITY);
	const struct native_frame *frames = fresh.frames;

	walk(o, &start, stop_cfa);
	native_walk(&fresh, &start, 0);
	while (expected < fresh.count && (!stop_cfa || frames[fresh.count - 1 - expected].cfa <= stop_cfa))
		expected++;
	assert_int_equal(o->stack.count, expected);
	for (uint32_t i = 0; i < expected; i++) {
		assert_int_equal(o->frames[expected - 1 - i].pc, frames[fresh.count - 1 - i].pc);
		if (i >= expected - o->stack.kept)
			assert_int_equal(o->frames[expected - 1 - i].node, o->nodes[expected - 1 - i]);
		else
			assert_int_equal(o->frames[expected - 1 - i].node, 0);
	}
	for (uint32_t i = 0; i < expected; i++)
		o->frames[i].node = o->nodes[i] = node_hash(i ? o->nodes[i - 1] : 0, o->frames[i].pc);
}

static void hook_stop(void)
{
	walk_to(oracle()->stop_cfa);
}

static NOINLINE void stop_here(int level, uint64_t *random)
{
	struct oracle *o = oracle();
	uintptr_t stop = (uintptr_t)__builtin_frame_address(0);
	uintptr_t before = o->stop_cfa;

	for (int i = 0; i < 4; i++) {
		o->stop_cfa = stop - 8 * (uintptr_t)(i & 1);
		builds[i].run(random, 3);
		if (level > 0)
			stop_here(level - 1, random);
	}
	o->stop_cfa = 0;
	walk_to(0);
	o->stop_cfa = before;
}

static void the_walk_ends_before_the_frame_asked_for(void **state)
{
	uint64_t random = 17;

	(void)state;
	native_forget(&oracle()->stack);
	cases_hook = hook_stop;
	stop_here(3, &random);
	cases_hook = oracle_check;
	native_forget(&oracle()->stack);
}

static void the_bounds_of_stacks_are_known(void **state)
{
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0), high = native_stack_high(sp);
	char *memory = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(high > sp && high - sp < 8 << 20);
	assert_true(unwind_pages_readable(sp, high));
	assert_true(native_stack_high((uintptr_t)memory) >= (uintptr_t)memory + (1 << 16));
	munmap(memory, 1 << 16);
	assert_int_equal(native_stack_high(0x1000), 0);
}

/* The C library's tables, copied to where every byte around them is unmapped, with some bytes changed. */
static void damaged_tables_are_survived(void **state)
{
	struct unwind_module module, copy = { .start = 0 };
	struct unwind_extent extent;
	uintptr_t code = (uintptr_t)qsort;
	uint64_t random = 2;
	unsigned found = 0;
	size_t size, pages;
	char *memory;

	(void)state;
	assert_true(unwind_module_find(code, unwind_generation(), &module));
	extent = unwind_module_extent(&module, module.frame_header);
	size = extent.end - module.frame_header;
	pages = (size + 4095) & ~(size_t)4095;
	memory = mmap(NULL, pages + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(memory + 4096, pages, PROT_READ | PROT_WRITE);
	memory += 4096 + pages - size;
	memcpy(memory, (void *)module.frame_header, size);
	copy.frame_header = (uintptr_t)memory;
	copy.extents[0] = (struct unwind_extent){ (uintptr_t)memory, (uintptr_t)memory + size };
	for (int i = 0; i < 40000; i++) {
		uintptr_t moved = (uintptr_t)memory - module.frame_header;
		uintptr_t pc = code - 0x20000 + cases_random(&random) % 0x100000 + moved;
		struct unwind_row row;
		size_t at = cases_random(&random) % size;

		/* Most of the time next to what will be read. */
		if (i > 20000)
			memory[i % 3 ? at : at % 4096] = (char)cases_random(&random);
		found += unwind_cfi_row(&copy, pc, UNWIND_ALL_REGISTERS, &row);
		if (i % 1000 == 999)
			memcpy(memory, (void *)module.frame_header, size);
	}
	assert_true(found > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_call_trees_are_walked_as_libunwind_does, NULL, report),
		cmocka_unit_test_setup_teardown(inner_frames_change_at_many_depths, NULL, report),
		cmocka_unit_test_setup_teardown(deep_recursion_keeps_the_innermost_frames, NULL, report),
		cmocka_unit_test_setup_teardown(threads_walk_their_own_stacks, NULL, report),
		cmocka_unit_test_setup_teardown(signals_come_on_the_stack_and_beside_it, NULL, report),
		cmocka_unit_test_setup_teardown(timers_interrupt_anywhere, NULL, report),
		cmocka_unit_test_setup_teardown(every_instruction_can_be_interrupted, NULL, report),
		cmocka_unit_test_setup_teardown(coroutines_switch_stacks, NULL, report),
		cmocka_unit_test_setup_teardown(a_stack_unmapped_is_not_read_by_its_memo, NULL, report),
		cmocka_unit_test_setup_teardown(longjmp_leaves_no_wrong_memo, NULL, report),
#ifdef UNWIND_MODULE_A
		cmocka_unit_test_setup_teardown(modules_come_and_go_at_the_same_place, NULL, report),
#endif
		cmocka_unit_test_setup_teardown(generations_wrap_around, NULL, report),
		cmocka_unit_test_setup_teardown(modules_are_found_by_the_maps_alone, NULL, report),
		cmocka_unit_test(what_is_known_of_a_module_lasts_as_long_as_it_does),
		cmocka_unit_test_setup_teardown(frames_addressed_by_other_registers_are_recovered, NULL, report),
		cmocka_unit_test_setup_teardown(functions_that_change_stacks_are_crossed, NULL, report),
		cmocka_unit_test_setup_teardown(generated_code_is_guessed_through, NULL, report),
		cmocka_unit_test_setup_teardown(an_impossible_frame_stops_the_walk, NULL, report),
		cmocka_unit_test(the_walk_ends_before_the_frame_asked_for),
		cmocka_unit_test(the_bounds_of_stacks_are_known),
		cmocka_unit_test(damaged_tables_are_survived),
	};

	cases_hook = oracle_check;
	return cmocka_run_group_tests_name("unwind", tests, NULL, NULL);
}
