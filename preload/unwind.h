/* SPDX-License-Identifier: MIT */
/*
 * Unwind rules: how to get from a frame to its caller, read from the .eh_frame of the module that holds the code.
 *
 * stack_native.c asks for the rule of every frame it meets; nobody else needs this header but for
 * unwind_modules_changed().  A rule is compiled the first time its address is met (a few hundred nanoseconds) and
 * then kept in one table of the process, so that the next look-up is a load and a compare:
 *
 *     one slot, 64 bits:   hash of the address (32) | generation (15) | code (17)
 *
 * The hash is a bijection of the 47 bits of an address; its upper 15 bits choose a pair of slots, its lower 32 are
 * stored: so a hit is exact, never probable.  The generation makes all slots of before a dlclose void.
 *
 *     code                            meaning
 *     1                               CFA = bp + 16, the caller's bp at CFA - 16       (code with frame pointers)
 *     words << 5 | slot               CFA = sp + 8 * words, words >= 1; the caller's bp at CFA - 8 * slot,
 *                                     or unchanged when slot is 0                      (code without)
 *     UNWIND_RARE | n                 entry n of the dictionary: everything else, by terms (below)
 *     UNWIND_NONE                     no module, or no rule there: generated code
 *     UNWIND_REGISTERS                depends on registers besides sp and bp: a walk with all registers decides
 *
 * In the first two the return address is at CFA - 8.  Everything here may run inside the traced program's malloc()
 * and in signal handlers: no lock, no allocation but one mapping, no memory read that is not known to be mapped.
 *
 * Rules exist for x86-64.  Elsewhere UNWIND_SUPPORTED is 0 and native_walk() reports stacks without frames.
 */
#ifndef SCTMEM_PRELOAD_UNWIND_H
#define SCTMEM_PRELOAD_UNWIND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__LP64__)
#define UNWIND_SUPPORTED 1
#else
#define UNWIND_SUPPORTED 0
#endif

/*
 * Modules were loaded or unloaded: forgets all rules, and by their generation all memos of earlier walks.
 * To be called after dlopen, and after dlclose before another thread can load something else in the same place.
 */
void unwind_modules_changed(void);

/* DWARF's numbers of the registers of x86-64, then what else a term can start from. */
enum unwind_base {
	UNWIND_RBX = 3,
	UNWIND_BP = 6,
	UNWIND_SP = 7,
	UNWIND_R12 = 12,
	UNWIND_R15 = 15,
	UNWIND_RA = 16,
	UNWIND_REGISTERS_COUNT = 17,
	UNWIND_CFA = 17,
	UNWIND_CONSTANT = 18,         /* zero: the value is in `first` */
	UNWIND_UNKNOWN = 19,          /* undefined, or an expression outside what terms can say */
};

/*
 * A value computed from registers and stack words: all that compilers, PLT stubs, signal trampolines and
 * hand-written code ask for in practice.
 *
 *     loads 0:  base + first
 *     loads 1:  [base + first] + second
 *     loads 2:  [[base + first] + second]
 */
struct unwind_term {
	uint8_t base;                 /* enum unwind_base */
	uint8_t loads;
	uint16_t reserved;            /* zero: terms are compared as bytes */
	int32_t first;
	int32_t second;
};

/* What the dictionary holds: all terms start from sp, bp, CFA or a constant. */
struct unwind_rule {
	struct unwind_term cfa;
	struct unwind_term ra;        /* the return address itself, not where it is */
	struct unwind_term bp;        /* the caller's bp */
	uint8_t signal;               /* a signal trampoline: the address that it returns to was not called from */
	uint8_t end;                  /* no caller: the outermost frame */
	uint8_t bp_used;              /* the terms start from bp (bp unchanged in the caller is not a use) */
	uint8_t reserved;
};

/* The whole row of the table that .eh_frame encodes: the values of all registers in the caller. */
struct unwind_row {
	struct unwind_term cfa;
	struct unwind_term registers[UNWIND_REGISTERS_COUNT];
	bool signal;
	bool end;
};

#define UNWIND_PC_BITS 47
#define UNWIND_HASH_FACTOR UINT64_C(0x1e3779b97f4b)   /* odd: multiplying by it can be undone */

enum {
	UNWIND_CODE_BITS = 17,
	UNWIND_FRAME_POINTER = 1,
	UNWIND_SLOT_BITS = 5,
	UNWIND_WORDS_MAX = 2047,
	UNWIND_RARE = 1 << 16,
	UNWIND_NONE = UNWIND_RARE | 0xfffe,
	UNWIND_REGISTERS = UNWIND_RARE | 0xffff,
	UNWIND_GENERATION_BITS = 15,
	UNWIND_PAIR_BITS = 15,
	UNWIND_RULES_MAX = 4096,
};

/* Addresses of programs have 47 bits, and nothing is mapped in the first page. */
static inline bool unwind_is_code_address(uintptr_t pc)
{
	return pc - 4096 < ((uintptr_t)1 << UNWIND_PC_BITS) - 4096;
}

struct unwind_table {
	_Atomic uint64_t slots[2 << UNWIND_PAIR_BITS];
	_Atomic uint32_t states[UNWIND_RULES_MAX];     /* 0 free, 1 being written, 2 readable (release, acquire) */
	struct unwind_rule rules[UNWIND_RULES_MAX];
};

/* The table, mapped at the first call; NULL when there is no memory for it. */
struct unwind_table *unwind_table(void);
/* The number that rules and memos must carry to be valid now; never 0. */
uint32_t unwind_generation(void);

/* Compiles the rule of an address and enters it. */
uint32_t unwind_code_compile(struct unwind_table *table, uint32_t generation, uintptr_t pc);
/* The whole row of an address, not cached; false when the address has none. */
bool unwind_row_find(uintptr_t pc, struct unwind_row *row);

/* The code of the address in the instruction that a frame stands at; pc must pass unwind_is_code_address(). */
static inline uint32_t unwind_code(struct unwind_table *table, uint32_t generation, uintptr_t pc)
{
	uint64_t hash = (uint64_t)pc * UNWIND_HASH_FACTOR & (((uint64_t)1 << UNWIND_PC_BITS) - 1);
	const _Atomic uint64_t *pair = &table->slots[hash >> 32 << 1];
	uint64_t wanted = (hash & 0xffffffffu) << UNWIND_GENERATION_BITS | generation;
	uint64_t slot = atomic_load_explicit(&pair[0], memory_order_acquire);

	if (slot >> UNWIND_CODE_BITS == wanted)
		return (uint32_t)slot & ((1u << UNWIND_CODE_BITS) - 1);
	slot = atomic_load_explicit(&pair[1], memory_order_acquire);
	if (slot >> UNWIND_CODE_BITS == wanted)
		return (uint32_t)slot & ((1u << UNWIND_CODE_BITS) - 1);
	return unwind_code_compile(table, generation, pc);
}

#endif
