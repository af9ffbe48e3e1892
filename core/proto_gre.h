/* SPDX-License-Identifier: MIT */
/* core/proto_gre.h - GRE (RFC 2784), and its version 1, PPTP (RFC 2637), whose call identifier is
 * the key of a flow. Its timeouts are its own, noted when it begins. */
#ifndef KST_PROTO_GRE_H
#define KST_PROTO_GRE_H

#include "proto.h"

static struct kst__judgement kst__gre_judge(const struct kst__case *c)
{
    struct kst__gre *gre = &c->entry->proto.gre;
    if (c->fresh) {
        gre->timeout_s = c->set[KST__SET_GRE_TIMEOUT];
        gre->stream_s = c->set[KST__SET_GRE_TIMEOUT_STREAM];
    }
    if (!(c->entry->status & KST_SEEN_REPLY))
        return kst__refresh(gre->timeout_s);
    c->entry->status |= KST_ASSURED;
    return kst__refresh(gre->stream_s);
}

#endif
