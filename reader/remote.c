/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID: status, maps, mem, root.  Called by inject.c and cmd_attach.c.
 */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

static FILE *open_file(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

static void read_status_line(struct remote *remote, const char *line)
{
	unsigned user[4];
	int number;
	char state;

	if (sscanf(line, "Name: %63[^\n]", remote->name) == 1)
		return;
	if (sscanf(line, "State: %c", &state) == 1)
		remote->state = state;
	else if (sscanf(line, "TracerPid: %d", &number) == 1)
		remote->tracer = number;
	/* The effective one: it decides which files the process may open. */
	else if (sscanf(line, "Uid: %u %u %u %u", &user[0], &user[1], &user[2], &user[3]) == 4)
		remote->user = user[1];
	else if (sscanf(line, "Threads: %d", &number) == 1)
		remote->threads = (unsigned)number;
	else if (sscanf(line, "Seccomp: %d", &number) == 1)
		remote->seccomp = number;
	else if (sscanf(line, "Seccomp_filters: %d", &number) == 1)
		remote->seccomp_filters = (unsigned)number;
	else if (strncmp(line, "VmSize:", 7) == 0)
		remote->kernel = false;
	else if (strncmp(line, "x86_Thread_features:", 20) == 0)
		remote->shadow_stack = strstr(line, "shstk") != NULL;
}

static bool same_file(const char *a, const char *b)
{
	struct stat first, second;

	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
		first.st_ino == second.st_ino;
}

static bool same_link(const char *a, const char *b)
{
	char first[256], second[256];
	ssize_t one = readlink(a, first, sizeof first), two = readlink(b, second, sizeof second);

	return one > 0 && one == two && memcmp(first, second, (size_t)one) == 0;
}

bool remote_open(struct remote *remote, pid_t pid, struct error *error)
{
	char line[512], path[64];
	FILE *file = open_file(pid, "status");

	*remote = (struct remote){ .pid = pid, .memory = -1, .seccomp = -1, .kernel = true };
	if (!file)
		return fail(error, STATUS_NO_INPUT, "there is no process %d%s", (int)pid,
			errno == ENOENT ? "" : " that can be looked at");
	while (fgets(line, sizeof line, file))
		read_status_line(remote, line);
	fclose(file);
	if (remote->state == 'Z' || remote->state == 'X')
		return fail(error, STATUS_NO_INPUT, "process %d (%s) has ended already", (int)pid, remote->name);
	snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
	remote->same_root = same_file(path, "/");
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
	remote->same_root = remote->same_root && same_link(path, "/proc/self/ns/mnt");
	return true;
}

static void forget_mappings(struct remote *remote)
{
	for (size_t i = 0; i < remote->mapping_count; i++)
		free(remote->mappings[i].path);
	remote->mapping_count = remote->module_count = 0;
}

void remote_close(struct remote *remote)
{
	forget_mappings(remote);
	free(remote->mappings);
	free(remote->modules);
	if (remote->memory >= 0)
		close(remote->memory);
	*remote = (struct remote){ .memory = -1 };
}

bool remote_has_ended(pid_t pid)
{
	struct remote now;
	struct error ignored;
	bool there = remote_open(&now, pid, &ignored) && !now.kernel;

	remote_close(&now);
	return !there;
}

bool remote_failed(const struct remote *remote, const char *what, struct error *error)
{
	int code = errno;

	if (remote_has_ended(remote->pid))
		return fail(error, STATUS_NO_INPUT, "process %d ended meanwhile", (int)remote->pid);
	return fail(error, STATUS_CANNOT_TRACE, "cannot %s process %d: %s; it goes on as it was", what, (int)remote->pid,
		strerror(code));
}

bool remote_refused(const struct remote *remote, int code, struct error *error)
{
	char scope[8] = "0", who[128] = "";
	FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");

	if (file && !fgets(scope, sizeof scope, file))
		scope[0] = '0';
	if (file)
		fclose(file);
	/* One that has ended and is not yet waited for is refused as if it were forbidden. */
	if (remote_has_ended(remote->pid) || code == ESRCH || code == ENOENT)
		return fail(error, STATUS_NO_INPUT, "process %d has ended", (int)remote->pid);
	if (remote->tracer) {
		struct remote tracer;
		struct error ignored;

		if (remote_open(&tracer, remote->tracer, &ignored))
			snprintf(who, sizeof who, " (%s)", tracer.name);
		return fail(error, STATUS_CANNOT_TRACE, "process %d is traced by process %d%s, and only one can: detach that first",
			(int)remote->pid, (int)remote->tracer, who);
	}
	if (code != EPERM && code != EACCES)
		return fail(error, STATUS_CANNOT_TRACE, "cannot look into process %d: %s", (int)remote->pid, strerror(code));
	if (geteuid() != 0 && remote->user != geteuid())
		return fail(error, STATUS_CANNOT_TRACE, "process %d belongs to user %u: run this as that user, or as root (sudo)",
			(int)remote->pid, (unsigned)remote->user);
	if (geteuid() != 0 && scope[0] == '1')
		return fail(error, STATUS_CANNOT_TRACE, "this system lets a process be looked into by its own parents only: run "
			"this as root (sudo), or allow it with: sysctl kernel.yama.ptrace_scope=0");
	if (scope[0] == '2' || scope[0] == '3')
		return fail(error, STATUS_CANNOT_TRACE, scope[0] == '3' ?
			"this system lets no process be looked into (kernel.yama.ptrace_scope=3), until it is started anew" :
			"this system lets root alone look into processes (kernel.yama.ptrace_scope=2): run this as root (sudo)");
	return fail(error, STATUS_CANNOT_TRACE, "looking into process %d is not permitted: it has privileges that this has "
		"not, or a container forbids it (docker run --cap-add SYS_PTRACE); run this as root, on the host", (int)remote->pid);
}

bool remote_read(const struct remote *remote, uint64_t address, void *to, size_t size)
{
	return address <= INT64_MAX && pread(remote->memory, to, size, (off_t)address) == (ssize_t)size;
}

bool remote_write(const struct remote *remote, uint64_t address, const void *from, size_t size)
{
	return address <= INT64_MAX && pwrite(remote->memory, from, size, (off_t)address) == (ssize_t)size;
}

static void add_mapping(struct remote *remote, const char *line)
{
	struct remote_mapping mapping = { 0 };
	char mode[5] = "";
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &mapping.start, &mapping.end, mode,
			&mapping.offset, &at) < 4 || at == 0)
		return;
	mapping.readable = mode[0] == 'r';
	mapping.writable = mode[1] == 'w';
	mapping.executable = mode[2] == 'x';
	mapping.path = memory_text(line + at);
	mapping.path[strcspn(mapping.path, "\n")] = 0;
	remote->mappings = memory_grow(remote->mappings, &remote->mapping_capacity, remote->mapping_count + 1,
		sizeof *remote->mappings);
	remote->mappings[remote->mapping_count++] = mapping;
}

bool remote_look(struct remote *remote, struct error *error)
{
	char path[64], *line = NULL;
	size_t capacity = 0;
	FILE *file;

	if (remote->memory < 0) {
		snprintf(path, sizeof path, "/proc/%d/mem", (int)remote->pid);
		remote->memory = open(path, O_RDWR | O_CLOEXEC);
		if (remote->memory < 0)
			return remote_refused(remote, errno, error);
	}
	file = open_file(remote->pid, "maps");
	if (!file)
		return remote_refused(remote, errno, error);
	forget_mappings(remote);
	while (getline(&line, &capacity, file) > 0)
		add_mapping(remote, line);
	free(line);
	fclose(file);
	if (remote->mapping_count == 0)
		return fail(error, STATUS_NO_INPUT, "process %d has ended", (int)remote->pid);
	remote_read_modules(remote);
	return true;
}

const struct remote_mapping *remote_mapping_at(const struct remote *remote, uint64_t address)
{
	for (size_t i = 0; i < remote->mapping_count; i++)
		if (address - remote->mappings[i].start < remote->mappings[i].end - remote->mappings[i].start)
			return &remote->mappings[i];
	return NULL;
}

void remote_path(const struct remote *remote, const char *path, char *out, size_t size)
{
	if (remote->same_root)
		snprintf(out, size, "%s", path);
	else
		snprintf(out, size, "/proc/%d/root%s", (int)remote->pid, path);
}
