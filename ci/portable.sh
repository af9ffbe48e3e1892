#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# portable.sh - one verdict everywhere: all answers to the vectors, and what the committed inputs of the fuzz targets
# and some random ones come to, are the same numbers with every compiler, at every level of optimisation, on x86-64,
# i386 and big-endian s390x (by qemu), and under Valgrind. `text` is left out, as it needs libpcap on each of them.
# Needs ci/deps portable; what is not installed is said, and fails. Takes two hours on one core, most of it qemu's.
#     ci/portable.sh [RUNS]      so many random inputs a target, 300
#   ONLY  a pattern: only these ways (`gcc, s390x -O2`), and the first, with which they are compared
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
common=(harness/fuzz/driver.c harness/fuzz/mutate.c harness/agree/describe.c)
targets=(parse helper frag tcp track index timer api nat rules)
for target in "${targets[@]}"; do
    rm -rf "${build:?}/inputs/$target"
    mkdir -p "$build/inputs/$target"
    tar -xzf "corpus/seeds/$target.tar.gz" -C "$build/inputs/$target"
    find corpus/regress -name "$target-*" -exec cp {} "$build/inputs/$target" \;
done
expected='' ways=0 bad=0

make_all() { # make_all COMPILER... : the programs
    local target others
    "$@" "${flags[@]}" "${agree[@]}" -o "$build/agree"
    for target in "${targets[@]}"; do
        others=()
        case $target in
            parse) others=(harness/replay/link.c) ;;
            rules) others=(harness/rules/*.c) ;;
        esac
        "$@" "${flags[@]}" "harness/fuzz/$target.c" "${common[@]}" "${others[@]}" -o "$build/$target"
    done
}
ask_all() { # ask_all RUNNER... : what they print; fails if one does
    local target
    "$@" "$build/agree" --digest "$build"/vectors/*.vec | tail -n 1
    for target in "${targets[@]}"; do
        "$@" "$build/$target" --seed 1 --runs "$runs" --no-shrink --keep /dev/null "$build/inputs/$target"
    done
}
compare() { # compare NAME RUNNER... : it must be what everybody printed
    local name=$1 said good=1
    shift
    said=$(set -e; ask_all "$@" 2>&1) || good=0
    ways=$((ways + 1))
    expected=${expected:-$said}
    if [ $good -eq 1 ] && [ "$said" = "$expected" ]; then
        printf 'same  %s\n' "$name"
    else
        printf 'OTHER %s:\n%s\n' "$name" "$(diff <(echo "$expected") <(echo "$said"))"
        bad=$((bad + 1))
    fi
}
wanted() { [ $ways -eq 0 ] || [[ $1 =~ ${ONLY:-} ]]; }
try() { # try NAME RUNNER COMPILER...
    local name=$1 runner=$2 level
    shift 2
    for level in -O0 -O2 -O3; do
        wanted "$name $level" || continue
        make_all "$@" "$level"
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
if wanted "gcc, x86-64 -O1, valgrind"; then
    make_all gcc -O1
    compare "gcc, x86-64 -O1, valgrind" "${valgrind[@]}"
fi
echo "$expected"
echo "$ways ways, $bad of them other"
[ "$bad" -eq 0 ]
