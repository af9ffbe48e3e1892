#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh - all that `make test` checks once everything is built: each step is one test, told in one
# line; what a failing one printed is shown. B is the folder of builds, INDEXES names those in it that
# stand for an index each, TIMERS those for a timer, TARGETS what
# the fuzzers feed; the arguments are suites.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
: "${B:=build}" "${INDEXES:=}" "${TIMERS:=}" "${KITS:=swiss-wheel}" "${RUNS:=20000}" "${TARGETS:=}"
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
log=$B/test.log
passed=0 failed=0

check() { # check NAME COMMAND [ARGUMENT]...
    local name=$1 begin=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok    %-32s %3d s  %s\n' "$name" $((SECONDS - begin)) "$(tail -n 1 "$log" | cut -c1-60)"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-32s\n' "$name"
        sed 's/^/      /' "$log" | tail -n 60
        echo "      by itself: $*"
    fi
}

check "header is up to date" ci/header.sh
check "scripts" shellcheck ci/*.sh ci/deps tests/*.sh corpus/*.sh corpus/captures/record.sh harness/fuzz/*.sh .ci/run
check "clean compiles" ci/compile.sh
for suite in "$@"; do
    check "$suite (rooms, sanitized)" "$B/rooms/$suite"
    check "$suite (header)" "$B/header/$suite"
done
for index in $INDEXES; do
    for suite in test_index test_table test_world; do
        check "$suite ($index)" "$B/$index/$suite"
    done
    check "vectors ($index)" "$B/$index/agree" tests/vectors/*.vec.gz
done
check "test_index (swiss, KST_NO_SIMD)" "$B/swiss+KST_NO_SIMD/test_index"
check "README's example" tests/readme.sh
check "vectors, the core" "$B/agree-sanitized" tests/vectors/*.vec.gz
check "vectors, the naive tracker" "$B/agree" --naive tests/vectors/*.vec.gz
for kit in $KITS; do # the default pair of back ends, then the others for a tenth of the time
    check "sequences ($kit)" "$B/fuzz/plain/track-$kit" --seed 1 --runs "$RUNS" --keep "$B/track.bin"
    [ "$kit" != "${KITS%% *}" ] || RUNS=$((RUNS / 10))
done
for timer in $TIMERS; do
    for suite in test_timer test_table test_world; do
        check "$suite (timer $timer)" "$B/timer-$timer/$suite"
    done
    check "vectors (timer $timer)" "$B/timer-$timer/agree" tests/vectors/*.vec.gz
done
for target in $TARGETS; do # seeds and every input that ever failed; then some by chance
    inputs=$B/fuzz/committed/$target
    rm -rf "$inputs"
    mkdir -p "$inputs"
    [ ! -f "corpus/seeds/$target.tar.gz" ] || tar -xzf "corpus/seeds/$target.tar.gz" -C "$inputs"
    find corpus/regress -name "$target-*" -exec cp {} "$inputs" \;
    kit=${KITS%% *}
    check "corpus of $target (sanitized)" "$B/fuzz/replay/$target-$kit" --runs 100 --keep "$B/$target.bin" "$inputs"
    check "corpus of $target (MSan)" "$B/fuzz/msan/$target-$kit" "$inputs"
    check "corpus of $target (steps counted)" "$B/fuzz/steps/$target-$kit" --runs 100 --keep "$B/$target.bin" "$inputs"
done
check "vectors, through the command" "$B/agree" --through "$B/keepstate" tests/vectors/*.vec.gz
check "the command" tests/replay.sh "$B/keepstate-sanitized"
check "captures" tests/captures.sh "$B/keepstate-sanitized"

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
