/* SPDX-License-Identifier: MIT */
/*
 * What speaks for and against a leak, for each stack in each group (leaks.h), from the slices of time of a profile:
 * how what it holds grew, how old the oldest of it is, how much of what is allocated there is ever freed; and what was
 * freed only when the program ended, which is no leak but was held as long as one.
 *
 * The score is Laplace's rule of succession over the parts of the run: the chance that more will be held after the next
 * part than before it, where each part in which less was held takes one back:
 *
 *     (max(0, grown - shrunk) + 1) / (parts + 2)
 *
 * Scalene (Berger and others, OSDI 2023) applies the rule to sampled blocks, 1 - (freed + 1) / (allocated - freed + 2).
 * Over time it also finds the place that frees nine blocks of ten and leaks the tenth, and leaves alone what is
 * allocated once and never freed (a table, a module) and the cache that is full.  How many blocks were never freed
 * stands beside it.
 *
 * Which object refers to a block is not known: a capture has allocations, no references.
 */
#ifndef SCTMEM_READER_LEAK_EVIDENCE_H
#define SCTMEM_READER_LEAK_EVIDENCE_H

#include "leaks.h"
#include "table.h"

enum { EVIDENCE_PARTS_MAX = 16 };

struct evidence {
	uint32_t node;                /* of the calltree */
	enum keeper keeper;
	uint64_t total_bytes, total_count;   /* allocated there in all */
	uint64_t live_bytes, live_count;     /* of that never freed */
	uint64_t held_bytes[EVIDENCE_PARTS_MAX];   /* live at the end of each part of the run */
	unsigned grown, shrunk;       /* parts in which that became more, and less */
	uint64_t oldest_from_ns, oldest_to_ns;   /* between these the oldest of what is live was allocated */
	uint64_t late_bytes, late_count;     /* allocated before late_born_ns, freed after late_from_ns */
	double score;
};

struct evidences {
	struct evidence *list; size_t count;
	uint64_t part_ends_ns[EVIDENCE_PARTS_MAX];
	unsigned parts;               /* 0: the profile has no slices, and there is no evidence */
	uint64_t late_born_ns, late_from_ns; /* borders in the last tenth and the last fiftieth of the run; 0: it has none */
	struct evidence sums[KEEPER_COUNT];
	struct map64 of_leak;         /* node and keeper -> index in list */
};

/* For all sites of the tree's profile, whose live costs must be those at the end. */
void evidences_init(struct evidences *evidences, const struct calltree *tree, const struct leak_rules *rules);
void evidences_finish(struct evidences *evidences);

/* Of a leak of the same tree and rules; NULL where there is none. */
const struct evidence *evidences_find(const struct evidences *evidences, const struct leak *leak);

/*
 * "growing", "stopped", "once": whether it still grew in the last quarter of the run, earlier, or in one part only, or
 * in two that follow each other.
 */
const char *evidence_word(const struct evidences *evidences, const struct evidence *evidence);

#endif
