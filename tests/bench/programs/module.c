/* SPDX-License-Identifier: MIT */
/* The module that loading.c loads. */
#include <stdlib.h>

void module_run(void);

void module_run(void)
{
	for (int i = 0; i < 10; i++) {
		void *volatile block = malloc(100);

		free(block);
	}
}
