/* SPDX-License-Identifier: MIT */
/* core/parse.h - bytes in, struct kst__parsed out.
 *
 * Reads only [data, data + size). Never follows a length it has not checked, never loops more than
 * KST_PARSE_EXT_MAX times, knows nothing of connections. Two lengths run through it: `bytes`, what
 * the IP header says there is, and `here`, what may be read; they differ only in a packet of which
 * the caller has just the front (KST_PACKET_HEAD). Next room: the protocols, which judge. */
#ifndef KST_PARSE_H
#define KST_PARSE_H

#include "checksum.h"
#include "tuple.h"

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
