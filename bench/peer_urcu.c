/* SPDX-License-Identifier: MIT */
/* bench/peer_urcu.c - liburcu's rculfhash, by one thread. What it has removed is freed at once: nobody
 * else reads (the flavour is QSBR, which leaves readers nothing to do). */
#include "peers.h"

#include <stdlib.h>
#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

/* The thread is a reader while there is any table. */
static void reading(int more)
{
    static int tables;
    if (tables == 0)
        urcu_qsbr_register_thread();
    tables += more;
    if (tables == 0)
        urcu_qsbr_unregister_thread();
}

#define URCU_PEER(NAME, KEY)                                                                       \
    struct NAME##_item {                                                                           \
        struct cds_lfht_node node;                                                                 \
        struct KEY key;                                                                            \
        uint64_t value;                                                                            \
    };                                                                                             \
    static int NAME##_same(struct cds_lfht_node *node, const void *key)                            \
    {                                                                                              \
        return memcmp(&caa_container_of(node, struct NAME##_item, node)->key, key,                 \
                      sizeof(struct KEY)) == 0;                                                    \
    }                                                                                              \
    static void *NAME##_make(uint32_t max)                                                         \
    {                                                                                              \
        reading(1);                                                                                \
        return cds_lfht_new_flavor(max, max, max, 0, &urcu_qsbr_flavor, NULL);                     \
    }                                                                                              \
    static inline struct NAME##_item *NAME##_item_of(void *table, const struct KEY *key)           \
    {                                                                                              \
        struct cds_lfht_iter at;                                                                   \
        cds_lfht_lookup((struct cds_lfht *)table, peer_hash(key, sizeof *key), NAME##_same, key, &at); \
        struct cds_lfht_node *node = cds_lfht_iter_get_node(&at);                                  \
        return node == NULL ? NULL : caa_container_of(node, struct NAME##_item, node);             \
    }                                                                                              \
    static void NAME##_unmake(void *table)                                                         \
    {                                                                                              \
        struct cds_lfht_iter at;                                                                   \
        struct cds_lfht_node *node;                                                                \
        cds_lfht_for_each((struct cds_lfht *)table, &at, node)                                     \
        {                                                                                          \
            cds_lfht_del((struct cds_lfht *)table, node);                                          \
            free(caa_container_of(node, struct NAME##_item, node));                                \
        }                                                                                          \
        cds_lfht_destroy((struct cds_lfht *)table, NULL);                                          \
        reading(-1);                                                                               \
    }                                                                                              \
    static inline bool NAME##_add(void *table, const struct KEY *key, uint64_t value)              \
    {                                                                                              \
        struct NAME##_item *item = (struct NAME##_item *)malloc(sizeof *item);                     \
        cds_lfht_node_init(&item->node);                                                           \
        item->key = *key;                                                                          \
        item->value = value;                                                                       \
        return cds_lfht_add_unique((struct cds_lfht *)table, peer_hash(key, sizeof *key),          \
                                   NAME##_same, key, &item->node) == &item->node;                  \
    }                                                                                              \
    static inline bool NAME##_remove(void *table, const struct KEY *key)                           \
    {                                                                                              \
        struct NAME##_item *item = NAME##_item_of(table, key);                                     \
        if (item == NULL || cds_lfht_del((struct cds_lfht *)table, &item->node) != 0)              \
            return false;                                                                          \
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
    PEER_LOOPS(NAME, "rculfhash", KEY, NULL, NULL)

URCU_PEER(urcu16, key16)
URCU_PEER(urcu40, key40)
