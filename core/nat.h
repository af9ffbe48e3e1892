/* SPDX-License-Identifier: MIT */
/* core/nat.h - what a connection's answers will look like: addresses and ports from a range, taken
 * so that they are nobody else's.
 *
 * Enters: a newcomer, not in the table yet, and a range. Leaves: its reply tuple, and bits that say
 * what was decided. The search for a port looks at no more than 248 of them. Numbers that Linux draws
 * at random come from the table's seed; the address out of several by our own hash. */
#ifndef KST_NAT_H
#define KST_NAT_H

#include "table.h"

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
