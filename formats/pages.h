/* SPDX-License-Identifier: MIT */
/*
 * The payload of a PAGES record: which pages of the process's private memory, and of shared memory, were resident at
 * one moment.  Written by preload/pages.c, read by the reader.  No I/O, no allocation; the reading half takes any
 * bytes.
 *
 *     struct capture_pages, then ranges until the payload ends:
 *         kind, 1 byte | zigzag(first page - end of the range before) | length in pages | runs that add up to length
 *         run: length << 2 | state                                       (numbers are LEB128 varints)
 *
 * A sample that does not fit one record goes on in further parts, one behind the other in one stream, under one stamp;
 * each part can be read by itself.  A sample without its last part was cut short by the process's end.
 */
#ifndef SCTMEM_FORMATS_PAGES_H
#define SCTMEM_FORMATS_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture_pages {
	uint32_t number;              /* of the sample in its capture, from 0 */
	uint16_t part;                /* from 0 */
	uint16_t flags;               /* enum pages_flag */
	uint16_t reason;              /* enum pages_reason */
	uint16_t error;               /* PAGES_UNAVAILABLE: the errno value */
	uint32_t reserved;
	uint64_t duration_ns;         /* what it took, in the last part */
};
_Static_assert(sizeof(struct capture_pages) == 24, "capture.md, PAGES");

enum pages_flag {
	PAGES_LAST = 1 << 0,
	PAGES_CUT = 1 << 1,           /* it took too long, or too much: what lies behind was not looked at */
	PAGES_UNAVAILABLE = 1 << 2,   /* the system refused, or might end the process for it: there are no ranges */
	PAGES_FILES_CUT = 1 << 3,     /* not all private memory of files was looked at */
	/* In the last part: private memory that is not resident, and in no range of PAGES_SWAPPED, is not swapped either. */
	PAGES_SWAP_TOLD = 1 << 4,
	PAGES_SHARED_CUT = 1 << 5,    /* not all shared memory was looked at */
};
enum pages_reason { PAGES_ASKED, PAGES_EXIT, PAGES_GROWN };
enum pages_kind {
	PAGES_ANONYMOUS = 1,
	PAGES_BREAK,
	PAGES_STACK,                  /* the main thread's */
	PAGES_FILE,                   /* resident is what the process has written of it */
	PAGES_ZEROED,                 /* anonymous memory right behind a file's */
	/* Whose some of that memory is; these have one run of state 0. */
	PAGES_OWN = 16,
	PAGES_THREAD_STACK,
	/* Newer than the first readers, who skip them: so nothing is resident in their places in the kinds above. */
	PAGES_SWAPPED,                /* state 1: of pages that are not resident in another range: they are swapped out */
	PAGES_SHARED,                 /* shared memory; resident is what the process has touched */
};
enum pages_state { PAGES_ABSENT, PAGES_RESIDENT, PAGES_STATE_COUNT };

#define PAGES_PAGE_BYTES 4096      /* what page numbers count in */

/* The most bytes that a range of so many pages takes. */
#define PAGES_RANGE_BYTES_MAX(pages) ((size_t)(pages) + 1 + 10 + 10 + 10)

static inline uint8_t *pages_put_number(uint8_t *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

/* What begins a range. */
static inline uint8_t *pages_put_head(uint8_t *at, unsigned kind, uint64_t first, uint64_t *previous_end, size_t count)
{
	const int64_t ahead = (int64_t)(first - *previous_end);

	*previous_end = first + count;
	*at++ = (uint8_t)kind;
	at = pages_put_number(at, (uint64_t)ahead << 1 ^ (uint64_t)(ahead >> 63));
	return pages_put_number(at, count);
}

/* One range, of which bit 0 of each byte of `resident` says whether the page is; as mincore() writes them. */
static inline uint8_t *pages_put_range(uint8_t *at, unsigned kind, uint64_t first, uint64_t *previous_end,
	const uint8_t *resident, size_t count)
{
	at = pages_put_head(at, kind, first, previous_end, count);
	for (size_t i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && ((resident[end] ^ resident[i]) & 1) == 0;)
			end++;
		at = pages_put_number(at, (uint64_t)(end - i) << 2 | (resident[i] & 1));
	}
	return at;
}

/* A range of memory that is somebody's. */
static inline uint8_t *pages_put_owner(uint8_t *at, unsigned kind, uint64_t first, uint64_t *previous_end, size_t count)
{
	return pages_put_number(pages_put_head(at, kind, first, previous_end, count), (uint64_t)count << 2);
}

/* Where in a payload a reader is; `left` pages of the range are still to come. */
struct pages_cursor {
	const uint8_t *at, *end;
	uint64_t page, left;
	unsigned kind;
	bool bad;                     /* sticky: it contradicts itself here */
};

struct pages_run { uint64_t first, count; unsigned kind, state; };

static inline bool pages_number(struct pages_cursor *cursor, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 64 && cursor->at < cursor->end; shift += 7) {
		const uint8_t byte = *cursor->at++;

		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	cursor->bad = true;
	return false;
}

/* The next run; false: there is none, or cursor->bad.  Every run takes a byte at least: so there is an end. */
static inline bool pages_next(struct pages_cursor *cursor, struct pages_run *run)
{
	enum { PAGE_BITS = 44 };      /* 2^56 bytes of 4 KiB */
	uint64_t ahead, number;

	if (cursor->bad || (cursor->left == 0 && cursor->at == cursor->end))
		return false;
	if (cursor->left == 0) {
		cursor->kind = *cursor->at++;
		if (!pages_number(cursor, &ahead) || !pages_number(cursor, &cursor->left))
			return false;
		cursor->page += ahead >> 1 ^ -(ahead & 1);
		if (cursor->left == 0 || cursor->page >> PAGE_BITS || cursor->left >> PAGE_BITS) {
			cursor->bad = true;
			return false;
		}
	}
	if (!pages_number(cursor, &number))
		return false;
	*run = (struct pages_run){ cursor->page, number >> 2, cursor->kind, (unsigned)(number & 3) };
	if (run->count == 0 || run->count > cursor->left || run->state >= PAGES_STATE_COUNT) {
		cursor->bad = true;
		return false;
	}
	cursor->page += run->count;
	cursor->left -= run->count;
	return true;
}

#endif
