/* SPDX-License-Identifier: MIT */
/*
 * Symbols against addr2line and llvm-symbolizer: small programs are compiled in the ways that programs are, every
 * byte of their code is looked up by us and by them, and all frames must agree.  Then what they have no notion of:
 * files that changed, that are damaged, that are elsewhere.
 *
 * Needs a C compiler and binutils; what else is missing (clang, g++, rustc) is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <dlfcn.h>
#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader/demangle.h"
#include "reader/symbol_jobs.h"
#include "reader/symbols.h"

enum {
	ADDRESSES_MAX = 1 << 16,
	COMMAND_MAX = 8192,
};

static const char c_source[] =
	"#include <stdlib.h>\n"
	"static inline __attribute__((always_inline)) void *leaf(size_t n)\n"
	"{\n"
	"	return malloc(n + 1);\n"
	"}\n"
	"static inline __attribute__((always_inline)) void *middle(size_t n)\n"
	"{\n"
	"	void *block = leaf(n * 2);\n"
	"	if (!block) abort();\n"
	"	return block;\n"
	"}\n"
	"__attribute__((noinline)) void *outer(size_t n)\n"
	"{\n"
	"	char *block = middle(n);\n"
	"	for (size_t i = 0; i < n; i++)\n"
	"		block[i] = (char)i;\n"
	"	if (n > 7) free(leaf(n));\n"
	"	return block;\n"
	"}\n"
	"static __attribute__((noinline)) int hidden(void *block)\n"
	"{\n"
	"	free(block);\n"
	"	return block != NULL;\n"
	"}\n"
	"int entry(int count)\n"
	"{\n"
	"	int sum = 0;\n"
	"	while (count-- > 0) sum += hidden(outer((size_t)count));\n"
	"	return sum;\n"
	"}\n"
	"int main(int argc, char **argv)\n"
	"{\n"
	"	return argv == NULL ? 1 : entry(argc) == 0;\n"
	"}\n";

static const char cxx_source[] =
	"#include <map>\n"
	"#include <string>\n"
	"#include <vector>\n"
	"namespace {\n"
	"template <typename T> struct Holder {\n"
	"	std::vector<T> items;\n"
	"	__attribute__((noinline)) void add(const T &item) { items.push_back(item); }\n"
	"	__attribute__((noinline)) ~Holder() { items.clear(); }\n"
	"};\n"
	"}\n"
	"namespace outer { namespace inner {\n"
	"__attribute__((noinline)) int use(int count)\n"
	"{\n"
	"	Holder<std::string> holder;\n"
	"	auto twice = [&](int i) __attribute__((noinline)) { holder.add(std::string(100, 'a' + i)); return i * 2; };\n"
	"	std::map<int, int> sums;\n"
	"	for (int i = 0; i < count; i++) sums[i] = twice(i);\n"
	"	return (int)sums.size();\n"
	"}\n"
	"} }\n"
	"int main(int argc, char **) { return outer::inner::use(argc) == 0; }\n";

static const char rust_source[] =
	"use std::collections::HashMap;\n"
	"trait Shape { fn area(&self) -> u64; }\n"
	"struct Square { side: u64, names: Vec<String> }\n"
	"impl Shape for Square {\n"
	"    #[inline(never)]\n"
	"    fn area(&self) -> u64 { self.side * self.side + self.names.iter().map(|n| n.len() as u64).sum::<u64>() }\n"
	"}\n"
	"#[inline(never)]\n"
	"fn collect(count: u64) -> HashMap<u64, Box<dyn Shape>> {\n"
	"    (0..count).map(|i| (i, Box::new(Square { side: i, names: vec![format!(\"{}\", i)] }) as Box<dyn Shape>))\n"
	"        .collect()\n"
	"}\n"
	"fn main() {\n"
	"    let shapes = collect(std::env::args().count() as u64);\n"
	"    std::process::exit((shapes.values().map(|s| s.area()).sum::<u64>() & 1) as i32);\n"
	"}\n";

static char folder[256];          /* the test's own; all commands run in it */

/* ---- helpers ---- */

static bool __attribute__((format(printf, 1, 2))) run(const char *format, ...)
{
	char command[COMMAND_MAX];
	int used = snprintf(command, sizeof(command), "cd '%s' && { ", folder);
	va_list arguments;
	va_start(arguments, format);
	used += vsnprintf(command + used, sizeof(command) - (size_t)used, format, arguments);
	va_end(arguments);
	assert_true(used > 0 && (size_t)used < sizeof(command) - 16);
	strcat(command, "; } >>log 2>&1");
	return system(command) == 0;
}

#define RUN(...) do { if (!run(__VA_ARGS__)) fail_msg("failed: %s; see %s/log", #__VA_ARGS__, folder); } while (0)

static bool have(const char *tool)
{
	return run("command -v %s", tool);
}

static const char *in_folder(const char *name)
{
	static char paths[32][512];
	static unsigned turn;
	char *path = paths[turn++ % 32];
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const void *bytes, size_t size)
{
	FILE *file = fopen(in_folder(name), "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

static uint8_t *read_file(const char *name, size_t *size)
{
	FILE *file = fopen(in_folder(name), "r");
	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	*size = (size_t)ftell(file);
	rewind(file);
	uint8_t *bytes = malloc(*size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, file), *size);
	fclose(file);
	return bytes;
}

static size_t read_build_id(const char *name, uint8_t build_id[64])
{
	int fd = open(in_folder(name), O_RDONLY);
	assert_true(fd >= 0);
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	const void *bytes = NULL;
	ssize_t size = dwelf_elf_gnu_build_id(elf, &bytes);
	assert_true(size <= 64);
	if (size > 0)
		memcpy(build_id, bytes, (size_t)size);
	elf_end(elf);
	close(fd);
	return size > 0 ? (size_t)size : 0;
}

/* Every byte of the functions of the file whose symbols are as the pattern (a grep -E one) says; at most `max`. */
static size_t code_addresses(const char *name, const char *pattern, uint64_t *addresses, size_t max)
{
	char command[COMMAND_MAX];
	size_t count = 0;
	unsigned long start, size;
	snprintf(command, sizeof(command), "cd '%s' && nm -S --defined-only '%s' | grep -E ' [tTwW] (%s)$'", folder, name,
		pattern);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	while (fscanf(pipe, "%lx %lx %*[^\n]", &start, &size) == 2) {
		for (unsigned long i = 0; i < size && count < max; i++)
			addresses[count++] = start + i;
	}
	pclose(pipe);
	return count;
}

static uint64_t function_address(const char *name, const char *function)
{
	static uint64_t addresses[1];
	assert_int_equal(code_addresses(name, function, addresses, 1), 1);
	return addresses[0];
}

static const char *without_folder(const char *file)
{
	const char *slash = file != NULL ? strrchr(file, '/') : NULL;
	return slash != NULL ? slash + 1 : file != NULL ? file : "??";
}

static void check_frame(uint64_t address, const char *function, const char *place, const struct symbol_frame *frame)
{
	char readable[4096];
	const char *colon = strrchr(place, ':');
	assert_non_null(colon);
	demangle(function, readable, sizeof(readable));
	/* addr2line adds what the function's symbol is versioned or cloned with. */
	if (frame->function == NULL || strncmp(readable, frame->function, strlen(frame->function)) != 0 ||
			(readable[strlen(frame->function)] != '\0' && readable[strlen(frame->function)] != '.'))
		fail_msg("0x%lx: %s, expected %s (%s)", address, frame->function, readable, place);
	char *file = strndup(place, (size_t)(colon - place));
	if (frame->line != strtoul(colon + 1, NULL, 10) || strcmp(without_folder(frame->file), without_folder(file)) != 0)
		fail_msg("0x%lx in %s: %s:%u, expected %s", address, readable, frame->file, frame->line, place);
	free(file);
}

/*
 * binutils' addr2line is the reference for GCC's output.  It does not know all that clang, split DWARF and link-time
 * optimisation do (inlined calls and file names are missing): llvm-symbolizer is the reference there.
 */
static const char *const addr2line = "addr2line -a -i -f -e";
static const char *const llvm_symbolizer = "llvm-symbolizer --output-style=GNU --addresses --no-demangle --inlines -e";

/* What the reference says of `original` must be what we say of the module, for every byte of matching functions. */
static void check_against(const char *reference, struct symbols *symbols, uint32_t module, const char *original,
	const char *pattern)
{
	static uint64_t addresses[ADDRESSES_MAX];
	size_t count = code_addresses(original, pattern, addresses, 3000);
	assert_true(count > 8);
	FILE *list = fopen(in_folder("addresses"), "w");
	assert_non_null(list);
	for (size_t i = 0; i < count; i++)
		fprintf(list, "0x%lx\n", (unsigned long)addresses[i]);
	fclose(list);
	RUN("%s '%s' <addresses >frames", reference, original);
	FILE *file = fopen(in_folder("frames"), "r");
	assert_non_null(file);
	char function[4096], place[4096];
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	size_t frame_count = 0, next = 0, checked = 0;
	uint64_t address = 0;
	while (fgets(function, sizeof(function), file) != NULL) {
		function[strcspn(function, "\n")] = '\0';
		if (strncmp(function, "0x", 2) == 0) {
			assert_int_equal(next, frame_count);
			address = strtoull(function, NULL, 16);
			frame_count = symbols_resolve(symbols, module, address, frames, SYMBOLS_FRAMES_MAX);
			next = 0;
			continue;
		}
		assert_non_null(fgets(place, sizeof(place), file));
		place[strcspn(place, "\n")] = '\0';
		char *discriminator = strstr(place, " (disc");
		if (discriminator != NULL)
			*discriminator = '\0';
		if (next >= frame_count)
			fail_msg("0x%lx: %.9s has one more: %s", address, reference, function);
		assert_int_equal(frames[next].inlined, next + 1 < frame_count);
		assert_true(frames[next].exact_function);
		check_frame(address, function, place, &frames[next++]);
		checked++;
	}
	fclose(file);
	assert_true(checked >= count);
}

static void check_program(const char *reference, const char *name, const char *pattern)
{
	struct symbols *symbols = symbols_new(NULL);
	uint8_t build_id[64];
	size_t size = read_build_id(name, build_id);
	uint32_t module = symbols_add_module(symbols, in_folder(name), build_id, size);
	check_against(reference, symbols, module, name, pattern);
	assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_LINES);
	assert_null(symbols_module_problem(symbols, module));
	symbols_free(symbols);
}

static bool have_reference(const char *reference)
{
	return run("command -v %.*s", (int)strcspn(reference, " "), reference);
}

static const char *const c_functions = "outer|hidden|entry|main";

/* ---- what compilers make ---- */

static void c_is_resolved_as_by_others(void **state)
{
	static const struct { const char *name, *const *reference; } compilers[] = {
		{ "gcc", &addr2line }, { "gcc", &llvm_symbolizer }, { "clang", &llvm_symbolizer },
	};
	static const char *const options[] = { "-gdwarf-4", "-gdwarf-5", "-gz -gdwarf-5", "-gdwarf-5 -static-pie",
		"-gdwarf-4 -no-pie", "-g -O0", "-g -ffunction-sections -Wl,--gc-sections", "-g -fdebug-types-section" };
	for (size_t i = 0; i < 3; i++) {
		const char *reference = *compilers[i].reference;
		if (!have(compilers[i].name) || !have_reference(reference))
			continue;
		for (size_t j = 0; j < sizeof(options) / sizeof(options[0]); j++) {
			RUN("%s -O2 %s -o c_program c.c", compilers[i].name, options[j]);
			check_program(reference, "c_program", c_functions);
		}
	}
}

static void libraries_are_resolved_by_their_own_addresses(void **state)
{
	RUN("cc -O2 -g -shared -fPIC -o library.so c.c");
	check_program(addr2line, "library.so", c_functions);
}

static void split_dwarf_is_followed(void **state)
{
	if (!have_reference(llvm_symbolizer))
		skip();
	RUN("cc -O2 -g -gdwarf-5 -gsplit-dwarf -c -o split.o c.c && cc -o split split.o");
	check_program(llvm_symbolizer, "split", c_functions);
}

static void link_time_optimised_code_is_resolved(void **state)
{
	if (!have_reference(llvm_symbolizer))
		skip();
	RUN("cc -O2 -g -flto -o lto c.c");
	check_program(llvm_symbolizer, "lto", c_functions);
}

static void cxx_is_resolved_as_by_others(void **state)
{
	static const struct { const char *command, *const *reference; } compilers[] = {
		{ "g++ -gdwarf-5", &addr2line }, { "g++ -gdwarf-4", &llvm_symbolizer },
		{ "clang++ -gdwarf-5", &llvm_symbolizer },
	};
	for (size_t i = 0; i < 3; i++) {
		const char *reference = *compilers[i].reference;
		if (!have_reference(reference) || !run("%s -O2 -o cxx_program cxx.cc", compilers[i].command))
			continue;
		check_program(reference, "cxx_program", ".*(use|Holder).*|main");
	}
}

static void rust_is_resolved_as_by_others(void **state)
{
	if (!run("rustc -g -O -o rust_program rust.rs"))
		skip();
	check_program(addr2line, "rust_program", ".*(7collect|4area|4main).*");
	RUN("rustc -g -O -C symbol-mangling-version=v0 -o rust_program rust.rs");
	check_program(addr2line, "rust_program", ".*(7collect|4area|4main).*");
}

static void members_of_local_classes_are_found(void **state)
{
	static const char source[] =
		"int twice(int);\n"
		"int call(int n)\n"
		"{\n"
		"	struct Local { __attribute__((noinline)) static int member(int i) { return twice(i) + 1; } };\n"
		"	return Local::member(n);\n"
		"}\n"
		"__attribute__((noinline)) int twice(int i) { return i * 2; }\n"
		"int main(int argc, char **) { return call(argc); }\n";
	write_file("local.cc", source, sizeof(source) - 1);
	if (!run("g++ -O2 -g -fno-ipa-icf -fno-ipa-ra -o local local.cc"))
		skip();
	check_program(addr2line, "local", ".*(call|member|twice).*");
}

/* ---- stripped programs and separate debug files ---- */

static void debug_files_are_found_by_build_id(void **state)
{
	uint8_t id[64];
	char name[256], *at = name;
	RUN("cc -O2 -g -Wl,--build-id=sha1 -o whole c.c && mkdir -p debug");
	assert_int_equal(read_build_id("whole", id), 20);
	at += sprintf(at, "debug/.build-id/%02x/", id[0]);
	for (size_t i = 1; i < 20; i++)
		at += sprintf(at, "%02x", id[i]);
	RUN("objcopy --only-keep-debug whole whole.debug && strip -o stripped whole && "
		"install -D whole.debug '%s.debug' && rm whole.debug", name);
	const char *extra[] = { in_folder("debug"), NULL };
	struct symbols_options options = { .extra_paths = extra };
	struct symbols *symbols = symbols_new(&options);
	uint32_t module = symbols_add_module(symbols, in_folder("stripped"), id, 20);
	check_against(addr2line, symbols, module, "whole", c_functions);
	assert_null(symbols_module_problem(symbols, module));
	/* The debug file alone will do, when the program is gone. */
	module = symbols_add_module(symbols, in_folder("gone"), id, 20);
	check_against(addr2line, symbols, module, "whole", c_functions);
	assert_null(symbols_module_problem(symbols, module));
	symbols_free(symbols);

	/* The same below another root. */
	RUN("mkdir -p root/bin root/usr/lib && cp stripped root/bin/ && mv debug root/usr/lib/debug");
	options = (struct symbols_options){ .sysroot = in_folder("root") };
	symbols = symbols_new(&options);
	module = symbols_add_module(symbols, "/bin/stripped", id, 20);
	check_against(addr2line, symbols, module, "whole", c_functions);
	symbols_free(symbols);
}

static void debug_files_are_found_by_debuglink(void **state)
{
	struct symbol_frame frame;
	RUN("cc -O2 -g -Wl,--build-id=none -o whole c.c && objcopy --only-keep-debug whole linked.debug && "
		"strip -o linked whole && objcopy --add-gnu-debuglink=linked.debug linked && mkdir -p .debug");
	uint64_t address = function_address("whole", "outer");
	struct symbols *symbols = symbols_new(NULL);
	check_against(addr2line, symbols, symbols_add_module(symbols, in_folder("linked"), NULL, 0), "whole",
		c_functions);
	symbols_free(symbols);

	RUN("mv linked.debug .debug/");
	symbols = symbols_new(NULL);
	check_against(addr2line, symbols, symbols_add_module(symbols, in_folder("linked"), NULL, 0), "whole",
		c_functions);
	symbols_free(symbols);

	/* A file of that name that is another one is not used. */
	RUN("printf x >>.debug/linked.debug");
	symbols = symbols_new(NULL);
	uint32_t module = symbols_add_module(symbols, in_folder("linked"), NULL, 0);
	assert_int_equal(symbols_resolve(symbols, module, address, &frame, 1), 1);
	assert_null(frame.function);
	assert_string_equal(symbols_module_problem(symbols, module), "has no symbols (stripped)");
	symbols_free(symbols);
}

static void symbol_tables_name_functions_without_lines(void **state)
{
	struct symbol_frame frame;
	RUN("cc -O2 -g -shared -fPIC -o library.so c.c && strip -g -o tabled.so library.so && "
		"strip -o exported.so library.so");
	uint64_t outer = function_address("library.so", "outer"), hidden = function_address("library.so", "hidden");
	struct symbols *symbols = symbols_new(NULL);
	uint32_t module = symbols_add_module(symbols, in_folder("tabled.so"), NULL, 0);
	assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_NONE);
	assert_int_equal(symbols_resolve(symbols, module, hidden + 1, &frame, 1), 1);
	assert_string_equal(frame.function, "hidden");
	assert_true(frame.exact_function);
	assert_null(frame.file);
	assert_int_equal(frame.line, 0);
	assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_FUNCTIONS);

	module = symbols_add_module(symbols, in_folder("exported.so"), NULL, 0);
	assert_int_equal(symbols_resolve(symbols, module, outer + 1, &frame, 1), 1);
	assert_string_equal(frame.function, "outer");
	/* The function beside it is not taken for this one. */
	assert_int_equal(symbols_resolve(symbols, module, hidden + 1, &frame, 1), 1);
	assert_null(frame.function);
	assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_EXPORTED);
	assert_null(symbols_module_problem(symbols, module));
	symbols_free(symbols);
}

static void the_best_of_several_names_is_shown(void **state)
{
	static const char source[] =
		"	.text\n"
		"	.globl __internal, wanted, old\n"
		"	.weak weak_name\n"
		"	.type __internal, @function\n	.type wanted, @function\n	.type weak_name, @function\n"
		"	.type local_name, @function\n	.type object, @object\n"
		"object: local_name: __internal: weak_name: wanted: label:\n"
		"	nop\n	nop\n"
		"inside:\n"
		"	ret\n"
		"	.size wanted, 3\n	.size __internal, 3\n	.size weak_name, 3\n	.size local_name, 3\n"
		"	.size object, 3\n"
		"	.zero 5\n"
		"bare_label:\n"
		"	nop\n	nop\n	ret\n";
	struct symbol_frame frame;
	write_file("names.s", source, sizeof(source) - 1);
	RUN("cc -shared -nostdlib -o names.so names.s");
	uint64_t start = function_address("names.so", "wanted");
	struct symbols *symbols = symbols_new(NULL);
	uint32_t module = symbols_add_module(symbols, in_folder("names.so"), NULL, 0);
	for (uint64_t address = start; address < start + 3; address++) {
		symbols_resolve(symbols, module, address, &frame, 1);
		assert_string_equal(frame.function, "wanted");
		assert_true(frame.exact_function);
	}
	symbols_resolve(symbols, module, start + 3, &frame, 1);
	assert_null(frame.function);
	symbols_resolve(symbols, module, start + 9, &frame, 1);
	assert_string_equal(frame.function, "bare_label");
	assert_false(frame.exact_function);
	symbols_free(symbols);
}

/* ---- options and the interface ---- */

static void without_inlines_there_is_one_frame_with_its_own_line(void **state)
{
	static uint64_t addresses[4096];
	RUN("cc -O2 -g -o c_program c.c");
	size_t count = code_addresses("c_program", "outer", addresses, 4096), inlined = 0;
	struct symbols *all = symbols_new(NULL);
	struct symbols *one = symbols_new(&(struct symbols_options){ .no_inlines = true });
	uint32_t a = symbols_add_module(all, in_folder("c_program"), NULL, 0);
	uint32_t b = symbols_add_module(one, in_folder("c_program"), NULL, 0);
	for (size_t i = 0; i < count; i++) {
		struct symbol_frame frames[SYMBOLS_FRAMES_MAX], frame;
		size_t frame_count = symbols_resolve(all, a, addresses[i], frames, SYMBOLS_FRAMES_MAX);
		assert_int_equal(symbols_resolve(one, b, addresses[i], &frame, 1), 1);
		assert_string_equal(frame.function, "outer");
		assert_int_equal(frame.line, frames[frame_count - 1].line);
		inlined += frame_count > 1;
		/* And where there is no room for all, the innermost are given. */
		assert_int_equal(symbols_resolve(all, a, addresses[i], &frame, 1), 1);
		assert_string_equal(frame.function, frames[0].function);
	}
	assert_true(inlined > 0);
	symbols_free(all);
	symbols_free(one);
}

struct batch {
	struct symbols *symbols;
	uint32_t module;
	const uint64_t *addresses;
	size_t seen;
};

static void check_batch(void *context, size_t index, const struct symbol_frame *frames, size_t frame_count)
{
	struct batch *batch = context;
	struct symbol_frame expected[SYMBOLS_FRAMES_MAX];
	batch->seen++;
	assert_int_equal(symbols_resolve(batch->symbols, batch->module, batch->addresses[index], expected,
		SYMBOLS_FRAMES_MAX), frame_count);
	for (size_t i = 0; i < frame_count; i++) {
		/* Equal names are the same pointers. */
		assert_ptr_equal(frames[i].function, expected[i].function);
		assert_ptr_equal(frames[i].file, expected[i].file);
		assert_int_equal(frames[i].line, expected[i].line);
	}
}

static void many_are_resolved_as_one_by_one(void **state)
{
	static uint64_t addresses[4096];
	RUN("cc -O2 -g -o c_program c.c");
	struct batch batch = { .symbols = symbols_new(NULL), .addresses = addresses };
	size_t count = code_addresses("c_program", c_functions, addresses, 4000);
	for (size_t i = 0; i + 1 < count; i += 2) {
		uint64_t swapped = addresses[i];
		addresses[i] = addresses[count - 1 - i];
		addresses[count - 1 - i] = swapped;
	}
	addresses[count++] = addresses[0];
	addresses[count++] = 0;
	addresses[count++] = UINT64_MAX;
	batch.module = symbols_add_module(batch.symbols, in_folder("c_program"), NULL, 0);
	symbols_resolve_many(batch.symbols, batch.module, addresses, count, check_batch, &batch);
	assert_int_equal(batch.seen, count);
	symbols_resolve_many(batch.symbols, batch.module, NULL, 0, check_batch, &batch);
	assert_int_equal(batch.seen, count);
	symbols_free(batch.symbols);
}

/* Modules of several threads give what they give one after another, and each the results of its own addresses. */
static void jobs_on_several_threads_agree_with_one_by_one(void **state)
{
	enum { JOBS = 6 };
	static uint64_t addresses[4096];
	struct symbol_job jobs[JOBS + 1];
	struct symbols *symbols = symbols_new(NULL), *slow = symbols_new(NULL);
	struct symbol_frame expected[SYMBOLS_FRAMES_MAX];
	char name[32];

	RUN("cc -O2 -g -o c_program c.c; for i in 0 1 2 3 4 5; do cp c_program c_copy$i; done");
	const size_t count = code_addresses("c_program", c_functions, addresses, 3000);
	for (uint32_t i = 0; i < JOBS; i++) {
		snprintf(name, sizeof(name), "c_copy%u", i);
		jobs[i] = (struct symbol_job){ .addresses = addresses + i * 10, .count = count - i * 20,
			.module = symbols_add_module(symbols, in_folder(name), NULL, 0) };
		symbols_add_module(slow, in_folder(name), NULL, 0);
	}
	jobs[JOBS] = (struct symbol_job){ .module = symbols_add_module(symbols, "/nowhere", NULL, 0),
		.addresses = addresses, .count = 3 };
	symbols_add_module(slow, "/nowhere", NULL, 0);
	symbol_jobs_run(symbols, jobs, JOBS + 1, 3, NULL, NULL);
	for (size_t i = 0; i <= JOBS; i++) {
		for (size_t n = 0; n < jobs[i].count; n++) {
			const struct symbol_frame *found = jobs[i].frames + jobs[i].results[n].first;
			const size_t frames = symbols_resolve(slow, jobs[i].module, jobs[i].addresses[n], expected,
				SYMBOLS_FRAMES_MAX);

			assert_int_equal(jobs[i].results[n].count, frames);
			for (size_t frame = 0; frame < frames; frame++)
				assert_string_equal(found[frame].function ? found[frame].function : "-",
					expected[frame].function ? expected[frame].function : "-");
			assert_int_equal(found[0].line, expected[0].line);
		}
		symbol_job_finish(&jobs[i]);
	}
	symbol_jobs_run(symbols, NULL, 0, 3, NULL, NULL);
	symbols_free(symbols);
	symbols_free(slow);
}

static void a_module_named_twice_is_one(void **state)
{
	static const uint8_t id[2][4] = { { 1, 2, 3, 4 }, { 1, 2, 3, 5 } };
	struct symbols *symbols = symbols_new(NULL);
	assert_int_equal(symbols_add_module(symbols, "/a", id[0], 4), 0);
	assert_int_equal(symbols_add_module(symbols, "/b", id[0], 4), 1);
	assert_int_equal(symbols_add_module(symbols, "/a", id[1], 4), 2);
	assert_int_equal(symbols_add_module(symbols, "/a", NULL, 0), 3);
	assert_int_equal(symbols_add_module(symbols, "/a", id[0], 4), 0);
	assert_int_equal(symbols_add_module(symbols, "/a", NULL, 0), 3);
	symbols_free(symbols);
	symbols_free(NULL);
}

static void check_problem(const char *path, const uint8_t *build_id, size_t build_id_size, const char *problem)
{
	struct symbols *symbols = symbols_new(NULL);
	struct symbol_frame frame;
	uint32_t module = symbols_add_module(symbols, path, build_id, build_id_size);
	assert_null(symbols_module_problem(symbols, module));
	assert_int_equal(symbols_resolve(symbols, module, 0x1234, &frame, 1), 1);
	assert_null(frame.function);
	assert_null(frame.file);
	assert_false(frame.exact_function);
	assert_string_equal(symbols_module_problem(symbols, module), problem);
	assert_int_equal(symbols_module_detail(symbols, module), SYMBOLS_NONE);
	symbols_free(symbols);
}

static void files_that_cannot_be_used_are_named(void **state)
{
	uint8_t id[64];
	RUN("cc -O2 -g -Wl,--build-id=sha1 -o c_program c.c && strip -o stripped c_program && mkdir -p dir && mkfifo fifo");
	size_t size = read_build_id("c_program", id);
	id[3] ^= 1;
	check_problem(in_folder("c_program"), id, size, "file has changed since (build-id differs)");
	check_problem(in_folder("none"), NULL, 0, "file is missing");
	check_problem(in_folder("c_program/none"), NULL, 0, "file is missing");
	check_problem("", NULL, 0, "file is missing");
	check_problem(in_folder("dir"), NULL, 0, "is not a regular file");
	check_problem(in_folder("fifo"), NULL, 0, "is not a regular file");
	check_problem("/dev/null", NULL, 0, "is not a regular file");
	check_problem(in_folder("c.c"), NULL, 0, "is not an ELF program or library");
	check_problem(in_folder("stripped"), NULL, 0, "has no symbols (stripped)");
	check_problem("[vdso]", id, size, "is part of the kernel that ran then");
}

static void the_kernels_own_code_is_named(void **state)
{
	const char *start = (const char *)getauxval(AT_SYSINFO_EHDR);
	const void *id = NULL;
	if (start == NULL)
		skip();
	elf_version(EV_CURRENT);
	Elf64_Ehdr *header = (Elf64_Ehdr *)start;
	Elf *elf = elf_memory((char *)start, header->e_shoff + (size_t)header->e_shnum * header->e_shentsize);
	ssize_t size = dwelf_elf_gnu_build_id(elf, &id);
	void *vdso = dlopen("linux-vdso.so.1", RTLD_NOLOAD | RTLD_NOW);
	char *function = vdso != NULL ? dlsym(vdso, "__vdso_clock_gettime") : NULL;
	if (size > 0 && function != NULL) {
		struct symbols *symbols = symbols_new(NULL);
		struct symbol_frame frame;
		uint32_t module = symbols_add_module(symbols, "linux-vdso.so.1", id, (size_t)size);
		symbols_resolve(symbols, module, (uint64_t)(function - start), &frame, 1);
		assert_non_null(frame.function);
		assert_non_null(strstr(frame.function, "clock_gettime"));
		symbols_free(symbols);
	}
	elf_end(elf);
}

static void debuginfod_is_asked_only_on_request(void **state)
{
	uint8_t id[64];
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t address_size = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(server >= 0);
	assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server, 8), 0);
	assert_int_equal(getsockname(server, (struct sockaddr *)&address, &address_size), 0);
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(address.sin_port));
	setenv("DEBUGINFOD_URLS", url, 1);
	setenv("DEBUGINFOD_TIMEOUT", "1", 1);
	setenv("DEBUGINFOD_RETRY_LIMIT", "0", 1);
	setenv("DEBUGINFOD_CACHE_PATH", in_folder("cache"), 1);
	RUN("cc -O2 -g -Wl,--build-id=sha1 -o c_program c.c && strip -o stripped c_program");
	size_t size = read_build_id("stripped", id);
	void *library = dlopen("libdebuginfod.so.1", RTLD_NOW);
	for (int asked = 0; asked < (library != NULL ? 2 : 1); asked++) {
		struct symbols *symbols = symbols_new(&(struct symbols_options){ .debuginfod = asked });
		struct symbol_frame frame;
		uint32_t module = symbols_add_module(symbols, in_folder("stripped"), id, size);
		symbols_resolve(symbols, module, 0x1234, &frame, 1);
		int client = accept(server, NULL, NULL);
		assert_int_equal(client >= 0, asked);
		if (client >= 0)
			close(client);
		symbols_free(symbols);
	}
	close(server);
	unsetenv("DEBUGINFOD_URLS");
}

/* ---- damaged files ---- */

static void resolve_all(const char *name, const uint64_t *addresses, size_t count)
{
	struct symbols *symbols = symbols_new(NULL);
	struct symbol_frame frames[SYMBOLS_FRAMES_MAX];
	uint32_t module = symbols_add_module(symbols, in_folder(name), NULL, 0);
	for (size_t i = 0; i < count; i++) {
		size_t frame_count = symbols_resolve(symbols, module, addresses[i], frames, SYMBOLS_FRAMES_MAX);
		assert_in_range(frame_count, 1, SYMBOLS_FRAMES_MAX);
		for (size_t j = 0; j < frame_count; j++)
			assert_true(frames[j].function == NULL || strlen(frames[j].function) < 4096);
	}
	symbols_module_problem(symbols, module);
	symbols_free(symbols);
}

static void check_same_answers(const char *name, const uint64_t *addresses, size_t count)
{
	struct symbols *symbols = symbols_new(NULL);
	uint32_t plain = symbols_add_module(symbols, in_folder("whole"), NULL, 0);
	uint32_t other = symbols_add_module(symbols, in_folder(name), NULL, 0);
	for (size_t i = 0; i < count; i++) {
		struct symbol_frame expected[SYMBOLS_FRAMES_MAX], frames[SYMBOLS_FRAMES_MAX];
		size_t expected_count = symbols_resolve(symbols, plain, addresses[i], expected, SYMBOLS_FRAMES_MAX);
		assert_int_equal(symbols_resolve(symbols, other, addresses[i], frames, SYMBOLS_FRAMES_MAX), expected_count);
		for (size_t j = 0; j < expected_count; j++) {
			if (strcmp(frames[j].function ? frames[j].function : "", expected[j].function ? expected[j].function : "") != 0 ||
					strcmp(frames[j].file ? frames[j].file : "", expected[j].file ? expected[j].file : "") != 0 ||
					frames[j].line != expected[j].line || frames[j].inlined != expected[j].inlined)
				fail_msg("%s: 0x%lx: %s at %s:%u, not %s at %s:%u", name, addresses[i], frames[j].function, frames[j].file,
					frames[j].line, expected[j].function, expected[j].file, expected[j].line);
		}
	}
	assert_int_equal(symbols_module_detail(symbols, other), SYMBOLS_LINES);
	assert_null(symbols_module_problem(symbols, other));
	symbols_free(symbols);
}

/* "partly": a unit that the table of addresses does not have. */
static void neither_compression_nor_missing_tables_change_answers(void **state)
{
	static uint64_t addresses[ADDRESSES_MAX];
	static const char *const names[] = { "packed", "packed_old", "unlisted", "packed_unlisted", "partly",
		"packed_partly" };
	if (!have("g++"))
		skip();
	RUN("cc -O2 -g -Dmain=c_main -c -o part.o c.c && g++ -O2 -g -o whole cxx.cc part.o");
	RUN("objcopy --compress-debug-sections=zlib whole packed && "
		"objcopy --compress-debug-sections=zlib-gnu whole packed_old");
	RUN("objcopy -R .debug_aranges whole unlisted && objcopy --compress-debug-sections=zlib unlisted packed_unlisted");
	RUN("objcopy -R .debug_aranges -R .rela.debug_aranges part.o bare.o && g++ -O2 -g -o partly cxx.cc bare.o && "
		"objcopy --compress-debug-sections=zlib partly packed_partly");
	size_t count = code_addresses("whole", "_Z.*|main|c_main|entry|hidden|outer|_start", addresses, ADDRESSES_MAX - 2);
	addresses[count++] = 0;
	addresses[count++] = UINT64_MAX;
	assert_true(count > 1000);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check_same_answers(names[i], addresses, count);
}

/* SCTMEM_TEST_ROUNDS: how many variants, 300 by default. */
static void damaged_files_neither_crash_nor_hang(void **state)
{
	static const char *const builds[] = { "-gdwarf-5", "-gdwarf-4", "-gz -gdwarf-5" };
	static uint64_t addresses[64];
	const char *wanted = getenv("SCTMEM_TEST_ROUNDS");
	unsigned rounds = wanted != NULL ? (unsigned)atoi(wanted) : 300;
	uint64_t random = 0x2545f4914f6cdd1du;
	for (size_t build = 0; build < 3; build++) {
		RUN("cc -O2 %s -nostartfiles -Wl,-e,main -o small c.c", builds[build]);
		size_t count = code_addresses("small", "outer|hidden", addresses, 60), size;
		addresses[count++] = 0;
		addresses[count++] = UINT64_MAX;
		uint8_t *whole = read_file("small", &size), *copy = malloc(size);
		assert_non_null(copy);
		for (unsigned round = 0; round < rounds; round++) {
			memcpy(copy, whole, size);
			for (unsigned change = 0; change < 1 + round % 8; change++) {
				random = random * 6364136223846793005u + 1442695040888963407u;
				/* Half of the changes where the debug information and the headers are: in the last part. */
				size_t from = random >> 60 & 1 ? size / 2 : 0;
				copy[from + (random >> 20) % (size - from)] = random >> 61 & 1 ? (uint8_t)(random >> 52) : 0xff;
			}
			write_file("damaged", copy, round % 16 == 15 ? random % size : size);
			resolve_all("damaged", addresses, count);
		}
		free(whole);
		free(copy);
	}
}

static int make_folder(void **state)
{
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof(folder), "%s/sctmem-symbols-XXXXXX", base != NULL ? base : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	write_file("c.c", c_source, sizeof(c_source) - 1);
	write_file("cxx.cc", cxx_source, sizeof(cxx_source) - 1);
	write_file("rust.rs", rust_source, sizeof(rust_source) - 1);
	unsetenv("DEBUGINFOD_URLS");
	return 0;
}

static int remove_folder(void **state)
{
	return run("rm -rf '%s'", folder) ? 0 : -1;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(c_is_resolved_as_by_others),
		cmocka_unit_test(libraries_are_resolved_by_their_own_addresses),
		cmocka_unit_test(split_dwarf_is_followed),
		cmocka_unit_test(link_time_optimised_code_is_resolved),
		cmocka_unit_test(cxx_is_resolved_as_by_others),
		cmocka_unit_test(rust_is_resolved_as_by_others),
		cmocka_unit_test(members_of_local_classes_are_found),
		cmocka_unit_test(debug_files_are_found_by_build_id),
		cmocka_unit_test(debug_files_are_found_by_debuglink),
		cmocka_unit_test(symbol_tables_name_functions_without_lines),
		cmocka_unit_test(the_best_of_several_names_is_shown),
		cmocka_unit_test(without_inlines_there_is_one_frame_with_its_own_line),
		cmocka_unit_test(neither_compression_nor_missing_tables_change_answers),
		cmocka_unit_test(many_are_resolved_as_one_by_one),
		cmocka_unit_test(jobs_on_several_threads_agree_with_one_by_one),
		cmocka_unit_test(a_module_named_twice_is_one),
		cmocka_unit_test(files_that_cannot_be_used_are_named),
		cmocka_unit_test(the_kernels_own_code_is_named),
		cmocka_unit_test(debuginfod_is_asked_only_on_request),
		cmocka_unit_test(damaged_files_neither_crash_nor_hang),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
