#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# campaign.sh TARGET ENGINE SECONDS [JOBS] - fuzzes one target from the committed seeds and what earlier campaigns
# left in build/fuzz/corpus, with what `make` has built, and notes what it came to in build/fuzz/campaigns.tsv
# (ledger.sh adds that up). Fails if anything was found; says where it lies and how to look at it.
#   ENGINE  libfuzzer; afl: the first instance with sanitizers and our mutator, those behind it with CMPLOG; none: inputs
#           made anew one by one, without sanitizers, some times as many
#   B       the folder of builds; SEED a number for the chances
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 engine=$2 seconds=$3 jobs=${4:-1}
: "${B:=build}" "${SEED:=0}"
name=$target corpus=$B/fuzz/corpus/$target found=$B/fuzz/found/$target
mkdir -p "$corpus" "$found"
if [ -f "corpus/seeds/$target.tar.gz" ]; then
    tar -xzf "corpus/seeds/$target.tar.gz" -C "$corpus" --skip-old-files
fi
[ -n "$(ls -A "$corpus")" ] || printf '\0' >"$corpus/empty"
dictionary=harness/fuzz/$target.dict
[ -f "$dictionary" ] || dictionary=
before=$(find "$found" -type f | wc -l)
log=$B/fuzz/$target-$engine.log
executions=0
ok=0
spent() { python3 harness/fuzz/spent.py "$log.cpu" "$@"; } # the processor's time, not the clock's, on which others sit, too
rm -f "$log.cpu"

case $engine in
    libfuzzer) # which weighs its corpus by features, if let: with inputs as rich as ours that takes a third of its time
        fork=() weigh=0
        [ "$target" != text ] || weigh=1
        [ "$jobs" -le 1 ] || fork=(-fork="$jobs" -ignore_crashes=0)
        spent "$B/fuzz/libfuzzer/$name" -max_total_time="$seconds" -max_len=8192 -len_control=0 -timeout=20 -rss_limit_mb=2048 \
            -entropic="$weigh" -print_final_stats=1 -seed="$SEED" ${dictionary:+-dict="$dictionary"} \
            -artifact_prefix="$found/" "${fork[@]}" "$corpus" >"$log" 2>&1 || ok=1
        executions=$(sed -n 's/^stat::number_of_executed_units: *//p; s/^#\([0-9]*\): cov.*/\1/p' "$log" | tail -n 1)
        ;;
    afl)
        export AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_TRY_AFFINITY=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_QUIET=1
        out=$B/fuzz/afl-out/$target
        rm -rf "$out"
        mkdir -p "$out"
        pids=()
        for job in $(seq "$jobs"); do
            if [ "$job" -eq 1 ]; then
                AFL_CUSTOM_MUTATOR_LIBRARY=$(realpath "$B/fuzz/mutator/$name") spent afl-fuzz -V "$seconds" -S "a$job" -t 20000 -m none \
                    -i "$corpus" -o "$out" ${dictionary:+-x "$dictionary"} -- "$B/fuzz/afl/$name" >"$log" 2>&1 &
            else
                AFL_CMPLOG_ONLY_NEW=1 AFL_FAST_CAL=1 spent afl-fuzz -V "$seconds" -S "a$job" -t 20000 -m none -c 0 \
                    -i "$corpus" -o "$out" ${dictionary:+-x "$dictionary"} -- "$B/fuzz/cmplog/$name" >"$log.$job" 2>&1 &
            fi
            pids+=($!)
        done
        for pid in "${pids[@]}"; do
            wait "$pid" || ok=1
        done
        cp -n "$out"/*/crashes/id* "$out"/*/hangs/id* "$found/" 2>/dev/null || true
        cp -n "$out"/*/queue/id*+cov "$corpus/" 2>/dev/null || true
        executions=$(cat "$out"/*/fuzzer_stats | awk -F: '/^execs_done/ {sum += $2} END {print sum + 0}')
        ;;
    none)
        [ "$SEED" -ne 0 ] || SEED=$(date +%s)
        pids=()
        rm -f "$log".[0-9]*
        for job in $(seq "$jobs"); do
            spent "$B/fuzz/none/$name" --seed $((SEED + job - 1)) --runs 1000000000 --seconds "$seconds" \
                --keep "$found/seed-$((SEED + job - 1))" >"$log.$job" 2>&1 &
            pids+=($!)
        done
        for pid in "${pids[@]}"; do
            wait "$pid" || ok=1
        done
        cat "$log".[0-9]* >"$log"
        executions=$(awk '/ inputs, / {sum += $2} END {print sum + 0}' "$log")
        ;;
    *) echo "campaign.sh: no engine '$engine'; there are: libfuzzer afl none" >&2; exit 2 ;;
esac

after=$(find "$found" -type f | wc -l)
[ "$after" -eq "$before" ] || ok=1
core=$(git log -1 --format=%h -- 'core/*.h' 2>/dev/null || echo unknown)
git diff --quiet HEAD -- 'core/*.h' 2>/dev/null || core=$core+
cpu=$(awk '{sum += $1} END {printf "%d", sum}' "$log.cpu")
printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$core" "$target" "$engine" "$cpu" "${executions:-0}" \
    "$([ $ok -eq 0 ] && echo clean || echo FAILED)" >>"$B/fuzz/campaigns.tsv"
echo "$target, $engine: ${executions:-0} executions in $cpu CPU-seconds, $((after - before)) found"
if [ $ok -ne 0 ]; then
    tail -n 30 "$log"
    find "$found" -type f -newer "$B/fuzz/campaigns.tsv" -o -type f | tail -n 5 | sed "s/^/look at it:  make crash T=$target F=/"
fi
exit $ok
