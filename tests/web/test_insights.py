# SPDX-License-Identifier: MIT
"""The view "Insights" in a real browser: its figures are those of `sctmem insights --json`, to the byte."""
import json
import os
import subprocess

import pytest
from pagetools import app


def run_command(*arguments):
    return subprocess.run([os.environ["WEB_COMMAND"], *arguments], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    if "WEB_GOLDEN" not in os.environ:
        pytest.skip("no sctmem and no golden captures in this build")
    folder = tmp_path_factory.mktemp("insights")
    subprocess.run([os.environ["WEB_GOLDEN"], str(folder)], check=True)
    return folder


def make_report(captures, name, verb="report", *options):
    page = str(captures / "{}-{}.html".format(name, verb))
    run_command(verb, "-f", "-o", page, *options, str(captures / (name + ".bin")))
    return page


@pytest.mark.parametrize("name", ["sample", "killed", "hostile", "windows", "pages", "swapped"])
def test_each_figure_is_that_of_the_command(browser, captures, name):
    browser.open_report(make_report(captures, name), "w=insights")
    told = json.loads(run_command("insights", "--json", "-n", "100", str(captures / (name + ".bin"))))["analyses"]
    shown = browser.run("""return Object.fromEntries([...document.querySelectorAll('.insights-card')].map((card) => {
        card.open = true;
        card.querySelectorAll('.insights-more').forEach((button) => button.click());
        return [card.id.slice(9), {
            headline: card.querySelector('.insights-headline').textContent,
            facts: Object.fromEntries([...card.querySelectorAll('dd')].map((d) => [d.dataset.fact,
                Number(d.dataset.exact)])),
            tables: Object.fromEntries([...card.querySelectorAll('.insights-table')].map((table) =>
                [table.dataset.table, [...table.querySelectorAll('tbody tr')].map((row) =>
                    [...row.querySelectorAll('[data-exact]')].map((cell) => cell.dataset.exact))])),
        }];
    }))""")
    columns = app(browser, """Object.fromEntries(app.report.meta.insights.map((insight) => [insight.name,
        Object.fromEntries(insight.tables.map((table) => [table.name, table.columns]))]))""")
    assert set(shown) == set(told)
    compared = 0
    for analysis, insight in told.items():
        assert shown[analysis]["headline"] == insight["headline"]
        assert shown[analysis]["facts"] == insight.get("facts", {})
        for table, titles in columns[analysis].items():
            rows = shown[analysis]["tables"][table]
            rows = [row for row in rows if row]
            assert len(rows) == len(insight[table]["rows"])
            for cells, row in zip(rows, insight[table]["rows"]):
                for cell, (key, _, unit) in zip(cells, titles):
                    if unit == "thread" or cell == "null":
                        continue
                    expected = int(row[key], 16) if unit == "address" else row[key]
                    assert int(cell) == expected, (analysis, table, key)
                    compared += 1
    assert compared > 20
    shown = [key for key, _, _ in columns["resident"].get("places", [])]
    assert ("swapped_bytes" in shown) == (name == "swapped"), "a column that is rare is not there without a need"


def test_what_is_worth_a_look_is_open_and_first(browser, captures):
    page = make_report(captures, "sample")
    browser.open_report(page, "w=insights")
    told = json.loads(run_command("insights", "--json", str(captures / "sample.bin")))["analyses"]
    cards = browser.run("return [...document.querySelectorAll('.insights-card')].map((c) => [c.id.slice(9), c.open])")
    assert cards == sorted(cards, key=lambda card: not card[1])
    assert {name for name, is_open in cards if is_open} == {name for name in told if told[name]["notable"]}


def test_a_place_leads_to_its_callers(browser, captures):
    browser.open_report(make_report(captures, "sample"), "w=insights")
    name = browser.run("return document.querySelector('.insights-place .name').textContent")
    browser.click(".insights-place")
    assert app(browser, "app.state.view") == "callers"
    assert name.split(" ")[0] in browser.run("return document.getElementById('view-callers').textContent")


def test_only_a_report_has_insights_unless_asked(browser, captures):
    browser.open_report(make_report(captures, "sample", "flamegraph"))
    assert not browser.run("return document.getElementById('tab-insights')")
    browser.open_report(make_report(captures, "sample", "flamegraph", "--insights"))
    assert browser.run("return !!document.getElementById('tab-insights')")
    browser.open_report(make_report(captures, "sample", "report", "--no-insights"))
    assert not browser.run("return document.getElementById('tab-insights')")
