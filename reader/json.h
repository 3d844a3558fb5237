/* SPDX-License-Identifier: MIT */
/*
 * A streaming JSON writer: no tree in memory, so that a dump of any length can be written.  Everything that it
 * writes is valid JSON in UTF-8: bytes that are not UTF-8 become U+FFFD, control and bidi characters are escaped.
 *
 * `key` is the member's name inside an object, NULL inside an array and at the top.
 *
 * Who reads the JSON where other rules hold (the report page: text inside HTML, numbers of a browser) gives its own way
 * to write a text and the largest number; larger ones become that and are counted, so that the reader can say so.
 */
#ifndef SCTMEM_READER_JSON_H
#define SCTMEM_READER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_DEPTH_MAX = 64 };

enum json_layout {
	JSON_INDENTED,
	JSON_LINES,                   /* one line for each value at the top */
	JSON_COMPACT,                 /* a line for each member of an object, no blanks: large, and rarely read by eye */
};

struct json {
	FILE *file;
	enum json_layout layout;
	void (*write_text)(FILE *file, const char *text);   /* NULL: as json_write_text does */
	uint64_t number_max;          /* 0: none */
	uint64_t clamped;             /* count of numbers that were larger */
	unsigned depth;
	bool filled[JSON_DEPTH_MAX];  /* something was written at this depth: a comma comes before the next */
};

/* One text with its quotes, for what is nested deeper than JSON_DEPTH_MAX. */
void json_write_text(FILE *file, const char *bytes, size_t size);

struct json json_begin(FILE *file, bool lines);

/* For a reader with other rules; keys and texts end with NUL. */
struct json json_begin_compact(FILE *file, void (*write_text)(FILE *file, const char *text), uint64_t number_max);

void json_object(struct json *json, const char *key);
void json_object_end(struct json *json);
void json_array(struct json *json, const char *key);
void json_array_end(struct json *json);

void json_text(struct json *json, const char *key, const char *bytes);
void json_bytes(struct json *json, const char *key, const char *bytes, size_t size);
void json_number(struct json *json, const char *key, uint64_t value);
void json_decimal(struct json *json, const char *key, double value, int digits);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

/* A formatted text; cut at 4 KiB. */
void json_format(struct json *json, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
