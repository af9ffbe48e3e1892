#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pairs.sh - every suite and every vector once for each pair of back ends, as many pairs at a time as
# there are processors: pairs.sh FOLDER-OF-BUILDS SUITE...
# A test is no process of its own here, so that a suite takes a fifth of the time: run.sh has had each in one.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export B=$1 SUITES="${*:2}" CK_FORK=no

one() { # one INDEX TIMER
    export INDEX=$1 TIMER=$2
    local said failed=0
    for suite in $SUITES; do
        said=$(timeout 600 "$B/rooms/$suite" 2>&1) || { failed=1 && echo "$suite, $INDEX and $TIMER:" && tail -n 20 <<<"$said"; }
    done
    said=$("$B/agree-sanitized" --index "$INDEX" --timer "$TIMER" tests/vectors/*.vec.gz 2>&1) ||
        { failed=1 && echo "vectors, $INDEX and $TIMER:" && tail -n 20 <<<"$said"; }
    return $failed
}
export -f one

printf '%s\n' {swiss,chain,cuckoo,robin}" "{wheel,hashed,lists,heap} |
    xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' one || exit 1
echo "16 pairs: $(wc -w <<<"$SUITES") suites and all vectors each"
