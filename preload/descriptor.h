/* SPDX-License-Identifier: MIT */
/*
 * A file of the system's that we keep open in a program which may close any descriptor, and open its own files under
 * the same number: we look whose it is before each use.  Reads are at an offset, so that even one that comes too late
 * takes nothing from another file.
 */
#ifndef SCTMEM_PRELOAD_DESCRIPTOR_H
#define SCTMEM_PRELOAD_DESCRIPTOR_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "sys.h"

struct descriptor {
	int fd;                       /* -1: none */
	dev_t device;
	ino_t inode;
};

static inline bool descriptor_is_ours(const struct descriptor *descriptor)
{
	struct stat stat;

	return descriptor->fd >= 0 && sys_stat(descriptor->fd, &stat) && stat.st_dev == descriptor->device &&
		stat.st_ino == descriptor->inode;
}

/* false: *error is the errno value. */
static inline bool descriptor_open(struct descriptor *descriptor, const char *path, int *error)
{
	struct stat stat;
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);

	descriptor->fd = -1;
	*error = -fd;
	if (fd < 0)
		return false;
	fd = sys_move_high(fd);
	if (!sys_stat(fd, &stat)) {
		sys_close(fd);
		return false;
	}
	*descriptor = (struct descriptor){ fd, stat.st_dev, stat.st_ino };
	return true;
}

static inline void descriptor_close(struct descriptor *descriptor)
{
	if (descriptor_is_ours(descriptor))
		sys_close(descriptor->fd);
	descriptor->fd = -1;
}

#endif
