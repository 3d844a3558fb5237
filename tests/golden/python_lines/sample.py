# SPDX-License-Identifier: MIT
"""What stretches line tables: long jumps forwards and backwards, wide columns, lines without code, tracebacks."""
import contextlib


def straight(values):
    total = 0
    for value in values:
        if value:
            total += value * 2
        else:
            total -= 1
    return total


def backwards(
    first,
    second=None,
):
    return dict(
        one=first(
            second,
        ),
        two=[
            item
            for item in second
            if item
        ],
    )


def cleanup(path):
    try:
        with contextlib.suppress(OSError), open(path) as file:
            while True:
                line = file.readline()
                if not line:
                    break
                yield line
    except ValueError as error:
        raise RuntimeError("bad") from error
    finally:
        print("done")


async def waits(source):
    async with source as opened:
        async for item in opened:
            await item


def wide(a_rather_long_name_00, a_rather_long_name_01, a_rather_long_name_02, **rest):
    return (a_rather_long_name_00 + a_rather_long_name_01 + a_rather_long_name_02 + a_rather_long_name_00 + a_rather_long_name_01 + a_rather_long_name_02 + a_rather_long_name_00 + a_rather_long_name_01 + a_rather_long_name_02 + a_rather_long_name_00 + a_rather_long_name_01 + a_rather_long_name_02 + a_rather_long_name_00 + a_rather_long_name_01 + a_rather_long_name_02)  # beyond column 255


def far():
    first = 1












































































































































































































































































































    return first


class Thing:
    name: str = "thing"

    @property
    def value(self):
        return lambda: [self.name, {key: "é" + key for key in self.name}]
