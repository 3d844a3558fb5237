/* SPDX-License-Identifier: MIT */
/*
 * Unwind rules: how to get from a frame to its caller, read from the .eh_frame of the module that holds the code.
 *
 * stack_native.c asks for the rule of every frame it meets; nobody else needs this header but for
 * unwind_modules_changed().  A rule is compiled the first time its address is met (a few hundred nanoseconds) and
 * then kept in one table of the process, so that the next look-up is a load and a compare:
 *
 *     an address, 47 bits:   high (28) | middle (15) | low (4)
 *     its pair of slots:     middle
 *     one slot, 64 bits:     high (28) | middle ^ generation (15) | low (4) | code (17)
 *
 * Place and contents of a slot together give the whole address and the generation, so a hit is exact, never probable.
 * No hash: the look-up is on the chain of loads that bounds the speed of a walk, and code that lies together has its
 * rules together, 64 bytes of it in a cache line.  The generation makes all slots of before a dlclose void; those of
 * modules that are never unloaded (lasting.h) are then taken over into the next one as they are asked for.
 *
 *     code                            meaning
 *     0                               none: an empty slot
 *     UNWIND_FRAME_POINTER            CFA = bp + 16, the caller's bp at CFA - 16       (code with frame pointers)
 *     sizes                           CFA = sp + 8 * size, size in bits 0 to 10 and not 0; the caller's bp at
 *                                     CFA - 8 * slot, slot in bits 11 to 15, or unchanged when slot is 0
 *     UNWIND_RARE | n                 entry n of the dictionary: everything else, by terms (below)
 *     UNWIND_NONE                     no module, or no rule there: generated code
 *     UNWIND_ENTRY                    the same, but a function begins right after: its first instruction was made a
 *                                     return address by hand, as makecontext does at the bottom of a coroutine
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

enum {
	UNWIND_CODE_BITS = 17,
	UNWIND_SIZE_MAX = 8 * 0x7ff,
	UNWIND_SLOT_SHIFT = 11,
	UNWIND_SLOT_MAX = 31,
	UNWIND_SLOT_MASK = UNWIND_SLOT_MAX << UNWIND_SLOT_SHIFT,
	UNWIND_FRAME_POINTER = UNWIND_SLOT_MASK,       /* as if of size 0 */
	UNWIND_RARE = 1 << 16,
	UNWIND_ENTRY = UNWIND_RARE | 0xfffd,
	UNWIND_NONE = UNWIND_RARE | 0xfffe,
	UNWIND_REGISTERS = UNWIND_RARE | 0xffff,
	UNWIND_GENERATION_BITS = 15,
	UNWIND_LOW_BITS = 4,
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

/* One of the process; looked at through the functions below. */
struct unwind_shared {
	_Atomic(struct unwind_table *) table;
	_Atomic uint32_t changes;     /* of modules; the low bits are the generation and never 0 */
};
extern struct unwind_shared unwind_shared __attribute__((visibility("hidden")));

struct unwind_table *unwind_table_map(void);
/* Compiles the rule of an address and enters it. */
uint32_t unwind_code_compile(struct unwind_table *table, uint32_t generation, uintptr_t pc);
/* The whole row of an address, not cached; false when the address has none. */
bool unwind_row_find(uintptr_t pc, struct unwind_row *row);

/* The table, mapped at the first call; NULL when there is no memory for it. */
static inline struct unwind_table *unwind_table(void)
{
	struct unwind_table *table = atomic_load_explicit(&unwind_shared.table, memory_order_acquire);

	return __builtin_expect(!table, 0) ? unwind_table_map() : table;
}

/* The number that rules and memos must carry to be valid now; never 0. */
static inline uint32_t unwind_generation(void)
{
	return atomic_load_explicit(&unwind_shared.changes, memory_order_acquire) &
		((1u << UNWIND_GENERATION_BITS) - 1);
}

/* The two slots that may hold the rule of an address, and what stands above the code in the one that does. */
static inline _Atomic uint64_t *unwind_pair(struct unwind_table *table, uintptr_t pc)
{
	return &table->slots[(pc >> UNWIND_LOW_BITS & ((1u << UNWIND_PAIR_BITS) - 1)) * 2];
}

static inline uint64_t unwind_key(uint32_t generation, uintptr_t pc)
{
	enum { UP = UNWIND_CODE_BITS, DOWN = 64 - UP };

	return (pc << UP | pc >> DOWN) ^ (uint64_t)generation << (UNWIND_CODE_BITS + UNWIND_LOW_BITS);
}

/* Of a slot in the address's pair, whichever address it is of. */
static inline uint32_t unwind_slot_generation(uint64_t slot, uintptr_t pc)
{
	return (uint32_t)(slot >> (UNWIND_CODE_BITS + UNWIND_LOW_BITS) ^ pc >> UNWIND_LOW_BITS) &
		((1u << UNWIND_GENERATION_BITS) - 1);
}

/* Whether a slot less its address's key is a code: not 0, which may be an empty slot's. */
static inline bool unwind_is_code(uint64_t code)
{
	return code - 1 < ((uint64_t)1 << UNWIND_CODE_BITS) - 1;
}

/* The code of the address in the instruction that a frame stands at; pc must pass unwind_is_code_address(). */
static inline uint32_t unwind_code(struct unwind_table *table, uint32_t generation, uintptr_t pc)
{
	const _Atomic uint64_t *pair = unwind_pair(table, pc);
	uint64_t key = unwind_key(generation, pc), code = atomic_load_explicit(&pair[0], memory_order_acquire) ^ key;

	if (unwind_is_code(code))
		return (uint32_t)code;
	code = atomic_load_explicit(&pair[1], memory_order_acquire) ^ key;
	if (unwind_is_code(code))
		return (uint32_t)code;
	return unwind_code_compile(table, generation, pc);
}

/* Of a code that is neither rare nor UNWIND_FRAME_POINTER: from sp to the CFA, and from there down to the saved bp. */
static inline uint32_t unwind_code_size(uint32_t code)
{
	return (code & (UNWIND_SIZE_MAX / 8)) * 8;
}

static inline uint32_t unwind_code_slot(uint32_t code)
{
	return code >> UNWIND_SLOT_SHIFT & UNWIND_SLOT_MAX;
}

#endif
