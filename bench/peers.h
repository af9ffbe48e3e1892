/* SPDX-License-Identifier: MIT */
/* bench/peers.h - tables of other people, as Debian packages them, behind one struct of functions.
 *
 * Keys are of 16 bytes, an IPv4 five-tuple, or of 40, IPv6 likewise; values are 64 bits. Each file
 * says how one key is added, found and removed, and PEER_LOOPS makes the loops that are timed, compiled
 * with it. Where a peer wants to be told a hash, all get the same. */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct key16 {
    uint64_t word[2];
};
struct key40 {
    uint64_t word[5];
};

struct peer {
    const char *name;
    uint32_t key_bytes;
    void *(*make)(uint32_t max); /* NULL: it cannot be had */
    void (*unmake)(void *table);
    /* Key i of the array gets the value `value + i`. All return how many it worked for, or sums of
     * the values found. */
    uint64_t (*add)(void *table, const void *keys, size_t count, uint64_t value);
    uint64_t (*remove)(void *table, const void *keys, size_t count);
    uint64_t (*find)(void *table, const void *keys, size_t count);
    uint64_t (*find_dependent)(void *table, const void *keys, size_t count);
    uint64_t (*find_bulk)(void *table, const void *keys, size_t count); /* by 32; NULL: there is none */
    /* Of ten, eight are found, the ninth is added, the tenth removed; how many of them worked. */
    uint64_t (*mixed)(void *table, const void *keys, size_t count);
    uint64_t (*bytes)(void); /* that its own allocator has given out; NULL: it uses malloc */
};

struct peer_timer {
    const char *name;
    void *(*make)(uint32_t max);
    void (*unmake)(void *timers);
    /* Starts, or starts anew, timers by their number, to ring so many ms after now. */
    void (*start)(void *timers, const uint32_t *numbers, const uint32_t *after_ms, size_t count);
    void (*wait)(uint32_t ms);        /* until its clock has gone so far */
    uint64_t (*expire)(void *timers); /* rings what is due; returns how many */
};

/* NULL behind the last; those whose package was not there are missing, named in peers_left_out. */
extern const struct peer *const peers[];
extern const struct peer_timer *const peer_timers[];
extern const char peers_in[], peers_left_out[];

__extension__ typedef unsigned __int128 uint128;

struct kind;
/* The key of a flow, as many bytes as its family takes: lookup.c. */
void key_of(const struct kind *kind, uint32_t flow, void *key);

/* One multiplication, folded, a word: as good as what people use with such tables. */
static inline uint64_t peer_hash(const void *key, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)key;
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        const uint128 product = (uint128)(hash ^ word) * UINT64_C(0xd6e8feb86659fd93);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return hash;
}

/* NAME_find(table, key, &value), NAME_add(table, key, value), NAME_remove(table, key) become loops and
 * `const struct peer peer_NAME`. */
#define PEER_LOOPS(NAME, TITLE, KEY, BULK, BYTES)                                                  \
    static uint64_t NAME##_adds(void *table, const void *keys, size_t count, uint64_t value)       \
    {                                                                                              \
        const struct KEY *key = (const struct KEY *)keys;                                          \
        uint64_t done = 0;                                                                         \
        for (size_t i = 0; i < count; i++)                                                         \
            done += NAME##_add(table, &key[i], value + i);                                         \
        return done;                                                                               \
    }                                                                                              \
    static uint64_t NAME##_removes(void *table, const void *keys, size_t count)                    \
    {                                                                                              \
        const struct KEY *key = (const struct KEY *)keys;                                          \
        uint64_t done = 0;                                                                         \
        for (size_t i = 0; i < count; i++)                                                         \
            done += NAME##_remove(table, &key[i]);                                                 \
        return done;                                                                               \
    }                                                                                              \
    static uint64_t NAME##_finds(void *table, const void *keys, size_t count)                      \
    {                                                                                              \
        const struct KEY *key = (const struct KEY *)keys;                                          \
        uint64_t sum = 0;                                                                          \
        for (size_t i = 0; i < count; i++) {                                                       \
            uint64_t value = 0;                                                                    \
            if (NAME##_find(table, &key[i], &value))                                               \
                sum += value;                                                                      \
        }                                                                                          \
        return sum;                                                                                \
    }                                                                                              \
    static uint64_t NAME##_finds_dependent(void *table, const void *keys, size_t count)            \
    {                                                                                              \
        const struct KEY *key = (const struct KEY *)keys;                                          \
        uint64_t sum = 0, value = 0;                                                               \
        for (size_t i = 0; i < count; i++)                                                         \
            if (NAME##_find(table, &key[i + (value >> 63)], &value))                               \
                sum += value;                                                                      \
        return sum;                                                                                \
    }                                                                                              \
    static uint64_t NAME##_mixed(void *table, const void *keys, size_t count)                      \
    {                                                                                              \
        const struct KEY *key = (const struct KEY *)keys;                                          \
        uint64_t good = 0, value;                                                                  \
        for (size_t i = 0; i < count; i++)                                                         \
            good += i % 10 < 8    ? NAME##_find(table, &key[i], &value)                            \
                    : i % 10 == 8 ? NAME##_add(table, &key[i], 1)                                  \
                                  : NAME##_remove(table, &key[i]);                                 \
        return good;                                                                               \
    }                                                                                              \
    extern const struct peer peer_##NAME;                                                          \
    const struct peer peer_##NAME = {TITLE,          sizeof(struct KEY),     NAME##_make,          \
                                     NAME##_unmake,  NAME##_adds,            NAME##_removes,       \
                                     NAME##_finds,   NAME##_finds_dependent, BULK,                 \
                                     NAME##_mixed,   BYTES};

#ifdef __cplusplus
}
#endif

#endif
