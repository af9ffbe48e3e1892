#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# header.sh - fails if keepstate.h is not what core/ says it is.
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
echo "keepstate.h is what core/ says"
