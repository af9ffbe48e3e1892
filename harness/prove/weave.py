#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""weave.py - the rooms of the core with contracts in them: weave.py CORE CONTRACTS... OUT

Contracts stand beside the core, not in it, so that who reads the rooms need not know ACSL. A file of
them has sections:

    == NAME            what follows is the contract of this function
    == believed NAME   likewise, and nobody is to prove it here
    == before NAME     what follows stands before it: predicates
    -- TEXT            what follows stands before TEXT, which is in the function's body just once:
                       invariants before the head of their loop

Lines keep their numbers, so what Frama-C says of a copy holds for the room. A name or a text that is not
there, or there twice, is an error: contracts cannot rot unseen.
"""
import pathlib
import re
import sys


class Rot(Exception):
    """A contract whose place in the core is gone."""


def bare(text):
    """Without comments (Frama-C keeps them for the preprocessor, which chokes on them in macros)."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: m[0] if m[0][0] in "\"'" else " " + "\n" * m[0].count("\n"),
                  text, flags=re.S)


def closing(text, at):
    """The place behind the bracket that closes the one at `at`."""
    depth = 0
    for m in re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[(){}]').finditer(text, at):
        depth += (m[0] in "({") - (m[0] in ")}")
        if depth == 0:
            return m.end()
    raise Rot(f"no end of what begins at {text[at:at + 40]!r}")


def definition(text, name):
    """Where the definition of a function begins, its body begins, and ends; None if it is not here."""
    for m in re.finditer(rf"^(?:/\*@[^\n]*\*/ )*(?P<it>[A-Za-z][\w \t*]*?\b{name})(?=\()", text, re.M):
        body = re.compile(r"\s*(?=\{)").match(text, closing(text, m.end()))
        if body:
            return m.start("it"), body.end(), closing(text, body.end())
    return None


def sections(paths):
    """(kind, function, [(anchor or None, lines)]) of each section, in order."""
    found = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("== "):
                words = line[3:].split()
                found.append((words[0] if len(words) == 2 else "", words[-1], [(None, [])]))
            elif line.startswith("-- "):
                found[-1][2].append((line[3:].strip(), []))
            elif line.strip() and line[0] != "#":
                if not found:
                    raise Rot(f"{path}: text before the first section: {line}")
                found[-1][2][-1][1].append(line.strip())
    return found


def weave(core, contracts, out):
    """Writes the rooms of `core` to `out`, with these sections in them."""
    rooms = {path.name: bare(path.read_text(encoding="utf-8")) for path in sorted(core.glob("*.h"))}
    for kind, name, parts in contracts:
        homes = [room for room, text in rooms.items() if definition(text, name)]
        if len(homes) != 1:
            raise Rot(f"{name}: defined in {len(homes)} rooms of the core")
        for anchor, lines in parts:
            text = rooms[homes[0]]
            begin, body, end = definition(text, name)
            if anchor is not None:
                places = [body + m.start() for m in re.finditer(
                    r"\s+".join(map(re.escape, anchor.split())), text[body:end])]
                if len(places) != 1:
                    raise Rot(f"{name}: found {len(places)} times: {anchor}")
                begin = places[0]
            if lines:
                rooms[homes[0]] = f"{text[:begin]}/*@ {' '.join(lines)} */ {text[begin:]}"
    out.mkdir(parents=True, exist_ok=True)
    for room, text in rooms.items():
        (out / room).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        weave(pathlib.Path(sys.argv[1]), sections(pathlib.Path(p) for p in sys.argv[2:-1]),
              pathlib.Path(sys.argv[-1]))
    except Rot as rot:
        sys.exit(f"weave.py: {rot}")
