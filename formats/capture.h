/* SPDX-License-Identifier: MIT */
/*
 * The capture format, version 6, in C.  formats/capture.md is normative; what it promises about
 * sizes and offsets is asserted here.
 *
 * A capture is one file that is valid at every instant:
 *
 *     +--------------+---------+---------+---------+---------+---- - -
 *     | header       | block   | block   | block   | block   | zeros
 *     | + status     | STREAM  | STREAM  | EVENTS  | EVENTS  | (space taken in advance)
 *     +--------------+---------+---------+---------+---------+---- - -
 *
 * Each recording thread owns one stream.  It writes fixed-width 64-bit words into the stream's
 * STREAM block, a window of the file mapped shared, so that what was written is in the file the
 * moment it is written, whatever becomes of the process.  When the window is full, its words are
 * re-coded as columns, compressed, appended as an EVENTS block, and the window is used anew.
 *
 * All integers are little-endian.
 */
#ifndef SCTMEM_FORMATS_CAPTURE_H
#define SCTMEM_FORMATS_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#define CAPTURE_MAGIC "SCTMEM\r\n"   /* eight bytes; \r\n shows a file mangled by a text transfer */
#define CAPTURE_VERSION 6u             /* of all that is written */
#define CAPTURE_BLOCK_MAGIC 0x4b4c4253u   /* "SBLK" */

enum {
	CAPTURE_STATUS_OFFSET = 512,      /* of struct capture_status in the file */
	CAPTURE_TEXT_OFFSET = 1024,       /* of the header's text fields */
	CAPTURE_HEADER_SIZE_MIN = 4096,
	CAPTURE_HEADER_SIZE_MAX = 1 << 20,
	CAPTURE_STREAM_WORDS_MAX = 1 << 20,   /* a stream window holds at most 8 MiB */
	CAPTURE_RECORD_BYTES_MAX = 1 << 26,   /* a metadata record's payload, 64 MiB */
	CAPTURE_RAW_SIZE_MAX = 1 << 27,       /* a block's payload once decompressed, 128 MiB */
};

/* The first bytes of every capture; written once, before anything else, never changed. */
struct capture_header {
	char magic[8];
	uint32_t version;             /* a reader refuses a larger one */
	uint32_t header_size;         /* bytes before the first block; a multiple of 4096 */
	uint64_t features;            /* enum capture_feature, ORed */
	uint64_t start_realtime_ns;   /* CLOCK_REALTIME at time 0 of this capture */
	uint64_t start_monotonic_ns;  /* CLOCK_MONOTONIC at time 0 */
	uint64_t parent_stamp;        /* fork child: the parent's stamp at the fork; else 0 */
	uint64_t parent_time_ns;      /* fork child: the parent's capture time at the fork; else 0 */
	uint32_t pid;
	uint32_t parent_pid;
	uint32_t page_size;
	uint32_t clock_resolution_ns; /* granularity of event times */
	uint32_t sequence;            /* 0, or how many captures this process wrote before (exec in place) */
	uint32_t machine;             /* ELF e_machine: 62 x86-64, 183 AArch64 */
	uint32_t text_size;           /* bytes of text fields from CAPTURE_TEXT_OFFSET on */
	uint32_t origin;              /* enum capture_origin */
	uint64_t parent_start_realtime_ns;   /* the parent capture's start, to recognise it; else 0 */
	uint32_t segment;             /* of the run, from 1; 0: this file is all of it */
	uint32_t reserved_segment;
	uint64_t run_id;              /* the same in all segments of a run */
	uint64_t segment_time_ns;     /* capture time at which this segment began */
	uint64_t segment_stamp;       /* what comes from here on is in this segment or a later one */
	uint8_t reserved[376];        /* zero */
	uint64_t checksum;            /* XXH3-64 of the 504 bytes before, then of the text fields (seed = the first) */
};

enum capture_feature {
	CAPTURE_NATIVE_FULL = 1 << 0,    /* native frames down to the thread's start */
	CAPTURE_NATIVE_LEAF = 1 << 1,    /* under Python: only those above the innermost interpreter loop */
	CAPTURE_PYTHON_STACKS = 1 << 2,
	CAPTURE_PYTHON_ALLOCATORS = 1 << 3, /* PyMem MEM and OBJ blocks are events; arenas are their backing store */
	CAPTURE_SAMPLED = 1 << 4,        /* not every allocation is recorded: see SAMPLING */
	CAPTURE_COMPACTED = 1 << 5,      /* made smaller afterwards: see CULLED */
	CAPTURE_SEGMENTS = 1 << 6,       /* one segment of a run */
	CAPTURE_AGGREGATED = 1 << 7,     /* what was soon freed again is in sums: see CULLED and HELD */
};

enum capture_origin {
	CAPTURE_ORIGIN_START = 0,        /* the program was started with the library */
	CAPTURE_ORIGIN_FORK = 1,         /* a fork child of a recorded process */
	CAPTURE_ORIGIN_EXEC = 2,         /* a recorded process executed another program in place */
	CAPTURE_ORIGIN_EXEC_CHILD = 3,   /* a child that a recorded process executed */
	CAPTURE_ORIGIN_ATTACH = 4,       /* a process that ran already: what it had allocated before is not known */
};

/* Changed in place while recording; every field alone is always true. */
struct capture_status {
	uint64_t state;               /* enum capture_state */
	uint64_t end_time_ns;         /* capture time of the orderly end, when state says so */
	uint64_t lost_memory;         /* events lost: no memory for a thread's state or stacks */
	uint64_t lost_storage;        /* events lost: no room in the file */
	uint64_t lost_reentry;        /* events lost: a signal handler came inside our own code */
	uint64_t stacks_truncated;    /* events whose stack was cut at the depth limit */
	uint64_t stacks_degraded;     /* events whose stack was cut because the node table is full */
	uint64_t tracer_bytes;        /* memory taken by the library itself, high-water mark */
	uint64_t unwind_guessed;      /* native frames found by the frame-pointer guess */
	uint64_t unwind_stopped;      /* native stacks that ended at a frame without unwind rules */
	uint64_t python_refused;      /* Python stacks not taken because the runtime was not recognised */
	uint64_t file_bytes;          /* bytes of the file in use: the tail of zeros starts here */
	uint64_t lost_threads;        /* threads that could not get a stream */
	uint64_t paused;              /* 1: nothing is recorded now, and recording may be started (again) */
	uint64_t request;             /* written from outside: number << 8 | enum capture_command */
	uint64_t answer;              /* written by the recorder: number << 8 | enum capture_answer */
	uint64_t request_size;        /* bytes of request_name */
	char request_name[256];       /* of a mark or a snapshot; in no known encoding */
	uint64_t request_first;       /* the number under which the same was asked first, in an earlier segment's file */
	uint64_t reserved[14];
};

enum capture_state {
	CAPTURE_RUNNING = 0,          /* still recording, or ended without notice (SIGKILL, _exit) */
	CAPTURE_EXITED = 1,           /* exit() or return from main */
	CAPTURE_STOPPED_STORAGE = 2,  /* recording stopped: the file could not grow */
	CAPTURE_STOPPED_MEMORY = 3,   /* recording stopped: no memory for the recorder */
	CAPTURE_STOPPED_USER = 4,     /* recording stopped by sctmem_stop */
	CAPTURE_CONTINUED = 5,        /* the run goes on in its next segment */
	CAPTURE_STOPPED_FILTER = 6,   /* recording stopped: the program has its system calls filtered */
};

/* What is asked of a running recorder through its status. */
enum capture_command {
	CAPTURE_ASK_NOTHING = 0,      /* withdraws what was asked before and is not answered */
	CAPTURE_ASK_START = 1,
	CAPTURE_ASK_STOP = 2,
	CAPTURE_ASK_MARK = 3,
	CAPTURE_ASK_SNAPSHOT = 4,
	CAPTURE_ASK_ROTATE = 5,       /* begin the next segment */
};

enum capture_answer {
	CAPTURE_ANSWER_DONE = 1,
	CAPTURE_ANSWER_ALREADY = 2,   /* it was recording, or had stopped, before */
	CAPTURE_ANSWER_PAUSED = 3,    /* a mark while nothing is recorded: not written */
	CAPTURE_ANSWER_FAILED = 4,    /* recording is over for good, no memory, no file for a segment */
	CAPTURE_ANSWER_UNKNOWN = 5,   /* no such command in this version of the library */
};

/*
 * Text fields, from CAPTURE_TEXT_OFFSET: each is a uint16_t id, a uint16_t zero, a uint32_t length and that
 * many bytes, padded with zeros to a multiple of 8.  Bytes are as the system gave them, in no known encoding.
 */
enum capture_text {
	CAPTURE_TEXT_HOST = 1,
	CAPTURE_TEXT_COMMAND = 2,     /* argv, each ended by a NUL */
	CAPTURE_TEXT_EXECUTABLE = 3,  /* the program's path */
	CAPTURE_TEXT_PARENT = 4,      /* path of the parent's capture */
	CAPTURE_TEXT_DIRECTORY = 5,   /* working directory at start */
	CAPTURE_TEXT_LIBC = 6,        /* "glibc 2.36" */
	CAPTURE_TEXT_KERNEL = 7,      /* "Linux 6.1.0-18-amd64" */
	CAPTURE_TEXT_WRITER = 8,      /* "sctmem 0.1.0" */
};

/* Before the payload of every block.  Blocks start at multiples of 8. */
struct capture_block {
	uint32_t magic;
	uint16_t kind;                /* enum capture_block_kind; a reader skips kinds it does not know */
	uint16_t flags;               /* enum capture_block_flag */
	uint32_t stored_size;         /* payload bytes as stored; the next block follows, aligned to 8 */
	uint32_t raw_size;            /* payload bytes once decompressed */
	uint32_t stream;
	uint32_t sequence;            /* EVENTS: number of the window in its stream, from 0 */
	uint64_t first_time_ns;       /* EVENTS: of the first and the last event; for seeking */
	uint64_t last_time_ns;
	uint32_t event_count;         /* EVENTS: allocation, free and map events in it */
	uint32_t reserved;
	uint64_t payload_checksum;    /* XXH3-64 of the payload as stored; 0 for STREAM */
	uint64_t header_checksum;     /* XXH3-64 of the 56 bytes before */
};

enum capture_block_kind {
	CAPTURE_BLOCK_STREAM = 1,     /* payload: struct capture_stream and the words of its window */
	CAPTURE_BLOCK_EVENTS = 2,     /* payload: columns, see formats/events.h */
	CAPTURE_BLOCK_WORDS = 3,      /* payload: words of records too large for a window (metadata only) */
};

enum capture_block_flag {
	CAPTURE_BLOCK_LZ4 = 1,        /* the payload is one LZ4 block */
	CAPTURE_BLOCK_SECOND = 2,     /* EVENTS: columns in their second form, which those from version 6 on have */
};

/* At the start of a STREAM block's payload.  The words follow. */
struct capture_stream {
	uint64_t sequence;            /* number of the window now in the words */
	uint64_t used;                /* words that are complete; stored after them */
	uint64_t capacity;            /* words that fit */
	uint64_t first_stamp;         /* state carried in from before this window: */
	uint64_t first_time_ns;
	uint64_t first_thread;        /* index of the thread that owned the stream when the window began */
	uint64_t reserved[2];
};

/*
 * A window's words are records.  The low eight bits of a record's first word are its kind, the upper 56 its
 * first operand.  EVENTS blocks decode to the same records.
 *
 *  kind            first word, upper 56 bits     further words
 *  TIME            time in ns                                         of the events that follow
 *  STAMP           order stamp                                        of the events that follow
 *  THREAD          thread index                                       of the events that follow
 *  SIZE_HIGH       bits 32.. of the next size
 *  FREE            address                                            before the real call
 *  FREE_PYTHON     address                                            PyMem_Free, PyObject_Free
 *  MOVE            address                                            realloc begins: address may be reused from here
 *  STAY            address                                            realloc failed: the block of MOVE lives on
 *  MALLOC ..       address                       size(32) | stack(32)<<32     after the real call
 *  MAP             address                       length; flags(32) | stack(32)<<32
 *  UNMAP           address                       length               before the real call
 *  UNMAP_FAILED    address                       length               the ranges of UNMAP live on
 *  NODE            id                            frame; parent        a stack is its innermost node
 *  SAMPLE          bytes of resident memory      bytes of it private to the process (anonymous); tracer bytes
 *  SKIP            allocations not recorded      their bytes              of this thread, since its last SKIP
 *  MOVE_ENDS       address                                            the block of MOVE is gone
 *  (metadata)      payload length in bytes       the payload, padded to words
 */
#define CAPTURE_RECORDS(X) \
	X(1, TIME, time) \
	X(2, STAMP, stamp) \
	X(3, THREAD, thread) \
	X(4, SIZE_HIGH, size_high) \
	X(5, NODE, node) \
	X(6, SAMPLE, sample) \
	X(7, SKIP, skip) \
	X(16, FREE, free) \
	X(17, FREE_PYTHON, free_python) \
	X(18, MOVE, move) \
	X(19, STAY, stay) \
	X(20, UNMAP, unmap) \
	X(21, UNMAP_FAILED, unmap_failed) \
	X(22, MAP, map) \
	X(23, MOVE_PYTHON, move_python) \
	X(24, MOVE_ENDS, move_ends) \
	X(32, MALLOC, malloc) \
	X(33, CALLOC, calloc) \
	X(34, REALLOC, realloc) \
	X(35, POSIX_MEMALIGN, posix_memalign) \
	X(36, ALIGNED_ALLOC, aligned_alloc) \
	X(37, MEMALIGN, memalign) \
	X(38, VALLOC, valloc) \
	X(39, PVALLOC, pvalloc) \
	X(40, PYMEM_MALLOC, pymem_malloc) \
	X(41, PYMEM_CALLOC, pymem_calloc) \
	X(42, PYMEM_REALLOC, pymem_realloc) \
	X(43, PYOBJECT_MALLOC, pyobject_malloc) \
	X(44, PYOBJECT_CALLOC, pyobject_calloc) \
	X(45, PYOBJECT_REALLOC, pyobject_realloc) \
	X(64, THREAD_INFO, thread_info) \
	X(65, MODULE, module) \
	X(66, CODE, code) \
	X(67, PYTHON, python) \
	X(68, MARK, mark) \
	X(69, NOTE, note) \
	X(70, RECORDING, recording) \
	X(71, SAMPLING, sampling) \
	X(72, CULLED, culled) \
	X(73, ABOUT_COMPACTED, about_compacted) \
	X(74, PAGES, pages) \
	X(75, HELD, held) \
	X(80, SYMBOLS, symbols)

enum capture_record {
#define X(number, upper, lower) CAPTURE_##upper = number,
	CAPTURE_RECORDS(X)
#undef X
};

#define CAPTURE_IS_ALLOCATION(kind) ((kind) >= 32 && (kind) < 64)
#define CAPTURE_IS_METADATA(kind) ((kind) >= 64)
#define CAPTURE_IS_PYTHON(kind) ((kind) >= CAPTURE_PYMEM_MALLOC && (kind) <= CAPTURE_PYOBJECT_REALLOC)

/* Flags of a MAP. */
enum capture_map_flag {
	CAPTURE_MAP_RESERVE = 1 << 0,    /* PROT_NONE: address space, not memory */
	CAPTURE_MAP_NORESERVE = 1 << 1,
	CAPTURE_MAP_FILE = 1 << 2,       /* backed by a file */
	CAPTURE_MAP_SHARED = 1 << 3,
	CAPTURE_MAP_ARENA = 1 << 4,      /* backing store of Python's own allocator */
	CAPTURE_MAP_MOVED = 1 << 5,      /* the result of mremap; keeps the domain of the range it moved from */
	CAPTURE_MAP_BREAK = 1 << 6,      /* the program itself moved the break (sbrk) */
	CAPTURE_MAP_STACK = 1 << 7,      /* MAP_STACK or MAP_GROWSDOWN */
};

/*
 * A frame is 64 bits.  The two highest say what it is:
 *   0 native: bits 0..47 the address to look up (a return address less one, so that it lies in the call), bits
 *     48..61 the generation of that address: 0, and one more each time a module mapped there was unloaded
 *   1 Python: bits 0..23 the offset of the instruction in its code, in code units (two bytes), bits 24..55 the id of
 *     the code
 *   2 special: enum capture_frame_special
 */
#define CAPTURE_FRAME_KIND(frame) ((unsigned)((frame) >> 62))
enum capture_frame_kind { CAPTURE_FRAME_NATIVE = 0, CAPTURE_FRAME_PYTHON = 1, CAPTURE_FRAME_SPECIAL = 2 };
#define CAPTURE_NATIVE_FRAME(address, generation) \
	(((uint64_t)(address) & 0xffffffffffffu) | (uint64_t)((generation) & 0x3fffu) << 48)
#define CAPTURE_UNITS_NOT_BEGUN 0xffffffu     /* before its first instruction: the line is the code's first */
#define CAPTURE_PYTHON_FRAME(code, units) \
	((uint64_t)1 << 62 | (uint64_t)((code) & 0xffffffffu) << 24 | ((uint64_t)(units) & 0xffffffu))
#define CAPTURE_SPECIAL_FRAME(what) ((uint64_t)2 << 62 | (uint64_t)(what))
#define CAPTURE_FRAME_ADDRESS(frame) ((frame) & 0xffffffffffffu)
#define CAPTURE_FRAME_GENERATION(frame) ((uint32_t)((frame) >> 48) & 0x3fffu)
#define CAPTURE_FRAME_CODE(frame) ((uint32_t)((frame) >> 24))
#define CAPTURE_FRAME_UNITS(frame) ((uint32_t)(frame) & 0xffffffu)

enum capture_frame_special {
	CAPTURE_FRAME_TRUNCATED = 1,   /* outer frames beyond the depth limit are missing here */
	CAPTURE_FRAME_UNKNOWN = 2,     /* the walk could not go on: no unwind rule */
	CAPTURE_FRAME_DEGRADED = 3,    /* the node table is full: the stack is cut here */
	CAPTURE_FRAME_NO_PYTHON = 4,   /* a Python stack was due but the runtime is not recognised */
	CAPTURE_FRAME_INTERNALS = 5,   /* one or more frames of the Python runtime's own code, left out (native=leaf) */
};

/* Node 0 is the empty stack: the parent of each outermost frame, and the stack of an event that has none. */
enum { CAPTURE_NODE_ROOT = 0 };

/* Payload of THREAD_INFO, then `name_size` bytes of name.  A later one for the same index renames the thread. */
struct capture_thread_info {
	uint32_t index;
	uint32_t tid;                 /* the kernel's id */
	uint64_t start_time_ns;
	uint32_t name_size;
	uint32_t flags;               /* 1: the process's first thread */
};

/* Payload of MODULE, then path and build-id.  The module covers [start, end) for frames of its generation. */
struct capture_module {
	uint64_t start;
	uint64_t end;
	uint64_t bias;                /* address in memory less address in the ELF file */
	uint64_t time_ns;             /* when it was first seen */
	uint32_t generation;
	uint32_t path_size;
	uint32_t build_id_size;
	uint32_t flags;               /* enum capture_module_flag */
};

enum capture_module_flag {
	CAPTURE_MODULE_PROGRAM = 1 << 0,
	CAPTURE_MODULE_RECORDER = 1 << 1,
	CAPTURE_MODULE_VDSO = 1 << 2,
};

/* Payload of CODE, then file name, qualified name (plain name before Python 3.11) and line table, UTF-8. */
struct capture_code {
	uint32_t id;
	uint32_t first_line;
	uint32_t table_kind;          /* enum capture_line_table */
	uint32_t file_size;
	uint32_t name_size;
	uint32_t table_size;
};

enum capture_line_table {
	CAPTURE_LINES_LNOTAB = 1,      /* 3.8, 3.9: co_lnotab, signed line deltas */
	CAPTURE_LINES_PEP626 = 2,      /* 3.10: co_linetable */
	CAPTURE_LINES_LOCATIONS = 3,   /* 3.11 and later: co_linetable of locations */
};

/* Payload of PYTHON, then the path of the runtime's module and the name of the allocator. */
struct capture_python {
	uint32_t version;             /* PY_VERSION_HEX */
	uint32_t flags;               /* 1: in the executable; 2: free-threaded; 4: stacks understood; 8: allocators hooked */
	uint64_t time_ns;
	uint32_t path_size;
	uint32_t allocator_size;
};

/* Payload of RECORDING: recording stopped, or began (again).  What lived then, and what it became, is not known. */
struct capture_recording {
	uint32_t on;                  /* 1: from here on events are recorded; 0: until the next one they are not */
	uint32_t by;                  /* enum capture_recording_by */
};

enum capture_recording_by {
	CAPTURE_BY_PROGRAM = 0,       /* sctmem_start, sctmem_stop */
	CAPTURE_BY_COMMAND = 1,       /* a request in the status */
};

/* Payload of SAMPLING.  It holds for what its stream allocates from here to the end of the window. */
struct capture_sampling {
	uint64_t mean_bytes;          /* 0: every block is recorded, as at the start of each window */
};

/* Payload of CULLED: blocks of one stack, function and size, of the stream's thread, that are no events. */
struct capture_culled {
	uint32_t stack;
	uint16_t kind;                /* of an allocation */
	uint16_t bin;                 /* bits that the size needs */
	uint64_t count, bytes;        /* allocated, and freed again, between two borders */
	uint64_t temporary_count, temporary_bytes;
};

/* The payload of PAGES is formats/pages.h's. */

/* Payload of HELD: what the blocks that one window dropped (CAPTURE_AGGREGATED) held at most at one time. */
struct capture_held {
	uint64_t bytes, count;        /* each by itself */
	uint64_t dropped;             /* blocks */
	uint64_t first_time_ns, last_time_ns;   /* of the first and the last event that was dropped */
};

/* Payload of ABOUT_COMPACTED. */
struct capture_compacted {
	uint64_t width_ns;            /* borders lie at multiples of it, and at the peak, and at marks */
	uint32_t temporary_limit;     /* what CULLED calls temporary */
	uint32_t reserved;
};

/*
 * Payload of SYMBOLS: what native frames of this capture are called, then frame_count frames, place_count places, and
 * text_size bytes of texts, of which the first is empty and each ends with a NUL.  `sctmem symbolize` adds it.
 */
struct capture_symbols {
	uint32_t frame_count;
	uint32_t place_count;
	uint32_t text_size;
	uint32_t generation;          /* where two records name one frame the higher one holds */
};

/* Its places follow those of the frame before: what was inlined first, the function as compiled last. */
struct capture_named_frame {
	uint64_t frame;               /* a native one */
	uint32_t place_count;         /* 1 to 64 */
	uint32_t reserved;
};

struct capture_place {
	uint32_t function;            /* where in the texts the readable name is; 0: not known */
	uint32_t file;
	uint32_t line;                /* 0: not known */
	uint32_t flags;               /* enum capture_place_flag */
};

enum capture_place_flag {
	CAPTURE_PLACE_INLINED = 1 << 0,   /* into the place that follows */
	CAPTURE_PLACE_EXACT = 1 << 1,     /* the function is known to cover the address */
};

_Static_assert(sizeof(struct capture_symbols) == 16, "capture.md, SYMBOLS");
_Static_assert(sizeof(struct capture_named_frame) == 16, "capture.md, SYMBOLS");
_Static_assert(sizeof(struct capture_place) == 16, "capture.md, SYMBOLS");
_Static_assert(sizeof(struct capture_culled) == 40, "capture.md, CULLED");
_Static_assert(sizeof(struct capture_held) == 40, "capture.md, HELD");
_Static_assert(sizeof(struct capture_compacted) == 16, "capture.md, ABOUT_COMPACTED");
_Static_assert(sizeof(struct capture_header) == 512, "capture.md, the header");
_Static_assert(offsetof(struct capture_header, checksum) == 504, "capture.md, the header");
_Static_assert(sizeof(struct capture_status) == 512, "capture.md, the status");
_Static_assert(offsetof(struct capture_status, request_name) == 136, "capture.md, the status");
_Static_assert(sizeof(struct capture_block) == 64, "capture.md, blocks");
_Static_assert(offsetof(struct capture_block, header_checksum) == 56, "capture.md, blocks");
_Static_assert(sizeof(struct capture_stream) == 64, "capture.md, streams");
_Static_assert(sizeof(struct capture_thread_info) == 24, "capture.md, THREAD_INFO");
_Static_assert(sizeof(struct capture_module) == 48, "capture.md, MODULE");
_Static_assert(sizeof(struct capture_code) == 24, "capture.md, CODE");
_Static_assert(sizeof(struct capture_python) == 24, "capture.md, PYTHON");
_Static_assert(sizeof(struct capture_recording) == 8, "capture.md, RECORDING");
_Static_assert(sizeof(struct capture_sampling) == 8, "capture.md, SAMPLING");

#endif
