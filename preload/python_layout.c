/* SPDX-License-Identifier: MIT */
/*
 * Layout tables, the reading of _Py_DebugOffsets, and the proof of both.
 *
 * _PyRuntime of 3.13 and later begins with an array of 64-bit words that describes the interpreter's structures to
 * debuggers:
 *
 *     word   0          1                2               ...  a sub-structure per interpreter structure
 *            "xdebugpy" PY_VERSION_HEX   free-threaded        [0] its size, then offsets of fields
 *
 * The array's own shape differs between minor versions, so an unknown minor version is refused, as are releases
 * that were not final: their layouts moved.
 *
 * Offsets that pass for one build of a version may be wrong for a patched or debug build of it.  Therefore nothing
 * is walked before python_layout_check() has compared them with the interpreter's own account: the tables of members
 * of its types, and what it says of the frames that run right now.  The comparison leaves no trace: it makes no object.
 */
#include "python_layout.h"

#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

#include "formats/capture.h"
#include "python_code.h"
#include "sys.h"

#include "banned.h"

/* Everything that 3.8 to 3.15 builds with a GIL have in common. */
static const struct python_layout common = {
	.code_mask = ~(uintptr_t)0,
	.kind_shift = 2,
	.object_type = 0x08,
	.type_dealloc = 0x30,
	.type_flags = 0xa8,
	.size = 0x10,
	.bytes_data = 0x20,
	.text_length = 0x10,
	.text_state = 0x20,
	.text_ascii = 0x30,
	.text_other = 0x48,
};

static void layout_38(struct python_layout *layout)
{
	layout->instruction = layout->minor == 10 ? PYTHON_INSTRUCTION_UNITS : PYTHON_INSTRUCTION_BYTES;
	layout->activation = layout->minor == 10 ? PYTHON_ACTIVATION_FRAME : PYTHON_ACTIVATION_NONE;
	layout->line_table = layout->minor == 10 ? CAPTURE_LINES_PEP626 : CAPTURE_LINES_LNOTAB;
	layout->state_frame = 0x18;
	layout->state_thread = 0xb0;
	if (layout->minor == 10) {
		layout->state_cframe = 0x30;
		layout->cframe_previous = 0x08;
	}
	layout->frame_previous = 0x18;
	layout->frame_code = 0x20;
	layout->frame_instruction = layout->minor == 10 ? 0x60 : 0x68;
	layout->code_file = 0x68;
	layout->code_name = 0x70;
	layout->code_first_line = 0x28;
	layout->code_lines = 0x78;
}

static void layout_311(struct python_layout *layout)
{
	bool shims = layout->minor >= 12;

	layout->instruction = PYTHON_INSTRUCTION_POINTER;
	layout->activation = shims ? PYTHON_ACTIVATION_SHIM : PYTHON_ACTIVATION_SEGMENT;
	layout->line_table = CAPTURE_LINES_LOCATIONS;
	layout->state_cframe = 0x38;
	layout->state_thread = shims ? 0x88 : 0x98;
	layout->cframe_frame = shims ? 0x00 : 0x08;
	layout->cframe_previous = shims ? 0x08 : 0x10;
	layout->frame_previous = shims ? 0x08 : 0x30;
	layout->frame_code = shims ? 0x00 : 0x20;
	layout->frame_instruction = 0x38;
	layout->frame_owner = shims ? 0x46 : 0x45;
	layout->code_file = 0x70;
	layout->code_name = 0x80;
	layout->code_first_line = shims ? 0x44 : 0x48;
	layout->code_lines = 0x88;
	layout->code_first_traceable = shims ? 0xb0 : 0xa8;
	layout->code_instructions = shims ? 0xc0 : 0xb8;
	if (shims) {
		layout->text_ascii = 0x28;
		layout->text_other = 0x38;
	}
}

/* Word index of each sub-structure in _Py_DebugOffsets. */
struct shape { uint8_t minor, thread_state, thread_id, interpreter_frame, code_object; };

static const struct shape shapes[] = {
	{ .minor = 13, .thread_state = 19, .thread_id = 5, .interpreter_frame = 28, .code_object = 34 },
	{ .minor = 14, .thread_state = 22, .thread_id = 5, .interpreter_frame = 31, .code_object = 39 },
	{ .minor = 15, .thread_state = 22, .thread_id = 8, .interpreter_frame = 39, .code_object = 47 },
};

/* An offset from a sub-structure, which must lie inside it. */
static bool take_offset(uint16_t *out, const uint64_t *words, unsigned field, unsigned alignment)
{
	if (words[0] == 0 || words[0] > 4096 || words[field] >= words[0] || words[field] % alignment != 0)
		return false;
	*out = (uint16_t)words[field];
	return true;
}

static bool layout_described(struct python_layout *layout, const uint64_t *words)
{
	const struct shape *shape = NULL;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		if (shapes[i].minor == layout->minor)
			shape = &shapes[i];
	if (!shape || !words || memcmp(&words[0], "xdebugpy", 8) != 0 || words[1] != layout->version || words[2] > 1)
		return false;
	layout->free_threaded = words[2] != 0;

	const uint64_t *state = words + shape->thread_state;
	const uint64_t *frame = words + shape->interpreter_frame;
	const uint64_t *code = words + shape->code_object;
	bool copies = layout->free_threaded && layout->minor >= 14;

	/* The structures of a code object and of a str end in data, so only the fixed fields are inside their size. */
	if (!take_offset(&layout->state_frame, state, 4, 8) ||
		!take_offset(&layout->state_thread, state, shape->thread_id, 8) ||
		!take_offset(&layout->frame_previous, frame, 1, 8) ||
		!take_offset(&layout->frame_code, frame, 2, 8) ||
		!take_offset(&layout->frame_instruction, frame, 3, 8) ||
		!take_offset(&layout->frame_owner, frame, 5, 1) ||
		!take_offset(&layout->code_file, code, 1, 8) ||
		!take_offset(&layout->code_name, code, 3, 8) ||
		!take_offset(&layout->code_lines, code, 4, 8) ||
		!take_offset(&layout->code_first_line, code, 5, 4) ||
		!take_offset(&layout->code_instructions, code, 9, 8))
		return false;
	if (copies && (!take_offset(&layout->frame_copy, frame, 7, 4) ||
		!take_offset(&layout->code_copies, code, 10, 8)))
		return false;
	/* Not described; it stands a fixed distance before the instructions. */
	layout->code_first_traceable = (uint16_t)(layout->code_instructions - (copies ? 0x18 : 0x10));
	return true;
}

static bool layout_313(struct python_layout *layout, const void *runtime)
{
	layout->instruction = PYTHON_INSTRUCTION_POINTER;
	layout->activation = PYTHON_ACTIVATION_SHIM;
	layout->line_table = CAPTURE_LINES_LOCATIONS;
	layout->text_ascii = 0x28;
	layout->text_other = 0x38;
	if (!layout_described(layout, runtime))
		return false;
	if (layout->minor >= 14)
		layout->code_mask = ~(uintptr_t)3;
	if (layout->free_threaded) {
		/* The object header is 16 bytes longer; its type is the last of it. */
		layout->object_type = 0x18;
		layout->type_dealloc += 0x10;
		layout->type_flags += 0x10;
		layout->size += 0x10;
		layout->bytes_data += 0x10;
		layout->text_length += 0x10;
		layout->text_state += 0x10;
		layout->text_ascii += 0x10;
		layout->text_other += 0x10;
		if (layout->minor >= 14)
			layout->kind_shift = 8;   /* `interned` became a byte of its own */
	}
	return true;
}

bool python_layout_find(struct python_layout *layout, uint32_t version, const void *runtime)
{
	enum { MAJOR_3 = 3, FINAL = 0xf };
	unsigned minor = version >> 16 & 0xff;

	*layout = common;
	layout->version = version;
	layout->minor = (uint8_t)minor;
	if (version >> 24 != MAJOR_3 || (version >> 4 & 0xf) != FINAL)
		return false;
	if (minor >= 8 && minor <= 10)
		layout_38(layout);
	else if (minor == 11 || minor == 12)
		layout_311(layout);
	else
		return minor >= 13 && layout_313(layout, runtime);
	return true;
}

bool python_readable(const void *address)
{
	/* The kernel copies the set in before it looks at `how`, which is wrong on purpose: nothing is changed. */
	enum { HOW_INVALID = 99, BAD_ADDRESS = -14 };

	if ((uintptr_t)address < 4096 || (uintptr_t)address % sizeof(uintptr_t) != 0)
		return false;
	return sys_call(SYS_rt_sigprocmask, HOW_INVALID, (long)address, 0, sizeof(uint64_t), 0, 0) != BAD_ADDRESS;
}

/* ---- the proof ---- */

/* The part of the Python API that the check uses.  None of it allocates: the program must not notice the check. */
struct check {
	const struct python_layout *layout;
	const void *code_type, *frame_type;
	unsigned long (*type_flags)(const void *type);
	const void *(*get_globals)(void);               /* borrowed; NULL: no frame */
	const void *(*get_builtins)(void);
	const void *(*get_frame)(void);                 /* borrowed; from 3.11 on it would make an object */
	int (*frame_line)(const void *frame);
	int (*code_line)(const void *code, int instruction);
	void *(*frame_code)(const void *frame);         /* from 3.12 on; a new reference */
	int (*frame_instruction)(const void *frame);
	void (*release)(void *object);
	int resume[2];                                  /* opcodes of RESUME seen, as compiled and specialised; -1 */
};

static const void *load_checked(const void *base, size_t offset)
{
	const void *field = (const char *)base + (offset & ~(size_t)7);

	return python_readable(field) ? (const void *)python_load(base, offset) : NULL;
}

/* PyMemberDef */
struct member {
	const char *name;
	int type;
	intptr_t offset;
	int flags;
	const char *documentation;
};

/* Where the interpreter itself finds an attribute: the type's table of members says.  0: it is not one. */
static size_t member_offset(const struct check *check, const void *type, const char *name)
{
	enum { MEMBERS_MAX = 64, FLAGS_TO_MEMBERS = 0x48 };
	const struct member *member = load_checked(type, check->layout->type_flags + FLAGS_TO_MEMBERS);

	for (unsigned i = 0; member && i < MEMBERS_MAX; i++, member++) {
		const char *its_name = load_checked(member, offsetof(struct member, name));

		if (!its_name || !python_readable((const char *)((uintptr_t)its_name & ~(uintptr_t)7)))
			return 0;
		if (strcmp(its_name, name) == 0)
			return (size_t)member->offset;
	}
	return 0;
}

/* What can be told from the types alone. */
static bool check_types(const struct check *check)
{
	enum { BASIC_SIZE_TO_DEALLOC = 0x10 };
	const struct python_layout *layout = check->layout;
	const char *name = layout->minor >= 11 ? "co_qualname" : "co_name";
	const char *lines = layout->minor >= 10 ? "co_linetable" : "co_lnotab";

	if ((unsigned long)load_checked(check->code_type, layout->type_flags) != check->type_flags(check->code_type) ||
		member_offset(check, check->code_type, "co_filename") != layout->code_file ||
		member_offset(check, check->code_type, name) != layout->code_name ||
		member_offset(check, check->code_type, lines) != layout->code_lines ||
		member_offset(check, check->code_type, "co_firstlineno") != layout->code_first_line)
		return false;
	/* The instructions are the part of a code object whose size varies. */
	if (layout->code_instructions &&
		python_load(check->code_type, layout->type_dealloc - BASIC_SIZE_TO_DEALLOC) != layout->code_instructions)
		return false;
	if (layout->minor >= 11)
		return true;
	return member_offset(check, check->frame_type, "f_back") == layout->frame_previous &&
		member_offset(check, check->frame_type, "f_code") == layout->frame_code &&
		(layout->instruction == PYTHON_INSTRUCTION_UNITS ||
		member_offset(check, check->frame_type, "f_lasti") == layout->frame_instruction);
}

/* The interpreter hides frames that have not begun, and those of its own that lie between two others. */
static bool is_hidden(const struct python_layout *layout, const void *frame)
{
	enum { OWNER_GENERATOR = 1, OWNER_INTERPRETER = 3 };

	if (!layout->frame_owner)
		return false;

	uint8_t owner = python_load_byte(frame, layout->frame_owner);
	const void *code = (const void *)(python_load(frame, layout->frame_code) & layout->code_mask);
	const void *traceable = (const char *)code + (layout->code_first_traceable & ~7u);

	if (owner >= OWNER_INTERPRETER)
		return true;
	if (owner == OWNER_GENERATOR || !python_readable(traceable))
		return false;

	intptr_t last = (intptr_t)(python_load(frame, layout->frame_instruction) -
		((uintptr_t)code + layout->code_instructions));

	return last >= -2 && last < 2 * (intptr_t)python_load_int(code, layout->code_first_traceable);
}

/* *frame becomes itself or the next one further out that the interpreter would show; NULL at the end.  false: lost. */
static bool find_shown(const struct check *check, const char **frame)
{
	enum { HIDDEN_MAX = 64 };
	const struct python_layout *layout = check->layout;

	for (unsigned i = 0; i < HIDDEN_MAX; i++) {
		if (!*frame)
			return true;
		if (!python_readable(*frame + (layout->frame_code & ~7u)) ||
			!python_readable(*frame + (layout->frame_instruction & ~7u)) ||
			!python_readable(*frame + (layout->frame_owner & ~7u)) ||
			!python_readable(*frame + (layout->frame_previous & ~7u)))
			return false;
		if (!is_hidden(layout, *frame))
			return true;
		*frame = (const char *)python_load(*frame, layout->frame_previous);
	}
	return false;
}

/* The code has RESUME where the layout says that tracing may begin. */
static bool check_first_traceable(struct check *check, const char *code)
{
	const struct python_layout *layout = check->layout;
	int32_t first = python_load_int(code, layout->code_first_traceable);
	intptr_t units = (intptr_t)python_load(code, layout->size);
	const uint8_t *instruction;

	if (first < 0 || first >= units || !python_readable(code + layout->code_instructions) ||
		!python_readable(code + layout->code_instructions + ((2 * (size_t)first) & ~(size_t)7)))
		return false;
	instruction = (const uint8_t *)code + layout->code_instructions + 2 * (size_t)first;
	if (instruction[1] & 3)
		return false;                 /* a later one: after yield, say */
	for (unsigned i = 0; i < 2; i++) {
		if (check->resume[i] < 0)
			check->resume[i] = instruction[0];
		if (check->resume[i] == instruction[0])
			return true;
	}
	return false;
}

/* The offset of a frame's instruction in bytes; negative before the first. */
static intptr_t last_instruction(const struct python_layout *layout, const void *frame, const void *code)
{
	switch (layout->instruction) {
	case PYTHON_INSTRUCTION_BYTES:
		return python_load_int(frame, layout->frame_instruction);
	case PYTHON_INSTRUCTION_UNITS:
		return 2 * (intptr_t)python_load_int(frame, layout->frame_instruction);
	default:
		return (intptr_t)(python_load(frame, layout->frame_instruction) -
			((uintptr_t)code + layout->code_instructions));
	}
}

/* Before 3.11 frames are objects, of which the interpreter tells the line. */
static bool check_object_frame(const struct check *check, const void *frame, const void *code, intptr_t last)
{
	return load_checked(frame, check->layout->object_type) == check->frame_type &&
		check->frame_line(frame) == check->code_line(code, (int)last);
}

/* A frame's copy of the bytecode is not looked at here: the first thread's first copy is the code's own. */
static bool check_bare_frame(struct check *check, const void *frame, const void *code, intptr_t last)
{
	const struct python_layout *layout = check->layout;
	bool copied = layout->code_copies && python_load_int(frame, layout->frame_copy) != 0;
	intptr_t size = 2 * (intptr_t)(uintptr_t)load_checked(code, layout->size);

	if (!copied && (last < -2 || last >= size || last % 2 != 0))
		return false;
	if (!check_first_traceable(check, code))
		return false;
	if (!check->frame_code)
		return true;

	void *its_code = check->frame_code(frame);

	if (its_code)
		check->release(its_code);     /* the frame keeps it */
	return its_code == code && (copied || check->frame_instruction(frame) == last);
}

static bool check_frame(struct check *check, const void *frame)
{
	const struct python_layout *layout = check->layout;
	const void *code = (const void *)(python_load(frame, layout->frame_code) & layout->code_mask);
	intptr_t last;

	if (!code || !python_readable((const char *)code + layout->object_type) ||
		load_checked(code, layout->object_type) != check->code_type)
		return false;
	last = last_instruction(layout, frame, code);
	return (layout->minor < 11 ? check_object_frame(check, frame, code, last) :
		check_bare_frame(check, frame, code, last)) && python_code_check(code);
}

/* Whether a frame is the innermost one in the interpreter's eyes as well. */
static bool check_top(const struct check *check, const void *frame)
{
	enum { WORDS = 8 };
	const void *globals = check->get_globals(), *builtins = check->get_builtins();

	if (check->layout->minor < 11)
		return frame == check->get_frame();
	/* Its own namespaces stand next to each other at the beginning of it. */
	for (size_t i = 0; i < WORDS; i++)
		if (load_checked(frame, 8 * i) == globals && load_checked(frame, 8 * (i + 1)) == builtins)
			return true;
	return false;
}

static bool check_chain(struct check *check, const void *state)
{
	enum { LEVELS = 32 };
	const struct python_layout *layout = check->layout;
	const char *frame;

	if (layout->state_frame) {
		frame = load_checked(state, layout->state_frame);
	} else {
		const void *cframe = load_checked(state, layout->state_cframe);

		frame = cframe ? load_checked(cframe, layout->cframe_frame) : NULL;
	}
	if (!frame || !find_shown(check, &frame) || !frame || !check_top(check, frame))
		return false;
	for (unsigned level = 0; level < LEVELS && frame; level++) {
		if (!check_frame(check, frame))
			return false;
		frame = (const char *)python_load(frame, layout->frame_previous);
		if (!find_shown(check, &frame))
			return false;
	}
	return true;
}

/* The chain of CFrames leads to the one that is part of the thread state. */
static bool check_cframes(const struct check *check, const void *state)
{
	enum { CFRAMES_MAX = 4096, STATE_SIZE_MAX = 1024 };
	const struct python_layout *layout = check->layout;
	const void *cframe;

	if (!layout->state_cframe)
		return true;
	cframe = load_checked(state, layout->state_cframe);
	for (unsigned i = 0; cframe && i < CFRAMES_MAX; i++) {
		if ((uintptr_t)cframe - (uintptr_t)state < STATE_SIZE_MAX)
			return true;
		cframe = load_checked(cframe, layout->cframe_previous);
	}
	return false;
}

static bool find_api(struct check *check, void *(*symbol)(const char *name))
{
	bool shims = check->layout->minor >= 12;

	check->code_type = symbol("PyCode_Type");
	check->frame_type = symbol("PyFrame_Type");
	*(void **)&check->type_flags = symbol("PyType_GetFlags");
	*(void **)&check->get_globals = symbol("PyEval_GetGlobals");
	*(void **)&check->get_builtins = symbol("PyEval_GetBuiltins");
	*(void **)&check->get_frame = symbol("PyEval_GetFrame");
	*(void **)&check->frame_line = symbol("PyFrame_GetLineNumber");
	*(void **)&check->code_line = symbol("PyCode_Addr2Line");
	*(void **)&check->release = symbol("Py_DecRef");
	if (shims) {
		*(void **)&check->frame_code = symbol("PyUnstable_InterpreterFrame_GetCode");
		*(void **)&check->frame_instruction = symbol("PyUnstable_InterpreterFrame_GetLasti");
	}
	return check->code_type && check->frame_type && check->type_flags && check->get_globals &&
		check->get_builtins && check->get_frame && check->frame_line && check->code_line && check->release &&
		(!shims || (check->frame_code && check->frame_instruction));
}

enum python_verdict python_layout_check(const struct python_layout *layout, const void *state,
	void *(*symbol)(const char *name))
{
	struct check check = { .layout = layout, .resume = { -1, -1 } };

	if (!find_api(&check, symbol) || !python_code_check_types(symbol) || !state)
		return PYTHON_CHECK_FAILED;
	if (!check.get_globals())
		return PYTHON_CHECK_LATER;
	if ((uintptr_t)load_checked(state, layout->state_thread) != (uintptr_t)pthread_self())
		return PYTHON_CHECK_FAILED;
	if (!check_types(&check) || !check_chain(&check, state) || !check_cframes(&check, state))
		return PYTHON_CHECK_FAILED;
	return PYTHON_CHECK_PASSED;
}

/* ---- the interpreter loop's code ---- */

/* The sorted table of a module's .eh_frame_hdr: where each function, or split-off part of one, starts. */
struct function_table {
	uintptr_t address;            /* to look up */
	const uint8_t *header;
	uintptr_t text_end;           /* of the segment that holds the address */
	const int32_t *pairs;         /* start and rules of each, relative to the header */
	uint32_t count;
};

static int find_table(struct dl_phdr_info *info, size_t size, void *argument)
{
	/* .eh_frame_hdr: version, then how three things are encoded; these are what linkers write. */
	enum { ENCODED_U32 = 0x03, ENCODED_PAIRS = 0x3b };
	struct function_table *table = argument;
	const uint8_t *header = NULL;
	bool inside = false;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + segment->p_vaddr;

		if (segment->p_type == PT_GNU_EH_FRAME)
			header = (const uint8_t *)start;
		if (segment->p_type == PT_LOAD && table->address - start < segment->p_memsz) {
			inside = true;
			table->text_end = start + segment->p_memsz;
		}
	}
	if (!inside)
		return 0;
	if (header && header[0] == 1 && header[2] == ENCODED_U32 && header[3] == ENCODED_PAIRS) {
		memcpy(&table->count, header + 8, sizeof(table->count));
		table->header = header;
		table->pairs = (const int32_t *)(header + 12);
	}
	return 1;
}

static uintptr_t table_start(const struct function_table *table, uint32_t index)
{
	return (uintptr_t)table->header + (uintptr_t)(intptr_t)table->pairs[2 * (size_t)index];
}

/* The function, or part of one, that holds an address. */
static struct python_code_range function_at(const struct function_table *table, uintptr_t address)
{
	uint32_t low = 0, high = table->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table_start(table, middle) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return (struct python_code_range){ 0, 0 };
	return (struct python_code_range){ table_start(table, low - 1),
		low < table->count ? table_start(table, low) : table->text_end };
}

#if defined(__x86_64__)
/* Target of a direct jump (jmp or jcc, 32 bits) at `at`; 0: there is none. */
static uintptr_t jump_target(const uint8_t *at)
{
	int32_t distance;
	size_t length = at[0] == 0xe9 ? 5 : at[0] == 0x0f && (at[1] & 0xf0) == 0x80 ? 6 : 0;

	if (length == 0)
		return 0;
	memcpy(&distance, at + length - 4, sizeof(distance));
	return (uintptr_t)at + length + (uintptr_t)(intptr_t)distance;
}
#else
static uintptr_t jump_target(const uint8_t *at)
{
	(void)at;
	return 0;
}
#endif

/*
 * Compilers that know a profile move what is rarely run out of a function, to a part that no symbol names.  Only a
 * part of the same function is ever jumped into in the middle; two such jumps are proof, as bytes that merely look
 * like a jump lead nowhere.
 */
unsigned python_layout_loop(const void *function, size_t size, struct python_code_range parts[PYTHON_LOOP_PARTS])
{
	struct function_table table = { .address = (uintptr_t)function };
	struct { struct python_code_range range; unsigned jumps; } seen[16];
	unsigned seen_count = 0, count = 1;

	parts[0] = (struct python_code_range){ table.address, table.address + size };
	dl_iterate_phdr(find_table, &table);
	if (!table.header || size < 8)
		return count;
	for (const uint8_t *at = function; at < (const uint8_t *)function + size - 6; at++) {
		uintptr_t target = jump_target(at);
		unsigned i = 0;

		if (target == 0 || target - table.address < size || target >= table.text_end)
			continue;
		while (i < seen_count && target - seen[i].range.start >= seen[i].range.end - seen[i].range.start)
			i++;
		if (i == seen_count) {
			struct python_code_range range = function_at(&table, target);

			if (seen_count == sizeof(seen) / sizeof(*seen) || range.start == 0 || range.start == target)
				continue;
			seen[seen_count].range = range;
			seen[seen_count++].jumps = 0;
		}
		if (target != seen[i].range.start && ++seen[i].jumps == 2 && count < PYTHON_LOOP_PARTS)
			parts[count++] = seen[i].range;
	}
	return count;
}
