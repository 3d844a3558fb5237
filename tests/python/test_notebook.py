# SPDX-License-Identifier: MIT
"""A notebook kernel that is recorded, driven as a front end does."""
import json
import re

import pytest

from conftest import run

DRIVE = """
import json, os, sys
import jupyter_client
manager = jupyter_client.KernelManager(kernel_name=sys.argv[1])
manager.start_kernel()
client = manager.client()
client.start_channels()
try:
    client.wait_for_ready(timeout=120)
    for code in json.loads(sys.argv[2]):
        got = []
        # Else a cell that comes while the kernel still gets over the error of the one before is left out by it.
        client.execute_interactive(code, timeout=120, stop_on_error=False, output_hook=lambda message: got.append(
            (message["msg_type"], message["content"])))
        print("RESULT " + json.dumps([entry for entry in got if entry[0] in ("display_data", "error", "stream")]))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


def drive(python, folder, kernel, *cells):
    text = run(python, "-c", DRIVE, kernel, json.dumps(cells), cwd=folder)[1]
    return [json.loads(line) for line in re.findall(r"^RESULT (.*)$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    return tmp_path_factory.mktemp("captures")


@pytest.fixture(scope="module")
def kernel(system_python, captures):
    if run(system_python, "-c", "import ipykernel, jupyter_client", check=False)[0] != 0:
        pytest.skip("no ipykernel or jupyter_client: apt-get install python3-ipykernel python3-jupyter-client")
    run(system_python, "-m", "sctmem.jupyter", "install", TMPDIR=str(captures))
    return system_python


def test_a_cell_shows_what_it_took(kernel, captures, sctmem, tmp_path):
    load, page, leaks, slip, environment = drive(
        kernel, tmp_path, "sctmem", "%load_ext sctmem", "%%sctmem_flamegraph\nx = bytearray(3 << 20)",
        "%%sctmem_flamegraph --leaks --metric leaked\ny = bytearray(5 << 20)", "%%sctmem_flamegraph --nonsense\npass",
        "import os; print(sorted(name for name in os.environ if name.startswith(('SCTMEM', 'LD_PRE'))))")
    assert load == []
    for shown in (page, leaks):
        (kind, content), = shown
        path = re.search(r'src="([^"]+\.html)"', content["data"]["text/html"]).group(1)
        assert kind == "display_data" and (tmp_path / path).read_bytes().startswith(b"<!")
    assert slip[0][0] == "error" and "unknown option --nonsense" in slip[0][1]["evalue"]
    # What the kernel starts does not get the library.
    assert environment == [["stream", {"name": "stdout", "text": "[]\n"}]]
    capture, = captures.glob("sctmem-kernel.*.bin")
    sizes = [window["kept"]["bytes"] >> 20 for window in sctmem("windows", capture)["windows"]]
    assert sizes == [3, 5, 0]


def test_a_kernel_that_is_not_recorded_says_what_to_do(kernel, tmp_path):
    run(kernel, "-m", "ipykernel", "install", "--sys-prefix", "--name", "plain")
    shown = drive(kernel, tmp_path, "plain", "%load_ext sctmem", "%%sctmem_flamegraph\nx = 1")[1]
    assert shown[0][0] == "error" and "sctmem.jupyter install" in shown[0][1]["evalue"]
