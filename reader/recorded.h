/* SPDX-License-Identifier: MIT */
/* What run and attach say at the end. */
#ifndef SCTMEM_READER_RECORDED_H
#define SCTMEM_READER_RECORDED_H

#include <stdbool.h>
#include <stddef.h>

/*
 * "sctmem: wrote FILE: peak ..., ...", on standard error; `more` is the number of other captures that came of it.
 * `ended`: the program has, so what is live was never freed.
 */
void recorded_print(const char *path, bool ended, size_t more);

#endif
