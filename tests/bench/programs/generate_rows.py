# SPDX-License-Identifier: MIT
"""Writes a table for sqlite3 to import:  generate_rows.py FILE ROWS"""
import random
import sys


def main(path, rows):
    draw = random.Random(11)
    with open(path, "w") as file:
        for i in range(rows):
            name = "".join(draw.choice("aeiou") + draw.choice("bdklmnrst") for _ in range(draw.randint(2, 6)))
            file.write("{},{},city {},{}@example.org,{}-{:02}-{:02},{:.4f}\n".format(
                i, name, draw.randint(1, 5000), name, draw.randint(1930, 2020), draw.randint(1, 12),
                draw.randint(1, 28), draw.random() * 100))


main(sys.argv[1], int(sys.argv[2]))
