/* SPDX-License-Identifier: MIT */
/* join.h - fragments become the datagram that rules see, as Linux joins them before all tables. What
 * fits together, and when it is complete, says a tracker of its own; here copies wait, in bounded
 * memory, and are put together. */
#ifndef KEEPSTATE_JOIN_H
#define KEEPSTATE_JOIN_H

#include "keepstate.h"

struct join;

struct join *join_new(void);
void join_free(struct join *join);

/* Takes a packet in a buffer of `room` bytes. NONE: go on with what is there now, which is a whole
 * datagram if the packet was the last of its fragments. Else why it ends here: FRAGMENT_HELD... */
enum kst_reason join_take(struct join *join, uint64_t now_ms, uint8_t *bytes, uint32_t *size, uint32_t room);

#endif
