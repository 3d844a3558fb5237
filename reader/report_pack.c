/* SPDX-License-Identifier: MIT */
/*
 * See report_pack.h.  The time in gzip's header is 0, by zlib and libdeflate alike, so that equal profiles give equal
 * pages.
 */
#include "report_pack.h"

#include <stdint.h>
#include <stdlib.h>
#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif
#include <zlib.h>

enum {
	GZIP_WINDOW = 15 + 16,        /* 16 asks zlib for a gzip header */
	MEMORY_LEVEL = 9,
	STREAM_LEVEL = 6,
	WHOLE_LEVEL = 5,              /* a little smaller than by zlib at 6 */
	STORED_SIZE = 3 << 14,        /* a multiple of 3, so that base64 needs padding only at the end */
};

struct pack_stream {
	z_stream zlib;
	unsigned char stored[STORED_SIZE];
};

struct pack *pack_new(FILE *out)
{
	struct pack *pack = malloc(sizeof(*pack));

	if (!pack)
		return NULL;
	pack->out = out;
	pack->stream = NULL;
	pack->failed = false;
	pack->used = 0;
	return pack;
}

void pack_free(struct pack *pack)
{
	if (pack && pack->stream)
		deflateEnd(&pack->stream->zlib);
	if (pack)
		free(pack->stream);
	free(pack);
}

static size_t base64_encode(char *to, const unsigned char *from, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *start = to;
	for (size_t i = 0; i < size; i += 3) {
		uint32_t group = (uint32_t)from[i] << 16 | (i + 1 < size ? (uint32_t)from[i + 1] << 8 : 0) |
			(i + 2 < size ? from[i + 2] : 0);
		*to++ = digits[group >> 18];
		*to++ = digits[group >> 12 & 63];
		*to++ = i + 1 < size ? digits[group >> 6 & 63] : '=';
		*to++ = i + 2 < size ? digits[group & 63] : '=';
	}
	return (size_t)(to - start);
}

/* Pieces other than the last are of STORED_SIZE. */
static void write_text(struct pack *pack, const unsigned char *stored, size_t size)
{
	char text[STORED_SIZE / 3 * 4];

	for (size_t done = 0, piece; done < size; done += piece) {
		piece = size - done < STORED_SIZE ? size - done : STORED_SIZE;
		fwrite(text, 1, base64_encode(text, stored + done, piece), pack->out);
	}
}

/* False when it was not done: then zlib does it. */
static bool pack_whole(struct pack *pack)
{
#ifdef HAVE_LIBDEFLATE
	struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(WHOLE_LEVEL);
	const size_t room = compressor ? libdeflate_gzip_compress_bound(compressor, pack->used) : 0;
	unsigned char *stored = room ? malloc(room) : NULL;
	const size_t size = stored ? libdeflate_gzip_compress(compressor, pack->bytes, pack->used, stored, room) : 0;

	write_text(pack, stored, size);
	free(stored);
	libdeflate_free_compressor(compressor);
	return size > 0;
#else
	(void)pack;
	return false;
#endif
}

static bool begin_stream(struct pack *pack)
{
	struct pack_stream *stream = malloc(sizeof(*stream));

	if (!stream)
		return false;
	stream->zlib = (z_stream){ .next_out = stream->stored, .avail_out = STORED_SIZE };
	if (deflateInit2(&stream->zlib, STREAM_LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(stream);
		return false;
	}
	pack->stream = stream;
	return true;
}

static void pack_piece(struct pack *pack, bool last)
{
	z_stream *zlib = &pack->stream->zlib;

	zlib->next_in = pack->bytes;
	zlib->avail_in = (uInt)pack->used;
	while (!pack->failed) {
		const int result = deflate(zlib, last ? Z_FINISH : Z_NO_FLUSH);
		const bool ended = result == Z_STREAM_END;

		pack->failed = result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR;
		if (zlib->avail_out && !ended)
			return;
		write_text(pack, pack->stream->stored, STORED_SIZE - zlib->avail_out);
		zlib->next_out = pack->stream->stored;
		zlib->avail_out = STORED_SIZE;
		if (ended)
			return;
	}
}

void pack_flush(struct pack *pack, bool last)
{
	if (!pack->stream && last && pack_whole(pack)) {
		pack->used = 0;
		return;
	}
	if (!pack->stream && !pack->failed)
		pack->failed = !begin_stream(pack);
	if (!pack->failed)
		pack_piece(pack, last);
	pack->used = 0;
}
