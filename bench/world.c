/* SPDX-License-Identifier: MIT */
/* bench/world.c - names, draws, flows, packets, tables full of connections, and what is kept. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

char *name_of(const char *subject, const char *what, uint32_t size, const char *index,
              const char *timer, const char *how)
{
    char *name = NULL;
    const bool mega = size % (1 << 20) == 0;
    const uint32_t unit = mega ? size >> 20 : size >> 10;
    if (asprintf(&name, "%s/%s/%u%c/%s/%s/%s", subject, what, unit, mega ? 'M' : 'k', index, timer,
                 how) < 0)
        abort();
    return name;
}

/* ---- draws ---- */

static uint64_t mixed(uint64_t x)
{
    struct draw d = {x};
    return draw(&d);
}

uint32_t draw_flow(struct draw *d, enum order order, uint32_t flows, uint32_t turn)
{
    switch (order) {
    case ZIPF: { /* exponent 1; the popular ones lie scattered, as `flows` is a power of two */
        const double u = (double)(draw(d) >> 11) / (double)(UINT64_C(1) << 53);
        return (uint32_t)(exp(u * log(flows)) - 1) * UINT32_C(2654435761) % flows;
    }
    case HOT: return flows / 2;
    case IN_TURN: return turn % flows;
    default: return draw_below(d, flows);
    }
}

/* ---- flows ---- */

void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

/* The bits of a tuple that an attacker varies: 24 of the source address, 15 of the destination's, 16
 * of the source port. */
enum { FREE_BITS = 24 + 15 + 16 };

static uint32_t crc32c_of_bits(uint64_t bits)
{
    uint8_t key[16] = {0};
    put32(key, (uint32_t)(bits & 0xffffff));
    put32(key + 4, (uint32_t)(bits >> 24 & 0x7fff));
    put16(key + 8, (uint32_t)(bits >> 39));
    uint32_t crc = 0;
    for (uint32_t i = 0; i < sizeof key * 8; i++)
        crc = crc >> 1 ^ (((crc & 1) ^ (key[i / 8] >> i % 8 & 1)) != 0 ? UINT32_C(0x82f63b78) : 0);
    return crc;
}

/* Combination f of the free bits that leaves the CRC as it is: CRCs are linear, so those form a space
 * of at least FREE_BITS - 32 dimensions, whose basis is found by elimination. */
static uint64_t colliding_bits(uint32_t f)
{
    static uint64_t basis[FREE_BITS];
    static uint32_t dimensions;
    if (dimensions == 0) {
        uint64_t from[32] = {0};
        uint32_t crc[32] = {0};
        for (uint32_t i = 0; i < FREE_BITS; i++) {
            uint64_t bits = UINT64_C(1) << i;
            uint32_t left = crc32c_of_bits(bits);
            for (uint32_t row = 0; row < 32 && left != 0; row++) {
                if (!(left >> row & 1))
                    continue;
                if (crc[row] == 0) {
                    crc[row] = left;
                    from[row] = bits;
                    break;
                }
                left ^= crc[row];
                bits ^= from[row];
            }
            if (left == 0)
                basis[dimensions++] = bits;
        }
    }
    uint64_t bits = 0;
    for (uint32_t i = 0; i < dimensions; i++)
        bits ^= f >> i & 1 ? basis[i] : 0;
    return bits;
}

const uint64_t shard_seed[2] = {11, 12};

static uint32_t shard_between(uint32_t src, uint32_t dst, uint32_t shards)
{
    uint8_t header[20] = {0x45};
    put32(header + 12, src);
    put32(header + 16, dst);
    return kits[0]->shard(&(struct kst_packet){.data = header, .size = sizeof header}, shards, shard_seed);
}

struct kst_tuple flow_tuple(const struct kind *kind, uint32_t flow)
{
    const uint64_t any = mixed(flow);
    const uint8_t p = kind->protocol;
    struct kst_tuple tuple = {.family = kind->v6 ? KST_IPV6 : KST_IPV4, .protocol = p};
    const bool ports = p == TCP || p == UDP || p == SCTP || p == UDPLITE;
    const uint32_t far = kind->v6 ? 12 : 0; /* where the last 32 bits of an address stand */
    /* A bijection of 32 bits: source and destination alone tell flows apart. */
    uint32_t who = flow * UINT32_C(2654435769);
    who = (who ^ who >> 15) * UINT32_C(2246822519);
    who ^= who >> 13;
    uint32_t src = 0x0a000000 | (who & 0xffffff), dst = 0xc6120000 | who >> 24;
    tuple.src_port = (uint16_t)(1024 + any % 60000);
    tuple.dst_port = any >> 32 & 1 ? 443 : 80;
    if (kind->keys == ADJACENT) {
        src = 0x0a000000 + flow / 60000;
        dst = 0xc6120001;
        tuple.src_port = (uint16_t)(1024 + flow % 60000);
        tuple.dst_port = 443;
    } else if (kind->keys == SWEPT) {
        src = 0x0a000001;
        dst = 0xc6120000 + flow / 60000;
        tuple.src_port = 40000;
        tuple.dst_port = (uint16_t)(1 + flow % 60000);
    } else if (kind->keys == COLLIDING) {
        const uint64_t bits = colliding_bits(flow);
        src = 0x0a000000 | (bits & 0xffffff);
        dst = 0xc6120000 | (bits >> 24 & 0x7fff);
        tuple.src_port = (uint16_t)(bits >> 39);
        tuple.dst_port = 443;
    }
    while (kind->shards > 1 && shard_between(src, dst, kind->shards) != kind->shard)
        dst += 256;
    if (kind->v6) {
        put32(tuple.src, 0x20010db8);
        put32(tuple.dst, 0x20010db8);
        put32(tuple.src + 4, (uint32_t)(any >> 33 & 0xffff));
        put32(tuple.dst + 4, 0x10000);
    }
    if (kind->port != 0)
        tuple.dst_port = kind->port;
    put32(tuple.src + far, src);
    put32(tuple.dst + far, dst);
    if (p == ICMP || p == ICMP6)
        tuple.dst_port = (uint16_t)((p == ICMP ? 8 : 128) << 8); /* echo */
    else if (!ports)
        tuple.src_port = tuple.dst_port = 0;
    return tuple;
}

struct kst_flow flow_whole(const struct kind *kind, uint32_t flow, uint64_t timeout_ms)
{
    struct kst_flow whole = {.timeout_ms = timeout_ms,
                             .status = KST_SEEN_REPLY | KST_ASSURED | KST_CONFIRMED,
                             .state = kind->protocol == TCP ? KST_TCP_ESTABLISHED : 0};
    const struct kst_tuple tuple = flow_tuple(kind, flow);
    whole.tuple[0] = whole.tuple[1] = tuple;
    memcpy(whole.tuple[1].src, tuple.dst, sizeof tuple.dst);
    memcpy(whole.tuple[1].dst, tuple.src, sizeof tuple.src);
    whole.tuple[1].src_port = tuple.dst_port;
    whole.tuple[1].dst_port = tuple.src_port;
    return whole;
}

/* ---- packets ---- */

enum { LINE = 64, LINES_MOST = 2 }; /* of a packet: most have one */
struct kst_packet packets[ROUND];
struct kst_result results[ROUND];
static uint8_t wires[(ROUND + 1) * LINES_MOST][LINE] __attribute__((aligned(64)));
static size_t wires_used, wires_last; /* packets lie one behind the other, each on lines of its own */

static uint32_t sum_of(uint32_t sum, const uint8_t *at, uint32_t bytes)
{
    for (uint32_t i = 0; i + 1 < bytes; i += 2)
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    return bytes % 2 != 0 ? sum + ((uint32_t)at[bytes - 1] << 8) : sum;
}

static void put_sum(uint8_t *at, uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(at, ~sum);
}

/* What TCP says in this step; `sent` is what either side has sent so far. Returns the bytes of the
 * header, options included. */
static uint32_t tcp_make(uint8_t *l4, const struct kind *kind, uint32_t flow, uint8_t direction,
                         enum step step, const uint32_t sent[2])
{
    static const uint8_t flags[] = {[STEP_OPEN] = SYN,        [STEP_ANSWER] = SYN | ACK,
                                    [STEP_AGREE] = ACK,       [STEP_AGREED] = ACK,
                                    [STEP_DATA] = PSH | ACK,  [STEP_FIN] = FIN | ACK,
                                    [STEP_RST] = RST | ACK};
    static const uint8_t syn_options[12] = {2, 4, 5, 0xb4, 4, 2, 1, 1, 1, 3, 3, 7};
    static const uint8_t timestamps[12] = {1, 1, 8, 10};
    const bool syn = (flags[step] & SYN) != 0;
    const uint64_t first = mixed(flow ^ UINT64_C(0x5eed) << 40);
    const uint32_t isn[2] = {(uint32_t)first, (uint32_t)(first >> 32)};
    const uint32_t options = syn || kind->options ? 12 : 0;
    put32(l4 + 4, isn[direction] + (syn ? 0 : 1 + sent[direction]));
    put32(l4 + 8, step == STEP_OPEN ? 0 : isn[!direction] + 1 + sent[!direction]);
    l4[12] = (uint8_t)((20 + options) / 4 << 4);
    l4[13] = flags[step];
    put16(l4 + 14, 0x7fff);
    if (options != 0)
        memcpy(l4 + 20, syn ? syn_options : timestamps, options);
    return 20 + options;
}

/* SCTP: one chunk. The tags of an association are its own. */
static uint32_t sctp_make(uint8_t *l4, uint32_t flow, uint8_t direction, enum step step)
{
    static const struct {
        uint8_t type, bytes;
    } chunks[] = {[STEP_OPEN] = {1, 20},   [STEP_ANSWER] = {2, 20}, [STEP_AGREE] = {10, 8},
                  [STEP_AGREED] = {11, 4}, [STEP_DATA] = {0, 20},   [STEP_FIN] = {7, 8},
                  [STEP_RST] = {6, 4}};
    const uint64_t any = mixed(flow ^ UINT64_C(0x7a6) << 40);
    const uint32_t tag[2] = {(uint32_t)any | 1, (uint32_t)(any >> 32) | 1}; /* that each expects */
    put32(l4 + 4, step == STEP_OPEN ? 0 : tag[!direction]);
    l4[12] = chunks[step].type;
    l4[13] = chunks[step].type == 0 ? 3 : 0; /* data: a whole message */
    put16(l4 + 14, chunks[step].bytes);
    if (step == STEP_OPEN || step == STEP_ANSWER) {
        put32(l4 + 16, tag[direction]);
        put32(l4 + 20, 65536);
        put16(l4 + 24, 1);
        put16(l4 + 26, 1);
    }
    return 12 + chunks[step].bytes;
}

struct kst_packet packet_write(uint8_t *ip, const struct kind *kind, uint32_t flow, uint8_t direction,
                               enum step step, const uint32_t sent[2], const void *body,
                               uint32_t body_bytes)
{
    const struct kst_tuple tuple = flow_tuple(kind, flow);
    const uint32_t ip_bytes = kind->v6 ? 40 : 20, address_bytes = kind->v6 ? 16 : 4;
    const bool forth = direction == KST_ORIGINAL;
    uint8_t *l4 = ip + ip_bytes;
    uint32_t header = 8, sum_at = 0;
    memset(ip, 0, 2 * LINE);
    memcpy(ip + (kind->v6 ? 8 : 12), forth ? tuple.src : tuple.dst, address_bytes);
    memcpy(ip + (kind->v6 ? 8 : 12) + address_bytes, forth ? tuple.dst : tuple.src, address_bytes);
    if (kind->nat && !forth) { /* to where it is seen: as in kit.c */
        ip[kind->v6 ? 24 : 16] = kind->v6 ? 0x20 : 203;
        ip[25] = kind->v6 ? 0x02 : ip[25];
    }
    put16(l4, forth ? tuple.src_port : tuple.dst_port);
    put16(l4 + 2, forth ? tuple.dst_port : tuple.src_port);

    switch (kind->protocol) {
    case TCP:
        header = tcp_make(l4, kind, flow, direction, step, sent);
        sum_at = 16;
        break;
    case SCTP: header = sctp_make(l4, flow, direction, step); break;
    case UDP:
    case UDPLITE:
        put16(l4 + 4, header + body_bytes);
        sum_at = 6;
        break;
    case ICMP: put16(l4, forth ? 8 << 8 : 0); /* fall through */
    case ICMP6:
        if (kind->protocol == ICMP6)
            put16(l4, (forth ? 128 : 129) << 8);
        put16(l4 + 4, tuple.src_port);
        sum_at = 2;
        break;
    default: memset(l4, 0, 4); break; /* GRE version 0 and what has no ports */
    }
    if (body != NULL)
        memcpy(l4 + header, body, body_bytes);

    const uint32_t l4_bytes = header + body_bytes, bytes = ip_bytes + l4_bytes;
    if (kind->v6) {
        ip[0] = 0x60;
        put16(ip + 4, l4_bytes);
        ip[6] = kind->protocol;
        ip[7] = 64;
    } else {
        ip[0] = 0x45;
        put16(ip + 2, bytes);
        ip[8] = 64;
        ip[9] = kind->protocol;
    }
    if (kind->verify && !kind->v6)
        put_sum(ip + 10, sum_of(0, ip, 20));
    if (kind->verify && sum_at != 0) {
        uint32_t sum = 0;
        if (kind->protocol != ICMP)
            sum = sum_of(l4_bytes + kind->protocol, ip + (kind->v6 ? 8 : 12), 2 * address_bytes);
        put_sum(l4 + sum_at, sum_of(sum, l4, l4_bytes));
    } else if (kind->protocol == UDPLITE) {
        put16(l4 + sum_at, 1); /* it must not be without one */
    }
    return (struct kst_packet){.data = ip,
                               .size = bytes,
                               .checksum = kind->verify ? KST_CHECKSUM_VERIFY : KST_CHECKSUM_GOOD};
}

void packet_make_as(struct table *w, const struct kind *kind, size_t i, uint32_t flow,
                    uint8_t direction, enum step step)
{
    const bool counted = kind->protocol == TCP && w->sent[0] != NULL && flow < w->shape.flows;
    const uint32_t sent[2] = {counted ? w->sent[0][flow] : 0, counted ? w->sent[1][flow] : 0};
    uint32_t bytes = kind->protocol == TCP ? (kind->v6 ? 4 : 24) : 16; /* one line, mostly */
    if ((kind->protocol == TCP && step != STEP_DATA) || kind->protocol == SCTP)
        bytes = 0;
    if (i <= wires_last)
        wires_used = 0; /* another round */
    wires_last = i;
    packets[i] = packet_write(wires[wires_used], kind, flow, direction, step, sent, NULL, bytes);
    wires_used += (packets[i].size + LINE - 1) / LINE;
    if (counted)
        w->sent[direction][flow] += bytes;
}

void packet_make(struct table *w, size_t i, uint32_t flow, uint8_t direction, enum step step)
{
    packet_make_as(w, &w->shape.kind, i, flow, direction, step);
}

/* ---- memory ---- */

enum { HUGE = 2 << 20 };

static size_t whole_pages(size_t bytes)
{
    return (bytes + HUGE - 1) / HUGE * HUGE;
}

void *pages(size_t bytes)
{
    /* Populated 4 KiB by 4 KiB, as malloc's would be; --huge asks for large ones. */
    void *at = mmap(NULL, whole_pages(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        abort();
    if (huge)
        madvise(at, whole_pages(bytes), MADV_HUGEPAGE);
    for (size_t i = 0; i < whole_pages(bytes); i += 4096)
        ((volatile uint8_t *)at)[i] = 0;
    return at;
}

void pages_free(void *at, size_t bytes)
{
    if (at != NULL)
        munmap(at, whole_pages(bytes));
}

/* ---- what is kept ---- */

static struct thing {
    char name[160];
    void *it;
    size_t bytes;
    void (*drop)(void *);
    uint64_t used;
} things[256];
static uint64_t uses;
static size_t things_bytes;

static void drop(struct thing *thing)
{
    thing->drop(thing->it);
    things_bytes -= thing->bytes;
    thing->it = NULL;
}

void *kept(const char *name)
{
    for (size_t i = 0; i < COUNT(things); i++)
        if (things[i].it != NULL && strcmp(things[i].name, name) == 0) {
            things[i].used = ++uses;
            return things[i].it;
        }
    return NULL;
}

void forget(const char *name)
{
    for (size_t i = 0; i < COUNT(things); i++)
        if (things[i].it != NULL && strcmp(things[i].name, name) == 0)
            drop(&things[i]);
}

void *keep(const char *name, void *it, size_t bytes, void (*how)(void *))
{
    struct thing *place = NULL;
    while (place == NULL || (things_bytes > 0 && things_bytes + bytes > memory_max)) {
        struct thing *oldest = NULL;
        place = NULL;
        for (size_t i = 0; i < COUNT(things); i++) {
            if (things[i].it == NULL)
                place = &things[i];
            else if (oldest == NULL || things[i].used < oldest->used)
                oldest = &things[i];
        }
        if (place == NULL || things_bytes + bytes > memory_max) {
            if (oldest == NULL)
                break;
            drop(oldest);
        }
    }
    *place = (struct thing){.it = it, .bytes = bytes, .drop = how, .used = ++uses};
    snprintf(place->name, sizeof place->name, "%s", name);
    things_bytes += bytes;
    return it;
}

/* ---- tables ---- */

static void table_name(const struct shape *s, char name[160])
{
    snprintf(name, 160, "table %s %s %u.%d.%u.%d.%d.%u %u+%u of %u to %d.%d %x %u %u %u %u.%u",
             s->kit->index, s->kit->timer, s->kind.protocol, s->kind.v6, s->kind.keys,
             s->kind.options, s->kind.verify, s->kind.port, s->flows, s->half, s->max, (int)s->upto,
             (int)s->made, s->features, s->expectations, s->reassembly_bytes, s->events, s->evict_all,
             s->own);
}

static void table_free(void *thing)
{
    struct table *w = thing;
    pages_free(w->t, w->bytes);
    free(w->sent[0]);
    free(w->sent[1]);
    free(w);
}

void table_drop(struct table *w)
{
    char name[160];
    table_name(&w->shape, name);
    forget(name);
}

/* Has flows take this step. */
static void everybody(struct table *w, uint32_t first, uint32_t end, uint8_t direction, enum step step)
{
    for (uint32_t flow = first; flow < end;) {
        uint32_t count = 0;
        for (; count < ROUND && flow < end; count++, flow++)
            packet_make(w, count, flow, direction, step);
        if (w->shape.kind.nat)
            w->kit->translate_all(w->t, w->now_ms, packets, count, 256, results, false);
        else
            w->kit->track(w->t, w->now_ms, packets, count, results);
    }
    w->now_ms += 2500; /* UDP is ASSURED if it goes on for two seconds; SCTP gives up after three */
}

struct table *table_of(struct bench *b, const struct shape *shape)
{
    char name[160];
    table_name(shape, name);
    struct table *w = kept(name);
    if (w != NULL)
        return w;

    const struct kst_config config = {
        .max = shape->max,
        .features = shape->features,
        .expectations = shape->expectations,
        .reassembly_bytes = shape->reassembly_bytes,
        .events = shape->events,
        .seed = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)},
        .evict = {1, 2, shape->evict_all ? 3 : 0, shape->evict_all ? 4 : 0}};
    enum kst_error why = KST_ERROR_OK;
    w = calloc(1, sizeof *w);
    w->shape = *shape;
    w->kit = shape->kit;
    w->bytes = w->kit->bytes(&config);
    w->t = w->kit->init(pages(w->bytes), w->bytes, &config, &why);
    if (w->t == NULL) {
        bench_fail(b, "no table: %s", w->kit->error_text(why));
        free(w);
        return NULL;
    }
    if (shape->kind.protocol == TCP && shape->flows > 0)
        for (uint32_t side = 0; side < 2; side++)
            w->sent[side] = calloc(shape->flows, sizeof *w->sent[side]);
    keep(name, w, w->bytes + 8 * (size_t)shape->flows, table_free);

    w->now_ms = 1000;
    if (shape->expectations > 0)
        w->kit->attach_usual(w->t);
    for (uint32_t i = 0; i < shape->flows && shape->made != BY_PACKETS; i++) {
        const bool fixed = shape->made == BY_HAND_FIXED;
        struct kst_flow flow = flow_whole(&shape->kind, i, (fixed ? KST_TIMEOUT_MAX_S : 120) * UINT64_C(1000));
        flow.status |= fixed ? KST_FIXED_TIMEOUT : 0;
        w->kit->insert(w->t, &flow, NULL);
    }
    for (enum step step = STEP_OPEN; shape->made == BY_PACKETS && step <= shape->upto; step++)
        everybody(w, 0, shape->flows, step == STEP_ANSWER || step == STEP_AGREED, step);
    everybody(w, shape->flows, shape->flows + shape->half, KST_ORIGINAL, STEP_OPEN);
    const uint32_t in = w->kit->count(w->t);
    const uint32_t assured = w->kit->class_count(w->t, KST_CLASS_ASSURED);
    const bool assurable = shape->kind.protocol == TCP || shape->kind.protocol == UDP ||
                           shape->kind.protocol == SCTP || shape->kind.protocol == UDPLITE;
    if (in != shape->flows + shape->half ||
        (shape->upto == STEP_DATA && assurable && assured != shape->flows)) {
        bench_fail(b, "of %u flows %u are in the table, %u ASSURED; the last one: %s",
                   shape->flows + shape->half, in, assured,
                   w->kit->reason_name((enum kst_reason)results[0].reason));
        forget(name);
        return NULL;
    }
    return w;
}
