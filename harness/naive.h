/* SPDX-License-Identifier: MIT */
/* naive.h - the tracker once more, so simple that it is plainly right: the judge of the other one.
 *
 * An array of connections in the order of their creation, searched from its beginning; a 64-bit clock in
 * milliseconds, at each step of which whatever has expired is taken out; a field for everything. No
 * hash, no timers, no back ends, no packing, no bursts. It was written from what Linux does in words, and
 * then held against the vectors (build/agree --naive); it shares no line with the core, only the types and
 * names of core/api.h, which must be included before.
 *
 * What it leaves out: reassembly (a fragment is INVALID), helpers and expectations, NAT, zones of one
 * direction, fronts of packets (KST_PACKET_HEAD), events.
 *
 * CONTENTS  1 Settings  2 Connections  3 Bytes  4 TCP  5 SCTP  6 The others  7 Errors  8 A packet  9 Calls */
#ifndef KEEPSTATE_NAIVE_H
#define KEEPSTATE_NAIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ---- 1 Settings: name, default, lowest, highest (0: whatever a timeout may be) ---- */

#define NAIVE_SETTINGS(X)                                                                          \
    X(MAX, "nf_conntrack_max", 0, 1, 134217728)                                                    \
    X(ACCT, "nf_conntrack_acct", 0, 0, 1)                                                          \
    X(CHECKSUM, "nf_conntrack_checksum", 1, 0, 1)                                                  \
    X(TIMESTAMP, "nf_conntrack_timestamp", 0, 0, 1)                                                \
    X(LIBERAL, "nf_conntrack_tcp_be_liberal", 0, 0, 1)                                             \
    X(IGNORE_RST, "nf_conntrack_tcp_ignore_invalid_rst", 0, 0, 1)                                  \
    X(LOOSE, "nf_conntrack_tcp_loose", 1, 0, 1)                                                    \
    X(RETRANS, "nf_conntrack_tcp_max_retrans", 3, 0, 255)                                          \
    X(UDPLITE, "keepstate_udplite_rfc3828", 0, 0, 1)                                               \
    X(HALF_OPEN, "keepstate_half_open_max", 100, 1, 100)                                           \
    X(SOURCE, "keepstate_source_max", 0, 0, 134217728)                                             \
    X(ZONE, "keepstate_zone_max", 0, 0, 134217728)                                                 \
    X(T_GENERIC, "nf_conntrack_generic_timeout", 600, 0, 0)                                        \
    X(T_GRE, "nf_conntrack_gre_timeout", 30, 0, 0)                                                 \
    X(T_GRE_STREAM, "nf_conntrack_gre_timeout_stream", 180, 0, 0)                                  \
    X(T_ICMP, "nf_conntrack_icmp_timeout", 30, 0, 0)                                               \
    X(T_ICMPV6, "nf_conntrack_icmpv6_timeout", 30, 0, 0)                                           \
    X(T_UDP, "nf_conntrack_udp_timeout", 30, 0, 0)                                                 \
    X(T_UDP_STREAM, "nf_conntrack_udp_timeout_stream", 120, 0, 0)                                  \
    X(T_SCTP_CL, "nf_conntrack_sctp_timeout_closed", 10, 0, 0)                                     \
    X(T_SCTP_CW, "nf_conntrack_sctp_timeout_cookie_wait", 3, 0, 0)                                 \
    X(T_SCTP_CE, "nf_conntrack_sctp_timeout_cookie_echoed", 3, 0, 0)                               \
    X(T_SCTP_ES, "nf_conntrack_sctp_timeout_established", 210, 0, 0)                               \
    X(T_SCTP_SS, "nf_conntrack_sctp_timeout_shutdown_sent", 3, 0, 0)                               \
    X(T_SCTP_SR, "nf_conntrack_sctp_timeout_shutdown_recd", 3, 0, 0)                               \
    X(T_SCTP_SA, "nf_conntrack_sctp_timeout_shutdown_ack_sent", 3, 0, 0)                           \
    X(T_SCTP_HS, "nf_conntrack_sctp_timeout_heartbeat_sent", 30, 0, 0)                             \
    X(T_TCP_SS, "nf_conntrack_tcp_timeout_syn_sent", 120, 0, 0)                                    \
    X(T_TCP_SR, "nf_conntrack_tcp_timeout_syn_recv", 60, 0, 0)                                     \
    X(T_TCP_ES, "nf_conntrack_tcp_timeout_established", 432000, 0, 0)                              \
    X(T_TCP_FW, "nf_conntrack_tcp_timeout_fin_wait", 120, 0, 0)                                    \
    X(T_TCP_CW, "nf_conntrack_tcp_timeout_close_wait", 60, 0, 0)                                   \
    X(T_TCP_LA, "nf_conntrack_tcp_timeout_last_ack", 30, 0, 0)                                     \
    X(T_TCP_TW, "nf_conntrack_tcp_timeout_time_wait", 120, 0, 0)                                   \
    X(T_TCP_CL, "nf_conntrack_tcp_timeout_close", 10, 0, 0)                                        \
    X(T_TCP_RETRANS, "nf_conntrack_tcp_timeout_max_retrans", 300, 0, 0)                            \
    X(T_TCP_UNACKED, "nf_conntrack_tcp_timeout_unacknowledged", 300, 0, 0)

enum {
#define X(id, name, normal, low, high) NAIVE_##id,
    NAIVE_SETTINGS(X)
#undef X
    NAIVE_SET
};

static const struct {
    const char *name;
    uint32_t normal, low, high;
} naive_settings[NAIVE_SET] = {
#define X(id, name, normal, low, high) {name, normal, low, (high) != 0 ? (high) : 8589934},
    NAIVE_SETTINGS(X)
#undef X
};

/* ---- 2 Connections ---- */

enum { NAIVE_ROOM = 1024, NAIVE_POLICIES = 8 };

struct naive_side { /* what one side of a TCP connection has said */
    uint32_t end;    /* highest sequence number sent, and one more */
    uint32_t maxend; /* highest that the other side allows */
    uint32_t maxwin; /* largest window advertised; 0: this side was never seen */
    uint32_t maxack; /* highest acknowledgement sent, if has_maxack */
    uint32_t scale;
    bool has_scale, sacks, close_init, liberal, unacked, has_maxack;
};

struct naive_tcp {
    struct naive_side side[2];
    uint32_t last_class, last_dir;                   /* of the last packet that was noted, */
    uint32_t last_seq, last_ack, last_end, last_win; /* and its numbers */
    uint32_t last_scale;                             /* and options, if it was an ignored SYN */
    bool last_has_scale, last_sacks;
    bool challenge;    /* such a SYN came in LAST_ACK: its answer is on its way */
    bool simultaneous; /* both sides sent a SYN */
    uint32_t retrans;
};

struct naive_sctp {
    uint32_t tag[2]; /* that packets of this direction carry */
    bool init[2];    /* an INIT of this direction is pending */
    bool odd;        /* a HEARTBEAT with another tag was let through, */
    uint32_t odd_dir; /* this way */
};

struct naive_entry {
    uint64_t name; /* never used twice */
    uint64_t tag;  /* belongs to the caller */
    struct kst_tuple tuple[2];
    uint64_t expires_ms;
    uint64_t stream_ms; /* UDP: from here on it is a stream */
    bool seen_reply, assured, fixed, expected;
    uint32_t mark;
    uint32_t state; /* enum kst_tcp_state, enum kst_sctp_state */
    bool accounted;
    uint64_t packets[2], bytes[2];
    bool timestamped;
    uint64_t born_ms;
    uint64_t master;
    uint8_t labels[KST_LABEL_BYTES];
    uint32_t policy;
    uint32_t gre_s[2];
    struct naive_tcp tcp;
    struct naive_sctp sctp;
    uint32_t class_;       /* enum kst_class, */
    uint64_t joined_ms;    /* its member since, */
    uint64_t joined_order; /* and in this order */
};

struct naive {
    uint64_t now_ms;
    uint32_t room;     /* that the table was made with: the highest nf_conntrack_max */
    uint32_t features; /* enum kst_features */
    uint32_t set[NAIVE_POLICIES][NAIVE_SET]; /* the settings, and those of each policy */
    bool owned[NAIVE_POLICIES][NAIVE_SET];   /* which of these the policy has said itself */
    uint8_t evict[KST_CLASSES];              /* as in struct kst_config */
    uint32_t residence_ms[KST_CLASSES];
    uint8_t source_prefix[2];
    bool crowded; /* treat the table as full: some that have expired still take room elsewhere */
    bool no_place; /* no newcomer finds a place: an index elsewhere has too few buckets for it */
    uint64_t names, orders;
    uint64_t reasons[KST_REASONS], created, inserted, gone[KST_CAUSES]; /* as in struct kst_stats */
    uint32_t count;
    struct naive_entry entry[NAIVE_ROOM];
};

static void naive_init(struct naive *n, const struct kst_config *config)
{
    memset(n, 0, offsetof(struct naive, entry)); /* which come whole */
    n->now_ms = config->start_ms;
    n->room = config->max;
    n->features = config->features;
    for (uint32_t policy = 0; policy < NAIVE_POLICIES; policy++)
        for (uint32_t i = 0; i < NAIVE_SET; i++)
            n->set[policy][i] = i == NAIVE_MAX ? config->max : naive_settings[i].normal;
    memcpy(n->evict, config->evict, sizeof n->evict);
    memcpy(n->residence_ms, config->residence_ms, sizeof n->residence_ms);
    n->source_prefix[0] = config->source_prefix[0] != 0 ? config->source_prefix[0] : 32;
    n->source_prefix[1] = config->source_prefix[1] != 0 ? config->source_prefix[1] : 64;
    if (n->evict[0] == 0) {
        n->evict[0] = KST_CLASS_UNREPLIED + 1;
        n->evict[1] = KST_CLASS_REPLIED + 1;
    }
}

/* The setting as this connection has it. */
static uint32_t naive_setting(const struct naive *n, const struct naive_entry *e, uint32_t number)
{
    return n->set[e->policy][number];
}

static void naive_remove(struct naive *n, uint32_t at, enum kst_cause cause)
{
    n->gone[cause]++;
    memmove(&n->entry[at], &n->entry[at + 1], (n->count - at - 1) * sizeof n->entry[0]);
    n->count--;
}

/* Moves the clock, never back, and takes out what has expired. */
static void naive_clock(struct naive *n, uint64_t now_ms)
{
    if (now_ms > n->now_ms)
        n->now_ms = now_ms;
    for (uint32_t i = n->count; i-- > 0;)
        if (n->entry[i].expires_ms <= n->now_ms)
            naive_remove(n, i, KST_GONE_EXPIRED);
}

static struct naive_entry *naive_named(struct naive *n, uint64_t name)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (n->entry[i].name == name)
            return &n->entry[i];
    return NULL;
}

static inline struct naive_entry *naive_tagged(struct naive *n, uint64_t tag)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (n->entry[i].tag == tag)
            return &n->entry[i];
    return NULL;
}

/* The connection of a packet with this tuple, and which way it goes. Who talks to itself answers itself. */
static struct naive_entry *naive_find(struct naive *n, const struct kst_tuple *tuple,
                                      uint32_t *direction)
{
    for (uint32_t dir = KST_REPLY + 1; dir-- > 0;)
        for (uint32_t i = 0; i < n->count; i++)
            if (memcmp(&n->entry[i].tuple[dir], tuple, sizeof *tuple) == 0) {
                *direction = dir;
                return &n->entry[i];
            }
    return NULL;
}

/* Which class it is in by now; who changes it stands last in the new one. */
static void naive_reclass(struct naive *n, struct naive_entry *e, bool fresh)
{
    const uint32_t protocol = e->tuple[0].protocol;
    const bool closing = (protocol == 6 && e->state >= KST_TCP_FIN_WAIT && e->state <= KST_TCP_CLOSE) ||
                         (protocol == 132 && e->state >= KST_SCTP_SHUTDOWN_SENT &&
                          e->state <= KST_SCTP_SHUTDOWN_ACK_SENT);
    const uint32_t class_ = e->assured      ? (closing ? KST_CLASS_CLOSING : KST_CLASS_ASSURED)
                            : e->seen_reply ? KST_CLASS_REPLIED
                                            : KST_CLASS_UNREPLIED;
    if (!fresh && class_ == e->class_)
        return;
    e->class_ = class_;
    e->joined_ms = n->now_ms;
    e->joined_order = ++n->orders;
}

/* Whether as many are not ASSURED as may be. */
static bool naive_half_open(const struct naive *n)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < n->count; i++)
        count += !n->entry[i].assured;
    return n->set[0][NAIVE_HALF_OPEN] < 100 &&
           count * 100 >= (uint64_t)n->set[0][NAIVE_MAX] * n->set[0][NAIVE_HALF_OPEN];
}

static bool naive_same_net(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
    for (uint32_t bit = 0; bit < bits; bit++)
        if (((a[bit / 8] ^ b[bit / 8]) >> (7 - bit % 8) & 1) != 0)
            return false;
    return true;
}

/* Whether a newcomer's source, an IPv4 address or an IPv6 /64 if nothing else was chosen, or its zone has as many as it may. */
static enum kst_reason naive_limit(const struct naive *n, const struct kst_tuple *tuple)
{
    uint32_t source = 0, zone = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct kst_tuple *other = &n->entry[i].tuple[0];
        zone += other->zone == tuple->zone;
        source += other->zone == tuple->zone && other->family == tuple->family &&
                  naive_same_net(other->src, tuple->src, n->source_prefix[tuple->family == KST_IPV6]);
    }
    if (n->set[0][NAIVE_SOURCE] != 0 && source >= n->set[0][NAIVE_SOURCE])
        return KST_REASON_SOURCE_LIMIT;
    return n->set[0][NAIVE_ZONE] != 0 && zone >= n->set[0][NAIVE_ZONE] ? KST_REASON_ZONE_LIMIT
                                                                       : KST_REASON_NONE;
}

/* Removes the oldest of the first class, in the order of eviction, that has one which may go. */
static bool naive_evict(struct naive *n, bool half_open)
{
    for (uint32_t i = 0; i < KST_CLASSES && n->evict[i] != 0; i++) {
        const uint32_t class_ = n->evict[i] - 1u;
        uint32_t oldest = NAIVE_ROOM;
        if (half_open && class_ != KST_CLASS_UNREPLIED && class_ != KST_CLASS_REPLIED)
            continue;
        for (uint32_t j = 0; j < n->count; j++)
            if (n->entry[j].class_ == class_ &&
                (oldest == NAIVE_ROOM || n->entry[j].joined_order < n->entry[oldest].joined_order))
                oldest = j;
        if (oldest == NAIVE_ROOM)
            continue;
        /* Residence is told in beats of 64 ms. */
        const uint64_t beats = n->now_ms / 64 - n->entry[oldest].joined_ms / 64;
        if (beats * 64 < n->residence_ms[class_])
            continue;
        naive_remove(n, oldest, KST_GONE_EVICTED);
        return true;
    }
    return false;
}

/* ---- 3 Bytes ---- */

static uint32_t naive_16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t naive_32(const uint8_t *at)
{
    return naive_16(at) << 16 | naive_16(at + 2);
}

/* Serial arithmetic modulo 2^32. Half way round the circle, each is before and after the other. */
static bool naive_before(uint32_t a, uint32_t b)
{
    return a - b >= UINT32_C(0x80000000);
}

static bool naive_after(uint32_t a, uint32_t b)
{
    return naive_before(b, a);
}

struct naive_packet {
    struct kst_tuple tuple;
    const uint8_t *ip, *l4;
    uint32_t ip_bytes; /* with the header */
    uint32_t l4_bytes;
    uint32_t checksum; /* enum kst_checksum */
    enum kst_reason reason; /* why there is no tuple */
};

/* The ones' complement sum that ends as 0xffff if the checksum in it is right. All zeros pass, too. */
static bool naive_sum_right(const struct naive_packet *p, uint32_t bytes, uint32_t protocol)
{
    uint64_t sum = 0;
    if (p->checksum != KST_CHECKSUM_VERIFY)
        return p->checksum != KST_CHECKSUM_BAD;
    for (uint32_t i = 0; i < bytes; i++)
        sum += i % 2 == 0 ? (uint32_t)p->l4[i] << 8 : p->l4[i];
    if (protocol != 0) {
        for (uint32_t i = 0; i < 16; i += 2)
            sum += naive_16(p->tuple.src + i) + naive_16(p->tuple.dst + i);
        sum += p->l4_bytes + protocol;
    }
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff || sum == 0;
}

/* CRC-32C (RFC 9260, appendix A) with the field itself, at 8, taken as zero. */
static bool naive_crc_right(const struct naive_packet *p)
{
    uint32_t crc = UINT32_MAX;
    if (p->checksum != KST_CHECKSUM_VERIFY)
        return p->checksum != KST_CHECKSUM_BAD;
    for (uint32_t i = 0; i < p->l4_bytes; i++) {
        crc ^= i >= 8 && i < 12 ? 0u : p->l4[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0x82f63b78) : crc >> 1;
    }
    crc = ~crc;
    return p->l4[8] == (crc & 255) && p->l4[9] == (crc >> 8 & 255) && p->l4[10] == (crc >> 16 & 255) &&
           p->l4[11] == crc >> 24;
}

static bool naive_ports(uint32_t protocol)
{
    return protocol == 6 || protocol == 17 || protocol == 132 || protocol == 136;
}

static bool naive_types(uint32_t protocol)
{
    return protocol == 1 || protocol == 58;
}

/* The two 16-bit fields that the transport header contributes to the tuple. */
static enum kst_reason naive_read_l4(struct naive_packet *p)
{
    const uint32_t protocol = p->tuple.protocol;
    if (naive_ports(protocol)) {
        if (p->l4_bytes < 4)
            return KST_REASON_L4_SHORT;
        p->tuple.src_port = (uint16_t)naive_16(p->l4);
        p->tuple.dst_port = (uint16_t)naive_16(p->l4 + 2);
    } else if (naive_types(protocol)) {
        if (p->l4_bytes < 8)
            return (protocol == 1) == (p->tuple.family == KST_IPV4) ? KST_REASON_ICMP_SHORT
                                                                    : KST_REASON_L4_SHORT;
        p->tuple.src_port = (uint16_t)naive_16(p->l4 + 4);
        p->tuple.dst_port = (uint16_t)naive_16(p->l4);
    } else if (protocol == 47 && p->l4_bytes >= 8 && (p->l4[1] & 7) == 1) {
        if (naive_16(p->l4 + 2) != 0x880b)
            return KST_REASON_GRE_PROTOCOL;
        p->tuple.dst_port = (uint16_t)naive_16(p->l4 + 6);
    }
    return KST_REASON_NONE;
}

/* IPv4, and IPv4 embedded in an ICMP error, of which nobody looks at version and lengths. */
static enum kst_reason naive_read_4(struct naive_packet *p, uint32_t bytes, bool embedded)
{
    const uint8_t *ip = p->ip;
    if (bytes < 20)
        return KST_REASON_IP_SHORT;
    const uint32_t header = (ip[0] & 15u) * 4;
    if (header > bytes || (header < 20 && !embedded))
        return KST_REASON_IP_HEADER;
    if (p->checksum == KST_CHECKSUM_VERIFY && !embedded) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < header; i += 2)
            sum += naive_16(ip + i);
        if ((sum & 0xffff) + (sum >> 16) != 0xffff)
            return KST_REASON_IP_CHECKSUM;
    }
    if ((naive_16(ip + 6) & 0x1fff) != 0 || (!embedded && (ip[6] & 0x20)))
        return KST_REASON_FRAGMENT;
    memcpy(p->tuple.src, ip + 12, 4);
    memcpy(p->tuple.dst, ip + 16, 4);
    p->tuple.family = KST_IPV4;
    p->tuple.protocol = ip[9];
    p->l4 = ip + header;
    p->l4_bytes = bytes - header;
    return naive_read_l4(p);
}

static enum kst_reason naive_read_6(struct naive_packet *p, uint32_t bytes, bool embedded)
{
    const uint8_t *ip = p->ip;
    if (bytes < 40)
        return KST_REASON_IP_SHORT;
    uint32_t next = ip[6], at = 40;
    bool fragment_seen = false, more = false;
    while (next == 0 || next == 43 || next == 44 || next == 51 || next == 60) {
        if (at + (next == 44 ? 4 : 2) > bytes)
            return more && !embedded ? KST_REASON_FRAGMENT : KST_REASON_EXT_SHORT;
        const bool cut = next == 44 && at + 8 > bytes; /* Linux looks at its first four bytes */
        if (next == 44 && (naive_16(ip + at + 2) & 0xfff8) != 0)
            return !cut || (more && !embedded) ? KST_REASON_FRAGMENT : KST_REASON_EXT_SHORT;
        if (next == 44 && !cut) {
            more = more || (!fragment_seen && (ip[at + 3] & 1));
            fragment_seen = true;
        }
        const uint32_t length = next == 44 ? 8 : next == 51 ? (ip[at + 1] + 2u) * 4 : (ip[at + 1] + 1u) * 8;
        next = ip[at];
        at += length;
    }
    if (more && !embedded)
        return KST_REASON_FRAGMENT;
    if (next == 59)
        return KST_REASON_EXT_NO_NEXT;
    if (at > bytes) /* the last one may claim more than there is */
        at = bytes;
    memcpy(p->tuple.src, ip + 8, 16);
    memcpy(p->tuple.dst, ip + 24, 16);
    p->tuple.family = KST_IPV6;
    p->tuple.protocol = (uint8_t)next;
    p->l4 = ip + at;
    p->l4_bytes = bytes - at;
    return naive_read_l4(p);
}

static void naive_read(const struct naive *n, const struct kst_packet *packet, struct naive_packet *p)
{
    const uint8_t *ip = packet->data;
    const uint32_t version = packet->size > 0 ? ip[0] >> 4 : 0;
    memset(p, 0, sizeof *p);
    p->ip = ip;
    p->tuple.zone = packet->zone;
    p->checksum = packet->checksum;
    if (p->checksum == KST_CHECKSUM_VERIFY && n->set[0][NAIVE_CHECKSUM] == 0)
        p->checksum = KST_CHECKSUM_IGNORE;
    if (packet->size == 0 || (version == 4 && packet->size < 20) || (version == 6 && packet->size < 40)) {
        p->reason = KST_REASON_IP_SHORT;
    } else if (version != 4 && version != 6) {
        p->reason = KST_REASON_IP_VERSION;
    } else {
        p->ip_bytes = version == 4 ? naive_16(ip + 2) : 40 + naive_16(ip + 4);
        if (version == 6 && p->ip_bytes == 40 && ip[6] == 0)
            p->reason = KST_REASON_IP_JUMBO;
        else if (p->ip_bytes > packet->size)
            p->reason = KST_REASON_IP_LENGTH;
        else
            p->reason = version == 4 ? naive_read_4(p, p->ip_bytes, false)
                                     : naive_read_6(p, p->ip_bytes, false);
    }
}

/* What answers to an ICMP message of this type; 0 stands for nothing. 256 is type 0. */
static uint32_t naive_counterpart(uint32_t protocol, uint32_t type)
{
    static const uint16_t pairs[][3] = {{1, 8, 256}, {1, 0, 8},    {1, 13, 14},   {1, 14, 13},   {1, 15, 16},
                                        {1, 16, 15}, {1, 17, 18},  {1, 18, 17},   {58, 128, 129}, {58, 129, 128},
                                        {58, 139, 140}, {58, 140, 139}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (pairs[i][0] == protocol && pairs[i][1] == type)
            return pairs[i][2];
    return 0;
}

static bool naive_invert(const struct kst_tuple *tuple, struct kst_tuple *inverse)
{
    *inverse = *tuple;
    memcpy(inverse->src, tuple->dst, 16);
    memcpy(inverse->dst, tuple->src, 16);
    if (naive_types(tuple->protocol)) {
        const uint32_t type = naive_counterpart(tuple->protocol, tuple->dst_port >> 8);
        inverse->dst_port = (uint16_t)((type & 255) << 8 | (tuple->dst_port & 255u));
        return type != 0;
    }
    inverse->src_port = tuple->dst_port;
    inverse->dst_port = tuple->src_port;
    return true;
}

/* ---- what a protocol says of a packet ---- */

enum naive_action {
    NAIVE_REFRESH, /* accepted: counted, and the connection lasts for timeout_s from now */
    NAIVE_KEEP,    /* accepted, and that is all */
    NAIVE_REFUSE,  /* INVALID */
    NAIVE_REOPEN,  /* the connection is over, this packet begins another */
    NAIVE_END      /* accepted, and the connection is over */
};

struct naive_opinion {
    enum naive_action action;
    enum kst_reason reason;
    uint32_t timeout_s;
};

static struct naive_opinion naive_says(enum naive_action action, enum kst_reason reason, uint32_t timeout_s)
{
    const struct naive_opinion opinion = {action, reason, timeout_s};
    return opinion;
}

/* ---- 4 TCP ---- */

enum { NAIVE_FIN = 1, NAIVE_SYN = 2, NAIVE_RST = 4, NAIVE_PSH = 8, NAIVE_ACK = 16, NAIVE_URG = 32 };
enum naive_class { SYN_, SYNACK_, FIN_, ACK_, RST_, NONE_ };

enum { /* states by the two letters of the table, and what else it says */
    NO = KST_TCP_NONE, SS = KST_TCP_SYN_SENT, SR = KST_TCP_SYN_RECV, ES = KST_TCP_ESTABLISHED,
    FW = KST_TCP_FIN_WAIT, CW = KST_TCP_CLOSE_WAIT, LA = KST_TCP_LAST_ACK, TW = KST_TCP_TIME_WAIT,
    CL = KST_TCP_CLOSE, S2 = KST_TCP_SYN_SENT2, IV = 100 /* INVALID */, IG = 101 /* ignored */
};

static const uint8_t naive_tcp_table[2][6][KST_TCP_STATES] = {
    /*              NO  SS  SR  ES  FW  CW  LA  TW  CL  S2 */
    {/* SYN    */ {SS, SS, IG, IG, IG, IG, IG, SS, SS, S2},
     /* SYNACK */ {IV, IV, SR, IV, IV, IV, IV, IV, IV, SR},
     /* FIN    */ {IV, IV, FW, FW, LA, LA, LA, TW, CL, IV},
     /* ACK    */ {ES, IV, ES, ES, CW, CW, TW, TW, CL, IV},
     /* RST    */ {IV, CL, CL, CL, CL, CL, CL, CL, CL, CL},
     /* NONE   */ {IV, IV, IV, IV, IV, IV, IV, IV, IV, IV}},
    {/* SYN    */ {IV, S2, IV, IV, IV, IV, IV, SS, IV, S2},
     /* SYNACK */ {IV, SR, IG, IG, IG, IG, IG, IG, IG, SR},
     /* FIN    */ {IV, IV, FW, FW, LA, LA, LA, TW, CL, IV},
     /* ACK    */ {IV, IG, SR, ES, CW, CW, TW, TW, CL, IG},
     /* RST    */ {IV, CL, CL, CL, CL, CL, CL, CL, CL, CL},
     /* NONE   */ {IV, IV, IV, IV, IV, IV, IV, IV, IV, IV}}};

struct naive_segment {
    uint32_t seq, end, ack, win, flags;
    uint32_t class_;
    const uint8_t *options;
    uint32_t options_bytes;
};

static bool naive_tcp_flags_right(uint32_t flags)
{
    static const uint8_t right[] = {
        NAIVE_SYN, NAIVE_SYN | NAIVE_URG, NAIVE_SYN | NAIVE_ACK, NAIVE_RST, NAIVE_RST | NAIVE_ACK,
        NAIVE_FIN | NAIVE_ACK, NAIVE_FIN | NAIVE_ACK | NAIVE_URG, NAIVE_ACK, NAIVE_ACK | NAIVE_URG};
    for (size_t i = 0; i < sizeof right; i++)
        if (right[i] == (flags & 0x37))
            return true;
    return false;
}

static enum kst_reason naive_tcp_read(const struct naive_packet *p, struct naive_segment *s)
{
    if (p->l4_bytes < 20)
        return KST_REASON_L4_SHORT;
    const uint32_t header = (p->l4[12] >> 4) * 4u;
    if (header < 20 || header > p->l4_bytes)
        return KST_REASON_TCP_OFFSET;
    if (!naive_sum_right(p, p->l4_bytes, 6))
        return KST_REASON_TCP_CHECKSUM;
    if (!naive_tcp_flags_right(p->l4[13]))
        return KST_REASON_TCP_FLAGS;
    s->flags = p->l4[13];
    s->seq = naive_32(p->l4 + 4);
    s->ack = naive_32(p->l4 + 8);
    s->win = naive_16(p->l4 + 14);
    s->end = s->seq + (p->l4_bytes - header) + (s->flags & NAIVE_SYN ? 1 : 0) + (s->flags & NAIVE_FIN ? 1 : 0);
    s->options = p->l4 + 20;
    s->options_bytes = header - 20;
    s->class_ = s->flags & NAIVE_RST   ? RST_
                : s->flags & NAIVE_SYN ? (s->flags & NAIVE_ACK ? SYNACK_ : SYN_)
                : s->flags & NAIVE_FIN ? FIN_
                : s->flags & NAIVE_ACK ? ACK_
                                       : NONE_;
    return KST_REASON_NONE;
}

/* The next option at or behind `*at`: its kind, where its contents are, and how long they are. */
static bool naive_option(const struct naive_segment *s, uint32_t *at, uint32_t *kind, const uint8_t **body,
                         uint32_t *bytes)
{
    while (*at < s->options_bytes && s->options[*at] == 1)
        ++*at;
    if (*at >= s->options_bytes || s->options[*at] == 0 || s->options_bytes - *at < 2)
        return false;
    const uint32_t length = s->options[*at + 1];
    if (length < 2 || length > s->options_bytes - *at)
        return false;
    *kind = s->options[*at];
    *body = s->options + *at + 2;
    *bytes = length - 2;
    *at += length;
    return true;
}

/* What a SYN offers. One without any options changes nothing. */
static void naive_syn_options(const struct naive_segment *s, struct naive_side *side)
{
    uint32_t at = 0, kind, bytes;
    const uint8_t *body;
    if (s->options_bytes == 0)
        return;
    side->scale = 0;
    side->has_scale = side->sacks = side->close_init = side->unacked = side->has_maxack = false;
    while (naive_option(s, &at, &kind, &body, &bytes)) {
        if (kind == 4 && bytes == 0)
            side->sacks = true;
        if (kind == 3 && bytes == 1) {
            side->scale = body[0] < 14 ? body[0] : 14;
            side->has_scale = true;
        }
    }
}

/* The highest right edge of a SACK block, if it is beyond the acknowledgement. */
static uint32_t naive_sack(const struct naive_segment *s)
{
    static const uint8_t timestamp_only[] = {1, 1, 8, 10};
    uint32_t at = 0, kind, bytes, highest = s->ack;
    const uint8_t *body;
    if (s->options_bytes == 12 && memcmp(s->options, timestamp_only, 4) == 0)
        return highest;
    while (naive_option(s, &at, &kind, &body, &bytes))
        if (kind == 5 && bytes >= 8 && bytes % 8 == 0)
            for (uint32_t i = 0; i < bytes; i += 8)
                if (naive_after(naive_32(body + i + 4), highest))
                    highest = naive_32(body + i + 4);
    return highest;
}

/* The sender begins here. */
static void naive_side_begins(struct naive_side *sender, struct naive_side *receiver, const struct naive_segment *s,
                              uint32_t dir)
{
    sender->end = sender->maxend = s->end;
    sender->maxwin = s->win > 1 ? s->win : 1;
    naive_syn_options(s, sender);
    if (dir == KST_REPLY && !(sender->has_scale && receiver->has_scale))
        sender->scale = receiver->scale = 0;
}

/* Whether the segment lies in the windows. GOOD if so; else what that makes of it. */
enum naive_window { NAIVE_GOOD, NAIVE_IGNORE, NAIVE_INVALID };

static enum naive_window naive_in_window(const struct naive *n, struct naive_entry *e,
                                         const struct naive_segment *s, uint32_t dir, enum kst_reason *why)
{
    struct naive_tcp *tcp = &e->tcp;
    struct naive_side *sender = &tcp->side[dir], *receiver = &tcp->side[!dir];
    const bool syn = (s->flags & NAIVE_SYN) != 0, acks = (s->flags & NAIVE_ACK) != 0;
    const bool rst = (s->flags & NAIVE_RST) != 0;
    uint32_t seq = s->seq, end = s->end, ack = s->ack, sack = receiver->sacks ? naive_sack(s) : s->ack;
    uint32_t win = s->win;

    if (sender->maxwin == 0) {
        if (syn) {
            naive_side_begins(sender, receiver, s, dir);
            if (!acks)
                return NAIVE_GOOD; /* simultaneous open */
        } else { /* picked up in the middle: the other side is seen for the first time */
            sender->end = end;
            sender->maxwin = win << sender->scale > 1 ? win << sender->scale : 1;
            sender->maxend = end + sender->maxwin;
            if (receiver->maxwin == 0)
                receiver->end = receiver->maxend = sack;
            else if (sack == receiver->end + 1)
                receiver->end++; /* a keepalive was answered */
        }
    } else if (syn && naive_after(end, sender->end) &&
               (e->state == KST_TCP_SYN_SENT || e->state == KST_TCP_SYN_RECV)) {
        naive_side_begins(sender, receiver, s, dir); /* another initial sequence number */
        if (dir == KST_REPLY && !acks)
            return NAIVE_GOOD;
    }
    if (!acks || (rst && ack == 0))
        ack = sack = receiver->end;
    if (rst && seq == 0 && e->state == KST_TCP_SYN_SENT)
        seq = end = sender->end;

    /* The four limits */
    const bool liberal = naive_setting(n, e, NAIVE_LIBERAL) || sender->liberal;
    const uint32_t backlog = sender->maxwin > 66000 ? sender->maxwin : 66000;
    enum naive_window window = NAIVE_GOOD;
    *why = KST_REASON_NONE;
    if (naive_after(seq, sender->maxend)) {
        window = NAIVE_INVALID;
        *why = KST_REASON_TCP_SEQ_OVER;
        if (receiver->maxwin != 0 && !naive_before(end, sender->end - receiver->maxwin) &&
            !naive_before(sack, receiver->end - backlog) && !naive_after(sack, receiver->end) &&
            end - sender->maxend + 1 <= receiver->maxwin) {
            window = NAIVE_IGNORE;
            *why = KST_REASON_TCP_SEQ_JUST_OVER;
            sender->end = end;
            sender->unacked = true;
        }
    } else if (naive_after(sack, receiver->end)) {
        window = NAIVE_INVALID;
        *why = KST_REASON_TCP_ACK_OVER;
    } else if (receiver->maxwin != 0 && naive_before(end, sender->end - receiver->maxwin)) {
        window = NAIVE_IGNORE;
        *why = KST_REASON_TCP_SEQ_OLD;
    } else if (naive_before(sack, receiver->end - backlog)) {
        window = NAIVE_IGNORE;
        *why = KST_REASON_TCP_ACK_OLD;
    }
    if (window != NAIVE_GOOD) {
        if (!liberal)
            return window;
        *why = KST_REASON_NONE;
        return NAIVE_GOOD; /* and nothing is learned from it */
    }

    if (!syn)
        win <<= sender->scale;
    if (sender->maxwin < win + (sack - ack))
        sender->maxwin = win + (sack - ack);
    if (naive_after(end, sender->end)) {
        sender->end = end;
        sender->unacked = true;
    }
    if (acks && (!sender->has_maxack || naive_after(ack, sender->maxack))) {
        sender->maxack = ack;
        sender->has_maxack = true;
    }
    if (receiver->maxwin != 0 && naive_after(end, sender->maxend))
        receiver->maxwin += end - sender->maxend;
    if (!naive_before(sack + win, receiver->maxend))
        receiver->maxend = sack + win + (win == 0 ? 1 : 0);
    if (ack == receiver->end)
        receiver->unacked = false;

    if (s->class_ == ACK_) {
        if (tcp->last_dir == dir && tcp->last_seq == s->seq && tcp->last_ack == ack && tcp->last_end == end &&
            tcp->last_win == s->win) {
            if (tcp->retrans < 255)
                tcp->retrans++;
        } else {
            tcp->last_dir = dir;
            tcp->last_seq = s->seq;
            tcp->last_ack = ack;
            tcp->last_end = end;
            tcp->last_win = s->win;
            tcp->retrans = 0;
        }
    }
    return NAIVE_GOOD;
}

/* The first packet of a connection. */
static enum kst_reason naive_tcp_begins(const struct naive *n, struct naive_entry *e, const struct naive_segment *s)
{
    struct naive_side *sender = &e->tcp.side[0];
    e->tcp.last_class = NONE_;
    if (s->class_ == ACK_ && !naive_setting(n, e, NAIVE_LOOSE))
        return KST_REASON_TCP_PICKUP;
    if (s->class_ != SYN_ && s->class_ != ACK_)
        return KST_REASON_TCP_FIRST;
    sender->end = sender->maxend = s->end;
    sender->maxwin = s->win > 1 ? s->win : 1;
    if (s->class_ == SYN_) {
        naive_syn_options(s, sender);
    } else {
        sender->maxend += sender->maxwin;
        for (uint32_t dir = 0; dir < 2; dir++)
            e->tcp.side[dir].sacks = e->tcp.side[dir].liberal = true;
    }
    return KST_REASON_NONE;
}

/* Ignored: noted, for the SYN/ACK that may show that the two sides began anew. */
static struct naive_opinion naive_tcp_ignore(struct naive_entry *e, const struct naive_segment *s, uint32_t dir)
{
    struct naive_tcp *tcp = &e->tcp;
    tcp->last_class = s->class_;
    tcp->last_dir = dir;
    tcp->last_seq = s->seq;
    tcp->last_end = s->end;
    tcp->last_win = s->win;
    if (s->class_ == SYN_ && dir == KST_ORIGINAL) {
        struct naive_side offer = {0};
        naive_syn_options(s, &offer);
        tcp->last_scale = offer.scale;
        tcp->last_has_scale = offer.has_scale;
        tcp->last_sacks = offer.sacks;
        tcp->simultaneous = false;
        tcp->challenge = e->state == KST_TCP_LAST_ACK;
    }
    if (s->class_ == ACK_ && e->state == SS)
        tcp->last_ack = s->ack; /* the challenge ACK */
    return naive_says(NAIVE_KEEP, KST_REASON_TCP_IGNORED, 0);
}

/* An RST that the table lets through. True if it is to lie in the window. *state: what it leads to. */
static bool naive_rst_by_window(const struct naive *n, const struct naive_entry *e, const struct naive_segment *s,
                                uint32_t dir, uint32_t *state, bool *invalid)
{
    const struct naive_tcp *tcp = &e->tcp;
    const struct naive_side *other = &tcp->side[!dir];
    const bool safe = e->state == KST_TCP_ESTABLISHED && e->assured;
    *invalid = false;
    if (e->state >= KST_TCP_FIN_WAIT && e->state <= KST_TCP_CLOSE)
        return false;
    if (other->has_maxack && tcp->last_class != SYN_) {
        if (s->seq == 0 && !safe)
            return true;
        if (naive_before(s->seq, other->maxack) && !naive_setting(n, e, NAIVE_IGNORE_RST)) {
            *invalid = true;
            return false;
        }
        if (!safe || s->seq == other->maxack)
            return true;
        if (tcp->last_class == ACK_ && tcp->last_dir == dir && s->seq == tcp->last_end)
            return true;
        *state = e->state; /* it will have to be challenged */
    }
    const bool answers_syn = e->seen_reply && tcp->last_class == SYN_ && tcp->last_dir != dir;
    const bool answers_ack = !e->assured && tcp->last_class == ACK_;
    if ((answers_syn || answers_ack) && s->ack == tcp->last_end)
        return false;
    if (e->state == KST_TCP_SYN_SENT && tcp->last_class == ACK_ && tcp->last_dir == KST_REPLY &&
        s->seq == tcp->last_ack)
        return false;
    return true;
}

/* The SYN that was ignored was meant: its answer is here. */
static void naive_tcp_resync(struct naive_tcp *tcp, uint32_t dir)
{
    struct naive_side *sender = &tcp->side[dir], *receiver = &tcp->side[!dir];
    const bool liberal = sender->liberal;
    const uint32_t maxack = receiver->maxack;
    memset(receiver, 0, sizeof *receiver);
    receiver->maxack = maxack;
    receiver->end = receiver->maxend = tcp->last_end;
    receiver->maxwin = tcp->last_win > 1 ? tcp->last_win : 1;
    receiver->scale = tcp->last_scale;
    receiver->has_scale = tcp->last_has_scale;
    receiver->sacks = tcp->last_sacks;
    memset(sender, 0, sizeof *sender);
    sender->liberal = liberal;
}

static uint32_t naive_tcp_timeout(const struct naive *n, const struct naive_entry *e, uint32_t class_)
{
    static const uint8_t of_state[KST_TCP_STATES] = {
        [SS] = NAIVE_T_TCP_SS, [SR] = NAIVE_T_TCP_SR, [ES] = NAIVE_T_TCP_ES, [FW] = NAIVE_T_TCP_FW,
        [CW] = NAIVE_T_TCP_CW, [LA] = NAIVE_T_TCP_LA, [TW] = NAIVE_T_TCP_TW, [CL] = NAIVE_T_TCP_CL};
    const uint32_t state_s = e->state == S2 ? 120 : naive_setting(n, e, of_state[e->state]);
    const uint32_t retrans_s = naive_setting(n, e, NAIVE_T_TCP_RETRANS);
    const uint32_t unacked_s = naive_setting(n, e, NAIVE_T_TCP_UNACKED);
    const struct naive_tcp *tcp = &e->tcp;
    if (tcp->retrans >= naive_setting(n, e, NAIVE_RETRANS) && state_s > retrans_s)
        return retrans_s;
    if (class_ == RST_)
        return naive_setting(n, e, NAIVE_T_TCP_CL);
    if ((tcp->side[0].unacked || tcp->side[1].unacked) && state_s > unacked_s)
        return unacked_s;
    if (tcp->last_win == 0 && state_s > retrans_s)
        return retrans_s;
    return state_s;
}

static struct naive_opinion naive_tcp(const struct naive *n, struct naive_entry *e, const struct naive_packet *p,
                                      uint32_t dir, bool fresh)
{
    struct naive_tcp *tcp = &e->tcp;
    struct naive_segment s;
    enum kst_reason reason = naive_tcp_read(p, &s);
    if (reason == KST_REASON_NONE && fresh)
        reason = naive_tcp_begins(n, e, &s);
    if (reason != KST_REASON_NONE)
        return naive_says(NAIVE_REFUSE, reason, 0);

    const bool last_was_syn_of_other = tcp->last_class == SYN_ && tcp->last_dir != dir;
    uint32_t old = e->state, state = naive_tcp_table[dir][s.class_][old];
    bool by_window = true;
    if (state == IV)
        return naive_says(NAIVE_REFUSE, KST_REASON_TCP_STATE, 0);
    if (state == SS && (old == TW || old == CL)) {
        if (tcp->side[0].close_init || tcp->side[1].close_init ||
            (tcp->last_class == RST_ && tcp->last_dir == dir))
            return naive_says(NAIVE_REOPEN, KST_REASON_NONE, 0);
        state = IG;
    }
    if (state == IG) {
        if (s.class_ != SYNACK_ || !last_was_syn_of_other || tcp->last_end != s.ack)
            return naive_tcp_ignore(e, &s, dir);
        naive_tcp_resync(tcp, dir);
        old = SS;
        state = SR;
    }
    if (state == TW && old == LA && s.class_ == ACK_ && last_was_syn_of_other && tcp->challenge) {
        tcp->challenge = false;
        return naive_says(NAIVE_KEEP, KST_REASON_TCP_CHALLENGE, 0);
    }
    if (state == S2)
        tcp->simultaneous = true;
    if (state == SR && dir == KST_REPLY && s.class_ == ACK_ && tcp->simultaneous)
        state = ES;
    if (state == CL && s.class_ == RST_) {
        bool invalid;
        by_window = naive_rst_by_window(n, e, &s, dir, &state, &invalid);
        if (invalid)
            return naive_says(NAIVE_REFUSE, KST_REASON_TCP_RST_SEQ, 0);
        if (state != CL)
            reason = KST_REASON_TCP_RST_HELD;
    }
    if (by_window) {
        enum kst_reason why = KST_REASON_NONE;
        const enum naive_window window = naive_in_window(n, e, &s, dir, &why);
        if (window == NAIVE_IGNORE)
            return naive_says(NAIVE_KEEP, why, 0);
        if (window == NAIVE_INVALID) {
            const uint32_t unacked_s = naive_setting(n, e, NAIVE_T_TCP_UNACKED);
            const uint64_t left_ms = e->expires_ms - n->now_ms;
            if ((s.class_ == RST_ || s.class_ == FIN_) && e->assured && !e->fixed) {
                if ((tcp->last_class == RST_ || tcp->last_class == FIN_) && tcp->last_dir != dir) {
                    if (left_ms >= 120000 && left_ms > (uint64_t)unacked_s * 1000)
                        e->expires_ms = n->now_ms + (uint64_t)unacked_s * 1000;
                } else {
                    tcp->last_class = s.class_;
                    tcp->last_dir = dir;
                }
            }
            return naive_says(NAIVE_REFUSE, why, 0);
        }
    }

    tcp->last_class = s.class_;
    tcp->last_dir = dir;
    if (state == FW && old != FW)
        tcp->side[dir].close_init = true;
    e->state = state;
    uint32_t timeout_s = naive_tcp_timeout(n, e, s.class_);
    if (!e->seen_reply) {
        if (s.class_ == RST_)
            return naive_says(NAIVE_END, KST_REASON_TCP_REFUSED, 0);
        if (s.class_ == SYN_ && old == SS)
            return naive_says(NAIVE_KEEP, KST_REASON_TCP_SYN_AGAIN, 0);
        if (state == ES && timeout_s > naive_setting(n, e, NAIVE_T_TCP_UNACKED))
            timeout_s = naive_setting(n, e, NAIVE_T_TCP_UNACKED);
    } else if ((old == SR || old == ES) && state == ES) {
        e->assured = true;
    }
    return naive_says(NAIVE_REFRESH, reason, timeout_s);
}

/* ---- 5 SCTP ---- */

enum {
    NAIVE_DATA = 0, NAIVE_INIT = 1, NAIVE_INIT_ACK = 2, NAIVE_HEARTBEAT = 4, NAIVE_HEARTBEAT_ACK = 5,
    NAIVE_ABORT = 6, NAIVE_SHUTDOWN = 7, NAIVE_SHUTDOWN_ACK = 8, NAIVE_ERROR = 9, NAIVE_COOKIE_ECHO = 10,
    NAIVE_COOKIE_ACK = 11, NAIVE_SHUTDOWN_COMPLETE = 14
};

enum { NAIVE_INIT_BYTES = 20 }; /* an INIT or INIT-ACK must be there as far as its fixed part goes */

enum { /* as above: none, closed, cookie wait, echoed, established, shutdown sent, recd, ack sent, heartbeat */
    sNO = KST_SCTP_NONE, sCL = KST_SCTP_CLOSED, sCW = KST_SCTP_COOKIE_WAIT, sCE = KST_SCTP_COOKIE_ECHOED,
    sES = KST_SCTP_ESTABLISHED, sSS = KST_SCTP_SHUTDOWN_SENT, sSR = KST_SCTP_SHUTDOWN_RECD,
    sSA = KST_SCTP_SHUTDOWN_ACK_SENT, sHS = KST_SCTP_HEARTBEAT_SENT, sIV = IV
};

static const struct {
    uint8_t chunk, next[2][KST_SCTP_STATES];
} naive_sctp_table[] = {
    /*        NO   CL   CW   CE   ES   SS   SR   SA   HS */
    {NAIVE_INIT, {{sCL, sCL, sCW, sCE, sES, sCL, sCL, sSA, sCW},
                  {sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sIV}}},
    {NAIVE_INIT_ACK, {{sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sCL},
                      {sIV, sCW, sCW, sCE, sES, sSS, sSR, sSA, sIV}}},
    {NAIVE_ABORT, {{sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL},
                   {sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sIV}}},
    {NAIVE_SHUTDOWN, {{sCL, sCL, sCW, sCE, sSS, sSS, sSR, sSA, sCL},
                      {sIV, sCL, sCW, sCE, sSR, sSS, sSR, sSA, sIV}}},
    {NAIVE_SHUTDOWN_ACK, {{sSA, sCL, sCW, sCE, sES, sSA, sSA, sSA, sSA},
                          {sIV, sCL, sCW, sCE, sES, sSA, sSA, sSA, sIV}}},
    {NAIVE_ERROR, {{sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sCL},
                   {sIV, sCL, sCW, sCL, sES, sSS, sSR, sSA, sIV}}},
    {NAIVE_COOKIE_ECHO, {{sCL, sCL, sCE, sCE, sES, sSS, sSR, sSA, sCL},
                         {sIV, sCL, sCE, sCE, sES, sSS, sSR, sSA, sIV}}},
    {NAIVE_COOKIE_ACK, {{sCL, sCL, sCW, sES, sES, sSS, sSR, sSA, sCL},
                        {sIV, sCL, sCW, sES, sES, sSS, sSR, sSA, sIV}}},
    {NAIVE_SHUTDOWN_COMPLETE, {{sCL, sCL, sCW, sCE, sES, sSS, sSR, sCL, sCL},
                               {sIV, sCL, sCW, sCE, sES, sSS, sSR, sCL, sIV}}},
    {NAIVE_HEARTBEAT, {{sHS, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS},
                       {sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS}}},
    {NAIVE_HEARTBEAT_ACK, {{sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS},
                           {sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sES}}}};

static uint32_t naive_sctp_next(uint32_t state, uint32_t dir, uint32_t chunk)
{
    for (size_t i = 0; i < sizeof naive_sctp_table / sizeof naive_sctp_table[0]; i++)
        if (naive_sctp_table[i].chunk == chunk)
            return naive_sctp_table[i].next[dir][state];
    return state; /* of any other chunk nothing follows */
}

/* The next chunk: false at the end. `*at` is 12 at first. */
static bool naive_chunk(const struct naive_packet *p, uint32_t *at, const uint8_t **chunk, uint32_t *there)
{
    if (*at >= p->l4_bytes || p->l4_bytes - *at < 4)
        return false;
    *chunk = p->l4 + *at;
    *there = p->l4_bytes - *at; /* bytes that may be read */
    *at += (naive_16(*chunk + 2) + 3) / 4 * 4;
    return true;
}

/* Whether its chunks may stand together; seen[type] says which there are. */
static bool naive_sctp_chunks(const struct naive_packet *p, bool seen[256])
{
    uint32_t at = 12, count = 0, there;
    const uint8_t *chunk;
    bool alone = false;
    memset(seen, 0, 256);
    for (; naive_chunk(p, &at, &chunk, &there); count++) {
        const uint32_t type = chunk[0];
        const bool first = type == NAIVE_COOKIE_ECHO || type == NAIVE_COOKIE_ACK;
        alone = alone || type == NAIVE_INIT || type == NAIVE_INIT_ACK || type == NAIVE_SHUTDOWN_COMPLETE;
        if (naive_16(chunk + 2) == 0 || ((first || alone) && count > 0))
            return false;
        seen[type] = true;
    }
    return count > 0;
}

/* A first packet: what it may hold, and the tags it settles. */
static enum kst_reason naive_sctp_begins(struct naive_entry *e, const struct naive_packet *p, const bool seen[256])
{
    const uint32_t tag = naive_32(p->l4 + 4);
    uint32_t at = 12, there;
    const uint8_t *chunk;
    if (seen[NAIVE_ABORT] || seen[NAIVE_SHUTDOWN_COMPLETE] || seen[NAIVE_COOKIE_ACK])
        return KST_REASON_SCTP_FIRST;
    while (naive_chunk(p, &at, &chunk, &there)) {
        const uint32_t next = naive_sctp_next(sNO, KST_ORIGINAL, chunk[0]);
        if (next == sNO || next == sIV)
            return KST_REASON_SCTP_FIRST;
        if (chunk[0] == NAIVE_INIT) {
            if (tag != 0 || there < NAIVE_INIT_BYTES)
                return KST_REASON_SCTP_TAG;
            e->sctp.tag[KST_REPLY] = naive_32(chunk + 4);
        } else if (chunk[0] == NAIVE_HEARTBEAT) {
            e->sctp.tag[KST_ORIGINAL] = tag;
        } else if (chunk[0] == NAIVE_SHUTDOWN_ACK) {
            e->sctp.tag[KST_REPLY] = tag;
        }
    }
    return KST_REASON_NONE;
}

/* The tag of the packet, as this chunk of it wants it. *odd: a HEARTBEAT that is let through on trial. */
static bool naive_sctp_tag(struct naive_sctp *sctp, const uint8_t *chunk, uint32_t tag, uint32_t dir, bool data,
                           bool *odd)
{
    const bool own = tag == sctp->tag[dir], peers = tag == sctp->tag[!dir], t_bit = (chunk[1] & 1) != 0;
    switch (chunk[0]) {
    case NAIVE_INIT: return tag == 0;
    case NAIVE_ABORT:
    case NAIVE_SHUTDOWN_COMPLETE: return t_bit ? peers : own;
    case NAIVE_COOKIE_ECHO: return own;
    case NAIVE_HEARTBEAT:
    case NAIVE_HEARTBEAT_ACK:
        if (sctp->tag[dir] == 0) {
            sctp->tag[dir] = tag;
        } else if (own) {
            sctp->odd = false;
        } else if (data || *odd) {
            return false;
        } else if (chunk[0] == NAIVE_HEARTBEAT) {
            sctp->odd = *odd = true;
            sctp->odd_dir = dir;
        } else if (!sctp->odd || sctp->odd_dir == dir) {
            return false;
        } else { /* so it is on another path, or began anew */
            sctp->odd = false;
            sctp->tag[dir] = tag;
            sctp->tag[!dir] = 0;
        }
        return true;
    default: return true;
    }
}

/* INIT and INIT-ACK announce the tag of the other direction. */
static enum kst_reason naive_sctp_announce(struct naive_sctp *sctp, const uint8_t *chunk, uint32_t there, uint32_t dir,
                                           bool fresh)
{
    if (there < NAIVE_INIT_BYTES)
        return KST_REASON_SCTP_CHUNKS;
    const uint32_t tag = naive_32(chunk + 4);
    const bool other = sctp->tag[!dir] != 0 && sctp->tag[!dir] != tag;
    if (chunk[0] == NAIVE_INIT) {
        if (sctp->tag[!dir] != tag || fresh) {
            if (sctp->init[dir]) /* it insists: that of the other side has lost */
                sctp->init[!dir] = false;
            sctp->init[dir] = true;
        }
    } else if (other && (!sctp->init[!dir] || sctp->init[dir])) {
        return KST_REASON_SCTP_TAG;
    }
    sctp->tag[!dir] = tag;
    return KST_REASON_NONE;
}

static struct naive_opinion naive_sctp(const struct naive *n, struct naive_entry *e, const struct naive_packet *p,
                                       uint32_t dir, bool fresh)
{
    static const uint8_t timeouts[KST_SCTP_STATES] = {
        [sCL] = NAIVE_T_SCTP_CL, [sCW] = NAIVE_T_SCTP_CW, [sCE] = NAIVE_T_SCTP_CE, [sES] = NAIVE_T_SCTP_ES,
        [sSS] = NAIVE_T_SCTP_SS, [sSR] = NAIVE_T_SCTP_SR, [sSA] = NAIVE_T_SCTP_SA, [sHS] = NAIVE_T_SCTP_HS};
    struct naive_sctp *sctp = &e->sctp;
    bool seen[256], odd = false, again = false;
    uint32_t at = 12, there;
    const uint8_t *chunk;
    if (p->l4_bytes < 12)
        return naive_says(NAIVE_REFUSE, KST_REASON_L4_SHORT, 0);
    if (!naive_crc_right(p))
        return naive_says(NAIVE_REFUSE, KST_REASON_SCTP_CHECKSUM, 0);
    if (!naive_sctp_chunks(p, seen))
        return naive_says(NAIVE_REFUSE, KST_REASON_SCTP_CHUNKS, 0);
    if (fresh) {
        const enum kst_reason reason = naive_sctp_begins(e, p, seen);
        if (reason != KST_REASON_NONE)
            return naive_says(NAIVE_REFUSE, reason, 0);
    }
    const uint32_t tag = naive_32(p->l4 + 4);
    if (!seen[NAIVE_INIT] && !seen[NAIVE_SHUTDOWN_COMPLETE] && !seen[NAIVE_COOKIE_ECHO] && !seen[NAIVE_ABORT] &&
        !seen[NAIVE_SHUTDOWN_ACK] && !seen[NAIVE_HEARTBEAT] && !seen[NAIVE_HEARTBEAT_ACK] && tag != sctp->tag[dir])
        return naive_says(NAIVE_REFUSE, KST_REASON_SCTP_TAG, 0);

    while (naive_chunk(p, &at, &chunk, &there)) {
        const bool was_odd = odd;
        if (!naive_sctp_tag(sctp, chunk, tag, dir, seen[NAIVE_DATA], &odd))
            return naive_says(NAIVE_REFUSE, KST_REASON_SCTP_TAG, 0);
        if (odd && !was_odd)
            continue;
        const uint32_t next = naive_sctp_next(e->state, dir, chunk[0]);
        if (next == sIV)
            return naive_says(NAIVE_REFUSE, KST_REASON_SCTP_STATE, 0);
        if (chunk[0] == NAIVE_INIT || chunk[0] == NAIVE_INIT_ACK) {
            const enum kst_reason reason = naive_sctp_announce(sctp, chunk, there, dir, fresh);
            if (reason != KST_REASON_NONE)
                return naive_says(NAIVE_REFUSE, reason, 0);
        }
        if (chunk[0] == NAIVE_COOKIE_ACK)
            sctp->init[0] = sctp->init[1] = false;
        if (chunk[0] == NAIVE_INIT && e->state == sCL && !fresh)
            again = true;
        if (next == sES && e->state != sES)
            e->assured = true;
        e->state = next;
    }
    if (odd)
        return naive_says(NAIVE_KEEP, KST_REASON_SCTP_HEARTBEAT, 0);
    if (again)
        return naive_says(NAIVE_KEEP, KST_REASON_SCTP_INIT_AGAIN, 0);
    return naive_says(NAIVE_REFRESH, KST_REASON_NONE, naive_setting(n, e, timeouts[e->state]));
}

/* ---- 6 The others ---- */

static struct naive_opinion naive_udp(const struct naive *n, struct naive_entry *e, const struct naive_packet *p)
{
    if (p->l4_bytes < 8)
        return naive_says(NAIVE_REFUSE, KST_REASON_L4_SHORT, 0);
    const uint32_t length = naive_16(p->l4 + 4);
    if (length < 8 || length > p->l4_bytes)
        return naive_says(NAIVE_REFUSE, KST_REASON_UDP_LENGTH, 0);
    if (naive_16(p->l4 + 6) != 0 && !naive_sum_right(p, p->l4_bytes, 17))
        return naive_says(NAIVE_REFUSE, KST_REASON_UDP_CHECKSUM, 0);
    if (!e->assured && (!e->seen_reply || n->now_ms <= e->stream_ms))
        return naive_says(NAIVE_REFRESH, KST_REASON_NONE, naive_setting(n, e, NAIVE_T_UDP));
    e->assured = true;
    return naive_says(NAIVE_REFRESH, KST_REASON_NONE, naive_setting(n, e, NAIVE_T_UDP_STREAM));
}

static struct naive_opinion naive_udplite(const struct naive *n, struct naive_entry *e, const struct naive_packet *p)
{
    if (p->l4_bytes < 8)
        return naive_says(NAIVE_REFUSE, KST_REASON_L4_SHORT, 0);
    const uint32_t says = naive_16(p->l4 + 4), covered = says != 0 ? says : p->l4_bytes;
    if (covered < 8 || covered > p->l4_bytes)
        return naive_says(NAIVE_REFUSE, KST_REASON_UDPLITE_COVERAGE, 0);
    if (naive_16(p->l4 + 6) == 0)
        return naive_says(NAIVE_REFUSE, KST_REASON_UDPLITE_NO_CHECKSUM, 0);
    if (!naive_sum_right(p, covered, n->set[0][NAIVE_UDPLITE] ? 136 : 17)) /* Linux sums it as UDP */
        return naive_says(NAIVE_REFUSE, KST_REASON_UDPLITE_CHECKSUM, 0);
    e->assured = e->assured || e->seen_reply;
    return naive_says(NAIVE_REFRESH, KST_REASON_NONE,
                      naive_setting(n, e, e->seen_reply ? NAIVE_T_UDP_STREAM : NAIVE_T_UDP));
}

static struct naive_opinion naive_gre(const struct naive *n, struct naive_entry *e, bool fresh)
{
    if (fresh) {
        e->gre_s[0] = naive_setting(n, e, NAIVE_T_GRE);
        e->gre_s[1] = naive_setting(n, e, NAIVE_T_GRE_STREAM);
    }
    e->assured = e->assured || e->seen_reply;
    return naive_says(NAIVE_REFRESH, KST_REASON_NONE, e->gre_s[e->seen_reply]);
}

static struct naive_opinion naive_icmp(const struct naive *n, const struct naive_entry *e, bool fresh)
{
    const uint32_t protocol = e->tuple[0].protocol, type = e->tuple[0].dst_port >> 8;
    const bool question = protocol == 1 ? type == 8 || type == 13 || type == 15 || type == 17
                                        : type == 128 || type == 139;
    if ((protocol == 1) != (e->tuple[0].family == KST_IPV4))
        return naive_says(NAIVE_REFUSE, KST_REASON_ICMP_FAMILY, 0);
    if (!question && (fresh || protocol == 1))
        return naive_says(NAIVE_REFUSE, KST_REASON_ICMP_UNASKED, 0);
    return naive_says(NAIVE_REFRESH, KST_REASON_NONE,
                      naive_setting(n, e, protocol == 1 ? NAIVE_T_ICMP : NAIVE_T_ICMPV6));
}

static struct naive_opinion naive_judge(const struct naive *n, struct naive_entry *e, const struct naive_packet *p,
                                        uint32_t dir, bool fresh)
{
    switch (p->tuple.protocol) {
    case 6: return naive_tcp(n, e, p, dir, fresh);
    case 17: return naive_udp(n, e, p);
    case 136: return naive_udplite(n, e, p);
    case 132: return naive_sctp(n, e, p, dir, fresh);
    case 47: return naive_gre(n, e, fresh);
    case 1:
    case 58: return naive_icmp(n, e, fresh);
    default: return naive_says(NAIVE_REFRESH, KST_REASON_NONE, naive_setting(n, e, NAIVE_T_GENERIC));
    }
}

/* ---- 7 Errors: ICMP messages about other packets ---- */

/* An error belongs to the connection of the packet that it carries, if it goes to who sent that. */
static void naive_error(struct naive *n, const struct naive_packet *p, struct kst_result *r)
{
    struct naive_packet inner;
    struct kst_tuple inverse;
    uint32_t direction;
    memset(&inner, 0, sizeof inner);
    inner.ip = p->l4 + 8;
    inner.tuple.zone = p->tuple.zone;
    const enum kst_reason reason = p->tuple.family == KST_IPV4 ? naive_read_4(&inner, p->l4_bytes - 8, true)
                                                               : naive_read_6(&inner, p->l4_bytes - 8, true);
    r->reason = KST_REASON_ICMP_INNER;
    if (reason != KST_REASON_NONE || !naive_invert(&inner.tuple, &inverse))
        return;
    const struct naive_entry *e = naive_find(n, &inverse, &direction);
    r->reason = KST_REASON_ICMP_UNRELATED;
    if (e == NULL)
        return;
    r->reason = KST_REASON_ICMP_MISDIRECTED;
    if (memcmp(inverse.dst, p->tuple.dst, 16) != 0)
        return;
    r->reason = KST_REASON_NONE;
    r->state = KST_RELATED;
    r->direction = (uint8_t)direction;
    r->entry = e->name;
}

/* Whether a packet, of its family's own ICMP, is an error. */
static bool naive_is_error(const struct naive_packet *p)
{
    const uint32_t type = p->l4[0];
    return p->tuple.protocol == 1 ? type == 3 || type == 4 || type == 5 || type == 11 || type == 12 : type < 128;
}

/* What ICMP of its own family is before anything is looked up. True if it is done with. */
static bool naive_icmp_first(struct naive *n, const struct naive_packet *p, struct kst_result *r)
{
    static const uint8_t untracked[] = {130, 131, 132, 133, 134, 135, 136, 143, 151, 152};
    const bool v4 = p->tuple.protocol == 1;
    const uint32_t type = p->l4[0];
    if (!naive_sum_right(p, p->l4_bytes, v4 ? 0 : 58)) {
        r->reason = KST_REASON_ICMP_CHECKSUM;
        return true;
    }
    if (v4 && type > 18) {
        r->reason = KST_REASON_ICMP_TYPE;
        return true;
    }
    for (size_t i = 0; i < sizeof untracked && !v4; i++)
        if (type == untracked[i]) {
            r->state = KST_UNTRACKED;
            return true;
        }
    if (naive_is_error(p)) {
        naive_error(n, p, r);
        return true;
    }
    return false;
}

/* ---- 8 A packet ---- */

static struct naive_entry *naive_newcomer(struct naive *n, struct naive_entry *e)
{
    n->entry[n->count] = *e;
    e = &n->entry[n->count++];
    e->name = ++n->names;
    naive_reclass(n, e, true);
    return e;
}

/* A connection in the table gets its packet. */
static void naive_settle(struct naive *n, struct naive_entry *e, const struct naive_packet *p, uint32_t dir,
                         const struct naive_opinion *opinion, struct kst_result *r)
{
    if (e->accounted && opinion->action != NAIVE_KEEP) {
        e->packets[dir]++;
        e->bytes[dir] += p->ip_bytes;
    }
    if (opinion->action == NAIVE_REFRESH && !e->fixed)
        e->expires_ms = n->now_ms + (uint64_t)opinion->timeout_s * 1000;
    r->state = dir == KST_REPLY || e->seen_reply ? KST_ESTABLISHED : e->expected ? KST_RELATED : KST_NEW;
    r->direction = (uint8_t)dir;
    r->entry = e->name;
    if (opinion->reason != KST_REASON_NONE)
        r->reason = (uint16_t)opinion->reason;
    if (dir == KST_REPLY)
        e->seen_reply = true;
    naive_reclass(n, e, false);
    if (opinion->action == NAIVE_END) {
        naive_remove(n, (uint32_t)(e - n->entry), KST_GONE_CLOSED);
        r->flags = KST_CLOSED;
    }
}

/* A first packet: judged before room is made for it. */
static void naive_first(struct naive *n, const struct kst_packet *packet, const struct naive_packet *p,
                        struct kst_result *r)
{
    struct naive_entry fresh, *e;
    memset(&fresh, 0, sizeof fresh);
    fresh.tuple[0] = p->tuple;
    fresh.policy = packet->policy;
    if (!naive_invert(&p->tuple, &fresh.tuple[1])) {
        r->reason = KST_REASON_ICMP_NO_ANSWER;
        return;
    }
    fresh.accounted = n->set[0][NAIVE_ACCT] != 0;
    fresh.timestamped = n->set[0][NAIVE_TIMESTAMP] != 0;
    fresh.born_ms = n->now_ms;
    fresh.stream_ms = n->now_ms + 2000;
    const struct naive_opinion opinion = naive_judge(n, &fresh, p, KST_ORIGINAL, true);
    if (opinion.action == NAIVE_REFUSE) {
        r->reason = (uint16_t)opinion.reason;
        return;
    }
    r->reason = (uint16_t)naive_limit(n, &p->tuple);
    if (r->reason != KST_REASON_NONE) {
        r->verdict = KST_DROP;
        return;
    }
    if (n->no_place) {
        r->reason = KST_REASON_CHAIN_TOO_LONG;
        r->verdict = KST_DROP;
        return;
    }
    const bool half_open = naive_half_open(n);
    if (n->count >= n->set[0][NAIVE_MAX] || n->crowded || half_open) {
        if (!naive_evict(n, half_open)) {
            r->reason = half_open ? KST_REASON_HALF_OPEN_FULL : KST_REASON_TABLE_FULL;
            r->verdict = KST_DROP;
            return;
        }
        r->reason = half_open ? KST_REASON_HALF_OPEN_EVICTED : KST_REASON_TABLE_EVICTED;
    }
    e = naive_newcomer(n, &fresh);
    naive_settle(n, e, p, KST_ORIGINAL, &opinion, r);
    n->created++;
    r->flags = KST_CREATED;
}

static void naive_judge_packet(struct naive *n, const struct kst_packet *packet, struct kst_result *r)
{
    struct naive_packet p;
    uint32_t dir;
    memset(r, 0, sizeof *r);
    r->direction = KST_NO_DIRECTION;
    if (packet->flags & KST_PACKET_NOTRACK) {
        r->state = KST_UNTRACKED;
        return;
    }
    naive_read(n, packet, &p);
    r->reason = (uint16_t)p.reason;
    if (p.reason != KST_REASON_NONE)
        return;
    if (naive_types(p.tuple.protocol) && (p.tuple.protocol == 1) == (p.tuple.family == KST_IPV4) &&
        naive_icmp_first(n, &p, r))
        return;
    struct naive_entry *e = naive_find(n, &p.tuple, &dir);
    if (e != NULL) {
        const struct naive_opinion opinion = naive_judge(n, e, &p, dir, false);
        if (opinion.action == NAIVE_REFUSE) { /* it may have left its mark all the same */
            r->reason = (uint16_t)opinion.reason;
            naive_reclass(n, e, false);
        } else if (opinion.action != NAIVE_REOPEN) {
            naive_settle(n, e, &p, dir, &opinion, r);
        } else {
            naive_remove(n, (uint32_t)(e - n->entry), KST_GONE_REPLACED);
            e = NULL;
        }
    }
    if (e == NULL)
        naive_first(n, packet, &p, r);
}

static void naive_track(struct naive *n, uint64_t now_ms, const struct kst_packet *packet, struct kst_result *r)
{
    naive_clock(n, now_ms);
    naive_judge_packet(n, packet, r);
    n->reasons[r->reason]++;
    naive_clock(n, now_ms); /* a timeout of 0 is over at once */
}

/* ---- 9 Calls: as their namesakes in core/api.h ---- */

static enum kst_error naive_set(struct naive *n, uint32_t policy, const char *name, uint32_t value)
{
    for (uint32_t i = 0; i < NAIVE_SET; i++)
        if (strcmp(naive_settings[i].name, name) == 0) {
            const bool timeout = naive_settings[i].high == 8589934;
            if (policy >= NAIVE_POLICIES || (policy > 0 && !timeout))
                return KST_ERROR_POLICY;
            if (value < naive_settings[i].low || value > (i == NAIVE_MAX ? n->room : naive_settings[i].high))
                return KST_ERROR_SETTING_RANGE;
            if ((i == NAIVE_ACCT && value != 0 && !(n->features & KST_WITH_ACCOUNTING)) ||
                (i == NAIVE_TIMESTAMP && value != 0 && !(n->features & KST_WITH_TIMESTAMPS)) ||
                ((i == NAIVE_SOURCE || i == NAIVE_ZONE) && value != 0 && !(n->features & KST_WITH_LIMITS)))
                return KST_ERROR_SETTING_FEATURE;
            n->set[policy][i] = value;
            n->owned[policy][i] = policy > 0;
            for (uint32_t other = 1; other < NAIVE_POLICIES && policy == 0; other++)
                if (!n->owned[other][i])
                    n->set[other][i] = value;
            return KST_ERROR_OK;
        }
    return KST_ERROR_SETTING_NAME;
}

static inline bool naive_take_out(struct naive *n, uint64_t name, enum kst_cause cause)
{
    const struct naive_entry *e = naive_named(n, name);
    if (e != NULL)
        naive_remove(n, (uint32_t)(e - n->entry), cause);
    return e != NULL;
}

static inline bool naive_delete(struct naive *n, uint64_t name)
{
    return naive_take_out(n, name, KST_GONE_DELETED);
}

static inline bool naive_refuse(struct naive *n, const struct kst_result *r)
{
    return (r->flags & KST_CREATED) && naive_take_out(n, r->entry, KST_GONE_REFUSED);
}

static inline void naive_flush(struct naive *n)
{
    while (n->count > 0)
        naive_remove(n, n->count - 1, KST_GONE_DELETED);
}

static inline uint32_t naive_class_count(const struct naive *n, uint32_t class_)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->count; i++)
        count += n->entry[i].class_ == class_;
    return count;
}

/* A connection from outside; its soundness is the caller's business, its tuples mirror each other. */
static inline uint64_t naive_insert(struct naive *n, const struct kst_flow *flow, enum kst_error *why)
{
    struct naive_entry e;
    uint32_t dir;
    *why = KST_ERROR_FLOW_EXISTS;
    if (naive_find(n, &flow->tuple[0], &dir) != NULL)
        return 0;
    *why = KST_ERROR_FULL;
    if (n->count >= n->set[0][NAIVE_MAX] || n->crowded)
        return 0;
    *why = KST_ERROR_LIMIT;
    if (naive_limit(n, &flow->tuple[0]) != KST_REASON_NONE ||
        (!(flow->status & KST_ASSURED) && naive_half_open(n)))
        return 0;
    *why = KST_ERROR_OK;
    memset(&e, 0, sizeof e);
    memcpy(e.tuple, flow->tuple, sizeof e.tuple);
    e.expires_ms = n->now_ms + flow->timeout_ms;
    e.seen_reply = (flow->status & KST_SEEN_REPLY) != 0;
    e.assured = (flow->status & KST_ASSURED) != 0;
    e.fixed = (flow->status & KST_FIXED_TIMEOUT) != 0;
    e.expected = (flow->status & KST_EXPECTED) != 0;
    e.mark = flow->mark;
    e.state = flow->state;
    e.policy = flow->policy;
    e.accounted = flow->accounted;
    if (e.accounted) {
        memcpy(e.packets, flow->packets, sizeof e.packets);
        memcpy(e.bytes, flow->bytes, sizeof e.bytes);
    }
    e.timestamped = flow->timestamped;
    e.born_ms = flow->age_ms <= n->now_ms ? n->now_ms - flow->age_ms : 0;
    if (n->features & KST_WITH_LABELS)
        memcpy(e.labels, flow->labels, sizeof e.labels);
    if (flow->tuple[0].protocol == 47) {
        e.gre_s[0] = flow->gre_timeouts_s[0] != 0 ? flow->gre_timeouts_s[0] : naive_setting(n, &e, NAIVE_T_GRE);
        e.gre_s[1] = flow->gre_timeouts_s[1] != 0 ? flow->gre_timeouts_s[1]
                                                  : naive_setting(n, &e, NAIVE_T_GRE_STREAM);
    }
    if (flow->tuple[0].protocol == 132)
        memcpy(e.sctp.tag, flow->sctp_tags, sizeof e.sctp.tag);
    e.tcp.last_class = NONE_;
    for (dir = 0; dir < 2; dir++)
        e.tcp.side[dir].sacks = e.tcp.side[dir].liberal = true;
    n->inserted++;
    return naive_newcomer(n, &e)->name;
}

/* A copy of a connection, as kst_get hands it out; its id is the tag. */
static inline void naive_flow(const struct naive *n, const struct naive_entry *e, struct kst_flow *flow)
{
    memset(flow, 0, sizeof *flow);
    flow->id = e->tag;
    memcpy(flow->tuple, e->tuple, sizeof e->tuple);
    flow->timeout_ms = e->expires_ms - n->now_ms;
    memcpy(flow->packets, e->packets, sizeof e->packets);
    memcpy(flow->bytes, e->bytes, sizeof e->bytes);
    flow->mark = e->mark;
    flow->status = (uint16_t)(KST_CONFIRMED | (e->expected ? KST_EXPECTED : 0) | (e->seen_reply ? KST_SEEN_REPLY : 0) |
                              (e->assured ? KST_ASSURED : 0) | (e->fixed ? KST_FIXED_TIMEOUT : 0));
    flow->state = (uint8_t)e->state;
    flow->accounted = e->accounted;
    memcpy(flow->gre_timeouts_s, e->gre_s, sizeof e->gre_s);
    memcpy(flow->sctp_tags, e->sctp.tag, sizeof e->sctp.tag);
    flow->timestamped = e->timestamped;
    flow->age_ms = e->timestamped ? n->now_ms - e->born_ms : 0;
    memcpy(flow->labels, e->labels, sizeof e->labels);
    flow->policy = (uint8_t)e->policy;
}

#endif
