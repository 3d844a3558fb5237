# SPDX-License-Identifier: MIT
"""Allocates under many Python frames:  recursion.py DEPTH BLOCKS

The recursion goes down to DEPTH, allocates there, comes up by a few frames and goes down again, as recursive descent
does; so the outer frames stay and some inner ones change.
"""
import sys

BLOCKS_AT_BOTTOM = 20
FRAMES_CHANGED = 5


class Node:
    __slots__ = ("children", "name")

    def __init__(self, name):
        self.name = name
        self.children = []


def bottom(counter):
    for i in range(BLOCKS_AT_BOTTOM // 2):       # an object and its list
        Node(i)
    return counter - BLOCKS_AT_BOTTOM


def vary(levels, counter):
    return bottom(counter) if levels == 0 else vary(levels - 1, counter)


def descend(levels, blocks):
    if levels > 0:
        return descend(levels - 1, blocks)
    while blocks > 0:
        blocks = vary(FRAMES_CHANGED, blocks)
    return blocks


def main(depth, blocks):
    sys.setrecursionlimit(depth + 100)
    descend(depth - FRAMES_CHANGED - 3, blocks)


main(int(sys.argv[1]), int(sys.argv[2]))
