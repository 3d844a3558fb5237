/* SPDX-License-Identifier: MIT */
/*
 * The life of a Python runtime, as far as we take part in it.
 *
 *   python_start            finds it, before its first instruction or at its first setlocale()
 *   python_poll             in the first malloc() after Py_IsInitialized() became true, which is before `site` and user
 *                           code: hooks the allocators and asks for a pending call
 *   settle                  the pending call, in the main thread's eval loop: there the API may be used.  Proves the
 *                           layout and has code objects report their deaths; makes no object
 *   settle_here             the same from inside an allocation of a thread with the GIL: in a program that ran already
 *                           (python_attach), whose main thread may never come to its eval loop again
 *   register_ending         another one, only once a thread that is not attached has walked: registers
 *   ending                  an atexit callback: threads that are not attached stop walking, because Py_FinalizeEx() is
 *                           about to free their states under them
 *
 * No loader function is called from inside malloc(): another thread may hold the loader's lock and wait for us.
 */
#include "python.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "python_allocators.h"
#include "python_code.h"
#include "record.h"
#include "symbol.h"
#include "sys.h"

#include "banned.h"

#pragma weak dladdr1                   /* another libc does not have it: lifecycle.c */

enum phase {
	PHASE_NONE,
	PHASE_WAIT,                   /* for the runtime to be initialised */
	PHASE_BUSY,                   /* a thread is in python_poll */
	PHASE_ASKED,                  /* the pending call is on its way, or done */
	PHASE_ANNOUNCE,               /* a fork child: only its capture has to be told */
};

enum { ATTEMPTS_MAX = 1000 };
enum { PATIENCE_NS = 10000000 };     /* for the main thread of a program that ran already */

atomic_int python_state;
struct python_api python_api;
struct python_layout python_layout;

static atomic_int phase;
static atomic_int settled_state;     /* READY or REFUSED: what a fork child returns to */
static const struct link_map *runtime_map;   /* the runtime; never unloaded once we have it */
static char runtime_path[4096];
static uint32_t runtime_flags;
static bool layout_known;
static unsigned attempts;
static atomic_bool detached;         /* nothing of ours is to be put in any more */
static _Atomic uint64_t patience_end_ns;   /* 0: the pending call comes for certain */
static struct python_code_range loop_parts[PYTHON_LOOP_PARTS];
static unsigned loop_part_count;

enum { RUNTIME_EXECUTABLE = 1, RUNTIME_FREE_THREADED = 2, RUNTIME_STACKS = 4, RUNTIME_ALLOCATORS = 8 };

/* ---- pending calls, and looking after our allocators ---- */

static atomic_bool look_asked;
static atomic_uint looks_skipped, looks_to_skip;

/* 3.8: set once pending calls are refused, with a message on stderr.  NULL: not there, or not found. */
static const int *pending_refused;

/*
 * The structure that holds the pending calls of 3.8, from what must be in it while `running` is being run:
 *
 *     int finishing;  void *lock;  int requested, exceptions;
 *     struct { function, argument } calls[32];  int first, last;
 */
static const int *find_pending_refused(int (*running)(void *))
{
	enum { WORDS_MAX = 512, CALLS = 32, BEFORE = 3 };
	const python_word *words = python_api.runtime;

	for (unsigned at = BEFORE; words && at < WORDS_MAX && python_readable(words + at); at++) {
		if (words[at] != (uintptr_t)running)
			continue;
		for (unsigned i = 0; i < CALLS && at >= BEFORE + 2 * i; i++) {
			const python_word *calls = words + at - 2 * i;

			if (python_readable(calls + 2 * CALLS) && python_readable((const void *)calls[-2]) &&
				python_load_int(calls + 2 * CALLS, 0) == (int)(i + 1) % CALLS &&
				python_load_int(calls - BEFORE, 0) == 0)
				return (const int *)(calls - BEFORE);
		}
	}
	return NULL;
}

/* Returns whether anything changed. */
static bool hook_allocators(bool careful)
{
	/* The raw domain is malloc(), which is hooked; only in the free-threaded 3.15 is it an allocator of its own. */
	const bool raw = layout_known && python_layout.free_threaded && python_layout.minor >= 15;

	if (!config_python_allocators || !python_api.get_allocator || !python_api.set_allocator)
		return false;
	runtime_flags |= RUNTIME_ALLOCATORS;
	return python_allocators_hook(raw, careful);
}

/* From inside an allocation of an attached thread: with the GIL nobody begins to refuse meanwhile. */
static bool ask_for_call(int (*function)(void *))
{
	if (layout_known && python_layout.minor == 8 && (!pending_refused || python_load_int(pending_refused, 0) != 0))
		return false;
	return python_api.add_pending_call(function, NULL) == 0;
}

/* Pending call: tracemalloc.stop(), if it was started before us, puts back what was there before both of us. */
static int look_again(void *unused)
{
	unsigned skip = atomic_load(&looks_to_skip);

	(void)unused;
	if (!atomic_load(&detached) && !hook_allocators(true))
		atomic_store(&looks_to_skip, skip < 1 << 20 ? 2 * skip + 1 : skip);
	atomic_store(&look_asked, false);
	return 0;
}

void python_hooks_look(void)
{
	if (!python_allocators_hooked() || python_allocators_used())
		return;
	if (atomic_fetch_add_explicit(&looks_skipped, 1, memory_order_relaxed) <
		atomic_load_explicit(&looks_to_skip, memory_order_relaxed))
		return;
	atomic_store_explicit(&looks_skipped, 0, memory_order_relaxed);
	if (!atomic_exchange(&look_asked, true) && !ask_for_call(look_again))
		atomic_store(&look_asked, false);
}

/* ---- the end of the runtime ---- */

/*
 * The atexit callback costs the program an import that it may not have made itself.  So it is registered only when
 * there is something to guard: the first walk of a thread that is not attached and not the one that will finalise
 * asks for it.  Until it is registered Py_IsInitialized() alone says when to stop, which leaves a walk that was
 * preempted right behind it without protection.  A callback that comes late runs before those that the program
 * registered earlier: what threads without the GIL allocate during these has no Python frames.
 */
enum guard {
	GUARD_NONE,
	GUARD_WANTED,                 /* the next walk of an attached thread passes it on */
	GUARD_ASKED,                  /* for a pending call, or registered */
};

static atomic_int guard;
static atomic_int detached_walkers;
static atomic_bool closing;
/* The thread that will finalise, as far as can be told: the program's main thread, if it initialised.  Else 0. */
static _Atomic uintptr_t finalizer;

static void want_guard(void)
{
	int none = GUARD_NONE;

	if (atomic_load_explicit(&finalizer, memory_order_relaxed) == (uintptr_t)pthread_self() ||
		!atomic_compare_exchange_strong(&guard, &none, GUARD_WANTED))
		return;
	python_code_disturb();
}

bool python_detached_begin(void)
{
	if (__builtin_expect(atomic_load_explicit(&guard, memory_order_relaxed) == GUARD_NONE, 0))
		want_guard();
	/* Sequentially consistent with `ending`: either it sees us, or we see that it has come. */
	atomic_fetch_add(&detached_walkers, 1);
	if (!atomic_load(&closing) && python_api.is_initialized())
		return true;
	atomic_fetch_sub(&detached_walkers, 1);
	return false;
}

void python_detached_end(void)
{
	atomic_fetch_sub_explicit(&detached_walkers, 1, memory_order_release);
}

static void *none_object;
static void (*increment)(void *);

/* The atexit callback.  A walk takes microseconds; one that is not over after a second belongs to a stopped thread. */
static void *ending(void *self, void *arguments)
{
	enum { SECOND_NS = 1000000000 };
	uint64_t start = sys_clock_ns(CLOCK_MONOTONIC);

	(void)self;
	(void)arguments;
	atomic_store(&closing, true);
	while (atomic_load(&detached_walkers) != 0 && sys_clock_ns(CLOCK_MONOTONIC) - start < SECOND_NS)
		sys_yield();
	increment(none_object);
	return none_object;
}

static void *symbol(const char *name)
{
	return (void *)symbol_find(runtime_map, name);
}

/* PyMethodDef */
static const struct method {
	const char *name;
	void *(*function)(void *self, void *arguments);
	int flags;
	const char *documentation;
} ending_method = { "sctmem_ending", ending, 4 /* METH_NOARGS */, NULL };

/* Pending call. */
static int register_ending(void *unused)
{
	void *(*import)(const char *), *(*get_attribute)(void *, const char *);
	void *(*new_function)(const struct method *, void *, void *), *(*call)(void *, ...);
	void (*release)(void *), (*clear_error)(void);
	void *module, *function = NULL, *enter = NULL, *result = NULL;

	(void)unused;
	*(void **)&import = symbol("PyImport_ImportModule");
	*(void **)&get_attribute = symbol("PyObject_GetAttrString");
	*(void **)&new_function = symbol("PyCFunction_NewEx");
	*(void **)&call = symbol("PyObject_CallFunctionObjArgs");
	*(void **)&release = symbol("Py_DecRef");
	*(void **)&increment = symbol("Py_IncRef");
	*(void **)&clear_error = symbol("PyErr_Clear");
	none_object = symbol("_Py_NoneStruct");
	if (!import || !get_attribute || !new_function || !call || !release || !increment || !clear_error ||
		!none_object)
		return 0;
	module = import("atexit");
	if (module)
		enter = get_attribute(module, "register");
	if (enter)
		function = new_function(&ending_method, NULL, NULL);
	if (function)
		result = call(enter, function, NULL);
	if (!result)
		clear_error();   /* Py_IsInitialized() still tells detached walks when to stop, if a little late */
	if (result)
		release(result);
	if (function)
		release(function);
	if (enter)
		release(enter);
	if (module)
		release(module);
	return 0;
}

void python_disturbed(void)
{
	int wanted = GUARD_WANTED;

	/* If it cannot be had now, the next detached walk wants it again. */
	if (atomic_load_explicit(&guard, memory_order_relaxed) == GUARD_WANTED &&
		atomic_compare_exchange_strong(&guard, &wanted, GUARD_ASKED) && !ask_for_call(register_ending))
		atomic_store(&guard, GUARD_NONE);
}

/* ---- the deaths of code objects ---- */

static void (*code_dealloc)(void *code);

static void dealloc_code(void *code)
{
	python_code_died(code);
	code_dealloc(code);
}

/* The type is one for all interpreters, and keeps our function when the runtime is initialised again. */
static void watch_code(void)
{
	python_word *slot = (python_word *)((char *)python_api.code_type + python_layout.type_dealloc);

	if (*slot == (uintptr_t)dealloc_code)
		return;
	code_dealloc = (void (*)(void *))*slot;
	__atomic_store_n(slot, (uintptr_t)dealloc_code, __ATOMIC_RELEASE);
}

/* ---- from found to settled ---- */

bool python_is_attached(void)
{
	void *current = python_api.current_state();

	if (layout_known && python_layout.minor >= 12)
		return current != NULL;
	return current && current == python_api.thread_state();
}

static void announce(void)
{
	record_python_runtime(python_layout.version, runtime_flags, runtime_path, python_allocators_name());
}

static enum python_verdict prove_layout(void)
{
	if (!layout_known)
		return PYTHON_CHECK_FAILED;
	return python_layout_check(&python_layout, python_api.current_state(), symbol);
}

static void finish(int state)
{
	if (state == PYTHON_READY)
		runtime_flags |= RUNTIME_STACKS;
	else
		runtime_flags &= ~(uint32_t)RUNTIME_STACKS;
	announce();
	atomic_store(&settled_state, state);
	atomic_store_explicit(&python_state, state, memory_order_release);
}

/* The layout is proved: stacks may be walked. */
static void settle_stacks(void)
{
	watch_code();
	atomic_store(&finalizer, sys_tid() == sys_pid() ? (uintptr_t)pthread_self() : 0);
	atomic_store(&closing, false);
	atomic_store(&guard, GUARD_NONE);
}

/* The pending call. */
static int settle(void *unused)
{
	(void)unused;
	/* It may have been under way for long: detached meanwhile, or settled without it. */
	if (atomic_load(&detached))
		return 0;
	if (atomic_load(&python_state) == PYTHON_READY) {
		hook_allocators(true);
		return 0;
	}
	enum python_verdict verdict = prove_layout();

	if (verdict == PYTHON_CHECK_LATER && ++attempts < ATTEMPTS_MAX) {
		atomic_store(&phase, PHASE_WAIT);
		return 0;
	}
	hook_allocators(true);
	if (verdict == PYTHON_CHECK_PASSED) {
		if (python_layout.minor == 8)
			pending_refused = find_pending_refused(settle);
		settle_stacks();
	}
	finish(verdict == PYTHON_CHECK_PASSED ? PYTHON_READY : PYTHON_REFUSED);
	return 0;
}

/* What the check calls makes no object, so it may be called from inside an allocation, too. */
static void settle_here(void)
{
	uint64_t end_ns = atomic_load_explicit(&patience_end_ns, memory_order_relaxed);
	uint64_t now_ns = end_ns ? sys_clock_ns(CLOCK_MONOTONIC_COARSE) : 0;

	if (now_ns <= end_ns || !python_api.is_initialized() || !python_is_attached() ||
		!atomic_compare_exchange_strong(&patience_end_ns, &end_ns, now_ns + PATIENCE_NS))
		return;
	/* In the middle of an allocation the newest frame may be half made: only what is right counts. */
	if (prove_layout() != PYTHON_CHECK_PASSED)
		return;
	settle_stacks();
	atomic_store(&patience_end_ns, 0);
	finish(PYTHON_READY);
}

void python_poll(void)
{
	int expected = PHASE_WAIT;

	if (__builtin_expect(atomic_load_explicit(&patience_end_ns, memory_order_relaxed) != 0, 0))
		settle_here();

	if (atomic_load_explicit(&phase, memory_order_acquire) == PHASE_ANNOUNCE) {
		expected = PHASE_ANNOUNCE;
		if (atomic_compare_exchange_strong(&phase, &expected, PHASE_ASKED)) {
			announce();
			atomic_store_explicit(&python_state, atomic_load(&settled_state), memory_order_release);
		}
		return;
	}
	if (atomic_load_explicit(&phase, memory_order_relaxed) != PHASE_WAIT || !python_api.is_initialized() ||
		!python_is_attached() || !atomic_compare_exchange_strong(&phase, &expected, PHASE_BUSY))
		return;
	/* A second time, ours may still be there under somebody else's: that is for the pending call to find out. */
	if (!python_allocators_hooked())
		hook_allocators(false);
	atomic_store(&phase, PHASE_ASKED);
	if (python_api.add_pending_call(settle, NULL) == 0)
		return;
	if (++attempts < ATTEMPTS_MAX) {
		atomic_store(&phase, PHASE_WAIT);
		return;
	}
	finish(PYTHON_REFUSED);
}

/* ---- finding it ---- */

struct wanted {
	size_t offset;                /* in struct python_api */
	const char *name;
	bool needed;
};

#define WANTED(field, name, needed) { offsetof(struct python_api, field), name, needed }

static const struct wanted wanted[] = {
	WANTED(is_initialized, "Py_IsInitialized", true),
	WANTED(version_text, "Py_GetVersion", true),
	WANTED(current_state, "_PyThreadState_UncheckedGet", false),
	WANTED(current_state, "PyThreadState_GetUnchecked", false),   /* the name from 3.13 on */
	WANTED(thread_state, "PyGILState_GetThisThreadState", true),
	WANTED(first_interpreter, "PyInterpreterState_Head", true),
	WANTED(next_interpreter, "PyInterpreterState_Next", true),
	WANTED(add_pending_call, "Py_AddPendingCall", true),
	WANTED(get_allocator, "PyMem_GetAllocator", false),
	WANTED(set_allocator, "PyMem_SetAllocator", false),
	WANTED(allocator_name, "_PyMem_GetCurrentAllocatorName", false),
	WANTED(version, "Py_Version", false),
	WANTED(code_type, "PyCode_Type", true),
	WANTED(unicode_type, "PyUnicode_Type", true),
	WANTED(bytes_type, "PyBytes_Type", true),
	WANTED(runtime, "_PyRuntime", false),
	WANTED(eval, "_PyEval_EvalFrameDefault", false),
};

static bool find_symbols(void)
{
	struct python_api api = { 0 };

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		void *found = symbol(wanted[i].name);

		if (found)
			memcpy((char *)&api + wanted[i].offset, &found, sizeof(found));
		else if (wanted[i].needed)
			return false;
	}
	python_api = api;
	return api.current_state != NULL;
}

static uint32_t read_number(const char **text)
{
	uint32_t number = 0;

	while (**text >= '0' && **text <= '9' && number < 1000)
		number = 10 * number + (uint32_t)(*(*text)++ - '0');
	return number;
}

/* "3.10.13 (main, ...", "3.9.0rc1+ (..." as PY_VERSION_HEX. */
static uint32_t parse_version(const char *text)
{
	uint32_t major = read_number(&text), minor = 0, micro = 0, level = 0xf;

	if (*text == '.') {
		text++;
		minor = read_number(&text);
	}
	if (*text == '.') {
		text++;
		micro = read_number(&text);
	}
	if (*text == 'a' || *text == 'b' || *text == 'r')
		level = *text == 'r' ? 0xc : (uint32_t)*text - 'a' + 0xa;
	return major << 24 | minor << 16 | micro << 8 | level << 4;
}

/* Where the runtime is.  The handle taken on a library is kept: were it unloaded, its functions would be called. */
static void find_place(void)
{
	struct link_map *map = NULL;
	ElfW(Sym) *eval = NULL;
	Dl_info info;

	if (dladdr1((void *)python_api.is_initialized, &info, (void **)&map, RTLD_DL_LINKMAP) && map &&
		map->l_name[0]) {
		size_t length = strlen(map->l_name);

		if (length < sizeof(runtime_path))
			memcpy(runtime_path, map->l_name, length + 1);
		dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
	} else {
		long length = sys_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)runtime_path,
			sizeof(runtime_path) - 1, 0, 0);

		runtime_path[length > 0 ? length : 0] = 0;
		runtime_flags |= RUNTIME_EXECUTABLE;
	}
	if (python_api.eval && dladdr1(python_api.eval, &info, (void **)&eval, RTLD_DL_SYMENT) && eval)
		loop_part_count = python_layout_loop(python_api.eval, eval->st_size, loop_parts);
}

static void adopt(const struct link_map *map)
{
	runtime_map = map;
	if (!find_symbols()) {
		atomic_store(&python_state, PYTHON_REFUSED);
		return;
	}
	find_place();
	layout_known = python_layout_find(&python_layout,
		python_api.version ? (uint32_t)*python_api.version : parse_version(python_api.version_text()),
		python_api.runtime);
	if (python_layout.free_threaded)
		runtime_flags |= RUNTIME_FREE_THREADED;
	atomic_store(&phase, PHASE_WAIT);
	atomic_store_explicit(&python_state, PYTHON_FOUND, memory_order_release);
}

void python_start(void)
{
	if (atomic_load(&python_state) != PYTHON_NONE)
		return;
	const struct link_map *map;

	if (symbol_find_anywhere("Py_IsInitialized", &map))
		adopt(map);
}

/* The library that called us, if it is a Python runtime that was loaded for itself alone (RTLD_LOCAL). */
static void find_caller(void *return_address)
{
	struct link_map *map = NULL;
	Dl_info info;
	void *handle;

	if (!dladdr1(return_address, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || !map->l_name[0])
		return;
	if (!symbol_find(map, "Py_IsInitialized"))
		return;
	/* Held from here on: it must not be unloaded any more. */
	handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
	if (handle)
		adopt(map);
}

void python_attach(void)
{
	int state = atomic_load(&python_state), wait = PHASE_WAIT;

	atomic_store(&detached, false);
	if (state == PYTHON_NONE) {
		python_start();
	} else if (state != PYTHON_REFUSED || atomic_load(&settled_state) == PYTHON_REFUSED) {
		/* Attached before: code objects that died meanwhile were not heard of. */
		python_code_reset();
		attempts = 0;
		atomic_store(&phase, PHASE_WAIT);
		atomic_store_explicit(&python_state, PYTHON_FOUND, memory_order_release);
	}
	if (atomic_load(&python_state) != PYTHON_FOUND || !python_api.is_initialized() ||
		!atomic_compare_exchange_strong(&phase, &wait, PHASE_BUSY))
		return;
	/* Ours may still be there, under somebody else's: that is for the pending call to find out. */
	if (!python_allocators_hooked())
		hook_allocators(false);
	atomic_store(&patience_end_ns, sys_clock_ns(CLOCK_MONOTONIC_COARSE) + PATIENCE_NS);
	atomic_store(&phase, python_api.add_pending_call(settle, NULL) == 0 ? PHASE_ASKED : PHASE_WAIT);
}

void python_detach(void)
{
	if (atomic_load(&python_state) == PYTHON_NONE || !python_api.is_initialized())
		return;
	atomic_store(&detached, true);
	atomic_store(&patience_end_ns, 0);
	python_allocators_unhook();
	if (code_dealloc) {
		python_word *slot = (python_word *)((char *)python_api.code_type + python_layout.type_dealloc);

		if (*slot == (uintptr_t)dealloc_code)
			__atomic_store_n(slot, (uintptr_t)code_dealloc, __ATOMIC_RELEASE);
	}
}

void python_setlocale_called(void *return_address)
{
	int state = atomic_load(&python_state);

	if (state == PYTHON_NONE) {
		python_start();
		if (atomic_load(&python_state) == PYTHON_NONE)
			find_caller(return_address);
	} else if (atomic_load(&phase) >= PHASE_ASKED && !python_api.is_initialized()) {
		/* It ended, and is being initialised again. */
		attempts = 0;
		atomic_store_explicit(&python_state, PYTHON_FOUND, memory_order_release);
		atomic_store(&phase, PHASE_WAIT);
	}
}

void python_fork_child(void)
{
	int state = atomic_load(&python_state);

	atomic_store(&detached_walkers, 0);
	atomic_store(&look_asked, false);
	/* A callback is inherited, a call that is pending may not be; the thread that forked is the main thread now. */
	if (atomic_load(&guard) == GUARD_WANTED)
		atomic_store(&guard, GUARD_NONE);
	atomic_store(&finalizer, (uintptr_t)pthread_self());
	python_code_reset();
	if (state == PYTHON_READY || (state == PYTHON_REFUSED && atomic_load(&settled_state) == PYTHON_REFUSED)) {
		atomic_store(&phase, PHASE_ANNOUNCE);
		atomic_store_explicit(&python_state, PYTHON_FOUND, memory_order_release);
	}
}

bool python_is_eval_pc(uintptr_t pc)
{
	for (unsigned i = 0; i < loop_part_count; i++)
		if (pc - loop_parts[i].start < loop_parts[i].end - loop_parts[i].start)
			return true;
	return false;
}
