/* SPDX-License-Identifier: MIT */
/*
 * Chrome's trace events in JSON, for Perfetto's page and chrome://tracing: counters of memory by kind, of resident
 * memory and of allocations over time, the marks of the program, its threads and the peak.
 *
 *     {"ph":"C","name":"memory","ts":MICROSECONDS,"pid":PID,"args":{"heap":BYTES,"python":BYTES,...}}
 *
 * Counters of several captures are of their sum, as everywhere, and stand under the first process.
 */
#include "export.h"
#include "json.h"

struct chrome {
	const struct export *export;
	struct json json;
	uint64_t pid;
};

/* What every event has; the caller adds to it and ends the object.  Microseconds, and thousandths of them. */
static void begin_event(struct chrome *chrome, const char *phase, const char *name, uint64_t time_ns)
{
	struct json *json = &chrome->json;

	json_object(json, NULL);
	json_text(json, "ph", phase);
	json_text(json, "name", name);
	json_text(json, "cat", "memory");
	json_decimal(json, "ts", (double)time_ns / 1000, 3);
	json_number(json, "pid", chrome->pid);
}

static void write_metadata(struct chrome *chrome, const char *name, uint64_t pid, uint64_t tid, const char *value)
{
	struct json *json = &chrome->json;

	json_object(json, NULL);
	json_text(json, "ph", "M");
	json_text(json, "name", name);
	json_number(json, "pid", pid);
	if (tid)
		json_number(json, "tid", tid);
	json_object(json, "args");
	json_text(json, "name", value);
	json_object_end(json);
	json_object_end(json);
}

static void write_point(struct chrome *chrome, const struct timeline_point *point)
{
	const unsigned domains = chrome->export->profile->domains;
	struct json *json = &chrome->json;

	begin_event(chrome, "C", "memory", point->time_ns);
	json_object(json, "args");
	for (unsigned i = 0; i < DOMAIN_COUNT; i++) {
		/* What is not counted is not memory in use: it would hide the rest in a stacked chart. */
		if (domains ? domains >> i & 1 : i != DOMAIN_FILE && i != DOMAIN_RESERVED)
			json_number(json, domain_name((enum domain)i), point->domain_bytes[i]);
	}
	json_object_end(json);
	json_object_end(json);

	begin_event(chrome, "C", "counted memory, highest", point->time_ns);
	json_object(json, "args");
	json_number(json, "bytes", point->live_max_bytes);
	json_object_end(json);
	json_object_end(json);

	begin_event(chrome, "C", "allocated since the point before", point->time_ns);
	json_object(json, "args");
	json_number(json, "bytes", point->allocated_bytes);
	json_object_end(json);
	json_object_end(json);

	if (point->resident_bytes == 0)   /* no sample yet */
		return;
	begin_event(chrome, "C", "resident memory", point->time_ns);
	json_object(json, "args");
	json_number(json, "bytes", point->resident_bytes);
	json_object_end(json);
	json_object_end(json);
}

static void write_instant(struct chrome *chrome, const char *name, uint64_t time_ns, uint64_t bytes)
{
	begin_event(chrome, "i", name, time_ns);
	json_text(&chrome->json, "s", "p");
	json_number(&chrome->json, "tid", chrome->pid);
	if (bytes) {
		json_object(&chrome->json, "args");
		json_number(&chrome->json, "bytes", bytes);
		json_object_end(&chrome->json);
	}
	json_object_end(&chrome->json);
}

static void write_other_data(struct chrome *chrome)
{
	const struct export *export = chrome->export;
	struct json *json = &chrome->json;
	char key[32];
	unsigned number = 0;

	json_object(json, "otherData");
	json_text(json, "writer", "sctmem " SCTMEM_VERSION);
	json_text(json, "command", export->command);
	for (const char *const *line = export->warnings; *line; line++) {
		snprintf(key, sizeof(key), "warning %u", ++number);
		json_text(json, key, *line);
	}
	json_object_end(json);
}

static bool chrome_write(const struct export *export, struct error *error)
{
	const struct profile *profile = export->profile;
	const struct profile_capture *first = export_first_capture(export);
	struct chrome chrome = { .export = export, .json = json_begin(export->file, true), .pid = first ? first->pid : 1 };

	if (export_is_filtered(export))
		return fail(error, STATUS_USAGE, "the time line is of all memory: --thread, --domain, --function, --file and "
			"--module cannot go with --format chrome");
	json_object(&chrome.json, NULL);
	json_text(&chrome.json, "displayTimeUnit", "ms");
	json_array(&chrome.json, "traceEvents");
	write_metadata(&chrome, "process_name", chrome.pid, 0, *export->command ? export->command : export->program);
	for (uint32_t i = 0; i < profile->thread_count; i++)
		write_metadata(&chrome, "thread_name", profile->captures[profile->threads[i].capture].pid, profile->threads[i].tid,
			export->thread_names[i]);
	for (uint32_t i = 0; i < profile->timeline_count; i++)
		write_point(&chrome, &profile->timeline[i]);
	write_instant(&chrome, "peak", profile->peak_time_ns, profile->peak_bytes);
	for (uint32_t i = 0; i < profile->mark_count; i++)
		write_instant(&chrome, export->mark_names[i], profile->marks[i].time_ns, 0);
	json_array_end(&chrome.json);
	write_other_data(&chrome);
	json_object_end(&chrome.json);
	return true;
}

const struct export_format export_chrome = {
	.name = "chrome",
	.ending = ".trace.json",
	.summary = "Perfetto's page, chrome://tracing: memory over time, marks",
	.timeline_points = 1000,
	.write = chrome_write,
};
