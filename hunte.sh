cd /tmp/dev/k/build; rm -rf f; mkdir -p f
for s in $@; do rm -rf e; mkdir e; timeout 100 taskset -c 1 ./fuzz/libfuzzer/helper -max_total_time=60 -seed=$s -max_len=4096 -timeout=5 -entropic=0 -verbosity=0 -artifact_prefix=f/ -dict=../harness/fuzz/helper.dict e > e.log 2>&1; echo rc $?; done
for f in f/*; do [ -f "$f" ] && ./fuzz/plain/helper --tell $f 2>&1 | tail -6; done
