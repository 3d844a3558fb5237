# SPDX-License-Identifier: MIT
"""Measurements as tables: the same Markdown in the terminal and in docs/performance.md.

A ratio is taken within a round (this run to the bare run of that round), so what changes slowly on a machine that is
shared cancels out; the median of the rounds is shown, with the smallest and the largest.  `best` compares the fastest
run with the fastest bare run: what a quiet moment gave.
"""
import statistics

import workloads

MIB = 1048576
EVENTS_MIN = 100000


def align(rows):
    """A Markdown table with columns of equal width; all but the first to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))) + " |" for row in rows]
    rules = ["-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|"] + lines[1:])


def ratios(runs, bare, key):
    """Of each round that both ran, the ratio to bare."""
    by_round = {run["round"]: run[key] for run in bare}
    return [run[key] / by_round[run["round"]] for run in runs if by_round.get(run["round"])]


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def number(value, digits=2):
    return "" if value is None else "{:.{}f}".format(value, digits)


def count(value):
    return "{:.1f} M".format(value / 1e6) if value >= 100000 else "{:,}".format(value)


def spread(values):
    if not values:
        return ""
    text = number(statistics.median(values))
    return text if len(values) == 1 else "{} ({} to {})".format(text, number(min(values)), number(max(values)))


def goal_cell(result, variant):
    ratio, added_ms = workloads.goals_of(result, variant)[0], workloads.added_goal_ms_of(result, variant)
    return number(ratio) if ratio else "+{} ms".format(added_ms) if added_ms else ""


def added_ns_event(variant, bare):
    """Processor time added by event; None where there are too few to tell it from start-up."""
    events = [run["capture"].get("events", 0) for run in variant["runs"] if "capture" in run]
    if not events or events[-1] < EVENTS_MIN:
        return None
    return (median(variant["runs"], "cpu_s") - median(bare, "cpu_s")) * 1e9 / events[-1]


def disk_bytes_event(variant):
    last = variant["runs"][-1].get("capture", {})
    return last["bytes"] / last["events"] if last.get("events") else None


def with_limit(text, limits, name):
    return text + (" (goal {})".format(limits[name]) if name in limits else "")


def capture_cells(result, variant, bare):
    """events, nanoseconds of processor an event, bytes an event before LZ4 and in the file, file size, own memory."""
    captures = [run["capture"] for run in variant["runs"] if "capture" in run]
    if not captures:
        return ["", "", "", "", "", ""]
    last, limits = captures[-1], workloads.goals_of(result, variant)[1]
    size = number(last["bytes"] / MIB, 1)
    if not last.get("events"):
        return ["", "", "", "", size, ""]
    # A capture that never filled a window has no blocks yet.
    raw = number(last["raw_bytes"] / last["raw_events"]) if last["raw_events"] else ""
    return [count(last["events"]) + (", lost {:,}".format(last["lost"]) if last["lost"] else ""),
            with_limit(number(added_ns_event(variant, bare), 0), limits, "ns_event"), raw,
            with_limit(number(disk_bytes_event(variant)), limits, "disk"), size,
            number(max(capture["tracer_bytes"] for capture in captures) / MIB, 1)]


def variant_row(result, variant, bare):
    runs = variant["runs"]
    if not runs:
        return [variant["title"], "failed"] + [""] * 12
    title = variant["title"] + (", FAILED after these runs" if variant.get("failed") else "")
    wall, cpu = ratios(runs, bare, "wall_s"), ratios(runs, bare, "cpu_s")
    added_ms = (median(runs, "wall_s") - median(bare, "wall_s")) * 1000
    best = min(run["wall_s"] for run in runs) / min(run["wall_s"] for run in bare)
    peak = (median(runs, "peak_bytes") - median(bare, "peak_bytes")) / MIB
    cells = capture_cells(result, variant, bare)
    return [title, spread(wall), number(best), goal_cell(result, variant), spread(cpu),
            "{:+.0f}".format(added_ms), "{:+.1f}".format(peak)] + cells + [len(runs)]


HEAD = ["", "wall", "best", "goal", "CPU", "added ms", "peak MiB", "events", "ns/event", "B/event raw", "on disk",
        "file MiB", "tracer MiB", "runs"]


def workload_table(result):
    """Heading line and table of one workload in one place."""
    bare = result["variants"][0]["runs"]
    first = ["bare", number(median(bare, "wall_s"), 3) + " s", "", "", number(median(bare, "cpu_s"), 3) + " s", "",
             number(median(bare, "peak_bytes") / MIB, 1)] + [""] * 6 + [len(bare)]
    rows = [HEAD, first] + [variant_row(result, variant, bare) for variant in result["variants"][1:]]
    used = [i for i in range(len(HEAD)) if i == 0 or any(row[i] for row in rows[1:])]
    return "**{}**: {} ({})\n\n{}".format(result["name"], result["title"], result["place_title"],
                                         align([[row[i] for i in used] for row in rows]))


def machine_text(results):
    machine = results["machine"]
    return ("Measured with sctmem {} on {} ({} cores, {} GiB), {}, Linux {}, {}; load average {:.1f} when it began."
            .format(results["sctmem"], machine["processor"], machine["cores"], machine["memory_gib"], machine["system"],
                    machine["kernel"], machine["compiler"], machine["load"]))
