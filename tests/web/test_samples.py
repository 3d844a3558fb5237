# SPDX-License-Identifier: MIT
"""Pages of samples in a real browser: figures and their intervals must be those of the command."""
import json
import os
import subprocess

import pytest
import webdriver
from pagetools import app
from recorded_program import MEANING, PROGRAM, check_narrow_windows, options_of

pytestmark = [
    pytest.mark.skipif(webdriver.find_programs() is None, reason="no chromium or no chromedriver"),
    pytest.mark.skipif("WEB_COMMAND" not in os.environ, reason="no sctmem and libsctmem.so in this build"),
]


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
    ({"SCTMEM_SAMPLE": "no,seed=4", "SCTMEM_MAX_SIZE": "4M"}, 16000, 2),
])
def test_intervals_of_windows_and_instants_are_those_of_the_command(browser, tmp_path, variables, rounds, steps):
    """The second has sums, becomes a sample, and a coarser one, while the program runs."""
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
