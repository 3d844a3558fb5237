# SPDX-License-Identifier: MIT
"""The page in a real browser: it opens from a file, asks for nothing, logs no error, and its figures are right.

SCTMEM_FAKE_REPORT is the program that makes pages of made-up profiles and, beside each, the figures it must show.
"""
import json
import os
import subprocess

import pytest
from pagetools import app, detail_cells, graph_place, make_page, metric_bytes, settle


def test_figures_are_those_of_the_profile(browser, pages):
    page, figures = pages["demo"]
    assert browser.open_report(page) > 0
    total = figures["total"]
    assert metric_bytes(browser) == [total[2], total[4], total[0], total[6]]
    assert detail_cells(browser) == [total[2], total[3], total[4], total[5], total[0], total[1], total[6], total[7]]
    assert app(browser, "app.report.nodes.count") == figures["nodes"]
    assert app(browser, "app.report.sites.count") == figures["sites"]
    assert browser.run("return document.querySelector('.badge.bad')") is None
    for metric, column in (("peak", 2), ("leaked", 4), ("total", 0), ("temporary", 6)):
        for unit, offset in (("bytes", 0), ("count", 1)):
            for inverted in ("", "1"):
                app(browser, "app.set({ metric: '%s', unit: '%s', inverted: '%s' })" % (metric, unit, inverted))
                assert app(browser, "app.tree.value[0]") == total[column + offset]


def test_threads_and_kinds_of_memory_filter(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page)
    for thread, peak in enumerate(figures["threads"]):
        browser.run("const s = document.getElementById('thread'); s.value = arguments[0]; "
                    "s.dispatchEvent(new Event('change'))", str(thread))
        assert metric_bytes(browser)[0] == peak
    browser.run("location.hash = ''")
    browser.wait("document.getElementById('thread').value === ''", "the filter to be gone")
    for domain, cost in enumerate(figures["domains"]):
        app(browser, "app.set({ domain: '%d' })" % domain)
        assert metric_bytes(browser) == [cost[2], cost[4], cost[0], cost[6]]


def test_a_click_zooms_and_back_goes_back(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page)
    browser.click_at(*graph_place(browser, 1))
    settle(browser)
    assert app(browser, "app.tree.focus") == 1
    assert app(browser, "app.tree.value[1]") == figures["largest"] == detail_cells(browser)[0]
    first = browser.run("return location.hash")
    deeper = app(browser, "app.tree.childStart[1]")
    browser.click_at(*graph_place(browser, deeper))
    settle(browser)
    assert app(browser, "app.tree.focus") == deeper
    second = browser.run("return location.hash")
    assert first != second
    browser.post("back", {})
    browser.wait("location.hash === '%s'" % first, "back")
    settle(browser)
    assert app(browser, "app.tree.focus") == 1
    browser.post("forward", {})
    browser.wait("location.hash === '%s'" % second, "forward")
    settle(browser)
    assert app(browser, "app.tree.focus") == deeper
    browser.open_report(page, second[1:])
    assert app(browser, "app.tree.focus") == deeper, "a sent address shows the same view"
    browser.click("#reset")
    settle(browser)
    assert app(browser, "app.tree.focus") == 0


def test_search_says_what_share_matches(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page)
    browser.type("/")
    browser.type("pandas")
    browser.wait("document.getElementById('search-result').dataset.exact", "the result")
    assert int(browser.run("return document.getElementById('search-result').dataset.exact")) == figures["pandas"]
    assert "q=pandas" in browser.run("return location.hash")
    assert app(browser, "app.graph.matched.some((one) => one)")
    browser.run("document.getElementById('search').value = '('; "
                "document.getElementById('search').dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('search-result').className === 'bad'", "the complaint")
    browser.type("Escape")
    browser.wait("location.hash === ''", "the search to be gone")


def test_a_view_of_callers_starts_at_what_allocates(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page)
    browser.click("#inverted")
    assert app(browser, "app.tree.inverted")
    browser.click_at(*graph_place(browser, 1))
    settle(browser)
    group = app(browser, "app.tree.group[app.tree.focus]")
    own = app(browser, "app.model.table(app.state).own[%d]" % group)
    assert app(browser, "app.tree.value[app.tree.focus]") == own == detail_cells(browser)[0]
    address = browser.run("return location.hash")
    browser.open_report(page, address[1:])
    assert app(browser, "app.tree.group[app.tree.focus]") == group


def test_the_table_sorts_filters_and_opens(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page)
    column = "[...document.querySelectorAll('.table-row')].filter((r) => !r.hidden)" \
        ".sort((a, b) => a.dataset.position - b.dataset.position).map((r) => Number(r.children[%d].dataset.exact))"
    own = browser.run("return " + column % 1)
    assert len(own) > 5 and own == sorted(own, reverse=True)
    browser.click(".table-head button:nth-child(3)")
    inclusive = browser.run("return " + column % 2)
    assert inclusive == sorted(inclusive, reverse=True)
    browser.click(".table-head button:nth-child(3)")
    inclusive = browser.run("return " + column % 2)
    assert inclusive == sorted(inclusive)
    browser.run("document.getElementById('filter').value = 'tokenizer.c'; "
                "document.getElementById('filter').dispatchEvent(new Event('input'))")
    assert 0 < app(browser, "app.table.sorted.length") < 10
    browser.click(".table-row")
    settle(browser)
    assert app(browser, "app.tree.focus") > 0
    assert "tokenizer.c" in browser.run("return document.querySelector('#details .place').textContent")
    browser.run("document.getElementById('filter').value = ''; "
                "document.getElementById('filter').dispatchEvent(new Event('input'))")
    browser.click("#table-kind button:nth-child(2)")
    sites = browser.run("return " + column % 2)
    assert len(sites) > 5 and sites == sorted(sites, reverse=True)


def test_keys_reach_everything(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page)
    expected = {"l": ("metric", "leaked"), "a": ("metric", "total"), "m": ("metric", "temporary"),
                "p": ("metric", "peak"), "b": ("unit", "count"), "v": ("inverted", "1"),
                "f": ("shape", "flame"), "g": ("group", "function"), "1": ("hide", ""),
                "2": ("hide", "m"), "3": ("hide", "ml")}
    for key, (name, value) in expected.items():
        browser.type(key)
        assert app(browser, "app.state." + name) == value, key
    browser.open_report(page)
    browser.run("document.getElementById('graph-canvas').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "Enter"):
        browser.type(key)
    settle(browser)
    assert app(browser, "app.tree.depth[app.tree.focus]") == 1
    assert browser.run("return document.getElementById('spoken').textContent") != ""
    browser.type("Escape")
    settle(browser)
    assert app(browser, "app.tree.focus") == 0
    browser.type("?")
    assert browser.run("return document.getElementById('help-dialog').open")
    browser.type("Escape")
    assert not browser.run("return document.getElementById('help-dialog').open")
    browser.run("document.querySelector('.table-body').focus()")
    browser.type("End")
    assert app(browser, "app.table.current === app.table.sorted.length - 1")
    browser.run("document.getElementById('time-canvas').focus()")
    browser.type("ArrowRight")
    assert "live" in browser.run("return document.getElementById('time-readout').textContent")


def test_everything_that_can_be_used_has_a_name(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page)
    for view in app(browser, "app.views.map((view) => view.name)"):
        app(browser, "app.set({ view: '%s' })" % view)
        nameless = browser.run("""return [...document.querySelectorAll('button, input, select, canvas, [tabindex]')]
            .filter((e) => !e.closest('[hidden]') && !(e.textContent.trim() || e.getAttribute('aria-label') ||
                e.getAttribute('aria-labelledby') || e.title)).map((e) => e.outerHTML.slice(0, 100))""")
        assert [text for text in nameless if "table-body" not in text] == [], view
        missing = browser.run("""return [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')]
            .flatMap((e) => [e.getAttribute('aria-labelledby'), e.getAttribute('aria-describedby')])
            .filter((id) => id && !document.getElementById(id))""")
        assert missing == [], view


def test_the_theme_changes_and_is_kept(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page)
    assert browser.run("return document.documentElement.dataset.theme") == "light"
    light = browser.run("return getComputedStyle(document.body).backgroundColor")
    browser.click("#theme")
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    assert browser.run("return getComputedStyle(document.body).backgroundColor") != light
    browser.open_report(page)
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    browser.click("#theme")


def test_the_time_line_reads_out_what_is_under_the_pointer(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page)
    box = browser.run("const b = document.getElementById('time-canvas').getBoundingClientRect();"
                      "return [b.left, b.top]")
    browser.point_at(box[0] + 700, box[1] + 50)
    text = browser.wait("document.getElementById('time-readout').textContent.includes('/s') && "
                        "document.getElementById('time-readout').textContent", "the readout")
    assert "live" in text and "resident" in text
    assert app(browser, "app.timeline.hovered") > 0


def test_hovering_shows_exact_figures(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page)
    browser.point_at(*graph_place(browser, 1))
    text = browser.wait("!document.getElementById('tooltip').hidden && document.getElementById('tooltip').textContent",
                        "the tooltip")
    assert "Leaked" in text and "Temporary" in text
    exact = browser.run("return document.querySelector('.tooltip-figures .muted').textContent")
    assert "".join(c for c in exact if c.isdigit()) == str(figures["largest"])


def test_hostile_names_stay_text(browser, pages):
    page, figures = pages["hostile"]
    assert browser.open_report(page) > 0
    total = figures["total"]
    assert metric_bytes(browser) == [total[2], total[4], total[0], total[6]]
    elements = browser.run("return document.querySelectorAll('*').length")
    for state in ("", "g=function&b=sites", "v=1", "g=module&o=flame&h=", "q=script&h=iml", "m=total&t=0"):
        browser.open_report(page, state)
        for node in range(0, min(60, app(browser, "app.tree.count"))):
            app(browser, "app.side.details(%d)" % node)
    assert browser.run("return document.body.dataset.owned") is None
    assert browser.run("return document.querySelectorAll('img, iframe, object, embed, link').length") == 0
    assert browser.run("return document.querySelectorAll('script').length") == 4
    assert elements < 3000
    assert "\u202e" not in browser.run("return document.body.innerText")
    names = app(browser, "app.report.strings")
    assert "</script><script>document.body.dataset.owned = 2</script>" in names
    assert "\\xff\\xfe\\xc0\\xafnot utf-8\\xed\\xa0\\x80" in names
    assert max(len(name) for name in names) >= 100 * 1000
    assert "__proto__" in names
    assert "</script>" in browser.run("return document.title")


def test_damage_and_losses_are_seen(browser, pages):
    page, _ = pages["damaged"]
    browser.open_report(page)
    badges = browser.run("return [...document.querySelectorAll('.badge')].map((b) => b.textContent)")
    assert badges[:2] == ["damaged", "1.20 k events lost"]
    assert "ended without notice" in badges
    assert "checksum" in browser.run("return document.querySelector('.badge').title")


def test_an_empty_capture_says_so(browser, pages):
    page, _ = pages["empty"]
    assert browser.open_report(page) > 0
    assert "Nothing was allocated" in browser.run("return document.getElementById('graph-empty').textContent")
    assert not browser.run("return document.getElementById('time-empty').hidden")
    for key in "lambvfg123kt":
        browser.type(key)


@pytest.mark.parametrize("width, height", [(1440, 900), (1024, 700), (768, 1024), (390, 844), (320, 480)])
def test_no_window_is_too_narrow(browser, pages, width, height):
    browser.cdp("Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
    try:
        for kind in ("demo", "hostile", "damaged"):
            browser.open_report(pages[kind][0])
            assert browser.run("return document.documentElement.scrollWidth") <= width, kind
            assert browser.run("return document.documentElement.scrollTop") == 0, "it begins at its top"
            assert app(browser, "app.graph.width") > 250
            assert app(browser, "app.graph.height") >= 190
    finally:
        browser.cdp("Emulation.setDeviceMetricsOverride",
                    {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False})


def test_damaged_data_are_explained(browser, pages, tmp_path):
    text = open(pages["demo"][0], encoding="utf-8").read()
    start = text.index('id="columns">') + len('id="columns">')
    broken = tmp_path / "broken.html"
    broken.write_text(text[:start + 400] + text[start + 800:], encoding="utf-8")
    assert browser.open_report(str(broken)) == -1
    assert "cannot be shown" in browser.run("return document.getElementById('failure').textContent")
    # The failure is also in the console, for whoever reports it.
    assert browser.log("browser")


PROGRAM = """
import json, threading
kept = []
def work(n):
    for i in range(300):
        kept.append(json.loads(json.dumps({"a": list(range(40)), "b": "x" * i})))
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
del kept[::2]
"""


@pytest.mark.skipif("WEB_COMMAND" not in os.environ, reason="no sctmem and libsctmem.so in this build")
def test_each_row_of_a_real_capture_equals_the_text_table(browser, tmp_path):
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"])
    subprocess.run(["/usr/bin/python3", "-c", PROGRAM], check=True, cwd=str(tmp_path), env=environment)
    capture = next(str(path) for path in tmp_path.glob("sctmem.*.bin"))
    page = str(tmp_path / "page.html")
    command = os.environ["WEB_COMMAND"]
    subprocess.run([command, "flamegraph", "-o", page, capture], check=True)
    for metric in ("peak", "leaked", "total", "temporary"):
        browser.open_report(page, "m=" + metric)
        shown = app(browser, """(() => {
            const { groups } = app.model.groupsOf(app.state), table = app.model.table(app.state);
            const { strings, frames } = app.report;
            return table.groups.map((group) => {
                const i = groups.frame[group];
                return [strings[frames.function[i]], strings[frames.file[i]], frames.line[i], strings[frames.module[i]],
                    table.own[group], table.all[group]];
            });
        })()""")
        table = json.loads(subprocess.run([command, "table", "--json", "-n", "0", "-m", metric, capture], check=True,
                                          stdout=subprocess.PIPE).stdout.decode("utf-8", "replace"))
        rows = [[row["function"], row["file"], row["line"], row.get("module", ""), row["own_bytes"], row["total_bytes"]]
                for row in table["rows"] if row["total_bytes"]]
        assert len(rows) > 50
        assert sorted(shown) == sorted(rows), metric
