/* SPDX-License-Identifier: MIT */
/*
 * The parser over the tables of options.h.  Our own rather than getopt_long, whose messages go to stderr by
 * themselves, whose abbreviations make scripts fragile, and which keeps its state in globals.
 */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUGGEST_WORD_MAX = 40, SUGGEST_NAMES_MAX = 128 };

struct parser {
	const char *command;
	const struct option_group *groups;
	void *settings;
	struct error *error;
	int operands;                 /* so many came before */
};

/* Optimal string alignment distance: a swap of neighbours, the commonest slip, costs one. */
static unsigned edit_distance(const char *a, const char *b)
{
	size_t a_size = strlen(a), b_size = strlen(b);
	unsigned rows[3][SUGGEST_WORD_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];

	if (a_size > SUGGEST_WORD_MAX || b_size > SUGGEST_WORD_MAX)
		return SUGGEST_WORD_MAX;
	for (size_t j = 0; j <= b_size; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a_size; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_size; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		unsigned *spare = before;

		before = last;
		last = row;
		row = spare;
	}
	return last[b_size];
}

const char *options_suggest(const char *word, const char *const *names, size_t count)
{
	size_t size = strlen(word);
	unsigned best = size <= 3 ? 2 : 3;   /* a distance below this is close enough */
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		unsigned distance = edit_distance(word, names[i]);

		if (size >= 3 && strncmp(word, names[i], size) == 0)
			distance = 1;
		if (distance < best) {
			best = distance;
			found = names[i];
		}
	}
	return found;
}

static const struct option_spec *find_option(const struct option_group *groups, const char *name, size_t size,
	char letter, const struct option_group **group)
{
	for (; groups->title; groups++)
		for (const struct option_spec *spec = groups->options; spec->kind != OPTION_KIND_END; spec++) {
			bool found = name ? strlen(spec->name) == size && memcmp(spec->name, name, size) == 0
				: spec->letter == letter;

			if (found) {
				*group = groups;
				return spec;
			}
		}
	return NULL;
}

static bool fail_unknown(const struct parser *parser, const char *name, size_t size)
{
	const char *names[SUGGEST_NAMES_MAX];
	size_t count = 0;
	char word[SUGGEST_WORD_MAX + 1];

	if (size > SUGGEST_WORD_MAX)
		size = SUGGEST_WORD_MAX;
	memcpy(word, name, size);
	word[size] = 0;
	for (const struct option_group *group = parser->groups; group->title; group++)
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++)
			if (count < SUGGEST_NAMES_MAX - 1)
				names[count++] = spec->name;
	names[count++] = "help";

	const char *meant = options_suggest(word, names, count);

	if (meant)
		return fail(parser->error, STATUS_USAGE, "unknown option --%s; did you mean --%s?", word, meant);
	return fail(parser->error, STATUS_USAGE, "unknown option --%s; see: sctmem help %s", word, parser->command);
}

static bool set_number(const struct option_spec *spec, const char *value, uint64_t *field, struct error *error)
{
	char *end = NULL;

	errno = 0;
	unsigned long long number = value[0] >= '0' && value[0] <= '9' ? strtoull(value, &end, 10) : 0;

	if (!end || *end || errno || number < spec->min || number > spec->max)
		return fail(error, STATUS_USAGE, "--%s %s: not a number from %llu to %llu", spec->name, value,
			(unsigned long long)spec->min, (unsigned long long)spec->max);
	*field = number;
	return true;
}

static bool set_choice(const struct option_spec *spec, const char *value, int *field, struct error *error)
{
	char list[256] = "";
	size_t used = 0;

	for (int i = 0; spec->choices[i]; i++) {
		if (strcmp(spec->choices[i], value) == 0) {
			*field = i;
			return true;
		}
		int wrote = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", spec->choices[i]);

		if (wrote > 0 && (size_t)wrote < sizeof list - used)
			used += (size_t)wrote;
	}
	return fail(error, STATUS_USAGE, "--%s %s: not one of %s", spec->name, value, list);
}

static bool set_custom(const struct option_spec *spec, const char *value, void *field, struct error *error)
{
	struct error why = { 0 };

	if (spec->parse(value, field, &why))
		return true;
	return fail(error, STATUS_USAGE, "--%s %s: %s", spec->name, value, why.text);
}

static bool set_option(const struct parser *parser, const struct option_group *group, const struct option_spec *spec,
	const char *value)
{
	void *field = (char *)parser->settings + group->offset + spec->offset;

	switch (spec->kind) {
	case OPTION_KIND_FLAG:
	case OPTION_KIND_FLAG_OFF:
		*(bool *)field = spec->kind == OPTION_KIND_FLAG;
		return true;
	case OPTION_KIND_PLACE:
		if (*(int *)field >= 0)
			return fail(parser->error, STATUS_USAGE, "--%s is given twice", spec->name);
		*(int *)field = parser->operands;
		return true;
	case OPTION_KIND_COUNT:
		*(int *)field += 1;
		return true;
	case OPTION_KIND_TEXT:
		if (!*value)
			return fail(parser->error, STATUS_USAGE, "--%s: the %s is empty", spec->name, spec->argument);
		*(const char **)field = value;
		return true;
	case OPTION_KIND_NUMBER:
		return set_number(spec, value, field, parser->error);
	case OPTION_KIND_CHOICE:
		return set_choice(spec, value, field, parser->error);
	case OPTION_KIND_CUSTOM:
		return set_custom(spec, value, field, parser->error);
	case OPTION_KIND_END:
		break;
	}
	return true;
}

/* argv[*at] is "--name" or "--name=value". */
static bool parse_long(const struct parser *parser, struct arguments *arguments, int *at)
{
	const char *name = arguments->argv[*at] + 2;
	const char *equals = strchr(name, '=');
	size_t size = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_group *group = NULL;

	if (size == 4 && memcmp(name, "help", 4) == 0 && !equals) {
		arguments->help = true;
		return true;
	}

	const struct option_spec *spec = find_option(parser->groups, name, size, 0, &group);

	if (!spec)
		return fail_unknown(parser, name, size);
	if (!spec->argument) {
		if (equals)
			return fail(parser->error, STATUS_USAGE, "--%s takes no value", spec->name);
		return set_option(parser, group, spec, NULL);
	}
	if (equals)
		return set_option(parser, group, spec, equals + 1);
	if (*at + 1 >= arguments->count)
		return fail(parser->error, STATUS_USAGE, "--%s needs a value: --%s %s", spec->name, spec->name,
			spec->argument);
	*at += 1;
	return set_option(parser, group, spec, arguments->argv[*at]);
}

/* argv[*at] is "-x...": flags, the last of which may take the rest or the next argument as its value. */
static bool parse_letters(const struct parser *parser, struct arguments *arguments, int *at)
{
	for (const char *letter = arguments->argv[*at] + 1; *letter; letter++) {
		const struct option_group *group = NULL;

		if (*letter == 'h') {
			arguments->help = true;
			return true;
		}

		const struct option_spec *spec = find_option(parser->groups, NULL, 0, *letter, &group);

		if (!spec)
			return fail(parser->error, STATUS_USAGE, "unknown option -%c; see: sctmem help %s", *letter,
				parser->command);
		if (!spec->argument) {
			if (!set_option(parser, group, spec, NULL))
				return false;
			continue;
		}
		if (letter[1])
			return set_option(parser, group, spec, letter + 1);
		if (*at + 1 >= arguments->count)
			return fail(parser->error, STATUS_USAGE, "-%c needs a value: -%c %s", *letter, *letter, spec->argument);
		*at += 1;
		return set_option(parser, group, spec, arguments->argv[*at]);
	}
	return true;
}

bool options_parse(const char *command, const struct option_group *groups, void *settings, struct arguments *arguments,
	struct error *error)
{
	struct parser parser = { .command = command, .groups = groups, .settings = settings, .error = error };
	int operands = 0;
	bool options_ended = false;

	arguments->before_dashes = -1;

	for (int at = 0; at < arguments->count; at++) {
		char *argument = arguments->argv[at];

		/* A lone "-" is an operand: standard input or output. */
		if (options_ended || argument[0] != '-' || !argument[1]) {
			arguments->argv[operands++] = argument;
			options_ended = options_ended || arguments->stop_at_operand;
			continue;
		}
		if (strcmp(argument, "--") == 0) {
			options_ended = true;
			arguments->before_dashes = operands;
			continue;
		}
		parser.operands = operands;
		if (argument[1] == '-' ? !parse_long(&parser, arguments, &at) : !parse_letters(&parser, arguments, &at))
			return false;
		if (arguments->help)
			return true;
	}
	arguments->count = operands;
	return true;
}

static const char *spec_problem(const struct option_spec *spec)
{
	if (!spec->name || !spec->help || !*spec->help)
		return "no name or no help";
	if (spec->help[strlen(spec->help) - 1] == '.' || strchr(spec->help, '\n'))
		return "help is one phrase without a full stop";
	if (spec->letter == 'h' || strcmp(spec->name, "help") == 0)
		return "-h and --help belong to the parser";
	if ((spec->kind <= OPTION_KIND_COUNT) != !spec->argument)
		return "a flag takes no argument, the other kinds need one";
	if (spec->kind == OPTION_KIND_CHOICE && !spec->choices)
		return "no choices";
	if (spec->kind == OPTION_KIND_CUSTOM && !spec->parse)
		return "no parse function";
	return NULL;
}

const char *options_problem(const struct option_group *groups)
{
	static char text[256];

	for (const struct option_group *group = groups; group->title; group++)
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++) {
			const struct option_group *other;
			const char *problem = spec_problem(spec);

			if (!problem && find_option(groups, spec->name, strlen(spec->name), 0, &other) != spec)
				problem = "name used twice";
			if (!problem && spec->letter && find_option(groups, NULL, 0, spec->letter, &other) != spec)
				problem = "letter used twice";
			if (problem) {
				snprintf(text, sizeof text, "--%s: %s", spec->name ? spec->name : "?", problem);
				return text;
			}
		}
	return NULL;
}

/* One number with an optional fraction; *text is moved past it. */
static bool parse_decimal(const char **text, double *value)
{
	const char *at = *text;
	double number = 0, unit = 1;
	bool any = false;

	for (; *at >= '0' && *at <= '9'; at++, any = true)
		number = number * 10 + (*at - '0');
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9'; at++, any = true)
			number += (*at - '0') * (unit /= 10);
	*value = number;
	*text = at;
	return any;
}

bool options_parse_time(const char *text, uint64_t *time_ns)
{
	static const struct { const char *name; double ns; } units[] = {
		{ "h", 3600e9 }, { "ms", 1e6 }, { "us", 1e3 }, { "ns", 1 }, { "m", 60e9 }, { "s", 1e9 },
	};
	double total = 0, last_unit = 1e300;

	if (!*text)
		return false;
	while (*text) {
		double number, unit = 0;

		if (!parse_decimal(&text, &number))
			return false;
		for (size_t i = 0; i < sizeof units / sizeof units[0] && unit == 0; i++)
			if (strncmp(text, units[i].name, strlen(units[i].name)) == 0) {
				unit = units[i].ns;
				text += strlen(units[i].name);
			}
		if (unit == 0 && !*text)
			unit = 1e9;   /* seconds are the plain number */
		if (unit == 0 || unit >= last_unit)
			return false;
		last_unit = unit;
		total += number * unit;
	}
	if (total > 9e18)
		return false;
	*time_ns = (uint64_t)(total + 0.5);
	return true;
}

bool options_parse_size(const char *text, uint64_t *bytes)
{
	static const char letters[] = "kmgtpe";
	uint64_t whole = 0;
	long double fraction = 0, place = 1;
	const char *at = text;
	unsigned shift = 0;

	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *at - '0', &whole))
			return false;
	if (at == text)
		return false;
	if (*at == '.') {
		if (at[1] < '0' || at[1] > '9')
			return false;
		for (at++; *at >= '0' && *at <= '9'; at++)
			fraction += (*at - '0') * (place /= 10);
	}
	at += *at == ' ';

	const char *unit = *at ? strchr(letters, *at | 0x20) : NULL;

	if (unit) {
		shift = 10 * (unsigned)(unit - letters + 1);
		at++;
		if ((*at | 0x20) == 'i')
			at++;
	}
	if ((*at | 0x20) == 'b')
		at++;
	if (*at || (shift && whole >> (64 - shift)))
		return false;
	*bytes = (whole << shift) + (uint64_t)(fraction * (long double)((uint64_t)1 << shift) + 1e-9L);
	return true;
}
