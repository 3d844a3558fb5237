/* SPDX-License-Identifier: MIT */
/*
 * Keeps something in each row of the processor's tiles (AMX), the largest registers that there are, and looks at each
 * `check` whether it is still there.  Exits with 77 where there are none.
 *
 *     check    says `tiles 0`, or how many bytes have changed since the start
 *     end      exits with 42
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, ROWS = 16, ROW_BYTES = 64 };

/* Palette 1: of each tile its bytes a row, and its rows. */
struct configuration {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

static struct configuration wanted = { .palette = 1 };
static uint8_t filled[ROWS][ROW_BYTES];

static void load(void)
{
	wanted.rows[0] = wanted.rows[7] = ROWS;
	wanted.row_bytes[0] = wanted.row_bytes[7] = ROW_BYTES;
	for (int i = 0; i < ROWS * ROW_BYTES; i++)
		filled[i / ROW_BYTES][i % ROW_BYTES] = (uint8_t)(i * 37 + 11);
	__asm__ volatile("ldtilecfg %0" : : "m"(wanted));
	__asm__ volatile("tileloadd (%0, %1, 1), %%tmm0\n\ttileloadd (%0, %1, 1), %%tmm7"
		: : "r"(filled), "r"((long)ROW_BYTES) : "memory");
}

static long changed(void)
{
	struct configuration now;
	uint8_t tiles[2][ROWS][ROW_BYTES] = { 0 };
	long count = 0;

	__asm__ volatile("sttilecfg %0" : "=m"(now));
	if (memcmp(&now, &wanted, sizeof now) != 0)
		return sizeof tiles;
	__asm__ volatile("tilestored %%tmm0, (%0, %2, 1)\n\ttilestored %%tmm7, (%1, %2, 1)"
		: : "r"(tiles[0]), "r"(tiles[1]), "r"((long)ROW_BYTES) : "memory");
	for (int i = 0; i < 2 * ROWS * ROW_BYTES; i++)
		count += ((uint8_t *)tiles)[i] != ((uint8_t *)filled)[i % (ROWS * ROW_BYTES)];
	return count;
}

int main(void)
{
	char line[64];

	if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0)
		return 77;
	load();
	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready %d\n", (int)getpid());
	while (fgets(line, sizeof line, stdin) && strcmp(line, "end\n") != 0)
		if (strcmp(line, "check\n") == 0)
			printf("tiles %ld\n", changed());
	return changed() ? 1 : 42;
}
