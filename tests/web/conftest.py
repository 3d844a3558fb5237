# SPDX-License-Identifier: MIT
"""What the browser tests share: pages of made-up profiles, one browser, and that no page logs or asks for anything."""
import os
import subprocess

import pytest
import webdriver
from pagetools import make_page
from recorded_program import PROGRAM

NODES = 3000


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {kind: make_page(folder, kind, NODES if kind != "empty" else 0)
            for kind in ("demo", "hostile", "damaged", "empty")}


@pytest.fixture(scope="session")
def shared_browser():
    if webdriver.find_programs() is None:
        pytest.skip("no chromium or no chromedriver")
    with webdriver.Browser(1440, 900) as browser:
        yield browser


@pytest.fixture()
def browser(shared_browser):
    """Whatever a test does, its pages have logged no error and asked for nothing but themselves."""
    shared_browser.open("about:blank")
    shared_browser.log("browser")
    shared_browser.requests()
    yield shared_browser
    errors = [entry["message"] for entry in shared_browser.log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert errors == []
    asked = [url for url in shared_browser.requests() if not url.startswith(("file:///", "about:"))]
    assert asked == []
    shared_browser.run("try { localStorage.clear(); } catch (error) {}")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("time")
    environment = dict(os.environ, LD_PRELOAD=os.environ["WEB_LIBRARY"], SCTMEM_OUT=str(folder / "run.bin"))
    subprocess.run(["/usr/bin/python3", "-c", PROGRAM], check=True, cwd=str(folder), env=environment)
    page = folder / "run.html"
    capture = str(folder / "run.bin")
    subprocess.run([os.environ["WEB_COMMAND"], "flamegraph", "--slices", "64", "-o", str(page), capture], check=True)
    return capture, str(page)
