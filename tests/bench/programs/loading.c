/* SPDX-License-Identifier: MIT */
/* Loads and unloads a module again and again:  loading MODULE TIMES.  Each time the module allocates ten blocks. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
	const unsigned long times = count == 3 ? strtoul(arguments[2], NULL, 10) : 0;

	if (times == 0) {
		fprintf(stderr, "usage: loading MODULE TIMES\n");
		return 2;
	}
	for (unsigned long i = 0; i < times; i++) {
		void *module = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
		void (*run)(void) = module ? (void (*)(void))dlsym(module, "module_run") : NULL;

		if (!run) {
			fprintf(stderr, "loading: %s\n", dlerror());
			return 1;
		}
		run();
		dlclose(module);
	}
	return 0;
}
