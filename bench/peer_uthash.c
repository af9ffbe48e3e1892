/* SPDX-License-Identifier: MIT */
/* bench/peer_uthash.c - uthash, with the hash it brings: an allocation a key. */
#include "peers.h"

#include <stdlib.h>
#include <uthash.h>

#define UTHASH_PEER(NAME, KEY)                                                                     \
    struct NAME##_item {                                                                           \
        struct KEY key;                                                                            \
        uint64_t value;                                                                            \
        UT_hash_handle hh;                                                                         \
    };                                                                                             \
    static void *NAME##_make(uint32_t max)                                                         \
    {                                                                                              \
        (void)max; /* it grows */                                                                  \
        return calloc(1, sizeof(struct NAME##_item *));                                            \
    }                                                                                              \
    static void NAME##_unmake(void *table)                                                         \
    {                                                                                              \
        struct NAME##_item **head = (struct NAME##_item **)table, *item, *next;                    \
        HASH_ITER(hh, *head, item, next)                                                           \
        {                                                                                          \
            HASH_DEL(*head, item);                                                                 \
            free(item);                                                                            \
        }                                                                                          \
        free(head);                                                                                \
    }                                                                                              \
    static inline struct NAME##_item *NAME##_item_of(void *table, const struct KEY *key)           \
    {                                                                                              \
        struct NAME##_item **head = (struct NAME##_item **)table, *item;                           \
        HASH_FIND(hh, *head, key, sizeof *key, item);                                              \
        return item;                                                                               \
    }                                                                                              \
    static inline bool NAME##_add(void *table, const struct KEY *key, uint64_t value)              \
    {                                                                                              \
        struct NAME##_item **head = (struct NAME##_item **)table, *item;                           \
        if (NAME##_item_of(table, key) != NULL)                                                    \
            return false;                                                                          \
        item = (struct NAME##_item *)malloc(sizeof *item);                                         \
        item->key = *key;                                                                          \
        item->value = value;                                                                       \
        HASH_ADD(hh, *head, key, sizeof item->key, item);                                          \
        return true;                                                                               \
    }                                                                                              \
    static inline bool NAME##_remove(void *table, const struct KEY *key)                           \
    {                                                                                              \
        struct NAME##_item **head = (struct NAME##_item **)table;                                  \
        struct NAME##_item *item = NAME##_item_of(table, key);                                     \
        if (item == NULL)                                                                          \
            return false;                                                                          \
        HASH_DEL(*head, item);                                                                     \
        free(item);                                                                                \
        return true;                                                                               \
    }                                                                                              \
    static inline bool NAME##_find(void *table, const struct KEY *key, uint64_t *value)            \
    {                                                                                              \
        const struct NAME##_item *item = NAME##_item_of(table, key);                               \
        if (item == NULL)                                                                          \
            return false;                                                                          \
        *value = item->value;                                                                      \
        return true;                                                                               \
    }                                                                                              \
    PEER_LOOPS(NAME, "uthash", KEY, NULL, NULL)

UTHASH_PEER(uthash16, key16)
UTHASH_PEER(uthash40, key40)
