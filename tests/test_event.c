/* SPDX-License-Identifier: MIT */
/* test_event.c - properties: what happens is told once, in order, with its cause; who follows the
 * events knows the table; when nobody listens, or the ring is full, nothing else changes; and they
 * print as `conntrack -E` prints them. */
#define KST_IMPLEMENTATION
#include "support.h"

static const struct kst_config config = {
    .max = 4, .features = KST_WITH_LABELS, .expectations = 8, .events = 64, .seed = {1, 2}};

/* All that waits, in short: N; U and what changed; D and the cause; E+ and E-; P and R, and how many. */
static const char *told(struct kst *t)
{
    static const char *const names[] = {"N", "U", "D", "E+", "E-", "P", "R"};
    static char text[1000];
    struct kst_event event;
    size_t length = 0;
    text[0] = '\0';
    while (kst_event_next(t, &event)) {
        must(event.type <= KST_EVENT_RELIEF);
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length > 0 ? " " : "",
                                   names[event.type]);
        if (event.type == KST_EVENT_UPDATE || event.type == KST_EVENT_DESTROY || event.type >= KST_EVENT_PRESSURE)
            length += (size_t)snprintf(text + length, sizeof text - length, "%u",
                                       event.type == KST_EVENT_UPDATE    ? event.changed
                                       : event.type == KST_EVENT_DESTROY ? event.cause
                                                                         : event.about.count);
        must(length < sizeof text);
        must_be(event.time_ms, t->now_ms);
    }
    must_be_sound(t);
    return text;
}

#define must_tell(t, expected)                                                                     \
    do {                                                                                           \
        const char *told_ = told(t);                                                               \
        must_read(told_, expected);                                                                \
    } while (0)

static struct kst_expectation to_expect(kst_id master, struct say say)
{
    return (struct kst_expectation){.master = master, .tuple = tuple_of(say), .timeout_ms = 5000};
}

START_TEST(what_packets_do)
{
    const struct {
        uint64_t at_ms;
        struct say say;
        const char *told;
    } steps[] = {
        {0, stranger(1), "N"},
        {0, stranger(1), ""},
        {0, answer_to(stranger(1)), "U1"}, /* the first answer */
        {0, answer_to(stranger(1)), ""},
        {2500, stranger(1), "U2"}, /* ASSURED */
        {2600, stranger(1), ""},
        {2600, tcp(0, SYN, 1000, 0, 0), "N"},
        {2600, tcp(0, SYN, 1000, 0, 0), ""},
        {2600, tcp(1, SYN | ACK, 5000, 1001, 0), "U5"}, /* an answer, and SYN_RECV */
        {2600, tcp(0, ACK, 1001, 5001, 0), "U6"},       /* ASSURED, and ESTABLISHED */
        {2600, tcp(0, ACK, 1001, 5001, 9), ""},
        {2600, tcp(0, FIN | ACK, 1010, 5001, 0), "U4"},
        {2600, tcp(1, ACK, 5001, 1011, 0), "U4"},
        {2600, tcp(1, FIN | ACK, 5001, 1011, 0), "U4"},
        {2600, tcp(0, ACK, 1011, 5002, 0), "U4"},
        {2600, tcp(0, SYN, 90000, 0, 0), "D2 N"}, /* REPLACED */
        {2600, tcp(1, RST | ACK, 0, 90001, 0), "D1"}, /* CLOSED */
        {2600, tcp(0, FIN | ACK, 1, 1, 0), ""}, /* INVALID */
        {2600, sctp(0, 0, 1), "N"},
        {2600, sctp(1, 0, 2), "U5"},
        {32600 + 120000, stranger(1), "D0 N"}, /* EXPIRED, found by a packet */
    };
    struct kst *t = table_new(config);
    for (size_t i = 0; i < COUNT(steps); i++) {
        about("step %zu", i);
        track(t, steps[i].at_ms, steps[i].say);
        must_tell(t, steps[i].told);
    }
    must_be(kst_statistics(t)->events_lost, 0);
    free(t);
}
END_TEST

/* Of a packet that is refused what its first chunk did remains, and is told. */
START_TEST(what_a_refused_packet_does)
{
    const struct say steps[] = {sctp(0, 0, 1), sctp(1, 0, 2), sctp(0, 0, 10), sctp(1, 0, 11)};
    static const uint8_t chunks[] = {7, 0, 0, 8, 0, 0, 0, 0, 6, 0, 0, 4}; /* SHUTDOWN, ABORT */
    struct kst *t = table_new(config);
    struct say last = sctp(0, 5, 0); /* with another's tag */
    for (size_t i = 0; i < COUNT(steps); i++)
        must_say(track(t, 0, steps[i]), KST_REASON_NONE);
    must_tell(t, "N U5 U4 U6");
    last.body = chunks;
    last.bytes = sizeof chunks;
    must_say(track(t, 0, last), KST_REASON_SCTP_TAG);
    must_tell(t, "U4");
    free(t);
}
END_TEST

/* Every cause, and the caller's doings. */
START_TEST(what_calls_do)
{
    struct kst *t = table_new(config);
    const uint8_t labels[KST_LABEL_BYTES] = {[3] = 7};
    struct kst_result result = track(t, 0, stranger(1));
    must_tell(t, "N");
    must(kst_set_mark(t, result.entry, 5) && kst_set_mark(t, result.entry, 5));
    must_tell(t, "U8");
    must(kst_set_labels(t, result.entry, labels) && kst_set_labels(t, result.entry, labels));
    must_tell(t, "U16");
    must(kst_refuse(t, &result));
    must_tell(t, "D6");
    must(!kst_set_mark(t, result.entry, 6) && !kst_refuse(t, &result) && !kst_delete(t, result.entry));
    const struct kst_flow flow = flow_of(stranger(1), 1500);
    const kst_id inserted = kst_insert(t, &flow, NULL);
    must_tell(t, "N");
    must_be(kst_insert(t, &flow, NULL), 0); /* exists */
    must_tell(t, "");
    must(kst_delete(t, inserted));
    must_tell(t, "D5");
    for (uint32_t i = 0; i < 4; i++)
        track(t, 0, stranger(i));
    must_tell(t, "N N N P4 N"); /* it is full */
    must_say(track(t, 0, stranger(9)), KST_REASON_TABLE_EVICTED);
    must_tell(t, "D4 R3 P4 N");
    kst_advance(t, 29999, 100);
    must_tell(t, "");
    kst_advance(t, 30000, 2);
    kst_advance(t, 30000, 100);
    must_tell(t, "D0 R3 D0 D0 D0");
    free(t); /* which slots are free is up to the timer: to begin anew is to know */
    t = table_new(config);
    track(t, 30000, stranger(1));
    track(t, 30000, stranger(2));
    must_tell(t, "N N");
    track(t, 40000, stranger(1));
    must_tell(t, "");
    kst_track(t, 60000, NULL, 0, NULL);
    kst_flush(t); /* of the two one is over already */
    must_tell(t, "D5 D0"); /* by their slots */
    kst_flush(t);
    must_tell(t, "");
    free(t);
}
END_TEST

START_TEST(what_expectations_do)
{
    struct kst *t = table_new(config);
    struct say foretold = {.protocol = UDP, .from = 3, .to = 4, .sport = 5, .dport = 6};
    const kst_id master = track(t, 0, stranger(1)).entry;
    struct kst_expectation x = to_expect(master, foretold);
    must_tell(t, "N");
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must_tell(t, "E+");
    must_be(kst_expect(t, &x), KST_ERROR_OK); /* replaced */
    must_tell(t, "E- E+");
    x.class_ = 1;
    must_be(kst_expect(t, &x), KST_ERROR_EXPECT_EXISTS);
    must(kst_expectation_renew(t, kst_expectation_next(t, 0), 0, 6000));
    must_tell(t, "");
    must_be(track(t, 0, foretold).state, KST_RELATED); /* it came */
    must_tell(t, "E- N");
    x.class_ = 0;
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must(kst_expectation_delete(t, kst_expectation_next(t, 0)));
    must_tell(t, "E+ E-");
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must_tell(t, "E+");
    kst_advance(t, 5000, 100);
    must_tell(t, "E-");
    x.tuple.dst_port = 7;
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    x.tuple.dst_port = 8;
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must(kst_delete(t, master));
    must_tell(t, "E+ E+ D5 E- E-");

    /* A helper's, before its connection is told of; and of a call that goes with its session. */
    const uint8_t read[2] = {0, 1};
    const struct say request = {.protocol = UDP, .from = 1, .to = 2, .sport = 7, .dport = 69,
                                .bytes = 2, .body = read};
    must_be(kst_attach(t, UDP, 69, kst_helper_number("tftp")), KST_ERROR_OK);
    const kst_id tftp = track(t, 5000, request).entry;
    must_tell(t, "E+ N");
    struct kst__help *help = kst__help_at(t, (uint32_t)tftp); /* as if it were PPTP's */
    help->calls = true;
    help->call[0] = 5;
    help->call[1] = 6;
    struct kst_flow call = flow_of((struct say){.protocol = GRE}, 9000);
    kst__call_tuple(t, (uint32_t)tftp, 0, &call.tuple[0]);
    kst__tuple_invert(&call.tuple[0], &call.tuple[1]);
    must(kst_insert(t, &call, NULL) != 0);
    must_tell(t, "N");
    must(kst_delete(t, tftp));
    must_tell(t, "D5 D3 E-"); /* CALLED_OFF */
    free(t);
}
END_TEST

/* What an event holds. */
START_TEST(what_is_told)
{
    struct kst *t = table_new((struct kst_config){
        .max = 4, .features = KST_WITH_ACCOUNTING, .expectations = 4, .events = 16});
    struct kst_event event;
    struct kst_flow flow;
    must(!kst_event_next(t, &event));
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
    const kst_id id = track(t, 1000, stranger(1)).entry;
    track(t, 2000, answer_to(stranger(1)));
    struct kst_expectation x = to_expect(id, stranger(9)), same;
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must(kst_expectation_get(t, kst_expectation_next(t, 0), &x));
    must(kst_get(t, id, &flow));
    kst_track(t, 3000, NULL, 0, NULL);
    must(kst_delete(t, id));

    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_NEW);
    must_be(event.time_ms, 1000);
    must_be(event.about.flow.id, id);
    must_be(event.about.flow.packets[0], 1); /* the first is counted */
    must_be(event.about.flow.status, KST_CONFIRMED);
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_UPDATE);
    must_be(event.changed, KST_CHANGED_REPLY);
    must_be(event.time_ms, 2000);
    must(memcmp(&event.about.flow, &flow, sizeof flow) == 0); /* as it was then */
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_EXPECT_NEW);
    must(memcmp(&event.about.expectation, &x, sizeof x) == 0);
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_DESTROY);
    must_be(event.cause, KST_GONE_DELETED);
    must_be(event.time_ms, 3000);
    must_be(event.about.flow.timeout_ms, 29000);
    must_be(event.about.flow.packets[1], 1);
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_EXPECT_DESTROY);
    same = event.about.expectation;
    must_be(same.id, x.id);
    must_be(same.master, id);
    must(memcmp(&same.tuple, &x.tuple, sizeof x.tuple) == 0);
    must_be(same.timeout_ms, 4000);
    must(!kst_event_next(t, &event));
    free(t);
}
END_TEST

/* ---- who does not listen ---- */

START_TEST(overflow)
{
    struct kst *t = table_new((struct kst_config){.max = 32, .events = 4});
    struct kst_event event;
    for (uint32_t round = 0, number = 0; round < 20; round++) { /* the ring turns */
        const uint64_t lost = kst_statistics(t)->events_lost;
        const uint32_t more = round % 3, first = number;
        for (uint32_t i = 0; i < 4 + more; i++)
            must_be(track(t, 0, stranger(number++)).flags, KST_CREATED);
        about("round %u", round);
        must_be(kst_statistics(t)->events_lost, lost + more); /* the newest are lost */
        for (uint32_t i = 0; i < 4; i++) {
            must(kst_event_next(t, &event));
            must_be(event.about.flow.tuple[0].src_port, first + i);
            if (i == 1 && round % 2 == 0) { /* there is room again */
                const kst_id id = track(t, 0, stranger(first)).entry;
                must(kst_set_mark(t, id, round + 1));
            }
        }
        if (round % 2 == 0) {
            must(kst_event_next(t, &event));
            must_be(event.type, KST_EVENT_UPDATE);
            must_be(event.about.flow.mark, round + 1);
        }
        must(!kst_event_next(t, &event));
        must_be_sound(t);
        must_be(kst_set(t, "nf_conntrack_events", 0), KST_ERROR_OK);
        kst_flush(t);
        must_be(kst_set(t, "nf_conntrack_events", 2), KST_ERROR_OK);
    }
    free(t);
}
END_TEST

START_TEST(switched_off)
{
    struct kst *t = table_new(config);
    track(t, 0, stranger(1));
    must_be(kst_set(t, "nf_conntrack_events", 0), KST_ERROR_OK);
    const kst_id id = track(t, 0, stranger(2)).entry;
    kst_set_mark(t, id, 1);
    must(kst_delete(t, id));
    must_tell(t, "N"); /* what waited is still there */
    must_be(kst_statistics(t)->events_lost, 0);
    must_be(kst_set(t, "nf_conntrack_events", 1), KST_ERROR_OK);
    track(t, 0, answer_to(stranger(1)));
    must_tell(t, "U1");
    free(t);
    t = table_new((struct kst_config){.max = 2}); /* no room for any */
    struct kst_event event;
    must_be(kst_set_mark(t, track(t, 0, stranger(1)).entry, 1), true);
    kst_flush(t);
    must(!kst_event_next(t, &event));
    must_be(kst_statistics(t)->events_lost, 0);
    free(t);
}
END_TEST

/* ---- pressure ---- */

START_TEST(pressure)
{
    struct kst *t = table_new((struct kst_config){.max = 100, .events = 200, .evict = {KST_CLASS_UNREPLIED + 1}});
    uint32_t number = 0;
    kst_id ids[300];
    must_be(kst_set(t, "keepstate_pressure_high", 80), KST_ERROR_OK);
    must_be(kst_set(t, "keepstate_pressure_low", 50), KST_ERROR_OK);
    for (; number < 79; number++)
        ids[number] = track(t, 0, stranger(number)).entry;
    must(strchr(told(t), 'P') == NULL);
    ids[number++] = track(t, 0, stranger(1000)).entry;
    must_tell(t, "P80 N");
    ids[number++] = track(t, 0, stranger(1001)).entry;
    must_tell(t, "N"); /* told once */
    while (kst_count(t) > 51)
        must(kst_delete(t, ids[--number]));
    must(strchr(told(t), 'R') == NULL); /* up and down between the two: nothing */
    for (; kst_count(t) < 90; number++)
        ids[number] = track(t, 0, stranger(2000 + number)).entry;
    must(strchr(told(t), 'P') == NULL);
    while (kst_count(t) > 50)
        must(kst_delete(t, ids[--number]));
    must(strchr(told(t), 'R') == NULL);
    must(kst_delete(t, ids[--number]));
    must_tell(t, "D5 R49");
    must(kst_delete(t, ids[--number]));
    must_tell(t, "D5");
    must_be(kst_set(t, "nf_conntrack_max", 50), KST_ERROR_OK); /* percent of what may be in it now */
    ids[number] = track(t, 0, stranger(5000)).entry;
    must_tell(t, "P49 N");
    kst_flush(t);
    const char *all = told(t);
    must(strstr(all, " R24 ") != NULL && strchr(all, 'P') == NULL);
    kst_flush(t);

    /* The lower above the higher: the higher alone counts. */
    must_be(kst_set(t, "nf_conntrack_max", 10), KST_ERROR_OK);
    must_be(kst_set(t, "keepstate_pressure_high", 20), KST_ERROR_OK);
    must_be(kst_set(t, "keepstate_pressure_low", 90), KST_ERROR_OK);
    const kst_id first = track(t, 0, stranger(1)).entry;
    must_tell(t, "N");
    track(t, 0, stranger(2));
    must_tell(t, "P2 N");
    must(kst_delete(t, track(t, 0, stranger(3)).entry));
    must_tell(t, "N D5");
    must(kst_delete(t, first));
    must_tell(t, "D5 R1");
    free(t);
}
END_TEST

/* ---- at random: who follows the events knows the table ---- */

enum { WORLD = 1500, KNOWN = 64 };

struct follower {
    struct kst_flow flows[KNOWN];
    struct kst_expectation expectations[KNOWN];
    uint32_t flow_count, expectation_count;
};

static void follow(struct follower *f, const struct kst_event *event)
{
    const struct kst_flow *flow = &event->about.flow;
    const struct kst_expectation *x = &event->about.expectation;
    uint32_t i = 0;
    about("event of type %u", event->type);
    switch (event->type) {
    case KST_EVENT_NEW:
    case KST_EVENT_UPDATE:
    case KST_EVENT_DESTROY:
        while (i < f->flow_count && f->flows[i].id != flow->id)
            i++;
        must_be(i < f->flow_count, event->type != KST_EVENT_NEW);
        if (event->type == KST_EVENT_UPDATE) { /* tells what is new, and all that is new */
            const struct kst_flow *was = &f->flows[i];
            const uint32_t risen = flow->status & ~(uint32_t)was->status;
            must(event->changed != 0);
            must_be((event->changed & KST_CHANGED_REPLY) != 0, (risen & KST_SEEN_REPLY) != 0);
            must_be((event->changed & KST_CHANGED_ASSURED) != 0, (risen & KST_ASSURED) != 0);
            must_be((event->changed & KST_CHANGED_STATE) != 0, flow->state != was->state);
            must_be((event->changed & KST_CHANGED_MARK) != 0, flow->mark != was->mark);
        }
        if (event->type == KST_EVENT_DESTROY) {
            f->flows[i] = f->flows[--f->flow_count];
        } else {
            must(i < KNOWN);
            f->flows[i] = *flow;
            f->flow_count += i == f->flow_count;
        }
        break;
    default:
        while (i < f->expectation_count && f->expectations[i].id != x->id)
            i++;
        must_be(i < f->expectation_count, event->type == KST_EVENT_EXPECT_DESTROY);
        must(i < KNOWN);
        if (event->type == KST_EVENT_EXPECT_DESTROY)
            f->expectations[i] = f->expectations[--f->expectation_count];
        else
            f->expectations[f->expectation_count++] = *x;
        break;
    }
}

START_TEST(who_follows_knows)
{
    uint32_t types[7] = {0};
    draw_state = 41;
    for (uint32_t run = 0; run < 20; run++) {
        struct kst *t = table_new((struct kst_config){.max = 50, .expectations = 20, .events = 2000,
                                                      .seed = {run, 1}});
        static struct follower f;
        struct kst_event event;
        f.flow_count = f.expectation_count = 0;
        must_be(kst_set(t, "keepstate_pressure_high", 40), KST_ERROR_OK);
        must_be(kst_set(t, "keepstate_pressure_low", 20), KST_ERROR_OK);
        must_be(kst_attach(t, UDP, 2, kst_helper_number("tftp")), KST_ERROR_OK);
        for (uint32_t step = 0; step < 400; step++) {
            const uint64_t now_ms = t->now_ms + (draw_one_in(20) ? draw_below(20000) : draw_below(20));
            for (uint32_t i = draw_below(8); i > 0; i--) {
                const struct wire w = world_wire();
                track_wire(t, now_ms, &w);
            }
            const kst_id id = kst_next(t, draw_below(20)); /* some */
            if (draw_one_in(3))
                kst_set_mark(t, id, draw_below(3));
            if (draw_one_in(3)) {
                struct say say = world_say();
                struct kst_expectation x = to_expect(id, say);
                x.flags = (uint8_t)draw_below(16);
                kst_expect(t, &x);
            }
            if (draw_one_in(10))
                kst_delete(t, id);
            if (draw_one_in(100))
                kst_flush(t);
            kst_advance(t, now_ms, UINT32_MAX);
            while (kst_event_next(t, &event)) {
                types[event.type]++;
                if (event.type < KST_EVENT_PRESSURE)
                    follow(&f, &event);
            }
            about("run %u, step %u", run, step);
            must_be_sound(t);
            must_be(f.flow_count, kst_count(t));
            must_be(f.expectation_count, kst_expectation_count(t));
            for (uint32_t i = 0; i < f.flow_count; i++) {
                struct kst_flow flow;
                must(kst_get(t, f.flows[i].id, &flow));
                must_be(flow.status, f.flows[i].status);
                must_be(flow.state, f.flows[i].state);
                must_be(flow.mark, f.flows[i].mark);
                must(memcmp(flow.tuple, f.flows[i].tuple, sizeof flow.tuple) == 0);
                must_be(flow.master, f.flows[i].master);
            }
            for (uint32_t i = 0; i < f.expectation_count; i++) {
                struct kst_expectation x;
                must(kst_expectation_get(t, f.expectations[i].id, &x));
                must(memcmp(&x.tuple, &f.expectations[i].tuple, sizeof x.tuple) == 0);
            }
        }
        must_be(kst_statistics(t)->events_lost, 0);
        free(t);
    }
    for (uint32_t type = 0; type < 7; type++) {
        about("events of type %u: %u", type, types[type]);
        must(types[type] > 10);
    }
}
END_TEST

/* However packets are cut into batches. */
START_TEST(batches_change_nothing)
{
    static struct wire wires[WORLD];
    static struct kst_packet packets[WORLD];
    static struct kst_result results[WORLD];
    const struct kst_config small = {.max = 30, .features = KST_WITH_NAT, .expectations = 16, .events = 4000};
    static const uint32_t batches[] = {1, 3, 32, 33, WORLD};
    struct kst *first = NULL;
    draw_state = 43;
    for (uint32_t i = 0; i < WORLD; i++) {
        wires[i] = world_wire();
        packets[i] = (struct kst_packet){.data = wires[i].data, .size = wires[i].size};
        packets[i].helper = draw_one_in(2) ? kst_helper_number("tftp") : 0;
        packets[i].zone = draw_one_in(6);
        packets[i].flags = (uint8_t)(draw_below(4) * KST_PACKET_ZONE_ORIGINAL);
        if (wires[i].protocol == UDP && wires[i].size >= wires[i].l4_at + 10) {
            put16(wires[i].data + wires[i].l4_at + 8, 1); /* a request */
            packets[i].checksum = KST_CHECKSUM_GOOD;
        }
    }
    for (size_t b = 0; b < COUNT(batches); b++) {
        struct kst *t = table_new(small);
        about("batches of %u", batches[b]);
        for (uint32_t at = 0; at < WORLD; at += batches[b])
            kst_track(t, 5, packets + at, batches[b] < WORLD - at ? batches[b] : WORLD - at, results);
        must_be_sound(t);
        must(kst_statistics(t)->expect_create > 5 && kst__events_of(t)->count > 200);
        must(first == NULL || memcmp(first, t, kst_bytes(&small)) == 0);
        if (first != NULL)
            free(t);
        else
            first = t;
    }
    free(first);
}
END_TEST

/* ---- printing ---- */

START_TEST(as_conntrack_prints)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .features = KST_WITH_ACCOUNTING | KST_WITH_TIMESTAMPS,
                                                  .expectations = 4, .events = 64});
    static const char *const lines[] = {
        "    [NEW] tcp      6 120 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 [UNREPLIED] "
        "src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 helper=ftp",
        " [UPDATE] tcp      6 60 SYN_RECV src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 "
        "src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000",
        " [UPDATE] tcp      6 432000 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 "
        "src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED]",
        "    [NEW] 300 proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=1025 mask-src=255.255.255.255 "
        "mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 "
        "sport=40000 dport=80 class=0 helper=ftp",
        "[DESTROY] tcp      6 299 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 packets=2 "
        "bytes=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 packets=1 bytes=40 [ASSURED] delta-time=1",
        "[DESTROY] 298 proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=1025 mask-src=255.255.255.255 "
        "mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 "
        "sport=40000 dport=80 class=0 helper=ftp",
        "    [NEW] udp      17 0 src=fd00::1 dst=fd00::2 sport=5 dport=6 [UNREPLIED] src=fd00::2 dst=fd00::1 "
        "sport=6 dport=5",
        "[DESTROY] udp      17 src=fd00::1 dst=fd00::2 sport=5 dport=6 [UNREPLIED] src=fd00::2 dst=fd00::1 "
        "sport=6 dport=5",
    };
    const struct say steps[] = {HANDSHAKE};
    struct kst_event event;
    char line[KST_LINE_MAX];
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_timestamp", 1), KST_ERROR_OK);
    must_be(kst_attach(t, TCP, 80, kst_helper_number("ftp")), KST_ERROR_OK);
    kst_id id = 0;
    for (size_t i = 0; i < COUNT(steps); i++)
        id = track(t, 0, steps[i]).entry;
    struct kst_expectation x = {.master = id, .flags = KST_EXPECT_ANY_SRC_PORT};
    x.tuple = tuple_of((struct say){.protocol = TCP, .from = 2, .to = 1, .dport = 1025});
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_tcp_timeout_established", 300), KST_ERROR_OK);
    must_be(track(t, 500, tcp(0, ACK, 1001, 5001, 0)).entry, id);
    must_be(kst_set(t, "nf_conntrack_acct", 0), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_timestamp", 0), KST_ERROR_OK);
    kst_track(t, 1500, NULL, 0, NULL);
    must(kst_delete(t, id));
    struct kst_flow brief = flow_of((struct say){.protocol = UDP, .v6 = true, .from = 1, .to = 2, .sport = 5,
                                                 .dport = 6}, 500);
    must(kst_delete(t, kst_insert(t, &brief, NULL)));
    for (size_t i = 0; i < COUNT(lines); i++) {
        must(kst_event_next(t, &event));
        if (i == 4) { /* a segment without data was counted, too */
            must_be(event.about.flow.packets[0], 3);
            event.about.flow.packets[0] = 2;
            event.about.flow.bytes[0] = 80;
        }
        about("line %zu", i);
        for (int format = KST_FORMAT_PROC; format <= KST_FORMAT_CONNTRACK; format++) {
            must_be(kst_print_event(&event, (enum kst_format)format, line, sizeof line), strlen(lines[i]));
            must_read(line, lines[i]);
        }
    }
    must(!kst_event_next(t, &event));
    free(t);
}
END_TEST

START_TEST(as_json)
{
    char line[2 * KST_LINE_MAX];
    struct kst_event event = {.type = KST_EVENT_PRESSURE, .about = {.count = 7}};
    must_be(kst_print_event(&event, KST_FORMAT_CONNTRACK, line, sizeof line), 0);
    must_read(line, "");
    kst_print_event(&event, KST_FORMAT_JSON, line, sizeof line);
    must_read(line, "{\"event\":\"pressure\",\"connections\":7}");
    event.type = KST_EVENT_RELIEF;
    kst_print_event(&event, KST_FORMAT_JSON, line, sizeof line);
    must_read(line, "{\"event\":\"relief\",\"connections\":7}");
    event.type = KST_EVENT_RELIEF + 1; /* nothing */
    must_be(kst_print_event(&event, KST_FORMAT_JSON, line, sizeof line), 0);
    must_read(line, "");
    for (uint32_t type = KST_EVENT_NEW; type <= KST_EVENT_EXPECT_DESTROY; type++) {
        static const char *const heads[] = {
            "{\"event\":\"new\",\"connection\":", "{\"event\":\"update\",\"connection\":",
            "{\"event\":\"destroy\",\"cause\":\"to make room\",\"connection\":",
            "{\"event\":\"expect_new\",\"expectation\":", "{\"event\":\"expect_destroy\",\"expectation\":"};
        char inner[KST_LINE_MAX], expected[2 * KST_LINE_MAX];
        event = (struct kst_event){.type = (uint8_t)type, .cause = KST_GONE_EVICTED};
        if (type <= KST_EVENT_DESTROY) {
            event.about.flow = flow_of(stranger(1), 5000);
            kst_print(&event.about.flow, KST_FORMAT_JSON, inner, sizeof inner);
        } else {
            event.about.expectation = to_expect(9, stranger(1));
            event.about.expectation.master_tuple = tuple_of(stranger(2));
            kst_print_expectation(&event.about.expectation, KST_FORMAT_JSON, inner, sizeof inner);
        }
        snprintf(expected, sizeof expected, "%s%s}", heads[type], inner);
        const size_t length = kst_print_event(&event, KST_FORMAT_JSON, line, sizeof line);
        must_read(line, expected);
        must_be(length, strlen(expected));
        char cut[20];
        must_be(kst_print_event(&event, KST_FORMAT_JSON, cut, sizeof cut), length);
        must_be(strlen(cut), sizeof cut - 1);
        must(memcmp(cut, expected, sizeof cut - 1) == 0);
    }
}
END_TEST

SUITE("event", what_packets_do, what_a_refused_packet_does, what_calls_do, what_expectations_do, what_is_told, overflow,
      switched_off, pressure, who_follows_knows, batches_change_nothing, as_conntrack_prints, as_json)
