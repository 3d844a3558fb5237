/* SPDX-License-Identifier: MIT */
/*
 * The golden captures.  capture_v1.bin: a small history that uses every kind of record of version 1 once or more;
 * formats/capture.md takes its worked examples from it.  capture_v2.bin, capture_v3*.bin and capture_v5_aggregated.bin:
 * what these versions add; capture_v4.bin and capture_v4.000002.bin: a run in two segments; capture_v6.bin: columns in
 * their second form, of which the document has examples too.  golden_write and so on make the same bytes again.
 */
#ifndef SCTMEM_TESTS_GOLDEN_CAPTURE_H
#define SCTMEM_TESTS_GOLDEN_CAPTURE_H

#include "capture_writer.h"

void golden_write(struct writer *writer);
void golden_write_v2(struct writer *writer);
void golden_write_sample(struct writer *writer);
void golden_write_symbols(struct writer *writer);
void golden_write_compacted(struct writer *writer);
void golden_write_pages(struct writer *writer);
void golden_write_first_segment(struct writer *writer);
void golden_write_second_segment(struct writer *writer);
void golden_write_aggregated(struct writer *writer);
void golden_write_second_form(struct writer *writer);

/* $SCTMEM_GOLDEN, or tests/golden below the working directory; with the name of a file in it. */
const char *golden_path(const char *name);

#endif
