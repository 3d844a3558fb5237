# SPDX-License-Identifier: MIT
"""The pairs of pairs.c, called from Python:  pairs_from_python.py LIBRARY THREADS PAIRS DEPTH

For profilers that trace Python processes only.
"""
import ctypes
import sys

run = ctypes.CDLL(sys.argv[1]).pairs_run
run.argtypes = (ctypes.c_uint, ctypes.c_ulong, ctypes.c_uint, ctypes.c_int)
sys.exit(run(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), 0) != 0)
