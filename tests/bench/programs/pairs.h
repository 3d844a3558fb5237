/* SPDX-License-Identifier: MIT */
/* The workload of pairs.c as a function, so that Python can call it through ctypes too. */
#ifndef SCTMEM_BENCH_PAIRS_H
#define SCTMEM_BENCH_PAIRS_H

/* Makes `pairs` malloc/free pairs, divided among the threads, under `depth` frames of its own (6 to 100,000).
 * changing: the three innermost frames are other ones from call to call. */
int pairs_run(unsigned threads, unsigned long pairs, unsigned depth, int changing);

#endif
