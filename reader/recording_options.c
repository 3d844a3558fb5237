/* SPDX-License-Identifier: MIT */
/* See recording_options.h.  A row is an option and the variable that it sets, if any; each table is made of rows. */
#include "recording_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const char *const native_words[] = { "leaf", "full", "no", NULL };
static const char *const backend_words[] = { "libc", "jemalloc", NULL };
static const char *const start_words[] = { "on", "off", NULL };
static const char *const follow_words[] = { "none", "fork", "exec", "exec:", NULL };
static const char *const follow_running_words[] = { "none", "fork", NULL };

static bool parse_follow(const char *value, void *field, struct error *error)
{
	if (strcmp(value, "none") != 0 && strcmp(value, "fork") != 0 && strcmp(value, "exec") != 0 &&
		(strncmp(value, "exec:", 5) != 0 || !value[5]))
		return fail(error, STATUS_USAGE, "not none, fork, exec or exec:GLOB");
	*(const char **)field = value;
	return true;
}

static bool parse_follow_running(const char *value, void *field, struct error *error)
{
	if (strcmp(value, "none") != 0 && strcmp(value, "fork") != 0)
		return fail(error, STATUS_USAGE, "not none or fork; programs that it executes cannot be followed");
	*(const char **)field = value;
	return true;
}

/* What becomes of a size as the library reads it: one text for each option, of which the last one given counts. */
enum { SIZE_TEXT = 24, SAMPLE_TEXT = 64 };

/* SIZE or SIZE,seed=N, as the library reads it. */
static bool parse_sample(const char *value, void *field, struct error *error)
{
	static char sample[SAMPLE_TEXT];
	const char *comma = strchr(value, ',');
	char size[32];
	uint64_t bytes = 0;
	const int length = snprintf(size, sizeof(size), "%.*s", comma ? (int)(comma - value) : (int)strlen(value), value);

	if ((size_t)length >= sizeof(size) || !options_parse_size(size, &bytes) || bytes == 0 || bytes >> 40)
		return fail(error, STATUS_USAGE, "not a size like 512KiB or 4M, of less than 1 TiB");
	if (comma && (strncmp(comma, ",seed=", 6) != 0 || !comma[6] || comma[6 + strspn(comma + 6, "0123456789")] ||
		strlen(comma) > 24))
		return fail(error, STATUS_USAGE, "what follows the size is not ,seed=NUMBER");
	snprintf(sample, sizeof(sample), "%llu%s", (unsigned long long)bytes, comma ? comma : "");
	*(const char **)field = sample;
	return true;
}

static bool parse_max_size(const char *value, void *field, struct error *error)
{
	static char text[SIZE_TEXT];
	uint64_t bytes = 0;

	if (!options_parse_size(value, &bytes) || bytes < 4 << 20 || bytes >> 44)
		return fail(error, STATUS_USAGE, "not a size of 4M or more, like 500M or 2G");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	*(const char **)field = text;
	return true;
}

/* As the library reads it: 64M or 2G; 30m, 12h or 1d.  "m" is a minute, "M" a mebibyte. */
static bool parse_rotate(const char *value, void *field, struct error *error)
{
	const size_t digits = strspn(value, "0123456789");
	static char text[SIZE_TEXT];
	uint64_t bytes = 0;

	if (digits > 0 && digits < 7 && value[digits] && strchr("smhd", value[digits]) && !value[digits + 1] &&
		strtoul(value, NULL, 10) > 0) {
		*(const char **)field = value;
		return true;
	}
	if (!options_parse_size(value, &bytes) || bytes < 256 << 10 || bytes >> 44)
		return fail(error, STATUS_USAGE, "neither a size of 256K or more, like 500M or 2G, nor a time like 30m, 12h or 1d");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	*(const char **)field = text;
	return true;
}

bool recording_check(const struct recording *recording, struct error *error)
{
	if (recording->aggregate && recording->sample)
		return fail(error, STATUS_USAGE, "--aggregate and --sample do not go together: of a sample each block stands for "
			"others, so none may be left to sums; give one of them");
	if (recording->rotate && recording->max_size)
		return fail(error, STATUS_USAGE, "--rotate and --max-size exclude each other: "
			"--rotate SIZE --keep N bounds what a run takes, and keeps every block of the newest files");
	if (recording->keep != UINT64_MAX && !recording->rotate)
		return fail(error, STATUS_USAGE, "--keep says how many files of --rotate stay: give both");
	return true;
}

/* clang-format off */
#define OUTPUT_ROWS(X) \
	X("SCTMEM_OUT", OPTION_TEXT('o', "output", "FILE", struct recording, output, \
		"the capture; %p is the process, %e the program, %h the host (default sctmem.%e.%p.bin)")) \
	X("SCTMEM_FORCE", OPTION_FLAG('f', "force", struct recording, force, \
		"replace an existing capture of that name")) \
	X(NULL, OPTION_FLAG('q', "quiet", struct recording, quiet, \
		"do not say what is recorded or written"))

#define WHAT_ROWS(X) \
	X("SCTMEM_NATIVE", OPTION_CHOICE(0, "native", "leaf|full|no", struct recording, native, native_words, \
		"native frames: under Python only those above it (default), all, or none")) \
	X("SCTMEM_PYTHON_ALLOCATORS", OPTION_FLAG(0, "no-python-allocators", struct recording, no_python_allocators, \
		"record Python's arenas instead of every object's block")) \
	X("SCTMEM_DEPTH", OPTION_NUMBER(0, "depth", "N", struct recording, depth, 16, 16384, \
		"deepest stack that is kept (default 1024)")) \
	X("SCTMEM_SAMPLE", OPTION_CUSTOM(0, "sample", "SIZE", struct recording, sample, const char *, parse_sample, NULL, \
		"record a sample of the blocks, one about every SIZE bytes: 512KiB; 512KiB,seed=N draws the same each time")) \
	X("SCTMEM_AGGREGATE", OPTION_FLAG(0, "aggregate", struct recording, aggregate, \
		"sums instead of events for blocks that are soon freed again; totals and leaks stay exact")) \
	X("SCTMEM_MAX_SIZE", OPTION_CUSTOM(0, "max-size", "SIZE", struct recording, max_size, const char *, \
		parse_max_size, NULL, \
		"largest size of a capture: as it nears, sums, then fewer and fewer blocks are recorded: 2G; at least 4M")) \
	X("SCTMEM_SAMPLE_MS", OPTION_NUMBER(0, "sample-ms", "N", struct recording, sample_ms, 0, 60000, \
		"time between samples of resident memory (default 10; 0: none)"))

#define STARTED_ROWS(X) \
	X("SCTMEM_FOLLOW", OPTION_CUSTOM(0, "follow", "none|fork|exec[:GLOB]", struct recording, follow, const char *, \
		parse_follow, follow_words, \
		"children that are recorded too (default fork)")) \
	X("SCTMEM_ROTATE", OPTION_CUSTOM(0, "rotate", "SIZE|TIME", struct recording, rotate, const char *, \
		parse_rotate, NULL, \
		"begin a new file when the present one is so large or so old: 1G, 12h; the run is read as one")) \
	X("SCTMEM_KEEP", OPTION_NUMBER(0, "keep", "N", struct recording, keep, 2, 4096, \
		"with --rotate: only the newest N files stay")) \
	X("SCTMEM_PROGRAM", OPTION_TEXT(0, "program", "GLOB", struct recording, program, \
		"record only in programs whose name matches")) \
	X("SCTMEM_BACKEND", OPTION_CHOICE(0, "backend", "libc|jemalloc", struct recording, backend, backend_words, \
		"the allocator that serves the program (default: libc, or its own)")) \
	X("SCTMEM_START", OPTION_CHOICE(0, "start", "on|off", struct recording, start, start_words, \
		"off: record nothing until sctmem_start() or sctmem ctl says so (default on)"))

#define RUNNING_ROWS(X) \
	X("SCTMEM_FOLLOW", OPTION_CUSTOM(0, "follow", "none|fork", struct recording, follow, const char *, \
		parse_follow_running, follow_running_words, \
		"children that are recorded too (default fork)"))
/* clang-format on */

#define OPTION(variable, ...) __VA_ARGS__,
#define VARIABLE(variable, ...) variable,

const struct option_spec recording_output_options[] = { OUTPUT_ROWS(OPTION) OPTION_LAST };
const struct option_spec recording_what_options[] = { WHAT_ROWS(OPTION) OPTION_LAST };
const struct option_spec recording_started_options[] = { STARTED_ROWS(OPTION) OPTION_LAST };
const struct option_spec recording_running_options[] = { RUNNING_ROWS(OPTION) OPTION_LAST };

/* STARTED has all that RUNNING has. */
static const struct {
	const struct option_spec *options;
	const char *const *variables;
} tables[] = {
	{ recording_output_options, (const char *const []){ OUTPUT_ROWS(VARIABLE) } },
	{ recording_what_options, (const char *const []){ WHAT_ROWS(VARIABLE) } },
	{ recording_started_options, (const char *const []){ STARTED_ROWS(VARIABLE) } },
};
enum { TABLES = sizeof tables / sizeof tables[0] };

/* What an option asks for, as the library reads it; NULL: nothing. */
static const char *value_of(const struct recording *recording, const struct option_spec *spec, char digits[24])
{
	const void *field = (const char *)recording + spec->offset;

	switch (spec->kind) {
	case OPTION_KIND_FLAG:
		/* "no-x" is the variable's "no". */
		return !*(const bool *)field ? NULL : strncmp(spec->name, "no-", 3) == 0 ? "no" : "yes";
	case OPTION_KIND_CHOICE:
		return *(const int *)field < 0 ? NULL : spec->choices[*(const int *)field];
	case OPTION_KIND_NUMBER:
		if (*(const uint64_t *)field == UINT64_MAX)
			return NULL;
		snprintf(digits, 24, "%llu", (unsigned long long)*(const uint64_t *)field);
		return digits;
	case OPTION_KIND_TEXT:
	case OPTION_KIND_CUSTOM:
		return *(const char *const *)field;
	case OPTION_KIND_FLAG_OFF:
	case OPTION_KIND_PLACE:
	case OPTION_KIND_COUNT:
	case OPTION_KIND_END:
		break;
	}
	return NULL;
}

bool recording_hand_over(const struct recording *recording,
	bool (*set)(void *to, const char *variable, const char *value, struct error *error), void *to, struct error *error)
{
	for (size_t i = 0; i < TABLES; i++)
		for (size_t j = 0; tables[i].options[j].kind != OPTION_KIND_END; j++) {
			char digits[24];
			const char *value = value_of(recording, &tables[i].options[j], digits);

			const char *variable = tables[i].variables[j];

			if (value && variable && strcmp(variable, "SCTMEM_OUT") != 0 && !set(to, variable, value, error))
				return false;
		}
	return true;
}

const char *recording_variable(const char *option)
{
	for (size_t i = 0; i < TABLES; i++)
		for (size_t j = 0; tables[i].options[j].kind != OPTION_KIND_END; j++)
			if (strcmp(tables[i].options[j].name, option) == 0)
				return tables[i].variables[j];
	return NULL;
}

static bool set_variable(void *to, const char *variable, const char *value, struct error *error)
{
	(void)to;
	(void)error;
	if (setenv(variable, value, 1) != 0)
		memory_exhausted();
	return true;
}

void recording_set_environment(const struct recording *recording, const char *output, const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	size_t size = strlen(library) + (before ? strlen(before) : 0) + 2;
	char *preload = memory_new(size, 1);
	struct error none;

	/* First: the hooks in front of those of others, which they then call. */
	snprintf(preload, size, "%s%s%s", library, before && *before ? ":" : "", before ? before : "");
	if (!set_variable(NULL, "LD_PRELOAD", preload, &none) || !set_variable(NULL, "SCTMEM_OUT", output, &none) ||
		!recording_hand_over(recording, set_variable, NULL, &none))
		memory_exhausted();
	free(preload);
}
