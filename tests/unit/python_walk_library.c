/* SPDX-License-Identifier: MIT */
/*
 * A library to preload that consists of the Python side of the product and of a recorder that keeps everything in
 * memory, so that a Python program can ask what was walked and compare it with what the interpreter says.  Used by
 * python_walk_victim.py, which calls the walk_* functions through ctypes.
 */
#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "preload/config.h"
#include "preload/python.h"
#include "preload/python_code.h"
#include "preload/python_recent.h"
#include "preload/record.h"
#include "preload/stack_python.h"

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

/* ---- what the core of the product provides ---- */

bool config_python_allocators = true;
struct config config;

static struct thread idle_thread;   /* a thread that has no state yet */
_Thread_local struct thread *thread_self __attribute__((tls_model("initial-exec"))) = &idle_thread;

struct thread *thread_find(uintptr_t sp)
{
	struct thread *thread;

	(void)sp;
	if (thread_self != &idle_thread)
		return NULL;
	thread = __libc_calloc(1, sizeof(*thread));
	thread->gate = GATE_IDLE;
	thread_self = thread;
	return thread;
}

/* Nothing here fails, or is asked for. */
void control_leave(struct thread *thread)
{
	thread->gate = GATE_IDLE;
}

/* A stack by address of the block that was allocated with it. */
struct block {
	uintptr_t address;            /* 0: empty, 1: freed */
	uint64_t *stack;              /* [0] the number of frames, then code id << 32 | units, outermost first */
	uint64_t size;
};

enum { BLOCKS = 1 << 22 };

static struct block *blocks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool recording;
static uint64_t counts[256], walked, unknown, rewalks;
static _Atomic uint64_t found_lately;

static struct block *block_find(uintptr_t address, bool make)
{
	size_t at = (address >> 4) * 0x9e3779b97f4a7c15u >> (64 - 22);
	struct block *freed = NULL;

	for (size_t i = 0; i < 4096; i++, at = (at + 1) % BLOCKS) {
		struct block *block = &blocks[at];

		if (block->address == address)
			return block;
		if (block->address == 1 && !freed)
			freed = block;
		if (block->address == 0)
			return make ? freed ? freed : block : NULL;
	}
	return make ? freed : NULL;
}

static void forget_block(uintptr_t address)
{
	struct block *block;

	if (!recording)
		return;
	pthread_mutex_lock(&lock);
	block = block_find(address, false);
	if (block) {
		block->address = 1;
		__libc_free(block->stack);
		block->stack = NULL;
	}
	pthread_mutex_unlock(&lock);
}

/* A guided walk must equal one that remembers nothing. */
static void check_against_fresh(const struct python_stack *stack)
{
	static _Thread_local struct python_stack fresh;

	python_forget(&fresh);
	if (!python_walk(&fresh))
		return;   /* the interpreter has just begun to end */
	rewalks++;
	if (fresh.count != stack->count || fresh.innermost_c_address != stack->innermost_c_address)
		abort();
	for (uint32_t i = 0; i < fresh.count; i++)
		if (fresh.frames[i].frame != stack->frames[i].frame ||
			fresh.frames[i].code_id != stack->frames[i].code_id ||
			fresh.frames[i].units != stack->frames[i].units ||
			fresh.frames[i].c_address != stack->frames[i].c_address)
			abort();
}

/* What stands for the stack that ends with a frame on top of `outer`: another one for any other stack. */
static uint32_t node_on(uint32_t outer, const struct python_frame *frame)
{
	const uint64_t word = ((uint64_t)frame->code_id << 32 | frame->units) ^ (uint64_t)outer * 0x9e3779b97f4a7c15u;

	return (uint32_t)((word * 0xff51afd7ed558ccdu) >> 32) | 1;
}

/* The node of all frames; gives it to those that have none, and finds that the others have theirs. */
static uint32_t give_nodes(struct python_stack *stack)
{
	uint32_t node = 0;

	for (uint32_t i = 0; i < stack->count; i++) {
		node = node_on(node, &stack->frames[i]);
		if (stack->frames[i].node != (i < stack->kept ? node : 0))
			abort();
		stack->frames[i].node = node;
	}
	return node;
}

/*
 * A walk that looks for the innermost activation only finds the same frames, and the same one; so does a look among the
 * stacks that were walked lately.
 */
static void check_innermost_only(const struct python_stack *stack)
{
	static _Thread_local struct python_stack lean = { .activations = PYTHON_ACTIVATIONS_INNERMOST };
	static _Thread_local uint32_t lean_node;
	struct python_found found = { 0 };
	bool anew = false;

	if (!lean.recent)
		lean.recent = memset(__libc_memalign(PYTHON_RECENT_ALIGN, python_recent_size()), 0, python_recent_size());
	if (!python_walk_again(&lean)) {
		found = python_recent_find(&lean);
		anew = !found.node;
		if (anew) {
			if (!python_walk_anew(&lean))
				return;
			lean_node = give_nodes(&lean);
			python_recent_put(&lean, lean_node);
		} else {
			atomic_fetch_add(&found_lately, 1);
		}
	}
	if (!found.node)
		found = (struct python_found){ lean_node, lean.innermost_c_address };
	/* How long a stack that was cut stays cut depends on what was walked since. */
	if (stack->truncated || lean.truncated)
		return;
	if (found.node != stack->frames[stack->count - 1].node ||
		(stack->innermost_c_address && found.innermost_c_address != stack->innermost_c_address))
		abort();
	if (!anew)
		return;
	if (lean.count != stack->count)
		abort();
	for (uint32_t i = 0; i < lean.count; i++)
		if (lean.frames[i].frame != stack->frames[i].frame ||
			lean.frames[i].code_id != stack->frames[i].code_id ||
			lean.frames[i].units != stack->frames[i].units)
			abort();
}

/* As the product uses the walk: nodes stand for the frames that are kept. */
static bool walk(struct thread *thread)
{
	struct python_stack *stack = &thread->python;
	bool found = python_walk(stack);

	if (found) {
		walked++;
		give_nodes(stack);
		if (walked % 61 == 0 && !stack->truncated)
			check_against_fresh(stack);
		check_innermost_only(stack);
	}
	if (stack->unknown)
		unknown++;
	return found;
}

void record_every_allocation(struct thread *thread, unsigned kind, const void *address, size_t size,
	const struct native_start *start)
{
	uint8_t gate = thread->gate;
	struct block *block;

	(void)start;
	thread->gate = GATE_OURS;
	counts[kind]++;
	if (atomic_load(&python_state) == PYTHON_FOUND)
		python_poll();
	walk(thread);
	if (recording) {
		struct python_stack *stack = &thread->python;
		uint64_t *copy = __libc_malloc((stack->count + 1) * sizeof(*copy));

		copy[0] = stack->count;
		for (uint32_t i = 0; i < stack->count; i++)
			copy[i + 1] = (uint64_t)stack->frames[i].code_id << 32 | stack->frames[i].units;
		pthread_mutex_lock(&lock);
		block = block_find((uintptr_t)address, true);
		if (block) {
			__libc_free(block->stack);
			*block = (struct block){ (uintptr_t)address, copy, size };
		} else {
			__libc_free(copy);
		}
		pthread_mutex_unlock(&lock);
	}
	thread->gate = gate;
}

void record_every_end(struct thread *thread, unsigned kind, const void *address)
{
	(void)thread;
	if (kind == CAPTURE_FREE_PYTHON || kind == CAPTURE_MOVE_PYTHON)
		forget_block((uintptr_t)address);
}

/* Here every block is recorded. */
struct known_upper *_Atomic known_root[1 << KNOWN_ROOT_BITS];

bool sample_is_on(void)
{
	return false;
}

void record_sampled_allocation(struct thread *thread, unsigned kind, const void *address, size_t size,
	const struct native_start *start)
{
	(void)thread, (void)kind, (void)address, (void)size, (void)start;
	abort();
}

void record_sampled_end(struct thread *thread, unsigned kind, const void *address)
{
	(void)thread, (void)kind, (void)address;
	abort();
}

/* Codes by id. */
struct code {
	uint32_t first_line, table_kind;
	size_t file_size, name_size, table_size;
	char *bytes;
};

enum { CODES = 1 << 20 };

static struct code *codes;
static uint32_t code_count;
static uint32_t runtime_version, runtime_flags, runtime_records;
static char runtime_path[4096], runtime_allocator[64];

void record_code(uint32_t id, uint32_t first_line, uint32_t table_kind, const char *file, size_t file_size,
	const char *name, size_t name_size, const void *table, size_t table_size)
{
	pthread_mutex_lock(&lock);
	if (!codes)
		codes = __libc_calloc(CODES, sizeof(*codes));
	if (id < CODES) {
		struct code *code = &codes[id];

		*code = (struct code){ first_line, table_kind, file_size, name_size, table_size,
			__libc_malloc(file_size + name_size + table_size + 1) };
		memcpy(code->bytes, file, file_size);
		memcpy(code->bytes + file_size, name, name_size);
		memcpy(code->bytes + file_size + name_size, table, table_size);
	}
	if (id > code_count)
		code_count = id;
	pthread_mutex_unlock(&lock);
}

void record_python_runtime(uint32_t version, uint32_t flags, const char *path, const char *allocator)
{
	runtime_version = version;
	runtime_flags = flags;
	runtime_records++;
	strncpy(runtime_path, path, sizeof(runtime_path) - 1);
	strncpy(runtime_allocator, allocator, sizeof(runtime_allocator) - 1);
}

/* ---- the hooks ---- */

static __attribute__((constructor)) void loaded(void)
{
	config.depth = getenv("WALK_DEPTH") ? (uint32_t)atoi(getenv("WALK_DEPTH")) : 1024;
	config_python_allocators = !getenv("WALK_NO_ALLOCATORS");
	python_start();
}

static void *note(void *block)
{
	struct thread *thread = record_enter();

	if (thread) {
		thread->gate = GATE_OURS;
		if (atomic_load(&python_state) == PYTHON_FOUND)
			python_poll();
		walk(thread);
		counts[CAPTURE_MALLOC]++;
		record_leave(thread);
	}
	return block;
}

EXPORT void *malloc(size_t size)
{
	return note(__libc_malloc(size));
}

EXPORT void *calloc(size_t count, size_t size)
{
	return note(__libc_calloc(count, size));
}

EXPORT void *realloc(void *block, size_t size)
{
	return note(__libc_realloc(block, size));
}

EXPORT char *setlocale(int category, const char *locale);


EXPORT char *setlocale(int category, const char *locale)
{
	static char *(*next)(int, const char *);

	python_setlocale_called(__builtin_return_address(0));
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "setlocale");
	return next(category, locale);
}

static void child(void)
{
	thread_self->gate = GATE_IDLE;
	pthread_mutex_init(&lock, NULL);
	code_count = 0;
	python_fork_child();
}

/* ---- what the victim asks ---- */

int walk_state(void);
void walk_record(int on);
uint64_t walk_count(int kind);
void walk_runtime(uint32_t *version, uint32_t *flags, uint32_t *records, const char **path, const char **allocator);
void walk_follow_fork(void);
long walk_lookup(uintptr_t address, uint64_t *out, long capacity);
const char *walk_code(uint32_t id, uint64_t *out);
long walk_now(uint64_t *out, long capacity, uint64_t *extra);
long walk_native(uint64_t *out, long capacity);
uint64_t walk_cost(int walks);

EXPORT int walk_state(void)
{
	return atomic_load(&python_state);
}

EXPORT void walk_record(int on)
{
	if (!blocks)
		blocks = __libc_calloc(BLOCKS, sizeof(*blocks));
	recording = on;
}

EXPORT uint64_t walk_count(int kind)
{
	return kind == 0 ? walked : kind == 1 ? unknown : kind == 2 ? rewalks : kind == 3 ? code_count :
		kind == 255 ? found_lately : counts[kind & 255];
}

EXPORT void walk_runtime(uint32_t *version, uint32_t *flags, uint32_t *records, const char **path,
	const char **allocator)
{
	*version = runtime_version;
	*flags = runtime_flags;
	*records = runtime_records;
	*path = runtime_path;
	*allocator = runtime_allocator;
}

EXPORT void walk_follow_fork(void)
{
	pthread_atfork(NULL, NULL, child);
}

/* The stack of a block: number of frames, or -1. */
EXPORT long walk_lookup(uintptr_t address, uint64_t *out, long capacity)
{
	struct block *block;
	long count = -1;

	pthread_mutex_lock(&lock);
	block = blocks ? block_find(address, false) : NULL;
	if (block) {
		count = (long)block->stack[0];
		for (long i = 0; i < count && i < capacity; i++)
			out[i] = block->stack[i + 1];
	}
	pthread_mutex_unlock(&lock);
	return count;
}

EXPORT const char *walk_code(uint32_t id, uint64_t *out)
{
	const struct code *code = &codes[id];

	out[0] = code->first_line;
	out[1] = code->table_kind;
	out[2] = code->file_size;
	out[3] = code->name_size;
	out[4] = code->table_size;
	return code->bytes;
}

/* Per frame: code, units, code id, C address, flags.  The thread's own memory of walks is used. */
EXPORT long walk_now(uint64_t *out, long capacity, uint64_t *extra)
{
	struct thread *thread = record_enter();
	struct python_stack *stack;
	long count = -1;

	if (!thread)
		return -2;
	thread->gate = GATE_OURS;
	stack = &thread->python;
	if (walk(thread)) {
		count = stack->count;
		for (long i = 0; i < count && i < capacity; i++) {
			const struct python_frame *frame = &stack->frames[i];

			out[5 * i] = (uintptr_t)frame->code;
			out[5 * i + 1] = frame->units;
			out[5 * i + 2] = frame->code_id;
			out[5 * i + 3] = frame->c_address;
			out[5 * i + 4] = frame->flags;
		}
	}
	extra[0] = stack->innermost_c_address;
	extra[1] = stack->truncated;
	extra[2] = stack->unknown;
	extra[3] = stack->kept;
	record_leave(thread);
	return count;
}

/*
 * The native stack, innermost first: sp, cfa, start of the function (or of the part of it that has unwind rules of its
 * own), and whether the pc is known to be in the interpreter loop.  Returns how many frames there are.
 */
EXPORT long walk_native(uint64_t *out, long capacity)
{
	struct thread *thread = record_enter();
	unw_context_t context;
	unw_cursor_t cursor;
	long count = 0;
	bool more;

	unw_getcontext(&context);
	more = unw_init_local(&cursor, &context) == 0;
	for (; more && count < capacity; count++) {
		unw_word_t pc, sp, cfa;
		unw_proc_info_t info = { 0 };
		unw_cursor_t outer;

		unw_get_reg(&cursor, UNW_REG_IP, &pc);
		unw_get_reg(&cursor, UNW_REG_SP, &sp);
		unw_get_proc_info(&cursor, &info);
		outer = cursor;
		more = unw_step(&outer) > 0;
		unw_get_reg(&outer, UNW_REG_SP, &cfa);
		out[4 * count] = sp;
		out[4 * count + 1] = cfa;
		out[4 * count + 2] = info.start_ip;
		out[4 * count + 3] = python_is_eval_pc(pc - 1);
		cursor = outer;
	}
	if (thread)
		record_leave(thread);
	return count;
}

/* Nanoseconds per walk of an unchanged stack, times 100: the least of several rounds. */
EXPORT uint64_t walk_cost(int walks)
{
	struct thread *thread = record_enter();
	uint64_t least = UINT64_MAX;

	if (!thread)
		return 0;
	thread->gate = GATE_OURS;
	for (int round = 0; round < 20; round++) {
		struct timespec from, to;

		clock_gettime(CLOCK_MONOTONIC, &from);
		for (int i = 0; i < walks; i++)
			python_walk(&thread->python);
		clock_gettime(CLOCK_MONOTONIC, &to);

		uint64_t ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)(to.tv_nsec - from.tv_nsec);

		if (ns * 100 / (unsigned)walks < least)
			least = ns * 100 / (unsigned)walks;
	}
	python_forget(&thread->python);
	record_leave(thread);
	return least;
}
