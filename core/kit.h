/* SPDX-License-Identifier: MIT */
/* core/kit.h - the back ends there are, which of them a table has, and where they lie. With one
 * index and one timer, which is the default, their calls are known to the compiler and fold. */
#ifndef KST_KIT_H
#define KST_KIT_H

#include "index_chain.h"
#include "index_cuckoo.h"
#include "index_robin.h"
#include "index_swiss.h"
#include "timer_hashed.h"
#include "timer_heap.h"
#include "timer_lists.h"
#include "timer_wheel.h"

#ifdef KST_BACK_ENDS
#include KST_BACK_ENDS
#endif

#define KST__INDEX_OPS(name) &KST__PASTE(kst_index_, name),
#define KST__TIMER_OPS(name) &KST__PASTE(kst_timer_, name),
static const struct kst_index_ops *const kst__indexes[] = {KST_INDEXES(KST__INDEX_OPS)};
static const struct kst_timer_ops *const kst__timers[] = {KST_TIMERS(KST__TIMER_OPS)};

enum {
    KST__INDEXES = sizeof kst__indexes / sizeof kst__indexes[0],
    KST__TIMERS = sizeof kst__timers / sizeof kst__timers[0]
};

KST_INLINE const struct kst_index_ops *kst__index_ops(const struct kst *t)
{
    return kst__indexes[KST__INDEXES > 1 ? t->index : 0];
}

KST_INLINE const struct kst_timer_ops *kst__timer_ops(const struct kst *t)
{
    return kst__timers[KST__TIMERS > 1 ? t->timer : 0];
}

KST_INLINE void *kst__index(const struct kst *t)
{
    return kst__at(t, t->index_at);
}

KST_INLINE void *kst__timer(const struct kst *t)
{
    return kst__at(t, t->timer_at);
}

#endif
