/* SPDX-License-Identifier: MIT */
/*
 * A file's mappings belong together from that of its beginning on, until one of another file, of its beginning again,
 * or of executable memory without a file; data, stacks and holes may lie between.
 *
 * To print a line of /proc/self/maps costs the kernel half a microsecond, and a process may have thousands of them.  So
 * where it answers for single mappings, the few around an address are asked for: back to the file's beginning, then on.
 */
#include "mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "sys.h"

#include "banned.h"

enum {
	TEXT_SIZE = 32768,
	STEPS_MAX = 64,               /* from an address to either end of its group */
	NEAR_MAX = 8,                 /* mappings, from one address to another that is near */
};

/* In <linux/fs.h> of newer systems. */
enum { QUERY_EXECUTABLE = 4, QUERY_OR_NEXT = 16 };

struct query {
	uint64_t size, flags, address;
	uint64_t start, end, permissions, page_size, offset, inode;
	uint32_t major, minor, name_size, build_id_size;
	uint64_t name, build_id;
};
#define QUERY _IOWR('f', 17, struct query)

struct mapping {
	uint64_t start, end, offset;
	uint64_t device_inode;        /* 0: no file */
	bool executable;
};

/* Tells files apart. */
static uint64_t identity(uint64_t major, uint64_t minor, uint64_t inode)
{
	return inode ? (major << 52 ^ minor << 44 ^ inode) | 1ull << 63 : 0;
}

/* Data, stacks, the holes between a module's segments, and the kernel's own. */
static bool is_passed_over(const struct mapping *mapping)
{
	return (mapping->device_inode == 0 && !mapping->executable) || mapping->start >> 47;
}

static void begin_group(struct mappings_group *group, const struct mapping *mapping)
{
	*group = (struct mappings_group){ .start = mapping->start, .end = mapping->end, .first_offset = mapping->offset,
		.device_inode = mapping->device_inode, .executable = mapping->executable };
}

/* false: it is none of the group's. */
static bool add_to_group(struct mappings_group *group, const struct mapping *mapping)
{
	if (mapping->device_inode == 0 || mapping->device_inode != group->device_inode ||
			mapping->offset <= group->first_offset || mapping->start < group->end)
		return false;
	group->end = mapping->end;
	group->executable |= mapping->executable;
	return true;
}

static const char *read_hex(const char *at, uint64_t *out)
{
	for (*out = 0;; at++) {
		unsigned digit = (unsigned)(*at - '0');

		if (digit > 9) {
			digit = (unsigned)(*at - 'a') + 10;
			if (digit < 10 || digit > 15)
				return at;
		}
		*out = *out << 4 | digit;
	}
}

/* One line of maps: "start-end perms offset major:minor inode   path"; returns the path. */
static const char *read_line(const char *line, struct mapping *mapping)
{
	uint64_t major, minor, inode = 0;
	const char *at = read_hex(line, &mapping->start);

	at = read_hex(at + 1, &mapping->end);
	const char *permissions = at + 1;

	at = read_hex(permissions + 5, &mapping->offset);
	at = read_hex(at + 1, &major);
	at = read_hex(at + 1, &minor);
	for (at++; *at >= '0' && *at <= '9'; at++)
		inode = inode * 10 + (uint64_t)(*at - '0');
	while (*at == ' ')
		at++;
	mapping->device_inode = identity(major, minor, inode);
	mapping->executable = permissions[2] == 'x';
	return at;
}

/* What is read, line by line; one thread has it. */
struct reading {
	void (*visit)(void *context, const struct mappings_group *group);
	void *context;
	struct mappings_group group;
};

static void take_line(void *context, const char *line)
{
	struct reading *reading = context;
	struct mappings_group *group = &reading->group;
	struct mapping mapping;
	const char *path = read_line(line, &mapping);
	const size_t length = strlen(path);

	if (is_passed_over(&mapping) || add_to_group(group, &mapping))
		return;
	reading->visit(reading->context, group);
	begin_group(group, &mapping);
	if (length < MAPPINGS_PATH_SIZE && (mapping.device_inode || strcmp(path, "[vdso]") == 0))
		memcpy(group->path, path, length + 1);
}

/* false: not all could be read. */
static bool read_lines(char text[TEXT_SIZE], void (*take)(void *context, const char *line), void *context)
{
	int fd = sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	size_t length = 0;
	long got;

	if (fd < 0)
		return false;
	while ((got = sys_read(fd, text + length, TEXT_SIZE - 1 - length)) > 0) {
		length += (size_t)got;
		text[length] = 0;
		char *line = text, *end;

		while ((end = strchr(line, '\n'))) {
			*end = 0;
			take(context, line);
			line = end + 1;
		}
		length -= (size_t)(line - text);
		memmove(text, line, length);
		if (length == TEXT_SIZE - 1)
			length = 0;           /* a path longer than any path */
	}
	sys_close(fd);
	return got == 0;
}

bool mappings_read(void (*visit)(void *context, const struct mappings_group *group), void *context)
{
	static struct reading reading;
	static char text[TEXT_SIZE];

	reading.visit = visit;
	reading.context = context;
	reading.group = (struct mappings_group){ 0 };
	const bool ok = read_lines(text, take_line, &reading);

	visit(context, &reading.group);
	return ok;
}

/* This kernel does not know the question. */
static _Atomic bool unanswered;

/* 0, or the kernel's error; the name only if there is room for one. */
static long ask(int fd, uint64_t address, uint64_t flags, struct mapping *mapping, char *name, size_t name_size)
{
	struct query query = { .size = sizeof(query), .flags = flags, .address = address, .name = (uintptr_t)name,
		.name_size = (uint32_t)name_size };
	const long result = sys_call(SYS_ioctl, fd, (long)QUERY, (long)&query, 0, 0, 0);

	if (result == -ENOTTY)
		unanswered = true;
	*mapping = (struct mapping){ .start = query.start, .end = query.end, .offset = query.offset,
		.device_inode = identity(query.major, query.minor, query.inode),
		.executable = query.permissions & QUERY_EXECUTABLE };
	return result;
}

/* Goes back from a mapping of a file to that of its beginning. */
static bool find_beginning(int fd, struct mapping *mapping)
{
	const uint64_t file = mapping->device_inode;

	if (file == 0)
		return false;
	for (int steps = 0; mapping->device_inode != file || mapping->offset != 0; steps++) {
		if (steps == STEPS_MAX || ask(fd, mapping->start - 1, 0, mapping, NULL, 0) != 0)
			return false;
		if (mapping->device_inode != file && !is_passed_over(mapping))
			return false;
	}
	return true;
}

/* The group of a mapping. */
static bool find_group(int fd, struct mapping mapping, struct mappings_group *group)
{
	const uint64_t address = mapping.start;
	uint64_t at;
	long result = 0;

	if (!find_beginning(fd, &mapping))
		return false;
	begin_group(group, &mapping);
	at = mapping.end;
	for (int steps = 0; steps < STEPS_MAX && (result = ask(fd, at, QUERY_OR_NEXT, &mapping, NULL, 0)) == 0; steps++) {
		if (!is_passed_over(&mapping) && !add_to_group(group, &mapping))
			break;
		at = mapping.end;
	}
	if (result != 0 && result != -ENOENT)
		return false;
	/* It may have changed meanwhile; and the lines of maps have another form of a name with such a character. */
	return ask(fd, group->start, 0, &mapping, group->path, sizeof(group->path)) == 0 &&
		mapping.device_inode == group->device_inode && !strchr(group->path, '\n') && address < group->end;
}

/* A descriptor to ask about mappings; negative: reading all of them is the way. */
static int open_to_ask(void)
{
	return unanswered ? -1 : sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
}

bool mappings_around(uintptr_t address, struct mappings_group *group)
{
	const int fd = sys_is_filtered() ? -1 : open_to_ask();
	struct mapping mapping;

	if (fd < 0)
		return false;
	const bool found = ask(fd, address, 0, &mapping, NULL, 0) == 0 && find_group(fd, mapping, group);

	sys_close(fd);
	return found;
}

struct search {
	const char *name;
	uintptr_t start;
	bool found;
};

static void compare_line(void *context, const char *line)
{
	struct search *search = context;
	struct mapping mapping;

	if (!search->found && strcmp(read_line(line, &mapping), search->name) == 0) {
		search->start = mapping.start;
		search->found = true;
	}
}

bool mappings_find(const char *name, uintptr_t near, uintptr_t *start)
{
	static char text[TEXT_SIZE];
	struct search search = { .name = name };
	const int fd = open_to_ask();

	for (int steps = 0; fd >= 0 && !search.found && steps < NEAR_MAX; steps++) {
		struct mapping mapping;

		text[0] = 0;
		if (ask(fd, near, 0, &mapping, text, sizeof(text)) != 0)
			break;
		near = mapping.start - 1;
		search.start = mapping.start;
		search.found = strcmp(text, name) == 0;
	}
	if (fd >= 0)
		sys_close(fd);
	if (!search.found)
		read_lines(text, compare_line, &search);
	*start = search.start;
	return search.found;
}
