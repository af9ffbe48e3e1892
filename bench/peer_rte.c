/* SPDX-License-Identifier: MIT */
/* bench/peer_rte.c - DPDK: rte_hash, one by one and in bulk, with its own CRC; rte_timer. Without huge
 * pages or devices: memory as everybody else's. */
#include "peers.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>
#include <rte_timer.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Starts DPDK at its first use; it would stay on one processor, so where we run is put back. */
static bool started(void)
{
    static int state; /* 0: not tried yet, 1: runs, -1: does not */
    if (state != 0)
        return state > 0;
    char *arguments[] = {"bench",    "--no-huge",        "--no-pci",       "-m",
                         "5000",     "--no-telemetry",   "--no-shconf",    "--log-level=1",
                         "--lcores", "0@0",              NULL};
    cpu_set_t where;
    char lcores[16];
    sched_getaffinity(0, sizeof where, &where);
    snprintf(lcores, sizeof lcores, "0@%d", sched_getcpu());
    arguments[9] = lcores;
    fflush(stdout);
    state = rte_eal_init((int)(sizeof arguments / sizeof *arguments) - 1, arguments) >= 0 ? 1 : -1;
    sched_setaffinity(0, sizeof where, &where);
    if (state < 0)
        fprintf(stderr, "bench: DPDK does not start: %s\n", rte_strerror(rte_errno));
    return state > 0;
}

static uint64_t rte_bytes(void)
{
    struct rte_malloc_socket_stats stats;
    return started() && rte_malloc_get_socket_stats(0, &stats) == 0 ? stats.heap_allocsz_bytes : 0;
}

static void *rte_make(uint32_t max, uint32_t key_bytes)
{
    static uint32_t serial;
    char name[32];
    if (!started())
        return NULL;
    snprintf(name, sizeof name, "bench%u", serial++);
    /* Twice the room: a load of one half, at which it is fastest. */
    const struct rte_hash_parameters parameters = {.name = name,
                                                   .entries = 2 * max,
                                                   .key_len = key_bytes,
                                                   .hash_func = rte_hash_crc,
                                                   .socket_id = 0};
    return rte_hash_create(&parameters);
}

static void rte_unmake(void *table)
{
    rte_hash_free((struct rte_hash *)table);
}

#define RTE_PEER(NAME, KEY)                                                                        \
    static void *NAME##_make(uint32_t max)                                                         \
    {                                                                                              \
        return rte_make(max, sizeof(struct KEY));                                                  \
    }                                                                                              \
    static void NAME##_unmake(void *table)                                                         \
    {                                                                                              \
        rte_unmake(table);                                                                         \
    }                                                                                              \
    static inline bool NAME##_add(void *table, const struct KEY *key, uint64_t value)              \
    {                                                                                              \
        return rte_hash_add_key_data((struct rte_hash *)table, key, (void *)(uintptr_t)value) == 0; \
    }                                                                                              \
    static inline bool NAME##_remove(void *table, const struct KEY *key)                           \
    {                                                                                              \
        return rte_hash_del_key((struct rte_hash *)table, key) >= 0;                               \
    }                                                                                              \
    static inline bool NAME##_find(void *table, const struct KEY *key, uint64_t *value)            \
    {                                                                                              \
        void *data;                                                                                \
        if (rte_hash_lookup_data((struct rte_hash *)table, key, &data) < 0)                        \
            return false;                                                                          \
        *value = (uint64_t)(uintptr_t)data;                                                        \
        return true;                                                                               \
    }                                                                                              \
    static uint64_t NAME##_bulk(void *table, const void *keys, size_t count)                       \
    {                                                                                              \
        const struct KEY *key = (const struct KEY *)keys;                                          \
        uint64_t sum = 0;                                                                          \
        for (size_t i = 0; i < count; i += 32) {                                                   \
            const uint32_t some = count - i < 32 ? (uint32_t)(count - i) : 32;                     \
            const void *wanted[32];                                                                \
            void *data[32];                                                                        \
            uint64_t hits = 0;                                                                     \
            for (uint32_t k = 0; k < some; k++)                                                    \
                wanted[k] = &key[i + k];                                                           \
            rte_hash_lookup_bulk_data((struct rte_hash *)table, wanted, some, &hits, data);        \
            for (uint32_t k = 0; k < some; k++)                                                    \
                sum += hits >> k & 1 ? (uint64_t)(uintptr_t)data[k] : 0;                           \
        }                                                                                          \
        return sum;                                                                                \
    }                                                                                              \
    PEER_LOOPS(NAME, "rte_hash", KEY, NAME##_bulk, rte_bytes)

RTE_PEER(rte_hash16, key16)
RTE_PEER(rte_hash40, key40)

/* ---- rte_timer ---- */

struct rte_timers {
    uint32_t max;
    uint32_t data; /* DPDK's name for a set of timers */
    uint64_t per_ms;
    struct rte_timer *timer;
};

static uint64_t rung;

static void ring(struct rte_timer *timer)
{
    (void)timer;
    rung++;
}

static void *timers_make(uint32_t max)
{
    static bool there;
    if (!started() || (!there && rte_timer_subsystem_init() != 0))
        return NULL;
    there = true;
    struct rte_timers *t = (struct rte_timers *)calloc(1, sizeof *t);
    t->max = max;
    t->timer = (struct rte_timer *)calloc(max, sizeof *t->timer);
    t->per_ms = rte_get_timer_hz() / 1000;
    rte_timer_data_alloc(&t->data);
    for (uint32_t i = 0; i < max; i++)
        rte_timer_init(&t->timer[i]);
    return t;
}

static void timers_unmake(void *timers)
{
    struct rte_timers *t = (struct rte_timers *)timers;
    for (uint32_t i = 0; i < t->max; i++)
        rte_timer_alt_stop(t->data, &t->timer[i]);
    rte_timer_data_dealloc(t->data);
    free(t->timer);
    free(t);
}

static void timers_start(void *timers, const uint32_t *numbers, const uint32_t *after_ms, size_t count)
{
    struct rte_timers *t = (struct rte_timers *)timers;
    for (size_t i = 0; i < count; i++)
        rte_timer_alt_reset(t->data, &t->timer[numbers[i]], after_ms[i] * t->per_ms, SINGLE, 0, NULL, NULL);
}

/* Its clock is the processor's: time must pass. */
static void timers_wait(uint32_t ms)
{
    const uint64_t until = rte_get_timer_cycles() + (ms + 1) * rte_get_timer_hz() / 1000;
    while (rte_get_timer_cycles() < until)
        usleep(1000);
}

static uint64_t timers_expire(void *timers)
{
    struct rte_timers *t = (struct rte_timers *)timers;
    uint32_t here = 0;
    rung = 0;
    rte_timer_alt_manage(t->data, &here, 1, ring);
    return rung;
}

extern const struct peer_timer peer_timer_rte_timer;
const struct peer_timer peer_timer_rte_timer = {"rte_timer",  timers_make, timers_unmake,
                                                timers_start, timers_wait, timers_expire};
