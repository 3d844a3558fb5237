/* SPDX-License-Identifier: MIT */
/*
 * Help, manual pages and completions, all made from the commands' entries.
 */
#ifndef SCTMEM_READER_HELP_H
#define SCTMEM_READER_HELP_H

#include "command.h"
#include "text.h"

void help_print_overview(const struct text *text);
void help_print_command(const struct text *text, const struct command *command);

/* The page of a command in roff; of sctmem itself only the lines that list the commands. */
void manual_print_command(FILE *file, const struct command *command);
void manual_print_list(FILE *file);

void completion_print_bash(FILE *file);
void completion_print_zsh(FILE *file);
void completion_print_fish(FILE *file);

#endif
