# SPDX-License-Identifier: MIT
"""report.py - a run, told to somebody who has to choose: `report.py RUN.json FOLDER` writes
FOLDER/index.html, one file that needs no other, and FOLDER/run.csv."""
import argparse
import csv
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import jinja2

import advice
import charts
from results import (ALPHA, INDEXES, Run, TIMERS, Unreadable, corrected, p_value, quantile, size_of,
                     spread)

HERE = Path(__file__).parent

SUBJECTS = {  # in the order in which they are told
    "capture": ("Your capture", "ns a packet"),
    "track": ("The whole path of a packet", "ns a packet"),
    "translate": ("The same, translated", "ns a packet"),
    "life": ("A connection's life", "ns a packet"),
    "full": ("A full table", "ns a packet"),
    "latency": ("Latency of single operations", "ns"),
    "lookup": ("Lookup", "ns a lookup"),
    "insert": ("Insertion", "ns an insertion"),
    "remove": ("Removal", "ns a removal"),
    "mixed": ("Mixed operations", "ns an operation"),
    "touch": ("Prolonging a timer", "ns a touch"),
    "expire": ("Expiry", "ns a connection"),
    "timer": ("Timers", "ns a timer"),
    "helper": ("Helpers", "ns a packet"),
    "fragment": ("Fragments", "ns a packet"),
    "print": ("Printing and walking", "ns a connection"),
    "scale": ("Several threads", "ns a packet"),
}
UNNAMED = ("", "ns an operation")
# The floor that a way of calling can come near: what memory alone would take.
PROBE = {"single": "indep2", "dependent": "dep2", "burst32": "slide2", "burst256": "slide2",
         "window32": "slide2"}
DEFAULT = {"index": INDEXES[0], "timer": TIMERS[0]}


def probe_of(run, name):
    """The floor's median for this way of calling at this size, or None."""
    floor = run.floor(name.size, PROBE.get(name.how, "slide2"))
    return floor.median if floor else None


def subject_order(name):
    subjects = list(SUBJECTS)
    return subjects.index(name) if name in subjects else len(subjects)


def figure(value):
    """Three digits are all that such measurements carry."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def percent(value, digits=1):
    return f"{100 * value:.{digits}f} %"


def times(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


# ---- charts --------------------------------------------------------------------------------

def few(competitors):
    """At most one factor at a time, where all pairs would be too many to see: the indexes with the
    default timer, the timers with the default index, and the peers."""
    competitors = [s for s in competitors if not s.name.variant]
    if len(competitors) <= 8:
        return competitors
    return [s for s in competitors if s.name.kind == "peer" or s.name.timer == DEFAULT["timer"] or
            s.name.index == DEFAULT["index"]]


def point(series):
    return series.median, quantile(series.ns, 0.25), quantile(series.ns, 0.75)


def by_size(run, subjects, wanted=15):
    """Throughput against table size: a chart for each benchmark that has several sizes."""
    families = defaultdict(lambda: defaultdict(dict))
    for series in run.good():
        n = series.name
        if n.subject in subjects and n.kind != "floor" and not n.variant:
            families[n.subject, n.what, n.how][n.who][n.size] = series
    drawn, told = [], defaultdict(int)
    for (subject, what, how), curves in sorted(
            families.items(), key=lambda f: (subjects.index(f[0][0]), len(f[0][1]), f[0])):
        curves = {who: c for who, c in curves.items() if len(c) > 1}
        sizes = sorted({size for c in curves.values() for size in c}, key=size_of)
        if len(curves) < 2 or told[subject] == 3:
            continue
        told[subject] += 1
        if len(curves) > 10:
            curves = {who: c for who, c in curves.items()
                      if "/" not in who or who.endswith("/" + DEFAULT["timer"])}
        data = []
        for who in sorted(curves, key=charts.order):
            points = []
            for size in sizes:
                if size in curves[who]:
                    middle, low, high = point(curves[who][size])
                    points.append((size, 1e3 / middle, 1e3 / high, 1e3 / low))
            data.append((who, points))
        floor = []
        probe = PROBE.get(how, "slide2")
        bare = [(size, 1e3 / f.median) for size in sizes if (f := run.floor(size, probe))]
        top = max(p[1] for _, points in data for p in points)
        bare = [(size, y) for size, y in bare if y < 4 * top]
        if len(bare) > 1:
            floor = [(probe, bare)]
        drawn.append((len(data), charts.lines(f"{subject} {what}, {how}", "million a second", sizes,
                                              data, sizes=True, floor=floor), [w for w, _ in data]))
    return drawn[:wanted]


def by_load(run, wanted=6):
    """Time against load: what differs in nothing but how full it is."""
    families = defaultdict(lambda: defaultdict(list))
    for series in run.good():
        n, load = series.name, series.counter("load")
        if load is not None and n.kind != "floor" and n.subject in ("full", "insert", "lookup",
                                                                     "mixed", "track"):
            family = re.sub(r"-?\d+%?", "", n.what)
            families[n.subject, family, n.size, n.how][n.who].append((100 * load, series))
    drawn = []
    for (subject, family, size, how), curves in sorted(families.items()):
        curves = {who: points for who, points in curves.items()
                  if len({x for x, _ in points}) >= 3}
        if not curves:
            continue
        keep = {s.name.who for s in few([points[0][1] for points in curves.values()])}
        data = [(who, [(x, *point(s)) for x, s in sorted(curves[who], key=lambda p: p[0])])
                for who in sorted(keep, key=charts.order)]
        drawn.append((len(data), charts.lines(f"{subject} {family}, {size}, {how}", "ns", None, data,
                                              xlabel="% of the connections that fit"),
                      [w for w, _ in data]))
    return drawn[:wanted]


def tails(run, wanted=6):
    """How many operations took longer than so long, from the histograms."""
    families = defaultdict(list)
    for series in run.good():
        if any(key.startswith("lat_") for key in series.counters):
            n = series.name
            families[n.what, n.size].append(series)
    drawn = []
    for (what, size), competitors in sorted(families.items(),
                                            key=lambda f: (f[0][0], size_of(f[0][1]))):
        data = []
        for series in sorted(few(competitors), key=lambda s: charts.order(s.name.who)):
            counts = sorted((int(key[4:]), sum(values)) for key, values in series.counters.items()
                            if re.fullmatch(r"lat_\d+", key))
            total = sum(count for _, count in counts)
            left, points = total, []
            for ns, count in counts:
                left -= count
                if 1e-7 * total < left < total:
                    points.append((ns, left / total, left / total, left / total))
            if points:
                data.append((series.name.who, points))
        if data:
            drawn.append((len(data), charts.lines(
                f"{what}, {size}", "part that took longer", None, data,
                log_x=True, log_y=True, words=charts.part), [w for w, _ in data]))
    return drawn[:wanted]


PARTS = (("evicted", "somebody went for it", "other"), ("refused", "refused", "bad"),
         ("room", "there was room", "good"))


def pressure(run):
    """What became of newcomers, by kind of traffic; and what that took, by competitor."""
    rows = defaultdict(list)
    for series in run.good("ours"):
        if series.name.subject in ("full", "capture") and "evicted" in series.counters:
            rows[series.name.what, series.name.size].append(series)
    if not rows:
        return []
    sizes = [size for _, size in rows]
    largest = max(sizes, key=lambda size: (sizes.count(size), size_of(size)))
    shares, dots = [], []
    for (what, size), competitors in sorted(rows.items()):
        if size != largest:
            continue
        first = min(competitors, key=lambda s: charts.order(s.name.who))
        evicted, refused = first.counter("evicted") or 0, first.counter("refused") or 0
        shares.append((what, {"evicted": evicted, "refused": refused,
                              "room": max(0.0, 1 - evicted - refused)}))
        dots.append((what, [(s.name.who, *point(s)) for s in few(competitors)]))
    whos = sorted({who for _, marks in dots for who, *_ in marks}, key=charts.order)
    return [(0, charts.shares(f"What became of newcomers, {largest}", shares, PARTS), []),
            (len(whos), charts.dots(f"What a packet took, {largest}", "ns a packet", dots), whos)]


def memory(run, wanted=4):
    """Bytes a connection."""
    families = defaultdict(dict)
    for series in run.good():
        amount = series.counter("bytes")
        if amount and not series.name.variant:
            n = series.name
            families[n.subject, n.what, n.size][n.who] = amount
    ranked = sorted(families.items(), key=lambda f: (-sum("/" not in w for w in f[1]), -len(f[1]),
                                                     -size_of(f[0][2]), f[0]))
    drawn, seen = [], []
    for (subject, what, size), amounts in ranked:
        shape = sorted(round(v) for v in amounts.values())
        if shape in seen or len(amounts) < 2:
            continue
        seen.append(shape)
        drawn.append((0, charts.bars(f"{subject} {what}, {size}", "bytes a connection",
                                     list(amounts.items())), []))
    return drawn[:wanted]


def over_floor(run):
    """Each case at its largest size, in units of its floor."""
    rows = []
    best = {}
    for case, competitors in run.cases():
        subject, what, size, how = case
        if how in PROBE:
            best[subject, what, how] = (case, competitors)
    for (subject, what, how), (case, competitors) in best.items():
        base = probe_of(run, competitors[0].name)
        if base:
            marks = [(s.name.who, *(v / base for v in point(s))) for s in few(competitors)]
            rows.append((f"{subject} {what}\n{case[2]} {how}", marks))
    rows.sort(key=lambda row: subject_order(row[0].split()[0]))
    drawn = []
    for at in range(0, min(len(rows), 36), 12):
        part = rows[at:at + 12]
        whos = sorted({w for _, marks in part for w, *_ in marks}, key=charts.order)
        drawn.append((len(whos), charts.dots("Times the floor", "1: what memory alone takes", part,
                                             reference=1), whos))
    return drawn


def scaling(run):
    """Throughput of all threads together, one thread is 1."""
    rows = defaultdict(dict)
    for series in run.good("ours"):
        n = series.name
        threads = re.fullmatch(r"threads(\d+)", n.how)
        if threads:
            rows[n.what, n.size, n.who][int(threads[1])] = series.median
    table = []
    for (what, size, who), found in sorted(rows.items()):
        if 1 in found and len(found) > 1:
            for threads, ns in sorted(found.items()):
                if threads > 1:
                    table.append((what, size, who, threads, found[1] / ns / threads))
    return table


def legend(drawn):
    """The competitors in these charts, each with its mark."""
    whos = sorted({who for _, _, names in drawn for who in names}, key=charts.order)
    return [(who, charts.swatch(who)) for who in whos]


# ---- tables --------------------------------------------------------------------------------

def table_of(run):
    """[(subject, title, unit, [case])]: competitors from the fastest, each held against it."""
    subjects = defaultdict(list)
    for case, competitors in run.cases():
        ranked = sorted(competitors, key=lambda s: s.median)
        best = ranked[0]
        ps = corrected([p_value(best.ns, s.ns) for s in ranked[1:]])
        base = probe_of(run, best.name)
        rows = []
        for series, p in zip(ranked, [None, *ps]):
            rows.append({
                "who": series.name.who, "kind": series.name.kind, "median": series.median,
                "spread": spread(series.ns), "rounds": len(series.ns),
                "floor": series.median / base if base else None,
                "times": series.median / best.median,
                "p": p, "same": p is not None and p >= ALPHA,
                "extra": {key: series.counter(key) for key in
                          ("bytes", "evicted", "refused", "kept", "p50", "p99", "p999", "max")
                          if key in series.counters}})
        extras = sorted({key for row in rows for key in row["extra"]},
                        key=("bytes", "evicted", "refused", "kept", "p50", "p99", "p999",
                             "max").index)
        subjects[case[0]].append({"name": "/".join(case[1:]), "rows": rows, "extras": extras})
    return [(s, *SUBJECTS.get(s, UNNAMED), subjects[s]) for s in sorted(subjects, key=subject_order)]


def write_csv(run, path):
    """One line a sample."""
    extras = sorted({key for s in run.series.values() for key in s.counters
                     if not key.startswith("lat_")})
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["subject", "what", "size", "index", "timer", "how", "round", "ns", *extras])
        for series in run.good():
            n = series.name
            for at, (turn, ns) in enumerate(zip(series.rounds, series.ns)):
                counters = [series.counters[key][at] if at < len(series.counters.get(key, ())) else ""
                            for key in extras]
                out.writerow([n.subject, n.what, n.size, n.index, n.timer, n.how, turn, ns,
                              *counters])


# ---- the page ------------------------------------------------------------------------------

def environment():
    env = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True,
                             trim_blocks=True, lstrip_blocks=True)
    env.filters.update(figure=figure, percent=percent, times=times)
    env.globals["style"] = (HERE / "style.css").read_text(encoding="utf-8")
    return env


def machine(context):
    """What the figures were measured on and with: [(what, value)], without what is not known."""
    caches = ", ".join(f"L{c.get('level')} {c.get('type', '')[:4].lower()} "
                       f"{c.get('size', 0) // 1024} KiB" for c in context.get("caches", [])
                       if c.get("type") != "Instruction")
    rows = [("Processor", context.get("cpu")),
            ("Processors, MHz", f"{context.get('num_cpus', '?')}, {context.get('mhz_per_cpu', '?')}"
             + (", frequency scaling on" if context.get("cpu_scaling_enabled") else "")),
            ("Caches", caches), ("Memory", context.get("memory")), ("System", context.get("system")),
            ("Virtual machine", context.get("virtual")), ("Pages", context.get("pages")),
            ("Compiler", context.get("compiler")), ("Flags", context.get("flags")),
            ("keepstate", " ".join(filter(None, (context.get("keepstate_version"),
                                                 context.get("commit"))))),
            ("Load at the beginning", ", ".join(figure(x) for x in context.get("load_avg", []))),
            ("Taken", " ".join(filter(None, (context.get("date"), context.get("took"))))),
            ("Google Benchmark", f"{context['library_build_type']} build of the library"
             if context.get("library_build_type") else "")]
    return [(what, value) for what, value in rows if value]


def page_of(run):
    advices = advice.advise(run)
    duels = advice.duels(run)
    failed = run.failed()
    sizes = sorted({s.name.size for s in run.good() if s.name.kind != "floor"}, key=size_of)
    pairs = sorted({s.name.who for s in run.good("ours") if not s.name.variant}, key=charts.order)
    variants = sorted({s.name.who for s in run.good("ours") if s.name.variant})
    peers = sorted({s.name.who for s in run.good("peer")})
    noise = run.noise()
    sections = [
        ("sizes", "Throughput against table size", by_size(run, [s for s in SUBJECTS if s != "latency"]),
         "Higher is better. The wide pale line is the floor: what memory alone allows."),
        ("load", "Time against load", by_load(run), "Lower is better."),
        ("tails", "Latency tails", tails(run),
         "The part of operations that took longer than so many ns: further left is better."),
        ("pressure", "Eviction under pressure", pressure(run),
         "A full table and newcomers. Which are let in is the same for all back ends; the time is not."),
        ("bytes", "Bytes a connection", memory(run), "Lower is better. Everything included."),
        ("floor", "Ratio to the floor", over_floor(run),
         "Further left is better; the pale line at 1 is what memory alone would take."),
    ]
    return {
        "run": run, "alpha": ALPHA, "advices": advices, "overall": advice.overall(advices), "duels": duels,
        "wins": sum(d.verdict == "win" for d in duels),
        "losses": sum(d.verdict == "loss" for d in duels), "failed": failed,
        "failed_peers": sum(s.name.kind == "peer" for s in failed), "sizes": sizes,
        "pairs": pairs, "variants": variants, "peers": peers,
        "left_out": [p for p in re.split(r"[,\s]+", run.context.get("peers_left_out", "")) if p],
        "noise": noise, "worst_noise": max((s for *_, s in noise), default=None),
        "typical_noise": median(s for *_, s in noise) if noise else None,
        "typical_spread": median(spread(s.ns) for s in run.good()) if run.good() else 0,
        "rounds": run.rounds(), "count": len(run.good()), "machine": machine(run.context),
        "sections": [(key, title, drawn, note, legend(drawn))
                     for key, title, drawn, note in sections if drawn],
        "parts": PARTS, "scaling": scaling(run), "tables": table_of(run),
        "subjects": SUBJECTS, "capture": run.context.get("capture"),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="Google Benchmark's JSON, or measure.py's")
    parser.add_argument("folder", help="where index.html and run.csv go")
    options = parser.parse_args(arguments)
    try:
        run = Run.read(options.run)
    except Unreadable as problem:
        print(f"report: {problem}", file=sys.stderr)
        return 1
    if not run.good("ours"):
        print(f"report: {options.run}: not one benchmark of ours that succeeded", file=sys.stderr)
        return 1
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = environment().get_template("page.html").render(page_of(run))
    (folder / "index.html").write_text(page, encoding="utf-8")
    write_csv(run, folder / "run.csv")
    if Path(options.run).resolve() != (folder / "run.json").resolve():
        shutil.copyfile(options.run, folder / "run.json")
    print(f"report: {folder / 'index.html'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
