# SPDX-License-Identifier: MIT
"""The tables in docs/performance.md.  Each stands between two comments and is renewed when it was measured:

    <!-- bench: json -->
    ...
    <!-- /bench -->
"""
import re

import goals
import instructions
import micro
import reading
import suite
import tables
import workloads
from build import REPOSITORY, say

PAGE = REPOSITORY / "docs/performance.md"
BETWEEN = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- /bench -->)", re.S)


TEXTS = {"workloads": tables.workload_table, "suites": suite.table, "readings": reading.table, "micro": micro.text}


def text_of(kind, result):
    return TEXTS[kind](result)


def joined(several):
    """Results of several runs as one: what is in a later file replaces what an earlier one has."""
    whole = {"quick": False}
    for results in several:
        for key, value in results.items():
            if key == "failures":
                continue
            if not isinstance(value, list):
                whole[key] = value or whole.get(key)
                continue
            replaced = {identity(item) for item in value}
            whole[key] = [item for item in whole.get(key, []) if identity(item) not in replaced] + value
    return whole


def identity(item):
    return item["name"], item.get("place")


def whole(results):
    """Whether each workload that has a goal was measured: the table of goals is renewed as a whole or not at all."""
    measured = {result["name"] for kind in TEXTS for result in results.get(kind, [])}
    wanted = {workload.name for workload in workloads.WORKLOADS if workload.goals or workload.added_goal_ms}
    return wanted | {item.name for item in reading.READINGS if not item.large} | {item.name for item in suite.SUITES} \
        <= measured


def sections(results):
    """{name of a marker: text}"""
    texts = {}
    for kind in TEXTS:
        for result in results.get(kind, []):
            texts.setdefault(result["name"], []).append(text_of(kind, result))
    texts = {name: "\n\n".join(parts) for name, parts in texts.items()}
    if results.get("workloads"):
        texts["machine"] = tables.machine_text(results)
    if whole(results):
        texts["goals"] = goals.table(results)
    if results.get("instructions"):
        texts["instructions"] = instructions.table(results["instructions"])
    return texts


def renewed(page, texts):
    """The page with each marked part that is in texts replaced; and the names that have no place in it."""
    placed = set()

    def replace(match):
        name = match.group(2)
        placed.add(name)
        return match.group(1) + "\n" + texts[name] + "\n\n" + match.group(3) if name in texts else match.group(0)
    return BETWEEN.sub(replace, page), sorted(set(texts) - placed)


def write(results):
    page, homeless = renewed(PAGE.read_text(encoding="utf-8"), sections(results))
    PAGE.write_text(page, encoding="utf-8")
    say("docs/performance.md is renewed")
    for name in homeless:
        say("it has no place for {0}: add a line <!-- bench: {0} --> and a line <!-- /bench -->".format(name))
