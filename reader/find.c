/* SPDX-License-Identifier: MIT */
/*
 * See find.h.  Files that cannot be opened are passed over: they are somebody else's.
 */
#include "find.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/capture.h"
#include "memory.h"
#include "segments.h"
#include "text.h"

bool find_check(const char *path, struct found *found)
{
	struct capture_header header;
	struct stat status;
	/* O_NONBLOCK: a pipe in the folder must not make us wait. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool is_capture;

	if (fd < 0)
		return false;
	is_capture = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
		read(fd, &header, sizeof header) == (ssize_t)sizeof header &&
		memcmp(header.magic, CAPTURE_MAGIC, sizeof header.magic) == 0;
	close(fd);
	if (!is_capture)
		return false;
	*found = (struct found){
		.path = memory_text(path),
		.modified_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000 + (uint64_t)status.st_mtim.tv_nsec,
		.start_realtime_ns = header.start_realtime_ns,
		.pid = header.pid,
		.parent_pid = header.parent_pid,
		.sequence = header.sequence,
		.segment = header.features & CAPTURE_SEGMENTS ? header.segment : 0,
		.run_id = header.run_id,
	};
	return true;
}

static char *join(const char *folder, const char *name)
{
	bool here = strcmp(folder, ".") == 0;
	size_t size = strlen(folder) + strlen(name) + 2;
	char *path = memory_new(size, 1);

	snprintf(path, size, "%s%s%s", here ? "" : folder, here || folder[strlen(folder) - 1] == '/' ? "" : "/", name);
	return path;
}

/* A later write through the mapping may not have touched the times: the start decides among equals. */
static bool newer(const struct found *a, const struct found *b)
{
	return a->modified_ns != b->modified_ns ? a->modified_ns > b->modified_ns
		: a->start_realtime_ns > b->start_realtime_ns;
}

/*
 * Of a run in segments the whole is meant, whose name is that of its first file, also when that is gone (segments.h):
 * capture.bin for capture.000007.bin.
 */
static void name_run(struct found *found)
{
	char *name = memory_text(found->path);
	size_t length = strlen(name), end = length > 4 && strcmp(name + length - 4, ".bin") == 0 ? length - 4 : length;
	size_t digits = end;
	uint64_t run_id;
	uint32_t segment;

	while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
		digits--;
	if (found->segment > 1 && end - digits >= 6 && digits > 1 && name[digits - 1] == '.') {
		memmove(name + digits - 1, name + end, length - end + 1);
		/* Unless something else is called that. */
		if (access(name, F_OK) != 0 || (segments_peek(name, &run_id, &segment) && run_id == found->run_id)) {
			free(found->path);
			found->path = name;
			return;
		}
	}
	free(name);
}

bool find_newest(const char *folder, char **path, struct error *error)
{
	DIR *directory = opendir(folder);
	struct found best = { 0 };

	if (!directory)
		return fail(error, STATUS_NO_INPUT, "cannot list %s: %s; name a capture", folder, strerror(errno));
	for (struct dirent *entry; (entry = readdir(directory));) {
		struct found found;

		if (entry->d_type != DT_REG && entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN)
			continue;

		char *name = join(folder, entry->d_name);

		if (find_check(name, &found)) {
			if (!best.path || newer(&found, &best)) {
				free(best.path);
				best = found;
			} else {
				free(found.path);
			}
		}
		free(name);
	}
	closedir(directory);
	if (!best.path)
		return fail(error, STATUS_NO_INPUT,
			"no capture in this folder; name one, or make one: sctmem run -- PROGRAM");
	name_run(&best);
	*path = best.path;
	return true;
}

bool find_newest_said(char **path, struct error *error)
{
	char shown[1024];

	if (!find_newest(".", path, error))
		return false;
	fprintf(stderr, "sctmem: reading %s, the newest capture here\n", text_escape(shown, sizeof shown, *path));
	return true;
}

static int by_start(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->start_realtime_ns != y->start_realtime_ns)
		return x->start_realtime_ns < y->start_realtime_ns ? -1 : 1;
	if (x->sequence != y->sequence)
		return x->sequence < y->sequence ? -1 : 1;
	if (x->run_id != y->run_id || x->segment == y->segment)
		return strcmp(x->path, y->path);
	return x->segment < y->segment ? -1 : 1;
}

/* Of each run in segments only one stays, under the name of the whole. */
static size_t join_runs(struct found *found, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		bool again = false;

		for (size_t j = kept; found[i].segment && !again && j-- > 0 &&
			found[j].start_realtime_ns == found[i].start_realtime_ns;)
			again = found[j].segment && found[j].run_id == found[i].run_id;
		if (again) {
			free(found[i].path);
			continue;
		}
		name_run(&found[i]);
		found[kept++] = found[i];
	}
	return kept;
}

size_t find_matching(const char *pattern, uint64_t since_ns, struct found **found)
{
	const char *slash = strrchr(pattern, '/');
	char *folder = memory_text(pattern);
	size_t count = 0, capacity = 0;

	if (slash)
		folder[slash == pattern ? 1 : slash - pattern] = 0;

	DIR *directory = opendir(slash ? folder : ".");

	*found = NULL;
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		struct found one;

		if (fnmatch(slash ? slash + 1 : pattern, entry->d_name, 0) != 0)
			continue;

		char *path = join(slash ? folder : ".", entry->d_name);

		if (find_check(path, &one)) {
			if (one.start_realtime_ns >= since_ns) {
				*found = memory_grow(*found, &capacity, count + 1, sizeof **found);
				(*found)[count++] = one;
			} else {
				free(one.path);
			}
		}
		free(path);
	}
	if (directory)
		closedir(directory);
	free(folder);
	if (count > 1)
		qsort(*found, count, sizeof **found, by_start);
	return join_runs(*found, count);
}

void find_free(struct found *found, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(found[i].path);
	free(found);
}
