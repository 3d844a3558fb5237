/* SPDX-License-Identifier: MIT */
/*
 * The table of rules (see unwind.h): entering what unwind_cfi.c finds, and forgetting it when modules change.
 *
 * Any number of threads and signal handlers use the table at once and never wait.  A slot is one atomic word, so
 * what is lost in a race is compiled again.  An entry of the dictionary is written by whoever moved its state from
 * free to being written; others pass it by and take the next, so that at worst a rule is there twice.  Rules in the
 * dictionary say nothing about modules and stay when modules change.
 */
#include "unwind.h"

#include <string.h>

#include "arena.h"
#include "lasting.h"
#include "sys.h"
#include "unwind_cfi.h"
#include "unwind_modules.h"

#include "banned.h"

#if UNWIND_SUPPORTED

struct unwind_shared unwind_shared = { .changes = 1 };

struct unwind_table *unwind_table_map(void)
{
	/* Pages come into being as they are touched: a small program uses a few of them. */
	struct unwind_table *table = sys_map_memory(sizeof(*table)), *other = NULL;

	if (!table)
		return NULL;
	if (atomic_compare_exchange_strong(&unwind_shared.table, &other, table)) {
		arena_note(table, sizeof(*table));
		return table;
	}
	sys_unmap(table, sizeof(*table));
	return other;
}

static void table_clear(struct unwind_table *table)
{
	for (size_t i = 0; table && i < sizeof(table->slots) / sizeof(table->slots[0]); i++)
		if (atomic_load_explicit(&table->slots[i], memory_order_relaxed))
			atomic_store_explicit(&table->slots[i], 0, memory_order_relaxed);
}

void unwind_modules_changed(void)
{
	uint32_t now = atomic_load_explicit(&unwind_shared.changes, memory_order_relaxed), next;

	do {
		next = now + 1;
		if ((next & ((1u << UNWIND_GENERATION_BITS) - 1)) == 0) {
			/* The numbers begin anew: what carries an old one must be gone before it is valid again. */
			table_clear(atomic_load_explicit(&unwind_shared.table, memory_order_acquire));
			next++;
		}
	} while (!atomic_compare_exchange_weak(&unwind_shared.changes, &now, next));
}

bool unwind_row_find(uintptr_t pc, struct unwind_row *row)
{
	struct unwind_module module;

	return unwind_is_code_address(pc) && unwind_module_find(pc, unwind_generation(), &module) &&
		unwind_cfi_row(&module, pc, UNWIND_ALL_REGISTERS, row);
}

static bool term_is(const struct unwind_term *term, unsigned base, unsigned loads, int32_t first)
{
	return term->base == base && term->loads == loads && term->first == first && term->second == 0;
}

/* The walk carries sp and bp only. */
static bool term_needs_more(const struct unwind_term *term)
{
	return term->base != UNWIND_SP && term->base != UNWIND_BP && term->base < UNWIND_REGISTERS_COUNT;
}

/* The codes that need no dictionary; 0 when the row is none of them. */
static uint32_t code_common(const struct unwind_row *row)
{
	const struct unwind_term *cfa = &row->cfa, *bp = &row->registers[UNWIND_BP];
	uint32_t slot = 0;

	if (row->signal || row->end || !term_is(&row->registers[UNWIND_RA], UNWIND_CFA, 1, -8))
		return 0;
	if (term_is(cfa, UNWIND_BP, 0, 16) && term_is(bp, UNWIND_CFA, 1, -16))
		return UNWIND_FRAME_POINTER;
	if (!term_is(cfa, UNWIND_SP, 0, cfa->first) || cfa->first < 8 || cfa->first % 8 != 0 ||
			cfa->first > UNWIND_SIZE_MAX)
		return 0;
	if (bp->base == UNWIND_CFA && bp->loads == 1 && bp->second == 0 && bp->first % 8 == 0 && bp->first < -8 &&
			bp->first >= -8 * UNWIND_SLOT_MAX && -bp->first <= cfa->first)
		slot = (uint32_t)(-bp->first / 8);
	else if (!term_is(bp, UNWIND_BP, 0, 0))
		return 0;
	return (uint32_t)cfa->first / 8 | slot << UNWIND_SLOT_SHIFT;
}

static uint32_t hash_rule(const struct unwind_rule *rule)
{
	const unsigned char *bytes = (const unsigned char *)rule;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof(*rule); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash ^ hash >> 15;
}

/* The dictionary's code of a rule, which is entered if it is new; 0 when there is no room near its place. */
static uint32_t code_rare(struct unwind_table *table, const struct unwind_rule *rule)
{
	enum { PROBES = 32 };
	uint32_t first = hash_rule(rule);

	_Static_assert(sizeof(*rule) == 40, "rules are compared as bytes and may have no padding");
	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t index = (first + i) % UNWIND_RULES_MAX, state = 0;

		if (atomic_compare_exchange_strong_explicit(&table->states[index], &state, 1,
				memory_order_acq_rel, memory_order_acquire)) {
			table->rules[index] = *rule;
			atomic_store_explicit(&table->states[index], 2, memory_order_release);
			return UNWIND_RARE | index;
		}
		if (state == 2 && memcmp(&table->rules[index], rule, sizeof(*rule)) == 0)
			return UNWIND_RARE | index;
	}
	return 0;
}

static uint32_t code_of_row(struct unwind_table *table, const struct unwind_row *row)
{
	const struct unwind_term *sp = &row->registers[UNWIND_SP];
	uint32_t code = code_common(row);
	struct unwind_rule rule = {
		.cfa = row->cfa,
		.ra = row->registers[UNWIND_RA],
		.bp = row->registers[UNWIND_BP],
		.signal = row->signal,
		.end = row->end,
	};

	if (code)
		return code;
	if (row->end)
		rule.ra = rule.bp = (struct unwind_term){ .base = UNWIND_CONSTANT };
	/* sp in the caller must be the CFA, as everywhere; or be given as the same term, as in signal trampolines. */
	if (!row->end && !term_is(sp, UNWIND_CFA, 0, 0) && memcmp(sp, &row->cfa, sizeof(*sp)) != 0)
		return UNWIND_REGISTERS;
	if (term_needs_more(&rule.cfa) || term_needs_more(&rule.ra) || term_needs_more(&rule.bp))
		return UNWIND_REGISTERS;
	rule.bp_used = rule.cfa.base == UNWIND_BP || rule.ra.base == UNWIND_BP ||
		(rule.bp.base == UNWIND_BP && !term_is(&rule.bp, UNWIND_BP, 0, 0));
	code = code_rare(table, &rule);
	return code ? code : UNWIND_REGISTERS;
}

/* The rule of an address in a module that stays, of whatever generation: it is entered anew.  0: there is none. */
static uint32_t code_kept(_Atomic uint64_t *pair, uint32_t generation, uintptr_t pc)
{
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t slot = atomic_load_explicit(&pair[i], memory_order_acquire);
		const uint64_t code = slot ^ unwind_key(unwind_slot_generation(slot, pc), pc);

		if (!unwind_is_code(code) || !lasting_has(pc))
			continue;
		atomic_store_explicit(&pair[i], unwind_key(generation, pc) ^ code, memory_order_release);
		return (uint32_t)code;
	}
	return 0;
}

uint32_t unwind_code_compile(struct unwind_table *table, uint32_t generation, uintptr_t pc)
{
	_Atomic uint64_t *pair = unwind_pair(table, pc);
	uint64_t first = atomic_load_explicit(&pair[0], memory_order_relaxed);
	uint32_t code = code_kept(pair, generation, pc);
	struct unwind_module module;
	struct unwind_row row;

	if (code)
		return code;
	code = UNWIND_NONE;
	if (unwind_module_find(pc, generation, &module)) {
		if (unwind_cfi_row(&module, pc, UNWIND_WALKED_REGISTERS, &row))
			code = code_of_row(table, &row);
		else if (unwind_cfi_row(&module, pc + 1, UNWIND_WALKED_REGISTERS, &row))
			/* Not a call's return address but the first of a function, pushed by hand. */
			code = row.end || row.signal ? code_of_row(table, &row) : UNWIND_ENTRY;
	}
	/* The newcomer is likely to be asked for again soon: it takes the first place, what was there the second. */
	if (unwind_slot_generation(first, pc) == generation)
		atomic_store_explicit(&pair[1], first, memory_order_relaxed);
	atomic_store_explicit(&pair[0], unwind_key(generation, pc) ^ code, memory_order_release);
	return code;
}

#else

void unwind_modules_changed(void)
{
}

#endif
