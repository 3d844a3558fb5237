/* SPDX-License-Identifier: MIT */
/*
 * The capture file: made, grown, and written through shared mappings, so that what is written is in the file at
 * once and a write can neither fail half-way nor reach a descriptor that the program has meanwhile given to a file
 * of its own.
 */
#ifndef SCTMEM_PRELOAD_OUTPUT_H
#define SCTMEM_PRELOAD_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/capture.h"

/* What the header says that output.c cannot find out by itself. */
struct output_origin {
	enum capture_origin origin;
	uint64_t parent_stamp, parent_time_ns, parent_start_realtime_ns;
	const char *parent_path;      /* NULL: none */
	uint64_t start_monotonic_ns;  /* time 0 of this capture */
};

/* Makes the file named by the configuration and maps its header.  false: nothing is recorded. */
bool output_open(const struct output_origin *origin);
/*
 * Rotation: which segment of the run is being written, from 1; 0: the capture is one file.  It changes under the lock
 * that the file grows under, before anything is copied into the new one.
 */
extern _Atomic uint32_t output_segment;
/* Runs `work` under that lock, with all signals blocked. */
void output_locked(void (*work)(void *), void *argument);
/*
 * Only under it.  Begins the file of the next segment, whose header is then the status that everybody writes to.
 * false: it could not be made; all goes on in the present one.
 */
bool output_next_segment(void);
/* Only under it: of the run's files the newest `keep` stay; 0: all.  false: another could not be removed yet. */
bool output_remove_old(uint32_t keep);
/* Only under it: a block of its own at the end of the present file. */
bool output_append_locked(struct capture_block *header, const void *payload, size_t size);
/* Bytes of the present file; how many of them are blocks that threads have appended. */
uint64_t output_size(uint64_t *appended);

/* Recording is over and may begin anew: the descriptor is given back; what is mapped stays for who is writing there. */
void output_close(void);
/* Before the next capture of this process: the header's mapping goes, too. */
void output_release(void);
/* In a fork child: forget the parent's file without touching it. */
void output_forget(void);
/* The same in a child that is not to record: nothing of it can lead to the parent's file again. */
void output_abandon(void);
/* In a fork child: puts memory of its own in the place of a window of the parent's file. */
void output_detach(struct capture_stream *window);

struct capture_status *output_status(void);   /* a dummy before output_open */
const char *output_path(void);
uint64_t output_inode(void);                  /* of the present file */
int output_failure(void);                     /* the errno value of an output_open that failed; 0: unknown */
uint64_t output_start_realtime_ns(void);

/* Appends a block whole.  header's sizes, checksums and magic are filled in here.  false: storage is at its end. */
bool output_append(struct capture_block *header, const void *payload, size_t size);

/* A new STREAM block with room for at least `words` words; NULL: storage is at its end. */
struct capture_stream *output_stream(uint32_t stream, size_t words);

/* At an orderly exit: gives back the space taken in advance.  Other threads may go on recording. */
void output_trim(void);

#endif
