/* SPDX-License-Identifier: MIT */
/* core/proto_other.h - every protocol without a judge of its own: addresses are all it has. */
#ifndef KST_PROTO_OTHER_H
#define KST_PROTO_OTHER_H

#include "proto.h"

static struct kst__judgement kst__other_judge(const struct kst__case *c)
{
    return kst__refresh(c->set[KST__SET_GENERIC_TIMEOUT]);
}

#endif
