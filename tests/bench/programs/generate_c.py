# SPDX-License-Identifier: MIT
"""Writes a large C file for the compiler benchmark:  generate_c.py FILE FUNCTIONS

Made of what compilers meet in real programs: structs, lists, switches, loops over arrays, arithmetic, calls among
the functions (some small enough to be inlined).  The same each time: no file of others has to be shipped or found.
"""
import random
import sys

TYPES = ("int", "unsigned", "long", "unsigned char", "double")
OPERATORS = ("+", "-", "*", "^", "|", "&")


def struct(draw, number):
    fields = "\n".join("\t{} f{};".format(draw.choice(TYPES), i) for i in range(draw.randint(4, 9)))
    return "struct s{0} {{\n{1}\n\tstruct s{0} *next;\n\tint values[16];\n}};\n".format(number, fields)


def expression(draw, names, depth):
    if depth == 0 or draw.random() < 0.2:
        return draw.choice(names + [str(draw.randint(1, 999))])
    return "({} {} {})".format(expression(draw, names, depth - 1), draw.choice(OPERATORS),
                               expression(draw, names, depth - 1))


def statement(draw, names, structs, callees, depth):
    name, kind = draw.choice(names), draw.randint(0, 6 if depth else 2)
    if kind == 0:
        return "\t{} = {};".format(name, expression(draw, names, 3))
    if kind == 1:
        return "\tif (s->values[{} & 15] > {})\n\t\t{} += s->values[{}];".format(
            name, draw.randint(0, 99), name, draw.randint(0, 15))
    if kind == 2:
        if not callees:
            return "\t{} ^= (int)s->f0;".format(name)
        return "\t{} += {}(s, {}, {});".format(name, draw.choice(callees), draw.choice(names), draw.randint(0, 99))
    inner = "\n".join(statement(draw, names, structs, callees, depth - 1) for _ in range(draw.randint(1, 3)))
    if kind == 3:
        return "\tfor (int i = 0; i < {}; i++) {{\n{}\n\ts->values[i & 15] += {} * i;\n\t}}".format(
            draw.randint(3, 40), inner, name)
    if kind == 4:
        return "\tfor (struct {} *p = s; p; p = p->next) {{\n{}\n\t{} += p->values[{}];\n\t}}".format(
            structs, inner, name, draw.randint(0, 15))
    if kind == 5:
        return "\twhile ({} > {}) {{\n{}\n\t{} /= 2;\n\t}}".format(name, draw.randint(1, 50), inner, name)
    cases = "\n".join("\tcase {}:\n\t\t{} = {};\n\t\tbreak;".format(i, name, expression(draw, names, 2))
                      for i in range(draw.randint(3, 9)))
    return "\tswitch ({} & 15) {{\n{}\n\tdefault:\n{}\n\t}}".format(draw.choice(names), cases, inner)


def function(draw, number, structs, callees):
    names = ["a", "b", "c", "d"]
    body = "\n".join(statement(draw, names, structs, callees, 2) for _ in range(draw.randint(3, 10)))
    static = "static " if draw.random() < 0.5 else ""
    return ("{}int function_{}(struct {} *s, int a, int b)\n{{\n\tint c = a * 3, d = b + 1;\n\n{}\n"
            "\treturn a + b + c + d;\n}}\n").format(static, number, structs, body)


def main(path, functions):
    draw = random.Random(20)
    with open(path, "w") as file:
        file.write("/* Made by generate_c.py. */\n")
        table = []
        for group in range((functions + 19) // 20):
            structs, callees = "s{}".format(group), []
            file.write(struct(draw, group))
            for number in range(group * 20, min(functions, group * 20 + 20)):
                file.write(function(draw, number, structs, callees[-5:]) + "\n")
                callees.append("function_{}".format(number))
            table += callees
        file.write("void *const table[] = {{ {} }};\n".format(", ".join("(void *)" + name for name in table)))


main(sys.argv[1], int(sys.argv[2]))
