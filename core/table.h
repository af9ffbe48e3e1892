/* SPDX-License-Identifier: MIT */
/* core/table.h - the life of an entry: confirmed, refreshed, removed; and who goes when it is
 * full. */
#ifndef KST_TABLE_H
#define KST_TABLE_H

#include "event.h"
#include "expect.h"
#include "limit.h"
#include "source.h"

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

KST_INLINE uint64_t kst__entry_hash(const struct kst *t, uint32_t slot)
{
    return kst__tuple_hash(&kst__entry_at(t, slot)->tuple, t->seed);
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

/* Whether the original tuple of an entry has a node of its own. Not if it is what the answers look like, too:
 * of a connection turned round to who began it. Linux takes all its packets for answers. */
KST_INLINE bool kst__has_original_node(const struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    return KST_LIKELY(!(e->kind & KST__KIND_NAT)) || !kst__tuple_same(kst__reply_tuple(t, slot), &e->tuple);
}

/* Takes an entry's nodes out of the index; `hash` is that of its original tuple. */
KST_INLINE void kst__index_out(struct kst *t, uint32_t slot, uint64_t hash)
{
    if (kst__entry_at(t, slot)->kind & KST__KIND_NAT) {
        kst__index_ops(t)->remove(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot));
        if (!kst__has_original_node(t, slot))
            return;
    }
    kst__index_ops(t)->remove(kst__index(t), slot, hash);
}

/* The node that a key finds, KST__NONE if there is none. Where zones of one direction let a tuple be that of one
 * connection and the answer to another: the newer of them, as in Linux, if it has not expired. */
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
    const uint32_t slot[2] = {kst__node_slot(t, node[0]), kst__node_slot(t, node[1])};
    if (kst__expired(t, slot[0]) != kst__expired(t, slot[1]))
        return node[kst__expired(t, slot[0])];
    return node[kst__before(kst__entry_at(t, slot[0])->serial, kst__entry_at(t, slot[1])->serial)];
}

/* Of a batch that goes by groups: how many are in one. */
KST_INLINE size_t kst__burst_size(size_t group, size_t count)
{
    const size_t left = count - group * KST_BURST;
    return left < KST_BURST ? left : KST_BURST;
}

/* Starts the lookup of a group's keys; and goes on with it once the index has arrived, to the whole
 * entries or to what a find compares. What is asked for stands in a row, with as little between as can
 * be: so the machine translates its addresses side by side, too. */
KST_INLINE void kst__look_up(const struct kst *t, const struct kst__key *keys, size_t count)
{
    for (size_t i = 0; kst__index_ops(t)->prefetch != NULL && i < count; i++)
        kst__index_ops(t)->prefetch(kst__index(t), keys[i].hash);
}

KST_INLINE void kst__look_closer(const struct kst *t, const struct kst__key *keys, size_t count,
                                 bool whole)
{
    const bool translated = whole && (t->features & KST_WITH_NAT);
    uint32_t nodes[KST_BURST];
    if (kst__index_ops(t)->peek == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        nodes[i] = kst__index_ops(t)->peek(kst__index(t), keys[i].hash);
    for (size_t i = 0; i < count; i++)
        if (nodes[i] != KST__NONE) {
            kst__node_prefetch(t, nodes[i]);
            if (whole)
                KST_PREFETCH(&kst__entry_at(t, kst__node_slot(t, nodes[i]))->proto);
            if (translated) /* what a packet is translated to */
                KST_PREFETCH(kst__reply_tuple(t, kst__node_slot(t, nodes[i])));
        }
}

/* Takes an entry that is not armed out of the rest. */
static void kst__unlink(struct kst *t, uint32_t slot, uint64_t hash, enum kst_cause cause)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_gone(t, slot, cause);
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP))
        kst__foretells_no_more(t, slot);
    if (KST_UNLIKELY(kst__is_apart(t, slot)))
        t->apart--;
    if (KST_UNLIKELY(e->status & KST_SRC_NAT_DONE))
        kst__source_leave(t, slot);
    kst__index_out(t, slot, hash);
    if (KST_UNLIKELY(t->tallies_at != 0)) {
        kst__tally_drop(t, &e->tuple, true);
        kst__tally_drop(t, &e->tuple, false);
    }
    *kst__census(t, e->tuple.protocol, e->state) -= 1;
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
    kst__unlink(t, slot, kst__entry_hash(t, slot), cause);
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
            kst__key_only(&key, i);
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

/* Takes expired entries that are not armed out, in a row: first all is asked for that will be
 * written. */
static void kst__unlink_expired(struct kst *t, const uint32_t *slots, uint32_t count)
{
    uint64_t hashes[KST_BURST];
    for (uint32_t i = 0; i < count; i++) {
        const struct kst__entry *e = kst__entry_at(t, slots[i]);
        hashes[i] = kst__entry_hash(t, slots[i]);
        if (kst__index_ops(t)->prefetch != NULL)
            kst__index_ops(t)->prefetch(kst__index(t), hashes[i]);
        if (e->older != KST__NONE)
            KST_PREFETCH(&kst__entry_at(t, e->older)->newer);
        if (e->newer != KST__NONE)
            KST_PREFETCH(&kst__entry_at(t, e->newer)->older);
    }
    for (uint32_t i = 0; i < count; i++)
        kst__unlink(t, slots[i], hashes[i], KST_GONE_EXPIRED);
}

/* Removes expired entries, all that `work` steps reach. Returns how many. One that has to do with
 * helpers may take others along: it goes by itself. */
static uint32_t kst__collect(struct kst *t, uint32_t *work)
{
    uint32_t slots[KST_BURST], waiting = 0, collected = 0;
    for (;;) {
        const uint32_t slot = kst__timer_ops(t)->next(kst__timer(t), t, t->now_ms, work);
        const bool entry = slot < kst__slots(t);
        const bool alone = !entry || (kst__entry_at(t, slot)->kind & KST__KIND_HELP);
        if (alone || waiting == KST_BURST) {
            kst__unlink_expired(t, slots, waiting);
            waiting = 0;
        }
        if (slot == KST__NONE)
            return collected;
        collected += entry;
        if (!alone)
            slots[waiting++] = slot;
        else if (entry)
            kst__unlink_expired(t, &slot, 1);
        else
            kst__expect_unlink(t, slot - kst__slots(t));
    }
}

/* Whether that is a lack of room, not a fault of the newcomer's. */
KST_INLINE bool kst__no_room(uint16_t reason)
{
    return reason == KST_REASON_TABLE_FULL || reason == KST_REASON_HALF_OPEN_FULL ||
           reason == KST_REASON_SOURCE_LIMIT || reason == KST_REASON_ZONE_LIMIT;
}

/* Why a newcomer cannot simply be let in, or NONE. None is ASSURED. */
KST_INLINE uint16_t kst__crowded(const struct kst *t)
{
    const uint64_t max = t->set[KST__SET_MAX], percent = t->set[KST__SET_HALF_OPEN_MAX];
    const uint64_t half_open =
        (uint64_t)t->classes[KST_CLASS_UNREPLIED].count + t->classes[KST_CLASS_REPLIED].count;
    if (KST_UNLIKELY(percent < 100 && half_open * 100 >= max * percent))
        return KST_REASON_HALF_OPEN_FULL;
    return t->count >= max ? KST_REASON_TABLE_FULL : KST_REASON_NONE;
}

/* How long a victim stayed in its class, in beats, for the statistics. */
static void kst__note_age(struct kst *t, uint32_t beats)
{
    uint32_t age = 0;
    for (; beats != 0 && age < KST_AGES - 1; age++)
        beats /= 2;
    t->stats.victim_ages[age]++;
}

/* Whoever is oldest now is probably the next victim: starts the access to what its removal will want,
 * and to who comes after it, whose turn that will be next time. */
static void kst__victims_ahead(const struct kst *t, uint32_t oldest)
{
    if (oldest == KST__NONE)
        return;
    const uint32_t then = kst__entry_at(t, oldest)->newer;
    if (kst__index_ops(t)->prefetch != NULL)
        kst__index_ops(t)->prefetch(kst__index(t), kst__entry_hash(t, oldest));
    if (kst__timer_ops(t)->peek != NULL)
        kst__timer_ops(t)->peek(kst__timer(t), oldest);
    if (then == KST__NONE)
        return;
    KST_PREFETCH(kst__entry_at(t, then));
    KST_PREFETCH(&kst__entry_at(t, then)->proto);
    if (kst__timer_ops(t)->prefetch != NULL)
        kst__timer_ops(t)->prefetch(kst__timer(t), then);
}

/* Makes room for one more: by an expired entry if one is near, else by the oldest of the first
 * class that may be evicted. Returns why there is none, or what was evicted for it, or NONE. */
static uint16_t kst__make_room(struct kst *t)
{
    uint32_t work = KST_COLLECT_MAX;
    if (KST_LIKELY(kst__crowded(t) == KST_REASON_NONE))
        return KST_REASON_NONE;
    const bool collected = kst__collect(t, &work) > 0; /* where max was lowered as many as leave are let in */
    const uint16_t crowded = kst__crowded(t);
    const bool half_open = crowded == KST_REASON_HALF_OPEN_FULL;
    if (collected && !half_open)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < KST_CLASSES && t->evict[i] != 0; i++) {
        const uint32_t number = t->evict[i] - 1u;
        const struct kst__class *class_ = &t->classes[number];
        const uint32_t victim = class_->oldest;
        if (victim == KST__NONE || (half_open && number > KST_CLASS_REPLIED))
            continue;
        if (kst__expired(t, victim)) { /* its time came, only the timer has not got there */
            kst__remove(t, victim, KST_GONE_EXPIRED);
            return KST_REASON_NONE;
        }
        const uint32_t stayed = kst__beat(t->now_ms) - kst__entry_at(t, victim)->joined;
        if ((uint64_t)stayed * KST__BEAT_MS < class_->residence_ms)
            continue;
        kst__remove(t, victim, KST_GONE_EVICTED);
        kst__note_age(t, stayed);
        kst__victims_ahead(t, class_->oldest);
        return half_open ? KST_REASON_HALF_OPEN_EVICTED : KST_REASON_TABLE_EVICTED;
    }
    return crowded;
}

/* What a newcomer is refused for because of what its source and its zone have, or NONE; of those that
 * have expired but not been collected some go first. */
static uint16_t kst__limited(struct kst *t, const struct kst_tuple *tuple)
{
    uint32_t work = KST_COLLECT_MAX;
    const uint16_t reason = kst__over_limit(t, tuple);
    return reason != KST_REASON_NONE && kst__collect(t, &work) > 0 ? kst__over_limit(t, tuple)
                                                                   : reason;
}

/* Frees a tuple that only an expired connection still holds; false if a live one has it, in the
 * direction `only`, or in any if that is KST_NO_DIRECTION. */
static bool kst__tuple_clear(struct kst *t, const struct kst_tuple *tuple, uint8_t only)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    kst__key_only(&key, only);
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
    const bool original = kst__has_original_node(t, slot);
    if (original && !kst__index_ops(t)->insert(kst__index(t), slot, hash))
        return false;
    if ((kst__entry_at(t, slot)->kind & KST__KIND_NAT) &&
        !kst__index_ops(t)->insert(kst__index(t), slot + kst__slots(t), kst__reply_hash(t, slot))) {
        if (original)
            kst__index_ops(t)->remove(kst__index(t), slot, hash);
        return false;
    }
    return true;
}

/* Gives a newcomer its serial number, unless it was named while it was pending. */
static void kst__name(struct kst *t, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    if (e->serial != 0)
        return;
    t->serial += t->serial == UINT32_MAX ? 2 : 1; /* 0 names nobody */
    e->serial = t->serial;
}

/* Completes what kst__index_in began: from here on the newcomer is one of the table's. */
static void kst__confirm(struct kst *t, uint32_t slot)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    KST_ASSERT(t->count < t->capacity);
    t->count++;
    kst__name(t, slot);
    e->status |= KST_CONFIRMED;
    *kst__census(t, e->tuple.protocol, e->state) += 1;
    if (KST_UNLIKELY(t->tallies_at != 0)) {
        kst__tally_add(t, &e->tuple, true);
        kst__tally_add(t, &e->tuple, false);
    }
    if (KST_UNLIKELY(kst__is_apart(t, slot)))
        t->apart++;
    if (KST_UNLIKELY(e->status & KST_SRC_NAT_DONE))
        kst__source_join(t, slot);
    kst__timer_ops(t)->arm(kst__timer(t), slot, kst__rearm_ms(t, slot));
    kst__class_join(t, slot, kst__class_of(e));
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_pressure(t);
}

/* Judged good: takes a newcomer in, if its tuples are its own, the index has a place and there is
 * room or can be made. It is CONFIRMED if so: the reason is NONE or who had to go; else why not, and
 * nobody has lost. */
static uint16_t kst__admit(struct kst *t, uint32_t slot, uint64_t hash)
{
    /* Without NAT a tuple and its inverse have one owner; with it another may own the inverse. A
     * zone of one direction parts it from what goes the other way. */
    if (t->features & KST_WITH_NAT) {
        const struct kst_tuple reply = kst__reply_of(t, slot);
        const bool apart = reply.zone != kst__entry_at(t, slot)->tuple.zone;
        if (!kst__tuple_clear(t, &reply, apart ? KST_REPLY : KST_NO_DIRECTION))
            return kst__entry_at(t, slot)->status & (KST_SRC_NAT | KST_DST_NAT)
                       ? KST_REASON_NAT_EXHAUSTED
                       : KST_REASON_CLASH;
    }
    if (KST_UNLIKELY(t->tallies_at != 0)) {
        const uint16_t limited = kst__limited(t, &kst__entry_at(t, slot)->tuple);
        if (limited != KST_REASON_NONE)
            return limited;
    }
    if (!kst__index_in(t, slot, hash))
        return KST_REASON_CHAIN_TOO_LONG;
    const uint16_t reason = kst__make_room(t);
    if (!kst__no_room(reason)) {
        kst__confirm(t, slot);
        return reason;
    }
    kst__index_out(t, slot, hash);
    return reason;
}

/* ---- pending: a newcomer that was judged but not confirmed ---- */

/* Lets a newcomer wait, if there is room or can be made: as in Linux before any rule has seen the
 * packet. NONE or who had to go, else why there is none. */
static uint16_t kst__pend(struct kst *t, uint32_t slot)
{
    uint16_t reason = KST_REASON_NONE;
    if (KST_UNLIKELY(t->tallies_at != 0))
        reason = kst__limited(t, &kst__entry_at(t, slot)->tuple);
    if (reason == KST_REASON_NONE)
        reason = kst__make_room(t);
    if (kst__no_room(reason))
        return reason;
    kst__name(t, slot);
    t->pending = slot;
    t->pending_ms = t->now_ms;
    return reason;
}

/* The packet that left something pending will not come through. */
static void kst__pending_drop(struct kst *t)
{
    const uint32_t closing = (uint32_t)t->closing;
    if (t->pending != KST__NONE)
        kst__slot_give_back(t, t->pending);
    if (t->closing != 0 && kst__live(t, closing) &&
        kst__entry_at(t, closing)->serial == t->closing >> 32)
        kst__remove(t, closing, KST_GONE_CLOSED);
    t->pending = KST__NONE;
    t->closing = 0;
}

/* Takes in what was pending; its time begins now. As kst__admit. */
static uint16_t kst__pending_admit(struct kst *t)
{
    const uint32_t slot = t->pending;
    struct kst__entry *e = kst__entry_at(t, slot);
    const uint64_t waited_ms = t->now_ms - t->pending_ms;
    const struct kst_tuple reply = kst__reply_of(t, slot);
    const uint8_t only = reply.zone != e->tuple.zone ? KST_ORIGINAL : KST_NO_DIRECTION;
    e->expires_ms = e->expires_ms <= UINT64_MAX - waited_ms ? e->expires_ms + waited_ms : UINT64_MAX;
    t->pending = KST__NONE;
    const uint16_t reason = kst__tuple_clear(t, &e->tuple, only)
                                ? kst__admit(t, slot, kst__tuple_hash(&e->tuple, t->seed))
                                : (uint16_t)KST_REASON_CLASH;
    if (!(e->status & KST_CONFIRMED))
        kst__slot_give_back(t, slot);
    return reason;
}

/* The slot of a connection that is alive, KST__NONE for any other id. */
static uint32_t kst__slot(const struct kst *t, kst_id id)
{
    const uint32_t slot = (uint32_t)id;
    const bool alive = kst__live(t, slot) && kst__entry_at(t, slot)->serial == id >> 32 &&
                       !kst__expired(t, slot);
    return alive ? slot : KST__NONE;
}

/* Likewise, or of one that is pending. */
static uint32_t kst__slot_known(const struct kst *t, kst_id id)
{
    const bool pending =
        t->pending != KST__NONE && (kst_id)kst__entry_at(t, t->pending)->serial << 32 == id - t->pending;
    return pending ? t->pending : kst__slot(t, id);
}

#endif
