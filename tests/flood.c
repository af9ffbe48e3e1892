/* SPDX-License-Identifier: MIT */
/* flood.c - a full table under attack, at any size: who is lost, who gets in, and what is said of it.
 *
 *     flood [CONNECTIONS [PACKETS]]    of the table, and of each attack; 20,000 and 200,000
 *
 * Prints a line a scenario; ends with 1 at the first promise that is broken. No clock is read: `bench`
 * has the times. */
#define KST_IMPLEMENTATION
#include "keepstate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SYN = 2, RST = 4, ACK = 16, TCP = 6, UDP = 17, BATCH = 32 };

static uint32_t connections = 20000, attacks = 200000;
static const char *scenario = "";

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    printf("%s: broken: %s\n", scenario, what);
    exit(1);
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    printf("%-28s ", scenario);
    vprintf(format, values);
    putchar('\n');
    va_end(values);
}

static uint64_t draw(void) /* splitmix64 */
{
    static uint64_t state = 1;
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- packets: IPv4, 40 bytes of TCP or 28 of UDP, in batches ---- */

struct end {
    uint32_t address;
    uint16_t port;
};

static const struct end server = {0xc6336401, 80};

static uint8_t bytes[BATCH][40];
static struct kst_packet batch[BATCH];
static struct kst_result results[BATCH];
static uint32_t waiting;

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void queue(uint8_t protocol, struct end from, struct end to, uint8_t flags, uint32_t seq, uint32_t ack)
{
    uint8_t *p = bytes[waiting];
    memset(p, 0, 40);
    p[0] = 0x45;
    p[3] = protocol == TCP ? 40 : 28;
    p[8] = 64;
    p[9] = protocol;
    put32(p + 12, from.address);
    put32(p + 16, to.address);
    put32(p + 20, (uint32_t)from.port << 16 | to.port);
    if (protocol == TCP) {
        put32(p + 24, seq);
        put32(p + 28, ack);
        put32(p + 32, UINT32_C(5) << 28 | (uint32_t)flags << 16 | 8192);
    } else {
        p[25] = 8;
    }
    batch[waiting++] = (struct kst_packet){.data = p, .size = p[3], .checksum = KST_CHECKSUM_GOOD};
}

static uint32_t flush(struct kst *t, uint64_t now_ms)
{
    const uint32_t count = waiting;
    kst_track(t, now_ms, batch, count, results);
    waiting = 0;
    return count;
}

/* Who is numbered so; a stranger is somebody else, each time. */
static struct end client(uint32_t number)
{
    return (struct end){0x0a000000 + number / 32768, (uint16_t)(1024 + number % 32768)};
}

static struct end stranger(void)
{
    const uint64_t random = draw();
    return (struct end){0x40000000 | (uint32_t)(random & 0x3fffffff), (uint16_t)(random >> 40)};
}

/* ---- tables ---- */

static struct kst *table_of(struct kst_config config)
{
    const size_t size = kst_bytes(&config);
    void *memory = size > 0 ? aligned_alloc(KST_ALIGN, size) : NULL;
    struct kst *t = memory != NULL ? kst_init(memory, size, &config, NULL) : NULL;
    require(t != NULL, "there is memory for the table");
    return t;
}

static void table_end(struct kst *t)
{
    const char *broken = NULL;
    if (!kst_check(t, &broken))
        require(false, broken);
    free(t);
}

/* Handshakes of clients first to end, a batch of one step after the other. */
static void establish(struct kst *t, uint64_t now_ms, uint32_t first, uint32_t end)
{
    for (uint32_t at = first; at < end; at += BATCH)
        for (uint32_t step = 0; step < 3; step++) {
            for (uint32_t i = at; i < end && i < at + BATCH; i++)
                if (step == 1)
                    queue(TCP, server, client(i), SYN | ACK, 5000, 1001);
                else
                    queue(TCP, client(i), server, step == 0 ? SYN : ACK, 1000 + (step > 0), step == 0 ? 0 : 5001);
            flush(t, now_ms);
        }
}

static uint32_t still_established(const struct kst *t, uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < end; i++) {
        const struct end from = client(i);
        struct kst_tuple tuple = {.src_port = from.port, .dst_port = server.port, .family = KST_IPV4, .protocol = TCP};
        struct kst_flow flow;
        put32(tuple.src, from.address);
        put32(tuple.dst, server.address);
        count += kst_get(t, kst_find(t, &tuple, NULL), &flow) && flow.state == KST_TCP_ESTABLISHED &&
                 (flow.status & KST_ASSURED);
    }
    return count;
}

static uint64_t said(const struct kst *t, enum kst_reason reason)
{
    return kst_statistics(t)->reasons[reason];
}

/* ---- scenarios ---- */

/* Nobody who is ASSURED pays for any number of SYNs. */
static void all_assured(void)
{
    struct kst *t = table_of((struct kst_config){.max = connections, .seed = {1, 2}});
    establish(t, 0, 0, connections);
    require(kst_class_count(t, KST_CLASS_ASSURED) == connections, "the table is full of ASSURED ones");
    for (uint32_t i = 0; i < attacks; i++) {
        queue(TCP, stranger(), server, SYN, (uint32_t)draw(), 0);
        if (waiting == BATCH)
            flush(t, 1 + i / 100);
    }
    flush(t, 1 + attacks / 100);
    const uint32_t kept = still_established(t, connections);
    require(kept == connections, "not one is lost");
    require(said(t, KST_REASON_TABLE_FULL) == attacks, "every SYN is refused by name");
    tell("%" PRIu32 " SYNs refused, %" PRIu32 " of %" PRIu32 " ASSURED connections kept", attacks, kept, connections);
    table_end(t);
}

/* Nine tenths are taken by connections that keep sending. One newcomer in a hundred is honest: he is
 * answered after a round trip, completes after another, and leaves. In a round trip there come so many
 * newcomers, as a share of the room that is left. */
static void honest_among_strangers(double crowding)
{
    const uint32_t resident = connections / 10 * 9, room = connections - resident;
    const uint32_t trip = (uint32_t)(room * crowding) + 1; /* packets */
    struct kst *t = table_of((struct kst_config){.max = connections, .seed = {3, 4}});
    uint32_t tried = 0, completed = 0;
    establish(t, 0, 0, resident);
    for (uint32_t i = 0; i < attacks; i++) {
        const uint64_t now_ms = 1 + i / 100;
        if (i % 100 == 0)
            queue(TCP, client(connections + i / 100), server, SYN, 1000, 0);
        else
            queue(TCP, stranger(), server, SYN, (uint32_t)draw(), 0);
        queue(TCP, client((uint32_t)(draw() % resident)), server, ACK, 1001, 5001);
        if (i >= trip && (i - trip) % 100 == 0)
            queue(TCP, server, client(connections + (i - trip) / 100), SYN | ACK, 5000, 1001);
        if (i >= 2 * (uint64_t)trip && (i - 2 * trip) % 100 == 0) {
            struct kst_flow flow;
            queue(TCP, client(connections + (i - 2 * trip) / 100), server, ACK, 1001, 5001);
            const struct kst_result *last = &results[flush(t, now_ms) - 1];
            const bool known = kst_get(t, last->entry, &flow) && (flow.status & KST_ASSURED);
            tried++;
            completed += known;
            kst_delete(t, last->entry);
        }
        if (waiting > BATCH - 4)
            flush(t, now_ms);
    }
    flush(t, 1 + attacks / 100);
    const uint32_t kept = still_established(t, resident);
    tell("%4.0f %% of the room a round trip: %5.1f %% of %" PRIu32 " honest handshakes complete, %" PRIu32 " of %" PRIu32
         " kept", 100 * crowding, 100.0 * completed / (tried > 0 ? tried : 1), tried, kept, resident);
    require(kept == resident, "not one of those that were there is lost");
    require(crowding >= 1 || completed == tried, "who answers before the room has turned over gets in");
    table_end(t);
}

/* Half-open ones only: the newest are there, exactly as many as fit. */
static void half_open_only(uint32_t percent)
{
    struct kst *t = table_of((struct kst_config){.max = connections, .seed = {5, 6}});
    const uint32_t most = (uint32_t)((uint64_t)connections * percent / 100);
    kst_set(t, "keepstate_half_open_max", percent);
    for (uint32_t i = 0; i < attacks; i++) {
        queue(TCP, client(i), server, SYN, 1000, 0);
        if (waiting == BATCH)
            flush(t, 1 + i / 1000);
    }
    flush(t, 1 + attacks / 1000);
    const uint32_t fit = attacks < most ? attacks : most;
    require(kst_count(t) == fit, "exactly as many as may are in");
    require(kst_state_count(t, TCP, KST_TCP_SYN_SENT) == fit, "all are counted as SYN_SENT");
    require(kst_statistics(t)->gone[KST_GONE_EVICTED] == attacks - fit, "each newcomer costs one, the oldest");
    if (percent < 100) {
        establish(t, 1 + attacks / 1000, attacks, attacks + connections - most);
        require(kst_class_count(t, KST_CLASS_ASSURED) == connections - most, "the rest is for those that complete");
    }
    tell("%" PRIu32 " SYNs at %" PRIu32 " %%: the newest %" PRIu32 " are in, %" PRIu32 " places left for handshakes", attacks,
         percent, fit, connections - most);
    table_end(t);
}

/* One source tries all ports: it gets its share, and others are not disturbed. */
static void port_scan(void)
{
    enum { SHARE = 100 };
    struct kst *t = table_of((struct kst_config){.max = connections, .features = KST_WITH_LIMITS, .seed = {7, 8}});
    const uint32_t resident = connections / 2;
    uint8_t address[4] = {192, 0, 2, 66};
    establish(t, 0, 0, resident);
    kst_set(t, "keepstate_source_max", SHARE);
    for (uint32_t i = 0; i < attacks; i++) {
        const struct end scanner = {0xc0000242, 40000}, target = {server.address + i / 65536, (uint16_t)i};
        queue(TCP, scanner, target, SYN, 7, 0);
        if (i % 10 == 0) /* closed: it says so, and the place is free again */
            queue(TCP, target, scanner, RST | ACK, 0, 8);
        if (waiting > BATCH - 2)
            flush(t, 1);
    }
    flush(t, 1);
    require(kst_source_count(t, 0, KST_IPV4, address) <= SHARE, "the scanner has its share, no more");
    require(kst_count(t) == resident + kst_source_count(t, 0, KST_IPV4, address), "the rest is as it was");
    require(said(t, KST_REASON_SOURCE_LIMIT) > attacks / 2, "what is over is refused by name");
    const uint32_t kept = still_established(t, resident);
    require(kept == resident, "nobody else is disturbed");
    tell("%" PRIu32 " ports: %" PRIu32 " connections for the scanner, %" PRIu64 " refused, %" PRIu32 " of %" PRIu32 " kept", attacks,
         kst_source_count(t, 0, KST_IPV4, address), said(t, KST_REASON_SOURCE_LIMIT), kept, resident);
    table_end(t);
}

static void udp_flood(void)
{
    struct kst *t = table_of((struct kst_config){.max = connections, .seed = {9, 10}});
    const uint32_t resident = connections / 2;
    establish(t, 0, 0, resident);
    for (uint32_t i = 0; i < attacks; i++) {
        queue(UDP, stranger(), server, 0, 0, 0);
        if (waiting == BATCH)
            flush(t, 1 + i / 1000);
    }
    flush(t, 1 + attacks / 1000);
    const uint32_t kept = still_established(t, resident);
    require(kept == resident, "no ASSURED one is lost");
    require(kst_count(t) <= connections, "no more than fit");
    require(said(t, KST_REASON_TABLE_FULL) == 0, "every datagram finds room, at an older one's cost");
    tell("%" PRIu32 " datagrams: %" PRIu64 " evictions, %" PRIu32 " of %" PRIu32 " ASSURED connections kept", attacks,
         kst_statistics(t)->gone[KST_GONE_EVICTED], kept, resident);
    table_end(t);
}

/* All in one millisecond: at once nobody is reported, and each call collects no more than it may. */
static void all_expire(void)
{
    enum { WORK = 1000 };
    struct kst *t = table_of((struct kst_config){.max = connections, .seed = {11, 12}});
    uint32_t calls = 0, most = 0;
    for (uint32_t i = 0; i < connections; i++) {
        queue(UDP, client(i), server, 0, 0, 0);
        if (waiting == BATCH)
            flush(t, 0);
    }
    flush(t, 0);
    require(kst_count(t) == connections, "the table is full");
    kst_advance(t, 29999, UINT32_MAX);
    require(kst_count(t) == connections, "not too early");
    for (uint32_t used = WORK; used == WORK; calls++) {
        const uint32_t before = kst_count(t);
        used = kst_advance(t, 30000, WORK);
        most = before - kst_count(t) > most ? before - kst_count(t) : most;
        require(kst_next(t, 0) == 0, "nobody who has expired is reported, collected or not");
    }
    require(kst_count(t) == 0, "all are gone");
    require(most <= WORK, "a call collects no more than it may");
    tell("%" PRIu32 " connections collected in %" PRIu32 " calls of at most %d steps", connections, calls, WORK);
    table_end(t);
}

static uint32_t number(const char *text)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < 1000 || value > 100000000) {
        fprintf(stderr, "usage: flood [CONNECTIONS [PACKETS]], each from 1000 to 100000000\n");
        exit(2);
    }
    return (uint32_t)value;
}

int main(int argc, char **argv)
{
    connections = argc > 1 ? number(argv[1]) : connections;
    attacks = argc > 2 ? number(argv[2]) : 10 * connections;
    scenario = "all ASSURED, SYN flood";
    all_assured();
    scenario = "honest among strangers";
    honest_among_strangers(0.1);
    honest_among_strangers(0.9);
    honest_among_strangers(1.1);
    scenario = "half-open only";
    half_open_only(100);
    half_open_only(30);
    scenario = "port scan";
    port_scan();
    scenario = "UDP flood";
    udp_flood();
    scenario = "all expire in one ms";
    all_expire();
    puts("every promise kept");
    return 0;
}
