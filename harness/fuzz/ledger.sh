#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ledger.sh - adds the campaigns in build/fuzz/campaigns.tsv to harness/LEDGER.md: CPU-hours without a finding, by commit
# of the core. A campaign that found something adds nothing, one on a core with changes of its own neither.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${B:=build}"
ledger=harness/LEDGER.md campaigns=$B/fuzz/campaigns.tsv
[ -s "$campaigns" ] || { echo "ledger.sh: no campaign since the last time" >&2; exit 0; }
{
    sed '/^|/d' "$ledger"
    {
        sed -n 's/^| \([0-9a-f]*\) | \([a-z]*\) | \([a-z]*\) | \([0-9.]*\) | \([0-9]*\) |$/\1\t\2\t\3\t\4h\t\5\tclean/p' "$ledger"
        cat "$campaigns"
    } | awk -F'\t' '
        $6 == "clean" && $1 ~ /^[0-9a-f]+$/ {
            key = $1 "\t" $2 "\t" $3
            if (!(key in hours)) order[++n] = key
            hours[key] += $4 ~ /h$/ ? substr($4, 1, length($4) - 1) : $4 / 3600
            runs[key] += $5
        }
        END {
            print "| core | target | engine | CPU-hours | executions |"
            print "|---|---|---|---|---|"
            for (i = 1; i <= n; i++) {
                split(order[i], part, "\t")
                printf "| %s | %s | %s | %.3f | %d |\n", part[1], part[2], part[3], hours[order[i]], runs[order[i]]
            }
        }'
} >"$ledger.new"
mv "$ledger.new" "$ledger"
mv "$campaigns" "$campaigns.added"
tail -n 12 "$ledger"
