/* SPDX-License-Identifier: MIT */
/*
 * Untrusted bytes as text for a page; see report_text.h.  Everything that goes from a capture into a page passes
 * through report_text_next, so that there is one place that decides what is valid.
 */
#include "report_text.h"

#include <stdint.h>
#include <string.h>

/* How many bytes the valid UTF-8 sequence at `s` has; 0 when it is not one (over-long, surrogate, cut short). */
static size_t sequence_size(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	size_t size = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	/* The NUL at the end is no continuation byte, so this never reads past it. */
	for (size_t i = 1; i < size; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
			(s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return size;
}

size_t report_text_next(const char **text, char out[4])
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)*text;
	if (!*s)
		return 0;
	size_t size = sequence_size(s);
	if (size) {
		memcpy(out, s, size);
		*text += size;
		return size;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[*s >> 4];
	out[3] = digits[*s & 15];
	*text += 1;
	return 4;
}

size_t report_text_plain(const char *text)
{
	size_t size = 0;
	while (text[size] != '\0' && (unsigned char)text[size] < 0x80)
		size++;
	return size;
}

size_t report_text_size(const char *text)
{
	size_t size = report_text_plain(text);
	char piece[4];
	text += size;
	for (size_t n; (n = report_text_next(&text, piece)) > 0;)
		size += n;
	return size;
}

void report_text_json(FILE *out, const char *text)
{
	putc('"', out);
	char piece[4];
	for (size_t n; (n = report_text_next(&text, piece)) > 0;) {
		unsigned char c = (unsigned char)piece[0];
		if (n == 1 && (c == '"' || c == '\\'))
			fprintf(out, "\\%c", c);
		else if (n == 1 && (c < 0x20 || c == 0x7f || c == '<' || c == '>' || c == '&'))
			fprintf(out, "\\u%04x", c);
		else if (n == 4 && piece[0] == '\\')
			fprintf(out, "\\%.4s", piece);
		else
			fwrite(piece, 1, n, out);
	}
	putc('"', out);
}

void report_text_html(FILE *out, const char *text)
{
	char piece[4];
	for (size_t n; (n = report_text_next(&text, piece)) > 0;) {
		unsigned char c = (unsigned char)piece[0];
		if (n == 1 && (c == '<' || c == '>' || c == '&' || c == '"' || c == '\''))
			fprintf(out, "&#%u;", c);
		else if (n == 1 && (c < 0x20 || c == 0x7f))
			putc(' ', out);
		else
			fwrite(piece, 1, n, out);
	}
}
