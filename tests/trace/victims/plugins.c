/* SPDX-License-Identifier: MIT */
/*
 * Loads and unloads plug-ins by turns, so that different ones come to lie at the same address:  plugins ROUNDS SO...
 *
 * Plug-in number i allocates blocks of SIZE_BASE + i: the test asks which function made the blocks of each size.
 * The first line printed says how many loads came to an address where another plug-in had been before.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE_BASE = 70000, ROUNDS_MAX = 1000 };

static struct { uintptr_t address; int plugin; } seen[ROUNDS_MAX];

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[1]) : 0;
	int reused = 0;
	if (rounds <= 0 || rounds > ROUNDS_MAX)
		return 2;
	for (int i = 0; i < rounds; i++) {
		int plugin = i % (argc - 2);
		void *handle = dlopen(argv[2 + plugin], RTLD_NOW);
		void *(*run)(size_t) = handle ? (void *(*)(size_t))dlsym(handle, "plugin_run") : NULL;
		if (!run) {
			fprintf(stderr, "%s\n", dlerror());
			return 3;
		}
		seen[i].address = (uintptr_t)run;
		seen[i].plugin = plugin;
		for (int j = 0; j < i; j++)
			if (seen[j].address == seen[i].address && seen[j].plugin != plugin) {
				reused++;
				break;
			}
		for (int j = 0; j < 10; j++) {
			void *block = run(SIZE_BASE + (size_t)plugin);
			if (j)
				free(block);
		}
		dlclose(handle);
	}
	printf("%d\n", reused);
	return 0;
}
