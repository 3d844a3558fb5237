/* SPDX-License-Identifier: MIT */
/*
 * Writes the page of a made-up profile, and beside it what the page must show:
 *
 *     fake_report demo|hostile|damaged|empty NODES PAGE.html FIGURES.json
 *
 * The figures are computed here from the profile's structures, by other code than the report's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_profile.h"
#include "reader/report_html.h"

/* error.c is not part of what is tested. */
bool fail(struct error *error, int status, const char *format, ...)
{
	error->status = status;
	snprintf(error->text, sizeof(error->text), "%s", format);
	return false;
}

static void put_cost(FILE *out, const struct cost *cost)
{
	fprintf(out, "[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
		cost->total_bytes, cost->total_count, cost->peak_bytes, cost->peak_count, cost->live_bytes, cost->live_count,
		cost->temporary_bytes, cost->temporary_count);
}

static bool is_under(const struct profile *profile, uint32_t node, const char *word)
{
	for (; node; node = profile->nodes[node].parent) {
		const struct frame *frame = &profile->frames[profile->nodes[node].frame];
		if (strstr(frame->function, word) || strstr(frame->file, word) || strstr(frame->module, word))
			return true;
	}
	return false;
}

/* Peak bytes by thread, by top-level frame, and under any frame with "pandas" in a name. */
static void put_figures(FILE *out, const struct profile *profile)
{
	uint64_t pandas = 0;
	uint64_t by_thread[16] = { 0 };
	uint64_t *by_child = calloc(profile->node_count, sizeof(*by_child));
	if (!by_child)
		exit(1);
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];
		if (!profile_counts(profile, site))
			continue;
		by_thread[site->thread] += site->cost.peak_bytes;
		pandas += is_under(profile, site->node, "pandas") ? site->cost.peak_bytes : 0;
		uint32_t node = site->node;
		while (node && profile->nodes[node].parent)
			node = profile->nodes[node].parent;
		by_child[node] += site->cost.peak_bytes;
	}
	uint64_t largest = 0;
	for (uint32_t i = 1; i < profile->node_count; i++)
		largest = by_child[i] > largest ? by_child[i] : largest;
	free(by_child);
	fprintf(out, "{\"nodes\":%u,\"sites\":%zu,\"total\":", profile->node_count, profile->site_count);
	put_cost(out, &profile->total);
	fputs(",\"domains\":[", out);
	for (unsigned i = 0; i < DOMAIN_COUNT; i++) {
		fputs(i ? "," : "", out);
		put_cost(out, &profile->by_domain[i]);
	}
	fputs("],\"threads\":[", out);
	for (uint32_t i = 0; i < profile->thread_count; i++)
		fprintf(out, "%s%" PRIu64, i ? "," : "", by_thread[i]);
	fprintf(out, "],\"pandas\":%" PRIu64 ",\"largest\":%" PRIu64 "}\n", pandas, largest);
}

int main(int argc, char **argv)
{
	static const char *const kinds[] = { "demo", "hostile", "damaged", "empty" };
	int kind = -1;
	for (int i = 0; argc == 5 && i < 4; i++)
		kind = !strcmp(argv[1], kinds[i]) ? i : kind;
	if (kind < 0) {
		fputs("usage: fake_report demo|hostile|damaged|empty NODES PAGE.html FIGURES.json\n", stderr);
		return 2;
	}
	struct profile *profile = fake_profile_new((enum fake_kind)kind, (uint32_t)strtoul(argv[2], NULL, 10));
	FILE *page = fopen(argv[3], "wb");
	FILE *figures = fopen(argv[4], "wb");
	if (!page || !figures) {
		perror("fake_report");
		return 1;
	}
	struct error error = { 0 };
	const struct report_options options = { .view = "flame", .source = REPORT_SOURCE_OPEN };
	bool good = report_html_write(profile, &options, page, &error);
	if (!good)
		fprintf(stderr, "fake_report: %s\n", error.text);
	put_figures(figures, profile);
	good = !fclose(page) && !fclose(figures) && good;
	fake_profile_free(profile);
	return good ? 0 : 1;
}
