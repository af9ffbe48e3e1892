/* SPDX-License-Identifier: MIT */
/* bench/kits.c - the pairs of back ends that were linked in, each a kit_INDEX_TIMER, or _HASH. */
#include "bench.h"
#include "built.h"

#define X(name) extern const struct kit kit_##name;
KITS
#undef X

const struct kit *const kits[] = {
#define X(name) &kit_##name,
    KITS
#undef X
    NULL
};
