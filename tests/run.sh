#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh - all that `make test` checks once everything is built: each step is one test, told in one
# line; what a failing one printed is shown. B is the folder of builds; the arguments are suites.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
: "${B:=build}" "${RUNS:=20000}" "${TARGETS:=}"
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
check "vectors, the naive tracker" "$B/agree" --naive tests/vectors/*.vec.gz
check "sequences, core and naive tracker" "$B/fuzz/plain/track" --seed 1 --runs "$RUNS" --keep "$B/track.bin"
for target in $TARGETS; do # seeds, and every input that ever failed, with every back end; then some by chance
    inputs=$B/fuzz/committed/$target
    rm -rf "$inputs"
    mkdir -p "$inputs"
    [ ! -f "corpus/seeds/$target.tar.gz" ] || tar -xzf "corpus/seeds/$target.tar.gz" -C "$inputs"
    find corpus/regress -name "$target-*" -exec cp {} "$inputs" \;
    check "corpus of $target (sanitized)" "$B/fuzz/replay/$target" --kits --runs 100 --keep "$B/$target.bin" "$inputs"
    check "corpus of $target (MSan)" "$B/fuzz/msan/$target" "$inputs"
    check "corpus of $target (steps counted)" "$B/fuzz/steps/$target" --runs 100 --keep "$B/$target.bin" "$inputs"
done
check "vectors, through the command" "$B/agree" --through "$B/keepstate" tests/vectors/*.vec.gz
check "the command" tests/replay.sh "$B/keepstate-sanitized"
check "planted bugs fit the core" python3 harness/bugs/bugs.py --build "$B/bugs-check" --check
check "rules" tests/rules.sh "$B/keepstate-sanitized"
check "captures" tests/captures.sh "$B/keepstate-sanitized"
check "benchmarks, each once" tests/bench.sh "$B/bench-test/bench"
check "reports" /usr/bin/python3 tests/report.py
check "instructions an operation" bench/instructions.py "$B/bench-test/bench" bench/instructions.txt

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
