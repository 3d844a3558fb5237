# SPDX-License-Identifier: MIT
"""Runs the variants of a workload round by round and keeps every single measurement."""
import json
import shutil
import struct
import subprocess
import time

import variants
from build import say
from places import clean_environment, output_of

SECONDS_MAX = 1800
BLOCK = struct.Struct("<4sHHIIIIQQIIQQ")
EVENTS_BLOCK = 2


class Failed(Exception):
    pass


def launch(argv, place, tools, environment=None):
    """Runs a command through programs/launch.c in a place; what it took, in seconds and bytes."""
    result, log = tools.work / "result.json", tools.work / "output.log"
    result.unlink(missing_ok=True)
    command = list(place.enter) + [str(tools.programs / "bench_launch")]
    for name, value in sorted((environment or {}).items()):
        command += ["-e", "{}={}".format(name, value)]
    command += [str(result)] + argv
    with open(log, "wb") as output:
        subprocess.run(command, env=place.environment, cwd=tools.work, stdin=subprocess.DEVNULL,
                       stdout=output, stderr=subprocess.STDOUT, timeout=SECONDS_MAX)
    said = log.read_text(errors="replace")[-2000:].strip()
    if not result.exists() or not result.stat().st_size:
        raise Failed("cannot start {}: {}".format(" ".join(argv), said))
    took = json.loads(result.read_text())
    if took["status"]:
        raise Failed("{} ended with {}: {}".format(" ".join(argv), took["status"], said))
    return {"wall_s": took["wall_ns"] / 1e9, "cpu_s": (took["user_us"] + took["system_us"]) / 1e6,
            "peak_bytes": took["peak_kib"] * 1024}


def raw_bytes(path):
    """Bytes of events in a capture's blocks before LZ4, and the events in them."""
    total = events = 0
    with open(path, "rb") as file:
        data = file.read(16)
        at = struct.unpack_from("<I", data, 12)[0]
        while True:
            file.seek(at)
            block = file.read(BLOCK.size)
            if len(block) < BLOCK.size or block[:4] != b"SBLK":
                return total, events
            _, kind, _, stored, raw, _, _, _, _, count, *_ = BLOCK.unpack(block)
            if kind == EVENTS_BLOCK:
                total += raw
                events += count
            at += BLOCK.size + (stored + 7) // 8 * 8


def describe(variant, folder, tools):
    """What a variant's capture says of itself: its size, and for sctmem events, losses and the recorder's memory."""
    path = variants.capture_of(folder)
    if path is None:
        raise Failed("{} wrote no capture".format(variant.title))
    said = {"bytes": path.stat().st_blocks * 512}
    if variant.tool != "sctmem":
        return said
    done = subprocess.run([str(tools.command), "stats", "--json", "--no-symbols", str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=clean_environment(), universal_newlines=True)
    if done.returncode:
        raise Failed("sctmem stats {}: {}".format(path, done.stderr.strip()))
    metadata = json.loads(done.stdout)["metadata"]
    raw, raw_events = raw_bytes(path)
    said.update(events=metadata["events"], lost=metadata["lost_events"], tracer_bytes=metadata["tracer_bytes"],
                raw_bytes=raw, raw_events=raw_events)
    return said


def wanted(variant, modes):
    return variant.name == "bare" or not modes or variant.name.replace("-against", "") in modes.split(",")


def run_variant(variant, argv, place, tools, folder):
    """One run; returns its measurement, with the capture described."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    prefix = variant.prefix
    # memray runs a script, not an interpreter.
    command = prefix + (argv[1:] if variant.tool == "memray" else argv)
    took = launch(command, place, tools, variant.environment)
    if variant.tool:
        took["capture"] = describe(variant, folder, tools)
    return took


def run_workload(workload, place, tools, options):
    """All rounds of a workload in a place: {name, title, place, variants: [{name, title, runs}]}, or None."""
    if place.name not in workload.places:
        return None
    probe = workload.probe(place)
    if output_of(list(place.enter) + probe, place.environment) is None:
        say("skipped: {} ({}): `{}` fails here".format(workload.name, place.name, " ".join(probe)))
        return None
    folder = tools.work / "run"
    against = options.against.resolve() if options.against else None
    argv = workload.argv(place, tools, options.quick)
    todo = [variant for variant in variants.for_workload(workload, place, tools, folder, against)
            if wanted(variant, options.modes)]
    if len(todo) == 1 and options.modes:
        return None
    runs, failed, measured = {variant.name: [] for variant in todo}, [], list(todo)
    began = time.monotonic()
    for number in range(options.rounds * (1 if options.quick else workload.rounds_factor)):
        # Each round begins elsewhere, so that nobody always comes after the same neighbour.
        for variant in todo[number % len(todo):] + todo[:number % len(todo)]:
            if variant.rounds <= number:
                continue
            say("{} ({}), round {}: {}".format(workload.name, place.name, number + 1, variant.name))
            try:
                took = run_variant(variant, argv, place, tools, folder)
            except Failed as error:
                # A line, and a row that says so; without the bare program there is nothing to compare with.
                if variant.tool is None:
                    raise
                say("{}: {}".format(variant.title, error))
                failed.append(variant.name)
                todo.remove(variant)
                continue
            runs[variant.name].append(dict(took, round=number))
    shutil.rmtree(folder, ignore_errors=True)
    title = workload.title + (", much reduced" if options.quick else "")
    return {"name": workload.name, "title": title, "kind": workload.kind, "place": place.name,
            "place_title": place.title, "seconds": round(time.monotonic() - began, 1),
            "variants": [{"name": variant.name, "title": variant.title, "tool": variant.tool,
                          "failed": variant.name in failed, "runs": runs[variant.name]} for variant in measured]}
