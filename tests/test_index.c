/* SPDX-License-Identifier: MIT */
/* test_index.c - properties: however long the chains, a connection is found by both of its tuples,
 * with the right direction, and by no other, as an array that is searched from end to end finds it;
 * a chain that is full refuses by name and changes nothing; a connection under NAT answers to its
 * own two tuples and not to their mirrors. */
#include "support.h"

enum { FLOWS_MAX = 40 };

/* The dumb twin. */
static struct kst_flow twin[FLOWS_MAX];
static uint32_t twin_count;

static const struct kst_flow *twin_find(const struct kst_tuple *tuple, uint8_t *direction)
{
    for (uint32_t i = 0; i < twin_count; i++)
        for (*direction = 2; (*direction)-- > 0;) /* who talks to himself is his own answer */
            if (memcmp(&twin[i].tuple[*direction], tuple, sizeof *tuple) == 0)
                return &twin[i];
    return NULL;
}

static struct kst_tuple draw_tuple(uint8_t protocol, bool v6)
{
    struct say say = {.protocol = protocol, .v6 = v6};
    say.from = (uint8_t)draw_below(3);
    say.to = (uint8_t)draw_below(3);
    say.sport = (uint16_t)draw_below(3);
    say.dport = (uint16_t)draw_below(3);
    struct kst_tuple tuple = tuple_of(say);
    tuple.zone = (uint16_t)draw_below(2);
    if (kst__is_icmp(protocol))
        tuple.dst_port = v6 ? 0x8000 : 0x0800;
    return tuple;
}

static struct kst_flow draw_flow(uint32_t features)
{
    static const uint8_t protocols[] = {UDP, UDP, TCP, ICMP};
    struct kst_flow flow = {.timeout_ms = 1000};
    uint8_t protocol = protocols[draw_below(4)];
    const bool v6 = draw_one_in(3);
    if (protocol == ICMP && v6)
        protocol = ICMP6;
    flow.tuple[KST_ORIGINAL] = draw_tuple(protocol, v6);
    flow.tuple[KST_REPLY] = draw_tuple(protocol, v6);
    flow.tuple[KST_REPLY].zone = flow.tuple[KST_ORIGINAL].zone;
    if (kst__is_icmp(protocol))
        flow.tuple[KST_REPLY].dst_port = v6 ? 0x8100 : 0x0000;
    const bool own_answer = kst__tuple_same(&flow.tuple[KST_REPLY], &flow.tuple[KST_ORIGINAL]);
    if (!(features & KST_WITH_NAT) || draw_one_in(3) || own_answer)
        kst__tuple_invert(&flow.tuple[KST_ORIGINAL], &flow.tuple[KST_REPLY]);
    flow.state = protocol == TCP ? KST_TCP_SYN_SENT : 0;
    return flow;
}

static void compare_one(const struct kst *t, const struct kst_tuple *tuple)
{
    uint8_t expected, direction = KST_NO_DIRECTION;
    const struct kst_flow *flow = twin_find(tuple, &expected);
    must_be(kst_find(t, tuple, &direction), flow != NULL ? flow->id : 0);
    if (flow != NULL)
        must_be(direction, expected);
}

/* Random insertions, deletions and searches, with so many buckets. */
static void random_walk(uint32_t buckets, uint32_t features, uint32_t max)
{
    struct kst *t = table_new((struct kst_config){
        .max = max, .buckets = buckets, .features = features, .seed = {buckets, features}});
    twin_count = 0;
    for (int step = 0; step < 4000; step++) {
        const struct kst_flow flow = draw_flow(features);
        about("%u buckets, features %u, step %d", buckets, features, step);
        if (draw_one_in(3) && twin_count > 0) {
            const uint32_t victim = draw_below(twin_count);
            must(kst_delete(t, twin[victim].id));
            must(!kst_delete(t, twin[victim].id));
            twin[victim] = twin[--twin_count];
        } else {
            uint8_t direction;
            enum kst_error why;
            const kst_id id = kst_insert(t, &flow, &why);
            must_be(why, twin_find(&flow.tuple[0], &direction) != NULL   ? KST_ERROR_FLOW_EXISTS
                         : twin_find(&flow.tuple[1], &direction) != NULL ? KST_ERROR_FLOW_EXISTS
                         : twin_count == max                             ? KST_ERROR_FULL
                                                                         : KST_ERROR_OK);
            must_be(id != 0, why == KST_ERROR_OK);
            if (id != 0) {
                twin[twin_count] = flow;
                twin[twin_count++].id = id;
            }
        }
        for (int i = 0; i < 10; i++) {
            const struct kst_flow other = draw_flow(features);
            compare_one(t, &other.tuple[draw_below(2)]);
        }
        must_be(kst_count(t), twin_count);
        must_be_sound(t);
    }
    for (uint32_t i = 0; i < twin_count; i++) {
        struct kst_flow flow;
        must(kst_get(t, twin[i].id, &flow));
        must(memcmp(flow.tuple, twin[i].tuple, sizeof flow.tuple) == 0);
        compare_one(t, &twin[i].tuple[KST_ORIGINAL]);
        compare_one(t, &twin[i].tuple[KST_REPLY]);
    }
    free(t);
}

START_TEST(as_the_array_says)
{
    static const uint32_t buckets[] = {1, 2, 8, 0, 1024};
    draw_state = 1;
    for (size_t i = 0; i < COUNT(buckets); i++) {
        random_walk(buckets[i], 0, FLOWS_MAX);
        random_walk(buckets[i], KST_WITH_NAT, 28); /* 56 nodes: below KST_CHAIN_MAX */
    }
}
END_TEST

START_TEST(full_chain_refuses_packets)
{
    const struct kst_config config = {.max = 100, .buckets = 1};
    struct kst *t = table_new(config);
    for (uint32_t i = 0; i < KST_CHAIN_MAX; i++)
        must_be(track(t, 0, stranger(i)).flags, KST_CREATED);
    for (uint32_t i = 0; i < 3; i++) {
        const struct kst_result result = track(t, 0, stranger(1000));
        must_say(result, KST_REASON_CHAIN_TOO_LONG);
        must_be(result.verdict, KST_DROP);
        must_be(result.state, KST_INVALID);
        must_be(result.direction, KST_NO_DIRECTION);
        must_be(result.entry, 0);
        must_be(result.flags, 0);
        must_be(kst_count(t), KST_CHAIN_MAX);
        must_be_sound(t);
    }
    must_be(kst_column(t, KST_COLUMN_CHAIN_TOO_LONG), 3);
    must_be(kst_column(t, KST_COLUMN_INSERT_FAILED), 3);
    must_be(kst_column(t, KST_COLUMN_DROP), 0);
    must_be(kst_statistics(t)->created, KST_CHAIN_MAX);
    for (uint32_t i = 0; i < KST_CHAIN_MAX; i++) /* those who are in stay in */
        must_be(track(t, 0, stranger(i)).state, KST_NEW);

    const struct kst_tuple first = tuple_of(stranger(0));
    must(kst_delete(t, kst_find(t, &first, NULL)));
    must_be(track(t, 0, stranger(1000)).flags, KST_CREATED);
    free(t);
}
END_TEST

START_TEST(full_chain_refuses_insertions)
{
    struct kst *t = table_new((struct kst_config){
        .max = 100, .buckets = 1, .features = KST_WITH_NAT | KST_WITH_ACCOUNTING});
    enum kst_error why;
    for (uint32_t i = 0; i < KST_CHAIN_MAX - 1; i++) {
        const struct kst_flow flow = flow_of(stranger(i), 1000);
        must(kst_insert(t, &flow, NULL) != 0);
    }
    struct kst_flow translated = flow_of(stranger(1000), 1000); /* takes two nodes, one is left */
    translated.tuple[KST_REPLY].dst_port = 2000;
    must_be(kst_insert(t, &translated, &why), 0);
    must_be(why, KST_ERROR_FULL);
    must_be_sound(t);
    struct kst_flow plain = flow_of(stranger(1000), 1000);
    must(kst_insert(t, &plain, &why) != 0);
    must_be(why, KST_ERROR_OK);
    plain = flow_of(stranger(1001), 1000);
    must_be(kst_insert(t, &plain, &why), 0);
    must_be(why, KST_ERROR_FULL);
    must_be(kst_count(t), KST_CHAIN_MAX);
    must_be(kst_statistics(t)->inserted, KST_CHAIN_MAX);
    must_be_sound(t);
    free(t);
}
END_TEST

/* The table is full too, and the one that would have to go stands in another chain: nobody gains
 * by its going. */
START_TEST(full_chain_evicts_nobody)
{
    struct kst *t = table_new((struct kst_config){.max = KST_CHAIN_MAX + 1, .buckets = 2});
    uint32_t in_chain[2] = {0, 0}, number = 0;
    while (in_chain[0] < KST_CHAIN_MAX || in_chain[1] < 1) {
        const struct kst_tuple tuple = tuple_of(stranger(++number));
        const uint64_t chain = kst__tuple_hash(&tuple, t->seed) & 1;
        if (chain == 0 ? in_chain[1] == 1 && in_chain[0] < KST_CHAIN_MAX : in_chain[1] == 0) {
            must_be(track(t, 0, stranger(number)).flags, KST_CREATED); /* chain 1's is the oldest */
            in_chain[chain]++;
        }
    }
    struct kst_tuple tuple;
    do {
        tuple = tuple_of(stranger(++number));
    } while ((kst__tuple_hash(&tuple, t->seed) & 1) != 0);
    must_say(track(t, 0, stranger(number)), KST_REASON_CHAIN_TOO_LONG);
    must_be(kst_count(t), KST_CHAIN_MAX + 1);
    must_be(kst_statistics(t)->gone[KST_GONE_EVICTED], 0);
    free(t);
}
END_TEST

/* ---- NAT: a client, 1, talks to 2; a router replaces the client's address by its own, 9 ---- */

static struct kst_flow translated(void)
{
    struct kst_flow flow = flow_of(stranger(40000), 60000);
    put_host(flow.tuple[KST_REPLY].dst, false, 9);
    flow.tuple[KST_REPLY].dst_port = 50000;
    return flow;
}

START_TEST(nat_is_found_by_its_own_tuples)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .features = KST_WITH_NAT});
    const struct kst_flow flow = translated();
    const kst_id id = kst_insert(t, &flow, NULL);
    uint8_t direction = KST_NO_DIRECTION;
    must(id != 0);
    must_be_sound(t);
    must_be(kst_find(t, &flow.tuple[KST_ORIGINAL], &direction), id);
    must_be(direction, KST_ORIGINAL);
    must_be(kst_find(t, &flow.tuple[KST_REPLY], &direction), id);
    must_be(direction, KST_REPLY);
    for (int i = 0; i < 2; i++) {
        struct kst_tuple mirror;
        kst__tuple_invert(&flow.tuple[i], &mirror);
        must_be(kst_find(t, &mirror, NULL), 0);
    }
    must(kst_delete(t, id));
    for (int i = 0; i < 2; i++)
        must_be(kst_find(t, &flow.tuple[i], NULL), 0);
    must_be_sound(t);
    must(kst_insert(t, &flow, NULL) != 0); /* both nodes were free again */
    free(t);
}
END_TEST

/* Who talks to the client itself must not get its connection: the answers to that would be the
 * client's own packets. */
START_TEST(nat_is_not_taken_over)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .features = KST_WITH_NAT});
    const struct kst_flow flow = translated();
    const kst_id id = kst_insert(t, &flow, NULL);
    struct kst_result result = track(t, 0, answer_to(stranger(40000)));
    must_say(result, KST_REASON_CLASH);
    must_be(result.verdict, KST_DROP);
    must_be(kst_column(t, KST_COLUMN_INSERT_FAILED), 1);
    must_be(kst_column(t, KST_COLUMN_DROP), 1);
    must_be_sound(t);
    must_be(track(t, 0, stranger(40000)).entry, id);
    must_be(track(t, 60000, answer_to(stranger(40000))).flags, KST_CREATED); /* it has expired */
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(nat_is_hit_by_packets)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .features = KST_WITH_NAT});
    const struct kst_flow flow = translated();
    const kst_id id = kst_insert(t, &flow, NULL);
    struct kst_result result = track(t, 0, stranger(40000));
    must_be(result.entry, id);
    must_be(result.state, KST_NEW);
    must_be(result.direction, KST_ORIGINAL);
    result = track(
        t, 0, (struct say){.protocol = UDP, .from = 2, .to = 9, .sport = 9, .dport = 50000});
    must_be(result.entry, id);
    must_be(result.state, KST_ESTABLISHED);
    must_be(result.direction, KST_REPLY);
    result = track(t, 0, stranger(40000));
    must_be(result.state, KST_ESTABLISHED);
    must_be(result.direction, KST_ORIGINAL);
    must_be(kst_count(t), 1);
    must_be_sound(t);
    free(t);
}
END_TEST

/* Somebody sends what looks like the mirror of the answers. Whatever becomes of that packet, the
 * connection's answers still belong to it. */
START_TEST(nat_keeps_its_answers)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .features = KST_WITH_NAT});
    const struct kst_flow flow = translated();
    const kst_id id = kst_insert(t, &flow, NULL);
    track(t, 0, (struct say){.protocol = UDP, .from = 9, .to = 2, .sport = 50000, .dport = 9});
    must_be(kst_find(t, &flow.tuple[KST_REPLY], NULL), id);
    must_be_sound(t);
    free(t);
}
END_TEST

SUITE("index", as_the_array_says, full_chain_refuses_packets, full_chain_refuses_insertions,
      full_chain_evicts_nobody, nat_is_found_by_its_own_tuples, nat_is_not_taken_over,
      nat_is_hit_by_packets, nat_keeps_its_answers)
