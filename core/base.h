/* SPDX-License-Identifier: MIT */
/* core/base.h - what every room uses: inlining, byte order, serial arithmetic. */
#ifndef KST_BASE_H
#define KST_BASE_H

#include "api.h"

#if defined(__GNUC__)
#define KST_INLINE static inline __attribute__((always_inline))
#define KST_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define KST_LIKELY(x) __builtin_expect(!!(x), 1)
/* The empty statement keeps gcc from taking a function that only prefetches for one that does
 * nothing, and leaving out its calls. */
#define KST_PREFETCH(address)                                                                      \
    do {                                                                                           \
        __builtin_prefetch(address, 1);                                                            \
        __asm__ volatile("");                                                                      \
    } while (0)
#define KST__MAYBE_UNUSED __attribute__((unused))
#define KST__NOINLINE __attribute__((noinline))
#else
#define KST_INLINE static inline
#define KST_UNLIKELY(x) (x)
#define KST_LIKELY(x) (x)
#define KST_PREFETCH(address) ((void)(address))
#define KST__MAYBE_UNUSED
#define KST__NOINLINE
#endif

#define KST__PASTE_(a, b) a##b
#define KST__PASTE(a, b) KST__PASTE_(a, b)

#define KST__NONE UINT32_MAX /* no entry, no node, no chunk */

KST_INLINE uint16_t kst__be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

KST_INLINE uint32_t kst__be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

KST_INLINE uint64_t kst__be64(const uint8_t *p)
{
    return (uint64_t)kst__be32(p) << 32 | kst__be32(p + 4);
}

/* The other way round, for hashes, which are the same on every machine. */
KST_INLINE uint64_t kst__le64(const uint8_t *p)
{
    return (uint64_t)p[7] << 56 | (uint64_t)p[6] << 48 | (uint64_t)p[5] << 40 |
           (uint64_t)p[4] << 32 | (uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 |
           (uint64_t)p[1] << 8 | (uint64_t)p[0];
}

KST_INLINE void kst__put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

KST_INLINE void kst__put32(uint8_t *at, uint32_t value)
{
    kst__put16(at, value >> 16);
    kst__put16(at + 2, value);
}

KST_INLINE uint32_t kst__max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Serial arithmetic modulo 2^32 (RFC 1982): right while the two lie within 2^31 of each other. */
KST_INLINE bool kst__before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

KST_INLINE bool kst__after(uint32_t a, uint32_t b)
{
    return kst__before(b, a);
}

/* The next offset where a cache line begins. */
KST_INLINE uint64_t kst__aligned(uint64_t offset)
{
    return (offset + KST_ALIGN - 1) / KST_ALIGN * KST_ALIGN;
}

/* Position of the lowest and the highest set bit. `bits` is not 0. */
KST_INLINE uint32_t kst__lowest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return (uint32_t)__builtin_ctzll(bits);
#else
    uint32_t n = 0;
    for (; !(bits & 1); bits >>= 1)
        n++;
    return n;
#endif
}

KST_INLINE uint32_t kst__highest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return 63 - (uint32_t)__builtin_clzll(bits);
#else
    uint32_t n = 0;
    while (bits >>= 1)
        n++;
    return n;
#endif
}

/* The smallest power of two that is not below `n`; n is at most 2^31. */
KST_INLINE uint32_t kst__power_of_two(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power <<= 1;
    return power;
}

#endif
