# SPDX-License-Identifier: MIT
"""charts.py - inline SVG by matplotlib, coloured by the page's CSS variables.

matplotlib draws in colours that stand for a variable each; they are replaced in the text, so that
one drawing is right by day, by night and on paper. Charts are narrow: a phone shows them whole,
a desk several in a row.
"""
import io
import re

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, rcParams  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: E402

from results import INDEXES, TIMERS  # noqa: E402

# A variable each; style.css gives them their values, twice.
VARIABLES = ("ink", "faint", "swiss", "chain", "cuckoo", "robin", "peer", "floor", "good", "bad",
             "other")
SENTINEL = {name: f"#01{at:02x}fe" for at, name in enumerate(VARIABLES)}
DASHES = {"wheel": "-", "hashed": "--", "lists": ":", "heap": "-."}
MARKS = {"wheel": "o", "hashed": "s", "lists": "D", "heap": "^"}
# Peers share a colour: their mark tells them apart, on paper too.
PEER_MARKS = {"rte_hash": "P", "absl": "X", "tsl": "v", "khash": "<", "uthash": ">", "glib": "*",
              "rculfhash": "p", "rte_timer": "P", "kernel": "h"}

rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "keepstate", "font.size": 9,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"],
    "text.color": SENTINEL["ink"], "axes.labelcolor": SENTINEL["ink"],
    "xtick.color": SENTINEL["ink"], "ytick.color": SENTINEL["ink"],
    "axes.edgecolor": SENTINEL["faint"], "grid.color": SENTINEL["faint"],
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.linewidth": 0.5, "axes.axisbelow": True, "axes.titlesize": 9.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "figure.facecolor": "none",
    "axes.facecolor": "none", "savefig.facecolor": "none", "lines.linewidth": 1.5,
    "lines.markersize": 4.5})


def look(who):
    """(variable, mark, dash) of a competitor: "swiss/wheel", a peer's name or a floor's."""
    index, _, timer = who.partition("/")
    if index in INDEXES:
        return index, MARKS.get(timer, "o"), DASHES.get(timer, "-")
    if timer:  # another hash
        return "other", {"fold": "1", "sip24": "2"}.get(index.rpartition("-")[2], "3"), "-"
    return "peer", PEER_MARKS.get(who, "d"), (0, (1, 2))


def order(who):
    """Ours first, by index then timer; peers by name."""
    index, _, timer = who.partition("/")
    if index in INDEXES:
        return (0, INDEXES.index(index), TIMERS.index(timer) if timer in TIMERS else 9, who)
    return (1 if timer else 2, 0, 0, who)


def part(value, _=None):
    """0.001 as 0.1 %."""
    return f"{100 * value:.6g} %"


def duration(value, _=None):
    """1500 as 1.5 us."""
    for unit, ns in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if value >= ns:
            return f"{value / ns:g} {unit}"
    return f"{value:g} ns"


def plain(value, _=None):
    """1500 as 1500, 0.25 as 0.25: no exponent, no tail of zeros."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _finish(figure, label):
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    text = file.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    # Coordinates to a tenth of a point: nobody sees more, and the file is half as large.
    def rounded(element):
        return re.sub(r"\d+\.\d\d+", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), element[0])

    text = re.sub(r"<[^>]*>", rounded, text)
    # What draws nothing, and what says what is so anyway.
    text = re.sub(r'<g>\s*<path d="[^"]*" style="fill: none"/>\s*</g>', "", text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"|; stroke-linecap: square', "", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    head = text.index(">")
    box = re.search(r'viewBox="[^"]*"', text[:head])[0]
    width = float(box.split()[2])
    for name, colour in SENTINEL.items():
        text = text.replace(colour, f"var(--{name})")
    # Sizes and weights stay; the family is the page's.
    text = re.sub(r'font: (?:(\w+) )?([\d.]+)px [^;"]*',
                  lambda m: f"font-size:{m[2]}px" + (f";font-weight:{m[1]}" if m[1] else ""), text)
    body = text[text.index(">") + 1:]
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><")
    body = re.sub(r"<defs></defs>|<g></g>", "", body)
    return (f'<svg {box} style="max-width:{width * 1.6:.0f}px" role="img" '
            f'aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">{body}')


def _axes(title, width=4.1, height=2.9):
    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.set_title(title)
    return figure, axes


def _logarithmic(axis, words=plain):
    axis.set_major_formatter(FuncFormatter(words))
    axis.set_minor_formatter(NullFormatter())


def _few_ticks(axes, values, which):
    """1-2-5 ticks where the values span little: a log axis of one decade has no other label."""
    values = [v for v in values if v > 0]
    if not values or max(values) / min(values) > 200:
        return
    low, high = min(values), max(values)
    ticks = [m * 10 ** e for e in range(-6, 13) for m in (1, 2, 5)
             if low / 2 <= m * 10 ** e <= high * 2]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(ticks)
    axis.set_minor_locator(NullLocator())


def lines(title, ylabel, xs, curves, *, sizes=False, log_x=False, log_y=False, xlabel="",
          floor=(), words=plain):
    """`curves`: [(who, [(x, y, low, high)])]. With `sizes`, `xs` are sizes' names, evenly spaced.
    `floor`: [(label, [(x, y)])], drawn as bare lines."""
    figure, axes = _axes(title)
    at = {x: i for i, x in enumerate(xs)} if sizes else None
    place = (lambda x: at[x]) if sizes else (lambda x: x)
    values = []
    for label, points in floor:
        axes.plot([place(x) for x, _ in points], [y for _, y in points], color=SENTINEL["floor"],
                  linewidth=3, alpha=0.55, label=label)
        values += [y for _, y in points]
    for who, points in curves:
        colour, mark, dash = look(who)
        x = [place(p[0]) for p in points]
        y = [p[1] for p in points]
        axes.plot(x, y, color=SENTINEL[colour], marker=mark, linestyle=dash,
                  markevery=1 + len(x) // 12)
        if any(p[2] != p[3] for p in points):
            axes.vlines(x, [p[2] for p in points], [p[3] for p in points],
                        color=SENTINEL[colour], linewidth=1, alpha=0.6)
        values += y
    if log_y:
        axes.set_yscale("log")
        _logarithmic(axes.yaxis, words)
        _few_ticks(axes, values, "y")
    else:
        axes.set_ylim(bottom=0)
    if sizes:
        axes.set_xticks(range(len(xs)), xs)
        axes.set_xlim(-0.3, len(xs) - 0.7)
    elif log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        _logarithmic(axes.xaxis, duration)
    axes.set_ylabel(ylabel)
    if xlabel:
        axes.set_xlabel(xlabel)
    return _finish(figure, title)


def dots(title, xlabel, rows, *, log=True, reference=None):
    """A line a row, a mark a competitor: `rows` is [(label, [(who, x, low, high)])]."""
    figure, axes = _axes(title, width=4.6, height=0.9 + 0.34 * len(rows))
    values = []
    for at, (_, marks) in enumerate(rows):
        for who, x, low, high in marks:
            colour, mark, _ = look(who)
            axes.plot([low, high], [at, at], color=SENTINEL[colour], linewidth=1, alpha=0.6)
            axes.plot([x], [at], color=SENTINEL[colour], marker=mark, linestyle="",
                      markersize=6, markeredgewidth=0.6, markeredgecolor="none", alpha=0.9)
            values.append(x)
    if log:
        axes.set_xscale("log")
        _logarithmic(axes.xaxis)
        _few_ticks(axes, values + ([reference] if reference else []), "x")
    else:
        axes.set_xlim(left=0)
    if reference is not None:
        axes.axvline(reference, color=SENTINEL["floor"], linewidth=3, alpha=0.55)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(xlabel)
    return _finish(figure, title)


def bars(title, xlabel, rows):
    """A bar a competitor, from the shortest, its figure beside it: `rows` is [(who, value)]."""
    rows = sorted(rows, key=lambda row: row[1])
    figure, axes = _axes(title, width=4.3, height=0.8 + 0.27 * len(rows))
    axes.barh(range(len(rows)), [value for _, value in rows],
              color=[SENTINEL[look(who)[0]] for who, _ in rows], height=0.7)
    for at, (_, value) in enumerate(rows):
        axes.text(value, at, " " + plain(value), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [who for who, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.14)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(xlabel)
    return _finish(figure, title)


def shares(title, rows, parts):
    """What became of each operation, as parts of one: `rows` is [(label, {part: share})];
    `parts` [(key, label, variable)]."""
    figure, axes = _axes(title, width=4.6, height=0.9 + 0.3 * len(rows))
    left = [0.0] * len(rows)
    for key, _, variable in parts:
        widths = [100 * share.get(key, 0.0) for _, share in rows]
        axes.barh(range(len(rows)), widths, left=left, color=SENTINEL[variable], height=0.7)
        left = [a + b for a, b in zip(left, widths)]
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("% of newcomers")
    return _finish(figure, title)


def swatch(who):
    """A competitor's mark for a legend."""
    colour, mark, dash = look(who)
    figure, axes = pyplot.subplots(figsize=(0.36, 0.16))
    axes.plot([0, 1, 2], [0, 0, 0], color=SENTINEL[colour], linestyle=dash)
    axes.plot([1], [0], color=SENTINEL[colour], marker=mark)
    axes.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1)
    text = _finish(figure, who)
    return text.replace('style="max-width:', 'class="swatch" data-w="')
