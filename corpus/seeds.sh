#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# seeds.sh SECONDS TARGET... - makes corpus/seeds/TARGET.tar.gz: what build/fuzz/seed reads out of vectors and captures,
# inputs made by chance, and what so many seconds of fuzzing add; of all that, the few that reach all that all reach.
# `make seeds` builds what it needs. What is in the archive already stays, as long as it reaches something of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
: "${B:=build}" "${SIZE_MAX:=4096}" "${BYTES_MAX:=700000}"
raw=$B/fuzz/raw
rm -rf "$raw"
"$B/fuzz/seed" "$raw" tests/vectors/*.vec.gz corpus/captures/*.pcap corpus/captures/*.pcapng
mkdir -p corpus/seeds
for target in "$@"; do
    fuzzer=$B/fuzz/libfuzzer/$target
    mkdir -p "$raw/$target"
    [ ! -f "corpus/seeds/$target.tar.gz" ] || tar -xzf "corpus/seeds/$target.tar.gz" -C "$raw/$target"
    "$B/fuzz/replay/$target" --make "$raw/$target" --seed 1 --runs 200
    rm -rf "$raw/$target.first" "$raw/$target.min"
    mkdir -p "$raw/$target.first" "$raw/$target.min"
    "$fuzzer" -merge=1 -max_len="$SIZE_MAX" "$raw/$target.first" "$raw/$target" >"$raw/$target.log" 2>&1
    dictionary=harness/fuzz/$target.dict
    [ -f "$dictionary" ] || dictionary=
    "$fuzzer" -max_total_time="$seconds" -max_len=2048 -len_control=0 -timeout=20 -seed=1 ${dictionary:+-dict="$dictionary"} \
        -artifact_prefix="$raw/" "$raw/$target.first" >>"$raw/$target.log" 2>&1
    "$fuzzer" -merge=1 -max_len="$SIZE_MAX" "$raw/$target.min" "$raw/$target.first" >>"$raw/$target.log" 2>&1
    # By size, as many as the budget has room for: the small ones are worth most.
    (cd "$raw/$target.min" && find . -type f -printf '%s %f\n' | sort -n |
        awk -v budget="$BYTES_MAX" '(sum += $1) <= budget {print $2}' | sort |
        tar --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - -T -) | gzip -9n >"corpus/seeds/$target.tar.gz"
    echo "$target: $(tar -tzf "corpus/seeds/$target.tar.gz" | wc -l) seeds, $(stat -c %s "corpus/seeds/$target.tar.gz") bytes"
done
