/* SPDX-License-Identifier: MIT */
/* index.c - property: whatever is put into an index and taken out of it, in whatever order, each of the four
 * finds a node that matches exactly when there is one, holds what it was given and nothing else, and refuses
 * just where there is no place; wherever its memory lies.
 *
 * The model is an array of what is in. A table lends its entries, whose tuples come from a world so small
 * that they meet again; they may be under NAT, with two nodes. */
#include "rig.h"

enum { ENTRIES = 112, NODES = 2 * ENTRIES, STEPS_MAX = 600, BACKS = 4 };

static const struct kst_index_ops *const *const backs = kst__indexes;
typedef char backs_are_all[(uint32_t)KST__INDEXES == BACKS ? 1 : -1];
typedef char a_chain_can_be_full[NODES > KST_CHAIN_MAX ? 1 : -1];

static struct {
    struct kst *t;
    uint32_t buckets, used; /* entries of the table that this input has */
    bool grows;             /* few are taken out, so that it fills up */
    void *memory[BACKS];
    size_t bytes[BACKS];
    bool in[BACKS][NODES];
    uint64_t hash[NODES]; /* under which it was inserted */
    uint32_t step;
} rig;

static uint32_t node_count(uint32_t back)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODES; i++)
        count += rig.in[back][i];
    return count;
}

static bool slot_free(uint32_t slot)
{
    for (uint32_t i = 0; i < BACKS; i++)
        if (rig.in[i][slot] || rig.in[i][slot + ENTRIES])
            return false;
    return true;
}

static struct kst_tuple draw_tuple(void)
{
    struct kst_tuple tuple;
    const uint32_t kind = draw8(), hosts = draw8(), ports = draw8();
    memset(&tuple, 0, sizeof tuple);
    tuple.family = kind & 1 ? KST_IPV6 : KST_IPV4;
    tuple.protocol = (uint8_t)(kind & 6 ? (kind & 2 ? KST__TCP : KST__UDP) : kind & 1 ? KST__ICMPV6 : KST__ICMP);
    tuple.src[0] = tuple.dst[0] = 10;
    tuple.src[tuple.family == KST_IPV4 ? 3 : 15] = hosts & 3;
    tuple.dst[tuple.family == KST_IPV4 ? 3 : 15] = hosts >> 2 & 3;
    tuple.src_port = ports & 7;
    tuple.dst_port = ports >> 3 & 7;
    if (kst__is_icmp(tuple.protocol))
        tuple.dst_port = tuple.family == KST_IPV4 ? 0x0800 : 0x8000;
    tuple.zone = ports >> 6 & 1;
    return tuple;
}

/* Whether a node that is in matches, by the plainest comparison there is. */
static bool model_matches(uint32_t back, uint32_t node, const struct kst__key *key)
{
    if (!rig.in[back][node])
        return false;
    const uint32_t slot = node % ENTRIES;
    const struct kst__entry *e = kst__entry_at(rig.t, slot);
    const bool nat = (e->kind & KST__KIND_NAT) != 0;
    const struct kst_tuple *own = node < ENTRIES ? &e->tuple : kst__reply_tuple(rig.t, slot);
    const bool as_is = memcmp(own, &key->tuple, sizeof *own) == 0;
    struct kst_tuple inverse;
    const bool mirrored =
        !nat && kst__tuple_invert(&key->tuple, &inverse) && memcmp(own, &inverse, sizeof *own) == 0;
    if (!as_is && !mirrored)
        return false;
    const uint32_t way = nat ? (node < ENTRIES ? KST_ORIGINAL : KST_REPLY) : mirrored ? KST_REPLY : KST_ORIGINAL;
    return key->only == KST_NO_DIRECTION || key->only == way;
}

static void look_for(const struct kst__key *key)
{
    for (uint32_t back = 0; back < BACKS; back++) {
        bool there = false;
        for (uint32_t node = 0; node < NODES; node++)
            there = there || model_matches(back, node, key);
        if (backs[back]->prefetch != NULL)
            backs[back]->prefetch(rig.memory[back], key->hash);
        if (backs[back]->peek != NULL)
            fuzz_must(backs[back]->peek(rig.memory[back], key->hash) + 1 <= NODES); /* or NONE */
        const uint32_t found = backs[back]->find(rig.memory[back], rig.t, key);
        if ((found != KST__NONE) != there)
            fuzz_fail("%s: %s one that %s", backs[back]->name, there ? "does not find" : "finds", there ? "is in" : "is not");
        if (found != KST__NONE && (found >= NODES || !model_matches(back, found, key)))
            fuzz_fail("%s: finds node %u, which does not match", backs[back]->name, found);
        fuzz_note(there);
    }
}

/* ---- when there is no place for a node, of what is in ---- */

/* Nodes with the same bits of the hash. */
static uint32_t neighbours(uint32_t back, uint64_t hash, uint64_t bits)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < NODES; node++)
        count += rig.in[back][node] && ((rig.hash[node] ^ hash) & bits) == 0;
    return count;
}

static bool chain_full(uint32_t back, uint64_t hash)
{
    return neighbours(back, hash, rig.buckets - 1) == KST_CHAIN_MAX;
}

static bool swiss_full(uint32_t back, uint64_t hash) /* a search reaches all groups, there are so few */
{
    (void)hash;
    return node_count(back) == kst__groups_count(NODES, rig.buckets) * KST__GROUP_NODES;
}

/* Whoever belongs in a group may lie across from it, so how full one is only its tags tell. */
static bool cuckoo_full(uint32_t back, uint64_t hash)
{
    const uint64_t home = kst__group_home(rig.memory[back], hash);
    const uint64_t across = kst__cuckoo_across(rig.memory[back], home, kst__group_tag(hash));
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++)
        if (kst__group_at(rig.memory[back], home)->tags[place] == 0 ||
            kst__group_at(rig.memory[back], across)->tags[place] == 0)
            return false;
    return true;
}

static bool robin_full(uint32_t back, uint64_t hash)
{
    const uint64_t places = kst__robin_count(NODES, rig.buckets);
    const uint64_t ring = places < KST__ROBIN_RING ? places : KST__ROBIN_RING;
    return neighbours(back, hash, (places - ring) << 32) == ring;
}

static bool is_full(uint32_t back, uint64_t hash)
{
    static const struct {
        const struct kst_index_ops *ops;
        bool (*full)(uint32_t back, uint64_t hash);
    } of[BACKS] = {{&kst_index_chain, chain_full}, {&kst_index_swiss, swiss_full}, {&kst_index_cuckoo, cuckoo_full},
                   {&kst_index_robin, robin_full}};
    for (uint32_t i = 0; i < BACKS; i++)
        if (of[i].ops == backs[back])
            return of[i].full(back, hash);
    fuzz_fail("%s: nobody says when it is full", backs[back]->name);
    return false;
}

/* One node into one index. Two full groups of `cuckoo` may yet make room, by moves. */
static bool put(uint32_t back, uint32_t node)
{
    const bool full = is_full(back, rig.hash[node]), moves = backs[back] == &kst_index_cuckoo;
    const bool done = backs[back]->insert(rig.memory[back], node, rig.hash[node]);
    if (done ? full && !moves : !full)
        fuzz_fail("%s: %s a node with %u in it and %u buckets", backs[back]->name, done ? "takes" : "refuses",
                  node_count(back), rig.buckets);
    rig.in[back][node] = done;
    fuzz_note(done);
    return done;
}

static void take(uint32_t back, uint32_t node)
{
    if (!rig.in[back][node])
        return;
    backs[back]->remove(rig.memory[back], node, rig.hash[node]);
    rig.in[back][node] = false;
}

static void step_insert(uint32_t slot)
{
    struct kst__key key;
    const struct kst_tuple tuple = draw_tuple();
    struct kst_tuple reply;
    const bool nat = draw_chance(64);
    if (!slot_free(slot))
        return;
    kst__key_make(rig.t, &tuple, &key);
    for (uint32_t back = 0; back < BACKS; back++) /* who is in twice is for zones of one direction */
        for (uint32_t node = 0; node < NODES; node++)
            if (model_matches(back, node, &key))
                return;
    struct kst__entry *e = kst__entry_at(rig.t, slot);
    memset(e, 0, sizeof *e);
    e->tuple = tuple;
    e->status = KST_CONFIRMED;
    rig.hash[slot] = key.hash;
    if (nat) {
        reply = draw_tuple();
        if (reply.family != tuple.family || memcmp(&reply, &tuple, sizeof reply) == 0)
            return;
        *kst__reply_tuple(rig.t, slot) = reply;
        e->kind = KST__KIND_NAT;
        kst__key_make(rig.t, &reply, &key);
        rig.hash[slot + ENTRIES] = key.hash;
    }
    fuzz_tell("%4u insert %u%s", rig.step, slot, nat ? ", under NAT" : "");
    for (uint32_t back = 0; back < BACKS; back++)
        if (put(back, slot) && nat && !put(back, slot + ENTRIES))
            take(back, slot); /* as the table does it */
}

static void step(void)
{
    const uint32_t kind = draw8(), slot = draw_below(rig.used);
    if (kind < 112 || (rig.grows && kind < 160)) {
        step_insert(slot);
    } else if (kind < 176) {
        fuzz_tell("%4u remove %u", rig.step, slot);
        for (uint32_t back = 0; back < BACKS; back++) {
            take(back, slot + ENTRIES);
            take(back, slot);
        }
    } else if (kind < 240) {
        struct kst__key key;
        const struct kst_tuple tuple = draw_tuple();
        fuzz_tell("%4u find", rig.step);
        kst__key_make(rig.t, &tuple, &key);
        key.only = (uint8_t)PICK(KST_NO_DIRECTION, KST_ORIGINAL, KST_REPLY);
        look_for(&key);
    } else { /* the memory goes elsewhere */
        const uint32_t back = kind % BACKS;
        void *elsewhere = fuzz_alloc(rig.bytes[back], KST_ALIGN);
        fuzz_tell("%4u %s moves", rig.step, backs[back]->name);
        memcpy(elsewhere, rig.memory[back], rig.bytes[back]);
        memset(rig.memory[back], 0xdb, rig.bytes[back]);
        fuzz_free(rig.memory[back]);
        rig.memory[back] = elsewhere;
    }
}

static void check(void)
{
    for (uint32_t back = 0; back < BACKS; back++) {
        uint32_t nodes = 0;
        const char *broken = backs[back]->check(rig.memory[back], rig.t, &nodes);
        if (broken != NULL)
            fuzz_fail("%s: %s", backs[back]->name, broken);
        if (nodes != node_count(back))
            fuzz_fail("%s: holds %u nodes, of %u", backs[back]->name, nodes, node_count(back));
    }
}

static void run(const uint8_t *data, size_t size)
{
    static const uint32_t counts[] = {1, 2, 4, 8, 16, 32, 64, 256};
    const uint32_t shape = draw8();
    memset(&rig, 0, sizeof rig);
    rig.buckets = counts[shape & 7];
    rig.grows = shape & 8;
    rig.used = 1 + draw8() % ENTRIES;
    const struct kst_config config = {.max = ENTRIES - 1, .features = KST_WITH_NAT, .seed = {draw8(), draw8()}};
    rig.t = rig_table(&config);
    rig.t->used = ENTRIES;
    rig.t->buckets = rig.buckets; /* as the checks have it */
    for (uint32_t back = 0; back < BACKS; back++) {
        rig.bytes[back] = (size_t)backs[back]->bytes(NODES, rig.buckets);
        rig.memory[back] = fuzz_alloc(rig.bytes[back], KST_ALIGN);
        memset(rig.memory[back], 0xdb, rig.bytes[back]);
        backs[back]->init(rig.memory[back], NODES, rig.buckets);
    }
    for (uint32_t number = 0; draw_record(data, size, number); number++) {
        rig.step++;
        step();
        check();
    }
    for (uint32_t slot = 0; slot < rig.used; slot++) { /* whoever is in is found, both ways */
        struct kst__key key;
        if (slot_free(slot))
            continue;
        kst__key_make(rig.t, &kst__entry_at(rig.t, slot)->tuple, &key);
        look_for(&key);
        const struct kst_tuple reply = kst__reply_of(rig.t, slot);
        kst__key_make(rig.t, &reply, &key);
        look_for(&key);
    }
}

const struct fuzz_target fuzz_target = {"index", FUZZ_RECORDS, 4, 12, STEPS_MAX, run, false};
