/* SPDX-License-Identifier: MIT */
/*
 * A main for fuzz targets without libFuzzer:  fuzz_TARGET CHANGES FILE...
 *
 * Replays the files, each as it is and, so that a stored input tests its neighbourhood too, CHANGES times with a few
 * bytes changed, of which every eighth is also cut short.  A folder stands for the files in it; what is not there for
 * none, since not every target has findings.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"

static void replay_input(const uint8_t *data, size_t size, long changes)
{
	uint8_t *copy = malloc(size ? size : 1);
	uint64_t random = 88172645463325252u;

	require(copy != NULL);
	LLVMFuzzerTestOneInput(data, size);
	for (long i = 0; size && i < changes; i++) {
		memcpy(copy, data, size);
		for (int n = 0; n <= i % 4; n++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			copy[random % size] = (uint8_t)(random >> 40);
		}
		LLVMFuzzerTestOneInput(copy, i % 8 ? size : (size_t)(random >> 20) % (size + 1));
	}
	free(copy);
}

static void replay_file(const char *path, long changes)
{
	enum { SIZE_MAX_READ = 1 << 22 };
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(SIZE_MAX_READ);
	size_t size;

	if (!file || !data) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	size = fread(data, 1, SIZE_MAX_READ, file);
	fclose(file);
	replay_input(data, size, changes);
	free(data);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Returns how many files there were. */
static int replay_path(const char *path, long changes)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_visible, alphasort);
	char name[4096];

	if (count < 0 && errno == ENOENT)
		return 0;
	if (count < 0) {
		replay_file(path, changes);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		replay_file(name, changes);
		free(entries[i]);
	}
	free(entries);
	return count;
}

int main(int count, char **arguments)
{
	long changes = count > 1 ? strtol(arguments[1], NULL, 10) : 0;
	int files = 0;
	FILE *console = stdout;

	for (int i = 2; i < count; i++)
		files += replay_path(arguments[i], changes);
	fprintf(console, "%d inputs, each with %ld neighbours\n", files, changes);
	return files == 0;
}
