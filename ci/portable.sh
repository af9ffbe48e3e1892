#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# portable.sh - one verdict everywhere: all answers to the vectors, and what random sequences come to, are the
# same numbers with every compiler, at every level of optimisation, on x86-64, i386 and big-endian s390x
# (by qemu), and under Valgrind. Needs ci/deps portable; what is not installed is said, and fails.
#     ci/portable.sh [RUNS]      so many sequences, 300
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-300}
build=${B:-build}/portable
mkdir -p "$build/vectors"
for file in tests/vectors/*.vec.gz; do
    gunzip -c "$file" >"$build/vectors/$(basename "$file" .gz)"
done
flags=(-std=c11 -g1 -w -D_GNU_SOURCE -Ici/portable -I.)
agree=(harness/agree/*.c harness/rules/*.c)
track=(harness/fuzz/track.c harness/fuzz/driver.c harness/fuzz/mutate.c harness/agree/describe.c)
expected='' ways=0 bad=0

compare() { # compare NAME RUNNER... : what the two programs print must be what everybody printed
    local name=$1 said
    shift
    said=$({ "$@" "$build/agree" --digest "$build"/vectors/*.vec | tail -n 1
             "$@" "$build/track" --seed 1 --runs "$runs"; } 2>&1 | tr '\n' ' ') || true
    ways=$((ways + 1))
    expected=${expected:-$said}
    if [ "$said" = "$expected" ]; then
        printf 'same  %s\n' "$name"
    else
        printf 'OTHER %s: %s\n' "$name" "$said"
        bad=$((bad + 1))
    fi
}
try() { # try NAME RUNNER COMPILER...
    local name=$1 runner=$2 level
    shift 2
    for level in -O0 -O2 -O3; do
        "$@" "${flags[@]}" "$level" "${agree[@]}" -o "$build/agree"
        "$@" "${flags[@]}" "$level" "${track[@]}" -o "$build/track"
        # shellcheck disable=SC2086 # the runner is a command, or nothing
        compare "$name $level" $runner
    done
}

try "gcc, x86-64" "" gcc
for clang in clang-14 clang-19; do
    try "$clang, x86-64" "" "$clang"
done
try "gcc, i386" "" i686-linux-gnu-gcc -static
try "gcc, s390x" qemu-s390x s390x-linux-gnu-gcc -static
for clang in clang-14 clang-19; do
    try "$clang, i386" "" "$clang" --target=i686-linux-gnu -static
    try "$clang, s390x" qemu-s390x "$clang" --target=s390x-linux-gnu -static
done
valgrind=(valgrind -q --error-exitcode=9)
gcc "${flags[@]}" -O1 "${agree[@]}" -o "$build/agree"
gcc "${flags[@]}" -O1 "${track[@]}" -o "$build/track"
compare "gcc, x86-64 -O1, valgrind" "${valgrind[@]}"
echo "$expected"
echo "$ways ways, $bad of them other"
[ "$bad" -eq 0 ]
