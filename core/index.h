/* SPDX-License-Identifier: MIT */
/* core/index.h - the contract of an index: from a tuple to the entry that has it.
 *
 * An index holds nodes (pool.h), each under a 64-bit hash. It owns `bytes` of memory at `ix`,
 * aligned to KST_ALIGN, refers to it by offsets only, and compares keys by kst__node_matches.
 * Every call has a bounded worst case, whatever was inserted.
 *   => bytes    memory for so many nodes and, as far as the index has such a thing, buckets.
 *   => init     makes it empty.
 *   => prefetch starts the memory access of a find with this hash. May be NULL.
 *   => peek     once that has arrived: the node that a find with this hash will look at, KST__NONE if
 *               none is in sight; starts the access to what else of the index it will want. A guess
 *               that may be wrong; nothing depends on it. May be NULL.
 *   => find     a node that matches, KST__NONE if there is none.
 *   => insert   false if there is no place: a named outcome (CHAIN_TOO_LONG), nothing is changed.
 *   => remove   of a node that is in it, under the hash it was inserted with.
 *   => check    NULL, or what is wrong in words; `nodes` counts what it holds. */
#ifndef KST_INDEX_H
#define KST_INDEX_H

#include "pool.h"

/* The hash that a node is in the index under. */
KST_INLINE uint64_t kst__node_hash(const struct kst *t, uint32_t node)
{
    return kst__tuple_hash(kst__node_tuple(t, node), t->seed);
}

/* Starts the access to all that a find looks at to compare a node. */
KST_INLINE void kst__node_prefetch(const struct kst *t, uint32_t node)
{
    const uint32_t slot = kst__node_slot(t, node);
    KST_PREFETCH(kst__entry_at(t, slot));
    if (KST_UNLIKELY(node != slot))
        KST_PREFETCH(kst__reply_tuple(t, slot));
}

struct kst_index_ops {
    const char *name;
    uint64_t (*bytes)(uint32_t nodes_max, uint32_t buckets);
    void (*init)(void *ix, uint32_t nodes_max, uint32_t buckets);
    void (*prefetch)(const void *ix, uint64_t hash);
    uint32_t (*peek)(const void *ix, uint64_t hash);
    uint32_t (*find)(const void *ix, const struct kst *t, const struct kst__key *key);
    bool (*insert)(void *ix, uint32_t node, uint64_t hash);
    void (*remove)(void *ix, uint32_t node, uint64_t hash);
    const char *(*check)(const void *ix, const struct kst *t, uint32_t *nodes);
};

#endif
