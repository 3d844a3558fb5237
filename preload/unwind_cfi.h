/* SPDX-License-Identifier: MIT */
/* Call frame information: finds and runs the CFA program for an address.  For unwind.c. */
#ifndef SCTMEM_PRELOAD_UNWIND_CFI_H
#define SCTMEM_PRELOAD_UNWIND_CFI_H

#include "unwind.h"
#include "unwind_modules.h"

enum {
	/* Sets of registers, a bit for each of enum unwind_base. */
	UNWIND_WALKED_REGISTERS = 1 << UNWIND_BP | 1 << UNWIND_SP | 1 << UNWIND_RA,
	UNWIND_ALL_REGISTERS = (1 << UNWIND_REGISTERS_COUNT) - 1,
};

/*
 * False when the module has no rule for pc, or its tables are damaged there.  Of the registers the row has those that
 * are wanted, and whatever was there of the others.
 */
bool unwind_cfi_row(const struct unwind_module *module, uintptr_t pc, uint32_t wanted, struct unwind_row *row);

#endif
