/* SPDX-License-Identifier: MIT */
/*
 * Builds the profile: opens the captures, replays them together, and turns what came out into frames, nodes,
 * sites and totals.  See profile_build.h for who does what.
 *
 * Several captures are replayed on one clock, the wall clock, each in an address space of its own; so the peak is
 * that of their sum.
 */
#include "profile.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"
#include "profile_build.h"
#include "segments.h"

enum {
	DECODERS_MAX = 2,
	SLICE_ENTRIES = 1000,         /* cells and losses for each slice asked for; about 5 bytes each in a page */
	SLICE_ENTRIES_SAMPLED = 500,  /* these take twice the room, with how uncertain they are */
};

/* Captures of one family lie within this; more is a damaged header. */
#define FAMILY_SPAN_NS ((uint64_t)1 << 60)

const struct profile_options profile_options_default = {
	.at_ns = UINT64_MAX, .to_ns = UINT64_MAX, .temporary_limit = 1, .timeline_points = 1000, .need_stacks = true,
	.thread = -1, .temporary_ns = 10000000,
};

const char *domain_name(enum domain domain)
{
	static const char *const names[DOMAIN_COUNT] = { "heap", "python", "mapped", "arena", "file", "reserved" };

	return (unsigned)domain < DOMAIN_COUNT ? names[domain] : "unknown";
}

bool profile_counts(const struct profile *profile, const struct site *site)
{
	if (profile->domains)
		return profile->domains >> site->domain & 1;
	switch ((enum domain)site->domain) {
	case DOMAIN_HEAP:
	case DOMAIN_PYTHON:
	case DOMAIN_MAPPED:
		return true;
	case DOMAIN_ARENA:
		if (site->thread >= profile->thread_count)
			return false;
		return !(profile->captures[profile->threads[site->thread].capture].features & CAPTURE_PYTHON_ALLOCATORS);
	default:
		return false;
	}
}

bool build_string(struct build *build, const char *text, const char **out)
{
	uint32_t id;

	if (!strings_add(build->strings, text, &id, build->error))
		return false;
	*out = build->strings->texts[id];
	return true;
}

void build_progress(struct build *build, const char *what, uint64_t done, uint64_t all)
{
	if (build->options->progress)
		build->options->progress(build->options->progress_context, what, done, all);
}

/* One capture's place in the replay of all. */
struct player {
	struct merge *merge;
	uint64_t next_ns;             /* when its next event happens, on the common clock; UINT64_MAX: it has ended */
};

/* Plays one capture until its time passes limit_ns, or to its end. */
static bool play(struct build *build, struct player *player, uint32_t number, uint64_t limit_ns)
{
	struct replay_process *process = &build->replay.processes[number];
	uint64_t turns = 0;

	for (;;) {
		const struct decoded_event *events;
		size_t count, ahead, done;
		uint32_t stream;

		if (!merge_run(player->merge, &events, &count, &ahead, &stream, build->error))
			return false;
		if (count == 0) {
			player->next_ns = UINT64_MAX;
			return true;
		}
		if (!replay_run(&build->replay, number, stream, events, count, ahead, limit_ns, &done, build->error))
			return false;
		merge_consume(player->merge, done);
		if (done < count) {
			player->next_ns = process->start_ns + DECODED_OPERAND(&events[done]);
			return true;
		}
		if (turns++ % 1024 == 0 && build->options->progress) {
			uint64_t all, ready = merge_done(player->merge, &all);

			build_progress(build, "replaying", ready, all);
		}
	}
}

/* Always plays the capture that is behind, until the next one would be. */
static bool play_all(struct build *build, struct player *players)
{
	for (;;) {
		uint32_t first = 0;
		uint64_t limit_ns = UINT64_MAX;

		for (uint32_t i = 1; i < build->capture_count; i++) {
			if (players[i].next_ns < players[first].next_ns)
				first = i;
		}
		if (players[first].next_ns == UINT64_MAX)
			return true;
		for (uint32_t i = 0; i < build->capture_count; i++) {
			if (i != first && players[i].next_ns < limit_ns)
				limit_ns = players[i].next_ns;
		}
		if (!play(build, &players[first], first, limit_ns))
			return false;
	}
}

unsigned build_helpers(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) - 1 : 0;
}

/* Decoding ahead pays when there is a second processor and enough to decode. */
static unsigned choose_decoders(const struct build *build)
{
	const unsigned helpers = build_helpers();
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < build->capture_count; i++)
		bytes += build->captures[i].capture->used_size;
	if (bytes < 1 << 20)
		return 0;
	return helpers > DECODERS_MAX ? DECODERS_MAX : helpers;
}

/* The captures' starts on the common clock, whose 0 is the earliest. */
static void align_starts(struct build *build)
{
	uint64_t earliest = UINT64_MAX;

	for (uint32_t i = 0; i < build->capture_count; i++) {
		const uint64_t start = build->captures[i].capture->header.start_realtime_ns;

		earliest = start < earliest ? start : earliest;
	}
	for (uint32_t i = 0; i < build->capture_count; i++) {
		const uint64_t start = build->captures[i].capture->header.start_realtime_ns - earliest;

		build->captures[i].start_ns = start < FAMILY_SPAN_NS ? start : 0;
	}
}

uint64_t build_duration(const struct build *build, uint32_t number)
{
	const struct capture_status *status = &build->captures[number].capture->status;
	const uint64_t last = build->replay.processes[number].last_time_ns;

	if (status->state != CAPTURE_RUNNING && status->end_time_ns > last && !(status->end_time_ns >> 56))
		return status->end_time_ns;
	return last;
}

/* A mark that is not there is a slip of the user's: nothing, or everything, would be shown for it. */
static bool check_marks(const struct build *build)
{
	const struct profile_options *options = build->options;

	if (options->at_mark && !build->replay.at_mark_seen)
		return fail(build->error, STATUS_USAGE, "--at: no mark '%s' in the capture (and not peak, end or a time like "
			"90, 1.5s or 1m30s); sctmem windows --marks lists them", options->at_mark);
	if (options->from_mark && !build->replay.from_seen)
		return fail(build->error, STATUS_USAGE, "no mark '%s' in the capture; sctmem windows --marks lists them",
			options->from_mark);
	if (options->to_mark && !build->replay.marks_ended)
		return fail(build->error, STATUS_USAGE, "no mark '%s'%s%s%s; without --to the end is taken", options->to_mark,
			options->from_mark ? " after '" : " in the capture", options->from_mark ? options->from_mark : "",
			options->from_mark ? "'" : "");
	return true;
}

/* What --window-names asks for, compiled while captures are replayed. */
static bool compile_names(struct build *build)
{
	return !build->options->window_names ||
		expression_compile(&build->window_names, build->options->window_names, build->error);
}

bool build_is_sampled(const struct build *build)
{
	for (uint32_t i = 0; i < build->capture_count; i++)
		if (build->captures[i].capture->header.features & CAPTURE_SAMPLED)
			return true;
	return false;
}

static bool replay_captures(struct build *build)
{
	const bool sampled = build_is_sampled(build);
	const size_t slice_entries = sampled ? SLICE_ENTRIES_SAMPLED : SLICE_ENTRIES;
	const struct replay_options options = { .at_ns = build->options->at_ns, .from_ns = build->options->from_ns,
		.to_ns = build->options->to_ns, .from_mark = build->options->from_mark, .to_mark = build->options->to_mark,
		.at_mark = build->options->at_mark, .at_to_mark = build->options->at_to_mark, .windows = build->options->windows,
		.window_names = build->window_names, .window_level = build->options->window_level,
		.own_thread = build->options->own_thread,
		.temporary_limit = build->options->temporary_limit, .timeline_points = build->options->timeline_points,
		.slices = build->options->slices, .slice_entries_max = slice_entries * build->options->slices,
		.observer = build->options->analyses ? &build->analyses.observer : build->options->observer,
		.sampled = sampled };
	struct player *players = calloc(build->capture_count + (size_t)1, sizeof(*players));
	struct decode_crew *crew = NULL;
	bool ok = players ? decode_crew_new(&crew, choose_decoders(build), build->error) : fail_memory(build->error);

	align_starts(build);
	ok = ok && replay_init(&build->replay, build->capture_count, &options, build->error);
	for (uint32_t i = 0; ok && i < build->capture_count; i++) {
		struct build_capture *own = &build->captures[i];

		ok = merge_open(&players[i].merge, own->capture, crew, build->error) &&
			replay_add_process(&build->replay, i, own->capture, own->start_ns, merge_stream_count(players[i].merge),
				build->error);
		players[i].next_ns = own->start_ns;
	}
	ok = ok && (!build->options->analyses || analyses_begin(&build->analyses)) && play_all(build, players);
	for (uint32_t i = 0; players && i < build->capture_count; i++)
		merge_close(players[i].merge);
	decode_crew_free(crew);
	free(players);
	for (uint32_t i = 0; ok && i < build->capture_count; i++) {
		const uint64_t end = build->captures[i].start_ns + build_duration(build, i);

		if (end > build->profile->duration_ns)
			build->profile->duration_ns = end;
	}
	ok = ok && replay_end(&build->replay, build->profile->duration_ns, build->error);
	replay_forget_blocks(&build->replay);
	return ok && check_marks(build);
}

/*
 * The analyses' results.  Threads in them are replay's, and become the profile's.
 */
static bool take_analyses(struct build *build)
{
	struct profile *profile = build->profile;

	if (!build->options->analyses)
		return true;
	profile->analyses = calloc(ANALYSIS_COUNT, sizeof(*profile->analyses));
	if (!profile->analyses)
		return fail_memory(build->error);
	if (!analyses_end(&build->analyses, profile->duration_ns, profile->analyses, &profile->analysis_count))
		return false;
	for (unsigned i = 0; i < profile->analysis_count * ANALYSIS_TABLES_MAX; i++) {
		struct analysis_table *table = &profile->analyses[i / ANALYSIS_TABLES_MAX].tables[i % ANALYSIS_TABLES_MAX];

		for (unsigned column = 0; table->class && column < table->class->column_count; column++) {
			if (table->class->columns[column].unit != ANALYSIS_THREAD)
				continue;
			for (size_t row = 0; row < table->count; row++)
				table->rows[row].values[column] = build->thread_of[table->rows[row].values[column]];
		}
	}
	return true;
}

/* Analyses that look at one moment must see the peak when it comes: its number is found by a replay of its own. */
static bool find_peak(struct build *build, const char *const *paths, size_t path_count)
{
	struct profile_options options = *build->options;
	struct profile *profile;
	bool ok;

	options.analyses = 0;
	options.slices = 0;
	options.need_stacks = false;
	options.timeline_points = 0;
	options.function = options.file = options.module = NULL;
	ok = profile_build(&profile, paths, path_count, &options, build->error);
	if (ok) {
		build->analyses.at_epoch = ((struct profile_owner *)profile)->epoch;
		build->analyses.at_ns = profile->peak_time_ns;
	}
	profile_free(profile);
	return ok;
}

static bool prepare_analyses(struct build *build, const char *const *paths, size_t path_count)
{
	const struct profile_options *options = build->options;

	return !options->analyses ||
		(analyses_init(&build->analyses, &build->replay, options->analyses, options, build->error) &&
			(!options->at_peak || find_peak(build, paths, path_count)));
}

static bool describe_problem(struct build *build, const struct capture *capture, struct profile_capture *out)
{
	const struct capture_damage *damage = &capture->damage;
	char text[sizeof(damage->first) + 200];

	out->damaged = damage->count > 0;
	out->damaged_bytes = damage->bytes;
	if (!out->damaged)
		return build_string(build, "", &out->problem);
	snprintf(text, sizeof(text), "%s%s; the rest was read: %" PRIu64 " windows and %" PRIu64 " records are missing",
		damage->first, damage->count > 1 ? " and other places" : "", damage->windows, damage->records);
	return build_string(build, text, &out->problem);
}

static bool copy_arguments(struct build *build, const struct capture *capture, struct profile_capture *out)
{
	struct profile_owner *owner = (struct profile_owner *)build->profile;
	const char **copy;
	size_t count = 0;

	while (capture->arguments[count])
		count++;
	copy = pool_take(&owner->pool, (count + 1) * sizeof(*copy));
	if (!copy)
		return fail_memory(build->error);
	copy[count] = NULL;
	out->arguments = copy;
	for (size_t i = 0; i < count; i++) {
		if (!build_string(build, capture->arguments[i], &copy[i]))
			return false;
	}
	return true;
}

static void raise(uint64_t *mean, uint64_t to)
{
	*mean = to > *mean ? to : *mean;
}

/* The means of sampling, and which of them governs what was live when. */
static bool describe_steps(struct build *build, uint32_t number, struct profile_capture *out)
{
	struct profile *profile = build->profile;
	const struct capture *capture = build->captures[number].capture;
	const struct replay *replay = &build->replay;

	if (!out->sample_steps || out->sample_step_count != capture->step_count)
		out->sample_steps = pool_take(&((struct profile_owner *)profile)->pool,
			(capture->step_count + (size_t)1) * sizeof(*out->sample_steps));
	if (!out->sample_steps)
		return fail_memory(build->error);
	out->sample_step_count = capture->step_count;
	for (unsigned i = 0; i < capture->step_count; i++) {
		const struct capture_step *step = &capture->steps[i];
		const uint64_t time_ns = build->captures[number].start_ns + step->time_ns;

		out->sample_steps[i] = (struct sample_step){ .mean_bytes = step->mean_bytes, .time_ns = step->time_ns };
		raise(&profile->sample_mean_bytes, step->mean_bytes);
		/* Each window has a peak of its own, at any time. */
		if (time_ns <= replay->peak_time_ns || build->options->windows)
			raise(&profile->sample_mean_peak_bytes, step->mean_bytes);
		if (time_ns <= (build->options->at_peak ? replay->peak_time_ns : build->options->at_ns))
			raise(&profile->sample_mean_live_bytes, step->mean_bytes);
	}
	return true;
}

bool build_describe_capture(struct build *build, uint32_t number)
{
	const struct capture *capture = build->captures[number].capture;
	const struct capture_status *status = &capture->status;
	const struct replay_process *process = &build->replay.processes[number];
	const struct capture_runtime *runtime = capture->runtime_count ? &capture->runtimes[capture->runtime_count - 1] : NULL;
	struct profile_capture *out = &build->profile->captures[number];
	const struct profile_capture before = *out;
	struct capture_unseen unseen;

	if (!capture_unseen(capture, &unseen, build->error))
		return false;
	*out = (struct profile_capture){
		.pid = capture->header.pid, .parent_pid = capture->header.parent_pid,
		.start_realtime_ns = capture->header.start_realtime_ns, .start_ns = build->captures[number].start_ns,
		.duration_ns = build_duration(build, number),
		.peak_bytes = process->counted_peak_bytes,
		/* Its first events come before any time of its own: the clock still stands at another process's. */
		.peak_time_ns = process->peak_time_ns > process->start_ns ? process->peak_time_ns - process->start_ns : 0,
		.events = process->events, .file_bytes = capture->used_size, .features = capture->header.features,
		.attached = capture->header.origin == CAPTURE_ORIGIN_ATTACH,
		.segment_first = capture->segments ? capture->segments[0].number : capture->header.segment,
		.segment_last = capture->segments ? capture->segments[capture->segment_count - 1].number
			: capture->header.segment,
		.segments_missing = capture->segments_missing, .left_out = capture->left_out,
		.state = (uint32_t)status->state, .alive = capture->alive,
		.lost_events = status->lost_memory + status->lost_storage + status->lost_reentry,
		.lost_memory = status->lost_memory, .lost_storage = status->lost_storage,
		.lost_reentry = status->lost_reentry, .lost_threads = status->lost_threads,
		.stacks_truncated = status->stacks_truncated, .stacks_degraded = status->stacks_degraded,
		.unwind_guessed = status->unwind_guessed, .unwind_stopped = status->unwind_stopped,
		.python_refused = status->python_refused, .tracer_bytes = status->tracer_bytes,
		.clock_resolution_ns = capture->header.clock_resolution_ns,
		.unknown_frees = process->unknown_frees, .contradictions = process->contradictions,
		.gap_count = process->gap_count, .gap_ns = process->gap_ns, .forgotten_bytes = process->forgotten_bytes,
		.forgotten_count = process->forgotten_count,
		.paused = process->gap_open || (status->paused && process->events == 0),
		.sample_mean_bytes = capture->step_count ? capture->steps[capture->step_count - 1].mean_bytes : 0,
		.sample_recorded = process->recorded,
		.compacted_ns = !(capture->header.features & CAPTURE_COMPACTED) ? 0 :
			capture->compacted.width_ns + !capture->compacted.width_ns,
		.embedded_symbols = capture->named_count,
		.compacted_limit = capture->header.features & CAPTURE_AGGREGATED ? 1 : capture->compacted.temporary_limit,
		.unseen_blocks = unseen.dropped, .unseen_bytes = unseen.bytes, .unseen_count = unseen.count,
		.sample_passed = process->passed, .sample_passed_bytes = process->passed_bytes,
	};
	/* A capture that grows is described again and again: what does not change stays where it is. */
	out->arguments = before.arguments;
	out->sample_steps = before.sample_steps;
	out->sample_step_count = before.sample_step_count;
	if (!describe_steps(build, number, out))
		return false;
	if (runtime) {
		out->python_version = runtime->info.version;
		out->python_flags = runtime->info.flags;
	}
	return describe_problem(build, capture, out) && (out->arguments || copy_arguments(build, capture, out)) &&
		build_string(build, capture->path, &out->path) && build_string(build, capture->host, &out->host) &&
		build_string(build, capture->executable, &out->executable) &&
		build_string(build, capture->directory, &out->directory) && build_string(build, capture->libc, &out->libc) &&
		build_string(build, capture->writer, &out->writer) &&
		build_string(build, capture->parent_path, &out->parent_path) &&
		build_string(build, runtime ? runtime->allocator : "", &out->python_allocator);
}

/* Threads that allocated or freed, or have a name; replay also keeps one that nobody may have used. */
bool build_describe_threads(struct build *build)
{
	struct profile *profile = build->profile;
	const struct replay *replay = &build->replay;

	profile->threads = calloc(replay->thread_count + 1, sizeof(*profile->threads));
	build->thread_of = calloc(replay->thread_count + 1, sizeof(*build->thread_of));
	if (!profile->threads || !build->thread_of)
		return fail_memory(build->error);
	for (size_t i = 0; i < replay->thread_count; i++) {
		const struct replay_thread *thread = &replay->threads[i];
		const struct build_capture *own = &build->captures[thread->process];
		const struct capture_thread *known = capture_find_thread(own->capture, thread->index);
		struct profile_thread *out = &profile->threads[profile->thread_count];

		build->thread_of[i] = UINT32_MAX;
		if (!known && thread->sequence == 0)
			continue;
		build->thread_of[i] = profile->thread_count++;
		out->capture = thread->process;
		out->tid = known ? known->tid : 0;
		out->start_ns = own->start_ns + (known ? known->start_time_ns : 0);
		if (!build_string(build, known ? known->name : "", &out->name))
			return false;
	}
	return true;
}

static int compare_marks(const void *a, const void *b)
{
	const struct profile_mark *left = a, *right = b;

	if (left->time_ns != right->time_ns)
		return left->time_ns < right->time_ns ? -1 : 1;
	if (left->capture != right->capture)
		return left->capture < right->capture ? -1 : 1;
	return (left->stamp > right->stamp) - (left->stamp < right->stamp);
}

bool build_describe_marks(struct build *build)
{
	struct profile *profile = build->profile;
	size_t capacity = 0;

	for (uint32_t i = 0; i < build->capture_count; i++) {
		const struct build_capture *own = &build->captures[i];

		for (size_t n = 0; n < own->capture->note_count; n++) {
			const struct capture_note *note = &own->capture->notes[n];

			if (!note->is_mark)
				continue;
			if (!array_reserve(&profile->marks, &capacity, profile->mark_count + (size_t)1, sizeof(*profile->marks),
				build->error))
				return false;
			struct profile_mark *mark = &profile->marks[profile->mark_count++];

			*mark = (struct profile_mark){ .time_ns = own->start_ns + note->time_ns, .stamp = note->stamp, .capture = i };
			if (!build_string(build, note->text, &mark->name))
				return false;
		}
	}
	if (profile->mark_count)
		qsort(profile->marks, profile->mark_count, sizeof(*profile->marks), compare_marks);
	return true;
}

/* What replay knows without stacks. */
void build_take_replay(struct build *build)
{
	struct profile *profile = build->profile;
	struct replay *replay = &build->replay;

	profile->timeline = replay->timeline.points;
	profile->timeline_count = replay->timeline.count;
	replay->timeline.points = NULL;
	profile->gaps = replay->gaps;
	profile->gap_count = replay->gap_count;
	replay->gaps = NULL;
	profile->free_count = replay->free_count;
	profile->peak_time_ns = replay->peak_time_ns;
	profile->resident_peak_bytes = replay->resident_peak_bytes;
	profile->temporary_limit = build->options->temporary_limit;
	profile->domains = build->options->domains;
	profile->at_time_ns = build->options->at_peak ? replay->peak_time_ns :
		replay->at_mark_seen || replay->at_time_ns ? replay->at_time_ns :
		build->options->at_ns < profile->duration_ns ? build->options->at_ns : profile->duration_ns;
	for (unsigned width = 0; width < REPLAY_SIZE_BINS; width++) {
		profile->size_bins[width] = (struct size_bin){
			.min = width ? (uint64_t)1 << (width - 1) : 0, .max = width ? ((uint64_t)1 << (width - 1)) * 2 - 1 : 0,
			.count = replay->bin_count[width], .bytes = replay->bin_bytes[width] };
		if (replay->bin_count[width])
			profile->size_bin_count = width + 1;
	}
}

void build_finish(struct build *build)
{
	analyses_finish(&build->analyses);
	replay_finish(&build->replay);
	for (uint32_t i = 0; build->captures && i < build->capture_count; i++) {
		capture_close(build->captures[i].capture);
		free(build->captures[i].node_of);
		map64_finish(&build->captures[i].frame_spans);
	}
	free(build->captures);
	free(build->spans);
	free(build->span_frames);
	free(build->frame_slots);
	free(build->frame_keys);
	free(build->thread_of);
	map64_finish(&build->nodes);
}

/*
 * Opens the capture at paths[i], with all further paths that are segments of the same run.  One that was read with an
 * earlier path: true, and *out is NULL.
 */
static bool open_run(struct capture **out, const char *const *paths, size_t count, size_t i, struct error *error)
{
	const char **same;
	uint64_t run_id, other_id;
	uint32_t segment;
	size_t same_count = 0;
	bool ok;

	*out = NULL;
	if (count == 1 || !segments_peek(paths[i], &run_id, &segment))
		return capture_open(out, paths[i], error);
	for (size_t other = 0; other < i; other++)
		if (segments_peek(paths[other], &other_id, &segment) && other_id == run_id)
			return true;
	same = malloc(count * sizeof(*same));
	if (!same)
		return fail_memory(error);
	for (size_t other = i; other < count; other++)
		if (segments_peek(paths[other], &other_id, &segment) && other_id == run_id)
			same[same_count++] = paths[other];
	ok = same_count == 1 ? capture_open(out, paths[i], error) : capture_open_segments(out, same, same_count, error);
	free(same);
	return ok;
}

static bool open_captures(struct build *build, const char *const *paths, size_t count)
{
	struct profile *profile = build->profile;

	if (count == 0 || count > UINT32_MAX / 2)
		return fail(build->error, STATUS_NO_INPUT, "no capture to read: name one");
	build->captures = calloc(count, sizeof(*build->captures));
	profile->captures = calloc(count, sizeof(*profile->captures));
	if (!build->captures || !profile->captures)
		return fail_memory(build->error);
	for (size_t i = 0; i < count; i++) {
		struct capture *now;

		if (!open_run(&now, paths, count, i, build->error))
			return false;
		if (!now)
			continue;
		build->captures[build->capture_count++].capture = now;
		for (size_t other = 0; other + 1 < build->capture_count; other++) {
			const struct capture *known = build->captures[other].capture;

			if (known->file_device == now->file_device && known->file_inode == now->file_inode)
				return fail(build->error, STATUS_USAGE, "%s is named twice: name each capture once", paths[i]);
		}
	}
	profile->capture_count = build->capture_count;
	return true;
}

bool profile_build(struct profile **out, const char *const *paths, size_t path_count,
	const struct profile_options *options, struct error *error)
{
	struct profile_owner *owner = calloc(1, sizeof(*owner));
	struct profile_options chosen = options ? *options : profile_options_default;
	struct build build = { .options = &chosen, .error = error };
	bool ok;

	*out = NULL;
	if (!owner)
		return fail_memory(error);
	/* A filter by frames needs frames. */
	if (chosen.function || chosen.file || chosen.module)
		chosen.need_stacks = true;
	build.profile = &owner->profile;
	build.strings = &owner->strings;
	ok = strings_init(build.strings, error) && compile_names(&build) &&
		prepare_analyses(&build, paths, path_count) && open_captures(&build, paths, path_count) &&
		replay_captures(&build) && build_describe_threads(&build) && take_analyses(&build) && build_tree(&build);
	for (uint32_t i = 0; ok && i < build.capture_count; i++)
		ok = build_describe_capture(&build, i);
	ok = ok && build_describe_marks(&build);
	if (ok)
		build_take_replay(&build);
	ok = ok && build_sites(&build);
	owner->epoch = build.replay.epoch;
	build_finish(&build);
	expression_free(build.window_names);
	if (!ok) {
		profile_free(&owner->profile);
		return false;
	}
	*out = &owner->profile;
	return true;
}

void profile_free_slices(struct profile *profile)
{
	free(profile->slices);
	free(profile->cells);
	free(profile->losses);
	free(profile->cell_spreads);
	free(profile->loss_spreads);
}

void profile_free(struct profile *profile)
{
	struct profile_owner *owner = (struct profile_owner *)profile;

	if (!profile)
		return;
	free(profile->captures);
	free(profile->frames);
	free(profile->nodes);
	free(profile->sites);
	free(profile->threads);
	free(profile->timeline);
	free(profile->marks);
	free(profile->gaps);
	free(profile->observed);
	analysis_results_finish(profile->analyses, profile->analysis_count);
	free(profile->windows);
	profile_free_slices(profile);
	free(profile->spreads);
	strings_finish(&owner->strings);
	pool_finish(&owner->pool);
	free(owner);
}

void profile_inclusive(const struct profile *profile, struct cost *costs)
{
	memset(costs, 0, profile->node_count * sizeof(*costs));
	for (size_t i = 0; i < profile->site_count; i++) {
		if (profile_counts(profile, &profile->sites[i]))
			cost_add(&costs[profile->sites[i].node], &profile->sites[i].cost);
	}
	/* A child's index is larger than its parent's: from the last to the first, each is complete when it is added. */
	for (uint32_t i = profile->node_count; i-- > 1;)
		cost_add(&costs[profile->nodes[i].parent], &costs[i]);
}
