# SPDX-License-Identifier: MIT
"""judges.py - holds a changed core against everything that should notice: recorded answers, fuzz seeds and random
sequences beside the naive tracker, suites.

Harness and suites are compiled once, each a library with the core as it is inside. A changed core is a library,
too, that is found before: its public functions replace those. So a verdict costs at most a quick compile of the core
(none where switches.py has put the change behind a number), and only who looks at the core's inside (kst__...), or
sets its limits, is compiled anew, and asked last.
"""
import os
import re
import subprocess
import tarfile
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core"
VECTORS = sorted(str(p) for p in (ROOT / "tests/vectors").glob("*.vec.gz"))
FLAGS = ["-std=c11", "-g1", "-w", "-DKST_ALL_BACK_ENDS"]
PLAIN = ["-O0"]
FAST = ["-O1"]
SANITIZED = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CLIMBING = ["-O1", *SANITIZED[1:]]  # for whom much is run: slower to compile, three times as fast
DEFAULT_KIT = ("swiss", "wheel")
FUZZED = ["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all"]
ENVIRONMENT = dict(os.environ, CK_FORK="no", ASAN_OPTIONS="exitcode=99:detect_leaks=0:quarantine_size_mb=8",
                   UBSAN_OPTIONS="exitcode=99", LC_ALL="C")
RUNS = 200  # random inputs of a target, besides its seeds

# Targets of the fuzzers, and what the Makefile links with them; those that look inside, or at one room alone.
FUZZ_OUTER = ["track", "tcp", "parse", "helper", "frag", "api", "text", "nat", "rules"]
FUZZ_INNER = ["index", "timer"]
FUZZ_WORDY = ["helper", "text", "rules"]  # whose comparisons are traced, as in the Makefile
FUZZ_WITH = {"parse": ["harness/replay/link.c"], "text": ["harness/agree/vec.c", "harness/replay/link.c"],
             "rules": sorted(str(p.relative_to(ROOT)) for p in (ROOT / "harness/rules").glob("*.c"))}

# Likewise the suites. What stands in NOT_ABOUT has nothing of the core to judge.
SUITE_WITH = {"test_rules": sorted((ROOT / "harness/rules").glob("*.c"))}
NOT_ABOUT = ["test_prepare"]


def looks_inside(suite):
    return re.search(r"\bkst__\w+\(|#define KST_[A-Z_]+(?!\w)(?<!KST_IMPLEMENTATION)", suite.read_text()) is not None


SUITES = [p for p in sorted((ROOT / "tests").glob("test_*.c")) if p.stem not in NOT_ABOUT]
INNER = [p.stem for p in SUITES if looks_inside(p)]
OUTER = [p.stem for p in SUITES if p.stem not in INNER]


def fuzz_sources(target):
    return [ROOT / s for s in [f"harness/fuzz/{target}.c", "harness/fuzz/driver.c", "harness/fuzz/mutate.c",
                               "harness/agree/describe.c", *FUZZ_WITH.get(target, [])]]


def run(command, limit_s=120, cwd=None, **environment):
    """Returns (exit status, output); 'hang' if it took longer."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd,
                              timeout=limit_s, env=dict(ENVIRONMENT, **environment), stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        return "hang", (e.stdout or b"").decode("utf-8", "replace")


def run_timed(command, limit_s, **environment):
    """As run(), with the processor's seconds that it took."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=dict(ENVIRONMENT, **environment),
                                   stdin=subprocess.DEVNULL)
        timer = threading.Timer(limit_s, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return process.returncode, out.read().decode("utf-8", "replace"), usage.ru_utime + usage.ru_stime


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


def kit_of(rooms):
    """The back ends with which a change in these rooms shows."""
    index, timer = DEFAULT_KIT
    for name in (Path(room).stem for room in rooms):
        if name.startswith("index_") and name != "index_group":
            index = name[6:]
        if name.startswith("timer_"):
            timer = name[6:]
    return index, timer


class Bench:
    """The harness and the suites, compiled once below `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.check = must(["pkg-config", "--libs", "check"]).split()
        self.limits = {}
        self.programs = {}
        self.sources = {"vectors": ([*sorted((ROOT / "harness/agree").glob("*.c")),
                                     *sorted((ROOT / "harness/rules").glob("*.c"))], ["-lpcap", "-lz"])}
        for target in FUZZ_OUTER:
            self.sources[target] = (fuzz_sources(target), ["-lpcap", "-lz"])
        for suite in OUTER:
            self.sources[suite] = ([ROOT / f"tests/{suite}.c", *SUITE_WITH.get(suite, [])], self.check)
        for target in FUZZ_OUTER + FUZZ_INNER:
            self._corpus(target)

    def _corpus(self, target):
        folder = self.folder / "corpora" / target
        if not folder.is_dir():
            folder.mkdir(parents=True)
            with tarfile.open(ROOT / f"corpus/seeds/{target}.tar.gz") as seeds:
                seeds.extractall(folder)
        for once_failed in ROOT.glob(f"corpus/regress/**/{target}-*"):
            (folder / once_failed.name).write_bytes(once_failed.read_bytes())

    def _object(self, source, kind="", compiler=("gcc", "-O1", "-fPIC")):
        out = self.folder / f"{'_'.join(source.relative_to(ROOT).with_suffix('').parts)}{kind}.o"
        newest = max(p.stat().st_mtime for p in [*CORE.glob("*.h"), *ROOT.glob("harness/*.h"),
                                                 *ROOT.glob("harness/*/*.h"), *ROOT.glob("tests/*.h"), source])
        if not out.exists() or out.stat().st_mtime < newest:
            # -include: whatever the source says of KST_STATIC comes too late. Position-independent code of gcc leaves
            # every call of a public function to the linker.
            text = source.read_text()
            inside = not kind or "rig.h" in text
            must([compiler[0], *FLAGS, *compiler[1:], f"-I{CORE}", "-include", "harness/bugs/before.h",
                  *(["-include", "harness/fuzz/toy.h"] if '"toy.h"' in text else []),
                  *(["-DKST_IMPLEMENTATION", "-include", "keepstate.h"] if inside else []), f"-I{ROOT}", "-c", source, "-o", out])
            must(["objcopy", "--wildcard", "--weaken-symbol=kst_*", out])
        return out

    def fuzzed(self, target):
        """Everything of a fuzzer but the core."""
        untraced = [] if target in FUZZ_WORDY else ["-fno-sanitize-coverage=trace-cmp"]
        return [str(self._object(s, "-fuzzed", ["clang", "-O2", "-fPIC", "-fsemantic-interposition", "-fno-addrsig", "-DFUZZ_ENGINE", "-DFUZZ_MUTATOR",
                                              *FUZZED, *untraced]))
                for s in fuzz_sources(target)]

    def objects(self, name):
        """Everything of a judge but the core."""
        sources, libraries = self.sources[name]
        return [str(self._object(s)) for s in sources] + libraries

    def program(self, name, sanitize=()):
        """A judge that takes the core that LD_LIBRARY_PATH has."""
        out = self.folder / f"{name}{'-sanitized' if sanitize else ''}"
        if out not in self.programs:
            library = self.folder / f"libjudge-{name}.so"
            must(["clang", "-shared", f"-Wl,-soname,{library.name}", *self.objects(name), "-o", library])
            none = self.folder / "libcore.so"
            must(["clang", "-shared", f"-Wl,-soname,{none.name}", "-x", "c", "/dev/null", "-o", none])
            must(["clang", *sanitize, "-Wl,--no-as-needed", none, library, f"-Wl,-rpath,{self.folder.resolve()}", "-o", out])
            none.unlink()
            self.programs[out] = str(out)
        return self.programs[out]

    def arguments(self, name, kit=DEFAULT_KIT):
        if name == "vectors":
            return ["--first", "--index", kit[0], "--timer", kit[1], *VECTORS]
        if name in FUZZ_OUTER + FUZZ_INNER:
            return ["--no-shrink", "--runs", str(RUNS), "--keep", "/dev/null", str(self.folder / "corpora" / name)]
        return []

    def prebuild(self):
        for name in self.sources:
            self.program(name)
            self.program(name, SANITIZED[1:])


class Trial:
    """A copy of core/ in which some rooms read otherwise, in a folder of its own."""

    fast = False  # whether its library is the one that hunts take

    def __init__(self, bench, folder, texts=None):
        self.bench, self.folder, self.kit = bench, Path(folder).resolve(), kit_of(texts or {})
        (self.folder / "core").mkdir(parents=True, exist_ok=True)
        for room in CORE.glob("*.h"):
            (self.folder / "core" / room.name).write_text((texts or {}).get(room.name) or room.read_text())
        self.fuzzers = set()
        (self.folder / "core.c").write_text('#define KST_IMPLEMENTATION\n#include "keepstate.h"\n')
        (self.folder / "core-fuzzed.c").write_text( # as `api` has it, which has a helper of its own
            '#include "harness/fuzz/toy.h"\n#define KST_IMPLEMENTATION\n#include "keepstate.h"\n'
            '__attribute__((weak)) enum kst_reason fuzz_toy(struct kst_help *h) { return h != NULL ? KST_REASON_NONE : KST_REASON_HELPER; }\n')

    def core(self, flags):
        """The core as a library, None if it does not compile."""
        status, self.complaint = run(["clang", *FLAGS, *flags, "-fPIC", "-shared", f"-I{self.folder}/core",
                                      self.folder / "core.c", "-o", self.folder / "libcore.so"])
        return self.folder / "libcore.so" if status == 0 else None

    def environment(self):
        """What a judge is told: where the core is, which back ends are asked for."""
        return {"LD_LIBRARY_PATH": str(self.folder), "INDEX": self.kit[0], "TIMER": self.kit[1]}

    def ask(self, name, flags, arguments=None):
        """Runs a judge with the core as compiled last; (status, output)."""
        program = self.bench.program(name, [f for f in flags if "sanitize" in f])
        return run([program, *(arguments or self.bench.arguments(name, self.kit))],
                   self.bench.limits.get((name, str(flags)), 120), ROOT, **self.environment())

    def judge(self, target):
        """A target without an engine or sanitizers, with the changed core."""
        if target in FUZZ_INNER:
            return self.inside(target, FAST)
        if not self.fast and self.core(FAST) is None:
            raise SystemExit(self.complaint)
        self.fast = True
        return self.bench.program(target)

    def fuzzer(self, target):
        """A fuzzer with the changed core."""
        program = self.folder / f"fuzz-{target}"
        if program in self.fuzzers:
            return program
        core = self.folder / "core-fuzzed.o"
        if not self.fuzzers:
            must(["clang", *FLAGS, "-O1", *FUZZED, f"-I{self.folder}/core", f"-I{ROOT}", "-c", self.folder / "core-fuzzed.c", "-o", core])
        if target in FUZZ_INNER:
            must(["clang", *FLAGS, "-O1", "-DFUZZ_ENGINE", "-DFUZZ_MUTATOR", "-fsanitize=fuzzer,address,undefined",
                  "-fno-sanitize-recover=all", "-fno-sanitize-coverage=trace-cmp", f"-I{self.folder}/core",
                  *fuzz_sources(target), "-o", program])
        else:
            must(["clang", "-fsanitize=fuzzer,address,undefined", core, *self.bench.fuzzed(target), "-lpcap", "-lz", "-o", program])
        self.fuzzers.add(program)
        return program

    def inside(self, name, flags):
        """A suite or target that looks inside, compiled with the changed core; None if it does not compile."""
        target = name in FUZZ_INNER
        sources = fuzz_sources(name) if target else [ROOT / f"tests/{name}.c", *SUITE_WITH.get(name, [])]
        program = self.folder / name
        status, _ = run(["clang", *FLAGS, *flags, f"-I{self.folder}/core", f"-I{ROOT}/tests", *sources,
                         *(["-lpcap", "-lz"] if target else self.bench.check), "-o", program])
        return program if status == 0 else None

    def inner(self, name, flags):
        """What such a one says."""
        program = self.inside(name, flags)
        if program is None:
            return Verdict("tests", f"{name}: does not compile")
        return verdict(name, *run([program, *self.bench.arguments(name)], self.bench.limits.get((name, str(flags)), 240),
                                  ROOT, **self.environment()))


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
    for pattern in (r"FAILED: ([^\n]*), back ends (\d+)", r"case ([^,\n]+), packet (\d+)", r"--seed (\d+), run (\d+)", r"while doing ([^\n]+)",
                    r"test_\w+\.c:\d+:[FE]:\w+:([^\n:]+)", r"SUMMARY: ([^\n]{0,80})", r"Assertion `([^\n]{0,80})"):
        found = re.search(pattern, output)
        if found:
            return f"{name}: {re.sub(r'[^ ]*/', '', ' '.join(found.groups()))}"
    return name


def measure(bench, trial, builds=(PLAIN, SANITIZED), inner=True):
    """How long each judge takes with a clean core: ten times that is a hang, and the quick ones are asked first.
    Whoever complains of the clean core is no judge."""
    for flags in builds:
        if trial.core(flags) is None:
            raise SystemExit(trial.complaint)
        for name in bench.sources:
            begin = time.time()
            status, output = trial.ask(name, flags)
            if status != 0:
                raise SystemExit(f"the clean core, {name}:\n{output[-4000:]}")
            bench.limits[name, str(flags)] = 10 * (time.time() - begin) + 5
    for name in INNER + FUZZ_INNER if inner else ():
        begin = time.time()
        found = trial.inner(name, PLAIN)
        if found:
            raise SystemExit(f"the clean core, {name}: {found.witness}")
        bench.limits[name, str(PLAIN)] = 10 * (time.time() - begin) + 5
    bench.order = sorted(bench.sources, key=lambda name: bench.limits[name, str(PLAIN)])


def inner(rooms, found=None):
    """Who looks inside these rooms: the back ends have suites of their own. First who has `found` most in them so far, then
    whose name is the room's."""
    index, timer = ["test_index", "index", "test_toys"], ["test_timer", "timer", "test_toys"]
    own = {"index": index, "timer": timer}
    rest = sorted(INNER + FUZZ_INNER, key=lambda name: name in index + timer)
    names = dict.fromkeys(name for room in rooms for name in own.get(room[:5], rest))
    return sorted(names, key=lambda name: (-sum((found or {}).get((room, name), 0) for room in rooms),
                                           name.removeprefix("test_") not in " ".join(rooms)))


def recall(bench, trial, witness):
    """What the one that noticed last time says now, of that input alone where it is a file: a judge's name, `: `, the input."""
    name, _, rest = witness.partition(": ")
    seed = bench.folder / "corpora" / name / (rest.split() or ["-"])[0]
    alone = ["--no-shrink", "--keep", "/dev/null", str(seed)] if seed.is_file() else None
    for flags in (PLAIN, SANITIZED):
        if trial.core(flags) is None:
            return None
        found = Verdict()
        if name in bench.sources:
            found = verdict(name, *trial.ask(name, flags, alone))
        elif name in INNER + FUZZ_INNER:
            found = trial.inner(name, flags)
        if found:
            return found
    return Verdict()


def judge(bench, trial, inner=(), builds=(PLAIN, SANITIZED), again=False):
    """The first that notices, cheap ones first. None if the core does not compile. `again`: the cheap ones have not."""
    for flags in builds:
        if trial.core(flags) is None:
            return None
        for name in () if again and flags is PLAIN else bench.order:
            found = verdict(name, *trial.ask(name, flags))
            if found:
                return found
        for name in inner:
            found = trial.inner(name, flags)
            if found:
                return found
    return Verdict()
