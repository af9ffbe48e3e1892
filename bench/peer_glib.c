/* SPDX-License-Identifier: MIT */
/* bench/peer_glib.c - GLib's GHashTable: keys are allocated, values stand in the pointer. */
#include "peers.h"

#include <glib.h>
#include <stdlib.h>

#define GLIB_PEER(NAME, KEY)                                                                       \
    static guint NAME##_hash(gconstpointer key)                                                    \
    {                                                                                              \
        return (guint)peer_hash(key, sizeof(struct KEY));                                          \
    }                                                                                              \
    static gboolean NAME##_same(gconstpointer a, gconstpointer b)                                  \
    {                                                                                              \
        return memcmp(a, b, sizeof(struct KEY)) == 0;                                              \
    }                                                                                              \
    static void *NAME##_make(uint32_t max)                                                         \
    {                                                                                              \
        (void)max; /* it grows */                                                                  \
        return g_hash_table_new_full(NAME##_hash, NAME##_same, free, NULL);                        \
    }                                                                                              \
    static void NAME##_unmake(void *table)                                                         \
    {                                                                                              \
        g_hash_table_destroy((GHashTable *)table);                                                 \
    }                                                                                              \
    static inline bool NAME##_add(void *table, const struct KEY *key, uint64_t value)              \
    {                                                                                              \
        struct KEY *own = (struct KEY *)malloc(sizeof *own);                                       \
        *own = *key;                                                                               \
        return g_hash_table_insert((GHashTable *)table, own, (gpointer)(uintptr_t)value);          \
    }                                                                                              \
    static inline bool NAME##_remove(void *table, const struct KEY *key)                           \
    {                                                                                              \
        return g_hash_table_remove((GHashTable *)table, key);                                      \
    }                                                                                              \
    static inline bool NAME##_find(void *table, const struct KEY *key, uint64_t *value)            \
    {                                                                                              \
        gpointer found;                                                                            \
        if (!g_hash_table_lookup_extended((GHashTable *)table, key, NULL, &found))                 \
            return false;                                                                          \
        *value = (uint64_t)(uintptr_t)found;                                                       \
        return true;                                                                               \
    }                                                                                              \
    PEER_LOOPS(NAME, "glib", KEY, NULL, NULL)

GLIB_PEER(glib16, key16)
GLIB_PEER(glib40, key40)
