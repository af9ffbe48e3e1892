#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bench.sh BENCH - every benchmark once, with next to nothing to do: each checks its own result. And two
# that are broken must be found out: a loop that was removed, and a result that is wrong.
set -euo pipefail
bench=$1
said=$("$bench" --tiny --benchmark_min_time=0 2>&1) || { echo "$said" | grep -E 'ERROR|bench:' || echo "$said" | tail; exit 1; }
ran=$(grep -cE ' ns +[0-9.]+ ns ' <<<"$said")
listed=$("$bench" --tiny --benchmark_list_tests | grep -c /)
[ "$ran" -eq "$listed" ] || { echo "$ran of $listed benchmarks ran" >&2; exit 1; }
if said=$("$bench" --tiny --broken --benchmark_min_time=0 --benchmark_filter='^broken/' 2>&1); then
    echo "broken benchmarks pass" >&2
    exit 1
fi
for found in 'nothing/.*nothing was done' 'nobody/.*was not found'; do
    grep -q "broken/$found" <<<"$said" || { echo "not found out: $found" >&2; echo "$said" >&2; exit 1; }
done
echo "$ran benchmarks work, two broken ones do not"
