/* SPDX-License-Identifier: MIT */
/*
 * Property: for any file, profile_build either fails with one line that names it, or gives a profile whose parts
 * agree: parents before children, sites in range, totals that are the sums of the sites.  No crash, no leak, no
 * memory beyond what the file can stand for.
 *
 * Checksums would stop nearly every input at the first block.  So the target repairs them: what the fuzzer changes
 * is then believed, which is what a hostile file would do.
 *
 *     clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_capture.c formats/events.c reader/...
 *
 * With standalone.c instead of libFuzzer it replays the files that it is given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "formats/capture.h"
#include "reader/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair_checksums(uint8_t *bytes, size_t size)
{
	struct capture_header header;
	struct capture_block block;

	memcpy(&header, bytes, sizeof(header));
	if (header.text_size <= size - CAPTURE_TEXT_OFFSET)
		header.checksum = XXH3_64bits_withSeed(bytes + CAPTURE_TEXT_OFFSET, header.text_size,
			XXH3_64bits(&header, offsetof(struct capture_header, checksum)));
	memcpy(bytes, &header, sizeof(header));
	for (size_t at = CAPTURE_HEADER_SIZE_MIN; at + sizeof(block) <= size; at += 8) {
		memcpy(&block, bytes + at, sizeof(block));
		if (block.magic != CAPTURE_BLOCK_MAGIC)
			continue;
		if (block.stored_size <= size - at - sizeof(block))
			block.payload_checksum = XXH3_64bits(bytes + at + sizeof(block), block.stored_size);
		block.header_checksum = XXH3_64bits(&block, offsetof(struct capture_block, header_checksum));
		memcpy(bytes + at, &block, sizeof(block));
	}
}

static void check_profile(const struct profile *profile)
{
	struct cost *costs = calloc(profile->node_count, sizeof(*costs));
	uint64_t total = 0;

	if (!costs)
		return;
	for (uint32_t i = 1; i < profile->node_count; i++) {
		if (profile->nodes[i].parent >= i || profile->nodes[i].frame >= profile->frame_count)
			abort();
	}
	for (size_t i = 0; i < profile->site_count; i++) {
		if (profile->sites[i].node >= profile->node_count || profile->sites[i].thread >= profile->thread_count)
			abort();
		if (profile_counts(profile, &profile->sites[i]))
			total += profile->sites[i].cost.total_bytes;
	}
	profile_inclusive(profile, costs);
	if (total != profile->total.total_bytes || memcmp(&costs[0], &profile->total, sizeof(costs[0])) != 0)
		abort();
	free(costs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct profile_options options = profile_options_default;
	struct profile *profile;
	struct error error = { .text = "" };
	uint8_t *bytes;
	int file;

	if (size < CAPTURE_HEADER_SIZE_MIN)
		return 0;
	bytes = malloc(size);
	file = memfd_create("fuzz", MFD_CLOEXEC);
	if (!bytes || file < 0)
		abort();
	memcpy(bytes, data, size);
	repair_checksums(bytes, size);
	if (write(file, bytes, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	options.no_symbols = true;
	options.timeline_points = 50;
	if (profile_build(&profile, (const char *[]){ path }, 1, &options, &error)) {
		check_profile(profile);
		profile_free(profile);
	} else if (!strstr(error.text, path) && error.status != STATUS_MEMORY) {
		abort();
	}
	close(file);
	free(bytes);
	return 0;
}
