/* SPDX-License-Identifier: MIT */
/*
 * The table of modules, made from the process's mappings: they take no loader lock (an allocation inside dlopen or
 * inside a dl_iterate_phdr callback must not wait for one) and show every name space.  They are looked at when a frame
 * lies in no known module; and when libraries may have gone of which that cannot be found out in a cheaper way: whether
 * a module's build-id still stands where it was mapped, one system call for all that can be unloaded.
 *
 * When a module is gone, its range enters `ranges` with a generation one higher than before; frames met there later
 * bear it.  The generation of an address is the highest of all ranges that cover it, so it never goes back.  A module
 * is recorded once for each stretch of it that has one generation: frames and modules then agree, address by address.
 *
 * Both tables are changed under `refreshing` only and read without it.  A reader that comes at the wrong moment takes
 * a known module for unknown, which costs a look at the mappings, or sees a generation that is about to be.
 */
#include "modules.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "arena.h"
#include "lasting.h"
#include "mapped_elf.h"
#include "mappings.h"
#include "stream.h"
#include "symbol.h"
#include "sys.h"
#include "unwind.h"

#include "banned.h"

enum {
	MODULES_MAX = 16384,
	RANGES_MAX = 4096,
	BUILD_ID_KEPT = 20,           /* of longer ones as much is compared */
	CHECKED_AT_ONCE = 64,
};

/*
 * Of modules_stale: the mappings are to be read; or it may be so, and whoever closes a library finds out; or only those
 * around the addresses in `met`.
 */
enum { STALE = 1, STALE_CLOSING = 2, STALE_MET = 4 };

struct module {
	_Atomic uintptr_t start, end; /* both 0: gone; the place may be used again */
	uint64_t device_inode;        /* tells files apart; 0: memory without a file */
	uintptr_t build_id_at;        /* where it is mapped; 0: none is known */
	uint8_t build_id[BUILD_ID_KEPT], build_id_size;
	bool lasting;                 /* never unloaded: lasting.h */
	bool seen;                    /* in the reading that is under way */
};

struct range {
	uintptr_t start, end;
	_Atomic uint32_t generation;
};

_Atomic int modules_stale = STALE;
_Atomic int modules_recycled;         /* ranges in use */

static struct module *modules;        /* set before module_count */
static _Atomic uint32_t module_count;
static struct range ranges[RANGES_MAX];   /* [0, modules_recycled) are complete */
static _Atomic int refreshing;        /* 1: a thread reads the mappings, or looks at build-ids */
static bool at_start;                 /* guarded by it: no library was opened yet */
static _Atomic bool unlisted;         /* since all mappings were read a library was opened */
static _Atomic uintptr_t met[4];      /* addresses in no known module; 0: free; set before STALE_MET */

uint32_t modules_generation_slow(uintptr_t address)
{
	int count = atomic_load_explicit(&modules_recycled, memory_order_acquire);

	uint32_t highest = 0;

	for (int i = 0; i < count; i++) {
		uint32_t generation = atomic_load_explicit(&ranges[i].generation, memory_order_relaxed);

		if (address >= ranges[i].start && address < ranges[i].end && generation > highest)
			highest = generation;
	}
	return highest;
}

/* The highest generation in [start, end). */
static uint32_t highest_generation(uintptr_t start, uintptr_t end)
{
	int count = atomic_load_explicit(&modules_recycled, memory_order_relaxed);
	uint32_t highest = 0;

	for (int i = 0; i < count; i++)
		if (ranges[i].start < end && ranges[i].end > start && ranges[i].generation > highest)
			highest = ranges[i].generation;
	return highest;
}

/* How far from `start` on, and up to `end` at most, the generation may be one and the same. */
static uintptr_t stretch_end(uintptr_t start, uintptr_t end)
{
	int count = atomic_load_explicit(&modules_recycled, memory_order_relaxed);

	for (int i = 0; i < count; i++) {
		if (ranges[i].start > start && ranges[i].start < end)
			end = ranges[i].start;
		if (ranges[i].end > start && ranges[i].end < end)
			end = ranges[i].end;
	}
	return end;
}

static inline bool module_has(uint32_t i, uintptr_t address, uintptr_t *start, uintptr_t *end)
{
	*start = atomic_load_explicit(&modules[i].start, memory_order_relaxed);
	*end = atomic_load_explicit(&modules[i].end, memory_order_relaxed);
	return address >= *start && address < *end;
}

bool modules_find(uintptr_t address, uintptr_t *start, uintptr_t *end)
{
	/* Guesses: what was found last for addresses like this one, 64 KiB together. */
	static _Atomic uint32_t found_last[64];
	_Atomic uint32_t *guess = &found_last[address >> 16 & 63];
	uint32_t count = atomic_load_explicit(&module_count, memory_order_acquire);
	uint32_t last = atomic_load_explicit(guess, memory_order_relaxed);

	if (last < count && module_has(last, address, start, end))
		return true;
	for (uint32_t i = count; i-- > 0;) {
		if (module_has(i, address, start, end)) {
			atomic_store_explicit(guess, i, memory_order_relaxed);
			return true;
		}
	}
	return false;
}

static bool is_known(uintptr_t address)
{
	uintptr_t start, end;

	return modules_find(address, &start, &end);
}

/*
 * Pages that were looked up and belong to no module: frames that a damaged stack made up.  Without this memory each
 * of them would have all mappings read.
 */
enum {
	NOWHERE_SIZE = 1024,
	NOWHERE_TRUST = 64,           /* one question in so many is asked again all the same */
};
static _Atomic uintptr_t nowhere[NOWHERE_SIZE];
static _Atomic uint32_t nowhere_hits;

static void forget_nowhere(void)
{
	for (int i = 0; i < NOWHERE_SIZE; i++)
		atomic_store_explicit(&nowhere[i], 0, memory_order_relaxed);
}

/* false: there is no room. */
static bool note_met(uintptr_t address)
{
	for (size_t i = 0; i < sizeof(met) / sizeof(met[0]); i++) {
		uintptr_t none = 0;

		if (atomic_compare_exchange_strong(&met[i], &none, address))
			return true;
	}
	return false;
}

void modules_meet(uintptr_t address)
{
	uintptr_t page = address >> 12;
	_Atomic uintptr_t *slot = &nowhere[(page ^ page >> 10) % NOWHERE_SIZE];

	if (is_known(address))
		return;
	if (atomic_load_explicit(slot, memory_order_relaxed) == page
			&& atomic_fetch_add_explicit(&nowhere_hits, 1, memory_order_relaxed) % NOWHERE_TRUST != 0)
		return;
	atomic_store_explicit(slot, page, memory_order_relaxed);
	atomic_fetch_or_explicit(&modules_stale, note_met(address) ? STALE_MET : STALE, memory_order_release);
}

static void recycle(struct module *module)
{
	int count = atomic_load_explicit(&modules_recycled, memory_order_relaxed);
	uintptr_t start = module->start, end = module->end;
	uint32_t generation = highest_generation(start, end) + 1;

	if (module->lasting)
		lasting_give_up();
	atomic_store_explicit(&module->start, 0, memory_order_relaxed);
	atomic_store_explicit(&module->end, 0, memory_order_relaxed);
	for (int i = count - 1; i >= 0; i--) {
		if (ranges[i].start == start && ranges[i].end == end) {
			/* The same library again and again. */
			atomic_store_explicit(&ranges[i].generation, generation, memory_order_relaxed);
			return;
		}
	}
	if (count == RANGES_MAX)
		return;                       /* from here on two libraries at one address are not told apart */
	ranges[count].start = start;
	ranges[count].end = end;
	atomic_store_explicit(&ranges[count].generation, generation, memory_order_relaxed);
	atomic_store_explicit(&modules_recycled, count + 1, memory_order_release);
}

static bool is_vdso(const struct mappings_group *group)
{
	return strcmp(group->path, "[vdso]") == 0;
}

static void record_module(struct thread *thread, const struct mappings_group *group, struct module *known)
{
	struct mapped_elf facts = { 0 };
	size_t path_size = strlen(group->path);
	bool elf = group->device_inode != 0 && group->first_offset == 0 && mapped_elf_read(group->start, &facts);

	known->build_id_at = facts.build_id_at;
	known->build_id_size = facts.build_id_size < BUILD_ID_KEPT ? (uint8_t)facts.build_id_size : BUILD_ID_KEPT;
	memcpy(known->build_id, facts.build_id, BUILD_ID_KEPT);

	for (uintptr_t at = group->start; at < group->end;) {
		uintptr_t end = stretch_end(at, group->end);
		struct capture_module module = {
			.start = at,
			.end = end,
			.bias = elf ? facts.bias : group->start - group->first_offset,
			.time_ns = thread->tick_ns,
			.generation = modules_generation_slow(at),
			.path_size = (uint32_t)path_size,
			.build_id_size = facts.build_id_size,
			.flags = is_vdso(group) ? CAPTURE_MODULE_VDSO : 0,
		};
		const struct stream_part parts[] = { { &module, sizeof(module) }, { group->path, path_size },
			{ facts.build_id, facts.build_id_size } };

		stream_metadata(thread, CAPTURE_MODULE, parts, 3);
		at = end;
	}
}

/* At the start all are that the loader knows: nothing was opened yet. */
static bool is_lasting(const struct mappings_group *group)
{
	const bool lasting = at_start ? symbol_is_module(group->start, group->end) : lasting_has(group->start);

	if (at_start && lasting)
		lasting_add(group->start, group->end);
	return lasting || is_vdso(group);
}

/* A group has been read to its end. */
static void meet_group(struct thread *thread, const struct mappings_group *group)
{
	uint32_t count = atomic_load_explicit(&module_count, memory_order_relaxed), at = count;

	if (!group->executable)
		return;
	for (uint32_t i = 0; i < count; i++) {
		struct module *module = &modules[i];

		if (module->end == 0)
			at = i;
		if (module->start >= group->end || module->end <= group->start)
			continue;
		if (module->device_inode == group->device_inode && module->start == group->start) {
			module->seen = true;
			if (module->end == group->end)
				return;
			/* Mapped further since: record it with its new end. */
			atomic_store_explicit(&module->end, group->end, memory_order_relaxed);
			record_module(thread, group, module);
			return;
		}
		recycle(module);
	}
	if (at == MODULES_MAX)
		return;
	modules[at].device_inode = group->device_inode;
	modules[at].seen = true;
	modules[at].lasting = is_lasting(group);
	forget_nowhere();
	record_module(thread, group, &modules[at]);
	atomic_store_explicit(&modules[at].start, group->start, memory_order_relaxed);
	atomic_store_explicit(&modules[at].end, group->end, memory_order_relaxed);
	if (at == count)
		atomic_store_explicit(&module_count, count + 1, memory_order_release);
}

static void meet_read(void *context, const struct mappings_group *group)
{
	meet_group(context, group);
}

/* Who comes while another is at it need not wait; false.  A handler that jumped out would leave them taken for ever. */
static bool take_tables(uint64_t *signals)
{
	int nobody = 0;

	sys_signals_block(signals);
	if (atomic_compare_exchange_strong_explicit(&refreshing, &nobody, 1, memory_order_acquire, memory_order_relaxed))
		return true;
	sys_signals_restore(signals);
	return false;
}

static void give_tables(const uint64_t *signals)
{
	atomic_store_explicit(&refreshing, 0, memory_order_release);
	sys_signals_restore(signals);
}

/* Of these those are gone whose build-ids cannot be read, or are others.  false: the system lets us read none. */
static bool check_build_ids(struct module *const checked[CHECKED_AT_ONCE], uint32_t count)
{
	struct iovec places[CHECKED_AT_ONCE];

	for (uint32_t i = 0; i < count; i++)
		places[i] = (struct iovec){ (void *)checked[i]->build_id_at, checked[i]->build_id_size };
	for (uint32_t i = 0; i < count;) {
		uint8_t read[CHECKED_AT_ONCE * BUILD_ID_KEPT], *at = read;
		struct iovec local = { read, sizeof(read) };
		long left = sys_call(SYS_process_vm_readv, sys_pid(), (long)&local, 1, (long)(places + i), (long)(count - i), 0);

		if (sys_failed(left) && left != -EFAULT)
			return false;
		/* It is read in order, up to the first that cannot be. */
		for (; i < count && left >= (long)places[i].iov_len; i++) {
			if (memcmp(at, checked[i]->build_id, places[i].iov_len) != 0)
				recycle(checked[i]);
			at += places[i].iov_len;
			left -= (long)places[i].iov_len;
		}
		if (i < count)
			recycle(checked[i++]);
	}
	return true;
}

/* Finds out which modules have gone; false: it takes a look at the mappings to tell. */
static bool check_modules(void)
{
	struct module *checked[CHECKED_AT_ONCE];
	uint32_t module_total = atomic_load_explicit(&module_count, memory_order_relaxed), count = 0;

	for (uint32_t i = 0; modules && i < module_total; i++) {
		if (modules[i].end == 0 || modules[i].lasting)
			continue;
		if (!modules[i].build_id_at)
			return false;
		checked[count++] = &modules[i];
		if (count < CHECKED_AT_ONCE)
			continue;
		if (!check_build_ids(checked, count))
			return false;
		count = 0;
	}
	return check_build_ids(checked, count);
}

/* Looks at the mappings around the addresses that were met; false: it takes a look at all. */
static bool look_around_met(struct thread *thread)
{
	static struct mappings_group group;   /* guarded by refreshing */

	/* What went unseen is not to be taken for known any longer than if all had been read. */
	if (!check_modules())
		return false;
	for (size_t i = 0; i < sizeof(met) / sizeof(met[0]); i++) {
		const uintptr_t address = atomic_exchange(&met[i], 0);

		if (address == 0 || is_known(address))
			continue;
		if (!mappings_around(address, &group))
			return false;
		meet_group(thread, &group);
		atomic_store(&unlisted, true);    /* it may have come with others */
	}
	return true;
}

static void look_at_all(struct thread *thread)
{
	uint32_t count = atomic_load_explicit(&module_count, memory_order_relaxed);

	atomic_store(&unlisted, false);
	for (size_t i = 0; i < sizeof(met) / sizeof(met[0]); i++)
		atomic_store(&met[i], 0);
	for (uint32_t i = 0; i < count; i++)
		modules[i].seen = false;
	if (!mappings_read(meet_read, thread))
		return;                       /* what was not seen may be there all the same */
	for (uint32_t i = 0; i < count; i++)
		if (!modules[i].seen && modules[i].end != 0)
			recycle(&modules[i]);
}

void modules_refresh(struct thread *thread)
{
	uint64_t signals;

	/* If another is at it, our frames are resolved by what it writes. */
	if (!take_tables(&signals))
		return;
	if (!modules)
		modules = arena_pages(MODULES_MAX * sizeof(*modules));
	const int stale = modules ? atomic_exchange_explicit(&modules_stale, 0, memory_order_acq_rel) : 0;

	if (stale && !(stale == STALE_MET && look_around_met(thread)))
		look_at_all(thread);
	give_tables(&signals);
}

void modules_list(struct thread *thread)
{
	if (!atomic_load(&unlisted))
		return;
	atomic_fetch_or(&modules_stale, STALE);
	modules_refresh(thread);
}

void modules_begin(struct thread *thread)
{
	at_start = true;
	modules_refresh(thread);
	at_start = false;
	lasting_end();
}

void modules_changed(void)
{
	uint64_t signals;
	bool known = false;

	unwind_modules_changed();
	forget_nowhere();
	atomic_store(&unlisted, true);
	if (take_tables(&signals)) {
		known = check_modules();
		give_tables(&signals);
	}
	if (known)
		atomic_fetch_and_explicit(&modules_stale, ~STALE_CLOSING, memory_order_acq_rel);
	else
		atomic_fetch_or_explicit(&modules_stale, STALE, memory_order_acq_rel);
}

void modules_closing(void)
{
	unwind_modules_changed();
	forget_nowhere();
	atomic_fetch_or_explicit(&modules_stale, STALE_CLOSING, memory_order_acq_rel);
}

void modules_reset(void)
{
	modules = NULL;
	forget_nowhere();
	atomic_store_explicit(&module_count, 0, memory_order_relaxed);
	atomic_store_explicit(&modules_recycled, 0, memory_order_relaxed);
	atomic_store_explicit(&refreshing, 0, memory_order_relaxed);
	atomic_store_explicit(&modules_stale, STALE, memory_order_relaxed);
}
