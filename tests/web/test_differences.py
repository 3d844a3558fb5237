# SPDX-License-Identifier: MIT
"""Pages of differences in a real browser: each row must be what the command says of two runs."""
import json
import os
import subprocess

import pytest
import webdriver
from pagetools import app
from recorded_program import MEANING, PROGRAM, canvas_x, check_narrow_windows, middle_y, options_of

pytestmark = [
    pytest.mark.skipif(webdriver.find_programs() is None, reason="no chromium or no chromedriver"),
    pytest.mark.skipif("WEB_COMMAND" not in os.environ, reason="no sctmem and libsctmem.so in this build"),
]


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
    # Chosen in the curve, then in both; and all of it gone again.
    app(browser, "app.set({ window: '', windowBefore: '' })")
    browser.run("document.getElementById('time-before').click()")
    y = middle_y(browser)
    places = [canvas_x(browser, app(browser, "app.report.slicesBefore.end[%d]" % i)) for i in (10, 18)]
    browser.drag(places[0], y, places[1], y)
    assert app(browser, "app.state.windowBefore") == "11-18"
    same = app(browser, "sctmem.windowText(sctmem.sameWindow(app.report.slices, app.report.meta.window.before))")
    assert app(browser, "app.state.window") == same
    app(browser, "app.set({ window: '%d-%d' })" % (a + 1, b))
    assert app(browser, "[app.state.windowBefore, app.report.meta.window.before.from]") == ["11-18", 11]
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
