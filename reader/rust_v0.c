/* SPDX-License-Identifier: MIT */
/*
 * The grammar of Rust's v0 names (RFC 2603), read but not printed.
 *
 * Libiberty's demangler believes a binder that announces 2^60 lifetimes, and counts them out even in the parts of
 * a name that it does not print; and it follows references back to any byte, be it inside an identifier.  So a name
 * is read here first, in time linear in its length, and refused when
 *   - it does not follow the grammar, or nests too deep,
 *   - a binder announces more lifetimes than RUST_V0_LIFETIMES_MAX,
 *   - a reference does not lead to the start of an earlier path, type or constant.
 * Whatever the demangler then reads, it reads as it was read here.
 *
 *     path   C [s#] name | M [s#] path type | X [s#] path type path | Y type path | N letter path [s#] name
 *            | I path argument* E | B#
 *     type   a lower-case letter | path | A type const | S type | T type* E | R/Q [L#] type | P/O type
 *            | F [G#] [U] [K abi] type* E type | D [G#] (path (p name type)*)* E L# | B#
 *     const  p | letter [n] hexadecimal digits _ | B#
 *     #      base 62 digits _
 */
#include "rust_v0.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

struct scan {
	const char *text;             /* behind the "_R": references count from here */
	size_t size, at;
	unsigned depth;
	uint8_t starts[RUST_V0_SIZE_MAX / 8 + 1];   /* bit set: a path, type or constant that began here is complete */
};

static bool scan_type(struct scan *scan);
static bool scan_const(struct scan *scan);

static char peek(const struct scan *scan)
{
	return scan->at < scan->size ? scan->text[scan->at] : '\0';
}

static bool eat(struct scan *scan, char c)
{
	if (peek(scan) != c)
		return false;
	scan->at++;
	return true;
}

static bool take_base62(struct scan *scan, uint64_t *value)
{
	uint64_t sum = 0;
	if (eat(scan, '_')) {
		*value = 0;
		return true;
	}
	for (; !eat(scan, '_'); scan->at++) {
		char c = peek(scan);
		if (!isalnum((unsigned char)c))
			return false;
		sum = sum * 62 + (uint64_t)(isdigit((unsigned char)c) ? c - '0' :
			islower((unsigned char)c) ? c - 'a' + 10 : c - 'A' + 36);
	}
	*value = sum + 1;
	return true;
}

/* A number after an optional tag. */
static bool scan_tagged(struct scan *scan, char tag)
{
	uint64_t ignored;
	return !eat(scan, tag) || take_base62(scan, &ignored);
}

static bool scan_name(struct scan *scan)
{
	size_t length = 0;
	eat(scan, 'u');
	if (!isdigit((unsigned char)peek(scan)))
		return false;
	if (!eat(scan, '0')) {
		while (isdigit((unsigned char)peek(scan)) && length <= RUST_V0_SIZE_MAX)
			length = length * 10 + (size_t)(scan->text[scan->at++] - '0');
	}
	eat(scan, '_');
	if (length > scan->size - scan->at)
		return false;
	scan->at += length;
	return true;
}

static bool scan_disambiguated_name(struct scan *scan)
{
	return scan_tagged(scan, 's') && scan_name(scan);
}

static bool scan_binder(struct scan *scan)
{
	size_t start = scan->at;
	uint64_t count = 0;
	/* Four digits and "_" are more than enough, and cannot overflow. */
	return !eat(scan, 'G') ||
		(take_base62(scan, &count) && scan->at - start <= 6 && count < RUST_V0_LIFETIMES_MAX);
}

static bool scan_reference(struct scan *scan)
{
	size_t start = scan->at;
	uint64_t target = 0;
	return take_base62(scan, &target) && scan->at - start <= 6 && target < start - 1 &&
		(scan->starts[target / 8] >> target % 8 & 1);
}

/* At the start of a path, type or constant; every call that returns true is undone by leave. */
static bool enter(struct scan *scan)
{
	if (scan->depth >= RUST_V0_DEPTH_MAX || scan->at >= scan->size)
		return false;
	scan->depth++;
	return true;
}

/* Only what is complete can be referred to: nothing contains itself. */
static bool leave(struct scan *scan, size_t start, bool ok)
{
	scan->depth--;
	if (ok)
		scan->starts[start / 8] |= (uint8_t)(1u << start % 8);
	return ok;
}

static bool scan_argument(struct scan *scan)
{
	uint64_t ignored;
	if (eat(scan, 'L'))
		return take_base62(scan, &ignored);
	return eat(scan, 'K') ? scan_const(scan) : scan_type(scan);
}

/* Items up to an E. */
static bool scan_list(struct scan *scan, bool (*scan_item)(struct scan *scan))
{
	while (!eat(scan, 'E')) {
		if (!scan_item(scan))
			return false;
	}
	return true;
}

static bool scan_path(struct scan *scan)
{
	size_t start = scan->at;
	if (!enter(scan))
		return false;
	bool ok = false;
	switch (scan->text[scan->at++]) {
	case 'C':
		ok = scan_disambiguated_name(scan);
		break;
	case 'N':
		ok = isalpha((unsigned char)peek(scan)) && (scan->at++, scan_path(scan)) && scan_disambiguated_name(scan);
		break;
	case 'M':
		ok = scan_tagged(scan, 's') && scan_path(scan) && scan_type(scan);
		break;
	case 'X':
		ok = scan_tagged(scan, 's') && scan_path(scan) && scan_type(scan) && scan_path(scan);
		break;
	case 'Y':
		ok = scan_type(scan) && scan_path(scan);
		break;
	case 'I':
		ok = scan_path(scan) && scan_list(scan, scan_argument);
		break;
	case 'B':
		ok = scan_reference(scan);
		break;
	default:
		break;
	}
	return leave(scan, start, ok);
}

static bool scan_dyn_trait(struct scan *scan)
{
	if (!scan_path(scan))
		return false;
	while (eat(scan, 'p')) {
		if (!scan_name(scan) || !scan_type(scan))
			return false;
	}
	return true;
}

static bool scan_function(struct scan *scan)
{
	if (!scan_binder(scan))
		return false;
	eat(scan, 'U');
	if (eat(scan, 'K') && !eat(scan, 'C') && !scan_name(scan))
		return false;
	return scan_list(scan, scan_type) && scan_type(scan);
}

static bool scan_type(struct scan *scan)
{
	size_t start = scan->at;
	if (!enter(scan))
		return false;
	uint64_t ignored;
	bool ok = true;
	switch (scan->text[scan->at++]) {
	case 'A':
		ok = scan_type(scan) && scan_const(scan);
		break;
	case 'R':
	case 'Q':
		ok = scan_tagged(scan, 'L') && scan_type(scan);
		break;
	case 'S':
	case 'P':
	case 'O':
		ok = scan_type(scan);
		break;
	case 'T':
		ok = scan_list(scan, scan_type);
		break;
	case 'F':
		ok = scan_function(scan);
		break;
	case 'D':
		ok = scan_binder(scan) && scan_list(scan, scan_dyn_trait) && eat(scan, 'L') && take_base62(scan, &ignored);
		break;
	case 'B':
		ok = scan_reference(scan);
		break;
	default:
		scan->at--;
		if (islower((unsigned char)peek(scan)))
			scan->at++;
		else
			ok = scan_path(scan);
		break;
	}
	return leave(scan, start, ok);
}

static bool scan_const(struct scan *scan)
{
	size_t start = scan->at;
	if (!enter(scan))
		return false;
	bool ok = true;
	if (eat(scan, 'B')) {
		ok = scan_reference(scan);
	} else if (!eat(scan, 'p')) {
		ok = islower((unsigned char)peek(scan)) != 0;
		scan->at++;
		eat(scan, 'n');
		while (isxdigit((unsigned char)peek(scan)))
			scan->at++;
		ok = ok && eat(scan, '_');
	}
	return leave(scan, start, ok);
}

bool rust_v0_is_sound(const char *mangled, size_t size)
{
	struct scan scan = { .text = mangled + 2 };
	if (size < 3 || size > RUST_V0_SIZE_MAX || memcmp(mangled, "_R", 2) != 0)
		return false;
	/* What a compiler's later stages added begins with a dot. */
	const char *dot = memchr(mangled, '.', size);
	scan.size = (size_t)((dot != NULL ? dot : mangled + size) - scan.text);
	if (!scan_path(&scan))
		return false;
	/* The crate in which a generic function was made. */
	return scan.at == scan.size || (scan_path(&scan) && scan.at == scan.size);
}
