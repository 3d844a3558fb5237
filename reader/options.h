/* SPDX-License-Identifier: MIT */
/*
 * Options as tables.  A command lists what it takes as rows of struct option_spec; parsing, help, the manual and the
 * completions all read the same rows, so that none of them can say something else.
 *
 *     static const struct option_spec stats_options[] = {
 *             OPTION_NUMBER('n', "number", "N", struct stats, number, 1, 1000, "show N sites (default 5)"),
 *             OPTION_LAST
 *     };
 *
 * Grammar: -x, -xVALUE, -x VALUE, -xyz (flags), --name, --name VALUE, --name=VALUE; "--" ends the options.  Long
 * names are never abbreviated: a script that says --at must not change its meaning when --attach comes.
 */
#ifndef SCTMEM_READER_OPTIONS_H
#define SCTMEM_READER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum option_kind {
	OPTION_KIND_END,
	OPTION_KIND_FLAG,      /* bool: becomes true */
	OPTION_KIND_FLAG_OFF,  /* bool: becomes false */
	OPTION_KIND_PLACE,     /* int: how many operands stand before it; given once */
	OPTION_KIND_COUNT,     /* int: one more each time */
	OPTION_KIND_TEXT,      /* const char *: the value as given */
	OPTION_KIND_NUMBER,    /* uint64_t: decimal, min..max */
	OPTION_KIND_CHOICE,    /* int: index of the value in choices */
	OPTION_KIND_CUSTOM,    /* anything: parse() fills the field */
};

struct option_spec {
	enum option_kind kind;
	char letter;                    /* 0: long name only */
	const char *name;
	const char *argument;           /* what the value is, as help shows it; NULL: takes none */
	const char *help;               /* one phrase, lower case, no full stop */
	size_t offset;                  /* of the field in the group's struct */
	uint64_t min, max;              /* NUMBER */
	const char *const *choices;     /* CHOICE, and for completion; NULL at the end */
	/* CUSTOM: false with error->text saying what is wrong with the value ("is not a time: ..."). */
	bool (*parse)(const char *value, void *field, struct error *error);
};

/* Rows that belong together; `offset` is where their struct lies in the command's settings. */
struct option_group {
	const char *title;              /* NULL at the end of a list of groups */
	const struct option_spec *options;
	size_t offset;
};

/* The field's offset, and a compile-time error when its type is not what the kind of option fills. */
#define OPTION_FIELD(type, field, wanted) \
	(offsetof(type, field) + \
	 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((type *)0)->field), wanted) ? 1 : -1]))

#define OPTION_FLAG(l, n, type, field, text) \
	{ .kind = OPTION_KIND_FLAG, .letter = (l), .name = (n), .help = (text), .offset = OPTION_FIELD(type, field, bool) }
#define OPTION_FLAG_OFF(l, n, type, field, text) \
	{ .kind = OPTION_KIND_FLAG_OFF, .letter = (l), .name = (n), .help = (text), .offset = OPTION_FIELD(type, field, bool) }
/* The field begins as -1. */
#define OPTION_PLACE(l, n, type, field, text) \
	{ .kind = OPTION_KIND_PLACE, .letter = (l), .name = (n), .help = (text), .offset = OPTION_FIELD(type, field, int) }
#define OPTION_TIMES(l, n, type, field, text) \
	{ .kind = OPTION_KIND_COUNT, .letter = (l), .name = (n), .help = (text), .offset = OPTION_FIELD(type, field, int) }
#define OPTION_TEXT(l, n, value, type, field, text) \
	{ .kind = OPTION_KIND_TEXT, .letter = (l), .name = (n), .argument = (value), .help = (text), \
	  .offset = OPTION_FIELD(type, field, const char *) }
#define OPTION_NUMBER(l, n, value, type, field, low, high, text) \
	{ .kind = OPTION_KIND_NUMBER, .letter = (l), .name = (n), .argument = (value), .help = (text), \
	  .offset = OPTION_FIELD(type, field, uint64_t), .min = (low), .max = (high) }
#define OPTION_CHOICE(l, n, value, type, field, list, text) \
	{ .kind = OPTION_KIND_CHOICE, .letter = (l), .name = (n), .argument = (value), .help = (text), \
	  .offset = OPTION_FIELD(type, field, int), .choices = (list) }
#define OPTION_CUSTOM(l, n, value, type, field, wanted, function, list, text) \
	{ .kind = OPTION_KIND_CUSTOM, .letter = (l), .name = (n), .argument = (value), .help = (text), \
	  .offset = OPTION_FIELD(type, field, wanted), .parse = (function), .choices = (list) }
#define OPTION_LAST { .kind = OPTION_KIND_END }

/* What follows the verb.  options_parse moves the operands to the front of argv and counts them. */
struct arguments {
	char **argv;
	int count;
	bool stop_at_operand;           /* in: what follows the first operand is not ours (run, doctor) */
	int before_dashes;              /* out: operands before the "--" that ends the options; -1: there is none */
	bool help;                      /* out: -h or --help was found; parsing ended there */
};

/*
 * Parses into `settings`, which the caller has set to its defaults.  `command` names the verb in messages.
 * With -h or --help returns true at once and sets arguments->help.
 */
MUST_CHECK bool options_parse(const char *command, const struct option_group *groups, void *settings,
	struct arguments *arguments, struct error *error);

/* The closest of the names, or NULL when none is close enough to be what was meant. */
const char *options_suggest(const char *word, const char *const *names, size_t count);

/* NULL when the tables are sound (no name or letter twice, texts in form), else what is wrong with which option. */
const char *options_problem(const struct option_group *groups);

/* "90", "1.5", "250ms", "1m30s", "2h": nanoseconds.  Nothing else around it. */
bool options_parse_time(const char *text, uint64_t *time_ns);

/*
 * "4096", "64KB", "1.5 GiB", "10m": bytes.  Units are powers of 1024, as in all that we print, with or without the i
 * and the B, in either case.  Fractions are rounded down.  Nothing else around it.
 */
bool options_parse_size(const char *text, uint64_t *bytes);

#endif
