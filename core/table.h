/* SPDX-License-Identifier: MIT */
/* core/table.h - the life of an entry: confirmed, refreshed, removed; and who goes when it is full.
 *
 * Here the back ends meet. What lies on a packet's way takes the kit as an argument, a constant that
 * folds. */
#ifndef KST_TABLE_H
#define KST_TABLE_H

#include "index_chain.h"
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

/* The class that an entry belongs to by what is known of it now. */
KST_INLINE uint8_t kst__class_of(const struct kst__entry *e)
{
    if (!(e->status & KST_ASSURED))
        return e->status & KST_SEEN_REPLY ? KST_CLASS_REPLIED : KST_CLASS_UNREPLIED;
    const bool tcp = e->tuple.protocol == KST__TCP, sctp = e->tuple.protocol == KST__SCTP;
    const bool closing =
        (tcp && e->state >= KST_TCP_FIN_WAIT && e->state <= KST_TCP_CLOSE) ||
        (sctp && e->state >= KST_SCTP_SHUTDOWN_SENT && e->state <= KST_SCTP_SHUTDOWN_ACK_SENT);
    return closing ? KST_CLASS_CLOSING : KST_CLASS_ASSURED;
}

KST_INLINE void kst__reclass(struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    const uint8_t number = kst__class_of(e);
    if (KST_UNLIKELY((e->kind & KST__KIND_CLASS) != number)) {
        kst__class_leave(t, slot);
        kst__class_join(t, slot, number);
    }
}

/* Gives an entry a new expiry. Its timer moves only if it would come too late. */
KST_INLINE void kst__expire_at(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                               uint64_t expires_ms)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    const bool sooner = expires_ms < e->expires_ms;
    e->expires_ms = expires_ms;
    if (KST_UNLIKELY(sooner && !kst__before(e->armed, kst__beat(expires_ms)))) {
        kit->timer->disarm(kst__timer(t), slot);
        kit->timer->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    }
}

KST_INLINE uint64_t kst__reply_hash(const struct kst *t, uint32_t slot)
{
    return kst__tuple_hash(kst__reply_tuple(t, slot), t->seed);
}

/* Takes an entry that is not armed out of the rest. `counter`, in the statistics, tells why. */
static void kst__unlink(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                        uint64_t *counter)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (e->kind & KST__KIND_NAT)
        kit->index->remove(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot));
    kit->index->remove(kst__index(t), slot, kst__tuple_hash(&e->tuple, t->seed));
    kst__class_leave(t, slot);
    kst__slot_give_back(t, slot);
    t->count--;
    *counter += 1;
}

static void kst__remove(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                        uint64_t *counter)
{
    kit->timer->disarm(kst__timer(t), slot);
    kst__unlink(t, kit, slot, counter);
}

/* Removes expired entries, all that `work` steps reach. Returns how many. */
KST_INLINE uint32_t kst__collect(struct kst *t, const struct kst__kit *kit, uint32_t *work)
{
    uint32_t collected = 0;
    for (;;) {
        const uint32_t slot = kit->timer->next(kst__timer(t), t, t->now_ms, work);
        if (slot == KST__NONE)
            return collected;
        kst__unlink(t, kit, slot, &t->stats.expired);
        collected++;
    }
}

/* Makes room for one more: by an expired entry if one is near, else by the oldest of the first
 * class that may be evicted. Returns TABLE_FULL if nobody may go, TABLE_EVICTED or NONE. */
static uint16_t kst__make_room(struct kst *t, const struct kst__kit *kit)
{
    uint32_t work = KST_COLLECT_MAX;
    if (kst__collect(t, kit, &work) > 0)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < KST_CLASSES && t->evict[i] != 0; i++) {
        const struct kst__class *class_ = &t->classes[t->evict[i] - 1];
        const uint32_t victim = class_->oldest;
        if (victim == KST__NONE)
            continue;
        if (kst__expired(t, victim)) { /* its time came, only the timer has not got there */
            kst__remove(t, kit, victim, &t->stats.expired);
            return KST_REASON_NONE;
        }
        const uint32_t stayed = kst__beat(t->now_ms) - kst__entry_at(t, victim)->joined;
        if ((uint64_t)stayed * KST__BEAT_MS < class_->residence_ms)
            continue;
        kst__remove(t, kit, victim, &t->stats.evicted);
        return KST_REASON_TABLE_EVICTED;
    }
    return KST_REASON_TABLE_FULL;
}

/* Frees a tuple that only an expired connection still holds; false if a live one has it. */
static bool kst__tuple_clear(struct kst *t, const struct kst__kit *kit,
                             const struct kst_tuple *tuple)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    const uint32_t node = kit->index->find(kst__index(t), t, &key);
    if (node == KST__NONE)
        return true;
    if (!kst__expired(t, kst__node_slot(t, node)))
        return false;
    kst__remove(t, kit, kst__node_slot(t, node), &t->stats.expired);
    return true;
}

/* An entry for this tuple, in a slot of its own but not in the table: kst__confirm puts it there,
 * kst__slot_give_back forgets it. */
static uint32_t kst__newcomer(struct kst *t, const struct kst_tuple *tuple)
{
    const uint32_t slot = kst__slot_take(t);
    struct kst__entry *e = kst__entry_at(t, slot);
    memset(e, 0, sizeof *e);
    e->tuple = *tuple;
    if (t->set[KST__SET_ACCT]) {
        e->kind = KST__KIND_ACCOUNTED;
        memset(kst__counters_at(t, slot), 0, sizeof(struct kst__counters));
    }
    return slot;
}

/* Makes a newcomer known to the index; its reply tuple stands ready if it is under NAT. Returns
 * false, with nothing changed, if the index has no place. */
static bool kst__index_in(struct kst *t, const struct kst__kit *kit, uint32_t slot, uint64_t hash)
{
    if (!kit->index->insert(kst__index(t), slot, hash))
        return false;
    if ((kst__entry_at(t, slot)->kind & KST__KIND_NAT) &&
        !kit->index->insert(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot))) {
        kit->index->remove(kst__index(t), slot, hash);
        return false;
    }
    return true;
}

/* Completes what kst__index_in began: from here on the newcomer is one of the table's. */
static void kst__confirm(struct kst *t, const struct kst__kit *kit, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    KST_ASSERT(t->count < t->capacity);
    t->count++;
    t->serial += t->serial == UINT32_MAX ? 2 : 1; /* 0 names nobody */
    e->serial = t->serial;
    e->status |= KST_CONFIRMED;
    kit->timer->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    kst__class_join(t, slot, kst__class_of(e));
}

/* Judged good: takes a newcomer in, if its tuples are its own, the index has a place and there is
 * room or can be made. NONE or TABLE_EVICTED if so, else why not, and nobody else has lost. */
static uint16_t kst__admit(struct kst *t, const struct kst__kit *kit, uint32_t slot,
                           const struct kst__key *key)
{
    uint16_t reason = KST_REASON_NONE;
    /* Without NAT a tuple and its inverse have one owner; with it another may own the inverse. */
    if ((t->features & KST_WITH_NAT) && !kst__tuple_clear(t, kit, &key->inverse))
        return KST_REASON_CLASH;
    if (!kst__index_in(t, kit, slot, key->hash))
        return KST_REASON_CHAIN_TOO_LONG;
    if (t->count >= t->set[KST__SET_MAX])
        reason = kst__make_room(t, kit);
    if (reason == KST_REASON_TABLE_FULL)
        kit->index->remove(kst__index(t), slot, key->hash);
    else
        kst__confirm(t, kit, slot);
    return reason;
}

KST_INLINE kst_id kst__id(const struct kst *t, uint32_t slot)
{
    return (kst_id)kst__entry_at(t, slot)->serial << 32 | slot;
}

/* The slot of a connection that is alive, KST__NONE for any other id. */
static uint32_t kst__slot(const struct kst *t, kst_id id)
{
    const uint32_t slot = (uint32_t)id;
    const bool alive = kst__live(t, slot) && kst__entry_at(t, slot)->serial == id >> 32 &&
                       !kst__expired(t, slot);
    return alive ? slot : KST__NONE;
}

#endif
