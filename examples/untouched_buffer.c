/* SPDX-License-Identifier: MIT */
/*
 * A buffer of 256 MiB "to be safe", of which 16 MiB are used.
 *
 * The story: make_buffer asks for far more than main touches, so at least 200 MiB are live and not resident.
 * `sctmem insights -a untouched` says so and names make_buffer; the 32 MiB of make_index, which are filled, are among
 * the large blocks of that moment, too: who it is of them those samples cannot say. `sctmem insights -a resident` can,
 * of the end: 240 MiB of make_buffer's are not resident, and none of make_index's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noinline)) static char *make_buffer(size_t size)
{
	char *buffer = malloc(size);

	if (!buffer)
		exit(1);
	return buffer;
}

__attribute__((noinline)) static char *make_index(size_t size)
{
	char *index = malloc(size);

	if (!index)
		exit(1);
	memset(index, 7, size);
	return index;
}

int main(void)
{
	char *index = make_index(32 << 20), *buffer = make_buffer(256 << 20);

	memset(buffer, 7, 16 << 20);
	/* Samples of resident memory are taken when something happens. */
	for (unsigned i = 0; i < 5; i++) {
		usleep(15000);
		free(malloc(100));
	}
	printf("%d %d\n", index[1 << 20], buffer[1 << 20]);
	return 0;
}
