# SPDX-License-Identifier: MIT
# amalgamate.awk - writes the one header out of core/keepstate.h: each #include "room.h" becomes the
# room's text, verbatim but for its own #includes of other rooms, which stand before it already.
#
#     awk -v core=core -f ci/amalgamate.awk core/keepstate.h > keepstate.h
#
# The same input always gives the same bytes: no dates, no versions of tools.

function room_of(line) {
    sub(/^#include "/, "", line)
    sub(/".*/, "", line)
    return line
}

function inline_room(name,    path, line, status) {
    path = core "/" name
    printf "/* ======== core/%s %s */\n\n", name, substr(bar, 1, 74 - length(name))
    while ((status = (getline line < path)) > 0) {
        if (line ~ /^#include "/) {
            if (!(room_of(line) in seen)) {
                print "amalgamate: core/" name " includes " room_of(line) \
                      ", which core/keepstate.h does not list before it" > "/dev/stderr"
                failed = 1
            }
            continue
        }
        print line
    }
    if (status < 0) {
        print "amalgamate: cannot read " path > "/dev/stderr"
        failed = 1
    }
    close(path)
    seen[name] = 1
}

BEGIN {
    bar = sprintf("%80s", "")
    gsub(/ /, "=", bar)
}

NR == 1 {
    print
    print "/* Generated from core/ by `make header`: change a room there, never this file. */"
    next
}

/^#include "/ { inline_room(room_of($0)); next }

{ print }

END { exit failed }
