/* SPDX-License-Identifier: MIT */
/*
 * Starting a program under the library and behaving towards it and whoever started us as its users expect: for
 * cmd_run.c, to which the program's terminal is its own, and cmd_top.c, which has the terminal itself.
 *
 *     launch_find -> launch_start -> launch_poll ... -> launch_wait -> launch_report -> launch_finish
 */
#ifndef SCTMEM_READER_LAUNCH_H
#define SCTMEM_READER_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "options.h"
#include "program.h"
#include "recording_options.h"

enum { LAUNCH_SIGNALS = 12 };

struct launch {
	const struct recording *recording;
	const char *name;             /* of the program, as it was given */
	char path[PROGRAM_PATH_SIZE], library[PROGRAM_PATH_SIZE];
	char **argv;
	char *pattern;                /* of captures */
	/* It gets no terminal: input is empty, and what would go to a terminal goes into this file. */
	bool apart;
	const char *output_given;     /* NULL: a name is made */
	char *output;                 /* apart: the file, once it is started */
	uint64_t since_ns;            /* captures that are older are not its own */
	pid_t pid;                    /* 0: not started */
	bool ended;
	int wait_status;              /* once it has ended, as of waitpid */
	struct sigaction before[LAUNCH_SIGNALS], child_before;
	sigset_t mask;
};

/* What to execute and where to record, checked.  `arguments`: the program and its own. */
MUST_CHECK bool launch_find(struct launch *launch, const struct recording *recording, char **arguments, int count,
	struct error *error);
/* Starts it; signals that are sent to us reach it from now on. */
MUST_CHECK bool launch_start(struct launch *launch, struct error *error);
/* Whether it has ended. */
bool launch_poll(struct launch *launch);
/* The signal that wants us to end, which the program has been sent; 0: none has come. */
int launch_told(void);
/* Sends it a signal of ours. */
void launch_signal(const struct launch *launch, int signal);
/* Until it has ended; from then on signals are for us alone. */
void launch_wait(struct launch *launch);
/* Names the captures on standard error. */
void launch_report(const struct launch *launch);
/* Its exit status; where a signal ended it, the same ends us. */
int launch_exit_status(const struct launch *launch);
void launch_finish(struct launch *launch);

#endif
