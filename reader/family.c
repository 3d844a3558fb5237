/* SPDX-License-Identifier: MIT */
/*
 * See family.h.  A header names the process and its parent by numbers, which are used again in time: of several
 * processes of the parent's number the last that began before the child is meant.  A program that another was replaced
 * by (exec) has the number of that, and a later sequence: it counts as its child.
 */
#include "family.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "find.h"
#include "memory.h"
#include "segments.h"

enum { NOBODY = -1, MEMBERS_MAX = 4096, DEPTH_MAX = 64 };

/* The one that this one comes from; NOBODY. */
static long origin_of(const struct found *found, size_t count, size_t child)
{
	long best = NOBODY;

	for (size_t i = 0; i < count; i++) {
		const bool replaced = found[i].pid == found[child].pid && found[i].sequence < found[child].sequence;

		if (i == child || (found[i].pid != found[child].parent_pid && !replaced) ||
			found[i].start_realtime_ns > found[child].start_realtime_ns ||
			(found[i].start_realtime_ns == found[child].start_realtime_ns && i > child))
			continue;
		/* Its own past rather than its parent. */
		if (best == NOBODY || (replaced && found[best].pid != found[child].pid) ||
			((found[best].pid != found[child].pid || replaced) &&
			found[i].start_realtime_ns >= found[best].start_realtime_ns))
			best = (long)i;
	}
	return best;
}

static char *join_arguments(const char *const *arguments)
{
	size_t size = 1;
	char *joined;

	for (const char *const *word = arguments; *word; word++)
		size += strlen(*word) + 1;
	joined = memory_new(size, 1);
	for (const char *const *word = arguments; *word; word++) {
		strcat(joined, *word);
		if (word[1])
			strcat(joined, " ");
	}
	return joined;
}

static uint64_t resident_of(uint32_t pid)
{
	uint64_t size, resident = 0;
	char path[64];

	snprintf(path, sizeof path, "/proc/%" PRIu32 "/statm", pid);

	FILE *file = fopen(path, "re");

	if (file && fscanf(file, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
		resident = 0;
	if (file)
		fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void describe(struct family_member *member, const struct found *found)
{
	struct capture *capture;
	struct error ignored = { 0 };

	*member = (struct family_member){ .path = memory_text(found->path), .pid = found->pid,
		.parent_pid = found->parent_pid, .start_realtime_ns = found->start_realtime_ns };
	if (!capture_open_growing(&capture, found->path, &ignored)) {
		member->command = memory_text("");
		return;
	}
	member->command = join_arguments(capture->arguments);
	member->file_bytes = capture->status.file_bytes;
	member->segment = capture->segment_count ? capture->segments[capture->segment_count - 1].number : 0;
	member->alive = capture->alive;
	member->resident_bytes = capture->alive ? resident_of(found->pid) : 0;
	capture_close(capture);
}

static size_t add_below(struct family_member *members, size_t used, const struct found *found, const long *origins,
	size_t count, size_t at, size_t self, unsigned depth)
{
	if (used == MEMBERS_MAX || depth == DEPTH_MAX)
		return used;
	describe(&members[used], &found[at]);
	members[used].depth = depth;
	members[used++].self = at == self;
	for (size_t i = 0; i < count; i++)
		if (origins[i] == (long)at)
			used = add_below(members, used, found, origins, count, i, self, depth + 1);
	return used;
}

size_t family_list(const char *path, struct family_member **members)
{
	const char *slash = strrchr(path, '/');
	char *left = access(path, F_OK) != 0 ? segments_first_left(path) : NULL;
	char *pattern = memory_new(strlen(path) + 2, 1);
	size_t count, self = 0, used = 0;
	struct found *found, own;
	bool known;

	/* The folder is not a pattern, but the search splits at the last slash only. */
	snprintf(pattern, strlen(path) + 2, "%.*s*", slash ? (int)(slash - path + 1) : 0, path);
	known = find_check(left ? left : path, &own);
	count = find_matching(pattern, 0, &found);
	free(pattern);
	free(left);
	while (known && self < count && (found[self].pid != own.pid || found[self].run_id != own.run_id ||
		found[self].start_realtime_ns != own.start_realtime_ns || found[self].sequence != own.sequence))
		self++;
	*members = memory_new(MEMBERS_MAX, sizeof **members);
	if (known && self < count) {
		long *origins = memory_new(count, sizeof *origins);
		size_t eldest = self;

		for (size_t i = 0; i < count; i++)
			origins[i] = origin_of(found, count, i);
		for (unsigned depth = 0; origins[eldest] != NOBODY && depth < DEPTH_MAX; depth++)
			eldest = (size_t)origins[eldest];
		used = add_below(*members, 0, found, origins, count, eldest, self, 0);
		free(origins);
	}
	if (known)
		free(own.path);
	find_free(found, count);
	return used;
}

void family_free(struct family_member *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(members[i].path);
		free(members[i].command);
	}
	free(members);
}
