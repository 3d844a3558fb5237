/* SPDX-License-Identifier: MIT */
/*
 * A table is a header (folders, files, how the opcodes work) and a program whose run makes the rows:
 *
 *     +--------+---------+-----------------+---------+-------+-----------------------------------------+
 *     | length | version | length of rest  | machine | paths | opcodes: advance address, line; make row |
 *     +--------+---------+-----------------+---------+-------+-----------------------------------------+
 *
 * See the DWARF 5 standard, 6.2.  `bad` in the cursor is sticky: readers go on with zeros and one check follows.
 */
#include "line_program.h"

#include <dwarf.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum {
	FORMATS_MAX = 16,             /* kinds of fields of an entry; the standard has five */
	ENTRIES_MAX = 1 << 20,        /* files or folders of one unit */
};

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

/* How a program is to be run: the header's middle part, and the registers. */
struct machine {
	uint8_t step_min, range, opcode_base;
	int8_t base;
	const uint8_t *operand_counts;
	uint64_t address;
	uint64_t file;
	int64_t line;
	size_t first;                 /* row of the sequence being made */
};

struct header {
	uint16_t version;
	uint8_t offset_size;
	struct cursor paths, program;
};

/* ---- reading ---- */

static uint64_t take_fixed(struct cursor *cursor, size_t size)
{
	uint64_t value = 0;
	if ((size_t)(cursor->end - cursor->at) < size || size > 8) {
		cursor->bad = true;
		cursor->at = cursor->end;
		return 0;
	}
	memcpy(&value, cursor->at, size);
	cursor->at += size;
	return value;
}

static uint64_t take_uleb(struct cursor *cursor)
{
	uint64_t value = 0;
	for (unsigned shift = 0; cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;
		if (shift < 64)
			value |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			return value;
	}
	cursor->bad = true;
	return 0;
}

static int64_t take_sleb(struct cursor *cursor)
{
	uint64_t value = 0;
	for (unsigned shift = 0; cursor->at < cursor->end;) {
		uint8_t byte = *cursor->at++;
		if (shift < 64)
			value |= (uint64_t)(byte & 127) << shift;
		shift += 7;
		if (!(byte & 128)) {
			if (shift < 64 && (byte & 64))
				value |= UINT64_MAX << shift;
			return (int64_t)value;
		}
	}
	cursor->bad = true;
	return 0;
}

static const char *take_text(struct cursor *cursor)
{
	const char *text = (const char *)cursor->at;
	const uint8_t *end = memchr(cursor->at, 0, (size_t)(cursor->end - cursor->at));
	if (end == NULL) {
		cursor->bad = true;
		cursor->at = cursor->end;
		return "";
	}
	cursor->at = end + 1;
	return text;
}

static void skip_bytes(struct cursor *cursor, uint64_t size)
{
	if (size > (uint64_t)(cursor->end - cursor->at)) {
		cursor->bad = true;
		size = (uint64_t)(cursor->end - cursor->at);
	}
	cursor->at += size;
}

static const char *text_at(const struct line_section *section, uint64_t offset)
{
	if (offset >= section->size || memchr(section->bytes + offset, 0, section->size - offset) == NULL)
		return NULL;
	return (const char *)section->bytes + offset;
}

/* ---- folders and files ---- */

static bool add_folder(struct line_program *program, const char *name)
{
	if (program->folder_count >= ENTRIES_MAX)
		return false;
	program->folders = memory_grow(program->folders, &program->folder_capacity, program->folder_count + 1,
		sizeof(*program->folders));
	program->folders[program->folder_count++] = name;
	return true;
}

static bool add_file(struct line_program *program, const char *name, uint64_t folder)
{
	if (program->file_count >= ENTRIES_MAX)
		return false;
	program->files = memory_grow(program->files, &program->file_capacity, program->file_count + 1,
		sizeof(*program->files));
	program->files[program->file_count++] = (struct line_file){ .name = name, .folder = folder };
	return true;
}

/* Versions 2 to 4: numbers begin with 1, and folder 0 is the unit's. */
static bool take_file_old(struct line_program *program, struct cursor *cursor, const char *name)
{
	uint64_t folder = take_uleb(cursor);
	take_uleb(cursor);   /* time of change */
	take_uleb(cursor);   /* size */
	return add_file(program, name, folder);
}

static bool read_paths_old(struct line_program *program, struct cursor *cursor)
{
	const char *name;
	if (!add_folder(program, NULL) || !add_file(program, NULL, 0))
		return false;
	while (*(name = take_text(cursor)) != '\0') {
		if (!add_folder(program, name))
			return false;
	}
	while (!cursor->bad && *(name = take_text(cursor)) != '\0') {
		if (!take_file_old(program, cursor, name))
			return false;
	}
	return !cursor->bad;
}

struct field {
	const char *text;
	uint64_t number;
};

/* False for forms that no field of a path has. */
static bool take_field(struct cursor *cursor, uint64_t form, uint8_t offset_size, const struct line_sections *sections,
	struct field *field)
{
	*field = (struct field){ 0 };
	switch (form) {
	case DW_FORM_string:
		field->text = take_text(cursor);
		return true;
	case DW_FORM_line_strp:
		field->text = text_at(&sections->line_str, take_fixed(cursor, offset_size));
		return true;
	case DW_FORM_strp:
		field->text = text_at(&sections->str, take_fixed(cursor, offset_size));
		return true;
	case DW_FORM_udata:
		field->number = take_uleb(cursor);
		return true;
	case DW_FORM_data1:
		field->number = take_fixed(cursor, 1);
		return true;
	case DW_FORM_data2:
		field->number = take_fixed(cursor, 2);
		return true;
	case DW_FORM_data4:
		field->number = take_fixed(cursor, 4);
		return true;
	case DW_FORM_data8:
		field->number = take_fixed(cursor, 8);
		return true;
	case DW_FORM_data16:
		skip_bytes(cursor, 16);
		return true;
	case DW_FORM_block:
		skip_bytes(cursor, take_uleb(cursor));
		return true;
	default:
		return false;
	}
}

/* Version 5: a list of fields, then entries that have them; of folders or of files. */
static bool read_entries(struct line_program *program, struct cursor *cursor, const struct header *header,
	const struct line_sections *sections, bool files)
{
	struct { uint64_t content, form; } formats[FORMATS_MAX];
	size_t format_count = (size_t)take_fixed(cursor, 1);
	if (format_count > FORMATS_MAX)
		return false;
	for (size_t i = 0; i < format_count; i++) {
		formats[i].content = take_uleb(cursor);
		formats[i].form = take_uleb(cursor);
	}
	uint64_t count = take_uleb(cursor);
	/* Each entry takes a byte at least: this bounds the loop. */
	if (cursor->bad || (count != 0 && format_count == 0) || count > (uint64_t)(cursor->end - cursor->at))
		return false;
	for (uint64_t i = 0; i < count; i++) {
		const char *name = NULL;
		uint64_t folder = 0;
		for (size_t j = 0; j < format_count; j++) {
			struct field field;
			if (!take_field(cursor, formats[j].form, header->offset_size, sections, &field) || cursor->bad)
				return false;
			if (formats[j].content == DW_LNCT_path)
				name = field.text;
			else if (formats[j].content == DW_LNCT_directory_index)
				folder = field.number;
		}
		if (files ? !add_file(program, name, folder) : !add_folder(program, name))
			return false;
	}
	return true;
}

/* ---- the program ---- */

static void start_sequence(struct machine *machine, const struct line_program *program)
{
	machine->address = 0;
	machine->file = 1;
	machine->line = 1;
	machine->first = program->row_count;
}

static void add_row(struct line_program *program, const struct machine *machine)
{
	/* Rows that go back are those of a damaged table; the search relies on their order. */
	if (program->row_count > machine->first && program->rows[program->row_count - 1].address > machine->address)
		return;
	program->rows = memory_grow(program->rows, &program->row_capacity, program->row_count + 1,
		sizeof(*program->rows));
	program->rows[program->row_count++] = (struct line_row){ .address = machine->address,
		.file = machine->file <= UINT32_MAX ? (uint32_t)machine->file : UINT32_MAX,
		.line = machine->line > 0 && machine->line <= INT32_MAX ? (uint32_t)machine->line : 0 };
}

static void end_sequence(struct line_program *program, const struct machine *machine, uint64_t text_start,
	uint64_t text_end)
{
	size_t count = program->row_count - machine->first;
	uint64_t start = count != 0 ? program->rows[machine->first].address : 0;
	/* Address 0 is where linkers put the lines of functions that they dropped. */
	if (count == 0 || start == 0 || start < text_start || start >= text_end || machine->address <= start) {
		program->row_count = machine->first;
		return;
	}
	program->sequences = memory_grow(program->sequences, &program->sequence_capacity, program->sequence_count + 1,
		sizeof(*program->sequences));
	program->sequences[program->sequence_count++] = (struct line_sequence){ .start = start, .end = machine->address,
		.first = machine->first, .count = count };
}

/* Returns whether a sequence ended. */
static bool run_extended(struct line_program *program, struct machine *machine, struct cursor *cursor)
{
	uint64_t size = take_uleb(cursor);
	if (size == 0 || size > (uint64_t)(cursor->end - cursor->at)) {
		cursor->bad = cursor->bad || size != 0;
		return false;
	}
	struct cursor operands = { cursor->at + 1, cursor->at + size, false };
	uint8_t opcode = *cursor->at;
	cursor->at += size;
	switch (opcode) {
	case DW_LNE_end_sequence:
		return true;
	case DW_LNE_set_address:
		machine->address = take_fixed(&operands, (size_t)(operands.end - operands.at));
		break;
	case DW_LNE_define_file:
		take_file_old(program, &operands, take_text(&operands));
		break;
	default:
		break;
	}
	return false;
}

static void run_standard(struct line_program *program, struct machine *machine, struct cursor *cursor, uint8_t opcode)
{
	switch (opcode) {
	case DW_LNS_copy:
		add_row(program, machine);
		break;
	case DW_LNS_advance_pc:
		machine->address += take_uleb(cursor) * machine->step_min;
		break;
	case DW_LNS_advance_line:
		/* Wraps, rather than overflows, in damaged tables. */
		machine->line = (int64_t)((uint64_t)machine->line + (uint64_t)take_sleb(cursor));
		break;
	case DW_LNS_set_file:
		machine->file = take_uleb(cursor);
		break;
	case DW_LNS_const_add_pc:
		machine->address += (uint64_t)((255 - machine->opcode_base) / machine->range) * machine->step_min;
		break;
	case DW_LNS_fixed_advance_pc:
		machine->address += take_fixed(cursor, 2);
		break;
	default:
		/* Column, statement, block, prologue, epilogue, instruction set; and what later standards add. */
		for (uint8_t i = 0; i < machine->operand_counts[opcode - 1]; i++)
			take_uleb(cursor);
		break;
	}
}

static void run_program(struct line_program *program, struct machine *machine, struct cursor *cursor,
	uint64_t text_start, uint64_t text_end)
{
	start_sequence(machine, program);
	while (cursor->at < cursor->end && !cursor->bad) {
		uint8_t opcode = *cursor->at++;
		if (opcode >= machine->opcode_base) {
			unsigned step = (unsigned)(opcode - machine->opcode_base);
			machine->address += (uint64_t)(step / machine->range) * machine->step_min;
			machine->line = (int64_t)((uint64_t)machine->line +
				(uint64_t)(int64_t)(machine->base + (int)(step % machine->range)));
			add_row(program, machine);
		} else if (opcode != 0) {
			run_standard(program, machine, cursor, opcode);
		} else if (run_extended(program, machine, cursor)) {
			end_sequence(program, machine, text_start, text_end);
			start_sequence(machine, program);
		}
	}
	/* A sequence without an end: the table is cut. */
	program->row_count = machine->first;
}

/* ---- header ---- */

static bool read_header(struct header *header, struct machine *machine, const struct line_section *section,
	uint64_t offset)
{
	if (offset >= section->size)
		return false;
	struct cursor cursor = { section->bytes + offset, section->bytes + section->size, false };
	header->offset_size = 4;
	uint64_t size = take_fixed(&cursor, 4);
	if (size == UINT32_MAX) {
		header->offset_size = 8;
		size = take_fixed(&cursor, 8);
	}
	if (size > (uint64_t)(cursor.end - cursor.at))
		return false;
	cursor.end = cursor.at + size;
	header->version = (uint16_t)take_fixed(&cursor, 2);
	if (header->version < 2 || header->version > 5)
		return false;
	if (header->version >= 5)
		take_fixed(&cursor, 2);   /* sizes of an address and of a segment selector */
	uint64_t rest = take_fixed(&cursor, header->offset_size);
	if (rest > (uint64_t)(cursor.end - cursor.at))
		return false;
	header->program = (struct cursor){ cursor.at + rest, cursor.end, false };
	header->paths = (struct cursor){ cursor.at, cursor.at + rest, false };
	cursor.end = header->paths.end;
	machine->step_min = (uint8_t)take_fixed(&cursor, 1);
	if (header->version >= 4 && take_fixed(&cursor, 1) > 1)
		return false;   /* several operations an instruction */
	take_fixed(&cursor, 1);   /* whether rows are statements at first */
	machine->base = (int8_t)take_fixed(&cursor, 1);
	machine->range = (uint8_t)take_fixed(&cursor, 1);
	machine->opcode_base = (uint8_t)take_fixed(&cursor, 1);
	machine->operand_counts = cursor.at;
	if (cursor.bad || machine->range == 0 || machine->opcode_base == 0)
		return false;
	skip_bytes(&cursor, machine->opcode_base - 1u);
	header->paths.at = cursor.at;
	return !cursor.bad;
}

static int compare_sequences(const void *left, const void *right)
{
	const struct line_sequence *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

bool line_program_read(struct line_program *program, const struct line_sections *sections, uint64_t offset,
	uint64_t text_start, uint64_t text_end)
{
	struct header header;
	struct machine machine;
	if (!read_header(&header, &machine, &sections->line, offset))
		return false;
	bool ok = header.version < 5 ? read_paths_old(program, &header.paths) :
		read_entries(program, &header.paths, &header, sections, false) &&
		read_entries(program, &header.paths, &header, sections, true);
	if (!ok) {
		line_program_finish(program);
		return false;
	}
	run_program(program, &machine, &header.program, text_start, text_end);
	if (program->sequence_count > 1)
		qsort(program->sequences, program->sequence_count, sizeof(*program->sequences), compare_sequences);
	return true;
}

bool line_program_find(const struct line_program *program, uint64_t address, uint32_t *file, uint32_t *line)
{
	size_t low = 0, high = program->sequence_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (program->sequences[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || address >= program->sequences[low - 1].end)
		return false;
	const struct line_sequence *sequence = &program->sequences[low - 1];
	const struct line_row *rows = program->rows + sequence->first;
	for (low = 0, high = sequence->count; low < high;) {
		size_t middle = low + (high - low) / 2;
		if (rows[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* The first row is at the sequence's start, so there is one before `low`; of several at one address the last. */
	*file = rows[low - 1].file;
	*line = rows[low - 1].line;
	return true;
}

const char *line_program_file(const struct line_program *program, uint64_t number, const char **folder)
{
	if (number >= program->file_count)
		return NULL;
	const struct line_file *file = &program->files[number];
	*folder = file->folder < program->folder_count ? program->folders[file->folder] : NULL;
	return file->name;
}

void line_program_finish(struct line_program *program)
{
	free(program->rows);
	free(program->sequences);
	free(program->folders);
	free(program->files);
	memset(program, 0, sizeof(*program));
}

bool line_sections_find(struct line_sections *sections, Elf *elf)
{
	size_t names_index;
	GElf_Shdr header;
	const char *identity = elf_getident(elf, NULL);
	*sections = (struct line_sections){ 0 };
	if (identity == NULL || identity[EI_DATA] != ELFDATA2LSB || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ ||
			elf_getshdrstrndx(elf, &names_index) != 0)
		return false;
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
		if (gelf_getshdr(section, &header) == NULL || header.sh_type == SHT_NOBITS ||
				(header.sh_flags & SHF_COMPRESSED))
			continue;
		const char *name = elf_strptr(elf, names_index, header.sh_name);
		struct line_section *found = name == NULL ? NULL :
			strcmp(name, ".debug_line") == 0 || strcmp(name, ".zdebug_line") == 0 ? &sections->line :
			strcmp(name, ".debug_line_str") == 0 || strcmp(name, ".zdebug_line_str") == 0 ? &sections->line_str :
			strcmp(name, ".debug_str") == 0 || strcmp(name, ".zdebug_str") == 0 ? &sections->str : NULL;
		Elf_Data *data = found != NULL ? elf_rawdata(section, NULL) : NULL;
		if (data != NULL && data->d_buf != NULL)
			*found = (struct line_section){ data->d_buf, data->d_size };
	}
	return sections->line.size != 0;
}
