# SPDX-License-Identifier: MIT
"""Faults: what is done to a traced program, or by it, that must neither harm it nor make its capture a lie.

Each test runs a victim bare and traced and compares (`compare` in faults.py); then the capture is read by the decoder
of tests/trace and by the command.  SCTMEM_FAULT_FULL=1 asks for the full counts (1,000 kills, every n-th call); what
CI runs is a sample of them.  What a machine cannot do is skipped, and the line says what.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "trace"))

import pytest  # noqa: E402

pytest.register_assert_rewrite("faults")

import recording  # noqa: E402

# Nothing here takes long: what does, hangs.
recording.RUN_SECONDS_MAX = 60

from fixtures import pytest_configure, tools, trace, victim  # noqa: E402,F401
