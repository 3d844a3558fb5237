/* SPDX-License-Identifier: MIT */
/*
 * Which pages of the process's memory are resident: /proc/self/maps for the mappings, mincore() for the pages of
 * private anonymous ones.  mincore reads page tables only, 4 ns a page.  Of memory that files are behind, or that is
 * shared, it tells what is in the system's cache: there /proc/self/pagemap (pagemap.h), at several times the price,
 * says which pages the process has made its own by writing, and which pages of shared memory it has touched.  mincore
 * cannot tell, either, what was swapped out from what was never there: where the process has swapped memory pagemap is
 * asked for all.
 *
 *     maps, 4 KiB at a time -> a line -> pieces of pages -> mincore | pagemap -> a range in the part
 *     the part is full: a PAGES record               all of them under the stamp of the event that has begun
 *
 * What it may cost the program: WORKED_MAX_NS of the thread that takes it, then it ends wherever it is, and says so.
 * That is processor time: on a busy machine the thread may have to wait for its turn as often as it likes, and nobody
 * is to learn less of the program for it.  It can also wait for the kernel's lock on the address space, though, or
 * never get its turn; ELAPSED_SHARE bounds that.  Signals wait meanwhile, since whoever jumped out would leave a
 * descriptor behind, and so does a fork, whose child would have it: for a fork a sample makes haste.  One thread at a
 * time; another one that wants to goes without, as does one while another thread forks.  Nothing is read under a
 * seccomp filter: what a sample needs may be what ends the process.
 */
#include "pages.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"
#include "output.h"
#include "pagemap.h"
#include "stream.h"
#include "sys.h"

#include "banned.h"

enum {
	PIECE_PAGES = 4096,
	PART_BYTES = 7936,            /* a record of at most 1016 words stays in the window, and so in its order */
	TEXT_BYTES = 4096,
	PARTS_MAX = 64,
	THREADS_MAX = 1024,
	WORKED_MAX_NS = 20000000,
	WORKED_GROWN_MAX_NS = 2000000,    /* where nobody asked for it */
	LOOK_SHARE = 4,               /* of that on each kind of look in pagemap: one large file is not to take all */
	ELAPSED_SHARE = 50,           /* so many times that may go by until it is done; once, while a fork waits */
	STEP_MAX_NS = 200000,         /* a piece of pages takes less, unless the thread waits */
	FORK_WAITS_NS = ELAPSED_SHARE * WORKED_MAX_NS,
	PAGE_SIZE = PAGES_PAGE_BYTES,
	THREAD_BLOCK_BYTES = 2304,    /* what the C library keeps at a thread pointer */
	THREAD_STACK_BYTES = 8 << 20, /* the default; more of a larger one is not known to be stack */
};
_Static_assert(PART_BYTES > PAGES_RANGE_BYTES_MAX(PIECE_PAGES), "a piece fits");

/* What pagemap is asked for. */
enum look { LOOK_FILES, LOOK_SHARED, LOOK_SWAPPED, LOOKS };

struct work {
	struct thread *thread;
	struct capture_pages head;
	uint64_t begin_ns, looked_ns; /* when the sample began, and when anybody last looked at the clock */
	uint64_t worked_ns, before_ns;    /* of the thread: in this sample, and before it */
	uint64_t limit_ns, looks_ns[LOOKS];   /* of worked_ns: the most, and what looks in pagemap took */
	uint64_t previous_end;
	uintptr_t own_start, own_end; /* of our own memory, not written yet */
	uintptr_t file_end;           /* of the private mapping of a file that was the last one */
	bool stopped;                 /* recording has been */
	bool swapped;                 /* the process has swapped memory, which is told apart */
	uint64_t output_inode;
	uint8_t *at;
	uint8_t part[PART_BYTES], states[PIECE_PAGES];    /* bit 0: resident, bit 1: swapped (pagemap.h) */
	char text[TEXT_BYTES];
	uintptr_t pointers[THREADS_MAX];
	size_t pointer_count;
};

/*
 * A thread sets `taken` and then looks whether anybody forks; whoever forks says so and then looks whether any thread
 * has taken it.  So one of them sees the other.
 */
static _Atomic bool taken;
static _Atomic uint32_t forks;             /* under way */
static _Atomic uint32_t next_number;
/* All this is the thread's that has taken it. */
static struct work *only_work;             /* NULL: none was made yet */
static struct descriptor maps = { .fd = -1 }, status = { .fd = -1 };
static struct pagemap pagemap = { .descriptor.fd = -1 };

/*
 * The thread's processor time in this sample.  Its clock is a system call, as much as a line of the maps: so it is
 * asked only where more time went by than a step takes.  Everything else is taken to have been work.
 */
static uint64_t worked_ns(struct work *work)
{
	const uint64_t now_ns = sys_clock_ns(CLOCK_MONOTONIC);
	uint64_t step_ns = sys_elapsed_ns(work->looked_ns, now_ns);

	if (step_ns > STEP_MAX_NS) {
		const uint64_t all_ns = sys_elapsed_ns(work->before_ns, sys_clock_ns(CLOCK_THREAD_CPUTIME_ID));
		const uint64_t new_ns = all_ns > work->worked_ns ? all_ns - work->worked_ns : 0;

		step_ns = new_ns < step_ns ? new_ns : step_ns;
	}
	work->looked_ns = now_ns;
	work->worked_ns += step_ns;
	return work->worked_ns;
}

/* false: the sample is at its bounds. */
static bool may_go_on(struct work *work)
{
	const uint64_t elapsed_max_ns = atomic_load(&forks) ? work->limit_ns : work->limit_ns * ELAPSED_SHARE;

	if (worked_ns(work) <= work->limit_ns && sys_elapsed_ns(work->begin_ns, work->looked_ns) <= elapsed_max_ns &&
	    work->head.part < PARTS_MAX)
		return true;
	work->head.flags |= PAGES_CUT;
	return false;
}

static bool put_part(struct work *work)
{
	const struct stream_part parts[] = {
		{ &work->head, sizeof(work->head) }, { work->part, (size_t)(work->at - work->part) } };

	work->stopped = work->stopped || !stream_metadata(work->thread, CAPTURE_PAGES, parts, 2);
	work->head.part++;
	work->at = work->part;
	work->previous_end = 0;
	return !work->stopped;
}

static bool has_room(struct work *work, size_t pages)
{
	return (size_t)(work->part + PART_BYTES - work->at) >= PAGES_RANGE_BYTES_MAX(pages) || put_part(work);
}

static bool put_owner(struct work *work, unsigned kind, uintptr_t start, uintptr_t end)
{
	const uint64_t first = start / PAGE_SIZE, past = (end + PAGE_SIZE - 1) / PAGE_SIZE;

	if (!has_room(work, 0))
		return false;
	work->at = pages_put_owner(work->at, kind, first, &work->previous_end, past - first);
	return true;
}

/* Chunks mostly lie one beside the other. */
static bool take_own(void *context, uintptr_t start, size_t size)
{
	struct work *work = context;

	if (start == work->own_end) {
		work->own_end += size;
	} else if (start + size == work->own_start) {
		work->own_start = start;
	} else {
		if (!may_go_on(work) || (work->own_end && !put_owner(work, PAGES_OWN, work->own_start, work->own_end)))
			return false;
		work->own_start = start;
		work->own_end = start + size;
	}
	return true;
}

static bool take_all_own(struct work *work)
{
	work->own_start = work->own_end = 0;
	return arena_each(take_own, work) && put_owner(work, PAGES_OWN, work->own_start, work->own_end);
}

/*
 * The stacks of threads that this mapping holds: what lies below their thread pointers, where the C library has put
 * them.  A mapping may hold other things above or below.
 */
static bool put_stacks(struct work *work, uintptr_t start, uintptr_t end)
{
	for (size_t i = 0; i < work->pointer_count; i++) {
		const uintptr_t pointer = work->pointers[i];
		uintptr_t top = (pointer + THREAD_BLOCK_BYTES + PAGE_SIZE - 1) & ~(uintptr_t)(PAGE_SIZE - 1);

		if (pointer < start || pointer >= end)
			continue;
		top = top < end ? top : end;
		if (!put_owner(work, PAGES_THREAD_STACK, top - start > THREAD_STACK_BYTES ? top - THREAD_STACK_BYTES : start, top))
			return false;
	}
	return true;
}

/* A piece, as states[] say. */
static bool put_piece(struct work *work, unsigned kind, uintptr_t start, size_t count)
{
	if (!has_room(work, count))
		return false;
	work->at = pages_put_range(work->at, kind, start / PAGE_SIZE, &work->previous_end, work->states, count);
	return true;
}

/* What of a piece is swapped, if anything. */
static bool put_swapped(struct work *work, uintptr_t start, size_t count)
{
	unsigned any = 0;

	for (size_t i = 0; i < count; i++) {
		work->states[i] = work->states[i] & PAGEMAP_SWAPPED ? 1 : 0;
		any |= work->states[i];
	}
	return !any || put_piece(work, PAGES_SWAPPED, start, count);
}

/*
 * The states of the next pages, by pagemap; returns of how many: 0, it cannot tell, or this kind of look has had its
 * share.
 */
static size_t look(struct work *work, enum look kind, uintptr_t start, size_t count)
{
	const uint64_t begin_ns = worked_ns(work);

	if (work->looks_ns[kind] > work->limit_ns / LOOK_SHARE)
		return 0;
	count = kind == LOOK_FILES ? pagemap_look_files(&pagemap, start, count, work->states) :
		pagemap_look(&pagemap, start, count, work->states);
	work->looks_ns[kind] += worked_ns(work) - begin_ns;
	return count;
}

static size_t pages_of_piece(uintptr_t start, uintptr_t end)
{
	return (end - start) / PAGE_SIZE < PIECE_PAGES ? (end - start) / PAGE_SIZE : PIECE_PAGES;
}

/* The states of private pages: pagemap is not needed unless there is swapped memory.  false: the pages are gone. */
static bool see(struct work *work, uintptr_t start, size_t *count)
{
	const size_t looked = work->swapped ? look(work, LOOK_SWAPPED, start, *count) : 0;

	if (looked) {
		*count = looked;
		return true;
	}
	/* From here on it is not told apart, so the sample cannot say that it told of all. */
	if (work->swapped) {
		work->swapped = false;
		work->head.flags &= (uint16_t)~PAGES_SWAP_TOLD;
	}
	/* It may have gone since, and be mapped no more. */
	if (sys_failed(sys_call(SYS_mincore, (long)start, (long)(*count * PAGE_SIZE), (long)work->states, 0, 0, 0)))
		return false;
	for (size_t i = 0; i < *count; i++)
		work->states[i] &= PAGEMAP_RESIDENT;
	return true;
}

/* false: the sample ends here. */
static bool take_mapping(struct work *work, unsigned kind, uintptr_t start, uintptr_t end)
{
	for (size_t count; start < end; start += count * PAGE_SIZE) {
		count = pages_of_piece(start, end);
		if (!may_go_on(work))
			return false;
		if (see(work, start, &count) &&
		    (!put_piece(work, kind, start, count) || (work->swapped && !put_swapped(work, start, count))))
			return false;
	}
	return true;
}

/* Resident of a file is what the process has made its own, of shared memory what it has touched. */
static bool take_looked(struct work *work, unsigned kind, uintptr_t start, uintptr_t end)
{
	const bool file = kind == PAGES_FILE;
	bool more = true;

	for (size_t count; start < end; start += count * PAGE_SIZE) {
		unsigned any = 0;

		more = may_go_on(work);
		count = more ? look(work, file ? LOOK_FILES : LOOK_SHARED, start, pages_of_piece(start, end)) : 0;
		if (count == 0)
			break;
		for (size_t i = 0; i < count; i++) {
			work->states[i] &= file && work->states[i] & PAGEMAP_FILE ? 0 : PAGEMAP_RESIDENT | PAGEMAP_SWAPPED;
			any |= work->states[i] & PAGEMAP_RESIDENT;
		}
		if ((any || !file) && !put_piece(work, kind, start, count))
			return false;
		if (file && !put_swapped(work, start, count))
			return false;
	}
	if (start < end)
		work->head.flags |= file ? PAGES_FILES_CUT : PAGES_SHARED_CUT;
	return more;
}

static const char *hex(const char *at, uintptr_t *value)
{
	for (*value = 0; (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'); at++)
		*value = *value << 4 | (uintptr_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
	return at;
}

static const char *skip_field(const char *at)
{
	while (*at && *at != ' ')
		at++;
	while (*at == ' ')
		at++;
	return at;
}

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/*
 * A shared mapping of memory, which has a name as a file has; real files are in the system's cache, and left out.
 * Whoever records into /dev/shm has the recorder's own file there.
 */
static bool take_shared(struct work *work, const char *inode, const char *name, uintptr_t start, uintptr_t end)
{
	static const char *const names[] = { "/dev/zero", "/memfd:", "/dev/shm/", "/SYSV", "[anon_shmem:" };
	uint64_t number = 0;
	bool memory = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		memory |= begins(name, names[i]);
	if (!memory)
		return true;
	for (; *inode >= '0' && *inode <= '9'; inode++)
		number = number * 10 + (uint64_t)(*inode - '0');
	if (number == work->output_inode && begins(name, "/dev/shm/") && !put_owner(work, PAGES_OWN, start, end))
		return false;
	return take_looked(work, PAGES_SHARED, start, end);
}

/* "start-end rwxp offset device inode   name"; false: the sample ends here. */
static bool take_line(struct work *work, const char *line)
{
	uintptr_t start, end;
	const char *at = hex(line, &start);

	if (*at != '-')
		return true;
	at = hex(at + 1, &end);
	/* What has no permissions is address space, and may be most of it. */
	if (at[0] != ' ' || strnlen(at, 6) < 6 || memcmp(at + 1, "---", 3) == 0 || end <= start)
		return true;
	const bool code = at[3] == 'x', shared = at[4] == 's';
	const char *inode = skip_field(skip_field(skip_field(at + 1)));
	const char *name = skip_field(inode);

	if (shared)
		return take_shared(work, inode, name, start, end);
	if (inode[0] != '0' || (inode[1] != ' ' && inode[1] != 0)) {
		work->file_end = end;
		return code || take_looked(work, PAGES_FILE, start, end);
	}
	if (begins(name, "[v"))
		return true;                  /* vdso, vvar, vsyscall: the system's */
	if (begins(name, "[heap]"))
		return take_mapping(work, PAGES_BREAK, start, end);
	if (begins(name, "[stack"))
		return take_mapping(work, PAGES_STACK, start, end);
	/* Where a module's zeroed data goes on behind what its file has. */
	return put_stacks(work, start, end) &&
		take_mapping(work, start == work->file_end ? PAGES_ZEROED : PAGES_ANONYMOUS, start, end);
}

/* All lines in the text, of which `held` bytes are there; returns how many are left for later.  false: as above. */
static bool take_lines(struct work *work, size_t *held, bool *skipping)
{
	char *line = work->text, *end;

	while ((end = memchr(line, '\n', (size_t)(work->text + *held - line)))) {
		*end = 0;
		if (!*skipping && !take_line(work, line))
			return false;
		*skipping = false;
		line = end + 1;
	}
	*held -= (size_t)(line - work->text);
	memmove(work->text, line, *held);
	/* A name so long that its line does not fit: what matters of it comes first. */
	if (*held < TEXT_BYTES)
		return true;
	work->text[TEXT_BYTES - 1] = 0;
	if (!*skipping && !take_line(work, work->text))
		return false;
	*skipping = true;
	*held = 0;
	return true;
}

static void prepare_pagemap(struct work *work)
{
	const enum pagemap_swap swap = pagemap_swap(&status, work->text, TEXT_BYTES);
	int none;

	descriptor_open(&pagemap.descriptor, "/proc/self/pagemap", &none);
	work->swapped = swap == PAGEMAP_SWAP_SOME && pagemap.descriptor.fd >= 0;
	if (swap == PAGEMAP_SWAP_NONE || work->swapped)
		work->head.flags |= PAGES_SWAP_TOLD;
}

static void take_all(struct work *work)
{
	size_t held = 0;
	uint64_t offset = 0;
	bool skipping = false;        /* the rest of a line that is longer than the text */
	int error;
	long got;

	if (!descriptor_open(&maps, "/proc/self/maps", &error)) {
		work->head.flags |= PAGES_UNAVAILABLE;
		work->head.error = (uint16_t)error;
		return;
	}
	work->before_ns = sys_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	prepare_pagemap(work);
	work->pointer_count = thread_pointers(work->pointers, THREADS_MAX);
	if (take_all_own(work)) {
		while (may_go_on(work) && (got = sys_pread(maps.fd, work->text + held, TEXT_BYTES - held, offset)) > 0) {
			offset += (uint64_t)got;
			held += (size_t)got;
			if (!take_lines(work, &held, &skipping))
				break;
		}
	}
	descriptor_close(&pagemap.descriptor);
	descriptor_close(&maps);
}

static void sample(struct work *work)
{
	if (sys_is_filtered()) {
		work->head.flags |= PAGES_UNAVAILABLE;
		work->head.error = EPERM;
	} else {
		take_all(work);
	}
	work->head.flags |= PAGES_LAST;
	work->head.duration_ns = sys_elapsed_ns(work->begin_ns, sys_clock_ns(CLOCK_MONOTONIC));
	if (!work->stopped)
		put_part(work);
}

static uint64_t take(struct thread *thread, enum pages_reason reason)
{
	struct work *work = only_work;

	if (!work)
		work = only_work = arena_pages((sizeof(*work) + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1));
	if (!work)
		return 0;
	work->thread = thread;
	work->begin_ns = work->looked_ns = sys_clock_ns(CLOCK_MONOTONIC);
	work->limit_ns = reason == PAGES_GROWN ? WORKED_GROWN_MAX_NS : WORKED_MAX_NS;
	work->worked_ns = work->previous_end = 0;
	memset(work->looks_ns, 0, sizeof(work->looks_ns));
	work->swapped = false;
	work->output_inode = output_inode();
	work->file_end = 0;
	work->stopped = false;
	work->at = work->part;
	work->head = (struct capture_pages){ .number = atomic_fetch_add(&next_number, 1), .reason = (uint16_t)reason };
	sample(work);
	return work->worked_ns;
}

uint64_t pages_take(struct thread *thread, enum pages_reason reason)
{
	uint64_t signals, worked_ns = 0;

	sys_signals_block(&signals);
	if (!atomic_exchange(&taken, true)) {
		if (atomic_load(&forks) == 0)
			worked_ns = take(thread, reason);
		atomic_store(&taken, false);
	}
	sys_signals_restore(&signals);
	return worked_ns;
}

void pages_before_fork(void)
{
	const uint64_t begin_ns = sys_clock_ns(CLOCK_MONOTONIC);

	atomic_fetch_add(&forks, 1);
	/* Whoever has it makes haste now, once it gets its turn on a machine that is busy; but a fork waits for no more. */
	for (unsigned tries = 0; atomic_load(&taken) && sys_clock_ns(CLOCK_MONOTONIC) - begin_ns < FORK_WAITS_NS;)
		sys_wait_turn(&tries);
}

void pages_forked_parent(void)
{
	atomic_fetch_sub(&forks, 1);
}

void pages_forked_child(void)
{
	atomic_store(&forks, 0);
}

void pages_reset(void)
{
	/* A thread of the parent's may have been at it, after a fork that did not come by here. */
	atomic_store(&taken, false);
	atomic_store(&next_number, 0);
	descriptor_close(&maps);
	descriptor_close(&status);
	descriptor_close(&pagemap.descriptor);
}
