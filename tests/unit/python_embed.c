/* SPDX-License-Identifier: MIT */
/*
 * A program that loads a Python runtime for itself alone (RTLD_LOCAL), as a plug-in host does, and starts and ends it
 * three times, with threads that allocate without the GIL, deep in Python, while it ends.  Run with
 * python_walk_library.so preloaded:
 *
 *     python_embed LIBPYTHON [busy]
 *
 * Prints, for each life, whether stacks were walked and objects seen.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *runtime;

static void *need(void *handle, const char *name)
{
	void *symbol = dlsym(handle, name);

	if (!symbol) {
		fprintf(stderr, "no %s\n", name);
		exit(2);
	}
	return symbol;
}

static const char objects[] =
	"class C:\n  __slots__ = ()\n"
	"def f(n):\n  return [C() for i in range(1000)] if n == 0 else f(n - 1)\n"
	"f(10)\n";

/* Threads that leave the interpreter for a C function that allocates, for ever. */
static const char busy[] =
	"import ctypes, threading, time\n"
	"lib = ctypes.CDLL(None)\n"
	"def deep(n):\n"
	"  if n: deep(n - 1)\n"
	"  else: lib.embed_spin()\n"
	"for i in range(4): threading.Thread(target=deep, args=(100,), daemon=True).start()\n"
	"time.sleep(0.05)\n";

void embed_spin(void);

void embed_spin(void)
{
	for (;;) {
		void *volatile block = malloc(64);

		free(block);
	}
}

int main(int argc, char **argv)
{
	void (*initialize)(int), (*finalize)(void);
	int (*run)(const char *, void *), (*state)(void);
	uint64_t (*count)(int);
	int lives = argc > 2 ? 1 : 3, status = 0;

	/* ctypes, which the threads need, is linked against nothing and wants the runtime's symbols visible. */
	runtime = dlopen(argv[1], RTLD_NOW | (argc > 2 ? RTLD_GLOBAL : RTLD_LOCAL));
	if (!runtime) {
		fprintf(stderr, "%s\n", dlerror());
		return 2;
	}
	*(void **)&initialize = need(runtime, "Py_InitializeEx");
	*(void **)&finalize = need(runtime, "Py_Finalize");
	*(void **)&run = need(runtime, "PyRun_SimpleStringFlags");
	*(void **)&state = need(RTLD_DEFAULT, "walk_state");
	*(void **)&count = need(RTLD_DEFAULT, "walk_count");
	for (int life = 0; life < lives; life++) {
		uint64_t walks = count(0), blocks;

		initialize(0);
		run("pass", NULL);
		blocks = count(43);
		run(argc > 2 ? busy : objects, NULL);
		blocks = count(43) - blocks;
		printf("life %d: state %d, %llu walks, %llu blocks\n", life, state(),
			(unsigned long long)(count(0) - walks), (unsigned long long)blocks);
		if (state() != 2 || count(0) == walks || (argc <= 2 && (blocks < 1000 || blocks > 4000)))
			status = 1;
		finalize();
	}
	return status;
}
