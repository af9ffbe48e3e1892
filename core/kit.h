/* SPDX-License-Identifier: MIT */
/* core/kit.h - the back ends that were chosen, and where they lie. What lies on a packet's way
 * takes the kit as an argument, a constant that folds. */
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

struct kst__kit {
    const struct kst_index_ops *index;
    const struct kst_timer_ops *timer;
};

#define KST__PASTE_(a, b) a##b
#define KST__PASTE(a, b) KST__PASTE_(a, b)
static const struct kst__kit kst__kit = {&KST__PASTE(kst_index_, KST_INDEX),
                                         &KST__PASTE(kst_timer_, KST_TIMER)};

KST_INLINE void *kst__index(const struct kst *t)
{
    return kst__at(t, t->index_at);
}

KST_INLINE void *kst__timer(const struct kst *t)
{
    return kst__at(t, t->timer_at);
}

#endif
