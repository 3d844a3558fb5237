/* SPDX-License-Identifier: MIT */
/*
 * Exports: a profile in the formats of other tools.  docs/exports.md says what each carries and what opens it.
 *
 *     profile -> calltree -> struct export -> export_<format>.c -> stream
 *
 * A format is one file that ends in a struct export_format, and one row of EXPORT_FORMATS.  It writes numbers that
 * the profile and the tree have; none computes its own, so that every export agrees with every view.
 *
 * Names in a capture are untrusted.  A format takes them from struct export, where they are valid UTF-8 without
 * control, bidi or invisible characters, and still escapes what has a meaning in its own syntax.
 */
#ifndef SCTMEM_READER_EXPORT_H
#define SCTMEM_READER_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "calltree.h"
#include "error.h"
#include "profile.h"
#include "view.h"

/* The formats, in the order in which help lists them. */
#define EXPORT_FORMATS(X) \
	X(pprof) \
	X(speedscope) \
	X(folded) \
	X(gprof2dot) \
	X(pstats) \
	X(callgrind) \
	X(chrome) \
	X(firefox) \
	X(massif) \
	X(heapprofile) \
	X(dhat) \
	X(heaptrack) \
	X(csv) \
	X(arrow)

struct export_events;

/* Texts that are safe to write: see above. */
struct export_frame {
	const char *function;         /* never empty */
	const char *file, *module;    /* "" when unknown */
};

struct export {
	FILE *file;
	const struct profile *profile;
	const struct calltree *tree;
	const struct view *view;
	enum metric metric;           /* the one that is shown first, or the only one */
	unsigned table;               /* index of export_table_names, for formats of tables */

	const struct export_frame *frames;   /* by frame of the profile */
	const char *const *thread_names;     /* by thread of the profile; "" when unknown */
	const char *const *mark_names;       /* by mark of the profile */
	const char *command;          /* the command line of the first capture */
	const char *program;          /* and the base name of its executable; never empty */
	const char *const *warnings;  /* what the reader must know before he trusts a number; NULL at the end */
	struct export_events *events; /* of formats with EXPORT_EVENTS, and of the table of blocks; else NULL */
	uint32_t *stack;              /* filled by export_stack */
};

enum export_flag {
	EXPORT_BINARY = 1 << 0,       /* not for terminals */
	EXPORT_ONE_METRIC = 1 << 1,   /* carries the metric asked for and no other */
	EXPORT_FIRST_METRIC = 1 << 2, /* carries all; the one asked for is shown first */
	EXPORT_TABLE = 1 << 3,        /* carries one table of export_table.h */
	EXPORT_EVENTS = 1 << 4,       /* needs each event of the run */
};

struct export_format {
	const char *name;
	const char *ending;           /* of files that hold it: -o FILE chooses the format by it */
	const char *summary;          /* one phrase: what opens it */
	unsigned flags;               /* enum export_flag */
	uint32_t timeline_points;     /* how many it wants, about; 0: none */
	bool (*write)(const struct export *export, struct error *error);
};

#define X(name) extern const struct export_format export_##name;
EXPORT_FORMATS(X)
#undef X

extern const struct export_format *const export_formats[];   /* NULL at the end */

void export_init(struct export *export, const struct profile *profile, const struct calltree *tree,
	const struct view *view, enum metric metric, FILE *file);
void export_finish(struct export *export);

/* The frames of a node's stack, innermost first, into export->stack; returns how many.  At least one. */
uint32_t export_stack(const struct export *export, uint32_t node);

/* Whether a cost holds anything that an export could lose by leaving it out. */
bool export_has_cost(const struct cost *cost);

/* "function (file:line)", "function (module)" or "function" of safe texts; cut at size, between characters. */
char *export_frame_text(const struct export *export, uint32_t frame, char *out, size_t size);

/* Whether filters by thread, kind of memory or frames leave something out, which the time line then still shows. */
bool export_is_filtered(const struct export *export);

/* The first process by start; what formats that know one process call theirs.  NULL when there is none. */
const struct profile_capture *export_first_capture(const struct export *export);

#endif
