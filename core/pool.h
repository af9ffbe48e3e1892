/* SPDX-License-Identifier: MIT */
/* core/pool.h - the table and its entries: what lies where in the caller's block.
 *
 *     struct kst | index | timer | entries | columns | sources | tallies | expectations | events |
 *     reassembly
 *
 * Entries live in slots 0..max, one more than may be in use: the spare is where a newcomer is
 * judged before anybody has to make room for it. All references are slot numbers or offsets from
 * the start of the block. */
#ifndef KST_POOL_H
#define KST_POOL_H

#include "settings.h"
#include "tuple.h"

struct kst__tcp_side {
    uint32_t end;    /* highest sequence number sent, plus one */
    uint32_t maxend; /* highest that the peer's window has allowed */
    uint32_t maxwin; /* largest window advertised, scaled; 0: never seen */
    uint32_t maxack; /* highest acknowledgement sent */
};

struct kst__tcp {
    struct kst__tcp_side side[2]; /* by direction */
    uint8_t flags[2];             /* enum kst__tcp_flag */
    uint8_t scale[2];             /* window scale, 0..14 */
    uint32_t last_seq;            /* what the last recorded packet said */
    uint32_t last_ack;
    uint16_t last_length;         /* its end minus its seq */
    uint16_t last_window;         /* unscaled */
    uint8_t last;                 /* KST__LAST(class, direction) */
    uint8_t last_flags;           /* options of a recorded SYN, and what it waits for */
    uint8_t last_scale;
    uint8_t retrans;              /* identical segments after the first, saturating */
};

struct kst__udp { /* halves, so that the union is happy with 4-byte alignment */
    uint32_t stream_low, stream_high; /* from when on an answered flow is a stream, ms */
};

struct kst__sctp {
    uint32_t tag[2]; /* by direction: the verification tag that its packets carry */
    uint8_t flags;   /* enum kst__sctp_flag */
    uint8_t odd;     /* direction of the HEARTBEAT with another tag */
};

struct kst__gre {
    uint32_t timeout_s, stream_s; /* until answered, and afterwards */
};

/* 128 bytes, two cache lines. A lookup, and a packet of an established UDP or ICMP conversation, needs
 * the first alone; TCP's windows lie in the second. */
struct kst__entry {
    struct kst_tuple tuple; /* original direction */
    uint64_t expires_ms;
    uint32_t armed;  /* the time that its timer is set to, never after expires_ms; in beats */
    uint32_t serial; /* upper half of its kst_id */
    uint32_t mark;
    uint16_t status; /* enum kst_status; not CONFIRMED: the slot is free, or a newcomer's */
    uint8_t state;   /* enum kst_tcp_state or kst_sctp_state */
    uint8_t kind;    /* enum kst_class, or'ed with the bits below */

    union {
        struct kst__tcp tcp;
        struct kst__udp udp;
        struct kst__sctp sctp;
        struct kst__gre gre;
    } proto;
    uint32_t joined; /* when it joined its class, in beats */
    uint32_t older;  /* neighbours in its class, KST__NONE at the ends; */
    uint32_t newer;  /* that of a free slot names the next free one */
};

enum { /* kst__entry.kind */
    KST__KIND_CLASS = 3,
    KST__KIND_ACCOUNTED = 4, /* its counters are kept */
    KST__KIND_NAT = 8,       /* its reply tuple does not mirror the original one */
    KST__KIND_HELP = 16,     /* its struct kst__help is in use */
    KST__KIND_POLICY = 32    /* times the number of its policy, in the highest three bits */
};

typedef char kst__entry_is_two_lines[sizeof(struct kst__entry) == 128 &&
                                             offsetof(struct kst__entry, proto) == 64
                                         ? 1
                                         : -1];
typedef char kst__tuple_has_no_padding[sizeof(struct kst_tuple) == 40 ? 1 : -1];

struct kst__counters {
    uint64_t packets[2], bytes[2]; /* by direction */
};

/* A connection with a helper, a master or expectations. One cache line. */
struct kst__help {
    uint64_t state[KST_HELPER_STATE_BYTES / 8]; /* the helper's own */
    kst_id master;    /* 0: none */
    uint32_t newest;  /* of its own expectations, KST__NONE: none */
    uint8_t expecting[KST_EXPECT_CLASSES]; /* how many there are of each class */
    uint8_t helper;   /* 0: none */
    bool calls;       /* it announces GRE calls, which end with it; */
    uint16_t call[2]; /* the one there is, by direction: what the client and what the server named it */
};

typedef char kst__help_is_one_line[sizeof(struct kst__help) == 64 ? 1 : -1];

/* Who else has the same source, kst__source_*; and by which interface it leaves. */
struct kst__source {
    uint32_t newer, older; /* in its bucket, KST__NONE at the ends */
    uint32_t out_interface;
};

/* What a helper's rewriting has done to the sequence numbers of each direction. */
struct kst__adjust_side {
    uint32_t at;            /* a segment that begins behind this is shifted by */
    uint32_t before, after; /* the second, any other by the first; modulo 2^32 */
};
struct kst__adjust {
    struct kst__adjust_side side[2];
};

struct kst__label_bits {
    uint8_t bytes[KST_LABEL_BYTES];
};

/* An expectation, or a key: what the source key of a GRE call is, which its packets do not tell. */
struct kst__expected {
    struct kst_tuple tuple;
    uint64_t expires_ms;
    uint32_t master;       /* slot */
    uint32_t newer, older; /* neighbours in its bucket, KST__NONE at the ends; of a free place
                            * `older` names the next free one */
    uint32_t own_newer, own_older; /* among its master's */
    uint32_t serial;       /* upper half of its kst_id; 0: the place is free */
    uint8_t flags;         /* enum kst_expectation_flags, or'ed, and the one below */
    uint8_t class_;
    uint8_t child_helper;
    uint8_t follows;       /* enum kst_follows; */
    uint8_t nat_direction; /* of what told of it, */
    uint16_t nat_port;     /* and the port that this named */
};

enum { KST__EXPECT_KEY = 128 }; /* kst__expected.flags */

/* Expectations lie behind this and their buckets. */
struct kst__expectations {
    uint64_t places_at; /* offset from here */
    uint32_t buckets;
    uint32_t count;     /* without keys */
    uint32_t keys;
    uint32_t used;      /* places ever used */
    uint32_t free;      /* first free place, KST__NONE: none */
    uint32_t serial;
};

/* How many connections a source or a zone has. */
struct kst__tally {
    uint8_t address[16]; /* of the source, without the host's bits */
    uint16_t zone;
    uint8_t family;      /* 0: this is the zone's */
    uint8_t zero;
    uint32_t count;
    uint32_t next;       /* in its bucket, or the next free one; KST__NONE at the end */
};

/* Tallies lie behind this and their buckets. */
struct kst__tallies {
    uint32_t buckets;
    uint32_t used; /* places ever used */
    uint32_t free; /* first free place, KST__NONE: none */
};

/* What an entry may have beside its two lines: columns, an element a slot, there if the
 * configuration has the feature. X(NAME, feature, type) */
#define KST__WITH_HELP (UINT32_C(1) << 31) /* what config.expectations asks for */
#define KST__WITH_ADJUST (UINT32_C(1) << 30) /* with that and KST_WITH_NAT */
#define KST__COLUMNS_LIST(X)                                                                       \
    X(REPLY, KST_WITH_NAT, struct kst_tuple)                                                       \
    X(SOURCE, KST_WITH_NAT, struct kst__source)                                                    \
    X(ADJUST, KST__WITH_ADJUST, struct kst__adjust)                                                \
    X(COUNTERS, KST_WITH_ACCOUNTING, struct kst__counters)                                         \
    X(HELP, KST__WITH_HELP, struct kst__help)                                                      \
    X(BIRTH, KST_WITH_TIMESTAMPS, uint64_t)                                                        \
    X(LABELS, KST_WITH_LABELS, struct kst__label_bits)

enum {
#define KST__X(name, feature, type) KST__COLUMN_##name,
    KST__COLUMNS_LIST(KST__X)
#undef KST__X
    KST__COLUMNS
};

#define KST__NAT                                                                                   \
    (KST_SRC_NAT | KST_DST_NAT | KST_SRC_NAT_DONE | KST_DST_NAT_DONE | KST_SEQ_ADJUST)

#define KST__NEVER UINT64_MAX /* a connection's birth that nobody noted */

struct kst__class {
    uint32_t oldest, newest; /* by the time of joining */
    uint32_t count;
    uint32_t residence_ms;
};

struct kst__attached { /* a port that has a helper */
    uint16_t port;
    uint8_t protocol;
    uint8_t helper; /* 0: this place is free, and those behind it */
};

typedef char kst__states_fit_a_row[(int)KST_SCTP_STATES <= (int)KST_TCP_STATES ? 1 : -1];
typedef char kst__settings_fit_a_word[KST__SETTINGS <= 64 ? 1 : -1];

struct kst {
    uint64_t index_at, timer_at, entries_at; /* offsets */
    uint64_t column_at[KST__COLUMNS];
    uint64_t sources_at; /* likewise; 0: no NAT. Heads of `sources` lists */
    uint64_t tallies_at; /* likewise; 0: no limits */
    uint64_t expect_at; /* likewise; 0: no expectations, no helpers */
    uint64_t events_at; /* likewise; 0: no events */
    uint64_t defrag_at; /* likewise; 0: fragments are not reassembled */
    uint64_t now_ms;
    uint64_t seed[2];
    uint32_t capacity; /* config.max */
    uint32_t buckets;
    uint32_t features;
    uint32_t expectations_max; /* config.expectations */
    uint32_t events_max;       /* config.events */
    uint32_t count;    /* entries in the table */
    uint32_t used;     /* slots ever used: those behind were never written */
    uint32_t free;     /* first free slot below `used`, KST__NONE: none */
    uint32_t serial;   /* of the entry created last */
    uint32_t set[KST__SETTINGS];
    uint32_t policy[KST_POLICIES][KST__SETTINGS]; /* the same, but for what `policy_owns` */
    uint64_t policy_owns[KST_POLICIES];           /* bits by setting */
    struct kst__attached attached[KST_ATTACH_MAX];
    uint32_t apart; /* entries with a zone of one direction: a tuple may then be found both ways */
    uint32_t sources; /* lists of translated connections by their source, a power of two */
    uint64_t draws;   /* numbers drawn at random */
    uint32_t pending; /* the slot of a newcomer that waits for kst_confirm, KST__NONE: none; */
    uint64_t pending_ms; /* since when */
    kst_id untold;    /* whose helper hears its first packet: no event tells of it yet; 0: none */
    kst_id closing;   /* what a deferred packet has ended: removed once that is through; 0: none */
    uint32_t datagram_bytes; /* of the last that was completed of fragments */
    bool pressed; /* PRESSURE was told, RELIEF not yet */
    uint8_t index, timer; /* config.index, config.timer */
    uint8_t evict[KST_CLASSES];
    struct kst__class classes[KST_CLASSES];
    uint8_t source_prefix[2]; /* bits of an IPv4 and of an IPv6 address that tell sources apart */
    uint32_t states[KST__PROTOCOLS + 1][KST_TCP_STATES]; /* entries by protocol and state */
    struct kst_stats stats;
};

/* Times to within 64 ms in half the bytes; they wrap after 8 years. */
#define KST__BEAT_MS 64
KST_INLINE uint32_t kst__beat(uint64_t ms)
{
    return (uint32_t)(ms / KST__BEAT_MS);
}

/* So long after now. The clock's last moment has no later one. */
KST_INLINE uint64_t kst__later_ms(const struct kst *t, uint64_t ms)
{
    return ms <= UINT64_MAX - t->now_ms ? t->now_ms + ms : UINT64_MAX;
}

KST_INLINE uint64_t kst__due_ms(const struct kst *t, uint32_t timeout_s)
{
    return kst__later_ms(t, (uint64_t)timeout_s * 1000);
}

KST_INLINE void *kst__at(const struct kst *t, uint64_t offset)
{
    return (uint8_t *)(uintptr_t)t + offset;
}

KST_INLINE struct kst__entry *kst__entry_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__entry *)kst__at(t, t->entries_at) + slot;
}

KST_INLINE kst_id kst__id(const struct kst *t, uint32_t slot)
{
    return (kst_id)kst__entry_at(t, slot)->serial << 32 | slot;
}

KST_INLINE struct kst_tuple *kst__reply_tuple(const struct kst *t, uint32_t slot)
{
    return (struct kst_tuple *)kst__at(t, t->column_at[KST__COLUMN_REPLY]) + slot;
}

KST_INLINE struct kst__source *kst__source_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__source *)kst__at(t, t->column_at[KST__COLUMN_SOURCE]) + slot;
}

KST_INLINE struct kst__adjust_side *kst__adjust_at(const struct kst *t, uint32_t slot)
{
    return ((struct kst__adjust *)kst__at(t, t->column_at[KST__COLUMN_ADJUST]) + slot)->side;
}

KST_INLINE struct kst__counters *kst__counters_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__counters *)kst__at(t, t->column_at[KST__COLUMN_COUNTERS]) + slot;
}

KST_INLINE struct kst__help *kst__help_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__help *)kst__at(t, t->column_at[KST__COLUMN_HELP]) + slot;
}

KST_INLINE uint64_t *kst__birth_at(const struct kst *t, uint32_t slot)
{
    return (uint64_t *)kst__at(t, t->column_at[KST__COLUMN_BIRTH]) + slot;
}

KST_INLINE struct kst__label_bits *kst__labels_at(const struct kst *t, uint32_t slot)
{
    return (struct kst__label_bits *)kst__at(t, t->column_at[KST__COLUMN_LABELS]) + slot;
}

/* The settings that hold for an entry: those of its policy, or the table's. */
KST_INLINE const uint32_t *kst__set_of(const struct kst *t, const struct kst__entry *e)
{
    const uint32_t policy = e->kind / KST__KIND_POLICY;
    return policy == 0 ? t->set : t->policy[policy - 1];
}

KST_INLINE uint32_t kst__slots(const struct kst *t)
{
    return t->capacity + 1;
}

/* Whether a slot holds one of the table's: not free, and no newcomer. */
KST_INLINE bool kst__live(const struct kst *t, uint32_t slot)
{
    return slot < t->used && (kst__entry_at(t, slot)->status & KST_CONFIRMED);
}

KST_INLINE bool kst__expired(const struct kst *t, uint32_t slot)
{
    return kst__entry_at(t, slot)->expires_ms <= t->now_ms;
}

KST_INLINE struct kst__expectations *kst__expectations_of(const struct kst *t)
{
    return (struct kst__expectations *)kst__at(t, t->expect_at);
}

KST_INLINE struct kst__expected *kst__expected_at(const struct kst *t, uint32_t place)
{
    return (struct kst__expected *)kst__at(t, t->expect_at + kst__expectations_of(t)->places_at) +
           place;
}

/* ---- what has a timer: entries by their slot, expectations by their place behind all slots ---- */

KST_INLINE uint32_t kst__timed(const struct kst *t)
{
    return kst__slots(t) + t->expectations_max;
}

KST_INLINE uint64_t kst__timed_expires_ms(const struct kst *t, uint32_t timed)
{
    return timed < kst__slots(t) ? kst__entry_at(t, timed)->expires_ms
                                 : kst__expected_at(t, timed - kst__slots(t))->expires_ms;
}

KST_INLINE bool kst__timed_live(const struct kst *t, uint32_t timed)
{
    if (timed < kst__slots(t))
        return kst__live(t, timed);
    const uint32_t place = timed - kst__slots(t);
    return place < t->expectations_max && place < kst__expectations_of(t)->used &&
           kst__expected_at(t, place)->serial != 0;
}

/* A slot for a newcomer: there always is one, as there is one more than connections. */
static uint32_t kst__slot_take(struct kst *t)
{
    const uint32_t slot = t->free;
    if (slot == KST__NONE) {
        KST_ASSERT(t->used < kst__slots(t));
        return t->used++;
    }
    t->free = kst__entry_at(t, slot)->newer;
    return slot;
}

static void kst__slot_give_back(struct kst *t, uint32_t slot)
{
    kst__entry_at(t, slot)->status = 0;
    kst__entry_at(t, slot)->newer = t->free;
    t->free = slot;
}

/* ---- nodes: what the index holds. Node n < slots is the entry in slot n, under the hash of its
 * original tuple; node n >= slots is the entry in slot n - slots under that of its reply tuple,
 * and exists only under NAT. ---- */

struct kst__key { /* what is looked for */
    struct kst_tuple tuple;
    uint64_t answer; /* kst__tuple_answer */
    uint64_t hash;
    uint8_t only; /* enum kst_direction: a packet of the other one is not meant; NO_DIRECTION: any */
};

KST_INLINE void kst__key_make(const struct kst *t, const struct kst_tuple *tuple,
                              struct kst__key *key)
{
    key->tuple = *tuple;
    key->answer = kst__tuple_answer(tuple);
    key->hash = kst__tuple_hash(tuple, t->seed);
    key->only = KST_NO_DIRECTION;
}

/* Only packets of this direction are meant, or of any (KST_NO_DIRECTION). Who talks to himself is answered by all of
 * his packets, unless their zone is that of the original direction alone: then none is an answer. */
KST_INLINE void kst__key_only(struct kst__key *key, uint8_t only)
{
    key->only = only;
    if (only == KST_ORIGINAL)
        key->answer = KST__NO_ANSWER;
}

KST_INLINE uint32_t kst__nodes(const struct kst *t)
{
    return t->features & KST_WITH_NAT ? 2 * kst__slots(t) : kst__slots(t);
}

KST_INLINE uint32_t kst__node_slot(const struct kst *t, uint32_t node)
{
    return node < kst__slots(t) ? node : node - kst__slots(t);
}

/* The tuple that a node stands for. */
KST_INLINE const struct kst_tuple *kst__node_tuple(const struct kst *t, uint32_t node)
{
    return node < kst__slots(t) ? &kst__entry_at(t, node)->tuple
                                : kst__reply_tuple(t, node - kst__slots(t));
}

/* Which way a packet goes that the node matches. One from an address and port to themselves looks like its
 * own answer, and all of a connection that NAT turned round: Linux takes it for that (see kst__key_only). */
KST_INLINE uint8_t kst__node_direction(const struct kst *t, uint32_t node,
                                       const struct kst__key *key)
{
    const uint32_t slot = kst__node_slot(t, node);
    const struct kst__entry *e = kst__entry_at(t, slot);
    if (e->kind & KST__KIND_NAT) {
        const bool turned = KST_UNLIKELY(key->only == KST_ORIGINAL) && kst__tuple_same(&e->tuple, &key->tuple);
        return node == slot || turned ? KST_ORIGINAL : KST_REPLY;
    }
    return kst__tuple_answers(&e->tuple, &key->tuple, key->answer) ? KST_REPLY : KST_ORIGINAL;
}

/* Whether the entry behind a node has one of its two directions look like the key. */
KST_INLINE bool kst__node_matches(const struct kst *t, uint32_t node, const struct kst__key *key)
{
    const struct kst__entry *e = kst__entry_at(t, node);
    const bool matches =
        KST_UNLIKELY(node >= kst__slots(t))
            ? kst__tuple_same(kst__reply_tuple(t, node - kst__slots(t)), &key->tuple)
            : kst__tuple_same(&e->tuple, &key->tuple) ||
                  (kst__tuple_answers(&e->tuple, &key->tuple, key->answer) &&
                   !(e->kind & KST__KIND_NAT));
    return matches && (KST_LIKELY(key->only == KST_NO_DIRECTION) ||
                       kst__node_direction(t, node, key) == key->only);
}

/* The tuple of an entry's answers. */
static struct kst_tuple kst__reply_of(const struct kst *t, uint32_t slot)
{
    struct kst_tuple reply;
    if (kst__entry_at(t, slot)->kind & KST__KIND_NAT)
        return *kst__reply_tuple(t, slot);
    kst__tuple_invert(&kst__entry_at(t, slot)->tuple, &reply);
    return reply;
}

/* ASSURED comes with an answer, but SCTP's chunks of one side alone can get there. */
static bool kst__status_sound(uint8_t protocol, uint32_t status)
{
    return !(status & KST_ASSURED) || (status & KST_SEEN_REPLY) || protocol == KST__SCTP;
}

/* Whether a state is one that the protocol has. */
static bool kst__state_sound(uint8_t protocol, uint8_t state)
{
    return protocol == KST__TCP    ? state > KST_TCP_NONE && state < KST_TCP_STATES
           : protocol == KST__SCTP ? state > KST_SCTP_NONE && state < KST_SCTP_STATES
                                   : state == 0;
}

/* How many entries of this protocol are in this state. */
KST_INLINE uint32_t *kst__census(const struct kst *t, uint8_t protocol, uint8_t state)
{
    return (uint32_t *)(uintptr_t)&t->states[kst__protocol_row(protocol)][state];
}

/* ---- classes: who has been there longest ---- */

static void kst__class_leave(struct kst *t, uint32_t slot)
{
    const struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__class *class_ = &t->classes[e->kind & KST__KIND_CLASS];
    if (e->older == KST__NONE)
        class_->oldest = e->newer;
    else
        kst__entry_at(t, e->older)->newer = e->newer;
    if (e->newer == KST__NONE)
        class_->newest = e->older;
    else
        kst__entry_at(t, e->newer)->older = e->older;
    class_->count--;
}

static void kst__class_join(struct kst *t, uint32_t slot, uint8_t number)
{
    struct kst__entry *e = kst__entry_at(t, slot);
    struct kst__class *class_ = &t->classes[number];
    e->kind = (uint8_t)((e->kind & ~KST__KIND_CLASS) | number);
    e->joined = kst__beat(t->now_ms);
    e->older = class_->newest;
    e->newer = KST__NONE;
    if (class_->newest == KST__NONE)
        class_->oldest = slot;
    else
        kst__entry_at(t, class_->newest)->newer = slot;
    class_->newest = slot;
    class_->count++;
}

#endif
