/* SPDX-License-Identifier: MIT */
/* Keys, reading, looking up, writing and throwing away; see symbol_cache.h. */
#include "symbol_cache.h"

#include <dirent.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "memory.h"

static const char cache_magic[8] = "SCTNAMES";
static const char suffix[] = ".names", temporary_suffix[] = ".tmp";

enum {
	VERSION = 1,
	FILE_SIZE_MAX = 64 << 20,     /* twice what names_is_full() lets grow */
	FOLDER_SIZE_MAX = 256 << 20,
	FOLDER_FILES_MAX = 4096,
	/* A file that was written so lately may be written again with the same size and times. */
	SETTLED_S = 2,
	ABANDONED_S = 3600,           /* a temporary file as old as this has no writer any more */
	USED_S = 86400,               /* a file's time says to within a day when it was used */
};

struct cache_head {
	char magic[8];
	uint32_t version;
	uint32_t detail;              /* enum symbols_detail */
	uint64_t payload_size;
	uint64_t checksum;            /* of key and payload, with the detail as its seed */
};

_Static_assert(sizeof(struct cache_head) % 8 == 0 && sizeof(struct cache_key) % 8 == 0, "what names_check() asks for");

/* ---- which file ---- */

bool symbol_cache_folder(char *path, size_t size)
{
	const char *base = getenv("XDG_CACHE_HOME"), *below = "";

	if (base == NULL || base[0] != '/') {
		base = getenv("HOME");
		below = "/.cache";
	}
	if (base == NULL || base[0] != '/')
		return false;
	const int length = snprintf(path, size, "%s%s/sctmem", base, below);
	return length > 0 && (size_t)length < size;
}

static uint64_t time_ns(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct cache_file identify(const struct stat *status)
{
	return (struct cache_file){ .device = status->st_dev, .inode = status->st_ino, .size = (uint64_t)status->st_size,
		.modified_ns = time_ns(status->st_mtim), .changed_ns = time_ns(status->st_ctim) };
}

/* False when the file cannot be told from what it may become. */
static bool identify_image(const struct elf_image *image, struct cache_file *file)
{
	struct stat status;

	*file = (struct cache_file){ 0 };
	if (image->elf == NULL)
		return true;
	if (image->fd < 0 || fstat(image->fd, &status) != 0 || time(NULL) - status.st_mtime < SETTLED_S)
		return false;
	*file = identify(&status);
	return true;
}

static bool make_key(struct cache_key *key, const struct module_files *files)
{
	struct stat reader;
	const char *version = dwfl_version(NULL);

	/* With some debug files, a part is in yet another file. */
	if ((files->program.elf == NULL && files->debug.elf == NULL) || stat("/proc/self/exe", &reader) != 0 ||
			elf_image_has_section(&files->program, ".gnu_debugaltlink") ||
			elf_image_has_section(&files->debug, ".gnu_debugaltlink"))
		return false;
	key->reader = identify(&reader);
	key->libraries = XXH3_64bits(version, strlen(version));
	return identify_image(&files->program, &key->program) && identify_image(&files->debug, &key->debug);
}

/* The user's own folder, in which nobody else can write; made when it is missing.  Negative: there is none. */
static int open_folder(const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	char parent[PATH_MAX];
	struct stat status;
	int folder = open(path, flags);

	if (folder < 0 && errno == ENOENT) {
		const char *slash = strrchr(path, '/');
		if (slash == NULL || (size_t)(slash - path) >= sizeof(parent))
			return -1;
		memcpy(parent, path, (size_t)(slash - path));
		parent[slash - path] = '\0';
		/* Others may be at it too: whether they or we have made it is for open() to find out. */
		if (mkdir(path, 0700) != 0 && errno == ENOENT && (mkdir(parent, 0700) == 0 || errno == EEXIST))
			mkdir(path, 0700);
		folder = open(path, flags);
	}
	if (folder >= 0 && (fstat(folder, &status) != 0 || status.st_uid != geteuid() || (status.st_mode & 022) != 0)) {
		close(folder);
		folder = -1;
	}
	return folder;
}

/* ---- reading ---- */

static bool index_places(struct symbol_cache *cache)
{
	const struct names *names = &cache->names;
	uint32_t place = 0;

	cache->first_places = memory_new(names->head.frame_count, sizeof(*cache->first_places));
	for (uint32_t i = 0; i < names->head.frame_count; i++) {
		if (i != 0 && names->frames[i].frame <= names->frames[i - 1].frame)
			return false;
		cache->first_places[i] = place;
		place += names->frames[i].place_count;
	}
	return true;
}

static bool accept(struct symbol_cache *cache, size_t size)
{
	const struct cache_head *head = (const void *)cache->bytes;
	const char *key = (const char *)(head + 1);

	if (size < sizeof(*head) + sizeof(cache->key) || memcmp(head->magic, cache_magic, sizeof(cache_magic)) != 0 ||
			head->version != VERSION || head->detail > SYMBOLS_LINES ||
			head->payload_size != size - sizeof(*head) - sizeof(cache->key) ||
			memcmp(key, &cache->key, sizeof(cache->key)) != 0 ||
			XXH3_64bits_withSeed(key, size - sizeof(*head), head->detail) != head->checksum ||
			names_check(key + sizeof(cache->key), head->payload_size, &cache->names) != NULL)
		return false;
	cache->detail = head->detail;
	return index_places(cache);
}

static bool read_whole(int file, void *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		const ssize_t got = pread(file, (char *)bytes + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

static void read_file(struct symbol_cache *cache)
{
	const int file = openat(cache->folder, cache->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;

	if (file < 0)
		return;
	if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() && status.st_size > 0 &&
			status.st_size <= FILE_SIZE_MAX) {
		const size_t size = (size_t)status.st_size;

		cache->bytes = memory_new(size / 8 + 1, 8);
		if (!read_whole(file, cache->bytes, size) || !accept(cache, size)) {
			free(cache->bytes);
			free(cache->first_places);
			cache->bytes = NULL;
			cache->first_places = NULL;
			cache->names = (struct names){ 0 };
		} else if (time(NULL) - status.st_mtime > USED_S) {
			futimens(file, NULL);
		}
	}
	close(file);
}

bool symbol_cache_open(struct symbol_cache *cache, const char *folder, const struct module_files *files)
{
	*cache = (struct symbol_cache){ 0 };
	if (!make_key(&cache->key, files) || (cache->folder = open_folder(folder)) < 0)
		return false;
	const XXH128_hash_t hash = XXH3_128bits(&cache->key, sizeof(cache->key));
	snprintf(cache->name, sizeof(cache->name), "%016" PRIx64 "%016" PRIx64 "%s", (uint64_t)hash.high64,
		(uint64_t)hash.low64, suffix);
	cache->open = true;
	read_file(cache);
	return true;
}

static size_t take_places(const struct capture_place *places, size_t count, const char *text,
	struct symbol_frame *frames)
{
	for (size_t i = 0; i < count; i++)
		frames[i] = names_frame(&places[i], text);
	return count;
}

size_t symbol_cache_find(const struct symbol_cache *cache, uint64_t address, struct symbol_frame *frames)
{
	const struct names *names = &cache->names;
	size_t low = 0, high = names->head.frame_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (names->frames[middle].frame == address)
			return take_places(names->places + cache->first_places[middle], names->frames[middle].place_count,
				names->text, frames);
		if (names->frames[middle].frame < address)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

/* ---- writing ---- */

void symbol_cache_add(struct symbol_cache *cache, uint64_t address, const struct symbol_frame *frames, size_t count)
{
	struct error error = { 0 };

	if (CAPTURE_FRAME_KIND(address) != CAPTURE_FRAME_NATIVE || names_is_full(&cache->fresh))
		return;
	/* The payload's way to say that there is no text. */
	for (size_t i = 0; i < count; i++)
		if ((frames[i].function != NULL && frames[i].function[0] == '\0') ||
				(frames[i].file != NULL && frames[i].file[0] == '\0'))
			return;
	if (!names_add(&cache->fresh, address, frames, count, &error))
		cache->unfit = true;
}

/* What the file has and what is new, in order. */
static bool merge(const struct symbol_cache *cache, struct names_writer *all, struct error *error)
{
	const struct names_writer *fresh = &cache->fresh;
	const struct names *names = &cache->names;
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	size_t old = 0, place = 0;

	for (size_t i = 0; i <= fresh->frame_count; i++) {
		const bool more = i < fresh->frame_count;

		for (; old < names->head.frame_count && (!more || names->frames[old].frame < fresh->frames[i].frame); old++) {
			const size_t count = take_places(names->places + cache->first_places[old],
				names->frames[old].place_count, names->text, frames);
			if (!names_add(all, names->frames[old].frame, frames, count, error))
				return false;
		}
		if (!more)
			break;
		const size_t count = take_places(fresh->places + place, fresh->frames[i].place_count, fresh->text, frames);
		if (!names_add(all, fresh->frames[i].frame, frames, count, error))
			return false;
		place += count;
	}
	return true;
}

static bool write_whole(int file, const void *bytes, size_t size)
{
	for (const char *at = bytes; size > 0;) {
		const ssize_t put = write(file, at, size);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += put;
		size -= (size_t)put;
	}
	return true;
}

static void write_file(const struct symbol_cache *cache, const void *payload, size_t size, enum symbols_detail detail)
{
	struct cache_head head = { .version = VERSION, .detail = detail, .payload_size = size };
	struct timespec now;
	char name[96];

	memcpy(head.magic, cache_magic, sizeof(cache_magic));
	char *bytes = memory_new(1, sizeof(head) + sizeof(cache->key) + size);
	memcpy(bytes + sizeof(head), &cache->key, sizeof(cache->key));
	memcpy(bytes + sizeof(head) + sizeof(cache->key), payload, size);
	head.checksum = XXH3_64bits_withSeed(bytes + sizeof(head), sizeof(cache->key) + size, detail);
	memcpy(bytes, &head, sizeof(head));
	clock_gettime(CLOCK_REALTIME, &now);
	/* The process may be in a namespace where others have its number: so the time is in it, too. */
	snprintf(name, sizeof(name), "%.32s-%ld-%" PRIu64 "%s", cache->name, (long)getpid(), time_ns(now), temporary_suffix);
	const int file = openat(cache->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file >= 0) {
		const bool ok = write_whole(file, bytes, sizeof(head) + sizeof(cache->key) + size);

		if (close(file) != 0 || !ok || renameat(cache->folder, name, cache->folder, cache->name) != 0)
			unlinkat(cache->folder, name, 0);
	}
	free(bytes);
}

/* ---- throwing away ---- */

struct stored {
	char name[96];
	time_t used;
	off_t size;
};

static bool ends_in(const char *name, const char *end)
{
	const size_t length = strlen(name);

	return length > strlen(end) && strcmp(name + length - strlen(end), end) == 0;
}

static int compare_stored(const void *a, const void *b)
{
	const struct stored *left = a, *right = b;

	return left->used < right->used ? -1 : left->used > right->used;
}

/* Down to three quarters of what there may be, so that it need not be done each time. */
static void remove_oldest(int folder, struct stored *stored, size_t count, off_t size)
{
	size_t left = count;

	if (size <= FOLDER_SIZE_MAX && count <= FOLDER_FILES_MAX)
		return;
	qsort(stored, count, sizeof(*stored), compare_stored);
	for (size_t i = 0; i < count && (size > FOLDER_SIZE_MAX / 4 * 3 || left > FOLDER_FILES_MAX / 4 * 3); i++, left--) {
		unlinkat(folder, stored[i].name, 0);
		size -= stored[i].size;
	}
}

static void clean_folder(int descriptor)
{
	const int again = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = again >= 0 ? fdopendir(again) : NULL;
	struct stored *stored = NULL;
	size_t count = 0, capacity = 0;
	const time_t now = time(NULL);
	struct dirent *entry;
	off_t size = 0;

	if (folder == NULL) {
		if (again >= 0)
			close(again);
		return;
	}
	while ((entry = readdir(folder)) != NULL) {
		const bool temporary = ends_in(entry->d_name, temporary_suffix);
		struct stat status;

		if ((!temporary && !ends_in(entry->d_name, suffix)) || strlen(entry->d_name) >= sizeof(stored->name) ||
				fstatat(descriptor, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (temporary) {
			if (now - status.st_mtime > ABANDONED_S)
				unlinkat(descriptor, entry->d_name, 0);
			continue;
		}
		stored = memory_grow(stored, &capacity, count + 1, sizeof(*stored));
		stored[count] = (struct stored){ .used = status.st_mtime, .size = status.st_size };
		strcpy(stored[count++].name, entry->d_name);
		size += status.st_size;
	}
	closedir(folder);
	remove_oldest(descriptor, stored, count, size);
	free(stored);
}

void symbol_cache_save(struct symbol_cache *cache, enum symbols_detail detail)
{
	struct names_writer all = { 0 };
	struct error error = { 0 };
	void *payload = NULL;
	size_t size = 0;

	if (!cache->open || cache->unfit || cache->fresh.frame_count == 0)
		return;
	bool ok = merge(cache, &all, &error);
	/* What was there goes when both are too much. */
	ok = ok && names_take(names_is_full(&all) ? &cache->fresh : &all, 0, &payload, &size, &error);
	if (ok) {
		write_file(cache, payload, size, detail);
		clean_folder(cache->folder);
	}
	free(payload);
	names_finish(&all);
	names_finish(&cache->fresh);
}

void symbol_cache_close(struct symbol_cache *cache)
{
	if (!cache->open)
		return;
	close(cache->folder);
	free(cache->bytes);
	free(cache->first_places);
	names_finish(&cache->fresh);
	*cache = (struct symbol_cache){ 0 };
}
