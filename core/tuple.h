/* SPDX-License-Identifier: MIT */
/* core/tuple.h - who talks to whom: comparing, inverting, hashing.
 *
 * A tuple and its inverse have the same hash, so a connection without NAT takes one node of the
 * index and is found from either direction. Next room: parse.h, which fills tuples in. */
#ifndef KST_TUPLE_H
#define KST_TUPLE_H

#include "hash.h"

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
        return kst__hash(seed, words, kst__is_icmp(tuple->protocol) ? 3 : 2);
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
    return kst__hash(seed, words, 5);
}

#endif
