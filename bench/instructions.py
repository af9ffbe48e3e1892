#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""instructions.py - instructions an operation, of the default pair of back ends, counted by callgrind in the
timed parts of the benchmarks: the same on a noisy machine as on a quiet one.

    instructions.py build/bench-test/bench bench/instructions.txt           fails if one grew by more than 5 %
    instructions.py build/bench-test/bench bench/instructions.txt --write   records them

Counts of another compiler are not compared: they say nothing. Nor is the time in them."""

import glob
import re
import subprocess
import sys
import tempfile

MORE = 1.05   # of what is recorded
LEAST = 2.0   # below, a loop was removed
# Single operations under the clock, and threads that wait for each other, are not the same twice.
FILTER = ("^(floor/|(lookup|insert|remove|mixed|track|translate|life|expire|touch|full|helper|fragment|print)/.*"
          "/swiss/wheel/)")


def count(program):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={folder}/out",
             program, "--tiny", "--benchmark_min_time=0", f"--benchmark_filter={FILTER}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout[-3000:] + "\ninstructions: the benchmarks failed under callgrind")
        compiler = re.search(r"^compiler: (.*)$", done.stdout, re.M).group(1)
        flags = re.search(r"^flags: (.*)$", done.stdout, re.M).group(1)
        counts = {}
        for path in glob.glob(f"{folder}/out*"):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            name = re.search(r"^desc: Trigger: Client Request: (\S+) (\d+)$", text, re.M)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
            if name and total and int(name.group(2)) > 0:
                counts[name.group(1)] = int(total.group(1)) / int(name.group(2))
    return f"{compiler}, {flags}", counts


def main():
    program, path = sys.argv[1:3]
    made_by, counts = count(program)
    removed = [f"{name}: {value:.2f}" for name, value in counts.items() if value < LEAST]
    if not counts or removed:
        sys.exit("instructions: nothing was counted" if not counts else
                 "instructions: a loop is gone\n  " + "\n  ".join(removed))
    if "--write" in sys.argv:
        with open(path, "w", encoding="utf-8") as file:
            print(f"# Instructions an operation, by callgrind: make instructions\n# {made_by}", file=file)
            for name in sorted(counts):
                print(f"{name:52} {counts[name]:9.1f}", file=file)
        print(f"{len(counts)} benchmarks recorded in {path}")
        return
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    recorded_by = lines[1][2:]
    recorded = {name: float(value) for name, value in (line.split() for line in lines[2:])}
    if recorded_by != made_by:
        print(f"not compared: recorded with {recorded_by}, this is {made_by}")
        return
    grown = [f"{name}: {recorded[name]:.1f} -> {value:.1f}, {100 * (value / recorded[name] - 1):+.1f} %"
             for name, value in sorted(counts.items()) if name in recorded and value > recorded[name] * MORE]
    gone = [f"{name}: is not there any more" for name in sorted(recorded) if name not in counts]
    if grown or gone:
        sys.exit("\n".join(grown + gone) + "\ninstructions: if that is meant, record it: make instructions")
    less = sum(value < recorded[name] / MORE for name, value in counts.items() if name in recorded)
    print(f"{len(counts)} benchmarks, none above {100 * (MORE - 1):.0f} % more than recorded" +
          (f", {less} below: make instructions" if less else ""))


if __name__ == "__main__":
    main()
