/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate and free for ever, and account for it where a kill cannot take it back:  busy JOURNAL
 *
 * The journal is a file, mapped shared: a slot of four 64-bit numbers for each thread.
 *
 *     tid, blocks whose malloc has returned, blocks whose free has returned, 0
 *
 * The n-th block of a thread has SIZE_BASE + n % SIZE_SPAN bytes; blocks are freed in the order in which they were
 * made, KEPT behind.  Four threads live long, main starts short ones.  A byte on standard output says that all run.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIZE_BASE = 70000, SIZE_SPAN = 1000, KEPT = 8, LONG_THREADS = 4, SLOTS = 4096, SHORT_BLOCKS = 5 };

struct slot {
	_Atomic uint64_t tid, allocated, freed, unused;
};

static struct slot *slots;

__attribute__((noinline)) static void step(struct slot *slot, void **kept, uint64_t number)
{
	void **place = &kept[number % KEPT];

	if (number >= KEPT) {
		free(*place);
		atomic_fetch_add_explicit(&slot->freed, 1, memory_order_release);
	}
	*place = malloc(SIZE_BASE + number % SIZE_SPAN);
	if (!*place)
		_exit(90);
	atomic_fetch_add_explicit(&slot->allocated, 1, memory_order_release);
}

static void *work(void *argument)
{
	struct slot *slot = argument;
	void *kept[KEPT];
	uint64_t blocks = slot < slots + LONG_THREADS ? UINT64_MAX : SHORT_BLOCKS;

	atomic_store(&slot->tid, (uint64_t)syscall(SYS_gettid));
	for (uint64_t i = 0; i < blocks; i++)
		step(slot, kept, i);
	return NULL;
}

int main(int argc, char **argv)
{
	int file = argc == 2 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1;

	if (file < 0 || ftruncate(file, SLOTS * sizeof(struct slot)))
		return 2;
	slots = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (slots == MAP_FAILED)
		return 3;
	for (int i = 0; i < SLOTS; i++) {
		pthread_t id;

		if (pthread_create(&id, NULL, work, &slots[i]))
			return 4;
		if (i >= LONG_THREADS)
			pthread_join(id, NULL);
		if (i == LONG_THREADS && write(1, "r", 1) != 1)
			return 5;
	}
	for (;;)
		pause();
}
