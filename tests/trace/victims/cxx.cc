/* SPDX-License-Identifier: MIT */
/*
 * C++: objects made before main and freed after it, every form of operator new, exceptions (which allocate, and whose
 * unwinding goes through our frames' callers), and containers.   cxx
 *
 * Prints the bytes of its own live blocks that have sizes of SIZE_BASE + n, as in threads.c.
 */
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t SIZE_BASE = 70000;

/* The standard allows the compiler to leave out a new and its delete; what it cannot follow it keeps. */
template <typename T> T *kept(T *pointer)
{
	__asm__ volatile("" : "+r"(pointer) : : "memory");
	return pointer;
}

struct Early {
	char *block = kept(new char[SIZE_BASE + 1]);
	~Early()
	{
		delete[] block;
		leaked = kept(new char[SIZE_BASE + 2]);
	}
	static char *leaked;
};
char *Early::leaked;
Early early;

__attribute__((noinline)) int thrower(int depth)
{
	std::string text(std::size_t(depth) * 40 + 100, 'x');
	if (depth == 0)
		throw std::runtime_error(text);
	return thrower(depth - 1) + int(text.size());
}

__attribute__((noinline)) int exceptions()
{
	int caught = 0;
	for (int i = 0; i < 200; i++) {
		try {
			caught += thrower(i % 30);
		} catch (const std::exception &problem) {
			caught += problem.what()[0] == 'x';
		}
	}
	return caught;
}

__attribute__((noinline)) bool refused()
{
	volatile std::size_t size = SIZE_MAX / 4;
	try {
		delete[] new char[size];
	} catch (const std::bad_alloc &) {
		return new (std::nothrow) char[size] == nullptr;
	}
	return false;
}

struct alignas(256) Wide {
	char bytes[SIZE_BASE + 256 - SIZE_BASE % 256];
};

__attribute__((noinline)) void forms()
{
	delete[] kept(new char[SIZE_BASE + 3]);
	delete[] kept(new (std::nothrow) char[SIZE_BASE + 4]);
	delete kept(new Wide);
	::operator delete(kept(::operator new(SIZE_BASE + 5)), SIZE_BASE + 5);
	::operator delete(kept(::operator new(SIZE_BASE + 6, std::align_val_t(512))), std::align_val_t(512));
}

thread_local std::unique_ptr<char[]> of_thread;

} // namespace

int main()
{
	forms();
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; i++)
		threads.emplace_back([] {
			of_thread.reset(kept(new char[SIZE_BASE + 7]));
			exceptions();
		});
	for (auto &thread : threads)
		thread.join();
	std::map<std::string, std::vector<int>> map;
	for (int i = 0; i < 1000; i++)
		map["key " + std::to_string(i % 100)].push_back(i);
	std::printf("%d %d %zu\n", exceptions(), int(refused()), map.size());
	return 0;
}
