#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# readme.sh - the C example in README.md compiles as it stands there, and runs.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' README.md >"$out/example.c"
grep -q kst_track "$out/example.c"
gcc -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I. "$out/example.c" -o "$out/example"
"$out/example" >"$out/said"
grep -q "new original" "$out/said"
echo "README's example compiles and says: $(head -n 1 "$out/said")"
