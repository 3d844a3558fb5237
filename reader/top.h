/* SPDX-License-Identifier: MIT */
/*
 * What `sctmem top` shows, without the terminal: rows of a growing capture, sorted and narrowed as the user asks.
 *
 *     profile_live --top_look--> sites, with what they held at the reference --top_rows--> rows --> screen | JSON
 *
 * The reference is the first look, until top_reset: a row's growth is what it holds more than then.  All sums are
 * those of calltree and rank, which every other view uses.
 */
#ifndef SCTMEM_READER_TOP_H
#define SCTMEM_READER_TOP_H

#include "calltree.h"
#include "family_heaps.h"
#include "profile_live.h"
#include "rank.h"

enum top_view { TOP_LINES, TOP_FUNCTIONS, TOP_FILES, TOP_MODULES, TOP_THREADS, TOP_TREE, TOP_VIEWS };
enum top_sort { TOP_OWN, TOP_TOTAL, TOP_BLOCKS, TOP_GROWTH, TOP_ALLOCATED, TOP_SORTS };
enum top_language { TOP_ALL, TOP_PYTHON, TOP_NATIVE, TOP_LANGUAGES };

extern const char *const top_view_names[TOP_VIEWS + 1];       /* NULL at the end, as options want them */
extern const char *const top_sort_names[TOP_SORTS + 1];
extern const char *const top_language_names[TOP_LANGUAGES + 1];

struct top_row {
	uint64_t own_bytes, total_bytes;      /* live here; and in what it called */
	uint64_t own_blocks;
	int64_t growth_bytes;                 /* of own; in the tree of total */
	uint64_t allocated_bytes;             /* own, since the start, also what was freed */
	uint32_t node;                        /* TREE: of the calltree */
	uint32_t frame;                       /* UINT32_MAX: a thread */
	unsigned depth;                       /* TREE */
	bool has_children, open;              /* TREE */
	char *text;                           /* unescaped */
};

/* The state of the process, of this look. */
struct top_numbers {
	uint64_t time_ns;                     /* of the newest event, since the start */
	uint64_t live_bytes, live_blocks, peak_bytes, resident_bytes, resident_peak_bytes;
	int64_t growth_bytes;
	double allocations_per_s, bytes_per_s;   /* since the look before; -1: not known yet */
	uint64_t allocations;
};

struct top {
	struct profile_live *live;
	char *path;                           /* of the capture, or of the run in segments */
	struct profile_options options;       /* with which each capture is opened */
	/* What is asked for. */
	enum top_view view;
	enum top_sort sort;
	enum top_language language;
	char search[256];                     /* rows whose text holds it, in either case; "": all */
	uint32_t thread;                      /* index in the profile's threads; UINT32_MAX: all */
	/* What there is. */
	struct profile profile;               /* that of live, with sites of our own: "peak" is what lived at the reference */
	struct site *sites;
	struct site *reference; size_t reference_count;   /* sites at the reference moment */
	bool has_reference;
	struct top_numbers numbers;
	struct calltree tree;
	bool has_tree;
	struct top_row *rows; size_t row_count, row_capacity;
	uint64_t *opened; size_t opened_count, opened_capacity;   /* paths of the tree that the user turned, by hash */
	uint64_t looked_ns, look_cost_ns;     /* when the last look was, and how long it took */
	uint64_t last_allocations, last_bytes, last_time_ns;
	uint32_t segment;             /* the newest of the run that was seen; 0: it is one file */
	bool went_on;                 /* another one than at the look before */
};

/* options: those that profile_live.h looks at; what they point to must live as long as top. */
MUST_CHECK bool top_open(struct top *top, const char *path, const struct profile_options *options,
	struct error *error);
void top_close(struct top *top);
/* Another capture in its place, under the same settings, with its first look.  false: the one before is still there. */
MUST_CHECK bool top_switch(struct top *top, const char *path, struct error *error);

/* Takes what is new. */
MUST_CHECK bool top_look(struct top *top, struct error *error);
/* Makes the rows anew, after a look or a change of what is asked for. */
void top_rows(struct top *top);
/* Growth is measured from this moment on. */
void top_reset(struct top *top);
/* TREE: opens or closes a row. */
void top_turn(struct top *top, const struct top_row *row);
/* The next thread (1) or the one before (-1); past the ends: all. */
void top_next_thread(struct top *top, int step);

/* The live heap of a process of the family: of the one that is shown as of the last look. */
struct family_figure top_figure(const struct top *top, const struct family_heaps *heaps,
	const struct family_member *member);

/* A state in words: "recording", "stopped", "ended" ... */
const char *top_state(const struct top *top);

#endif
