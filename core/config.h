/* SPDX-License-Identifier: MIT */
/* core/config.h - what may be chosen at compile time, and every limit with its reason.
 *
 * Define an option before each #include of the header, and the same everywhere. */
#ifndef KST_CONFIG_H
#define KST_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* KST_IMPLEMENTATION  define in exactly one .c or .cpp file: the code goes there.
 * KST_STATIC          every function is static: a private copy for each file that includes. */
#ifdef KST_STATIC
#if defined(__GNUC__)
#define KST_API static __attribute__((unused))
#else
#define KST_API static
#endif
#else
#define KST_API extern
#endif

/* KST_INDEX, KST_TIMER  the back ends, folded into the pipeline at compile time. The index is swiss,
 * chain, cuckoo or robin, the timer wheel, hashed, lists or heap; core/README.md tells which for
 * what. */
#ifndef KST_INDEX
#define KST_INDEX swiss
#endif
#ifndef KST_TIMER
#define KST_TIMER wheel
#endif

/* KST_INDEXES(X), KST_TIMERS(X)  several, of which kst_config.index and .timer choose at run time, by
 * their place in the list: X(swiss) X(chain). Each of their calls then is one through a pointer.
 * KST_ALL_BACK_ENDS  all of ours, in the order above.
 * KST_BACK_ENDS  a file to include, "mine.h", with back ends of your own, by the contracts that
 * core/index.h and core/timer.h begin with: static const struct kst_index_ops kst_index_NAME and
 * struct kst_timer_ops kst_timer_NAME, which may stand wherever the name of one of ours may. */
#if defined(KST_ALL_BACK_ENDS) && !defined(KST_INDEXES)
#define KST_INDEXES(X) X(swiss) X(chain) X(cuckoo) X(robin)
#define KST_TIMERS(X) X(wheel) X(hashed) X(lists) X(heap)
#endif
#ifndef KST_INDEXES
#define KST_INDEXES(X) X(KST_INDEX)
#endif
#ifndef KST_TIMERS
#define KST_TIMERS(X) X(KST_TIMER)
#endif

/* KST_HASH  sip13 or sip24: SipHash-1-3 is what Linux and others take for tables, 2-4 the cautious
 * one. fold is cheaper and UNSAFE where an attacker chooses packets: whoever knows it sends keys
 * that collide, and newcomers are refused. */
#ifndef KST_HASH
#define KST_HASH sip13
#endif

/* KST_NO_SIMD  no vector instructions in the indexes swiss and cuckoo: the same results, by 64-bit
 * words. So it is anyway where there is no SSE2. */

/* KST_HELPERS(X)  the helpers there are, by the names of their struct kst_helper: kst_helper_ftp
 * and so on. Leave some out, or add your own: a struct that is defined where the implementation
 * goes. */
#ifndef KST_HELPERS
#define KST_HELPERS(X) X(ftp) X(irc) X(pptp) X(sip) X(tftp)
#endif

/* KST_ASSERT  catches mistakes of the caller and of ours, never a packet's. Costs a few percent;
 * define it as ((void)0) to do without. */
#ifndef KST_ASSERT
#include <assert.h>
#define KST_ASSERT(condition) assert(condition)
#endif

/* Packets of a batch that are parsed, hashed and prefetched together, ahead of those that are judged.
 * More hide more of the memory's latency and cost more stack (about 500 bytes each). */
#ifndef KST_BURST
#define KST_BURST 16
#endif
#if KST_BURST < 1 || KST_BURST > 128
#error "KST_BURST must lie in 1..128: the burst lives on the stack"
#endif

/* IPv6 extension headers that are followed. Linux follows as many as the packet holds, which are
 * at most 8192; a smaller bound refuses absurd chains with the reason EXT_DEPTH. */
#ifndef KST_PARSE_EXT_MAX
#define KST_PARSE_EXT_MAX 8192
#endif
#if KST_PARSE_EXT_MAX < 1
#error "KST_PARSE_EXT_MAX must be at least 1: a hop-by-hop header is legitimate"
#endif

/* Nodes in one chain of the index `chain` beyond which an insertion is refused, CHAIN_TOO_LONG.
 * Linux refuses beyond 50 to 79, at random. At the default load of one or less and with a secret
 * seed no chain ever comes near it. */
#ifndef KST_CHAIN_MAX
#define KST_CHAIN_MAX 64
#endif
#if KST_CHAIN_MAX < 8
#error "KST_CHAIN_MAX below 8 would refuse honest connections"
#endif

/* Fragments of one datagram that are held: each is compared with those before it. A datagram of 64
 * KiB in fragments of 576 bytes has 119. */
#ifndef KST_FRAGMENTS_MAX
#define KST_FRAGMENTS_MAX 256
#endif
#if KST_FRAGMENTS_MAX < 2 || KST_FRAGMENTS_MAX > 8192
#error "KST_FRAGMENTS_MAX must lie in 2..8192: more than 8192 of 8 bytes do not fit a datagram"
#endif

/* Least memory for reassembly, bytes: any datagram of 64 KiB in KST_FRAGMENTS_MAX fragments
 * fits. */
#define KST_REASSEMBLY_MIN (UINT32_C(256) * (65536 / 243 + KST_FRAGMENTS_MAX + 8))

/* Steps that a packet which finds the table full may spend on collecting expired connections
 * before it looks for a victim: the bound on what a newcomer costs. A timer step may also find a
 * connection that was prolonged; so who does not call kst_advance often enough may see a live one
 * evicted, or a newcomer refused, while expired ones wait to be collected. */
#ifndef KST_COLLECT_MAX
#define KST_COLLECT_MAX 8
#endif
#if KST_COLLECT_MAX < 1
#error "KST_COLLECT_MAX must be at least 1: expired connections go before live ones"
#endif

/* Most connections in one table: timers address what they hold with 32 bits. */
#define KST_ENTRIES_MAX (UINT32_C(1) << 27)

/* Most expectations at a time: a bound on the memory that a typing error can ask for. */
#define KST_EXPECTATIONS_MAX (UINT32_C(1) << 20)

/* Expectations that share one hash bucket beyond which one is refused, HELPER_EXPECT: a client
 * may expect many to the same port of its own, each from another server. The bound on what a
 * newcomer costs. */
#ifndef KST_EXPECT_CHAIN_MAX
#define KST_EXPECT_CHAIN_MAX 64
#endif

/* Translated connections of one source that are looked at for how that source looks to the outside:
 * a client with one port may have thousands. */
#ifndef KST_NAT_SOURCES_MAX
#define KST_NAT_SOURCES_MAX 64
#endif

/* Most events that may wait. */
#define KST_EVENTS_MAX (UINT32_C(1) << 20)

/* Ports that may have a helper: each newcomer looks at all. */
#define KST_ATTACH_MAX 32

/* Policies of timeouts: as many as three bits of an entry tell apart, besides the table's own. */
#define KST_POLICIES 7

/* Longest timeout that a setting takes, seconds: what Linux takes at 250 ticks a second. */
#define KST_TIMEOUT_MAX_S UINT32_C(8589934)

/* Alignment of the block that kst_init is given, bytes: one cache line. */
#define KST_ALIGN 64

#endif
