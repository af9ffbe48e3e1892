/* SPDX-License-Identifier: MIT */
/* core/track.h - the whole story on one screen: parse, find, judge, arm, report. */
#ifndef KST_TRACK_H
#define KST_TRACK_H

#include "defrag.h"
#include "help.h"
#include "nat.h"
#include "proto_gre.h"
#include "proto_icmp.h"
#include "proto_other.h"
#include "proto_sctp.h"
#include "proto_tcp.h"
#include "proto_udp.h"
#include "rewrite.h"
#include "table.h"

KST_INLINE struct kst__judgement kst__judge(const struct kst__case *c)
{
    switch (c->entry->tuple.protocol) {
    case KST__TCP: return kst__tcp_judge(c);
    case KST__UDP: return kst__udp_judge(c);
    case KST__UDPLITE: return kst__udplite_judge(c);
    case KST__SCTP: return kst__sctp_judge(c);
    case KST__GRE: return kst__gre_judge(c);
    case KST__ICMP:
    case KST__ICMPV6: return kst__icmp_judge(c);
    default: return kst__other_judge(c);
    }
}

static void kst__report(struct kst_result *r, enum kst_state state, uint8_t direction,
                        uint16_t reason)
{
    r->state = (uint8_t)state;
    r->direction = direction;
    r->reason = reason;
}

/* What a packet has changed is told once it is through. */
static void kst__tell_case(struct kst *t, const struct kst__case *c, uint32_t slot)
{
    const uint32_t risen = c->entry->status & ~(uint32_t)c->status;
    const uint32_t changed = (risen & KST_SEEN_REPLY ? KST_CHANGED_REPLY : 0) |
                             (risen & KST_ASSURED ? KST_CHANGED_ASSURED : 0) |
                             (c->entry->state != c->state ? KST_CHANGED_STATE : 0);
    if (c->fresh)
        kst__tell_new(t, slot);
    else if (changed != 0)
        kst__tell_update(t, slot, changed);
}

/* A packet that is refused: a newcomer is forgotten. A known connection may keep a mark of it
 * all the same: what SCTP's earlier chunks did, or a shorter life because the two sides lost
 * each other. */
static void kst__refuse(struct kst *t, const struct kst__case *c,
                        uint32_t slot, const struct kst__judgement *judgement,
                        struct kst_result *r)
{
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, judgement->reason);
    if (c->fresh) {
        kst__slot_give_back(t, slot);
        return;
    }
    if (judgement->timeout_s != KST__AS_IT_IS)
        kst__expire_at(t, slot, kst__due_ms(t, judgement->timeout_s));
    kst__reclass(t, slot);
    if (KST_UNLIKELY(t->events_at != 0))
        kst__tell_case(t, c, slot);
}

/* Lets the helper of a connection hear what was accepted. It may have the packet dropped: one that
 * would have created the connection then does not. */
static void kst__hear(struct kst *t, const struct kst__case *c,
                      uint32_t slot, struct kst__mangle *mangle, struct kst_result *r)
{
    if (c->fresh)
        t->untold = r->entry;
    uint16_t reason = kst__helper_hear(t, slot, c->packet, mangle, c->direction,
                                       r->state == KST_ESTABLISHED);
    if (reason == KST_REASON_NONE && KST_UNLIKELY(c->entry->status & KST_SEQ_ADJUST) &&
        mangle != NULL && c->packet->tuple.protocol == KST__TCP &&
        !kst__adjust_segment(t, slot, c->direction, mangle->bytes + mangle->l4_at,
                             mangle->size - mangle->l4_at))
        reason = KST_REASON_NAT_PACKET;
    if (reason != KST_REASON_NONE) {
        if (r->reason != KST_REASON_NONE) /* who made room for it is gone all the same */
            t->stats.reasons[r->reason]++;
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
        r->verdict = KST_DROP;
        if (c->fresh) {
            if (kst__live(t, slot) && kst__id(t, slot) == r->entry)
                kst__remove(t, slot, KST_GONE_REFUSED);
            r->entry = 0;
            r->flags = 0;
        }
    }
    t->untold = 0;
}

/* A packet of a connection in the table is counted, prolongs it, and is its answer if it goes the
 * other way. `reason` is what it reports. */
KST_INLINE void kst__settle(struct kst *t, const struct kst__case *c,
                            uint32_t slot, const struct kst__judgement *judgement,
                            uint16_t reason, struct kst_result *r)
{
    struct kst__entry *e = c->entry;
    const bool answered = c->direction == KST_REPLY || (e->status & KST_SEEN_REPLY);
    if ((e->kind & KST__KIND_ACCOUNTED) && judgement->action != KST__KEEP) {
        struct kst__counters *counters = kst__counters_at(t, slot);
        counters->packets[c->direction]++;
        counters->bytes[c->direction] += c->packet->ip_bytes;
    }
    if (judgement->action == KST__REFRESH && !c->fresh && !(e->status & KST_FIXED_TIMEOUT))
        kst__expire_at(t, slot, kst__due_ms(t, judgement->timeout_s));
    if (c->direction == KST_REPLY)
        e->status |= KST_SEEN_REPLY;
    if (KST_UNLIKELY(e->status != c->status || e->state != c->state) &&
        (!c->fresh || (e->status & KST_CONFIRMED)))
        kst__reclass(t, slot);
    r->entry = kst__id(t, slot);
    kst__report(r,
                answered                    ? KST_ESTABLISHED
                : e->status & KST_EXPECTED ? KST_RELATED
                                            : KST_NEW,
                c->direction, reason);
    if (judgement->action == KST__END) {
        t->closing = r->entry;
        if (!c->packet->deferred)
            kst__pending_drop(t);
        r->flags = KST_CLOSED;
        return;
    }
    const uint32_t serial = e->serial;
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP) && !c->packet->deferred)
        kst__hear(t, c, slot, NULL, r); /* which may have let another have the slot */
    if (KST_UNLIKELY(t->events_at != 0) && (e->status & KST_CONFIRMED) && e->serial == serial)
        kst__tell_case(t, c, slot);
}

/* A newcomer whose coming was foretold, at this place: what it has from its master. */
static void kst__expected_child(struct kst *t, uint32_t slot, uint32_t place)
{
    const struct kst__expected *x = kst__expected_at(t, place);
    kst__entry_at(t, slot)->status |= KST_EXPECTED;
    kst__entry_at(t, slot)->mark = kst__entry_at(t, x->master)->mark;
    kst__helper_attach(t, slot, x->child_helper);
    kst__help_at(t, slot)->master = kst__id(t, x->master);
}

/* It has come, whatever becomes of it. Of two expectations for the two directions of one connection
 * the other is its answer. */
static void kst__expected_came(struct kst *t, uint32_t place)
{
    const struct kst__expected *x = kst__expected_at(t, place);
    struct kst_tuple inverse;
    t->stats.expect_new++;
    if (x->flags & KST_EXPECT_PERMANENT)
        return;
    kst__tuple_invert(&x->tuple, &inverse);
    const uint32_t other = kst__expect_find(t, &inverse);
    const bool paired = other != KST__NONE && other != place &&
                        kst__expected_at(t, other)->master == x->master &&
                        kst__tuple_same(&kst__expected_at(t, other)->tuple, &inverse);
    kst__expect_remove(t, place);
    if (paired)
        kst__expect_remove(t, other);
}

/* Makes the key of a packet whose zone is that of one direction, if it goes in `direction`. */
static void kst__key_zoned(const struct kst *t, const struct kst__parsed *p, uint8_t direction,
                           struct kst__key *key)
{
    const uint8_t with_zone =
        direction == KST_ORIGINAL ? KST_PACKET_ZONE_ORIGINAL : KST_PACKET_ZONE_REPLY;
    struct kst_tuple tuple = key->tuple;
    tuple.zone = p->zones & with_zone ? p->tuple.zone : 0;
    kst__key_make(t, &tuple, key);
}

/* The reply tuple of a newcomer whose zone is that of one direction only. */
static void kst__zone_apart(struct kst *t, uint32_t slot, const struct kst__parsed *p)
{
    struct kst_tuple *reply = kst__reply_tuple(t, slot);
    KST_ASSERT(t->features & KST_WITH_NAT);
    kst__tuple_invert(&kst__entry_at(t, slot)->tuple, reply);
    reply->zone = p->zones & KST_PACKET_ZONE_REPLY ? p->tuple.zone : 0;
    kst__entry_at(t, slot)->kind |= KST__KIND_NAT;
}

/* A packet of no known connection: judged as the first of one, which is let in if there is room. */
static void kst__judge_first(struct kst *t, const struct kst_packet *packet,
                             const struct kst__parsed *p, struct kst__key *key,
                             struct kst_result *r)
{
    uint32_t place = KST__NONE, serial = 0;
    if (KST_UNLIKELY(p->zones != 0))
        kst__key_zoned(t, p, KST_ORIGINAL, key);
    if (key->answer == KST__NO_ANSWER) {
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_NO_ANSWER);
        return;
    }
    kst__pending_drop(t); /* of an earlier packet of the batch */
    const uint32_t slot = kst__newcomer(t, &key->tuple, packet->policy);
    struct kst__entry *e = kst__entry_at(t, slot);
    if (KST_UNLIKELY(p->zones != 0 && p->tuple.zone != 0))
        kst__zone_apart(t, slot, p);
    if (KST_UNLIKELY(t->expect_at != 0)) {
        struct kst_tuple tuple = key->tuple;
        tuple.zone = p->tuple.zone;
        if (kst__expectations_of(t)->count > 0)
            place = kst__expect_find(t, &tuple);
        if (place != KST__NONE) {
            serial = kst__expected_at(t, place)->serial;
            kst__expected_child(t, slot, place);
        }
        const uint8_t helper = packet->helper != 0 ? packet->helper : kst__helper_of_port(t, &tuple);
        if (helper != 0 && kst__helper_for(helper, &tuple) && kst__help_of(t, slot)->helper == 0)
            kst__helper_attach(t, slot, helper);
    }
    const struct kst__case c = {t, kst__set_of(t, e), p, e, KST_ORIGINAL, true, e->status, 0};
    const struct kst__judgement judgement = kst__judge(&c);
    uint16_t reason = KST_REASON_NONE;
    if (judgement.action != KST__REFUSE) {
        KST_ASSERT(judgement.action == KST__REFRESH && judgement.reason == KST_REASON_NONE);
        e->expires_ms = kst__due_ms(t, judgement.timeout_s);
        if (KST_UNLIKELY(place != KST__NONE) &&
            kst__expected_at(t, place)->follows != KST_FOLLOWS_NOT)
            kst__nat_follow(t, slot, kst__expected_at(t, place));
        reason = p->deferred ? kst__pend(t, slot) : kst__admit(t, slot, key->hash);
    }
    if (place != KST__NONE && !kst__no_room(reason) &&
        kst__expected_at(t, place)->serial == serial)
        kst__expected_came(t, place);
    if (judgement.action == KST__REFUSE) {
        kst__refuse(t, &c, slot, &judgement, r);
        return;
    }
    if (!(e->status & KST_CONFIRMED) && t->pending != slot) {
        kst__slot_give_back(t, slot);
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
        r->verdict = KST_DROP;
        return;
    }
    t->stats.created += t->pending != slot;
    r->flags = KST_CREATED;
    kst__settle(t, &c, slot, &judgement, reason, r);
}

/* The connection of a packet, or KST__NONE, whatever its zone is for; one that has expired only if there is no other. */
static uint32_t kst__find_in_zones(struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    if (p->zones == 0)
        return kst__find(t, key);
    struct kst__key answer = *key;
    kst__key_zoned(t, p, KST_ORIGINAL, key);
    kst__key_only(key, KST_ORIGINAL);
    const uint32_t node = kst__find(t, key);
    if (node != KST__NONE && !kst__expired(t, kst__node_slot(t, node)))
        return node;
    kst__key_zoned(t, p, KST_REPLY, &answer);
    kst__key_only(&answer, KST_REPLY);
    const uint32_t other = kst__find(t, &answer);
    if (other == KST__NONE)
        return node;
    *key = answer;
    return other;
}

/* Packets whose tuple is not all there is to it: of a GRE call, or with a zone of one direction. */
static uint32_t kst__find_odd(struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    if (p->call) {
        struct kst_tuple tuple = key->tuple;
        kst__key_complete(t, &tuple);
        kst__key_make(t, &tuple, key);
    }
    return kst__find_in_zones(t, p, key);
}

/* What a judge is given of a packet that belongs to a connection. */
KST_INLINE struct kst__case kst__case_of(const struct kst *t, const struct kst__parsed *p,
                                         uint32_t node, const struct kst__key *key)
{
    struct kst__entry *e = kst__entry_at(t, kst__node_slot(t, node));
    const struct kst__case c = {
        t, kst__set_of(t, e), p, e, kst__node_direction(t, node, key), false, e->status, e->state};
    return c;
}

/* A packet with a tuple of its own: of a known connection, or the first of one. One that is out
 * of date, or that it reopens, makes way; under zones of one direction another may then be
 * found. */
KST_INLINE void kst__judge_packet(struct kst *t, const struct kst_packet *packet,
                                  const struct kst__parsed *p, struct kst__key *key,
                                  struct kst_result *r)
{
    for (;;) {
        const uint32_t node = KST_UNLIKELY(p->call || p->zones != 0)
                                  ? kst__find_odd(t, p, key)
                                  : kst__find(t, key);
        if (KST_UNLIKELY(node == KST__NONE))
            break;
        const uint32_t slot = kst__node_slot(t, node);
        enum kst_cause cause = KST_GONE_EXPIRED;
        if (KST_LIKELY(!kst__expired(t, slot))) {
            const struct kst__case c = kst__case_of(t, p, node, key);
            const struct kst__judgement judgement = kst__judge(&c);
            if (c.entry->state != c.state) {
                *kst__census(t, c.entry->tuple.protocol, c.state) -= 1;
                *kst__census(t, c.entry->tuple.protocol, c.entry->state) += 1;
            }
            if (KST_UNLIKELY(judgement.action == KST__REFUSE)) {
                kst__refuse(t, &c, slot, &judgement, r);
                return;
            }
            if (KST_LIKELY(judgement.action != KST__REOPEN)) {
                kst__settle(t, &c, slot, &judgement, judgement.reason, r);
                return;
            }
            cause = KST_GONE_REPLACED;
        }
        kst__remove(t, slot, cause);
    }
    kst__judge_first(t, packet, p, key, r);
}

/* An ICMP error: RELATED to the connection that the packet it carries belongs to, if it goes to
 * who sent that packet. It changes nothing, unless a helper has a mind to. */
static void kst__judge_error(struct kst *t, const struct kst__parsed *p, struct kst_result *r)
{
    struct kst__key key;
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_INNER);
    if (!kst__icmp_about(t, p, &key))
        return;
    r->reason = KST_REASON_ICMP_UNRELATED;
    const uint32_t node = kst__find_in_zones(t, p, &key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return;
    r->reason = KST_REASON_ICMP_MISDIRECTED;
    if (memcmp(key.tuple.dst, p->tuple.dst, sizeof key.tuple.dst) != 0)
        return;
    const uint32_t slot = kst__node_slot(t, node);
    const struct kst__case c = kst__case_of(t, p, node, &key);
    r->entry = kst__id(t, slot);
    kst__report(r, KST_RELATED, c.direction, KST_REASON_NONE);
    if (KST_UNLIKELY((c.entry->kind & KST__KIND_HELP) && c.direction == KST_ORIGINAL) &&
        !p->deferred)
        kst__hear(t, &c, slot, NULL, r);
}

/* A whole datagram. */
KST_INLINE void kst__judge_whole(struct kst *t, const struct kst_packet *packet,
                                 const struct kst__parsed *p, struct kst__key *key,
                                 struct kst_result *r)
{
    r->reason = p->reason;
    if (r->reason == KST_REASON_NONE && p->tuple.protocol == kst__icmp_of(p->tuple.family)) {
        uint8_t reason;
        switch (kst__icmp_sort(p, &reason)) {
        case KST__ICMP_ORDINARY: kst__judge_packet(t, packet, p, key, r); break;
        case KST__ICMP_ERROR: kst__judge_error(t, p, r); break;
        case KST__ICMP_UNTRACKED: r->state = KST_UNTRACKED; break;
        case KST__ICMP_REFUSED: r->reason = reason; break;
        }
    } else if (r->reason == KST_REASON_NONE) {
        kst__judge_packet(t, packet, p, key, r);
    }
}

/* The same for who comes rarely, in one place of the code. */
KST__NOINLINE static void kst__judge_datagram(struct kst *t, const struct kst_packet *packet,
                                              const struct kst__parsed *p, struct kst__key *key,
                                              struct kst_result *r)
{
    kst__judge_whole(t, packet, p, key, r);
}

/* A fragment: held, or the one that makes its datagram whole, which is then judged. */
static void kst__judge_fragment(struct kst *t, const struct kst_packet *packet,
                                const struct kst__parsed *p, struct kst__key *first,
                                struct kst_result *r)
{
    struct kst_packet whole = *packet;
    struct kst__parsed parsed;
    struct kst__key key;
    r->reason = kst__defrag_take(t, packet, p, &whole);
    if (r->reason == KST_REASON_FRAGMENT) {
        kst__judge_datagram(t, packet, p, first, r);
        return;
    }
    if (r->reason != KST_REASON_NONE) {
        r->verdict = r->reason == KST_REASON_FRAGMENT_HELD ? KST_HOLD : KST_DROP;
        return;
    }
    kst__parse(&whole, t->set[KST__SET_CHECKSUM] != 0, &parsed);
    if (parsed.reason == KST_REASON_NONE)
        kst__key_make(t, &parsed.tuple, &key);
    kst__judge_datagram(t, &whole, &parsed, &key, r);
    t->datagram_bytes = whole.size;
    r->flags |= KST_REASSEMBLED;
}

/* Anything that was parsed. */
KST_INLINE void kst__judge_any(struct kst *t, const struct kst_packet *packet,
                               const struct kst__parsed *p, struct kst__key *key,
                               struct kst_result *r)
{
    memset(r, 0, sizeof *r);
    r->direction = KST_NO_DIRECTION;
    t->stats.packets++;
    if (packet->flags & KST_PACKET_NOTRACK)
        r->state = KST_UNTRACKED;
    else if (p->fragment && t->defrag_at != 0 && packet->size >= p->ip_bytes)
        kst__judge_fragment(t, packet, p, key, r);
    else if (p->partial)
        r->reason = KST_REASON_FRAGMENT;
    else
        kst__judge_whole(t, packet, p, key, r);
    t->stats.reasons[r->reason]++;
}

/* Whether an answer, or what it answers, has the end changed that a hook of this kind is about:
 * answers have their destination changed if the source was, and the other way round. */
KST_INLINE bool kst__bound(const struct kst__entry *e, uint8_t direction, enum kst_nat_kind kind)
{
    const bool source = kind == KST_NAT_SOURCE, reply = direction == KST_REPLY;
    return (e->status & (source != reply ? KST_SRC_NAT : KST_DST_NAT)) != 0;
}

/* An ICMP error, or what else is RELATED, at the hook of one kind. */
static bool kst__translate_error(const struct kst__entry *e, bool bound, const struct kst_tuple *other,
                                 enum kst_nat_kind kind, struct kst__end end, uint8_t *bytes,
                                 uint32_t ip_bytes, uint32_t here)
{
    const uint32_t at = kst__error_at(bytes, here);
    const bool v4 = e->tuple.family == KST_IPV4, redirects = at != 0 && v4 && bytes[at] == 5;
    if (at == 0)
        return !bound || kst__rewrite(bytes, here, v4, kind, end);
    if (here == ip_bytes && !kst__error_sound(bytes, here, at)) /* of whatever connection */
        return false;
    if (redirects && (e->status & (KST_SRC_NAT | KST_DST_NAT)))
        return false; /* nobody here is to learn of another gateway */
    return !bound || (here == ip_bytes && kst__rewrite_error(bytes, here, at, kind, other, end));
}

/* Rewrites a packet as it was said to go, at the hook of one kind. NAT_PACKET if it cannot be: then
 * nothing is changed. */
static uint16_t kst__translate(const struct kst *t, const struct kst_result *r,
                               enum kst_nat_kind kind, uint8_t *bytes, uint32_t size)
{
    const uint32_t slot = (uint32_t)r->entry;
    if (r->entry == 0 || slot >= t->used || kst__entry_at(t, slot)->serial != r->entry >> 32)
        return KST_REASON_NONE;
    const struct kst__entry *e = kst__entry_at(t, slot);
    const bool bound = kst__bound(e, r->direction, kind);
    if (r->verdict != KST_ACCEPT || (!bound && r->state != KST_RELATED))
        return KST_REASON_NONE;
    const bool v4 = e->tuple.family == KST_IPV4;
    if (size < (v4 ? 20u : 40u) || bytes[0] >> 4 != (v4 ? 4 : 6))
        return KST_REASON_NAT_PACKET;
    const struct kst_tuple *other =
        r->direction == KST_REPLY || !bound ? &e->tuple : kst__reply_tuple(t, slot);
    const enum kst_nat_kind opposite =
        kind == KST_NAT_SOURCE ? KST_NAT_DESTINATION : KST_NAT_SOURCE;
    const struct kst__end end = kst__end_of(other, opposite);
    const uint32_t ip_bytes = v4 ? kst__be16(bytes + 2) : 40 + (uint32_t)kst__be16(bytes + 4);
    const uint32_t here = ip_bytes < size ? ip_bytes : size;
    const bool done = r->state == KST_RELATED
                          ? kst__translate_error(e, bound, other, kind, end, bytes, ip_bytes, here)
                          : kst__rewrite(bytes, here, v4, kind, end);
    return done ? KST_REASON_NONE : KST_REASON_NAT_PACKET;
}

/* Shows a helper the packet as it is now. */
static void kst__finish_helped(struct kst *t, uint32_t slot, bool fresh,
                               const struct kst_packet *now, struct kst__mangle *mangle,
                               struct kst_result *r)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__parsed p;
    const struct kst__case c = {t,           kst__set_of(t, e), &p,       e,
                                r->direction, fresh,             e->status, e->state};
    const uint16_t before = r->reason;
    kst__parse(now, false, &p);
    const bool error = p.tuple.protocol != e->tuple.protocol;
    if (p.reason != KST_REASON_NONE || (error && r->direction != KST_ORIGINAL))
        return;
    if (mangle != NULL) {
        mangle->l4_at = (uint32_t)(p.l4 - now->data);
        mangle->size = mangle->l4_at + p.l4_here;
    }
    kst__hear(t, &c, slot, mangle, r);
    if (r->reason != before)
        t->stats.reasons[r->reason]++;
}

/* The last hook: what was pending enters the table, and its connection's helper hears the packet,
 * which is now at `now`, and may change it if `mangle` is not NULL. */
static void kst__finish(struct kst *t, const struct kst_packet *now,
                        struct kst__mangle *mangle, struct kst_result *r)
{
    const uint32_t slot = kst__slot_known(t, r->entry);
    if (r->entry == 0 || slot == KST__NONE || t->closing == r->entry) {
        kst__pending_drop(t);
        return;
    }
    const struct kst__entry *e = kst__entry_at(t, slot);
    const bool fresh = slot == t->pending;
    if (fresh) {
        const uint16_t reason = kst__pending_admit(t);
        if (reason != KST_REASON_NONE)
            t->stats.reasons[r->reason = reason]++;
        if (!(e->status & KST_CONFIRMED)) {
            memset(r, 0, sizeof *r);
            kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
            r->verdict = KST_DROP;
            return;
        }
        t->stats.created++;
    }
    const uint32_t serial = e->serial;
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP))
        kst__finish_helped(t, slot, fresh, now, mangle, r);
    if (KST_UNLIKELY(t->events_at != 0) && fresh && (e->status & KST_CONFIRMED) && e->serial == serial)
        kst__tell_new(t, slot);
}

/* A packet that is not to go on, and what it would have begun. */
static void kst__nat_refuse(struct kst *t, uint16_t reason,
                            struct kst_result *r)
{
    kst__pending_drop(t);
    memset(r, 0, sizeof *r);
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
    r->verdict = KST_DROP;
    t->stats.reasons[reason]++;
}

/* A packet of a known connection that no helper hears: rewritten where it was parsed, at the hook of one
 * kind. `other` is what its answers, or what it answers, look like. */
KST_INLINE bool kst__through_known(const struct kst__entry *e, const struct kst_tuple *other,
                                   const struct kst__parsed *p, uint8_t direction,
                                   enum kst_nat_kind kind, uint8_t *bytes, uint8_t *l4)
{
    const bool v4 = e->tuple.family == KST_IPV4, source = kind == KST_NAT_SOURCE;
    return !kst__bound(e, direction, kind) ||
           kst__rewrite_end(bytes, bytes + (v4 ? 12 : 8) + (source ? 0 : v4 ? 4 : 16), l4, p->l4_here,
                            e->tuple.protocol, v4, kind,
                            kst__end_of(other, source ? KST_NAT_DESTINATION : KST_NAT_SOURCE));
}

/* All that comes after judging, where there are no rules between. */
static void kst__through(struct kst *t, const struct kst_packet *packet,
                         struct kst_nat *nat, struct kst_result *r)
{
    static const enum kst_nat_kind hooks[2] = {KST_NAT_DESTINATION, KST_NAT_SOURCE};
    struct kst__mangle mangle = {nat->bytes, 0, nat->room, 0, false};
    struct kst_packet whole = *packet;
    nat->size = packet->size;
    if (KST_UNLIKELY(r->flags & KST_REASSEMBLED)) {
        if (t->datagram_bytes > nat->room) {
            kst__nat_refuse(t, KST_REASON_NAT_ROOM, r);
            return;
        }
        memcpy(nat->bytes, kst__datagram(t), t->datagram_bytes);
        nat->size = whole.size = t->datagram_bytes;
        whole.data = nat->bytes;
        packet = &whole;
    }
    if (r->entry == 0 || r->verdict != KST_ACCEPT)
        return;
    const struct kst__entry *e = kst__entry_at(t, (uint32_t)r->entry);
    const bool finished = t->pending == KST__NONE && t->closing == 0 && !(e->kind & KST__KIND_HELP);
    for (uint32_t i = 0; i < 2; i++) {
        uint16_t reason = KST_REASON_NONE;
        if (t->pending != KST__NONE)
            reason = (uint16_t)kst__nat_bind(t, t->pending, hooks[i], nat->range[hooks[i]]);
        if (reason != KST_REASON_NAT_RANGE) /* too late, or used up: kst__finish will tell */
            reason = kst__translate(t, r, hooks[i], nat->bytes, packet->size);
        if (reason != KST_REASON_NONE) {
            kst__nat_refuse(t, reason, r);
            return;
        }
    }
    if (KST_LIKELY(finished))
        return;
    kst__finish(t, packet, &mangle, r);
    if (mangle.changed)
        nat->size = mangle.size;
}

KST_INLINE void kst__set_clock(struct kst *t, uint64_t now_ms)
{
    if (now_ms >= t->now_ms)
        t->now_ms = now_ms;
    else
        t->stats.clock_back++;
}

/* Judges a packet; with `nat` it then goes all the way, before the next one is judged. */
KST_INLINE void kst__judge_next(struct kst *t, const struct kst_packet *packet, struct kst_nat *nat,
                                struct kst__parsed *p, struct kst__key *key, struct kst_result *r)
{
    struct kst_packet deferred;
    if (nat != NULL) {
        p->deferred = true;
        if (KST_UNLIKELY(p->fragment)) { /* its datagram will be parsed */
            deferred = *packet;
            deferred.flags |= KST_PACKET_DEFER;
            packet = &deferred;
        }
    }
    kst__judge_any(t, packet, p, key, r);
    if (nat == NULL)
        return;
    const struct kst__entry *e = kst__entry_at(t, (uint32_t)r->entry);
    const bool plain = r->state == KST_ESTABLISHED && r->verdict == KST_ACCEPT && r->flags == 0 &&
                       !p->fragment && t->pending == KST__NONE && t->closing == 0 &&
                       !(e->kind & KST__KIND_HELP);
    nat->size = packet->size;
    if (KST_UNLIKELY(!plain)) {
        kst__through(t, packet, nat, r);
    } else if (e->status & (KST_SRC_NAT | KST_DST_NAT)) {
        uint8_t *l4 = nat->bytes + (p->l4 - packet->data);
        const struct kst_tuple *other =
            r->direction == KST_REPLY ? &e->tuple : kst__reply_tuple(t, (uint32_t)r->entry);
        if (KST_UNLIKELY(!kst__through_known(e, other, p, r->direction, KST_NAT_DESTINATION, nat->bytes, l4) ||
                         !kst__through_known(e, other, p, r->direction, KST_NAT_SOURCE, nat->bytes, l4)))
            kst__nat_refuse(t, KST_REASON_NAT_PACKET, r);
    }
}

/* A batch goes by groups, three of them under way: one is parsed, and the index asked for its buckets;
 * of the one before it what lies there is asked for; the one before that is judged. So the memory's
 * latency is hidden. All that is done ahead depends on the packets alone, or only fetches; so how
 * packets are cut into batches changes nothing. `nats`, unless NULL, has each go all the way before
 * the next one is judged. */
static void kst__run(struct kst *t, uint64_t now_ms, const struct kst_packet *packets,
                     struct kst_nat *nats, size_t count, struct kst_result *results)
{
    struct kst__parsed parsed[3][KST_BURST];
    struct kst__key keys[3][KST_BURST];
    const size_t groups = (count + KST_BURST - 1) / KST_BURST;
    kst__set_clock(t, now_ms);
    if (KST_UNLIKELY(t->pending != KST__NONE || t->closing != 0))
        kst__pending_drop(t);
    for (size_t group = 0; group < groups + 2; group++) {
        if (group < groups) {
            const struct kst_packet *packet = packets + group * KST_BURST;
            const size_t here = kst__burst_size(group, count);
            for (size_t i = 0; i < here; i++) {
                struct kst__parsed *p = &parsed[group % 3][i];
                kst__parse(&packet[i], t->set[KST__SET_CHECKSUM] != 0, p);
                kst__key_make(t, &p->tuple, &keys[group % 3][i]);
            }
            kst__look_up(t, keys[group % 3], here);
        }
        if (group - 1 < groups)
            kst__look_closer(t, keys[(group - 1) % 3], kst__burst_size(group - 1, count), true);
        if (group >= 2)
            for (size_t i = 0; i < kst__burst_size(group - 2, count); i++) {
                const size_t at = (group - 2) * KST_BURST + i;
                kst__judge_next(t, &packets[at], nats != NULL ? &nats[at] : NULL,
                                &parsed[(group - 2) % 3][i], &keys[(group - 2) % 3][i],
                                &results[at]);
            }
    }
}

#endif
