#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""spent.py FILE COMMAND... - runs the command, and appends to FILE the seconds of processor that it took, with all that
it started. Those whom nobody waited for (AFL++ kills its fork servers and leaves) are waited for here."""
import ctypes
import os
import resource
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
status = subprocess.run(sys.argv[2:]).returncode
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "a") as file:
    print(f"{used.ru_utime + used.ru_stime:.2f}", file=file)
sys.exit(status if status >= 0 else 128 - status)
