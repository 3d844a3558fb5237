/* SPDX-License-Identifier: MIT */
/*
 * How replay books memory: the primitives that replay.c (blocks) and replay_map.c (mappings) share.
 * Every change of live memory goes through replay_gain and replay_lose, which keep the maximum.
 */
#ifndef SCTMEM_READER_REPLAY_COST_H
#define SCTMEM_READER_REPLAY_COST_H

#include "replay.h"

/* The upper byte of a site's key: the allocator, or one of these for the kinds of mappings. */
enum site_code {
	SITE_CODE_NONE = 0,
	SITE_CODE_MAPPED = 1,
	SITE_CODE_ARENA = 2,
	SITE_CODE_ARENA_COUNTED = 3,
	SITE_CODE_FILE = 4,
	SITE_CODE_RESERVED = 5,
};

#define SITE_COUNTED 0x80
extern const uint8_t replay_site_codes[256];   /* domain, ORed with SITE_COUNTED */

/* The site of this key, made when it is new; false: no memory. */
MUST_CHECK bool replay_find_site(struct replay *replay, uint64_t key, uint32_t *site);

/* The same, mostly without a look-up. */
MUST_CHECK static inline bool replay_recall_site(struct replay *replay, uint64_t key, uint32_t *site)
{
	struct replay_memo *memo = &replay->memo[key * 0x9e3779b97f4a7c15u >> (64 - REPLAY_MEMO_BITS)];

	if (__builtin_expect(memo->key == key, 1)) {
		*site = memo->site;
		return true;
	}
	if (!replay_find_site(replay, key, site))
		return false;
	*memo = (struct replay_memo){ .key = key, .site = *site };
	return true;
}

static inline uint64_t site_key(uint32_t stack, uint32_t thread, unsigned code)
{
	return (uint64_t)code << 56 | (uint64_t)(thread & 0xffffff) << 32 | stack;
}

/* What a block, or what it stands for, adds to the figures. */
struct replay_amount {
	uint64_t bytes, count;
};

static inline struct replay_amount replay_amount(const struct live_block *block)
{
	if (__builtin_expect(block->weight != 0, 0))
		return (struct replay_amount){ estimate_scale(block->size, block->weight), block->count };
	return (struct replay_amount){ block->size, 1 };
}

/* The same for how uncertain they are: which figures of a block's site, and +1 or -1.  Only of a sample. */
enum replay_figure { REPLAY_TOTAL = 1, REPLAY_LIVE = 2, REPLAY_TEMPORARY = 4 };
__attribute__((cold)) void replay_add_spread(struct replay *replay, const struct live_block *block, unsigned figures,
	double sign);

static inline void replay_spread_join(struct replay_spread *sum, const struct replay_spread *spread)
{
	spread_add(&sum->total, &spread->total);
	spread_add(&sum->live, &spread->live);
	spread_add(&sum->peak, &spread->peak);
	spread_add(&sum->temporary, &spread->temporary);
	spread_add(&sum->at, &spread->at);
}

static inline void replay_note_spread(struct replay *replay, const struct live_block *block, unsigned figures,
	double sign)
{
	if (__builtin_expect(block->weight != 0, 0))
		replay_add_spread(replay, block, figures, sign);
}

void replay_lose_block(struct replay *replay, struct replay_process *process, const struct live_block *block);

/* Whether somebody wants to see each event: seldom. */
static inline bool replay_observed(const struct replay *replay)
{
	return __builtin_expect(replay->options.observer != NULL, 0);
}

/* replay.c: tells the observer of a block of event->site and this number among its thread's; fills in event->block. */
__attribute__((cold)) void replay_tell(const struct replay *replay, uint32_t sequence, struct profile_event *event);
/* By this thread (NULL: nobody) a block of live.h lives with this size from now on (live 1), or ceases to (-1). */
__attribute__((cold)) void replay_tell_block(const struct replay *replay, const struct replay_thread *thread,
	enum profile_event_kind kind, int live, const struct live_block *block);

static inline uint32_t replay_thread_number(const struct replay *replay, const struct replay_thread *thread)
{
	return thread ? (uint32_t)(thread - replay->threads) : PROFILE_NOBODY;
}

/* Saves what the site held at the newest maximum, before it changes. */
static inline void replay_touch(const struct replay *replay, struct replay_site *site)
{
	if (site->epoch != replay->epoch) {
		if (__builtin_expect(replay->spreads != NULL, 0))
			replay->spreads[site - replay->sites].peak = replay->spreads[site - replay->sites].live;
		site->peak_bytes = site->live_bytes;
		site->peak_count = site->live_count;
		site->epoch = replay->epoch;
	}
}

/* Books more counted memory, and the maximum when this is one. */
static inline void replay_count(struct replay *replay, struct replay_process *process, uint64_t bytes)
{
	process->counted_bytes += bytes;
	if (process->counted_bytes > process->counted_peak_bytes) {
		process->counted_peak_bytes = process->counted_bytes;
		process->peak_time_ns = replay->now_ns;
	}
	replay->counted_bytes += bytes;
	if (replay->counted_bytes > replay->interval_max_bytes) {
		replay->interval_max_bytes = replay->counted_bytes;
		replay->interval_max_ns = replay->now_ns;
		if (replay->counted_bytes > replay->peak_bytes) {
			replay->peak_bytes = replay->counted_bytes;
			replay->peak_time_ns = replay->now_ns;
			replay->epoch++;
		}
	}
}

/*
 * Site 0, of what is outside the times and marks asked for, is booked like any other, which is faster than to ask;
 * nobody reads it.  So are the sites of windows that have ended: they have lost their code, so that nothing is counted.
 */
static inline void replay_gain(struct replay *replay, struct replay_process *process, uint32_t index,
	uint64_t bytes, uint64_t count)
{
	struct replay_site *site = &replay->sites[index];
	const uint8_t code = replay_site_codes[site->key >> 56];

	replay_touch(replay, site);
	site->live_bytes += bytes;
	site->live_count += count;
	replay->domain_bytes[code & 7] += bytes;
	if (code & SITE_COUNTED)
		replay_count(replay, process, bytes);
}

static inline void replay_lose(struct replay *replay, struct replay_process *process, uint32_t index,
	uint64_t bytes, uint64_t count)
{
	struct replay_site *site = &replay->sites[index];
	const uint8_t code = replay_site_codes[site->key >> 56];

	replay_touch(replay, site);
	site->live_bytes -= bytes;
	site->live_count -= count;
	replay->domain_bytes[code & 7] -= bytes;
	if (code & SITE_COUNTED) {
		process->counted_bytes -= bytes;
		replay->counted_bytes -= bytes;
	}
}

/* One allocation at a site: into the totals and the size bins, then live. */
static inline void replay_allocate(struct replay *replay, struct replay_process *process, uint32_t index,
	uint64_t size, struct replay_amount amount)
{
	struct replay_site *site = &replay->sites[index];
	const uint8_t code = replay_site_codes[site->key >> 56];

	replay_touch(replay, site);
	site->total_bytes += amount.bytes;
	site->total_count += amount.count;
	site->live_bytes += amount.bytes;
	site->live_count += amount.count;
	replay->domain_bytes[code & 7] += amount.bytes;
	if (code & SITE_COUNTED) {
		const unsigned bin = size_bin(size);

		replay->bin_count[bin] += amount.count;
		replay->bin_bytes[bin] += amount.bytes;
		replay_count(replay, process, amount.bytes);
	}
}

/* Before replay_gain gives a site back what it had lost. */
MUST_CHECK static inline bool replay_revive(struct replay *replay, uint32_t index)
{
	return !replay->slices.capacity || slices_revive(replay, index);
}

/* Whether an allocation of this site and number that this thread ends now was temporary. */
static inline bool replay_is_temporary(const struct replay *replay, const struct replay_thread *thread, uint32_t index,
	uint32_t sequence)
{
	const uint32_t number = (uint32_t)(thread - replay->threads);

	return thread->sequence - sequence <= replay->options.temporary_limit &&
		site_thread(replay->sites[index].key) == (number & 0xffffff) && index != REPLAY_SITE_NONE;
}

/* Books a temporary allocation, or (sign -1) takes it back. */
static inline void replay_book_temporary(struct replay *replay, uint32_t index, struct replay_amount amount, int sign)
{
	replay->extras[index].temporary_bytes += (uint64_t)sign * amount.bytes;
	replay->extras[index].temporary_count += (uint64_t)sign * amount.count;
}

/* Keeps what is live now as the heap at the time asked for. */
void replay_take_live(struct replay *replay);

/* replay_marks.c: marks, and the windows between them.  false: no memory. */
MUST_CHECK bool replay_mark(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	uint64_t number);
MUST_CHECK bool replay_end_windows(struct replay *replay);

/* Counted memory that is let go of. */
struct replay_forgotten { uint64_t bytes, count; };

/* replay_gaps.c: recording has stopped, or begun (again).  false: no memory. */
MUST_CHECK bool replay_recording(struct replay *replay, struct replay_process *process, bool on);
void replay_end_gaps(struct replay *replay, uint64_t duration_ns);
/* replay.c: what the thread's last events left open will not be completed. */
void replay_forget_thread(struct replay *replay, struct replay_thread *thread);

/* replay_map.c: mappings.  false: no memory. */
MUST_CHECK bool replay_map(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event);
MUST_CHECK bool replay_unmap(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event);
MUST_CHECK bool replay_unmap_failed(struct replay *replay, struct replay_process *process,
	struct replay_thread *thread, const struct decoded_event *event);
/* Lets go of all mappings of a process, which are neither live nor unmapped then; adds those that count. */
MUST_CHECK bool replay_forget_mappings(struct replay *replay, struct replay_process *process,
	struct replay_forgotten *sum);
/* The thread's next event has come: the pieces of its last UNMAP are gone for good. */
void replay_forget_unmapped(struct replay *replay, struct replay_thread *thread);

#endif
