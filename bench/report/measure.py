# SPDX-License-Identifier: MIT
"""measure.py - runs the benchmarks in rounds until the time is up: `measure.py --out run.json`.

A round is a fresh process that runs every chosen benchmark and the floor probes once, so that each
sample has its own memory, its own layout and a floor that was measured beside it; and what disturbs
the machine for a while disturbs a round of all rather than all rounds of one. Several programs
(--bench, more than once) take turns, for a comparison that drifts of the machine cannot fool.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

# Pairs of back ends that a benchmark is measured with; what has no pair is measured always.
EVERY = r"\w+/\w+"
INDEX = r"(\w+/wheel|peer/\w+)"             # every index, with the default timer
TIMER = r"(swiss/\w+|peer/\w+)"             # every timer, with the default index
EITHER = r"(\w+/wheel|swiss/\w+|peer/\w+)"
HASHES = r"swiss-\w+/wheel"                 # the default pair with other hashes
USUAL = r"(swiss/wheel|peer/\w+)"

# What is measured: SUBJECT/WHAT, SIZE, INDEX/TIMER, HOW of bench/README.md, regular expressions. All
# of everything takes hours; the plans have every subject, every pair where they matter most, and
# rounds of about 16 and 110 seconds: tables of 64k cost 20 ms each to fill, of 1M 200.
QUICK = (
    (r"floor/.*", r".*", EVERY, r".*"),
    (r"track/tcp", r"64k", EVERY, r"burst32"),
    (r"track/tcp", r"1M", INDEX, r"burst32"),
    (r"track/tcp", r"64k", INDEX, r"single"),
    (r"track/(udp|tcp-v6)", r"64k", INDEX, r"burst32"),
    (r"track/[^/]+", r"64k", USUAL, r"burst32"),
    (r"translate/tcp", r"64k", INDEX, r"burst32"),
    (r"lookup/(hit-v4|miss-v4|hit-v6)", r"64k", INDEX, r".*"),
    (r"lookup/hit-v4", r"1M", INDEX, r"(single|burst32)"),
    (r"(insert|remove|mixed)/v[46]", r"64k", INDEX, r".*"),
    (r"insert/v4", r"1M", INDEX, r"burst32"),
    (r"life/(tcp|udp)", r"64k", EITHER, r"burst32"),
    (r"life/tcp", r"1M", INDEX, r"burst32"),
    (r"full/[^/]+", r"64k", INDEX, r"burst32"),
    (r"full/new-evicting", r"1M", INDEX, r"burst32"),
    (r"latency/[^/]+", r"64k", EITHER, r".*"),
    (r"latency/(new-evicting|advance)", r"1M", INDEX, r".*"),
    (r"(expire|touch|timer)/[^/]+", r"64k", TIMER, r".*"),
    (r"touch/udp", r"1M", TIMER, r".*"),
    (r"(helper|fragment)/[^/]+", r".*", USUAL, r".*"),
    (r"(print|scale)/[^/]+", r"64k", USUAL, r".*"),
    (r"(track/tcp|lookup/hit-v4)", r"64k", HASHES, r"burst32"),
)
FULL = QUICK + (
    (r"track/(tcp|udp)", r"1M", EVERY, r"burst32"),
    (r"track/tcp", r"8M", INDEX, r"burst32"),
    (r"(track|translate)/[^/]+", r"1M", USUAL, r"(single|burst32|burst256)"),
    (r"lookup/(hit|miss)-v[46]", r"(64k|1M)", INDEX, r".*"),
    (r"lookup/[^/]+", r"(64k|1M)", INDEX, r"burst32"),
    (r"lookup/hit-v4", r"8M", INDEX, r"(single|burst32)"),
    (r"(insert|remove|mixed)/[^/]+", r"(64k|1M)", INDEX, r".*"),
    (r"life/[^/]+", r"(64k|1M)", EITHER, r"burst32"),
    (r"full/[^/]+", r"1M", INDEX, r"burst32"),
    (r"latency/[^/]+", r"1M", EITHER, r".*"),
    (r"(expire|touch|timer)/[^/]+", r"1M", TIMER, r".*"),
    (r"(print|scale)/[^/]+", r"1M", USUAL, r".*"),
)
PLANS = {
    "quick": {"sizes": "64k,1M", "seconds": 140, "rows": QUICK},
    "full": {"sizes": "64k,1M,8M", "seconds": 900, "rows": FULL},
}
MIN_TIME = "0.001"  # seconds a sample, at least: more rounds tell more than longer samples


class Failed(Exception):
    """The benchmarks could not be run; the text says why."""


def names_of(bench, arguments):
    """Everything that this program can measure with these arguments."""
    done = subprocess.run([bench, *arguments, "--benchmark_list_tests=true"], text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{bench} does not list its benchmarks: {done.stderr.strip()}")
    return [line.strip() for line in done.stdout.splitlines() if line.count("/") >= 5]


def read_first(path):
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def machine():
    """What Google Benchmark does not tell of this machine. No name of it, no address."""
    cpuinfo = read_first("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    memory = re.search(r"MemTotal:\s*(\d+)", read_first("/proc/meminfo"))
    thp = re.search(r"\[(\w+)\]", read_first("/sys/kernel/mm/transparent_hugepage/enabled"))
    governor = read_first("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    system = os.uname()
    facts = {
        "cpu": model[1] if model else system.machine,
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "",
        "system": f"{system.sysname} {'.'.join(system.release.split('.')[:2])}, {system.machine}" +
                  (f", transparent huge pages: {thp[1]}" if thp else "") +
                  (f", governor: {governor}" if governor else ""),
        "virtual": "yes" if re.search(r"^flags.*\bhypervisor\b", cpuinfo, re.M) else "",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return {key: value for key, value in facts.items() if value}


class Progress:
    """One line that is written over on a terminal; a line a round elsewhere."""

    def __init__(self, total, seconds, quiet):
        self.total, self.seconds, self.begin = total, max(seconds, 1), time.monotonic()
        self.terminal, self.quiet = sys.stderr.isatty() and not quiet, quiet
        self.shown = 0.0

    def __call__(self, turn, turns, done, name):
        now = time.monotonic()
        if not self.terminal or now - self.shown < 0.1:
            return
        self.shown = now
        left = max(0, self.begin + self.seconds - now)
        filled = int(24 * min(1, (now - self.begin) / self.seconds))
        print(f"\r[{'#' * filled}{'.' * (24 - filled)}] round {turn} of about {turns}, "
              f"{done} of {self.total}, {left // 60:.0f}:{left % 60:02.0f} left  {name:.38}\x1b[K",
              end="", file=sys.stderr, flush=True)

    def line(self, text):
        if not self.quiet:
            print(("\r\x1b[K" if self.terminal else "") + text, file=sys.stderr, flush=True)


def one_round(bench, arguments, tell):
    """All chosen benchmarks once: Google Benchmark's document."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [bench, *arguments, f"--benchmark_out={file.name}", "--benchmark_out_format=json",
                   "--benchmark_format=console", f"--benchmark_min_time={MIN_TIME}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            done = 0
            for line in process.stdout:
                if line.count("/") >= 5:
                    done += 1
                    tell(done, line.split()[0])
            errors = process.stderr.read()
        try:
            with open(file.name, encoding="utf-8") as written:
                document = json.load(written)
        except ValueError:
            document = {}
    # A benchmark that failed is told in the document; the rest counts.
    if not document.get("benchmarks"):
        raise Failed(f"{bench} measured nothing: {errors.strip()[-500:]}")
    return document


def measure(benches, arguments, seconds, least=3, most=1000, quiet=False):
    """A document a program: all rounds that fit into the time, at least `least`."""
    names = names_of(benches[0], arguments)
    progress = Progress(len(names), seconds, quiet)
    progress.line(f"measuring {len(names)} benchmarks"
                  + (f" of {len(benches)} programs in turn" if len(benches) > 1 else "")
                  + f" for about {seconds / 60:.1f} minutes")
    documents = [{"context": None, "benchmarks": []} for _ in benches]
    begin, turn, longest = time.monotonic(), 0, 0.0
    while turn < most:
        left = seconds - (time.monotonic() - begin)
        if turn >= least and left < longest / 2:
            break
        since = time.monotonic()
        turns = turn + max(1, round(left / longest)) if longest else least
        order = range(len(benches)) if turn % 2 == 0 else reversed(range(len(benches)))
        for at in order:
            found = one_round(benches[at], arguments,
                              lambda done, name: progress(turn + 1, max(turns, turn + 1), done, name))
            if documents[at]["context"] is None:
                documents[at]["context"] = found.get("context", {})
            for row in found["benchmarks"]:
                documents[at]["benchmarks"].append({**row, "round": turn})
        longest = max(longest, time.monotonic() - since)
        turn += 1
        progress.line(f"round {turn}: {time.monotonic() - since:.0f} s")
    for document in documents:
        context = document["context"]
        for private in ("host_name", "executable"):
            context.pop(private, None)
        context.update(machine())
        context["took"] = f"{turn} rounds, {(time.monotonic() - begin) / 60:.1f} minutes"
    return documents


def write(document, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=0)
        file.write("\n")


def patterns_of(rows):
    return ["/".join(row) for row in rows]


def choose(bench, arguments, patterns):
    """Adds a filter for the names that any of the patterns finds. Google Benchmark's own regular
    expressions know no lookahead and are slow where many meet: they get plain names."""
    any_of = re.compile("|".join(f"(?:{p})" for p in patterns))
    names = [n for n in names_of(bench, arguments) if any_of.search(n)]
    if not names:
        raise Failed("no benchmark has such a name")
    return [*arguments, f"--benchmark_filter=^({'|'.join(names)})$"]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", action="append", required=True, help="the program")
    parser.add_argument("--out", action="append", required=True, help="a file for each program")
    parser.add_argument("--quick", action="store_true", help="two to three minutes")
    parser.add_argument("--seconds", type=float, help="how long to measure")
    parser.add_argument("--rounds", type=int, default=1000, help="at most so many")
    parser.add_argument("--sizes", help="of tables: 64k,1M")
    parser.add_argument("--filter", help="regular expression on the names")
    parser.add_argument("--capture", help="a capture to replay instead")
    options = parser.parse_args(arguments)
    if len(options.bench) != len(options.out):
        parser.error("--bench and --out come in pairs")
    plan = PLANS["quick" if options.quick else "full"]
    try:
        given = [f"--sizes={options.sizes or plan['sizes']}"]
        patterns = [f"^{p}$" for p in patterns_of(plan["rows"])]
        if options.capture:
            given.append(f"--capture={options.capture}")
            patterns = [r"^(capture|floor)/"]
        if options.filter:
            patterns = [options.filter]
        documents = measure(options.bench, choose(options.bench[0], given, patterns),
                            options.seconds or plan["seconds"], most=options.rounds)
    except (Failed, OSError) as problem:
        print(f"measure: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmeasure: interrupted", file=sys.stderr)
        return 130
    for document, out in zip(documents, options.out):
        if options.capture:
            document["context"]["capture"] = Path(options.capture).name
        write(document, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
