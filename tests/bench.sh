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
for capture in web-v4 ftp-active-v6 fragments-v6 scan-v4; do
    said=$("$bench" --tiny --capture="corpus/captures/$capture.pcap" --benchmark_min_time=0 \
        --benchmark_filter='^capture/' 2>&1) || { echo "$said" | grep -E 'ERROR|bench:'; exit 1; }
    grep -q '^capture/over/1k/' <<<"$said" || { echo "$capture.pcap is not replayed" >&2; exit 1; }
done
if "$bench" --tiny --capture=LICENSE --benchmark_filter='^capture/' >/dev/null 2>&1; then
    echo "a text is replayed as a capture" >&2
    exit 1
fi
if said=$("$bench" --tiny --broken --benchmark_min_time=0 --benchmark_filter='^broken/' 2>&1); then
    echo "broken benchmarks pass" >&2
    exit 1
fi
for found in 'nothing/.*nothing was done' 'nobody/.*was not found'; do
    grep -q "broken/$found" <<<"$said" || { echo "not found out: $found" >&2; echo "$said" >&2; exit 1; }
done
echo "$ran benchmarks work, two broken ones do not"
