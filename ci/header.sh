#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# header.sh - fails if keepstate.h is not what core/ says it is: as it stands, and, since make mends it
# unasked, as it was committed with a core/ that nobody has touched since.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
awk -v core=core -f ci/amalgamate.awk core/keepstate.h >"$fresh"
if ! cmp -s "$fresh" keepstate.h; then
    diff -u keepstate.h "$fresh" | head -n 20 || true
    echo "keepstate.h is not made of core/ as it stands. To mend it: make header" >&2
    exit 1
fi
if git rev-parse --is-inside-work-tree >/dev/null 2>&1 &&
    git diff --quiet HEAD -- core ci/amalgamate.awk && ! git diff --quiet HEAD -- keepstate.h; then
    echo "keepstate.h was committed without what core/ says. To mend it: commit it as it is now" >&2
    exit 1
fi
echo "keepstate.h is what core/ says"
