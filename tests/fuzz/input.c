/* SPDX-License-Identifier: MIT */
/* See input.h. */
#include "input.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "formats/capture.h"

int input_file(const uint8_t *data, size_t size, char path[INPUT_PATH_SIZE])
{
	int file = memfd_create("fuzz", MFD_CLOEXEC);

	require(file >= 0);
	for (size_t done = 0; done < size;) {
		ssize_t written = write(file, data + done, size - done);

		require(written > 0);
		done += (size_t)written;
	}
	snprintf(path, INPUT_PATH_SIZE, "/proc/self/fd/%d", file);
	return file;
}

void input_repair(uint8_t *bytes, size_t size)
{
	struct capture_header header;
	struct capture_block block;

	if (size < CAPTURE_HEADER_SIZE_MIN)
		return;
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

int input_capture(const uint8_t *data, size_t size, char path[INPUT_PATH_SIZE])
{
	uint8_t *bytes = malloc(size ? size : 1);
	int file;

	require(bytes != NULL);
	if (size)
		memcpy(bytes, data, size);
	input_repair(bytes, size);
	file = input_file(bytes, size, path);
	free(bytes);
	return file;
}

void input_silence(void)
{
	static FILE *nowhere;

	if (nowhere)
		return;
	nowhere = fopen("/dev/null", "we");
	require(nowhere != NULL);
	stdout = nowhere;
	stderr = nowhere;
}
