#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutants.py - small changes of the core made by machine, one at a time, and how many of them anybody notices.

    mutants.py --sample 500   so many, chosen by --seed (N=500 SEED=1 of make mutants)
    mutants.py --list         all there are, without trying them

Operators: another comparison, && for ||, another arithmetic or bit operator, a negation left out, a constant one
more or less, a condition always true or never, a statement left out, two arguments exchanged. kst_check and its
helpers are left out, they are oracles; so is what only prefetches. All that are tried lie in one core, each in a
copy of its function that an environment variable chooses: so core, harness and suites are compiled once.

What gcc -O2 makes the same object code of is no mutant. Survivors must stand in survivors.txt: `room | function |
was => is | why nobody can notice`, or what test is wanting; a survivor that does not is an error.
"""
import argparse
import collections
import hashlib
import random
import re
import sys
import time
from pathlib import Path

import judges
from bugs import each, progress
from judges import CORE, PLAIN, ROOT, Bench, Trial
from switches import Switches

HERE = Path(__file__).resolve().parent
MISSED = "?\tby who asks quickly"
ROOMS_WITHOUT = {"api.h", "config.h", "invariants.h", "keepstate.h", "kit.h", "index.h", "timer.h"}
COMPARISONS = {"<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"], "==": ["!="], "!=": ["=="]}
OTHERS = {"&&": ["||"], "||": ["&&"], "+": ["-"], "-": ["+"], "*": ["+"], "/": ["*"], "%": ["/"], "<<": [">>"],
          ">>": ["<<"], "&": ["|"], "|": ["&"], "^": ["|"], "+=": ["-="], "-=": ["+="], "|=": ["&="], "&=": ["|="],
          "++": ["--"], "--": ["++"]}
BINARY = re.compile(r"(?<=[\w)\]] )(<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\|=|&=|[<>+\-*/%&|^])(?= [\w(!~*&\"'-])")
STEP = re.compile(r"(\+\+|--)")
NUMBER = re.compile(r"(?<![\w.\"'])(\d+|0x[0-9a-f]+)(?=[uU]?\b)(?![\w.\"'])")
CONDITION = re.compile(r"\b(if|while) \((.+)\)( \{)?$")
STATEMENT = re.compile(r"^\s+(?!return|const|static|struct|uint|int|bool|case|default|else|goto|break|typedef|enum)"
                       r"[\w*(][^{}]*;$")
CALL = re.compile(r"\b(kst__\w+|memcmp|memcpy)\(([^(),]+), ([^(),]+)\)")


class Mutant:
    def __init__(self, room, function, line, operator, before, after):
        self.room, self.line, self.operator, self.before, self.after = room, line, operator, before, after
        self.name = f"{room}:{line}"
        self.words = f"{function} | {squeeze(before)} => {squeeze(after)}" # as survivors.txt has it

    def rooms(self):
        return [self.room]

    def texts(self):
        """What it changes: the rooms, as they read then."""
        lines = (CORE / self.room).read_text().split("\n")
        lines[self.line - 1] = self.after
        return {self.room: "\n".join(lines)}


def code_lines(text):
    """(number, line, function) of each line that is inside a function and may be changed."""
    comment = skipped = inside = False
    function = ""
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"(static|KST_INLINE|KST_API|\w[\w ]*\**kst_\w+\().*", line) and not line.endswith(";"):
            inside = True
            function = re.search(r"(\w+)\(|$", line).group(1) or ""
            skipped = re.search(r"kst__\w*(check|prefetch|peek)\w*\(", line) is not None
        if line.startswith("}"):
            inside = False
        starts = line.strip().startswith("/*")
        if starts or comment:
            comment = "*/" not in line
            continue
        if inside and not skipped and line.startswith(" ") and not re.search(r"KST_ASSERT|KST_PREFETCH|^\s*(/\*|\*|#)|\\$", line):
            yield number, line, function


def mutants_of(room):
    made = []
    for number, line, function in code_lines((CORE / room).read_text()):
        code = line.split("/*")[0].rstrip()
        rest = line[len(code):]

        def add(operator, changed):
            if changed != code:
                made.append(Mutant(room, function, number, operator, line, changed + rest))

        def at(match, new, group=1):
            return code[: match.start(group)] + new + code[match.end(group):]

        if '"' in code:
            continue
        for match in BINARY.finditer(code):
            for new in {**COMPARISONS, **OTHERS}[match.group(1)]:
                add("comparison" if match.group(1) in COMPARISONS else "operator", at(match, new))
        for match in STEP.finditer(code):
            add("operator", at(match, OTHERS[match.group(1)][0]))
        for match in re.finditer(r"(!)(?=[\w(])", code):
            add("negation", at(match, ""))
        for match in NUMBER.finditer(code):
            value = int(match.group(1), 0)
            for new in {value + 1, abs(value - 1)}:
                add("constant", at(match, str(new)))
        match = CONDITION.search(code)
        if match and match.group(2).count("(") == match.group(2).count(")"):
            if match.group(1) == "if":
                add("condition", at(match, "true", 2))
            add("condition", at(match, "false", 2))
        if STATEMENT.match(code) and code.count("(") == code.count(")") and \
                not re.match(r"^\s+[\w ]*\w+ \*?\w+( =.*)?;$", code.replace("return", "")) or \
                re.match(r"^\s+[\w>.\-\[\]]+ = [^{}]*;$", code) and code.count("(") == code.count(")"):
            add("statement", re.match(r"\s*", code).group(0) + ";")
        for match in CALL.finditer(code):
            if match.group(2) != match.group(3):
                add("arguments", code[: match.start(2)] + match.group(3) + ", " + match.group(2) + code[match.end(3):])
    return made


def object_of(trial):
    """What gcc -O2 makes of the core, names and lines aside; None if it does not compile."""
    out = trial.folder / "o2.o"
    if judges.run(["gcc", "-std=c11", "-w", "-O2", "-DNDEBUG", "-DKST_ALL_BACK_ENDS", f"-I{trial.folder}/core", "-c",
                   trial.folder / "core.c", "-o", out])[0] != 0:
        return None
    text = judges.must(["objdump", "-d", "-r", "-s", "-j", ".text", "-j", ".text.unlikely", "-j", ".rodata", "-j",
                        ".data.rel.ro.local", "-j", ".data.rel.ro", out])
    return hashlib.sha256(text.split("\n", 3)[3].encode()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build/mutants"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="rooms, a regular expression")
    parser.add_argument("--resume", action="store_true", help="go on where the last one of this seed ended")
    parser.add_argument("--minutes", type=float, default=1e9, help="then nobody is asked about further who was missed by the quick ones")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    rooms = [room.name for room in sorted(CORE.glob("*.h")) if room.name not in ROOMS_WITHOUT]
    mutants = [mutant for room in rooms if re.search(options.only, room) for mutant in mutants_of(room)]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.operator}: {mutant.before.strip()}  ->  {mutant.after.strip()}")
        print(f"{len(mutants)} mutants: {dict(collections.Counter(m.operator for m in mutants))}")
        return 0
    sample = random.Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
    build = Path(options.build)
    bench = Bench(build / "objects")
    bench.prebuild()
    switches = Switches(bench, build / "switches", sample)
    judges.measure(bench, switches.trial())
    clean = object_of(Trial(bench, build / "clean"))
    known = survivors()
    finders = collections.Counter()
    begin = time.time()
    book = build / f"asked-{options.seed}"
    asked = dict(line.split("\t", 1) for line in book.read_text().splitlines()) if options.resume and book.exists() else {}
    book.write_text("".join(f"{key}\t{words}\n" for key, words in asked.items()))

    def key(mutant):
        return f"{mutant.name} {squeeze(mutant.after)}"

    def note(mutant, oracle, words):
        asked[key(mutant)] = f"{oracle}\t{words}"
        with book.open("a") as file:
            file.write(f"{key(mutant)}\t{oracle}\t{words}\n")

    def reason_of(mutant):
        return known.get((mutant.room, mutant.words))

    def ask(mutant, number, quick):
        """Who asks quickly is asked about all, before the others are about those that are left."""
        if not quick and (time.time() - begin > options.minutes * 60 or asked[key(mutant)] != MISSED or reason_of(mutant)) or \
                quick and key(mutant) in asked:
            return
        folder = build / f"trial{number}"
        trial = switches.trial(mutant, folder)
        found = judges.judge(bench, trial, (), [PLAIN]) if quick else \
            judges.judge(bench, trial, judges.inner(mutant.rooms(), finders), again=True)
        if found is None:
            note(mutant, "no mutant", "does not compile")
        elif found:
            finders[mutant.room, found.witness.split(":")[0]] += 1
            note(mutant, found.oracle, found.witness)
        elif quick:
            note(mutant, *MISSED.split("\t"))
        elif object_of(Trial(bench, folder, mutant.texts())) == clean:
            note(mutant, "no mutant", "the same object code")
        else:
            note(mutant, "", "SURVIVES")

    for quick in (True, False):
        for count, (mutant, _) in enumerate(each(options.jobs, sample, lambda mutant, number: ask(mutant, number, quick)), 1):
            if quick or asked[key(mutant)] != MISSED:
                progress(count, len(sample), mutant, asked[key(mutant)].replace("\t", "  "))
        missed = [mutant for mutant in sample if asked[key(mutant)] == MISSED]
        if quick:
            print(f"{len(missed)} of {len(sample)} are missed by recorded answers, seeds and quick suites, and asked about further "
                  f"({time.time() - begin:.0f} s)", flush=True)

    results = collections.Counter()
    unknown = []
    for mutant in sample:
        oracle, words = asked[key(mutant)].split("\t", 1)
        reason = reason_of(mutant) if oracle in ("", "?") else None
        results[reason.split(":")[0] if reason else {"": "survives", "?": "open"}.get(oracle, oracle)] += 1
        if oracle == "" and not reason:
            unknown.append(mutant)
    real = len(sample) - results["no mutant"] - results["equivalent"]
    dead = real - results["survives"] - results["wanting"] - results["open"]
    print(f"\n{len(mutants)} mutants there are, {len(sample)} tried; {results['no mutant']} of them are none after all, "
          f"{results['equivalent']} equivalent by survivors.txt; of the {real} others {dead} die, "
          f"{100 * dead / max(real, 1):.1f} %, in {time.time() - begin:.0f} s")
    if results["open"]:
        print(f"{results['open']} were missed by who asks quickly, and then the time was up")
    if results["wanting"]:
        print(f"{results['wanting']} survive for want of the tests that survivors.txt names")
    for mutant in unknown:
        print(f"survives: {mutant.room} | {mutant.words} | (line {mutant.line})")
    return 1 if unknown else 0


def squeeze(text):
    return " ".join(text.split())


def survivors():
    known = {}
    for line in (HERE / "survivors.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            room, rest = line.split(" | ", 1)
            words, reason = rest.rsplit(" | ", 1)
            known[room, words] = reason
    return known


if __name__ == "__main__":
    sys.exit(main())
