# SPDX-License-Identifier: MIT
"""A program that is recorded for real, and asking page and command for the same window of its time."""
from pagetools import app

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


def options_of(browser, window):
    """As the page itself says them: --time A..B --at B."""
    text = app(browser, "sctmem.windowOptions(app.report, sctmem.parseWindow('%s', app.report.slices))" % window)
    words = text.split()
    options = dict(zip(words[::2], words[1::2]))
    at = ["--at", options["--at"]] if options["--at"] != "end" else []
    # An instant is a window from the start on.
    stretch = options.get("--time", ".." + ("" if options["--at"] == "end" else options["--at"]))
    return {"{at}": at, "{time}": ["--time", stretch] if stretch != ".." else []}


def canvas_x(browser, time_us):
    left = "document.getElementById('time-canvas').getBoundingClientRect().left"
    return app(browser, left + " + app.timeline.xOf(%f)" % time_us)


def middle_y(browser):
    return browser.run("const box = document.getElementById('time-canvas').getBoundingClientRect();"
                       "return box.top + box.height / 2")


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
