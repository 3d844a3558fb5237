/* SPDX-License-Identifier: MIT */
/*
 * A preload library that checks the stack walker on real programs: every allocation is walked with native_walk(),
 * every n-th (UNWIND_EVERY, 1) also with libunwind, and the frames compared.  The outcome is one line, appended to
 * the file named by UNWIND_REPORT when the process ends.
 *
 *     UNWIND_REPORT=/tmp/report UNWIND_EVERY=7 LD_PRELOAD=./libunwind_preload.so perl -e ...
 *
 * libunwind is loaded in private: needed by name it would replace the program's own unwinder.
 */
#include "preload/stack_native.h"
#include "preload/stack_recent.h"
#include "preload/sys.h"
#include "preload/unwind.h"

#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <fcntl.h>
#include <libunwind.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

enum { CAPACITY = 1024, ORACLE_MAX = 16384 };

struct checker {
	struct native_stack stack;
	struct recent recent;
	_Alignas(struct native_frame) char memory[NATIVE_MEMORY(CAPACITY)];
	uintptr_t pcs[ORACLE_MAX];
	bool busy;
	unsigned long turn;
};

static __thread struct checker *mine __attribute__((tls_model("initial-exec")));
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_dlopen)(const char *, int);
static int (*real_dlclose)(void *);
static void (*real_exit)(int);

static int (*oracle_init)(unw_cursor_t *, unw_context_t *);
static int (*oracle_step)(unw_cursor_t *);
static int (*oracle_register)(unw_cursor_t *, unw_regnum_t, unw_word_t *);
static void (*oracle_flush)(unw_addr_space_t, unw_word_t, unw_word_t);
static int (*oracle_context)(unw_tdep_context_t *);
static unw_addr_space_t *oracle_space;

static char early[1 << 16];
static size_t early_used;
static bool resolving;

static _Atomic unsigned long walks, frames, kept, guessed, stopped, truncated, compared, mismatches, shorter,
	known, cycles;
static unsigned long every = 1;

static void *early_alloc(size_t size)
{
	size_t at = early_used;

	size = (size + 31) & ~(size_t)15;
	if (at + size > sizeof(early))
		return NULL;
	early_used += size;
	memcpy(early + at, &size, sizeof(size));
	return early + at + 16;
}

static void resolve(void)
{
	const char *setting;

	if (real_malloc || resolving)
		return;
	resolving = true;
	real_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	real_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	real_dlopen = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
	real_dlclose = (int (*)(void *))dlsym(RTLD_NEXT, "dlclose");
	real_exit = (void (*)(int))dlsym(RTLD_NEXT, "_exit");
	real_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	setting = getenv("UNWIND_EVERY");
	if (setting && atol(setting) > 0)
		every = (unsigned long)atol(setting);
	resolving = false;
}

static void explain(struct checker *checker, const char *what, size_t theirs)
{
	struct native_stack *stack = &checker->stack;
	char line[256];

	if (mismatches > 3 || !getenv("UNWIND_EXPLAIN"))
		return;
	dprintf(2, "%s: %u frames (kept %u%s%s), libunwind %zu\n", what, stack->count, stack->kept,
		stack->stopped ? ", stopped" : "", stack->guessed ? ", guessed" : "", theirs);
	for (size_t i = 0; i < 48 && (i < stack->count || i < theirs); i++) {
		struct native_frame *frame = i < stack->count ? &stack->frames[stack->count - 1 - i] : NULL;
		Dl_info info = { .dli_fname = "?" };

		dladdr((void *)(i < theirs ? checker->pcs[i] - 1 : frame->pc), &info);
		snprintf(line, sizeof(line), " %2zu %#lx sp %#lx bp %#lx flags %#x, %#lx %.60s %.40s\n", i,
			frame ? frame->pc : 0, frame ? frame->sp : 0, frame ? frame->bp : 0, frame ? frame->flags : 0,
			i < theirs ? checker->pcs[i] : 0, info.dli_fname, info.dli_sname ? info.dli_sname : "");
		dprintf(2, "%s", line);
	}
}

static void compare(struct checker *checker, unw_context_t *context, uintptr_t sp)
{
	struct native_stack *stack = &checker->stack;
	size_t theirs = 0, common;
	unw_cursor_t cursor;
	unw_word_t value;
	bool inside = false;

	oracle_init(&cursor, context);
	while (oracle_step(&cursor) > 0 && theirs < ORACLE_MAX) {
		oracle_register(&cursor, UNW_REG_SP, &value);
		inside = inside || value == sp;
		oracle_register(&cursor, UNW_REG_IP, &value);
		if (value == 0)
			break;
		if (inside)
			checker->pcs[theirs++] = value;
	}
	compared++;
	common = theirs < stack->count ? theirs : stack->count;
	for (size_t i = 0; i < common; i++) {
		struct native_frame *frame = &stack->frames[stack->count - 1 - i];

		if (frame->pc + !(frame->flags & NATIVE_EXACT) != checker->pcs[i]) {
			mismatches++;
			explain(checker, "other address", theirs);
			return;
		}
	}
	if (stack->count > theirs && stack->guessed) {
		shorter++;
		explain(checker, "libunwind ends early at a guessed frame", theirs);
	} else if (stack->truncated ? stack->count > theirs : stack->count != theirs) {
		mismatches++;
		explain(checker, "other depth", theirs);
	}
}

/* All that a walk says of a stack, in one number. */
static uint32_t whole_hash(const struct native_stack *stack)
{
	uint64_t hash = 1;

	for (uint32_t i = 0; i < stack->count; i++)
		hash = ((hash ^ stack->frames[i].pc) * 0x9e3779b97f4a7c15u ^ stack->frames[i].sp) * 0xff51afd7ed558ccdu;
	return (uint32_t)(hash >> 32) | 1;
}

/* A stack that was said to be known, by this number, is the one walked. */
static void compare_known(struct checker *checker, uint32_t number)
{
	const struct native_stack *stack = &checker->stack;

	if (!number)
		return;
	known++;
	if (number != whole_hash(stack) || stack->guessed || stack->stopped || stack->truncated) {
		mismatches++;
		explain(checker, "not the stack that was known", 0);
	}
}

/* Not before the program's own libraries are there: called with the checker marked busy. */
static bool oracle_load(void)
{
	static void *library;

	if (library)
		return oracle_context != NULL;
	library = real_dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return false;
	oracle_init = (int (*)(unw_cursor_t *, unw_context_t *))dlsym(library, "_ULx86_64_init_local");
	oracle_step = (int (*)(unw_cursor_t *))dlsym(library, "_ULx86_64_step");
	oracle_register = (int (*)(unw_cursor_t *, unw_regnum_t, unw_word_t *))dlsym(library, "_ULx86_64_get_reg");
	oracle_space = (unw_addr_space_t *)dlsym(library, "_ULx86_64_local_addr_space");
	oracle_flush = (void (*)(unw_addr_space_t, unw_word_t, unw_word_t))dlsym(library, "_Ux86_64_flush_cache");
	oracle_context = (int (*)(unw_tdep_context_t *))dlsym(library, "_Ux86_64_getcontext");
	return oracle_context != NULL;
}

static void check(uintptr_t *frame, uintptr_t pc)
{
	struct native_start start = { pc, (uintptr_t)(frame + 2), frame[0] };
	struct checker *checker = mine;
	struct recent_stack *found;
	unsigned long before;
	uint32_t number;

	if (!checker) {
		checker = mine = sys_map_memory(sizeof(*checker));
		native_init(&checker->stack, checker->memory, CAPACITY);
		checker->recent.memory = sys_map_memory(recent_size());
	}
	if (checker->busy)
		return;
	checker->busy = true;
	found = recent_find(&checker->recent, &checker->stack, &start, 0);
	number = found ? found->node : 0;
	before = __rdtsc();
	native_walk(&checker->stack, &start, 0);
	cycles += __rdtsc() - before;
	walks++;
	compare_known(checker, number);
	found = recent_put(&checker->recent, &checker->stack);
	if (found)
		found->node = whole_hash(&checker->stack);
	frames += checker->stack.count;
	kept += checker->stack.kept;
	guessed += checker->stack.guessed;
	stopped += checker->stack.stopped;
	truncated += checker->stack.truncated;
	if (checker->turn++ % every == 0 && oracle_load()) {
		unw_context_t context;

		oracle_context(&context);
		compare(checker, &context, start.sp);
	}
	checker->busy = false;
}

#define EXPORT __attribute__((visibility("default")))
#define CHECK() check(__builtin_frame_address(0), (uintptr_t)__builtin_return_address(0))

EXPORT void *malloc(size_t size)
{
	resolve();
	if (!real_malloc)
		return early_alloc(size);
	CHECK();
	return real_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
	resolve();
	if (!real_malloc)
		return early_alloc(count * size);
	CHECK();
	return real_calloc(count, size);
}

EXPORT void *realloc(void *block, size_t size)
{
	resolve();
	CHECK();
	if ((char *)block >= early && (char *)block < early + sizeof(early)) {
		void *moved = real_malloc(size);

		memcpy(moved, block, size);
		return moved;
	}
	return real_realloc(block, size);
}

EXPORT void free(void *block)
{
	static void (*real_free)(void *);

	if (!block || ((char *)block >= early && (char *)block < early + sizeof(early)))
		return;
	if (!real_free)
		real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	real_free(block);
}

EXPORT void *dlopen(const char *path, int flags)
{
	void *module;

	resolve();
	module = real_dlopen(path, flags);
	unwind_modules_changed();
	return module;
}

EXPORT int dlclose(void *module)
{
	int result;

	resolve();
	result = real_dlclose(module);
	unwind_modules_changed();
	if (oracle_flush)
		oracle_flush(*oracle_space, 0, 0);
	return result;
}

static void report(void)
{
	const char *path = getenv("UNWIND_REPORT");
	char name[16] = "", line[512];
	int fd, size;

	if (!path || !walks)
		return;
	fd = open("/proc/self/comm", O_RDONLY);
	if (fd >= 0 && read(fd, name, sizeof(name) - 1) > 0)
		name[strcspn(name, "\n")] = 0;
	close(fd);
	size = snprintf(line, sizeof(line), "%-12s %9lu walks %5.1f deep %5.2f fresh %6.1f cycles | "
		"%8lu compared %lu MISMATCHES, %lu known stacks, %lu guessed (%lu shorter in libunwind) %lu stopped %lu truncated\n",
		name, walks, (double)frames / (double)walks, (double)(frames - kept) / (double)walks,
		(double)cycles / (double)walks, compared, mismatches, known, guessed, shorter, stopped, truncated);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (write(fd, line, (size_t)size) != size)
		mismatches++;
	close(fd);
}

__attribute__((destructor)) static void at_exit(void)
{
	report();
	walks = 0;
}

EXPORT void _exit(int status)
{
	resolve();
	report();
	real_exit(status);
	__builtin_unreachable();
}
