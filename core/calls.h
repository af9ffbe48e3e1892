/* SPDX-License-Identifier: MIT */
/* core/calls.h - the public calls that are not a packet's: making a table, asking it, changing it.
 * What untrusted text or a caller's struct says is checked here. */
#ifndef KST_CALLS_H
#define KST_CALLS_H

#include "track.h"

/* ---- making a table ---- */

struct kst__layout {
    struct kst table; /* its offsets, capacity, buckets and features */
    uint64_t bytes;
    enum kst_error error;
};

static enum kst_error kst__config_error(const struct kst_config *config)
{
    uint32_t seen = 0;
    bool ended = false;
    if (config == NULL)
        return KST_ERROR_NO_CONFIG;
    if (config->max < 1 || config->max > KST_ENTRIES_MAX)
        return KST_ERROR_MAX;
    if (config->buckets > 2 * KST_ENTRIES_MAX)
        return KST_ERROR_BUCKETS;
    if (config->index >= KST__INDEXES || config->timer >= KST__TIMERS)
        return KST_ERROR_BACK_END;
    if (config->features & ~(uint32_t)(KST_WITH_ACCOUNTING | KST_WITH_NAT | KST_WITH_TIMESTAMPS |
                                       KST_WITH_LABELS | KST_WITH_LIMITS))
        return KST_ERROR_FEATURES;
    if (config->source_prefix[0] > 32 || config->source_prefix[1] > 128)
        return KST_ERROR_PREFIX;
    if (config->expectations > KST_EXPECTATIONS_MAX)
        return KST_ERROR_EXPECTATIONS;
    if (config->events > KST_EVENTS_MAX)
        return KST_ERROR_EVENTS;
    if (config->reassembly_bytes != 0 && config->reassembly_bytes < KST_REASSEMBLY_MIN)
        return KST_ERROR_REASSEMBLY;
    for (uint32_t i = 0; i < KST_CLASSES; i++) {
        const uint32_t choice = config->evict[i];
        if (choice > KST_CLASSES || (choice != 0 && (ended || (seen >> choice & 1))))
            return KST_ERROR_EVICT;
        ended = choice == 0;
        seen |= UINT32_C(1) << choice;
    }
    return KST_ERROR_OK;
}

struct kst__column {
    uint32_t feature, bytes;
};

static const struct kst__column kst__columns[KST__COLUMNS] = {
#define KST__X(name, feature, type) {feature, sizeof(type)},
    KST__COLUMNS_LIST(KST__X)
#undef KST__X
};

/* Where the next part may lie, behind one of so many bytes at `*end`. Returns where that is. */
static uint64_t kst__lay(uint64_t *end, uint64_t bytes)
{
    const uint64_t at = *end;
    *end = kst__aligned(at + bytes);
    return at;
}

static struct kst__layout kst__lay_out(const struct kst_config *config)
{
    struct kst__layout layout;
    struct kst *t = &layout.table;
    memset(&layout, 0, sizeof layout);
    layout.error = kst__config_error(config);
    if (layout.error != KST_ERROR_OK)
        return layout;

    t->capacity = config->max;
    t->features = config->features;
    t->source_prefix[0] = config->source_prefix[0] != 0 ? config->source_prefix[0] : 32;
    t->source_prefix[1] = config->source_prefix[1] != 0 ? config->source_prefix[1] : 64;
    t->index = config->index;
    t->timer = config->timer;
    t->buckets = kst__power_of_two(config->buckets != 0 ? config->buckets : config->max);
    t->expectations_max = config->expectations;
    t->events_max = config->events;
    const uint64_t slots = kst__slots(t);
    const bool nat = (t->features & KST_WITH_NAT) != 0;
    const uint32_t features = t->features | (config->expectations != 0 ? KST__WITH_HELP : 0) |
                              (config->expectations != 0 && nat ? KST__WITH_ADJUST : 0);
    uint64_t end = kst__aligned(sizeof *t);
    t->index_at = kst__lay(&end, kst__index_ops(t)->bytes(kst__nodes(t), t->buckets));
    t->timer_at = kst__lay(&end, kst__timer_ops(t)->bytes(kst__timed(t)));
    t->entries_at = kst__lay(&end, slots * sizeof(struct kst__entry));
    for (uint32_t i = 0; i < KST__COLUMNS; i++)
        if (features & kst__columns[i].feature)
            t->column_at[i] = kst__lay(&end, slots * kst__columns[i].bytes);
    if (nat) {
        t->sources = kst__power_of_two(t->capacity);
        t->sources_at = kst__lay(&end, (uint64_t)t->sources * sizeof(uint32_t));
    }
    if (t->features & KST_WITH_LIMITS)
        t->tallies_at = kst__lay(&end, kst__tallies_bytes(kst__slots(t)));
    if (config->expectations != 0)
        t->expect_at = kst__lay(&end, kst__expect_bytes(config->expectations));
    if (config->events != 0)
        t->events_at = kst__lay(&end, kst__events_bytes(config->events));
    if (config->reassembly_bytes != 0) {
        struct kst__defrag defrag;
        t->defrag_at = kst__lay(&end, kst__defrag_lay_out(&defrag, config->reassembly_bytes));
    }
    layout.bytes = end;
    if (layout.bytes > SIZE_MAX)
        layout.error = KST_ERROR_MAX;
    return layout;
}

const char *kst_index_name(uint32_t number)
{
    return number < KST__INDEXES ? kst__indexes[number]->name : NULL;
}

const char *kst_timer_name(uint32_t number)
{
    return number < KST__TIMERS ? kst__timers[number]->name : NULL;
}

size_t kst_bytes(const struct kst_config *config)
{
    const struct kst__layout layout = kst__lay_out(config);
    return layout.error == KST_ERROR_OK ? (size_t)layout.bytes : 0;
}

/* Empties the pool, the classes, the expectations and the back ends. */
static void kst__clear(struct kst *t)
{
    t->count = t->used = t->apart = 0;
    t->free = t->pending = KST__NONE;
    t->closing = 0;
    for (uint32_t i = 0; i < KST_CLASSES; i++) {
        t->classes[i].oldest = t->classes[i].newest = KST__NONE;
        t->classes[i].count = 0;
    }
    kst__index_ops(t)->init(kst__index(t), kst__nodes(t), t->buckets);
    kst__timer_ops(t)->init(kst__timer(t), kst__timed(t), t->now_ms);
    if (t->sources_at != 0)
        kst__sources_init(t);
    memset(t->states, 0, sizeof t->states);
    if (t->tallies_at != 0)
        kst__tallies_init(t);
    if (t->expect_at != 0)
        kst__expect_init(t);
}

struct kst *kst_init(void *memory, size_t bytes, const struct kst_config *config,
                     enum kst_error *why)
{
    struct kst *t = (struct kst *)memory;
    const struct kst__layout layout = kst__lay_out(config);
    enum kst_error error = layout.error;
    if (error == KST_ERROR_OK && memory == NULL)
        error = KST_ERROR_NO_MEMORY;
    else if (error == KST_ERROR_OK && (uintptr_t)memory % KST_ALIGN != 0)
        error = KST_ERROR_MEMORY_ALIGN;
    else if (error == KST_ERROR_OK && bytes < layout.bytes)
        error = KST_ERROR_MEMORY_SHORT;
    if (why != NULL)
        *why = error;
    if (error != KST_ERROR_OK)
        return NULL;

    *t = layout.table;
    t->now_ms = config->start_ms;
    t->seed[0] = config->seed[0];
    t->seed[1] = config->seed[1];
    for (uint32_t i = 0; i < KST__SETTINGS; i++)
        t->set[i] = kst__settings[i].normal;
    t->set[KST__SET_MAX] = t->capacity;
    t->set[KST__SET_BUCKETS] = t->buckets;
    t->set[KST__SET_EXPECT_MAX] = t->expectations_max;
    for (uint32_t i = 0; i < KST_POLICIES; i++)
        memcpy(t->policy[i], t->set, sizeof t->set);
    memcpy(t->evict, config->evict, sizeof t->evict);
    if (t->evict[0] == 0) {
        t->evict[0] = KST_CLASS_UNREPLIED + 1;
        t->evict[1] = KST_CLASS_REPLIED + 1;
    }
    for (uint32_t i = 0; i < KST_CLASSES; i++)
        t->classes[i].residence_ms = config->residence_ms[i];
    if (t->expect_at != 0) /* the serial numbers go on whenever the table is emptied */
        memset(kst__expectations_of(t), 0, sizeof(struct kst__expectations));
    if (t->events_at != 0)
        memset(kst__events_of(t), 0, sizeof(struct kst__events));
    kst__clear(t);
    if (t->defrag_at != 0)
        kst__defrag_init(t, config->reassembly_bytes);
    return t;
}

struct kst_sizes kst_default_sizes(uint64_t memory_bytes, enum kst_era era)
{
    const uint64_t gib = UINT64_C(1) << 30;
    uint64_t buckets = memory_bytes / 16384 / 8;
    struct kst_sizes sizes;
    switch (era) {
    case KST_ERA_2_4:
        buckets = memory_bytes > gib ? 8192 : buckets < 16 ? 16 : buckets;
        sizes.max = (uint32_t)buckets * 8;
        break;
    case KST_ERA_TO_5_14:
        buckets = memory_bytes > 4 * gib ? 65536 : memory_bytes > gib ? 16384 : buckets;
        buckets = buckets < 32 ? 32 : buckets;
        sizes.max = (uint32_t)buckets * 4;
        break;
    default:
        buckets = memory_bytes > 4 * gib ? 262144 : memory_bytes > gib ? 65536 : buckets;
        buckets = buckets < 1024 ? 1024 : (buckets + 511) / 512 * 512; /* whole pages of heads */
        sizes.max = (uint32_t)buckets;
        break;
    }
    sizes.buckets = (uint32_t)buckets;
    return sizes;
}

/* ---- packets and time ---- */

void kst_track(struct kst *t, uint64_t now_ms, const struct kst_packet *packets, size_t count,
               struct kst_result *results)
{
    kst__run(t, now_ms, packets, NULL, count, results);
}

void kst_track_nat(struct kst *t, uint64_t now_ms, const struct kst_packet *packets,
                   struct kst_nat *nats, size_t count, struct kst_result *results)
{
    kst__run(t, now_ms, packets, nats, count, results);
}

uint32_t kst_advance(struct kst *t, uint64_t now_ms, uint32_t work_max)
{
    uint32_t work = work_max;
    kst__set_clock(t, now_ms);
    if (t->defrag_at != 0)
        kst__defrag_expire(t, &work);
    kst__collect(t, &work);
    return work_max - work;
}

bool kst_refuse(struct kst *t, const struct kst_result *result)
{
    const uint32_t slot = kst__slot_known(t, result->entry);
    if (!(result->flags & KST_CREATED) || slot == KST__NONE)
        return false;
    if (slot == t->pending)
        kst__pending_drop(t);
    else
        kst__remove(t, slot, KST_GONE_REFUSED);
    return true;
}

const uint8_t *kst_datagram(const struct kst *t, size_t *size)
{
    *size = t->datagram_bytes;
    return t->defrag_at != 0 ? kst__datagram(t) : NULL;
}

enum kst_reason kst_bind(struct kst *t, kst_id id, enum kst_nat_kind kind,
                         const struct kst_nat_range *range)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE || slot != t->pending)
        return KST_REASON_NAT_LATE;
    return kst__nat_bind(t, slot, kind, range);
}

enum kst_reason kst_translate(const struct kst *t, const struct kst_result *result,
                              enum kst_nat_kind kind, uint8_t *bytes, size_t size)
{
    const uint32_t here = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
    return (enum kst_reason)kst__translate(t, result, kind, bytes, here);
}

enum kst_reason kst_confirm(struct kst *t, uint64_t now_ms, const struct kst_packet *packet,
                            struct kst_result *result, uint8_t *bytes, size_t *size, size_t room)
{
    struct kst_packet now = *packet;
    struct kst__mangle mangle = {bytes, 0, 0, 0, false};
    kst__set_clock(t, now_ms);
    if (bytes != NULL) {
        now.data = bytes;
        now.size = *size > UINT32_MAX ? UINT32_MAX : (uint32_t)*size;
        mangle.room = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    }
    kst__finish(t, &now, bytes != NULL ? &mangle : NULL, result);
    if (mangle.changed)
        *size = mangle.size;
    return result->verdict == KST_ACCEPT ? KST_REASON_NONE : (enum kst_reason)result->reason;
}

/* ---- connections ---- */

KST_INLINE kst_id kst__find_id(const struct kst *t, const struct kst__key *key, uint8_t *direction)
{
    const uint32_t node = kst__find(t, key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return 0;
    if (direction != NULL)
        *direction = kst__node_direction(t, node, key);
    return kst__id(t, kst__node_slot(t, node));
}

kst_id kst_find(const struct kst *t, const struct kst_tuple *tuple, uint8_t *direction)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    return kst__find_id(t, &key, direction);
}

void kst_find_batch(const struct kst *t, const struct kst_tuple *tuples, size_t count, kst_id *ids,
                    uint8_t *directions)
{
    struct kst__key keys[3][KST_BURST]; /* as in kst__run */
    const size_t groups = (count + KST_BURST - 1) / KST_BURST;
    for (size_t group = 0; group < groups + 2; group++) {
        if (group < groups) {
            const size_t here = kst__group_size(group, count);
            for (size_t i = 0; i < here; i++)
                kst__key_make(t, &tuples[group * KST_BURST + i], &keys[group % 3][i]);
            kst__look_up(t, keys[group % 3], here);
        }
        if (group - 1 < groups)
            kst__look_closer(t, keys[(group - 1) % 3], kst__group_size(group - 1, count), false);
        if (group >= 2)
            for (size_t i = 0; i < kst__group_size(group - 2, count); i++) {
                const size_t at = (group - 2) * KST_BURST + i;
                ids[at] = kst__find_id(t, &keys[(group - 2) % 3][i],
                                       directions != NULL ? &directions[at] : NULL);
            }
    }
}

bool kst_get(const struct kst *t, kst_id id, struct kst_flow *flow)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE)
        return false;
    kst__flow_of(t, slot, flow);
    return true;
}

kst_id kst_next(const struct kst *t, kst_id id)
{
    for (uint64_t slot = id == 0 ? 0 : (id & UINT32_MAX) + 1; slot < t->used; slot++)
        if (kst__live(t, (uint32_t)slot) && !kst__expired(t, (uint32_t)slot))
            return kst__id(t, (uint32_t)slot);
    return 0;
}

bool kst_delete(struct kst *t, kst_id id)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE)
        return false;
    if (slot == t->pending)
        kst__pending_drop(t);
    else
        kst__remove(t, slot, KST_GONE_DELETED);
    return true;
}

void kst_flush(struct kst *t)
{
    kst__pending_drop(t);
    for (uint32_t slot = 0; slot < t->used; slot++)
        if (kst__live(t, slot))
            kst__remove(t, slot,
                        kst__expired(t, slot) ? KST_GONE_EXPIRED : KST_GONE_DELETED);
    kst__clear(t);
}

bool kst_set_mark(struct kst *t, kst_id id, uint32_t mark)
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE)
        return false;
    if (kst__entry_at(t, slot)->mark == mark)
        return true;
    kst__entry_at(t, slot)->mark = mark;
    if (slot != t->pending)
        kst__tell_update(t, slot, KST_CHANGED_MARK);
    return true;
}

bool kst_set_labels(struct kst *t, kst_id id, const uint8_t labels[KST_LABEL_BYTES])
{
    const uint32_t slot = kst__slot_known(t, id);
    if (slot == KST__NONE || !(t->features & KST_WITH_LABELS))
        return false;
    if (memcmp(kst__labels_at(t, slot)->bytes, labels, KST_LABEL_BYTES) == 0)
        return true;
    memcpy(kst__labels_at(t, slot)->bytes, labels, KST_LABEL_BYTES);
    if (slot != t->pending)
        kst__tell_update(t, slot, KST_CHANGED_LABELS);
    return true;
}

/* Whether a tuple is one that a packet could have. */
static bool kst__tuple_sound(const struct kst_tuple *tuple)
{
    static const uint8_t zeros[12] = {0};
    if (tuple->family != KST_IPV4 && tuple->family != KST_IPV6)
        return false;
    if (tuple->family == KST_IPV4 && (memcmp(tuple->src + 4, zeros, sizeof zeros) != 0 ||
                                      memcmp(tuple->dst + 4, zeros, sizeof zeros) != 0))
        return false;
    if (kst__is_icmp(tuple->protocol) && tuple->protocol != kst__icmp_of(tuple->family))
        return false;
    return kst__protocol_of(tuple->protocol)->ports != KST__NO_PORTS ||
           (tuple->src_port == 0 && tuple->dst_port == 0);
}

static enum kst_error kst__flow_error(const struct kst *t, const struct kst_flow *flow)
{
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const struct kst_tuple *reply = &flow->tuple[KST_REPLY];
    const uint32_t known =
        KST_EXPECTED | KST_SEEN_REPLY | KST_ASSURED | KST_CONFIRMED | KST_FIXED_TIMEOUT | KST__NAT;
    struct kst_tuple inverse;
    if (!kst__tuple_sound(original) || !kst__tuple_sound(reply) ||
        original->family != reply->family || original->protocol != reply->protocol ||
        (original->zone != reply->zone && original->zone != 0 && reply->zone != 0))
        return KST_ERROR_FLOW_FAMILY;
    if (!kst__tuple_invert(original, &inverse) || !kst__tuple_invert(reply, &inverse) ||
        (kst__is_icmp(original->protocol) &&
         (!kst__icmp_is_question(original) || inverse.dst_port != original->dst_port)))
        return KST_ERROR_FLOW_TUPLE;
    if (kst__tuple_same(reply, original) && !kst__tuple_same(&inverse, original))
        return KST_ERROR_FLOW_TUPLE;
    if (!kst__tuple_same(&inverse, original) && !(t->features & KST_WITH_NAT))
        return KST_ERROR_FLOW_NAT;
    if ((flow->accounted && !(t->features & KST_WITH_ACCOUNTING)) ||
        (flow->timestamped && !(t->features & KST_WITH_TIMESTAMPS)))
        return KST_ERROR_SETTING_FEATURE;
    if (flow->policy > KST_POLICIES)
        return KST_ERROR_POLICY;
    if (flow->helper != 0 && (t->expect_at == 0 || !kst__helper_for(flow->helper, original)))
        return KST_ERROR_HELPER;
    if ((flow->status & ~known) ||
        !kst__status_sound(original->protocol, flow->status) ||
        !kst__state_sound(original->protocol, flow->state))
        return KST_ERROR_FLOW_STATE;
    if (flow->gre_timeouts_s[0] > KST_TIMEOUT_MAX_S || flow->gre_timeouts_s[1] > KST_TIMEOUT_MAX_S)
        return KST_ERROR_FLOW_TIMEOUT;
    if (flow->timeout_ms == 0 || flow->timeout_ms > (uint64_t)KST_TIMEOUT_MAX_S * 1000)
        return KST_ERROR_FLOW_TIMEOUT;
    return KST_ERROR_OK;
}

/* What is said of its translation, and what its tuples say. */
static uint16_t kst__flow_nat(const struct kst *t, const struct kst_flow *flow)
{
    const struct kst_tuple *is = &flow->tuple[KST_ORIGINAL], *reply = &flow->tuple[KST_REPLY];
    uint32_t status = flow->status & (KST_SRC_NAT_DONE | KST_DST_NAT_DONE | KST_SEQ_ADJUST);
    const bool icmp = kst__is_icmp(is->protocol);
    if (!(t->features & KST_WITH_NAT))
        return 0;
    if (memcmp(reply->dst, is->src, sizeof is->src) != 0 ||
        (icmp ? reply->src_port != is->src_port : reply->dst_port != is->src_port))
        status |= KST_SRC_NAT | KST_SRC_NAT_DONE;
    if (memcmp(reply->src, is->dst, sizeof is->dst) != 0 ||
        (!icmp && reply->src_port != is->dst_port))
        status |= KST_DST_NAT | KST_DST_NAT_DONE;
    if (t->expect_at == 0 || is->protocol != KST__TCP)
        status &= ~(uint32_t)KST_SEQ_ADJUST;
    return (uint16_t)status;
}

static enum kst_error kst__insert(struct kst *t, const struct kst_flow *flow, kst_id *id)
{
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const struct kst_tuple *reply = &flow->tuple[KST_REPLY];
    struct kst_tuple mirror;
    uint32_t work = KST_COLLECT_MAX;
    const enum kst_error error = kst__flow_error(t, flow);
    if (error != KST_ERROR_OK)
        return error;
    if (!kst__tuple_clear(t, original, KST_NO_DIRECTION) ||
        !kst__tuple_clear(t, reply, KST_NO_DIRECTION))
        return KST_ERROR_FLOW_EXISTS;
    if (t->count >= t->set[KST__SET_MAX])
        kst__collect(t, &work);
    if (t->count >= t->set[KST__SET_MAX])
        return KST_ERROR_FULL;
    if ((t->tallies_at != 0 && kst__over_limit(t, original) != KST_REASON_NONE) ||
        (!(flow->status & KST_ASSURED) && kst__crowded(t) != KST_REASON_NONE))
        return KST_ERROR_LIMIT;

    const uint32_t slot = kst__newcomer(t, original, flow->policy);
    struct kst__entry *e = kst__entry_at(t, slot);
    kst__tuple_invert(original, &mirror);
    if (!kst__tuple_same(&mirror, reply)) {
        e->kind |= KST__KIND_NAT;
        *kst__reply_tuple(t, slot) = *reply;
    }
    e->kind = (uint8_t)((e->kind & ~KST__KIND_ACCOUNTED) |
                        (flow->accounted ? KST__KIND_ACCOUNTED : 0));
    if (flow->accounted) {
        memcpy(kst__counters_at(t, slot)->packets, flow->packets, sizeof flow->packets);
        memcpy(kst__counters_at(t, slot)->bytes, flow->bytes, sizeof flow->bytes);
    }
    if (t->features & KST_WITH_LABELS)
        memcpy(kst__labels_at(t, slot)->bytes, flow->labels, KST_LABEL_BYTES);
    if (t->features & KST_WITH_TIMESTAMPS) /* it may be older than the clock */
        *kst__birth_at(t, slot) = !flow->timestamped           ? KST__NEVER
                                  : flow->age_ms <= t->now_ms ? t->now_ms - flow->age_ms
                                                              : 0;
    if (t->expect_at != 0 && (flow->helper != 0 || flow->master != 0)) {
        kst__helper_attach(t, slot, flow->helper);
        kst__help_of(t, slot)->master = flow->master;
    }
    e->expires_ms = kst__later_ms(t, flow->timeout_ms);
    e->mark = flow->mark;
    e->status = (uint16_t)((flow->status & ~KST__NAT) | kst__flow_nat(t, flow));
    e->state = flow->state;
    if (e->status & KST_SRC_NAT_DONE)
        kst__source_at(t, slot)->out_interface = flow->out_interface;
    for (uint32_t i = 0; (e->status & KST_SEQ_ADJUST) && i < 2; i++) {
        struct kst__adjust_side *side = &kst__adjust_at(t, slot)[i];
        side->at = flow->seq_adjust[i][0];
        side->before = flow->seq_adjust[i][1];
        side->after = flow->seq_adjust[i][2];
    }
    if (original->protocol == KST__GRE) {
        const uint32_t *own = flow->gre_timeouts_s, *set = kst__set_of(t, e);
        e->proto.gre.timeout_s = own[0] != 0 ? own[0] : set[KST__SET_GRE_TIMEOUT];
        e->proto.gre.stream_s = own[1] != 0 ? own[1] : set[KST__SET_GRE_TIMEOUT_STREAM];
    } else if (original->protocol == KST__SCTP) {
        memcpy(e->proto.sctp.tag, flow->sctp_tags, sizeof flow->sctp_tags);
    } else if (original->protocol == KST__TCP) {
        e->proto.tcp.last = KST__LAST(KST__CLASS_NONE, KST_ORIGINAL);
        e->proto.tcp.flags[0] = e->proto.tcp.flags[1] = KST__TCP_SACKS | KST__TCP_LIBERAL;
    }
    if (!kst__index_in(t, slot, kst__tuple_hash(original, t->seed))) {
        kst__slot_give_back(t, slot);
        return KST_ERROR_FULL;
    }
    kst__confirm(t, slot);
    t->stats.inserted++;
    *id = kst__id(t, slot);
    kst__tell_new(t, slot);
    return KST_ERROR_OK;
}

kst_id kst_insert(struct kst *t, const struct kst_flow *flow, enum kst_error *why)
{
    kst_id id = 0;
    const enum kst_error error = kst__insert(t, flow, &id);
    if (why != NULL)
        *why = error;
    return id;
}

/* ---- helpers and expectations ---- */

uint8_t kst_helper_number(const char *name)
{
    for (uint8_t number = 1; number < KST__HELPERS; number++)
        if (strcmp(kst__helper(number)->name, name) == 0)
            return number;
    return 0;
}

const char *kst_helper_name(uint8_t helper)
{
    const struct kst_helper *found = kst__helper(helper);
    return found != NULL ? found->name : NULL;
}

enum kst_error kst_attach(struct kst *t, uint8_t protocol, uint16_t port, uint8_t helper)
{
    uint32_t i = 0, last = 0;
    const struct kst_helper *is = kst__helper(helper);
    if (helper != 0 && (t->expect_at == 0 || is == NULL ||
                        (is->protocols[0] != protocol && is->protocols[1] != protocol)))
        return KST_ERROR_HELPER;
    while (last < KST_ATTACH_MAX && t->attached[last].helper != 0)
        last++;
    while (i < last && (t->attached[i].protocol != protocol || t->attached[i].port != port))
        i++;
    if (i == KST_ATTACH_MAX && helper != 0)
        return KST_ERROR_HELPERS_MANY;
    if (helper == 0) {
        if (i < last) { /* the last one takes its place */
            t->attached[i] = t->attached[last - 1];
            t->attached[last - 1].helper = 0;
        }
        return KST_ERROR_OK;
    }
    t->attached[i].protocol = protocol;
    t->attached[i].port = port;
    t->attached[i].helper = helper;
    return KST_ERROR_OK;
}

enum kst_error kst_attach_usual(struct kst *t)
{
    enum kst_error error = KST_ERROR_OK;
    for (uint8_t number = 1; number < KST__HELPERS && error == KST_ERROR_OK; number++) {
        const struct kst_helper *helper = kst__helper(number);
        if (helper->port != 0)
            error = kst_attach(t, helper->protocols[0], helper->port, number);
    }
    return error;
}

enum kst_error kst_expect(struct kst *t, const struct kst_expectation *expectation)
{
    const uint32_t master = kst__slot(t, expectation->master);
    const uint32_t known = KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT | KST_EXPECT_PERMANENT |
                           KST_EXPECT_INACTIVE | KST_EXPECT_USERSPACE | KST_EXPECT_ANY_MASTER;
    struct kst__expected x;
    if (master == KST__NONE)
        return KST_ERROR_NOT_FOUND;
    if (t->expect_at == 0)
        return KST_ERROR_EXPECT_FULL;
    if (!kst__tuple_sound(&expectation->tuple) || (expectation->flags & ~known) ||
        (expectation->tuple.zone != kst__entry_at(t, master)->tuple.zone &&
         expectation->tuple.zone != kst__reply_of(t, master).zone))
        return KST_ERROR_EXPECT_TUPLE;
    if (expectation->class_ >= KST_EXPECT_CLASSES)
        return KST_ERROR_EXPECT_CLASS;
    if (expectation->child_helper != 0 &&
        !kst__helper_for(expectation->child_helper, &expectation->tuple))
        return KST_ERROR_HELPER;
    const struct kst_helper *helper = kst__helper(kst__help_of(t, master)->helper);
    const struct kst_expect_class *class_ =
        helper != NULL ? &helper->classes[expectation->class_] : NULL;
    const uint64_t timeout_ms = expectation->timeout_ms != 0 ? expectation->timeout_ms
                                : class_ != NULL ? (uint64_t)class_->timeout_s * 1000
                                                 : 0;
    if (timeout_ms == 0)
        return KST_ERROR_FLOW_TIMEOUT;
    memset(&x, 0, sizeof x);
    x.tuple = expectation->tuple;
    if (expectation->flags & KST_EXPECT_ANY_SRC)
        memset(x.tuple.src, 0, sizeof x.tuple.src);
    if (expectation->flags & KST_EXPECT_ANY_SRC_PORT)
        x.tuple.src_port = 0;
    x.expires_ms = kst__later_ms(t, timeout_ms);
    x.master = master;
    x.flags = expectation->flags;
    if (t->features & KST_WITH_NAT) {
        x.follows = expectation->follows;
        x.nat_direction = expectation->nat_direction != KST_ORIGINAL;
        x.nat_port = expectation->nat_port;
    }
    x.class_ = expectation->class_;
    x.child_helper = expectation->child_helper;
    return kst__expect_insert(t, &x,
                              class_ != NULL && class_->max != 0 ? class_->max : UINT8_MAX);
}

/* The place of an expectation that may still come true. */
static uint32_t kst__expected_place(const struct kst *t, kst_id id)
{
    const uint32_t place = (uint32_t)id;
    if (t->expect_at == 0 || place >= kst__expectations_of(t)->used)
        return KST__NONE;
    const struct kst__expected *x = kst__expected_at(t, place);
    const bool alive = x->serial == id >> 32 && x->serial != 0 && x->expires_ms > t->now_ms &&
                       !(x->flags & KST__EXPECT_KEY) && !kst__expired(t, x->master);
    return alive ? place : KST__NONE;
}

KST_INLINE kst_id kst__expectation_id(const struct kst *t, uint32_t place)
{
    return (kst_id)kst__expected_at(t, place)->serial << 32 | place;
}

kst_id kst_expectation_next(const struct kst *t, kst_id id)
{
    if (t->expect_at == 0)
        return 0;
    for (uint64_t place = id == 0 ? 0 : (id & UINT32_MAX) + 1;
         place < kst__expectations_of(t)->used; place++) {
        const kst_id next = kst__expectation_id(t, (uint32_t)place);
        if (kst__expected_place(t, next) != KST__NONE)
            return next;
    }
    return 0;
}

kst_id kst_expectation_own(const struct kst *t, kst_id master, kst_id id)
{
    const uint32_t slot = kst__slot(t, master);
    if (slot == KST__NONE || !(kst__entry_at(t, slot)->kind & KST__KIND_HELP))
        return 0;
    uint32_t place = kst__help_at(t, slot)->newest;
    if (id != 0) {
        place = kst__expected_place(t, id);
        if (place == KST__NONE || kst__expected_at(t, place)->master != slot)
            return 0;
        place = kst__expected_at(t, place)->own_older;
    }
    while (place != KST__NONE && kst__expected_place(t, kst__expectation_id(t, place)) == KST__NONE)
        place = kst__expected_at(t, place)->own_older;
    return place != KST__NONE ? kst__expectation_id(t, place) : 0;
}

bool kst_expectation_get(const struct kst *t, kst_id id, struct kst_expectation *expectation)
{
    const uint32_t place = kst__expected_place(t, id);
    if (place != KST__NONE)
        kst__expectation_of(t, place, expectation);
    return place != KST__NONE;
}

bool kst_expectation_delete(struct kst *t, kst_id id)
{
    const uint32_t place = kst__expected_place(t, id);
    if (place != KST__NONE)
        kst__expect_remove(t, place);
    return place != KST__NONE;
}

bool kst_expectation_renew(struct kst *t, kst_id id, uint8_t flags, uint64_t timeout_ms)
{
    const uint8_t may = KST_EXPECT_PERMANENT | KST_EXPECT_INACTIVE;
    const uint32_t place = kst__expected_place(t, id);
    if (place == KST__NONE)
        return false;
    struct kst__expected *x = kst__expected_at(t, place);
    kst__timer_ops(t)->disarm(kst__timer(t), kst__slots(t) + place);
    x->flags = (uint8_t)((x->flags & ~may) | (flags & may));
    x->expires_ms = kst__later_ms(t, timeout_ms);
    kst__timer_ops(t)->arm(kst__timer(t), kst__slots(t) + place, x->expires_ms);
    return true;
}

uint32_t kst_expectation_count(const struct kst *t)
{
    return t->expect_at != 0 ? kst__expectations_of(t)->count : 0;
}

/* ---- events ---- */

bool kst_event_next(struct kst *t, struct kst_event *event)
{
    struct kst__events *events = t->events_at != 0 ? kst__events_of(t) : NULL;
    if (events == NULL || events->count == 0)
        return false;
    *event = *kst__events_place(t, events->first);
    events->first = (events->first + 1) % t->events_max;
    events->count--;
    return true;
}

/* ---- settings and statistics ---- */

static bool kst__read_only(uint32_t number)
{
    return number == KST__SET_BUCKETS || number == KST__SET_COUNT;
}

static uint32_t kst__setting_value(const struct kst *t, uint32_t number)
{
    return number == KST__SET_COUNT ? t->count : t->set[number];
}

bool kst_setting_range(const struct kst *t, const char *name, uint32_t *lowest, uint32_t *highest)
{
    const uint32_t number = kst__setting_number(name);
    if (number == KST__SETTINGS)
        return false;
    *lowest = kst__settings[number].lowest;
    *highest = number == KST__SET_MAX          ? t->capacity
               : number == KST__SET_EXPECT_MAX ? t->expectations_max
                                               : kst__settings[number].highest;
    if (kst__read_only(number)) /* what it is, and nothing else */
        *lowest = *highest = kst__setting_value(t, number);
    return true;
}

/* What a setting needs before it can be other than 0. */
static uint32_t kst__needed_feature(uint32_t number)
{
    switch (number) {
    case KST__SET_ACCT: return KST_WITH_ACCOUNTING;
    case KST__SET_TIMESTAMP: return KST_WITH_TIMESTAMPS;
    case KST__SET_SOURCE_MAX:
    case KST__SET_ZONE_MAX: return KST_WITH_LIMITS;
    default: return 0;
    }
}

enum kst_error kst_set(struct kst *t, const char *name, uint32_t value)
{
    const uint32_t number = kst__setting_number(name);
    uint32_t lowest = 0, highest = 0;
    if (number == KST__SETTINGS)
        return KST_ERROR_SETTING_NAME;
    if (kst__read_only(number))
        return KST_ERROR_SETTING_READ_ONLY;
    kst_setting_range(t, name, &lowest, &highest);
    if (value < lowest || value > highest)
        return KST_ERROR_SETTING_RANGE;
    if (value != 0 && (kst__needed_feature(number) & ~t->features) != 0)
        return KST_ERROR_SETTING_FEATURE;
    t->set[number] = value;
    for (uint32_t i = 0; i < KST_POLICIES; i++)
        if (!(t->policy_owns[i] >> number & 1))
            t->policy[i][number] = value;
    if (t->defrag_at != 0 && (number == KST__SET_FRAG4_TIMEOUT || number == KST__SET_FRAG6_TIMEOUT))
        kst__defrag_shorten(t);
    return KST_ERROR_OK;
}

/* Whether a setting is how long a connection lasts. */
static bool kst__is_timeout(uint32_t number)
{
    return kst__settings[number].highest == KST_TIMEOUT_MAX_S && number != KST__SET_FRAG4_TIMEOUT &&
           number != KST__SET_FRAG6_TIMEOUT && number != KST__SET_SIP_TIMEOUT;
}

enum kst_error kst_set_policy(struct kst *t, uint8_t policy, const char *name, uint32_t value)
{
    const uint32_t number = kst__setting_number(name);
    if (number == KST__SETTINGS)
        return KST_ERROR_SETTING_NAME;
    if (policy < 1 || policy > KST_POLICIES || !kst__is_timeout(number))
        return KST_ERROR_POLICY;
    if (value > kst__settings[number].highest)
        return KST_ERROR_SETTING_RANGE;
    t->policy[policy - 1][number] = value;
    t->policy_owns[policy - 1] |= UINT64_C(1) << number;
    return KST_ERROR_OK;
}

bool kst_setting(const struct kst *t, const char *name, uint32_t *value)
{
    const uint32_t number = kst__setting_number(name);
    if (number == KST__SETTINGS)
        return false;
    *value = kst__setting_value(t, number);
    return true;
}

const char *kst_setting_name(uint32_t number)
{
    return number < KST__SETTINGS ? kst__settings[number].name : NULL;
}

const struct kst_stats *kst_statistics(const struct kst *t)
{
    return &t->stats;
}

uint32_t kst_count(const struct kst *t)
{
    return t->count;
}

uint32_t kst_class_count(const struct kst *t, enum kst_class number)
{
    return (uint32_t)number < KST_CLASSES ? t->classes[number].count : 0;
}

uint32_t kst_state_count(const struct kst *t, uint8_t protocol, uint8_t state)
{
    return state < KST_TCP_STATES ? *kst__census(t, protocol, state) : 0;
}

uint32_t kst_source_count(const struct kst *t, uint16_t zone, enum kst_family family,
                          const uint8_t *address)
{
    struct kst_tuple tuple;
    uint32_t steps = 0;
    if (t->tallies_at == 0)
        return 0;
    memset(&tuple, 0, sizeof tuple);
    tuple.zone = zone;
    tuple.family = (uint8_t)family;
    if (address != NULL)
        memcpy(tuple.src, address, family == KST_IPV6 ? 16 : 4);
    return kst__tallied(t, &tuple, address != NULL, &steps);
}

static const uint8_t kst__reason_columns[KST_REASONS] = {
#define KST__X(name, columns, text) KST_COLUMN_##columns,
    KST_REASONS_LIST(KST__X)
#undef KST__X
};

uint64_t kst_column(const struct kst *t, enum kst_column column)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < KST_REASONS; i++)
        if (kst__reason_columns[i] & column)
            sum += t->stats.reasons[i];
    return sum;
}

#endif
