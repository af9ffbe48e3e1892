/* SPDX-License-Identifier: MIT */
/* core/proto_tcp.h - TCP (RFC 9293) as a middle box sees it, and as Linux judges it.
 *
 *     header -> class of the segment -> the table -> the special cases (reopen, resync, challenge
 *     ACK, RST) -> the windows (van Rooij, "Real Stateful TCP Packet Filtering in IP Filter",
 *     2001) -> new state, timeout
 *
 * A side's window is what it may send: `end` and `maxend` are sequence numbers of its own, the
 * second moved by what the other side acknowledges and offers. A connection picked up in the
 * middle is liberal: its window scales are unknown, so no window can be held against it. */
#ifndef KST_PROTO_TCP_H
#define KST_PROTO_TCP_H

#include "adjust.h"
#include "proto.h"

enum kst__tcp_header_flag { /* RFC 9293 §3.1 */
    KST__FIN = 1,
    KST__SYN = 2,
    KST__RST = 4,
    KST__PSH = 8,
    KST__ACK = 16,
    KST__URG = 32
};

enum kst__tcp_flag { /* of a side; the last two of what was recorded of a SYN */
    KST__TCP_SCALES = 1,       /* offered window scaling */
    KST__TCP_SACKS = 2,        /* permits selective acknowledgements */
    KST__TCP_CLOSE_INIT = 4,   /* sent the first FIN */
    KST__TCP_LIBERAL = 8,
    KST__TCP_UNACKED = 16,     /* has sent data that is not acknowledged */
    KST__TCP_MAXACK = 32,      /* maxack is set */
    KST__TCP_CHALLENGE = 64,   /* a challenge ACK is expected */
    KST__TCP_SIMULTANEOUS = 128 /* both sides sent a SYN */
};

enum kst__tcp_class { /* of a segment: the first of RST, SYN, FIN, ACK that it has */
    KST__CLASS_SYN,
    KST__CLASS_SYNACK,
    KST__CLASS_FIN,
    KST__CLASS_ACK,
    KST__CLASS_RST,
    KST__CLASS_BAD, /* a combination that nobody may send */
    KST__CLASS_NONE = KST__CLASS_BAD /* nothing recorded yet */
};

/* The class and the direction of the last recorded segment, in one number: mostly both matter. */
#define KST__LAST(class_, direction) ((uint8_t)((class_) << 1 | (direction)))

/* Class by flags, URG ACK . RST SYN FIN; PSH, ECE and CWR do not matter. */
static uint8_t kst__tcp_class(uint8_t flags)
{
    switch (flags & (KST__URG | KST__ACK | KST__RST | KST__SYN | KST__FIN)) {
    case KST__SYN:
    case KST__SYN | KST__URG: return KST__CLASS_SYN;
    case KST__SYN | KST__ACK: return KST__CLASS_SYNACK;
    case KST__FIN | KST__ACK:
    case KST__FIN | KST__ACK | KST__URG: return KST__CLASS_FIN;
    case KST__ACK:
    case KST__ACK | KST__URG: return KST__CLASS_ACK;
    case KST__RST:
    case KST__RST | KST__ACK: return KST__CLASS_RST;
    default: return KST__CLASS_BAD;
    }
}

/* Next state by direction, class and state. Cells with a letter are decided further down. */
enum {
    KST__TO_NO = KST_TCP_NONE,       /* INVALID */
    KST__TO_SS = KST_TCP_SYN_SENT,   /* from TIME_WAIT and CLOSE: reopened, if it was closed well */
    KST__TO_SR = KST_TCP_SYN_RECV,
    KST__TO_ES = KST_TCP_ESTABLISHED,
    KST__TO_FW = KST_TCP_FIN_WAIT,
    KST__TO_CW = KST_TCP_CLOSE_WAIT,
    KST__TO_LA = KST_TCP_LAST_ACK,
    KST__TO_TW = KST_TCP_TIME_WAIT,
    KST__TO_CL = KST_TCP_CLOSE,
    KST__TO_S2 = KST_TCP_SYN_SENT2,
    KST__TO_IG = KST_TCP_STATES      /* ignored: may be out of sync, the answer will tell */
};
#define KST__ROW(no, ss, sr, es, fw, cw, la, tw, cl, s2)                                           \
    {KST__TO_##no, KST__TO_##ss, KST__TO_##sr, KST__TO_##es, KST__TO_##fw,                         \
     KST__TO_##cw, KST__TO_##la, KST__TO_##tw, KST__TO_##cl, KST__TO_##s2}
static const uint8_t kst__tcp_next[2][KST__CLASS_BAD][KST_TCP_STATES] = {
    {
        /* original: none SS  SR  ES  FW  CW  LA  TW  CL  S2 */
        KST__ROW(/* SYN    */ SS, SS, IG, IG, IG, IG, IG, SS, SS, S2),
        KST__ROW(/* SYNACK */ NO, NO, SR, NO, NO, NO, NO, NO, NO, SR),
        KST__ROW(/* FIN    */ NO, NO, FW, FW, LA, LA, LA, TW, CL, NO),
        KST__ROW(/* ACK    */ ES, NO, ES, ES, CW, CW, TW, TW, CL, NO),
        KST__ROW(/* RST    */ NO, CL, CL, CL, CL, CL, CL, CL, CL, CL),
    },
    {
        /* reply:    none SS  SR  ES  FW  CW  LA  TW  CL  S2 */
        KST__ROW(/* SYN    */ NO, S2, NO, NO, NO, NO, NO, SS, NO, S2),
        KST__ROW(/* SYNACK */ NO, SR, IG, IG, IG, IG, IG, IG, IG, SR),
        KST__ROW(/* FIN    */ NO, NO, FW, FW, LA, LA, LA, TW, CL, NO),
        KST__ROW(/* ACK    */ NO, IG, SR, ES, CW, CW, TW, TW, CL, IG),
        KST__ROW(/* RST    */ NO, CL, CL, CL, CL, CL, CL, CL, CL, CL),
    },
};
#undef KST__ROW

/* The timeout of each state; SYN_SENT2 has no setting in Linux. */
#define KST__TCP_SYN_SENT2_S 120
static uint32_t kst__tcp_timeout(const uint32_t *set, uint8_t state)
{
    static const uint8_t setting[KST_TCP_STATES] = {
        0, KST__SET_TCP_SYN_SENT, KST__SET_TCP_SYN_RECV, KST__SET_TCP_ESTABLISHED,
        KST__SET_TCP_FIN_WAIT, KST__SET_TCP_CLOSE_WAIT, KST__SET_TCP_LAST_ACK,
        KST__SET_TCP_TIME_WAIT, KST__SET_TCP_CLOSE, 0};
    return state == KST_TCP_SYN_SENT2 ? KST__TCP_SYN_SENT2_S : set[setting[state]];
}

/* A segment as the window check needs it. */
struct kst__segment {
    const uint8_t *options;
    uint32_t options_bytes;
    uint32_t seq, ack, end; /* end: the sequence number behind it, SYN and FIN counted */
    uint32_t window;        /* as it stands there, unscaled */
    uint8_t flags;
    uint8_t class_;
};

/* Reads the header; a reason if it is malformed. */
KST_INLINE uint8_t kst__tcp_read(const struct kst__parsed *p, struct kst__segment *s)
{
    if (p->l4_here < 20)
        return KST_REASON_L4_SHORT;
    const uint32_t header = (uint32_t)(p->l4[12] >> 4) * 4;
    if (header < 20 || header > p->l4_bytes)
        return KST_REASON_TCP_OFFSET;
    if (header > p->l4_here)
        return KST_REASON_L4_SHORT;
    if (!kst__checksum_right(p, p->l4_bytes, KST__TCP))
        return KST_REASON_TCP_CHECKSUM;
    s->flags = p->l4[13];
    s->class_ = kst__tcp_class(s->flags);
    if (s->class_ == KST__CLASS_BAD)
        return KST_REASON_TCP_FLAGS;
    s->options = p->l4 + 20;
    s->options_bytes = header - 20;
    s->seq = kst__be32(p->l4 + 4);
    s->ack = kst__be32(p->l4 + 8);
    s->window = kst__be16(p->l4 + 14);
    s->end = s->seq + (p->l4_bytes - header) + ((s->flags & KST__SYN) != 0) +
             ((s->flags & KST__FIN) != 0);
    return KST_REASON_NONE;
}

/* ---- options ---- */

enum { KST__OPTION_END = 0, KST__OPTION_NOP = 1, KST__OPTION_SCALE = 3, KST__OPTION_SACKS = 4,
       KST__OPTION_SACK = 5, KST__TCP_SCALE_MAX = 14 /* RFC 7323 §2.3 */ };

/* The next option from *at on, KST__OPTION_END when there is none or it is malformed; *at moves
 * behind it. `size` is its length field. */
static uint8_t kst__tcp_option(const struct kst__segment *s, uint32_t *at, uint32_t *size)
{
    while (*at < s->options_bytes && s->options[*at] == KST__OPTION_NOP)
        *at += 1;
    if (s->options_bytes - *at < 2 || s->options[*at] == KST__OPTION_END)
        return KST__OPTION_END;
    *size = s->options[*at + 1];
    if (*size < 2 || *size > s->options_bytes - *at)
        return KST__OPTION_END;
    *at += *size;
    return s->options[*at - *size];
}

/* What a SYN offers. Without any option nothing changes. */
static void kst__tcp_syn_options(const struct kst__segment *s, uint8_t *flags, uint8_t *scale)
{
    if (s->options_bytes == 0)
        return;
    *scale = 0;
    *flags &= KST__TCP_LIBERAL;
    uint32_t size = 0;
    for (uint32_t at = 0;;) {
        const uint8_t kind = kst__tcp_option(s, &at, &size);
        if (kind == KST__OPTION_END)
            return;
        if (kind == KST__OPTION_SACKS && size == 2)
            *flags |= KST__TCP_SACKS;
        if (kind == KST__OPTION_SCALE && size == 3) {
            const uint8_t shift = s->options[at - 1];
            *scale = shift < KST__TCP_SCALE_MAX ? shift : (uint8_t)KST__TCP_SCALE_MAX;
            *flags |= KST__TCP_SCALES;
        }
    }
}

/* The highest right edge of the SACK blocks (RFC 2018), or `ack` if none is after it. */
static uint32_t kst__tcp_sack(const struct kst__segment *s, uint32_t ack)
{
    uint32_t size = 0;
    for (uint32_t at = 0;;) {
        const uint8_t kind = kst__tcp_option(s, &at, &size);
        if (kind == KST__OPTION_END)
            return ack;
        if (kind == KST__OPTION_SACK && size >= 10 && (size - 2) % 8 == 0)
            for (uint32_t edge = at - size + 6; edge < at; edge += 8)
                if (kst__after(kst__be32(s->options + edge), ack))
                    ack = kst__be32(s->options + edge);
    }
}

/* ---- windows ---- */

/* An acknowledgement may lag by this much, even if the window was never that large. */
#define KST__TCP_ACK_WINDOW_MIN 66000

/* What a SYN says of its sender. */
static void kst__tcp_side_begin(struct kst__tcp *tcp, const struct kst__segment *s,
                                uint8_t direction)
{
    struct kst__tcp_side *sender = &tcp->side[direction];
    sender->end = sender->maxend = s->end;
    sender->maxwin = kst__max32(s->window, 1);
    kst__tcp_syn_options(s, &tcp->flags[direction], &tcp->scale[direction]);
    /* Windows scale only if both sides said so (RFC 7323 §1.3). */
    if (direction == KST_REPLY && !(tcp->flags[0] & tcp->flags[1] & KST__TCP_SCALES))
        tcp->scale[0] = tcp->scale[1] = 0;
}

/* Notes a segment of class ACK, or that it is the same again. */
static void kst__tcp_count_retrans(struct kst__tcp *tcp, const struct kst__segment *s,
                                   uint8_t direction)
{
    const uint16_t length = (uint16_t)(s->end - s->seq);
    if ((tcp->last & 1) == direction && tcp->last_seq == s->seq && tcp->last_ack == s->ack &&
        tcp->last_length == length && tcp->last_window == s->window) {
        tcp->retrans = (uint8_t)(tcp->retrans + (tcp->retrans < UINT8_MAX));
        return;
    }
    tcp->last_seq = s->seq;
    tcp->last_ack = s->ack;
    tcp->last_length = length;
    tcp->last_window = (uint16_t)s->window;
    tcp->retrans = 0;
}

enum kst__fit { KST__FITS, KST__FITS_BADLY, KST__FITS_NOT }; /* accept; ignore; refuse */

/* Whether a segment lies within the windows of both sides, which it moves; the connection was in this
 * state before it. `reason` says why it does not fit. */
KST_INLINE enum kst__fit kst__tcp_window(const struct kst__case *c, struct kst__segment s,
                                         uint8_t state, uint8_t *reason)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    struct kst__tcp_side *sender = &tcp->side[from], *receiver = &tcp->side[to];
    const struct kst__segment seen = s;
    uint32_t sack = s.ack;

    if (tcp->flags[to] & KST__TCP_SACKS) /* an RST without ACK may bring some, too */
        sack = kst__tcp_sack(&s, s.ack);
    if (KST_UNLIKELY(c->status & KST_SEQ_ADJUST)) { /* it has seen what helpers made of it */
        const uint32_t slot = (uint32_t)(c->entry - kst__entry_at(c->t, 0));
        const uint32_t shifted = kst__adjust_ack(&kst__adjust_at(c->t, slot)[to], s.ack);
        s.ack -= shifted;
        sack -= shifted;
    }

    if (sender->maxwin == 0) { /* the first that is seen of this side */
        if (s.flags & KST__SYN) {
            kst__tcp_side_begin(tcp, &s, from);
            if (!(s.flags & KST__ACK))
                return KST__FITS; /* simultaneous open */
        } else {
            sender->end = s.end;
            sender->maxwin = kst__max32(s.window << tcp->scale[from], 1);
            sender->maxend = s.end + sender->maxwin;
            if (receiver->maxwin == 0)
                receiver->end = receiver->maxend = sack;
            else if (sack == receiver->end + 1)
                receiver->end++; /* a keepalive was what the connection was picked up by */
        }
    } else if ((s.flags & KST__SYN) && kst__after(s.end, sender->end) &&
               (state == KST_TCP_SYN_SENT || state == KST_TCP_SYN_RECV)) {
        kst__tcp_side_begin(tcp, &s, from); /* the SYN again, with another number */
        if (from == KST_REPLY && !(s.flags & KST__ACK))
            return KST__FITS;
    }

    if (!(s.flags & KST__ACK) || ((s.flags & KST__RST) && s.ack == 0))
        s.ack = sack = receiver->end;
    if ((s.flags & KST__RST) && s.seq == 0 && state == KST_TCP_SYN_SENT)
        s.seq = s.end = sender->end; /* an RST that answers a SYN needs no number */

    /* The four boundaries, numbered as in the paper. */
    const uint32_t lag = kst__max32(sender->maxwin, KST__TCP_ACK_WINDOW_MIN);
    const bool seq_in = kst__before(s.seq, sender->maxend + 1);                        /* I */
    const bool seq_recent =
        receiver->maxwin == 0 || kst__after(s.end, sender->end - receiver->maxwin - 1); /* II */
    const bool ack_seen = kst__before(sack, receiver->end + 1);                        /* III */
    const bool ack_recent = kst__after(sack, receiver->end - lag - 1);                 /* IV */
    const bool liberal =
        c->set[KST__SET_TCP_BE_LIBERAL] || (tcp->flags[from] & KST__TCP_LIBERAL);
    if (KST_UNLIKELY(!(seq_in && seq_recent && ack_seen && ack_recent))) {
        const bool just_over = !seq_in && receiver->maxwin != 0 && seq_recent && ack_seen &&
                               ack_recent && s.end - sender->maxend + 1 <= receiver->maxwin;
        *reason = just_over     ? KST_REASON_TCP_SEQ_JUST_OVER
                  : !seq_in     ? KST_REASON_TCP_SEQ_OVER
                  : !ack_seen   ? KST_REASON_TCP_ACK_OVER
                  : !seq_recent ? KST_REASON_TCP_SEQ_OLD
                                : KST_REASON_TCP_ACK_OLD;
        if (just_over) { /* the receiver may take it: its ACK shall be believed */
            sender->end = s.end;
            tcp->flags[from] |= KST__TCP_UNACKED;
        }
        if (liberal) {
            *reason = KST_REASON_NONE;
            return KST__FITS;
        }
        return just_over || (seq_in && ack_seen) ? KST__FITS_BADLY : KST__FITS_NOT;
    }

    const uint32_t window = s.flags & KST__SYN ? s.window : s.window << tcp->scale[from];
    sender->maxwin = kst__max32(sender->maxwin, window + (sack - s.ack));
    if (kst__after(s.end, sender->end)) {
        sender->end = s.end;
        tcp->flags[from] |= KST__TCP_UNACKED;
    }
    if ((s.flags & KST__ACK) &&
        (!(tcp->flags[from] & KST__TCP_MAXACK) || kst__after(s.ack, sender->maxack))) {
        sender->maxack = s.ack;
        tcp->flags[from] |= KST__TCP_MAXACK;
    }
    if (receiver->maxwin != 0 && kst__after(s.end, sender->maxend))
        receiver->maxwin += s.end - sender->maxend;
    if (!kst__before(sack + window, receiver->maxend))
        receiver->maxend = sack + window + (window == 0); /* a probe of the closed window */
    if (s.ack == receiver->end)
        tcp->flags[to] &= (uint8_t)~KST__TCP_UNACKED;
    if (s.class_ == KST__CLASS_ACK)
        kst__tcp_count_retrans(tcp, &seen, from);
    return KST__FITS;
}

/* ---- special cases ---- */

/* The first segment of an entry. A reason if a connection cannot begin with it. */
static uint8_t kst__tcp_begin(const struct kst__case *c, const struct kst__segment *s)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    struct kst__tcp_side *sender = &tcp->side[KST_ORIGINAL];
    tcp->last = KST__LAST(KST__CLASS_NONE, KST_ORIGINAL);
    if (s->class_ == KST__CLASS_SYN) {
        kst__tcp_side_begin(tcp, s, KST_ORIGINAL);
        return KST_REASON_NONE;
    }
    if (s->class_ != KST__CLASS_ACK)
        return KST_REASON_TCP_FIRST;
    if (!c->set[KST__SET_TCP_LOOSE])
        return KST_REASON_TCP_PICKUP;
    sender->end = s->end;
    sender->maxwin = kst__max32(s->window, 1);
    sender->maxend = s->end + sender->maxwin;
    tcp->flags[0] = tcp->flags[1] = KST__TCP_SACKS | KST__TCP_LIBERAL;
    return KST_REASON_NONE;
}

/* A SYN on a finished connection: whether it may start a new one in its place. */
static bool kst__tcp_reopens(const struct kst__case *c)
{
    const struct kst__tcp *tcp = &c->entry->proto.tcp;
    return ((tcp->flags[0] | tcp->flags[1]) & KST__TCP_CLOSE_INIT) ||
           tcp->last == KST__LAST(KST__CLASS_RST, c->direction);
}

/* A SYN/ACK that answers a SYN which was ignored: the connection was out of sync, and begins
 * again. Returns whether that is so. */
static bool kst__tcp_resync(const struct kst__case *c, const struct kst__segment *s)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    const uint32_t last_end = tcp->last_seq + tcp->last_length;
    if (s->class_ != KST__CLASS_SYNACK || tcp->last != KST__LAST(KST__CLASS_SYN, to) ||
        s->ack != last_end)
        return false;
    tcp->side[to].end = tcp->side[to].maxend = last_end;
    tcp->side[to].maxwin = kst__max32(tcp->last_window, 1);
    tcp->flags[to] = tcp->last_flags;
    tcp->scale[to] = tcp->last_scale;
    memset(&tcp->side[from], 0, sizeof tcp->side[from]);
    tcp->flags[from] &= KST__TCP_LIBERAL;
    tcp->scale[from] = 0;
    return true;
}

/* Records a segment that is let through and otherwise ignored. */
static void kst__tcp_record_ignored(const struct kst__case *c, const struct kst__segment *s)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    tcp->last = KST__LAST(s->class_, c->direction);
    tcp->last_seq = s->seq;
    tcp->last_length = (uint16_t)(s->end - s->seq);
    tcp->last_window = (uint16_t)s->window;
    if (s->class_ == KST__CLASS_SYN && c->direction == KST_ORIGINAL) {
        tcp->last_flags = tcp->last_scale = 0;
        kst__tcp_syn_options(s, &tcp->last_flags, &tcp->last_scale);
        if (c->entry->state == KST_TCP_LAST_ACK) /* RFC 5961 §4 */
            tcp->last_flags |= KST__TCP_CHALLENGE;
    }
    if (s->class_ == KST__CLASS_ACK && c->entry->state == KST_TCP_SYN_SENT)
        tcp->last_ack = s->ack;
}

enum kst__rst { KST__RST_CHECK, KST__RST_SKIP, KST__RST_BAD }; /* the windows */

/* An RST that would close the connection (RFC 5961 §3). `next` becomes the present state if it is
 * let through without closing. */
static enum kst__rst kst__tcp_rst(const struct kst__case *c, const struct kst__segment *s,
                                  uint8_t *next)
{
    const struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    const uint8_t state = c->entry->state, last_class = tcp->last >> 1;
    const bool assured = (c->entry->status & KST_ASSURED) != 0;
    const uint32_t last_end = tcp->last_seq + tcp->last_length;

    if (state >= KST_TCP_FIN_WAIT && state <= KST_TCP_CLOSE)
        return KST__RST_SKIP;
    if ((tcp->flags[to] & KST__TCP_MAXACK) && last_class != KST__CLASS_SYN) {
        const uint32_t maxack = tcp->side[to].maxack;
        const bool alive = state == KST_TCP_ESTABLISHED && assured;
        if (s->seq == 0 && !alive)
            return KST__RST_CHECK;
        if (kst__before(s->seq, maxack) && !c->set[KST__SET_TCP_IGNORE_INVALID_RST])
            return KST__RST_BAD;
        if (!alive || s->seq == maxack)
            return KST__RST_CHECK;
        if (tcp->last == KST__LAST(KST__CLASS_ACK, from) && s->seq == last_end)
            return KST__RST_CHECK; /* right behind data that is not acknowledged yet */
        *next = state;
    }
    /* It answers something that was let through, or a challenge ACK. */
    const bool answers_syn = (c->entry->status & KST_SEEN_REPLY) &&
                             tcp->last == KST__LAST(KST__CLASS_SYN, to);
    const bool answers_ack = !assured && last_class == KST__CLASS_ACK;
    if ((answers_syn || answers_ack) && s->ack == last_end)
        return KST__RST_SKIP;
    if (state == KST_TCP_SYN_SENT && tcp->last == KST__LAST(KST__CLASS_ACK, KST_REPLY) &&
        s->seq == tcp->last_ack)
        return KST__RST_SKIP;
    return KST__RST_CHECK;
}

/* An RST or FIN outside the windows: the two sides may have lost each other. If both say so, the
 * connection need not be kept for days. */
static struct kst__judgement kst__tcp_refuse(const struct kst__case *c,
                                             const struct kst__segment *s, uint8_t reason)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    struct kst__judgement judgement = kst__say(KST__REFUSE, (enum kst_reason)reason);
    if ((s->class_ != KST__CLASS_RST && s->class_ != KST__CLASS_FIN) ||
        !(c->entry->status & KST_ASSURED) || (c->entry->status & KST_FIXED_TIMEOUT))
        return judgement;
    const uint32_t unacked_s = c->set[KST__SET_TCP_UNACKED];
    const uint64_t left_ms = c->entry->expires_ms - c->t->now_ms;
    const uint8_t other = (uint8_t)(1 - c->direction);
    if (tcp->last != KST__LAST(KST__CLASS_RST, other) &&
        tcp->last != KST__LAST(KST__CLASS_FIN, other))
        tcp->last = KST__LAST(s->class_, c->direction);
    else if (left_ms >= 120 * 1000 && left_ms > (uint64_t)unacked_s * 1000)
        judgement.timeout_s = unacked_s;
    return judgement;
}

/* ---- the whole story ---- */

/* After a segment that is accepted and in window: the new state, and how long it may last. */
KST_INLINE struct kst__judgement kst__tcp_accept(const struct kst__case *c,
                                                 const struct kst__segment *s, uint8_t old,
                                                 uint8_t next)
{
    const uint32_t *set = c->set;
    struct kst__tcp *tcp = &c->entry->proto.tcp;

    tcp->last = KST__LAST(s->class_, c->direction);
    if (next == KST_TCP_FIN_WAIT && old != next)
        tcp->flags[c->direction] |= KST__TCP_CLOSE_INIT;
    c->entry->state = next;

    const uint32_t retrans_s = set[KST__SET_TCP_RETRANS_TIMEOUT];
    const uint32_t unacked_s = set[KST__SET_TCP_UNACKED];
    uint32_t timeout_s = kst__tcp_timeout(set, next);
    if (tcp->retrans >= set[KST__SET_TCP_MAX_RETRANS] && timeout_s > retrans_s)
        timeout_s = retrans_s;
    else if (s->class_ == KST__CLASS_RST)
        timeout_s = set[KST__SET_TCP_CLOSE];
    else if (((tcp->flags[0] | tcp->flags[1]) & KST__TCP_UNACKED) && timeout_s > unacked_s)
        timeout_s = unacked_s;
    else if (tcp->last_window == 0 && timeout_s > retrans_s)
        timeout_s = retrans_s;

    if (!(c->entry->status & KST_SEEN_REPLY)) {
        if (s->class_ == KST__CLASS_RST)
            return kst__say(KST__END, KST_REASON_TCP_REFUSED);
        if (s->class_ == KST__CLASS_SYN && old == KST_TCP_SYN_SENT)
            return kst__say(KST__KEEP, KST_REASON_TCP_SYN_AGAIN);
        if (next == KST_TCP_ESTABLISHED && timeout_s > unacked_s)
            timeout_s = unacked_s;
    } else if ((old == KST_TCP_SYN_RECV || old == KST_TCP_ESTABLISHED) &&
               next == KST_TCP_ESTABLISHED) {
        c->entry->status |= KST_ASSURED;
    }
    struct kst__judgement judgement = kst__refresh(timeout_s);
    if (s->class_ == KST__CLASS_RST && next == old && next != KST_TCP_CLOSE)
        judgement.reason = KST_REASON_TCP_RST_HELD;
    return judgement;
}

/* A segment that the table lets through. */
KST_INLINE struct kst__judgement kst__tcp_pass(const struct kst__case *c,
                                               const struct kst__segment *s, uint8_t old,
                                               uint8_t next)
{
    uint8_t reason = KST_REASON_NONE;
    switch (kst__tcp_window(c, *s, old, &reason)) {
    case KST__FITS_NOT: return kst__tcp_refuse(c, s, reason);
    case KST__FITS_BADLY: return kst__say(KST__KEEP, (enum kst_reason)reason);
    default: return kst__tcp_accept(c, s, old, next);
    }
}

static struct kst__judgement kst__tcp_judge(const struct kst__case *c)
{
    struct kst__tcp *tcp = &c->entry->proto.tcp;
    const uint8_t state = c->entry->state;
    struct kst__segment s;
    uint8_t reason = kst__tcp_read(c->packet, &s);
    if (reason == KST_REASON_NONE && c->fresh)
        reason = kst__tcp_begin(c, &s);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);

    if (KST_LIKELY(s.class_ == KST__CLASS_ACK && state == KST_TCP_ESTABLISHED)) {
        /* Nearly all there are. Said once more, for the compiler to leave out what else may be. */
        s.class_ = KST__CLASS_ACK;
        s.flags = KST__ACK;
        return kst__tcp_pass(c, &s, KST_TCP_ESTABLISHED, KST_TCP_ESTABLISHED);
    }
    uint8_t next = kst__tcp_next[c->direction][s.class_][state];
    if (next == KST__TO_NO)
        return kst__say(KST__REFUSE, KST_REASON_TCP_STATE);
    if (next == KST__TO_SS && state >= KST_TCP_TIME_WAIT) {
        if (kst__tcp_reopens(c))
            return kst__say(KST__REOPEN, KST_REASON_NONE);
        next = KST__TO_IG;
    }
    if (next == KST__TO_IG) {
        if (!kst__tcp_resync(c, &s)) {
            kst__tcp_record_ignored(c, &s);
            return kst__say(KST__KEEP, KST_REASON_TCP_IGNORED);
        }
        next = KST_TCP_SYN_RECV;
    } else if (next == KST_TCP_SYN_SENT2) {
        tcp->last_flags |= KST__TCP_SIMULTANEOUS; /* in window or not */
    } else if (next == KST_TCP_TIME_WAIT && state == KST_TCP_LAST_ACK) {
        if (tcp->last == KST__LAST(KST__CLASS_SYN, 1 - c->direction) &&
            (tcp->last_flags & KST__TCP_CHALLENGE)) {
            tcp->last_flags &= (uint8_t)~KST__TCP_CHALLENGE;
            return kst__say(KST__KEEP, KST_REASON_TCP_CHALLENGE);
        }
    } else if (next == KST_TCP_SYN_RECV && s.class_ == KST__CLASS_ACK &&
               (tcp->last_flags & KST__TCP_SIMULTANEOUS)) {
        next = KST_TCP_ESTABLISHED;
    } else if (s.class_ == KST__CLASS_RST) {
        switch (kst__tcp_rst(c, &s, &next)) {
        case KST__RST_SKIP: return kst__tcp_accept(c, &s, state, next);
        case KST__RST_BAD: return kst__say(KST__REFUSE, KST_REASON_TCP_RST_SEQ);
        default: break;
        }
    }

    return kst__tcp_pass(c, &s, state, next);
}

#endif
