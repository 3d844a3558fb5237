/* SPDX-License-Identifier: MIT */
/*
 * Completions for bash, zsh and fish, printed from the commands' entries.  The build writes them to files that the
 * shells load; `source <(sctmem help --completion bash)` works without installation.
 */
#include <string.h>

#include "help.h"

/* What completes the value of an option. */
static bool takes_file(const struct option_spec *spec)
{
	return spec->argument && strcmp(spec->argument, "FILE") == 0;
}

/* Text between single quotes of a shell; fish and the others differ only in what they need for a quote itself. */
static void put_quoted(FILE *file, const char *text, const char *quote)
{
	putc('\'', file);
	for (; *text; text++)
		if (*text == '\'')
			fputs(quote, file);
		else
			putc(*text, file);
	putc('\'', file);
}

static void put_choices(FILE *file, const struct option_spec *spec)
{
	for (size_t i = 0; spec->choices && spec->choices[i]; i++)
		fprintf(file, "%s%s", i ? " " : "", spec->choices[i]);
}

static void put_names(FILE *file)
{
	for (const struct command *const *command = commands; *command; command++)
		fprintf(file, "%s%s", command == commands ? "" : " ", (*command)->name);
}

/* "verb:--metric" -> the words that may follow; one case for each option with a value. */
static void bash_values(FILE *file, const struct command *command)
{
	for (const struct option_group *group = command->groups; group->title; group++)
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++) {
			if (!spec->argument)
				continue;
			fprintf(file, "\t%s:--%s", command->name, spec->name);
			if (spec->letter)
				fprintf(file, "|%s:-%c", command->name, spec->letter);
			if (spec->choices) {
				fputs(") COMPREPLY=($(compgen -W \"", file);
				put_choices(file, spec);
				fputs("\" -- \"$cur\")); return ;;\n", file);
			} else {
				fputs(takes_file(spec) ? ") compopt -o default; return ;;\n" : ") return ;;\n", file);
			}
		}
}

static void bash_options(FILE *file, const struct command *command)
{
	fprintf(file, "\t%s) words=\"--help", command->name);
	for (const struct option_group *group = command->groups; group->title; group++)
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++)
			fprintf(file, " --%s", spec->name);
	fputs("\" ;;\n", file);
}

void completion_print_bash(FILE *file)
{
	fputs("# bash completion for sctmem; made by: sctmem help --completion bash\n"
		"_sctmem() {\n"
		"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} words= i\n"
		"\tCOMPREPLY=()\n"
		"\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
		"\t\tCOMPREPLY=($(compgen -W \"", file);
	put_names(file);
	fputs(" --help --version\" -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase $verb:$prev in\n", file);
	for (const struct command *const *command = commands; *command; command++)
		bash_values(file, *command);
	fputs("\tesac\n\tcase $verb in\n", file);
	for (const struct command *const *command = commands; *command; command++)
		bash_options(file, *command);
	fputs("\tesac\n", file);
	/* Behind the program that run and doctor name, its own completion goes on. */
	for (const struct command *const *command = commands; *command; command++)
		if ((*command)->operands == COMMAND_PROGRAM)
			fprintf(file, "\tif [ \"$verb\" = %s ]; then\n"
				"\t\tfor ((i = 2; i < COMP_CWORD; i++)); do\n"
				"\t\t\tif [ \"${COMP_WORDS[i]}\" = -- ] && declare -F _command_offset >/dev/null; then\n"
				"\t\t\t\t_command_offset $((i + 1))\n\t\t\t\treturn\n\t\t\tfi\n\t\tdone\n\tfi\n", (*command)->name);
	for (const struct command *const *command = commands; *command; command++)
		if ((*command)->operands == COMMAND_PROCESS)
			fprintf(file, "\tif [ \"$verb\" = %s ] && [[ $cur != -* ]]; then\n"
				"\t\tCOMPREPLY=($(compgen -W \"$(ps -eo pid= 2>/dev/null)\" -- \"$cur\"))\n\t\treturn\n\tfi\n",
				(*command)->name);
	fputs("\tcase $cur in\n"
		"\t-*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
		"\t*)\n\t\tif [ \"$verb\" = help ]; then COMPREPLY=($(compgen -W \"", file);
	put_names(file);
	fputs("\" -- \"$cur\")); else compopt -o default; fi ;;\n\tesac\n}\ncomplete -F _sctmem sctmem\n", file);
}

/* A description in zsh's _arguments: no brackets or colons of its own. */
static void zsh_option(FILE *file, const struct option_spec *spec, const char *name)
{
	char help[256];
	size_t used = 0;

	for (const char *at = spec->help; *at && used + 3 < sizeof help; at++) {
		if (strchr("[]:\\", *at))
			help[used++] = '\\';
		help[used++] = *at;
	}
	help[used] = 0;

	char row[768];
	const char *value = "";
	char list[256] = "";

	if (takes_file(spec)) {
		value = ":file:_files";
	} else if (spec->choices) {
		size_t at = (size_t)snprintf(list, sizeof list, ":value:(");

		for (size_t i = 0; spec->choices[i] && at + 2 < sizeof list; i++)
			at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? " " : "", spec->choices[i]);
		if (at + 2 < sizeof list)
			snprintf(list + at, sizeof list - at, ")");
		value = list;
	} else if (spec->argument) {
		value = ":value:";
	}
	snprintf(row, sizeof row, "*%s[%s]%s", name, help, value);
	fputs(" \\\n\t\t\t", file);
	put_quoted(file, row, "'\\''");
}

static void zsh_command(FILE *file, const struct command *command)
{
	static const char *const operands[] = {
		[COMMAND_NO_OPERANDS] = "", [COMMAND_CAPTURES] = " \\\n\t\t\t'*:capture:_files'",
		[COMMAND_PROGRAM] = " \\\n\t\t\t'1:program:_command_names -e' '*::arguments:_normal'",
		[COMMAND_VERB] = " \\\n\t\t\t\"1:verb:($verbs)\"",
		[COMMAND_PROCESS] = " \\\n\t\t\t'1:process:_pids'",
	};

	fprintf(file, "\t%s)\n\t\t_arguments -s -S '--help[show help]'", command->name);
	for (const struct option_group *group = command->groups; group->title; group++)
		for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++) {
			char name[80];

			snprintf(name, sizeof name, "--%s%s", spec->name, spec->argument ? "=" : "");
			zsh_option(file, spec, name);
			if (spec->letter) {
				snprintf(name, sizeof name, "-%c%s", spec->letter, spec->argument ? "+" : "");
				zsh_option(file, spec, name);
			}
		}
	fprintf(file, "%s\n\t\t;;\n", operands[command->operands]);
}

void completion_print_zsh(FILE *file)
{
	fputs("#compdef sctmem\n# zsh completion for sctmem; made by: sctmem help --completion zsh\n"
		"_sctmem() {\n\tlocal context state state_descr line curcontext=$curcontext\n\ttypeset -A opt_args\n"
		"\tlocal verbs='", file);
	put_names(file);
	fputs("'\n\tif (( CURRENT == 2 )); then\n\t\tlocal -a list=(\n", file);
	for (const struct command *const *command = commands; *command; command++) {
		char row[256];

		snprintf(row, sizeof row, "%s:%s", (*command)->name, (*command)->summary);
		fputs("\t\t\t", file);
		put_quoted(file, row, "'\\''");
		putc('\n', file);
	}
	fputs("\t\t)\n\t\t_describe verb list\n\t\treturn\n\tfi\n\tlocal verb=$words[2]\n\tshift words\n\t(( CURRENT-- ))\n"
		"\tcase $verb in\n", file);
	for (const struct command *const *command = commands; *command; command++)
		zsh_command(file, *command);
	fputs("\tesac\n}\nif [ \"$funcstack[1]\" = _sctmem ]; then _sctmem \"$@\"; else compdef _sctmem sctmem; fi\n", file);
}

static void fish_option(FILE *file, const struct command *command, const struct option_spec *spec)
{
	fprintf(file, "complete -c sctmem -n '__fish_seen_subcommand_from %s' -l %s", command->name, spec->name);
	if (spec->letter)
		fprintf(file, " -s %c", spec->letter);
	if (takes_file(spec)) {
		fputs(" -r -F", file);
	} else if (spec->choices) {
		fputs(" -x -a '", file);
		put_choices(file, spec);
		putc('\'', file);
	} else if (spec->argument) {
		fputs(" -x", file);
	}
	fputs(" -d ", file);
	put_quoted(file, spec->help, "\\'");
	putc('\n', file);
}

void completion_print_fish(FILE *file)
{
	fputs("# fish completion for sctmem; made by: sctmem help --completion fish\n", file);
	for (const struct command *const *command = commands; *command; command++) {
		fprintf(file, "complete -c sctmem -f -n __fish_use_subcommand -a %s -d ", (*command)->name);
		put_quoted(file, (*command)->summary, "\\'");
		putc('\n', file);
	}
	for (const struct command *const *command = commands; *command; command++) {
		for (const struct option_group *group = (*command)->groups; group->title; group++)
			for (const struct option_spec *spec = group->options; spec->kind != OPTION_KIND_END; spec++)
				fish_option(file, *command, spec);
		if ((*command)->operands == COMMAND_VERB) {
			fprintf(file, "complete -c sctmem -f -n '__fish_seen_subcommand_from %s' -a '", (*command)->name);
			put_names(file);
			fputs("'\n", file);
		} else if ((*command)->operands == COMMAND_PROGRAM) {
			fprintf(file, "complete -c sctmem -n '__fish_seen_subcommand_from %s' -a "
				"'(__fish_complete_subcommand --fcs-skip=2)'\n", (*command)->name);
		} else if ((*command)->operands == COMMAND_PROCESS) {
			fprintf(file, "complete -c sctmem -f -n '__fish_seen_subcommand_from %s' -a '(__fish_complete_pids)'\n",
				(*command)->name);
		}
	}
}
