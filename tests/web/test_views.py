# SPDX-License-Identifier: MIT
"""Each view of the page in a real browser: every control works, and its figures are those of the command's other views.

WEB_GOLDEN is the program that writes the golden captures; their pages are held against the command's JSON to the byte.
With SCTMEM_WEB_SCREENSHOTS=FOLDER pictures of all views are left there, light and dark, on a desk and in a hand.
"""
import json
import os
import pathlib
import re
import subprocess
import time
import xml.etree.ElementTree

import pytest
from pagetools import app, graph_place, make_page, metric_bytes, settle

VIEWS = {"summary": "U", "flame": "F", "sunburst": "B", "callers": "C", "table": "T", "source": "S", "threads": "H",
         "modules": "M"}
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
METRICS = ("peak", "leaked", "total", "temporary")
WIDE, PHONE = (1440, 900), (390, 844)


def run_command(*arguments):
    return subprocess.run([os.environ["WEB_COMMAND"], *arguments], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    if "WEB_GOLDEN" not in os.environ:
        pytest.skip("no sctmem and no golden captures in this build")
    folder = tmp_path_factory.mktemp("golden")
    subprocess.run([os.environ["WEB_GOLDEN"], str(folder)], check=True)
    family = [str(folder / "sample.bin"), str(folder / "child.bin")]
    captures = {"family": family, **{name: [str(folder / (name + ".bin"))] for name in ("sample", "killed", "hostile")}}
    pages = {}
    for name, paths in captures.items():
        page = str(folder / (name + ".html"))
        run_command("report", "-o", page, *paths)
        pages[name] = (page, paths)
    return pages


def resize(browser, width, height):
    browser.cdp("Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})


def cells(browser, selector):
    """The exact figures of the rows that are shown, from the top."""
    return browser.run("""return [...document.querySelectorAll(arguments[0] + ' .table-row')].filter((r) => !r.hidden)
        .sort((a, b) => a.dataset.position - b.dataset.position)
        .map((r) => [...r.querySelectorAll('[data-exact]')].map((c) => Number(c.dataset.exact)))""", selector)


def test_each_view_opens_by_tab_by_key_and_by_address(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page)
    for name, key in VIEWS.items():
        browser.click("#tab-" + name)
        assert app(browser, "app.state.view") == name
        browser.run("document.activeElement.blur()")
        browser.type("F" if name != "flame" else "T")
        browser.type(key)
        assert app(browser, "app.state.view") == name
        shown = browser.run("return [...document.querySelectorAll('.view')].filter((v) => !v.hidden).map((v) => v.id)")
        assert shown == ["view-" + name]
        selected = browser.run("return [...document.querySelectorAll('#tabs [aria-selected=true]')].map((t) => t.id)")
        assert selected == ["tab-" + name]
        assert name == "flame" or "w=" + name in browser.run("return location.hash")


def test_every_control_of_every_view_can_be_used(browser, tmp_path):
    page, figures = make_page(tmp_path, "demo", 300)
    total = figures["total"]
    used = 0
    browser.open_report(page)
    names = app(browser, "app.views.map((view) => view.name)")
    assert set(names) >= set(VIEWS)
    for name in names:
        browser.open_report(page, "w=" + name)
        used += browser.run("""
            const visible = (e) => !e.closest('[hidden]') && e.getClientRects().length > 0;
            const all = () => [...document.querySelectorAll('button:not([role=tab]), select')].filter(visible);
            const count = all().length;
            // What a click saves is looked at by another test.
            HTMLAnchorElement.prototype.click = () => {};
            for (let i = 0; i < count; i++) {
                const control = all()[i];
                if (!control || control.id === 'help' || control.disabled)
                    continue;
                if (control.tagName === 'SELECT') {
                    for (const option of [...control.options].filter((one) => !one.disabled)) {
                        control.value = option.value;
                        control.dispatchEvent(new Event('change'));
                    }
                    control.selectedIndex = 0;
                    control.dispatchEvent(new Event('change'));
                } else {
                    control.click();
                }
            }
            return count;
        """)
        # Each filter has been set back.
        assert metric_bytes(browser) == [total[2], total[4], total[0], total[6]], name
    assert used > 150


def test_pages_of_golden_captures_equal_the_command(browser, golden):
    for name, (page, paths) in golden.items():
        stats = json.loads(run_command("stats", "--json", *paths))
        assert browser.open_report(page) > 0, name
        assert app(browser, "app.state.view") == "summary"
        for offset, unit in enumerate(("bytes", "count")):
            app(browser, "app.set({ unit: '%s' })" % unit)
            shown = browser.run("return [...document.querySelectorAll('.metric')]"
                                ".map((b) => Number(b.dataset.%s))" % unit)
            assert shown == [stats["total"][key + "_" + unit] for key in ("peak", "live", "total", "temporary")], name
        for metric in METRICS if name == "killed" else METRICS[:1]:
            browser.open_report(page, "w=threads&m=" + metric)
            rows = json.loads(run_command("table", "--by", "thread", "-n", "0", "--json", "-m", metric, *paths))["rows"]
            column = METRICS.index(metric) + 1
            shown = [row[column] for row in cells(browser, "#view-threads-rows")]
            wanted = [row["own_bytes"] for row in rows]
            assert sorted(value for value in shown if value) == sorted(value for value in wanted if value), name
            app(browser, "app.set({ view: 'table' })")
            lines = json.loads(run_command("table", "-n", "0", "--json", "-m", metric, *paths))["rows"]
            shown = app(browser, """(() => {
                const costs = app.model.groupCosts(app.state), column = app.metricColumn();
                return [...costs.own[column]].map((own, i) => [own, costs.all[column][i]]).slice(1)
                    .filter(([, all]) => all > 0);
            })()""")
            assert sorted(shown) == sorted([row["own_bytes"], row["total_bytes"]] for row in lines
                                           if row["total_bytes"]), name


def test_a_family_has_a_row_for_each_process(browser, golden):
    page, paths = golden["family"]
    browser.open_report(page, "w=processes")
    rows = cells(browser, "#view-processes-rows")
    stats = json.loads(run_command("stats", "--json", *paths))
    assert len(rows) == 2
    for column, key in ((2, "peak_bytes"), (3, "live_bytes"), (4, "total_bytes"), (5, "temporary_bytes")):
        assert sum(row[column] for row in rows) == stats["total"][key]
    assert [row[1] for row in rows] == [capture["peak_bytes"] for capture in stats["captures"]]
    alone = json.loads(run_command("stats", "--json", paths[0]))
    assert rows[0][1] == alone["total"]["peak_bytes"], "its own peak is what it has when it is looked at alone"
    browser.open_report(page, "w=flame&s=process&m=total")
    assert app(browser, "[...app.tree.value.slice(app.tree.childStart[0], app.tree.childEnd[0])]") == \
        sorted((row[4] for row in rows), reverse=True)
    browser.open_report(golden["sample"][0], "w=processes")
    assert app(browser, "app.state.view") == "summary", "one process is no family"


def test_tables_of_all_rows_sort_filter_and_are_saved(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page, "w=table")
    for kind, least in ((1, 100), (2, 300)):
        browser.click("#rows-kind button:nth-child(%d)" % kind)
        rows = cells(browser, "#rows")
        assert rows == sorted(rows, key=lambda row: -row[0]) and len(rows) > 5
        view = "app.opened.get(app.viewed)"
        assert app(browser, view + ".table.sorted.length") > least
        browser.run("const f = document.querySelector('#view-table .filter'); f.value = 'tokenizer'; "
                    "f.dispatchEvent(new Event('input'))")
        assert 0 < app(browser, view + ".table.sorted.length") < least
        saved = browser.run("""return sctmem.page.then((app) => new Promise((done) => {
            HTMLAnchorElement.prototype.click = function () { done(fetchless(this.href)); };
            const blobs = new Map(), make = URL.createObjectURL;
            URL.createObjectURL = (blob) => { const url = make.call(URL, blob); blobs.set(url, blob); return url; };
            const fetchless = (url) => blobs.get(url).text();
            app.opened.get(app.viewed).save();
        }))""").splitlines()
        assert len(saved) == app(browser, view + ".table.sorted.length") + 1
        assert saved[0].startswith("name,file,line,module,")
        assert "tokenizer" in saved[1]
        browser.run("const f = document.querySelector('#view-table .filter'); f.value = ''; "
                    "f.dispatchEvent(new Event('input'))")


def test_callers_and_callees_have_what_the_table_says(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page, "w=callers&g=function")
    for row in (0, 3, 7):
        app(browser, "app.openRow(app.table.sorted[%d])" % row)
        group = app(browser, "app.table.sorted[%d]" % row)
        shown = int(browser.run("return document.querySelector('.callers-figures').dataset.exact"))
        assert shown == app(browser, "app.model.table(app.state).all[%d]" % group)
        both = app(browser, "(({ callers, callees }) => [callers.value[0], callees.value[0]])"
                            "(app.model.around(app.state, %d))" % group)
        assert both == [shown, shown]
    address = browser.run("return location.hash")
    browser.open_report(page, address[1:])
    assert int(browser.run("return document.querySelector('.callers-figures').dataset.exact")) == shown


def test_lines_of_source_have_their_text_and_figures(browser, tmp_path):
    if "WEB_COMMAND" not in os.environ:
        pytest.skip("no sctmem and libsctmem.so in this build")
    (tmp_path / "keep.py").write_text(
        "import api_token\n"
        "def small():\n"
        "    return [bytearray(1000) for _ in range(100)]\n"
        "kept = bytearray(5_000_000)\n"
        "gone = bytearray(3_000_000)\n"
        "del gone\n"
        "also = small() + api_token.load()\n")
    (tmp_path / "api_token.py").write_text("def load():\n    return [bytearray(700_000)]\n")
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(tmp_path / "keep.bin"))
    subprocess.run(["/usr/bin/python3", "keep.py"], check=True, cwd=str(tmp_path), env=environment)
    page = str(tmp_path / "page.html")
    run_command("report", "-o", page, str(tmp_path / "keep.bin"))

    browser.open_report(page, "w=source")
    file = app(browser, "[...app.report.sources.keys()].find((i) => app.report.strings[i].endsWith('keep.py'))")
    app(browser, "app.set({ file: '%d' })" % file)
    # Sorted by line: line number, peak, leaked, total, inclusive, text.
    lines = browser.run("""return [...document.querySelectorAll('#source-lines .table-row')].filter((r) => !r.hidden)
        .sort((a, b) => a.dataset.position - b.dataset.position).map((r) =>
            [r.querySelector('.line-number').textContent,
        ...[...r.querySelectorAll('[data-exact]')].map((c) => Number(c.dataset.exact)),
        r.querySelector('.code').textContent])""")
    assert [line[0] for line in lines] == [str(number) for number in range(1, 8)]
    assert lines[3][5] == "kept = bytearray(5_000_000)"
    assert 5_000_000 <= lines[3][3] < 5_001_000, "allocated in all by line 4"
    assert lines[4][3] >= 3_000_000 > lines[4][2] and lines[5][3] < 1000
    assert lines[2][3] >= 100 * 1000 and lines[6][3] < lines[6][4] + 100_000
    # The file that looks confidential is named, and not embedded.
    secret = app(browser, "[...app.report.sources.keys()].find((i) => app.report.strings[i].endsWith('api_token.py'))")
    app(browser, "app.set({ file: '%d' })" % secret)
    assert "confidential" in browser.run("return document.querySelector('.source-title').textContent")
    assert "bytearray(700_000)" not in browser.run("return document.documentElement.textContent")
    assert "return [bytearray" not in "".join(app(browser, "[...app.report.sources.get(%d).lines.values()]" % secret))
    # Every figure of the view is that of the command's table by line.
    table = json.loads(run_command("table", "-n", "0", "--json", "-m", "total", str(tmp_path / "keep.bin")))["rows"]
    wanted = {row["line"]: row["total_bytes"] for row in table if row["file"].endswith("keep.py")}
    app(browser, "app.set({ file: '%d', metric: 'total' })" % file)
    shown = app(browser, """(() => { const view = app.opened.get(app.viewed);
        return [...view.entries].map(([line, entry]) => [line, view.sums.all[2][entry]]); })()""")
    assert {line: value for line, value in shown if value} == wanted

    run_command("report", "--no-source", "-f", "-o", page, str(tmp_path / "keep.bin"))
    browser.open_report(page, "w=source")
    assert app(browser, "app.report.sources.size") == 0
    run_command("report", "--all-source", "-f", "-o", page, str(tmp_path / "keep.bin"))
    browser.open_report(page, "w=source")
    assert app(browser, "[...app.report.sources.values()].every((one) => one.lines.size > 0)")


def test_the_example_shows_its_story(browser, tmp_path):
    if "WEB_COMMAND" not in os.environ:
        pytest.skip("no sctmem and libsctmem.so in this build")
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(tmp_path / "orders.%p.bin"))
    subprocess.run(["/usr/bin/python3", str(EXAMPLES / "orders.py")], check=True, env=environment)
    captures = sorted(str(path) for path in tmp_path.glob("orders.*.bin"))
    page = str(tmp_path / "orders.html")
    run_command("report", "-o", page, *captures)
    browser.open_report(page, "g=function")
    assert all(0 <= capture["peak_time_s"] <= capture["duration_s"] for capture in
               json.loads(run_command("stats", "--json", *captures))["captures"])
    badges = browser.run("return [...document.querySelectorAll('.badge')].map((badge) => badge.textContent)")
    assert badges == ["ended without notice (2 of 2 captures)", "2 processes"]
    mib = 1 << 20

    def costs(function, metric, which):
        return app(browser, """(() => {
            const { groups } = app.model.groupsOf(app.state), { frames, strings } = app.report;
            const costs = app.model.groupCosts(app.state).%s[sctmem.costColumn('%s', 'bytes')];
            return groups.frame.reduce((sum, frame, group) =>
                sum + (strings[frames.function[frame]] === '%s' ? costs[group] : 0), 0);
        })()""" % (which, metric, function))

    assert 24 * mib <= costs("picture", "leaked", "own") < 24.1 * mib
    assert costs("load_catalogue", "leaked", "all") >= 24 * mib > 0.1 * mib > costs("preview", "leaked", "all")
    assert costs("parse", "peak", "all") > 20 * mib
    assert 8 * mib <= costs("preview", "temporary", "all") < 8.1 * mib
    shown = "[...document.querySelectorAll('.summary-row .name')].slice(0, 3).map((name) => name.textContent)"
    app(browser, "app.set({ metric: 'leaked' })")
    assert browser.run("return " + shown)[0] == "picture"

    # Threads: each worker by itself; and the child beside its parent.
    app(browser, "app.set({ view: 'threads', metric: 'total' })")
    totals = [row[3] for row in cells(browser, "#view-threads-rows")]
    assert sum(8 * mib <= total < 9 * mib for total in totals) == 3
    app(browser, "app.set({ view: 'processes' })")
    peaks = sorted(row[1] for row in cells(browser, "#view-processes-rows"))
    assert len(peaks) == 2 and 5 * mib <= peaks[0] < 6 * mib

    # Recursion: a tower of 41 boxes, or one.
    tower = """(() => { const { tree } = app, { frames, strings } = app.report; let count = 0;
        for (let v = 0; v < tree.count; v++)
            count += strings[frames.function[tree.groups.frame[tree.group[v]]]] === 'visit' ? 1 : 0;
        return count; })()"""
    app(browser, "app.set({ view: 'flame', metric: 'total' })")
    assert app(browser, tower) == 41
    browser.type("r")
    assert app(browser, tower) == 1

    # Source: what liblzma takes is no Python object, what parse makes is.
    browser.open_report(page, "w=source&m=total")
    lines = browser.run("""return [...document.querySelectorAll('#source-lines .table-row')].filter((r) => !r.hidden)
        .map((r) => [r.querySelector('.code').textContent.trim(), r.querySelector('.share-cell').title])""")
    shares = {text: share for text, share in lines if share}
    assert shares["packer = lzma.LZMACompressor(preset=1)"].endswith("100 % native"), shares
    assert [share for text, share in shares.items() if text.startswith('return [("order')][0].startswith("100 %")


def test_wheel_drag_and_keys_move_the_window_and_the_address_keeps_it(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page, "w=flame")
    x, y = graph_place(browser, 1)
    window = "[app.graph.window.left, app.graph.window.width]"
    whole = app(browser, window)
    browser.cdp("Input.dispatchMouseEvent", {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": -300,
                                             "modifiers": 2})
    browser.wait("sctmem.page.then((app) => app.graph.window.width < %f)" % whole[1], "the wheel to zoom")
    browser.wait("location.hash.includes('x=')", "the address")
    narrowed = app(browser, window)
    for kind, dx in (("mousePressed", 0), ("mouseMoved", -40), ("mouseMoved", -120), ("mouseReleased", -120)):
        browser.cdp("Input.dispatchMouseEvent", {"type": kind, "x": x + dx, "y": y, "button": "left", "buttons": 1,
                                                 "clickCount": 1})
    moved = app(browser, window)
    assert moved[0] > narrowed[0] and moved[1] == narrowed[1]
    assert app(browser, "app.tree.focus") == 0, "dragging is not a click"
    time.sleep(0.4)
    address = browser.run("return location.hash")
    browser.open_report(page, address[1:])
    assert app(browser, window) == pytest.approx(moved, rel=1e-4)
    browser.run("document.getElementById('graph-canvas').focus()")
    browser.type("-")
    assert app(browser, window)[1] > moved[1]
    browser.type("Escape")
    settle(browser)
    assert app(browser, window) == whole


def test_two_fingers_narrow_the_window(browser, pages):
    page, _ = pages["demo"]
    browser.open_report(page, "w=flame")
    x, y = graph_place(browser, 1)
    touch = "Input.dispatchTouchEvent"
    browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.cdp(touch, {"type": "touchStart", "touchPoints":
            [{"x": x - 20, "y": y, "id": 1}, {"x": x + 20, "y": y, "id": 2}]})
        for step in (40, 60, 80):
            browser.cdp(touch, {"type": "touchMove",
                                "touchPoints": [{"x": x - step, "y": y, "id": 1}, {"x": x + step, "y": y, "id": 2}]})
        browser.cdp(touch, {"type": "touchEnd", "touchPoints": []})
        share = app(browser, "app.graph.window.width / app.graph.whole")
        assert 0.15 < share < 0.5
        assert app(browser, "app.tree.focus") == 0
        before = app(browser, "app.graph.window.left")
        browser.cdp(touch, {"type": "touchStart", "touchPoints": [{"x": x, "y": y, "id": 1}]})
        for step in (10, 30, 60):
            browser.cdp(touch, {"type": "touchMove", "touchPoints": [{"x": x - step, "y": y, "id": 1}]})
        browser.cdp(touch, {"type": "touchEnd", "touchPoints": []})
        assert app(browser, "app.graph.window.left") > before
    finally:
        browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": False})


# Opens the menu by its key and clicks; what would be a download is kept instead.
SAVE = """return sctmem.page.then(async (app) => {
    const saved = [], { createObjectURL } = URL, { click } = HTMLAnchorElement.prototype;
    URL.createObjectURL = (blob) => (saved.push({ blob }), '#');
    HTMLAnchorElement.prototype.click = function () { saved.at(-1).name = this.download; };
    dispatchEvent(new KeyboardEvent('keydown', { key: 's', cancelable: true }));
    const count = document.querySelectorAll('#save-menu button').length;
    for (let i = 0; i < count; i++) {
        document.getElementById('save').click();
        if (document.getElementById('save-menu').hidden)
            document.getElementById('save').click();
        document.querySelectorAll('#save-menu button')[i].click();
        while (saved.length <= i || saved[i].name === undefined)
            await new Promise((done) => setTimeout(done, 5));
    }
    Object.assign(URL, { createObjectURL });
    HTMLAnchorElement.prototype.click = click;
    return Promise.all(saved.map(async ({ blob, name }) => {
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return [name, blob.type, bytes.length, blob.type === 'image/svg+xml' ? await blob.text() :
            String.fromCharCode(...bytes.slice(1, 4))];
    }));
});"""
DRAWN = ("flame", "sunburst", "callers", "diff")


def check_picture(browser, folder, name, text, least):
    """An SVG is well-formed, has nothing but shapes and text, and the browser draws it."""
    root = xml.etree.ElementTree.fromstring(text)
    tags = {element.tag.split("}")[1] for element in root.iter()}
    assert tags <= {"svg", "title", "rect", "text", "path"}, "names stay text"
    assert all("NaN" not in value and "undefined" not in value and not key.startswith("on")
               for element in root.iter() for key, value in element.attrib.items())
    assert len(root) > least, name
    (folder / name).write_text(text)
    browser.open("file://" + str(folder / name))
    box = browser.run("const b = document.documentElement.getBoundingClientRect(); return [b.width, b.height]")
    assert [round(side) for side in box] == [round(float(root.get(side))) for side in ("width", "height")]
    assert browser.run("return document.querySelectorAll('text').length") > 2
    assert browser.run("return document.querySelectorAll('script, parsererror').length") == 0
    if os.environ.get("SCTMEM_WEB_SCREENSHOTS"):
        browser.screenshot(os.path.join(os.environ["SCTMEM_WEB_SCREENSHOTS"], "picture-" + name + ".png"))


def test_each_drawn_view_and_the_time_line_are_saved_as_pictures(browser, pages, golden, tmp_path):
    both = str(tmp_path / "both.html")
    folder = pathlib.Path(golden["sample"][0]).parent
    run_command("diff", "--html", "-o", both, str(folder / "leaky.bin"), str(folder / "leakier.bin"))
    for page, capture, views in ((pages["demo"][0], None, DRAWN[:3]), (pages["hostile"][0], None, DRAWN[:3]),
                                 (both, "leakier-against-leaky", DRAWN)):
        for view in views:
            browser.open_report(page, "w=" + view)
            saved = browser.run(SAVE)
            names = [name for name, *_ in saved]
            for wanted in (view, "time-line"):
                assert [name.rsplit(wanted, 1)[1] for name in names if wanted in name] == [".png", ".svg"]
            assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)
            assert capture is None or names[0] == capture + "-" + view + ".png"
            for name, kind, size, head in saved:
                assert size > 1000
                if kind == "image/png":
                    assert head == "PNG"
                else:
                    check_picture(browser, tmp_path, name, head, 12)


def test_no_header_of_a_table_is_cut_off(browser, golden):
    page = golden["family"][0]
    seen = set()
    try:
        for width, height in (WIDE, PHONE):
            resize(browser, width, height)
            browser.open_report(page)
            for name in app(browser, "app.views.map((view) => view.name)"):
                app(browser, "app.set({ view: '%s' })" % name)
                heads = browser.run("""
                    const cut = [], names = [];
                    for (const head of document.querySelectorAll('[role=columnheader], th')) {
                        if (head.closest('[hidden]') || !head.getClientRects().length)
                            continue;
                        // The arrow of a sorted column is drawn beside its name: room for it is needed too.
                        if (head.hasAttribute('aria-sort'))
                            head.setAttribute('aria-sort', 'descending');
                        names.push(head.textContent);
                        if (head.scrollWidth > head.clientWidth)
                            cut.push([head.textContent, head.scrollWidth, head.clientWidth]);
                    }
                    return [cut, names];
                """)
                assert heads[0] == [], (name, width)
                seen.update(heads[1])
    finally:
        browser.cdp("Emulation.clearDeviceMetricsOverride", {})
    assert {"Never freed", "Held, over time", "Of all there", "Inclusive"} <= seen


def test_the_menu_of_pictures_by_keys(browser, pages):
    browser.open_report(pages["demo"][0], "w=table")
    menu = "const menu = document.getElementById('save-menu');"
    browser.run("document.getElementById('save').click()")
    assert browser.run(menu + "return [menu.hidden, menu.querySelectorAll('button').length]") == [False, 2]
    press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: '%s', bubbles: true }));"
    assert browser.run(press % "ArrowRight" + "return document.activeElement.textContent") == "SVG"
    browser.run(press % "Escape")
    assert browser.run(menu + "return [menu.hidden, document.activeElement.id]") == [True, "save"]
    browser.open_report(pages["empty"][0], "w=flame")
    browser.run("document.getElementById('save').click()")
    assert browser.run(menu + "return [menu.hidden, menu.querySelectorAll('button').length]")[0] is False


def test_stacks_split_and_merge(browser, pages):
    page, figures = pages["demo"]
    browser.open_report(page, "w=flame")
    browser.run("const s = document.getElementById('split'); s.value = 'thread'; s.dispatchEvent(new Event('change'))")
    parts = app(browser, "[...app.tree.value.slice(app.tree.childStart[0], app.tree.childEnd[0])]")
    assert parts == sorted((peak for peak in figures["threads"] if peak), reverse=True)
    browser.click("#recursion")
    assert app(browser, "app.tree.value[0]") == figures["total"][2]
    address = browser.run("return location.hash")
    assert "s=thread" in address and "r=1" in address


def test_the_summary_says_all_that_a_bug_report_needs(browser, golden):
    page, paths = golden["killed"]
    browser.open_report(page)
    text = app(browser, "sctmem.summaryText(app.report, [])")
    stats = json.loads(run_command("stats", "--json", *paths))
    capture = stats["captures"][0]
    for wanted in (stats["metadata"]["command_line"], str(capture["pid"]), "Duration", "Events", "Lost", "Recorder",
                   "Host", "ended without notice"):
        assert wanted in text, wanted
    assert "".join(c for c in text.split("Peak: ")[1].split("(")[1].split(" byte")[0] if c.isdigit()) == \
        str(stats["total"]["peak_bytes"])


@pytest.mark.parametrize("kind", ["hostile", "damaged", "empty"])
def test_no_view_breaks_on_bad_data(browser, pages, kind):
    for width, height in (WIDE, PHONE):
        resize(browser, width, height)
        try:
            browser.open_report(pages[kind][0])
            for name in app(browser, "app.views.map((view) => view.name)"):
                browser.open_report(pages[kind][0], "w=" + name)
                assert browser.run("return document.documentElement.scrollWidth") <= width, name
                assert browser.run("return document.body.dataset.owned") is None
                assert "\u202e" not in browser.run("return document.body.innerText")
                assert browser.run("return document.querySelectorAll('img, iframe, object, embed, link').length") == 0
        finally:
            resize(browser, *WIDE)


def test_screenshots(browser, pages, golden):
    folder = os.environ.get("SCTMEM_WEB_SCREENSHOTS")
    if not folder:
        pytest.skip("SCTMEM_WEB_SCREENSHOTS names no folder")
    os.makedirs(folder, exist_ok=True)
    shots = [(kind, name) for kind in ("demo", "hostile", "empty") for name in VIEWS]
    try:
        for theme in ("light", "dark"):
            for size, (width, height) in {"desk": WIDE, "phone": PHONE}.items():
                resize(browser, width, height)
                for kind, name in shots + [("family", "processes"), ("sample", "summary")]:
                    browser.open_report(pages[kind][0] if kind in pages else golden[kind][0], "w=" + name)
                    app(browser, "app.setTheme('%s')" % theme)
                    time.sleep(0.1)
                    browser.screenshot("{}/{}-{}-{}-{}.png".format(folder, kind, name, size, theme))
    finally:
        resize(browser, *WIDE)


# The graph is narrowed, widened and moved for so many frames.
FRAMES = 60
MOVE = """return sctmem.page.then((app) => new Promise((done) => {
    const { graph } = app;
    let frame = 0;
    const step = () => {
        graph.zoomAround(graph.width * (0.5 + 0.4 * Math.sin(frame / 9)), frame < %d ? 1.06 : 1 / 1.06);
        graph.pan(Math.sin(frame / 7) * 30);
        frame++;
        requestAnimationFrame(frame < %d ? step : done);
    };
    requestAnimationFrame(step);
}))""" % (FRAMES // 2, FRAMES)


def cpu_ms(browser):
    """Processor time of the page's main thread, which other work on the machine does not blur."""
    metrics = browser.cdp("Performance.getMetrics", {})["metrics"]
    return {metric["name"]: metric["value"] for metric in metrics}["TaskDuration"] * 1000


@pytest.mark.parametrize("nodes, bytes_max", [(100000, 2 << 20), (1000000, 20 << 20)])
def test_large_trees_open_and_move(browser, tmp_path, nodes, bytes_max, capsys):
    if nodes > 100000 and not os.environ.get("SCTMEM_WEB_FULL"):
        pytest.skip("SCTMEM_WEB_FULL=1 opens a page of {} nodes".format(nodes))
    page, figures = make_page(tmp_path, "demo", nodes)
    size = os.path.getsize(page)
    assert size <= bytes_max
    browser.cdp("Performance.enable", {"timeDomain": "threadTicks"})
    try:
        ready = browser.open_report(page)
        opened = cpu_ms(browser)
        paint = browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1")
        assert app(browser, "app.tree.value[0]") == figures["total"][2]
        before = cpu_ms(browser)
        browser.run(MOVE)
        frame = (cpu_ms(browser) - before) / FRAMES
        changes = []
        for what, change in (
                ("another metric", "metric: 'total', zoom: ''"), ("inverted", "inverted: '1'"),
                ("callers", "view: 'callers'"), ("table", "view: 'table'"), ("source", "view: 'source'"),
                ("merged recursion", "view: 'flame', inverted: '', recursion: '1'"),
                ("split by thread", "recursion: '', split: 'thread'")):
            before = cpu_ms(browser)
            app(browser, "app.set({ %s })" % change)
            changes.append("{} {:.0f} ms".format(what, cpu_ms(browser) - before))
    finally:
        browser.cdp("Performance.disable", {})
    with capsys.disabled():
        print("\n{} nodes: {:.2f} MB, first paint after {:.0f} ms, all there after {} ms ({:.0f} ms of processor "
              "time); then in processor time: {:.1f} ms a frame while moving, {}".format(
                  nodes, size / 1e6, paint, ready, opened, frame, ", ".join(changes)))
