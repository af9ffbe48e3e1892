#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh - all that `make test` checks once everything is built: each step is one test, told in one
# line when it ends; what a failing one printed is shown. B is the folder of builds, J how many steps
# run at a time (as many as there are processors); the arguments are suites.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
: "${B:=build}" "${RUNS:=20000}" "${TARGETS:=}" "${J:=$(nproc)}"
# What was freed is kept from use for a while, but not 256 MB of it: tables are large, and each page of new memory takes time.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:quarantine_size_mb=16 UBSAN_OPTIONS=print_stacktrace=1
results=$B/test-results
asked=0
: >"$results"
trap 'trap - TERM; kill 0' INT TERM # what runs beside it does not hear of a ^C by itself

step() { # step NAME COMMAND [ARGUMENT]...
    local name=$1 begin=$SECONDS log
    log=$(mktemp "$B/test-XXXXXX.log")
    shift
    if "$@" >"$log" 2>&1; then
        printf 'ok    %-32s %3d s  %s\n' "$name" $((SECONDS - begin)) "$(tail -n 1 "$log" | cut -c1-60)"
    else
        printf 'FAIL  %-32s\n' "$name"
        sed 's/^/      /' "$log" | tail -n 60
        echo "      by itself: $*"
    fi >"$log.told"
    flock "$results" tee -a "$results" <"$log.told"
    rm -f "$log" "$log.told"
}

check() { # check NAME COMMAND [ARGUMENT]...: a step, once there is room for it
    while [ "$(jobs -rp | wc -l)" -ge "$J" ]; do
        wait -n
    done
    asked=$((asked + 1))
    step "$@" &
}

check "header is up to date" ci/header.sh
check "scripts" shellcheck ci/*.sh ci/deps ci/fuzz/*.sh tests/*.sh tests/rules/record.sh corpus/*.sh \
    corpus/captures/record.sh harness/fuzz/*.sh .ci/run
check "clean compiles" ci/compile.sh
for suite in "$@"; do
    check "$suite (rooms, sanitized)" "$B/rooms/$suite"
    check "$suite (header)" "$B/header/$suite"
done
check "suites, every pair of back ends" tests/pairs.sh "$B" "$@"
check "test_index (KST_NO_SIMD)" "$B/no-simd"
check "floods" "$B/flood-sanitized"
check "README's example" tests/readme.sh
check "vectors, the core" "$B/agree-sanitized" tests/vectors/*.vec.gz
check "vectors, the header by clang" "$B/agree-clang" tests/vectors/*.vec.gz
check "vectors, the naive tracker" "$B/agree" --naive tests/vectors/*.vec.gz
check "sequences, core and naive tracker" "$B/fuzz/plain/track" --seed 1 --runs "$RUNS" --keep "$B/track.bin"
for target in $TARGETS; do # seeds, and every input that ever failed, with every back end; then some by chance
    inputs=$B/fuzz/committed/$target
    rm -rf "$inputs"
    mkdir -p "$inputs"
    [ ! -f "corpus/seeds/$target.tar.gz" ] || tar -xzf "corpus/seeds/$target.tar.gz" -C "$inputs"
    find corpus/regress -name "$target-*" -exec cp {} "$inputs" \;
    check "corpus of $target (sanitized)" "$B/fuzz/replay/$target" --kits --runs 100 --keep "$B/$target-replay.bin" "$inputs"
    check "corpus of $target (MSan)" "$B/fuzz/msan/$target" "$inputs"
    check "corpus of $target (steps counted)" "$B/fuzz/steps/$target" --runs 100 --keep "$B/$target-steps.bin" "$inputs"
done
check "vectors, through the command" "$B/agree" --through "$B/keepstate" tests/vectors/*.vec.gz
check "the command" tests/replay.sh "$B/keepstate-sanitized"
check "planted bugs fit the core" python3 harness/bugs/bugs.py --build "$B/bugs-check" --check
check "rules" tests/rules.sh "$B/keepstate-sanitized"
check "captures" tests/captures.sh "$B/keepstate-sanitized"
check "benchmarks, each once" tests/bench.sh "$B/bench-test/bench"
check "reports" /usr/bin/python3 tests/report.py
check "instructions an operation" bench/instructions.py "$B/bench-test/bench" bench/instructions.txt

wait
passed=$(grep -c '^ok ' "$results")
echo
echo "$passed passed, $((asked - passed)) failed"
[ "$passed" -eq "$asked" ]
