/* SPDX-License-Identifier: MIT */
/* bench/peer_map.h - a C++ map as a peer. */
#include "peers.h"

template <class Key> struct hash_of {
    size_t operator()(const Key &key) const
    {
        return peer_hash(&key, sizeof key);
    }
};

template <class Key> struct same {
    bool operator()(const Key &a, const Key &b) const
    {
        return memcmp(&a, &b, sizeof a) == 0;
    }
};

#define PEER_MAP(NAME, TITLE, KEY, MAP)                                                            \
    using NAME##_map = MAP<KEY, uint64_t, hash_of<KEY>, same<KEY>>;                                \
    static void *NAME##_make(uint32_t max)                                                         \
    {                                                                                              \
        NAME##_map *map = new NAME##_map();                                                        \
        map->reserve(max);                                                                         \
        return map;                                                                                \
    }                                                                                              \
    static void NAME##_unmake(void *table)                                                         \
    {                                                                                              \
        delete static_cast<NAME##_map *>(table);                                                   \
    }                                                                                              \
    static inline bool NAME##_add(void *table, const KEY *key, uint64_t value)                     \
    {                                                                                              \
        return static_cast<NAME##_map *>(table)->emplace(*key, value).second;                      \
    }                                                                                              \
    static inline bool NAME##_remove(void *table, const KEY *key)                                  \
    {                                                                                              \
        return static_cast<NAME##_map *>(table)->erase(*key) == 1;                                 \
    }                                                                                              \
    static inline bool NAME##_find(void *table, const KEY *key, uint64_t *value)                   \
    {                                                                                              \
        NAME##_map *map = static_cast<NAME##_map *>(table);                                        \
        const auto at = map->find(*key);                                                           \
        if (at == map->end())                                                                      \
            return false;                                                                          \
        *value = at->second;                                                                       \
        return true;                                                                               \
    }                                                                                              \
    PEER_LOOPS(NAME, TITLE, KEY, nullptr, nullptr)
