/* SPDX-License-Identifier: MIT */
/* core/rewrite.h - a packet in the caller's buffer gets other addresses and ports.
 *
 * Enters: bytes that were tracked, and which end is to be what. Leaves: the same bytes, of the same
 * size, whose checksums are as right as they were: changed by what has changed (RFC 1624). Only
 * SCTP's is computed anew. A packet that cannot be rewritten is left as it is. Knows nothing of
 * connections. */
#ifndef KST_REWRITE_H
#define KST_REWRITE_H

#include "parse.h"
#include "proto_icmp.h"
#include "proto_sctp.h"

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
