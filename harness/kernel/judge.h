/* SPDX-License-Identifier: MIT */
/* judge.h - one case, asked of the kernel and of the core: whether they agree. A disagreement is
 * shrunk to the fewest packets and shown, and can be kept as a vector. */
#ifndef KEEPSTATE_JUDGE_H
#define KEEPSTATE_JUDGE_H

#include "vec.h"

struct judge {
    const char *keep, *record; /* files that disagreements, every case, are appended to; or NULL */
    double shrink_s;           /* the longest that shrinking may take, 0: as long as it needs */
    uint64_t by_the_clock;     /* counts cases that agreed when they were asked again */
    uint64_t by_chance;        /* cases in which NAT drew a port: they cannot be compared */
};

/* Whether the two agree on a case. The kernel's clock runs while it is asked: a case is run again a
 * few times before a difference counts. If it does, it is shown. */
bool judge(struct judge *judge, const struct vec_case *original);

#endif
