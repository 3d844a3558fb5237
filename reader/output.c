/* SPDX-License-Identifier: MIT */
/*
 * See output.h.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

static bool fail_write(struct error *error, const char *path, int code)
{
	return fail(error, STATUS_OUTPUT, "cannot write %s: %s%s", path, strerror(code),
		code == ENOSPC ? "; choose another file system with -o" : "");
}

static bool open_temporary(struct output *output, struct error *error)
{
	const size_t size = strlen(output->path) + sizeof "..XXXXXX";
	const char *slash = strrchr(output->path, '/'), *name = slash ? slash + 1 : output->path;
	mode_t mask = umask(0);
	int fd;

	umask(mask);
	output->temporary = memory_new(size, 1);
	/* What a killed command leaves is not to be taken for what it was to be: a segment of a run is found by its name. */
	snprintf(output->temporary, size, "%.*s.%s.XXXXXX", (int)(name - output->path), output->path, name);
	fd = mkostemp(output->temporary, O_CLOEXEC);
	if (fd < 0) {
		int code = errno;

		free(output->temporary);
		output->temporary = NULL;
		return fail_write(error, output->path, code);
	}
	/* mkstemp makes it private; a report has the permissions of any new file.  Where they cannot be set, private. */
	if (fchmod(fd, 0666 & ~mask) != 0)
		errno = 0;
	output->file = fdopen(fd, "w");
	if (!output->file)
		memory_exhausted();
	return true;
}

bool output_open(struct output *output, const char *path, bool force, struct error *error)
{
	struct stat status;

	*output = (struct output){ .file = stdout, .force = force };
	if (!path || strcmp(path, "-") == 0) {
		/* Some parents leave SIGPIPE ignored; `sctmem ... | head` must end as quietly as any other command. */
		signal(SIGPIPE, SIG_DFL);
		return true;
	}
	output->path = path;
	output->file = NULL;
	if (stat(path, &status) != 0)
		return open_temporary(output, error);
	if (S_ISDIR(status.st_mode))
		return fail(error, STATUS_OUTPUT, "cannot write %s: it is a folder", path);
	if (S_ISREG(status.st_mode)) {
		if (!force)
			return fail(error, STATUS_OUTPUT, "%s exists; -f replaces it", path);
		return open_temporary(output, error);
	}
	output->file = fopen(path, "we");
	if (!output->file)
		return fail_write(error, path, errno);
	return true;
}

/* Returns 0 or an errno. */
static int put_in_place(const struct output *output)
{
	if (output->force)
		return rename(output->temporary, output->path) == 0 ? 0 : errno;
	/* Unlike rename, link refuses a file that came meanwhile.  Some file systems know no links. */
	if (link(output->temporary, output->path) == 0)
		return unlink(output->temporary) == 0 ? 0 : errno;
	if (errno == EEXIST)
		return EEXIST;
	return rename(output->temporary, output->path) == 0 ? 0 : errno;
}

bool output_commit(struct output *output, struct error *error)
{
	if (!output->path)
		return output_flush_standard(error);

	int code = 0;

	errno = EIO;
	if (ferror(output->file) || fflush(output->file) != 0)
		code = errno;
	if (fclose(output->file) != 0 && code == 0)
		code = errno;
	output->file = NULL;
	if (code == 0 && output->temporary)
		code = put_in_place(output);
	if (code != 0)
		return fail_write(error, output->path, code);
	free(output->temporary);
	output->temporary = NULL;
	return true;
}

void output_close(struct output *output)
{
	if (output->path && output->file)
		fclose(output->file);
	if (output->temporary)
		unlink(output->temporary);
	free(output->temporary);
	*output = (struct output){ 0 };
}

bool output_flush_standard(struct error *error)
{
	errno = EIO;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	/* `sctmem ... | head` has seen enough: nothing to tell anybody. */
	if (errno == EPIPE) {
		error->status = STATUS_OUTPUT;
		error->text[0] = 0;
		return false;
	}
	return fail_write(error, "standard output", errno);
}
