/* SPDX-License-Identifier: MIT */
/*
 * For tests that follow a capture which they write: the file as its process would leave it at this moment, and whether
 * a profile that was brought up to date look by look (reader/profile_live.h) is that of the whole file.
 */
#ifndef SCTMEM_TESTS_FOLLOWED_H
#define SCTMEM_TESTS_FOLLOWED_H

#include <stdint.h>

#include "capture_writer.h"
#include "reader/profile_live.h"

/* Writes what there is into the same file, as its process would: the bytes change in place. */
void followed_store(struct writer *writer, const char *path);
/* As the recorder has it: so the process of the capture, which we are, is alive.  4096 bytes. */
void *followed_map(const char *path);

struct profile_live *followed_open(const char *path);
void followed_look(struct profile_live *live);
/* Site by site, with their stacks, against a profile of the whole file. */
void followed_compare(const struct profile *live, const char *path, const char *when);

/*
 * A run in segments, of two folders: in one its files come and go, in the other all stay.  A stream's thread goes over
 * into the newest file with its next event.
 */
enum { RUN_STREAMS = 4, RUN_NODES = 40, RUN_SEGMENTS = 64 };

extern struct growing {
	uint64_t random;
	char folder[2][64];
	struct writer writers[RUN_SEGMENTS];
	uint32_t count;               /* of files */
	size_t window;                /* words */
	uint64_t features;
	writer_hand_on *hand_on;
	struct writer_stream *streams[RUN_STREAMS];
	uint32_t parents[RUN_NODES + 1], nodes;
	uint64_t stamp, now;
	uint64_t late;                /* a file says of itself that it began so much later in stamps */
	void *mapped;                 /* the newest file */
} growing;

void run_begin(uint32_t seed, size_t window, uint64_t features, writer_hand_on *hand_on);
void run_end(void);
void run_path(char *out, size_t size, int folder, uint32_t number);
void run_put_nodes(struct writer_stream *stream, uint32_t first, uint32_t last);
/* The next file; the one before says so, as the recorder does it. */
void run_begin_segment(void);
void run_remove(int folder, uint32_t last);
void run_store(void);
/* What comes after it has later stamps: at one stamp the order of two threads is that in which they are read. */
void run_look(struct profile_live *live);
/* The stream's place in the newest file.  Sometimes somebody (live: not NULL) looks while its thread is on the way. */
struct writer_stream *run_stream(uint32_t s, struct profile_live *live);

#endif
