/* SPDX-License-Identifier: MIT */
/*
 * A run's capture as a row of files, each of which can be read, moved or deleted by itself.
 *
 *     thread A   |==window==|==window==|==w|          |==window==|
 *     thread B   |==window=======|(idle)..............|=w|
 *     file              segment 1          | segment 2 ...
 *                                          rotate()
 *
 * Who fills a window looks whether the present file is full or old enough.  Then, under the lock under which the file
 * grows: the next file is made, its header takes the place of the old one in memory, and it gets a copy of all stack
 * nodes and of the metadata that any event may refer to (modules, code objects, threads, Python runtimes), of which a
 * list is kept for that.  Every thread's capacity is set to 0: so its next event finds no room, which costs nothing
 * before, and the thread sends off its window's words as a block of the new file and goes on in a window there.
 * Windows are numbered on over all segments, so nothing can be missing unseen.  A thread that never comes back leaves
 * its words where they are.
 *
 * Nodes and metadata that are written while this goes on: a node is first in the table and then in the window, and its
 * thread looks afterwards whether a segment has begun; here the segment's number is changed before the table is read.
 * So one of the two sees the other.  Metadata is put into the list under the lock, and after that it is looked.
 *
 * Old segments are removed once the new one holds all that it needs, and only if the file is still what we made.
 */
#include "rotate.h"

#include <lz4.h>
#include <string.h>

#include "arena.h"
#include "intern.h"
#include "lifecycle.h"
#include "sys.h"

#include "banned.h"

enum {
	LIST_CHUNK_BYTES = 256 << 10,
	NODES_AT_ONCE = 8192,
	RETRY_NS = 1000000000,        /* after a segment could not be begun */
};

/* The list of metadata: records as words, one after another, as in WORDS blocks.  Guarded by output_locked. */
struct list_chunk {
	struct list_chunk *next;
	size_t used, room;            /* words */
	uint64_t words[];
};

/* What the copying needs; made once. */
static struct copier {
	LZ4_stream_t state;
	uint64_t words[NODES_AT_ONCE * 3];
	char packed[LZ4_COMPRESSBOUND(NODES_AT_ONCE * 3 * 8 + LIST_CHUNK_BYTES)];
} *copier;

static struct list_chunk *first_chunk, *last_chunk;
static _Atomic uint64_t began_ns, not_before_ns;
static _Atomic bool copy_owed;            /* the present segment still needs those before it */

/* What is said once in a run. */
static const char *const notes[] = {
	"the next segment could not be begun: the present one goes on until it can",
	"a segment did not get its copy of stacks and metadata: it needs those before it, which stay until it has one",
	"a segment that --keep does not keep could not be removed: this is tried again with each new one",
};
enum { NOTE_BEGIN, NOTE_COPY, NOTE_REMOVE };
static _Atomic unsigned noted;

void rotate_begin(void)
{
	first_chunk = last_chunk = NULL;
	copier = NULL;
	atomic_store(&began_ns, sys_clock_ns(CLOCK_MONOTONIC_COARSE));
	atomic_store(&not_before_ns, 0);
	atomic_store(&copy_owed, false);
	atomic_store(&noted, 0);
}

struct addition {
	unsigned kind;
	const struct stream_part *parts;
	size_t count, words;
	bool ok;
};

static void add(void *argument)
{
	struct addition *addition = argument;
	size_t size = 0;

	addition->ok = false;
	if (!last_chunk || last_chunk->room - last_chunk->used < addition->words) {
		size_t bytes = sizeof(*last_chunk) + addition->words * 8;
		struct list_chunk *chunk = arena_pages(bytes < LIST_CHUNK_BYTES ? LIST_CHUNK_BYTES : (bytes + 4095) & ~(size_t)4095);

		if (!chunk)
			return;
		chunk->room = ((bytes < LIST_CHUNK_BYTES ? LIST_CHUNK_BYTES : bytes) - sizeof(*chunk)) / 8;
		*(last_chunk ? &last_chunk->next : &first_chunk) = chunk;
		last_chunk = chunk;
	}
	uint8_t *at = (uint8_t *)(last_chunk->words + last_chunk->used + 1);

	for (size_t i = 0; i < addition->count; i++) {
		memcpy(at + size, addition->parts[i].bytes, addition->parts[i].size);
		size += addition->parts[i].size;
	}
	last_chunk->words[last_chunk->used] = stream_head(addition->kind, size);
	last_chunk->used += addition->words;
	addition->ok = true;
}

bool rotate_remember(unsigned kind, const struct stream_part *parts, size_t count, size_t words)
{
	struct addition addition = { .kind = kind, .parts = parts, .count = count, .words = words };

	/* The others have their place among the events. */
	if (kind != CAPTURE_THREAD_INFO && kind != CAPTURE_MODULE && kind != CAPTURE_CODE && kind != CAPTURE_PYTHON)
		return true;
	output_locked(add, &addition);
	return addition.ok;
}

bool rotate_is_due(void)
{
	uint64_t appended, size, now_ns;

	if (!rotate_is_on())
		return false;
	size = output_size(&appended);
	/* A file that the windows of many threads fill by themselves is to hold something besides them. */
	bool full = config.rotate_size && size >= config.rotate_size && appended >= config.rotate_size / 4;

	now_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	if (!full && !atomic_load(&copy_owed) && !(config.rotate_ns && now_ns - atomic_load(&began_ns) >= config.rotate_ns))
		return false;
	return now_ns >= atomic_load(&not_before_ns);
}

static bool append(const uint64_t *words, size_t count)
{
	struct capture_block header = { .kind = CAPTURE_BLOCK_WORDS, .raw_size = (uint32_t)(count * 8) };
	const bool fits = LZ4_COMPRESSBOUND(count * 8) <= sizeof(copier->packed);
	int packed = fits ? LZ4_compress_fast_extState(&copier->state, (const char *)words, copier->packed,
		(int)(count * 8), (int)sizeof(copier->packed), 1) : 0;

	if (count == 0)
		return true;
	if (packed <= 0 || (size_t)packed >= count * 8)
		return output_append_locked(&header, words, count * 8);
	header.flags = CAPTURE_BLOCK_LZ4;
	return output_append_locked(&header, copier->packed, (size_t)packed);
}

static bool copy_all(void)
{
	const uint32_t end = intern_end();
	size_t used = 0;
	bool ok = true;

	for (struct list_chunk *chunk = first_chunk; ok && chunk; chunk = chunk->next)
		ok = append(chunk->words, chunk->used);
	for (uint32_t id = 1; ok && id < end; id++) {
		uint64_t frame;
		uint32_t parent;

		/* One that is being made: its thread will see that there is a new segment. */
		if (intern_at(id, &frame, &parent)) {
			copier->words[used++] = stream_head(CAPTURE_NODE, id);
			copier->words[used++] = frame;
			copier->words[used++] = parent;
		}
		if (used == NODES_AT_ONCE * 3 || id + 1 == end) {
			ok = append(copier->words, used);
			used = 0;
		}
	}
	return ok;
}

struct turn {
	uint32_t from;                /* the segment whose end its thread saw */
	bool asked;                   /* from outside: it need not be due */
	bool done;                    /* there is a later one, which has its copy */
	unsigned failed;              /* bits by the number of the note */
};

/* The copy that the present segment needs; then those before it are free to go. */
static void complete(struct turn *turn, uint64_t now_ns)
{
	bool whole = copy_all();

	atomic_store(&copy_owed, !whole);
	if (!whole) {
		atomic_store(&not_before_ns, now_ns + RETRY_NS);
		turn->failed |= 1u << NOTE_COPY;
	} else if (!output_remove_old(config.keep)) {
		turn->failed |= 1u << NOTE_REMOVE;
	}
}

static void switch_over(void *argument)
{
	struct turn *turn = argument;
	const uint64_t now_ns = sys_clock_ns(CLOCK_MONOTONIC_COARSE);

	/* Another thread has just done it. */
	if (atomic_load(&output_segment) != turn->from) {
		turn->done = !atomic_load(&copy_owed);
		return;
	}
	if (atomic_load(&copy_owed)) {
		complete(turn, now_ns);
		if (!turn->asked || atomic_load(&copy_owed))
			return;
	}
	if (!copier)
		copier = arena_pages((sizeof(*copier) + 4095) & ~(size_t)4095);
	if (!copier || !output_next_segment()) {
		atomic_store(&not_before_ns, now_ns + RETRY_NS);
		turn->failed |= 1u << NOTE_BEGIN;
		return;
	}
	atomic_store(&began_ns, now_ns);
	atomic_thread_fence(memory_order_seq_cst);
	complete(turn, now_ns);
	thread_hurry();
	turn->done = !atomic_load(&copy_owed);
}

static bool take_turn(struct thread *thread, bool asked)
{
	struct turn turn = { .from = atomic_load(&output_segment), .asked = asked };

	if (lifecycle_is_recording() && !lifecycle_is_child())
		output_locked(switch_over, &turn);
	for (unsigned i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		if ((turn.failed & 1u << i) && !(atomic_fetch_or(&noted, 1u << i) & 1u << i)) {
			const struct stream_part part = { notes[i], strlen(notes[i]) };

			stream_metadata(thread, CAPTURE_NOTE, &part, 1);
		}
	return turn.done;
}

void rotate(struct thread *thread)
{
	take_turn(thread, false);
}

bool rotate_now(struct thread *thread)
{
	return rotate_is_on() && take_turn(thread, true);
}
