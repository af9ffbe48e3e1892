/* SPDX-License-Identifier: MIT */
/* core/proto.h - what a protocol's judge is given and what it answers.
 *
 * A judge sees one packet and the entry it belongs to, confirmed or new. It may change the entry's
 * protocol state and its ASSURED bit; all else it says in its judgement, and track.h does it. */
#ifndef KST_PROTO_H
#define KST_PROTO_H

#include "parse.h"
#include "pool.h"

struct kst__case {
    const struct kst *t;
    const uint32_t *set; /* the settings that hold for it */
    const struct kst__parsed *packet;
    struct kst__entry *entry;
    uint8_t direction; /* enum kst_direction, one of the two */
    bool fresh;        /* the entry is not in the table yet: this packet would create it */
    uint16_t status;   /* of the entry, before this packet */
    uint8_t state;     /* likewise */
};

enum kst__action {
    KST__REFRESH, /* accept, count, give it `timeout_s` from now */
    KST__KEEP,    /* accept, but neither count nor prolong */
    KST__END,     /* accept, count, then remove the entry */
    KST__REOPEN,  /* remove the entry and judge the packet again, as a new one */
    KST__REFUSE   /* INVALID */
};

struct kst__judgement {
    uint8_t action;
    uint8_t reason; /* enum kst_reason */
    uint32_t timeout_s; /* REFRESH: from now on; REFUSE: shorten to this, unless KST__AS_IT_IS */
};

#define KST__AS_IT_IS UINT32_MAX /* longer than any timeout; 0 is one */

typedef char kst__reasons_fit_a_byte[KST_REASONS <= UINT8_MAX ? 1 : -1];

KST_INLINE struct kst__judgement kst__refresh(uint32_t timeout_s)
{
    const struct kst__judgement judgement = {KST__REFRESH, KST_REASON_NONE, timeout_s};
    return judgement;
}

KST_INLINE struct kst__judgement kst__say(enum kst__action action, enum kst_reason reason)
{
    const struct kst__judgement judgement = {(uint8_t)action, (uint8_t)reason,
                                              KST__AS_IT_IS};
    return judgement;
}

#endif
