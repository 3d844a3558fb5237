/* SPDX-License-Identifier: MIT */
/*
 * The two forms of `sctmem stats`: text for people, JSON for programs (docs/json.md).  `rank` lists the places by
 * LOCATION and is sorted here.
 */
#ifndef SCTMEM_READER_STATS_H
#define SCTMEM_READER_STATS_H

#include <stdio.h>

#include "rank.h"
#include "text.h"
#include "view.h"

void stats_write_text(const struct text *text, const struct profile *profile, struct rank *rank, uint64_t number,
	const struct view *view);
void stats_write_json(FILE *file, const struct profile *profile, struct rank *rank, uint64_t number);

/* "finished", "killed or still in its last moment" ...: one phrase for people, one word for programs. */
const char *stats_state_text(const struct profile_capture *capture);
const char *stats_state_word(const struct profile_capture *capture);

/* "3.11.2", "3.14.0rc1"; "" when no Python was seen. */
struct text_number stats_python_version(uint32_t version);

#endif
