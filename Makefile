# SPDX-License-Identifier: MIT
# make help lists what there is. A plain `make` and `make run` need a C compiler, make, awk and
# libpcap's headers; all else comes with ci/deps.

CC      ?= cc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
CAPTURE ?= corpus/captures/desk.pcap
VEC     ?= $(wildcard tests/vectors/*.vec.gz)
PACKETS ?= 100000
CONNECTIONS ?= 1000000
CORE    ?= core# the folder of the keepstate.h that is fuzzed
T       ?= track
ENGINE  ?= libfuzzer
J       ?= 1
FUZZ_O  ?= -O2# -O0 builds in a tenth of the time and runs at a third of the speed
TIME    ?= 60
RUNS    ?= 20000

B        := build
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow
C11      := -std=c11 $(WARNINGS)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ROOMS    := $(wildcard core/*.h)
RULES    := $(wildcard harness/rules/*.c)
REPLAY   := $(wildcard harness/replay/*.c) $(RULES) harness/agree/describe.c
AGREE    := $(wildcard harness/agree/*.c) $(RULES)
KERNEL   := $(wildcard harness/kernel/*.c) $(filter-out %/agree.c,$(AGREE)) \
            harness/replay/link.c harness/replay/progress.c
SUITES   := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all run test header agree fuzz fuzz-smoke fuzz-gain fuzz-speed ledger crash seeds flood bugs mutants \
        coverage prove portable install uninstall clean help

all: keepstate.h $(B)/keepstate                ## builds the header and the command

run: all                                       ## tracks a bundled real capture, prints its table
	$(B)/keepstate replay $(CAPTURE)

header: keepstate.h                            ## regenerates keepstate.h from core/

keepstate.h: $(ROOMS) ci/amalgamate.awk
	awk -v core=core -f ci/amalgamate.awk core/keepstate.h > $@.new
	mv $@.new $@

$(B)/keepstate: $(REPLAY) $(wildcard harness/*/*.h) keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. $(REPLAY) $(LDFLAGS) -lpcap -o $@

$(B)/agree: $(AGREE) $(wildcard harness/*.h harness/*/*.h) keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. $(AGREE) $(LDFLAGS) -lpcap -lz -o $@

$(B)/agree-kernel: $(KERNEL) $(wildcard harness/*.h harness/*/*.h) keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. -Iharness/agree -Iharness/replay $(KERNEL) $(LDFLAGS) -lpcap -lz -o $@

# CAPTURE and VEC have defaults: whoever names one on the command line wants just that.
given = $(findstring command,$(origin $1))

agree: $(B)/agree $(B)/agree-kernel            ## the core against the vectors; as root, against the kernel, also under random rules
	$(if $(call given,CAPTURE),,$(B)/agree $(VEC))
	$(if $(call given,CAPTURE),$(B)/agree-kernel --capture $(CAPTURE),$\
	$(if $(call given,VEC),,$(B)/agree-kernel --packets $(PACKETS) $(if $(SEED),--seed $(SEED))))
	$(if $(call given,CAPTURE)$(call given,VEC),,$\
	$(B)/agree-kernel --rules --packets $(PACKETS) $(if $(SEED),--seed $(SEED)))

# Targets of the fuzzers: harness/fuzz/T.c, built for each engine and for none; each has all back ends. What a target
# needs beside the common driver stands here.
TARGETS := parse helper frag tcp track index timer text api nat rules
COMMON  := harness/fuzz/driver.c harness/fuzz/mutate.c harness/agree/describe.c
FUZZED   = $(wildcard harness/*.h harness/fuzz/*.h harness/agree/*.h $(CORE)/*.h)
each     = $(TARGETS:%=$(B)/fuzz/$1/%)

WITH_parse := harness/replay/link.c
WITH_text  := harness/agree/vec.c harness/replay/link.c
LIBS_text  := -lpcap -lz
WITH_rules := $(RULES)

.SECONDEXPANSION:
.SECONDARY:
define fuzzer # $(1): folder below build/fuzz, $(2): compiler and flags
$(B)/fuzz/$(1)/%.o: %.c $$(FUZZED)
	@mkdir -p $$(@D)
	$(2) $(C11) -I$(CORE) -c $$< -o $$@
$(B)/fuzz/$(1)/%: harness/fuzz/%.c $$(FUZZED) $(COMMON:%.c=$(B)/fuzz/$(1)/%.o) $$$$(addprefix $(B)/fuzz/$(1)/,$$$$(addsuffix .o,$$$$(basename $$$$(WITH_$$$$*))))
	$(2) $$(UNTRACED) $(C11) -I$(CORE) $$(filter %.c %.o,$$^) $$(LIBS_$$*) $(3) -o $$@
endef
# What is compared with what helps where words are looked for. All others draw typed choices, or have packets of a
# mutator that knows them: they reach more without, as tracing takes most of libFuzzer's time.
WORDY := helper text rules
$(foreach way,libfuzzer plainer,$(patsubst %,$(B)/fuzz/$(way)/%,$(filter-out $(WORDY),$(TARGETS)))): \
    private UNTRACED := -fno-sanitize-coverage=trace-cmp

HARDER := -g -fno-omit-frame-pointer
$(eval $(call fuzzer,plain,gcc -O1 $(HARDER) $(SANITIZE)))
$(eval $(call fuzzer,replay,clang -O0 $(HARDER) $(SANITIZE)))
$(eval $(call fuzzer,msan,clang -O0 $(HARDER) -fsanitize=memory))
$(eval $(call fuzzer,steps,clang -O0 $(HARDER) -fsanitize-coverage=trace-pc))
$(eval $(call fuzzer,none,gcc -O2 $(HARDER))) # what it misses of memory, its speed gives back in answers compared
$(eval $(call fuzzer,libfuzzer,clang $(FUZZ_O) $(HARDER) -DFUZZ_ENGINE -DFUZZ_MUTATOR -fsanitize=fuzzer $(SANITIZE)))

$(eval $(call fuzzer,plainer,clang $(FUZZ_O) $(HARDER) -DFUZZ_ENGINE -fsanitize=fuzzer $(SANITIZE)))
# AFL++ says how by the environment. The mutator is a library: all of the target, of which it asks what inputs are.
AFL := AFL_QUIET=1 AFL_LLVM_INSTRUMENT=PCGUARD
$(eval $(call fuzzer,afl,$(AFL) AFL_USE_ASAN=1 AFL_USE_UBSAN=1 afl-clang-fast $(FUZZ_O) $(HARDER) -DFUZZ_ENGINE -fsanitize=fuzzer))
$(eval $(call fuzzer,cmplog,$(AFL) AFL_LLVM_CMPLOG=1 afl-clang-fast $(FUZZ_O) $(HARDER) -DFUZZ_ENGINE -fsanitize=fuzzer))
$(eval $(call fuzzer,mutator,gcc -O1 -fPIC -DFUZZ_ENGINE,-shared))

NEEDS_libfuzzer = $(B)/fuzz/libfuzzer/$(T)
NEEDS_none      = $(B)/fuzz/none/$(T)
NEEDS_afl       = $(B)/fuzz/afl/$(T) $(B)/fuzz/cmplog/$(T) $(B)/fuzz/mutator/$(T)

fuzz: $$(NEEDS_$(ENGINE))                       ## T=track ENGINE=libfuzzer TIME=60 J=1: a campaign of one target
	B=$(B) SEED=$(or $(SEED),0) harness/fuzz/campaign.sh $(T) $(ENGINE) $(TIME) $(J)

# The same chances each time, so that what fails is what was changed; campaigns are for the rest.
fuzz-smoke: $(call each,$(ENGINE)) $(if $(filter afl,$(ENGINE)),$(call each,mutator)) ## all targets, two minutes together; ENGINE, TIME=13 each
	for target in $(TARGETS); do B=$(B) SEED=$(or $(SEED),1) harness/fuzz/campaign.sh $$target $(ENGINE) $(if $(call given,TIME),$(TIME),13) || exit 1; done

fuzz-gain: $(call each,libfuzzer) $(call each,plainer) ## what the mutator is worth: TIME=60 seconds with and without
	B=$(B) harness/fuzz/gain.sh $(TIME) $(TARGETS)

fuzz-speed: $(call each,plain) $(call each,libfuzzer) $(call each,afl) $(call each,mutator) $(call each,none) ## executions per second of each target, all engines
	B=$(B) harness/fuzz/speed.sh $(if $(call given,TIME),$(TIME),10) $(TARGETS)

ledger:                                        ## adds the campaigns since the last time to harness/LEDGER.md
	B=$(B) harness/fuzz/ledger.sh

crash: $(B)/fuzz/replay/$$(T)                   ## T=track F=FILE: tells a failing input in words, writes F.pcap
	-$< --tell --packets --pcap $(F).pcap $(F)
	@echo "its packets: $(F).pcap"

$(B)/fuzz/seed: harness/fuzz/seed.c harness/agree/vec.c harness/replay/link.c harness/fuzz/packet.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) $(filter %.c,$^) -lpcap -lz -o $@

seeds: $(B)/fuzz/seed $(call each,libfuzzer) $(call each,replay) ## makes corpus/seeds anew, of captures and vectors
	B=$(B) corpus/seeds.sh $(TIME) $(TARGETS)

# Every suite twice: from the rooms under sanitizers, with all back ends to choose from, and from the
# one header with the default ones, optimised. By gcc, as clang 14 takes three times as long; what clang
# makes of the header answers the vectors. Who needs no internals takes the tracker from a
# library; whoever has it inside takes nothing of that.
$(B)/rooms/test_prepare $(B)/header/test_prepare: harness/kernel/prepare.c
$(B)/rooms/test_rules $(B)/header/test_rules: $(RULES) $(wildcard harness/rules/*.h)

CC_rooms  := gcc $(C11) -g -O1 $(SANITIZE) -DKST_ALL_BACK_ENDS -Icore
CC_header := gcc $(C11) -g -O2 -I.

define suite # $(1): rooms or header, $(2): the tracker
$(B)/$(1)/libkeepstate.a: $(2) $(ROOMS)
	@mkdir -p $$(@D)
	$(CC_$(1)) -DKST_IMPLEMENTATION -include $$< -x c -c /dev/null -o $$(@:.a=.o)
	ar rcs $$@ $$(@:.a=.o)
$(B)/$(1)/%: tests/%.c $(wildcard tests/*.h) $(B)/$(1)/libkeepstate.a
	$(CC_$(1)) -Itests $$(filter %.c,$$^) $$(filter %.a,$$^) $$$$(pkg-config --cflags --libs check) -o $$@
endef
$(eval $(call suite,rooms,core/keepstate.h))
$(eval $(call suite,header,keepstate.h))

$(B)/keepstate-sanitized: $(REPLAY) $(wildcard harness/*/*.h) keepstate.h
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -I. $(REPLAY) -lpcap -o $@

$(B)/agree-sanitized: $(AGREE) $(wildcard harness/*.h harness/*/*.h) $(ROOMS)
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -DKST_ALL_BACK_ENDS -Icore $(AGREE) -lpcap -lz -o $@

$(B)/agree-clang: $(AGREE) $(wildcard harness/*.h harness/*/*.h) keepstate.h
	@mkdir -p $(@D)
	clang $(C11) -g -O2 -I. $(AGREE) -lpcap -lz -o $@

flood: $(B)/flood                              ## a full table under attack: who is lost, who gets in
	$< $(CONNECTIONS)

$(B)/flood: tests/flood.c keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. $< -o $@

$(B)/flood-sanitized: tests/flood.c $(ROOMS)
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -Icore $< -o $@

# The index without vector instructions.
$(B)/no-simd: tests/test_index.c tests/support.h $(ROOMS)
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -DKST_NO_SIMD -Icore $< $$(pkg-config --cflags --libs check) -o $@

test: all $(B)/keepstate-sanitized $(B)/agree-sanitized $(B)/agree $(B)/agree-clang $(B)/agree-kernel $(B)/no-simd \
      $(B)/flood-sanitized $(SUITES:%=$(B)/rooms/%) $(SUITES:%=$(B)/header/%) $(B)/fuzz/plain/track \
      $(call each,replay) $(call each,msan) $(call each,steps) \
      $(B)/bench-test/bench                    ## what CI runs
	B=$(B) TARGETS="$(TARGETS)" RUNS=$(RUNS) tests/run.sh $(SUITES)

# What the harnesses are worth: each takes minutes, or hours, and needs ci/deps proof.
bugs:                                          ## plants bugs in the core and tells who finds them; ABLATION=1, EMPTY=1
	python3 harness/bugs/bugs.py --build $(B)/bugs $(if $(N),--sample $(N)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(ABLATION),--ablation --out harness/bugs/ladder.md,$(if $(EMPTY),--empty --out harness/bugs/hunted.md,\
	    $(if $(N),,--out harness/bugs/results.md))) $(if $(RESUME),--resume) $(if $(MINUTES),--minutes $(MINUTES))

mutants:                                       ## N=500 changes of the core made by machine: who notices?
	python3 harness/bugs/mutants.py --build $(B)/mutants --sample $(or $(N),500) $(if $(SEED),--seed $(SEED)) $(if $(RESUME),--resume) \
	    $(if $(MINUTES),--minutes $(MINUTES))

coverage:                                      ## lines, branches and MC/DC of core/ that tests and corpora reach
	python3 ci/coverage.py --build $(B)/coverage

prove:                                         ## what Frama-C proves of the parsers; needs ci/deps prove, takes minutes
	python3 harness/prove/prove.py --build $(B)/prove --jobs $(J) $(if $(ONLY),--only $(ONLY))

portable:                                      ## one verdict with every compiler, on three machines
	B=$(B) ci/portable.sh

install: all                                   ## copies the header and the command below PREFIX
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin
	install -m 644 keepstate.h $(DESTDIR)$(PREFIX)/include/keepstate.h
	install -m 755 $(B)/keepstate $(DESTDIR)$(PREFIX)/bin/keepstate

uninstall:                                     ## removes them again
	rm -f $(DESTDIR)$(PREFIX)/include/keepstate.h $(DESTDIR)$(PREFIX)/bin/keepstate

clean:                                         ## removes build/
	rm -rf $(B)

include bench/bench.mk bench/report/report.mk

help:                                          ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1\t/p; s/^      .*## */test\t/p' $(MAKEFILE_LIST) | \
	    awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'
	@echo
	@echo "settings: CC, CFLAGS, PREFIX, CAPTURE=file.pcap (run, agree, report), VEC=file.vec, PACKETS=n, SEED=n (agree),"
	@echo "          T=target ENGINE=libfuzzer|afl|none TIME=seconds, J=jobs, SEED=n, F=file (fuzz, crash); targets: $(TARGETS),"
	@echo "          CORE=folder of the keepstate.h to fuzz, a copy of yours,"
	@echo "          RUNS=n sequences, J=steps at a time (test), CONNECTIONS=n (flood),"
	@echo "          N=n, SEED=n, RESUME=1, MINUTES=n (bugs, mutants), ABLATION=1, EMPTY=1 (bugs), ONLY=pattern (portable, prove),"
	@echo "          ARGS='...' (bench), ROUNDS=n, HUGE=1, KIT=index/timer (ratios),"
	@echo "          QUICK=1, SECONDS=n, SIZES=64k,1M, FILTER=regex (report, compare), BASE, NEW, THRESHOLD=percent (compare)"
