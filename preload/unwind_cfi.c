/* SPDX-License-Identifier: MIT */
/*
 * From .eh_frame to the row of one address.
 *
 * .eh_frame_hdr is a sorted table of function starts; it leads to the FDE of the function, which names its CIE.
 * Both carry programs for a small machine that builds, address by address, the rules for the CFA and for each
 * register; we run them up to the address asked for.  What compilers encode as DWARF expressions is evaluated
 * here, symbolically: PLT stubs depend only on the address itself, realigned frames and signal trampolines only on
 * a stack word or two, so that all of it becomes terms (unwind.h) and nothing is left to interpret during a walk.
 *
 * The bytes are another's and may be damaged: every read is checked against the readable part of the module that it
 * began in, every loop ends with its bytes, and whatever makes no sense means that there is no rule.
 */
#include "unwind_cfi.h"

#include <string.h>

#include "banned.h"

#if UNWIND_SUPPORTED

enum {
	STATES_MAX = 6,               /* nesting of DW_CFA_remember_state; compilers use one */
	VALUES_MAX = 12,              /* stack of an expression */
	ENTRIES_MAX = 1 << 22,        /* of .eh_frame, when there is no sorted table */
};

/* Bytes being read: once anything was wrong, all reads give zero. */
struct bytes {
	const uint8_t *at, *end;
	uintptr_t data;               /* what DW_EH_PE_datarel is relative to */
	bool bad;
};

static void bytes_fail(struct bytes *bytes)
{
	bytes->bad = true;
	bytes->at = bytes->end;
}

static uint64_t bytes_fixed(struct bytes *bytes, size_t size)
{
	uint64_t value = 0;

	if ((size_t)(bytes->end - bytes->at) < size) {
		bytes_fail(bytes);
		return 0;
	}
	memcpy(&value, bytes->at, size);
	bytes->at += size;
	return value;
}

static inline uint8_t bytes_u8(struct bytes *bytes)
{
	if (bytes->at < bytes->end)
		return *bytes->at++;
	bytes_fail(bytes);
	return 0;
}

static uint64_t bytes_leb(struct bytes *bytes, bool is_signed)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = bytes_u8(bytes);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && shift < 77);
	if (byte & 0x80)
		bytes_fail(bytes);
	if (is_signed && byte & 0x40 && shift < 64)
		value |= ~(uint64_t)0 << shift;
	return value;
}

/* Nearly all are of one byte. */
static inline uint64_t bytes_uleb(struct bytes *bytes)
{
	if (bytes->at < bytes->end && *bytes->at < 0x80)
		return *bytes->at++;
	return bytes_leb(bytes, false);
}

static int64_t bytes_sleb(struct bytes *bytes)
{
	return (int64_t)bytes_leb(bytes, true);
}

/* The next `size` bytes as their own range. */
static struct bytes bytes_part(struct bytes *bytes, uint64_t size)
{
	struct bytes part = *bytes;

	if ((uint64_t)(bytes->end - bytes->at) < size) {
		bytes_fail(bytes);
		bytes_fail(&part);
		return part;
	}
	part.end = part.at + size;
	bytes->at += size;
	return part;
}

enum {
	ENCODING_FORMAT = 0x0f,
	ENCODING_RELATION = 0x70,
	ENCODING_PC_RELATIVE = 0x10,
	ENCODING_DATA_RELATIVE = 0x30,
	ENCODING_INDIRECT = 0x80,
	ENCODING_OMIT = 0xff,
	ENCODING_TABLE = 0x3b,        /* datarel sdata4: what every linker writes in .eh_frame_hdr */
};

/* A pointer in one of the encodings of DW_EH_PE_*.  Indirect ones are read, but not followed. */
static uintptr_t bytes_pointer(struct bytes *bytes, uint8_t encoding)
{
	uintptr_t place = (uintptr_t)bytes->at, value = 0;

	switch (encoding & ENCODING_FORMAT) {
	case 0x0: case 0x4: case 0xc:
		value = bytes_fixed(bytes, 8);
		break;
	case 0x1:
		value = bytes_uleb(bytes);
		break;
	case 0x2:
		value = bytes_fixed(bytes, 2);
		break;
	case 0x3:
		value = bytes_fixed(bytes, 4);
		break;
	case 0x9:
		value = (uintptr_t)bytes_sleb(bytes);
		break;
	case 0xa:
		value = (uintptr_t)(int16_t)bytes_fixed(bytes, 2);
		break;
	case 0xb:
		value = (uintptr_t)(int32_t)bytes_fixed(bytes, 4);
		break;
	default:
		bytes_fail(bytes);
	}
	switch (encoding & ENCODING_RELATION) {
	case 0:
		return value;
	case ENCODING_PC_RELATIVE:
		return value + place;
	case ENCODING_DATA_RELATIVE:
		return value + bytes->data;
	default:
		bytes_fail(bytes);
		return 0;
	}
}

/* What the CIE tells about its FDEs, then what the FDE tells. */
struct frame_entry {
	uint64_t code_factor;
	int64_t data_factor;
	uintptr_t start, end;         /* of the function */
	struct bytes common, own;     /* the two programs */
	uint8_t encoding;             /* of code addresses */
	bool augmented, signal;
};

/* Header of a CIE or FDE: its contents without length; *id_at is where its second word is.  Empty: terminator. */
static struct bytes entry_contents(struct bytes *bytes, uintptr_t *id_at, uint32_t *id)
{
	uint64_t length = bytes_fixed(bytes, 4);
	struct bytes contents;

	if (length == 0xffffffffu)
		length = bytes_fixed(bytes, 8);
	contents = bytes_part(bytes, length);
	*id_at = (uintptr_t)contents.at;
	*id = (uint32_t)(length ? bytes_fixed(&contents, 4) : 0);
	return contents;
}

static bool cie_read_augmentation(struct bytes *cie, const char *letters, struct frame_entry *entry)
{
	struct bytes data;

	if (!*letters)
		return true;
	/* Without 'z' nobody can know how long the data of letters unknown to us are. */
	if (*letters != 'z')
		return false;
	entry->augmented = true;
	data = bytes_part(cie, bytes_uleb(cie));
	while (*++letters) {
		if (*letters == 'R')
			entry->encoding = bytes_u8(&data);
		else if (*letters == 'P')
			bytes_pointer(&data, bytes_u8(&data) & (ENCODING_FORMAT | ENCODING_RELATION));
		else if (*letters == 'L')
			bytes_u8(&data);
		else if (*letters == 'S')
			entry->signal = true;
		else if (*letters != 'B')
			return false;
	}
	return !data.bad;
}

static bool cie_read(struct bytes all, struct frame_entry *entry)
{
	char letters[9];
	size_t count = 0;
	uintptr_t id_at;
	uint32_t id;
	struct bytes cie = entry_contents(&all, &id_at, &id);
	uint8_t version = bytes_u8(&cie);

	if (cie.bad || id != 0 || (version != 1 && version != 3 && version != 4))
		return false;
	while ((letters[count] = (char)bytes_u8(&cie)) != 0)
		if (++count == sizeof(letters))
			return false;
	if (version == 4 && (bytes_u8(&cie) != 8 || bytes_u8(&cie) != 0))
		return false;
	entry->code_factor = bytes_uleb(&cie);
	entry->data_factor = bytes_sleb(&cie);
	if ((version == 1 ? bytes_u8(&cie) : bytes_uleb(&cie)) != UNWIND_RA)
		return false;
	entry->encoding = 0;
	if (!cie_read_augmentation(&cie, letters, entry))
		return false;
	entry->common = cie;
	return !cie.bad;
}

/* Reads the FDE at the beginning of `all`, a part of `extent`; whether it was one, and covers pc. */
static bool fde_read(struct bytes *all, const struct unwind_extent *extent, uintptr_t pc, struct frame_entry *entry)
{
	uintptr_t id_at;
	uint32_t id;
	struct bytes fde = entry_contents(all, &id_at, &id), cie = *all;

	/* The second word of an FDE is its distance from its CIE; of a CIE it is 0. */
	if (fde.bad || id == 0 || id_at - extent->start < id)
		return false;
	*entry = (struct frame_entry){ .signal = false };
	cie.at = (const uint8_t *)(id_at - id);
	cie.end = (const uint8_t *)extent->end;
	if (!cie_read(cie, entry))
		return false;
	entry->start = bytes_pointer(&fde, entry->encoding);
	entry->end = entry->start + bytes_pointer(&fde, entry->encoding & ENCODING_FORMAT);
	if (entry->augmented)
		bytes_part(&fde, bytes_uleb(&fde));
	entry->own = fde;
	return !fde.bad && !(entry->encoding & ENCODING_INDIRECT) && pc >= entry->start && pc < entry->end;
}

/* Files without a sorted table: from the first entry on. */
static bool fde_scan(struct bytes all, const struct unwind_extent *extent, uintptr_t pc, struct frame_entry *entry)
{
	for (size_t i = 0; i < ENTRIES_MAX && !all.bad && all.end - all.at > 4; i++) {
		uint32_t length;

		memcpy(&length, all.at, sizeof(length));
		if (length == 0)
			return false;
		if (fde_read(&all, extent, pc, entry))
			return true;
	}
	return false;
}

static bool fde_find(const struct unwind_module *module, uintptr_t pc, struct frame_entry *entry)
{
	struct unwind_extent extent = unwind_module_extent(module, module->frame_header);
	struct bytes header = { (const uint8_t *)module->frame_header, (const uint8_t *)extent.end,
		module->frame_header, false };
	uintptr_t frames, at;
	uint64_t count;
	uint8_t encodings[4];
	size_t low = 0;

	if (!module->frame_header || extent.start == extent.end)
		return false;
	for (size_t i = 0; i < 4; i++)
		encodings[i] = bytes_u8(&header);
	if (header.bad || encodings[0] != 1)
		return false;
	frames = bytes_pointer(&header, encodings[1]);
	count = encodings[2] == ENCODING_OMIT ? 0 : bytes_pointer(&header, encodings[2]);
	if (header.bad)
		return false;
	at = frames;
	if (count > 0 && encodings[3] == ENCODING_TABLE) {
		size_t high = (size_t)(header.end - header.at) / 8;
		int64_t wanted = (int64_t)(pc - module->frame_header);
		int32_t pair[2];

		high = count < high ? (size_t)count : high;
		/* Invariant: the entry wanted, if any, is the last one below `high` that starts at or before pc. */
		while (low < high) {
			size_t middle = low + (high - low) / 2;

			memcpy(pair, header.at + 8 * middle, sizeof(pair));
			if (pair[0] <= wanted)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == 0)
			return false;
		memcpy(pair, header.at + 8 * (low - 1), sizeof(pair));
		at = module->frame_header + (uintptr_t)(intptr_t)pair[1];
	}
	extent = unwind_module_extent(module, at);
	if (extent.start == extent.end)
		return false;
	header.at = (const uint8_t *)at;
	header.end = (const uint8_t *)extent.end;
	return low ? fde_read(&header, &extent, pc, entry) : fde_scan(header, &extent, pc, entry);
}

/* How to find one register in the caller, as the program says it. */
enum rule_kind {
	RULE_UNSET = 0,               /* nothing said: unchanged if the callee must save it, else lost */
	RULE_UNDEFINED,
	RULE_SAME,
	RULE_SAVED,                   /* at CFA + operand */
	RULE_OFFSET,                  /* is CFA + operand */
	RULE_REGISTER,                /* in register `operand` */
	RULE_SAVED_EXPRESSION,        /* at the value of the expression at base + operand */
	RULE_EXPRESSION,              /* is the value of the expression at base + operand */
};

struct rule {
	uint32_t kind;
	int32_t operand;
};

struct state {
	struct rule registers[UNWIND_REGISTERS_COUNT];
	struct rule cfa;              /* SAVED: never; OFFSET: of register cfa_register; EXPRESSION */
	uint32_t cfa_register;
};

struct machine {
	const struct frame_entry *entry;
	const uint8_t *base;          /* that operands of expressions are relative to */
	uintptr_t pc;                 /* to stop at */
	uintptr_t location;
	struct state now, initial, saved[STATES_MAX];
	size_t depth;
	bool bad;
};

static void machine_set(struct machine *machine, uint64_t number, uint32_t kind, int64_t operand)
{
	/* Vector and other registers: nothing depends on them. */
	if (number >= UNWIND_REGISTERS_COUNT)
		return;
	if (operand != (int32_t)operand)
		machine->bad = true;
	machine->now.registers[number] = (struct rule){ kind, (int32_t)operand };
}

static int64_t machine_scale(struct machine *machine, int64_t value)
{
	int64_t scaled = 0;

	if (__builtin_mul_overflow(value, machine->entry->data_factor, &scaled))
		machine->bad = true;
	return scaled;
}

static void machine_set_cfa(struct machine *machine, uint64_t number, int64_t offset)
{
	if (number >= UNWIND_RA || offset != (int32_t)offset)
		machine->bad = true;
	machine->now.cfa = (struct rule){ RULE_OFFSET, (int32_t)offset };
	machine->now.cfa_register = (uint32_t)number;
}

/* Where an expression is; its length comes first. */
static int64_t machine_expression(struct machine *machine, struct bytes *program)
{
	int64_t at = program->at - machine->base;

	if (at != (int32_t)at)
		machine->bad = true;
	bytes_part(program, bytes_uleb(program));
	return at;
}

/* The operations whose upper two bits are zero, less those that move the location. */
static void machine_extended(struct machine *machine, struct bytes *program, uint8_t operation)
{
	struct state *now = &machine->now;
	uint64_t number;

	switch (operation) {
	case 0x00: /* nop */
		break;
	case 0x05: /* offset_extended */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_SAVED, machine_scale(machine, (int64_t)bytes_uleb(program)));
		break;
	case 0x06: /* restore_extended */
		number = bytes_uleb(program);
		if (number < UNWIND_REGISTERS_COUNT)
			now->registers[number] = machine->initial.registers[number];
		break;
	case 0x07: /* undefined */
		machine_set(machine, bytes_uleb(program), RULE_UNDEFINED, 0);
		break;
	case 0x08: /* same_value */
		machine_set(machine, bytes_uleb(program), RULE_SAME, 0);
		break;
	case 0x09: /* register */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_REGISTER, (int64_t)bytes_uleb(program));
		break;
	case 0x0a: /* remember_state */
		if (machine->depth == STATES_MAX)
			machine->bad = true;
		else
			machine->saved[machine->depth++] = *now;
		break;
	case 0x0b: /* restore_state */
		if (machine->depth == 0)
			machine->bad = true;
		else
			*now = machine->saved[--machine->depth];
		break;
	case 0x0c: /* def_cfa */
		number = bytes_uleb(program);
		machine_set_cfa(machine, number, (int64_t)bytes_uleb(program));
		break;
	case 0x0d: /* def_cfa_register */
		machine_set_cfa(machine, bytes_uleb(program), now->cfa.operand);
		break;
	case 0x0e: /* def_cfa_offset */
		machine_set_cfa(machine, now->cfa_register, (int64_t)bytes_uleb(program));
		break;
	case 0x0f: /* def_cfa_expression */
		now->cfa = (struct rule){ RULE_EXPRESSION, (int32_t)machine_expression(machine, program) };
		break;
	case 0x10: /* expression */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_SAVED_EXPRESSION, machine_expression(machine, program));
		break;
	case 0x11: /* offset_extended_sf */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_SAVED, machine_scale(machine, bytes_sleb(program)));
		break;
	case 0x12: /* def_cfa_sf */
		number = bytes_uleb(program);
		machine_set_cfa(machine, number, machine_scale(machine, bytes_sleb(program)));
		break;
	case 0x13: /* def_cfa_offset_sf */
		machine_set_cfa(machine, now->cfa_register, machine_scale(machine, bytes_sleb(program)));
		break;
	case 0x14: /* val_offset */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_OFFSET, machine_scale(machine, (int64_t)bytes_uleb(program)));
		break;
	case 0x15: /* val_offset_sf */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_OFFSET, machine_scale(machine, bytes_sleb(program)));
		break;
	case 0x16: /* val_expression */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_EXPRESSION, machine_expression(machine, program));
		break;
	case 0x2e: /* GNU_args_size */
		bytes_uleb(program);
		break;
	case 0x2f: /* GNU_negative_offset_extended */
		number = bytes_uleb(program);
		machine_set(machine, number, RULE_SAVED, -machine_scale(machine, (int64_t)bytes_uleb(program)));
		break;
	default:
		machine->bad = true;
	}
}

/* Whether the operation moves the location; `to` is the new one. */
static bool machine_moves(struct machine *machine, struct bytes *program, uint8_t operation, uintptr_t *to)
{
	uint64_t factor = machine->entry->code_factor;

	switch (operation) {
	case 0x01: /* set_loc */
		*to = bytes_pointer(program, machine->entry->encoding);
		return true;
	case 0x02: /* advance_loc1 */
		*to = machine->location + factor * bytes_fixed(program, 1);
		return true;
	case 0x03: /* advance_loc2 */
		*to = machine->location + factor * bytes_fixed(program, 2);
		return true;
	case 0x04: /* advance_loc4 */
		*to = machine->location + factor * bytes_fixed(program, 4);
		return true;
	case 0x1d: /* MIPS_advance_loc8 */
		*to = machine->location + factor * bytes_fixed(program, 8);
		return true;
	default:
		*to = machine->location + factor * (operation & 0x3f);
		return operation >> 6 == 1;   /* advance_loc */
	}
}

/* Runs a program until its end, or until it would go past the address. */
static void machine_run(struct machine *machine, struct bytes program)
{
	while (program.at < program.end && !machine->bad) {
		uint8_t operation = bytes_u8(&program);
		uint8_t number = operation & 0x3f;
		uintptr_t to;

		if (machine_moves(machine, &program, operation, &to)) {
			if (to > machine->pc)
				break;
			machine->location = to;
		} else if (operation >> 6 == 2) {   /* offset */
			machine_set(machine, number, RULE_SAVED, machine_scale(machine, (int64_t)bytes_uleb(&program)));
		} else if (operation >> 6 == 3) {   /* restore */
			if (number < UNWIND_REGISTERS_COUNT)
				machine->now.registers[number] = machine->initial.registers[number];
		} else {
			machine_extended(machine, &program, operation);
		}
	}
	machine->bad |= program.bad;
}

/* A value of the symbolic evaluation; loads and second as in struct unwind_term. */
struct value {
	uint8_t base, loads;
	int64_t first, second;
};

struct evaluation {
	struct value values[VALUES_MAX];
	size_t count;
	uintptr_t pc;
	bool bad;                     /* not expressible as a term */
};

static void push(struct evaluation *evaluation, struct value value)
{
	if (evaluation->count == VALUES_MAX)
		evaluation->bad = true;
	else
		evaluation->values[evaluation->count++] = value;
}

static void push_constant(struct evaluation *evaluation, int64_t constant)
{
	push(evaluation, (struct value){ .base = UNWIND_CONSTANT, .first = constant });
}

static struct value pop(struct evaluation *evaluation)
{
	if (evaluation->count == 0) {
		evaluation->bad = true;
		return (struct value){ .base = UNWIND_CONSTANT };
	}
	return evaluation->values[--evaluation->count];
}

static bool is_constant(const struct value *value)
{
	return value->base == UNWIND_CONSTANT && value->loads == 0;
}

static struct value value_plus(struct evaluation *evaluation, struct value value, int64_t addend)
{
	if (value.loads == 0)
		value.first = (int64_t)((uint64_t)value.first + (uint64_t)addend);
	else if (value.loads == 1)
		value.second = (int64_t)((uint64_t)value.second + (uint64_t)addend);
	else if (addend != 0)
		evaluation->bad = true;
	return value;
}

static void push_register(struct evaluation *evaluation, uint64_t number, int64_t offset)
{
	/* The address is known now; PLT stubs ask for it. */
	if (number == UNWIND_RA)
		push_constant(evaluation, (int64_t)(evaluation->pc + (uint64_t)offset));
	else if (number < UNWIND_RA)
		push(evaluation, (struct value){ .base = (uint8_t)number, .first = offset });
	else
		evaluation->bad = true;
}

static void evaluate_load(struct evaluation *evaluation)
{
	struct value value = pop(evaluation);

	if (value.loads == 2)
		evaluation->bad = true;
	value.loads++;
	push(evaluation, value);
}

/* Operations of two operands. */
static bool evaluate_pair(struct evaluation *evaluation, uint8_t operation)
{
	struct value right = pop(evaluation), left = pop(evaluation);
	uint64_t a = (uint64_t)left.first, b = (uint64_t)right.first;
	bool both = is_constant(&left) && is_constant(&right);

	if (operation == 0x22 && is_constant(&right))           /* plus */
		push(evaluation, value_plus(evaluation, left, right.first));
	else if (operation == 0x22 && is_constant(&left))
		push(evaluation, value_plus(evaluation, right, left.first));
	else if (operation == 0x1c && is_constant(&right))      /* minus */
		push(evaluation, value_plus(evaluation, left, (int64_t)(0 - b)));
	else if (!both)
		evaluation->bad = true;
	else if (operation == 0x1a)
		push_constant(evaluation, (int64_t)(a & b));
	else if (operation == 0x21)
		push_constant(evaluation, (int64_t)(a | b));
	else if (operation == 0x27)
		push_constant(evaluation, (int64_t)(a ^ b));
	else if (operation == 0x1e)
		push_constant(evaluation, (int64_t)(a * b));
	else if (operation == 0x24)
		push_constant(evaluation, b < 64 ? (int64_t)(a << b) : 0);
	else if (operation == 0x25)
		push_constant(evaluation, b < 64 ? (int64_t)(a >> b) : 0);
	else if (operation == 0x29)
		push_constant(evaluation, a == b);
	else if (operation == 0x2a)
		push_constant(evaluation, (int64_t)a >= (int64_t)b);
	else if (operation == 0x2b)
		push_constant(evaluation, (int64_t)a > (int64_t)b);
	else if (operation == 0x2c)
		push_constant(evaluation, (int64_t)a <= (int64_t)b);
	else if (operation == 0x2d)
		push_constant(evaluation, (int64_t)a < (int64_t)b);
	else if (operation == 0x2e)
		push_constant(evaluation, a != b);
	else
		return false;
	return true;
}

/* Operations on the stack itself, and constants by size. */
static bool evaluate_simple(struct evaluation *evaluation, struct bytes *code, uint8_t operation)
{
	struct value top, below;

	switch (operation) {
	case 0x03: case 0x0e: case 0x0f: /* addr, const8u, const8s */
		push_constant(evaluation, (int64_t)bytes_fixed(code, 8));
		break;
	case 0x08: /* const1u */
		push_constant(evaluation, (int64_t)bytes_fixed(code, 1));
		break;
	case 0x09: /* const1s */
		push_constant(evaluation, (int8_t)bytes_fixed(code, 1));
		break;
	case 0x0a: /* const2u */
		push_constant(evaluation, (int64_t)bytes_fixed(code, 2));
		break;
	case 0x0b: /* const2s */
		push_constant(evaluation, (int16_t)bytes_fixed(code, 2));
		break;
	case 0x0c: /* const4u */
		push_constant(evaluation, (int64_t)bytes_fixed(code, 4));
		break;
	case 0x0d: /* const4s */
		push_constant(evaluation, (int32_t)bytes_fixed(code, 4));
		break;
	case 0x10: /* constu */
		push_constant(evaluation, (int64_t)bytes_uleb(code));
		break;
	case 0x11: /* consts */
		push_constant(evaluation, bytes_sleb(code));
		break;
	case 0x12: /* dup */
		top = pop(evaluation);
		push(evaluation, top);
		push(evaluation, top);
		break;
	case 0x13: /* drop */
		pop(evaluation);
		break;
	case 0x14: /* over */
		top = pop(evaluation);
		below = pop(evaluation);
		push(evaluation, below);
		push(evaluation, top);
		push(evaluation, below);
		break;
	case 0x16: /* swap */
		top = pop(evaluation);
		below = pop(evaluation);
		push(evaluation, top);
		push(evaluation, below);
		break;
	case 0x23: /* plus_uconst */
		top = pop(evaluation);
		push(evaluation, value_plus(evaluation, top, (int64_t)bytes_uleb(code)));
		break;
	case 0x96: /* nop */
		break;
	default:
		return false;
	}
	return true;
}

/* The value of an expression that starts with `initial` on its stack, if that is not NULL. */
static bool evaluate(struct bytes code, uintptr_t pc, const struct value *initial, struct value *result)
{
	struct evaluation evaluation = { .pc = pc };

	if (initial)
		push(&evaluation, *initial);
	while (code.at < code.end && !evaluation.bad) {
		uint8_t operation = bytes_u8(&code);

		if (operation == 0x06)                                  /* deref */
			evaluate_load(&evaluation);
		else if (operation == 0x94 && bytes_u8(&code) == 8)     /* deref_size */
			evaluate_load(&evaluation);
		else if (operation >= 0x30 && operation <= 0x4f)        /* lit */
			push_constant(&evaluation, operation - 0x30);
		else if (operation >= 0x70 && operation <= 0x8f)        /* breg */
			push_register(&evaluation, operation - 0x70u, bytes_sleb(&code));
		else if (operation == 0x92) {                           /* bregx */
			uint64_t number = bytes_uleb(&code);

			push_register(&evaluation, number, bytes_sleb(&code));
		} else if (operation == 0x9c) {                         /* call_frame_cfa */
			push(&evaluation, (struct value){ .base = UNWIND_CFA });
		} else if (!evaluate_simple(&evaluation, &code, operation) && !evaluate_pair(&evaluation, operation)) {
			evaluation.bad = true;
		}
	}
	*result = pop(&evaluation);
	return !evaluation.bad && !code.bad;
}

static struct unwind_term term_unknown(void)
{
	return (struct unwind_term){ .base = UNWIND_UNKNOWN };
}

static struct unwind_term term_make(const struct value *value)
{
	if (value->first != (int32_t)value->first || value->second != (int32_t)value->second)
		return term_unknown();
	return (struct unwind_term){ .base = value->base, .loads = value->loads, .first = (int32_t)value->first,
		.second = (int32_t)value->second };
}

static struct unwind_term term_expression(const struct machine *machine, int32_t operand, bool is_cfa, bool saved)
{
	struct bytes code = { machine->base + operand, machine->entry->own.end, 0, false };
	struct value cfa = { .base = UNWIND_CFA }, value;

	/* Programs of the CIE are at lower addresses than those of the FDE or higher; their ends differ. */
	if (code.at < machine->entry->common.end && code.at >= machine->entry->common.at)
		code.end = machine->entry->common.end;
	code = bytes_part(&code, bytes_uleb(&code));
	if (code.bad || !evaluate(code, machine->pc, is_cfa ? NULL : &cfa, &value))
		return term_unknown();
	if (saved && value.loads++ == 2)
		return term_unknown();
	return term_make(&value);
}

static struct unwind_term term_of_register(const struct machine *machine, unsigned number)
{
	const struct rule *rule = &machine->now.registers[number];
	bool kept = number == UNWIND_RBX || number == UNWIND_BP || (number >= UNWIND_R12 && number <= UNWIND_R15);

	switch (rule->kind) {
	case RULE_UNSET:
		/* The caller's sp is the CFA. */
		if (number == UNWIND_SP)
			return (struct unwind_term){ .base = UNWIND_CFA };
		return kept ? (struct unwind_term){ .base = (uint8_t)number } : term_unknown();
	case RULE_SAME:
		return (struct unwind_term){ .base = (uint8_t)number };
	case RULE_SAVED:
		return (struct unwind_term){ .base = UNWIND_CFA, .loads = 1, .first = rule->operand };
	case RULE_OFFSET:
		return (struct unwind_term){ .base = UNWIND_CFA, .first = rule->operand };
	case RULE_REGISTER:
		if (rule->operand < 0 || rule->operand >= UNWIND_RA)
			return term_unknown();
		return (struct unwind_term){ .base = (uint8_t)rule->operand };
	case RULE_SAVED_EXPRESSION:
		return term_expression(machine, rule->operand, false, true);
	case RULE_EXPRESSION:
		return term_expression(machine, rule->operand, false, false);
	default:
		return term_unknown();
	}
}

bool unwind_cfi_row(const struct unwind_module *module, uintptr_t pc, uint32_t wanted, struct unwind_row *row)
{
	struct frame_entry entry;
	struct machine machine;

	if (!fde_find(module, pc, &entry))
		return false;
	/* Not initialised as a whole: the states that are never remembered are the largest part of it. */
	machine.entry = &entry;
	machine.base = entry.own.at;
	machine.pc = pc;
	machine.location = entry.start;
	machine.depth = 0;
	machine.bad = false;
	memset(&machine.now, 0, sizeof(machine.now));
	machine.initial = machine.now;
	machine_run(&machine, entry.common);
	machine.initial = machine.now;
	machine_run(&machine, entry.own);
	if (machine.bad || machine.now.cfa.kind == RULE_UNSET)
		return false;
	if (machine.now.cfa.kind == RULE_EXPRESSION)
		row->cfa = term_expression(&machine, machine.now.cfa.operand, true, false);
	else
		row->cfa = (struct unwind_term){ .base = (uint8_t)machine.now.cfa_register,
			.first = machine.now.cfa.operand };
	for (uint32_t left = wanted; left; left &= left - 1) {
		const unsigned number = (unsigned)__builtin_ctz(left);

		row->registers[number] = term_of_register(&machine, number);
	}
	row->signal = entry.signal;
	row->end = machine.now.registers[UNWIND_RA].kind == RULE_UNDEFINED;
	return true;
}

#endif
