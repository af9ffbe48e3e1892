/* SPDX-License-Identifier: MIT */
/* core/timer.h - the contract of a timer: whose time has come.
 *
 * A packet that prolongs its connection only writes the new expiry into the entry; the timer finds
 * out when the old time comes round, by kst__rearm_ms. Only a shorter expiry moves it at once. A
 * timer owns `bytes` of memory at `tm`, aligned to KST_ALIGN, and refers to it by offsets only.
 * Its slots are those of the entries and, behind them, the places of expectations.
 *   => bytes    memory for so many slots.
 *   => init     makes it empty; its clock starts at `now_ms`.
 *   => arm      of a slot that is not armed, for `due_ms`, which may lie in the past.
 *   => disarm   of a slot that is armed.
 *   => next     moves the clock towards `now_ms`, which never goes back; returns a slot, no longer
 *               armed, whose entry has expired, or KST__NONE. Each step takes one from `work` and
 *               costs a constant, or a logarithm of what is armed; it may find nothing that has
 *               expired. KST__NONE with `work` left: nothing expired is left. In which order those
 *               come out that have expired is the timer's own affair.
 *   => check    NULL, or what is wrong in words; `armed` counts what it holds.
 *   => prefetch starts the memory access of disarming this slot, which is armed. May be NULL.
 *   => peek     once that has arrived: the access to what else it will want. May be NULL. */
#ifndef KST_TIMER_H
#define KST_TIMER_H

#include "pool.h"

struct kst_timer_ops {
    const char *name;
    uint64_t (*bytes)(uint32_t slots);
    void (*init)(void *tm, uint32_t slots, uint64_t now_ms);
    void (*arm)(void *tm, uint32_t slot, uint64_t due_ms);
    void (*disarm)(void *tm, uint32_t slot);
    uint32_t (*next)(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work);
    const char *(*check)(const void *tm, const struct kst *t, uint32_t *armed);
    void (*prefetch)(const void *tm, uint32_t slot);
    void (*peek)(const void *tm, uint32_t slot);
};

/* When an entry or an expectation expires; an entry notes it as what its timer is now set to. */
KST_INLINE uint64_t kst__rearm_ms(struct kst *t, uint32_t slot)
{
    const uint64_t expires_ms = kst__timed_expires_ms(t, slot);
    if (slot < kst__slots(t))
        kst__entry_at(t, slot)->armed = kst__beat(expires_ms);
    return expires_ms;
}

/* What kst__rearm_ms will ask of an entry that is next, if it is one, and who then removes it. */
KST_INLINE void kst__rearm_prefetch(const struct kst *t, uint32_t slot)
{
    if (slot < kst__slots(t)) {
        KST_PREFETCH(&kst__entry_at(t, slot)->expires_ms);
        KST_PREFETCH(&kst__entry_at(t, slot)->older);
    }
}

#endif
