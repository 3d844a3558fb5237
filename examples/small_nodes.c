/* SPDX-License-Identifier: MIT */
/*
 * A list of half a million nodes of 25 bytes, and a table that fits its size class.
 *
 * The story: malloc takes 48 bytes for each node, so nearly half of the list is slop: 23 bytes a node, 11.0 MiB.  The
 * table of 8 MiB has next to none.  `sctmem insights -a slop` names make_node with 47.9 % and "25 B, really 48 B".
 * A node of 24 bytes would take 32.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 500000 };

struct __attribute__((packed)) node {
	struct node *next;
	char name[16];
	char kind;
};
_Static_assert(sizeof(struct node) == 25, "one byte too many for a class");

__attribute__((noinline)) static struct node *make_node(struct node *next, unsigned number)
{
	struct node *node = malloc(sizeof(*node));

	if (!node)
		exit(1);
	node->next = next;
	node->kind = (char)(number % 3);
	snprintf(node->name, sizeof(node->name), "%u", number);
	return node;
}

__attribute__((noinline)) static char *make_table(size_t size)
{
	char *table = malloc(size);

	if (!table)
		exit(1);
	memset(table, 1, size);
	return table;
}

int main(void)
{
	char *table = make_table(8 << 20);
	struct node *list = NULL;
	unsigned count = 0;

	for (unsigned i = 0; i < NODES; i++)
		list = make_node(list, i);
	for (struct node *node = list; node; node = node->next)
		count += node->kind == 0;
	printf("%u %d\n", count, table[12345]);
	return 0;
}
