/* SPDX-License-Identifier: MIT */
/*
 * One recording thread's state: its gate, its window of the capture, its stack memos.
 *
 * The gate says whose code is on the thread's stack right now.  A hook records only when it finds the gate IDLE:
 *
 *     IDLE ------> REAL ------> OURS ------> IDLE        malloc: real call, then our code
 *     IDLE ------> PYTHON ---------- OURS --> IDLE       PyMem hook: what happens beneath is backing store
 *     WIPED                                              a new thread, or a fork child (the kernel zeroed the page)
 *     PAUSED                                             recording was stopped; it may have been started again since
 *     STOPPED                                            recording is over for this thread
 *
 * A call that finds REAL or OURS comes from a signal handler that interrupted the hook: it is recorded through a
 * second state of the same thread (`nested`), with a stream of its own.  Unless the real allocator is not libc's: then
 * a call that finds REAL is taken for the allocator's own, getting its backing store, and is not an event.
 *
 * A handler may also jump out (siglongjmp) and leave the gate closed.  The next call from further up the stack shows
 * it: then the state starts afresh.
 */
#ifndef SCTMEM_PRELOAD_THREAD_H
#define SCTMEM_PRELOAD_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cull.h"
#include "formats/capture.h"
#include "sample.h"
#include "stack_native.h"
#include "stack_python.h"
#include "stack_recent.h"

enum thread_gate { GATE_WIPED = 0, GATE_IDLE, GATE_REAL, GATE_PYTHON, GATE_OURS, GATE_PAUSED,
	GATE_STOPPED };

enum thread_owner {
	OWNER_NONE,                   /* a nested state: it goes with the outer one */
	OWNER_TAKEN,                  /* on its way to a new thread */
	OWNER_ALIVE,
	OWNER_DYING,
};

enum { INTERN_CACHE_SIZE = 1024 };     /* a power of two */
enum { THREAD_BARE_BITS = 6 };

/* One entry of the merged stack: what was interned last time at this depth. */
struct stack_entry {
	uint64_t frame;
	uint32_t node;
};

struct intern_entry {
	uint64_t frame;
	uint32_t parent;
	uint32_t node;                /* 0: empty */
};

struct thread {
	/* Hot: one or two cache lines. */
	volatile uint8_t gate;        /* enum thread_gate; volatile: signal handlers of the same thread look at it */
	bool own_call;                /* our own code is calling something that may come back to a hook */
	union {
		struct {
			bool failed;          /* an event could not be recorded: recording is over, or paused */
			bool asked;           /* something is asked from outside (control.c) */
		};
		uint16_t attention;           /* either: what the end of a hook looks at */
	};
	bool kept;                    /* a fork is under way that leaves this state to the child */
	bool sampling;                /* not every allocation is recorded: sample.h */
	uint32_t stream;              /* number of its stream; unique among living states */
	uint64_t used;                /* words in the window */
	uint64_t capacity;
	uint64_t *words;
	struct capture_stream *window;
	uint64_t *owned;              /* by word of the window, a bit: cull.h; NULL: nothing is culled */
	struct cull_moves moves;      /* that wait at the start of the window */
	uint64_t tick_ns;             /* coarse clock at the last TIME record */
	uint64_t tick_raw;            /* what the coarse clock said last, as record.c packs it; 0: nothing */
	uint64_t tick_seen;           /* the number under which it said so: tick.h */
	uint64_t stamp;               /* of the last STAMP record */
	uintptr_t entered_sp;         /* stack pointer where the gate was closed: tells a longjmp from a nesting */
	const void *python_block;     /* GATE_PYTHON: the block that the hook is freeing or moving */
	uint32_t takes, events;       /* baton takes among the events since the last look at them */

	/* Stacks. */
	uint32_t native_base;         /* node below frames[0] of the native memo */
	uint32_t python_node;         /* what the Python frames of the last walk were interned as; not with --native=full */
	uint32_t merged_count;
	struct stack_entry *merged;   /* --native=full under Python */
	struct native_stack native;
	struct recent recent;         /* native stacks seen lately */
	struct native_place bare[1 << THREAD_BARE_BITS];   /* of interpreter loops, which allocate themselves */
	struct python_stack python;
	struct intern_entry cache[INTERN_CACHE_SIZE];
	struct sample sample;

	/* Life. */
	uint32_t segment;             /* of the run: where its window lies */
	uint32_t index;               /* thread number in the capture */
	_Atomic int tid;
	uintptr_t pointer;            /* its thread pointer: the C library keeps what it points to at the top of its stack */
	int rounds;                   /* of TLS destructors seen */
	_Atomic int owner;            /* enum thread_owner */
	struct thread *next;          /* in the list of all states */
	struct thread *nested;        /* for signal handlers that interrupt us */
	char name[16];
};

/* The calling thread's state; never NULL (a state whose gate is WIPED stands for none). */
extern _Thread_local struct thread *thread_self __attribute__((tls_model("initial-exec")));

/*
 * The slow ways into recording: no state yet, a fork child, nested, stopped.  Returns a state with gate IDLE, or NULL:
 * do not record.  `sp` is the caller's stack pointer.
 */
struct thread *thread_find(uintptr_t sp);

/* The calling thread's state where it is in no hook, also during a pause; made when it has none.  Or NULL. */
struct thread *thread_own(void);

/* What the gate is to be when a hook is done; ends a failure that was only a pause. */
uint8_t thread_gate_after(struct thread *thread);

/* Makes a state for the calling thread and makes it thread_self.  NULL: no memory or storage. */
struct thread *thread_attach(void);

/* Recording is over: whoever is in no hook looks no further than its gate from now on. */
void thread_stop_all(void);
/* After that: until the others are out of their hooks; a tenth of a second for each at most. */
void thread_wait_stopped(void);

/* A new segment has begun: each thread's next event finds no room in its window, and looks. */
void thread_hurry(void);

/* Thread pointers of the threads that have a state and have not ended, as many as fit. */
size_t thread_pointers(uintptr_t *pointers, size_t max);

/* Once, before the first thread_attach; and again in a fork child. */
void thread_start(void);
void thread_reset(void);

/* Before another capture of this process: every thread becomes a new one; what its state had taken is given back. */
void thread_wipe(void);

/*
 * Around a fork, whose caller is at `sp`.  When that is a signal handler which has interrupted our code, the thread's
 * state stays in the child, apart from the capture, for that code to return to; and both others return true.
 */
void thread_before_fork(uintptr_t sp);
bool thread_forked_parent(void);
bool thread_forked_child(void);

/* Writes the thread's name when it is new or has changed. */
void thread_note_name(struct thread *thread);

#endif
