/* SPDX-License-Identifier: MIT */
/*
 * What can be asked of a recording, once for all verbs that begin one: the options, their help, what they accept, and
 * how they reach the library.  For cmd_run.c, cmd_attach.c and cmd_top.c.
 *
 *     options --parse--> struct recording --recording_hand_over--> "SCTMEM_X", "value"
 *                                            run, top:  the environment of the program that is started
 *                                            attach:    the settings that are written into the process
 *
 * The library reads both in the same way (preload/config.h), and takes what it does not understand for its default,
 * without a word: so whatever is passed on has been checked here.  A new option is a row in recording_options.c, with
 * its variable, and a field here.
 */
#ifndef SCTMEM_READER_RECORDING_OPTIONS_H
#define SCTMEM_READER_RECORDING_OPTIONS_H

#include "options.h"

/* -1, NULL or UINT64_MAX: not asked for, so that the environment (attach: the default) holds. */
struct recording {
	const char *output;
	bool force, quiet, no_python_allocators, aggregate;
	int native, backend, start;
	uint64_t depth, sample_ms, keep;
	const char *follow, *program, *sample, *max_size, *rotate;
};

#define RECORDING_NOTHING_ASKED \
	{ .native = -1, .backend = -1, .start = -1, .depth = UINT64_MAX, .sample_ms = UINT64_MAX, .keep = UINT64_MAX }

/*
 * Groups of options, whose fields lie in a struct recording; the group's offset is where that lies in the command's
 * settings.  OUTPUT and WHAT are for all; of programs that are started, STARTED says more, and of processes that run
 * already, RUNNING: they cannot be given another allocator, nor be followed through exec.
 */
extern const struct option_spec recording_output_options[], recording_what_options[], recording_started_options[],
	recording_running_options[];

/* Whether what was asked for goes together. */
MUST_CHECK bool recording_check(const struct recording *recording, struct error *error);

/* Calls `set` with each variable that the options ask for, but SCTMEM_OUT, and its value; ends where that fails. */
MUST_CHECK bool recording_hand_over(const struct recording *recording,
	bool (*set)(void *to, const char *variable, const char *value, struct error *error), void *to, struct error *error);

/*
 * Makes this process's environment one in which `library` records into `output`, a pattern: for a child that is about
 * to execute a program.
 */
void recording_set_environment(const struct recording *recording, const char *output, const char *library);

/* The variable that an option sets; NULL: none, or the option is not one of ours. */
const char *recording_variable(const char *option);

#endif
