/* SPDX-License-Identifier: MIT */
/*
 * Replays the events of one or several processes into the live heap, and keeps the costs of each site: of each
 * stack, thread, domain and allocator.  Called by profile.c; reads merge.h; knows nothing of frames and names.
 *
 *     merge runs --replay_run--> live blocks (live.h), mapped ranges (ranges.h) -> sites, totals, time line
 *
 * The high-water mark and each site's share of it come out of one pass.  Whenever the sum of counted memory
 * reaches a new maximum, the epoch moves on; a site whose epoch is older than that saves its live values before
 * they change: they are what it held at the newest maximum.
 *
 * Memory: live blocks, mapped ranges, sites and threads; never events.
 */
#ifndef SCTMEM_READER_REPLAY_H
#define SCTMEM_READER_REPLAY_H


#include "capture.h"
#include "estimate.h"
#include "expression.h"
#include "live.h"
#include "merge.h"
#include "profile.h"
#include "ranges.h"
#include "slices.h"
#include "timeline.h"

/* One cache line: what most events touch.  The key is split by site_stack and so on. */
struct replay_site {
	uint64_t key;
	uint64_t epoch;
	uint64_t total_bytes, total_count;
	uint64_t live_bytes, live_count;
	uint64_t peak_bytes, peak_count;   /* held at the maximum of number `epoch` */
};
_Static_assert(sizeof(struct replay_site) == 64, "one cache line");

/* What few events touch. */
struct replay_site_extra {
	uint64_t temporary_bytes, temporary_count;
	uint64_t at_bytes, at_count;       /* live at the time asked for */
};

/* How uncertain a site's figures are, in the order of struct replay_site. */
struct replay_spread {
	struct spread total, live, peak, temporary, at;
};

static inline uint32_t site_stack(uint64_t key) { return (uint32_t)key; }
static inline uint32_t site_thread(uint64_t key) { return (uint32_t)(key >> 32) & 0xffffff; }
static inline uint8_t site_code(uint64_t key) { return (uint8_t)(key >> 56); }
enum domain site_domain(uint64_t key);
bool site_counted(uint64_t key);
uint8_t site_allocator(uint64_t key);      /* enum capture_record */

enum { REPLAY_SITE_NONE = 0 };             /* the site of what is outside the times and marks asked for */

/* A realloc whose second half has not come yet. */
struct replay_move {
	struct live_block block;      /* address, size, site, sequence; unknown: site REPLAY_MOVE_UNKNOWN */
	uint64_t time_ns;
	bool temporary;               /* its end was counted as temporary */
};
#define REPLAY_MOVE_UNKNOWN UINT32_MAX
enum { REPLAY_MOVES_MAX = 4 };

/* A thread of a process; dense numbers over all processes. */
struct replay_thread {
	uint32_t process;
	uint32_t index;               /* in its capture */
	uint32_t sequence;            /* allocations so far */
	uint32_t move_count;
	bool left_out;                /* its allocations are not looked at */
	struct replay_move moves[REPLAY_MOVES_MAX];   /* newest last: a signal handler's nest in the others */
	struct range *unmapped;       /* pieces of its last UNMAP, until its next event */
	size_t unmapped_capacity;
	uint32_t unmapped_count;
	bool unmapping;               /* its last event was UNMAP, of this range: */
	struct range unmap_range;
};

/* One mmap, until its last piece is gone. */
struct replay_mapping {
	uint64_t length;
	uint64_t left;                /* bytes still mapped */
	uint32_t site;
	uint32_t held;                /* pieces in unmapped lists of threads */
	uint32_t sequence;
	uint64_t end_ns;              /* when its newest piece went */
	uint32_t code;                /* enum site_code, also where it has no site */
};

struct replay_process {
	uint32_t number;
	struct capture *capture;
	uint64_t start_ns;            /* of its time 0, since the start of the earliest process */
	bool arenas_counted;
	struct live live;
	struct ranges ranges;
	struct map64 thread_by_index;
	uint32_t *stream_thread;      /* by merge stream: dense number of the thread of its last THREAD */
	uint64_t *stream_mean;        /* by merge stream: of sampling, as last told */
	uint64_t counted_bytes, counted_peak_bytes, peak_time_ns;
	uint64_t events, unknown_frees, contradictions;
	uint64_t last_time_ns;        /* its own time of its last event */
	uint64_t resident_bytes;
	uint64_t recorded;            /* allocations by a stream that samples, */
	uint64_t passed, passed_bytes;     /* and those that were not recorded */
	uint64_t page_size;

	/* Stretches without recording: replay_gaps.c. */
	bool gap_open, gap_listed;    /* one has begun; it is in replay.gaps, at number `gap` */
	size_t gap;
	uint64_t gap_from_ns;
	uint64_t gap_count, gap_ns;   /* of those that have ended */
	uint64_t forgotten_bytes, forgotten_count;   /* counted memory that lived when recording stopped */
	uint64_t last_event_ns;       /* on the common clock; its start before the first */
};

struct replay_options {
	uint64_t at_ns;               /* UINT64_MAX: the end */
	uint64_t from_ns, to_ns;
	bool at_to_mark;              /* with at_ns UINT64_MAX: at to_mark, not at the end */
	const char *from_mark, *to_mark;   /* NULL: none */
	const char *at_mark;          /* the live heap there; NULL: not */
	uint32_t temporary_limit;
	uint32_t timeline_points;
	uint32_t slices;              /* cut the run into at most so many, for slices.h; not with windows */
	size_t slice_entries_max;
	const struct profile_observer *observer;
	bool windows;                 /* measure each window by itself */
	struct expression *window_names;   /* those windows only; NULL: all */
	unsigned window_level;        /* those that have this many others around them */
	bool own_thread;              /* in a window only what the thread that began it allocates */
	bool sampled;                 /* some capture may hold fewer than all blocks */
};

/*
 * A stretch of the run between a mark "begin NAME" and the next "end NAME".  What is allocated in it has sites of its
 * own: so each block knows its window, and nothing is done for it when a window begins or ends.
 */
struct replay_window {
	const char *name;
	uint64_t from_ns, to_ns;
	uint32_t site_first;          /* in sites, while it is open */
	uint32_t site_end;            /* in ended_sites: behind its last one; the window before says where they begin */
	uint64_t peak_time_ns;
	bool closed;                  /* its end was seen */
};

/* Windows that are open at once; what is deeper is counted and not measured. */
enum { REPLAY_LEVELS_MAX = 16 };

enum {
	REPLAY_SIZE_BINS = 64,
	REPLAY_DOMAINS = 8,           /* DOMAIN_COUNT, and what site 0 is booked under and nobody reads */
	REPLAY_MEMO_BITS = 11,
};
_Static_assert((int)DOMAIN_COUNT < (int)REPLAY_DOMAINS, "a domain fits three bits");

/* The site that a key had last: programs allocate at few places at a time. */
struct replay_memo {
	uint64_t key;
	uint32_t site;
};

/* The whole pages that an event of mappings is about. */
struct replay_pages { uint64_t start, end; };

static inline struct replay_pages replay_pages(uint64_t page_size, uint64_t address, uint64_t size)
{
	const uint64_t mask = page_size - 1;

	return (struct replay_pages){ address & ~mask, (address + size + mask) & ~mask };
}

struct replay {
	struct replay_options options;
	struct replay_process *processes; uint32_t process_count;
	struct replay_thread *threads; size_t thread_count, thread_capacity;
	struct replay_site *sites; struct replay_site_extra *extras;
	size_t site_count, site_capacity, extra_capacity;
	struct replay_spread *spreads;     /* of sites, of captures that may be samples */
	size_t spread_capacity;
	uint64_t mean_bytes;          /* of sampling, in the stream that is replayed; 0: all blocks are recorded */
	struct map64 site_by_key;
	struct replay_memo memo[1 << REPLAY_MEMO_BITS];   /* before site_by_key; zeros say: key 0 is site 0, which is so */
	struct replay_mapping *mappings; size_t mapping_count, mapping_capacity;
	uint32_t mapping_free;

	uint64_t now_ns;              /* since the start of the earliest process; never decreases */
	bool in_time, in_marks;       /* now is within the time range, and the marks, asked for */
	bool recording;               /* both: allocations get sites */
	bool from_seen, marks_ended;  /* from_mark, to_mark were seen */
	bool at_taken;                /* the live heap at at_ns is in extras */
	bool at_mark_seen;
	uint64_t at_time_ns;          /* when, if it was at a mark */
	const char *open[REPLAY_LEVELS_MAX];   /* names of open windows; NULL: the level is free */
	uint32_t open_threads[REPLAY_LEVELS_MAX];   /* who began them */
	unsigned level_count;         /* levels that were ever used */
	uint64_t windows_deeper;      /* that found no free level */
	struct replay_window *windows; size_t window_count, window_capacity;   /* of the level asked for */
	/* The sites of windows that have ended, as they were then; replay_end puts them in the place of sites. */
	struct replay_site *ended_sites; struct replay_site_extra *ended_extras;
	struct replay_spread *ended_spreads;
	size_t ended_count, ended_capacity, ended_extra_capacity, ended_spread_capacity;
	uint64_t epoch;               /* of maxima: number of the newest */
	uint64_t counted_bytes, peak_bytes, peak_time_ns;
	/* Maximum since the last point of the time line, and when it was first reached. */
	uint64_t interval_max_bytes, interval_max_ns;
	uint64_t domain_bytes[REPLAY_DOMAINS];
	uint64_t free_count;
	/* All counted allocations, by the bit width of their sizes. */
	uint64_t bin_count[REPLAY_SIZE_BINS + 1], bin_bytes[REPLAY_SIZE_BINS + 1];
	uint64_t resident_bytes, resident_peak_bytes;
	struct timeline timeline;
	struct slices slices;
	struct profile_gap *gaps; size_t gap_count, gap_capacity;
	uint64_t replaces;            /* for the observer: the block that the one being allocated is the realloc of */
	struct error *error;          /* of the running call */
};

MUST_CHECK bool replay_init(struct replay *replay, uint32_t process_count, const struct replay_options *options,
	struct error *error);
void replay_finish(struct replay *replay);

/* Before the first run of a process. */
MUST_CHECK bool replay_add_process(struct replay *replay, uint32_t process, struct capture *capture,
	uint64_t start_ns, size_t stream_count, struct error *error);

/*
 * Replays events of one stream of a process.  Stops before the first change of time beyond limit_ns (time since
 * the start of the earliest process), so that other processes can catch up; *done is how many were consumed.
 */
MUST_CHECK bool replay_run(struct replay *replay, uint32_t process, uint32_t stream,
	const struct decoded_event *events, size_t count, size_t ahead, uint64_t limit_ns, size_t *done,
	struct error *error);

/* After the last run: completes the shares of the peak, the live heap at the time asked for, and the time line. */
MUST_CHECK bool replay_end(struct replay *replay, uint64_t duration_ns, struct error *error);

/* After replay_end: nobody looks for a block any more, and their table may be the largest thing there is. */
void replay_forget_blocks(struct replay *replay);

#endif
