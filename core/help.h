/* SPDX-License-Identifier: MIT */
/* core/help.h - the helpers that are compiled in, and how a message comes to its connection's. */
#ifndef KST_HELP_H
#define KST_HELP_H

#include "help_ftp.h"
#include "help_irc.h"
#include "help_pptp.h"
#include "help_sip.h"
#include "help_tftp.h"
#include "adjust.h"
#include "parse.h"
#include "table.h"

enum {
    KST__HELPER_NONE,
#define KST__X(name) KST__HELPER_##name,
    KST_HELPERS(KST__X)
#undef KST__X
    KST__HELPERS
};

typedef char kst__helpers_fit_a_byte[KST__HELPERS <= UINT8_MAX ? 1 : -1];

/* NULL if there is none of this number. */
static const struct kst_helper *kst__helper(uint8_t number)
{
    switch (number) {
#define KST__X(name) case KST__HELPER_##name: return &kst_helper_##name;
        KST_HELPERS(KST__X)
#undef KST__X
    default: return NULL;
    }
}

/* Calls it. By name, so that the compiler sees whom: no call through a pointer. */
static enum kst_reason kst__helper_call(uint8_t number, struct kst_help *h)
{
    (void)h; /* if there are no helpers at all */
    switch (number) {
#define KST__X(name) case KST__HELPER_##name: return kst_helper_##name.help(h);
        KST_HELPERS(KST__X)
#undef KST__X
    default: return KST_REASON_NONE;
    }
}

static bool kst__helper_for(uint8_t number, const struct kst_tuple *tuple)
{
    const struct kst_helper *helper = kst__helper(number);
    return helper != NULL && (helper->family == 0 || helper->family == tuple->family) &&
           (helper->protocols[0] == tuple->protocol || helper->protocols[1] == tuple->protocol);
}

static void kst__helper_attach(struct kst *t, uint32_t slot, uint8_t helper)
{
    struct kst__help *help = kst__help_of(t, slot);
    help->helper = helper;
    help->calls = helper != 0 && kst__helper(helper)->calls;
}

/* The helper that the caller has given to this port, 0 if none. */
static uint8_t kst__helper_of_port(const struct kst *t, const struct kst_tuple *tuple)
{
    for (uint32_t i = 0; i < KST_ATTACH_MAX && t->attached[i].helper != 0; i++)
        if (t->attached[i].protocol == tuple->protocol && t->attached[i].port == tuple->dst_port)
            return t->attached[i].helper;
    return 0;
}

/* Bytes before a transport protocol's payload. */
static uint32_t kst__payload_at(const struct kst__parsed *p)
{
    switch (p->tuple.protocol) {
    case KST__TCP: return p->l4_here > 12 ? (uint32_t)(p->l4[12] >> 4) * 4 : p->l4_here;
    case KST__UDP:
    case KST__UDPLITE: return 8;
    case KST__SCTP: return 12;
    case KST__ICMP:
    case KST__ICMPV6: return 8;
    default: return 0;
    }
}

/* A packet whose payload may be changed. */
struct kst__mangle {
    uint8_t *bytes; /* IP header first */
    uint32_t size;  /* of the IP packet */
    uint32_t room;
    uint32_t l4_at;
    bool changed;
};

bool kst_help_replace(struct kst_help *h, uint32_t at, uint32_t length, const void *text,
                      uint32_t size)
{
    struct kst__mangle *m = h->mangle;
    if (m == NULL || at > h->size || length > h->size - at)
        return false;
    const uint32_t most = m->bytes[0] >> 4 == 4 ? UINT16_MAX : 40 + (uint32_t)UINT16_MAX;
    const uint32_t room = m->room < most ? m->room : most;
    if (size > length && size - length > room - m->size)
        return false;
    uint8_t *place = m->bytes + (h->payload - m->bytes) + at;
    memmove(place + size, place + length, h->size - at - length);
    memcpy(place, text, size);
    h->size = h->size - length + size;
    m->size = m->size - length + size;
    m->changed = true;
    return true;
}

/* Lengths and checksums of a packet whose payload was changed. */
static void kst__mangle_seal(struct kst__mangle *m, uint8_t protocol)
{
    uint8_t *l4 = m->bytes + m->l4_at;
    const uint32_t l4_bytes = m->size - m->l4_at;
    const bool v4 = m->bytes[0] >> 4 == 4;
    const uint64_t pseudo =
        kst__sum_pseudo(m->bytes + (v4 ? 12 : 8), v4 ? 8 : 32, l4_bytes, protocol);
    if (v4) {
        kst__put16(m->bytes + 2, m->size);
        kst__checksum_set(m->bytes, 10, (uint32_t)(m->bytes[0] & 15) * 4, 0);
    } else {
        kst__put16(m->bytes + 4, m->size - 40);
    }
    if (protocol == KST__TCP) {
        kst__checksum_set(l4, 16, l4_bytes, pseudo);
    } else {
        const bool summed = kst__be16(l4 + 6) != 0;
        kst__put16(l4 + 4, l4_bytes);
        if (summed)
            kst__checksum_set(l4, 6, l4_bytes, pseudo);
        if (summed && kst__be16(l4 + 6) == 0)
            kst__put16(l4 + 6, UINT16_MAX);
    }
}

/* Shows a packet that the tracker accepted to its connection's helper. NONE, or the reason why
 * it is to be dropped. Of a packet that is not all there the helper hears nothing. `mangle`, unless
 * NULL, is where a translated connection's may be changed. */
static uint16_t kst__helper_hear(struct kst *t, uint32_t slot,
                                 const struct kst__parsed *p, struct kst__mangle *mangle,
                                 uint8_t direction, bool answered)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__help *help = kst__help_at(t, slot);
    const uint32_t at = kst__payload_at(p);
    struct kst_help h;
    if (help->helper == 0 || p->l4_here < p->l4_bytes || at > p->l4_bytes)
        return KST_REASON_NONE;
    memset(&h, 0, sizeof h);
    h.t = t;
    h.connection = kst__id(t, slot);
    h.tuple[KST_ORIGINAL] = e->tuple;
    h.tuple[KST_REPLY] = kst__reply_of(t, slot);
    h.direction = direction;
    h.answered = answered;
    h.expected = help->master != 0;
    h.error = kst__is_icmp(p->tuple.protocol);
    h.seq = p->tuple.protocol == KST__TCP ? kst__be32(p->l4 + 4) : 0;
    h.payload = p->l4 + at;
    h.size = p->l4_bytes - at;
    h.state = help->state;
    h.translated = mangle != NULL && (e->status & (KST_SRC_NAT | KST_DST_NAT)) && !h.error;
    h.mangle = h.translated && (h.tuple[0].protocol == KST__TCP || h.tuple[0].protocol == KST__UDP)
                   ? mangle
                   : NULL;
    const uint32_t serial = kst__expectations_of(t)->serial;
    const enum kst_reason reason = kst__helper_call(help->helper, &h);
    const bool there = kst__live(t, slot) && kst__id(t, slot) == h.connection; /* it may have deleted it */
    if (h.mangle != NULL && h.to_port != 0 && p->tuple.protocol == KST__UDP) {
        kst__put16(mangle->bytes + mangle->l4_at + 2, h.to_port);
        mangle->changed = true;
    }
    if (h.mangle != NULL && mangle->changed) {
        const uint32_t grown = h.size - (p->l4_bytes - at);
        kst__mangle_seal(mangle, p->tuple.protocol);
        if (there && grown != 0 && p->tuple.protocol == KST__TCP && reason == KST_REASON_NONE && !h.unnoted)
            kst__adjust_note(t, slot, direction, h.seq, grown);
    }
    if (there && reason == KST_REASON_NAT_ROOM) /* who was to be told of them is not */
        kst__expect_withdraw(t, slot, serial);
    if (there && h.timeout_s != 0 && !(e->status & KST_FIXED_TIMEOUT))
        kst__expire_at(t, slot, kst__due_ms(t, h.timeout_s));
    return (uint16_t)reason;
}

#endif
