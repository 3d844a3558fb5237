/* SPDX-License-Identifier: MIT */
/*
 * Folded stacks: a line a stack, "outermost;...;innermost BYTES", for flamegraph.pl, inferno, speedscope and Perfetto's
 * page.  A semicolon in a name becomes a colon, since the format has no escape for it.
 */
#include <inttypes.h>

#include "export.h"

static void write_name(FILE *file, const char *name)
{
	for (; *name; name++)
		putc(*name == ';' ? ':' : *name, file);
}

static bool folded_write(const struct export *export, struct error *error)
{
	const struct calltree *tree = export->tree;
	char text[VIEW_FRAME_SIZE];

	for (uint32_t node = 0; node < tree->count; node++) {
		const uint64_t bytes = metric_bytes(&tree->own[node], export->metric);

		if (bytes == 0)
			continue;
		for (uint32_t i = export_stack(export, node); i-- > 0;) {
			write_name(export->file, export_frame_text(export, export->stack[i], text, sizeof(text)));
			putc(i ? ';' : ' ', export->file);
		}
		fprintf(export->file, "%" PRIu64 "\n", bytes);
	}
	return true;
}

const struct export_format export_folded = {
	.name = "folded",
	.ending = ".folded",
	.summary = "flamegraph.pl, inferno, speedscope",
	.flags = EXPORT_ONE_METRIC,
	.write = folded_write,
};
