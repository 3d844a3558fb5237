/* SPDX-License-Identifier: MIT */
/*
 * What the loader can be asked for:  loading MODE [LIBRARY]
 *
 *   dlerror      prints what dlerror says before anything was loaded
 *   deepbind     opens LIBRARY (victims/plugged.c) with RTLD_DEEPBIND: its malloc is libc's, whoever interposes
 *   namespace    opens LIBRARY in a name space of its own, with a libc of its own
 *   constructor  opens and closes LIBRARY twenty times; its constructor and destructor allocate
 *   iterate      allocates inside dl_iterate_phdr's callback, while another thread opens and closes LIBRARY
 *
 * LIBRARY's work(n) allocates blocks n (kept) and n + 1 (freed).  main keeps 1 and frees 2 at the end.
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "counted.h"

static const char *library;
static atomic_bool enough;

static void work_in(void *handle, int number)
{
	require(handle != NULL, dlerror());
	void (*work)(int) = (void (*)(int))dlsym(handle, "work");

	require(work != NULL, "work");
	work(number);
}

static int mode_dlerror(void)
{
	const char *text = dlerror();

	puts(text ? text : "none");
	fflush(stdout);
	return 0;
}

static int mode_deepbind(void)
{
	work_in(dlopen(library, RTLD_NOW | RTLD_DEEPBIND), 10);
	return 0;
}

static int mode_namespace(void)
{
	work_in(dlmopen(LM_ID_NEWLM, library, RTLD_NOW), 10);
	return 0;
}

static int mode_constructor(void)
{
	for (int i = 0; i < 20; i++) {
		void *handle = dlopen(library, RTLD_NOW);

		work_in(handle, 10);
		dlclose(handle);
	}
	return 0;
}

static void *open_and_close(void *argument)
{
	while (!atomic_load(&enough))
		dlclose(dlopen(library, RTLD_NOW));
	return argument;
}

static int meet(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)info;
	(void)size;
	free(take(10));
	++*(int *)data;
	return 0;
}

static int mode_iterate(void)
{
	pthread_t id;
	int met = 0;

	require(pthread_create(&id, NULL, open_and_close, NULL) == 0, "pthread_create");
	while (met < 1000)
		dl_iterate_phdr(meet, &met);
	atomic_store(&enough, true);
	pthread_join(id, NULL);
	return met < 1000;
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ "dlerror", mode_dlerror }, { "deepbind", mode_deepbind }, { "namespace", mode_namespace },
		{ "constructor", mode_constructor }, { "iterate", mode_iterate }, { NULL, NULL },
	};

	library = argc == 3 ? argv[2] : NULL;
	int status = run_mode(modes, argc < 2 ? argc : 2, argv);

	take(1);
	free(take(2));
	return status;
}
