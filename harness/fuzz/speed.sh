#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# speed.sh SECONDS TARGET... - executions per second of each target under both engines, from the committed seeds, with
# sanitizers and all oracles; then of inputs made anew, with neither engine nor sanitizers: rows of the table in harness/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
shift
: "${B:=build}"
export AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_TRY_AFFINITY=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_QUIET=1
echo '| target | seeds | seeds again | libFuzzer, fuzzing | AFL++, fuzzing | none, made anew |'
echo '|---|---|---|---|---|---|'
for target in "$@"; do
    corpus=$B/fuzz/speed/$target
    rm -rf "$corpus" "$corpus.new" "$corpus.afl"
    mkdir -p "$corpus" "$corpus.new"
    tar -xzf "corpus/seeds/$target.tar.gz" -C "$corpus"
    seeds=$(find "$corpus" -type f | wc -l)
    # The same files over and over: what one execution costs, without the engine's search.
    again=$("$B/fuzz/plain/$target" --seconds "$seconds" --again "$corpus" | sed -n 's/.* \([0-9]*\) a second.*/\1/p')
    fuzzing=$("$B/fuzz/libfuzzer/$target" -max_total_time="$seconds" -max_len=4096 -len_control=0 -entropic=0 -print_final_stats=1 -seed=1 "$corpus.new" "$corpus" 2>&1 |
        sed -n 's/^stat::average_exec_per_sec: *//p')
    AFL_CUSTOM_MUTATOR_LIBRARY=$(realpath "$B/fuzz/mutator/$target") afl-fuzz -V "$seconds" -m none -t 20000 -i "$corpus" \
        -o "$corpus.afl" -- "$B/fuzz/afl/$target" >/dev/null 2>&1 || true
    afl=$(awk -F: '/^execs_per_sec/ {print int($2)}' "$corpus.afl/default/fuzzer_stats")
    anew=$("$B/fuzz/none/$target" --seconds "$seconds" --keep "$corpus.failed" | awk -v s="$seconds" '/ inputs, / {print int($2 / s)}')
    echo "| $target | $seeds | $again | $fuzzing | $afl | $anew |"
done
