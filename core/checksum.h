/* SPDX-License-Identifier: MIT */
/* core/checksum.h - the Internet checksum (RFC 1071), verified, and kept right where NAT rewrites. */
#ifndef KST_CHECKSUM_H
#define KST_CHECKSUM_H

#include "base.h"

/* Adds `size` bytes to a running sum, as if they stood in memory in host order: the ones'
 * complement sum does not mind, as long as all parts of one sum are added that way. Every part but
 * the last must be of even size. */
static uint64_t kst__sum(uint64_t sum, const uint8_t *data, size_t size)
{
    for (; size >= 4; data += 4, size -= 4) {
        uint32_t word;
        memcpy(&word, data, sizeof word);
        sum += word;
    }
    if (size > 0) {
        uint32_t word = 0; /* missing bytes count as 0 */
        memcpy(&word, data, size);
        sum += word;
    }
    return sum;
}

KST_INLINE uint16_t kst__sum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    return (uint16_t)sum;
}

/* Whether a sum over data that contains its own checksum comes out right. Linux lets a message of
 * nothing but zeros pass as well, whose sum alone is 0. */
KST_INLINE bool kst__sum_right(uint64_t sum)
{
    return sum == 0 || kst__sum_fold(sum) == UINT16_MAX;
}

/* The pseudo-header of RFC 768 and RFC 8200 §8.1: addresses, length, protocol. The two addresses
 * stand side by side in both families' headers. */
static uint64_t kst__sum_pseudo(const uint8_t *addresses, size_t addresses_bytes, uint32_t length,
                                uint8_t protocol)
{
    const uint8_t tail[8] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16),
                             (uint8_t)(length >> 8),  (uint8_t)length,
                             0, 0, 0, protocol};
    return kst__sum(kst__sum(0, addresses, addresses_bytes), tail, sizeof tail);
}

/* ---- writing: what changes in a packet, its checksum follows (RFC 1624) ---- */

/* What putting `size` bytes in the place of others adds to a sum over them: 2, or a multiple of 4. */
KST_INLINE uint64_t kst__sum_change(uint64_t sum, const uint8_t *old_, const uint8_t *new_,
                                    size_t size)
{
    uint16_t was_half, is_half;
    if (size == 2) {
        memcpy(&was_half, old_, sizeof was_half);
        memcpy(&is_half, new_, sizeof is_half);
        return sum + (uint16_t)~was_half + is_half;
    }
    for (size_t i = 0; i < size; i += 4) {
        uint32_t was, is;
        memcpy(&was, old_ + i, sizeof was);
        memcpy(&is, new_ + i, sizeof is);
        sum += (uint64_t)~was + is;
    }
    return sum;
}

/* The same sum, had all stood a byte further on. */
KST_INLINE uint64_t kst__sum_swap(uint64_t sum)
{
    const uint32_t folded = kst__sum_fold(sum);
    return (uint16_t)(folded << 8 | folded >> 8);
}

/* Lets a checksum follow. One that is not there, UDP's 0, stays away. */
KST_INLINE void kst__checksum_change(uint8_t *at, uint64_t change, bool optional)
{
    uint16_t sum;
    memcpy(&sum, at, sizeof sum);
    if (optional && sum == 0)
        return;
    sum = (uint16_t)~kst__sum_fold((uint16_t)~sum + change);
    if (optional && sum == 0)
        sum = UINT16_MAX;
    memcpy(at, &sum, sizeof sum);
}

/* Computes one anew: over `size` bytes at `l4`, where it stands at `at`; `sum` is that of what
 * comes before. */
static void kst__checksum_set(uint8_t *l4, uint32_t at, uint32_t size, uint64_t sum)
{
    kst__put16(l4 + at, 0);
    const uint16_t is = (uint16_t)~kst__sum_fold(kst__sum(sum, l4, size));
    memcpy(l4 + at, &is, sizeof is);
}

#endif
