/* SPDX-License-Identifier: MIT */
/*
 * How the command's memory comes from the kernel.  Only main() calls this, first of all.
 *
 * A report is tables that grow by doubling, and are freed when they became rows.  As glibc does it by itself, each of
 * them beyond 128 KiB is a mapping of its own: the kernel zeroes its pages one fault at a time, and again for the next
 * table, which is half of the time of `sctmem insights` on a small capture.  So a stretch of addresses is reserved for
 * the heap: tables lie in it as long as it lasts, and what was freed is used again.  It is of huge pages from its
 * beginning, where the system has them on request: a fault for each small one took a third of the time of a small
 * report.  The last of them may be used in part only, which costs up to 2 MiB.
 */
#ifndef SCTMEM_READER_HEAP_H
#define SCTMEM_READER_HEAP_H

void heap_prepare(void);

#endif
