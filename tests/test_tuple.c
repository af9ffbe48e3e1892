/* SPDX-License-Identifier: MIT */
/* test_tuple.c - properties: SipHash is SipHash and CRC-32C is CRC-32C; a tuple and its inverse
 * hash alike, tuples that differ do not; the inverse of the inverse is the tuple itself; ICMP has
 * exactly the counterparts that the RFCs give it. */
#define KST_IMPLEMENTATION
#include "support.h"

/* The reference's own vectors: key 00 01 .. 0f, input 00 01 .. for so many bytes. Only whole words
 * can be hashed here. `openssl mac -macopt hexkey:... -macopt size:8 SIPHASH` agrees. */
START_TEST(siphash_vectors)
{
    static const uint8_t expected[][8] = {
        {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72}, /*  0 bytes */
        {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93}, /*  8 */
        {0xdb, 0x9b, 0xc2, 0x57, 0x7f, 0xcc, 0x2a, 0x3f}, /* 16 */
        {0x94, 0xaf, 0x49, 0xf6, 0xc6, 0x50, 0xad, 0xb8}, /* 24 */
        {0xce, 0x7c, 0xf2, 0x72, 0x2f, 0x51, 0x27, 0x71}, /* 32 */
        {0xd0, 0xa7, 0x04, 0x53, 0x6b, 0xa9, 0x3e, 0x0e}, /* 40 */
        {0x51, 0xa9, 0xcb, 0x9e, 0xcb, 0xa3, 0x12, 0xe6}, /* 48 */
        {0xbd, 0x83, 0x8d, 0x3a, 0xaf, 0xbf, 0x8d, 0xb7}, /* 56 */
    };
    const uint64_t seed[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint64_t words[COUNT(expected)];
    uint8_t input[8 * COUNT(expected)];
    for (uint8_t i = 0; i < sizeof input; i++)
        input[i] = i;
    for (uint32_t i = 0; i < COUNT(words); i++) {
        words[i] = UINT64_C(0x0706050403020100) + i * UINT64_C(0x0808080808080808);
        must_be(kst__le64(input + 8 * i), words[i]);
    }
    for (uint32_t count = 0; count < COUNT(expected); count++) {
        const uint64_t hash = kst__siphash(seed, words, count, 2, 4);
        about("%u bytes", count * 8);
        for (uint32_t i = 0; i < 8; i++)
            must_be(hash >> (8 * i) & 0xff, expected[count][i]);
        must_be(kst__hash_sip24(seed, words, count, (uint64_t)count << 59), hash); /* KST_HASH=sip24 */
    }
}
END_TEST

/* KST_HASH=fold hides nothing and has no vectors; it has to be as good as it says: who differs in one bit, of
 * whatever, goes elsewhere half of the time in every bit of the hash, and few are in one of many buckets. */
START_TEST(fold_spreads)
{
    enum { DRAWS = 2000, BUCKETS = 1024, FLOWS = 16 * BUCKETS };
    uint32_t flips[5 * 64 + 64][64] = {{0}}, held[2][BUCKETS] = {{0}};
    uint64_t seed[2], words[5];
    draw_state = 5;
    for (uint32_t round = 0; round < DRAWS; round++) {
        seed[0] = draw();
        seed[1] = draw();
        for (uint32_t i = 0; i < COUNT(words); i++)
            words[i] = draw();
        const uint64_t hash = kst__hash_fold(seed, words, 4, words[4]);
        for (uint32_t bit = 0; bit < 6 * 64; bit++) {
            uint64_t *word = bit < 5 * 64 ? &words[bit / 64] : &seed[0];
            *word ^= UINT64_C(1) << bit % 64;
            const uint64_t differs = hash ^ kst__hash_fold(seed, words, 4, words[4]);
            *word ^= UINT64_C(1) << bit % 64;
            must(differs != 0);
            for (uint32_t i = 32; i < 64; i++) /* the high half is what tags are made of */
                flips[bit][i] += (uint32_t)(differs >> i & 1);
        }
    }
    for (uint32_t i = 0; i < FLOWS; i++) { /* hosts and ports that count up */
        const uint64_t counted[2] = {UINT64_C(10) << 56 | i / 64, i % 64};
        const uint64_t hash = kst__hash_fold(seed, counted, 2, 17);
        held[0][hash % BUCKETS]++;
        held[1][hash >> 54]++;
    }
    for (uint32_t bit = 0; bit < BUCKETS; bit++)
        must(held[0][bit] < 64 && held[1][bit] < 64);
    uint32_t poor = 0;
    for (uint32_t bit = 0; bit < 6 * 64; bit++)
        for (uint32_t i = 32; i < 64; i++)
            poor += flips[bit][i] < DRAWS / 4 || flips[bit][i] > DRAWS * 3 / 4;
    about("%u of %u pairs of bits", poor, 6 * 64 * 32);
    must(poor < 6 * 64 * 32 / 10);
}
END_TEST

START_TEST(crc32c_vectors)
{
    static const uint8_t digits[] = "123456789";
    const uint8_t zeros[32] = {0}; /* RFC 3720 B.4 */
    must_be(~kst__crc32c(UINT32_MAX, digits, 9), 0xe3069283);
    must_be(~kst__crc32c(UINT32_MAX, zeros, sizeof zeros), 0x8a9136aa);
    for (uint32_t cut = 0; cut <= 9; cut++) /* in two pieces */
        must_be(~kst__crc32c(kst__crc32c(UINT32_MAX, digits, cut), digits + cut, 9 - cut),
                0xe3069283);
}
END_TEST

static struct kst_tuple draw_tuple(void)
{
    static const uint8_t protocols[] = {TCP, UDP, UDPLITE, SCTP, GRE, ESP};
    struct kst_tuple tuple;
    memset(&tuple, 0, sizeof tuple);
    tuple.family = draw_one_in(2) ? KST_IPV4 : KST_IPV6;
    for (uint32_t i = 0; i < (tuple.family == KST_IPV4 ? 4 : 16); i++) {
        tuple.src[i] = (uint8_t)draw();
        tuple.dst[i] = draw_one_in(4) ? (uint8_t)draw() : tuple.src[i]; /* near relatives, twins */
    }
    tuple.zone = (uint16_t)(draw_one_in(2) ? 0 : draw());
    tuple.protocol = protocols[draw_below(COUNT(protocols))];
    tuple.src_port = (uint16_t)draw();
    tuple.dst_port = (uint16_t)(draw_one_in(4) ? tuple.src_port : draw());
    if (draw_one_in(3)) {
        const struct kst__icmp_pair *pair = &kst__icmp_pairs[draw_below(COUNT(kst__icmp_pairs))];
        const uint8_t type = draw_one_in(2) ? pair->question : pair->answer;
        tuple.protocol = pair->protocol;
        tuple.family = pair->protocol == ICMP ? KST_IPV4 : KST_IPV6;
        tuple.dst_port = (uint16_t)((uint32_t)type << 8 | draw_below(3));
        if (tuple.family == KST_IPV4) {
            memset(tuple.src + 4, 0, 12);
            memset(tuple.dst + 4, 0, 12);
        }
    }
    return tuple;
}

START_TEST(both_directions_hash_alike)
{
    draw_state = 1;
    for (int i = 0; i < 20000; i++) {
        uint64_t seed[2];
        seed[0] = draw();
        seed[1] = draw();
        const struct kst_tuple tuple = draw_tuple();
        struct kst_tuple inverse, again;
        must(kst__tuple_invert(&tuple, &inverse));
        must(kst__tuple_invert(&inverse, &again));
        must(kst__tuple_same(&tuple, &again));
        must(memcmp(tuple.src, inverse.dst, 16) == 0 && memcmp(tuple.dst, inverse.src, 16) == 0);
        must_be(kst__tuple_hash(&inverse, seed), kst__tuple_hash(&tuple, seed));
    }
}
END_TEST

/* Whether the only difference is a question in place of its answer: such tuples may hash alike. */
static bool same_icmp_pair(const struct kst_tuple *a, const struct kst_tuple *b)
{
    return kst__is_icmp(a->protocol) && a->protocol == b->protocol &&
           (a->dst_port & 0xff) == (b->dst_port & 0xff) && a->dst_port != b->dst_port &&
           kst__icmp_pair_of(a->protocol, (uint8_t)(a->dst_port >> 8)) ==
               kst__icmp_pair_of(b->protocol, (uint8_t)(b->dst_port >> 8));
}

START_TEST(every_field_counts)
{
    draw_state = 2;
    for (int i = 0; i < 3000; i++) {
        uint64_t seed[2];
        seed[0] = draw();
        seed[1] = draw();
        const struct kst_tuple tuple = draw_tuple();
        const uint64_t hash = kst__tuple_hash(&tuple, seed);
        for (size_t byte = 0; byte < sizeof tuple; byte++) {
            struct kst_tuple other = tuple, inverse;
            ((uint8_t *)&other)[byte] ^= (uint8_t)(1 << draw_below(8));
            if (tuple.family == KST_IPV4 && byte < 32 && byte % 16 >= 4)
                continue; /* always 0 */
            must(!kst__tuple_same(&tuple, &other));
            if (byte == offsetof(struct kst_tuple, family))
                other.family = (uint8_t)(KST_IPV4 + KST_IPV6 - tuple.family);
            kst__tuple_invert(&tuple, &inverse);
            if (kst__tuple_same(&other, &inverse) || same_icmp_pair(&other, &tuple))
                continue;
            about("tuple %d, byte %zu", i, byte);
            must(kst__tuple_hash(&other, seed) != hash);
        }
        for (uint32_t bit = 0; bit < 128; bit++) {
            uint64_t other[2] = {seed[0], seed[1]};
            other[bit / 64] ^= UINT64_C(1) << bit % 64;
            must(kst__tuple_hash(&tuple, other) != hash);
        }
    }
}
END_TEST

/* The counterpart of a type, -1: none (RFC 792, 950; RFC 4443, 4620). */
static int counterpart(bool v6, int type)
{
    switch (v6 ? 1000 + type : type) {
    case 8: return 0;
    case 0: return 8;
    case 13: return 14;
    case 14: return 13;
    case 15: return 16;
    case 16: return 15;
    case 17: return 18;
    case 18: return 17;
    case 1128: return 129;
    case 1129: return 128;
    case 1139: return 140;
    case 1140: return 139;
    default: return -1;
    }
}

START_TEST(icmp_counterparts)
{
    for (uint32_t i = 0; i < 2 * 65536; i++) {
        const bool v6 = i >= 65536;
        const struct kst_tuple tuple = tuple_of((struct say){.protocol = v6 ? ICMP6 : ICMP,
                                                             .v6 = v6,
                                                             .from = 1,
                                                             .to = 2,
                                                             .sport = 4660,
                                                             .dport = (uint16_t)i});
        const int type = counterpart(v6, tuple.dst_port >> 8);
        struct kst_tuple inverse;
        about("ICMP%s type %u code %u", v6 ? "v6" : "", i >> 8 & 0xff, i & 0xff);
        must_be(kst__tuple_invert(&tuple, &inverse), type >= 0);
        if (type < 0)
            continue;
        must_be(inverse.dst_port, (unsigned)type << 8 | (i & 0xff));
        must_be(inverse.src_port, 4660);
        must(memcmp(inverse.src, tuple.dst, 16) == 0 && memcmp(inverse.dst, tuple.src, 16) == 0);
        must_be(kst__icmp_is_question(&tuple) + kst__icmp_is_question(&inverse), 1);
    }
}
END_TEST

START_TEST(powers_of_two)
{
    must_be(kst__power_of_two(0), 1);
    must_be(kst__power_of_two(1), 1);
    for (uint32_t bit = 1; bit < 31; bit++) {
        must_be(kst__power_of_two((UINT32_C(1) << bit) - (bit > 1)), UINT32_C(1) << bit);
        must_be(kst__power_of_two(UINT32_C(1) << bit), UINT32_C(1) << bit);
        must_be(kst__power_of_two((UINT32_C(1) << bit) + 1), UINT32_C(1) << (bit + 1));
        must_be(kst__highest_bit((UINT64_C(3) << bit) - 1), bit + 1);
        must_be(kst__lowest_bit(UINT64_C(5) << bit), bit);
    }
}
END_TEST

SUITE("tuple", siphash_vectors, powers_of_two, fold_spreads, crc32c_vectors, both_directions_hash_alike, every_field_counts,
      icmp_counterparts)
