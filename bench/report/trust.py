# SPDX-License-Identifier: MIT
"""trust.py - whether compare can be trusted here: `trust.py BENCH SLOWED`.

SLOWED is BENCH with swiss/wheel made slower by a few tens of nanoseconds a find. Compare must find
that, and mark nothing of the other indexes; and ten times it is given BENCH twice, and may see a
regression in one of them at most. Takes turns as compare does, and is told in one line each.
"""
import argparse
import sys

import compare
import measure
from results import Run

RUNS, FALSE_MOST = 10, 1
SLOWED = "swiss/wheel"
NAMES = r"^floor/.*/64k/|^(track/(tcp|udp)|lookup/hit-v4)/64k/[^/]+/wheel/burst32$"


def judged(programs, options):
    given = measure.choose(programs[0], ["--sizes=64k"], [NAMES])
    documents = measure.measure(programs, given, 0, least=options.rounds, quiet=True)
    return compare.judge(*(Run(d) for d in documents), options.threshold / 100)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("slowed")
    parser.add_argument("--rounds", type=int, default=12, help="of each comparison")
    parser.add_argument("--threshold", type=float, default=10, help="percent")
    options = parser.parse_args()
    try:
        told = judged([options.bench, options.slowed], options)
        found = [c for c in told["slower"] if c.name.who == SLOWED]
        wrong = [c for c in told["slower"] if c.name.who != SLOWED]
        of = sum(c.name.who == SLOWED for c in told["changes"])
        for c in told["slower"]:
            print(f"  {c.ratio:.2f} times, p {c.corrected:.2g}: {c.name}")
        print(f"slowed: {len(found)} of {of} benchmarks of {SLOWED} regressed, {len(wrong)} of others")
        false = 0
        for turn in range(RUNS):
            told = judged([options.bench, options.bench], options)
            false += bool(told["slower"])
            marked = ", ".join(f"{c.name} {c.ratio:.2f}" for c in told["slower"])
            print(f"unchanged, {turn + 1} of {RUNS}: {marked or 'nothing regressed'}", flush=True)
    except (measure.Failed, OSError) as problem:
        print(f"trust: {problem}", file=sys.stderr)
        return 2
    good = len(found) == of and not wrong and false <= FALSE_MOST
    print(f"trust: {'ok' if good else 'NO'}: slowed found in {len(found)} of {of}, "
          f"false alarms in {false} of {RUNS} runs")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
