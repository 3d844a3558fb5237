/* SPDX-License-Identifier: MIT */
/*
 * pprof: the gzipped message perftools.profiles.Profile, which `go tool pprof`, Pyroscope, Parca, Grafana, Perfetto's
 * page and speedscope open.
 *
 *     sample types     alloc_objects alloc_space inuse_objects inuse_space: the names that Go's viewer knows, then
 *                      peak_* and temporary_*
 *     sample           a stack of one thread, domain and allocator, which are labels
 *     location         one a frame, also of inlined ones: some viewers show the outermost of a location only
 *     mapping          one a module; the first is the program
 */
#include "export.h"

#include "formats/events.h"
#include "gzip.h"
#include "memory.h"
#include "protobuf.h"
#include "table.h"

enum profile_field {
	PROFILE_SAMPLE_TYPE = 1, PROFILE_SAMPLE = 2, PROFILE_MAPPING = 3, PROFILE_LOCATION = 4, PROFILE_FUNCTION = 5,
	PROFILE_STRING_TABLE = 6, PROFILE_TIME_NANOS = 9, PROFILE_DURATION_NANOS = 10, PROFILE_PERIOD_TYPE = 11,
	PROFILE_PERIOD = 12, PROFILE_COMMENT = 13, PROFILE_DEFAULT_SAMPLE_TYPE = 14,
};
enum { VALUE_TYPE_TYPE = 1, VALUE_TYPE_UNIT = 2 };
enum { SAMPLE_LOCATION_ID = 1, SAMPLE_VALUE = 2, SAMPLE_LABEL = 3 };
enum { LABEL_KEY = 1, LABEL_STR = 2, LABEL_NUM = 3 };
enum { MAPPING_ID = 1, MAPPING_FILENAME = 5, MAPPING_HAS_FUNCTIONS = 7, MAPPING_HAS_INLINE_FRAMES = 10 };
enum { LOCATION_ID = 1, LOCATION_MAPPING_ID = 2, LOCATION_LINE = 4 };
enum { LINE_FUNCTION_ID = 1, LINE_LINE = 2 };
enum { FUNCTION_ID = 1, FUNCTION_NAME = 2, FUNCTION_SYSTEM_NAME = 3, FUNCTION_FILENAME = 4 };

struct pprof {
	const struct export *export;
	FILE *file;                   /* compresses */
	struct strings strings;
	struct map64 functions;       /* name and file -> id */
	struct map64 mappings;        /* name of the module -> id */
	struct protobuf message, inner, innermost;
	uint64_t *ids;                /* of one stack's locations */
	struct error *error;
	bool failed;
};

static uint64_t text_id(struct pprof *pprof, const char *text)
{
	uint32_t id = 0;

	if (!pprof->failed && !strings_add(&pprof->strings, text, &id, pprof->error))
		pprof->failed = true;
	return id;
}

static void write_value_type(struct pprof *pprof, unsigned field, const char *type, const char *unit)
{
	protobuf_number(&pprof->message, VALUE_TYPE_TYPE, text_id(pprof, type));
	protobuf_number(&pprof->message, VALUE_TYPE_UNIT, text_id(pprof, unit));
	protobuf_write(pprof->file, field, &pprof->message);
}

static void write_field_number(struct pprof *pprof, unsigned field, uint64_t value)
{
	protobuf_number(&pprof->message, field, value);
	fwrite(pprof->message.bytes, 1, pprof->message.used, pprof->file);
	pprof->message.used = 0;
}

static void write_head(struct pprof *pprof)
{
	static const char *const names[] = { "alloc", "inuse", "peak", "temporary" };
	static const char *const shown[] = { [METRIC_PEAK] = "peak_space", [METRIC_LEAKED] = "inuse_space",
		[METRIC_TOTAL] = "alloc_space", [METRIC_TEMPORARY] = "temporary_space", [METRIC_LIVE] = "inuse_space" };
	const struct export *export = pprof->export;
	const struct profile_capture *first = export_first_capture(export);
	char type[32];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(type, sizeof(type), "%s_objects", names[i]);
		write_value_type(pprof, PROFILE_SAMPLE_TYPE, type, "count");
		snprintf(type, sizeof(type), "%s_space", names[i]);
		write_value_type(pprof, PROFILE_SAMPLE_TYPE, type, "bytes");
	}
	/* Every allocation is recorded: a sample a byte. */
	write_value_type(pprof, PROFILE_PERIOD_TYPE, "space", "bytes");
	write_field_number(pprof, PROFILE_PERIOD, 1);
	write_field_number(pprof, PROFILE_TIME_NANOS, first ? first->start_realtime_ns : 0);
	write_field_number(pprof, PROFILE_DURATION_NANOS, export->profile->duration_ns);
	write_field_number(pprof, PROFILE_DEFAULT_SAMPLE_TYPE, text_id(pprof, shown[export->metric]));
	if (*export->command)
		write_field_number(pprof, PROFILE_COMMENT, text_id(pprof, export->command));
	for (const char *const *line = export->warnings; *line; line++)
		write_field_number(pprof, PROFILE_COMMENT, text_id(pprof, *line));
}

/* The mapping of this name, written when it is new. */
static uint64_t find_mapping(struct pprof *pprof, const char *name)
{
	const uint64_t text = text_id(pprof, name);
	uint32_t id = map64_get(&pprof->mappings, text);

	if (id != MAP64_NONE || pprof->failed)
		return id;
	id = (uint32_t)pprof->mappings.count + 1;
	if (!map64_put(&pprof->mappings, text, id, pprof->error)) {
		pprof->failed = true;
		return 0;
	}
	protobuf_number(&pprof->message, MAPPING_ID, id);
	protobuf_number(&pprof->message, MAPPING_FILENAME, text);
	/* Nothing is left to symbolize: the viewer must not go looking for binaries. */
	for (unsigned field = MAPPING_HAS_FUNCTIONS; field <= MAPPING_HAS_INLINE_FRAMES; field++)
		protobuf_number(&pprof->message, field, 1);
	protobuf_write(pprof->file, PROFILE_MAPPING, &pprof->message);
	return id;
}

static uint64_t find_function(struct pprof *pprof, const struct export_frame *frame)
{
	const uint64_t name = text_id(pprof, frame->function), file = text_id(pprof, frame->file);
	uint32_t id = map64_get(&pprof->functions, name << 32 | file);

	if (id != MAP64_NONE || pprof->failed)
		return id;
	id = (uint32_t)pprof->functions.count + 1;
	if (!map64_put(&pprof->functions, name << 32 | file, id, pprof->error)) {
		pprof->failed = true;
		return 0;
	}
	protobuf_number(&pprof->message, FUNCTION_ID, id);
	protobuf_number(&pprof->message, FUNCTION_NAME, name);
	protobuf_number(&pprof->message, FUNCTION_SYSTEM_NAME, name);
	protobuf_number_unless_zero(&pprof->message, FUNCTION_FILENAME, file);
	protobuf_write(pprof->file, PROFILE_FUNCTION, &pprof->message);
	return id;
}

/* A location's id is its frame's index plus one. */
static void write_locations(struct pprof *pprof)
{
	const struct export *export = pprof->export;

	find_mapping(pprof, export->program);
	for (uint32_t i = 0; i < export->profile->frame_count && !pprof->failed; i++) {
		const struct export_frame *frame = &export->frames[i];
		const uint64_t mapping = *frame->module ? find_mapping(pprof, frame->module) : 0;
		const uint64_t function = find_function(pprof, frame);

		protobuf_number(&pprof->message, LOCATION_ID, i + (uint64_t)1);
		protobuf_number_unless_zero(&pprof->message, LOCATION_MAPPING_ID, mapping);
		protobuf_number(&pprof->inner, LINE_FUNCTION_ID, function);
		protobuf_number_unless_zero(&pprof->inner, LINE_LINE, export->profile->frames[i].line);
		protobuf_message(&pprof->message, LOCATION_LINE, &pprof->inner);
		protobuf_write(pprof->file, PROFILE_LOCATION, &pprof->message);
	}
}

static void put_text_label(struct pprof *pprof, const char *key, const char *text)
{
	if (!*text)
		return;
	protobuf_number(&pprof->inner, LABEL_KEY, text_id(pprof, key));
	protobuf_number(&pprof->inner, LABEL_STR, text_id(pprof, text));
	protobuf_message(&pprof->message, SAMPLE_LABEL, &pprof->inner);
}

static void put_number_label(struct pprof *pprof, const char *key, uint64_t number)
{
	protobuf_number(&pprof->inner, LABEL_KEY, text_id(pprof, key));
	protobuf_number(&pprof->inner, LABEL_NUM, number);
	protobuf_message(&pprof->message, SAMPLE_LABEL, &pprof->inner);
}

static void write_sample(struct pprof *pprof, const struct site *site)
{
	const struct export *export = pprof->export;
	const struct profile *profile = export->profile;
	const struct cost *cost = &site->cost;
	const uint64_t values[] = { cost->total_count, cost->total_bytes, cost->live_count, cost->live_bytes,
		cost->peak_count, cost->peak_bytes, cost->temporary_count, cost->temporary_bytes };
	const uint32_t depth = export_stack(export, export->tree->node_of[site->node]);
	const char *allocator = events_kind_name(site->allocator);

	for (uint32_t i = 0; i < depth; i++)
		pprof->ids[i] = export->stack[i] + (uint64_t)1;
	protobuf_packed(&pprof->message, SAMPLE_LOCATION_ID, pprof->ids, depth);
	protobuf_packed(&pprof->message, SAMPLE_VALUE, values, sizeof(values) / sizeof(*values));
	put_text_label(pprof, "domain", domain_name((enum domain)site->domain));
	put_text_label(pprof, "allocator", allocator ? allocator : "");
	if (site->thread < profile->thread_count) {
		const struct profile_thread *thread = &profile->threads[site->thread];

		put_text_label(pprof, "thread", export->thread_names[site->thread]);
		put_number_label(pprof, "tid", thread->tid);
		put_number_label(pprof, "pid", profile->captures[thread->capture].pid);
	}
	protobuf_write(pprof->file, PROFILE_SAMPLE, &pprof->message);
}

static void write_strings(struct pprof *pprof)
{
	for (uint32_t i = 0; i < pprof->strings.count; i++) {
		protobuf_text(&pprof->message, PROFILE_STRING_TABLE, pprof->strings.texts[i]);
		fwrite(pprof->message.bytes, 1, pprof->message.used, pprof->file);
		pprof->message.used = 0;
	}
}

static bool pprof_write(const struct export *export, struct error *error)
{
	const struct profile *profile = export->profile;
	struct pprof pprof = { .export = export, .error = error };
	bool done;

	pprof.file = gzip_open(export->file);
	if (!pprof.file)
		memory_exhausted();
	pprof.ids = memory_new(profile->node_count + (size_t)1, sizeof(*pprof.ids));
	pprof.failed = !strings_init(&pprof.strings, error) || !map64_init(&pprof.functions, 1024, error) ||
		!map64_init(&pprof.mappings, 64, error);
	if (!pprof.failed) {
		write_head(&pprof);
		write_locations(&pprof);
	}
	for (size_t i = 0; i < profile->site_count && !pprof.failed; i++) {
		if (profile_counts(profile, &profile->sites[i]))
			write_sample(&pprof, &profile->sites[i]);
	}
	if (!pprof.failed)
		write_strings(&pprof);
	done = gzip_close(pprof.file, error) && !pprof.failed;
	free(pprof.ids);
	protobuf_finish(&pprof.message);
	protobuf_finish(&pprof.inner);
	strings_finish(&pprof.strings);
	map64_finish(&pprof.functions);
	map64_finish(&pprof.mappings);
	return done;
}

const struct export_format export_pprof = {
	.name = "pprof",
	.ending = ".pb.gz",
	.summary = "go tool pprof, Pyroscope, Parca, Perfetto's page, speedscope",
	.flags = EXPORT_BINARY | EXPORT_FIRST_METRIC,
	.write = pprof_write,
};
