/* SPDX-License-Identifier: MIT */
/*
 * See profile_live.h.  What profile.c does once is done here again and again on the same struct build: frames, nodes
 * and strings are added to; threads, marks, captures and sites are made anew.
 */
#include "profile_live.h"

#include <stdlib.h>
#include <string.h>

#include "follow.h"
#include "profile_build.h"
#include "replay_cost.h"

enum { CONTINUED_LOOKS = 3 };

struct profile_live {
	struct profile_owner *owner;
	struct profile_options options;
	struct build build;
	struct follow follow;
	bool following;
	bool ended;                   /* all that there will ever be was taken */
	unsigned continued;           /* looks in which the next segment was not to be found */
};

bool profile_live_open(struct profile_live **out, const char *path, const struct profile_options *options,
	struct error *error)
{
	struct profile_live *live = calloc(1, sizeof(*live));
	struct replay_options replayed = { .at_ns = UINT64_MAX, .to_ns = UINT64_MAX,
		.temporary_limit = options->temporary_limit, .timeline_points = options->timeline_points };
	struct build *build;
	bool ok;

	*out = NULL;
	if (!live)
		return fail_memory(error);
	live->owner = calloc(1, sizeof(*live->owner));
	live->options = profile_options_default;
	live->options.temporary_limit = options->temporary_limit;
	live->options.timeline_points = options->timeline_points;
	live->options.no_symbols = options->no_symbols;
	live->options.debuginfod = options->debuginfod;
	live->options.cache_folder = options->cache_folder;
	build = &live->build;
	*build = (struct build){ .options = &live->options, .error = error, .growing = true };
	build->captures = calloc(1, sizeof(*build->captures));
	if (!live->owner || !build->captures) {
		profile_live_close(live);
		return fail_memory(error);
	}
	build->profile = &live->owner->profile;
	build->strings = &live->owner->strings;
	build->profile->captures = calloc(1, sizeof(*build->profile->captures));
	ok = (build->profile->captures ? true : fail_memory(error)) && strings_init(build->strings, error) &&
		capture_open_growing(&build->captures[0].capture, path, error);
	if (ok)
		build->capture_count = build->profile->capture_count = 1;
	/* Sums in the place of events do not come by following what grows. */
	if (ok && (build->captures[0].capture->header.features & CAPTURE_COMPACTED))
		ok = fail(error, STATUS_USAGE, "%s is compacted, and no process writes to it any more; see: sctmem stats", path);
	replayed.sampled = ok && build_is_sampled(build);
	ok = ok && replay_init(&build->replay, 1, &replayed, error) &&
		replay_add_process(&build->replay, 0, build->captures[0].capture, 0, 0, error) &&
		follow_init(&live->follow, build->captures[0].capture, &build->replay, error);
	live->following = ok;
	if (!ok) {
		profile_live_close(live);
		return false;
	}
	*out = live;
	return true;
}

void profile_live_close(struct profile_live *live)
{
	if (!live)
		return;
	if (live->following)
		follow_finish(&live->follow);
	build_finish(&live->build);
	if (live->owner)
		profile_free(&live->owner->profile);
	free(live);
}

/* What is made anew at each look goes. */
static void drop_last(struct profile_live *live)
{
	struct profile *profile = live->build.profile;

	free(profile->sites);
	free(profile->threads);
	free(profile->timeline);
	free(profile->marks);
	free(profile->gaps);
	free(profile->windows);
	free(profile->spreads);
	free(live->build.thread_of);
	profile->sites = NULL;
	profile->threads = NULL;
	profile->timeline = NULL;
	profile->marks = NULL;
	profile->gaps = NULL;
	profile->windows = NULL;
	profile->spreads = NULL;
	profile->spread_count = 0;
	profile->total_spread = (struct cost_spread){ 0 };
	memset(profile->domain_spreads, 0, sizeof(profile->domain_spreads));
	live->build.thread_of = NULL;
	profile->site_count = profile->gap_count = 0;
	profile->thread_count = profile->mark_count = profile->timeline_count = profile->window_count = 0;
	profile->total = (struct cost){ 0 };
	memset(profile->by_domain, 0, sizeof(profile->by_domain));
	memset(profile->by_allocator, 0, sizeof(profile->by_allocator));
}

/* What lives now is what lived "at the end", and each site's share of the peak is known. */
static void settle_sites(struct replay *replay)
{
	for (size_t i = 0; i < replay->site_count; i++)
		replay_touch(replay, &replay->sites[i]);
	replay_take_live(replay);
}

/* Copies of what build_take_replay takes away from a replay that is over. */
static bool lend_replay(struct build *build)
{
	struct replay *replay = &build->replay;
	struct timeline_point *points = replay->timeline.points, *copy;
	struct profile_gap *gaps = replay->gaps;
	const uint32_t count = replay->timeline.count;
	const size_t gap_count = replay->gap_count;
	struct profile *profile = build->profile;
	bool ok;

	copy = malloc((count + 1) * sizeof(*copy));
	if (copy && count)
		memcpy(copy, points, count * sizeof(*copy));
	replay->timeline.points = copy;
	replay->gaps = malloc((gap_count + 1) * sizeof(*gaps));
	if (replay->gaps && gap_count)
		memcpy(replay->gaps, gaps, gap_count * sizeof(*gaps));
	ok = copy && replay->gaps;
	build_take_replay(build);
	if (!ok)
		profile->timeline_count = 0, profile->gap_count = 0;
	replay->timeline.points = points;
	replay->gaps = gaps;
	return ok ? true : fail_memory(build->error);
}

/* What is new is replayed. */
static bool take_new(struct profile_live *live, struct error *error)
{
	struct build *build = &live->build;
	struct capture *capture = build->captures[0].capture;
	bool ended, more;

	build->error = build->replay.error = error;
	/* Asked before what is there is read: what it wrote until then is there. */
	if (!capture_refresh_status(capture, &more, error))
		return false;
	ended = !capture->alive;
	/* Where the next segment is not to be seen, it is removed or moved, and perhaps the one after it is. */
	if (capture->status.state == CAPTURE_CONTINUED)
		ended = ++live->continued > CONTINUED_LOOKS;
	else
		live->continued = 0;
	if (!live->ended && !follow_look(&live->follow, ended, error))
		return false;
	live->ended = ended && !live->follow.behind;
	return true;
}

bool profile_live_measure(struct profile_live *live, uint64_t until_ns, struct profile_live_heap *heap,
	struct error *error)
{
	live->follow.until_ns = until_ns;
	if (!take_new(live, error))
		return false;
	*heap = profile_live_heap(live);
	return true;
}

struct profile_live_heap profile_live_heap(const struct profile_live *live)
{
	const struct capture *capture = live->build.captures[0].capture;
	const struct capture_status *status = &capture->status;
	const struct replay_process *process = &live->build.replay.processes[0];

	return (struct profile_live_heap){ .bytes = process->counted_bytes,
		.behind = live->follow.behind, .moment_ns = capture->header.start_monotonic_ns + live->build.replay.now_ns,
		.estimated = capture->step_count > 0,
		.partial = status->lost_memory || status->lost_storage || status->lost_reentry || status->paused ||
			process->gap_open || process->gap_count || process->contradictions || capture->damage.count ||
			capture->segments_missing || (capture->segments && capture->segments[0].number > 1) ||
			capture->header.origin == CAPTURE_ORIGIN_ATTACH };
}

bool profile_live_look(struct profile_live *live, struct error *error)
{
	struct build *build = &live->build;
	bool ok;

	live->follow.until_ns = 0;
	if (!take_new(live, error))
		return false;
	drop_last(live);
	settle_sites(&build->replay);
	ok = build_describe_threads(build) && build_tree(build) && build_describe_capture(build, 0) &&
		build_describe_marks(build);
	build->profile->duration_ns = build_duration(build, 0);
	return ok && lend_replay(build) && build_sites(build);
}

const struct profile *profile_live_get(const struct profile_live *live)
{
	return live->build.profile;
}

uint64_t profile_live_resident(const struct profile_live *live)
{
	return live->build.replay.resident_bytes;
}

uint64_t profile_live_bytes_read(const struct profile_live *live)
{
	return live->follow.bytes_read;
}

bool profile_live_is_alive(const struct profile_live *live)
{
	return live->build.captures[0].capture->alive || (live->continued > 0 && !live->ended);
}
