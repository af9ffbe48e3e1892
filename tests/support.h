/* SPDX-License-Identifier: MIT */
/* tests/support.h - what the suites share: assertions, draws, packets, guarded memory, tables.
 *
 * Include it first: it asks the C library for more than C11 has, and brings in keepstate.h. A suite
 * that needs its internals (kst__...), or sets its limits, defines KST_IMPLEMENTATION before; the
 * others are linked with it, as a user's files are. What checks the core here is written anew and
 * plainly: sums byte by byte, CRC bit by bit. */
#ifndef SUPPORT_H
#define SUPPORT_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif

#include "keepstate.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- assertions: silent until they fail, so that they may stand in loops ---- */

static char about_text[256] = "";

/* What the following assertions are about; a failing one says so. */
__attribute__((format(printf, 1, 2))) static inline void about(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(about_text, sizeof about_text, format, values);
    va_end(values);
}

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s: it does not hold that %s", about_text, #condition);                  \
    } while (0)

#define must_be(value, expected)                                                                   \
    do {                                                                                           \
        const uint64_t value_ = (uint64_t)(value), expected_ = (uint64_t)(expected);               \
        if (value_ != expected_)                                                                   \
            ck_abort_msg("%s: %s is %llu, not %s, which is %llu", about_text, #value,              \
                         (unsigned long long)value_, #expected, (unsigned long long)expected_);    \
    } while (0)

#define must_read(text, expected)                                                                  \
    do {                                                                                           \
        if (strcmp(text, expected) != 0)                                                           \
            ck_abort_msg("%s: %s is\n  %s\nnot\n  %s", about_text, #text, text, expected);         \
    } while (0)

#define must_say(result, expected)                                                                 \
    do {                                                                                           \
        if ((result).reason != (expected))                                                         \
            ck_abort_msg("%s: the reason is %s, not %s", about_text,                               \
                         kst_reason_name((enum kst_reason)(result).reason),                        \
                         kst_reason_name(expected));                                               \
    } while (0)

#define must_be_sound(t)                                                                           \
    do {                                                                                           \
        const char *broken_;                                                                       \
        if (!kst_check(t, &broken_))                                                               \
            ck_abort_msg("%s: %s", about_text, broken_);                                           \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- draws: the same for the same seed, with every compiler (splitmix64), if no two stand in one
 * expression ---- */

static uint64_t draw_state;

static inline uint64_t draw(void)
{
    uint64_t z = draw_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint32_t draw_below(uint32_t limit)
{
    return (uint32_t)(draw() % limit);
}

static inline bool draw_one_in(uint32_t times)
{
    return draw_below(times) == 0;
}

/* ---- packets ---- */

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };
enum { ICMP = 1, TCP = 6, UDP = 17, GRE = 47, ESP = 50, ICMP6 = 58, SCTP = 132, UDPLITE = 136 };

/* What a packet says. Zeros are fine wherever nothing matters. */
struct say {
    uint8_t protocol;
    bool v6;
    uint8_t from, to;       /* 10.0.0.N or fd00::N */
    uint16_t sport, dport;  /* ICMP: identifier; type << 8 | code. As in struct kst_tuple */
    uint8_t flags;          /* TCP from here */
    uint32_t seq, ack;      /* SCTP: seq is the verification tag */
    uint16_t window;        /* 0 stands for 8192: to close a window takes a poke */
    uint8_t tcp_options;    /* so many bytes of the body, a multiple of 4, are TCP options */
    uint16_t bytes;         /* of the body, behind the transport header */
    const void *body;       /* NULL: anything */
    uint8_t ip_first;       /* IPv6: type of the first of these */
    uint8_t ip_bytes;       /* IPv4 options, IPv6 extension headers; a multiple of 4 */
    const void *ip_options; /* whose last one names no protocol: it is filled in at ip_next */
    uint8_t ip_next;
};

struct wire {
    uint8_t data[1500];
    uint32_t size, l4_at;
    uint8_t protocol;
};

static inline void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static inline uint32_t sum_of(uint32_t sum, const uint8_t *data, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    return sum;
}

static inline uint16_t sum_folded(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* CRC-32C of SCTP (RFC 9260 appendix A), as it stands on the wire. */
static inline uint32_t crc_of(const uint8_t *data, uint32_t size)
{
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < size * 8; i++) {
        const uint32_t bit = data[i / 8] >> i % 8 & 1;
        crc = crc >> 1 ^ ((crc & 1) != bit ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return crc << 24 | (crc << 8 & 0xff0000) | (crc >> 8 & 0xff00) | crc >> 24;
}

/* Fills in the checksum at offset `at` of the transport header, over `covered` bytes of it, behind
 * a pseudo-header that names `protocol`, or none if that is 0. */
static inline void wire_sum(struct wire *w, uint32_t at, uint32_t covered, uint8_t protocol)
{
    const bool v6 = w->data[0] >> 4 == 6;
    const uint32_t l4_bytes = w->size - w->l4_at;
    uint32_t sum = 0;
    put16(w->data + w->l4_at + at, 0);
    if (protocol != 0)
        sum = sum_of(l4_bytes + protocol, w->data + (v6 ? 8 : 12), v6 ? 32 : 8);
    sum = sum_folded(sum_of(sum, w->data + w->l4_at, covered));
    put16(w->data + w->l4_at + at, sum == 0 && protocol != TCP ? 0xffff : sum);
}

/* Fills in lengths and checksums, as far as the packet reaches. */
static inline void wire_seal(struct wire *w)
{
    uint8_t *l4 = w->data + w->l4_at;
    const uint32_t bytes = w->size - w->l4_at;
    if (w->data[0] >> 4 == 4) {
        w->data[0] = (uint8_t)(0x40 | w->l4_at / 4);
        put16(w->data + 2, w->size);
        put16(w->data + 10, 0);
        put16(w->data + 10, sum_folded(sum_of(0, w->data, w->l4_at)));
    } else {
        put16(w->data + 4, w->size - 40);
    }
    if (w->protocol == TCP && bytes >= 20) {
        wire_sum(w, 16, bytes, TCP);
    } else if (w->protocol == UDP && bytes >= 8) {
        put16(l4 + 4, bytes);
        wire_sum(w, 6, bytes, UDP);
    } else if (w->protocol == UDPLITE && bytes >= 8) {
        const uint32_t covered = get16(l4 + 4);
        wire_sum(w, 6, covered >= 8 && covered <= bytes ? covered : bytes, UDP); /* as Linux */
    } else if (w->protocol == ICMP && bytes >= 8) {
        wire_sum(w, 2, bytes, 0);
    } else if (w->protocol == ICMP6 && bytes >= 8) {
        wire_sum(w, 2, bytes, ICMP6);
    } else if (w->protocol == SCTP && bytes >= 12) {
        put32(l4 + 8, 0);
        put32(l4 + 8, crc_of(l4, bytes));
    }
}

static inline void put_host(uint8_t *at, bool v6, uint8_t host)
{
    memset(at, 0, v6 ? 16 : 4);
    at[0] = v6 ? 0xfd : 10;
    at[v6 ? 15 : 3] = host;
}

static inline struct wire wire_of(const struct say *say)
{
    static const uint8_t header_bytes[256] = {
        [TCP] = 20, [UDP] = 8, [UDPLITE] = 8, [ICMP] = 8, [ICMP6] = 8, [SCTP] = 12};
    struct wire w = {.protocol = say->protocol};
    const uint32_t ip_bytes = say->v6 ? 40 : 20, address_bytes = say->v6 ? 16 : 4;
    const uint32_t header = header_bytes[say->protocol];
    w.l4_at = ip_bytes + say->ip_bytes;
    w.size = w.l4_at + header + say->bytes;
    must(w.size <= sizeof w.data);

    uint8_t *ip = w.data, *l4 = w.data + w.l4_at;
    ip[0] = say->v6 ? 0x60 : 0x45;
    ip[say->v6 ? 7 : 8] = 64; /* hops */
    ip[say->v6 ? 6 : 9] = say->protocol;
    put_host(ip + (say->v6 ? 8 : 12), say->v6, say->from);
    put_host(ip + (say->v6 ? 8 : 12) + address_bytes, say->v6, say->to);
    if (say->ip_bytes > 0)
        memcpy(ip + ip_bytes, say->ip_options, say->ip_bytes);
    if (say->ip_bytes > 0 && say->v6) {
        ip[6] = say->ip_first;
        ip[ip_bytes + say->ip_next] = say->protocol;
    }

    for (uint32_t i = 0; i < say->bytes; i++)
        l4[header + i] = say->body != NULL ? ((const uint8_t *)say->body)[i] : (uint8_t)(i + 7);
    if (say->protocol == ICMP || say->protocol == ICMP6) {
        put16(l4, say->dport);
        put16(l4 + 4, say->sport);
    } else if (header > 0) {
        put16(l4, say->sport);
        put16(l4 + 2, say->dport);
    }
    if (header >= 12) /* TCP, SCTP */
        put32(l4 + 4, say->seq);
    if (say->protocol == TCP) {
        put32(l4 + 8, say->ack);
        l4[12] = (uint8_t)((20 + say->tcp_options) / 4 << 4);
        l4[13] = say->flags;
        put16(l4 + 14, say->window != 0 ? say->window : 8192);
    }
    wire_seal(&w);
    return w;
}

/* ---- memory between unmapped pages ---- */

struct guarded {
    uint8_t *page; /* the first that is mapped */
    size_t bytes;  /* all that are */
};

static inline struct guarded guarded_new(size_t at_least)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct guarded g = {NULL, (at_least + page - 1) / page * page};
    void *all = mmap(NULL, g.bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(all != MAP_FAILED);
    g.page = (uint8_t *)all + page;
    must(mprotect(g.page, g.bytes, PROT_READ | PROT_WRITE) == 0);
    return g;
}

/* `size` bytes that end where the mapping ends; those that begin where it begins are g.page. */
static inline uint8_t *guarded_end(const struct guarded *g, size_t size)
{
    return g->page + g->bytes - size;
}

static inline void guarded_free(struct guarded *g)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    munmap(g->page - page, g->bytes + 2 * page);
}

/* ---- tables ---- */

/* A suite that is built with all back ends runs with the pair that INDEX and TIMER in the environment
 * name, each the default if it is not set. */
#ifdef KST_ALL_BACK_ENDS
static inline uint8_t back_end_of(const char *variable, const char *(*name)(uint32_t))
{
    const char *wanted = getenv(variable);
    uint8_t number = 0;
    while (wanted != NULL && name(number) != NULL && strcmp(name(number), wanted) != 0)
        number++;
    return number; /* one too many, which kst_init refuses, if there is none */
}

static inline const struct kst_config *paired(const struct kst_config *config)
{
    static struct kst_config with_pair;
    if (config == NULL || config->index != 0 || config->timer != 0)
        return config;
    with_pair = *config;
    with_pair.index = back_end_of("INDEX", kst_index_name);
    with_pair.timer = back_end_of("TIMER", kst_timer_name);
    return &with_pair;
}

static inline const char *index_name(void)
{
    return kst_index_name(back_end_of("INDEX", kst_index_name));
}

#define kst_bytes(...) kst_bytes(paired(__VA_ARGS__))
#define kst_init(memory, bytes, config, why) kst_init(memory, bytes, paired(config), why)
#else
static inline const char *index_name(void)
{
    return kst_index_name(0);
}
#endif

/* A table in a block of exactly the size it asks for. free() it. */
static inline struct kst *table_new(struct kst_config config)
{
    const size_t bytes = kst_bytes(&config);
    enum kst_error why = KST_ERROR_OK;
    void *memory = bytes > 0 ? aligned_alloc(KST_ALIGN, bytes) : NULL;
    if (memory != NULL)
        memset(memory, 0, bytes);
    struct kst *t = kst_init(memory, bytes, &config, &why);
    if (t == NULL)
        ck_abort_msg("no table: %s", kst_error_text(why));
    return t;
}

static inline struct kst_result track_wire(struct kst *t, uint64_t now_ms, const struct wire *w)
{
    const struct kst_packet packet = {.data = w->data, .size = w->size};
    struct kst_result result;
    kst_track(t, now_ms, &packet, 1, &result);
    return result;
}

static inline struct kst_result track(struct kst *t, uint64_t now_ms, struct say say)
{
    const struct wire w = wire_of(&say);
    return track_wire(t, now_ms, &w);
}

/* With what else there is to say of a packet. */
static inline struct kst_result track_as(struct kst *t, uint64_t now_ms, struct say say,
                                         struct kst_packet as)
{
    const struct wire w = wire_of(&say);
    struct kst_result result;
    as.data = w.data;
    as.size = w.size;
    kst_track(t, now_ms, &as, 1, &result);
    must_be_sound(t);
    return result;
}

/* The tuple that such a packet has. */
static inline struct kst_tuple tuple_of(struct say say)
{
    struct kst_tuple tuple = {.src_port = say.sport,
                              .dst_port = say.dport,
                              .family = say.v6 ? KST_IPV6 : KST_IPV4,
                              .protocol = say.protocol};
    put_host(tuple.src, say.v6, say.from);
    put_host(tuple.dst, say.v6, say.to);
    return tuple;
}

/* The tuple that its answer has. */
static inline struct kst_tuple answer_of(struct kst_tuple asked)
{
    static const uint8_t pairs[][3] = {
        {ICMP, 8, 0}, {ICMP, 13, 14}, {ICMP, 15, 16}, {ICMP, 17, 18}, {ICMP6, 128, 129}, {ICMP6, 139, 140}};
    struct kst_tuple answer = asked;
    memcpy(answer.src, asked.dst, sizeof answer.src);
    memcpy(answer.dst, asked.src, sizeof answer.dst);
    if (asked.protocol != ICMP && asked.protocol != ICMP6) {
        answer.src_port = asked.dst_port;
        answer.dst_port = asked.src_port;
    } else {
        for (size_t i = 0; i < COUNT(pairs); i++)
            for (int way = 1; way <= 2; way++)
                if (pairs[i][0] == asked.protocol && pairs[i][way] == asked.dst_port >> 8)
                    answer.dst_port = (uint16_t)(pairs[i][3 - way] << 8 | (asked.dst_port & 0xff));
    }
    return answer;
}

/* A connection without NAT for kst_insert, begun by such a packet. */
static inline struct kst_flow flow_of(struct say say, uint64_t timeout_ms)
{
    struct kst_flow flow = {.timeout_ms = timeout_ms};
    flow.tuple[KST_ORIGINAL] = tuple_of(say);
    flow.tuple[KST_REPLY] = answer_of(flow.tuple[KST_ORIGINAL]);
    flow.state = say.protocol == TCP    ? (uint8_t)KST_TCP_ESTABLISHED
                 : say.protocol == SCTP ? (uint8_t)KST_SCTP_ESTABLISHED
                                        : 0;
    return flow;
}

/* ---- who talks: 1 to 2, and back ---- */

/* A UDP packet of a connection of its own for each number. */
static inline struct say stranger(uint32_t number)
{
    return (struct say){.protocol = UDP, .from = 1, .to = 2, .sport = (uint16_t)number, .dport = 9};
}

/* What goes the other way between the same two. */
static inline struct say answer_to(struct say say)
{
    return (struct say){.protocol = say.protocol, .v6 = say.v6, .from = say.to, .to = say.from,
                        .sport = say.dport, .dport = say.sport};
}

static inline struct say tcp(bool reply, uint8_t flags, uint32_t seq, uint32_t ack, uint16_t bytes)
{
    struct say say = {.protocol = TCP, .from = 1, .to = 2, .sport = 40000, .dport = 80};
    if (reply)
        say = answer_to(say);
    say.flags = flags;
    say.seq = seq;
    say.ack = ack;
    say.bytes = bytes;
    return say;
}

#define HANDSHAKE                                                                                  \
    tcp(0, SYN, 1000, 0, 0), tcp(1, SYN | ACK, 5000, 1001, 0), tcp(0, ACK, 1001, 5001, 0)

/* A chunk of this type, as long as an INIT, whose own tag is 0. */
static inline struct say sctp(bool reply, uint32_t tag, uint8_t type)
{
    static uint8_t chunks[16][20];
    chunks[type][0] = type;
    chunks[type][3] = 20;
    struct say say = {.protocol = SCTP, .from = 1, .to = 2, .sport = 40000, .dport = 80};
    if (reply)
        say = answer_to(say);
    say.seq = tag;
    say.bytes = 20;
    say.body = chunks[type];
    return say;
}

/* ---- a small, busy world ---- */

/* One sensible packet: few hosts and ports, every protocol, TCP and SCTP that get on with it. */
static inline struct say world_say(void)
{
    static const uint8_t protocols[] = {TCP, TCP,  TCP,  TCP,     UDP, UDP,
                                        ICMP, SCTP, UDPLITE, ESP, GRE};
    static const uint8_t flags[] = {SYN, SYN, SYN | ACK, ACK, ACK, ACK | PSH, FIN | ACK, RST, 0};
    static const uint8_t types[2][6] = {{8, 0, 13, 14, 9, 40}, {128, 129, 139, 140, 135, 137}};
    static const uint8_t chunks[][20] = {{1, 0, 0, 20, 0, 0, 0, 3}, {2, 0, 0, 20, 0, 0, 0, 3},
                                         {10, 0, 0, 20},            {11, 0, 0, 20},
                                         {4, 0, 0, 20},             {0, 3, 0, 20},
                                         {7, 0, 0, 20},             {6, 0, 0, 20}};
    struct say say = {.protocol = protocols[draw_below(COUNT(protocols))]};
    say.v6 = draw_one_in(3);
    say.from = (uint8_t)(1 + draw_below(3));
    say.to = (uint8_t)(1 + draw_below(3));
    say.sport = (uint16_t)(1 + draw_below(3));
    say.dport = (uint16_t)(1 + draw_below(3));
    say.flags = flags[draw_below(COUNT(flags))];
    say.seq = 1000 + draw_below(4);
    say.ack = 1000 + draw_below(4);
    say.bytes = (uint16_t)draw_below(3);
    if (say.protocol == ICMP) {
        say.protocol = say.v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP;
        say.dport = (uint16_t)(types[say.v6][draw_below(6)] << 8);
    } else if (say.protocol == SCTP) {
        say.seq = draw_one_in(3) ? 0 : 3;
        say.body = chunks[draw_below(COUNT(chunks))];
        say.bytes = 20;
    }
    return say;
}

/* Any packet: a sensible one, an ICMP error about one, or something damaged on its way. */
static inline struct wire world_wire(void)
{
    struct say say = world_say();
    struct wire w = wire_of(&say);
    switch (draw_below(12)) {
    case 0: { /* unreachable: back to its sender, mostly */
        const struct say error = {.protocol = say.v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP,
                                  .v6 = say.v6,
                                  .from = 9,
                                  .to = draw_one_in(4) ? (uint8_t)8 : say.from,
                                  .dport = say.v6 ? 0x0100 : 0x0301,
                                  .bytes = (uint16_t)w.size,
                                  .body = w.data};
        return wire_of(&error);
    }
    case 1: {
        const uint32_t bit = draw_below(w.size * 8);
        w.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        return w;
    }
    case 2: w.size = draw_below(w.size + 1); return w;
    case 3:
        w.size = 1 + draw_below(80);
        for (uint32_t i = 0; i < w.size; i++)
            w.data[i] = (uint8_t)draw();
        if (draw_one_in(2))
            w.data[0] = draw_one_in(2) ? 0x45 : 0x60;
        return w;
    default: return w;
    }
}

/* ---- running ---- */

static inline int run_suite(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    for (size_t i = 0; i < count; i++) {
        TCase *group = tcase_create(tests[i]->name);
        tcase_set_timeout(group, 60);
        tcase_add_test(group, tests[i]);
        suite_add_tcase(suite, group);
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The end of every suite: main(), which runs the tests named. */
#define SUITE(name, ...)                                                                           \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = {__VA_ARGS__};                                                \
        return run_suite(name, tests, COUNT(tests));                                               \
    }

#endif
