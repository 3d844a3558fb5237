/* SPDX-License-Identifier: MIT */
/*
 * A program that has Python inside, again and again:  embed LIBPYTHON
 *
 * Opens libpython, starts and ends the interpreter three times, each time with objects 10 (kept until its end) and 11,
 * then from a thread that Python did not make.  Block 1 is kept, block 2 freed.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "counted.h"

static void *python;
static const char code[] =
	"import threading\n"
	"kept = bytes(70010 - 33)\n"
	"bytes(70011 - 33)\n"
	"t = threading.Thread(target=bytes, args=(70012 - 33,)); t.start(); t.join()\n";

static void *find(const char *name)
{
	void *found = dlsym(python, name);

	require(found != NULL, name);
	return found;
}

static void *run_once(void *argument)
{
	((void (*)(int))find("Py_InitializeEx"))(0);
	int bad = ((int (*)(const char *))find("PyRun_SimpleString"))(code);

	return ((int (*)(void))find("Py_FinalizeEx"))() != 0 || bad ? (void *)1 : argument;
}

int main(int argc, char **argv)
{
	pthread_t id;
	void *bad = NULL;

	python = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) : NULL;
	require(python != NULL, dlerror());
	for (int i = 0; i < 3; i++)
		require(run_once(NULL) == NULL, "python");
	require(pthread_create(&id, NULL, run_once, NULL) == 0, "pthread_create");
	pthread_join(id, &bad);
	take(1);
	free(take(2));
	return bad != NULL;
}
