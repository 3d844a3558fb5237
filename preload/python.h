/* SPDX-License-Identifier: MIT */
/*
 * CPython in this process: finding it, knowing when it is ready, hooking its allocators, and letting go in time
 * when it ends.  3.8 to 3.15 with stacks; any version that has PyMem_SetAllocator with allocators.
 *
 *     PYTHON_NONE -------> PYTHON_FOUND -----------> PYTHON_READY         stacks are walked
 *          a runtime is        the hooks are in and \
 *          mapped              the checks have run   --> PYTHON_REFUSED   not recognised: no stacks
 *                                    ^
 *                                    +--- Py_Initialize() after Py_FinalizeEx(), from either
 */
#ifndef SCTMEM_PRELOAD_PYTHON_H
#define SCTMEM_PRELOAD_PYTHON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "python_layout.h"

enum { PYTHON_NONE, PYTHON_FOUND, PYTHON_READY, PYTHON_REFUSED };

/* Released when it becomes READY; acquired by whoever walks. */
extern atomic_int python_state;

/*
 * From the library's constructor, and again whenever: looks for a runtime in the program and its libraries.  May
 * use the dynamic loader, so never from inside an allocation function.
 */
void python_start(void);
/*
 * From the interposed setlocale(), which every Python calls while it initialises itself: finds a runtime that was
 * loaded by dlopen(), and notices that one is being initialised again.
 */
void python_setlocale_called(void *return_address);
/* From inside the malloc hook while the state is PYTHON_FOUND. */
void python_poll(void);
/* In a fork child, before its first event. */
void python_fork_child(void);

/*
 * The library was put into a running program, on a thread that was stopped in a place where it has no lock of the
 * interpreter (attach.c): finds the runtime and hooks its allocators at once.  And takes all that out again.
 */
void python_attach(void);
void python_detach(void);

/* Whether a code address lies in the interpreter loop. */
bool python_is_eval_pc(uintptr_t pc);

/* The rest is for stack_python.c and python_code.c; valid from PYTHON_FOUND on, constant while READY. */

/* PyMemAllocatorEx; the names of its functions are banned here. */
struct python_allocator {
	void *context;
	void *(*allocate)(void *context, size_t size);
	void *(*allocate_zeroed)(void *context, size_t count, size_t size);
	void *(*resize)(void *context, void *block, size_t size);
	void (*release)(void *context, void *block);
};

struct python_api {
	int (*is_initialized)(void);
	void *(*current_state)(void);        /* the attached one; before 3.12 that of whichever thread has the GIL */
	void *(*thread_state)(void);         /* the one last attached on this thread */
	void *(*first_interpreter)(void);
	void *(*next_interpreter)(void *interpreter);
	int (*add_pending_call)(int (*function)(void *), void *argument);
	void (*get_allocator)(int domain, struct python_allocator *out);
	void (*set_allocator)(int domain, struct python_allocator *allocator);
	const char *(*allocator_name)(void);
	const char *(*version_text)(void);
	const unsigned long *version;
	void *code_type;
	const void *unicode_type;
	const void *bytes_type;
	const void *runtime;
	const void *eval;
};

extern struct python_api python_api;
extern struct python_layout python_layout;

/* Whether the calling thread is attached: holds the GIL, or takes part in its free-threaded stead. */
bool python_is_attached(void);

/*
 * A walk by a thread that is not attached.  begin says whether it may: not once the interpreter is ending, because
 * it frees other threads' states; end must follow a begin that returned true, soon.
 */
bool python_detached_begin(void);
void python_detached_end(void);

/* Told by the walks of attached threads that find python_code_generation changed. */
void python_disturbed(void);

/* Told now and then by walks of attached threads: finds out whether the allocator hooks were taken out. */
void python_hooks_look(void);

#endif
