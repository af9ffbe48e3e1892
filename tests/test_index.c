/* SPDX-License-Identifier: MIT */
/* test_index.c - properties of whatever index is chosen: however crowded it is, a connection is
 * found by both of its tuples, with the right direction, and by no other, as an array that is
 * searched from end to end finds it; as many as `max` fit, in a table of any size; an index that is
 * full refuses by name and changes nothing, and what is removed leaves room; a connection under NAT
 * answers to its own two tuples and not to their mirrors. */
#define KST_IMPLEMENTATION
#include "support.h"

enum { FLOWS_MAX = 40 };

static bool index_is(const char *name)
{
    return strcmp(index_name(), name) == 0;
}

/* The nodes that fit a table with one bucket. */
static uint32_t one_bucket_holds(void)
{
    return index_is("robin") ? KST__ROBIN_LINE : index_is("chain") ? KST_CHAIN_MAX : KST__GROUP_NODES;
}

/* The same table elsewhere, and rubbish where it was. */
static struct kst *moved(struct kst *t, const struct kst_config *config)
{
    const size_t bytes = kst_bytes(config);
    void *elsewhere = aligned_alloc(KST_ALIGN, bytes);
    ck_assert_ptr_nonnull(elsewhere);
    memcpy(elsewhere, t, bytes);
    memset(t, 0xdb, bytes);
    free(t);
    return elsewhere;
}

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

/* So many of them, one by one and in a batch. */
static void compare_some(const struct kst *t, uint32_t count, uint32_t features)
{
    static struct kst_tuple tuples[100];
    kst_id ids[100];
    uint8_t directions[100], direction;
    const bool ask = draw_one_in(2);
    for (uint32_t i = 0; i < count; i++) {
        tuples[i] = draw_flow(features).tuple[draw_below(2)];
        compare_one(t, &tuples[i]);
    }
    kst_find_batch(t, tuples, count, ids, ask ? directions : NULL);
    for (uint32_t i = 0; i < count; i++) {
        must_be(ids[i], kst_find(t, &tuples[i], &direction));
        must(ids[i] == 0 || !ask || directions[i] == direction);
    }
}

/* Random insertions, deletions and searches, with so many buckets. */
static void random_walk(uint32_t buckets, uint32_t features, uint32_t max)
{
    const struct kst_config config = {
        .max = max, .buckets = buckets, .features = features, .seed = {buckets, features}};
    struct kst *t = table_new(config);
    const bool crowded = buckets != 0 && buckets < max && !index_is("chain");
    uint32_t refused = 0;
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
            if (crowded && why == KST_ERROR_FULL && twin_count < max)
                refused++;
            else
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
        compare_some(t, draw_one_in(50) ? 100 : draw_below(12), features);
        if (draw_one_in(100))
            t = moved(t, &config);
        must_be(kst_count(t), twin_count);
        must_be_sound(t);
    }
    must(!crowded || buckets > 1 || refused > 0);
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

START_TEST(full_index_refuses_packets)
{
    const struct kst_config config = {.max = 100, .buckets = 1};
    const uint32_t holds = one_bucket_holds();
    struct kst *t = table_new(config);
    for (uint32_t i = 0; i < holds; i++)
        must_be(track(t, 0, stranger(i)).flags, KST_CREATED);
    for (uint32_t i = 0; i < 3; i++) {
        const struct kst_result result = track(t, 0, stranger(1000));
        must_say(result, KST_REASON_CHAIN_TOO_LONG);
        must_be(result.verdict, KST_DROP);
        must_be(result.state, KST_INVALID);
        must_be(result.direction, KST_NO_DIRECTION);
        must_be(result.entry, 0);
        must_be(result.flags, 0);
        must_be(kst_count(t), holds);
        must_be_sound(t);
    }
    must_be(kst_column(t, KST_COLUMN_CHAIN_TOO_LONG), 3);
    must_be(kst_column(t, KST_COLUMN_INSERT_FAILED), 3);
    must_be(kst_column(t, KST_COLUMN_DROP), 0);
    must_be(kst_statistics(t)->created, holds);
    for (uint32_t i = 0; i < holds; i++) /* those who are in stay in */
        must_be(track(t, 0, stranger(i)).state, KST_NEW);

    const struct kst_tuple first = tuple_of(stranger(0));
    must(kst_delete(t, kst_find(t, &first, NULL)));
    must_be(track(t, 0, stranger(1000)).flags, KST_CREATED);
    free(t);
}
END_TEST

START_TEST(full_index_refuses_insertions)
{
    const uint32_t holds = one_bucket_holds();
    struct kst *t = table_new((struct kst_config){
        .max = 100, .buckets = 1, .features = KST_WITH_NAT | KST_WITH_ACCOUNTING});
    enum kst_error why;
    for (uint32_t i = 0; i < holds - 1; i++) {
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
    must_be(kst_count(t), holds);
    must_be(kst_statistics(t)->inserted, holds);
    must_be_sound(t);
    free(t);
}
END_TEST

/* The table is full too: somebody would have to go, but the newcomer gains nothing by that. */
START_TEST(full_index_evicts_nobody)
{
    const uint32_t holds = one_bucket_holds();
    struct kst *t = table_new((struct kst_config){.max = 100, .buckets = 1});
    must_be(kst_set(t, "nf_conntrack_max", holds), KST_ERROR_OK);
    for (uint32_t i = 0; i < holds; i++)
        must_be(track(t, 0, stranger(i)).flags, KST_CREATED);
    must_say(track(t, 0, stranger(1000)), KST_REASON_CHAIN_TOO_LONG);
    must_be(kst_count(t), holds);
    must_be(kst_statistics(t)->gone[KST_GONE_EVICTED], 0);
    must_be_sound(t);
    free(t);
}
END_TEST

/* ---- a crowd: connections that all want the same place, as chance would never have it ---- */

enum { CROWD_MAX = 1024, CROWDED_MAX = 1024 }; /* who wants to be in; connections in the table */
static struct kst_tuple crowd[CROWD_MAX];

/* A tuple that nobody else has, by its number. */
static struct kst_tuple numbered(uint32_t number)
{
    struct kst_tuple tuple = tuple_of(stranger((uint16_t)number));
    put_host(tuple.dst, false, (uint8_t)(100 + (number >> 16)));
    return tuple;
}

/* Draws more whose hashes choose the same place than the index has places for. Returns how many. */
static uint32_t draw_crowd(const struct kst *t)
{
    const bool robin = index_is("robin"), chain = index_is("chain");
    const uint32_t choices = robin   ? 2 * CROWDED_MAX
                             : chain ? CROWDED_MAX
                                     : CROWDED_MAX / KST__GROUP_LOAD;
    const uint32_t count = robin ? 2 * KST__ROBIN_RING : chain ? 2 * KST_CHAIN_MAX : CROWD_MAX;
    uint32_t number = 0;
    for (uint32_t found = 0; found < count; number++) {
        crowd[found] = numbered(number);
        const uint64_t hash = kst__tuple_hash(&crowd[found], t->seed);
        found += ((robin ? hash >> 32 : hash) & (choices - 1)) == 0;
    }
    return count;
}

static kst_id insert_one(struct kst *t, const struct kst_tuple *tuple)
{
    struct kst_flow flow = {.timeout_ms = 1000};
    enum kst_error why;
    flow.tuple[KST_ORIGINAL] = *tuple;
    kst__tuple_invert(tuple, &flow.tuple[KST_REPLY]);
    const kst_id id = kst_insert(t, &flow, &why);
    must(id != 0 ? why == KST_ERROR_OK : why == KST_ERROR_FULL);
    return id;
}

START_TEST(crowds_are_refused)
{
    const struct kst_config config = {.max = CROWDED_MAX, .seed = {5, 6}};
    static uint32_t order[CROWD_MAX];
    struct kst *t = table_new(config);
    uint32_t fit = 0;
    draw_state = 3;
    const uint32_t count = draw_crowd(t);
    about("a crowd of %u", count);
    for (; fit < count && insert_one(t, &crowd[fit]) != 0; fit++) {
        order[fit] = fit;
        if (fit % 50 == 0)
            must_be_sound(t);
    }
    if (index_is("chain"))
        must_be(fit, KST_CHAIN_MAX);
    else if (index_is("swiss"))
        must_be(fit, KST__SWISS_REACH * KST__GROUP_NODES);
    else if (index_is("robin"))
        must_be(fit, KST__ROBIN_RING);
    else
        must(fit > 2 * KST__GROUP_NODES && fit < count);
    must_be_sound(t);
    for (uint32_t i = 0; i < count; i++)
        must_be(kst_find(t, &crowd[i], NULL) != 0, i < fit);
    for (uint32_t left = fit; left > 0; left--) { /* they go in any order */
        const uint32_t pick = draw_below(left);
        must(kst_delete(t, kst_find(t, &crowd[order[pick]], NULL)));
        must_be(kst_find(t, &crowd[order[pick]], NULL), 0);
        order[pick] = order[left - 1];
        if (left % 50 == 0) {
            must_be_sound(t);
            t = moved(t, &config);
            for (uint32_t i = 0; i < left - 1; i++)
                must(kst_find(t, &crowd[order[i]], NULL) != 0);
        }
    }
    must_be_sound(t);
    for (uint32_t i = 0; i < CROWDED_MAX; i++) { /* and leave nothing behind */
        const struct kst_tuple tuple = numbered(i);
        about("number %u, after a crowd", i);
        must(insert_one(t, &tuple) != 0);
    }
    must_be_sound(t);
    free(t);
}
END_TEST

/* A crowd that comes more than it goes. */
START_TEST(crowds_come_and_go)
{
    const struct kst_config config = {.max = CROWDED_MAX, .seed = {7, 8}};
    static kst_id ids[CROWD_MAX];
    struct kst *t = table_new(config);
    uint32_t refused = 0;
    memset(ids, 0, sizeof ids);
    draw_state = 4;
    const uint32_t count = draw_crowd(t);
    for (uint32_t step = 0; step < 20000; step++) {
        const uint32_t i = draw_below(count);
        about("step %u, number %u", step, i);
        if (ids[i] == 0) {
            ids[i] = insert_one(t, &crowd[i]);
            refused += ids[i] == 0;
        } else if (draw_one_in(4)) {
            must(kst_delete(t, ids[i]));
            ids[i] = 0;
        }
        const uint32_t other = draw_below(count);
        must_be(kst_find(t, &crowd[other], NULL), ids[other]);
        if (step % 500 == 0)
            must_be_sound(t);
    }
    must(refused > 0);
    for (uint32_t i = 0; i < count; i++)
        must_be(kst_find(t, &crowd[i], NULL), ids[i]);
    must_be_sound(t);
    free(t);
}
END_TEST

/* An index with far fewer places than there are connections, always about as full as it can be. */
START_TEST(crammed_and_still_right)
{
    enum { CRAMMED = 200 };
    static kst_id ids[CRAMMED];
    for (uint32_t seed = 1; seed <= 6; seed++) {
        const struct kst_config config = {.max = CRAMMED, .buckets = 32, .seed = {seed, seed}};
        struct kst *t = table_new(config);
        uint32_t refused = 0;
        memset(ids, 0, sizeof ids);
        draw_state = seed;
        for (uint32_t step = 0; step < 3000; step++) {
            const uint32_t i = draw_below(CRAMMED), other = draw_below(CRAMMED);
            const struct kst_tuple tuple = numbered(i), other_tuple = numbered(other);
            about("seed %u, step %u", seed, step);
            if (ids[i] == 0) {
                ids[i] = insert_one(t, &tuple);
                refused += ids[i] == 0;
            } else if (draw_one_in(3)) {
                must(kst_delete(t, ids[i]));
                ids[i] = 0;
            }
            must_be(kst_find(t, &other_tuple, NULL), ids[other]);
            if (step % 10 == 0)
                must_be_sound(t);
        }
        must(refused > 0 || index_is("chain"));
        free(t);
    }
}
END_TEST

/* Two moves fill a large index to 99 places of 100 before anybody is refused, and all who are in are
 * found again. */
START_TEST(cuckoo_fills)
{
    enum { GROUPS = 1024, PLACES = GROUPS * KST__GROUP_NODES };
    static uint64_t hashes[PLACES];
    uint32_t count = 0, buckets = GROUPS * KST__GROUP_LOAD;
    void *ix = aligned_alloc(KST_ALIGN, kst_index_cuckoo.bytes(buckets, buckets));
    ck_assert_ptr_nonnull(ix);
    kst_index_cuckoo.init(ix, buckets, buckets);
    draw_state = 8;
    while (count < PLACES && kst_index_cuckoo.insert(ix, count, hashes[count] = draw()))
        count++;
    about("%u places of %u taken when one is refused", count, PLACES);
    must(count >= PLACES / 100 * 99);
    for (uint32_t i = 0; i < count; i++)
        kst_index_cuckoo.remove(ix, i, hashes[i]); /* which asserts that it is there */
    for (uint32_t i = 0; i < GROUPS; i++) {
        const struct kst__group *group = kst__group_at(ix, i);
        must_be(group->passed, 0);
        must_be(group->moved, 0);
        must_be(kst__group_match(group, 0), KST__GROUP_FULL);
    }
    free(ix);
}
END_TEST

/* Who had to make do with the next group comes back as soon as there is a place. */
START_TEST(swiss_takes_back)
{
    struct kst *t = table_new((struct kst_config){.max = CROWDED_MAX, .seed = {9, 9}});
    const uint32_t many = 2 * KST__GROUP_NODES + 5;
    if (!index_is("swiss")) {
        free(t);
        return;
    }
    draw_crowd(t);
    for (uint32_t i = 0; i < many; i++)
        must(insert_one(t, &crowd[i]) != 0);
    const struct kst__group *group = kst__group_at(kst__index(t), 0);
    must_be(group[0].passed, KST__GROUP_NODES + 5);
    must_be(group[1].passed, 5);
    for (uint32_t i = 0; i < KST__GROUP_NODES; i++) {
        must(kst_delete(t, kst_find(t, &crowd[i], NULL)));
        must_be(group[0].passed, KST__GROUP_NODES + 5 - (i + 1));
        must_be_sound(t);
    }
    free(t);
}
END_TEST

/* ---- a table of any size takes `max` connections, under NAT too, again and again ---- */

/* A connection that nobody else has, under NAT if the table can hold such. */
static struct kst_flow any_flow(uint32_t features, uint32_t number)
{
    struct kst_flow flow = {.timeout_ms = 1000};
    flow.tuple[KST_ORIGINAL] = numbered(number);
    kst__tuple_invert(&flow.tuple[KST_ORIGINAL], &flow.tuple[KST_REPLY]);
    if (features & KST_WITH_NAT)
        put_host(flow.tuple[KST_REPLY].dst, false, 99);
    return flow;
}

static void fill_and_drain(uint32_t max, uint32_t features)
{
    const struct kst_config config = {.max = max, .features = features, .seed = {max, 9}};
    struct kst *t = table_new(config);
    for (uint32_t round = 0; round < 2; round++) {
        about("max %u, features %u, round %u", max, features, round);
        for (uint32_t i = 0; i < max; i++) {
            const struct kst_flow flow = any_flow(features, round * max + i);
            must(kst_insert(t, &flow, NULL) != 0);
        }
        must_be_sound(t);
        must_be(kst_count(t), max);
        const struct kst_flow more = any_flow(features, 2 * max);
        must_be(kst_insert(t, &more, NULL), 0);
        must_say(track(t, 0, stranger(65535)), KST_REASON_TABLE_EVICTED); /* one more for a moment */
        must_be_sound(t);
        kst_id last = 0;
        while (kst_count(t) > 0) {
            const kst_id next = kst_next(t, last); /* leave one out, take one, until none is left */
            last = next != 0 ? kst_next(t, next) : 0;
            if (last == 0)
                last = kst_next(t, 0);
            must(kst_delete(t, last));
        }
        must_be_sound(t);
    }
    free(t);
}

START_TEST(exactly_max_fit)
{
    for (uint32_t max = 1; max <= 1500; max += 1 + max / 3) {
        fill_and_drain(max, 0);
        fill_and_drain(max, KST_WITH_NAT);
    }
    for (uint32_t max = 1; max <= 2048; max *= 2) {
        fill_and_drain(max, 0);
        fill_and_drain(max, KST_WITH_NAT);
    }
}
END_TEST

/* ---- what is fetched ahead changes nothing, whatever is asked for ---- */

START_TEST(peeking_changes_nothing)
{
    const struct kst_config config = {.max = 500, .buckets = 300, .features = KST_WITH_NAT};
    const size_t bytes = kst_bytes(&config);
    struct kst *t = table_new(config), *before;
    draw_state = 6;
    for (uint32_t i = 0; i < 500; i++) {
        const struct kst_flow flow = any_flow(draw_one_in(2) ? KST_WITH_NAT : 0, i);
        must(kst_insert(t, &flow, NULL) != 0);
    }
    before = table_new(config);
    memcpy(before, t, bytes);
    for (uint32_t i = 0; i < 2000; i++) {
        const struct kst_tuple tuple = numbered(i);
        const uint64_t hash = draw_one_in(2) ? draw() : kst__tuple_hash(&tuple, t->seed);
        if (kst__index_ops(t)->prefetch != NULL)
            kst__index_ops(t)->prefetch(kst__index(t), hash);
        if (kst__index_ops(t)->peek != NULL)
            kst__index_ops(t)->peek(kst__index(t), hash);
    }
    must(memcmp(t, before, bytes) == 0);
    free(before);
    free(t);
}
END_TEST

/* The tags of a group, one by one: what all at once must come to, by whatever means. */
START_TEST(tags_match_one_by_one)
{
    struct kst__group group;
    draw_state = 7;
    for (uint32_t step = 0; step < 20000; step++) {
        const bool alike = draw_one_in(2); /* close to each other, or anything */
        for (uint32_t i = 0; i < sizeof group; i++) {
            const uint8_t any = (uint8_t)draw();
            ((uint8_t *)&group)[i] = alike ? any & 0x81 : any;
        }
        const uint8_t tag = alike ? (uint8_t)(draw_below(2) << 7) : (uint8_t)draw();
        uint32_t expected = 0;
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++)
            expected |= (uint32_t)(group.tags[place] == tag) << place;
        about("step %u, tag %u", step, tag);
        must_be(kst__group_match(&group, tag), expected);
    }
    must_be(kst__group_tag(0), 1);
    must_be(kst__group_tag(UINT64_MAX), 255);
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

SUITE("index", as_the_array_says, full_index_refuses_packets, full_index_refuses_insertions,
      full_index_evicts_nobody, crowds_are_refused, crowds_come_and_go,
      crammed_and_still_right, cuckoo_fills, swiss_takes_back, exactly_max_fit, peeking_changes_nothing,
      tags_match_one_by_one, nat_is_found_by_its_own_tuples, nat_is_not_taken_over,
      nat_is_hit_by_packets, nat_keeps_its_answers)
