/* SPDX-License-Identifier: MIT */
/*
 * Finding a stack among those seen lately without walking it.
 *
 * What tells one stack from another that has the same innermost frame is a return address somewhere above.  So each
 * place (pc, sp) that was allocated from has the positions of a few words that made a difference there before; their
 * values now, hashed with the place, say where in a table the stack must be if it is known:
 *
 *     places    (pc, sp) -> positions  40, 88, 184          stack, upwards from sp:   ... | 40 | ... | 88 | ... | 184
 *                                  \_________________________ hash of place and words ___/______/____________/
 *     stacks    hash -> words of the inner frames, number of words of the memo
 *
 * That is a guess.  What proves it is the comparison of all words that the walk had read, as in stack_native.c: those
 * of the inner frames are the stack's own copy, those of the outer ones still stand in the memo, if its frame where the
 * inner ones begin is the same as then (its serial number says so; it and all outside of it were not replaced since).
 * As there, each address that is read is the CFA of a frame already proved to be live.  The positions are looked at
 * before anything is proved, so they all lie in the page of the innermost return address.
 *
 * A guess that turns out wrong at a word makes that word's position one of the place's.  No branch depends on which
 * stack it is, so that a program which comes from many places at random has none mispredicted here.
 *
 * A handler that interrupts this on its own thread has a state of its own; if it jumps out, what it leaves is a stack
 * that no start fits.
 */
#include "stack_recent.h"

#include <stdatomic.h>

#include "banned.h"

enum {
	STACKS = 256,
	PLACES = 256,
	SAMPLES = 4,
	LESSONS_MAX = 24,             /* so often a place learns: where more makes no difference it would unlearn for ever */
	PAGE = 4096,
};

/* A place that was allocated from; its positions count from the word below sp, which is the return address itself. */
struct recent_place {
	uintptr_t pc, sp;
	uint16_t positions[SAMPLES];
	uint32_t lessons;
};

struct recent_memory {
	struct recent_place places[PLACES];
	uint64_t keys[STACKS];        /* apart, so that a search in vain touches no more than these */
	struct recent_stack stacks[STACKS];
};

size_t recent_size(void)
{
	return sizeof(struct recent_memory);
}

static inline uint64_t place_hash(uintptr_t pc, uintptr_t sp)
{
	return (pc ^ sp << 21) * 0x9e3779b97f4a7c15u;
}

static inline struct recent_place *place_at(struct recent *recent, uint64_t hash, uintptr_t pc, uintptr_t sp)
{
	struct recent_place *place = &recent->memory->places[hash >> 56];

	if (__builtin_expect(place->pc != pc || place->sp != sp, 0))
		*place = (struct recent_place){ .pc = pc, .sp = sp };
	return place;
}

NATIVE_READS_STACKS static inline uint64_t key_of(uint64_t hash, const struct recent_place *place)
{
	uintptr_t low = place->sp - 8;

	return hash ^ native_word_at(low + place->positions[0]) * 0xff51afd7ed558ccdu ^
		native_word_at(low + place->positions[1]) * 0xc4ceb9fe1a85ec53u ^
		native_word_at(low + place->positions[2]) * 0x9fb21c651e98df25u ^
		native_word_at(low + place->positions[3]) * 0xd6e8feb86659fd93u;
}

static __attribute__((noinline)) void learn(struct recent_place *place, uintptr_t address)
{
	uintptr_t low = place->sp - 8;

	if (place->lessons < LESSONS_MAX && ((address ^ low) & ~(uintptr_t)(PAGE - 1)) == 0)
		place->positions[place->lessons++ % SAMPLES] = (uint16_t)(address - low);
}

struct recent_stack *recent_find(struct recent *recent, const struct native_stack *stack,
	const struct native_start *start, uintptr_t stop_cfa)
{
	uint64_t hash = place_hash(start->pc, start->sp), key;
	struct recent_place *place = place_at(recent, hash, start->pc, start->sp);
	const struct word *memo = stack->checks + WORDS_PADDING, *differs;
	struct recent_stack *found;

	key = key_of(hash, place);
	found = &recent->memory->stacks[key >> 56];
	if (recent->memory->keys[key >> 56] != key || found->key != key || !native_fits(&found->start, start, stop_cfa))
		return NULL;
	differs = words_differ(found->words, found->start.end);
	if (!differs && found->join) {
		if (found->join > stack->count || stack->frames[found->join - 1].serial != found->serial)
			return NULL;
		differs = words_differ(memo, memo + found->outer);
	}
	if (__builtin_expect(!differs, 1))
		return found;
	learn(place, differs->address);
	return NULL;
}

/* The memo's words from `from` to `to`, behind as many that are always true as make it a multiple of four. */
static const struct word *copy_words(struct recent_stack *found, const struct word *from,
	const struct word *to)
{
	uint32_t padding = -(uint32_t)(to - from) % 4;
	struct word *end = found->words + padding;

	words_pad(found->words, padding);
	while (from < to)
		*end++ = *from++;
	return end;
}

struct recent_stack *recent_put(struct recent *recent, const struct native_stack *stack)
{
	const struct native_again *again = &stack->again;
	const struct word *memo = stack->checks + WORDS_PADDING;
	uint32_t join = 0, outer = 0;
	struct recent_stack *found;

	if (again->stop_size == 0)
		return NULL;
	if (again->end - memo > RECENT_WORDS && (join = stack->kept) > 0)
		outer = join > 1 ? stack->frames[join - 2].checks : stack->beyond.checks;
	if (again->end - (memo + outer) > RECENT_WORDS)
		return NULL;
	uint64_t hash = place_hash(again->pc, again->sp);
	uint64_t key = key_of(hash, place_at(recent, hash, again->pc, again->sp));

	found = &recent->memory->stacks[key >> 56];
	if (recent->memory->keys[key >> 56] != key) {
		/* Many a stack is never seen again: the words are copied for one that comes a second time. */
		recent->memory->keys[key >> 56] = key;
		return NULL;
	}
	found->start.stop_size = 0;
	atomic_signal_fence(memory_order_seq_cst);
	found->key = key;
	found->start = *again;
	found->start.stop_size = 0;
	found->start.end = copy_words(found, memo + outer, again->end);
	found->outer = outer;
	found->join = join;
	found->serial = join > 0 ? stack->frames[join - 1].serial : 0;
	found->identity = ++recent->identities;
	found->node = found->base = 0;
	atomic_signal_fence(memory_order_seq_cst);
	found->start.stop_size = again->stop_size;
	return found;
}

void recent_forget(struct recent *recent)
{
	if (!recent->identities)
		return;
	for (uint32_t i = 0; i < STACKS; i++)
		recent->memory->stacks[i].start.stop_size = 0;
}
