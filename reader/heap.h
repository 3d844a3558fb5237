/* SPDX-License-Identifier: MIT */
/*
 * How the command's memory comes from the kernel.  Only main() calls this, first of all.
 *
 * A report is tables that grow by doubling, and are freed when they became rows.  As glibc does it by itself, each of
 * them beyond 128 KiB is a mapping of its own: the kernel zeroes its pages one fault at a time, and again for the next
 * table, which is half of the time of `sctmem insights` on a small capture.  So a stretch of addresses is reserved for
 * the heap: tables lie in it as long as it lasts, and what was freed is used again.  Behind its first megabytes it is
 * of huge pages, where the system has them on request; not in the first ones, since most reports need no more, and
 * would take up to 2 MiB more than they use.
 */
#ifndef SCTMEM_READER_HEAP_H
#define SCTMEM_READER_HEAP_H

void heap_prepare(void);

#endif
