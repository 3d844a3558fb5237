# SPDX-License-Identifier: MIT
"""What was wanted and what was reached, in one table, over all workloads that have a goal."""
import statistics

import reading
import suite
import tables
import workloads

PEERS = ("memray", "heaptrack")


def reached(result, variant, key="wall_s"):
    return statistics.median(tables.ratios(variant["runs"], result["variants"][0]["runs"], key))


def peers_of(result):
    return ", ".join("{} {}".format(variant["title"], tables.number(reached(result, variant), 1))
                     for variant in result["variants"] if variant["tool"] in PEERS and variant["runs"])


def added_ms(result, variant):
    bare = tables.median(result["variants"][0]["runs"], "wall_s")
    return "{:+.0f} ms".format((tables.median(variant["runs"], "wall_s") - bare) * 1000)


def variant_rows(result, variant):
    """A row for each goal of a variant."""
    ratio, limits = workloads.goals_of(result, variant)
    head = [result["title"], variant["title"], result["place"]]
    if ratio:
        yield head + [tables.number(ratio), tables.number(reached(result, variant)),
                      tables.number(reached(result, variant, "cpu_s")), peers_of(result)]
    milliseconds = workloads.added_goal_ms_of(result, variant)
    if milliseconds:
        yield head + ["+{} ms".format(milliseconds), added_ms(result, variant), "", ", ".join(
            "{} {}".format(other["title"], added_ms(result, other)) for other in result["variants"]
            if other["tool"] in PEERS and other["runs"])]
    if "ns_event" in limits:
        yield head + ["{} ns an event".format(limits["ns_event"]),
                      tables.number(tables.added_ns_event(variant, result["variants"][0]["runs"]), 0), "", ""]
    if "disk" in limits:
        yield head + ["{} B an event".format(limits["disk"]), tables.number(tables.disk_bytes_event(variant)), "", ""]


def reading_rows(result):
    peers = ", ".join("{} {} s".format(reader["title"], tables.number(tables.median(reader["runs"], "wall_s")))
                      for reader in result["readers"] if reader["tool"] != "sctmem")
    for reader in result["readers"]:
        goal = reading.goal_cell(result, reader)
        if goal:
            wall = tables.median(reader["runs"], "wall_s")
            got = "{:.0f} ms".format(wall * 1000) if result["small"] else "{:.1f} M/s".format(
                result["events"] / wall / 1e6)
            yield [result["title"], reader["title"], "host", goal, got, "", peers]


def table(results):
    rows = [["work", "mode", "where", "goal", "reached", "CPU", "peers, in the same place"]]
    for result in results.get("workloads", []):
        for variant in result["variants"]:
            if variant["runs"]:
                rows += variant_rows(result, variant)
    for result in results.get("suites", []):
        rows += suite.goal_rows(result)
    for result in results.get("readings", []):
        rows += reading_rows(result)
    return tables.align(rows)
