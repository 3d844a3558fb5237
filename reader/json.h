/* SPDX-License-Identifier: MIT */
/*
 * A streaming JSON writer: no tree in memory, so that a dump of any length can be written.  Everything that it
 * writes is valid JSON in UTF-8: bytes that are not UTF-8 become U+FFFD, control and bidi characters are escaped.
 *
 * `key` is the member's name inside an object, NULL inside an array and at the top.
 */
#ifndef SCTMEM_READER_JSON_H
#define SCTMEM_READER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_DEPTH_MAX = 64 };

struct json {
	FILE *file;
	bool lines;                   /* one line for each value at the top, nothing indented */
	unsigned depth;
	bool filled[JSON_DEPTH_MAX];  /* something was written at this depth: a comma comes before the next */
};

/* One text with its quotes, for what is nested deeper than JSON_DEPTH_MAX. */
void json_write_text(FILE *file, const char *bytes, size_t size);

struct json json_begin(FILE *file, bool lines);

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
