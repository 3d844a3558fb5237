/* SPDX-License-Identifier: MIT */
/*
 * Mappings in replay: mmap, munmap, mremap and the break, as intervals of the address space.
 *
 * A mapping is one MAP.  Its pieces live in the process's ranges; its bytes shrink with each piece that goes, its
 * count of one goes with the last.  The pieces that an UNMAP took are kept until the thread's next event: they
 * come back when munmap failed, and tell an mremap what it moved.
 */
#include "replay_cost.h"

#include <stdlib.h>

/* What is done with the pieces that a cut removes. */
struct cut {
	struct replay *replay;
	struct replay_process *process;
	struct replay_thread *thread;
	bool keep;                    /* in the thread's unmapped list */
	uint32_t pieces;              /* how many there were */
};

static void release_mapping(struct replay *replay, uint32_t number)
{
	struct replay_mapping *mapping = &replay->mappings[number];

	if (mapping->left || mapping->held)
		return;
	if (replay_observed(replay))
		replay_tell(replay, mapping->sequence, &(struct profile_event){ .kind = PROFILE_GONE, .site = mapping->site,
			.time_ns = mapping->end_ns, .thread = PROFILE_NOBODY });
	mapping->site = replay->mapping_free;
	replay->mapping_free = number + 1;
}

/* The last piece of a mapping went: the allocation is over.  sign -1 takes that back. */
static void book_end(struct replay *replay, const struct replay_thread *thread, const struct replay_mapping *mapping,
	int sign)
{
	if (mapping->site != REPLAY_SITE_NONE)
		replay->free_count += (uint64_t)(int64_t)sign;
	if (replay_is_temporary(replay, thread, mapping->site, mapping->sequence))
		replay_book_temporary(replay, mapping->site, (struct replay_amount){ mapping->length, 1 }, sign);
}

/* A piece went (sign -1), or came back (1), and mapping->left says what there is now. */
static void tell_piece(const struct replay *replay, const struct replay_thread *thread, struct replay_mapping *mapping,
	const struct range *piece, int sign)
{
	const uint64_t length = piece->end - piece->start;
	const uint64_t before = sign < 0 ? mapping->left + length : mapping->left - length;

	mapping->end_ns = replay->now_ns;
	if (!replay_observed(replay))
		return;
	replay_tell(replay, mapping->sequence, &(struct profile_event){ .kind = PROFILE_RESIZED, .site = mapping->site,
		.live = before == 0 ? 1 : mapping->left == 0 ? -1 : 0, .time_ns = replay->now_ns, .address = piece->start,
		.bytes_before = before, .bytes = mapping->left, .thread = replay_thread_number(replay, thread) });
}

static bool piece_removed(void *context, const struct range *piece)
{
	struct cut *cut = context;
	struct replay *replay = cut->replay;
	struct replay_mapping *mapping = &replay->mappings[piece->mapping];
	struct replay_thread *thread = cut->thread;

	cut->pieces++;
	mapping->left -= piece->end - piece->start;
	replay_lose(replay, cut->process, mapping->site, piece->end - piece->start, mapping->left == 0);
	if (mapping->left == 0)
		book_end(replay, thread, mapping, 1);
	tell_piece(replay, thread, mapping, piece, -1);
	if (!cut->keep) {
		release_mapping(replay, piece->mapping);
		return true;
	}
	if (!array_reserve(&thread->unmapped, &thread->unmapped_capacity, thread->unmapped_count + (size_t)1,
		sizeof(*thread->unmapped), replay->error))
		return false;
	thread->unmapped[thread->unmapped_count++] = *piece;
	mapping->held++;
	return true;
}

void replay_forget_unmapped(struct replay *replay, struct replay_thread *thread)
{
	for (uint32_t i = 0; i < thread->unmapped_count; i++) {
		replay->mappings[thread->unmapped[i].mapping].held--;
		release_mapping(replay, thread->unmapped[i].mapping);
	}
	thread->unmapped_count = 0;
	thread->unmapping = false;
}

/* What replay_forget_mappings does with each piece. */
struct forget {
	struct replay *replay;
	struct replay_process *process;
	struct replay_forgotten *sum;
};

static bool piece_forgotten(void *context, const struct range *piece)
{
	const struct forget *forget = context;
	struct replay *replay = forget->replay;
	struct replay_mapping *mapping = &replay->mappings[piece->mapping];

	mapping->left -= piece->end - piece->start;
	if (site_counted(replay->sites[mapping->site].key)) {
		forget->sum->bytes += piece->end - piece->start;
		forget->sum->count += mapping->left == 0;
	}
	replay_lose(replay, forget->process, mapping->site, piece->end - piece->start, mapping->left == 0);
	tell_piece(replay, NULL, mapping, piece, -1);
	release_mapping(replay, piece->mapping);
	return true;
}

bool replay_forget_mappings(struct replay *replay, struct replay_process *process,
	struct replay_forgotten *sum)
{
	struct forget forget = { .replay = replay, .process = process, .sum = sum };

	return ranges_cut(&process->ranges, 0, UINT64_MAX, piece_forgotten, &forget, replay->error);
}

/* The pages of an event; false when no address space has them. */
static bool page_range(struct replay_process *process, const struct decoded_event *event, struct range *range)
{
	const struct replay_pages pages = replay_pages(process->page_size, DECODED_OPERAND(event), event->size);

	if (event->size >> 56) {
		process->contradictions++;
		return false;
	}
	range->start = pages.start;
	range->end = pages.end;
	return range->end > range->start;
}

/* Puts a piece that an UNMAP took back where it was. */
static bool restore_piece(struct cut *cut, const struct range *piece)
{
	struct replay *replay = cut->replay;
	struct replay_mapping *mapping;

	if (!ranges_cut(&cut->process->ranges, piece->start, piece->end, piece_removed, cut, replay->error) ||
	    !ranges_insert(&cut->process->ranges, piece, replay->error))
		return false;
	mapping = &replay->mappings[piece->mapping];
	if (mapping->left == 0)
		book_end(replay, cut->thread, mapping, -1);
	if (!replay_revive(replay, mapping->site))
		return false;
	replay_gain(replay, cut->process, mapping->site, piece->end - piece->start, mapping->left == 0);
	mapping->left += piece->end - piece->start;
	tell_piece(replay, cut->thread, mapping, piece, 1);
	return true;
}

/* Puts back what lies within [start, end) of the pieces that the thread's UNMAP took. */
static bool restore_unmapped(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	uint64_t start, uint64_t end)
{
	struct cut cut = { .replay = replay, .process = process, .thread = thread };
	bool ok = true;

	for (uint32_t i = 0; ok && i < thread->unmapped_count; i++) {
		struct range piece = thread->unmapped[i];

		piece.start = piece.start < start ? start : piece.start;
		piece.end = piece.end > end ? end : piece.end;
		if (piece.start < piece.end)
			ok = restore_piece(&cut, &piece);
	}
	replay_forget_unmapped(replay, thread);
	return ok;
}

static bool new_mapping(struct replay *replay, uint32_t *number)
{
	if (replay->mapping_free) {
		*number = replay->mapping_free - 1;
		replay->mapping_free = replay->mappings[*number].site;
		return true;
	}
	if (!array_reserve(&replay->mappings, &replay->mapping_capacity, replay->mapping_count + 1,
		sizeof(*replay->mappings), replay->error))
		return false;
	*number = (uint32_t)replay->mapping_count++;
	return true;
}

static unsigned code_of_flags(const struct replay_process *process, uint32_t flags)
{
	if (flags & CAPTURE_MAP_ARENA)
		return process->arenas_counted ? SITE_CODE_ARENA_COUNTED : SITE_CODE_ARENA;
	if (flags & (CAPTURE_MAP_RESERVE | CAPTURE_MAP_NORESERVE))
		return SITE_CODE_RESERVED;
	return flags & CAPTURE_MAP_FILE ? SITE_CODE_FILE : SITE_CODE_MAPPED;
}

bool replay_map(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	struct cut cut = { .replay = replay, .process = process, .thread = thread };
	unsigned code = code_of_flags(process, event->flags);
	struct range range;
	uint32_t site = REPLAY_SITE_NONE;

	if (!page_range(process, event, &range))
		return true;
	if (event->flags & CAPTURE_MAP_MOVED && thread->unmapping) {
		/* mremap that stays and does not grow is no allocation: what is left keeps its site. */
		if (range.start == thread->unmap_range.start && range.end <= thread->unmap_range.end)
			return restore_unmapped(replay, process, thread, range.start, range.end);
		if (thread->unmapped_count)
			code = replay->mappings[thread->unmapped[0].mapping].code;
	}
	replay_forget_unmapped(replay, thread);
	if (!ranges_cut(&process->ranges, range.start, range.end, piece_removed, &cut, replay->error))
		return false;
	thread->sequence++;
	if (replay->recording && !thread->left_out &&
	    !replay_find_site(replay, site_key(event->stack, (uint32_t)(thread - replay->threads), code), &site))
		return false;
	if (!new_mapping(replay, &range.mapping) || !ranges_insert(&process->ranges, &range, replay->error))
		return false;
	replay->mappings[range.mapping] = (struct replay_mapping){ .length = range.end - range.start,
		.left = range.end - range.start, .site = site, .sequence = thread->sequence, .code = code };
	replay_allocate(replay, process, site, range.end - range.start,
		(struct replay_amount){ range.end - range.start, 1 });
	if (replay_observed(replay))
		replay_tell(replay, thread->sequence, &(struct profile_event){ .kind = PROFILE_BORN, .live = 1, .site = site,
			.time_ns = replay->now_ns, .address = range.start, .bytes = range.end - range.start,
			.thread = replay_thread_number(replay, thread) });
	return true;
}

bool replay_unmap(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	struct cut cut = { .replay = replay, .process = process, .thread = thread, .keep = true };
	struct range range;

	replay_forget_unmapped(replay, thread);
	if (!page_range(process, event, &range))
		return true;
	thread->unmapping = true;
	thread->unmap_range = range;
	if (!ranges_cut(&process->ranges, range.start, range.end, piece_removed, &cut, replay->error))
		return false;
	process->unknown_frees += cut.pieces == 0;
	return true;
}

bool replay_unmap_failed(struct replay *replay, struct replay_process *process, struct replay_thread *thread,
	const struct decoded_event *event)
{
	struct range range;

	if (!page_range(process, event, &range))
		return true;
	if (!thread->unmapping || range.start != thread->unmap_range.start || range.end != thread->unmap_range.end) {
		process->contradictions++;
		replay_forget_unmapped(replay, thread);
		return true;
	}
	process->unknown_frees -= thread->unmapped_count == 0;
	return restore_unmapped(replay, process, thread, range.start, range.end);
}
