/* SPDX-License-Identifier: MIT */
/*
 * Costs by function, file, module, line, stack or thread: the rows of summary, table and stats' lists.
 *
 * A row's own cost is what was allocated there; its total also what was allocated in what it called, counted once
 * for a stack in which it appears several times (recursion).
 */
#ifndef SCTMEM_READER_RANK_H
#define SCTMEM_READER_RANK_H

#include <stddef.h>
#include <stdint.h>

#include "calltree.h"
#include "view.h"

enum rank_by { RANK_FUNCTION, RANK_FILE, RANK_MODULE, RANK_LINE, RANK_STACK, RANK_THREAD, RANK_LOCATION };

struct rank_row {
	uint32_t frame;               /* one that the row stands for; its fields that `by` names are the key */
	uint32_t node;                /* STACK: of the calltree */
	uint32_t thread;              /* THREAD */
	uint32_t spread;              /* in rank.spreads, if there are any */
	struct cost own, total;       /* STACK, THREAD and LOCATION: the same */
};

/* How uncertain a row's figures are. */
struct rank_spread {
	struct cost_spread own, total;
};

struct rank {
	const struct calltree *tree;
	enum rank_by by;
	struct rank_row *rows;
	size_t count;
	struct rank_spread *spreads;  /* of a sample, by row.spread; NULL: all is exact */
	uint32_t *key_of;             /* by frame: its row, until rank_sort; NULL for STACK and THREAD */
};

/* LOCATION: what calltree_location names, one row a place. */
void rank_init(struct rank *rank, const struct calltree *tree, enum rank_by by);
void rank_finish(struct rank *rank);

enum rank_sort { RANK_TOTAL_BYTES, RANK_OWN_BYTES, RANK_TOTAL_COUNT, RANK_OWN_COUNT };
/* Largest first; equal ones by name, so that two runs print the same. */
void rank_sort(struct rank *rank, enum rank_sort sort, enum metric metric);

/* What the row stands for, unescaped, cut at size. */
char *rank_row_text(const struct rank *rank, const struct rank_row *row, char *out, size_t size);

#endif
