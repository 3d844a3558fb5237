/* SPDX-License-Identifier: MIT */
/*
 * The profile: the one structure from which every view is made.  A number that two views show is the same
 * field read twice.
 *
 *     captures -> replay -> sites (stack id, thread, domain, allocator -> costs)
 *              -> symbols -> frames and a tree of stacks
 *              -> struct profile -> stats | tree | table | leaks | flame graph | exports
 *
 * Built once by profile_build from one or several captures (a process family is merged); read-only after.
 */
#ifndef SCTMEM_READER_PROFILE_H
#define SCTMEM_READER_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "estimate.h"

struct capture_pages;

/* What kind of memory.  "counted" domains add up to the figures of totals, peak and leaks. */
enum domain {
	DOMAIN_HEAP,              /* malloc and its kin */
	DOMAIN_PYTHON,            /* PyMem and PyObject blocks */
	DOMAIN_MAPPED,            /* anonymous mappings made by the program, and the break */
	DOMAIN_ARENA,             /* backing store of Python's allocator: counted only when its blocks are not recorded */
	DOMAIN_FILE,              /* file mappings: not counted */
	DOMAIN_RESERVED,          /* PROT_NONE or MAP_NORESERVE: address space, not counted */
	DOMAIN_COUNT
};
const char *domain_name(enum domain domain);    /* "heap", "python", "mapped", "arena", "file", "reserved" */

struct cost {
	uint64_t total_bytes, total_count;          /* allocated in all */
	uint64_t peak_bytes, peak_count;            /* live at the high-water mark of all counted memory */
	uint64_t live_bytes, live_count;            /* live at the end, or at the time asked for ("leaked" at the end) */
	uint64_t temporary_bytes, temporary_count;  /* freed by the same thread within `temporary_limit` of its allocations */
};

enum frame_kind { FRAME_PYTHON, FRAME_NATIVE, FRAME_SPECIAL };

enum frame_flag {
	FRAME_INTERPRETER = 1 << 0,   /* inside the Python runtime's own code (libpython or the python executable) */
	FRAME_IMPORT = 1 << 1,        /* the import machinery: <frozen importlib...> */
	FRAME_LIBRARY = 1 << 2,       /* Python's standard library or site-packages; for native: a system library */
	FRAME_INLINED = 1 << 3,
	FRAME_UNRESOLVED = 1 << 4,    /* no symbol: function is module+0xoffset */
	FRAME_ALLOCATOR = 1 << 5,     /* allocator entry of libc or PyMem */
};

/* A place in the program.  Index 0 is the root, "<all>".  Strings are bytes from untrusted files: escape them. */
struct frame {
	const char *function;         /* never NULL */
	const char *file;             /* "" when unknown */
	const char *module;           /* base name of the native module, "" for Python */
	uint32_t line;                /* 0 when unknown */
	uint8_t kind;                 /* enum frame_kind */
	uint8_t flags;                /* enum frame_flag */
};

/* A node of the tree of stacks.  Node 0 is the root; a parent's index is always smaller than its child's. */
struct node {
	uint32_t parent;
	uint32_t frame;
};

/* What was allocated at one stack by one thread in one domain by one function.  Exclusive costs. */
struct site {
	uint32_t node;
	uint32_t thread;              /* index in threads */
	uint32_t window;              /* index in windows; 0 where none were asked for */
	uint8_t domain;               /* enum domain */
	uint8_t allocator;            /* enum capture_record */
	uint8_t keeper;               /* enum keeper, who keeps what lives at the end; 0 but in a page (leaks.h) */
	uint32_t spread;              /* index in spreads; 0: its figures are exact */
	struct cost cost;
};

struct profile_thread {
	uint32_t capture;             /* index in captures */
	uint32_t tid;
	const char *name;             /* "" when unknown */
	uint64_t start_ns;
};

struct profile_capture {
	const char *path;
	const char *host, *executable, *directory, *libc, *writer, *parent_path;
	const char *const *arguments; /* argv, NULL at the end */
	uint32_t pid, parent_pid;
	uint64_t start_realtime_ns;
	uint64_t start_ns;            /* since the start of the earliest capture */
	uint64_t duration_ns;         /* from the start to the orderly end, or to the last event */
	uint64_t peak_bytes, peak_time_ns;   /* of this capture alone, whatever is filtered */
	uint64_t events;              /* allocations, frees, maps ... */
	uint64_t file_bytes;          /* in use */
	uint32_t python_version;      /* PY_VERSION_HEX; 0: no Python seen */
	uint32_t python_flags;        /* of the PYTHON record */
	const char *python_allocator; /* "pymalloc", "malloc_debug" ...; "" when unknown */
	uint64_t features;            /* enum capture_feature */
	bool attached;                /* the process ran already when recording began */
	uint32_t segment_first, segment_last;   /* of its run in segments: those that were read; 0: it is one file */
	uint32_t segments_missing;    /* between them */
	uint64_t left_out;            /* events from before all of the first segment is there */
	uint32_t state;               /* enum capture_state */
	bool alive;                   /* RUNNING and its process still exists on this host: read as it is now */
	bool damaged;                 /* something could not be read; problem says what and where */
	const char *problem;          /* "" when none */
	uint64_t damaged_bytes;       /* skipped */
	uint64_t lost_events;         /* sum of lost_* of the status */
	uint64_t lost_memory, lost_storage, lost_reentry, lost_threads;
	uint64_t stacks_truncated, stacks_degraded, unwind_guessed, unwind_stopped, python_refused;
	uint64_t tracer_bytes;
	uint64_t clock_resolution_ns;
	uint64_t unknown_frees;       /* frees of blocks that this capture did not see allocated */
	uint64_t gap_count, gap_ns;   /* stretches in which recording was stopped (profile.gaps), and how long all are */
	uint64_t forgotten_bytes, forgotten_count;   /* what lived at stops that ended: what became of it is unknown */
	bool paused;                  /* recording is stopped now, or was when it ended */
	uint64_t contradictions;      /* events that contradict the live heap: an address allocated twice ... */
	uint64_t compacted_ns;        /* of a compacted capture: the distance between moments that are exact; 0: it is not */
	uint64_t embedded_symbols;    /* native frames that the capture itself names */
	uint32_t compacted_limit;     /* the temporary_limit of what it, or aggregation, dropped */
	uint64_t unseen_blocks;       /* so many that were soon freed again were made sums as they were recorded, */
	uint64_t unseen_bytes, unseen_count;   /* which together held at most this at one time */
	uint64_t sample_mean_bytes;   /* of a sample: the largest mean distance of recorded blocks; 0: all were recorded */
	/* Each mean, and since when, after its start; ascending. */
	struct sample_step { uint64_t mean_bytes, time_ns; } *sample_steps;
	unsigned sample_step_count;
	uint64_t sample_recorded, sample_passed, sample_passed_bytes;   /* allocations that were recorded, and were not */
};

/* One point of the time line; at most profile_options.timeline_points of them, evenly spaced over the run. */
struct timeline_point {
	uint64_t time_ns;             /* since the start of the earliest capture */
	uint64_t live_bytes;          /* counted memory at this moment */
	uint64_t live_max_bytes;      /* its maximum since the point before, what lived then included */
	uint64_t live_max_ns;         /* when it was first reached; the time of the point before: it was there already */
	uint64_t domain_bytes[DOMAIN_COUNT];
	uint64_t resident_bytes;      /* newest sample; 0 before the first */
	uint64_t allocations;         /* counted allocations since the point before */
	uint64_t allocated_bytes;     /* and their bytes */
};

/*
 * The run in slices of equal time (slices.h): what each site allocated in each, and when that went.  Exact at the
 * borders between them: the live heap at the border of slice k is what the cells of slices 0 to k kept, less the
 * losses of slices 0 to k.  That is what at_ns at that border says; and the cells of slices i to k are what from_ns,
 * one above the border of i - 1, and to_ns, the border of k, choose.
 */
struct profile_cell {
	uint32_t site;                /* in sites */
	uint64_t total_bytes, total_count;   /* allocated in the slice */
	uint64_t kept_bytes, kept_count;     /* of that alive at its border */
};

/* What a cell of an earlier slice lost in a slice.  Less than 0: a realloc or munmap of before was undone. */
struct profile_loss {
	uint32_t cell;                /* in cells */
	int64_t bytes, count;
};

/* How uncertain the bytes of a cell are. */
struct profile_cell_spread {
	struct spread total, kept;
};

struct profile_slice {
	uint64_t end_ns;              /* its border, since the start of the earliest capture; itself within */
	size_t cell_end, loss_end;    /* its cells, by site, and losses, by cell, are those behind the slice's before */
};

struct size_bin { uint64_t min, max, count, bytes; };   /* inclusive bounds */

/*
 * A stretch in which nothing was recorded.  What lived when it began is let go of when it ends: it is neither freed
 * nor live from then on.
 */
struct profile_gap {
	uint32_t capture;             /* index in captures */
	uint64_t from_ns, to_ns;      /* since the start of the earliest capture; UINT64_MAX: until the end */
	uint64_t forgotten_bytes, forgotten_count;   /* counted memory let go of; 0 while it has no end */
};

struct profile_mark {
	uint64_t time_ns;
	uint64_t stamp;               /* orders those of one capture at one time */
	uint32_t capture;
	const char *name;
};

/*
 * What happens to one block, or to one mapping, told while captures are replayed, to formats that carry each event.
 * While a realloc runs, and once all of a mapping is unmapped, it is RESIZED to nothing and not live, but may come
 * back; GONE is final.
 */
enum profile_event_kind { PROFILE_BORN, PROFILE_RESIZED, PROFILE_GONE };

struct profile_event {
	enum profile_event_kind kind;
	int live;                     /* 1: it lives from now on; -1: it ends to; 0: neither */
	uint32_t site;                /* index of profile.observed, once there is a profile */
	uint64_t block;               /* no two blocks of a run share it */
	uint64_t time_ns;             /* since the start of the earliest capture; GONE: when it ceased to live */
	uint64_t address;
	uint64_t bytes_before, bytes; /* what it held before and from now on */
	uint32_t thread;              /* whose event it is, by replay's number; PROFILE_NOBODY: its free was not seen */
	uint64_t replaces;            /* BORN: the block that this one is the realloc of; 0: none */
	bool replaced;                /* GONE: by the next one to be BORN */
	double weight;                /* BORN: how many blocks of its size it stands for in a sample; 0: itself alone */
	uint32_t count;               /* the same as a whole number */
};
#define PROFILE_NOBODY UINT32_MAX

/* A sample of a process's resident memory. */
struct profile_sample {
	uint32_t process;             /* index of its capture */
	uint64_t time_ns;
	uint64_t resident_bytes, anonymous_bytes;
	uint64_t counted_bytes;       /* counted memory that the process had then */
};

/* A part of a sample of resident pages. */
struct profile_pages {
	uint32_t process;             /* index of its capture */
	uint64_t time_ns;
	uint64_t capture_ns;          /* the same by its capture's own clock */
	const struct capture_pages *head;
	const uint8_t *ranges;        /* formats/pages.h; checked */
	size_t size;
};

struct profile_observer {
	void *context;
	void (*event)(void *context, const struct profile_event *event);
	void (*sample)(void *context, const struct profile_sample *sample);   /* may be NULL */
	void (*pages)(void *context, const struct profile_pages *pages);      /* may be NULL */
	void (*at)(void *context);    /* the moment of profile_options.at has come; may be NULL */
};

/* Where the blocks of an observed site were allocated. */
struct observed_site {
	uint32_t node, thread;
	uint8_t domain, allocator;
	bool counted;                 /* its blocks are in the totals: counted memory that no filter leaves out */
};

/*
 * A stretch of the run between a mark "begin NAME" and the next "end NAME", measured by itself: what was allocated
 * before it is not in it, its peak is its own, and "live" is what was live at its end.
 */
struct profile_window {
	const char *name;
	uint64_t from_ns, to_ns, peak_time_ns;      /* since the start of the earliest capture */
	bool closed;                  /* false: its end is not in the capture */
	size_t site_first, site_count;
	struct cost total;            /* counted domains only */
	struct cost_spread total_spread;
};

struct analysis_result;

struct profile {
	struct profile_capture *captures; uint32_t capture_count;
	struct frame *frames; uint32_t frame_count;
	struct node *nodes; uint32_t node_count;
	struct site *sites; size_t site_count;      /* sorted by window, node, thread, domain, allocator */
	struct profile_thread *threads; uint32_t thread_count;
	struct timeline_point *timeline; uint32_t timeline_count;
	/* Of a sample: bytes and counts are estimates, and these say how good.  mean 0: all figures are exact. */
	uint64_t sample_mean_bytes;   /* the largest of all; and as of the peak, and of the time of live figures: */
	uint64_t sample_mean_peak_bytes, sample_mean_live_bytes;
	struct cost_spread *spreads; uint32_t spread_count;
	struct cost_spread total_spread, domain_spreads[DOMAIN_COUNT];
	struct profile_mark *marks; uint32_t mark_count;
	struct profile_slice *slices; uint32_t slice_count;       /* only when asked for */
	struct profile_cell *cells; size_t cell_count;
	struct profile_loss *losses; size_t loss_count;
	struct profile_cell_spread *cell_spreads; /* of each cell, and */
	struct spread *loss_spreads;              /* of each loss; NULL where nothing is sampled */
	uint32_t slice_limit;         /* options.slices */
	bool slices_crowded;          /* there are fewer, because they would have had too many cells */
	struct profile_gap *gaps; size_t gap_count;               /* in order of their ends; the first 10000 */
	struct profile_window *windows; uint32_t window_count;    /* of the level asked for; in order of time */
	unsigned window_levels;       /* how many windows were open at once, at most */
	uint64_t windows_deeper;      /* windows within more others than can be measured */
	struct size_bin size_bins[64]; uint32_t size_bin_count;   /* powers of two: [1,1], [2,3], [4,7] ... and [0,0] first */

	const struct cost *before;    /* by site: what it cost in the profile compared with (diff.h); NULL elsewhere */
	const struct profile *before_slices;       /* its slices, by the sites of this one: nothing else in it is filled */
	const struct cost_spread *before_spreads;  /* how uncertain that is, where that profile is of a sample */
	struct cost before_total;
	const struct profile *before_run;          /* that profile itself, for its captures and time line; NULL elsewhere */
	struct cost total;            /* counted domains only */
	struct cost by_domain[DOMAIN_COUNT];
	struct cost by_allocator[64]; /* index: enum capture_record; MAP, and the allocation kinds */
	uint64_t free_count;          /* frees and unmaps of known blocks */
	uint64_t peak_bytes;          /* == total.peak_bytes */
	uint64_t peak_time_ns;        /* since the start of the earliest capture */
	uint64_t resident_peak_bytes;
	uint64_t duration_ns;         /* from the earliest start to the latest end */
	uint64_t at_time_ns;          /* where "live" was taken: duration_ns for the end */
	uint32_t temporary_limit;
	unsigned domains;             /* options.domains: when not 0, these are the counted domains */
	bool symbols_resolved;
	struct observed_site *observed; size_t observed_count;   /* only with an observer, or analyses */
	struct analysis_result *analyses; unsigned analysis_count;   /* those asked for; see analysis.h */
};

/*
 * from_ns and to_ns, from_mark and to_mark choose events: what was allocated outside them is as if it had not been,
 * also in the search for the peak.  thread, domains, function, file and module choose sites afterwards: their peak is
 * what they held at the peak of all memory, as it is in the page, where the same filters can be set; size bins, time
 * line and free_count stay those of all.
 */
struct profile_options {
	uint64_t at_ns;               /* live heap at this time; UINT64_MAX: at the end */
	bool at_peak;                 /* live heap at the peak instead */
	const char *at_mark;          /* or at the first mark of this name; NULL: not */
	uint64_t from_ns, to_ns;      /* only allocations made within; 0 and UINT64_MAX: all */
	const char *from_mark, *to_mark;   /* only allocations made after the first mark of this name, until the first
	                                      of that name after it; NULL: all */
	bool at_to_mark;              /* live heap at to_mark, where at_ns says the end */
	bool windows;                 /* measure windows: then sites are those of windows only, and have no other sums */
	const char *window_names;     /* those whose name matches this regular expression; NULL: all */
	unsigned window_level;        /* those that have this many others around them */
	bool own_thread;              /* in a window only what the thread that began it allocated */
	uint32_t temporary_limit;     /* default 1 */
	uint32_t timeline_points;     /* default 1000; 0: no time line */
	uint32_t slices;              /* default 0: none; else between the half and all of so many */
	bool need_stacks;             /* false: frames and nodes are not built, and all sites lie at the root */
	bool no_symbols;              /* native frames as module+0xoffset */
	bool local_symbols;           /* names that a capture has with it are not used */
	bool debuginfod;
	const char *cache_folder;     /* of names looked up before (symbol_cache.h); NULL: none */
	int thread;                   /* tid to keep, or -1 */
	unsigned domains;             /* bit mask of domains to keep; 0: all */
	const char *function, *file, *module;   /* regular expressions (expression.h): keep stacks with a matching frame */
	const struct profile_observer *observer;   /* NULL: nobody */
	unsigned analyses;            /* bits of enum analysis_number; not together with windows or an observer */
	uint64_t temporary_ns;        /* for the analysis: what is freed within this time is temporary, too */
	/* called now and then during long work, with what is going on and how much is done; may be NULL */
	void (*progress)(void *context, const char *what, uint64_t done, uint64_t all);
	void *progress_context;
};

extern const struct profile_options profile_options_default;

/* paths: captures.  false: error says which file, where, and what to do. */
MUST_CHECK bool profile_build(struct profile **out, const char *const *paths, size_t path_count,
	const struct profile_options *options, struct error *error);
void profile_free(struct profile *profile);
/* Of these what slices take alone: profile_free does it, too. */
void profile_free_slices(struct profile *profile);

/*
 * Inclusive costs: costs[i] is what was allocated in node i and below.  costs has room for node_count.
 * Only counted domains, as everywhere.
 */
void profile_inclusive(const struct profile *profile, struct cost *costs);

/* Whether sites of this domain are in profile->total (ARENA is, when Python's blocks are not recorded). */
bool profile_counts(const struct profile *profile, const struct site *site);

#endif
