/* SPDX-License-Identifier: MIT */
/*
 * The mappings of a file.  Property: the group around an address is that which reading all mappings finds there, or the
 * answer is that they must be read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload/mappings.h"

enum { PAGE = 4096, ROOM_PAGES = 96, GROUPS_MAX = 1024, FILES = 3 };

static char *room;
static int files[FILES];
static struct mappings_group *groups;
static size_t group_count;

static void keep(void *context, const struct mappings_group *group)
{
	(void)context;
	assert_in_range(group_count, 0, GROUPS_MAX - 1);
	groups[group_count++] = *group;
}

static void read_all(void)
{
	group_count = 0;
	assert_true(mappings_read(keep, NULL));
}

static const struct mappings_group *group_of(uintptr_t address)
{
	for (size_t i = 0; i < group_count; i++)
		if (address >= groups[i].start && address < groups[i].end)
			return &groups[i];
	return NULL;
}

/* Whether the group around the address is known without reading all; it is right then. */
static bool is_found(uintptr_t address)
{
	static struct mappings_group around;
	const struct mappings_group *group = group_of(address);

	if (!mappings_around(address, &around))
		return false;
	assert_non_null(group);
	assert_int_equal(around.start, group->start);
	assert_int_equal(around.end, group->end);
	assert_int_equal(around.first_offset, group->first_offset);
	assert_int_equal(around.device_inode, group->device_inode);
	assert_int_equal(around.executable, group->executable);
	assert_string_equal(around.path, group->path);
	return true;
}

static int set_up(void **state)
{
	(void)state;
	groups = calloc(GROUPS_MAX, sizeof(*groups));
	room = mmap(NULL, ROOM_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < FILES; i++) {
		char name[] = "/tmp/test_mappings_XXXXXX";

		files[i] = mkstemp(name);
		assert_int_equal(ftruncate(files[i], ROOM_PAGES * PAGE), 0);
		/* One keeps its name, one is "(deleted)", one has a name that maps writes in another form. */
		if (i == 1)
			unlink(name);
		if (i == 2) {
			char strange[sizeof(name) + 2];

			snprintf(strange, sizeof(strange), "%s\n", name);
			assert_int_equal(rename(name, strange), 0);
		}
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < FILES; i++) {
		char link[64], name[256];

		snprintf(link, sizeof(link), "/proc/self/fd/%d", files[i]);
		ssize_t length = readlink(link, name, sizeof(name) - 1);

		name[length > 0 ? length : 0] = 0;
		if (i != 1)
			unlink(name);
		close(files[i]);
	}
	munmap(room, ROOM_PAGES * PAGE);
	free(groups);
	return 0;
}

static void map(unsigned at, unsigned pages, int file, unsigned offset, int protection)
{
	void *wanted = room + at * PAGE;

	assert_ptr_equal(mmap(wanted, pages * PAGE, protection, MAP_PRIVATE | MAP_FIXED | (file < 0 ? MAP_ANONYMOUS : 0),
		file, offset * PAGE), wanted);
}

/* Newer systems answer for one mapping. */
static bool is_asked(void)
{
	read_all();
	return is_found((uintptr_t)is_asked);
}

static void libraries_need_no_reading_of_all(void **state)
{
	(void)state;
	if (!is_asked())
		skip();
	assert_true(is_found((uintptr_t)calloc));
	/* As the loader does it: segments, a hole that is kept, data, and zeroed data. */
	map(8, 4, files[0], 0, PROT_READ);
	map(9, 1, files[0], 1, PROT_READ | PROT_EXEC);
	map(10, 1, -1, 0, PROT_NONE);
	map(11, 1, files[0], 2, PROT_READ | PROT_WRITE);
	map(12, 1, -1, 0, PROT_READ | PROT_WRITE);
	map(13, 2, files[1], 0, PROT_READ | PROT_EXEC);
	read_all();
	for (unsigned page = 8; page < 15; page++)
		assert_int_equal(is_found((uintptr_t)room + page * PAGE), page != 10 && page != 12);
	assert_false(is_found((uintptr_t)room));
	assert_false(is_found(PAGE));
}

static void any_order_of_mappings_is_grouped_alike(void **state)
{
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE };
	unsigned found = 0;

	(void)state;
	if (!is_asked())
		skip();
	srand(7);
	for (int round = 0; round < 400; round++) {
		unsigned at = (unsigned)rand() % (ROOM_PAGES - 8);
		const int file = rand() % (FILES + 2);

		if (file == FILES + 1)
			munmap(room + at * PAGE, PAGE);
		else
			map(at, 1 + (unsigned)rand() % 6, file < FILES ? files[file % (round % 2 ? FILES : 1)] : -1,
				rand() % 2 ? 0 : (unsigned)rand() % 8, protections[rand() % 4]);
		read_all();
		for (unsigned page = 0; page < ROOM_PAGES; page++)
			found += is_found((uintptr_t)room + page * PAGE);
	}
	assert_in_range(found, 400, 400 * ROOM_PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(libraries_need_no_reading_of_all),
		cmocka_unit_test(any_order_of_mappings_is_grouped_alike),
	};

	return cmocka_run_group_tests_name("mappings", tests, set_up, tear_down);
}
