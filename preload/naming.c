/* SPDX-License-Identifier: MIT */
/*
 * Called by output.c and lifecycle.c, before the first event and in fork children.  A process that records is
 * recognised by what it maps: a shared writable window of a file that begins with a capture's header (its own, or, in
 * a fork child without an event yet, the one it inherited).  That needs no environment variable and no descriptor that
 * a child could trip over.
 */
#include "naming.h"

#include <fcntl.h>
#include <gnu/libc-version.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>

#include "config.h"
#include "sys.h"

#include "banned.h"

#pragma weak gnu_get_libc_version      /* another libc does not have it: lifecycle.c */

enum {
	NAMES_TRIED_MAX = 100000,
	PROGRAM_NAME_MAX = 180,               /* bytes of it in a file name, which may have 255 */
	MISSING = -2,
	EXISTS = -17,
	NOT_A_CAPTURE = 1,
};

const char *naming_libc_version(void)
{
	return gnu_get_libc_version();
}

const char *naming_program(void)
{
	static char path[4096];
	long length = sys_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)path, sizeof(path) - 1, 0, 0);

	path[length > 0 ? length : 0] = 0;
	char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Text under construction; too long leaves `full` set. */
struct builder {
	char *at, *end;
	bool full;
};

static void put_bytes(struct builder *builder, const char *bytes, size_t size)
{
	if (size >= (size_t)(builder->end - builder->at)) {
		builder->full = true;
		return;
	}
	memcpy(builder->at, bytes, size);
	builder->at += size;
	*builder->at = 0;
}

static void put_number(struct builder *builder, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	put_bytes(builder, digits + at, sizeof(digits) - at);
}

/* The configured pattern as an absolute path. */
static bool expand(char *path, size_t size, uint32_t sequence, bool *has_sequence, bool *has_pid)
{
	struct builder builder = { path, path + size, false };
	struct utsname system;
	const char *program = naming_program();

	*path = 0;
	*has_sequence = *has_pid = false;
	if (config.out[0] != '/') {
		long length = sys_call(SYS_getcwd, (long)path, (long)size, 0, 0, 0, 0);

		if (length <= 1 || path[0] != '/')
			return false;
		builder.at = path + length - 1;
		if (builder.at[-1] != '/')
			put_bytes(&builder, "/", 1);
	}
	for (const char *from = config.out; *from; from++) {
		if (*from != '%' || !from[1]) {
			put_bytes(&builder, from, 1);
			continue;
		}
		switch (*++from) {
		case 'p':
			put_number(&builder, (uint64_t)sys_pid());
			*has_pid = true;
			break;
		case 'h':
			if (sys_call(SYS_uname, (long)&system, 0, 0, 0, 0, 0) == 0)
				put_bytes(&builder, system.nodename, strlen(system.nodename));
			break;
		case 'e':
			put_bytes(&builder, program, strnlen(program, PROGRAM_NAME_MAX));
			break;
		case 'n':
			put_number(&builder, sequence);
			*has_sequence = true;
			break;
		default:
			put_bytes(&builder, from, 1);
		}
	}
	return !builder.full;
}

/* Of the file at `path`: 0, -errno where it cannot be opened, NOT_A_CAPTURE. */
static int open_header(const char *path, struct capture_header *header)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);

	if (fd < 0)
		return fd;
	bool ok = sys_read(fd, header, sizeof(*header)) == (long)sizeof(*header) &&
		memcmp(header->magic, CAPTURE_MAGIC, 8) == 0;

	sys_close(fd);
	return ok ? 0 : NOT_A_CAPTURE;
}

static bool read_header(const char *path, struct capture_header *header)
{
	return open_header(path, header) == 0;
}

/* When this process began, on the wall clock; 0 when unknown.  Field 22 of /proc/self/stat, in ticks since boot. */
static uint64_t process_start_ns(void)
{
	char text[1024];
	long length = sys_read_file("/proc/self/stat", text, sizeof(text));
	char *at = length > 0 ? strrchr(text, ')') : NULL;
	uint64_t ticks = 0;

	if (!at)
		return 0;
	for (int field = 2; field < 22; field++) {
		at = strchr(at + 1, ' ');
		if (!at)
			return 0;
	}
	for (at++; *at >= '0' && *at <= '9'; at++)
		ticks = ticks * 10 + (uint64_t)(*at - '0');
	uint64_t boot = sys_clock_ns(CLOCK_REALTIME) - sys_clock_ns(CLOCK_BOOTTIME);

	return boot + ticks * 10000000u;      /* USER_HZ is 100 everywhere that matters */
}

/* Whether the file at `path` is a capture that this process wrote before it executed what it is now. */
static bool is_predecessor(const char *path, struct capture_header *header)
{
	enum { SLACK_NS = 50000000 };         /* start times are in ticks of 10 ms */
	uint64_t start = process_start_ns();

	return read_header(path, header) && header->pid == (uint32_t)sys_pid() && start != 0
		&& header->start_realtime_ns + SLACK_NS >= start;
}

static int create(const char *path)
{
	return sys_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool with_suffix(char *path, size_t size, size_t length, uint64_t number)
{
	struct builder builder = { path + length, path + size, false };

	put_bytes(&builder, ".", 1);
	put_number(&builder, number);
	return !builder.full;
}

/* The name is taken by our own predecessor: it gets a number, we get the name.  EXISTS: that cannot be. */
static int succeed(struct naming *naming, char *path, size_t size, const struct capture_header *old)
{
	static char renamed[4096];
	size_t length = strlen(path);

	if (length + 16 > sizeof(renamed) || length >= size)
		return EXISTS;
	memcpy(renamed, path, length + 1);
	for (uint32_t number = old->sequence;; number++) {
		enum { NO_REPLACE = 1 };

		if (number == NAMES_TRIED_MAX || !with_suffix(renamed, sizeof(renamed), length, number))
			return EXISTS;
		long result = sys_call(SYS_renameat2, AT_FDCWD, (long)path, AT_FDCWD, (long)renamed, NO_REPLACE, 0);

		if (result == 0)
			break;
		if (result != EXISTS)
			return EXISTS;        /* a file system that cannot: the name stays taken */
	}
	naming->sequence = old->sequence + 1;
	naming->origin.origin = CAPTURE_ORIGIN_EXEC;
	naming->origin.parent_path = renamed;
	naming->origin.parent_start_realtime_ns = old->start_realtime_ns;
	return create(path);
}

int naming_create(struct naming *naming, char *path, size_t size)
{
	bool child = naming->origin.origin == CAPTURE_ORIGIN_FORK || naming->origin.origin == CAPTURE_ORIGIN_EXEC_CHILD;
	bool has_sequence, has_pid;
	struct capture_header old;

	for (uint32_t number = 0; number < NAMES_TRIED_MAX; number++) {
		if (!expand(path, size, number, &has_sequence, &has_pid))
			return -1;
		/* A child whose name has no pid in it gets its pid behind it. */
		if (!has_pid && child && !with_suffix(path, size, strlen(path), (uint64_t)sys_pid()))
			return -1;
		size_t length = strlen(path);

		if (number > 0 && !has_sequence && !with_suffix(path, size, length, number))
			return -1;
		/* Only ever a capture: a mistaken name must not cost anybody a file. */
		bool attached = naming->origin.origin == CAPTURE_ORIGIN_ATTACH;

		if (number == 0 && config.force && (attached || naming->origin.origin == CAPTURE_ORIGIN_START)
				&& read_header(path, &old) && (attached || !is_predecessor(path, &old)))
			sys_call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0);
		int fd = create(path);

		if (fd >= 0 || fd != EXISTS)
			return fd;
		if (!attached && naming->origin.origin != CAPTURE_ORIGIN_FORK && is_predecessor(path, &old)) {
			if (!has_sequence && (fd = succeed(naming, path, size, &old)) != EXISTS)
				return fd;
			naming->sequence = old.sequence + 1;
			naming->origin.origin = CAPTURE_ORIGIN_EXEC;
			naming->origin.parent_start_realtime_ns = old.start_realtime_ns;
		}
	}
	return -1;
}

void naming_segments_begin(struct naming_segments *segments, const char *path)
{
	segments->path = path;
	segments->numbers[1] = 1;
}

/* The number goes before the ending ".bin", at least six digits long, so that names sort. */
static bool segment_path(const struct naming_segments *segments, uint32_t number, char *path, size_t size)
{
	struct builder builder = { path, path + size, false };
	size_t length = strlen(segments->path);
	const bool ends = length > 4 && memcmp(segments->path + length - 4, ".bin", 4) == 0;

	put_bytes(&builder, segments->path, ends ? length - 4 : length);
	if (number > 1) {
		put_bytes(&builder, ".", 1);
		for (uint32_t least = 100000; number < least && least > 1; least /= 10)
			put_bytes(&builder, "0", 1);
		put_number(&builder, number);
	}
	if (ends)
		put_bytes(&builder, ".bin", 4);
	return !builder.full;
}

int naming_segment_create(struct naming_segments *segments, uint64_t segment, char *path, size_t size)
{
	const uint32_t before = segments->numbers[(segment - 1) % NAMING_SEGMENTS_MAX];

	for (uint32_t number = before + 1; number <= before + NAMES_TRIED_MAX; number++) {
		if (!segment_path(segments, number, path, size))
			return -36;           /* ENAMETOOLONG */
		int fd = create(path);

		if (fd == EXISTS)
			continue;
		segments->numbers[segment % NAMING_SEGMENTS_MAX] = number;
		return fd;
	}
	return EXISTS;
}

bool naming_segment_remove(const struct naming_segments *segments, uint64_t segment, uint64_t run_id)
{
	static char path[4096];
	struct capture_header header;

	if (!segment_path(segments, segments->numbers[segment % NAMING_SEGMENTS_MAX], path, sizeof(path)))
		return true;
	int result = open_header(path, &header);

	/* No descriptor to be had is no reason to forget it. */
	if (result < 0)
		return result == MISSING;
	if (result == NOT_A_CAPTURE || header.run_id != run_id || header.segment != segment)
		return true;
	return sys_call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0) == 0;
}

/* Whether its user has ended the recording (sctmem detach): what is still mapped of it says nothing. */
static bool was_ended(const char *path)
{
	struct capture_status status = { 0 };
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);

	if (fd < 0)
		return false;
	bool ended = sys_pread(fd, &status, sizeof(status), CAPTURE_STATUS_OFFSET) == (long)sizeof(status) &&
		status.state == CAPTURE_STOPPED_USER;

	sys_close(fd);
	return ended;
}

/* Looks at one line of a maps file. */
static bool line_is_capture(char *line, size_t size, struct capture_header *header)
{
	char *name = strchr(line, '/');
	char *mode = strchr(line, ' ');

	if (!name || !mode || (strncmp(mode, " rw-s ", 6) != 0 && strncmp(mode, " r--s ", 6) != 0) || strlen(name) >= size)
		return false;
	/* Opening a device can have effects. */
	if (strncmp(name, "/dev/", 5) == 0 && strncmp(name, "/dev/shm/", 9) != 0)
		return false;
	return read_header(name, header) && !was_ended(name);
}

bool naming_parent_records(char *path, size_t size, uint64_t *start_realtime_ns)
{
	static char buffer[16384];
	uint32_t pid = (uint32_t)sys_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	struct builder builder = { buffer, buffer + sizeof(buffer), false };
	struct capture_header header;
	size_t length = 0;
	bool found = false, exact = false;

	put_bytes(&builder, "/proc/", 6);
	put_number(&builder, pid);
	put_bytes(&builder, "/maps", 5);
	int fd = sys_open(buffer, O_RDONLY | O_CLOEXEC, 0);

	while (fd >= 0 && !exact) {
		long got = sys_read(fd, buffer + length, sizeof(buffer) - 1 - length);

		if (got <= 0)
			break;
		length += (size_t)got;
		buffer[length] = 0;
		char *line = buffer, *end;

		while (!exact && (end = strchr(line, '\n'))) {
			*end = 0;
			/* A fork child maps its parent's capture as well as its own. */
			if (line_is_capture(line, size, &header) && (!found || header.pid == pid)) {
				char *name = strchr(line, '/');

				memcpy(path, name, strlen(name) + 1);
				*start_realtime_ns = header.start_realtime_ns;
				found = true;
				exact = header.pid == pid;
			}
			line = end + 1;
		}
		length -= (size_t)(line - buffer);
		memmove(buffer, line, length);
		if (length == sizeof(buffer) - 1)
			length = 0;
	}
	if (fd >= 0)
		sys_close(fd);
	return found;
}

void naming_join_family(const char *path)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);

	if (fd < 0)
		return;
	sys_call(SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, fd, 0);
	sys_close(fd);
}
