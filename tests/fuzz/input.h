/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: a claim that ends the process when it is false, an input as a file that has no name,
 * and checksums made right, without which nearly every changed capture would be refused at its first block.
 */
#ifndef SCTMEM_TESTS_FUZZ_INPUT_H
#define SCTMEM_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(int truth)
{
	if (!truth)
		abort();
}

enum { INPUT_PATH_SIZE = 64 };

/* The bytes as a file in memory.  Writes a path that leads to it; returns the descriptor, which the caller closes. */
int input_file(const uint8_t *data, size_t size, char path[INPUT_PATH_SIZE]);

/*
 * The same with the checksums of header and blocks made those of the bytes: what the fuzzer changes is then believed,
 * which is what a hostile file would do.
 */
int input_capture(const uint8_t *data, size_t size, char path[INPUT_PATH_SIZE]);

/* Makes the checksums of a capture's header and blocks those of its bytes. */
void input_repair(uint8_t *bytes, size_t size);

/* From here on, what the command prints goes to /dev/null; sanitizers and libFuzzer keep the real descriptors. */
void input_silence(void);

#endif
