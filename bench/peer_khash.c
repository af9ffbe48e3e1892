/* SPDX-License-Identifier: MIT */
/* bench/peer_khash.c - klib's khash, as htslib brings it. */
#include "peers.h"

#include <htslib/khash.h>

/* Its code is made here. */
#pragma GCC diagnostic ignored "-Wconversion"

#define KHASH_PEER(NAME, KEY)                                                                      \
    static inline khint_t NAME##_hash(struct KEY key)                                              \
    {                                                                                              \
        return (khint_t)peer_hash(&key, sizeof key);                                               \
    }                                                                                              \
    static inline int NAME##_same(struct KEY a, struct KEY b)                                      \
    {                                                                                              \
        return memcmp(&a, &b, sizeof a) == 0;                                                      \
    }                                                                                              \
    KHASH_INIT(NAME, struct KEY, uint64_t, 1, NAME##_hash, NAME##_same)                            \
    static void *NAME##_make(uint32_t max)                                                         \
    {                                                                                              \
        kh_##NAME##_t *table = kh_init_##NAME();                                                   \
        kh_resize_##NAME(table, max / 3 * 4);                                                      \
        return table;                                                                              \
    }                                                                                              \
    static void NAME##_unmake(void *table)                                                         \
    {                                                                                              \
        kh_destroy_##NAME((kh_##NAME##_t *)table);                                                 \
    }                                                                                              \
    static inline bool NAME##_add(void *at, const struct KEY *key, uint64_t value)                 \
    {                                                                                              \
        kh_##NAME##_t *table = (kh_##NAME##_t *)at;                                                \
        int how;                                                                                   \
        const khint_t place = kh_put_##NAME(table, *key, &how);                                    \
        kh_value(table, place) = value;                                                            \
        return how > 0;                                                                            \
    }                                                                                              \
    static inline bool NAME##_remove(void *at, const struct KEY *key)                              \
    {                                                                                              \
        kh_##NAME##_t *table = (kh_##NAME##_t *)at;                                                \
        const khint_t place = kh_get_##NAME(table, *key);                                          \
        if (place == kh_end(table))                                                                \
            return false;                                                                          \
        kh_del_##NAME(table, place);                                                               \
        return true;                                                                               \
    }                                                                                              \
    static inline bool NAME##_find(void *at, const struct KEY *key, uint64_t *value)               \
    {                                                                                              \
        kh_##NAME##_t *table = (kh_##NAME##_t *)at;                                                \
        const khint_t place = kh_get_##NAME(table, *key);                                          \
        if (place == kh_end(table))                                                                \
            return false;                                                                          \
        *value = kh_value(table, place);                                                           \
        return true;                                                                               \
    }                                                                                              \
    PEER_LOOPS(NAME, "khash", KEY, NULL, NULL)

KHASH_PEER(khash16, key16)
KHASH_PEER(khash40, key40)
