/* SPDX-License-Identifier: MIT */
/* show.h - what the tracker knows, as text on stdout. Nothing here changes the table or looks at
 * packets; whether the text got out, main.c finds at the end. */
#ifndef KEEPSTATE_SHOW_H
#define KEEPSTATE_SHOW_H

#include "keepstate.h"
#include "link.h"

#include <sys/time.h>

/* What the tracker does not count, as it never saw it or need not know. */
struct show_counts {
    uint64_t contents[LINK_CONTENTS]; /* frames, by enum link_content */
    uint64_t cut;                     /* packets that the capture has only the front of */
    uint64_t back;                    /* packets stamped before the one before them */
};

/* `is STATE DIR`, then the whole table as sorted `ct` lines and the expectations as `exp` lines:
 * the format of the vectors. `result` NULL: rules dropped the packet. Under rules `out HEX` says how
 * it leaves; `out` NULL: there are none. */
void show_each(const struct kst *t, const struct kst_result *result, const uint8_t *out, uint32_t size);

/* The events that wait, as `conntrack -E -o timestamp` prints them (or as JSON), at this time. */
void show_events(struct kst *t, const struct timeval *stamp, enum kst_format format);

/* Why packet `number` was refused, ignored or made others go; nothing if there is no reason. */
void show_why(uint64_t number, const struct kst_result *result);

/* The table in its own order. Returns the connections left out: those that `format` cannot show. */
uint32_t show_table(const struct kst *t, enum kst_format format);

/* `conntrack -S`, totals, and each reason that was given. */
void show_stats(const struct kst *t, const struct show_counts *counts);

#endif
