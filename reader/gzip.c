/* SPDX-License-Identifier: MIT */
/*
 * See gzip.h.
 */
#include "gzip.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

enum { STORED_SIZE = 1 << 16, GZIP_WINDOW = 15 + 16, MEMORY_LEVEL = 8 };

struct gzip {
	z_stream stream;
	FILE *below;
	unsigned char stored[STORED_SIZE];
};

/* Takes all of next_in; with Z_FINISH also ends the member. */
static bool compress_all(struct gzip *gzip, int flush)
{
	z_stream *stream = &gzip->stream;
	int result;

	do {
		stream->next_out = gzip->stored;
		stream->avail_out = STORED_SIZE;
		result = deflate(stream, flush);
		if (result == Z_STREAM_ERROR ||
			fwrite(gzip->stored, 1, STORED_SIZE - stream->avail_out, gzip->below) != STORED_SIZE - stream->avail_out)
			return false;
	} while (stream->avail_out == 0);
	return flush != Z_FINISH || result == Z_STREAM_END;
}

static ssize_t gzip_write(void *cookie, const char *bytes, size_t size)
{
	struct gzip *gzip = cookie;
	const size_t most = 1 << 30;

	size = size < most ? size : most;
	gzip->stream.next_in = (unsigned char *)(uintptr_t)bytes;
	gzip->stream.avail_in = (uInt)size;
	if (compress_all(gzip, Z_NO_FLUSH))
		return (ssize_t)size;
	errno = EIO;
	return 0;
}

static int gzip_end(void *cookie)
{
	struct gzip *gzip = cookie;
	bool ended;

	gzip->stream.avail_in = 0;
	ended = compress_all(gzip, Z_FINISH);
	deflateEnd(&gzip->stream);
	free(gzip);
	errno = EIO;
	return ended ? 0 : EOF;
}

FILE *gzip_open(FILE *below)
{
	const cookie_io_functions_t functions = { .write = gzip_write, .close = gzip_end };
	struct gzip *gzip = calloc(1, sizeof(*gzip));
	FILE *file;

	if (!gzip)
		return NULL;
	gzip->below = below;
	if (deflateInit2(&gzip->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL,
		Z_DEFAULT_STRATEGY) != Z_OK) {
		free(gzip);
		return NULL;
	}
	file = fopencookie(gzip, "w", functions);
	if (!file) {
		deflateEnd(&gzip->stream);
		free(gzip);
	}
	return file;
}

bool gzip_close(FILE *stream, struct error *error)
{
	const bool failed = ferror(stream);

	if (fclose(stream) == 0 && !failed)
		return true;
	return fail(error, STATUS_OUTPUT, "cannot write the compressed output; is there room?");
}
