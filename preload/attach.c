/* SPDX-License-Identifier: MIT */
/*
 * The entries that `sctmem attach` and `sctmem detach` call in a running program: on one of its own threads, which
 * they have stopped where it holds no lock of the C library, the loader or the interpreter, on a stack that they have
 * mapped, with all signals blocked.  The other threads run.
 *
 *     attach    lifecycle_attach()    a capture, this thread's state, Python's allocators
 *               relocate_install()    from here on events come
 *     settle    relocate_install()    what another thread was just resolving
 *     detach    lifecycle_detach()    the capture's end, for all threads at one instant
 *               relocate_restore()    the library stays, dormant: somebody may still be in it, or have kept the address
 *                                     of one of its functions
 *
 * In a program that was started with the library, with recording off, attach and detach only switch it (control.h).
 *
 * What lived before is not known.  Its frees are recorded, and the reader counts them apart.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "control.h"
#include "formats/attach.h"
#include "lifecycle.h"
#include "output.h"
#include "python.h"
#include "relocate.h"

#include "banned.h"

#define EXPORT __attribute__((visibility("default")))

enum { SETTINGS_MAX = 64 };

static bool was_started;              /* by us, in a program that was started with SCTMEM_START=off */
static bool was_detached;             /* since then nobody may be sure that all threads have left us */

EXPORT void sctmem_attach(struct attach_request *request);
EXPORT void sctmem_detach(struct attach_request *request);
EXPORT void sctmem_settle(struct attach_request *request);

static void report(struct attach_request *request, const struct relocate_report *relocated)
{
	request->modules = relocated->modules;
	request->slots = relocated->slots;
	request->slots_left = relocated->slots_left;
	request->symbols = relocated->symbols;
	request->symbols_left = relocated->symbols_left;
	if (atomic_load(&python_state) != PYTHON_NONE)
		request->python = python_layout.version;
}

static void name_capture(struct attach_request *request)
{
	size_t length = strnlen(output_path(), ATTACH_PATH_SIZE - 1);

	memcpy(request->path, output_path(), length);
	request->path[length] = 0;
}

/* The settings as an environment. */
static void split(const struct attach_request *request, const char *list[SETTINGS_MAX + 1])
{
	uint32_t count = 0, size = request->settings_size;

	if (size > ATTACH_SETTINGS_SIZE)
		size = 0;
	for (uint32_t at = 0; at < size && count < SETTINGS_MAX;) {
		size_t length = strnlen(request->settings + at, size - at);

		if (at + length == size)
			break;                /* not ended */
		list[count++] = request->settings + at;
		at += (uint32_t)length + 1;
	}
	list[count] = NULL;
}

static enum attach_result attach(struct attach_request *request)
{
	const char *settings[SETTINGS_MAX + 1];
	struct relocate_report relocated;

	if (request->version != ATTACH_VERSION)
		return ATTACH_OTHER_VERSION;
	switch (lifecycle_attachable()) {
	case LIFECYCLE_RECORDING:
		name_capture(request);
		return ATTACH_ALREADY;
	case LIFECYCLE_PRELOADED:
		name_capture(request);
		if (!lifecycle_is_recording() || !control_is_paused() || control_change(true) != 1)
			return ATTACH_PRELOADED;
		was_started = true;
		return ATTACH_STARTED;
	case LIFECYCLE_CHANGING:
		return ATTACH_BUSY;
	case LIFECYCLE_DORMANT:
		break;
	}
	if (was_detached && !(request->flags & ATTACH_QUIET))
		return ATTACH_NOT_QUIET;
	split(request, settings);
	if (!lifecycle_attach((char *const *)settings)) {
		name_capture(request);
		request->error = (uint32_t)output_failure();
		return request->error ? ATTACH_NO_FILE : ATTACH_NO_MEMORY;
	}
	relocate_install(&relocated);
	report(request, &relocated);
	name_capture(request);
	return ATTACH_DONE;
}

static enum attach_result detach(struct attach_request *request)
{
	struct relocate_report relocated;

	if (request->version != ATTACH_VERSION)
		return ATTACH_OTHER_VERSION;
	switch (lifecycle_attachable()) {
	case LIFECYCLE_PRELOADED:
		name_capture(request);
		if (!was_started || control_change(false) != 1)
			return ATTACH_PRELOADED;
		was_started = false;
		return ATTACH_STOPPED;
	case LIFECYCLE_CHANGING:
		return ATTACH_BUSY;
	case LIFECYCLE_DORMANT:
	case LIFECYCLE_RECORDING:
		break;
	}
	/* Also when recording has ended by itself, on a full disk: the references are still ours. */
	bool recording = lifecycle_attachable() == LIFECYCLE_RECORDING;

	/* The end first: while one reference after another is put back, a block would seem to live whose end goes past us. */
	lifecycle_detach();
	relocate_restore(&relocated);
	report(request, &relocated);
	was_detached = true;
	name_capture(request);
	return recording || relocated.slots > 0 ? ATTACH_DONE : ATTACH_ALREADY;
}

void sctmem_attach(struct attach_request *request)
{
	int saved = errno;

	request->result = attach(request);
	errno = saved;
}

void sctmem_detach(struct attach_request *request)
{
	int saved = errno;

	request->result = detach(request);
	errno = saved;
}

void sctmem_settle(struct attach_request *request)
{
	struct relocate_report relocated;
	int saved = errno;

	if (request->version == ATTACH_VERSION && lifecycle_attachable() == LIFECYCLE_RECORDING) {
		relocate_install(&relocated);
		report(request, &relocated);
		request->result = ATTACH_DONE;
	} else {
		request->result = ATTACH_ALREADY;
	}
	errno = saved;
}
