# SPDX-License-Identifier: MIT
"""Making report pages, and looking into them through a browser.

SCTMEM_FAKE_REPORT is the program that makes pages of made-up profiles and, beside each, the figures it must show.
"""
import json
import os
import subprocess


def make_page(folder, kind, nodes):
    page, figures = folder / (kind + ".html"), folder / (kind + ".json")
    subprocess.run([os.environ["SCTMEM_FAKE_REPORT"], kind, str(nodes), str(page), str(figures)], check=True)
    return str(page), json.loads(figures.read_text())


def app(browser, expression):
    """The value of an expression in the page's own objects; `app` is the application."""
    return browser.run("return sctmem.page.then((app) => { return " + expression + "; });")


def graph_place(browser, node):
    """Where a node's box is on the screen."""
    return app(browser, """(() => {
        const box = document.getElementById('graph-canvas').getBoundingClientRect();
        const { graph } = app, view = app.tree;
        const x = (view.x[%d] + view.value[%d] / 2 - graph.window.left) / graph.window.width * graph.width;
        return [box.left + x, box.top + graph.rowTop(view.depth[%d]) + 8];
    })()""" % (node, node, node))


def metric_bytes(browser):
    return browser.run("return [...document.querySelectorAll('.metric')].map((b) => Number(b.dataset.bytes))")


def detail_cells(browser):
    return browser.run("return [...document.querySelectorAll('.costs [data-exact]')]"
                       ".map((c) => Number(c.dataset.exact))")


def settle(browser):
    browser.wait("sctmem.page.then((app) => !app.graph.animation)", "the zoom to end")
