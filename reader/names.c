/* SPDX-License-Identifier: MIT */
/* See names.h. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum {
	TEXT_MAX = 4095,              /* as symbols.h promises */
	FULL_FRAMES = 1 << 18,
	FULL_TEXT = 8 << 20,
};

/* Every text ends, and none is longer than what readers of names expect. */
static bool is_text_sound(const char *text, size_t size)
{
	if (size == 0 || text[0] != '\0' || text[size - 1] != '\0')
		return false;
	for (size_t at = 0; at < size;) {
		const size_t length = strlen(text + at);

		if (length > TEXT_MAX)
			return false;
		at += length + 1;
	}
	return true;
}

const char *names_check(const void *payload, size_t size, struct names *names)
{
	uint64_t places = 0;

	if (size < sizeof(names->head))
		return "a record of symbols that is too short";
	memcpy(&names->head, payload, sizeof(names->head));
	const uint64_t frames_size = (uint64_t)names->head.frame_count * sizeof(*names->frames);
	const uint64_t places_size = (uint64_t)names->head.place_count * sizeof(*names->places);
	if (frames_size + places_size + names->head.text_size > size - sizeof(names->head))
		return "a record of symbols that is too short";
	names->frames = (const void *)((const uint8_t *)payload + sizeof(names->head));
	names->places = (const void *)((const uint8_t *)names->frames + frames_size);
	names->text = (const char *)names->places + places_size;
	if (!is_text_sound(names->text, names->head.text_size))
		return "a record of symbols whose texts do not end";
	for (uint32_t i = 0; i < names->head.frame_count; i++) {
		const struct capture_named_frame *frame = &names->frames[i];

		if (CAPTURE_FRAME_KIND(frame->frame) != CAPTURE_FRAME_NATIVE || frame->place_count == 0 ||
		    frame->place_count > SYMBOLS_FRAMES_MAX)
			return "a record of symbols with a frame that cannot be";
		places += frame->place_count;
	}
	if (places != names->head.place_count)
		return "a record of symbols whose frames do not fit its places";
	for (uint32_t i = 0; i < names->head.place_count; i++) {
		const struct capture_place *place = &names->places[i];

		if (place->function >= names->head.text_size || place->file >= names->head.text_size)
			return "a record of symbols with a name that is not in it";
	}
	return NULL;
}

struct symbol_frame names_frame(const struct capture_place *place, const char *text)
{
	return (struct symbol_frame){ .function = place->function ? text + place->function : NULL,
		.file = place->file ? text + place->file : NULL, .line = place->line,
		.inlined = place->flags & CAPTURE_PLACE_INLINED, .exact_function = place->flags & CAPTURE_PLACE_EXACT };
}

/* 0 is the empty text, which stands for one that is not known. */
static bool keep_text(struct names_writer *writer, const char *text, uint32_t *offset, struct error *error)
{
	const size_t length = text ? strnlen(text, TEXT_MAX) : 0;
	const uint64_t hash = XXH3_64bits(text ? text : "", length);
	const uint32_t known = map64_get(&writer->offsets, hash);

	*offset = 0;
	if (writer->text_size == 0 || (length != 0 && (known == MAP64_NONE ||
		strncmp(writer->text + known, text, length) != 0 || writer->text[known + length] != '\0'))) {
		if (!array_reserve(&writer->text, &writer->text_capacity, writer->text_size + length + 2, 1, error))
			return false;
		if (writer->text_size == 0)
			writer->text[writer->text_size++] = '\0';
		if (length == 0)
			return true;
		*offset = (uint32_t)writer->text_size;
		memcpy(writer->text + writer->text_size, text, length);
		writer->text[writer->text_size + length] = '\0';
		writer->text_size += length + 1;
		return map64_put(&writer->offsets, hash, *offset, error);
	}
	if (length != 0)
		*offset = known;
	return true;
}

bool names_add(struct names_writer *writer, uint64_t frame, const struct symbol_frame *found, size_t count,
	struct error *error)
{
	if (!array_reserve(&writer->frames, &writer->frame_capacity, writer->frame_count + 1, sizeof(*writer->frames),
		error) ||
	    !array_reserve(&writer->places, &writer->place_capacity, writer->place_count + count, sizeof(*writer->places),
		error))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct capture_place *place = &writer->places[writer->place_count];

		*place = (struct capture_place){ .line = found[i].line, .flags = (found[i].inlined ? CAPTURE_PLACE_INLINED : 0) |
			(found[i].exact_function ? CAPTURE_PLACE_EXACT : 0) };
		if (!keep_text(writer, found[i].function, &place->function, error) ||
		    !keep_text(writer, found[i].file, &place->file, error))
			return false;
		writer->place_count++;
	}
	writer->frames[writer->frame_count++] = (struct capture_named_frame){ .frame = frame, .place_count = (uint32_t)count };
	return true;
}

bool names_is_full(const struct names_writer *writer)
{
	return writer->frame_count >= FULL_FRAMES || writer->place_count >= FULL_FRAMES || writer->text_size >= FULL_TEXT;
}

bool names_take(struct names_writer *writer, uint32_t generation, void **payload, size_t *size, struct error *error)
{
	const struct capture_symbols head = { .frame_count = (uint32_t)writer->frame_count,
		.place_count = (uint32_t)writer->place_count, .text_size = (uint32_t)writer->text_size, .generation = generation };
	const size_t frames_size = writer->frame_count * sizeof(*writer->frames);
	const size_t places_size = writer->place_count * sizeof(*writer->places);

	*size = sizeof(head) + frames_size + places_size + writer->text_size;
	uint8_t *at = malloc(*size);
	if (!at)
		return fail_memory(error);
	*payload = at;
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	if (frames_size)
		memcpy(at, writer->frames, frames_size);
	if (places_size)
		memcpy(at + frames_size, writer->places, places_size);
	if (writer->text_size)
		memcpy(at + frames_size + places_size, writer->text, writer->text_size);
	names_finish(writer);
	return true;
}

void names_finish(struct names_writer *writer)
{
	free(writer->frames);
	free(writer->places);
	free(writer->text);
	map64_finish(&writer->offsets);
	*writer = (struct names_writer){ 0 };
}
