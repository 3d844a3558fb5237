/* SPDX-License-Identifier: MIT */
/*
 * Texts that grow by 100 bytes at a time.
 *
 * The story: append reallocates its text a thousand times, to 100,000 bytes, for each of twenty texts, and since
 * another block is allocated between, realloc often has to move it.  A reserve of 100,000 bytes from the start would
 * do without.  `sctmem insights -a growth` names append with 19,980 reallocs of 20 blocks (the first is none: there
 * was no block yet), what was copied, and the reserve.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS = 20, STEPS = 1000, STEP = 100 };

struct text { char *bytes; size_t size; };

__attribute__((noinline)) static void append(struct text *text, char letter)
{
	char *grown = realloc(text->bytes, text->size + STEP);

	if (!grown)
		exit(1);
	memset(grown + text->size, letter, STEP);
	text->bytes = grown;
	text->size += STEP;
}

__attribute__((noinline)) static void *note(void)
{
	return malloc(24);
}

int main(void)
{
	size_t all = 0, notes = 0;

	for (unsigned i = 0; i < TEXTS; i++) {
		struct text text = { 0 };

		for (unsigned step = 0; step < STEPS; step++) {
			append(&text, (char)('a' + step % 26));
			notes += note() != NULL;      /* kept, and so in the way */
		}
		all += text.size;
		free(text.bytes);
	}
	printf("%zu %zu\n", all, notes);
	return 0;
}
