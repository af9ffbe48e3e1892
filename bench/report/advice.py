# SPDX-License-Identifier: MIT
"""advice.py - which back ends for which traffic, in words that the figures of this run choose.

Nothing about a back end is known here: each kind of traffic names its benchmarks and what counts in
them; the index, and the timer, with the least time over all of these, each taken relative to the best,
wins. Another is as good unless it is slower beyond chance (Mann-Whitney U, corrected for their number)
and by more than what is worth a choice; of those as good, the default is named.
"""
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median

from results import ALPHA, INDEXES, TIMERS, geometric_mean, corrected, p_value

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
class Choice:
    """Of indexes or timers."""
    best: str
    equals: list  # those that chance alone may have put behind it
    worse: list   # [(name, times as much)], from the best


@dataclass
class Advice:
    traffic: str
    about: str
    unit: str
    index: Choice = None  # None: nothing to choose was measured
    timer: Choice = None
    cases: int = 0
    rounds: int = 0
    figure: float = 0.0   # the best's median in the largest case
    figure_of: str = ""


def choose(groups):
    """`groups`: [{name: samples}], what differs in nothing but the name. Each sample counts relative to
    the best of its group; names are held together over the groups that have all of them."""
    names = max((frozenset(g) for g in groups),
                key=lambda s: (len(s) * sum(s <= set(g) for g in groups), sorted(s)))
    groups = [{n: g[n] for n in names} for g in groups if names <= set(g)]
    rounds = min(len(samples) for g in groups for samples in g.values())
    scores = {n: [geometric_mean([max(g[n][turn], 1e-9) / min(map(median, g.values())) for g in groups])
                  for turn in range(rounds)] for n in sorted(names)}
    ranked = sorted(scores, key=lambda n: median(scores[n]))
    first = ranked[0]
    choice = Choice(first, [], [])
    ps = corrected([p_value(scores[first], scores[n]) for n in ranked[1:]])
    for name, p in zip(ranked[1:], ps):
        times = median(scores[name]) / median(scores[first])
        if p < ALPHA and times > 1 + WORTH:
            choice.worse.append((name, times))
        else:
            choice.equals.append(name)
    for default in (INDEXES[0], TIMERS[0]):  # no reason to leave it
        if default in choice.equals:
            choice.equals[choice.equals.index(default)] = first
            choice.best = default
    return choice, len(groups), rounds


def advise_one(run, traffic, pattern, samples_of, unit, about):
    """Indexes are compared where all else, the timer included, is the same; timers likewise."""
    found = {"index": defaultdict(dict), "timer": defaultdict(dict)}
    largest = None
    for series in run.good("ours"):
        n = series.name
        samples = samples_of(run, series)
        if n.variant or not re.match(pattern, str(n)) or not samples or median(samples) <= 0:
            continue
        found["index"][n.case, n.timer][n.index] = samples
        found["timer"][n.case, n.index][n.timer] = samples
        key = (n.connections, n.how == "burst32", -len(n.what), n.what)
        if largest is None or key > largest[0]:
            largest = (key, n.case)
    advice = Advice(traffic, about, unit)
    for kind, groups in found.items():
        groups = [g for g in groups.values() if len(g) > 1]
        if groups:
            choice, cases, rounds = choose(groups)
            setattr(advice, kind, choice)
            advice.cases, advice.rounds = max(advice.cases, cases), rounds
    if not advice.index and not advice.timer:
        return None
    index = advice.index.best if advice.index else INDEXES[0]
    timer = advice.timer.best if advice.timer else TIMERS[0]
    there = {s.name.who: s for s in run.good("ours") if s.name.case == largest[1]}
    # Not every pair is measured in every case: then one that shares the index, or the timer.
    who = next((w for w in (f"{index}/{timer}", f"{index}/{TIMERS[0]}", f"{INDEXES[0]}/{timer}")
                if w in there), min(there))
    advice.figure = median(samples_of(run, there[who]))
    subject, what, size, how = largest[1]
    advice.figure_of = f"{subject}/{what}, {size}, {how}, {who}"
    return advice


def advise(run):
    return [a for a in (advise_one(run, *row) for row in TRAFFIC) if a]


def overall(advices):
    """For indexes and timers: what to take when in doubt, [(kind, name, kinds of traffic that it is best
    for or as good as the best, of how many, [(other traffic, what is best there)])]."""
    result = []
    for kind in ("index", "timer"):
        choices = [(a.traffic, getattr(a, kind)) for a in advices if getattr(a, kind)]
        wins = Counter(n for _, c in choices for n in (c.best, *c.equals))
        firsts = Counter(c.best for _, c in choices)
        if wins:
            best = max(sorted(wins), key=lambda n: (wins[n], firsts[n]))
            result.append((kind, best, wins[best], len(choices),
                           [(t, c.best) for t, c in choices if best not in (c.best, *c.equals)]))
    return result


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
