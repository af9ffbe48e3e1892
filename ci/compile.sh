#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# compile.sh - the promise of a clean compile: both compilers, C11 and C++17, the one header and the
# rooms, linked and private, every room by itself. One line a way; the first warning fails.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
warnings=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

printf '#define KST_IMPLEMENTATION\n#include "keepstate.h"\n' >"$out/linked.c"
printf '#define KST_STATIC\n#define KST_IMPLEMENTATION\n#include "keepstate.h"\n' >"$out/private.c"
printf '#include "keepstate.h"\n#include "keepstate.h"\n' >"$out/declared.c"
printf '#define KST_ASSERT(c) ((void)0)\n#define KST_IMPLEMENTATION\n#include "keepstate.h"\n' \
    >"$out/unasserted.c"

count=0
compile() { # compile LANGUAGE INCLUDE FILE COMPILER [OPTION]...
    local language=$1 include=$2 file=$3
    shift 3
    "$@" -x "$language" "${warnings[@]}" "-I$include" -c "$file" -o "$out/object.o"
    count=$((count + 1))
}

for include in . core; do
    optimised=-O2
    [ "$include" = . ] || optimised=-O0 # the same text: what only an optimiser warns of is seen in the header
    for file in "$out"/*.c; do
        compile c "$include" "$file" gcc -std=c11 $optimised
        compile c "$include" "$file" clang -std=c11 $optimised
        compile c++ "$include" "$file" g++ -std=c++17 $optimised
        compile c++ "$include" "$file" clang++ -std=c++17 $optimised
    done
done

# What else may be chosen; that all back ends are there in every way was compiled above.
for options in -DKST_INDEX={chain,cuckoo,robin} -DKST_TIMER={hashed,lists,heap} \
    -DKST_HASH={sip24,fold} -DKST_NO_SIMD -DKST_ALL_BACK_ENDS; do
    compile c . "$out/linked.c" gcc -std=c11 -O1 "$options"
    compile c . "$out/linked.c" clang -std=c11 -O0 "$options"
    compile c++ . "$out/linked.c" g++ -std=c++17 -O0 "$options"
    compile c++ . "$out/linked.c" clang++ -std=c++17 -O0 "$options"
done

# A room stands by itself: what it uses it includes. Unused functions are for others.
for room in core/*.h; do
    compile c core "$room" gcc -std=c11 -O0 -Wno-unused-function -Wno-unused-const-variable \
        -Wno-unused-variable
done

# The object file names nothing but kst_ functions, and asks for nothing but memory and assert.
gcc -std=c11 -O2 -I. -c "$out/linked.c" -o "$out/linked.o"
if nm -g --defined-only "$out/linked.o" | awk '{print $3}' | grep -v '^kst_[a-z]'; then
    echo "these symbols do not begin with kst_" >&2
    exit 1
fi
if nm -u "$out/linked.o" | awk '{print $2}' |
    grep -vxE 'mem(cpy|set|cmp|move)|str(cmp|len)|__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_'; then
    echo "these functions the core must do without" >&2
    exit 1
fi
# The back ends and the helpers are folded in: no call through a pointer is left.
if [ "$(uname -m)" = x86_64 ]; then
    for compiler in gcc clang; do
        $compiler -std=c11 -O2 -I. -c "$out/linked.c" -o "$out/folded.o"
        if objdump -d --no-show-raw-insn "$out/folded.o" | grep -E '\bcall +\*'; then
            echo "$compiler leaves these calls through pointers" >&2
            exit 1
        fi
    done
fi
gcc -std=c11 -O2 -I. -c "$out/private.c" -o "$out/private.o"
if nm -g --defined-only "$out/private.o" | grep .; then
    echo "KST_STATIC must leave no symbol" >&2
    exit 1
fi
echo "compiles clean in $count ways"
