/* SPDX-License-Identifier: MIT */
/*
 * The report page as parts, in order: each is text, then what the report puts there.  page.c is generated from
 * the files of this folder by embed.py; the last part's slot is PAGE_END.
 */
#ifndef SCTMEM_READER_WEB_PAGE_H
#define SCTMEM_READER_WEB_PAGE_H

#include <stddef.h>

/* The same names, in lower case, are the <!--slot:NAME--> markers of report.html. */
enum page_slot { PAGE_TITLE, PAGE_SUMMARY, PAGE_COLUMNS, PAGE_META, PAGE_END };

struct page_part {
	const unsigned char *text;
	size_t size;
	enum page_slot slot;
};

extern const struct page_part page_parts[];

#endif
