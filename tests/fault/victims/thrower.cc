/* SPDX-License-Identifier: MIT */
/*
 * Exceptions that begin beneath malloc: operator new throws, or a new-handler of the program does, a hundred times,
 * over frames that hold blocks.  Prints how many of each were caught; block 1 is kept, 2 freed, 10 freed by unwinding.
 */
#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>

static char *volatile kept;          // volatile: else the compiler leaves new out
static volatile std::size_t too_much = SIZE_MAX / 4;

static void refuse()
{
	throw std::logic_error("from the new-handler");
}

__attribute__((noinline)) static int fail_deep(int depth)
{
	std::unique_ptr<char[]> held(depth % 10 == 0 ? new char[70010] : nullptr);

	if (depth == 0)
		kept = new char[too_much];
	return depth > 0 ? fail_deep(depth - 1) + 1 : 0;
}

int main()
{
	int refused = 0, thrown = 0;

	for (int i = 0; i < 100; i++) {
		std::set_new_handler(i % 2 ? refuse : nullptr);
		try {
			fail_deep(20);
		} catch (const std::bad_alloc &) {
			refused++;
		} catch (const std::logic_error &) {
			thrown++;
		}
	}
	kept = new char[70001];
	char *volatile freed = new char[70002];
	delete[] freed;
	std::printf("%d %d\n", refused, thrown);
	return 0;
}
