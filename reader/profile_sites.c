/* SPDX-License-Identifier: MIT */
/*
 * Sites: replay's, by capture node, become the profile's, by profile node.  Here filters are applied, sites that
 * became alike are joined, and the totals are made: from the sites, so that they cannot differ from them.
 */
#include "profile_build.h"

#include <stdlib.h>
#include <string.h>

enum { FILTER_FUNCTION = 1, FILTER_FILE = 2, FILTER_MODULE = 4 };

/* For each frame, which of the expressions it matches; *wanted: which there are. */
static bool match_frames(struct build *build, uint8_t *matched, unsigned *wanted)
{
	const struct profile *profile = build->profile;
	const struct { const char *pattern; unsigned bit; } filters[] = {
		{ build->options->function, FILTER_FUNCTION },
		{ build->options->file, FILTER_FILE },
		{ build->options->module, FILTER_MODULE },
	};

	for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
		struct expression *expression;
		bool ok = true;

		if (!filters[i].pattern)
			continue;
		if (!expression_compile(&expression, filters[i].pattern, build->error))
			return false;
		*wanted |= filters[i].bit;
		for (uint32_t frame = 0; ok && frame < profile->frame_count; frame++) {
			const struct frame *its = &profile->frames[frame];
			const char *text = filters[i].bit == FILTER_FUNCTION ? its->function :
				filters[i].bit == FILTER_FILE ? its->file : its->module;

			bool found;

			ok = expression_matches(expression, text, &found, build->error);
			if (ok && found)
				matched[frame] |= filters[i].bit;
		}
		expression_free(expression);
		if (!ok)
			return false;
	}
	return true;
}

/* *keep: for each node whether its stack has a matching frame for every expression; NULL when there is none. */
static bool filter_nodes(struct build *build, uint8_t **keep)
{
	const struct profile_options *options = build->options;
	const struct profile *profile = build->profile;
	uint8_t *matched;
	unsigned wanted = 0;
	bool ok;

	*keep = NULL;
	if (!options->function && !options->file && !options->module)
		return true;
	matched = calloc(profile->frame_count + (size_t)1, 1);
	*keep = calloc(profile->node_count + (size_t)1, 1);
	ok = matched && *keep ? match_frames(build, matched, &wanted) : fail_memory(build->error);
	for (uint32_t i = 0; ok && i < profile->node_count; i++)
		(*keep)[i] = matched[profile->nodes[i].frame] | (i ? (*keep)[profile->nodes[i].parent] : 0);
	for (uint32_t i = 0; ok && i < profile->node_count; i++)
		(*keep)[i] = (*keep)[i] == wanted;
	free(matched);
	return ok;
}

/* The profile's node of a site's stack; the specials were made by build_tree. */
static bool find_node(struct build *build, uint64_t key, uint32_t *node)
{
	const struct build_capture *own = &build->captures[build->replay.threads[site_thread(key)].process];
	const uint32_t id = site_stack(key);
	uint32_t frame;

	*node = 0;
	if (!build->options->need_stacks)
		return true;
	if (id < own->node_end && capture_find_node(own->capture, id) && own->node_of[id] != BUILD_USED) {
		*node = own->node_of[id];
		return true;
	}
	if (!build_special_frame(build, id == CAPTURE_NODE_ROOT ? "<no stack>" : "<unknown stack>", &frame))
		return false;
	*node = map64_get(&build->nodes, frame);
	/* Only while a capture grows: nobody knew that it would be needed. */
	if (*node == MAP64_NONE)
		*node = 0;
	return true;
}

static struct cost cost_of(const struct build *build, size_t index)
{
	const struct replay_site *site = &build->replay.sites[index];
	const struct replay_site_extra *extra = &build->replay.extras[index];
	const bool at_peak = build->options->at_peak;

	return (struct cost){
		.total_bytes = site->total_bytes, .total_count = site->total_count,
		.peak_bytes = site->peak_bytes, .peak_count = site->peak_count,
		.live_bytes = at_peak ? site->peak_bytes : extra->at_bytes,
		.live_count = at_peak ? site->peak_count : extra->at_count,
		.temporary_bytes = extra->temporary_bytes, .temporary_count = extra->temporary_count,
	};
}

/* How uncertain the site's figures are, for those that are. */
static uint32_t spread_of(struct build *build, size_t index)
{
	struct profile *profile = build->profile;
	const struct replay_spread *from = build->replay.spreads ? &build->replay.spreads[index] : NULL;

	if (!from || from->total.variance_count <= 0)
		return 0;
	profile->spreads[++profile->spread_count] = (struct cost_spread){ .total = from->total, .peak = from->peak,
		.live = build->options->at_peak ? from->peak : from->at, .temporary = from->temporary };
	return profile->spread_count;
}

static int compare_sites(const void *a, const void *b)
{
	const struct site *left = a, *right = b;

	if (left->window != right->window)
		return left->window < right->window ? -1 : 1;
	if (left->node != right->node)
		return left->node < right->node ? -1 : 1;
	if (left->thread != right->thread)
		return left->thread < right->thread ? -1 : 1;
	if (left->domain != right->domain)
		return left->domain < right->domain ? -1 : 1;
	return left->allocator < right->allocator ? -1 : left->allocator > right->allocator;
}

/* Sorts the sites and joins those that are alike. */
static void join_sites(struct profile *profile)
{
	size_t kept = 0;

	if (profile->site_count)
		qsort(profile->sites, profile->site_count, sizeof(*profile->sites), compare_sites);
	for (size_t i = 0; i < profile->site_count; i++) {
		struct site *last = kept ? &profile->sites[kept - 1] : NULL;

		if (!last || compare_sites(last, &profile->sites[i]) != 0) {
			profile->sites[kept++] = profile->sites[i];
			continue;
		}
		cost_add(&last->cost, &profile->sites[i].cost);
		if (profile->sites[i].spread && last->spread)
			cost_spread_add(&profile->spreads[last->spread], &profile->spreads[profile->sites[i].spread]);
		else
			last->spread |= profile->sites[i].spread;
	}
	profile->site_count = kept;
}

/* The windows of replay, with the sites that are now sorted by window. */
static bool take_windows(struct build *build)
{
	struct profile *profile = build->profile;
	const struct replay *replay = &build->replay;
	size_t site = 0;

	profile->window_levels = replay->level_count;
	profile->windows_deeper = replay->windows_deeper;
	profile->windows = calloc(replay->window_count + 1, sizeof(*profile->windows));
	if (!profile->windows)
		return fail_memory(build->error);
	profile->window_count = (uint32_t)replay->window_count;
	for (uint32_t i = 0; i < profile->window_count; i++) {
		const struct replay_window *from = &replay->windows[i];
		struct profile_window *to = &profile->windows[i];

		*to = (struct profile_window){ .from_ns = from->from_ns, .to_ns = from->to_ns,
			.peak_time_ns = from->peak_time_ns, .closed = from->closed, .site_first = site };
		if (!build_string(build, from->name, &to->name))
			return false;
		for (; site < profile->site_count && profile->sites[site].window == i; site++) {
			if (!profile_counts(profile, &profile->sites[site]))
				continue;
			cost_add(&to->total, &profile->sites[site].cost);
			if (profile->sites[site].spread)
				cost_spread_add(&to->total_spread, &profile->spreads[profile->sites[site].spread]);
		}
		to->site_count = site - to->site_first;
	}
	return true;
}

static void sum_up(struct profile *profile)
{
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];

		cost_add(&profile->by_domain[site->domain], &site->cost);
		if (site->spread)
			cost_spread_add(&profile->domain_spreads[site->domain], &profile->spreads[site->spread]);
		if (!profile_counts(profile, site))
			continue;
		cost_add(&profile->total, &site->cost);
		if (site->spread)
			cost_spread_add(&profile->total_spread, &profile->spreads[site->spread]);
		cost_add(&profile->by_allocator[site->allocator], &site->cost);
	}
	profile->peak_bytes = profile->total.peak_bytes;
}

/* Whether no filter leaves a site's costs out. */
static bool keeps_site(const struct build *build, const uint8_t *keep, const struct site *site)
{
	const struct profile_options *options = build->options;

	if (keep && !keep[site->node])
		return false;
	if (options->thread >= 0 && build->profile->threads[site->thread].tid != (uint32_t)options->thread)
		return false;
	return !options->domains || options->domains >> site->domain & 1;
}

/* What replay's site is in the profile, but for its window and costs. */
static bool describe_site(struct build *build, size_t index, struct site *site)
{
	const uint64_t key = build->replay.sites[index].key;

	*site = (struct site){ .thread = build->thread_of[site_thread(key)], .domain = (uint8_t)site_domain(key),
		.allocator = site_allocator(key) };
	return find_node(build, key, &site->node);
}

/* Where replay's sites are among the profile's. */
static bool find_slices(struct build *build, const uint8_t *keep)
{
	const struct profile *profile = build->profile;
	uint32_t *site_of;
	bool ok;

	if (build->replay.slices.capacity == 0)
		return true;
	site_of = calloc(build->replay.site_count + 1, sizeof(*site_of));
	ok = site_of ? true : fail_memory(build->error);
	for (size_t i = 1; ok && i < build->replay.site_count; i++) {
		struct site site;

		ok = describe_site(build, i, &site);
		site_of[i] = BUILD_LEFT_OUT;
		if (ok && keeps_site(build, keep, &site))
			site_of[i] = (uint32_t)((struct site *)bsearch(&site, profile->sites, profile->site_count,
				sizeof(*profile->sites), compare_sites) - profile->sites);
	}
	ok = ok && build_slices(build, site_of);
	free(site_of);
	return ok;
}

bool build_sites(struct build *build)
{
	struct profile *profile = build->profile;
	uint8_t *keep;
	bool ok = filter_nodes(build, &keep);
	uint32_t window = 0;

	profile->sites = calloc(build->replay.site_count + 1, sizeof(*profile->sites));
	if (build->replay.spreads) {
		profile->spreads = calloc(build->replay.site_count + 1, sizeof(*profile->spreads));
		if (!profile->spreads)
			ok = ok && fail_memory(build->error);
	}
	if (build->options->observer || build->options->analyses) {
		profile->observed = calloc(build->replay.site_count + 1, sizeof(*profile->observed));
		profile->observed_count = build->replay.site_count;
	}
	if (ok && (!profile->sites || (profile->observed_count && !profile->observed)))
		ok = fail_memory(build->error);
	for (size_t i = 1; ok && i < build->replay.site_count; i++) {
		struct site site;

		while (window < build->replay.window_count && i >= build->replay.windows[window].site_end)
			window++;
		ok = describe_site(build, i, &site);
		if (!ok)
			break;
		site.window = window;
		site.cost = cost_of(build, i);
		const bool kept = keeps_site(build, keep, &site);
		if (profile->observed)
			profile->observed[i] = (struct observed_site){ .node = site.node, .thread = site.thread,
				.domain = site.domain, .allocator = site.allocator, .counted = kept && profile_counts(profile, &site) };
		if (!kept)
			continue;
		site.spread = spread_of(build, i);
		profile->sites[profile->site_count++] = site;
	}
	join_sites(profile);
	sum_up(profile);
	ok = ok && find_slices(build, keep);
	free(keep);
	return ok && take_windows(build);
}
