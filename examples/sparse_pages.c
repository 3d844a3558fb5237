/* SPDX-License-Identifier: MIT */
/*
 * A hundred thousand entries, of which one on every second page stays.
 *
 * The story: load_entry fills about 3,000 pages; after forget, about 1,500 blocks of 112 bytes are left, each on a
 * page of its own.  So 6 MiB of pages are kept for 160 KiB.  `sctmem insights -a pages` names load_entry: pages of
 * about 6 MiB, nearly all of it unused and on sparse pages; the table of entries fills its pages and is no such place.
 * What happens between the samples of resident memory is told by the first events after it, so a few are made.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 100000 };

__attribute__((noinline)) static char *load_entry(unsigned number)
{
	char *entry = malloc(112);

	if (!entry)
		exit(1);
	memset(entry, (int)number, 112);
	return entry;
}

/* Keeps the first entry of each second page. */
__attribute__((noinline)) static unsigned forget(char **entries)
{
	uintptr_t last = 0;
	unsigned kept = 0;

	for (unsigned i = 0; i < ENTRIES; i++) {
		uintptr_t page = (uintptr_t)entries[i] / 8192;

		if (page != last) {
			last = page;
			kept++;
			continue;
		}
		free(entries[i]);
		entries[i] = NULL;
	}
	return kept;
}

int main(void)
{
	char **entries = malloc(ENTRIES * sizeof(*entries));

	if (!entries)
		return 1;
	for (unsigned i = 0; i < ENTRIES; i++)
		entries[i] = load_entry(i);
	unsigned kept = forget(entries);
	for (unsigned i = 0; i < 5; i++) {
		usleep(15000);
		free(malloc(10));
	}
	printf("%s\n", kept > 1000 ? "kept some" : "kept few");
	return 0;
}
