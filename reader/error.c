/* SPDX-License-Identifier: MIT */
/*
 * Fills error values.  Prints nothing: only main does.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

bool fail(struct error *error, int status, const char *format, ...)
{
	va_list arguments;

	if (!error)
		return false;
	error->status = status;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return false;
}
