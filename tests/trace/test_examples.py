# SPDX-License-Identifier: MIT
"""Each program in examples/ has a memory story in its first lines; here `sctmem insights` must tell it."""
import json
import pathlib
import re
import sys

import pytest

from fixtures import require_program
from recording import clean_environment, run, run_bare

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
MIB = 1 << 20


@pytest.fixture
def tell(trace, tmp_path):
    """tell("burst.py", "rates") runs it bare and traced, and gives what the analysis says of the traced run."""
    def program(name):
        source = EXAMPLES / name
        if source.suffix == ".py":
            return [sys.executable, source]
        output = tmp_path / source.stem
        done = run([require_program("gcc"), "-O2", "-g", "-D_GNU_SOURCE", source, "-o", output], clean_environment())
        assert done.status == 0, done.stderr.decode()
        return [output]

    def of(name, *analyses, arguments=()):
        command = program(name)
        recording = trace(*command, environment={"SCTMEM_NATIVE": "leaf"})
        assert recording.ended == run_bare(command), "it does not notice that it is traced"
        done = trace.tools.run_command("insights", "--json", "-n", 1000000, *arguments, recording.only().path)
        story = json.loads(done.stdout)["analyses"]
        text = trace.tools.run_command("insights", "-n", 3, "-a", ",".join(analyses), *arguments, recording.only().path)
        assert text.stdout.decode().count("\n") > 3
        return [story[analysis] for analysis in analyses]

    return of


def rows_of(insight, function, table="places"):
    """The rows of a function, which may have several lines and comprehensions."""
    return [row for row in insight[table]["rows"]
            if re.match(re.escape(function) + r"(\.<locals>\.<\w+>)?:", row["location"])]


def total(insight, function, column):
    rows = rows_of(insight, function)
    assert rows, "{} is not among the places".format(function)
    return sum(row[column] for row in rows)


def test_temporary_texts_are_named(tell):
    temporary, = tell("temporary.py", "temporary")
    assert temporary["notable"]
    assert temporary["places"]["rows"][0]["location"].startswith("render_row")
    assert total(temporary, "render_row", "by_distance_count") > 100000
    count, everything = (total(temporary, "render_row", "temporary_" + unit) for unit in ("count", "bytes"))
    assert count > 0.9 * total(temporary, "render_row", "total_count") and everything > MIB
    # The lines are kept: only what bytearray() needs on the way is given back.
    assert total(temporary, "keep_row", "by_distance_count") < 0.8 * total(temporary, "keep_row", "total_count")


def test_a_cache_is_told_from_requests(tell):
    lifetimes, rates = tell("session_cache.py", "lifetimes", "rates")
    assert total(lifetimes, "remember_session", "alive_count") >= 10000
    assert total(lifetimes, "remember_session", "alive_bytes") >= 5000 * 400
    assert total(lifetimes, "handle_request", "alive_count") == 0
    assert total(lifetimes, "handle_request", "freed_count") >= 10000
    request = max(rows_of(lifetimes, "handle_request"), key=lambda row: row["freed_count"])
    ends = lifetimes["places"]["bin_ends"]
    lived = [(count, end) for count, end in zip(request["freed"], ends) if count]
    assert sum(count for count, end in lived if end and end <= 30_000_000) > 0.99 * request["freed_count"]
    assert total(lifetimes, "remember_session", "mean_live_bytes") > 5 * total(lifetimes, "handle_request",
                                                                              "mean_live_bytes")
    assert total(rates, "handle_request", "total_bytes") > 30 * total(rates, "remember_session", "total_bytes")


def test_a_burst_stands_out_from_a_trickle(tell):
    rates, = tell("burst.py", "rates")
    assert rates["places"]["rows"][0]["location"].startswith("load_all")
    load, trickle = rows_of(rates, "load_all")[0], rows_of(rates, "trickle")[0]
    assert load["peak_bytes_per_second"] > 50 * trickle["peak_bytes_per_second"]
    assert sum(1 for count in trickle["count"] if count) > 2 * sum(1 for count in load["count"] if count)
    assert sum(trickle["count"]) == trickle["total_count"] and sum(trickle["bytes"]) == trickle["total_bytes"]


def test_a_buffer_that_comes_again_is_churn(tell):
    churn, = tell("message_buffers.c", "churn")
    assert churn["notable"]
    row, = rows_of(churn, "read_message")
    assert (row["churn_count"], row["total_count"], row["live_max_count"], row["size"]) == (9999, 10000, 1, 4096)
    assert row["churn_bytes"] == 9999 * 4096
    assert not rows_of(churn, "keep_summary")


def test_growth_by_small_steps_gets_a_reserve(tell):
    growth, = tell("growing_text.c", "growth")
    row, = rows_of(growth, "append")
    assert (row["realloc_count"], row["block_count"], row["most_reallocs"]) == (19980, 20, 999)
    assert row["move_count"] >= 20 and row["copied_bytes"] >= row["move_count"] * 100
    assert (row["largest_bytes"], row["reserve_bytes"], row["final_bytes"]) == (100000, 100000, 20 * 100000)


def test_one_byte_too_many_is_slop(tell):
    slop, = tell("small_nodes.c", "slop")
    assert slop["notable"]
    row = slop["places"]["rows"][0]
    assert row["location"].startswith("make_node:")
    assert (row["peak_bytes"], row["peak_slop_bytes"]) == (500000 * 25, 500000 * 23)
    assert (row["mean_size"], row["mean_given"], row["peak_slop_permille"]) == (25, 48, 479)
    assert total(slop, "make_table", "peak_slop_bytes") <= 8192


def test_arenas_are_held_open_by_few_blocks(tell):
    arenas, = tell("arenas_open.py", "arenas", arguments=("--to", "picked"))
    facts = arenas["facts"]
    assert arenas["notable"] and facts["arena_bytes"] >= 16 * MIB
    assert facts["nearly_empty_bytes"] > 0.8 * facts["arena_bytes"]
    assert facts["used_bytes"] + facts["class_slop_bytes"] + facts["pool_slack_bytes"] + facts["free_pool_bytes"] == \
        facts["arena_bytes"]
    assert arenas["places"]["rows"][0]["location"].startswith("load_records")
    assert total(arenas, "load_records", "held_bytes") > 0.8 * facts["nearly_empty_bytes"]
    assert total(arenas, "load_records", "bytes") < MIB
    assert sum(row["held_bytes"] for row in arenas["places"]["rows"]) <= facts["nearly_empty_bytes"]
    assert sum(row["bytes"] for row in arenas["arenas"]["rows"]) == facts["arena_bytes"]


def test_pages_are_kept_by_single_blocks(tell):
    pages, = tell("sparse_pages.c", "pages")
    row = pages["places"]["rows"][0]
    assert pages["notable"] and row["location"].startswith("load_entry:")
    assert row["block_count"] > 1000 and row["bytes"] == 112 * row["block_count"]
    assert row["page_bytes"] >= 0.9 * 4096 * row["block_count"]
    assert row["sparse_bytes"] > 0.9 * row["page_bytes"]
    facts = pages["facts"]
    assert facts["anonymous_bytes"] > facts["counted_bytes"] + row["gap_bytes"] // 2
    assert total(pages, "main", "gap_bytes") < 3 * 4096


def test_untouched_memory_is_bounded_from_below(tell):
    untouched, = tell("untouched_buffer.c", "untouched")
    facts = untouched["facts"]
    assert untouched["notable"]
    assert 200 * MIB < facts["untouched_bytes"] <= 240 * MIB
    assert facts["untouched_bytes"] == facts["counted_bytes"] - facts["anonymous_bytes"]
    assert untouched["places"]["rows"][0]["location"].startswith("make_buffer:")
    assert total(untouched, "make_buffer", "bytes") == 256 * MIB
    assert total(untouched, "make_index", "bytes") == 32 * MIB


def test_whose_buffer_was_never_touched_is_measured(tell):
    resident, = tell("untouched_buffer.c", "resident")
    assert resident["notable"]
    assert resident["facts"]["live_unseen_bytes"] == 0
    # Where the system gives pages of 2 MiB one may hold more than was touched.
    assert 238 * MIB <= total(resident, "make_buffer", "absent_bytes") <= 240 * MIB
    rows = [row["location"].split(":")[0] for row in resident["places"]["rows"]]
    assert rows[0] == "make_buffer" and "make_index" not in rows


def test_messages_are_freed_by_the_consumer(tell):
    cross, pairs = tell("pipeline.py", "cross_thread", "pairs")
    assert cross["notable"]
    assert cross["places"]["rows"][0]["location"].startswith("make_message")
    assert total(cross, "make_message", "elsewhere_count") >= 2000
    sent = max(rows_of(pairs, "make_message"), key=lambda row: row["bytes"])
    producer, consumer = sent["allocated_by"]["tid"], sent["freed_by"]["tid"]
    assert producer != consumer and sent["count"] >= 2000
    between = [row for row in cross["threads"]["rows"]
               if (row["allocated_by"]["tid"], row["freed_by"]["tid"]) == (producer, consumer)]
    assert between[0]["count"] >= sent["count"]
    scratch = [row for row in rows_of(pairs, "consume") if row["bytes"] > 2000 * 3000]
    assert scratch and all(row["allocated_by"] == row["freed_by"] for row in scratch)


def ask(trace, recording, *arguments):
    return json.loads(trace.tools.run_command(*arguments, "--json", recording.only().path).stdout)


def test_a_leak_is_told_from_a_table_a_cache_and_what_is_closed_late(trace):
    recording = trace(sys.executable, EXAMPLES / "leaking_sessions.py")
    leaks = ask(trace, recording, "leaks", "-n", 0)
    by_function = {}
    for leak in leaks["leaks"]:
        function = leak["stack"][0].split(":")[0]
        if leak["bytes"] > by_function.get(function, {"bytes": 0})["bytes"]:
            by_function[function] = leak
    session, table, cache = (by_function[name]["evidence"] for name in ("Session.__init__", "read_table", "look_up"))
    assert by_function["Session.__init__"]["bytes"] >= 200 * 2000
    # One in ten: the score is high all the same.
    assert session["score"] > 0.7 and session["growth"] == "growing"
    assert by_function["read_table"]["bytes"] > by_function["Session.__init__"]["bytes"]
    assert table["score"] < 0.2 and table["growth"] == "once"
    assert cache["growth"] != "growing" and cache["score"] < session["score"]
    assert "connect" not in by_function
    assert leaks["late"]["bytes"] >= 200000
    late = ask(trace, recording, "leaks", "--late", "-n", 0)["leaks"]
    assert late[0]["stack"][0].startswith("connect:")


def test_what_a_change_saved_is_told(trace):
    before = trace(sys.executable, EXAMPLES / "before_after.py").only()
    after = trace(sys.executable, EXAMPLES / "before_after.py", "after").only()
    done = trace.tools.run_command("diff", "--json", "-n", "0", "--by", "function", before.path, after.path)
    diff = json.loads(done.stdout)
    states, growth = {}, {}
    for row in diff["rows"]:
        states[row["function"]] = row["state"]
        growth[row["function"]] = growth.get(row["function"], 0) + row["after_bytes"] - row["before_bytes"]
    assert states["read_all"] == states["parse_dict"] == "gone"
    assert states["build_index"] == states["parse_record"] == "new"
    assert growth["read_all"] <= -(3 << 20) and growth["build_index"] >= 64 * 3000
    assert diff["after"]["peak_bytes"] < diff["before"]["peak_bytes"] - (3 << 20)
    page = str(before.path) + ".html"
    trace.tools.run_command("diff", "--html", "-f", "-o", page, before.path, after.path)
    assert pathlib.Path(page).stat().st_size < 2 * MIB
