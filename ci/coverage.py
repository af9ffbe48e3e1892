#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coverage.py - which lines, branches and conditions (MC/DC) of core/ the tests and corpora reach, as HTML
and as a summary; what is not reached must stand in ci/uncovered.txt, with its reason.

The core is one instrumented object for all programs, whatever their back ends, so that what they reach adds
up; suites that bring their own core are compiled under the name of that object's source for the same reason.
Needs clang-19 for MC/DC: ci/deps proof.
"""
import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "harness/bugs"))
import judges  # noqa: E402

KITS = [("swiss", "wheel"), ("chain", "hashed"), ("cuckoo", "lists"), ("robin", "heap")]
MAPPED = ["-O0", "-g", "-fprofile-instr-generate", "-fcoverage-mapping", "-fcoverage-mcdc",
          "-Xclang", "-fmcdc-max-conditions=32", "-Xclang", "-fmcdc-max-test-vectors=100000"]
# The hashes that KST_HASH did not choose are called by their suite alone.
CORE = """#define KST_IMPLEMENTATION
#include "keepstate.h"
uint64_t (*const hashes[])(const uint64_t *, const uint64_t *, uint32_t, uint64_t) = {kst__hash_sip24, kst__hash_fold};
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build/coverage"))
    parser.add_argument("--version", default="19")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("only", nargs="*", help="suites and targets to run anew; what the others reached is kept")
    options = parser.parse_args()
    build = Path(options.build)
    clang, tool = f"clang-{options.version}", f"-{options.version}"
    bench = judges.Bench(build / "objects")
    for old in build.glob("raw/*.profraw"):
        if not options.only or old.name.split("-")[0] in options.only:
            old.unlink()

    def mapped(name, body):
        """An instrumented object: `body` in a source that is called core.c wherever it lies."""
        folder = build / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core.c").write_text(body)
        status, output = judges.run([clang, "-std=c11", "-w", "-DKST_ALL_BACK_ENDS", *MAPPED, f"-I{judges.CORE}",
                                     f"-I{ROOT}/tests", "-c", "core.c", "-o", "core.o"], 600, folder)
        if status != 0:
            raise SystemExit(output)
        return folder / "core.o"

    def program(name, *parts):
        out = build / name / "program"
        out.parent.mkdir(exist_ok=True)
        judges.must([clang, "-fprofile-instr-generate", *parts, "-o", out])
        return out

    def call(name, command, kit=KITS[0]):
        environment = dict(os.environ, LLVM_PROFILE_FILE=str(build / f"raw/{name}-{kit[0]}-%p.profraw"), CK_FORK="no",
                           INDEX=kit[0], TIMER=kit[1])
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
        if done.returncode != 0:
            raise SystemExit(f"{name}:\n{done.stdout.decode(errors='replace')[-3000:]}")

    core = mapped("core", CORE)

    def outer(name):
        """The harness and suites that the public calls suffice, as judges.py has them."""
        made = program(name, core, *bench.objects(name))
        for kit in KITS[:1] if name in judges.FUZZ_OUTER else KITS: # an input of a fuzzer names its pair
            call(name, [made, *bench.arguments(name, kit)], kit)

    def inner(name):
        """Those that look inside: with a core of their own."""
        fuzzed = name in judges.FUZZ_INNER
        source = ROOT / (f"harness/fuzz/{name}.c" if fuzzed else f"tests/{name}.c")
        more = judges.fuzz_sources(name)[1:] if fuzzed else judges.SUITE_WITH.get(name, [])
        made = program(name, mapped(name, f'#include "{source}"\n'), *more, "-std=c11", "-w", f"-I{judges.CORE}",
                       *(["-lpcap", "-lz"] if fuzzed else bench.check))
        for kit in KITS[:1] if fuzzed else KITS:
            call(name, [made, *bench.arguments(name)], kit)

    def command(_):
        """The program that people use, with the captures and rules."""
        parts = [*sorted((ROOT / "harness/replay").glob("*.c")), *sorted((ROOT / "harness/rules").glob("*.c")),
                 ROOT / "harness/agree/describe.c"]
        made = program("command", core, *(p for p in parts if p.name != "core.c"), "-std=c11", "-w", "-DKST_ALL_BACK_ENDS",
                       f"-I{judges.CORE}", "-lpcap")
        for script in ("captures", "replay", "rules"):
            call("command", [ROOT / f"tests/{script}.sh", made])

    jobs = {name: outer for name in bench.sources}
    jobs.update({name: inner for name in judges.INNER + judges.FUZZ_INNER})
    jobs["command"] = command
    with ThreadPoolExecutor(options.jobs) as pool:
        for job in [pool.submit(run, name) for name, run in jobs.items() if not options.only or name in options.only]:
            job.result()

    profile = build / "all.profdata"
    judges.must([f"llvm-profdata{tool}", "merge", "-sparse", *sorted(build.glob("raw/*.profraw")), "-o", profile])
    of = [core, f"-instr-profile={profile}"]
    judges.must([f"llvm-cov{tool}", "show", *of, "-format=html", "-show-branches=count", "-show-mcdc",
                 f"-output-dir={build}/html", str(judges.CORE)])
    data = json.loads(judges.must([f"llvm-cov{tool}", "export", *of, str(judges.CORE)]))["data"][0]
    return summary(data, lines_never(judges.must([f"llvm-cov{tool}", "export", "-format=lcov", *of, str(judges.CORE)])),
                   build)


def lines_never(lcov):
    """By room: the lines that never ran. Of the preprocessor's there is nothing to run."""
    never = {}
    for line in lcov.splitlines():
        if line.startswith("SF:"):
            room = never.setdefault(Path(line[3:]).name, [])
            text = Path(line[3:]).read_text().splitlines()
        elif line.startswith("DA:") and line.endswith(",0"):
            number = int(line[3:].split(",")[0])
            if not text[number - 1].startswith("#"):
                room.append(number)
    return never


def summary(data, never, build):
    """A line a room; then all that is not reached and not explained."""
    kinds = [("lines", "lines"), ("branches", "branches"), ("mcdc", "MC/DC")]
    print(f"{'room':20}" + "".join(f"{title:>24}" for _, title in kinds))
    for entry in [*sorted(data["files"], key=lambda f: f["filename"]), {"filename": "all", "summary": data["totals"]}]:
        parts = [entry["summary"].get(kind, {"count": 0, "covered": 0}) for kind, _ in kinds]
        print(f"{Path(entry['filename']).name:20}" + "".join(
            f"{p['covered']:>8} of {p['count']:>5} {100 * p['covered'] / max(p['count'], 1):5.1f} %" for p in parts))
    reasons = read_reasons()
    missing = []
    for entry in sorted(data["files"], key=lambda f: f["filename"]):
        room = Path(entry["filename"]).name
        text = Path(entry["filename"]).read_text().splitlines()
        for line, what in uncovered(entry, never.get(room, [])):
            reason = reasons.of(room, text[line - 1])
            missing.append((room, line, what, text[line - 1].strip(), reason))
    with open(build / "uncovered.txt", "w") as out:
        for room, line, what, words, reason in missing:
            out.write(f"{room}:{line}: {what}: {words}  [{reason or 'NO REASON GIVEN'}]\n")
    unexplained = [m for m in missing if not m[4]]
    for room, line, what, words, _ in unexplained:
        print(f"{room}:{line}: {what}: {words}")
    for where, words, _ in reasons.idle():
        print(f"ci/uncovered.txt gives a reason for what is reached, or not there: {where} | {words}")
    print(f"{len(missing)} places are not reached, {len(missing) - len(unexplained)} of them for the reasons in "
          f"ci/uncovered.txt; {build}/html/index.html shows all")
    return 1 if unexplained or reasons.idle() else 0


def uncovered(entry, never):
    """(line, what) of each line that never ran and each branch that went one way only, or was never asked about."""
    seen = set()
    for branch in entry.get("branches", []):
        line, column, _, _, yes, no = branch[:6]
        if 0 in (yes, no) and (line, column) not in seen and line not in never:
            seen.add((line, column))
            yield line, f"column {column} never {'asked' if yes == no else 'true' if yes == 0 else 'false'}"
    for line in sorted(never):
        yield line, "never runs"


class Reasons(list):
    def of(self, room, line):
        for reason in self:
            if reason[0] in ("*", room) and reason[1] in line:
                self.used.add(reason)
                return reason[2]
        return None

    def idle(self):
        return [reason for reason in self if reason not in self.used]


def read_reasons():
    """`room | part of the line | reason`, a line each."""
    reasons = Reasons()
    reasons.used = set()
    for line in (ROOT / "ci/uncovered.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            reasons.append(tuple(part.strip() for part in re.split(r" \| ", line, maxsplit=2)))
    return reasons


if __name__ == "__main__":
    sys.exit(main())
