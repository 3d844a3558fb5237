/* SPDX-License-Identifier: MIT */
/*
 * The table is a fixed array of chains.  Entries are only ever pushed at the head of a chain; a death empties an
 * entry in place and the next code object of the chain takes it over.  So readers need no lock, and a program that
 * generates and drops code for days keeps the table it has.
 *
 * Two threads may meet the same new code object at once.  Both announce it, under two ids, and one entry usually
 * wins; should both land (one in a dead entry, one at the head), the first in the chain is found from then on and
 * a death empties both.  Two ids for one function cost a few bytes and are joined by the reader, by name.
 *
 * Names are read from the objects' memory, without the API: it could allocate, and needs the GIL.  They are
 * immutable, and the frame that runs the code keeps them alive.
 */
#include "python_code.h"

#include <string.h>

#include "arena.h"
#include "python.h"
#include "python_layout.h"
#include "record.h"
#include "sys.h"

#include "banned.h"

enum { BUCKETS = 1 << 15, TAKEN = 1 /* no object has this address */ };

_Atomic uint64_t python_code_generation;

static struct python_code *_Atomic *_Atomic buckets;   /* BUCKETS heads; made at first use */
static _Atomic uint32_t last_id;

static struct python_code *_Atomic *bucket_of(uintptr_t code, bool make)
{
	struct python_code *_Atomic *table = atomic_load_explicit(&buckets, memory_order_acquire);

	if (!table) {
		struct python_code *_Atomic *fresh = make ? arena_pages(BUCKETS * sizeof(*fresh)) : NULL;

		if (!fresh)
			return NULL;
		/* A second thread here loses its pages: once, and untouched pages cost nothing. */
		if (atomic_compare_exchange_strong(&buckets, &table, fresh))
			table = fresh;
	}
	/*
	 * Neighbours in memory are neighbours here: code objects take 128 bytes and more, and a start of Python that meets
	 * 300 of them spread over all of the table would touch all of its pages.
	 */
	return &table[(code >> 7 ^ code >> 22 ^ code >> 37) % BUCKETS];
}

static struct python_code *chain_find(struct python_code *entry, uintptr_t code)
{
	for (; entry; entry = entry->next)
		if (atomic_load_explicit(&entry->code, memory_order_acquire) == code)
			return entry;
	return NULL;
}

/* A character of a str: kind is 1, 2 or 4 bytes. */
static uint32_t character(const void *data, unsigned kind, size_t index)
{
	switch (kind) {
	case 1:
		return ((const uint8_t *)data)[index];
	case 2: {
		uint16_t two;

		memcpy(&two, (const char *)data + 2 * index, sizeof(two));
		return two;
	}
	default: {
		uint32_t four;

		memcpy(&four, (const char *)data + 4 * index, sizeof(four));
		return four;
	}
	}
}

/* UTF-8 of one character; to NULL: only its length.  What UTF-8 cannot say (lone surrogates) becomes U+FFFD. */
static size_t encode(uint32_t c, char *to)
{
	char bytes[4];
	size_t length;

	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		c = 0xfffd;
	if (c < 0x80) {
		bytes[0] = (char)c;
		length = 1;
	} else if (c < 0x800) {
		bytes[0] = (char)(0xc0 | c >> 6);
		bytes[1] = (char)(0x80 | (c & 0x3f));
		length = 2;
	} else if (c < 0x10000) {
		bytes[0] = (char)(0xe0 | c >> 12);
		bytes[1] = (char)(0x80 | (c >> 6 & 0x3f));
		bytes[2] = (char)(0x80 | (c & 0x3f));
		length = 3;
	} else {
		bytes[0] = (char)(0xf0 | c >> 18);
		bytes[1] = (char)(0x80 | (c >> 12 & 0x3f));
		bytes[2] = (char)(0x80 | (c >> 6 & 0x3f));
		bytes[3] = (char)(0x80 | (c & 0x3f));
		length = 4;
	}
	if (to)
		memcpy(to, bytes, length);
	return length;
}

/* A str as UTF-8: where it is, when it is ASCII; else a copy, in the buffer or in pages of its own. */
struct text {
	const char *data;
	size_t size;
	void *pages;
	size_t pages_size;
	char buffer[400];
};

enum { TEXT_LENGTH_MAX = 1 << 20 };   /* characters; names beyond are cut */

static bool is_text(const void *object)
{
	enum { UNICODE_SUBCLASS = 1 << 28 };
	const void *type = object ? (const void *)python_load(object, python_layout.object_type) : NULL;

	return type && (type == python_api.unicode_type ||
		(python_load(type, python_layout.type_flags) & UNICODE_SUBCLASS));
}

static void text_read(struct text *text, const void *object)
{
	text->data = "?";
	text->size = 1;
	text->pages = NULL;
	if (!is_text(object))
		return;

	uint32_t state = (uint32_t)python_load_int(object, python_layout.text_state) >> python_layout.kind_shift;
	unsigned kind = state & 7;
	bool compact = state & 8, ascii = state & 16;
	size_t length = python_load(object, python_layout.text_length), size = 0;
	const char *data;

	if (kind != 1 && kind != 2 && kind != 4)
		return;   /* wchar_t strings of old: no code object is named by one */
	if (!compact)
		data = (const char *)python_load(object, python_layout.text_other);
	else
		data = (const char *)object + (ascii ? python_layout.text_ascii : python_layout.text_other);
	if (!data)
		return;
	if (length > TEXT_LENGTH_MAX)
		length = TEXT_LENGTH_MAX;
	if (ascii) {
		text->data = data;
		text->size = length;
		return;
	}
	for (size_t i = 0; i < length; i++)
		size += encode(character(data, kind, i), NULL);

	char *to = text->buffer;

	if (size > sizeof(text->buffer)) {
		to = text->pages = sys_map_memory(size);
		text->pages_size = size;
		if (!to)
			return;
	}
	text->data = to;
	text->size = size;
	for (size_t i = 0; i < length; i++)
		to += encode(character(data, kind, i), to);
}

static void text_finish(struct text *text)
{
	if (text->pages)
		sys_unmap(text->pages, text->pages_size);
}

static void announce(uint32_t id, const void *code)
{
	const struct python_layout *layout = &python_layout;
	const void *lines = (const void *)python_load(code, layout->code_lines);
	int32_t first_line = python_load_int(code, layout->code_first_line);
	struct text file, name;
	size_t lines_size = 0;

	if (lines && (const void *)python_load(lines, layout->object_type) == python_api.bytes_type)
		lines_size = python_load(lines, layout->size);
	text_read(&file, (const void *)python_load(code, layout->code_file));
	text_read(&name, (const void *)python_load(code, layout->code_name));
	record_code(id, first_line < 0 ? 0 : (uint32_t)first_line, layout->line_table, file.data, file.size,
		name.data, name.size, lines_size ? (const char *)lines + layout->bytes_data : "", lines_size);
	text_finish(&file);
	text_finish(&name);
}

/* Takes over a dead entry of the chain, if there is one. */
static struct python_code *chain_reuse(struct python_code *entry)
{
	for (; entry; entry = entry->next) {
		uintptr_t dead = 0;

		if (atomic_load_explicit(&entry->code, memory_order_relaxed) == 0 &&
			atomic_compare_exchange_strong_explicit(&entry->code, &dead, TAKEN,
				memory_order_acquire, memory_order_relaxed))
			return entry;
	}
	return NULL;
}

static const struct python_code *insert(struct python_code *_Atomic *bucket, uintptr_t code)
{
	uint32_t id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	int32_t first_traceable = 0;
	struct python_code *head, *entry;

	/* Announced before it can be found, so that no thread uses an id that is not in the capture yet. */
	announce(id, (const void *)code);
	if (python_layout.code_first_traceable)
		first_traceable = python_load_int((const void *)code, python_layout.code_first_traceable);
	entry = chain_reuse(atomic_load_explicit(bucket, memory_order_acquire));
	if (entry) {
		entry->id = id;
		entry->first_traceable = first_traceable;
		atomic_store_explicit(&entry->code, code, memory_order_release);
		return entry;
	}
	entry = arena_alloc(sizeof(*entry));
	if (!entry)
		return NULL;
	entry->id = id;
	entry->first_traceable = first_traceable;
	atomic_store_explicit(&entry->code, code, memory_order_relaxed);
	head = atomic_load_explicit(bucket, memory_order_acquire);
	do {
		struct python_code *other = chain_find(head, code);

		if (other) {
			atomic_store_explicit(&entry->code, 0, memory_order_relaxed);
			return other;   /* another thread was quicker; the id announced here stays unused */
		}
		entry->next = head;
	} while (!atomic_compare_exchange_weak_explicit(bucket, &head, entry, memory_order_release,
		memory_order_acquire));
	return entry;
}

const struct python_code *python_code_get(const void *code)
{
	struct python_code *_Atomic *bucket = bucket_of((uintptr_t)code, true);
	struct python_code *entry;

	if (!bucket || !code)
		return NULL;
	entry = chain_find(atomic_load_explicit(bucket, memory_order_acquire), (uintptr_t)code);
	if (entry)
		return entry;
	if ((const void *)python_load(code, python_layout.object_type) != python_api.code_type)
		return NULL;
	return insert(bucket, (uintptr_t)code);
}

void python_code_died(const void *code)
{
	struct python_code *_Atomic *bucket = bucket_of((uintptr_t)code, false);
	struct python_code *entry = bucket ? atomic_load_explicit(bucket, memory_order_acquire) : NULL;

	if (!chain_find(entry, (uintptr_t)code))
		return;
	/* Before the memory is given back, and so before any thread can run other code at this address. */
	atomic_fetch_add_explicit(&python_code_generation, 1, memory_order_release);
	for (; entry; entry = entry->next) {
		uintptr_t dying = (uintptr_t)code;

		atomic_compare_exchange_strong_explicit(&entry->code, &dying, 0, memory_order_release,
			memory_order_relaxed);
	}
}

void python_code_disturb(void)
{
	atomic_fetch_add_explicit(&python_code_generation, 1, memory_order_release);
}

void python_code_reset(void)
{
	/* The parent's table stays where it is: the child's stacks point into it until they see the new epoch. */
	atomic_fetch_add_explicit(&python_code_generation, PYTHON_CODE_EPOCH, memory_order_release);
	atomic_store_explicit(&buckets, NULL, memory_order_relaxed);
	atomic_store_explicit(&last_id, 0, memory_order_relaxed);
}

/* How the interpreter reads.  None of it makes an object. */
static struct {
	intptr_t (*text_length)(const void *text);
	uint32_t (*text_character)(const void *text, intptr_t index);
	intptr_t (*bytes_size)(const void *bytes);
	const char *(*bytes_data)(const void *bytes);
} reading;

bool python_code_check_types(void *(*symbol)(const char *name))
{
	enum { BASIC_SIZE_TO_DEALLOC = 0x10 };
	size_t basic_size = python_layout.type_dealloc - BASIC_SIZE_TO_DEALLOC;

	*(void **)&reading.text_length = symbol("PyUnicode_GetLength");
	*(void **)&reading.text_character = symbol("PyUnicode_ReadChar");
	*(void **)&reading.bytes_size = symbol("PyBytes_Size");
	*(void **)&reading.bytes_data = symbol("PyBytes_AsString");
	/* The largest of the three forms of a str is the middle one and a pointer; bytes count their final NUL. */
	return reading.text_length && reading.text_character && reading.bytes_size && reading.bytes_data &&
		python_load(python_api.unicode_type, basic_size) == python_layout.text_other + sizeof(void *) &&
		python_load(python_api.bytes_type, basic_size) == python_layout.bytes_data + (size_t)1;
}

static bool check_text(const void *object)
{
	enum { COMPARED_MAX = 256 };
	const void *type = object ? (const void *)python_load(object, python_layout.object_type) : NULL;
	struct text text;
	size_t at = 0;
	bool right = true;

	if (!type || type != python_api.unicode_type)
		return false;

	intptr_t length = reading.text_length(object);

	text_read(&text, object);
	for (intptr_t i = 0; right && i < length && i < COMPARED_MAX; i++) {
		char expected[4];
		size_t size = encode(reading.text_character(object, i), expected);

		right = at + size <= text.size && memcmp(text.data + at, expected, size) == 0;
		at += size;
	}
	if (right && length <= COMPARED_MAX)
		right = at == text.size;
	text_finish(&text);
	return right;
}

bool python_code_check(const void *code)
{
	const struct python_layout *layout = &python_layout;
	const char *lines = (const char *)python_load(code, layout->code_lines);

	if (!lines || (const void *)python_load(lines, layout->object_type) != python_api.bytes_type ||
		(intptr_t)python_load(lines, layout->size) != reading.bytes_size(lines) ||
		lines + layout->bytes_data != reading.bytes_data(lines))
		return false;
	return check_text((const void *)python_load(code, layout->code_file)) &&
		check_text((const void *)python_load(code, layout->code_name));
}
