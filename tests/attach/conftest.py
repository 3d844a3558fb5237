# SPDX-License-Identifier: MIT
"""Attaching to running processes, and detaching: what is recorded, and that nothing is harmed.

Each target keeps its own journal and notices harm itself: memory of another, a wait cut short, a changed register or
errno.  SCTMEM_ATTACH_TIMES=100 makes the long form, which repeats each case so often; CI runs a few rounds.  What a
machine cannot do is skipped, and the line says what.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "trace"))

import pytest  # noqa: E402

pytest.register_assert_rewrite("targets")

import fixtures  # noqa: E402

fixtures.VICTIMS.append(pathlib.Path(__file__).resolve().parent / "victims")

from fixtures import pytest_configure, tools, victim  # noqa: E402,F401
from targets import attacher, open_folder  # noqa: E402,F401
