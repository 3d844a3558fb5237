/* SPDX-License-Identifier: MIT */
/*
 * Holds a capture of victims/random.c against the journals that it wrote:  check_random CAPTURE JOURNAL...
 *
 * The events of its threads, in the order of replay, must be the journal's lines, one for one: kind, address, size,
 * thread, and every frame of the stack.  With one journal ("ordered") that holds for all threads together; with one a
 * thread ("loose") for each thread by itself, and what is live at the end must follow from the journals.  The first
 * difference ends it with status 1.  Else it prints an account of the whole process, kept here in the plainest form,
 * as JSON, for comparison with what the command says.
 *
 * Events of the main thread, in which libc allocates for stdio and for starting threads, are part of the account only.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "live_blocks.h"
#include "second_reader.h"

enum { THREADS_MAX = 64, FUNCTIONS_MAX = 32, PATH_SIZE = 8, NAME_SIZE = 24, LINE_SIZE = 256, FRAMES_MAX = 64 };

struct line {
	bool allocation;
	unsigned kind, thread, site;  /* site: index of a function */
	uint64_t address, size;
	char path[PATH_SIZE];
};

struct journal {
	const char *name;
	FILE *file;
	uint64_t number;              /* of the line read last */
};

static struct journal journals[THREADS_MAX];
static unsigned journal_count;
static uint32_t tids[THREADS_MAX];    /* 0: no such thread */

static struct function {
	char name[NAME_SIZE];
	uint64_t start, size;
	uint64_t bytes;               /* asked for there, of allocations that count once whatever they do in place */
} functions[FUNCTIONS_MAX];
static unsigned function_count;

static unsigned function_named(const char *name)
{
	for (unsigned i = 0; i < function_count; i++)
		if (!strcmp(functions[i].name, name))
			return i;
	die("the journal names a function %s that it did not tell of", name);
}

static unsigned function_at(uint64_t pc)
{
	for (unsigned i = 0; i < function_count; i++)
		if (pc - functions[i].start < functions[i].size)
			return i;
	return FUNCTIONS_MAX;
}

static void meet_function(const char *words)
{
	struct function *function = &functions[function_count++];

	if (function_count > FUNCTIONS_MAX
			|| sscanf(words, "%23s %" SCNx64 " %" SCNu64, function->name, &function->start, &function->size) != 3)
		die("journal: f %s", words);
}

static void meet_thread(const char *words)
{
	unsigned thread, tid;

	if (sscanf(words, "%u %u", &thread, &tid) != 2 || thread >= THREADS_MAX || tids[thread])
		die("journal: t %s", words);
	tids[thread] = tid;
}

static void meet_allocation(struct line *line, char *words)
{
	char *at = words;

	line->allocation = true;
	line->kind = (unsigned)strtoul(at, &at, 10);
	line->address = strtoull(at, &at, 16);
	line->size = strtoull(at, &at, 10);
	char *site = ++at;

	while (*at && *at != ' ')
		at++;
	if (!*at)
		die("journal: + %s", words);
	*at++ = 0;
	line->site = function_named(site);
	line->thread = (unsigned)strtoul(at, &at, 10);
	size_t length = strcspn(++at, "\n");

	if (length >= PATH_SIZE)
		die("journal: a path too long");
	memcpy(line->path, at, length);
	line->path[length] = 0;
	if (!strcmp(line->path, "-"))
		line->path[0] = 0;
}

static char text[LINE_SIZE];   /* the line read last, of any journal */

/* Reads a line, and takes in what is not an event; false at the end. */
static bool journal_next_line(struct journal *journal)
{
	if (!fgets(text, sizeof(text), journal->file))
		return false;
	journal->number++;
	if (text[0] == 'f')
		meet_function(text + 2);
	else if (text[0] == 't')
		meet_thread(text + 2);
	else if (text[0] != '+' && text[0] != '-')
		die("%s:%" PRIu64 ": %s", journal->name, journal->number, text);
	return true;
}

/* The next event's line; false at the end. */
static bool journal_next(struct journal *journal, struct line *line)
{
	while (journal_next_line(journal)) {
		char *at = text + 2;

		if (text[0] == '+') {
			meet_allocation(line, at);
			return true;
		}
		if (text[0] == '-') {
			*line = (struct line){ .address = strtoull(at, &at, 16) };
			line->thread = (unsigned)strtoul(at, NULL, 10);
			return true;
		}
	}
	return false;
}

/* ---- the account: capture.md, section 8 ---- */

struct account {
	uint64_t events, compared, frames, counter_events;
	uint64_t total_count, total_bytes, live_count, live_bytes, peak_bytes, contradictions, unknown_frees;
	struct blocks blocks;
};

/* What a thread's realloc took away, until it gives its new block. */
static struct {
	uint64_t address, size;
	bool pending;
} *moving;
static uint32_t moving_count;

static void expect_thread(uint32_t thread)
{
	if (thread < moving_count)
		return;
	moving = more_memory(moving, thread + 64, sizeof(*moving));
	memset(&moving[moving_count], 0, (thread + 64 - moving_count) * sizeof(*moving));
	moving_count = thread + 64;
}

static void account_add(struct account *account, const struct event *event, uint64_t size, bool of_main)
{
	struct block *block = block_at(&account->blocks, event->address);

	if (block->size || block->count) {
		account->contradictions++;
		account->live_bytes -= block->size;
		account->live_count--;
	}
	*block = (struct block){ event->address, size, 1, event->stack, of_main };
	account->live_count++;
	account->live_bytes += size;
	if (account->live_bytes > account->peak_bytes)
		account->peak_bytes = account->live_bytes;
}

static void account_remove(struct account *account, const struct event *event)
{
	struct block *block = account->blocks.slots ? block_find(&account->blocks, event->address) : NULL;

	if (!block || !block->address) {
		account->unknown_frees++;
		return;
	}
	if (is_move(event->kind)) {
		moving[event->thread].pending = true;
		moving[event->thread].address = event->address;
		moving[event->thread].size = block->size;
	}
	account->live_count--;
	account->live_bytes -= block->size;
	block_remove(&account->blocks, block);
}

static void account_event(struct account *account, const struct event *event, bool of_main)
{
	expect_thread(event->thread);
	account->events++;
	account->counter_events += event->stamp >> 48 != 0;
	if (is_allocation(event->kind)) {
		bool again = is_reallocation(event->kind) && moving[event->thread].pending;

		if (!again || moving[event->thread].address != event->address
				|| event->size > moving[event->thread].size) {
			account->total_count++;
			account->total_bytes += event->size;
		}
		if (again)
			moving[event->thread].pending = false;
		account_add(account, event, event->size, of_main);
	} else if (is_free(event->kind) || is_move(event->kind)) {
		account_remove(account, event);
	} else if (event->kind == STAY) {
		moving[event->thread].pending = false;
		account_add(account, event, moving[event->thread].size, of_main);
	} else if (event->kind != MAP || !(event->flags & 7)) {
		die("kind %u: this account has no mappings, and the program makes none", event->kind);
	}
}

/* ---- stacks ---- */

/* The return addresses, one for each pair of a function and what it called, whose first sight is what is expected. */
static uint64_t return_addresses[FUNCTIONS_MAX][FUNCTIONS_MAX + 1];
static unsigned below_work_count;
static uint64_t below_work[FRAMES_MAX];

static const char *name_of(unsigned function)
{
	return function < function_count ? functions[function].name : "?";
}

static void check_frame(const struct event *event, unsigned depth, uint64_t pc, unsigned expected, unsigned callee)
{
	unsigned actual = function_at(pc);

	if (actual != expected)
		die("block %" PRIx64 ", frame %u: %" PRIx64 " is in %s, and the program was in %s", event->address, depth, pc,
			name_of(actual), name_of(expected));
	if (!return_addresses[expected][callee])
		return_addresses[expected][callee] = pc;
	if (return_addresses[expected][callee] != pc)
		die("block %" PRIx64 ", frame %u: %" PRIx64 " and %" PRIx64 " in %s, which calls %s once", event->address, depth,
			pc, return_addresses[expected][callee], name_of(expected), name_of(callee));
}

static unsigned read_frames(const struct capture *capture, const struct event *event, uint64_t *frames)
{
	unsigned count = 0;

	for (uint32_t id = event->stack; id; id = capture->nodes[id].parent) {
		if (id >= capture->node_count || !capture->nodes[id].known)
			die("block %" PRIx64 ": stack %u has no node", event->address, id);
		if (capture->nodes[id].frame >> 62)
			die("block %" PRIx64 ": a frame that is not native", event->address);
		if (count == FRAMES_MAX)
			die("block %" PRIx64 ": more than %d frames", event->address, FRAMES_MAX);
		frames[count++] = capture->nodes[id].frame & (((uint64_t)1 << 48) - 1);
	}
	return count;
}

/* Innermost first: the site, event, the path backwards, work, and what the C library has below a thread's start. */
static unsigned check_stack(const struct capture *capture, const struct event *event, const struct line *line)
{
	uint64_t frames[FRAMES_MAX];
	unsigned count = read_frames(capture, event, frames), at = 0, callee = FUNCTIONS_MAX;
	unsigned expected[PATH_SIZE + 3] = { line->site, function_named("event") }, expected_count = 2;
	char name[] = "path_0";

	for (size_t i = strlen(line->path); i-- > 0;) {
		name[5] = line->path[i];
		expected[expected_count++] = function_named(name);
	}
	expected[expected_count++] = function_named("work");
	for (; at < expected_count && at < count; callee = expected[at++])
		check_frame(event, at, frames[at], expected[at], callee);
	if (at < expected_count)
		die("block %" PRIx64 ": the stack has %u frames of the program, not %u", event->address, at, expected_count);
	if (!below_work_count) {
		below_work_count = count - at;
		memcpy(below_work, frames + at, below_work_count * sizeof(*frames));
	}
	if (count - at != below_work_count || memcmp(below_work, frames + at, below_work_count * sizeof(*frames)) != 0)
		die("block %" PRIx64 ": another start of the thread than that of the first", event->address);
	return count;
}

/* ---- journal against capture ---- */

/* tid by the recorder's number of a thread. */
static uint32_t *recorded_tids;
static uint32_t recorded_tid_count;

static void read_threads(const struct capture *capture)
{
	for (size_t i = 0; i < capture->metadata_count; i++) {
		const struct metadata *metadata = &capture->metadata[i];

		if (metadata->kind != THREAD_INFO)
			continue;
		uint32_t index = get_u32(metadata->payload);

		if (index >= recorded_tid_count) {
			recorded_tids = more_memory(recorded_tids, index + 64, sizeof(*recorded_tids));
			memset(&recorded_tids[recorded_tid_count], 0,
				(index + 64 - recorded_tid_count) * sizeof(*recorded_tids));
			recorded_tid_count = index + 64;
		}
		recorded_tids[index] = get_u32(metadata->payload + 4);
	}
}

static void check_event(struct account *account, const struct capture *capture, const struct event *event,
	struct journal *journal)
{
	struct line line;

	if (!journal_next(journal, &line))
		die("%s ends, and the capture has kind %u of %" PRIx64 " (thread %u, stamp %" PRIu64 ")", journal->name,
			event->kind, event->address, event->thread, event->stamp);
	bool same = line.address == event->address && tids[line.thread] == recorded_tids[event->thread]
		&& (line.allocation ? line.kind == event->kind && line.size == event->size
			: is_free(event->kind) || is_move(event->kind));

	if (!same)
		die("%s:%" PRIu64 ": %c kind %u %" PRIx64 " size %" PRIu64 " of tid %u; the capture has kind %u %" PRIx64
			" size %" PRIu64 " of tid %u, stamp %" PRIu64, journal->name, journal->number, line.allocation ? '+' : '-',
			line.kind, line.address, line.size, tids[line.thread], event->kind, event->address, event->size,
			recorded_tids[event->thread], event->stamp);
	account->compared++;
	if (line.allocation) {
		account->frames += check_stack(capture, event, &line);
		functions[line.site].bytes += line.size;
	}
}

/* The threads' numbers are in their journals' first lines; of an ordered journal they come as they appear. */
static struct journal *journal_of(const struct event *event)
{
	if (journal_count == 1)
		return &journals[0];
	for (unsigned i = 0; i < journal_count; i++)
		if (tids[i] == recorded_tids[event->thread])
			return &journals[i];
	die("thread %u (tid %u) keeps no journal", event->thread, recorded_tids[event->thread]);
}

static void open_journals(unsigned count, char **names)
{
	if (count > THREADS_MAX)
		die("more than %d journals", THREADS_MAX);
	journal_count = count;
	for (unsigned i = 0; i < count; i++) {
		journals[i] = (struct journal){ .name = names[i], .file = fopen(names[i], "r") };
		if (!journals[i].file)
			die("cannot open %s", names[i]);
		/* What comes before the first event: functions, and whose journal it is. */
		for (int first; (first = getc(journals[i].file)) != EOF;) {
			ungetc(first, journals[i].file);
			if (first != 'f' && first != 't')
				break;
			journal_next_line(&journals[i]);
		}
	}
}

/* Blocks that the journals leave live: as many allocations as frees, but for those. */
static void check_live(const struct account *account)
{
	struct blocks net = { 0 };
	size_t live = 0, expected = 0;

	for (unsigned i = 0; i < journal_count; i++) {
		rewind(journals[i].file);
		while (fgets(text, sizeof(text), journals[i].file))
			if (text[0] == '+' || text[0] == '-') {
				const char *address = text[0] == '-' ? text + 2 : strchr(text + 2, ' ');

				block_at(&net, strtoull(address, NULL, 16))->count += text[0] == '+' ? 1 : -1;
			}
	}
	for (size_t i = 0; net.slots && i <= net.mask; i++) {
		if (!net.slots[i].address || net.slots[i].count == 0)
			continue;
		expected++;
		struct block *block = block_find(&account->blocks, net.slots[i].address);

		if (net.slots[i].count != 1 || !block->address || block->of_main)
			die("the journals leave %" PRIx64 " live, the capture does not", net.slots[i].address);
	}
	for (size_t i = 0; i <= account->blocks.mask; i++)
		live += account->blocks.slots[i].address && !account->blocks.slots[i].of_main;
	if (live != expected)
		die("%zu blocks are live by the capture, %zu by the journals", live, expected);
	free(net.slots);
}

static void print_account(const struct account *account)
{
	printf("{\"events\": %" PRIu64 ", \"compared\": %" PRIu64 ", \"frames\": %" PRIu64 ", \"by_counter\": %" PRIu64
		", \"total_count\": %" PRIu64 ", \"total_bytes\": %" PRIu64 ", \"live_count\": %" PRIu64 ", \"live_bytes\": %" PRIu64
		", \"peak_bytes\": %" PRIu64 ", \"sites\": {", account->events, account->compared, account->frames,
		account->counter_events, account->total_count, account->total_bytes, account->live_count, account->live_bytes,
		account->peak_bytes);
	for (unsigned i = 0; i < function_count; i++)
		printf("%s\"%s\": %" PRIu64, i ? ", " : "", functions[i].name, functions[i].bytes);
	printf("}}\n");
}

int main(int argc, char **argv)
{
	static struct capture capture;
	struct account account = { 0 };
	struct merge merge;
	struct line line;

	if (argc < 3)
		die("usage: check_random CAPTURE JOURNAL...");
	capture_open(&capture, argv[1]);
	read_threads(&capture);
	open_journals((unsigned)argc - 2, argv + 2);
	merge_begin(&merge, &capture);
	for (const struct event *event; (event = merge_next(&merge));) {
		if (event->thread >= recorded_tid_count || !recorded_tids[event->thread])
			die("thread %u is not told of", event->thread);
		bool of_main = recorded_tids[event->thread] == capture.pid;

		account_event(&account, event, of_main);
		if (!of_main && event->kind != MAP)
			check_event(&account, &capture, event, journal_of(event));
	}
	for (unsigned i = 0; i < journal_count; i++)
		if (journal_next(&journals[i], &line))
			die("%s:%" PRIu64 ": %" PRIx64 " is not in the capture", journals[i].name, journals[i].number, line.address);
	if (account.contradictions || account.unknown_frees)
		die("%" PRIu64 " contradictions, %" PRIu64 " unknown frees", account.contradictions, account.unknown_frees);
	check_live(&account);
	print_account(&account);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
