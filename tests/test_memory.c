/* SPDX-License-Identifier: MIT */
/* test_memory.c - properties: a table keeps to the bytes that kst_bytes named, whatever its size
 * and features and whatever is done to it: its block lies flush against unmapped pages, and held
 * rubbish before; more of anything never takes less memory. */
#include "support.h"

enum { MAX_HIGHEST = 70 };

/* A connection under NAT, to an address that nobody else uses. */
static struct kst_flow draw_translated(void)
{
    const uint16_t port = (uint16_t)draw_below(3), own_port = (uint16_t)draw_below(100);
    struct kst_flow flow = flow_of(
        (struct say){.protocol = UDP, .from = 1, .to = 2, .sport = port, .dport = 9}, 1000 + port);
    put_host(flow.tuple[KST_REPLY].dst, false, 99);
    flow.tuple[KST_REPLY].dst_port = own_port;
    return flow;
}

/* The `number`th connection in the order of kst_next, or 0. */
static kst_id any(const struct kst *t, uint32_t number)
{
    kst_id id = kst_next(t, 0);
    while (number-- > 0 && id != 0)
        id = kst_next(t, id);
    return id;
}

static void set_anything(struct kst *t)
{
    uint32_t lowest = 0, highest = 0;
    const char *name = kst_setting_name(draw_below(64));
    if (name == NULL)
        return;
    must(kst_setting_range(t, name, &lowest, &highest));
    const uint32_t above = draw_below(100);
    kst_set(t, name, above < highest - lowest ? lowest + above : highest);
}

/* Something that a connection may expect, or not. */
static void expect_anything(struct kst *t, kst_id master)
{
    struct say say = world_say();
    say.v6 = draw_one_in(4);
    struct kst_expectation x = {.master = master, .tuple = tuple_of(say)};
    x.flags = (uint8_t)draw_below(32);
    x.class_ = (uint8_t)draw_below(KST_EXPECT_CLASSES + 1);
    x.timeout_ms = draw_below(30000);
    kst_expect(t, &x);
}

static void hear_anything(struct kst *t)
{
    struct kst_event event;
    for (uint32_t some = draw_below(8); some > 0 && kst_event_next(t, &event); some--) {
        char line[2 * KST_LINE_MAX];
        must(kst_print_event(&event, (enum kst_format)draw_below(4), line, sizeof line) < sizeof line);
    }
}

static void use(struct kst *t, uint32_t features)
{
    const uint8_t labels[KST_LABEL_BYTES] = {1, 2, 3};
    const uint32_t flags = features & KST_WITH_NAT ? 16 : 4; /* a zone of one direction needs it */
    struct wire wires[40];
    struct kst_packet packets[40];
    struct kst_result results[40];
    uint64_t now_ms = 0;
    kst_set(t, "nf_conntrack_acct", features & KST_WITH_ACCOUNTING ? 1 : 0);
    for (int step = 0; step < 40; step++) {
        const uint32_t count = draw_below(COUNT(packets) + 1);
        const kst_id id = any(t, draw_below(MAX_HIGHEST));
        struct kst_flow flow = draw_translated();
        for (uint32_t i = 0; i < count; i++) {
            wires[i] = world_wire();
            packets[i] = (struct kst_packet){.data = wires[i].data, .size = wires[i].size};
            packets[i].flags = (uint8_t)(draw_one_in(10) ? draw_below(flags) : 0);
            packets[i].zone = draw_one_in(10);
            packets[i].policy = (uint8_t)(draw_one_in(10) ? draw_below(KST_POLICIES + 1) : 0);
            packets[i].helper = (uint8_t)(draw_one_in(5) ? draw_below(6) : 0);
        }
        kst_track(t, now_ms, packets, count, results);
        kst_insert(t, &flow, NULL);
        if (count > 0 && draw_one_in(4))
            kst_refuse(t, &results[draw_below(count)]);
        if (kst_get(t, id, &flow) && draw_one_in(4)) {
            char line[KST_LINE_MAX];
            must(kst_print(&flow, (enum kst_format)draw_below(3), line, sizeof line) < sizeof line);
            kst_delete(t, id);
            kst_insert(t, &flow, NULL);
        }
        if (draw_one_in(4))
            kst_delete(t, id);
        expect_anything(t, any(t, draw_below(MAX_HIGHEST)));
        kst_set_labels(t, any(t, draw_below(MAX_HIGHEST)), labels);
        hear_anything(t);
        if (draw_one_in(20))
            kst_flush(t);
        if (draw_one_in(4))
            set_anything(t);
        now_ms += draw_below(15000);
        kst_advance(t, now_ms, draw_below(30));
        must_be_sound(t);
    }
}

START_TEST(never_outside_the_block)
{
    draw_state = 1;
    for (uint32_t max = 1; max <= MAX_HIGHEST; max++) {
        for (uint32_t way = 0; way < 8; way++) {
            struct kst_config config = {.max = max, .features = (way & 3) | (max % 4) << 2};
            config.expectations = max % 3 * way;
            config.events = max % 5 * way;
            config.buckets = draw_one_in(2) ? 0 : 32;
            config.seed[0] = draw();
            const size_t bytes = kst_bytes(&config);
            struct guarded g = guarded_new(bytes);
            memset(g.page, 0xa5, g.bytes);
            void *block = way & 4 ? g.page : guarded_end(&g, bytes);
            struct kst *t = kst_init(block, bytes, &config, NULL);
            about("max %u, features %u, against the %s", max, config.features, way & 4 ? "front" : "end");
            must(t != NULL);
            use(t, config.features);
            const uint8_t *behind = (uint8_t *)block + bytes;
            while (way & 4 && behind < g.page + g.bytes) /* the rest of the last page */
                must_be(*behind++, 0xa5);
            guarded_free(&g);
        }
    }
}
END_TEST

START_TEST(more_never_takes_less)
{
    for (uint32_t way = 0; way < 16; way++) {
        size_t before = 0;
        for (uint32_t max = 1; max <= KST_ENTRIES_MAX; max += 1 + max / 50) {
            struct kst_config config = {
                .max = max, .features = way & 3, .buckets = way & 4 ? 1024 : way & 8 ? 1 : 0};
            const size_t bytes = kst_bytes(&config);
            about("max %u, way %u", max, way);
            must(bytes >= before);
            must_be(bytes % KST_ALIGN, 0);
            before = bytes;
            if (way & 3) { /* nor do more features, or more buckets */
                config.features = 0;
                must(kst_bytes(&config) < bytes);
                config.features = way & 3;
            }
            config.buckets = config.buckets * 2;
            must(kst_bytes(&config) >= bytes);
            config.buckets /= 2;
            config.features |= KST_WITH_LABELS;
            must(kst_bytes(&config) >= bytes + max * (size_t)KST_LABEL_BYTES);
            config.features = (config.features & ~(uint32_t)KST_WITH_LABELS) | KST_WITH_TIMESTAMPS;
            must(kst_bytes(&config) >= bytes + max * sizeof(uint64_t));
            config.features = way & 3;
            config.expectations = 100;
            must(kst_bytes(&config) >= bytes + 64 * (size_t)max);
            config.expectations = 0;
            config.events = 1;
            must(kst_bytes(&config) >= bytes + sizeof(struct kst_event));
        }
    }
}
END_TEST

SUITE("memory", never_outside_the_block, more_never_takes_less)
