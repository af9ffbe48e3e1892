#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# record.sh - what iptables-save makes of single rules: reads the lines of ipv4.lines and ipv6.lines
# that begin with a table's name, feeds each to iptables-restore, and writes below it `= RULE`, what
# iptables-save says then, or `!` if it was refused. As root, with iptables; in a network namespace of
# its own.
set -euo pipefail
cd "$(dirname "$0")"
[ "${1:-}" = inside ] || exec unshare -n "$0" inside
for family in 4 6; do
    command=iptables-legacy
    [ $family = 4 ] || command=ip6tables-legacy
    grep -E '^(raw|mangle|nat|filter) ' ipv$family.lines >ipv$family.new
    grep '^#' ipv$family.lines >ipv$family.out || true
    while read -r table rule; do
        printf '%s %s\n' "$table" "$rule" >>ipv$family.out
        if printf '*%s\n:web - [0:0]\n%s\nCOMMIT\n' "$table" "$rule" | $command-restore 2>/dev/null; then
            $command-save -t "$table" | sed -n 's/^-A/= -A/p' >>ipv$family.out
        else
            echo '!' >>ipv$family.out
        fi
        $command -t "$table" -F
        $command -t "$table" -X
    done <ipv$family.new
    mv ipv$family.out ipv$family.lines
    rm ipv$family.new
done
