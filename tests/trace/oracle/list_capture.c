/* SPDX-License-Identifier: MIT */
/*
 * Prints a capture as the second reader understands it, for decoder.py:  list_capture CAPTURE [FIRST LAST | live]
 *
 *     e KIND STREAM THREAD STACK FLAGS STAMP TIME ADDRESS SIZE     stream by stream, as recorded
 *     n ID FRAME PARENT
 *     m KIND PAYLOAD                                               the payload in hexadecimal digits
 *
 * With FIRST and LAST only allocations of FIRST to LAST bytes.  With "live", instead of the events,
 *
 *     b ADDRESS SIZE STACK                                         the blocks that are live at the end, in no order
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "live_blocks.h"
#include "second_reader.h"

static void list_events(const struct lane *lane, uint64_t first, uint64_t last, bool all)
{
	for (size_t i = 0; i < lane->count; i++) {
		const struct event *event = &lane->events[i];

		if (all || (is_allocation(event->kind) && event->size >= first && event->size <= last))
			printf("e %u %u %u %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", event->kind,
				event->stream, event->thread, event->stack, event->flags, event->stamp, event->time_ns,
				event->address, event->size);
	}
}

static void list_live(struct capture *capture)
{
	struct blocks blocks = { 0 };
	struct merge merge;

	merge_begin(&merge, capture);
	for (const struct event *event; (event = merge_next(&merge));) {
		struct block *block;

		if (is_allocation(event->kind)) {
			block = block_at(&blocks, event->address);
			block->size = event->size;
			block->stack = event->stack;
		} else if ((is_free(event->kind) || is_move(event->kind)) && blocks.count) {
			block = block_find(&blocks, event->address);
			if (block->address)
				block_remove(&blocks, block);
		}
	}
	for (size_t i = 0; blocks.count && i <= blocks.mask; i++)
		if (blocks.slots[i].address)
			printf("b %" PRIu64 " %" PRIu64 " %u\n", blocks.slots[i].address, blocks.slots[i].size,
				blocks.slots[i].stack);
}

static void list_tables(const struct capture *capture)
{
	for (uint32_t id = 0; id < capture->node_count; id++)
		if (capture->nodes[id].known)
			printf("n %u %" PRIu64 " %u\n", id, capture->nodes[id].frame, capture->nodes[id].parent);
	for (size_t i = 0; i < capture->metadata_count; i++) {
		printf("m %u ", capture->metadata[i].kind);
		for (size_t k = 0; k < capture->metadata[i].size; k++)
			printf("%02x", capture->metadata[i].payload[k]);
		putchar('\n');
	}
}

int main(int argc, char **argv)
{
	struct capture capture;
	struct lane lane = { 0 };
	bool live = argc == 3 && !strcmp(argv[2], "live");

	if (argc != 2 && argc != 4 && !live)
		die("usage: list_capture CAPTURE [FIRST LAST | live]");
	uint64_t first = argc == 4 ? strtoull(argv[2], NULL, 10) : 0, last = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;

	capture_open(&capture, argv[1]);
	for (size_t i = 0; i < capture.window_count && !live; i++) {
		lane.count = 0;
		window_decode(&capture, &capture.windows[i], &lane, false);
		list_events(&lane, first, last, argc == 2);
	}
	if (live)
		list_live(&capture);
	list_tables(&capture);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
