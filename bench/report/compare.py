# SPDX-License-Identifier: MIT
"""compare.py - two runs, or two commits: what became slower, what faster, what is chance.

`compare.py BASE NEW` takes files of measure.py (or any of Google Benchmark's JSON), or two commits
that it builds and measures in turn. Exit status: 0 nothing regressed, 1 something did, 2 it cannot
be told: wrong usage, unreadable files, nothing in common, too few rounds.
"""
import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import charts
import measure
import report
from results import ALPHA, Run, Unreadable, compare, geometric_mean, least_p, rounds_needed, spread


def git(*arguments):
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise measure.Failed(done.stderr.strip())
    return done.stdout.strip()


def build(commit, folder, make):
    """The benchmarks of today around the core of that commit: the same work for both."""
    root = Path(git("rev-parse", "--show-toplevel"))
    git("worktree", "add", "--force", "--detach", str(folder), commit)
    for name in ("bench", "Makefile"):
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
        (shutil.copytree if (root / name).is_dir() else shutil.copy)(root / name, target)
    done = subprocess.run([make, "-C", str(folder), "build/bench/bench"], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise measure.Failed(f"{commit} does not build with today's benchmarks:\n"
                             f"{done.stderr[-2000:]}")
    return str(folder / "build/bench/bench")


def measure_commits(commits, out, options):
    """Both commits in turn, round by round: two files."""
    shas = [git("rev-parse", "--verify", "--quiet", f"{c}^{{commit}}") for c in commits]
    with tempfile.TemporaryDirectory(prefix="keepstate-") as scratch:
        folders = [Path(scratch) / side for side in ("base", "new")]
        try:
            benches = []
            for sha, folder in zip(shas, folders):
                print(f"compare: building {sha[:12]}", file=sys.stderr)
                benches.append(build(sha, folder, options.make))
            return measure_programs(benches, out, options, shas)
        finally:
            for folder in folders:
                subprocess.run(["git", "worktree", "remove", "--force", str(folder)],
                               capture_output=True, check=False)


def measure_programs(benches, out, options, labels=("base", "new")):
    plan = measure.PLANS["quick"]
    given = measure.choose(benches[0], [f"--sizes={options.sizes or plan['sizes']}"],
                           [rf"(^floor/|{options.filter})"] if options.filter else
                           [f"^{p}$" for p in measure.patterns_of(plan["rows"])])
    documents = measure.measure(benches, given, options.seconds, least=5)
    paths = []
    for document, side, label in zip(documents, ("base", "new"), labels):
        document["context"]["commit"] = label[:12]
        paths.append(out / f"{side}.json")
        measure.write(document, paths[-1])
    return paths


def chart(changes, title):
    """What changed, as times the base: a mark a benchmark, for as many as can be read."""
    rows = []
    for change in changes[:30]:
        n = change.name
        rows.append((f"{n.subject} {n.what}\n{n.size} {n.who} {n.how}",
                     [(n.who, change.ratio, change.ratio, change.ratio)]))
    return charts.dots(title, "time of the new, the base is 1", rows, reference=1)


def groups(changes):
    """By subject and pair: the geometric mean of all ratios, marked or not."""
    found = {}
    for change in changes:
        found.setdefault((change.name.subject, change.name.who), []).append(change)
    return [(subject, who, geometric_mean([c.ratio for c in part]), len(part),
             sum(c.verdict == "slower" for c in part), sum(c.verdict == "faster" for c in part))
            for (subject, who), part in sorted(
                found.items(), key=lambda g: (report.subject_order(g[0][0]), charts.order(g[0][1])))]


def failures(base, new):
    """What worked and does not any more: a regression, however fast."""
    return [s for s in new.failed() if s.name not in base.series or not base.series[s.name].error]


def judge(base, new, threshold):
    """Everything that the page, the terminal and the exit status say."""
    changes, gone, come, shifts = compare(base, new, threshold)
    if not changes:
        raise Unreadable("the two runs have no benchmark in common")
    fewest = min(min(len(c.base.ns), len(c.new.ns)) for c in changes)
    if least_p(fewest, fewest) >= ALPHA:
        raise Unreadable(f"{fewest} rounds a side tell nothing apart: measure at least 4")
    slower = sorted((c for c in changes if c.verdict == "slower"), key=lambda c: -c.ratio)
    faster = sorted((c for c in changes if c.verdict == "faster"), key=lambda c: c.ratio)
    return {"changes": changes, "gone": gone, "come": come, "slower": slower, "faster": faster,
            "small": [c for c in changes if c.verdict == "small"], "broken": failures(base, new),
            "fewest": fewest, "needed": rounds_needed(len(changes)),
            "shifts": shifts, "floors": None not in shifts.values(), "threshold": threshold, "alpha": ALPHA,
            "groups": groups(changes)}


def noise_of(run):
    return median(part for *_, part in run.noise()) if run.noise() else None


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a run's file, a commit, or with --programs a program")
    parser.add_argument("new", help="likewise")
    parser.add_argument("--programs", action="store_true", help="measure two programs in turn")
    parser.add_argument("--threshold", type=float, default=10, help="percent that are no regression")
    parser.add_argument("--seconds", type=float, default=600, help="to measure commits or programs")
    parser.add_argument("--filter", help="regular expression on the names to measure")
    parser.add_argument("--sizes", help="of tables to measure: 64k,1M")
    parser.add_argument("--make", default="make", help="the make program")
    parser.add_argument("--out", default="build/report/compare", help="folder of the page")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    sides = [options.base, options.new]
    try:
        if options.programs:
            sides = measure_programs(sides, out, options)
        elif not any(Path(side).is_file() for side in sides):
            sides = measure_commits(sides, out, options)
        base, new = (Run.read(side) for side in sides)
        told = judge(base, new, options.threshold / 100)
    except (Unreadable, measure.Failed, OSError) as problem:
        print(f"compare: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncompare: interrupted", file=sys.stderr)
        return 130
    page = report.environment().get_template("compare.html").render(
        told, base=base, new=new, labels=(options.base, options.new), spread=spread,
        machines=[report.machine(base.context), report.machine(new.context)],
        noises=[noise_of(base), noise_of(new)],
        slower_chart=chart(told["slower"], "Slower") if told["slower"] else "",
        faster_chart=chart(told["faster"], "Faster") if told["faster"] else "")
    (out / "index.html").write_text(page, encoding="utf-8")

    for change in told["slower"] + told["faster"]:
        print(f"{change.verdict}  {report.times(change.ratio)} times  p {change.corrected:.2g}  "
              f"{change.name}")
    for series in told["broken"]:
        print(f"fails   {series.name}: {series.error}")
    if told["fewest"] < told["needed"]:
        print(f"note: {told['fewest']} rounds find what many benchmarks show; a change in one alone "
              f"is found from {told['needed']} on", file=sys.stderr)
    print(f"{len(told['slower'])} slower, {len(told['faster'])} faster by more than "
          f"{options.threshold:g} %, {len(told['broken'])} fail, of {len(told['changes'])}: "
          f"{out / 'index.html'}")
    return 1 if told["slower"] or told["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
