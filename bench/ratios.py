#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ratios.py - how fast, against the memory's floor and against others: one run of the benchmarks that the
table needs, their repetitions interleaved, medians; printed with the limits, and written as JSON.

    ratios.py build/bench/bench build/ratios.json     (what make ratios does)
    ROUNDS=9 MIN_TIME=0.3 HUGE=1 KIT=robin/wheel make ratios     more rounds, longer ones, pages of 2 MiB, another pair

Only ratios within one run mean anything on a machine that others use, too."""

import json
import os
import statistics
import subprocess
import sys

ROUNDS = max(5, int(os.environ.get("ROUNDS", "5")))
OURS = os.environ.get("KIT", "swiss/wheel")


def ours(subject, size="1M", how="single"):
    return f"{subject}/{size}/{OURS}/{how}"


def peer(name, subject, size="1M", how="single"):
    return f"{subject}/{size}/peer/{name}/{how}"


def floor(probe, size="1M"):
    return f"floor/probe/{size}/floor/{probe}/all"


# What it is called, what is measured, what it is held against, and how many times that it may be.
ROWS = [
    ("single lookup / independent two-line floor", ours("lookup/hit-v4"), floor("indep2"), 2.0),
    ("single lookup / DPDK rte_hash", ours("lookup/hit-v4"), peer("rte_hash", "lookup/hit-v4"), 0.55),
    ("single lookup / absl::flat_hash_map", ours("lookup/hit-v4"), peer("absl", "lookup/hit-v4"), 1.25),
    ("lookups in batches, IPv4 / sliding floor", ours("lookup/hit-v4", how="burst256"), floor("slide2"), 1.8),
    ("lookups in batches, IPv4 / rte_hash bulk", ours("lookup/hit-v4", how="burst256"),
     peer("rte_hash", "lookup/hit-v4", how="burst32"), 0.60),
    ("lookups in batches, IPv4, 64k / rte_hash bulk", ours("lookup/hit-v4", "64k", "burst256"),
     peer("rte_hash", "lookup/hit-v4", "64k", "burst32"), 0.60),
    ("lookups in batches, IPv4, 8M / sliding floor", ours("lookup/hit-v4", "8M", "burst256"), floor("slide2", "8M"), 1.8),
    ("lookups in batches, IPv4, 8M / rte_hash bulk", ours("lookup/hit-v4", "8M", "burst256"),
     peer("rte_hash", "lookup/hit-v4", "8M", "burst32"), 0.70),
    ("lookups in batches, IPv6 / sliding floor", ours("lookup/hit-v6", how="burst256"), floor("slide2"), 1.8),
    ("lookups in batches, IPv6 / rte_hash bulk", ours("lookup/hit-v6", how="burst256"),
     peer("rte_hash", "lookup/hit-v6", how="burst32"), 0.40),
    ("full packet, bursts of 256 / sliding write floor", ours("track/tcp", how="burst256"), floor("slide2w"), 4.5),
    ("full packet, bursts of 32 / sliding write floor", ours("track/tcp", how="burst32"), floor("slide2w"), 4.5),
    ("full packet, 64k / sliding write floor", ours("track/tcp", "64k", "burst256"), floor("slide2w", "64k"), 13),
    ("full packet, 8M / sliding write floor", ours("track/tcp", "8M", "burst256"), floor("slide2w", "8M"), 4.5),
    ("full packet, IPv6 / sliding write floor", ours("track/tcp-v6", how="burst256"), floor("slide2w"), 4.5),
    ("full packet with its checksum / sliding write floor", ours("track/tcp-checksum", how="burst256"),
     floor("slide2w"), None),
    ("full packet, one a call / rte_hash lookup", ours("track/tcp"), peer("rte_hash", "lookup/hit-v4"), 1.8),
    ("translated, bursts / tracked alone, the same table", ours("translate/tcp", how="burst256"),
     ours("track/tcp-nat", how="burst256"), 1.3),
    ("translated, one a call / tracked alone, the same table", ours("translate/tcp"), ours("track/tcp-nat"), 1.3),
    ("tracked under NAT, bursts / without", ours("track/tcp-nat", how="burst256"), ours("track/tcp", how="burst256"), None),
    ("new connection, one a call / rte_hash add", ours("insert/v4"), peer("rte_hash", "insert/v4"), 0.6),
    ("new connection, bursts / sliding write floor", ours("insert/v4", how="burst32"), floor("slide2w"), 4.0),
    ("new connection that evicts, one a call / below the limit", ours("full/new-evicting"), ours("insert/v4"), 1.5),
    ("new connection that evicts, bursts / below the limit", ours("full/new-evicting", how="burst32"),
     ours("insert/v4", how="burst32"), 1.5),
    ("keys that collide under CRC32C: lookup / any keys", ours("lookup/hit-v4-adversarial", how="burst256"),
     ours("lookup/hit-v4", how="burst256"), 1.2),
    ("keys that collide under CRC32C: new / any keys", ours("insert/v4-adversarial", how="burst32"),
     ours("insert/v4", how="burst32"), 1.2),
    ("expiry, all in one millisecond / sliding one-line floor", ours("expire/at-once", how="all"), floor("slide1"), 5),
    ("expiry, spread over milliseconds / sliding one-line floor", ours("expire/spread", how="all"), floor("slide1"), 5),
]
# Beside these: the tail of an insertion, a difference, and bytes.
EVICTING = ours("latency/new-evicting", how="time")
TOUCH = ours("touch/udp", how="burst32"), ours("touch/udp-fixed", how="burst32")


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def run(program, out):
    names = sorted({n for _, n, base, _ in ROWS for n in (n, base)} | {EVICTING, *TOUCH})
    present = set(subprocess.run([program, "--benchmark_list_tests"], check=True, capture_output=True,
                                 text=True).stdout.split())
    missing = [n for n in names if n not in present]
    chosen = [n for n in names if n in present]
    command = [program, "--memory=12", *(["--huge"] if os.environ.get("HUGE") else []), f"--benchmark_filter=^({'|'.join(chosen)})$",
               "--benchmark_enable_random_interleaving=true", f"--benchmark_repetitions={ROUNDS}",
               f"--benchmark_min_time={os.environ.get('MIN_TIME', '0.1')}", f"--benchmark_out={out}",
               "--benchmark_out_format=json"]
    print(f"{len(chosen)} benchmarks, {ROUNDS} rounds, interleaved ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout[-4000:] + "\nratios: a benchmark failed")
    with open(out, encoding="utf-8") as file:
        report = json.load(file)
    runs = {}
    for b in report["benchmarks"]:
        if b.get("run_type") == "iteration":
            runs.setdefault(b["run_name"], []).append(b)
    return report["context"], runs, missing


def row(name, base, values, limit, what):
    """One line: the median, its quartiles, and by how much the limit is missed."""
    value, low, high = values
    met = None if limit is None else value <= limit
    return {"name": name, "value": round(value, 3), "limit": limit, "base": base, "measured": what,
            "spread": [round(low, 3), round(high, 3)], "met": met,
            "over": None if limit is None else round(value / limit - 1, 3)}


def table(runs):
    rows = []

    def times(name, key="cpu_time"):
        return [b[key] for b in runs.get(name, [])]

    for title, name, base, limit in ROWS:
        a, b = times(name), times(base)
        if a and b:
            (alow, ahigh), (blow, bhigh) = quartiles(a), quartiles(b)
            rows.append(row(title, base, (statistics.median(a) / statistics.median(b), alow / bhigh,
                                          ahigh / blow), limit, name))
    tails = [b["p999"] / b["p50"] for b in runs.get(EVICTING, [])]
    if tails:
        rows.append(row("new connection that evicts: p99.9 / median", "its median",
                        (statistics.median(tails), *quartiles(tails)), 10, EVICTING))
    more, less = (times(name) for name in TOUCH)
    if more and less:
        (mlow, mhigh), (llow, lhigh) = quartiles(more), quartiles(less)
        rows.append(row("timer touched inside a packet, ns more than without", "ns",
                        (statistics.median(more) - statistics.median(less), mlow - lhigh, mhigh - llow),
                        1, TOUCH[0]))
    for title, name, limit in (("bytes a connection, IPv4", ours("lookup/hit-v4"), 96),
                               ("bytes a connection, IPv6-capable", ours("lookup/hit-v6", how="burst256"), 160)):
        if name in runs:
            b = runs[name][0]["bytes"]
            rows.append(row(title, "bytes", (b, b, b), limit, name))
    return rows


def main():
    program, out = sys.argv[1:3]
    context, runs, missing = run(program, out.replace(".json", "-run.json"))
    rows = table(runs)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")
    print(f"{OURS.replace('/', ' and ')}, {context['compiler']} {context['flags']}, commit {context['commit']}\n")
    print(f"{'':60} {'value':>8} {'spread':>15} {'limit':>6}")
    for r in rows:
        verdict = "" if r["met"] is None else "met" if r["met"] else f"MISSED by {100 * r['over']:.0f} %"
        limit = "" if r["limit"] is None else f"{r['limit']:g}"
        print(f"{r['name']:60} {r['value']:8.2f} {r['spread'][0]:6.2f} to {r['spread'][1]:5.2f} {limit:>6}  {verdict}")
    met = [r["met"] for r in rows if r["met"] is not None]
    print(f"\n{sum(met)} of {len(met)} met; {out} has them")
    for name in missing:
        print(f"not measured, not built in: {name}")


if __name__ == "__main__":
    main()
