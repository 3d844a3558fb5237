/* SPDX-License-Identifier: MIT */
/*
 * See target.h.  A process may live in other name spaces: its capture is opened under /proc/PID/root when the path does
 * not lead to the same file from here, and through its descriptors when the file has lost its name.
 */
#include "target.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "find.h"
#include "memory.h"
#include "segments.h"

/* One shared writable mapping of a file. */
struct mapped_file {
	dev_t device;
	ino_t inode;
	char *path;
};

static FILE *open_proc(uint32_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%" PRIu32 "/%s", pid, name);
	return fopen(path, "re");
}

/* A line of maps; true when it is the beginning of a file, mapped shared and writable. */
static bool parse_mapping(char *line, struct mapped_file *out)
{
	unsigned major_number, minor_number;
	uint64_t offset, inode;
	char flags[8];
	int used = 0;

	if (sscanf(line, "%*x-%*x %7s %" SCNx64 " %x:%x %" SCNu64 " %n", flags, &offset, &major_number, &minor_number, &inode,
		&used) != 5 || used == 0 || memcmp(flags, "rw-s", 4) != 0 || offset != 0 || inode == 0)
		return false;
	line[strcspn(line, "\n")] = 0;
	out->device = makedev(major_number, minor_number);
	out->inode = (ino_t)inode;
	out->path = line + used;
	return true;
}

static bool is_same_file(int file, const struct mapped_file *wanted)
{
	struct stat status;

	return fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_ino == wanted->inode &&
		major(status.st_dev) == major(wanted->device) && minor(status.st_dev) == minor(wanted->device);
}

/* Opens `path` if it is the file wanted; *path_out becomes a copy of it. */
static int open_if_same(const char *path, int flags, const struct mapped_file *wanted, char **path_out)
{
	int file = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (file < 0)
		return -1;
	if (!is_same_file(file, wanted)) {
		close(file);
		errno = ENOENT;
		return -1;
	}
	*path_out = memory_text(path);
	return file;
}

/* A file without a name can still be opened through a descriptor that the process has of it. */
static int open_by_descriptor(uint32_t pid, int flags, const struct mapped_file *wanted, char **path_out)
{
	char folder[64], path[sizeof folder + 256];
	int file = -1;
	DIR *directory;

	snprintf(folder, sizeof folder, "/proc/%" PRIu32 "/fd", pid);
	directory = opendir(folder);
	for (struct dirent *entry; file < 0 && directory && (entry = readdir(directory));) {
		struct stat status;

		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (stat(path, &status) == 0 && status.st_ino == wanted->inode)
			file = open_if_same(path, flags, wanted, path_out);
	}
	if (directory)
		closedir(directory);
	return file;
}

static int open_mapped(uint32_t pid, int flags, const struct mapped_file *wanted, char **path_out, bool *unlinked)
{
	char rooted[64 + 4096];
	int file = open_if_same(wanted->path, flags, wanted, path_out);

	*unlinked = false;
	if (file >= 0 || errno == EACCES)
		return file;
	snprintf(rooted, sizeof rooted, "/proc/%" PRIu32 "/root%s", pid, wanted->path);
	file = open_if_same(rooted, flags, wanted, path_out);
	if (file >= 0)
		return file;
	*unlinked = true;
	return open_by_descriptor(pid, flags, wanted, path_out);
}

/* The process's number in its own name space, which is what it writes into its capture. */
static uint32_t inner_pid(uint32_t pid)
{
	FILE *status = open_proc(pid, "status");
	uint32_t inner = pid;
	char line[256];

	while (status && fgets(line, sizeof line, status)) {
		char *last;

		if (strncmp(line, "NSpid:", 6) != 0)
			continue;
		line[strcspn(line, "\n")] = 0;
		last = strrchr(line, '\t');
		inner = last ? (uint32_t)strtoul(last + 1, NULL, 10) : pid;
	}
	if (status)
		fclose(status);
	return inner;
}

static bool read_header(int file, struct capture_header *header)
{
	return pread(file, header, sizeof *header, 0) == (ssize_t)sizeof *header &&
		memcmp(header->magic, CAPTURE_MAGIC, sizeof header->magic) == 0;
}

/* "root", or the number. */
static const char *owner_of(uint32_t pid, char *out, size_t size)
{
	char path[64];
	struct stat status;
	struct passwd *user;

	snprintf(path, sizeof path, "/proc/%" PRIu32, pid);
	if (stat(path, &status) != 0)
		return "another user";
	user = getpwuid(status.st_uid);
	if (user)
		snprintf(out, size, "%s", user->pw_name);
	else
		snprintf(out, size, "user %u", (unsigned)status.st_uid);
	return out;
}

static bool fail_access(uint32_t pid, const char *what, struct error *error)
{
	char owner[64];

	if (geteuid() == 0)
		return fail(error, STATUS_NO_INPUT, "%s process %" PRIu32 ": permission denied, although we are root: "
			"do this in its container", what, pid);
	return fail(error, STATUS_NO_INPUT, "%s process %" PRIu32 ", which is %s's: do this as that user, or as root", what,
		pid, owner_of(pid, owner, sizeof owner));
}

static bool fail_unrecorded(uint32_t pid, uint32_t parent, struct error *error)
{
	if (parent)
		return fail(error, STATUS_NO_INPUT, "process %" PRIu32 " is a child of the recorded process %" PRIu32
			" and has no capture of its own: it has not allocated yet, or children are not followed (SCTMEM_FOLLOW)", pid,
			parent);
	return fail(error, STATUS_NO_INPUT, "process %" PRIu32 " is not being recorded: start it by sctmem run, "
		"or with LD_PRELOAD=libsctmem.so", pid);
}

static bool open_process(struct target *target, uint32_t pid, int flags, struct error *error)
{
	FILE *maps = open_proc(pid, "maps");
	uint32_t inner, parent = 0;
	char *line = NULL;
	size_t size = 0;
	int problem = 0;

	if (!maps && (errno == EACCES || errno == EPERM))
		return fail_access(pid, "cannot look into", error);
	if (!maps)
		return fail(error, STATUS_NO_INPUT, "no process %" PRIu32 ": it has ended, or lives in another name space", pid);
	inner = inner_pid(pid);
	errno = 0;
	while (target->file < 0 && getline(&line, &size, maps) > 0) {
		struct mapped_file mapped;

		if (!parse_mapping(line, &mapped))
			continue;
		target->file = open_mapped(pid, flags, &mapped, &target->path, &target->unlinked);
		if (target->file < 0) {
			problem = errno;
			continue;
		}
		if (read_header(target->file, &target->header) && target->header.pid == inner)
			continue;
		if (memcmp(target->header.magic, CAPTURE_MAGIC, sizeof target->header.magic) == 0)
			parent = target->header.pid;
		close(target->file);
		free(target->path);
		target->file = -1;
		target->path = NULL;
	}
	if (ferror(maps))
		problem = errno;
	free(line);
	fclose(maps);
	if (target->file >= 0) {
		target->run = target->header.segment ? segments_first_beside(target->path) : NULL;
		target->pid = pid;
		target->alive = true;
		return true;
	}
	return problem == EACCES || problem == EPERM ? fail_access(pid, "cannot open the capture of", error)
		: fail_unrecorded(pid, parent, error);
}

static bool open_file(struct target *target, const char *path, int flags, struct error *error)
{
	target->file = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (target->file < 0 && errno == EACCES)
		return fail(error, STATUS_NO_INPUT, "cannot open %s: permission denied: do this as the user who recorded it", path);
	if (target->file < 0)
		return fail(error, STATUS_NO_INPUT, "cannot open %s: %s: name a process or a capture", path, strerror(errno));
	if (!read_header(target->file, &target->header))
		return fail(error, STATUS_BAD_CAPTURE,
			"%s is not a capture of sctmem (offset 0): name a process, or the capture that it writes", path);
	target->path = memory_text(path);
	return true;
}

static bool open_capture(struct target *target, const char *path, int flags, struct error *error)
{
	char *left = access(path, F_OK) != 0 && errno == ENOENT ? segments_first_left(path) : NULL;
	char *newest = segments_newest_beside(left ? left : path);
	const bool ok = open_file(target, newest ? newest : path, flags, error);

	free(left);
	free(newest);
	if (!ok)
		return false;
	target->run = memory_text(path);
	target->pid = target->header.pid;
	target->alive = target_is_alive(target);
	return true;
}

bool target_open(struct target *target, const char *name, bool writable, struct error *error)
{
	const int flags = writable ? O_RDWR : O_RDONLY;
	char *newest = NULL, *end = NULL;
	unsigned long pid;
	bool ok;

	*target = (struct target){ .file = -1 };
	if (!name && !find_newest_said(&newest, error))
		return false;
	pid = name && isdigit((unsigned char)*name) ? strtoul(name, &end, 10) : 0;
	ok = pid > 0 && pid <= INT32_MAX && *end == 0 && access(name, F_OK) != 0
		? open_process(target, (uint32_t)pid, flags, error) : open_capture(target, newest ? newest : name, flags, error);
	free(newest);
	if (ok && !target->run)
		target->run = memory_text(target->path);
	if (!ok)
		target_close(target);
	return ok;
}

void target_close(struct target *target)
{
	if (target->file >= 0)
		close(target->file);
	free(target->path);
	free(target->run);
	*target = (struct target){ .file = -1 };
}

bool target_is_alive(const struct target *target)
{
	struct stat status;
	FILE *maps = target->pid ? open_proc(target->pid, "maps") : NULL;
	bool found = false;
	char *line = NULL;
	size_t size = 0;

	if (!maps)
		return target->pid && (errno == EACCES || errno == EPERM);
	if (fstat(target->file, &status) == 0) {
		while (!found && getline(&line, &size, maps) > 0) {
			struct mapped_file mapped;

			found = parse_mapping(line, &mapped) && is_same_file(target->file, &mapped);
		}
	}
	free(line);
	fclose(maps);
	return found;
}

char target_process_state(const struct target *target)
{
	FILE *stat = target->pid ? open_proc(target->pid, "stat") : NULL;
	char line[512], *end;
	char state = 0;

	/* The name in brackets may hold anything, brackets too. */
	if (stat && fgets(line, sizeof line, stat) && (end = strrchr(line, ')')) && end[1] == ' ')
		state = end[2];
	if (stat)
		fclose(stat);
	return state;
}

bool target_read_status(const struct target *target, struct capture_status *status, struct error *error)
{
	if (pread(target->file, status, sizeof *status, CAPTURE_STATUS_OFFSET) == (ssize_t)sizeof *status)
		return true;
	return fail(error, STATUS_BAD_CAPTURE,
		"%s is cut within its header (offset %d): copy it again from where it was recorded", target->path,
		CAPTURE_STATUS_OFFSET);
}
