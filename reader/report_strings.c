/* SPDX-License-Identifier: MIT */
/* See report_strings.h. */
#include "report_strings.h"

#include <stdlib.h>
#include <string.h>

/* Distinct texts, numbered in the order of their first use; an open-addressing table keyed by content. */
struct report_strings {
	const char **texts;           /* by number; number 0 is "" */
	uint32_t count;
	uint32_t capacity;
	uint32_t *slots;              /* numbers plus one; 0: free */
	uint32_t slot_mask;
};

static uint32_t text_hash(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return (uint32_t)(hash ^ hash >> 32);
}

/* The slot where text is, or where it would go. */
static uint32_t *strings_slot(const struct report_strings *strings, const char *text)
{
	uint32_t i = text_hash(text) & strings->slot_mask;
	while (strings->slots[i] && strcmp(strings->texts[strings->slots[i] - 1], text))
		i = (i + 1) & strings->slot_mask;
	return &strings->slots[i];
}

static bool strings_grow(struct report_strings *strings)
{
	if (strings->capacity > UINT32_MAX / 8)
		return false;
	uint32_t capacity = strings->capacity ? strings->capacity * 2 : 1024;
	const char **texts = realloc(strings->texts, capacity * sizeof(*texts));
	if (!texts)
		return false;
	strings->texts = texts;
	uint32_t *slots = calloc((size_t)capacity * 2, sizeof(*slots));
	if (!slots)
		return false;
	free(strings->slots);
	strings->slots = slots;
	strings->slot_mask = capacity * 2 - 1;
	strings->capacity = capacity;
	for (uint32_t i = 0; i < strings->count; i++)
		*strings_slot(strings, strings->texts[i]) = i + 1;
	return true;
}

static bool strings_add(struct report_strings *strings, const char *text)
{
	if (strings->count == strings->capacity && !strings_grow(strings))
		return false;
	uint32_t *slot = strings_slot(strings, text);
	if (!*slot) {
		strings->texts[strings->count++] = text;
		*slot = strings->count;
	}
	return true;
}

bool report_strings_new(struct report_strings **out, const struct profile *profile, struct error *error)
{
	struct report_strings *strings = calloc(1, sizeof(*strings));
	bool good = strings && strings_add(strings, "");
	for (uint32_t i = 0; good && i < profile->frame_count; i++) {
		const struct frame *frame = &profile->frames[i];
		good = strings_add(strings, frame->function) && strings_add(strings, frame->file) &&
			strings_add(strings, frame->module);
	}
	for (uint32_t i = 0; good && i < profile->thread_count; i++)
		good = strings_add(strings, profile->threads[i].name);
	if (!good) {
		report_strings_free(strings);
		return fail(error, STATUS_MEMORY, "cannot make the report: out of memory for the names of %u frames",
			profile->frame_count);
	}
	*out = strings;
	return true;
}

void report_strings_free(struct report_strings *strings)
{
	if (!strings)
		return;
	free(strings->texts);
	free(strings->slots);
	free(strings);
}

uint32_t report_strings_find(const struct report_strings *strings, const char *text)
{
	uint32_t found = *strings_slot(strings, text);
	return found ? found - 1 : 0;
}

uint32_t report_strings_count(const struct report_strings *strings)
{
	return strings->count;
}

const char *report_strings_get(const struct report_strings *strings, size_t number)
{
	return strings->texts[number];
}
