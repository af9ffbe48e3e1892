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
    if (config->features & ~(uint32_t)(KST_WITH_ACCOUNTING | KST_WITH_NAT))
        return KST_ERROR_FEATURES;
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
    t->buckets = kst__power_of_two(config->buckets != 0 ? config->buckets : config->max);
    const uint64_t slots = kst__slots(t);
    t->index_at = kst__aligned(sizeof *t);
    t->timer_at = kst__aligned(t->index_at + kst__kit.index->bytes(kst__nodes(t), t->buckets));
    t->entries_at = kst__aligned(t->timer_at + kst__kit.timer->bytes(kst__slots(t)));
    t->replies_at = kst__aligned(t->entries_at + slots * sizeof(struct kst__entry));
    t->counters_at = kst__aligned(
        t->replies_at + (t->features & KST_WITH_NAT ? slots * sizeof(struct kst_tuple) : 0));
    layout.bytes = kst__aligned(t->counters_at + (t->features & KST_WITH_ACCOUNTING
                                                  ? slots * sizeof(struct kst__counters)
                                                  : 0));
    if (config->reassembly_bytes != 0) {
        struct kst__defrag defrag;
        t->defrag_at = layout.bytes;
        layout.bytes = kst__aligned(t->defrag_at +
                                kst__defrag_lay_out(&defrag, config->reassembly_bytes));
    }
    if (layout.bytes > SIZE_MAX)
        layout.error = KST_ERROR_MAX;
    return layout;
}

size_t kst_bytes(const struct kst_config *config)
{
    const struct kst__layout layout = kst__lay_out(config);
    return layout.error == KST_ERROR_OK ? (size_t)layout.bytes : 0;
}

/* Empties the pool, the classes and the back ends. */
static void kst__clear(struct kst *t)
{
    t->count = t->used = 0;
    t->free = KST__NONE;
    for (uint32_t i = 0; i < KST_CLASSES; i++) {
        t->classes[i].oldest = t->classes[i].newest = KST__NONE;
        t->classes[i].count = 0;
    }
    kst__kit.index->init(kst__index(t), kst__nodes(t), t->buckets);
    kst__kit.timer->init(kst__timer(t), kst__slots(t), t->now_ms);
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
    memcpy(t->evict, config->evict, sizeof t->evict);
    if (t->evict[0] == 0) {
        t->evict[0] = KST_CLASS_UNREPLIED + 1;
        t->evict[1] = KST_CLASS_REPLIED + 1;
    }
    for (uint32_t i = 0; i < KST_CLASSES; i++)
        t->classes[i].residence_ms = config->residence_ms[i];
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
    kst__run(t, &kst__kit, now_ms, packets, count, results);
}

uint32_t kst_advance(struct kst *t, uint64_t now_ms, uint32_t work_max)
{
    uint32_t work = work_max;
    kst__set_clock(t, now_ms);
    if (t->defrag_at != 0)
        kst__defrag_expire(t, &work);
    kst__collect(t, &kst__kit, &work);
    return work_max - work;
}

bool kst_refuse(struct kst *t, const struct kst_result *result)
{
    const uint32_t slot = kst__slot(t, result->entry);
    if (!(result->flags & KST_CREATED) || slot == KST__NONE)
        return false;
    kst__remove(t, &kst__kit, slot, &t->stats.refused);
    return true;
}

/* ---- connections ---- */

kst_id kst_find(const struct kst *t, const struct kst_tuple *tuple, uint8_t *direction)
{
    struct kst__key key;
    kst__key_make(t, tuple, &key);
    const uint32_t node = kst__kit.index->find(kst__index(t), t, &key);
    if (node == KST__NONE || kst__expired(t, kst__node_slot(t, node)))
        return 0;
    if (direction != NULL)
        *direction = kst__node_direction(t, node, &key);
    return kst__id(t, kst__node_slot(t, node));
}

bool kst_get(const struct kst *t, kst_id id, struct kst_flow *flow)
{
    const uint32_t slot = kst__slot(t, id);
    if (slot == KST__NONE)
        return false;
    const struct kst__entry *e = kst__entry_at(t, slot);
    memset(flow, 0, sizeof *flow);
    flow->id = id;
    flow->tuple[KST_ORIGINAL] = e->tuple;
    flow->tuple[KST_REPLY] = kst__reply_of(t, slot);
    flow->timeout_ms = e->expires_ms - t->now_ms;
    flow->mark = e->mark;
    flow->status = e->status;
    flow->state = e->state;
    flow->accounted = (e->kind & KST__KIND_ACCOUNTED) != 0;
    if (e->tuple.protocol == KST__GRE) {
        flow->gre_timeouts_s[0] = e->proto.gre.timeout_s;
        flow->gre_timeouts_s[1] = e->proto.gre.stream_s;
    } else if (e->tuple.protocol == KST__SCTP) {
        memcpy(flow->sctp_tags, e->proto.sctp.tag, sizeof flow->sctp_tags);
    }
    if (flow->accounted) {
        const struct kst__counters *counters = kst__counters_at(t, slot);
        memcpy(flow->packets, counters->packets, sizeof flow->packets);
        memcpy(flow->bytes, counters->bytes, sizeof flow->bytes);
    }
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
    const uint32_t slot = kst__slot(t, id);
    if (slot == KST__NONE)
        return false;
    kst__remove(t, &kst__kit, slot, &t->stats.deleted);
    return true;
}

void kst_flush(struct kst *t)
{
    t->stats.deleted += t->count;
    kst__clear(t);
}

bool kst_set_mark(struct kst *t, kst_id id, uint32_t mark)
{
    const uint32_t slot = kst__slot(t, id);
    if (slot == KST__NONE)
        return false;
    kst__entry_at(t, slot)->mark = mark;
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
        KST_SEEN_REPLY | KST_ASSURED | KST_CONFIRMED | KST_FIXED_TIMEOUT;
    struct kst_tuple inverse;
    if (!kst__tuple_sound(original) || !kst__tuple_sound(reply) ||
        original->family != reply->family || original->protocol != reply->protocol ||
        original->zone != reply->zone)
        return KST_ERROR_FLOW_FAMILY;
    if (!kst__tuple_invert(original, &inverse) || !kst__tuple_invert(reply, &inverse) ||
        (kst__is_icmp(original->protocol) &&
         (!kst__icmp_is_question(original) || inverse.dst_port != original->dst_port)))
        return KST_ERROR_FLOW_TUPLE;
    if (kst__tuple_same(reply, original) && !kst__tuple_same(&inverse, original))
        return KST_ERROR_FLOW_TUPLE;
    if (!kst__tuple_same(&inverse, original) && !(t->features & KST_WITH_NAT))
        return KST_ERROR_FLOW_NAT;
    if (flow->accounted && !(t->features & KST_WITH_ACCOUNTING))
        return KST_ERROR_SETTING_FEATURE;
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

static enum kst_error kst__insert(struct kst *t, const struct kst_flow *flow, kst_id *id)
{
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const struct kst_tuple *reply = &flow->tuple[KST_REPLY];
    struct kst_tuple mirror;
    uint32_t work = KST_COLLECT_MAX;
    const enum kst_error error = kst__flow_error(t, flow);
    if (error != KST_ERROR_OK)
        return error;
    if (!kst__tuple_clear(t, &kst__kit, original) || !kst__tuple_clear(t, &kst__kit, reply))
        return KST_ERROR_FLOW_EXISTS;
    if (t->count >= t->set[KST__SET_MAX])
        kst__collect(t, &kst__kit, &work);
    if (t->count >= t->set[KST__SET_MAX])
        return KST_ERROR_FULL;

    const uint32_t slot = kst__newcomer(t, original);
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
    e->expires_ms = kst__later_ms(t, flow->timeout_ms);
    e->mark = flow->mark;
    e->status = flow->status;
    e->state = flow->state;
    if (original->protocol == KST__GRE) {
        const uint32_t *own = flow->gre_timeouts_s;
        e->proto.gre.timeout_s = own[0] != 0 ? own[0] : t->set[KST__SET_GRE_TIMEOUT];
        e->proto.gre.stream_s = own[1] != 0 ? own[1] : t->set[KST__SET_GRE_TIMEOUT_STREAM];
    } else if (original->protocol == KST__SCTP) {
        memcpy(e->proto.sctp.tag, flow->sctp_tags, sizeof flow->sctp_tags);
    } else if (original->protocol == KST__TCP) {
        e->proto.tcp.last = KST__LAST(KST__CLASS_NONE, KST_ORIGINAL);
        e->proto.tcp.flags[0] = e->proto.tcp.flags[1] = KST__TCP_SACKS | KST__TCP_LIBERAL;
    }
    if (!kst__index_in(t, &kst__kit, slot, kst__tuple_hash(original, t->seed))) {
        kst__slot_give_back(t, slot);
        return KST_ERROR_FULL;
    }
    kst__confirm(t, &kst__kit, slot);
    t->stats.inserted++;
    *id = kst__id(t, slot);
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
    *highest = number == KST__SET_MAX ? t->capacity : kst__settings[number].highest;
    if (kst__read_only(number)) /* what it is, and nothing else */
        *lowest = *highest = kst__setting_value(t, number);
    return true;
}

enum kst_error kst_set(struct kst *t, const char *name, uint32_t value)
{
    const uint32_t number = kst__setting_number(name);
    uint32_t lowest, highest;
    if (number == KST__SETTINGS)
        return KST_ERROR_SETTING_NAME;
    if (kst__read_only(number))
        return KST_ERROR_SETTING_READ_ONLY;
    kst_setting_range(t, name, &lowest, &highest);
    if (value < lowest || value > highest)
        return KST_ERROR_SETTING_RANGE;
    if (number == KST__SET_ACCT && value != 0 && !(t->features & KST_WITH_ACCOUNTING))
        return KST_ERROR_SETTING_FEATURE;
    t->set[number] = value;
    if (t->defrag_at != 0 && (number == KST__SET_FRAG4_TIMEOUT || number == KST__SET_FRAG6_TIMEOUT))
        kst__defrag_shorten(t);
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
