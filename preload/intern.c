/* SPDX-License-Identifier: MIT */
/*
 * A hash-consed trie in two parts.  Nodes lie densely in chunks, in order of their numbers.  An open-addressed table
 * of numbers finds them by (parent, frame); when it is half full, a larger one follows.  A node's place in it is a hash
 * of all frames of its stack, not of its parent's number: so the places of several new frames are known before any is
 * found.  Beside the number a slot has the hash's highest bits, so that hardly ever a node is looked at that is not the
 * one.
 *
 * No locks, and nobody waits.  A look-up is plain loads.  An insertion takes a number, fills its node, writes the NODE
 * record into the thread's own window, and publishes the number by one compare-and-swap; who loses that race uses the
 * winner's node, and the lost number stays unused.  Once a table has a next one, an empty slot of it is marked as
 * moved by whoever meets it, and a probe goes on from there in the next table; one thread marks all that are left, and
 * copies the others.  A slot is never emptied, so a probe for one node passes the same slots whenever it is made, and
 * finds the node or the mark: no stack ever has two numbers.  (The way of doubling is Cliff Click's: "A lock-free hash
 * table", JavaOne 2007.)
 *
 * When there is no room for a new node, it and all that would be under it become the one node that says so, which was
 * made while there was room.
 */
#include "intern.h"

#include "arena.h"
#include "modules.h"
#include "output.h"
#include "rotate.h"
#include "stream.h"
#include "sys.h"

#include "banned.h"

enum {
	CHUNK_NODES = 1 << 14,
	CHUNKS_MAX = 1 << 12,
	NUMBER_BITS = 26,
	NODES_MAX = (1 << NUMBER_BITS) - 1,   /* less the number that would look like an empty slot */
	TABLE_SLOTS_MIN = 1 << 14,
};

struct intern_slot_node {
	uint64_t frame;
	uint32_t parent;
	uint32_t hash;                /* of its frame and its parent's hash */
};

enum slot {
	SLOT_MOVED = 0,               /* zero, so that pages given back say it too */
	SLOT_EMPTY = UINT32_MAX,
};
_Static_assert(CHUNK_NODES * CHUNKS_MAX == 1 << NUMBER_BITS, "a slot holds any node's number");

struct table {
	uint32_t mask;
	_Atomic int doubling;         /* a thread copies it, or has done so */
	_Atomic int copied;           /* all of it is in `next` */
	struct table *_Atomic next;   /* a larger one; set before any slot is marked */
	_Atomic uint32_t slots[];     /* node numbers and bits of their hashes, or enum slot */
};

static struct intern_slot_node *_Atomic chunks[CHUNKS_MAX];
static struct table *_Atomic current;
static _Atomic uint32_t next_node = 1;
static _Atomic uint32_t degraded_node;

/*
 * `parent`: its hash, or, for the thread's cache, its number.  Both halves of the product: the low bits, which say the
 * place, depend in the lower half on no more than the low bits of the frame, and not on its generation.
 */
static inline uint32_t hash(uint32_t parent, uint64_t frame)
{
	unsigned __int128 mixed = (unsigned __int128)(frame ^ (uint64_t)parent * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;

	return (uint32_t)(mixed >> 32) ^ (uint32_t)(mixed >> 64);
}

static inline uint32_t slot_of(uint32_t id, uint32_t hash)
{
	return id | (hash & ~(uint32_t)NODES_MAX);
}

static inline uint32_t slot_number(uint32_t slot)
{
	return slot & NODES_MAX;
}

/* False: it is another node's. */
static inline bool slot_fits(uint32_t slot, uint32_t hash)
{
	return (slot ^ hash) >> NUMBER_BITS == 0;
}

static inline struct intern_slot_node *node_at(uint32_t id)
{
	struct intern_slot_node *chunk = atomic_load_explicit(&chunks[id / CHUNK_NODES], memory_order_acquire);

	return chunk + id % CHUNK_NODES;
}

static struct table *table_new(uint32_t slots)
{
	struct table *table = arena_pages(sizeof(*table) + (size_t)slots * 4);

	if (table) {
		table->mask = slots - 1;
		for (uint32_t i = 0; i < slots; i++)
			atomic_init(&table->slots[i], SLOT_EMPTY);
	}
	return table;
}

/* The chunk that holds `id`, made if need be; false: no memory. */
static bool chunk_ready(uint32_t id)
{
	struct intern_slot_node *_Atomic *slot = &chunks[id / CHUNK_NODES];
	struct intern_slot_node *none = NULL;

	if (atomic_load_explicit(slot, memory_order_acquire))
		return true;
	struct intern_slot_node *chunk = arena_pages(CHUNK_NODES * sizeof(*chunk));

	if (!chunk)
		return false;
	if (!atomic_compare_exchange_strong_explicit(slot, &none, chunk, memory_order_acq_rel, memory_order_relaxed))
		arena_give(chunk, CHUNK_NODES * sizeof(*chunk));
	return true;
}

/* Puts a slot's contents that are in no later table into `table`, or into the one that follows it. */
static void table_add(struct table *table, uint32_t contents)
{
	uint32_t hash = node_at(slot_number(contents))->hash, at = hash;

	for (;;) {
		_Atomic uint32_t *slot = &table->slots[at & table->mask];
		uint32_t found = SLOT_EMPTY;

		if (atomic_compare_exchange_strong_explicit(slot, &found, contents, memory_order_release,
				memory_order_acquire))
			return;
		if (found != SLOT_MOVED) {
			at++;
			continue;
		}
		table = atomic_load_explicit(&table->next, memory_order_acquire);
		at = hash;
	}
}

/* Its slots' pages go back to the system: they read as moved from then on. */
static void table_release(struct table *table)
{
	enum { PAGE = 4096, DONT_NEED = 4 };
	uintptr_t from = ((uintptr_t)table->slots + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	uintptr_t to = (uintptr_t)(table->slots + table->mask + 1) & ~(uintptr_t)(PAGE - 1);

	if (to > from)
		sys_call(SYS_madvise, (long)from, (long)(to - from), DONT_NEED, 0, 0, 0);
}

/* Has the processor fetch the nodes of some slots: they lie anywhere, and waiting for each is most of a copy's time. */
static void fetch_nodes(struct table *table, uint32_t from, uint32_t count)
{
	for (uint32_t i = from; i < from + count; i++) {
		uint32_t slot = atomic_load_explicit(&table->slots[i], memory_order_acquire);

		if (slot != SLOT_EMPTY && slot != SLOT_MOVED)
			__builtin_prefetch(node_at(slot_number(slot)));
	}
}

static void table_copy(struct table *old, struct table *table)
{
	enum { AT_ONCE = 32 };

	for (uint32_t i = 0; i <= old->mask; i++) {
		uint32_t slot = SLOT_EMPTY;

		if (i % AT_ONCE == 0)
			fetch_nodes(old, i, AT_ONCE);
		if (!atomic_compare_exchange_strong_explicit(&old->slots[i], &slot, SLOT_MOVED,
				memory_order_acq_rel, memory_order_acquire) && slot != SLOT_MOVED)
			table_add(table, slot);
	}
	atomic_store_explicit(&old->copied, 1, memory_order_release);
}

/*
 * The table that follows `table`, made if need be; NULL: no memory.  That which follows the first is four times as
 * large: a program with so many stacks has more of them.
 */
static struct table *table_next(struct table *table)
{
	struct table *next = atomic_load_explicit(&table->next, memory_order_acquire), *none = NULL;

	if (next)
		return next;
	next = table_new((table->mask + 1) * (table->mask < TABLE_SLOTS_MIN ? 4 : 2));
	if (!next || atomic_compare_exchange_strong_explicit(&table->next, &none, next,
			memory_order_acq_rel, memory_order_acquire))
		return next;
	arena_give(next, sizeof(*next) + ((size_t)next->mask + 1) * 4);
	return none;
}

/* Sees that `old` gets a next table and is copied into it, here if no other thread does it. */
static void table_double(struct table *old)
{
	struct table *table = table_next(old);
	uint64_t signals;

	if (!table || atomic_load_explicit(&old->doubling, memory_order_relaxed))
		return;
	/* A handler that jumped out would leave the work half done for ever. */
	sys_signals_block(&signals);
	if (!atomic_exchange_explicit(&old->doubling, 1, memory_order_acq_rel)) {
		table_copy(old, table);
		/* The first of those that are not copied is where look-ups begin. */
		table = atomic_load_explicit(&current, memory_order_acquire);
		while (atomic_load_explicit(&table->copied, memory_order_acquire)) {
			struct table *next = atomic_load_explicit(&table->next, memory_order_acquire);

			if (atomic_compare_exchange_strong_explicit(&current, &table, next, memory_order_acq_rel,
					memory_order_acquire))
				table = next;
		}
		table_release(old);
	}
	sys_signals_restore(&signals);
}

static uint32_t degraded(void)
{
	atomic_fetch_add_explicit((_Atomic uint64_t *)&output_status()->stacks_degraded, 1, memory_order_relaxed);
	return atomic_load_explicit(&degraded_node, memory_order_acquire);
}

static void put_node(struct thread *thread, uint32_t id, uint64_t frame, uint32_t parent)
{
	stream_put(thread, stream_head(CAPTURE_NODE, id));
	stream_put(thread, frame);
	stream_put(thread, parent);
	stream_commit(thread);
}

uint32_t intern_end(void)
{
	return atomic_load(&next_node);
}

bool intern_at(uint32_t id, uint64_t *frame, uint32_t *parent)
{
	struct intern_slot_node *chunk = atomic_load_explicit(&chunks[id / CHUNK_NODES], memory_order_acquire);

	if (!chunk || (chunk[id % CHUNK_NODES].frame | chunk[id % CHUNK_NODES].hash) == 0)
		return false;
	*frame = chunk[id % CHUNK_NODES].frame;
	*parent = chunk[id % CHUNK_NODES].parent;
	return true;
}

/* Takes a number for (parent, frame) and writes its record; 0: there is no room. */
static uint32_t new_node(struct thread *thread, uint32_t parent, uint64_t frame, uint32_t hash)
{
	if (!stream_room(thread, 3))
		return 0;
	uint32_t id = atomic_fetch_add_explicit(&next_node, 1, memory_order_relaxed);

	if (id >= NODES_MAX) {
		atomic_fetch_sub_explicit(&next_node, 1, memory_order_relaxed);
		return 0;
	}
	if (!chunk_ready(id))
		return 0;
	*node_at(id) = (struct intern_slot_node){ .frame = frame, .parent = parent, .hash = hash };
	put_node(thread, id, frame, parent);
	/* A segment that began meanwhile was given a copy of all nodes, or this one comes into it here. */
	if (rotate_is_on()) {
		atomic_thread_fence(memory_order_seq_cst);
		if (stream_is_behind(thread)) {
			if (!stream_flush(thread) || !stream_room(thread, 3))
				return 0;
			put_node(thread, id, frame, parent);
		}
	}
	if (CAPTURE_FRAME_KIND(frame) == CAPTURE_FRAME_NATIVE)
		modules_meet(CAPTURE_FRAME_ADDRESS(frame));
	return id;
}

static struct table *first_table(struct thread *thread)
{
	struct table *table = table_new(TABLE_SLOTS_MIN), *none = NULL;

	if (!table)
		return NULL;
	if (!atomic_compare_exchange_strong(&current, &none, table))
		return none;                  /* another thread was first; ours is lost, once */
	uint64_t degraded = CAPTURE_SPECIAL_FRAME(CAPTURE_FRAME_DEGRADED);

	atomic_store_explicit(&degraded_node, new_node(thread, CAPTURE_NODE_ROOT, degraded, hash(0, degraded)),
		memory_order_release);
	return table;
}

static inline uint32_t look_up(struct thread *thread, uint32_t parent, uint64_t frame, uint32_t hash)
{
	struct table *table = atomic_load_explicit(&current, memory_order_acquire);
	uint32_t fresh = 0, probes = 0, at = hash;

	if (!table && !(table = first_table(thread)))
		return degraded();
	for (;;) {
		_Atomic uint32_t *slot = &table->slots[at & table->mask];
		uint32_t found = atomic_load_explicit(slot, memory_order_acquire);

		if (found == SLOT_EMPTY) {
			bool moves = atomic_load_explicit(&table->next, memory_order_acquire);

			if (!moves && !fresh && !(fresh = new_node(thread, parent, frame, hash)))
				return degraded();
			if (atomic_compare_exchange_strong_explicit(slot, &found, moves ? SLOT_MOVED : slot_of(fresh, hash),
					memory_order_acq_rel, memory_order_acquire)) {
				if (!moves) {
					if ((uint64_t)fresh * 2 > table->mask)
						table_double(table);
					return fresh;
				}
				found = SLOT_MOVED;
			}
		}
		if (found == SLOT_MOVED || probes > table->mask) {
			table = table_next(table);    /* of a full one: the system may have had no memory */
			if (!table)
				return degraded();
			at = hash;
			probes = 0;
			continue;
		}
		if (slot_fits(found, hash)) {
			const struct intern_slot_node *node = node_at(slot_number(found));

			if (node->frame == frame && node->parent == parent)
				return slot_number(found);
		}
		at++;
		probes++;
	}
}

uint32_t intern_recall(const struct thread *thread, uint32_t parent, uint64_t word)
{
	const struct intern_entry *entry = &thread->cache[hash(parent, word) % INTERN_CACHE_SIZE];

	return entry->frame == word && entry->parent == parent ? entry->node : 0;
}

void intern_remember(struct thread *thread, uint32_t parent, uint64_t word, uint32_t node)
{
	thread->cache[hash(parent, word) % INTERN_CACHE_SIZE] =
		(struct intern_entry){ .frame = word, .parent = parent, .node = node };
}

/* All that is under the node for "table full" is that node. */
static inline bool is_degraded(uint32_t parent)
{
	return __builtin_expect(parent != CAPTURE_NODE_ROOT && parent == atomic_load_explicit(&degraded_node,
		memory_order_relaxed), 0);
}

uint32_t intern_hash(uint32_t node)
{
	return node != CAPTURE_NODE_ROOT ? node_at(node)->hash : 0;
}

uint32_t intern_node(struct thread *thread, uint32_t parent, uint64_t frame)
{
	uint32_t node = intern_recall(thread, parent, frame);

	if (node)
		return node;
	if (is_degraded(parent))
		return parent;
	node = look_up(thread, parent, frame, hash(intern_hash(parent), frame));
	intern_remember(thread, parent, frame, node);
	return node;
}

/* Has the processor fetch the slots of all, then the nodes whose numbers are there; it does not wait for either. */
static void fetch(const struct intern_frame *frames, uint32_t count)
{
	struct table *table = atomic_load_explicit(&current, memory_order_acquire);

	if (!table)
		return;
	for (uint32_t i = 0; i < count; i++)
		__builtin_prefetch(&table->slots[frames[i].hash & table->mask]);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = atomic_load_explicit(&table->slots[frames[i].hash & table->mask], memory_order_acquire);

		if (slot != SLOT_EMPTY && slot != SLOT_MOVED && slot_fits(slot, frames[i].hash))
			__builtin_prefetch(node_at(slot_number(slot)));
	}
}

/*
 * Whether all frames are known: looks for the last one by the hash of the whole stack, and compares what is outside of
 * it, which mostly was made together with it and lies beside it, up to the parent.
 */
static inline bool find_whole(uint32_t parent, struct intern_frame *frames, uint32_t count)
{
	enum { PROBES = 4 };
	struct table *table = atomic_load_explicit(&current, memory_order_acquire);
	uint32_t hash = frames[count - 1].hash, slot, id = CAPTURE_NODE_ROOT;

	if (!table)
		return false;
	for (uint32_t i = 0; i < PROBES && id == CAPTURE_NODE_ROOT; i++) {
		slot = atomic_load_explicit(&table->slots[(hash + i) & table->mask], memory_order_acquire);
		if (slot == SLOT_EMPTY || slot == SLOT_MOVED)
			return false;
		if (slot_fits(slot, hash))
			id = slot_number(slot);
	}
	for (uint32_t i = count; i-- > 0;) {
		const struct intern_slot_node *node = node_at(id);

		if (id == CAPTURE_NODE_ROOT || node->frame != frames[i].frame)
			return false;
		frames[i].node = id;
		id = node->parent;
	}
	return id == parent;
}

void intern_frames(struct thread *thread, uint32_t parent, uint32_t parent_hash, struct intern_frame *frames,
	uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		frames[i].hash = parent_hash = hash(parent_hash, frames[i].frame);
	if (count == 0 || find_whole(parent, frames, count))
		return;
	fetch(frames, count);
	for (uint32_t i = 0; i < count; i++) {
		if (!is_degraded(parent))
			parent = look_up(thread, parent, frames[i].frame, frames[i].hash);
		frames[i].node = parent;
	}
}

void intern_reset(void)
{
	for (int i = 0; i < CHUNKS_MAX; i++)
		atomic_store_explicit(&chunks[i], NULL, memory_order_relaxed);
	atomic_store_explicit(&current, NULL, memory_order_relaxed);
	atomic_store_explicit(&next_node, 1, memory_order_relaxed);
	atomic_store_explicit(&degraded_node, CAPTURE_NODE_ROOT, memory_order_relaxed);
}

void intern_release(void)
{
	for (int i = 0; i < CHUNKS_MAX && chunks[i]; i++)
		arena_give(chunks[i], CHUNK_NODES * sizeof(struct intern_slot_node));
	for (struct table *table = atomic_load(&current), *next; table; table = next) {
		next = atomic_load(&table->next);
		arena_give(table, sizeof(*table) + ((size_t)table->mask + 1) * 4);
	}
	intern_reset();
}
