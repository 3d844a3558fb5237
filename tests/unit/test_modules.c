/* SPDX-License-Identifier: MIT */
/*
 * Modules and generations.  Property: a frame (address, generation) lies in exactly one MODULE record of its
 * generation, and that is the file which was mapped at the address when the frame was met; whatever is loaded,
 * unloaded and loaded again at the same place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload/modules.h"
#include "recorded.h"
#include "recorder.h"

static uintptr_t place;               /* of the mappings made here: nobody else's */
enum { PAGE = 4096, ROOM = 1024 * PAGE };

struct met {
	uintptr_t address;
	uint32_t generation;
	char file[16];
};
static struct met met[8192];
static size_t met_count;

static int start(void **state)
{
	/* Reserved all the time: in a hole the next mapping of anybody could come to lie, the recorder's too. */
	void *room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	assert_true(room != MAP_FAILED);
	place = (uintptr_t)room;
	met_count = 0;
	return recorder_set_up_started(state);
}

static int stop(void **state)
{
	(void)state;
	munmap((void *)place, ROOM);
	return recorder_tear_down(state);
}

static void refresh(void)
{
	modules_changed();
	record_modules();
}

/* Makes the file a library with the name as its build-id, when it begins with "elf": others have none. */
static void put_build_id(int fd, const char *file)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr phdrs[2];
		Elf64_Nhdr note;
		char owner[4], build_id[16];
	} elf = {
		.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 }, .e_phoff = sizeof(elf.header),
			.e_phentsize = sizeof(elf.phdrs[0]), .e_phnum = 2 },
		.phdrs = { { .p_type = PT_LOAD, .p_filesz = PAGE, .p_memsz = PAGE, .p_flags = PF_R | PF_X },
			{ .p_type = PT_NOTE, .p_offset = offsetof(__typeof__(elf), note),
				.p_vaddr = offsetof(__typeof__(elf), note), .p_memsz = sizeof(elf.note) + 20 } },
		.note = { .n_namesz = 4, .n_descsz = sizeof(elf.build_id), .n_type = NT_GNU_BUILD_ID },
		.owner = "GNU",
	};

	snprintf(elf.build_id, sizeof(elf.build_id), "%s", file);
	if (strncmp(file, "elf", 3) == 0)
		assert_int_equal(pwrite(fd, &elf, sizeof(elf), 0), sizeof(elf));
}

/* Maps a file of that name, executable, at page `at` of the place. */
static void map_file(const char *file, unsigned at, unsigned pages)
{
	char name[4200];
	void *wanted = (void *)(place + at * PAGE);

	snprintf(name, sizeof(name), "%s/%s", recorder_folder, file);
	int fd = open(name, O_RDWR | O_CREAT, 0600);

	assert_int_equal(ftruncate(fd, ROOM), 0);
	put_build_id(fd, file);
	assert_ptr_equal(mmap(wanted, pages * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0), wanted);
	close(fd);
}

static void unmap_pages(unsigned at, unsigned pages)
{
	void *gone = (void *)(place + at * PAGE);

	assert_ptr_equal(mmap(gone, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0),
		gone);
}

/* A frame is met in each page: as the walk would, before the mappings are looked at. */
static void meet_frames(const char *file, unsigned at, unsigned pages)
{
	for (unsigned page = at; page < at + pages; page++) {
		struct met *frame = &met[met_count++];

		frame->address = place + page * PAGE + 8;
		frame->generation = modules_generation(frame->address);
		snprintf(frame->file, sizeof(frame->file), "%s", file);
		modules_meet(frame->address);
	}
	if (atomic_load(&modules_stale))
		record_modules();
}

static void check_frames(void)
{
	struct recorded recorded;

	if (!recorded_read(&recorded, recorder_path()))
		fail_msg("%s", recorded.error);
	for (size_t i = 0; i < met_count; i++) {
		char found[4200] = "";

		for (size_t k = 0; k < recorded.event_count; k++) {
			const struct capture_event *event = &recorded.events[k];
			struct capture_module module;

			if (event->kind != CAPTURE_MODULE)
				continue;
			memcpy(&module, event->payload, sizeof(module));
			if (module.generation != met[i].generation || met[i].address < module.start
					|| met[i].address >= module.end)
				continue;
			/* A later record of the same module with a new end is the same file. */
			snprintf(found, sizeof(found), "%.*s", (int)module.path_size, event->payload + sizeof(module));
			const char *slash = strrchr(found, '/');

			if (!slash || strcmp(slash + 1, met[i].file) != 0)
				fail_msg("frame %zu at page %zu, generation %u: %s is recorded, %s was there", i,
					(size_t)(met[i].address - place) / PAGE, met[i].generation, found, met[i].file);
		}
		if (!found[0])
			fail_msg("frame %zu at page %zu, generation %u (%s): no module", i,
				(size_t)(met[i].address - place) / PAGE, met[i].generation, met[i].file);
	}
	recorded_finish(&recorded);
}

static void the_program_and_its_libraries_are_recorded(void **state)
{
	struct recorded recorded;
	bool program = false, libc = false, build_id = false;

	(void)state;
	refresh();
	if (!recorded_read(&recorded, recorder_path()))
		fail_msg("%s", recorded.error);
	for (size_t i = 0; i < recorded.event_count; i++) {
		const struct capture_event *event = &recorded.events[i];
		struct capture_module module;
		char name[4200];

		if (event->kind != CAPTURE_MODULE)
			continue;
		memcpy(&module, event->payload, sizeof(module));
		assert_int_equal(event->payload_size, sizeof(module) + module.path_size + module.build_id_size);
		snprintf(name, sizeof(name), "%.*s", (int)module.path_size, event->payload + sizeof(module));
		if (strstr(name, "/test_modules")) {
			program = true;
			uintptr_t here = (uintptr_t)refresh;

			assert_in_range(here, module.start, module.end - 1);
			assert_int_equal(module.bias % PAGE, 0);
		}
		libc |= strstr(name, "/libc.so") != NULL || strstr(name, "/libc-") != NULL;
		build_id |= module.build_id_size == 20;
	}
	assert_true(program && libc && build_id);
	recorded_finish(&recorded);
}

static void another_file_at_the_same_place_is_another_generation(void **state)
{
	(void)state;
	refresh();
	map_file("one", 0, 4);
	refresh();
	meet_frames("one", 0, 4);
	unmap_pages(0, 4);
	refresh();
	map_file("two", 0, 4);
	refresh();
	meet_frames("two", 0, 4);
	assert_int_not_equal(met[0].generation, met[4].generation);
	check_frames();
}

static void a_replacement_between_two_looks_is_noticed(void **state)
{
	(void)state;
	map_file("one", 0, 4);
	refresh();
	meet_frames("one", 0, 4);
	map_file("two", 0, 4);
	refresh();
	meet_frames("two", 0, 4);
	check_frames();
}

static void a_module_over_the_edge_of_an_old_one_is_recorded_in_stretches(void **state)
{
	(void)state;
	map_file("one", 4, 4);
	refresh();
	meet_frames("one", 4, 4);
	unmap_pages(4, 4);
	refresh();
	map_file("two", 2, 4);        /* half on fresh ground, half where `one` was */
	refresh();
	meet_frames("two", 2, 4);
	unmap_pages(2, 4);
	refresh();
	map_file("one", 4, 4);
	refresh();
	meet_frames("one", 4, 4);
	check_frames();
}

static void frames_met_before_the_look_are_resolved_too(void **state)
{
	(void)state;
	refresh();
	map_file("one", 4, 4);
	meet_frames("one", 4, 4);     /* finds it unknown, and looks */
	unmap_pages(4, 4);
	refresh();
	map_file("two", 2, 8);
	meet_frames("two", 2, 8);
	check_frames();
}

/* A library is closed or about to be opened; that is to need no look at the mappings. */
static void change_unseen(void)
{
	modules_changed();
	assert_int_equal(atomic_load(&modules_stale), 0);
}

/* Elsewhere they may be missing: then every change takes a look. */
static void begin_with_build_ids(void)
{
	refresh();
	modules_changed();
	if (atomic_load(&modules_stale))
		skip();
}

static void what_has_gone_is_noticed_by_its_build_id(void **state)
{
	(void)state;
	begin_with_build_ids();
	map_file("elf one", 0, 4);
	meet_frames("elf one", 0, 4);
	change_unseen();
	meet_frames("elf one", 0, 4);
	assert_int_equal(met[0].generation, met[4].generation);   /* it is still there */
	unmap_pages(0, 4);
	change_unseen();
	map_file("elf two", 0, 4);
	meet_frames("elf two", 0, 4);
	/* Another one in its place, before anybody looked. */
	map_file("elf one", 0, 4);
	change_unseen();
	meet_frames("elf one", 0, 4);
	assert_int_not_equal(met[8].generation, met[12].generation);
	check_frames();
}

static void a_closing_library_is_noticed_also_by_others(void **state)
{
	(void)state;
	begin_with_build_ids();
	map_file("elf one", 0, 4);
	meet_frames("elf one", 0, 4);
	modules_closing();
	map_file("elf two", 0, 4);
	/* An event of another thread, before the one that closes it is told. */
	assert_int_not_equal(atomic_load(&modules_stale), 0);
	record_modules();
	meet_frames("elf two", 0, 4);
	change_unseen();
	check_frames();
}

static void a_look_at_one_module_notices_what_else_has_gone(void **state)
{
	(void)state;
	begin_with_build_ids();
	map_file("elf one", 0, 4);
	meet_frames("elf one", 0, 4);
	/* In a way that nobody tells us of. */
	map_file("elf two", 0, 4);
	map_file("elf three", 8, 4);
	meet_frames("elf three", 8, 4);
	meet_frames("elf two", 0, 4);
	check_frames();
}

static void where_all_are_wanted_they_are_listed(void **state)
{
	uintptr_t from, to;

	(void)state;
	begin_with_build_ids();
	/* As by an open that brings a second library along. */
	change_unseen();
	map_file("elf one", 0, 4);
	map_file("elf two", 8, 4);
	meet_frames("elf one", 0, 4);
	struct thread *thread = record_enter();

	thread->gate = GATE_OURS;
	modules_list(thread);
	record_leave(thread);
	assert_true(modules_find(place, &from, &to));
	assert_true(modules_find(place + 8 * PAGE, &from, &to));
	meet_frames("elf two", 8, 4);
	check_frames();
}

static void many_modules_may_be_met_at_once(void **state)
{
	enum { MANY = 12 };
	char name[16];
	uintptr_t from, to;

	(void)state;
	begin_with_build_ids();
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "elf%u", i);
		map_file(name, i * 4, 2);
	}
	/* More than there is room for are met before anybody looks. */
	for (unsigned i = 0; i < MANY; i++)
		modules_meet(place + i * 4 * PAGE);
	record_modules();
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(modules_find(place + i * 4 * PAGE, &from, &to));
		snprintf(name, sizeof(name), "elf%u", i);
		meet_frames(name, i * 4, 2);
	}
	check_frames();
}

static void any_of_many_may_have_gone(void **state)
{
	enum { MANY = 150, ROUNDS = 20 };
	unsigned written[MANY] = { 0 };
	bool is_mapped[MANY] = { false };
	char name[16];

	(void)state;
	begin_with_build_ids();
	srand(5);
	for (int round = 0; round < ROUNDS; round++) {
		/* Few, or nearly all. */
		const int share = round % 3 == 0 ? 90 : 4;

		for (unsigned i = 0; i < MANY; i++) {
			if (is_mapped[i] && rand() % 100 < share) {
				unmap_pages(i * 2, 1);
				is_mapped[i] = false;
			}
		}
		change_unseen();
		for (unsigned i = 0; i < MANY; i++) {
			if (!is_mapped[i] && rand() % 2) {
				snprintf(name, sizeof(name), "elf%u.%u", i, written[i]++ % 2);
				map_file(name, i * 2, 1);
				meet_frames(name, i * 2, 1);
				is_mapped[i] = true;
			} else if (is_mapped[i]) {
				snprintf(name, sizeof(name), "elf%u.%u", i, (written[i] - 1) % 2);
				meet_frames(name, i * 2, rand() % 16 == 0);
			}
		}
	}
	check_frames();
}

static void random_history(const char *const files[6], unsigned seed)
{
	struct { unsigned at, pages; } mapped[6] = { 0 };

	unmap_pages(0, ROOM / PAGE);
	refresh();
	srand(seed);
	for (int round = 0; round < 300; round++) {
		int which = rand() % 6;

		if (mapped[which].pages) {
			unmap_pages(mapped[which].at, mapped[which].pages);
			mapped[which].pages = 0;
			refresh();
			continue;
		}
		unsigned at = (unsigned)(rand() % 40), pages = 1 + (unsigned)(rand() % 10);
		bool is_free = true;

		for (int i = 0; i < 6; i++)
			is_free &= !mapped[i].pages || at >= mapped[i].at + mapped[i].pages || at + pages <= mapped[i].at;
		if (!is_free)
			continue;
		map_file(files[which], at, pages);
		mapped[which].at = at;
		mapped[which].pages = pages;
		if (rand() % 2)
			refresh();
		meet_frames(files[which], at, pages);
	}
	check_frames();
}

static void random_histories_keep_frames_and_modules_together(void **state)
{
	static const char *const without[] = { "f0", "f1", "f2", "f3", "f4", "f5" };
	static const char *const with[] = { "elf0", "elf1", "elf2", "elf3", "elf4", "elf5" };
	static const char *const either[] = { "elf0", "f1", "elf2", "elf3", "elf4", "elf5" };

	(void)state;
	random_history(without, 3);
	random_history(with, 4);
	random_history(either, 5);
}

static void places_are_used_again_and_made_up_addresses_cost_little(void **state)
{
	struct recorded recorded;

	(void)state;
	refresh();
	/* More libraries than the table holds, one after the other. */
	for (int i = 0; i < 200; i++) {
		map_file(i % 2 ? "one" : "two", 0, 1);
		refresh();
		unmap_pages(0, 1);
		refresh();
	}
	meet_frames("", 100, 1);
	int looks = 0;

	for (int i = 0; i < 640; i++) {
		modules_meet(place + 100 * PAGE + 8);
		looks += atomic_load(&modules_stale) != 0;
		record_modules();
	}
	assert_in_range(looks, 1, 20);
	if (!recorded_read(&recorded, recorder_path()))
		fail_msg("%s", recorded.error);
	recorded_finish(&recorded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_program_and_its_libraries_are_recorded, start, stop),
		cmocka_unit_test_setup_teardown(another_file_at_the_same_place_is_another_generation, start, stop),
		cmocka_unit_test_setup_teardown(a_replacement_between_two_looks_is_noticed, start, stop),
		cmocka_unit_test_setup_teardown(a_module_over_the_edge_of_an_old_one_is_recorded_in_stretches, start, stop),
		cmocka_unit_test_setup_teardown(frames_met_before_the_look_are_resolved_too, start, stop),
		cmocka_unit_test_setup_teardown(what_has_gone_is_noticed_by_its_build_id, start, stop),
		cmocka_unit_test_setup_teardown(a_closing_library_is_noticed_also_by_others, start, stop),
		cmocka_unit_test_setup_teardown(a_look_at_one_module_notices_what_else_has_gone, start, stop),
		cmocka_unit_test_setup_teardown(where_all_are_wanted_they_are_listed, start, stop),
		cmocka_unit_test_setup_teardown(many_modules_may_be_met_at_once, start, stop),
		cmocka_unit_test_setup_teardown(any_of_many_may_have_gone, start, stop),
		cmocka_unit_test_setup_teardown(random_histories_keep_frames_and_modules_together, start, stop),
		cmocka_unit_test_setup_teardown(places_are_used_again_and_made_up_addresses_cost_little, start, stop),
	};

	return cmocka_run_group_tests_name("modules", tests, NULL, NULL);
}
