#!/bin/bash
# hunt.sh SECS SEED: one run, tells failure
cd /tmp/dev/k/build; rm -f f/*
timeout 200 ./fuzz/libfuzzer/helper -max_total_time=$1 -seed=$2 -max_len=4096 -entropic=0 -artifact_prefix=f/ -dict=../harness/fuzz/helper.dict s >f.log 2>&1
grep -E "cov:.*exec" f.log | tail -1
for f in f/*; do [ -f "$f" ] || continue; ./fuzz/plain/helper --tell $f 2>&1 | tail -${3:-6} | cut -c1-300; xxd $f | tail -${4:-14}; done
