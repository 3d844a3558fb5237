/* SPDX-License-Identifier: MIT */
/*
 * See pagemap.h.
 */
#include "pagemap.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>

#include "banned.h"

enum { PAGE_SIZE = 4096 };

/* Of an entry.  A guard (MADV_GUARD_INSTALL) is marked as swapped memory is; which it is Linux says from 6.15 on. */
#define ENTRY_PRESENT ((uint64_t)1 << 63)
#define ENTRY_SWAPPED ((uint64_t)1 << 62)
#define ENTRY_OF_FILE ((uint64_t)1 << 61)
#define ENTRY_GUARD ((uint64_t)1 << 58)

/* Of a region, and of what is asked; in <linux/fs.h> of newer systems. */
enum { CATEGORY_PRESENT = 1 << 3, CATEGORY_SWAPPED = 1 << 4, CATEGORY_GUARD = 1 << 8 };

struct scan {
	uint64_t size, flags, start, end, walk_end, regions, region_count, pages_max;
	uint64_t inverted, all_of, any_of, returned;
};
#define SCAN _IOWR('f', 16, struct scan)

void pagemap_of_entries(const uint64_t *entries, size_t count, uint8_t *states)
{
	for (size_t i = 0; i < count; i++)
		states[i] = (uint8_t)((entries[i] & ENTRY_PRESENT ? PAGEMAP_RESIDENT :
			(entries[i] & (ENTRY_SWAPPED | ENTRY_GUARD)) == ENTRY_SWAPPED ? PAGEMAP_SWAPPED : 0) |
			(entries[i] & ENTRY_OF_FILE ? PAGEMAP_FILE : 0));
}

void pagemap_of_regions(const struct pagemap_region *regions, size_t region_count, uintptr_t start, size_t count,
	uint8_t *states)
{
	const uintptr_t end = start + count * PAGE_SIZE;

	memset(states, 0, count);
	for (size_t i = 0; i < region_count; i++) {
		const struct pagemap_region *region = &regions[i];
		const uintptr_t from = region->start > start ? region->start : start, past = region->end < end ? region->end : end;
		const uint64_t categories = region->categories;
		const int state = categories & CATEGORY_PRESENT ? PAGEMAP_RESIDENT :
			(categories & (CATEGORY_SWAPPED | CATEGORY_GUARD)) == CATEGORY_SWAPPED ? PAGEMAP_SWAPPED : 0;

		if (from < past)
			memset(states + (from - start) / PAGE_SIZE, state, (past - from) / PAGE_SIZE);
	}
}

size_t pagemap_look_files(struct pagemap *pagemap, uintptr_t start, size_t count, uint8_t *states)
{
	count = count < PAGEMAP_ENTRIES_MAX ? count : PAGEMAP_ENTRIES_MAX;
	const long got = pagemap->descriptor.fd < 0 ? 0 :
		sys_pread(pagemap->descriptor.fd, pagemap->entries, count * 8, start / PAGE_SIZE * 8);

	count = got > 0 ? (size_t)got / 8 : 0;
	pagemap_of_entries(pagemap->entries, count, states);
	return count;
}

size_t pagemap_look(struct pagemap *pagemap, uintptr_t start, size_t count, uint8_t *states)
{
	struct scan scan = { .size = sizeof(scan), .start = start, .end = start + count * PAGE_SIZE,
		.regions = (uintptr_t)pagemap->regions, .region_count = PAGEMAP_REGIONS_MAX,
		.any_of = CATEGORY_PRESENT | CATEGORY_SWAPPED,
		.returned = CATEGORY_PRESENT | CATEGORY_SWAPPED | CATEGORY_GUARD };

	if (pagemap->descriptor.fd < 0)
		return 0;
	if (!pagemap->no_regions) {
		const long found = sys_call(SYS_ioctl, pagemap->descriptor.fd, (long)SCAN, (long)&scan, 0, 0, 0);

		if (found >= 0 && scan.walk_end > start && scan.walk_end <= scan.end) {
			count = (scan.walk_end - start) / PAGE_SIZE;
			pagemap_of_regions(pagemap->regions, (size_t)found, start, count, states);
			return count;
		}
		pagemap->no_regions = true;
	}
	return pagemap_look_files(pagemap, start, count, states);
}

bool pagemap_status_has_swap(const char *status)
{
	static const char name[] = "VmSwap:";
	const char *at = status;

	while (at && strncmp(at, name, sizeof(name) - 1) != 0) {
		at = strchr(at, '\n');
		at += at ? 1 : 0;
	}
	if (!at)
		return false;
	for (at += sizeof(name) - 1; *at == ' ' || *at == '\t';)
		at++;
	return *at > '0' && *at <= '9';
}

enum pagemap_swap pagemap_swap(struct descriptor *status, char *text, size_t size)
{
	struct sysinfo info;
	bool some = false;
	int error;

	if (!sys_failed(sys_call(SYS_sysinfo, (long)&info, 0, 0, 0, 0, 0)) && info.freeswap >= info.totalswap)
		return PAGEMAP_SWAP_NONE;
	if (descriptor_open(status, "/proc/self/status", &error)) {
		const long got = sys_pread(status->fd, text, size - 1, 0);

		text[got > 0 ? got : 0] = 0;
		some = pagemap_status_has_swap(text);
	}
	descriptor_close(status);
	return some ? PAGEMAP_SWAP_SOME : PAGEMAP_SWAP_UNKNOWN;
}
