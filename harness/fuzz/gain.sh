#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gain.sh SECONDS TARGET... - what the structure-aware mutator is worth: libFuzzer with and without it, so many seconds
# each from an empty corpus; then what the two corpora reach, by one and the same program.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
shift
: "${B:=build}"
reach() { # reach TARGET CORPUS: edges and features
    "$B/fuzz/plainer/$1" -runs=0 "$2" 2>&1 | sed -n 's/.*INITED *cov: \([0-9]*\) ft: \([0-9]*\).*/\1 \2/p'
}
printf '%-8s %22s %22s %8s\n' target 'without: edges, feat.' 'with: edges, features' gain
for target in "$@"; do
    for way in plainer libfuzzer; do
        rm -rf "$B/fuzz/gain-$way"
        mkdir -p "$B/fuzz/gain-$way"
        "$B/fuzz/$way/$target" -max_total_time="$seconds" -max_len=4096 -len_control=0 -timeout=20 -seed=1 -artifact_prefix="$B/fuzz/gain-" \
            "$B/fuzz/gain-$way" >"$B/fuzz/gain.log" 2>&1 || { tail "$B/fuzz/gain.log"; exit 1; }
    done
    read -r edges features <<<"$(reach "$target" "$B/fuzz/gain-plainer")"
    read -r edges_with features_with <<<"$(reach "$target" "$B/fuzz/gain-libfuzzer")"
    printf '%-8s %11s %10s %11s %10s %7s%%\n' "$target" "$edges" "$features" "$edges_with" "$features_with" \
        $(((features_with * 100 + features / 2) / features - 100))
done
