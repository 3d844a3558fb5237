/* SPDX-License-Identifier: MIT */
/*
 * Property: for every name, demangle ends (within the fuzzer's time limit), writes within the buffer and ends it with
 * a NUL; a name that is not mangled comes out as it went in, or cut; a small buffer gives the large one's beginning
 * (a name can turn out to be damaged behind what the small one holds: then it is taken for one, and cut).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "reader/demangle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { LARGE = 4096, SMALL = 24 };
	char *name = malloc(size + 1), *large = malloc(LARGE), *small = malloc(SMALL);
	require(name != NULL && large != NULL && small != NULL);
	memcpy(name, data, size);
	name[size] = '\0';
	bool mangled = demangle(name, large, LARGE);
	require(strnlen(large, LARGE) < LARGE);
	if (!mangled && strlen(name) < LARGE)
		require(strcmp(name, large) == 0);
	bool small_mangled = demangle(name, small, SMALL);
	require(small_mangled || !mangled);
	size_t length = strnlen(small, SMALL);
	require(length < SMALL);
	if (small_mangled == mangled && strcmp(small, large) != 0) {
		require(length >= 3 && strcmp(small + length - 3, "...") == 0);
		require(memcmp(small, large, length - 3) == 0);
	}
	free(name);
	free(large);
	free(small);
	return 0;
}
