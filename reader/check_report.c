/* SPDX-License-Identifier: MIT */
/*
 * See check_report.h.  Names of places and captures are untrusted in every form: text_escape makes them printable,
 * then each form escapes what it gives a meaning to.
 */
#include "check_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "view.h"

enum { LINE_SIZE = 3 * VIEW_FRAME_SIZE };

static const char incomplete_text[] =
	"events are missing from a capture, so that the figures may be too small; --allow-incomplete accepts it";

static struct text_number row_value(const struct check_row *row, uint64_t value)
{
	struct text_number out = text_count(value);

	if (row->budget.figure != BUDGET_ALLOCATIONS)
		strcat(out.text, " B");
	return out;
}

/* "growth of peak" or "peak": what the row limits. */
static char *row_title(const struct check_row *row, char *out, size_t size)
{
	snprintf(out, size, "%s%s", row->budget.growth ? "growth of " : "", budget_word(row->budget.figure));
	return out;
}

/* "peak: 1,402,880 B, 354,304 B over the limit of 1,048,576 B" */
static char *row_sentence(const struct check_row *row, char *out, size_t size)
{
	const struct budget_row *budget = &row->budget;
	int used = snprintf(out, size, "%s: %s, ", budget_title(budget->figure), row_value(row, budget->measured).text);

	if (budget->exceeded)
		used += snprintf(out + used, size - (size_t)used, "%s over",
			row_value(row, budget->measured - budget->limit).text);
	else
		used += snprintf(out + used, size - (size_t)used, "within");
	used += snprintf(out + used, size - (size_t)used, " the limit of %s", row_value(row, budget->limit).text);
	if (budget->growth)
		snprintf(out + used, size - (size_t)used, " (the baseline has %s)", row_value(row, budget->baseline).text);
	return out;
}

/* "354,304 B at load (app.py:10)" */
static char *place_sentence(const struct check_row *row, const struct budget_place *place, char *out, size_t size)
{
	char name[VIEW_FRAME_SIZE];

	snprintf(out, size, "%s%s at %s", row_value(row, place->weight).text, row->budget.growth ? " more" : "",
		view_frame_text(name, sizeof name, place->frame));
	return out;
}

static void write_places(const struct check_row *row, const struct text *text)
{
	static const struct text_column columns[] = { { "", true }, { "", true }, { "", false } };
	struct text_table table = TEXT_TABLE(columns);
	char name[VIEW_FRAME_SIZE];

	text_heading(text, "%s: %s", row_title(row, name, sizeof name),
		row->budget.growth ? "where there is more than in the baseline" : "the places that weigh most");
	for (size_t i = 0; i < row->place_count; i++) {
		const struct budget_place *place = &row->places[i];

		text_table_add(&table, TEXT_PLAIN, row_value(row, place->weight).text);
		text_table_add(&table, TEXT_PLAIN, text_percent(place->weight, row->budget.measured).text);
		text_table_add(&table, TEXT_PLAIN, view_frame_text(name, sizeof name, place->frame));
	}
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
}

static void write_suppressions(const struct suppressions *suppressions, const struct text *text)
{
	static const struct text_column columns[] = {
		{ "bytes", true }, { "blocks", true }, { "pattern", false },
	};
	struct text_table table = TEXT_TABLE(columns);

	text_heading(text, "Suppressions");
	for (size_t i = 0; i < suppressions->count; i++) {
		const struct suppression *rule = &suppressions->rules[i];

		text_table_add(&table, TEXT_PLAIN, text_count(rule->bytes).text);
		text_table_add(&table, TEXT_PLAIN, text_count(rule->count).text);
		text_table_add(&table, rule->count ? TEXT_PLAIN : TEXT_DIM, rule->pattern);
	}
	text_table_print(&table, text, "  ");
	text_table_finish(&table);
}

void check_write_text(const struct check *check, const struct text *text)
{
	static const struct text_column columns[] = {
		{ "", false }, { "limit", true }, { "measured", true }, { "", true }, { "verdict", false },
	};
	struct text_table table = TEXT_TABLE(columns);

	for (size_t i = 0; i < check->row_count; i++) {
		const struct check_row *row = &check->rows[i];
		const struct budget_row *budget = &row->budget;
		char title[64], verdict[64];

		text_table_add(&table, TEXT_BOLD, row_title(row, title, sizeof title));
		text_table_add(&table, TEXT_PLAIN, row_value(row, budget->limit).text);
		text_table_add(&table, TEXT_PLAIN, row_value(row, budget->measured).text);
		text_table_add(&table, TEXT_PLAIN,
			budget->figure == BUDGET_ALLOCATIONS ? "" : text_bytes(budget->measured).text);
		snprintf(verdict, sizeof verdict, "exceeded by %s", row_value(row, budget->measured - budget->limit).text);
		text_table_add(&table, budget->exceeded ? TEXT_HOT : TEXT_COOL, budget->exceeded ? verdict : "within");
	}
	text_table_print(&table, text, "");
	text_table_finish(&table);
	for (size_t i = 0; i < check->row_count; i++)
		if (check->rows[i].place_count) {
			putc('\n', text->file);
			write_places(&check->rows[i], text);
		}
	if (check->suppressions->count) {
		putc('\n', text->file);
		write_suppressions(check->suppressions, text);
	}
	if (check->incomplete)
		fprintf(text->file, "\n%s: %s\n", check->incomplete_allowed ? "incomplete" : "incomplete, which fails the check",
			incomplete_text);
	view_print_warnings(check->profile, text);
	if (check->baseline)
		view_print_warnings(check->baseline, text);
}

static void write_row_json(struct json *json, const struct check_row *row)
{
	const struct budget_row *budget = &row->budget;
	const char *unit = budget->figure == BUDGET_ALLOCATIONS ? "count" : "bytes";
	char place[VIEW_FRAME_SIZE];

	json_object(json, NULL);
	json_text(json, "figure", budget_word(budget->figure));
	json_text(json, "unit", unit);
	json_bool(json, "growth", budget->growth);
	json_number(json, "limit", budget->limit);
	json_number(json, "measured", budget->measured);
	if (budget->growth)
		json_number(json, "baseline", budget->baseline);
	json_text(json, "verdict", budget->exceeded ? "exceeded" : "within");
	json_array(json, "places");
	for (size_t i = 0; i < row->place_count; i++) {
		json_object(json, NULL);
		json_text(json, "location", view_frame_location(place, sizeof place, row->places[i].frame));
		json_number(json, unit, row->places[i].weight);
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

void check_write_json(const struct check *check, FILE *file)
{
	struct json json = json_begin(file, false);

	json_object(&json, NULL);
	json_text(&json, "verdict", check->exceeded ? "exceeded" : "within");
	json_bool(&json, "incomplete", check->incomplete);
	view_write_sample(&json, check->profile);
	json_array(&json, "budgets");
	for (size_t i = 0; i < check->row_count; i++)
		write_row_json(&json, &check->rows[i]);
	json_array_end(&json);
	json_array(&json, "suppressions");
	for (size_t i = 0; i < check->suppressions->count; i++) {
		json_object(&json, NULL);
		json_text(&json, "pattern", check->suppressions->rules[i].pattern);
		json_number(&json, "bytes", check->suppressions->rules[i].bytes);
		json_number(&json, "count", check->suppressions->rules[i].count);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
}

/* XML has no way to write control characters: text_escape comes first and leaves none. */
static void put_xml(FILE *file, const char *bytes)
{
	char shown[LINE_SIZE];

	for (const char *at = text_escape(shown, sizeof shown, bytes); *at; at++)
		switch (*at) {
		case '&': fputs("&amp;", file); break;
		case '<': fputs("&lt;", file); break;
		case '>': fputs("&gt;", file); break;
		case '"': fputs("&quot;", file); break;
		default: putc(*at, file);
		}
}

static void write_row_junit(const struct check_row *row, FILE *file)
{
	char line[LINE_SIZE];

	fputs("    <testcase classname=\"sctmem.check\" name=\"", file);
	put_xml(file, row_title(row, line, sizeof line));
	fputs("\" time=\"0\">\n", file);
	if (row->budget.exceeded) {
		fputs("      <failure type=\"exceeded\" message=\"", file);
		put_xml(file, row_sentence(row, line, sizeof line));
		fputs("\">", file);
		for (size_t i = 0; i < row->place_count; i++) {
			put_xml(file, place_sentence(row, &row->places[i], line, sizeof line));
			putc('\n', file);
		}
		fputs("</failure>\n", file);
	} else {
		fputs("      <system-out>", file);
		put_xml(file, row_sentence(row, line, sizeof line));
		fputs("</system-out>\n", file);
	}
	fputs("    </testcase>\n", file);
}

void check_write_junit(const struct check *check, FILE *file)
{
	/* That the recording is whole is a case of its own. */
	size_t failures = check->incomplete && !check->incomplete_allowed;

	for (size_t i = 0; i < check->row_count; i++)
		failures += check->rows[i].budget.exceeded;
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", file);
	fprintf(file, "  <testsuite name=\"sctmem check\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"0\">\n",
		check->row_count + 1, failures);
	for (size_t i = 0; i < check->row_count; i++)
		write_row_junit(&check->rows[i], file);
	fputs("    <testcase classname=\"sctmem.check\" name=\"complete recording\" time=\"0\">\n", file);
	if (check->incomplete && !check->incomplete_allowed) {
		fputs("      <failure type=\"incomplete\" message=\"", file);
		put_xml(file, incomplete_text);
		fputs("\"/>\n", file);
	}
	fputs("    </testcase>\n  </testsuite>\n</testsuites>\n", file);
}

/* A value of a workflow command; in properties, : and , end it too. */
static void put_github(FILE *file, const char *bytes, bool property)
{
	char shown[LINE_SIZE];

	for (const char *at = text_escape(shown, sizeof shown, bytes); *at; at++)
		if (*at == '%' || *at == '\r' || *at == '\n' || (property && (*at == ':' || *at == ',')))
			fprintf(file, "%%%02X", (unsigned char)*at);
		else
			putc(*at, file);
}

/* GitHub knows files by their names in the repository. */
static const char *repository_name(const char *path)
{
	char folder[4096] = "";
	const char *given = getenv("GITHUB_WORKSPACE");

	if (given && *given)
		snprintf(folder, sizeof folder, "%s", given);
	else if (!getcwd(folder, sizeof folder))
		return path;

	size_t size = strlen(folder);

	while (size > 0 && folder[size - 1] == '/')
		size--;
	return size > 0 && strncmp(path, folder, size) == 0 && path[size] == '/' ? path + size + 1 : path;
}

void check_write_github(const struct check *check, FILE *file)
{
	for (size_t i = 0; i < check->row_count; i++) {
		const struct check_row *row = &check->rows[i];
		char line[LINE_SIZE];

		if (!row->budget.exceeded)
			continue;
		fputs("::error ", file);
		if (row->place_count && *row->places[0].frame->file) {
			fputs("file=", file);
			put_github(file, repository_name(row->places[0].frame->file), true);
			fprintf(file, ",line=%" PRIu32 ",", row->places[0].frame->line ? row->places[0].frame->line : 1);
		}
		fputs("title=sctmem%3A ", file);
		put_github(file, row_title(row, line, sizeof line), true);
		fputs("::", file);
		put_github(file, row_sentence(row, line, sizeof line), false);
		for (size_t place = 0; place < row->place_count; place++) {
			fputs("%0A", file);
			put_github(file, place_sentence(row, &row->places[place], line, sizeof line), false);
		}
		putc('\n', file);
	}
	if (check->incomplete)
		fprintf(file, "::%s title=sctmem%%3A incomplete::%s\n", check->incomplete_allowed ? "warning" : "error",
			incomplete_text);
}
