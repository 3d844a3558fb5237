/* SPDX-License-Identifier: MIT */
/*
 * A command is one file, cmd_<verb>.c, that ends in a struct command, and one row of COMMANDS.  Parsing,
 * `sctmem help`, the manual pages and the completions are all made from that entry.
 */
#ifndef SCTMEM_READER_COMMAND_H
#define SCTMEM_READER_COMMAND_H

#include <stdbool.h>

#include "error.h"
#include "options.h"

struct command_example {
	const char *line;             /* what to type; NULL at the end */
	const char *meaning;          /* a phrase */
};

enum command_operands {
	COMMAND_NO_OPERANDS,
	COMMAND_CAPTURES,             /* for completion: files */
	COMMAND_PROGRAM,              /* a program and what follows it; parsing stops there */
	COMMAND_VERB,                 /* a command of ours */
	COMMAND_PROCESS,              /* the number of a running one */
};

/* One call of a command. */
struct invocation {
	const struct command *command;
	struct arguments arguments;   /* after the verb; after command_parse: the operands */
	int status;                   /* out: the exit status when run returns true */
};

struct command {
	const char *name;
	const char *summary;          /* one phrase: what it shows or does */
	const char *arguments;        /* "[CAPTURE...]", as usage shows it */
	enum command_operands operands;
	const char *description;      /* paragraphs, with an empty line between */
	const struct option_group *groups;
	const struct command_example *examples;
	bool (*run)(struct invocation *invocation, struct error *error);
};

/*
 * The verbs, in the order in which help lists them.  A new one is a file cmd_<verb>.c, which defines
 * <verb>_command, and a row here.
 */
#define COMMANDS(X) \
	X(run) \
	X(attach) \
	X(detach) \
	X(top) \
	X(ctl) \
	X(stats) \
	X(report) \
	X(flamegraph) \
	X(leaks) \
	X(summary) \
	X(table) \
	X(tree) \
	X(export) \
	X(check) \
	X(diff) \
	X(windows) \
	X(insights) \
	X(compact) \
	X(symbolize) \
	X(dump) \
	X(doctor) \
	X(help)

#define X(verb) extern const struct command verb##_command;
COMMANDS(X)
#undef X

/* All of them; NULL at the end. */
extern const struct command *const commands[];

const struct command *command_find(const char *name);

/*
 * The first thing that run does: fills its settings from the arguments.  false also when help was asked for: then
 * error->status is STATUS_OK and main shows the help.
 */
MUST_CHECK bool command_parse(struct invocation *invocation, void *settings, struct error *error);

#endif
