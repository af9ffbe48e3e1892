# SPDX-License-Identifier: MIT
"""results.py - a run of the benchmarks, read and judged.

Enters: Google Benchmark's JSON, as it comes or as measure.py collects it (then each row tells its
"round", and the floor probes of a round ran right beside its benchmarks). Leaves: a Run, with the
samples of every benchmark, and the statistics that reports are made of. Nothing here prints.
"""
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from scipy.stats import mannwhitneyu

INDEXES = ("swiss", "chain", "cuckoo", "robin")
TIMERS = ("wheel", "hashed", "lists", "heap")
ALPHA = 0.05  # how often chance alone may mark anything in a whole report

UNIT_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
GOOGLE_KEYS = {  # all else in a row is a counter of ours
    "name", "run_name", "run_type", "family_index", "per_family_instance_index", "repetitions",
    "repetition_index", "threads", "iterations", "real_time", "cpu_time", "time_unit", "label",
    "aggregate_name", "aggregate_unit", "error_occurred", "error_message", "round"}


class Unreadable(Exception):
    """The file is not a run; the text says why."""


@dataclass(frozen=True, order=True)
class Name:
    """SUBJECT/WHAT/SIZE/INDEX/TIMER/HOW, bench/README.md."""
    subject: str
    what: str
    size: str
    index: str
    timer: str
    how: str

    @classmethod
    def of(cls, text):
        parts = text.split("/")
        return cls(*parts[:6]) if len(parts) >= 6 else None

    def __str__(self):
        return "/".join((self.subject, self.what, self.size, self.index, self.timer, self.how))

    @property
    def kind(self):
        """"ours", "peer" or "floor"."""
        return self.index if self.index in ("peer", "floor") else "ours"

    @property
    def variant(self):
        """A pair with another hash: no back end of its own to choose."""
        return self.kind == "ours" and self.index not in INDEXES

    @property
    def who(self):
        return f"{self.index}/{self.timer}" if self.kind == "ours" else self.timer

    @property
    def case(self):
        """What competitors have in common."""
        return (self.subject, self.what, self.size, self.how)

    @property
    def connections(self):
        return size_of(self.size)


def size_of(text):
    """"64k" is 65536; what is no size sorts first."""
    match = re.fullmatch(r"(\d+)([kM]?)", text)
    return int(match[1]) * {"": 1, "k": 1 << 10, "M": 1 << 20}[match[2]] if match else 0


@dataclass
class Series:
    """One benchmark: a sample a round."""
    name: Name
    ns: list = field(default_factory=list)
    rounds: list = field(default_factory=list)
    counters: dict = field(default_factory=lambda: defaultdict(list))
    error: str = ""

    @property
    def median(self):
        return median(self.ns)

    def counter(self, key):
        values = self.counters.get(key)
        return median(values) if values else None


class Run:
    """Everything that one file holds."""

    def __init__(self, document, source="run"):
        if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
            raise Unreadable(f"{source}: no \"benchmarks\" in it: not Google Benchmark's JSON")
        self.source = source
        self.context = document.get("context") or {}
        self.series = {}
        self.unnamed = 0
        for row in document["benchmarks"]:
            self._take(row)

    @classmethod
    def read(cls, path):
        try:
            with open(path, encoding="utf-8") as file:
                return cls(json.load(file), str(path))
        except (OSError, ValueError) as problem:
            raise Unreadable(f"{path}: {problem}") from problem

    def _take(self, row):
        if row.get("run_type", "iteration") != "iteration":
            return
        name = Name.of(row.get("run_name") or row.get("name", ""))
        if name is None:
            self.unnamed += 1
            return
        series = self.series.setdefault(name, Series(name))
        if row.get("error_occurred"):
            series.error = row.get("error_message") or "failed"
            return
        scale = UNIT_NS.get(row.get("time_unit", "ns"))
        time = row.get("cpu_time")
        if scale is None or not isinstance(time, (int, float)) or not time >= 0:
            raise Unreadable(f"{self.source}: {name} has no cpu_time that means anything")
        series.ns.append(time * scale)
        series.rounds.append(row.get("round", row.get("repetition_index", 0)))
        for key, value in row.items():
            if key not in GOOGLE_KEYS and isinstance(value, (int, float)):
                series.counters[key].append(float(value))

    # -- what counts --------------------------------------------------------------------------

    def good(self, kind=None):
        """Series with figures that count, in the order of their names."""
        return [s for _, s in sorted(self.series.items())
                if not s.error and s.ns and kind in (None, s.name.kind)]

    def failed(self):
        return [s for _, s in sorted(self.series.items()) if s.error]

    def cases(self):
        """Competitors by case: [(case, [series])]."""
        found = defaultdict(list)
        for series in self.good():
            if series.name.kind != "floor":
                found[series.name.case].append(series)
        return sorted(found.items(), key=lambda item: case_order(item[0]))

    # -- floors -------------------------------------------------------------------------------

    def floor(self, size, probe):
        """The probe's series at this size."""
        for series in self.good("floor"):
            if series.name.size == size and series.name.timer == probe:
                return series
        return None

    def floors(self, size):
        """The floor of each round, all probes of this size together; of all sizes, if it has none."""
        turns = defaultdict(list)
        for only in (size, None):
            for series in self.good("floor"):
                if only in (series.name.size, None):
                    for time, turn in zip(series.ns, series.rounds):
                        turns[turn].append(time)
            if turns:
                break
        return [geometric_mean(times) for times in turns.values()]

    def noise(self):
        """[(name, median, spread)] of the floor probes: how still the machine was."""
        return [(s.name, s.median, spread(s.ns)) for s in self.good("floor")]

    def rounds(self):
        """How many samples most benchmarks have."""
        counts = [len(s.ns) for s in self.good()]
        return round(median(counts)) if counts else 0


def case_order(case):
    subject, what, size, how = case
    return (subject, what, how, size_of(size))


# ---- statistics ----------------------------------------------------------------------------

def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def quantile(values, q):
    """Linear between neighbours, as numpy has it."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def spread(values):
    """Distance of the quartiles, as a part of the median: half of the samples lie within it."""
    middle = median(values)
    return (quantile(values, 0.75) - quantile(values, 0.25)) / middle if middle > 0 else 0.0


def p_value(a, b):
    """Mann-Whitney U, two-sided: how likely chance alone tells these samples apart as well."""
    if len(a) < 2 or len(b) < 2 or len(set(a) | set(b)) == 1:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue)


def least_p(n, m):
    """The least that p_value can be with so many samples."""
    return 2 / math.comb(n + m, n)


def corrected(ps):
    """p values corrected for how many there are (Benjamini and Hochberg), in the same order: of all
    that falls below ALPHA then, chance brought in at most that part; where nothing differs, chance
    marks anything at all in no more than that part of runs."""
    result = [1.0] * len(ps)
    least = 1.0
    for rank, at in sorted(enumerate(sorted(range(len(ps)), key=ps.__getitem__), 1), reverse=True):
        least = min(least, ps[at] * len(ps) / rank)
        result[at] = least
    return result


# ---- two runs ------------------------------------------------------------------------------

@dataclass
class Change:
    """One benchmark in two runs. `ratio` is the time of the new over that of the base."""
    name: Name
    base: Series
    new: Series
    ratio: float
    p: float
    corrected: float = 1.0
    verdict: str = "same"  # "same", "slower", "faster": significant; else "small": beyond chance,
                           # within the threshold


def shift(base, new, size):
    """How much slower the machine was in the new run: by the floor, if that differs beyond chance;
    None without one. Dividing by each round's floor instead would be no better: what disturbs a
    loop that only waits for memory is rarely what disturbs a benchmark of the same round."""
    a, b = base.floors(size), new.floors(size)
    if not a or not b:
        return None
    return median(b) / median(a) if p_value(a, b) < ALPHA else 1.0


def milder(a, b, factor):
    """(ratio, p) of b against a, as measured or with the machine's factor divided out: whichever tells
    less. A machine that changed may excuse a benchmark, but never accuse it."""
    told = [(median(b) / factor / median(a), p_value(a, [ns / factor for ns in b])),
            (median(b) / median(a), p_value(a, b))]
    ratio = min((r for r, _ in told), key=lambda r: abs(math.log(r)))
    if (told[0][0] > 1) != (told[1][0] > 1):
        return ratio, 1.0
    return ratio, max(p for _, p in told)


def compare(base, new, threshold):
    """Every benchmark of ours that both runs have, judged: (changes, only in base, only in new, shifts by
    size)."""
    changes, shifts = [], {}
    for series in base.good():
        other = new.series.get(series.name)
        if other is None or other.error or not other.ns or series.name.kind != "ours":
            continue
        size = series.name.size
        if size not in shifts:
            shifts[size] = shift(base, new, size)
        changes.append(Change(series.name, series, other,
                              *milder(series.ns, other.ns, shifts[size] or 1)))
    for change, p in zip(changes, corrected([c.p for c in changes])):
        change.corrected = p
        if p < ALPHA:
            beyond = change.ratio > 1 + threshold or change.ratio < 1 / (1 + threshold)
            change.verdict = ("slower" if change.ratio > 1 else "faster") if beyond else "small"
    gone = [s.name for s in base.good() if s.name not in new.series]
    come = [s.name for s in new.good() if s.name not in base.series]
    return changes, gone, come, shifts


def rounds_needed(comparisons):
    """Samples a side from which a lone change among so many comparisons can be significant."""
    n = 2
    while least_p(n, n) * max(comparisons, 1) >= ALPHA:
        n += 1
    return n
