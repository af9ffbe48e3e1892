/* SPDX-License-Identifier: MIT */
/* core/proto_udp.h - UDP (RFC 768) and UDP-Lite (RFC 3828).
 *
 * Neither has states: an answered UDP flow that still talks two seconds after its start is a
 * stream and ASSURED, so a DNS query and its answer never are; an answered UDP-Lite flow is. */
#ifndef KST_PROTO_UDP_H
#define KST_PROTO_UDP_H

#include "proto.h"

#define KST__UDP_STREAM_MS 2000

static uint8_t kst__udp_refuse(const struct kst__parsed *p)
{
    if (p->l4_here < 8)
        return KST_REASON_L4_SHORT;
    const uint32_t length = kst__be16(p->l4 + 4);
    if (length < 8 || length > p->l4_bytes)
        return KST_REASON_UDP_LENGTH;
    if (kst__be16(p->l4 + 6) != 0 && !kst__checksum_right(p, p->l4_bytes, KST__UDP))
        return KST_REASON_UDP_CHECKSUM;
    return KST_REASON_NONE;
}

static struct kst__judgement kst__udp_judge(const struct kst__case *c)
{
    struct kst__udp *udp = &c->entry->proto.udp;
    const uint8_t reason = kst__udp_refuse(c->packet);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);

    if (c->entry->status & KST_ASSURED) /* which saves a look at the second line */
        return kst__refresh(c->set[KST__SET_UDP_TIMEOUT_STREAM]);
    if (c->fresh) {
        const uint64_t stream_ms = kst__later_ms(c->t, KST__UDP_STREAM_MS);
        udp->stream_low = (uint32_t)stream_ms;
        udp->stream_high = (uint32_t)(stream_ms >> 32);
    }
    const uint64_t stream_ms = (uint64_t)udp->stream_high << 32 | udp->stream_low;
    if (!(c->entry->status & KST_SEEN_REPLY) || c->t->now_ms <= stream_ms)
        return kst__refresh(c->set[KST__SET_UDP_TIMEOUT]);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(c->set[KST__SET_UDP_TIMEOUT_STREAM]);
}

/* Linux computes the pseudo-header with UDP's number instead of UDP-Lite's, so what RFC 3828 says
 * is right it finds wrong. We do as Linux does, unless keepstate_udplite_rfc3828 is set. */
static uint8_t kst__udplite_refuse(const struct kst__case *c)
{
    const struct kst__parsed *p = c->packet;
    if (p->l4_here < 8)
        return KST_REASON_L4_SHORT;
    uint32_t covered = kst__be16(p->l4 + 4);
    if (covered == 0)
        covered = p->l4_bytes;
    if (covered < 8 || covered > p->l4_bytes)
        return KST_REASON_UDPLITE_COVERAGE;
    if (kst__be16(p->l4 + 6) == 0)
        return KST_REASON_UDPLITE_NO_CHECKSUM;
    const bool rfc3828 = c->set[KST__SET_UDPLITE_RFC3828] != 0;
    if (!kst__checksum_right(p, covered, rfc3828 ? KST__UDPLITE : KST__UDP))
        return KST_REASON_UDPLITE_CHECKSUM;
    return KST_REASON_NONE;
}

static struct kst__judgement kst__udplite_judge(const struct kst__case *c)
{
    const uint8_t reason = kst__udplite_refuse(c);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);
    if (!(c->entry->status & KST_SEEN_REPLY))
        return kst__refresh(c->set[KST__SET_UDP_TIMEOUT]);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(c->set[KST__SET_UDP_TIMEOUT_STREAM]);
}

#endif
