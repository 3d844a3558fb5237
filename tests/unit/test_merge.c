/* SPDX-License-Identifier: MIT */
/*
 * The merge of streams by itself: whatever streams are made of, and however small the chunks, what comes out of it is
 * all that went in, each stream in its own order, and stamps never go back.  Replay by the model of test_replay.c shows
 * the rest; here it is about what is no event of the program and may stand under an earlier stamp than what follows it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail      /* ours fills an error */

#include "capture_writer.h"
#include "reader/merge.h"
#include "draw.h"

enum { STREAMS = 4, EVENTS = 6000, BASE = 0x100000 };

struct seen { uint64_t address, stamp; unsigned kind; };

static uint64_t random_state;
static struct seen put[STREAMS][EVENTS], taken[STREAMS][EVENTS], order[STREAMS * EVENTS];
static size_t put_count[STREAMS], taken_count[STREAMS], order_count;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)draw_below(&random_state, below);
}

static void put_sampling(struct writer_stream *stream)
{
	const struct capture_sampling sampling = { .mean_bytes = draw(3) * 4096 };

	put_metadata(stream, CAPTURE_SAMPLING, &sampling, sizeof(sampling));
}

static void put_event(struct writer_stream *stream, unsigned kind, uint64_t address)
{
	const uint32_t number = stream->id;

	if (CAPTURE_IS_ALLOCATION(kind))
		put_alloc(stream, kind, address, 16, 0);
	else
		put_free(stream, kind, address);
	assert_true(put_count[number] < EVENTS);
	put[number][put_count[number]++] = (struct seen){ .address = address, .stamp = stream->stamp, .kind = kind };
}

static void begin(struct writer *writer)
{
	memset(put_count, 0, sizeof(put_count));
	memset(taken_count, 0, sizeof(taken_count));
	order_count = 0;
	writer_init(writer);
	writer->header.version = CAPTURE_VERSION;
	writer->header.features = CAPTURE_SAMPLED;
	writer_start(writer);
}

static void note(uint32_t stream, const struct decoded_event *event)
{
	const unsigned kind = DECODED_KIND(event);

	if (kind < CAPTURE_FREE || kind >= 64)
		return;
	const struct seen seen = { .address = DECODED_OPERAND(event), .stamp = event->stamp, .kind = kind };

	taken[stream][taken_count[stream]++] = seen;
	order[order_count++] = seen;
}

static void merge_all(struct writer *writer, unsigned decoders)
{
	struct error error = { 0 };
	struct decode_crew *crew;
	struct capture *capture;
	struct merge *merge;
	uint64_t stamp = 0;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/sctmem-test-merge-%d.bin", (int)getpid());
	writer_save(writer, path);
	writer_free(writer);
	assert_true(capture_open(&capture, path, &error));
	assert_true(decode_crew_new(&crew, decoders, &error));
	assert_true(merge_open(&merge, capture, crew, &error));
	for (;;) {
		const struct decoded_event *events;
		size_t count, ahead;
		uint32_t stream;

		assert_true(merge_run(merge, &events, &count, &ahead, &stream, &error));
		if (count == 0)
			break;
		for (size_t i = 0; i < count; i++) {
			assert_true(events[i].stamp >= stamp);
			stamp = events[i].stamp;
			note(stream, &events[i]);
		}
		merge_consume(merge, count);
	}
	merge_close(merge);
	decode_crew_free(crew);
	capture_close(capture);
	unlink(path);
	for (unsigned i = 0; i < STREAMS; i++) {
		assert_int_equal(taken_count[i], put_count[i]);
		assert_memory_equal(taken[i], put[i], put_count[i] * sizeof(**put));
	}
}

/* A thread's first words, or a window's, stand under the stamp that it came with, which others have too. */
static void what_is_passed_over_takes_nothing_along(void **state)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		struct writer writer;

		begin(&writer);
		struct writer_stream *first = writer_stream(&writer, 0, 1024), *second = writer_stream(&writer, 1, 1024);

		put_event(first, CAPTURE_MALLOC, BASE);
		put_stamp(first, 2);
		put_event(first, CAPTURE_MALLOC, BASE + 0x1000);
		if (kind == 0)
			put_skip(second, 7, 700);
		else
			put_sampling(second);
		put_stamp(second, 3);
		put_event(second, CAPTURE_FREE, BASE + 0x1000);
		put_stamp(second, 4);
		put_event(second, CAPTURE_MALLOC, BASE + 0x1000);
		merge_all(&writer, 0);
		assert_int_equal(order_count, 4);
		assert_int_equal(order[1].stamp, 2);
		assert_int_equal(order[2].stamp, 3);
	}
}

static void random_streams_keep_their_stamps(void **state)
{
	for (unsigned seed = 1; seed <= 24; seed++) {
		struct writer_stream *streams[STREAMS];
		uint64_t stamp = 0, time_ns = 0;
		struct writer writer;

		random_state = seed * 0x9e3779b97f4a7c15u;
		begin(&writer);
		for (unsigned i = 0; i < STREAMS; i++)
			streams[i] = writer_stream(&writer, i, seed % 2 ? 64 : 1024);
		for (unsigned i = 0; i < 4000; i++) {
			struct writer_stream *stream = streams[draw(STREAMS)];
			const unsigned what = draw(12);

			/* Stamps are shared now and then, as two processors' counters may be equal. */
			if (draw(3))
				stamp += draw(3);
			if (what == 0)
				put_time(stream, time_ns += 1000);
			else if (what < 3)
				put_skip(stream, 1 + draw(5), 100);
			else if (what == 3)
				put_sampling(stream);
			else if (what == 4)
				put_thread(stream, draw(3));
			if (draw(2) && stream->stamp != stamp)
				put_stamp(stream, stamp);
			if (what == 5)
				put_skip(stream, 1, 16);
			if (stream->stamp == stamp)
				put_event(stream, draw(2) ? CAPTURE_MALLOC : CAPTURE_FREE, BASE + draw(64) * 16);
		}
		merge_all(&writer, seed % 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_passed_over_takes_nothing_along),
		cmocka_unit_test(random_streams_keep_their_stamps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
