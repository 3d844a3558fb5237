# SPDX-License-Identifier: MIT
"""The fixtures of this folder are those that it shares with tests/fault."""
from fixtures import pytest_configure, tools, trace, victim  # noqa: F401
