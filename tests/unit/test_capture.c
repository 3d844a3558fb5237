/* SPDX-License-Identifier: MIT */
/*
 * Opening captures: whole, cut, flipped, torn, from the future, and things that are none.  Nothing may crash,
 * nothing may be lost quietly, and what is intact must be read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include <xxhash.h>

#include "draw.h"
#include "golden_capture.h"
#include "reader/capture.h"
#include "reader/decode.h"
#include "reader/profile.h"

static char path[64];

static int set_up(void **state)
{
	snprintf(path, sizeof(path), "/tmp/sctmem-test-capture-%d.bin", (int)getpid());
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return 0;
}

static void save(const void *bytes, size_t size)
{
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

/* What can be read of the file at path: its events, or the status of the error. */
struct reading {
	int status;
	uint64_t events, damage, damaged_windows, nodes;
	char error[1024], problem[256];
};

static struct reading read_all(void)
{
	struct reading reading = { 0 };
	struct error error = { .text = "" };
	struct capture *capture;
	struct capture_buffer buffer = { 0 };

	if (!capture_open(&capture, path, &error)) {
		reading.status = error.status;
		snprintf(reading.error, sizeof(reading.error), "%s", error.text);
		assert_non_null(strstr(error.text, path));
		assert_null(strchr(error.text, '\n'));
		return reading;
	}
	for (size_t i = 0; i < capture->stream_count; i++) {
		for (size_t n = 0; n < capture->streams[i].count; n++) {
			struct events_cursor cursor;
			struct capture_event event;

			if (capture_read(capture, &capture->streams[i], &capture->streams[i].parts[n], &buffer, &cursor) != CAPTURE_READ)
				continue;
			while (events_next(&cursor, &event)) {
				reading.events += event.kind >= CAPTURE_FREE && event.kind < CAPTURE_THREAD_INFO;
				assert_true(capture_absorb(capture, &event, &error));
			}
		}
	}
	for (uint32_t id = 0; id < capture->node_end; id++)
		reading.nodes += capture_find_node(capture, id) != NULL;
	reading.damage = capture->damage.count;
	reading.damaged_windows = capture->damage.windows;
	snprintf(reading.problem, sizeof(reading.problem), "%s", capture->damage.first);
	capture_buffer_finish(&buffer);
	capture_close(capture);
	return reading;
}

static void compare_golden(const char *name, void (*write)(struct writer *writer))
{
	struct writer writer;
	FILE *file = fopen(golden_path(name), "rb");
	uint8_t *bytes;

	write(&writer);
	if (!file && getenv("SCTMEM_GOLDEN_WRITE")) {
		file = fopen(golden_path(name), "wb+");
		assert_non_null(file);
		assert_int_equal(fwrite(writer.bytes, 1, writer.size, file), writer.size);
		rewind(file);
	}
	assert_non_null(file);
	bytes = malloc(writer.size + 1);
	assert_int_equal(fread(bytes, 1, writer.size + 1, file), writer.size);
	assert_memory_equal(bytes, writer.bytes, writer.size);
	fclose(file);
	free(bytes);
	writer_free(&writer);
}

static void the_golden_files_are_what_the_writer_writes(void **state)
{
	compare_golden("capture_v1.bin", golden_write);
	compare_golden("capture_v2.bin", golden_write_v2);
	compare_golden("capture_v3.bin", golden_write_sample);
	compare_golden("capture_v3_symbols.bin", golden_write_symbols);
	compare_golden("capture_v3_compacted.bin", golden_write_compacted);
	compare_golden("capture_v1_pages.bin", golden_write_pages);
	compare_golden("capture_v4.bin", golden_write_first_segment);
	compare_golden("capture_v4.000002.bin", golden_write_second_segment);
	compare_golden("capture_v5_aggregated.bin", golden_write_aggregated);
	compare_golden("capture_v6.bin", golden_write_second_form);
}

static void a_sample_is_read_whole(void **state)
{
	struct writer writer;

	golden_write_sample(&writer);
	save(writer.bytes, writer.size);
	struct reading reading = read_all();
	assert_int_equal(reading.status, 0);
	assert_int_equal(reading.damage, 0);
	writer_free(&writer);
}

/* Holds the bytes that such a line shows against those of a capture. */
static void compare_bytes(const struct writer *writer, const char *shown, unsigned long offset)
{
	for (const char *at = shown; at[0] && at[1] && at[0] != ' '; at += 3) {
		char digits[3] = { at[0], at[1], 0 };

		assert_true(offset < writer->size);
		if (writer->bytes[offset] != strtoul(digits, NULL, 16))
			print_error("capture.md, offset 0x%lx: %s, golden file: %02x\n", offset, digits, writer->bytes[offset]);
		assert_int_equal(writer->bytes[offset++], strtoul(digits, NULL, 16));
		if (!at[2])
			break;
	}
}

/* "0000: 53 43 ..." lines of capture.md are bytes of capture_v1.bin, "v6 0000: 53 43 ..." of capture_v6.bin. */
static void the_document_shows_the_golden_bytes(void **state)
{
	char *document = calloc(1, 1 << 20), *line, *rest;
	FILE *file = fopen(golden_path("../../formats/capture.md"), "r");
	struct writer first, second;
	unsigned lines = 0, second_lines = 0;

	assert_non_null(file);
	assert_true(fread(document, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	golden_write(&first);
	golden_write_second_form(&second);
	for (line = strtok_r(document, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		unsigned long offset;
		int used = 0;

		if (sscanf(line, "    v6 %4lx: %n", &offset, &used) == 1 && used) {
			compare_bytes(&second, line + used, offset);
			second_lines++;
		} else if (sscanf(line, "    %4lx: %n", &offset, &used) == 1 && used) {
			compare_bytes(&first, line + used, offset);
			lines++;
		}
	}
	assert_true(lines >= 12);
	assert_true(second_lines >= 8);
	free(document);
	writer_free(&first);
	writer_free(&second);
}

static void a_whole_capture_is_read_whole(void **state)
{
	struct writer writer;

	golden_write(&writer);
	save(writer.bytes, writer.size);
	struct reading reading = read_all();
	assert_int_equal(reading.status, 0);
	assert_int_equal(reading.events, 20);
	assert_int_equal(reading.nodes, 3);
	assert_int_equal(reading.damage, 0);
	writer_free(&writer);
	golden_write_second_form(&writer);
	save(writer.bytes, writer.size);
	reading = read_all();
	assert_int_equal(reading.status, 0);
	assert_int_equal(reading.events, 15);
	assert_int_equal(reading.nodes, 1);
	assert_int_equal(reading.damage, 0);
	writer_free(&writer);
}

/* At every length: either an error that names the file, or fewer events, and then something is said. */
static void a_capture_cut_anywhere_is_read_up_to_there(void **state)
{
	struct writer writer;
	const size_t zeros = 512;

	golden_write(&writer);
	for (size_t size = 0; size <= writer.size; size += size < 4000 ? 37 : 1) {
		save(writer.bytes, size);
		struct reading reading = read_all();
		if (size < 4096) {
			assert_int_equal(reading.status, STATUS_BAD_CAPTURE);
			continue;
		}
		assert_int_equal(reading.status, 0);
		if (size >= writer.size - zeros)
			assert_int_equal(reading.events, 20);
		else
			assert_true(reading.events < 20);
		/* A file that ends between blocks and has no later window is a shorter capture; else damage is told. */
		if (reading.events < 20 && size > 4096 + 64)
			assert_true(reading.damage > 0);
	}
	writer_free(&writer);
}

static void a_flipped_bit_is_told(void (*write)(struct writer *writer))
{
	struct writer writer;
	unsigned changed = 0;

	write(&writer);
	for (size_t at = 0; at < writer.size - 512; at++) {
		if (at >= 1200 && at < 4096)
			continue;             /* nothing is there */
		writer.bytes[at] ^= (uint8_t)(1 << at % 8);
		save(writer.bytes, writer.size);
		struct reading reading = read_all();
		/* Status fields and the words of windows have no checksum; all else is found out. */
		if (at < 512 || (at >= 1024 && at < 1024 + writer.header.text_size))
			assert_true(reading.status == STATUS_BAD_CAPTURE || reading.status == STATUS_NEWER_CAPTURE);
		changed += reading.status != 0 || reading.damage > 0;
		struct profile *profile = NULL;
		struct error error;
		if (at % 16 == 0 && profile_build(&profile, (const char *[]){ path }, 1, NULL, &error))
			profile_free(profile);
		writer.bytes[at] ^= (uint8_t)(1 << at % 8);
	}
	assert_true(changed > 1000);
	writer_free(&writer);
}

static void a_flipped_bit_never_crashes_and_is_told(void **state)
{
	a_flipped_bit_is_told(golden_write);
	a_flipped_bit_is_told(golden_write_second_form);
}

static void each_wrong_file_has_its_message(void **state)
{
	struct writer writer;
	struct reading reading;

	reading = read_all();
	assert_int_equal(reading.status, STATUS_NO_INPUT);
	save("", 0);
	reading = read_all();
	assert_int_equal(reading.status, STATUS_BAD_CAPTURE);
	assert_non_null(strstr(reading.error, "is empty"));
	save("Just some text, long enough to be mistaken for nothing.\n", 56);
	reading = read_all();
	assert_int_equal(reading.status, STATUS_BAD_CAPTURE);
	assert_non_null(strstr(reading.error, "is not a capture"));
	save("SCTMEM\n more", 12);
	reading = read_all();
	assert_non_null(strstr(reading.error, "text-mode"));
	writer_init(&writer);
	writer.header.version = CAPTURE_VERSION + 1;
	writer_start(&writer);
	writer_save(&writer, path);
	writer_free(&writer);
	reading = read_all();
	assert_int_equal(reading.status, STATUS_NEWER_CAPTURE);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	reading = read_all();
	assert_int_equal(reading.status, STATUS_NO_INPUT);
	assert_non_null(strstr(reading.error, "a directory"));
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	reading = read_all();
	assert_int_equal(reading.status, STATUS_NO_INPUT);
}

/* A window that was appended but not reset counts once; one that was torn counts from its STREAM block. */
static void a_window_in_both_places_counts_once(void **state)
{
	struct writer writer;
	struct writer_stream *stream;
	uint64_t offset;

	for (int torn = 0; torn < 2; torn++) {
		writer_init(&writer);
		writer_start(&writer);
		stream = writer_stream(&writer, 5, 64);
		put_alloc(stream, CAPTURE_MALLOC, 0x1000, 10, 0);
		writer_flush(stream);
		put_alloc(stream, CAPTURE_MALLOC, 0x2000, 10, 0);
		put_free(stream, CAPTURE_FREE, 0x1000);
		offset = writer_flush_without_reset(stream);
		writer_finish(&writer);
		if (torn)
			writer.bytes[offset + sizeof(struct capture_block) + 20] ^= 1;
		writer_save(&writer, path);
		writer_free(&writer);
		struct reading reading = read_all();
		assert_int_equal(reading.events, 3);
		assert_int_equal(reading.damage, 0);
	}
}

static void a_lost_window_is_counted(void **state)
{
	struct writer writer;
	struct writer_stream *stream;
	uint64_t offset = 0;

	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 64);
	for (int i = 0; i < 5; i++) {
		put_alloc(stream, CAPTURE_MALLOC, 0x1000 + 16 * (uint64_t)i, 10, 0);
		offset = i == 2 ? writer_flush(stream) : (writer_flush(stream), offset);
	}
	writer_finish(&writer);
	writer.bytes[offset + 8] ^= 1;         /* its header's stored_size */
	writer_save(&writer, path);
	writer_free(&writer);
	struct reading reading = read_all();
	assert_int_equal(reading.events, 4);
	assert_int_equal(reading.damaged_windows, 1);
	assert_true(reading.damage >= 1);
}

static void gaps_between_blocks_are_skipped(void **state)
{
	struct writer writer;
	struct writer_stream *stream;
	uint8_t torn[3000] = { 0 };

	memset(torn + 64, 0xab, 2000);         /* an append whose payload was written, its header not */
	writer_init(&writer);
	writer_start(&writer);
	writer_gap(&writer, NULL, 8);
	stream = writer_stream(&writer, 0, 64);
	writer_gap(&writer, NULL, 1 << 20);
	for (int i = 0; i < 5; i++) {
		put_alloc(stream, CAPTURE_MALLOC, 0x1000 + 16 * (uint64_t)i, 10, 0);
		writer_flush(stream);
		writer_gap(&writer, torn, sizeof(torn));
	}
	writer_save(&writer, path);
	writer_free(&writer);
	struct reading reading = read_all();
	assert_int_equal(reading.events, 5);
	assert_int_equal(reading.damage, 0);
}

static void a_long_tail_of_zeros_costs_little(void **state)
{
	struct writer writer;
	struct timespec before, after;

	golden_write(&writer);
	writer_gap(&writer, NULL, 20 << 20);
	writer_save(&writer, path);
	writer_free(&writer);
	clock_gettime(CLOCK_MONOTONIC, &before);
	struct reading reading = read_all();
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_int_equal(reading.events, 20);
	assert_int_equal(reading.damage, 0);
	print_message("20 MiB of zeros: %.1f ms\n", (double)(after.tv_sec - before.tv_sec) * 1e3 +
		(double)(after.tv_nsec - before.tv_nsec) / 1e6);
}

/* Appends a block with any header and payload, checksums right. */
static void append_raw(struct writer *writer, struct capture_block block, const void *payload)
{
	block.magic = CAPTURE_BLOCK_MAGIC;
	block.payload_checksum = XXH3_64bits(payload, block.stored_size);
	block.header_checksum = XXH3_64bits(&block, offsetof(struct capture_block, header_checksum));
	writer_gap(writer, &block, sizeof(block));
	writer_gap(writer, payload, block.stored_size);
	writer_gap(writer, NULL, (8 - writer->size % 8) % 8);
}

static void hostile_blocks_take_no_memory(void **state)
{
	static const uint8_t payload[256];
	struct writer writer;
	struct events_prefix prefix = { .record_count = UINT32_MAX, .lengths = { UINT32_MAX, UINT32_MAX } };

	writer_init(&writer);
	writer_start(&writer);
	append_raw(&writer, (struct capture_block){ .kind = CAPTURE_BLOCK_EVENTS, .flags = CAPTURE_BLOCK_LZ4,
		.stored_size = 16, .raw_size = UINT32_MAX }, payload);
	append_raw(&writer, (struct capture_block){ .kind = CAPTURE_BLOCK_EVENTS, .flags = CAPTURE_BLOCK_LZ4, .stream = 1,
		.stored_size = 16, .raw_size = 100 << 20 }, payload);
	append_raw(&writer, (struct capture_block){ .kind = CAPTURE_BLOCK_EVENTS, .stream = 2, .stored_size = sizeof(prefix),
		.raw_size = sizeof(prefix) }, &prefix);
	append_raw(&writer, (struct capture_block){ .kind = CAPTURE_BLOCK_EVENTS, .stream = 3, .stored_size = 8,
		.raw_size = 8 },
		payload);
	append_raw(&writer, (struct capture_block){ .kind = 77, .stored_size = 256, .raw_size = 1 }, payload);
	writer_save(&writer, path);
	writer_free(&writer);
	struct reading reading = read_all();
	assert_int_equal(reading.status, 0);
	assert_int_equal(reading.events, 0);
	assert_int_equal(reading.damaged_windows, 4);
}

static void hostile_nodes_are_refused(void **state)
{
	struct writer writer;
	struct writer_stream *stream;

	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 64);
	put_node(stream, 0, 0, 1);
	put_node(stream, 5, 5, 1);
	put_node(stream, 5, 6, 1);
	put_node(stream, UINT32_MAX, 1, 1);
	put_node(stream, 7, 3, 1);
	put_node(stream, 7, 3, 2);
	put_node(stream, (1 << 26) - 1, 7, 1);
	writer_save(&writer, path);
	writer_free(&writer);
	struct reading reading = read_all();
	assert_int_equal(reading.nodes, 2);
	assert_int_equal(reading.damage, 5);
}

static void large_metadata_comes_in_words_blocks(void **state)
{
	uint64_t words[200] = { 0 };
	struct capture_code code = { .id = 9, .first_line = 3, .file_size = 700, .name_size = 4 };
	struct writer writer;
	struct capture *capture;
	struct error error;

	words[0] = (uint64_t)(sizeof(code) + 704) << 8 | CAPTURE_CODE;
	memcpy(words + 1, &code, sizeof(code));
	memset((char *)(words + 1) + sizeof(code), 'x', 704);
	writer_init(&writer);
	writer_start(&writer);
	writer_words(&writer, 0, words, 1 + (sizeof(code) + 704 + 7) / 8);
	writer_save(&writer, path);
	writer_free(&writer);
	assert_true(capture_open(&capture, path, &error));
	assert_int_equal(capture->damage.count, 0);
	assert_non_null(capture_find_code(capture, 9));
	assert_string_equal(capture_find_code(capture, 9)->name, "xxxx");
	assert_int_equal(strlen(capture_find_code(capture, 9)->file), 700);
	assert_null(capture_find_code(capture, 8));
	capture_close(capture);
}

static void a_capture_brings_its_names_along(void **state)
{
	struct profile_options options = profile_options_default;
	const char *paths[] = { golden_path("capture_v3_symbols.bin") };
	struct profile *profile;
	struct error error = { .text = "" };
	unsigned found = 0;

	options.need_stacks = true;
	assert_true(profile_build(&profile, paths, 1, &options, &error));
	assert_false(profile->captures[0].damaged);
	assert_int_equal(profile->captures[0].embedded_symbols, 2);
	for (uint32_t i = 0; i < profile->frame_count; i++) {
		const struct frame *frame = &profile->frames[i];

		found += strcmp(frame->function, "inner") == 0 && strcmp(frame->file, "main.c") == 0 && frame->line == 12;
		found += strcmp(frame->function, "main") == 0 && frame->line == 30;
		found += strcmp(frame->function, "\033[31m<script>alert(1)</script>\n") == 0 && frame->line == 0;
		found += strcmp(frame->function, "program+0x3000") == 0;
	}
	assert_int_equal(found, 4);
	profile_free(profile);
	options.local_symbols = true;
	assert_true(profile_build(&profile, paths, 1, &options, &error));
	for (uint32_t i = 0; i < profile->frame_count; i++)
		assert_string_not_equal(profile->frames[i].function, "inner");
	profile_free(profile);
}

/* A record of names: each frame has as many places as is said, each with this line. */
static void put_names(struct writer *writer, uint32_t generation, const uint64_t *frames, size_t count, size_t places,
	uint32_t line)
{
	struct symbol_frame found[SYMBOLS_FRAMES_MAX] = { 0 };
	struct names_writer names = { 0 };
	struct error error;
	uint64_t words[4096] = { 0 };
	void *payload;
	size_t size;

	for (size_t i = 0; i < places; i++)
		found[i] = (struct symbol_frame){ .function = "a_function", .file = "a_file.c", .line = line };
	for (size_t i = 0; i < count; i++)
		assert_true(names_add(&names, frames[i], found, places, &error));
	assert_true(names_take(&names, generation, &payload, &size, &error));
	assert_true(size < sizeof(words) - 8);
	words[0] = (uint64_t)size << 8 | CAPTURE_SYMBOLS;
	memcpy(words + 1, payload, size);
	writer_words(writer, 0, words, 1 + (size + 7) / 8);
	free(payload);
}

/* As of a run in segments, each of which has the names of all stacks up to its end. */
static void of_names_that_come_again_only_better_ones_are_kept(void **state)
{
	uint64_t frames[100];
	struct writer writer;
	struct capture *capture;
	struct error error;
	size_t kept = 0, one;

	for (size_t i = 0; i < 100; i++)
		frames[i] = CAPTURE_NATIVE_FRAME(0x1000 + i, 0);
	writer_init(&writer);
	writer_start(&writer);
	for (size_t count = 10; count <= 100; count += 10)
		put_names(&writer, 1, frames, count, 2, 7);
	put_names(&writer, 1, frames, 100, 1, 8);     /* fewer lines, and then as many */
	put_names(&writer, 1, frames, 100, 2, 9);
	put_names(&writer, 1, frames + 1, 1, 3, 10);  /* more */
	put_names(&writer, 2, frames + 2, 1, 1, 11);  /* later */
	put_names(&writer, 1, frames + 2, 1, 5, 12);
	writer_save(&writer, path);
	writer_free(&writer);
	assert_true(capture_open(&capture, path, &error));
	assert_int_equal(capture->damage.count, 0);
	assert_int_equal(capture->named_count, 100);
	assert_int_equal(capture_find_named(capture, frames[0])->places[0].line, 7);
	assert_int_equal(capture_find_named(capture, frames[99])->places[1].line, 7);
	assert_int_equal(capture_find_named(capture, frames[1])->places[2].line, 10);
	assert_int_equal(capture_find_named(capture, frames[2])->places[0].line, 11);
	const struct capture_named *later = capture_find_named(capture, frames[2]);

	assert_string_equal(later->text + later->places->file, "a_file.c");
	/* Ten records of ten frames each, and two of one. */
	assert_int_equal(capture->name_record_count, 12);
	one = capture->name_records[0].size;
	for (size_t i = 0; i < 10; i++) {
		assert_int_equal(capture->name_records[i].size, one);
		kept += one;
	}
	assert_true(kept < 100 * (16 + 2 * 16) + 10 * 64);
	capture_close(capture);
}

/* A record in which each place begins within one long text: kept apart they would be 4,000 times as long. */
static void hostile_names_do_not_become_longer(void **state)
{
	enum { LENGTH = 3000 };
	struct writer writer;
	struct capture *capture;
	struct error error;
	struct { uint64_t word; struct capture_symbols head; struct capture_named_frame frames[LENGTH];
		struct capture_place places[LENGTH]; char text[LENGTH + 8]; } *record = calloc(1, sizeof(*record));
	const size_t size = offsetof(__typeof__(*record), text) - 8 + LENGTH + 2;

	record->word = (uint64_t)size << 8 | CAPTURE_SYMBOLS;
	record->head = (struct capture_symbols){ .frame_count = LENGTH, .place_count = LENGTH, .text_size = LENGTH + 2,
		.generation = 1 };
	memset(record->text + 1, 'x', LENGTH);
	for (uint32_t i = 0; i < LENGTH; i++) {
		record->frames[i] = (struct capture_named_frame){ .frame = CAPTURE_NATIVE_FRAME(0x1000 + i, 0), .place_count = 1 };
		record->places[i] = (struct capture_place){ .function = 1 + i, .line = 1 };
	}
	writer_init(&writer);
	writer_start(&writer);
	put_names(&writer, 1, (uint64_t[]){ CAPTURE_NATIVE_FRAME(0x1000, 0) }, 1, 1, 5);
	writer_words(&writer, 0, (const uint64_t *)record, (size + 15) / 8);
	writer_save(&writer, path);
	writer_free(&writer);
	assert_true(capture_open(&capture, path, &error));
	assert_int_equal(capture->damage.count, 0);
	assert_int_equal(capture->named_count, LENGTH);
	assert_int_equal(capture->name_record_count, 2);
	assert_int_equal(capture->name_records[1].size, size);
	assert_int_equal(capture_find_named(capture, CAPTURE_NATIVE_FRAME(0x1000, 0))->places[0].line, 5);
	capture_close(capture);
	free(record);
}

static void modules_are_found_by_address_and_generation(void **state)
{
	struct writer writer;
	struct writer_stream *stream;
	struct capture *capture;
	struct error error;
	struct capture_buffer buffer = { 0 };
	struct events_cursor cursor;
	struct capture_event event;

	writer_init(&writer);
	writer_start(&writer);
	stream = writer_stream(&writer, 0, 256);
	put_module(stream, 0x2000, 0x3000, 0, 0, 0, "/b");
	put_module(stream, 0x1000, 0x2000, 0, 0, 0, "/a");
	put_module(stream, 0x1000, 0x2000, 0, 1, 0, "/c");
	writer_save(&writer, path);
	writer_free(&writer);
	assert_true(capture_open(&capture, path, &error));
	assert_int_equal(capture_read(capture, capture->streams, capture->streams[0].parts, &buffer, &cursor), CAPTURE_READ);
	while (events_next(&cursor, &event))
		assert_true(capture_absorb(capture, &event, &error));
	capture_sort_modules(capture);
	assert_string_equal(capture->modules[capture_find_module(capture, CAPTURE_NATIVE_FRAME(0x1fff, 0))].path, "/a");
	assert_string_equal(capture->modules[capture_find_module(capture, CAPTURE_NATIVE_FRAME(0x2000, 0))].path, "/b");
	assert_string_equal(capture->modules[capture_find_module(capture, CAPTURE_NATIVE_FRAME(0x1000, 1))].path, "/c");
	assert_int_equal(capture_find_module(capture, CAPTURE_NATIVE_FRAME(0x2500, 1)), -1);
	assert_int_equal(capture_find_module(capture, CAPTURE_NATIVE_FRAME(0xfff, 0)), -1);
	assert_int_equal(capture_find_module(capture, CAPTURE_NATIVE_FRAME(0x3000, 0)), -1);
	capture_buffer_finish(&buffer);
	capture_close(capture);
}

/* Decodes the first stream of the file at path by the fast or the slow way, in chunks of `room`. */
static size_t decode_all(struct capture *capture, bool slow, size_t room, struct decoded_event *out, size_t most)
{
	struct decoder decoder;
	size_t count = 0, got;

	decoder_init(&decoder, capture, &capture->streams[0]);
	decoder.slow = slow;
	while (count + room <= most && (got = decoder_next(&decoder, out + count, room)) > 0)
		count += got;
	decoder_finish(&decoder);
	return count;
}

static void the_fast_decoder_agrees_with_the_cursor(void **state)
{
	enum { MOST = 60000 };
	struct decoded_event *fast = calloc(MOST, sizeof(*fast)), *slow = calloc(MOST, sizeof(*slow));
	uint64_t random = 12345;

	for (int round = 0; round < 30; round++) {
		struct writer writer;
		struct writer_stream *stream;
		struct capture *capture;
		struct error error;

		writer_init(&writer);
		writer.no_lz4 = true;
		writer_start(&writer);
		stream = writer_stream(&writer, 0, 4096);
		for (int i = 0; i < 20000; i++) {
			draw_bits(&random);
			const uint64_t address = random >> (8 + random % 40) & ~(uint64_t)(random % 3 ? 15 : 0);

			switch (random >> 20 & 15) {
			case 0: put_stamp(stream, stream->stamp + (random & 1000000)); break;
			case 1: put_time(stream, stream->time_ns + 1000000); break;
			case 2: put_thread(stream, (uint32_t)(random >> 50)); break;
			case 3: put_map(stream, address, random >> 30, 3, 5); break;
			case 4: put_unmap(stream, CAPTURE_UNMAP, address, random >> 30); break;
			case 5: put_sample(stream, random >> 40, 3, 4); break;
			case 6: put_free(stream, CAPTURE_STAY, address); break;
			case 7: put_free(stream, CAPTURE_MOVE, address); break;
			case 8: case 9: case 10: put_free(stream, CAPTURE_FREE, address); break;
			default: put_alloc(stream, 32 + (unsigned)(random % 14), address, random >> (random % 50), (uint32_t)random);
			}
		}
		writer_save(&writer, path);
		/* In later rounds, a payload with damage behind a right checksum. */
		if (round >= 5) {
			struct capture_block block;
			uint64_t at = stream->block + sizeof(block) + sizeof(struct capture_stream) + 4096 * 8;

			memcpy(&block, writer.bytes + at, sizeof(block));
			writer.bytes[at + sizeof(block) + random % block.stored_size] ^= (uint8_t)(1 << random % 7);
			block.payload_checksum = XXH3_64bits(writer.bytes + at + sizeof(block), block.stored_size);
			block.header_checksum = XXH3_64bits(&block, offsetof(struct capture_block, header_checksum));
			memcpy(writer.bytes + at, &block, sizeof(block));
			save(writer.bytes, writer.size);
		}
		writer_free(&writer);
		assert_true(capture_open(&capture, path, &error));
		const size_t slow_count = decode_all(capture, true, 1000, slow, MOST);
		const uint64_t damage = capture->damage.count;
		const size_t fast_count = decode_all(capture, false, 37 + (size_t)round * 100, fast, MOST);
		assert_int_equal(capture->damage.count, 2 * damage);
		assert_int_equal(slow_count, fast_count);
		assert_memory_equal(slow, fast, slow_count * sizeof(*slow));
		capture_close(capture);
	}
	free(fast);
	free(slow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_golden_files_are_what_the_writer_writes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_document_shows_the_golden_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_whole_capture_is_read_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_sample_is_read_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_capture_cut_anywhere_is_read_up_to_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_flipped_bit_never_crashes_and_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_wrong_file_has_its_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_window_in_both_places_counts_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_lost_window_is_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gaps_between_blocks_are_skipped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_long_tail_of_zeros_costs_little, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hostile_blocks_take_no_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hostile_nodes_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(large_metadata_comes_in_words_blocks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_capture_brings_its_names_along, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_names_that_come_again_only_better_ones_are_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hostile_names_do_not_become_longer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(modules_are_found_by_address_and_generation, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_fast_decoder_agrees_with_the_cursor, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
