/* SPDX-License-Identifier: MIT */
/*
 * Lines of source for a page; see report_source.h.
 *
 *     frames -> (file, line) pairs, sorted -> each file read once -> the lines near those pairs, or all of them
 *
 * What is embedded leaves this machine with the page.  A made-up capture could name any file, hence the rules in
 * source_open: a suffix of source code, a regular file, no larger than SOURCE_SIZE_MAX.  Of a file that looks
 * confidential only that is said.  The program's own Python files are whole as long as there is room, because their
 * reader will want to see what is around; of libraries and of native code there are the lines around what is named.
 */
#include "report_source.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SOURCE_SIZE_MAX = 4 << 20,       /* of one file */
	SOURCES_SIZE_MAX = 2 << 20,      /* of all embedded lines */
	SOURCES_WHOLE_MAX = 512 << 10,   /* no file is embedded whole once there is so much */
	SOURCE_NOTICE_LINES = 20,        /* where a file says what it is */
	SOURCE_LINE_SIZE_MAX = 400,
	SOURCE_CONTEXT_LINES = 3,        /* before and after each line that a frame names */
};

struct report_sources {
	bool confidential_too;
	struct report_source *sources;
	size_t count;
	size_t capacity;
	size_t size;                  /* bytes of embedded lines */
};

/* A line that a frame names.  The program's own files come before those of libraries, in case not all fit. */
struct place {
	bool library;                 /* or native: only the lines around it */
	const char *file;
	uint32_t line;
};

static int place_compare(const void *left, const void *right)
{
	const struct place *a = left;
	const struct place *b = right;
	if (a->library != b->library)
		return a->library - b->library;
	int order = a->file == b->file ? 0 : strcmp(a->file, b->file);
	return order ? order : (a->line > b->line) - (a->line < b->line);
}

static bool is_source(const char *file)
{
	static const char *const suffixes[] = {
		".py", ".pyx", ".pyw", ".pyi", ".pxd", ".pxi", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".rs",
	};
	const char *dot = strrchr(file, '.');
	for (size_t i = 0; dot && i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		if (!strcmp(dot, suffixes[i]))
			return true;
	}
	return false;
}

bool report_source_name_is_confidential(const char *file)
{
	static const char *const words[] = {
		"secret", "secrets", "credential", "credentials", "password", "passwords", "passwd", "confidential", "apikey",
		"apikeys", "token", "tokens", "ssh", "gnupg", "aws", "vault",
	};
	while (*file) {
		size_t length = 0;
		while (isalnum((unsigned char)file[length]))
			length++;
		for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
			if (strlen(words[i]) == length && !strncasecmp(file, words[i], length))
				return true;
		}
		file += length + (file[length] != '\0');
	}
	return false;
}

/* A private key anywhere, or a notice at the top of the file. */
static bool line_is_confidential(const char *text, uint32_t number)
{
	return strstr(text, "PRIVATE KEY-----") || (number <= SOURCE_NOTICE_LINES && strcasestr(text, "confidential"));
}

/* Opens a file that may be embedded; relative names are relative to where the program was started. */
static FILE *source_open(const char *file, const struct profile *profile, enum report_source_state *state)
{
	if (!is_source(file) || !profile->capture_count)
		return NULL;
	const struct profile_capture *capture = &profile->captures[0];
	char path[4096];
	bool absolute = file[0] == '/';
	int size = snprintf(path, sizeof(path), "%s%s%s", absolute || !capture->directory ? "" : capture->directory,
		absolute ? "" : "/", file);
	if (size < 0 || (size_t)size >= sizeof(path))
		return NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	struct stat status;
	FILE *in = NULL;
	if (!fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_size <= SOURCE_SIZE_MAX)
		in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return NULL;
	}
	bool changed = (uint64_t)status.st_mtim.tv_sec > capture->start_realtime_ns / 1000000000;
	*state = changed ? REPORT_SOURCE_CHANGED : REPORT_SOURCE_SAME;
	return in;
}

static bool source_add_line(struct report_sources *sources, struct report_source *source, size_t *capacity,
	uint32_t number, const char *text, size_t size)
{
	if (source->line_count == *capacity) {
		size_t larger = *capacity ? *capacity * 2 : 32;
		struct report_source_line *lines = realloc(source->lines, larger * sizeof(*lines));
		if (!lines)
			return false;
		source->lines = lines;
		*capacity = larger;
	}
	char *copy = strndup(text, size);
	if (!copy)
		return false;
	source->lines[source->line_count++] = (struct report_source_line){ .number = number, .text = copy };
	sources->size += strlen(copy);
	return true;
}

static void source_clear(struct report_sources *sources, struct report_source *source)
{
	for (size_t i = 0; i < source->line_count; i++) {
		sources->size -= strlen(source->lines[i].text);
		free(source->lines[i].text);
	}
	free(source->lines);
	source->lines = NULL;
	source->line_count = 0;
}

/* Whether line `number` is embedded; *next is the first place that is not too far above it. */
static bool line_is_wanted(uint32_t number, bool whole, const struct place *places, size_t place_count, size_t *next)
{
	while (*next < place_count && places[*next].line + (uint64_t)SOURCE_CONTEXT_LINES < number)
		++*next;
	return whole || (*next < place_count && places[*next].line <= number + (uint64_t)SOURCE_CONTEXT_LINES);
}

/* Keeps the lines of `in` that are near one of the places, which are of one file and sorted by line. */
static bool source_read(struct report_sources *sources, struct report_source *source, FILE *in,
	const struct place *places, size_t place_count)
{
	char *text = NULL;
	size_t text_capacity = 0;
	size_t capacity = 0;
	bool good = true;
	bool whole = !places[0].library && sources->size < SOURCES_WHOLE_MAX;
	size_t next = 0;
	/* All of the file is looked at, in case that its last line says that it is confidential. */
	for (uint32_t number = 1; good; number++) {
		ssize_t size = getline(&text, &text_capacity, in);
		if (size < 0)
			break;
		if (!sources->confidential_too && line_is_confidential(text, number)) {
			source_clear(sources, source);
			source->state = REPORT_SOURCE_CONFIDENTIAL;
			break;
		}
		if (sources->size >= SOURCES_SIZE_MAX || !line_is_wanted(number, whole, places, place_count, &next))
			continue;
		while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
			size--;
		if (size > SOURCE_LINE_SIZE_MAX)
			size = SOURCE_LINE_SIZE_MAX;
		good = source_add_line(sources, source, &capacity, number, text, (size_t)size);
	}
	free(text);
	return good;
}

static bool sources_add(struct report_sources *sources, const struct profile *profile, const struct place *places,
	size_t place_count)
{
	/* Cython's files have Python frames and native ones, which lie apart in the list. */
	for (size_t i = 0; i < sources->count; i++) {
		if (!strcmp(sources->sources[i].file, places[0].file))
			return true;
	}
	enum report_source_state state = REPORT_SOURCE_SAME;
	FILE *in = source_open(places[0].file, profile, &state);
	if (!in)
		return true;
	bool good = true;
	if (sources->count == sources->capacity) {
		size_t capacity = sources->capacity ? sources->capacity * 2 : 64;
		struct report_source *larger = realloc(sources->sources, capacity * sizeof(*larger));
		good = larger != NULL;
		if (good) {
			sources->sources = larger;
			sources->capacity = capacity;
		}
	}
	if (good) {
		struct report_source *source = &sources->sources[sources->count++];
		*source = (struct report_source){ .file = places[0].file, .state = state };
		if (!sources->confidential_too && report_source_name_is_confidential(source->file))
			source->state = REPORT_SOURCE_CONFIDENTIAL;
		else
			good = source_read(sources, source, in, places, place_count);
	}
	fclose(in);
	return good;
}

bool report_sources_new(struct report_sources **out, const struct profile *profile, bool confidential_too,
	struct error *error)
{
	struct report_sources *sources = calloc(1, sizeof(*sources));
	struct place *places = calloc(profile->frame_count + (size_t)1, sizeof(*places));
	bool good = sources && places;
	size_t count = 0;
	if (good)
		sources->confidential_too = confidential_too;
	for (uint32_t i = 0; good && i < profile->frame_count; i++) {
		const struct frame *frame = &profile->frames[i];
		bool library = frame->kind != FRAME_PYTHON || frame->flags & FRAME_LIBRARY;
		if (frame->kind != FRAME_SPECIAL && frame->line && *frame->file)
			places[count++] = (struct place){ library, frame->file, frame->line };
	}
	if (good)
		qsort(places, count, sizeof(*places), place_compare);
	for (size_t i = 0, end; good && i < count && sources->size < SOURCES_SIZE_MAX; i = end) {
		for (end = i + 1; end < count && !strcmp(places[end].file, places[i].file);)
			end++;
		good = sources_add(sources, profile, places + i, end - i);
	}
	free(places);
	if (!good) {
		report_sources_free(sources);
		return fail(error, STATUS_MEMORY, "cannot make the report: out of memory for source lines");
	}
	*out = sources;
	return true;
}

void report_sources_free(struct report_sources *sources)
{
	if (!sources)
		return;
	for (size_t i = 0; i < sources->count; i++)
		source_clear(sources, &sources->sources[i]);
	free(sources->sources);
	free(sources);
}

size_t report_sources_count(const struct report_sources *sources)
{
	return sources ? sources->count : 0;
}

const struct report_source *report_sources_get(const struct report_sources *sources, size_t index)
{
	return &sources->sources[index];
}
