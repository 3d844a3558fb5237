/* SPDX-License-Identifier: MIT */
/*
 * Our allocators, which call those that were there before.
 *
 *     interpreter -> obj_allocate() -> real[DOMAIN_OBJ] -> ... malloc(), whose hook finds the gate at PYTHON
 *                                  \-> record
 *
 * They keep the context of those that they wrap.  A thread that reads the function and the context while another sets
 * them therefore calls a pair that fits, whichever halves it got.
 */
#include "python_allocators.h"

#include "python.h"
#include "record.h"
#include "sample.h"

#include "banned.h"

enum { DOMAIN_RAW, DOMAIN_MEM, DOMAIN_OBJ, DOMAINS };

static bool hooked;                  /* in this or an earlier life of the runtime */
static const char *name_before;      /* before ours are in: the runtime names only its own */

/* What our allocators wrap.  Written before ours are set, and then only while ours are not in use. */
static struct python_allocator real[DOMAINS];
static atomic_bool hooks_used;       /* since python_allocators_used() was asked */

/* A trial allocation, to see whether it reaches our hooks.  Made as a call of our own: it is not recorded. */
static _Thread_local struct { bool active, reached; } trial __attribute__((tls_model("initial-exec")));

static inline void note_use(void)
{
	if (__builtin_expect(!atomic_load_explicit(&hooks_used, memory_order_relaxed), 0))
		atomic_store_explicit(&hooks_used, true, memory_order_relaxed);
}

static inline struct thread *hook_begin(void *block)
{
	struct thread *thread = record_python_enter(block);

	if (__builtin_expect(!thread, 0) && trial.active)
		trial.reached = true;
	note_use();
	return thread;
}

/* record_allocated() is to be expanded in the function that the interpreter calls. */
#define HOOK static inline __attribute__((always_inline))

HOOK void *hook_allocate(unsigned domain, unsigned kind, void *context, size_t size)
{
	struct thread *thread = hook_begin(NULL);
	void *block = real[domain].allocate(context, size);

	if (thread)
		record_allocated(thread, kind, block, size);
	return block;
}

HOOK void *hook_allocate_zeroed(unsigned domain, unsigned kind, void *context, size_t count, size_t size)
{
	struct thread *thread = hook_begin(NULL);
	void *block = real[domain].allocate_zeroed(context, count, size);

	if (thread)
		record_allocated(thread, kind, block, count * size);
	return block;
}

HOOK void *hook_resize(unsigned domain, unsigned kind, void *context, void *old, size_t size)
{
	struct thread *thread = hook_begin(old);
	void *block;

	if (thread && old)
		record_free(thread, CAPTURE_MOVE_PYTHON, old);
	block = real[domain].resize(context, old, size);
	if (thread && !block && old)
		record_free(thread, CAPTURE_STAY, old);
	if (thread)
		record_allocated(thread, kind, block, size);
	return block;
}

HOOK void hook_release(unsigned domain, void *context, void *block)
{
	struct thread *thread = block ? hook_begin(block) : NULL;

	if (thread)
		record_free(thread, CAPTURE_FREE_PYTHON, block);
	real[domain].release(context, block);
	if (thread)
		record_leave(thread);
}

/* Whether neither it nor what may lie behind it is in a sample. */
static inline bool is_passed_over(const void *block)
{
	const struct thread *thread = thread_self;

	return thread->sampling && thread->gate == GATE_IDLE && record_is_unknown(block);
}

#define HOOKS(name, domain, kind) \
	static void *name##_allocate(void *context, size_t size) \
	{ \
		return hook_allocate(domain, kind##_MALLOC, context, size); \
	} \
	static void *name##_allocate_zeroed(void *context, size_t count, size_t size) \
	{ \
		return hook_allocate_zeroed(domain, kind##_CALLOC, context, count, size); \
	} \
	static void *name##_resize(void *context, void *block, size_t size) \
	{ \
		return hook_resize(domain, kind##_REALLOC, context, block, size); \
	} \
	static __attribute__((noinline)) void name##_release(void *context, void *block) \
	{ \
		hook_release(domain, context, block); \
	} \
	static void name##_release_sampled(void *context, void *block) \
	{ \
		if (!is_passed_over(block)) { \
			name##_release(context, block); \
			return; \
		} \
		note_use(); \
		real[domain].release(context, block); \
	}

HOOKS(raw, DOMAIN_RAW, CAPTURE_PYMEM)
HOOKS(mem, DOMAIN_MEM, CAPTURE_PYMEM)
HOOKS(obj, DOMAIN_OBJ, CAPTURE_PYOBJECT)

#define ALLOCATOR(name) { NULL, name##_allocate, name##_allocate_zeroed, name##_resize, name##_release }
static const struct python_allocator ours[DOMAINS] = { ALLOCATOR(raw), ALLOCATOR(mem), ALLOCATOR(obj) };
/* A sample's: most blocks are passed over in fewer steps; what is not in a sample is left to the others. */
static void (*const sampled_releases[DOMAINS])(void *, void *) = {
	raw_release_sampled, mem_release_sampled, obj_release_sampled };

/* Whether an allocator calls ours beneath: wrapping it would then be a loop. */
static bool reaches_ours(const struct python_allocator *allocator)
{
	struct thread *thread = record_enter();
	void *block;

	/* Else it would be taken for that of a signal handler. */
	if (thread)
		thread->own_call = true;
	trial.reached = false;
	trial.active = true;
	block = allocator->allocate(allocator->context, 1);
	if (block)
		allocator->release(allocator->context, block);
	trial.active = false;
	if (thread) {
		thread->own_call = false;
		record_leave(thread);
	}
	return trial.reached;
}

bool python_allocators_hook(bool raw, bool careful)
{
	bool changed = false;

	if (!hooked && python_api.allocator_name)
		name_before = python_api.allocator_name();
	for (int domain = raw ? DOMAIN_RAW : DOMAIN_MEM; domain < DOMAINS; domain++) {
		struct python_allocator there, wrapper = ours[domain];

		python_api.get_allocator(domain, &there);
		if (there.allocate == wrapper.allocate || (careful && reaches_ours(&there)))
			continue;
		real[domain] = there;
		wrapper.context = there.context;
		if (sample_is_on())
			wrapper.release = sampled_releases[domain];
		atomic_thread_fence(memory_order_release);
		python_api.set_allocator(domain, &wrapper);
		changed = true;
	}
	hooked = true;
	return changed;
}

bool python_allocators_hooked(void)
{
	return hooked;
}

bool python_allocators_used(void)
{
	return atomic_exchange_explicit(&hooks_used, false, memory_order_relaxed);
}

const char *python_allocators_name(void)
{
	return name_before ? name_before : "";
}

void python_allocators_unhook(void)
{
	bool left = false;

	for (int domain = DOMAIN_RAW; hooked && domain < DOMAINS; domain++) {
		struct python_allocator there;

		if (!real[domain].allocate)
			continue;
		python_api.get_allocator(domain, &there);
		if (there.allocate == ours[domain].allocate)
			python_api.set_allocator(domain, &real[domain]);
		else
			left = true;
	}
	hooked = hooked && left;
}
