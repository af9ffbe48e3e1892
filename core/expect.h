/* SPDX-License-Identifier: MIT */
/* core/expect.h - connections that others foretell.
 *
 * An expectation lies in a bucket by where it is expected to go, the newest first, and in the list
 * of its master. Looked at only when a connection begins, and then one bucket of at most
 * KST_EXPECT_CHAIN_MAX. What is expired, or has an expired master, is not found. */
#ifndef KST_EXPECT_H
#define KST_EXPECT_H

#include "event.h"
#include "kit.h"

static uint32_t kst__expect_buckets(uint32_t max)
{
    return kst__power_of_two(max);
}

static uint64_t kst__expect_places_at(uint32_t max)
{
    return kst__aligned(sizeof(struct kst__expectations) +
                        (uint64_t)kst__expect_buckets(max) * sizeof(uint32_t));
}

static uint64_t kst__expect_bytes(uint32_t max)
{
    return kst__expect_places_at(max) + (uint64_t)max * sizeof(struct kst__expected);
}

KST_INLINE uint32_t *kst__expect_buckets_of(const struct kst *t)
{
    return (uint32_t *)(kst__expectations_of(t) + 1);
}

static void kst__expect_init(struct kst *t)
{
    struct kst__expectations *all = kst__expectations_of(t);
    const uint32_t serial = all->serial; /* of a table that is emptied: ids must not come again */
    memset(all, 0, sizeof *all);
    all->serial = serial;
    all->places_at = kst__expect_places_at(t->expectations_max);
    all->buckets = kst__expect_buckets(t->expectations_max);
    all->free = KST__NONE;
    memset(kst__expect_buckets_of(t), 0xff, all->buckets * sizeof(uint32_t)); /* KST__NONE */
}

/* The bucket of all that goes to this place, from wherever. */
static uint32_t *kst__expect_bucket(const struct kst *t, const struct kst_tuple *tuple)
{
    const uint64_t words[3] = {kst__le64(tuple->dst), kst__le64(tuple->dst + 8),
                               (uint64_t)tuple->dst_port << 32 | (uint64_t)tuple->zone << 16 |
                                   (uint64_t)tuple->family << 8 | tuple->protocol};
    const uint64_t hash = kst__siphash(t->seed, words, 3, 1, 3);
    return &kst__expect_buckets_of(t)[hash & (kst__expectations_of(t)->buckets - 1)];
}

/* Whether a packet with this tuple may be the one; `loose`, KST_EXPECT_ANY_..., is what does not
 * count. */
static bool kst__expect_meets(const struct kst_tuple *a, const struct kst_tuple *b, uint32_t loose)
{
    return memcmp(a->dst, b->dst, sizeof a->dst) == 0 && a->dst_port == b->dst_port &&
           a->zone == b->zone && a->family == b->family && a->protocol == b->protocol &&
           ((loose & KST_EXPECT_ANY_SRC) || memcmp(a->src, b->src, sizeof a->src) == 0) &&
           ((loose & KST_EXPECT_ANY_SRC_PORT) || a->src_port == b->src_port);
}

/* What expects this packet, KST__NONE if nothing does. */
static uint32_t kst__expect_find(const struct kst *t, const struct kst_tuple *tuple)
{
    for (uint32_t place = *kst__expect_bucket(t, tuple); place != KST__NONE;) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if (!(x->flags & (KST_EXPECT_INACTIVE | KST__EXPECT_KEY)) && x->expires_ms > t->now_ms &&
            !kst__expired(t, x->master) && kst__expect_meets(&x->tuple, tuple, x->flags))
            return place;
        place = x->older;
    }
    return KST__NONE;
}

/* Takes out what is not armed any more. */
static void kst__expect_unlink(struct kst *t, uint32_t place)
{
    struct kst__expectations *all = kst__expectations_of(t);
    struct kst__expected *x = kst__expected_at(t, place);
    struct kst__help *help = kst__help_at(t, x->master);
    if (x->flags & KST__EXPECT_KEY) {
        all->keys--;
    } else {
        kst__tell_expectation(t, KST_EVENT_EXPECT_DESTROY, place);
        help->expecting[x->class_]--;
        all->count--;
        t->stats.expect_delete++;
    }
    if (x->newer == KST__NONE)
        *kst__expect_bucket(t, &x->tuple) = x->older;
    else
        kst__expected_at(t, x->newer)->older = x->older;
    if (x->older != KST__NONE)
        kst__expected_at(t, x->older)->newer = x->newer;
    if (x->own_newer == KST__NONE)
        help->newest = x->own_older;
    else
        kst__expected_at(t, x->own_newer)->own_older = x->own_older;
    if (x->own_older != KST__NONE)
        kst__expected_at(t, x->own_older)->own_newer = x->own_newer;
    x->serial = 0;
    x->older = all->free;
    all->free = place;
}

static void kst__expect_remove(struct kst *t, uint32_t place)
{
    kst__timer_ops(t)->disarm(kst__timer(t), kst__slots(t) + place);
    kst__expect_unlink(t, place);
}

/* Puts an expectation or a key where it belongs: there is a free place. */
static uint32_t kst__expect_link(struct kst *t, const struct kst__expected *is)
{
    struct kst__expectations *all = kst__expectations_of(t);
    struct kst__help *help = kst__help_at(t, is->master);
    uint32_t *bucket = kst__expect_bucket(t, &is->tuple);
    const uint32_t place = all->free != KST__NONE ? all->free : all->used++;
    struct kst__expected *x = kst__expected_at(t, place);
    if (place == all->free)
        all->free = x->older;
    *x = *is;
    all->serial += all->serial == UINT32_MAX ? 2 : 1; /* 0 says that the place is free */
    x->serial = all->serial;
    x->newer = x->own_newer = KST__NONE;
    x->older = *bucket;
    x->own_older = help->newest;
    if (x->older != KST__NONE)
        kst__expected_at(t, x->older)->newer = place;
    if (x->own_older != KST__NONE)
        kst__expected_at(t, x->own_older)->own_newer = place;
    *bucket = help->newest = place;
    kst__timer_ops(t)->arm(kst__timer(t), kst__slots(t) + place, x->expires_ms);
    return place;
}

KST_INLINE bool kst__expect_room(const struct kst *t)
{
    const struct kst__expectations *all = kst__expectations_of(t);
    return all->count + all->keys < t->expectations_max;
}

/* The oldest of a class of a master, that has one. */
static uint32_t kst__expect_oldest(const struct kst *t, uint32_t master, uint8_t class_)
{
    uint32_t oldest = KST__NONE;
    for (uint32_t place = kst__help_at(t, master)->newest; place != KST__NONE;
         place = kst__expected_at(t, place)->own_older)
        if (kst__expected_at(t, place)->class_ == class_ &&
            !(kst__expected_at(t, place)->flags & KST__EXPECT_KEY))
            oldest = place;
    return oldest;
}

/* Notes an expectation, of which at most `class_max` of its class may be its master's. What
 * would take the same packets must not be there; the same of the same master is replaced. */
static enum kst_error kst__expect_insert(struct kst *t, const struct kst__expected *is,
                                         uint32_t class_max)
{
    const uint32_t any = KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT;
    uint32_t met = 0;
    for (uint32_t place = *kst__expect_bucket(t, &is->tuple), older; place != KST__NONE;
         place = older) {
        const struct kst__expected *x = kst__expected_at(t, place);
        older = x->older;
        met++;
        if (x->flags & KST__EXPECT_KEY)
            continue;
        if (x->expires_ms <= t->now_ms || kst__expired(t, x->master)) { /* it only takes room */
            kst__expect_remove(t, place);
            met--;
            continue;
        }
        if (kst__tuple_same(&x->tuple, &is->tuple) && (x->flags & any) == (is->flags & any) &&
            (x->master == is->master || (is->flags & KST_EXPECT_ANY_MASTER))) {
            if (x->class_ != is->class_ || x->master != is->master)
                return KST_ERROR_EXPECT_EXISTS;
            kst__expect_remove(t, place);
            met--;
            break;
        }
        if (kst__expect_meets(&x->tuple, &is->tuple, (x->flags | is->flags) & any))
            return KST_ERROR_EXPECT_BUSY;
    }
    if (met >= KST_EXPECT_CHAIN_MAX)
        return KST_ERROR_EXPECT_FULL;
    struct kst__help *help = kst__help_at(t, is->master);
    if (help->expecting[is->class_] >= class_max)
        kst__expect_remove(t, kst__expect_oldest(t, is->master, is->class_));
    if (kst__expectations_of(t)->count >= t->set[KST__SET_EXPECT_MAX] || !kst__expect_room(t))
        return KST_ERROR_EXPECT_FULL;
    const uint32_t place = kst__expect_link(t, is);
    help->expecting[is->class_]++;
    kst__expectations_of(t)->count++;
    t->stats.expect_create++;
    kst__tell_expectation(t, KST_EVENT_EXPECT_NEW, place);
    return KST_ERROR_OK;
}

/* ---- keys: GRE version 1 names only the receiver's call; what the sender's is, PPTP told before ---- */

/* Completes the tuple of a GRE packet that names a call. If two sessions have told of it, the
 * first of them counts. */
static void kst__key_complete(const struct kst *t, struct kst_tuple *tuple)
{
    struct kst_tuple anywhere = *tuple;
    anywhere.zone = 0;
    if (t->expect_at == 0 || kst__expectations_of(t)->keys == 0)
        return;
    for (uint32_t place = *kst__expect_bucket(t, &anywhere); place != KST__NONE;) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if ((x->flags & KST__EXPECT_KEY) && !kst__expired(t, x->master) &&
            kst__expect_meets(&x->tuple, &anywhere, KST_EXPECT_ANY_SRC_PORT))
            tuple->src_port = x->tuple.src_port;
        place = x->older;
    }
}

/* What a master expects with this tuple, KST__NONE if nothing. */
static uint32_t kst__expect_own(const struct kst *t, uint32_t slot, const struct kst_tuple *tuple)
{
    uint32_t place = kst__help_at(t, slot)->newest;
    while (place != KST__NONE && ((kst__expected_at(t, place)->flags & KST__EXPECT_KEY) ||
                                  !kst__tuple_same(&kst__expected_at(t, place)->tuple, tuple)))
        place = kst__expected_at(t, place)->own_older;
    return place;
}

/* How many lie in the bucket. */
static uint32_t kst__expect_neighbours(const struct kst *t, const struct kst_tuple *tuple)
{
    uint32_t count = 0;
    for (uint32_t place = *kst__expect_bucket(t, tuple); place != KST__NONE;
         place = kst__expected_at(t, place)->older)
        count++;
    return count;
}

/* Makes a call's key known; false if there is no room. */
static bool kst__key_insert(struct kst *t, uint32_t master,
                            const struct kst_tuple *tuple)
{
    struct kst__expected key;
    memset(&key, 0, sizeof key);
    key.tuple = *tuple;
    key.tuple.zone = 0; /* Linux knows calls by their ends alone */
    key.expires_ms = KST__NEVER;
    key.master = master;
    key.flags = KST__EXPECT_KEY;
    if (!kst__expect_room(t) || kst__expect_neighbours(t, &key.tuple) >= KST_EXPECT_CHAIN_MAX)
        return false;
    kst__expect_link(t, &key);
    kst__expectations_of(t)->keys++;
    return true;
}

/* Forgets a connection's keys. */
static void kst__keys_remove(struct kst *t, uint32_t slot)
{
    for (uint32_t place = kst__help_at(t, slot)->newest, next; place != KST__NONE; place = next) {
        next = kst__expected_at(t, place)->own_older;
        if (kst__expected_at(t, place)->flags & KST__EXPECT_KEY)
            kst__expect_remove(t, place);
    }
}

/* The tuple of a call's packets in one direction: they carry the identifier that the receiver
 * gave it. */
static void kst__call_tuple(const struct kst *t, uint32_t slot, uint32_t direction,
                            struct kst_tuple *tuple)
{
    const uint16_t *call = kst__help_at(t, slot)->call;
    const struct kst_tuple original = kst__entry_at(t, slot)->tuple, reply = kst__reply_of(t, slot);
    *tuple = direction == KST_ORIGINAL ? original : reply;
    tuple->zone = original.zone != 0 ? original.zone : reply.zone; /* be it of one direction */
    tuple->protocol = KST__GRE;
    tuple->src_port = call[direction];
    tuple->dst_port = call[!direction];
}

/* Forgets what a connection has come to expect since the last of all expectations had this serial number. */
static void kst__expect_withdraw(struct kst *t, uint32_t slot, uint32_t serial)
{
    const struct kst__help *help = kst__help_at(t, slot);
    while (help->newest != KST__NONE &&
           kst__after(kst__expected_at(t, help->newest)->serial, serial))
        kst__expect_remove(t, help->newest);
}

/* ---- checking ---- */

static const char *kst__expect_check(const struct kst *t)
{
    const struct kst__expectations *all = kst__expectations_of(t);
    uint32_t live = 0, keys = 0, in_buckets = 0, spare = 0;
    if (all->used > t->expectations_max)
        return "expectation: more places in use than there are";
    for (uint32_t place = all->free; place != KST__NONE; place = kst__expected_at(t, place)->older)
        if (place >= all->used || kst__expected_at(t, place)->serial != 0 || ++spare > all->used)
            return "expectation: the free list leads astray";
    for (uint32_t place = 0; place < all->used; place++) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if (x->serial == 0)
            continue;
        live++;
        keys += (x->flags & KST__EXPECT_KEY) != 0;
        if (!kst__live(t, x->master) ||
            !(kst__entry_at(t, x->master)->kind & KST__KIND_HELP))
            return "expectation: without a master";
    }
    for (uint32_t i = 0; i < all->buckets; i++) {
        uint32_t newer = KST__NONE;
        for (uint32_t place = kst__expect_buckets_of(t)[i]; place != KST__NONE;
             place = kst__expected_at(t, place)->older) {
            if (place >= all->used || kst__expected_at(t, place)->newer != newer ||
                kst__expected_at(t, place)->serial == 0 || ++in_buckets > live ||
                kst__expect_bucket(t, &kst__expected_at(t, place)->tuple) !=
                    &kst__expect_buckets_of(t)[i])
                return "expectation: a bucket leads astray";
            newer = place;
        }
    }
    if (live != in_buckets || live + spare != all->used || keys != all->keys ||
        live - keys != all->count)
        return "expectation: one is lost";
    if (t->stats.expect_create - t->stats.expect_delete != all->count)
        return "expectation: who came and who went does not make who is there";
    return NULL;
}

/* The expectations of one entry. */
static const char *kst__expect_check_own(const struct kst *t, uint32_t slot)
{
    const struct kst__help *help = kst__help_at(t, slot);
    uint32_t expecting[KST_EXPECT_CLASSES] = {0}, newer = KST__NONE, steps = 0;
    for (uint32_t place = help->newest; place != KST__NONE;
         place = kst__expected_at(t, place)->own_older) {
        const struct kst__expected *x = kst__expected_at(t, place);
        if (place >= kst__expectations_of(t)->used || ++steps > t->expectations_max ||
            x->serial == 0 || x->master != slot || x->own_newer != newer)
            return "expectation: a master's list leads astray";
        expecting[x->class_] += !(x->flags & KST__EXPECT_KEY);
        newer = place;
    }
    for (uint32_t i = 0; i < KST_EXPECT_CLASSES; i++)
        if (expecting[i] != help->expecting[i])
            return "expectation: a master has counted wrong";
    return NULL;
}

#endif
