/* SPDX-License-Identifier: MIT */
/*
 * Decoding ahead and merging; see merge.h.
 *
 * Each stream has two chunks.  The front one is consumed by the merging thread; the back one is filled by
 * whoever comes first: a thread of the crew, or the merging thread itself when it needs it and nobody has begun.
 * A chunk belongs to one thread at a time; its state, under the crew's lock, says to whom.
 */
#include "merge.h"

#include <stdlib.h>
#include <string.h>

enum {
	CHUNK_EVENTS_MAX = 16384,         /* 512 KiB: each chunk costs two or three switches between threads */
	CHUNK_EVENTS_ALONE = 8192,        /* where there is nobody to switch to */
	CHUNK_EVENTS_MIN = 512,
	CHUNK_EVENTS_ALL = 1 << 21,       /* of all streams together, unless they are very many */
};

enum chunk_state {
	CHUNK_IDLE,                   /* the stream has ended: nothing will come */
	CHUNK_WANTED,                 /* in the crew's queue */
	CHUNK_BEING_FILLED,
	CHUNK_FULL,                   /* count events, 0 at the end of the stream */
};

struct source {
	struct decoder decoder;
	struct decoded_event *front, *back;
	size_t front_at, front_count, back_count;
	size_t room;
	size_t parts_begun;           /* written with the chunk */
	enum chunk_state state;       /* of back; under the crew's lock */
	bool no_memory;
	struct source *before, *after;/* in the queue; under the crew's lock */
};

struct decode_crew {
	pthread_mutex_t lock;
	pthread_cond_t wanted, filled;
	struct source *first, *last;  /* queue of sources whose back chunk is wanted */
	bool ending;
	unsigned thread_count;
	pthread_t threads[];
};

/* The stamp of the source's next event lies here too: the heap is ordered without a look into the chunks. */
struct merge_entry {
	uint64_t stamp;
	uint32_t source;
};

struct merge {
	struct decode_crew *crew;
	struct source *sources;
	size_t source_count;
	struct merge_entry *heap;     /* sources that have events, the next in order at heap[0] */
	size_t heap_count;
	uint64_t parts_all;
};

static void queue_add(struct decode_crew *crew, struct source *source)
{
	source->state = CHUNK_WANTED;
	source->after = NULL;
	source->before = crew->last;
	*(crew->last ? &crew->last->after : &crew->first) = source;
	crew->last = source;
}

static void queue_remove(struct decode_crew *crew, struct source *source)
{
	*(source->before ? &source->before->after : &crew->first) = source->after;
	*(source->after ? &source->after->before : &crew->last) = source->before;
	source->before = source->after = NULL;
}

static void fill_back(struct source *source)
{
	source->back_count = decoder_next(&source->decoder, source->back, source->room);
	source->no_memory = source->decoder.no_memory;
}

static void *crew_work(void *argument)
{
	struct decode_crew *crew = argument;

	pthread_mutex_lock(&crew->lock);
	while (!crew->ending) {
		struct source *source = crew->first;

		if (!source) {
			pthread_cond_wait(&crew->wanted, &crew->lock);
			continue;
		}
		queue_remove(crew, source);
		source->state = CHUNK_BEING_FILLED;
		pthread_mutex_unlock(&crew->lock);
		fill_back(source);
		pthread_mutex_lock(&crew->lock);
		source->state = CHUNK_FULL;
		pthread_cond_broadcast(&crew->filled);
	}
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

bool decode_crew_new(struct decode_crew **out, unsigned thread_count, struct error *error)
{
	struct decode_crew *crew = calloc(1, sizeof(*crew) + thread_count * sizeof(pthread_t));

	*out = crew;
	if (!crew)
		return fail_memory(error);
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->wanted, NULL);
	pthread_cond_init(&crew->filled, NULL);
	/* A thread that cannot be had is not missed: the merging thread decodes what nobody else does. */
	while (crew->thread_count < thread_count &&
		pthread_create(&crew->threads[crew->thread_count], NULL, crew_work, crew) == 0)
		crew->thread_count++;
	return true;
}

void decode_crew_free(struct decode_crew *crew)
{
	if (!crew)
		return;
	pthread_mutex_lock(&crew->lock);
	crew->ending = true;
	pthread_cond_broadcast(&crew->wanted);
	pthread_mutex_unlock(&crew->lock);
	for (unsigned i = 0; i < crew->thread_count; i++)
		pthread_join(crew->threads[i], NULL);
	pthread_cond_destroy(&crew->wanted);
	pthread_cond_destroy(&crew->filled);
	pthread_mutex_destroy(&crew->lock);
	free(crew);
}

/* Makes the back chunk the front one, and has the next one decoded.  An empty front is the end of the stream. */
static bool turn_source(struct merge *merge, struct source *source, struct error *error)
{
	struct decode_crew *crew = merge->crew;
	struct decoded_event *chunk;
	bool no_memory;

	pthread_mutex_lock(&crew->lock);
	if (source->state == CHUNK_WANTED) {
		queue_remove(crew, source);
		source->state = CHUNK_BEING_FILLED;
		pthread_mutex_unlock(&crew->lock);
		fill_back(source);
		pthread_mutex_lock(&crew->lock);
		source->state = CHUNK_FULL;
	}
	while (source->state == CHUNK_BEING_FILLED)
		pthread_cond_wait(&crew->filled, &crew->lock);
	chunk = source->front;
	source->front = source->back;
	source->back = chunk;
	source->front_at = 0;
	source->front_count = source->state == CHUNK_FULL ? source->back_count : 0;
	source->parts_begun = source->decoder.next_part;
	no_memory = source->no_memory;
	if (source->front_count > 0) {
		queue_add(crew, source);
		pthread_cond_signal(&crew->wanted);
	} else {
		source->state = CHUNK_IDLE;
	}
	pthread_mutex_unlock(&crew->lock);
	return no_memory ? fail_memory(error) : true;
}

/* Of two sources whose next events have one stamp: whether that of a comes before that of b. */
static __attribute__((noinline)) bool equal_comes_before(const struct merge *merge, uint32_t a, uint32_t b)
{
	const struct source *left = &merge->sources[a], *right = &merge->sources[b];
	const int order = merge_compare(
		(struct merge_head){ left->front + left->front_at, left->front + left->front_count },
		(struct merge_head){ right->front + right->front_at, right->front + right->front_count });

	return order ? order < 0 : a < b;
}

static inline bool comes_before(const struct merge *merge, struct merge_entry a, struct merge_entry b)
{
	return a.stamp != b.stamp ? a.stamp < b.stamp : equal_comes_before(merge, a.source, b.source);
}

static inline struct merge_entry entry_of(const struct merge *merge, uint32_t number)
{
	const struct source *source = &merge->sources[number];

	return (struct merge_entry){ source->front[source->front_at].stamp, number };
}

static inline void sift_down(struct merge *merge, size_t at)
{
	struct merge_entry *heap = merge->heap;
	const struct merge_entry moving = heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= merge->heap_count)
			break;
		if (child + 1 < merge->heap_count && comes_before(merge, heap[child + 1], heap[child]))
			child++;
		if (!comes_before(merge, heap[child], moving))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

/* Two chunks a source, no larger than its windows need, smaller when there are many sources. */
static bool prepare_source(struct merge *merge, struct source *source, struct error *error)
{
	size_t share = CHUNK_EVENTS_ALL / (2 * merge->source_count);
	size_t room = decoder_room(&source->decoder);

	const size_t most = merge->crew->thread_count ? CHUNK_EVENTS_MAX : CHUNK_EVENTS_ALONE;
	share = share > most ? most : share < CHUNK_EVENTS_MIN ? CHUNK_EVENTS_MIN : share;
	source->room = room < share ? room : share;
	if (source->room < 8)
		source->room = 8;
	source->front = malloc(source->room * sizeof(*source->front));
	source->back = malloc(source->room * sizeof(*source->back));
	return source->front && source->back ? true : fail_memory(error);
}

bool merge_open(struct merge **out, struct capture *capture, struct decode_crew *crew, struct error *error)
{
	struct merge *merge = calloc(1, sizeof(*merge));
	bool ok = true;

	*out = NULL;
	if (!merge)
		return fail_memory(error);
	merge->crew = crew;
	merge->sources = calloc(capture->stream_count + 1, sizeof(*merge->sources));
	merge->heap = calloc(capture->stream_count + 1, sizeof(*merge->heap));
	if (!merge->sources || !merge->heap)
		ok = fail_memory(error);
	if (ok)
		merge->source_count = capture->stream_count;
	for (size_t i = 0; ok && i < merge->source_count; i++) {
		decoder_init(&merge->sources[i].decoder, capture, &capture->streams[i]);
		merge->parts_all += capture->streams[i].count;
	}
	for (size_t i = 0; ok && i < merge->source_count; i++)
		ok = prepare_source(merge, &merge->sources[i], error);
	pthread_mutex_lock(&crew->lock);
	for (size_t i = 0; ok && i < merge->source_count; i++)
		queue_add(crew, &merge->sources[i]);
	pthread_cond_broadcast(&crew->wanted);
	pthread_mutex_unlock(&crew->lock);
	for (size_t i = 0; ok && i < merge->source_count; i++) {
		ok = turn_source(merge, &merge->sources[i], error);
		if (ok && merge->sources[i].front_count > 0)
			merge->heap[merge->heap_count++] = entry_of(merge, (uint32_t)i);
	}
	if (!ok) {
		merge_close(merge);
		return false;
	}
	for (size_t i = merge->heap_count / 2; i-- > 0;)
		sift_down(merge, i);
	*out = merge;
	return true;
}

void merge_close(struct merge *merge)
{
	if (!merge)
		return;
	for (size_t i = 0; i < merge->source_count; i++) {
		struct source *source = &merge->sources[i];

		pthread_mutex_lock(&merge->crew->lock);
		if (source->state == CHUNK_WANTED)
			queue_remove(merge->crew, source);
		while (source->state == CHUNK_BEING_FILLED)
			pthread_cond_wait(&merge->crew->filled, &merge->crew->lock);
		source->state = CHUNK_IDLE;
		pthread_mutex_unlock(&merge->crew->lock);
		decoder_finish(&source->decoder);
		free(source->front);
		free(source->back);
	}
	free(merge->sources);
	free(merge->heap);
	free(merge);
}

size_t merge_stream_count(const struct merge *merge)
{
	return merge->source_count;
}

bool merge_run(struct merge *merge, const struct decoded_event **events, size_t *count, size_t *ahead,
	uint32_t *stream, struct error *error)
{
	*count = *ahead = 0;
	/* The source at the top was consumed since: give it its place anew. */
	while (merge->heap_count > 0) {
		struct source *source = &merge->sources[merge->heap[0].source];

		if (source->front_at == source->front_count && !turn_source(merge, source, error))
			return false;
		if (source->front_count > 0)
			break;
		merge->heap[0] = merge->heap[--merge->heap_count];
	}
	if (merge->heap_count == 0)
		return true;
	merge->heap[0] = entry_of(merge, merge->heap[0].source);
	sift_down(merge, 0);
	*stream = merge->heap[0].source;
	struct source *top = &merge->sources[*stream];
	const struct decoded_event *first = top->front + top->front_at;
	size_t left = top->front_count - top->front_at;

	*events = first;
	if (merge->heap_count == 1) {
		*count = left;
		return true;
	}
	size_t rival = merge->heap_count > 2 && comes_before(merge, merge->heap[2], merge->heap[1]) ? 2 : 1;
	const uint64_t limit = merge->heap[rival].stamp;
	size_t n = 1;
	while (n < left && first[n].stamp < limit)
		n++;
	/* Among equal stamps one event is taken at a time. */
	if (first[0].stamp >= limit)
		n = merge_one(first, left);
	*count = n;
	*ahead = left - n;
	return true;
}

void merge_consume(struct merge *merge, size_t count)
{
	merge->sources[merge->heap[0].source].front_at += count;
}

uint64_t merge_done(const struct merge *merge, uint64_t *all)
{
	uint64_t done = 0;

	for (size_t i = 0; i < merge->source_count; i++)
		done += merge->sources[i].parts_begun;
	*all = merge->parts_all;
	return done;
}
