/* SPDX-License-Identifier: MIT */
/* Generated from core/ by `make header`: change a room there, never this file. */
/* keepstate.h - connection tracking in one file, as Linux does it. C11 and C++17, no allocation,
 * no threads, no clock, no system call.
 *
 *     #define KST_IMPLEMENTATION                      in exactly one .c or .cpp file
 *     #include "keepstate.h"
 *
 *     struct kst_config config = {.max = 65536, .seed = {random, random}};
 *     struct kst *t = kst_init(memory, kst_bytes(&config), &config, NULL);
 *     kst_track(t, now_ms, packets, count, results);   a batch in, a result each
 *     kst_advance(t, now_ms, work_max);                expire in at most work_max steps
 *
 * You pass the memory, the time and the seed; so every run can be replayed. A packet gets a state
 * (NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED), a direction and, where something is amiss, a
 * reason from one list. It never makes a call fail, whatever it holds.
 *
 * What it never does: allocate, read a clock, lock, print, call the operating system, change a
 * packet that it was not given to be translated (kst_track_nat), or read outside [data, data +
 * size). One table serves one thread at a time.
 *
 * CONTENTS   1 Options and limits   2 Types   3 Calls   4 Implementation, room by room
 *
 * This text is core/keepstate.h: the order of its #include lines is the manifest that the released
 * header is made of (make header). Each room may be read, and compiled, by itself. */
#ifndef KEEPSTATE_H
#define KEEPSTATE_H

#define KST_VERSION "0.1.0"

/* ======== core/config.h ================================================================== */

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

/* ======== core/api.h ===================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/api.h - everything that a user may name: types first, calls after them. */
#ifndef KST_API_H
#define KST_API_H


#ifdef __cplusplus
extern "C" {
#endif

/* ---- 2 Types ---------------------------------------------------------------------------- */

struct kst; /* one table; it lies in the caller's block and refers to itself by offsets only */

/* A connection's name: never 0, never given to another within the next 2^32 creations. The name of
 * a connection that is gone is simply not found. */
typedef uint64_t kst_id;

enum kst_state {
    KST_INVALID,     /* belongs to no connection and may not start one: result.reason says why */
    KST_NEW,         /* started one, or goes on before any answer was seen */
    KST_ESTABLISHED, /* belongs to one that has been answered, this packet included */
    KST_RELATED,     /* an ICMP error about a known connection; or it started one that another
                      * expects, or goes on with it before any answer was seen */
    KST_UNTRACKED    /* not for the tracker: neighbour discovery, multicast listener reports,
                      * or the caller said KST_PACKET_NOTRACK */
};

enum kst_direction {
    KST_ORIGINAL,    /* the way of the first packet */
    KST_REPLY,       /* the other way */
    KST_NO_DIRECTION /* the packet belongs to no connection */
};

enum kst_verdict {
    KST_ACCEPT, /* the tracker has nothing against it; INVALID packets are accepted too, as in Linux */
    KST_DROP,   /* Linux would drop it here: no room in the table, a fragment that fits no datagram,
                 * a message that its connection's helper will not let pass */
    KST_HOLD    /* a fragment, copied: the one that completes the datagram has the answer for all */
};

enum kst_family { KST_IPV4 = 2, KST_IPV6 = 10 }; /* the numbers that Linux prints */

/* How far a packet's checksums are to be trusted. The setting nf_conntrack_checksum = 0 turns
 * KST_CHECKSUM_VERIFY into KST_CHECKSUM_IGNORE. */
enum kst_checksum {
    KST_CHECKSUM_VERIFY, /* compute and compare: IPv4 header, TCP, UDP, UDP-Lite, SCTP, ICMP(v6) */
    KST_CHECKSUM_IGNORE, /* do not look */
    KST_CHECKSUM_GOOD,   /* the caller, or its hardware, vouches for it */
    KST_CHECKSUM_BAD     /* the hardware found it wrong: judged as a failed verification */
};

enum kst_packet_flags {
    KST_PACKET_NOTRACK = 1, /* leave it alone: UNTRACKED, as iptables' -j CT --notrack */
    KST_PACKET_HEAD = 2,    /* `size` bytes are only the front of the packet (a capture cut short,
                             * the first of several buffers): lengths are believed, checksums
                             * that need what is missing are not looked at */
    KST_PACKET_ZONE_ORIGINAL = 4, /* `zone` is that of the original direction only, the answers come
                             * from zone 0, as with `ct original zone set`. Needs KST_WITH_NAT */
    KST_PACKET_ZONE_REPLY = 8, /* likewise, of the reply direction */
    KST_PACKET_DEFER = 16   /* judge only, as for rules that come between Linux's hooks: what the packet
                             * creates stays pending - kst_get() knows it, nobody finds it - and its
                             * payload unread until kst_confirm() or kst_refuse(). One packet at a
                             * time: the next kst_track() refuses what was left pending */
};

struct kst_packet {
    const uint8_t *data; /* first byte of the IPv4 or IPv6 header; any alignment */
    uint32_t size;       /* bytes that may be read there; what exceeds the IP length is cut off */
    uint16_t zone;       /* separate worlds with equal addresses; 0 by default */
    uint8_t checksum;    /* enum kst_checksum */
    uint8_t flags;       /* enum kst_packet_flags, or'ed */
    uint8_t helper;      /* of the connection, if this packet starts one: kst_helper_number; 0: none */
    uint8_t policy;      /* likewise the timeouts that it will have, kst_set_policy; 0: the table's */
};

enum kst_result_flags {
    KST_CREATED = 1, /* this packet created the connection; one that it reopened is gone */
    KST_CLOSED = 2,  /* this packet ended it (a refused TCP connection): `entry` names it no more */
    KST_REASSEMBLED = 4 /* this fragment completed its datagram, which was judged: kst_datagram has it */
};

/* What became of a packet. Look at `verdict` first: a dropped packet's state is INVALID too. */
struct kst_result {
    kst_id entry;      /* the connection, or 0; one whose helper drops the packet is named, too */
    uint16_t reason;   /* enum kst_reason: why INVALID or dropped; what was ignored; who had to go */
    uint8_t state;     /* enum kst_state */
    uint8_t direction; /* enum kst_direction */
    uint8_t verdict;   /* enum kst_verdict */
    uint8_t flags;     /* enum kst_result_flags, or'ed */
};

/* Who talks to whom, one direction. No padding: it is compared and copied as a whole. */
struct kst_tuple {
    uint8_t src[16];   /* network order; an IPv4 address takes the first 4 bytes, the rest is 0 */
    uint8_t dst[16];
    uint16_t src_port; /* host order. TCP, UDP, UDP-Lite, SCTP: the port; ICMP, ICMPv6: the
                        * identifier; GRE version 1: the peer's call, if known; others: 0 */
    uint16_t dst_port; /* ICMP, ICMPv6: type << 8 | code; GRE version 1: the call */
    uint16_t zone;
    uint8_t family;    /* enum kst_family */
    uint8_t protocol;  /* IP protocol number */
};

/* Numbers and order as in Linux; what a middle box sees, hence FIN_WAIT after any one FIN. */
enum kst_tcp_state {
    KST_TCP_NONE,
    KST_TCP_SYN_SENT,
    KST_TCP_SYN_RECV,
    KST_TCP_ESTABLISHED,
    KST_TCP_FIN_WAIT,
    KST_TCP_CLOSE_WAIT,
    KST_TCP_LAST_ACK,
    KST_TCP_TIME_WAIT,
    KST_TCP_CLOSE,
    KST_TCP_SYN_SENT2,
    KST_TCP_STATES
};

enum kst_sctp_state {
    KST_SCTP_NONE,
    KST_SCTP_CLOSED,
    KST_SCTP_COOKIE_WAIT,
    KST_SCTP_COOKIE_ECHOED,
    KST_SCTP_ESTABLISHED,
    KST_SCTP_SHUTDOWN_SENT,
    KST_SCTP_SHUTDOWN_RECD,
    KST_SCTP_SHUTDOWN_ACK_SENT,
    KST_SCTP_HEARTBEAT_SENT,
    KST_SCTP_STATES
};

enum kst_status { /* bits and values as in Linux */
    KST_EXPECTED = 1 << 0, /* another connection's helper foretold it */
    KST_SEEN_REPLY = 1 << 1,
    KST_ASSURED = 1 << 2,
    KST_CONFIRMED = 1 << 3,
    KST_SRC_NAT = 1 << 4,      /* under NAT: its source, its destination is translated; */
    KST_DST_NAT = 1 << 5,
    KST_SEQ_ADJUST = 1 << 6,   /* a helper has changed the length of what it carries */
    KST_SRC_NAT_DONE = 1 << 7, /* it has been decided whether and how */
    KST_DST_NAT_DONE = 1 << 8,
    KST_FIXED_TIMEOUT = 1 << 10 /* no packet moves its expiry */
};

enum { KST_LABEL_BYTES = 16 };

/* A copy of one connection, as kst_get hands it out and kst_insert takes it. */
struct kst_flow {
    kst_id id;
    struct kst_tuple tuple[2]; /* by enum kst_direction; the second mirrors the first without NAT */
    uint64_t timeout_ms;       /* until it expires */
    uint64_t packets[2];       /* counted since creation, if `accounted` */
    uint64_t bytes[2];         /* IP header and what follows it */
    uint32_t mark;
    uint16_t status;           /* enum kst_status, or'ed */
    uint8_t state;             /* enum kst_tcp_state or kst_sctp_state; 0 for other protocols */
    bool accounted;            /* created while nf_conntrack_acct was 1 */
    uint32_t gre_timeouts_s[2]; /* GRE: until answered, and afterwards; to kst_insert 0 says: as set */
    uint32_t sctp_tags[2];      /* SCTP: the verification tag that each direction carries */
    kst_id master;              /* EXPECTED: the connection that foretold it; it may be gone */
    uint64_t age_ms;            /* since it began, if `timestamped` */
    uint8_t labels[KST_LABEL_BYTES]; /* 128 bits of the caller's, bit n in byte n / 8 */
    bool timestamped;           /* created while nf_conntrack_timestamp was 1 */
    uint8_t helper;             /* kst_helper_name; 0: none */
    uint8_t policy;             /* of timeouts, 0: the table's */
    uint32_t out_interface;     /* of the source's range, kst_nat_range; 0: none */
    uint32_t seq_adjust[2][3];  /* SEQ_ADJUST, by direction: position, offset before and behind it */
};

/* Who goes first when the table is full. */
enum kst_class {
    KST_CLASS_UNREPLIED, /* no answer seen */
    KST_CLASS_REPLIED,   /* answered, not ASSURED */
    KST_CLASS_CLOSING,   /* ASSURED, TCP in FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT or CLOSE,
                          * SCTP in one of the SHUTDOWN states */
    KST_CLASS_ASSURED,   /* ASSURED and alive */
    KST_CLASSES
};

enum kst_features { /* what an entry can hold beyond the minimum: bytes a connection */
    KST_WITH_ACCOUNTING = 1, /* counters for nf_conntrack_acct: 32 bytes */
    KST_WITH_NAT = 2,        /* reply tuples that do not mirror the original, by NAT or by zones of
                              * one direction: 52 bytes, with helpers 76, a second node in the index, and 4 to
                              * 8 for the list of each source */
    KST_WITH_TIMESTAMPS = 4, /* the time of birth for nf_conntrack_timestamp: 8 bytes */
    KST_WITH_LABELS = 8,     /* 16 bytes */
    KST_WITH_LIMITS = 16     /* counts by source and by zone, for keepstate_source_max and _zone_max:
                              * about 70 bytes */
};

/* What a table is made of. Zero every field that you do not choose. */
struct kst_config {
    uint32_t max;      /* connections, 1..KST_ENTRIES_MAX: exactly as many fit */
    uint32_t buckets;  /* of the index; 0: as many as `max`. Rounded up to a power of two. With far
                        * fewer than `max` newcomers are refused, CHAIN_TOO_LONG */
    uint32_t features; /* enum kst_features, or'ed */
    uint8_t source_prefix[2]; /* KST_WITH_LIMITS: bits of an IPv4 and of an IPv6 address that tell sources
                        * apart; 0: 32 and 64 */
    uint8_t index, timer; /* their places in KST_INDEXES and KST_TIMERS, from 0; names are asked for by
                        * kst_index_name, kst_timer_name */
    uint32_t reassembly_bytes; /* for fragments, at least KST_REASSEMBLY_MIN: Linux has 4 MiB a family.
                        * 0: none, a fragment is INVALID. Takes a quarter more, and 64 KiB, in all */
    uint32_t expectations; /* that helpers may have at a time, at most KST_EXPECTATIONS_MAX; Linux
                        * has 4096. 0: no helpers. Else 64 bytes a connection, and about 100 each */
    uint32_t events;   /* that wait for kst_event_next, at most KST_EVENTS_MAX; 0: none are noted */
    uint64_t start_ms; /* the clock at the beginning; 0 will do */
    uint64_t seed[2];  /* 128 secret random bits: who knows them can crowd one place of
                        * the index, have each packet look at all of it, and newcomers refused */

    /* When the table is full the classes are tried in this order, each from its oldest member.
     * Each element is an enum kst_class + 1; the first 0 ends the list. All zero: UNREPLIED,
     * then REPLIED. Linux knows one class, all that is not ASSURED. */
    uint8_t evict[KST_CLASSES];
    /* By enum kst_class: how long a connection may stay in the class before it may be evicted,
     * to within 64 ms. */
    uint32_t residence_ms[KST_CLASSES];
};

/* Columns of `conntrack -S` that a reason counts in. */
enum kst_column {
    KST_COLUMN_NONE = 0,
    KST_COLUMN_INVALID = 1,
    KST_COLUMN_DROP = 2,
    KST_COLUMN_EARLY_DROP = 4,
    KST_COLUMN_ERROR = 8,
    KST_COLUMN_INSERT_FAILED = 16,
    KST_COLUMN_CHAIN_TOO_LONG = 32
};

/* Every refusal has a name, a sentence and a counter; so has all that is accepted but ignored.
 * X(name, columns of `conntrack -S`, sentence) */
#define KST_REASONS_LIST(X)                                                                        \
    X(NONE, NONE, "nothing to explain")                                                            \
    X(IP_SHORT, INVALID, "the packet ends inside its IP header")                                   \
    X(IP_VERSION, INVALID, "neither IPv4 nor IPv6")                                                \
    X(IP_HEADER, INVALID, "the IPv4 header length is below 20 or exceeds the packet")              \
    X(IP_LENGTH, INVALID, "fewer bytes arrived than the IP length field says")                     \
    X(IP_CHECKSUM, INVALID, "the IPv4 header checksum is wrong")                                   \
    X(IP_JUMBO, INVALID, "an IPv6 jumbogram")                                                      \
    X(FRAGMENT, INVALID, "a fragment that cannot be, or is not, reassembled: its ports are hidden") \
    X(FRAGMENT_HELD, NONE, "a fragment, held until its datagram is complete")                      \
    X(FRAGMENT_COPY, NONE, "a fragment of which every byte is held already")                       \
    X(FRAGMENT_OVERLAP, NONE, "a fragment that overlaps another: its datagram is given up")        \
    X(FRAGMENT_BAD, NONE, "a fragment of impossible size or place")                                \
    X(FRAGMENT_MANY, NONE, "more fragments than KST_FRAGMENTS_MAX: the datagram is given up")      \
    X(FRAGMENT_FULL, NONE, "a fragment, and the memory for reassembly is in use")                  \
    X(EXT_SHORT, INVALID, "the packet ends inside an IPv6 extension header")                       \
    X(EXT_DEPTH, INVALID, "more IPv6 extension headers than KST_PARSE_EXT_MAX")                    \
    X(EXT_NO_NEXT, INVALID, "IPv6 says that no header follows")                                    \
    X(L4_SHORT, INVALID, "the packet ends inside its transport header")                            \
    X(TCP_OFFSET, INVALID, "the TCP data offset is below 5 words or exceeds the packet")           \
    X(TCP_CHECKSUM, INVALID, "the TCP checksum is wrong")                                          \
    X(TCP_FLAGS, INVALID, "no TCP may send this combination of flags")                             \
    X(TCP_FIRST, INVALID, "a TCP connection cannot begin with this segment")                       \
    X(TCP_PICKUP, INVALID, "a connection's middle, and nf_conntrack_tcp_loose is 0")               \
    X(TCP_STATE, INVALID, "this TCP segment makes no sense in the connection's state")             \
    X(TCP_RST_SEQ, INVALID, "RST with a sequence number below what the peer acknowledged")         \
    X(TCP_SEQ_OVER, INVALID, "TCP data beyond the window that the peer offered")                   \
    X(TCP_ACK_OVER, INVALID, "TCP acknowledges data that was never seen")                          \
    X(TCP_SEQ_JUST_OVER, NONE, "ignored: TCP data just beyond the window that the peer offered")   \
    X(TCP_SEQ_OLD, NONE, "ignored: TCP data older than the peer's window, a late copy")            \
    X(TCP_ACK_OLD, NONE, "ignored: TCP acknowledgement older than any window")                     \
    X(TCP_IGNORED, NONE, "ignored: a TCP handshake segment that may or may not be in sync")        \
    X(TCP_CHALLENGE, NONE, "ignored: the challenge ACK that answers a SYN in LAST_ACK")            \
    X(TCP_RST_HELD, NONE, "RST in window but not the next byte: it shortens, but does not close")  \
    X(TCP_SYN_AGAIN, NONE, "another SYN before any answer: the timeout is not prolonged")          \
    X(TCP_REFUSED, NONE, "RST before any answer: the connection is deleted at once")               \
    X(SCTP_CHECKSUM, INVALID, "the SCTP checksum is wrong")                                        \
    X(SCTP_CHUNKS, INVALID, "SCTP chunks that are malformed, missing or must not stand together")  \
    X(SCTP_FIRST, INVALID, "an SCTP association cannot begin with this chunk")                     \
    X(SCTP_TAG, INVALID, "the SCTP verification tag is not this association's")                    \
    X(SCTP_STATE, INVALID, "this SCTP chunk makes no sense in the association's state")            \
    X(SCTP_HEARTBEAT, NONE, "ignored: an SCTP HEARTBEAT with another tag, the answer will tell")   \
    X(SCTP_INIT_AGAIN, NONE, "the SCTP INIT again: the timeout is not prolonged")                  \
    X(GRE_PROTOCOL, INVALID, "GRE version 1 that does not carry PPP")                              \
    X(UDP_LENGTH, INVALID, "the UDP length is below 8 or exceeds the packet")                      \
    X(UDP_CHECKSUM, INVALID, "the UDP checksum is wrong")                                          \
    X(UDPLITE_COVERAGE, INVALID, "the UDP-Lite coverage is below 8 or exceeds the packet")         \
    X(UDPLITE_NO_CHECKSUM, INVALID, "UDP-Lite without a checksum")                                 \
    X(UDPLITE_CHECKSUM, INVALID, "the UDP-Lite checksum is wrong")                                 \
    X(ICMP_SHORT, ERROR, "the packet ends inside its ICMP header")                                 \
    X(ICMP_CHECKSUM, ERROR, "the ICMP checksum is wrong")                                          \
    X(ICMP_TYPE, ERROR, "an ICMP type above 18")                                                   \
    X(ICMP_NO_ANSWER, INVALID, "an ICMP type that has no counterpart")                             \
    X(ICMP_UNASKED, INVALID, "an ICMP answer to no known question")                                \
    X(ICMP_FAMILY, INVALID, "ICMP in IPv6, or ICMPv6 in IPv4")                                     \
    X(ICMP_INNER, ERROR, "an ICMP error whose embedded packet cannot be read")                     \
    X(ICMP_UNRELATED, ERROR, "an ICMP error about no known connection")                            \
    X(ICMP_MISDIRECTED, ERROR, "an ICMP error not sent to who sent the embedded packet")           \
    X(HELPER, NONE, "the connection's helper wants it dropped")                                    \
    X(HELPER_EXPECT, NONE, "what the packet foretells cannot be expected: it clashes, or no room") \
    X(FTP_PARTIAL, NONE, "an FTP command or answer that is cut off within its first word")         \
    X(FTP_ADDRESS, NONE, "an FTP command or answer whose address or port cannot be read")          \
    X(SIP_STATUS, NONE, "a SIP response without a status")                                         \
    X(SIP_CSEQ, NONE, "a SIP message without a CSeq, or with an unreadable one")                   \
    X(SIP_HEADER, NONE, "a SIP message without a readable time of expiry, or length of what has changed") \
    X(SIP_MEDIA, NONE, "SDP with an unreadable address or a port outside 1024..65535")             \
    X(TABLE_FULL, DROP, "the table is full, and nothing near is expired or may be evicted")        \
    X(TABLE_EVICTED, EARLY_DROP, "the table was full: the oldest evictable connection made room")  \
    X(CLASH, INSERT_FAILED | KST_COLUMN_DROP, "its answers would belong to another connection")    \
    X(HALF_OPEN_FULL, DROP, "as many are not ASSURED as may be, and none of them may be evicted")  \
    X(HALF_OPEN_EVICTED, EARLY_DROP, "as many were not ASSURED as may be: the oldest made room")   \
    X(SOURCE_LIMIT, DROP, "its source has as many connections as keepstate_source_max allows")     \
    X(ZONE_LIMIT, DROP, "its zone has as many connections as keepstate_zone_max allows")           \
    X(CHAIN_TOO_LONG, INSERT_FAILED | KST_COLUMN_CHAIN_TOO_LONG, "the index has no place for it")  \
    X(NAT_LATE, NONE, "too late to bind: the connection is confirmed, or this was decided before") \
    X(NAT_RANGE, NONE, "no range to translate to: reversed, no such prefix, or no KST_WITH_NAT")   \
    X(NAT_EXHAUSTED, INSERT_FAILED | KST_COLUMN_DROP,                                              \
      "translated, its answers would belong to another connection: the range is used up")          \
    X(NAT_PACKET, DROP, "a packet of a translated connection that cannot be rewritten")            \
    X(NAT_ROOM, DROP, "a message that has to grow, and the buffer or IP has no room for it")

enum kst_reason {
#define KST__X(name, columns, text) KST_REASON_##name,
    KST_REASONS_LIST(KST__X)
#undef KST__X
    KST_REASONS
};

/* Why a connection left the table. X(name, words) */
#define KST_CAUSES_LIST(X)                                                                         \
    X(EXPIRED, "timed out")                                                                        \
    X(CLOSED, "a packet ended it before any answer")                                               \
    X(REPLACED, "a packet reopened it")                                                            \
    X(CALLED_OFF, "the helper of its master ended it")                                             \
    X(EVICTED, "to make room")                                                                     \
    X(DELETED, "by the caller")                                                                    \
    X(REFUSED, "the caller's rules, or its helper, dropped its first packet")

enum kst_cause {
#define KST__X(name, text) KST_GONE_##name,
    KST_CAUSES_LIST(KST__X)
#undef KST__X
    KST_CAUSES
};

enum { KST_AGES = 24 };

struct kst_stats {
    uint64_t packets;              /* tracked, whatever became of them */
    uint64_t reasons[KST_REASONS]; /* by enum kst_reason */
    uint64_t created;              /* connections that entered the table by a packet */
    uint64_t inserted;             /* by kst_insert */
    uint64_t gone[KST_CAUSES];     /* that left it, by enum kst_cause */
    uint64_t victim_ages[KST_AGES]; /* EVICTED ones by how long they had been in their class: [0] below
                                    * 64 ms, each next up to twice that, the last all that is longer */
    uint64_t reassembled;          /* datagrams */
    uint64_t reassembly_expired;   /* datagrams that were not complete in time */
    uint64_t expect_new;           /* connections that had been expected */
    uint64_t expect_create;        /* expectations that were noted */
    uint64_t expect_delete;        /* and that are gone again */
    uint64_t events_lost;          /* because config.events others were waiting */
    uint64_t clock_back;           /* calls whose clock lay before an earlier call's */
};

/* A connection that another, its master, foretells: the FTP data connection, the DCC transfer.
 * The packet that starts it is RELATED. A copy, as kst_expectation_get hands it out and
 * kst_expect takes it. */
enum kst_expectation_flags {
    KST_EXPECT_ANY_SRC = 1,       /* from any address: tuple.src is 0 */
    KST_EXPECT_ANY_SRC_PORT = 2,  /* from any port: tuple.src_port is 0 */
    KST_EXPECT_PERMANENT = 4,     /* more than one connection may come */
    KST_EXPECT_INACTIVE = 8,      /* none may come yet */
    KST_EXPECT_USERSPACE = 16,    /* noted by the caller, not by a helper */
    KST_EXPECT_ANY_MASTER = 32    /* the same, expected by another connection, is not BUSY but EXISTS */
};

enum { KST_EXPECT_CLASSES = 4 };

struct kst_expectation {
    kst_id id;
    kst_id master;                 /* with it the expectation goes */
    struct kst_tuple tuple;        /* of the first packet */
    struct kst_tuple master_tuple; /* original direction; ignored by kst_expect */
    uint64_t timeout_ms;           /* until it is given up */
    uint8_t flags;                 /* enum kst_expectation_flags, or'ed */
    uint8_t class_;                /* of the master's helper, below KST_EXPECT_CLASSES: what it is for */
    uint8_t helper;                /* whose it is, kst_helper_name; ignored by kst_expect */
    uint8_t child_helper;          /* that the connection will have; 0: none */
    uint8_t follows;               /* enum kst_follows: the master is translated, and so will it be: to */
    uint8_t nat_direction;         /* where a message of this direction of the master, which told of */
    uint16_t nat_port;             /* it, had come from, and to the port that it had named */
};

enum kst_follows {
    KST_FOLLOWS_NOT,
    KST_FOLLOWS,     /* and looks as if it came from the other side of the master, whoever began it; */
    KST_FOLLOWS_PEER /* only if it does come from there */
};

/* ---- helpers: each a struct kst_helper of its own, core/help_*.h. Which ones there are says
 * KST_HELPERS in config.h. None runs unless the caller attaches it: to a packet (kst_packet.helper), to a
 * port (kst_attach) or to a connection that it inserts. ---- */

enum { KST_HELPER_STATE_BYTES = 40 };

/* What a helper is given: one message of a connection that it is attached to, which the tracker
 * has accepted. No stream is put together: a message that was split is seen in pieces. */
struct kst_help {
    struct kst *t;
    kst_id connection;
    struct kst_tuple tuple[2];  /* by enum kst_direction */
    uint8_t direction;          /* of this packet */
    bool answered;              /* ESTABLISHED: an answer was seen, this packet included */
    bool expected;              /* the connection has a master */
    bool error;                 /* not a message but an ICMP error about one of the reply direction, which
                                 * is the payload: as in Linux, whose SIP takes it for a sign of life */
    uint32_t seq;               /* TCP: of the first byte of the payload */
    const uint8_t *payload;     /* all of it; nothing is readable behind it */
    uint32_t size;
    void *state;                /* the helper's own, KST_HELPER_STATE_BYTES for each connection, aligned to
                                 * 8; zero at first */
    uint32_t timeout_s;         /* out: the timeout that the connection gets; 0: as it has */
    uint16_t to_port;           /* out: of a translated connection, by UDP: where this message goes instead;
                                 * 0: as it does */
    bool translated;            /* the connection is under NAT: kst_help_replace may be called, and what it
                                 * expects should follow it */
    bool unnoted;               /* out: by how much the replacements made this segment longer is not noted, so
                                 * later sequence numbers do not follow */
    struct kst__mangle *mangle; /* for kst_help_replace */
};

struct kst_expect_class {
    const char *name;   /* printed behind the helper's, "" for none */
    uint8_t max;        /* at a time, for one connection: a new one replaces the oldest. 0: no limit but
                         * 255 */
    uint32_t timeout_s;
};

struct kst_helper {
    const char *name;
    uint8_t protocols[2]; /* IP protocols whose messages it understands; 0: no second one */
    uint8_t family;       /* enum kst_family; 0: both */
    bool calls;           /* it announces GRE calls as PPTP does: they end with the connection */
    uint16_t port;        /* where kst_attach_usual puts it, of the first protocol; 0: nowhere */
    struct kst_expect_class classes[KST_EXPECT_CLASSES];
    enum kst_reason (*help)(struct kst_help *h); /* NONE, or why the packet is to be dropped */
};

/* ---- NAT, under KST_WITH_NAT ----
 *
 * A connection is bound on its first packet, while that is pending: once for each kind. A binding
 * changes only what its answers look like, flow.tuple[KST_REPLY]; every packet is then rewritten
 * from the two tuples. kst_track_nat does all of it at once; who has rules between the hooks:
 *
 *     kst_track() with KST_PACKET_DEFER       prerouting (output of local packets)
 *     kst_bind(DESTINATION) if CREATED        if it is NEW or RELATED and not an ICMP error
 *     kst_translate(DESTINATION)
 *     ... routing, filtering: kst_refuse() of what is dropped ...
 *     kst_bind(SOURCE) if CREATED             postrouting (input of packets to this host)
 *     kst_translate(SOURCE)
 *     kst_confirm()
 *
 * MASQUERADE and REDIRECT are ranges of one address, which the caller looks up. */

enum kst_nat_kind {
    KST_NAT_SOURCE,
    KST_NAT_DESTINATION
};

enum kst_nat_flags {
    KST_NAT_ADDRESS = 1,       /* address[] counts; else the address stays */
    KST_NAT_PORT = 2,          /* port[] counts: ports, of ICMP the identifier */
    KST_NAT_RANDOM = 4,        /* do not try the packet's own port, nor what other connections of its
                                * sender have: draw one */
    KST_NAT_RANDOM_FULLY = 8,  /* as Linux's other word for that; here they are one */
    KST_NAT_PERSISTENT = 16,   /* an address for a client, whatever it connects to */
    KST_NAT_OFFSET = 32,       /* ports are shifted: port[0] + (old - base) */
    KST_NAT_NETMAP = 64        /* the first `prefix` bits of address[0], the rest as it was */
};

/* To what an address and a port are translated. Of several addresses, connections of the same two
 * hosts get the same one; which one Linux would take we cannot know. */
struct kst_nat_range {
    uint8_t flags;          /* enum kst_nat_flags, or'ed */
    uint8_t prefix;
    uint16_t port[2];       /* the lowest and the highest, host order */
    uint16_t base;
    uint32_t out_interface; /* noted in kst_flow, for MASQUERADE: a connection whose packets would
                             * leave by another one now is to be deleted. 0: none */
    uint8_t address[2][16]; /* the lowest and the highest, as in struct kst_tuple; equal if one */
};

/* What kst_track_nat needs of a packet beyond kst_packet. */
struct kst_nat {
    const struct kst_nat_range *range[2]; /* by enum kst_nat_kind; NULL: as it is, but for a source
                                           * port that is taken */
    uint8_t *bytes; /* where packet.data lies, to be written to */
    uint32_t room;  /* bytes there are, not fewer than packet.size: helpers' messages may grow */
    uint32_t size;  /* out: what the packet has now */
};

/* ---- events, if config.events ---- */

enum kst_event_type {
    KST_EVENT_NEW,            /* a connection entered the table */
    KST_EVENT_UPDATE,         /* what `changed` says has changed */
    KST_EVENT_DESTROY,        /* it left the table, for `cause`; flow.timeout_ms is what it had left */
    KST_EVENT_EXPECT_NEW,
    KST_EVENT_EXPECT_DESTROY, /* it came, or will not come any more */
    KST_EVENT_PRESSURE,       /* the table is full to keepstate_pressure_high percent; about.count */
    KST_EVENT_RELIEF          /* and below keepstate_pressure_low percent again */
};

enum kst_change {
    KST_CHANGED_REPLY = 1,    /* the first answer */
    KST_CHANGED_ASSURED = 2,
    KST_CHANGED_STATE = 4,    /* of TCP or SCTP */
    KST_CHANGED_MARK = 8,
    KST_CHANGED_LABELS = 16
};

struct kst_event {
    uint64_t time_ms;
    uint8_t type;    /* enum kst_event_type */
    uint8_t cause;   /* enum kst_cause */
    uint16_t changed; /* enum kst_change, or'ed */
    union {
        struct kst_flow flow;
        struct kst_expectation expectation;
        uint32_t count; /* of connections */
    } about;
};

/* What a call refuses, and why. */
#define KST_ERRORS_LIST(X)                                                                         \
    X(OK, "no error")                                                                              \
    X(NO_CONFIG, "no configuration given")                                                         \
    X(MAX, "config.max must lie in 1..KST_ENTRIES_MAX")                                            \
    X(BUCKETS, "config.buckets must not exceed 2 * KST_ENTRIES_MAX")                               \
    X(BACK_END, "config.index or config.timer is none of KST_INDEXES or KST_TIMERS")               \
    X(FEATURES, "config.features has a bit that means nothing")                                    \
    X(PREFIX, "config.source_prefix must not exceed 32 and 128 bits")                              \
    X(EVICT, "config.evict names no class, one twice, or goes on after its end")                   \
    X(REASSEMBLY, "config.reassembly_bytes must be 0 or at least KST_REASSEMBLY_MIN")              \
    X(EXPECTATIONS, "config.expectations must not exceed KST_EXPECTATIONS_MAX")                    \
    X(EVENTS, "config.events must not exceed KST_EVENTS_MAX")                                      \
    X(NO_MEMORY, "no block given")                                                                 \
    X(MEMORY_SHORT, "the block is smaller than kst_bytes says")                                    \
    X(MEMORY_ALIGN, "the block must be aligned to KST_ALIGN bytes")                                \
    X(SETTING_NAME, "no setting has this name")                                                    \
    X(SETTING_RANGE, "the value lies outside the setting's range")                                 \
    X(SETTING_READ_ONLY, "this setting can only be read")                                          \
    X(SETTING_FEATURE, "config.features left out the memory that this setting needs")              \
    X(POLICY, "no policy has this number, or the setting is not a timeout")                        \
    X(HELPER, "no helper has this number or speaks this protocol, or config.expectations is 0")    \
    X(HELPERS_MANY, "more than KST_ATTACH_MAX ports have a helper")                                \
    X(NOT_FOUND, "the connection is gone")                                                         \
    X(EXPECT_TUPLE, "the tuple is not one that a packet could have, or of another zone")           \
    X(EXPECT_CLASS, "the class does not exist")                                                    \
    X(EXPECT_EXISTS, "the connection expects the same in another class")                           \
    X(EXPECT_BUSY, "another expectation would take some of the same packets")                      \
    X(EXPECT_LIMIT, "the class takes no more")                                                     \
    X(EXPECT_FULL, "the table of expectations is full")                                            \
    X(FLOW_FAMILY, "the two tuples need one family, one protocol, zones that fit and clean padding") \
    X(FLOW_TUPLE, "the original tuple can have no reply, or the reply tuple is not one")           \
    X(FLOW_STATE, "the status or the protocol state means nothing")                                     \
    X(FLOW_TIMEOUT, "the timeout is 0 or longer than KST_TIMEOUT_MAX_S")                           \
    X(FLOW_NAT, "the reply does not mirror the original and KST_WITH_NAT was left out")            \
    X(FLOW_EXISTS, "a connection with one of these tuples exists")                                 \
    X(LIMIT, "its source or zone has as many connections as it may, or too many are not ASSURED")  \
    X(FULL, "the table is full, or the index has no place")

enum kst_error {
#define KST__X(name, text) KST_ERROR_##name,
    KST_ERRORS_LIST(KST__X)
#undef KST__X
    KST_ERRORS
};

/* ---- 3 Calls ---------------------------------------------------------------------------- */

/* Bytes that a table of this configuration needs, a multiple of KST_ALIGN; 0 if the configuration
 * is wrong (kst_init says why) or the size exceeds what size_t holds. */
KST_API size_t kst_bytes(const struct kst_config *config);

/* What kst_config.index and .timer choose from: "swiss", "wheel" and so on; NULL behind the last. */
KST_API const char *kst_index_name(uint32_t number);
KST_API const char *kst_timer_name(uint32_t number);

/* Makes a table in `memory`, whose contents do not matter, and returns it; it lies at `memory`.
 * NULL on a wrong configuration or block; `why`, unless NULL, then holds the reason. The block may
 * be moved or mapped elsewhere (aligned to KST_ALIGN) between calls. Nothing needs to be undone. */
KST_API struct kst *kst_init(void *memory, size_t bytes, const struct kst_config *config,
                             enum kst_error *why);

/* Judges `count` packets in order at `now_ms`, one result each. How packets are cut into batches
 * changes nothing but the speed. A packet cannot make this fail. `now_ms` is any monotonic clock
 * in milliseconds; a value below an earlier one counts as that earlier one. */
KST_API void kst_track(struct kst *t, uint64_t now_ms, const struct kst_packet *packets,
                       size_t count, struct kst_result *results);

/* Undoes the creation of a connection by a packet that the caller's rules drop, as Linux leaves no
 * entry of a packet that never got through. True if `result` had created one that is still there.
 * One that the packet has ended (KST_CLOSED) is gone all the same, and that is false.
 * Later packets of the same batch have met it: who refuses, tracks one packet a call. */
KST_API bool kst_refuse(struct kst *t, const struct kst_result *result);

/* The datagram that a packet with the flag KST_REASSEMBLED has completed, until the next fragment
 * comes. Who translates copies it, and sends it instead of the fragments. */
KST_API const uint8_t *kst_datagram(const struct kst *t, size_t *size);

/* Decides one kind of translation for a pending connection. `range` NULL is the null binding: it
 * keeps what it has, but for a source port if its answers would belong to another. NONE, or why
 * not: NAT_LATE, NAT_RANGE; NAT_EXHAUSTED says that no port was found: the connection is bound all
 * the same, as in Linux, and kst_confirm will refuse it. Children of a translated connection were
 * bound when they came: NAT_LATE, nothing is wrong with it. */
KST_API enum kst_reason kst_bind(struct kst *t, kst_id id, enum kst_nat_kind kind,
                                 const struct kst_nat_range *range);

/* Rewrites a packet as Linux does at a hook: its destination (prerouting, output) or its source
 * (postrouting, input), of an ICMP error also what it carries; checksums stay right, or wrong.
 * `bytes` is the packet as it was tracked, IP header first, `result` what kst_track said of it.
 * NONE, also if there is nothing to be done, or NAT_PACKET: drop it, nothing was changed. */
KST_API enum kst_reason kst_translate(const struct kst *t, const struct kst_result *result,
                                      enum kst_nat_kind kind, uint8_t *bytes, size_t size);

/* The last hook for a packet with KST_PACKET_DEFER: its connection's helper hears it, which may
 * change what `bytes` carry and so `*size`, up to `room`; sequence numbers follow; and what was
 * pending enters the table. NONE, or why it is to be dropped, which `result` then says too; what
 * it says of others that had to go holds in any case. `bytes` NULL: the packet is where it was,
 * and is not to be changed. */
KST_API enum kst_reason kst_confirm(struct kst *t, uint64_t now_ms, const struct kst_packet *packet,
                                    struct kst_result *result, uint8_t *bytes, size_t *size,
                                    size_t room);

/* kst_track and all of the above for each packet: tracks, binds what is new, rewrites destination
 * and source, confirms. The results are those of packets that were confirmed. Needs KST_WITH_NAT.
 * Instead of a fragment that completes a datagram the whole one leaves, if there is room for it. */
KST_API void kst_track_nat(struct kst *t, uint64_t now_ms, const struct kst_packet *packets,
                           struct kst_nat *nats, size_t count, struct kst_result *results);

/* Which of so many tables, 0 first, a packet is for, where each thread has a table of its own: the same
 * for both directions of a connection, ICMP errors about it, all fragments of a datagram, and whatever
 * else the same two hosts exchange, so that connections which helpers foretell find their masters. What
 * cannot be read goes to 0. It looks at addresses alone: who translates them must shard on one side of
 * the translation. Depends on nothing but its arguments. */
KST_API uint32_t kst_shard(const struct kst_packet *packet, uint32_t shards, const uint64_t seed[2]);

/* Moves the clock and removes expired connections, and datagrams that were not complete in time,
 * in at most `work_max` steps, each of constant cost (a datagram's: its fragments; a
 * connection's: what it expects, which its helper limits). Returns the
 * steps used; fewer than `work_max` means that none is left. An expired connection is never
 * found, listed or matched, however late it is removed: it only takes room. */
KST_API uint32_t kst_advance(struct kst *t, uint64_t now_ms, uint32_t work_max);

/* The connection that a packet with this tuple belongs to, or 0. `direction`, unless NULL, tells
 * which way the packet would go (enum kst_direction). */
KST_API kst_id kst_find(const struct kst *t, const struct kst_tuple *tuple, uint8_t *direction);

/* The same of many tuples, in the same order, each result 0 or an id; `directions`, unless NULL, has
 * room for as many. Faster than one by one: their memory is fetched together. */
KST_API void kst_find_batch(const struct kst *t, const struct kst_tuple *tuples, size_t count,
                            kst_id *ids, uint8_t *directions);

/* Copies a connection; false if it is gone. */
KST_API bool kst_get(const struct kst *t, kst_id id, struct kst_flow *flow);

/* The next connection after `id` in no particular order, the first after 0; 0 at the end. The
 * table may change between calls, deletion of `id` included: what was there throughout is met
 * exactly once. Walks over free slots. */
KST_API kst_id kst_next(const struct kst *t, kst_id id);

/* Removes a connection; false if it is gone. By tuple: kst_delete(t, kst_find(t, &tuple, NULL)). */
KST_API bool kst_delete(struct kst *t, kst_id id);

/* Puts a TCP connection into CLOSE, with the timeout of that, as Linux does with one whose packet it
 * answers with a reset (REJECT --reject-with tcp-reset). One that is there already stays as it is.
 * False if it is gone, pending or not TCP's. */
KST_API bool kst_close(struct kst *t, kst_id id);

/* Removes all connections; settings, statistics and held fragments stay. */
KST_API void kst_flush(struct kst *t);

/* Adds a connection from outside (a restored table, a peer's state), as `conntrack -I` does; its
 * `id` is ignored. Evicts nobody. TCP: windows are not held against it, as against a connection
 * that was picked up in the middle. Returns its name, or 0 and, unless NULL, `why`. */
KST_API kst_id kst_insert(struct kst *t, const struct kst_flow *flow, enum kst_error *why);

/* Sets the 32-bit mark that belongs to the caller; false if the connection is gone. */
KST_API bool kst_set_mark(struct kst *t, kst_id id, uint32_t mark);

/* Sets the labels; false if the connection is gone or KST_WITH_LABELS was left out. */
KST_API bool kst_set_labels(struct kst *t, kst_id id, const uint8_t labels[KST_LABEL_BYTES]);

/* Helpers by name, "ftp"; 0 if there is none of this name. And the other way, NULL for 0 and
 * behind the last. */
KST_API uint8_t kst_helper_number(const char *name);
KST_API const char *kst_helper_name(uint8_t helper);

/* Attaches a helper to the connections that will begin with a packet of this protocol to this
 * port; 0 takes it off again. At most KST_ATTACH_MAX ports. kst_packet.helper goes first. */
KST_API enum kst_error kst_attach(struct kst *t, uint8_t protocol, uint16_t port, uint8_t helper);

/* Attaches every helper to the port that its protocol was given: ftp, irc and pptp to TCP 21,
 * 6667 and 1723, tftp and sip to UDP 69 and 5060. Do so only where you trust both ends: whoever
 * can make a client send what looks like a command can open a port to it. */
KST_API enum kst_error kst_attach_usual(struct kst *t);

/* For helpers of translated connections: puts `text` in the place of `length` bytes of the payload.
 * Payload and size are then the new ones; lengths, checksums and sequence numbers follow. False if
 * there is no room. */
KST_API bool kst_help_replace(struct kst_help *h, uint32_t at, uint32_t length, const void *text,
                              uint32_t size);

/* Notes an expectation, as helpers do. Its `timeout_ms` 0 stands for that of the master's
 * helper. The same once more starts the time anew. */
KST_API enum kst_error kst_expect(struct kst *t, const struct kst_expectation *expectation);

/* The next expectation after `id`, in no particular order; the first after 0; 0 at the end. A
 * copy of one; and its end. As with connections, whose functions these are like. */
KST_API kst_id kst_expectation_next(const struct kst *t, kst_id id);
KST_API bool kst_expectation_get(const struct kst *t, kst_id id, struct kst_expectation *expectation);
KST_API bool kst_expectation_delete(struct kst *t, kst_id id);

/* The newest expectation of a connection, if `id` is 0, else the next older one after it; 0 at
 * the end. */
KST_API kst_id kst_expectation_own(const struct kst *t, kst_id master, kst_id id);

/* Gives an expectation other flags and another time; false if it is gone. */
KST_API bool kst_expectation_renew(struct kst *t, kst_id id, uint8_t flags, uint64_t timeout_ms);
KST_API uint32_t kst_expectation_count(const struct kst *t);

/* Takes the oldest event that waits; false if there is none. Events of one call stand in the
 * order in which things happened; those that found no room are counted in kst_stats.events_lost. */
KST_API bool kst_event_next(struct kst *t, struct kst_event *event);

/* Timeouts of their own for some connections: what policy 1..KST_POLICIES says goes before the
 * table's settings for those that began with a packet of that kst_packet.policy. Only names of a
 * connection's timeouts. */
KST_API enum kst_error kst_set_policy(struct kst *t, uint8_t policy, const char *name,
                                      uint32_t value);

/* Settings, by the names of Linux's sysctls in net.netfilter (nf_conntrack_tcp_timeout_...), in
 * their units; times are seconds. A change holds from the next packet on; a running timeout
 * stays, as do the timeouts of a GRE flow and the accounting of any, which are settled at its
 * creation. A lower nf_conntrack_max removes nobody: as many as leave are let in. A connection
 * with a timeout of 0 is created and has expired. Ours alone, by the prefix keepstate_:
 *     half_open_max     percent of nf_conntrack_max that connections which are not ASSURED may take; the
 *                       rest is reserved for those that completed a handshake. 100: no limit
 *     source_max        connections of one source, 0: no limit; needs KST_WITH_LIMITS
 *     zone_max          likewise of one zone
 *     pressure_high, pressure_low    percent of nf_conntrack_max, KST_EVENT_PRESSURE and _RELIEF
 *     udplite_rfc3828   1: UDP-Lite's checksum as the RFC has it, not as Linux.
 * kst_setting reads one, kst_setting_range what
 * it takes (false: no such name); kst_setting_name lists them, NULL behind the last. */
KST_API enum kst_error kst_set(struct kst *t, const char *name, uint32_t value);
KST_API bool kst_setting(const struct kst *t, const char *name, uint32_t *value);
KST_API bool kst_setting_range(const struct kst *t, const char *name, uint32_t *lowest,
                               uint32_t *highest);
KST_API const char *kst_setting_name(uint32_t number);

/* Counters since kst_init; connections, expired ones not yet removed included, all or of a
 * class; and the sum of all reasons that count in one column (enum kst_column) of `conntrack
 * -S`. */
KST_API const struct kst_stats *kst_statistics(const struct kst *t);
KST_API uint32_t kst_count(const struct kst *t);
KST_API uint32_t kst_class_count(const struct kst *t, enum kst_class number);

/* Connections, likewise, in this state of this IP protocol: enum kst_tcp_state, enum kst_sctp_state,
 * 0 for others; those that Linux has no name for count together. Costs a constant. */
KST_API uint32_t kst_state_count(const struct kst *t, uint8_t protocol, uint8_t state);

/* Connections, likewise, of a source, the network that an address lies in (config.source_prefix), or
 * of a zone, if `address` is NULL. 0 without KST_WITH_LIMITS. */
KST_API uint32_t kst_source_count(const struct kst *t, uint16_t zone, enum kst_family family,
                                  const uint8_t *address);
KST_API uint64_t kst_column(const struct kst *t, enum kst_column column);

/* Sizes that Linux chooses for a machine with this much memory (nf_conntrack_buckets and _max). */
enum kst_era {
    KST_ERA_2_4,    /* 2.4 and 2.6 on 32 bits */
    KST_ERA_TO_5_14, /* 64 bits, before 5.15 */
    KST_ERA_TODAY   /* 64 bits, 5.15 and later */
};
struct kst_sizes {
    uint32_t buckets, max;
};
KST_API struct kst_sizes kst_default_sizes(uint64_t memory_bytes, enum kst_era era);

enum kst_format {
    KST_FORMAT_PROC,      /* /proc/net/nf_conntrack, less `use=`: nobody holds references here */
    KST_FORMAT_LEGACY,    /* /proc/net/ip_conntrack, less `use=`; IPv4 only, empty for IPv6 */
    KST_FORMAT_CONNTRACK, /* conntrack -L, less `use=` */
    KST_FORMAT_JSON       /* one object */
};
#define KST_LINE_MAX 1024 /* no line is longer, the final NUL included */

/* Writes a connection as one line without newline and always terminates it (if size > 0). Returns
 * the length of the whole line, which was cut if that is not below `size`. */
KST_API size_t kst_print(const struct kst_flow *flow, enum kst_format format, char *line,
                         size_t size);

/* Likewise an expectation; PROC is /proc/net/nf_conntrack_expect, LEGACY the same. */
KST_API size_t kst_print_expectation(const struct kst_expectation *expectation,
                                     enum kst_format format, char *line, size_t size);

/* Likewise an event, in the words of `conntrack -E` (CONNTRACK, and PROC and LEGACY likewise),
 * without the time. Empty if conntrack would not print it: PRESSURE and RELIEF. */
KST_API size_t kst_print_event(const struct kst_event *event, enum kst_format format, char *line,
                               size_t size);

/* Names as they stand in the lists above, in lower case where Linux prints them so. Never NULL. */
KST_API const char *kst_reason_name(enum kst_reason reason);   /* "TCP_FLAGS" */
KST_API const char *kst_reason_text(enum kst_reason reason);   /* a sentence without full stop */
KST_API const char *kst_error_text(enum kst_error error);      /* likewise */
KST_API const char *kst_cause_text(enum kst_cause cause);      /* likewise */
KST_API const char *kst_state_name(enum kst_state state);      /* "established" */
KST_API const char *kst_direction_name(enum kst_direction direction); /* "original", "reply", "-" */
KST_API const char *kst_tcp_state_name(enum kst_tcp_state state);     /* "SYN_SENT" */
KST_API const char *kst_sctp_state_name(enum kst_sctp_state state);   /* "COOKIE_WAIT" */

/* Walks every invariant of the table, in time proportional to its size; false, and a sentence in
 * `broken` unless NULL, if one does not hold. For tests, fuzzers and the suspicious. */
KST_API bool kst_check(const struct kst *t, const char **broken);

#ifdef __cplusplus
}
#endif

#endif

#endif

#if defined(KST_IMPLEMENTATION) && !defined(KST_IMPLEMENTED)
#define KST_IMPLEMENTED

#ifdef __cplusplus
extern "C" {
#endif

/* ======== core/base.h ==================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/base.h - what every room uses: inlining, byte order, serial arithmetic. */
#ifndef KST_BASE_H
#define KST_BASE_H


#if defined(__GNUC__)
#define KST_INLINE static inline __attribute__((always_inline))
#define KST_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define KST_LIKELY(x) __builtin_expect(!!(x), 1)
/* The empty statement keeps gcc from taking a function that only prefetches for one that does
 * nothing, and leaving out its calls. */
#define KST_PREFETCH(address)                                                                      \
    do {                                                                                           \
        __builtin_prefetch(address, 1);                                                            \
        __asm__ volatile("");                                                                      \
    } while (0)
#define KST__MAYBE_UNUSED __attribute__((unused))
#define KST__NOINLINE __attribute__((noinline))
#else
#define KST_INLINE static inline
#define KST_UNLIKELY(x) (x)
#define KST_LIKELY(x) (x)
#define KST_PREFETCH(address) ((void)(address))
#define KST__MAYBE_UNUSED
#define KST__NOINLINE
#endif

#define KST__PASTE_(a, b) a##b
#define KST__PASTE(a, b) KST__PASTE_(a, b)

#define KST__NONE UINT32_MAX /* no entry, no node, no chunk */

KST_INLINE uint16_t kst__be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

KST_INLINE uint32_t kst__be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

KST_INLINE uint64_t kst__be64(const uint8_t *p)
{
    return (uint64_t)kst__be32(p) << 32 | kst__be32(p + 4);
}

/* The other way round, for hashes, which are the same on every machine. */
KST_INLINE uint64_t kst__le64(const uint8_t *p)
{
    return (uint64_t)p[7] << 56 | (uint64_t)p[6] << 48 | (uint64_t)p[5] << 40 |
           (uint64_t)p[4] << 32 | (uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 |
           (uint64_t)p[1] << 8 | (uint64_t)p[0];
}

KST_INLINE void kst__put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

KST_INLINE void kst__put32(uint8_t *at, uint32_t value)
{
    kst__put16(at, value >> 16);
    kst__put16(at + 2, value);
}

KST_INLINE uint32_t kst__max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Serial arithmetic modulo 2^32 (RFC 1982): right while the two lie within 2^31 of each other. */
KST_INLINE bool kst__before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

KST_INLINE bool kst__after(uint32_t a, uint32_t b)
{
    return kst__before(b, a);
}

/* The next offset where a cache line begins. */
KST_INLINE uint64_t kst__aligned(uint64_t offset)
{
    return (offset + KST_ALIGN - 1) / KST_ALIGN * KST_ALIGN;
}

/* Position of the lowest and the highest set bit. `bits` is not 0. */
KST_INLINE uint32_t kst__lowest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return (uint32_t)__builtin_ctzll(bits);
#else
    uint32_t n = 0;
    for (; !(bits & 1); bits >>= 1)
        n++;
    return n;
#endif
}

KST_INLINE uint32_t kst__highest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return 63 - (uint32_t)__builtin_clzll(bits);
#else
    uint32_t n = 0;
    while (bits >>= 1)
        n++;
    return n;
#endif
}

/* The smallest power of two that is not below `n`; n is at most 2^31. */
KST_INLINE uint32_t kst__power_of_two(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power <<= 1;
    return power;
}

#endif

/* ======== core/checksum.h ================================================================ */

/* SPDX-License-Identifier: MIT */
/* core/checksum.h - the Internet checksum (RFC 1071), verified, and kept right where NAT rewrites. */
#ifndef KST_CHECKSUM_H
#define KST_CHECKSUM_H


/* Adds `size` bytes to a running sum, as if they stood in memory in host order: the ones'
 * complement sum does not mind, as long as all parts of one sum are added that way. Every part but
 * the last must be of even size. */
static uint64_t kst__sum(uint64_t sum, const uint8_t *data, size_t size)
{
    for (; size >= 4; data += 4, size -= 4) {
        uint32_t word;
        memcpy(&word, data, sizeof word);
        sum += word;
    }
    if (size > 0) {
        uint32_t word = 0; /* missing bytes count as 0 */
        memcpy(&word, data, size);
        sum += word;
    }
    return sum;
}

KST_INLINE uint16_t kst__sum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    return (uint16_t)sum;
}

/* Whether a sum over data that contains its own checksum comes out right. Linux lets a message of
 * nothing but zeros pass as well, whose sum alone is 0. */
KST_INLINE bool kst__sum_right(uint64_t sum)
{
    return sum == 0 || kst__sum_fold(sum) == UINT16_MAX;
}

/* The pseudo-header of RFC 768 and RFC 8200 §8.1: addresses, length, protocol. The two addresses
 * stand side by side in both families' headers. */
static uint64_t kst__sum_pseudo(const uint8_t *addresses, size_t addresses_bytes, uint32_t length,
                                uint8_t protocol)
{
    const uint8_t tail[8] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16),
                             (uint8_t)(length >> 8),  (uint8_t)length,
                             0, 0, 0, protocol};
    return kst__sum(kst__sum(0, addresses, addresses_bytes), tail, sizeof tail);
}

/* ---- writing: what changes in a packet, its checksum follows (RFC 1624) ---- */

/* What putting `size` bytes in the place of others adds to a sum over them: 2, or a multiple of 4. */
KST_INLINE uint64_t kst__sum_change(uint64_t sum, const uint8_t *old_, const uint8_t *new_,
                                    size_t size)
{
    uint16_t was_half, is_half;
    if (size == 2) {
        memcpy(&was_half, old_, sizeof was_half);
        memcpy(&is_half, new_, sizeof is_half);
        return sum + (uint16_t)~was_half + is_half;
    }
    for (size_t i = 0; i < size; i += 4) {
        uint32_t was, is;
        memcpy(&was, old_ + i, sizeof was);
        memcpy(&is, new_ + i, sizeof is);
        sum += (uint64_t)~was + is;
    }
    return sum;
}

/* The same sum, had all stood a byte further on. */
KST_INLINE uint64_t kst__sum_swap(uint64_t sum)
{
    const uint32_t folded = kst__sum_fold(sum);
    return (uint16_t)(folded << 8 | folded >> 8);
}

/* Lets a checksum follow. One that is not there, UDP's 0, stays away. */
KST_INLINE void kst__checksum_change(uint8_t *at, uint64_t change, bool optional)
{
    uint16_t sum;
    memcpy(&sum, at, sizeof sum);
    if (optional && sum == 0)
        return;
    sum = (uint16_t)~kst__sum_fold((uint16_t)~sum + change);
    if (optional && sum == 0)
        sum = UINT16_MAX;
    memcpy(at, &sum, sizeof sum);
}

/* Computes one anew: over `size` bytes at `l4`, where it stands at `at`; `sum` is that of what
 * comes before. */
static void kst__checksum_set(uint8_t *l4, uint32_t at, uint32_t size, uint64_t sum)
{
    kst__put16(l4 + at, 0);
    const uint16_t is = (uint16_t)~kst__sum_fold(kst__sum(sum, l4, size));
    memcpy(l4 + at, &is, sizeof is);
}

#endif
/* ======== core/hash.h ==================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/hash.h - the hashes to choose from, each over whole 64-bit words. SipHash (Aumasson and
 * Bernstein, 2012) is keyed, because who can choose packets must not be able to choose buckets. */
#ifndef KST_HASH_H
#define KST_HASH_H


#define KST__SIP_ROUND(a, b, c, d)                                                                 \
    do {                                                                                           \
        a += b, b = b << 13 | b >> 51, b ^= a, a = a << 32 | a >> 32;                              \
        c += d, d = d << 16 | d >> 48, d ^= c;                                                     \
        a += d, d = d << 21 | d >> 43, d ^= a;                                                     \
        c += b, b = b << 17 | b >> 47, b ^= c, c = c << 32 | c >> 32;                              \
    } while (0)

/* SipHash-c-d of a message: `count` whole words, each read as the 8 little-endian bytes of the
 * original's input, then `last`: up to 7 bytes more, and in the highest byte how many bytes all are. */
KST_INLINE uint64_t kst__sip(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                             uint64_t last, int c_rounds, int d_rounds)
{
    uint64_t a = seed[0] ^ UINT64_C(0x736f6d6570736575);
    uint64_t b = seed[1] ^ UINT64_C(0x646f72616e646f6d);
    uint64_t c = seed[0] ^ UINT64_C(0x6c7967656e657261);
    uint64_t d = seed[1] ^ UINT64_C(0x7465646279746573);

    for (uint32_t i = 0; i < count; i++) {
        d ^= words[i];
        KST__SIP_ROUND(a, b, c, d);
        if (c_rounds == 2)
            KST__SIP_ROUND(a, b, c, d);
        a ^= words[i];
    }
    d ^= last;
    KST__SIP_ROUND(a, b, c, d);
    if (c_rounds == 2)
        KST__SIP_ROUND(a, b, c, d);
    a ^= last;
    c ^= 0xff;
    KST__SIP_ROUND(a, b, c, d); /* written out: compilers leave so short a loop as it is */
    KST__SIP_ROUND(a, b, c, d);
    KST__SIP_ROUND(a, b, c, d);
    if (d_rounds == 4)
        KST__SIP_ROUND(a, b, c, d);
    return a ^ b ^ c ^ d;
}

/* Of whole words alone. */
KST_INLINE uint64_t kst__siphash(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                 int c_rounds, int d_rounds)
{
    return kst__sip(seed, words, count, (uint64_t)count << 59, c_rounds, d_rounds);
}

KST_INLINE uint64_t kst__hash_sip13(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                    uint64_t last)
{
    return kst__sip(seed, words, count, last, 1, 3);
}

KST_INLINE uint64_t kst__hash_sip24(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                    uint64_t last)
{
    return kst__sip(seed, words, count, last, 2, 4);
}

/* Multiply and fold, for traffic that nobody hostile chooses: the seed hides nothing. */
KST_INLINE uint64_t kst__hash_fold(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                   uint64_t last)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 by the golden ratio */
    uint64_t hash = seed[0];
    for (uint32_t i = 0; i < count; i++) {
        hash = (hash ^ words[i]) * odd;
        hash ^= hash >> 32;
    }
    hash = (hash ^ last) * odd;
    return (hash ^ hash >> 32) * odd;
}

/* The one that was chosen, of a message as kst__sip takes it. */
KST_INLINE uint64_t kst__hash(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                              uint64_t last)
{
    return KST__PASTE(kst__hash_, KST_HASH)(seed, words, count, last);
}

#endif
/* ======== core/tuple.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/tuple.h - who talks to whom: comparing, inverting, hashing.
 *
 * A tuple and its inverse have the same hash, so a connection without NAT takes one node of the
 * index and is found from either direction. Next room: parse.h, which fills tuples in. */
#ifndef KST_TUPLE_H
#define KST_TUPLE_H


enum {
    KST__ICMP = 1,
    KST__TCP = 6,
    KST__UDP = 17,
    KST__GRE = 47,
    KST__ICMPV6 = 58,
    KST__SCTP = 132,
    KST__UDPLITE = 136
};

/* Protocols that Linux names, and what stands in the two port fields of their tuples. */
enum kst__ports { KST__NO_PORTS, KST__PORTS, KST__TYPES, KST__KEYS };
struct kst__protocol {
    uint8_t number;
    uint8_t ports;
    const char *name;
};
static const struct kst__protocol kst__protocols[] = {
    {KST__TCP, KST__PORTS, "tcp"},         {KST__UDP, KST__PORTS, "udp"},
    {KST__ICMP, KST__TYPES, "icmp"},       {KST__ICMPV6, KST__TYPES, "icmpv6"},
    {KST__UDPLITE, KST__PORTS, "udplite"}, {KST__SCTP, KST__PORTS, "sctp"},
    {KST__GRE, KST__KEYS, "gre"},
};

enum { KST__PROTOCOLS = sizeof kst__protocols / sizeof kst__protocols[0] };

/* Its place among them, behind the last for one that Linux does not name. */
static uint32_t kst__protocol_row(uint8_t number)
{
    uint32_t row = 0;
    while (row < KST__PROTOCOLS && kst__protocols[row].number != number)
        row++;
    return row;
}

static const struct kst__protocol *kst__protocol_of(uint8_t number)
{
    static const struct kst__protocol unknown = {0, KST__NO_PORTS, "unknown"};
    const uint32_t row = kst__protocol_row(number);
    return row < KST__PROTOCOLS ? &kst__protocols[row] : &unknown;
}

/* Questions and their answers (RFC 792, 950, 4443, 4620). What is not here starts nothing. */
struct kst__icmp_pair {
    uint8_t protocol, question, answer;
};
static const struct kst__icmp_pair kst__icmp_pairs[] = {
    {KST__ICMP, 8, 0},         /* echo */
    {KST__ICMP, 13, 14},       /* timestamp */
    {KST__ICMP, 15, 16},       /* information */
    {KST__ICMP, 17, 18},       /* address mask */
    {KST__ICMPV6, 128, 129},   /* echo */
    {KST__ICMPV6, 139, 140},   /* node information */
};

/* The pair that this type belongs to, or NULL. */
static const struct kst__icmp_pair *kst__icmp_pair_of(uint8_t protocol, uint8_t type)
{
    for (size_t i = 0; i < sizeof kst__icmp_pairs / sizeof kst__icmp_pairs[0]; i++) {
        const struct kst__icmp_pair *pair = &kst__icmp_pairs[i];
        if (pair->protocol == protocol && (pair->question == type || pair->answer == type))
            return pair;
    }
    return NULL;
}

KST_INLINE bool kst__is_icmp(uint8_t protocol)
{
    return protocol == KST__ICMP || protocol == KST__ICMPV6;
}

/* The ICMP that belongs to a family; the other one in it is nobody's. */
KST_INLINE uint8_t kst__icmp_of(uint8_t family)
{
    return family == KST_IPV4 ? KST__ICMP : KST__ICMPV6;
}

KST_INLINE bool kst__icmp_is_question(const struct kst_tuple *tuple)
{
    const uint8_t type = (uint8_t)(tuple->dst_port >> 8);
    const struct kst__icmp_pair *pair = kst__icmp_pair_of(tuple->protocol, type);
    return pair != NULL && pair->question == type;
}

/* The words that a tuple is, as they lie in memory: two of the source, two of the destination, and the
 * rest of it. */
KST_INLINE uint64_t kst__word(const void *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

KST_INLINE uint64_t kst__tuple_word(const struct kst_tuple *tuple, uint32_t number)
{
    return kst__word((const uint8_t *)tuple + 8 * number);
}

/* Words instead of memcmp, and as few as tell: what lies behind an IPv4 address is 0 in all tuples. */
KST_INLINE bool kst__tuple_same(const struct kst_tuple *a, const struct kst_tuple *b)
{
    const uint64_t differ = (kst__tuple_word(a, 0) ^ kst__tuple_word(b, 0)) |
                            (kst__tuple_word(a, 2) ^ kst__tuple_word(b, 2)) |
                            (kst__tuple_word(a, 4) ^ kst__tuple_word(b, 4));
    if (differ != 0 || b->family == KST_IPV4)
        return differ == 0;
    return kst__tuple_word(a, 1) == kst__tuple_word(b, 1) &&
           kst__tuple_word(a, 3) == kst__tuple_word(b, 3);
}

/* The tuple that the answer will have. False if there is none: an ICMP type without counterpart. */
static bool kst__tuple_invert(const struct kst_tuple *tuple, struct kst_tuple *inverse)
{
    *inverse = *tuple;
    memcpy(inverse->src, tuple->dst, sizeof inverse->src);
    memcpy(inverse->dst, tuple->src, sizeof inverse->dst);
    if (!kst__is_icmp(tuple->protocol)) {
        inverse->src_port = tuple->dst_port;
        inverse->dst_port = tuple->src_port;
        return true;
    }
    const uint8_t type = (uint8_t)(tuple->dst_port >> 8);
    const struct kst__icmp_pair *pair = kst__icmp_pair_of(tuple->protocol, type);
    if (pair == NULL)
        return false;
    const uint8_t other = type == pair->question ? pair->answer : pair->question;
    inverse->dst_port = (uint16_t)(other << 8 | (tuple->dst_port & 0xff)); /* the code stays */
    return true;
}

#define KST__NO_ANSWER 0 /* not a word of any tuple: each has a family */

/* The last word of the tuple that the answer will have, or KST__NO_ANSWER. */
KST_INLINE uint64_t kst__tuple_answer(const struct kst_tuple *tuple)
{
    const uint16_t one = 1;
    uint8_t little;
    memcpy(&little, &one, 1);
    if (KST_UNLIKELY(kst__is_icmp(tuple->protocol))) {
        struct kst_tuple inverse;
        return kst__tuple_invert(tuple, &inverse) ? kst__tuple_word(&inverse, 4) : KST__NO_ANSWER;
    }
    const uint64_t word = kst__tuple_word(tuple, 4); /* whose first half in memory is the ports */
    const uint32_t ports = little ? (uint32_t)word : (uint32_t)(word >> 32);
    const uint32_t swapped = ports << 16 | ports >> 16;
    return little ? (word & UINT64_C(0xffffffff00000000)) | swapped
                  : (word & UINT32_MAX) | (uint64_t)swapped << 32;
}

/* Whether a tuple is the answer to another, whose `answer` is known. */
KST_INLINE bool kst__tuple_answers(const struct kst_tuple *tuple, const struct kst_tuple *other,
                                   uint64_t answer)
{
    const uint64_t differ = (kst__tuple_word(tuple, 0) ^ kst__tuple_word(other, 2)) |
                            (kst__tuple_word(tuple, 2) ^ kst__tuple_word(other, 0)) |
                            (kst__tuple_word(tuple, 4) ^ answer);
    if (differ != 0 || other->family == KST_IPV4)
        return differ == 0;
    return kst__tuple_word(tuple, 1) == kst__tuple_word(other, 3) &&
           kst__tuple_word(tuple, 3) == kst__tuple_word(other, 1);
}

/* What stands in the places of the ports for ICMP, the same for question and answer. */
static uint32_t kst__icmp_ports(const struct kst_tuple *tuple)
{
    const uint8_t type = (uint8_t)(tuple->dst_port >> 8);
    const struct kst__icmp_pair *pair = kst__icmp_pair_of(tuple->protocol, type);
    return (uint32_t)tuple->src_port << 16 |
           (uint32_t)(pair != NULL ? pair->question : type) << 8 | (tuple->dst_port & 0xff);
}

/* The message that is hashed ends with what tells conversations between two hosts apart, and how many
 * bytes it has. */
KST_INLINE uint64_t kst__tuple_rest(const struct kst_tuple *tuple, uint64_t bytes, uint64_t ports)
{
    return bytes << 56 | (uint64_t)tuple->protocol << 48 | (uint64_t)tuple->zone << 32 | ports;
}

static uint64_t kst__tuple_hash4_icmp(const struct kst_tuple *tuple, const uint64_t seed[2])
{
    const uint64_t src = kst__be32(tuple->src), dst = kst__be32(tuple->dst);
    const uint64_t word = dst < src ? dst << 32 | src : src << 32 | dst;
    return kst__hash(seed, &word, 1, kst__tuple_rest(tuple, 15, kst__icmp_ports(tuple)));
}

static uint64_t kst__tuple_hash6(const struct kst_tuple *tuple, const uint64_t seed[2])
{
    const bool icmp = kst__is_icmp(tuple->protocol);
    const uint64_t src_port = icmp ? 0 : tuple->src_port, dst_port = icmp ? 0 : tuple->dst_port;
    const uint64_t src[2] = {kst__be64(tuple->src), kst__be64(tuple->src + 8)};
    const uint64_t dst[2] = {kst__be64(tuple->dst), kst__be64(tuple->dst + 8)};
    const bool swap = dst[0] != src[0]   ? dst[0] < src[0]
                      : dst[1] != src[1] ? dst[1] < src[1]
                                         : dst_port < src_port;
    const uint64_t *first = swap ? dst : src, *second = swap ? src : dst;
    const uint64_t words[4] = {first[0], first[1], second[0], second[1]};
    const uint64_t ports = icmp   ? kst__icmp_ports(tuple)
                           : swap ? dst_port << 16 | src_port
                                  : src_port << 16 | dst_port;
    return kst__hash(seed, words, 4, kst__tuple_rest(tuple, 39, ports));
}

/* The keyed hash, the same for both directions: the smaller end (address and port) goes first. A
 * message of 15 bytes for IPv4, 39 for IPv6: addresses, ports, zone, protocol. */
KST_INLINE uint64_t kst__tuple_hash(const struct kst_tuple *tuple, const uint64_t seed[2])
{
    if (tuple->family != KST_IPV4)
        return kst__tuple_hash6(tuple, seed);
    if (KST_UNLIKELY(kst__is_icmp(tuple->protocol)))
        return kst__tuple_hash4_icmp(tuple, seed);
    const uint64_t src = (uint64_t)kst__be32(tuple->src) << 16 | tuple->src_port;
    const uint64_t dst = (uint64_t)kst__be32(tuple->dst) << 16 | tuple->dst_port;
    const uint64_t low = dst < src ? dst : src, high = dst < src ? src : dst;
    const uint64_t word = low >> 16 << 32 | high >> 16;
    const uint64_t ports = (low & 0xffff) << 16 | (high & 0xffff);
    return kst__hash(seed, &word, 1, kst__tuple_rest(tuple, 15, ports));
}

#endif

/* ======== core/parse.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/parse.h - bytes in, struct kst__parsed out.
 *
 * Reads only [data, data + size). Never follows a length it has not checked, never loops more than
 * KST_PARSE_EXT_MAX times, knows nothing of connections. Two lengths run through it: `bytes`, what
 * the IP header says there is, and `here`, what may be read; they differ only in a packet of which
 * the caller has just the front (KST_PACKET_HEAD). Next room: the protocols, which judge. */
#ifndef KST_PARSE_H
#define KST_PARSE_H


/* What the network layer says. */
struct kst__ip {
    const uint8_t *addresses; /* source, destination behind it */
    uint32_t l4_at;           /* offset of the transport header, at most `here` if all is well */
    uint32_t fragment_header_at; /* IPv6: offset of the first fragment header, 0 if there is none */
    uint16_t fragment_at;     /* offset of this fragment, bytes */
    bool fragment_more;       /* and whether others follow it */
    uint8_t family;
    uint8_t protocol;         /* what the transport header is */
    uint8_t reason;           /* enum kst_reason: NONE if the above holds */
};

struct kst__parsed {
    const uint8_t *l4;  /* transport header */
    uint32_t l4_here;   /* bytes that may be read there */
    uint32_t l4_bytes;  /* bytes that it has, to the end of the IP packet */
    uint32_t ip_bytes;  /* length of the IP packet */
    const uint8_t *addresses;
    struct kst_tuple tuple;
    uint8_t checksum;   /* enum kst_checksum; never KST_CHECKSUM_VERIFY for what cannot be summed */
    uint8_t reason;     /* why there is no tuple */
    uint8_t zones;      /* KST_PACKET_ZONE_ORIGINAL or _REPLY: its zone is that of one direction; else 0 */
    bool call;          /* the tuple is that of a GRE call, which lacks the sender's key */
    bool fragment;      /* it has fragment fields in use; of IPv6 perhaps all there is (RFC 6946) */
    bool deferred;      /* KST_PACKET_DEFER */
    bool partial;       /* there is more of the datagram elsewhere; the tuple is a first fragment's */
};

/* IPv4 header (RFC 791), options skipped. An embedded packet is read just so. */
KST_INLINE struct kst__ip kst__ip4(const uint8_t *data, uint32_t here)
{
    struct kst__ip ip = {NULL, 0, 0, 0, false, KST_IPV4, 0, KST_REASON_NONE};
    if (here < 20) {
        ip.reason = KST_REASON_IP_SHORT;
        return ip;
    }
    ip.addresses = data + 12;
    ip.protocol = data[9];
    ip.l4_at = (uint32_t)(data[0] & 0x0f) * 4;
    ip.fragment_at = (uint16_t)((kst__be16(data + 6) & 0x1fff) * 8);
    ip.fragment_more = (data[6] & 0x20) != 0;
    if (ip.l4_at > here)
        ip.reason = KST_REASON_IP_HEADER;
    return ip;
}

enum { /* IPv6 extension headers that are walked (RFC 8200, RFC 4302) */
    KST__EXT_HOP_BY_HOP = 0,
    KST__EXT_ROUTING = 43,
    KST__EXT_FRAGMENT = 44,
    KST__EXT_AUTHENTICATION = 51,
    KST__EXT_NO_NEXT = 59,
    KST__EXT_DESTINATION = 60
};

/* Bytes of an extension header of this type with this length field; 0 if the type is none. */
KST_INLINE uint32_t kst__ext_bytes(uint8_t type, uint8_t length)
{
    switch (type) {
    case KST__EXT_HOP_BY_HOP:
    case KST__EXT_ROUTING:
    case KST__EXT_DESTINATION: return ((uint32_t)length + 1) * 8;
    case KST__EXT_AUTHENTICATION: return ((uint32_t)length + 2) * 4;
    case KST__EXT_FRAGMENT: return 8;
    default: return 0;
    }
}

/* IPv6 header and its extension headers up to the transport header. */
static struct kst__ip kst__ip6(const uint8_t *data, uint32_t here)
{
    struct kst__ip ip = {NULL, 40, 0, 0, false, KST_IPV6, 0, KST_REASON_NONE};
    if (here < 40) {
        ip.reason = KST_REASON_IP_SHORT;
        return ip;
    }
    ip.addresses = data + 8;
    ip.protocol = data[6];
    for (int walked = 0; kst__ext_bytes(ip.protocol, 0) != 0; walked++) {
        if (walked == KST_PARSE_EXT_MAX) {
            ip.reason = KST_REASON_EXT_DEPTH;
            return ip;
        }
        const bool fragment = ip.protocol == KST__EXT_FRAGMENT;
        if (here < ip.l4_at + (fragment ? 4u : 2u)) { /* as much as Linux looks at */
            ip.reason = KST_REASON_EXT_SHORT;
            return ip;
        }
        const uint8_t *header = data + ip.l4_at;
        const uint32_t bytes = kst__ext_bytes(ip.protocol, header[1]);
        const uint16_t at = fragment ? kst__be16(header + 2) & 0xfff8 : 0;
        if (fragment && here < ip.l4_at + bytes) { /* no more than the type of what follows */
            ip.reason = at != 0 ? KST_REASON_EXT_SHORT : KST_REASON_NONE;
        } else if (fragment && ip.fragment_header_at == 0) { /* one inside is part of its data */
            ip.fragment_header_at = ip.l4_at;
            ip.fragment_at = at;
            ip.fragment_more = (header[3] & 1) != 0;
        } else if (at != 0) {
            ip.reason = KST_REASON_FRAGMENT;
        }
        if (at != 0) /* what follows is the middle of something */
            return ip;
        ip.protocol = header[0];
        ip.l4_at += bytes;
    }
    /* Linux does not mind a last extension header that claims more than there is: nothing of the
     * transport header is left then, which is enough for a protocol without ports. */
    if (ip.l4_at > here)
        ip.l4_at = here;
    if (ip.protocol == KST__EXT_NO_NEXT)
        ip.reason = KST_REASON_EXT_NO_NEXT;
    return ip;
}

/* GRE version 1 is PPTP's: it must carry PPP, and its call is the key. Other versions, and what
 * is too short to tell, have none. */
KST_INLINE bool kst__gre_is_call(const uint8_t *l4, uint32_t here)
{
    return here >= 8 && (l4[1] & 7) == 1;
}

static bool kst__gre_keys(const uint8_t *l4, uint32_t here, struct kst_tuple *tuple)
{
    if (!kst__gre_is_call(l4, here))
        return true;
    tuple->dst_port = kst__be16(l4 + 6);
    return kst__be16(l4 + 2) == 0x880b;
}

/* The tuple of a packet: `ip`, and `here` bytes at `l4`. False if these do not reach. */
KST_INLINE bool kst__tuple_of(const struct kst__ip *ip, const uint8_t *l4, uint32_t here, uint16_t zone,
                              struct kst_tuple *tuple)
{
    memset(tuple, 0, sizeof *tuple);
    if (ip->family == KST_IPV4) {
        memcpy(tuple->src, ip->addresses, 4);
        memcpy(tuple->dst, ip->addresses + 4, 4);
    } else {
        memcpy(tuple->src, ip->addresses, 16);
        memcpy(tuple->dst, ip->addresses + 16, 16);
    }
    tuple->zone = zone;
    tuple->family = ip->family;
    tuple->protocol = ip->protocol;
    switch (kst__protocol_of(ip->protocol)->ports) {
    case KST__PORTS:
        if (here < 4)
            return false;
        tuple->src_port = kst__be16(l4);
        tuple->dst_port = kst__be16(l4 + 2);
        return true;
    case KST__TYPES:
        if (here < 8)
            return false;
        tuple->src_port = kst__be16(l4 + 4);
        tuple->dst_port = kst__be16(l4);
        return true;
    case KST__KEYS: return kst__gre_keys(l4, here, tuple);
    default: return true;
    }
}

/* How far the checksums of this packet are to be verified, `bytes` of it being whole. */
KST_INLINE uint8_t kst__checksum_mode(const struct kst_packet *packet, uint32_t ip_bytes,
                                      bool verify)
{
    if (packet->checksum != KST_CHECKSUM_VERIFY)
        return packet->checksum;
    return verify && packet->size >= ip_bytes ? KST_CHECKSUM_VERIFY : KST_CHECKSUM_IGNORE;
}

/* Finds the IP header, the length of the packet and its transport header. `verify` is the setting
 * nf_conntrack_checksum. Linux drops what this refuses with IP_ reasons before it tracks. */
static void kst__parse(const struct kst_packet *packet, bool verify, struct kst__parsed *p)
{
    const uint8_t *data = packet->data;
    const uint32_t size = packet->size;
    const uint32_t version = size > 0 ? data[0] >> 4 : 0;
    struct kst__ip ip;

    memset(p, 0, sizeof *p);
    if (size == 0 || (version == 4 && size < 20) || (version == 6 && size < 40)) {
        p->reason = KST_REASON_IP_SHORT;
        return;
    }
    if (version == 4) {
        p->ip_bytes = kst__be16(data + 2);
    } else if (version == 6) {
        p->ip_bytes = 40 + (uint32_t)kst__be16(data + 4);
        if (p->ip_bytes == 40 && data[6] == KST__EXT_HOP_BY_HOP) { /* RFC 2675 */
            p->reason = KST_REASON_IP_JUMBO;
            return;
        }
    } else {
        p->reason = KST_REASON_IP_VERSION;
        return;
    }
    if (p->ip_bytes > size && !(packet->flags & KST_PACKET_HEAD)) {
        p->reason = KST_REASON_IP_LENGTH;
        return;
    }

    const uint32_t here = p->ip_bytes < size ? p->ip_bytes : size;
    p->checksum = kst__checksum_mode(packet, p->ip_bytes, verify);
    ip = version == 4 ? kst__ip4(data, here) : kst__ip6(data, here);
    if (version == 4 && ip.reason == KST_REASON_NONE) {
        if (ip.l4_at < 20)
            ip.reason = KST_REASON_IP_HEADER;
        else if (verify && packet->checksum == KST_CHECKSUM_VERIFY &&
                 !kst__sum_right(kst__sum(0, data, ip.l4_at)))
            ip.reason = KST_REASON_IP_CHECKSUM;
    }
    if (ip.reason == KST_REASON_NONE || version == 6) {
        p->partial = ip.fragment_at != 0 || ip.fragment_more;
        p->fragment = p->partial || ip.fragment_header_at != 0;
    }
    if (ip.reason == KST_REASON_NONE && ip.fragment_at != 0)
        ip.reason = KST_REASON_FRAGMENT;
    if (ip.reason != KST_REASON_NONE) {
        p->reason = ip.reason;
        return;
    }
    const uint8_t zones = packet->flags & (KST_PACKET_ZONE_ORIGINAL | KST_PACKET_ZONE_REPLY);
    p->zones = zones == (KST_PACKET_ZONE_ORIGINAL | KST_PACKET_ZONE_REPLY) ? 0 : zones;
    p->deferred = (packet->flags & KST_PACKET_DEFER) != 0;
    p->addresses = ip.addresses;
    p->l4 = data + ip.l4_at;
    p->l4_here = here - ip.l4_at;
    p->l4_bytes = p->ip_bytes - ip.l4_at;
    if (!kst__tuple_of(&ip, p->l4, p->l4_here, packet->zone, &p->tuple))
        p->reason = kst__icmp_of(ip.family) == ip.protocol ? KST_REASON_ICMP_SHORT
                    : ip.protocol == KST__GRE              ? KST_REASON_GRE_PROTOCOL
                                                           : KST_REASON_L4_SHORT;
    p->call = ip.protocol == KST__GRE && kst__gre_is_call(p->l4, p->l4_here);
}

/* Whether the transport checksum is right, over the first `covered` of the packet's l4_bytes,
 * behind a pseudo-header that names `protocol`; protocol 0: no pseudo-header (ICMP). */
static bool kst__checksum_right(const struct kst__parsed *p, uint32_t covered, uint8_t protocol)
{
    if (p->checksum != KST_CHECKSUM_VERIFY)
        return p->checksum != KST_CHECKSUM_BAD;
    const size_t addresses_bytes = p->tuple.family == KST_IPV4 ? 8 : 32;
    const uint64_t pseudo =
        protocol == 0 ? 0 : kst__sum_pseudo(p->addresses, addresses_bytes, p->l4_bytes, protocol);
    return kst__sum_right(kst__sum(pseudo, p->l4, covered));
}

#endif

/* ======== core/settings.h ================================================================ */

/* SPDX-License-Identifier: MIT */
/* core/settings.h - the knobs, each under its kernel name, changeable while running. */
#ifndef KST_SETTINGS_H
#define KST_SETTINGS_H


/* X(id, name, default, lowest, highest). Defaults as measured on Linux 6.18; times in seconds.
 * The defaults of `max`, `buckets`, `count` and `expect_max` come from the table itself. What
 * Linux has as a parameter of a helper's module (loose, sip_direct_media, ...) is a setting
 * here, behind `nf_conntrack_`. */
#define KST__SETTINGS_LIST(X)                                                                      \
    X(MAX, "nf_conntrack_max", 0, 1, KST_ENTRIES_MAX)                                              \
    X(BUCKETS, "nf_conntrack_buckets", 0, 0, 0)                                                    \
    X(COUNT, "nf_conntrack_count", 0, 0, 0)                                                        \
    X(ACCT, "nf_conntrack_acct", 0, 0, 1)                                                          \
    X(CHECKSUM, "nf_conntrack_checksum", 1, 0, 1)                                                  \
    X(EVENTS, "nf_conntrack_events", 2, 0, 2)                                                      \
    X(EXPECT_MAX, "nf_conntrack_expect_max", 0, 0, KST_EXPECTATIONS_MAX)                           \
    X(TIMESTAMP, "nf_conntrack_timestamp", 0, 0, 1)                                                \
    X(SOURCE_MAX, "keepstate_source_max", 0, 0, KST_ENTRIES_MAX)                                   \
    X(ZONE_MAX, "keepstate_zone_max", 0, 0, KST_ENTRIES_MAX)                                       \
    X(HALF_OPEN_MAX, "keepstate_half_open_max", 100, 1, 100)                                       \
    X(PRESSURE_HIGH, "keepstate_pressure_high", 95, 1, 100)                                        \
    X(PRESSURE_LOW, "keepstate_pressure_low", 85, 0, 100)                                          \
    X(FTP_LOOSE, "nf_conntrack_ftp_loose", 0, 0, 1)                                                \
    X(SIP_DIRECT_MEDIA, "nf_conntrack_sip_direct_media", 1, 0, 1)                                  \
    X(SIP_DIRECT_SIGNALLING, "nf_conntrack_sip_direct_signalling", 1, 0, 1)                        \
    X(SIP_TIMEOUT, "nf_conntrack_sip_timeout", 3600, 0, KST_TIMEOUT_MAX_S)                         \
    X(FRAG4_TIMEOUT, "ipfrag_time", 30, 0, KST_TIMEOUT_MAX_S)                                      \
    X(FRAG6_TIMEOUT, "nf_conntrack_frag6_timeout", 60, 0, KST_TIMEOUT_MAX_S)                       \
    X(GENERIC_TIMEOUT, "nf_conntrack_generic_timeout", 600, 0, KST_TIMEOUT_MAX_S)                  \
    X(GRE_TIMEOUT, "nf_conntrack_gre_timeout", 30, 0, KST_TIMEOUT_MAX_S)                           \
    X(GRE_TIMEOUT_STREAM, "nf_conntrack_gre_timeout_stream", 180, 0, KST_TIMEOUT_MAX_S)            \
    X(ICMP_TIMEOUT, "nf_conntrack_icmp_timeout", 30, 0, KST_TIMEOUT_MAX_S)                         \
    X(ICMPV6_TIMEOUT, "nf_conntrack_icmpv6_timeout", 30, 0, KST_TIMEOUT_MAX_S)                     \
    X(UDP_TIMEOUT, "nf_conntrack_udp_timeout", 30, 0, KST_TIMEOUT_MAX_S)                           \
    X(UDP_TIMEOUT_STREAM, "nf_conntrack_udp_timeout_stream", 120, 0, KST_TIMEOUT_MAX_S)            \
    X(UDPLITE_RFC3828, "keepstate_udplite_rfc3828", 0, 0, 1)                                       \
    X(SCTP_CLOSED, "nf_conntrack_sctp_timeout_closed", 10, 0, KST_TIMEOUT_MAX_S)                   \
    X(SCTP_COOKIE_WAIT, "nf_conntrack_sctp_timeout_cookie_wait", 3, 0, KST_TIMEOUT_MAX_S)          \
    X(SCTP_COOKIE_ECHOED, "nf_conntrack_sctp_timeout_cookie_echoed", 3, 0, KST_TIMEOUT_MAX_S)      \
    X(SCTP_ESTABLISHED, "nf_conntrack_sctp_timeout_established", 210, 0, KST_TIMEOUT_MAX_S)        \
    X(SCTP_SHUTDOWN_SENT, "nf_conntrack_sctp_timeout_shutdown_sent", 3, 0, KST_TIMEOUT_MAX_S)      \
    X(SCTP_SHUTDOWN_RECD, "nf_conntrack_sctp_timeout_shutdown_recd", 3, 0, KST_TIMEOUT_MAX_S)      \
    X(SCTP_ACK_SENT, "nf_conntrack_sctp_timeout_shutdown_ack_sent", 3, 0, KST_TIMEOUT_MAX_S)       \
    X(SCTP_HEARTBEAT_SENT, "nf_conntrack_sctp_timeout_heartbeat_sent", 30, 0, KST_TIMEOUT_MAX_S)   \
    X(TCP_BE_LIBERAL, "nf_conntrack_tcp_be_liberal", 0, 0, 1)                                      \
    X(TCP_IGNORE_INVALID_RST, "nf_conntrack_tcp_ignore_invalid_rst", 0, 0, 1)                      \
    X(TCP_LOOSE, "nf_conntrack_tcp_loose", 1, 0, 1)                                                \
    X(TCP_MAX_RETRANS, "nf_conntrack_tcp_max_retrans", 3, 0, 255)                                  \
    X(TCP_SYN_SENT, "nf_conntrack_tcp_timeout_syn_sent", 120, 0, KST_TIMEOUT_MAX_S)                \
    X(TCP_SYN_RECV, "nf_conntrack_tcp_timeout_syn_recv", 60, 0, KST_TIMEOUT_MAX_S)                 \
    X(TCP_ESTABLISHED, "nf_conntrack_tcp_timeout_established", 432000, 0, KST_TIMEOUT_MAX_S)       \
    X(TCP_FIN_WAIT, "nf_conntrack_tcp_timeout_fin_wait", 120, 0, KST_TIMEOUT_MAX_S)                \
    X(TCP_CLOSE_WAIT, "nf_conntrack_tcp_timeout_close_wait", 60, 0, KST_TIMEOUT_MAX_S)             \
    X(TCP_LAST_ACK, "nf_conntrack_tcp_timeout_last_ack", 30, 0, KST_TIMEOUT_MAX_S)                 \
    X(TCP_TIME_WAIT, "nf_conntrack_tcp_timeout_time_wait", 120, 0, KST_TIMEOUT_MAX_S)              \
    X(TCP_CLOSE, "nf_conntrack_tcp_timeout_close", 10, 0, KST_TIMEOUT_MAX_S)                       \
    X(TCP_RETRANS_TIMEOUT, "nf_conntrack_tcp_timeout_max_retrans", 300, 0, KST_TIMEOUT_MAX_S)      \
    X(TCP_UNACKED, "nf_conntrack_tcp_timeout_unacknowledged", 300, 0, KST_TIMEOUT_MAX_S)

enum {
#define KST__X(id, name, normal, lowest, highest) KST__SET_##id,
    KST__SETTINGS_LIST(KST__X)
#undef KST__X
    KST__SETTINGS
};

struct kst__setting {
    const char *name;
    uint32_t normal, lowest, highest;
};

static const struct kst__setting kst__settings[KST__SETTINGS] = {
#define KST__X(id, name, normal, lowest, highest) {name, normal, lowest, highest},
    KST__SETTINGS_LIST(KST__X)
#undef KST__X
};

/* The number of a setting, KST__SETTINGS if no setting has this name. */
static uint32_t kst__setting_number(const char *name)
{
    uint32_t number = 0;
    while (number < KST__SETTINGS && strcmp(kst__settings[number].name, name) != 0)
        number++;
    return number;
}

#endif
/* ======== core/pool.h ==================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/pool.h - the table and its entries: what lies where in the caller's block.
 *
 *     struct kst | index | timer | entries | columns | sources | tallies | expectations | events |
 *     reassembly
 *
 * Entries live in slots 0..max, one more than may be in use: the spare is where a newcomer is
 * judged before anybody has to make room for it. All references are slot numbers or offsets from
 * the start of the block. */
#ifndef KST_POOL_H
#define KST_POOL_H


struct kst__tcp_side {
    uint32_t end;    /* highest sequence number sent, plus one */
    uint32_t maxend; /* highest that the peer's window has allowed */
    uint32_t maxwin; /* largest window advertised, scaled; 0: never seen */
    uint32_t maxack; /* highest acknowledgement sent */
};

struct kst__tcp {
    struct kst__tcp_side side[2]; /* by direction */
    uint8_t flags[2];             /* enum kst__tcp_flag */
    uint8_t scale[2];             /* window scale, 0..14 */
    uint32_t last_seq;            /* what the last recorded packet said */
    uint32_t last_ack;
    uint16_t last_length;         /* its end minus its seq */
    uint16_t last_window;         /* unscaled */
    uint8_t last;                 /* KST__LAST(class, direction) */
    uint8_t last_flags;           /* options of a recorded SYN, and what it waits for */
    uint8_t last_scale;
    uint8_t retrans;              /* identical segments after the first, saturating */
};

struct kst__udp { /* halves, so that the union is happy with 4-byte alignment */
    uint32_t stream_low, stream_high; /* from when on an answered flow is a stream, ms */
};

struct kst__sctp {
    uint32_t tag[2]; /* by direction: the verification tag that its packets carry */
    uint8_t flags;   /* enum kst__sctp_flag */
    uint8_t odd;     /* direction of the HEARTBEAT with another tag */
};

struct kst__gre {
    uint32_t timeout_s, stream_s; /* until answered, and afterwards */
};

/* 128 bytes, two cache lines. A lookup, and a packet of an established UDP or ICMP conversation, needs
 * the first alone; TCP's windows lie in the second. */
struct kst__entry {
    struct kst_tuple tuple; /* original direction */
    uint64_t expires_ms;
    uint32_t armed;  /* the time that its timer is set to, never after expires_ms; in beats */
    uint32_t serial; /* upper half of its kst_id */
    uint32_t mark;
    uint16_t status; /* enum kst_status; not CONFIRMED: the slot is free, or a newcomer's */
    uint8_t state;   /* enum kst_tcp_state or kst_sctp_state */
    uint8_t kind;    /* enum kst_class, or'ed with the bits below */

    union {
        struct kst__tcp tcp;
        struct kst__udp udp;
        struct kst__sctp sctp;
        struct kst__gre gre;
    } proto;
    uint32_t joined; /* when it joined its class, in beats */
    uint32_t older;  /* neighbours in its class, KST__NONE at the ends; */
    uint32_t newer;  /* that of a free slot names the next free one */
};

enum { /* kst__entry.kind */
    KST__KIND_CLASS = 3,
    KST__KIND_ACCOUNTED = 4, /* its counters are kept */
    KST__KIND_NAT = 8,       /* its reply tuple does not mirror the original one */
    KST__KIND_HELP = 16,     /* its struct kst__help is in use */
    KST__KIND_POLICY = 32    /* times the number of its policy, in the highest three bits */
};

typedef char kst__entry_is_two_lines[sizeof(struct kst__entry) == 128 &&
                                             offsetof(struct kst__entry, proto) == 64
                                         ? 1
                                         : -1];
typedef char kst__tuple_has_no_padding[sizeof(struct kst_tuple) == 40 ? 1 : -1];

struct kst__counters {
    uint64_t packets[2], bytes[2]; /* by direction */
};

/* A connection with a helper, a master or expectations. One cache line. */
struct kst__help {
    uint64_t state[KST_HELPER_STATE_BYTES / 8]; /* the helper's own */
    kst_id master;    /* 0: none */
    uint32_t newest;  /* of its own expectations, KST__NONE: none */
    uint8_t expecting[KST_EXPECT_CLASSES]; /* how many there are of each class */
    uint8_t helper;   /* 0: none */
    bool calls;       /* it announces GRE calls, which end with it; */
    uint16_t call[2]; /* the one there is, by direction: what the client and what the server named it */
};

typedef char kst__help_is_one_line[sizeof(struct kst__help) == 64 ? 1 : -1];

/* Who else has the same source, kst__source_*; and by which interface it leaves. */
struct kst__source {
    uint32_t newer, older; /* in its bucket, KST__NONE at the ends */
    uint32_t out_interface;
};

/* What a helper's rewriting has done to the sequence numbers of each direction. */
struct kst__adjust_side {
    uint32_t at;            /* a segment that begins behind this is shifted by */
    uint32_t before, after; /* the second, any other by the first; modulo 2^32 */
};
struct kst__adjust {
    struct kst__adjust_side side[2];
};

struct kst__label_bits {
    uint8_t bytes[KST_LABEL_BYTES];
};

/* An expectation, or a key: what the source key of a GRE call is, which its packets do not tell. */
struct kst__expected {
    struct kst_tuple tuple;
    uint64_t expires_ms;
    uint32_t master;       /* slot */
    uint32_t newer, older; /* neighbours in its bucket, KST__NONE at the ends; of a free place
                            * `older` names the next free one */
    uint32_t own_newer, own_older; /* among its master's */
    uint32_t serial;       /* upper half of its kst_id; 0: the place is free */
    uint8_t flags;         /* enum kst_expectation_flags, or'ed, and the one below */
    uint8_t class_;
    uint8_t child_helper;
    uint8_t follows;       /* enum kst_follows; */
    uint8_t nat_direction; /* of what told of it, */
    uint16_t nat_port;     /* and the port that this named */
};

enum { KST__EXPECT_KEY = 128 }; /* kst__expected.flags */

/* Expectations lie behind this and their buckets. */
struct kst__expectations {
    uint64_t places_at; /* offset from here */
    uint32_t buckets;
    uint32_t count;     /* without keys */
    uint32_t keys;
    uint32_t used;      /* places ever used */
    uint32_t free;      /* first free place, KST__NONE: none */
    uint32_t serial;
};

/* How many connections a source or a zone has. */
struct kst__tally {
    uint8_t address[16]; /* of the source, without the host's bits */
    uint16_t zone;
    uint8_t family;      /* 0: this is the zone's */
    uint8_t zero;
    uint32_t count;
    uint32_t next;       /* in its bucket, or the next free one; KST__NONE at the end */
};

/* Tallies lie behind this and their buckets. */
struct kst__tallies {
    uint32_t buckets;
    uint32_t used; /* places ever used */
    uint32_t free; /* first free place, KST__NONE: none */
};

/* What an entry may have beside its two lines: columns, an element a slot, there if the
 * configuration has the feature. X(NAME, feature, type) */
#define KST__WITH_HELP (UINT32_C(1) << 31) /* what config.expectations asks for */
#define KST__WITH_ADJUST (UINT32_C(1) << 30) /* with that and KST_WITH_NAT */
#define KST__COLUMNS_LIST(X)                                                                       \
    X(REPLY, KST_WITH_NAT, struct kst_tuple)                                                       \
    X(SOURCE, KST_WITH_NAT, struct kst__source)                                                    \
    X(ADJUST, KST__WITH_ADJUST, struct kst__adjust)                                                \
    X(COUNTERS, KST_WITH_ACCOUNTING, struct kst__counters)                                         \
    X(HELP, KST__WITH_HELP, struct kst__help)                                                      \
    X(BIRTH, KST_WITH_TIMESTAMPS, uint64_t)                                                        \
    X(LABELS, KST_WITH_LABELS, struct kst__label_bits)

enum {
#define KST__X(name, feature, type) KST__COLUMN_##name,
    KST__COLUMNS_LIST(KST__X)
#undef KST__X
    KST__COLUMNS
};

#define KST__NAT                                                                                   \
    (KST_SRC_NAT | KST_DST_NAT | KST_SRC_NAT_DONE | KST_DST_NAT_DONE | KST_SEQ_ADJUST)

#define KST__NEVER UINT64_MAX /* a connection's birth that nobody noted */

struct kst__class {
    uint32_t oldest, newest; /* by the time of joining */
    uint32_t count;
    uint32_t residence_ms;
};

struct kst__attached { /* a port that has a helper */
    uint16_t port;
    uint8_t protocol;
    uint8_t helper; /* 0: this place is free, and those behind it */
};

typedef char kst__states_fit_a_row[(int)KST_SCTP_STATES <= (int)KST_TCP_STATES ? 1 : -1];
typedef char kst__settings_fit_a_word[KST__SETTINGS <= 64 ? 1 : -1];

struct kst {
    uint64_t index_at, timer_at, entries_at; /* offsets */
    uint64_t column_at[KST__COLUMNS];
    uint64_t sources_at; /* likewise; 0: no NAT. Heads of `sources` lists */
    uint64_t tallies_at; /* likewise; 0: no limits */
    uint64_t expect_at; /* likewise; 0: no expectations, no helpers */
    uint64_t events_at; /* likewise; 0: no events */
    uint64_t defrag_at; /* likewise; 0: fragments are not reassembled */
    uint64_t now_ms;
    uint64_t seed[2];
    uint32_t capacity; /* config.max */
    uint32_t buckets;
    uint32_t features;
    uint32_t expectations_max; /* config.expectations */
    uint32_t events_max;       /* config.events */
    uint32_t count;    /* entries in the table */
    uint32_t used;     /* slots ever used: those behind were never written */
    uint32_t free;     /* first free slot below `used`, KST__NONE: none */
    uint32_t serial;   /* of the entry created last */
    uint32_t set[KST__SETTINGS];
    uint32_t policy[KST_POLICIES][KST__SETTINGS]; /* the same, but for what `policy_owns` */
    uint64_t policy_owns[KST_POLICIES];           /* bits by setting */
    struct kst__attached attached[KST_ATTACH_MAX];
    uint32_t apart; /* entries with a zone of one direction: a tuple may then be found both ways */
    uint32_t sources; /* lists of translated connections by their source, a power of two */
    uint64_t draws;   /* numbers drawn at random */
    uint32_t pending; /* the slot of a newcomer that waits for kst_confirm, KST__NONE: none; */
    uint64_t pending_ms; /* since when */
    kst_id untold;    /* whose helper hears its first packet: no event tells of it yet; 0: none */
    kst_id closing;   /* what a deferred packet has ended: removed once that is through; 0: none */
    uint32_t datagram_bytes; /* of the last that was completed of fragments */
    bool pressed; /* PRESSURE was told, RELIEF not yet */
    uint8_t index, timer; /* config.index, config.timer */
    uint8_t evict[KST_CLASSES];
    struct kst__class classes[KST_CLASSES];
    uint8_t source_prefix[2]; /* bits of an IPv4 and of an IPv6 address that tell sources apart */
    uint32_t states[KST__PROTOCOLS + 1][KST_TCP_STATES]; /* entries by protocol and state */
    struct kst_stats stats;
};

/* Times to within 64 ms in half the bytes; they wrap after 8 years. */
#define KST__BEAT_MS 64
KST_INLINE uint32_t kst__beat(uint64_t ms)
{
    return (uint32_t)(ms / KST__BEAT_MS);
}

/* So long after now. The clock's last moment has no later one. */
KST_INLINE uint64_t kst__later_ms(const struct kst *t, uint64_t ms)
{
    return ms <= UINT64_MAX - t->now_ms ? t->now_ms + ms : UINT64_MAX;
}

KST_INLINE uint64_t kst__due_ms(const struct kst *t, uint32_t timeout_s)
{
    return kst__later_ms(t, (uint64_t)timeout_s * 1000);
}

KST_INLINE void *kst__at(const struct kst *t, uint64_t offset)
{
    return (uint8_t *)(uintptr_t)t + offset;
}

KST_INLINE struct kst__entry *kst__entry_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__entry *)kst__at(t, t->entries_at) + slot;
}

KST_INLINE kst_id kst__id(const struct kst *t, uint32_t slot)
{
    return (kst_id)kst__entry_at(t, slot)->serial << 32 | slot;
}

KST_INLINE struct kst_tuple *kst__reply_tuple(const struct kst *t, uint32_t slot)
{
    return (struct kst_tuple *)kst__at(t, t->column_at[KST__COLUMN_REPLY]) + slot;
}

KST_INLINE struct kst__source *kst__source_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__source *)kst__at(t, t->column_at[KST__COLUMN_SOURCE]) + slot;
}

KST_INLINE struct kst__adjust_side *kst__adjust_at(const struct kst *t, uint32_t slot)
{
    return ((struct kst__adjust *)kst__at(t, t->column_at[KST__COLUMN_ADJUST]) + slot)->side;
}

KST_INLINE struct kst__counters *kst__counters_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__counters *)kst__at(t, t->column_at[KST__COLUMN_COUNTERS]) + slot;
}

KST_INLINE struct kst__help *kst__help_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__help *)kst__at(t, t->column_at[KST__COLUMN_HELP]) + slot;
}

KST_INLINE uint64_t *kst__birth_at(const struct kst *t, uint32_t slot)
{
    return (uint64_t *)kst__at(t, t->column_at[KST__COLUMN_BIRTH]) + slot;
}

KST_INLINE struct kst__label_bits *kst__labels_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__label_bits *)kst__at(t, t->column_at[KST__COLUMN_LABELS]) + slot;
}

/* The settings that hold for an entry: those of its policy, or the table's. */
KST_INLINE const uint32_t *kst__set_of(const struct kst *t, const struct kst__entry *e)
{
    const uint32_t policy = e->kind / KST__KIND_POLICY;
    return policy == 0 ? t->set : t->policy[policy - 1];
}

KST_INLINE uint32_t kst__slots(const struct kst *t)
{
    return t->capacity + 1;
}

/* Whether a slot holds one of the table's: not free, and no newcomer. */
KST_INLINE bool kst__live(const struct kst *t, uint32_t slot)
{
    return slot < t->used && (kst__entry_at(t, slot)->status & KST_CONFIRMED);
}

KST_INLINE bool kst__expired(const struct kst *t, uint32_t slot)
{
    return kst__entry_at(t, slot)->expires_ms <= t->now_ms;
}

KST_INLINE struct kst__expectations *kst__expectations_of(const struct kst *t)
{
    return (struct kst__expectations *)kst__at(t, t->expect_at);
}

KST_INLINE struct kst__expected *kst__expected_at(const struct kst *t, uint32_t place)
{
    return (struct kst__expected *)kst__at(t, t->expect_at + kst__expectations_of(t)->places_at) +
           place;
}

/* ---- what has a timer: entries by their slot, expectations by their place behind all slots ---- */

KST_INLINE uint32_t kst__timed(const struct kst *t)
{
    return kst__slots(t) + t->expectations_max;
}

KST_INLINE uint64_t kst__timed_expires_ms(const struct kst *t, uint32_t timed)
{
    return timed < kst__slots(t) ? kst__entry_at(t, timed)->expires_ms
                                 : kst__expected_at(t, timed - kst__slots(t))->expires_ms;
}

KST_INLINE bool kst__timed_live(const struct kst *t, uint32_t timed)
{
    if (timed < kst__slots(t))
        return kst__live(t, timed);
    const uint32_t place = timed - kst__slots(t);
    return place < t->expectations_max && place < kst__expectations_of(t)->used &&
           kst__expected_at(t, place)->serial != 0;
}

/* A slot for a newcomer: there always is one, as there is one more than connections. */
static uint32_t kst__slot_take(struct kst *t)
{
    const uint32_t slot = t->free;
    if (slot == KST__NONE) {
        KST_ASSERT(t->used < kst__slots(t));
        return t->used++;
    }
    t->free = kst__entry_at(t, slot)->newer;
    return slot;
}

static void kst__slot_give_back(struct kst *t, uint32_t slot)
{
    kst__entry_at(t, slot)->status = 0;
    kst__entry_at(t, slot)->newer = t->free;
    t->free = slot;
}

/* ---- nodes: what the index holds. Node n < slots is the entry in slot n, under the hash of its
 * original tuple; node n >= slots is the entry in slot n - slots under that of its reply tuple,
 * and exists only under NAT. ---- */

struct kst__key { /* what is looked for */
    struct kst_tuple tuple;
    uint64_t answer; /* kst__tuple_answer */
    uint64_t hash;
    uint8_t only; /* enum kst_direction: a packet of the other one is not meant; NO_DIRECTION: any */
};

KST_INLINE void kst__key_make(const struct kst *t, const struct kst_tuple *tuple,
                              struct kst__key *key)
{
    key->tuple = *tuple;
    key->answer = kst__tuple_answer(tuple);
    key->hash = kst__tuple_hash(tuple, t->seed);
    key->only = KST_NO_DIRECTION;
}

/* Only packets of this direction are meant, or of any (KST_NO_DIRECTION). Who talks to himself is answered by all of
 * his packets, unless their zone is that of the original direction alone: then none is an answer. */
KST_INLINE void kst__key_only(struct kst__key *key, uint8_t only)
{
    key->only = only;
    if (only == KST_ORIGINAL)
        key->answer = KST__NO_ANSWER;
}

KST_INLINE uint32_t kst__nodes(const struct kst *t)
{
    return t->features & KST_WITH_NAT ? 2 * kst__slots(t) : kst__slots(t);
}

KST_INLINE uint32_t kst__node_slot(const struct kst *t, uint32_t node)
{
    return node < kst__slots(t) ? node : node - kst__slots(t);
}

/* The tuple that a node stands for. */
KST_INLINE const struct kst_tuple *kst__node_tuple(const struct kst *t, uint32_t node)
{
    return node < kst__slots(t) ? &kst__entry_at(t, node)->tuple
                                : kst__reply_tuple(t, node - kst__slots(t));
}

/* Which way a packet goes that the node matches. One from an address and port to themselves looks like its
 * own answer, and all of a connection that NAT turned round: Linux takes it for that (see kst__key_only). */
KST_INLINE uint8_t kst__node_direction(const struct kst *t, uint32_t node,
                                       const struct kst__key *key)
{
    const uint32_t slot = kst__node_slot(t, node);
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (e->kind & KST__KIND_NAT) {
        const bool turned = KST_UNLIKELY(key->only == KST_ORIGINAL) && kst__tuple_same(&e->tuple, &key->tuple);
        return node == slot || turned ? KST_ORIGINAL : KST_REPLY;
    }
    return kst__tuple_answers(&e->tuple, &key->tuple, key->answer) ? KST_REPLY : KST_ORIGINAL;
}

/* Whether the entry behind a node has one of its two directions look like the key. */
KST_INLINE bool kst__node_matches(const struct kst *t, uint32_t node, const struct kst__key *key)
{
    const struct kst__entry *e = kst__entry_at(t, node);
    const bool matches =
        KST_UNLIKELY(node >= kst__slots(t))
            ? kst__tuple_same(kst__reply_tuple(t, node - kst__slots(t)), &key->tuple)
            : kst__tuple_same(&e->tuple, &key->tuple) ||
                  (kst__tuple_answers(&e->tuple, &key->tuple, key->answer) &&
                   !(e->kind & KST__KIND_NAT));
    return matches && (KST_LIKELY(key->only == KST_NO_DIRECTION) ||
                       kst__node_direction(t, node, key) == key->only);
}

/* The tuple of an entry's answers. */
static struct kst_tuple kst__reply_of(const struct kst *t, uint32_t slot)
{
    struct kst_tuple reply;
    if (kst__entry_at(t, slot)->kind & KST__KIND_NAT)
        return *kst__reply_tuple(t, slot);
    kst__tuple_invert(&kst__entry_at(t, slot)->tuple, &reply);
    return reply;
}

/* ASSURED comes with an answer, but SCTP's chunks of one side alone can get there. */
static bool kst__status_sound(uint8_t protocol, uint32_t status)
{
    return !(status & KST_ASSURED) || (status & KST_SEEN_REPLY) || protocol == KST__SCTP;
}

/* Whether a state is one that the protocol has. */
static bool kst__state_sound(uint8_t protocol, uint8_t state)
{
    return protocol == KST__TCP    ? state > KST_TCP_NONE && state < KST_TCP_STATES
           : protocol == KST__SCTP ? state > KST_SCTP_NONE && state < KST_SCTP_STATES
                                   : state == 0;
}

/* How many entries of this protocol are in this state. */
KST_INLINE uint32_t *kst__census(const struct kst *t, uint8_t protocol, uint8_t state)
{
    return (uint32_t *)(uintptr_t)&t->states[kst__protocol_row(protocol)][state];
}

/* ---- classes: who has been there longest ---- */

static void kst__class_leave(struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__class *class_ = &t->classes[e->kind & KST__KIND_CLASS];
    if (e->older == KST__NONE)
        class_->oldest = e->newer;
    else
        kst__entry_at(t, e->older)->newer = e->newer;
    if (e->newer == KST__NONE)
        class_->newest = e->older;
    else
        kst__entry_at(t, e->newer)->older = e->older;
    class_->count--;
}

static void kst__class_join(struct kst *t, uint32_t slot, uint8_t number)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__class *class_ = &t->classes[number];
    e->kind = (uint8_t)((e->kind & ~KST__KIND_CLASS) | number);
    e->joined = kst__beat(t->now_ms);
    e->older = class_->newest;
    e->newer = KST__NONE;
    if (class_->newest == KST__NONE)
        class_->oldest = slot;
    else
        kst__entry_at(t, class_->newest)->newer = slot;
    class_->newest = slot;
    class_->count++;
}

#endif

/* ======== core/index.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/index.h - the contract of an index: from a tuple to the entry that has it.
 *
 * An index holds nodes (pool.h), each under a 64-bit hash. It owns `bytes` of memory at `ix`,
 * aligned to KST_ALIGN, refers to it by offsets only, and compares keys by kst__node_matches.
 * Every call has a bounded worst case, whatever was inserted.
 *   => bytes    memory for so many nodes and, as far as the index has such a thing, buckets.
 *   => init     makes it empty.
 *   => prefetch starts the memory access of a find with this hash. May be NULL.
 *   => peek     once that has arrived: the node that a find with this hash will look at, KST__NONE if
 *               none is in sight; starts the access to what else of the index it will want. A guess
 *               that may be wrong; nothing depends on it. May be NULL.
 *   => find     a node that matches, KST__NONE if there is none.
 *   => insert   false if there is no place: a named outcome (CHAIN_TOO_LONG), nothing is changed.
 *   => remove   of a node that is in it, under the hash it was inserted with.
 *   => check    NULL, or what is wrong in words; `nodes` counts what it holds. */
#ifndef KST_INDEX_H
#define KST_INDEX_H


/* The hash that a node is in the index under. */
KST_INLINE uint64_t kst__node_hash(const struct kst *t, uint32_t node)
{
    return kst__tuple_hash(kst__node_tuple(t, node), t->seed);
}

/* Starts the access to all that a find looks at to compare a node. */
KST_INLINE void kst__node_prefetch(const struct kst *t, uint32_t node)
{
    const uint32_t slot = kst__node_slot(t, node);
    KST_PREFETCH(kst__entry_at(t, slot));
    if (KST_UNLIKELY(node != slot))
        KST_PREFETCH(kst__reply_tuple(t, slot));
}

struct kst_index_ops {
    const char *name;
    uint64_t (*bytes)(uint32_t nodes_max, uint32_t buckets);
    void (*init)(void *ix, uint32_t nodes_max, uint32_t buckets);
    void (*prefetch)(const void *ix, uint64_t hash);
    uint32_t (*peek)(const void *ix, uint64_t hash);
    uint32_t (*find)(const void *ix, const struct kst *t, const struct kst__key *key);
    bool (*insert)(void *ix, uint32_t node, uint64_t hash);
    void (*remove)(void *ix, uint32_t node, uint64_t hash);
    const char *(*check)(const void *ix, const struct kst *t, uint32_t *nodes);
};

#endif
/* ======== core/index_chain.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/index_chain.h - buckets of singly linked nodes, as Linux has it, but by number.
 *
 *     struct kst__chain | heads[buckets] | links[nodes]
 *
 * A link keeps 32 bits of its hash, so a walk looks at an entry only when it is (nearly) sure to
 * match. The low bits of the hash choose the bucket, the high ones are kept. */
#ifndef KST_INDEX_CHAIN_H
#define KST_INDEX_CHAIN_H


struct kst__link {
    uint32_t next; /* node, or KST__NONE */
    uint32_t tag;  /* high half of the hash */
};

struct kst__chain {
    uint64_t mask; /* buckets - 1 */
    uint64_t links_at; /* offset; the heads follow this struct */
};

KST_INLINE uint32_t *kst__chain_head(const void *ix, uint64_t hash)
{
    const struct kst__chain *chain = (const struct kst__chain *)ix;
    return (uint32_t *)(uintptr_t)(chain + 1) + (hash & chain->mask);
}

KST_INLINE struct kst__link *kst__chain_link(const void *ix, uint32_t node)
{
    const struct kst__chain *chain = (const struct kst__chain *)ix;
    return (struct kst__link *)((uint8_t *)(uintptr_t)ix + chain->links_at) + node;
}

static uint64_t kst__chain_links_at(uint32_t buckets)
{
    const uint64_t end = sizeof(struct kst__chain) + (uint64_t)buckets * sizeof(uint32_t);
    return (end + 7) / 8 * 8;
}

static uint64_t kst__chain_bytes(uint32_t nodes_max, uint32_t buckets)
{
    return kst__chain_links_at(buckets) + (uint64_t)nodes_max * sizeof(struct kst__link);
}

static void kst__chain_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    struct kst__chain *chain = (struct kst__chain *)ix;
    chain->mask = buckets - 1;
    (void)nodes_max;
    chain->links_at = kst__chain_links_at(buckets);
    memset(chain + 1, 0xff, (size_t)buckets * sizeof(uint32_t)); /* KST__NONE */
}

static void kst__chain_prefetch(const void *ix, uint64_t hash)
{
    KST_PREFETCH(kst__chain_head(ix, hash));
}

/* The head of a chain is its likeliest node: hits stop there two times out of three. */
static uint32_t kst__chain_peek(const void *ix, uint64_t hash)
{
    const uint32_t node = *kst__chain_head(ix, hash);
    if (node != KST__NONE)
        KST_PREFETCH(kst__chain_link(ix, node));
    return node;
}

static uint32_t kst__chain_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const uint32_t tag = (uint32_t)(key->hash >> 32);
    uint32_t node = *kst__chain_head(ix, key->hash);
    while (node != KST__NONE) {
        const struct kst__link *link = kst__chain_link(ix, node);
        if (link->tag == tag && kst__node_matches(t, node, key))
            return node;
        node = link->next;
    }
    return KST__NONE;
}

static bool kst__chain_insert(void *ix, uint32_t node, uint64_t hash)
{
    uint32_t *head = kst__chain_head(ix, hash);
    struct kst__link *link = kst__chain_link(ix, node);
    uint32_t length = 0;
    for (uint32_t n = *head; n != KST__NONE; n = kst__chain_link(ix, n)->next)
        if (++length >= KST_CHAIN_MAX)
            return false;
    link->tag = (uint32_t)(hash >> 32);
    link->next = *head;
    *head = node;
    return true;
}

static void kst__chain_remove(void *ix, uint32_t node, uint64_t hash)
{
    uint32_t *at = kst__chain_head(ix, hash);
    while (*at != node) {
        KST_ASSERT(*at != KST__NONE);
        at = &kst__chain_link(ix, *at)->next;
    }
    *at = kst__chain_link(ix, node)->next;
}

static const char *kst__chain_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__chain *chain = (const struct kst__chain *)ix;
    *nodes = 0;
    if (chain->mask != t->buckets - 1)
        return "chain: not as many buckets as there should be";
    for (uint32_t bucket = 0; bucket <= chain->mask; bucket++) {
        uint32_t length = 0;
        uint32_t node = *kst__chain_head(ix, bucket);
        while (node != KST__NONE) {
            if (node >= kst__nodes(t) || ++length > KST_CHAIN_MAX)
                return "chain: a link leads astray";
            if (!kst__live(t, kst__node_slot(t, node)))
                return "chain: a free entry is linked";
            const uint64_t hash = kst__tuple_hash(kst__node_tuple(t, node), t->seed);
            if ((hash & chain->mask) != bucket || kst__chain_link(ix, node)->tag != hash >> 32)
                return "chain: an entry is linked under a hash that is not its own";
            *nodes += 1;
            node = kst__chain_link(ix, node)->next;
        }
    }
    return NULL;
}

static const struct kst_index_ops kst_index_chain = {
    "chain",         kst__chain_bytes,  kst__chain_init,   kst__chain_prefetch, kst__chain_peek,
    kst__chain_find, kst__chain_insert, kst__chain_remove, kst__chain_check,
};

#endif
/* ======== core/index_group.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/index_group.h - what `swiss` and `cuckoo` are made of: groups of nodes, a cache line each.
 *
 *     struct kst__groups | group | group | ...           each aligned to KST_ALIGN
 *
 * A group has room for twelve nodes and a tag of eight hash bits beside each, which are compared all
 * at once: by SSE2, or eight at a time in a 64-bit word, with the same result. So a find that hits
 * costs one line here and the entry. A tag that matches by chance, one in 255 a node, costs a look at
 * another entry.
 *
 * The low bits of the hash choose the group, the highest eight make the tag: who does not know the
 * seed chooses neither. */
#ifndef KST_INDEX_GROUP_H
#define KST_INDEX_GROUP_H


enum { KST__GROUP_NODES = 12, KST__GROUP_FULL = (1 << KST__GROUP_NODES) - 1, KST__GROUP_LOAD = 8 };

struct kst__group {
    uint8_t tags[KST__GROUP_NODES]; /* 0: this place is free */
    uint16_t passed; /* nodes that belong here but had to go elsewhere; 0: no need to look there */
    uint16_t moved;  /* bits by place: nodes that are here for such a reason. See the index */
    uint32_t nodes[KST__GROUP_NODES];
};

struct kst__groups {
    uint64_t mask;  /* groups - 1 */
    uint32_t reach; /* of `swiss`: groups that a find looks at, at most */
};

typedef char kst__group_is_a_cache_line[sizeof(struct kst__group) == KST_ALIGN ? 1 : -1];
typedef char kst__groups_fit_a_line[sizeof(struct kst__groups) <= KST_ALIGN ? 1 : -1];

/* As many groups as make eight nodes to each of twelve places, or fewer, if there are as many buckets
 * as connections: under NAT there are two nodes to each. Fewer buckets mean fewer groups. */
static uint64_t kst__groups_count(uint32_t nodes_max, uint32_t buckets)
{
    const uint64_t room = nodes_max <= (uint64_t)buckets + 1 ? buckets : (uint64_t)buckets * 2;
    return room > KST__GROUP_LOAD ? room / KST__GROUP_LOAD : 1;
}

static uint64_t kst__groups_bytes(uint32_t nodes_max, uint32_t buckets)
{
    return KST_ALIGN + kst__groups_count(nodes_max, buckets) * sizeof(struct kst__group);
}

KST_INLINE struct kst__group *kst__group_at(const void *ix, uint64_t number)
{
    return (struct kst__group *)((uint8_t *)(uintptr_t)ix + KST_ALIGN) + number;
}

KST_INLINE uint64_t kst__group_home(const void *ix, uint64_t hash)
{
    return hash & ((const struct kst__groups *)ix)->mask;
}

KST_INLINE uint8_t kst__group_tag(uint64_t hash) /* 1..255 */
{
    const uint8_t tag = (uint8_t)(hash >> 56);
    return (uint8_t)(tag + (tag == 0));
}

/* ---- which places have this tag, bit by bit ---- */

#if defined(__GNUC__) && defined(__SSE2__) && !defined(KST_NO_SIMD)

typedef char kst__bytes16 __attribute__((vector_size(16)));

KST_INLINE uint32_t kst__group_match(const struct kst__group *group, uint8_t tag)
{
    kst__bytes16 tags, wanted;
    memcpy(&tags, group, sizeof tags);
    memset(&wanted, tag, sizeof wanted);
    return (uint32_t)__builtin_ia32_pmovmskb128((kst__bytes16)(tags == wanted)) & KST__GROUP_FULL;
}

#else

/* A bit for each of eight bytes that is 0. No byte's sum carries into the next one's. */
KST_INLINE uint32_t kst__zero_bytes(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    const uint64_t zero = ~(((word & low) + low) | word | low); /* 0x80 where a byte was 0 */
    return (uint32_t)((zero >> 7) * UINT64_C(0x0102040810204080) >> 56);
}

KST_INLINE uint32_t kst__group_match(const struct kst__group *group, uint8_t tag)
{
    const uint64_t wanted = tag * UINT64_C(0x0101010101010101);
    const uint32_t first = kst__zero_bytes(kst__le64(group->tags) ^ wanted);
    const uint32_t last = kst__zero_bytes(kst__le64(group->tags + KST__GROUP_NODES - 8) ^ wanted);
    return first | last << (KST__GROUP_NODES - 8);
}

#endif

KST_INLINE uint32_t kst__group_find(const struct kst__group *group, const struct kst *t,
                                   const struct kst__key *key, uint8_t tag)
{
    for (uint32_t hits = kst__group_match(group, tag); hits != 0; hits &= hits - 1) {
        const uint32_t node = group->nodes[kst__lowest_bit(hits)];
        if (kst__node_matches(t, node, key))
            return node;
    }
    return KST__NONE;
}

/* The place of a node, KST__NONE if it is not in this group. */
KST_INLINE uint32_t kst__group_place(const struct kst__group *group, uint8_t tag, uint32_t node)
{
    for (uint32_t hits = kst__group_match(group, tag); hits != 0; hits &= hits - 1) {
        const uint32_t place = kst__lowest_bit(hits);
        if (group->nodes[place] == node)
            return place;
    }
    return KST__NONE;
}

/* A free place, KST__NONE if the group is full. */
KST_INLINE uint32_t kst__group_free(const struct kst__group *group)
{
    const uint32_t places = kst__group_match(group, 0);
    return places != 0 ? kst__lowest_bit(places) : KST__NONE;
}

KST_INLINE void kst__group_put(struct kst__group *group, uint32_t place, uint8_t tag, uint32_t node,
                              bool moved)
{
    group->tags[place] = tag;
    group->nodes[place] = node;
    group->moved = (uint16_t)((group->moved & ~(1U << place)) | (uint32_t)moved << place);
}

KST_INLINE void kst__group_clear(struct kst__group *group, uint32_t place)
{
    group->tags[place] = 0;
    group->moved = (uint16_t)(group->moved & ~(1U << place));
}

static void kst__group_prefetch(const void *ix, uint64_t hash)
{
    KST_PREFETCH(kst__group_at(ix, kst__group_home(ix, hash)));
}

/* The first node whose tag matches; now and then by chance, and another is the one. */
KST_INLINE uint32_t kst__group_peek(const struct kst__group *group, uint8_t tag)
{
    const uint32_t hits = kst__group_match(group, tag);
    return hits != 0 ? group->nodes[kst__lowest_bit(hits)] : KST__NONE;
}

static void kst__groups_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    const uint64_t count = kst__groups_count(nodes_max, buckets);
    struct kst__groups *groups = (struct kst__groups *)ix;
    memset(ix, 0, (size_t)kst__groups_bytes(nodes_max, buckets));
    groups->mask = count - 1;
}

/* A group by itself; its nodes are added to those counted. Where they belong is the index's affair. */
static const char *kst__group_check(const struct kst__group *group, const struct kst *t,
                                   uint32_t *nodes)
{
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
        if (group->tags[place] == 0) {
            if (group->moved >> place & 1)
                return "group: a free place has been moved to";
            continue;
        }
        const uint32_t node = group->nodes[place];
        if (node >= kst__nodes(t))
            return "group: a node leads astray";
        if (!kst__live(t, kst__node_slot(t, node)))
            return "group: a free entry is in the index";
        if (group->tags[place] != kst__group_tag(kst__node_hash(t, node)))
            return "group: an entry has a tag that is not its own";
        *nodes += 1;
    }
    return group->moved >> KST__GROUP_NODES ? "group: more has been moved than there are places" : NULL;
}

#endif
/* ======== core/index_cuckoo.h ============================================================ */

/* SPDX-License-Identifier: MIT */
/* core/index_cuckoo.h - two groups of twelve to choose from (index_group.h).
 *
 * A node lies in the group that its hash chooses or, if that was full, in the group across, which is a
 * matter of the first and the tag: so either leads to the other, and a node can be moved without its
 * hash. `passed` counts who belongs in a group but lies across: a find looks there only if there is
 * somebody. `moved` marks who lies across. When both groups are full a node of theirs moves across,
 * or makes another one move first: two moves at most, tried in a fixed order.
 *
 * Room: 8 bytes a node where `max` is a power of two, up to 16 elsewhere: at most 8 of 12 places are
 * taken on average. Then 2 of 100 nodes lie across, 7 when nodes have come and gone for long. At most
 * 1 of 8 groups is full, and an insertion is refused if both of its own and the 24 groups across
 * from those, at least, are: under a secret seed a chance below 1e-20.
 *
 * Bounds: a find or a removal looks at two groups, an insertion at 2 + 2 * 12 * (1 + 12) = 314, and
 * at more than 26 with a chance below 1e-20. A find looks at the second group only where somebody
 * had to go there. An insertion that finds no place is refused. */
#ifndef KST_INDEX_CUCKOO_H
#define KST_INDEX_CUCKOO_H


/* The other group of a node with this tag; never the same, if there are two. */
KST_INLINE uint64_t kst__cuckoo_across(const void *ix, uint64_t number, uint8_t tag)
{
    const uint64_t far = (tag * UINT64_C(0x9e3779b97f4a7c15) >> 32) | 1;
    return number ^ (far & ((const struct kst__groups *)ix)->mask);
}

static uint32_t kst__cuckoo_peek(const void *ix, uint64_t hash)
{
    const uint64_t home = kst__group_home(ix, hash);
    const uint8_t tag = kst__group_tag(hash);
    const struct kst__group *group = kst__group_at(ix, home);
    const uint32_t node = kst__group_peek(group, tag);
    if (node == KST__NONE && group->passed != 0)
        KST_PREFETCH(kst__group_at(ix, kst__cuckoo_across(ix, home, tag)));
    return node;
}

static uint32_t kst__cuckoo_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const uint64_t home = kst__group_home(ix, key->hash);
    const uint8_t tag = kst__group_tag(key->hash);
    const struct kst__group *group = kst__group_at(ix, home);
    const uint32_t node = kst__group_find(group, t, key, tag);
    if (node != KST__NONE || group->passed == 0)
        return node;
    return kst__group_find(kst__group_at(ix, kst__cuckoo_across(ix, home, tag)), t, key, tag);
}

/* Where the node in a place would go. */
KST_INLINE uint64_t kst__cuckoo_other(const void *ix, uint64_t number, uint32_t place)
{
    return kst__cuckoo_across(ix, number, kst__group_at(ix, number)->tags[place]);
}

/* Moves a node across, to a free place there. */
static void kst__cuckoo_move(void *ix, uint64_t number, uint32_t place, uint32_t free_place)
{
    struct kst__group *from = kst__group_at(ix, number);
    struct kst__group *to = kst__group_at(ix, kst__cuckoo_other(ix, number, place));
    const bool home = from->moved >> place & 1; /* it goes back there */
    if (home)
        to->passed--;
    else
        from->passed++;
    kst__group_put(to, free_place, from->tags[place], from->nodes[place], !home);
    kst__group_clear(from, place);
}

/* Makes a place free in a full group by moving a node across. KST__NONE if none can. */
static uint32_t kst__cuckoo_push(void *ix, uint64_t number)
{
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
        const uint64_t other = kst__cuckoo_other(ix, number, place);
        const uint32_t free_place = kst__group_free(kst__group_at(ix, other));
        if (free_place != KST__NONE) {
            kst__cuckoo_move(ix, number, place, free_place);
            return place;
        }
    }
    return KST__NONE;
}

/* Likewise where all groups across are full too: one of those makes a place free first. */
static uint32_t kst__cuckoo_push_twice(void *ix, uint64_t number)
{
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
        const uint32_t free_place = kst__cuckoo_push(ix, kst__cuckoo_other(ix, number, place));
        if (free_place != KST__NONE) {
            kst__cuckoo_move(ix, number, place, free_place);
            return place;
        }
    }
    return KST__NONE;
}

static bool kst__cuckoo_insert(void *ix, uint32_t node, uint64_t hash)
{
    const uint8_t tag = kst__group_tag(hash);
    const uint64_t home = kst__group_home(ix, hash), across = kst__cuckoo_across(ix, home, tag);
    uint64_t number = home;
    uint32_t place = kst__group_free(kst__group_at(ix, home));
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__group_free(kst__group_at(ix, number = across));
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push(ix, number = home);
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push(ix, number = across);
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push_twice(ix, number = home);
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push_twice(ix, number = across);
    if (KST_UNLIKELY(place == KST__NONE))
        return false;
    kst__group_put(kst__group_at(ix, number), place, tag, node, number != home);
    if (number != home)
        kst__group_at(ix, home)->passed++;
    return true;
}

static void kst__cuckoo_remove(void *ix, uint32_t node, uint64_t hash)
{
    const uint8_t tag = kst__group_tag(hash);
    struct kst__group *home = kst__group_at(ix, kst__group_home(ix, hash)), *group = home;
    uint32_t place = kst__group_place(group, tag, node);
    if (place == KST__NONE) {
        group = kst__group_at(ix, kst__cuckoo_across(ix, kst__group_home(ix, hash), tag));
        place = kst__group_place(group, tag, node);
        KST_ASSERT(place != KST__NONE && home->passed != 0);
        home->passed--;
    }
    kst__group_clear(group, place);
}

/* How many nodes that belong in a group lie across from it. */
static uint32_t kst__cuckoo_passed(const void *ix, uint64_t number)
{
    uint32_t passed = 0;
    for (uint32_t tag = 1; tag < 256; tag++) {
        const struct kst__group *group = kst__group_at(ix, kst__cuckoo_across(ix, number, (uint8_t)tag));
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++)
            passed += group->tags[place] == tag && (group->moved >> place & 1);
    }
    return passed;
}

static const char *kst__cuckoo_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__groups *groups = (const struct kst__groups *)ix;
    const char *broken;
    *nodes = 0;
    if (groups->mask != kst__groups_count(kst__nodes(t), t->buckets) - 1)
        return "cuckoo: not as many groups as there should be";
    for (uint64_t number = 0; number <= groups->mask; number++) {
        const struct kst__group *group = kst__group_at(ix, number);
        if ((broken = kst__group_check(group, t, nodes)) != NULL)
            return broken;
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
            if (group->tags[place] == 0)
                continue;
            const uint64_t home = kst__group_home(ix, kst__node_hash(t, group->nodes[place]));
            const bool moved = group->moved >> place & 1;
            if (number != (moved ? kst__cuckoo_across(ix, home, group->tags[place]) : home))
                return "cuckoo: an entry lies in neither of its groups";
            if (moved && kst__group_at(ix, home)->passed == 0)
                return "cuckoo: a group does not know who lies across";
        }
        if (group->passed != 0 && group->passed != kst__cuckoo_passed(ix, number))
            return "cuckoo: a group does not know how many lie across";
    }
    return NULL;
}

static const struct kst_index_ops kst_index_cuckoo = {
    "cuckoo",         kst__groups_bytes,   kst__groups_init,    kst__group_prefetch, kst__cuckoo_peek,
    kst__cuckoo_find, kst__cuckoo_insert, kst__cuckoo_remove, kst__cuckoo_check,
};

#endif
/* ======== core/index_robin.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/index_robin.h - open addressing place by place, robin hood: who lies further from home goes first.
 *
 *     struct kst__robin | place | place | ...         eight to a cache line
 *
 * A place keeps 32 bits of its node's hash, so a walk looks at an entry only when it is (nearly)
 * sure to match, and everybody's home is known without it. An insertion takes the first place whose
 * node lies nearer to its home, and moves that one and those behind it one place on; a removal
 * moves them back. So nobody lies further off than need be, a search ends at the first who lies
 * nearer to home than it has come, and nothing is left behind.
 *
 * The places are cut into rings of KST__ROBIN_RING, each by itself: the last is followed by the
 * first. That is the bound on everything.
 *
 * Room: 16 bytes a node where `max` is a power of two, up to 32 elsewhere: at most half of the places
 * are taken. Under a secret seed twice as many nodes as the average would have to belong in one ring
 * for an insertion to be refused: a chance of less than 1e-21 a ring.
 *
 * Bounds: a find, an insertion or a removal looks at the KST__ROBIN_RING places of a ring (32 lines),
 * twice. On average a find that hits looks at one and a half. An insertion into a full ring is
 * refused.
 *
 * The high half of the hash is kept; its low bits choose the place. Who does not know the seed
 * chooses neither. */
#ifndef KST_INDEX_ROBIN_H
#define KST_INDEX_ROBIN_H


#define KST__ROBIN_RING 256U
#define KST__ROBIN_LINE 8U /* places in a cache line, the fewest there are */

struct kst__place {
    uint32_t node; /* KST__NONE: free */
    uint32_t bits; /* high half of the hash */
};

struct kst__robin {
    uint32_t mask; /* places - 1 */
    uint32_t ring; /* places in a ring - 1 */
};

typedef char kst__robin_fits_a_line[sizeof(struct kst__robin) <= KST_ALIGN ? 1 : -1];

/* Two places a node, if there are as many buckets as connections. Fewer buckets mean fewer places. */
static uint64_t kst__robin_count(uint32_t nodes_max, uint32_t buckets)
{
    const uint64_t room = nodes_max <= (uint64_t)buckets + 1 ? buckets : (uint64_t)buckets * 2;
    return 2 * room > KST__ROBIN_LINE ? 2 * room : KST__ROBIN_LINE;
}

static uint64_t kst__robin_bytes(uint32_t nodes_max, uint32_t buckets)
{
    return KST_ALIGN + kst__robin_count(nodes_max, buckets) * sizeof(struct kst__place);
}

static void kst__robin_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    struct kst__robin *robin = (struct kst__robin *)ix;
    const uint64_t count = kst__robin_count(nodes_max, buckets);
    memset(ix, 0, KST_ALIGN);
    robin->mask = (uint32_t)(count - 1);
    robin->ring = count < KST__ROBIN_RING ? robin->mask : KST__ROBIN_RING - 1;
    memset((uint8_t *)ix + KST_ALIGN, 0xff, (size_t)count * sizeof(struct kst__place)); /* KST__NONE */
}

KST_INLINE struct kst__place *kst__robin_at(const void *ix, uint32_t number)
{
    return (struct kst__place *)((uint8_t *)(uintptr_t)ix + KST_ALIGN) + number;
}

/* The next place in the ring. */
KST_INLINE uint32_t kst__robin_next(const void *ix, uint32_t number)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    return (number & ~ring) | ((number + 1) & ring);
}

KST_INLINE uint32_t kst__robin_home(const void *ix, uint32_t bits)
{
    return bits & ((const struct kst__robin *)ix)->mask;
}

/* How far the place is from the home of who is in it. */
KST_INLINE uint32_t kst__robin_distance(const void *ix, uint32_t number)
{
    return (number - kst__robin_at(ix, number)->bits) & ((const struct kst__robin *)ix)->ring;
}

static void kst__robin_prefetch(const void *ix, uint64_t hash)
{
    KST_PREFETCH(kst__robin_at(ix, kst__robin_home(ix, (uint32_t)(hash >> 32))));
}

/* Not beyond the line that was fetched; what lies there is fetched if the search gets so far. */
static uint32_t kst__robin_peek(const void *ix, uint64_t hash)
{
    const uint32_t bits = (uint32_t)(hash >> 32);
    uint32_t number = kst__robin_home(ix, bits);
    for (uint32_t distance = 0;; distance++) {
        const struct kst__place *place = kst__robin_at(ix, number);
        if (place->node == KST__NONE || kst__robin_distance(ix, number) < distance)
            return KST__NONE;
        if (place->bits == bits)
            return place->node;
        number = kst__robin_next(ix, number);
        if (number % KST__ROBIN_LINE == 0) {
            KST_PREFETCH(kst__robin_at(ix, number));
            return KST__NONE;
        }
    }
}

static uint32_t kst__robin_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    const uint32_t bits = (uint32_t)(key->hash >> 32);
    uint32_t number = kst__robin_home(ix, bits);
    for (uint32_t distance = 0; distance <= ring; distance++) {
        const struct kst__place *place = kst__robin_at(ix, number);
        if (place->node == KST__NONE || kst__robin_distance(ix, number) < distance)
            return KST__NONE;
        if (place->bits == bits && kst__node_matches(t, place->node, key))
            return place->node;
        number = kst__robin_next(ix, number);
    }
    return KST__NONE;
}

static bool kst__robin_insert(void *ix, uint32_t node, uint64_t hash)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    struct kst__place newcomer = {node, (uint32_t)(hash >> 32)};
    const uint32_t home = kst__robin_home(ix, newcomer.bits);
    uint32_t number = home, distance = 0, free_at = home, free_distance = 0;
    while (kst__robin_at(ix, free_at)->node != KST__NONE) {
        free_at = kst__robin_next(ix, free_at);
        if (++free_distance > ring)
            return false;
    }
    for (; distance < free_distance && kst__robin_distance(ix, number) >= distance; distance++)
        number = kst__robin_next(ix, number);
    for (;; number = kst__robin_next(ix, number)) { /* all one on, up to the free one */
        const struct kst__place pushed = *kst__robin_at(ix, number);
        *kst__robin_at(ix, number) = newcomer;
        if (number == free_at)
            return true;
        newcomer = pushed;
    }
}

static void kst__robin_remove(void *ix, uint32_t node, uint64_t hash)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    uint32_t number = kst__robin_home(ix, (uint32_t)(hash >> 32));
    for (uint32_t distance = 0; kst__robin_at(ix, number)->node != node; distance++) {
        KST_ASSERT(distance < ring);
        number = kst__robin_next(ix, number);
    }
    for (uint32_t moved = 0; moved <= ring; moved++) { /* all one back, up to one who is at home */
        const uint32_t next = kst__robin_next(ix, number);
        kst__robin_at(ix, number)->node = KST__NONE;
        kst__robin_at(ix, number)->bits = UINT32_MAX;
        if (kst__robin_at(ix, next)->node == KST__NONE || kst__robin_distance(ix, next) == 0)
            return;
        *kst__robin_at(ix, number) = *kst__robin_at(ix, next);
        number = next;
    }
}

static const char *kst__robin_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__robin *robin = (const struct kst__robin *)ix;
    const uint64_t count = kst__robin_count(kst__nodes(t), t->buckets);
    *nodes = 0;
    if (robin->mask != count - 1)
        return "robin: not as many places as there should be";
    if (robin->ring != (count < KST__ROBIN_RING ? count : KST__ROBIN_RING) - 1)
        return "robin: rings of a wrong size";
    for (uint32_t number = 0; number < count; number++) {
        const struct kst__place *place = kst__robin_at(ix, number);
        const uint32_t next = kst__robin_next(ix, number);
        if (kst__robin_at(ix, next)->node != KST__NONE && kst__robin_distance(ix, next) > 0 &&
            (place->node == KST__NONE ||
             kst__robin_distance(ix, next) > kst__robin_distance(ix, number) + 1))
            return "robin: an entry lies further from home than need be";
        if (place->node == KST__NONE)
            continue;
        if (place->node >= kst__nodes(t))
            return "robin: a place leads astray";
        if (!kst__live(t, kst__node_slot(t, place->node)))
            return "robin: a free entry has a place";
        if (place->bits != kst__node_hash(t, place->node) >> 32)
            return "robin: an entry lies under a hash that is not its own";
        if ((kst__robin_home(ix, place->bits) ^ number) & ~robin->ring)
            return "robin: an entry lies in another ring than its own";
        *nodes += 1;
    }
    return NULL;
}

static const struct kst_index_ops kst_index_robin = {
    "robin",         kst__robin_bytes,  kst__robin_init,   kst__robin_prefetch, kst__robin_peek,
    kst__robin_find, kst__robin_insert, kst__robin_remove, kst__robin_check,
};

#endif
/* ======== core/index_swiss.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/index_swiss.h - open addressing by groups of twelve (index_group.h).
 *
 * A node lies in the group that its hash chooses or, if that was full, in one of the next. Each group
 * that it went past counts it in `passed`: a find goes on only where somebody did, and a removal
 * leaves nothing behind. `moved` marks nodes that belong in the group before; they go back when it
 * gets a free place.
 *
 * Room: 8 bytes a node where `max` is a power of two, up to 16 elsewhere: at most 8 of 12 places are
 * taken on average. Then 2 of 100 nodes lie beyond their first group, 3 when nodes have come and gone
 * for long. Under a secret seed no search goes on for KST__SWISS_REACH groups: more than 768 nodes
 * would have to belong in 64 groups where 512 do, a chance of less than 1e-23 a group.
 *
 * Bounds: a find looks at KST__SWISS_REACH groups, an insertion or a removal at twice as many. An
 * insertion that finds no place within them is refused. */
#ifndef KST_INDEX_SWISS_H
#define KST_INDEX_SWISS_H


#define KST__SWISS_REACH 64U

static void kst__swiss_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    struct kst__groups *groups = (struct kst__groups *)ix;
    kst__groups_init(ix, nodes_max, buckets);
    groups->reach = groups->mask < KST__SWISS_REACH ? (uint32_t)groups->mask + 1 : KST__SWISS_REACH;
}

/* The group so many behind another; the first follows the last. */
KST_INLINE struct kst__group *kst__swiss_group(const void *ix, uint64_t number, uint32_t distance)
{
    return kst__group_at(ix, (number + distance) & ((const struct kst__groups *)ix)->mask);
}

static uint32_t kst__swiss_peek(const void *ix, uint64_t hash)
{
    const uint64_t home = kst__group_home(ix, hash);
    const struct kst__group *group = kst__group_at(ix, home);
    const uint32_t node = kst__group_peek(group, kst__group_tag(hash));
    if (node == KST__NONE && group->passed != 0)
        KST_PREFETCH(kst__swiss_group(ix, home, 1));
    return node;
}

/* Beyond the first group: 2 or 3 of 100 searches, and by itself so that the rest is short. */
KST__NOINLINE static uint32_t kst__swiss_find_on(const void *ix, const struct kst *t,
                                                 const struct kst__key *key)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    const uint64_t home = kst__group_home(ix, key->hash);
    for (uint32_t distance = 1; distance < reach; distance++) {
        const struct kst__group *group = kst__swiss_group(ix, home, distance);
        const uint32_t node = kst__group_find(group, t, key, kst__group_tag(key->hash));
        if (node != KST__NONE || group->passed == 0)
            return node;
    }
    return KST__NONE;
}

static uint32_t kst__swiss_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const struct kst__group *group = kst__group_at(ix, kst__group_home(ix, key->hash));
    const uint32_t node = kst__group_find(group, t, key, kst__group_tag(key->hash));
    return KST_LIKELY(node != KST__NONE || group->passed == 0) ? node
                                                               : kst__swiss_find_on(ix, t, key);
}

static bool kst__swiss_insert(void *ix, uint32_t node, uint64_t hash)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    const uint64_t home = kst__group_home(ix, hash);
    uint32_t distance = 0, place;
    while ((place = kst__group_free(kst__swiss_group(ix, home, distance))) == KST__NONE)
        if (++distance == reach)
            return false;
    kst__group_put(kst__swiss_group(ix, home, distance), place, kst__group_tag(hash), node,
                  distance == 1);
    while (distance-- > 0)
        kst__swiss_group(ix, home, distance)->passed++;
    return true;
}

/* A group has a free place: whoever belongs here and lies in the next group comes back, and makes a
 * free place there. */
static void kst__swiss_pull(void *ix, uint64_t number, uint32_t place)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    struct kst__group *group = kst__swiss_group(ix, number, 0);
    for (uint32_t distance = 1; distance < reach && group->passed != 0; distance++) {
        struct kst__group *next = kst__swiss_group(ix, number, distance);
        if (next->moved == 0)
            return;
        const uint32_t from = kst__lowest_bit(next->moved);
        kst__group_put(group, place, next->tags[from], next->nodes[from], false);
        kst__group_clear(next, from);
        group->passed--;
        group = next;
        place = from;
    }
}

static void kst__swiss_remove(void *ix, uint32_t node, uint64_t hash)
{
    const uint8_t tag = kst__group_tag(hash);
    uint64_t number = kst__group_home(ix, hash);
    for (uint32_t distance = 0;; distance++, number++) {
        struct kst__group *group = kst__swiss_group(ix, number, 0);
        const uint32_t place = kst__group_place(group, tag, node);
        if (place != KST__NONE) {
            kst__group_clear(group, place);
            kst__swiss_pull(ix, number, place);
            return;
        }
        KST_ASSERT(distance < KST__SWISS_REACH && group->passed != 0);
        group->passed--;
    }
}

/* How far a node lies from where it belongs. */
static uint32_t kst__swiss_distance(const void *ix, const struct kst *t, uint64_t number,
                                    uint32_t node)
{
    return (uint32_t)kst__group_home(ix, number - kst__group_home(ix, kst__node_hash(t, node)));
}

/* How many nodes have gone past a group. */
static uint32_t kst__swiss_passed(const void *ix, const struct kst *t, uint64_t number)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    uint32_t passed = 0;
    for (uint32_t further = 1; further < reach; further++) {
        const struct kst__group *group = kst__swiss_group(ix, number, further);
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++)
            if (group->tags[place] != 0 &&
                kst__swiss_distance(ix, t, number + further, group->nodes[place]) >= further)
                passed++;
        if (group->passed == 0)
            break;
    }
    return passed;
}

static const char *kst__swiss_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__groups *groups = (const struct kst__groups *)ix;
    const char *broken;
    *nodes = 0;
    if (groups->mask != kst__groups_count(kst__nodes(t), t->buckets) - 1)
        return "swiss: not as many groups as there should be";
    if (groups->reach > KST__SWISS_REACH || groups->reach > groups->mask + 1)
        return "swiss: a search would go on for too long";
    for (uint64_t number = 0; number <= groups->mask; number++)
        if ((broken = kst__group_check(kst__group_at(ix, number), t, nodes)) != NULL)
            return broken;
    for (uint64_t number = 0; number <= groups->mask; number++) {
        const struct kst__group *group = kst__group_at(ix, number);
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
            if (group->tags[place] == 0)
                continue;
            const uint32_t distance = kst__swiss_distance(ix, t, number, group->nodes[place]);
            if (distance >= groups->reach)
                return "swiss: an entry lies out of reach";
            if ((group->moved >> place & 1) != (distance == 1))
                return "swiss: an entry does not know the group that it belongs in";
            for (uint32_t back = 1; back <= distance; back++)
                if (kst__group_at(ix, kst__group_home(ix, number - back))->passed == 0)
                    return "swiss: a group does not know who went past it";
        }
        if (group->passed != 0 && group->passed != kst__swiss_passed(ix, t, number))
            return "swiss: a group does not know how many went past it";
    }
    return NULL;
}

static const struct kst_index_ops kst_index_swiss = {
    "swiss",         kst__groups_bytes,  kst__swiss_init,   kst__group_prefetch, kst__swiss_peek,
    kst__swiss_find, kst__swiss_insert, kst__swiss_remove, kst__swiss_check,
};

#endif
/* ======== core/timer.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/timer.h - the contract of a timer: whose time has come.
 *
 * A packet that prolongs its connection only writes the new expiry into the entry; the timer finds
 * out when the old time comes round, by kst__rearm_ms. Only a shorter expiry moves it at once. A
 * timer owns `bytes` of memory at `tm`, aligned to KST_ALIGN, and refers to it by offsets only.
 * Its slots are those of the entries and, behind them, the places of expectations.
 *   => bytes    memory for so many slots.
 *   => init     makes it empty; its clock starts at `now_ms`.
 *   => arm      of a slot that is not armed, for `due_ms`, which may lie in the past.
 *   => disarm   of a slot that is armed.
 *   => next     moves the clock towards `now_ms`, which never goes back; returns a slot, no longer
 *               armed, whose entry has expired, or KST__NONE. Each step takes one from `work` and
 *               costs a constant, or a logarithm of what is armed; it may find nothing that has
 *               expired. KST__NONE with `work` left: nothing expired is left. In which order those
 *               come out that have expired is the timer's own affair.
 *   => check    NULL, or what is wrong in words; `armed` counts what it holds.
 *   => prefetch starts the memory access of disarming this slot, which is armed. May be NULL.
 *   => peek     once that has arrived: the access to what else it will want. May be NULL. */
#ifndef KST_TIMER_H
#define KST_TIMER_H


struct kst_timer_ops {
    const char *name;
    uint64_t (*bytes)(uint32_t slots);
    void (*init)(void *tm, uint32_t slots, uint64_t now_ms);
    void (*arm)(void *tm, uint32_t slot, uint64_t due_ms);
    void (*disarm)(void *tm, uint32_t slot);
    uint32_t (*next)(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work);
    const char *(*check)(const void *tm, const struct kst *t, uint32_t *armed);
    void (*prefetch)(const void *tm, uint32_t slot);
    void (*peek)(const void *tm, uint32_t slot);
};

/* When an entry or an expectation expires; an entry notes it as what its timer is now set to. */
KST_INLINE uint64_t kst__rearm_ms(struct kst *t, uint32_t slot)
{
    const uint64_t expires_ms = kst__timed_expires_ms(t, slot);
    if (slot < kst__slots(t))
        kst__entry_at(t, slot)->armed = kst__beat(expires_ms);
    return expires_ms;
}

/* What kst__rearm_ms will ask of an entry that is next, if it is one, and who then removes it. */
KST_INLINE void kst__rearm_prefetch(const struct kst *t, uint32_t slot)
{
    if (slot < kst__slots(t)) {
        KST_PREFETCH(&kst__entry_at(t, slot)->expires_ms);
        KST_PREFETCH(&kst__entry_at(t, slot)->older);
    }
}

#endif
/* ======== core/timer_wheel.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/timer_wheel.h - a hierarchical wheel (Varghese and Lauck, 1987) with a tick of 1 ms.
 *
 * Level l turns once in 64^(l+1) ms; eleven levels cover the 64 bits of the clock, so nothing is
 * ever too far away. A time goes to the level of the highest digit (base 64) in which it differs
 * from the clock, into the place that this digit names: always one that the clock has yet to reach.
 * When the clock gets there, the place's references go down to the levels below, or, if they are
 * due, out. A bit for every place tells which hold something: idle time costs nothing.
 *
 *     struct kst__wheel | chunks | where[slots]
 *
 * A place is a list of chunks, one cache line each, of slot numbers: they can be walked without
 * touching the entries. All chunks but a place's first are full. where[slot] is the position of
 * the slot's reference, so that it can be taken out: the first chunk's last one fills the hole. */
#ifndef KST_TIMER_WHEEL_H
#define KST_TIMER_WHEEL_H


enum {
    KST__WHEEL_DIGIT = 6, /* bits */
    KST__WHEEL_TURN = 1 << KST__WHEEL_DIGIT,
    KST__WHEEL_LEVELS = 11,
    KST__WHEEL_PLACES = KST__WHEEL_LEVELS * KST__WHEEL_TURN,
    KST__CHUNK_REFS = 14
};

struct kst__chunk {
    uint32_t next;  /* chunk of the same place, or of the free list */
    uint16_t place;
    uint16_t count;
    uint32_t ref[KST__CHUNK_REFS];
};

struct kst__wheel {
    uint64_t clock_ms;
    uint64_t chunks_at, where_at; /* offsets */
    uint32_t chunks_free;         /* first of the free list */
    uint32_t chunks_used;         /* chunks ever used */
    uint32_t chunks_max;
    uint32_t emptying;            /* the place above level 0 that is being handed down, or 0 */
    uint32_t fetched;             /* the chunk whose entries were asked for last */
    uint64_t pending[KST__WHEEL_LEVELS]; /* a bit for every place that holds something */
    uint32_t first[KST__WHEEL_PLACES];   /* chunk */
};

KST_INLINE struct kst__chunk *kst__wheel_chunk(const struct kst__wheel *w, uint32_t number)
{
    return (struct kst__chunk *)((uint8_t *)(uintptr_t)w + w->chunks_at) + number;
}

KST_INLINE uint32_t *kst__wheel_where(const struct kst__wheel *w, uint32_t slot)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)w + w->where_at) + slot;
}

/* Full chunks, and one that is not for every place that holds something. */
static uint32_t kst__wheel_chunks_max(uint32_t slots)
{
    return slots / KST__CHUNK_REFS + (slots < KST__WHEEL_PLACES ? slots : (uint32_t)KST__WHEEL_PLACES);
}

static uint64_t kst__wheel_chunks_at(void)
{
    return kst__aligned(sizeof(struct kst__wheel));
}

static uint64_t kst__wheel_bytes(uint32_t slots)
{
    return kst__wheel_chunks_at() +
           (uint64_t)kst__wheel_chunks_max(slots) * sizeof(struct kst__chunk) +
           (uint64_t)slots * sizeof(uint32_t);
}

static void kst__wheel_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    memset(w, 0, sizeof *w);
    memset(w->first, 0xff, sizeof w->first); /* KST__NONE */
    w->clock_ms = now_ms;
    w->chunks_max = kst__wheel_chunks_max(slots);
    w->chunks_free = w->fetched = KST__NONE;
    w->chunks_at = kst__wheel_chunks_at();
    w->where_at = w->chunks_at + (uint64_t)w->chunks_max * sizeof(struct kst__chunk);
}

/* The place for a time at or after the clock. */
KST_INLINE uint32_t kst__wheel_place(const struct kst__wheel *w, uint64_t due_ms)
{
    const uint64_t differ = due_ms ^ w->clock_ms;
    const uint32_t level = differ == 0 ? 0 : kst__highest_bit(differ) / KST__WHEEL_DIGIT;
    const uint32_t digit =
        (uint32_t)(due_ms >> (level * KST__WHEEL_DIGIT)) & (KST__WHEEL_TURN - 1);
    return level * KST__WHEEL_TURN + digit;
}

static uint32_t kst__wheel_new_chunk(struct kst__wheel *w)
{
    const uint32_t number = w->chunks_free;
    if (number == KST__NONE) {
        KST_ASSERT(w->chunks_used < w->chunks_max);
        return w->chunks_used++;
    }
    w->chunks_free = kst__wheel_chunk(w, number)->next;
    return number;
}

static void kst__wheel_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    const uint32_t place = kst__wheel_place(w, due_ms > w->clock_ms ? due_ms : w->clock_ms);
    uint32_t number = w->first[place];
    struct kst__chunk *chunk = kst__wheel_chunk(w, number == KST__NONE ? 0 : number);
    if (number == KST__NONE || chunk->count == KST__CHUNK_REFS) {
        number = kst__wheel_new_chunk(w);
        chunk = kst__wheel_chunk(w, number);
        chunk->next = w->first[place];
        chunk->place = (uint16_t)place;
        chunk->count = 0;
        w->first[place] = number;
        w->pending[place / KST__WHEEL_TURN] |= UINT64_C(1) << (place % KST__WHEEL_TURN);
    }
    *kst__wheel_where(w, slot) = number * KST__CHUNK_REFS + chunk->count;
    chunk->ref[chunk->count++] = slot;
}

/* Takes the last reference out of a place that holds something. */
static uint32_t kst__wheel_pop(struct kst__wheel *w, uint32_t place)
{
    const uint32_t number = w->first[place];
    struct kst__chunk *chunk = kst__wheel_chunk(w, number);
    KST_ASSERT(chunk->count > 0);
    const uint32_t slot = chunk->ref[--chunk->count];
    if (chunk->count == 0) {
        w->first[place] = chunk->next;
        if (chunk->next == KST__NONE)
            w->pending[place / KST__WHEEL_TURN] &= ~(UINT64_C(1) << (place % KST__WHEEL_TURN));
        chunk->next = w->chunks_free;
        w->chunks_free = number;
    }
    return slot;
}

static void kst__wheel_disarm(void *tm, uint32_t slot)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    const uint32_t where = *kst__wheel_where(w, slot);
    struct kst__chunk *chunk = kst__wheel_chunk(w, where / KST__CHUNK_REFS);
    KST_ASSERT(chunk->ref[where % KST__CHUNK_REFS] == slot);
    const uint32_t last = kst__wheel_pop(w, chunk->place);
    if (last != slot) {
        chunk->ref[where % KST__CHUNK_REFS] = last;
        *kst__wheel_where(w, last) = where;
    }
}

/* Turns the clock to the next place that holds something, if that is not after `now_ms`, and
 * returns the place; else turns it to `now_ms` and returns KST__WHEEL_PLACES. The lowest level
 * that holds anything ahead holds the soonest. */
static uint32_t kst__wheel_turn(struct kst__wheel *w, uint64_t now_ms)
{
    for (uint32_t level = 0; level < KST__WHEEL_LEVELS; level++) {
        const uint32_t shift = level * KST__WHEEL_DIGIT;
        const uint32_t digit = (uint32_t)(w->clock_ms >> shift) & (KST__WHEEL_TURN - 1);
        const uint64_t ahead = w->pending[level] >> digit;
        if (ahead == 0)
            continue;
        const uint32_t to = digit + kst__lowest_bit(ahead);
        const uint64_t starts_ms =
            ((w->clock_ms >> shift) + (to - digit)) << shift; /* lower digits 0 */
        if (starts_ms > now_ms)
            break;
        if (starts_ms > w->clock_ms)
            w->clock_ms = starts_ms;
        return level * KST__WHEEL_TURN + to;
    }
    if (now_ms > w->clock_ms)
        w->clock_ms = now_ms;
    return KST__WHEEL_PLACES;
}

/* Starts the access to all that a chunk refers to, and to the chunk behind it. */
static void kst__wheel_fetch(struct kst__wheel *w, const struct kst *t, uint32_t number)
{
    const struct kst__chunk *chunk = kst__wheel_chunk(w, number);
    w->fetched = number;
    for (uint32_t i = chunk->count; i-- > 0;)
        kst__rearm_prefetch(t, chunk->ref[i]);
    if (chunk->next != KST__NONE)
        KST_PREFETCH(kst__wheel_chunk(w, chunk->next));
}

static uint32_t kst__wheel_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    while (*work > 0) {
        /* A place above level 0 is emptied to the end before the clock moves on: what is left in
         * it may be due before what it has handed down. */
        const uint32_t place = w->emptying != 0 ? w->emptying : kst__wheel_turn(w, now_ms);
        if (place == KST__WHEEL_PLACES)
            return KST__NONE;
        if (w->first[place] == KST__NONE) { /* the last of it was disarmed meanwhile */
            w->emptying = 0;
            continue;
        }
        *work -= 1;
        if (w->first[place] != w->fetched)
            kst__wheel_fetch(w, t, w->first[place]);
        const uint32_t slot = kst__wheel_pop(w, place);
        w->emptying = place >= KST__WHEEL_TURN && w->first[place] != KST__NONE ? place : 0;
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        kst__wheel_arm(w, slot, due_ms);
    }
    return KST__NONE;
}

static void kst__wheel_prefetch(const void *tm, uint32_t slot)
{
    KST_PREFETCH(kst__wheel_where((const struct kst__wheel *)tm, slot));
}

static void kst__wheel_peek(const void *tm, uint32_t slot)
{
    const struct kst__wheel *w = (const struct kst__wheel *)tm;
    KST_PREFETCH(kst__wheel_chunk(w, *kst__wheel_where(w, slot) / KST__CHUNK_REFS));
}

static const char *kst__wheel_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__wheel *w = (const struct kst__wheel *)tm;
    uint32_t chunks_held = 0, chunks_free = 0;
    *armed = 0;
    for (uint32_t number = w->chunks_free; number != KST__NONE;
         number = kst__wheel_chunk(w, number)->next)
        if (number >= w->chunks_used || ++chunks_free > w->chunks_used)
            return "wheel: the free chunks lead astray";
    for (uint32_t place = 0; place < KST__WHEEL_PLACES; place++) {
        const uint32_t level = place / KST__WHEEL_TURN, digit = place % KST__WHEEL_TURN;
        uint32_t number = w->first[place], chunks = 0;
        if ((w->pending[level] >> digit & 1) != (number != KST__NONE))
            return "wheel: a place's bit lies";
        if (number == KST__NONE)
            continue;
        const uint32_t shift = level * KST__WHEEL_DIGIT;
        const uint32_t now = (uint32_t)(w->clock_ms >> shift) & (KST__WHEEL_TURN - 1);
        if (digit < now + (level > 0 && place != w->emptying))
            return "wheel: a place holds something that the clock has passed";
        for (bool front = true; number != KST__NONE; front = false) {
            if (number >= w->chunks_used || ++chunks > w->chunks_max)
                return "wheel: a chunk leads astray";
            const struct kst__chunk *chunk = kst__wheel_chunk(w, number);
            if (chunk->place != place || chunk->count == 0 ||
                (front ? chunk->count > KST__CHUNK_REFS : chunk->count != KST__CHUNK_REFS))
                return "wheel: a chunk is not as full as it should be";
            for (uint32_t i = 0; i < chunk->count; i++) {
                const uint32_t slot = chunk->ref[i];
                if (!kst__timed_live(t, slot))
                    return "wheel: a free entry is armed";
                if (*kst__wheel_where(w, slot) != number * KST__CHUNK_REFS + i)
                    return "wheel: an entry does not know its place";
                const uint64_t expires_ms = kst__timed_expires_ms(t, slot);
                if (expires_ms > w->clock_ms &&
                    (expires_ms >> shift) < (w->clock_ms >> shift & ~UINT64_C(63)) + digit)
                    return "wheel: an entry lies later than it expires";
            }
            *armed += chunk->count;
            chunks_held++;
            number = chunk->next;
        }
    }
    return chunks_held + chunks_free == w->chunks_used ? NULL : "wheel: a chunk is lost";
}

static const struct kst_timer_ops kst_timer_wheel = {
    "wheel",           kst__wheel_bytes, kst__wheel_init,  kst__wheel_arm,
    kst__wheel_disarm, kst__wheel_next,  kst__wheel_check, kst__wheel_prefetch,
    kst__wheel_peek,
};

#endif
/* ======== core/timer_hashed.h ============================================================ */

/* SPDX-License-Identifier: MIT */
/* core/timer_hashed.h - a hashed wheel of one level (Varghese and Lauck, 1987) with a tick of 1 ms.
 *
 * A place for each millisecond of a turn, as many as there are slots: a time has the place that its
 * lowest bits name. What is more than a turn ahead is met once every turn and waits. With as many
 * places as slots the waiting costs at most a step a millisecond, however long it lasts, and small tables
 * have KST__HASHED_PLACES_MIN places. What still has more than a turn to wait stays where it is,
 * to be met after a whole turn; only its last turn takes it to the place of its very millisecond.
 *
 * A place whose turn it is gives all that it holds to a list of what is due, which is taken from step by
 * step. When the clock jumps by more than a turn, all places are met in one turn, and the clock stands
 * where it stood when that began. Above the places stands a tree of bits, 64 to a word: idle time
 * and empty places cost nothing.
 *
 *     struct kst__hashed | links[slots] | first[places + 1], the last one of what is due | bits
 *
 * The first in a place has slots + place before it: so a slot can be taken out without knowing where. */
#ifndef KST_TIMER_HASHED_H
#define KST_TIMER_HASHED_H


enum {
    KST__HASHED_PLACES_MIN = 8192, /* milliseconds in a turn */
    KST__HASHED_LEVELS = 5         /* of bits, 64 to a word: enough for 2^30 places */
};

struct kst__hashed_link {
    uint32_t next, last; /* of the place */
};

struct kst__hashed {
    uint64_t clock_ms;  /* all places up to here have been met */
    uint64_t jumped_ms; /* what the clock will be set to when it has met all places, */
    uint64_t turned_ms; /* which is so when it reaches this; 0: there was no jump */
    uint64_t links_at, first_at, bits_at[KST__HASHED_LEVELS]; /* offsets */
    uint32_t slots;
    uint32_t places; /* a power of two */
};

KST_INLINE struct kst__hashed_link *kst__hashed_link_at(const struct kst__hashed *w, uint32_t slot)
{
    return (struct kst__hashed_link *)((uint8_t *)(uintptr_t)w + w->links_at) + slot;
}

KST_INLINE uint32_t *kst__hashed_first(const struct kst__hashed *w, uint32_t place)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)w + w->first_at) + place;
}

KST_INLINE uint64_t *kst__hashed_bits(const struct kst__hashed *w, uint32_t level, uint32_t word)
{
    return (uint64_t *)((uint8_t *)(uintptr_t)w + w->bits_at[level]) + word;
}

static uint32_t kst__hashed_places(uint32_t slots)
{
    return kst__power_of_two(kst__max32(slots, KST__HASHED_PLACES_MIN));
}

static uint32_t kst__hashed_words(uint32_t places, uint32_t level)
{
    return kst__max32(places >> (6 * (level + 1)), 1);
}

static uint64_t kst__hashed_bytes(uint32_t slots)
{
    const uint32_t places = kst__hashed_places(slots);
    uint64_t bytes = kst__aligned(sizeof(struct kst__hashed)) +
                     (uint64_t)slots * sizeof(struct kst__hashed_link) +
                     ((uint64_t)places + 2) * sizeof(uint32_t); /* 2: what follows has 8 bytes */
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++)
        bytes += kst__hashed_words(places, level) * sizeof(uint64_t);
    return bytes;
}

static void kst__hashed_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    memset(w, 0, sizeof *w);
    w->clock_ms = now_ms;
    w->slots = slots;
    w->places = kst__hashed_places(slots);
    w->links_at = kst__aligned(sizeof *w);
    w->first_at = w->links_at + (uint64_t)slots * sizeof(struct kst__hashed_link);
    uint64_t end = w->first_at + ((uint64_t)w->places + 2) * sizeof(uint32_t);
    memset(kst__hashed_first(w, 0), 0xff, (size_t)(end - w->first_at)); /* KST__NONE */
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        const uint64_t bytes = kst__hashed_words(w->places, level) * sizeof(uint64_t);
        w->bits_at[level] = end;
        memset(kst__hashed_bits(w, level, 0), 0, (size_t)bytes);
        end += bytes;
    }
}

/* ---- the bits of the places that hold something, and of the words that are not 0 ---- */

static void kst__hashed_mark(struct kst__hashed *w, uint32_t place)
{
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        *kst__hashed_bits(w, level, place / 64) |= UINT64_C(1) << (place % 64);
        place /= 64;
    }
}

static void kst__hashed_unmark(struct kst__hashed *w, uint32_t place)
{
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        uint64_t *word = kst__hashed_bits(w, level, place / 64);
        *word &= ~(UINT64_C(1) << (place % 64));
        if (*word != 0)
            break;
        place /= 64;
    }
}

/* The first place at or behind `from` that holds something, KST__NONE if all are empty. */
static uint32_t kst__hashed_seek(const struct kst__hashed *w, uint32_t from)
{
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        if (from / 64 >= kst__hashed_words(w->places, level))
            break;
        const uint64_t ahead =
            *kst__hashed_bits(w, level, from / 64) & UINT64_MAX << (from % 64);
        if (ahead == 0) {
            from = from / 64 + 1;
            continue;
        }
        from = from / 64 * 64 + kst__lowest_bit(ahead);
        while (level-- > 0)
            from = from * 64 + kst__lowest_bit(*kst__hashed_bits(w, level, from));
        return from;
    }
    return KST__NONE;
}

/* ---- places ---- */

static void kst__hashed_put(struct kst__hashed *w, uint32_t slot, uint32_t place)
{
    uint32_t *first = kst__hashed_first(w, place);
    struct kst__hashed_link *link = kst__hashed_link_at(w, slot);
    link->next = *first;
    link->last = w->slots + place;
    if (*first != KST__NONE)
        kst__hashed_link_at(w, *first)->last = slot;
    else if (place < w->places)
        kst__hashed_mark(w, place);
    *first = slot;
}

KST_INLINE uint32_t kst__hashed_place(const struct kst__hashed *w, uint64_t ms)
{
    return (uint32_t)ms & (w->places - 1);
}

static void kst__hashed_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    const uint64_t met_ms = w->turned_ms != 0 ? w->jumped_ms : w->clock_ms;
    kst__hashed_put(w, slot, due_ms > met_ms ? kst__hashed_place(w, due_ms) : w->places);
}

static void kst__hashed_disarm(void *tm, uint32_t slot)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    const struct kst__hashed_link *link = kst__hashed_link_at(w, slot);
    if (link->next != KST__NONE)
        kst__hashed_link_at(w, link->next)->last = link->last;
    if (link->last < w->slots) {
        KST_ASSERT(kst__hashed_link_at(w, link->last)->next == slot);
        kst__hashed_link_at(w, link->last)->next = link->next;
        return;
    }
    const uint32_t place = link->last - w->slots;
    KST_ASSERT(place <= w->places && *kst__hashed_first(w, place) == slot);
    *kst__hashed_first(w, place) = link->next;
    if (link->next == KST__NONE && place < w->places)
        kst__hashed_unmark(w, place);
}

/* Turns the clock to the next place that holds something, but not beyond `until_ms`, which is at most
 * a turn ahead. True if there is one: it has become the list of what is due, which was empty. */
static bool kst__hashed_turn(struct kst__hashed *w, uint64_t until_ms)
{
    const uint32_t from = kst__hashed_place(w, w->clock_ms + 1);
    uint32_t place = kst__hashed_seek(w, from);
    if (place == KST__NONE)
        place = kst__hashed_seek(w, 0);
    const uint64_t steps = kst__hashed_place(w, (uint64_t)place - from) + UINT64_C(1);
    if (place == KST__NONE || steps > until_ms - w->clock_ms) {
        w->clock_ms = until_ms;
        return false;
    }
    w->clock_ms += steps;
    const uint32_t slot = *kst__hashed_first(w, place);
    *kst__hashed_first(w, w->places) = slot;
    kst__hashed_link_at(w, slot)->last = w->slots + w->places;
    *kst__hashed_first(w, place) = KST__NONE;
    kst__hashed_unmark(w, place);
    return true;
}

/* Moves on to the next place that is to be met, false if there is none up to `now_ms`. */
static bool kst__hashed_move(struct kst__hashed *w, uint64_t now_ms)
{
    while (w->clock_ms < now_ms || w->turned_ms != 0) {
        if (w->turned_ms == 0 && now_ms - w->clock_ms > w->places) {
            w->turned_ms = w->clock_ms + w->places;
            w->jumped_ms = now_ms;
        }
        if (kst__hashed_turn(w, w->turned_ms != 0 ? w->turned_ms : now_ms))
            return true;
        if (w->turned_ms != 0) {
            w->clock_ms = w->jumped_ms;
            w->turned_ms = 0;
        }
    }
    return false;
}

static uint32_t kst__hashed_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    while (*work > 0) {
        if (*kst__hashed_first(w, w->places) == KST__NONE && !kst__hashed_move(w, now_ms))
            return KST__NONE;
        *work -= 1;
        const uint32_t slot = *kst__hashed_first(w, w->places);
        kst__hashed_disarm(w, slot);
        kst__rearm_prefetch(t, *kst__hashed_first(w, w->places));
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        /* A turn or more ahead: the place that the clock has just met comes last. */
        const uint64_t meet_ms = due_ms - now_ms < w->places ? due_ms : w->clock_ms;
        kst__hashed_put(w, slot, kst__hashed_place(w, meet_ms));
    }
    return KST__NONE;
}

/* Whether what expires then is met in time in this place: in the turn after a jump, or later. */
static bool kst__hashed_in_time(const struct kst__hashed *w, uint32_t place, uint64_t expires_ms)
{
    const bool turning = w->turned_ms != 0;
    const uint64_t met_ms = turning ? w->jumped_ms : w->clock_ms;
    if (place == w->places ||
        (turning && kst__hashed_place(w, place - w->clock_ms - 1) < w->turned_ms - w->clock_ms))
        return true;
    return expires_ms > met_ms && kst__hashed_place(w, place - met_ms - 1) < expires_ms - met_ms;
}

/* The first place from this one on, which begins a word, whose word is not 0. */
static uint32_t kst__hashed_skip(const struct kst__hashed *w, uint32_t place)
{
    while (place < w->places && *kst__hashed_bits(w, 0, place / 64) == 0)
        place += 64;
    return place;
}

static bool kst__hashed_empty(const struct kst__hashed *w, uint32_t place, uint32_t count)
{
    const uint32_t *first = kst__hashed_first(w, place);
    return count == 0 ||
           (*first == KST__NONE && memcmp(first, first + 1, (count - 1) * sizeof *first) == 0);
}

static const char *kst__hashed_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__hashed *w = (const struct kst__hashed *)tm;
    *armed = 0;
    if (w->turned_ms != 0 && (w->clock_ms > w->turned_ms || w->turned_ms > w->jumped_ms))
        return "hashed: the clock has gone astray";
    for (uint32_t place = 0; place <= w->places; place++) {
        const uint32_t marked = place % 64 == 0 ? kst__hashed_skip(w, place) : place;
        if (!kst__hashed_empty(w, place, marked - place))
            return "hashed: a place's bit lies";
        place = marked;
        uint32_t last = w->slots + place;
        for (uint32_t slot = *kst__hashed_first(w, place); slot != KST__NONE;) {
            if (slot >= w->slots || *armed >= w->slots)
                return "hashed: a link leads astray";
            if (!kst__timed_live(t, slot))
                return "hashed: a free entry is armed";
            if (kst__hashed_link_at(w, slot)->last != last)
                return "hashed: neighbours disagree";
            if (!kst__hashed_in_time(w, place, kst__timed_expires_ms(t, slot)))
                return "hashed: an entry lies later than it expires";
            *armed += 1;
            last = slot;
            slot = kst__hashed_link_at(w, slot)->next;
        }
        if (place < w->places && (*kst__hashed_bits(w, 0, place / 64) >> place % 64 & 1) !=
                                     (*kst__hashed_first(w, place) != KST__NONE))
            return "hashed: a place's bit lies";
    }
    for (uint32_t level = 1; level < KST__HASHED_LEVELS; level++)
        for (uint32_t word = 0; word < kst__hashed_words(w->places, level - 1); word++)
            if ((*kst__hashed_bits(w, level, word / 64) >> word % 64 & 1) !=
                (*kst__hashed_bits(w, level - 1, word) != 0))
                return "hashed: a word's bit lies";
    return NULL;
}

static const struct kst_timer_ops kst_timer_hashed = {
    "hashed",           kst__hashed_bytes, kst__hashed_init, kst__hashed_arm,
    kst__hashed_disarm, kst__hashed_next,  kst__hashed_check, NULL, NULL,
};

#endif
/* ======== core/timer_lists.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/timer_lists.h - a list for each class of timeouts: whoever waits equally long stands in line.
 *
 * Timeouts have few lengths, and the clock does not go back: who is armed later for the same length is
 * due later, so a list to whose end all are added is in order, and its head tells when it is to be
 * looked at. What lies ahead is put into classes by its length, eight to a power of two, as the clock
 * stood at the last `next`. A class has two lists, each sorted by a key that is never after the expiry:
 *   => in order   for what is due no sooner than the last one in it. The key is when it is due: it
 *                 is met once, when its time has come.
 *   => early      for the others. The key is when the shortest of the class would be due if it were
 *                 armed now, which keeps this list sorted whatever comes. What it holds is met up
 *                 to an eighth of its length too early; what is left to wait is less than an eighth,
 *                 so that nobody is met more often than every three octaves, eleven times.
 * The trade-off: equal timeouts cost the least that a timer can cost; random ones are met a few times.
 * A step may have to look at the heads of all lists that hold something, which lie side by side: a
 * constant, if not a small one. Nothing is looked at before the soonest key. A clock that jumps moves
 * nothing: the keys are all 64 bits of it.
 *
 *     struct kst__lists | nodes[slots + KST__LISTS]
 *
 * A list is a ring through a node of its own, behind those of the slots, whose key is the head's. */
#ifndef KST_TIMER_LISTS_H
#define KST_TIMER_LISTS_H


enum {
    KST__LISTS_OCTAVES = 31, /* of eight classes, above the first eight; from 2^34 ms on all is one */
    KST__LISTS_CLASSES = 8 + 8 * KST__LISTS_OCTAVES,
    KST__LISTS = 2 * KST__LISTS_CLASSES /* in order, then early */
};

struct kst__lists_node {
    uint64_t key_ms;
    uint32_t next, last; /* of the ring */
};

struct kst__lists {
    uint64_t clock_ms;
    uint64_t soonest_ms; /* no key is below it */
    uint64_t nodes_at;   /* offset */
    uint32_t slots;
    uint32_t at;         /* the list that was drained last */
    uint64_t pending[KST__LISTS / 64]; /* a bit for every list that holds something */
};

KST_INLINE struct kst__lists_node *kst__lists_at(const struct kst__lists *l, uint32_t number)
{
    return (struct kst__lists_node *)((uint8_t *)(uintptr_t)l + l->nodes_at) + number;
}

static uint64_t kst__lists_bytes(uint32_t slots)
{
    return kst__aligned(sizeof(struct kst__lists)) +
           ((uint64_t)slots + KST__LISTS) * sizeof(struct kst__lists_node);
}

static void kst__lists_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    memset(l, 0, sizeof *l);
    l->clock_ms = now_ms;
    l->soonest_ms = UINT64_MAX;
    l->nodes_at = kst__aligned(sizeof *l);
    l->slots = slots;
    for (uint32_t list = 0; list < KST__LISTS; list++) {
        struct kst__lists_node *ring = kst__lists_at(l, slots + list);
        ring->key_ms = 0;
        ring->next = ring->last = slots + list;
    }
}

/* The class of what is so far ahead, and the least that is in it. */
KST_INLINE uint32_t kst__lists_class(uint64_t ahead_ms)
{
    const uint32_t octave = ahead_ms < 8 ? 0 : kst__highest_bit(ahead_ms) - 2;
    if (octave > KST__LISTS_OCTAVES)
        return KST__LISTS_CLASSES - 1;
    return octave == 0 ? (uint32_t)ahead_ms : octave * 8 + (uint32_t)(ahead_ms >> (octave - 1) & 7);
}

KST_INLINE uint64_t kst__lists_least_ms(uint32_t class_)
{
    return class_ < 8 ? class_ : (uint64_t)(8 + class_ % 8) << (class_ / 8 - 1);
}

static void kst__lists_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    const uint64_t ahead_ms = due_ms > l->clock_ms ? due_ms - l->clock_ms : 0;
    const uint32_t class_ = kst__lists_class(ahead_ms);
    uint32_t list = class_;
    uint64_t key_ms = due_ms;
    const uint32_t end = kst__lists_at(l, l->slots + list)->last;
    if (end < l->slots && due_ms < kst__lists_at(l, end)->key_ms) {
        list += KST__LISTS_CLASSES;
        key_ms = ahead_ms == 0 ? 0 : l->clock_ms + kst__lists_least_ms(class_);
    }
    struct kst__lists_node *ring = kst__lists_at(l, l->slots + list);
    struct kst__lists_node *node = kst__lists_at(l, slot);
    node->key_ms = key_ms;
    node->next = l->slots + list;
    node->last = ring->last;
    if (ring->last == l->slots + list)
        ring->key_ms = key_ms;
    kst__lists_at(l, ring->last)->next = slot;
    ring->last = slot;
    l->pending[list / 64] |= UINT64_C(1) << (list % 64);
    if (key_ms < l->soonest_ms)
        l->soonest_ms = key_ms;
}

static void kst__lists_disarm(void *tm, uint32_t slot)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    const struct kst__lists_node *node = kst__lists_at(l, slot);
    struct kst__lists_node *next = kst__lists_at(l, node->next);
    struct kst__lists_node *last = kst__lists_at(l, node->last);
    KST_ASSERT(next->last == slot && last->next == slot);
    last->next = node->next;
    next->last = node->last;
    if (node->last < l->slots)
        return;
    if (node->next < l->slots) {
        last->key_ms = next->key_ms;
    } else { /* it was the only one */
        const uint32_t list = node->next - l->slots;
        l->pending[list / 64] &= ~(UINT64_C(1) << (list % 64));
    }
}

/* A list whose head's time has come; KST__LISTS if there is none, and then the soonest key is known. */
static uint32_t kst__lists_due(struct kst__lists *l, uint64_t now_ms)
{
    uint64_t soonest_ms = UINT64_MAX;
    if ((l->pending[l->at / 64] >> l->at % 64 & 1) &&
        kst__lists_at(l, l->slots + l->at)->key_ms <= now_ms)
        return l->at;
    for (uint32_t word = 0; word < KST__LISTS / 64; word++)
        for (uint64_t bits = l->pending[word]; bits != 0; bits &= bits - 1) {
            const uint32_t list = word * 64 + kst__lowest_bit(bits);
            const uint64_t key_ms = kst__lists_at(l, l->slots + list)->key_ms;
            if (key_ms <= now_ms)
                return l->at = list;
            if (key_ms < soonest_ms)
                soonest_ms = key_ms;
        }
    l->soonest_ms = soonest_ms;
    return KST__LISTS;
}

static uint32_t kst__lists_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    l->clock_ms = now_ms;
    while (*work > 0 && l->soonest_ms <= now_ms) {
        const uint32_t list = kst__lists_due(l, now_ms);
        if (list == KST__LISTS)
            return KST__NONE;
        *work -= 1;
        const uint32_t slot = kst__lists_at(l, l->slots + list)->next;
        kst__lists_disarm(l, slot);
        kst__rearm_prefetch(t, kst__lists_at(l, l->slots + list)->next);
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        kst__lists_arm(l, slot, due_ms); /* its key is after now_ms: it is not met again */
    }
    return KST__NONE;
}

static const char *kst__lists_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__lists *l = (const struct kst__lists *)tm;
    *armed = 0;
    for (uint32_t list = 0; list < KST__LISTS; list++) {
        const uint32_t ring = l->slots + list;
        uint32_t last = ring;
        uint64_t least_ms = 0;
        for (uint32_t slot = kst__lists_at(l, ring)->next; slot != ring;) {
            if (slot >= l->slots || *armed >= l->slots)
                return "lists: a link leads astray";
            const struct kst__lists_node *node = kst__lists_at(l, slot);
            if (!kst__timed_live(t, slot))
                return "lists: a free entry is armed";
            if (node->last != last)
                return "lists: neighbours disagree";
            if (node->key_ms < least_ms || node->key_ms < l->soonest_ms)
                return "lists: a list is out of order";
            if (last == ring && kst__lists_at(l, ring)->key_ms != node->key_ms)
                return "lists: a list does not know its head";
            if (kst__timed_expires_ms(t, slot) < node->key_ms)
                return "lists: an entry lies later than it expires";
            *armed += 1;
            least_ms = node->key_ms;
            last = slot;
            slot = node->next;
        }
        if (kst__lists_at(l, ring)->last != last)
            return "lists: neighbours disagree";
        if ((l->pending[list / 64] >> (list % 64) & 1) != (last != ring))
            return "lists: a list's bit lies";
    }
    return NULL;
}

static const struct kst_timer_ops kst_timer_lists = {
    "lists",           kst__lists_bytes, kst__lists_init, kst__lists_arm,
    kst__lists_disarm, kst__lists_next,  kst__lists_check, NULL, NULL,
};

#endif
/* ======== core/timer_heap.h ============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/timer_heap.h - a heap of four children a node (Williams, 1964; Johnson, 1975), the soonest on
 * top: the reference that the other timers can be held against.
 *
 * Every call takes a logarithm of what is armed instead of a constant: half as many levels as with two
 * children, and the four that are compared lie in half a cache line. It asks nothing of the clock: a
 * time is all its 64 bits, no distance is too far, and idle time costs nothing.
 *
 *     struct kst__heap | due[3 + slots], the first three unused | slot[slots] | where[slots]
 *
 * Position p has the children 4p+1..4p+4. where[slot] is the position of an armed slot. */
#ifndef KST_TIMER_HEAP_H
#define KST_TIMER_HEAP_H


enum { KST__HEAP_ARITY = 4 };

struct kst__heap {
    uint64_t due_at, slot_at, where_at; /* offsets */
    uint32_t count;                     /* armed */
    uint32_t slots;
};

KST_INLINE uint64_t *kst__heap_due(const struct kst__heap *h, uint32_t position)
{
    return (uint64_t *)((uint8_t *)(uintptr_t)h + h->due_at) + position;
}

KST_INLINE uint32_t *kst__heap_slot(const struct kst__heap *h, uint32_t position)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)h + h->slot_at) + position;
}

KST_INLINE uint32_t *kst__heap_where(const struct kst__heap *h, uint32_t slot)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)h + h->where_at) + slot;
}

static uint64_t kst__heap_bytes(uint32_t slots)
{
    return kst__aligned(sizeof(struct kst__heap)) +
           ((uint64_t)slots + KST__HEAP_ARITY - 1) * sizeof(uint64_t) +
           (uint64_t)slots * 2 * sizeof(uint32_t);
}

static void kst__heap_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    (void)now_ms;
    memset(h, 0, sizeof *h);
    h->slots = slots;
    h->due_at = kst__aligned(sizeof *h) + (KST__HEAP_ARITY - 1) * sizeof(uint64_t);
    h->slot_at = h->due_at + (uint64_t)slots * sizeof(uint64_t);
    h->where_at = h->slot_at + (uint64_t)slots * sizeof(uint32_t);
}

KST_INLINE void kst__heap_put(struct kst__heap *h, uint32_t position, uint32_t slot,
                              uint64_t due_ms)
{
    *kst__heap_due(h, position) = due_ms;
    *kst__heap_slot(h, position) = slot;
    *kst__heap_where(h, slot) = position;
}

/* Puts a slot where it belongs on the way from a hole at `position` to the top. */
static void kst__heap_up(struct kst__heap *h, uint32_t position, uint32_t slot, uint64_t due_ms)
{
    while (position > 0) {
        const uint32_t parent = (position - 1) / KST__HEAP_ARITY;
        if (*kst__heap_due(h, parent) <= due_ms)
            break;
        kst__heap_put(h, position, *kst__heap_slot(h, parent), *kst__heap_due(h, parent));
        position = parent;
    }
    kst__heap_put(h, position, slot, due_ms);
}

/* Puts a slot where it belongs at or below a hole at `position`. */
static void kst__heap_down(struct kst__heap *h, uint32_t position, uint32_t slot, uint64_t due_ms)
{
    for (;;) {
        const uint64_t first = (uint64_t)position * KST__HEAP_ARITY + 1;
        if (first >= h->count)
            break;
        const uint64_t end =
            first + KST__HEAP_ARITY < h->count ? first + KST__HEAP_ARITY : h->count;
        uint32_t soonest = (uint32_t)first;
        for (uint32_t child = soonest + 1; child < end; child++)
            if (*kst__heap_due(h, child) < *kst__heap_due(h, soonest))
                soonest = child;
        if (*kst__heap_due(h, soonest) >= due_ms)
            break;
        kst__heap_put(h, position, *kst__heap_slot(h, soonest), *kst__heap_due(h, soonest));
        position = soonest;
    }
    kst__heap_put(h, position, slot, due_ms);
}

static void kst__heap_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    KST_ASSERT(h->count < h->slots);
    kst__heap_up(h, h->count++, slot, due_ms);
}

/* The last position's slot fills the hole. */
static void kst__heap_disarm(void *tm, uint32_t slot)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    const uint32_t position = *kst__heap_where(h, slot);
    KST_ASSERT(position < h->count && *kst__heap_slot(h, position) == slot);
    const uint32_t end = --h->count;
    if (position == end)
        return;
    const uint32_t last = *kst__heap_slot(h, end);
    const uint64_t due_ms = *kst__heap_due(h, end);
    if (position > 0 && due_ms < *kst__heap_due(h, (position - 1) / KST__HEAP_ARITY))
        kst__heap_up(h, position, last, due_ms);
    else
        kst__heap_down(h, position, last, due_ms);
}

static uint32_t kst__heap_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    while (*work > 0 && h->count > 0 && *kst__heap_due(h, 0) <= now_ms) {
        *work -= 1;
        const uint32_t slot = *kst__heap_slot(h, 0);
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms) {
            kst__heap_disarm(h, slot);
            return slot;
        }
        kst__heap_down(h, 0, slot, due_ms);
    }
    return KST__NONE;
}

static const char *kst__heap_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__heap *h = (const struct kst__heap *)tm;
    *armed = h->count;
    if (h->count > h->slots)
        return "heap: more is armed than there are slots";
    for (uint32_t position = 0; position < h->count; position++) {
        const uint32_t slot = *kst__heap_slot(h, position);
        const uint64_t due_ms = *kst__heap_due(h, position);
        if (slot >= h->slots || !kst__timed_live(t, slot))
            return "heap: a free entry is armed";
        if (*kst__heap_where(h, slot) != position)
            return "heap: an entry does not know its place";
        if (position > 0 && *kst__heap_due(h, (position - 1) / KST__HEAP_ARITY) > due_ms)
            return "heap: a parent comes after its child";
        if (kst__timed_expires_ms(t, slot) < due_ms)
            return "heap: an entry lies later than it expires";
    }
    return NULL;
}

static const struct kst_timer_ops kst_timer_heap = {
    "heap",           kst__heap_bytes, kst__heap_init, kst__heap_arm,
    kst__heap_disarm, kst__heap_next,  kst__heap_check, NULL, NULL,
};

#endif

/* ======== core/kit.h ===================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/kit.h - the back ends there are, which of them a table has, and where they lie. With one
 * index and one timer, which is the default, their calls are known to the compiler and fold. */
#ifndef KST_KIT_H
#define KST_KIT_H


#ifdef KST_BACK_ENDS
#include KST_BACK_ENDS
#endif

#define KST__INDEX_OPS(name) &KST__PASTE(kst_index_, name),
#define KST__TIMER_OPS(name) &KST__PASTE(kst_timer_, name),
static const struct kst_index_ops *const kst__indexes[] = {KST_INDEXES(KST__INDEX_OPS)};
static const struct kst_timer_ops *const kst__timers[] = {KST_TIMERS(KST__TIMER_OPS)};

enum {
    KST__INDEXES = sizeof kst__indexes / sizeof kst__indexes[0],
    KST__TIMERS = sizeof kst__timers / sizeof kst__timers[0]
};

KST_INLINE const struct kst_index_ops *kst__index_ops(const struct kst *t)
{
    return kst__indexes[KST__INDEXES > 1 ? t->index : 0];
}

KST_INLINE const struct kst_timer_ops *kst__timer_ops(const struct kst *t)
{
    return kst__timers[KST__TIMERS > 1 ? t->timer : 0];
}

KST_INLINE void *kst__index(const struct kst *t)
{
    return kst__at(t, t->index_at);
}

KST_INLINE void *kst__timer(const struct kst *t)
{
    return kst__at(t, t->timer_at);
}

#endif
/* ======== core/event.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/event.h - what happened, noted for whoever asks: a ring of copies in the block.
 *
 * Nothing waits for it: when the ring is full the newest event is lost, and counted. Copies of
 * connections and expectations are made here, for events and for kst_get alike. */
#ifndef KST_EVENT_H
#define KST_EVENT_H


struct kst__events {
    uint32_t first, count;
    /* struct kst_event [config.events] from the next cache line on */
};

static uint64_t kst__events_bytes(uint32_t max)
{
    return KST_ALIGN + (uint64_t)max * sizeof(struct kst_event);
}

KST_INLINE struct kst__events *kst__events_of(const struct kst *t)
{
    return (struct kst__events *)kst__at(t, t->events_at);
}

KST_INLINE struct kst_event *kst__events_place(const struct kst *t, uint32_t number)
{
    return (struct kst_event *)kst__at(t, t->events_at + KST_ALIGN) + number % t->events_max;
}

KST_INLINE bool kst__listening(const struct kst *t)
{
    return t->events_at != 0 && t->set[KST__SET_EVENTS] != 0;
}

/* A connection as its caller sees it; an expired one has no time left. */
static void kst__flow_of(const struct kst *t, uint32_t slot, struct kst_flow *flow)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    memset(flow, 0, sizeof *flow);
    flow->id = kst__id(t, slot);
    flow->tuple[KST_ORIGINAL] = e->tuple;
    flow->tuple[KST_REPLY] = kst__reply_of(t, slot);
    flow->timeout_ms = e->expires_ms > t->now_ms ? e->expires_ms - t->now_ms : 0;
    flow->mark = e->mark;
    flow->status = e->status;
    flow->state = e->state;
    flow->policy = e->kind / KST__KIND_POLICY;
    if (e->tuple.protocol == KST__GRE) {
        flow->gre_timeouts_s[0] = e->proto.gre.timeout_s;
        flow->gre_timeouts_s[1] = e->proto.gre.stream_s;
    } else if (e->tuple.protocol == KST__SCTP) {
        memcpy(flow->sctp_tags, e->proto.sctp.tag, sizeof flow->sctp_tags);
    }
    flow->accounted = (e->kind & KST__KIND_ACCOUNTED) != 0;
    if (flow->accounted) {
        memcpy(flow->packets, kst__counters_at(t, slot)->packets, sizeof flow->packets);
        memcpy(flow->bytes, kst__counters_at(t, slot)->bytes, sizeof flow->bytes);
    }
    if (e->kind & KST__KIND_HELP) {
        flow->helper = kst__help_at(t, slot)->helper;
        flow->master = kst__help_at(t, slot)->master;
    }
    if (e->status & KST_SRC_NAT_DONE)
        flow->out_interface = kst__source_at(t, slot)->out_interface;
    for (uint32_t i = 0; (e->status & KST_SEQ_ADJUST) && i < 2; i++) {
        const struct kst__adjust_side *side = &kst__adjust_at(t, slot)[i];
        flow->seq_adjust[i][0] = side->at;
        flow->seq_adjust[i][1] = side->before;
        flow->seq_adjust[i][2] = side->after;
    }
    if (t->features & KST_WITH_LABELS)
        memcpy(flow->labels, kst__labels_at(t, slot)->bytes, sizeof flow->labels);
    if ((t->features & KST_WITH_TIMESTAMPS) && *kst__birth_at(t, slot) != KST__NEVER) {
        flow->timestamped = true;
        flow->age_ms = t->now_ms - *kst__birth_at(t, slot);
    }
}

static void kst__expectation_of(const struct kst *t, uint32_t place, struct kst_expectation *copy)
{
    const struct kst__expected *x = kst__expected_at(t, place);
    const struct kst__entry *master = kst__entry_at(t, x->master);
    memset(copy, 0, sizeof *copy);
    copy->id = (kst_id)x->serial << 32 | place;
    copy->master = kst__id(t, x->master);
    copy->tuple = x->tuple;
    copy->master_tuple = master->tuple;
    copy->timeout_ms = x->expires_ms > t->now_ms ? x->expires_ms - t->now_ms : 0;
    copy->flags = x->flags;
    copy->follows = x->follows;
    copy->nat_direction = x->nat_direction;
    copy->nat_port = x->nat_port;
    copy->class_ = x->class_;
    copy->helper = kst__help_at(t, x->master)->helper;
    copy->child_helper = x->child_helper;
}

/* Whether this connection's helper hears its first packet: that it is there is told behind that, with what
 * has become of it by then, or never. */
KST_INLINE bool kst__untold(const struct kst *t, uint32_t slot)
{
    return t->untold == kst__id(t, slot);
}

/* A place in the ring for one more, or NULL. */
static struct kst_event *kst__event(struct kst *t, enum kst_event_type type)
{
    if (!kst__listening(t))
        return NULL;
    struct kst__events *events = kst__events_of(t);
    if (events->count == t->events_max) {
        t->stats.events_lost++;
        return NULL;
    }
    struct kst_event *event = kst__events_place(t, events->first + events->count++);
    memset(event, 0, sizeof *event);
    event->time_ms = t->now_ms;
    event->type = (uint8_t)type;
    return event;
}

static void kst__tell_new(struct kst *t, uint32_t slot)
{
    struct kst_event *event = kst__event(t, KST_EVENT_NEW);
    if (event != NULL)
        kst__flow_of(t, slot, &event->about.flow);
}

static void kst__tell_update(struct kst *t, uint32_t slot, uint32_t changed)
{
    struct kst_event *event = kst__untold(t, slot) ? NULL : kst__event(t, KST_EVENT_UPDATE);
    if (event == NULL)
        return;
    event->changed = (uint16_t)changed;
    kst__flow_of(t, slot, &event->about.flow);
}

static void kst__tell_gone(struct kst *t, uint32_t slot, enum kst_cause cause)
{
    struct kst_event *event = kst__untold(t, slot) ? NULL : kst__event(t, KST_EVENT_DESTROY);
    if (event == NULL)
        return;
    event->cause = (uint8_t)cause;
    kst__flow_of(t, slot, &event->about.flow);
}

static void kst__tell_expectation(struct kst *t, enum kst_event_type type, uint32_t place)
{
    struct kst_event *event = kst__event(t, type);
    if (event != NULL)
        kst__expectation_of(t, place, &event->about.expectation);
}

/* Tells once that the table is nearly full, and once that it no longer is. */
static void kst__tell_pressure(struct kst *t)
{
    const uint64_t hundredfold = (uint64_t)t->count * 100, max = t->set[KST__SET_MAX];
    const bool high = hundredfold >= max * t->set[KST__SET_PRESSURE_HIGH];
    const bool low = hundredfold < max * t->set[KST__SET_PRESSURE_LOW];
    if (t->pressed ? high || !low : !high)
        return;
    t->pressed = !t->pressed;
    struct kst_event *event = kst__event(t, t->pressed ? KST_EVENT_PRESSURE : KST_EVENT_RELIEF);
    if (event != NULL)
        event->about.count = t->count;
}

#endif
/* ======== core/expect.h ================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/expect.h - connections that others foretell.
 *
 * An expectation lies in a bucket by where it is expected to go, the newest first, and in the list
 * of its master. Looked at only when a connection begins, and then one bucket of at most
 * KST_EXPECT_CHAIN_MAX. What is expired, or has an expired master, is not found. */
#ifndef KST_EXPECT_H
#define KST_EXPECT_H


static uint32_t kst__expect_buckets(uint32_t max)
{
    return kst__power_of_two(max);
}

static uint64_t kst__expect_places_at(uint32_t max)
{
    return kst__aligned(sizeof(struct kst__expectations) +
                        (uint64_t)kst__expect_buckets(max) * sizeof(uint32_t));
}

static uint64_t kst__expect_bytes(uint32_t max)
{
    return kst__expect_places_at(max) + (uint64_t)max * sizeof(struct kst__expected);
}

KST_INLINE uint32_t *kst__expect_buckets_of(const struct kst *t)
{
    return (uint32_t *)(kst__expectations_of(t) + 1);
}

static void kst__expect_init(struct kst *t)
{
    struct kst__expectations *all = kst__expectations_of(t);
    const uint32_t serial = all->serial; /* of a table that is emptied: ids must not come again */
    memset(all, 0, sizeof *all);
    all->serial = serial;
    all->places_at = kst__expect_places_at(t->expectations_max);
    all->buckets = kst__expect_buckets(t->expectations_max);
    all->free = KST__NONE;
    memset(kst__expect_buckets_of(t), 0xff, all->buckets * sizeof(uint32_t)); /* KST__NONE */
}

/* The bucket of all that goes to this place, from wherever. */
static uint32_t *kst__expect_bucket(const struct kst *t, const struct kst_tuple *tuple)
{
    const uint64_t words[3] = {kst__le64(tuple->dst), kst__le64(tuple->dst + 8),
                               (uint64_t)tuple->dst_port << 32 | (uint64_t)tuple->zone << 16 |
                                   (uint64_t)tuple->family << 8 | tuple->protocol};
    const uint64_t hash = kst__siphash(t->seed, words, 3, 1, 3);
    return &kst__expect_buckets_of(t)[hash & (kst__expectations_of(t)->buckets - 1)];
}

/* Whether a packet with this tuple may be the one; `loose`, KST_EXPECT_ANY_..., is what does not
 * count. */
static bool kst__expect_meets(const struct kst_tuple *a, const struct kst_tuple *b, uint32_t loose)
{
    return memcmp(a->dst, b->dst, sizeof a->dst) == 0 && a->dst_port == b->dst_port &&
           a->zone == b->zone && a->family == b->family && a->protocol == b->protocol &&
           ((loose & KST_EXPECT_ANY_SRC) || memcmp(a->src, b->src, sizeof a->src) == 0) &&
           ((loose & KST_EXPECT_ANY_SRC_PORT) || a->src_port == b->src_port);
}

/* What expects this packet, KST__NONE if nothing does. */
static uint32_t kst__expect_find(const struct kst *t, const struct kst_tuple *tuple)
{
    for (uint32_t place = *kst__expect_bucket(t, tuple); place != KST__NONE;) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if (!(x->flags & (KST_EXPECT_INACTIVE | KST__EXPECT_KEY)) && x->expires_ms > t->now_ms &&
            !kst__expired(t, x->master) && kst__expect_meets(&x->tuple, tuple, x->flags))
            return place;
        place = x->older;
    }
    return KST__NONE;
}

/* Takes out what is not armed any more. */
static void kst__expect_unlink(struct kst *t, uint32_t place)
{
    struct kst__expectations *all = kst__expectations_of(t);
    struct kst__expected *x = kst__expected_at(t, place);
    struct kst__help *help = kst__help_at(t, x->master);
    if (x->flags & KST__EXPECT_KEY) {
        all->keys--;
    } else {
        kst__tell_expectation(t, KST_EVENT_EXPECT_DESTROY, place);
        help->expecting[x->class_]--;
        all->count--;
        t->stats.expect_delete++;
    }
    if (x->newer == KST__NONE)
        *kst__expect_bucket(t, &x->tuple) = x->older;
    else
        kst__expected_at(t, x->newer)->older = x->older;
    if (x->older != KST__NONE)
        kst__expected_at(t, x->older)->newer = x->newer;
    if (x->own_newer == KST__NONE)
        help->newest = x->own_older;
    else
        kst__expected_at(t, x->own_newer)->own_older = x->own_older;
    if (x->own_older != KST__NONE)
        kst__expected_at(t, x->own_older)->own_newer = x->own_newer;
    x->serial = 0;
    x->older = all->free;
    all->free = place;
}

static void kst__expect_remove(struct kst *t, uint32_t place)
{
    kst__timer_ops(t)->disarm(kst__timer(t), kst__slots(t) + place);
    kst__expect_unlink(t, place);
}

/* Puts an expectation or a key where it belongs: there is a free place. */
static uint32_t kst__expect_link(struct kst *t, const struct kst__expected *is)
{
    struct kst__expectations *all = kst__expectations_of(t);
    struct kst__help *help = kst__help_at(t, is->master);
    uint32_t *bucket = kst__expect_bucket(t, &is->tuple);
    const uint32_t place = all->free != KST__NONE ? all->free : all->used++;
    struct kst__expected *x = kst__expected_at(t, place);
    if (place == all->free)
        all->free = x->older;
    *x = *is;
    all->serial += all->serial == UINT32_MAX ? 2 : 1; /* 0 says that the place is free */
    x->serial = all->serial;
    x->newer = x->own_newer = KST__NONE;
    x->older = *bucket;
    x->own_older = help->newest;
    if (x->older != KST__NONE)
        kst__expected_at(t, x->older)->newer = place;
    if (x->own_older != KST__NONE)
        kst__expected_at(t, x->own_older)->own_newer = place;
    *bucket = help->newest = place;
    kst__timer_ops(t)->arm(kst__timer(t), kst__slots(t) + place, x->expires_ms);
    return place;
}

KST_INLINE bool kst__expect_room(const struct kst *t)
{
    const struct kst__expectations *all = kst__expectations_of(t);
    return all->count + all->keys < t->expectations_max;
}

/* The oldest of a class of a master, that has one. */
static uint32_t kst__expect_oldest(const struct kst *t, uint32_t master, uint8_t class_)
{
    uint32_t oldest = KST__NONE;
    for (uint32_t place = kst__help_at(t, master)->newest; place != KST__NONE;
         place = kst__expected_at(t, place)->own_older)
        if (kst__expected_at(t, place)->class_ == class_ &&
            !(kst__expected_at(t, place)->flags & KST__EXPECT_KEY))
            oldest = place;
    return oldest;
}

/* Notes an expectation, of which at most `class_max` of its class may be its master's. What
 * would take the same packets must not be there; the same of the same master is replaced. */
static enum kst_error kst__expect_insert(struct kst *t, const struct kst__expected *is,
                                         uint32_t class_max)
{
    const uint32_t any = KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT;
    uint32_t met = 0;
    for (uint32_t place = *kst__expect_bucket(t, &is->tuple), older; place != KST__NONE;
         place = older) {
        const struct kst__expected *x = kst__expected_at(t, place);
        older = x->older;
        met++;
        if (x->flags & KST__EXPECT_KEY)
            continue;
        if (x->expires_ms <= t->now_ms || kst__expired(t, x->master)) { /* it only takes room */
            kst__expect_remove(t, place);
            met--;
            continue;
        }
        if (kst__tuple_same(&x->tuple, &is->tuple) && (x->flags & any) == (is->flags & any) &&
            (x->master == is->master || (is->flags & KST_EXPECT_ANY_MASTER))) {
            if (x->class_ != is->class_ || x->master != is->master)
                return KST_ERROR_EXPECT_EXISTS;
            kst__expect_remove(t, place);
            met--;
            break;
        }
        if (kst__expect_meets(&x->tuple, &is->tuple, (x->flags | is->flags) & any))
            return KST_ERROR_EXPECT_BUSY;
    }
    if (met >= KST_EXPECT_CHAIN_MAX)
        return KST_ERROR_EXPECT_FULL;
    struct kst__help *help = kst__help_at(t, is->master);
    if (help->expecting[is->class_] >= class_max)
        kst__expect_remove(t, kst__expect_oldest(t, is->master, is->class_));
    if (kst__expectations_of(t)->count >= t->set[KST__SET_EXPECT_MAX] || !kst__expect_room(t))
        return KST_ERROR_EXPECT_FULL;
    const uint32_t place = kst__expect_link(t, is);
    help->expecting[is->class_]++;
    kst__expectations_of(t)->count++;
    t->stats.expect_create++;
    kst__tell_expectation(t, KST_EVENT_EXPECT_NEW, place);
    return KST_ERROR_OK;
}

/* ---- keys: GRE version 1 names only the receiver's call; what the sender's is, PPTP told before ---- */

/* Completes the tuple of a GRE packet that names a call. If two sessions have told of it, the
 * first of them counts. */
static void kst__key_complete(const struct kst *t, struct kst_tuple *tuple)
{
    struct kst_tuple anywhere = *tuple;
    anywhere.zone = 0;
    if (t->expect_at == 0 || kst__expectations_of(t)->keys == 0)
        return;
    for (uint32_t place = *kst__expect_bucket(t, &anywhere); place != KST__NONE;) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if ((x->flags & KST__EXPECT_KEY) && !kst__expired(t, x->master) &&
            kst__expect_meets(&x->tuple, &anywhere, KST_EXPECT_ANY_SRC_PORT))
            tuple->src_port = x->tuple.src_port;
        place = x->older;
    }
}

/* What a master expects with this tuple, KST__NONE if nothing. */
static uint32_t kst__expect_own(const struct kst *t, uint32_t slot, const struct kst_tuple *tuple)
{
    uint32_t place = kst__help_at(t, slot)->newest;
    while (place != KST__NONE && ((kst__expected_at(t, place)->flags & KST__EXPECT_KEY) ||
                                  !kst__tuple_same(&kst__expected_at(t, place)->tuple, tuple)))
        place = kst__expected_at(t, place)->own_older;
    return place;
}

/* How many lie in the bucket. */
static uint32_t kst__expect_neighbours(const struct kst *t, const struct kst_tuple *tuple)
{
    uint32_t count = 0;
    for (uint32_t place = *kst__expect_bucket(t, tuple); place != KST__NONE;
         place = kst__expected_at(t, place)->older)
        count++;
    return count;
}

/* Makes a call's key known; false if there is no room. */
static bool kst__key_insert(struct kst *t, uint32_t master,
                            const struct kst_tuple *tuple)
{
    struct kst__expected key;
    memset(&key, 0, sizeof key);
    key.tuple = *tuple;
    key.tuple.zone = 0; /* Linux knows calls by their ends alone */
    key.expires_ms = KST__NEVER;
    key.master = master;
    key.flags = KST__EXPECT_KEY;
    if (!kst__expect_room(t) || kst__expect_neighbours(t, &key.tuple) >= KST_EXPECT_CHAIN_MAX)
        return false;
    kst__expect_link(t, &key);
    kst__expectations_of(t)->keys++;
    return true;
}

/* Forgets a connection's keys. */
static void kst__keys_remove(struct kst *t, uint32_t slot)
{
    for (uint32_t place = kst__help_at(t, slot)->newest, next; place != KST__NONE; place = next) {
        next = kst__expected_at(t, place)->own_older;
        if (kst__expected_at(t, place)->flags & KST__EXPECT_KEY)
            kst__expect_remove(t, place);
    }
}

/* The tuple of a call's packets in one direction: they carry the identifier that the receiver
 * gave it. */
static void kst__call_tuple(const struct kst *t, uint32_t slot, uint32_t direction,
                            struct kst_tuple *tuple)
{
    const uint16_t *call = kst__help_at(t, slot)->call;
    const struct kst_tuple original = kst__entry_at(t, slot)->tuple, reply = kst__reply_of(t, slot);
    *tuple = direction == KST_ORIGINAL ? original : reply;
    tuple->zone = original.zone != 0 ? original.zone : reply.zone; /* be it of one direction */
    tuple->protocol = KST__GRE;
    tuple->src_port = call[direction];
    tuple->dst_port = call[!direction];
}

/* Forgets what a connection has come to expect since the last of all expectations had this serial number. */
static void kst__expect_withdraw(struct kst *t, uint32_t slot, uint32_t serial)
{
    const struct kst__help *help = kst__help_at(t, slot);
    while (help->newest != KST__NONE &&
           kst__after(kst__expected_at(t, help->newest)->serial, serial))
        kst__expect_remove(t, help->newest);
}

/* ---- checking ---- */

static const char *kst__expect_check(const struct kst *t)
{
    const struct kst__expectations *all = kst__expectations_of(t);
    uint32_t live = 0, keys = 0, in_buckets = 0, spare = 0;
    if (all->used > t->expectations_max)
        return "expectation: more places in use than there are";
    for (uint32_t place = all->free; place != KST__NONE; place = kst__expected_at(t, place)->older)
        if (place >= all->used || kst__expected_at(t, place)->serial != 0 || ++spare > all->used)
            return "expectation: the free list leads astray";
    for (uint32_t place = 0; place < all->used; place++) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if (x->serial == 0)
            continue;
        live++;
        keys += (x->flags & KST__EXPECT_KEY) != 0;
        if (!kst__live(t, x->master) ||
            !(kst__entry_at(t, x->master)->kind & KST__KIND_HELP))
            return "expectation: without a master";
    }
    for (uint32_t i = 0; i < all->buckets; i++) {
        uint32_t newer = KST__NONE;
        for (uint32_t place = kst__expect_buckets_of(t)[i]; place != KST__NONE;
             place = kst__expected_at(t, place)->older) {
            if (place >= all->used || kst__expected_at(t, place)->newer != newer ||
                kst__expected_at(t, place)->serial == 0 || ++in_buckets > live ||
                kst__expect_bucket(t, &kst__expected_at(t, place)->tuple) !=
                    &kst__expect_buckets_of(t)[i])
                return "expectation: a bucket leads astray";
            newer = place;
        }
    }
    if (live != in_buckets || live + spare != all->used || keys != all->keys ||
        live - keys != all->count)
        return "expectation: one is lost";
    if (t->stats.expect_create - t->stats.expect_delete != all->count)
        return "expectation: who came and who went does not make who is there";
    return NULL;
}

/* The expectations of one entry. */
static const char *kst__expect_check_own(const struct kst *t, uint32_t slot)
{
    const struct kst__help *help = kst__help_at(t, slot);
    uint32_t expecting[KST_EXPECT_CLASSES] = {0}, newer = KST__NONE, steps = 0;
    for (uint32_t place = help->newest; place != KST__NONE;
         place = kst__expected_at(t, place)->own_older) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if (place >= kst__expectations_of(t)->used || ++steps > t->expectations_max ||
            x->serial == 0 || x->master != slot || x->own_newer != newer)
            return "expectation: a master's list leads astray";
        expecting[x->class_] += !(x->flags & KST__EXPECT_KEY);
        newer = place;
    }
    for (uint32_t i = 0; i < KST_EXPECT_CLASSES; i++)
        if (expecting[i] != help->expecting[i])
            return "expectation: a master has counted wrong";
    return NULL;
}

#endif
/* ======== core/limit.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/limit.h - who has how many: a tally for each source and each zone that has a connection, in a
 * hash table of its own behind the columns. Under KST_WITH_LIMITS alone.
 *
 * A source is the network of an original source address (config.source_prefix) in its zone; the tally
 * of a zone has no family. Counting costs one walk of a chain, which a newcomer finds at most
 * KST_CHAIN_MAX long, or is refused. */
#ifndef KST_LIMIT_H
#define KST_LIMIT_H


KST_INLINE struct kst__tallies *kst__tallies_of(const struct kst *t)
{
    return (struct kst__tallies *)kst__at(t, t->tallies_at);
}

KST_INLINE uint32_t *kst__tally_bucket(const struct kst *t, uint32_t number)
{
    return (uint32_t *)(kst__tallies_of(t) + 1) + number;
}

KST_INLINE struct kst__tally *kst__tally_at(const struct kst *t, uint32_t place)
{
    return (struct kst__tally *)(kst__tally_bucket(t, 0) + kst__tallies_of(t)->buckets) + place;
}

/* Each connection has two, at most, that nobody shares. */
static uint32_t kst__tally_buckets(uint32_t slots)
{
    uint32_t buckets = 1;
    while (buckets < 2 * slots)
        buckets *= 2;
    return buckets;
}

static uint64_t kst__tallies_bytes(uint32_t slots)
{
    return sizeof(struct kst__tallies) + kst__tally_buckets(slots) * (uint64_t)sizeof(uint32_t) +
           2 * (uint64_t)slots * sizeof(struct kst__tally);
}

static void kst__tallies_init(struct kst *t)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    tallies->buckets = kst__tally_buckets(kst__slots(t));
    tallies->used = 0;
    tallies->free = KST__NONE;
    memset(kst__tally_bucket(t, 0), 0xff, tallies->buckets * sizeof(uint32_t)); /* KST__NONE */
}

/* The tally that a connection counts in, empty: its source's, or its zone's. Returns the bucket. */
static uint32_t *kst__tally_of(const struct kst *t, const struct kst_tuple *tuple, bool source,
                               struct kst__tally *tally)
{
    memset(tally, 0, sizeof *tally);
    tally->zone = tuple->zone;
    if (source) {
        const uint32_t bits = t->source_prefix[tuple->family == KST_IPV6];
        tally->family = tuple->family;
        memcpy(tally->address, tuple->src, (bits + 7) / 8);
        if (bits % 8 != 0)
            tally->address[bits / 8] &= (uint8_t)(0xff << (8 - bits % 8));
    }
    const uint64_t words[2] = {kst__be64(tally->address), kst__be64(tally->address + 8)};
    const uint64_t hash = kst__hash(t->seed, words, 2,
                                    UINT64_C(19) << 56 | (uint64_t)tally->family << 16 | tally->zone);
    return kst__tally_bucket(t, (uint32_t)hash & (kst__tallies_of(t)->buckets - 1));
}

/* The link, in a bucket or in a tally, that leads to one like this; to KST__NONE if there is none.
 * Adds the steps it took. */
static uint32_t *kst__tally_find(const struct kst *t, uint32_t *link, const struct kst__tally *like,
                                 uint32_t *steps)
{
    for (; *link != KST__NONE; link = &kst__tally_at(t, *link)->next, *steps += 1)
        if (memcmp(kst__tally_at(t, *link), like, offsetof(struct kst__tally, count)) == 0)
            break;
    return link;
}

/* How many connections a tuple's source, or its zone, has; and the length of the chain. */
static uint32_t kst__tallied(const struct kst *t, const struct kst_tuple *tuple, bool source,
                           uint32_t *steps)
{
    struct kst__tally like;
    uint32_t *bucket = kst__tally_of(t, tuple, source, &like);
    const uint32_t *link = kst__tally_find(t, bucket, &like, steps);
    return *link != KST__NONE ? kst__tally_at(t, *link)->count : 0;
}

/* What a newcomer with this tuple is refused for, or NONE. */
static uint16_t kst__over_limit(const struct kst *t, const struct kst_tuple *tuple)
{
    uint32_t steps = 0;
    const uint32_t source_max = t->set[KST__SET_SOURCE_MAX], zone_max = t->set[KST__SET_ZONE_MAX];
    if (kst__tallied(t, tuple, true, &steps) >= source_max && source_max != 0)
        return KST_REASON_SOURCE_LIMIT;
    if (kst__tallied(t, tuple, false, &steps) >= zone_max && zone_max != 0)
        return KST_REASON_ZONE_LIMIT;
    return steps < KST_CHAIN_MAX ? KST_REASON_NONE : KST_REASON_CHAIN_TOO_LONG;
}

static void kst__tally_add(struct kst *t, const struct kst_tuple *tuple, bool source)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    struct kst__tally like;
    uint32_t steps = 0;
    uint32_t *bucket = kst__tally_of(t, tuple, source, &like);
    uint32_t place = *kst__tally_find(t, bucket, &like, &steps);
    if (place == KST__NONE) {
        place = tallies->free;
        if (place != KST__NONE)
            tallies->free = kst__tally_at(t, place)->next;
        else
            place = tallies->used++;
        like.next = *bucket;
        *kst__tally_at(t, place) = like;
        *bucket = place;
    }
    kst__tally_at(t, place)->count++;
}

static void kst__tally_drop(struct kst *t, const struct kst_tuple *tuple, bool source)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    struct kst__tally like;
    uint32_t steps = 0;
    uint32_t *link = kst__tally_find(t, kst__tally_of(t, tuple, source, &like), &like, &steps);
    const uint32_t place = *link;
    KST_ASSERT(place != KST__NONE);
    struct kst__tally *tally = kst__tally_at(t, place);
    if (--tally->count > 0)
        return;
    *link = tally->next;
    tally->next = tallies->free;
    tallies->free = place;
}

/* Everything that is counted, counted again: the sum over all tallies of a kind is all connections. */
static const char *kst__tallies_check(const struct kst *t)
{
    const struct kst__tallies *tallies = kst__tallies_of(t);
    uint64_t connections = 0, places = 0;
    if (tallies->used > 2 * (uint64_t)kst__slots(t))
        return "limit: more tallies than there may be";
    for (uint32_t i = 0; i < tallies->buckets; i++)
        for (uint32_t place = *kst__tally_bucket(t, i); place != KST__NONE;
             place = kst__tally_at(t, place)->next) {
            if (place >= tallies->used || ++places > tallies->used)
                return "limit: a chain leads astray";
            if (kst__tally_at(t, place)->count == 0)
                return "limit: a tally of nothing";
            connections += kst__tally_at(t, place)->count;
        }
    for (uint32_t place = tallies->free; place != KST__NONE; place = kst__tally_at(t, place)->next)
        if (place >= tallies->used || ++places > tallies->used)
            return "limit: the free list leads astray";
    if (places != tallies->used)
        return "limit: a tally is lost";
    return connections == 2 * (uint64_t)t->count ? NULL : "limit: a connection is in none";
}

#endif
/* ======== core/defrag.h ================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/defrag.h - fragments in, whole datagrams out: without the first fragment nobody knows the
 * ports of the others, so Linux reassembles before it tracks, and so do we.
 *
 * Held bytes lie in cells of 256, the fragments of a datagram in the order of their offsets. What
 * lies wholly inside what is there is a copy and forgotten; what overlaps it in part is an attack
 * and takes the whole datagram with it (RFC 5722, in both families, as Linux has it). A datagram
 * that is not complete in time is dropped. When the cells are used up, newcomers are refused: what
 * an attacker can pin is what config.reassembly_bytes says, for as long as the timeout says.
 *
 *     struct kst__defrag | buckets | queues | cells | the datagram that was completed last */
#ifndef KST_DEFRAG_H
#define KST_DEFRAG_H


enum { KST__CELL_DATA = 243, KST__DATAGRAM_MAX = 65535 + 40 };

struct kst__cell {
    uint32_t next;   /* cell of the same fragment; of a free one, the next free */
    uint32_t after;  /* in a fragment's first cell: the first of the fragment behind it */
    uint16_t at;     /* likewise: its offset in the datagram, and its length, */
    uint16_t length;
    bool joined;     /* and whether it came right behind the one before it, as the last so far */
    uint8_t data[KST__CELL_DATA];
};

struct kst__datagram_key { /* RFC 791, RFC 8200 §4.5; no padding: compared as a whole */
    uint8_t src[16], dst[16];
    uint32_t id;
    uint16_t zone;
    uint8_t family;
    uint8_t protocol; /* IPv4 alone */
};

struct kst__queue {
    struct kst__datagram_key key;
    uint64_t expires_ms;
    uint64_t hash;
    uint32_t next;           /* in the bucket; of a free one, the next free */
    uint32_t older, newer;   /* in the list of its family */
    uint32_t first, last;    /* fragments */
    uint32_t header;         /* what stands before the data, of the fragment at offset 0 */
    uint32_t held;           /* bytes of data */
    uint32_t end;            /* where the data ends, as far as is known */
    uint32_t header_bytes;
    uint16_t fragments;
    uint8_t next_header;     /* IPv6: what the fragment header of the first says */
    uint8_t checksum;        /* enum kst_checksum: the least trusting of all */
    bool end_seen;           /* `end` is final */
};

struct kst__defrag {
    uint64_t queues_at, cells_at, datagram_at; /* offsets */
    uint32_t buckets;
    uint32_t queues, queues_used, queues_free, queues_count;
    uint32_t cells, cells_used, cells_free, cells_count; /* count: in use now */
    uint32_t oldest[2], newest[2];                       /* queues, IPv4 and IPv6 */
};

/* One fragment, as its headers describe it. */
struct kst__fragment {
    struct kst__datagram_key key;
    const uint8_t *header, *data;
    uint32_t header_bytes, bytes, at;
    uint8_t next_header, checksum;
    bool more;
    bool headless, uneven; /* IPv6: cut inside its headers, or not at 8 bytes: Linux lets it through */
};

KST_INLINE struct kst__defrag *kst__defrag_at(const struct kst *t)
{
    return (struct kst__defrag *)kst__at(t, t->defrag_at);
}

KST_INLINE uint32_t *kst__bucket(const struct kst__defrag *d, uint64_t hash)
{
    return (uint32_t *)(uintptr_t)(d + 1) + (hash & (d->buckets - 1));
}

KST_INLINE struct kst__queue *kst__queue_at(const struct kst__defrag *d, uint32_t number)
{
    return (struct kst__queue *)((uint8_t *)(uintptr_t)d + d->queues_at) + number;
}

KST_INLINE struct kst__cell *kst__cell_at(const struct kst__defrag *d, uint32_t number)
{
    return (struct kst__cell *)((uint8_t *)(uintptr_t)d + d->cells_at) + number;
}

/* Sizes and offsets for so much memory; returns the bytes of all. */
static uint64_t kst__defrag_lay_out(struct kst__defrag *d, uint32_t reassembly_bytes)
{
    memset(d, 0, sizeof *d);
    d->cells = reassembly_bytes / (uint32_t)sizeof(struct kst__cell);
    d->queues = d->cells / 2;
    d->buckets = kst__power_of_two(d->queues);
    d->queues_at = kst__aligned(sizeof *d + (uint64_t)d->buckets * sizeof(uint32_t));
    d->cells_at = kst__aligned(d->queues_at + (uint64_t)d->queues * sizeof(struct kst__queue));
    d->datagram_at = d->cells_at + (uint64_t)d->cells * sizeof(struct kst__cell);
    return d->datagram_at + KST__DATAGRAM_MAX;
}

static void kst__defrag_init(struct kst *t, uint32_t reassembly_bytes)
{
    struct kst__defrag *d = kst__defrag_at(t);
    kst__defrag_lay_out(d, reassembly_bytes);
    d->queues_free = d->cells_free = KST__NONE;
    memset(d->oldest, 0xff, sizeof d->oldest); /* KST__NONE */
    memset(d->newest, 0xff, sizeof d->newest);
    memset(d + 1, 0xff, (size_t)d->buckets * sizeof(uint32_t));
}

/* ---- cells ---- */

KST_INLINE uint32_t kst__cells_for(uint32_t bytes)
{
    return (bytes + KST__CELL_DATA - 1) / KST__CELL_DATA;
}

/* Copies bytes into cells, of which there are enough; returns the first. */
static uint32_t kst__cells_fill(struct kst__defrag *d, const uint8_t *data, uint32_t bytes)
{
    uint32_t first = KST__NONE, last = KST__NONE;
    while (bytes > 0) {
        const uint32_t number = d->cells_free != KST__NONE ? d->cells_free : d->cells_used;
        const uint32_t part = bytes < KST__CELL_DATA ? bytes : (uint32_t)KST__CELL_DATA;
        struct kst__cell *cell = kst__cell_at(d, number);
        KST_ASSERT(d->cells_count < d->cells);
        if (number == d->cells_used)
            d->cells_used++;
        else
            d->cells_free = cell->next;
        d->cells_count++;
        memcpy(cell->data, data, part);
        cell->next = KST__NONE;
        if (last == KST__NONE)
            first = number;
        else
            kst__cell_at(d, last)->next = number;
        last = number;
        data += part;
        bytes -= part;
    }
    return first;
}

static void kst__cells_read(const struct kst__defrag *d, uint32_t number, uint32_t bytes, uint8_t *to)
{
    while (bytes > 0) {
        const struct kst__cell *cell = kst__cell_at(d, number);
        const uint32_t part = bytes < KST__CELL_DATA ? bytes : (uint32_t)KST__CELL_DATA;
        memcpy(to, cell->data, part);
        to += part;
        bytes -= part;
        number = cell->next;
    }
}

static void kst__cells_free(struct kst__defrag *d, uint32_t number)
{
    while (number != KST__NONE) {
        struct kst__cell *cell = kst__cell_at(d, number);
        const uint32_t next = cell->next;
        cell->next = d->cells_free;
        d->cells_free = number;
        d->cells_count--;
        number = next;
    }
}

/* ---- queues: one a datagram ---- */

KST_INLINE uint32_t kst__queue_list(const struct kst__queue *queue)
{
    return queue->key.family == KST_IPV6;
}

static uint64_t kst__datagram_hash(const struct kst *t, const struct kst__datagram_key *key)
{
    uint64_t words[5];
    memcpy(words, key, sizeof words);
    return kst__siphash(t->seed, words, 5, 1, 3);
}

typedef char kst__datagram_key_has_no_padding[sizeof(struct kst__datagram_key) == 40 ? 1 : -1];

static uint32_t kst__queue_find(const struct kst__defrag *d, const struct kst__datagram_key *key,
                                uint64_t hash)
{
    uint32_t number = *kst__bucket(d, hash);
    while (number != KST__NONE) {
        const struct kst__queue *queue = kst__queue_at(d, number);
        if (queue->hash == hash && memcmp(&queue->key, key, sizeof *key) == 0)
            break;
        number = queue->next;
    }
    return number;
}

static uint32_t kst__queue_new(struct kst *t, const struct kst__datagram_key *key, uint64_t hash)
{
    struct kst__defrag *d = kst__defrag_at(t);
    const uint32_t number = d->queues_free != KST__NONE ? d->queues_free : d->queues_used;
    struct kst__queue *queue = kst__queue_at(d, number);
    KST_ASSERT(d->queues_count < d->queues);
    if (number == d->queues_used)
        d->queues_used++;
    else
        d->queues_free = queue->next;
    d->queues_count++;

    memset(queue, 0, sizeof *queue);
    queue->key = *key;
    queue->hash = hash;
    queue->first = queue->last = queue->header = queue->newer = KST__NONE;
    const uint32_t list = kst__queue_list(queue);
    queue->expires_ms =
        kst__due_ms(t, t->set[list ? KST__SET_FRAG6_TIMEOUT : KST__SET_FRAG4_TIMEOUT]);
    queue->next = *kst__bucket(d, hash);
    *kst__bucket(d, hash) = number;
    queue->older = d->newest[list];
    if (queue->older == KST__NONE)
        d->oldest[list] = number;
    else
        kst__queue_at(d, queue->older)->newer = number;
    d->newest[list] = number;
    return number;
}

static void kst__queue_drop(struct kst__defrag *d, uint32_t number)
{
    struct kst__queue *queue = kst__queue_at(d, number);
    const uint32_t list = kst__queue_list(queue);
    uint32_t *at = kst__bucket(d, queue->hash);
    while (*at != number)
        at = &kst__queue_at(d, *at)->next;
    *at = queue->next;
    if (queue->older == KST__NONE)
        d->oldest[list] = queue->newer;
    else
        kst__queue_at(d, queue->older)->newer = queue->newer;
    if (queue->newer == KST__NONE)
        d->newest[list] = queue->older;
    else
        kst__queue_at(d, queue->newer)->older = queue->older;

    kst__cells_free(d, queue->header);
    for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
        const uint32_t after = kst__cell_at(d, fragment)->after;
        kst__cells_free(d, fragment);
        fragment = after;
    }
    queue->next = d->queues_free;
    d->queues_free = number;
    d->queues_count--;
}

/* After a timeout was lowered nobody may stay longer; the lists keep their order. */
static void kst__defrag_shorten(struct kst *t)
{
    struct kst__defrag *d = kst__defrag_at(t);
    for (uint32_t list = 0; list < 2; list++) {
        const uint64_t latest_ms =
            kst__due_ms(t, t->set[list ? KST__SET_FRAG6_TIMEOUT : KST__SET_FRAG4_TIMEOUT]);
        for (uint32_t n = d->oldest[list]; n != KST__NONE; n = kst__queue_at(d, n)->newer)
            if (kst__queue_at(d, n)->expires_ms > latest_ms)
                kst__queue_at(d, n)->expires_ms = latest_ms;
    }
}

/* Drops what was not completed in time; one step of `work` each. */
static void kst__defrag_expire(struct kst *t, uint32_t *work)
{
    struct kst__defrag *d = kst__defrag_at(t);
    for (uint32_t list = 0; list < 2; list++)
        while (*work > 0 && d->oldest[list] != KST__NONE &&
               kst__queue_at(d, d->oldest[list])->expires_ms <= t->now_ms) {
            *work -= 1;
            t->stats.reassembly_expired++;
            kst__queue_drop(d, d->oldest[list]);
        }
}

/* ---- fragments ---- */

/* Whether the first fragment of an IPv6 datagram lacks headers that it must have (RFC 7112). */
static bool kst__headers_cut(const struct kst__ip *ip, uint32_t ip_bytes)
{
    if (ip->reason == KST_REASON_FRAGMENT) /* a fragment of a fragment: the join will tell */
        return false;
    const uint32_t needed = ip->protocol == KST__TCP                                ? 20
                            : ip->protocol == KST__UDP || ip->protocol == KST__ICMPV6 ? 8
                                                                                      : 1;
    return ip->reason != KST_REASON_NONE || ip_bytes - ip->l4_at < needed;
}

/* Describes the fragment that a packet is; all of it is there. */
static void kst__fragment_read(const struct kst_packet *packet, const struct kst__parsed *p,
                               struct kst__fragment *f)
{
    const uint8_t *data = packet->data;
    const bool v4 = data[0] >> 4 == 4;
    const struct kst__ip ip = v4 ? kst__ip4(data, p->ip_bytes) : kst__ip6(data, p->ip_bytes);
    const size_t address_bytes = v4 ? 4 : 16;
    memset(f, 0, sizeof *f);
    memcpy(f->key.src, ip.addresses, address_bytes);
    memcpy(f->key.dst, ip.addresses + address_bytes, address_bytes);
    f->key.zone = packet->zone;
    f->key.family = ip.family;
    f->checksum = p->checksum;
    f->at = ip.fragment_at;
    f->more = ip.fragment_more;
    f->header = data;
    if (v4) {
        f->key.protocol = ip.protocol;
        f->key.id = kst__be16(data + 4);
        f->header_bytes = ip.l4_at;
        f->data = data + ip.l4_at;
    } else {
        const uint8_t *header = data + ip.fragment_header_at;
        f->key.id = kst__be32(header + 4);
        f->next_header = header[0];
        f->header_bytes = ip.fragment_header_at;
        f->data = header + 8;
    }
    f->bytes = p->ip_bytes - (uint32_t)(f->data - data);
    f->headless = !v4 && f->at == 0 && kst__headers_cut(&ip, p->ip_bytes);
    f->uneven = !v4 && f->more && f->bytes % 8 != 0;
    if (v4 && f->more)
        f->bytes &= ~UINT32_C(7); /* Linux forgets the rest */
}

/* Whether the datagram may have a fragment that ends there: its end is known once the last one was
 * seen, and nothing may lie behind it. */
static bool kst__queue_ends(struct kst__queue *queue, uint32_t end, bool more)
{
    if (more ? queue->end_seen && end > queue->end
             : end < queue->end || (queue->end_seen && end != queue->end))
        return false;
    if (end > queue->end)
        queue->end = end;
    queue->end_seen = queue->end_seen || !more;
    return true;
}

/* Where a fragment belongs: between *before and *after. HELD; COPY if all of it lies in one run,
 * that is fragments which came in order and without holes; OVERLAP if a byte of it is there
 * otherwise. */
static uint8_t kst__queue_place(const struct kst__defrag *d, const struct kst__queue *queue,
                                uint32_t begin, uint32_t end, uint32_t *before, uint32_t *after)
{
    *before = KST__NONE;
    *after = queue->first;
    if (queue->last != KST__NONE) { /* mostly they come in order */
        const struct kst__cell *last = kst__cell_at(d, queue->last);
        if (begin >= (uint32_t)last->at + last->length) {
            *before = queue->last;
            *after = KST__NONE;
        }
    }
    while (*after != KST__NONE) {
        uint32_t run_last = *after;
        const struct kst__cell *cell = kst__cell_at(d, run_last);
        const uint32_t run_begin = cell->at;
        uint32_t run_end = run_begin + cell->length;
        while (cell->after != KST__NONE && kst__cell_at(d, cell->after)->joined) {
            run_last = cell->after;
            cell = kst__cell_at(d, run_last);
            run_end += cell->length;
        }
        if (end <= run_begin)
            break;
        if (begin < run_end)
            return begin >= run_begin && end <= run_end ? KST_REASON_FRAGMENT_COPY
                                                        : KST_REASON_FRAGMENT_OVERLAP;
        *before = run_last;
        *after = cell->after;
    }
    return KST_REASON_FRAGMENT_HELD;
}

/* Keeps a fragment with those of its datagram. HELD or COPY; what else takes the datagram with it,
 * but FULL. */
static uint8_t kst__queue_add(struct kst__defrag *d, struct kst__queue *queue,
                              const struct kst__fragment *f)
{
    const uint32_t header_cells = f->at == 0 ? kst__cells_for(f->header_bytes) : 0;
    uint32_t before, after;
    if (!kst__queue_ends(queue, f->at + f->bytes, f->more))
        return KST_REASON_FRAGMENT_BAD;
    const uint8_t reason = kst__queue_place(d, queue, f->at, f->at + f->bytes, &before, &after);
    if (reason != KST_REASON_FRAGMENT_HELD)
        return reason;
    if (queue->fragments >= KST_FRAGMENTS_MAX)
        return KST_REASON_FRAGMENT_MANY;
    if (kst__cells_for(f->bytes) + header_cells > d->cells - d->cells_count)
        return KST_REASON_FRAGMENT_FULL;

    const uint32_t number = kst__cells_fill(d, f->data, f->bytes);
    struct kst__cell *cell = kst__cell_at(d, number);
    cell->at = (uint16_t)f->at;
    cell->length = (uint16_t)f->bytes;
    cell->after = after;
    cell->joined = after == KST__NONE && before != KST__NONE &&
                   (uint32_t)kst__cell_at(d, before)->at + kst__cell_at(d, before)->length == f->at;
    *(before == KST__NONE ? &queue->first : &kst__cell_at(d, before)->after) = number;
    if (after == KST__NONE)
        queue->last = number;
    if (f->at == 0) {
        queue->header = kst__cells_fill(d, f->header, f->header_bytes);
        queue->header_bytes = f->header_bytes;
        queue->next_header = f->next_header;
    }
    if (queue->fragments++ == 0)
        queue->checksum = f->checksum;
    else if (queue->checksum != f->checksum)
        queue->checksum = queue->checksum == KST_CHECKSUM_BAD || f->checksum == KST_CHECKSUM_BAD
                              ? KST_CHECKSUM_BAD
                              : KST_CHECKSUM_VERIFY;
    queue->held += f->bytes;
    return KST_REASON_FRAGMENT_HELD;
}

/* Writes the datagram out, with a header that tells of no fragments. Returns its length, 0 if that
 * is more than an IP packet can have. */
static uint32_t kst__queue_join(struct kst__defrag *d, const struct kst__queue *queue)
{
    uint8_t *to = (uint8_t *)d + d->datagram_at;
    const uint32_t header = queue->header_bytes, bytes = header + queue->end;
    const bool v4 = queue->key.family == KST_IPV4;
    if (bytes > (v4 ? 65535u : 65535u + 40u))
        return 0;
    kst__cells_read(d, queue->header, header, to);
    for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
        const struct kst__cell *cell = kst__cell_at(d, fragment);
        kst__cells_read(d, fragment, cell->length, to + header + cell->at);
        fragment = cell->after;
    }
    if (v4) {
        to[2] = (uint8_t)(bytes >> 8);
        to[3] = (uint8_t)bytes;
        to[6] = to[7] = to[10] = to[11] = 0;
        uint64_t sum = kst__sum(0, to, header);
        while (sum > UINT16_MAX)
            sum = (sum >> 16) + (sum & UINT16_MAX);
        const uint16_t checksum = (uint16_t)~sum;
        memcpy(to + 10, &checksum, sizeof checksum);
    } else {
        uint32_t names = 6, at = 40; /* the byte that names the fragment header */
        while (at < header) {
            const uint32_t here = at;
            at += kst__ext_bytes(to[names], to[at + 1]);
            names = here;
        }
        to[names] = queue->next_header;
        to[4] = (uint8_t)((bytes - 40) >> 8);
        to[5] = (uint8_t)(bytes - 40);
    }
    return bytes;
}

/* The queue of a datagram that is in time, KST__NONE if there is none. */
static uint32_t kst__queue_current(struct kst *t, const struct kst__datagram_key *key,
                                   uint64_t hash)
{
    struct kst__defrag *d = kst__defrag_at(t);
    const uint32_t number = kst__queue_find(d, key, hash);
    if (number == KST__NONE || kst__queue_at(d, number)->expires_ms > t->now_ms)
        return number;
    t->stats.reassembly_expired++;
    kst__queue_drop(d, number);
    return KST__NONE;
}

/* Where a complete datagram is put together. */
KST_INLINE uint8_t *kst__datagram(const struct kst *t)
{
    struct kst__defrag *d = kst__defrag_at(t);
    return (uint8_t *)d + d->datagram_at;
}

/* Puts a complete datagram in the place of the fragment that `whole` describes. NONE, or BAD if it
 * is too large. */
static uint8_t kst__queue_finish(struct kst *t, const struct kst__queue *queue,
                                 struct kst_packet *whole)
{
    struct kst__defrag *d = kst__defrag_at(t);
    whole->data = kst__datagram(t);
    whole->size = kst__queue_join(d, queue);
    whole->zone = queue->key.zone;
    whole->checksum = queue->checksum;
    if (whole->size == 0)
        return KST_REASON_FRAGMENT_BAD;
    t->stats.reassembled++;
    return KST_REASON_NONE;
}

/* Takes a fragment. NONE if it completes its datagram, which `whole`, a copy of the packet, then
 * describes until the next fragment comes; FRAGMENT if it is to be judged as it is; else what became of
 * it. */
static uint8_t kst__defrag_take(struct kst *t, const struct kst_packet *packet,
                                const struct kst__parsed *p, struct kst_packet *whole)
{
    struct kst__defrag *d = kst__defrag_at(t);
    struct kst__fragment f;
    uint32_t work = KST_COLLECT_MAX;
    kst__defrag_expire(t, &work);
    kst__fragment_read(packet, p, &f);
    if (f.headless)
        return KST_REASON_FRAGMENT;
    const uint64_t hash = kst__datagram_hash(t, &f.key);
    uint32_t number = kst__queue_current(t, &f.key, hash);
    const bool v4 = f.key.family == KST_IPV4;
    if (!v4 && (f.at + f.bytes > 65535 || (f.bytes == 0 && f.more)))
        return KST_REASON_FRAGMENT_BAD; /* of IPv4 the join will tell */
    if (f.uneven || (v4 && f.bytes == 0)) { /* nothing that it could belong to */
        if (number != KST__NONE)
            kst__queue_drop(d, number);
        return f.uneven ? KST_REASON_FRAGMENT : KST_REASON_FRAGMENT_BAD;
    }
    const bool created = number == KST__NONE;
    if (created) {
        if (d->queues_count == d->queues || d->cells_count == d->cells)
            return KST_REASON_FRAGMENT_FULL;
        number = kst__queue_new(t, &f.key, hash);
    }

    struct kst__queue *queue = kst__queue_at(d, number);
    if (f.bytes == 0) { /* IPv6: nothing but the end of a datagram */
        kst__queue_ends(queue, f.at, false);
        return KST_REASON_FRAGMENT_BAD;
    }
    uint8_t reason = kst__queue_add(d, queue, &f);
    const bool complete = reason == KST_REASON_FRAGMENT_HELD && queue->end_seen &&
                          queue->held == queue->end;
    if (complete)
        reason = kst__queue_finish(t, queue, whole);
    /* A bad end costs IPv4 the datagram, IPv6 only the fragment. */
    if (complete || (created && reason != KST_REASON_FRAGMENT_HELD) ||
        reason == KST_REASON_FRAGMENT_OVERLAP || reason == KST_REASON_FRAGMENT_MANY ||
        (reason == KST_REASON_FRAGMENT_BAD && v4))
        kst__queue_drop(d, number);
    return reason;
}

static const char *kst__defrag_check(const struct kst *t)
{
    const struct kst__defrag *d = kst__defrag_at(t);
    uint32_t queues = 0, cells = 0, free_queues = 0, free_cells = 0;
    for (uint32_t list = 0; list < 2; list++) {
        uint32_t older = KST__NONE;
        for (uint32_t number = d->oldest[list]; number != KST__NONE;) {
            const struct kst__queue *queue = kst__queue_at(d, number);
            uint32_t held = 0, fragments = 0, at = 0;
            if (number >= d->queues_used || ++queues > d->queues_count || queue->older != older ||
                kst__queue_list(queue) != list)
                return "reassembly: the list of datagrams leads astray";
            if (older != KST__NONE && queue->expires_ms < kst__queue_at(d, older)->expires_ms)
                return "reassembly: a datagram expires before an older one";
            if (kst__queue_find(d, &queue->key, queue->hash) != number)
                return "reassembly: a datagram is not found";
            for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
                const struct kst__cell *cell = kst__cell_at(d, fragment);
                if (fragment >= d->cells_used || cell->at < at || cell->length == 0 ||
                    ++fragments > queue->fragments)
                    return "reassembly: fragments overlap";
                at = (uint32_t)cell->at + cell->length;
                held += cell->length;
                cells += kst__cells_for(cell->length);
                if (cell->after == KST__NONE && queue->last != fragment)
                    return "reassembly: the last fragment is not the last";
                fragment = cell->after;
            }
            cells += kst__cells_for(queue->header_bytes);
            if (held != queue->held || fragments != queue->fragments || at > queue->end)
                return "reassembly: a datagram's counts are wrong";
            older = number;
            number = queue->newer;
        }
        if (d->newest[list] != older)
            return "reassembly: the list of datagrams has no end";
    }
    for (uint32_t number = d->queues_free; number != KST__NONE;
         number = kst__queue_at(d, number)->next)
        if (number >= d->queues_used || ++free_queues > d->queues_used)
            return "reassembly: the free datagrams lead astray";
    for (uint32_t number = d->cells_free; number != KST__NONE; number = kst__cell_at(d, number)->next)
        if (number >= d->cells_used || ++free_cells > d->cells_used)
            return "reassembly: the free cells lead astray";
    if (queues != d->queues_count || queues + free_queues != d->queues_used ||
        cells != d->cells_count || cells + free_cells != d->cells_used)
        return "reassembly: memory is lost";
    return NULL;
}

#endif
/* ======== core/source.h ================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/source.h - translated connections by who began them, so that one more of the same address
 * and port can look the same to the outside (RFC 4787's endpoint-independent mapping, when
 * possible). Whatever had its source bound is in a list, the newest first; of a list at most
 * KST_NAT_SOURCES_MAX are looked at. */
#ifndef KST_SOURCE_H
#define KST_SOURCE_H


static void kst__sources_init(struct kst *t)
{
    memset(kst__at(t, t->sources_at), 0xff, t->sources * sizeof(uint32_t)); /* KST__NONE */
}

/* The list of all that have the source of this tuple. */
static uint32_t *kst__source_list(const struct kst *t, const struct kst_tuple *tuple)
{
    const uint64_t words[3] = {kst__le64(tuple->src), kst__le64(tuple->src + 8),
                               (uint64_t)tuple->src_port << 32 | (uint64_t)tuple->zone << 16 |
                                   (uint64_t)tuple->family << 8 | tuple->protocol};
    const uint64_t hash = kst__siphash(t->seed, words, 3, 1, 3);
    return (uint32_t *)kst__at(t, t->sources_at) + (hash & (t->sources - 1));
}

static bool kst__source_same(const struct kst_tuple *a, const struct kst_tuple *b)
{
    return memcmp(a->src, b->src, sizeof a->src) == 0 && a->src_port == b->src_port &&
           a->zone == b->zone && a->family == b->family && a->protocol == b->protocol;
}

static void kst__source_join(struct kst *t, uint32_t slot)
{
    struct kst__source *s = kst__source_at(t, slot);
    uint32_t *list = kst__source_list(t, &kst__entry_at(t, slot)->tuple);
    s->newer = KST__NONE;
    s->older = *list;
    if (s->older != KST__NONE)
        kst__source_at(t, s->older)->newer = slot;
    *list = slot;
}

static void kst__source_leave(struct kst *t, uint32_t slot)
{
    const struct kst__source *s = kst__source_at(t, slot);
    if (s->newer == KST__NONE)
        *kst__source_list(t, &kst__entry_at(t, slot)->tuple) = s->older;
    else
        kst__source_at(t, s->newer)->older = s->older;
    if (s->older != KST__NONE)
        kst__source_at(t, s->older)->newer = s->newer;
}

/* NULL, or what is wrong; `bound` entries should be in the lists. */
static const char *kst__source_check(const struct kst *t, uint32_t bound)
{
    uint32_t met = 0;
    for (uint32_t i = 0; i < t->sources; i++) {
        uint32_t *list = (uint32_t *)kst__at(t, t->sources_at) + i, newer = KST__NONE;
        for (uint32_t slot = *list; slot != KST__NONE; slot = kst__source_at(t, slot)->older) {
            if (!kst__live(t, slot) || ++met > bound || kst__source_at(t, slot)->newer != newer ||
                !(kst__entry_at(t, slot)->status & KST_SRC_NAT_DONE) ||
                kst__source_list(t, &kst__entry_at(t, slot)->tuple) != list)
                return "source: a list leads astray";
            newer = slot;
        }
    }
    return met == bound ? NULL : "source: one is in no list";
}

#endif
/* ======== core/table.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/table.h - the life of an entry: confirmed, refreshed, removed; and who goes when it is
 * full. */
#ifndef KST_TABLE_H
#define KST_TABLE_H


/* The class that an entry belongs to by what is known of it now. */
KST_INLINE uint8_t kst__class_of(const struct kst__entry *e)
{
    if (!(e->status & KST_ASSURED))
        return e->status & KST_SEEN_REPLY ? KST_CLASS_REPLIED : KST_CLASS_UNREPLIED;
    const bool tcp = e->tuple.protocol == KST__TCP, sctp = e->tuple.protocol == KST__SCTP;
    const bool closing =
        (tcp && e->state >= KST_TCP_FIN_WAIT && e->state <= KST_TCP_CLOSE) ||
        (sctp && e->state >= KST_SCTP_SHUTDOWN_SENT && e->state <= KST_SCTP_SHUTDOWN_ACK_SENT);
    return closing ? KST_CLASS_CLOSING : KST_CLASS_ASSURED;
}

KST_INLINE void kst__reclass(struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    const uint8_t number = kst__class_of(e);
    if (KST_UNLIKELY((e->kind & KST__KIND_CLASS) != number)) {
        kst__class_leave(t, slot);
        kst__class_join(t, slot, number);
    }
}

/* Gives an entry a new expiry. Its timer moves only if it would come too late. */
KST_INLINE void kst__expire_at(struct kst *t, uint32_t slot,
                               uint64_t expires_ms)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    const bool sooner = expires_ms < e->expires_ms;
    e->expires_ms = expires_ms;
    if (KST_UNLIKELY(sooner && !kst__before(e->armed, kst__beat(expires_ms)))) {
        kst__timer_ops(t)->disarm(kst__timer(t), slot);
        kst__timer_ops(t)->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    }
}

KST_INLINE uint64_t kst__entry_hash(const struct kst *t, uint32_t slot)
{
    return kst__tuple_hash(&kst__entry_at(t, slot)->tuple, t->seed);
}

KST_INLINE uint64_t kst__reply_hash(const struct kst *t, uint32_t slot)
{
    return kst__tuple_hash(kst__reply_tuple(t, slot), t->seed);
}

static void kst__foretells_no_more(struct kst *t, uint32_t slot);

/* Whether an entry has a zone of one direction. */
KST_INLINE bool kst__is_apart(const struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    return (e->kind & KST__KIND_NAT) && kst__reply_tuple(t, slot)->zone != e->tuple.zone;
}

/* Whether the original tuple of an entry has a node of its own. Not if it is what the answers look like, too:
 * of a connection turned round to who began it. Linux takes all its packets for answers. */
KST_INLINE bool kst__has_original_node(const struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    return KST_LIKELY(!(e->kind & KST__KIND_NAT)) || !kst__tuple_same(kst__reply_tuple(t, slot), &e->tuple);
}

/* Takes an entry's nodes out of the index; `hash` is that of its original tuple. */
KST_INLINE void kst__index_out(struct kst *t, uint32_t slot, uint64_t hash)
{
    if (kst__entry_at(t, slot)->kind & KST__KIND_NAT) {
        kst__index_ops(t)->remove(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot));
        if (!kst__has_original_node(t, slot))
            return;
    }
    kst__index_ops(t)->remove(kst__index(t), slot, hash);
}

/* The node that a key finds, KST__NONE if there is none. Where zones of one direction let a tuple be that of one
 * connection and the answer to another: the newer of them, as in Linux, if it has not expired. */
KST_INLINE uint32_t kst__find(const struct kst *t, const struct kst__key *key)
{
    if (KST_LIKELY(t->apart == 0 || key->only != KST_NO_DIRECTION))
        return kst__index_ops(t)->find(kst__index(t), t, key);
    struct kst__key one_way = *key;
    uint32_t node[2];
    for (uint8_t i = 0; i < 2; i++) {
        one_way.only = i;
        node[i] = kst__index_ops(t)->find(kst__index(t), t, &one_way);
    }
    if (node[0] == KST__NONE || node[1] == KST__NONE)
        return node[0] == KST__NONE ? node[1] : node[0];
    const uint32_t slot[2] = {kst__node_slot(t, node[0]), kst__node_slot(t, node[1])};
    if (kst__expired(t, slot[0]) != kst__expired(t, slot[1]))
        return node[kst__expired(t, slot[0])];
    return node[kst__before(kst__entry_at(t, slot[0])->serial, kst__entry_at(t, slot[1])->serial)];
}

/* Of a batch that goes by groups: how many are in one. */
KST_INLINE size_t kst__burst_size(size_t group, size_t count)
{
    const size_t left = count - group * KST_BURST;
    return left < KST_BURST ? left : KST_BURST;
}

/* Starts the lookup of a group's keys; and goes on with it once the index has arrived, to the whole
 * entries or to what a find compares. What is asked for stands in a row, with as little between as can
 * be: so the machine translates its addresses side by side, too. */
KST_INLINE void kst__look_up(const struct kst *t, const struct kst__key *keys, size_t count)
{
    for (size_t i = 0; kst__index_ops(t)->prefetch != NULL && i < count; i++)
        kst__index_ops(t)->prefetch(kst__index(t), keys[i].hash);
}

KST_INLINE void kst__look_closer(const struct kst *t, const struct kst__key *keys, size_t count,
                                 bool whole)
{
    const bool translated = whole && (t->features & KST_WITH_NAT);
    uint32_t nodes[KST_BURST];
    if (kst__index_ops(t)->peek == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        nodes[i] = kst__index_ops(t)->peek(kst__index(t), keys[i].hash);
    for (size_t i = 0; i < count; i++)
        if (nodes[i] != KST__NONE) {
            kst__node_prefetch(t, nodes[i]);
            if (whole)
                KST_PREFETCH(&kst__entry_at(t, kst__node_slot(t, nodes[i]))->proto);
            if (translated) /* what a packet is translated to */
                KST_PREFETCH(kst__reply_tuple(t, kst__node_slot(t, nodes[i])));
        }
}

/* Takes an entry that is not armed out of the rest. */
static void kst__unlink(struct kst *t, uint32_t slot, uint64_t hash, enum kst_cause cause)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_gone(t, slot, cause);
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP))
        kst__foretells_no_more(t, slot);
    if (KST_UNLIKELY(kst__is_apart(t, slot)))
        t->apart--;
    if (KST_UNLIKELY(e->status & KST_SRC_NAT_DONE))
        kst__source_leave(t, slot);
    kst__index_out(t, slot, hash);
    if (KST_UNLIKELY(t->tallies_at != 0)) {
        kst__tally_drop(t, &e->tuple, true);
        kst__tally_drop(t, &e->tuple, false);
    }
    *kst__census(t, e->tuple.protocol, e->state) -= 1;
    kst__class_leave(t, slot);
    kst__slot_give_back(t, slot);
    t->count--;
    t->stats.gone[cause]++;
    if (KST_UNLIKELY(t->pressed))
        kst__tell_pressure(t);
}

static void kst__remove(struct kst *t, uint32_t slot,
                        enum kst_cause cause)
{
    kst__timer_ops(t)->disarm(kst__timer(t), slot);
    kst__unlink(t, slot, kst__entry_hash(t, slot), cause);
}

/* Ends the call that a PPTP session has announced, in one direction: the connection, if it has
 * begun, else the expectation. Whatever has these identifiers is taken for it, as in Linux; but
 * not the newcomer that room is being made for. */
static void kst__call_end(struct kst *t, uint32_t slot,
                          uint32_t direction)
{
    const uint16_t zones[2] = {kst__entry_at(t, slot)->tuple.zone, kst__reply_of(t, slot).zone};
    uint32_t node = KST__NONE;
    struct kst_tuple tuple;
    struct kst__key key;
    kst__call_tuple(t, slot, direction, &tuple);
    const uint32_t place = kst__expect_own(t, slot, &tuple);
    for (uint8_t i = 0; i < 2 && node == KST__NONE; i++) {
        tuple.zone = zones[i];
        kst__key_make(t, &tuple, &key);
        if (zones[0] != zones[1])
            kst__key_only(&key, i);
        node = kst__find(t, &key);
    }
    if (node != KST__NONE && (kst__entry_at(t, kst__node_slot(t, node))->status & KST_CONFIRMED))
        kst__remove(t, kst__node_slot(t, node), KST_GONE_CALLED_OFF);
    else if (place != KST__NONE)
        kst__expect_remove(t, place);
}

static void kst__calls_end(struct kst *t, uint32_t slot)
{
    kst__keys_remove(t, slot);
    kst__call_end(t, slot, KST_ORIGINAL);
    kst__call_end(t, slot, KST_REPLY);
}

/* All that an entry has foretold is off. */
static void kst__foretells_no_more(struct kst *t, uint32_t slot)
{
    const struct kst__help *help = kst__help_at(t, slot);
    if (help->calls)
        kst__calls_end(t, slot);
    while (help->newest != KST__NONE)
        kst__expect_remove(t, help->newest);
}

/* Takes expired entries that are not armed out, in a row: first all is asked for that will be
 * written. */
static void kst__unlink_expired(struct kst *t, const uint32_t *slots, uint32_t count)
{
    uint64_t hashes[KST_BURST];
    for (uint32_t i = 0; i < count; i++) {
        const struct kst__entry *e = kst__entry_at(t, slots[i]);
        hashes[i] = kst__entry_hash(t, slots[i]);
        if (kst__index_ops(t)->prefetch != NULL)
            kst__index_ops(t)->prefetch(kst__index(t), hashes[i]);
        if (e->older != KST__NONE)
            KST_PREFETCH(&kst__entry_at(t, e->older)->newer);
        if (e->newer != KST__NONE)
            KST_PREFETCH(&kst__entry_at(t, e->newer)->older);
    }
    for (uint32_t i = 0; i < count; i++)
        kst__unlink(t, slots[i], hashes[i], KST_GONE_EXPIRED);
}

/* Removes expired entries, all that `work` steps reach. Returns how many. One that has to do with
 * helpers may take others along: it goes by itself. */
static uint32_t kst__collect(struct kst *t, uint32_t *work)
{
    uint32_t slots[KST_BURST], waiting = 0, collected = 0;
    for (;;) {
        const uint32_t slot = kst__timer_ops(t)->next(kst__timer(t), t, t->now_ms, work);
        const bool entry = slot < kst__slots(t);
        const bool alone = !entry || (kst__entry_at(t, slot)->kind & KST__KIND_HELP);
        if (alone || waiting == KST_BURST) {
            kst__unlink_expired(t, slots, waiting);
            waiting = 0;
        }
        if (slot == KST__NONE)
            return collected;
        collected += entry;
        if (!alone)
            slots[waiting++] = slot;
        else if (entry)
            kst__unlink_expired(t, &slot, 1);
        else
            kst__expect_unlink(t, slot - kst__slots(t));
    }
}

/* Whether that is a lack of room, not a fault of the newcomer's. */
KST_INLINE bool kst__no_room(uint16_t reason)
{
    return reason == KST_REASON_TABLE_FULL || reason == KST_REASON_HALF_OPEN_FULL ||
           reason == KST_REASON_SOURCE_LIMIT || reason == KST_REASON_ZONE_LIMIT;
}

/* Why a newcomer cannot simply be let in, or NONE. None is ASSURED. */
KST_INLINE uint16_t kst__crowded(const struct kst *t)
{
    const uint64_t max = t->set[KST__SET_MAX], percent = t->set[KST__SET_HALF_OPEN_MAX];
    const uint64_t half_open =
        (uint64_t)t->classes[KST_CLASS_UNREPLIED].count + t->classes[KST_CLASS_REPLIED].count;
    if (KST_UNLIKELY(percent < 100 && half_open * 100 >= max * percent))
        return KST_REASON_HALF_OPEN_FULL;
    return t->count >= max ? KST_REASON_TABLE_FULL : KST_REASON_NONE;
}

/* How long a victim stayed in its class, in beats, for the statistics. */
static void kst__note_age(struct kst *t, uint32_t beats)
{
    uint32_t age = 0;
    for (; beats != 0 && age < KST_AGES - 1; age++)
        beats /= 2;
    t->stats.victim_ages[age]++;
}

/* Whoever is oldest now is probably the next victim: starts the access to what its removal will want,
 * and to who comes after it, whose turn that will be next time. */
static void kst__victims_ahead(const struct kst *t, uint32_t oldest)
{
    if (oldest == KST__NONE)
        return;
    const uint32_t then = kst__entry_at(t, oldest)->newer;
    if (kst__index_ops(t)->prefetch != NULL)
        kst__index_ops(t)->prefetch(kst__index(t), kst__entry_hash(t, oldest));
    if (kst__timer_ops(t)->peek != NULL)
        kst__timer_ops(t)->peek(kst__timer(t), oldest);
    if (then == KST__NONE)
        return;
    KST_PREFETCH(kst__entry_at(t, then));
    KST_PREFETCH(&kst__entry_at(t, then)->proto);
    if (kst__timer_ops(t)->prefetch != NULL)
        kst__timer_ops(t)->prefetch(kst__timer(t), then);
}

/* Makes room for one more: by an expired entry if one is near, else by the oldest of the first
 * class that may be evicted. Returns why there is none, or what was evicted for it, or NONE. */
static uint16_t kst__make_room(struct kst *t)
{
    uint32_t work = KST_COLLECT_MAX;
    if (KST_LIKELY(kst__crowded(t) == KST_REASON_NONE))
        return KST_REASON_NONE;
    const bool collected = kst__collect(t, &work) > 0; /* where max was lowered as many as leave are let in */
    const uint16_t crowded = kst__crowded(t);
    const bool half_open = crowded == KST_REASON_HALF_OPEN_FULL;
    if (collected && !half_open)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < KST_CLASSES && t->evict[i] != 0; i++) {
        const uint32_t number = t->evict[i] - 1u;
        const struct kst__class *class_ = &t->classes[number];
        const uint32_t victim = class_->oldest;
        if (victim == KST__NONE || (half_open && number > KST_CLASS_REPLIED))
            continue;
        if (kst__expired(t, victim)) { /* its time came, only the timer has not got there */
            kst__remove(t, victim, KST_GONE_EXPIRED);
            return KST_REASON_NONE;
        }
        const uint32_t stayed = kst__beat(t->now_ms) - kst__entry_at(t, victim)->joined;
        if ((uint64_t)stayed * KST__BEAT_MS < class_->residence_ms)
            continue;
        kst__remove(t, victim, KST_GONE_EVICTED);
        kst__note_age(t, stayed);
        kst__victims_ahead(t, class_->oldest);
        return half_open ? KST_REASON_HALF_OPEN_EVICTED : KST_REASON_TABLE_EVICTED;
    }
    return crowded;
}

/* What a newcomer is refused for because of what its source and its zone have, or NONE; of those that
 * have expired but not been collected some go first. */
static uint16_t kst__limited(struct kst *t, const struct kst_tuple *tuple)
{
    uint32_t work = KST_COLLECT_MAX;
    const uint16_t reason = kst__over_limit(t, tuple);
    return reason != KST_REASON_NONE && kst__collect(t, &work) > 0 ? kst__over_limit(t, tuple)
                                                                   : reason;
}

/* Frees a tuple that only an expired connection still holds; false if a live one has it, in the
 * direction `only`, or in any if that is KST_NO_DIRECTION. */
static bool kst__tuple_clear(struct kst *t, const struct kst_tuple *tuple, uint8_t only)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    kst__key_only(&key, only);
    for (;;) {
        const uint32_t node = kst__find(t, &key);
        if (node == KST__NONE)
            return true;
        if (!kst__expired(t, kst__node_slot(t, node)))
            return false;
        kst__remove(t, kst__node_slot(t, node), KST_GONE_EXPIRED);
    }
}

/* An entry for this tuple, in a slot of its own but not in the table: kst__confirm puts it there,
 * kst__slot_give_back forgets it. */
static uint32_t kst__newcomer(struct kst *t, const struct kst_tuple *tuple, uint8_t policy)
{
    const uint32_t slot = kst__slot_take(t);
    struct kst__entry *e = kst__entry_at(t, slot);
    memset(e, 0, sizeof *e);
    e->tuple = *tuple;
    if (t->set[KST__SET_ACCT]) {
        e->kind = KST__KIND_ACCOUNTED;
        memset(kst__counters_at(t, slot), 0, sizeof(struct kst__counters));
    }
    if (t->features & KST_WITH_LABELS)
        memset(kst__labels_at(t, slot), 0, sizeof(struct kst__label_bits));
    if (t->features & KST_WITH_TIMESTAMPS)
        *kst__birth_at(t, slot) = t->set[KST__SET_TIMESTAMP] ? t->now_ms : KST__NEVER;
    KST_ASSERT(policy <= KST_POLICIES);
    e->kind = (uint8_t)(e->kind | policy * KST__KIND_POLICY);
    return slot;
}

/* What an entry has to do with helpers, from now on if nothing so far. */
static struct kst__help *kst__help_of(const struct kst *t, uint32_t slot)
{
    struct kst__help *help = kst__help_at(t, slot);
    if (!(kst__entry_at(t, slot)->kind & KST__KIND_HELP)) {
        memset(help, 0, sizeof *help);
        help->newest = KST__NONE;
        kst__entry_at(t, slot)->kind |= KST__KIND_HELP;
    }
    return help;
}

/* Makes a newcomer known to the index; its reply tuple stands ready if it is under NAT. Returns
 * false, with nothing changed, if the index has no place. */
static bool kst__index_in(struct kst *t, uint32_t slot, uint64_t hash)
{
    const bool original = kst__has_original_node(t, slot);
    if (original && !kst__index_ops(t)->insert(kst__index(t), slot, hash))
        return false;
    if ((kst__entry_at(t, slot)->kind & KST__KIND_NAT) &&
        !kst__index_ops(t)->insert(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot))) {
        if (original)
            kst__index_ops(t)->remove(kst__index(t), slot, hash);
        return false;
    }
    return true;
}

/* Gives a newcomer its serial number, unless it was named while it was pending. */
static void kst__name(struct kst *t, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    if (e->serial != 0)
        return;
    t->serial += t->serial == UINT32_MAX ? 2 : 1; /* 0 names nobody */
    e->serial = t->serial;
}

/* Completes what kst__index_in began: from here on the newcomer is one of the table's. */
static void kst__confirm(struct kst *t, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    KST_ASSERT(t->count < t->capacity);
    t->count++;
    kst__name(t, slot);
    e->status |= KST_CONFIRMED;
    *kst__census(t, e->tuple.protocol, e->state) += 1;
    if (KST_UNLIKELY(t->tallies_at != 0)) {
        kst__tally_add(t, &e->tuple, true);
        kst__tally_add(t, &e->tuple, false);
    }
    if (KST_UNLIKELY(kst__is_apart(t, slot)))
        t->apart++;
    if (KST_UNLIKELY(e->status & KST_SRC_NAT_DONE))
        kst__source_join(t, slot);
    kst__timer_ops(t)->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    kst__class_join(t, slot, kst__class_of(e));
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_pressure(t);
}

/* Judged good: takes a newcomer in, if its tuples are its own, the index has a place and there is
 * room or can be made. It is CONFIRMED if so: the reason is NONE or who had to go; else why not, and
 * nobody has lost. */
static uint16_t kst__admit(struct kst *t, uint32_t slot, uint64_t hash)
{
    /* Without NAT a tuple and its inverse have one owner; with it another may own the inverse. A
     * zone of one direction parts it from what goes the other way. */
    if (t->features & KST_WITH_NAT) {
        const struct kst_tuple reply = kst__reply_of(t, slot);
        const bool apart = reply.zone != kst__entry_at(t, slot)->tuple.zone;
        if (!kst__tuple_clear(t, &reply, apart ? KST_REPLY : KST_NO_DIRECTION))
            return kst__entry_at(t, slot)->status & (KST_SRC_NAT | KST_DST_NAT)
                       ? KST_REASON_NAT_EXHAUSTED
                       : KST_REASON_CLASH;
    }
    if (KST_UNLIKELY(t->tallies_at != 0)) {
        const uint16_t limited = kst__limited(t, &kst__entry_at(t, slot)->tuple);
        if (limited != KST_REASON_NONE)
            return limited;
    }
    if (!kst__index_in(t, slot, hash))
        return KST_REASON_CHAIN_TOO_LONG;
    const uint16_t reason = kst__make_room(t);
    if (!kst__no_room(reason)) {
        kst__confirm(t, slot);
        return reason;
    }
    kst__index_out(t, slot, hash);
    return reason;
}

/* ---- pending: a newcomer that was judged but not confirmed ---- */

/* Lets a newcomer wait, if there is room or can be made: as in Linux before any rule has seen the
 * packet. NONE or who had to go, else why there is none. */
static uint16_t kst__pend(struct kst *t, uint32_t slot)
{
    uint16_t reason = KST_REASON_NONE;
    if (KST_UNLIKELY(t->tallies_at != 0))
        reason = kst__limited(t, &kst__entry_at(t, slot)->tuple);
    if (reason == KST_REASON_NONE)
        reason = kst__make_room(t);
    if (kst__no_room(reason))
        return reason;
    kst__name(t, slot);
    t->pending = slot;
    t->pending_ms = t->now_ms;
    return reason;
}

/* The packet that left something pending will not come through. */
static void kst__pending_drop(struct kst *t)
{
    const uint32_t closing = (uint32_t)t->closing;
    if (t->pending != KST__NONE)
        kst__slot_give_back(t, t->pending);
    if (t->closing != 0 && kst__live(t, closing) &&
        kst__entry_at(t, closing)->serial == t->closing >> 32)
        kst__remove(t, closing, KST_GONE_CLOSED);
    t->pending = KST__NONE;
    t->closing = 0;
}

/* Takes in what was pending; its time begins now. As kst__admit. */
static uint16_t kst__pending_admit(struct kst *t)
{
    const uint32_t slot = t->pending;
    struct kst__entry *e = kst__entry_at(t, slot);
    const uint64_t waited_ms = t->now_ms - t->pending_ms;
    const struct kst_tuple reply = kst__reply_of(t, slot);
    const uint8_t only = reply.zone != e->tuple.zone ? KST_ORIGINAL : KST_NO_DIRECTION;
    e->expires_ms = e->expires_ms <= UINT64_MAX - waited_ms ? e->expires_ms + waited_ms : UINT64_MAX;
    t->pending = KST__NONE;
    const uint16_t reason = kst__tuple_clear(t, &e->tuple, only)
                                ? kst__admit(t, slot, kst__tuple_hash(&e->tuple, t->seed))
                                : (uint16_t)KST_REASON_CLASH;
    if (!(e->status & KST_CONFIRMED))
        kst__slot_give_back(t, slot);
    return reason;
}

/* The slot of a connection that is alive, KST__NONE for any other id. */
static uint32_t kst__slot(const struct kst *t, kst_id id)
{
    const uint32_t slot = (uint32_t)id;
    const bool alive = kst__live(t, slot) && kst__entry_at(t, slot)->serial == id >> 32 &&
                       !kst__expired(t, slot);
    return alive ? slot : KST__NONE;
}

/* Likewise, or of one that is pending. */
static uint32_t kst__slot_known(const struct kst *t, kst_id id)
{
    const bool pending =
        t->pending != KST__NONE && (kst_id)kst__entry_at(t, t->pending)->serial << 32 == id - t->pending;
    return pending ? t->pending : kst__slot(t, id);
}

#endif
/* ======== core/nat.h ===================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/nat.h - what a connection's answers will look like: addresses and ports from a range, taken
 * so that they are nobody else's.
 *
 * Enters: a newcomer, not in the table yet, and a range. Leaves: its reply tuple, and bits that say
 * what was decided. The search for a port looks at no more than 248 of them. Numbers that Linux draws
 * at random come from the table's seed; the address out of several by our own hash. */
#ifndef KST_NAT_H
#define KST_NAT_H


static uint32_t kst__nat_draw(struct kst *t)
{
    const uint64_t words[1] = {t->draws++};
    return (uint32_t)kst__siphash(t->seed, words, 1, 1, 3);
}

/* What in a tuple a port range is for, NULL if there is nothing: of ICMP the identifier, whatever
 * is bound; of GRE a call that was foretold. */
static uint16_t *kst__nat_port(struct kst_tuple *tuple, enum kst_nat_kind kind, bool expected)
{
    switch (kst__protocol_of(tuple->protocol)->ports) {
    case KST__TYPES: return &tuple->src_port;
    case KST__PORTS: break;
    case KST__KEYS:
        if (expected)
            break;
        return NULL;
    default: return NULL;
    }
    return kind == KST_NAT_SOURCE ? &tuple->src_port : &tuple->dst_port;
}

/* Who holds the answers that a newcomer would have if it looked like this to the outside: a node, KST__NONE
 * if nobody does. */
static uint32_t kst__nat_holder(struct kst *t, uint32_t slot,
                                const struct kst_tuple *outside)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__key key;
    struct kst_tuple reply;
    kst__tuple_invert(outside, &reply);
    if (kst__tuple_same(&reply, &e->tuple) && (e->kind & KST__KIND_NAT))
        return slot; /* its answers would look like itself */
    kst__key_make(t, &reply, &key);
    kst__key_only(&key, reply.zone != e->tuple.zone ? KST_REPLY : KST_NO_DIRECTION);
    for (;;) {
        const uint32_t node = kst__find(t, &key);
        if (node == KST__NONE || !kst__expired(t, kst__node_slot(t, node)))
            return node;
        kst__remove(t, kst__node_slot(t, node), KST_GONE_EXPIRED);
    }
}

/* Whether a finished TCP connection, found by its answers, may go for a SYN with a newer number. */
static bool kst__nat_may_go(const struct kst *t, uint32_t slot, uint32_t node)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    const uint32_t other_slot = kst__node_slot(t, node);
    const struct kst__entry *other = kst__entry_at(t, other_slot);
    return e->tuple.protocol == KST__TCP && e->state == KST_TCP_SYN_SENT && node != other_slot &&
           (other->status & KST_SRC_NAT) && !(other->status & KST_FIXED_TIMEOUT) &&
           (other->state == KST_TCP_TIME_WAIT || other->state == KST_TCP_CLOSE) &&
           kst__after(e->proto.tcp.side[0].end, other->proto.tcp.side[0].end);
}

enum { KST__NAT_TRIES = 128, KST__NAT_TRIES_LEAST = 16, KST__NAT_LAST_RESORT = 32 };

/* Looks for a port that makes the answers its own, among `size` from `low` on, beginning with the
 * one that lies `offset` behind that; the last one tried stays if there is none. */
static bool kst__nat_search(struct kst *t, uint32_t slot,
                            struct kst_tuple *outside, uint16_t *port, uint32_t low, uint32_t size,
                            uint32_t offset)
{
    uint32_t tries = size < KST__NAT_TRIES ? size : (uint32_t)KST__NAT_TRIES;
    for (;;) {
        for (uint32_t left = tries; left > 0; left--, offset++) {
            *port = (uint16_t)(low + offset % size);
            const uint32_t node = kst__nat_holder(t, slot, outside);
            if (node == KST__NONE)
                return true;
            if (left <= KST__NAT_LAST_RESORT && kst__nat_may_go(t, slot, node)) {
                kst__remove(t, kst__node_slot(t, node), KST_GONE_REPLACED);
                return true;
            }
        }
        if (tries >= size || tries < KST__NAT_TRIES_LEAST)
            return false;
        tries /= 2;
        offset = kst__nat_draw(t) & UINT16_MAX;
    }
}

/* Whether a tuple, as the outside sees it, has an end within the range. */
static bool kst__nat_within(struct kst_tuple *tuple, enum kst_nat_kind kind, bool expected,
                            const struct kst_nat_range *range)
{
    const uint8_t *address = kind == KST_NAT_SOURCE ? tuple->src : tuple->dst;
    const uint16_t *port = kst__nat_port(tuple, kind, expected);
    if ((range->flags & KST_NAT_ADDRESS) &&
        (memcmp(address, range->address[0], 16) < 0 || memcmp(address, range->address[1], 16) > 0))
        return false;
    return !(range->flags & KST_NAT_PORT) || port == NULL ||
           (*port >= range->port[0] && *port <= range->port[1]);
}

/* Takes the source that another connection of the same sender has, the newest whose is within the
 * range. False if there is none. */
static bool kst__nat_as_before(const struct kst *t, uint32_t slot, bool expected,
                               const struct kst_nat_range *range, struct kst_tuple *outside)
{
    const struct kst_tuple *original = &kst__entry_at(t, slot)->tuple;
    uint32_t left = KST_NAT_SOURCES_MAX;
    for (uint32_t other = *kst__source_list(t, original); other != KST__NONE && left > 0;
         other = kst__source_at(t, other)->older, left--) {
        if (kst__expired(t, other) ||
            !kst__source_same(&kst__entry_at(t, other)->tuple, original))
            continue;
        const struct kst_tuple reply = kst__reply_of(t, other);
        struct kst_tuple same = *outside;
        memcpy(same.src, reply.dst, sizeof same.src);
        same.src_port = kst__is_icmp(reply.protocol) ? reply.src_port : reply.dst_port;
        if (!kst__nat_within(&same, KST_NAT_SOURCE, expected, range))
            continue;
        *outside = same;
        return true;
    }
    return false;
}

/* An address of several: the same for the same two hosts, or for the same client. Each word lies
 * where the hash says between its bounds, which hold as long as all before it stand at them. */
static void kst__nat_choose(const struct kst *t, const struct kst_tuple *outside,
                            const struct kst_nat_range *range, uint8_t *address)
{
    const bool persistent = (range->flags & KST_NAT_PERSISTENT) != 0;
    const uint64_t words[5] = {kst__le64(outside->src), kst__le64(outside->src + 8),
                               persistent ? 0 : kst__le64(outside->dst),
                               persistent ? 0 : kst__le64(outside->dst + 8), outside->zone};
    const uint32_t count = outside->family == KST_IPV4 ? 1 : 4;
    uint64_t hash = kst__siphash(t->seed, words, 5, 1, 3);
    bool at_low = true, at_high = true;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t low = at_low ? kst__be32(range->address[0] + 4 * i) : 0;
        const uint32_t high = at_high ? kst__be32(range->address[1] + 4 * i) : UINT32_MAX;
        const uint64_t size = (uint64_t)high - low + 1;
        const uint32_t word = low + (uint32_t)((hash >> 32) * size >> 32);
        at_low = at_low && word == low;
        at_high = at_high && word == high;
        kst__put32(address + 4 * i, word);
        hash = kst__siphash(t->seed, &hash, 1, 1, 3);
    }
}

/* Finds what a newcomer shall look like to the outside. False if that is another's, and nothing
 * else was found. */
static bool kst__nat_find(struct kst *t, uint32_t slot,
                          enum kst_nat_kind kind, const struct kst_nat_range *range,
                          struct kst_tuple *outside)
{
    const bool expected = (kst__entry_at(t, slot)->status & KST_EXPECTED) != 0;
    const bool random = (range->flags & (KST_NAT_RANDOM | KST_NAT_RANDOM_FULLY)) != 0;
    const struct kst_tuple now = *outside;
    const bool source = kind == KST_NAT_SOURCE, ports = (range->flags & KST_NAT_PORT) != 0;
    if (source && !random) {
        if (kst__nat_within(outside, kind, expected, range)) {
            if (kst__nat_holder(t, slot, outside) == KST__NONE)
                return true;
        } else if (kst__nat_as_before(t, slot, expected, range, outside) &&
                   kst__nat_holder(t, slot, outside) == KST__NONE) {
            return true;
        }
        *outside = now;
    }
    if (range->flags & KST_NAT_ADDRESS) {
        uint8_t *address = source ? outside->src : outside->dst;
        if (memcmp(range->address[0], range->address[1], 16) == 0)
            memcpy(address, range->address[0], 16);
        else
            kst__nat_choose(t, outside, range, address);
    }

    uint16_t *port = kst__nat_port(outside, kind, expected);
    if (port == NULL)
        return kst__nat_holder(t, slot, outside) == KST__NONE;
    if (!random) {
        const bool fits = !ports || (!(range->flags & KST_NAT_OFFSET) && *port >= range->port[0] &&
                                     *port <= range->port[1]);
        /* A single port is taken as it is; the clash, if there is one, shows in the end. */
        if (fits && ((ports && range->port[0] == range->port[1]) ||
                     kst__nat_holder(t, slot, outside) == KST__NONE))
            return true;
    }
    uint32_t low = range->port[0], size = (uint32_t)range->port[1] - range->port[0] + 1;
    if (!ports && kst__is_icmp(outside->protocol)) {
        low = 0;
        size = 65536;
    } else if (!ports && !source) {
        return kst__nat_holder(t, slot, outside) == KST__NONE;
    } else if (!ports && outside->protocol == KST__GRE) {
        low = 1;
        size = 65535;
    } else if (!ports) { /* privileged ports stay so */
        low = *port < 512 ? 1 : *port < 1024 ? 600 : 1024;
        size = *port < 512 ? 511 : *port < 1024 ? 424 : 64512;
    }
    const uint32_t offset = range->flags & KST_NAT_OFFSET ? (uint32_t)*port - range->base
                            : random || source            ? kst__nat_draw(t) & UINT16_MAX
                                                          : 0;
    return kst__nat_search(t, slot, outside, port, low, size, offset & UINT16_MAX);
}

/* The range that a caller's means for a connection that looks like this; false if it means none. */
static bool kst__nat_range(const struct kst_nat_range *is, enum kst_nat_kind kind,
                           const struct kst_tuple *outside, struct kst_nat_range *range)
{
    static const uint8_t zeros[12] = {0};
    const uint8_t *address = kind == KST_NAT_SOURCE ? outside->src : outside->dst;
    const uint32_t bits = outside->family == KST_IPV4 ? 32 : 128;
    memset(range, 0, sizeof *range);
    if (is == NULL) {
        range->flags = KST_NAT_ADDRESS;
        memcpy(range->address[0], address, 16);
        memcpy(range->address[1], address, 16);
        return true;
    }
    *range = *is;
    if (is->flags & 128)
        return false;
    if (is->flags & KST_NAT_NETMAP) {
        if (is->prefix > bits)
            return false;
        range->flags |= KST_NAT_ADDRESS;
        for (uint32_t i = 0; i < bits / 8; i++) {
            const uint32_t ones = is->prefix <= 8 * i ? 0 : is->prefix - 8 * i;
            const uint8_t mask = (uint8_t)(ones >= 8 ? 0xffu : 0xff00u >> ones);
            range->address[0][i] = (uint8_t)((is->address[0][i] & mask) | (address[i] & ~mask));
        }
        memcpy(range->address[1], range->address[0], 16);
    }
    if (range->port[0] > range->port[1]) { /* as Linux has it */
        range->port[0] = is->port[1];
        range->port[1] = is->port[0];
    }
    return !(range->flags & KST_NAT_ADDRESS) ||
           (memcmp(range->address[0], range->address[1], 16) <= 0 &&
            (bits == 128 || (memcmp(range->address[0] + 4, zeros, sizeof zeros) == 0 &&
                             memcmp(range->address[1] + 4, zeros, sizeof zeros) == 0)));
}

/* Decides one kind for a newcomer. */
static enum kst_reason kst__nat_bind(struct kst *t, uint32_t slot,
                                     enum kst_nat_kind kind, const struct kst_nat_range *is)
{
    const bool source = kind == KST_NAT_SOURCE;
    const uint16_t done = source ? KST_SRC_NAT_DONE : KST_DST_NAT_DONE;
    struct kst__entry *e = kst__entry_at(t, slot);
    const struct kst_tuple reply = kst__reply_of(t, slot);
    struct kst_nat_range range;
    struct kst_tuple now, outside;
    if (!(t->features & KST_WITH_NAT))
        return KST_REASON_NAT_RANGE;
    if (e->status & done)
        return KST_REASON_NAT_LATE;
    kst__tuple_invert(&reply, &now);
    if (!kst__nat_range(is, kind, &now, &range))
        return KST_REASON_NAT_RANGE;
    outside = now;
    const bool found = kst__nat_find(t, slot, kind, &range, &outside);
    if (!kst__tuple_same(&outside, &now)) {
        kst__tuple_invert(&outside, kst__reply_tuple(t, slot));
        e->kind |= KST__KIND_NAT;
        e->status |= source ? KST_SRC_NAT : KST_DST_NAT;
    }
    e->status |= done;
    if (source)
        kst__source_at(t, slot)->out_interface = range.out_interface;
    return found ? KST_REASON_NONE : KST_REASON_NAT_EXHAUSTED;
}

/* Binds what another connection foretold as that is bound: to go where the other side of it is,
 * and to look as if it came from there. */
static void kst__nat_follow(struct kst *t, uint32_t slot,
                            const struct kst__expected *x)
{
    const struct kst_tuple both[2] = {kst__entry_at(t, x->master)->tuple, kst__reply_of(t, x->master)};
    const struct kst_tuple said = both[x->nat_direction], peer = both[!x->nat_direction];
    struct kst_nat_range range;
    memset(&range, 0, sizeof range);
    range.flags = KST_NAT_ADDRESS;
    for (uint32_t i = 0; i < 2; i++)
        memcpy(range.address[i], said.dst, sizeof said.dst);
    if (x->follows != KST_FOLLOWS_PEER || memcmp(kst__entry_at(t, slot)->tuple.src, peer.src, 16) == 0)
        kst__nat_bind(t, slot, KST_NAT_SOURCE, &range);
    range.flags |= KST_NAT_PORT;
    range.port[0] = range.port[1] = x->nat_port;
    for (uint32_t i = 0; i < 2; i++)
        memcpy(range.address[i], said.src, sizeof said.src);
    kst__nat_bind(t, slot, KST_NAT_DESTINATION, &range);
}

#endif

/* ======== core/adjust.h ================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/adjust.h - TCP sequence numbers that follow what helpers have made longer or shorter.
 *
 * Of each direction one place is known and by how much what lies before and behind it is shifted: one
 * change a window, as in Linux. What a sender numbers itself is shifted on its way; what it says of the
 * other side's bytes, its ACK and SACK, back. */
#ifndef KST_ADJUST_H
#define KST_ADJUST_H


/* By how much a segment of this side is shifted that begins at `seq`. */
KST_INLINE uint32_t kst__adjust_seq(const struct kst__adjust_side *side, uint32_t seq)
{
    return kst__after(seq, side->at) ? side->after : side->before;
}

/* By how much an acknowledgement of this side's bytes is too large for it. */
KST_INLINE uint32_t kst__adjust_ack(const struct kst__adjust_side *side, uint32_t ack)
{
    return kst__adjust_seq(side, ack - side->before);
}

/* Notes that the segment at `seq` has grown by so many bytes, modulo 2^32. The same one again is
 * changed in the same way. */
static void kst__adjust_note(struct kst *t, uint32_t slot, uint8_t direction, uint32_t seq,
                             uint32_t grown)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__adjust_side *side = &kst__adjust_at(t, slot)[direction];
    if (!(e->status & KST_SEQ_ADJUST))
        memset(kst__adjust_at(t, slot), 0, sizeof(struct kst__adjust));
    e->status |= KST_SEQ_ADJUST;
    if (side->before != side->after && !kst__after(seq, side->at))
        return;
    side->at = seq;
    side->before = side->after;
    side->after += grown;
}

/* Changes a number in the header, whose checksum follows. */
static void kst__adjust_number(uint8_t *tcp, uint32_t at, uint32_t number)
{
    uint8_t is[4];
    if (number == kst__be32(tcp + at))
        return;
    kst__put32(is, number);
    uint64_t change = kst__sum_change(0, tcp + at, is, sizeof is);
    if (at % 2 != 0) /* an option may lie anywhere */
        change = kst__sum_swap(change);
    kst__checksum_change(tcp + 16, change, false);
    memcpy(tcp + at, is, sizeof is);
}

/* The blocks of SACK options. False if the options are malformed. */
static bool kst__adjust_sack(uint8_t *tcp, uint32_t header, const struct kst__adjust_side *other)
{
    for (uint32_t at = 20; at < header && tcp[at] != 0;) {
        if (tcp[at] == 1) {
            at++;
            continue;
        }
        if (at + 1 == header || tcp[at + 1] < 2 || at + tcp[at + 1] > header)
            return false;
        const uint32_t size = tcp[at + 1];
        if (tcp[at] == 5 && size >= 10 && (size - 2) % 8 == 0)
            for (uint32_t edge = at + 2; edge < at + size; edge += 4)
                kst__adjust_number(tcp, edge,
                                   kst__be32(tcp + edge) -
                                       kst__adjust_ack(other, kst__be32(tcp + edge)));
        at += size;
    }
    return true;
}

/* Adjusts a segment, of which `here` bytes are there. False if it cannot be read. */
static bool kst__adjust_segment(const struct kst *t, uint32_t slot, uint8_t direction, uint8_t *tcp,
                                uint32_t here)
{
    const struct kst__adjust_side *sides = kst__adjust_at(t, slot);
    const struct kst__adjust_side *own = &sides[direction], *other = &sides[!direction];
    const uint32_t header = here >= 20 ? (uint32_t)(tcp[12] >> 4) * 4 : 0;
    if (header < 20 || header > here)
        return false;
    const uint32_t seq = kst__be32(tcp + 4), ack = kst__be32(tcp + 8);
    kst__adjust_number(tcp, 4, seq + kst__adjust_seq(own, seq));
    if (!(tcp[13] & 16)) /* ACK */
        return true;
    kst__adjust_number(tcp, 8, ack - kst__adjust_ack(other, ack));
    return kst__adjust_sack(tcp, header, other);
}

#endif
/* ======== core/proto.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/proto.h - what a protocol's judge is given and what it answers.
 *
 * A judge sees one packet and the entry it belongs to, confirmed or new. It may change the entry's
 * protocol state and its ASSURED bit; all else it says in its judgement, and track.h does it. */
#ifndef KST_PROTO_H
#define KST_PROTO_H


struct kst__case {
    const struct kst *t;
    const uint32_t *set; /* the settings that hold for it */
    const struct kst__parsed *packet;
    struct kst__entry *entry;
    uint8_t direction; /* enum kst_direction, one of the two */
    bool fresh;        /* the entry is not in the table yet: this packet would create it */
    uint16_t status;   /* of the entry, before this packet */
    uint8_t state;     /* likewise */
};

enum kst__action {
    KST__REFRESH, /* accept, count, give it `timeout_s` from now */
    KST__KEEP,    /* accept, but neither count nor prolong */
    KST__END,     /* accept, count, then remove the entry */
    KST__REOPEN,  /* remove the entry and judge the packet again, as a new one */
    KST__REFUSE   /* INVALID */
};

struct kst__judgement {
    uint8_t action;
    uint8_t reason; /* enum kst_reason */
    uint32_t timeout_s; /* REFRESH: from now on; REFUSE: shorten to this, unless KST__AS_IT_IS */
};

#define KST__AS_IT_IS UINT32_MAX /* longer than any timeout; 0 is one */

typedef char kst__reasons_fit_a_byte[KST_REASONS <= UINT8_MAX ? 1 : -1];

KST_INLINE struct kst__judgement kst__refresh(uint32_t timeout_s)
{
    const struct kst__judgement judgement = {KST__REFRESH, KST_REASON_NONE, timeout_s};
    return judgement;
}

KST_INLINE struct kst__judgement kst__say(enum kst__action action, enum kst_reason reason)
{
    const struct kst__judgement judgement = {(uint8_t)action, (uint8_t)reason,
                                              KST__AS_IT_IS};
    return judgement;
}

#endif
/* ======== core/proto_gre.h =============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/proto_gre.h - GRE (RFC 2784), and its version 1, PPTP (RFC 2637), whose call identifier is
 * the key of a flow. Its timeouts are its own, noted when it begins. */
#ifndef KST_PROTO_GRE_H
#define KST_PROTO_GRE_H


static struct kst__judgement kst__gre_judge(const struct kst__case *c)
{
    struct kst__gre *gre = &c->entry->proto.gre;
    if (c->fresh) {
        gre->timeout_s = c->set[KST__SET_GRE_TIMEOUT];
        gre->stream_s = c->set[KST__SET_GRE_TIMEOUT_STREAM];
    }
    if (!(c->entry->status & KST_SEEN_REPLY))
        return kst__refresh(gre->timeout_s);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(gre->stream_s);
}

#endif
/* ======== core/proto_icmp.h ============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/proto_icmp.h - ICMP (RFC 792) and ICMPv6 (RFC 4443): questions, answers and errors. */
#ifndef KST_PROTO_ICMP_H
#define KST_PROTO_ICMP_H


enum kst__icmp_sort {
    KST__ICMP_ORDINARY,  /* to be looked up like any packet */
    KST__ICMP_ERROR,     /* about another packet, which it carries */
    KST__ICMP_UNTRACKED, /* part of how IPv6 itself works */
    KST__ICMP_REFUSED
};

/* IPv4 errors: unreachable, source quench, redirect, time exceeded, parameter problem. */
static enum kst__icmp_sort kst__icmp4_sort(uint8_t type)
{
    return type == 3 || type == 4 || type == 5 || type == 11 || type == 12 ? KST__ICMP_ERROR
           : type > 18                                                     ? KST__ICMP_REFUSED
                                                                           : KST__ICMP_ORDINARY;
}

/* IPv6: multicast listeners, neighbours, routers and multicast routers are not tracked. */
static enum kst__icmp_sort kst__icmp6_sort(uint8_t type)
{
    return type < 128                                   ? KST__ICMP_ERROR
           : (type >= 130 && type <= 136) || type == 143 ? KST__ICMP_UNTRACKED
           : type == 151 || type == 152                  ? KST__ICMP_UNTRACKED
                                                         : KST__ICMP_ORDINARY;
}

/* What is to be done with a packet of the family's own ICMP, before anything is looked up. */
static enum kst__icmp_sort kst__icmp_sort(const struct kst__parsed *p, uint8_t *reason)
{
    const bool v4 = p->tuple.family == KST_IPV4;
    if (!kst__checksum_right(p, p->l4_bytes, v4 ? 0 : KST__ICMPV6)) {
        *reason = KST_REASON_ICMP_CHECKSUM;
        return KST__ICMP_REFUSED;
    }
    *reason = KST_REASON_ICMP_TYPE;
    return v4 ? kst__icmp4_sort(p->l4[0]) : kst__icmp6_sort(p->l4[0]);
}

/* The key under which the connection is known that an ICMP error is about: the inverse of the
 * packet it carries. False if that packet cannot be read or can have no answer. */
static bool kst__icmp_about(const struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    const uint8_t *inner = p->l4 + 8;
    const uint32_t here = p->l4_here - 8;
    struct kst_tuple tuple, inverse;
    const struct kst__ip ip =
        p->tuple.family == KST_IPV4 ? kst__ip4(inner, here) : kst__ip6(inner, here);
    if (ip.reason != KST_REASON_NONE || ip.fragment_at != 0 ||
        !kst__tuple_of(&ip, inner + ip.l4_at, here - ip.l4_at, p->tuple.zone, &tuple))
        return false;
    if (ip.protocol == KST__GRE && kst__gre_is_call(inner + ip.l4_at, here - ip.l4_at))
        kst__key_complete(t, &tuple);
    if (!kst__tuple_invert(&tuple, &inverse))
        return false;
    kst__key_make(t, &inverse, key);
    return true;
}

static struct kst__judgement kst__icmp_judge(const struct kst__case *c)
{
    const struct kst_tuple *tuple = &c->entry->tuple;
    if (tuple->protocol != kst__icmp_of(tuple->family))
        return kst__say(KST__REFUSE, KST_REASON_ICMP_FAMILY);
    if (c->fresh && !kst__icmp_is_question(tuple))
        return kst__say(KST__REFUSE, KST_REASON_ICMP_UNASKED);
    return kst__refresh(c->set[tuple->protocol == KST__ICMP ? KST__SET_ICMP_TIMEOUT
                                                               : KST__SET_ICMPV6_TIMEOUT]);
}

#endif
/* ======== core/proto_other.h ============================================================= */

/* SPDX-License-Identifier: MIT */
/* core/proto_other.h - every protocol without a judge of its own: addresses are all it has. */
#ifndef KST_PROTO_OTHER_H
#define KST_PROTO_OTHER_H


static struct kst__judgement kst__other_judge(const struct kst__case *c)
{
    return kst__refresh(c->set[KST__SET_GENERIC_TIMEOUT]);
}

#endif
/* ======== core/proto_sctp.h ============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/proto_sctp.h - SCTP (RFC 9260): the state moves by chunks, several a packet.
 *
 *     header, chunk layout -> verification tags -> each chunk in turn through the table
 *
 * tag[direction] is the verification tag that packets of this direction carry; the other side
 * chose it in its INIT or INIT-ACK. What an early chunk changed stays when a later one turns the
 * packet INVALID, as in Linux. */
#ifndef KST_PROTO_SCTP_H
#define KST_PROTO_SCTP_H


enum kst__sctp_chunk {
    KST__SCTP_DATA = 0,
    KST__SCTP_INIT = 1,
    KST__SCTP_INIT_ACK = 2,
    KST__SCTP_SACK = 3,
    KST__SCTP_HEARTBEAT = 4,
    KST__SCTP_HEARTBEAT_ACK = 5,
    KST__SCTP_ABORT = 6,
    KST__SCTP_SHUTDOWN = 7,
    KST__SCTP_SHUTDOWN_ACK = 8,
    KST__SCTP_ERROR = 9,
    KST__SCTP_COOKIE_ECHO = 10,
    KST__SCTP_COOKIE_ACK = 11,
    KST__SCTP_ECNE = 12,
    KST__SCTP_CWR = 13,
    KST__SCTP_SHUTDOWN_COMPLETE = 14,
    KST__SCTP_ACTING = 15 /* those from here on leave the state alone, as do DATA and SACK */
};

enum { KST__SCTP_HEADER = 12, KST__SCTP_CHUNK_HEADER = 4, KST__SCTP_INIT_BYTES = 20 };

enum kst__sctp_flag {
    KST__SCTP_INIT_PENDING = 1,     /* shifted by direction: sent an INIT that awaits COOKIE-ACK */
    KST__SCTP_HEARTBEAT_ODD = 4     /* a HEARTBEAT with another tag was let through, */
};                                  /* by direction `odd` */

/* Next state by direction, chunk and state. */
enum {
    KST__SCTP_IV = KST_SCTP_NONE, /* INVALID */
    KST__SCTP_CL = KST_SCTP_CLOSED,
    KST__SCTP_CW = KST_SCTP_COOKIE_WAIT,
    KST__SCTP_CE = KST_SCTP_COOKIE_ECHOED,
    KST__SCTP_ES = KST_SCTP_ESTABLISHED,
    KST__SCTP_SS = KST_SCTP_SHUTDOWN_SENT,
    KST__SCTP_SR = KST_SCTP_SHUTDOWN_RECD,
    KST__SCTP_SA = KST_SCTP_SHUTDOWN_ACK_SENT,
    KST__SCTP_HS = KST_SCTP_HEARTBEAT_SENT
};
#define KST__ROW(no, cl, cw, ce, es, ss, sr, sa, hs)                                               \
    {KST__SCTP_##no, KST__SCTP_##cl, KST__SCTP_##cw, KST__SCTP_##ce, KST__SCTP_##es,               \
     KST__SCTP_##ss, KST__SCTP_##sr, KST__SCTP_##sa, KST__SCTP_##hs}
#define KST__STAY {0, 1, 2, 3, 4, 5, 6, 7, 8}
static const uint8_t kst__sctp_next[2][KST__SCTP_ACTING][KST_SCTP_STATES] = {
    {
        /* original:                   none CL  CW  CE  ES  SS  SR  SA  HS */
        /*  0 DATA */                  KST__STAY,
        KST__ROW(/*  1 INIT           */ CL, CL, CW, CE, ES, CL, CL, SA, CW),
        KST__ROW(/*  2 INIT-ACK       */ CL, CL, CW, CE, ES, SS, SR, SA, CL),
        /*  3 SACK */                  KST__STAY,
        KST__ROW(/*  4 HEARTBEAT      */ HS, CL, CW, CE, ES, SS, SR, SA, HS),
        KST__ROW(/*  5 HEARTBEAT-ACK  */ CL, CL, CW, CE, ES, SS, SR, SA, HS),
        KST__ROW(/*  6 ABORT          */ CL, CL, CL, CL, CL, CL, CL, CL, CL),
        KST__ROW(/*  7 SHUTDOWN       */ CL, CL, CW, CE, SS, SS, SR, SA, CL),
        KST__ROW(/*  8 SHUTDOWN-ACK   */ SA, CL, CW, CE, ES, SA, SA, SA, SA),
        KST__ROW(/*  9 ERROR          */ CL, CL, CW, CE, ES, SS, SR, SA, CL),
        KST__ROW(/* 10 COOKIE-ECHO    */ CL, CL, CE, CE, ES, SS, SR, SA, CL),
        KST__ROW(/* 11 COOKIE-ACK     */ CL, CL, CW, ES, ES, SS, SR, SA, CL),
        /* 12 */ KST__STAY, /* 13 */   KST__STAY,
        KST__ROW(/* 14 SHUTDOWN-COMPL */ CL, CL, CW, CE, ES, SS, SR, CL, CL),
    },
    {
        /* reply:                      none CL  CW  CE  ES  SS  SR  SA  HS */
        /*  0 DATA */                  KST__STAY,
        KST__ROW(/*  1 INIT           */ IV, CL, CW, CE, ES, SS, SR, SA, IV),
        KST__ROW(/*  2 INIT-ACK       */ IV, CW, CW, CE, ES, SS, SR, SA, IV),
        /*  3 SACK */                  KST__STAY,
        KST__ROW(/*  4 HEARTBEAT      */ IV, CL, CW, CE, ES, SS, SR, SA, HS),
        KST__ROW(/*  5 HEARTBEAT-ACK  */ IV, CL, CW, CE, ES, SS, SR, SA, ES),
        KST__ROW(/*  6 ABORT          */ IV, CL, CL, CL, CL, CL, CL, CL, IV),
        KST__ROW(/*  7 SHUTDOWN       */ IV, CL, CW, CE, SR, SS, SR, SA, IV),
        KST__ROW(/*  8 SHUTDOWN-ACK   */ IV, CL, CW, CE, ES, SA, SA, SA, IV),
        KST__ROW(/*  9 ERROR          */ IV, CL, CW, CL, ES, SS, SR, SA, IV),
        KST__ROW(/* 10 COOKIE-ECHO    */ IV, CL, CE, CE, ES, SS, SR, SA, IV),
        KST__ROW(/* 11 COOKIE-ACK     */ IV, CL, CW, ES, ES, SS, SR, SA, IV),
        /* 12 */ KST__STAY, /* 13 */   KST__STAY,
        KST__ROW(/* 14 SHUTDOWN-COMPL */ IV, CL, CW, CE, ES, SS, SR, CL, IV),
    },
};
#undef KST__ROW
#undef KST__STAY

typedef char kst__sctp_settings_are_in_the_order_of_states
    [KST__SET_SCTP_HEARTBEAT_SENT - KST__SET_SCTP_CLOSED ==
             (int)KST_SCTP_HEARTBEAT_SENT - (int)KST_SCTP_CLOSED ? 1 : -1];

static uint32_t kst__sctp_timeout(const uint32_t *set, uint8_t state)
{
    KST_ASSERT(state > KST_SCTP_NONE && state < KST_SCTP_STATES);
    return set[KST__SET_SCTP_CLOSED + state - KST_SCTP_CLOSED];
}

KST_INLINE bool kst__sctp_acts(uint8_t type)
{
    return type < KST__SCTP_ACTING && type != KST__SCTP_DATA && type != KST__SCTP_SACK &&
           type != KST__SCTP_ECNE && type != KST__SCTP_CWR;
}

/* Chunks of these types, as bits 0..15: those above do not matter here. */
#define KST__SCTP_BIT(type) (UINT32_C(1) << (type))

/* The tag of such a packet is not what the association uses, or it is checked by the chunk. */
#define KST__SCTP_OWN_TAG                                                                          \
    (KST__SCTP_BIT(KST__SCTP_INIT) | KST__SCTP_BIT(KST__SCTP_SHUTDOWN_COMPLETE) |              \
     KST__SCTP_BIT(KST__SCTP_COOKIE_ECHO) | KST__SCTP_BIT(KST__SCTP_ABORT) |                   \
     KST__SCTP_BIT(KST__SCTP_SHUTDOWN_ACK) | KST__SCTP_BIT(KST__SCTP_HEARTBEAT) |              \
     KST__SCTP_BIT(KST__SCTP_HEARTBEAT_ACK))

/* No association begins with one of these. */
#define KST__SCTP_NOT_FIRST                                                                        \
    (KST__SCTP_BIT(KST__SCTP_ABORT) | KST__SCTP_BIT(KST__SCTP_SHUTDOWN_COMPLETE) |             \
     KST__SCTP_BIT(KST__SCTP_COOKIE_ACK))

/* These stand alone in their packet (RFC 9260 §6.10). */
#define KST__SCTP_ALONE                                                                            \
    (KST__SCTP_BIT(KST__SCTP_INIT) | KST__SCTP_BIT(KST__SCTP_INIT_ACK) |                       \
     KST__SCTP_BIT(KST__SCTP_SHUTDOWN_COMPLETE))

/* These come first. */
#define KST__SCTP_LEADING                                                                          \
    (KST__SCTP_BIT(KST__SCTP_COOKIE_ECHO) | KST__SCTP_BIT(KST__SCTP_COOKIE_ACK))

/* The next chunk from *at on, which moves behind it; NULL at the end of the packet. Its header can
 * be read. A length below 4 moves on by one header, one beyond the end to the end. */
static const uint8_t *kst__sctp_chunk(const struct kst__parsed *p, uint32_t *at)
{
    if (*at > p->l4_here || p->l4_here - *at < KST__SCTP_CHUNK_HEADER)
        return NULL;
    const uint8_t *chunk = p->l4 + *at;
    const uint32_t length = kst__be16(chunk + 2);
    *at += (kst__max32(length, KST__SCTP_CHUNK_HEADER) + 3) & ~UINT32_C(3);
    return chunk;
}

/* CRC-32C (Castagnoli), four bits at a time. */
static uint32_t kst__crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    static const uint32_t nibbles[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
    return crc;
}

/* RFC 9260 appendix A: over the packet, with zeros for the checksum itself. */
static uint32_t kst__sctp_crc(const uint8_t *l4, uint32_t bytes)
{
    static const uint8_t zeros[4] = {0};
    uint32_t crc = kst__crc32c(UINT32_MAX, l4, 8);
    crc = kst__crc32c(crc, zeros, sizeof zeros);
    return ~kst__crc32c(crc, l4 + KST__SCTP_HEADER, bytes - KST__SCTP_HEADER);
}

static bool kst__sctp_checksum_right(const struct kst__parsed *p)
{
    if (p->checksum != KST_CHECKSUM_VERIFY)
        return p->checksum != KST_CHECKSUM_BAD;
    const uint32_t crc = kst__sctp_crc(p->l4, p->l4_bytes);
    const uint8_t *sum = p->l4 + 8;
    return crc == ((uint32_t)sum[3] << 24 | (uint32_t)sum[2] << 16 | (uint32_t)sum[1] << 8 | sum[0]);
}

/* Header and layout; *types gets a bit for each chunk type met. */
static uint8_t kst__sctp_refuse(const struct kst__parsed *p, uint32_t *types)
{
    if (p->l4_here < KST__SCTP_HEADER)
        return KST_REASON_L4_SHORT;
    if (!kst__sctp_checksum_right(p))
        return KST_REASON_SCTP_CHECKSUM;
    *types = 0;
    uint32_t at = KST__SCTP_HEADER;
    const uint8_t *chunk;
    for (uint32_t count = 0; (chunk = kst__sctp_chunk(p, &at)) != NULL; count++) {
        const uint32_t bit = chunk[0] < 16 ? KST__SCTP_BIT(chunk[0]) : 0;
        *types |= bit;
        if (kst__be16(chunk + 2) == 0)
            return KST_REASON_SCTP_CHUNKS;
        if (count > 0 && ((bit & KST__SCTP_LEADING) || (*types & KST__SCTP_ALONE)))
            return KST_REASON_SCTP_CHUNKS;
    }
    return at == KST__SCTP_HEADER ? KST_REASON_SCTP_CHUNKS : KST_REASON_NONE;
}

/* The initiate tag of an INIT or INIT-ACK; false if the chunk is not whole. */
static bool kst__sctp_initiate_tag(const struct kst__parsed *p, const uint8_t *chunk, uint32_t *tag)
{
    if ((uint32_t)(p->l4 + p->l4_here - chunk) < KST__SCTP_INIT_BYTES)
        return false;
    *tag = kst__be32(chunk + 4);
    return true;
}

/* The first packet: what it says of the tags. */
static uint8_t kst__sctp_begin(const struct kst__case *c, uint32_t types)
{
    struct kst__sctp *sctp = &c->entry->proto.sctp;
    const struct kst__parsed *p = c->packet;
    const uint32_t tag = kst__be32(p->l4 + 4);
    uint32_t at = KST__SCTP_HEADER;
    const uint8_t *chunk;
    if (types & KST__SCTP_NOT_FIRST)
        return KST_REASON_SCTP_FIRST;
    while ((chunk = kst__sctp_chunk(p, &at)) != NULL) {
        if (!kst__sctp_acts(chunk[0]))
            return KST_REASON_SCTP_FIRST;
        if (chunk[0] == KST__SCTP_INIT) {
            if (tag != 0 || !kst__sctp_initiate_tag(p, chunk, &sctp->tag[KST_REPLY]))
                return KST_REASON_SCTP_TAG;
        } else if (chunk[0] == KST__SCTP_HEARTBEAT) {
            sctp->tag[KST_ORIGINAL] = tag;
        } else if (chunk[0] == KST__SCTP_SHUTDOWN_ACK) {
            sctp->tag[KST_REPLY] = tag;
        }
    }
    return KST_REASON_NONE;
}

/* Stores the tag that the other side is to use from now on. */
static uint8_t kst__sctp_store_tag(const struct kst__case *c, const uint8_t *chunk)
{
    struct kst__sctp *sctp = &c->entry->proto.sctp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    const uint8_t from_pending = (uint8_t)(KST__SCTP_INIT_PENDING << from);
    const uint8_t to_pending = (uint8_t)(KST__SCTP_INIT_PENDING << to);
    uint32_t tag;
    if (!kst__sctp_initiate_tag(c->packet, chunk, &tag))
        return KST_REASON_SCTP_CHUNKS;
    if (chunk[0] == KST__SCTP_INIT && (c->fresh || sctp->tag[to] != tag)) {
        if (sctp->flags & from_pending) /* it insists: the other side's INIT has lost */
            sctp->flags &= (uint8_t)~to_pending;
        sctp->flags |= from_pending;
    }
    if (sctp->tag[to] != 0 && sctp->tag[to] != tag && chunk[0] == KST__SCTP_INIT_ACK &&
        (!(sctp->flags & to_pending) || (sctp->flags & from_pending)))
        return KST_REASON_SCTP_TAG;
    sctp->tag[to] = tag;
    return KST_REASON_NONE;
}

/* HEARTBEAT and HEARTBEAT-ACK may come on a new path before the tag is known there, or after the
 * other side restarted. *keep: let it through without refreshing. */
static uint8_t kst__sctp_heartbeat(const struct kst__case *c, uint8_t type, uint32_t types,
                                   bool *keep)
{
    struct kst__sctp *sctp = &c->entry->proto.sctp;
    const uint8_t from = c->direction;
    const uint32_t tag = kst__be32(c->packet->l4 + 4);
    if (sctp->tag[from] == 0) {
        sctp->tag[from] = tag;
        return KST_REASON_NONE;
    }
    if (sctp->tag[from] == tag) {
        sctp->flags &= (uint8_t)~KST__SCTP_HEARTBEAT_ODD;
        return KST_REASON_NONE;
    }
    if (types & KST__SCTP_BIT(KST__SCTP_DATA))
        return KST_REASON_SCTP_TAG;
    if (type == KST__SCTP_HEARTBEAT) {
        if (*keep) /* one a packet */
            return KST_REASON_SCTP_TAG;
        sctp->flags |= KST__SCTP_HEARTBEAT_ODD;
        sctp->odd = from;
        *keep = true;
        return KST_REASON_NONE;
    }
    if (!(sctp->flags & KST__SCTP_HEARTBEAT_ODD) || sctp->odd == from)
        return KST_REASON_SCTP_TAG;
    sctp->flags &= (uint8_t)~KST__SCTP_HEARTBEAT_ODD;
    sctp->tag[from] = tag;
    sctp->tag[1 - from] = 0;
    return KST_REASON_NONE;
}

/* What each chunk asks of the packet's tag. */
static uint8_t kst__sctp_tag(const struct kst__case *c, const uint8_t *chunk, uint32_t types,
                             bool *keep)
{
    const struct kst__sctp *sctp = &c->entry->proto.sctp;
    const uint32_t tag = kst__be32(c->packet->l4 + 4);
    const bool own = tag == sctp->tag[c->direction];
    const bool peers = tag == sctp->tag[1 - c->direction];
    const bool reflected = (chunk[1] & 1) != 0; /* the T bit */
    switch (chunk[0]) {
    case KST__SCTP_INIT: return tag == 0 ? KST_REASON_NONE : KST_REASON_SCTP_TAG;
    case KST__SCTP_ABORT:
    case KST__SCTP_SHUTDOWN_COMPLETE:
        return (reflected ? peers : own) ? KST_REASON_NONE : KST_REASON_SCTP_TAG;
    case KST__SCTP_COOKIE_ECHO: return own ? KST_REASON_NONE : KST_REASON_SCTP_TAG;
    case KST__SCTP_HEARTBEAT:
    case KST__SCTP_HEARTBEAT_ACK: return kst__sctp_heartbeat(c, chunk[0], types, keep);
    default: return KST_REASON_NONE;
    }
}

static struct kst__judgement kst__sctp_judge(const struct kst__case *c)
{
    struct kst__entry *e = c->entry;
    struct kst__sctp *sctp = &e->proto.sctp;
    const struct kst__parsed *p = c->packet;
    const uint8_t state_before = e->state;
    uint32_t types = 0;
    uint8_t reason = kst__sctp_refuse(p, &types);
    if (reason == KST_REASON_NONE && c->fresh)
        reason = kst__sctp_begin(c, types);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);
    if (!(types & KST__SCTP_OWN_TAG) && kst__be32(p->l4 + 4) != sctp->tag[c->direction])
        return kst__say(KST__REFUSE, KST_REASON_SCTP_TAG);

    uint32_t at = KST__SCTP_HEADER;
    const uint8_t *chunk;
    bool keep = false;
    while ((chunk = kst__sctp_chunk(p, &at)) != NULL) {
        reason = kst__sctp_tag(c, chunk, types, &keep);
        if (reason != KST_REASON_NONE)
            return kst__say(KST__REFUSE, (enum kst_reason)reason);
        const uint8_t next = chunk[0] < KST__SCTP_ACTING
                                 ? kst__sctp_next[c->direction][chunk[0]][e->state]
                                 : e->state;
        if (next == KST_SCTP_NONE)
            return kst__say(KST__REFUSE, KST_REASON_SCTP_STATE);
        if (chunk[0] == KST__SCTP_INIT || chunk[0] == KST__SCTP_INIT_ACK)
            reason = kst__sctp_store_tag(c, chunk);
        if (reason != KST_REASON_NONE)
            return kst__say(KST__REFUSE, (enum kst_reason)reason);
        if (chunk[0] == KST__SCTP_COOKIE_ACK)
            sctp->flags &= (uint8_t)~(KST__SCTP_INIT_PENDING * 3);
        if (next == KST_SCTP_ESTABLISHED && e->state != next)
            e->status |= KST_ASSURED;
        e->state = next;
    }
    if (keep)
        return kst__say(KST__KEEP, KST_REASON_SCTP_HEARTBEAT);
    if (!c->fresh && types == KST__SCTP_BIT(KST__SCTP_INIT) &&
        state_before == KST_SCTP_CLOSED && e->state == KST_SCTP_CLOSED)
        return kst__say(KST__KEEP, KST_REASON_SCTP_INIT_AGAIN);
    return kst__refresh(kst__sctp_timeout(c->set, e->state));
}

#endif
/* ======== core/proto_tcp.h =============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/proto_tcp.h - TCP (RFC 9293) as a middle box sees it, and as Linux judges it.
 *
 *     header -> class of the segment -> the table -> the special cases (reopen, resync, challenge
 *     ACK, RST) -> the windows (van Rooij, "Real Stateful TCP Packet Filtering in IP Filter",
 *     2001) -> new state, timeout
 *
 * A side's window is what it may send: `end` and `maxend` are sequence numbers of its own, the
 * second moved by what the other side acknowledges and offers. A connection picked up in the
 * middle is liberal: its window scales are unknown, so no window can be held against it. */
#ifndef KST_PROTO_TCP_H
#define KST_PROTO_TCP_H


enum kst__tcp_header_flag { /* RFC 9293 §3.1 */
    KST__FIN = 1,
    KST__SYN = 2,
    KST__RST = 4,
    KST__PSH = 8,
    KST__ACK = 16,
    KST__URG = 32
};

enum kst__tcp_flag { /* of a side; the last two of what was recorded of a SYN */
    KST__TCP_SCALES = 1,       /* offered window scaling */
    KST__TCP_SACKS = 2,        /* permits selective acknowledgements */
    KST__TCP_CLOSE_INIT = 4,   /* sent the first FIN */
    KST__TCP_LIBERAL = 8,
    KST__TCP_UNACKED = 16,     /* has sent data that is not acknowledged */
    KST__TCP_MAXACK = 32,      /* maxack is set */
    KST__TCP_CHALLENGE = 64,   /* a challenge ACK is expected */
    KST__TCP_SIMULTANEOUS = 128 /* both sides sent a SYN */
};

enum kst__tcp_class { /* of a segment: the first of RST, SYN, FIN, ACK that it has */
    KST__CLASS_SYN,
    KST__CLASS_SYNACK,
    KST__CLASS_FIN,
    KST__CLASS_ACK,
    KST__CLASS_RST,
    KST__CLASS_BAD, /* a combination that nobody may send */
    KST__CLASS_NONE = KST__CLASS_BAD /* nothing recorded yet */
};

/* The class and the direction of the last recorded segment, in one number: mostly both matter. */
#define KST__LAST(class_, direction) ((uint8_t)((class_) << 1 | (direction)))

/* Class by flags, URG ACK . RST SYN FIN; PSH, ECE and CWR do not matter. */
static uint8_t kst__tcp_class(uint8_t flags)
{
    switch (flags & (KST__URG | KST__ACK | KST__RST | KST__SYN | KST__FIN)) {
    case KST__SYN:
    case KST__SYN | KST__URG: return KST__CLASS_SYN;
    case KST__SYN | KST__ACK: return KST__CLASS_SYNACK;
    case KST__FIN | KST__ACK:
    case KST__FIN | KST__ACK | KST__URG: return KST__CLASS_FIN;
    case KST__ACK:
    case KST__ACK | KST__URG: return KST__CLASS_ACK;
    case KST__RST:
    case KST__RST | KST__ACK: return KST__CLASS_RST;
    default: return KST__CLASS_BAD;
    }
}

/* Next state by direction, class and state. Cells with a letter are decided further down. */
enum {
    KST__TO_NO = KST_TCP_NONE,       /* INVALID */
    KST__TO_SS = KST_TCP_SYN_SENT,   /* from TIME_WAIT and CLOSE: reopened, if it was closed well */
    KST__TO_SR = KST_TCP_SYN_RECV,
    KST__TO_ES = KST_TCP_ESTABLISHED,
    KST__TO_FW = KST_TCP_FIN_WAIT,
    KST__TO_CW = KST_TCP_CLOSE_WAIT,
    KST__TO_LA = KST_TCP_LAST_ACK,
    KST__TO_TW = KST_TCP_TIME_WAIT,
    KST__TO_CL = KST_TCP_CLOSE,
    KST__TO_S2 = KST_TCP_SYN_SENT2,
    KST__TO_IG = KST_TCP_STATES      /* ignored: may be out of sync, the answer will tell */
};
#define KST__ROW(no, ss, sr, es, fw, cw, la, tw, cl, s2)                                           \
    {KST__TO_##no, KST__TO_##ss, KST__TO_##sr, KST__TO_##es, KST__TO_##fw,                         \
     KST__TO_##cw, KST__TO_##la, KST__TO_##tw, KST__TO_##cl, KST__TO_##s2}
static const uint8_t kst__tcp_next[2][KST__CLASS_BAD][KST_TCP_STATES] = {
    {
        /* original: none SS  SR  ES  FW  CW  LA  TW  CL  S2 */
        KST__ROW(/* SYN    */ SS, SS, IG, IG, IG, IG, IG, SS, SS, S2),
        KST__ROW(/* SYNACK */ NO, NO, SR, NO, NO, NO, NO, NO, NO, SR),
        KST__ROW(/* FIN    */ NO, NO, FW, FW, LA, LA, LA, TW, CL, NO),
        KST__ROW(/* ACK    */ ES, NO, ES, ES, CW, CW, TW, TW, CL, NO),
        KST__ROW(/* RST    */ NO, CL, CL, CL, CL, CL, CL, CL, CL, CL),
    },
    {
        /* reply:    none SS  SR  ES  FW  CW  LA  TW  CL  S2 */
        KST__ROW(/* SYN    */ NO, S2, NO, NO, NO, NO, NO, SS, NO, S2),
        KST__ROW(/* SYNACK */ NO, SR, IG, IG, IG, IG, IG, IG, IG, SR),
        KST__ROW(/* FIN    */ NO, NO, FW, FW, LA, LA, LA, TW, CL, NO),
        KST__ROW(/* ACK    */ NO, IG, SR, ES, CW, CW, TW, TW, CL, IG),
        KST__ROW(/* RST    */ NO, CL, CL, CL, CL, CL, CL, CL, CL, CL),
    },
};
#undef KST__ROW

/* The timeout of each state; SYN_SENT2 has no setting in Linux. */
#define KST__TCP_SYN_SENT2_S 120
static uint32_t kst__tcp_timeout(const uint32_t *set, uint8_t state)
{
    static const uint8_t setting[KST_TCP_STATES] = {
        0, KST__SET_TCP_SYN_SENT, KST__SET_TCP_SYN_RECV, KST__SET_TCP_ESTABLISHED,
        KST__SET_TCP_FIN_WAIT, KST__SET_TCP_CLOSE_WAIT, KST__SET_TCP_LAST_ACK,
        KST__SET_TCP_TIME_WAIT, KST__SET_TCP_CLOSE, 0};
    return state == KST_TCP_SYN_SENT2 ? KST__TCP_SYN_SENT2_S : set[setting[state]];
}

/* A segment as the window check needs it. */
struct kst__segment {
    const uint8_t *options;
    uint32_t options_bytes;
    uint32_t seq, ack, end; /* end: the sequence number behind it, SYN and FIN counted */
    uint32_t window;        /* as it stands there, unscaled */
    uint8_t flags;
    uint8_t class_;
};

/* Reads the header; a reason if it is malformed. */
KST_INLINE uint8_t kst__tcp_read(const struct kst__parsed *p, struct kst__segment *s)
{
    if (p->l4_here < 20)
        return KST_REASON_L4_SHORT;
    const uint32_t header = (uint32_t)(p->l4[12] >> 4) * 4;
    if (header < 20 || header > p->l4_bytes)
        return KST_REASON_TCP_OFFSET;
    if (header > p->l4_here)
        return KST_REASON_L4_SHORT;
    if (!kst__checksum_right(p, p->l4_bytes, KST__TCP))
        return KST_REASON_TCP_CHECKSUM;
    s->flags = p->l4[13];
    s->class_ = kst__tcp_class(s->flags);
    if (s->class_ == KST__CLASS_BAD)
        return KST_REASON_TCP_FLAGS;
    s->options = p->l4 + 20;
    s->options_bytes = header - 20;
    s->seq = kst__be32(p->l4 + 4);
    s->ack = kst__be32(p->l4 + 8);
    s->window = kst__be16(p->l4 + 14);
    s->end = s->seq + (p->l4_bytes - header) + ((s->flags & KST__SYN) != 0) +
             ((s->flags & KST__FIN) != 0);
    return KST_REASON_NONE;
}

/* ---- options ---- */

enum { KST__OPTION_END = 0, KST__OPTION_NOP = 1, KST__OPTION_SCALE = 3, KST__OPTION_SACKS = 4,
       KST__OPTION_SACK = 5, KST__TCP_SCALE_MAX = 14 /* RFC 7323 §2.3 */ };

/* The next option from *at on, KST__OPTION_END when there is none or it is malformed; *at moves
 * behind it. `size` is its length field. */
static uint8_t kst__tcp_option(const struct kst__segment *s, uint32_t *at, uint32_t *size)
{
    while (*at < s->options_bytes && s->options[*at] == KST__OPTION_NOP)
        *at += 1;
    if (s->options_bytes - *at < 2 || s->options[*at] == KST__OPTION_END)
        return KST__OPTION_END;
    *size = s->options[*at + 1];
    if (*size < 2 || *size > s->options_bytes - *at)
        return KST__OPTION_END;
    *at += *size;
    return s->options[*at - *size];
}

/* What a SYN offers. Without any option nothing changes. */
static void kst__tcp_syn_options(const struct kst__segment *s, uint8_t *flags, uint8_t *scale)
{
    if (s->options_bytes == 0)
        return;
    *scale = 0;
    *flags &= KST__TCP_LIBERAL;
    uint32_t size = 0;
    for (uint32_t at = 0;;) {
        const uint8_t kind = kst__tcp_option(s, &at, &size);
        if (kind == KST__OPTION_END)
            return;
        if (kind == KST__OPTION_SACKS && size == 2)
            *flags |= KST__TCP_SACKS;
        if (kind == KST__OPTION_SCALE && size == 3) {
            const uint8_t shift = s->options[at - 1];
            *scale = shift < KST__TCP_SCALE_MAX ? shift : (uint8_t)KST__TCP_SCALE_MAX;
            *flags |= KST__TCP_SCALES;
        }
    }
}

/* The highest right edge of the SACK blocks (RFC 2018), or `ack` if none is after it. */
static uint32_t kst__tcp_sack(const struct kst__segment *s, uint32_t ack)
{
    uint32_t size = 0;
    for (uint32_t at = 0;;) {
        const uint8_t kind = kst__tcp_option(s, &at, &size);
        if (kind == KST__OPTION_END)
            return ack;
        if (kind == KST__OPTION_SACK && size >= 10 && (size - 2) % 8 == 0)
            for (uint32_t edge = at - size + 6; edge < at; edge += 8)
                if (kst__after(kst__be32(s->options + edge), ack))
                    ack = kst__be32(s->options + edge);
    }
}

/* ---- windows ---- */

/* An acknowledgement may lag by this much, even if the window was never that large. */
#define KST__TCP_ACK_WINDOW_MIN 66000

/* What a SYN says of its sender. */
static void kst__tcp_side_begin(struct kst__tcp *tcp, const struct kst__segment *s,
                                uint8_t direction)
{
    struct kst__tcp_side *sender = &tcp->side[direction];
    sender->end = sender->maxend = s->end;
    sender->maxwin = kst__max32(s->window, 1);
    kst__tcp_syn_options(s, &tcp->flags[direction], &tcp->scale[direction]);
    /* Windows scale only if both sides said so (RFC 7323 §1.3). */
    if (direction == KST_REPLY && !(tcp->flags[0] & tcp->flags[1] & KST__TCP_SCALES))
        tcp->scale[0] = tcp->scale[1] = 0;
}

/* Notes a segment of class ACK, or that it is the same again. */
static void kst__tcp_count_retrans(struct kst__tcp *tcp, const struct kst__segment *s,
                                   uint8_t direction)
{
    const uint16_t length = (uint16_t)(s->end - s->seq);
    if ((tcp->last & 1) == direction && tcp->last_seq == s->seq && tcp->last_ack == s->ack &&
        tcp->last_length == length && tcp->last_window == s->window) {
        tcp->retrans = (uint8_t)(tcp->retrans + (tcp->retrans < UINT8_MAX));
        return;
    }
    tcp->last_seq = s->seq;
    tcp->last_ack = s->ack;
    tcp->last_length = length;
    tcp->last_window = (uint16_t)s->window;
    tcp->retrans = 0;
}

enum kst__fit { KST__FITS, KST__FITS_BADLY, KST__FITS_NOT }; /* accept; ignore; refuse */

/* Whether a segment lies within the windows of both sides, which it moves; the connection was in this
 * state before it. `reason` says why it does not fit. */
KST_INLINE enum kst__fit kst__tcp_window(const struct kst__case *c, struct kst__segment s,
                                         uint8_t state, uint8_t *reason)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    struct kst__tcp_side *sender = &tcp->side[from], *receiver = &tcp->side[to];
    const struct kst__segment seen = s;
    uint32_t sack = s.ack;

    if (tcp->flags[to] & KST__TCP_SACKS) /* an RST without ACK may bring some, too */
        sack = kst__tcp_sack(&s, s.ack);
    if (KST_UNLIKELY(c->status & KST_SEQ_ADJUST)) { /* it has seen what helpers made of it */
        const uint32_t slot = (uint32_t)(c->entry - kst__entry_at(c->t, 0));
        const uint32_t shifted = kst__adjust_ack(&kst__adjust_at(c->t, slot)[to], s.ack);
        s.ack -= shifted;
        sack -= shifted;
    }

    if (sender->maxwin == 0) { /* the first that is seen of this side */
        if (s.flags & KST__SYN) {
            kst__tcp_side_begin(tcp, &s, from);
            if (!(s.flags & KST__ACK))
                return KST__FITS; /* simultaneous open */
        } else {
            sender->end = s.end;
            sender->maxwin = kst__max32(s.window << tcp->scale[from], 1);
            sender->maxend = s.end + sender->maxwin;
            if (receiver->maxwin == 0)
                receiver->end = receiver->maxend = sack;
            else if (sack == receiver->end + 1)
                receiver->end++; /* a keepalive was what the connection was picked up by */
        }
    } else if ((s.flags & KST__SYN) && kst__after(s.end, sender->end) &&
               (state == KST_TCP_SYN_SENT || state == KST_TCP_SYN_RECV)) {
        kst__tcp_side_begin(tcp, &s, from); /* the SYN again, with another number */
        if (from == KST_REPLY && !(s.flags & KST__ACK))
            return KST__FITS;
    }

    if (!(s.flags & KST__ACK) || ((s.flags & KST__RST) && s.ack == 0))
        s.ack = sack = receiver->end;
    if ((s.flags & KST__RST) && s.seq == 0 && state == KST_TCP_SYN_SENT)
        s.seq = s.end = sender->end; /* an RST that answers a SYN needs no number */

    /* The four boundaries, numbered as in the paper. */
    const uint32_t lag = kst__max32(sender->maxwin, KST__TCP_ACK_WINDOW_MIN);
    const bool seq_in = kst__before(s.seq, sender->maxend + 1);                        /* I */
    const bool seq_recent =
        receiver->maxwin == 0 || kst__after(s.end, sender->end - receiver->maxwin - 1); /* II */
    const bool ack_seen = kst__before(sack, receiver->end + 1);                        /* III */
    const bool ack_recent = kst__after(sack, receiver->end - lag - 1);                 /* IV */
    const bool liberal =
        c->set[KST__SET_TCP_BE_LIBERAL] || (tcp->flags[from] & KST__TCP_LIBERAL);
    if (KST_UNLIKELY(!(seq_in && seq_recent && ack_seen && ack_recent))) {
        const bool just_over = !seq_in && receiver->maxwin != 0 && seq_recent && ack_seen &&
                               ack_recent && s.end - sender->maxend + 1 <= receiver->maxwin;
        *reason = just_over     ? KST_REASON_TCP_SEQ_JUST_OVER
                  : !seq_in     ? KST_REASON_TCP_SEQ_OVER
                  : !ack_seen   ? KST_REASON_TCP_ACK_OVER
                  : !seq_recent ? KST_REASON_TCP_SEQ_OLD
                                : KST_REASON_TCP_ACK_OLD;
        if (just_over) { /* the receiver may take it: its ACK shall be believed */
            sender->end = s.end;
            tcp->flags[from] |= KST__TCP_UNACKED;
        }
        if (liberal) {
            *reason = KST_REASON_NONE;
            return KST__FITS;
        }
        return just_over || (seq_in && ack_seen) ? KST__FITS_BADLY : KST__FITS_NOT;
    }

    const uint32_t window = s.flags & KST__SYN ? s.window : s.window << tcp->scale[from];
    sender->maxwin = kst__max32(sender->maxwin, window + (sack - s.ack));
    if (kst__after(s.end, sender->end)) {
        sender->end = s.end;
        tcp->flags[from] |= KST__TCP_UNACKED;
    }
    if ((s.flags & KST__ACK) &&
        (!(tcp->flags[from] & KST__TCP_MAXACK) || kst__after(s.ack, sender->maxack))) {
        sender->maxack = s.ack;
        tcp->flags[from] |= KST__TCP_MAXACK;
    }
    if (receiver->maxwin != 0 && kst__after(s.end, sender->maxend))
        receiver->maxwin += s.end - sender->maxend;
    if (!kst__before(sack + window, receiver->maxend))
        receiver->maxend = sack + window + (window == 0); /* a probe of the closed window */
    if (s.ack == receiver->end)
        tcp->flags[to] &= (uint8_t)~KST__TCP_UNACKED;
    if (s.class_ == KST__CLASS_ACK)
        kst__tcp_count_retrans(tcp, &seen, from);
    return KST__FITS;
}

/* ---- special cases ---- */

/* The first segment of an entry. A reason if a connection cannot begin with it. */
static uint8_t kst__tcp_begin(const struct kst__case *c, const struct kst__segment *s)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    struct kst__tcp_side *sender = &tcp->side[KST_ORIGINAL];
    tcp->last = KST__LAST(KST__CLASS_NONE, KST_ORIGINAL);
    if (s->class_ == KST__CLASS_SYN) {
        kst__tcp_side_begin(tcp, s, KST_ORIGINAL);
        return KST_REASON_NONE;
    }
    if (s->class_ != KST__CLASS_ACK)
        return KST_REASON_TCP_FIRST;
    if (!c->set[KST__SET_TCP_LOOSE])
        return KST_REASON_TCP_PICKUP;
    sender->end = s->end;
    sender->maxwin = kst__max32(s->window, 1);
    sender->maxend = s->end + sender->maxwin;
    tcp->flags[0] = tcp->flags[1] = KST__TCP_SACKS | KST__TCP_LIBERAL;
    return KST_REASON_NONE;
}

/* A SYN on a finished connection: whether it may start a new one in its place. */
static bool kst__tcp_reopens(const struct kst__case *c)
{
    const struct kst__tcp *tcp = &c->entry->proto.tcp;
    return ((tcp->flags[0] | tcp->flags[1]) & KST__TCP_CLOSE_INIT) ||
           tcp->last == KST__LAST(KST__CLASS_RST, c->direction);
}

/* A SYN/ACK that answers a SYN which was ignored: the connection was out of sync, and begins
 * again. Returns whether that is so. */
static bool kst__tcp_resync(const struct kst__case *c, const struct kst__segment *s)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    const uint32_t last_end = tcp->last_seq + tcp->last_length;
    if (s->class_ != KST__CLASS_SYNACK || tcp->last != KST__LAST(KST__CLASS_SYN, to) ||
        s->ack != last_end)
        return false;
    tcp->side[to].end = tcp->side[to].maxend = last_end;
    tcp->side[to].maxwin = kst__max32(tcp->last_window, 1);
    tcp->flags[to] = tcp->last_flags;
    tcp->scale[to] = tcp->last_scale;
    memset(&tcp->side[from], 0, sizeof tcp->side[from]);
    tcp->flags[from] &= KST__TCP_LIBERAL;
    tcp->scale[from] = 0;
    return true;
}

/* Records a segment that is let through and otherwise ignored. */
static void kst__tcp_record_ignored(const struct kst__case *c, const struct kst__segment *s)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    tcp->last = KST__LAST(s->class_, c->direction);
    tcp->last_seq = s->seq;
    tcp->last_length = (uint16_t)(s->end - s->seq);
    tcp->last_window = (uint16_t)s->window;
    if (s->class_ == KST__CLASS_SYN && c->direction == KST_ORIGINAL) {
        tcp->last_flags = tcp->last_scale = 0;
        kst__tcp_syn_options(s, &tcp->last_flags, &tcp->last_scale);
        if (c->entry->state == KST_TCP_LAST_ACK) /* RFC 5961 §4 */
            tcp->last_flags |= KST__TCP_CHALLENGE;
    }
    if (s->class_ == KST__CLASS_ACK && c->entry->state == KST_TCP_SYN_SENT)
        tcp->last_ack = s->ack;
}

enum kst__rst { KST__RST_CHECK, KST__RST_SKIP, KST__RST_BAD }; /* the windows */

/* An RST that would close the connection (RFC 5961 §3). `next` becomes the present state if it is
 * let through without closing. */
static enum kst__rst kst__tcp_rst(const struct kst__case *c, const struct kst__segment *s,
                                  uint8_t *next)
{
    const struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    const uint8_t state = c->entry->state, last_class = tcp->last >> 1;
    const bool assured = (c->entry->status & KST_ASSURED) != 0;
    const uint32_t last_end = tcp->last_seq + tcp->last_length;

    if (state >= KST_TCP_FIN_WAIT && state <= KST_TCP_CLOSE)
        return KST__RST_SKIP;
    if ((tcp->flags[to] & KST__TCP_MAXACK) && last_class != KST__CLASS_SYN) {
        const uint32_t maxack = tcp->side[to].maxack;
        const bool alive = state == KST_TCP_ESTABLISHED && assured;
        if (s->seq == 0 && !alive)
            return KST__RST_CHECK;
        if (kst__before(s->seq, maxack) && !c->set[KST__SET_TCP_IGNORE_INVALID_RST])
            return KST__RST_BAD;
        if (!alive || s->seq == maxack)
            return KST__RST_CHECK;
        if (tcp->last == KST__LAST(KST__CLASS_ACK, from) && s->seq == last_end)
            return KST__RST_CHECK; /* right behind data that is not acknowledged yet */
        *next = state;
    }
    /* It answers something that was let through, or a challenge ACK. */
    const bool answers_syn = (c->entry->status & KST_SEEN_REPLY) &&
                             tcp->last == KST__LAST(KST__CLASS_SYN, to);
    const bool answers_ack = !assured && last_class == KST__CLASS_ACK;
    if ((answers_syn || answers_ack) && s->ack == last_end)
        return KST__RST_SKIP;
    if (state == KST_TCP_SYN_SENT && tcp->last == KST__LAST(KST__CLASS_ACK, KST_REPLY) &&
        s->seq == tcp->last_ack)
        return KST__RST_SKIP;
    return KST__RST_CHECK;
}

/* An RST or FIN outside the windows: the two sides may have lost each other. If both say so, the
 * connection need not be kept for days. */
static struct kst__judgement kst__tcp_refuse(const struct kst__case *c,
                                             const struct kst__segment *s, uint8_t reason)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    struct kst__judgement judgement = kst__say(KST__REFUSE, (enum kst_reason)reason);
    if ((s->class_ != KST__CLASS_RST && s->class_ != KST__CLASS_FIN) ||
        !(c->entry->status & KST_ASSURED) || (c->entry->status & KST_FIXED_TIMEOUT))
        return judgement;
    const uint32_t unacked_s = c->set[KST__SET_TCP_UNACKED];
    const uint64_t left_ms = c->entry->expires_ms - c->t->now_ms;
    const uint8_t other = (uint8_t)(1 - c->direction);
    if (tcp->last != KST__LAST(KST__CLASS_RST, other) &&
        tcp->last != KST__LAST(KST__CLASS_FIN, other))
        tcp->last = KST__LAST(s->class_, c->direction);
    else if (left_ms >= 120 * 1000 && left_ms > (uint64_t)unacked_s * 1000)
        judgement.timeout_s = unacked_s;
    return judgement;
}

/* ---- the whole story ---- */

/* After a segment that is accepted and in window: the new state, and how long it may last. */
KST_INLINE struct kst__judgement kst__tcp_accept(const struct kst__case *c,
                                                 const struct kst__segment *s, uint8_t old,
                                                 uint8_t next)
{
    const uint32_t *set = c->set;
    struct kst__tcp *tcp = &c->entry->proto.tcp;

    tcp->last = KST__LAST(s->class_, c->direction);
    if (next == KST_TCP_FIN_WAIT && old != next)
        tcp->flags[c->direction] |= KST__TCP_CLOSE_INIT;
    c->entry->state = next;

    const uint32_t retrans_s = set[KST__SET_TCP_RETRANS_TIMEOUT];
    const uint32_t unacked_s = set[KST__SET_TCP_UNACKED];
    uint32_t timeout_s = kst__tcp_timeout(set, next);
    if (tcp->retrans >= set[KST__SET_TCP_MAX_RETRANS] && timeout_s > retrans_s)
        timeout_s = retrans_s;
    else if (s->class_ == KST__CLASS_RST)
        timeout_s = set[KST__SET_TCP_CLOSE];
    else if (((tcp->flags[0] | tcp->flags[1]) & KST__TCP_UNACKED) && timeout_s > unacked_s)
        timeout_s = unacked_s;
    else if (tcp->last_window == 0 && timeout_s > retrans_s)
        timeout_s = retrans_s;

    if (!(c->entry->status & KST_SEEN_REPLY)) {
        if (s->class_ == KST__CLASS_RST)
            return kst__say(KST__END, KST_REASON_TCP_REFUSED);
        if (s->class_ == KST__CLASS_SYN && old == KST_TCP_SYN_SENT)
            return kst__say(KST__KEEP, KST_REASON_TCP_SYN_AGAIN);
        if (next == KST_TCP_ESTABLISHED && timeout_s > unacked_s)
            timeout_s = unacked_s;
    } else if ((old == KST_TCP_SYN_RECV || old == KST_TCP_ESTABLISHED) &&
               next == KST_TCP_ESTABLISHED) {
        c->entry->status |= KST_ASSURED;
    }
    struct kst__judgement judgement = kst__refresh(timeout_s);
    if (s->class_ == KST__CLASS_RST && next == old && next != KST_TCP_CLOSE)
        judgement.reason = KST_REASON_TCP_RST_HELD;
    return judgement;
}

/* A segment that the table lets through. */
KST_INLINE struct kst__judgement kst__tcp_pass(const struct kst__case *c,
                                               const struct kst__segment *s, uint8_t old,
                                               uint8_t next)
{
    uint8_t reason = KST_REASON_NONE;
    switch (kst__tcp_window(c, *s, old, &reason)) {
    case KST__FITS_NOT: return kst__tcp_refuse(c, s, reason);
    case KST__FITS_BADLY: return kst__say(KST__KEEP, (enum kst_reason)reason);
    default: return kst__tcp_accept(c, s, old, next);
    }
}

static struct kst__judgement kst__tcp_judge(const struct kst__case *c)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t state = c->entry->state;
    struct kst__segment s;
    uint8_t reason = kst__tcp_read(c->packet, &s);
    if (reason == KST_REASON_NONE && c->fresh)
        reason = kst__tcp_begin(c, &s);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);

    if (KST_LIKELY(s.class_ == KST__CLASS_ACK && state == KST_TCP_ESTABLISHED)) {
        /* Nearly all there are. Said once more, for the compiler to leave out what else may be. */
        s.class_ = KST__CLASS_ACK;
        s.flags = KST__ACK;
        return kst__tcp_pass(c, &s, KST_TCP_ESTABLISHED, KST_TCP_ESTABLISHED);
    }
    uint8_t next = kst__tcp_next[c->direction][s.class_][state];
    if (next == KST__TO_NO)
        return kst__say(KST__REFUSE, KST_REASON_TCP_STATE);
    if (next == KST__TO_SS && state >= KST_TCP_TIME_WAIT) {
        if (kst__tcp_reopens(c))
            return kst__say(KST__REOPEN, KST_REASON_NONE);
        next = KST__TO_IG;
    }
    if (next == KST__TO_IG) {
        if (!kst__tcp_resync(c, &s)) {
            kst__tcp_record_ignored(c, &s);
            return kst__say(KST__KEEP, KST_REASON_TCP_IGNORED);
        }
        next = KST_TCP_SYN_RECV;
    } else if (next == KST_TCP_SYN_SENT2) {
        tcp->last_flags |= KST__TCP_SIMULTANEOUS; /* in window or not */
    } else if (next == KST_TCP_TIME_WAIT && state == KST_TCP_LAST_ACK) {
        if (tcp->last == KST__LAST(KST__CLASS_SYN, 1 - c->direction) &&
            (tcp->last_flags & KST__TCP_CHALLENGE)) {
            tcp->last_flags &= (uint8_t)~KST__TCP_CHALLENGE;
            return kst__say(KST__KEEP, KST_REASON_TCP_CHALLENGE);
        }
    } else if (next == KST_TCP_SYN_RECV && s.class_ == KST__CLASS_ACK &&
               (tcp->last_flags & KST__TCP_SIMULTANEOUS)) {
        next = KST_TCP_ESTABLISHED;
    } else if (s.class_ == KST__CLASS_RST) {
        switch (kst__tcp_rst(c, &s, &next)) {
        case KST__RST_SKIP: return kst__tcp_accept(c, &s, state, next);
        case KST__RST_BAD: return kst__say(KST__REFUSE, KST_REASON_TCP_RST_SEQ);
        default: break;
        }
    }

    return kst__tcp_pass(c, &s, state, next);
}

#endif
/* ======== core/proto_udp.h =============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/proto_udp.h - UDP (RFC 768) and UDP-Lite (RFC 3828).
 *
 * Neither has states: an answered UDP flow that still talks two seconds after its start is a
 * stream and ASSURED, so a DNS query and its answer never are; an answered UDP-Lite flow is. */
#ifndef KST_PROTO_UDP_H
#define KST_PROTO_UDP_H


#define KST__UDP_STREAM_MS 2000

static uint8_t kst__udp_refuse(const struct kst__parsed *p)
{
    if (p->l4_here < 8)
        return KST_REASON_L4_SHORT;
    const uint32_t length = kst__be16(p->l4 + 4);
    if (length < 8 || length > p->l4_bytes)
        return KST_REASON_UDP_LENGTH;
    if (kst__be16(p->l4 + 6) != 0 && !kst__checksum_right(p, p->l4_bytes, KST__UDP))
        return KST_REASON_UDP_CHECKSUM;
    return KST_REASON_NONE;
}

static struct kst__judgement kst__udp_judge(const struct kst__case *c)
{
    struct kst__udp *udp = &c->entry->proto.udp;
    const uint8_t reason = kst__udp_refuse(c->packet);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);

    if (c->entry->status & KST_ASSURED) /* which saves a look at the second line */
        return kst__refresh(c->set[KST__SET_UDP_TIMEOUT_STREAM]);
    if (c->fresh) {
        const uint64_t stream_ms = kst__later_ms(c->t, KST__UDP_STREAM_MS);
        udp->stream_low = (uint32_t)stream_ms;
        udp->stream_high = (uint32_t)(stream_ms >> 32);
    }
    const uint64_t stream_ms = (uint64_t)udp->stream_high << 32 | udp->stream_low;
    if (!(c->entry->status & KST_SEEN_REPLY) || c->t->now_ms <= stream_ms)
        return kst__refresh(c->set[KST__SET_UDP_TIMEOUT]);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(c->set[KST__SET_UDP_TIMEOUT_STREAM]);
}

/* Linux computes the pseudo-header with UDP's number instead of UDP-Lite's, so what RFC 3828 says
 * is right it finds wrong. We do as Linux does, unless keepstate_udplite_rfc3828 is set. */
static uint8_t kst__udplite_refuse(const struct kst__case *c)
{
    const struct kst__parsed *p = c->packet;
    if (p->l4_here < 8)
        return KST_REASON_L4_SHORT;
    uint32_t covered = kst__be16(p->l4 + 4);
    if (covered == 0)
        covered = p->l4_bytes;
    if (covered < 8 || covered > p->l4_bytes)
        return KST_REASON_UDPLITE_COVERAGE;
    if (kst__be16(p->l4 + 6) == 0)
        return KST_REASON_UDPLITE_NO_CHECKSUM;
    const bool rfc3828 = c->set[KST__SET_UDPLITE_RFC3828] != 0;
    if (!kst__checksum_right(p, covered, rfc3828 ? KST__UDPLITE : KST__UDP))
        return KST_REASON_UDPLITE_CHECKSUM;
    return KST_REASON_NONE;
}

static struct kst__judgement kst__udplite_judge(const struct kst__case *c)
{
    const uint8_t reason = kst__udplite_refuse(c);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);
    if (!(c->entry->status & KST_SEEN_REPLY))
        return kst__refresh(c->set[KST__SET_UDP_TIMEOUT]);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(c->set[KST__SET_UDP_TIMEOUT_STREAM]);
}

#endif
/* ======== core/rewrite.h ================================================================= */

/* SPDX-License-Identifier: MIT */
/* core/rewrite.h - a packet in the caller's buffer gets other addresses and ports.
 *
 * Enters: bytes that were tracked, and which end is to be what. Leaves: the same bytes, of the same
 * size, whose checksums are as right as they were: changed by what has changed (RFC 1624). Only
 * SCTP's is computed anew. A packet that cannot be rewritten is left as it is. Knows nothing of
 * connections. */
#ifndef KST_REWRITE_H
#define KST_REWRITE_H


/* ---- one end ---- */

struct kst__end { /* what the source or the destination of a packet is to be */
    const uint8_t *address;
    uint16_t port; /* ICMP: the identifier, for either end; GRE: the call */
};

/* The end that packets of this tuple have. */
KST_INLINE struct kst__end kst__end_of(const struct kst_tuple *tuple, enum kst_nat_kind kind)
{
    const bool source = kind == KST_NAT_SOURCE;
    const struct kst__end end = {source ? tuple->src : tuple->dst,
                                 source || kst__is_icmp(tuple->protocol) ? tuple->src_port
                                                                         : tuple->dst_port};
    return end;
}

/* Lets the checksum in a transport header follow; of an ICMP error's short one just the ports
 * change. `addresses` is the change of what it covers but in ICMP. */
KST_INLINE void kst__checksum_follow(uint8_t *l4, uint32_t here, uint8_t protocol, uint64_t change,
                                     uint64_t addresses)
{
    uint32_t crc;
    switch (protocol) {
    case KST__TCP:
        if (here >= 20)
            kst__checksum_change(l4 + 16, change + addresses, false);
        break;
    case KST__UDP: kst__checksum_change(l4 + 6, change + addresses, true); break;
    case KST__UDPLITE: /* which always has one */
        kst__checksum_change(l4 + 6, change + addresses, false);
        if (kst__be16(l4 + 6) == 0)
            kst__put16(l4 + 6, UINT16_MAX);
        break;
    case KST__ICMP: kst__checksum_change(l4 + 2, change, false); break;
    case KST__ICMPV6: kst__checksum_change(l4 + 2, change + addresses, false); break;
    case KST__SCTP:
        if (here < KST__SCTP_HEADER)
            break;
        crc = kst__sctp_crc(l4, here);
        for (uint32_t i = 0; i < 4; i++)
            l4[8 + i] = (uint8_t)(crc >> 8 * i);
        break;
    default: break;
    }
}

/* Where in its header the port of an end stands, if it has one there that NAT changes. */
KST_INLINE uint32_t kst__port_at(const uint8_t *l4, uint8_t protocol, uint8_t ports,
                                 enum kst_nat_kind kind, bool *is)
{
    *is = true;
    switch (ports) {
    case KST__PORTS: return kind == KST_NAT_SOURCE ? 0 : 2;
    case KST__TYPES:
        *is = protocol == KST__ICMP ? l4[0] == 0 || l4[0] == 8 || (l4[0] >= 13 && l4[0] <= 18)
                                    : l4[0] == 128 || l4[0] == 129;
        return 4;
    case KST__KEYS: *is = kind == KST_NAT_DESTINATION && (l4[1] & 7) == 1; return 6;
    default: *is = false; return 0;
    }
}

/* Rewrites the transport header, of which `here` bytes are there. False if it is too short. */
static bool kst__rewrite_l4(uint8_t *l4, uint32_t here, uint8_t protocol, enum kst_nat_kind kind,
                            uint16_t port, uint64_t addresses)
{
    const uint8_t ports = kst__protocol_of(protocol)->ports;
    uint8_t is[2];
    bool has_port;
    if (protocol == KST__GRE) {
        const uint32_t version = here >= 8 ? l4[1] & 7u : 8;
        if (version > 1 && (version == 8 || kind == KST_NAT_DESTINATION))
            return false;
        if (version != 1)
            return true;
    }
    if (ports == KST__NO_PORTS)
        return true;
    if (here < 8)
        return false;
    const uint32_t at = kst__port_at(l4, protocol, ports, kind, &has_port);
    uint64_t change = 0;
    if (has_port) {
        kst__put16(is, port);
        change = kst__sum_change(0, l4 + at, is, sizeof is);
        memcpy(l4 + at, is, sizeof is);
    }
    kst__checksum_follow(l4, here, protocol, change, addresses);
    return true;
}

/* Gives one end of a packet another address and port; `l4` NULL: there is no transport header to see.
 * False, with nothing changed, if that cannot be done. */
KST_INLINE bool kst__rewrite_end(uint8_t *bytes, uint8_t *address, uint8_t *l4, uint32_t l4_here,
                                 uint8_t protocol, bool v4, enum kst_nat_kind kind, struct kst__end end)
{
    const uint64_t change = v4 ? kst__sum_change(0, address, end.address, 4)
                               : kst__sum_change(0, address, end.address, 16);
    if (l4 != NULL && !kst__rewrite_l4(l4, l4_here, protocol, kind, end.port, change))
        return false;
    if (v4) {
        memcpy(address, end.address, 4);
        kst__checksum_change(bytes + 10, change, false);
    } else {
        memcpy(address, end.address, 16);
    }
    return true;
}

/* Likewise the packet at `bytes`, of which `here` may be touched and its family alone is known: what an
 * ICMP error carries is of the error's family, whatever version it claims to be. */
static bool kst__rewrite(uint8_t *bytes, uint32_t here, bool v4, enum kst_nat_kind kind,
                         struct kst__end end)
{
    const struct kst__ip ip = v4 ? kst__ip4(bytes, here) : kst__ip6(bytes, here);
    const uint32_t address_bytes = v4 ? 4 : 16;
    if (ip.addresses == NULL || (v4 && (ip.reason != KST_REASON_NONE || ip.l4_at < 20)))
        return false;
    uint8_t *address = bytes + (ip.addresses - bytes) + (kind == KST_NAT_SOURCE ? 0 : address_bytes);
    /* Behind a header that nobody knows, or in the middle of a datagram, there is none to see. */
    const bool seen = ip.reason == KST_REASON_NONE && ip.fragment_at == 0;
    return kst__rewrite_end(bytes, address, seen ? bytes + ip.l4_at : NULL, seen ? here - ip.l4_at : 0,
                            ip.protocol, v4, kind, end);
}

/* ---- ICMP errors ---- */

/* Where the ICMP header of an error stands; 0 if it is none, or not all there. */
static uint32_t kst__error_at(const uint8_t *bytes, uint32_t here)
{
    const bool v4 = here > 0 && bytes[0] >> 4 == 4;
    const struct kst__ip ip = v4 ? kst__ip4(bytes, here) : kst__ip6(bytes, here);
    if (ip.reason != KST_REASON_NONE || ip.fragment_at != 0 || here < ip.l4_at + 8 ||
        (v4 && ip.l4_at < 20) || ip.protocol != kst__icmp_of(ip.family))
        return 0;
    const enum kst__icmp_sort sort =
        v4 ? kst__icmp4_sort(bytes[ip.l4_at]) : kst__icmp6_sort(bytes[ip.l4_at]);
    return sort == KST__ICMP_ERROR ? ip.l4_at : 0;
}

/* Whether an error that is all there has the right sum. */
static bool kst__error_sound(const uint8_t *bytes, uint32_t here, uint32_t at)
{
    const bool v4 = bytes[0] >> 4 == 4;
    const uint64_t pseudo = v4 ? 0 : kst__sum_pseudo(bytes + 8, 32, here - at, KST__ICMPV6);
    return kst__sum_right(kst__sum(pseudo, bytes + at, here - at));
}

/* Rewrites one end of an error, and the opposite end of the packet that it carries, so that who
 * gets it sees in both what it knows. `other` is the tuple of the direction that the carried one
 * went. */
static bool kst__rewrite_error(uint8_t *bytes, uint32_t here, uint32_t at, enum kst_nat_kind kind,
                               const struct kst_tuple *other, struct kst__end end)
{
    const bool v4 = bytes[0] >> 4 == 4;
    const enum kst_nat_kind opposite =
        kind == KST_NAT_SOURCE ? KST_NAT_DESTINATION : KST_NAT_SOURCE;
    const uint32_t size = here - at;
    const uint64_t pseudo = v4 ? 0 : kst__sum_pseudo(bytes + 8, 32, size, KST__ICMPV6);
    if (!kst__rewrite(bytes + at + 8, size - 8, v4, opposite, kst__end_of(other, opposite)))
        return false;
    kst__checksum_set(bytes + at, 2, size, pseudo);
    return kst__rewrite(bytes, here, v4, kind, end);
}

#endif

/* ======== core/line.h ==================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/line.h - writing text without stdio: numbers and addresses, for lines that are printed and for
 * messages that helpers change. */
#ifndef KST_LINE_H
#define KST_LINE_H


/* A line that is cut at `size` but counts on. */
struct kst__line {
    char *text;
    size_t size, length;
};

static void kst__put(struct kst__line *line, const char *text)
{
    for (; *text != '\0'; text++, line->length++)
        if (line->length + 1 < line->size)
            line->text[line->length] = *text;
}

static void kst__put_number(struct kst__line *line, uint64_t number, uint32_t base)
{
    char digits[21], *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    kst__put(line, at);
}

static void kst__put_padded(struct kst__line *line, const char *text, size_t width)
{
    const size_t end = line->length + width;
    kst__put(line, text);
    while (line->length < end)
        kst__put(line, " ");
}

/* `name` and a number behind it. */
static void kst__put_field(struct kst__line *line, const char *name, uint64_t number)
{
    kst__put(line, name);
    kst__put_number(line, number, 10);
}

static void kst__put_ipv4(struct kst__line *line, const uint8_t *address)
{
    for (uint32_t i = 0; i < 4; i++)
        kst__put_field(line, i == 0 ? "" : ".", address[i]);
}

/* All 32 digits, as /proc has them. */
static void kst__put_ipv6(struct kst__line *line, const uint8_t *address)
{
    for (uint32_t i = 0; i < 16; i++) {
        const char hex[3] = {"0123456789abcdef"[address[i] >> 4],
                             "0123456789abcdef"[address[i] & 15], '\0'};
        kst__put(line, i != 0 && i % 2 == 0 ? ":" : "");
        kst__put(line, hex);
    }
}

/* As people write it (RFC 5952): the longest run of zeros, the first of equals, becomes `::`. */
static void kst__put_ipv6_short(struct kst__line *line, const uint8_t *address)
{
    uint32_t begin = 8, length = 1; /* a single zero is no run */
    for (uint32_t i = 0, run = 0; i < 8; i++) {
        run = kst__be16(address + 2 * i) == 0 ? run + 1 : 0;
        if (run > length) {
            length = run;
            begin = i + 1 - run;
        }
    }
    const bool mapped = begin == 0 && length == 5 && kst__be16(address + 10) == UINT16_MAX;
    const bool with_ipv4 = mapped || (begin == 0 && length == 6);
    for (uint32_t i = 0; i < (with_ipv4 ? 6u : 8u); i++) {
        if (i == begin) {
            kst__put(line, "::");
            i += length - 1;
            continue;
        }
        kst__put(line, i == 0 || i == begin + length ? "" : ":");
        kst__put_number(line, kst__be16(address + 2 * i), 16);
    }
    if (with_ipv4) {
        kst__put(line, mapped ? ":" : "");
        kst__put_ipv4(line, address + 12);
    }
}

#endif
/* ======== core/help_text.h =============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/help_text.h - what helpers share: reading untrusted text, and saying what they expect.
 *
 * A struct kst__text is what is left to read; every reader checks that before it looks. */
#ifndef KST_HELP_TEXT_H
#define KST_HELP_TEXT_H


struct kst__text {
    const uint8_t *at, *end;
};

KST_INLINE uint32_t kst__left(const struct kst__text *text)
{
    return (uint32_t)(text->end - text->at);
}

KST_INLINE bool kst__is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

KST_INLINE uint8_t kst__lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Whether `n` bytes are those of `word`, whatever their case; `word` is in lower case. */
static bool kst__same_word(const uint8_t *text, const char *word, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (kst__lower(text[i]) != (uint8_t)word[i])
            return false;
    return true;
}

/* Whether the text begins with `word`, whatever its case; then it is read. */
static bool kst__word_read(struct kst__text *text, const char *word)
{
    const uint32_t n = (uint32_t)strlen(word);
    if (kst__left(text) < n || !kst__same_word(text->at, word, n))
        return false;
    text->at += n;
    return true;
}

/* Reads on to just behind the first `c`. */
static bool kst__skip_past(struct kst__text *text, uint8_t c)
{
    while (text->at < text->end)
        if (*text->at++ == c)
            return true;
    return false;
}

/* Digits, at most `most`; false if there is none. What exceeds 2^64 wraps. */
static bool kst__number_read(struct kst__text *text, uint32_t most, uint64_t *number)
{
    const uint8_t *begin = text->at;
    *number = 0;
    for (; text->at < text->end && kst__is_digit(*text->at) && most > 0; text->at++, most--)
        *number = *number * 10 + (*text->at - '0');
    return text->at > begin;
}

/* a.b.c.d, each at most 255 behind whatever zeros; no fifth may follow. */
static bool kst__ipv4_read(struct kst__text *text, uint8_t *address)
{
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t number = 0;
        if (i > 0 && (text->at == text->end || *text->at++ != '.'))
            return false;
        if (text->at == text->end || !kst__is_digit(*text->at))
            return false;
        for (; text->at < text->end && kst__is_digit(*text->at); text->at++) {
            number = number * 10 + (uint32_t)(*text->at - '0');
            if (number > 255)
                return false;
        }
        address[i] = (uint8_t)number;
    }
    return text->at == text->end || *text->at != '.';
}

static int kst__hex_digit(uint8_t c)
{
    if (kst__is_digit(c))
        return c - '0';
    return kst__lower(c) >= 'a' && kst__lower(c) <= 'f' ? kst__lower(c) - 'a' + 10 : -1;
}

/* Sixteen bits in hexadecimal, behind whatever zeros. */
static bool kst__group_read(struct kst__text *text, uint32_t *group)
{
    const uint8_t *begin = text->at;
    *group = 0;
    for (; text->at < text->end && kst__hex_digit(*text->at) >= 0; text->at++) {
        *group = *group << 4 | (uint32_t)kst__hex_digit(*text->at);
        if (*group > UINT16_MAX)
            return false;
    }
    return text->at > begin;
}

/* An IPv6 address as people write it (RFC 4291, 2.2), the last 32 bits perhaps in IPv4's way. */
static bool kst__ipv6_read(struct kst__text *text, uint8_t *address)
{
    uint32_t bytes = 0, gap = UINT32_MAX; /* read so far; where `::` stood */
    memset(address, 0, 16);
    while (bytes < 16) {
        struct kst__text ahead = *text;
        uint32_t group;
        if (kst__left(&ahead) >= 2 && ahead.at[0] == ':' && ahead.at[1] == ':') {
            if (gap != UINT32_MAX)
                return false;
            gap = bytes;
            ahead.at += 2;
        } else if (bytes > 0 && (bytes != gap)) {
            if (ahead.at == ahead.end || *ahead.at != ':')
                break;
            ahead.at++;
        }
        const struct kst__text number = ahead;
        if (!kst__group_read(&ahead, &group)) {
            if (gap != bytes || (number.at < number.end &&
                                 (*number.at == ':' || kst__hex_digit(*number.at) >= 0)))
                return false;
            *text = number;
            break;
        }
        if (ahead.at < ahead.end && *ahead.at == '.' && bytes <= 12) {
            ahead = number;
            if (!kst__ipv4_read(&ahead, address + bytes))
                return false;
            *text = ahead;
            bytes += 4;
            break;
        }
        address[bytes] = (uint8_t)(group >> 8);
        address[bytes + 1] = (uint8_t)group;
        bytes += 2;
        *text = ahead;
    }
    if (gap == UINT32_MAX)
        return bytes == 16;
    memmove(address + 16 - (bytes - gap), address + gap, bytes - gap);
    memset(address + gap, 0, 16 - bytes);
    return bytes < 16;
}

/* The zone that a connection lives in, in whatever direction. */
static uint16_t kst__help_zone(const struct kst_help *h)
{
    return h->tuple[0].zone != 0 ? h->tuple[0].zone : h->tuple[1].zone;
}

/* Expects a connection that begins with a packet of this tuple and no other. */
static enum kst_reason kst__help_expect_exactly(struct kst_help *h, uint8_t class_,
                                                const struct kst_tuple *tuple)
{
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple = *tuple;
    x.class_ = class_;
    return kst_expect(h->t, &x) == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
}

enum { KST__HELP_PORTS = 128 };

/* Expects, where the connection is translated, one that will be bound as that is, at the first port
 * that nobody else expects: the one named, which is `*port`, else some of those above it at random.
 * `*port` is then what was taken. */
static enum kst_reason kst__help_expect_port(struct kst_help *h, struct kst_expectation *x,
                                             uint16_t *port)
{
    enum kst_error error = KST_ERROR_EXPECT_BUSY;
    if (h->translated && x->follows == KST_FOLLOWS_NOT)
        x->follows = KST_FOLLOWS;
    x->nat_direction = h->direction;
    x->tuple.dst_port = *port;
    for (uint32_t i = 0; i <= KST__HELP_PORTS && error == KST_ERROR_EXPECT_BUSY; i++) {
        if (i > 0 && !h->translated)
            break;
        if (i > 0)
            x->tuple.dst_port = (uint16_t)(*port + kst__nat_draw(h->t) % (65536u - *port));
        error = kst_expect(h->t, x);
    }
    *port = x->tuple.dst_port;
    return error == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
}

/* Puts a line in the place of what is at [begin, end) of the payload. */
static enum kst_reason kst__help_put(struct kst_help *h, const uint8_t *begin, const uint8_t *end,
                                     const struct kst__line *line)
{
    return kst_help_replace(h, (uint32_t)(begin - h->payload), (uint32_t)(end - begin), line->text,
                            (uint32_t)line->length)
               ? KST_REASON_NONE
               : KST_REASON_NAT_ROOM;
}

/* Expects `protocol` from the sender of `as`, but for what `flags` leaves open, to this address
 * and port, or another if the connection is translated. */
static enum kst_reason kst__help_expect(struct kst_help *h, uint8_t class_, uint8_t protocol,
                                        uint8_t flags, const struct kst_tuple *as,
                                        const uint8_t *dst, uint16_t *port)
{
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple.family = as->family;
    x.tuple.protocol = protocol;
    x.tuple.zone = kst__help_zone(h);
    if (!(flags & KST_EXPECT_ANY_SRC))
        memcpy(x.tuple.src, as->src, sizeof x.tuple.src);
    memcpy(x.tuple.dst, dst, sizeof x.tuple.dst);
    x.nat_port = *port;
    x.class_ = class_;
    x.flags = flags;
    return kst__help_expect_port(h, &x, port);
}

#endif
/* ======== core/help_ftp.h ================================================================ */

/* SPDX-License-Identifier: MIT */
/* core/help_ftp.h - FTP (RFC 959, RFC 2428): PORT and EPRT of the client, 227 and 229 of the server
 * name where the data connection will go.
 *
 * A packet is read only if it begins where a line does: that is known from the packet before it, so
 * the first of each side is never read. Numbers are read as Linux reads them, modulo 2^32. */
#ifndef KST_HELP_FTP_H
#define KST_HELP_FTP_H


struct kst__ftp { /* by direction: the last two places where a line began */
    uint32_t line[2][2];
    uint32_t lines[2];
};

typedef char kst__ftp_fits[sizeof(struct kst__ftp) <= KST_HELPER_STATE_BYTES ? 1 : -1];

struct kst__ftp_address { /* where data will go, beginning with where the command came from */
    uint8_t address[16];
    uint8_t family;
    uint16_t port;
    const uint8_t *begin, *end; /* where it stands */
};

static bool kst__ftp_at_line(const struct kst__ftp *ftp, uint8_t direction, uint32_t seq)
{
    for (uint32_t i = 0; i < ftp->lines[direction]; i++)
        if (ftp->line[direction][i] == seq)
            return true;
    return false;
}

/* Notes where the next line begins, in the place of the older one. */
static void kst__ftp_note_line(struct kst__ftp *ftp, uint8_t direction, uint32_t seq)
{
    uint32_t *line = ftp->line[direction];
    if (kst__ftp_at_line(ftp, direction, seq))
        return;
    if (ftp->lines[direction] < 2) {
        line[ftp->lines[direction]++] = seq;
        return;
    }
    const uint32_t older = kst__before(line[0], line[1]) ? 0 : 1;
    if (kst__after(seq, line[older]))
        line[older] = seq;
}

/* `count` numbers with `separator` between and something that is neither behind: `end`, or
 * anything if that is 0. An empty number is 0. */
static bool kst__ftp_numbers(struct kst__text *text, uint32_t *numbers, uint32_t count,
                             uint8_t separator, uint8_t end)
{
    memset(numbers, 0, count * sizeof *numbers);
    for (uint32_t i = 0; text->at < text->end && i < count; text->at++) {
        const uint8_t c = *text->at;
        if (kst__is_digit(c))
            numbers[i] = numbers[i] * 10 + (c - '0');
        else if (c == separator)
            i++;
        else
            return i == count - 1 && (end == 0 || c == end);
    }
    return false;
}

/* An IPv4 address of four numbers that are not held to 255: Linux or's them together. */
static void kst__ftp_ipv4(const uint32_t *numbers, struct kst__ftp_address *a)
{
    const uint32_t ipv4 = numbers[0] << 24 | numbers[1] << 16 | numbers[2] << 8 | numbers[3];
    for (uint32_t i = 0; i < 4; i++)
        a->address[i] = (uint8_t)(ipv4 >> (24 - 8 * i));
}

/* h1,h2,h3,h4,p1,p2 */
static bool kst__ftp_six(struct kst__text *text, uint8_t end, struct kst__ftp_address *a)
{
    uint32_t numbers[6];
    a->begin = text->at;
    if (!kst__ftp_numbers(text, numbers, 6, ',', end))
        return false;
    a->end = text->at;
    kst__ftp_ipv4(numbers, a);
    a->port = (uint16_t)(numbers[4] << 8 | numbers[5]);
    return true;
}

/* A port, not 0, and the delimiter behind it. */
static bool kst__ftp_port(struct kst__text *text, uint8_t delimiter, struct kst__ftp_address *a)
{
    a->port = 0;
    for (; text->at < text->end; text->at++) {
        if (*text->at == delimiter) {
            a->end = text->at + 1;
            return a->port != 0;
        }
        if (!kst__is_digit(*text->at))
            return false;
        a->port = (uint16_t)(a->port * 10 + (*text->at - '0'));
    }
    return false;
}

static bool kst__ftp_delimiter(uint8_t c)
{
    return c >= 33 && c <= 126 && !kst__is_digit(c);
}

static bool kst__ftp_port_command(struct kst__text *text, struct kst__ftp_address *a)
{
    return kst__skip_past(text, ' ') && kst__ftp_six(text, '\r', a);
}

/* |1|132.235.1.2|6275| or |2|3ffe::1|6275| */
static bool kst__ftp_eprt_command(struct kst__text *text, struct kst__ftp_address *a)
{
    uint32_t numbers[4];
    if (!kst__skip_past(text, ' ') || kst__left(text) <= 3)
        return false;
    const uint8_t delimiter = text->at[0];
    a->begin = text->at;
    if (!kst__ftp_delimiter(delimiter) || text->at[2] != delimiter ||
        text->at[1] != (a->family == KST_IPV4 ? '1' : '2'))
        return false;
    text->at += 3;
    if (a->family == KST_IPV4) {
        if (!kst__ftp_numbers(text, numbers, 4, '.', delimiter))
            return false;
        kst__ftp_ipv4(numbers, a);
    } else if (!kst__ipv6_read(text, a->address) || text->at == text->end ||
               (*text->at != delimiter && *text->at != '\0')) {
        return false;
    }
    text->at++;
    return kst__ftp_port(text, delimiter, a);
}

static bool kst__ftp_227(struct kst__text *text, struct kst__ftp_address *a)
{
    while (text->at < text->end && !kst__is_digit(*text->at))
        text->at++;
    return kst__ftp_six(text, 0, a);
}

/* |||6446| */
static bool kst__ftp_229(struct kst__text *text, struct kst__ftp_address *a)
{
    if (!kst__skip_past(text, '(') || kst__left(text) <= 3)
        return false;
    const uint8_t delimiter = text->at[0];
    a->begin = text->at;
    if (!kst__ftp_delimiter(delimiter) || text->at[1] != delimiter || text->at[2] != delimiter)
        return false;
    text->at += 3;
    return kst__ftp_port(text, delimiter, a);
}

/* What a line says: NONE, and `found` if it names an address. */
static enum kst_reason kst__ftp_line(const struct kst_help *h, struct kst__ftp_address *a,
                                     bool *found)
{
    static const char words[2][2][5] = {{"port", "eprt"}, {"227 ", "229 "}};
    struct kst__text text = {h->payload, h->payload + h->size};
    *found = false;
    for (uint32_t i = 0; i < 2; i++) {
        const char *word = words[h->direction][i];
        if (h->size <= 4 && kst__same_word(h->payload, word, h->size))
            return KST_REASON_FTP_PARTIAL;
        if (!kst__word_read(&text, word))
            continue;
        *found = h->direction == KST_ORIGINAL
                     ? (i == 0 ? kst__ftp_port_command(&text, a) : kst__ftp_eprt_command(&text, a))
                     : (i == 0 ? kst__ftp_227(&text, a) : kst__ftp_229(&text, a));
        return *found ? KST_REASON_NONE : KST_REASON_FTP_ADDRESS;
    }
    return KST_REASON_NONE;
}

/* Puts another address and port in the place of the one that was read, in the same form. */
static enum kst_reason kst__ftp_rewrite(struct kst_help *h, const struct kst__ftp_address *a,
                                        const uint8_t *address, uint16_t port)
{
    char text[64];
    struct kst__line line = {text, sizeof text, 0};
    if (kst__is_digit(*a->begin)) { /* h1,h2,h3,h4,p1,p2 */
        for (uint32_t i = 0; i < 4; i++)
            kst__put_field(&line, i == 0 ? "" : ",", address[i]);
        kst__put_field(&line, ",", port >> 8);
        kst__put_field(&line, ",", port & 0xff);
    } else { /* |1|h.h.h.h|p|, |2|h:h::h|p| or |||p| */
        const bool extended = h->direction == KST_ORIGINAL;
        kst__put(&line, !extended ? "||" : a->family == KST_IPV4 ? "|1|" : "|2|");
        if (extended && a->family == KST_IPV4)
            kst__put_ipv4(&line, address);
        else if (extended)
            kst__put_ipv6(&line, address);
        kst__put_field(&line, "|", port);
        kst__put(&line, "|");
    }
    return kst__help_put(h, a->begin, a->end, &line);
}

static enum kst_reason kst__ftp_help(struct kst_help *h)
{
    struct kst__ftp *ftp = (struct kst__ftp *)h->state;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    struct kst__ftp_address a;
    enum kst_reason reason = KST_REASON_NONE;
    bool found;
    uint32_t loose = 1;
    if (!h->answered || h->size == 0)
        return KST_REASON_NONE;
    const uint32_t behind = h->seq + h->size; /* as it came: its peer will number it so */
    const bool ends = h->payload[h->size - 1] == '\n';
    if (kst__ftp_at_line(ftp, h->direction, h->seq)) {
        memcpy(a.address, own->src, sizeof a.address);
        a.family = own->family;
        reason = kst__ftp_line(h, &a, &found);
        if (reason != KST_REASON_NONE)
            return reason;
        const bool elsewhere = memcmp(a.address, own->src, sizeof a.address) != 0;
        if (elsewhere)
            kst_setting(h->t, "nf_conntrack_ftp_loose", &loose);
        if (found && loose)
            reason = kst__help_expect(h, 0, own->protocol, KST_EXPECT_ANY_SRC_PORT, other,
                                      elsewhere ? a.address : other->dst, &a.port);
        if (found && loose && h->translated && reason == KST_REASON_NONE)
            reason = kst__ftp_rewrite(h, &a, other->dst, a.port);
    }
    if (ends)
        kst__ftp_note_line(ftp, h->direction, behind);
    return reason;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_ftp = {
    "ftp", {KST__TCP, 0},
    0,     false,
    21,    {{"", 1, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__ftp_help};

#endif
/* ======== core/help_irc.h ================================================================ */

/* SPDX-License-Identifier: MIT */
/* core/help_irc.h - IRC's DCC: `PRIVMSG nick :^ADCC SEND file 3221225985 5000 1234^A` names
 * where the other side will connect to. Read only at the beginning of a packet, and only from
 * the client. */
#ifndef KST_HELP_IRC_H
#define KST_HELP_IRC_H


enum { KST__IRC_MAX = 4095, KST__IRC_MIN = 26 }; /* bytes that are read; that are there from the colon on */

/* Behind the keyword: a word, an address, a port; and behind the word a line must end. The text is
 * then that of address and port. */
static bool kst__dcc_read(struct kst__text *from, uint32_t *address, uint16_t *port)
{
    struct kst__text text = *from;
    uint64_t number;
    for (;;) { /* the file's name */
        if (text.end - text.at < 12)
            return false;
        if (*text.at++ == ' ')
            break;
    }
    struct kst__text line = text;
    if (!kst__skip_past(&line, '\n'))
        return false;
    from->at = text.at;
    kst__number_read(&text, UINT32_MAX, &number);
    *address = (uint32_t)number;
    while (text.at < text.end && *text.at == ' ')
        text.at++;
    kst__number_read(&text, UINT32_MAX, &number);
    *port = (uint16_t)number;
    from->end = text.at;
    return true;
}

static enum kst_reason kst__irc_help(struct kst_help *h)
{
    static const char *const keywords[] = {"SEND ", "CHAT ", "MOVE ", "TSEND ", "SCHAT "};
    const struct kst_tuple *original = &h->tuple[KST_ORIGINAL], *reply = &h->tuple[KST_REPLY];
    const uint32_t size = h->size < KST__IRC_MAX ? h->size : (uint32_t)KST__IRC_MAX;
    struct kst__text text = {h->payload, h->payload + size};
    if (h->direction != KST_ORIGINAL || !h->answered)
        return KST_REASON_NONE;
    while (text.at < text.end && (*text.at == ' ' || *text.at == '\r' || *text.at == '\n'))
        text.at++;
    if (!kst__word_read(&text, "privmsg "))
        return KST_REASON_NONE;
    do { /* on to the first " :" */
        if (!kst__skip_past(&text, ' '))
            return KST_REASON_NONE;
    } while (text.at < text.end && *text.at != ':');
    if (kst__left(&text) < KST__IRC_MIN || memcmp(text.at, ":\1DCC ", 6) != 0)
        return KST_REASON_NONE;
    text.at += 6;

    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        const uint32_t n = (uint32_t)strlen(keywords[i]);
        uint32_t address;
        uint16_t port;
        if (kst__left(&text) < n || memcmp(text.at, keywords[i], n) != 0)
            continue;
        text.at += n;
        struct kst__text numbers = text;
        if (!kst__dcc_read(&numbers, &address, &port))
            continue;
        const uint8_t bytes[16] = {(uint8_t)(address >> 24), (uint8_t)(address >> 16),
                                   (uint8_t)(address >> 8), (uint8_t)address};
        const bool own = memcmp(bytes, original->src, sizeof bytes) == 0 ||
                         memcmp(bytes, reply->dst, sizeof bytes) == 0;
        if (!own || port == 0) /* a lie: nothing is opened for it */
            continue;
        const enum kst_reason reason =
            kst__help_expect(h, 0, KST__TCP, KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT, original,
                             reply->dst, &port);
        if (reason != KST_REASON_NONE || !h->translated)
            return reason;
        char words[24];
        struct kst__line line = {words, sizeof words, 0};
        kst__put_number(&line, kst__be32(reply->dst), 10);
        kst__put_field(&line, " ", port);
        return kst__help_put(h, numbers.at, numbers.end, &line);
    }
    return KST_REASON_NONE;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_irc = {
    "irc", {KST__TCP, 0}, KST_IPV4, false, 6667, {{"", 8, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__irc_help};

#endif
/* ======== core/help_pptp.h =============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/help_pptp.h - PPTP (RFC 2637): control messages that set up a GRE call. The call is expected
 * from both sides, and its two identifiers become the keys of its packets. */
#ifndef KST_HELP_PPTP_H
#define KST_HELP_PPTP_H


enum kst__pptp_message {
    KST__PPTP_START_REQUEST = 1,
    KST__PPTP_START_REPLY,
    KST__PPTP_STOP_REQUEST,
    KST__PPTP_STOP_REPLY,
    KST__PPTP_ECHO_REQUEST,
    KST__PPTP_ECHO_REPLY,
    KST__PPTP_OUT_REQUEST,
    KST__PPTP_OUT_REPLY,
    KST__PPTP_IN_REQUEST,
    KST__PPTP_IN_REPLY,
    KST__PPTP_IN_CONNECTED,
    KST__PPTP_CLEAR_REQUEST,
    KST__PPTP_DISCONNECT,
    KST__PPTP_WAN_ERROR,
    KST__PPTP_SET_LINK,
    KST__PPTP_MESSAGES
};

/* Bytes that a message must have behind its twelve bytes of header. */
static const uint8_t kst__pptp_bytes[KST__PPTP_MESSAGES] = {0,   144, 144, 4,  4,  4,   8,  156,
                                                            20,  208, 12,  16, 4,  136, 28, 12};

enum kst__pptp_session {
    KST__PPTP_NONE,
    KST__PPTP_ERROR,
    KST__PPTP_STOPPING,
    KST__PPTP_REQUESTED,
    KST__PPTP_CONFIRMED
};

enum kst__pptp_call {
    KST__PPTP_IDLE,
    KST__PPTP_OUT_REQUESTED,
    KST__PPTP_OUT_CONFIRMED,
    KST__PPTP_IN_REQUESTED,
    KST__PPTP_IN_REPLIED,
    KST__PPTP_IN_CONFIRMED,
    KST__PPTP_CLEARING
};

struct kst__pptp { /* what the two call their call stands in struct kst__help */
    uint8_t session; /* enum kst__pptp_session */
    uint8_t call;    /* enum kst__pptp_call */
    bool keyed;      /* the keys of these are known: of one call a session */
    uint16_t key[2];
};

typedef char kst__pptp_fits[sizeof(struct kst__pptp) <= KST_HELPER_STATE_BYTES ? 1 : -1];

/* Makes the keys of a call known. A session has one: of a second one only the client's name for
 * it may differ for its packets to be told apart no more, and then neither are the first one's. */
static bool kst__pptp_key(struct kst *t, struct kst__pptp *pptp, uint32_t master,
                          const struct kst_tuple *tuple, const uint16_t *id)
{
    if (pptp->keyed && pptp->key[KST_REPLY] != id[KST_REPLY])
        return false;
    if (pptp->keyed && pptp->key[KST_ORIGINAL] == id[KST_ORIGINAL])
        return true;
    const bool known = !pptp->keyed && kst__key_insert(t, master, &tuple[0]) &&
                       kst__key_insert(t, master, &tuple[1]);
    if (!known)
        kst__keys_remove(t, master);
    pptp->keyed = known;
    memcpy(pptp->key, id, sizeof pptp->key);
    return known;
}

/* Expects the call from both sides, or, if one cannot be, from none. */
static void kst__pptp_begin(struct kst_help *h, struct kst__pptp *pptp, const uint16_t *id)
{
    const uint32_t master = (uint32_t)h->connection;
    struct kst_tuple tuple[2];
    bool expected[2];
    for (uint32_t i = 0; i < 2; i++) {
        kst__call_tuple(h->t, master, i, &tuple[i]);
        expected[i] = (i == 0 || expected[0]) &&
                      kst__help_expect_exactly(h, 0, &tuple[i]) == KST_REASON_NONE;
    }
    if (expected[1] && kst__pptp_key(h->t, pptp, master, tuple, id))
        return;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t place = kst__expect_own(h->t, master, &tuple[i]);
        if (expected[i] && place != KST__NONE)
            kst__expect_remove(h->t, place);
    }
}

/* The client's messages. `m` is what follows the header. What does not fit the session is
 * ignored. */
static void kst__pptp_client(struct kst__pptp *pptp, uint16_t *id, uint32_t message,
                             const uint8_t *m)
{
    switch (message) {
    case KST__PPTP_START_REQUEST:
        if (pptp->session == KST__PPTP_NONE)
            pptp->session = KST__PPTP_REQUESTED;
        break;
    case KST__PPTP_STOP_REQUEST: pptp->session = KST__PPTP_STOPPING; break;
    case KST__PPTP_OUT_REQUEST:
        if (pptp->session != KST__PPTP_CONFIRMED)
            break;
        pptp->call = KST__PPTP_OUT_REQUESTED;
        id[KST_ORIGINAL] = kst__be16(m);
        break;
    case KST__PPTP_IN_REPLY: /* call, peer's call, result */
        if ((pptp->call != KST__PPTP_IN_REQUESTED && pptp->call != KST__PPTP_IN_REPLIED) ||
            kst__be16(m + 2) != id[KST_REPLY])
            break;
        if (m[4] == 1) {
            pptp->call = KST__PPTP_IN_REPLIED;
            id[KST_ORIGINAL] = kst__be16(m);
        } else {
            pptp->call = KST__PPTP_IDLE;
        }
        break;
    case KST__PPTP_CLEAR_REQUEST: pptp->call = KST__PPTP_CLEARING; break;
    default: break;
    }
}

/* The server's. */
static void kst__pptp_server(struct kst_help *h, struct kst__pptp *pptp, uint16_t *id,
                             uint32_t message, const uint8_t *m)
{
    switch (message) {
    case KST__PPTP_START_REPLY: /* version, result */
        if (pptp->session >= KST__PPTP_REQUESTED)
            pptp->session = m[2] == 1 ? KST__PPTP_CONFIRMED : KST__PPTP_ERROR;
        break;
    case KST__PPTP_STOP_REPLY: /* result */
        if (pptp->session <= KST__PPTP_STOPPING)
            pptp->session = m[0] == 1 ? KST__PPTP_NONE : KST__PPTP_ERROR;
        break;
    case KST__PPTP_OUT_REPLY: /* call, peer's call, result */
        if (pptp->session != KST__PPTP_CONFIRMED ||
            (pptp->call != KST__PPTP_OUT_REQUESTED && pptp->call != KST__PPTP_OUT_CONFIRMED) ||
            kst__be16(m + 2) != id[KST_ORIGINAL])
            break;
        if (m[4] != 1) {
            pptp->call = KST__PPTP_IDLE;
            break;
        }
        pptp->call = KST__PPTP_OUT_CONFIRMED;
        id[KST_REPLY] = kst__be16(m);
        kst__pptp_begin(h, pptp, id);
        break;
    case KST__PPTP_IN_REQUEST:
        if (pptp->session != KST__PPTP_CONFIRMED)
            break;
        pptp->call = KST__PPTP_IN_REQUESTED;
        id[KST_REPLY] = kst__be16(m);
        break;
    case KST__PPTP_IN_CONNECTED: /* peer's call */
        if (pptp->session != KST__PPTP_CONFIRMED ||
            (pptp->call != KST__PPTP_IN_REPLIED && pptp->call != KST__PPTP_IN_CONFIRMED) ||
            kst__be16(m) != id[KST_ORIGINAL])
            break;
        pptp->call = KST__PPTP_IN_CONFIRMED;
        kst__pptp_begin(h, pptp, id);
        break;
    case KST__PPTP_DISCONNECT:
        pptp->call = KST__PPTP_IDLE;
        pptp->keyed = false;
        kst__calls_end(h->t, (uint32_t)h->connection);
        break;
    default: break;
    }
}

static enum kst_reason kst__pptp_help(struct kst_help *h)
{
    struct kst__pptp *pptp = (struct kst__pptp *)h->state;
    if (!h->answered || h->size < 12 || kst__be16(h->payload + 2) != 1 ||
        kst__be32(h->payload + 4) != 0x1a2b3c4d)
        return KST_REASON_NONE;
    const uint32_t message = kst__be16(h->payload + 8);
    if (message >= KST__PPTP_MESSAGES || h->size - 12 < kst__pptp_bytes[message])
        return KST_REASON_NONE;
    uint16_t *id = kst__help_at(h->t, (uint32_t)h->connection)->call;
    if (h->direction == KST_ORIGINAL)
        kst__pptp_client(pptp, id, message, h->payload + 12);
    else
        kst__pptp_server(h, pptp, id, message, h->payload + 12);
    return KST_REASON_NONE;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_pptp = {
    "pptp", {KST__TCP, 0}, KST_IPV4, true, 1723, {{"", 2, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__pptp_help};

#endif
/* ======== core/help_sip.h ================================================================ */

/* SPDX-License-Identifier: MIT */
/* core/help_sip.h - SIP (RFC 3261) and the SDP (RFC 4566) that it carries: a REGISTER lets calls
 * come in, an INVITE and what follows name where audio, video and fax will go.
 *
 * Lines are found as Linux finds them: of two line ends in a row the second may hide what stands
 * behind it, unless they are CR LF. Nothing here reads a line twice, so work grows with the
 * size. */
#ifndef KST_HELP_SIP_H
#define KST_HELP_SIP_H


enum kst__sip_class { KST__SIP_SIGNALLING, KST__SIP_AUDIO, KST__SIP_VIDEO, KST__SIP_IMAGE };

struct kst__sip {
    uint32_t register_cseq, invite_cseq; /* CSeq of the last ones that had a consequence */
    uint16_t via_port; /* where who began it wants its answers, other than where it sends from; or 0 */
};

typedef char kst__sip_fits[sizeof(struct kst__sip) <= KST_HELPER_STATE_BYTES ? 1 : -1];

enum {
    KST__SIP_PORT = 5060,
    KST__SIP_MIN = 11,     /* bytes of a message: "SIP/2.0 200" */
    KST__SIP_DIGITS = 11,  /* that Linux reads of a number, leading zeros included; */
    KST__SIP_PORT_DIGITS = 5, /* and of a URI's port */
    KST__SIP_TICKS = 250   /* a second: it counts a registration in 32 bits of them */
};

struct kst__sip_message {
    struct kst_help *h;
    const uint8_t *begin, *end;
    uint32_t cseq;
    uint32_t code; /* of a response */
    bool redescribed; /* something in its session description was replaced */
};

struct kst__sip_uri {
    uint8_t address[16];
    uint16_t port;
    const uint8_t *begin, *end; /* of host and port */
};

KST_INLINE bool kst__line_end_at(const struct kst__text *text)
{
    return *text->at == '\r' || *text->at == '\n';
}

KST_INLINE bool kst__is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Of Latin 1, as Linux has it. */
KST_INLINE bool kst__is_letter(uint8_t c)
{
    return (kst__lower(c) >= 'a' && kst__lower(c) <= 'z') || (c >= 0xc0 && c != 0xd7 && c != 0xf7);
}

/* Steps over a line end that `text` is at; false at the end of the message. */
static bool kst__line_end_skip(struct kst__text *text)
{
    const bool cr = *text->at++ == '\r';
    if (text->at < text->end && cr && *text->at == '\n')
        text->at++;
    return text->at < text->end;
}

/* Over a line end into a line that goes on with the same header, to what it says there; false if it
 * does not, or says nothing. */
static bool kst__sip_folded(struct kst__text *text)
{
    if (!kst__line_end_skip(text) || !kst__is_blank(*text->at))
        return false;
    while (text->at < text->end && kst__is_blank(*text->at))
        text->at++;
    return text->at < text->end;
}

/* Over blanks, and into the next line if the header goes on there; false if it ends here. */
static bool kst__sip_blanks(struct kst__text *text)
{
    while (text->at < text->end && kst__is_blank(*text->at))
        text->at++;
    return text->at < text->end && (!kst__line_end_at(text) || kst__sip_folded(text));
}

/* On to the next line after where `text` is; false if there is none. */
static bool kst__line_next(struct kst__text *text)
{
    while (text->at < text->end && !kst__line_end_at(text))
        text->at++;
    return text->at < text->end && kst__line_end_skip(text);
}

/* On to `word` within a header; false if it is not there. */
static bool kst__sip_search(struct kst__text *text, const char *word)
{
    const uint32_t n = (uint32_t)strlen(word);
    while (kst__left(text) > n) {
        if (kst__line_end_at(text)) {
            if (!kst__sip_folded(text))
                return false;
            text->at++;
            continue;
        }
        if (kst__same_word(text->at, word, n))
            return true;
        text->at++;
    }
    return false;
}

/* A number of at most `most` digits that fits 32 bits. */
static bool kst__sip_number(struct kst__text *text, uint32_t most, uint32_t *number)
{
    uint64_t wide;
    if (!kst__number_read(text, most, &wide) || wide > UINT32_MAX ||
        (text->at < text->end && kst__is_digit(*text->at)))
        return false;
    *number = (uint32_t)wide;
    return true;
}

/* ---- headers ---- */

struct kst__sip_header {
    const char *name, *compact; /* NULL: no compact form */
};
static const struct kst__sip_header kst__sip_cseq = {"cseq", NULL};
static const struct kst__sip_header kst__sip_contact = {"contact", "m"};
static const struct kst__sip_header kst__sip_expires = {"expires", NULL};
static const struct kst__sip_header kst__sip_length = {"content-length", "l"};

static bool kst__sip_name(struct kst__text *line, const struct kst__sip_header *header)
{
    if (kst__word_read(line, header->name))
        return true;
    if (header->compact == NULL || kst__left(line) < 2 ||
        kst__lower(line->at[0]) != (uint8_t)header->compact[0] || kst__is_letter(line->at[1]))
        return false;
    line->at++;
    return true;
}

/* On to the value of the next header of this name behind `text`; false if there is none. */
static bool kst__sip_header_next(struct kst__text *text, const struct kst__sip_header *header)
{
    while (kst__line_next(text)) {
        struct kst__text line = *text;
        if (!kst__is_blank(*line.at) && kst__sip_name(&line, header)) {
            if (!kst__sip_blanks(&line) || *line.at != ':' || ++line.at == line.end ||
                !kst__sip_blanks(&line))
                return false;
            *text = line;
            return true;
        }
        text->at++;
    }
    return false;
}

static struct kst__text kst__sip_text(const struct kst__sip_message *m)
{
    const struct kst__text text = {m->begin, m->end};
    return text;
}

/* The number that a header holds. False if there is no such header, or no number in the first. */
static bool kst__sip_header_number(const struct kst__sip_message *m,
                                   const struct kst__sip_header *header, uint32_t *number)
{
    struct kst__text text = kst__sip_text(m);
    return kst__sip_header_next(&text, header) && kst__sip_number(&text, KST__SIP_DIGITS, number);
}

/* An address; an IPv6 one in brackets if it is a URI's. */
static bool kst__sip_address(const struct kst__sip_message *m, struct kst__text *text,
                             bool brackets, uint8_t *address)
{
    memset(address, 0, 16);
    if (m->h->tuple[0].family == KST_IPV4)
        return kst__ipv4_read(text, address);
    if (text->at < text->end && *text->at == '[')
        text->at++;
    else if (brackets)
        return false;
    if (!kst__ipv6_read(text, address))
        return false;
    if (text->at < text->end && *text->at == ']')
        text->at++;
    else if (brackets)
        return false;
    return true;
}

/* A host and perhaps its port. Linux wants something behind them. */
static bool kst__sip_host_port(const struct kst__sip_message *m, struct kst__text *text,
                               struct kst__sip_uri *uri)
{
    uint32_t port = KST__SIP_PORT;
    uri->begin = text->at;
    if (!kst__sip_address(m, text, true, uri->address) || text->at == text->end)
        return false;
    if (*text->at == ':') {
        text->at++;
        if (!kst__sip_number(text, KST__SIP_PORT_DIGITS, &port) || port < 1024 ||
            port > UINT16_MAX || text->at == text->end)
            return false;
    }
    uri->port = (uint16_t)port;
    uri->end = text->at;
    return true;
}

/* The host of the URI behind `sip:`, and its port. */
static bool kst__sip_host(const struct kst__sip_message *m, struct kst__text *text,
                          struct kst__sip_uri *uri)
{
    struct kst__text user = *text;
    while (user.at < user.end && *user.at != '@' && !kst__line_end_at(&user))
        user.at++;
    if (user.at < user.end && *user.at == '@') {
        user.at++;
        *text = user;
    }
    return kst__sip_host_port(m, text, uri);
}

/* The next Contact that can be read: another one of the same header, if `inside` one, else one of a
 * header further on. */
static bool kst__sip_contact_next(const struct kst__sip_message *m, struct kst__text *text,
                                  bool *inside, struct kst__sip_uri *uri)
{
    for (;;) {
        struct kst__text value = *text;
        const bool among =
            *inside && kst__sip_search(&value, ",") && kst__sip_search(&value, "sip:");
        if (!among) {
            *inside = false;
            value = *text;
            if (!kst__sip_header_next(&value, &kst__sip_contact))
                return false;
            *text = value;
            if (!kst__sip_search(&value, "sip:"))
                continue;
        }
        value.at += 4;
        const bool found = kst__sip_host(m, &value, uri);
        if (found || among)
            *text = value;
        if (found) {
            *inside = true;
            return true;
        }
    }
}

/* The value of a parameter of the URI or contact that `text` is behind; false if it has none. */
static bool kst__sip_parameter(struct kst__text text, const char *name, struct kst__text *value)
{
    struct kst__text comma = text;
    if (kst__sip_search(&comma, ","))
        text.end = comma.at;
    if (!kst__sip_search(&text, name))
        return false;
    text.at += strlen(name);
    *value = text;
    return true;
}

/* Whether the contact is to be reached by the protocol that this connection has. */
static bool kst__sip_transport_fits(const struct kst__sip_message *m, const struct kst__text *text)
{
    struct kst__text value;
    if (!kst__sip_parameter(*text, "transport=", &value))
        return true;
    value.end = m->end;
    const bool tcp = m->h->tuple[0].protocol == KST__TCP;
    return kst__word_read(&value, tcp ? "tcp" : "udp");
}

/* How long a contact holds; false if that cannot be read. */
static bool kst__sip_contact_expires(const struct kst__text *text, uint32_t *expires)
{
    struct kst__text value;
    return !kst__sip_parameter(*text, "expires=", &value) ||
           kst__sip_number(&value, KST__SIP_DIGITS, expires);
}

/* ---- rewriting, where the connection is translated ---- */

/* Whether an address is that of who speaks, which is another to who hears it. */
static bool kst__sip_own(const struct kst__sip_message *m, const uint8_t *address)
{
    const struct kst_help *h = m->h;
    return h->translated && memcmp(address, h->tuple[h->direction].src, 16) == 0;
}

/* Puts a line in the place of [begin, end) of the message, and `text` behind it. */
static enum kst_reason kst__sip_put(struct kst__sip_message *m, const uint8_t *begin,
                                    const uint8_t *end, const struct kst__line *line,
                                    struct kst__text *text)
{
    const enum kst_reason reason = kst__help_put(m->h, begin, end, line);
    if (reason == KST_REASON_NONE)
        m->end += (ptrdiff_t)line->length - (end - begin);
    text->at = begin + (reason == KST_REASON_NONE ? (ptrdiff_t)line->length : end - begin);
    text->end = m->end;
    return reason;
}

static void kst__sip_put_host(const struct kst__sip_message *m, struct kst__line *line,
                              const uint8_t *address, bool brackets)
{
    const bool v6 = m->h->tuple[0].family == KST_IPV6;
    kst__put(line, v6 && brackets ? "[" : "");
    if (v6)
        kst__put_ipv6_short(line, address);
    else
        kst__put_ipv4(line, address);
    kst__put(line, v6 && brackets ? "]" : "");
}

static enum kst_reason kst__sip_put_uri(struct kst__sip_message *m, const struct kst__sip_uri *uri,
                                        const uint8_t *address, uint16_t port,
                                        struct kst__text *text)
{
    char words[64];
    struct kst__line line = {words, sizeof words, 0};
    kst__sip_put_host(m, &line, address, true);
    kst__put_field(&line, ":", port);
    return kst__sip_put(m, uri->begin, uri->end, &line, text);
}

/* Lets host and port be what who hears it knows them by, if they are one of the connection's two
 * ends. */
static enum kst_reason kst__sip_map(struct kst__sip_message *m, const struct kst__sip_uri *uri,
                                    struct kst__text *text)
{
    const struct kst_help *h = m->h;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    const bool is_src = memcmp(uri->address, own->src, 16) == 0 && uri->port == own->src_port;
    const bool is_dst = memcmp(uri->address, own->dst, 16) == 0 && uri->port == own->dst_port;
    const uint16_t via_port = ((const struct kst__sip *)h->state)->via_port;
    const uint8_t *address = is_src ? other->dst : other->src;
    const uint16_t port = is_src          ? other->dst_port
                          : via_port != 0 ? via_port
                                          : other->src_port;
    if ((!is_src && !is_dst) || (memcmp(address, uri->address, 16) == 0 && port == uri->port))
        return KST_REASON_NONE;
    return kst__sip_put_uri(m, uri, address, port, text);
}

/* A parameter of a Via that names an address: the one that `from` is, if it is another to the other
 * side. */
static enum kst_reason kst__sip_via_address(struct kst__sip_message *m, struct kst__text *via,
                                            const char *name, const uint8_t *from,
                                            const uint8_t *to)
{
    struct kst__text value;
    char words[64];
    struct kst__line line = {words, sizeof words, 0};
    uint8_t address[16];
    if (!kst__sip_parameter(*via, name, &value))
        return KST_REASON_NONE;
    const uint8_t *begin = value.at;
    if (!kst__sip_address(m, &value, false, address) || memcmp(address, from, 16) != 0 ||
        memcmp(address, to, 16) == 0)
        return KST_REASON_NONE;
    kst__sip_put_host(m, &line, to, *begin == '[');
    const uint8_t *keep = via->at;
    const enum kst_reason reason = kst__sip_put(m, begin, value.at, &line, via);
    via->at = keep;
    return reason;
}

/* Host and port of the topmost Via, by this transport. */
static bool kst__sip_via_host(const struct kst__sip_message *m, const char *transport,
                              struct kst__text *text, struct kst__sip_uri *uri)
{
    static const struct kst__sip_header via = {"via", "v"};
    *text = kst__sip_text(m);
    if (!kst__sip_header_next(text, &via) || !kst__sip_search(text, transport))
        return false;
    text->at += 4;
    return kst__sip_host_port(m, text, uri);
}

/* Some phones send from one port and listen at another, which their Via names. */
static void kst__sip_note_via(const struct kst__sip_message *m)
{
    const struct kst_tuple *own = &m->h->tuple[m->h->direction];
    struct kst__text text;
    struct kst__sip_uri uri;
    if (kst__sip_via_host(m, "udp ", &text, &uri) && uri.port != own->src_port &&
        memcmp(uri.address, own->src, sizeof uri.address) == 0)
        ((struct kst__sip *)m->h->state)->via_port = uri.port;
}

/* The topmost Via, if it is about this connection, and what its parameters say. */
static enum kst_reason kst__sip_via(struct kst__sip_message *m, bool request)
{
    const struct kst_help *h = m->h;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    struct kst__text text, value;
    struct kst__sip_uri uri;
    uint32_t rport;
    if (!kst__sip_via_host(m, own->protocol == KST__TCP ? "tcp " : "udp ", &text, &uri) ||
        memcmp(uri.address, request ? own->src : own->dst, 16) != 0 ||
        uri.port != (request ? own->src_port : own->dst_port))
        return KST_REASON_NONE;
    enum kst_reason reason = kst__sip_map(m, &uri, &text);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_via_address(m, &text, "maddr=", own->src, other->dst);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_via_address(m, &text, "received=", own->dst, other->src);
    if (reason != KST_REASON_NONE || !kst__sip_parameter(text, "rport=", &value))
        return reason;
    const uint8_t *begin = value.at;
    if (!kst__sip_number(&value, KST__SIP_DIGITS, &rport) || rport != own->dst_port ||
        rport == other->src_port)
        return KST_REASON_NONE;
    char digits[8];
    struct kst__line line = {digits, sizeof digits, 0};
    kst__put_number(&line, other->src_port, 10);
    return kst__sip_put(m, begin, value.at, &line, &text);
}

/* The address of a header that names one. */
static enum kst_reason kst__sip_name_and_address(struct kst__sip_message *m,
                                                 const struct kst__sip_header *header)
{
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    if (!kst__sip_header_next(&text, header) || !kst__sip_search(&text, "sip:"))
        return KST_REASON_NONE;
    text.at += 4;
    return kst__sip_host(m, &text, &uri) ? kst__sip_map(m, &uri, &text) : KST_REASON_NONE;
}

/* All headers that name an end of the connection; and the port of who listens elsewhere, as Linux has
 * it: by UDP alone, by TCP it loses the packet. */
static enum kst_reason kst__sip_translate(struct kst__sip_message *m, bool request)
{
    static const struct kst__sip_header from = {"from", "f"}, to = {"to", "t"};
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    const uint16_t via_port = ((const struct kst__sip *)m->h->state)->via_port;
    enum kst_reason reason = KST_REASON_NONE;
    bool inside = false;
    while (request && text.at < text.end && kst__is_letter(*text.at)) /* the method */
        text.at++;
    if (text.at > m->begin && ++text.at < text.end && kst__sip_search(&text, "sip:")) {
        text.at += 4;
        if (kst__sip_host(m, &text, &uri))
            reason = kst__sip_map(m, &uri, &text);
    }
    if (reason == KST_REASON_NONE)
        reason = kst__sip_via(m, request);
    text = kst__sip_text(m);
    while (reason == KST_REASON_NONE && kst__sip_contact_next(m, &text, &inside, &uri))
        reason = kst__sip_map(m, &uri, &text);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_name_and_address(m, &from);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_name_and_address(m, &to);
    if (reason != KST_REASON_NONE || via_port == 0 || m->h->direction == KST_ORIGINAL)
        return reason;
    m->h->to_port = via_port;
    return m->h->tuple[0].protocol == KST__UDP ? KST_REASON_NONE : KST_REASON_NAT_PACKET;
}

/* ---- expectations ---- */

/* Forgets what media, or what signalling, the connection expects. */
static void kst__sip_forget(struct kst_help *h, bool media)
{
    struct kst_expectation x;
    kst_id id = kst_expectation_own(h->t, h->connection, 0), older;
    for (; id != 0 && kst_expectation_get(h->t, id, &x); id = older) {
        older = kst_expectation_own(h->t, h->connection, id);
        if ((x.class_ != KST__SIP_SIGNALLING) != media)
            continue;
        kst_expectation_delete(h->t, id);
        if (!media)
            return;
    }
}

/* The registration was granted: calls may come in for so long. False if there was none for this. */
static bool kst__sip_grant(struct kst_help *h, const struct kst__sip_uri *uri, uint32_t expires_s)
{
    struct kst_expectation x;
    kst_id id = kst_expectation_own(h->t, h->connection, 0);
    for (; id != 0; id = kst_expectation_own(h->t, h->connection, id))
        if (kst_expectation_get(h->t, id, &x) && x.class_ == KST__SIP_SIGNALLING &&
            x.tuple.protocol == h->tuple[0].protocol && x.tuple.dst_port == uri->port &&
            memcmp(x.tuple.dst, uri->address, sizeof uri->address) == 0)
            return kst_expectation_renew(h->t, id, KST_EXPECT_PERMANENT,
                                         (uint64_t)(expires_s * KST__SIP_TICKS) * 1000 /
                                             KST__SIP_TICKS);
    return false;
}

static bool kst__sip_setting(const struct kst_help *h, const char *name)
{
    uint32_t value = 0;
    kst_setting(h->t, name, &value);
    return value != 0;
}

/* Two streams: RTP to the even port, RTCP to the one behind it; `*port` is then what the outside is
 * to be told. */
static enum kst_reason kst__sip_expect_media(const struct kst__sip_message *m, uint8_t class_,
                                             const uint8_t *address, uint32_t *port)
{
    struct kst_help *h = m->h;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    const bool direct = kst__sip_setting(h, "nf_conntrack_sip_direct_media");
    const bool translated = kst__sip_own(m, address);
    struct kst_expectation x;
    enum kst_error error = KST_ERROR_EXPECT_BUSY;
    uint32_t first = *port & ~UINT32_C(1);
    if (direct && memcmp(address, own->src, sizeof own->src) != 0)
        return KST_REASON_NONE;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple.family = own->family;
    x.tuple.protocol = KST__UDP;
    x.tuple.zone = kst__help_zone(h);
    memcpy(x.tuple.dst, translated ? other->dst : address, sizeof x.tuple.dst);
    if (direct)
        memcpy(x.tuple.src, other->src, sizeof x.tuple.src);
    x.flags = (uint8_t)(KST_EXPECT_ANY_SRC_PORT | KST_EXPECT_ANY_MASTER |
                        (direct ? 0 : KST_EXPECT_ANY_SRC));
    x.class_ = class_;
    x.follows = translated ? KST_FOLLOWS_PEER : KST_FOLLOWS_NOT;
    x.nat_direction = h->direction;
    for (uint32_t tries = 0; error == KST_ERROR_EXPECT_BUSY && tries <= KST__HELP_PORTS; tries++) {
        kst_id rtp = 0;
        if (tries > 0 && !translated)
            break;
        if (tries > 0)
            first = (*port + kst__nat_draw(h->t) % (UINT16_MAX - *port + 1)) & ~UINT32_C(1);
        for (uint32_t i = 0; i < 2; i++) {
            x.tuple.dst_port = (uint16_t)(first + i);
            x.nat_port = (uint16_t)((*port & ~UINT32_C(1)) + i);
            error = kst_expect(h->t, &x);
            if (error == KST_ERROR_OK && i == 0)
                rtp = kst_expectation_own(h->t, h->connection, 0);
            if (error != KST_ERROR_OK && (translated || error != KST_ERROR_EXPECT_EXISTS)) {
                kst_expectation_delete(h->t, rtp);
                break;
            }
        }
    }
    if (error != KST_ERROR_OK && (translated || error != KST_ERROR_EXPECT_EXISTS))
        return KST_REASON_HELPER_EXPECT;
    if (first != (*port & ~UINT32_C(1)))
        *port = first;
    return KST_REASON_NONE;
}

/* ---- SDP ---- */

/* On to what stands behind the next line that begins with `name`, before one that begins with
 * `until`. */
static bool kst__sdp_line(struct kst__text *text, const char *name, const char *until)
{
    while (kst__line_next(text)) {
        struct kst__text line = *text;
        if (until != NULL && kst__word_read(&line, until))
            return false;
        if (kst__word_read(&line, name)) {
            *text = line;
            return true;
        }
        text->at++;
    }
    return false;
}

/* The address of a line of this name before the next media line; and where it stands. */
static bool kst__sdp_address(const struct kst__sip_message *m, struct kst__text text,
                             const char *name, uint8_t *address, struct kst__text *at)
{
    const char *network = m->h->tuple[0].family == KST_IPV4 ? "IN IP4 " : "IN IP6 ";
    if (!kst__sdp_line(&text, name, "m="))
        return false;
    while (kst__left(&text) > 7 && !kst__line_end_at(&text)) {
        if (memcmp(text.at, network, 7) == 0) {
            text.at += 7;
            at->at = text.at;
            const bool found = kst__sip_address(m, &text, false, address);
            at->end = text.at;
            return found;
        }
        text.at++;
    }
    return false;
}

/* Whether a media line names some media, with a blank behind it. */
static bool kst__sdp_sound(struct kst__text text)
{
    while (text.at < text.end && kst__is_letter(*text.at))
        text.at++;
    return text.at < text.end && *text.at == ' ';
}

/* The class of the media that a line names, and on to its port; 0 if it is none of ours. */
static uint8_t kst__sdp_media(struct kst__text *text)
{
    static const char names[3][7] = {"audio ", "video ", "image "};
    for (uint8_t i = 0; i < 3; i++) {
        if (kst__left(text) >= 6 && memcmp(text->at, names[i], 6) == 0) {
            text->at += 6;
            return (uint8_t)(KST__SIP_AUDIO + i);
        }
    }
    return 0;
}

/* Puts a line in the place of [begin, end) of the description. */
static enum kst_reason kst__sdp_put(struct kst__sip_message *m, const uint8_t *begin,
                                    const uint8_t *end, const struct kst__line *line,
                                    struct kst__text *text)
{
    m->redescribed = true;
    return kst__sip_put(m, begin, end, line, text);
}

/* Puts an address in the place of whatever stands in a line of this name before the next media
 * line; there must be one if it is `needed`. */
static enum kst_reason kst__sdp_put_address(struct kst__sip_message *m, struct kst__text text,
                                            const char *name, bool needed, const uint8_t *seen_by)
{
    char words[64];
    struct kst__line line = {words, sizeof words, 0};
    struct kst__text at;
    uint8_t address[16];
    if (!kst__sdp_address(m, text, name, address, &at))
        return needed ? KST_REASON_SIP_MEDIA : KST_REASON_NONE;
    kst__sip_put_host(m, &line, seen_by, false);
    return kst__sdp_put(m, at.at, at.end, &line, &text);
}

/* One media line, whose port `text` is at: expects it, and tells the outside what that will see.
 * `address` is that of the session, if there is one, then where this is seen. */
static enum kst_reason kst__sdp_expect(struct kst__sip_message *m, struct kst__text *text,
                                       uint8_t class_, uint32_t port, const uint8_t *port_at,
                                       bool has_address, uint8_t *address)
{
    char digits[8];
    struct kst__line line = {digits, sizeof digits, 0};
    struct kst__text at;
    uint8_t own[16];
    uint32_t seen_by = port;
    if (kst__sdp_address(m, *text, "c=", own, &at))
        memcpy(address, own, sizeof own);
    else if (!has_address)
        return KST_REASON_SIP_MEDIA;
    enum kst_reason reason = kst__sip_expect_media(m, class_, address, &seen_by);
    if (reason != KST_REASON_NONE || !m->h->translated)
        return reason;
    if (kst__sip_own(m, address))
        memcpy(address, m->h->tuple[!m->h->direction].dst, sizeof own);
    if (seen_by != port) {
        kst__put_number(&line, seen_by, 10);
        reason = kst__sdp_put(m, port_at, text->at, &line, text);
    }
    return reason == KST_REASON_NONE ? kst__sdp_put_address(m, *text, "c=", false, address)
                                     : reason;
}

/* A description of which something has changed: its length. `begin` is behind "v=". */
static enum kst_reason kst__sdp_seal(struct kst__sip_message *m, const uint8_t *begin)
{
    struct kst__text header = kst__sip_text(m);
    char digits[12];
    struct kst__line line = {digits, sizeof digits, 0};
    if (!kst__sip_header_next(&header, &kst__sip_length) || !kst__is_digit(*header.at))
        return KST_REASON_SIP_HEADER;
    const uint8_t *number = header.at;
    while (header.at < header.end && kst__is_digit(*header.at))
        header.at++;
    kst__put_number(&line, (uint64_t)(m->end - begin) + 2, 10);
    return kst__sip_put(m, number, header.at, &line, &header);
}

/* Expects what the session description of a message names. Where the connection is translated, it then
 * says of all what its last media line's address is to the outside, as Linux has it. */
static enum kst_reason kst__sdp(struct kst__sip_message *m)
{
    struct kst__text text = kst__sip_text(m), at;
    uint8_t session[16] = {0}, address[16];
    uint32_t port;
    if (!kst__sdp_line(&text, "v=", NULL) || text.at == text.end || !kst__is_digit(*text.at))
        return KST_REASON_NONE;
    const uint8_t *begin = text.at;
    const bool has_session = kst__sdp_address(m, text, "c=", session, &at);
    bool has_address = has_session;
    enum kst_reason reason = KST_REASON_NONE;
    memcpy(address, session, sizeof session);
    for (uint32_t media = 0;
         media < 3 && kst__sdp_line(&text, "m=", NULL) && kst__sdp_sound(text);) {
        const uint8_t class_ = kst__sdp_media(&text);
        const uint8_t *port_at = text.at;
        if (class_ == 0 || !kst__sip_number(&text, KST__SIP_DIGITS, &port) || port == 0)
            continue;
        media++;
        if (port < 1024 || port > UINT16_MAX)
            return KST_REASON_SIP_MEDIA;
        memcpy(address, session, sizeof session);
        reason = kst__sdp_expect(m, &text, class_, port, port_at, has_session, address);
        if (reason != KST_REASON_NONE)
            return reason;
        has_address = true;
        text.end = m->end;
    }
    if (!m->h->translated || !has_address)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < 2 && reason == KST_REASON_NONE; i++) {
        const struct kst__text all = {begin, m->end};
        reason = kst__sdp_put_address(m, all, i == 0 ? "o=" : "c=", i == 0, address);
    }
    return reason == KST_REASON_NONE && m->redescribed ? kst__sdp_seal(m, begin) : reason;
}

/* ---- methods ---- */

static enum kst_reason kst__sip_invite(struct kst__sip_message *m)
{
    struct kst__sip *sip = (struct kst__sip *)m->h->state;
    kst__sip_forget(m->h, true);
    const enum kst_reason reason = kst__sdp(m);
    if (reason == KST_REASON_NONE)
        sip->invite_cseq = m->cseq;
    return reason;
}

/* The answer to whatever carried SDP. */
static enum kst_reason kst__sip_session_answer(struct kst__sip_message *m)
{
    const struct kst__sip *sip = (const struct kst__sip *)m->h->state;
    if (m->code >= 100 && m->code <= 299)
        return kst__sdp(m);
    if (sip->invite_cseq == m->cseq)
        kst__sip_forget(m->h, true);
    return KST_REASON_NONE;
}

static enum kst_reason kst__sip_bye(struct kst__sip_message *m)
{
    kst__sip_forget(m->h, true);
    return KST_REASON_NONE;
}

/* A client tells where it wants to be called. Until that is granted nobody may. */
static enum kst_reason kst__sip_register(struct kst__sip_message *m)
{
    struct kst_help *h = m->h;
    struct kst__sip *sip = (struct kst__sip *)h->state;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    struct kst_expectation x;
    bool inside = false;
    uint32_t expires = 0;
    if (h->expected) /* what was called may not ask for calls */
        return KST_REASON_NONE;
    kst__sip_header_number(m, &kst__sip_expires, &expires);
    if (!kst__sip_contact_next(m, &text, &inside, &uri) ||
        memcmp(uri.address, own->src, sizeof uri.address) != 0 ||
        !kst__sip_transport_fits(m, &text))
        return KST_REASON_NONE;
    if (!kst__sip_contact_expires(&text, &expires))
        return KST_REASON_SIP_HEADER;
    if (expires != 0) {
        const bool direct = kst__sip_setting(h, "nf_conntrack_sip_direct_signalling");
        memset(&x, 0, sizeof x);
        x.master = h->connection;
        x.tuple.family = own->family;
        x.tuple.protocol = own->protocol;
        x.tuple.zone = kst__help_zone(h);
        if (direct)
            memcpy(x.tuple.src, other->src, sizeof x.tuple.src);
        memcpy(x.tuple.dst, h->translated ? other->dst : uri.address, sizeof x.tuple.dst);
        x.follows = h->translated ? KST_FOLLOWS_PEER : KST_FOLLOWS_NOT;
        x.nat_port = uri.port;
        x.flags = (uint8_t)(KST_EXPECT_PERMANENT | KST_EXPECT_INACTIVE | KST_EXPECT_ANY_SRC_PORT |
                            (direct ? 0 : KST_EXPECT_ANY_SRC));
        x.class_ = KST__SIP_SIGNALLING;
        x.child_helper = kst_helper_number("sip");
        const uint16_t from = sip->via_port != 0 ? sip->via_port : own->src_port;
        uint16_t port = h->translated && uri.port == from ? other->dst_port : uri.port;
        enum kst_reason reason = kst__help_expect_port(h, &x, &port);
        if (reason == KST_REASON_NONE && h->translated &&
            (port != uri.port || memcmp(other->dst, uri.address, sizeof uri.address) != 0))
            reason = kst__sip_put_uri(m, &uri, other->dst, port, &text);
        if (reason != KST_REASON_NONE)
            return reason;
    }
    sip->register_cseq = m->cseq;
    return KST_REASON_NONE;
}

static enum kst_reason kst__sip_registered(struct kst__sip_message *m)
{
    struct kst_help *h = m->h;
    const struct kst__sip *sip = (const struct kst__sip *)h->state;
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    bool inside = false;
    uint32_t expires = 0;
    if (sip->register_cseq != m->cseq || (m->code >= 100 && m->code <= 199))
        return KST_REASON_NONE;
    kst__sip_header_number(m, &kst__sip_expires, &expires);
    while (m->code >= 200 && m->code <= 299 &&
           kst__sip_contact_next(m, &text, &inside, &uri)) {
        uint32_t granted = expires;
        if (memcmp(uri.address, h->tuple[h->direction].dst, sizeof uri.address) != 0 ||
            !kst__sip_transport_fits(m, &text))
            continue;
        if (!kst__sip_contact_expires(&text, &granted))
            return KST_REASON_SIP_HEADER;
        if (granted == 0)
            break;
        if (kst__sip_grant(h, &uri, granted))
            return KST_REASON_NONE;
    }
    kst__sip_forget(h, false);
    return KST_REASON_NONE;
}

enum kst__sip_method {
    KST__SIP_INVITE,
    KST__SIP_UPDATE,
    KST__SIP_ACK,
    KST__SIP_PRACK,
    KST__SIP_BYE,
    KST__SIP_REGISTER,
    KST__SIP_METHODS
};
static const char kst__sip_methods[KST__SIP_METHODS][9] = {"invite", "update", "ack",
                                                           "prack",  "bye",    "register"};

static enum kst_reason kst__sip_request(struct kst__sip_message *m)
{
    for (uint32_t method = 0; method < KST__SIP_METHODS; method++) {
        struct kst__text text = kst__sip_text(m);
        if (!kst__word_read(&text, kst__sip_methods[method]) || kst__left(&text) < 2 ||
            text.at[0] != ' ' || !kst__is_letter(text.at[1]))
            continue;
        if (!kst__sip_header_number(m, &kst__sip_cseq, &m->cseq))
            return KST_REASON_SIP_CSEQ;
        switch (method) {
        case KST__SIP_INVITE: return kst__sip_invite(m);
        case KST__SIP_BYE: return kst__sip_bye(m);
        case KST__SIP_REGISTER: return kst__sip_register(m);
        default: return kst__sdp(m);
        }
    }
    return KST_REASON_NONE;
}

static enum kst_reason kst__sip_response(struct kst__sip_message *m)
{
    struct kst__text text = kst__sip_text(m);
    text.at += 8; /* "SIP/2.0 " */
    if (!kst__sip_number(&text, KST__SIP_DIGITS, &m->code) || m->code == 0)
        return KST_REASON_SIP_STATUS;
    text.at = m->begin;
    if (!kst__sip_header_next(&text, &kst__sip_cseq) ||
        !kst__sip_number(&text, KST__SIP_DIGITS, &m->cseq))
        return KST_REASON_SIP_CSEQ;
    if (text.at < text.end)
        text.at++;
    for (uint32_t method = 0; method < KST__SIP_METHODS; method++) {
        struct kst__text word = text;
        if (!kst__word_read(&word, kst__sip_methods[method]))
            continue;
        switch (method) {
        case KST__SIP_INVITE:
        case KST__SIP_UPDATE:
        case KST__SIP_PRACK: return kst__sip_session_answer(m);
        case KST__SIP_REGISTER: return kst__sip_registered(m);
        default: break;
        }
    }
    return KST_REASON_NONE;
}

/* Reads one message; `*end` is then where it ends now. */
static enum kst_reason kst__sip_read(struct kst_help *h, const uint8_t *begin, const uint8_t **end)
{
    struct kst__sip_message m = {h, begin, *end, 0, 0, false};
    struct kst__text text = kst__sip_text(&m);
    const bool response = kst__word_read(&text, "sip/2.0 ");
    if (!response)
        kst__sip_note_via(&m);
    enum kst_reason reason = response ? kst__sip_response(&m) : kst__sip_request(&m);
    if (reason == KST_REASON_NONE && h->translated)
        reason = kst__sip_translate(&m, !response);
    *end = m.end;
    return reason;
}

/* The end of the message that begins a TCP payload, NULL if it is not all there or cannot be
 * told. Linux forgets by how much those before it have grown if it claims to be longer than it is. */
static const uint8_t *kst__sip_end(struct kst_help *h, const uint8_t *begin, const uint8_t *end)
{
    const struct kst__sip_message m = {h, begin, end, 0, 0, false};
    struct kst__text text = kst__sip_text(&m);
    uint32_t length;
    if (!kst__sip_header_next(&text, &kst__sip_length) ||
        !kst__sip_number(&text, KST__SIP_DIGITS, &length))
        return NULL;
    while (kst__left(&text) >= 4 && memcmp(text.at, "\r\n\r\n", 4) != 0)
        text.at++;
    if (kst__left(&text) < 4)
        return NULL;
    h->unnoted = length > kst__left(&text) - 4;
    return h->unnoted ? NULL : text.at + 4 + length;
}

static enum kst_reason kst__sip_help(struct kst_help *h)
{
    const uint8_t *begin = h->payload, *end = h->payload + h->size;
    enum kst_reason reason = KST_REASON_NONE;
    const bool tcp = h->tuple[0].protocol == KST__TCP;
    if (h->size == 0 || (tcp && !h->answered))
        return KST_REASON_NONE;
    kst_setting(h->t, "nf_conntrack_sip_timeout", &h->timeout_s);
    if (!tcp)
        return h->size < KST__SIP_MIN ? KST_REASON_NONE : kst__sip_read(h, begin, &end);
    while (reason == KST_REASON_NONE && end - begin >= KST__SIP_MIN) {
        const uint8_t *next = kst__sip_end(h, begin, end);
        if (next == NULL)
            break;
        reason = kst__sip_read(h, begin, &next);
        begin = next;
        end = h->payload + h->size;
    }
    return reason;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_sip = {
    "sip",
    {KST__UDP, KST__TCP},
    0,
    false,
    5060,
    {{"signalling", 1, 180}, {"audio", 4, 180}, {"video", 4, 180}, {"image", 2, 180}},
    kst__sip_help};

#endif
/* ======== core/help_tftp.h =============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/help_tftp.h - TFTP (RFC 1350): the server answers a request from another port of its own. */
#ifndef KST_HELP_TFTP_H
#define KST_HELP_TFTP_H


static enum kst_reason kst__tftp_help(struct kst_help *h)
{
    const uint32_t opcode = h->size >= 2 ? kst__be16(h->payload) : 0;
    if (opcode != 1 && opcode != 2) /* read, write */
        return KST_REASON_NONE;
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple = h->tuple[KST_REPLY];
    x.tuple.zone = kst__help_zone(h);
    x.tuple.src_port = 0;
    x.flags = KST_EXPECT_ANY_SRC_PORT;
    x.follows = h->translated ? KST_FOLLOWS : KST_FOLLOWS_NOT;
    x.nat_direction = KST_ORIGINAL;
    x.nat_port = h->tuple[KST_ORIGINAL].src_port;
    return kst_expect(h->t, &x) == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_tftp = {
    "tftp", {KST__UDP, 0},
    0,      false,
    69,     {{"", 1, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__tftp_help};

#endif
/* ======== core/help.h ==================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/help.h - the helpers that are compiled in, and how a message comes to its connection's. */
#ifndef KST_HELP_H
#define KST_HELP_H


enum {
    KST__HELPER_NONE,
#define KST__X(name) KST__HELPER_##name,
    KST_HELPERS(KST__X)
#undef KST__X
    KST__HELPERS
};

typedef char kst__helpers_fit_a_byte[KST__HELPERS <= UINT8_MAX ? 1 : -1];

/* NULL if there is none of this number. */
static const struct kst_helper *kst__helper(uint8_t number)
{
    switch (number) {
#define KST__X(name) case KST__HELPER_##name: return &kst_helper_##name;
        KST_HELPERS(KST__X)
#undef KST__X
    default: return NULL;
    }
}

/* Calls it. By name, so that the compiler sees whom: no call through a pointer. */
static enum kst_reason kst__helper_call(uint8_t number, struct kst_help *h)
{
    (void)h; /* if there are no helpers at all */
    switch (number) {
#define KST__X(name) case KST__HELPER_##name: return kst_helper_##name.help(h);
        KST_HELPERS(KST__X)
#undef KST__X
    default: return KST_REASON_NONE;
    }
}

static bool kst__helper_for(uint8_t number, const struct kst_tuple *tuple)
{
    const struct kst_helper *helper = kst__helper(number);
    return helper != NULL && (helper->family == 0 || helper->family == tuple->family) &&
           (helper->protocols[0] == tuple->protocol || helper->protocols[1] == tuple->protocol);
}

static void kst__helper_attach(struct kst *t, uint32_t slot, uint8_t helper)
{
    struct kst__help *help = kst__help_of(t, slot);
    help->helper = helper;
    help->calls = helper != 0 && kst__helper(helper)->calls;
}

/* The helper that the caller has given to this port, 0 if none. */
static uint8_t kst__helper_of_port(const struct kst *t, const struct kst_tuple *tuple)
{
    for (uint32_t i = 0; i < KST_ATTACH_MAX && t->attached[i].helper != 0; i++)
        if (t->attached[i].protocol == tuple->protocol && t->attached[i].port == tuple->dst_port)
            return t->attached[i].helper;
    return 0;
}

/* Bytes before a transport protocol's payload. */
static uint32_t kst__payload_at(const struct kst__parsed *p)
{
    switch (p->tuple.protocol) {
    case KST__TCP: return p->l4_here > 12 ? (uint32_t)(p->l4[12] >> 4) * 4 : p->l4_here;
    case KST__UDP:
    case KST__UDPLITE: return 8;
    case KST__SCTP: return 12;
    case KST__ICMP:
    case KST__ICMPV6: return 8;
    default: return 0;
    }
}

/* A packet whose payload may be changed. */
struct kst__mangle {
    uint8_t *bytes; /* IP header first */
    uint32_t size;  /* of the IP packet */
    uint32_t room;
    uint32_t l4_at;
    bool changed;
};

bool kst_help_replace(struct kst_help *h, uint32_t at, uint32_t length, const void *text,
                      uint32_t size)
{
    struct kst__mangle *m = h->mangle;
    if (m == NULL || at > h->size || length > h->size - at)
        return false;
    const uint32_t most = m->bytes[0] >> 4 == 4 ? UINT16_MAX : 40 + (uint32_t)UINT16_MAX;
    const uint32_t room = m->room < most ? m->room : most;
    if (size > length && size - length > room - m->size)
        return false;
    uint8_t *place = m->bytes + (h->payload - m->bytes) + at;
    memmove(place + size, place + length, h->size - at - length);
    memcpy(place, text, size);
    h->size = h->size - length + size;
    m->size = m->size - length + size;
    m->changed = true;
    return true;
}

/* Lengths and checksums of a packet whose payload was changed. */
static void kst__mangle_seal(struct kst__mangle *m, uint8_t protocol)
{
    uint8_t *l4 = m->bytes + m->l4_at;
    const uint32_t l4_bytes = m->size - m->l4_at;
    const bool v4 = m->bytes[0] >> 4 == 4;
    const uint64_t pseudo =
        kst__sum_pseudo(m->bytes + (v4 ? 12 : 8), v4 ? 8 : 32, l4_bytes, protocol);
    if (v4) {
        kst__put16(m->bytes + 2, m->size);
        kst__checksum_set(m->bytes, 10, (uint32_t)(m->bytes[0] & 15) * 4, 0);
    } else {
        kst__put16(m->bytes + 4, m->size - 40);
    }
    if (protocol == KST__TCP) {
        kst__checksum_set(l4, 16, l4_bytes, pseudo);
    } else {
        const bool summed = kst__be16(l4 + 6) != 0;
        kst__put16(l4 + 4, l4_bytes);
        if (summed)
            kst__checksum_set(l4, 6, l4_bytes, pseudo);
        if (summed && kst__be16(l4 + 6) == 0)
            kst__put16(l4 + 6, UINT16_MAX);
    }
}

/* Shows a packet that the tracker accepted to its connection's helper. NONE, or the reason why
 * it is to be dropped. Of a packet that is not all there the helper hears nothing. `mangle`, unless
 * NULL, is where a translated connection's may be changed. */
static uint16_t kst__helper_hear(struct kst *t, uint32_t slot,
                                 const struct kst__parsed *p, struct kst__mangle *mangle,
                                 uint8_t direction, bool answered)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__help *help = kst__help_at(t, slot);
    const uint32_t at = kst__payload_at(p);
    struct kst_help h;
    if (help->helper == 0 || p->l4_here < p->l4_bytes || at > p->l4_bytes)
        return KST_REASON_NONE;
    memset(&h, 0, sizeof h);
    h.t = t;
    h.connection = kst__id(t, slot);
    h.tuple[KST_ORIGINAL] = e->tuple;
    h.tuple[KST_REPLY] = kst__reply_of(t, slot);
    h.direction = direction;
    h.answered = answered;
    h.expected = help->master != 0;
    h.error = kst__is_icmp(p->tuple.protocol);
    h.seq = p->tuple.protocol == KST__TCP ? kst__be32(p->l4 + 4) : 0;
    h.payload = p->l4 + at;
    h.size = p->l4_bytes - at;
    h.state = help->state;
    h.translated = mangle != NULL && (e->status & (KST_SRC_NAT | KST_DST_NAT)) && !h.error;
    h.mangle = h.translated && (h.tuple[0].protocol == KST__TCP || h.tuple[0].protocol == KST__UDP)
                   ? mangle
                   : NULL;
    const uint32_t serial = kst__expectations_of(t)->serial;
    const enum kst_reason reason = kst__helper_call(help->helper, &h);
    const bool there = kst__live(t, slot) && kst__id(t, slot) == h.connection; /* it may have deleted it */
    if (h.mangle != NULL && h.to_port != 0 && p->tuple.protocol == KST__UDP) {
        kst__put16(mangle->bytes + mangle->l4_at + 2, h.to_port);
        mangle->changed = true;
    }
    if (h.mangle != NULL && mangle->changed) {
        const uint32_t grown = h.size - (p->l4_bytes - at);
        kst__mangle_seal(mangle, p->tuple.protocol);
        if (there && grown != 0 && p->tuple.protocol == KST__TCP && reason == KST_REASON_NONE && !h.unnoted)
            kst__adjust_note(t, slot, direction, h.seq, grown);
    }
    if (there && reason == KST_REASON_NAT_ROOM) /* who was to be told of them is not */
        kst__expect_withdraw(t, slot, serial);
    if (there && h.timeout_s != 0 && !(e->status & KST_FIXED_TIMEOUT))
        kst__expire_at(t, slot, kst__due_ms(t, h.timeout_s));
    return (uint16_t)reason;
}

#endif

/* ======== core/track.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/track.h - the whole story on one screen: parse, find, judge, arm, report. */
#ifndef KST_TRACK_H
#define KST_TRACK_H


KST_INLINE struct kst__judgement kst__judge(const struct kst__case *c)
{
    switch (c->entry->tuple.protocol) {
    case KST__TCP: return kst__tcp_judge(c);
    case KST__UDP: return kst__udp_judge(c);
    case KST__UDPLITE: return kst__udplite_judge(c);
    case KST__SCTP: return kst__sctp_judge(c);
    case KST__GRE: return kst__gre_judge(c);
    case KST__ICMP:
    case KST__ICMPV6: return kst__icmp_judge(c);
    default: return kst__other_judge(c);
    }
}

static void kst__report(struct kst_result *r, enum kst_state state, uint8_t direction,
                        uint16_t reason)
{
    r->state = (uint8_t)state;
    r->direction = direction;
    r->reason = reason;
}

/* What a packet has changed is told once it is through. */
static void kst__tell_case(struct kst *t, const struct kst__case *c, uint32_t slot)
{
    const uint32_t risen = c->entry->status & ~(uint32_t)c->status;
    const uint32_t changed = (risen & KST_SEEN_REPLY ? KST_CHANGED_REPLY : 0) |
                             (risen & KST_ASSURED ? KST_CHANGED_ASSURED : 0) |
                             (c->entry->state != c->state ? KST_CHANGED_STATE : 0);
    if (c->fresh)
        kst__tell_new(t, slot);
    else if (changed != 0)
        kst__tell_update(t, slot, changed);
}

/* A packet that is refused: a newcomer is forgotten. A known connection may keep a mark of it
 * all the same: what SCTP's earlier chunks did, or a shorter life because the two sides lost
 * each other. */
static void kst__refuse(struct kst *t, const struct kst__case *c,
                        uint32_t slot, const struct kst__judgement *judgement,
                        struct kst_result *r)
{
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, judgement->reason);
    if (c->fresh) {
        kst__slot_give_back(t, slot);
        return;
    }
    if (judgement->timeout_s != KST__AS_IT_IS)
        kst__expire_at(t, slot, kst__due_ms(t, judgement->timeout_s));
    kst__reclass(t, slot);
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_case(t, c, slot);
}

/* Lets the helper of a connection hear what was accepted. It may have the packet dropped: one that
 * would have created the connection then does not. */
static void kst__hear(struct kst *t, const struct kst__case *c,
                      uint32_t slot, struct kst__mangle *mangle, struct kst_result *r)
{
    if (c->fresh)
        t->untold = r->entry;
    uint16_t reason = kst__helper_hear(t, slot, c->packet, mangle, c->direction,
                                       r->state == KST_ESTABLISHED);
    if (reason == KST_REASON_NONE && KST_UNLIKELY(c->entry->status & KST_SEQ_ADJUST) &&
        mangle != NULL && c->packet->tuple.protocol == KST__TCP &&
        !kst__adjust_segment(t, slot, c->direction, mangle->bytes + mangle->l4_at,
                             mangle->size - mangle->l4_at))
        reason = KST_REASON_NAT_PACKET;
    if (reason != KST_REASON_NONE) {
        if (r->reason != KST_REASON_NONE) /* who made room for it is gone all the same */
            t->stats.reasons[r->reason]++;
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
        r->verdict = KST_DROP;
        if (c->fresh) {
            if (kst__live(t, slot) && kst__id(t, slot) == r->entry)
                kst__remove(t, slot, KST_GONE_REFUSED);
            r->entry = 0;
            r->flags = 0;
        }
    }
    t->untold = 0;
}

/* A packet of a connection in the table is counted, prolongs it, and is its answer if it goes the
 * other way. `reason` is what it reports. */
KST_INLINE void kst__settle(struct kst *t, const struct kst__case *c,
                            uint32_t slot, const struct kst__judgement *judgement,
                            uint16_t reason, struct kst_result *r)
{
    struct kst__entry *e = c->entry;
    const bool answered = c->direction == KST_REPLY || (e->status & KST_SEEN_REPLY);
    if ((e->kind & KST__KIND_ACCOUNTED) && judgement->action != KST__KEEP) {
        struct kst__counters *counters = kst__counters_at(t, slot);
        counters->packets[c->direction]++;
        counters->bytes[c->direction] += c->packet->ip_bytes;
    }
    if (judgement->action == KST__REFRESH && !c->fresh && !(e->status & KST_FIXED_TIMEOUT))
        kst__expire_at(t, slot, kst__due_ms(t, judgement->timeout_s));
    if (c->direction == KST_REPLY)
        e->status |= KST_SEEN_REPLY;
    if (KST_UNLIKELY(e->status != c->status || e->state != c->state) &&
        (!c->fresh || (e->status & KST_CONFIRMED)))
        kst__reclass(t, slot);
    r->entry = kst__id(t, slot);
    kst__report(r,
                answered                    ? KST_ESTABLISHED
                : e->status & KST_EXPECTED ? KST_RELATED
                                            : KST_NEW,
                c->direction, reason);
    if (judgement->action == KST__END) {
        t->closing = r->entry;
        if (!c->packet->deferred)
            kst__pending_drop(t);
        r->flags = KST_CLOSED;
        return;
    }
    const uint32_t serial = e->serial;
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP) && !c->packet->deferred)
        kst__hear(t, c, slot, NULL, r); /* which may have let another have the slot */
    if (KST_UNLIKELY(t->events_at != 0) && (e->status & KST_CONFIRMED) && e->serial == serial)
        kst__tell_case(t, c, slot);
}

/* A newcomer whose coming was foretold, at this place: what it has from its master. */
static void kst__expected_child(struct kst *t, uint32_t slot, uint32_t place)
{
    const struct kst__expected *x = kst__expected_at(t, place);
    kst__entry_at(t, slot)->status |= KST_EXPECTED;
    kst__entry_at(t, slot)->mark = kst__entry_at(t, x->master)->mark;
    kst__helper_attach(t, slot, x->child_helper);
    kst__help_at(t, slot)->master = kst__id(t, x->master);
}

/* It has come, whatever becomes of it. Of two expectations for the two directions of one connection
 * the other is its answer. */
static void kst__expected_came(struct kst *t, uint32_t place)
{
    const struct kst__expected *x = kst__expected_at(t, place);
    struct kst_tuple inverse;
    t->stats.expect_new++;
    if (x->flags & KST_EXPECT_PERMANENT)
        return;
    kst__tuple_invert(&x->tuple, &inverse);
    const uint32_t other = kst__expect_find(t, &inverse);
    const bool paired = other != KST__NONE && other != place &&
                        kst__expected_at(t, other)->master == x->master &&
                        kst__tuple_same(&kst__expected_at(t, other)->tuple, &inverse);
    kst__expect_remove(t, place);
    if (paired)
        kst__expect_remove(t, other);
}

/* Makes the key of a packet whose zone is that of one direction, if it goes in `direction`. */
static void kst__key_zoned(const struct kst *t, const struct kst__parsed *p, uint8_t direction,
                           struct kst__key *key)
{
    const uint8_t with_zone =
        direction == KST_ORIGINAL ? KST_PACKET_ZONE_ORIGINAL : KST_PACKET_ZONE_REPLY;
    struct kst_tuple tuple = key->tuple;
    tuple.zone = p->zones & with_zone ? p->tuple.zone : 0;
    kst__key_make(t, &tuple, key);
}

/* The reply tuple of a newcomer whose zone is that of one direction only. */
static void kst__zone_apart(struct kst *t, uint32_t slot, const struct kst__parsed *p)
{
    struct kst_tuple *reply = kst__reply_tuple(t, slot);
    KST_ASSERT(t->features & KST_WITH_NAT);
    kst__tuple_invert(&kst__entry_at(t, slot)->tuple, reply);
    reply->zone = p->zones & KST_PACKET_ZONE_REPLY ? p->tuple.zone : 0;
    kst__entry_at(t, slot)->kind |= KST__KIND_NAT;
}

/* A packet of no known connection: judged as the first of one, which is let in if there is room. */
static void kst__judge_first(struct kst *t, const struct kst_packet *packet,
                             const struct kst__parsed *p, struct kst__key *key,
                             struct kst_result *r)
{
    uint32_t place = KST__NONE, serial = 0;
    if (KST_UNLIKELY(p->zones != 0))
        kst__key_zoned(t, p, KST_ORIGINAL, key);
    if (key->answer == KST__NO_ANSWER) {
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_NO_ANSWER);
        return;
    }
    kst__pending_drop(t); /* of an earlier packet of the batch */
    const uint32_t slot = kst__newcomer(t, &key->tuple, packet->policy);
    struct kst__entry *e = kst__entry_at(t, slot);
    if (KST_UNLIKELY(p->zones != 0 && p->tuple.zone != 0))
        kst__zone_apart(t, slot, p);
    if (KST_UNLIKELY(t->expect_at != 0)) {
        struct kst_tuple tuple = key->tuple;
        tuple.zone = p->tuple.zone;
        if (kst__expectations_of(t)->count > 0)
            place = kst__expect_find(t, &tuple);
        if (place != KST__NONE) {
            serial = kst__expected_at(t, place)->serial;
            kst__expected_child(t, slot, place);
        }
        const uint8_t helper = packet->helper != 0 ? packet->helper : kst__helper_of_port(t, &tuple);
        if (helper != 0 && kst__helper_for(helper, &tuple) && kst__help_of(t, slot)->helper == 0)
            kst__helper_attach(t, slot, helper);
    }
    const struct kst__case c = {t, kst__set_of(t, e), p, e, KST_ORIGINAL, true, e->status, 0};
    const struct kst__judgement judgement = kst__judge(&c);
    uint16_t reason = KST_REASON_NONE;
    if (judgement.action != KST__REFUSE) {
        KST_ASSERT(judgement.action == KST__REFRESH && judgement.reason == KST_REASON_NONE);
        e->expires_ms = kst__due_ms(t, judgement.timeout_s);
        if (KST_UNLIKELY(place != KST__NONE) &&
            kst__expected_at(t, place)->follows != KST_FOLLOWS_NOT)
            kst__nat_follow(t, slot, kst__expected_at(t, place));
        reason = p->deferred ? kst__pend(t, slot) : kst__admit(t, slot, key->hash);
    }
    if (place != KST__NONE && !kst__no_room(reason) &&
        kst__expected_at(t, place)->serial == serial)
        kst__expected_came(t, place);
    if (judgement.action == KST__REFUSE) {
        kst__refuse(t, &c, slot, &judgement, r);
        return;
    }
    if (!(e->status & KST_CONFIRMED) && t->pending != slot) {
        kst__slot_give_back(t, slot);
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
        r->verdict = KST_DROP;
        return;
    }
    t->stats.created += t->pending != slot;
    r->flags = KST_CREATED;
    kst__settle(t, &c, slot, &judgement, reason, r);
}

/* The connection of a packet, or KST__NONE, whatever its zone is for; one that has expired only if there is no other. */
static uint32_t kst__find_in_zones(struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    if (p->zones == 0)
        return kst__find(t, key);
    struct kst__key answer = *key;
    kst__key_zoned(t, p, KST_ORIGINAL, key);
    kst__key_only(key, KST_ORIGINAL);
    const uint32_t node = kst__find(t, key);
    if (node != KST__NONE && !kst__expired(t, kst__node_slot(t, node)))
        return node;
    kst__key_zoned(t, p, KST_REPLY, &answer);
    kst__key_only(&answer, KST_REPLY);
    const uint32_t other = kst__find(t, &answer);
    if (other == KST__NONE)
        return node;
    *key = answer;
    return other;
}

/* Packets whose tuple is not all there is to it: of a GRE call, or with a zone of one direction. */
static uint32_t kst__find_odd(struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    if (p->call) {
        struct kst_tuple tuple = key->tuple;
        kst__key_complete(t, &tuple);
        kst__key_make(t, &tuple, key);
    }
    return kst__find_in_zones(t, p, key);
}

/* What a judge is given of a packet that belongs to a connection. */
KST_INLINE struct kst__case kst__case_of(const struct kst *t, const struct kst__parsed *p,
                                         uint32_t node, const struct kst__key *key)
{
    struct kst__entry *e = kst__entry_at(t, kst__node_slot(t, node));
    const struct kst__case c = {
        t, kst__set_of(t, e), p, e, kst__node_direction(t, node, key), false, e->status, e->state};
    return c;
}

/* A packet with a tuple of its own: of a known connection, or the first of one. One that is out
 * of date, or that it reopens, makes way; under zones of one direction another may then be
 * found. */
KST_INLINE void kst__judge_packet(struct kst *t, const struct kst_packet *packet,
                                  const struct kst__parsed *p, struct kst__key *key,
                                  struct kst_result *r)
{
    for (;;) {
        const uint32_t node = KST_UNLIKELY(p->call || p->zones != 0)
                                  ? kst__find_odd(t, p, key)
                                  : kst__find(t, key);
        if (KST_UNLIKELY(node == KST__NONE))
            break;
        const uint32_t slot = kst__node_slot(t, node);
        enum kst_cause cause = KST_GONE_EXPIRED;
        if (KST_LIKELY(!kst__expired(t, slot))) {
            const struct kst__case c = kst__case_of(t, p, node, key);
            const struct kst__judgement judgement = kst__judge(&c);
            if (c.entry->state != c.state) {
                *kst__census(t, c.entry->tuple.protocol, c.state) -= 1;
                *kst__census(t, c.entry->tuple.protocol, c.entry->state) += 1;
            }
            if (KST_UNLIKELY(judgement.action == KST__REFUSE)) {
                kst__refuse(t, &c, slot, &judgement, r);
                return;
            }
            if (KST_LIKELY(judgement.action != KST__REOPEN)) {
                kst__settle(t, &c, slot, &judgement, judgement.reason, r);
                return;
            }
            cause = KST_GONE_REPLACED;
        }
        kst__remove(t, slot, cause);
    }
    kst__judge_first(t, packet, p, key, r);
}

/* An ICMP error: RELATED to the connection that the packet it carries belongs to, if it goes to
 * who sent that packet. It changes nothing, unless a helper has a mind to. */
static void kst__judge_error(struct kst *t, const struct kst__parsed *p, struct kst_result *r)
{
    struct kst__key key;
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_INNER);
    if (!kst__icmp_about(t, p, &key))
        return;
    r->reason = KST_REASON_ICMP_UNRELATED;
    const uint32_t node = kst__find_in_zones(t, p, &key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return;
    r->reason = KST_REASON_ICMP_MISDIRECTED;
    if (memcmp(key.tuple.dst, p->tuple.dst, sizeof key.tuple.dst) != 0)
        return;
    const uint32_t slot = kst__node_slot(t, node);
    const struct kst__case c = kst__case_of(t, p, node, &key);
    r->entry = kst__id(t, slot);
    kst__report(r, KST_RELATED, c.direction, KST_REASON_NONE);
    if (KST_UNLIKELY((c.entry->kind & KST__KIND_HELP) && c.direction == KST_ORIGINAL) &&
        !p->deferred)
        kst__hear(t, &c, slot, NULL, r);
}

/* A whole datagram. */
KST_INLINE void kst__judge_whole(struct kst *t, const struct kst_packet *packet,
                                 const struct kst__parsed *p, struct kst__key *key,
                                 struct kst_result *r)
{
    r->reason = p->reason;
    if (r->reason == KST_REASON_NONE && p->tuple.protocol == kst__icmp_of(p->tuple.family)) {
        uint8_t reason;
        switch (kst__icmp_sort(p, &reason)) {
        case KST__ICMP_ORDINARY: kst__judge_packet(t, packet, p, key, r); break;
        case KST__ICMP_ERROR: kst__judge_error(t, p, r); break;
        case KST__ICMP_UNTRACKED: r->state = KST_UNTRACKED; break;
        case KST__ICMP_REFUSED: r->reason = reason; break;
        }
    } else if (r->reason == KST_REASON_NONE) {
        kst__judge_packet(t, packet, p, key, r);
    }
}

/* The same for who comes rarely, in one place of the code. */
KST__NOINLINE static void kst__judge_datagram(struct kst *t, const struct kst_packet *packet,
                                              const struct kst__parsed *p, struct kst__key *key,
                                              struct kst_result *r)
{
    kst__judge_whole(t, packet, p, key, r);
}

/* A fragment: held, or the one that makes its datagram whole, which is then judged. */
static void kst__judge_fragment(struct kst *t, const struct kst_packet *packet,
                                const struct kst__parsed *p, struct kst__key *first,
                                struct kst_result *r)
{
    struct kst_packet whole = *packet;
    struct kst__parsed parsed;
    struct kst__key key;
    r->reason = kst__defrag_take(t, packet, p, &whole);
    if (r->reason == KST_REASON_FRAGMENT) {
        kst__judge_datagram(t, packet, p, first, r);
        return;
    }
    if (r->reason != KST_REASON_NONE) {
        r->verdict = r->reason == KST_REASON_FRAGMENT_HELD ? KST_HOLD : KST_DROP;
        return;
    }
    kst__parse(&whole, t->set[KST__SET_CHECKSUM] != 0, &parsed);
    if (parsed.reason == KST_REASON_NONE)
        kst__key_make(t, &parsed.tuple, &key);
    kst__judge_datagram(t, &whole, &parsed, &key, r);
    t->datagram_bytes = whole.size;
    r->flags |= KST_REASSEMBLED;
}

/* Anything that was parsed. */
KST_INLINE void kst__judge_any(struct kst *t, const struct kst_packet *packet,
                               const struct kst__parsed *p, struct kst__key *key,
                               struct kst_result *r)
{
    memset(r, 0, sizeof *r);
    r->direction = KST_NO_DIRECTION;
    t->stats.packets++;
    if (packet->flags & KST_PACKET_NOTRACK)
        r->state = KST_UNTRACKED;
    else if (p->fragment && t->defrag_at != 0 && packet->size >= p->ip_bytes)
        kst__judge_fragment(t, packet, p, key, r);
    else if (p->partial)
        r->reason = KST_REASON_FRAGMENT;
    else
        kst__judge_whole(t, packet, p, key, r);
    t->stats.reasons[r->reason]++;
}

/* Whether an answer, or what it answers, has the end changed that a hook of this kind is about:
 * answers have their destination changed if the source was, and the other way round. */
KST_INLINE bool kst__bound(const struct kst__entry *e, uint8_t direction, enum kst_nat_kind kind)
{
    const bool source = kind == KST_NAT_SOURCE, reply = direction == KST_REPLY;
    return (e->status & (source != reply ? KST_SRC_NAT : KST_DST_NAT)) != 0;
}

/* An ICMP error, or what else is RELATED, at the hook of one kind. */
static bool kst__translate_error(const struct kst__entry *e, bool bound, const struct kst_tuple *other,
                                 enum kst_nat_kind kind, struct kst__end end, uint8_t *bytes,
                                 uint32_t ip_bytes, uint32_t here)
{
    const uint32_t at = kst__error_at(bytes, here);
    const bool v4 = e->tuple.family == KST_IPV4, redirects = at != 0 && v4 && bytes[at] == 5;
    if (at == 0)
        return !bound || kst__rewrite(bytes, here, v4, kind, end);
    if (here == ip_bytes && !kst__error_sound(bytes, here, at)) /* of whatever connection */
        return false;
    if (redirects && (e->status & (KST_SRC_NAT | KST_DST_NAT)))
        return false; /* nobody here is to learn of another gateway */
    return !bound || (here == ip_bytes && kst__rewrite_error(bytes, here, at, kind, other, end));
}

/* Rewrites a packet as it was said to go, at the hook of one kind. NAT_PACKET if it cannot be: then
 * nothing is changed. */
static uint16_t kst__translate(const struct kst *t, const struct kst_result *r,
                               enum kst_nat_kind kind, uint8_t *bytes, uint32_t size)
{
    const uint32_t slot = (uint32_t)r->entry;
    if (r->entry == 0 || slot >= t->used || kst__entry_at(t, slot)->serial != r->entry >> 32)
        return KST_REASON_NONE;
    const struct kst__entry *e = kst__entry_at(t, slot);
    const bool bound = kst__bound(e, r->direction, kind);
    if (r->verdict != KST_ACCEPT || (!bound && r->state != KST_RELATED))
        return KST_REASON_NONE;
    const bool v4 = e->tuple.family == KST_IPV4;
    if (size < (v4 ? 20u : 40u) || bytes[0] >> 4 != (v4 ? 4 : 6))
        return KST_REASON_NAT_PACKET;
    const struct kst_tuple *other =
        r->direction == KST_REPLY || !bound ? &e->tuple : kst__reply_tuple(t, slot);
    const enum kst_nat_kind opposite =
        kind == KST_NAT_SOURCE ? KST_NAT_DESTINATION : KST_NAT_SOURCE;
    const struct kst__end end = kst__end_of(other, opposite);
    const uint32_t ip_bytes = v4 ? kst__be16(bytes + 2) : 40 + (uint32_t)kst__be16(bytes + 4);
    const uint32_t here = ip_bytes < size ? ip_bytes : size;
    const bool done = r->state == KST_RELATED
                          ? kst__translate_error(e, bound, other, kind, end, bytes, ip_bytes, here)
                          : kst__rewrite(bytes, here, v4, kind, end);
    return done ? KST_REASON_NONE : KST_REASON_NAT_PACKET;
}

/* Shows a helper the packet as it is now. */
static void kst__finish_helped(struct kst *t, uint32_t slot, bool fresh,
                               const struct kst_packet *now, struct kst__mangle *mangle,
                               struct kst_result *r)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__parsed p;
    const struct kst__case c = {t,           kst__set_of(t, e), &p,       e,
                                r->direction, fresh,             e->status, e->state};
    const uint16_t before = r->reason;
    kst__parse(now, false, &p);
    const bool error = p.tuple.protocol != e->tuple.protocol;
    if (p.reason != KST_REASON_NONE || (error && r->direction != KST_ORIGINAL))
        return;
    if (mangle != NULL) {
        mangle->l4_at = (uint32_t)(p.l4 - now->data);
        mangle->size = mangle->l4_at + p.l4_here;
    }
    kst__hear(t, &c, slot, mangle, r);
    if (r->reason != before)
        t->stats.reasons[r->reason]++;
}

/* The last hook: what was pending enters the table, and its connection's helper hears the packet,
 * which is now at `now`, and may change it if `mangle` is not NULL. */
static void kst__finish(struct kst *t, const struct kst_packet *now,
                        struct kst__mangle *mangle, struct kst_result *r)
{
    const uint32_t slot = kst__slot_known(t, r->entry);
    if (r->entry == 0 || slot == KST__NONE || t->closing == r->entry) {
        kst__pending_drop(t);
        return;
    }
    const struct kst__entry *e = kst__entry_at(t, slot);
    const bool fresh = slot == t->pending;
    if (fresh) {
        const uint16_t reason = kst__pending_admit(t);
        if (reason != KST_REASON_NONE)
            t->stats.reasons[r->reason = reason]++;
        if (!(e->status & KST_CONFIRMED)) {
            memset(r, 0, sizeof *r);
            kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
            r->verdict = KST_DROP;
            return;
        }
        t->stats.created++;
    }
    const uint32_t serial = e->serial;
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP))
        kst__finish_helped(t, slot, fresh, now, mangle, r);
    if (KST_UNLIKELY(t->events_at != 0) && fresh && (e->status & KST_CONFIRMED) && e->serial == serial)
        kst__tell_new(t, slot);
}

/* A packet that is not to go on, and what it would have begun. */
static void kst__nat_refuse(struct kst *t, uint16_t reason,
                            struct kst_result *r)
{
    kst__pending_drop(t);
    memset(r, 0, sizeof *r);
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
    r->verdict = KST_DROP;
    t->stats.reasons[reason]++;
}

/* A packet of a known connection that no helper hears: rewritten where it was parsed, at the hook of one
 * kind. `other` is what its answers, or what it answers, look like. */
KST_INLINE bool kst__through_known(const struct kst__entry *e, const struct kst_tuple *other,
                                   const struct kst__parsed *p, uint8_t direction,
                                   enum kst_nat_kind kind, uint8_t *bytes, uint8_t *l4)
{
    const bool v4 = e->tuple.family == KST_IPV4, source = kind == KST_NAT_SOURCE;
    return !kst__bound(e, direction, kind) ||
           kst__rewrite_end(bytes, bytes + (v4 ? 12 : 8) + (source ? 0 : v4 ? 4 : 16), l4, p->l4_here,
                            e->tuple.protocol, v4, kind,
                            kst__end_of(other, source ? KST_NAT_DESTINATION : KST_NAT_SOURCE));
}

/* All that comes after judging, where there are no rules between. */
static void kst__through(struct kst *t, const struct kst_packet *packet,
                         struct kst_nat *nat, struct kst_result *r)
{
    static const enum kst_nat_kind hooks[2] = {KST_NAT_DESTINATION, KST_NAT_SOURCE};
    struct kst__mangle mangle = {nat->bytes, 0, nat->room, 0, false};
    struct kst_packet whole = *packet;
    nat->size = packet->size;
    if (KST_UNLIKELY(r->flags & KST_REASSEMBLED)) {
        if (t->datagram_bytes > nat->room) {
            kst__nat_refuse(t, KST_REASON_NAT_ROOM, r);
            return;
        }
        memcpy(nat->bytes, kst__datagram(t), t->datagram_bytes);
        nat->size = whole.size = t->datagram_bytes;
        whole.data = nat->bytes;
        packet = &whole;
    }
    if (r->entry == 0 || r->verdict != KST_ACCEPT)
        return;
    const struct kst__entry *e = kst__entry_at(t, (uint32_t)r->entry);
    const bool finished = t->pending == KST__NONE && t->closing == 0 && !(e->kind & KST__KIND_HELP);
    for (uint32_t i = 0; i < 2; i++) {
        uint16_t reason = KST_REASON_NONE;
        if (t->pending != KST__NONE)
            reason = (uint16_t)kst__nat_bind(t, t->pending, hooks[i], nat->range[hooks[i]]);
        if (reason != KST_REASON_NAT_RANGE) /* too late, or used up: kst__finish will tell */
            reason = kst__translate(t, r, hooks[i], nat->bytes, packet->size);
        if (reason != KST_REASON_NONE) {
            kst__nat_refuse(t, reason, r);
            return;
        }
    }
    if (KST_LIKELY(finished))
        return;
    kst__finish(t, packet, &mangle, r);
    if (mangle.changed)
        nat->size = mangle.size;
}

KST_INLINE void kst__set_clock(struct kst *t, uint64_t now_ms)
{
    if (now_ms >= t->now_ms)
        t->now_ms = now_ms;
    else
        t->stats.clock_back++;
}

/* Judges a packet; with `nat` it then goes all the way, before the next one is judged. */
KST_INLINE void kst__judge_next(struct kst *t, const struct kst_packet *packet, struct kst_nat *nat,
                                struct kst__parsed *p, struct kst__key *key, struct kst_result *r)
{
    struct kst_packet deferred;
    if (nat != NULL) {
        p->deferred = true;
        if (KST_UNLIKELY(p->fragment)) { /* its datagram will be parsed */
            deferred = *packet;
            deferred.flags |= KST_PACKET_DEFER;
            packet = &deferred;
        }
    }
    kst__judge_any(t, packet, p, key, r);
    if (nat == NULL)
        return;
    const struct kst__entry *e = kst__entry_at(t, (uint32_t)r->entry);
    const bool plain = r->state == KST_ESTABLISHED && r->verdict == KST_ACCEPT && r->flags == 0 &&
                       !p->fragment && t->pending == KST__NONE && t->closing == 0 &&
                       !(e->kind & KST__KIND_HELP);
    nat->size = packet->size;
    if (KST_UNLIKELY(!plain)) {
        kst__through(t, packet, nat, r);
    } else if (e->status & (KST_SRC_NAT | KST_DST_NAT)) {
        uint8_t *l4 = nat->bytes + (p->l4 - packet->data);
        const struct kst_tuple *other =
            r->direction == KST_REPLY ? &e->tuple : kst__reply_tuple(t, (uint32_t)r->entry);
        if (KST_UNLIKELY(!kst__through_known(e, other, p, r->direction, KST_NAT_DESTINATION, nat->bytes, l4) ||
                         !kst__through_known(e, other, p, r->direction, KST_NAT_SOURCE, nat->bytes, l4)))
            kst__nat_refuse(t, KST_REASON_NAT_PACKET, r);
    }
}

/* A batch goes by groups, three of them under way: one is parsed, and the index asked for its buckets;
 * of the one before it what lies there is asked for; the one before that is judged. So the memory's
 * latency is hidden. All that is done ahead depends on the packets alone, or only fetches; so how
 * packets are cut into batches changes nothing. `nats`, unless NULL, has each go all the way before
 * the next one is judged. */
static void kst__run(struct kst *t, uint64_t now_ms, const struct kst_packet *packets,
                     struct kst_nat *nats, size_t count, struct kst_result *results)
{
    struct kst__parsed parsed[3][KST_BURST];
    struct kst__key keys[3][KST_BURST];
    const size_t groups = (count + KST_BURST - 1) / KST_BURST;
    kst__set_clock(t, now_ms);
    if (KST_UNLIKELY(t->pending != KST__NONE || t->closing != 0))
        kst__pending_drop(t);
    for (size_t group = 0; group < groups + 2; group++) {
        if (group < groups) {
            const struct kst_packet *packet = packets + group * KST_BURST;
            const size_t here = kst__burst_size(group, count);
            for (size_t i = 0; i < here; i++) {
                struct kst__parsed *p = &parsed[group % 3][i];
                kst__parse(&packet[i], t->set[KST__SET_CHECKSUM] != 0, p);
                kst__key_make(t, &p->tuple, &keys[group % 3][i]);
            }
            kst__look_up(t, keys[group % 3], here);
        }
        if (group - 1 < groups)
            kst__look_closer(t, keys[(group - 1) % 3], kst__burst_size(group - 1, count), true);
        if (group >= 2)
            for (size_t i = 0; i < kst__burst_size(group - 2, count); i++) {
                const size_t at = (group - 2) * KST_BURST + i;
                kst__judge_next(t, &packets[at], nats != NULL ? &nats[at] : NULL,
                                &parsed[(group - 2) % 3][i], &keys[(group - 2) % 3][i],
                                &results[at]);
            }
    }
}

#endif

/* ======== core/calls.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/calls.h - the public calls that are not a packet's: making a table, asking it, changing it.
 * What untrusted text or a caller's struct says is checked here. */
#ifndef KST_CALLS_H
#define KST_CALLS_H


/* ---- making a table ---- */

struct kst__layout {
    struct kst table; /* its offsets, capacity, buckets and features */
    uint64_t bytes;
    enum kst_error error;
};

static enum kst_error kst__config_error(const struct kst_config *config)
{
    uint32_t seen = 0;
    bool ended = false;
    if (config == NULL)
        return KST_ERROR_NO_CONFIG;
    if (config->max < 1 || config->max > KST_ENTRIES_MAX)
        return KST_ERROR_MAX;
    if (config->buckets > 2 * KST_ENTRIES_MAX)
        return KST_ERROR_BUCKETS;
    if (config->index >= KST__INDEXES || config->timer >= KST__TIMERS)
        return KST_ERROR_BACK_END;
    if (config->features & ~(uint32_t)(KST_WITH_ACCOUNTING | KST_WITH_NAT | KST_WITH_TIMESTAMPS |
                                       KST_WITH_LABELS | KST_WITH_LIMITS))
        return KST_ERROR_FEATURES;
    if (config->source_prefix[0] > 32 || config->source_prefix[1] > 128)
        return KST_ERROR_PREFIX;
    if (config->expectations > KST_EXPECTATIONS_MAX)
        return KST_ERROR_EXPECTATIONS;
    if (config->events > KST_EVENTS_MAX)
        return KST_ERROR_EVENTS;
    if (config->reassembly_bytes != 0 && config->reassembly_bytes < KST_REASSEMBLY_MIN)
        return KST_ERROR_REASSEMBLY;
    for (uint32_t i = 0; i < KST_CLASSES; i++) {
        const uint32_t choice = config->evict[i];
        if (choice > KST_CLASSES || (choice != 0 && (ended || (seen >> choice & 1))))
            return KST_ERROR_EVICT;
        ended = choice == 0;
        seen |= UINT32_C(1) << choice;
    }
    return KST_ERROR_OK;
}

struct kst__column {
    uint32_t feature, bytes;
};

static const struct kst__column kst__columns[KST__COLUMNS] = {
#define KST__X(name, feature, type) {feature, sizeof(type)},
    KST__COLUMNS_LIST(KST__X)
#undef KST__X
};

/* Where the next part may lie, behind one of so many bytes at `*end`. Returns where that is. */
static uint64_t kst__lay(uint64_t *end, uint64_t bytes)
{
    const uint64_t at = *end;
    *end = kst__aligned(at + bytes);
    return at;
}

static struct kst__layout kst__lay_out(const struct kst_config *config)
{
    struct kst__layout layout;
    struct kst *t = &layout.table;
    memset(&layout, 0, sizeof layout);
    layout.error = kst__config_error(config);
    if (layout.error != KST_ERROR_OK)
        return layout;

    t->capacity = config->max;
    t->features = config->features;
    t->source_prefix[0] = config->source_prefix[0] != 0 ? config->source_prefix[0] : 32;
    t->source_prefix[1] = config->source_prefix[1] != 0 ? config->source_prefix[1] : 64;
    t->index = config->index;
    t->timer = config->timer;
    t->buckets = kst__power_of_two(config->buckets != 0 ? config->buckets : config->max);
    t->expectations_max = config->expectations;
    t->events_max = config->events;
    const uint64_t slots = kst__slots(t);
    const bool nat = (t->features & KST_WITH_NAT) != 0;
    const uint32_t features = t->features | (config->expectations != 0 ? KST__WITH_HELP : 0) |
                              (config->expectations != 0 && nat ? KST__WITH_ADJUST : 0);
    uint64_t end = kst__aligned(sizeof *t);
    t->index_at = kst__lay(&end, kst__index_ops(t)->bytes(kst__nodes(t), t->buckets));
    t->timer_at = kst__lay(&end, kst__timer_ops(t)->bytes(kst__timed(t)));
    t->entries_at = kst__lay(&end, slots * sizeof(struct kst__entry));
    for (uint32_t i = 0; i < KST__COLUMNS; i++)
        if (features & kst__columns[i].feature)
            t->column_at[i] = kst__lay(&end, slots * kst__columns[i].bytes);
    if (nat) {
        t->sources = kst__power_of_two(t->capacity);
        t->sources_at = kst__lay(&end, (uint64_t)t->sources * sizeof(uint32_t));
    }
    if (t->features & KST_WITH_LIMITS)
        t->tallies_at = kst__lay(&end, kst__tallies_bytes(kst__slots(t)));
    if (config->expectations != 0)
        t->expect_at = kst__lay(&end, kst__expect_bytes(config->expectations));
    if (config->events != 0)
        t->events_at = kst__lay(&end, kst__events_bytes(config->events));
    if (config->reassembly_bytes != 0) {
        struct kst__defrag defrag;
        t->defrag_at = kst__lay(&end, kst__defrag_lay_out(&defrag, config->reassembly_bytes));
    }
    layout.bytes = end;
    if (layout.bytes > SIZE_MAX)
        layout.error = KST_ERROR_MAX;
    return layout;
}

const char *kst_index_name(uint32_t number)
{
    return number < KST__INDEXES ? kst__indexes[number]->name : NULL;
}

const char *kst_timer_name(uint32_t number)
{
    return number < KST__TIMERS ? kst__timers[number]->name : NULL;
}

size_t kst_bytes(const struct kst_config *config)
{
    const struct kst__layout layout = kst__lay_out(config);
    return layout.error == KST_ERROR_OK ? (size_t)layout.bytes : 0;
}

/* Empties the pool, the classes, the expectations and the back ends. */
static void kst__clear(struct kst *t)
{
    t->count = t->used = t->apart = 0;
    t->free = t->pending = KST__NONE;
    t->closing = 0;
    for (uint32_t i = 0; i < KST_CLASSES; i++) {
        t->classes[i].oldest = t->classes[i].newest = KST__NONE;
        t->classes[i].count = 0;
    }
    kst__index_ops(t)->init(kst__index(t), kst__nodes(t), t->buckets);
    kst__timer_ops(t)->init(kst__timer(t), kst__timed(t), t->now_ms);
    if (t->sources_at != 0)
        kst__sources_init(t);
    memset(t->states, 0, sizeof t->states);
    if (t->tallies_at != 0)
        kst__tallies_init(t);
    if (t->expect_at != 0)
        kst__expect_init(t);
}

struct kst *kst_init(void *memory, size_t bytes, const struct kst_config *config,
                     enum kst_error *why)
{
    struct kst *t = (struct kst *)memory;
    const struct kst__layout layout = kst__lay_out(config);
    enum kst_error error = layout.error;
    if (error == KST_ERROR_OK && memory == NULL)
        error = KST_ERROR_NO_MEMORY;
    else if (error == KST_ERROR_OK && (uintptr_t)memory % KST_ALIGN != 0)
        error = KST_ERROR_MEMORY_ALIGN;
    else if (error == KST_ERROR_OK && bytes < layout.bytes)
        error = KST_ERROR_MEMORY_SHORT;
    if (why != NULL)
        *why = error;
    if (error != KST_ERROR_OK)
        return NULL;

    *t = layout.table;
    t->now_ms = config->start_ms;
    t->seed[0] = config->seed[0];
    t->seed[1] = config->seed[1];
    for (uint32_t i = 0; i < KST__SETTINGS; i++)
        t->set[i] = kst__settings[i].normal;
    t->set[KST__SET_MAX] = t->capacity;
    t->set[KST__SET_BUCKETS] = t->buckets;
    t->set[KST__SET_EXPECT_MAX] = t->expectations_max;
    for (uint32_t i = 0; i < KST_POLICIES; i++)
        memcpy(t->policy[i], t->set, sizeof t->set);
    memcpy(t->evict, config->evict, sizeof t->evict);
    if (t->evict[0] == 0) {
        t->evict[0] = KST_CLASS_UNREPLIED + 1;
        t->evict[1] = KST_CLASS_REPLIED + 1;
    }
    for (uint32_t i = 0; i < KST_CLASSES; i++)
        t->classes[i].residence_ms = config->residence_ms[i];
    if (t->expect_at != 0) /* the serial numbers go on whenever the table is emptied */
        memset(kst__expectations_of(t), 0, sizeof(struct kst__expectations));
    if (t->events_at != 0)
        memset(kst__events_of(t), 0, sizeof(struct kst__events));
    kst__clear(t);
    if (t->defrag_at != 0)
        kst__defrag_init(t, config->reassembly_bytes);
    return t;
}

struct kst_sizes kst_default_sizes(uint64_t memory_bytes, enum kst_era era)
{
    const uint64_t gib = UINT64_C(1) << 30;
    uint64_t buckets = memory_bytes / 16384 / 8;
    struct kst_sizes sizes;
    switch (era) {
    case KST_ERA_2_4:
        buckets = memory_bytes > gib ? 8192 : buckets < 16 ? 16 : buckets;
        sizes.max = (uint32_t)buckets * 8;
        break;
    case KST_ERA_TO_5_14:
        buckets = memory_bytes > 4 * gib ? 65536 : memory_bytes > gib ? 16384 : buckets;
        buckets = buckets < 32 ? 32 : buckets;
        sizes.max = (uint32_t)buckets * 4;
        break;
    default:
        buckets = memory_bytes > 4 * gib ? 262144 : memory_bytes > gib ? 65536 : buckets;
        buckets = buckets < 1024 ? 1024 : (buckets + 511) / 512 * 512; /* whole pages of heads */
        sizes.max = (uint32_t)buckets;
        break;
    }
    sizes.buckets = (uint32_t)buckets;
    return sizes;
}

/* ---- packets and time ---- */

void kst_track(struct kst *t, uint64_t now_ms, const struct kst_packet *packets, size_t count,
               struct kst_result *results)
{
    kst__run(t, now_ms, packets, NULL, count, results);
}

void kst_track_nat(struct kst *t, uint64_t now_ms, const struct kst_packet *packets,
                   struct kst_nat *nats, size_t count, struct kst_result *results)
{
    kst__run(t, now_ms, packets, nats, count, results);
}

uint32_t kst_advance(struct kst *t, uint64_t now_ms, uint32_t work_max)
{
    uint32_t work = work_max;
    kst__set_clock(t, now_ms);
    if (t->defrag_at != 0)
        kst__defrag_expire(t, &work);
    kst__collect(t, &work);
    return work_max - work;
}

bool kst_refuse(struct kst *t, const struct kst_result *result)
{
    const uint32_t slot = kst__slot_known(t, result->entry);
    if (result->entry != 0 && t->closing == result->entry) { /* gone, whatever becomes of the packet */
        kst__pending_drop(t);
        return false;
    }
    if (!(result->flags & KST_CREATED) || slot == KST__NONE)
        return false;
    if (slot == t->pending)
        kst__pending_drop(t);
    else
        kst__remove(t, slot, KST_GONE_REFUSED);
    return true;
}

const uint8_t *kst_datagram(const struct kst *t, size_t *size)
{
    *size = t->datagram_bytes;
    return t->defrag_at != 0 ? kst__datagram(t) : NULL;
}

enum kst_reason kst_bind(struct kst *t, kst_id id, enum kst_nat_kind kind,
                         const struct kst_nat_range *range)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE || slot != t->pending)
        return KST_REASON_NAT_LATE;
    return kst__nat_bind(t, slot, kind, range);
}

enum kst_reason kst_translate(const struct kst *t, const struct kst_result *result,
                              enum kst_nat_kind kind, uint8_t *bytes, size_t size)
{
    const uint32_t here = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
    return (enum kst_reason)kst__translate(t, result, kind, bytes, here);
}

enum kst_reason kst_confirm(struct kst *t, uint64_t now_ms, const struct kst_packet *packet,
                            struct kst_result *result, uint8_t *bytes, size_t *size, size_t room)
{
    struct kst_packet now = *packet;
    struct kst__mangle mangle = {bytes, 0, 0, 0, false};
    kst__set_clock(t, now_ms);
    if (bytes != NULL) {
        now.data = bytes;
        now.size = *size > UINT32_MAX ? UINT32_MAX : (uint32_t)*size;
        mangle.room = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    }
    kst__finish(t, &now, bytes != NULL ? &mangle : NULL, result);
    if (mangle.changed)
        *size = mangle.size;
    return result->verdict == KST_ACCEPT ? KST_REASON_NONE : (enum kst_reason)result->reason;
}

/* ---- connections ---- */

KST_INLINE kst_id kst__find_id(const struct kst *t, const struct kst__key *key, uint8_t *direction)
{
    const uint32_t node = kst__find(t, key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return 0;
    if (direction != NULL)
        *direction = kst__node_direction(t, node, key);
    return kst__id(t, kst__node_slot(t, node));
}

kst_id kst_find(const struct kst *t, const struct kst_tuple *tuple, uint8_t *direction)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    return kst__find_id(t, &key, direction);
}

void kst_find_batch(const struct kst *t, const struct kst_tuple *tuples, size_t count, kst_id *ids,
                    uint8_t *directions)
{
    struct kst__key keys[3][KST_BURST]; /* as in kst__run */
    const size_t groups = (count + KST_BURST - 1) / KST_BURST;
    for (size_t group = 0; group < groups + 2; group++) {
        if (group < groups) {
            const size_t here = kst__burst_size(group, count);
            for (size_t i = 0; i < here; i++)
                kst__key_make(t, &tuples[group * KST_BURST + i], &keys[group % 3][i]);
            kst__look_up(t, keys[group % 3], here);
        }
        if (group - 1 < groups)
            kst__look_closer(t, keys[(group - 1) % 3], kst__burst_size(group - 1, count), false);
        if (group >= 2)
            for (size_t i = 0; i < kst__burst_size(group - 2, count); i++) {
                const size_t at = (group - 2) * KST_BURST + i;
                ids[at] = kst__find_id(t, &keys[(group - 2) % 3][i],
                                       directions != NULL ? &directions[at] : NULL);
            }
    }
}

bool kst_get(const struct kst *t, kst_id id, struct kst_flow *flow)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE)
        return false;
    kst__flow_of(t, slot, flow);
    return true;
}

kst_id kst_next(const struct kst *t, kst_id id)
{
    for (uint64_t slot = id == 0 ? 0 : (id & UINT32_MAX) + 1; slot < t->used; slot++)
        if (kst__live(t, (uint32_t)slot) && !kst__expired(t, (uint32_t)slot))
            return kst__id(t, (uint32_t)slot);
    return 0;
}

bool kst_close(struct kst *t, kst_id id)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE || slot == t->pending)
        return false;
    struct kst__entry *e = kst__entry_at(t, slot);
    if (e->tuple.protocol != KST__TCP)
        return false;
    if (e->state == KST_TCP_CLOSE)
        return true;
    *kst__census(t, KST__TCP, e->state) -= 1;
    *kst__census(t, KST__TCP, KST_TCP_CLOSE) += 1;
    e->state = KST_TCP_CLOSE;
    if (!(e->status & KST_FIXED_TIMEOUT))
        kst__expire_at(t, slot, kst__due_ms(t, kst__set_of(t, e)[KST__SET_TCP_CLOSE]));
    kst__reclass(t, slot);
    kst__tell_update(t, slot, KST_CHANGED_STATE);
    return true;
}

bool kst_delete(struct kst *t, kst_id id)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE)
        return false;
    if (slot == t->pending)
        kst__pending_drop(t);
    else
        kst__remove(t, slot, KST_GONE_DELETED);
    return true;
}

void kst_flush(struct kst *t)
{
    kst__pending_drop(t);
    for (uint32_t slot = 0; slot < t->used; slot++)
        if (kst__live(t, slot))
            kst__remove(t, slot,
                        kst__expired(t, slot) ? KST_GONE_EXPIRED : KST_GONE_DELETED);
    kst__clear(t);
}

bool kst_set_mark(struct kst *t, kst_id id, uint32_t mark)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE)
        return false;
    if (kst__entry_at(t, slot)->mark == mark)
        return true;
    kst__entry_at(t, slot)->mark = mark;
    if (slot != t->pending)
        kst__tell_update(t, slot, KST_CHANGED_MARK);
    return true;
}

bool kst_set_labels(struct kst *t, kst_id id, const uint8_t labels[KST_LABEL_BYTES])
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE || !(t->features & KST_WITH_LABELS))
        return false;
    if (memcmp(kst__labels_at(t, slot)->bytes, labels, KST_LABEL_BYTES) == 0)
        return true;
    memcpy(kst__labels_at(t, slot)->bytes, labels, KST_LABEL_BYTES);
    if (slot != t->pending)
        kst__tell_update(t, slot, KST_CHANGED_LABELS);
    return true;
}

/* Whether a tuple is one that a packet could have. */
static bool kst__tuple_sound(const struct kst_tuple *tuple)
{
    static const uint8_t zeros[12] = {0};
    if (tuple->family != KST_IPV4 && tuple->family != KST_IPV6)
        return false;
    if (tuple->family == KST_IPV4 && (memcmp(tuple->src + 4, zeros, sizeof zeros) != 0 ||
                                      memcmp(tuple->dst + 4, zeros, sizeof zeros) != 0))
        return false;
    if (kst__is_icmp(tuple->protocol) && tuple->protocol != kst__icmp_of(tuple->family))
        return false;
    return kst__protocol_of(tuple->protocol)->ports != KST__NO_PORTS ||
           (tuple->src_port == 0 && tuple->dst_port == 0);
}

static enum kst_error kst__flow_error(const struct kst *t, const struct kst_flow *flow)
{
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const struct kst_tuple *reply = &flow->tuple[KST_REPLY];
    const uint32_t known =
        KST_EXPECTED | KST_SEEN_REPLY | KST_ASSURED | KST_CONFIRMED | KST_FIXED_TIMEOUT | KST__NAT;
    struct kst_tuple inverse;
    if (!kst__tuple_sound(original) || !kst__tuple_sound(reply) ||
        original->family != reply->family || original->protocol != reply->protocol ||
        (original->zone != reply->zone && original->zone != 0 && reply->zone != 0))
        return KST_ERROR_FLOW_FAMILY;
    if (!kst__tuple_invert(original, &inverse) || !kst__tuple_invert(reply, &inverse) ||
        (kst__is_icmp(original->protocol) &&
         (!kst__icmp_is_question(original) || inverse.dst_port != original->dst_port)))
        return KST_ERROR_FLOW_TUPLE;
    if (kst__tuple_same(reply, original) && !kst__tuple_same(&inverse, original))
        return KST_ERROR_FLOW_TUPLE;
    if (!kst__tuple_same(&inverse, original) && !(t->features & KST_WITH_NAT))
        return KST_ERROR_FLOW_NAT;
    if ((flow->accounted && !(t->features & KST_WITH_ACCOUNTING)) ||
        (flow->timestamped && !(t->features & KST_WITH_TIMESTAMPS)))
        return KST_ERROR_SETTING_FEATURE;
    if (flow->policy > KST_POLICIES)
        return KST_ERROR_POLICY;
    if (flow->helper != 0 && (t->expect_at == 0 || !kst__helper_for(flow->helper, original)))
        return KST_ERROR_HELPER;
    if ((flow->status & ~known) ||
        !kst__status_sound(original->protocol, flow->status) ||
        !kst__state_sound(original->protocol, flow->state))
        return KST_ERROR_FLOW_STATE;
    if (flow->gre_timeouts_s[0] > KST_TIMEOUT_MAX_S || flow->gre_timeouts_s[1] > KST_TIMEOUT_MAX_S)
        return KST_ERROR_FLOW_TIMEOUT;
    if (flow->timeout_ms == 0 || flow->timeout_ms > (uint64_t)KST_TIMEOUT_MAX_S * 1000)
        return KST_ERROR_FLOW_TIMEOUT;
    return KST_ERROR_OK;
}

/* What is said of its translation, and what its tuples say. */
static uint16_t kst__flow_nat(const struct kst *t, const struct kst_flow *flow)
{
    const struct kst_tuple *is = &flow->tuple[KST_ORIGINAL], *reply = &flow->tuple[KST_REPLY];
    uint32_t status = flow->status & (KST_SRC_NAT_DONE | KST_DST_NAT_DONE | KST_SEQ_ADJUST);
    const bool icmp = kst__is_icmp(is->protocol);
    if (!(t->features & KST_WITH_NAT))
        return 0;
    if (memcmp(reply->dst, is->src, sizeof is->src) != 0 ||
        (icmp ? reply->src_port != is->src_port : reply->dst_port != is->src_port))
        status |= KST_SRC_NAT | KST_SRC_NAT_DONE;
    if (memcmp(reply->src, is->dst, sizeof is->dst) != 0 ||
        (!icmp && reply->src_port != is->dst_port))
        status |= KST_DST_NAT | KST_DST_NAT_DONE;
    if (t->expect_at == 0 || is->protocol != KST__TCP)
        status &= ~(uint32_t)KST_SEQ_ADJUST;
    return (uint16_t)status;
}

static enum kst_error kst__insert(struct kst *t, const struct kst_flow *flow, kst_id *id)
{
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const struct kst_tuple *reply = &flow->tuple[KST_REPLY];
    struct kst_tuple mirror;
    uint32_t work = KST_COLLECT_MAX;
    const enum kst_error error = kst__flow_error(t, flow);
    if (error != KST_ERROR_OK)
        return error;
    if (!kst__tuple_clear(t, original, KST_NO_DIRECTION) ||
        !kst__tuple_clear(t, reply, KST_NO_DIRECTION))
        return KST_ERROR_FLOW_EXISTS;
    if (t->count >= t->set[KST__SET_MAX])
        kst__collect(t, &work);
    if (t->count >= t->set[KST__SET_MAX])
        return KST_ERROR_FULL;
    if ((t->tallies_at != 0 && kst__over_limit(t, original) != KST_REASON_NONE) ||
        (!(flow->status & KST_ASSURED) && kst__crowded(t) != KST_REASON_NONE))
        return KST_ERROR_LIMIT;

    const uint32_t slot = kst__newcomer(t, original, flow->policy);
    struct kst__entry *e = kst__entry_at(t, slot);
    kst__tuple_invert(original, &mirror);
    if (!kst__tuple_same(&mirror, reply)) {
        e->kind |= KST__KIND_NAT;
        *kst__reply_tuple(t, slot) = *reply;
    }
    e->kind = (uint8_t)((e->kind & ~KST__KIND_ACCOUNTED) |
                        (flow->accounted ? KST__KIND_ACCOUNTED : 0));
    if (flow->accounted) {
        memcpy(kst__counters_at(t, slot)->packets, flow->packets, sizeof flow->packets);
        memcpy(kst__counters_at(t, slot)->bytes, flow->bytes, sizeof flow->bytes);
    }
    if (t->features & KST_WITH_LABELS)
        memcpy(kst__labels_at(t, slot)->bytes, flow->labels, KST_LABEL_BYTES);
    if (t->features & KST_WITH_TIMESTAMPS) /* it may be older than the clock */
        *kst__birth_at(t, slot) = !flow->timestamped           ? KST__NEVER
                                  : flow->age_ms <= t->now_ms ? t->now_ms - flow->age_ms
                                                              : 0;
    if (t->expect_at != 0 && (flow->helper != 0 || flow->master != 0)) {
        kst__helper_attach(t, slot, flow->helper);
        kst__help_of(t, slot)->master = flow->master;
    }
    e->expires_ms = kst__later_ms(t, flow->timeout_ms);
    e->mark = flow->mark;
    e->status = (uint16_t)((flow->status & ~KST__NAT) | kst__flow_nat(t, flow));
    e->state = flow->state;
    if (e->status & KST_SRC_NAT_DONE)
        kst__source_at(t, slot)->out_interface = flow->out_interface;
    for (uint32_t i = 0; (e->status & KST_SEQ_ADJUST) && i < 2; i++) {
        struct kst__adjust_side *side = &kst__adjust_at(t, slot)[i];
        side->at = flow->seq_adjust[i][0];
        side->before = flow->seq_adjust[i][1];
        side->after = flow->seq_adjust[i][2];
    }
    if (original->protocol == KST__GRE) {
        const uint32_t *own = flow->gre_timeouts_s, *set = kst__set_of(t, e);
        e->proto.gre.timeout_s = own[0] != 0 ? own[0] : set[KST__SET_GRE_TIMEOUT];
        e->proto.gre.stream_s = own[1] != 0 ? own[1] : set[KST__SET_GRE_TIMEOUT_STREAM];
    } else if (original->protocol == KST__SCTP) {
        memcpy(e->proto.sctp.tag, flow->sctp_tags, sizeof flow->sctp_tags);
    } else if (original->protocol == KST__TCP) {
        e->proto.tcp.last = KST__LAST(KST__CLASS_NONE, KST_ORIGINAL);
        e->proto.tcp.flags[0] = e->proto.tcp.flags[1] = KST__TCP_SACKS | KST__TCP_LIBERAL;
    }
    if (!kst__index_in(t, slot, kst__tuple_hash(original, t->seed))) {
        kst__slot_give_back(t, slot);
        return KST_ERROR_FULL;
    }
    kst__confirm(t, slot);
    t->stats.inserted++;
    *id = kst__id(t, slot);
    kst__tell_new(t, slot);
    return KST_ERROR_OK;
}

kst_id kst_insert(struct kst *t, const struct kst_flow *flow, enum kst_error *why)
{
    kst_id id = 0;
    const enum kst_error error = kst__insert(t, flow, &id);
    if (why != NULL)
        *why = error;
    return id;
}

/* ---- helpers and expectations ---- */

uint8_t kst_helper_number(const char *name)
{
    for (uint8_t number = 1; number < KST__HELPERS; number++)
        if (strcmp(kst__helper(number)->name, name) == 0)
            return number;
    return 0;
}

const char *kst_helper_name(uint8_t helper)
{
    const struct kst_helper *found = kst__helper(helper);
    return found != NULL ? found->name : NULL;
}

enum kst_error kst_attach(struct kst *t, uint8_t protocol, uint16_t port, uint8_t helper)
{
    uint32_t i = 0, last = 0;
    const struct kst_helper *is = kst__helper(helper);
    if (helper != 0 && (t->expect_at == 0 || is == NULL ||
                        (is->protocols[0] != protocol && is->protocols[1] != protocol)))
        return KST_ERROR_HELPER;
    while (last < KST_ATTACH_MAX && t->attached[last].helper != 0)
        last++;
    while (i < last && (t->attached[i].protocol != protocol || t->attached[i].port != port))
        i++;
    if (i == KST_ATTACH_MAX && helper != 0)
        return KST_ERROR_HELPERS_MANY;
    if (helper == 0) {
        if (i < last) { /* the last one takes its place */
            t->attached[i] = t->attached[last - 1];
            t->attached[last - 1].helper = 0;
        }
        return KST_ERROR_OK;
    }
    t->attached[i].protocol = protocol;
    t->attached[i].port = port;
    t->attached[i].helper = helper;
    return KST_ERROR_OK;
}

enum kst_error kst_attach_usual(struct kst *t)
{
    enum kst_error error = KST_ERROR_OK;
    for (uint8_t number = 1; number < KST__HELPERS && error == KST_ERROR_OK; number++) {
        const struct kst_helper *helper = kst__helper(number);
        if (helper->port != 0)
            error = kst_attach(t, helper->protocols[0], helper->port, number);
    }
    return error;
}

enum kst_error kst_expect(struct kst *t, const struct kst_expectation *expectation)
{
    const uint32_t master = kst__slot(t, expectation->master);
    const uint32_t known = KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT | KST_EXPECT_PERMANENT |
                           KST_EXPECT_INACTIVE | KST_EXPECT_USERSPACE | KST_EXPECT_ANY_MASTER;
    struct kst__expected x;
    if (master == KST__NONE)
        return KST_ERROR_NOT_FOUND;
    if (t->expect_at == 0)
        return KST_ERROR_EXPECT_FULL;
    if (!kst__tuple_sound(&expectation->tuple) || (expectation->flags & ~known) ||
        (expectation->tuple.zone != kst__entry_at(t, master)->tuple.zone &&
         expectation->tuple.zone != kst__reply_of(t, master).zone))
        return KST_ERROR_EXPECT_TUPLE;
    if (expectation->class_ >= KST_EXPECT_CLASSES)
        return KST_ERROR_EXPECT_CLASS;
    if (expectation->child_helper != 0 &&
        !kst__helper_for(expectation->child_helper, &expectation->tuple))
        return KST_ERROR_HELPER;
    const struct kst_helper *helper = kst__helper(kst__help_of(t, master)->helper);
    const struct kst_expect_class *class_ =
        helper != NULL ? &helper->classes[expectation->class_] : NULL;
    const uint64_t timeout_ms = expectation->timeout_ms != 0 ? expectation->timeout_ms
                                : class_ != NULL ? (uint64_t)class_->timeout_s * 1000
                                                 : 0;
    if (timeout_ms == 0)
        return KST_ERROR_FLOW_TIMEOUT;
    memset(&x, 0, sizeof x);
    x.tuple = expectation->tuple;
    if (expectation->flags & KST_EXPECT_ANY_SRC)
        memset(x.tuple.src, 0, sizeof x.tuple.src);
    if (expectation->flags & KST_EXPECT_ANY_SRC_PORT)
        x.tuple.src_port = 0;
    x.expires_ms = kst__later_ms(t, timeout_ms);
    x.master = master;
    x.flags = expectation->flags;
    if (t->features & KST_WITH_NAT) {
        x.follows = expectation->follows;
        x.nat_direction = expectation->nat_direction != KST_ORIGINAL;
        x.nat_port = expectation->nat_port;
    }
    x.class_ = expectation->class_;
    x.child_helper = expectation->child_helper;
    return kst__expect_insert(t, &x,
                              class_ != NULL && class_->max != 0 ? class_->max : UINT8_MAX);
}

/* The place of an expectation that may still come true. */
static uint32_t kst__expected_place(const struct kst *t, kst_id id)
{
    const uint32_t place = (uint32_t)id;
    if (t->expect_at == 0 || place >= kst__expectations_of(t)->used)
        return KST__NONE;
    const struct kst__expected *x = kst__expected_at(t, place);
    const bool alive = x->serial == id >> 32 && x->serial != 0 && x->expires_ms > t->now_ms &&
                       !(x->flags & KST__EXPECT_KEY) && !kst__expired(t, x->master);
    return alive ? place : KST__NONE;
}

KST_INLINE kst_id kst__expectation_id(const struct kst *t, uint32_t place)
{
    return (kst_id)kst__expected_at(t, place)->serial << 32 | place;
}

kst_id kst_expectation_next(const struct kst *t, kst_id id)
{
    if (t->expect_at == 0)
        return 0;
    for (uint64_t place = id == 0 ? 0 : (id & UINT32_MAX) + 1;
         place < kst__expectations_of(t)->used; place++) {
        const kst_id next = kst__expectation_id(t, (uint32_t)place);
        if (kst__expected_place(t, next) != KST__NONE)
            return next;
    }
    return 0;
}

kst_id kst_expectation_own(const struct kst *t, kst_id master, kst_id id)
{
    const uint32_t slot = kst__slot(t, master);
    if (slot == KST__NONE || !(kst__entry_at(t, slot)->kind & KST__KIND_HELP))
        return 0;
    uint32_t place = kst__help_at(t, slot)->newest;
    if (id != 0) {
        place = kst__expected_place(t, id);
        if (place == KST__NONE || kst__expected_at(t, place)->master != slot)
            return 0;
        place = kst__expected_at(t, place)->own_older;
    }
    while (place != KST__NONE && kst__expected_place(t, kst__expectation_id(t, place)) == KST__NONE)
        place = kst__expected_at(t, place)->own_older;
    return place != KST__NONE ? kst__expectation_id(t, place) : 0;
}

bool kst_expectation_get(const struct kst *t, kst_id id, struct kst_expectation *expectation)
{
    const uint32_t place = kst__expected_place(t, id);
    if (place != KST__NONE)
        kst__expectation_of(t, place, expectation);
    return place != KST__NONE;
}

bool kst_expectation_delete(struct kst *t, kst_id id)
{
    const uint32_t place = kst__expected_place(t, id);
    if (place != KST__NONE)
        kst__expect_remove(t, place);
    return place != KST__NONE;
}

bool kst_expectation_renew(struct kst *t, kst_id id, uint8_t flags, uint64_t timeout_ms)
{
    const uint8_t may = KST_EXPECT_PERMANENT | KST_EXPECT_INACTIVE;
    const uint32_t place = kst__expected_place(t, id);
    if (place == KST__NONE)
        return false;
    struct kst__expected *x = kst__expected_at(t, place);
    kst__timer_ops(t)->disarm(kst__timer(t), kst__slots(t) + place);
    x->flags = (uint8_t)((x->flags & ~may) | (flags & may));
    x->expires_ms = kst__later_ms(t, timeout_ms);
    kst__timer_ops(t)->arm(kst__timer(t), kst__slots(t) + place, x->expires_ms);
    return true;
}

uint32_t kst_expectation_count(const struct kst *t)
{
    return t->expect_at != 0 ? kst__expectations_of(t)->count : 0;
}

/* ---- events ---- */

bool kst_event_next(struct kst *t, struct kst_event *event)
{
    struct kst__events *events = t->events_at != 0 ? kst__events_of(t) : NULL;
    if (events == NULL || events->count == 0)
        return false;
    *event = *kst__events_place(t, events->first);
    events->first = (events->first + 1) % t->events_max;
    events->count--;
    return true;
}

/* ---- settings and statistics ---- */

static bool kst__read_only(uint32_t number)
{
    return number == KST__SET_BUCKETS || number == KST__SET_COUNT;
}

static uint32_t kst__setting_value(const struct kst *t, uint32_t number)
{
    return number == KST__SET_COUNT ? t->count : t->set[number];
}

bool kst_setting_range(const struct kst *t, const char *name, uint32_t *lowest, uint32_t *highest)
{
    const uint32_t number = kst__setting_number(name);
    if (number == KST__SETTINGS)
        return false;
    *lowest = kst__settings[number].lowest;
    *highest = number == KST__SET_MAX          ? t->capacity
               : number == KST__SET_EXPECT_MAX ? t->expectations_max
                                               : kst__settings[number].highest;
    if (kst__read_only(number)) /* what it is, and nothing else */
        *lowest = *highest = kst__setting_value(t, number);
    return true;
}

/* What a setting needs before it can be other than 0. */
static uint32_t kst__needed_feature(uint32_t number)
{
    switch (number) {
    case KST__SET_ACCT: return KST_WITH_ACCOUNTING;
    case KST__SET_TIMESTAMP: return KST_WITH_TIMESTAMPS;
    case KST__SET_SOURCE_MAX:
    case KST__SET_ZONE_MAX: return KST_WITH_LIMITS;
    default: return 0;
    }
}

enum kst_error kst_set(struct kst *t, const char *name, uint32_t value)
{
    const uint32_t number = kst__setting_number(name);
    uint32_t lowest = 0, highest = 0;
    if (number == KST__SETTINGS)
        return KST_ERROR_SETTING_NAME;
    if (kst__read_only(number))
        return KST_ERROR_SETTING_READ_ONLY;
    kst_setting_range(t, name, &lowest, &highest);
    if (value < lowest || value > highest)
        return KST_ERROR_SETTING_RANGE;
    if (value != 0 && (kst__needed_feature(number) & ~t->features) != 0)
        return KST_ERROR_SETTING_FEATURE;
    t->set[number] = value;
    for (uint32_t i = 0; i < KST_POLICIES; i++)
        if (!(t->policy_owns[i] >> number & 1))
            t->policy[i][number] = value;
    if (t->defrag_at != 0 && (number == KST__SET_FRAG4_TIMEOUT || number == KST__SET_FRAG6_TIMEOUT))
        kst__defrag_shorten(t);
    return KST_ERROR_OK;
}

/* Whether a setting is how long a connection lasts. */
static bool kst__is_timeout(uint32_t number)
{
    return kst__settings[number].highest == KST_TIMEOUT_MAX_S && number != KST__SET_FRAG4_TIMEOUT &&
           number != KST__SET_FRAG6_TIMEOUT && number != KST__SET_SIP_TIMEOUT;
}

enum kst_error kst_set_policy(struct kst *t, uint8_t policy, const char *name, uint32_t value)
{
    const uint32_t number = kst__setting_number(name);
    if (number == KST__SETTINGS)
        return KST_ERROR_SETTING_NAME;
    if (policy < 1 || policy > KST_POLICIES || !kst__is_timeout(number))
        return KST_ERROR_POLICY;
    if (value > kst__settings[number].highest)
        return KST_ERROR_SETTING_RANGE;
    t->policy[policy - 1][number] = value;
    t->policy_owns[policy - 1] |= UINT64_C(1) << number;
    return KST_ERROR_OK;
}

bool kst_setting(const struct kst *t, const char *name, uint32_t *value)
{
    const uint32_t number = kst__setting_number(name);
    if (number == KST__SETTINGS)
        return false;
    *value = kst__setting_value(t, number);
    return true;
}

const char *kst_setting_name(uint32_t number)
{
    return number < KST__SETTINGS ? kst__settings[number].name : NULL;
}

const struct kst_stats *kst_statistics(const struct kst *t)
{
    return &t->stats;
}

uint32_t kst_count(const struct kst *t)
{
    return t->count;
}

uint32_t kst_class_count(const struct kst *t, enum kst_class number)
{
    return (uint32_t)number < KST_CLASSES ? t->classes[number].count : 0;
}

uint32_t kst_state_count(const struct kst *t, uint8_t protocol, uint8_t state)
{
    return state < KST_TCP_STATES ? *kst__census(t, protocol, state) : 0;
}

uint32_t kst_source_count(const struct kst *t, uint16_t zone, enum kst_family family,
                          const uint8_t *address)
{
    struct kst_tuple tuple;
    uint32_t steps = 0;
    if (t->tallies_at == 0)
        return 0;
    memset(&tuple, 0, sizeof tuple);
    tuple.zone = zone;
    tuple.family = (uint8_t)family;
    if (address != NULL)
        memcpy(tuple.src, address, family == KST_IPV6 ? 16 : 4);
    return kst__tallied(t, &tuple, address != NULL, &steps);
}

static const uint8_t kst__reason_columns[KST_REASONS] = {
#define KST__X(name, columns, text) KST_COLUMN_##columns,
    KST_REASONS_LIST(KST__X)
#undef KST__X
};

uint64_t kst_column(const struct kst *t, enum kst_column column)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < KST_REASONS; i++)
        if (kst__reason_columns[i] & column)
            sum += t->stats.reasons[i];
    return sum;
}

#endif
/* ======== core/shard.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/shard.h - which of several tables a packet is for, by its two addresses alone. */
#ifndef KST_SHARD_H
#define KST_SHARD_H


/* The addresses of a packet, or of the one that it, an ICMP error, is about; `bytes` tells how long both
 * are. NULL if there are none. A fragment of several counts by its own, as all of its datagram must go
 * the same way. */
static const uint8_t *kst__shard_addresses(const struct kst_packet *packet, uint32_t *bytes)
{
    const uint32_t version = packet->size > 0 ? packet->data[0] >> 4 : 0;
    const bool v4 = version == 4;
    struct kst__parsed p;
    if (packet->size < (v4 ? 20u : 40u) || (!v4 && version != 6))
        return NULL;
    *bytes = v4 ? 8 : 32;
    kst__parse(packet, false, &p);
    if (p.reason == KST_REASON_NONE && !p.partial && p.tuple.protocol == kst__icmp_of(p.tuple.family) &&
        (v4 ? kst__icmp4_sort(p.l4[0]) : kst__icmp6_sort(p.l4[0])) == KST__ICMP_ERROR &&
        p.l4_here >= 8 + (v4 ? 20u : 40u))
        return p.l4 + 8 + (v4 ? 12 : 8);
    return packet->data + (v4 ? 12 : 8);
}

uint32_t kst_shard(const struct kst_packet *packet, uint32_t shards, const uint64_t seed[2])
{
    uint32_t bytes;
    const uint8_t *at = kst__shard_addresses(packet, &bytes);
    if (at == NULL || shards < 2)
        return 0;
    const bool swap = memcmp(at, at + bytes / 2, bytes / 2) > 0;
    const uint8_t *low = swap ? at + bytes / 2 : at, *high = swap ? at : at + bytes / 2;
    uint64_t hash;
    if (bytes == 8) {
        const uint64_t word = (uint64_t)kst__be32(low) << 32 | kst__be32(high);
        hash = kst__hash(seed, &word, 1, UINT64_C(8) << 56);
    } else {
        const uint64_t words[4] = {kst__be64(low), kst__be64(low + 8), kst__be64(high), kst__be64(high + 8)};
        hash = kst__hash(seed, words, 4, UINT64_C(32) << 56);
    }
    return (uint32_t)((hash >> 32) * shards >> 32);
}

#endif
/* ======== core/invariants.h ============================================================== */

/* SPDX-License-Identifier: MIT */
/* core/invariants.h - every invariant of the table, walked. Dumb and slow on purpose. */
#ifndef KST_INVARIANTS_H
#define KST_INVARIANTS_H


/* One entry, seen by itself. */
static const char *kst__check_entry(const struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    struct kst_tuple reply;
    if ((e->kind & KST__KIND_CLASS) != kst__class_of(e))
        return "entry: in the wrong class";
    if (!kst__status_sound(e->tuple.protocol, e->status))
        return "entry: ASSURED without a reply";
    if (!kst__state_sound(e->tuple.protocol, e->state))
        return "entry: not a state of its protocol";
    if (e->serial == 0)
        return "entry: without a serial number";
    if (!kst__tuple_invert(&e->tuple, &reply))
        return "entry: its tuple has no inverse";
    if ((e->kind & KST__KIND_NAT) && !(t->features & KST_WITH_NAT))
        return "entry: NAT without memory for it";
    if ((e->status & KST__NAT) && !(t->features & KST_WITH_NAT))
        return "entry: translated without memory for it";
    if ((e->status & (KST_SRC_NAT | KST_DST_NAT)) && !(e->kind & KST__KIND_NAT))
        return "entry: translated, and its tuples mirror each other";
    if ((e->kind & KST__KIND_HELP) && t->expect_at == 0)
        return "entry: helped without memory for it";
    if ((e->kind & KST__KIND_ACCOUNTED) && !(t->features & KST_WITH_ACCOUNTING))
        return "entry: counters without memory for them";
    return NULL;
}

/* That both tuples of an entry lead to it. */
static const char *kst__check_found(const struct kst *t, uint32_t slot)
{
    const struct kst_tuple reply = kst__reply_of(t, slot);
    struct kst__key key;
    kst__key_make(t, &kst__entry_at(t, slot)->tuple, &key);
    kst__key_only(&key, KST_ORIGINAL);
    const uint32_t original_node = kst__find(t, &key);
    if (original_node == KST__NONE || kst__node_slot(t, original_node) != slot)
        return "index: an entry is not found by its original tuple";
    kst__key_make(t, &reply, &key);
    kst__key_only(&key, KST_REPLY);
    const uint32_t reply_node = kst__find(t, &key);
    if (reply_node == KST__NONE || kst__node_slot(t, reply_node) != slot)
        return "index: an entry is not found by its reply tuple";
    return NULL;
}

static const char *kst__check_classes(const struct kst *t)
{
    uint32_t total = 0;
    for (uint8_t number = 0; number < KST_CLASSES; number++) {
        const struct kst__class *class_ = &t->classes[number];
        uint32_t older = KST__NONE, count = 0, age = UINT32_MAX;
        for (uint32_t slot = class_->oldest; slot != KST__NONE;) {
            if (!kst__live(t, slot) || ++count > t->count)
                return "class: a link leads astray";
            const struct kst__entry *e = kst__entry_at(t, slot);
            if ((e->kind & KST__KIND_CLASS) != number || e->older != older)
                return "class: neighbours disagree";
            if (!kst__expired(t, slot)) { /* of the expired nobody knows for how many years */
                if (kst__beat(t->now_ms) - e->joined > age)
                    return "class: not in the order of joining";
                age = kst__beat(t->now_ms) - e->joined;
            }
            older = slot;
            slot = e->newer;
        }
        if (class_->newest != older || class_->count != count)
            return "class: the count or the end is wrong";
        total += count;
    }
    return total == t->count ? NULL : "class: an entry is in none";
}

static const char *kst__check_all(const struct kst *t)
{
    const char *broken;
    uint32_t live = 0, bound = 0, tuples = 0, spare = 0, nodes = 0, armed = 0, apart = 0;
    uint32_t states[KST__PROTOCOLS + 1][KST_TCP_STATES] = {{0}};
    const struct kst_stats *s = &t->stats;
    if (t->used > kst__slots(t) || t->count > t->capacity)
        return "pool: more slots in use than there are";
    uint64_t gone = 0;
    for (uint32_t i = 0; i < KST_CAUSES; i++)
        gone += s->gone[i];
    if (s->created + s->inserted - gone != t->count)
        return "pool: who came and who went does not make who is there";
    /* The back ends first: nothing below can be walked if they lead astray. */
    if ((broken = kst__index_ops(t)->check(kst__index(t), t, &nodes)) != NULL ||
        (broken = kst__timer_ops(t)->check(kst__timer(t), t, &armed)) != NULL)
        return broken;
    for (uint32_t slot = t->free; slot != KST__NONE; slot = kst__entry_at(t, slot)->newer)
        if (slot >= t->used || kst__live(t, slot) || ++spare > t->used)
            return "pool: the free list leads astray";
    for (uint32_t slot = 0; slot < t->used; slot++) {
        if (!kst__live(t, slot))
            continue;
        if ((broken = kst__check_entry(t, slot)) != NULL ||
            (broken = kst__check_found(t, slot)) != NULL)
            return broken;
        if ((kst__entry_at(t, slot)->kind & KST__KIND_HELP) &&
            (broken = kst__expect_check_own(t, slot)) != NULL)
            return broken;
        const struct kst__entry *e = kst__entry_at(t, slot);
        states[kst__protocol_row(e->tuple.protocol)][e->state]++;
        live++;
        bound += (kst__entry_at(t, slot)->status & KST_SRC_NAT_DONE) != 0;
        tuples += kst__has_original_node(t, slot);
        tuples += (kst__entry_at(t, slot)->kind & KST__KIND_NAT) != 0;
        apart += kst__is_apart(t, slot);
    }
    if (apart != t->apart)
        return "entry: zones of one direction are counted wrong";
    if (t->pending != KST__NONE && (t->pending >= t->used || kst__live(t, t->pending)))
        return "pool: what is pending is in the table";
    if (live != t->count || live + spare + (t->pending != KST__NONE) != t->used)
        return "pool: a slot is lost";
    if (memcmp(states, t->states, sizeof states) != 0)
        return "pool: the states are counted wrong";
    if (t->sources_at != 0 && (broken = kst__source_check(t, bound)) != NULL)
        return broken;
    if (t->tallies_at != 0 && (broken = kst__tallies_check(t)) != NULL)
        return broken;
    if (t->defrag_at != 0 && (broken = kst__defrag_check(t)) != NULL)
        return broken;
    if (t->expect_at != 0 && (broken = kst__expect_check(t)) != NULL)
        return broken;
    if ((broken = kst__check_classes(t)) != NULL)
        return broken;
    if (nodes != tuples)
        return "index: it does not hold each entry once for each tuple of its own";
    if (t->expect_at != 0)
        armed -= kst__expectations_of(t)->count + kst__expectations_of(t)->keys;
    if (armed != live)
        return "timer: an entry is not armed";
    return NULL;
}

bool kst_check(const struct kst *t, const char **broken)
{
    const char *found = kst__check_all(t);
    if (broken != NULL)
        *broken = found;
    return found == NULL;
}

#endif
/* ======== core/print.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/print.h - names, sentences, and a connection as a line of text. No stdio. */
#ifndef KST_PRINT_H
#define KST_PRINT_H


const char *kst_reason_name(enum kst_reason reason)
{
    static const char *const names[KST_REASONS] = {
#define KST__X(name, columns, text) #name,
        KST_REASONS_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)reason < KST_REASONS ? names[reason] : "?";
}

const char *kst_reason_text(enum kst_reason reason)
{
    static const char *const texts[KST_REASONS] = {
#define KST__X(name, columns, text) text,
        KST_REASONS_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)reason < KST_REASONS ? texts[reason] : "?";
}

const char *kst_error_text(enum kst_error error)
{
    static const char *const texts[KST_ERRORS] = {
#define KST__X(name, text) text,
        KST_ERRORS_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)error < KST_ERRORS ? texts[error] : "?";
}

const char *kst_cause_text(enum kst_cause cause)
{
    static const char *const texts[KST_CAUSES] = {
#define KST__X(name, text) text,
        KST_CAUSES_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)cause < KST_CAUSES ? texts[cause] : "?";
}

const char *kst_state_name(enum kst_state state)
{
    static const char *const names[] = {"invalid", "new", "established", "related", "untracked"};
    return (uint32_t)state <= KST_UNTRACKED ? names[state] : "?";
}

const char *kst_direction_name(enum kst_direction direction)
{
    static const char *const names[] = {"original", "reply", "-"};
    return (uint32_t)direction <= KST_NO_DIRECTION ? names[direction] : "?";
}

const char *kst_tcp_state_name(enum kst_tcp_state state)
{
    static const char *const names[KST_TCP_STATES] = {
        "NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
        "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};
    return (uint32_t)state < KST_TCP_STATES ? names[state] : "?";
}

const char *kst_sctp_state_name(enum kst_sctp_state state)
{
    static const char *const names[KST_SCTP_STATES] = {
        "NONE",          "CLOSED",        "COOKIE_WAIT",       "COOKIE_ECHOED",  "ESTABLISHED",
        "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"};
    return (uint32_t)state < KST_SCTP_STATES ? names[state] : "?";
}

/* The protocol's word for a connection's state, NULL if it has none. */
static const char *kst__state_word(const struct kst_flow *flow)
{
    const uint8_t protocol = flow->tuple[KST_ORIGINAL].protocol;
    return protocol == KST__TCP    ? kst_tcp_state_name((enum kst_tcp_state)flow->state)
           : protocol == KST__SCTP ? kst_sctp_state_name((enum kst_sctp_state)flow->state)
                                   : NULL;
}

static const char *kst__or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* What a helper calls a class of its expectations. */
static const char *kst__class_name(uint8_t helper, uint8_t class_)
{
    const struct kst_helper *found = kst__helper(helper);
    return found != NULL && class_ < KST_EXPECT_CLASSES ? found->classes[class_].name : NULL;
}

static void kst__put_address(struct kst__line *line, uint8_t family, const uint8_t *address,
                             bool short_ipv6)
{
    if (family == KST_IPV4)
        kst__put_ipv4(line, address);
    else if (short_ipv6)
        kst__put_ipv6_short(line, address);
    else
        kst__put_ipv6(line, address);
}

/* The fields of a tuple, each behind what the format puts before it. Keys are hexadecimal in
 * Linux's text, which JSON does not have: there they are decimal. */
struct kst__labels {
    const char *src, *dst, *sport, *dport, *type, *code, *id, *srckey, *dstkey, *end;
    uint32_t key_base;
    bool short_ipv6;
};

static void kst__put_tuple(struct kst__line *line, const struct kst_tuple *tuple,
                           const struct kst__labels *labels)
{
    kst__put(line, labels->src);
    kst__put_address(line, tuple->family, tuple->src, labels->short_ipv6);
    kst__put(line, labels->dst);
    kst__put_address(line, tuple->family, tuple->dst, labels->short_ipv6);
    kst__put(line, labels->end);
    switch (kst__protocol_of(tuple->protocol)->ports) {
    case KST__PORTS:
        kst__put_field(line, labels->sport, tuple->src_port);
        kst__put_field(line, labels->dport, tuple->dst_port);
        break;
    case KST__TYPES:
        kst__put_field(line, labels->type, tuple->dst_port >> 8);
        kst__put_field(line, labels->code, tuple->dst_port & 0xff);
        kst__put_field(line, labels->id, tuple->src_port);
        break;
    case KST__KEYS:
        kst__put(line, labels->srckey);
        kst__put_number(line, tuple->src_port, labels->key_base);
        kst__put(line, labels->dstkey);
        kst__put_number(line, tuple->dst_port, labels->key_base);
        break;
    default: break;
    }
}

/* What of a connection is told: conntrack lists more than its events say. */
enum kst__telling {
    KST__TELL_MARK = 1,     /* the mark, also if it is 0 */
    KST__TELL_COUNTERS = 2, /* packets, bytes, age */
    KST__TELL_HELPER = 4,
    KST__TELL_EXPIRED = 8   /* the time left, also if it is no whole second */
};

static const struct kst__labels kst__proc_labels = {
    " src=", " dst=", " sport=", " dport=", " type=", " code=", " id=",
    " srckey=0x", " dstkey=0x", "", 16, false};

/* Three formats of one family: PROC has the network layer in front, LEGACY no zone and no age,
 * CONNTRACK short addresses, a zone only if it is one, no timeouts of GRE's own, but the helper. */
static void kst__put_proc(struct kst__line *line, const struct kst_flow *flow,
                          enum kst_format format, uint32_t telling)
{
    static const char *const zones[2] = {" zone-orig=", " zone-reply="};
    struct kst__labels labels = kst__proc_labels;
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const bool one_zone = original->zone == flow->tuple[KST_REPLY].zone;
    const bool conntrack = format == KST_FORMAT_CONNTRACK, legacy = format == KST_FORMAT_LEGACY;
    labels.short_ipv6 = conntrack;
    if (format == KST_FORMAT_PROC) {
        kst__put_padded(line, original->family == KST_IPV4 ? "ipv4" : "ipv6", 8);
        kst__put_field(line, " ", original->family);
        kst__put(line, " ");
    }
    kst__put_padded(line, kst__protocol_of(original->protocol)->name, 8);
    kst__put_field(line, " ", original->protocol);
    if (flow->timeout_ms >= 1000 || (telling & KST__TELL_EXPIRED))
        kst__put_field(line, " ", flow->timeout_ms / 1000);
    if (kst__state_word(flow) != NULL) {
        kst__put(line, " ");
        kst__put(line, kst__state_word(flow));
    }
    if (original->protocol == KST__GRE && !conntrack) {
        kst__put_field(line, " timeout=", flow->gre_timeouts_s[0]);
        kst__put_field(line, ", stream_timeout=", flow->gre_timeouts_s[1]);
    }
    for (uint32_t direction = 0; direction < 2; direction++) {
        kst__put_tuple(line, &flow->tuple[direction], &labels);
        if (!one_zone && flow->tuple[direction].zone != 0 && !legacy)
            kst__put_field(line, zones[direction], flow->tuple[direction].zone);
        if (flow->accounted && (telling & KST__TELL_COUNTERS)) {
            kst__put_field(line, " packets=", flow->packets[direction]);
            kst__put_field(line, " bytes=", flow->bytes[direction]);
        }
        if (direction == KST_ORIGINAL && !(flow->status & KST_SEEN_REPLY))
            kst__put(line, " [UNREPLIED]");
    }
    if (flow->status & KST_ASSURED)
        kst__put(line, " [ASSURED]");
    if (flow->mark != 0 || (telling & KST__TELL_MARK))
        kst__put_field(line, " mark=", flow->mark);
    if (one_zone && (conntrack ? original->zone != 0 : !legacy))
        kst__put_field(line, " zone=", original->zone);
    if (flow->timestamped && !legacy && (telling & KST__TELL_COUNTERS))
        kst__put_field(line, " delta-time=", flow->age_ms / 1000);
    if (conntrack && flow->helper != 0 && (telling & KST__TELL_HELPER)) {
        kst__put(line, " helper=");
        kst__put(line, kst__or_empty(kst_helper_name(flow->helper)));
    }
}

static const struct kst__labels kst__json_labels = {
    "\"src\":\"",  "\",\"dst\":\"", ",\"sport\":",  ",\"dport\":",  ",\"type\":",
    ",\"code\":", ",\"id\":",     ",\"srckey\":", ",\"dstkey\":", "\"",
    10, false};

static void kst__put_json(struct kst__line *line, const struct kst_flow *flow)
{
    static const char *const names[2] = {",\"original\":{", ",\"reply\":{"};
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    kst__put_field(line, "{\"family\":\"ipv", original->family == KST_IPV4 ? 4 : 6);
    kst__put(line, "\",\"protocol\":\"");
    kst__put(line, kst__protocol_of(original->protocol)->name);
    kst__put_field(line, "\",\"protonum\":", original->protocol);
    kst__put_field(line, ",\"timeout\":", flow->timeout_ms / 1000);
    if (kst__state_word(flow) != NULL) {
        kst__put(line, ",\"state\":\"");
        kst__put(line, kst__state_word(flow));
        kst__put(line, "\"");
    }
    for (uint32_t direction = 0; direction < 2; direction++) {
        kst__put(line, names[direction]);
        kst__put_tuple(line, &flow->tuple[direction], &kst__json_labels);
        if (flow->accounted) {
            kst__put_field(line, ",\"packets\":", flow->packets[direction]);
            kst__put_field(line, ",\"bytes\":", flow->bytes[direction]);
        }
        kst__put(line, "}");
    }
    kst__put(line, flow->status & KST_SEEN_REPLY ? ",\"seen_reply\":true" : ",\"seen_reply\":false");
    kst__put(line, flow->status & KST_ASSURED ? ",\"assured\":true" : ",\"assured\":false");
    kst__put_field(line, ",\"mark\":", flow->mark);
    if (original->zone == flow->tuple[KST_REPLY].zone) {
        kst__put_field(line, ",\"zone\":", original->zone);
    } else {
        kst__put_field(line, ",\"zone_original\":", original->zone);
        kst__put_field(line, ",\"zone_reply\":", flow->tuple[KST_REPLY].zone);
    }
    if (flow->timestamped)
        kst__put_field(line, ",\"age\":", flow->age_ms / 1000);
    if (flow->helper != 0) {
        kst__put(line, ",\"helper\":\"");
        kst__put(line, kst__or_empty(kst_helper_name(flow->helper)));
        kst__put(line, "\"");
    }
    if (flow->status & KST_EXPECTED)
        kst__put_field(line, ",\"expected\":true,\"master\":", flow->master);
    kst__put(line, "}");
}

/* Ends a line, and says how long all of it is. */
static size_t kst__line_end(struct kst__line *line)
{
    if (line->size > 0)
        line->text[line->length < line->size ? line->length : line->size - 1] = '\0';
    return line->length;
}

size_t kst_print(const struct kst_flow *flow, enum kst_format format, char *text, size_t size)
{
    struct kst__line line = {text, size, 0};
    if (format == KST_FORMAT_JSON)
        kst__put_json(&line, flow);
    else if (format != KST_FORMAT_LEGACY || flow->tuple[KST_ORIGINAL].family == KST_IPV4)
        kst__put_proc(&line, flow, format,
                      KST__TELL_MARK | KST__TELL_COUNTERS | KST__TELL_HELPER | KST__TELL_EXPIRED);
    return kst__line_end(&line);
}

/* What an expectation is besides where it goes: words with `between` between, `behind` behind
 * the last. */
static void kst__put_flags(struct kst__line *line, uint32_t flags, const char *between,
                           const char *behind)
{
    static const char *const names[] = {"PERMANENT", "INACTIVE", "USERSPACE"};
    bool some = false;
    for (uint32_t i = 0; i < 3; i++) {
        if (!(flags & (uint32_t)KST_EXPECT_PERMANENT << i))
            continue;
        kst__put(line, some ? between : "");
        kst__put(line, names[i]);
        some = true;
    }
    kst__put(line, some ? behind : "");
}

/* All ones, or none, in the family's way. */
static void kst__put_mask(struct kst__line *line, const char *name, uint8_t family, bool ones)
{
    uint8_t address[16];
    memset(address, ones ? 0xff : 0, sizeof address);
    kst__put(line, name);
    kst__put_address(line, family, address, true);
}

/* `conntrack -L expect` */
static void kst__put_conntrack_expectation(struct kst__line *line,
                                           const struct kst_expectation *x)
{
    static const char *const ports[][2] = {
        {"", ""}, {" sport=", " dport="}, {"", ""}, {" srckey=0x", " dstkey=0x"}};
    struct kst__labels labels = kst__proc_labels;
    const uint8_t kind = kst__protocol_of(x->tuple.protocol)->ports;
    const uint32_t base = kind == KST__KEYS ? 16 : 10;
    labels.short_ipv6 = true;
    kst__put_field(line, "", x->timeout_ms / 1000);
    kst__put_field(line, " proto=", x->tuple.protocol);
    kst__put_tuple(line, &x->tuple, &labels);
    kst__put_mask(line, " mask-src=", x->tuple.family, !(x->flags & KST_EXPECT_ANY_SRC));
    kst__put_mask(line, " mask-dst=", x->tuple.family, true);
    if (kind == KST__PORTS || kind == KST__KEYS) {
        kst__put(line, ports[kind][0]);
        kst__put_number(line, x->flags & KST_EXPECT_ANY_SRC_PORT ? 0 : UINT16_MAX, base);
        kst__put(line, ports[kind][1]);
        kst__put_number(line, UINT16_MAX, base);
    }
    kst__put(line, " master-src=");
    kst__put_address(line, x->master_tuple.family, x->master_tuple.src, true);
    kst__put(line, " master-dst=");
    kst__put_address(line, x->master_tuple.family, x->master_tuple.dst, true);
    kst__put_field(line, " sport=", x->master_tuple.src_port);
    kst__put_field(line, " dport=", x->master_tuple.dst_port);
    if (x->tuple.zone != 0)
        kst__put_field(line, " zone=", x->tuple.zone);
    kst__put(line, " ");
    kst__put_flags(line, x->flags, ",", " ");
    kst__put_field(line, "class=", x->class_);
    kst__put(line, " helper=");
    kst__put(line, kst__or_empty(kst_helper_name(x->helper)));
}

/* /proc/net/nf_conntrack_expect */
static void kst__put_proc_expectation(struct kst__line *line, const struct kst_expectation *x)
{
    const char *name = kst_helper_name(x->helper);
    const char *class_ = kst__or_empty(kst__class_name(x->helper, x->class_));
    kst__put_field(line, "", x->timeout_ms / 1000);
    kst__put_field(line, " l3proto = ", x->tuple.family);
    kst__put_field(line, " proto=", x->tuple.protocol);
    kst__put_tuple(line, &x->tuple, &kst__proc_labels);
    kst__put(line, " ");
    kst__put_flags(line, x->flags, ",", " ");
    kst__put(line, kst__or_empty(name));
    kst__put(line, class_[0] != '\0' ? "/" : "");
    kst__put(line, class_);
}

static void kst__put_json_expectation(struct kst__line *line, const struct kst_expectation *x)
{
    kst__put_field(line, "{\"family\":\"ipv", x->tuple.family == KST_IPV4 ? 4 : 6);
    kst__put_field(line, "\",\"protonum\":", x->tuple.protocol);
    kst__put_field(line, ",\"timeout\":", x->timeout_ms / 1000);
    kst__put(line, ",\"expected\":{");
    kst__put_tuple(line, &x->tuple, &kst__json_labels);
    kst__put(line, x->flags & KST_EXPECT_ANY_SRC ? "},\"any_src\":true" : "},\"any_src\":false");
    kst__put(line, x->flags & KST_EXPECT_ANY_SRC_PORT ? ",\"any_sport\":true" : ",\"any_sport\":false");
    kst__put(line, x->flags & KST_EXPECT_PERMANENT ? ",\"permanent\":true" : ",\"permanent\":false");
    kst__put(line, x->flags & KST_EXPECT_INACTIVE ? ",\"active\":false" : ",\"active\":true");
    kst__put_field(line, ",\"master\":", x->master);
    kst__put_field(line, ",\"class\":", x->class_);
    kst__put(line, ",\"helper\":\"");
    kst__put(line, kst__or_empty(kst_helper_name(x->helper)));
    kst__put(line, "\"}");
}

size_t kst_print_expectation(const struct kst_expectation *expectation, enum kst_format format,
                             char *text, size_t size)
{
    struct kst__line line = {text, size, 0};
    if (format == KST_FORMAT_JSON)
        kst__put_json_expectation(&line, expectation);
    else if (format == KST_FORMAT_CONNTRACK)
        kst__put_conntrack_expectation(&line, expectation);
    else
        kst__put_proc_expectation(&line, expectation);
    return kst__line_end(&line);
}

size_t kst_print_event(const struct kst_event *event, enum kst_format format, char *text,
                       size_t size)
{
    static const char *const heads[] = {"    [NEW] ", " [UPDATE] ", "[DESTROY] ", "    [NEW] ",
                                        "[DESTROY] "};
    static const char *const names[] = {"new",      "update",         "destroy", "expect_new",
                                        "expect_destroy", "pressure", "relief"};
    struct kst__line line = {text, size, 0};
    const bool json = format == KST_FORMAT_JSON, of_flow = event->type <= KST_EVENT_DESTROY;
    const bool of_expectation = !of_flow && event->type <= KST_EVENT_EXPECT_DESTROY;
    if (event->type > KST_EVENT_RELIEF || (!json && !of_flow && !of_expectation))
        return kst__line_end(&line);
    if (json) {
        kst__put(&line, "{\"event\":\"");
        kst__put(&line, names[event->type]);
        if (event->type == KST_EVENT_DESTROY) {
            kst__put(&line, "\",\"cause\":\"");
            kst__put(&line, kst_cause_text((enum kst_cause)event->cause));
        }
        kst__put(&line, of_flow          ? "\",\"connection\":"
                        : of_expectation ? "\",\"expectation\":"
                                         : "\",\"connections\":");
        if (of_flow)
            kst__put_json(&line, &event->about.flow);
        else if (of_expectation)
            kst__put_json_expectation(&line, &event->about.expectation);
        else
            kst__put_number(&line, event->about.count, 10);
        kst__put(&line, "}");
        return kst__line_end(&line);
    }
    kst__put(&line, heads[event->type]);
    if (of_expectation)
        kst__put_conntrack_expectation(&line, &event->about.expectation);
    else
        kst__put_proc(&line, &event->about.flow, KST_FORMAT_CONNTRACK,
                      event->type == KST_EVENT_DESTROY ? KST__TELL_COUNTERS
                      : event->type == KST_EVENT_NEW   ? KST__TELL_HELPER | KST__TELL_EXPIRED
                                                       : KST__TELL_EXPIRED);
    return kst__line_end(&line);
}

#endif

#ifdef __cplusplus
}
#endif

#endif
