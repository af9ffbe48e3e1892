/* SPDX-License-Identifier: MIT */
/* test_shard.c - both directions of a conversation, ICMP errors about it and the fragments of a datagram
 * go to the same shard, whatever the zone; hosts are spread evenly; any bytes get a shard. */
#include "support.h"

static const uint64_t seed[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

static uint32_t shard_of(const struct wire *w, uint32_t size, uint32_t shards)
{
    struct guarded g = guarded_new(size);
    memcpy(guarded_end(&g, size), w->data, size);
    const struct kst_packet packet = {.data = guarded_end(&g, size), .size = size, .zone = (uint16_t)draw_below(3)};
    const uint32_t shard = kst_shard(&packet, shards, seed);
    guarded_free(&g);
    must(shard < shards);
    return shard;
}

START_TEST(what_belongs_together)
{
    draw_state = 1;
    for (uint32_t i = 0; i < 3000; i++) {
        const uint32_t shards = 2 + draw_below(63);
        struct say say = world_say();
        say.ip_bytes = 0;
        struct say answer = say;
        answer.from = say.to;
        answer.to = say.from;
        answer.sport = say.dport;
        answer.dport = say.sport;
        if (say.protocol == ICMP || say.protocol == ICMP6) {
            say.dport = say.v6 ? 0x8000 : 0x0800;
            answer.dport = say.v6 ? 0x8100 : 0;
        }
        const struct wire there = wire_of(&say), back = wire_of(&answer);
        about("conversation %u", i);
        const uint32_t shard = shard_of(&there, there.size, shards);
        must_be(shard_of(&back, back.size, shards), shard);
        if (there.size > 900)
            continue;
        for (uint32_t way = 0; way < 2; way++) { /* from a router, or from who was asked */
            const struct say error = {.protocol = say.v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP,
                                      .v6 = say.v6,
                                      .from = way == 0 ? 77 : say.to,
                                      .to = say.from,
                                      .dport = say.v6 ? 0x0100 : 0x0b00,
                                      .bytes = (uint16_t)there.size,
                                      .body = there.data};
            const struct wire w = wire_of(&error);
            must_be(shard_of(&w, w.size, shards), shard);
        }
        if (there.size >= 40) { /* one that does not have all of the header is anybody's */
            const uint32_t outer = say.v6 ? 40 : 20;
            struct say error = {.protocol = say.v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP, .v6 = say.v6, .from = 77, .to = 78,
                                .dport = say.v6 ? 0x0100 : 0x0b00, .bytes = (uint16_t)(outer - 1), .body = there.data};
            const struct say other = {.protocol = UDP, .v6 = say.v6, .from = 77, .to = 78};
            struct wire w = wire_of(&error), between = wire_of(&other);
            must_be(shard_of(&w, w.size, shards), shard_of(&between, between.size, shards));
            error.bytes = (uint16_t)there.size; /* nor is the first fragment of one: the rest has no more to go by */
            w = wire_of(&error);
            if (!say.v6) {
                put16(w.data + 6, 0x2000);
                must_be(shard_of(&w, w.size, shards), shard_of(&between, between.size, shards));
            }
        }
        if (say.v6) { /* an error with a fragment header, and nothing missing (RFC 6946), is one like others */
            struct say error = {.protocol = ICMP6, .v6 = true, .from = 77, .to = say.from, .dport = 0x0100,
                                .bytes = (uint16_t)there.size, .body = there.data};
            struct wire w = wire_of(&error);
            memmove(w.data + 48, w.data + 40, w.size - 40);
            memset(w.data + 40, 0, 8);
            w.data[40] = ICMP6;
            w.data[6] = 44;
            w.size += 8;
            put16(w.data + 4, w.size - 40);
            must_be(shard_of(&w, w.size, shards), shard);
        }
        struct wire fragment = there; /* the middle of a datagram between the same two */
        if (!say.v6) {
            put16(fragment.data + 6, 0x2000 | 3);
            must_be(shard_of(&fragment, fragment.size, shards), shard);
        }
    }
}
END_TEST

START_TEST(any_bytes)
{
    draw_state = 2;
    for (uint32_t i = 0; i < 20000; i++) {
        struct wire w = world_wire();
        shard_of(&w, draw_below(w.size + 1), 1 + draw_below(9));
    }
    must_be(kst_shard(&(struct kst_packet){.size = 0}, 5, seed), 0);
}
END_TEST

START_TEST(spread_evenly)
{
    enum { SHARDS = 7, HOSTS = 250 };
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        uint32_t got[SHARDS] = {0};
        for (uint32_t from = 0; from < HOSTS; from++)
            for (uint32_t to = from + 1; to < HOSTS; to += 3) {
                const struct say say = {.protocol = UDP, .v6 = v6 != 0, .from = (uint8_t)from, .to = (uint8_t)to};
                const struct wire w = wire_of(&say);
                got[kst_shard(&(struct kst_packet){.data = w.data, .size = w.size}, SHARDS, seed)]++;
            }
        for (uint32_t i = 0; i < SHARDS; i++) {
            about("shard %u", i);
            must(got[i] > HOSTS * HOSTS / 6 / SHARDS * 9 / 10 && got[i] < HOSTS * HOSTS / 6 / SHARDS * 11 / 10);
        }
    }
}
END_TEST

SUITE("shard", what_belongs_together, any_bytes, spread_evenly)
