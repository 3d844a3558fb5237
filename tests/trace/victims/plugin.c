/* SPDX-License-Identifier: MIT */
/* A plug-in, built several times with -DPLUGIN=a, b...: the same code, thus the same offsets, under another name. */
#include <stdlib.h>
#include <string.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

__attribute__((noinline)) void *JOIN(plugin_work_, PLUGIN)(size_t size)
{
	void *block = malloc(size);
	memset(block, 1, 16);
	return block;
}

void *plugin_run(size_t size)
{
	void *block = JOIN(plugin_work_, PLUGIN)(size);
	return memset(block, 2, 32);
}
