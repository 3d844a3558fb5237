# SPDX-License-Identifier: MIT
"""A real browser, through the W3C WebDriver protocol and nothing but the standard library.

    with Browser(1440, 900) as browser:
        browser.open("file:///tmp/page.html")
        browser.run("return document.title")

As a command, takes a screenshot:  webdriver.py PAGE.html OUT.png WIDTH HEIGHT [HASH] [dark] [SCRIPT]
"""
import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

# A headless browser that talks to nobody but its driver.
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--disable-default-apps", "--no-default-browser-check", "--hide-scrollbars=false",
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Escape": "\ue00c", "Enter": "\ue007", "ArrowDown": "\ue015", "ArrowRight": "\ue014", "ArrowUp": "\ue013",
        "ArrowLeft": "\ue012", "Tab": "\ue004", "End": "\ue010", "Home": "\ue011"}


def find_programs():
    """(chromium, chromedriver), or None where there is none."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    def __init__(self, width, height, dark=False):
        self.width, self.height, self.dark = width, height, dark
        self.process = self.session = None

    def __enter__(self):
        browser, driver = find_programs()
        self.profile = tempfile.mkdtemp(prefix="sctmem-browser-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        try:
            self.process = subprocess.Popen([driver, "--port={}".format(self.port)], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                            env=dict(os.environ, HOME=self.profile))
            self.wait_for_driver()
            arguments = ARGUMENTS + ["--user-data-dir=" + self.profile,
                                     "--window-size={},{}".format(self.width, self.height)]
            options = {"binary": browser, "args": arguments, "perfLoggingPrefs": {"enableNetwork": True}}
            capabilities = {"browserName": "chrome", "goog:chromeOptions": options,
                            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self.session = answer["sessionId"]
            self.cdp("Emulation.setDeviceMetricsOverride",
                     {"width": self.width, "height": self.height, "deviceScaleFactor": 1, "mobile": False})
            self.cdp("Emulation.setEmulatedMedia", {"features": [
                {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}]})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self.call("DELETE", "/session/" + self.session)
        except (OSError, RuntimeError):
            pass
        if self.process:
            self.process.terminate()
            self.process.wait(10)
        shutil.rmtree(self.profile, ignore_errors=True)

    def wait_for_driver(self):
        for _ in range(200):
            try:
                if self.call("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("chromedriver does not answer")

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and value.get("error"):
            raise RuntimeError("{}: {}".format(value["error"], value.get("message", "").split("\n")[0]))
        return value

    def post(self, path, body):
        return self.call("POST", "/session/{}/{}".format(self.session, path), body)

    def get(self, path):
        return self.call("GET", "/session/{}/{}".format(self.session, path))

    def cdp(self, command, parameters):
        return self.post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        self.post("url", {"url": url})

    def run(self, script, *arguments):
        return self.post("execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script, what, seconds=60):
        """Until the script's value is true; returns it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run("return " + script)
            if value:
                return value
            time.sleep(0.03)
        raise AssertionError("waited {} s for {}".format(seconds, what))

    def open_report(self, path, fragment=""):
        """Opens a page afresh and waits until it has drawn."""
        self.open("about:blank")
        self.open("file://{}{}".format(path, "#" + fragment if fragment else ""))
        return int(self.wait("document.documentElement.dataset.ready || "
                             "!document.getElementById('failure').hidden && -1", "the page to be ready"))

    def click_at(self, x, y):
        self.point_at(x, y, click=True)

    def point_at(self, x, y, click=False):
        actions = [{"type": "pointerMove", "duration": 0, "x": int(x), "y": int(y), "origin": "viewport"}]
        if click:
            actions += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.post("actions", {"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
                                           "actions": actions}]})

    def drag(self, x, y, to_x, to_y):
        """With the button held, by way of the middle."""
        places = [(x, y), ((x + to_x) / 2, (y + to_y) / 2), (to_x, to_y)]
        moves = [{"type": "pointerMove", "duration": 20, "x": int(round(a)), "y": int(round(b)), "origin": "viewport"}
                 for a, b in places]
        actions = moves[:1] + [{"type": "pointerDown", "button": 0}] + moves[1:] + [{"type": "pointerUp", "button": 0}]
        self.post("actions", {"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
                                           "actions": actions}]})

    def click(self, selector):
        element = self.post("element", {"using": "css selector", "value": selector})[ELEMENT]
        self.post("element/{}/click".format(element), {})

    def type(self, text):
        """Types into what has the focus; names of KEYS stand for keys."""
        actions = []
        for key in [KEYS[text]] if text in KEYS else text:
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.post("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def log(self, kind):
        return self.post("se/log", {"type": kind})

    def requests(self):
        """Addresses that pages asked for since the last call."""
        addresses = []
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.append(message["params"]["request"]["url"])
        return addresses

    def screenshot(self, path):
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.get("screenshot")))


def main(page, output, width, height, fragment="", theme="light", script=""):
    with Browser(int(width), int(height), theme == "dark") as browser:
        print("ready after {} ms".format(browser.open_report(os.path.abspath(page), fragment)))
        if script:
            browser.run(script)
        time.sleep(0.4)
        browser.screenshot(output)
        for entry in browser.log("browser"):
            print(entry["level"], entry["message"])


if __name__ == "__main__":
    main(*sys.argv[1:])
