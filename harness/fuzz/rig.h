/* SPDX-License-Identifier: MIT */
/* rig.h - the core as targets have it: a private copy whose assertions are failures of the target, tables
 * in blocks of their exact size, and what every target checks. */
#ifndef KEEPSTATE_RIG_H
#define KEEPSTATE_RIG_H

#include "fuzz.h"

#undef KST_ASSERT /* where a target has helpers of its own, and so the declarations already */
#define KST_ASSERT(condition) ((condition) ? (void)0 : fuzz_fail("assertion: %s", #condition))
#define KST_ALL_BACK_ENDS
#define KST_IMPLEMENTATION
#ifndef RIG_SHARED /* with other files of the target */
#define KST_STATIC
#endif
#include "keepstate.h"

/* Gives a configuration the back ends that this run is about, or a pair that differs in both. */
static inline void rig_back_ends(struct kst_config *config, bool others)
{
    const uint32_t kit = others ? fuzz_kit + 5 : fuzz_kit;
    config->index = (uint8_t)(kit % KST__INDEXES);
    config->timer = (uint8_t)(kit / KST__INDEXES % KST__TIMERS);
}

/* A table; the same bytes each time. */
static inline struct kst *rig_table(const struct kst_config *config)
{
    enum kst_error why = KST_ERROR_OK;
    const size_t bytes = kst_bytes(config);
    struct kst *t = bytes > 0 ? kst_init(fuzz_alloc(bytes, KST_ALIGN), bytes, config, &why) : NULL;
    if (t == NULL)
        fuzz_fail("no table: %s", kst_error_text(why));
    return t;
}

static inline void rig_check(const struct kst *t)
{
    const char *broken = NULL;
    if (!kst_check(t, &broken))
        fuzz_fail("the table is broken: %s", broken);
}

/* What any answer to a packet must be like. */
static inline void rig_result_sound(const struct kst_result *r)
{
    fuzz_must(r->state <= KST_UNTRACKED && r->verdict <= KST_HOLD && r->direction <= KST_NO_DIRECTION);
    fuzz_must(r->reason < KST_REASONS && r->flags <= (KST_CREATED | KST_CLOSED | KST_REASSEMBLED));
    fuzz_must(r->state != KST_INVALID || r->verdict == KST_DROP || r->entry == 0); /* a helper may drop a message */
    fuzz_must(!(r->flags & KST_CREATED) || (r->entry != 0 && (r->state == KST_NEW || r->state == KST_RELATED)));
    fuzz_must(r->state == KST_INVALID || r->verdict == KST_ACCEPT);
}

static inline void rig_note_result(const struct kst_result *r)
{
    fuzz_note(r->entry >> 32); /* the slot is the back ends' affair */
    fuzz_note((uint64_t)r->reason << 32 | (uint64_t)r->state << 24 | (uint64_t)r->direction << 16 |
              (uint64_t)r->verdict << 8 | r->flags);
}

static inline bool rig_same_result(const struct kst_result *a, const struct kst_result *b)
{
    return a->state == b->state && a->direction == b->direction && a->verdict == b->verdict && a->flags == b->flags &&
           a->reason == b->reason;
}

/* All connections into the digest: the sum of all, as their order is nobody's business. */
static inline void rig_note_table(const struct kst *t)
{
    uint64_t sum = 0, before = fuzz_digest;
    for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id)) {
        struct kst_flow f;
        fuzz_must(kst_get(t, id, &f) && f.id == id);
        fuzz_digest = 0;
        for (uint32_t dir = 0; dir < 2; dir++) {
            for (uint32_t i = 0; i < 16; i++)
                fuzz_note((uint64_t)f.tuple[dir].src[i] << 8 | f.tuple[dir].dst[i]);
            fuzz_note((uint64_t)f.tuple[dir].src_port << 32 | (uint64_t)f.tuple[dir].dst_port << 16 | f.tuple[dir].zone);
            fuzz_note(f.packets[dir] * 3 + f.bytes[dir]);
            fuzz_note((uint64_t)f.sctp_tags[dir] << 32 | f.gre_timeouts_s[dir]);
        }
        fuzz_note(f.timeout_ms);
        fuzz_note((uint64_t)f.status << 32 | (uint64_t)f.state << 24 | (uint64_t)f.helper << 16 | f.policy);
        fuzz_note(f.master >> 32);
        sum += fuzz_digest;
    }
    fuzz_digest = before;
    fuzz_note(sum);
    fuzz_note(kst_expectation_count(t));
}

/* kst_track of one packet, which is held to a bound on its work where edges are counted: so many for any
 * packet, and so many more a byte: a few times what the corpora need (600, and 9 a byte of SIP). */
enum { RIG_STEPS_PACKET = 2000, RIG_STEPS_BYTE = 40 };

/* Shows a packet that is about to be tracked to whoever watches; then, after it, what it took since `begin`. */
static inline uint64_t rig_begin(uint64_t now_ms, const uint8_t *data, uint32_t size)
{
    if (fuzz_watch != NULL)
        fuzz_watch(now_ms, data, size);
    return fuzz_steps;
}

static inline void rig_bounded(uint64_t begin, uint32_t size, uint32_t times)
{
    const uint64_t steps = fuzz_steps - begin;
    if (steps > times * (RIG_STEPS_PACKET + (uint64_t)RIG_STEPS_BYTE * size))
        fuzz_fail("%" PRIu64 " steps for a packet of %u bytes", steps, size);
}

static inline struct kst_result rig_track(struct kst *t, uint64_t now_ms, const struct kst_packet *packet)
{
    struct kst_result result;
    const uint64_t begin = rig_begin(now_ms, packet->data, packet->size);
    kst_track(t, now_ms, packet, 1, &result);
    rig_bounded(begin, packet->size, 1);
    rig_result_sound(&result);
    return result;
}

#endif
