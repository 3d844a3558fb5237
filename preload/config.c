/* SPDX-License-Identifier: MIT */
/* The environment variables of the library.  Called once, from lifecycle.c, before anything is recorded. */
#include "config.h"

#include <string.h>

#include "banned.h"

#define CONFIG_DEFAULTS { \
	.out = "sctmem.%e.%p.bin", \
	.native = CONFIG_NATIVE_LEAF, \
	.follow_fork = true, \
	.start = true, \
	.program_glob = "*", \
	.follow_glob = "*", \
	.depth = 1024, \
	.sample_ms = 10, \
}

struct config config = CONFIG_DEFAULTS;
bool config_python_allocators = true;

void config_reset(void)
{
	static const struct config defaults = CONFIG_DEFAULTS;

	config = defaults;
	config_python_allocators = true;
}

bool config_glob_matches(const char *pattern, const char *name)
{
	const char *star = NULL, *retry = NULL;

	while (*name) {
		if (*pattern == '*') {
			star = pattern++;
			retry = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star + 1;
			name = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == 0;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strlen(from);

	if (length == 0 || length >= size)
		return;
	memcpy(to, from, length + 1);
}

static bool is_one_of(const char *value, const char *a, const char *b, const char *c)
{
	return strcmp(value, a) == 0 || strcmp(value, b) == 0 || strcmp(value, c) == 0;
}

static void read_bool(bool *out, const char *value)
{
	if (is_one_of(value, "yes", "1", "true") || strcmp(value, "on") == 0)
		*out = true;
	else if (is_one_of(value, "no", "0", "false") || strcmp(value, "off") == 0)
		*out = false;
}

static void read_number(uint32_t *out, const char *value, uint32_t min, uint32_t max)
{
	uint64_t number = 0;

	if (*value == 0)
		return;
	for (; *value; value++) {
		if (*value < '0' || *value > '9' || number > max)
			return;
		number = number * 10 + (uint64_t)(*value - '0');
	}
	if (number >= min && number <= max)
		*out = (uint32_t)number;
}

static void read_out(const char *value)
{
	copy_text(config.out, sizeof(config.out), value);
}

static void read_native(const char *value)
{
	if (strcmp(value, "full") == 0)
		config.native = CONFIG_NATIVE_FULL;
	else if (is_one_of(value, "no", "0", "none"))
		config.native = CONFIG_NATIVE_NO;
	else if (strcmp(value, "leaf") == 0)
		config.native = CONFIG_NATIVE_LEAF;
}

static void read_python_allocators(const char *value)
{
	read_bool(&config_python_allocators, value);
}

static void read_follow(const char *value)
{
	if (is_one_of(value, "none", "no", "0")) {
		config.follow_fork = config.follow_exec = false;
	} else if (strcmp(value, "fork") == 0) {
		config.follow_fork = true;
		config.follow_exec = false;
	} else if (strncmp(value, "exec", 4) == 0 && (value[4] == 0 || value[4] == ':')) {
		config.follow_fork = config.follow_exec = true;
		if (value[4] == ':')
			copy_text(config.follow_glob, sizeof(config.follow_glob), value + 5);
	}
}

static void read_program(const char *value)
{
	copy_text(config.program_glob, sizeof(config.program_glob), value);
}

static void read_depth(const char *value)
{
	read_number(&config.depth, value, 16, 16384);
}

static void read_sample_ms(const char *value)
{
	read_number(&config.sample_ms, value, 0, 60000);
}

/* "512KiB", "1.5G" is not: a number and what it is counted in, powers of 1024.  NULL: no size. */
static const char *read_size(uint64_t *out, const char *value)
{
	static const char units[] = "KMGT";
	uint64_t number = 0;
	const char *unit;

	if (*value < '0' || *value > '9')
		return NULL;
	for (; *value >= '0' && *value <= '9'; value++) {
		number = number * 10 + (uint64_t)(*value - '0');
		if (number >> 44)
			return NULL;
	}
	unit = *value ? strchr(units, *value & ~0x20) : NULL;
	if (unit && *unit) {
		number <<= 10 * (unit - units + 1);
		value++;
		if (*value == 'i')
			value++;
	}
	if (*value == 'B')
		value++;
	*out = number;
	return value;
}

static void read_max_size(const char *value)
{
	uint64_t bytes;
	const char *end;

	if (is_one_of(value, "no", "0", "off")) {
		config.max_size = 0;
		return;
	}
	end = read_size(&bytes, value);
	/* Less would hold the windows of a few threads, and nothing else. */
	if (end && *end == 0 && bytes >= CONFIG_MAX_SIZE_LEAST)
		config.max_size = bytes;
}

/* "90s", "30m", "12h", "1d": at least a second. */
static bool read_duration(uint64_t *out_ns, const char *value)
{
	static const struct {
		char unit;
		uint32_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	uint64_t number = 0;

	for (; *value >= '0' && *value <= '9' && number < 1000000; value++)
		number = number * 10 + (uint64_t)(*value - '0');
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (number == 0 || value[0] != units[i].unit || value[1] != 0)
			continue;
		*out_ns = number * units[i].seconds * 1000000000u;
		return true;
	}
	return false;
}

/* "30m" is a duration, "30M" a size. */
static void read_rotate(const char *value)
{
	uint64_t number;
	const char *end;

	if (is_one_of(value, "no", "0", "off")) {
		config.rotate_size = config.rotate_ns = 0;
		return;
	}
	if (read_duration(&number, value)) {
		config.rotate_ns = number;
		return;
	}
	end = read_size(&number, value);
	if (end && *end == 0 && number >= CONFIG_ROTATE_SIZE_LEAST)
		config.rotate_size = number;
}

static void read_keep(const char *value)
{
	uint32_t keep = 0;

	read_number(&keep, value, 2, 4096);
	if (keep || strcmp(value, "0") == 0)
		config.keep = keep;
}

/* "512KiB" or, for the same draws each time, "512KiB,seed=7". */
static void read_sample(const char *value)
{
	enum { MEAN_BITS_MAX = 40 };
	uint64_t bytes, seed = 0;
	const char *end;

	if (is_one_of(value, "no", "0", "off")) {
		config.sample_bytes = 0;
		return;
	}
	/* "no,seed=7" is for captures that may become a sample: SCTMEM_MAX_SIZE. */
	end = strncmp(value, "no,", 3) == 0 ? value + 2 : read_size(&bytes, value);
	if (value[0] == 'n')
		bytes = 0;
	else if (!end || bytes == 0 || bytes >> MEAN_BITS_MAX)
		return;
	if (strncmp(end, ",seed=", 6) == 0) {
		for (end += 6; *end >= '0' && *end <= '9' && seed >> 59 == 0; end++)
			seed = seed * 10 + (uint64_t)(*end - '0');
	}
	if (*end != 0)
		return;
	config.sample_bytes = bytes;
	config.sample_seed = seed;
}

static void read_aggregate(const char *value)
{
	read_bool(&config.aggregate, value);
}

static void read_backend(const char *value)
{
	if (strcmp(value, "jemalloc") == 0)
		config.jemalloc = true;
	else if (strcmp(value, "libc") == 0)
		config.jemalloc = false;
}

static void read_start(const char *value)
{
	read_bool(&config.start, value);
}

static void read_force(const char *value)
{
	read_bool(&config.force, value);
}

void config_read(char *const *environment)
{
	static const struct {
		const char *name;
		void (*read)(const char *value);
	} variables[] = {
#define X(text, id, fallback, explanation) { text, read_##id },
		CONFIG_VARIABLES(X)
#undef X
	};

	for (; environment && *environment; environment++) {
		if (strncmp(*environment, "SCTMEM_", 7) != 0)
			continue;
		for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
			size_t length = strlen(variables[i].name);

			if (strncmp(*environment, variables[i].name, length) == 0 && (*environment)[length] == '=')
				variables[i].read(*environment + length + 1);
		}
	}
}
