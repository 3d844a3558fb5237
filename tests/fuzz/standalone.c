/* SPDX-License-Identifier: MIT */
/*
 * A main for fuzz targets without libFuzzer: replays the files named on the command line, each as it is and, so
 * that a stored input tests its neighbourhood too, cut short and with single bytes changed a few hundred times.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_input(const uint8_t *data, size_t size)
{
	enum { CHANGES = 300 };
	uint8_t *copy = malloc(size ? size : 1);
	uint64_t random = 88172645463325252u;

	if (!copy)
		abort();
	LLVMFuzzerTestOneInput(data, size);
	for (int i = 0; size && i < CHANGES; i++) {
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

int main(int count, char **arguments)
{
	for (int i = 1; i < count; i++) {
		FILE *file = fopen(arguments[i], "rb");
		size_t capacity = 1 << 22, size;
		uint8_t *data = malloc(capacity);

		if (!file || !data) {
			fprintf(stderr, "cannot read %s\n", arguments[i]);
			return 1;
		}
		size = fread(data, 1, capacity, file);
		fclose(file);
		replay_input(data, size);
		free(data);
	}
	return 0;
}
