/* SPDX-License-Identifier: MIT */
/*
 * Stretches in which nothing was recorded: between RECORDING records (sctmem_stop, sctmem_start, SCTMEM_START=off).
 *
 *     live    ----/----\--+  .  .  .  .  +---/---
 *                      stop            start
 *
 * What lived at the stop lives on in the books until the start, since no more is known; there it is let go of: not as
 * freed, and not as live.  So a leak is always something whose whole life was seen, or the life up to a stop that is
 * the end of the capture.
 */
#include "replay_cost.h"

#include <stdlib.h>

/* More are summed up only: a capture could name millions. */
enum { GAPS_MAX = 10000 };

static bool open_gap(struct replay *replay, struct replay_process *process, uint64_t from_ns)
{
	process->gap_open = true;
	process->gap_from_ns = from_ns;
	process->gap_listed = replay->gap_count < GAPS_MAX;
	if (!process->gap_listed)
		return true;
	if (!array_reserve(&replay->gaps, &replay->gap_capacity, replay->gap_count + 1, sizeof(*replay->gaps),
		replay->error))
		return false;
	process->gap = replay->gap_count;
	replay->gaps[replay->gap_count++] = (struct profile_gap){ .capture = process->number, .from_ns = from_ns,
		.to_ns = UINT64_MAX };
	return true;
}

/* Lets go of all blocks; the table begins anew, so that the next time costs no more than what came since. */
static bool forget_blocks(struct replay *replay, struct replay_process *process, struct replay_forgotten *sum)
{
	struct live *live = &process->live;

	if (live->count == 0)
		return true;
	for (size_t i = 0; i <= live->mask; i++) {
		for (unsigned lane = 0; lane < LIVE_LANES; lane++) {
			if (!live->buckets[i].key[lane])
				continue;
			const struct live_block block = live_get(live, (struct live_place){ .bucket = &live->buckets[i], .lane = lane });

			if (site_counted(replay->sites[block.site].key)) {
				sum->bytes += replay_amount(&block).bytes;
				sum->count += replay_amount(&block).count;
			}
			replay_lose_block(replay, process, &block);
			if (replay_observed(replay)) {
				replay_tell_block(replay, NULL, PROFILE_RESIZED, -1, &block);
				replay_tell(replay, block.sequence, &(struct profile_event){ .kind = PROFILE_GONE, .site = block.site,
					.time_ns = replay->now_ns, .address = block.address, .thread = PROFILE_NOBODY });
			}
		}
	}
	live_finish(live);
	return live_init(live, replay->error);
}

static bool start(struct replay *replay, struct replay_process *process)
{
	struct replay_forgotten sum = { 0 };

	/* No stop was seen: it began stopped, or the process was killed between the stop and its record. */
	if (!process->gap_open && !open_gap(replay, process, process->last_event_ns))
		return false;
	for (size_t i = 0; i < replay->thread_count; i++) {
		if (replay->threads[i].process == process->number)
			replay_forget_thread(replay, &replay->threads[i]);
	}
	if (!forget_blocks(replay, process, &sum) || !replay_forget_mappings(replay, process, &sum))
		return false;
	process->gap_open = false;
	process->gap_count++;
	process->gap_ns += replay->now_ns - process->gap_from_ns;
	process->forgotten_bytes += sum.bytes;
	process->forgotten_count += sum.count;
	if (process->gap_listed) {
		replay->gaps[process->gap].to_ns = replay->now_ns;
		replay->gaps[process->gap].forgotten_bytes = sum.bytes;
		replay->gaps[process->gap].forgotten_count = sum.count;
	}
	return true;
}

bool replay_recording(struct replay *replay, struct replay_process *process, bool on)
{
	process->events--;            /* it is none of the program's */
	if (on)
		return start(replay, process);
	return process->gap_open || open_gap(replay, process, replay->now_ns);
}

void replay_end_gaps(struct replay *replay, uint64_t duration_ns)
{
	for (uint32_t i = 0; i < replay->process_count; i++) {
		struct replay_process *process = &replay->processes[i];

		if (!process->gap_open)
			continue;
		process->gap_count++;
		process->gap_ns += duration_ns > process->gap_from_ns ? duration_ns - process->gap_from_ns : 0;
	}
}
