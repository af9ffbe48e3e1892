# SPDX-License-Identifier: MIT
"""judges.py - holds a changed core against everything that should notice: recorded answers, random
sequences beside the naive tracker, fuzz corpora, suites.

Harness and suites are compiled once, with the core as it is but every public function of it weak; each
changed core is one object file, whose functions replace those. So a verdict costs one compile of the
core and some links. Suites that look at the core's inside (kst__...) are compiled anew, and asked last.
"""
import os
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core"
VECTORS = sorted(str(p) for p in (ROOT / "tests/vectors").glob("*.vec.gz"))
FLAGS = ["-std=c11", "-g1", "-w"]
PLAIN = ["-O1"]
SANITIZED = ["-Og", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
DEFAULT_KIT = ("swiss", "wheel")
ENVIRONMENT = dict(os.environ, CK_FORK="no", ASAN_OPTIONS="exitcode=99:detect_leaks=0",
                   UBSAN_OPTIONS="exitcode=99", LC_ALL="C")
RUNS = 1500  # random sequences

# Suites whose answers come through public calls alone; those that call the core's inside, or set its limits.
OUTER = ["test_world", "test_track", "test_stories", "test_event",
         "test_extras", "test_settings", "test_planted", "test_restore", "test_print", "test_memory"]
INNER = ["test_reasons", "test_expect", "test_defrag", "test_help", "test_parse", "test_tuple", "test_index",
         "test_timer", "test_table"]

# Targets of the fuzzers likewise, and what the Makefile links with them.
FUZZ_OUTER = ["track"]
FUZZ_INNER = ["tcp", "parse", "index", "timer", "text"]
FUZZ_WITH = {"parse": ["harness/replay/link.c"], "tcp": ["harness/agree/describe.c"],
             "track": ["harness/agree/describe.c"], "text": ["harness/agree/vec.c", "harness/replay/link.c"]}


def fuzz_sources(target):
    return [ROOT / s for s in [f"harness/fuzz/{target}.c", "harness/fuzz/driver.c", "harness/fuzz/mutate.c",
                               *FUZZ_WITH.get(target, [])]]


def run(command, limit_s=120, cwd=None):
    """Returns (exit status, output); 'hang' if it took longer."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd,
                              timeout=limit_s, env=ENVIRONMENT, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        return "hang", (e.stdout or b"").decode("utf-8", "replace")


def must(command):
    status, output = run(command, 600)
    if status != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{output}")
    return output


class Verdict:
    """Who noticed: '' nobody; else the kind of oracle, and which input or test."""

    def __init__(self, oracle="", witness=""):
        self.oracle, self.witness = oracle, witness

    def __bool__(self):
        return self.oracle != ""


def kit_of(path):
    """The back ends with which a change in this file of core/ shows."""
    name = Path(path).stem
    index = name[6:] if name.startswith("index_") and name != "index_group" else DEFAULT_KIT[0]
    timer = name[6:] if name.startswith("timer_") else DEFAULT_KIT[1]
    return index, timer


def kit_flags(kit):
    return [f"-DKST_INDEX={kit[0]}", f"-DKST_TIMER={kit[1]}"]


def inner(rooms):
    """Who looks inside these rooms."""
    about = {"index": ["test_index", "index"], "timer": ["test_timer", "timer"], "table": ["test_table", "test_expect"],
             "help": ["test_help", "test_expect"], "parse": ["test_parse", "parse", "test_reasons"],
             "tuple": ["test_tuple"], "pool": ["test_table", "test_expect"], "expect": ["test_expect", "test_help"],
             "defrag": ["test_defrag", "test_reasons"], "proto": ["test_parse", "tcp", "test_reasons"],
             "track": ["test_expect", "test_help", "test_table", "test_defrag"], "event": ["test_expect"],
             "calls": ["test_expect", "test_help", "test_table", "text"], "checksum": ["test_parse"],
             "print": ["text"], "base": ["test_timer"], "hash": ["test_tuple"]}
    return list(dict.fromkeys(name for room in rooms for key in about if room.startswith(key)
                              for name in about[key]))


class Bench:
    """The harness and the suites, compiled once below `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.check = must(["pkg-config", "--libs", "check"]).split()
        self.limits = {}
        self.programs = {}
        self.fuzzed = []
        self._prepare()

    def _object(self, source):
        out = self.folder / f"{'_'.join(source.relative_to(ROOT).with_suffix('').parts)}.o"
        newest = max(p.stat().st_mtime for p in [*CORE.glob("*.h"), *ROOT.glob("harness/*.h"),
                                                 *ROOT.glob("harness/*/*.h"), *ROOT.glob("tests/*.h"), source])
        if not out.exists() or out.stat().st_mtime < newest:
            # -include: whatever the source says of KST_STATIC comes too late.
            must(["gcc", *FLAGS, "-O1", "-fPIC", "-DKST_IMPLEMENTATION", f"-I{CORE}", "-include", "harness/bugs/before.h", "-include",
                  "keepstate.h", f"-I{ROOT}", "-c", source, "-o", out])
            must(["objcopy", "--wildcard", "--weaken-symbol=kst_*", out])
        return out

    def _prepare(self):
        self.sources = {"vectors": (sorted((ROOT / "harness/agree").glob("*.c")), ["-lpcap", "-lz"])}
        for target in FUZZ_OUTER:
            self.sources[target] = (fuzz_sources(target), ["-lpcap", "-lz"])
            self.fuzzed.append(target)
        for suite in OUTER:
            self.sources[suite] = ([ROOT / f"tests/{suite}.c"], self.check)

    def objects(self, name):
        """Everything of a judge but the core."""
        if name not in self.programs:
            sources, libraries = self.sources[name]
            self.programs[name] = [str(self._object(s)) for s in sources] + libraries
        return self.programs[name]

    def arguments(self, name):
        if name == "vectors":
            return ["--first", *VECTORS]
        if name in FUZZ_OUTER + FUZZ_INNER:
            corpus = [d for d in (ROOT / "corpus" / name, ROOT / "corpus/regress" / name) if d.is_dir()]
            return [str(d) for d in corpus] or ["--seed", "1", "--runs", str(RUNS), "--keep", "/dev/null",
                                                   "--no-shrink"]
        return []

    def prebuild(self):
        for name in self.sources:
            self.objects(name)


class Trial:
    """A copy of core/ with a change, in a folder of its own."""

    def __init__(self, bench, folder, kit):
        self.bench, self.folder, self.kit = bench, Path(folder), kit
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "core").mkdir(exist_ok=True)
        for room in CORE.glob("*.h"):
            (self.folder / "core" / room.name).write_text(room.read_text())
        (self.folder / "core.c").write_text('#define KST_IMPLEMENTATION\n#include "keepstate.h"\n')

    def core(self, flags, chosen=None, name="core.o"):
        """The core as one object, None if it does not compile."""
        out = self.folder / name
        status, self.complaint = run(["gcc", *FLAGS, *flags, *(chosen or kit_flags(self.kit)),
                                      f"-I{self.folder}/core", "-c", self.folder / "core.c", "-o", out])
        return out if status == 0 else None

    def ask(self, name, core, flags, arguments=None):
        """Runs a judge with this core; (status, output)."""
        program = self.folder / name
        sanitize = [f for f in flags if f.startswith("-fsanitize")]
        must(["gcc", *sanitize, core, *self.bench.objects(name), "-o", program])
        return run([program, *(arguments or self.bench.arguments(name))],
                   self.bench.limits.get((name, bool(sanitize)), 120), cwd=ROOT)

    def inner(self, name, flags):
        """A suite or target that looks inside, compiled with the changed core."""
        target = name in FUZZ_INNER
        sources = fuzz_sources(name) if target else [ROOT / f"tests/{name}.c"]
        program = self.folder / name
        status, output = run(["gcc", *FLAGS, *flags, *kit_flags(self.kit), f"-I{self.folder}/core", f"-I{ROOT}/tests",
                              *sources, *(["-lpcap", "-lz"] if target else self.bench.check), "-o", program])
        if status != 0:
            return Verdict("tests", f"{name}: does not compile")
        return verdict(name, *run([program, *self.bench.arguments(name)], 240, cwd=ROOT))


def verdict(name, status, output):
    """What a judge's exit status and words come to."""
    if status == 0:
        return Verdict()
    where = witness(name, output)
    if status == "hang":
        return Verdict("crash", f"{name}: does not end")
    if "AddressSanitizer" in output or "runtime error:" in output or "Assertion `" in output or \
            (isinstance(status, int) and status < 0 and not re.search("FAILED|DISAGREEMENT", output)):
        return Verdict("crash", where)
    if re.search("BREAK the table|the table is broken", output):
        return Verdict("invariants", where)
    return Verdict("tests" if name.startswith("test_") else "model", where)


def witness(name, output):
    for pattern in (r"case ([^,\n]+), packet (\d+)", r"--seed (\d+), run (\d+)", r"while doing ([^\n]+)",
                    r"test_\w+\.c:\d+:[FE]:\w+:([^\n:]+)", r"SUMMARY: ([^\n]{0,80})", r"Assertion `([^\n]{0,80})"):
        found = re.search(pattern, output)
        if found:
            return f"{name}: {re.sub('/[^ ]*/core/', '', ' '.join(found.groups()))}"
    return name


def measure(bench, trial, builds=(PLAIN, SANITIZED)):
    """How long each judge takes with a clean core: ten times that is a hang. Whoever complains of the
    clean core is no judge."""
    for flags in builds:
        core = trial.core(flags)
        for name in bench.sources:
            begin = time.time()
            status, output = trial.ask(name, core, flags)
            if status != 0:
                raise SystemExit(f"the clean core, {name}:\n{output[-4000:]}")
            bench.limits[name, flags is SANITIZED] = 10 * (time.time() - begin) + 5


def judge(bench, trial, inner=(), builds=(PLAIN, SANITIZED)):
    """The first that notices, cheap ones first. None if the core does not compile."""
    for flags in builds:
        core = trial.core(flags)
        if core is None:
            return None
        for name in bench.sources:
            found = verdict(name, *trial.ask(name, core, flags))
            if found:
                return found
    for name in inner:
        found = trial.inner(name, SANITIZED)
        if found:
            return found
    return Verdict()
