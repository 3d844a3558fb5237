/* SPDX-License-Identifier: MIT */
/*
 * Untrusted bytes as text for a page.  Names come from captures and may hold anything; what is not UTF-8 becomes
 * the four characters \xNN, so that a page is always valid and nothing disappears.
 */
#ifndef SCTMEM_READER_REPORT_TEXT_H
#define SCTMEM_READER_REPORT_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* The next character as 1 to 4 bytes of UTF-8 in `out`; returns how many, 0 at the end.  Moves *text. */
size_t report_text_next(const char **text, char out[4]);

/* How many bytes from here on are ASCII, as nearly all are: they go as they are, and need not be looked at singly. */
size_t report_text_plain(const char *text);

/* Bytes of the whole text in UTF-8. */
size_t report_text_size(const char *text);

/* As a JSON string with its quotes; safe inside a <script> element. */
void report_text_json(FILE *out, const char *text);

/* As HTML character data. */
void report_text_html(FILE *out, const char *text);

#endif
