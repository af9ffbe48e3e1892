/* SPDX-License-Identifier: MIT */
/* test_timer.c - properties: whatever is armed, prolonged, shortened and disarmed, wherever the
 * clock stands and however it is moved, a connection is there until its time has come, to the
 * millisecond, and never after; an advance takes at most the steps it is given, and with enough of
 * them leaves nothing expired behind. The twin is an array of expiries. So is that of the timers by
 * themselves, all that there are, with slots of expectations, jumps of years and moves of the block. */
#define KST_IMPLEMENTATION
#include "support.h"

enum { FLOWS_MAX = 64 };

static struct {
    struct say say;
    kst_id id;
    uint64_t expires_ms;
} twin[FLOWS_MAX];
static uint32_t twin_count, newest;
static uint64_t now_ms;

static bool twin_alive(uint32_t i)
{
    return twin[i].expires_ms > now_ms;
}

static uint32_t twin_alive_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < twin_count; i++)
        count += twin_alive(i);
    return count;
}

static void twin_forget_the_dead(void)
{
    for (uint32_t i = twin_count; i-- > 0;)
        if (!twin_alive(i))
            twin[i] = twin[--twin_count];
}

/* From nothing up to so much, all orders of magnitude alike; often a round number, so that many
 * fall due together. */
static uint64_t draw_ms(uint64_t limit)
{
    if (draw_one_in(3))
        return 1000 * (uint64_t)draw_below(4) % (limit + 1);
    const uint64_t magnitude = UINT64_C(1) << draw_below(34);
    return draw() % magnitude % (limit + 1);
}

static struct say newcomer(void)
{
    struct say say = stranger(++newest);
    say.from = (uint8_t)(newest >> 16);
    return say;
}

static void step_insert(struct kst *t)
{
    const uint64_t timeout_ms = 1 + draw_ms((uint64_t)KST_TIMEOUT_MAX_S * 1000 - 1);
    const struct say say = newcomer();
    const struct kst_flow flow = flow_of(say, timeout_ms);
    enum kst_error why;
    twin_forget_the_dead();
    const kst_id id = kst_insert(t, &flow, &why);
    if (id == 0) {
        must_be(why, KST_ERROR_FULL);
        must_be(kst_count(t), FLOWS_MAX);
        return;
    }
    must(twin_count < FLOWS_MAX);
    twin[twin_count].say = say;
    twin[twin_count].id = id;
    twin[twin_count++].expires_ms = now_ms + timeout_ms;
}

/* A packet of a known connection, or of one that was known: it begins a new one. */
static void step_packet(struct kst *t, uint32_t i)
{
    const uint32_t timeout_s = (uint32_t)draw_ms(KST_TIMEOUT_MAX_S);
    const bool alive = twin_alive(i);
    if (!alive && kst_count(t) == FLOWS_MAX)
        return; /* somebody would be evicted */
    must_be(kst_set(t, "nf_conntrack_udp_timeout", timeout_s), KST_ERROR_OK);
    const struct kst_result result = track(t, now_ms, twin[i].say);
    must_say(result, KST_REASON_NONE);
    must_be(result.flags, alive ? 0 : KST_CREATED);
    must_be(result.entry == twin[i].id, alive);
    twin[i].id = result.entry;
    twin[i].expires_ms = now_ms + (uint64_t)timeout_s * 1000;
}

static void step_delete(struct kst *t, uint32_t i)
{
    must_be(kst_delete(t, twin[i].id), twin_alive(i));
    if (twin_alive(i))
        twin[i] = twin[--twin_count];
}

/* Any time at all, those that have been included. */
static void step_move(struct kst *t, uint32_t i)
{
    const uint64_t ms = draw_ms(UINT64_C(1) << 33);
    if (!twin_alive(i))
        return;
    twin[i].expires_ms = draw_one_in(8) && now_ms > ms ? now_ms - ms : now_ms + ms;
    kst__expire_at(t, (uint32_t)twin[i].id, twin[i].expires_ms);
}

static void step_advance(struct kst *t)
{
    const uint32_t work = draw_one_in(2) ? draw_below(4) : draw_one_in(2) ? 100 : UINT32_MAX;
    now_ms += draw_ms(draw_one_in(40) ? UINT64_C(1) << 31 /* three weeks */ : 5000);
    const uint32_t used = kst_advance(t, now_ms, work);
    must(used <= work);
    if (used < work) {
        must_be(kst_count(t), twin_alive_count());
        must_be(kst_advance(t, now_ms, work), 0);
    }
}

static void compare(const struct kst *t)
{
    uint32_t met = 0;
    for (uint32_t i = 0; i < twin_count; i++) {
        struct kst_flow flow;
        const struct kst_tuple tuple = tuple_of(twin[i].say);
        must_be(kst_get(t, twin[i].id, &flow), twin_alive(i));
        must_be(kst_find(t, &tuple, NULL), twin_alive(i) ? twin[i].id : 0);
        if (twin_alive(i))
            must_be(flow.timeout_ms, twin[i].expires_ms - now_ms);
    }
    for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id))
        met++;
    must_be(met, twin_alive_count());
    must(kst_count(t) >= met);
    must_be_sound(t);
}

static void random_walk(uint64_t start_ms)
{
    struct kst *t = table_new((struct kst_config){.max = FLOWS_MAX, .start_ms = start_ms});
    now_ms = start_ms;
    twin_count = 0;
    for (int step = 0; step < 4000; step++) {
        const uint32_t i = twin_count > 0 ? draw_below(twin_count) : 0;
        about("start %llu, step %d", (unsigned long long)start_ms, step);
        switch (twin_count > 0 ? draw_below(12) : 0) {
        case 1:
        case 2: step_packet(t, i); break;
        case 3: step_delete(t, i); break;
        case 4: step_move(t, i); break;
        case 5:
        case 6: step_advance(t); break;
        default: step_insert(t); break;
        }
        compare(t);
        if (draw_one_in(500)) {
            kst_flush(t);
            twin_count = 0;
            compare(t);
        }
    }
    const struct kst_stats *stats = kst_statistics(t);
    must_be(stats->created + stats->inserted, stats->gone[KST_GONE_EXPIRED] + stats->gone[KST_GONE_DELETED] + kst_count(t));
    must(stats->gone[KST_GONE_EXPIRED] > 100);
    must_be(stats->clock_back, 0);
    free(t);
}

START_TEST(as_the_array_says)
{
    static const uint64_t starts_ms[] = {
        0, 1, 12345678, (UINT64_C(1) << 32) - 5000, (UINT64_C(1) << 36) - 1,
        (UINT64_C(1) << 42) - 100000, (UINT64_C(1) << 60) - 3, (UINT64_C(1) << 63) - 1000000};
    draw_state = 1;
    for (size_t i = 0; i < COUNT(starts_ms); i++)
        random_walk(starts_ms[i]);
}
END_TEST

/* In turn, every millisecond of the first turns of the wheel, and around its later ones. */
START_TEST(neither_early_nor_late)
{
    const uint64_t longest_ms = (uint64_t)KST_TIMEOUT_MAX_S * 1000;
    for (uint64_t timeout_ms = 1; timeout_ms <= longest_ms; timeout_ms += 1 + timeout_ms / 99) {
        struct kst *t = table_new((struct kst_config){.max = 1, .start_ms = 77777});
        const struct kst_flow flow = flow_of(newcomer(), timeout_ms);
        about("%llu ms", (unsigned long long)timeout_ms);
        const kst_id id = kst_insert(t, &flow, NULL);
        must(kst_advance(t, 77777 + timeout_ms - 1, 100) < 12);
        must(kst_get(t, id, &(struct kst_flow){0}));
        must_be(kst_count(t), 1);
        kst_advance(t, 77777 + timeout_ms, 0);
        must(!kst_get(t, id, &(struct kst_flow){0}));
        must_be(kst_count(t), 1);
        must(kst_advance(t, 77777 + timeout_ms, 12) < 12);
        must_be(kst_count(t), 0);
        free(t);
    }
}
END_TEST

/* Prolonging costs the timer nothing until the old time comes, then one step. */
START_TEST(prolonged)
{
    struct kst *t = table_new((struct kst_config){.max = 1});
    const struct say say = newcomer();
    uint32_t steps = 0;
    const kst_id id = track(t, 0, say).entry;
    for (uint64_t ms = 0; ms < 29000; ms += 10)
        must_be(track(t, ms, say).entry, id);
    for (uint64_t ms = 29000; ms < 58990; ms += 10) {
        steps += kst_advance(t, ms, 100);
        must_be(kst_count(t), 1);
    }
    must(steps < 10);
    must_be(kst_advance(t, 58990, 100), 1);
    must_be(kst_count(t), 0);
    free(t);
}
END_TEST

/* One step at a time, over thousands that fall due at the same moment. */
START_TEST(one_step_at_a_time)
{
    enum { MANY = 12000 }; /* of which full chunks alone are more than the wheel has places */
    struct kst *t = table_new((struct kst_config){.max = MANY});
    for (uint32_t i = 0; i < MANY; i++) {
        const struct kst_flow flow = flow_of(newcomer(), 100000);
        must(kst_insert(t, &flow, NULL) != 0);
    }
    must(kst_next(t, 0) != 0);
    must_be(kst_advance(t, 100000, 0), 0);
    must_be(kst_next(t, 0), 0); /* all gone, though none is collected */
    uint32_t calls = 0;
    while (kst_advance(t, 100000, 1) == 1) {
        calls++;
    }
    must_be(kst_count(t), 0);
    must(calls >= MANY && calls <= 12 * MANY);
    must_be_sound(t);
    free(t);
}
END_TEST

/* The wheel's memory suffices however its references lie: KST_ASSERT watches. */
START_TEST(chunks_suffice)
{
    enum { MANY = 1500 };
    struct kst *t = table_new((struct kst_config){.max = MANY, .start_ms = UINT64_C(1) << 41});
    static kst_id ids[MANY];
    draw_state = 2;
    now_ms = UINT64_C(1) << 41;
    memset(ids, 0, sizeof ids);
    for (int round = 0; round < 30000; round++) {
        kst_id *id = &ids[draw_below(MANY)];
        const struct kst_flow flow =
            flow_of(newcomer(), 1 + draw_ms((uint64_t)KST_TIMEOUT_MAX_S * 1000 - 1));
        kst_delete(t, *id);
        *id = kst_insert(t, &flow, NULL);
        if (round % 100 == 99)
            now_ms += draw_ms(100000);
        kst_advance(t, now_ms, 3);
    }
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(clock_going_backwards)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .start_ms = 1000000});
    const struct say first = newcomer(), second = newcomer();
    struct kst_flow flow;
    const kst_id id = track(t, 999999, first).entry; /* before the beginning */
    must_be(kst_statistics(t)->clock_back, 1);
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 30000);
    track(t, 1010000, second);
    must(kst_advance(t, 0, 100) <= 2);
    must_be(kst_count(t), 2);
    must_be(kst_statistics(t)->clock_back, 2);
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 20000);
    must_be(track(t, 5, first).state, KST_NEW);
    must_be(kst_statistics(t)->clock_back, 3);
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 30000);
    kst_advance(t, 1010000, 100); /* standing still is not going back */
    must_be(kst_statistics(t)->clock_back, 3);
    kst_advance(t, 1040000, 100);
    must_be(kst_count(t), 0);
    must_be_sound(t);
    free(t);
}
END_TEST

/* What would expire after the clock's last moment expires with it. */
START_TEST(the_clock_ends)
{
    struct kst *t = table_new((struct kst_config){.max = 2, .start_ms = UINT64_MAX - 20000});
    struct kst_flow flow = flow_of(newcomer(), 10000);
    const kst_id id = track(t, 0, newcomer()).entry, soon = kst_insert(t, &flow, NULL);
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 20000);
    must_be_sound(t);
    must(kst_advance(t, UINT64_MAX - 1, 100) < 100);
    must(!kst_get(t, soon, &flow) && kst_get(t, id, &flow));
    must_be_sound(t);
    kst_advance(t, UINT64_MAX, 100);
    must_be(kst_count(t), 0);
    must_be(track(t, UINT64_MAX, newcomer()).state, KST_NEW); /* gone as soon as it came */
    must_be(kst_next(t, 0), 0);
    must_be_sound(t);
    free(t);
}
END_TEST

/* ---- every timer by itself, whichever of those built in the table has: a rig is a table whose slots and expectations
 * are all in use, and behind its block a timer for them; the model is an array ---- */

enum { LEVELS_MAX = 12 }; /* so often one that is armed may be met before its time */

static struct rig {
    struct kst *t;
    const struct kst_timer_ops *ops;
    size_t bytes; /* of the block and the timer */
    uint32_t slots, armed;
    uint64_t now_ms;
    uint64_t *expires_ms; /* by slot; 0: not armed */
} rig;

static void rig_new(uint8_t timer, uint32_t entries, uint32_t expectations, uint64_t start_ms)
{
    const struct kst_config config = {
        .max = entries - 1, .expectations = expectations, .start_ms = start_ms};
    const size_t block = kst_bytes(&config);
    struct kst *t;
    rig.ops = kst__timers[timer];
    rig.slots = entries + expectations;
    rig.armed = 0;
    rig.now_ms = start_ms;
    rig.bytes = kst__aligned(block + rig.ops->bytes(rig.slots));
    rig.expires_ms = calloc(rig.slots, sizeof *rig.expires_ms);
    rig.t = t = aligned_alloc(KST_ALIGN, rig.bytes);
    must(t != NULL && rig.expires_ms != NULL && block % KST_ALIGN == 0);
    memset(t, 0xdb, rig.bytes);
    must(kst_init(t, block, &config, NULL) == t);
    must_be(kst__timed(t), rig.slots);
    for (uint32_t slot = 0; slot < entries; slot++) {
        kst__entry_at(t, slot)->status = KST_CONFIRMED;
        kst__entry_at(t, slot)->expires_ms = 0;
    }
    t->used = entries;
    for (uint32_t place = 0; place < expectations; place++)
        kst__expected_at(t, place)->serial = 1;
    if (expectations > 0)
        kst__expectations_of(t)->used = expectations;
    t->timer = timer;
    t->timer_at = block;
    rig.ops->init(kst__timer(t), rig.slots, start_ms);
}

static void rig_free(void)
{
    free(rig.t);
    free(rig.expires_ms);
}

static void rig_check(void)
{
    uint32_t armed;
    const char *broken = rig.ops->check(kst__timer(rig.t), rig.t, &armed);
    if (broken != NULL)
        ck_abort_msg("%s: %s", about_text, broken);
    must_be(armed, rig.armed);
}

static uint64_t rig_later_ms(uint64_t ms)
{
    return ms < UINT64_MAX - rig.now_ms ? rig.now_ms + ms : UINT64_MAX;
}

/* A new expiry, not 0, for a slot that is armed or not. */
static void rig_set(uint32_t slot, uint64_t expires_ms)
{
    const uint64_t was_ms = rig.expires_ms[slot];
    const bool entry = slot < kst__slots(rig.t);
    rig.expires_ms[slot] = expires_ms;
    if (entry && was_ms != 0) {
        kst__expire_at(rig.t, slot, expires_ms);
        return;
    }
    if (was_ms != 0 && expires_ms < was_ms)
        rig.ops->disarm(kst__timer(rig.t), slot);
    if (entry)
        kst__entry_at(rig.t, slot)->expires_ms = expires_ms;
    else
        kst__expected_at(rig.t, slot - kst__slots(rig.t))->expires_ms = expires_ms;
    if (was_ms == 0 || expires_ms < was_ms)
        rig.ops->arm(kst__timer(rig.t), slot, kst__rearm_ms(rig.t, slot));
    rig.armed += was_ms == 0;
}

static void rig_disarm(uint32_t slot)
{
    rig.ops->disarm(kst__timer(rig.t), slot);
    rig.expires_ms[slot] = 0;
    rig.armed--;
}

static uint32_t rig_expired(void)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < rig.slots; slot++)
        count += rig.expires_ms[slot] != 0 && rig.expires_ms[slot] <= rig.now_ms;
    return count;
}

/* Takes out what has expired, in so many steps at most; returns those used. */
static uint32_t rig_advance(uint64_t to_ms, uint32_t work_max)
{
    uint32_t work = work_max, slot;
    rig.now_ms = to_ms;
    while ((slot = rig.ops->next(kst__timer(rig.t), rig.t, to_ms, &work)) != KST__NONE) {
        must(slot < rig.slots && rig.expires_ms[slot] != 0);
        must(rig.expires_ms[slot] <= to_ms);
        rig.expires_ms[slot] = 0;
        rig.armed--;
    }
    must(work <= work_max);
    return work_max - work;
}

/* All that has expired, in small portions; returns the steps. */
static uint32_t rig_drain(uint64_t to_ms, uint32_t portion)
{
    uint32_t steps = 0, used;
    do {
        used = rig_advance(to_ms, portion);
        steps += used;
        must(steps <= UINT32_MAX / 2);
    } while (used == portion);
    must_be(rig_expired(), 0);
    must_be(rig_advance(to_ms, portion), 0);
    return steps;
}

/* The block goes elsewhere. */
static void rig_move(void)
{
    struct kst *elsewhere = aligned_alloc(KST_ALIGN, rig.bytes);
    must(elsewhere != NULL);
    memcpy(elsewhere, rig.t, rig.bytes);
    memset(rig.t, 0xdb, rig.bytes);
    free(rig.t);
    rig.t = elsewhere;
}

static void rig_step(uint64_t reach_ms)
{
    const uint32_t slot = draw_below(rig.slots);
    const uint64_t expires_ms = rig.expires_ms[slot], ms = draw_ms(reach_ms);
    uint64_t then_ms = draw_one_in(16) && rig.now_ms > ms ? rig.now_ms - ms : rig_later_ms(ms);
    if (slot >= kst__slots(rig.t) && draw_one_in(8))
        then_ms = rig_later_ms(draw() >> draw_below(64)); /* ages: more than an entry's beats tell */
    switch (draw_below(16)) {
    case 0: rig_advance(rig_later_ms(ms), draw_below(20)); break;
    case 1:
    case 2: rig_advance(rig_later_ms(draw_ms(3000)), draw_below(8)); break;
    case 3: rig_drain(rig_later_ms(draw_ms(reach_ms)), 1 + draw_below(5)); break;
    case 4: rig_drain(rig.now_ms, UINT32_MAX); break;
    case 5:
        if (draw_one_in(8))
            rig_move();
        break;
    case 6:
    case 7:
    case 8:
        if (expires_ms != 0)
            rig_disarm(slot);
        break;
    default: rig_set(slot, then_ms != 0 ? then_ms : 1); break;
    }
}

static void rig_walk(uint8_t timer, uint64_t start_ms, uint64_t reach_ms)
{
    rig_new(timer, 40, 20, start_ms);
    for (int step = 0; step < 3000; step++) {
        about("%s from %llu, reach %llu, step %d", rig.ops->name, (unsigned long long)start_ms,
              (unsigned long long)reach_ms, step);
        rig_step(reach_ms);
        rig_check();
    }
    const uint32_t before = rig.armed;
    must(rig_drain(UINT64_MAX, 7) <= LEVELS_MAX * before);
    must_be(rig.armed, 0);
    rig_check();
    rig_free();
}

START_TEST(each_as_the_array_says)
{
    static const uint64_t starts_ms[] = {
        0, (UINT64_C(1) << 32) - 20000, (UINT64_C(1) << 38) - 1, (UINT64_C(1) << 63) - 70000,
        UINT64_MAX - (UINT64_C(1) << 36), UINT64_MAX - 100000};
    static const uint64_t reaches_ms[] = {100, 20000, UINT64_C(1) << 27, UINT64_C(1) << 33};
    draw_state = 3;
    for (uint8_t i = 0; i < KST__TIMERS; i++)
        for (size_t j = 0; j < COUNT(starts_ms); j++)
            for (size_t k = 0; k < COUNT(reaches_ms); k++)
                rig_walk(i, starts_ms[j], reaches_ms[k]);
}
END_TEST

/* The same stream of operations, taken out in portions of any size, leaves the same armed. */
START_TEST(portions_change_nothing)
{
    static uint64_t first[500];
    for (uint8_t i = 0; i < KST__TIMERS; i++)
        for (uint32_t portion = 1; portion <= 4096; portion *= 8) {
            about("%s, portions of %u", kst_timer_name(i), portion);
            rig_new(i, 400, 100, 5000);
            draw_state = 4;
            for (uint32_t step = 0; step < 4000; step++) {
                const uint32_t slot = draw_below(rig.slots);
                rig_set(slot, rig_later_ms(1 + draw_ms(UINT64_C(1) << 30)));
                if (step % 50 == 49)
                    rig_drain(rig_later_ms(draw_ms(step % 1000 == 999 ? UINT64_C(1) << 33 : 20000)),
                              portion);
            }
            rig_check();
            if (i == 0 && portion == 1)
                memcpy(first, rig.expires_ms, sizeof first);
            must(memcmp(first, rig.expires_ms, sizeof first) == 0);
            rig_free();
        }
}
END_TEST

/* So many in the same millisecond: armed for it at once, or over a while, or prolonged into it. */
START_TEST(all_at_once)
{
    enum { MANY = 100000, AT_MS = 432000000 };
    for (uint8_t i = 0; i < KST__TIMERS; i++) {
        uint32_t steps = 0;
        about("%s", kst_timer_name(i));
        rig_new(i, MANY, 0, 0);
        for (uint32_t slot = 0; slot < MANY; slot++) {
            if (slot % 100 == 0)
                steps += rig_advance(slot, 32);
            rig_set(slot, slot % 3 == 0 ? rig.now_ms + 30000 : AT_MS);
        }
        for (uint32_t slot = 0; slot < MANY; slot += 3)
            rig_set(slot, AT_MS);
        steps += rig_drain(AT_MS - 1, 32);
        must_be(rig.armed, MANY);
        rig_check();
        uint32_t calls = 0;
        for (; rig.armed > MANY / 2; calls++)
            must_be(rig_advance(AT_MS, 32), 32);
        rig_check();
        for (uint32_t slot = 0; slot < MANY; slot++) {
            if (rig.expires_ms[slot] == 0)
                continue;
            if (slot % 4 == 0)
                rig_disarm(slot);
            else if (slot % 4 == 1)
                rig_set(slot, AT_MS + 1);
        }
        rig_check();
        steps += rig_drain(AT_MS, 32);
        rig_check();
        steps += rig_drain(AT_MS + 1, 32);
        must_be(rig.armed, 0);
        must(steps + calls * 32 <= LEVELS_MAX * MANY);
        rig_free();
    }
}
END_TEST

/* Years pass in no time over an empty table and a sparse one, however they are cut. */
START_TEST(years_are_short)
{
    const uint64_t year_ms = UINT64_C(31557600000);
    for (uint8_t i = 0; i < KST__TIMERS; i++) {
        about("%s", kst_timer_name(i));
        rig_new(i, 100000, 0, 12345);
        for (uint32_t year = 0; year < 20000; year++)
            must_be(rig.ops->next(kst__timer(rig.t), rig.t, rig.now_ms += year_ms,
                                        &(uint32_t){1}),
                    KST__NONE);
        for (uint32_t slot = 0; slot < 50; slot++)
            rig_set(slot, rig.now_ms + 1 + slot * year_ms / 7);
        for (uint32_t year = 0; year < 9; year++) {
            uint32_t work = UINT32_MAX;
            while (rig.ops->next(kst__timer(rig.t), rig.t, rig.now_ms, &work) != KST__NONE)
                rig.armed--;
            must(UINT32_MAX - work <= LEVELS_MAX * 50);
            rig_check();
            rig.now_ms += year_ms;
        }
        must_be(rig.armed, 0);
        rig_free();
    }
}
END_TEST

/* Who has long to wait is met at most once in a jump of the clock, however far, and once a turn between. */
START_TEST(jumps_meet_each_once)
{
    enum { JUMPS = 1000, MANY = 40 };
    for (uint8_t i = 0; i < KST__TIMERS; i++)
        for (uint32_t jump_ms = 1000; jump_ms < 1000000; jump_ms *= 7) {
            uint32_t steps = 0;
            about("%s, jumps of %u ms", kst_timer_name(i), jump_ms);
            rig_new(i, MANY, 0, 77);
            for (uint32_t slot = 0; slot < MANY; slot++)
                rig_set(slot, rig.now_ms + (UINT64_C(1) << 32) + slot * 999);
            for (uint32_t jump = 0; jump < JUMPS; jump++)
                steps += rig_drain(rig.now_ms + jump_ms, 32);
            must_be(rig.armed, MANY);
            must(steps <= MANY * (JUMPS + LEVELS_MAX));
            rig_free();
        }
}
END_TEST

/* The clock's last moments, and the jump to them. */
START_TEST(the_last_moment)
{
    for (uint8_t i = 0; i < KST__TIMERS; i++)
        for (uint32_t before_ms = 0; before_ms < 20000; before_ms = before_ms * 3 + 1) {
            about("%s, %u ms before", kst_timer_name(i), before_ms);
            rig_new(i, 4, 2, before_ms % 2 == 0 ? 0 : UINT64_MAX - before_ms);
            rig_set(0, UINT64_MAX);
            rig_set(1, UINT64_MAX - 1);
            rig_set(4, UINT64_MAX);
            rig_set(5, 1);
            rig_drain(UINT64_MAX - before_ms, 1);
            rig_check();
            must_be(rig.expires_ms[0] != 0, before_ms > 0);
            must_be(rig.expires_ms[1] != 0, before_ms > 1);
            must_be(rig.expires_ms[5], 0);
            rig_drain(UINT64_MAX, 1);
            must_be(rig.armed, 0);
            rig_set(3, UINT64_MAX);
            rig_set(2, 7);
            rig_check();
            must_be(rig_drain(UINT64_MAX, 1), 2);
            must_be(rig.armed, 0);
            rig_check();
            rig_free();
        }
}
END_TEST

SUITE("timer", as_the_array_says, neither_early_nor_late, prolonged, one_step_at_a_time,
      chunks_suffice, clock_going_backwards, the_clock_ends, each_as_the_array_says,
      portions_change_nothing, all_at_once, years_are_short, jumps_meet_each_once, the_last_moment)
