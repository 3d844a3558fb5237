/* SPDX-License-Identifier: MIT */
/*
 * sctmem ctl: steers the recording of a running process through the status of its capture, which the process has
 * mapped (formats/capture.md, "Status").  The process has no thread and no signal handler of ours: it sees what is
 * asked when it next allocates or frees, and while it records, when its coarse clock has moved since.
 *
 *     ctl        flock    name, request  -->  . . . . . . . . . . . .  <--  answer     unlock
 *     process                                 malloc(): looks, does it
 *
 * A run in segments has its status in the newest file; the number of the request goes along.  `rotate` is answered in
 * the file that it asked for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "json.h"
#include "memory.h"
#include "target.h"
#include "text.h"

enum { ACTION_START, ACTION_STOP, ACTION_MARK, ACTION_SNAPSHOT, ACTION_ROTATE, ACTION_STATUS, ACTIONS };

static const struct action {
	const char *name;
	enum capture_command command;
	const char *done, *already;
} actions[ACTIONS] = {
	[ACTION_START] = { "start", CAPTURE_ASK_START, "recording", "was recording already" },
	[ACTION_STOP] = { "stop", CAPTURE_ASK_STOP, "recording stopped", "recording was stopped already" },
	[ACTION_MARK] = { "mark", CAPTURE_ASK_MARK, "marked", NULL },
	[ACTION_SNAPSHOT] = { "snapshot", CAPTURE_ASK_SNAPSHOT, "snapshot taken", NULL },
	[ACTION_ROTATE] = { "rotate", CAPTURE_ASK_ROTATE, "goes on in", NULL },
	[ACTION_STATUS] = { "status", CAPTURE_ASK_NOTHING, NULL, NULL },
};

struct settings {
	uint64_t wait_ns;
	bool json;
};

static bool parse_wait(const char *value, void *field, struct error *error)
{
	if (options_parse_time(value, field))
		return true;
	return fail(error, STATUS_USAGE, "not a time like 5, 500ms or 1m");
}

static const struct option_spec ctl_options[] = {
	OPTION_CUSTOM('w', "wait", "TIME", struct settings, wait_ns, uint64_t, parse_wait, NULL,
		"how long to wait for the process to see to it (default 2 s); what is asked stays asked after that"),
	OPTION_FLAG('j', "json", struct settings, json, "write JSON (its keys: docs/json.md)"),
	OPTION_LAST
};

static const struct option_group ctl_groups[] = { { .title = "Options", .options = ctl_options }, { 0 } };

/* What the operands say: [PID|CAPTURE] ACTION [NAME]. */
struct wish {
	const char *target;           /* NULL: the newest capture here */
	const struct action *action;
	char name[sizeof ((struct capture_status *)0)->request_name + 1];
};

static const struct action *find_action(const char *word)
{
	for (size_t i = 0; i < ACTIONS; i++)
		if (strcmp(actions[i].name, word) == 0)
			return &actions[i];
	return NULL;
}

static bool fail_action(const char *word, struct error *error)
{
	const char *names[ACTIONS];

	for (size_t i = 0; i < ACTIONS; i++)
		names[i] = actions[i].name;

	const char *meant = options_suggest(word, names, ACTIONS);

	return fail(error, STATUS_USAGE, "unknown action %s%s%s%s: start, stop, mark NAME, snapshot [NAME], rotate or status",
		word, meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
}

static bool take_name(struct wish *wish, const char *name, struct error *error)
{
	time_t now = time(NULL);
	struct tm parts;

	if (!name && wish->action->command == CAPTURE_ASK_MARK)
		return fail(error, STATUS_USAGE, "mark needs a name: sctmem ctl PID mark NAME");
	if (name && strlen(name) >= sizeof wish->name)
		return fail(error, STATUS_USAGE, "the name is too long: %zu bytes at most", sizeof wish->name - 1);
	if (name && !*name)
		return fail(error, STATUS_USAGE, "the name is empty");
	if (name)
		strcpy(wish->name, name);
	else if (wish->action->command == CAPTURE_ASK_SNAPSHOT && localtime_r(&now, &parts))
		strftime(wish->name, sizeof wish->name, "snapshot %Y-%m-%d %H:%M:%S", &parts);
	return true;
}

static bool read_wish(const struct arguments *arguments, struct wish *wish, struct error *error)
{
	char **word = arguments->argv;
	int left = arguments->count;

	*wish = (struct wish){ 0 };
	if (left == 0)
		return fail(error, STATUS_USAGE, "say what to do: sctmem ctl [PID|CAPTURE] start|stop|mark NAME|snapshot|rotate|"
			"status");
	wish->action = find_action(*word);
	if (!wish->action || (left > 1 && find_action(word[1]) && access(*word, F_OK) == 0)) {
		wish->target = *word++;
		left--;
		if (left == 0)
			return fail(error, STATUS_USAGE, "say what to do with %s: start, stop, mark NAME, snapshot [NAME], rotate "
				"or status",
				wish->target);
		wish->action = find_action(*word);
	}
	if (!wish->action)
		return fail_action(*word, error);
	word++;
	left--;

	const bool named = wish->action->command == CAPTURE_ASK_MARK || wish->action->command == CAPTURE_ASK_SNAPSHOT;

	if (left > (named ? 1 : 0))
		return fail(error, STATUS_USAGE, "%s takes %s: %s", wish->action->name, named ? "one name" : "nothing after it",
			word[named ? 1 : 0]);
	return take_name(wish, left ? *word : NULL, error);
}

/* "recording", "stopped", "not started", "ended", "killed" ...: the words of JSON, too. */
static const char *state_of(const struct target *target, const struct capture_status *status)
{
	switch (status->state) {
	case CAPTURE_EXITED: return target->alive ? "exiting" : "finished";
	case CAPTURE_STOPPED_STORAGE: return "stopped_storage";
	case CAPTURE_STOPPED_MEMORY: return "stopped_memory";
	case CAPTURE_STOPPED_USER: return "stopped_user";
	case CAPTURE_STOPPED_FILTER: return "stopped_filter";
	case CAPTURE_CONTINUED: return "continued";
	default: break;
	}
	if (!target->alive)
		return "killed";
	return status->paused ? "stopped" : "recording";
}

static const char *state_text(const char *state)
{
	static const char *const texts[][2] = {
		{ "exiting", "the process is about to end" },
		{ "finished", "the process has ended" },
		{ "stopped_storage", "recording is over: the file could not grow" },
		{ "stopped_memory", "recording is over: no memory for the recorder" },
		{ "stopped_user", "recording is over" },
		{ "stopped_filter", "recording is over: the program has its system calls filtered (seccomp)" },
		{ "killed", "the process has ended, killed or by _exit" },
		{ "continued", "this segment has ended, and the run goes on in the next" },
		{ "stopped", "recording is stopped, and can be started" },
		{ "recording", "recording" },
	};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (strcmp(texts[i][0], state) == 0)
			return texts[i][1];
	return state;
}

static void print_status(const struct target *target, const struct capture_status *status, bool as_json)
{
	const char *state = state_of(target, status);
	const uint64_t lost = status->lost_memory + status->lost_storage + status->lost_reentry;
	const bool pending = status->request >> 8 != status->answer >> 8 && (status->request & 0xff) != CAPTURE_ASK_NOTHING;

	if (as_json) {
		struct json json = { .file = stdout };

		json_object(&json, NULL);
		json_number(&json, "pid", target->pid);
		json_text(&json, "path", target->path);
		json_text(&json, "state", state);
		json_bool(&json, "alive", target->alive);
		json_bool(&json, "paused", status->paused != 0);
		json_bool(&json, "pending", pending);
		json_number(&json, "capture_bytes", status->file_bytes);
		json_number(&json, "segment", target->header.segment);
		json_number(&json, "tracer_bytes", status->tracer_bytes);
		json_number(&json, "lost_events", lost);
		json_object_end(&json);
		return;
	}

	struct text text = text_begin(stdout);

	printf("process %" PRIu32 ": %s\n", target->pid, state_text(state));
	fputs("capture ", stdout);
	text_write(&text, target->path, 0);
	if (target->header.segment)
		printf(", segment %" PRIu32, target->header.segment);
	printf(", %s%s\n", text_bytes(status->file_bytes).text,
		target->unlinked ? ", without a name: it goes with the process" : "");
	printf("recorder %s of memory, %s events lost\n", text_bytes(status->tracer_bytes).text, text_count(lost).text);
	if (pending)
		puts("something is asked of it that it has not seen to: it does when it next allocates or frees");
}

/* The first page of the capture, which holds the status. */
static struct capture_status *map_status(const struct target *target, void **page, struct error *error)
{
	*page = mmap(NULL, CAPTURE_HEADER_SIZE_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, target->file, 0);
	if (*page == MAP_FAILED) {
		*page = NULL;
		fail(error, STATUS_NO_INPUT, "cannot map %s: %s", target->path, strerror(errno));
		return NULL;
	}
	return (struct capture_status *)((char *)*page + CAPTURE_STATUS_OFFSET);
}

static void sleep_ms(unsigned milliseconds)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)milliseconds * 1000000 }, NULL);
}

static bool fail_ended(const struct target *target, const struct capture_status *status, struct error *error)
{
	return fail(error, STATUS_NO_INPUT, "process %" PRIu32 " cannot be asked: %s", target->pid,
		state_text(state_of(target, status)));
}

/* Others that ask hold the file: a moment each. */
static bool lock(const struct target *target, uint64_t deadline_ns, struct error *error)
{
	while (flock(target->file, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fail(error, STATUS_NO_INPUT, "cannot lock %s: %s", target->path, strerror(errno));
		if (clock_now_ns() >= deadline_ns)
			return fail(error, STATUS_NOT_YET, "another sctmem ctl is waiting for process %" PRIu32 ": try again",
				target->pid);
		sleep_ms(2);
	}
	return true;
}

static bool fail_unanswered(const struct target *target, const struct settings *settings, struct error *error)
{
	const char state = target_process_state(target);

	if (state == 'T' || state == 't')
		return fail(error, STATUS_NOT_YET, "process %" PRIu32 " is stopped by a signal or a debugger: "
			"it sees to it when it goes on", target->pid);
	return fail(error, STATUS_NOT_YET, "process %" PRIu32 " has neither allocated nor freed for %s, and so has not "
		"looked: it sees to it at its next allocation (sctmem ctl %" PRIu32 " status tells)", target->pid,
		text_time(settings->wait_ns).text, target->pid);
}

static bool report(const struct target *target, const struct wish *wish, unsigned result,
	const struct settings *settings, struct error *error)
{
	char shown[1024];

	switch ((enum capture_answer)result) {
	case CAPTURE_ANSWER_DONE:
	case CAPTURE_ANSWER_ALREADY:
		break;
	case CAPTURE_ANSWER_PAUSED:
		return fail(error, STATUS_NO_INPUT, "process %" PRIu32 " records nothing at present, so there is nothing to mark: "
			"sctmem ctl %" PRIu32 " start", target->pid, target->pid);
	case CAPTURE_ANSWER_UNKNOWN:
		return fail(error, STATUS_NO_INPUT, "the library in process %" PRIu32 " does not know %s: it is of another version",
			target->pid, wish->action->name);
	default:
		if (wish->action->command == CAPTURE_ASK_ROTATE)
			return fail(error, STATUS_NO_INPUT, "process %" PRIu32 " could not begin the next segment, or not copy into it "
				"all that it needs: is there room in the folder of %s, and may it write there? Recording goes on as before; ask "
				"again when that is mended", target->pid, target->path);
		return fail(error, STATUS_NO_INPUT, "process %" PRIu32 " could not do it: recording is over for good, "
			"or it has no memory", target->pid);
	}
	if (settings->json) {
		struct json json = { .file = stdout };

		json_object(&json, NULL);
		json_number(&json, "pid", target->pid);
		json_text(&json, "path", target->path);
		json_text(&json, "action", wish->action->name);
		json_bool(&json, "changed", result == CAPTURE_ANSWER_DONE);
		if (wish->name[0])
			json_text(&json, "name", wish->name);
		if (wish->action->command == CAPTURE_ASK_ROTATE)
			json_number(&json, "segment", target->header.segment);
		json_object_end(&json);
		return true;
	}
	printf("process %" PRIu32 ": %s", target->pid,
		result == CAPTURE_ANSWER_DONE ? wish->action->done : wish->action->already);
	if (wish->name[0])
		printf(" '%s'; look at it with --at '%s'", text_escape(shown, sizeof shown, wish->name), shown);
	if (wish->action->command == CAPTURE_ASK_ROTATE)
		printf(" %s, segment %" PRIu32, text_escape(shown, sizeof shown, target->path), target->header.segment);
	putchar('\n');
	return true;
}

enum { SETTLE_NS = 10000000 };

/* A request, which may outlive the file that it was made in. */
struct request {
	uint64_t number;              /* 0: not made yet */
	uint64_t first;               /* the number in the first file that it was made in */
	uint64_t settled_ns;          /* until then an answer to one made in an earlier file is waited for */
};

/*
 * A number above all that were asked here, and not the next one: whoever asks in the file before at this moment does
 * not see this one, and must not choose the same.
 */
static uint64_t next_number(const struct capture_status *status, uint64_t number)
{
	enum { JUMP = 1 << 20 };
	const uint64_t there = atomic_load((const _Atomic uint64_t *)&status->request) >> 8;
	const uint64_t answered = atomic_load((const _Atomic uint64_t *)&status->answer) >> 8;

	if (number < there)
		number = there;
	if (number < answered)
		number = answered;
	return (number + 1 + clock_now_ns() % JUMP) & (UINT64_MAX >> 8);
}

/* What became of asking in one file. */
enum asked { ASKED_DONE, ASKED_FAILED, ASKED_ELSEWHERE, ASKED_TOO_LOW };

/*
 * Waits for the answer to a request.  ASKED_ELSEWHERE: the run goes on in another file.  ASKED_TOO_LOW: a larger number
 * has been seen to, in the file before this one, so that this one never will be.
 */
static enum asked wait_for_answer(const struct target *target, struct capture_status *status, uint64_t number,
	const struct wish *wish, const struct settings *settings, uint64_t deadline_ns, struct error *error)
{
	const _Atomic uint64_t *answer = (const _Atomic uint64_t *)&status->answer;
	const _Atomic uint64_t *state = (const _Atomic uint64_t *)&status->state;
	unsigned pause_ms = 1;

	for (;;) {
		const uint64_t now = atomic_load(state), seen = atomic_load(answer);

		if (seen >> 8 == number)
			return report(target, wish, seen & 0xff, settings, error) ? ASKED_DONE : ASKED_FAILED;
		if (now == CAPTURE_CONTINUED)
			return ASKED_ELSEWHERE;
		if (seen >> 8 > number)
			return ASKED_TOO_LOW;
		if (!target_is_alive(target) && atomic_load(state) != CAPTURE_CONTINUED) {
			fail(error, STATUS_NO_INPUT, "process %" PRIu32 " has ended before it saw to it", target->pid);
			return ASKED_FAILED;
		}
		if (now != CAPTURE_RUNNING) {
			fail_ended(target, status, error);
			return ASKED_FAILED;
		}
		if (clock_now_ns() >= deadline_ns) {
			fail_unanswered(target, settings, error);
			return ASKED_FAILED;
		}
		sleep_ms(pause_ms);
		pause_ms = pause_ms < 20 ? pause_ms + 1 : 20;
	}
}

/* Whether the request, made in another file, is answered in this one or has been carried over to it. */
static bool is_here(const struct capture_status *status, const struct request *asked)
{
	return atomic_load((const _Atomic uint64_t *)&status->answer) >> 8 == asked->number ||
		atomic_load((const _Atomic uint64_t *)&status->request) >> 8 == asked->number;
}

static void put_request(struct capture_status *status, const struct wish *wish, struct request *asked)
{
	_Atomic uint64_t *request = (_Atomic uint64_t *)&status->request;
	const uint64_t withdrawn = next_number(status, asked->number);
	const size_t size = strlen(wish->name);

	/* What was asked before and not seen to is withdrawn, so that it is not done under the new name. */
	atomic_store(request, withdrawn << 8 | CAPTURE_ASK_NOTHING);
	memcpy(status->request_name, wish->name, size);
	status->request_size = size;
	asked->number = (withdrawn + 1) & (UINT64_MAX >> 8);
	if (!asked->first)
		asked->first = asked->number;
	status->request_first = asked->first;
	asked->settled_ns = 0;
	atomic_store(request, asked->number << 8 | wish->action->command);
}

/*
 * Asks, with the file locked, and waits.  What was asked in the file before this one goes along, or the process saw it
 * there and answers here; if neither is to be seen, since it came too late or another's has taken the place, it is
 * asked anew, and called what it was called first.
 */
static enum asked ask(const struct target *target, struct capture_status *status, const struct wish *wish,
	const struct settings *settings, uint64_t deadline_ns, struct request *asked, struct error *error)
{
	enum asked became = ASKED_TOO_LOW;

	while (asked->number && !is_here(status, asked) && clock_now_ns() < asked->settled_ns) {
		if (atomic_load((const _Atomic uint64_t *)&status->state) == CAPTURE_CONTINUED)
			return ASKED_ELSEWHERE;
		sleep_ms(1);
	}
	if (asked->number && is_here(status, asked))
		became = wait_for_answer(target, status, asked->number, wish, settings, deadline_ns, error);
	while (became == ASKED_TOO_LOW) {
		put_request(status, wish, asked);
		became = wait_for_answer(target, status, asked->number, wish, settings, deadline_ns, error);
	}
	return became;
}

static enum asked steer(const struct target *target, const struct wish *wish, const struct settings *settings,
	uint64_t deadline_ns, struct request *request, struct error *error)
{
	struct capture_status *status;
	enum asked asked = ASKED_FAILED;
	void *page;

	if (wish->action->command == CAPTURE_ASK_ROTATE && !target->header.segment) {
		fail(error, STATUS_NO_INPUT, "process %" PRIu32 " records into one file, which has no segments: record with "
			"sctmem run --rotate SIZE|TIME (SCTMEM_ROTATE), as --rotate 1G, or --rotate 365d for none but those that are "
			"asked for", target->pid);
		return ASKED_FAILED;
	}
	if (target->header.version < 2) {
		fail(error, STATUS_NO_INPUT, "%s was written by a library that cannot be asked (format version %" PRIu32
			"): record with a newer one", target->path, target->header.version);
		return ASKED_FAILED;
	}
	status = map_status(target, &page, error);
	if (!status)
		return ASKED_FAILED;
	const uint64_t state = atomic_load((_Atomic uint64_t *)&status->state);

	if (state == CAPTURE_CONTINUED)
		asked = ASKED_ELSEWHERE;
	else if (!target->alive || state != CAPTURE_RUNNING)
		fail_ended(target, status, error);
	else if (lock(target, deadline_ns, error)) {
		asked = ask(target, status, wish, settings, deadline_ns, request, error);
		flock(target->file, LOCK_UN);
	}
	munmap(page, CAPTURE_HEADER_SIZE_MIN);
	return asked;
}

/* A run in segments may go on in its next file while it is asked in this one: then it is asked there. */
static bool steer_on(struct target *target, const struct wish *wish, const struct settings *settings,
	struct error *error)
{
	const uint64_t deadline_ns = clock_now_ns() + settings->wait_ns;
	struct request request = { 0 };
	char pid[16];

	for (;;) {
		const uint32_t run_pid = target->pid;
		enum asked asked = steer(target, wish, settings, deadline_ns, &request, error);

		if (asked != ASKED_ELSEWHERE)
			return asked == ASKED_DONE;
		if (run_pid == 0)
			return fail(error, STATUS_NO_INPUT, "%s is a segment that has ended: ask the process by its number",
				target->path);
		if (clock_now_ns() >= deadline_ns)
			return fail(error, STATUS_NOT_YET, "process %" PRIu32 " goes on in a new file again and again before it has "
				"looked: try again", run_pid);
		if (request.settled_ns == 0)
			request.settled_ns = clock_now_ns() + SETTLE_NS;
		snprintf(pid, sizeof pid, "%" PRIu32, run_pid);
		sleep_ms(1);                  /* both files are mapped for a moment */
		target_close(target);
		if (!target_open(target, pid, true, error))
			return false;
	}
}

static bool ctl_run(struct invocation *invocation, struct error *error)
{
	struct settings settings = { .wait_ns = 2000000000 };
	struct capture_status status;
	struct target target;
	struct wish wish;
	bool ok;

	if (!command_parse(invocation, &settings, error) || !read_wish(&invocation->arguments, &wish, error))
		return false;
	if (!target_open(&target, wish.target, wish.action->command != CAPTURE_ASK_NOTHING, error))
		return false;
	if (wish.action->command == CAPTURE_ASK_NOTHING) {
		ok = target_read_status(&target, &status, error);
		if (ok)
			print_status(&target, &status, settings.json);
	} else {
		ok = steer_on(&target, &wish, &settings, error);
	}
	target_close(&target);
	return ok;
}

static const struct command_example ctl_examples[] = {
	{ "sctmem ctl 1234 start", "record from now on, in a process that sctmem run --start=off began" },
	{ "sctmem ctl 1234 snapshot before", "a moment that every view can be taken at: sctmem leaks --at before" },
	{ "sctmem ctl 1234 stop", "enough" },
	{ "sctmem ctl 1234 rotate", "what was recorded so far is in files that can be moved away (sctmem run --rotate)" },
	{ "sctmem ctl status", "of the process that writes the newest capture here" },
	{ 0 }
};

const struct command ctl_command = {
	.name = "ctl",
	.summary = "start, stop, mark or rotate the recording of a running process",
	.arguments = "[PID|CAPTURE] start|stop|mark NAME|snapshot [NAME]|rotate|status",
	.operands = COMMAND_CAPTURES,
	.description =
		"Steers the recording of a process that runs under the library. While recording is stopped the process is hardly "
		"slower than without the library, and nothing is known of what it does: blocks that lived when it stopped count "
		"neither as leaks nor as freed once it starts again, and every view says so.\n\n"
		"A mark is a moment with a name: --from and --to take it, and --at. A snapshot is a mark at which resident memory "
		"is looked at, too, page by page (sctmem insights -a resident --at NAME); without a name it is called after the "
		"time.\n\n"
		"A run in segments (sctmem run --rotate) begins its next file at once with rotate, whether recording goes on or is "
		"stopped. It says which, when all that this file needs is in it: those before can then be read, moved or deleted; "
		"--keep holds as ever.\n\n"
		"The process sees what is asked when it next allocates or frees, within a few milliseconds if it is busy. If it is "
		"idle, this verb ends with status 9 after --wait, and what was asked is done at the next allocation.",
	.groups = ctl_groups,
	.examples = ctl_examples,
	.run = ctl_run,
};
