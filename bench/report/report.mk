# SPDX-License-Identifier: MIT
# report.mk - reports on the benchmarks. Python is Debian's, for which ci/deps bench installs matplotlib,
# scipy and jinja2.

PYTHON    ?= /usr/bin/python3
THRESHOLD ?= 10
A         := $(B)/bench
Q         := $(B)/report
export PYTHONDONTWRITEBYTECODE = 1

measured = --bench $(A)/bench --out $1 $(if $(QUICK),--quick) $(if $(SECONDS),--seconds $(SECONDS)) \
    $(if $(SIZES),--sizes $(SIZES)) $(if $(FILTER),--filter '$(FILTER)')

.PHONY: report compare trust sample
report: $(A)/bench                             ## which back ends for which traffic: build/report/index.html. QUICK=1, CAPTURE=file.pcap
	$(PYTHON) bench/report/measure.py $(call measured,$(Q)/run.json) $(if $(call given,CAPTURE),--capture $(CAPTURE))
	$(PYTHON) bench/report/report.py $(Q)/run.json $(Q)

compare:                                       ## BASE=a NEW=b, runs or commits: what became slower; fails beyond THRESHOLD=10 %
	$(PYTHON) bench/report/compare.py $(BASE) $(NEW) --threshold $(THRESHOLD) --out $(Q)/compare \
	    --make $(MAKE) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SIZES),--sizes $(SIZES)) $(if $(FILTER),--filter '$(FILTER)')

# The comparison notices a back end that was slowed on purpose, and cries wolf in one of ten runs at most.
trust: $(A)/bench $(A)/slowed                  ## whether compare finds what it should, and only that; five minutes
	$(PYTHON) bench/report/trust.py $(A)/bench $(A)/slowed

$(A)/slowed.o: bench/report/slowed.c bench/kit.c bench/bench.h $(ROOMS)
	@mkdir -p $(@D)
	$(CC) $(C11) -D_GNU_SOURCE $(BENCHFLAGS) -g -Icore -Ibench -c $< -o $@

$(A)/slowed: $(addprefix $(A)/,$(BENCH_PARTS) $(patsubst %,kit-%.o,$(filter-out swiss-wheel,$(BENCH_KITS))) slowed.o)
	$(CXX) $^ $(BENCH_LIBS) -o $@

# The report that the README links to.
sample: report                                 ## a report for the repository, bench/report/sample/index.html
	@mkdir -p bench/report/sample
	cp $(Q)/index.html bench/report/sample/index.html
