/* SPDX-License-Identifier: MIT */
/* test_table.c - properties: a wrong configuration or block is refused by name; exactly `max`
 * connections fit; when the table is full, an expired connection goes first, then the oldest of the
 * first class in the list that has stayed long enough, and nobody else: never an ASSURED one unless
 * the list says so, and never for a packet that comes to nothing. */
#define KST_IMPLEMENTATION
#include "support.h"

START_TEST(wrong_configurations)
{
    static const struct {
        struct kst_config config;
        enum kst_error why;
    } rows[] = {
        {{.max = 0}, KST_ERROR_MAX},
        {{.max = KST_ENTRIES_MAX + 1}, KST_ERROR_MAX},
        {{.max = UINT32_MAX}, KST_ERROR_MAX},
        {{.max = 1, .buckets = 2 * KST_ENTRIES_MAX + 1}, KST_ERROR_BUCKETS},
        {{.max = 1, .buckets = UINT32_MAX}, KST_ERROR_BUCKETS},
        {{.max = 1, .features = 32}, KST_ERROR_FEATURES},
        {{.max = 1, .features = UINT32_C(1) << 31}, KST_ERROR_FEATURES},
        {{.max = 1, .expectations = KST_EXPECTATIONS_MAX + 1}, KST_ERROR_EXPECTATIONS},
        {{.max = 1, .expectations = UINT32_MAX}, KST_ERROR_EXPECTATIONS},
        {{.max = 1, .events = KST_EVENTS_MAX + 1}, KST_ERROR_EVENTS},
        {{.max = 1, .events = UINT32_MAX}, KST_ERROR_EVENTS},
        {{.max = 1, .reassembly_bytes = 1}, KST_ERROR_REASSEMBLY},
        {{.max = 1, .reassembly_bytes = KST_REASSEMBLY_MIN - 1}, KST_ERROR_REASSEMBLY},
        {{.max = 1, .evict = {KST_CLASSES + 1}}, KST_ERROR_EVICT},
        {{.max = 1, .evict = {1, 255}}, KST_ERROR_EVICT},
        {{.max = 1, .evict = {1, 1}}, KST_ERROR_EVICT},
        {{.max = 1, .evict = {4, 3, 2, 4}}, KST_ERROR_EVICT},
    };
    static _Alignas(KST_ALIGN) uint8_t block[65536];
    enum kst_error why = KST_ERROR_OK;
    must_be(kst_bytes(NULL), 0);
    must(kst_init(block, sizeof block, NULL, &why) == NULL);
    must_be(why, KST_ERROR_NO_CONFIG);
    for (size_t i = 0; i < COUNT(rows); i++) {
        about("configuration %zu", i);
        must_be(kst_bytes(&rows[i].config), 0);
        must(kst_init(block, sizeof block, &rows[i].config, &why) == NULL);
        must_be(why, rows[i].why);
        must(kst_init(block, sizeof block, &rows[i].config, NULL) == NULL);
    }
    for (size_t i = 0; i < sizeof block; i++)
        must_be(block[i], 0); /* untouched */
}
END_TEST

START_TEST(right_configurations)
{
    static const struct kst_config rows[] = {
        {.max = 1},
        {.max = 1, .buckets = 1},
        {.max = 1000, .buckets = 3},
        {.max = 1, .features = KST_WITH_ACCOUNTING | KST_WITH_NAT},
        {.max = 1, .evict = {4, 3, 2, 1}},
        {.max = 1, .features = KST_WITH_TIMESTAMPS | KST_WITH_LABELS},
        {.max = 1, .expectations = KST_EXPECTATIONS_MAX, .events = KST_EVENTS_MAX},
        {.max = KST_ENTRIES_MAX, .buckets = 2 * KST_ENTRIES_MAX, .features = 15,
         .expectations = KST_EXPECTATIONS_MAX, .events = KST_EVENTS_MAX,
         .reassembly_bytes = UINT32_MAX},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const size_t bytes = kst_bytes(&rows[i]);
        about("configuration %zu", i);
        must(bytes > 0);
        must_be(bytes % KST_ALIGN, 0);
        must(bytes / rows[i].max >= 128);
    }
}
END_TEST

START_TEST(wrong_blocks)
{
    const struct kst_config config = {.max = 7, .features = KST_WITH_NAT};
    const size_t bytes = kst_bytes(&config);
    uint8_t *block = aligned_alloc(KST_ALIGN, bytes + KST_ALIGN);
    enum kst_error why = KST_ERROR_OK;
    ck_assert_ptr_nonnull(block);
    must(kst_init(NULL, bytes, &config, &why) == NULL);
    must_be(why, KST_ERROR_NO_MEMORY);
    for (size_t off = 1; off < KST_ALIGN; off++) {
        must(kst_init(block + off, bytes, &config, &why) == NULL);
        must_be(why, KST_ERROR_MEMORY_ALIGN);
    }
    must(kst_init(block, bytes - 1, &config, &why) == NULL);
    must_be(why, KST_ERROR_MEMORY_SHORT);
    must(kst_init(block, 0, &config, &why) == NULL);
    must_be(why, KST_ERROR_MEMORY_SHORT);
    must(kst_init(block, bytes, &config, &why) == (struct kst *)(void *)block);
    must_be(why, KST_ERROR_OK);
    must(kst_init(block + KST_ALIGN, bytes, &config, NULL) != NULL);
    free(block);
}
END_TEST

/* Puts one connection of this class into a table, for a minute. */
static kst_id add(struct kst *t, enum kst_class number, uint16_t port)
{
    const uint16_t answered = KST_SEEN_REPLY, assured = KST_SEEN_REPLY | KST_ASSURED;
    struct kst_flow flow = flow_of(
        (struct say){.protocol = TCP, .from = 1, .to = 2, .sport = port, .dport = 80}, 60000);
    flow.status = number == KST_CLASS_UNREPLIED ? 0
                  : number == KST_CLASS_REPLIED ? answered
                                                : assured;
    if (number == KST_CLASS_CLOSING)
        flow.state = KST_TCP_FIN_WAIT;
    const kst_id id = kst_insert(t, &flow, NULL);
    must(id != 0);
    return id;
}

static bool there(const struct kst *t, kst_id id)
{
    struct kst_flow flow;
    return kst_get(t, id, &flow);
}

START_TEST(exactly_max_fit)
{
    for (uint32_t max = 1; max <= 70; max++) {
        struct kst *t = table_new((struct kst_config){.max = max, .evict = {4}});
        const struct kst_flow late = flow_of(stranger(max), 1000);
        enum kst_error why;
        about("max %u", max);
        for (uint32_t i = 0; i < max; i++)
            must_be(track(t, 0, stranger(i)).flags, KST_CREATED);
        const struct kst_result result = track(t, 0, stranger(max));
        must_say(result, KST_REASON_TABLE_FULL);
        must_be(result.verdict, KST_DROP);
        must_be(result.state, KST_INVALID);
        must_be(result.direction, KST_NO_DIRECTION);
        must_be(result.entry, 0);
        must_be(result.flags, 0);
        must_be(kst_insert(t, &late, &why), 0);
        must_be(why, KST_ERROR_FULL);
        must_be(kst_count(t), max);
        must_be(kst_column(t, KST_COLUMN_DROP), 1);
        must_be_sound(t);
        for (uint32_t i = 0; i < max; i++)
            must_be(track(t, 0, stranger(i)).flags, 0); /* known */
        free(t);
    }
}
END_TEST

/* Every list of classes against every set of classes that the table holds. The elements of a list
 * are the digits, base 5, of its number. */
START_TEST(classes_go_in_the_order_of_the_list)
{
    for (uint32_t list = 0; list < 5 * 5 * 5 * 5; list++) {
        struct kst_config config = {.evict = {(uint8_t)(list % 5), (uint8_t)(list / 5 % 5),
                                              (uint8_t)(list / 25 % 5), (uint8_t)(list / 125)}};
        config.max = 4;
        if (kst_bytes(&config) == 0)
            continue; /* one class twice */
        const uint8_t usual[4] = {KST_CLASS_UNREPLIED + 1, KST_CLASS_REPLIED + 1};
        const uint8_t *order = list == 0 ? usual : config.evict;
        for (uint32_t present = 1; present < 16; present++) {
            kst_id ids[KST_CLASSES] = {0};
            config.max = 0;
            for (uint32_t number = 0; number < KST_CLASSES; number++)
                config.max += present >> number & 1;
            struct kst *t = table_new(config);
            for (uint32_t number = 0; number < KST_CLASSES; number++)
                if (present >> number & 1)
                    ids[number] = add(t, (enum kst_class)number, (uint16_t)number);

            kst_id victim = 0;
            for (uint32_t i = 0; i < KST_CLASSES && order[i] != 0 && victim == 0; i++)
                victim = ids[order[i] - 1];
            const struct kst_result result = track(t, 0, stranger(1));
            about("evict {%u, %u, %u, %u}, holding classes %#x", config.evict[0], config.evict[1],
                  config.evict[2], config.evict[3], present);
            must_say(result, victim != 0 ? KST_REASON_TABLE_EVICTED : KST_REASON_TABLE_FULL);
            must_be(result.verdict, victim != 0 ? KST_ACCEPT : KST_DROP);
            must_be(result.state, victim != 0 ? KST_NEW : KST_INVALID);
            must_be(result.flags, victim != 0 ? KST_CREATED : 0);
            must_be(kst_statistics(t)->gone[KST_GONE_EVICTED], victim != 0);
            must_be(kst_column(t, KST_COLUMN_EARLY_DROP), victim != 0);
            must_be(kst_count(t), config.max);
            for (uint32_t number = 0; number < KST_CLASSES; number++)
                must_be(there(t, ids[number]), ids[number] != 0 && ids[number] != victim);
            must_be_sound(t);
            free(t);
        }
    }
}
END_TEST

START_TEST(the_oldest_of_a_class_goes_first)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .evict = {KST_CLASS_REPLIED + 1}});
    for (uint32_t i = 0; i < 4; i++)
        track(t, 0, stranger(i));
    for (uint32_t i = 4; i-- > 0;) /* answered in the opposite order */
        track(t, 0, answer_to(stranger(i)));
    for (uint32_t i = 0; i < 4; i++) /* to talk on does not make younger */
        track(t, 0, stranger(3));
    for (uint32_t i = 4; i-- > 0;) {
        const struct kst_tuple tuple = tuple_of(stranger(i));
        must(kst_find(t, &tuple, NULL) != 0);
        must_say(track(t, 0, stranger(100 + i)), KST_REASON_TABLE_EVICTED);
        must_be(kst_find(t, &tuple, NULL), 0);
    }
    must_say(track(t, 0, stranger(200)), KST_REASON_TABLE_FULL); /* all UNREPLIED now */
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(residence_is_respected)
{
    /* At any time; also while the 32 bits of beats that an entry has run over, after nine years. */
    static const uint64_t starts_ms[] = {12345, KST__BEAT_MS * (UINT64_C(1) << 32) - 3072 + 57};
    for (uint32_t i = 0; i < 2; i++) {
        const uint64_t start_ms = starts_ms[i];
        const struct kst_config config = {
            .max = 1, .start_ms = start_ms, .residence_ms = {5000, 3000, 0, 0}};
        struct kst *t = table_new(config);
        track(t, start_ms, stranger(1));
        must_say(track(t, start_ms + 5000 - 65, stranger(2)), KST_REASON_TABLE_FULL);
        must_be(track(t, start_ms + 5000 - 65, answer_to(stranger(1))).direction, KST_REPLY);
        must_say(track(t, start_ms + 8000 - 65 - 65, stranger(2)), KST_REASON_TABLE_FULL); /* anew */
        must_say(track(t, start_ms + 8000, stranger(2)), KST_REASON_TABLE_EVICTED);
        must_say(track(t, start_ms + 13000 - 65, stranger(3)), KST_REASON_TABLE_FULL);
        must_say(track(t, start_ms + 13000 + 64, stranger(3)), KST_REASON_TABLE_EVICTED);
        free(t);
    }
}
END_TEST

/* A class whose oldest must stay does not stand in the way of the next class. */
START_TEST(residence_is_by_class)
{
    struct kst *t = table_new((struct kst_config){.max = 2,
                                                  .evict = {KST_CLASS_UNREPLIED + 1,
                                                            KST_CLASS_CLOSING + 1},
                                                  .residence_ms = {99999}});
    const kst_id young = add(t, KST_CLASS_UNREPLIED, 1), closing = add(t, KST_CLASS_CLOSING, 2);
    must_say(track(t, 0, stranger(1)), KST_REASON_TABLE_EVICTED);
    must(there(t, young) && !there(t, closing));
    free(t);
}
END_TEST

START_TEST(the_expired_go_before_the_living)
{
    struct kst *t = table_new((struct kst_config){.max = 3});
    track(t, 0, stranger(1));
    track(t, 10000, stranger(2));
    track(t, 20000, stranger(3));
    const struct kst_result result = track(t, 30000, stranger(4)); /* the first one's time came */
    must_say(result, KST_REASON_NONE);
    must_be(result.flags, KST_CREATED);
    must_be(kst_statistics(t)->gone[KST_GONE_EXPIRED], 1);
    must_be(kst_statistics(t)->gone[KST_GONE_EVICTED], 0);
    must_be(track(t, 30000, stranger(2)).flags, 0);
    const struct kst_flow flow = flow_of(stranger(5), 1000);
    must_be(kst_insert(t, &flow, NULL), 0);
    kst_track(t, 50000, NULL, 0, NULL); /* only the clock moves */
    must_be(kst_count(t), 3);
    must(kst_insert(t, &flow, NULL) != 0); /* makes room by itself */
    must_be_sound(t);
    free(t);
}
END_TEST

/* Even those of a class that may not be evicted. */
START_TEST(the_expired_go_whatever_their_class)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    const kst_id assured = add(t, KST_CLASS_ASSURED, 1); /* for a minute */
    const kst_id young = track(t, 59999, stranger(1)).entry;
    must_say(track(t, 60000, stranger(2)), KST_REASON_NONE);
    must(there(t, young) && !there(t, assured));
    must_be(kst_statistics(t)->gone[KST_GONE_EVICTED], 0);
    free(t);
}
END_TEST

/* The timer is busy with connections that were prolonged: the oldest has expired all the same. */
START_TEST(the_expired_go_though_the_timer_is_late)
{
    enum { BUSY = 10 * KST_COLLECT_MAX };
    struct kst *t = table_new((struct kst_config){.max = BUSY + 1});
    track(t, 0, stranger(0));
    must_be(kst_set(t, "nf_conntrack_udp_timeout", 10), KST_ERROR_OK);
    for (uint32_t i = 1; i <= BUSY; i++)
        track(t, 0, stranger(i));
    must_be(kst_set(t, "nf_conntrack_udp_timeout", 60), KST_ERROR_OK);
    for (uint32_t i = 1; i <= BUSY; i++)
        track(t, 5000, stranger(i));
    must_say(track(t, 30000, stranger(BUSY + 1)), KST_REASON_NONE);
    must_be(kst_statistics(t)->gone[KST_GONE_EXPIRED], 1);
    must_be(kst_statistics(t)->gone[KST_GONE_EVICTED], 0);
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(insertion_evicts_nobody)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    const kst_id a = add(t, KST_CLASS_UNREPLIED, 1), b = add(t, KST_CLASS_REPLIED, 2);
    const struct kst_flow flow = flow_of(stranger(1), 1000);
    enum kst_error why;
    must_be(kst_insert(t, &flow, &why), 0);
    must_be(why, KST_ERROR_FULL);
    must(there(t, a) && there(t, b));
    free(t);
}
END_TEST

START_TEST(max_lowered_and_raised)
{
    struct kst *t = table_new((struct kst_config){.max = 8});
    for (uint32_t i = 0; i < 8; i++)
        must_be(track(t, 0, stranger(i)).reason, KST_REASON_NONE);
    must_be(kst_set(t, "nf_conntrack_max", 5), KST_ERROR_OK);
    must_be(kst_count(t), 8); /* nobody is thrown out */
    for (uint32_t i = 10; i < 20; i++) {
        must_say(track(t, 0, stranger(i)), KST_REASON_TABLE_EVICTED);
        must(kst_count(t) <= 8);
    }
    const struct kst_flow flow = flow_of(stranger(30), 1000);
    kst_advance(t, 40000, 100);
    must_be(kst_count(t), 0);
    for (uint32_t i = 0; i < 5; i++)
        must_be(track(t, 40000, stranger(i)).reason, KST_REASON_NONE);
    must_be(kst_insert(t, &flow, NULL), 0);
    must_say(track(t, 40000, stranger(6)), KST_REASON_TABLE_EVICTED);
    must_be(kst_count(t), 5);
    must_be(kst_set(t, "nf_conntrack_max", 8), KST_ERROR_OK);
    must_be(track(t, 40000, stranger(7)).reason, KST_REASON_NONE);
    must_be(kst_count(t), 6);
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(invalid_packets_evict_nobody)
{
    static const struct say invalid[] = {
        {.protocol = TCP, .flags = FIN | ACK, .from = 3, .to = 4},
        {.protocol = TCP, .flags = 0, .from = 3, .to = 4},
        {.protocol = ICMP, .dport = 0x0000, .from = 3, .to = 4},
        {.protocol = ICMP, .dport = 0x0900, .from = 3, .to = 4},
        {.protocol = ICMP, .v6 = true, .dport = 0x0800, .from = 3, .to = 4},
        {.protocol = SCTP, .from = 3, .to = 4},
        {.protocol = UDPLITE, .bytes = 1, .from = 3, .to = 4},
    };
    struct kst *t = table_new((struct kst_config){.max = 2});
    const kst_id ids[2] = {track(t, 0, stranger(1)).entry, track(t, 0, stranger(2)).entry};
    for (size_t i = 0; i < COUNT(invalid); i++) {
        struct wire w = wire_of(&invalid[i]);
        if (invalid[i].protocol == UDPLITE)
            w.data[w.l4_at + 6] ^= 1;
        const struct kst_result result = track_wire(t, 0, &w);
        about("packet %zu", i);
        must_be(result.state, KST_INVALID);
        must_be(result.verdict, KST_ACCEPT);
        must(there(t, ids[0]) && there(t, ids[1]));
        must_be_sound(t);
    }
    must_be(kst_statistics(t)->created, 2);
    free(t);
}
END_TEST

/* A connection changes its class as it is answered, assured, and closed. */
START_TEST(classes_follow_the_packets)
{
    const struct say to = {.protocol = TCP, .from = 1, .to = 2, .sport = 9, .dport = 80};
    const struct say back = answer_to(to);
    static const struct {
        uint8_t reply, flags;
        uint32_t seq, ack;
        uint8_t class_;
    } steps[] = {
        {0, SYN, 100, 0, KST_CLASS_UNREPLIED},      {1, SYN | ACK, 500, 101, KST_CLASS_REPLIED},
        {0, ACK, 101, 501, KST_CLASS_ASSURED},      {1, FIN | ACK, 501, 101, KST_CLASS_CLOSING},
        {0, FIN | ACK, 101, 502, KST_CLASS_CLOSING}, {1, ACK, 502, 102, KST_CLASS_CLOSING},
    };
    struct kst *t = table_new((struct kst_config){.max = 1});
    for (size_t i = 0; i < COUNT(steps); i++) {
        struct say say = steps[i].reply ? back : to;
        say.flags = steps[i].flags;
        say.seq = steps[i].seq;
        say.ack = steps[i].ack;
        about("step %zu", i);
        must_say(track(t, 0, say), KST_REASON_NONE);
        for (uint32_t number = 0; number < KST_CLASSES; number++)
            must_be(t->classes[number].count, number == steps[i].class_);
        must_be_sound(t);
    }
    must_be(kst_class_count(t, (enum kst_class)KST_CLASSES), 0); /* there is none of this number */
    free(t);
}
END_TEST

SUITE("table", wrong_configurations, right_configurations, wrong_blocks, exactly_max_fit,
      classes_go_in_the_order_of_the_list, the_oldest_of_a_class_goes_first,
      residence_is_respected, residence_is_by_class, the_expired_go_before_the_living,
      the_expired_go_whatever_their_class, the_expired_go_though_the_timer_is_late,
      insertion_evicts_nobody, max_lowered_and_raised, invalid_packets_evict_nobody,
      classes_follow_the_packets)
