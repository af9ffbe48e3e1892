/* SPDX-License-Identifier: MIT */
/* core/event.h - what happened, noted for whoever asks: a ring of copies in the block.
 *
 * Nothing waits for it: when the ring is full the newest event is lost, and counted. Copies of
 * connections and expectations are made here, for events and for kst_get alike. */
#ifndef KST_EVENT_H
#define KST_EVENT_H

#include "pool.h"

struct kst__events {
    uint32_t first, count;
    /* struct kst_event [config.events] from the next cache line on */
};

static uint64_t kst__events_bytes(uint32_t max)
{
    return KST_ALIGN + (uint64_t)max * sizeof(struct kst_event);
}

KST_INLINE struct kst__events *kst__events_of(const struct kst *t)
{
    return (struct kst__events *)kst__at(t, t->events_at);
}

KST_INLINE struct kst_event *kst__events_place(const struct kst *t, uint32_t number)
{
    return (struct kst_event *)kst__at(t, t->events_at + KST_ALIGN) + number % t->events_max;
}

KST_INLINE bool kst__listening(const struct kst *t)
{
    return t->events_at != 0 && t->set[KST__SET_EVENTS] != 0;
}

/* A connection as its caller sees it; an expired one has no time left. */
static void kst__flow_of(const struct kst *t, uint32_t slot, struct kst_flow *flow)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    memset(flow, 0, sizeof *flow);
    flow->id = kst__id(t, slot);
    flow->tuple[KST_ORIGINAL] = e->tuple;
    flow->tuple[KST_REPLY] = kst__reply_of(t, slot);
    flow->timeout_ms = e->expires_ms > t->now_ms ? e->expires_ms - t->now_ms : 0;
    flow->mark = e->mark;
    flow->status = e->status;
    flow->state = e->state;
    flow->policy = e->kind / KST__KIND_POLICY;
    if (e->tuple.protocol == KST__GRE) {
        flow->gre_timeouts_s[0] = e->proto.gre.timeout_s;
        flow->gre_timeouts_s[1] = e->proto.gre.stream_s;
    } else if (e->tuple.protocol == KST__SCTP) {
        memcpy(flow->sctp_tags, e->proto.sctp.tag, sizeof flow->sctp_tags);
    }
    flow->accounted = (e->kind & KST__KIND_ACCOUNTED) != 0;
    if (flow->accounted) {
        memcpy(flow->packets, kst__counters_at(t, slot)->packets, sizeof flow->packets);
        memcpy(flow->bytes, kst__counters_at(t, slot)->bytes, sizeof flow->bytes);
    }
    if (e->kind & KST__KIND_HELP) {
        flow->helper = kst__help_at(t, slot)->helper;
        flow->master = kst__help_at(t, slot)->master;
    }
    if (e->status & KST_SRC_NAT_DONE)
        flow->out_interface = kst__source_at(t, slot)->out_interface;
    for (uint32_t i = 0; (e->status & KST_SEQ_ADJUST) && i < 2; i++) {
        const struct kst__adjust_side *side = &kst__adjust_at(t, slot)[i];
        flow->seq_adjust[i][0] = side->at;
        flow->seq_adjust[i][1] = side->before;
        flow->seq_adjust[i][2] = side->after;
    }
    if (t->features & KST_WITH_LABELS)
        memcpy(flow->labels, kst__labels_at(t, slot)->bytes, sizeof flow->labels);
    if ((t->features & KST_WITH_TIMESTAMPS) && *kst__birth_at(t, slot) != KST__NEVER) {
        flow->timestamped = true;
        flow->age_ms = t->now_ms - *kst__birth_at(t, slot);
    }
}

static void kst__expectation_of(const struct kst *t, uint32_t place, struct kst_expectation *copy)
{
    const struct kst__expected *x = kst__expected_at(t, place);
    const struct kst__entry *master = kst__entry_at(t, x->master);
    memset(copy, 0, sizeof *copy);
    copy->id = (kst_id)x->serial << 32 | place;
    copy->master = kst__id(t, x->master);
    copy->tuple = x->tuple;
    copy->master_tuple = master->tuple;
    copy->timeout_ms = x->expires_ms > t->now_ms ? x->expires_ms - t->now_ms : 0;
    copy->flags = x->flags;
    copy->follows = x->follows;
    copy->nat_direction = x->nat_direction;
    copy->nat_port = x->nat_port;
    copy->class_ = x->class_;
    copy->helper = kst__help_at(t, x->master)->helper;
    copy->child_helper = x->child_helper;
}

/* Whether this connection's helper hears its first packet: that it is there is told behind that, with what
 * has become of it by then, or never. */
KST_INLINE bool kst__untold(const struct kst *t, uint32_t slot)
{
    return t->untold == kst__id(t, slot);
}

/* A place in the ring for one more, or NULL. */
static struct kst_event *kst__event(struct kst *t, enum kst_event_type type)
{
    if (!kst__listening(t))
        return NULL;
    struct kst__events *events = kst__events_of(t);
    if (events->count == t->events_max) {
        t->stats.events_lost++;
        return NULL;
    }
    struct kst_event *event = kst__events_place(t, events->first + events->count++);
    memset(event, 0, sizeof *event);
    event->time_ms = t->now_ms;
    event->type = (uint8_t)type;
    return event;
}

static void kst__tell_new(struct kst *t, uint32_t slot)
{
    struct kst_event *event = kst__event(t, KST_EVENT_NEW);
    if (event != NULL)
        kst__flow_of(t, slot, &event->about.flow);
}

static void kst__tell_update(struct kst *t, uint32_t slot, uint32_t changed)
{
    struct kst_event *event = kst__untold(t, slot) ? NULL : kst__event(t, KST_EVENT_UPDATE);
    if (event == NULL)
        return;
    event->changed = (uint16_t)changed;
    kst__flow_of(t, slot, &event->about.flow);
}

static void kst__tell_gone(struct kst *t, uint32_t slot, enum kst_cause cause)
{
    struct kst_event *event = kst__untold(t, slot) ? NULL : kst__event(t, KST_EVENT_DESTROY);
    if (event == NULL)
        return;
    event->cause = (uint8_t)cause;
    kst__flow_of(t, slot, &event->about.flow);
}

static void kst__tell_expectation(struct kst *t, enum kst_event_type type, uint32_t place)
{
    struct kst_event *event = kst__event(t, type);
    if (event != NULL)
        kst__expectation_of(t, place, &event->about.expectation);
}

/* Tells once that the table is nearly full, and once that it no longer is. */
static void kst__tell_pressure(struct kst *t)
{
    const uint64_t hundredfold = (uint64_t)t->count * 100, max = t->set[KST__SET_MAX];
    const bool high = hundredfold >= max * t->set[KST__SET_PRESSURE_HIGH];
    const bool low = hundredfold < max * t->set[KST__SET_PRESSURE_LOW];
    if (t->pressed ? high || !low : !high)
        return;
    t->pressed = !t->pressed;
    struct kst_event *event = kst__event(t, t->pressed ? KST_EVENT_PRESSURE : KST_EVENT_RELIEF);
    if (event != NULL)
        event->about.count = t->count;
}

#endif
