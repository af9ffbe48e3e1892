#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""report.py - what reads runs of the benchmarks and judges them: reader, statistics, advice, pages, and
what compare's exit status says. All runs here are made up, from fixed seeds; nothing is timed."""
import contextlib
import csv
import io
import json
import random
import sys
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench" / "report"))
sys.dont_write_bytecode = True

import advice  # noqa: E402
import compare  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from results import Name, Run, Unreadable  # noqa: E402


def row(name, ns, turn=0, **more):
    return {"name": name, "run_name": name, "run_type": "iteration", "iterations": 100,
            "real_time": 2 * ns, "cpu_time": ns, "time_unit": "ns", "round": turn, **more}


def made_up(seed, factors, rounds=10, noise=0.05, drift=0.02, machine=1.0, **more):
    """A run: {name: ns}, each sample off by `noise`, each round by `drift`, all by `machine`, which
    the floor feels as well."""
    draw = random.Random(seed)
    rows = []
    for turn in range(rounds):
        shift = machine * draw.lognormvariate(0, drift)
        for name, ns in {"floor/probe/64k/floor/slide2/all": 2.0,
                         "floor/probe/64k/floor/indep2/all": 5.0, **factors}.items():
            rows.append(row(name, ns * shift * draw.lognormvariate(0, noise), turn, **more))
    return {"context": {"cpu": "made up"}, "benchmarks": rows}


PAIRS = {f"track/tcp/64k/{i}/{t}/burst32": 50.0 for i in results.INDEXES for t in results.TIMERS}


class Reader(unittest.TestCase):
    def test_units_aggregates_errors(self):
        run = Run({"benchmarks": [
            row("lookup/hit-v4/64k/swiss/wheel/single", 10.0, 0, bytes=90),
            {**row("lookup/hit-v4/64k/swiss/wheel/single", 0.02, 1), "time_unit": "us"},
            {**row("lookup/hit-v4/64k/swiss/wheel/single", 99.0), "run_type": "aggregate"},
            row("lookup/hit-v4/64k/chain/wheel/single", 0, error_occurred=True,
                error_message="lost one"),
            row("BM_other", 1.0)]})
        name = Name.of("lookup/hit-v4/64k/swiss/wheel/single")
        self.assertEqual(run.series[name].ns, [10.0, 20.0])
        self.assertEqual(run.series[name].counter("bytes"), 90)
        self.assertEqual([s.error for s in run.failed()], ["lost one"])
        self.assertEqual([s.name for s in run.good()], [name])
        self.assertEqual(run.unnamed, 1)
        self.assertEqual((name.who, name.connections, name.kind), ("swiss/wheel", 65536, "ours"))

    def test_repetitions_of_google_benchmark_are_rounds(self):
        rows = [{**row("insert/v4/1M/peer/absl/single", 5.0), "repetition_index": i} for i in range(3)]
        for r in rows:
            del r["round"]
        series = Run({"benchmarks": rows}).good()[0]
        self.assertEqual(series.rounds, [0, 1, 2])
        self.assertEqual((series.name.kind, series.name.who), ("peer", "absl"))

    def test_what_is_no_run_is_refused(self):
        for bad in ([], {}, {"benchmarks": 3}, {"benchmarks": [row("a/b/64k/c/d/e", "fast")]},
                    {"benchmarks": [{**row("a/b/64k/c/d/e", 1), "time_unit": "weeks"}]}):
            with self.assertRaises(Unreadable):
                Run(bad)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write("{\"benchmarks\": [")
            file.flush()
            with self.assertRaises(Unreadable):
                Run.read(file.name)
        with self.assertRaises(Unreadable):
            Run.read("/nonexistent.json")

    def test_floors_by_round(self):
        run = Run({"benchmarks": [row(f"floor/probe/{size}/floor/{probe}/all", ns * (1 + turn), turn)
                                  for turn in range(2) for size, probe, ns in
                                  (("64k", "dep1", 2.0), ("64k", "slide2", 8.0), ("1M", "dep1", 50.0))]})
        for size, expected in (("64k", [4, 8]), ("1M", [50, 100])):
            for got, ns in zip(run.floors(size), expected):
                self.assertAlmostEqual(got, ns)
        self.assertEqual(len(run.floors("4k")), 2)  # any floor is better than none
        self.assertEqual(Run({"benchmarks": [row("track/tcp/64k/swiss/wheel/single", 2.0)]}).floors("64k"), [])


class Statistics(unittest.TestCase):
    def test_mann_whitney(self):
        # Tables of the test: complete separation of 5 and 5 has 2 of 252 orders.
        self.assertAlmostEqual(results.p_value([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 2 / 252)
        self.assertAlmostEqual(results.least_p(5, 5), 2 / 252)
        self.assertGreater(results.p_value([1, 3, 5, 7, 9], [2, 4, 6, 8, 10]), 0.5)
        self.assertEqual(results.p_value([3, 3, 3], [3, 3, 3]), 1.0)
        self.assertEqual(results.p_value([1], [2]), 1.0)

    def test_correction(self):
        # The example of Benjamini and Hochberg 1995, fifteen p values: four stay below 0.05.
        ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
              0.5719, 0.6528, 0.7590, 1.000]
        self.assertEqual(sum(p < 0.05 for p in results.corrected(ps)), 4)
        self.assertEqual(results.corrected(ps[::-1]), results.corrected(ps)[::-1])
        self.assertEqual(results.corrected([]), [])

    def test_spread_and_quantiles(self):
        self.assertEqual(results.quantile([1, 2, 3, 4, 5], 0.25), 2)
        self.assertAlmostEqual(results.spread([1, 2, 3, 4, 5]), 2 / 3)
        self.assertEqual(results.spread([7]), 0)

    def test_sizes(self):
        self.assertEqual([results.size_of(s) for s in ("64k", "1M", "512", "all")],
                         [65536, 1 << 20, 512, 0])


class Comparison(unittest.TestCase):
    def judged(self, base, new, threshold=0.10):
        return compare.judge(Run(base), Run(new), threshold)

    def test_an_unchanged_run_is_rarely_marked(self):
        marked = sum(bool(self.judged(made_up(2 * i, PAIRS), made_up(2 * i + 1, PAIRS))["slower"])
                     for i in range(60))
        self.assertLessEqual(marked, 6)

    def test_nor_without_the_threshold(self):
        marked = sum(any(c.verdict != "same" for c in self.judged(
            made_up(2 * i, PAIRS), made_up(2 * i + 1, PAIRS), 0)["changes"]) for i in range(100))
        self.assertLessEqual(marked, 10)

    def test_a_slowed_back_end_is_found_and_no_other(self):
        slowed = {n: ns * (1.25 if "/swiss/" in n else 1) for n, ns in PAIRS.items()}
        others = 0
        for seed in range(20):
            told = self.judged(made_up(seed, PAIRS), made_up(seed + 1000, slowed))
            self.assertEqual(sum(c.name.index == "swiss" for c in told["slower"]), 4)
            others += any(c.name.index != "swiss" for c in told["slower"] + told["faster"])
        self.assertLessEqual(others, 2)

    def test_a_slower_machine_is_no_regression(self):
        told = self.judged(made_up(1, PAIRS), made_up(2, PAIRS, machine=1.6))
        self.assertEqual((told["slower"], told["floors"]), ([], True))
        self.assertAlmostEqual(told["shifts"]["64k"], 1.6, delta=0.1)

    def test_a_restless_floor_accuses_nobody(self):
        self.assertEqual(results.milder([10, 11, 12, 13, 14], [10, 11, 12, 13, 14], 0.5)[0], 1.0)
        self.assertEqual(results.milder([10, 11, 12, 13, 14], [20, 22, 24, 26, 28], 4)[1], 1.0)

    def test_peers_are_not_judged(self):
        name = "lookup/hit-v4/64k/peer/absl/single"
        told = self.judged(made_up(1, {**PAIRS, name: 5.0}), made_up(2, {**PAIRS, name: 9.0}))
        self.assertEqual((len(told["changes"]), told["slower"]), (16, []))

    def test_without_floors_it_looks_like_one(self):
        def bare(document):
            return {"benchmarks": [r for r in document["benchmarks"] if "floor" not in r["name"]]}

        told = self.judged(bare(made_up(1, PAIRS)), bare(made_up(2, PAIRS, machine=1.6)))
        self.assertEqual((len(told["slower"]), told["floors"]), (16, False))

    def test_a_significant_change_within_the_threshold_is_small(self):
        told = self.judged(made_up(1, PAIRS, noise=0.005), made_up(
            2, {n: 1.05 * ns for n, ns in PAIRS.items()}, noise=0.005))
        self.assertEqual({c.verdict for c in told["changes"]}, {"small"})

    def test_exit_status(self):
        def fails(document):
            broken = json.loads(json.dumps(document))
            broken["benchmarks"] = [r for r in broken["benchmarks"] if "robin/heap" not in r["name"]]
            broken["benchmarks"].append(row("track/tcp/64k/robin/heap/burst32", 0, error_occurred=True,
                                            error_message="found nothing"))
            return broken

        base, slow = made_up(1, PAIRS), made_up(2, {n: 1.3 * ns for n, ns in PAIRS.items()})
        other = made_up(1, {"touch/udp/64k/swiss/wheel/burst32": 10.0})
        with tempfile.TemporaryDirectory() as folder:
            def status(a, b, *more):
                paths = []
                for at, document in enumerate((a, b)):
                    paths.append(f"{folder}/{at}.json")
                    Path(paths[-1]).write_text(
                        document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
                with contextlib.redirect_stdout(io.StringIO()) as said, \
                        contextlib.redirect_stderr(io.StringIO()):
                    code = compare.main([*paths, "--out", f"{folder}/page", *more])
                return code, said.getvalue()

            self.assertEqual(status(base, made_up(3, PAIRS))[0], 0)
            code, said = status(base, slow)
            self.assertEqual(code, 1)
            self.assertIn("track/tcp/64k/chain/wheel/burst32", said)
            self.assertIn("It regressed", Path(folder, "page/index.html").read_text(encoding="utf-8"))
            self.assertEqual(status(slow, base)[0], 0)  # faster
            self.assertEqual(status(base, slow, "--threshold", "50")[0], 0)
            self.assertEqual(status(base, fails(base))[0], 1)
            self.assertEqual(status(fails(base), fails(base))[0], 0)  # failed before
            self.assertEqual(status(base, "{")[0], 2)
            self.assertEqual(status(base, other)[0], 2)
            self.assertEqual(status(made_up(1, PAIRS, rounds=3), made_up(2, PAIRS, rounds=3))[0], 2)


class Advice(unittest.TestCase):
    def test_it_follows_the_figures(self):
        for index, timer in (("robin", "heap"), ("chain", "lists"), ("swiss", "wheel")):
            factors = {n: ns * (0.7 if f"/{index}/" in n else 1) * (0.8 if f"/{timer}/" in n else 1)
                       for n, ns in PAIRS.items()}
            advices = advice.advise(Run(made_up(5, factors)))
            first = advices[0]
            self.assertEqual((first.index.best, first.timer.best), (index, timer))
            self.assertEqual((first.index.equals, len(first.index.worse)), ([], 3))
            self.assertAlmostEqual(first.index.worse[0][1], 1 / 0.7, delta=0.1)
            self.assertEqual([o[:4] for o in advice.overall(advices)],
                             [("index", index, 1, 1), ("timer", timer, 1, 1)])

    def test_among_those_not_told_apart_the_default_is_named(self):
        first = advice.advise(Run(made_up(5, PAIRS)))[0]
        self.assertEqual((first.index.best, first.timer.best), ("swiss", "wheel"))
        self.assertEqual(sorted(first.index.equals), ["chain", "cuckoo", "robin"])

    def test_one_factor_at_a_time(self):
        some = {n: ns * (1.4 if "/chain/" in n else 1.2 if "/heap/" in n else 1) for n, ns in PAIRS.items()
                if "/wheel/" in n or "/swiss/" in n}
        first = advice.advise(Run(made_up(5, some, noise=0.01)))[0]
        self.assertEqual([n for n, _ in first.index.worse], ["chain"])
        self.assertEqual([n for n, _ in first.timer.worse], ["heap"])

    def test_losses_against_peers(self):
        factors = {"lookup/hit-v4/64k/swiss/wheel/single": 50.0, "lookup/hit-v4/64k/peer/absl/single": 20.0,
                   "lookup/hit-v4/64k/swiss/wheel/burst32": 9.0, "lookup/hit-v4/64k/peer/rte_hash/burst32": 15.0}
        duels = advice.duels(Run(made_up(1, factors)))
        self.assertEqual({d.case[3]: d.verdict for d in duels}, {"single": "loss", "burst32": "win"})


class Balanced(HTMLParser):
    """Every element that needs an end has one; nothing is fetched."""
    EMPTY = {"meta", "link", "br", "img", "path", "use", "rect", "circle", "hr"}

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open[-3:]}"
            self.open.pop()


class Page(unittest.TestCase):
    def test_it_is_one_file_that_names_losses_and_failures(self):
        factors = {**PAIRS, **{n.replace("64k", "1M"): 90.0 for n in PAIRS},
                   "lookup/hit-v4/64k/swiss/wheel/single": 50.0, "lookup/hit-v4/64k/peer/absl/single": 20.0}
        document = made_up(1, factors, bytes=100.0, load=0.9)
        document["benchmarks"].append(row("print/proc/64k/swiss/wheel/all", 0, error_occurred=True,
                                          error_message="a line is <missing>"))
        document["context"]["peers_left_out"] = "glib,uthash"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "given.json")
            path.write_text(json.dumps(document), encoding="utf-8")
            with contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(report.main([str(path), folder]), 0)
            page = Path(folder, "index.html").read_text(encoding="utf-8")
            with open(Path(folder, "run.csv"), newline="", encoding="utf-8") as file:
                lines = list(csv.DictReader(file))
        parser = Balanced()
        parser.feed(page)
        self.assertEqual((parser.open, parser.fetched), ([], []))
        for text in ("glib, uthash", "a line is &lt;missing&gt;", "absl", "slower", "<svg", "made up"):
            self.assertIn(text, page)
        self.assertNotRegex(page, r"\bnan\b|url\(http")
        self.assertEqual(len(lines), 10 * (len(factors) + 2))
        self.assertEqual(lines[0]["subject"], "floor")

    def test_a_run_without_success_makes_no_page(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            path = Path(folder, "none.json")
            path.write_text(json.dumps({"benchmarks": []}), encoding="utf-8")
            self.assertEqual(report.main([str(path), folder]), 1)


FAKE = """#!/usr/bin/env python3
# A program that takes Google Benchmark's flags and makes up its times.
import json, re, sys
names = ["floor/probe/64k/floor/slide2/all", "track/tcp/64k/swiss/wheel/burst32", "a/b/64k/c/d/e"]
flags = dict(a[2:].split("=", 1) for a in sys.argv[1:])
names = [n for n in names if re.search(flags.get("benchmark_filter", "."), n)]
if "benchmark_list_tests" in flags:
    print(*names, sep="\\n")
else:
    rows = [dict(name=n, run_name=n, run_type="iteration", cpu_time=5.0, time_unit="ns") for n in names]
    json.dump(dict(context=dict(host_name="secret"), benchmarks=rows), open(flags["benchmark_out"], "w"))
"""


class Measuring(unittest.TestCase):
    def test_rounds_of_programs_in_turn(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "fake")
            program.write_text(FAKE.replace("/usr/bin/env python3", sys.executable), encoding="utf-8")
            program.chmod(0o755)
            given = measure.choose(str(program), [], ["^(floor|track)/"])
            documents = measure.measure([str(program)] * 2, given, 0, least=4, quiet=True)
            for document in documents:
                run = Run(document)
                self.assertEqual(len(run.series), 2)
                self.assertEqual([s.rounds for s in run.good()], [[0, 1, 2, 3]] * 2)
                self.assertNotIn("host_name", document["context"])
            with self.assertRaises(measure.Failed):
                measure.choose(str(program), [], ["^nothing/"])

    def test_every_plan_has_floors_and_every_subject(self):
        for plan in measure.PLANS.values():
            subjects = " ".join(r[0] for r in plan["rows"])
            for subject in report.SUBJECTS:
                if subject != "capture":
                    self.assertIn(subject, subjects)
            self.assertIn("floor", subjects)


if __name__ == "__main__":
    unittest.main(verbosity=0)
