/* SPDX-License-Identifier: MIT */
/* core/checksum.h - the Internet checksum (RFC 1071), verified, never written. */
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

/* Whether a sum over data that contains its own checksum comes out right. Linux lets a message of
 * nothing but zeros pass as well, whose sum alone is 0. */
KST_INLINE bool kst__sum_right(uint64_t sum)
{
    if (sum == 0)
        return true;
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 32) + (sum & UINT32_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    sum = (sum >> 16) + (sum & UINT16_MAX);
    return (sum & UINT16_MAX) == UINT16_MAX;
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

#endif
