/* SPDX-License-Identifier: MIT */
/* core/hash.h - the hashes to choose from, each over whole 64-bit words. SipHash (Aumasson and
 * Bernstein, 2012) is keyed, because who can choose packets must not be able to choose buckets. */
#ifndef KST_HASH_H
#define KST_HASH_H

#include "base.h"

#define KST__SIP_ROUND(a, b, c, d)                                                                 \
    do {                                                                                           \
        a += b, b = b << 13 | b >> 51, b ^= a, a = a << 32 | a >> 32;                              \
        c += d, d = d << 16 | d >> 48, d ^= c;                                                     \
        a += d, d = d << 21 | d >> 43, d ^= a;                                                     \
        c += b, b = b << 17 | b >> 47, b ^= c, c = c << 32 | c >> 32;                              \
    } while (0)

/* SipHash-c-d of a message: `count` whole words, each read as the 8 little-endian bytes of the
 * original's input, then `last`: up to 7 bytes more, and in the highest byte how many bytes all are. */
KST_INLINE uint64_t kst__sip(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                             uint64_t last, int c_rounds, int d_rounds)
{
    uint64_t a = seed[0] ^ UINT64_C(0x736f6d6570736575);
    uint64_t b = seed[1] ^ UINT64_C(0x646f72616e646f6d);
    uint64_t c = seed[0] ^ UINT64_C(0x6c7967656e657261);
    uint64_t d = seed[1] ^ UINT64_C(0x7465646279746573);

    for (uint32_t i = 0; i < count; i++) {
        d ^= words[i];
        KST__SIP_ROUND(a, b, c, d);
        if (c_rounds == 2)
            KST__SIP_ROUND(a, b, c, d);
        a ^= words[i];
    }
    d ^= last;
    KST__SIP_ROUND(a, b, c, d);
    if (c_rounds == 2)
        KST__SIP_ROUND(a, b, c, d);
    a ^= last;
    c ^= 0xff;
    KST__SIP_ROUND(a, b, c, d); /* written out: compilers leave so short a loop as it is */
    KST__SIP_ROUND(a, b, c, d);
    KST__SIP_ROUND(a, b, c, d);
    if (d_rounds == 4)
        KST__SIP_ROUND(a, b, c, d);
    return a ^ b ^ c ^ d;
}

/* Of whole words alone. */
KST_INLINE uint64_t kst__siphash(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                 int c_rounds, int d_rounds)
{
    return kst__sip(seed, words, count, (uint64_t)count << 59, c_rounds, d_rounds);
}

KST_INLINE uint64_t kst__hash_sip13(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                    uint64_t last)
{
    return kst__sip(seed, words, count, last, 1, 3);
}

KST_INLINE uint64_t kst__hash_sip24(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                    uint64_t last)
{
    return kst__sip(seed, words, count, last, 2, 4);
}

/* Multiply and fold, for traffic that nobody hostile chooses: the seed hides nothing. */
KST_INLINE uint64_t kst__hash_fold(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                                   uint64_t last)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 by the golden ratio */
    uint64_t hash = seed[0];
    for (uint32_t i = 0; i < count; i++) {
        hash = (hash ^ words[i]) * odd;
        hash ^= hash >> 32;
    }
    hash = (hash ^ last) * odd;
    return (hash ^ hash >> 32) * odd;
}

/* The one that was chosen, of a message as kst__sip takes it. */
KST_INLINE uint64_t kst__hash(const uint64_t seed[2], const uint64_t *words, uint32_t count,
                              uint64_t last)
{
    return KST__PASTE(kst__hash_, KST_HASH)(seed, words, count, last);
}

#endif
