/* SPDX-License-Identifier: MIT */
/*
 * See suppressions.h.  Each pattern is tried once for each distinct frame, not for each stack.
 */
#include "suppressions.h"

#include <errno.h>
#include <string.h>

#include "memory.h"

enum { RULES_MAX = 10000 };

bool suppressions_pattern_matches(const char *pattern, const char *text)
{
	size_t size = strlen(pattern), at = 0, star = 0;
	bool starts = size > 0 && pattern[0] == '^';

	pattern += starts;
	size -= starts;

	bool ends = size > 0 && pattern[size - 1] == '$';
	/* Where the newest `*` stood last; a pattern that may begin anywhere has one before it. */
	const char *resume = starts ? NULL : text;

	size -= ends;
	for (;;) {
		if (at == size && (!ends || !*text))
			return true;
		if (at < size && pattern[at] == '*') {
			star = ++at;
			resume = text;
		} else if (at < size && *text && pattern[at] == *text) {
			at++;
			text++;
		} else if (resume && *resume) {
			text = ++resume;
			at = star;
		} else {
			return false;
		}
	}
}

static char *trim(char *line)
{
	size_t size = strlen(line);

	while (size > 0 && strchr(" \t\r\n", line[size - 1]))
		line[--size] = 0;
	return line + strspn(line, " \t");
}

static bool read_line(struct suppressions *suppressions, char *line, const char *path, size_t number,
	struct error *error)
{
	char *rule = trim(line);

	if (!*rule || *rule == '#')
		return true;
	if (strncmp(rule, "leak:", 5) != 0 || !rule[5])
		return fail(error, STATUS_USAGE, "%s, line %zu: not leak:PATTERN, a comment or empty: %.80s", path, number, rule);
	if (suppressions->count == RULES_MAX)
		return fail(error, STATUS_USAGE, "%s, line %zu: more than %d rules; use * in patterns", path, number, RULES_MAX);
	suppressions->rules = memory_grow(suppressions->rules, &suppressions->capacity, suppressions->count + 1,
		sizeof *suppressions->rules);
	suppressions->rules[suppressions->count++] = (struct suppression){ .pattern = memory_text(rule + 5) };
	return true;
}

bool suppressions_read(struct suppressions *suppressions, const char *path, struct error *error)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0, number = 0;
	bool good = true;

	*suppressions = (struct suppressions){ 0 };
	if (!file)
		return fail(error, STATUS_NO_INPUT, "cannot read %s: %s", path, strerror(errno));
	errno = 0;
	while (good && getline(&line, &room, file) >= 0)
		good = read_line(suppressions, line, path, ++number, error);
	if (good && ferror(file))
		good = fail(error, STATUS_NO_INPUT, "cannot read %s: %s", path, strerror(errno));
	free(line);
	fclose(file);
	return good;
}

void suppressions_finish(struct suppressions *suppressions)
{
	for (size_t i = 0; i < suppressions->count; i++)
		free(suppressions->rules[i].pattern);
	free(suppressions->rules);
	*suppressions = (struct suppressions){ 0 };
}

static uint16_t rule_of_frame(const struct suppressions *suppressions, const struct frame *frame)
{
	for (size_t i = 0; i < suppressions->count; i++) {
		const char *pattern = suppressions->rules[i].pattern;

		if (suppressions_pattern_matches(pattern, frame->function) ||
			suppressions_pattern_matches(pattern, frame->file) ||
			suppressions_pattern_matches(pattern, frame->module))
			return (uint16_t)i;
	}
	return SUPPRESSION_NONE;
}

uint16_t *suppressions_of_nodes(const struct suppressions *suppressions, const struct profile *profile)
{
	uint16_t *of_frames = memory_new(profile->frame_count, sizeof *of_frames);
	uint16_t *of_nodes = memory_new(profile->node_count, sizeof *of_nodes);

	of_nodes[0] = SUPPRESSION_NONE;
	/* Frame 0 is the root: no frame of the program. */
	for (uint32_t i = 1; i < profile->frame_count; i++)
		of_frames[i] = rule_of_frame(suppressions, &profile->frames[i]);
	for (uint32_t i = 1; i < profile->node_count; i++) {
		uint16_t above = of_nodes[profile->nodes[i].parent], own = of_frames[profile->nodes[i].frame];

		of_nodes[i] = own < above ? own : above;
	}
	free(of_frames);
	return of_nodes;
}
