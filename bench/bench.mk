# SPDX-License-Identifier: MIT
# bench.mk - builds and runs the benchmarks. Peers are measured if their packages are there (ci/deps
# bench); one that is missing is named in what the program says about itself.

BENCHFLAGS ?= -O3 -march=native -DNDEBUG
ARGS       ?=

BENCH_INDEXES := swiss chain cuckoo robin
BENCH_TIMERS  := wheel hashed lists heap
BENCH_KITS    ?= $(foreach index,$(BENCH_INDEXES),$(addprefix $(index)-,$(BENCH_TIMERS))) \
    swiss-wheel-sip24 swiss-wheel-fold
kitted = -DKST_INDEX=$(word 1,$(subst -, ,$1)) -DKST_TIMER=$(word 2,$(subst -, ,$1)) $(if $(word 3,$(subst -, ,$1)),-DKIT_HASH -DKST_HASH=$(word 3,$(subst -, ,$1)))
BENCH_HEADERS := $(wildcard bench/*.h) keepstate.h
SUBJECTS := $(filter-out kit kits peers peer_% kernel.bpf,$(patsubst bench/%.c,%,$(wildcard bench/*.c)))

# A peer is a file peer_NAME; in this table: the header that tells whether its package is there, what it
# exports (and which timers), what people call it, and how to compile and link with it.
, := ,
peers        := rte absl tsl khash uthash glib urcu kernel
header_rte   := rte_hash.h
header_absl  := absl/container/flat_hash_map.h
header_tsl   := tsl/robin_map.h
header_khash := htslib/khash.h
header_uthash := uthash.h
header_glib  := glib.h
header_urcu  := urcu/rculfhash.h
header_kernel := bpf/libbpf.h
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
title_kernel := nf_conntrack
ifneq ($(filter bench report compare trust sample ratios instructions test $(B)/bench%,$(MAKECMDGOALS)),)
cflags_rte   := $(filter-out -march=%,$(shell pkg-config --cflags libdpdk 2>/dev/null))
cflags_glib  := $(shell pkg-config --cflags glib-2.0 2>/dev/null)
libs_rte     := -lrte_eal -lrte_hash -lrte_timer -lrte_rcu -lrte_ring
libs_absl    := $(shell pkg-config --libs absl_raw_hash_set absl_hash 2>/dev/null)
libs_glib    := $(shell pkg-config --libs glib-2.0 2>/dev/null)
libs_kernel  := -lbpf
libs_urcu    := -lurcu-cds -lurcu-qsbr -lurcu-common
hash := \#
there = $(shell echo '$(hash)include <$(header_$1)>' | $(CXX) $(cflags_$1) -E -x c++ - >/dev/null 2>&1 && echo $1)
PEERS := $(foreach peer,$(peers),$(call there,$(peer)))
endif

space := $() $()
commas = $(subst $(space),$(,),$(strip $1))
# What main.c, kits.c and peers.c are told, as a header, for a list of kits and the flags.
define built
#define COMMIT "$(shell git describe --always --dirty 2>/dev/null)"
#define COMPILER "$(shell $(CC) --version | head -n 1)"
#define FLAGS "$2"
#define KITS $(foreach kit,$1,X($(subst -,_,$(kit))))
#define PEERS $(foreach peer,$(PEERS),$(patsubst %,X(%),$(exports_$(peer))))
#define PEER_TIMERS $(foreach peer,$(PEERS),$(patsubst %,X(%),$(timers_$(peer))))
#define PEERS_IN "$(call commas,$(foreach peer,$(PEERS),$(or $(title_$(peer)),$(peer))))"
#define PEERS_LEFT_OUT "$(call commas,$(foreach peer,$(filter-out $(PEERS),$(peers)),$(or $(title_$(peer)),$(peer))))"
endef

BENCH_PARTS = $(addsuffix .o,$(SUBJECTS) kits peers shim link $(PEERS:%=peer_%))
BENCH_LIBS  = $(foreach peer,$(PEERS),$(libs_$(peer))) -lbenchmark -lpcap -lpthread -lm

# The program in a folder of its own, with these kits and flags. built.h changes only if what it says does;
# all objects depend on the flags.
define bench_in
$1/bench: $$(addprefix $1/,$$(BENCH_PARTS) $$($2:%=kit-%.o))
	$$(CXX) $$^ $$(BENCH_LIBS) -o $$@

$1/built.h: export BUILT = $$(call built,$$($2),$3)
$1/built.h: always
	@mkdir -p $$(@D); echo "$$$$BUILT" | cmp -s - $$@ || echo "$$$$BUILT" >$$@
$1/flags: always
	@mkdir -p $$(@D); echo '$$(CC) $3' | cmp -s - $$@ || echo '$$(CC) $3' >$$@

$1/main.o $1/kits.o $1/peers.o: $1/built.h

$1/kit-%.o: bench/kit.c $$(BENCH_HEADERS) $1/flags
	$$(BENCH_CC) $3 $$(call kitted,$$*) -c $$< -o $$@

$1/link.o: harness/replay/link.c harness/replay/link.h $1/flags
	$$(BENCH_CC) $3 -c $$< -o $$@

$1/peer_kernel.o: $1/kernel.bpf.o
$1/kernel.bpf.o: bench/kernel.bpf.c
	clang -target bpf -O2 -g -I/usr/include/$$(shell $$(CC) -dumpmachine) -Wall -c $$< -o $$@

$1/%.o: bench/%.c $$(BENCH_HEADERS) $1/flags
	$$(BENCH_CC) $3 -I$1 -Wa,-I$1 $$(patsubst -I%,-isystem%,$$(cflags_$$(*:peer_%=%))) -c $$< -o $$@

$1/%.o: bench/%.cc $$(BENCH_HEADERS) $1/flags
	$$(CXX) -std=c++17 $$(WARNINGS) $3 -g -I. -c $$< -o $$@
endef
BENCH_CC = $(CC) $(C11) -D_GNU_SOURCE -g -I.
$(eval $(call bench_in,$(B)/bench,BENCH_KITS,$(BENCHFLAGS)))

# What make test runs, and what instructions are counted of: no instruction that valgrind does not know.
BENCH_TEST_FLAGS := -O2 -DNDEBUG
# Every back end once.
TEST_KITS := swiss-wheel chain-hashed cuckoo-lists robin-heap
$(eval $(call bench_in,$(B)/bench-test,TEST_KITS,$(BENCH_TEST_FLAGS)))

.PHONY: bench ratios instructions always
bench: $(B)/bench/bench                        ## the benchmarks; ARGS=... are Google Benchmark's and --sizes=64k,1M,8M
	$(B)/bench/bench $(ARGS)

ratios: $(B)/bench/bench                       ## speed against the floor and peers, with limits; build/ratios.json
	python3 bench/ratios.py $< $(B)/ratios.json

instructions: $(B)/bench-test/bench            ## counts instructions an operation anew: bench/instructions.txt
	python3 bench/instructions.py $< bench/instructions.txt --write
