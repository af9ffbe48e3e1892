/* SPDX-License-Identifier: MIT */
/* bench/bench.h - what the subjects share: pairs of back ends, tables full of connections, packets,
 * keys and their distributions, times of single operations. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "keepstate.h"
#include "shim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Operations are prepared and timed in rounds of at most so many: what they read lies in the caches
 * as what a network card has just written would. */
enum { ROUND = 65536 };

/* ---- kits: the core once for each pair of back ends, kit.c ---- */

/* Calls of the core that subjects make, and loops around them that are compiled with it. */
#define KIT_CALLS(X)                                                                               \
    X(bytes) X(init) X(track) X(advance) X(find) X(get) X(next) X(delete) X(flush) X(insert)       \
    X(attach_usual) X(set) X(statistics) X(count) X(class_count) X(print) X(check)                 \
    X(expectation_count) X(event_next) X(reason_name) X(error_text) X(shard)

struct kit {
    const char *index, *timer;
#define KIT__X(name) __typeof__(kst_##name) *name;
    KIT_CALLS(KIT__X)
#undef KIT__X
    /* Sums of what is found: 1 for each hit. */
    uint64_t (*find_each)(const struct kst *t, const struct kst_tuple *tuples, size_t count);
    uint64_t (*find_dependent)(const struct kst *t, const struct kst_tuple *tuples, size_t count);
    uint64_t (*find_batch)(const struct kst *t, const struct kst_tuple *tuples, size_t count, size_t burst);
    /* Packets in calls of `burst`, a millisecond later after each 16384; `out` has room for one call, or
     * for all of them if `keep_all`. Returns the last clock. */
    uint64_t (*track_all)(struct kst *t, uint64_t now_ms, const struct kst_packet *in,
                          size_t count, size_t burst, struct kst_result *out, bool keep_all);
    /* Likewise through kst_track_nat, in place: SNAT as kind.nat has it. */
    uint64_t (*translate_all)(struct kst *t, uint64_t now_ms, const struct kst_packet *in,
                              size_t count, size_t burst, struct kst_result *out, bool keep_all);
    uint64_t (*delete_all)(struct kst *t, const kst_id *ids, size_t count);
    /* Of ten, eight are found, the ninth is a packet that opens, the tenth is deleted by its tuple. */
    uint64_t (*mixed)(struct kst *t, uint64_t now_ms, const struct kst_tuple *tuples,
                      const struct kst_packet *in, size_t count);
    /* Every call timed by itself, in ticks. */
    void (*track_timed)(struct kst *t, uint64_t now_ms, const struct kst_packet *in, size_t count,
                        struct kst_result *out, uint32_t *ticks);
    uint64_t (*advance_timed)(struct kst *t, uint64_t now_ms, uint32_t work_max, size_t count,
                              uint32_t *ticks);
    /* A millisecond a call until `until_ms`; returns the steps used. */
    uint64_t (*advance_all)(struct kst *t, uint64_t now_ms, uint64_t until_ms);
    /* A line for each connection from `id` on, at most `count`; returns the bytes of all. */
    uint64_t (*print_all)(const struct kst *t, enum kst_format format, size_t count);
    uint64_t (*walk)(const struct kst *t);
};

extern const struct kit *const kits[]; /* NULL behind the last */

/* ---- names and sizes ---- */

extern uint32_t sizes[16]; /* --sizes=, 0 behind the last */
extern bool huge;          /* --huge: tables in pages of 2 MiB */
extern size_t memory_max;  /* --memory=, of all tables that are kept for others to use */

/* SUBJECT/WHAT/SIZE/INDEX/TIMER/HOW; stays for good. */
char *name_of(const char *subject, const char *what, uint32_t size, const char *index,
              const char *timer, const char *how);

/* Each subject adds its benchmarks. */
#define SUBJECTS(X) X(floors) X(lookups) X(inserts) X(tracks) X(translates) X(lives) X(expiries) X(full) X(latencies) \
    X(helpers) X(fragments) X(prints) X(scales)
#define SUBJECT__X(name) void add_##name(void);
SUBJECTS(SUBJECT__X)
#undef SUBJECT__X
bool add_capture(const char *file); /* false, and it was told, if nothing in it can be replayed */

/* ---- times of single operations ---- */

/* A clock of single operations: the processor's where it has one that waits for what was begun. */
static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("rdtscp\n\tlfence" : "=a"(low), "=d"(high) : : "rcx", "memory");
    return (uint64_t)high << 32 | low;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
#endif
}

/* ---- draws: splitmix64, the same on every machine ---- */

struct draw {
    uint64_t state;
};

static inline uint64_t draw(struct draw *d)
{
    uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint32_t draw_below(struct draw *d, uint32_t limit)
{
    return (uint32_t)((draw(d) >> 32) * limit >> 32);
}

/* Which flow comes next. */
enum order { UNIFORM, ZIPF, HOT, IN_TURN, ORDERS };
uint32_t draw_flow(struct draw *d, enum order order, uint32_t flows, uint32_t turn);

/* ---- flows: number f of so many, always the same ---- */

enum { ICMP = 1, TCP = 6, UDP = 17, GRE = 47, ESP = 50, ICMP6 = 58, SCTP = 132, UDPLITE = 136 };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* How the tuples of flows are chosen. */
enum keys {
    SCATTERED, /* any */
    ADJACENT,  /* port after port, address after address, to one server */
    SWEPT,     /* one source tries all ports of host after host */
    COLLIDING  /* all have the same CRC32C: an attack on a hash without a key */
};

struct kind {
    uint8_t protocol;
    bool v6;
    uint8_t keys;    /* enum keys */
    bool options;    /* TCP: with timestamps */
    bool verify;     /* the core computes the checksums */
    bool nat;        /* the source is translated: another network, the same host and port */
    uint16_t port;   /* of the server; 0: 80 or 443 */
    uint8_t shard, shards; /* IPv4: flows that kst_shard gives to this of so many; 0: any */
};

/* The key of kst_shard. */
extern const uint64_t shard_seed[2];

struct kst_tuple flow_tuple(const struct kind *kind, uint32_t flow);

/* A connection, answered and ASSURED, as kst_insert takes it. */
struct kst_flow flow_whole(const struct kind *kind, uint32_t flow, uint64_t timeout_ms);

/* What a packet says. */
enum step {
    STEP_OPEN,   /* TCP: SYN; SCTP: INIT; others: data */
    STEP_ANSWER, /* TCP: SYN ACK; SCTP: INIT ACK; others: data the other way */
    STEP_AGREE,  /* TCP: ACK; SCTP: COOKIE ECHO */
    STEP_AGREED, /* SCTP: COOKIE ACK; others: data the other way */
    STEP_DATA,
    STEP_FIN,
    STEP_RST
};

/* ---- tables ---- */

struct shape { /* what a table is made of, and what is in it; zero what does not matter */
    const struct kit *kit;
    struct kind kind;
    uint32_t max, flows; /* so many flows are in it */
    uint32_t half;       /* behind them, so many more that nobody has answered */
    enum step upto;      /* as far as the flows have come: STEP_OPEN or, all open, STEP_DATA */
    enum { BY_PACKETS, BY_HAND, BY_HAND_FIXED } made; /* or by kst_insert; with FIXED_TIMEOUT */
    uint32_t features, expectations, reassembly_bytes, events;
    uint32_t evict_all;  /* 1: every class may be evicted */
    uint32_t own;        /* tables that differ only in this are different */
};

struct table {
    struct shape shape;
    const struct kit *kit;
    struct kst *t;
    size_t bytes;
    uint64_t now_ms;
    uint32_t *sent[2];   /* TCP: bytes since the beginning, by direction, by flow; else NULL */
};

/* The table of this shape: one that is at hand, or a new one. NULL, and `b` has failed, if it did
 * not become what it should. */
struct table *table_of(struct bench *b, const struct shape *shape);
void table_drop(struct table *w); /* its content is spent: the next table_of makes it anew */

/* ---- packets: ROUND of them, shared by all that run ---- */

extern struct kst_packet packets[ROUND];
extern struct kst_result results[ROUND];

/* Into a header, in the network's order. */
void put16(uint8_t *at, uint32_t value);
void put32(uint8_t *at, uint32_t value);

/* Writes a packet of the flow. `sent` is what either side of TCP has sent; `body` may be NULL, and then
 * the payload is zeros, or none if its length is 0, too. */
struct kst_packet packet_write(uint8_t *at, const struct kind *kind, uint32_t flow, uint8_t direction,
                               enum step step, const uint32_t sent[2], const void *body,
                               uint32_t body_bytes);

/* Packet `i` becomes this step of the flow; TCP data of those that are in the table counts as sent. */
void packet_make_as(struct table *w, const struct kind *kind, size_t i, uint32_t flow,
                    uint8_t direction, enum step step);
void packet_make(struct table *w, size_t i, uint32_t flow, uint8_t direction, enum step step);

/* ---- things kept from one benchmark to the next, up to --memory= ---- */

void *kept(const char *name);
void *keep(const char *name, void *thing, size_t bytes, void (*drop)(void *));
void forget(const char *name);

/* Zeroed pages, touched; aligned to 2 MiB. */
void *pages(size_t bytes);
void pages_free(void *at, size_t bytes);

#endif
