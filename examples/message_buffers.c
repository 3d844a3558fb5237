/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand messages, each read into a buffer that malloc gives and free takes back.
 *
 * The story: read_message asks for 4096 bytes again and again and never has more than one such block, so keeping one
 * would save 9,999 calls.  keep_summary asks for as many blocks of one size, and keeps them: no churn.
 * `sctmem insights -a churn` names read_message with 9,999 of 10,000 allocations and one block live at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 10000 };

__attribute__((noinline)) static unsigned read_message(unsigned number)
{
	char *buffer = malloc(4096);
	unsigned sum;

	if (!buffer)
		exit(1);
	memset(buffer, (int)(number & 63), 4096);
	sum = (unsigned)buffer[17];
	free(buffer);
	return sum;
}

__attribute__((noinline)) static unsigned *keep_summary(unsigned sum)
{
	unsigned *summary = malloc(100);

	if (!summary)
		exit(1);
	*summary = sum;
	return summary;
}

int main(void)
{
	static unsigned *summaries[MESSAGES];
	unsigned all = 0;

	for (unsigned i = 0; i < MESSAGES; i++)
		summaries[i] = keep_summary(read_message(i));
	for (unsigned i = 0; i < MESSAGES; i++)
		all += *summaries[i];
	printf("%u\n", all);
	return 0;
}
