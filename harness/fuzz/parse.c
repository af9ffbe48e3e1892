/* SPDX-License-Identifier: MIT */
/* parse.c - property: whatever bytes come as a packet, core and naive tracker read the same tuple out of them,
 * or refuse them for the same reason, and judge them alike as the first of a connection: header, options,
 * chunks and checksums included. What lies behind the IP length changes nothing; the front of a packet
 * alone names nobody else; a tuple's answer's answer is the tuple. A packet is for the same shard as any other
 * between the two hosts, either way, and an error for that of who it is about.
 *
 * One packet an input, in an allocation of its size; half of the inputs come as a frame of a capture. */
#include "rig.h"

#include "../naive.h"
#include "../replay/link.h"
#include "packet.h"

static struct {
    struct kst_config config;
    struct kst *t, *fresh; /* that is as it was made */
    size_t bytes;
    struct naive naive;
    struct naive *fresh_naive;
} rig;

/* Made once: what one packet can do to a table is undone by a copy. */
static void begin(void)
{
    if (rig.t == NULL) {
        rig.config.max = 2;
        rig.config.features = KST_WITH_ACCOUNTING;
        rig.bytes = kst_bytes(&rig.config);
        rig.t = aligned_alloc(KST_ALIGN, rig.bytes);
        rig.fresh = aligned_alloc(KST_ALIGN, rig.bytes);
        rig.fresh_naive = malloc(sizeof *rig.fresh_naive);
        if (rig.t == NULL || rig.fresh == NULL || rig.fresh_naive == NULL)
            exit(2);
        memset(rig.fresh, 0, rig.bytes);
        fuzz_must(kst_init(rig.fresh, rig.bytes, &rig.config, NULL) != NULL);
        fuzz_must(kst_set(rig.fresh, "nf_conntrack_acct", 1) == KST_ERROR_OK);
        naive_init(rig.fresh_naive, &rig.config);
        naive_set(rig.fresh_naive, 0, "nf_conntrack_acct", 1);
    }
    memcpy(rig.t, rig.fresh, rig.bytes);
    memcpy(&rig.naive, rig.fresh_naive, offsetof(struct naive, entry));
}

/* What both make of the packet. */
static void compare(const struct kst_packet *packet)
{
    struct kst__parsed p;
    struct naive_packet q;
    struct kst_tuple inverse, back;
    kst__parse(packet, true, &p);
    naive_read(&rig.naive, packet, &q);
    fuzz_note(p.reason);
    if (p.reason == KST_REASON_NONE && !p.partial) {
        if (q.reason != KST_REASON_NONE)
            fuzz_fail("read, and the naive tracker says %s", kst_reason_name(q.reason));
        fuzz_must(memcmp(&p.tuple, &q.tuple, sizeof p.tuple) == 0);
        fuzz_must(p.l4 >= packet->data && p.l4 + p.l4_here <= packet->data + packet->size);
        fuzz_must(p.l4_here <= p.l4_bytes && p.l4_bytes <= p.ip_bytes);
        fuzz_note((uint64_t)p.tuple.src_port << 16 | p.tuple.dst_port);
        if (kst__tuple_invert(&p.tuple, &inverse)) {
            fuzz_must(kst__tuple_invert(&inverse, &back) && kst__tuple_same(&back, &p.tuple));
            fuzz_same("hash of a tuple and its answer", kst__tuple_hash(&p.tuple, rig.t->seed),
                      kst__tuple_hash(&inverse, rig.t->seed));
        }
    }

    struct kst_result core = rig_track(rig.t, 1000, packet), naive;
    naive_track(&rig.naive, 1000, packet, &naive);
    rig_note_result(&core);
    if (!rig_same_result(&core, &naive))
        fuzz_fail("the core says %s %s, the naive tracker %s %s", kst_state_name((enum kst_state)core.state),
                  kst_reason_name((enum kst_reason)core.reason), kst_state_name((enum kst_state)naive.state),
                  kst_reason_name((enum kst_reason)naive.reason));
    fuzz_same("connections", kst_count(rig.t), rig.naive.count);
    fuzz_must(core.state != KST_RELATED); /* there is nothing that an error could be about */
    if (core.flags & KST_CREATED) {
        struct kst_flow one, other;
        fuzz_must(kst_get(rig.t, core.entry, &one));
        naive_flow(&rig.naive, &rig.naive.entry[0], &other);
        fuzz_must(memcmp(one.tuple, other.tuple, sizeof one.tuple) == 0);
        fuzz_same("timeout", one.timeout_ms, other.timeout_ms);
        fuzz_same("state", one.state, other.state);
        fuzz_same("bytes", one.bytes[0], other.bytes[0]);
        fuzz_same("tags", one.sctp_tags[1], other.sctp_tags[1]);
    }
}

/* Bytes behind the packet's end are nobody's. */
static void pad(const struct kst_packet *packet, uint32_t bytes, uint8_t with)
{
    struct kst__parsed p, q;
    struct kst_packet padded = *packet;
    uint8_t *longer = fuzz_exact(NULL, packet->size + bytes);
    kst__parse(packet, true, &p);
    if (p.ip_bytes <= packet->size && p.reason != KST_REASON_IP_SHORT) {
        memcpy(longer, packet->data, packet->size);
        memset(longer + packet->size, with, bytes);
        padded.data = longer;
        padded.size += bytes;
        kst__parse(&padded, true, &q);
        fuzz_same("reason, padded", p.reason, q.reason);
        fuzz_same("bytes, padded", p.l4_here, q.l4_here);
        fuzz_must(memcmp(&p.tuple, &q.tuple, sizeof p.tuple) == 0);
    }
    fuzz_free(longer);
}

/* Only the front of it: less is known, nothing else. */
static void cut(const struct kst_packet *packet, uint32_t size)
{
    struct kst__parsed p, q;
    struct kst_packet front = *packet;
    uint8_t *less = fuzz_exact(packet->data, size);
    front.data = less;
    front.size = size;
    front.flags |= KST_PACKET_HEAD;
    kst__parse(packet, false, &p);
    kst__parse(&front, false, &q);
    if (p.reason == KST_REASON_NONE && q.reason == KST_REASON_NONE && p.tuple.protocol == q.tuple.protocol &&
        p.tuple.protocol != KST__GRE) /* whose version 1 needs eight bytes to be seen */
        fuzz_must(memcmp(&p.tuple, &q.tuple, sizeof p.tuple) == 0);
    memcpy(rig.t, rig.fresh, rig.bytes);
    rig_track(rig.t, 1000, &front);
    fuzz_free(less);
}

static uint32_t shard_of(const uint8_t *data, uint32_t size)
{
    static const uint64_t seed[2] = {1, 2};
    const struct kst_packet packet = {.data = data, .size = size};
    return kst_shard(&packet, 1000, seed);
}

/* An error counts by the packet that it carries, all else by its own addresses: so does one of several fragments, in which the naive
 * tracker reads nothing. */
static void shard(const struct kst_packet *packet)
{
    struct kst_packet unsummed = *packet;
    struct naive_packet q;
    uint8_t there[40], back[40];
    const uint32_t version = packet->size > 0 ? packet->data[0] >> 4 : 0, head = version == 4 ? 20 : 40, half = version == 4 ? 4 : 16;
    const uint32_t at = version == 4 ? 12 : 8;
    if ((version != 4 && version != 6) || packet->size < head) {
        fuzz_same("shard of no packet", shard_of(packet->data, packet->size), 0);
        return;
    }
    const uint8_t *of = packet->data + at;
    unsummed.checksum = KST_CHECKSUM_IGNORE;
    naive_read(&rig.naive, &unsummed, &q);
    if (q.reason == KST_REASON_NONE && q.tuple.protocol == (version == 4 ? ICMP : ICMP6) && naive_is_error(&q) && q.l4_bytes >= 8 + head)
        of = q.l4 + 8 + at;
    memset(there, 0, sizeof there);
    there[0] = (uint8_t)(version << 4 | 5);
    memcpy(back, there, sizeof back);
    memcpy(there + at, of, 2 * half);
    memcpy(back + at, of + half, half);
    memcpy(back + at + half, of, half);
    fuzz_same("shard", shard_of(packet->data, packet->size), shard_of(there, head));
    fuzz_same("shard of an answer", shard_of(back, head), shard_of(there, head));
}

static void run(const uint8_t *data, size_t size)
{
    const uint32_t link = draw8(), zone = draw8(), extra = draw8(), at = draw8();
    const size_t head = size < fuzz_target.head ? size : fuzz_target.head;
    struct link_bytes bytes = {fuzz_exact(data + head, size - head), (uint32_t)(size - head), 0};
    const uint8_t *frame = bytes.at;
    begin();
    if (link >= 128) {
        unsigned links = 0;
        while (link_known(links) >= 0)
            links++;
        const enum link_content content = link_find(link_known(link % links))(&bytes);
        fuzz_must(content < LINK_CONTENTS && bytes.at >= frame && bytes.at + bytes.size == frame + (size - head));
        fuzz_note(content);
        if (content != LINK_IP)
            return;
    }
    struct kst_packet packet = {.data = bytes.at, .size = bytes.size, .zone = (uint16_t)zone};
    if (link >= 128)
        packet.data = fuzz_exact(bytes.at, bytes.size);
    packet.checksum = (uint8_t)(extra & 64 ? extra & 3 : KST_CHECKSUM_VERIFY);
    compare(&packet);
    shard(&packet);
    if (extra & 15)
        pad(&packet, extra & 15, (uint8_t)at);
    if (extra & 128)
        cut(&packet, packet.size * at / 255);
}

const struct fuzz_target fuzz_target = {"parse", FUZZ_PACKET, 4, 0, 1, run, false};
