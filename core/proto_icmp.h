/* SPDX-License-Identifier: MIT */
/* core/proto_icmp.h - ICMP (RFC 792) and ICMPv6 (RFC 4443): questions, answers and errors. */
#ifndef KST_PROTO_ICMP_H
#define KST_PROTO_ICMP_H

#include "expect.h"
#include "proto.h"

enum kst__icmp_sort {
    KST__ICMP_ORDINARY,  /* to be looked up like any packet */
    KST__ICMP_ERROR,     /* about another packet, which it carries */
    KST__ICMP_UNTRACKED, /* part of how IPv6 itself works */
    KST__ICMP_REFUSED
};

/* IPv4 errors: unreachable, source quench, redirect, time exceeded, parameter problem. */
static enum kst__icmp_sort kst__icmp4_sort(uint8_t type)
{
    return type == 3 || type == 4 || type == 5 || type == 11 || type == 12 ? KST__ICMP_ERROR
           : type > 18                                                     ? KST__ICMP_REFUSED
                                                                           : KST__ICMP_ORDINARY;
}

/* IPv6: multicast listeners, neighbours, routers and multicast routers are not tracked. */
static enum kst__icmp_sort kst__icmp6_sort(uint8_t type)
{
    return type < 128                                   ? KST__ICMP_ERROR
           : (type >= 130 && type <= 136) || type == 143 ? KST__ICMP_UNTRACKED
           : type == 151 || type == 152                  ? KST__ICMP_UNTRACKED
                                                         : KST__ICMP_ORDINARY;
}

/* What is to be done with a packet of the family's own ICMP, before anything is looked up. */
static enum kst__icmp_sort kst__icmp_sort(const struct kst__parsed *p, uint8_t *reason)
{
    const bool v4 = p->tuple.family == KST_IPV4;
    if (!kst__checksum_right(p, p->l4_bytes, v4 ? 0 : KST__ICMPV6)) {
        *reason = KST_REASON_ICMP_CHECKSUM;
        return KST__ICMP_REFUSED;
    }
    *reason = KST_REASON_ICMP_TYPE;
    return v4 ? kst__icmp4_sort(p->l4[0]) : kst__icmp6_sort(p->l4[0]);
}

/* The key under which the connection is known that an ICMP error is about: the inverse of the
 * packet it carries. False if that packet cannot be read or can have no answer. */
static bool kst__icmp_about(const struct kst *t, const struct kst__parsed *p, struct kst__key *key)
{
    const uint8_t *inner = p->l4 + 8;
    const uint32_t here = p->l4_here - 8;
    struct kst_tuple tuple, inverse;
    const struct kst__ip ip =
        p->tuple.family == KST_IPV4 ? kst__ip4(inner, here) : kst__ip6(inner, here);
    if (ip.reason != KST_REASON_NONE || ip.fragment_at != 0 ||
        !kst__tuple_of(&ip, inner + ip.l4_at, here - ip.l4_at, p->tuple.zone, &tuple))
        return false;
    if (ip.protocol == KST__GRE && kst__gre_is_call(inner + ip.l4_at, here - ip.l4_at))
        kst__key_complete(t, &tuple);
    if (!kst__tuple_invert(&tuple, &inverse))
        return false;
    kst__key_make(t, &inverse, key);
    return true;
}

static struct kst__judgement kst__icmp_judge(const struct kst__case *c)
{
    const struct kst_tuple *tuple = &c->entry->tuple;
    if (tuple->protocol != kst__icmp_of(tuple->family))
        return kst__say(KST__REFUSE, KST_REASON_ICMP_FAMILY);
    if (c->fresh && !kst__icmp_is_question(tuple))
        return kst__say(KST__REFUSE, KST_REASON_ICMP_UNASKED);
    return kst__refresh(c->set[tuple->protocol == KST__ICMP ? KST__SET_ICMP_TIMEOUT
                                                               : KST__SET_ICMPV6_TIMEOUT]);
}

#endif
