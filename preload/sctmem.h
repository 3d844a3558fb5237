/* SPDX-License-Identifier: MIT */
/*
 * sctmem from inside a program.  The functions are weak: when the program runs without libsctmem.so they are NULL.
 *
 *     if (sctmem_mark)
 *             sctmem_mark("request served");
 */
#ifndef SCTMEM_H
#define SCTMEM_H

#ifdef __cplusplus
extern "C" {
#endif

/* Puts a named mark (at most 4096 bytes) into the time line.  Any thread. */
__attribute__((weak)) void sctmem_mark(const char *name);

#ifdef __cplusplus
}
#endif

#endif
