/* SPDX-License-Identifier: MIT */
/*
 * Property: any command line ends, with a status and, when it failed, one line that says what is wrong.  Verbs that
 * only read captures are run on those of golden_captures; of the others (run, doctor ...) the options are parsed.
 *
 * Input: the words, a line each; the first is the verb.  The words `sample`, `killed`, `hostile` and `child` become
 * the paths of captures.  A slash in any other word becomes an underscore, so that nothing is written or read outside
 * the folder of its own in which the target works.
 */
#include <dirent.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "input.h"
#include "reader/command.h"
#include "verbs.h"

enum { WORDS_MAX = 32, SETTINGS_SIZE = 1 << 16, CAPTURES = 4 };

static const char *const capture_names[CAPTURES] = { "sample", "killed", "hostile", "child" };
static char capture_paths[CAPTURES][INPUT_PATH_SIZE];
static char folder[] = "/tmp/fuzz_command.XXXXXX";

static void leave(void)
{
	if (chdir("/") == 0)
		rmdir(folder);
}

static void take_capture(const char *from, int index)
{
	char path[4096];
	uint8_t bytes[1 << 15];
	FILE *file;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s.bin", from, capture_names[index]);
	file = fopen(path, "rb");
	if (!file) {
		fprintf(stderr, "fuzz_command: no %s: SCTMEM_FUZZ_CAPTURES must name the folder that golden_captures filled\n",
			path);
		exit(1);
	}
	size = fread(bytes, 1, sizeof(bytes), file);
	require(size > 0 && size < sizeof(bytes));
	fclose(file);
	input_file(bytes, size, capture_paths[index]);
}

static void prepare(void)
{
	const char *from = getenv("SCTMEM_FUZZ_CAPTURES");

	for (int i = 0; i < CAPTURES; i++)
		take_capture(from ? from : ".", i);
	require(mkdtemp(folder) != NULL && chdir(folder) == 0);
	atexit(leave);
	unsetenv("DEBUGINFOD_URLS");
	input_silence();
}

/* Reports that -o has written. */
static void empty_folder(void)
{
	DIR *open = opendir(".");

	require(open != NULL);
	for (struct dirent *entry; (entry = readdir(open));)
		unlink(entry->d_name);
	closedir(open);
}

static char *resolve_word(char *word)
{
	for (int i = 0; i < CAPTURES; i++)
		if (strcmp(word, capture_names[i]) == 0)
			return capture_paths[i];
	for (char *at = word; (at = strchr(at, '/'));)
		*at = '_';
	return word;
}

static int split(char *text, char *words[WORDS_MAX])
{
	int count = 0;

	for (char *word; count < WORDS_MAX - 1 && (word = strsep(&text, "\n"));)
		words[count++] = resolve_word(word);
	words[count] = NULL;
	return count;
}

static void run_words(char **words, int count)
{
	struct error error = { .text = "" };
	struct invocation invocation = {
		.command = command_find(words[0]),
		.arguments = { .argv = words + 1, .count = count - 1 },
	};
	bool done;

	if (!invocation.command)
		return;
	if (verbs_only_reads(invocation.command)) {
		done = invocation.command->run(&invocation, &error);
	} else {
		void *settings = calloc(1, SETTINGS_SIZE);

		require(settings != NULL);
		done = command_parse(&invocation, settings, &error);
		free(settings);
	}
	if (!done && !invocation.arguments.help)
		require(error.status != STATUS_OK && error.text[0] != 0 && strlen(error.text) < sizeof(error.text));
	require(invocation.arguments.count >= 0 && invocation.arguments.count < count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	char *words[WORDS_MAX], *text = malloc(size + 1);
	int count;

	if (!ready)
		prepare();
	ready = true;
	require(text != NULL);
	if (size)
		memcpy(text, data, size);
	text[size] = 0;
	count = split(text, words);
	if (count > 0)
		run_words(words, count);
	empty_folder();
	free(text);
	return 0;
}
