#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coverage.py - which lines, branches and conditions (MC/DC) of core/ the tests and corpora reach, as HTML
and as a summary; what is not reached must stand in ci/uncovered.txt, with its reason.

The core is one instrumented object for all programs, whatever their back ends, so that what they reach adds
up; suites that bring their own core are compiled under the name of that object's source for the same reason.
Needs clang-19 for MC/DC: ci/deps coverage.
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
# All back ends are there in every object: a function is the same everywhere.
EVERYTHING = """
const void *const every_back_end[] = {&kst_index_chain, &kst_index_cuckoo, &kst_index_robin, &kst_index_swiss,
                                      &kst_timer_wheel, &kst_timer_hashed, &kst_timer_lists, &kst_timer_heap};
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build/coverage"))
    parser.add_argument("--version", default="19")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    build = Path(options.build)
    clang, tool = f"clang-{options.version}", f"-{options.version}"
    bench = judges.Bench(build / "objects")
    for old in build.glob("raw/*.profraw"):
        old.unlink()

    def mapped(name, body, kit, *flags):
        """An instrumented object: `body` in a source that is called core.c wherever it lies."""
        folder = build / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core.c").write_text(body + EVERYTHING)
        status, output = judges.run([clang, "-std=c11", "-w", *MAPPED, *judges.kit_flags(kit), f"-I{judges.CORE}",
                                     f"-I{ROOT}/tests", *flags, "-c", "core.c", "-o", "core.o"], 600, folder)
        if status != 0:
            raise SystemExit(output)
        return folder / "core.o"

    def program(name, *parts):
        out = build / name / "program"
        out.parent.mkdir(exist_ok=True)
        judges.must([clang, "-fprofile-instr-generate", *parts, "-o", out])
        return out

    def call(name, command, **more):
        environment = dict(os.environ, LLVM_PROFILE_FILE=str(build / f"raw/{name}-%p.profraw"), CK_FORK="no", **more)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
        if done.returncode != 0:
            raise SystemExit(f"{name}:\n{done.stdout.decode(errors='replace')[-3000:]}")

    def outer(job):
        name, kit, core = job
        if name in judges.OUTER or name in bench.sources:
            made = program(f"{name}-{'-'.join(kit)}", core, *bench.objects(name))
            call(f"{name}-{kit[0]}", [made, *bench.arguments(name)])

    def inner(job):
        suite, kit = job
        core = mapped(f"{suite}-{kit[0]}", f'#include "{ROOT}/tests/{suite}.c"\n', kit)
        call(f"{suite}-{kit[0]}", [program(f"{suite}-{kit[0]}", core, *bench.check)])

    def command(_):
        """The program that people use, with the captures."""
        core = mapped("command", '#define KST_IMPLEMENTATION\n#include "keepstate.h"\n', KITS[0], "-DKST_ALL_BACK_ENDS")
        parts = [str(s) for s in (ROOT / "harness/replay").glob("*.c") if s.name != "core.c"]
        made = build / "command/keepstate"
        judges.must([clang, "-std=c11", "-w", "-fprofile-instr-generate", "-DKST_ALL_BACK_ENDS", f"-I{judges.CORE}", core, *parts, "-lpcap",
                     "-o", made])
        call("captures", [ROOT / "tests/captures.sh", made])
        call("replay", [ROOT / "tests/replay.sh", made])

    cores = {kit: mapped("core-" + "-".join(kit), '#define KST_IMPLEMENTATION\n#include "keepstate.h"\n', kit)
             for kit in KITS}
    with ThreadPoolExecutor(options.jobs) as pool:
        work = [pool.submit(outer, (name, kit, cores[kit])) for kit in KITS for name in bench.sources
                if kit == KITS[0] or name in bench.fuzzed or name in ("vectors", "test_world")]
        work += [pool.submit(inner, (suite, kit)) for kit in KITS for suite in judges.INNER
                 if kit == KITS[0] or suite in ("test_index", "test_timer", "test_table")]
        work.append(pool.submit(command, None))
        for job in work:
            job.result()

    profile = build / "all.profdata"
    judges.must([f"llvm-profdata{tool}", "merge", "-sparse", *sorted(build.glob("raw/*.profraw")), "-o", profile])
    of = [cores[KITS[0]], f"-instr-profile={profile}"]
    judges.must([f"llvm-cov{tool}", "show", *of, "-format=html", "-show-branches=count", "-show-mcdc",
                 f"-output-dir={build}/html", str(judges.CORE)])
    data = json.loads(judges.must([f"llvm-cov{tool}", "export", *of, str(judges.CORE)]))["data"][0]
    return summary(data, lines_never(judges.must([f"llvm-cov{tool}", "export", "-format=lcov", *of, str(judges.CORE)])),
                   build)


def lines_never(lcov):
    """By room: the lines that never ran."""
    never = {}
    for line in lcov.splitlines():
        if line.startswith("SF:"):
            room = never.setdefault(Path(line[3:]).name, [])
        elif line.startswith("DA:") and line.endswith(",0"):
            room.append(int(line[3:].split(",")[0]))
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
        checking = lines_of_checks(text)
        for line, what in uncovered(entry, never.get(room, [])):
            reason = CHECKS if line in checking else reasons.pop_for(room, text[line - 1])
            missing.append((room, line, what, text[line - 1].strip(), reason))
    with open(build / "uncovered.txt", "w") as out:
        for room, line, what, words, reason in missing:
            out.write(f"{room}:{line}: {what}: {words}  [{reason or 'NO REASON GIVEN'}]\n")
    unexplained = [m for m in missing if not m[4]]
    for room, line, what, words, _ in unexplained:
        print(f"{room}:{line}: {what}: {words}")
    print(f"{len(missing)} places are not reached, {len(missing) - len(unexplained)} of them for the reasons in "
          f"ci/uncovered.txt; {build}/html/index.html shows all")
    return 1 if unexplained else 0


def uncovered(entry, never):
    """(line, what) of each line that never ran and each branch that went one way only."""
    seen = set()
    for branch in entry.get("branches", []):
        line, column, _, _, yes, no = branch[:6]
        if (yes == 0) != (no == 0) and (line, column) not in seen and line not in never:
            seen.add((line, column))
            yield line, f"column {column} never {'true' if yes == 0 else 'false'}"
    for line in sorted(never):
        yield line, "never runs"


CHECKS = "what kst_check says of a broken table: only a bug gets there, and planted ones do (make bugs)"


def lines_of_checks(text):
    """Lines of the functions that kst_check is made of."""
    lines, inside = set(), False
    for number, line in enumerate(text, 1):
        if re.match(r"\w.*kst__\w*check(_\w+)?\(", line) and not line.endswith(";") and "checksum" not in line:
            inside = True
        if inside:
            lines.add(number)
        inside = inside and not line.startswith("}")
    return lines


class Reasons(list):
    def pop_for(self, room, line):
        for where, words, reason in self:
            if where in ("*", room) and words in line:
                return reason
        return None


def read_reasons():
    """`room | part of the line | reason`, a line each."""
    reasons = Reasons()
    for line in (ROOT / "ci/uncovered.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            reasons.append([part.strip() for part in re.split(r" \| ", line, maxsplit=2)])
    return reasons


if __name__ == "__main__":
    sys.exit(main())
