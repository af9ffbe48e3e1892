/* SPDX-License-Identifier: MIT */
/* core/adjust.h - TCP sequence numbers that follow what helpers have made longer or shorter.
 *
 * Of each direction one place is known and by how much what lies before and behind it is shifted: one
 * change a window, as in Linux. What a sender numbers itself is shifted on its way; what it says of the
 * other side's bytes, its ACK and SACK, back. */
#ifndef KST_ADJUST_H
#define KST_ADJUST_H

#include "checksum.h"
#include "pool.h"

/* By how much a segment of this side is shifted that begins at `seq`. */
KST_INLINE uint32_t kst__adjust_seq(const struct kst__adjust_side *side, uint32_t seq)
{
    return kst__after(seq, side->at) ? side->after : side->before;
}

/* By how much an acknowledgement of this side's bytes is too large for it. */
KST_INLINE uint32_t kst__adjust_ack(const struct kst__adjust_side *side, uint32_t ack)
{
    return kst__adjust_seq(side, ack - side->before);
}

/* Notes that the segment at `seq` has grown by so many bytes, modulo 2^32. The same one again is
 * changed in the same way. */
static void kst__adjust_note(struct kst *t, uint32_t slot, uint8_t direction, uint32_t seq,
                             uint32_t grown)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__adjust_side *side = &kst__adjust_at(t, slot)[direction];
    if (!(e->status & KST_SEQ_ADJUST))
        memset(kst__adjust_at(t, slot), 0, sizeof(struct kst__adjust));
    e->status |= KST_SEQ_ADJUST;
    if (side->before != side->after && !kst__after(seq, side->at))
        return;
    side->at = seq;
    side->before = side->after;
    side->after += grown;
}

/* Changes a number in the header, whose checksum follows. */
static void kst__adjust_number(uint8_t *tcp, uint32_t at, uint32_t number)
{
    uint8_t is[4];
    if (number == kst__be32(tcp + at))
        return;
    kst__put32(is, number);
    uint64_t change = kst__sum_change(0, tcp + at, is, sizeof is);
    if (at % 2 != 0) /* an option may lie anywhere */
        change = kst__sum_swap(change);
    kst__checksum_change(tcp + 16, change, false);
    memcpy(tcp + at, is, sizeof is);
}

/* The blocks of SACK options. False if the options are malformed. */
static bool kst__adjust_sack(uint8_t *tcp, uint32_t header, const struct kst__adjust_side *other)
{
    for (uint32_t at = 20; at < header && tcp[at] != 0;) {
        if (tcp[at] == 1) {
            at++;
            continue;
        }
        if (at + 1 == header || tcp[at + 1] < 2 || at + tcp[at + 1] > header)
            return false;
        const uint32_t size = tcp[at + 1];
        if (tcp[at] == 5 && size >= 10 && (size - 2) % 8 == 0)
            for (uint32_t edge = at + 2; edge < at + size; edge += 4)
                kst__adjust_number(tcp, edge,
                                   kst__be32(tcp + edge) -
                                       kst__adjust_ack(other, kst__be32(tcp + edge)));
        at += size;
    }
    return true;
}

/* Adjusts a segment, of which `here` bytes are there. False if it cannot be read. */
static bool kst__adjust_segment(const struct kst *t, uint32_t slot, uint8_t direction, uint8_t *tcp,
                                uint32_t here)
{
    const struct kst__adjust_side *sides = kst__adjust_at(t, slot);
    const struct kst__adjust_side *own = &sides[direction], *other = &sides[!direction];
    const uint32_t header = here >= 20 ? (uint32_t)(tcp[12] >> 4) * 4 : 0;
    if (header < 20 || header > here)
        return false;
    const uint32_t seq = kst__be32(tcp + 4), ack = kst__be32(tcp + 8);
    kst__adjust_number(tcp, 4, seq + kst__adjust_seq(own, seq));
    if (!(tcp[13] & 16)) /* ACK */
        return true;
    kst__adjust_number(tcp, 8, ack - kst__adjust_ack(other, ack));
    return kst__adjust_sack(tcp, header, other);
}

#endif
