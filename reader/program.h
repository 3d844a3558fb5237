/* SPDX-License-Identifier: MIT */
/*
 * Programs as the shell and the kernel see them: where a name leads, what a script is run by, what an ELF file says
 * about itself.  Used by run (what to execute) and doctor (whether tracing will work).  Also finds our own library.
 */
#ifndef SCTMEM_READER_PROGRAM_H
#define SCTMEM_READER_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { PROGRAM_PATH_SIZE = 4096 };

/*
 * The file that a shell would run for this name: as it is when it has a slash, else from PATH.  false with
 * STATUS_NOT_FOUND or STATUS_NOT_EXECUTABLE.
 */
MUST_CHECK bool program_find(const char *name, char path[PROGRAM_PATH_SIZE], struct error *error);

/*
 * A Python script that the shell could not run by itself (not executable, or only here and not in PATH): true, and
 * `interpreter` is the python3 to run it with.
 */
bool program_is_python_script(const char *name, char interpreter[PROGRAM_PATH_SIZE]);

/* The interpreter of a "#!" line, and its first argument when there is one.  false: not a script. */
bool program_script(const char *path, char interpreter[PROGRAM_PATH_SIZE], char argument[PROGRAM_PATH_SIZE]);

/* What matters of an ELF file. */
struct program_elf {
	bool is_elf, is_64, is_x86_64, is_aarch64;
	bool has_interpreter, has_dynamic;
	char interpreter[256];        /* "/lib64/ld-linux-x86-64.so.2" */
	bool needs_libpython, is_python;   /* is_python: exports Py_BytesMain or needs libpython */
	uint32_t python_version;      /* PY_VERSION_HEX when the file holds it (Py_Version, 3.11 and later); else 0 */
};

/* false: the file cannot be read.  Damaged files are read as far as they make sense. */
MUST_CHECK bool program_read_elf(const char *path, struct program_elf *elf, struct error *error);

/* The library to preload: beside this command, in its build folder, or where it was installed. */
MUST_CHECK bool program_find_library(char path[PROGRAM_PATH_SIZE], struct error *error);

#endif
