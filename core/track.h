/* SPDX-License-Identifier: MIT */
/* core/track.h - the whole story on one screen: parse, find, judge, arm, report. */
#ifndef KST_TRACK_H
#define KST_TRACK_H

#include "defrag.h"
#include "help.h"
#include "proto_gre.h"
#include "proto_icmp.h"
#include "proto_other.h"
#include "proto_sctp.h"
#include "proto_tcp.h"
#include "proto_udp.h"
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
                      uint32_t slot, struct kst_result *r)
{
    const uint16_t reason = kst__helper_hear(t, slot, c->packet, c->direction,
                                             r->state == KST_ESTABLISHED);
    if (reason == KST_REASON_NONE)
        return;
    if (r->reason != KST_REASON_NONE) /* who made room for it is gone all the same */
        t->stats.reasons[r->reason]++;
    kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
    r->verdict = KST_DROP;
    if (c->fresh) {
        if (kst__live(t, slot) && kst__id(t, slot) == r->entry) {
            c->entry->status &= (uint16_t)~KST_CONFIRMED;
            kst__remove(t, slot, KST_GONE_REFUSED);
        }
        r->entry = 0;
        r->flags = 0;
    }
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
    kst__reclass(t, slot);
    r->entry = kst__id(t, slot);
    kst__report(r,
                answered                    ? KST_ESTABLISHED
                : e->status & KST_EXPECTED ? KST_RELATED
                                            : KST_NEW,
                c->direction, reason);
    if (judgement->action == KST__END) {
        kst__remove(t, slot, KST_GONE_CLOSED);
        r->flags = KST_CLOSED;
        return;
    }
    if (KST_UNLIKELY(e->kind & KST__KIND_HELP))
        kst__hear(t, c, slot, r);
    if (KST_UNLIKELY(t->events_at != 0) && (e->status & KST_CONFIRMED))
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

/* Makes the key of a packet whose zone is that of one direction, for it going `direction`. */
static void kst__key_zoned(const struct kst *t, const struct kst__parsed *p, uint8_t direction,
                           struct kst__key *key)
{
    const uint8_t with_zone =
        direction == KST_ORIGINAL ? KST_PACKET_ZONE_ORIGINAL : KST_PACKET_ZONE_REPLY;
    struct kst_tuple tuple = key->tuple;
    tuple.zone = p->zones & with_zone ? p->tuple.zone : 0;
    kst__key_make(t, &tuple, key);
    key->only = direction;
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
    if (!key->invertible) {
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, KST_REASON_ICMP_NO_ANSWER);
        return;
    }
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
        reason = kst__admit(t, slot, key->hash);
    }
    if (place != KST__NONE && reason != KST_REASON_TABLE_FULL &&
        kst__expected_at(t, place)->serial == serial)
        kst__expected_came(t, place);
    if (judgement.action == KST__REFUSE) {
        kst__refuse(t, &c, slot, &judgement, r);
        return;
    }
    if (!(e->status & KST_CONFIRMED)) {
        kst__slot_give_back(t, slot);
        kst__report(r, KST_INVALID, KST_NO_DIRECTION, reason);
        r->verdict = KST_DROP;
        return;
    }
    t->stats.created++;
    r->flags = KST_CREATED;
    kst__settle(t, &c, slot, &judgement, reason, r);
}

/* The connection of a packet, or KST__NONE, whatever its zone is for. */
static uint32_t kst__find_in_zones(struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    uint32_t node = KST__NONE;
    if (p->zones == 0)
        return kst__find(t, key);
    for (uint8_t direction = 0; direction < 2 && node == KST__NONE; direction++) {
        kst__key_zoned(t, p, direction, key);
        node = kst__find(t, key);
    }
    return node;
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
    if (KST_UNLIKELY((c.entry->kind & KST__KIND_HELP) && c.direction == KST_ORIGINAL))
        kst__hear(t, &c, slot, r);
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
        kst__judge_whole(t, packet, p, first, r);
        return;
    }
    if (r->reason != KST_REASON_NONE) {
        r->verdict = r->reason == KST_REASON_FRAGMENT_HELD ? KST_HOLD : KST_DROP;
        return;
    }
    kst__parse(&whole, t->set[KST__SET_CHECKSUM] != 0, &parsed);
    if (parsed.reason == KST_REASON_NONE)
        kst__key_make(t, &parsed.tuple, &key);
    kst__judge_whole(t, &whole, &parsed, &key, r);
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

KST_INLINE void kst__set_clock(struct kst *t, uint64_t now_ms)
{
    if (now_ms >= t->now_ms)
        t->now_ms = now_ms;
    else
        t->stats.clock_back++;
}

/* Parses a packet and starts its lookup. */
KST_INLINE void kst__look_ahead(struct kst *t, const struct kst_packet *packet,
                                struct kst__parsed *p, struct kst__key *key)
{
    kst__parse(packet, t->set[KST__SET_CHECKSUM] != 0, p);
    if (p->reason != KST_REASON_NONE)
        return;
    kst__key_make(t, &p->tuple, key);
    kst__look_up(t, key);
}

/* The batch runs through a window: a packet is parsed and its bucket fetched a whole window
 * ahead, what lies in the bucket half a window ahead, and then it is judged. So the memory's
 * latency is hidden, and the window never drains before the batch ends. What is done ahead
 * depends on the packets alone, or only fetches; so how packets are cut into batches changes
 * nothing. */
KST_INLINE void kst__run(struct kst *t, uint64_t now_ms,
                         const struct kst_packet *packets, size_t count,
                         struct kst_result *results)
{
    enum { HALF = KST_BURST / 2 };
    struct kst__parsed parsed[KST_BURST];
    struct kst__key keys[KST_BURST];
    kst__set_clock(t, now_ms);
    for (size_t i = 0; i < count && i < KST_BURST; i++)
        kst__look_ahead(t, &packets[i], &parsed[i], &keys[i]);
    for (size_t i = 0; i < count && i < HALF; i++)
        if (parsed[i].reason == KST_REASON_NONE)
            kst__look_closer(t, &keys[i], true);
    for (size_t i = 0; i < count; i++) {
        const size_t here = i % KST_BURST, half = (i + HALF) % KST_BURST;
        if (HALF > 0 && i + HALF < count && parsed[half].reason == KST_REASON_NONE)
            kst__look_closer(t, &keys[half], true);
        kst__judge_any(t, &packets[i], &parsed[here], &keys[here], &results[i]);
        if (i + KST_BURST < count)
            kst__look_ahead(t, &packets[i + KST_BURST], &parsed[here], &keys[here]);
    }
}

#endif
