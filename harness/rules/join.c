/* SPDX-License-Identifier: MIT */
/* join.c - see join.h. */
#include "join.h"

#include <stdlib.h>
#include <string.h>

enum { COPIES_MAX = 1024, REASSEMBLY_BYTES = 4 << 20 };

/* Where a fragment's data belongs. */
struct place {
    uint32_t header; /* bytes before the data, an IPv6 fragment header not counted */
    uint32_t begin;  /* of the data in the fragment */
    uint32_t offset; /* of the data in the datagram's */
    uint32_t next;   /* IPv6: where the field stands that names the fragment header; 0: IPv4 */
    bool more;
    uint8_t key[40]; /* of the datagram: addresses, identification, protocol */
};

struct copy {
    struct place place;
    uint8_t *bytes;
    uint32_t size;
};

struct join {
    struct kst *t; /* NULL until the first fragment */
    struct copy copies[COPIES_MAX]; /* the oldest first */
    size_t count;
};

struct join *join_new(void)
{
    return calloc(1, sizeof(struct join));
}

/* False if there is no memory. */
static bool open_table(struct join *join)
{
    static const struct kst_config config = {.max = 16, .reassembly_bytes = REASSEMBLY_BYTES, .seed = {1, 2}};
    const size_t bytes = kst_bytes(&config);
    if (join->t != NULL)
        return true;
    void *memory = aligned_alloc(KST_ALIGN, bytes);
    if (memory == NULL)
        return false;
    join->t = kst_init(memory, bytes, &config, NULL);
    return true;
}

static void drop(struct join *join, size_t at)
{
    free(join->copies[at].bytes);
    memmove(&join->copies[at], &join->copies[at + 1], (--join->count - at) * sizeof join->copies[0]);
}

void join_free(struct join *join)
{
    if (join == NULL)
        return;
    while (join->count > 0)
        drop(join, join->count - 1);
    free(join->t);
    free(join);
}

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

/* False if it is no fragment. */
static bool find_place(const uint8_t *bytes, uint32_t size, struct place *place)
{
    enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
    memset(place, 0, sizeof *place);
    if (size >= 20 && bytes[0] >> 4 == 4) {
        place->header = place->begin = (uint32_t)(bytes[0] & 15) * 4;
        place->offset = (get16(bytes + 6) & 0x1fff) * 8;
        place->more = (bytes[6] & 0x20) != 0;
        memcpy(place->key, bytes + 12, 8);
        memcpy(place->key + 8, bytes + 4, 2);
        place->key[10] = bytes[9];
        return place->header >= 20 && place->header <= size && (place->more || place->offset > 0);
    }
    if (size < 40 || bytes[0] >> 4 != 6)
        return false;
    uint32_t at = 40, next = 6;
    while (at + 8 <= size && (bytes[next] == HOP_BY_HOP || bytes[next] == ROUTING || bytes[next] == DESTINATION)) {
        next = at;
        at += (bytes[at + 1] + 1u) * 8;
    }
    if (bytes[next] != FRAGMENT || at + 8 > size)
        return false;
    place->header = at;
    place->begin = at + 8;
    place->next = next;
    place->offset = get16(bytes + at + 2) & 0xfff8;
    place->more = bytes[at + 3] & 1;
    memcpy(place->key, bytes + 8, 32);
    memcpy(place->key + 32, bytes + at + 4, 4);
    return true;
}

static void keep(struct join *join, const struct place *place, const uint8_t *bytes, uint32_t size)
{
    if (join->count == COPIES_MAX)
        drop(join, 0);
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        return;
    memcpy(copy, bytes, size);
    join->copies[join->count++] = (struct copy){*place, copy, size};
}

static void forget(struct join *join, const struct place *place)
{
    for (size_t i = join->count; i-- > 0;)
        if (memcmp(join->copies[i].place.key, place->key, sizeof place->key) == 0)
            drop(join, i);
}

/* The header of the whole datagram, its length and sum. */
static void seal(uint8_t *bytes, const struct place *first, uint32_t size)
{
    if (first->next != 0) {
        put16(bytes + 4, size - 40);
        return;
    }
    uint32_t sum = 0;
    put16(bytes + 2, size);
    put16(bytes + 6, get16(bytes + 6) & 0x4000);
    put16(bytes + 10, 0);
    for (uint32_t i = 0; i < first->header; i += 2)
        sum += get16(bytes + i);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(bytes + 10, ~(sum + (sum >> 16)) & 0xffff);
}

/* All copies of this datagram in one; its size, or 0 if some are not there any more. */
static uint32_t put_together(const struct join *join, const struct place *place, uint8_t *bytes, uint32_t room)
{
    const struct copy *first = NULL;
    uint32_t end = 0, filled = 0;
    for (size_t i = 0; i < join->count; i++) {
        const struct copy *copy = &join->copies[i];
        if (memcmp(copy->place.key, place->key, sizeof place->key) != 0)
            continue;
        if (copy->place.offset == 0)
            first = copy;
        if (!copy->place.more)
            end = copy->place.offset + copy->size - copy->place.begin;
    }
    if (first == NULL || end == 0 || first->place.header + end > room)
        return 0;
    memcpy(bytes, first->bytes, first->place.header);
    if (first->place.next != 0)
        bytes[first->place.next] = first->bytes[first->place.header];
    for (size_t i = 0; i < join->count; i++) {
        const struct copy *copy = &join->copies[i];
        const uint32_t data = copy->size - copy->place.begin;
        if (memcmp(copy->place.key, place->key, sizeof place->key) != 0 || copy->place.offset + data > end)
            continue;
        memcpy(bytes + first->place.header + copy->place.offset, copy->bytes + copy->place.begin, data);
        filled += data;
    }
    if (filled < end)
        return 0;
    seal(bytes, &first->place, first->place.header + end);
    return first->place.header + end;
}

enum kst_reason join_take(struct join *join, uint64_t now_ms, uint8_t *bytes, uint32_t *size, uint32_t room)
{
    const struct kst_packet packet = {.data = bytes, .size = *size, .checksum = KST_CHECKSUM_IGNORE};
    struct place place;
    struct kst_result result;
    if (!find_place(bytes, *size, &place))
        return KST_REASON_NONE;
    if (!open_table(join))
        return KST_REASON_FRAGMENT_FULL;
    const uint64_t before = kst_statistics(join->t)->reassembled;
    kst_advance(join->t, now_ms, 1024);
    kst_track(join->t, now_ms, &packet, 1, &result);
    if (kst_statistics(join->t)->reassembled == before) {
        if (result.reason == KST_REASON_FRAGMENT_HELD)
            keep(join, &place, bytes, *size);
        else if (result.reason == KST_REASON_FRAGMENT_OVERLAP)
            forget(join, &place);
        return result.verdict == KST_ACCEPT ? KST_REASON_NONE : (enum kst_reason)result.reason;
    }
    kst_flush(join->t);
    keep(join, &place, bytes, *size);
    const uint32_t whole = put_together(join, &place, bytes, room);
    forget(join, &place);
    if (whole == 0)
        return KST_REASON_FRAGMENT_FULL;
    *size = whole;
    return KST_REASON_NONE;
}
