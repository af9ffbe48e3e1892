# SPDX-License-Identifier: MIT
# make help lists what there is. A plain `make` and `make run` need a C compiler, make, awk and
# libpcap's headers; all else comes with ci/deps.

CC      ?= cc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
CAPTURE ?= corpus/captures/desk.pcap
VEC     ?= $(wildcard tests/vectors/*.vec.gz)
PACKETS ?= 100000
T       ?= track
TIME    ?= 60
RUNS    ?= 20000
INDEX   ?= swiss
TIMER   ?= wheel

B        := build
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow
C11      := -std=c11 $(WARNINGS)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ROOMS    := $(wildcard core/*.h)
REPLAY   := $(wildcard harness/replay/*.c)
AGREE    := $(wildcard harness/agree/*.c)
KERNEL   := $(wildcard harness/kernel/*.c) $(filter-out %/agree.c,$(AGREE)) \
            harness/replay/link.c harness/replay/progress.c
SUITES   := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all run test header agree fuzz install uninstall clean help bugs mutants coverage portable

all: keepstate.h $(B)/keepstate                ## builds the header and the command

run: all                                       ## tracks a bundled real capture, prints its table
	$(B)/keepstate replay $(CAPTURE)

header: keepstate.h                            ## regenerates keepstate.h from core/

keepstate.h: $(ROOMS) ci/amalgamate.awk
	awk -v core=core -f ci/amalgamate.awk core/keepstate.h > $@.new
	mv $@.new $@

$(B)/keepstate: $(REPLAY) $(wildcard harness/replay/*.h) keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. $(REPLAY) $(LDFLAGS) -lpcap -o $@

$(B)/agree: $(AGREE) $(wildcard harness/*.h harness/agree/*.h) keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. $(AGREE) $(LDFLAGS) -lpcap -lz -o $@

$(B)/agree-kernel: $(KERNEL) $(wildcard harness/*.h harness/*/*.h) keepstate.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(CFLAGS) -I. -Iharness/agree -Iharness/replay $(KERNEL) $(LDFLAGS) -lpcap -lz -o $@

# CAPTURE and VEC have defaults: whoever names one on the command line wants just that.
given = $(findstring command,$(origin $1))

agree: $(B)/agree $(B)/agree-kernel            ## the core against the vectors; as root, against the kernel
	$(if $(call given,CAPTURE),,$(B)/agree $(VEC))
	$(if $(call given,CAPTURE),$(B)/agree-kernel --capture $(CAPTURE),$\
	$(if $(call given,VEC),,$(B)/agree-kernel --packets $(PACKETS) $(if $(SEED),--seed $(SEED))))

# Targets of the fuzzers: harness/fuzz/T.c, built for the pair of back ends that the name ends with, T-INDEX-TIMER,
# for each engine and for none. What a target needs beside the common driver stands here.
TARGETS := parse tcp track index timer text
KITS    := swiss-wheel chain-hashed cuckoo-lists robin-heap# in make test: every back end once
COMMON  := harness/fuzz/driver.c harness/fuzz/mutate.c
FUZZED   = $(wildcard harness/*.h harness/fuzz/*.h harness/agree/*.h) $(ROOMS)
target   = $(word 1,$(subst -, ,$1))
kit      = -DKST_INDEX=$(word 2,$(subst -, ,$1)) -DKST_TIMER=$(word 3,$(subst -, ,$1))
DEFAULT  = $(T)-$(INDEX)-$(TIMER)

WITH_parse := harness/replay/link.c
WITH_tcp   := harness/agree/describe.c
WITH_track := harness/agree/describe.c
WITH_text  := harness/agree/vec.c harness/replay/link.c
LIBS_text  := -lpcap -lz

.SECONDEXPANSION:
fuzz_sources = harness/fuzz/$(call target,$1).c $(COMMON) $(WITH_$(call target,$1))
define fuzzer # $(1): folder below build/fuzz, $(2): compiler and flags
$(B)/fuzz/$(1)/%: $$$$(call fuzz_sources,$$$$*) $$(FUZZED)
	@mkdir -p $$(@D)
	$(2) $(C11) $$(call kit,$$*) -Icore $$(filter %.c,$$^) $$(LIBS_$$(call target,$$*)) -o $$@
endef
HARDER := -g -fno-omit-frame-pointer
$(eval $(call fuzzer,plain,gcc -O1 $(HARDER) $(SANITIZE)))
$(eval $(call fuzzer,msan,clang -O1 $(HARDER) -fsanitize=memory -fsanitize-memory-track-origins))
$(eval $(call fuzzer,steps,clang -O1 $(HARDER) -fsanitize-coverage=trace-pc))
$(eval $(call fuzzer,libfuzzer,clang -O2 $(HARDER) -DFUZZ_ENGINE -DFUZZ_MUTATOR -fsanitize=fuzzer $(SANITIZE)))

fuzz: $(B)/fuzz/libfuzzer/$(DEFAULT)           ## T=track TIME=60: a campaign of one target
	@mkdir -p $<.corpus
	$< -max_total_time=$(TIME) -max_len=8192 -timeout=20 -use_value_profile=1 -print_final_stats=1 \
	    $(if $(SEED),-seed=$(SEED)) -artifact_prefix=$<.crash- $<.corpus

# Every suite twice: from the rooms under sanitizers, with all back ends to choose from, and from the
# one header with the default ones, optimised, by clang.
$(B)/rooms/test_prepare $(B)/header/test_prepare: harness/kernel/prepare.c

$(B)/rooms/%: tests/%.c $(wildcard tests/*.h) $(ROOMS)
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -DKST_ALL_BACK_ENDS -Icore -Itests $(filter %.c,$^) \
	    $$(pkg-config --cflags --libs check) -o $@

$(B)/header/%: tests/%.c $(wildcard tests/*.h) keepstate.h
	@mkdir -p $(@D)
	clang $(C11) -g -O2 -I. -Itests $(filter %.c,$^) $$(pkg-config --cflags --libs check) -o $@

$(B)/keepstate-sanitized: $(REPLAY) $(wildcard harness/replay/*.h) keepstate.h
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -I. $(REPLAY) -lpcap -o $@

$(B)/agree-sanitized: $(AGREE) $(wildcard harness/*.h harness/agree/*.h) $(ROOMS)
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -DKST_ALL_BACK_ENDS -Icore $(AGREE) -lpcap -lz -o $@

# The index without vector instructions.
$(B)/no-simd: tests/test_index.c tests/support.h $(ROOMS)
	@mkdir -p $(@D)
	gcc $(C11) -g -O1 $(SANITIZE) -DKST_NO_SIMD -Icore $< $$(pkg-config --cflags --libs check) -o $@

test: all $(B)/keepstate-sanitized $(B)/agree-sanitized $(B)/agree $(B)/agree-kernel $(B)/no-simd \
      $(SUITES:%=$(B)/rooms/%) $(SUITES:%=$(B)/header/%) $(KITS:%=$(B)/fuzz/plain/track-%) ## what CI runs
	B=$(B) KITS="$(KITS)" RUNS=$(RUNS) tests/run.sh $(SUITES)

# What the harnesses are worth: each takes minutes, or hours, and needs ci/deps proof.
bugs:                                          ## plants 284 bugs and tells who finds them; ABLATION=1, EMPTY=1
	python3 harness/bugs/bugs.py --build $(B)/bugs $(if $(N),--sample $(N)) $(if $(SEED),--seed $(SEED)) $\
	    $(if $(ABLATION),--ablation --out harness/bugs/results.md) $(if $(EMPTY),--empty) $(if $(RESUME),--resume)

mutants:                                       ## N=500 changes of the core made by machine: who notices?
	python3 harness/bugs/mutants.py --build $(B)/mutants --sample $(or $(N),500) $(if $(SEED),--seed $(SEED))

coverage:                                      ## lines, branches and MC/DC of core/ that tests and corpora reach
	python3 ci/coverage.py --build $(B)/coverage

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

help:                                          ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## */\1\t/p; s/^      .*## */test\t/p' $(MAKEFILE_LIST) | \
	    awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'
	@echo
	@echo "settings: CC, CFLAGS, PREFIX, CAPTURE=file.pcap (run, agree), VEC=file.vec, PACKETS=n, SEED=n (agree),"
	@echo "          TIME=seconds, SEED=n, INDEX=name, TIMER=name (fuzz), RUNS=n sequences (test),"
	@echo "          N=n, SEED=n, RESUME=1 (bugs, mutants), ABLATION=1, EMPTY=1 (bugs)"
