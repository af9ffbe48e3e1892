/* SPDX-License-Identifier: MIT */
/* core/invariants.h - every invariant of the table, walked. Dumb and slow on purpose. */
#ifndef KST_INVARIANTS_H
#define KST_INVARIANTS_H

#include "defrag.h"
#include "table.h"

/* One entry, seen by itself. */
static const char *kst__check_entry(const struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    struct kst_tuple reply;
    if ((e->kind & KST__KIND_CLASS) != kst__class_of(e))
        return "entry: in the wrong class";
    if (!kst__status_sound(e->tuple.protocol, e->status))
        return "entry: ASSURED without a reply";
    if (!kst__state_sound(e->tuple.protocol, e->state))
        return "entry: not a state of its protocol";
    if (e->serial == 0)
        return "entry: without a serial number";
    if (!kst__tuple_invert(&e->tuple, &reply))
        return "entry: its tuple has no inverse";
    if ((e->kind & KST__KIND_NAT) && !(t->features & KST_WITH_NAT))
        return "entry: NAT without memory for it";
    if ((e->status & KST__NAT) && !(t->features & KST_WITH_NAT))
        return "entry: translated without memory for it";
    if ((e->status & (KST_SRC_NAT | KST_DST_NAT)) && !(e->kind & KST__KIND_NAT))
        return "entry: translated, and its tuples mirror each other";
    if ((e->kind & KST__KIND_HELP) && t->expect_at == 0)
        return "entry: helped without memory for it";
    if ((e->kind & KST__KIND_ACCOUNTED) && !(t->features & KST_WITH_ACCOUNTING))
        return "entry: counters without memory for them";
    return NULL;
}

/* That both tuples of an entry lead to it. */
static const char *kst__check_found(const struct kst *t, uint32_t slot)
{
    const struct kst_tuple reply = kst__reply_of(t, slot);
    struct kst__key key;
    kst__key_make(t, &kst__entry_at(t, slot)->tuple, &key);
    kst__key_only(&key, KST_ORIGINAL);
    const uint32_t original_node = kst__find(t, &key);
    if (original_node == KST__NONE || kst__node_slot(t, original_node) != slot)
        return "index: an entry is not found by its original tuple";
    kst__key_make(t, &reply, &key);
    kst__key_only(&key, KST_REPLY);
    const uint32_t reply_node = kst__find(t, &key);
    if (reply_node == KST__NONE || kst__node_slot(t, reply_node) != slot)
        return "index: an entry is not found by its reply tuple";
    return NULL;
}

static const char *kst__check_classes(const struct kst *t)
{
    uint32_t total = 0;
    for (uint8_t number = 0; number < KST_CLASSES; number++) {
        const struct kst__class *class_ = &t->classes[number];
        uint32_t older = KST__NONE, count = 0, age = UINT32_MAX;
        for (uint32_t slot = class_->oldest; slot != KST__NONE;) {
            if (!kst__live(t, slot) || ++count > t->count)
                return "class: a link leads astray";
            const struct kst__entry *e = kst__entry_at(t, slot);
            if ((e->kind & KST__KIND_CLASS) != number || e->older != older)
                return "class: neighbours disagree";
            if (!kst__expired(t, slot)) { /* of the expired nobody knows for how many years */
                if (kst__beat(t->now_ms) - e->joined > age)
                    return "class: not in the order of joining";
                age = kst__beat(t->now_ms) - e->joined;
            }
            older = slot;
            slot = e->newer;
        }
        if (class_->newest != older || class_->count != count)
            return "class: the count or the end is wrong";
        total += count;
    }
    return total == t->count ? NULL : "class: an entry is in none";
}

static const char *kst__check_all(const struct kst *t)
{
    const char *broken;
    uint32_t live = 0, bound = 0, tuples = 0, spare = 0, nodes = 0, armed = 0, apart = 0;
    uint32_t states[KST__PROTOCOLS + 1][KST_TCP_STATES] = {{0}};
    const struct kst_stats *s = &t->stats;
    if (t->used > kst__slots(t) || t->count > t->capacity)
        return "pool: more slots in use than there are";
    uint64_t gone = 0;
    for (uint32_t i = 0; i < KST_CAUSES; i++)
        gone += s->gone[i];
    if (s->created + s->inserted - gone != t->count)
        return "pool: who came and who went does not make who is there";
    /* The back ends first: nothing below can be walked if they lead astray. */
    if ((broken = kst__index_ops(t)->check(kst__index(t), t, &nodes)) != NULL ||
        (broken = kst__timer_ops(t)->check(kst__timer(t), t, &armed)) != NULL)
        return broken;
    for (uint32_t slot = t->free; slot != KST__NONE; slot = kst__entry_at(t, slot)->newer)
        if (slot >= t->used || kst__live(t, slot) || ++spare > t->used)
            return "pool: the free list leads astray";
    for (uint32_t slot = 0; slot < t->used; slot++) {
        if (!kst__live(t, slot))
            continue;
        if ((broken = kst__check_entry(t, slot)) != NULL ||
            (broken = kst__check_found(t, slot)) != NULL)
            return broken;
        if ((kst__entry_at(t, slot)->kind & KST__KIND_HELP) &&
            (broken = kst__expect_check_own(t, slot)) != NULL)
            return broken;
        const struct kst__entry *e = kst__entry_at(t, slot);
        states[kst__protocol_row(e->tuple.protocol)][e->state]++;
        live++;
        bound += (kst__entry_at(t, slot)->status & KST_SRC_NAT_DONE) != 0;
        tuples += kst__has_original_node(t, slot);
        tuples += (kst__entry_at(t, slot)->kind & KST__KIND_NAT) != 0;
        apart += kst__is_apart(t, slot);
    }
    if (apart != t->apart)
        return "entry: zones of one direction are counted wrong";
    if (t->pending != KST__NONE && (t->pending >= t->used || kst__live(t, t->pending)))
        return "pool: what is pending is in the table";
    if (live != t->count || live + spare + (t->pending != KST__NONE) != t->used)
        return "pool: a slot is lost";
    if (memcmp(states, t->states, sizeof states) != 0)
        return "pool: the states are counted wrong";
    if (t->sources_at != 0 && (broken = kst__source_check(t, bound)) != NULL)
        return broken;
    if (t->tallies_at != 0 && (broken = kst__tallies_check(t)) != NULL)
        return broken;
    if (t->defrag_at != 0 && (broken = kst__defrag_check(t)) != NULL)
        return broken;
    if (t->expect_at != 0 && (broken = kst__expect_check(t)) != NULL)
        return broken;
    if ((broken = kst__check_classes(t)) != NULL)
        return broken;
    if (nodes != tuples)
        return "index: it does not hold each entry once for each tuple of its own";
    if (t->expect_at != 0)
        armed -= kst__expectations_of(t)->count + kst__expectations_of(t)->keys;
    if (armed != live)
        return "timer: an entry is not armed";
    return NULL;
}

bool kst_check(const struct kst *t, const char **broken)
{
    const char *found = kst__check_all(t);
    if (broken != NULL)
        *broken = found;
    return found == NULL;
}

#endif
