/* SPDX-License-Identifier: MIT */
/* What the screen of `sctmem top` looks like.  Used by top_screen.c, which owns the terminal and the keys. */
#ifndef SCTMEM_READER_TOP_DRAW_H
#define SCTMEM_READER_TOP_DRAW_H

#include "family_heaps.h"
#include "launch.h"
#include "top.h"

enum top_page { PAGE_ROWS, PAGE_HELP, PAGE_FAMILY, PAGE_OUTPUT };

struct screen {
	struct top *top;
	uint32_t pid;
	uint64_t interval_ns;
	struct launch *program;       /* that we have started; NULL: none */
	bool utf8, colours;
	enum top_page page;
	size_t first, selected;       /* rows: the topmost shown, and the one with the cursor */
	bool paused, typing, leaving; /* leaving: asked what is to become of the program */
	bool asked_to_end;
	bool alive, was_alive;        /* the process, at the last look; at any */
	char typed[sizeof ((struct top *)0)->search];
	size_t typed_size;
	char said[160];               /* shown once in the last line */
	bool said_by_look;            /* until the next one, not until a key */
	struct family_member *family; size_t family_count, family_first, family_selected;
	struct family_heaps heaps;
};

void top_draw(struct screen *screen);
void top_begin_colours(struct screen *screen);
/* How many rows fit on a screen of so many lines. */
int top_rows_fit(int height);

#endif
