/* SPDX-License-Identifier: MIT */
/*
 * Errors are values: a fallible function takes a struct error, fills it with one line and returns false.
 * Only main prints it and chooses the exit status from error.status.
 */
#ifndef SCTMEM_READER_ERROR_H
#define SCTMEM_READER_ERROR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/* The exit statuses of every verb; docs/man/sctmem.1 has the same table. */
enum exit_status {
	STATUS_OK = 0,
	STATUS_FINDINGS = 1,      /* the command worked and what it was asked to check for is there */
	STATUS_USAGE = 2,         /* unknown verb, option or value */
	STATUS_NO_INPUT = 3,      /* a named file is missing or cannot be read, or no capture was found */
	STATUS_BAD_CAPTURE = 4,   /* the file is not a capture, or is damaged beyond use */
	STATUS_NEWER_CAPTURE = 5, /* the capture needs a newer sctmem */
	STATUS_OUTPUT = 6,        /* the output cannot be written, or exists (-f allows to replace it) */
	STATUS_MEMORY = 7,        /* out of memory */
	STATUS_CANNOT_TRACE = 8,  /* doctor, attach: tracing would not work */
	STATUS_NOT_YET = 9,       /* ctl: the process has not seen to it; it will at its next allocation */
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127,   /* run: as a shell does; else run passes on the program's own status */
};

struct error {
	int status;               /* enum exit_status */
	char text[1024];          /* one line, lower case, no full stop; safe to print */
};

/* Fills error and returns false.  Untrusted bytes in the arguments are escaped when main prints the text. */
bool fail(struct error *error, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
