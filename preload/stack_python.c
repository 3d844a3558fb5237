/* SPDX-License-Identifier: MIT */
/*
 * The guided walk.
 *
 * The links of a stack are the whole chain of interpreter frames as it was in the last walk, outermost first:
 *
 *     links    <module>  main  [shim]  load  parse        [shim]: a frame of the interpreter's own, hidden
 *     frames   <module>  main          load  parse        what the caller gets
 *
 * A walk starts at the innermost live frame.  Frames that are not among the links are fresh; at the first that is,
 * the rest of the chain is compared in place, link by link.  The address of the next frame to look at is taken from
 * the links, not from the frame: it is proved equal before it is used for anything but a comparison already under
 * way, and the processor can load all levels at once instead of one after the other.
 *
 *     live     <module>  main  [shim]  load  emit  write
 *     links    <module>  main  [shim]  load | parse       compared to the bottom: base is here |
 *     fresh                                  emit  write
 *
 * A link whose instruction changed stays where it is; what the caller knows about it and the links inside it is void.
 *
 * Most walks find nothing changed.  So before all that, what the last walk read is compared, packed: which frame is the
 * innermost, then each frame's instruction and previous frame.  An instruction's address is one in its code object, so
 * the code need not be looked at, but where threads run copies of it.
 *
 * Activations of the interpreter loop on the C stack (c_address) come from the shims, which are local variables of
 * the loop (3.12 and later), or from the chain of CFrames, which are too (3.10: one per frame; 3.11: one per run of
 * frames, told apart by which frame was current when the loop was entered).
 */
#include "stack_python.h"

#include <pthread.h>
#include <string.h>

#include "arena.h"
#include "config.h"
#include "formats/capture.h"
#include "python.h"
#include "python_code.h"

#include "banned.h"

enum {
	PAGE = 4096,
	DEPTH_MIN = 16,
	WINDOW = 8,                   /* links compared at a time when searching a frame */
	NEAR = 2,                     /* calls, or returns, from one walk to the next that are followed without a search */
	NONE = UINT32_MAX,
	OWNER_GENERATOR = 1,
	OWNER_INTERPRETER = 3,        /* and above: frames of the interpreter's own */
};

static size_t pages(size_t size)
{
	return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* Memory for all that a stack may ever need: pages that are not touched cost nothing.  Links outnumber frames. */
static bool make_room(struct python_stack *stack)
{
	uint32_t depth = stack->capacity ? stack->capacity : config.depth;
	uint32_t capacity = 2 * (depth < DEPTH_MIN ? DEPTH_MIN : depth);

	if (!stack->capacity) {
		stack->frames = arena_pages(pages(depth * sizeof(*stack->frames)));
		if (!stack->frames)
			return false;
		stack->capacity = depth;
	}
	stack->links = arena_pages(pages(2 * capacity * sizeof(*stack->links)));
	if (!stack->links)
		return false;
	stack->proofs = arena_pages(pages((1 + capacity) * sizeof(*stack->proofs)));
	if (!stack->proofs)
		return false;
	stack->proofs++;
	if (python_layout.free_threaded && !(stack->codes = arena_pages(pages(capacity * sizeof(*stack->codes)))))
		return false;
	stack->fresh = stack->links + capacity;
	stack->link_capacity = capacity;
	return true;
}

/* After deaths of code objects: what holds such an object is gone, so the links end before the first that did. */
static void drop_dead_links(struct python_stack *stack, uint64_t generation)
{
	if ((generation ^ stack->generation) >= PYTHON_CODE_EPOCH)
		stack->link_count = 0;
	for (uint32_t i = 0; i < stack->link_count; i++) {
		const struct python_link *link = &stack->links[i];

		if (link->entry && (atomic_load_explicit(&link->entry->code, memory_order_acquire) !=
			(link->code & python_layout.code_mask) || link->entry->id != link->id)) {
			stack->link_count = i;
			break;
		}
	}
	stack->epoch++;
	stack->generation = generation;
}

/*
 * Index of a frame among links[0..limit), or NONE.  Near the end first; with each fresh frame also in the next stretch
 * below, so that a stack that shrank by a lot is met after a few frames.
 */
static uint32_t find(const struct python_link *links, uint32_t limit, const char *frame, uint32_t fresh_count)
{
	uint32_t low = limit > WINDOW ? limit - WINDOW : 0;

	for (uint32_t i = limit; i-- > low;)
		if (links[i].frame == frame)
			return i;
	if (low == 0 || fresh_count == 0)
		return NONE;

	uint32_t top = low - (uint32_t)((uint64_t)(fresh_count - 1) * WINDOW % low);

	low = top > WINDOW ? top - WINDOW : 0;
	for (uint32_t i = top; i-- > low;)
		if (links[i].frame == frame)
			return i;
	return NONE;
}

/* What of the layout the inner loop uses, in registers. */
struct offsets {
	size_t previous, code, instruction;
	uintptr_t mask;               /* of an instruction: before 3.11 it is an int */
};

static inline struct offsets offsets_of_layout(void)
{
	return (struct offsets){
		.previous = python_layout.frame_previous, .code = python_layout.frame_code,
		.instruction = python_layout.frame_instruction,
		.mask = python_layout.instruction == PYTHON_INSTRUCTION_POINTER ? ~(uintptr_t)0 : UINT32_MAX,
	};
}

/*
 * Compares links[from], links[from - 1] ... with the live chain, whose frame links[from].frame is.  Changed links are
 * brought up to date, and *low lowered to them.  NONE: the chain goes on to its end as the links say.  Otherwise the
 * chain leaves the links below the returned index, with *next.
 */
static inline __attribute__((always_inline)) uint32_t compare(struct python_stack *stack, struct offsets offsets,
	uint32_t from, uint32_t *low, const char **next)
{
	struct python_link *const outermost = stack->links, *const innermost = outermost + from;
	struct python_link *link = innermost;
	const char *frame = link->frame;

	for (;; link--) {
		uintptr_t code = python_load(frame, offsets.code);
		uintptr_t instruction = python_load(frame, offsets.instruction) & offsets.mask;
		const char *previous = (const char *)python_load(frame, offsets.previous);

		if (__builtin_expect((code ^ link->code) | (instruction ^ link->instruction), 0)) {
			link->resolved = link->resolved && code == link->code;
			link->code = code;
			link->instruction = instruction;
			*low = (uint32_t)(link - outermost);
		}
		if (link == outermost) {
			if (!previous || stack->cut)
				return NONE;
			*next = previous;
			return 0;
		}

		const char *expected = link[-1].frame;

		/* Keeps the compiler from using `previous` instead: that would wait for the load. */
		__asm__("" : "+r"(expected));
		if (__builtin_expect(previous != expected, 0)) {
			*next = previous;
			return (uint32_t)(link - outermost);
		}
		/* Mostly one frame or two have gone on, and those outside of them wait for them as before. */
		if (link + NEAR > innermost && from <= stack->proof_count && !stack->codes &&
				python_proved(stack, (uint32_t)(link - outermost)))
			return NONE;
		frame = expected;
	}
}

/* The chain is longer than we may keep: only the innermost half of that stays, so that it may grow again. */
static uint32_t cut_links(struct python_stack *stack, uint32_t base, uint32_t fresh_count)
{
	uint32_t keep = (base + fresh_count) / 2, drop;

	stack->cut = true;
	if (fresh_count >= keep) {
		for (uint32_t i = 0; i < keep; i++)
			stack->links[i] = stack->fresh[keep - 1 - i];
		return keep;
	}
	drop = base + fresh_count - keep;
	memmove(stack->links, stack->links + drop, (base - drop) * sizeof(*stack->links));
	for (uint32_t i = 0; i < fresh_count; i++)
		stack->links[base - drop + i] = stack->fresh[fresh_count - 1 - i];
	return keep;
}

static bool push_fresh(struct python_stack *stack, uint32_t *count, const struct python_link *link)
{
	if (*count == stack->link_capacity)
		return false;
	stack->fresh[(*count)++] = *link;
	return true;
}

/* A link of a frame that was entered; what its code is, is not known yet. */
static inline struct python_link link_of(const char *frame, struct offsets offsets)
{
	return (struct python_link){ .frame = frame, .code = python_load(frame, offsets.code),
		.instruction = python_load(frame, offsets.instruction) & offsets.mask };
}

/* The general case of follow(): links from *low on are known to be changed. */
static __attribute__((noinline)) uint32_t follow_changes(struct python_stack *stack, const char *frame, uint32_t low)
{
	const struct offsets offsets = offsets_of_layout();
	uint32_t limit = stack->link_count, base = 0, fresh_count = 0;
	bool full = false;

	while (frame && !full) {
		uint32_t index = find(stack->links, limit, frame, fresh_count);

		if (index != NONE) {
			uint32_t leave = compare(stack, offsets, index, &low, &frame);

			if (leave == NONE) {
				base = index + 1;
				break;
			}
			/* These are live, but stand on others than before. */
			for (uint32_t i = index + 1; i-- > leave && !full;)
				full = !push_fresh(stack, &fresh_count, &stack->links[i]);
			limit = leave;
		} else {
			const struct python_link link = link_of(frame, offsets);

			full = !push_fresh(stack, &fresh_count, &link);
			frame = (const char *)python_load(frame, offsets.previous);
		}
	}
	if (full || base + fresh_count > stack->link_capacity) {
		stack->link_count = cut_links(stack, base, fresh_count);
		return 0;
	}
	if (base == 0)
		stack->cut = false;
	for (uint32_t i = 0; i < fresh_count; i++)
		stack->links[base + i] = stack->fresh[fresh_count - 1 - i];
	stack->link_count = base + fresh_count;
	return low < base ? low : base;
}

/* Whether a frame is one of the innermost links, and how many there are up to it. */
static inline bool meets(const struct python_link *links, uint32_t count, const char *frame, uint32_t *end)
{
	for (uint32_t left = 0; left <= NEAR; left++)
		if (left < count && links[count - 1 - left].frame == frame) {
			*end = count - left;
			return true;
		}
	return false;
}

/*
 * Makes the links those of the live chain, whose innermost frame is `top`.  Returns how many of them are unchanged,
 * activations aside.  Mostly the frames are those of last time, but for one or two calls or returns, and the
 * instructions in some of them are others.
 */
static inline __attribute__((always_inline)) uint32_t follow(struct python_stack *stack, const char *top)
{
	const uint32_t count = stack->link_count;
	const struct offsets offsets = offsets_of_layout();
	const char *entered[NEAR], *frame = top, *next;
	uint32_t low = count, end;

	for (uint32_t fresh = 0; frame; fresh++) {
		if (meets(stack->links, count, frame, &end)) {
			if (compare(stack, offsets, end - 1, &low, &next) != NONE || end + fresh > stack->link_capacity)
				break;
			for (uint32_t i = 0; i < fresh; i++)
				stack->links[end + i] = link_of(entered[fresh - 1 - i], offsets);
			stack->link_count = end + fresh;
			return low < end ? low : end;
		}
		if (fresh == NEAR)
			break;
		entered[fresh] = frame;
		frame = (const char *)python_load(frame, offsets.previous);
	}
	return follow_changes(stack, top, low);
}

/* 3.10: one CFrame per frame.  Returns how many links are unchanged. */
static uint32_t match_cframes(struct python_stack *stack, const void *state, uint32_t unchanged)
{
	uintptr_t cframe = python_load(state, python_layout.state_cframe);
	uint32_t known = unchanged;

	for (uint32_t i = stack->link_count; i-- > 0;) {
		struct python_link *link = &stack->links[i];
		bool root = python_is_root_cframe(state, cframe);
		uintptr_t c_address = root ? 0 : cframe;

		if (!root)
			cframe = python_load((const void *)cframe, python_layout.cframe_previous);
		/*
		 * A generator that passes on throw() is put on an empty chain, without an activation of its own: then
		 * CFrames are left over, and the outermost frame has none.
		 */
		if (i == 0 && !stack->cut && !python_is_root_cframe(state, cframe))
			c_address = 0;
		if (i < known && link->c_address == c_address)
			continue;
		link->c_address = c_address;
		link->first = i;
		if (i < unchanged)
			unchanged = i;
	}
	return unchanged;
}

/* Whether an activation that was entered from `caller` begins with links[index]. */
static bool begins_at(const struct python_stack *stack, uint32_t index, const char *caller)
{
	return index == 0 ? !caller || stack->cut : stack->links[index - 1].frame == caller;
}

/* Index of the outermost link of the activation at `c_address` that ends before links[end]; NONE. */
static uint32_t activation_begin(const struct python_stack *stack, uint32_t end, uintptr_t c_address,
	const char *caller, uint32_t unchanged)
{
	for (uint32_t i = end; i-- > 0;) {
		const struct python_link *link = &stack->links[i];

		if (i < unchanged && link->c_address == c_address && begins_at(stack, link->first, caller))
			return link->first;
		if (begins_at(stack, i, caller))
			return i;
	}
	return NONE;
}

/* 3.11: one _PyCFrame per run of frames.  Returns how many links are unchanged. */
static uint32_t match_segments(struct python_stack *stack, const void *state, uint32_t unchanged)
{
	uint32_t end = stack->link_count, known = unchanged;
	uintptr_t cframe = python_load(state, python_layout.state_cframe);

	while (end > 0) {
		const void *outer = cframe ?
			(const void *)python_load((const void *)cframe, python_layout.cframe_previous) : NULL;
		const char *caller = outer ? (const char *)python_load(outer, python_layout.cframe_frame) : NULL;
		uint32_t begin = outer ? activation_begin(stack, end, cframe, caller, known) : NONE;
		const struct python_link *last = &stack->links[end - 1];

		if (begin == NONE) {
			begin = 0;
			cframe = 0;   /* frames that the chain of CFrames does not explain: no addresses for them */
		}
		if (end > known || last->c_address != cframe || last->first != begin) {
			for (uint32_t i = begin; i < end; i++) {
				struct python_link *link = &stack->links[i];

				if (i < known && link->c_address == cframe && link->first == begin)
					continue;
				link->c_address = cframe;
				link->first = begin;
				if (i < unchanged)
					unchanged = i;
			}
		}
		end = begin;
		cframe = (uintptr_t)outer;
	}
	return unchanged;
}

/* false: it is a code object but there is no memory to know it. */
static bool resolve(struct python_link *link)
{
	const void *code = (const void *)(link->code & python_layout.code_mask);

	link->owner = python_layout.frame_owner ? python_load_byte(link->frame, python_layout.frame_owner) : 0;
	link->entry = code && link->owner < OWNER_INTERPRETER ? python_code_get(code) : NULL;
	link->id = link->entry ? link->entry->id : 0;
	link->resolved = true;
	return link->entry || !code || link->owner >= OWNER_INTERPRETER ||
		(const void *)python_load(code, python_layout.object_type) != python_api.code_type;
}

/*
 * The offset of a link's instruction, in code units; -1 before the first.  A free-threaded interpreter runs a copy of
 * the bytecode per thread.  The list of copies may be replaced, and the old one freed, while we are detached: then
 * only the code's own instructions can be told.
 */
static __attribute__((noinline)) int64_t other_units(const struct python_link *link, bool attached, bool *known)
{
	const char *code = (const char *)(link->code & python_layout.code_mask);
	int64_t units = (int32_t)link->instruction;

	*known = true;
	if (python_layout.instruction == PYTHON_INSTRUCTION_BYTES)
		return units < 0 ? -1 : units / 2;
	if (python_layout.instruction == PYTHON_INSTRUCTION_UNITS)
		return units;

	uintptr_t base = (uintptr_t)code + python_layout.code_instructions;

	if (python_layout.code_copies) {
		uintptr_t size = 2 * python_load(code, python_layout.size);

		if (link->instruction + 2 - base > size + 2) {
			const void *copies = (const void *)python_load(code, python_layout.code_copies);
			uint32_t copy = (uint32_t)python_load_int(link->frame, python_layout.frame_copy);

			*known = attached && copies;
			if (!*known)
				return 0;
			base = python_load(copies, 8 + 8 * (size_t)copy);
		}
	}
	return (int64_t)(link->instruction - base) >> 1;
}

static inline int64_t instruction_units(const struct python_link *link, bool attached, bool *known)
{
	const uintptr_t code = link->code & python_layout.code_mask;

	if (__builtin_expect(python_layout.instruction != PYTHON_INSTRUCTION_POINTER || python_layout.code_copies, 0))
		return other_units(link, attached, known);
	*known = true;
	return (int64_t)(link->instruction - code - python_layout.code_instructions) >> 1;
}

/* A function's frame is made before its first instruction is run: until then the interpreter shows none. */
static bool has_begun(const struct python_link *link, int64_t units)
{
	return link->owner == OWNER_GENERATOR || !python_layout.code_first_traceable ||
		units >= link->entry->first_traceable;
}

/* Whether a link, with `below` visible ones outside of it, is the first visible one of its activation. */
static bool begins_activation(const struct python_stack *stack, const struct python_link *link, uint32_t below)
{
	return below == (link->first ? stack->links[link->first - 1].visible : 0);
}

/* Writes the frame of a link that is somebody's code: returns how many frames there are up to it. */
static inline uint32_t show(struct python_stack *stack, const struct python_link *link, uint32_t below, bool attached)
{
	bool known;
	const int64_t units = instruction_units(link, attached, &known);

	if (known && !has_begun(link, units))
		return below;
	stack->frames[below] = (struct python_frame){
		.frame = link->frame,
		.code = (const void *)(link->code & python_layout.code_mask),
		.code_id = link->id,
		.units = units >= 0 ? (uint32_t)units : CAPTURE_UNITS_NOT_BEGUN,
		.c_address = link->c_address && begins_activation(stack, link, below) ? link->c_address : 0,
		.flags = known ? 0 : PYTHON_FRAME_NO_LINE,
	};
	return below + 1;
}

enum outcome { BUILT, TOO_DEEP, NO_MEMORY };

/* Makes the frames from links[from] on. */
static enum outcome build(struct python_stack *stack, uint32_t from, bool attached)
{
	const struct python_link *outer = from ? &stack->links[from - 1] : NULL;
	uint32_t visible = outer ? outer->visible : 0;
	const bool shims = python_layout.activation == PYTHON_ACTIVATION_SHIM;
	uintptr_t activation = shims && outer ? outer->c_address : 0;
	uint32_t first = shims && outer ? outer->first : 0;

	for (uint32_t i = from; i < stack->link_count; i++) {
		struct python_link *link = &stack->links[i];

		if (!link->resolved && !resolve(link))
			return NO_MEMORY;
		if (!stack->matched) {
			if (!shims || link->owner >= OWNER_INTERPRETER) {
				activation = shims ? (uintptr_t)link->frame : 0;
				first = i;
			}
			link->c_address = activation;
			link->first = first;
		}
		if (visible == stack->capacity)
			return TOO_DEEP;
		if (link->entry)
			visible = show(stack, link, visible, attached);
		link->visible = visible;
	}
	return BUILT;
}

/* The activations that are not part of the chain of frames.  Returns how many links are unchanged. */
static uint32_t match(struct python_stack *stack, const void *state, uint32_t unchanged)
{
	if (python_layout.activation == PYTHON_ACTIVATION_FRAME)
		return match_cframes(stack, state, unchanged);
	return match_segments(stack, state, unchanged);
}

/* Brings frames up to date with links, of which some have changed, or their activations. */
static __attribute__((noinline)) enum outcome update(struct python_stack *stack, const void *state,
	uint32_t unchanged, bool attached)
{
	enum outcome outcome = BUILT;

	for (bool again = true; again; again = outcome == TOO_DEEP) {
		stack->kept = unchanged ? stack->links[unchanged - 1].visible : 0;
		outcome = build(stack, unchanged, attached);
		if (outcome == TOO_DEEP) {
			stack->link_count = cut_links(stack, stack->link_count, 0);
			unchanged = stack->matched ? match(stack, state, 0) : 0;
		}
	}
	return outcome;
}

static bool no_memory(struct python_stack *stack)
{
	python_forget(stack);
	stack->unknown = true;
	return false;
}

/* What comes before a walk now and then.  false: there is no memory. */
static __attribute__((noinline)) bool prepare(struct python_stack *stack, uint64_t generation, bool attached)
{
	if (generation != stack->generation) {
		drop_dead_links(stack, generation);
		if (attached)
			python_disturbed();
	}
	/* A cut stack that is shallow again is read anew, to its end. */
	if (stack->cut && stack->link_count < stack->capacity / 4)
		python_forget(stack);
	stack->matched = stack->activations == PYTHON_ACTIVATIONS_ALL &&
		(python_layout.activation == PYTHON_ACTIVATION_FRAME ||
		python_layout.activation == PYTHON_ACTIVATION_SEGMENT);
	stack->innermost_only = stack->activations == PYTHON_ACTIVATIONS_INNERMOST && python_layout.state_cframe != 0 &&
		python_layout.activation != PYTHON_ACTIVATION_SHIM;
	return stack->link_capacity || make_room(stack);
}

/* Writes the proofs of links that changed, of which there are `unchanged` others. */
static inline void put_proofs(struct python_stack *stack, const void *state, uint32_t unchanged, bool attached)
{
	uint32_t from = stack->cut ? 0 : unchanged < stack->proof_count ? unchanged : stack->proof_count;

	stack->proof_count = from;
	if (python_layout.instruction != PYTHON_INSTRUCTION_POINTER || !attached || stack->cut || stack->matched ||
			stack->count == 0)
		return;
	for (uint32_t i = from; i < stack->link_count; i++)
		stack->proofs[i] = (struct python_proof){ stack->links[i].frame, stack->links[i].instruction };
	if (stack->codes)
		for (uint32_t i = from; i < stack->link_count; i++)
			stack->codes[i] = stack->links[i].code;
	stack->proof_count = stack->link_count;
	if (!python_layout.state_frame)
		stack->cframe = python_load(state, python_layout.state_cframe);
	atomic_signal_fence(memory_order_seq_cst);
	stack->again = state;
}

bool python_same_codes(const struct python_stack *stack)
{
	for (uint32_t i = stack->proof_count; i-- > 0;)
		if (python_load(stack->proofs[i].frame, python_layout.frame_code) != stack->codes[i])
			return false;
	return true;
}

static inline __attribute__((always_inline)) bool walk_state(struct python_stack *stack, const void *state,
	bool attached)
{
	uint64_t generation = atomic_load_explicit(&python_code_generation, memory_order_acquire);
	const char *top = python_innermost_frame(state);
	const struct python_link *last;
	uint32_t unchanged;

	if (!top)
		return false;
	if (__builtin_expect(generation != stack->generation || stack->cut || !stack->link_capacity, 0) &&
		!prepare(stack, generation, attached))
		return no_memory(stack);
	unchanged = follow(stack, top);
	if (stack->matched)
		unchanged = match(stack, state, unchanged);
	if (unchanged == stack->link_count)
		stack->kept = stack->links[unchanged - 1].visible;
	else if (update(stack, state, unchanged, attached) == NO_MEMORY)
		return no_memory(stack);
	last = &stack->links[stack->link_count - 1];
	stack->count = last->visible;
	stack->innermost_c_address = stack->innermost_only ? python_innermost_cframe(state) : last->c_address;
	stack->truncated = stack->cut;
	put_proofs(stack, state, unchanged, attached);
	return stack->count > 0;
}

/* Before 3.12 and while another interpreter exists: is the thread with the GIL this one? */
static bool is_own_state(const void *state)
{
	return state && python_load(state, python_layout.state_thread) == (uintptr_t)pthread_self();
}

static bool has_interpreters(void)
{
	void *first = python_api.first_interpreter();

	return first && python_api.next_interpreter(first) != NULL;
}

/* The calling thread's state; NULL: none, or *unknown. */
static const void *find_state(bool *attached, bool *unknown)
{
	const void *current = python_api.current_state(), *own;

	*attached = true;
	if (python_layout.minor >= 12 && current)
		return current;
	own = python_api.thread_state();
	if (python_layout.minor < 12) {
		if (own && own == current)
			return own;
		/*
		 * Detached, or attached with another interpreter's state.  Only then is the holder's state looked at:
		 * it may be another thread's, and going.
		 */
		if (has_interpreters()) {
			if (is_own_state(current))
				return current;
			*unknown = own != NULL;   /* detached, from one of them: which cannot be told */
			return NULL;
		}
	}
	*attached = false;
	return own;
}

/*
 * Whether the attached thread state is the calling thread's.  Before 3.12 it is that of whichever thread has the GIL:
 * then one look tells, if the thread was attached with this state before.  Else find_state() does.
 */
static inline bool is_same_state(const struct python_stack *stack, const void *current)
{
	return python_layout.minor >= 12 ||
		(current == stack->state && python_load(current, python_layout.state_thread) == stack->thread);
}

/* A walk of a thread that is not known to be attached. */
static __attribute__((noinline)) bool walk_slowly(struct python_stack *stack)
{
	const void *state;
	bool attached, found;

	state = find_state(&attached, &stack->unknown);
	if (!state)
		return false;
	if (attached) {
		stack->state = state;
		stack->thread = (uintptr_t)pthread_self();
		return walk_state(stack, state, true);
	}
	if (!python_detached_begin()) {
		stack->unknown = true;
		return false;
	}
	found = walk_state(stack, state, false);
	python_detached_end();
	return found;
}

/*
 * The walk, if all that is new is how far the innermost frame has come, as most often; else false, and nothing has
 * changed.
 */
static bool walk_moved(struct python_stack *stack, const void *current)
{
	if (stack->codes || !python_is_there(stack, current))
		return false;

	struct python_proof *proof = &stack->proofs[stack->proof_count - 1];
	struct python_link *link = &stack->links[stack->proof_count - 1];
	struct python_frame *frame = &stack->frames[stack->count - 1];

	/* Its code, too: another function, called from the same place, has its frame where the one before had it. */
	if (python_load(proof->frame, python_layout.frame_code) != link->code ||
			python_load(proof->frame, python_layout.frame_previous) != (uintptr_t)proof[-1].frame ||
			!python_proved(stack, stack->proof_count - 1) || !link->entry || frame->frame != link->frame)
		return false;

	struct python_link moved = *link;
	bool known;

	moved.instruction = python_load(proof->frame, python_layout.frame_instruction);
	const int64_t units = instruction_units(&moved, true, &known);

	if (!known || units < 0 || !has_begun(link, units))
		return false;
	/* Whoever jumps out of here by a signal handler leaves a link that no frame is like. */
	stack->again = NULL;
	link->instruction = 0;
	atomic_signal_fence(memory_order_seq_cst);
	frame->units = (uint32_t)units;
	frame->flags = 0;
	frame->node = 0;
	atomic_signal_fence(memory_order_seq_cst);
	link->instruction = proof->instruction = moved.instruction;
	stack->kept = stack->count - 1;
	atomic_signal_fence(memory_order_seq_cst);
	stack->again = current;
	return true;
}

bool python_walk_anew(struct python_stack *stack)
{
	const bool ready = atomic_load_explicit(&python_state, memory_order_acquire) == PYTHON_READY;
	const void *current = NULL;
	bool found = false;

	if (__builtin_expect(ready, 1)) {
		current = python_api.current_state();
		if (__builtin_expect(stack->walks % PYTHON_LOOK_INTERVAL == 0, 0) && python_is_attached())
			python_hooks_look();
		if (walk_moved(stack, current))
			return true;
	}
	/* Whoever jumps out of here by a signal handler leaves no half-made proofs. */
	stack->again = NULL;
	atomic_signal_fence(memory_order_seq_cst);
	stack->unknown = false;
	if (__builtin_expect(ready, 1)) {
		if (__builtin_expect(current && is_same_state(stack, current), 1))
			found = walk_state(stack, current, true);
		else
			found = walk_slowly(stack);
	}
	if (__builtin_expect(!found, 0)) {
		stack->count = stack->kept = 0;
		stack->truncated = false;
		stack->innermost_c_address = 0;
	}
	return found;
}

void python_forget(struct python_stack *stack)
{
	stack->link_count = 0;
	stack->epoch++;
	stack->cut = false;
	stack->count = stack->kept = 0;
	stack->state = NULL;
	stack->again = NULL;
	stack->proof_count = 0;
}
