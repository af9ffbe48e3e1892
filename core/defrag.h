/* SPDX-License-Identifier: MIT */
/* core/defrag.h - fragments in, whole datagrams out: without the first fragment nobody knows the
 * ports of the others, so Linux reassembles before it tracks, and so do we.
 *
 * Held bytes lie in cells of 256, the fragments of a datagram in the order of their offsets. What
 * lies wholly inside what is there is a copy and forgotten; what overlaps it in part is an attack
 * and takes the whole datagram with it (RFC 5722, in both families, as Linux has it). A datagram
 * that is not complete in time is dropped. When the cells are used up, newcomers are refused: what
 * an attacker can pin is what config.reassembly_bytes says, for as long as the timeout says.
 *
 *     struct kst__defrag | buckets | queues | cells | the datagram that was completed last */
#ifndef KST_DEFRAG_H
#define KST_DEFRAG_H

#include "parse.h"
#include "pool.h"

enum { KST__CELL_DATA = 243, KST__DATAGRAM_MAX = 65535 + 40 };

struct kst__cell {
    uint32_t next;   /* cell of the same fragment; of a free one, the next free */
    uint32_t after;  /* in a fragment's first cell: the first of the fragment behind it */
    uint16_t at;     /* likewise: its offset in the datagram, and its length, */
    uint16_t length;
    bool joined;     /* and whether it came right behind the one before it, as the last so far */
    uint8_t data[KST__CELL_DATA];
};

struct kst__datagram_key { /* RFC 791, RFC 8200 §4.5; no padding: compared as a whole */
    uint8_t src[16], dst[16];
    uint32_t id;
    uint16_t zone;
    uint8_t family;
    uint8_t protocol; /* IPv4 alone */
};

struct kst__queue {
    struct kst__datagram_key key;
    uint64_t expires_ms;
    uint64_t hash;
    uint32_t next;           /* in the bucket; of a free one, the next free */
    uint32_t older, newer;   /* in the list of its family */
    uint32_t first, last;    /* fragments */
    uint32_t header;         /* what stands before the data, of the fragment at offset 0 */
    uint32_t held;           /* bytes of data */
    uint32_t end;            /* where the data ends, as far as is known */
    uint32_t header_bytes;
    uint16_t fragments;
    uint8_t next_header;     /* IPv6: what the fragment header of the first says */
    uint8_t checksum;        /* enum kst_checksum: the least trusting of all */
    bool end_seen;           /* `end` is final */
};

struct kst__defrag {
    uint64_t queues_at, cells_at, datagram_at; /* offsets */
    uint32_t buckets;
    uint32_t queues, queues_used, queues_free, queues_count;
    uint32_t cells, cells_used, cells_free, cells_count; /* count: in use now */
    uint32_t oldest[2], newest[2];                       /* queues, IPv4 and IPv6 */
};

/* One fragment, as its headers describe it. */
struct kst__fragment {
    struct kst__datagram_key key;
    const uint8_t *header, *data;
    uint32_t header_bytes, bytes, at;
    uint8_t next_header, checksum;
    bool more;
    bool headless, uneven; /* IPv6: cut inside its headers, or not at 8 bytes: Linux lets it through */
};

KST_INLINE struct kst__defrag *kst__defrag_at(const struct kst *t)
{
    return (struct kst__defrag *)kst__at(t, t->defrag_at);
}

KST_INLINE uint32_t *kst__bucket(const struct kst__defrag *d, uint64_t hash)
{
    return (uint32_t *)(uintptr_t)(d + 1) + (hash & (d->buckets - 1));
}

KST_INLINE struct kst__queue *kst__queue_at(const struct kst__defrag *d, uint32_t number)
{
    return (struct kst__queue *)((uint8_t *)(uintptr_t)d + d->queues_at) + number;
}

KST_INLINE struct kst__cell *kst__cell_at(const struct kst__defrag *d, uint32_t number)
{
    return (struct kst__cell *)((uint8_t *)(uintptr_t)d + d->cells_at) + number;
}

/* Sizes and offsets for so much memory; returns the bytes of all. */
static uint64_t kst__defrag_lay_out(struct kst__defrag *d, uint32_t reassembly_bytes)
{
    memset(d, 0, sizeof *d);
    d->cells = reassembly_bytes / (uint32_t)sizeof(struct kst__cell);
    d->queues = d->cells / 2;
    d->buckets = kst__power_of_two(d->queues);
    d->queues_at = kst__aligned(sizeof *d + (uint64_t)d->buckets * sizeof(uint32_t));
    d->cells_at = kst__aligned(d->queues_at + (uint64_t)d->queues * sizeof(struct kst__queue));
    d->datagram_at = d->cells_at + (uint64_t)d->cells * sizeof(struct kst__cell);
    return d->datagram_at + KST__DATAGRAM_MAX;
}

static void kst__defrag_init(struct kst *t, uint32_t reassembly_bytes)
{
    struct kst__defrag *d = kst__defrag_at(t);
    kst__defrag_lay_out(d, reassembly_bytes);
    d->queues_free = d->cells_free = KST__NONE;
    memset(d->oldest, 0xff, sizeof d->oldest); /* KST__NONE */
    memset(d->newest, 0xff, sizeof d->newest);
    memset(d + 1, 0xff, (size_t)d->buckets * sizeof(uint32_t));
}

/* ---- cells ---- */

KST_INLINE uint32_t kst__cells_for(uint32_t bytes)
{
    return (bytes + KST__CELL_DATA - 1) / KST__CELL_DATA;
}

/* Copies bytes into cells, of which there are enough; returns the first. */
static uint32_t kst__cells_fill(struct kst__defrag *d, const uint8_t *data, uint32_t bytes)
{
    uint32_t first = KST__NONE, last = KST__NONE;
    while (bytes > 0) {
        const uint32_t number = d->cells_free != KST__NONE ? d->cells_free : d->cells_used;
        const uint32_t part = bytes < KST__CELL_DATA ? bytes : (uint32_t)KST__CELL_DATA;
        struct kst__cell *cell = kst__cell_at(d, number);
        KST_ASSERT(d->cells_count < d->cells);
        if (number == d->cells_used)
            d->cells_used++;
        else
            d->cells_free = cell->next;
        d->cells_count++;
        memcpy(cell->data, data, part);
        cell->next = KST__NONE;
        if (last == KST__NONE)
            first = number;
        else
            kst__cell_at(d, last)->next = number;
        last = number;
        data += part;
        bytes -= part;
    }
    return first;
}

static void kst__cells_read(const struct kst__defrag *d, uint32_t number, uint32_t bytes, uint8_t *to)
{
    while (bytes > 0) {
        const struct kst__cell *cell = kst__cell_at(d, number);
        const uint32_t part = bytes < KST__CELL_DATA ? bytes : (uint32_t)KST__CELL_DATA;
        memcpy(to, cell->data, part);
        to += part;
        bytes -= part;
        number = cell->next;
    }
}

static void kst__cells_free(struct kst__defrag *d, uint32_t number)
{
    while (number != KST__NONE) {
        struct kst__cell *cell = kst__cell_at(d, number);
        const uint32_t next = cell->next;
        cell->next = d->cells_free;
        d->cells_free = number;
        d->cells_count--;
        number = next;
    }
}

/* ---- queues: one a datagram ---- */

KST_INLINE uint32_t kst__queue_list(const struct kst__queue *queue)
{
    return queue->key.family == KST_IPV6;
}

static uint64_t kst__datagram_hash(const struct kst *t, const struct kst__datagram_key *key)
{
    uint64_t words[5];
    memcpy(words, key, sizeof words);
    return kst__siphash(t->seed, words, 5, 1, 3);
}

typedef char kst__datagram_key_has_no_padding[sizeof(struct kst__datagram_key) == 40 ? 1 : -1];

static uint32_t kst__queue_find(const struct kst__defrag *d, const struct kst__datagram_key *key,
                                uint64_t hash)
{
    uint32_t number = *kst__bucket(d, hash);
    while (number != KST__NONE) {
        const struct kst__queue *queue = kst__queue_at(d, number);
        if (queue->hash == hash && memcmp(&queue->key, key, sizeof *key) == 0)
            break;
        number = queue->next;
    }
    return number;
}

static uint32_t kst__queue_new(struct kst *t, const struct kst__datagram_key *key, uint64_t hash)
{
    struct kst__defrag *d = kst__defrag_at(t);
    const uint32_t number = d->queues_free != KST__NONE ? d->queues_free : d->queues_used;
    struct kst__queue *queue = kst__queue_at(d, number);
    KST_ASSERT(d->queues_count < d->queues);
    if (number == d->queues_used)
        d->queues_used++;
    else
        d->queues_free = queue->next;
    d->queues_count++;

    memset(queue, 0, sizeof *queue);
    queue->key = *key;
    queue->hash = hash;
    queue->first = queue->last = queue->header = queue->newer = KST__NONE;
    const uint32_t list = kst__queue_list(queue);
    queue->expires_ms =
        kst__due_ms(t, t->set[list ? KST__SET_FRAG6_TIMEOUT : KST__SET_FRAG4_TIMEOUT]);
    queue->next = *kst__bucket(d, hash);
    *kst__bucket(d, hash) = number;
    queue->older = d->newest[list];
    if (queue->older == KST__NONE)
        d->oldest[list] = number;
    else
        kst__queue_at(d, queue->older)->newer = number;
    d->newest[list] = number;
    return number;
}

static void kst__queue_drop(struct kst__defrag *d, uint32_t number)
{
    struct kst__queue *queue = kst__queue_at(d, number);
    const uint32_t list = kst__queue_list(queue);
    uint32_t *at = kst__bucket(d, queue->hash);
    while (*at != number)
        at = &kst__queue_at(d, *at)->next;
    *at = queue->next;
    if (queue->older == KST__NONE)
        d->oldest[list] = queue->newer;
    else
        kst__queue_at(d, queue->older)->newer = queue->newer;
    if (queue->newer == KST__NONE)
        d->newest[list] = queue->older;
    else
        kst__queue_at(d, queue->newer)->older = queue->older;

    kst__cells_free(d, queue->header);
    for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
        const uint32_t after = kst__cell_at(d, fragment)->after;
        kst__cells_free(d, fragment);
        fragment = after;
    }
    queue->next = d->queues_free;
    d->queues_free = number;
    d->queues_count--;
}

/* After a timeout was lowered nobody may stay longer; the lists keep their order. */
static void kst__defrag_shorten(struct kst *t)
{
    struct kst__defrag *d = kst__defrag_at(t);
    for (uint32_t list = 0; list < 2; list++) {
        const uint64_t latest_ms =
            kst__due_ms(t, t->set[list ? KST__SET_FRAG6_TIMEOUT : KST__SET_FRAG4_TIMEOUT]);
        for (uint32_t n = d->oldest[list]; n != KST__NONE; n = kst__queue_at(d, n)->newer)
            if (kst__queue_at(d, n)->expires_ms > latest_ms)
                kst__queue_at(d, n)->expires_ms = latest_ms;
    }
}

/* Drops what was not completed in time; one step of `work` each. */
static void kst__defrag_expire(struct kst *t, uint32_t *work)
{
    struct kst__defrag *d = kst__defrag_at(t);
    for (uint32_t list = 0; list < 2; list++)
        while (*work > 0 && d->oldest[list] != KST__NONE &&
               kst__queue_at(d, d->oldest[list])->expires_ms <= t->now_ms) {
            *work -= 1;
            t->stats.reassembly_expired++;
            kst__queue_drop(d, d->oldest[list]);
        }
}

/* ---- fragments ---- */

/* Whether the first fragment of an IPv6 datagram lacks headers that it must have (RFC 7112). */
static bool kst__headers_cut(const struct kst__ip *ip, uint32_t ip_bytes)
{
    if (ip->reason == KST_REASON_FRAGMENT) /* a fragment of a fragment: the join will tell */
        return false;
    const uint32_t needed = ip->protocol == KST__TCP                                ? 20
                            : ip->protocol == KST__UDP || ip->protocol == KST__ICMPV6 ? 8
                                                                                      : 1;
    return ip->reason != KST_REASON_NONE || ip_bytes - ip->l4_at < needed;
}

/* Describes the fragment that a packet is; all of it is there. */
static void kst__fragment_read(const struct kst_packet *packet, const struct kst__parsed *p,
                               struct kst__fragment *f)
{
    const uint8_t *data = packet->data;
    const bool v4 = data[0] >> 4 == 4;
    const struct kst__ip ip = v4 ? kst__ip4(data, p->ip_bytes) : kst__ip6(data, p->ip_bytes);
    const size_t address_bytes = v4 ? 4 : 16;
    memset(f, 0, sizeof *f);
    memcpy(f->key.src, ip.addresses, address_bytes);
    memcpy(f->key.dst, ip.addresses + address_bytes, address_bytes);
    f->key.zone = packet->zone;
    f->key.family = ip.family;
    f->checksum = p->checksum;
    f->at = ip.fragment_at;
    f->more = ip.fragment_more;
    f->header = data;
    if (v4) {
        f->key.protocol = ip.protocol;
        f->key.id = kst__be16(data + 4);
        f->header_bytes = ip.l4_at;
        f->data = data + ip.l4_at;
    } else {
        const uint8_t *header = data + ip.fragment_header_at;
        f->key.id = kst__be32(header + 4);
        f->next_header = header[0];
        f->header_bytes = ip.fragment_header_at;
        f->data = header + 8;
    }
    f->bytes = p->ip_bytes - (uint32_t)(f->data - data);
    f->headless = !v4 && f->at == 0 && kst__headers_cut(&ip, p->ip_bytes);
    f->uneven = !v4 && f->more && f->bytes % 8 != 0;
    if (v4 && f->more)
        f->bytes &= ~UINT32_C(7); /* Linux forgets the rest */
}

/* Whether the datagram may have a fragment that ends there: its end is known once the last one was
 * seen, and nothing may lie behind it. */
static bool kst__queue_ends(struct kst__queue *queue, uint32_t end, bool more)
{
    if (more ? queue->end_seen && end > queue->end
             : end < queue->end || (queue->end_seen && end != queue->end))
        return false;
    if (end > queue->end)
        queue->end = end;
    queue->end_seen = queue->end_seen || !more;
    return true;
}

/* Where a fragment belongs: between *before and *after. HELD; COPY if all of it lies in one run,
 * that is fragments which came in order and without holes; OVERLAP if a byte of it is there
 * otherwise. */
static uint8_t kst__queue_place(const struct kst__defrag *d, const struct kst__queue *queue,
                                uint32_t begin, uint32_t end, uint32_t *before, uint32_t *after)
{
    *before = KST__NONE;
    *after = queue->first;
    if (queue->last != KST__NONE) { /* mostly they come in order */
        const struct kst__cell *last = kst__cell_at(d, queue->last);
        if (begin >= (uint32_t)last->at + last->length) {
            *before = queue->last;
            *after = KST__NONE;
        }
    }
    while (*after != KST__NONE) {
        uint32_t run_last = *after;
        const struct kst__cell *cell = kst__cell_at(d, run_last);
        const uint32_t run_begin = cell->at;
        uint32_t run_end = run_begin + cell->length;
        while (cell->after != KST__NONE && kst__cell_at(d, cell->after)->joined) {
            run_last = cell->after;
            cell = kst__cell_at(d, run_last);
            run_end += cell->length;
        }
        if (end <= run_begin)
            break;
        if (begin < run_end)
            return begin >= run_begin && end <= run_end ? KST_REASON_FRAGMENT_COPY
                                                        : KST_REASON_FRAGMENT_OVERLAP;
        *before = run_last;
        *after = cell->after;
    }
    return KST_REASON_FRAGMENT_HELD;
}

/* Keeps a fragment with those of its datagram. HELD or COPY; what else takes the datagram with it,
 * but FULL. */
static uint8_t kst__queue_add(struct kst__defrag *d, struct kst__queue *queue,
                              const struct kst__fragment *f)
{
    const uint32_t header_cells = f->at == 0 ? kst__cells_for(f->header_bytes) : 0;
    uint32_t before, after;
    if (!kst__queue_ends(queue, f->at + f->bytes, f->more))
        return KST_REASON_FRAGMENT_BAD;
    const uint8_t reason = kst__queue_place(d, queue, f->at, f->at + f->bytes, &before, &after);
    if (reason != KST_REASON_FRAGMENT_HELD)
        return reason;
    if (queue->fragments >= KST_FRAGMENTS_MAX)
        return KST_REASON_FRAGMENT_MANY;
    if (kst__cells_for(f->bytes) + header_cells > d->cells - d->cells_count)
        return KST_REASON_FRAGMENT_FULL;

    const uint32_t number = kst__cells_fill(d, f->data, f->bytes);
    struct kst__cell *cell = kst__cell_at(d, number);
    cell->at = (uint16_t)f->at;
    cell->length = (uint16_t)f->bytes;
    cell->after = after;
    cell->joined = after == KST__NONE && before != KST__NONE &&
                   (uint32_t)kst__cell_at(d, before)->at + kst__cell_at(d, before)->length == f->at;
    *(before == KST__NONE ? &queue->first : &kst__cell_at(d, before)->after) = number;
    if (after == KST__NONE)
        queue->last = number;
    if (f->at == 0) {
        queue->header = kst__cells_fill(d, f->header, f->header_bytes);
        queue->header_bytes = f->header_bytes;
        queue->next_header = f->next_header;
    }
    if (queue->fragments++ == 0)
        queue->checksum = f->checksum;
    else if (queue->checksum != f->checksum)
        queue->checksum = queue->checksum == KST_CHECKSUM_BAD || f->checksum == KST_CHECKSUM_BAD
                              ? KST_CHECKSUM_BAD
                              : KST_CHECKSUM_VERIFY;
    queue->held += f->bytes;
    return KST_REASON_FRAGMENT_HELD;
}

/* Writes the datagram out, with a header that tells of no fragments. Returns its length, 0 if that
 * is more than an IP packet can have. */
static uint32_t kst__queue_join(struct kst__defrag *d, const struct kst__queue *queue)
{
    uint8_t *to = (uint8_t *)d + d->datagram_at;
    const uint32_t header = queue->header_bytes, bytes = header + queue->end;
    const bool v4 = queue->key.family == KST_IPV4;
    if (bytes > (v4 ? 65535u : 65535u + 40u))
        return 0;
    kst__cells_read(d, queue->header, header, to);
    for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
        const struct kst__cell *cell = kst__cell_at(d, fragment);
        kst__cells_read(d, fragment, cell->length, to + header + cell->at);
        fragment = cell->after;
    }
    if (v4) {
        to[2] = (uint8_t)(bytes >> 8);
        to[3] = (uint8_t)bytes;
        to[6] = to[7] = to[10] = to[11] = 0;
        uint64_t sum = kst__sum(0, to, header);
        while (sum > UINT16_MAX)
            sum = (sum >> 16) + (sum & UINT16_MAX);
        const uint16_t checksum = (uint16_t)~sum;
        memcpy(to + 10, &checksum, sizeof checksum);
    } else {
        uint32_t names = 6, at = 40; /* the byte that names the fragment header */
        while (at < header) {
            const uint32_t here = at;
            at += kst__ext_bytes(to[names], to[at + 1]);
            names = here;
        }
        to[names] = queue->next_header;
        to[4] = (uint8_t)((bytes - 40) >> 8);
        to[5] = (uint8_t)(bytes - 40);
    }
    return bytes;
}

/* The queue of a datagram that is in time, KST__NONE if there is none. */
static uint32_t kst__queue_current(struct kst *t, const struct kst__datagram_key *key,
                                   uint64_t hash)
{
    struct kst__defrag *d = kst__defrag_at(t);
    const uint32_t number = kst__queue_find(d, key, hash);
    if (number == KST__NONE || kst__queue_at(d, number)->expires_ms > t->now_ms)
        return number;
    t->stats.reassembly_expired++;
    kst__queue_drop(d, number);
    return KST__NONE;
}

/* Where a complete datagram is put together. */
KST_INLINE uint8_t *kst__datagram(const struct kst *t)
{
    struct kst__defrag *d = kst__defrag_at(t);
    return (uint8_t *)d + d->datagram_at;
}

/* Puts a complete datagram in the place of the fragment that `whole` describes. NONE, or BAD if it
 * is too large. */
static uint8_t kst__queue_finish(struct kst *t, const struct kst__queue *queue,
                                 struct kst_packet *whole)
{
    struct kst__defrag *d = kst__defrag_at(t);
    whole->data = kst__datagram(t);
    whole->size = kst__queue_join(d, queue);
    whole->zone = queue->key.zone;
    whole->checksum = queue->checksum;
    if (whole->size == 0)
        return KST_REASON_FRAGMENT_BAD;
    t->stats.reassembled++;
    return KST_REASON_NONE;
}

/* Takes a fragment. NONE if it completes its datagram, which `whole`, a copy of the packet, then
 * describes until the next fragment comes; FRAGMENT if it is to be judged as it is; else what became of
 * it. */
static uint8_t kst__defrag_take(struct kst *t, const struct kst_packet *packet,
                                const struct kst__parsed *p, struct kst_packet *whole)
{
    struct kst__defrag *d = kst__defrag_at(t);
    struct kst__fragment f;
    uint32_t work = KST_COLLECT_MAX;
    kst__defrag_expire(t, &work);
    kst__fragment_read(packet, p, &f);
    if (f.headless)
        return KST_REASON_FRAGMENT;
    const uint64_t hash = kst__datagram_hash(t, &f.key);
    uint32_t number = kst__queue_current(t, &f.key, hash);
    const bool v4 = f.key.family == KST_IPV4;
    if (!v4 && (f.at + f.bytes > 65535 || (f.bytes == 0 && f.more)))
        return KST_REASON_FRAGMENT_BAD; /* of IPv4 the join will tell */
    if (f.uneven || (v4 && f.bytes == 0)) { /* nothing that it could belong to */
        if (number != KST__NONE)
            kst__queue_drop(d, number);
        return f.uneven ? KST_REASON_FRAGMENT : KST_REASON_FRAGMENT_BAD;
    }
    const bool created = number == KST__NONE;
    if (created) {
        if (d->queues_count == d->queues || d->cells_count == d->cells)
            return KST_REASON_FRAGMENT_FULL;
        number = kst__queue_new(t, &f.key, hash);
    }

    struct kst__queue *queue = kst__queue_at(d, number);
    if (f.bytes == 0) { /* IPv6: nothing but the end of a datagram */
        kst__queue_ends(queue, f.at, false);
        return KST_REASON_FRAGMENT_BAD;
    }
    uint8_t reason = kst__queue_add(d, queue, &f);
    const bool complete = reason == KST_REASON_FRAGMENT_HELD && queue->end_seen &&
                          queue->held == queue->end;
    if (complete)
        reason = kst__queue_finish(t, queue, whole);
    /* A bad end costs IPv4 the datagram, IPv6 only the fragment. */
    if (complete || (created && reason != KST_REASON_FRAGMENT_HELD) ||
        reason == KST_REASON_FRAGMENT_OVERLAP || reason == KST_REASON_FRAGMENT_MANY ||
        (reason == KST_REASON_FRAGMENT_BAD && v4))
        kst__queue_drop(d, number);
    return reason;
}

static const char *kst__defrag_check(const struct kst *t)
{
    const struct kst__defrag *d = kst__defrag_at(t);
    uint32_t queues = 0, cells = 0, free_queues = 0, free_cells = 0;
    for (uint32_t list = 0; list < 2; list++) {
        uint32_t older = KST__NONE;
        for (uint32_t number = d->oldest[list]; number != KST__NONE;) {
            const struct kst__queue *queue = kst__queue_at(d, number);
            uint32_t held = 0, fragments = 0, at = 0;
            if (number >= d->queues_used || ++queues > d->queues_count || queue->older != older ||
                kst__queue_list(queue) != list)
                return "reassembly: the list of datagrams leads astray";
            if (older != KST__NONE && queue->expires_ms < kst__queue_at(d, older)->expires_ms)
                return "reassembly: a datagram expires before an older one";
            if (kst__queue_find(d, &queue->key, queue->hash) != number)
                return "reassembly: a datagram is not found";
            for (uint32_t fragment = queue->first; fragment != KST__NONE;) {
                const struct kst__cell *cell = kst__cell_at(d, fragment);
                if (fragment >= d->cells_used || cell->at < at || cell->length == 0 ||
                    ++fragments > queue->fragments)
                    return "reassembly: fragments overlap";
                at = (uint32_t)cell->at + cell->length;
                held += cell->length;
                cells += kst__cells_for(cell->length);
                if (cell->after == KST__NONE && queue->last != fragment)
                    return "reassembly: the last fragment is not the last";
                fragment = cell->after;
            }
            cells += kst__cells_for(queue->header_bytes);
            if (held != queue->held || fragments != queue->fragments || at > queue->end)
                return "reassembly: a datagram's counts are wrong";
            older = number;
            number = queue->newer;
        }
        if (d->newest[list] != older)
            return "reassembly: the list of datagrams has no end";
    }
    for (uint32_t number = d->queues_free; number != KST__NONE;
         number = kst__queue_at(d, number)->next)
        if (number >= d->queues_used || ++free_queues > d->queues_used)
            return "reassembly: the free datagrams lead astray";
    for (uint32_t number = d->cells_free; number != KST__NONE; number = kst__cell_at(d, number)->next)
        if (number >= d->cells_used || ++free_cells > d->cells_used)
            return "reassembly: the free cells lead astray";
    if (queues != d->queues_count || queues + free_queues != d->queues_used ||
        cells != d->cells_count || cells + free_cells != d->cells_used)
        return "reassembly: memory is lost";
    return NULL;
}

#endif
