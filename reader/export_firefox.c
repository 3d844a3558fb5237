/* SPDX-License-Identifier: MIT */
/*
 * The Firefox Profiler's "processed" JSON, for profiler.firefox.com: the tree of stacks once, a row for each metric
 * ("thread" there) whose native allocations are the stacks' bytes, counters of counted and resident memory over time,
 * and the program's marks.
 *
 * The format's version is a fixed one: the viewer upgrades files of older versions itself.  Tables are objects of
 * columns of equal length; texts are numbers of shared.stringArray, which comes last.
 *
 *     threads[].nativeAllocations   time, weight, stack      the bytes of a metric, all at one moment
 *     shared.stackTable             frame, prefix            our tree's nodes
 *     shared.frameTable             func, line, ...          our frames
 *     shared.funcTable              name, source, resource   functions, files, modules
 *     counters[].samples            time, count              count: the difference to the sample before
 */
#include <inttypes.h>

#include "export.h"
#include "json.h"
#include "rank.h"
#include "table.h"

enum { PROCESSED_VERSION = 61, GECKO_VERSION = 33, RESOURCE_LIBRARY = 1, PHASE_INSTANT = 0 };
enum { CATEGORY_OTHER, CATEGORY_PYTHON, CATEGORY_NATIVE };

struct firefox {
	const struct export *export;
	struct json json;
	struct rank functions;
	struct strings strings, files, modules;   /* files and modules: numbered from 1, rows from 0 */
	struct error *error;
	bool failed;
};

static uint32_t number_of(struct firefox *firefox, struct strings *strings, const char *text)
{
	uint32_t id = 0;

	if (!firefox->failed && !strings_add(strings, text, &id, firefox->error))
		firefox->failed = true;
	return id;
}

/* A column of `count` rows, of an expression in the row number i. */
#define COLUMN(firefox, name, count, expression) COLUMN_OF(firefox, name, count, json_number, expression)
#define COLUMN_OF(firefox, name, count, write, value) \
	do { \
		json_array(&(firefox)->json, (name)); \
		for (size_t i = 0; i < (count); i++) \
			write(&(firefox)->json, NULL, (value)); \
		json_array_end(&(firefox)->json); \
	} while (0)

static void column_null(struct json *json, const char *name, size_t count)
{
	json_array(json, name);
	for (size_t i = 0; i < count; i++)
		json_null(json, NULL);
	json_array_end(json);
}

/* 0 stands for none, and rows are counted from 1. */
static void number_or_null(struct json *json, const char *key, uint64_t value)
{
	if (value)
		json_number(json, key, value);
	else
		json_null(json, key);
}

static void row_or_null(struct json *json, const char *key, uint64_t value)
{
	if (value)
		json_number(json, key, value - 1);
	else
		json_null(json, key);
}

static void row_or_minus_one(struct json *json, const char *key, uint64_t value)
{
	if (value)
		json_number(json, key, value - 1);
	else
		json_decimal(json, key, -1, 0);
}

static void time_ms(struct json *json, const char *key, uint64_t time_ns)
{
	json_decimal(json, key, (double)time_ns / 1e6, 6);
}

static void write_categories(struct json *json)
{
	static const char *const categories[][2] = { [CATEGORY_OTHER] = { "Other", "grey" },
		[CATEGORY_PYTHON] = { "Python", "yellow" }, [CATEGORY_NATIVE] = { "Native", "blue" } };

	json_array(json, "categories");
	for (size_t i = 0; i < sizeof(categories) / sizeof(*categories); i++) {
		json_object(json, NULL);
		json_text(json, "name", categories[i][0]);
		json_text(json, "color", categories[i][1]);
		json_array(json, "subcategories");
		json_text(json, NULL, "Other");
		json_array_end(json);
		json_object_end(json);
	}
	json_array_end(json);
}

static const enum metric shown_metrics[] = { METRIC_PEAK, METRIC_LIVE, METRIC_TOTAL, METRIC_TEMPORARY };
enum { SHOWN_METRICS = sizeof(shown_metrics) / sizeof(*shown_metrics) };

static void write_meta(struct firefox *firefox)
{
	const struct export *export = firefox->export;
	const struct profile_capture *first = export_first_capture(export);
	const enum metric wanted = export->metric == METRIC_LEAKED ? METRIC_LIVE : export->metric;
	struct json *json = &firefox->json;

	json_object(json, "meta");
	json_number(json, "interval", 1);
	time_ms(json, "startTime", first ? first->start_realtime_ns : 0);
	time_ms(json, "profilingStartTime", 0);
	time_ms(json, "profilingEndTime", export->profile->duration_ns);
	json_number(json, "processType", 0);
	json_number(json, "stackwalk", 0);
	json_number(json, "version", GECKO_VERSION);
	json_number(json, "preprocessedProfileVersion", PROCESSED_VERSION);
	json_text(json, "product", *export->command ? export->command : export->program);
	json_text(json, "importedFrom", "sctmem " SCTMEM_VERSION);
	json_bool(json, "symbolicated", true);
	json_bool(json, "usesOnlyOneStackType", true);
	json_bool(json, "sourceCodeIsNotOnSearchfox", true);
	json_bool(json, "keepProfileThreadOrder", true);
	json_array(json, "initialSelectedThreads");
	for (unsigned i = 0; i < SHOWN_METRICS; i++) {
		if (shown_metrics[i] == wanted)
			json_number(json, NULL, i);
	}
	json_array_end(json);
	json_object(json, "extensions");
	json_number(json, "length", 0);
	column_null(json, "id", 0);
	column_null(json, "name", 0);
	column_null(json, "baseURL", 0);
	json_object_end(json);
	write_categories(json);
	json_array(json, "markerSchema");
	json_array_end(json);
	json_object_end(json);
}

/* Counted memory, or resident memory, as differences between the points of the time line. */
static void write_counter(struct firefox *firefox, const char *name, const char *description, bool resident)
{
	const struct export *export = firefox->export;
	const struct timeline_point *points = export->profile->timeline;
	const size_t count = export->profile->timeline_count;
	const struct profile_capture *first = export_first_capture(export);
	struct json *json = &firefox->json;
	uint64_t before = 0;

	json_object(json, NULL);
	json_text(json, "name", name);
	json_text(json, "category", "Memory");
	json_text(json, "description", description);
	json_format(json, "pid", "%" PRIu32, first ? first->pid : 0);
	json_number(json, "mainThreadIndex", 0);
	json_object(json, "samples");
	COLUMN_OF(firefox, "time", count, time_ms, points[i].time_ns);
	json_array(json, "count");
	for (size_t i = 0; i < count; i++) {
		const uint64_t now = resident ? points[i].resident_bytes : points[i].live_bytes;

		json_decimal(json, NULL, (double)(int64_t)(now - before), 0);
		before = now;
	}
	json_array_end(json);
	if (!resident)
		COLUMN(firefox, "number", count, points[i].allocations);
	json_number(json, "length", count);
	json_object_end(json);
	json_object_end(json);
}

static void write_markers(struct firefox *firefox, size_t count)
{
	const struct profile *profile = firefox->export->profile;
	struct json *json = &firefox->json;

	json_object(json, "markers");
	column_null(json, "data", count);
	COLUMN(firefox, "name", count, number_of(firefox, &firefox->strings, firefox->export->mark_names[i]));
	COLUMN_OF(firefox, "startTime", count, time_ms, profile->marks[i].time_ns);
	column_null(json, "endTime", count);
	COLUMN(firefox, "phase", count, (uint64_t)PHASE_INSTANT);
	COLUMN(firefox, "category", count, (uint64_t)CATEGORY_OTHER);
	json_number(json, "length", count);
	json_object_end(json);
}

static void write_allocations(struct firefox *firefox, enum metric metric)
{
	const struct export *export = firefox->export;
	const struct calltree *tree = export->tree;
	const uint64_t time_ns = metric == METRIC_PEAK ? export->profile->peak_time_ns :
		metric == METRIC_LIVE ? export->profile->at_time_ns : 0;
	struct json *json = &firefox->json;
	size_t count = 0;

	json_object(json, "nativeAllocations");
	json_array(json, "weight");
	for (uint32_t i = 0; i < tree->count; i++) {
		if (metric_bytes(&tree->own[i], metric)) {
			json_number(json, NULL, metric_bytes(&tree->own[i], metric));
			count++;
		}
	}
	json_array_end(json);
	json_array(json, "stack");
	for (uint32_t i = 0; i < tree->count; i++) {
		if (metric_bytes(&tree->own[i], metric))
			json_number(json, NULL, i);
	}
	json_array_end(json);
	COLUMN_OF(firefox, "time", count, time_ms, time_ns);
	json_text(json, "weightType", "bytes");
	json_number(json, "length", count);
	json_object_end(json);
}

static void write_thread(struct firefox *firefox, unsigned number)
{
	const struct export *export = firefox->export;
	const struct profile_capture *first = export_first_capture(export);
	struct json *json = &firefox->json;

	json_object(json, NULL);
	json_text(json, "processType", "default");
	json_number(json, "processStartupTime", 0);
	time_ms(json, "processShutdownTime", export->profile->duration_ns);
	json_number(json, "registerTime", 0);
	json_null(json, "unregisterTime");
	json_array(json, "pausedRanges");
	json_array_end(json);
	json_text(json, "name", metric_title(shown_metrics[number], export->view));
	json_bool(json, "isMainThread", number == 0);
	json_text(json, "processName", export->program);
	json_format(json, "pid", "%" PRIu32, first ? first->pid : 0);
	json_number(json, "tid", number);
	json_object(json, "samples");
	column_null(json, "stack", 0);
	column_null(json, "time", 0);
	column_null(json, "eventDelay", 0);
	json_null(json, "weight");
	json_text(json, "weightType", "samples");
	json_number(json, "length", 0);
	json_object_end(json);
	write_markers(firefox, number == 0 ? export->profile->mark_count : 0);
	write_allocations(firefox, shown_metrics[number]);
	json_object_end(json);
}

static uint64_t category_of(const struct frame *frame)
{
	return frame->kind == FRAME_PYTHON ? CATEGORY_PYTHON : frame->kind == FRAME_NATIVE ? CATEGORY_NATIVE : CATEGORY_OTHER;
}

static void write_frames(struct firefox *firefox)
{
	const struct frame *frames = firefox->export->profile->frames;
	const size_t count = firefox->export->profile->frame_count;
	struct json *json = &firefox->json;

	json_object(json, "frameTable");
	COLUMN_OF(firefox, "address", count, row_or_minus_one, (uint64_t)0);
	COLUMN(firefox, "inlineDepth", count, (uint64_t)0);
	COLUMN(firefox, "category", count, category_of(&frames[i]));
	COLUMN(firefox, "subcategory", count, (uint64_t)0);
	COLUMN(firefox, "func", count, firefox->functions.key_of[i]);
	column_null(json, "nativeSymbol", count);
	column_null(json, "innerWindowID", count);
	COLUMN_OF(firefox, "line", count, number_or_null, frames[i].line);
	column_null(json, "column", count);
	json_number(json, "length", count);
	json_object_end(json);
}

static void write_functions(struct firefox *firefox)
{
	const struct export_frame *frames = firefox->export->frames;
	const struct rank_row *rows = firefox->functions.rows;
	const size_t count = firefox->functions.count;
	struct json *json = &firefox->json;

	json_object(json, "funcTable");
	COLUMN(firefox, "name", count, number_of(firefox, &firefox->strings, frames[rows[i].frame].function));
	COLUMN_OF(firefox, "isJS", count, json_bool, false);
	COLUMN_OF(firefox, "relevantForJS", count, json_bool, false);
	COLUMN_OF(firefox, "resource", count, row_or_minus_one,
		number_of(firefox, &firefox->modules, frames[rows[i].frame].module));
	COLUMN_OF(firefox, "source", count, row_or_null, number_of(firefox, &firefox->files, frames[rows[i].frame].file));
	column_null(json, "lineNumber", count);
	column_null(json, "columnNumber", count);
	json_number(json, "length", count);
	json_object_end(json);
}

/* After write_functions, which numbers files and modules. */
static void write_places(struct firefox *firefox)
{
	const size_t files = firefox->files.count - 1, modules = firefox->modules.count - 1;
	struct json *json = &firefox->json;

	json_object(json, "resourceTable");
	column_null(json, "lib", modules);
	COLUMN(firefox, "name", modules, number_of(firefox, &firefox->strings, firefox->modules.texts[i + 1]));
	column_null(json, "host", modules);
	COLUMN(firefox, "type", modules, (uint64_t)RESOURCE_LIBRARY);
	json_number(json, "length", modules);
	json_object_end(json);

	json_object(json, "sources");
	column_null(json, "id", files);
	COLUMN(firefox, "filename", files, number_of(firefox, &firefox->strings, firefox->files.texts[i + 1]));
	COLUMN(firefox, "startLine", files, (uint64_t)1);
	COLUMN(firefox, "startColumn", files, (uint64_t)1);
	column_null(json, "sourceMapURL", files);
	json_number(json, "length", files);
	json_object_end(json);
}

static void write_shared(struct firefox *firefox)
{
	const struct calltree *tree = firefox->export->tree;
	struct json *json = &firefox->json;

	json_object(json, "shared");
	json_object(json, "stackTable");
	COLUMN(firefox, "frame", tree->count, tree->nodes[i].frame);
	COLUMN_OF(firefox, "prefix", tree->count, row_or_null, i ? tree->nodes[i].parent + (uint64_t)1 : 0);
	json_number(json, "length", tree->count);
	json_object_end(json);
	write_frames(firefox);
	write_functions(firefox);
	write_places(firefox);
	json_object(json, "nativeSymbols");
	column_null(json, "libIndex", 0);
	column_null(json, "address", 0);
	column_null(json, "name", 0);
	column_null(json, "functionSize", 0);
	json_number(json, "length", 0);
	json_object_end(json);
	COLUMN_OF(firefox, "stringArray", firefox->strings.count, json_text, firefox->strings.texts[i]);
	json_object_end(json);
}

static bool firefox_write(const struct export *export, struct error *error)
{
	struct firefox firefox = { .export = export, .json = json_begin(export->file, true), .error = error };
	struct json *json = &firefox.json;

	if (!strings_init(&firefox.strings, error) || !strings_init(&firefox.files, error) ||
		!strings_init(&firefox.modules, error))
		firefox.failed = true;
	rank_init(&firefox.functions, export->tree, RANK_FUNCTION);
	if (!firefox.failed) {
		json_object(json, NULL);
		write_meta(&firefox);
		json_array(json, "libs");
		json_array_end(json);
		json_array(json, "counters");
		if (!export_is_filtered(export)) {
			write_counter(&firefox, "Counted memory", "Live bytes of the memory that sctmem counts", false);
			write_counter(&firefox, "Resident memory", "As the system counts; its newest sample", true);
		}
		json_array_end(json);
		json_array(json, "threads");
		for (unsigned i = 0; i < SHOWN_METRICS; i++)
			write_thread(&firefox, i);
		json_array_end(json);
		write_shared(&firefox);
		json_object_end(json);
	}
	rank_finish(&firefox.functions);
	strings_finish(&firefox.strings);
	strings_finish(&firefox.files);
	strings_finish(&firefox.modules);
	return !firefox.failed;
}

const struct export_format export_firefox = {
	.name = "firefox",
	.ending = ".firefox.json",
	.summary = "profiler.firefox.com; all metrics as its threads, memory over time, marks",
	.flags = EXPORT_FIRST_METRIC,
	.timeline_points = 1000,
	.write = firefox_write,
};
