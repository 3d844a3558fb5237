/* SPDX-License-Identifier: MIT */
/*
 * Property: for any files that lie beside each other, or are named together, opening them as the segments of a run
 * fails with one line, or gives a profile whose parts agree; so does following the first while the others come.
 *
 * Input: files one after another; each begins with the magic of a capture.
 */
#include <string.h>
#include <unistd.h>

#include "check_profile.h"
#include "formats/capture.h"
#include "input.h"
#include "reader/profile_live.h"

enum { FILES_MAX = 6, PATH_SIZE = 96 };

static char folder[64];
static char paths[FILES_MAX][PATH_SIZE];

static void remove_folder(void)
{
	for (int i = 0; i < FILES_MAX; i++)
		unlink(paths[i]);
	rmdir(folder);
}

static void make_folder(void)
{
	if (*folder)
		return;
	snprintf(folder, sizeof folder, "%s/sctmem-fuzz-segments-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	require(mkdtemp(folder) != NULL);
	for (int i = 0; i < FILES_MAX; i++)
		snprintf(paths[i], PATH_SIZE, i ? "%s/run.%06d.bin" : "%s/run.bin", folder, i + 1);
	atexit(remove_folder);
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size);
	FILE *file = fopen(path, "wb");

	require(bytes != NULL && file != NULL);
	memcpy(bytes, data, size);
	input_repair(bytes, size);
	require(fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
	free(bytes);
}

static void build(const char *const *named, size_t count, const struct profile_options *options)
{
	struct error error = { .text = "" };
	struct profile *profile;

	if (profile_build(&profile, (const char **)(uintptr_t)named, count, options, &error)) {
		check_profile(profile);
		profile_free(profile);
	} else {
		require(strstr(error.text, folder) != NULL || error.status == STATUS_MEMORY);
	}
}

static void look(struct profile_live *live)
{
	struct error error = { .text = "" };

	if (profile_live_look(live, &error))
		check_profile(profile_live_get(live));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct profile_options options = profile_options_default;
	const uint8_t *starts[FILES_MAX + 1], *end = data + size, *at = data;
	const char *named[FILES_MAX];
	struct error error = { .text = "" };
	struct profile_live *live = NULL;
	size_t count = 0;

	make_folder();
	while (count < FILES_MAX && at < end && (at = memmem(at, (size_t)(end - at), CAPTURE_MAGIC, 8))) {
		starts[count++] = at;
		at += 8;
	}
	starts[count] = end;
	options.no_symbols = true;
	options.timeline_points = 20;
	for (size_t i = 0; i < count; i++) {
		named[i] = paths[i];
		write_file(paths[i], starts[i], (size_t)(starts[i + 1] - starts[i]));
		if (i == 0 && !profile_live_open(&live, paths[0], &options, &error))
			live = NULL;
		if (live)
			look(live);
	}
	if (live)
		look(live);
	profile_live_close(live);
	if (count > 0) {
		build(named, 1, &options);
		build(named, count, &options);
		/* As --keep leaves it. */
		unlink(paths[0]);
		build(named, 1, &options);
	}
	for (size_t i = 1; i < count; i++)
		unlink(paths[i]);
	return 0;
}
