/* SPDX-License-Identifier: MIT */
/*
 * Writes a large capture and measures how fast it becomes a profile:  bench_reader FILE [MILLIONS [STREAMS [LIVE]]]
 *
 * Most blocks are short-lived, as in real programs: half of the frees are of the newest block, half of any of the
 * live ones.  Prints events per second, and what a second pass without a stack tree takes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "reader/profile.h"
#include "tests/unit/capture_writer.h"

static uint64_t random_state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 33) % below);
}

enum { WINDOW = 32768, STACKS = 3000 };

/* One thread's blocks. */
struct heap { uint64_t *blocks; uint32_t count, next; };

static uint64_t take_address(struct heap *heap, uint64_t base)
{
	return base + heap->next++ * (uint64_t)64;
}

static void write_capture(const char *path, uint64_t events, uint32_t stream_count, uint32_t live)
{
	struct heap *heaps = calloc(stream_count, sizeof(*heaps));
	uint64_t stamp = 0, time = 0;
	struct writer writer;

	if (!heaps)
		abort();
	writer_init(&writer);
	writer_start(&writer);
	for (uint32_t i = 0; i < stream_count; i++) {
		struct writer_stream *stream = writer_stream(&writer, i, WINDOW);

		heaps[i].blocks = calloc(live + 1, sizeof(uint64_t));
		put_thread(stream, i);
	}
	for (uint32_t i = 1; i < STACKS; i++)
		put_node(&writer.streams[0], i, i / 3, CAPTURE_PYTHON_FRAME(i % 500, i));
	/* The inner loop counts the events. */
	for (uint64_t i = 0; i < events;) {
		const uint32_t s = stream_count == 1 ? 0 : draw(stream_count);
		struct writer_stream *stream = &writer.streams[s];
		struct heap *heap = &heaps[s];

		/* Streams take turns of some dozens of events between stamps. */
		if (stream_count > 1)
			put_stamp(stream, ++stamp);
		if (i % 40000 == 0)
			put_time(stream, time += 4000000);
		for (int n = 0; n < (stream_count == 1 ? 1 : 20); n++, i++) {
			if (heap->count < live / 2 || (heap->count < live && draw(2))) {
				uint64_t address = heap->blocks[heap->count] ? heap->blocks[heap->count] :
					take_address(heap, 0x7f0000000000 + ((uint64_t)s << 36));

				heap->blocks[heap->count++] = address;
				put_alloc(stream, CAPTURE_PYOBJECT_MALLOC, address, 16 + draw(200), 1 + draw(draw(STACKS - 1) + 1));
			} else {
				const uint32_t which = draw(2) ? heap->count - 1 : draw(heap->count);
				const uint64_t address = heap->blocks[which];

				heap->blocks[which] = heap->blocks[--heap->count];
				heap->blocks[heap->count] = address;
				put_free(stream, CAPTURE_FREE_PYTHON, address);
			}
		}
	}
	writer_save(&writer, path);
	writer_free(&writer);
	for (uint32_t i = 0; i < stream_count; i++)
		free(heaps[i].blocks);
	free(heaps);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
	const char *path = count > 1 ? arguments[1] : "bench_reader.bin";
	const uint64_t millions = count > 2 ? strtoull(arguments[2], NULL, 10) : 20;
	const uint32_t streams = count > 3 ? (uint32_t)strtoul(arguments[3], NULL, 10) : 1;
	const uint32_t live = count > 4 ? (uint32_t)strtoul(arguments[4], NULL, 10) : 200000;
	struct stat status;

	if (stat(path, &status) != 0)
		write_capture(path, millions * 1000000, streams, live / streams);
	for (int round = 0; round < 4; round++) {
		struct profile_options options = profile_options_default;
		const double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
		struct profile *profile;
		struct error error;
		struct rusage usage;

		options.need_stacks = round % 2 == 0;
		if (!profile_build(&profile, (const char *[]){ path }, 1, &options, &error)) {
			fprintf(stderr, "%s\n", error.text);
			return 1;
		}
		getrusage(RUSAGE_SELF, &usage);
		const double took = seconds(CLOCK_MONOTONIC) - wall;
		printf("%s: %.3f s, %.3f s of processor, %.1f M events/s, %.2f B/event, %zu sites, at most %ld MiB\n",
			options.need_stacks ? "with stacks" : "without", took, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
			(double)profile->captures[0].events / took / 1e6,
			(double)profile->captures[0].file_bytes / (double)profile->captures[0].events, profile->site_count,
			usage.ru_maxrss / 1024);
		profile_free(profile);
	}
	return 0;
}
