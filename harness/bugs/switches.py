# SPDX-License-Identifier: MIT
"""switches.py - one core with many changes in it, of which an environment variable chooses one: so core, harness and
suites are compiled once for all of them.

Each change has a number, and a copy of every function that it changes; the function itself begins by going to the copy
that MUTANT names. What changes anything but the insides of functions cannot be had so, and is a trial of its own.
"""
import re
import threading
from pathlib import Path

import judges
from judges import CORE, Trial

HEAD = re.compile(r"(?P<type>[\w *]+[ *])(?P<name>\w+)\((?P<parameters>[^()]*)\)$")
CHOICE = """#ifndef CHOICE
#define CHOICE
#include <stdlib.h>
static int kst__mutant;
__attribute__((constructor)) static void kst__mutant_chosen(void)
{
    const char *number = getenv("MUTANT");
    kst__mutant = number != NULL ? atoi(number) : 0;
}
#endif
"""


class Function:
    def __init__(self, match, head, brace, end, lines):
        self.type, self.name, self.parameters = match.group("type", "name", "parameters")
        self.head, self.brace, self.end = head, brace, end  # places in the list of lines: [head, brace) [brace, end)
        self.body = lines[brace:end]

    def arguments(self):
        each = [] if self.parameters == "void" else self.parameters.split(",")
        return ", ".join(re.search(r"(\w+)(\[\w*\])?$", one).group(1) for one in each)

    def returns(self):
        return re.sub(r"static|KST_INLINE|inline", "", self.type).strip()

    def copy(self, number, body):
        """Never inlined: that would double the code at every call, of calls within calls again and again."""
        return [f"static __attribute__((noinline)) {self.returns()} {self.name}__m{number}({self.parameters})", *body]

    def go(self, number):
        void = self.returns() == "void"
        call = f"{self.name}__m{number}({self.arguments()});"
        return f"    case {number}: " + (f"{call} return;" if void else f"return {call}")


def functions(lines):
    """Those that are written as ours are, in order."""
    found, brace = [], None
    for place, line in enumerate(lines):
        if line == "{":
            head = place - 1
            while lines[head].startswith(" "):
                head -= 1
            match = HEAD.match(" ".join(part.strip() for part in lines[head:place]))
            brace = place
        elif line == "}" and brace is not None:
            if match:
                found.append(Function(match, head, brace, place + 1, lines))
            brace = None
    return found


def frame(lines, found):
    """What is not inside of functions."""
    kept, at = [], 0
    for function in found:
        kept += lines[at : function.brace]
        at = function.end
    return kept + lines[at:]


class Switches:
    """`items` have texts(): the rooms that each changes, as they read then."""

    def __init__(self, bench, folder, items):
        self.bench, self.folder = bench, Path(folder)
        self.lock = threading.Lock()
        self.builds, self.suites = {}, {}
        self.lines = {path.name: path.read_text().split("\n") for path in CORE.glob("*.h")}
        self.functions = {room: functions(lines) for room, lines in self.lines.items()}
        self.frames = {room: frame(lines, self.functions[room]) for room, lines in self.lines.items()}
        self.numbers = {}
        copies = {}  # (room, place of the function) -> [(item, body)]
        for number, item in enumerate(items, 1):
            mine = self.changes(item)
            if mine:
                self.numbers[item] = number
                for where, body in mine:
                    copies.setdefault(where, []).append((item, body))
        while True:
            texts, whose = {}, {}
            for room in {room for room, _ in copies} | {"base.h"}:
                texts[room], whose[room] = self.room(room, copies)
            self.texts = texts
            status, output = judges.run(["clang", *judges.FLAGS, "-fsyntax-only", "-ferror-limit=0",
                                         f"-I{Trial(bench, self.folder / 'check', texts).folder}/core", self.folder / "check/core.c"])
            if status == 0:
                break
            broken = {whose.get(room, {}).get(int(line)) for room, line in re.findall(r"core/(\w+\.h):(\d+):\d+: error", output)} - {None}
            if not broken:
                raise SystemExit(output)
            for item in broken & set(self.numbers):
                del self.numbers[item]

    def changes(self, item):
        """((room, place of the function), the body it has then) of each; None if more than bodies are changed."""
        found = []
        for room, text in item.texts().items():
            lines = text.split("\n")
            theirs = functions(lines)
            if frame(lines, theirs) != self.frames[room]:
                return None
            found += [((room, place), new.body) for place, (old, new) in enumerate(zip(self.functions[room], theirs)) if old.body != new.body]
        return found

    def room(self, room, copies):
        """Its text with the copies, and whose each line is."""
        out, whose, done = CHOICE.split("\n")[:-1] if room == "base.h" else [], {}, 0
        for place, function in enumerate(self.functions[room]):
            here = [(item, body) for item, body in copies.get((room, place), ()) if item in self.numbers]
            if not here:
                continue
            out += self.lines[room][done : function.head]
            out.append(f"{function.type}{function.name}({function.parameters});")
            for item, body in here:
                begin = len(out) + 1
                out += function.copy(self.numbers[item], body)
                whose.update({line: item for line in range(begin, len(out) + 1)})
            out += self.lines[room][function.head : function.brace + 1]
            out += ["    switch (kst__mutant) {", *(function.go(self.numbers[item]) for item, _ in here), "    }"]
            done = function.brace + 1
        return "\n".join(out + self.lines[room][done:]), whose

    def build(self, flags):
        """The trial whose core is compiled so."""
        with self.lock:
            if str(flags) not in self.builds:
                self.builds[str(flags)] = Trial(self.bench, self.folder / f"build{len(self.builds)}", self.texts)
                if self.builds[str(flags)].core(flags) is None:
                    raise SystemExit(self.builds[str(flags)].complaint)
            return self.builds[str(flags)]

    def suite(self, name, flags):
        trial = self.build(flags)
        with self.lock:
            if (name, str(flags)) not in self.suites:
                self.suites[name, str(flags)] = trial.inside(name, flags)
            return self.suites[name, str(flags)]

    def fuzzer(self, target):
        trial = self.build(judges.PLAIN)
        with self.lock:
            return trial.fuzzer(target)

    def trial(self, item=None, folder=None):
        """Of one of them; of none, the core as it is. Those that cannot be chosen by a number get that folder for their own."""
        if item is None or item in self.numbers:
            return Switched(self, self.numbers.get(item, 0), judges.kit_of(item.rooms() if item else ()))
        return Trial(self.bench, folder, item.texts())


class Switched(Trial):
    def __init__(self, switches, number, kit):
        self.bench, self.switches, self.number, self.kit = switches.bench, switches, number, kit
        self.folder = switches.folder

    def core(self, flags):
        self.folder = self.switches.build(flags).folder
        return self.folder

    def inside(self, name, flags):
        return self.switches.suite(name, flags)

    def fuzzer(self, target):
        return self.switches.fuzzer(target)

    def environment(self):
        return dict(super().environment(), MUTANT=str(self.number))
