/* SPDX-License-Identifier: MIT */
/* back_ends.h - an index or a timer by its name. */
#ifndef KEEPSTATE_BACK_ENDS_H
#define KEEPSTATE_BACK_ENDS_H

#include "keepstate.h"

#include <stdio.h>
#include <string.h>

/* The number to configure; `names` is kst_index_name or kst_timer_name. One too many, which
 * kst_init refuses, if there is none. */
static inline uint8_t back_end_number(const char *(*names)(uint32_t), const char *name)
{
    uint8_t number = 0;
    while (names(number) != NULL && strcmp(names(number), name) != 0)
        number++;
    return number;
}

/* Which there are, one a line. */
static inline void back_ends_list(const char *(*names)(uint32_t), FILE *out)
{
    for (uint32_t number = 0; names(number) != NULL; number++)
        fprintf(out, "  %s\n", names(number));
}

#endif
