/* SPDX-License-Identifier: MIT */
/* core/api.h - everything that a user may name: types first, calls after them. */
#ifndef KST_API_H
#define KST_API_H

#include "config.h"

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
