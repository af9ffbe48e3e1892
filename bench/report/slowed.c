/* SPDX-License-Identifier: MIT */
/* slowed.c - kit.c with swiss/wheel once more, whose finds take some 20 ns longer: for trust.py, which
 * must notice. It goes under the name of what it slows. */
#define KST_STATIC
#define KST_IMPLEMENTATION
#define KST_INDEX slowed
#define KST_TIMER wheel
#include "index_swiss.h"

static uint32_t slowed_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    static volatile unsigned turns; /* stores: what a processor can't do beside everything else */
    for (int i = 0; i < 80; i++)
        turns++;
    return kst_index_swiss.find(ix, t, key);
}

static const struct kst_index_ops kst_index_slowed = {
    "swiss",     kst__groups_bytes,  kst__swiss_init,   kst__group_prefetch, kst__swiss_peek,
    slowed_find, kst__swiss_insert, kst__swiss_remove, kst__swiss_check,
};

#include "keepstate.h"
#undef KST_INDEX
#define KST_INDEX swiss
#include "../kit.c"
