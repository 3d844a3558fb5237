# SPDX-License-Identifier: MIT
"""Windows and instants of a real capture in a real browser: each row must be what the command says of them."""
import json
import os
import subprocess

import pytest
import webdriver
from pagetools import app, metric_bytes
from recorded_program import MEANING, canvas_x, middle_y, options_of

pytestmark = [
    pytest.mark.skipif(webdriver.find_programs() is None, reason="no chromium or no chromedriver"),
    pytest.mark.skipif("WEB_COMMAND" not in os.environ, reason="no sctmem and libsctmem.so in this build"),
]


def rows_of_command(capture, options, metric):
    command = [os.environ["WEB_COMMAND"], "table", "--json", "-n", "0", "-m", metric] + options + [capture]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode("utf-8", "replace")
    return sorted([row["function"], row["file"], row["line"], row.get("module", ""), row["own_bytes"],
                   row["total_bytes"]] for row in json.loads(text)["rows"] if row["total_bytes"])


def rows_of_page(browser):
    return sorted(app(browser, """(() => {
        const { groups } = app.model.groupsOf(app.state), table = app.model.table(app.state);
        const { strings, frames } = app.report;
        return table.groups.map((group) => {
            const i = groups.frame[group];
            return [strings[frames.function[i]], strings[frames.file[i]], frames.line[i], strings[frames.module[i]],
                table.own[group], table.all[group]];
        });
    })()"""))


def test_every_row_of_windows_and_instants_equals_the_commands(browser, recorded):
    capture, page = recorded
    browser.open_report(page)
    count = app(browser, "app.report.slices.count")
    assert 32 <= count <= 64
    last = count - 1
    seen = set()
    for window in (str(count // 2), "0-1", "3-%d" % (count // 3), "%d-%d" % (count // 2, last)):
        options = options_of(browser, window)
        for metric, (times, asked) in MEANING.items():
            wanted = [word for part in times.split() for word in options[part]]
            app(browser, "app.set({ window: '%s', metric: '%s' })" % (window, metric))
            if asked == "live" and "--at" not in wanted:
                asked = "leaked"
            expected = rows_of_command(capture, wanted, asked)
            assert rows_of_page(browser) == expected, (window, metric)
            seen.add(len(expected))
    assert max(seen) > 100


def test_an_instant_says_what_stats_says_to_the_byte(browser, recorded):
    capture, page = recorded
    browser.open_report(page)
    for slice_number in range(0, app(browser, "app.report.slices.count") - 1, 7):
        app(browser, "app.set({ window: '%d' })" % slice_number)
        at = app(browser, "app.report.slices.end[%d]" % slice_number)
        command = [os.environ["WEB_COMMAND"], "stats", "--json", "--at", "%dus" % at, capture]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode())
        live = app(browser, "[2, 3].map((column) => app.model.sumOf(app.state)[column])")
        assert live == [figures["total"]["live_bytes"], figures["total"]["live_count"]]
        point = app(browser, "app.report.timeline.time.indexOf(%d)" % at)
        assert app(browser, "app.report.timeline.live[%d]" % point) == live[0]


def test_the_peak_of_a_window_is_shown(browser, recorded, tmp_path):
    """Of a window from the start on it is what stats says of its time; of others, what points of the time line have."""
    capture, page = recorded
    browser.open_report(page)
    count = app(browser, "app.report.slices.count")
    shown = set()
    for window in ["0-%d" % last for last in range(0, count, 5)] + ["0-%d" % (count - 1)]:
        app(browser, "app.set({ window: '%s' })" % window)
        options = options_of(browser, window)["{time}"]
        command = [os.environ["WEB_COMMAND"], "stats", "--json"] + options + [capture]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode())
        peak = app(browser, "app.report.meta.window.peak")
        assert peak["low"] == peak["high"] == figures["total"]["peak_bytes"] == figures["peak"]["bytes"], window
        assert peak["time"] == int(figures["peak"]["time_s"] * 1e6 + 1e-6)
        text = browser.run("return document.getElementById('time-readout').textContent")
        assert text == app(browser, "'highest in the window ' + sctmem.formatBytes(%d) + ' at ' + "
                                    "sctmem.formatTime(%d)" % (peak["low"], peak["time"]))
        shown.add(peak["low"])
    assert len(shown) > 3
    # All windows together have the run's own, and a window what any that it contains has.
    peaks = app(browser, "[...Array(%d).keys()].map((i) => sctmem.windowPeak(app.report, { from: i, to: i }))" % count)
    assert max(peak["low"] for peak in peaks) == app(browser, "app.model.whole.total[2]")
    for first in range(0, count, 7):
        last = min(count - 1, first + 5)
        peak = app(browser, "sctmem.windowPeak(app.report, { from: %d, to: %d })" % (first, last))
        assert peak["low"] == peak["high"] == max(one["low"] for one in peaks[first:last + 1])
    # Of an instant there is none; with more slices than points of the time line it lies between two figures.
    app(browser, "app.set({ window: '3' })")
    assert "highest" not in browser.run("return document.getElementById('time-readout').textContent")
    fine = str(tmp_path / "fine.html")
    subprocess.run([os.environ["WEB_COMMAND"], "flamegraph", "--slices", "9999", "-o", fine, capture], check=True)
    browser.open_report(fine)
    count, points = app(browser, "[app.report.slices.count, app.report.timeline.count]")
    assert count > 4 * points
    peaks = app(browser, "[...Array(1000).keys()].map((i) => sctmem.windowPeak(app.report, { from: 16 * i %% %d, "
                         "to: Math.min(16 * i %% %d + 30, %d) }))" % (count, count, count - 1))
    assert all(peak["low"] <= peak["high"] for peak in peaks) and any(peak["low"] < peak["high"] for peak in peaks)


def test_dragging_selects_and_moves_and_a_click_is_an_instant(browser, recorded):
    _, page = recorded
    browser.open_report(page)
    end = app(browser, "[...app.report.slices.end]")
    whole = metric_bytes(browser)
    y = middle_y(browser)
    browser.drag(canvas_x(browser, end[9]), y, canvas_x(browser, end[20]), y)
    assert app(browser, "app.state.window") == "10-20"
    assert browser.run("return location.hash") == "#i=10-20"
    assert metric_bytes(browser) != whole
    # An end, then the whole of it.
    browser.drag(canvas_x(browser, end[20]), y, canvas_x(browser, end[25]), y)
    assert app(browser, "app.state.window") == "10-25"
    browser.drag(canvas_x(browser, end[15]), y, canvas_x(browser, end[12]), y)
    assert app(browser, "app.state.window") == "7-22"
    # Each drag is one step back.
    browser.run("history.back()")
    browser.wait("sctmem.page.then((app) => app.state.window === '10-25')", "the window before")
    browser.click_at(canvas_x(browser, end[28]), y)
    assert app(browser, "app.state.window") == "28"
    assert browser.run("return [...document.querySelectorAll('.metric')].filter((b) => b.offsetParent)"
                       ".map((b) => b.firstChild.textContent)") == ["Live then", "Allocated until then", "Never freed"]
    browser.drag(canvas_x(browser, end[28]), y, canvas_x(browser, end[3]), y)
    assert app(browser, "app.state.window") == "3"
    browser.run("document.getElementById('time-window').click()")
    assert app(browser, "app.state.window") == ""
    assert metric_bytes(browser) == whole


def test_windows_by_keys(browser, recorded):
    _, page = recorded
    browser.open_report(page)
    browser.run("document.getElementById('time-canvas').focus()")
    for key, window in (("Enter", None), ("[", None), ("]", None)):
        browser.type("ArrowLeft")
        browser.type(key)
        window = app(browser, "app.state.window")
        assert window and ("-" in window) == (key != "Enter")
    browser.type("Escape")
    assert app(browser, "app.state.window") == ""


@pytest.mark.parametrize("fragment", ["i=999999", "i=5-2", "i=0-99999", "i=x"])
def test_an_address_with_a_window_that_is_not_there_shows_the_whole_run(browser, recorded, fragment):
    _, page = recorded
    browser.open_report(page)
    whole = metric_bytes(browser)
    browser.open_report(page, fragment)
    assert metric_bytes(browser) == whole
    assert browser.run("return document.getElementById('time-window').hidden")


def test_leaks_are_those_of_the_command_with_their_evidence(browser, tmp_path, recorded):
    subprocess.run([os.environ["WEB_GOLDEN"], str(tmp_path)], check=True)
    for capture in (recorded[0], str(tmp_path / "leaky.bin"), str(tmp_path / "killed.bin")):
        page = str(tmp_path / "leaks.html")
        subprocess.run([os.environ["WEB_COMMAND"], "report", "-f", "-o", page, capture], check=True)
        browser.open_report(page, "w=leaks&k=all")
        shown = app(browser, """(() => {
            const view = app.opened.get(app.viewed), { strings, frames, slices } = app.report;
            const stack = (v) => v > 0 ? [view.tree.group[v], ...stack(view.tree.parent[v])] : [];
            const name = (group) => {
                const i = view.lines.frame[group], file = strings[frames.file[i]] || strings[frames.module[i]];
                const text = strings[frames.function[i]];
                return frames.kind[i] === 2 ? text : text + ':' + file + ':' + frames.line[i];
            };
            return { rows: view.table.rows.map((row) => {
                const entry = view.entries[row], oldest = sctmem.oldestSpan(slices, entry);
                return { bytes: entry.bytes, count: entry.count, group: sctmem.KEEPERS[entry.keeper][0],
                    stack: stack(entry.stack).map(name), score: sctmem.evidenceScore(entry.held),
                    growth: sctmem.evidenceWord(entry.held), held: entry.held, oldest,
                    allocated: [entry.totalBytes, entry.totalCount] };
            }), late: view.entries.reduce((sum, entry) => sum + entry.lateBytes, 0) };
        })()""")
        command = [os.environ["WEB_COMMAND"], "leaks", "--json", "--all", "-n", "0", capture]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode("utf-8", "replace")
        leaks = json.loads(text)
        expected = {(leak["group"], *leak["stack"]): leak for leak in leaks["leaks"]}
        assert len(expected) == len(shown["rows"]) > 3
        for row in shown["rows"]:
            leak = expected[(row["group"], *row["stack"])]
            evidence = leak["evidence"]
            assert (row["bytes"], row["count"]) == (leak["bytes"], leak["count"])
            assert row["held"] == evidence["held_bytes"]
            assert row["growth"] == evidence["growth"] and abs(row["score"] - evidence["score"]) < 1e-4
            assert row["allocated"] == [evidence["allocated_bytes"], evidence["allocated_count"]]
            assert row["oldest"][0] == round(evidence["oldest_from_s"] * 1e6)
        assert shown["late"] == leaks.get("late", {"bytes": 0})["bytes"]
    browser.run("document.querySelector('#leaks-rows [role=row][aria-rowindex], #leaks-rows .table-row').click()")
    assert app(browser, "[app.state.view, app.state.metric]") == ["flame", "leaked"]


def test_suppressed_leaks_are_apart_with_what_each_line_hit(browser, tmp_path):
    subprocess.run([os.environ["WEB_GOLDEN"], str(tmp_path)], check=True)
    capture, rules = str(tmp_path / "leaky.bin"), tmp_path / "leaks.supp"
    command = [os.environ["WEB_COMMAND"], "leaks", "--json", "--all", "-n", "0", "--no-symbols", capture]
    largest = next(leak for leak in json.loads(subprocess.check_output(command))["leaks"] if leak["group"] == "program")
    function = largest["stack"][0].split(":")[0]
    rules.write_text("# accepted\nleak:^%s$\nleak:<b>nowhere\u202e</b>\n" % function)
    known = json.loads(subprocess.check_output(command + ["--suppressions", str(rules)]))
    hits = [[rule["bytes"], rule["count"]] for rule in known["suppressions"]]
    assert hits[0][0] >= largest["bytes"] and hits[1] == [0, 0]
    for verb in (["report"], ["flamegraph"], ["table", "--html"]):
        page = str(tmp_path / (verb[0] + ".html"))
        subprocess.run([os.environ["WEB_COMMAND"], *verb, "--suppressions", str(rules), "-o", page, capture],
                       check=True)
        browser.open_report(page, "w=leaks&k=suppressed")
        assert [[b, n] for _, b, n in app(browser, "app.report.meta.suppressions")] == hits
        shown = app(browser, """(() => {
            const view = app.opened.get(app.viewed), sum = [0, 0];
            for (const row of view.table.rows) {
                sum[0] += view.entries[row].bytes;
                sum[1] += view.entries[row].count;
            }
            return [sum, view.note.textContent, [...document.querySelectorAll('.leaks-suppressions li')].map((row) =>
                row.textContent)];
        })()""")
        group = known["groups"]["suppressed"]
        assert shown[0] == [group["bytes"], group["count"]] == hits[0]
        assert "that is suppressed" in shown[1]
        assert shown[2][0].endswith("leak:^%s$" % function) and "it can go" in shown[2][1]
        assert "leak:<b>nowhere\u2039202E\u203a</b>" in shown[2][1]
        # Those of the program are without them; the sums of all other views are as they were.
        app(browser, "app.set({ leakKind: 'program' })")
        program = app(browser, "(() => { const view = app.opened.get(app.viewed); return view.table.rows.reduce("
                               "(sum, row) => sum + view.entries[row].bytes, 0); })()")
        assert program == known["groups"]["program"]["bytes"]
        assert app(browser, "app.report.meta.total[4]") == known["total"]["bytes"]
        app(browser, "app.set({ view: 'summary' })")
        assert "Suppressed" in browser.run("return document.querySelector('.summary-facts').textContent")
    bad = subprocess.run([os.environ["WEB_COMMAND"], "table", "--suppressions", str(rules), capture],
                         stderr=subprocess.PIPE)
    assert bad.returncode == 2 and b"--html" in bad.stderr


STOPS = """
import ctypes, os, time
library = ctypes.CDLL(None)
kept = [bytearray(1000) for i in range(500)]
for i in range(3):
    time.sleep(0.03)
    library.sctmem_stop()
    kept.append(bytearray(1 << 20))
    time.sleep(0.06)
    library.sctmem_start()
    kept.append(bytearray(1 << 18))
time.sleep(0.03)
library.sctmem_stop()
time.sleep(0.05)
os._exit(0)
"""


def test_stretches_without_recording_are_shaded_and_told(browser, tmp_path):
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(tmp_path / "stops.bin"))
    subprocess.run(["/usr/bin/python3", "-c", STOPS], check=True, env=environment)
    capture, page = str(tmp_path / "stops.bin"), str(tmp_path / "stops.html")
    subprocess.run([os.environ["WEB_COMMAND"], "flamegraph", "-o", page, capture], check=True)
    stats = json.loads(subprocess.check_output([os.environ["WEB_COMMAND"], "stats", "--json", capture]))["captures"][0]
    browser.open_report(page)
    gaps = app(browser, "app.report.meta.gaps")
    assert len(gaps) == stats["gaps"] == 4
    assert abs(sum(gap[2] - gap[1] for gap in gaps) - stats["gaps_s"] * 1e6) <= 2 * len(gaps)
    assert all(earlier[2] <= later[1] for earlier, later in zip(gaps, gaps[1:]))
    assert sum(gap[3] for gap in gaps) == app(browser, "app.report.meta.captures[0].forgotten_bytes") > 500000
    assert "not recorded" in browser.run("return document.getElementById('time-legend').textContent")
    for inside, word in (((gaps[1][1] + gaps[1][2]) // 2, True), ((gaps[0][2] + gaps[1][1]) // 2, False)):
        app(browser, "app.timeline.hover(sctmem.nearestPoint(app.report.timeline, %d))" % inside)
        text = browser.run("return document.getElementById('time-readout').textContent")
        assert ("not recorded" in text) == word, text
    # Hatched in its own place, and nowhere else.
    shaded = app(browser, """(() => {
        const rects = [], { context } = app.timeline, fillRect = context.fillRect;
        context.fillRect = (...rect) => {
            if (Math.abs(context.globalAlpha - 0.14) < 1e-3)
                rects.push(rect);
            fillRect.apply(context, rect);
        };
        app.timeline.draw();
        delete context.fillRect;
        return rects.map(([x, , width]) => [x, x + width]);
    })()""")
    expected = [[app(browser, "app.timeline.xOf(%d)" % end) for end in gap[1:3]] for gap in gaps]
    # The last has no length, since the stop is the last that is known; it is drawn two pixels wide all the same.
    assert len(shaded) == 4 and all(abs(a - b) <= 2 for one, two in zip(shaded, expected) for a, b in zip(one, two))
