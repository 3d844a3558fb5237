# SPDX-License-Identifier: MIT
"""What was wanted and what was reached, in one table, over all workloads that have a goal."""
import statistics

import reading
import tables

PEERS = ("memray", "heaptrack")


def reached(result, variant):
    return statistics.median(tables.ratios(variant["runs"], result["variants"][0]["runs"], "wall_s"))


def peers_of(result):
    return ", ".join("{} {}".format(variant["title"], tables.number(reached(result, variant), 1))
                     for variant in result["variants"] if variant["tool"] in PEERS and variant["runs"])


def ratio_row(result, variant):
    return [result["title"], variant["title"], result["place"], tables.number(result["goals"][variant["name"]]),
            tables.number(reached(result, variant)), peers_of(result)]


def added_row(result, variant):
    bare = tables.median(result["variants"][0]["runs"], "wall_s")

    def added(other):
        return "{:+.0f} ms".format((tables.median(other["runs"], "wall_s") - bare) * 1000)
    peers = ", ".join("{} {}".format(other["title"], added(other)) for other in result["variants"]
                      if other["tool"] in PEERS and other["runs"])
    return [result["title"], variant["title"], result["place"], "+{} ms".format(result["added_goal_ms"]),
            added(variant), peers]


def reading_rows(result):
    peers = ", ".join("{} {} s".format(reader["title"], tables.number(tables.median(reader["runs"], "wall_s")))
                      for reader in result["readers"] if reader["tool"] != "sctmem")
    for reader in result["readers"]:
        goal = reading.goal_cell(result, reader)
        if goal:
            wall = tables.median(reader["runs"], "wall_s")
            got = "{:.0f} ms".format(wall * 1000) if result["small"] else "{:.1f} M/s".format(
                result["events"] / wall / 1e6)
            yield [result["title"], reader["title"], "host", goal, got, peers]


def table(results):
    rows = [["work", "mode", "where", "goal", "reached", "peers, in the same place"]]
    for result in results.get("workloads", []):
        for variant in result["variants"]:
            if not variant["runs"]:
                continue
            if variant["name"] in result["goals"]:
                rows.append(ratio_row(result, variant))
            elif result["added_goal_ms"] and variant["tool"] == "sctmem":
                rows.append(added_row(result, variant))
    for result in results.get("readings", []):
        rows += reading_rows(result)
    return tables.align(rows)
