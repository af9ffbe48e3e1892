/* SPDX-License-Identifier: MIT */
/* prepare.h - a packet as it was captured becomes one that Linux can be asked about, or the reason
 * why it cannot. What a network card would have filled in is filled in; no other wrong checksum is
 * put right. */
#ifndef KEEPSTATE_PREPARE_H
#define KEEPSTATE_PREPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What cannot be forwarded, or Linux drops before it tracks, leaves no answer. X(name, what it
 * is) */
#define PREPARED_LIST(X)                                                                           \
    X(TO_ASK, "to be asked")                                                                       \
    X(CUT, "cut short by the capture")                                                             \
    X(HEADER, "with a broken IP header")                                                           \
    X(LONG, "longer than 65535 bytes")                                                             \
    X(OPTIONS, "with IP options that Linux judges itself")                                         \
    X(LOOPBACK, "of a loopback address")                                                           \
    X(MULTICAST, "multicast or broadcast")                                                         \
    X(LINK_LOCAL, "IPv6 link-local")                                                               \
    X(NO_ADDRESS, "of an address that is none")

enum prepared {
#define PREPARED_X(name, text) PREPARED_##name,
    PREPARED_LIST(PREPARED_X)
#undef PREPARED_X
    PREPARED
};

/* Changes the packet in [data, data + *size) and takes off what stands behind its end. `cut`: the
 * capture does not have all of it. `filled`, which is only ever set: something was filled in. */
enum prepared prepare(uint8_t *data, uint32_t *size, bool cut, bool *filled);

const char *prepared_text(enum prepared prepared);

/* Adds the 16-bit words to a sum of RFC 1071, folded. */
uint32_t sum_words(uint32_t sum, const uint8_t *data, size_t size);

/* Fills in the checksum of an IPv4 header of so many bytes. */
void put_header_sum(uint8_t *data, size_t header);

#endif
