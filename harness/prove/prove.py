#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""prove.py - what is proved of the core, by Frama-C: see README.md in harness/.

EVA interprets each entry of eva.c; WP proves the contracts of contracts.acsl with Z3, functions whose
names are given there. Writes a table to results.md; a function that the old table has proved and this run
has not is an error, and then the old table stays.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # before weave comes in: nothing is left in the tree
import weave  # pylint: disable=wrong-import-position

HERE = pathlib.Path(__file__).resolve().parent
FRAMA_C = ["frama-c", "-machdep", "gcc_x86_64", "-c11"]
EVA = ["-eva-slevel", "50", "-eva-ilevel", "16", "-eva-split-return", "full", "-eva-interprocedural-splits",
       "-eva-split-limit", "2000", "-eva-domains", "symbolic-locations,equality",
       "-eva-msg-key=-final-states,-initial-state", "-metrics", "-metrics-eva-cover"]
# What EVA believes instead of interpreting it: the contract of a function that WP proves, and that the
# table's own calls touch no packet.
BELIEVED = ["kst__ip6", "kst_expect", "kst__pptp_begin", "kst__calls_end"]


def run(arguments, limit):
    """What a command prints; None if it takes too long. Not where another keepstate.h is: Frama-C looks there first."""
    try:
        return subprocess.run(arguments, capture_output=True, text=True, timeout=limit,
                              check=False, cwd=HERE).stdout
    except subprocess.TimeoutExpired:
        return None


def say(text):
    print(text, flush=True)


def homes(core):
    """Of each room the functions that it defines, with the lines that they take."""
    found = {}
    for room in sorted(core.glob("*.h")):
        text = room.read_text(encoding="utf-8")
        for m in re.finditer(r"^[A-Za-z][^\n;#]*?\b(kst_\w+)\(", weave.bare(text), re.M):
            place = weave.definition(weave.bare(text), m[1])
            if place:
                lines = [text.count("\n", 0, at) + 1 for at in (place[0], place[2])]
                found[m[1]] = (room.name, *lines)
    return found


def eva(core, out, only, pool):
    """(statements, covered, entries, alarms) by function."""
    parts = [p for p in weave.sections([HERE / "contracts.acsl"])
             if p[1] in BELIEVED and p[0] == ""]
    contracts = weave.sections([HERE / "splits.acsl"]) + [(k, n, p[:1]) for k, n, p in parts]
    weave.weave(core, contracts, out / "eva")
    source = HERE / "eva.c"
    said = run(FRAMA_C + [f"-cpp-extra-args=-I{out / 'eva'} -DKST_NO_SIMD", str(source), "-save", str(out / "eva.sav")],
               300)
    if said is None or not (out / "eva.sav").exists():
        sys.exit(f"prove.py: Frama-C cannot read the core:\n{said}")
    text = source.read_text(encoding="utf-8")
    lengths = {m[1]: re.findall(r"TRY\(name, (\d+)\)", m[0]) for m in re.finditer(r"^#define (\w+)\(name\)(?:.*\\\n)*.*", text, re.M)}
    entries = re.findall(r"^([A-Z]+)\((\w+)\)$", text, re.M)
    where = homes(core)
    found = collections.defaultdict(lambda: [0, 0, set(), set()])
    failed = []
    for kind, name in entries:
        begin, alarms = time.time(), 0
        if only and name not in only:
            continue
        believed = ",".join(b for b in BELIEVED if b != "kst__" + name)
        commands = [["frama-c", "-load", str(out / "eva.sav"), "-main", f"eva_{name}_{length}", "-eva", *EVA,
                     "-eva-use-spec", believed] for length in lengths[kind]]
        for length, said in zip(lengths[kind], pool.map(lambda c: run(c, 120), commands)):
            if said is None or "ANALYSIS SUMMARY" not in said:
                failed.append(name)
                say(f"      {name} of {length} bytes: no result in two minutes")
                continue
            for m in re.finditer(r"^  (\w+): (\d+) stmts out of (\d+)", said, re.M):
                f = found[m[1]]
                f[0], f[1] = int(m[3]), max(f[1], int(m[2]))
                f[2].add(name)
            for m in re.finditer(r"^\[eva:alarm\] (\S+):(\d+): Warning:\s*(.*(?:\n  .*)*)", said, re.M):
                alarms += 1
                room, line = pathlib.Path(m[1]).name, int(m[2])
                inside = [n for n, (r, a, b) in where.items() if r == room and a <= line <= b]
                found[inside[0] if inside else name][3].add(f"{room}:{line}: {' '.join(m[3].split())}")
                say(f"      {name} of {length} bytes: {room}:{line}: {' '.join(m[3].split())}")
        say(f"{'ok' if alarms == 0 and name not in failed else 'FAIL':5} EVA {name:16} {len(lengths[kind]):3} lengths "
            f"{alarms:4} alarms {time.time() - begin:6.0f} s")
    for function in list(found):
        if found[function][2] & set(failed):
            found[function][3].add("an entry that reaches it took too long")
    return {f: v for f, v in found.items() if f in where}


def wp(core, out, only, pool):
    """[goals, proved, what is not] by function."""
    contracts = weave.sections([HERE / "contracts.acsl"])
    weave.weave(core, contracts, out / "wp")
    (out / "wp.c").write_text('#define KST_IMPLEMENTATION\n#include "keepstate.h"\n', encoding="utf-8")
    names = [n for kind, n, _ in contracts if kind == "" and (not only or n in only)]
    found = collections.OrderedDict()
    os.environ["WHY3CONFIG"] = str(out / "why3.conf")
    run(["why3", "config", "detect"], 60)
    commands = [FRAMA_C + [f"-cpp-extra-args=-I{out / 'wp'} -DKST_NO_SIMD", str(out / "wp.c"), "-wp", "-wp-rte",
                           "-wp-no-init-const", "-wp-prover", "cvc4,z3", "-wp-timeout", "3", "-wp-par", "2",
                           "-wp-fct", name] for name in names]
    for name, said in zip(names, pool.map(lambda c: run(c, 60) or "", commands)):
        if "User Error" in said:
            sys.exit(f"prove.py: Frama-C cannot read the contracts:\n{said}")
        m = re.search(r"^\[wp\] Proved goals: +(\d+) / (\d+)", said, re.M)
        proved, goals = (int(m[1]), int(m[2])) if m else (0, 0)
        not_proved = [re.sub(rf"^typed_{name.replace('__', '_')}_", "", g) for g in re.findall(
            r"^\[wp\] \[(?:Failed|Timeout|Unknown|Stepout|Canceled)\] Goal (\w+)", said, re.M)]
        found[name] = [goals, proved, not_proved or ([] if m else ["no result in a minute"])]
        say(f"{'ok' if goals and proved == goals else '-':5} WP  {name:28} {proved:3} of {goals:3} goals  "
            f"{' '.join(found[name][2][:4])}")
    return found


def table(where, by_eva, by_wp, reasons):
    lines = []
    for name in sorted(set(by_eva) | set(by_wp) | set(reasons), key=lambda n: where[n]):
        e, w = by_eva.get(name), by_wp.get(name)
        eva_cell = "" if not e else f"{len(e[3])} alarms" if e[3] else "taken on trust" if e[1] == 0 else \
            f"**proved**, {e[1]} of {e[0]} statements: {', '.join(sorted(e[2]))}"
        wp_cell = "" if not w else f"**proved**, {w[0]} goals" if w[0] and w[0] == w[1] else f"{w[1]} of {w[0]} goals"
        why = reasons.get(name, "")
        if not why and (e and e[3] or w and w[1] < w[0]):
            why = "; ".join(sorted(e[3]) if e and e[3] else []) + ", ".join(w[2][:4] if w else [])
        lines.append(f"| `{name}` | {where[name][0]} | {eva_cell} | {wp_cell} | {why} |")
    return lines


def proved(lines):
    """The (function, way) pairs that a table has proved."""
    found = set()
    for line in lines:
        cells = [c.strip() for c in line.split("|")]
        if len(cells) > 5 and cells[1].startswith("`"):
            found |= {(cells[1].strip("`"), way) for way, c in (("EVA", cells[3]), ("WP", cells[4])) if "**proved**" in c}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", type=pathlib.Path, default=HERE.parent.parent / "core")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="entries of eva.c, functions of contracts.acsl")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    out, results = given.build.resolve(), HERE / "results.md"
    out.mkdir(parents=True, exist_ok=True)
    where = homes(given.core)
    try:
        with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
            by_eva = eva(given.core.resolve(), out, given.only, pool)
            by_wp = wp(given.core.resolve(), out, given.only, pool)
    except weave.Rot as rot:
        sys.exit(f"prove.py: {rot}")
    reasons = dict(re.findall(r"^(kst\w+): (.*)$", (HERE / "unproved.txt").read_text(encoding="utf-8"), re.M))
    if set(reasons) - set(where):
        sys.exit(f"prove.py: unproved.txt has what the core has not: {set(reasons) - set(where)}")
    lines = table(where, by_eva, by_wp, reasons)
    now = proved(lines)
    counts = [len({f for f, way in now if way == w}) for w in ("EVA", "WP")]
    goals, all_goals = sum(w[1] for w in by_wp.values()), sum(w[0] for w in by_wp.values())
    summary = (f"{len({f for f, _ in now})} functions: {counts[0]} by EVA, {counts[1]} by WP, of which "
               f"{goals} of {all_goals} goals are proved.")
    text = (HERE / "results.head").read_text(encoding="utf-8").replace("SUMMARY", summary) + "\n".join(lines) + "\n"
    (out / "results.md").write_text(text, encoding="utf-8")
    say("\n" + summary)
    if given.only:
        return 0
    old = proved(results.read_text(encoding="utf-8").splitlines()) if results.exists() else set()
    for function, way in sorted(old - now):
        say(f"LOST  {function} was proved by {way}" +
            ("" if function in where else "; it is gone from the core: take its row out of results.md"))
    if old - now:
        return 1
    results.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
