/* SPDX-License-Identifier: MIT */
/*
 * Made-up profiles; see fake_profile.h.  A tree is grown from a list of call patterns: each stack is a walk down the
 * layers of a program (entry, framework, application, library, interpreter, native, allocator), and costs are drawn
 * so that few sites hold most of the memory, as in life.
 *
 * This stands in for profile.c in the test programs, so it also defines the two small functions that the report asks
 * profile.c for.
 */
#include "fake_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/capture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND UINT64_C(1000000000)

enum { THREADS = 6, TIMELINE_POINTS = 1000, LAYERS = 7 };

const char *domain_name(enum domain domain)
{
	static const char *const names[] = { "heap", "python", "mapped", "arena", "file", "reserved" };
	return names[domain];
}

bool profile_counts(const struct profile *profile, const struct site *site)
{
	(void)profile;
	return site->domain <= DOMAIN_MAPPED;
}

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((random_state >> 33) % limit);
}

static void *take(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);
	if (!memory) {
		fputs("fake_profile: out of memory\n", stderr);
		exit(1);
	}
	return memory;
}

/* The frames of one layer of the program; a stack takes 1 to depth_max of them. */
struct layer {
	const struct frame *frames;
	uint32_t count;
	uint32_t depth_max;
	uint32_t share;               /* percent of the stacks that pass through */
};

#define APP "/srv/orders/"
#define LIB "/usr/lib/python3.11/"
#define SITE "/srv/venv/lib/python3.11/site-packages/"
#define PY(function, file, line, flags) { function, file, "", line, FRAME_PYTHON, flags }
#define C(function, file, module, line, flags) { function, file, module, line, FRAME_NATIVE, flags }

static const struct frame entry_frames[] = {
	PY("<module>", APP "serve.py", 214, 0),
	PY("Thread._bootstrap", LIB "threading.py", 995, FRAME_LIBRARY),
	PY("main", APP "serve.py", 188, 0),
	PY("Thread.run", LIB "threading.py", 975, FRAME_LIBRARY),
};
static const struct frame import_frames[] = {
	PY("_find_and_load", "<frozen importlib._bootstrap>", 1176, FRAME_IMPORT | FRAME_LIBRARY),
	PY("_load_unlocked", "<frozen importlib._bootstrap>", 690, FRAME_IMPORT | FRAME_LIBRARY),
	PY("SourceLoader.exec_module", "<frozen importlib._bootstrap_external>", 940, FRAME_IMPORT | FRAME_LIBRARY),
	PY("SourceLoader.get_code", "<frozen importlib._bootstrap_external>", 1032, FRAME_IMPORT | FRAME_LIBRARY),
	PY("_call_with_frames_removed", "<frozen importlib._bootstrap>", 241, FRAME_IMPORT | FRAME_LIBRARY),
};
static const struct frame app_frames[] = {
	PY("OrderService.handle", APP "orders/service.py", 96, 0),
	PY("OrderService.load_catalogue", APP "orders/service.py", 141, 0),
	PY("Catalogue.from_csv", APP "orders/catalogue.py", 58, 0),
	PY("Catalogue.index_by_sku", APP "orders/catalogue.py", 83, 0),
	PY("Catalogue.index_by_sku.<locals>.<dictcomp>", APP "orders/catalogue.py", 85, 0),
	PY("PriceModel.fit", APP "orders/pricing/model.py", 211, 0),
	PY("PriceModel.features", APP "orders/pricing/model.py", 164, 0),
	PY("Cache.get_or_compute", APP "orders/cache.py", 40, 0),
	PY("Cache.put", APP "orders/cache.py", 61, 0),
	PY("render_invoice", APP "orders/invoices.py", 33, 0),
	PY("Session.commit", APP "orders/store.py", 127, 0),
	PY("parse_events", APP "orders/ingest.py", 74, 0),
	PY("Worker.step", APP "orders/worker.py", 52, 0),
};
static const struct frame library_frames[] = {
	PY("loads", LIB "json/__init__.py", 346, FRAME_LIBRARY),
	PY("JSONDecoder.raw_decode", LIB "json/decoder.py", 353, FRAME_LIBRARY),
	PY("DataFrame.merge", SITE "pandas/core/frame.py", 10832, FRAME_LIBRARY),
	PY("concat", SITE "pandas/core/reshape/concat.py", 385, FRAME_LIBRARY),
	PY("concatenate_managers", SITE "pandas/core/internals/concat.py", 177, FRAME_LIBRARY),
	PY("read_csv", SITE "pandas/io/parsers/readers.py", 1026, FRAME_LIBRARY),
	PY("Template.render", SITE "jinja2/environment.py", 1295, FRAME_LIBRARY),
	PY("Connection.execute", SITE "sqlalchemy/engine/base.py", 1416, FRAME_LIBRARY),
	PY("compile", LIB "re/_compiler.py", 743, FRAME_LIBRARY),
	PY("OrderedDict.__setitem__", LIB "collections/__init__.py", 110, FRAME_LIBRARY),
};
static const struct frame native_frames[] = {
	C("TextReader._convert_column_data", "pandas/_libs/parsers.pyx", "parsers.cpython-311-x86_64-linux-gnu.so", 1079, 0),
	C("tokenize_bytes", "pandas/_libs/src/parser/tokenizer.c", "parsers.cpython-311-x86_64-linux-gnu.so", 766, 0),
	C("PyArray_NewFromDescr_int", "numpy/core/src/multiarray/ctors.c",
		"_multiarray_umath.cpython-311-x86_64-linux-gnu.so", 822, 0),
	C("PyArray_ConcatenateArrays", "numpy/core/src/multiarray/multiarraymodule.c",
		"_multiarray_umath.cpython-311-x86_64-linux-gnu.so", 412, 0),
	C("arrow::Buffer::Allocate<std::shared_ptr<arrow::MemoryPool>, 64ul>(long)", "cpp/src/arrow/buffer.cc",
		"libarrow.so.1500", 288, 0),
	C("sqlite3DbMallocRawNN", "", "libsqlite3.so.0.8.6", 0, FRAME_LIBRARY),
	C("libopenblas+0x1f30c2", "", "libopenblas.so.0", 0, FRAME_UNRESOLVED | FRAME_LIBRARY),
	C("ssl3_setup_read_buffer", "", "libssl.so.3", 0, FRAME_LIBRARY),
};
static const struct frame interpreter_frames[] = {
	C("_PyObject_MakeTpCall", "Objects/call.c", "python3.11", 214, FRAME_INTERPRETER),
	C("dict_resize", "Objects/dictobject.c", "python3.11", 1302, FRAME_INTERPRETER),
	C("list_resize", "Objects/listobject.c", "python3.11", 72, FRAME_INTERPRETER),
	C("PyUnicode_New", "Objects/unicodeobject.c", "python3.11", 1407, FRAME_INTERPRETER),
	C("_PyBytes_FromSize", "Objects/bytesobject.c", "python3.11", 88, FRAME_INTERPRETER),
	C("gc_alloc", "Modules/gcmodule.c", "python3.11", 2276, FRAME_INTERPRETER | FRAME_INLINED),
};
static const struct frame allocator_frames[] = {
	C("malloc", "", "libc.so.6", 0, FRAME_ALLOCATOR | FRAME_LIBRARY),
	C("operator new(unsigned long)", "", "libstdc++.so.6", 0, FRAME_ALLOCATOR | FRAME_LIBRARY),
	{ "outer frames beyond the depth limit", "", "", 0, FRAME_SPECIAL, 0 },
};

static const struct layer layers[LAYERS] = {
	{ entry_frames, COUNT(entry_frames), 2, 100 },
	{ import_frames, COUNT(import_frames), 5, 12 },
	{ app_frames, COUNT(app_frames), 6, 97 },
	{ library_frames, COUNT(library_frames), 5, 66 },
	{ interpreter_frames, COUNT(interpreter_frames), 3, 45 },
	{ native_frames, COUNT(native_frames), 3, 38 },
	{ allocator_frames, COUNT(allocator_frames), 1, 20 },
};

static const struct frame hostile_frames[] = {
	PY("<script>document.body.dataset.owned = 1</script>", "/tmp/<img src=x onerror=alert(1)>.py", 1, 0),
	PY("</script><script>document.body.dataset.owned = 2</script>", "</title><h1>owned</h1>", 2, 0),
	PY("<!--<script>", "-->\"'&amp;&lt;.py", 3, 0),
	PY("\xe2\x80\xaegnp.exe\xe2\x80\xac", "right\xe2\x80\x8fto\xe2\x80\x8eleft.py", 4, 0),
	PY("tab\there\nline\rreturn\x01\x1b[31mred\x7f", "a\\b\"c", 5, 0),
	PY("\xff\xfe\xc0\xafnot utf-8\xed\xa0\x80", "caf\xc3\xa9/\xe6\x97\xa5\xe6\x9c\xac/\xf0\x9f\x90\x8d.py", 6, 0),
	PY("__proto__", "constructor", 7, 0),
	PY("", "", 0, 0),
	C("javascript:alert(1)", "file:///etc/passwd", "https://example.org/x.so", 4294967295u, 0),
	PY("\\x41 %s %n ${7*7} {{7*7}}", "../../../../etc/shadow", 8, 0),
};

/* A tree under construction: a hash table of (parent, frame) finds nodes that are there. */
struct growth {
	struct profile *profile;
	uint32_t node_capacity;
	uint32_t *slots;
	uint32_t slot_mask;
	uint32_t layer_first[LAYERS]; /* number of each layer's first frame */
};

static uint32_t grow_node(struct growth *growth, uint32_t parent, uint32_t frame)
{
	struct profile *profile = growth->profile;
	uint64_t hash = ((uint64_t)parent << 32 | frame) * UINT64_C(0x9e3779b97f4a7c15);
	for (uint32_t i = (uint32_t)(hash >> 32) & growth->slot_mask;; i = (i + 1) & growth->slot_mask) {
		uint32_t node = growth->slots[i];
		if (node && profile->nodes[node].parent == parent && profile->nodes[node].frame == frame)
			return node;
		if (!node && profile->node_count == growth->node_capacity)
			return parent;
		if (!node) {
			node = profile->node_count++;
			profile->nodes[node] = (struct node){ .parent = parent, .frame = frame };
			growth->slots[i] = node;
			return node;
		}
	}
}

/* Each function has several lines, so that there are more frames than functions. */
enum { LINES_PER_FRAME = 4 };

static void add_frames(struct growth *growth, const struct frame *frames, uint32_t count)
{
	struct profile *profile = growth->profile;
	for (uint32_t i = 0; i < count * LINES_PER_FRAME; i++) {
		struct frame frame = frames[i / LINES_PER_FRAME];
		if (frame.line && frame.line < UINT32_MAX)
			frame.line += 3 * (i % LINES_PER_FRAME);
		profile->frames[profile->frame_count++] = frame;
	}
}

static uint32_t grow_stack(struct growth *growth)
{
	uint32_t node = 0;
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		if (random_below(100) >= layers[layer].share)
			continue;
		uint32_t depth = 1 + random_below(layers[layer].depth_max);
		for (uint32_t i = 0; i < depth; i++) {
			/* The product of two draws prefers low numbers: a few functions are on most stacks. */
			uint32_t which = random_below(1 + random_below(layers[layer].count));
			uint32_t line = random_below(1 + random_below(LINES_PER_FRAME));
			node = grow_node(growth, node, growth->layer_first[layer] + which * LINES_PER_FRAME + line);
		}
	}
	return node;
}

static int site_compare(const void *left, const void *right)
{
	const struct site *a = left;
	const struct site *b = right;
	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	if (a->thread != b->thread)
		return a->thread < b->thread ? -1 : 1;
	if (a->domain != b->domain)
		return a->domain < b->domain ? -1 : 1;
	return (int)a->allocator - (int)b->allocator;
}

static struct cost draw_cost(void)
{
	uint64_t count = 1 + random_below(1 + random_below(4000));
	uint64_t size = 16 + random_below(1u << random_below(16));
	/* Now and then a few large blocks: an array, a table. */
	if (random_below(12) == 0) {
		count = 1 + random_below(6);
		size += random_below(1u << (16 + random_below(9)));
	}
	struct cost cost = { .total_bytes = count * size, .total_count = count };
	cost.peak_count = random_below(3) ? random_below((uint32_t)count + 1) : 0;
	cost.live_count = random_below(5) ? 0 : random_below((uint32_t)count + 1);
	cost.temporary_count = random_below((uint32_t)(count - cost.live_count) + 1);
	cost.peak_bytes = cost.peak_count * size;
	cost.live_bytes = cost.live_count * size;
	cost.temporary_bytes = cost.temporary_count * size;
	return cost;
}

static void add_cost(struct cost *to, const struct cost *cost)
{
	to->total_bytes += cost->total_bytes;
	to->total_count += cost->total_count;
	to->peak_bytes += cost->peak_bytes;
	to->peak_count += cost->peak_count;
	to->live_bytes += cost->live_bytes;
	to->live_count += cost->live_count;
	to->temporary_bytes += cost->temporary_bytes;
	to->temporary_count += cost->temporary_count;
}

static void fill_sites(struct profile *profile, const uint32_t *leaves, size_t leaf_count)
{
	static const struct { uint8_t domain, allocator; } ways[] = {
		{ DOMAIN_PYTHON, CAPTURE_PYOBJECT_MALLOC }, { DOMAIN_HEAP, CAPTURE_MALLOC }, { DOMAIN_PYTHON, CAPTURE_PYMEM_MALLOC },
		{ DOMAIN_HEAP, CAPTURE_CALLOC }, { DOMAIN_PYTHON, CAPTURE_PYMEM_REALLOC }, { DOMAIN_MAPPED, CAPTURE_MAP },
		{ DOMAIN_FILE, CAPTURE_MAP }, { DOMAIN_RESERVED, CAPTURE_MAP }, { DOMAIN_ARENA, CAPTURE_MAP },
	};
	profile->sites = take(leaf_count, sizeof(*profile->sites));
	for (size_t i = 0; i < leaf_count; i++) {
		uint32_t way = random_below(1 + random_below(COUNT(ways)));
		profile->sites[i] = (struct site){ .node = leaves[i], .thread = random_below(1 + random_below(THREADS)),
			.domain = ways[way].domain, .allocator = ways[way].allocator, .cost = draw_cost() };
	}
	qsort(profile->sites, leaf_count, sizeof(*profile->sites), site_compare);
	for (size_t i = 0; i < leaf_count; i++) {
		struct site *last = profile->site_count ? &profile->sites[profile->site_count - 1] : NULL;
		if (last && !site_compare(last, &profile->sites[i]))
			add_cost(&last->cost, &profile->sites[i].cost);
		else
			profile->sites[profile->site_count++] = profile->sites[i];
	}
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct site *site = &profile->sites[i];
		add_cost(&profile->by_domain[site->domain], &site->cost);
		add_cost(&profile->by_allocator[site->allocator], &site->cost);
		if (profile_counts(profile, site))
			add_cost(&profile->total, &site->cost);
	}
}

/* Rises in steps to the peak at two thirds, then falls to what is live at the end. */
static uint64_t live_at(const struct profile *profile, uint64_t time_ns)
{
	uint64_t peak = profile->total.peak_bytes;
	uint64_t end = profile->total.live_bytes < peak ? profile->total.live_bytes : peak;
	double t = (double)time_ns / (double)profile->duration_ns;
	double rise = t < 0.1 ? t * 2 : t < 0.4 ? 0.2 + (t - 0.1) * 0.9 : t < 0.667 ? 0.47 + (t - 0.4) * 1.98 : 1;
	if (t <= 0.667)
		return (uint64_t)((double)peak * (rise < 1 ? rise : 1) * (0.92 + 0.0008 * random_below(100)));
	double fall = (t - 0.667) / 0.333;
	return end + (uint64_t)((double)(peak - end) * (1 - fall) * (0.55 + 0.0015 * random_below(100)));
}

static void fill_timeline(struct profile *profile)
{
	profile->timeline = take(TIMELINE_POINTS, sizeof(*profile->timeline));
	profile->timeline_count = TIMELINE_POINTS;
	for (uint32_t i = 0; i < TIMELINE_POINTS; i++) {
		struct timeline_point *point = &profile->timeline[i];
		point->time_ns = profile->duration_ns / TIMELINE_POINTS * (i + 1);
		bool peak = i == TIMELINE_POINTS * 2 / 3;
		point->live_bytes = live_at(profile, point->time_ns);
		point->live_max_bytes = peak ? profile->total.peak_bytes : point->live_bytes + point->live_bytes / 64;
		if (point->live_max_bytes > profile->total.peak_bytes)
			point->live_max_bytes = profile->total.peak_bytes;
		point->live_max_ns = point->time_ns - profile->duration_ns / TIMELINE_POINTS / 4;
		if (peak)
			profile->peak_time_ns = point->live_max_ns;
		point->domain_bytes[DOMAIN_PYTHON] = point->live_bytes / 5 * 2;
		point->domain_bytes[DOMAIN_MAPPED] = point->live_bytes / 6;
		point->domain_bytes[DOMAIN_HEAP] =
			point->live_bytes - point->domain_bytes[DOMAIN_PYTHON] - point->domain_bytes[DOMAIN_MAPPED];
		point->resident_bytes = i < 5 ? 0 : point->live_bytes / 8 * 7 + (profile->total.peak_bytes / 16);
		if (point->resident_bytes > profile->resident_peak_bytes)
			profile->resident_peak_bytes = point->resident_bytes;
		point->allocations = random_below(20000);
		point->allocated_bytes = (uint64_t)random_below(1u << 20) * (1 + (i % 170 < 20) * 14);
	}
	profile->marks = take(2, sizeof(*profile->marks));
	profile->marks[0] = (struct profile_mark){ .time_ns = profile->duration_ns / 10, .name = "catalogue loaded" };
	profile->marks[1] = (struct profile_mark){ .time_ns = profile->duration_ns / 5 * 2, .name = "first request <b>" };
	profile->mark_count = 2;
}

static void fill_capture(struct profile *profile, enum fake_kind kind)
{
	static const char *const arguments[] = { "python3", "serve.py", "--workers", "5", "--catalogue",
		"data/spring 2026.csv", NULL };
	static const char *const hostile[] = { "python3", "-c", "print('</script><script>alert(1)</script>')",
		"\xe2\x80\xaetxt.exe", "\xff", NULL };
	static const char *const names[THREADS] = { "MainThread", "worker-1", "worker-2", "worker-3", "ingest", "" };
	profile->captures = take(1, sizeof(*profile->captures));
	profile->capture_count = 1;
	profile->captures[0] = (struct profile_capture){
		.path = "/srv/orders/capture.4182.sct", .host = "orders-7f9c", .executable = "/usr/bin/python3.11",
		.directory = "/srv/orders", .libc = "glibc 2.36", .writer = "sctmem 0.1.0", .parent_path = "",
		.arguments = kind == FAKE_HOSTILE ? hostile : arguments, .pid = 4182, .parent_pid = 1,
		.start_realtime_ns = UINT64_C(1790000000) * SECOND, .duration_ns = profile->duration_ns, .events = 18734201,
		.file_bytes = 23519744, .python_version = 0x030b02f0, .python_allocator = "pymalloc", .problem = "",
		.features = 15, .state = CAPTURE_EXITED, .tracer_bytes = 6815744, .clock_resolution_ns = 1,
		.unknown_frees = 12,
	};
	if (kind == FAKE_DAMAGED) {
		struct profile_capture *capture = &profile->captures[0];
		capture->state = CAPTURE_RUNNING;
		capture->damaged = true;
		capture->problem = "block at 8712192: its checksum does not match";
		capture->damaged_bytes = 65536;
		capture->lost_events = capture->lost_memory = 1204;
		capture->stacks_truncated = 371;
		capture->contradictions = 2;
	}
	profile->threads = take(THREADS, sizeof(*profile->threads));
	profile->thread_count = THREADS;
	for (uint32_t i = 0; i < THREADS; i++) {
		profile->threads[i] = (struct profile_thread){ .tid = 4182 + i, .start_ns = i * SECOND,
			.name = kind == FAKE_HOSTILE && i == 0 ? "<b>\xe2\x80\xae" : names[i] };
	}
}

static void fill_tree(struct growth *growth, enum fake_kind kind, uint32_t nodes)
{
	struct profile *profile = growth->profile;
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		growth->layer_first[layer] = profile->frame_count;
		if (kind == FAKE_HOSTILE && layer == 2) {
			/* Only as many as the layer counts. */
			add_frames(growth, hostile_frames, COUNT(hostile_frames));
			add_frames(growth, app_frames, layers[layer].count - COUNT(hostile_frames));
		} else
			add_frames(growth, layers[layer].frames, layers[layer].count);
	}
	size_t leaf_capacity = (size_t)nodes + 16;
	size_t leaf_count = 0;
	uint32_t *leaves = take(leaf_capacity, sizeof(*leaves));
	while (profile->node_count < nodes && leaf_count < leaf_capacity)
		leaves[leaf_count++] = grow_stack(growth);
	if (kind == FAKE_HOSTILE) {
		/* A chain of thousands of calls, and a template name as a C++ library can have. */
		char *name = take(100 * 1024 + 1, 1);
		for (size_t i = 0; i + 8 < 100 * 1024; i += 8)
			memcpy(name + i, i % 16 ? "<T, U>::" : "detail::", 8);
		uint32_t frame = profile->frame_count++;
		profile->frames[frame] = (struct frame){ .function = name, .file = "", .module = "libtemplates.so",
			.kind = FRAME_NATIVE };
		uint32_t node = 0;
		for (uint32_t i = 0; i < 3000; i++)
			node = grow_node(growth, node, i % 50 ? growth->layer_first[2] : frame);
		for (uint32_t i = 0; i < 200; i++)
			leaves[random_below((uint32_t)leaf_count)] = node;
	}
	fill_sites(profile, leaves, leaf_count);
	free(leaves);
}

/* All blocks of a site were of its mean size. */
static void fill_size_bins(struct profile *profile)
{
	profile->size_bin_count = 40;
	for (uint32_t i = 0; i < profile->size_bin_count; i++) {
		profile->size_bins[i].min = i ? UINT64_C(1) << (i - 1) : 0;
		profile->size_bins[i].max = i ? (UINT64_C(1) << i) - 1 : 0;
	}
	for (size_t i = 0; i < profile->site_count; i++) {
		const struct cost *cost = &profile->sites[i].cost;
		if (!cost->total_count || !profile_counts(profile, &profile->sites[i]))
			continue;
		uint32_t bin = 0;
		while (bin + 1 < profile->size_bin_count && profile->size_bins[bin].max < cost->total_bytes / cost->total_count)
			bin++;
		profile->size_bins[bin].count += cost->total_count;
		profile->size_bins[bin].bytes += cost->total_bytes;
	}
}

struct profile *fake_profile_new(enum fake_kind kind, uint32_t nodes)
{
	random_state = 20261122;
	struct profile *profile = take(1, sizeof(*profile));
	uint32_t frame_capacity = 2;
	for (uint32_t layer = 0; layer < LAYERS; layer++)
		frame_capacity += layers[layer].count * LINES_PER_FRAME;
	struct growth growth = { .profile = profile, .node_capacity = nodes + 4096 };
	profile->frames = take(frame_capacity + LINES_PER_FRAME * COUNT(hostile_frames), sizeof(*profile->frames));
	profile->nodes = take(growth.node_capacity, sizeof(*profile->nodes));
	uint32_t slots = 1024;
	while (slots < growth.node_capacity * 2)
		slots *= 2;
	growth.slots = take(slots, sizeof(*growth.slots));
	growth.slot_mask = slots - 1;
	profile->frames[profile->frame_count++] = (struct frame){ "<all>", "", "", 0, FRAME_SPECIAL, 0 };
	profile->node_count = 1;
	profile->duration_ns = 754 * SECOND + 123456789;
	profile->at_time_ns = profile->duration_ns;
	profile->temporary_limit = 1;
	profile->symbols_resolved = true;
	fill_capture(profile, kind);
	if (kind != FAKE_EMPTY) {
		fill_tree(&growth, kind, nodes);
		profile->peak_bytes = profile->total.peak_bytes;
		profile->free_count = profile->total.total_count - profile->total.live_count;
		fill_timeline(profile);
		fill_size_bins(profile);
	}
	free(growth.slots);
	return profile;
}

/* The 100 KB name of the hostile profile is the only text on the heap. */
void fake_profile_free(struct profile *profile)
{
	if (!profile)
		return;
	for (uint32_t i = 0; i < profile->frame_count; i++) {
		if (!strcmp(profile->frames[i].module, "libtemplates.so"))
			free((char *)(uintptr_t)profile->frames[i].function);
	}
	free(profile->captures);
	free(profile->frames);
	free(profile->nodes);
	free(profile->sites);
	free(profile->threads);
	free(profile->timeline);
	free(profile->marks);
	free(profile);
}
