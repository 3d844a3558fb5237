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
	return x->sequence != y->sequence ? (x->sequence < y->sequence ? -1 : 1) : strcmp(x->path, y->path);
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
	return count;
}

void find_free(struct found *found, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(found[i].path);
	free(found);
}
