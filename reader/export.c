/* SPDX-License-Identifier: MIT */
/*
 * What all formats share; see export.h.
 */
#include "export.h"

#include <inttypes.h>
#include <string.h>

#include "memory.h"
#include "text.h"

#define X(name) &export_##name,
const struct export_format *const export_formats[] = { EXPORT_FORMATS(X) NULL };
#undef X

/* The longest that one byte becomes: "\x1b". */
enum { ESCAPED_SIZE_MAX = 4, WARNING_SIZE_MAX = 1024 + 512 };

/* Most names are safe as they are, and stay where they are; a copy belongs to the export. */
static const char *safe_text(const char *text)
{
	size_t size = strlen(text);
	char *copy;

	for (size_t at = 0, length; at < size; at += length) {
		uint32_t character;

		length = text_decode(text + at, size - at, &character);
		if (length == 0 || text_is_unsafe(character)) {
			/* \u{10ffff} is ten characters for four bytes: never more than four for one. */
			copy = memory_new(size * ESCAPED_SIZE_MAX + 16, 1);
			return text_escape(copy, size * ESCAPED_SIZE_MAX + 16, text);
		}
	}
	return text;
}

static void drop_text(const char *safe, const char *original)
{
	if (safe != original)
		free((char *)(uintptr_t)safe);
}

static const struct export_frame *safe_frames(const struct profile *profile)
{
	struct export_frame *frames = memory_new(profile->frame_count, sizeof(*frames));

	for (uint32_t i = 0; i < profile->frame_count; i++) {
		const struct frame *frame = &profile->frames[i];

		frames[i].function = safe_text(*frame->function ? frame->function : "<unnamed>");
		frames[i].file = safe_text(frame->file);
		frames[i].module = safe_text(frame->module);
	}
	return frames;
}

static void drop_frames(struct export *export)
{
	for (uint32_t i = 0; export->frames && i < export->profile->frame_count; i++) {
		const struct frame *frame = &export->profile->frames[i];

		if (*frame->function)
			drop_text(export->frames[i].function, frame->function);
		drop_text(export->frames[i].file, frame->file);
		drop_text(export->frames[i].module, frame->module);
	}
	free((void *)(uintptr_t)export->frames);
}

const struct profile_capture *export_first_capture(const struct export *export)
{
	const struct profile *profile = export->profile;
	const struct profile_capture *first = profile->capture_count ? profile->captures : NULL;

	for (uint32_t i = 1; i < profile->capture_count; i++) {
		if (profile->captures[i].start_realtime_ns < first->start_realtime_ns)
			first = &profile->captures[i];
	}
	return first;
}

static char *command_line(const struct export *export)
{
	const struct profile_capture *capture = export_first_capture(export);
	size_t size = 1;
	char *line, *at;

	for (const char *const *argument = capture ? capture->arguments : NULL; argument && *argument; argument++)
		size += strlen(*argument) + 1;
	line = at = memory_new(size, 1);
	for (const char *const *argument = capture ? capture->arguments : NULL; argument && *argument; argument++)
		at += sprintf(at, "%s%s", at == line ? "" : " ", *argument);
	const char *safe = safe_text(line);
	if (safe != line)
		free(line);
	return (char *)(uintptr_t)safe;
}

static char *program_name(const struct export *export)
{
	const struct profile_capture *capture = export_first_capture(export);
	const char *path = capture ? capture->executable : "";
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	const char *safe = safe_text(*name ? name : "program");

	return safe == name || !*name ? memory_text(safe) : (char *)(uintptr_t)safe;
}

/* The same words as view_print_warnings, for formats that have a place for comments. */
static const char *const *make_warnings(const struct profile *profile)
{
	struct text text = { .utf8 = true };
	char *all = NULL;
	size_t size, count = 0;
	const char **lines;

	text.file = open_memstream(&all, &size);
	if (!text.file)
		memory_exhausted();
	view_print_warnings(profile, &text);
	fclose(text.file);
	for (const char *at = all; (at = strchr(at, '\n')) != NULL; at++)
		count++;
	lines = memory_new(count + 2, sizeof(*lines));
	count = 0;
	for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n"))
		lines[count++] = memory_text(line);
	free(all);
	return lines;
}

static uint32_t deepest(const struct calltree *tree)
{
	uint32_t *depths = memory_new(tree->count, sizeof(*depths)), most = 0;

	for (uint32_t i = 1; i < tree->count; i++) {
		depths[i] = depths[tree->nodes[i].parent] + 1;
		most = depths[i] > most ? depths[i] : most;
	}
	free(depths);
	return most;
}

void export_init(struct export *export, const struct profile *profile, const struct calltree *tree,
	const struct view *view, enum metric metric, FILE *file)
{
	const char **threads = memory_new(profile->thread_count, sizeof(*threads));
	const char **marks = memory_new(profile->mark_count, sizeof(*marks));

	*export = (struct export){ .file = file, .profile = profile, .tree = tree, .view = view, .metric = metric };
	export->frames = safe_frames(profile);
	for (uint32_t i = 0; i < profile->thread_count; i++)
		threads[i] = safe_text(profile->threads[i].name);
	for (uint32_t i = 0; i < profile->mark_count; i++)
		marks[i] = safe_text(profile->marks[i].name);
	export->thread_names = threads;
	export->mark_names = marks;
	export->command = command_line(export);
	export->program = program_name(export);
	export->warnings = make_warnings(profile);
	export->stack = memory_new(deepest(tree) + 1, sizeof(*export->stack));
}

void export_finish(struct export *export)
{
	drop_frames(export);
	for (uint32_t i = 0; export->thread_names && i < export->profile->thread_count; i++)
		drop_text(export->thread_names[i], export->profile->threads[i].name);
	for (uint32_t i = 0; export->mark_names && i < export->profile->mark_count; i++)
		drop_text(export->mark_names[i], export->profile->marks[i].name);
	for (const char *const *line = export->warnings; line && *line; line++)
		free((char *)(uintptr_t)*line);
	free((void *)(uintptr_t)export->warnings);
	free((void *)(uintptr_t)export->thread_names);
	free((void *)(uintptr_t)export->mark_names);
	free((char *)(uintptr_t)export->command);
	free((char *)(uintptr_t)export->program);
	free(export->stack);
	*export = (struct export){ 0 };
}

uint32_t export_stack(const struct export *export, uint32_t node)
{
	uint32_t count = 0;

	/* What has no frame at all belongs to the program as a whole: the root stands for it. */
	if (node == 0)
		export->stack[count++] = export->tree->nodes[0].frame;
	for (; node != 0; node = export->tree->nodes[node].parent)
		export->stack[count++] = export->tree->nodes[node].frame;
	return count;
}

bool export_has_cost(const struct cost *cost)
{
	return cost->total_count || cost->total_bytes || cost->peak_count || cost->peak_bytes || cost->live_count ||
		cost->live_bytes || cost->temporary_count || cost->temporary_bytes;
}

bool export_is_filtered(const struct export *export)
{
	const struct view *view = export->view;

	return view->thread != UINT64_MAX || view->domains || view->function || view->file || view->module;
}

char *export_frame_text(const struct export *export, uint32_t index, char *out, size_t size)
{
	struct frame frame = export->profile->frames[index];

	frame.function = export->frames[index].function;
	frame.file = export->frames[index].file;
	frame.module = export->frames[index].module;
	view_frame_text(out, size, &frame);

	/* A cut may have gone through a character. */
	size_t length = strlen(out);

	if (length + 1 == size) {
		uint32_t character;
		size_t last = length;

		while (last > 0 && ((unsigned char)out[last - 1] & 0xc0) == 0x80)
			last--;
		if (last > 0 && text_decode(out + last - 1, length - last + 1, &character) != length - last + 1)
			out[last - 1] = 0;
	}
	return out;
}
