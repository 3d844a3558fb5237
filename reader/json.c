/* SPDX-License-Identifier: MIT */
/*
 * See json.h.  Write errors are not looked at here: the stream remembers them and whoever closes it checks.
 */
#include "json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "text.h"

struct json json_begin(FILE *file, bool lines)
{
	return (struct json){ .file = file, .layout = lines ? JSON_LINES : JSON_INDENTED };
}

struct json json_begin_compact(FILE *file, void (*write_text)(FILE *file, const char *text), uint64_t number_max)
{
	return (struct json){ .file = file, .layout = JSON_COMPACT, .write_text = write_text, .number_max = number_max };
}

void json_write_text(FILE *file, const char *bytes, size_t size)
{
	putc('"', file);
	for (size_t at = 0; at < size;) {
		uint32_t character;
		size_t length = text_decode(bytes + at, size - at, &character);

		if (length == 0) {
			fputs("\\ufffd", file);
			at++;
			continue;
		}
		if (character == '"' || character == '\\')
			fprintf(file, "\\%c", (int)character);
		else if (character == '\n')
			fputs("\\n", file);
		else if (character == '\t')
			fputs("\\t", file);
		else if (text_is_unsafe(character) && character <= 0xffff)
			fprintf(file, "\\u%04" PRIx32, character);
		else if (text_is_unsafe(character))
			fprintf(file, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd7c0 + (character >> 10),
				0xdc00 + (character & 0x3ff));
		else
			fwrite(bytes + at, 1, length, file);
		at += length;
	}
	putc('"', file);
}

static void new_line(struct json *json)
{
	if (json->layout != JSON_INDENTED)
		return;
	putc('\n', json->file);
	for (unsigned i = 0; i < json->depth; i++)
		fputs("  ", json->file);
}

static void put_text(struct json *json, const char *bytes, size_t size)
{
	if (json->write_text)
		json->write_text(json->file, bytes);
	else
		json_write_text(json->file, bytes, size);
}

/* What comes before any value: comma, line, key. */
static void lead(struct json *json, const char *key)
{
	if (json->depth > 0) {
		if (json->filled[json->depth])
			fputs(json->layout == JSON_LINES ? ", " : ",", json->file);
		json->filled[json->depth] = true;
		new_line(json);
	}
	if (!key)
		return;
	if (json->layout == JSON_COMPACT)
		putc('\n', json->file);
	put_text(json, key, strlen(key));
	fputs(json->layout == JSON_COMPACT ? ":" : ": ", json->file);
}

/* At the top, each value ends its line: what a reader of JSON lines expects, and a shell prompt too. */
static void trail(struct json *json)
{
	if (json->depth == 0)
		putc('\n', json->file);
}

static void open_nested(struct json *json, const char *key, char bracket)
{
	lead(json, key);
	putc(bracket, json->file);
	assert(json->depth + 1 < JSON_DEPTH_MAX);
	json->filled[++json->depth] = false;
}

static void close_nested(struct json *json, char bracket)
{
	bool filled = json->filled[json->depth];

	assert(json->depth > 0);
	json->depth--;
	if (filled)
		new_line(json);
	putc(bracket, json->file);
	trail(json);
}

void json_object(struct json *json, const char *key)
{
	open_nested(json, key, '{');
}

void json_object_end(struct json *json)
{
	close_nested(json, '}');
}

void json_array(struct json *json, const char *key)
{
	open_nested(json, key, '[');
}

void json_array_end(struct json *json)
{
	close_nested(json, ']');
}

void json_bytes(struct json *json, const char *key, const char *bytes, size_t size)
{
	lead(json, key);
	assert(!json->write_text || strlen(bytes) == size);
	put_text(json, bytes, size);
	trail(json);
}

void json_text(struct json *json, const char *key, const char *bytes)
{
	json_bytes(json, key, bytes, strlen(bytes));
}

void json_number(struct json *json, const char *key, uint64_t value)
{
	lead(json, key);
	if (json->number_max && value > json->number_max) {
		value = json->number_max;
		json->clamped++;
	}
	fprintf(json->file, "%" PRIu64, value);
	trail(json);
}

void json_decimal(struct json *json, const char *key, double value, int digits)
{
	lead(json, key);
	if (isfinite(value))
		fprintf(json->file, "%.*f", digits, value);
	else
		fputs("null", json->file);
	trail(json);
}

void json_bool(struct json *json, const char *key, bool value)
{
	lead(json, key);
	fputs(value ? "true" : "false", json->file);
	trail(json);
}

void json_null(struct json *json, const char *key)
{
	lead(json, key);
	fputs("null", json->file);
	trail(json);
}

void json_format(struct json *json, const char *key, const char *format, ...)
{
	char text[4096];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	json_text(json, key, text);
}
