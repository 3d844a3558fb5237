/* SPDX-License-Identifier: MIT */
/*
 * What the page's columns are packed into: whatever their size, base64 of one gzip member that holds them, byte for
 * byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "draw.h"
#include "reader/report_pack.h"

static uint64_t random_state = 88172645463325252u;

static unsigned char digit_value(char digit)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = strchr(digits, digit);

	assert_true(digit != '\0' && found != NULL);
	return (unsigned char)(found - digits);
}

/* In the place of the text; padding only at its end. */
static size_t base64_decode(char *text, size_t size)
{
	unsigned char *to = (unsigned char *)text;
	size_t padding = 0;

	assert_int_equal(size % 4, 0);
	while (padding < 2 && padding < size && text[size - 1 - padding] == '=')
		text[size - 1 - padding++] = 'A';
	for (size_t i = 0; i < size; i += 4) {
		const uint32_t group = (uint32_t)digit_value(text[i]) << 18 | (uint32_t)digit_value(text[i + 1]) << 12 |
			(uint32_t)digit_value(text[i + 2]) << 6 | digit_value(text[i + 3]);

		*to++ = (unsigned char)(group >> 16);
		*to++ = (unsigned char)(group >> 8);
		*to++ = (unsigned char)group;
	}
	return size / 4 * 3 - padding;
}

static void unpacks_to(unsigned char *packed, size_t packed_size, const unsigned char *bytes, size_t size)
{
	unsigned char *found = malloc(size + 1);
	z_stream stream = { .next_in = packed, .avail_in = (uInt)packed_size, .next_out = found, .avail_out = (uInt)size + 1 };

	assert_true(found != NULL && packed_size > 10);
	for (size_t i = 4; i < 8; i++)
		assert_int_equal(packed[i], 0);       /* the time in gzip's header */
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	assert_int_equal(stream.total_out, size);
	assert_memory_equal(found, bytes, size);
	inflateEnd(&stream);
	free(found);
}

/* Bytes that come again every now and then, given in pieces as report_columns.c gives them. */
static void pack_and_unpack(size_t size)
{
	unsigned char *bytes = malloc(size + 1);
	char *text = NULL;
	size_t text_size = 0;
	FILE *out = open_memstream(&text, &text_size);
	struct pack *pack = pack_new(out);

	assert_true(bytes != NULL && out != NULL && pack != NULL);
	for (size_t i = 0; i < size; i++)
		bytes[i] = i > 100 && draw_below(&random_state, 4) ? bytes[i - 100] :
			(unsigned char)draw_below(&random_state, 256);
	for (size_t done = 0; done < size; done++) {
		if (pack->used == PACK_SIZE)
			pack_flush(pack, false);
		pack->bytes[pack->used++] = bytes[done];
	}
	pack_flush(pack, true);
	assert_false(pack->failed);
	pack_free(pack);
	assert_int_equal(fclose(out), 0);
	const size_t packed_size = base64_decode(text, text_size);
	unpacks_to((unsigned char *)text, packed_size, bytes, size);
	free(text);
	free(bytes);
}

static void what_fits_one_piece_is_packed_whole(void **state)
{
	for (size_t size = 0; size < 300; size++)
		pack_and_unpack(size);
	pack_and_unpack(100000);
	pack_and_unpack(PACK_SIZE);
}

static void more_than_one_piece_is_one_member_all_the_same(void **state)
{
	pack_and_unpack(PACK_SIZE + 1);
	pack_and_unpack(PACK_SIZE * 3);
	pack_and_unpack(PACK_SIZE * 3 + 12345);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_one_piece_is_packed_whole),
		cmocka_unit_test(more_than_one_piece_is_one_member_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
