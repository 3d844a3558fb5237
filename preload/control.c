/* SPDX-License-Identifier: MIT */
/*
 * Recording stops and begins again through the baton (order.h), so each capture holds stretches of a past that was,
 * with a RECORDING record at both ends of what is missing.
 *
 *     stop    baton -> PAUSED        from here on no event can be recorded; those under way have smaller stamps
 *             STAMP TIME RECORDING off
 *     start   STAMP TIME SAMPLE RECORDING on, modules
 *             baton -> a later stamp    a kill before it leaves the record without anything behind it, never events
 *                                       without the record
 *
 * Other threads need not be told: the next event of each fails at the baton, and closes its gate (GATE_PAUSED), where
 * it looks whether recording is on again.
 *
 * From outside (sctmem ctl) the request is a number and a command in the status of the capture, which is a shared
 * mapping of the file.  Who recorded last looks at it when the coarse clock has moved, who records nothing at each
 * call; so no event costs anything for it.  Whoever takes the number up does what is asked at the end of its hook,
 * and writes the answer.  Numbers grow: where a segment begins (output.c), the status may be an older one for a moment.
 * There is room for one answer, so who finds another's in the next segment's file asks again, and is told what became
 * of it the first time.
 */
#include "control.h"

#include <errno.h>
#include <string.h>

#include "cull.h"
#include "lifecycle.h"
#include "modules.h"
#include "order.h"
#include "output.h"
#include "python.h"
#include "record.h"
#include "rotate.h"
#include "stream.h"
#include "sys.h"

#include "banned.h"

enum {
	WORDS_MAX = 32,               /* STAMP, TIME, SAMPLE, a thread's name, RECORDING */
	WAIT_TURNS_MAX = 10000,       /* for another thread that is changing it */
	SEEN_LATELY = 64,
};

/* Each change from one of the first two to the other is made by one thread, CHANGING meanwhile. */
enum state { RUNNING, PAUSED, CHANGING };

static _Atomic int control_state;
static _Atomic uint64_t taken_up;     /* the newest request that somebody has seen to, or is seeing to */
/* The requests that were taken up lately. */
static struct seen {
	_Atomic uint64_t word;        /* number under which it was first asked << 8 | answer; none yet: it is under way */
	_Atomic uint64_t again;       /* the request that asks for it again; 0: none */
} seen_lately[SEEN_LATELY];
static _Atomic unsigned seen_count;
static struct control_quiet never_quiet;
struct control_quiet *control_quiet = &never_quiet;

static _Atomic uint64_t *status_word(uint64_t *field)
{
	return (_Atomic uint64_t *)field;
}

static void set_quiet(bool quiet)
{
	atomic_store(&control_quiet->seen, atomic_load(&taken_up));
	atomic_store(&control_quiet->request, quiet ? status_word(&output_status()->request) : NULL);
}

void control_begin(bool paused, struct control_quiet *quiet)
{
	atomic_store(&taken_up, 0);
	for (size_t i = 0; i < SEEN_LATELY; i++)
		atomic_store(&seen_lately[i].word, 0);
	control_quiet = quiet;
	output_status()->paused = paused;
	set_quiet(paused);
	if (paused)
		order_begin_paused();
	atomic_store(&control_state, paused ? PAUSED : RUNNING);
}

bool control_is_asked(void)
{
	return atomic_load_explicit(status_word(&output_status()->request), memory_order_acquire) >
		atomic_load_explicit(&taken_up, memory_order_relaxed);
}

static bool put_recording(struct thread *thread, bool on, unsigned by)
{
	const struct capture_recording recording = { .on = on, .by = by };
	const struct stream_part parts[] = { { &recording, sizeof(recording) } };

	record_now(thread);
	return stream_metadata(thread, CAPTURE_RECORDING, parts, 1);
}

static bool pause_recording(struct thread *thread, unsigned by)
{
	/* Once the baton is gone the pause holds, whether or not it can still be written down: `start` says so, too. */
	if (!stream_room(thread, WORDS_MAX) || !order_pause(thread))
		return false;
	put_recording(thread, false, by);
	return true;
}

static bool resume_recording(struct thread *thread, unsigned by)
{
	if (!stream_room(thread, WORDS_MAX) || !order_resume_stamp(thread) || !put_recording(thread, true, by))
		return false;
	modules_refresh(thread);
	return order_resume(thread);
}

/* The thread's gate is at OURS. */
static enum capture_answer change(struct thread *thread, bool on, unsigned by)
{
	int from = on ? PAUSED : RUNNING, to = on ? RUNNING : PAUSED;
	uint64_t signals;
	bool ok;

	for (unsigned tries = 0;;) {
		int found = from;

		/* A handler that came in between would wait for what it has interrupted. */
		sys_signals_block(&signals);
		if (atomic_compare_exchange_strong(&control_state, &found, CHANGING))
			break;
		sys_signals_restore(&signals);
		if (found == to)
			return CAPTURE_ANSWER_ALREADY;
		if (tries >= WAIT_TURNS_MAX)
			return CAPTURE_ANSWER_FAILED;
		sys_wait_turn(&tries);
	}
	/* Nobody passes on unheard once the baton is there again. */
	if (on)
		set_quiet(false);
	cull_moment_begin();
	ok = on ? resume_recording(thread, by) : pause_recording(thread, by);
	cull_moment_end(thread->stamp, CULL_MARK);
	if (ok)
		atomic_store(status_word(&output_status()->paused), !on);
	if (ok != on)
		set_quiet(true);
	atomic_store_explicit(&control_state, ok ? to : from, memory_order_release);
	sys_signals_restore(&signals);
	return ok ? CAPTURE_ANSWER_DONE : CAPTURE_ANSWER_FAILED;
}

/* Python's allocators are hooked where the interpreter is at rest: mostly here, else in its next malloc(). */
static void poll_python(struct thread *thread)
{
	if (atomic_load_explicit(&python_state, memory_order_relaxed) != PYTHON_FOUND)
		return;
	thread->own_call = true;
	python_poll();
	thread->own_call = false;
}

static enum capture_answer mark(struct thread *thread, const char *name, size_t size, bool snapshot)
{
	if (control_is_paused())
		return CAPTURE_ANSWER_PAUSED;
	if (record_put_mark(thread, name, size, snapshot))
		return CAPTURE_ANSWER_DONE;
	return lifecycle_is_recording() && !order_is_stopped() ? CAPTURE_ANSWER_PAUSED : CAPTURE_ANSWER_FAILED;
}

struct request {
	uint64_t word;                /* number << 8 | command */
	uint64_t first;               /* number */
	size_t size;
	char name[sizeof(((struct capture_status *)NULL)->request_name)];
};

static unsigned command_of(const struct request *request)
{
	return request->word & 0xff;
}

static enum capture_answer obey(struct thread *thread, const struct request *request)
{
	switch ((enum capture_command)command_of(request)) {
	case CAPTURE_ASK_START:
	case CAPTURE_ASK_STOP:
		return change(thread, command_of(request) == CAPTURE_ASK_START, CAPTURE_BY_COMMAND);
	case CAPTURE_ASK_MARK:
	case CAPTURE_ASK_SNAPSHOT:
		return mark(thread, request->name, request->size, command_of(request) == CAPTURE_ASK_SNAPSHOT);
	case CAPTURE_ASK_ROTATE:
		return rotate_now(thread) ? CAPTURE_ANSWER_DONE : CAPTURE_ANSWER_FAILED;
	case CAPTURE_ASK_NOTHING:
		break;
	}
	return CAPTURE_ANSWER_UNKNOWN;
}

/*
 * Takes up what is asked, unless another thread has: then false.  Also while the status is being replaced by the next
 * segment's, or withdrawn: then it is seen at the next look whether it is still asked.
 */
static bool take_up(struct request *request)
{
	const struct capture_status *status = output_status();
	const _Atomic uint64_t *word = status_word(&output_status()->request);
	const uint32_t segment = atomic_load(&output_segment);
	uint64_t before = atomic_load_explicit(&taken_up, memory_order_relaxed);

	request->word = atomic_load_explicit(word, memory_order_acquire);
	/* Others can write there: taken once, and no more than there is. */
	request->size = status->request_size;
	if (request->size > sizeof(request->name))
		request->size = sizeof(request->name);
	memcpy(request->name, status->request_name, request->size);
	request->first = status->request_first;
	if (request->first == 0 || request->first > request->word >> 8)
		request->first = request->word >> 8;
	atomic_thread_fence(memory_order_acquire);
	return request->word > before && atomic_load(word) == request->word && atomic_load(&output_segment) == segment &&
		atomic_compare_exchange_strong(&taken_up, &before, request->word);
}

static void answer(uint64_t request, enum capture_answer result)
{
	_Atomic uint64_t *word = status_word(&output_status()->answer);
	uint64_t before = atomic_load_explicit(word, memory_order_relaxed);

	/* What was withdrawn needs no answer, and an old one must not hide a newer. */
	while ((request & 0xff) != CAPTURE_ASK_NOTHING && before >> 8 < request >> 8 &&
		!atomic_compare_exchange_weak_explicit(word, &before, (request & ~(uint64_t)0xff) | result,
			memory_order_release, memory_order_relaxed))
		;
	/* Late, and so perhaps older than what has come since: then that is seen to anyway. */
	atomic_store(&control_quiet->seen, request);
}

static enum capture_answer obey_stopped(const struct request *request)
{
	switch ((enum capture_command)command_of(request)) {
	case CAPTURE_ASK_STOP:
		return CAPTURE_ANSWER_ALREADY;
	case CAPTURE_ASK_MARK:
	case CAPTURE_ASK_SNAPSHOT:
		return CAPTURE_ANSWER_PAUSED;
	case CAPTURE_ASK_START:
	case CAPTURE_ASK_ROTATE:
		return CAPTURE_ANSWER_FAILED;
	case CAPTURE_ASK_NOTHING:
		break;
	}
	return CAPTURE_ANSWER_UNKNOWN;
}

/* True: it was done before, and is answered so, here or by whoever is at it. */
static bool was_done(const struct request *request)
{
	for (size_t i = 0; request->first != request->word >> 8 && i < SEEN_LATELY; i++) {
		struct seen *seen = &seen_lately[i];

		if (atomic_load(&seen->word) >> 8 != request->first)
			continue;
		/* Who is at it writes its answer and looks here; so one of us sees the other. */
		atomic_store(&seen->again, request->word);
		uint64_t word = atomic_load(&seen->word);

		if (word >> 8 == request->first && (word & 0xff) != 0)
			answer(request->word, (enum capture_answer)(word & 0xff));
		return true;
	}
	return false;
}

/* `thread` NULL: nothing is recorded, and there is no need of one, or none to be had. */
static void see_to(struct thread *thread, const struct request *request)
{
	uint64_t under_way = request->first << 8;

	if (command_of(request) == CAPTURE_ASK_NOTHING) {
		answer(request->word, CAPTURE_ANSWER_UNKNOWN);
		return;
	}
	if (was_done(request))
		return;
	struct seen *seen = &seen_lately[atomic_fetch_add(&seen_count, 1) % SEEN_LATELY];

	atomic_store(&seen->again, 0);
	atomic_store(&seen->word, under_way);
	enum capture_answer result = thread ? obey(thread, request) : obey_stopped(request);

	atomic_compare_exchange_strong(&seen->word, &under_way, under_way | result);
	answer(request->word, result);
	uint64_t again = atomic_load(&seen->again);

	if (again)
		answer(again, result);
}

void control_leave(struct thread *thread)
{
	struct request request;

	thread->gate = GATE_OURS;
	if (thread->asked && !thread->failed)
		record_grown_pages(thread);
	if (thread->asked && !thread->failed && take_up(&request))
		see_to(thread, &request);
	thread->asked = false;
	thread->gate = thread_gate_after(thread);
}

bool control_look(void)
{
	struct thread *thread;
	struct request request;

	if (!control_is_asked() || !take_up(&request))
		return !control_is_paused();
	thread = command_of(&request) == CAPTURE_ASK_START || command_of(&request) == CAPTURE_ASK_ROTATE ? thread_own() : NULL;
	if (thread)
		thread->gate = GATE_OURS;
	see_to(thread, &request);
	if (thread)
		thread->gate = thread_gate_after(thread);
	return !control_is_paused();
}

static int result_of(enum capture_answer result)
{
	return result == CAPTURE_ANSWER_DONE ? 1 : result == CAPTURE_ANSWER_ALREADY ? 0 : -1;
}

int control_change(bool on)
{
	struct thread *thread;
	enum capture_answer result;
	int saved = errno;

	if (lifecycle_is_recording() && !lifecycle_is_child() &&
		atomic_load(&control_state) == (on ? RUNNING : PAUSED))
		return order_is_stopped() ? -1 : 0;
	thread = thread_own();
	if (!thread)
		thread = record_enter();      /* from a signal handler that has interrupted the recorder */
	if (thread) {
		thread->gate = GATE_OURS;
		result = change(thread, on, CAPTURE_BY_PROGRAM);
		if (on && result == CAPTURE_ANSWER_DONE)
			poll_python(thread);
		thread->gate = thread_gate_after(thread);
	}
	errno = saved;
	return thread ? result_of(result) : -1;
}

int control_mark(const char *name, size_t size, bool snapshot)
{
	struct thread *thread = record_enter();
	enum capture_answer result;

	if (!thread)
		return -1;
	thread->gate = GATE_OURS;
	result = mark(thread, name, size, snapshot);
	record_leave(thread);
	return result_of(result);
}
