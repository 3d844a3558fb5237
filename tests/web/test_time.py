# SPDX-License-Identifier: MIT
"""Windows and instants of a real capture in a real browser: each row must be what the command says of them."""
import json
import os
import subprocess

import pytest
import webdriver
from pagetools import app, metric_bytes

pytestmark = [
    pytest.mark.skipif(webdriver.find_programs() is None, reason="no chromium or no chromedriver"),
    pytest.mark.skipif("WEB_COMMAND" not in os.environ, reason="no sctmem and libsctmem.so in this build"),
]

# Grows, keeps, drops and reallocs, in threads; a mapping comes and goes.
PROGRAM = """
import json, mmap, threading, time
kept, cache, text = [], {}, bytearray()
def work(n):
    for i in range(250):
        data = json.loads(json.dumps({"a": list(range(30)), "b": "x" * i}))
        if i % 3 == n:
            kept.append(data)
        cache[i % 40] = data
        text.extend(b"y" * 50)
        if i == 120:
            area = mmap.mmap(-1, 1 << 20)
            time.sleep(0.02)
            area.close()
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
del kept[::2]
cache.clear()
for i in range(100):
    kept.append(b"z" * 1000)
"""
# What the four metrics are called in the state, and how the command is asked for the same.
MEANING = {"total": ("{time}", "total"), "leaked": ("{time} {at}", "live"), "peak": ("{at}", "live"),
           "temporary": ("{time}", "leaked")}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("time")
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(folder / "run.bin"))
    subprocess.run(["/usr/bin/python3", "-c", PROGRAM], check=True, cwd=str(folder), env=environment)
    page = folder / "run.html"
    capture = str(folder / "run.bin")
    subprocess.run([os.environ["WEB_COMMAND"], "flamegraph", "--slices", "64", "-o", str(page), capture], check=True)
    return capture, str(page)


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


def options_of(browser, window):
    """As the page itself says them: --time A..B --at B."""
    text = app(browser, "sctmem.windowOptions(app.report, sctmem.parseWindow('%s', app.report.slices))" % window)
    words = text.split()
    options = dict(zip(words[::2], words[1::2]))
    at = ["--at", options["--at"]] if options["--at"] != "end" else []
    # An instant is a window from the start on.
    stretch = options.get("--time", ".." + ("" if options["--at"] == "end" else options["--at"]))
    return {"{at}": at, "{time}": ["--time", stretch] if stretch != ".." else []}


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


def canvas_x(browser, time_us):
    left = "document.getElementById('time-canvas').getBoundingClientRect().left"
    return app(browser, left + " + app.timeline.xOf(%f)" % time_us)


def middle_y(browser):
    return browser.run("const box = document.getElementById('time-canvas').getBoundingClientRect();"
                       "return box.top + box.height / 2")


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


def test_a_page_of_differences_has_the_rows_of_the_command(browser, tmp_path):
    subprocess.run([os.environ["WEB_GOLDEN"], str(tmp_path)], check=True)
    command, pair = os.environ["WEB_COMMAND"], [str(tmp_path / "leaky.bin"), str(tmp_path / "leakier.bin")]
    page = str(tmp_path / "diff.html")
    subprocess.run([command, "diff", "--html", "-o", page] + pair, check=True)
    for metric in ("peak", "leaked", "total", "temporary"):
        browser.open_report(page, "m=" + metric)
        asked = [command, "diff", "--json", "-n", "0", "--by", "function", "-m", metric] + pair
        done = subprocess.run(asked, check=True, stdout=subprocess.PIPE)
        diff = json.loads(done.stdout.decode())
        # Rows whose own cost is the same stand there for what they call.
        rows = app(browser, """(() => {
            const view = app.opened.get(app.viewed), report = app.report, { groups } = app.model.groupsOf(app.state);
            return view.table.rows.map((row) => [report.strings[report.frames.function[groups.frame[row]]],
                ...['growth', 'before', 'after', 'state'].map((key) =>
                    view.table.columns.find((column) => column.key === key).value(row))]);
        })()""")
        expected = [[row["function"], row["after_bytes"] - row["before_bytes"], row["before_bytes"], row["after_bytes"],
                     row["state"]] for row in diff["rows"] if row["after_bytes"] != row["before_bytes"]]
        assert sorted(row for row in rows if row[1]) == sorted(expected)
        key = {"leaked": "live"}.get(metric, metric) + "_bytes"
        figures = browser.run("const { before, after } = document.querySelector('.diff-figures').dataset;"
                              "return [before, after]")
        assert [int(figure) for figure in figures] == [diff["before"][key], diff["after"][key]]
        for width, column in (("after", "after"), ("before", "before")):
            app(browser, "app.set({ diffWidth: '%s' })" % width)
            assert app(browser, "app.opened.get(app.viewed).tree.value[0]") == diff[column][key]


def rows_of_difference(browser):
    return sorted(app(browser, """(() => {
        const view = app.opened.get(app.viewed), report = app.report, { groups } = app.model.groupsOf(app.state);
        const value = (key, row) => view.table.columns.find((column) => column.key === key).value(row);
        return view.table.rows.map((row) => [report.strings[report.frames.function[groups.frame[row]]],
            value('before', row), value('after', row)]).filter(([, before, after]) => before !== after);
    })()"""))


@pytest.mark.parametrize("variables", [{}, {"SCTMEM_SAMPLE": "4KiB,seed=9"}])
def test_windows_of_differences_are_those_of_the_command(browser, tmp_path, recorded, variables):
    """At the same time since the starts of both runs, and each run at a time of its own."""
    command, page, other = os.environ["WEB_COMMAND"], str(tmp_path / "diff.html"), str(tmp_path / "other.bin")
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=other, **variables)
    subprocess.run(["/usr/bin/python3", "-c", PROGRAM.replace("range(250)", "range(400)")], check=True, env=environment)
    pair = [recorded[0], other]
    subprocess.run([command, "diff", "--html", "-o", page] + pair, check=True)
    browser.open_report(page)
    # Borders that both have: those of the wider slices, but the last, which is the run's end.
    borders = app(browser, "(({ slices, slicesBefore }) => [...slices.end].slice(0, -1).map((end, i) => [i, "
                           "[...slicesBefore.end].slice(0, -1).indexOf(end)]).filter(([, j]) => j >= 0))(app.report)")
    assert len(borders) > 20
    seen = 0
    (a, _), (b, _), (c, _) = borders[5], borders[len(borders) // 2], borders[-3]
    for window in ("%d-%d" % (a + 1, b), "%d-%d" % (b + 1, c), str(b)):
        app(browser, "app.set({ window: '%s', windowBefore: '' })" % window)
        title, before = app(browser, "[app.report.meta.window.title, app.report.meta.window.before.title]")
        assert title == before
        options = options_of(browser, window)
        for metric, (times, asked) in MEANING.items():
            app(browser, "app.set({ metric: '%s' })" % metric)
            wanted = [word for part in times.split() for word in options[part]]
            asking = [command, "diff", "--json", "-n", "0", "--by", "function", "-m", asked]
            done = subprocess.run(asking + wanted + pair, check=True, stdout=subprocess.PIPE)
            diff = json.loads(done.stdout.decode())
            expected = sorted([row["function"], row["before_bytes"], row["after_bytes"]] for row in diff["rows"]
                              if row["before_bytes"] != row["after_bytes"])
            assert rows_of_difference(browser) == expected, (window, metric)
            seen += len(expected)
            key = {"leaked": "live"}.get(asked, asked) + "_bytes"
            figures = browser.run("const { before, after, interval } = document.querySelector('.diff-figures').dataset;"
                                  "return [before, after, interval ?? '']")
            assert [int(one) for one in figures[:2]] == [diff["before"][key], diff["after"][key]]
            assert (figures[2] != "") == bool(variables)
    assert seen > 100
    # Another window of the run before: its side is that of the window, the other stays.
    alone = "%d-%d" % (borders[1][1] + 1, borders[9][1])
    app(browser, "app.set({ window: '%d-%d', windowBefore: '%s', metric: 'total' })" % (a + 1, b, alone))
    start, end = app(browser, "[app.report.meta.window.before.start, app.report.meta.window.before.end]")
    stats = [command, "stats", "--json", "--time", "%dns..%dus" % (start * 1000 + 1, end), pair[0]]
    own = json.loads(subprocess.check_output(stats))["total"]["total_bytes"]
    figures = browser.run("const { before, after } = document.querySelector('.diff-figures').dataset;"
                          "return [before, after].map(Number)")
    assert figures == [own, app(browser, "app.report.meta.total[0]")]
    chip = browser.run("return document.getElementById('time-window').textContent")
    assert ", before " in chip
    # The curves stay those of the whole runs.
    assert app(browser, "[app.timeline.peak, app.timeline.peakBefore]") == app(
        browser, "[app.report.timeline, app.report.timelineBefore].map((line) => Math.max(...line.liveMax))")
    # Chosen in the curve, and all of it gone again.
    browser.run("document.getElementById('time-before').click()")
    y = middle_y(browser)
    places = [canvas_x(browser, app(browser, "app.report.slicesBefore.end[%d]" % i)) for i in (10, 18)]
    browser.drag(places[0], y, places[1], y)
    assert app(browser, "app.state.windowBefore") == "11-18"
    assert app(browser, "app.state.window") == "%d-%d" % (a + 1, b)
    browser.run("document.getElementById('time-window').click()")
    assert app(browser, "[app.state.window, app.state.windowBefore, app.report.meta.window]") == ["", "", None]
    # A stretch that the shorter run does not have.
    ends = app(browser, "[app.report.slicesBefore, app.report.slices].map((slices) => slices.end[slices.count - 1])")
    if ends[0] < ends[1] * 0.9:
        last = app(browser, "app.report.slices.count - 1")
        app(browser, "app.set({ window: '%d-%d' })" % (last, last))
        assert "before had ended" in browser.run("return document.getElementById('time-window').textContent")
        assert browser.run("return document.querySelector('.diff-figures').dataset.before") == "0"


def test_a_page_of_differences_has_both_runs_over_time(browser, tmp_path, recorded):
    subprocess.run([os.environ["WEB_GOLDEN"], str(tmp_path)], check=True)
    command, page = os.environ["WEB_COMMAND"], str(tmp_path / "both.html")
    own_page = str(tmp_path / "own.html")
    killed, leaky, child = (str(tmp_path / name) for name in ("killed.bin", "leaky.bin", "child.bin"))
    for before, after in (([leaky, child], [recorded[0]]), ([recorded[0]], [leaky, killed])):
        subprocess.run([command, "diff", "--html", "-f", "-o", page, *before, "--after", *after], check=True)
        browser.open_report(page)
        # Each line is that of the run's own page, point for point.
        lines = [app(browser, "[%s].map((line) => [line.time, line.live, line.liveMax, line.resident]"
                              ".map((column) => [...column]))[0]" % line)
                 for line in ("app.report.timelineBefore", "app.report.timeline")]
        peaks = app(browser, "[app.report.meta.before_run.peak_time_us, app.report.meta.peak_time_us]")
        paths = app(browser, "app.report.meta.before_run.captures.map((capture) => capture.path)")
        assert paths == before
        assert app(browser, "app.timeline.end") >= max(line[0][-1] for line in lines)
        legend = browser.run("return document.getElementById('time-legend').textContent")
        assert "live after" in legend and "live before" in legend
        app(browser, "app.timeline.hover(%d)" % (len(lines[1][0]) // 3))
        text = browser.run("return document.getElementById('time-readout').textContent")
        assert "after: live" in text and "before: " in text
        badges = browser.run("return document.getElementById('badges').textContent")
        assert "before: 2 processes" in badges if len(before) > 1 else "before:" not in badges
        drawn = app(browser, """(() => {
            const texts = [], { context } = app.timeline, fillText = context.fillText;
            context.fillText = (text, ...place) => {
                texts.push(text);
                fillText.call(context, text, ...place);
            };
            app.timeline.draw();
            delete context.fillText;
            return texts;
        })()""")
        # The line's end has its name where its peak, which has it too, is not near.
        assert {"before", "after"} & set(drawn)
        assert {text.rsplit(" ", 2)[0] for text in drawn} >= {"before: peak", "after: peak"}
        for captures, line, peak in ((before, lines[0], peaks[0]), (after, lines[1], peaks[1])):
            subprocess.run([command, "flamegraph", "-f", "-o", own_page, *captures], check=True)
            browser.open_report(own_page)
            own = app(browser, "[app.report.timeline].map((line) => [line.time, line.live, line.liveMax, line.resident]"
                               ".map((column) => [...column]))[0]")
            assert own == line
            assert app(browser, "app.report.meta.peak_time_us") == peak


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


# Of each node: where, what, between what.
INTERVALS_OF_TREE = """[...app.tree.group.keys()].map((v) => {
    const { report, tree } = app, frame = tree.groups.frame[tree.group[v]];
    const costs = app.model.costsOf(app.state, tree, v);
    const name = v === 0 ? '' : report.strings[report.frames.function[frame]];
    return [name, v === 0 ? 0 : report.frames.line[frame], tree.value[v],
        ...app.model.intervalsOf(app.state, tree, v, costs)['%s']];
}).filter(([, , value]) => value > 0)"""


def test_intervals_of_a_sample_are_those_of_the_command(browser, tmp_path):
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(tmp_path / "part.bin"),
                       SCTMEM_SAMPLE="8KiB,seed=4")
    subprocess.run(["/usr/bin/python3", "-c", PROGRAM], check=True, env=environment)
    capture, page = str(tmp_path / "part.bin"), str(tmp_path / "part.html")
    subprocess.run([os.environ["WEB_COMMAND"], "flamegraph", "-o", page, capture], check=True)
    browser.open_report(page)
    for metric, asked in (("peak", "peak"), ("total", "total"), ("leaked", "leaked"), ("temporary", "temporary")):
        app(browser, "app.set({ metric: '%s', group: 'line', hide: 'i', inverted: '' })" % metric)
        command = [os.environ["WEB_COMMAND"], "tree", "--json", "-b", "1000000", "--min-percent", "0", "-m", asked,
                   capture]
        nodes = json.loads(subprocess.check_output(command).decode("utf-8", "replace"))["nodes"]
        expected = sorted([node["function"] if node["id"] else "", node.get("line", 0), node["total_bytes"]] +
                          node["interval_95"]["total_bytes"] for node in nodes if node["total_bytes"])
        shown = sorted(app(browser, INTERVALS_OF_TREE % metric))
        assert len(shown) == len(expected) > 10
        assert shown == expected
        # From the other end, and of all.
        app(browser, "app.set({ inverted: 'on' })")
        whole = app(browser, "app.model.intervalsOf(app.state, app.tree, 0, app.model.sumOf(app.state))['%s']" % metric)
        stats = json.loads(subprocess.check_output([os.environ["WEB_COMMAND"], "stats", "--json", capture]))
        name = {"leaked": "live"}.get(metric, metric)
        known = stats["sample"]["interval_95"][name + "_bytes"]
        assert whole == known
    app(browser, "app.set({ inverted: '', metric: 'peak' })")
    check_shown_intervals(browser)
    # What has no interval in a view is said to have none.
    for view, said in (("flame", False), ("table", False), ("leaks", True), ("threads", True)):
        app(browser, "app.set({ view: '%s' })" % view)
        assert browser.run("return !document.getElementById('estimates').hidden") == said, view
    app(browser, "app.set({ view: 'flame' })")


def check_narrow_windows(browser):
    """With intervals, too, all has room."""
    for width in (320, 390, 768, 900, 1024, 1440):
        browser.cdp("Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
        assert browser.run("return document.documentElement.scrollWidth") <= width
        cut = browser.run("return [...document.querySelectorAll('.metric-interval, .metric-name')].filter((text) => "
                          "text.scrollWidth > text.clientWidth + 1 && getComputedStyle(text).display !== 'none')"
                          ".map((text) => text.textContent)")
        outside = browser.run("return [...document.querySelectorAll('.metric-interval')].filter((text) => "
                              "text.getBoundingClientRect().right > text.parentNode.getBoundingClientRect().right)"
                              ".map((text) => text.textContent)")
        assert (cut, outside) == ([], []), width


def check_shown_intervals(browser):
    """Cards and details of all have the intervals of what is shown, blocks are called estimates."""
    known = app(browser, "app.model.intervalsOfAll(app.state)")
    cards = browser.run("return [...document.querySelectorAll('.metric:not([hidden])')]"
                        ".map((card) => [card.dataset.value, card.innerText])")
    for metric, card in cards:
        text = app(browser, "sctmem.intervalText(%s)" % json.dumps(known[metric]))
        exact = known[metric][0] == known[metric][1]
        assert ("exact" if exact else "95 %: " + text) in card and ("≈ " in card) != exact, card
    shown = browser.run("return [...document.querySelectorAll('.costs .interval')]"
                        ".map((line) => line.dataset.interval)")
    assert sorted(shown) == sorted("%d %d" % tuple(known[metric]) for metric, _ in cards)


@pytest.mark.parametrize("variables, rounds, steps", [
    ({"SCTMEM_SAMPLE": "8KiB,seed=4"}, 250, 1),
    ({"SCTMEM_SAMPLE": "no,seed=4", "SCTMEM_MAX_SIZE": "4M"}, 6000, 2),
])
def test_intervals_of_windows_and_instants_are_those_of_the_command(browser, tmp_path, variables, rounds, steps):
    """The second becomes a sample, and a coarser one, while the program runs."""
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(tmp_path / "part.bin"),
                       **variables)
    program = PROGRAM.replace("range(250)", "range(%d)" % rounds)
    subprocess.run(["/usr/bin/python3", "-c", program], check=True, env=environment)
    capture, page = str(tmp_path / "part.bin"), str(tmp_path / "part.html")
    subprocess.run([os.environ["WEB_COMMAND"], "flamegraph", "--slices", "64", "-o", page, capture], check=True)
    browser.open_report(page)
    count = app(browser, "app.report.slices.count")
    compared = 0
    assert app(browser, "app.report.meta.sample_steps.length") >= steps
    for window in (str(count // 3), "0-1", "3-%d" % (count // 2), "%d-%d" % (count // 2, count - 1)):
        options = options_of(browser, window)
        for metric, (times, asked) in MEANING.items():
            wanted = [word for part in times.split() for word in options[part]]
            asked = "leaked" if asked == "live" and "--at" not in wanted else asked
            app(browser, "app.set({ window: '%s', metric: '%s', group: 'line', hide: 'i' })" % (window, metric))
            command = [os.environ["WEB_COMMAND"], "tree", "--json", "-b", "1000000", "--min-percent", "0", "-m", asked]
            output = subprocess.check_output(command + wanted + [capture]).decode("utf-8", "replace")
            nodes = json.loads(output)["nodes"]
            expected = sorted([node["function"] if node["id"] else "", node.get("line", 0), node["total_bytes"]] +
                              node["interval_95"]["total_bytes"] for node in nodes if node["total_bytes"])
            shown = sorted(app(browser, INTERVALS_OF_TREE % metric))
            assert shown == expected, (window, metric)
            compared += len(shown)
        check_shown_intervals(browser)
    check_narrow_windows(browser)
    assert compared > 300


def test_differences_of_samples_have_the_intervals_of_the_command(browser, tmp_path, recorded):
    """Two samples, and a sample against all of a run, either way round."""
    command, page = os.environ["WEB_COMMAND"], str(tmp_path / "diff.html")
    samples = [str(tmp_path / name) for name in ("one.bin", "two.bin")]
    for capture, sample in zip(samples, ("4KiB,seed=4", "16KiB,seed=5")):
        environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=capture, SCTMEM_SAMPLE=sample)
        subprocess.run(["/usr/bin/python3", "-c", PROGRAM], check=True, env=environment)
    for pair in (samples, [recorded[0], samples[0]], [samples[1], recorded[0]]):
        subprocess.run([command, "diff", "--html", "-f", "-o", page] + pair, check=True)
        for metric in ("peak", "total"):
            browser.open_report(page, "m=" + metric)
            asked = [command, "diff", "--json", "-n", "0", "--by", "function", "-m", metric] + pair
            diff = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout.decode())
            expected = sorted([row["function"], row["before_bytes"], row["after_bytes"]] +
                              [end for key in ("before", "after", "growth")
                               for end in row["interval_95"][key + "_bytes"]]
                              for row in diff["rows"] if row["after_bytes"] != row["before_bytes"])
            shown = sorted(app(browser, """(() => {
                const view = app.opened.get(app.viewed), { report } = app, { groups } = app.model.groupsOf(app.state);
                const column = (key) => view.table.columns.find((one) => one.key === key);
                return view.table.rows.filter((row) => column('growth').value(row) !== 0).map((row) => {
                    const range = (key) => {
                        const cell = document.createElement('div');
                        column(key).fill(cell, row);
                        return cell.dataset.interval.split(' ').map(Number);
                    };
                    return [report.strings[report.frames.function[groups.frame[row]]], column('before').value(row),
                        column('after').value(row), ...range('before'), ...range('after'), ...range('interval')];
                });
            })()"""))
            assert len(shown) == len(expected) > 10
            for one, two in zip(shown, expected):
                # The ends of a growth are no whole numbers, and rounded outwards: C's hypot may be nearer.
                assert one[:7] == two[:7] and all(abs(a - b) <= 1 for a, b in zip(one[7:], two[7:])), (one, two)
        figures = browser.run("const { dataset, textContent } = document.querySelector('.diff-figures');"
                              "return [dataset.interval, textContent]")
        assert "95 %: " in figures[1] and len(figures[0].split()) == 2
        sides = [diff.get(key) for key in ("before_sample", "sample")]
        assert browser.run("return document.querySelector('[data-value=total]').textContent").count("≈") == \
            sum(side is not None for side in sides)
        # Of the graph, too; of blocks there are none.
        described = app(browser, "app.opened.get(app.viewed).describe(1).figures.map((figure) => figure[1]).join(' ')")
        assert "95 %: " in described
        check_narrow_windows(browser)
        app(browser, "app.set({ unit: 'count' })")
        assert "no interval" in browser.run("return document.querySelector('.diff-figures').textContent")
        assert not browser.run("return document.body.innerText.includes('figures in this view are estimates')")
    subprocess.run([command, "diff", "--html", "-f", "-o", page, recorded[0], recorded[0]], check=True)
    browser.open_report(page)
    assert "95 %" not in browser.run("return document.body.innerText")
