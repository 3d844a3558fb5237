/* SPDX-License-Identifier: MIT */
/* Call frame information: finds and runs the CFA program for an address.  For unwind.c. */
#ifndef SCTMEM_PRELOAD_UNWIND_CFI_H
#define SCTMEM_PRELOAD_UNWIND_CFI_H

#include "unwind.h"
#include "unwind_modules.h"

/* False when the module has no rule for pc, or its tables are damaged there. */
bool unwind_cfi_row(const struct unwind_module *module, uintptr_t pc, struct unwind_row *row);

#endif
