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

/* A mark at which resident memory is looked at, too.  Every mark can be asked for by --at NAME. */
__attribute__((weak)) void sctmem_snapshot(const char *name);

/*
 * Start and stop recording, for the whole process; with SCTMEM_START=off it begins stopped.  While it is stopped hardly
 * anything is spent on it, and nothing is known: what lived when it stopped is not shown after a new start, nor is what
 * was allocated meanwhile.  Any thread.  1: done; 0: it was so before; -1: this process is not recorded.
 */
__attribute__((weak)) int sctmem_start(void);
__attribute__((weak)) int sctmem_stop(void);

#ifdef __cplusplus
}
#endif

#endif
