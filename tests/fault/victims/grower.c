/* SPDX-License-Identifier: MIT */
/*
 * Makes a capture grow, through many windows of three threads, while something befalls the file:  grower MODE [PATH]
 *
 *   plain        nothing: what befalls it comes from outside
 *   remove       half-way, removes the file PATH              rename     renames it to PATH.moved
 *   replace      removes it and puts a file of its own there  folder     removes its folder, too
 *   dup2         puts a descriptor of its own over every one from 3 up, and checks that nobody wrote to its file
 *   descriptors  opens descriptors until there are no more
 *
 * Each thread allocates BLOCKS blocks, the n-th of SIZE_BASE + n % 1000 bytes, and frees them in order, some later.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "counted.h"

#ifndef BLOCKS
#define BLOCKS 15000
#endif

enum { KEPT = 16, THREADS = 3 };

static const char *path;
static pthread_barrier_t half_way;

static void *work(void *argument)
{
	void *kept[KEPT] = { NULL };

	for (size_t i = 0; i < BLOCKS; i++) {
		if (i == BLOCKS / 2) {
			pthread_barrier_wait(&half_way);
			pthread_barrier_wait(&half_way);
		}
		free(kept[i % KEPT]);
		kept[i % KEPT] = take(i % 1000);
	}
	return argument;
}

static int do_nothing(void)
{
	return 0;
}

static int remove_file(void)
{
	/* Bare there is none. */
	return unlink(path) != 0 && errno != ENOENT;
}

static int rename_file(void)
{
	char moved[PATH_MAX];

	snprintf(moved, sizeof moved, "%s.moved", path);
	return rename(path, moved) != 0 && errno != ENOENT;
}

static int check_own(const char *name, const char *text)
{
	char found[100] = "";
	int file = open(name, O_RDONLY);
	struct stat stat;

	require(file >= 0 && fstat(file, &stat) == 0 && read(file, found, sizeof found - 1) >= 0, name);
	close(file);
	return stat.st_size != (off_t)strlen(text) || strcmp(found, text) != 0;
}

static int replace_file(void)
{
	int bad = remove_file(), file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

	require(file >= 0 && write(file, "own", 3) == 3, path);
	close(file);
	return bad;
}

static int remove_folder(void)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof folder, "%s", path);
	return remove_file() || rmdir(dirname(folder)) != 0;
}

static int cover_descriptors(void)
{
	int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

	require(file >= 0 && write(file, "own", 3) == 3, path);
	for (int i = 3; i < 1024; i++)
		require(i == file || dup2(file, i) == i, "dup2");
	return 0;
}

static int use_descriptors(void)
{
	while (open("/dev/null", O_RDONLY) >= 0)
		;
	return errno != EMFILE;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*befall)(void);
	} modes[] = {
		{ "plain", do_nothing }, { "remove", remove_file }, { "rename", rename_file }, { "replace", replace_file },
		{ "folder", remove_folder }, { "dup2", cover_descriptors }, { "descriptors", use_descriptors },
	};
	pthread_t ids[THREADS];
	int status = 2;

	path = argc == 3 ? argv[2] : NULL;
	pthread_barrier_init(&half_way, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		require(pthread_create(&ids[i], NULL, work, NULL) == 0, "pthread_create");
	pthread_barrier_wait(&half_way);
	for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof modes[0]; i++)
		if (strcmp(modes[i].name, argv[1]) == 0)
			status = modes[i].befall();
	pthread_barrier_wait(&half_way);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	if (argc > 1 && (strcmp(argv[1], "replace") == 0 || strcmp(argv[1], "dup2") == 0))
		status |= check_own(path, "own");
	say("done\n");
	return status;
}
