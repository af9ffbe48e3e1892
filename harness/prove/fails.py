#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fails.py - that `make prove` can fail: plants mistakes in a copy of the core, each of which must be noticed."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parent.parent / "core"
PLANTED = [  # what, room, old, new, where it must show, how
    ("an over-read of an IPv6 extension header", "parse.h", "if (here < ip.l4_at + (fragment ? 4u : 2u))",
     "if (here < ip.l4_at + (fragment ? 4u : 1u))", "ip6", "alarms"),
    ("a UDP header that need not be there", "proto_udp.h", "    if (p->l4_here < 8)\n        return KST_REASON_L4_SHORT;\n"
     "    const uint32_t length", "    const uint32_t length", "udp", "alarms"),
    ("a TCP option that is longer than what is left", "proto_tcp.h", "if (*size < 2 || *size > s->options_bytes - *at)",
     "if (*size < 2)", "kst__tcp_option", "goals"),
    ("an endless loop: a TCP option of length 0", "proto_tcp.h", "if (*size < 2 || *size > s->options_bytes - *at)",
     "if (*size > s->options_bytes - *at)", "kst__tcp_option", "goals"),
    ("an endless loop: an extension header of length 0", "parse.h", "if (walked == KST_PARSE_EXT_MAX) {",
     "if (walked-- == KST_PARSE_EXT_MAX) {", "kst__ip6", "goals"),
    ("a header folded into the end of the message", "help_sip.h", "    return text->at < text->end;\n}\n\n/* Over blanks, and",
     "    return true;\n}\n\n/* Over blanks, and", "kst__sip_folded", "goals"),
]

missed = 0
for what, room, old, new, where, how in PLANTED:
    with tempfile.TemporaryDirectory() as folder:
        core = pathlib.Path(folder) / "core"
        shutil.copytree(CORE, core)
        text = (core / room).read_text(encoding="utf-8")
        if text.count(old) != 1:
            sys.exit(f"fails.py: {room} has this {text.count(old)} times: {old}")
        (core / room).write_text(text.replace(old, new), encoding="utf-8")
        said = subprocess.run([sys.executable, str(HERE / "prove.py"), "--core", str(core), "--build",
                               f"{folder}/build", "--only", where], capture_output=True, text=True, check=False).stdout
    line = next((line for line in said.splitlines() if f" {where} " in line and how in line), "")
    noticed = line != "" and not line.startswith("ok")
    missed += not noticed
    print(f"{'noticed' if noticed else 'MISSED':8} {what}: {' '.join(line.split())[:100]}", flush=True)
sys.exit(missed > 0)
