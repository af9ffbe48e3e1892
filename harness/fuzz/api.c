/* SPDX-License-Identifier: MIT */
/* api.c - property: calls in any order that the contract allows leave a sound table, and one that who only
 * reads its events knows as well as it knows itself: who is there, in which state, what is expected. What kst_get
 * gives out kst_insert takes back; what is refused changes nothing; a walk meets everybody who is there throughout
 * exactly once, whatever is deleted and inserted on the way; a name that is gone is never found again; a block
 * that is moved goes on where it was. A newcomer is RELATED just if something expects it, which happens once; what
 * clashes is not expected; of a class that is full the oldest goes. An error is about who has the answer to the packet
 * it carries, and has not expired; a newcomer whose answers nobody has keeps them.
 *
 * The follower is a list of flows and expectations that only events change. */
#include "toy.h"

#include "rig.h"

#include "packet.h"

enum { STEPS_MAX = 400, KNOWN_MAX = 80, EXPECTED_MAX = 40, EVENTS = 300, GONE_MAX = 64, HEIR_MS = 7000 };

static struct {
    struct kst_config config;
    size_t bytes;
    struct kst *t;
    uint64_t now_ms;
    uint32_t step;
    struct kst_flow known[KNOWN_MAX]; /* by events */
    uint32_t known_count;
    struct kst_expectation expected[EXPECTED_MAX];
    uint64_t expected_until_ms[EXPECTED_MAX];
    uint32_t expected_count;
    kst_id gone[GONE_MAX]; /* names that were */
    uint32_t gone_count;
    bool pressed;
    struct kst_result last;
    kst_id heir; /* that the toy has put in the place of its own connection */
    bool few;    /* events are few, and some are lost: the follower looks into the table itself */
    uint64_t lost;
    struct {
        uint8_t protocol;
        uint16_t port;
    } attached[KST_ATTACH_MAX + 1];
    uint32_t attached_count;
} rig;

/* ---- the follower ---- */

static struct kst_flow *known(kst_id id)
{
    for (uint32_t i = 0; i < rig.known_count; i++)
        if (rig.known[i].id == id)
            return &rig.known[i];
    return NULL;
}

/* Of a ring that is too small the first are kept, and the others are counted. */
static void skim_events(void)
{
    const uint64_t lost = kst_statistics(rig.t)->events_lost;
    struct kst_event e;
    struct kst_expectation x;
    uint32_t count = 0;
    while (kst_event_next(rig.t, &e)) {
        fuzz_must(++count <= rig.config.events);
        fuzz_must(e.time_ms <= rig.now_ms && e.type <= KST_EVENT_RELIEF);
    }
    fuzz_must(lost >= rig.lost && (lost == rig.lost || count == rig.config.events));
    rig.lost = lost;
    rig.known_count = rig.expected_count = 0;
    for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id))
        fuzz_must(kst_get(rig.t, id, &rig.known[rig.known_count++]));
    for (kst_id id = kst_expectation_next(rig.t, 0); id != 0; id = kst_expectation_next(rig.t, id)) {
        fuzz_must(kst_expectation_get(rig.t, id, &x));
        rig.expected_until_ms[rig.expected_count] = rig.now_ms + x.timeout_ms;
        rig.expected[rig.expected_count++] = x;
    }
}

/* Whether the table holds so many percent of what it may. */
static bool filled(uint64_t count, const char *percent)
{
    uint32_t max, mark;
    fuzz_must(kst_setting(rig.t, "nf_conntrack_max", &max) && kst_setting(rig.t, percent, &mark));
    return count * 100 >= (uint64_t)max * mark;
}

static void read_events(void)
{
    struct kst_event e;
    char line[KST_LINE_MAX];
    while (kst_event_next(rig.t, &e)) {
        struct kst_flow *f = e.type <= KST_EVENT_DESTROY ? known(e.about.flow.id) : NULL;
        fuzz_must(e.time_ms <= rig.now_ms);
        fuzz_must(kst_print_event(&e, KST_FORMAT_CONNTRACK, line, sizeof line) < sizeof line);
        fuzz_note(e.type);
        switch (e.type) {
        case KST_EVENT_NEW:
            if (f != NULL)
                fuzz_fail("an event: %" PRIx64 " is new for the second time", e.about.flow.id);
            fuzz_must(rig.known_count < KNOWN_MAX);
            rig.known[rig.known_count++] = e.about.flow;
            break;
        case KST_EVENT_UPDATE:
            if (f == NULL)
                fuzz_fail("an event: news of %" PRIx64 ", which is not there", e.about.flow.id);
            fuzz_must(e.changed != 0);
            fuzz_must(!(e.changed & KST_CHANGED_STATE) || e.about.flow.state != f->state);
            fuzz_must(!(e.changed & KST_CHANGED_MARK) || e.about.flow.mark != f->mark);
            *f = e.about.flow;
            break;
        case KST_EVENT_DESTROY:
            if (f == NULL)
                fuzz_fail("an event: %" PRIx64 " is gone, and was not there", e.about.flow.id);
            fuzz_must(e.cause < KST_CAUSES);
            rig.gone[rig.gone_count++ % GONE_MAX] = f->id;
            *f = rig.known[--rig.known_count];
            break;
        case KST_EVENT_EXPECT_NEW:
            fuzz_must(rig.expected_count < EXPECTED_MAX);
            rig.expected_until_ms[rig.expected_count] = e.time_ms + e.about.expectation.timeout_ms;
            rig.expected[rig.expected_count++] = e.about.expectation;
            break;
        case KST_EVENT_EXPECT_DESTROY: {
            uint32_t i = 0;
            while (i < rig.expected_count && rig.expected[i].id != e.about.expectation.id)
                i++;
            if (i == rig.expected_count)
                fuzz_fail("an event: an expectation is gone that was not there");
            rig.expected[i] = rig.expected[--rig.expected_count];
            rig.expected_until_ms[i] = rig.expected_until_ms[rig.expected_count];
            break;
        }
        default:
            fuzz_must(rig.pressed == (e.type == KST_EVENT_RELIEF));
            fuzz_same("full to the upper mark", filled(e.about.count, "keepstate_pressure_high"), !rig.pressed);
            fuzz_must(!rig.pressed || !filled(e.about.count, "keepstate_pressure_low"));
            rig.pressed = !rig.pressed;
        }
    }
}

/* The table holds what the follower knows: nobody else, and all but what has expired. */
static void compare(void)
{
    uint32_t live = 0, expected = 0;
    if (rig.few)
        return;
    fuzz_same("events lost", kst_statistics(rig.t)->events_lost, 0);
    fuzz_same("connections that events tell of", rig.known_count, kst_count(rig.t));
    for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id), live++) {
        struct kst_flow is;
        const struct kst_flow *f = known(id);
        fuzz_must(kst_get(rig.t, id, &is) && is.id == id);
        if (f == NULL)
            fuzz_fail("nobody told of %" PRIx64, id);
        fuzz_must(memcmp(f->tuple, is.tuple, sizeof is.tuple) == 0);
        fuzz_same("state by events", f->state, is.state);
        fuzz_same("status by events", f->status & (KST_SEEN_REPLY | KST_ASSURED), is.status & (KST_SEEN_REPLY | KST_ASSURED));
        fuzz_same("mark by events", f->mark, is.mark);
        fuzz_must(memcmp(f->labels, is.labels, sizeof is.labels) == 0);
        fuzz_must(kst_find(rig.t, &is.tuple[0], NULL) != 0 && kst_find(rig.t, &is.tuple[1], NULL) != 0);
    }
    fuzz_must(live <= rig.known_count);
    for (kst_id id = kst_expectation_next(rig.t, 0); id != 0; id = kst_expectation_next(rig.t, id)) {
        struct kst_expectation x;
        bool told = false;
        fuzz_must(kst_expectation_get(rig.t, id, &x) && x.id == id);
        for (uint32_t i = 0; i < rig.expected_count; i++)
            told = told || rig.expected[i].id == id;
        fuzz_must(told);
        expected++;
    }
    fuzz_same("expectations by events", rig.expected_count, kst_expectation_count(rig.t));
    fuzz_must(expected <= rig.expected_count);
    for (uint32_t i = 0; i < GONE_MAX && i < rig.gone_count; i++) {
        struct kst_flow f;
        fuzz_must(!kst_get(rig.t, rig.gone[i], &f) && !kst_delete(rig.t, rig.gone[i]));
    }
    const struct kst_stats *s = kst_statistics(rig.t);
    uint64_t gone = 0;
    for (uint32_t i = 0; i < KST_CAUSES; i++)
        gone += s->gone[i];
    fuzz_same("who came and who went", s->created + s->inserted - gone, kst_count(rig.t));
    fuzz_same("expectations", s->expect_create - s->expect_delete, kst_expectation_count(rig.t));
}

/* ---- what is expected ---- */

/* Whether this is expected there; `any`, KST_EXPECT_ANY_..., is what does not count. */
static bool meets(const struct kst_tuple *x, const struct kst_tuple *tuple, uint32_t any)
{
    struct kst_tuple one = *x, other = *tuple;
    if (any & KST_EXPECT_ANY_SRC) {
        memset(one.src, 0, sizeof one.src);
        memset(other.src, 0, sizeof other.src);
    }
    if (any & KST_EXPECT_ANY_SRC_PORT)
        one.src_port = other.src_port = 0;
    return memcmp(&one, &other, sizeof one) == 0;
}

/* Whether it may still come true. */
static bool holds(uint32_t number)
{
    struct kst_flow master;
    return rig.expected_until_ms[number] > rig.now_ms && kst_get(rig.t, rig.expected[number].master, &master);
}

/* A packet has been tracked: what the follower knows is from before. */
static void check_newcomer(void)
{
    struct kst_flow flow;
    struct kst_expectation now;
    bool met = false, used = false, stays = false;
    if (!(rig.last.flags & KST_CREATED) || !kst_get(rig.t, rig.last.entry, &flow))
        return;
    struct kst_tuple tuple = flow.tuple[0];
    if (tuple.zone == 0)
        tuple.zone = flow.tuple[1].zone; /* one of the answers' direction alone counts, too */
    for (uint32_t i = 0; i < rig.expected_count; i++) {
        const struct kst_expectation *x = &rig.expected[i];
        if ((x->flags & KST_EXPECT_INACTIVE) || !holds(i) || !meets(&x->tuple, &tuple, x->flags))
            continue;
        if (rig.last.state != KST_RELATED)
            fuzz_fail("who is expected is %s", kst_state_name((enum kst_state)rig.last.state));
        met = met || x->master == flow.master;
        used = used || !kst_expectation_get(rig.t, x->id, &now);
        stays = stays || (x->flags & KST_EXPECT_PERMANENT);
    }
    struct kst_flow master; /* that may have had to make room for it */
    const struct kst_flow *had = known(flow.master);
    if (met && had != NULL && rig.heir == 0 && kst_get(rig.t, flow.master, &master) && master.mark == had->mark)
        fuzz_same("mark of its master", flow.mark, master.mark);
    const bool orphan = rig.last.reason != KST_REASON_NONE && !kst_get(rig.t, flow.master, &master) && known(flow.master) != NULL;
    if (rig.last.state == KST_RELATED && !met && !orphan)
        fuzz_fail("who is not expected is related");
    if (met && !used && !stays)
        fuzz_fail("what was expected is expected still");
}

/* `x` was to be expected: what the follower knows is from before. */
static void check_expected(const struct kst_expectation *x, enum kst_error error)
{
    const uint32_t any = KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT;
    struct kst_expectation is = *x, now;
    struct kst_flow master;
    bool same = false, clash = false;
    uint32_t stay = 0;
    kst_id oldest = 0;
    if (is.flags & KST_EXPECT_ANY_SRC_PORT)
        is.tuple.src_port = 0;
    for (uint32_t i = 0; i < rig.expected_count; i++) {
        const struct kst_expectation *other = &rig.expected[i];
        if (!holds(i) || !meets(&other->tuple, &is.tuple, (other->flags | is.flags) & any))
            continue;
        if (meets(&other->tuple, &is.tuple, 0) && (other->flags & any) == (is.flags & any) &&
            (other->master == is.master || (is.flags & KST_EXPECT_ANY_MASTER)))
            same = true;
        else
            clash = true;
    }
    if ((error == KST_ERROR_EXPECT_BUSY || error == KST_ERROR_EXPECT_EXISTS) && !same && !clash)
        fuzz_fail("nothing is in the way of an expectation");
    if (error != KST_ERROR_OK)
        return;
    if (clash)
        fuzz_fail("two expect the same");
    fuzz_must(kst_get(rig.t, is.master, &master));
    const struct kst_helper *helper = kst__helper(master.helper);
    for (uint32_t i = 0; i < rig.expected_count; i++) {
        const struct kst_expectation *other = &rig.expected[i];
        if (other->master != is.master || other->class_ != is.class_)
            continue;
        if (oldest == 0 || other->id >> 32 < oldest >> 32)
            oldest = other->id;
        stay += kst_expectation_get(rig.t, other->id, &now);
    }
    if (helper != NULL && helper->classes[is.class_].max != 0 && stay + 1 > helper->classes[is.class_].max)
        fuzz_fail("%u of a class are expected", stay + 1);
    for (uint32_t i = 0; i < rig.expected_count; i++) {
        const struct kst_expectation *other = &rig.expected[i];
        if (other->master == is.master && other->class_ == is.class_ && other->id != oldest && holds(i) &&
            !kst_expectation_get(rig.t, other->id, &now) && !meets(&other->tuple, &is.tuple, 0))
            fuzz_fail("of a class not the oldest has gone");
    }
}

/* ---- calls ---- */

static kst_id draw_id(void)
{
    const uint32_t number = draw8(), kind = draw8();
    if (kind < 200 && rig.known_count > 0)
        return rig.known[number % rig.known_count].id;
    if (kind < 240 && rig.gone_count > 0)
        return rig.gone[number % (rig.gone_count < GONE_MAX ? rig.gone_count : GONE_MAX)];
    return (kst_id)draw32() << 32 | number;
}

static struct kst_tuple draw_tuple(void)
{
    struct kst_tuple tuple;
    const uint32_t kind = draw8(), ports = draw8();
    const bool v6 = kind & 1;
    memset(&tuple, 0, sizeof tuple);
    tuple.family = v6 ? KST_IPV6 : KST_IPV4;
    tuple.src[0] = tuple.dst[0] = v6 ? 0xfd : 10;
    tuple.src[v6 ? 15 : 3] = 1 + (kind >> 1 & 1);
    tuple.dst[v6 ? 15 : 3] = 1 + (kind >> 2 & 1);
    tuple.protocol = (uint8_t)PICK(UDP, TCP, UDP, TCP, SCTP, GRE, ICMP, 50, ICMP6);
    tuple.src_port = ports & 3;
    tuple.dst_port = ports & 64 ? 21 : ports >> 2 & 3;
    if (tuple.protocol == ICMP || tuple.protocol == ICMP6)
        tuple.dst_port = v6 ? 0x8000 : 0x0800;
    else if (tuple.protocol == 50 && ports != 255)
        tuple.src_port = tuple.dst_port = 0;
    tuple.zone = (uint16_t)PICK(0, 0, 0, 1);
    if (kind >= 232 && rig.known_count > 0) { /* as somebody has it, in the other zone, or whose answers somebody has */
        const struct kst_tuple *had = &rig.known[ports % rig.known_count].tuple[kind & 1];
        if ((kind & 2) || !kst__tuple_invert(had, &tuple)) {
            tuple = *had;
            tuple.zone = !tuple.zone;
        }
    }
    return tuple;
}

enum kst_reason fuzz_toy(struct kst_help *h)
{
    const uint32_t choice = draw8();
    uint32_t sum = 0;
    for (uint32_t i = 0; i < h->size; i++)
        sum += h->payload[i];
    fuzz_note(sum);
    switch (choice % 6) {
    case 1: h->timeout_s = PICK(1, 10, 600, 0); break;
    case 2: { /* who is to come is announced */
        struct kst_expectation x = {.master = h->connection, .tuple = draw_tuple()};
        x.class_ = (uint8_t)draw_below(3);
        if (kst_expect(h->t, &x) != KST_ERROR_OK)
            return KST_REASON_HELPER_EXPECT;
        break;
    }
    case 3:
    case 4: { /* its own connection goes, and another may have its place */
        struct kst_flow heir = {.tuple[0] = draw_tuple(), .timeout_ms = HEIR_MS};
        kst_delete(h->t, h->connection); /* if it has not expired, by a timeout of 0 */
        if (choice % 6 == 4 && kst__tuple_invert(&heir.tuple[0], &heir.tuple[1]))
            rig.heir = kst_insert(h->t, &heir, NULL);
        h->timeout_s = 9; /* of what? */
        break;
    }
    default: break;
    }
    return choice & 128 ? KST_REASON_HELPER : KST_REASON_NONE;
}

/* Who is expected, or is there. */
static struct kst_tuple draw_guest(void)
{
    const uint32_t choice = draw8(), number = draw8();
    if (choice < 128 && rig.expected_count > 0) {
        const struct kst_expectation *x = &rig.expected[number % rig.expected_count];
        struct kst_tuple tuple = x->tuple;
        if (x->flags & KST_EXPECT_ANY_SRC)
            memcpy(tuple.src, tuple.dst, sizeof tuple.src);
        if (x->flags & KST_EXPECT_ANY_SRC_PORT)
            tuple.src_port = choice & 3;
        return tuple;
    }
    return rig.known_count > 0 ? rig.known[number % rig.known_count].tuple[choice & 1] : draw_tuple();
}

/* A packet whose answer is a tuple that is known in both zones; else a guest's. */
static struct kst_tuple draw_twin(void)
{
    struct kst_tuple other, about;
    for (uint32_t i = 0; i < 2 * rig.known_count; i++)
        for (uint32_t j = 0; j < i; j++) {
            const struct kst_tuple *one = &rig.known[i / 2].tuple[i % 2];
            other = rig.known[j / 2].tuple[j % 2];
            other.zone = one->zone; /* the same but for that */
            if (rig.known[j / 2].tuple[j % 2].zone != one->zone && memcmp(one, &other, sizeof other) == 0 && kst__tuple_invert(one, &about))
                return about;
        }
    return draw_guest();
}

/* Whether a newcomer looks as its range allows, and nobody has its answers. */
static bool may_stay(const struct kst_flow *newcomer, const struct kst_nat_range *range)
{
    const struct kst_tuple *back = &newcomer->tuple[KST_REPLY];
    struct kst_flow flow;
    if (kst__protocol_of(back->protocol)->ports != KST__PORTS || (newcomer->status & KST_EXPECTED) ||
        memcmp(back, &newcomer->tuple[0], sizeof *back) == 0)
        return false;
    if (range != NULL && (((range->flags & KST_NAT_ADDRESS) && memcmp(back->dst, range->address[0], sizeof back->dst) != 0) ||
                          back->dst_port < range->port[0] || back->dst_port > range->port[1]))
        return false;
    for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id))
        if (id != newcomer->id && kst_get(rig.t, id, &flow) &&
            (memcmp(back, &flow.tuple[0], sizeof *back) == 0 || memcmp(back, &flow.tuple[1], sizeof *back) == 0))
            return false;
    return true;
}

/* Hook by hook, for a caller who calls on meanwhile, and makes another packet of it: shorter, or other bytes, so that the
 * last hook may find in it what the first would have refused. */
static struct kst_result by_hooks(struct kst_packet packet)
{
    const bool v6 = packet.data[0] >> 4 == 6;
    const uint32_t l4 = v6 ? 40 : 20 + 4 * ((packet.data[0] & 15u) - 5), choice = draw8(), at = draw8(), value = draw8();
    size_t size = packet.size;
    packet.flags |= KST_PACKET_DEFER;
    struct kst_result r = rig_track(rig.t, rig.now_ms, &packet);
    if (r.verdict != KST_ACCEPT || r.entry == 0)
        return r;
    uint8_t *bytes = fuzz_exact(packet.data, packet.size);
    for (uint32_t i = 0; i < 2; i++) {
        const enum kst_nat_kind kind = i == 0 ? KST_NAT_DESTINATION : KST_NAT_SOURCE;
        struct kst_nat_range range = {.flags = KST_NAT_PORT, .port = {1, (uint16_t)(1 + (choice & 3))}};
        if (at & 1) { /* to one of the two that there are, perhaps to who sends it */
            range.flags |= KST_NAT_ADDRESS;
            range.address[0][0] = v6 ? 0xfd : 10;
            range.address[0][v6 ? 15 : 3] = (uint8_t)(1 + (at >> (1 + i) & 1));
            memcpy(range.address[1], range.address[0], sizeof range.address[1]);
        }
        if ((r.flags & KST_CREATED) && (choice & (4u << i))) {
            struct kst_flow was = {0}, is = {0};
            fuzz_must(kst_get(rig.t, r.entry, &was));
            const bool stays = kind == KST_NAT_SOURCE && may_stay(&was, choice & 16 ? &range : NULL);
            fuzz_note(kst_bind(rig.t, r.entry, kind, choice & 16 ? &range : NULL));
            if (stays && kst_get(rig.t, r.entry, &is) && memcmp(is.tuple, was.tuple, sizeof is.tuple) != 0)
                fuzz_fail("whose answers nobody has gets others");
        }
        fuzz_note(kst_translate(rig.t, &r, kind, bytes, size));
    }
    if (choice >> 5 == 1)
        bytes[at % size] = (uint8_t)value;
    else if (choice >> 5 == 2 && l4 + 12 < size)
        bytes[l4 + 12] = (uint8_t)value; /* where a TCP header ends */
    else if (choice >> 5 == 3)
        bytes = fuzz_exact(bytes, (uint32_t)(size = 1 + at % size));
    else if (choice >> 5 == 4)
        kst_delete(rig.t, r.entry);
    else if (choice >> 5 == 5)
        kst_advance(rig.t, rig.now_ms, UINT32_MAX);
    const size_t before = size;
    if (choice >> 5 == 6)
        fuzz_same("kst_refuse", kst_refuse(rig.t, &r), (r.flags & KST_CREATED) != 0);
    else
        kst_confirm(rig.t, rig.now_ms, &packet, &r, bytes, &size, before);
    fuzz_must(size <= before);
    return r;
}

static void call_track(struct kst_tuple tuple)
{
    uint8_t data[160];
    const bool v6 = tuple.family == KST_IPV6;
    const uint32_t at = packet_begin(data, v6, 1, 2, tuple.protocol), half = v6 ? 16 : 4;
    const uint32_t flags = PICK(TCP_SYN, TCP_ACK, TCP_SYN | TCP_ACK, TCP_RST, TCP_FIN | TCP_ACK);
    memset(data + at, 0, 60);
    memcpy(data + (v6 ? 8 : 12), tuple.src, half);
    memcpy(data + (v6 ? 24 : 16), tuple.dst, half);
    put16(data + at, tuple.protocol == ICMP || tuple.protocol == ICMP6 ? tuple.dst_port : tuple.src_port);
    put16(data + at + 2, tuple.protocol == ICMP || tuple.protocol == ICMP6 ? 0 : tuple.dst_port);
    if (tuple.protocol == TCP) {
        put32(data + at + 4, draw8());
        put32(data + at + 8, draw8());
        data[at + 12] = 0x50;
        data[at + 13] = (uint8_t)flags;
        put16(data + at + 14, 1000);
    } else if (tuple.protocol == SCTP) {
        data[at + 12] = (uint8_t)PICK(1, 2, 10, 11, 0, 6, 4);
        data[at + 15] = 20;
        data[at + 19] = 1;
    }
    const uint32_t size = at + (tuple.protocol == SCTP ? 32 : 20) + draw_below(8);
    packet_seal(data, size, true);
    struct kst_packet packet = {.data = fuzz_exact(data, size), .size = size, .zone = tuple.zone};
    packet.flags = (uint8_t)(draw_chance(24) ? draw8() & 15 : 0);
    if (!(rig.config.features & KST_WITH_NAT))
        packet.flags &= KST_PACKET_NOTRACK | KST_PACKET_HEAD;
    packet.helper = (uint8_t)(draw_chance(64) && rig.config.expectations ? draw_below(7) : 0);
    packet.policy = (uint8_t)(draw_chance(32) ? draw_below(KST_POLICIES + 1) : 0);
    struct kst_flow heir;
    rig.heir = 0;
    rig.last = (rig.config.features & KST_WITH_NAT) && draw_chance(48) ? by_hooks(packet) : rig_track(rig.t, rig.now_ms, &packet);
    rig_note_result(&rig.last);
    if (rig.heir != 0 && kst_get(rig.t, rig.heir, &heir))
        fuzz_same("timeout of who was inserted meanwhile", heir.timeout_ms, HEIR_MS);
    fuzz_tell("%4u kst_track protocol %u: %s %s", rig.step, tuple.protocol, kst_state_name((enum kst_state)rig.last.state),
              kst_reason_name((enum kst_reason)rig.last.reason));
    check_newcomer();
}

/* An ICMP error about a packet of somebody: it belongs to who has the answer to that packet for a tuple, in that direction's zone. */
static void call_error(void)
{
    uint8_t data[200];
    struct kst_tuple about = draw_chance(128) ? draw_twin() : draw_guest(), answer;
    const bool v6 = about.family == KST_IPV6;
    const uint32_t at = packet_begin(data, v6, 77, 1, v6 ? ICMP6 : ICMP), half = v6 ? 16 : 4;
    uint8_t *inner = data + at + 8;
    memset(data + at, 0, 8);
    memset(inner, 0, 80);
    const uint32_t inner_at = packet_begin(inner, v6, 1, 2, about.protocol), size = at + 8 + inner_at + 20;
    memcpy(data + (v6 ? 24 : 16), about.src, half);
    memcpy(inner + (v6 ? 8 : 12), about.src, half);
    memcpy(inner + (v6 ? 24 : 16), about.dst, half);
    put16(inner + inner_at, about.src_port);
    put16(inner + inner_at + 2, about.dst_port);
    inner[inner_at + 12] = 0x50;
    packet_seal(inner, inner_at + 20, true);
    put16(data + at, v6 ? 0x0100 : 0x0301);
    packet_seal(data, size, true);
    if (kst__protocol_of(about.protocol)->ports != KST__PORTS || !kst__tuple_invert(&about, &answer))
        return;
    struct kst_packet packet = {.data = fuzz_exact(data, size), .size = size, .zone = about.zone};
    if (rig.config.features & KST_WITH_NAT) {
        const uint32_t how = draw8();
        packet.flags = how & 1 ? how & 2 ? KST_PACKET_ZONE_REPLY : KST_PACKET_ZONE_ORIGINAL : 0;
        if (how & 4)
            packet.zone = about.zone = how >> 3 & 1;
    }
    rig.now_ms += PICK(0, 0, 1, 1000, 30000); /* so that some have expired, and are not collected */
    kst_advance(rig.t, rig.now_ms, 0);
    kst_id whose[4];
    uint32_t whose_count = 0;
    for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id)) {
        struct kst_flow flow;
        fuzz_must(kst_get(rig.t, id, &flow));
        for (uint32_t dir = 0; dir < 2; dir++) {
            const uint32_t elsewhere = dir == KST_ORIGINAL ? KST_PACKET_ZONE_REPLY : KST_PACKET_ZONE_ORIGINAL;
            answer.zone = packet.flags == elsewhere ? 0 : about.zone;
            if (memcmp(&flow.tuple[dir], &answer, sizeof answer) == 0) {
                fuzz_must(whose_count < 4);
                whose[whose_count++] = id;
            }
        }
    }
    rig.last = rig_track(rig.t, rig.now_ms, &packet);
    rig_note_result(&rig.last);
    fuzz_tell("%4u an error about protocol %u: %s %s", rig.step, about.protocol, kst_state_name((enum kst_state)rig.last.state),
              kst_reason_name((enum kst_reason)rig.last.reason));
    if (rig.last.verdict != KST_ACCEPT)
        return; /* helpers hear errors, too */
    fuzz_same("whether somebody is related", rig.last.state == KST_RELATED, whose_count > 0);
    bool named = whose_count == 0;
    for (uint32_t i = 0; i < whose_count; i++)
        named = named || whose[i] == rig.last.entry;
    fuzz_must(named);
}

static void call_insert(void)
{
    struct kst_flow flow, back;
    enum kst_error why;
    memset(&flow, 0, sizeof flow);
    flow.tuple[0] = draw_tuple();
    if (!kst__tuple_invert(&flow.tuple[0], &flow.tuple[1]) || draw_chance(24)) {
        flow.tuple[1] = draw_tuple();
        if (kst__is_icmp(flow.tuple[1].protocol))
            flow.tuple[1].dst_port = flow.tuple[1].family == KST_IPV4 ? 0 : 0x8100;
    }
    flow.timeout_ms = PICK(1000, 1, 60000, 0, 432000000);
    flow.status = (uint16_t)PICK(0, KST_SEEN_REPLY, KST_SEEN_REPLY | KST_ASSURED, KST_ASSURED, KST_FIXED_TIMEOUT, 1 << 7, 1 << 9, 1 << 11);
    flow.state = (uint8_t)(flow.tuple[0].protocol == TCP || flow.tuple[0].protocol == SCTP ? draw_below(11) : draw_chance(8));
    flow.mark = draw8();
    flow.labels[3] = (uint8_t)draw8();
    flow.accounted = draw_chance(rig.config.features & KST_WITH_ACCOUNTING ? 128 : 8);
    flow.packets[0] = flow.accounted ? draw8() : 0;
    flow.helper = (uint8_t)(draw_chance(16) ? draw_below(7) : 0);
    flow.policy = (uint8_t)(draw_chance(16) ? draw_below(9) : 0);
    const uint32_t spoil = draw8(), count = kst_count(rig.t);
    if (spoil >= 240) { /* no packet has such a tuple */
        struct kst_tuple *one = &flow.tuple[spoil & 1];
        if (one->family == KST_IPV4 && (spoil & 2))
            one->src[4 + spoil % 12] = 1;
        else
            one->family = (uint8_t)(spoil % 3 == 0 ? 0 : 3);
    }
    const kst_id id = kst_insert(rig.t, &flow, &why);
    fuzz_must(id == 0 || spoil < 240);
    fuzz_tell("%4u kst_insert protocol %u: %s", rig.step, flow.tuple[0].protocol, kst_error_text(why));
    fuzz_must((id != 0) == (why == KST_ERROR_OK));
    fuzz_note(why);
    if (id == 0) {
        fuzz_must(kst_count(rig.t) <= count);
        return;
    }
    fuzz_must(kst_get(rig.t, id, &back) && back.id == id);
    fuzz_must(memcmp(back.tuple, flow.tuple, sizeof flow.tuple) == 0);
    fuzz_must(!(flow.status & (1 << 9 | 1 << 11))); /* which mean nothing */
    fuzz_must(back.timeout_ms == flow.timeout_ms && back.state == flow.state && back.mark == flow.mark);
    fuzz_must(back.packets[0] == flow.packets[0] && back.helper == flow.helper && back.policy == flow.policy);
    fuzz_must((back.status & ~(KST_CONFIRMED | KST__NAT)) == (flow.status & ~(KST_CONFIRMED | KST__NAT))); /* the tuples tell */
    if (draw_chance(64)) { /* out and in again: the same but for its name */
        struct kst_flow again;
        fuzz_must(kst_delete(rig.t, id) && !kst_get(rig.t, id, &again));
        const kst_id other = kst_insert(rig.t, &back, &why);
        if (other == 0)
            fuzz_fail("what was given out is not taken back: %s", kst_error_text(why));
        fuzz_must(kst_get(rig.t, other, &again));
        again.id = back.id;
        fuzz_must(memcmp(again.tuple, back.tuple, sizeof back.tuple) == 0 && again.timeout_ms == back.timeout_ms &&
                  again.status == back.status && again.state == back.state && again.mark == back.mark);
    }
}

static void call_expect(void)
{
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = draw_id();
    x.tuple = draw_tuple();
    const uint32_t flags = draw8();
    x.flags = (uint8_t)(flags & (draw_chance(16) ? 255 : 63));
    if (x.flags & KST_EXPECT_ANY_SRC)
        memset(x.tuple.src, 0, sizeof x.tuple.src);
    x.timeout_ms = PICK(1000, 0, 1, 300000);
    x.class_ = (uint8_t)draw_below(5);
    x.child_helper = (uint8_t)(draw_chance(32) ? draw_below(7) : 0);
    const uint32_t count = kst_expectation_count(rig.t);
    const enum kst_error error = kst_expect(rig.t, &x);
    fuzz_tell("%4u kst_expect: %s", rig.step, kst_error_text(error));
    fuzz_note(error);
    check_expected(&x, error);
    if (error != KST_ERROR_OK)
        fuzz_must(kst_expectation_count(rig.t) <= count);
    uint32_t most;
    fuzz_must(kst_setting(rig.t, "nf_conntrack_expect_max", &most));
    fuzz_must(kst_expectation_count(rig.t) <= count || count < most);
}

static kst_id draw_expectation(void)
{
    const uint32_t number = draw8();
    return rig.expected_count > 0 && number < 240 ? rig.expected[number % rig.expected_count].id : (kst_id)number << 32;
}

/* A walk on which some of those ahead and behind are deleted, and newcomers come. */
static void call_walk(void)
{
    kst_id there[KNOWN_MAX], met[KNOWN_MAX];
    uint32_t there_count = 0, met_count = 0;
    struct kst_flow flow;
    for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id))
        there[there_count++] = id;
    fuzz_tell("%4u a walk over %u", rig.step, there_count);
    for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id)) {
        fuzz_must(met_count < KNOWN_MAX);
        met[met_count++] = id;
        const uint32_t choice = draw8();
        if (choice >= 160 && there_count > 0) /* which takes a call along that it announced */
            kst_delete(rig.t, choice >= 200 ? id : there[choice % there_count]);
    }
    for (uint32_t i = 0; i < there_count; i++) {
        uint32_t times = 0;
        for (uint32_t j = 0; j < met_count; j++)
            times += met[j] == there[i];
        if (times > 1 || (times == 0 && kst_get(rig.t, there[i], &flow)))
            fuzz_fail("a walk meets one that is there %u times", times);
    }
}

static void call_set(void)
{
    uint32_t number = draw8(), settings = 0, value = PICK(0, 1, 2, 30, 600, 8589934, 100, 50, 65536), low, high;
    while (kst_setting_name(settings) != NULL)
        settings++;
    const char *name = kst_setting_name(number % settings);
    if (strcmp(name, "nf_conntrack_events") == 0)
        return; /* the follower must hear everything */
    const uint32_t policy = draw_chance(32) ? draw_below(9) : 0;
    const enum kst_error error = policy != 0 ? kst_set_policy(rig.t, (uint8_t)policy, name, value) : kst_set(rig.t, name, value);
    fuzz_tell("%4u %s = %u: %s", rig.step, name, value, kst_error_text(error));
    fuzz_must(kst_setting_range(rig.t, name, &low, &high) && low <= high);
    fuzz_must(error != KST_ERROR_OK || (value >= low && value <= high));
}

/* What there is of ports that have a helper, so far; false if there is no room for this one. */
static bool note_attached(uint8_t protocol, uint16_t port, bool taken_off)
{
    uint32_t i = 0;
    while (i < rig.attached_count && (rig.attached[i].protocol != protocol || rig.attached[i].port != port))
        i++;
    if (taken_off) {
        if (i < rig.attached_count)
            rig.attached[i] = rig.attached[--rig.attached_count];
        return true;
    }
    if (i == KST_ATTACH_MAX)
        return false;
    rig.attached[i].protocol = protocol;
    rig.attached[i].port = port;
    rig.attached_count += i == rig.attached_count;
    return true;
}

static void attach(uint8_t protocol, uint16_t port, uint8_t helper)
{
    const enum kst_error error = kst_attach(rig.t, protocol, port, helper);
    if (error != KST_ERROR_HELPER)
        fuzz_same("kst_attach", error, note_attached(protocol, port, helper == 0) ? KST_ERROR_OK : KST_ERROR_HELPERS_MANY);
}

static void attach_usual(void)
{
    enum kst_error expected = rig.config.expectations == 0 ? KST_ERROR_HELPER : KST_ERROR_OK;
    for (uint8_t number = 1; kst__helper(number) != NULL && expected == KST_ERROR_OK; number++) {
        const struct kst_helper *helper = kst__helper(number);
        if (helper->port != 0 && !note_attached(helper->protocols[0], helper->port, false))
            expected = KST_ERROR_HELPERS_MANY;
    }
    fuzz_same("kst_attach_usual", kst_attach_usual(rig.t), expected);
}

static void call_odd(void)
{
    static const uint8_t labels[KST_LABEL_BYTES] = {1, 2, 3};
    uint8_t odd[KST_LABEL_BYTES] = {0};
    const uint32_t choice = draw8();
    const kst_id id = draw_id();
    struct kst_flow flow;
    const bool there = kst_get(rig.t, id, &flow);
    switch (choice % 8) {
    case 0: fuzz_same("kst_set_mark", kst_set_mark(rig.t, id, choice >> 3), there); break;
    case 1:
        odd[0] = (uint8_t)choice;
        fuzz_same("kst_set_labels", kst_set_labels(rig.t, id, choice & 128 ? labels : odd),
                  there && (rig.config.features & KST_WITH_LABELS));
        break;
    case 2: {
        const uint32_t protocol = PICK(TCP, UDP, SCTP), port = PICK(21, 1, 2, 3), helper = draw_below(7);
        for (uint32_t more = 0; more <= (choice < 64 ? choice : 0); more++)
            attach((uint8_t)protocol, (uint16_t)(port + more), (uint8_t)helper);
        break;
    }
    case 3: attach_usual(); break;
    case 4: fuzz_must(!kst_refuse(rig.t, &rig.last) || (rig.last.flags & KST_CREATED)); break;
    case 5: {
        const kst_id expected = draw_expectation();
        struct kst_expectation x;
        const bool is = kst_expectation_get(rig.t, expected, &x);
        fuzz_same("kst_expectation_renew", kst_expectation_renew(rig.t, expected, is ? x.flags : 0, 1 + choice * 100u), is);
        for (uint32_t i = 0; i < rig.expected_count && is; i++)
            if (rig.expected[i].id == expected)
                rig.expected_until_ms[i] = rig.now_ms + 1 + choice * 100u;
        break;
    }
    case 6: {
        uint32_t own = 0;
        for (kst_id x = kst_expectation_own(rig.t, id, 0); x != 0; x = kst_expectation_own(rig.t, id, x), own++) {
            struct kst_expectation copy;
            fuzz_must(kst_expectation_get(rig.t, x, &copy) && copy.master == id);
            fuzz_must(own < EXPECTED_MAX);
        }
        fuzz_must(there || own == 0);
        break;
    }
    default: {
        const kst_id expected = draw_expectation();
        struct kst_expectation x;
        const bool is = kst_expectation_get(rig.t, expected, &x);
        fuzz_same("kst_expectation_delete", kst_expectation_delete(rig.t, expected), is);
        fuzz_must(!kst_expectation_get(rig.t, expected, &x));
    }
    }
}

static void step(void)
{
    const uint32_t kind = draw8();
    if (kind < 110) {
        call_track(kind < 70 ? draw_tuple() : draw_guest());
    } else if (kind < 150) {
        call_insert();
    } else if (kind < 165) {
        call_expect();
    } else if (kind < 185) {
        const kst_id id = draw_id();
        struct kst_flow flow;
        const bool there = kst_get(rig.t, id, &flow);
        fuzz_tell("%4u kst_delete", rig.step);
        fuzz_same("kst_delete", kst_delete(rig.t, id), there);
    } else if (kind < 205) {
        const uint32_t work = PICK(UINT32_MAX, 0, 1, 2, 8);
        rig.now_ms += PICK(0, 1, 63, 64, 1000, 10000, 30000, 300000, 1000000000);
        const uint32_t used = kst_advance(rig.t, rig.now_ms, work);
        fuzz_tell("%4u kst_advance to %" PRIu64 ": %u of %u steps", rig.step, rig.now_ms, used, work);
        fuzz_must(used <= work);
        if (used < work) {
            uint32_t live = 0;
            for (kst_id id = kst_next(rig.t, 0); id != 0; id = kst_next(rig.t, id))
                live++;
            fuzz_same("connections when all work is done", live, kst_count(rig.t));
        }
    } else if (kind < 220) {
        call_set();
    } else if (kind < 226) {
        call_walk();
    } else if (kind < 228) {
        fuzz_tell("%4u kst_flush", rig.step);
        kst_flush(rig.t);
        fuzz_same("connections behind a flush", kst_count(rig.t), 0);
        fuzz_same("expectations behind a flush", kst_expectation_count(rig.t), 0);
    } else if (kind < 234) {
        call_error();
    } else if (kind < 236) {
        struct kst *elsewhere = fuzz_alloc(rig.bytes, KST_ALIGN);
        fuzz_tell("%4u the block moves", rig.step);
        memcpy(elsewhere, rig.t, rig.bytes);
        memset(rig.t, 0xdb, rig.bytes);
        fuzz_free(rig.t);
        rig.t = elsewhere;
    } else {
        fuzz_tell("%4u another call", rig.step);
        call_odd();
    }
}

/* A configuration that means nothing is refused, in words, and touches no memory. */
static void refuse(uint32_t how)
{
    struct kst_config config = rig.config;
    enum kst_error why = KST_ERROR_OK;
    uint8_t *block = fuzz_alloc(64, 64);
    switch (how % 8) {
    case 0: config.max = 0; break;
    case 1: config.max = UINT32_MAX; break;
    case 2: config.features = 1u << 20; break;
    case 3: config.evict[0] = 1, config.evict[1] = 1; break;
    case 4: config.reassembly_bytes = 1; break;
    case 5: config.expectations = UINT32_MAX; break;
    case 6: config.events = UINT32_MAX; break;
    default: config.buckets = UINT32_MAX; break;
    }
    fuzz_same("kst_bytes of a wrong configuration", kst_bytes(&config), 0);
    fuzz_must(kst_init(block, 64, &config, &why) == NULL && why != KST_ERROR_OK);
    fuzz_must(kst_init(block, 64, &rig.config, &why) == NULL && why == KST_ERROR_MEMORY_SHORT);
    fuzz_must(kst_init(NULL, rig.bytes, &rig.config, &why) == NULL && why == KST_ERROR_NO_MEMORY);
    fuzz_must(kst_init(block + 1, rig.bytes, &rig.config, &why) == NULL && why == KST_ERROR_MEMORY_ALIGN);
    fuzz_must(kst_init(block, 64, NULL, &why) == NULL && why == KST_ERROR_NO_CONFIG);
    for (uint32_t i = 0; i < 64; i++)
        fuzz_must(block[i] == 0);
}

static void run(const uint8_t *data, size_t size)
{
    memset(&rig, 0, sizeof rig);
    rig.config.max = 1 + draw8() % 24;
    rig.config.features = draw8() & 15;
    rig.config.expectations = draw_below(3) * 8;
    rig.config.events = EVENTS;
    rig.config.buckets = PICK(0, 0, 1, 64);
    rig.config.start_ms = rig.now_ms = PICK(0, 1000, UINT32_MAX - 1000);
    rig.config.seed[0] = draw8();
    rig_back_ends(&rig.config, false);
    const uint32_t how = draw8();
    rig.few = how >= 240;
    if (rig.few)
        rig.config.events = 3;
    rig.bytes = kst_bytes(&rig.config);
    refuse(how);
    rig.t = rig_table(&rig.config);
    if (rig.config.features & KST_WITH_ACCOUNTING)
        fuzz_must(kst_set(rig.t, "nf_conntrack_acct", 1) == KST_ERROR_OK);
    for (uint32_t number = 0; draw_record(data, size, number); number++) {
        rig.step++;
        step();
        if (rig.few)
            skim_events();
        else
            read_events();
        compare();
        rig_check(rig.t);
    }
    rig_note_table(rig.t);
}

const struct fuzz_target fuzz_target = {"api", FUZZ_RECORDS, 8, 20, STEPS_MAX, run, false};
