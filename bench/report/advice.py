# SPDX-License-Identifier: MIT
"""advice.py - which back ends for which traffic, in words that the figures of this run choose.

Nothing about a back end is known here: each kind of traffic names its benchmarks and what counts in
them; the pair with the least time over all of these, each taken relative to the best, wins. A pair
is as good as the winner unless it is slower beyond chance (Mann-Whitney U, corrected for their number) and
by more than what is worth a choice.
"""
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median

from results import ALPHA, INDEXES, TIMERS, geometric_mean, corrected, p_value, size_of

WORTH = 0.03  # a smaller difference is no reason to choose


def time_of(_, series):
    return series.ns


def counter_of(key):
    return lambda _, series: list(series.counters.get(key, ()))


# Traffic, benchmarks (SUBJECT/WHAT/…, a regular expression), what counts, its unit, in words.
TRAFFIC = (
    ("Your own capture", r"capture/", time_of, "ns", "replayed at its own clock, at each table size"),
    ("Long-lived connections: most packets hit", r"track/", time_of, "ns",
     "the whole path of a packet, by protocol, family and table size"),
    ("Short connections: web, DNS", r"life/", time_of, "ns", "open, some data, close"),
    ("Under attack: the table is full", r"full/", time_of, "ns",
     "newcomers at and beyond the limit: floods, scans, churn"),
    ("No stalls: the slowest packet in a thousand", r"latency/", counter_of("p999"), "ns",
     "p99.9 of single insertions at the limit and of kst_advance"),
    ("A classifier that mostly looks up", r"lookup/", time_of, "ns",
     "hits and misses by single calls, chains and batches"),
    ("Many set up from outside: restore, replicate", r"(insert|remove|mixed)/", time_of, "ns",
     "kst_insert and kst_delete"),
    ("Timers: touch, expire", r"(expire|touch|timer)/", time_of, "ns",
     "prolonging connections, and collecting expired ones"),
    ("Memory is short", r"(track|lookup|insert)/", counter_of("bytes"), "bytes",
     "bytes a connection, all included"),
)


@dataclass
class Advice:
    traffic: str
    about: str
    unit: str
    best: str                                   # "swiss/wheel", "swiss" if timers play no part
    equals: list = field(default_factory=list)  # those as good
    worse: list = field(default_factory=list)   # [(who, times as much)], from the best
    cases: list = field(default_factory=list)   # names of what was compared
    figure: float = 0.0                         # the winner's median in the largest case
    figure_of: str = ""
    rounds: int = 0

    @property
    def stands_out(self):
        return not self.equals


def _compared(run, pattern, samples_of):
    """{case: {who: samples}}: the cases that all competitors share."""
    cases = defaultdict(dict)
    for series in run.good("ours"):
        if re.match(pattern, str(series.name)) and not series.name.variant:
            samples = samples_of(run, series)
            if samples and median(samples) > 0:
                cases[series.name.case][series.name.who] = samples
    cases = {case: found for case, found in cases.items() if len(found) > 1}
    if not cases:
        return {}
    # With pairs missing here and there: the set of pairs that most were held against, by most cases.
    sets = Counter(frozenset(found) for found in cases.values())
    chosen = max(sets, key=lambda s: (len(s) * sum(n for other, n in sets.items() if s <= other),
                                      len(s)))
    return {case: {who: found[who] for who in chosen}
            for case, found in cases.items() if chosen <= set(found)}


def _names(whos):
    """What differs among the pairs: the pair, or its index or timer where the other is the same."""
    parts = [who.split("/") for who in whos]
    indexes, timers = {p[0] for p in parts}, {p[1] for p in parts}
    if len(timers) == 1:
        return {who: who.split("/")[0] for who in whos}
    if len(indexes) == 1:
        return {who: who.split("/")[1] for who in whos}
    return {who: who for who in whos}


def advise_one(run, traffic, pattern, samples_of, unit, about):
    cases = _compared(run, pattern, samples_of)
    if not cases:
        return None
    whos = sorted(next(iter(cases.values())))
    scores = {who: [] for who in whos}
    rounds = min(len(s) for found in cases.values() for s in found.values())
    best_of = {case: min(median(s) for s in found.values()) for case, found in cases.items()}
    for who in whos:
        for turn in range(rounds):
            scores[who].append(geometric_mean([max(found[who][turn], 1e-9) / best_of[case]
                                               for case, found in cases.items()]))
    ranked = sorted(whos, key=lambda who: median(scores[who]))
    winner = ranked[0]
    base = median(scores[winner])
    ps = corrected([p_value(scores[winner], scores[who]) for who in ranked[1:]])
    names = _names(whos)
    largest = max(cases, key=lambda case: (size_of(case[2]), case[3] == "burst32", case[1]))
    advice = Advice(traffic, about, unit, names[winner], rounds=rounds,
                    cases=["/".join(case) for case in sorted(cases)])
    for who, p in zip(ranked[1:], ps):
        times = median(scores[who]) / base
        if p < ALPHA and times > 1 + WORTH:
            advice.worse.append((names[who], times))
        else:
            advice.equals.append(names[who])
    for series in run.good("ours"):
        if series.name.case == largest and series.name.who == winner:
            advice.figure = series.median if unit == "ns" and samples_of is time_of else \
                median(samples_of(run, series))
            advice.figure_of = f"{largest[0]}/{largest[1]}, {largest[2]}, {largest[3]}"
    return advice


def advise(run):
    return [a for a in (advise_one(run, *row) for row in TRAFFIC) if a]


def overall(advices):
    """(part, times best or as good, of how many, exceptions) for indexes and timers: what to take
    when in doubt."""
    result = []
    for at, kind in ((0, "index"), (1, "timer")):
        wins, scored = Counter(), 0
        exceptions = []
        parts = []
        for advice in advices:
            part = [_part(name, at) for name in (advice.best, *advice.equals)]
            part = [p for p in part if p]
            if not part:
                continue
            others = {_part(name, at) for name, _ in advice.worse} - {""}
            if not others and len(set(part)) < 2:
                continue
            scored += 1
            wins.update(set(part))
            parts.append((advice, part))
        if not scored:
            continue
        most = max(wins.values())
        firsts = Counter(part[0] for _, part in parts)
        best = max((p for p in wins if wins[p] == most), key=lambda p: firsts[p])
        exceptions = [(advice.traffic, part[0]) for advice, part in parts if best not in part]
        result.append((kind, best, wins[best], scored, exceptions))
    return result


def _part(name, at):
    """The index (0) or timer (1) in an advice's name, "" if it plays no part there."""
    pieces = name.split("/")
    if len(pieces) == 2:
        return pieces[at]
    return name if name in (INDEXES, TIMERS)[at] else ""


# ---- against the peers ---------------------------------------------------------------------

@dataclass
class Duel:
    case: tuple
    ours: object       # Series
    peer: object
    ratio: float       # our time over the peer's: below 1 we are faster
    p: float
    verdict: str = "same"  # "win", "loss"


def duels(run):
    """Our best against the best peer, in each case that has both."""
    found = []
    for case, competitors in run.cases():
        ours = [s for s in competitors if s.name.kind == "ours" and not s.name.variant]
        peers = [s for s in competitors if s.name.kind == "peer"]
        if ours and peers:
            a = min(ours, key=lambda s: s.median)
            b = min(peers, key=lambda s: s.median)
            found.append(Duel(case, a, b, a.median / b.median,
                              p_value(a.ns, b.ns)))
    for duel, p in zip(found, corrected([d.p for d in found])):
        if p < ALPHA and abs(duel.ratio - 1) > WORTH:
            duel.verdict = "win" if duel.ratio < 1 else "loss"
    return found
