/* SPDX-License-Identifier: MIT */
/*
 * What attach and detach share.  Everything that can be found out from outside is, before the process is touched: most
 * reasons for which it will not work are told without stopping it at all.
 *
 * The library has to be a file that the process can open.  Where its root or its user is another, it is handed the
 * bytes instead: it makes a file in memory (memfd_create), which is filled from outside and loaded by /proc/self/fd.
 */
#include "attaching.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "remote_exec.h"

enum {
	LOAD_FLAGS = 0x1002,          /* RTLD_NOW | RTLD_NODELETE, RTLD_LOCAL */
	LOAD_INTERNAL = (int)0x80000000,   /* what __libc_dlopen_mode wants besides */
	MESSAGE_SIZE = 512,
	QUIET_LOOKS = 100,
	TRACED_LOOKS = 100, TRACED_PAUSE_NS = 10000000,
	/* Places in the memory that inject.c maps there. */
	PLACE_REQUEST = 0, PLACE_PATH = 0x8000, PATH_ROOM = 0x2000,
};
_Static_assert(sizeof(struct attach_request) < PLACE_PATH, "they do not overlap");
_Static_assert(PLACE_PATH + PATH_ROOM < INJECT_DATA - 64, "nor reach inject.c's own");

const char *const attaching_methods[] = { "auto", "ptrace", "remote-exec", NULL };

bool attaching_parse(const char *text, pid_t *pid, struct error *error)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno || end == text || *end || number <= 0 || number > INT_MAX)
		return fail(error, STATUS_USAGE, "%s is not the number of a process; see: ps, pgrep -a python", text);
	*pid = (pid_t)number;
	return true;
}

bool attaching_has_library(const struct attaching *attaching)
{
	return remote_find(&attaching->remote, ATTACH_ENTRY, NULL) != 0;
}

/* No glibc there: why. */
static bool explain_libc(const struct remote *remote, struct error *error)
{
	unsigned char identity[EI_NIDENT];
	bool loader = false;

	for (size_t i = 0; i < remote->mapping_count; i++) {
		const char *path = remote->mappings[i].path;

		if (strstr(path, "musl"))
			return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) runs on musl: only programs on the GNU C library can be "
				"traced", (int)remote->pid, remote->name);
		if (remote->mappings[i].offset == 0 && path[0] == '/' &&
			remote_read(remote, remote->mappings[i].start, identity, sizeof identity) &&
			memcmp(identity, ELFMAG, SELFMAG) == 0 && identity[EI_CLASS] == ELFCLASS32)
			return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) is a 32-bit program: there is no library for it",
				(int)remote->pid, remote->name);
		loader = loader || strstr(path, "/ld-") || strstr(path, "/ld.so");
	}
	if (!loader)
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) is a static program: it has no loader that could load a "
			"library", (int)remote->pid, remote->name);
	return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) does not run on the GNU C library", (int)remote->pid,
		remote->name);
}

static unsigned own_filters(void)
{
	struct remote self;
	struct error ignored;
	unsigned count = remote_open(&self, getpid(), &ignored) && self.seccomp > 0 ? self.seccomp_filters : 0;

	remote_close(&self);
	return count;
}

static bool check_filters(const struct attaching *attaching, struct error *error)
{
	const struct remote *remote = &attaching->remote;

	if (remote->seccomp == 1)
		return fail(error, STATUS_CANNOT_TRACE, "process %d may only read and write (seccomp strict): anything else would "
			"end it", (int)remote->pid);
	/* In one container both are under the same ones, and what they forbid is refused there, not punished. */
	if (remote->seccomp == 2 && !attaching->any_seccomp && remote->seccomp_filters != own_filters())
		return fail(error, STATUS_CANNOT_TRACE, "process %d is under a filter of system calls (seccomp) that may end it for "
			"what loading a library needs (openat, mmap, memfd_create ...); if you know that it does not: --any-seccomp",
			(int)remote->pid);
	return true;
}

/* What failed because the process has ended meanwhile looks like many things; it is this. */
static bool or_ended(const struct attaching *attaching, bool done, struct error *error)
{
	if (!done && !attaching->remote.kernel && remote_has_ended(attaching->remote.pid))
		fail(error, STATUS_NO_INPUT, "process %d ended meanwhile", (int)attaching->remote.pid);
	return done;
}

/* Whether ptrace is allowed, tried by a child: a thread that is only seized is not stopped, and let go with its end. */
static bool may_trace(const struct remote *remote)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(ptrace(PTRACE_SEIZE, remote->pid, 0, 0) == 0 ? 0 : 1);
	if (child < 0)
		return true;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A thread is borrowed where that is possible: then it need not come by the interpreter, and nothing is imported. */
static bool choose_method(struct attaching *attaching, struct error *error)
{
	const struct remote *remote = &attaching->remote;
	struct error why_not = { 0 };

	if (attaching->method == ATTACHING_REMOTE_EXEC)
		return remote_exec_possible(remote, error);
	if (attaching->method == ATTACHING_AUTO && (remote->tracer || remote->shadow_stack || !may_trace(remote)) &&
		remote_exec_possible(remote, &why_not)) {
		attaching->method = ATTACHING_REMOTE_EXEC;
		return true;
	}
	attaching->method = ATTACHING_PTRACE;
	if (remote->tracer)
		return remote_refused(remote, EPERM, error);
	if (remote->shadow_stack)
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) has a shadow stack, which allows no call from outside; "
			"start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off, or by sctmem run", (int)remote->pid, remote->name);
	return true;
}

static bool look_at(struct attaching *attaching, pid_t pid, struct error *error)
{
	struct remote *remote = &attaching->remote;

	if (pid == getpid())
		return fail(error, STATUS_USAGE, "process %d is this very command", (int)pid);
	if (remote->kernel)
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) is part of the kernel", (int)pid, remote->name);
	if (remote->tracer && attaching->method == ATTACHING_PTRACE)
		return remote_refused(remote, EPERM, error);
	if (remote->state == 'T' || remote->state == 't')
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) is stopped: let it go on first, with kill -CONT %d",
			(int)pid, remote->name, (int)pid);
	if (!remote_look(remote, error))
		return false;
	if (!remote_find(remote, "gnu_get_libc_version", NULL))
		return explain_libc(remote, error);
	return check_filters(attaching, error) && choose_method(attaching, error);
}

/* A tracer such as strace stops its process for a moment at whatever it watches; a debugger for as long as it likes. */
static bool open_remote(struct remote *remote, pid_t pid, struct error *error)
{
	for (unsigned looks = 0; remote_open(remote, pid, error); looks++) {
		if (remote->state != 't' || looks == TRACED_LOOKS)
			return true;
		remote_close(remote);
		nanosleep(&(struct timespec){ .tv_nsec = TRACED_PAUSE_NS }, NULL);
	}
	return false;
}

bool attaching_open(struct attaching *attaching, pid_t pid, struct error *error)
{
	return open_remote(&attaching->remote, pid, error) && or_ended(attaching, look_at(attaching, pid, error), error);
}

void attaching_close(struct attaching *attaching)
{
	remote_close(&attaching->remote);
}

bool attaching_set(struct attaching *attaching, const char *name, const char *value, struct error *error)
{
	struct attach_request *request = &attaching->request;
	size_t room = sizeof request->settings - request->settings_size;
	int length = snprintf(request->settings + request->settings_size, room, "%s=%s", name, value);

	if (length < 0 || (size_t)length >= room)
		return fail(error, STATUS_USAGE, "the settings are too long: %s", name);
	request->settings_size += (uint32_t)length + 1;
	return true;
}

/* ---- the calls ---- */

static bool call_entry(struct attaching *attaching, struct inject *inject, const char *name, struct error *error)
{
	const uint64_t place = inject->memory + PLACE_REQUEST;
	const uint64_t arguments[INJECT_ARGUMENTS] = { place };
	uint64_t entry = remote_find(&attaching->remote, name, NULL), result;

	attaching->request.version = ATTACH_VERSION;
	attaching->request.result = ATTACH_NO_ANSWER;
	if (!entry)
		return fail(error, STATUS_CANNOT_TRACE, "the library in process %d has no %s: it is of another version",
			(int)attaching->remote.pid, name);
	if (!remote_write(&attaching->remote, place, &attaching->request, sizeof attaching->request))
		return remote_failed(&attaching->remote, "write to the memory of", error);
	if (!inject_call(inject, entry, arguments, &result, error))
		return false;
	if (!remote_read(&attaching->remote, place, &attaching->request, sizeof attaching->request))
		return fail(error, STATUS_NO_INPUT, "process %d ended meanwhile", (int)attaching->remote.pid);
	attaching->request.path[sizeof attaching->request.path - 1] = 0;
	return true;
}

/* What its loader says about the load that failed. */
static void loader_message(struct attaching *attaching, struct inject *inject, char message[MESSAGE_SIZE])
{
	static const uint64_t none[INJECT_ARGUMENTS];
	uint64_t function = remote_find(&attaching->remote, "dlerror", NULL), text = 0;
	struct error ignored;
	size_t length = 0;

	snprintf(message, MESSAGE_SIZE, "its loader refuses it");
	if (!function || !inject_call(inject, function, none, &text, &ignored) || text == 0)
		return;
	while (length < MESSAGE_SIZE - 1 && remote_read(&attaching->remote, text + length, message + length, 1) &&
		message[length])
		length++;
	message[length] = 0;
}

static bool load(struct attaching *attaching, struct inject *inject, const char *path, char message[MESSAGE_SIZE],
	struct error *error)
{
	uint64_t place = inject->memory + PLACE_PATH, handle, flags = LOAD_FLAGS;
	uint64_t function = remote_find(&attaching->remote, "dlopen", NULL);

	if (!function) {
		function = remote_find(&attaching->remote, "__libc_dlopen_mode", NULL);
		flags |= (uint32_t)LOAD_INTERNAL;
	}
	if (!function)
		return fail(error, STATUS_CANNOT_TRACE, "process %d has no dlopen", (int)attaching->remote.pid);
	const uint64_t arguments[INJECT_ARGUMENTS] = { place, flags };

	message[0] = 0;
	if (!remote_write(&attaching->remote, place, path, strlen(path) + 1))
		return remote_failed(&attaching->remote, "write to the memory of", error);
	if (!inject_call(inject, function, arguments, &handle, error) || !remote_look(&attaching->remote, error))
		return false;
	if (!attaching_has_library(attaching))
		loader_message(attaching, inject, message);
	return true;
}

static bool copy_library(const char *library, const char *to)
{
	char buffer[1 << 16];
	int from = open(library, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC);
	ssize_t size = -1;

	while (from >= 0 && out >= 0 && (size = read(from, buffer, sizeof buffer)) > 0)
		if (write(out, buffer, (size_t)size) != size) {
			size = -1;
			break;
		}
	if (from >= 0)
		close(from);
	if (out >= 0)
		close(out);
	return size == 0;
}

/* From a file in memory, which the process makes, and closes again. */
static bool load_bytes(struct attaching *attaching, struct inject *inject, const char *library,
	char message[MESSAGE_SIZE], struct error *error)
{
	static const char name[] = "libsctmem.so";
	uint64_t call = remote_find(&attaching->remote, "syscall", NULL), place = inject->memory + PLACE_PATH;
	uint64_t fd, ignored;
	char path[64], reason[MESSAGE_SIZE];

	if (!remote_write(&attaching->remote, place, name, sizeof name))
		return remote_failed(&attaching->remote, "write to the memory of", error);
	const uint64_t make[INJECT_ARGUMENTS] = { SYS_memfd_create, place, MFD_CLOEXEC };

	if (!inject_call(inject, call, make, &fd, error))
		return false;
	if (fd == 0 || (int)fd < 0)
		return true;                  /* the first message stands */
	const uint64_t end[INJECT_ARGUMENTS] = { SYS_close, fd };

	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)attaching->remote.pid, (int)fd);
	if (copy_library(library, path)) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", (int)fd);
		if (!load(attaching, inject, path, reason, error))
			return false;
		memcpy(message, reason, sizeof reason);
	}
	return inject_call(inject, call, end, &ignored, error);
}

static bool load_library(struct attaching *attaching, struct inject *inject, const char *library,
	struct error *error)
{
	char message[MESSAGE_SIZE] = "its root folder is another";

	if (attaching->remote.same_root && !load(attaching, inject, library, message, error))
		return false;
	if (!attaching_has_library(attaching) && !load_bytes(attaching, inject, library, message, error))
		return false;
	if (!attaching_has_library(attaching))
		return fail(error, STATUS_CANNOT_TRACE, "the library cannot be loaded into process %d (%s): %s; it goes on as it was",
			(int)attaching->remote.pid, attaching->remote.name, message);
	return true;
}

/* One visit: borrows a thread, makes a call, gives it back. */
static bool visit(struct attaching *attaching, const char *library, const char *entry, struct error *error)
{
	struct inject inject;

	if (attaching->method == ATTACHING_REMOTE_EXEC)
		return or_ended(attaching, remote_exec_call(&attaching->remote, library, entry, &attaching->request,
			attaching->wait_ms, error), error);

	bool done = inject_begin(&inject, &attaching->remote, attaching->wait_ms, error) &&
		(attaching_has_library(attaching) || load_library(attaching, &inject, library, error)) &&
		call_entry(attaching, &inject, entry, error);

	inject_end(&inject);
	attaching->stopped_ns += inject.stopped_ns;
	return or_ended(attaching, done, error);
}

/* A loader maps what the headers say; where the file ends before that, the program would end with it (SIGBUS). */
static bool check_library(const char *library, struct error *error)
{
	int fd = open(library, O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	struct stat status;
	bool whole = fd >= 0 && fstat(fd, &status) == 0 && read(fd, &header, sizeof header) == (ssize_t)sizeof header &&
		memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_phentsize == sizeof segment;

	for (int i = 0; whole && i < header.e_phnum; i++)
		whole = pread(fd, &segment, sizeof segment, (off_t)(header.e_phoff + (uint64_t)i * sizeof segment)) ==
			(ssize_t)sizeof segment && (segment.p_type != PT_LOAD ||
			segment.p_offset + segment.p_filesz <= (uint64_t)status.st_size);
	if (fd >= 0)
		close(fd);
	return whole || fail(error, STATUS_CANNOT_TRACE, "%s is damaged: is sctmem being installed just now?", library);
}

/* A program that kept the address of a hook is in it for moments, and threads come and go: more than one look. */
static bool wait_quiet(struct attaching *attaching)
{
	for (unsigned looks = 0; looks < QUIET_LOOKS; looks++) {
		if (inject_all_outside(&attaching->remote, ATTACH_ENTRY))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
	return false;
}

bool attaching_begin(struct attaching *attaching, const char *library, struct error *error)
{
	if (!check_library(library, error))
		return false;

	/* After an earlier detach the library asks to be told that nobody is in it any more. */
	if (attaching->method == ATTACHING_PTRACE && attaching_has_library(attaching) && wait_quiet(attaching))
		attaching->request.flags |= ATTACH_QUIET;
	return visit(attaching, library, ATTACH_ENTRY, error);
}

bool attaching_settle(struct attaching *attaching, const char *library, struct error *error)
{
	return remote_look(&attaching->remote, error) && visit(attaching, library, ATTACH_SETTLE, error);
}

bool attaching_end(struct attaching *attaching, const char *library, struct error *error)
{
	return visit(attaching, library, ATTACH_DETACH, error);
}

void attaching_capture(const struct attaching *attaching, char *path, size_t size)
{
	remote_path(&attaching->remote, attaching->request.path, path, size);
}

bool attaching_refused(const struct attaching *attaching, struct error *error)
{
	const struct attach_request *request = &attaching->request;
	const int pid = (int)attaching->remote.pid;

	switch ((enum attach_result)request->result) {
	case ATTACH_ALREADY:
		return fail(error, STATUS_CANNOT_TRACE, "process %d is recorded already, into %s", pid, request->path);
	case ATTACH_NO_FILE:
		return fail(error, request->error == ENOMEM ? STATUS_CANNOT_TRACE : STATUS_OUTPUT,
			"process %d (user %u) cannot create %s: %s; name another place with -o", pid,
			(unsigned)attaching->remote.user, request->path, strerror((int)request->error));
	case ATTACH_NO_MEMORY:
		return fail(error, STATUS_CANNOT_TRACE, "process %d has no memory left for recording (ulimit -v?); it goes on "
			"as it was", pid);
	case ATTACH_OTHER_VERSION:
		return fail(error, STATUS_CANNOT_TRACE, "the library in process %d is of another version than this command", pid);
	case ATTACH_PRELOADED:
		return fail(error, STATUS_CANNOT_TRACE, request->path[0] ?
			"process %d was started with the library, and records into %s" :
			"process %d was started with the library, which does not record it (SCTMEM_PROGRAM, SCTMEM_FOLLOW)%s", pid,
			request->path);
	case ATTACH_BUSY:
		return fail(error, STATUS_CANNOT_TRACE, "the library in process %d is starting or ending right now; try again", pid);
	case ATTACH_NOT_QUIET:
		if (attaching->method == ATTACHING_REMOTE_EXEC)
			return fail(error, STATUS_CANNOT_TRACE, "process %d was recorded before, and only ptrace can tell whether its "
				"threads have left what that left behind: sctmem attach --method ptrace %d, when nothing else traces it", pid,
				pid);
		return fail(error, STATUS_CANNOT_TRACE, "threads of process %d may still be in what the last detach left; try again",
			pid);
	case ATTACH_NOT_GLIBC:
	case ATTACH_NO_ANSWER:
	case ATTACH_DONE:
	case ATTACH_STARTED:
	case ATTACH_STOPPED:
		break;
	}
	return fail(error, STATUS_CANNOT_TRACE, "the library in process %d gave no answer", pid);
}
