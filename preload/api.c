/* SPDX-License-Identifier: MIT */
/*
 * What a program may call when the library happens to be there: weak symbols in C, ctypes.CDLL(None) in Python.
 * sctmem.h declares them.
 */
#include <string.h>

#include "control.h"
#include "sctmem.h"

#include "banned.h"

__attribute__((visibility("default"))) void sctmem_mark(const char *name)
{
	if (name)
		control_mark(name, strlen(name), false);
}

__attribute__((visibility("default"))) void sctmem_snapshot(const char *name)
{
	if (name)
		control_mark(name, strlen(name), true);
}

__attribute__((visibility("default"))) int sctmem_start(void)
{
	return control_change(true);
}

__attribute__((visibility("default"))) int sctmem_stop(void)
{
	return control_change(false);
}
