/* SPDX-License-Identifier: MIT */
/* core/table.h - the life of an entry: confirmed, refreshed, removed; and who goes when it is
 * full. */
#ifndef KST_TABLE_H
#define KST_TABLE_H

#include "event.h"
#include "expect.h"

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
KST_INLINE void kst__expire_at(struct kst *t, uint32_t slot,
                               uint64_t expires_ms)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    const bool sooner = expires_ms < e->expires_ms;
    e->expires_ms = expires_ms;
    if (KST_UNLIKELY(sooner && !kst__before(e->armed, kst__beat(expires_ms)))) {
        kst__timer_ops(t)->disarm(kst__timer(t), slot);
        kst__timer_ops(t)->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    }
}

KST_INLINE uint64_t kst__reply_hash(const struct kst *t, uint32_t slot)
{
    return kst__tuple_hash(kst__reply_tuple(t, slot), t->seed);
}

static void kst__foretells_no_more(struct kst *t, uint32_t slot);

/* Whether an entry has a zone of one direction. */
KST_INLINE bool kst__is_apart(const struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    return (e->kind & KST__KIND_NAT) && kst__reply_tuple(t, slot)->zone != e->tuple.zone;
}

/* The node that a key finds, KST__NONE if there is none. Where zones of one direction let a
 * tuple be that of one connection and the answer to another, the newer of them, as in Linux. */
KST_INLINE uint32_t kst__find(const struct kst *t, const struct kst__key *key)
{
    if (KST_LIKELY(t->apart == 0 || key->only != KST_NO_DIRECTION))
        return kst__index_ops(t)->find(kst__index(t), t, key);
    struct kst__key one_way = *key;
    uint32_t node[2];
    for (uint8_t i = 0; i < 2; i++) {
        one_way.only = i;
        node[i] = kst__index_ops(t)->find(kst__index(t), t, &one_way);
    }
    if (node[0] == KST__NONE || node[1] == KST__NONE)
        return node[0] == KST__NONE ? node[1] : node[0];
    const uint32_t serial[2] = {kst__entry_at(t, kst__node_slot(t, node[0]))->serial,
                                kst__entry_at(t, kst__node_slot(t, node[1]))->serial};
    return node[kst__before(serial[0], serial[1])];
}

/* Starts the lookup of a key; and goes on with it once the index has arrived, to the whole entry or
 * to what a find compares. */
KST_INLINE void kst__look_up(const struct kst *t, const struct kst__key *key)
{
    if (kst__index_ops(t)->prefetch != NULL)
        kst__index_ops(t)->prefetch(kst__index(t), key->hash);
}

KST_INLINE void kst__look_closer(const struct kst *t, const struct kst__key *key, bool whole)
{
    if (kst__index_ops(t)->peek == NULL)
        return;
    const uint32_t node = kst__index_ops(t)->peek(kst__index(t), key->hash);
    if (node == KST__NONE)
        return;
    kst__node_prefetch(t, node);
    if (whole)
        KST_PREFETCH(&kst__entry_at(t, kst__node_slot(t, node))->proto);
}

/* Takes an entry that is not armed out of the rest. One that was called back before it was
 * confirmed goes without a word. */
static void kst__unlink(struct kst *t, uint32_t slot,
                        enum kst_cause cause)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (KST_UNLIKELY(t->events_at != 0) && (e->status & KST_CONFIRMED))
        kst__tell_gone(t, slot, cause);
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP))
        kst__foretells_no_more(t, slot);
    if (KST_UNLIKELY(kst__is_apart(t, slot)))
        t->apart--;
    if (e->kind & KST__KIND_NAT)
        kst__index_ops(t)->remove(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot));
    kst__index_ops(t)->remove(kst__index(t), slot, kst__tuple_hash(&e->tuple, t->seed));
    kst__class_leave(t, slot);
    kst__slot_give_back(t, slot);
    t->count--;
    t->stats.gone[cause]++;
    if (KST_UNLIKELY(t->pressed))
        kst__tell_pressure(t);
}

static void kst__remove(struct kst *t, uint32_t slot,
                        enum kst_cause cause)
{
    kst__timer_ops(t)->disarm(kst__timer(t), slot);
    kst__unlink(t, slot, cause);
}

/* Ends the call that a PPTP session has announced, in one direction: the connection, if it has
 * begun, else the expectation. Whatever has these identifiers is taken for it, as in Linux; but
 * not the newcomer that room is being made for. */
static void kst__call_end(struct kst *t, uint32_t slot,
                          uint32_t direction)
{
    const uint16_t zones[2] = {kst__entry_at(t, slot)->tuple.zone, kst__reply_of(t, slot).zone};
    uint32_t node = KST__NONE;
    struct kst_tuple tuple;
    struct kst__key key;
    kst__call_tuple(t, slot, direction, &tuple);
    const uint32_t place = kst__expect_own(t, slot, &tuple);
    for (uint8_t i = 0; i < 2 && node == KST__NONE; i++) {
        tuple.zone = zones[i];
        kst__key_make(t, &tuple, &key);
        if (zones[0] != zones[1])
            key.only = i;
        node = kst__find(t, &key);
    }
    if (node != KST__NONE && (kst__entry_at(t, kst__node_slot(t, node))->status & KST_CONFIRMED))
        kst__remove(t, kst__node_slot(t, node), KST_GONE_CALLED_OFF);
    else if (place != KST__NONE)
        kst__expect_remove(t, place);
}

static void kst__calls_end(struct kst *t, uint32_t slot)
{
    kst__keys_remove(t, slot);
    kst__call_end(t, slot, KST_ORIGINAL);
    kst__call_end(t, slot, KST_REPLY);
}

/* All that an entry has foretold is off. */
static void kst__foretells_no_more(struct kst *t, uint32_t slot)
{
    const struct kst__help *help = kst__help_at(t, slot);
    if (help->calls)
        kst__calls_end(t, slot);
    while (help->newest != KST__NONE)
        kst__expect_remove(t, help->newest);
}

/* Removes expired entries, all that `work` steps reach. Returns how many. */
KST_INLINE uint32_t kst__collect(struct kst *t, uint32_t *work)
{
    uint32_t collected = 0;
    for (;;) {
        const uint32_t slot = kst__timer_ops(t)->next(kst__timer(t), t, t->now_ms, work);
        if (slot == KST__NONE)
            return collected;
        if (KST_UNLIKELY(slot >= kst__slots(t))) {
            kst__expect_unlink(t, slot - kst__slots(t));
            continue;
        }
        kst__unlink(t, slot, KST_GONE_EXPIRED);
        collected++;
    }
}

/* Makes room for one more: by an expired entry if one is near, else by the oldest of the first
 * class that may be evicted. Returns TABLE_FULL if nobody may go, TABLE_EVICTED or NONE. */
static uint16_t kst__make_room(struct kst *t)
{
    uint32_t work = KST_COLLECT_MAX;
    if (kst__collect(t, &work) > 0)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < KST_CLASSES && t->evict[i] != 0; i++) {
        const struct kst__class *class_ = &t->classes[t->evict[i] - 1];
        const uint32_t victim = class_->oldest;
        if (victim == KST__NONE)
            continue;
        if (kst__expired(t, victim)) { /* its time came, only the timer has not got there */
            kst__remove(t, victim, KST_GONE_EXPIRED);
            return KST_REASON_NONE;
        }
        const uint32_t stayed = kst__beat(t->now_ms) - kst__entry_at(t, victim)->joined;
        if ((uint64_t)stayed * KST__BEAT_MS < class_->residence_ms)
            continue;
        kst__remove(t, victim, KST_GONE_EVICTED);
        return KST_REASON_TABLE_EVICTED;
    }
    return KST_REASON_TABLE_FULL;
}

/* Frees a tuple that only an expired connection still holds; false if a live one has it, in the
 * direction `only`, or in any if that is KST_NO_DIRECTION. */
static bool kst__tuple_clear(struct kst *t, const struct kst_tuple *tuple, uint8_t only)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    key.only = only;
    for (;;) {
        const uint32_t node = kst__find(t, &key);
        if (node == KST__NONE)
            return true;
        if (!kst__expired(t, kst__node_slot(t, node)))
            return false;
        kst__remove(t, kst__node_slot(t, node), KST_GONE_EXPIRED);
    }
}

/* An entry for this tuple, in a slot of its own but not in the table: kst__confirm puts it there,
 * kst__slot_give_back forgets it. */
static uint32_t kst__newcomer(struct kst *t, const struct kst_tuple *tuple, uint8_t policy)
{
    const uint32_t slot = kst__slot_take(t);
    struct kst__entry *e = kst__entry_at(t, slot);
    memset(e, 0, sizeof *e);
    e->tuple = *tuple;
    if (t->set[KST__SET_ACCT]) {
        e->kind = KST__KIND_ACCOUNTED;
        memset(kst__counters_at(t, slot), 0, sizeof(struct kst__counters));
    }
    if (t->features & KST_WITH_LABELS)
        memset(kst__labels_at(t, slot), 0, sizeof(struct kst__label_bits));
    if (t->features & KST_WITH_TIMESTAMPS)
        *kst__birth_at(t, slot) = t->set[KST__SET_TIMESTAMP] ? t->now_ms : KST__NEVER;
    KST_ASSERT(policy <= KST_POLICIES);
    e->kind = (uint8_t)(e->kind | policy * KST__KIND_POLICY);
    return slot;
}

/* What an entry has to do with helpers, from now on if nothing so far. */
static struct kst__help *kst__help_of(const struct kst *t, uint32_t slot)
{
    struct kst__help *help = kst__help_at(t, slot);
    if (!(kst__entry_at(t, slot)->kind & KST__KIND_HELP)) {
        memset(help, 0, sizeof *help);
        help->newest = KST__NONE;
        kst__entry_at(t, slot)->kind |= KST__KIND_HELP;
    }
    return help;
}

/* Makes a newcomer known to the index; its reply tuple stands ready if it is under NAT. Returns
 * false, with nothing changed, if the index has no place. */
static bool kst__index_in(struct kst *t, uint32_t slot, uint64_t hash)
{
    if (!kst__index_ops(t)->insert(kst__index(t), slot, hash))
        return false;
    if ((kst__entry_at(t, slot)->kind & KST__KIND_NAT) &&
        !kst__index_ops(t)->insert(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot))) {
        kst__index_ops(t)->remove(kst__index(t), slot, hash);
        return false;
    }
    return true;
}

/* Completes what kst__index_in began: from here on the newcomer is one of the table's. */
static void kst__confirm(struct kst *t, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    KST_ASSERT(t->count < t->capacity);
    t->count++;
    t->serial += t->serial == UINT32_MAX ? 2 : 1; /* 0 names nobody */
    e->serial = t->serial;
    e->status |= KST_CONFIRMED;
    if (KST_UNLIKELY(kst__is_apart(t, slot)))
        t->apart++;
    kst__timer_ops(t)->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    kst__class_join(t, slot, kst__class_of(e));
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_pressure(t);
}

/* Judged good: takes a newcomer in, if its tuples are its own, the index has a place and there is
 * room or can be made. NONE or TABLE_EVICTED if so, else why not, and nobody else has lost. */
static uint16_t kst__admit(struct kst *t, uint32_t slot, uint64_t hash)
{
    uint16_t reason = KST_REASON_NONE;
    /* Without NAT a tuple and its inverse have one owner; with it another may own the inverse. A
     * zone of one direction parts it from what goes the other way. */
    if (t->features & KST_WITH_NAT) {
        const struct kst_tuple reply = kst__reply_of(t, slot);
        const bool apart = reply.zone != kst__entry_at(t, slot)->tuple.zone;
        if (!kst__tuple_clear(t, &reply, apart ? KST_REPLY : KST_NO_DIRECTION))
            return KST_REASON_CLASH;
    }
    if (!kst__index_in(t, slot, hash))
        return KST_REASON_CHAIN_TOO_LONG;
    if (t->count >= t->set[KST__SET_MAX])
        reason = kst__make_room(t);
    if (reason != KST_REASON_TABLE_FULL) {
        kst__confirm(t, slot);
        return reason;
    }
    if (kst__entry_at(t, slot)->kind & KST__KIND_NAT)
        kst__index_ops(t)->remove(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot));
    kst__index_ops(t)->remove(kst__index(t), slot, hash);
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
