/* SPDX-License-Identifier: MIT */
/* talk.h - conversations made at random: mostly plausible, so that they go deep, with losses, lies,
 * repetitions and errors mixed in. The same seed and number always give the same conversation. */
#ifndef KEEPSTATE_TALK_H
#define KEEPSTATE_TALK_H

#include "vec.h"

/* One conversation; vec_forget frees it. */
struct vec_case talk(uint64_t seed, uint64_t number);

/* One under random rules; RULED_TALKS in a row have the same. */
enum { RULED_TALKS = 8 };
struct vec_case talk_ruled(uint64_t seed, uint64_t number);

#endif
