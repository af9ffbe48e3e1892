/* SPDX-License-Identifier: MIT */
/* core/help.h - the helpers that are compiled in, and how a message comes to its connection's. */
#ifndef KST_HELP_H
#define KST_HELP_H

#include "help_ftp.h"
#include "help_irc.h"
#include "help_pptp.h"
#include "help_sip.h"
#include "help_tftp.h"
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

/* Shows a packet that the tracker accepted to its connection's helper. NONE, or the reason why
 * it is to be dropped. Of a packet that is not all there the helper hears nothing. */
static uint16_t kst__helper_hear(struct kst *t, uint32_t slot,
                                 const struct kst__parsed *p, uint8_t direction, bool answered)
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
    const enum kst_reason reason = kst__helper_call(help->helper, &h);
    const bool there = kst__live(t, slot) && kst__id(t, slot) == h.connection; /* it may have deleted it */
    if (there && h.timeout_s != 0 && !(e->status & KST_FIXED_TIMEOUT))
        kst__expire_at(t, slot, kst__due_ms(t, h.timeout_s));
    return (uint16_t)reason;
}

#endif
