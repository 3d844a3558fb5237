/* SPDX-License-Identifier: MIT */
/*
 * What the environment asked for.  Read once, before the first event; the program may change its environment as it
 * likes afterwards.  CONFIG_VARIABLES is the one list: the manual page is checked against it.
 */
#ifndef SCTMEM_PRELOAD_CONFIG_H
#define SCTMEM_PRELOAD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, what it sets, default, explanation */
#define CONFIG_VARIABLES(X) \
	X("SCTMEM_OUT", out, "sctmem.%e.%p.bin", "capture file; %p pid, %h host, %e program, %n sequence") \
	X("SCTMEM_NATIVE", native, "leaf", "native frames: leaf (under Python above the interpreter loop only), full, no") \
	X("SCTMEM_PYTHON_ALLOCATORS", python_allocators, "yes", "record every Python object's block: yes, no") \
	X("SCTMEM_FOLLOW", follow, "fork", "children that record: none, fork, exec or exec:GLOB (and fork)") \
	X("SCTMEM_PROGRAM", program, "*", "record only in programs whose name matches this pattern") \
	X("SCTMEM_DEPTH", depth, "1024", "deepest stack kept, in frames: 16 to 16384") \
	X("SCTMEM_SAMPLE", sample, "no", "record a sample of the blocks, one about every so many bytes: 512KiB; no: all") \
	X("SCTMEM_AGGREGATE", aggregate, "no", "sums instead of events for blocks that are soon freed again: yes, no") \
	X("SCTMEM_MAX_SIZE", max_size, "no", "largest size of a capture; as it nears, sums, then a sample: 2G; no") \
	X("SCTMEM_ROTATE", rotate, "no", "begin a new file of the capture after so many bytes or so long: 1G, 1h; no") \
	X("SCTMEM_KEEP", keep, "0", "how many of these files are kept, the newest: 2 to 4096; 0: all") \
	X("SCTMEM_SAMPLE_MS", sample_ms, "10", "time between samples of resident memory: 1 to 60000; 0: none") \
	X("SCTMEM_BACKEND", backend, "libc", "allocator that serves the program: libc (or what it brings), jemalloc") \
	X("SCTMEM_START", start, "on", "record from the start: on; off: when sctmem_start() or sctmem ctl says so") \
	X("SCTMEM_FORCE", force, "no", "replace an existing capture of the same name: yes, no")

enum config_native { CONFIG_NATIVE_NO, CONFIG_NATIVE_LEAF, CONFIG_NATIVE_FULL };

struct config {
	char out[4096];               /* pattern */
	enum config_native native;
	bool follow_fork, follow_exec, force;
	bool start;                   /* record from the start */
	bool jemalloc;
	bool aggregate;               /* pairs within a window become sums; not together with samples */
	char follow_glob[256];
	char program_glob[256];
	uint32_t depth;
	uint32_t sample_ms;
	uint64_t sample_bytes;        /* mean distance of recorded blocks; 0: every block is recorded */
	uint64_t max_size;            /* of the file; 0: as large as it gets */
	uint64_t rotate_size, rotate_ns;   /* a segment ends when its file is so large, or so old; 0: no such reason */
	uint32_t keep;                /* segments; 0: all */
	uint64_t sample_seed;         /* 0: other draws each time */
};

enum { CONFIG_MAX_SIZE_LEAST = 4 << 20, CONFIG_ROTATE_SIZE_LEAST = 256 << 10 };

extern struct config config;
extern bool config_python_allocators;

/* Whether the capture is a run of segments.  One file of a limited size is not. */
static inline bool config_rotates(void)
{
	return (config.rotate_size | config.rotate_ns) != 0 && config.max_size == 0;
}

/* Reads the environment.  Values that make no sense leave the default in place. */
void config_read(char *const *environment);

/* All as if the environment said nothing. */
void config_reset(void);

/* Shell-like pattern: * and ? only.  Bounded by the product of the lengths. */
bool config_glob_matches(const char *pattern, const char *name);

#endif
