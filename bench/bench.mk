# SPDX-License-Identifier: MIT
# bench.mk - builds and runs the benchmarks. Peers are measured if their packages are there (ci/deps
# bench); one that is missing is named in what the program says about itself.

BENCHFLAGS ?= -O3 -march=native -DNDEBUG
ARGS       ?=

A := $(B)/bench
BENCH_INDEXES := swiss chain cuckoo robin
BENCH_TIMERS  := wheel hashed lists heap
BENCH_KITS    := $(foreach index,$(BENCH_INDEXES),$(addprefix $(index)-,$(BENCH_TIMERS))) \
    swiss-wheel-sip24 swiss-wheel-fold
hashed = $(kit) $(if $(word 3,$(subst -, ,$1)),-DKIT_HASH -DKST_HASH=$(word 3,$(subst -, ,$1)))
BENCH_HEADERS := $(wildcard bench/*.h) keepstate.h
SUBJECTS := $(filter-out kit kits peers peer_%,$(patsubst bench/%.c,%,$(wildcard bench/*.c)))

# A peer is a file peer_NAME; in this table: the header that tells whether its package is there, what it
# exports (and which timers), what people call it, and how to compile and link with it.
, := ,
peers        := rte absl tsl khash uthash glib urcu
header_rte   := rte_hash.h
header_absl  := absl/container/flat_hash_map.h
header_tsl   := tsl/robin_map.h
header_khash := htslib/khash.h
header_uthash := uthash.h
header_glib  := glib.h
header_urcu  := urcu/rculfhash.h
exports_rte   := rte_hash16 rte_hash40
exports_absl  := absl16 absl40
exports_tsl   := tsl16 tsl40
exports_khash := khash16 khash40
exports_uthash := uthash16 uthash40
exports_glib  := glib16 glib40
exports_urcu  := urcu16 urcu40
timers_rte   := rte_timer
title_rte    := rte_hash,rte_timer
title_urcu   := rculfhash
ifneq ($(filter bench ratios instructions test $(A)/%,$(MAKECMDGOALS)),)
cflags_rte   := $(filter-out -march=%,$(shell pkg-config --cflags libdpdk 2>/dev/null))
cflags_glib  := $(shell pkg-config --cflags glib-2.0 2>/dev/null)
libs_rte     := -lrte_eal -lrte_hash -lrte_timer -lrte_rcu -lrte_ring
libs_absl    := $(shell pkg-config --libs absl_raw_hash_set absl_hash 2>/dev/null)
libs_glib    := $(shell pkg-config --libs glib-2.0 2>/dev/null)
libs_urcu    := -lurcu-cds -lurcu-qsbr -lurcu-common
there = $(shell echo '\#include <$(header_$1)>' | $(CXX) $(cflags_$1) -E -x c++ - >/dev/null 2>&1 && echo $1)
PEERS := $(foreach peer,$(peers),$(call there,$(peer)))
endif

space := $() $()
commas = $(subst $(space),$(,),$(strip $1))
# What main.c, kits.c and peers.c are told, as a header; and the flags, of which all objects depend. Both
# are written only if they change.
define BUILT
#define COMMIT "$(shell git describe --always --dirty 2>/dev/null)"
#define COMPILER "$(shell $(CC) --version | head -n 1)"
#define FLAGS "$(BENCHFLAGS)"
#define KITS $(foreach kit,$(BENCH_KITS),X($(subst -,_,$(kit))))
#define PEERS $(foreach peer,$(PEERS),$(patsubst %,X(%),$(exports_$(peer))))
#define PEER_TIMERS $(foreach peer,$(PEERS),$(patsubst %,X(%),$(timers_$(peer))))
#define PEERS_IN "$(call commas,$(foreach peer,$(PEERS),$(or $(title_$(peer)),$(peer))))"
#define PEERS_LEFT_OUT "$(call commas,$(foreach peer,$(filter-out $(PEERS),$(peers)),$(or $(title_$(peer)),$(peer))))"
endef
export BUILT

BENCH_CC = $(CC) $(C11) -D_GNU_SOURCE $(BENCHFLAGS) -g -I. -I$(A)
written = mkdir -p $(@D) && printf '%s\n' "$1" | cmp -s - $@ || printf '%s\n' "$1" >$@

$(A)/built.h: always
	@$(call written,$$BUILT)
$(A)/flags: always
	@$(call written,$(BENCH_CC))
.PHONY: always

$(A)/bench: $(addprefix $(A)/,$(addsuffix .o,$(BENCH_KITS:%=kit-%) $(SUBJECTS) kits peers shim $(PEERS:%=peer_%)))
	$(CXX) $^ $(foreach peer,$(PEERS),$(libs_$(peer))) -lbenchmark -lpthread -lm -o $@

$(A)/main.o $(A)/kits.o $(A)/peers.o: $(A)/built.h

$(A)/kit-%.o: bench/kit.c $(BENCH_HEADERS) $(A)/flags
	$(BENCH_CC) $(call hashed,$*) -c $< -o $@

$(A)/%.o: bench/%.c $(BENCH_HEADERS) $(A)/flags
	$(BENCH_CC) $(patsubst -I%,-isystem%,$(cflags_$(*:peer_%=%))) -c $< -o $@

$(A)/%.o: bench/%.cc $(BENCH_HEADERS) $(A)/flags
	$(CXX) -std=c++17 $(WARNINGS) $(BENCHFLAGS) -g -I. -c $< -o $@

.PHONY: bench ratios instructions
bench: $(A)/bench                              ## the benchmarks; ARGS=... are Google Benchmark's and --sizes=64k,1M,8M
	$(A)/bench $(ARGS)

ratios: $(A)/bench                             ## speed against the floor and peers, with limits; build/ratios.json
	python3 bench/ratios.py $< $(B)/ratios.json
