/* SPDX-License-Identifier: MIT */
/* inner.h - what the core has noted of a connection, against what the naive tracker has: a difference that no
 * packet has shown yet. What is left out is what nobody will look at. Include harness/naive.h before. */
#ifndef FUZZ_INNER_H
#define FUZZ_INNER_H

#include "fuzz.h"

static inline void inner_same_tcp(const struct kst__tcp *core, const struct naive_tcp *naive)
{
    for (uint32_t dir = 0; dir < 2; dir++) {
        const struct kst__tcp_side *a = &core->side[dir];
        const struct naive_side *b = &naive->side[dir];
        const uint32_t flags = core->flags[dir];
        fuzz_same("end", a->end, b->end);
        fuzz_same("maxend", a->maxend, b->maxend);
        fuzz_same("maxwin", a->maxwin, b->maxwin);
        fuzz_same("whether there is a maxack", (flags & KST__TCP_MAXACK) != 0, b->has_maxack);
        if (b->has_maxack)
            fuzz_same("maxack", a->maxack, b->maxack);
        fuzz_same("window scale", core->scale[dir], b->scale);
        fuzz_same("whether it scales", (flags & KST__TCP_SCALES) != 0, b->has_scale);
        fuzz_same("whether it takes selective acknowledgements", (flags & KST__TCP_SACKS) != 0, b->sacks);
        fuzz_same("whether it closed first", (flags & KST__TCP_CLOSE_INIT) != 0, b->close_init);
        fuzz_same("whether it is liberal", (flags & KST__TCP_LIBERAL) != 0, b->liberal);
        fuzz_same("whether it has data on the way", (flags & KST__TCP_UNACKED) != 0, b->unacked);
    }
    fuzz_same("class of the last segment", core->last >> 1, naive->last_class);
    fuzz_same("retransmissions", core->retrans, naive->retrans);
    fuzz_same("last window", core->last_window, naive->last_win);
    if (naive->last_class == NONE_)
        return;
    fuzz_same("direction of the last segment", core->last & 1, naive->last_dir);
    fuzz_same("last seq", core->last_seq, naive->last_seq);
    fuzz_same("last ack", core->last_ack, naive->last_ack);
    fuzz_same("last end", core->last_seq + core->last_length, naive->last_end);
    fuzz_same("scale of a SYN that was let through", core->last_scale, naive->last_scale);
    fuzz_same("whether it scales", (core->last_flags & KST__TCP_SCALES) != 0, naive->last_has_scale);
    fuzz_same("whether it takes selective acknowledgements", (core->last_flags & KST__TCP_SACKS) != 0, naive->last_sacks);
    fuzz_same("simultaneous", (core->last_flags & KST__TCP_SIMULTANEOUS) != 0, naive->simultaneous);
    fuzz_same("challenge", (core->last_flags & KST__TCP_CHALLENGE) != 0, naive->challenge);
}

static inline void inner_same_sctp(const struct kst__sctp *core, const struct naive_sctp *naive)
{
    for (uint32_t dir = 0; dir < 2; dir++) {
        fuzz_same("verification tag", core->tag[dir], naive->tag[dir]);
        fuzz_same("pending INIT", (core->flags & (KST__SCTP_INIT_PENDING << dir)) != 0, naive->init[dir]);
    }
    fuzz_same("odd HEARTBEAT", (core->flags & KST__SCTP_HEARTBEAT_ODD) != 0, naive->odd);
    if (naive->odd)
        fuzz_same("its direction", core->odd, naive->odd_dir);
}

static inline void inner_same(const struct kst *t, kst_id id, const struct naive_entry *naive)
{
    const struct kst__entry *core = kst__entry_at(t, (uint32_t)id);
    switch (naive->tuple[0].protocol) {
    case 6: inner_same_tcp(&core->proto.tcp, &naive->tcp); break;
    case 17: fuzz_same("stream", (uint64_t)core->proto.udp.stream_high << 32 | core->proto.udp.stream_low, naive->stream_ms); break;
    case 132: inner_same_sctp(&core->proto.sctp, &naive->sctp); break;
    default: break;
    }
}

/* Who is the next to be evicted, and who after that. */
static inline void inner_same_order(const struct kst *t, struct naive *naive)
{
    for (uint32_t class_ = 0; class_ < KST_CLASSES; class_++) {
        uint64_t order = 0;
        for (uint32_t slot = t->classes[class_].oldest; slot != KST__NONE;) {
            const struct kst__entry *core = kst__entry_at(t, slot);
            const struct naive_entry *e = naive_tagged(naive, kst__id(t, slot));
            slot = core->newer;
            if (e == NULL)
                continue; /* expired, and not collected yet */
            fuzz_same("class", class_, e->class_);
            fuzz_same("when it joined its class, in beats", core->joined, (uint32_t)(e->joined_ms / 64));
            fuzz_must(e->joined_order > order);
            order = e->joined_order;
        }
    }
}

#endif
