/* SPDX-License-Identifier: MIT */
/* timer.c - property: whatever is armed, prolonged, shortened and disarmed, wherever the clock stands and
 * however it jumps, each of the four timers hands out what has expired and nothing else, takes no more
 * steps than it is given, leaves nothing behind if some are left, and meets nobody more often before his
 * time than it promises; wherever its memory lies.
 *
 * The model is an array of expiries in 64 bits. Four tables lend their entries and expectations, one to
 * each timer, as a timer writes into them. */
#include "rig.h"

enum { ENTRIES = 24, EXPECTATIONS = 8, SLOTS = ENTRIES + EXPECTATIONS, STEPS_MAX = 600, BACKS = 4, LEVELS_MAX = 12 };

static const struct kst_timer_ops *const *const backs = kst__timers;
typedef char backs_are_all[(uint32_t)KST__TIMERS == BACKS ? 1 : -1];

static struct {
    struct kst *t;
    size_t bytes; /* of the table and the timer behind it */
    const struct kst_timer_ops *ops;
    uint64_t expires_ms[SLOTS]; /* 0: not armed */
    uint64_t steps, owed;       /* taken so far, and what they may come to */
    uint64_t met_ms;            /* up to when the places have been met */
} rigs[BACKS], *rig;
static uint64_t now_ms;
static uint32_t step_number;

static uint64_t later_ms(uint64_t ms)
{
    return ms < UINT64_MAX - now_ms ? now_ms + ms : UINT64_MAX;
}

/* All orders of magnitude alike, and round numbers, so that many fall due together. */
static uint64_t draw_ms(void)
{
    const uint32_t choice = draw8(), bits = draw16();
    if (choice < 64)
        return (uint64_t)1000 * (bits & 7);
    if (choice < 96)
        return PICK(0, 1, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 4095, 4096, 8191, 8192, 65535, 65536, 432000000);
    return (uint64_t)bits << choice % 34;
}

static void set_expiry(uint32_t slot, uint64_t expires_ms)
{
    if (slot < ENTRIES)
        kst__entry_at(rig->t, slot)->expires_ms = expires_ms;
    else
        kst__expected_at(rig->t, slot - ENTRIES)->expires_ms = expires_ms;
}

static void disarm(uint32_t slot)
{
    if (rig->expires_ms[slot] == 0)
        return;
    rig->ops->disarm(kst__timer(rig->t), slot);
    rig->expires_ms[slot] = 0;
}

static void arm(uint32_t slot, uint64_t expires_ms)
{
    uint64_t was_ms = rig->expires_ms[slot];
    if (expires_ms == 0)
        expires_ms = 1;
    rig->expires_ms[slot] = expires_ms;
    rig->owed += LEVELS_MAX + 1;
    if (slot < ENTRIES) { /* has no longer timeouts, and who has expired is not prolonged */
        const uint64_t latest_ms = later_ms((uint64_t)KST_TIMEOUT_MAX_S * 1000);
        rig->expires_ms[slot] = expires_ms = expires_ms < latest_ms ? expires_ms : latest_ms;
        if (was_ms != 0 && was_ms <= now_ms) {
            disarm(slot);
            rig->expires_ms[slot] = expires_ms;
            was_ms = 0;
        }
    }
    if (slot < ENTRIES && was_ms != 0) { /* as a packet does: prolonging does not move it */
        kst__expire_at(rig->t, slot, expires_ms);
        return;
    }
    if (was_ms != 0 && expires_ms < was_ms)
        rig->ops->disarm(kst__timer(rig->t), slot);
    set_expiry(slot, expires_ms);
    if (was_ms == 0 || expires_ms < was_ms)
        rig->ops->arm(kst__timer(rig->t), slot, kst__rearm_ms(rig->t, slot));
}

static uint32_t count(bool expired_only)
{
    uint32_t there = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        there += rig->expires_ms[slot] != 0 && (!expired_only || rig->expires_ms[slot] <= now_ms);
    return there;
}

static uint32_t advance(uint32_t work_max)
{
    uint32_t work = work_max, slot;
    const char *name = rig->ops->name;
    rig->t->now_ms = now_ms;
    if (strcmp(name, "hashed") == 0 && work_max > 0 && now_ms != rig->met_ms) { /* meets all at most once a turn, and once in a jump, however far */
        rig->owed += count(false);
        rig->met_ms = now_ms;
    }
    while ((slot = rig->ops->next(kst__timer(rig->t), rig->t, now_ms, &work)) != KST__NONE) {
        if (slot >= SLOTS || rig->expires_ms[slot] == 0)
            fuzz_fail("%s hands out slot %u, which is not armed", name, slot);
        if (rig->expires_ms[slot] > now_ms)
            fuzz_fail("%s hands out slot %u %" PRIu64 " ms before its time", name, slot, rig->expires_ms[slot] - now_ms);
        rig->expires_ms[slot] = 0;
    }
    if (work > work_max)
        fuzz_fail("%s takes more steps than it was given", name);
    if (work > 0 && count(true) > 0)
        fuzz_fail("%s leaves %u behind that have expired, and %u steps", name, count(true), work);
    rig->steps += work_max - work;
    return work_max - work;
}

static void move(void)
{
    struct kst *elsewhere = fuzz_alloc(rig->bytes, KST_ALIGN);
    memcpy(elsewhere, rig->t, rig->bytes);
    memset(rig->t, 0xdb, rig->bytes);
    fuzz_free(rig->t);
    rig->t = elsewhere;
}

static void begin(uint8_t timer)
{
    const struct kst_timer_ops *ops = backs[timer];
    const struct kst_config config = {.max = ENTRIES - 1, .expectations = EXPECTATIONS, .start_ms = now_ms};
    const size_t block = kst_bytes(&config);
    memset(rig, 0, sizeof *rig);
    rig->ops = ops;
    rig->bytes = (size_t)kst__aligned(block + ops->bytes(SLOTS));
    rig->t = kst_init(fuzz_alloc(rig->bytes, KST_ALIGN), block, &config, NULL);
    fuzz_must(rig->t != NULL && kst__timed(rig->t) == SLOTS);
    for (uint32_t slot = 0; slot < ENTRIES; slot++)
        kst__entry_at(rig->t, slot)->status = KST_CONFIRMED;
    rig->t->used = ENTRIES;
    for (uint32_t place = 0; place < EXPECTATIONS; place++)
        kst__expected_at(rig->t, place)->serial = 1;
    kst__expectations_of(rig->t)->used = EXPECTATIONS;
    rig->t->timer = timer;
    rig->t->timer_at = block;
    rig->met_ms = now_ms;
    ops->init(kst__timer(rig->t), SLOTS, now_ms);
}

static void run(const uint8_t *data, size_t size)
{
    static const uint64_t starts[] = {0, 1, (UINT64_C(1) << 32) - 5000, (UINT64_C(1) << 38) - 100, (UINT64_C(1) << 42) - 70000,
                                      (UINT64_C(1) << 60) - 3, (UINT64_C(1) << 63) - 1000000, UINT64_MAX - 40000000};
    now_ms = starts[draw8() & 7] + draw8();
    step_number = 0;
    for (uint8_t i = 0; i < BACKS; i++) {
        rig = &rigs[i];
        begin(i);
    }
    for (uint32_t number = 0; draw_record(data, size, number); number++) {
        const uint32_t kind = draw8(), slot = draw_below(SLOTS), work = PICK(0, 1, 2, 3, 8, 100, UINT32_MAX);
        const uint64_t ms = draw_ms();
        const uint64_t then_ms = kind & 1 && draw_chance(32) ? now_ms - (ms & 0xffffffff) % (now_ms | 1) /* not so many years ago that beats wrap */ : later_ms(ms);
        step_number++;
        if (kind >= 144 && kind < 216)
            now_ms = later_ms(kind < 200 ? ms & 0xfffff : ms);
        fuzz_tell("%4u %20" PRIu64 " ms  kind %u, slot %u, until %" PRIu64, step_number, now_ms, kind, slot, then_ms);
        for (uint32_t i = 0; i < BACKS; i++) {
            uint32_t armed = 0;
            rig = &rigs[i];
            if (kind < 112)
                arm(slot, then_ms);
            else if (kind < 144)
                disarm(slot);
            else if (kind < 248)
                advance(kind < 232 ? work : UINT32_MAX);
            else
                move();
            const char *broken = rig->ops->check(kst__timer(rig->t), rig->t, &armed);
            if (broken != NULL)
                fuzz_fail("%s: %s", rig->ops->name, broken);
            fuzz_same("armed", armed, count(false));
            if (work > 0 && kind >= 232 && kind < 248)
                fuzz_note(armed);
        }
    }
    for (uint32_t i = 0; i < BACKS; i++) {
        rig = &rigs[i];
        while (advance(3) == 3) /* ends, or the bound below is passed */
            fuzz_must(rig->steps <= rig->owed);
        fuzz_same("what every timer has left", count(false), (rig = &rigs[0], count(false)));
        if (rigs[i].steps > rigs[i].owed)
            fuzz_fail("%s took %" PRIu64 " steps, and owed %" PRIu64, backs[i]->name, rigs[i].steps, rigs[i].owed);
    }
    fuzz_note(count(false));
}

const struct fuzz_target fuzz_target = {"timer", FUZZ_RECORDS, 4, 10, STEPS_MAX, run, false};
