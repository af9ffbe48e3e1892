#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bugs.py - plants each bug of bugs.txt in a copy of the core and tells who finds it.

    bugs.py                   who finds each: its witness in results.md; else recorded answers, sequences, corpora, suites
    bugs.py --ablation        what each kind of oracle finds by itself: crash only, + invariants, ...
    bugs.py --empty           hunts each from an empty corpus, with no engine and with libFuzzer
    bugs.py --only REGEX      those alone      --sample N   so many, chosen by --seed
"""
import argparse
import random
import re
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import judges
from judges import CLIMBING, CORE, FAST, PLAIN, ROOT, SANITIZED, Bench, Trial, Verdict
from switches import Switches

HERE = Path(__file__).resolve().parent
MISSED = "?\tby the quick round"
LADDER = ["crash", "invariants", "differential", "model", "tests"]
OTHER_KITS = [("swiss", "wheel"), ("chain", "hashed"), ("cuckoo", "lists"), ("robin", "heap")]


class Bug:
    def __init__(self, name, kind, history):
        self.name, self.kind, self.history = name, kind, "" if history == "-" else history
        self.changes = []  # (room, after, old, new)

    def rooms(self):
        return [room for room, _, _, _ in self.changes]

    def texts(self):
        """What it changes: the rooms, as they read then. An error if what is to be changed is not there just once."""
        texts = {room: (CORE / room).read_text() for room in self.rooms()}
        for room, after, old, new in self.changes:
            begin = 0
            if after is not None:
                place = pattern(after).search(texts[room])
                if not place:
                    raise SystemExit(f"{self.name}: {room} has no `{after}`")
                begin = place.end()
            found = list(pattern(old).finditer(texts[room], begin))
            if not found or (len(found) > 1 and after is None):
                raise SystemExit(f"{self.name}: {room} has {len(found)} times\n  {old}")
            texts[room] = texts[room][: found[0].start()] + new + texts[room][found[0].end() :]
        return texts


def pattern(text):
    return re.compile(r"\s+".join(re.escape(word) for word in text.split()))


def read(path):
    bugs, field, room, after, change = [], None, None, None, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        word, _, rest = line.partition(" ")
        if line.startswith("#"):
            continue
        if word == "bug":
            bugs.append(Bug(*(part.strip() for part in rest.split("|"))))
        elif word == "in":
            room = rest
        elif word == "after":
            after = rest
        elif word == "-":
            change = [room, after, rest, ""]
            bugs[-1].changes.append(change)
            after, field = None, 2
        elif word == "+":
            change[3], field = rest, 3
        elif line.startswith(" ") and change is not None:
            change[field] += "\n" + line
        elif line.strip():
            raise SystemExit(f"{path}:{number}: not understood: {line}")
    names = [bug.name for bug in bugs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SystemExit(f"{path}: two bugs have one name: {twice}")
    return bugs


def witnesses():
    """Of each bug, what found it last time: results.md."""
    return dict(re.findall(r"^\| (\S+) \|[^|]*\|[^|]*\| \w+ \| ([^|]*) \|$", (HERE / "results.md").read_text(), re.M))


def find(bench, bug, trial, quick=False, again=False, witness=""):
    """Who finds it first: the witness, if there was one. `again`: the quick ones have not."""
    if witness and not again:
        found = judges.recall(bench, trial, witness)
        if found:
            return found
    found = judges.judge(bench, trial, (), [PLAIN]) if quick else judges.judge(bench, trial, judges.inner(bug.rooms()), again=again)
    if found is None:
        raise SystemExit(f"{bug.name}: does not compile")
    return found


def climb(bench, bug, trial):
    """The lowest rung of the ladder that finds it over the whole of the corpora."""
    if trial.core(CLIMBING) is None:
        raise SystemExit(f"{bug.name}: does not compile\n{trial.complaint}")
    rungs = {}

    def note(found):
        if found and found.oracle not in rungs:
            rungs[found.oracle] = found.witness

    status, output = trial.ask("vectors", CLIMBING, ["--digest", "--index", trial.kit[0], "--timer", trial.kit[1], *judges.VECTORS])
    note(judges.verdict("vectors", status, output))
    def track(level): # the target that can leave oracles out
        return judges.verdict("track", *trial.ask("track", CLIMBING, ["--oracles", str(level), *bench.arguments("track")]))

    if "crash" not in rungs and track(3): # whom all together miss, none finds
        for level, oracles in enumerate(LADDER[:4]):
            found = track(level)
            if found:
                note(found if found.oracle == "crash" else Verdict(oracles, found.witness))
                break
    if not {"crash", "invariants", "differential"} & set(rungs):
        trial.core(FAST)
        for index, timer in OTHER_KITS:
            again = ["--digest", "--index", index, "--timer", timer, *judges.VECTORS]
            if digest(trial.ask("vectors", FAST, again)[1]) != digest(output):
                note(Verdict("differential", f"vectors: {'-'.join(trial.kit)} and {index}-{timer} differ"))
                break
    if not rungs:
        note(judges.judge(bench, trial, judges.inner(bug.rooms())))
    for rung in LADDER:
        if rung in rungs:
            return Verdict(rung, rungs[rung])
    return Verdict()


def digest(output):
    found = re.search(r"^digest (\w+)", output, re.M)
    return found.group(1) if found else None


# Who hunts for a bug in which room, by the front of its name: those that reach it, the likeliest first.
HUNTERS = [("index_", ["index", "track"]), ("timer_", ["timer", "track"]), ("help_text", ["helper"]), ("help_", ["helper", "nat"]),
           ("help.h", ["api", "helper", "nat"]), ("expect", ["api", "helper"]), ("nat", ["nat", "api"]), ("rewrite", ["nat"]),
           ("adjust", ["nat"]), ("defrag", ["frag"]), ("proto_tcp", ["tcp", "track"]), ("proto_sctp", ["tcp", "track"]),
           ("proto_", ["track", "tcp", "parse"]), ("checksum", ["parse", "track", "nat"]), ("parse", ["parse", "track", "frag"]),
           ("track", ["track", "api", "helper", "nat", "tcp"]), ("line", ["text"]), ("calls", ["api", "track"]), ("event", ["api"]),
           ("shard", ["parse"]), ("table", ["track", "api", "tcp", "nat"]), ("", ["track", "api", "tcp"])]


def hunters(bug):
    return next(targets for front, targets in HUNTERS if bug.rooms()[0].startswith(front))


def hunt(bug, trial, seconds, seed):
    """From nothing, the targets by turns, each with no engine and then with libFuzzer, each turn longer: (CPU-seconds, who found it),
    or (CPU-seconds, '')."""
    corpora = {target: trial.folder / f"corpus-{bug.name}-{target}" for target in hunters(bug)}
    for corpus in corpora.values():
        shutil.rmtree(corpus, ignore_errors=True)
        corpus.mkdir(parents=True)
    used, turn_s = 0.0, 5
    while used < seconds:
        for target, corpus in corpora.items():
            for way in (fresh, evolved):
                turn = max(1, int(min(turn_s, seconds - used)))
                status, spent = way(trial, target, corpus, turn, seed)
                used += spent
                if status != 0:
                    return used, target if way is evolved else f"{target}, no engine"
        seed += 1
        turn_s *= 2
    return used, ""


def fresh(trial, target, corpus, turn_s, seed):
    """Inputs made anew, without sanitizers: some times as many in a second."""
    program = trial.judge(target)
    status, _, spent = judges.run_timed([program, "--seed", str(seed), "--runs", "1000000000", "--seconds", str(turn_s), "--no-shrink",
                                         "--keep", corpus / "failed"], turn_s + 60, **trial.environment())
    return status, spent


def evolved(trial, target, corpus, turn_s, seed):
    words = ROOT / f"harness/fuzz/{target}.dict"
    status, _, spent = judges.run_timed([trial.fuzzer(target), f"-max_total_time={turn_s}", "-max_len=4096", "-len_control=0", "-timeout=5",
                                         "-entropic=0", f"-seed={seed}", "-rss_limit_mb=2048", "-verbosity=0",
                                         f"-artifact_prefix={corpus}/", *([f"-dict={words}"] if words.exists() else []),
                                         corpus], turn_s + 60, **trial.environment())
    return status, spent


def spent_s(words):
    return float(words.split("\t")[1].split()[0])


def progress(done, of, bug, words):
    print(f"{done:4}/{of}  {bug.name:32} {words}", flush=True)


def each(jobs, items, work):
    """Does `work(item, folder number)` for each, so many at a time, in order of completion."""
    free = list(range(jobs))

    def one(item):
        number = free.pop()
        try:
            return item, work(item, number)
        finally:
            free.append(number)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, items)


def table(rows, out):
    """Markdown: what each oracle finds, by class; then every bug."""
    kinds = sorted({bug.kind for bug, _ in rows}, key=[bug.kind for bug, _ in rows].index)
    out.write("| class | bugs | " + " | ".join(["crash only", "+ invariants", "+ back ends", "+ model", "+ tests"]) +
              " |\n|---|---|---|---|---|---|---|\n")
    for kind in [*kinds, "all"]:
        of = [found for bug, found in rows if kind in ("all", bug.kind)]
        counts = [sum(f.oracle in LADDER[: i + 1] for f in of) for i in range(len(LADDER))]
        if kind == "all":
            counts = [f"{c} ({100 * c / len(of):.1f} %)" for c in counts]
        out.write(f"| {kind} | {len(of)} | " + " | ".join(map(str, counts)) + " |\n")


def hunted(rows, unasked, options):
    """Who was found from nothing, and when."""
    with open(options.out, "w") as out:
        times = sorted(float(found.witness.split()[0]) for _, found in rows if found)
        out.write("# Planted bugs, hunted from nothing\nMade by `make bugs EMPTY=1`: the targets that reach the room of the bug by turns, with inputs "
                  "made anew and no engine, then libFuzzer with an empty corpus; compiling is not counted.\n\n"
                  f"- {len(times)} of {len(rows)} that were hunted are found" +
                  (f", half of them within {statistics.median(times):.1f} CPU-seconds, the last after {times[-1]:.0f}" if times else "") +
                  f"\n- {len(rows) - len(times)} are not: for how long they were hunted, the table says"
                  f"\n- {len(unasked)} were not hunted yet\n\n| bug | class | found by | after |\n|---|---|---|---|\n")
        for bug, found in rows:
            out.write(f"| {bug.name} | {bug.kind} | {found.oracle or 'nobody'} | {found.witness} |\n")


def noted(text, options):
    """What a table says that was written earlier: of each bug "found by<tab>witness"."""
    columns = r"[^|]*" if options.empty else r"[^|]* \| [^|]*"
    rows = re.findall(r"^\| (\S+) \| " + columns + r" \| (\S[^|]*) \| (.*) \|$", text, re.M)
    return {name: ("" if "nobody" in found else found) + "\t" + witness.replace("\\|", "|") for name, found, witness in rows
            if (witness.endswith("CPU-seconds") if options.empty else found in [*LADDER, "**nobody**"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build/bugs"), help="folder to work in")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--quick", action="store_true", help="without sanitizers, and no suite that looks inside")
    parser.add_argument("--anew", action="store_true", help="do not begin with the witnesses of results.md")
    parser.add_argument("--empty", action="store_true")
    parser.add_argument("--resume", action="store_true", help="go on where the last one of this kind ended")
    parser.add_argument("--seconds", type=int, default=300, help="of a hunt, each")
    parser.add_argument("--minutes", type=float, default=1e9, help="then no further one is asked for")
    parser.add_argument("--check", action="store_true", help="only that each can be planted, and compiles")
    parser.add_argument("--out", help="write the table there")
    options = parser.parse_args()

    every = read(HERE / "bugs.txt")
    bugs = [bug for bug in every if re.search(options.only, bug.name)]
    if options.sample:
        bugs = random.Random(options.seed).sample(bugs, min(options.sample, len(bugs)))
    build = Path(options.build)
    begin = time.time()
    bench = Bench(build / "objects")
    if options.check:
        wrong = [bug for bug in bugs if Trial(bench, build / "check", bug.texts()).core(["-fsyntax-only"]) is None]
        for bug in wrong:
            print(f"{bug.name}: does not compile")
        print(f"{len(bugs) - len(wrong)} bugs can be planted")
        return 1 if wrong else 0
    switches = Switches(bench, build / "switches", bugs)
    if not options.empty:
        bench.prebuild()
        judges.measure(bench, switches.trial(), [PLAIN], options.ablation)
        if options.ablation:
            judges.measure(bench, switches.trial(), [CLIMBING], False)
        print(f"the clean core: nobody complains ({time.time() - begin:.0f} s)", flush=True)
        begin = time.time()
    recalled = {} if options.anew else witnesses()
    rows, book = [], build / ("hunted" if options.empty else "climbed" if options.ablation else "found")
    known = dict(line.split("\t", 1) for line in book.read_text().splitlines()) \
        if options.resume and book.exists() else {}
    if options.resume and not known and (options.empty or options.ablation) and options.out and Path(options.out).exists():
        known = noted(Path(options.out).read_text(), options)
    book.write_text("".join(f"{name}\t{words}\n" for name, words in known.items()))
    short = {name: words for name, words in known.items() if options.empty and words.startswith("\t") and spent_s(words) < options.seconds}
    known = {name: words for name, words in known.items() if name not in short} # who was missed is hunted again, if for longer

    late = []

    def work(bug, number, quick=options.quick):
        missed = known.get(bug.name) == MISSED
        if missed and quick:
            return None
        if (missed or bug.name not in known) and time.time() - begin > options.minutes * 60:
            late.append(bug)
            return None
        if missed or bug.name not in known:
            trial = switches.trial(bug, build / f"trial{number}")
            if options.empty:
                seconds, target = hunt(bug, trial, options.seconds, options.seed)
                found = Verdict(target, f"{seconds:.1f} CPU-seconds")
            elif options.ablation:
                found = climb(bench, bug, trial)
            else:
                found = find(bench, bug, trial, quick, missed, recalled.get(bug.name, ""))
            known[bug.name] = f"{found.oracle}\t{found.witness}"
            if not found and quick and not options.quick: # the second round has it
                known[bug.name] = MISSED
            with book.open("a") as file:
                file.write(f"{bug.name}\t{known[bug.name]}\n")
        return Verdict(*known[bug.name].split("\t", 1)) if known[bug.name] != MISSED else None

    two_rounds = not (options.quick or options.ablation or options.empty) # all who judge quickly, then all for the rest
    if two_rounds:
        first = {bug.name for bug, found in each(options.jobs, bugs, lambda bug, number: work(bug, number, True)) if found}
        print(f"{len(first)} of {len(bugs)} at once, by recorded answers, seeds and suites ({time.time() - begin:.0f} s)", flush=True)
        late.clear()
        if len(first) < len(bugs) and time.time() - begin < options.minutes * 60:
            judges.measure(bench, switches.trial(), [SANITIZED])
    for bug, found in each(options.jobs, bugs, work):
        if found is None:
            continue
        rows.append((bug, found))
        progress(len(rows), len(bugs), bug, f"{found.oracle:12} {found.witness}" if found else "NOBODY")

    if not rows:
        raise SystemExit("nothing was asked")
    rows.sort(key=lambda row: every.index(row[0]))
    killed = [bug for bug, found in rows if found]
    print(f"\n{len(killed)} of {len(rows)} found, {100 * len(killed) / len(rows):.1f} %, "
          f"in {time.time() - begin:.0f} s")
    if options.empty:
        times = [spent_s(known[bug.name]) for bug in killed]
        if times:
            print(f"median {statistics.median(times):.1f} s, longest {max(times):.0f} s")
    for bug, found in rows:
        if not found:
            print(f"nobody found {bug.name}: {bug.history or bug.kind}")
    open_ = [bug.name for bug in late if bug.name in known]
    unasked = [bug.name for bug in late if bug.name not in known]
    if late:
        print(f"the time was up: {len(open_)} were missed by the quick round and not asked further, {len(unasked)} not at all")
    if options.ablation:
        table(rows, sys.stdout)
    if options.out and options.empty:
        rows += [(bug, Verdict("", short[bug.name].strip())) for bug in late if bug.name in short]
        hunted(sorted(rows, key=lambda row: every.index(row[0])), [name for name in unasked if name not in short], options)
    elif options.out:
        with open(options.out, "w") as out:
            out.write("# Planted bugs, and who finds them\nMade by `make bugs ABLATION=1`. The witness is what "
                      f"found it first on the lowest rung. {len(rows)} of {len(every)} bugs were asked for.\n\n" if options.ablation else
                      "# Planted bugs, and who finds them\nMade by `make bugs`. Who is named here is asked first, then the others, the quickest first: "
                      "`found by` is one that finds it, not the only one; a crash is an assertion, a signal, a "
                      "sanitizer or no end.\n\n"
                      f"Of {len(every)} bugs\n- {len(killed)} are found\n- {len(rows) - len(killed)} are not, by any judge\n"
                      f"- {len(open_)} were missed by the quick round (plain builds, nobody who looks inside) and not asked "
                      f"further: {', '.join(open_) or 'none'}\n- {len(unasked)} were not asked for at all: "
                      f"{', '.join(unasked) or 'none'}\n")
            if options.ablation:
                table(rows, out)
            out.write("\n| bug | class | history | found by | witness |\n|---|---|---|---|---|\n")
            for bug, found in rows:
                witness = found.witness.replace("|", "\\|")
                out.write(f"| {bug.name} | {bug.kind} | {bug.history} | {found.oracle or '**nobody**'} | {witness} |\n")
    return 0 if len(killed) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
