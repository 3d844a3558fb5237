/* SPDX-License-Identifier: MIT */
/*
 * How `sctmem dump` writes what it finds: as text or as JSON lines.
 */
#ifndef SCTMEM_READER_DUMP_H
#define SCTMEM_READER_DUMP_H

#include "capture.h"
#include "json.h"
#include "text.h"

struct dump_writer {
	struct text text;
	bool as_json;
	struct json json;
};

void dump_header(struct dump_writer *writer, const struct capture *capture);
void dump_event(struct dump_writer *writer, const struct capture_event *event);
/* A part that cannot be read, or not beyond `number` records. */
void dump_damage(struct dump_writer *writer, const struct capture_part *part, const char *problem, uint64_t number);
/* What was found damaged in the whole file; nothing when nothing was. */
void dump_summary(struct dump_writer *writer, const struct capture *capture);

#endif
