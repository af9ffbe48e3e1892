/* SPDX-License-Identifier: MIT */
/* core/proto_sctp.h - SCTP (RFC 9260): the state moves by chunks, several a packet.
 *
 *     header, chunk layout -> verification tags -> each chunk in turn through the table
 *
 * tag[direction] is the verification tag that packets of this direction carry; the other side
 * chose it in its INIT or INIT-ACK. What an early chunk changed stays when a later one turns the
 * packet INVALID, as in Linux. */
#ifndef KST_PROTO_SCTP_H
#define KST_PROTO_SCTP_H

#include "proto.h"

enum kst__sctp_chunk {
    KST__SCTP_DATA = 0,
    KST__SCTP_INIT = 1,
    KST__SCTP_INIT_ACK = 2,
    KST__SCTP_SACK = 3,
    KST__SCTP_HEARTBEAT = 4,
    KST__SCTP_HEARTBEAT_ACK = 5,
    KST__SCTP_ABORT = 6,
    KST__SCTP_SHUTDOWN = 7,
    KST__SCTP_SHUTDOWN_ACK = 8,
    KST__SCTP_ERROR = 9,
    KST__SCTP_COOKIE_ECHO = 10,
    KST__SCTP_COOKIE_ACK = 11,
    KST__SCTP_ECNE = 12,
    KST__SCTP_CWR = 13,
    KST__SCTP_SHUTDOWN_COMPLETE = 14,
    KST__SCTP_ACTING = 15 /* those from here on leave the state alone, as do DATA and SACK */
};

enum { KST__SCTP_HEADER = 12, KST__SCTP_CHUNK_HEADER = 4, KST__SCTP_INIT_BYTES = 20 };

enum kst__sctp_flag {
    KST__SCTP_INIT_PENDING = 1,     /* shifted by direction: sent an INIT that awaits COOKIE-ACK */
    KST__SCTP_HEARTBEAT_ODD = 4     /* a HEARTBEAT with another tag was let through, */
};                                  /* by direction `odd` */

/* Next state by direction, chunk and state. */
enum {
    KST__SCTP_IV = KST_SCTP_NONE, /* INVALID */
    KST__SCTP_CL = KST_SCTP_CLOSED,
    KST__SCTP_CW = KST_SCTP_COOKIE_WAIT,
    KST__SCTP_CE = KST_SCTP_COOKIE_ECHOED,
    KST__SCTP_ES = KST_SCTP_ESTABLISHED,
    KST__SCTP_SS = KST_SCTP_SHUTDOWN_SENT,
    KST__SCTP_SR = KST_SCTP_SHUTDOWN_RECD,
    KST__SCTP_SA = KST_SCTP_SHUTDOWN_ACK_SENT,
    KST__SCTP_HS = KST_SCTP_HEARTBEAT_SENT
};
#define KST__ROW(no, cl, cw, ce, es, ss, sr, sa, hs)                                               \
    {KST__SCTP_##no, KST__SCTP_##cl, KST__SCTP_##cw, KST__SCTP_##ce, KST__SCTP_##es,               \
     KST__SCTP_##ss, KST__SCTP_##sr, KST__SCTP_##sa, KST__SCTP_##hs}
#define KST__STAY {0, 1, 2, 3, 4, 5, 6, 7, 8}
static const uint8_t kst__sctp_next[2][KST__SCTP_ACTING][KST_SCTP_STATES] = {
    {
        /* original:                   none CL  CW  CE  ES  SS  SR  SA  HS */
        /*  0 DATA */                  KST__STAY,
        KST__ROW(/*  1 INIT           */ CL, CL, CW, CE, ES, CL, CL, SA, CW),
        KST__ROW(/*  2 INIT-ACK       */ CL, CL, CW, CE, ES, SS, SR, SA, CL),
        /*  3 SACK */                  KST__STAY,
        KST__ROW(/*  4 HEARTBEAT      */ HS, CL, CW, CE, ES, SS, SR, SA, HS),
        KST__ROW(/*  5 HEARTBEAT-ACK  */ CL, CL, CW, CE, ES, SS, SR, SA, HS),
        KST__ROW(/*  6 ABORT          */ CL, CL, CL, CL, CL, CL, CL, CL, CL),
        KST__ROW(/*  7 SHUTDOWN       */ CL, CL, CW, CE, SS, SS, SR, SA, CL),
        KST__ROW(/*  8 SHUTDOWN-ACK   */ SA, CL, CW, CE, ES, SA, SA, SA, SA),
        KST__ROW(/*  9 ERROR          */ CL, CL, CW, CE, ES, SS, SR, SA, CL),
        KST__ROW(/* 10 COOKIE-ECHO    */ CL, CL, CE, CE, ES, SS, SR, SA, CL),
        KST__ROW(/* 11 COOKIE-ACK     */ CL, CL, CW, ES, ES, SS, SR, SA, CL),
        /* 12 */ KST__STAY, /* 13 */   KST__STAY,
        KST__ROW(/* 14 SHUTDOWN-COMPL */ CL, CL, CW, CE, ES, SS, SR, CL, CL),
    },
    {
        /* reply:                      none CL  CW  CE  ES  SS  SR  SA  HS */
        /*  0 DATA */                  KST__STAY,
        KST__ROW(/*  1 INIT           */ IV, CL, CW, CE, ES, SS, SR, SA, IV),
        KST__ROW(/*  2 INIT-ACK       */ IV, CW, CW, CE, ES, SS, SR, SA, IV),
        /*  3 SACK */                  KST__STAY,
        KST__ROW(/*  4 HEARTBEAT      */ IV, CL, CW, CE, ES, SS, SR, SA, HS),
        KST__ROW(/*  5 HEARTBEAT-ACK  */ IV, CL, CW, CE, ES, SS, SR, SA, ES),
        KST__ROW(/*  6 ABORT          */ IV, CL, CL, CL, CL, CL, CL, CL, IV),
        KST__ROW(/*  7 SHUTDOWN       */ IV, CL, CW, CE, SR, SS, SR, SA, IV),
        KST__ROW(/*  8 SHUTDOWN-ACK   */ IV, CL, CW, CE, ES, SA, SA, SA, IV),
        KST__ROW(/*  9 ERROR          */ IV, CL, CW, CL, ES, SS, SR, SA, IV),
        KST__ROW(/* 10 COOKIE-ECHO    */ IV, CL, CE, CE, ES, SS, SR, SA, IV),
        KST__ROW(/* 11 COOKIE-ACK     */ IV, CL, CW, ES, ES, SS, SR, SA, IV),
        /* 12 */ KST__STAY, /* 13 */   KST__STAY,
        KST__ROW(/* 14 SHUTDOWN-COMPL */ IV, CL, CW, CE, ES, SS, SR, CL, IV),
    },
};
#undef KST__ROW
#undef KST__STAY

typedef char kst__sctp_settings_are_in_the_order_of_states
    [KST__SET_SCTP_HEARTBEAT_SENT - KST__SET_SCTP_CLOSED ==
             (int)KST_SCTP_HEARTBEAT_SENT - (int)KST_SCTP_CLOSED ? 1 : -1];

static uint32_t kst__sctp_timeout(const uint32_t *set, uint8_t state)
{
    KST_ASSERT(state > KST_SCTP_NONE && state < KST_SCTP_STATES);
    return set[KST__SET_SCTP_CLOSED + state - KST_SCTP_CLOSED];
}

KST_INLINE bool kst__sctp_acts(uint8_t type)
{
    return type < KST__SCTP_ACTING && type != KST__SCTP_DATA && type != KST__SCTP_SACK &&
           type != KST__SCTP_ECNE && type != KST__SCTP_CWR;
}

/* Chunks of these types, as bits 0..15: those above do not matter here. */
#define KST__SCTP_BIT(type) (UINT32_C(1) << (type))

/* The tag of such a packet is not what the association uses, or it is checked by the chunk. */
#define KST__SCTP_OWN_TAG                                                                          \
    (KST__SCTP_BIT(KST__SCTP_INIT) | KST__SCTP_BIT(KST__SCTP_SHUTDOWN_COMPLETE) |              \
     KST__SCTP_BIT(KST__SCTP_COOKIE_ECHO) | KST__SCTP_BIT(KST__SCTP_ABORT) |                   \
     KST__SCTP_BIT(KST__SCTP_SHUTDOWN_ACK) | KST__SCTP_BIT(KST__SCTP_HEARTBEAT) |              \
     KST__SCTP_BIT(KST__SCTP_HEARTBEAT_ACK))

/* No association begins with one of these. */
#define KST__SCTP_NOT_FIRST                                                                        \
    (KST__SCTP_BIT(KST__SCTP_ABORT) | KST__SCTP_BIT(KST__SCTP_SHUTDOWN_COMPLETE) |             \
     KST__SCTP_BIT(KST__SCTP_COOKIE_ACK))

/* These stand alone in their packet (RFC 9260 §6.10). */
#define KST__SCTP_ALONE                                                                            \
    (KST__SCTP_BIT(KST__SCTP_INIT) | KST__SCTP_BIT(KST__SCTP_INIT_ACK) |                       \
     KST__SCTP_BIT(KST__SCTP_SHUTDOWN_COMPLETE))

/* These come first. */
#define KST__SCTP_LEADING                                                                          \
    (KST__SCTP_BIT(KST__SCTP_COOKIE_ECHO) | KST__SCTP_BIT(KST__SCTP_COOKIE_ACK))

/* The next chunk from *at on, which moves behind it; NULL at the end of the packet. Its header can
 * be read. A length below 4 moves on by one header, one beyond the end to the end. */
static const uint8_t *kst__sctp_chunk(const struct kst__parsed *p, uint32_t *at)
{
    if (*at > p->l4_here || p->l4_here - *at < KST__SCTP_CHUNK_HEADER)
        return NULL;
    const uint8_t *chunk = p->l4 + *at;
    const uint32_t length = kst__be16(chunk + 2);
    *at += (kst__max32(length, KST__SCTP_CHUNK_HEADER) + 3) & ~UINT32_C(3);
    return chunk;
}

/* CRC-32C (Castagnoli), four bits at a time. */
static uint32_t kst__crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    static const uint32_t nibbles[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
    return crc;
}

/* RFC 9260 appendix A: over the packet, with zeros for the checksum itself. */
static uint32_t kst__sctp_crc(const uint8_t *l4, uint32_t bytes)
{
    static const uint8_t zeros[4] = {0};
    uint32_t crc = kst__crc32c(UINT32_MAX, l4, 8);
    crc = kst__crc32c(crc, zeros, sizeof zeros);
    return ~kst__crc32c(crc, l4 + KST__SCTP_HEADER, bytes - KST__SCTP_HEADER);
}

static bool kst__sctp_checksum_right(const struct kst__parsed *p)
{
    if (p->checksum != KST_CHECKSUM_VERIFY)
        return p->checksum != KST_CHECKSUM_BAD;
    const uint32_t crc = kst__sctp_crc(p->l4, p->l4_bytes);
    const uint8_t *sum = p->l4 + 8;
    return crc == ((uint32_t)sum[3] << 24 | (uint32_t)sum[2] << 16 | (uint32_t)sum[1] << 8 | sum[0]);
}

/* Header and layout; *types gets a bit for each chunk type met. */
static uint8_t kst__sctp_refuse(const struct kst__parsed *p, uint32_t *types)
{
    if (p->l4_here < KST__SCTP_HEADER)
        return KST_REASON_L4_SHORT;
    if (!kst__sctp_checksum_right(p))
        return KST_REASON_SCTP_CHECKSUM;
    *types = 0;
    uint32_t at = KST__SCTP_HEADER;
    const uint8_t *chunk;
    for (uint32_t count = 0; (chunk = kst__sctp_chunk(p, &at)) != NULL; count++) {
        const uint32_t bit = chunk[0] < 16 ? KST__SCTP_BIT(chunk[0]) : 0;
        *types |= bit;
        if (kst__be16(chunk + 2) == 0)
            return KST_REASON_SCTP_CHUNKS;
        if (count > 0 && ((bit & KST__SCTP_LEADING) || (*types & KST__SCTP_ALONE)))
            return KST_REASON_SCTP_CHUNKS;
    }
    return at == KST__SCTP_HEADER ? KST_REASON_SCTP_CHUNKS : KST_REASON_NONE;
}

/* The initiate tag of an INIT or INIT-ACK; false if the chunk is not whole. */
static bool kst__sctp_initiate_tag(const struct kst__parsed *p, const uint8_t *chunk, uint32_t *tag)
{
    if ((uint32_t)(p->l4 + p->l4_here - chunk) < KST__SCTP_INIT_BYTES)
        return false;
    *tag = kst__be32(chunk + 4);
    return true;
}

/* The first packet: what it says of the tags. */
static uint8_t kst__sctp_begin(const struct kst__case *c, uint32_t types)
{
    struct kst__sctp *sctp = &c->entry->proto.sctp;
    const struct kst__parsed *p = c->packet;
    const uint32_t tag = kst__be32(p->l4 + 4);
    uint32_t at = KST__SCTP_HEADER;
    const uint8_t *chunk;
    if (types & KST__SCTP_NOT_FIRST)
        return KST_REASON_SCTP_FIRST;
    while ((chunk = kst__sctp_chunk(p, &at)) != NULL) {
        if (!kst__sctp_acts(chunk[0]))
            return KST_REASON_SCTP_FIRST;
        if (chunk[0] == KST__SCTP_INIT) {
            if (tag != 0 || !kst__sctp_initiate_tag(p, chunk, &sctp->tag[KST_REPLY]))
                return KST_REASON_SCTP_TAG;
        } else if (chunk[0] == KST__SCTP_HEARTBEAT) {
            sctp->tag[KST_ORIGINAL] = tag;
        } else if (chunk[0] == KST__SCTP_SHUTDOWN_ACK) {
            sctp->tag[KST_REPLY] = tag;
        }
    }
    return KST_REASON_NONE;
}

/* Stores the tag that the other side is to use from now on. */
static uint8_t kst__sctp_store_tag(const struct kst__case *c, const uint8_t *chunk)
{
    struct kst__sctp *sctp = &c->entry->proto.sctp;
    const uint8_t from = c->direction, to = (uint8_t)(1 - from);
    const uint8_t from_pending = (uint8_t)(KST__SCTP_INIT_PENDING << from);
    const uint8_t to_pending = (uint8_t)(KST__SCTP_INIT_PENDING << to);
    uint32_t tag;
    if (!kst__sctp_initiate_tag(c->packet, chunk, &tag))
        return KST_REASON_SCTP_CHUNKS;
    if (chunk[0] == KST__SCTP_INIT && (c->fresh || sctp->tag[to] != tag)) {
        if (sctp->flags & from_pending) /* it insists: the other side's INIT has lost */
            sctp->flags &= (uint8_t)~to_pending;
        sctp->flags |= from_pending;
    }
    if (sctp->tag[to] != 0 && sctp->tag[to] != tag && chunk[0] == KST__SCTP_INIT_ACK &&
        (!(sctp->flags & to_pending) || (sctp->flags & from_pending)))
        return KST_REASON_SCTP_TAG;
    sctp->tag[to] = tag;
    return KST_REASON_NONE;
}

/* HEARTBEAT and HEARTBEAT-ACK may come on a new path before the tag is known there, or after the
 * other side restarted. *keep: let it through without refreshing. */
static uint8_t kst__sctp_heartbeat(const struct kst__case *c, uint8_t type, uint32_t types,
                                   bool *keep)
{
    struct kst__sctp *sctp = &c->entry->proto.sctp;
    const uint8_t from = c->direction;
    const uint32_t tag = kst__be32(c->packet->l4 + 4);
    if (sctp->tag[from] == 0) {
        sctp->tag[from] = tag;
        return KST_REASON_NONE;
    }
    if (sctp->tag[from] == tag) {
        sctp->flags &= (uint8_t)~KST__SCTP_HEARTBEAT_ODD;
        return KST_REASON_NONE;
    }
    if (types & KST__SCTP_BIT(KST__SCTP_DATA))
        return KST_REASON_SCTP_TAG;
    if (type == KST__SCTP_HEARTBEAT) {
        if (*keep) /* one a packet */
            return KST_REASON_SCTP_TAG;
        sctp->flags |= KST__SCTP_HEARTBEAT_ODD;
        sctp->odd = from;
        *keep = true;
        return KST_REASON_NONE;
    }
    if (!(sctp->flags & KST__SCTP_HEARTBEAT_ODD) || sctp->odd == from)
        return KST_REASON_SCTP_TAG;
    sctp->flags &= (uint8_t)~KST__SCTP_HEARTBEAT_ODD;
    sctp->tag[from] = tag;
    sctp->tag[1 - from] = 0;
    return KST_REASON_NONE;
}

/* What each chunk asks of the packet's tag. */
static uint8_t kst__sctp_tag(const struct kst__case *c, const uint8_t *chunk, uint32_t types,
                             bool *keep)
{
    const struct kst__sctp *sctp = &c->entry->proto.sctp;
    const uint32_t tag = kst__be32(c->packet->l4 + 4);
    const bool own = tag == sctp->tag[c->direction];
    const bool peers = tag == sctp->tag[1 - c->direction];
    const bool reflected = (chunk[1] & 1) != 0; /* the T bit */
    switch (chunk[0]) {
    case KST__SCTP_INIT: return tag == 0 ? KST_REASON_NONE : KST_REASON_SCTP_TAG;
    case KST__SCTP_ABORT:
    case KST__SCTP_SHUTDOWN_COMPLETE:
        return (reflected ? peers : own) ? KST_REASON_NONE : KST_REASON_SCTP_TAG;
    case KST__SCTP_COOKIE_ECHO: return own ? KST_REASON_NONE : KST_REASON_SCTP_TAG;
    case KST__SCTP_HEARTBEAT:
    case KST__SCTP_HEARTBEAT_ACK: return kst__sctp_heartbeat(c, chunk[0], types, keep);
    default: return KST_REASON_NONE;
    }
}

static struct kst__judgement kst__sctp_judge(const struct kst__case *c)
{
    struct kst__entry *e = c->entry;
    struct kst__sctp *sctp = &e->proto.sctp;
    const struct kst__parsed *p = c->packet;
    const uint8_t state_before = e->state;
    uint32_t types = 0;
    uint8_t reason = kst__sctp_refuse(p, &types);
    if (reason == KST_REASON_NONE && c->fresh)
        reason = kst__sctp_begin(c, types);
    if (reason != KST_REASON_NONE)
        return kst__say(KST__REFUSE, (enum kst_reason)reason);
    if (!(types & KST__SCTP_OWN_TAG) && kst__be32(p->l4 + 4) != sctp->tag[c->direction])
        return kst__say(KST__REFUSE, KST_REASON_SCTP_TAG);

    uint32_t at = KST__SCTP_HEADER;
    const uint8_t *chunk;
    bool keep = false;
    while ((chunk = kst__sctp_chunk(p, &at)) != NULL) {
        reason = kst__sctp_tag(c, chunk, types, &keep);
        if (reason != KST_REASON_NONE)
            return kst__say(KST__REFUSE, (enum kst_reason)reason);
        const uint8_t next = chunk[0] < KST__SCTP_ACTING
                                 ? kst__sctp_next[c->direction][chunk[0]][e->state]
                                 : e->state;
        if (next == KST_SCTP_NONE)
            return kst__say(KST__REFUSE, KST_REASON_SCTP_STATE);
        if (chunk[0] == KST__SCTP_INIT || chunk[0] == KST__SCTP_INIT_ACK)
            reason = kst__sctp_store_tag(c, chunk);
        if (reason != KST_REASON_NONE)
            return kst__say(KST__REFUSE, (enum kst_reason)reason);
        if (chunk[0] == KST__SCTP_COOKIE_ACK)
            sctp->flags &= (uint8_t)~(KST__SCTP_INIT_PENDING * 3);
        if (next == KST_SCTP_ESTABLISHED && e->state != next)
            e->status |= KST_ASSURED;
        e->state = next;
    }
    if (keep)
        return kst__say(KST__KEEP, KST_REASON_SCTP_HEARTBEAT);
    if (!c->fresh && types == KST__SCTP_BIT(KST__SCTP_INIT) &&
        state_before == KST_SCTP_CLOSED && e->state == KST_SCTP_CLOSED)
        return kst__say(KST__KEEP, KST_REASON_SCTP_INIT_AGAIN);
    return kst__refresh(kst__sctp_timeout(c->set, e->state));
}

#endif
