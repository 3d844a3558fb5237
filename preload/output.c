/* SPDX-License-Identifier: MIT */
/*
 * Called by stream.c (blocks, windows) and lifecycle.c (open, forget, trim).
 *
 *     file:  | header page | window | window | extent: block block block .. zeros | window | extent ..
 *
 * The file grows by whole windows and extents.  Space is really taken before it is mapped (sys_allocate), so that a
 * full disk is an answer here and never a SIGBUS in the program.  An extent is filled by atomic reservations; when it
 * is full and every writer is done, it is unmapped.  The descriptor is needed only to grow; it is kept high, and its
 * identity is checked before each use, since the program may close it and open a file of its own under the number.
 * Signals are blocked while growing: a handler that recorded in between, or jumped out, would wait for ever.
 */
#include "output.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#include <xxhash.h>

#include "arena.h"
#include "config.h"
#include "cull.h"
#include "naming.h"
#include "order.h"
#include "sample.h"
#include "sys.h"

#include "banned.h"

enum {
	HOLDER_LOOK = 128,            /* turns that a thread waits before it looks whether the other still exists */
	EXTENT_SIZE_LEAST = 32 << 10, /* where the file may only be so large */
	EXTENT_SIZE_MIN = 256 << 10,
	EXTENT_SIZE_MAX = 8 << 20,
	HEADER_SIZE_MAX = 64 << 10,
};

struct extent {
	uint8_t *base;
	uint64_t offset;              /* in the file */
	uint64_t size;
	_Atomic uint64_t used;        /* bytes reserved; may run past size, which means full */
	_Atomic uint64_t done;        /* bytes whose writer has finished, the unused tail included */
};

static struct {
	int fd;
	dev_t device;
	ino_t inode;
	uint8_t *header;              /* mapped */
	uint64_t header_size;
	struct extent *_Atomic extent;
	_Atomic uint64_t end;         /* of the file; changed under growing only */
	_Atomic int growing;          /* tid of the thread that makes the file grow; 0: nobody */
	uint64_t extent_size;         /* of the next extent */
	uint64_t start_realtime_ns;
	int failure;
	char path[4096];
	_Atomic uint64_t appended;    /* bytes of blocks in this file */
	struct naming_segments names; /* of the run's further files */
	char segment_path[4096];      /* of the present one */
	struct capture_header header_copy;
	uint64_t removed;             /* segments up to this one are gone, or are not ours any more */
} output = { .fd = -1 };

_Atomic uint32_t output_segment;

static struct capture_status no_status;

struct capture_status *output_status(void)
{
	return output.header ? (struct capture_status *)(output.header + CAPTURE_STATUS_OFFSET) : &no_status;
}

int output_failure(void)
{
	return output.failure;
}

const char *output_path(void)
{
	return output.path;
}

uint64_t output_inode(void)
{
	return output.inode;
}

uint64_t output_start_realtime_ns(void)
{
	return output.start_realtime_ns;
}

/* The descriptor, if it still is our file; the program may have closed it: then by name, if that still is our file. */
static int our_fd(void)
{
	struct stat stat;

	if (output.fd >= 0 && sys_stat(output.fd, &stat) && stat.st_dev == output.device && stat.st_ino == output.inode)
		return output.fd;
	int fd = sys_open(output.segment_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);

	if (fd < 0)
		return -1;
	if (!sys_stat(fd, &stat) || stat.st_dev != output.device || stat.st_ino != output.inode) {
		sys_close(fd);
		return -1;
	}
	output.fd = sys_move_high(fd);
	return output.fd;
}

static void enter_growing(uint64_t *signals)
{
	int tid = sys_tid(), holder = 0;
	unsigned tries = 0;

	sys_signals_block(signals);
	while (!atomic_compare_exchange_weak_explicit(&output.growing, &holder, tid,
			memory_order_acquire, memory_order_relaxed)) {
		if (holder != 0)
			sys_wait_turn(&tries);
		/* A vfork child shares the lock, and can be killed with it.  All that it left undone can be done again. */
		if (holder == 0 || tries % HOLDER_LOOK != 0 || !sys_task_is_dead(holder))
			holder = 0;
	}
}

static void leave_growing(const uint64_t *signals)
{
	atomic_store_explicit(&output.growing, 0, memory_order_release);
	sys_signals_restore(signals);
}

/* Makes room for `size` bytes at the end of the file; the descriptor, or -1.  Called while growing. */
static int make_room(uint64_t size, uint64_t *offset)
{
	int fd = our_fd();

	*offset = atomic_load_explicit(&output.end, memory_order_relaxed);
	if (config.max_size && *offset + size > config.max_size)
		return -1;
	return fd >= 0 && sys_allocate(fd, *offset, size) ? fd : -1;
}

static void note_grown(uint64_t end)
{
	atomic_store_explicit(&output.end, end, memory_order_relaxed);
	sample_file_grew(end);
}

/* Maps `size` fresh bytes at the end of the file.  Called while growing. */
static uint8_t *grow(uint64_t size, uint64_t *offset)
{
	const int fd = make_room(size, offset);
	uint8_t *base = fd >= 0 ? sys_map_file(fd, *offset, size) : NULL;

	if (base)
		note_grown(*offset + size);
	return base;
}

static void note_used(uint64_t end)
{
	_Atomic uint64_t *file_bytes = (_Atomic uint64_t *)&output_status()->file_bytes;
	uint64_t seen = atomic_load_explicit(file_bytes, memory_order_relaxed);

	while (seen < end && !atomic_compare_exchange_weak_explicit(file_bytes, &seen, end,
			memory_order_relaxed, memory_order_relaxed))
		;
}

static void finish_bytes(struct extent *extent, uint64_t size)
{
	if (atomic_fetch_add_explicit(&extent->done, size, memory_order_acq_rel) + size == extent->size)
		sys_unmap(extent->base, extent->size);
}

/*
 * Of the next extent, with room for `size` bytes.  Where the file may only be so large, small steps: it is to be seen
 * in time that it nears that, and the last of it is to be used.
 */
static uint64_t extent_size(uint64_t size)
{
	uint64_t wanted = output.extent_size, end = atomic_load_explicit(&output.end, memory_order_relaxed);

	if (config.rotate_size && wanted > config.rotate_size / 8)
		wanted = config.rotate_size / 8 > EXTENT_SIZE_LEAST ? config.rotate_size / 8 : EXTENT_SIZE_LEAST;
	if (config.max_size) {
		uint64_t left = config.max_size > end ? config.max_size - end : 0;

		wanted = wanted > left / 32 ? left / 32 : wanted;
		if (wanted < EXTENT_SIZE_LEAST)
			wanted = left < EXTENT_SIZE_LEAST ? left & ~(uint64_t)4095 : EXTENT_SIZE_LEAST;
	}
	return ((wanted > size ? wanted : size) + 4095) & ~(uint64_t)4095;
}

/* Makes an extent with room for `size` bytes the current one, unless somebody else has just done so. */
static bool next_extent(struct extent *full, uint64_t size)
{
	uint64_t signals;

	enter_growing(&signals);
	bool ok = atomic_load_explicit(&output.extent, memory_order_acquire) != full;

	if (!ok) {
		struct extent *extent = arena_alloc(sizeof(*extent));

		if (extent) {
			extent->size = extent_size(size);
			extent->base = grow(extent->size, &extent->offset);
			ok = extent->base != NULL;
		}
		if (ok) {
			if (output.extent_size < EXTENT_SIZE_MAX)
				output.extent_size *= 2;
			atomic_store_explicit(&output.extent, extent, memory_order_release);
		}
	}
	leave_growing(&signals);
	return ok;
}

/* Room for `size` bytes in some extent; *at is their place in it. */
static struct extent *reserve(uint64_t size, uint64_t *at)
{
	for (;;) {
		struct extent *extent = atomic_load_explicit(&output.extent, memory_order_acquire);

		if (extent) {
			*at = atomic_fetch_add_explicit(&extent->used, size, memory_order_relaxed);
			if (*at + size <= extent->size)
				return extent;
			/* Exactly one reservation crosses the end; its owner closes the tail. */
			if (*at < extent->size)
				finish_bytes(extent, extent->size - *at);
		}
		if (!next_extent(extent, size))
			return NULL;
	}
}

/* The header makes the block: it comes last, and its magic last of all, so that a kill leaves a hole, not a lie. */
static void publish(uint8_t *at, const struct capture_block *header)
{
	uint64_t first;

	memcpy(&first, header, sizeof(first));
	memcpy(at + sizeof(first), (const uint8_t *)header + sizeof(first), sizeof(*header) - sizeof(first));
	atomic_store_explicit((_Atomic uint64_t *)at, first, memory_order_release);
}

static void seal(struct capture_block *header, const void *payload, size_t size)
{
	header->magic = CAPTURE_BLOCK_MAGIC;
	header->stored_size = (uint32_t)size;
	header->payload_checksum = XXH3_64bits(payload, size);
	header->header_checksum = XXH3_64bits(header, offsetof(struct capture_block, header_checksum));
}

bool output_append(struct capture_block *header, const void *payload, size_t size)
{
	uint64_t total = (sizeof(*header) + size + 7) & ~(uint64_t)7, at;
	struct extent *extent = reserve(total, &at);

	if (!extent)
		return false;
	seal(header, payload, size);
	memcpy(extent->base + at + sizeof(*header), payload, size);
	publish(extent->base + at, header);
	note_used(extent->offset + at + total);
	finish_bytes(extent, total);
	atomic_fetch_add_explicit(&output.appended, total, memory_order_relaxed);
	return true;
}

/*
 * By system calls: a page that is written first through a mapping costs a fault, five times as much.  That is not for
 * blocks of events, which come all the time: whose descriptor it is must be asked before each, and yet is known only
 * for the moment.  As in publish(), the magic comes last.
 */
bool output_append_locked(struct capture_block *header, const void *payload, size_t size)
{
	const uint64_t total = (sizeof(*header) + size + 4095) & ~(uint64_t)4095;
	uint64_t offset;
	const int fd = make_room(total, &offset);

	if (fd < 0)
		return false;
	note_grown(offset + total);
	seal(header, payload, size);
	if (!sys_pwrite_all(fd, payload, size, offset + sizeof(*header)) ||
	    !sys_pwrite_all(fd, (const uint8_t *)header + 8, sizeof(*header) - 8, offset + 8) ||
	    !sys_pwrite_all(fd, header, 8, offset))
		return false;
	note_used(offset + total);
	return true;
}

void output_locked(void (*work)(void *), void *argument)
{
	uint64_t signals;

	enter_growing(&signals);
	work(argument);
	leave_growing(&signals);
}

uint64_t output_size(uint64_t *appended)
{
	*appended = atomic_load_explicit(&output.appended, memory_order_relaxed);
	return atomic_load_explicit(&output.end, memory_order_relaxed);
}

struct capture_stream *output_stream(uint32_t stream, size_t words)
{
	size_t size = (sizeof(struct capture_block) + sizeof(struct capture_stream) + words * 8 + 4095) & ~(size_t)4095;
	uint64_t offset = 0, signals;

	enter_growing(&signals);
	uint8_t *base = grow(size, &offset);

	leave_growing(&signals);
	if (!base)
		return NULL;
	struct capture_stream *window = (struct capture_stream *)(base + sizeof(struct capture_block));
	struct capture_block header = {
		.magic = CAPTURE_BLOCK_MAGIC,
		.kind = CAPTURE_BLOCK_STREAM,
		.stored_size = (uint32_t)(size - sizeof(struct capture_block)),
		.raw_size = (uint32_t)(size - sizeof(struct capture_block)),
		.stream = stream,
	};

	header.header_checksum = XXH3_64bits(&header, offsetof(struct capture_block, header_checksum));
	window->capacity = (size - sizeof(struct capture_block) - sizeof(struct capture_stream)) / 8;
	publish(base, &header);
	note_used(offset + size);
	return window;
}

static size_t put_text(uint8_t *at, size_t room, uint16_t id, const char *bytes, size_t size)
{
	uint32_t length = (uint32_t)size;
	size_t total = 8 + ((size + 7) & ~(size_t)7);

	if (total > room)
		return 0;
	memcpy(at, &id, 2);
	memcpy(at + 4, &length, 4);
	memcpy(at + 8, bytes, size);
	return total;
}

/* The header's text fields; returns their length. */
static size_t describe(uint8_t *at, size_t room, const char *parent_path)
{
	static char buffer[32768];    /* start and fork child only: one thread */
	struct utsname system;
	size_t size = 0;
	long length;

	if (sys_call(SYS_uname, (long)&system, 0, 0, 0, 0, 0) == 0) {
		size_t name = strlen(system.sysname);

		size += put_text(at + size, room - size, CAPTURE_TEXT_HOST, system.nodename, strlen(system.nodename));
		memcpy(buffer, system.sysname, name);
		buffer[name] = ' ';
		memcpy(buffer + name + 1, system.release, strlen(system.release));
		size += put_text(at + size, room - size, CAPTURE_TEXT_KERNEL, buffer, name + 1 + strlen(system.release));
	}
	length = sys_read_file("/proc/self/cmdline", buffer, sizeof(buffer));
	if (length > 0)
		size += put_text(at + size, room - size, CAPTURE_TEXT_COMMAND, buffer, (size_t)length);
	length = sys_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)buffer, sizeof(buffer), 0, 0);
	if (length > 0)
		size += put_text(at + size, room - size, CAPTURE_TEXT_EXECUTABLE, buffer, (size_t)length);
	length = sys_call(SYS_getcwd, (long)buffer, sizeof(buffer), 0, 0, 0, 0);
	if (length > 1)
		size += put_text(at + size, room - size, CAPTURE_TEXT_DIRECTORY, buffer, (size_t)length - 1);
	if (parent_path)
		size += put_text(at + size, room - size, CAPTURE_TEXT_PARENT, parent_path, strlen(parent_path));
	memcpy(buffer, "glibc ", 6);
	memcpy(buffer + 6, naming_libc_version(), strlen(naming_libc_version()));
	size += put_text(at + size, room - size, CAPTURE_TEXT_LIBC, buffer, 6 + strlen(naming_libc_version()));
	size += put_text(at + size, room - size, CAPTURE_TEXT_WRITER, "sctmem " SCTMEM_VERSION,
		strlen("sctmem " SCTMEM_VERSION));
	return size;
}

static uint64_t wanted_features(void)
{
	uint64_t features = CAPTURE_PYTHON_STACKS;

	if (config_python_allocators)
		features |= CAPTURE_PYTHON_ALLOCATORS;
	if (config.native == CONFIG_NATIVE_FULL)
		features |= CAPTURE_NATIVE_FULL;
	if (config.native == CONFIG_NATIVE_LEAF)
		features |= CAPTURE_NATIVE_LEAF;
	if (sample_is_on())
		features |= CAPTURE_SAMPLED;
	if (config_rotates())
		features |= CAPTURE_SEGMENTS;
	if (cull_on)
		features |= CAPTURE_AGGREGATED;
	return features;
}

/* Fills the mapped header; the magic comes last. */
static void write_header(const struct output_origin *origin, size_t text_size, uint32_t sequence)
{
	struct timespec resolution = { 0 };
	struct capture_header header = {
		.version = CAPTURE_VERSION,
		.header_size = (uint32_t)output.header_size,
		.features = wanted_features(),
		.start_monotonic_ns = origin->start_monotonic_ns,
		.parent_stamp = origin->parent_stamp,
		.parent_time_ns = origin->parent_time_ns,
		.parent_start_realtime_ns = origin->parent_start_realtime_ns,
		.pid = (uint32_t)sys_pid(),
		.parent_pid = (uint32_t)sys_call(SYS_getppid, 0, 0, 0, 0, 0, 0),
		.page_size = 4096,
		.sequence = sequence,
#if defined(__x86_64__)
		.machine = 62,
#else
		.machine = 183,
#endif
		.text_size = (uint32_t)text_size,
		.origin = origin->origin,
	};

	clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
	header.clock_resolution_ns = (uint32_t)resolution.tv_nsec;
	/* Time 0 on the wall clock; it may lie in the past, when recording began before the file was made. */
	output.start_realtime_ns = header.start_realtime_ns =
		sys_clock_ns(CLOCK_REALTIME) - (sys_clock_ns(CLOCK_MONOTONIC) - origin->start_monotonic_ns);
	memcpy(header.magic, CAPTURE_MAGIC, 8);
	if (config_rotates()) {
		const uint64_t run[] = { header.pid, header.start_realtime_ns, header.start_monotonic_ns, output.inode };

		header.segment = 1;
		header.run_id = XXH3_64bits(run, sizeof(run));
	}
	output.header_copy = header;
	output.removed = 0;
	atomic_store(&output_segment, header.segment);
	header.checksum = XXH3_64bits(&header, offsetof(struct capture_header, checksum));
	header.checksum = XXH3_64bits_withSeed(output.header + CAPTURE_TEXT_OFFSET, text_size, header.checksum);
	memcpy(output.header + 8, (char *)&header + 8, sizeof(header) - 8);
	atomic_thread_fence(memory_order_release);
	memcpy(output.header, header.magic, 8);
}

bool output_open(const struct output_origin *origin)
{
	static uint8_t text[HEADER_SIZE_MAX - CAPTURE_TEXT_OFFSET];   /* start and fork child only: one thread */
	struct stat stat;
	struct naming naming = { .origin = *origin };
	int fd;

	memset(text, 0, sizeof(text));
	fd = naming_create(&naming, output.path, sizeof(output.path));
	if (fd < 0) {
		output.failure = -fd;
		return false;
	}
	if (!sys_stat(fd, &stat)) {
		sys_close(fd);
		return false;
	}
	output.fd = sys_move_high(fd);
	output.device = stat.st_dev;
	output.inode = stat.st_ino;
	memcpy(output.segment_path, output.path, sizeof(output.path));
	naming_segments_begin(&output.names, output.path);
	size_t text_size = describe(text, sizeof(text), naming.origin.parent_path);

	output.header_size = (CAPTURE_TEXT_OFFSET + text_size + 4095) & ~(uint64_t)4095;
	output.extent_size = EXTENT_SIZE_MIN;
	uint64_t offset;
	uint8_t *header = grow(output.header_size, &offset);

	if (!header) {
		sys_call(SYS_unlinkat, AT_FDCWD, (long)output.path, 0, 0, 0, 0);
		sys_close(output.fd);
		output.fd = -1;
		return false;
	}
	memcpy(header + CAPTURE_TEXT_OFFSET, text, text_size);
	output.header = header;
	write_header(&naming.origin, text_size, naming.sequence);
	note_used(output.header_size);
	return true;
}

void output_forget(void)
{
	if (output.fd >= 0)
		sys_close(output.fd);
	output.fd = -1;
	output.header = NULL;
	atomic_store_explicit(&output_segment, 0, memory_order_relaxed);
	atomic_store_explicit(&output.appended, 0, memory_order_relaxed);
	atomic_store_explicit(&output.extent, NULL, memory_order_relaxed);
	atomic_store_explicit(&output.end, 0, memory_order_relaxed);
	atomic_store_explicit(&output.growing, 0, memory_order_relaxed);
}

void output_close(void)
{
	uint64_t signals;

	enter_growing(&signals);
	if (output.fd >= 0 && our_fd() == output.fd)
		sys_close(output.fd);
	output.fd = -1;
	output.device = 0;            /* nobody opens it again */
	output.inode = 0;
	leave_growing(&signals);
}

void output_release(void)
{
	if (output.header)
		sys_unmap(output.header, output.header_size);
	output_forget();
}

void output_abandon(void)
{
	output_forget();
	output.path[0] = 0;
}

void output_detach(struct capture_stream *window)
{
	uint8_t *base = (uint8_t *)window - sizeof(struct capture_block);

	sys_map_over(base, sizeof(struct capture_block) + sizeof(*window) + window->capacity * 8);
}

/* Closes the present extent and gives back what is left of it.  Only while growing. */
static void trim(void)
{
	struct extent *extent = atomic_load_explicit(&output.extent, memory_order_acquire);

	if (!extent)
		return;
	/* All that is left is reserved here, so that nobody writes where the file will have ended. */
	uint64_t at = atomic_fetch_add_explicit(&extent->used, extent->size, memory_order_relaxed);
	uint64_t end = (extent->offset + at + 4095) & ~(uint64_t)4095;
	const bool last = extent->offset + extent->size == atomic_load_explicit(&output.end, memory_order_relaxed);
	int fd = our_fd();

	if (at >= extent->size)
		return;
	/* Whatever comes later grows the file again. */
	if (last && fd >= 0 && sys_call(SYS_ftruncate, fd, (long)end, 0, 0, 0, 0) == 0)
		atomic_store_explicit(&output.end, end, memory_order_relaxed);
	finish_bytes(extent, extent->size - at);
}

void output_trim(void)
{
	uint64_t signals;

	enter_growing(&signals);
	struct extent *extent = atomic_load_explicit(&output.extent, memory_order_acquire);

	if (extent && extent->offset + extent->size == atomic_load_explicit(&output.end, memory_order_relaxed))
		trim();
	leave_growing(&signals);
}

/* The counters that other threads raised in the old status between its copy and the switch. */
static void add_missed(const struct capture_status *before, const struct capture_status *after)
{
	enum { FIRST = offsetof(struct capture_status, lost_memory) / 8,
		LAST = offsetof(struct capture_status, lost_threads) / 8 };
	const uint64_t *from = (const uint64_t *)before, *to = (const uint64_t *)after;
	_Atomic uint64_t *now = (_Atomic uint64_t *)output_status();

	for (size_t i = FIRST; i <= LAST; i++)
		if (i != offsetof(struct capture_status, tracer_bytes) / 8 && i != offsetof(struct capture_status, file_bytes) / 8
				&& to[i] > from[i])
			atomic_fetch_add_explicit(&now[i], to[i] - from[i], memory_order_relaxed);
}

/*
 * What was asked in the old status after its copy goes along, with its number.  Who asked finds either an answer there
 * or that the run goes on elsewhere, and then the answer here.  So does the newest answer: whoever has asked here in
 * between, by a smaller number than was seen to there, learns from it that he must ask anew.
 */
static void carry_request(const struct capture_status *before, const struct capture_status *copied)
{
	struct capture_status *now = output_status();
	_Atomic uint64_t *answer = (_Atomic uint64_t *)&now->answer;
	uint64_t seen = copied->request, asked = atomic_load((const _Atomic uint64_t *)&before->request);
	uint64_t last = atomic_load((const _Atomic uint64_t *)&before->answer), known = atomic_load(answer);

	while (known < last && !atomic_compare_exchange_weak(answer, &known, last))
		;
	if (asked <= seen || atomic_load((_Atomic uint64_t *)&now->request) != seen)
		return;
	memcpy(now->request_name, before->request_name, sizeof(now->request_name));
	now->request_size = before->request_size;
	now->request_first = before->request_first;
	atomic_compare_exchange_strong((_Atomic uint64_t *)&now->request, &seen, asked);
}

/* A file with the header of the next segment, and what the status says now; its descriptor, or -1. */
static int make_segment(uint8_t *fresh, struct stat *stat)
{
	struct capture_header header = output.header_copy;
	uint8_t *mapped;
	int fd = naming_segment_create(&output.names, ++header.segment, output.segment_path, sizeof(output.segment_path));

	if (fd < 0)
		return -1;
	fd = sys_move_high(fd);
	header.segment_stamp = order_stamp_now();
	header.segment_time_ns = sys_elapsed_ns(header.start_monotonic_ns, sys_clock_ns(CLOCK_MONOTONIC));
	header.checksum = XXH3_64bits(&header, offsetof(struct capture_header, checksum));
	header.checksum = XXH3_64bits_withSeed(output.header + CAPTURE_TEXT_OFFSET, header.text_size, header.checksum);
	memcpy(fresh, output.header, output.header_size);
	memcpy(fresh, &header, sizeof(header));
	if (sys_stat(fd, stat) && sys_allocate(fd, 0, output.header_size) &&
		(mapped = sys_map_file(fd, 0, output.header_size))) {
		memcpy(mapped, fresh, output.header_size);
		sys_unmap(mapped, output.header_size);
		output.header_copy = header;
		return fd;
	}
	sys_call(SYS_unlinkat, AT_FDCWD, (long)output.segment_path, 0, 0, 0, 0);
	sys_close(fd);
	return -1;
}

bool output_next_segment(void)
{
	static uint8_t fresh[HEADER_SIZE_MAX];
	static char path[4096];
	const struct capture_status *copied = (const void *)(fresh + CAPTURE_STATUS_OFFSET);
	const int old_fd = our_fd();
	struct stat stat;

	if (!output.header || old_fd < 0 || output.header_size > sizeof(fresh))
		return false;
	memcpy(path, output.segment_path, sizeof(path));
	/* The old status, by another way, for when the new one lies in its place. */
	uint8_t *old = sys_map_file(old_fd, 0, output.header_size);
	int fd = old ? make_segment(fresh, &stat) : -1;
	long mapped = fd < 0 ? -1 : sys_call(SYS_mmap, (long)output.header, (long)output.header_size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, fd, 0);

	if (fd < 0 || sys_failed(mapped)) {
		if (fd >= 0) {
			sys_call(SYS_unlinkat, AT_FDCWD, (long)output.segment_path, 0, 0, 0, 0);
			sys_close(fd);
			output.header_copy.segment--;
		}
		if (old)
			sys_unmap(old, output.header_size);
		memcpy(output.segment_path, path, sizeof(path));
		return false;
	}
	struct capture_status *before = (struct capture_status *)(old + CAPTURE_STATUS_OFFSET);
	uint64_t now_ns = sys_clock_ns(CLOCK_MONOTONIC);

	add_missed(copied, before);
	before->end_time_ns = sys_elapsed_ns(output.header_copy.start_monotonic_ns, now_ns);
	atomic_store((_Atomic uint64_t *)&before->state, CAPTURE_CONTINUED);
	trim();
	sys_close(old_fd);
	output.fd = fd;
	output.device = stat.st_dev;
	output.inode = stat.st_ino;
	output.extent_size = EXTENT_SIZE_MIN;
	output_status()->file_bytes = output.header_size;
	atomic_store_explicit(&output.end, output.header_size, memory_order_relaxed);
	atomic_store_explicit(&output.appended, 0, memory_order_relaxed);
	atomic_store_explicit(&output.extent, NULL, memory_order_release);
	atomic_store(&output_segment, output.header_copy.segment);
	/* Last, for whoever takes it up looks whether the segment is the same before and after. */
	carry_request(before, copied);
	sys_unmap(old, output.header_size);
	return true;
}

bool output_remove_old(uint32_t keep)
{
	const uint64_t newest = output.header_copy.segment;
	bool all = true;

	if (keep == 0 || newest <= keep)
		return true;
	/* What could be removed in all that time would have been: its name is forgotten. */
	if (newest - output.removed >= NAMING_SEGMENTS_MAX)
		output.removed = newest - NAMING_SEGMENTS_MAX + 1;
	for (uint64_t segment = output.removed + 1; segment <= newest - keep; segment++) {
		all = naming_segment_remove(&output.names, segment, output.header_copy.run_id) && all;
		if (all)
			output.removed = segment;
	}
	return all;
}
