/* SPDX-License-Identifier: MIT */
/*
 * An analysis: a small struct of functions that see each block come and go while captures are replayed, and that at
 * the end give rows of numbers for sites.  Written by the analysis_*.c; called by analyses.c; what they mean to people
 * is in docs/analyses.md.
 *
 *     replay --observer--> analyses.c --on_alloc, on_change, on_free, on_sample ...--> analysis_*.c
 *                                     <--on_end: rows (site, values)------------------
 *     rows --insights.c: joined by place--> text | JSON | page
 *
 * An analysis keeps memory for live blocks and for sites, never for events.  Rows of different sites are joined by
 * adding or taking the maximum, column by column; so whatever is no sum (a share, a median) is derived after that.
 */
#ifndef SCTMEM_READER_ANALYSIS_H
#define SCTMEM_READER_ANALYSIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "estimate.h"
#include "foresight.h"
#include "profile.h"

enum {
	ANALYSIS_COLUMNS_MAX = 12,
	ANALYSIS_FACTS_MAX = 32,
	ANALYSIS_TABLES_MAX = 2,
	ANALYSIS_SERIES_MAX = 2,
	ANALYSIS_BINS = 64,           /* most bins of a series */
	ANALYSIS_NO_SITE = 0,         /* the site of nothing, here and in replay */
};

/* All of them: the number of its bit in profile_options.analyses, its object, in the order in which they are shown. */
#define ANALYSES(X) \
	X(0, temporary) \
	X(1, lifetimes) \
	X(2, rates) \
	X(3, churn) \
	X(4, growth) \
	X(5, slop) \
	X(6, arenas) \
	X(7, pages) \
	X(8, resident) \
	X(9, untouched) \
	X(10, cross_thread) \
	X(11, pairs)

enum analysis_number {
#define X(number, name) ANALYSIS_##name = number,
	ANALYSES(X)
#undef X
	ANALYSIS_COUNT = 12,
};

/* How a value is shown. */
enum analysis_unit {
	ANALYSIS_BYTES,
	ANALYSIS_NUMBER,
	ANALYSIS_TIME,                /* nanoseconds */
	ANALYSIS_PER_SECOND,
	ANALYSIS_PERMILLE,
	ANALYSIS_THREAD,              /* index in profile->threads; UINT32_MAX: unknown */
	ANALYSIS_ADDRESS,
};

/* What becomes of a column when rows of one place are joined. */
enum analysis_join {
	ANALYSIS_SUM,
	ANALYSIS_MAX,
	ANALYSIS_KEY,                 /* rows with different values are not joined */
	ANALYSIS_DERIVED,             /* made afterwards from the others */
};

struct analysis_column {
	const char *key;              /* in JSON */
	const char *title;            /* for people; NULL: for programs only */
	enum analysis_unit unit;
	enum analysis_join join;
	bool rare;                    /* for people only where a row has it */
};

/* Numbers in bins, one such list a row. */
struct analysis_series {
	const char *key, *title;
	enum analysis_unit unit;
};

/* What derive() may need. */
struct analysis_scale {
	uint64_t duration_ns;
	uint64_t bin_ns;              /* of series over time */
	uint64_t clock_ns;            /* how coarse times are: the coarsest capture's */
};

struct analysis_table_class {
	const char *name;             /* in JSON */
	bool by_place;                /* rows are of sites, and joined by their place; else by their keys alone */
	bool first_is_least;          /* sorted by the least value, not the largest */
	bool keeps_all;               /* also rows that have 0 in the column by which they are sorted */
	const struct analysis_column *columns;
	unsigned column_count;
	unsigned sort;                /* the column that says what matters most */
	const struct analysis_series *series;
	unsigned series_count, bin_count;
	enum analysis_unit bin_unit;
	uint64_t (*bin_end)(unsigned bin, const struct analysis_scale *scale);   /* what is less lies in it, or before */
	void (*derive)(uint64_t *values, const uint64_t *series, const struct analysis_scale *scale);   /* may be NULL */
};

struct analysis_row {
	uint32_t site;                /* in the end replay's, so of profile->observed; ANALYSIS_NO_SITE: of no place */
	uint64_t values[ANALYSIS_COLUMNS_MAX];
};

struct analysis_table {
	const struct analysis_table_class *class;   /* NULL: no such table */
	struct analysis_row *rows;
	uint64_t *series;             /* series_count * bin_count a row */
	size_t count, row_capacity, series_capacity;
};

/* A number that is of the whole run, or of one moment. */
struct analysis_fact {
	const char *key, *title;
	enum analysis_unit unit;
	uint64_t value;
};

struct analysis_result {
	const struct analysis_class *class;
	const char *unavailable;      /* why there is nothing; NULL: there is */
	struct analysis_table tables[ANALYSIS_TABLES_MAX];
	struct analysis_fact facts[ANALYSIS_FACTS_MAX];
	unsigned fact_count;
	struct analysis_scale scale;
};

/* A live block or mapping. */
struct analysis_block {
	uint64_t id;                  /* of struct profile_event; its upper half is the number of the allocating thread */
	uint64_t address;
	uint64_t size;                /* what it holds now, or held when it ended */
	uint64_t length;              /* what it was allocated with */
	uint64_t born_ns;
	uint64_t since_ns;            /* when its size changed last */
	uint64_t ended_ns;            /* while it may come back: when it ended, */
	uint32_t ended_thread;        /* by whom, */
	uint32_t ended_distance;      /* and after how many allocations of the thread that made it */
	uint32_t site;                /* of analyses.h */
	uint32_t process;
	uint32_t count;               /* blocks that it stands for: more than itself in a sample */
	double weight;                /* the same, exactly; 0: itself alone */
	uint32_t moves;               /* growth's: reallocs that it is the result of */
	uint32_t slot;                /* churn's */
	uint8_t code;                 /* enum site_code or capture_record: the upper byte of its site's key */
	uint8_t domain;               /* enum domain */
	bool counted;
	bool ended;                   /* it is in the middle of a realloc, or may come back by mremap */
	bool used;                    /* false: this record is free */
};

/* The bytes of a size of this block, times what it stands for. */
static inline uint64_t analysis_bytes(const struct analysis_block *block, uint64_t size)
{
	return __builtin_expect(block->weight != 0, 0) ? estimate_scale(size, block->weight) : size;
}

/* How a block ended. */
struct analysis_ending {
	uint64_t time_ns;
	uint32_t thread;              /* PROFILE_NOBODY: its free was not seen */
	uint32_t distance;            /* allocations since, when its own thread freed it; else UINT32_MAX */
	bool replaced;                /* realloc: the next block to be born is its successor */
};

/* What all analyses may look at. */
struct analysis_context {
	const struct replay *replay;
	const uint64_t *site_keys;    /* as replay.h has them, by site, */
	const struct map64 *site_by_key;    /* and the other way */
	uint64_t epoch;               /* replay's number of maxima before the event that is being told */
	uint32_t temporary_limit;
	uint64_t temporary_ns;
	uint64_t duration_ns;         /* known in on_end only */
	uint64_t clock_ns;
	const char *incomplete;       /* why not every block is seen; NULL: each is */
	const struct foresight *foresights;    /* by process; those that ask for them only: needs_foresight */
	/* Records of blocks, live or free, for on_at and on_end. */
	const struct analysis_block *blocks;
	size_t block_count;
	struct error *error;
};

/* All functions but `init` may be NULL.  false: no memory, and the error says so. */
struct analysis_class {
	const char *name;             /* as --analysis and JSON spell it */
	const char *title;
	size_t state_size;            /* zeroed before use */
	bool needs_foresight;
	bool shows_facts;             /* also in text */
	bool of_moments;              /* of what is live at a moment, not of all that ever was: also of a compacted capture */
	const struct analysis_table_class *tables[ANALYSIS_TABLES_MAX];
	/* `replaced` is the block that this one is the realloc of, as it was; NULL: it is none. */
	bool (*on_alloc)(void *state, const struct analysis_context *context, struct analysis_block *block,
		const struct analysis_block *replaced);
	/* Each change of live memory.  live 1: it lives from now on; -1: it ends to; 0: it has another size. */
	bool (*on_change)(void *state, const struct analysis_context *context, const struct analysis_block *block,
		int live, uint64_t before, uint64_t now);
	/* A block that goes on got another size in place.  block->size is the new one. */
	bool (*on_resize)(void *state, const struct analysis_context *context, struct analysis_block *block,
		uint64_t before, uint64_t now_ns);
	bool (*on_free)(void *state, const struct analysis_context *context, const struct analysis_block *block,
		const struct analysis_ending *ending);
	bool (*on_sample)(void *state, const struct analysis_context *context, const struct profile_sample *sample);
	bool (*on_pages)(void *state, const struct analysis_context *context, const struct profile_pages *pages);
	bool (*on_at)(void *state, const struct analysis_context *context);
	bool (*on_end)(void *state, const struct analysis_context *context, struct analysis_result *result);
	void (*finish)(void *state);
};

#define X(number, name) extern const struct analysis_class analysis_##name;
ANALYSES(X)
#undef X

/* A new row of a table; the caller fills *values, and *series where the table has some.  false: no memory. */
MUST_CHECK bool analysis_add_row(struct analysis_result *result, unsigned table, uint32_t site, uint64_t **values,
	uint64_t **series, struct error *error);
void analysis_add_fact(struct analysis_result *result, const char *key, const char *title, enum analysis_unit unit,
	uint64_t value);
/* The value of a fact; 0 when there is none. */
uint64_t analysis_fact_value(const struct analysis_result *result, const char *key);

/* Lifetimes are told in bins that are a half or a third of a decade wide, from 1 microsecond on. */
enum { ANALYSIS_LIFE_BINS = 22 };
unsigned analysis_life_bin(uint64_t time_ns);
/* What is shorter than this lies in it or before; the last: UINT64_MAX. */
uint64_t analysis_life_bin_end(unsigned bin);
uint64_t analysis_life_end(unsigned bin, const struct analysis_scale *scale);   /* the same as bin_end of a table */
/* The end of the bin in which the median of such a series lies, not less than the clock can tell; 0: it is empty. */
uint64_t analysis_life_median(const uint64_t *bins, const struct analysis_scale *scale);

#endif
