#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# captures.sh - the tables and counters of all captures of the corpus, against captures.expected.
#     tests/captures.sh KEEPSTATE            compares
#     tests/captures.sh KEEPSTATE --accept   writes down what is now so: look at the difference
set -euo pipefail
cd "$(dirname "$0")/.."
keepstate=$1
print() {
    for file in corpus/captures/*.pcap corpus/captures/*.pcapng; do
        echo "== ${file##*/}"
        "$keepstate" replay --stats "$file"
    done
}
if [ "${2:-}" = --accept ]; then
    print >tests/captures.expected
    exit
fi
if ! diff -u tests/captures.expected <(print); then
    echo "tables have changed. If they should: tests/captures.sh $keepstate --accept" >&2
    exit 1
fi
echo "$(grep -c ^== tests/captures.expected) captures as expected"
