/* SPDX-License-Identifier: MIT */
/*
 * Another process, looked at from outside: what it is, what it maps, its memory, its exported symbols.  All of it
 * read from /proc/PID, without stopping it.  For inject.c and the commands that use it.
 *
 * What is read is another program's memory: every size and address in it may be nonsense.
 */
#ifndef SCTMEM_READER_REMOTE_H
#define SCTMEM_READER_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* One line of its maps. */
struct remote_mapping {
	uint64_t start, end, offset;
	bool readable, writable, executable;
	char *path;                   /* "" when there is none */
};

/* One ELF file that is mapped there, from its first page on. */
struct remote_module {
	uint64_t start, end, bias;
	uint64_t symbols, strings, strings_size, hash;   /* of its dynamic section; 0: it has none */
	const char *path;             /* a mapping's */
};

struct remote {
	pid_t pid;
	int memory;                   /* /proc/PID/mem; -1: not open */
	uid_t user;
	pid_t tracer;                 /* 0: nobody traces it */
	char state;                   /* 'R', 'S', 'T' ... */
	char name[64];
	unsigned threads;
	int seccomp;                  /* 0 none, 1 strict, 2 filters; -1 unknown */
	unsigned seccomp_filters;     /* 0: unknown */
	bool kernel;                  /* a thread of the kernel's own */
	bool shadow_stack;            /* a second stack of return addresses is enforced */
	bool same_root;               /* paths mean the same there as here */
	struct remote_mapping *mappings;
	size_t mapping_count, mapping_capacity;
	struct remote_module *modules;
	size_t module_count, module_capacity;
};

/* Reads what anybody may read.  false: there is no such process, or it is not a program of user space. */
MUST_CHECK bool remote_open(struct remote *remote, pid_t pid, struct error *error);
void remote_close(struct remote *remote);

/* Opens its memory, and reads its mappings and modules (anew).  false: that is not permitted. */
MUST_CHECK bool remote_look(struct remote *remote, struct error *error);

bool remote_read(const struct remote *remote, uint64_t address, void *to, size_t size);
bool remote_write(const struct remote *remote, uint64_t address, const void *from, size_t size);

/* Of remote_look: finds the modules among the mappings (remote_elf.c). */
void remote_read_modules(struct remote *remote);

const struct remote_mapping *remote_mapping_at(const struct remote *remote, uint64_t address);
const struct remote_module *remote_module_at(const struct remote *remote, uint64_t address);

/* The address of an exported symbol; 0: the module has none of that name. */
uint64_t remote_symbol(const struct remote *remote, const struct remote_module *module, const char *name);
/* In the first module that has it; *found (may be NULL) is that. */
uint64_t remote_find(const struct remote *remote, const char *name, const struct remote_module **found);
/* Whether an address lies in an exported function of one of these names; the last is NULL. */
bool remote_function_is(const struct remote *remote, uint64_t address, const char *const *names);

/* The first place of some bytes in a module's code; 0: they are not there. */
uint64_t remote_find_code(const struct remote *remote, const struct remote_module *module, const uint8_t *bytes,
	size_t size);

/* The file under its own root: "/proc/PID/root/...", or the path as it is where the roots are the same. */
void remote_path(const struct remote *remote, const char *path, char *out, size_t size);

/*
 * Of a process of a program.  Also when its parent has not yet waited for it: then its first thread is still listed;
 * and while it ends: its memory goes first, which makes it look like a thread of the kernel.
 */
bool remote_has_ended(pid_t pid);

/* For what failed without a reason of its own: that it has ended, if it has; else `what` could not be done to it. */
bool remote_failed(const struct remote *remote, const char *what, struct error *error);

/* Why it cannot be looked into, and what to do about it; for the errors of ptrace and of /proc/PID/mem. */
bool remote_refused(const struct remote *remote, int code, struct error *error);

#endif
