/* SPDX-License-Identifier: MIT */
/* test_prepare.c - what `agree-kernel --capture` does to a packet before it asks: it fills in what
 * a network card would have, and nothing else; it tells what cannot be asked about; it stays inside
 * the bytes it was given. */
#include "support.h"

#include "../harness/kernel/prepare.h"

static const uint8_t protocols[] = {TCP, UDP, ICMP6, SCTP};

static uint32_t field_of(uint8_t protocol)
{
    return protocol == TCP ? 16 : protocol == UDP ? 6 : protocol == SCTP ? 8 : 2;
}

static struct wire draw_packet(uint8_t protocol, bool v6)
{
    static const uint8_t padded[] = {0, 0, 1, 4, 0, 0, 0, 0}; /* destination options */
    static const uint8_t alert[] = {148, 4, 0, 0};
    struct say say = {.protocol = protocol, .v6 = v6, .from = 1, .to = 2, .sport = 4000};
    uint8_t body[64];
    for (uint32_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)draw();
    say.body = body;
    say.bytes = (uint16_t)draw_below(sizeof body);
    say.dport = protocol == ICMP6 ? 128 << 8 : 53;
    if (draw_one_in(3)) {
        say.ip_options = v6 ? padded : alert;
        say.ip_bytes = v6 ? sizeof padded : sizeof alert;
        say.ip_first = 60;
    }
    return wire_of(&say);
}

/* The sum of the pseudo-header, as Linux leaves it. */
static uint32_t pseudo_of(const struct wire *w)
{
    const bool v6 = w->data[0] >> 4 == 6;
    const uint32_t sum = w->size - w->l4_at + w->protocol;
    return (uint16_t)~sum_folded(sum_of(sum, w->data + (v6 ? 8 : 12), v6 ? 32 : 8));
}

static enum prepared prepare_wire(struct wire *w, bool *filled)
{
    *filled = false;
    return prepare(w->data, &w->size, false, filled);
}

START_TEST(fills_in_what_was_left_open)
{
    for (uint32_t i = 0; i < 4000; i++) {
        const uint8_t protocol = protocols[draw_below(COUNT(protocols))];
        const bool v6 = protocol == ICMP6 || draw_one_in(2);
        const struct wire good = draw_packet(protocol, v6);
        struct wire w = good;
        bool filled;
        about("protocol %u, IPv%d, %u bytes", protocol, v6 ? 6 : 4, good.size);
        if (protocol == SCTP)
            put32(w.data + w.l4_at + 8, 0);
        else
            put16(w.data + w.l4_at + field_of(protocol), pseudo_of(&w));
        if (!v6 && draw_one_in(2))
            put16(w.data + 10, 0);
        if (protocol == TCP && (!v6 || w.l4_at == 40) && draw_one_in(2)) { /* the card cuts it up */
            put16(w.data + (v6 ? 4 : 2), 0);
            put16(w.data + 10, v6 ? get16(w.data + 10) : 0);
        }
        must_be(prepare_wire(&w, &filled), PREPARED_TO_ASK);
        must(filled);
        must_be(w.size, good.size);
        must(memcmp(w.data, good.data, good.size) == 0);
    }
}
END_TEST

START_TEST(leaves_all_else_alone)
{
    for (uint32_t i = 0; i < 4000; i++) {
        const uint8_t protocol = protocols[draw_below(COUNT(protocols))];
        const struct wire good = draw_packet(protocol, protocol == ICMP6 || draw_one_in(2));
        const uint32_t at = good.l4_at + field_of(protocol);
        const uint32_t wrong = (uint32_t)draw() & 0xffff;
        struct wire w = good;
        bool filled;
        about("protocol %u, IPv%d, %u bytes", protocol, w.data[0] >> 4, w.size);
        if (i % 2 == 0 && wrong != 0 && wrong != pseudo_of(&w))
            put16(w.data + at, wrong);
        const struct wire before = w;
        w.size += draw_below(20); /* what Ethernet adds to short frames */
        must_be(prepare_wire(&w, &filled), PREPARED_TO_ASK);
        must(!filled);
        must_be(w.size, before.size);
        must(memcmp(w.data, before.data, before.size) == 0);
    }
}
END_TEST

START_TEST(hops_are_renewed)
{
    for (int v6 = 0; v6 < 2; v6++) {
        const struct wire good = draw_packet(UDP, v6);
        for (uint8_t hops = 0; hops < 3; hops++) {
            struct wire w = good;
            bool filled;
            about("IPv%d, %u hops", v6 ? 6 : 4, hops);
            w.data[v6 ? 7 : 8] = hops;
            wire_seal(&w);
            must_be(prepare_wire(&w, &filled), PREPARED_TO_ASK);
            must(!filled);
            must_be(w.data[v6 ? 7 : 8], hops < 2 ? 64 : hops);
            must(v6 || sum_folded(sum_of(0, w.data, w.l4_at)) == 0);
        }
    }
}
END_TEST

START_TEST(tells_what_cannot_be_asked)
{
    static const struct {
        bool v6;
        uint8_t at, bytes[4]; /* from there on */
        enum prepared prepared;
    } pokes[] = {
        {false, 12, {0, 1, 2, 3}, PREPARED_NO_ADDRESS},
        {false, 16, {127, 0, 0, 1}, PREPARED_LOOPBACK},
        {false, 16, {224, 0, 0, 1}, PREPARED_MULTICAST},
        {false, 16, {239, 255, 255, 255}, PREPARED_MULTICAST},
        {false, 16, {240, 0, 0, 1}, PREPARED_TO_ASK},
        {false, 16, {255, 255, 255, 254}, PREPARED_TO_ASK},
        {false, 16, {255, 255, 255, 255}, PREPARED_MULTICAST},
        {false, 16, {169, 254, 0, 1}, PREPARED_TO_ASK},
        {false, 20, {131, 4, 4, 0}, PREPARED_OPTIONS},
        {false, 20, {1, 1, 0, 131}, PREPARED_TO_ASK},
        {false, 20, {148, 8, 0, 0}, PREPARED_OPTIONS},
        {true, 8, {0xfe, 0x80, 0, 0}, PREPARED_LINK_LOCAL},
        {true, 8, {0xfe, 0xc0, 0, 0}, PREPARED_TO_ASK},
        {true, 24, {0xff, 2, 0, 0}, PREPARED_MULTICAST},
        {true, 6, {0, 64, 0xfd, 0}, PREPARED_OPTIONS},
        {true, 0, {0x50, 0, 0, 0}, PREPARED_HEADER},
    };
    static const uint8_t nothing[] = {1, 1, 1, 1};
    for (uint32_t i = 0; i < COUNT(pokes); i++) {
        const struct say say = {.protocol = UDP, .v6 = pokes[i].v6, .from = 1, .to = 2,
                                .ip_options = nothing, .ip_bytes = pokes[i].v6 ? 0 : 4};
        struct wire w = wire_of(&say);
        bool filled;
        about("the poke no. %u", i);
        memcpy(w.data + pokes[i].at, pokes[i].bytes, 4);
        if (!pokes[i].v6)
            wire_seal(&w);
        must_be(prepare_wire(&w, &filled), pokes[i].prepared);
    }
}
END_TEST

START_TEST(cut_packets)
{
    for (int v6 = 0; v6 < 2; v6++) {
        const struct wire good = draw_packet(TCP, v6);
        for (uint32_t size = 0; size <= good.size; size++)
            for (int cut = 0; cut < 2; cut++) {
                struct wire w = good;
                bool filled = false;
                about("IPv%d, %u of %u bytes", v6 ? 6 : 4, size, good.size);
                w.size = size;
                must_be(prepare(w.data, &w.size, cut, &filled),
                        size == good.size ? PREPARED_TO_ASK
                        : cut             ? PREPARED_CUT
                                          : PREPARED_HEADER);
            }
    }
}
END_TEST

START_TEST(stays_inside)
{
    struct guarded g = guarded_new(2000);
    for (uint32_t i = 0; i < 50000; i++) {
        const struct wire w = world_wire();
        uint8_t *data = guarded_end(&g, w.size);
        uint32_t size = w.size;
        bool filled = false;
        memcpy(data, w.data, size);
        about("the packet no. %u", i);
        if (prepare(data, &size, draw_one_in(4), &filled) != PREPARED_TO_ASK)
            continue;
        must(size <= w.size);
        if (data[0] >> 4 == 4)
            must(get16(data + 2) == size &&
                 sum_folded(sum_of(0, data, (data[0] & 15u) * 4)) == 0);
        else
            must_be(get16(data + 4) + 40u, size);
    }
    guarded_free(&g);
}
END_TEST

SUITE("prepare", fills_in_what_was_left_open, leaves_all_else_alone, hops_are_renewed,
      tells_what_cannot_be_asked, cut_packets, stays_inside)
