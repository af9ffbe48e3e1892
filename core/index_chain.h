/* SPDX-License-Identifier: MIT */
/* core/index_chain.h - buckets of singly linked nodes, as Linux has it, but by number.
 *
 *     struct kst__chain | heads[buckets] | links[nodes]
 *
 * A link keeps 32 bits of its hash, so a walk looks at an entry only when it is (nearly) sure to
 * match. The low bits of the hash choose the bucket, the high ones are kept. */
#ifndef KST_INDEX_CHAIN_H
#define KST_INDEX_CHAIN_H

#include "index.h"

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
