/* SPDX-License-Identifier: MIT */
/*
 * The walk with the validated memo.
 *
 * A step goes from a frame (pc, sp, bp) to its caller by the rule of pc.  What it yields depends on the frame, and
 * on the stack words that the rule reads: the return address and, where it was saved, bp.  So when a walk comes to
 * a frame that the previous walk had as well, the rest is the same if and only if those words are:
 *
 *     frames[]      0          1         ...        i - 1          i         (i + 1 ...: gone)
 *                 outermost                           |            |
 *                                                     |            +-- the new walk came to the same (pc, sp, bp)
 *                                                     +-- word at sp - 8 is still pc + 1, and the saved bp's word
 *                                                         still its bp: then this frame is proved too, and so on
 *
 * The words are compared from the inside out and the comparison ends with the first that differs.  So each address
 * read is the CFA of a frame already proved to be live: a memo of a stack that was unmapped, switched, or
 * jumped out of cannot lead anywhere.  The loads do not depend on each other, so they overlap, and the branches
 * are predicted: under a nanosecond a frame.  On a difference the walk goes on from the last frame proved.
 *
 * What is compared lies apart from the frames, in checks[]: an address and its word each, for the frame before which
 * the walk ended, then for frames[0], and so on inwards; frames[i].checks is where those of frames[i] end.
 *
 * The saved bp needs to be compared only if an outer step uses it before another reloads it (NATIVE_BP_LIVE).  The
 * price is that bp is stale in some frames of the array; resume() computes it anew where it walks on.
 *
 * A frame that was not reached by a regular step is NATIVE_IRREGULAR, and is proved by taking the step again:
 * above signal trampolines, realigned frames, stack switches, generated code.
 *
 * New frames are pushed down from the end of the array, innermost first, so that they come to lie outermost first;
 * the old ones at its beginning stay comparable until the walk has gone past them.
 *
 * Three ways lead to a stack, each tried when the one before fails: all words are as they were; by regular steps to a
 * frame of the memo, outside of which nothing is new (walk_near(), nine of ten in a parser that recurses); or the whole
 * of what is told above (walk_anew()).
 */
#include "stack_native.h"

#include "unwind_modules.h"

#include "banned.h"

#if UNWIND_SUPPORTED

enum {
	GUESS_REACH = 16 << 10,       /* a guessed frame is at most this large: libunwind's bound */
	ANCHOR_REACH = 1 << 20,       /* stacks are probed by page up to this distance from a known place above */
	PAGE = 4096,
	RECOVERY_STEPS_MAX = 2048,
};

/* The top of the stack that the kernel made: known to the loader. */
extern void *__libc_stack_end __attribute__((weak));

/* A place above sp on the same stack, if sp is on the main stack or on that of a thread of the C library. */
static uintptr_t anchor_above(uintptr_t sp)
{
	uintptr_t thread = (uintptr_t)__builtin_thread_pointer();
	uintptr_t main = &__libc_stack_end ? (uintptr_t)__libc_stack_end : 0;

	if (main > sp && main - sp <= ANCHOR_REACH)
		return main;
	/* The thread control block lies above the thread's stack in the same mapping. */
	return thread > sp && thread - sp <= ANCHOR_REACH ? thread : 0;
}

/*
 * Where sp can be read upwards.  Nearness to an anchor is a guess until each page between was seen to be readable;
 * that costs less than reading the maps, which programs with many threads have many of.
 */
static bool range_find(uintptr_t sp, struct native_range *range)
{
	uintptr_t page = sp & ~(uintptr_t)(PAGE - 1), anchor = anchor_above(sp);
	struct unwind_extent mapping;

	if (anchor) {
		uintptr_t high = (anchor + PAGE) & ~(uintptr_t)(PAGE - 1);

		if (unwind_pages_readable(page, high)) {
			*range = (struct native_range){ page, high };
			return true;
		}
	}
	if (!unwind_mapping_find(sp, &mapping))
		return false;
	*range = (struct native_range){ mapping.start, mapping.end };
	return true;
}

uintptr_t native_stack_high(uintptr_t sp)
{
	struct native_range range;

	return range_find(sp, &range) ? range.high : 0;
}

/* The range that sp lies in, from the thread's few known ones if it can be. */
static bool range_of(struct native_stack *stack, uintptr_t sp, struct native_range *range)
{
	uintptr_t page = sp & ~(uintptr_t)(PAGE - 1);

	for (uint32_t i = 0; i < NATIVE_RANGES; i++) {
		struct native_range *known = &stack->ranges[i];

		if (sp >= known->low && sp < known->high) {
			*range = *known;
			return true;
		}
	}
	/* Stacks grow: the pages just below a known range are most likely the same stack's. */
	for (uint32_t i = 0; i < NATIVE_RANGES; i++) {
		struct native_range *known = &stack->ranges[i];

		if (sp < known->low && known->low - sp <= ANCHOR_REACH / 4 && unwind_pages_readable(page, known->low)) {
			known->low = page;
			*range = *known;
			return true;
		}
	}
	if (!range_find(sp, range))
		return false;
	stack->ranges[stack->range_next++ % NATIVE_RANGES] = *range;
	return true;
}

/*
 * The range of a frame.  Its sp may be the very end of a stack, but the return address below it is inside; unless
 * it was interrupted at the very beginning of one.
 */
static bool range_of_frame(struct native_stack *stack, uintptr_t sp, struct native_range *range)
{
	return range_of(stack, sp - sizeof(uintptr_t), range) || range_of(stack, sp, range);
}

/* What a walk carries from frame to frame. */
struct walk {
	struct native_stack *stack;
	struct unwind_table *table;
	uintptr_t low, high;          /* of the stack that the current frame is on */
	uintptr_t stop_cfa;
	uintptr_t limit;              /* stop_cfa while on its stack, else all ones */
	uint32_t generation;
	uint32_t old;                 /* frames[0..old) are of the previous walk and may still match */
	uint32_t top;                 /* frames[top..capacity) are new */
	bool truncated, stopped;
};

static void walk_enter(struct walk *walk, const struct native_range *range)
{
	walk->low = range->low;
	walk->high = range->high;
	walk->limit = walk->stop_cfa >= range->low && walk->stop_cfa < range->high && walk->stop_cfa ?
		walk->stop_cfa : UINTPTR_MAX;
}

static bool walk_enter_stack(struct walk *walk, uintptr_t sp)
{
	struct native_range range;

	if (sp > walk->low && sp <= walk->high)
		return true;
	if (!range_of_frame(walk->stack, sp, &range))
		return false;
	walk_enter(walk, &range);
	return true;
}

/* What became of a step. */
enum step {
	STEP_FRAME,                   /* there is a caller */
	STEP_END,                     /* there is none, a word on the stack says */
	STEP_BOTTOM,                  /* there is none, the rule says */
	STEP_STOP,                    /* there is no way to know */
};

/* Registers of a frame, as far as they are known. */
struct registers {
	uintptr_t values[UNWIND_CONSTANT + 1];
	uint32_t known;               /* bit per register */
};

/* Reads a word of the stack that the walk is on; of another one if it is that of a live thread all the same. */
NATIVE_READS_STACKS static bool load(struct walk *walk, uintptr_t address, uintptr_t *word)
{
	struct native_range range = { walk->low, walk->high };

	if ((address < range.low || address >= range.high) && !range_of(walk->stack, address, &range))
		return false;
	if (address < range.low || range.high - address < sizeof(*word))
		return false;
	*word = native_word_at(address);
	return true;
}

static bool term_value(struct walk *walk, const struct unwind_term *term, const struct registers *registers,
	uintptr_t *value)
{
	if (term->base > UNWIND_CONSTANT || !(registers->known >> term->base & 1))
		return false;
	*value = registers->values[term->base] + (uintptr_t)(intptr_t)term->first;
	if (term->loads == 0)
		return true;
	if (!load(walk, *value, value))
		return false;
	*value += (uintptr_t)(intptr_t)term->second;
	return term->loads == 1 || load(walk, *value, value);
}

static void registers_set(struct registers *registers, unsigned number, uintptr_t value)
{
	registers->values[number] = value;
	registers->known |= 1u << number;
}

/* A caller's sp and pc are plausible: the stack is left upwards, or by a signal or a switch to another one. */
static enum step caller_check(struct walk *walk, const struct native_frame *from, uintptr_t cfa, uintptr_t ra,
	bool signal)
{
	if (ra == 0)
		return STEP_END;
	if (!unwind_is_code_address(ra))
		return STEP_STOP;
	if (!signal && cfa <= from->sp && cfa >= walk->low && cfa < walk->high)
		return STEP_STOP;
	return STEP_FRAME;
}

static enum step step_rule(struct walk *walk, const struct unwind_rule *rule, struct native_frame *from,
	struct native_frame *to)
{
	struct registers registers = { .known = 0 };
	uintptr_t ra, bp = 0;

	from->flags |= (rule->bp_used ? NATIVE_BP_USED : 0) | (rule->signal ? NATIVE_SIGNAL : 0);
	registers_set(&registers, UNWIND_SP, from->sp);
	registers_set(&registers, UNWIND_BP, from->bp);
	registers_set(&registers, UNWIND_CONSTANT, 0);
	if (!term_value(walk, &rule->cfa, &registers, &from->cfa))
		return rule->end ? STEP_BOTTOM : STEP_STOP;
	registers_set(&registers, UNWIND_CFA, from->cfa);
	if (rule->end)
		return STEP_BOTTOM;
	if (!term_value(walk, &rule->ra, &registers, &ra))
		return STEP_STOP;
	/* An undefined bp is no reason to stop: whoever needs it will. */
	if (!term_value(walk, &rule->bp, &registers, &bp))
		bp = 0;
	*to = (struct native_frame){
		.pc = rule->signal ? ra : ra - 1,
		.sp = from->cfa,
		.bp = bp,
		.flags = NATIVE_IRREGULAR | (rule->signal ? NATIVE_EXACT : 0),
	};
	return caller_check(walk, from, from->cfa, ra, rule->signal);
}

/* One step of a walk that carries all registers. */
static enum step step_registers(struct walk *walk, const struct unwind_row *row, struct registers *registers,
	uintptr_t *ra)
{
	struct registers next = { .known = 0 };
	uintptr_t value;

	if (!term_value(walk, &row->cfa, registers, &value))
		return row->end ? STEP_BOTTOM : STEP_STOP;
	registers_set(registers, UNWIND_CFA, value);
	if (row->end)
		return STEP_BOTTOM;
	for (unsigned i = 0; i < UNWIND_RA; i++)
		if (term_value(walk, &row->registers[i], registers, &value))
			registers_set(&next, i, value);
	if (!term_value(walk, &row->registers[UNWIND_RA], registers, ra) || !(next.known >> UNWIND_SP & 1))
		return STEP_STOP;
	registers_set(&next, UNWIND_CONSTANT, 0);
	*registers = next;
	return STEP_FRAME;
}

/*
 * Finds all registers of a frame, by a walk that starts in this very function, where they can be read, and follows
 * the full rules through the library and the frames above the hook.  Slow, and needed for a handful of hand-written
 * functions only.
 */
__attribute__((noinline)) NATIVE_READS_STACKS
static bool registers_recover(struct walk *walk, const struct native_frame *frame, struct registers *registers)
{
	uintptr_t pc, values[8];
	bool exact = true;

	/* All in one statement, so that they belong to one instruction. */
	__asm__ volatile(
		"movq %%rbx, 0(%1)\n\tmovq %%rbp, 8(%1)\n\tmovq %%rsp, 16(%1)\n\tmovq %%r12, 24(%1)\n\t"
		"movq %%r13, 32(%1)\n\tmovq %%r14, 40(%1)\n\tmovq %%r15, 48(%1)\n\tleaq 0(%%rip), %0"
		: "=&r"(pc) : "r"(values) : "memory");
	*registers = (struct registers){ .known = 0 };
	registers_set(registers, UNWIND_RBX, values[0]);
	registers_set(registers, UNWIND_BP, values[1]);
	registers_set(registers, UNWIND_SP, values[2]);
	for (unsigned i = 0; i < 4; i++)
		registers_set(registers, UNWIND_R12 + i, values[3 + i]);
	registers_set(registers, UNWIND_CONSTANT, 0);
	for (unsigned steps = 0; steps < RECOVERY_STEPS_MAX; steps++) {
		struct unwind_row row;
		uintptr_t ra, lookup = exact ? pc : pc - 1;

		if (registers->values[UNWIND_SP] == frame->sp && lookup == frame->pc)
			return true;
		if (!unwind_row_find(lookup, &row) || step_registers(walk, &row, registers, &ra) != STEP_FRAME)
			return false;
		exact = row.signal;
		pc = ra;
	}
	return false;
}

/* A frame whose rule asks for more than sp and bp. */
static enum step step_recover(struct walk *walk, struct native_frame *from, struct native_frame *to)
{
	struct registers registers;
	struct unwind_row row;
	uintptr_t ra;
	enum step step;

	from->flags |= NATIVE_BP_USED;
	if (!unwind_row_find(from->pc, &row) || !registers_recover(walk, from, &registers))
		return STEP_STOP;
	if (row.signal)
		from->flags |= NATIVE_SIGNAL;
	if (!term_value(walk, &row.cfa, &registers, &from->cfa))
		return row.end ? STEP_BOTTOM : STEP_STOP;
	step = step_registers(walk, &row, &registers, &ra);
	if (step != STEP_FRAME)
		return step;
	*to = (struct native_frame){
		.pc = row.signal ? ra : ra - 1,
		.sp = registers.values[UNWIND_SP],
		.bp = registers.known >> UNWIND_BP & 1 ? registers.values[UNWIND_BP] : 0,
		.flags = NATIVE_IRREGULAR | (row.signal ? NATIVE_EXACT : 0),
	};
	return caller_check(walk, from, to->sp, ra, row.signal);
}

/* Generated code, mostly: its frame pointer, if it looks like one. */
static enum step step_guess(struct walk *walk, struct native_frame *from, struct native_frame *to)
{
	uintptr_t ra, bp;
	enum step step;

	from->flags |= NATIVE_BP_USED;
	/* By the ABI a frame pointer of zero marks the outermost frame. */
	if (from->bp == 0)
		return STEP_END;
	if (from->bp < from->sp || from->bp - from->sp > GUESS_REACH || !load(walk, from->bp, &bp) ||
			!load(walk, from->bp + 8, &ra))
		return STEP_STOP;
	from->cfa = from->bp + 16;
	step = caller_check(walk, from, from->cfa, ra, false);
	*to = (struct native_frame){ .pc = ra - 1, .sp = from->cfa, .bp = bp,
		.flags = NATIVE_IRREGULAR | NATIVE_GUESSED };
	return step;
}

/* The step that a code of the two common kinds means, taken slowly: where it leaves the stack it began on. */
static enum step step_common(struct walk *walk, uint32_t code, struct native_frame *from, struct native_frame *to)
{
	uint32_t slot = unwind_code_slot(code);
	uintptr_t ra, bp = from->bp;
	enum step step;

	if (code == UNWIND_FRAME_POINTER) {
		from->flags |= NATIVE_BP_USED;
		from->cfa = from->bp + 16;
		slot = 2;
	} else {
		from->cfa = from->sp + unwind_code_size(code);
	}
	if (!load(walk, from->cfa - 8, &ra) || (slot && !load(walk, from->cfa - 8 * slot, &bp)))
		return STEP_STOP;
	step = caller_check(walk, from, from->cfa, ra, false);
	*to = (struct native_frame){ .pc = ra - 1, .sp = from->cfa, .bp = bp, .flags = NATIVE_IRREGULAR };
	return step;
}

/*
 * The exact step, of any kind.  Sets cfa and flags of `from`; `to` is set if there is a caller.  The caller is
 * irregular: how to compare words for it, only the fast step in native_walk() knows.
 */
static enum step step_slow(struct walk *walk, struct native_frame *from, struct native_frame *to)
{
	uint32_t code = unwind_code(walk->table, walk->generation, from->pc);
	enum step step;

	from->cfa = from->sp;
	if (code == UNWIND_NONE || code == UNWIND_ENTRY)
		step = step_guess(walk, from, to);
	else if (code == UNWIND_REGISTERS)
		step = step_recover(walk, from, to);
	else if (code & UNWIND_RARE)
		step = step_rule(walk, &walk->table->rules[code & (UNWIND_RULES_MAX - 1)], from, to);
	else
		step = step_common(walk, code, from, to);
	return step == STEP_STOP && code == UNWIND_ENTRY ? STEP_END : step;
}

/* A step out of a frame may end on another stack. */
__attribute__((noinline))
static enum step step_across(struct walk *walk, struct native_frame *from, struct native_frame *to)
{
	enum step step = walk_enter_stack(walk, from->sp) ? step_slow(walk, from, to) : STEP_STOP;

	if (step == STEP_FRAME && !walk_enter_stack(walk, to->sp))
		step = STEP_STOP;
	return step;
}

static inline uintptr_t flags_slot(uint32_t flags)
{
	return flags >> UNWIND_SLOT_SHIFT & UNWIND_SLOT_MAX;
}

/* Whether `frame` is what lies outside `inside`, which is proved, but for its bp if that does not matter. */
__attribute__((noinline))
static bool proved_by_step(struct walk *walk, const struct native_frame *inside, const struct native_frame *frame)
{
	struct native_frame from = *inside, to;

	return step_across(walk, &from, &to) == STEP_FRAME && to.pc == frame->pc && to.sp == frame->sp &&
		(to.bp == frame->bp || !(frame->flags & NATIVE_BP_LIVE)) &&
		!((to.flags ^ frame->flags) & (NATIVE_EXACT | NATIVE_GUESSED));
}

/* The same by words, for frames reached by a regular step. */
NATIVE_READS_STACKS static inline __attribute__((always_inline)) bool proved_by_words(const struct native_frame *frame)
{
	uint32_t flags = frame->flags;

	if (native_word_at(frame->sp - 8) != frame->pc + 1)
		return false;
	return !(flags & NATIVE_BP_CHECKED) || native_word_at(frame->sp - 8 * flags_slot(flags)) == frame->bp;
}

/* frames[from] is proved: how far outwards are the others, some of which are irregular? */
static __attribute__((noinline)) uint32_t prove_irregular(struct walk *walk, uint32_t from)
{
	const struct native_frame *frames = walk->stack->frames, *frame = &frames[from];

	for (; frame > frames; frame--) {
		if (!(frame[-1].flags & NATIVE_IRREGULAR)) {
			if (!proved_by_words(&frame[-1]))
				break;
		} else if (!proved_by_step(walk, frame, &frame[-1])) {
			break;
		}
	}
	return (uint32_t)(frame - frames);
}

/* frames[from] is proved: how far outwards are the others?  The index of the outermost one. */
static inline uint32_t prove(struct walk *walk, uint32_t from)
{
	const struct native_stack *stack = walk->stack;
	const struct word *first = stack->checks + WORDS_PADDING, *differs;
	uint32_t at = from;

	if (__builtin_expect(stack->frames[from].flags & NATIVE_IRREGULAR_OUTSIDE, 0))
		return prove_irregular(walk, from);
	if (from == 0)
		return 0;
	differs = words_differ(first, first + stack->frames[from - 1].checks);
	if (!differs || differs < first + stack->beyond.checks)
		return 0;
	while (at > 1 && first + stack->frames[at - 2].checks > differs)
		at--;
	return at;
}

/* All frames are proved; is the end of the stack still what it was? */
__attribute__((noinline))
static bool prove_end(struct walk *walk)
{
	struct native_stack *stack = walk->stack;
	struct native_frame outermost = stack->frames[0], to;
	enum step step;

	if (stack->end == NATIVE_END_BOTTOM)
		return true;
	if (stack->end == NATIVE_END_BEYOND)
		return stack->beyond.flags & NATIVE_IRREGULAR ?
			proved_by_step(walk, &outermost, &stack->beyond) : proved_by_words(&stack->beyond);
	step = step_across(walk, &outermost, &to);
	return step == (stack->stopped ? STEP_STOP : STEP_END);
}

/*
 * The walk goes on from frames[outermost], and the old frames inside of it up to frames[old - 1], which is
 * `current`, are the same as before but have other frames outside: they become new ones.  Their bp is computed
 * anew, from the inside out.  `current` becomes frames[outermost], to be stepped next.
 */
NATIVE_READS_STACKS static void adopt(struct walk *walk, uint32_t outermost, struct native_frame *current)
{
	struct native_frame *frames = walk->stack->frames;

	current->cfa = frames[walk->old - 1].cfa;
	current->flags |= frames[walk->old - 1].flags & (NATIVE_BP_USED | NATIVE_SIGNAL);
	for (uint32_t i = walk->old - 1; i > outermost; i--) {
		struct native_frame next = frames[i - 1];

		if (next.flags & NATIVE_IRREGULAR) {
			struct native_frame from = *current, to;

			next.bp = step_across(walk, &from, &to) == STEP_FRAME ? to.bp : 0;
		} else if (flags_slot(next.flags)) {
			next.bp = native_word_at(next.sp - 8 * flags_slot(next.flags));
		} else {
			next.bp = current->bp;
		}
		next.node = 0;
		/* There is room: each takes the place of an old one, at worst that of `next`, which is read already. */
		walk->stack->frames[--walk->top] = *current;
		*current = next;
	}
	walk->old = outermost;
}

/* Whether the previous walk, if it comes to the same frames, also ends where this one must. */
static bool memo_fits(const struct native_stack *stack, uint32_t generation, uintptr_t stop_cfa)
{
	if (stack->count == 0 || stack->generation != generation)
		return false;
	if (stack->stop_cfa == stop_cfa)
		return true;
	/* Another place in the same frame, or another such frame in which the same part of the stack ends. */
	return stack->end == NATIVE_END_BEYOND && !stack->truncated && stop_cfa >= stack->frames[0].cfa &&
		stop_cfa < stack->beyond.cfa && stop_cfa >= stack->stack_low && stop_cfa < stack->stack_high &&
		stack->stop_cfa >= stack->stack_low && stack->stop_cfa < stack->stack_high;
}

/*
 * The walk came to a frame of the previous one, frames[old - 1].  True when all the rest is proved to be as it was;
 * else `current` is what to go on from.
 */
static bool resume(struct walk *walk, struct native_frame *current, uint32_t *kept)
{
	struct native_stack *stack = walk->stack;
	uint32_t last = walk->old - 1, outermost;
	struct native_frame *frame = &stack->frames[last];
	bool enough = !stack->truncated || walk->old + stack->capacity - walk->top >= stack->capacity / 2;

	/* How it was reached is new; what it leads to is not. */
	frame->flags = (frame->flags & (NATIVE_BP_USED | NATIVE_BP_LIVE | NATIVE_SIGNAL | NATIVE_GUESSED_OUTSIDE |
		NATIVE_IRREGULAR_OUTSIDE)) | current->flags;
	if (frame->flags & NATIVE_BP_LIVE && flags_slot(frame->flags) && !(frame->flags & NATIVE_IRREGULAR))
		frame->flags |= NATIVE_BP_CHECKED;
	frame->bp = current->bp;
	outermost = prove(walk, last);
	if (enough && outermost == 0 && prove_end(walk)) {
		*kept = last + 1;
		return true;
	}
	adopt(walk, outermost, current);
	walk_enter_stack(walk, current->sp);
	return false;
}

/* Where a walk by regular steps is. */
struct steps {
	struct native_frame *top;     /* the frame pushed last */
	struct native_frame *old;     /* behind the frames of the previous walk that may still match */
	uintptr_t pc, sp, bp;
	uint32_t flags;
};

/*
 * Takes regular steps for as long as it can, pushing frames.  True if it came to a frame of the previous walk, false if
 * the next step is anything but regular, or there is no room.
 *
 * Nearly all of the time of fresh frames is here: the chain from one return address over its rule to the next.  So
 * what is carried is in local variables, and the bound is the nearer of the stack's end and the limit.
 */
NATIVE_READS_STACKS static inline __attribute__((always_inline)) bool steps_take(struct steps *steps,
	struct unwind_table *table, uint32_t generation, uintptr_t bound)
{
	for (;;) {
		uintptr_t pc = steps->pc, sp = steps->sp, bp = steps->bp, cfa, ra;
		uint32_t code, slot, used = 0;

		while (steps->old[-1].sp < sp)
			steps->old--;
		if (steps->old[-1].sp == sp && steps->old[-1].pc == pc &&
				(steps->old[-1].bp == bp || !(steps->old[-1].flags & NATIVE_BP_LIVE)))
			return true;
		code = unwind_code(table, generation, pc);
		if (code == UNWIND_FRAME_POINTER) {
			if (bp < sp || bp > bound - 16)
				return false;
			cfa = bp + 16;
			slot = 2 << UNWIND_SLOT_SHIFT;
			used = NATIVE_BP_USED;
		} else {
			cfa = sp + unwind_code_size(code);
			slot = code & UNWIND_SLOT_MASK;
			if (code & UNWIND_RARE || cfa > bound)
				return false;
		}
		ra = native_word_at(cfa - 8);
		if (__builtin_expect(!unwind_is_code_address(ra), 0) || steps->top == steps->old)
			return false;
		/* The other fields are filled in when it is known where the frame will stay. */
		steps->top--;
		steps->top->pc = pc;
		steps->top->sp = sp;
		steps->top->bp = bp;
		steps->top->cfa = cfa;
		steps->top->flags = steps->flags | used;
		if (slot)
			steps->bp = native_word_at(cfa - 8 * flags_slot(slot));
		steps->pc = ra - 1;
		steps->sp = cfa;
		steps->flags = slot;
	}
}

/* The same for walk_frames(); `current` is where it stopped. */
NATIVE_READS_STACKS static bool walk_regular(struct walk *walk, struct native_frame *current)
{
	struct native_frame *frames = walk->stack->frames;
	struct steps steps = { &frames[walk->top], &frames[walk->old], current->pc, current->sp, current->bp, current->flags };
	bool match = steps_take(&steps, walk->table, walk->generation, walk->limit < walk->high ? walk->limit : walk->high);

	walk->top = (uint32_t)(steps.top - frames);
	walk->old = (uint32_t)(steps.old - frames);
	*current = (struct native_frame){ .pc = steps.pc, .sp = steps.sp, .bp = steps.bp, .flags = steps.flags };
	return match;
}

/* All of the array is new and the stack goes on: the outer part of it is left out. */
static void truncate(struct walk *walk)
{
	struct native_stack *stack = walk->stack;

	walk->top = stack->capacity / 4;
	stack->beyond = stack->frames[walk->top - 1];
	stack->beyond.flags |= NATIVE_BP_LIVE;
	stack->end = NATIVE_END_BEYOND;
	walk->truncated = true;
}

/* What is there to know of a place that has this code; false: its rule is of neither of the two common kinds. */
static inline bool place_of_code(struct native_place *place, uint32_t code)
{
	if (code != UNWIND_FRAME_POINTER && code & UNWIND_RARE)
		return false;
	place->size = code == UNWIND_FRAME_POINTER ? 0 : unwind_code_size(code);
	return place->size != 0 || code == UNWIND_FRAME_POINTER;
}

/* Whether `current`, which is on the walk's stack, is the frame that the walk is to end before: mostly plain to see. */
static bool ends_before(const struct walk *walk, struct native_frame *current)
{
	struct native_place place;

	if (walk->limit == UINTPTR_MAX || current->sp <= walk->low || current->sp > walk->high ||
			!place_of_code(&place, unwind_code(walk->table, walk->generation, current->pc)) ||
			native_place_cfa(&place, current->sp, current->bp) <= walk->limit)
		return false;
	current->cfa = native_place_cfa(&place, current->sp, current->bp);
	current->flags |= place.size ? 0 : NATIVE_BP_USED;
	return true;
}

bool native_place_learn(struct native_place *place, const struct native_start *start)
{
	struct unwind_table *table = unwind_table();
	struct native_place learnt = { .pc = start->pc, .generation = unwind_generation() };

	if (!table || !place_of_code(&learnt, unwind_code(table, learnt.generation, start->pc - 1)))
		return false;
	*place = learnt;
	return true;
}

/* Steps from `current` until the previous walk's frames take over, or the stack ends.  The number of frames kept. */
static uint32_t walk_frames(struct walk *walk, struct native_frame *current)
{
	struct native_stack *stack = walk->stack;
	uint32_t kept;

	for (;;) {
		struct native_frame next;
		uintptr_t limit;
		enum step step;

		if (walk_regular(walk, current)) {
			if (resume(walk, current, &kept))
				return kept;
			continue;
		}
		if (walk->top == walk->old) {
			if (walk->top == 0) {
				truncate(walk);
				return 0;
			}
			/* Old frames make room: the price is the memo, this once. */
			walk->old = 0;
			continue;
		}
		limit = walk->limit;
		step = ends_before(walk, current) ? STEP_STOP : step_across(walk, current, &next);
		if (current->cfa > limit) {
			stack->beyond = *current;
			stack->beyond.flags |= current->flags & NATIVE_BP_USED ? NATIVE_BP_LIVE : 0;
			stack->end = NATIVE_END_BEYOND;
			return 0;
		}
		stack->frames[--walk->top] = *current;
		if (step != STEP_FRAME) {
			walk->stopped = step == STEP_STOP;
			stack->end = step == STEP_BOTTOM ? NATIVE_END_BOTTOM : NATIVE_END_WORDS;
			return 0;
		}
		*current = next;
	}
}

/* Whether a step into the frame leaves bp as it was in the frame inside of it: or might, where it was irregular. */
static bool bp_passes(uint32_t flags)
{
	return flags & NATIVE_IRREGULAR || flags_slot(flags) == 0;
}

/* The frame that a walk ended before: whether the saved bp matters to it.  Whether it does to the frame inside. */
static bool settle_beyond(struct native_frame *beyond)
{
	uint32_t flags = beyond->flags & ~(uint32_t)NATIVE_BP_CHECKED;

	if (flags & NATIVE_BP_LIVE && flags_slot(flags) && !(flags & NATIVE_IRREGULAR))
		flags |= NATIVE_BP_CHECKED;
	beyond->flags = flags;
	return flags & NATIVE_BP_LIVE && bp_passes(flags);
}

/* What the frames inside of one with these flags have outside of them. */
static uint32_t outside_of(uint32_t flags)
{
	return (flags & (NATIVE_GUESSED_OUTSIDE | NATIVE_IRREGULAR_OUTSIDE)) |
		(flags & NATIVE_GUESSED ? NATIVE_GUESSED_OUTSIDE : 0) |
		(flags & NATIVE_IRREGULAR ? NATIVE_IRREGULAR_OUTSIDE : 0);
}

/* Writes down the words that prove a frame, reached by a regular step; returns where those of the next one go. */
static inline struct word *put_words(struct word *to, const struct native_frame *frame, uint32_t flags)
{
	/* From the inside out the return address comes before the saved bp. */
	if (__builtin_expect(flags & NATIVE_BP_CHECKED, 0))
		*to++ = (struct word){ frame->sp - 8 * flags_slot(flags), frame->bp };
	*to++ = (struct word){ frame->sp - 8, frame->pc + 1 };
	return to;
}

/* The same behind the first `count` of the memo; returns how many they are then. */
static inline uint32_t put_checks(struct native_stack *stack, uint32_t count, const struct native_frame *frame)
{
	struct word *checks = stack->checks + WORDS_PADDING;

	return frame->flags & NATIVE_IRREGULAR ? count
		: (uint32_t)(put_words(checks + count, frame, frame->flags) - checks);
}

/* Whether the next walk, from the same place, may be a comparison of words alone. */
static void settle_again(struct native_stack *stack)
{
	const struct native_frame *innermost = stack->frames + stack->count - 1;
	uintptr_t low = stack->stop_cfa, high = low + 1;

	stack->again.stop_size = 0;
	if (stack->count == 0 || stack->irregular || stack->end == NATIVE_END_WORDS)
		return;
	if (stack->end == NATIVE_END_BEYOND) {
		if (stack->truncated || stack->beyond.flags & NATIVE_IRREGULAR)
			return;
		/* See memo_fits(). */
		if (low >= stack->frames[0].cfa && high <= stack->beyond.cfa && low >= stack->stack_low &&
				high <= stack->stack_high) {
			low = stack->frames[0].cfa;
			high = stack->beyond.cfa < stack->stack_high ? stack->beyond.cfa : stack->stack_high;
		}
	}
	stack->again = (struct native_again){
		.pc = innermost->pc + 1,
		.sp = innermost->sp,
		.bp = innermost->bp,
		.bp_mask = innermost->flags & NATIVE_BP_LIVE ? ~(uintptr_t)0 : 0,
		.stop_low = low,
		.stop_size = high - low,
		.end = stack->checks + WORDS_PADDING + (stack->count > 1 ? innermost[-1].checks
			: stack->beyond.checks),
		.generation = stack->generation,
	};
}

/* Field by field: as a whole it would be loaded in other sizes than it was just stored in, and waited for. */
static inline void copy_new_frame(struct native_frame *to, const struct native_frame *from)
{
	to->pc = from->pc;
	to->sp = from->sp;
	to->bp = from->bp;
	to->cfa = from->cfa;
	to->node = 0;
}

/*
 * Moves the new frames to the kept ones, and works out in which of them the saved bp matters, from the outermost
 * inwards.
 */
static void settle(struct native_stack *stack, const struct native_frame *from, uint32_t fresh)
{
	enum {
		OUTSIDE = NATIVE_GUESSED_OUTSIDE | NATIVE_IRREGULAR_OUTSIDE,
		SETTLED = NATIVE_BP_LIVE | NATIVE_BP_CHECKED | OUTSIDE,
	};
	struct native_frame *to = &stack->frames[stack->kept];
	uint32_t live = stack->end == NATIVE_END_WORDS, outside = 0, checks;
	uint64_t serial = ++stack->serial;

	if (stack->kept > 0) {
		checks = stack->kept > 1 ? to[-2].checks : stack->beyond.checks;
		/* How the innermost one was reached is new. */
		to[-1].checks = checks = put_checks(stack, checks, &to[-1]);
		live = to[-1].flags & NATIVE_BP_LIVE && bp_passes(to[-1].flags);
		outside = outside_of(to[-1].flags);
	} else if (stack->end == NATIVE_END_BEYOND) {
		live = settle_beyond(&stack->beyond);
		stack->beyond.checks = checks = put_checks(stack, 0, &stack->beyond);
	} else {
		stack->beyond.checks = checks = 0;
	}
	for (uint32_t i = 0; i < fresh; i++) {
		uint32_t flags = (from[i].flags & ~(uint32_t)SETTLED) | outside;

		if (live || flags & NATIVE_BP_USED) {
			flags |= NATIVE_BP_LIVE;
			if (flags_slot(flags) && !(flags & NATIVE_IRREGULAR))
				flags |= NATIVE_BP_CHECKED;
		}
		copy_new_frame(&to[i], &from[i]);
		to[i].flags = flags;
		to[i].serial = serial;
		to[i].checks = checks = put_checks(stack, checks, &to[i]);
		live = flags & NATIVE_BP_LIVE && bp_passes(flags);
		outside = outside_of(flags);
	}
	stack->count = stack->kept + fresh;
	stack->guessed = outside & NATIVE_GUESSED_OUTSIDE;
	stack->irregular = outside & NATIVE_IRREGULAR_OUTSIDE;
	settle_again(stack);
}

/* Writes down the frames of a walk by regular steps inside of `to`, which has its flags already. */
static inline void settle_near(struct native_stack *stack, struct native_frame *to, const struct native_frame *from,
	const struct native_frame *end)
{
	struct word *first = stack->checks + WORDS_PADDING;
	struct word *word = first + (to > stack->frames ? to[-1].checks : stack->beyond.checks);
	uint64_t serial = ++stack->serial;
	uint32_t live = to->flags & NATIVE_BP_LIVE && bp_passes(to->flags);

	word = put_words(word, to, to->flags);
	to->checks = (uint32_t)(word - first);
	for (; from < end; from++) {
		uint32_t flags = from->flags;

		to++;
		if (__builtin_expect(live | (flags & NATIVE_BP_USED), 0)) {
			flags |= NATIVE_BP_LIVE | (flags_slot(flags) ? NATIVE_BP_CHECKED : 0);
			live = flags_slot(flags) == 0;
		}
		copy_new_frame(to, from);
		to->flags = flags;
		to->serial = serial;
		word = put_words(word, from, flags);
		to->checks = (uint32_t)(word - first);
	}
}

/*
 * The most frequent walk that has something new to find: by regular steps to a frame of the previous walk, outside of
 * which nothing is new.  False, and nothing has changed: it is none of that kind.
 */
NATIVE_READS_STACKS static inline bool walk_near(struct native_stack *stack, const struct native_start *start,
	uintptr_t stop_cfa, uint32_t generation)
{
	struct native_again *again = &stack->again;
	struct native_frame *frames = stack->frames, *last;
	const struct word *first = stack->checks + WORDS_PADDING;
	struct native_frame *end = &frames[stack->capacity];
	struct steps steps = { end, &frames[stack->count], start->pc - 1, start->sp, start->bp, 0 };
	uintptr_t bound = stack->stack_high, stop_size = again->stop_size;
	uint32_t kept, flags;

	/* That it is set says that all frames are regular, and how they end. */
	if (stop_cfa - again->stop_low >= stop_size || again->generation != generation ||
			start->sp <= stack->stack_low || start->sp > bound || !unwind_is_code_address(start->pc))
		return false;
	if (stop_cfa >= stack->stack_low && stop_cfa < bound && stop_cfa)
		bound = stop_cfa;
	if (!steps_take(&steps, unwind_table(), generation, bound))
		return false;
	last = steps.old - 1;
	kept = (uint32_t)(steps.old - frames);
	if (words_differ(first, first + (last > frames ? last[-1].checks : stack->beyond.checks)))
		return false;
	/* Whoever jumps out of here by a signal handler leaves no half-made memo. */
	stack->count = 0;
	again->stop_size = 0;
	atomic_signal_fence(memory_order_seq_cst);
	/* How it was reached is new; what it leads to is not. */
	flags = (last->flags & (NATIVE_BP_USED | NATIVE_BP_LIVE | NATIVE_SIGNAL)) | steps.flags;
	if (flags & NATIVE_BP_LIVE && flags_slot(flags))
		flags |= NATIVE_BP_CHECKED;
	last->flags = flags;
	last->bp = steps.bp;
	settle_near(stack, last, steps.top, end);
	last += end - steps.top;
	again->pc = start->pc;
	again->sp = start->sp;
	again->bp = start->bp;
	again->bp_mask = last->flags & NATIVE_BP_LIVE ? ~(uintptr_t)0 : 0;
	again->end = first + (last > frames ? last[-1].checks : stack->beyond.checks);
	stack->kept = kept;
	stack->stop_cfa = stop_cfa;
	atomic_signal_fence(memory_order_seq_cst);
	again->stop_size = stop_size;
	stack->count = kept + (uint32_t)(end - steps.top);
	return true;
}

/* Any other walk. */
static __attribute__((noinline)) void walk_anew(struct native_stack *stack, const struct native_start *start,
	uintptr_t stop_cfa, uint32_t generation)
{
	struct walk walk = { .stack = stack, .table = unwind_table(), .stop_cfa = stop_cfa,
		.generation = generation, .top = stack->capacity };
	struct native_range range = { stack->stack_low, stack->stack_high };
	struct native_frame current = { .pc = start->pc - 1, .sp = start->sp, .bp = start->bp };

	if (!walk.table || !unwind_is_code_address(start->pc) ||
			((start->sp <= range.low || start->sp > range.high) &&
				!range_of_frame(stack, start->sp, &range))) {
		native_forget(stack);
		stack->stopped = true;
		return;
	}
	walk_enter(&walk, &range);
	if (memo_fits(stack, walk.generation, stop_cfa))
		walk.old = stack->count;
	/* Whoever jumps out of here by a signal handler leaves no half-made memo. */
	stack->count = 0;
	stack->again.stop_size = 0;
	stack->kept = walk_frames(&walk, &current);
	if (stack->kept == 0) {
		stack->truncated = walk.truncated;
		stack->stopped = walk.stopped;
	}
	stack->stack_low = range.low;
	stack->stack_high = range.high;
	stack->stop_cfa = walk.stop_cfa;
	stack->generation = walk.generation;
	settle(stack, &stack->frames[walk.top], stack->capacity - walk.top);
}

void native_walk(struct native_stack *stack, const struct native_start *start, uintptr_t stop_cfa)
{
	const struct word *first = stack->checks + WORDS_PADDING;

	/* The most frequent walk of all: from the same place as the one before, and nothing has changed. */
	if (native_fits(&stack->again, start, stop_cfa) && !words_differ(first, stack->again.end))
		stack->kept = stack->count;
	else if (!walk_near(stack, start, stop_cfa, unwind_generation()))
		walk_anew(stack, start, stop_cfa, unwind_generation());
}

#else

void native_walk(struct native_stack *stack, const struct native_start *start, uintptr_t stop_cfa)
{
	(void)start;
	(void)stop_cfa;
	native_forget(stack);
}

bool native_place_learn(struct native_place *place, const struct native_start *start)
{
	(void)place;
	(void)start;
	return false;
}

uintptr_t native_stack_high(uintptr_t sp)
{
	(void)sp;
	return 0;
}

#endif

void native_init(struct native_stack *stack, void *memory, uint32_t capacity)
{
	struct native_frame *frames = (struct native_frame *)memory + 1;
	struct word *checks = (struct word *)(frames + capacity);

	frames[-1] = (struct native_frame){ .sp = UINTPTR_MAX };
	words_pad(checks, WORDS_PADDING);
	*stack = (struct native_stack){ .frames = frames, .checks = checks, .capacity = capacity };
}

void native_forget(struct native_stack *stack)
{
	*stack = (struct native_stack){ .frames = stack->frames, .checks = stack->checks, .capacity = stack->capacity,
		.serial = stack->serial };
}
