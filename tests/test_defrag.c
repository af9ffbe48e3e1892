/* SPDX-License-Identifier: MIT */
/* test_defrag.c - properties: a packet cut into fragments, in any order, says what it says
 * whole; whatever is lost, doubled, overlapping or lying about its end is told by a reason;
 * memory and time are bounded, and come back. */
#define KST_FRAGMENTS_MAX 6 /* soon reached */
#define KST_IMPLEMENTATION
#include "support.h"

static const struct kst_config with_reassembly = {.max = 64,
                                                  .features = KST_WITH_ACCOUNTING,
                                                  .reassembly_bytes = KST_REASSEMBLY_MIN,
                                                  .seed = {1, 2}};

/* The part of a packet from data byte `at` on, `bytes` long, with this identifier. */
static struct wire cut(const struct wire *whole, uint32_t id, uint32_t at, uint32_t bytes, bool more)
{
    struct wire part = *whole;
    const bool v6 = whole->data[0] >> 4 == 6;
    const uint32_t header = v6 ? 40 : whole->l4_at, begin = v6 ? header + 8 : header;
    memcpy(part.data + begin, whole->data + header + at, bytes);
    part.size = begin + bytes;
    if (v6) {
        part.data[6] = 44;
        put16(part.data + 4, 8 + bytes);
        put16(part.data + 42, at | more);
        put32(part.data + 44, id);
        part.data[40] = whole->data[6];
        part.data[41] = 0;
    } else {
        put16(part.data + 2, part.size);
        put16(part.data + 4, id);
        put16(part.data + 6, at / 8 | (more ? 0x2000u : 0));
        put16(part.data + 10, 0);
        put16(part.data + 10, sum_folded(sum_of(0, part.data, header)));
    }
    return part;
}

static uint32_t cells_in_use(const struct kst *t)
{
    return kst__defrag_at(t)->cells_count + kst__defrag_at(t)->queues_count;
}

START_TEST(any_cut_in_any_order)
{
    draw_state = 7;
    for (int round = 0; round < 3000; round++) {
        struct say say = {.protocol = draw_one_in(2) ? (uint8_t)UDP : (uint8_t)TCP, .flags = SYN};
        say.v6 = draw_one_in(2);
        say.from = 1;
        say.to = 2;
        say.sport = (uint16_t)draw_below(50);
        say.bytes = (uint16_t)(24 + draw_below(900));
        struct wire whole = wire_of(&say), parts[5];
        if (draw_one_in(10))
            whole.data[whole.size - 1] ^= 1; /* the checksum covers all of it, or finds it out */
        const uint32_t data = whole.size - (say.v6 ? 40 : 20);
        uint32_t count = 0, at = 0;
        while (at < data) {
            uint32_t bytes = (24 + 8 * draw_below(data / 8)) & ~7u; /* the first holds a header */
            if (count == COUNT(parts) - 1 || bytes > data - at)
                bytes = data - at;
            parts[count++] = cut(&whole, (uint32_t)round, at, bytes, at + bytes < data);
            at += bytes;
        }
        if (count == 1 && !say.v6)
            continue; /* was never a fragment */
        struct kst *t = table_new(with_reassembly), *plain = table_new(with_reassembly);
        must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
        must_be(kst_set(plain, "nf_conntrack_acct", 1), KST_ERROR_OK);
        const struct kst_result expected = track_wire(plain, 5, &whole);
        struct kst_result got = {0};
        about("round %d: %u bytes in %u parts, IPv%d", round, data, count, say.v6 ? 6 : 4);
        for (uint32_t left = count; left > 0; left--) {
            const uint32_t i = draw_below(left);
            got = track_wire(t, 5, &parts[i]);
            must_be_sound(t);
            if (left > 1) {
                must_say(got, KST_REASON_FRAGMENT_HELD);
                must_be(got.verdict, KST_HOLD);
                must_be(got.entry, 0);
            }
            parts[i] = parts[left - 1];
        }
        must_say(got, expected.reason);
        must_be(got.flags & KST_REASSEMBLED, KST_REASSEMBLED);
        got.flags &= (uint8_t)~KST_REASSEMBLED;
        must(memcmp(&got, &expected, sizeof got) == 0);
        must_be(cells_in_use(t), 0);
        struct kst_flow flow, plain_flow;
        if (kst_get(plain, expected.entry, &plain_flow)) {
            must(kst_get(t, got.entry, &flow));
            must(memcmp(&flow, &plain_flow, sizeof flow) == 0); /* bytes counted included */
        }
        free(t);
        free(plain);
    }
}
END_TEST

/* A script of fragments of one datagram of 64 bytes, and what is said of each. */
struct step {
    uint32_t at, bytes;
    bool last;
    uint32_t reason; /* enum kst_reason; NONE: it is complete */
};

static void tell(const char *what, bool v6, const struct step *steps, size_t count)
{
    const struct say say = {.protocol = UDP, .v6 = v6, .from = 1, .to = 2, .bytes = 56};
    const struct wire whole = wire_of(&say);
    struct kst *t = table_new(with_reassembly);
    for (size_t i = 0; i < count && steps[i].bytes + steps[i].at > 0; i++) {
        const struct wire part = cut(&whole, 9, steps[i].at, steps[i].bytes, !steps[i].last);
        about("%s, IPv%d, step %zu", what, v6 ? 6 : 4, i);
        const struct kst_result result = track_wire(t, 0, &part);
        must_say(result, steps[i].reason);
        must_be(result.verdict, steps[i].reason == KST_REASON_FRAGMENT_HELD ? KST_HOLD
                                : steps[i].reason > KST_REASON_FRAGMENT_HELD &&
                                        steps[i].reason <= KST_REASON_FRAGMENT_FULL
                                    ? KST_DROP
                                    : KST_ACCEPT);
        must_be_sound(t);
    }
    free(t);
}

START_TEST(stories)
{
    enum { HELD = KST_REASON_FRAGMENT_HELD, COPY = KST_REASON_FRAGMENT_COPY,
           OVERLAP = KST_REASON_FRAGMENT_OVERLAP, BAD = KST_REASON_FRAGMENT_BAD,
           MANY = KST_REASON_FRAGMENT_MANY, ALONE = KST_REASON_FRAGMENT };
    static const struct {
        const char *what;
        int family; /* 0: both */
        struct step steps[10];
    } rows[] = {
        {"a copy", 0, {{0, 24, 0, HELD}, {0, 24, 0, COPY}, {8, 8, 0, COPY}, {24, 40, 1, 0}}},
        {"a copy of two that came in order", 0,
         {{0, 24, 0, HELD}, {24, 24, 0, HELD}, {16, 16, 0, COPY}, {48, 16, 1, 0}}},
        {"of two that did not, it is none", 0,
         {{24, 24, 0, HELD}, {0, 24, 0, HELD}, {16, 16, 0, OVERLAP}, {48, 16, 1, HELD}}},
        {"an overlap takes all with it", 0,
         {{0, 24, 0, HELD}, {16, 16, 0, OVERLAP}, {32, 32, 1, HELD}, {0, 32, 0, 0}}},
        {"two ends, IPv4: all is lost", 4,
         {{56, 8, 1, HELD}, {40, 8, 1, BAD}, {0, 56, 0, HELD}, {56, 8, 1, 0}}},
        {"two ends, IPv6: the second is", 6, {{56, 8, 1, HELD}, {40, 8, 1, BAD}, {0, 56, 0, 0}}},
        {"behind the end", 6, {{24, 8, 1, HELD}, {32, 8, 0, BAD}, {0, 24, 0, KST_REASON_UDP_LENGTH}}},
        {"too many", 0,
         {{48, 8, 0, HELD}, {40, 8, 0, HELD}, {32, 8, 0, HELD}, {24, 8, 0, HELD}, {16, 8, 0, HELD},
          {8, 8, 0, HELD}, {0, 8, 0, MANY}, {8, 56, 1, HELD}, {0, 8, 0, 0}}},
        {"not at 8 bytes, IPv6: as it is", 6, {{8, 12, 0, ALONE}}},
        {"not at 8 bytes, IPv4: cut down", 4, {{0, 12, 0, HELD}, {8, 56, 1, 0}}},
        {"nothing at all, IPv6", 6,
         {{8, 8, 0, HELD}, {16, 0, 0, BAD}, {0, 8, 0, HELD}, {16, 48, 1, 0}}},
        {"nothing but the end, IPv6", 6, {{64, 0, 1, BAD}, {0, 64, 0, 0}}},
        {"nothing at all, IPv4", 4, {{8, 8, 0, HELD}, {16, 7, 0, BAD}, {0, 8, 0, HELD}, {8, 56, 1, 0}}},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int family = 4; family <= 6; family += 2)
            if (rows[i].family == 0 || rows[i].family == family)
                tell(rows[i].what, family == 6, rows[i].steps, COUNT(rows[i].steps));
}
END_TEST

START_TEST(worlds_apart)
{
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .bytes = 56};
    const struct wire whole = wire_of(&say);
    const struct wire first = cut(&whole, 1, 0, 32, true), other = cut(&whole, 2, 32, 32, false);
    const struct wire last = cut(&whole, 1, 32, 32, false);
    struct kst *t = table_new(with_reassembly);
    struct kst_result result;
    must_say(track_wire(t, 0, &first), KST_REASON_FRAGMENT_HELD);
    must_say(track_wire(t, 0, &other), KST_REASON_FRAGMENT_HELD); /* another identifier */
    const struct kst_packet zoned = {.data = last.data, .size = last.size, .zone = 1};
    kst_track(t, 0, &zoned, 1, &result);
    must_say(result, KST_REASON_FRAGMENT_HELD);
    must_say(track_wire(t, 0, &last), KST_REASON_NONE);
    const struct kst_packet zoned_first = {.data = first.data, .size = first.size, .zone = 1};
    kst_track(t, 0, &zoned_first, 1, &result);
    must_say(result, KST_REASON_NONE);
    must_be(kst_count(t), 2);
    must_be(kst_statistics(t)->reassembled, 2);
    free(t);
}
END_TEST

START_TEST(time_runs_out)
{
    static const struct {
        bool v6;
        uint64_t timeout_ms;
    } rows[] = {{false, 30000}, {true, 60000}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct say say = {.protocol = UDP, .v6 = rows[i].v6, .from = 1, .to = 2, .bytes = 56};
        const struct wire whole = wire_of(&say);
        const struct wire first = cut(&whole, 1, 0, 32, true), last = cut(&whole, 1, 32, 32, false);
        struct kst *t = table_new(with_reassembly);
        about("IPv%d", rows[i].v6 ? 6 : 4);
        track_wire(t, 0, &first);
        must_say(track_wire(t, rows[i].timeout_ms - 1, &last), KST_REASON_NONE);
        track_wire(t, rows[i].timeout_ms, &first);
        must_be(kst_advance(t, 2 * rows[i].timeout_ms - 1, 100) < 100, true);
        must(cells_in_use(t) > 0);
        must_be(kst_advance(t, 2 * rows[i].timeout_ms, 0), 0);
        must(cells_in_use(t) > 0);
        kst_advance(t, 2 * rows[i].timeout_ms, 100);
        must_be(cells_in_use(t), 0);
        must_be(kst_statistics(t)->reassembly_expired, 1);
        track_wire(t, 3 * rows[i].timeout_ms, &first); /* and without kst_advance */
        must_say(track_wire(t, 4 * rows[i].timeout_ms, &last), KST_REASON_FRAGMENT_HELD);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* What was to wait for weeks does not, once the setting says so. */
START_TEST(timeout_is_lowered)
{
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        const struct say say = {.protocol = UDP, .v6 = v6, .from = 1, .to = 2, .bytes = 56};
        const struct wire whole = wire_of(&say);
        struct kst *t = table_new(with_reassembly);
        about("IPv%d", v6 ? 6 : 4);
        for (uint32_t id = 0; id < 20; id++) {
            const struct wire first = cut(&whole, id, 0, 32, true);
            must_be(kst_set(t, v6 ? "nf_conntrack_frag6_timeout" : "ipfrag_time", id < 10 ? 8589934 : 5), KST_ERROR_OK);
            track_wire(t, id, &first);
            must_be_sound(t);
        }
        kst_advance(t, 5009, UINT32_MAX);
        must(cells_in_use(t) > 0);
        kst_advance(t, 5019, UINT32_MAX);
        must_be(cells_in_use(t), 0);
        must_be(kst_statistics(t)->reassembly_expired, 20);
        free(t);
    }
}
END_TEST

/* A fragment header that stands as far back as an IPv6 packet can reach. */
START_TEST(header_of_64_kib)
{
    const uint32_t size = 40 + 65535;
    uint8_t *data = calloc(1, size);
    struct kst_config config = with_reassembly;
    config.reassembly_bytes = 1 << 20;
    ck_assert_ptr_nonnull(data);
    struct kst *t = table_new(config);
    struct kst_result result;
    data[0] = 0x60;
    data[6] = 60;
    put16(data + 4, 65535);
    uint32_t at = 40;
    while (at < size - 30) { /* destination options, as few and as long as they can be */
        uint32_t bytes = size - at - 23 < 2048 ? (size - at - 23) & ~7u : 2048;
        data[at] = at + bytes + 30 < size ? 60 : 44;
        data[at + 1] = (uint8_t)(bytes / 8 - 1);
        at += bytes;
    }
    data[at] = UDP;
    data[at + 3] = 1; /* more */
    const struct kst_packet packet = {
        .data = data, .size = at + 16, .checksum = KST_CHECKSUM_GOOD};
    must(at > 65535);
    put16(data + 4, packet.size - 40);
    kst_track(t, 0, &packet, 1, &result);
    must_say(result, KST_REASON_FRAGMENT_HELD);
    must_be_sound(t);
    put16(data + at + 2, 8); /* the rest, at once */
    kst_track(t, 0, &packet, 1, &result);
    must_say(result, KST_REASON_UDP_LENGTH); /* judged as the UDP that it is, of zeros */
    must_be_sound(t);
    must_be(cells_in_use(t), 0);
    free(t);
    free(data);
}
END_TEST

/* Who has seen the checksum of a whole to be good says so with each of its pieces; one that says less has it computed. */
START_TEST(trust_in_every_piece)
{
    for (uint32_t trust = 0; trust < 4; trust++) {
        const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 3, .dport = 4, .bytes = 24};
        struct wire whole = wire_of(&say);
        struct kst *t = table_new(with_reassembly);
        struct kst_result result;
        whole.data[whole.size - 1] ^= 1;
        for (uint32_t part = 0; part < 2; part++) {
            const struct wire w = cut(&whole, 1, 16 * part, 16, part == 0);
            const struct kst_packet packet = {.data = w.data, .size = w.size,
                                              .checksum = trust >> part & 1 ? KST_CHECKSUM_GOOD : KST_CHECKSUM_VERIFY};
            kst_track(t, 0, &packet, 1, &result);
        }
        about("trust %u", trust);
        must_say(result, trust == 3 ? KST_REASON_NONE : KST_REASON_UDP_CHECKSUM);
        free(t);
    }
}
END_TEST

/* A header whose words come to all ones: its checksum is 0. */
START_TEST(checksum_of_zero)
{
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 3, .dport = 4, .bytes = 24};
    struct wire whole = wire_of(&say);
    struct kst *t = table_new(with_reassembly);
    size_t size = 0;
    put16(whole.data + 4, 0);
    put16(whole.data + 6, 0);
    put16(whole.data + 10, 0);
    const uint32_t id = sum_folded(sum_of(0, whole.data, 20)); /* what is wanting to all ones */
    for (uint32_t part = 0; part < 2; part++) {
        const struct wire w = cut(&whole, id, 16 * part, 16, part == 0);
        must_say(track_wire(t, 0, &w), part == 0 ? KST_REASON_FRAGMENT_HELD : KST_REASON_NONE);
    }
    must_be_sound(t);
    const uint8_t *datagram = kst_datagram(t, &size);
    must_be(size, whole.size);
    must_be(datagram[10] << 8 | datagram[11], 0);
    free(t);
}
END_TEST

/* An attacker can pin what there is, for as long as the timeout says, and no more. */
START_TEST(memory_runs_out)
{
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .bytes = 1000};
    const struct wire whole = wire_of(&say);
    struct kst *t = table_new(with_reassembly);
    uint32_t held = 0, id = 0;
    struct kst_result result;
    do {
        const struct wire first = cut(&whole, ++id, 0, 504, true);
        result = track_wire(t, 0, &first);
        held += result.reason == KST_REASON_FRAGMENT_HELD;
    } while (result.reason == KST_REASON_FRAGMENT_HELD);
    must_say(result, KST_REASON_FRAGMENT_FULL);
    must_be(result.verdict, KST_DROP);
    must(held >= KST_REASSEMBLY_MIN / 1024 / 2 && held <= KST_REASSEMBLY_MIN / 512);
    must_be_sound(t);
    must_be(track(t, 0, stranger(1)).state, KST_NEW); /* whole packets do not mind */
    const struct wire again = cut(&whole, id, 0, 504, true);
    must_say(track_wire(t, 29999, &again), KST_REASON_FRAGMENT_FULL);
    must_say(track_wire(t, 30000, &again), KST_REASON_FRAGMENT_HELD);
    must_be_sound(t);
    free(t);
}
END_TEST

/* Likewise by datagrams that are as small as they can be, or by large ones to the last cell. */
START_TEST(places_run_out)
{
    for (uint32_t bytes = 8; bytes <= 1000; bytes += 992) {
        const struct say say = {.protocol = UDP, .from = 1, .to = 2, .bytes = 1200};
        const struct wire whole = wire_of(&say);
        struct kst *t = table_new(with_reassembly);
        const struct kst__defrag *d = kst__defrag_at(t);
        uint32_t id = 0;
        struct kst_result result;
        do { /* without the first piece, so that there is no header to keep */
            const struct wire part = cut(&whole, ++id, 8, bytes, true);
            result = track_wire(t, 0, &part);
        } while (result.reason == KST_REASON_FRAGMENT_HELD);
        about("%u bytes", bytes);
        must_say(result, KST_REASON_FRAGMENT_FULL);
        must_be(id - 1, bytes == 8 ? d->queues : d->cells / 5);
        must_be(d->queues_count, id - 1);
        for (uint32_t more = 0; more < d->cells % 5 && bytes != 8; more++) { /* the last cells, one by one */
            const struct wire part = cut(&whole, ++id, 8, 8, true);
            must_say(track_wire(t, 0, &part), KST_REASON_FRAGMENT_HELD);
        }
        must(d->cells_count == (bytes == 8 ? d->queues : d->cells));
        const struct wire another = cut(&whole, ++id, 8, 8, true), next = cut(&whole, 1, 8 + bytes, 8, true);
        must_say(track_wire(t, 0, &another), KST_REASON_FRAGMENT_FULL);
        must_say(track_wire(t, 0, &next), bytes == 8 ? KST_REASON_FRAGMENT_HELD : KST_REASON_FRAGMENT_FULL);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

START_TEST(without_reassembly)
{
    const struct say v4 = {.protocol = UDP, .from = 1, .to = 2, .bytes = 56};
    const struct say v6 = {.protocol = UDP, .v6 = true, .from = 1, .to = 2, .bytes = 56};
    const struct wire wholes[] = {wire_of(&v4), wire_of(&v6)};
    for (int i = 0; i < 2; i++) {
        struct kst_config config = with_reassembly;
        const struct wire first = cut(&wholes[i], 1, 0, 32, true);
        const struct wire atomic = cut(&wholes[i], 1, 0, 64, false);
        struct kst_result result;
        const struct kst_packet front = {
            .data = first.data, .size = first.size - 1, .flags = KST_PACKET_HEAD};
        struct kst *t = table_new(config);
        kst_track(t, 0, &front, 1, &result); /* only its front is here */
        must_say(result, KST_REASON_FRAGMENT);
        free(t);
        config.reassembly_bytes = 0;
        t = table_new(config);
        size_t size = 1;
        must_say(track_wire(t, 0, &first), KST_REASON_FRAGMENT);
        must(kst_datagram(t, &size) == NULL);
        must_be(size, 0);
        must_be(kst_column(t, KST_COLUMN_INVALID), 1);
        must_say(track_wire(t, 0, &atomic), KST_REASON_NONE); /* it is all there */
        must_be(kst_count(t), 1);
        free(t);
    }
    struct kst_config config = with_reassembly;
    config.reassembly_bytes = KST_REASSEMBLY_MIN - 1;
    must_be(kst_bytes(&config), 0);
}
END_TEST

/* One fragment that is not vouched for is enough for the whole to be verified. */
START_TEST(trust)
{
    static const struct {
        uint8_t first, last;
        enum kst_reason reason, right; /* of a datagram whose sum is wrong, or right */
    } rows[] = {{KST_CHECKSUM_GOOD, KST_CHECKSUM_GOOD, KST_REASON_NONE, KST_REASON_NONE},
                {KST_CHECKSUM_GOOD, KST_CHECKSUM_VERIFY, KST_REASON_UDP_CHECKSUM, KST_REASON_NONE},
                {KST_CHECKSUM_IGNORE, KST_CHECKSUM_GOOD, KST_REASON_UDP_CHECKSUM, KST_REASON_NONE},
                {KST_CHECKSUM_GOOD, KST_CHECKSUM_BAD, KST_REASON_UDP_CHECKSUM, KST_REASON_UDP_CHECKSUM},
                {KST_CHECKSUM_BAD, KST_CHECKSUM_GOOD, KST_REASON_UDP_CHECKSUM, KST_REASON_UDP_CHECKSUM},
                {KST_CHECKSUM_BAD, KST_CHECKSUM_BAD, KST_REASON_UDP_CHECKSUM, KST_REASON_UDP_CHECKSUM},
                {KST_CHECKSUM_IGNORE, KST_CHECKSUM_IGNORE, KST_REASON_NONE, KST_REASON_NONE}};
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .bytes = 56};
    struct wire whole = wire_of(&say);
    for (size_t row = 0; row < 2 * COUNT(rows); row++) {
        const size_t i = row / 2;
        whole.data[60] ^= 1; /* wrong, and right again */
        const struct wire first = cut(&whole, 1, 0, 32, true), last = cut(&whole, 1, 32, 32, false);
        struct kst *t = table_new(with_reassembly);
        const struct kst_packet packets[2] = {
            {.data = first.data, .size = first.size, .checksum = rows[i].first},
            {.data = last.data, .size = last.size, .checksum = rows[i].last}};
        struct kst_result results[2];
        kst_track(t, 0, packets, 2, results);
        about("row %zu", i);
        must_say(results[0], KST_REASON_FRAGMENT_HELD);
        must_say(results[1], row % 2 == 0 ? rows[i].reason : rows[i].right);
        free(t);
    }
}
END_TEST

/* Any fragments at all, of a few datagrams, in a block between unmapped pages. */
START_TEST(random_fragments)
{
    const size_t bytes = kst_bytes(&with_reassembly);
    struct guarded g = guarded_new(bytes);
    struct kst *t = kst_init(guarded_end(&g, bytes), bytes, &with_reassembly, NULL);
    uint64_t now_ms = 0;
    must(t != NULL);
    draw_state = 3;
    for (int step = 0; step < 40000; step++) {
        const struct say say = {.protocol = UDP, .v6 = draw_one_in(2), .from = 1, .to = 2,
                                .bytes = 1200};
        const struct wire whole = wire_of(&say);
        const uint32_t at = 8 * draw_below(120), id = draw_below(20), bytes_here = draw_below(200);
        const bool more = !draw_one_in(4);
        const struct wire part = cut(&whole, id, at, bytes_here, more);
        now_ms += draw_one_in(50) ? draw_below(20000) : 0;
        track_wire(t, now_ms, &part);
        about("step %d", step);
        if (step % 16 == 0)
            must_be_sound(t);
    }
    kst_advance(t, now_ms + 60000, UINT32_MAX);
    must_be(cells_in_use(t), 0);
    must_be_sound(t);
    guarded_free(&g);
}
END_TEST

SUITE("defrag", any_cut_in_any_order, stories, worlds_apart, time_runs_out, timeout_is_lowered,
      header_of_64_kib, checksum_of_zero, trust_in_every_piece, memory_runs_out, places_run_out,
      without_reassembly, trust, random_fragments)
