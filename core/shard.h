/* SPDX-License-Identifier: MIT */
/* core/shard.h - which of several tables a packet is for, by its two addresses alone. */
#ifndef KST_SHARD_H
#define KST_SHARD_H

#include "parse.h"
#include "proto_icmp.h"

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
