/* SPDX-License-Identifier: MIT */
/*
 * sctmem doctor: whether tracing a program will work, found out without running it, and what to do where it will
 * not.  LD_PRELOAD fails silently in many ways (static programs, another libc, setuid); here each is looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "memory.h"
#include "output.h"
#include "program.h"
#include "stats.h"
#include "symbols.h"
#include "text.h"

enum verdict { VERDICT_OK, VERDICT_NOTE, VERDICT_FAIL };

struct finding {
	enum verdict verdict;
	const char *subject;          /* "program", "libc" ... */
	char text[512];
	char remedy[256];             /* "" when there is nothing to do */
};

enum { FINDINGS_MAX = 32, SCRIPT_DEPTH_MAX = 4, LOADER_OUTPUT_MAX = 1 << 16 };

struct doctor {
	bool json;
	const char *output;
};

struct patient {
	const char *name;             /* as given */
	char path[PROGRAM_PATH_SIZE]; /* the ELF file that would run */
	char library[PROGRAM_PATH_SIZE];
	struct program_elf elf;
	char *loader_text;            /* what ld.so --list says with the library preloaded; NULL: not asked */
	struct finding findings[FINDINGS_MAX];
	size_t count;
};

static const struct option_spec doctor_options[] = {
	OPTION_FLAG('j', "json", struct doctor, json, "write JSON"),
	OPTION_TEXT('o', "output", "FILE", struct doctor, output, "the capture that is planned: its folder is checked"),
	OPTION_LAST
};

static const struct option_group doctor_groups[] = {
	{ .title = "Options", .options = doctor_options },
	{ 0 }
};

static struct finding *find_out(struct patient *patient, enum verdict verdict, const char *subject,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

static struct finding *find_out(struct patient *patient, enum verdict verdict, const char *subject,
	const char *format, ...)
{
	struct finding *finding = &patient->findings[patient->count < FINDINGS_MAX ? patient->count++ : FINDINGS_MAX - 1];
	va_list list;

	*finding = (struct finding){ .verdict = verdict, .subject = subject };
	va_start(list, format);
	vsnprintf(finding->text, sizeof finding->text, format, list);
	va_end(list);
	return finding;
}

static void remedy(struct finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void remedy(struct finding *finding, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(finding->remedy, sizeof finding->remedy, format, list);
	va_end(list);
}

/* A script was named and a shell runs it: a wrapper, such as the shims of pyenv. */
static bool is_shell(const struct patient *patient)
{
	static const char *const shells[] = { "sh", "bash", "dash", "zsh", "ksh", "fish", "busybox" };
	const char *slash = strrchr(patient->path, '/');
	bool script = false;

	for (size_t i = 0; i < patient->count; i++)
		script = script || strcmp(patient->findings[i].subject, "script") == 0;
	for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++)
		if (script && slash && strcmp(slash + 1, shells[i]) == 0)
			return true;
	return false;
}

/* From the name to the ELF file: PATH, scripts, links. */
static bool check_program(struct patient *patient)
{
	char interpreter[PROGRAM_PATH_SIZE], argument[PROGRAM_PATH_SIZE];
	struct error error = { 0 };

	if (!program_find(patient->name, patient->path, &error)) {
		if (!program_is_python_script(patient->name, patient->path)) {
			find_out(patient, VERDICT_FAIL, "program", "%s", error.text);
			return false;
		}
		find_out(patient, VERDICT_OK, "script", "%s is not executable: sctmem run uses %s", patient->name, patient->path);
	}
	for (int depth = 0; program_script(patient->path, interpreter, argument); depth++) {
		const char *next = interpreter;
		const char *slash = strrchr(interpreter, '/');

		if (depth == SCRIPT_DEPTH_MAX) {
			find_out(patient, VERDICT_FAIL, "script", "%s: scripts run by scripts, too deep", patient->path);
			return false;
		}
		/* "#!/usr/bin/env [-S] python3 -u" */
		if (slash && strcmp(slash, "/env") == 0 && *argument) {
			next = strncmp(argument, "-S", 2) == 0 ? argument + 2 + strspn(argument + 2, " \t") : argument;
			argument[(size_t)(next - argument) + strcspn(next, " \t")] = 0;
		}
		find_out(patient, VERDICT_OK, "script", "%s is run by %s", patient->path, next);
		if (!program_find(next, patient->path, &error)) {
			remedy(find_out(patient, VERDICT_FAIL, "program", "%s", error.text), "install the script's interpreter");
			return false;
		}
	}

	char *real = realpath(patient->path, NULL);

	if (real)
		snprintf(patient->path, sizeof patient->path, "%s", real);
	free(real);
	find_out(patient, VERDICT_OK, "program", "%s", patient->path);
	if (is_shell(patient))
		remedy(find_out(patient, VERDICT_NOTE, "script", "what this shell script executes is not looked at"),
			"name the program that it runs");
	return true;
}

static bool check_elf(struct patient *patient)
{
	struct error error = { 0 };
	struct program_elf ours;

	if (!program_read_elf(patient->path, &patient->elf, &error)) {
		remedy(find_out(patient, VERDICT_FAIL, "program", "%s", error.text), "run as a user who may read it");
		return false;
	}
	if (!patient->elf.is_elf) {
		remedy(find_out(patient, VERDICT_FAIL, "program", "neither an ELF file nor a script with #!"),
			"name the program that runs it");
		return false;
	}
	if (!program_read_elf("/proc/self/exe", &ours, &error) || !patient->elf.is_64 ||
		patient->elf.is_x86_64 != ours.is_x86_64 || patient->elf.is_aarch64 != ours.is_aarch64) {
		remedy(find_out(patient, VERDICT_FAIL, "machine", "the program is for another machine than libsctmem.so"),
			"trace a 64-bit build of it, with sctmem built for the same machine");
		return false;
	}
	if (!patient->elf.has_interpreter) {
		remedy(find_out(patient, VERDICT_FAIL, "linking", "the program is linked statically: nothing can be preloaded"),
			"link it dynamically (without -static or -static-pie)");
		return false;
	}
	find_out(patient, VERDICT_OK, "linking", "dynamic, loaded by %s", patient->elf.interpreter);
	return true;
}

static bool check_libc(struct patient *patient)
{
	const char *slash = strrchr(patient->elf.interpreter, '/');
	const char *name = slash ? slash + 1 : patient->elf.interpreter;

	if (strncmp(name, "ld-musl", 7) == 0) {
		remedy(find_out(patient, VERDICT_FAIL, "libc", "the program runs on musl; libsctmem.so needs glibc"),
			"trace a glibc build, for example in a Debian image instead of Alpine");
		return false;
	}
	if (strncmp(name, "ld-linux", 8) != 0) {
		remedy(find_out(patient, VERDICT_FAIL, "libc", "the program is loaded by %s, which is not glibc's",
			patient->elf.interpreter), "trace a build for glibc");
		return false;
	}
	if (access(patient->elf.interpreter, X_OK) != 0) {
		remedy(find_out(patient, VERDICT_FAIL, "libc", "its loader %s is missing", patient->elf.interpreter),
			"install glibc for it, or run doctor inside the container or chroot");
		return false;
	}
	return true;
}

/* The loader ignores LD_PRELOAD for a program that gains privileges. */
static void check_privileges(struct patient *patient)
{
	struct stat status;
	char capability[64];

	if (stat(patient->path, &status) != 0)
		return;
	if ((status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
		(status.st_mode & S_ISGID && status.st_gid != getegid()))
		remedy(find_out(patient, VERDICT_FAIL, "privileges", "the program is setuid or setgid: the loader ignores "
			"LD_PRELOAD"), "run sctmem as the user it changes to, or trace a copy without the bit");
	else if (geteuid() != 0 && getxattr(patient->path, "security.capability", capability, sizeof capability) > 0)
		remedy(find_out(patient, VERDICT_FAIL, "privileges", "the program has file capabilities: the loader ignores "
			"LD_PRELOAD"), "run sctmem as root, or trace a copy without them (cp drops them)");
	else
		find_out(patient, VERDICT_OK, "privileges", "none that make the loader ignore LD_PRELOAD");
}

/* `ld.so --list PROGRAM` with the library preloaded: loads all libraries, runs no code of theirs. */
static char *ask_loader(const struct patient *patient)
{
	char *text = memory_new(LOADER_OUTPUT_MAX, 1);
	size_t used = 0;
	ssize_t size;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0 || fflush(NULL) != 0 || (pid = fork()) < 0) {
		free(text);
		return NULL;
	}
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		setenv("LD_PRELOAD", patient->library, 1);
		execl(patient->elf.interpreter, patient->elf.interpreter, "--list", patient->path, (char *)NULL);
		_exit(STATUS_NOT_EXECUTABLE);
	}
	close(ends[1]);
	while (used + 1 < LOADER_OUTPUT_MAX && ((size = read(ends[0], text + used, LOADER_OUTPUT_MAX - 1 - used)) > 0 ||
		(size < 0 && errno == EINTR)))
		used += size > 0 ? (size_t)size : 0;
	close(ends[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return text;
}

/* The path behind "NAME... => PATH (0x...)" in the loader's list. */
static bool listed_path(const struct patient *patient, const char *name, char path[PROGRAM_PATH_SIZE])
{
	const char *line = patient->loader_text ? strstr(patient->loader_text, name) : NULL;
	const char *arrow = line ? strstr(line, "=> ") : NULL;
	const char *end = line ? strchr(line, '\n') : NULL;

	if (!arrow || (end && arrow > end))
		return false;
	arrow += 3;
	snprintf(path, PROGRAM_PATH_SIZE, "%.*s", (int)strcspn(arrow, " \n"), arrow);
	return *path == '/';
}

/* "2.36" from the text that every glibc holds: "... stable release version 2.36." */
static bool read_glibc_version(const char *path, char version[16])
{
	static const char mark[] = "release version ";
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool found = false;

	if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0) {
		char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (bytes != MAP_FAILED) {
			const char *at = memmem(bytes, (size_t)status.st_size, mark, sizeof mark - 1);

			if (at && at + sizeof mark + 8 < bytes + status.st_size) {
				at += sizeof mark - 1;
				snprintf(version, 16, "%.*s", (int)strnlen(at, 5), at);
				version[strspn(version, "0123456789.")] = 0;
				if (*version && version[strlen(version) - 1] == '.')
					version[strlen(version) - 1] = 0;
				found = *version != 0;
			}
			munmap(bytes, (size_t)status.st_size);
		}
	}
	if (fd >= 0)
		close(fd);
	return found;
}

static void check_loading(struct patient *patient)
{
	char path[PROGRAM_PATH_SIZE], version[16];
	char *problem;

	patient->loader_text = ask_loader(patient);
	if (!patient->loader_text) {
		find_out(patient, VERDICT_NOTE, "loading", "could not ask %s", patient->elf.interpreter);
		return;
	}
	if (listed_path(patient, "libc.so.6", path) && read_glibc_version(path, version))
		find_out(patient, VERDICT_OK, "libc", "glibc %s (%s)", version, path);
	problem = strstr(patient->loader_text, "cannot be preloaded");
	if (!problem)
		problem = strstr(patient->loader_text, "not found");
	if (problem) {
		while (problem > patient->loader_text && problem[-1] != '\n')
			problem--;
		remedy(find_out(patient, VERDICT_FAIL, "loading", "%.*s", (int)strcspn(problem, "\n"), problem),
			"use a libsctmem.so built for this system's glibc or an older one");
	} else if (strstr(patient->loader_text, "libsctmem.so")) {
		find_out(patient, VERDICT_OK, "loading", "%s can be loaded into it", patient->library);
	} else {
		find_out(patient, VERDICT_NOTE, "loading", "the loader did not say whether it takes %s", patient->library);
	}
}

/* What views can call the program's own native functions; its libraries may have more or less. */
static void check_names(struct patient *patient)
{
	struct symbols *symbols = symbols_new(NULL);
	const uint32_t module = symbols_add_module(symbols, patient->path, NULL, 0);
	struct symbol_frame frame;
	struct finding *finding;

	/* Its files are opened when the first address is asked for. */
	symbols_resolve(symbols, module, 0, &frame, 1);
	switch (symbols_module_detail(symbols, module)) {
	case SYMBOLS_LINES:
		find_out(patient, VERDICT_OK, "names", "of native functions, with their lines");
		break;
	case SYMBOLS_FUNCTIONS:
		find_out(patient, VERDICT_OK, "names", "of native functions, without lines: it has no debug information here");
		break;
	case SYMBOLS_EXPORTED:
	case SYMBOLS_NONE:
		finding = find_out(patient, VERDICT_NOTE, "names", "of native functions: only those that it exports, it is stripped");
		remedy(finding, "install its debug package, or give the views --debuginfod; sctmem symbolize keeps the names");
		break;
	}
	symbols_free(symbols);
}

/* "3.9" in "/usr/lib/libpython3.9.so.1.0" or "/usr/bin/python3.9", for runtimes without Py_Version. */
static uint32_t version_in_name(const char *path)
{
	const char *at = strstr(path, "python3.");

	return at ? 3u << 24 | (uint32_t)(atoi(at + 8) & 255) << 16 : 0;
}

static void check_python(struct patient *patient)
{
	struct program_elf *elf = &patient->elf;
	char path[PROGRAM_PATH_SIZE];
	struct program_elf runtime = *elf;
	struct error error;
	const char *allocator = getenv("PYTHONMALLOC");

	snprintf(path, sizeof path, "%s", patient->path);
	if (!elf->is_python)
		return;
	if (elf->needs_libpython && (!listed_path(patient, "libpython", path) ||
		!program_read_elf(path, &runtime, &error))) {
		find_out(patient, VERDICT_NOTE, "Python", "its libpython was not found");
		return;
	}

	uint32_t version = runtime.python_version ? runtime.python_version : version_in_name(path);
	unsigned minor = version >> 16 & 255;
	struct text_number shown = stats_python_version(version);

	/* Names hold no micro version. */
	if (!runtime.python_version && version)
		snprintf(shown.text, sizeof shown.text, "3.%u", minor);
	find_out(patient, VERDICT_OK, "Python", "%s, %s", version ? shown.text : "of unknown version",
		elf->needs_libpython ? path : "built into the program");
	if (version && (version >> 24 != 3 || minor < 8 || minor > 15))
		remedy(find_out(patient, VERDICT_NOTE, "Python", "its stacks are not understood: only native frames are shown"),
			"use CPython 3.8 to 3.15");
	find_out(patient, VERDICT_OK, "Python", "allocator: %s", allocator && *allocator ? allocator : "pymalloc");
}

/* What the recorder needs of a file system: room in advance, and a window of the file mapped shared. */
static void check_output(struct patient *patient, const char *output)
{
	char folder[PROGRAM_PATH_SIZE], name[PROGRAM_PATH_SIZE + 16];
	enum { SIZE = 1 << 16, SPACE_MIN = 256 << 20 };
	struct statvfs space;
	void *window = MAP_FAILED;
	int fd, code = 0;

	snprintf(folder, sizeof folder, "%s", output && *output ? output : "./");
	if (strrchr(folder, '/'))
		strrchr(folder, '/')[1] = 0;
	else
		strcpy(folder, "./");
	snprintf(name, sizeof name, "%s.sctmem-XXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0) {
		remedy(find_out(patient, VERDICT_FAIL, "output", "cannot write in %s: %s", folder, strerror(errno)),
			"choose another place with -o or SCTMEM_OUT");
		return;
	}
	unlink(name);
	if (fallocate(fd, 0, 0, SIZE) != 0 && (errno != EOPNOTSUPP || ftruncate(fd, SIZE) != 0))
		code = errno;
	else if ((window = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		code = errno;
	if (window != MAP_FAILED)
		munmap(window, SIZE);
	if (code)
		remedy(find_out(patient, VERDICT_FAIL, "output", "the file system of %s cannot map files shared: %s", folder,
			strerror(code)), "choose a local file system with -o or SCTMEM_OUT");
	else
		find_out(patient, VERDICT_OK, "output", "%s can take a capture", folder);
	if (!code && fstatvfs(fd, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize < SPACE_MIN)
		remedy(find_out(patient, VERDICT_NOTE, "output", "only %s are free there",
			text_bytes((uint64_t)space.f_bavail * space.f_frsize).text), "choose a larger place with -o or SCTMEM_OUT");
	close(fd);
}

static void check_environment(struct patient *patient)
{
	const char *program = getenv("SCTMEM_PROGRAM"), *preload = getenv("LD_PRELOAD");
	const char *slash = strrchr(patient->path, '/');

	if (program && *program && fnmatch(program, slash ? slash + 1 : patient->path, 0) != 0)
		remedy(find_out(patient, VERDICT_FAIL, "environment", "SCTMEM_PROGRAM=%s does not match this program", program),
			"unset it, or set another pattern");
	if (preload && *preload)
		find_out(patient, VERDICT_NOTE, "environment", "LD_PRELOAD=%s stays behind libsctmem.so", preload);
}

static void examine(struct patient *patient, const char *output)
{
	struct error error = { 0 };
	bool library = program_find_library(patient->library, &error);

	if (library)
		find_out(patient, VERDICT_OK, "library", "%s", patient->library);
	else
		find_out(patient, VERDICT_FAIL, "library", "%s", error.text);
	if (check_program(patient) && check_elf(patient) && check_libc(patient)) {
		check_privileges(patient);
		if (library)
			check_loading(patient);
		check_names(patient);
		check_python(patient);
		check_environment(patient);
	}
	check_output(patient, output ? output : getenv("SCTMEM_OUT"));
}

static void print_findings(const struct patient *patient, const struct text *text)
{
	static const char *const words[] = { [VERDICT_OK] = "ok", [VERDICT_NOTE] = "note", [VERDICT_FAIL] = "FAIL" };
	static const enum text_style styles[] = {
		[VERDICT_OK] = TEXT_COOL, [VERDICT_NOTE] = TEXT_WARM, [VERDICT_FAIL] = TEXT_HOT,
	};

	for (size_t i = 0; i < patient->count; i++) {
		const struct finding *finding = &patient->findings[i];

		text_style(text, styles[finding->verdict]);
		fprintf(text->file, "%-5s", words[finding->verdict]);
		text_style(text, TEXT_PLAIN);
		fprintf(text->file, "%-12s ", finding->subject);
		text_write(text, finding->text, 0);
		putc('\n', text->file);
		if (finding->remedy[0])
			fprintf(text->file, "%18s%s\n", "", finding->remedy);
	}
}

static void write_findings(const struct patient *patient, FILE *file, bool works)
{
	static const char *const words[] = { [VERDICT_OK] = "ok", [VERDICT_NOTE] = "note", [VERDICT_FAIL] = "fail" };
	struct json json = json_begin(file, false);

	json_object(&json, NULL);
	json_text(&json, "program", patient->path);
	json_bool(&json, "works", works);
	json_array(&json, "findings");
	for (size_t i = 0; i < patient->count; i++) {
		json_object(&json, NULL);
		json_text(&json, "verdict", words[patient->findings[i].verdict]);
		json_text(&json, "subject", patient->findings[i].subject);
		json_text(&json, "text", patient->findings[i].text);
		json_text(&json, "remedy", patient->findings[i].remedy);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
}

static bool doctor_run(struct invocation *invocation, struct error *error)
{
	struct doctor settings = { 0 };
	struct output output = { 0 };
	size_t failures = 0;

	if (!command_parse(invocation, &settings, error) || !output_open(&output, NULL, false, error))
		return false;

	struct patient *patient = memory_new(1, sizeof *patient);

	patient->name = invocation->arguments.count ? invocation->arguments.argv[0] : "python3";
	examine(patient, settings.output);
	for (size_t i = 0; i < patient->count; i++)
		failures += patient->findings[i].verdict == VERDICT_FAIL;
	if (settings.json) {
		write_findings(patient, output.file, failures == 0);
	} else {
		struct text text = text_begin(output.file);

		print_findings(patient, &text);
		fputs(failures ? "\nTracing would not work.\n" : "\nTracing will work.\n", output.file);
	}
	invocation->status = failures ? STATUS_CANNOT_TRACE : STATUS_OK;
	free(patient->loader_text);
	free(patient);
	return output_commit(&output, error);
}

static const struct command_example doctor_examples[] = {
	{ "sctmem doctor", "whether python3 can be traced here" },
	{ "sctmem doctor ./server", "another program, or a script" },
	{ "sctmem doctor -o /mnt/nfs/x.bin app.py", "with the capture in a certain place" },
	{ 0 }
};

const struct command doctor_command = {
	.name = "doctor",
	.summary = "check that tracing a program will work, and say what to do if not",
	.arguments = "[PROGRAM]",
	.operands = COMMAND_PROGRAM,
	.description =
		"Looks at a program (default python3) without running it: whether it exists, is dynamic, runs on glibc, gains "
		"no privileges, takes libsctmem.so, which Python it is; and whether a capture can be written. Each trouble "
		"comes with its remedy.\n\n"
		"The exit status is 8 when tracing would not work.",
	.groups = doctor_groups,
	.examples = doctor_examples,
	.run = doctor_run,
};
