#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# build.sh - for OSS-Fuzz and ClusterFuzzLite: builds every target with their compiler and flags into $OUT, with its
# seeds and dictionary. They set CC, CXX, CFLAGS, CXXFLAGS, LIB_FUZZING_ENGINE and OUT. CORE is the folder of the
# keepstate.h that is fuzzed: of a copy of yours, if it is said.
set -euo pipefail
cd "${SRC:-/src}/keepstate"
: "${TARGETS:=parse helper frag tcp track index timer text api nat rules}" "${CORE:=core}"
objects_in=$(mktemp -d)
trap 'rm -rf "$objects_in"' EXIT
common=(harness/fuzz/driver.c harness/fuzz/mutate.c harness/agree/describe.c)
for target in $TARGETS; do
    sources=("harness/fuzz/$target.c" "${common[@]}") libraries=()
    case $target in
        parse) sources+=(harness/replay/link.c) ;;
        rules) sources+=(harness/rules/*.c) ;;
        text) sources+=(harness/replay/link.c harness/agree/vec.c) libraries=(-lpcap -lz "-Wl,--disable-new-dtags,-rpath,\$ORIGIN/lib") ;;
    esac
    objects=()
    for source in "${sources[@]}"; do
        object=$objects_in/$(basename "$source" .c).o
        # shellcheck disable=SC2086
        $CC $CFLAGS -std=c11 -DFUZZ_ENGINE -DFUZZ_MUTATOR -I"$CORE" -c "$source" -o "$object"
        objects+=("$object")
    done
    # shellcheck disable=SC2086
    $CXX $CXXFLAGS "${objects[@]}" $LIB_FUZZING_ENGINE "${libraries[@]}" -o "$OUT/$target"
    if [ "$target" = text ]; then # where it runs there is no libpcap, and Debian's can't be linked into it
        mkdir -p "$OUT/lib"
        ldd "$OUT/text" | awk '/=> \// && !/lib(c|m|gcc_s|stdc\+\+|pthread|dl|rt|resolv)\.so/ {print $3}' | xargs -I{} cp -L {} "$OUT/lib/"
    fi
    if [ -f "corpus/seeds/$target.tar.gz" ]; then
        seeds=$(mktemp -d)
        tar -xzf "corpus/seeds/$target.tar.gz" -C "$seeds"
        find corpus/regress -name "$target-*" -exec cp {} "$seeds" \;
        (cd "$seeds" && zip -q -r "$OUT/${target}_seed_corpus.zip" .)
        rm -rf "$seeds"
    fi
    [ ! -f "harness/fuzz/$target.dict" ] || cp "harness/fuzz/$target.dict" "$OUT/"
    printf '[libfuzzer]\nmax_len = 8192\nlen_control = 0\ntimeout = 20\n' >"$OUT/$target.options"
done
