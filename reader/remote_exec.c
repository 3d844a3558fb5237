/* SPDX-License-Identifier: MIT */
/*
 *     sctmem                                              the interpreter (PEP 768)
 *     a folder in its /tmp, its user's:
 *       call.py, request, answer (empty), the library
 *     main thread's state:  script path --------------->
 *                           pending call = 1 ---------->
 *                           eval breaker |= stop ------> the main thread, between two instructions, runs call.py:
 *                                                          loads the library, calls the entry, fills `answer`
 *     reads the answer, removes the folder
 *
 * No thread is stopped and ptrace is not used, which is what this is for; that the memory may be written is a
 * permission of the same kind (PTRACE_MODE_ATTACH), so it helps where ptrace itself is taken or refused, not where
 * looking is.
 * The places are those that the interpreter's own table (_Py_DebugOffsets) names; what it says is checked, since a
 * wrong one would be written to.  Setting the eval breaker is a read and a write, as CPython's own does it.
 */
#include "remote_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

enum {
	SCRIPT_PATH_SIZE = 512,       /* of the field that takes its name */
	STATE_SIZE_MAX = 1 << 20,     /* a thread's or interpreter's state is smaller */
	BREAKER_STOP = 1 << 5,
	LAST_MOMENT_MS = 3000,        /* for a script that has been taken up already */
	RACE_MS = 100,                /* between its being taken up and its file being open */
	PATH_SIZE = 4200,
};

/* What the runtime begins with; where the support for debuggers lies in it differs. */
struct runtime_head {
	char cookie[8];
	uint64_t version, free_threaded, runtime_size, finalizing, interpreters_head;
	uint64_t interpreter_size, id, next, threads_head, threads_main;
};

struct support {
	uint64_t eval_breaker, place, enabled, pending, path, path_size;
};

static const struct { unsigned minor; size_t support; } layouts[] = { { 14, 712 }, { 15, 840 } };

/* Addresses in the process. */
struct places {
	uint64_t breaker, pending, path;
};

static bool find_places(const struct remote *remote, struct places *places, struct error *error)
{
	const uint64_t runtime = remote_find(remote, "_PyRuntime", NULL);
	struct runtime_head head;
	struct support support;
	uint64_t interpreter, thread;
	size_t layout = 0;
	int32_t enabled;

	if (!runtime || !remote_read(remote, runtime, &head, sizeof head) || memcmp(head.cookie, "xdebugpy", 8) != 0)
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) is no Python of version 3.14 or later, which could run "
			"code that it is told of", (int)remote->pid, remote->name);
	while (layout < sizeof layouts / sizeof layouts[0] &&
		(head.version >> 24 != 3 || layouts[layout].minor != (head.version >> 16 & 0xff)))
		layout++;
	if (layout == sizeof layouts / sizeof layouts[0])
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) is Python %u.%u, which cannot be told to run code, or is "
			"newer than this sctmem", (int)remote->pid, remote->name, (unsigned)(head.version >> 24),
			(unsigned)(head.version >> 16 & 0xff));
	if (!remote_read(remote, runtime + layouts[layout].support, &support, sizeof support) ||
		support.path_size != SCRIPT_PATH_SIZE || support.pending != 0 || support.path != 4 ||
		support.eval_breaker >= STATE_SIZE_MAX || support.place >= STATE_SIZE_MAX ||
		support.enabled >= head.interpreter_size || head.threads_main >= head.interpreter_size ||
		head.interpreter_size > STATE_SIZE_MAX || head.interpreters_head >= head.runtime_size ||
		!remote_read(remote, runtime + head.interpreters_head, &interpreter, sizeof interpreter) || !interpreter ||
		!remote_read(remote, interpreter + head.threads_main, &thread, sizeof thread) || !thread ||
		!remote_read(remote, interpreter + support.enabled, &enabled, sizeof enabled))
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s): its interpreter's structures are not what they should be, "
			"so it cannot be told to run code", (int)remote->pid, remote->name);
	if (enabled != 1)
		return fail(error, STATUS_CANNOT_TRACE, "process %d (%s) was started with remote debugging disabled "
			"(PYTHON_DISABLE_REMOTE_DEBUG, -X disable-remote-debug)", (int)remote->pid, remote->name);
	*places = (struct places){ .breaker = thread + support.eval_breaker,
		.pending = thread + support.place + support.pending, .path = thread + support.place + support.path };
	return true;
}

bool remote_exec_possible(const struct remote *remote, struct error *error)
{
	struct places places;

	return find_places(remote, &places, error);
}

/* ---- the folder ---- */

/* Called by both names: as it is seen from here, and as the process sees it. */
struct folder {
	char here[PATH_SIZE];
	const char *there;            /* a part of it */
};

static const char *const files[] = { "call.py", "request", "answer", "libsctmem.so" };

static bool put(const struct folder *folder, const struct remote *remote, const char *name, const void *bytes,
	size_t size, struct error *error)
{
	char path[PATH_SIZE + 32];
	int file;
	bool done;

	snprintf(path, sizeof path, "%s/%s", folder->here, name);
	file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	done = file >= 0 && write(file, bytes, size) == (ssize_t)size &&
		(remote->user == geteuid() || fchown(file, remote->user, (gid_t)-1) == 0);
	if (!done)
		fail(error, STATUS_OUTPUT, "cannot write %s: %s", path, strerror(errno));
	if (file >= 0)
		close(file);
	return done;
}

static bool put_copy(const struct folder *folder, const struct remote *remote, const char *name, const char *from,
	struct error *error)
{
	int file = open(from, O_RDONLY | O_CLOEXEC);
	struct stat status;
	bool done = false;
	char *bytes = NULL;

	if (file < 0 || fstat(file, &status) != 0) {
		fail(error, STATUS_NO_INPUT, "cannot read %s: %s", from, strerror(errno));
	} else {
		bytes = memory_new((size_t)status.st_size + 1, 1);
		done = read(file, bytes, (size_t)status.st_size) == status.st_size ?
			put(folder, remote, name, bytes, (size_t)status.st_size, error) :
			fail(error, STATUS_NO_INPUT, "cannot read %s", from);
	}
	free(bytes);
	if (file >= 0)
		close(file);
	return done;
}

static void remove_folder(const struct folder *folder)
{
	char path[PATH_SIZE + 32];

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", folder->here, files[i]);
		unlink(path);
	}
	rmdir(folder->here);
}

/* Any bytes as a word of Python. */
static void write_path(char *to, size_t size, const char *path)
{
	size_t used = 0;

	for (to[0] = 0; *path && used + 3 < size; path++, used += 2)
		snprintf(to + used, size - used, "%02x", (unsigned char)*path);
}

/*
 * Where the library is loaded already, its entry is called where it lies; a second copy of the library would be another
 * one.  Else it is loaded from its own place, if the process can read it there, or from the folder.
 */
static bool make_script(const struct folder *folder, const struct remote *remote, const char *library,
	const char *entry, struct error *error)
{
	static const char form[] =
		"def call(folder, library, address):\n"
		"    try:\n"
		"        import ctypes, os\n"
		"        with open(folder + '/request', 'rb') as file:\n"
		"            request = ctypes.create_string_buffer(file.read(), %zu)\n"
		"        if address:\n"
		"            entry = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(address)\n"
		"        else:\n"
		"            mode = os.RTLD_NOW | os.RTLD_NODELETE\n"
		"            try:\n"
		"                library = ctypes.PyDLL(os.fsdecode(bytes.fromhex(library)), mode)\n"
		"            except OSError:\n"
		"                library = ctypes.PyDLL(folder + '/libsctmem.so', mode)\n"
		"            entry = library['%s']\n"
		"            entry.restype = None\n"
		"        entry(request)\n"
		"        answer = b'done' + request.raw\n"
		"    except BaseException as problem:\n"
		"        answer = b'fail' + repr(problem).encode('utf-8', 'replace')\n"
		"    try:\n"
		"        fd = os.open(folder + '/answer', os.O_WRONLY)\n"
		"        os.write(fd, answer)\n"
		"        os.close(fd)\n"
		"    except BaseException:\n"
		"        pass\n"
		"call('%s', '%s', %llu)\n"
		"del call\n";
	char *script = memory_new(sizeof form + 3 * (size_t)PATH_SIZE, 1), path[2 * PATH_SIZE];
	int size;
	bool done;

	write_path(path, sizeof path, remote->same_root ? library : "/");
	size = snprintf(script, sizeof form + 3 * (size_t)PATH_SIZE, form, sizeof(struct attach_request), entry, folder->there,
		path, (unsigned long long)remote_find(remote, entry, NULL));
	done = put(folder, remote, files[0], script, (size_t)size, error);
	free(script);
	return done;
}

static bool make_folder(struct folder *folder, const struct remote *remote, const char *library, const char *entry,
	const struct attach_request *request, struct error *error)
{
	int prefix = remote->same_root ? 0 : snprintf(folder->here, sizeof folder->here, "/proc/%d/root", (int)remote->pid);

	snprintf(folder->here + prefix, sizeof folder->here - (size_t)prefix, "/tmp/sctmem-XXXXXX");
	folder->there = folder->here + prefix;
	if (!mkdtemp(folder->here))
		return fail(error, STATUS_OUTPUT, "cannot make a folder like %s, which process %d is to read: %s", folder->here,
			(int)remote->pid, strerror(errno));
	if ((remote->user != geteuid() && chown(folder->here, remote->user, (gid_t)-1) != 0))
		return fail(error, STATUS_OUTPUT, "cannot give %s to user %u: %s", folder->here, (unsigned)remote->user,
			strerror(errno));
	return make_script(folder, remote, library, entry, error) &&
		put(folder, remote, files[1], request, sizeof *request, error) &&
		put(folder, remote, files[2], "", 0, error) && put_copy(folder, remote, files[3], library, error);
}

/* ---- asking ---- */

static bool ask(const struct remote *remote, const struct places *places, const char *script, struct error *error)
{
	char path[SCRIPT_PATH_SIZE] = "";
	int32_t pending;
	uint64_t breaker;

	if (strlen(script) >= sizeof path)
		return fail(error, STATUS_CANNOT_TRACE, "%s: the name is too long", script);
	memcpy(path, script, strlen(script));
	if (!remote_read(remote, places->pending, &pending, sizeof pending))
		return remote_failed(remote, "read the memory of", error);
	if (pending != 0)
		return fail(error, STATUS_CANNOT_TRACE, "process %d has been told to run other code, and has not yet: try again",
			(int)remote->pid);
	pending = 1;
	if (!remote_write(remote, places->path, path, sizeof path) ||
		!remote_write(remote, places->pending, &pending, sizeof pending) ||
		!remote_read(remote, places->breaker, &breaker, sizeof breaker))
		return remote_failed(remote, "write to the memory of", error);
	breaker |= BREAKER_STOP;
	return remote_write(remote, places->breaker, &breaker, sizeof breaker) ||
		remote_failed(remote, "write to the memory of", error);
}

/* 1: it is there; 0: not yet; -1: it did not work. */
static int read_answer(const struct folder *folder, const struct remote *remote, struct attach_request *request,
	struct error *error)
{
	char path[PATH_SIZE + 32], *bytes = memory_new(4 + sizeof *request + 1, 1);
	ssize_t size = -1;
	int file, result = 0;

	snprintf(path, sizeof path, "%s/%s", folder->here, files[2]);
	file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (file >= 0) {
		size = read(file, bytes, 4 + sizeof *request);
		close(file);
	}
	if (size == (ssize_t)(4 + sizeof *request) && memcmp(bytes, "done", 4) == 0) {
		memcpy(request, bytes + 4, sizeof *request);
		request->path[sizeof request->path - 1] = 0;
		result = 1;
	} else if (size > 4 && memcmp(bytes, "fail", 4) == 0) {
		fail(error, STATUS_CANNOT_TRACE, "process %d (%s) could not load the library by itself: %.300s; it goes on as it was",
			(int)remote->pid, remote->name, bytes + 4);
		result = -1;
	}
	free(bytes);
	return result;
}

static int wait_answer(const struct folder *folder, const struct remote *remote, struct attach_request *request,
	uint64_t wait_ms, struct error *error)
{
	int result = 0;

	for (uint64_t waited_ms = 0; result == 0 && waited_ms < wait_ms && !remote_has_ended(remote->pid); waited_ms += 2) {
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		result = read_answer(folder, remote, request, error);
	}
	return result;
}

bool remote_exec_call(const struct remote *remote, const char *library, const char *entry,
	struct attach_request *request, uint64_t wait_ms, struct error *error)
{
	struct folder folder = { .here = "" };
	struct places places = { 0 };
	char script[PATH_SIZE + 32];
	int result = -1;

	request->version = ATTACH_VERSION;
	request->result = ATTACH_NO_ANSWER;
	if (!find_places(remote, &places, error))
		return false;
	if (make_folder(&folder, remote, library, entry, request, error)) {
		snprintf(script, sizeof script, "%s/%s", folder.there, files[0]);
		if (ask(remote, &places, script, error))
			result = wait_answer(&folder, remote, request, wait_ms, error);
		if (result == 0) {
			int32_t pending;
			const bool taken = remote_read(remote, places.pending, &pending, sizeof pending) && pending == 0;

			/* Taken up: the answer comes.  Not: withdrawn; it may have been taken up in that very moment. */
			pending = 0;
			if (!taken && !remote_write(remote, places.pending, &pending, sizeof pending)) {
				result = -1;
				remote_failed(remote, "write to the memory of", error);
			}
			if (result == 0)
				result = wait_answer(&folder, remote, request, taken ? LAST_MOMENT_MS : RACE_MS, error);
		}
		if (result == 0)
			fail(error, STATUS_CANNOT_TRACE, "the main thread of process %d has not come by its interpreter's loop in %.1f s "
				"(it waits in a call, or is stopped): try again, or wait longer with --wait", (int)remote->pid,
				(double)wait_ms / 1000);
	}
	if (folder.here[0])
		remove_folder(&folder);
	return result > 0;
}
