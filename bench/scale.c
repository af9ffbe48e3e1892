/* SPDX-License-Identifier: MIT */
/* bench/scale.c - threads, a table each, packets spread so that a connection's both directions meet the
 * same thread: by kst_shard if the core has it, else by the number of the flow. An operation is a
 * packet of any thread; the caller is the first of them. */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MAX = 64, BURST = 32 };

struct scale {
    const struct kit *kit;
    uint32_t size, threads;
};

struct worker {
    const struct kit *kit;
    struct table *w;
    uint8_t (*wires)[128];
    struct kst_packet *packets;
    size_t count;
    pthread_barrier_t *begin;
    atomic_uint *done;
    atomic_bool *over;
    pthread_t thread;
};

static void work(struct worker *me)
{
    struct kst_result out[BURST];
    me->w->now_ms = me->kit->track_all(me->w->t, me->w->now_ms, me->packets, me->count, BURST, out, false);
    atomic_fetch_add(me->done, 1);
}

static void *worker(void *argument)
{
    struct worker *me = argument;
    for (;;) {
        pthread_barrier_wait(me->begin);
        if (atomic_load(me->over))
            return NULL;
        work(me);
    }
}

static void run(struct bench *b, const void *argument)
{
    const struct scale *c = argument;
    static const struct kind tcp = {.protocol = TCP};
    struct worker workers[THREADS_MAX] = {{0}};
    pthread_barrier_t begin;
    atomic_uint done = 0;
    atomic_bool over = false;
    const size_t count = ROUND < 4 * c->size ? ROUND : 4 * c->size;
    struct draw d = {c->size};
    uint64_t sent = 0, before = 0, good = 0;
    pthread_barrier_init(&begin, NULL, c->threads);
    for (uint32_t i = 0; i < c->threads; i++) {
        struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                      .kind = tcp,
                                                      .max = c->size,
                                                      .flows = c->size,
                                                      .upto = STEP_DATA,
                                                      .own = 100 + i});
        if (w == NULL)
            exit(1);
        workers[i] = (struct worker){.kit = c->kit, .w = w, .count = count, .begin = &begin, .done = &done,
                                     .over = &over};
        workers[i].wires = pages(count * sizeof *workers[i].wires);
        workers[i].packets = pages(count * sizeof *workers[i].packets);
        before += c->kit->statistics(w->t)->reasons[KST_REASON_NONE];
        if (i > 0)
            pthread_create(&workers[i].thread, NULL, worker, &workers[i]);
    }
    while (bench_next(b, count * c->threads)) {
        for (uint32_t t = 0; t < c->threads; t++)
            for (size_t i = 0; i < count; i++) {
                struct table *w = workers[t].w;
                const uint32_t flow = draw_below(&d, c->size);
                const uint8_t way = draw(&d) >> 63 ? KST_REPLY : KST_ORIGINAL;
                const uint32_t at[2] = {w->sent[0][flow], w->sent[1][flow]};
                workers[t].packets[i] = packet_write(workers[t].wires[i], &tcp, flow, way, STEP_DATA, at, NULL, 24);
                w->sent[way][flow] += 24;
            }
        atomic_store(&done, 0);
        pthread_barrier_wait(&begin);
        bench_start(b);
        work(&workers[0]);
        while (atomic_load(&done) != c->threads)
            ;
        bench_stop(b);
        sent += count * c->threads;
    }
    atomic_store(&over, true);
    pthread_barrier_wait(&begin);
    for (uint32_t i = 0; i < c->threads; i++) {
        if (i > 0)
            pthread_join(workers[i].thread, NULL);
        good += c->kit->statistics(workers[i].w->t)->reasons[KST_REASON_NONE];
        pages_free(workers[i].wires, count * sizeof *workers[i].wires);
        pages_free(workers[i].packets, count * sizeof *workers[i].packets);
    }
    pthread_barrier_destroy(&begin);
    if (good - before != sent)
        bench_fail(b, "of %llu packets %llu were plain", (unsigned long long)sent,
                   (unsigned long long)(good - before));
    bench_counter(b, "threads", c->threads);
}

void add_scales(void)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t k = 0; kits[k] != NULL; k++)
            for (uint32_t threads = 1; threads <= THREADS_MAX && threads <= (uint32_t)processors; threads *= 2) {
                char how[16];
                struct scale *c = malloc(sizeof *c);
                *c = (struct scale){kits[k], sizes[s], threads};
                snprintf(how, sizeof how, "threads%u", threads);
                bench_add(name_of("scale", "tcp", sizes[s], kits[k]->index, kits[k]->timer, how), run, c);
            }
}
