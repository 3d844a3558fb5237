/* SPDX-License-Identifier: MIT */
/*
 * Names are taken apart by libiberty, the library of GCC, GDB and binutils.  What is here keeps hostile names
 * from making it run for ever, or out of stack:
 *
 *   output   A few bytes can stand for gigabytes: both manglings refer back to earlier parts, which may refer back
 *            again.  Output is taken piece by piece and ends, by longjmp, where the buffer is full.  The library
 *            holds nothing while it hands out a piece, but for one buffer around a Rust identifier with non-ASCII
 *            letters: hence only pieces of pure ASCII are left that way.  Each reference back prints some.
 *   stack    The C++ part allocates arrays on the stack whose size grows with the square of the name's length.
 *            Longer names, which template-heavy code has, get a thread with a stack of known size.
 *   time     Rust's v0 names can announce 2^60 lifetimes in ten bytes, and the library counts them out even where
 *            it prints nothing.  rust_v0.c reads such names beforehand, and refuses them.
 */
#include "demangle.h"

#include <libiberty/demangle.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include "rust_v0.h"

enum {
	/*
	 * The library's arrays: components, substitutions, and (templates x scopes) of which a name of n bytes can
	 * have n/2 and 2n/3: 5.4 n^2 + 100 n bytes; in all 1.5 MiB here ...
	 */
	DIRECT_SIZE_MAX = 512,
	/* ... and 87 MiB for the longest.  Only what is used of it becomes memory. */
	THREAD_STACK_SIZE = 128 << 20,
};

struct output {
	char *out;
	size_t size, used;
	bool cut;
	jmp_buf full;
};

/* How many bytes of `text`, at most `size`, end at a character's boundary. */
static size_t whole_characters(const char *text, size_t size)
{
	size_t end = size;
	while (end > 0 && size - end < 3 && ((unsigned char)text[end - 1] & 0xc0) == 0x80)
		end--;
	if (end == 0 || ((unsigned char)text[end - 1] & 0xc0) != 0xc0)
		return size;   /* ASCII at the end, or not UTF-8 */
	unsigned char lead = (unsigned char)text[end - 1];
	size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	return size - end + 1 == length ? size : end - 1;
}

static void mark_cut(char *out, size_t out_size)
{
	size_t end = out_size > 4 ? whole_characters(out, out_size - 4) : 0;
	memcpy(out + end, "...", out_size > 4 ? 4 : 0);
	if (out_size > 0 && out_size <= 4)
		out[0] = '\0';
}

void demangle_copy(const char *name, char *out, size_t out_size)
{
	size_t size = strnlen(name, out_size);
	if (size < out_size) {
		memcpy(out, name, size + 1);
		return;
	}
	memcpy(out, name, out_size);
	mark_cut(out, out_size);
}

static bool is_ascii(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if ((unsigned char)text[i] >= 0x80)
			return false;
	}
	return true;
}

static void take_output(const char *text, size_t size, void *context)
{
	struct output *output = context;
	size_t room = output->size - 1 - output->used;

	/* The library passes nothing as NULL, which memcpy does not take. */
	if (size == 0)
		return;
	if (size > room) {
		memcpy(output->out + output->used, text, room);
		output->used += room;
		output->cut = true;
		if (is_ascii(text, size))
			longjmp(output->full, 1);
		return;
	}
	memcpy(output->out + output->used, text, size);
	output->used += size;
}

typedef int library_function(const char *mangled, int options, demangle_callbackref callback, void *context);

static bool run_library(library_function *function, const char *mangled, int options, char *out, size_t out_size)
{
	struct output output = { .out = out, .size = out_size };
	if (setjmp(output.full) == 0 && !function(mangled, options, take_output, &output))
		return false;
	if (output.cut)
		mark_cut(out, out_size);
	else
		out[output.used] = '\0';
	return output.cut || output.used != 0;
}

static bool demangle_rust(const char *mangled, size_t size, char *out, size_t out_size)
{
	if (size > DEMANGLE_RUST_SIZE_MAX || (mangled[1] == 'R' && !rust_v0_is_sound(mangled, size)))
		return false;
	return run_library(rust_demangle_callback, mangled, DMGL_NO_OPTS, out, out_size);
}

struct cxx_task {
	const char *mangled;
	char *out;
	size_t out_size;
	bool done;
};

static void *run_cxx_task(void *context)
{
	struct cxx_task *task = context;
	/* The library's limit of recursion is one of length, too, and far too low for real names; ours replaces it. */
	task->done = run_library(cplus_demangle_v3_callback, task->mangled, DMGL_NO_RECURSE_LIMIT, task->out,
		task->out_size);
	return NULL;
}

static bool demangle_cxx(const char *mangled, size_t size, char *out, size_t out_size)
{
	struct cxx_task task = { .mangled = mangled, .out = out, .out_size = out_size };
	pthread_attr_t attributes;
	pthread_t thread;

	if (size <= DIRECT_SIZE_MAX)
		return run_library(cplus_demangle_v3_callback, mangled, DMGL_NO_OPTS, out, out_size);
	if (size > DEMANGLE_CXX_SIZE_MAX || pthread_attr_init(&attributes) != 0)
		return false;
	bool started = pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE) == 0 &&
		pthread_create(&thread, &attributes, run_cxx_task, &task) == 0;
	pthread_attr_destroy(&attributes);
	if (started)
		pthread_join(thread, NULL);
	return started && task.done;
}

bool demangle(const char *mangled, char *out, size_t out_size)
{
	if (out_size == 0)
		return false;
	size_t size = strnlen(mangled, DEMANGLE_RUST_SIZE_MAX + 1);
	bool is_v0 = strncmp(mangled, "_R", 2) == 0;
	bool is_cxx = strncmp(mangled, "_Z", 2) == 0 || strncmp(mangled, "_GLOBAL_", 8) == 0;
	if (is_v0 || strncmp(mangled, "_ZN", 3) == 0) {
		if (demangle_rust(mangled, size, out, out_size))
			return true;
	}
	if (is_cxx && demangle_cxx(mangled, size, out, out_size))
		return true;
	demangle_copy(mangled, out, out_size);
	return false;
}
