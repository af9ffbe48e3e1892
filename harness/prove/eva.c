/* SPDX-License-Identifier: MIT */
/* eva.c - what Frama-C's EVA interprets: each parser of the core, on every packet of some lengths.
 *
 * All bytes are unknown, so one run stands for every content; each packet lies in an array of just its
 * size. No alarm means: no read or write outside, no signed overflow, no bad shift, nothing used before
 * it is set, no KST_ASSERT that fails. An entry is a function that begins with eva_. */
#define KST_IMPLEMENTATION
#include "keepstate.h"
#include <__fc_builtin.h>

#define TRY(name, n)                                                                               \
    void eva_##name##_##n(void)                                                                    \
    {                                                                                              \
        static uint8_t bytes[(n) + !(n)]; /* C has no empty array: of that one only the end */      \
        if ((n) > 0)                                                                               \
            Frama_C_make_unknown((char *)bytes, n);                                                \
        name(bytes + !(n), n);                                                                     \
    }
/* Lengths about those where a header ends. */
#define ONCE(name) TRY(name, 0)
#define FEW(name) TRY(name, 0) TRY(name, 13) TRY(name, 20) TRY(name, 41)
#define OPTIONS(name) TRY(name, 0) TRY(name, 1) TRY(name, 2) TRY(name, 3) TRY(name, 4) TRY(name, 8) TRY(name, 12)
#define MESSAGES(name) TRY(name, 0) TRY(name, 2) TRY(name, 11) TRY(name, 12) TRY(name, 40) TRY(name, 168) TRY(name, 220)
#define HEADERS(name) TRY(name, 0) TRY(name, 1) TRY(name, 7) TRY(name, 8) TRY(name, 12) TRY(name, 20) TRY(name, 40) \
    TRY(name, 41) TRY(name, 48) TRY(name, 64)

static uint32_t any(void)
{
    return Frama_C_unsigned_int_interval(0, UINT32_MAX);
}

static uint32_t below(uint32_t n)
{
    return Frama_C_unsigned_int_interval(0, n - 1);
}

static void unknown(void *at, size_t size)
{
    Frama_C_make_unknown((char *)at, size);
}

/* ---- what a table holds that judges look at ---- */

static struct {
    struct kst t;
    struct kst__entry entry;
    struct kst__adjust adjust;
    struct kst__help help;
} block;

static void some_block(void)
{
    block.t.entries_at = offsetof(__typeof__(block), entry);
    block.t.column_at[KST__COLUMN_ADJUST] = offsetof(__typeof__(block), adjust);
    block.t.column_at[KST__COLUMN_HELP] = offsetof(__typeof__(block), help);
    block.t.now_ms = Frama_C_unsigned_long_interval(0, UINT64_MAX);
    unknown(block.t.seed, sizeof block.t.seed);
    unknown(block.t.set, sizeof block.t.set);
    unknown(&block.entry, sizeof block.entry);
    unknown(&block.adjust, sizeof block.adjust);
    unknown(&block.help, sizeof block.help);
}

/* ---- headers ---- */

static void parse(uint8_t *bytes, uint32_t n)
{
    struct kst_packet packet;
    struct kst__parsed p;
    unknown(&packet, sizeof packet);
    packet.data = bytes;
    packet.size = n;
    kst__parse(&packet, below(2), &p);
}
HEADERS(parse)

static void ip6(uint8_t *bytes, uint32_t n)
{
    kst__ip6(bytes, n);
}
HEADERS(ip6)

/* What kst__parse leaves of a packet whose transport header begins at `bytes`. */
static void some_parsed(struct kst__parsed *p, uint8_t *bytes, uint32_t n)
{
    static uint8_t addresses[32];
    unknown(p, sizeof *p);
    unknown(addresses, sizeof addresses);
    p->addresses = addresses;
    p->l4 = bytes;
    p->l4_here = p->l4_bytes = n;
    p->checksum = (uint8_t)below(4);
    if (p->checksum != KST_CHECKSUM_VERIFY)
        p->l4_bytes = Frama_C_unsigned_int_interval(n, 65535);
    p->tuple.family = below(2) ? KST_IPV4 : KST_IPV6;
}

static void some_case(struct kst__case *c, const struct kst__parsed *p)
{
    some_block();
    c->t = &block.t;
    c->set = block.t.set;
    c->packet = p;
    c->entry = &block.entry;
    c->direction = (uint8_t)below(2);
    c->fresh = below(2);
    c->status = block.entry.status;
    c->state = block.entry.state;
}

static void tcp_read(uint8_t *bytes, uint32_t n)
{
    struct kst__parsed p;
    struct kst__segment s;
    some_parsed(&p, bytes, n);
    kst__tcp_read(&p, &s);
}
HEADERS(tcp_read)

/* `n` bytes of options; none behind may be read. */
static void tcp_options(uint8_t *bytes, uint32_t n)
{
    struct kst__segment s;
    uint8_t flags = (uint8_t)any(), scale = (uint8_t)below(15);
    unknown(&s, sizeof s);
    s.options = bytes;
    s.options_bytes = n;
    kst__tcp_syn_options(&s, &flags, &scale);
}
OPTIONS(tcp_options)

/* The rest of the judge, of a header without options: any state, any history. */
static void tcp(uint8_t *bytes, uint32_t n)
{
    struct kst__parsed p;
    struct kst__case c;
    some_parsed(&p, bytes, n);
    some_case(&c, &p);
    if (n > 12)
        bytes[12] = 0x50;
    c.entry->state = c.state = (uint8_t)below(KST_TCP_STATES);
    c.entry->proto.tcp.scale[0] = (uint8_t)below(15);
    c.entry->proto.tcp.scale[1] = (uint8_t)below(15);
    c.entry->proto.tcp.last_scale = (uint8_t)below(15);
    kst__tcp_judge(&c);
}
FEW(tcp)

static void sctp(uint8_t *bytes, uint32_t n)
{
    struct kst__parsed p;
    struct kst__case c;
    some_parsed(&p, bytes, n);
    some_case(&c, &p);
    c.entry->state = c.state = (uint8_t)below(KST_SCTP_STATES);
    c.entry->proto.sctp.odd = (uint8_t)below(2);
    kst__sctp_judge(&c);
}
HEADERS(sctp)

/* The lemma of contracts.acsl: what a chunk's length, rounded up, may be. */
static void aligned(uint8_t *bytes, uint32_t n)
{
    const uint32_t x = Frama_C_unsigned_int_interval(7, 65538);
    const uint32_t rounded = x & ~UINT32_C(3);
    (void)bytes;
    (void)n;
    //@ assert lemma: 4 <= rounded <= 65536;
    (void)rounded;
}
ONCE(aligned)

static void udp(uint8_t *bytes, uint32_t n)
{
    struct kst__parsed p;
    struct kst__case c;
    some_parsed(&p, bytes, n);
    some_case(&c, &p);
    if (below(2))
        kst__udp_judge(&c);
    else
        kst__udplite_judge(&c);
}
HEADERS(udp)

static void icmp(uint8_t *bytes, uint32_t n)
{
    struct kst__parsed p;
    struct kst__key key;
    uint8_t reason;
    if (n < 8) /* kst__tuple_of has seen to it */
        return;
    some_parsed(&p, bytes, n);
    some_block();
    if (kst__icmp_sort(&p, &reason) == KST__ICMP_ERROR)
        kst__icmp_about(&block.t, &p, &key);
}
HEADERS(icmp)

/* ---- what is written: sequence numbers, addresses, ports ---- */

static void adjust(uint8_t *bytes, uint32_t n)
{
    some_block();
    kst__adjust_segment(&block.t, 0, (uint8_t)below(2), bytes, n);
}
HEADERS(adjust)

static struct kst_tuple some_tuple(void)
{
    struct kst_tuple tuple;
    unknown(&tuple, sizeof tuple);
    tuple.family = below(2) ? KST_IPV4 : KST_IPV6;
    return tuple;
}

static void rewrite(uint8_t *bytes, uint32_t n)
{
    const struct kst_tuple tuple = some_tuple();
    const enum kst_nat_kind kind = below(2) ? KST_NAT_SOURCE : KST_NAT_DESTINATION;
    kst__rewrite(bytes, n, below(2), kind, kst__end_of(&tuple, kind));
}
HEADERS(rewrite)

static void rewrite_error(uint8_t *bytes, uint32_t n)
{
    const struct kst_tuple tuple = some_tuple();
    const enum kst_nat_kind kind = below(2) ? KST_NAT_SOURCE : KST_NAT_DESTINATION;
    const uint32_t at = kst__error_at(bytes, n);
    //@ split at;
    if (at != 0 && kst__error_sound(bytes, n, at))
        kst__rewrite_error(bytes, n, at, kind, &tuple, kst__end_of(&tuple, kind));
}
HEADERS(rewrite_error)

/* ---- helpers: payloads ---- */

static struct kst_help help;
static uint64_t help_state[KST_HELPER_STATE_BYTES / 8];

static void some_help(uint8_t *bytes, uint32_t n, uint8_t family)
{
    unknown(&help, sizeof help);
    unknown(help_state, sizeof help_state);
    some_block();
    help.t = &block.t;
    help.tuple[0].family = help.tuple[1].family = family;
    help.direction = (uint8_t)below(2);
    help.payload = bytes;
    help.size = n;
    help.state = help_state;
    help.mangle = NULL;
    help.answered = help.expected = help.error = help.translated = below(2);
}

static void tftp(uint8_t *bytes, uint32_t n)
{
    some_help(bytes, n, below(2) ? KST_IPV4 : KST_IPV6);
    kst__tftp_help(&help);
}
MESSAGES(tftp)

static void pptp(uint8_t *bytes, uint32_t n)
{
    some_help(bytes, n, KST_IPV4);
    help.connection = 0;
    ((struct kst__pptp *)help.state)->keyed = below(2);
    kst__pptp_help(&help);
}
MESSAGES(pptp)
