/* SPDX-License-Identifier: MIT */
/* A static object whose destructor allocates, and then aborts. */
#include <cstdlib>

struct Last {
	char *block = new char[70001];

	~Last()
	{
		delete[] block;
		block = new char[70002];
		std::abort();
	}
};

static Last last;

int main()
{
	return 0;
}
