/* SPDX-License-Identifier: MIT */
/*
 * Where CPython keeps what a stack walk reads: offsets into the interpreter's structures, for one recognised
 * runtime.  Tables for 3.8 to 3.12; from 3.13 on the runtime describes itself (_Py_DebugOffsets).  A runtime that
 * is not recognised with certainty has no layout, and then no Python stacks are taken.
 */
#ifndef SCTMEM_PRELOAD_PYTHON_LAYOUT_H
#define SCTMEM_PRELOAD_PYTHON_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a frame says which instruction it executes. */
enum python_instruction {
	PYTHON_INSTRUCTION_BYTES,     /* 3.8, 3.9: an int, the offset in bytes */
	PYTHON_INSTRUCTION_UNITS,     /* 3.10: an int, the offset in code units */
	PYTHON_INSTRUCTION_POINTER,   /* 3.11 and later: an address in the code's instructions */
};

/* What lies on the C stack for each activation of the interpreter loop. */
enum python_activation {
	PYTHON_ACTIVATION_NONE,       /* 3.8, 3.9: nothing that could be found */
	PYTHON_ACTIVATION_FRAME,      /* 3.10: a CFrame per Python frame */
	PYTHON_ACTIVATION_SEGMENT,    /* 3.11: a _PyCFrame per run of Python frames */
	PYTHON_ACTIVATION_SHIM,       /* 3.12 and later: the entry frame, part of the chain of frames */
};

struct python_layout {
	uint32_t version;             /* PY_VERSION_HEX */
	uint8_t minor;
	bool free_threaded;
	uint8_t instruction;          /* enum python_instruction */
	uint8_t activation;           /* enum python_activation */
	uint8_t line_table;           /* enum capture_line_table */
	uint8_t kind_shift;           /* of `kind` in the state of a str */
	uintptr_t code_mask;          /* takes the tag bits off a frame's code */
	/* Byte offsets.  0 for what the version does not have (none of these is ever at 0 when it is there). */
	uint16_t state_frame;         /* PyThreadState: the innermost frame; 0 when it is in the C frame */
	uint16_t state_cframe;
	uint16_t state_thread;        /* pthread_self() of the thread it belongs to */
	uint16_t cframe_frame;        /* 0 is real here: 3.12 keeps it first */
	uint16_t cframe_previous;
	uint16_t frame_previous;
	uint16_t frame_code;          /* 0 is real here from 3.12 on */
	uint16_t frame_instruction;
	uint16_t frame_owner;
	uint16_t frame_copy;          /* free-threaded 3.14: which copy of the bytecode it runs */
	uint16_t code_file;
	uint16_t code_name;           /* the qualified name from 3.11 on */
	uint16_t code_first_line;
	uint16_t code_lines;
	uint16_t code_first_traceable;
	uint16_t code_instructions;
	uint16_t code_copies;         /* free-threaded 3.14: per-thread copies of the bytecode */
	uint16_t object_type;
	uint16_t type_dealloc;
	uint16_t type_flags;
	uint16_t size;                /* of a variable-size object, in items */
	uint16_t bytes_data;
	uint16_t text_length;
	uint16_t text_state;
	uint16_t text_ascii;          /* the characters of a compact ASCII str */
	uint16_t text_other;          /* of another compact one; the address of them when it is not compact */
};

/* Interpreter memory is read through this type only: it may alias whatever is there. */
typedef uintptr_t __attribute__((may_alias)) python_word;
typedef int32_t __attribute__((may_alias)) python_int;

static inline uintptr_t python_load(const void *base, size_t offset)
{
	return *(const python_word *)((const char *)base + offset);
}

static inline int32_t python_load_int(const void *base, size_t offset)
{
	return *(const python_int *)((const char *)base + offset);
}

static inline uint8_t python_load_byte(const void *base, size_t offset)
{
	return *((const uint8_t *)base + offset);
}

/*
 * The layout of a runtime of `version`.  `runtime` is the address of its _PyRuntime (NULL: not exported).
 * false: not a version that we know.
 */
bool python_layout_find(struct python_layout *layout, uint32_t version, const void *runtime);

enum python_verdict { PYTHON_CHECK_PASSED, PYTHON_CHECK_FAILED, PYTHON_CHECK_LATER };

/*
 * Compares what the layout says with what the interpreter says of its types and of the calling thread's frames.
 * Called by a thread that is attached and may use the Python API; makes no object, so that nothing is different
 * afterwards.  `symbol` finds an exported function of the runtime.  PYTHON_CHECK_LATER: no Python frame runs here.
 */
enum python_verdict python_layout_check(const struct python_layout *layout, const void *state,
	void *(*symbol)(const char *name));

/* A stretch of code, [start, end). */
struct python_code_range { uintptr_t start, end; };

enum { PYTHON_LOOP_PARTS = 4 };

/*
 * Where the interpreter loop is: under its symbol, and where the compiler put parts that it split off.  Uses the
 * dynamic loader.  Returns how many ranges were found.
 */
unsigned python_layout_loop(const void *function, size_t size, struct python_code_range parts[PYTHON_LOOP_PARTS]);

/* Whether a word of memory can be read.  Asks the kernel: for checks only. */
bool python_readable(const void *address);

#endif
