/* SPDX-License-Identifier: MIT */
/* Used by the unit tests of the library's core only. */
#include "recorder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "preload/arena.h"
#include "preload/config.h"
#include "preload/control.h"
#include "preload/intern.h"
#include "preload/lifecycle.h"
#include "preload/modules.h"
#include "preload/order.h"
#include "preload/output.h"
#include "preload/real.h"
#include "preload/sys.h"

static _Atomic bool on;
char recorder_folder[4096];
static uint64_t start_ns;
bool real_is_libc = true;

bool lifecycle_ready(void)
{
	return on;
}

bool lifecycle_is_recording(void)
{
	return on;
}

bool lifecycle_is_child(void)
{
	return false;
}

bool lifecycle_child(void)
{
	return false;
}

void lifecycle_off(void)
{
	on = false;
}

uint64_t lifecycle_start_ns(void)
{
	return start_ns;
}

void recorder_forget(void)
{
	on = false;
	output_forget();
	record_reset();
	thread_reset();
	intern_reset();
	modules_reset();
	order_reset();
	arena_reset();
	thread_start();
}

bool recorder_start(const char *folder)
{
	recorder_forget();
	config.native = CONFIG_NATIVE_NO;
	config.sample_ms = 0;
	snprintf(config.out, sizeof(config.out), "%s/capture.bin", folder);
	start_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);

	struct output_origin origin = { .origin = CAPTURE_ORIGIN_START, .start_monotonic_ns = start_ns };

	on = output_open(&origin);
	static struct control_quiet quiet;

	quiet = (struct control_quiet){ .request = NULL };
	control_begin(false, &quiet);
	return on;
}

void recorder_stop(void)
{
	on = false;
}

bool recorder_is_on(void)
{
	return on;
}

const char *recorder_path(void)
{
	return output_path();
}

bool recorder_folder_make(char *path, size_t size)
{
	const char *base = getenv("TMPDIR");

	snprintf(path, size, "%s/sctmem-unit-XXXXXX", base && *base ? base : "/tmp");
	return mkdtemp(path) != NULL;
}

void recorder_folder_remove(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char name[4096];

	while (folder && (entry = readdir(folder))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (unlink(name) != 0)
			recorder_folder_remove(name);
	}
	if (folder)
		closedir(folder);
	rmdir(path);
}

int recorder_set_up(void **state)
{
	(void)state;
	return recorder_folder_make(recorder_folder, sizeof(recorder_folder)) ? 0 : -1;
}

int recorder_set_up_started(void **state)
{
	return recorder_set_up(state) == 0 && recorder_start(recorder_folder) ? 0 : -1;
}

int recorder_tear_down(void **state)
{
	(void)state;
	recorder_stop();
	recorder_folder_remove(recorder_folder);
	return 0;
}

bool recorder_anew(void)
{
	recorder_folder_remove(recorder_folder);
	return recorder_set_up_started(NULL) == 0;
}

void recorder_allocation(const void *block, size_t size)
{
	struct thread *thread = record_enter();
	struct native_start start = { 0 };

	if (!thread)
		return;
	record_allocation(thread, CAPTURE_MALLOC, block, size, &start);
	record_leave(thread);
}

void recorder_free(const void *block)
{
	struct thread *thread = record_enter();

	if (!thread)
		return;
	record_free(thread, CAPTURE_FREE, block);
	record_leave(thread);
}
