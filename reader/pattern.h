/* SPDX-License-Identifier: MIT */
/* Names of captures as users give them: for run and attach. */
#ifndef SCTMEM_READER_PATTERN_H
#define SCTMEM_READER_PATTERN_H

/*
 * SCTMEM_OUT: what -o says (NULL: the environment, or the default), absolute, so that a program that changes its
 * folder writes to the same place.  To be freed.
 */
char *pattern_make(const char *given);

#endif
