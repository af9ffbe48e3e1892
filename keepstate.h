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
 * packet, or read outside [data, data + size). One table serves one thread at a time.
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

/* KST_INDEX, KST_TIMER  the back ends, folded into the pipeline at compile time. */
#ifndef KST_INDEX
#define KST_INDEX chain
#endif
#ifndef KST_TIMER
#define KST_TIMER wheel
#endif

/* KST_ASSERT  catches mistakes of the caller and of ours, never a packet's. Costs a few percent;
 * define it as ((void)0) to do without. */
#ifndef KST_ASSERT
#include <assert.h>
#define KST_ASSERT(condition) assert(condition)
#endif

/* Packets that are parsed, hashed and prefetched together before the first is judged. More hide
 * more of the memory's latency and cost more stack (about 200 bytes each). */
#ifndef KST_BURST
#define KST_BURST 32
#endif
#if KST_BURST < 1 || KST_BURST > 256
#error "KST_BURST must lie in 1..256: the burst lives on the stack"
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

/* Least memory for reassembly, bytes: any datagram of 64 KiB in KST_FRAGMENTS_MAX fragments fits. */
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

/* Most connections in one table: the timer wheel addresses its references with 32 bits. */
#define KST_ENTRIES_MAX (UINT32_C(1) << 27)

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
    KST_RELATED,     /* an ICMP error about a known connection */
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
    KST_DROP,   /* Linux would drop it here: no room in the table, a fragment that fits no datagram */
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
    KST_PACKET_HEAD = 2     /* `size` bytes are only the front of the packet (a capture cut short,
                             * the first of several buffers): lengths are believed, checksums
                             * that need what is missing are not looked at */
};

struct kst_packet {
    const uint8_t *data; /* first byte of the IPv4 or IPv6 header; any alignment */
    uint32_t size;       /* bytes that may be read there; what exceeds the IP length is cut off */
    uint16_t zone;       /* separate worlds with equal addresses; 0 by default */
    uint8_t checksum;    /* enum kst_checksum */
    uint8_t flags;       /* enum kst_packet_flags, or'ed */
};

enum kst_result_flags {
    KST_CREATED = 1, /* this packet created the connection; one that it reopened is gone */
    KST_CLOSED = 2   /* this packet ended it (a refused TCP connection): `entry` names it no more */
};

/* What became of a packet. Look at `verdict` first: a dropped packet's state is INVALID too. */
struct kst_result {
    kst_id entry;      /* the connection, or 0 */
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
    KST_SEEN_REPLY = 1 << 1,
    KST_ASSURED = 1 << 2,
    KST_CONFIRMED = 1 << 3,
    KST_FIXED_TIMEOUT = 1 << 10 /* no packet moves its expiry */
};

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
    KST_WITH_NAT = 2         /* reply tuples that do not mirror the original: 40 bytes and a
                              * second node in the index */
};

/* What a table is made of. Zero every field that you do not choose. */
struct kst_config {
    uint32_t max;      /* connections, 1..KST_ENTRIES_MAX: exactly as many fit */
    uint32_t buckets;  /* of the index; 0: as many as `max`. Rounded up to a power of two. Far fewer
                        * than `max` make long chains, and newcomers are refused, CHAIN_TOO_LONG */
    uint32_t features; /* enum kst_features, or'ed */
    uint32_t reassembly_bytes; /* for fragments, at least KST_REASSEMBLY_MIN: Linux has 4 MiB a family.
                        * 0: none, a fragment is INVALID. Takes a quarter more, and 64 KiB, in all */
    uint64_t start_ms; /* the clock at the beginning; 0 will do */
    uint64_t seed[2];  /* 128 secret random bits: who knows them can make every packet walk along one
                        * chain of KST_CHAIN_MAX nodes, and have newcomers refused */

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
    X(TABLE_FULL, DROP, "the table is full, and nothing near is expired or may be evicted")        \
    X(TABLE_EVICTED, EARLY_DROP, "the table was full: the oldest evictable connection made room")  \
    X(CLASH, INSERT_FAILED | KST_COLUMN_DROP, "its answers would belong to another connection")    \
    X(CHAIN_TOO_LONG, INSERT_FAILED | KST_COLUMN_CHAIN_TOO_LONG, "the index has no place for it")

enum kst_reason {
#define KST__X(name, columns, text) KST_REASON_##name,
    KST_REASONS_LIST(KST__X)
#undef KST__X
    KST_REASONS
};

struct kst_stats {
    uint64_t packets;              /* tracked, whatever became of them */
    uint64_t reasons[KST_REASONS]; /* by enum kst_reason */
    uint64_t created;              /* connections that entered the table by a packet */
    uint64_t inserted;             /* by kst_insert */
    uint64_t expired;              /* left it because their time had come */
    uint64_t closed;               /* because a packet ended them: RST before any answer, reopening */
    uint64_t evicted;              /* to make room */
    uint64_t deleted;              /* by kst_delete and kst_flush */
    uint64_t refused;              /* by kst_refuse */
    uint64_t reassembled;          /* datagrams */
    uint64_t reassembly_expired;   /* datagrams that were not complete in time */
    uint64_t clock_back;           /* calls whose clock lay before an earlier call's */
};

/* What a call refuses, and why. */
#define KST_ERRORS_LIST(X)                                                                         \
    X(OK, "no error")                                                                              \
    X(NO_CONFIG, "no configuration given")                                                         \
    X(MAX, "config.max must lie in 1..KST_ENTRIES_MAX")                                            \
    X(BUCKETS, "config.buckets must not exceed 2 * KST_ENTRIES_MAX")                               \
    X(FEATURES, "config.features has a bit that means nothing")                                    \
    X(EVICT, "config.evict names no class, one twice, or goes on after its end")                   \
    X(REASSEMBLY, "config.reassembly_bytes must be 0 or at least KST_REASSEMBLY_MIN")              \
    X(NO_MEMORY, "no block given")                                                                 \
    X(MEMORY_SHORT, "the block is smaller than kst_bytes says")                                    \
    X(MEMORY_ALIGN, "the block must be aligned to KST_ALIGN bytes")                                \
    X(SETTING_NAME, "no setting has this name")                                                    \
    X(SETTING_RANGE, "the value lies outside the setting's range")                                 \
    X(SETTING_READ_ONLY, "this setting can only be read")                                          \
    X(SETTING_FEATURE, "config.features left out the memory that this setting needs")              \
    X(FLOW_FAMILY, "the two tuples need one family, one protocol, one zone and clean padding") \
    X(FLOW_TUPLE, "the original tuple can have no reply, or the reply tuple is not one")           \
    X(FLOW_STATE, "the status or the protocol state means nothing")                                     \
    X(FLOW_TIMEOUT, "the timeout is 0 or longer than KST_TIMEOUT_MAX_S")                           \
    X(FLOW_NAT, "the reply does not mirror the original and KST_WITH_NAT was left out")            \
    X(FLOW_EXISTS, "a connection with one of these tuples exists")                                 \
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
 * Later packets of the same batch have met it: who refuses, tracks one packet a call. */
KST_API bool kst_refuse(struct kst *t, const struct kst_result *result);

/* Moves the clock and removes expired connections, and datagrams that were not complete in time, in
 * at most `work_max` steps, each of constant cost (a datagram's: its fragments). Returns the steps used; fewer than `work_max` means that none is left. An expired
 * connection is never found, listed or matched, however late it is removed: it only takes room. */
KST_API uint32_t kst_advance(struct kst *t, uint64_t now_ms, uint32_t work_max);

/* The connection that a packet with this tuple belongs to, or 0. `direction`, unless NULL, tells
 * which way the packet would go (enum kst_direction). */
KST_API kst_id kst_find(const struct kst *t, const struct kst_tuple *tuple, uint8_t *direction);

/* Copies a connection; false if it is gone. */
KST_API bool kst_get(const struct kst *t, kst_id id, struct kst_flow *flow);

/* The next connection after `id` in no particular order, the first after 0; 0 at the end. The
 * table may change between calls, deletion of `id` included: what was there throughout is met
 * exactly once. Walks over free slots. */
KST_API kst_id kst_next(const struct kst *t, kst_id id);

/* Removes a connection; false if it is gone. By tuple: kst_delete(t, kst_find(t, &tuple, NULL)). */
KST_API bool kst_delete(struct kst *t, kst_id id);

/* Removes all connections; settings, statistics and held fragments stay. */
KST_API void kst_flush(struct kst *t);

/* Adds a connection from outside (a restored table, a peer's state), as `conntrack -I` does; its
 * `id` is ignored. Evicts nobody. TCP: windows are not held against it, as against a connection that
 * was picked up in the middle. Returns its name, or 0 and, unless NULL, `why`. */
KST_API kst_id kst_insert(struct kst *t, const struct kst_flow *flow, enum kst_error *why);

/* Sets the 32-bit mark that belongs to the caller; false if the connection is gone. */
KST_API bool kst_set_mark(struct kst *t, kst_id id, uint32_t mark);

/* Settings, by the names of Linux's sysctls in net.netfilter (nf_conntrack_tcp_timeout_...), in
 * their units; times are seconds. A change holds from the next packet on; a running timeout stays,
 * as do the timeouts of a GRE flow and the accounting of any, which are settled at its creation. A
 * lower nf_conntrack_max removes nobody: as many as leave are let in. A connection with a timeout of 0
 * is created and has expired.
 * kst_setting reads one, kst_setting_range what it takes (false: no such name); kst_setting_name
 * lists them, NULL behind the last. */
KST_API enum kst_error kst_set(struct kst *t, const char *name, uint32_t value);
KST_API bool kst_setting(const struct kst *t, const char *name, uint32_t *value);
KST_API bool kst_setting_range(const struct kst *t, const char *name, uint32_t *lowest,
                               uint32_t *highest);
KST_API const char *kst_setting_name(uint32_t number);

/* Counters since kst_init; connections, expired ones not yet removed included, all or of a class; and
 * the sum of all reasons that count in one column (enum kst_column) of `conntrack -S`. */
KST_API const struct kst_stats *kst_statistics(const struct kst *t);
KST_API uint32_t kst_count(const struct kst *t);
KST_API uint32_t kst_class_count(const struct kst *t, enum kst_class number);
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
#define KST_LINE_MAX 640 /* no line is longer, the final NUL included */

/* Writes a connection as one line without newline and always terminates it (if size > 0). Returns
 * the length of the whole line, which was cut if that is not below `size`. */
KST_API size_t kst_print(const struct kst_flow *flow, enum kst_format format, char *line,
                         size_t size);

/* Names as they stand in the lists above, in lower case where Linux prints them so. Never NULL. */
KST_API const char *kst_reason_name(enum kst_reason reason);   /* "TCP_FLAGS" */
KST_API const char *kst_reason_text(enum kst_reason reason);   /* a sentence without full stop */
KST_API const char *kst_error_text(enum kst_error error);      /* likewise */
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
#define KST_PREFETCH(address) __builtin_prefetch(address, 1)
#else
#define KST_INLINE static inline
#define KST_UNLIKELY(x) (x)
#define KST_PREFETCH(address) ((void)(address))
#endif

#define KST__NONE UINT32_MAX /* no entry, no node, no chunk */

KST_INLINE uint16_t kst__be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

KST_INLINE uint32_t kst__be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
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
/* core/checksum.h - the Internet checksum (RFC 1071), verified, never written. */
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

/* Whether a sum over data that contains its own checksum comes out right. Linux lets a message of
 * nothing but zeros pass as well, whose sum alone is 0. */
KST_INLINE bool kst__sum_right(uint64_t sum)
{
    if (sum == 0)
        return true;
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    return (sum & UINT16_MAX) == UINT16_MAX;
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

#endif
/* ======== core/hash.h ==================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/hash.h - SipHash (Aumasson and Bernstein, 2012) over whole 64-bit words.
 * Keyed, because who can choose packets must not be able to choose buckets. */
#ifndef KST_HASH_H
#define KST_HASH_H


#define KST__SIP_ROUND(a, b, c, d)                                                                 \
    do {                                                                                           \
        a += b, b = b << 13 | b >> 51, b ^= a, a = a << 32 | a >> 32;                              \
        c += d, d = d << 16 | d >> 48, d ^= c;                                                     \
        a += d, d = d << 21 | d >> 43, d ^= a;                                                     \
        c += b, b = b << 17 | b >> 47, b ^= c, c = c << 32 | c >> 32;                              \
    } while (0)

/* SipHash-c-d of `count` words, each read as the 8 little-endian bytes of the original's input. */
KST_INLINE uint64_t kst__siphash(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                 int c_rounds, int d_rounds)
{
    uint64_t a = seed[0] ^ UINT64_C(0x736f6d6570736575);
    uint64_t b = seed[1] ^ UINT64_C(0x646f72616e646f6d);
    uint64_t c = seed[0] ^ UINT64_C(0x6c7967656e657261);
    uint64_t d = seed[1] ^ UINT64_C(0x7465646279746573);

    for (uint32_t i = 0; i <= count; i++) {
        const uint64_t word = i < count ? words[i] : (uint64_t)count << 59; /* bytes << 56 */
        d ^= word;
        for (int round = 0; round < c_rounds; round++)
            KST__SIP_ROUND(a, b, c, d);
        a ^= word;
    }
    c ^= 0xff;
    for (int round = 0; round < d_rounds; round++)
        KST__SIP_ROUND(a, b, c, d);
    return a ^ b ^ c ^ d;
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

static const struct kst__protocol *kst__protocol_of(uint8_t number)
{
    static const struct kst__protocol unknown = {0, KST__NO_PORTS, "unknown"};
    for (size_t i = 0; i < sizeof kst__protocols / sizeof kst__protocols[0]; i++)
        if (kst__protocols[i].number == number)
            return &kst__protocols[i];
    return &unknown;
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

KST_INLINE bool kst__tuple_same(const struct kst_tuple *a, const struct kst_tuple *b)
{
    return memcmp(a, b, sizeof *a) == 0;
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

KST_INLINE uint64_t kst__word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The keyed hash, the same for both directions: the smaller end (address and port) goes first.
 * ICMP has no ports; its identifier, code and the question's type stand beside the ends. */
static uint64_t kst__tuple_hash(const struct kst_tuple *tuple, const uint64_t seed[2])
{
    uint64_t src_port = 0, dst_port = 0, icmp = 0;
    if (kst__is_icmp(tuple->protocol)) {
        const uint8_t type = (uint8_t)(tuple->dst_port >> 8);
        const struct kst__icmp_pair *pair = kst__icmp_pair_of(tuple->protocol, type);
        icmp = (uint64_t)tuple->src_port << 16 |
               (uint64_t)(pair != NULL ? pair->question : type) << 8 | (tuple->dst_port & 0xff);
    } else {
        src_port = tuple->src_port;
        dst_port = tuple->dst_port;
    }

    if (tuple->family == KST_IPV4) { /* an end takes 48 bits: zone and protocol fill the words up */
        const uint64_t src = (uint64_t)kst__be32(tuple->src) << 16 | src_port;
        const uint64_t dst = (uint64_t)kst__be32(tuple->dst) << 16 | dst_port;
        const bool swap = dst < src;
        const uint64_t words[3] = {(swap ? dst : src) | (uint64_t)tuple->zone << 48,
                                   (swap ? src : dst) | (uint64_t)tuple->protocol << 48, icmp};
        return kst__siphash(seed, words, kst__is_icmp(tuple->protocol) ? 3 : 2, 1, 3);
    }
    const uint64_t src[2] = {kst__word(tuple->src), kst__word(tuple->src + 8)};
    const uint64_t dst[2] = {kst__word(tuple->dst), kst__word(tuple->dst + 8)};
    const bool swap = dst[0] != src[0]   ? dst[0] < src[0]
                      : dst[1] != src[1] ? dst[1] < src[1]
                                         : dst_port < src_port;
    const uint64_t *first = swap ? dst : src, *second = swap ? src : dst;
    const uint64_t ports = swap ? dst_port << 16 | src_port : src_port << 16 | dst_port;
    const uint64_t words[5] = {first[0], first[1], second[0], second[1],
                               (ports | icmp) << 32 | (uint64_t)tuple->zone << 16 |
                                   tuple->protocol};
    return kst__siphash(seed, words, 5, 1, 3);
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
    bool fragment;      /* it has fragment fields in use; of IPv6 perhaps all there is (RFC 6946) */
    bool partial;       /* there is more of the datagram elsewhere; the tuple is a first fragment's */
};

/* IPv4 header (RFC 791), options skipped. An embedded packet is read just so. */
static struct kst__ip kst__ip4(const uint8_t *data, uint32_t here)
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
        const uint32_t needed = ip.protocol == KST__EXT_FRAGMENT ? 8 : 2;
        if (here < ip.l4_at + needed) {
            ip.reason = KST_REASON_EXT_SHORT;
            return ip;
        }
        const uint8_t *header = data + ip.l4_at;
        const uint32_t bytes = kst__ext_bytes(ip.protocol, header[1]);
        if (ip.protocol == KST__EXT_FRAGMENT) {
            const uint16_t at = kst__be16(header + 2) & 0xfff8;
            if (ip.fragment_header_at == 0) { /* one inside a fragment is part of its data */
                ip.fragment_header_at = ip.l4_at;
                ip.fragment_at = at;
                ip.fragment_more = (header[3] & 1) != 0;
            } else if (at != 0) {
                ip.reason = KST_REASON_FRAGMENT;
            }
            if (at != 0) /* what follows is the middle of something */
                return ip;
        }
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
static bool kst__gre_keys(const uint8_t *l4, uint32_t here, struct kst_tuple *tuple)
{
    if (here < 8 || (l4[1] & 7) != 1)
        return true;
    tuple->dst_port = kst__be16(l4 + 6);
    return kst__be16(l4 + 2) == 0x880b;
}

/* The tuple of a packet: `ip`, and `here` bytes at `l4`. False if these do not reach. */
static bool kst__tuple_of(const struct kst__ip *ip, const uint8_t *l4, uint32_t here, uint16_t zone,
                          struct kst_tuple *tuple)
{
    const size_t address_bytes = ip->family == KST_IPV4 ? 4 : 16;
    memset(tuple, 0, sizeof *tuple);
    memcpy(tuple->src, ip->addresses, address_bytes);
    memcpy(tuple->dst, ip->addresses + address_bytes, address_bytes);
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
    p->addresses = ip.addresses;
    p->l4 = data + ip.l4_at;
    p->l4_here = here - ip.l4_at;
    p->l4_bytes = p->ip_bytes - ip.l4_at;
    if (!kst__tuple_of(&ip, p->l4, p->l4_here, packet->zone, &p->tuple))
        p->reason = kst__icmp_of(ip.family) == ip.protocol ? KST_REASON_ICMP_SHORT
                    : ip.protocol == KST__GRE              ? KST_REASON_GRE_PROTOCOL
                                                           : KST_REASON_L4_SHORT;
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
 * The defaults of `max`, `buckets` and `count` come from the table itself. */
#define KST__SETTINGS_LIST(X)                                                                      \
    X(MAX, "nf_conntrack_max", 0, 1, KST_ENTRIES_MAX)                                              \
    X(BUCKETS, "nf_conntrack_buckets", 0, 0, 0)                                                    \
    X(COUNT, "nf_conntrack_count", 0, 0, 0)                                                        \
    X(ACCT, "nf_conntrack_acct", 0, 0, 1)                                                          \
    X(CHECKSUM, "nf_conntrack_checksum", 1, 0, 1)                                                  \
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
 *     struct kst | index | timer | entries | reply tuples | counters | reassembly
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

/* 128 bytes, two cache lines: who it is and until when; then what changes with each packet. */
struct kst__entry {
    struct kst_tuple tuple; /* original direction */
    uint64_t expires_ms;
    union {
        struct kst__tcp tcp;
        struct kst__udp udp;
        struct kst__sctp sctp;
        struct kst__gre gre;
    } proto;
    uint32_t armed;  /* the time that its timer is set to, never after expires_ms; in beats */
    uint32_t joined; /* when it joined its class, in beats */
    uint32_t serial; /* upper half of its kst_id */
    uint32_t mark;
    uint32_t older;  /* neighbours in its class, KST__NONE at the ends; */
    uint32_t newer;  /* that of a free slot names the next free one */
    uint16_t status; /* enum kst_status; 0: the slot is free */
    uint8_t state;   /* enum kst_tcp_state or kst_sctp_state */
    uint8_t kind;    /* enum kst_class, or'ed with the bits below */
};

enum { /* kst__entry.kind */
    KST__KIND_CLASS = 3,
    KST__KIND_ACCOUNTED = 4, /* its counters are kept */
    KST__KIND_NAT = 8        /* its reply tuple does not mirror the original one */
};

typedef char kst__entry_is_two_lines[sizeof(struct kst__entry) == 128 ? 1 : -1];
typedef char kst__tuple_has_no_padding[sizeof(struct kst_tuple) == 40 ? 1 : -1];

struct kst__counters {
    uint64_t packets[2], bytes[2]; /* by direction */
};

struct kst__class {
    uint32_t oldest, newest; /* by the time of joining */
    uint32_t count;
    uint32_t residence_ms;
};

struct kst {
    uint64_t index_at, timer_at, entries_at, replies_at, counters_at; /* offsets */
    uint64_t defrag_at; /* likewise; 0: fragments are not reassembled */
    uint64_t now_ms;
    uint64_t seed[2];
    uint32_t capacity; /* config.max */
    uint32_t buckets;
    uint32_t features;
    uint32_t count;    /* entries in the table */
    uint32_t used;     /* slots ever used: those behind were never written */
    uint32_t free;     /* first free slot below `used`, KST__NONE: none */
    uint32_t serial;   /* of the entry created last */
    uint32_t set[KST__SETTINGS];
    uint8_t evict[KST_CLASSES];
    struct kst__class classes[KST_CLASSES];
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

KST_INLINE struct kst_tuple *kst__reply_tuple(const struct kst *t, uint32_t slot)
{
    return (struct kst_tuple *)kst__at(t, t->replies_at) + slot;
}

KST_INLINE struct kst__counters *kst__counters_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__counters *)kst__at(t, t->counters_at) + slot;
}

KST_INLINE uint32_t kst__slots(const struct kst *t)
{
    return t->capacity + 1;
}

KST_INLINE bool kst__live(const struct kst *t, uint32_t slot)
{
    return slot < t->used && kst__entry_at(t, slot)->status != 0;
}

KST_INLINE bool kst__expired(const struct kst *t, uint32_t slot)
{
    return kst__entry_at(t, slot)->expires_ms <= t->now_ms;
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
    struct kst_tuple inverse; /* of the tuple, if `invertible` */
    uint64_t hash;
    bool invertible;
};

KST_INLINE void kst__key_make(const struct kst *t, const struct kst_tuple *tuple,
                              struct kst__key *key)
{
    key->tuple = *tuple;
    key->invertible = kst__tuple_invert(tuple, &key->inverse);
    key->hash = kst__tuple_hash(tuple, t->seed);
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

/* Whether the entry behind a node has one of its two directions look like the key. */
KST_INLINE bool kst__node_matches(const struct kst *t, uint32_t node, const struct kst__key *key)
{
    const struct kst_tuple *tuple = kst__node_tuple(t, node);
    const bool mirrored = !(kst__entry_at(t, kst__node_slot(t, node))->kind & KST__KIND_NAT);
    return kst__tuple_same(tuple, &key->tuple) ||
           (mirrored && key->invertible && kst__tuple_same(tuple, &key->inverse));
}

/* Which way a packet goes that the node matches. One from an address and port to themselves looks
 * like its own answer: Linux takes it for that. */
KST_INLINE uint8_t kst__node_direction(const struct kst *t, uint32_t node,
                                       const struct kst__key *key)
{
    const uint32_t slot = kst__node_slot(t, node);
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (e->kind & KST__KIND_NAT)
        return node == slot ? KST_ORIGINAL : KST_REPLY;
    return key->invertible && kst__tuple_same(&e->tuple, &key->inverse) ? KST_REPLY : KST_ORIGINAL;
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
 *   => find     a node that matches, KST__NONE if there is none.
 *   => insert   false if there is no place: a named outcome (CHAIN_TOO_LONG), nothing is changed.
 *   => remove   of a node that is in it, under the hash it was inserted with.
 *   => check    NULL, or what is wrong in words; `nodes` counts what it holds. */
#ifndef KST_INDEX_H
#define KST_INDEX_H


struct kst_index_ops {
    const char *name;
    uint64_t (*bytes)(uint32_t nodes_max, uint32_t buckets);
    void (*init)(void *ix, uint32_t nodes_max, uint32_t buckets);
    void (*prefetch)(const void *ix, uint64_t hash);
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
    "chain",           kst__chain_bytes,  kst__chain_init,   kst__chain_prefetch,
    kst__chain_find,   kst__chain_insert, kst__chain_remove, kst__chain_check,
};

#endif
/* ======== core/timer.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/timer.h - the contract of a timer: which entry's time has come.
 *
 * A packet that prolongs its connection only writes the new expiry into the entry; the timer finds
 * out when the old time comes round, by kst__rearm_ms. Only a shorter expiry moves it at once. A
 * timer owns `bytes` of memory at `tm`, aligned to KST_ALIGN, and refers to it by offsets only.
 *   => bytes    memory for so many slots.
 *   => init     makes it empty; its clock starts at `now_ms`.
 *   => arm      of a slot that is not armed, for `due_ms`, which may lie in the past.
 *   => disarm   of a slot that is armed.
 *   => next     moves the clock towards `now_ms`, which never goes back; returns a slot, no longer
 *               armed, whose entry has expired, or KST__NONE. Each step takes one from `work` and
 *               costs a constant. KST__NONE with `work` left: nothing expired is left.
 *   => check    NULL, or what is wrong in words; `armed` counts what it holds. */
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
};

/* When an entry expires, noted as what its timer is now set to. */
KST_INLINE uint64_t kst__rearm_ms(struct kst *t, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    e->armed = kst__beat(e->expires_ms);
    return e->expires_ms;
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
    w->chunks_free = KST__NONE;
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
        const uint32_t slot = kst__wheel_pop(w, place);
        w->emptying = place >= KST__WHEEL_TURN && w->first[place] != KST__NONE ? place : 0;
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        kst__wheel_arm(w, slot, due_ms);
    }
    return KST__NONE;
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
        const uint32_t shift = level * KST__WHEEL_DIGIT;
        const uint32_t now = (uint32_t)(w->clock_ms >> shift) & (KST__WHEEL_TURN - 1);
        if (number != KST__NONE && digit < now + (level > 0 && place != w->emptying))
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
                if (!kst__live(t, slot))
                    return "wheel: a free entry is armed";
                if (*kst__wheel_where(w, slot) != number * KST__CHUNK_REFS + i)
                    return "wheel: an entry does not know its place";
                const uint64_t expires_ms = kst__entry_at(t, slot)->expires_ms;
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
    "wheel",           kst__wheel_bytes, kst__wheel_init, kst__wheel_arm,
    kst__wheel_disarm, kst__wheel_next,  kst__wheel_check,
};

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
    queue->checksum = UINT8_MAX;
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

/* Where a fragment belongs: between *before and *after. HELD; COPY if all of it lies in one run, that
 * is fragments which came in order and without holes; OVERLAP if a byte of it is there otherwise. */
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

/* Describes a complete datagram in `whole`. NONE, or BAD if it is too large. */
static uint8_t kst__queue_finish(struct kst *t, const struct kst__queue *queue,
                                 struct kst_packet *whole)
{
    struct kst__defrag *d = kst__defrag_at(t);
    memset(whole, 0, sizeof *whole);
    whole->data = (uint8_t *)d + d->datagram_at;
    whole->size = kst__queue_join(d, queue);
    whole->zone = queue->key.zone;
    whole->checksum = queue->checksum;
    if (whole->size == 0)
        return KST_REASON_FRAGMENT_BAD;
    t->stats.reassembled++;
    return KST_REASON_NONE;
}

/* Takes a fragment. NONE if it completes its datagram, which is then described in `whole` and lies
 * there until the next fragment comes; FRAGMENT if it is to be judged as it is; else what became of
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
            if (++queues > d->queues_count || queue->older != older ||
                kst__queue_list(queue) != list)
                return "reassembly: the list of datagrams leads astray";
            if (older != KST__NONE && queue->expires_ms < kst__queue_at(d, older)->expires_ms)
                return "reassembly: a datagram expires before an older one";
            if (kst__queue_find(d, &queue->key, queue->hash) != number)
                return "reassembly: a datagram is not found";
            for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
                const struct kst__cell *cell = kst__cell_at(d, fragment);
                if (cell->at < at || cell->length == 0 || ++fragments > queue->fragments)
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
/* ======== core/table.h =================================================================== */

/* SPDX-License-Identifier: MIT */
/* core/table.h - the life of an entry: confirmed, refreshed, removed; and who goes when it is full.
 *
 * Here the back ends meet. What lies on a packet's way takes the kit as an argument, a constant that
 * folds. */
#ifndef KST_TABLE_H
#define KST_TABLE_H


struct kst__kit {
    const struct kst_index_ops *index;
    const struct kst_timer_ops *timer;
};

#define KST__PASTE_(a, b) a##b
#define KST__PASTE(a, b) KST__PASTE_(a, b)
static const struct kst__kit kst__kit = {&KST__PASTE(kst_index_, KST_INDEX),
                                         &KST__PASTE(kst_timer_, KST_TIMER)};

KST_INLINE void *kst__index(const struct kst *t)
{
    return kst__at(t, t->index_at);
}

KST_INLINE void *kst__timer(const struct kst *t)
{
    return kst__at(t, t->timer_at);
}

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
KST_INLINE void kst__expire_at(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                               uint64_t expires_ms)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    const bool sooner = expires_ms < e->expires_ms;
    e->expires_ms = expires_ms;
    if (KST_UNLIKELY(sooner && !kst__before(e->armed, kst__beat(expires_ms)))) {
        kit->timer->disarm(kst__timer(t), slot);
        kit->timer->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    }
}

KST_INLINE uint64_t kst__reply_hash(const struct kst *t, uint32_t slot)
{
    return kst__tuple_hash(kst__reply_tuple(t, slot), t->seed);
}

/* Takes an entry that is not armed out of the rest. `counter`, in the statistics, tells why. */
static void kst__unlink(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                        uint64_t *counter)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (e->kind & KST__KIND_NAT)
        kit->index->remove(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot));
    kit->index->remove(kst__index(t), slot, kst__tuple_hash(&e->tuple, t->seed));
    kst__class_leave(t, slot);
    kst__slot_give_back(t, slot);
    t->count--;
    *counter += 1;
}

static void kst__remove(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                        uint64_t *counter)
{
    kit->timer->disarm(kst__timer(t), slot);
    kst__unlink(t, kit, slot, counter);
}

/* Removes expired entries, all that `work` steps reach. Returns how many. */
KST_INLINE uint32_t kst__collect(struct kst *t, const struct kst__kit *kit, uint32_t *work)
{
    uint32_t collected = 0;
    for (;;) {
        const uint32_t slot = kit->timer->next(kst__timer(t), t, t->now_ms, work);
        if (slot == KST__NONE)
            return collected;
        kst__unlink(t, kit, slot, &t->stats.expired);
        collected++;
    }
}

/* Makes room for one more: by an expired entry if one is near, else by the oldest of the first
 * class that may be evicted. Returns TABLE_FULL if nobody may go, TABLE_EVICTED or NONE. */
static uint16_t kst__make_room(struct kst *t, const struct kst__kit *kit)
{
    uint32_t work = KST_COLLECT_MAX;
    if (kst__collect(t, kit, &work) > 0)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < KST_CLASSES && t->evict[i] != 0; i++) {
        const struct kst__class *class_ = &t->classes[t->evict[i] - 1];
        const uint32_t victim = class_->oldest;
        if (victim == KST__NONE)
            continue;
        if (kst__expired(t, victim)) { /* its time came, only the timer has not got there */
            kst__remove(t, kit, victim, &t->stats.expired);
            return KST_REASON_NONE;
        }
        const uint32_t stayed = kst__beat(t->now_ms) - kst__entry_at(t, victim)->joined;
        if ((uint64_t)stayed * KST__BEAT_MS < class_->residence_ms)
            continue;
        kst__remove(t, kit, victim, &t->stats.evicted);
        return KST_REASON_TABLE_EVICTED;
    }
    return KST_REASON_TABLE_FULL;
}

/* Frees a tuple that only an expired connection still holds; false if a live one has it. */
static bool kst__tuple_clear(struct kst *t, const struct kst__kit *kit,
                             const struct kst_tuple *tuple)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    const uint32_t node = kit->index->find(kst__index(t), t, &key);
    if (node == KST__NONE)
        return true;
    if (!kst__expired(t, kst__node_slot(t, node)))
        return false;
    kst__remove(t, kit, kst__node_slot(t, node), &t->stats.expired);
    return true;
}

/* An entry for this tuple, in a slot of its own but not in the table: kst__confirm puts it there,
 * kst__slot_give_back forgets it. */
static uint32_t kst__newcomer(struct kst *t, const struct kst_tuple *tuple)
{
    const uint32_t slot = kst__slot_take(t);
    struct kst__entry *e = kst__entry_at(t, slot);
    memset(e, 0, sizeof *e);
    e->tuple = *tuple;
    if (t->set[KST__SET_ACCT]) {
        e->kind = KST__KIND_ACCOUNTED;
        memset(kst__counters_at(t, slot), 0, sizeof(struct kst__counters));
    }
    return slot;
}

/* Makes a newcomer known to the index; its reply tuple stands ready if it is under NAT. Returns
 * false, with nothing changed, if the index has no place. */
static bool kst__index_in(struct kst *t, const struct kst__kit *kit, uint32_t slot, uint64_t hash)
{
    if (!kit->index->insert(kst__index(t), slot, hash))
        return false;
    if ((kst__entry_at(t, slot)->kind & KST__KIND_NAT) &&
        !kit->index->insert(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot))) {
        kit->index->remove(kst__index(t), slot, hash);
        return false;
    }
    return true;
}

/* Completes what kst__index_in began: from here on the newcomer is one of the table's. */
static void kst__confirm(struct kst *t, const struct kst__kit *kit, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    KST_ASSERT(t->count < t->capacity);
    t->count++;
    t->serial += t->serial == UINT32_MAX ? 2 : 1; /* 0 names nobody */
    e->serial = t->serial;
    e->status |= KST_CONFIRMED;
    kit->timer->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    kst__class_join(t, slot, kst__class_of(e));
}

/* Judged good: takes a newcomer in, if its tuples are its own, the index has a place and there is
 * room or can be made. NONE or TABLE_EVICTED if so, else why not, and nobody else has lost. */
static uint16_t kst__admit(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                           const struct kst__key *key)
{
    uint16_t reason = KST_REASON_NONE;
    /* Without NAT a tuple and its inverse have one owner; with it another may own the inverse. */
    if ((t->features & KST_WITH_NAT) && !kst__tuple_clear(t, kit, &key->inverse))
        return KST_REASON_CLASH;
    if (!kst__index_in(t, kit, slot, key->hash))
        return KST_REASON_CHAIN_TOO_LONG;
    if (t->count >= t->set[KST__SET_MAX])
        reason = kst__make_room(t, kit);
    if (reason == KST_REASON_TABLE_FULL)
        kit->index->remove(kst__index(t), slot, key->hash);
    else
        kst__confirm(t, kit, slot);
    return reason;
}

KST_INLINE kst_id kst__id(const struct kst *t, uint32_t slot)
{
    return (kst_id)kst__entry_at(t, slot)->serial << 32 | slot;
}

/* The slot of a connection that is alive, KST__NONE for any other id. */
static uint32_t kst__slot(const struct kst *t, kst_id id)
{
    const uint32_t slot = (uint32_t)id;
    const bool alive = kst__live(t, slot) && kst__entry_at(t, slot)->serial == id >> 32 &&
                       !kst__expired(t, slot);
    return alive ? slot : KST__NONE;
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
    const struct kst__parsed *packet;
    struct kst__entry *entry;
    uint8_t direction; /* enum kst_direction, one of the two */
    bool fresh;        /* the entry is not in the table yet: this packet would create it */
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
    uint32_t timeout_s; /* REFRESH: from now on; REFUSE: shorten to this, 0: leave it */
};

typedef char kst__reasons_fit_a_byte[KST_REASONS <= UINT8_MAX ? 1 : -1];

KST_INLINE struct kst__judgement kst__refresh(uint32_t timeout_s)
{
    const struct kst__judgement judgement = {KST__REFRESH, KST_REASON_NONE, timeout_s};
    return judgement;
}

KST_INLINE struct kst__judgement kst__say(enum kst__action action, enum kst_reason reason)
{
    const struct kst__judgement judgement = {(uint8_t)action, (uint8_t)reason, 0};
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
        gre->timeout_s = c->t->set[KST__SET_GRE_TIMEOUT];
        gre->stream_s = c->t->set[KST__SET_GRE_TIMEOUT_STREAM];
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
        !kst__tuple_of(&ip, inner + ip.l4_at, here - ip.l4_at, p->tuple.zone, &tuple) ||
        !kst__tuple_invert(&tuple, &inverse))
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
    return kst__refresh(c->t->set[tuple->protocol == KST__ICMP ? KST__SET_ICMP_TIMEOUT
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
    return kst__refresh(c->t->set[KST__SET_GENERIC_TIMEOUT]);
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

static uint32_t kst__sctp_timeout(const struct kst *t, uint8_t state)
{
    KST_ASSERT(state > KST_SCTP_NONE && state < KST_SCTP_STATES);
    return t->set[KST__SET_SCTP_CLOSED + state - KST_SCTP_CLOSED];
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
static bool kst__sctp_checksum_right(const struct kst__parsed *p)
{
    static const uint8_t zeros[4] = {0};
    if (p->checksum != KST_CHECKSUM_VERIFY)
        return p->checksum != KST_CHECKSUM_BAD;
    uint32_t crc = kst__crc32c(UINT32_MAX, p->l4, 8);
    crc = kst__crc32c(crc, zeros, sizeof zeros);
    crc = ~kst__crc32c(crc, p->l4 + KST__SCTP_HEADER, p->l4_bytes - KST__SCTP_HEADER);
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
    return kst__refresh(kst__sctp_timeout(c->t, e->state));
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
static uint32_t kst__tcp_timeout(const struct kst *t, uint8_t state)
{
    static const uint8_t setting[KST_TCP_STATES] = {
        0, KST__SET_TCP_SYN_SENT, KST__SET_TCP_SYN_RECV, KST__SET_TCP_ESTABLISHED,
        KST__SET_TCP_FIN_WAIT, KST__SET_TCP_CLOSE_WAIT, KST__SET_TCP_LAST_ACK,
        KST__SET_TCP_TIME_WAIT, KST__SET_TCP_CLOSE, 0};
    return state == KST_TCP_SYN_SENT2 ? KST__TCP_SYN_SENT2_S : t->set[setting[state]];
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
static uint8_t kst__tcp_read(const struct kst__parsed *p, struct kst__segment *s)
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

/* Whether a segment lies within the windows of both sides, which it moves. `reason` says why it
 * does not fit. */
static enum kst__fit kst__tcp_window(const struct kst__case *c, struct kst__segment s,
                                     uint8_t *reason)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from), state = c->entry->state;
    struct kst__tcp_side *sender = &tcp->side[from], *receiver = &tcp->side[to];
    const struct kst__segment seen = s;
    uint32_t sack = s.ack;

    if ((s.flags & KST__ACK) && (tcp->flags[to] & KST__TCP_SACKS))
        sack = kst__tcp_sack(&s, s.ack);

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
        c->t->set[KST__SET_TCP_BE_LIBERAL] || (tcp->flags[from] & KST__TCP_LIBERAL);
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
    if (!c->t->set[KST__SET_TCP_LOOSE])
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
        if (kst__before(s->seq, maxack) && !c->t->set[KST__SET_TCP_IGNORE_INVALID_RST])
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
    const uint32_t unacked_s = c->t->set[KST__SET_TCP_UNACKED];
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
static struct kst__judgement kst__tcp_accept(const struct kst__case *c,
                                             const struct kst__segment *s, uint8_t next)
{
    const struct kst *t = c->t;
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t old = c->entry->state;

    tcp->last = KST__LAST(s->class_, c->direction);
    if (next == KST_TCP_FIN_WAIT && old != next)
        tcp->flags[c->direction] |= KST__TCP_CLOSE_INIT;
    c->entry->state = next;

    const uint32_t retrans_s = t->set[KST__SET_TCP_RETRANS_TIMEOUT];
    const uint32_t unacked_s = t->set[KST__SET_TCP_UNACKED];
    uint32_t timeout_s = kst__tcp_timeout(t, next);
    if (tcp->retrans >= t->set[KST__SET_TCP_MAX_RETRANS] && timeout_s > retrans_s)
        timeout_s = retrans_s;
    else if (s->class_ == KST__CLASS_RST)
        timeout_s = t->set[KST__SET_TCP_CLOSE];
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
        case KST__RST_SKIP: return kst__tcp_accept(c, &s, next);
        case KST__RST_BAD: return kst__say(KST__REFUSE, KST_REASON_TCP_RST_SEQ);
        default: break;
        }
    }

    switch (kst__tcp_window(c, s, &reason)) {
    case KST__FITS_NOT: return kst__tcp_refuse(c, &s, reason);
    case KST__FITS_BADLY: return kst__say(KST__KEEP, (enum kst_reason)reason);
    default: return kst__tcp_accept(c, &s, next);
    }
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

    if (c->fresh) {
        const uint64_t stream_ms = kst__later_ms(c->t, KST__UDP_STREAM_MS);
        udp->stream_low = (uint32_t)stream_ms;
        udp->stream_high = (uint32_t)(stream_ms >> 32);
    }
    const uint64_t stream_ms = (uint64_t)udp->stream_high << 32 | udp->stream_low;
    if (!(c->entry->status & KST_SEEN_REPLY) || c->t->now_ms <= stream_ms)
        return kst__refresh(c->t->set[KST__SET_UDP_TIMEOUT]);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(c->t->set[KST__SET_UDP_TIMEOUT_STREAM]);
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
    const bool rfc3828 = c->t->set[KST__SET_UDPLITE_RFC3828] != 0;
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
        return kst__refresh(c->t->set[KST__SET_UDP_TIMEOUT]);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(c->t->set[KST__SET_UDP_TIMEOUT_STREAM]);
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

/* A packet that is refused: a newcomer is forgotten. A known connection may keep a mark of it all the
 * same: what SCTP's earlier chunks did, or a shorter life because the two sides lost each other. */
static void kst__refuse(struct kst *t, const struct kst__kit *kit, const struct kst__case *c,
                        uint32_t slot, const struct kst__judgement *judgement,
                        struct kst_result *r)
{
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, judgement->reason);
    if (c->fresh) {
        kst__slot_give_back(t, slot);
        return;
    }
    if (judgement->timeout_s != 0)
        kst__expire_at(t, kit, slot, kst__due_ms(t, judgement->timeout_s));
    kst__reclass(t, slot);
}

/* A packet of a connection in the table is counted, prolongs it, and is its answer if it goes the
 * other way. `reason` is what it reports. */
KST_INLINE void kst__settle(struct kst *t, const struct kst__kit *kit, const struct kst__case *c,
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
        kst__expire_at(t, kit, slot, kst__due_ms(t, judgement->timeout_s));
    if (c->direction == KST_REPLY)
        e->status |= KST_SEEN_REPLY;
    kst__reclass(t, slot);
    r->entry = kst__id(t, slot);
    kst__report(r, answered ? KST_ESTABLISHED : KST_NEW, c->direction, reason);
    if (judgement->action == KST__END) {
        kst__remove(t, kit, slot, &t->stats.closed);
        r->flags = KST_CLOSED;
    }
}

/* A packet of no known connection: judged as the first of one, which is let in if there is room. */
static void kst__judge_first(struct kst *t, const struct kst__kit *kit,
                             const struct kst__parsed *p, const struct kst__key *key,
                             struct kst_result *r)
{
    if (!key->invertible) {
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_NO_ANSWER);
        return;
    }
    const uint32_t slot = kst__newcomer(t, &key->tuple);
    const struct kst__case c = {t, p, kst__entry_at(t, slot), KST_ORIGINAL, true};
    const struct kst__judgement judgement = kst__judge(&c);
    if (judgement.action == KST__REFUSE) {
        kst__refuse(t, kit, &c, slot, &judgement, r);
        return;
    }
    KST_ASSERT(judgement.action == KST__REFRESH && judgement.reason == KST_REASON_NONE);
    c.entry->expires_ms = kst__due_ms(t, judgement.timeout_s);
    const uint16_t reason = kst__admit(t, kit, slot, key);
    if (!(c.entry->status & KST_CONFIRMED)) {
        kst__slot_give_back(t, slot);
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
        r->verdict = KST_DROP;
        return;
    }
    t->stats.created++;
    r->flags = KST_CREATED;
    kst__settle(t, kit, &c, slot, &judgement, reason, r);
}

/* A packet with a tuple of its own: of a known connection, or the first of one. */
KST_INLINE void kst__judge_packet(struct kst *t, const struct kst__kit *kit,
                                  const struct kst__parsed *p, const struct kst__key *key,
                                  struct kst_result *r)
{
    const uint32_t node = kit->index->find(kst__index(t), t, key);
    if (KST_UNLIKELY(node == KST__NONE)) {
        kst__judge_first(t, kit, p, key, r);
        return;
    }
    const uint32_t slot = kst__node_slot(t, node);
    if (KST_UNLIKELY(kst__expired(t, slot))) {
        kst__remove(t, kit, slot, &t->stats.expired);
        kst__judge_first(t, kit, p, key, r);
        return;
    }
    const struct kst__case c = {t, p, kst__entry_at(t, slot), kst__node_direction(t, node, key),
                                false};
    const struct kst__judgement judgement = kst__judge(&c);
    switch (judgement.action) {
    case KST__REFUSE: kst__refuse(t, kit, &c, slot, &judgement, r); break;
    case KST__REOPEN:
        kst__remove(t, kit, slot, &t->stats.closed);
        kst__judge_first(t, kit, p, key, r);
        break;
    default: kst__settle(t, kit, &c, slot, &judgement, judgement.reason, r); break;
    }
}

/* An ICMP error: RELATED to the connection that the packet it carries belongs to, if it goes to
 * who sent that packet. It changes nothing. */
static void kst__judge_error(struct kst *t, const struct kst__kit *kit,
                             const struct kst__parsed *p, struct kst_result *r)
{
    struct kst__key key;
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_INNER);
    if (!kst__icmp_about(t, p, &key))
        return;
    r->reason = KST_REASON_ICMP_UNRELATED;
    const uint32_t node = kit->index->find(kst__index(t), t, &key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return;
    r->reason = KST_REASON_ICMP_MISDIRECTED;
    if (memcmp(key.tuple.dst, p->tuple.dst, sizeof key.tuple.dst) != 0)
        return;
    r->entry = kst__id(t, kst__node_slot(t, node));
    kst__report(r, KST_RELATED, kst__node_direction(t, node, &key), KST_REASON_NONE);
}

/* A whole datagram. */
KST_INLINE void kst__judge_whole(struct kst *t, const struct kst__kit *kit,
                                 const struct kst__parsed *p, const struct kst__key *key,
                                 struct kst_result *r)
{
    r->reason = p->reason;
    if (r->reason == KST_REASON_NONE && p->tuple.protocol == kst__icmp_of(p->tuple.family)) {
        uint8_t reason;
        switch (kst__icmp_sort(p, &reason)) {
        case KST__ICMP_ORDINARY: kst__judge_packet(t, kit, p, key, r); break;
        case KST__ICMP_ERROR: kst__judge_error(t, kit, p, r); break;
        case KST__ICMP_UNTRACKED: r->state = KST_UNTRACKED; break;
        case KST__ICMP_REFUSED: r->reason = reason; break;
        }
    } else if (r->reason == KST_REASON_NONE) {
        kst__judge_packet(t, kit, p, key, r);
    }
}

/* A fragment: held, or the one that makes its datagram whole, which is then judged. */
static void kst__judge_fragment(struct kst *t, const struct kst__kit *kit,
                                const struct kst_packet *packet, const struct kst__parsed *p,
                                const struct kst__key *first, struct kst_result *r)
{
    struct kst_packet whole;
    struct kst__parsed parsed;
    struct kst__key key;
    r->reason = kst__defrag_take(t, packet, p, &whole);
    if (r->reason == KST_REASON_FRAGMENT) {
        kst__judge_whole(t, kit, p, first, r);
        return;
    }
    if (r->reason != KST_REASON_NONE) {
        r->verdict = r->reason == KST_REASON_FRAGMENT_HELD ? KST_HOLD : KST_DROP;
        return;
    }
    kst__parse(&whole, t->set[KST__SET_CHECKSUM] != 0, &parsed);
    if (parsed.reason == KST_REASON_NONE)
        kst__key_make(t, &parsed.tuple, &key);
    kst__judge_whole(t, kit, &parsed, &key, r);
}

/* Anything that was parsed. */
KST_INLINE void kst__judge_any(struct kst *t, const struct kst__kit *kit,
                               const struct kst_packet *packet, const struct kst__parsed *p,
                               const struct kst__key *key, struct kst_result *r)
{
    memset(r, 0, sizeof *r);
    r->direction = KST_NO_DIRECTION;
    t->stats.packets++;
    if (packet->flags & KST_PACKET_NOTRACK)
        r->state = KST_UNTRACKED;
    else if (p->fragment && t->defrag_at != 0 && packet->size >= p->ip_bytes)
        kst__judge_fragment(t, kit, packet, p, key, r);
    else if (p->partial)
        r->reason = KST_REASON_FRAGMENT;
    else
        kst__judge_whole(t, kit, p, key, r);
    t->stats.reasons[r->reason]++;
}

KST_INLINE void kst__set_clock(struct kst *t, uint64_t now_ms)
{
    if (now_ms >= t->now_ms)
        t->now_ms = now_ms;
    else
        t->stats.clock_back++;
}

/* A burst is parsed, hashed and prefetched as a whole, then judged in order: the memory's latency
 * is paid once. What is done ahead depends on the packets alone, so the cut changes nothing. */
KST_INLINE void kst__run(struct kst *t, const struct kst__kit *kit, uint64_t now_ms,
                         const struct kst_packet *packets, size_t count,
                         struct kst_result *results)
{
    struct kst__parsed parsed[KST_BURST];
    struct kst__key keys[KST_BURST];
    kst__set_clock(t, now_ms);
    while (count > 0) {
        const size_t burst = count < KST_BURST ? count : KST_BURST;
        for (size_t i = 0; i < burst; i++) {
            kst__parse(&packets[i], t->set[KST__SET_CHECKSUM] != 0, &parsed[i]);
            if (parsed[i].reason != KST_REASON_NONE)
                continue;
            kst__key_make(t, &parsed[i].tuple, &keys[i]);
            if (kit->index->prefetch != NULL)
                kit->index->prefetch(kst__index(t), keys[i].hash);
        }
        for (size_t i = 0; i < burst; i++)
            kst__judge_any(t, kit, &packets[i], &parsed[i], &keys[i], &results[i]);
        packets += burst;
        results += burst;
        count -= burst;
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
    if (config->features & ~(uint32_t)(KST_WITH_ACCOUNTING | KST_WITH_NAT))
        return KST_ERROR_FEATURES;
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
    t->buckets = kst__power_of_two(config->buckets != 0 ? config->buckets : config->max);
    const uint64_t slots = kst__slots(t);
    t->index_at = kst__aligned(sizeof *t);
    t->timer_at = kst__aligned(t->index_at + kst__kit.index->bytes(kst__nodes(t), t->buckets));
    t->entries_at = kst__aligned(t->timer_at + kst__kit.timer->bytes(kst__slots(t)));
    t->replies_at = kst__aligned(t->entries_at + slots * sizeof(struct kst__entry));
    t->counters_at = kst__aligned(
        t->replies_at + (t->features & KST_WITH_NAT ? slots * sizeof(struct kst_tuple) : 0));
    layout.bytes = kst__aligned(t->counters_at + (t->features & KST_WITH_ACCOUNTING
                                                  ? slots * sizeof(struct kst__counters)
                                                  : 0));
    if (config->reassembly_bytes != 0) {
        struct kst__defrag defrag;
        t->defrag_at = layout.bytes;
        layout.bytes = kst__aligned(t->defrag_at +
                                kst__defrag_lay_out(&defrag, config->reassembly_bytes));
    }
    if (layout.bytes > SIZE_MAX)
        layout.error = KST_ERROR_MAX;
    return layout;
}

size_t kst_bytes(const struct kst_config *config)
{
    const struct kst__layout layout = kst__lay_out(config);
    return layout.error == KST_ERROR_OK ? (size_t)layout.bytes : 0;
}

/* Empties the pool, the classes and the back ends. */
static void kst__clear(struct kst *t)
{
    t->count = t->used = 0;
    t->free = KST__NONE;
    for (uint32_t i = 0; i < KST_CLASSES; i++) {
        t->classes[i].oldest = t->classes[i].newest = KST__NONE;
        t->classes[i].count = 0;
    }
    kst__kit.index->init(kst__index(t), kst__nodes(t), t->buckets);
    kst__kit.timer->init(kst__timer(t), kst__slots(t), t->now_ms);
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
    memcpy(t->evict, config->evict, sizeof t->evict);
    if (t->evict[0] == 0) {
        t->evict[0] = KST_CLASS_UNREPLIED + 1;
        t->evict[1] = KST_CLASS_REPLIED + 1;
    }
    for (uint32_t i = 0; i < KST_CLASSES; i++)
        t->classes[i].residence_ms = config->residence_ms[i];
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
    kst__run(t, &kst__kit, now_ms, packets, count, results);
}

uint32_t kst_advance(struct kst *t, uint64_t now_ms, uint32_t work_max)
{
    uint32_t work = work_max;
    kst__set_clock(t, now_ms);
    if (t->defrag_at != 0)
        kst__defrag_expire(t, &work);
    kst__collect(t, &kst__kit, &work);
    return work_max - work;
}

bool kst_refuse(struct kst *t, const struct kst_result *result)
{
    const uint32_t slot = kst__slot(t, result->entry);
    if (!(result->flags & KST_CREATED) || slot == KST__NONE)
        return false;
    kst__remove(t, &kst__kit, slot, &t->stats.refused);
    return true;
}

/* ---- connections ---- */

kst_id kst_find(const struct kst *t, const struct kst_tuple *tuple, uint8_t *direction)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    const uint32_t node = kst__kit.index->find(kst__index(t), t, &key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return 0;
    if (direction != NULL)
        *direction = kst__node_direction(t, node, &key);
    return kst__id(t, kst__node_slot(t, node));
}

bool kst_get(const struct kst *t, kst_id id, struct kst_flow *flow)
{
    const uint32_t slot = kst__slot(t, id);
    if (slot == KST__NONE)
        return false;
    const struct kst__entry *e = kst__entry_at(t, slot);
    memset(flow, 0, sizeof *flow);
    flow->id = id;
    flow->tuple[KST_ORIGINAL] = e->tuple;
    flow->tuple[KST_REPLY] = kst__reply_of(t, slot);
    flow->timeout_ms = e->expires_ms - t->now_ms;
    flow->mark = e->mark;
    flow->status = e->status;
    flow->state = e->state;
    flow->accounted = (e->kind & KST__KIND_ACCOUNTED) != 0;
    if (e->tuple.protocol == KST__GRE) {
        flow->gre_timeouts_s[0] = e->proto.gre.timeout_s;
        flow->gre_timeouts_s[1] = e->proto.gre.stream_s;
    } else if (e->tuple.protocol == KST__SCTP) {
        memcpy(flow->sctp_tags, e->proto.sctp.tag, sizeof flow->sctp_tags);
    }
    if (flow->accounted) {
        const struct kst__counters *counters = kst__counters_at(t, slot);
        memcpy(flow->packets, counters->packets, sizeof flow->packets);
        memcpy(flow->bytes, counters->bytes, sizeof flow->bytes);
    }
    return true;
}

kst_id kst_next(const struct kst *t, kst_id id)
{
    for (uint64_t slot = id == 0 ? 0 : (id & UINT32_MAX) + 1; slot < t->used; slot++)
        if (kst__live(t, (uint32_t)slot) && !kst__expired(t, (uint32_t)slot))
            return kst__id(t, (uint32_t)slot);
    return 0;
}

bool kst_delete(struct kst *t, kst_id id)
{
    const uint32_t slot = kst__slot(t, id);
    if (slot == KST__NONE)
        return false;
    kst__remove(t, &kst__kit, slot, &t->stats.deleted);
    return true;
}

void kst_flush(struct kst *t)
{
    t->stats.deleted += t->count;
    kst__clear(t);
}

bool kst_set_mark(struct kst *t, kst_id id, uint32_t mark)
{
    const uint32_t slot = kst__slot(t, id);
    if (slot == KST__NONE)
        return false;
    kst__entry_at(t, slot)->mark = mark;
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
        KST_SEEN_REPLY | KST_ASSURED | KST_CONFIRMED | KST_FIXED_TIMEOUT;
    struct kst_tuple inverse;
    if (!kst__tuple_sound(original) || !kst__tuple_sound(reply) ||
        original->family != reply->family || original->protocol != reply->protocol ||
        original->zone != reply->zone)
        return KST_ERROR_FLOW_FAMILY;
    if (!kst__tuple_invert(original, &inverse) || !kst__tuple_invert(reply, &inverse) ||
        (kst__is_icmp(original->protocol) &&
         (!kst__icmp_is_question(original) || inverse.dst_port != original->dst_port)))
        return KST_ERROR_FLOW_TUPLE;
    if (kst__tuple_same(reply, original) && !kst__tuple_same(&inverse, original))
        return KST_ERROR_FLOW_TUPLE;
    if (!kst__tuple_same(&inverse, original) && !(t->features & KST_WITH_NAT))
        return KST_ERROR_FLOW_NAT;
    if (flow->accounted && !(t->features & KST_WITH_ACCOUNTING))
        return KST_ERROR_SETTING_FEATURE;
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

static enum kst_error kst__insert(struct kst *t, const struct kst_flow *flow, kst_id *id)
{
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const struct kst_tuple *reply = &flow->tuple[KST_REPLY];
    struct kst_tuple mirror;
    uint32_t work = KST_COLLECT_MAX;
    const enum kst_error error = kst__flow_error(t, flow);
    if (error != KST_ERROR_OK)
        return error;
    if (!kst__tuple_clear(t, &kst__kit, original) || !kst__tuple_clear(t, &kst__kit, reply))
        return KST_ERROR_FLOW_EXISTS;
    if (t->count >= t->set[KST__SET_MAX])
        kst__collect(t, &kst__kit, &work);
    if (t->count >= t->set[KST__SET_MAX])
        return KST_ERROR_FULL;

    const uint32_t slot = kst__newcomer(t, original);
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
    e->expires_ms = kst__later_ms(t, flow->timeout_ms);
    e->mark = flow->mark;
    e->status = flow->status;
    e->state = flow->state;
    if (original->protocol == KST__GRE) {
        const uint32_t *own = flow->gre_timeouts_s;
        e->proto.gre.timeout_s = own[0] != 0 ? own[0] : t->set[KST__SET_GRE_TIMEOUT];
        e->proto.gre.stream_s = own[1] != 0 ? own[1] : t->set[KST__SET_GRE_TIMEOUT_STREAM];
    } else if (original->protocol == KST__SCTP) {
        memcpy(e->proto.sctp.tag, flow->sctp_tags, sizeof flow->sctp_tags);
    } else if (original->protocol == KST__TCP) {
        e->proto.tcp.last = KST__LAST(KST__CLASS_NONE, KST_ORIGINAL);
        e->proto.tcp.flags[0] = e->proto.tcp.flags[1] = KST__TCP_SACKS | KST__TCP_LIBERAL;
    }
    if (!kst__index_in(t, &kst__kit, slot, kst__tuple_hash(original, t->seed))) {
        kst__slot_give_back(t, slot);
        return KST_ERROR_FULL;
    }
    kst__confirm(t, &kst__kit, slot);
    t->stats.inserted++;
    *id = kst__id(t, slot);
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
    *highest = number == KST__SET_MAX ? t->capacity : kst__settings[number].highest;
    if (kst__read_only(number)) /* what it is, and nothing else */
        *lowest = *highest = kst__setting_value(t, number);
    return true;
}

enum kst_error kst_set(struct kst *t, const char *name, uint32_t value)
{
    const uint32_t number = kst__setting_number(name);
    uint32_t lowest, highest;
    if (number == KST__SETTINGS)
        return KST_ERROR_SETTING_NAME;
    if (kst__read_only(number))
        return KST_ERROR_SETTING_READ_ONLY;
    kst_setting_range(t, name, &lowest, &highest);
    if (value < lowest || value > highest)
        return KST_ERROR_SETTING_RANGE;
    if (number == KST__SET_ACCT && value != 0 && !(t->features & KST_WITH_ACCOUNTING))
        return KST_ERROR_SETTING_FEATURE;
    t->set[number] = value;
    if (t->defrag_at != 0 && (number == KST__SET_FRAG4_TIMEOUT || number == KST__SET_FRAG6_TIMEOUT))
        kst__defrag_shorten(t);
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
    if (!(e->status & KST_CONFIRMED))
        return "entry: in the table but not confirmed";
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
    const uint32_t original_node = kst__kit.index->find(kst__index(t), t, &key);
    if (original_node == KST__NONE || kst__node_slot(t, original_node) != slot)
        return "index: an entry is not found by its original tuple";
    kst__key_make(t, &reply, &key);
    const uint32_t reply_node = kst__kit.index->find(kst__index(t), t, &key);
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
    uint32_t live = 0, with_nat = 0, spare = 0, nodes = 0, armed = 0;
    const struct kst_stats *s = &t->stats;
    if (t->used > kst__slots(t) || t->count > t->capacity)
        return "pool: more slots in use than there are";
    if (s->created + s->inserted - s->expired - s->closed - s->evicted - s->deleted - s->refused !=
        t->count)
        return "pool: who came and who went does not make who is there";
    /* The back ends first: nothing below can be walked if they lead astray. */
    if ((broken = kst__kit.index->check(kst__index(t), t, &nodes)) != NULL ||
        (broken = kst__kit.timer->check(kst__timer(t), t, &armed)) != NULL)
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
        live++;
        with_nat += (kst__entry_at(t, slot)->kind & KST__KIND_NAT) != 0;
    }
    if (live != t->count || live + spare != t->used)
        return "pool: a slot is lost";
    if (t->defrag_at != 0 && (broken = kst__defrag_check(t)) != NULL)
        return broken;
    if ((broken = kst__check_classes(t)) != NULL)
        return broken;
    if (nodes != live + with_nat)
        return "index: it does not hold each entry once for each tuple of its own";
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

/* Three formats of one family: PROC has the network layer in front, LEGACY no zone, CONNTRACK short
 * addresses, a zone only if it is one, and no timeouts of GRE's own. */
static void kst__put_proc(struct kst__line *line, const struct kst_flow *flow,
                          enum kst_format format)
{
    const struct kst__labels labels = {
        " src=", " dst=", " sport=", " dport=", " type=", " code=", " id=",
        " srckey=0x", " dstkey=0x", "", 16, format == KST_FORMAT_CONNTRACK};
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    if (format == KST_FORMAT_PROC) {
        kst__put_padded(line, original->family == KST_IPV4 ? "ipv4" : "ipv6", 8);
        kst__put_field(line, " ", original->family);
        kst__put(line, " ");
    }
    kst__put_padded(line, kst__protocol_of(original->protocol)->name, 8);
    kst__put_field(line, " ", original->protocol);
    kst__put_field(line, " ", flow->timeout_ms / 1000);
    if (kst__state_word(flow) != NULL) {
        kst__put(line, " ");
        kst__put(line, kst__state_word(flow));
    }
    if (original->protocol == KST__GRE && format != KST_FORMAT_CONNTRACK) {
        kst__put_field(line, " timeout=", flow->gre_timeouts_s[0]);
        kst__put_field(line, ", stream_timeout=", flow->gre_timeouts_s[1]);
    }
    for (uint32_t direction = 0; direction < 2; direction++) {
        kst__put_tuple(line, &flow->tuple[direction], &labels);
        if (flow->accounted) {
            kst__put_field(line, " packets=", flow->packets[direction]);
            kst__put_field(line, " bytes=", flow->bytes[direction]);
        }
        if (direction == KST_ORIGINAL && !(flow->status & KST_SEEN_REPLY))
            kst__put(line, " [UNREPLIED]");
    }
    if (flow->status & KST_ASSURED)
        kst__put(line, " [ASSURED]");
    kst__put_field(line, " mark=", flow->mark);
    if (format == KST_FORMAT_PROC || (format == KST_FORMAT_CONNTRACK && original->zone != 0))
        kst__put_field(line, " zone=", original->zone);
}

static void kst__put_json(struct kst__line *line, const struct kst_flow *flow)
{
    static const struct kst__labels labels = {
        "\"src\":\"",  "\",\"dst\":\"", ",\"sport\":",  ",\"dport\":",  ",\"type\":",
        ",\"code\":", ",\"id\":",     ",\"srckey\":", ",\"dstkey\":", "\"",
        10, false};
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
        kst__put_tuple(line, &flow->tuple[direction], &labels);
        if (flow->accounted) {
            kst__put_field(line, ",\"packets\":", flow->packets[direction]);
            kst__put_field(line, ",\"bytes\":", flow->bytes[direction]);
        }
        kst__put(line, "}");
    }
    kst__put(line, flow->status & KST_SEEN_REPLY ? ",\"seen_reply\":true" : ",\"seen_reply\":false");
    kst__put(line, flow->status & KST_ASSURED ? ",\"assured\":true" : ",\"assured\":false");
    kst__put_field(line, ",\"mark\":", flow->mark);
    kst__put_field(line, ",\"zone\":", original->zone);
    kst__put(line, "}");
}

size_t kst_print(const struct kst_flow *flow, enum kst_format format, char *text, size_t size)
{
    struct kst__line line = {text, size, 0};
    if (format == KST_FORMAT_JSON)
        kst__put_json(&line, flow);
    else if (format != KST_FORMAT_LEGACY || flow->tuple[KST_ORIGINAL].family == KST_IPV4)
        kst__put_proc(&line, flow, format);
    if (size > 0)
        text[line.length < size ? line.length : size - 1] = '\0';
    return line.length;
}

#endif

#ifdef __cplusplus
}
#endif

#endif
