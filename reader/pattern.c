/* SPDX-License-Identifier: MIT */
/*
 * The pattern is expanded by the library, in the program that it records.  Called by cmd_run.c and cmd_attach.c.
 */
#include "pattern.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

char *pattern_make(const char *output)
{
	const char *given = output ? output : getenv("SCTMEM_OUT");
	const char *name = given && *given ? given : "sctmem.%e.%p.bin";
	char folder[PATH_MAX] = "";
	size_t used = 0;

	if (name[0] != '/' && !getcwd(folder, sizeof folder))
		folder[0] = 0;

	/* A % of the folder's own is doubled. */
	char *pattern = memory_new(2 * strlen(folder) + strlen(name) + 2, 1);

	for (const char *at = folder; *at; at++) {
		pattern[used++] = *at;
		if (*at == '%')
			pattern[used++] = '%';
	}
	if (folder[0])
		pattern[used++] = '/';
	strcpy(pattern + used, name);
	return pattern;
}
