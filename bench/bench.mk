# SPDX-License-Identifier: MIT
# bench.mk - builds and runs the benchmarks. Peers are measured if their packages are there (ci/deps
# bench); one that is missing is named in what the program says about itself.

BENCHFLAGS ?= -O3 -march=native -DNDEBUG
ARGS       ?=

A := $(B)/bench
BENCH_INDEXES := swiss chain cuckoo robin
BENCH_TIMERS  := wheel hashed lists heap
BENCH_KITS    := $(foreach index,$(BENCH_INDEXES),$(addprefix $(index)-,$(BENCH_TIMERS)))
BENCH_HEADERS := $(wildcard bench/*.h) keepstate.h
SUBJECTS := $(filter-out kit kits peers peer_%,$(patsubst bench/%.c,%,$(wildcard bench/*.c)))

# A peer: a file peer_NAME, what it exports, what it is linked with. Those at hand are those whose
# header is found.
header = $(shell echo '\#include <$1>' | $(CC) $2 -E -x $(or $3,c) - >/dev/null 2>&1 && echo yes)
package_cflags = $(shell pkg-config --cflags $1 2>/dev/null)
package_libs   = $(shell pkg-config --libs $1 2>/dev/null)
ifneq ($(filter bench report compare trust sample ratios instructions test $(A)/% bench-%,$(MAKECMDGOALS)),)
RTE := $(call package_cflags,libdpdk)
PEER_FILES := $(if $(call header,rte_hash.h,$(RTE)),peer_rte) \
    $(if $(call header,absl/container/flat_hash_map.h,,c++),peer_absl) \
    $(if $(call header,tsl/robin_map.h,,c++),peer_tsl)
endif

exports_peer_rte  = rte_hash16 rte_hash40
exports_peer_absl = absl16 absl40
exports_peer_tsl  = tsl16 tsl40
title_peer_rte    = rte_hash,rte_timer
title_peer_absl   = absl
title_peer_tsl    = tsl
timers_peer_rte   = rte_timer
libs_peer_rte     = -lrte_eal -lrte_hash -lrte_timer -lrte_rcu -lrte_ring
libs_peer_absl    = $(call package_libs,absl_raw_hash_set absl_hash)
cflags_peer_rte   = $(patsubst -I%,-isystem%,$(filter-out -march=%,$(RTE)))
PEER_ALL := peer_rte peer_absl peer_tsl

space := $() $()
commas = $(subst $(space),$(,),$(strip $1))
, := ,
BENCH_DEFINES = '-DCOMMIT="$(shell git rev-parse --short HEAD 2>/dev/null)"' \
    '-DCOMPILER="$(shell $(CC) --version | head -n 1)"' '-DFLAGS="$(BENCHFLAGS)"' \
    '-DKITS=$(foreach kit,$(BENCH_KITS),X($(subst -,$(,),$(kit))))' \
    '-DPEERS=$(foreach file,$(PEER_FILES),$(patsubst %,X(%),$(exports_$(file))))' \
    '-DPEER_TIMERS=$(foreach file,$(PEER_FILES),$(patsubst %,X(%),$(timers_$(file))))' \
    '-DPEERS_IN="$(call commas,$(foreach file,$(PEER_FILES),$(title_$(file))))"' \
    '-DPEERS_LEFT_OUT="$(call commas,$(foreach file,$(filter-out $(PEER_FILES),$(PEER_ALL)),$(title_$(file))))"'

BENCH_OBJECTS = $(BENCH_KITS:%=$(A)/kit-%.o) $(addprefix $(A)/,$(addsuffix .o,$(SUBJECTS) kits peers \
    shim $(PEER_FILES)))

$(A)/link.o: harness/replay/link.c harness/replay/link.h
	@mkdir -p $(@D)
	$(CC) $(C11) $(BENCHFLAGS) -g -c $< -o $@

$(A)/bench: $(BENCH_OBJECTS) $(A)/link.o
	$(CXX) $^ $(foreach file,$(PEER_FILES),$(libs_$(file))) -lbenchmark -lpcap -lpthread -lm -o $@

$(A)/kit-%.o: bench/kit.c $(BENCH_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(C11) -D_GNU_SOURCE $(BENCHFLAGS) -g $(call kit,$*) -I. -c $< -o $@

$(A)/%.o: bench/%.c $(BENCH_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(C11) -D_GNU_SOURCE $(BENCHFLAGS) -g -I. $(cflags_$*) $(if $(filter main kits peers,$*),$(BENCH_DEFINES)) -c $< -o $@

$(A)/%.o: bench/%.cc $(BENCH_HEADERS)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(WARNINGS) $(BENCHFLAGS) -g -I. -c $< -o $@

.PHONY: bench ratios instructions
bench: $(A)/bench                              ## the benchmarks; ARGS=... are Google Benchmark's and --sizes=64k,1M,8M
	$(A)/bench $(ARGS)

ratios: $(A)/bench                             ## speed against the floor and peers, with limits; build/ratios.json
	python3 bench/ratios.py $< $(B)/ratios.json
