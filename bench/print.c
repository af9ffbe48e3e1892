/* SPDX-License-Identifier: MIT */
/* bench/print.c - going through a table: each connection met, or copied and printed as a line. */
#include "bench.h"

#include <stdlib.h>

enum { WALK = KST_FORMAT_JSON + 1, WAYS };
static const char *const names[WAYS] = {[KST_FORMAT_PROC] = "proc", [KST_FORMAT_LEGACY] = "legacy",
                                        [KST_FORMAT_CONNTRACK] = "conntrack", [KST_FORMAT_JSON] = "json",
                                        [WALK] = "walk"};

struct print {
    const struct kit *kit;
    uint32_t size;
    uint32_t way; /* enum kst_format, or WALK */
};

static void run(struct bench *b, const void *argument)
{
    const struct print *c = argument;
    const struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                        .kind = {.protocol = TCP},
                                                        .max = c->size,
                                                        .flows = c->size,
                                                        .upto = STEP_OPEN});
    const uint32_t count = c->way == WALK || c->size < 16384 ? c->size : 16384;
    uint64_t first = 0;
    while (w != NULL && bench_next(b, count)) {
        bench_start(b);
        const uint64_t got = c->way == WALK ? c->kit->walk(w->t)
                                            : c->kit->print_all(w->t, (enum kst_format)c->way, count);
        bench_stop(b);
        if (c->way == WALK ? got != count : got < 80 * (uint64_t)count || (first != 0 && got != first))
            bench_fail(b, "%llu, of %u connections", (unsigned long long)got, count);
        first = got;
    }
}

void add_prints(void)
{
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t k = 0; kits[k] != NULL; k++)
            for (uint32_t way = 0; way < WAYS; way++) {
                struct print *c = malloc(sizeof *c);
                *c = (struct print){kits[k], sizes[s], way};
                bench_add(name_of("print", names[way], sizes[s], kits[k]->index, kits[k]->timer, "all"), run, c);
            }
}
