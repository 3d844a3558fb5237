/* SPDX-License-Identifier: MIT */
/*
 * From where the hook's caller stands to one node of the trie.
 *
 *   no Python on this thread      native frames down to the thread's start
 *   Python, native=no             Python frames
 *   Python, native=leaf           Python frames, and above them the native frames between the innermost interpreter
 *                                 loop and the hook: what the innermost line called
 *   Python, native=full           all native frames; each activation of the interpreter loop is replaced by the
 *                                 Python frames that it runs
 *
 * The two walkers say how many outer frames are proved unchanged; for those the node of last time still stands, and
 * only what is new is looked up.
 */
#include "stack.h"

#include <string.h>

#include "arena.h"
#include "config.h"
#include "intern.h"
#include "modules.h"
#include "output.h"
#include "python.h"
#include "python_recent.h"
#include "sys.h"

#include "banned.h"

static void count_status(uint64_t *counter)
{
	atomic_fetch_add_explicit((_Atomic uint64_t *)counter, 1, memory_order_relaxed);
}

/* Where the parts of the memos' memory lie, which begins with the frames of native walks. */
struct memos {
	size_t recent;                /* native stacks seen lately */
	size_t last;                  /* --native=full: the entries of merged stacks; else Python stacks seen lately */
	size_t size;
};

static struct memos memos(void)
{
	enum { LINE = PYTHON_RECENT_ALIGN };
	const size_t depth = config.depth, recent = (NATIVE_MEMORY(depth) + LINE - 1) & ~(size_t)(LINE - 1);
	const size_t last = (recent + recent_size() + LINE - 1) & ~(size_t)(LINE - 1);
	const size_t more = config.native == CONFIG_NATIVE_FULL ? 2 * depth * sizeof(struct stack_entry)
		: python_recent_size();

	return (struct memos){ .recent = recent, .last = last, .size = (last + more + 4095) & ~(size_t)4095 };
}

bool stack_init(struct thread *thread)
{
	const struct memos at = memos();
	char *memory = arena_pages(at.size);

	if (!memory)
		return false;
	native_init(&thread->native, memory, config.depth);
	thread->recent.memory = (struct recent_memory *)(memory + at.recent);
	thread->python.activations = config.native == CONFIG_NATIVE_FULL ? PYTHON_ACTIVATIONS_ALL
		: config.native == CONFIG_NATIVE_NO ? PYTHON_ACTIVATIONS_NONE : PYTHON_ACTIVATIONS_INNERMOST;
	if (config.native == CONFIG_NATIVE_FULL)
		thread->merged = (struct stack_entry *)(memory + at.last);
	else
		thread->python.recent = (struct python_recent *)(memory + at.last);
	return true;
}

void stack_finish(struct thread *thread)
{
	if (thread->native.frames)
		arena_give(thread->native.frames, memos().size);
}

void stack_forget(struct thread *thread)
{
	native_forget(&thread->native);
	recent_forget(&thread->recent);
	memset(thread->bare, 0, sizeof(thread->bare));
	python_forget(&thread->python);
	thread->native_base = 0;
	thread->merged_count = 0;
}

static uint64_t native_word(uintptr_t pc)
{
	return CAPTURE_NATIVE_FRAME(pc, modules_generation(pc));
}

/* Special frames are children of the root: they stand where the outer frames would be. */
static uint32_t cut_node(struct thread *thread, enum capture_frame_special why)
{
	return intern_node(thread, CAPTURE_NODE_ROOT, CAPTURE_SPECIAL_FRAME(why));
}

static __attribute__((noinline)) void count_defects(const struct native_stack *native)
{
	struct capture_status *status = output_status();

	if (native->guessed)
		count_status(&status->unwind_guessed);
	if (native->stopped)
		count_status(&status->unwind_stopped);
	if (native->truncated)
		count_status(&status->stacks_truncated);
}

static inline void count_native(struct thread *thread)
{
	if (__builtin_expect(thread->native.guessed | thread->native.stopped | thread->native.truncated, 0))
		count_defects(&thread->native);
}

/* Interns the native walk on top of `base`; only what is new, when the base is that of last time. */
static uint32_t intern_native(struct thread *thread, uint32_t base)
{
	enum { AT_ONCE = 16 };
	struct native_stack *native = &thread->native;
	uint32_t i = base == thread->native_base ? native->kept : 0;
	uint32_t node = i > 0 ? native->frames[i - 1].node : base;
	uint32_t hash = i > 0 ? native->frames[i - 1].hash : intern_hash(base);

	thread->native_base = base;
	while (i < native->count) {
		struct intern_frame frames[AT_ONCE];
		uint32_t count = 0;

		for (; count < AT_ONCE && i + count < native->count; count++)
			frames[count].frame = native_word(native->frames[i + count].pc);
		intern_frames(thread, node, hash, frames, count);
		for (uint32_t j = 0; j < count; j++, i++) {
			native->frames[i].node = node = frames[j].node;
			native->frames[i].hash = hash = frames[j].hash;
		}
	}
	return node;
}

/* The stack among those seen lately; NULL also where hardly any comes again, as in a parser's recursion. */
static inline struct recent_stack *search(struct thread *thread, const struct native_start *start, uintptr_t stop_cfa)
{
	struct recent *recent = &thread->recent;
	struct recent_stack *found;

	if (!attempts_again(&recent->attempts))
		return NULL;
	found = recent_find(recent, &thread->native, start, stop_cfa);
	recent->attempts.hits += found != NULL;
	return found;
}

/* Has the stack that was just walked found by the next search, as what it was interned as. */
static void remember(struct thread *thread, struct recent_stack *found, uint32_t base, uint32_t node)
{
	if (thread->recent.attempts.rest || (!found && !(found = recent_put(&thread->recent, &thread->native))))
		return;
	found->base = base;
	found->node = node;
	if (base != CAPTURE_NODE_ROOT)
		intern_remember(thread, base, recent_word(found), node);
}

static __attribute__((noinline)) uint32_t native_anew(struct thread *thread, const struct native_start *start)
{
	uint32_t base = CAPTURE_NODE_ROOT, node;

	native_walk(&thread->native, start, 0);
	count_native(thread);
	if (__builtin_expect(thread->native.truncated, 0))
		base = cut_node(thread, CAPTURE_FRAME_TRUNCATED);
	else if (__builtin_expect(thread->native.stopped, 0))
		base = cut_node(thread, CAPTURE_FRAME_UNKNOWN);
	node = intern_native(thread, base);
	remember(thread, NULL, base, node);
	return node;
}

static inline uint32_t native_only(struct thread *thread, const struct native_start *start)
{
	const struct recent_stack *found;

	if (config.native == CONFIG_NATIVE_NO)
		return CAPTURE_NODE_ROOT;
	found = search(thread, start, 0);
	if (__builtin_expect(found && found->base == CAPTURE_NODE_ROOT, 1))
		return found->node;
	return native_anew(thread, start);
}

/* 3.8 and 3.9 keep nothing of theirs on the C stack, but there each Python frame is one C frame of the loop. */
static bool frames_are_c_frames(void)
{
	return python_layout.activation == PYTHON_ACTIVATION_NONE;
}

static uint64_t frame_word(const struct python_frame *frame)
{
	return CAPTURE_PYTHON_FRAME(frame->code_id, frame->units);
}

static __attribute__((noinline)) uint32_t intern_python_frames(struct thread *thread)
{
	struct python_stack *python = &thread->python;
	uint32_t base = CAPTURE_NODE_ROOT, i = python->kept;

	if (__builtin_expect(python->truncated, 0)) {
		count_status(&output_status()->stacks_truncated);
		base = cut_node(thread, CAPTURE_FRAME_TRUNCATED);
		i = 0;
	}
	uint32_t node = i > 0 ? python->frames[i - 1].node : base;

	for (; i < python->count; i++) {
		/* Code id 0: an interpreter's own entry frame, which is nobody's code. */
		if (python->frames[i].code_id != 0)
			node = intern_node(thread, node, frame_word(&python->frames[i]));
		python->frames[i].node = node;
	}
	thread->python_node = node;
	python_recent_put(python, node);
	return node;
}

/* The stack being merged: compared, entry by entry, with that of last time. */
struct merge {
	struct thread *thread;
	uint32_t count, node;
	bool same;                    /* all entries so far are those of last time */
	bool full;                    /* inner frames had no room */
};

static void merge_put(struct merge *merge, uint64_t frame)
{
	struct stack_entry *entry = &merge->thread->merged[merge->count];

	if (merge->count >= 2 * config.depth) {
		merge->full = true;
		return;
	}
	if (!merge->same || merge->count >= merge->thread->merged_count || entry->frame != frame) {
		merge->same = false;
		*entry = (struct stack_entry){ frame, intern_node(merge->thread, merge->node, frame) };
	}
	merge->node = entry->node;
	merge->count++;
}

/* Puts the Python frames from `at` up to the end of their segment; returns the index behind it. */
static uint32_t merge_segment(struct merge *merge, uint32_t at)
{
	const struct python_stack *python = &merge->thread->python;

	do {
		if (python->frames[at].code_id != 0)
			merge_put(merge, frame_word(&python->frames[at]));
		at++;
	} while (at < python->count && python->frames[at].c_address == 0 && !frames_are_c_frames());
	return at;
}

static uint32_t merge_full(struct thread *thread, const struct native_start *start)
{
	struct merge merge = { .thread = thread, .same = true };
	struct native_stack *native = &thread->native;
	struct python_stack *python = &thread->python;
	uint32_t at = 0;

	native_walk(native, start, 0);
	count_native(thread);
	if (native->truncated || python->truncated)
		merge_put(&merge, CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_TRUNCATED));
	else if (native->stopped)
		merge_put(&merge, CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_UNKNOWN));
	/* Python frames whose native side was not reached come first: they are further out. */
	while (at < python->count && native->count > 0 && python->frames[at].c_address >= native->frames[0].cfa)
		at = merge_segment(&merge, at);
	for (uint32_t i = 0; i < native->count; i++) {
		const struct native_frame *frame = &native->frames[i];
		uintptr_t address = at < python->count ? python->frames[at].c_address : 0;
		bool is_loop = at < python->count && (frames_are_c_frames() ? python_is_eval_pc(frame->pc)
			: address >= frame->sp && address < frame->cfa);

		if (is_loop)
			at = merge_segment(&merge, at);
		else
			merge_put(&merge, native_word(frame->pc));
	}
	while (at < python->count)
		at = merge_segment(&merge, at);
	thread->merged_count = merge.count;
	thread->native_base = UINT32_MAX;     /* the native memo's frames were given no nodes */
	if (__builtin_expect(merge.full, 0)) {
		count_status(&output_status()->stacks_truncated);
		return intern_node(thread, merge.node, CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_TRUNCATED));
	}
	return merge.node;
}

/* The runtime's own module, once it is known; read and written without order, both halves only ever from one value. */
static _Atomic uintptr_t runtime_start, runtime_end;

static __attribute__((noinline)) void find_runtime(void)
{
	uintptr_t start, end;

	if (modules_find((uintptr_t)python_api.eval, &start, &end)) {
		atomic_store_explicit(&runtime_end, end, memory_order_relaxed);
		atomic_store_explicit(&runtime_start, start, memory_order_release);
	}
}

/* Where a frame stands among those that follow each other in the runtime's own code. */
enum run_place { RUN_NONE, RUN_SECOND, RUN_LATER };   /* RUN_NONE: it is outside, or the first of a run */

/* Interns frames on top of a Python line, from the outside in. */
struct leaf {
	struct thread *thread;
	uintptr_t runtime, runtime_size;
	uintptr_t pc;                 /* of the frame put last */
	enum run_place place;         /* its place, */
	bool in_runtime;              /* its module, */
	uint32_t node;                /* and its node */
};

static inline bool leaf_in_runtime(const struct leaf *leaf, uintptr_t pc)
{
	return pc - leaf->runtime < leaf->runtime_size;
}

static struct leaf leaf_begin(struct thread *thread, uint32_t base)
{
	struct leaf leaf = { .thread = thread, .place = RUN_NONE, .node = base };

	if (__builtin_expect(atomic_load_explicit(&runtime_start, memory_order_relaxed) == 0, 0))
		find_runtime();
	leaf.runtime = atomic_load_explicit(&runtime_start, memory_order_acquire);
	if (leaf.runtime)
		leaf.runtime_size = atomic_load_explicit(&runtime_end, memory_order_relaxed) - leaf.runtime;
	return leaf;
}

/* The node of a stack that leaves a run, or ends, at the frame put last. */
static inline uint32_t leaf_end(const struct leaf *leaf)
{
	return leaf->place == RUN_NONE ? leaf->node : intern_node(leaf->thread, leaf->node, native_word(leaf->pc));
}

/*
 * Puts the next frame.  Of frames that follow each other in the runtime's own code (its parser recurses through
 * hundreds) the outermost and the innermost are kept; one special frame stands for those between.  A frame's node is
 * that of the stack if the run went on.
 */
static inline uint32_t leaf_put(struct leaf *leaf, uintptr_t pc)
{
	bool in_runtime = leaf_in_runtime(leaf, pc);

	if (!in_runtime || !leaf->in_runtime) {
		leaf->node = intern_node(leaf->thread, leaf_end(leaf), native_word(pc));
		leaf->place = RUN_NONE;
	} else if (leaf->place == RUN_NONE) {
		leaf->place = RUN_SECOND;
	} else if (leaf->place == RUN_SECOND) {
		leaf->node = intern_node(leaf->thread, leaf->node, CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_INTERNALS));
		leaf->place = RUN_LATER;
	}
	leaf->in_runtime = in_runtime;
	leaf->pc = pc;
	return leaf->node;
}

/* Puts frames[i..) for as long as they only make a run longer, which is all that a parser's recursion does. */
static inline uint32_t leaf_lengthen(struct leaf *leaf, struct native_frame *frames, uint32_t i, uint32_t count)
{
	if (leaf->place != RUN_LATER)
		return i;
	for (; i < count && leaf_in_runtime(leaf, frames[i].pc); i++)
		frames[i].node = leaf->node;
	leaf->pc = frames[i - 1].pc;
	return i;
}

/* The state behind frames[0..i) of the walk's memo, which have their nodes; i > 0. */
static inline void leaf_resume(struct leaf *leaf, const struct native_frame *frames, uint32_t i)
{
	leaf->pc = frames[i - 1].pc;
	leaf->node = frames[i - 1].node;
	leaf->in_runtime = leaf_in_runtime(leaf, leaf->pc);
	if (!leaf->in_runtime || i < 2 || !leaf_in_runtime(leaf, frames[i - 2].pc))
		leaf->place = RUN_NONE;
	else
		leaf->place = i < 3 || !leaf_in_runtime(leaf, frames[i - 3].pc) ? RUN_SECOND : RUN_LATER;
}

/* In thread->native_base: the memo's nodes are not those of all frames, but as leaf_put() gives them. */
#define LEAF_BASE ((uint32_t)1 << 31)

/* Interns frames[first..] on top of a Python line; only what is new, if that is the line of last time. */
static uint32_t intern_leaf(struct thread *thread, uint32_t base, uint32_t first)
{
	struct native_stack *native = &thread->native;
	struct leaf leaf = leaf_begin(thread, base);
	uint32_t i = first;

	if (first == 0 && thread->native_base == (base | LEAF_BASE) && native->kept > 0) {
		i = native->kept;
		leaf_resume(&leaf, native->frames, i);
		i = leaf_lengthen(&leaf, native->frames, i, native->count);
	}
	thread->native_base = first == 0 ? base | LEAF_BASE : UINT32_MAX;
	while (i < native->count) {
		native->frames[i].node = leaf_put(&leaf, native->frames[i].pc);
		i = leaf_lengthen(&leaf, native->frames, i + 1, native->count);
	}
	return leaf_end(&leaf);
}

/* The native walk did not come as far as the interpreter loop: that is shown between the two. */
static uint32_t leaf_base(struct thread *thread, uint32_t node)
{
	if (__builtin_expect(thread->native.truncated, 0))
		return intern_node(thread, node, CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_TRUNCATED));
	if (__builtin_expect(thread->native.stopped, 0))
		return intern_node(thread, node, CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_UNKNOWN));
	return node;
}

/* What a known stack is on top of `base`; 0: it was not interned there lately. */
static inline uint32_t node_on(struct thread *thread, struct recent_stack *found, uint32_t base)
{
	if (found->base != base) {
		uint32_t node = intern_recall(thread, base, recent_word(found));

		if (!node)
			return 0;
		found->base = base;
		found->node = node;
	}
	return found->node;
}

/* Where it is remembered that a place is one of an interpreter loop. */
static inline struct native_place *bare_at(struct thread *thread, uintptr_t pc)
{
	return &thread->bare[pc * 0x9e3779b97f4a7c15u >> (64 - THREAD_BARE_BITS)];
}

static __attribute__((noinline)) uint32_t leaf_anew(struct thread *thread, const struct native_start *start,
	uintptr_t stop, struct recent_stack *found, uint32_t base)
{
	const struct native_stack *native = &thread->native;
	uint32_t node;

	native_walk(&thread->native, start, stop);
	count_native(thread);
	if (native->count == 0 && native->end == NATIVE_END_BEYOND)
		native_place_learn(bare_at(thread, start->pc), start);
	node = intern_leaf(thread, leaf_base(thread, base), 0);
	remember(thread, found, base, node);
	return node;
}

/* Python frames, and above them what the innermost one has called, whose activation `stop` is. */
static inline uint32_t merge_leaf(struct thread *thread, const struct native_start *start, uint32_t base,
	uintptr_t stop)
{
	uint32_t node;
	struct recent_stack *found;

	if (stop == 0 || config.native == CONFIG_NATIVE_NO || native_place_stops(bare_at(thread, start->pc), start, stop))
		return base;
	found = search(thread, start, stop);
	if (__builtin_expect(found && (node = node_on(thread, found, base)) != 0, 1))
		return node;
	return leaf_anew(thread, start, stop, found, base);
}

/* The loop's frames are known by their code. */
static uint32_t merge_leaf_by_pc(struct thread *thread, const struct native_start *start, uint32_t base)
{
	uint32_t node, first = 0;
	struct native_stack *native = &thread->native;
	struct recent_stack *found;

	if (config.native == CONFIG_NATIVE_NO)
		return base;
	found = search(thread, start, 0);
	if (__builtin_expect(found && (node = node_on(thread, found, base)) != 0, 1))
		return node;
	native_walk(native, start, 0);
	count_native(thread);
	for (uint32_t i = native->count; i-- > 0;) {
		if (python_is_eval_pc(native->frames[i].pc)) {
			first = i + 1;
			break;
		}
	}
	thread->native_base = UINT32_MAX;
	node = first ? intern_leaf(thread, base, first) : base;
	remember(thread, found, base, node);
	return node;
}

/* What the Python frames are a part of; same: they are those of last time. */
static inline uint32_t merge(struct thread *thread, const struct native_start *start, bool same)
{
	if (__builtin_expect(config.native == CONFIG_NATIVE_FULL, 0))
		return merge_full(thread, start);

	const uint32_t base = same ? thread->python_node : intern_python_frames(thread);

	if (__builtin_expect(frames_are_c_frames(), 0))
		return merge_leaf_by_pc(thread, start, base);
	return merge_leaf(thread, start, base, thread->python.innermost_c_address);
}

/* Where something of the Python frames is not what it was. */
static __attribute__((noinline)) uint32_t capture_anew(struct thread *thread, const struct native_start *start)
{
	const struct python_found found = python_recent_find(&thread->python);

	if (found.node)
		return merge_leaf(thread, start, found.node, found.innermost_c_address);
	if (!python_walk_anew(&thread->python)) {
		if (__builtin_expect(thread->python.unknown, 0))
			count_status(&output_status()->python_refused);
		return native_only(thread, start);
	}
	return merge(thread, start, false);
}

uint32_t stack_capture(struct thread *thread, const struct native_start *start)
{
	uint32_t node;

	if (atomic_load_explicit(&python_state, memory_order_relaxed) == PYTHON_NONE)
		node = native_only(thread, start);
	else if (__builtin_expect(python_walk_again(&thread->python), 1))
		node = merge(thread, start, true);
	else
		node = capture_anew(thread, start);
	if (__builtin_expect(atomic_load_explicit(&modules_stale, memory_order_relaxed), 0))
		modules_refresh(thread);
	return node;
}
