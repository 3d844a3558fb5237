/* SPDX-License-Identifier: MIT */
/*
 * Finding a Python stack among those seen lately without walking it.
 *
 *     outermost                                                innermost
 *     <module>  main  run   | step  Vector.add  Vector.__init__           proofs: frame and instruction of each
 *     \_ the last walk's __/ \_ an entry's own _______________/
 *
 * The three innermost frames say where in a table the stack must be if it is known.  That is a guess.  What proves it
 * is, from the inside out, that each frame is where the entry has it, at the same instruction, and leads to the next
 * one: for the innermost FRAMES the entry's own, for the others those of the last walk, which does not change by this.
 * Those have the node now that they had when the entry was made, so they are the same functions at the same lines, and
 * the entry's node is that of the whole stack.
 *
 * As in a walk, no address is read before the frame that leads to it is proved; and no code object need be looked at,
 * since an instruction's address is one in its code object, whose death is told (python_code.h).
 *
 * A handler that interrupts this on its own thread has a stack of its own; if it jumps out, what it leaves is an entry
 * without a key.
 */
#include "python_recent.h"

#include <string.h>

#include "attempts.h"

#include "banned.h"

enum {
	STACK_BITS = 8,
	FRAMES = 4,
};

/* Two cache lines. */
struct python_recent_stack {
	_Alignas(PYTHON_RECENT_ALIGN) uint64_t key;   /* 0: none */
	uint64_t epoch;
	uint32_t base;                /* frames outside of its own */
	uint32_t base_node;           /* and their node */
	uint32_t node;
	uint32_t count;               /* of its own frames */
	uintptr_t c_address;          /* of the innermost activation, if it begins among its own frames; else 0 */
	struct python_proof proofs[1 + FRAMES];   /* the innermost last; before them the frame outside of them */
};

struct python_recent {
	struct attempts attempts;
	uint64_t wanted[1 << STACK_BITS];   /* keys that came once */
	struct python_recent_stack stacks[1 << STACK_BITS];
};

_Static_assert(sizeof(struct python_recent_stack) == 2 * PYTHON_RECENT_ALIGN, "an entry lies in two lines");

size_t python_recent_size(void)
{
	return sizeof(struct python_recent);
}

static inline uint64_t key_of(uintptr_t frame, uintptr_t first, uintptr_t second, uintptr_t third)
{
	const uint64_t key = (frame << 7 ^ first) * 0x9e3779b97f4a7c15u ^ second * 0xff51afd7ed558ccdu ^
		third * 0xc4ceb9fe1a85ec53u;

	return key ? key : 1;
}

static inline size_t place_of(uint64_t key)
{
	return key >> (64 - STACK_BITS);
}

/* Node and activation of the last walk's outermost frames. */
static inline uint32_t node_outside(const struct python_stack *stack, uint32_t base)
{
	const uint32_t visible = base ? stack->links[base - 1].visible : 0;

	return visible ? stack->frames[visible - 1].node : 0;
}

static inline uintptr_t c_address_outside(const struct python_stack *stack, uint32_t base)
{
	return base ? stack->links[base - 1].c_address : 0;
}

struct python_found python_recent_find(struct python_stack *stack)
{
	const struct python_found none = { 0 };
	const size_t previous = python_layout.frame_previous, instruction = python_layout.frame_instruction;
	struct python_recent *recent = stack->recent;
	const void *current;

	if (!recent || stack->codes || stack->walks % PYTHON_LOOK_INTERVAL == 0 ||
			atomic_load_explicit(&python_state, memory_order_acquire) != PYTHON_READY ||
			!python_knows_state(stack, current = python_api.current_state()) || !attempts_again(&recent->attempts))
		return none;

	const char *const top = python_innermost_frame(current);

	if (!top)
		return none;

	const char *second = (const char *)python_load(top, previous);
	const char *third = second ? (const char *)python_load(second, previous) : NULL;
	const uint64_t key = key_of((uintptr_t)top, python_load(top, instruction),
		second ? python_load(second, instruction) : 0, third ? python_load(third, instruction) : 0);
	const struct python_recent_stack *entry = &recent->stacks[place_of(key)];
	const struct python_proof *const own = entry->proofs + 1, *proof = own + entry->count;

	if (entry->key != key || entry->epoch != stack->epoch || entry->base > stack->proof_count || proof[-1].frame != top)
		return none;
	while (proof-- > own)
		if (!python_proves(proof, previous, instruction))
			return none;
	if (own[-1].frame != stack->proofs[(ptrdiff_t)entry->base - 1].frame ||
			node_outside(stack, entry->base) != entry->base_node || !python_proved(stack, entry->base))
		return none;
	recent->attempts.hits++;
	return (struct python_found){
		.node = entry->node,
		.innermost_c_address = stack->innermost_only ? python_innermost_cframe(current)
			: entry->c_address ? entry->c_address : c_address_outside(stack, entry->base),
	};
}

void python_recent_put(struct python_stack *stack, uint32_t node)
{
	struct python_recent *recent = stack->recent;
	const uint32_t count = stack->proof_count;

	if (!recent || !stack->again || stack->codes || recent->attempts.rest > 0)
		return;

	const struct python_proof *const end = stack->proofs + count;
	const uint64_t key = key_of((uintptr_t)end[-1].frame, end[-1].instruction, count > 1 ? end[-2].instruction : 0,
		count > 2 ? end[-3].instruction : 0);
	struct python_recent_stack *entry = &recent->stacks[place_of(key)];
	const uint32_t own = count < FRAMES ? count : FRAMES;
	const struct python_link *innermost = &stack->links[count - 1];

	/* Many a stack is never seen again: it is kept when it comes a second time. */
	if (recent->wanted[place_of(key)] != key) {
		recent->wanted[place_of(key)] = key;
		return;
	}
	entry->key = 0;
	atomic_signal_fence(memory_order_seq_cst);
	entry->epoch = stack->epoch;
	entry->base = count - own;
	entry->base_node = node_outside(stack, entry->base);
	entry->node = node;
	entry->count = own;
	entry->c_address = innermost->first >= entry->base ? innermost->c_address : 0;
	memcpy(entry->proofs, end - own - 1, (1 + own) * sizeof(*entry->proofs));
	atomic_signal_fence(memory_order_seq_cst);
	entry->key = key;
}
