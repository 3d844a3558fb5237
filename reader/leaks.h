/* SPDX-License-Identifier: MIT */
/*
 * What was live at the end (or at the moment of --at), by stack, and who keeps it.  Used by the verbs leaks and check:
 * the same sums in both.
 *
 * A Python process ends with most of its modules, types, functions and constants alive; they drown what the user
 * looks for.  They are told by their stacks and put into groups; all groups together are the live bytes that every
 * other view shows.
 */
#ifndef SCTMEM_READER_LEAKS_H
#define SCTMEM_READER_LEAKS_H

#include <stddef.h>
#include <stdint.h>

#include "calltree.h"
#include "suppressions.h"

enum keeper {
	KEEPER_PROGRAM, KEEPER_IMPORT, KEEPER_START, KEEPER_INTERNED, KEEPER_CODE, KEEPER_ARENA, KEEPER_SUPPRESSED,
	KEEPER_COUNT
};

/* For programs: "program", "import" ...; for people: a phrase. */
const char *keeper_word(enum keeper keeper);
const char *keeper_meaning(enum keeper keeper);

struct held {
	uint64_t bytes, count;
	struct spread spread;         /* of a sample: how uncertain they are */
};

/* One stack in one group. */
struct leak {
	uint32_t node;                /* of the calltree */
	enum keeper keeper;
	struct held held;
};

struct leaks {
	struct leak *list; size_t count, capacity;   /* largest first */
	struct held sums[KEEPER_COUNT], all;
};

/* What the stacks say of who keeps what was allocated there; for all sites of a profile. */
struct leak_rules {
	uint8_t *paths;               /* by node of the profile */
	uint16_t *suppressed;         /* by node: the rule; NULL: there are no suppressions */
	struct suppressions *suppressions;
};

void leak_rules_init(struct leak_rules *rules, const struct profile *profile, struct suppressions *suppressions);
void leak_rules_finish(struct leak_rules *rules);

/* Who keeps what a site allocated. */
enum keeper leak_rules_keeper(const struct leak_rules *rules, const struct site *site);
/* The same; the suppression that it falls under gets the hit of what lives. */
enum keeper leak_rules_book(const struct leak_rules *rules, const struct site *site);

/* The 95 per cent interval of what is held. */
struct interval held_bytes_interval(const struct profile *profile, const struct held *held);
struct interval held_count_interval(const struct profile *profile, const struct held *held);

/* Of so many sites of the tree's profile.  The suppressions' hit counts grow by what they suppress. */
void leaks_init(struct leaks *leaks, const struct calltree *tree, const struct leak_rules *rules, size_t site_first,
	size_t site_count);
void leaks_finish(struct leaks *leaks);

/* The keys "bytes" and "count" of an open object; of a sample "interval_95" too. */
struct json;
void leaks_write_held(struct json *json, const struct profile *profile, const struct held *held);

#endif
