/* SPDX-License-Identifier: MIT */
/* test_check.c - property: kst_check believes a sound table, and of each lie that a block can tell it says in
 * words which one it is: every sentence that it has, by every way that leads there. */
#define KST_IMPLEMENTATION
#include "support.h"

/* ---- the tables ---- */

/* Who is where in the rich table. */
enum {
    PLAIN = 0,    /* to 17: strangers, more than a chunk of the wheel holds */
    OTHER = 1,
    BOUND = 18,   /* two of one source, translated */
    BOUND_TOO = 19,
    MASTER = 20,  /* of places 0 and 1 */
    MOTHER = 21,  /* of place 3 alone */
    ANSWERED = 22,
    FREE = 23,
};

static const struct kst_config rich_config = {
    .max = 32, .buckets = 1024, .seed = {3, 4}, .start_ms = 1000000, .expectations = 8,
    .features = KST_WITH_NAT | KST_WITH_LIMITS | KST_WITH_ACCOUNTING, .reassembly_bytes = KST_REASSEMBLY_MIN};
static const struct kst_config plain_config = {.max = 8, .buckets = 8, .seed = {3, 4}, .start_ms = 1000000};

static kst_id kst_id_at(const struct kst *t, uint32_t slot)
{
    return (kst_id)kst__entry_at(t, slot)->serial << 32 | slot;
}

static void expect_one(struct kst *t, uint32_t master, uint16_t port)
{
    struct kst_expectation x = {.master = kst_id_at(t, master), .timeout_ms = 60000};
    x.tuple = tuple_of((struct say){.protocol = UDP, .from = 9, .to = 8, .sport = 7, .dport = port});
    must_be(kst_expect(t, &x), KST_ERROR_OK);
}

/* One piece of a datagram, of 8 bytes. */
static void fragment(struct kst *t, uint64_t now_ms, uint16_t id, uint16_t at, bool more)
{
    struct wire w = wire_of(&(struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 9});
    put16(w.data + 4, id);
    put16(w.data + 6, at / 8u | (more ? 0x2000u : 0));
    put16(w.data + 10, 0);
    put16(w.data + 10, sum_folded(sum_of(0, w.data, 20)));
    track_wire(t, now_ms, &w);
}

static struct kst *rich_new(void)
{
    struct kst *t = table_new(rich_config);
    const struct kst_nat_range by = {.flags = KST_NAT_ADDRESS, .address = {{10, 0, 0, 9}, {10, 0, 0, 9}}};
    const uint64_t now_ms = rich_config.start_ms;
    for (uint32_t i = 0; i < BOUND; i++)
        track(t, now_ms, stranger(i));
    for (uint8_t i = 0; i < 2; i++) {
        const struct say say = {.protocol = UDP, .from = 3, .to = (uint8_t)(2 + i), .sport = 77, .dport = 9};
        struct wire w = wire_of(&say);
        const struct kst_packet packet = {.data = w.data, .size = w.size};
        struct kst_nat nat = {.range = {&by, NULL}, .bytes = w.data, .room = sizeof w.data};
        struct kst_result result;
        kst_track_nat(t, now_ms, &packet, &nat, 1, &result);
        must_say(result, KST_REASON_NONE);
    }
    for (uint32_t i = MASTER; i <= FREE; i++)
        track(t, now_ms, stranger(i));
    track(t, now_ms, answer_to(stranger(ANSWERED)));
    must(kst_delete(t, kst_id_at(t, FREE)));
    for (uint16_t i = 0; i < 3; i++)
        expect_one(t, MASTER, i);
    expect_one(t, MOTHER, 3);
    must(kst_expectation_delete(t, kst_expectation_own(t, kst_id_at(t, MASTER), 0))); /* place 2 */
    fragment(t, now_ms, 1, 0, true); /* two pieces with a gap, then one; a third datagram is given up: */
    fragment(t, now_ms, 1, 16, true);
    fragment(t, now_ms, 2, 0, true);
    fragment(t, now_ms, 3, 8, false);
    fragment(t, now_ms, 3, 16, false); /* another end */
    return t;
}

static struct kst *plain_new(void)
{
    struct kst *t = table_new(plain_config);
    for (uint32_t i = 0; i < 7; i++)
        track(t, plain_config.start_ms, stranger(i));
    must(kst_delete(t, kst_id_at(t, 6)));
    return t;
}

/* Tells one lie, the one of this number; what kst_check has to say then, NULL if there are not so many. */
#define LIE(sentence, ...)                                                                         \
    if (number-- == 0) {                                                                           \
        __VA_ARGS__;                                                                               \
        return sentence;                                                                           \
    }
typedef const char *tell(struct kst *t, uint32_t number);

static void must_be_noticed(struct kst *(*make)(void), tell *lie, uint32_t least)
{
    for (uint32_t number = 0;; number++) {
        struct kst *t = make();
        const char *broken = "";
        about("lie %u", number);
        must(kst_check(t, &broken));
        must(broken == NULL);
        const char *sentence = lie(t, number);
        if (sentence != NULL) {
            must(!kst_check(t, &broken));
            must(broken != NULL);
            must_read(broken, sentence);
            must(!kst_check(t, NULL));
        }
        free(t);
        if (sentence == NULL) {
            must(number >= least);
            return;
        }
    }
}

/* ---- the pool, its entries, their classes ---- */

static struct kst__entry *entry(const struct kst *t, uint32_t slot)
{
    return kst__entry_at(t, slot);
}

/* An entry gets another tuple, and is found by it. */
static void rename_entry(struct kst *t, uint32_t slot, struct kst_tuple tuple)
{
    kst__index_ops(t)->remove(kst__index(t), slot, kst__tuple_hash(&entry(t, slot)->tuple, t->seed));
    entry(t, slot)->tuple = tuple;
    must(kst__index_ops(t)->insert(kst__index(t), slot, kst__tuple_hash(&tuple, t->seed)));
}

static const char *lie_of_the_pool(struct kst *t, uint32_t number)
{
    LIE("pool: more slots in use than there are", t->used = kst__slots(t) + 1)
    LIE("pool: more slots in use than there are", t->count = t->capacity + 1)
    LIE("pool: who came and who went does not make who is there", t->stats.created++)
    LIE("pool: who came and who went does not make who is there", t->stats.gone[KST_GONE_EXPIRED]++)
    LIE("pool: the free list leads astray", t->free = t->used)
    LIE("pool: the free list leads astray", t->free = PLAIN)
    LIE("pool: the free list leads astray", entry(t, FREE)->newer = FREE)
    LIE("pool: what is pending is in the table", t->pending = t->used)
    LIE("pool: what is pending is in the table", t->pending = PLAIN)
    LIE("pool: a slot is lost", t->free = KST__NONE)
    LIE("pool: a slot is lost", t->count--; t->stats.gone[KST_GONE_EXPIRED]++)
    LIE("pool: the states are counted wrong", t->states[0][0]++)
    LIE("entry: zones of one direction are counted wrong", t->apart++)
    LIE("entry: in the wrong class", entry(t, PLAIN)->kind ^= KST_CLASS_UNREPLIED ^ KST_CLASS_REPLIED)
    LIE("entry: ASSURED without a reply", struct kst__entry *e = entry(t, PLAIN); e->status |= KST_ASSURED;
        e->kind = (uint8_t)((e->kind & ~KST__KIND_CLASS) | kst__class_of(e)))
    LIE("entry: not a state of its protocol", entry(t, PLAIN)->state = 1)
    LIE("entry: without a serial number", entry(t, PLAIN)->serial = 0)
    LIE("entry: its tuple has no inverse",
        rename_entry(t, PLAIN, tuple_of((struct say){.protocol = ICMP, .dport = 0x0900})))
    LIE("entry: translated, and its tuples mirror each other", entry(t, PLAIN)->status |= KST_SRC_NAT)
    LIE("entry: translated, and its tuples mirror each other", entry(t, PLAIN)->status |= KST_DST_NAT)
    LIE("class: a link leads astray", t->classes[KST_CLASS_UNREPLIED].oldest = FREE)
    LIE("class: neighbours disagree", t->classes[KST_CLASS_REPLIED].oldest = PLAIN)
    LIE("class: neighbours disagree", entry(t, OTHER)->older = OTHER)
    LIE("class: not in the order of joining", entry(t, OTHER)->joined -= 10)
    LIE("class: the count or the end is wrong", t->classes[KST_CLASS_UNREPLIED].newest = OTHER)
    LIE("class: the count or the end is wrong", t->classes[KST_CLASS_UNREPLIED].count--)
    LIE("class: an entry is in none", kst__class_leave(t, PLAIN))
    LIE("index: an entry is not found by its original tuple",
        kst__index_ops(t)->remove(kst__index(t), PLAIN, kst__tuple_hash(&entry(t, PLAIN)->tuple, t->seed)))
    LIE("index: an entry is not found by its original tuple", rename_entry(t, PLAIN, entry(t, OTHER)->tuple);
        rename_entry(t, OTHER, entry(t, OTHER)->tuple))
    LIE("index: an entry is not found by its reply tuple",
        kst__index_ops(t)->remove(kst__index(t), BOUND + kst__slots(t), kst__reply_hash(t, BOUND)))
    LIE("index: an entry is not found by its reply tuple", /* two have the same answers */
        kst__index_ops(t)->remove(kst__index(t), BOUND + kst__slots(t), kst__reply_hash(t, BOUND));
        *kst__reply_tuple(t, BOUND) = *kst__reply_tuple(t, BOUND_TOO);
        must(kst__index_ops(t)->insert(kst__index(t), BOUND + kst__slots(t), kst__reply_hash(t, BOUND)));
        kst__index_ops(t)->remove(kst__index(t), BOUND_TOO + kst__slots(t), kst__reply_hash(t, BOUND_TOO)))
    LIE("index: it does not hold each entry once for each tuple of its own",
        *kst__reply_tuple(t, PLAIN) = tuple_of(answer_to(stranger(PLAIN)));
        must(kst__index_ops(t)->insert(kst__index(t), PLAIN + kst__slots(t), kst__reply_hash(t, PLAIN))))
    LIE("timer: an entry is not armed", kst__timer_ops(t)->disarm(kst__timer(t), PLAIN))
    return NULL;
}

START_TEST(of_the_pool)
{
    must_be_noticed(rich_new, lie_of_the_pool, 30);
}
END_TEST

/* What needs memory that was not asked for. */
static const char *lie_without_features(struct kst *t, uint32_t number)
{
    LIE("entry: NAT without memory for it", entry(t, PLAIN)->kind |= KST__KIND_NAT)
    LIE("entry: translated without memory for it", entry(t, PLAIN)->status |= KST_SRC_NAT_DONE)
    LIE("entry: helped without memory for it", entry(t, PLAIN)->kind |= KST__KIND_HELP)
    LIE("entry: counters without memory for them", entry(t, PLAIN)->kind |= KST__KIND_ACCOUNTED)
    return NULL;
}

START_TEST(of_features)
{
    must_be_noticed(plain_new, lie_without_features, 4);
}
END_TEST

/* ---- sources, tallies ---- */

/* The oldest of those who were first: the last of its list that is walked. */
static const char *lie_of_sources(struct kst *t, uint32_t number)
{
    uint32_t *list = kst__source_list(t, &entry(t, BOUND)->tuple);
    uint32_t *other = (uint32_t *)kst__at(t, t->sources_at);
    while (*other != KST__NONE)
        other++;
    must_be(*list, BOUND_TOO);
    LIE("source: a list leads astray", *other = FREE)
    LIE("source: a list leads astray", entry(t, BOUND)->status &= (uint16_t)~KST_SRC_NAT_DONE)
    LIE("source: a list leads astray", entry(t, BOUND_TOO)->status &= (uint16_t)~KST_SRC_NAT_DONE)
    LIE("source: a list leads astray", kst__source_at(t, BOUND)->newer = KST__NONE)
    LIE("source: a list leads astray", *other = *list; *list = KST__NONE)
    LIE("source: one is in no list", kst__source_leave(t, BOUND))
    return NULL;
}

START_TEST(of_sources)
{
    must_be_noticed(rich_new, lie_of_sources, 6);
}
END_TEST

static const char *lie_of_tallies(struct kst *t, uint32_t number)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    struct kst__tally like;
    const struct kst_tuple tuple = tuple_of(stranger(0)), lone = tuple_of((struct say){.from = 77});
    uint32_t *bucket = kst__tally_of(t, &tuple, true, &like);
    kst__tally_add(t, &lone, true); /* one comes and goes: its place is free */
    kst__tally_drop(t, &lone, true);
    must(*bucket != KST__NONE && tallies->free != KST__NONE);
    LIE("limit: more tallies than there may be", tallies->used = 2 * kst__slots(t) + 1)
    LIE("limit: a chain leads astray", *bucket = tallies->used)
    LIE("limit: a chain leads astray", kst__tally_at(t, *bucket)->next = *bucket)
    LIE("limit: a tally of nothing", kst__tally_at(t, *bucket)->count = 0)
    LIE("limit: the free list leads astray", tallies->free = tallies->used)
    LIE("limit: the free list leads astray", kst__tally_at(t, tallies->free)->next = tallies->free)
    LIE("limit: a tally is lost", tallies->free = KST__NONE)
    LIE("limit: a connection is in none", kst__tally_at(t, *bucket)->count--)
    return NULL;
}

START_TEST(of_tallies)
{
    must_be_noticed(rich_new, lie_of_tallies, 8);
}
END_TEST

/* ---- expectations ---- */

/* A place is in no list of its master's any more, who is somebody else. */
static void orphan(struct kst *t, uint32_t place, uint32_t master)
{
    kst__help_at(t, MOTHER)->newest = KST__NONE;
    kst__help_at(t, MOTHER)->expecting[0] = 0;
    kst__expected_at(t, place)->master = master;
}

static const char *lie_of_expectations(struct kst *t, uint32_t number)
{
    struct kst__expectations *all = kst__expectations_of(t);
    struct kst__help *help = kst__help_at(t, MASTER);
    uint32_t *buckets = kst__expect_buckets_of(t), *before = NULL, *after = NULL, *full = NULL;
    for (uint32_t i = 0; i < all->buckets; i++) { /* the first that holds any; an empty one before and behind all */
        if (buckets[i] != KST__NONE)
            after = NULL;
        if (buckets[i] != KST__NONE && full == NULL)
            full = &buckets[i];
        if (buckets[i] == KST__NONE)
            *(full == NULL ? &before : &after) = &buckets[i];
    }
    must(before != NULL && full != NULL && after != NULL);
    LIE("expectation: a master's list leads astray", help->newest = all->used)
    LIE("expectation: a master's list leads astray",
        kst__timer_ops(t)->disarm(kst__timer(t), kst__slots(t) + 1);
        kst__expected_at(t, 1)->serial = 0)
    LIE("expectation: a master's list leads astray", kst__expected_at(t, 1)->master = MOTHER)
    LIE("expectation: a master's list leads astray", kst__expected_at(t, 0)->own_newer = KST__NONE)
    LIE("expectation: a master has counted wrong", help->expecting[3]++)
    LIE("expectation: more places in use than there are", all->used = t->expectations_max + 1)
    LIE("expectation: the free list leads astray", all->free = all->used)
    LIE("expectation: the free list leads astray", all->free = 0)
    LIE("expectation: the free list leads astray", kst__expected_at(t, all->free)->older = all->free)
    LIE("expectation: without a master", orphan(t, 3, FREE))
    LIE("expectation: without a master", orphan(t, 3, PLAIN))
    LIE("expectation: a bucket leads astray", *after = all->used)
    LIE("expectation: a bucket leads astray", kst__expected_at(t, 0)->newer = 0)
    LIE("expectation: a bucket leads astray", *after = all->free; kst__expected_at(t, all->free)->newer = KST__NONE)
    LIE("expectation: a bucket leads astray", *after = *full)
    LIE("expectation: a bucket leads astray", *before = *full; *full = KST__NONE)
    LIE("expectation: one is lost", *full = KST__NONE)
    LIE("expectation: one is lost", all->free = KST__NONE)
    LIE("expectation: one is lost", all->keys++)
    LIE("expectation: one is lost", all->count++)
    LIE("expectation: who came and who went does not make who is there", t->stats.expect_create++)
    return NULL;
}

START_TEST(of_expectations)
{
    must_be_noticed(rich_new, lie_of_expectations, 21);
}
END_TEST

/* ---- reassembly ---- */

static const char *lie_of_reassembly(struct kst *t, uint32_t number)
{
    struct kst__defrag *d = kst__defrag_at(t);
    struct kst__queue *first = kst__queue_at(d, d->oldest[0]), *second = kst__queue_at(d, first->newer);
    must(first->fragments == 2 && second->fragments == 1 && second->newer == KST__NONE);
    must(d->queues_free != KST__NONE && d->cells_free != KST__NONE);
    LIE("reassembly: the list of datagrams leads astray", d->queues_count = 1)
    LIE("reassembly: the list of datagrams leads astray", second->older = KST__NONE)
    LIE("reassembly: the list of datagrams leads astray", second->key.family = KST_IPV6)
    LIE("reassembly: the list of datagrams leads astray", second->newer = UINT32_C(1) << 30)
    LIE("reassembly: a datagram expires before an older one", second->expires_ms = first->expires_ms - 1)
    LIE("reassembly: a datagram is not found", first->hash++)
    LIE("reassembly: a datagram is not found", first->key.id++; *kst__bucket(d, first->hash) = KST__NONE)
    LIE("reassembly: fragments overlap", kst__cell_at(d, kst__cell_at(d, first->first)->after)->at = 4)
    LIE("reassembly: fragments overlap", first->first = UINT32_C(1) << 30)
    LIE("reassembly: fragments overlap", kst__cell_at(d, first->first)->length = 0)
    LIE("reassembly: fragments overlap", first->fragments--)
    LIE("reassembly: the last fragment is not the last", first->last = first->first)
    LIE("reassembly: a datagram's counts are wrong", first->held++)
    LIE("reassembly: a datagram's counts are wrong", first->fragments++)
    LIE("reassembly: a datagram's counts are wrong", first->end--)
    LIE("reassembly: the list of datagrams has no end", d->newest[0] = d->oldest[0])
    LIE("reassembly: the free datagrams lead astray", d->queues_free = d->queues_used)
    LIE("reassembly: the free datagrams lead astray", kst__queue_at(d, d->queues_free)->next = d->queues_free)
    LIE("reassembly: the free cells lead astray", d->cells_free = d->cells_used)
    LIE("reassembly: the free cells lead astray", kst__cell_at(d, d->cells_free)->next = d->cells_free)
    LIE("reassembly: memory is lost", d->queues_count++)
    LIE("reassembly: memory is lost", d->queues_used++)
    LIE("reassembly: memory is lost", d->cells_count++)
    LIE("reassembly: memory is lost", d->cells_used++)
    return NULL;
}

START_TEST(of_reassembly)
{
    must_be_noticed(rich_new, lie_of_reassembly, 22);
}
END_TEST

/* ---- indexes ---- */

static uint64_t hash_of(const struct kst *t, uint32_t node)
{
    return kst__node_hash(t, node);
}

static const char *lie_of_chain(struct kst *t, uint32_t number)
{
    struct kst__chain *chain = kst__index(t);
    uint64_t empty = 0;
    while (*kst__chain_head(chain, empty) != KST__NONE)
        empty++;
    LIE("chain: not as many buckets as there should be", chain->mask = chain->mask * 2 + 1)
    LIE("chain: a link leads astray", *kst__chain_head(chain, empty) = kst__nodes(t))
    LIE("chain: a link leads astray", kst__chain_link(chain, PLAIN)->next = PLAIN)
    LIE("chain: a free entry is linked", *kst__chain_head(chain, empty) = FREE)
    LIE("chain: an entry is linked under a hash that is not its own", kst__chain_link(chain, PLAIN)->tag ^= 1)
    LIE("chain: an entry is linked under a hash that is not its own", *kst__chain_head(chain, empty) = PLAIN)
    return NULL;
}

static struct kst__place *place_of(const struct kst *t, uint32_t node, uint32_t *number)
{
    *number = kst__robin_home(kst__index(t), (uint32_t)(hash_of(t, node) >> 32));
    while (kst__robin_at(kst__index(t), *number)->node != node)
        *number = kst__robin_next(kst__index(t), *number);
    return kst__robin_at(kst__index(t), *number);
}

/* Takes a place to another, which is free. */
static void place_move(struct kst *t, struct kst__place *place, uint32_t to)
{
    must_be(kst__robin_at(kst__index(t), to)->node, KST__NONE);
    *kst__robin_at(kst__index(t), to) = *place;
    place->node = KST__NONE;
}

static const char *lie_of_robin(struct kst *t, uint32_t number)
{
    struct kst__robin *robin = kst__index(t);
    uint32_t at, at_other;
    struct kst__place *place = place_of(t, PLAIN, &at), *other = place_of(t, OTHER, &at_other);
    LIE("robin: not as many places as there should be", robin->mask = robin->mask * 2 + 1)
    LIE("robin: rings of a wrong size", robin->ring /= 2)
    LIE("robin: an entry lies further from home than need be", place_move(t, place, kst__robin_next(robin, at)))
    LIE("robin: an entry lies further from home than need be", place_move(t, other, kst__robin_next(robin, at)))
    LIE("robin: a place leads astray", place->node = kst__nodes(t))
    LIE("robin: a free entry has a place", place->node = FREE)
    LIE("robin: an entry lies under a hash that is not its own", place->bits ^= UINT32_C(1) << 31)
    LIE("robin: an entry lies in another ring than its own", place_move(t, place, at ^ (robin->ring + 1)))
    return NULL;
}

/* The group of a node, and its place there. */
static struct kst__group *group_of(const struct kst *t, uint32_t node, uint64_t *number, uint32_t *place)
{
    const struct kst__groups *groups = kst__index(t);
    for (*number = 0; *number <= groups->mask; ++*number) {
        struct kst__group *group = kst__group_at(groups, *number);
        for (*place = 0; *place < KST__GROUP_NODES; ++*place)
            if (group->tags[*place] != 0 && group->nodes[*place] == node)
                return group;
    }
    ck_abort_msg("%s: node %u is nowhere", about_text, node);
}

/* Takes a node to another group, which says so or not. */
static void group_move(struct kst *t, uint32_t node, uint64_t to, bool moved)
{
    uint64_t from;
    uint32_t place;
    struct kst__group *group = group_of(t, node, &from, &place), *other = kst__group_at(kst__index(t), to);
    const uint32_t there = kst__group_free(other);
    must(there != KST__NONE && from != to);
    kst__group_put(other, there, group->tags[place], node, moved);
    kst__group_clear(group, place);
}

static const char *lie_of_groups(struct kst *t, uint32_t number)
{
    struct kst__groups *groups = kst__index(t);
    const bool swiss = strcmp(kst__index_ops(t)->name, "swiss") == 0;
    uint64_t home;
    uint32_t place;
    struct kst__group *group = group_of(t, PLAIN, &home, &place);
    const uint64_t next = (home + 1) & groups->mask, across = kst__cuckoo_across(groups, home, group->tags[place]);
    LIE(swiss ? "swiss: not as many groups as there should be" : "cuckoo: not as many groups as there should be",
        groups->mask = groups->mask * 2 + 1)
    LIE("group: a free place has been moved to", group->moved |= (uint16_t)(1U << kst__group_free(group)))
    LIE("group: a node leads astray", group->nodes[place] = kst__nodes(t))
    LIE("group: a free entry is in the index", group->nodes[place] = FREE)
    LIE("group: an entry has a tag that is not its own", group->tags[place] ^= 1)
    LIE("group: more has been moved than there are places", group->moved |= 1U << KST__GROUP_NODES)
    LIE(swiss ? "swiss: an entry does not know the group that it belongs in"
              : "cuckoo: an entry lies in neither of its groups",
        group->moved ^= (uint16_t)(1U << place))
    LIE(swiss ? "swiss: a group does not know how many went past it" : "cuckoo: a group does not know how many lie across",
        group->passed++)
    LIE(swiss ? "swiss: a group does not know who went past it" : "cuckoo: a group does not know who lies across",
        group_move(t, PLAIN, swiss ? next : across, true))
    if (!swiss)
        return NULL;
    LIE("swiss: a search would go on for too long", groups->reach = KST__SWISS_REACH + 1)
    LIE("swiss: an entry lies out of reach", group_move(t, PLAIN, (home + groups->reach) & groups->mask, false))
    LIE("swiss: an entry does not know the group that it belongs in", group->passed++; group_move(t, PLAIN, next, false))
    return NULL;
}

static const char *lie_of_the_index(struct kst *t, uint32_t number)
{
    const char *name = kst__index_ops(t)->name;
    return strcmp(name, "chain") == 0   ? lie_of_chain(t, number)
           : strcmp(name, "robin") == 0 ? lie_of_robin(t, number)
                                        : lie_of_groups(t, number);
}

START_TEST(of_indexes)
{
    must_be_noticed(rich_new, lie_of_the_index, 6);
}
END_TEST

/* Of a small one: fewer groups than a search may look at. */
static const char *lie_of_a_small_index(struct kst *t, uint32_t number)
{
    struct kst__groups *groups = kst__index(t);
    if (strcmp(kst__index_ops(t)->name, "swiss") != 0)
        return NULL;
    LIE("swiss: a search would go on for too long", groups->reach++)
    return NULL;
}

START_TEST(of_a_small_index)
{
    must_be_noticed(plain_new, lie_of_a_small_index, 0);
}
END_TEST

/* ---- timers ---- */

static const char *lie_of_wheel(struct kst *t, uint32_t number)
{
    struct kst__wheel *w = kst__timer(t);
    struct kst__chunk *chunk = kst__wheel_chunk(w, *kst__wheel_where(w, PLAIN) / KST__CHUNK_REFS);
    struct kst__chunk *front = kst__wheel_chunk(w, w->first[chunk->place]);
    uint32_t empty = 0;
    while (w->first[empty] != KST__NONE)
        empty++;
    must(front != chunk && chunk->count == KST__CHUNK_REFS && chunk->next == KST__NONE);
    LIE("wheel: the free chunks lead astray", w->chunks_free = w->chunks_used)
    LIE("wheel: the free chunks lead astray", w->chunks_free = front->next; chunk->next = front->next)
    LIE("wheel: a place's bit lies", w->pending[0] ^= 1)
    LIE("wheel: a place holds something that the clock has passed", w->clock_ms += 40000)
    LIE("wheel: a chunk leads astray", chunk->next = w->chunks_used)
    LIE("wheel: a chunk leads astray", chunk->next = front->next) /* itself */
    LIE("wheel: a chunk is not as full as it should be", front->place++)
    LIE("wheel: a chunk is not as full as it should be", front->count = 0)
    LIE("wheel: a chunk is not as full as it should be", front->count = KST__CHUNK_REFS + 1)
    LIE("wheel: a chunk is not as full as it should be", chunk->count--)
    LIE("wheel: an entry does not know its place", *kst__wheel_where(w, PLAIN) += 1)
    LIE("wheel: a free entry is armed", front->ref[0] = kst__timed(t))
    LIE("wheel: a chunk is lost", w->chunks_used++)
    return NULL;
}

static const char *lie_of_hashed(struct kst *t, uint32_t number)
{
    struct kst__hashed *w = kst__timer(t);
    uint32_t empty = 0, full = 0; /* the first place of a word that is 0, and one that holds something */
    while (*kst__hashed_bits(w, 0, empty / 64) != 0)
        empty += 64;
    while (*kst__hashed_first(w, full) == KST__NONE)
        full++;
    LIE("hashed: the clock has gone astray", w->turned_ms = w->clock_ms - 1; w->jumped_ms = w->clock_ms)
    LIE("hashed: the clock has gone astray", w->turned_ms = w->clock_ms + 2; w->jumped_ms = w->clock_ms + 1)
    LIE("hashed: a link leads astray", *kst__hashed_first(w, full) = w->slots)
    LIE("hashed: a place's bit lies", *kst__hashed_first(w, empty) = w->slots)
    LIE("hashed: a place's bit lies", *kst__hashed_first(w, empty + 1) = w->slots)
    LIE("hashed: neighbours disagree", kst__hashed_link_at(w, PLAIN)->last = PLAIN)
    LIE("hashed: an entry lies later than it expires", w->clock_ms += 30000) /* as if what is there had been passed */
    LIE("hashed: a place's bit lies", *kst__hashed_bits(w, 0, empty / 64) ^= UINT64_C(1) << empty % 64)
    LIE("hashed: a word's bit lies", *kst__hashed_bits(w, 2, 0) ^= 1)
    return NULL;
}

static const char *lie_of_lists(struct kst *t, uint32_t number)
{
    struct kst__lists *l = kst__timer(t);
    uint32_t node = PLAIN;
    while (kst__lists_at(l, node)->last < l->slots)
        node = kst__lists_at(l, node)->last;
    struct kst__lists_node *head = kst__lists_at(l, node), *second = kst__lists_at(l, head->next);
    struct kst__lists_node *ring = kst__lists_at(l, head->last), *idle = kst__lists_at(l, l->slots);
    must(head->next < l->slots);
    LIE("lists: a link leads astray", idle->next = l->slots + 1)
    LIE("lists: neighbours disagree", second->last = head->next)
    LIE("lists: neighbours disagree", ring->last = node)
    LIE("lists: a list is out of order", second->key_ms--; l->soonest_ms = 0)
    LIE("lists: a list is out of order", l->soonest_ms = head->key_ms + 1)
    LIE("lists: a list does not know its head", ring->key_ms--)
    LIE("lists: an entry lies later than it expires", entry(t, node)->expires_ms--)
    LIE("lists: a list's bit lies", l->pending[0] ^= 1)
    return NULL;
}

static const char *lie_of_heap(struct kst *t, uint32_t number)
{
    struct kst__heap *h = kst__timer(t);
    LIE("heap: more is armed than there are slots", h->count = h->slots + 1)
    LIE("heap: a free entry is armed", *kst__heap_slot(h, 0) = h->slots)
    LIE("heap: an entry does not know its place", *kst__heap_where(h, PLAIN) += 1)
    LIE("heap: a parent comes after its child", *kst__heap_due(h, 1) = 0)
    LIE("heap: an entry lies later than it expires", *kst__heap_due(h, 0) += 1)
    return NULL;
}

/* Those that all have, then its own. */
static const char *lie_of_the_timer(struct kst *t, uint32_t number)
{
    static char sentence[64];
    const char *name = kst__timer_ops(t)->name;
    snprintf(sentence, sizeof sentence, "%s: a free entry is armed", name);
    LIE(sentence, kst__timer_ops(t)->arm(kst__timer(t), FREE, t->now_ms + 5000))
    LIE(sentence, kst__timer_ops(t)->arm(kst__timer(t), kst__slots(t) + kst__expectations_of(t)->free, t->now_ms + 5000))
    LIE(sentence, kst__timer_ops(t)->arm(kst__timer(t), kst__slots(t) + kst__expectations_of(t)->used, t->now_ms + 5000))
    snprintf(sentence, sizeof sentence, "%s: an entry lies later than it expires", name);
    LIE(sentence, entry(t, PLAIN)->expires_ms = t->now_ms + 1)
    return strcmp(name, "wheel") == 0    ? lie_of_wheel(t, number)
           : strcmp(name, "hashed") == 0 ? lie_of_hashed(t, number)
           : strcmp(name, "lists") == 0  ? lie_of_lists(t, number)
                                         : lie_of_heap(t, number);
}

START_TEST(of_timers)
{
    must_be_noticed(rich_new, lie_of_the_timer, 9);
}
END_TEST

SUITE("check", of_the_pool, of_features, of_sources, of_tallies, of_expectations, of_reassembly, of_indexes,
      of_a_small_index, of_timers)
