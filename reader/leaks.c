/* SPDX-License-Identifier: MIT */
/*
 * See leaks.h.
 */
#include "leaks.h"

#include <string.h>

#include "json.h"
#include "memory.h"
#include "view.h"

static const struct { const char *word, *meaning; } keepers[] = {
	[KEEPER_PROGRAM] = { "program", "allocated by the program" },
	[KEEPER_IMPORT] = { "import",
		"kept by imports: modules, types, functions and constants of the standard library and packages" },
	[KEEPER_START] = { "interpreter",
		"kept by the interpreter: its start-up, and what it allocated outside any Python code" },
	[KEEPER_INTERNED] = { "interned", "kept by the table of interned strings" },
	[KEEPER_CODE] = { "code", "code objects that the program compiled" },
	[KEEPER_ARENA] = { "arena", "arenas of Python's allocator, whose blocks were not recorded" },
	[KEEPER_SUPPRESSED] = { "suppressed", "suppressed by the file of --suppressions" },
};

const char *keeper_word(enum keeper keeper)
{
	return keepers[keeper].word;
}

const char *keeper_meaning(enum keeper keeper)
{
	return keepers[keeper].meaning;
}

/* What the frames from the root to a node say. */
enum path_flag {
	PATH_PYTHON = 1 << 0,         /* a Python frame */
	PATH_INTERPRETER = 1 << 1,    /* a native frame of the runtime */
	PATH_IMPORT = 1 << 2,         /* an import is going on, and since then only library code: the user's own module
	                                 bodies are his program, not the interpreter's */
	PATH_USER = 1 << 3,           /* a Python frame that is neither the library's nor the import system's */
	PATH_SITE = 1 << 4,           /* the start-up's site module, before any user code: .pth files run under it */
	PATH_INTERNED = 1 << 5,       /* the runtime interns a string */
	PATH_CODE = 1 << 6,           /* the runtime makes a code object */
};

/*
 * Entries of the runtime whose blocks live as long as it does, or as the code does.  Free lists have none: what they
 * keep was allocated by whoever needed the object first.
 */
static const struct { const char *function; uint8_t path; } runtime_entries[] = {
	{ "PyUnicode_InternInPlace", PATH_INTERNED }, { "PyUnicode_InternFromString", PATH_INTERNED },
	{ "_PyUnicode_InternMortal", PATH_INTERNED }, { "_PyUnicode_InternImmortal", PATH_INTERNED },
	{ "intern_common", PATH_INTERNED },
	{ "_PyCode_New", PATH_CODE }, { "PyCode_New", PATH_CODE }, { "PyCode_NewWithPosOnlyArgs", PATH_CODE },
	{ "PyUnstable_Code_New", PATH_CODE }, { "PyUnstable_Code_NewWithPosOnlyArgs", PATH_CODE },
	{ "_PyAST_Compile", PATH_CODE }, { "PyAST_CompileObject", PATH_CODE },
};

static uint8_t path_of_entry(const char *function)
{
	for (size_t i = 0; i < sizeof(runtime_entries) / sizeof(*runtime_entries); i++)
		if (strcmp(function, runtime_entries[i].function) == 0)
			return runtime_entries[i].path;
	return 0;
}

static bool is_site(const char *file)
{
	size_t size = strlen(file);

	return strcmp(file, "<frozen site>") == 0 || (size > 8 && strcmp(file + size - 8, "/site.py") == 0);
}

static uint8_t *walk_paths(const struct profile *profile)
{
	uint8_t *paths = memory_new(profile->node_count, 1);

	for (uint32_t i = 1; i < profile->node_count; i++) {
		const struct frame *frame = &profile->frames[profile->nodes[i].frame];
		uint8_t path = paths[profile->nodes[i].parent];

		if (frame->kind == FRAME_PYTHON) {
			path |= PATH_PYTHON;
			if (!(path & PATH_USER) && is_site(frame->file))
				path |= PATH_SITE;
			if (frame->flags & FRAME_IMPORT || strcmp(frame->file, "<frozen zipimport>") == 0)
				path |= PATH_IMPORT;
			else if (!(frame->flags & FRAME_LIBRARY))
				path = (uint8_t)((path & ~PATH_IMPORT) | PATH_USER);
		} else if (frame->flags & FRAME_INTERPRETER) {
			path |= (uint8_t)(PATH_INTERPRETER | path_of_entry(frame->function));
		}
		paths[i] = path;
	}
	return paths;
}

static enum keeper keeper_of(uint8_t path, const struct site *site)
{
	if (site->domain == DOMAIN_ARENA)
		return KEEPER_ARENA;
	if (path & PATH_SITE || (!(path & PATH_PYTHON) && (path & PATH_INTERPRETER)))
		return KEEPER_START;
	if (path & PATH_IMPORT)
		return KEEPER_IMPORT;
	if (path & PATH_INTERNED)
		return KEEPER_INTERNED;
	if (path & PATH_CODE)
		return KEEPER_CODE;
	return KEEPER_PROGRAM;
}

static int compare_leaks(const void *a, const void *b)
{
	const struct leak *x = a, *y = b;

	if (x->held.bytes != y->held.bytes)
		return x->held.bytes > y->held.bytes ? -1 : 1;
	if (x->held.count != y->held.count)
		return x->held.count > y->held.count ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

static struct held what_lives(const struct profile *profile, const struct site *site)
{
	return (struct held){ .bytes = site->cost.live_bytes, .count = site->cost.live_count,
		.spread = site->spread ? profile->spreads[site->spread].live : (struct spread){ 0 } };
}

static void held_add(struct held *sum, const struct held *held)
{
	sum->bytes += held->bytes;
	sum->count += held->count;
	spread_add(&sum->spread, &held->spread);
}

struct interval held_bytes_interval(const struct profile *profile, const struct held *held)
{
	return estimate_bytes(held->bytes, &held->spread, profile->sample_mean_live_bytes);
}

struct interval held_count_interval(const struct profile *profile, const struct held *held)
{
	return estimate_count(held->count, &held->spread, profile->sample_mean_live_bytes);
}

void leak_rules_init(struct leak_rules *rules, const struct profile *profile, struct suppressions *suppressions)
{
	*rules = (struct leak_rules){ .paths = walk_paths(profile), .suppressions = suppressions };
	if (suppressions->count)
		rules->suppressed = suppressions_of_nodes(suppressions, profile);
}

void leak_rules_finish(struct leak_rules *rules)
{
	free(rules->paths);
	free(rules->suppressed);
	*rules = (struct leak_rules){ 0 };
}

static uint16_t rule_of(const struct leak_rules *rules, const struct site *site)
{
	return rules->suppressed ? rules->suppressed[site->node] : SUPPRESSION_NONE;
}

enum keeper leak_rules_keeper(const struct leak_rules *rules, const struct site *site)
{
	return rule_of(rules, site) == SUPPRESSION_NONE ? keeper_of(rules->paths[site->node], site) : KEEPER_SUPPRESSED;
}

enum keeper leak_rules_book(const struct leak_rules *rules, const struct site *site)
{
	uint16_t rule = rule_of(rules, site);

	if (rule == SUPPRESSION_NONE)
		return leak_rules_keeper(rules, site);
	rules->suppressions->rules[rule].bytes += site->cost.live_bytes;
	rules->suppressions->rules[rule].count += site->cost.live_count;
	return KEEPER_SUPPRESSED;
}

static int compare_stacks(const void *a, const void *b)
{
	const struct leak *x = a, *y = b;

	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	return (x->keeper > y->keeper) - (x->keeper < y->keeper);
}

/* One entry for each stack in each group. */
static void join_stacks(struct leaks *leaks)
{
	size_t kept = 0;

	if (leaks->count > 1)
		qsort(leaks->list, leaks->count, sizeof *leaks->list, compare_stacks);
	for (size_t i = 0; i < leaks->count; i++) {
		if (kept && compare_stacks(&leaks->list[kept - 1], &leaks->list[i]) == 0) {
			held_add(&leaks->list[kept - 1].held, &leaks->list[i].held);
		} else {
			leaks->list[kept++] = leaks->list[i];
		}
	}
	leaks->count = kept;
}

void leaks_init(struct leaks *leaks, const struct calltree *tree, const struct leak_rules *rules, size_t site_first,
	size_t site_count)
{
	const struct profile *profile = tree->profile;

	*leaks = (struct leaks){ 0 };
	for (size_t i = site_first; i < site_first + site_count; i++) {
		const struct site *site = &profile->sites[i];

		if (!profile_counts(profile, site) || site->cost.live_count == 0)
			continue;

		enum keeper keeper = leak_rules_book(rules, site);

		const struct held held = what_lives(profile, site);

		held_add(&leaks->sums[keeper], &held);
		held_add(&leaks->all, &held);
		leaks->list = memory_grow(leaks->list, &leaks->capacity, leaks->count + 1, sizeof *leaks->list);
		leaks->list[leaks->count++] = (struct leak){ .node = tree->node_of[site->node], .keeper = keeper,
			.held = held };
	}
	join_stacks(leaks);
	if (leaks->count > 1)
		qsort(leaks->list, leaks->count, sizeof *leaks->list, compare_leaks);
}

void leaks_finish(struct leaks *leaks)
{
	free(leaks->list);
	*leaks = (struct leaks){ 0 };
}

void leaks_write_held(struct json *json, const struct profile *profile, const struct held *held)
{
	json_number(json, "bytes", held->bytes);
	json_number(json, "count", held->count);
	if (profile->sample_mean_bytes == 0)
		return;
	json_object(json, "interval_95");
	view_write_interval(json, "bytes", held_bytes_interval(profile, held));
	view_write_interval(json, "count", held_count_interval(profile, held));
	json_object_end(json);
}
