/* SPDX-License-Identifier: MIT */
/* bench/kits.c - the pairs of back ends that were linked in: -DKITS='X(swiss, wheel) X(...) ...'. */
#include "bench.h"

#define X(index, timer) extern const struct kit kit_##index##_##timer;
KITS
#undef X

const struct kit *const kits[] = {
#define X(index, timer) &kit_##index##_##timer,
    KITS
#undef X
    NULL
};
