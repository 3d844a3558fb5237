/* SPDX-License-Identifier: MIT */
/*
 * What a program may call when the library happens to be there: weak symbols in C, ctypes.CDLL(None) in Python.
 * sctmem.h declares them.
 */
#include <string.h>

#include "record.h"
#include "sctmem.h"

#include "banned.h"

__attribute__((visibility("default"))) void sctmem_mark(const char *name)
{
	if (name)
		record_mark(name, strlen(name));
}
