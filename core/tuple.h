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
