#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# same.sh COMMIT TARGET... - for which targets the core as it is here and that of the commit make the same program, without
# what it never calls, by gcc -O2 and with targets as they are here: a campaign on the one was a campaign on the other. Fails
# if there is another.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive "$1" core | tar -x -C "$work"
program() { # CORE FOLDER TARGET
    make -s CORE="$1" B="$2" HARDER='-ffunction-sections -fdata-sections -Wl,--gc-sections -s' "$2/fuzz/none/$3"
}
other=0
for target in "${@:2}"; do
    program core "$work/now" "$target"
    program "$work/core" "$work/then" "$target"
    if cmp -s "$work"/{now,then}/fuzz/none/"$target"; then
        echo "$target: the same"
    else
        echo "$target: another"
        other=1
    fi
done
exit $other
