/* SPDX-License-Identifier: MIT */
/* ruling.h - random rulesets, and talks that live under them: the core, with the same rules, tells how
 * the other side sees who speaks to it. */
#ifndef KEEPSTATE_RULING_H
#define KEEPSTATE_RULING_H

#include "packet.h"

struct ruling;

/* Gives the talk's case a random ruleset, which `rules` alone decides, and the talk a machine with
 * it. ruling_end is for when it is over. */
struct ruling *ruling_begin(struct talk_state *t, uint64_t rules);
void ruling_end(struct ruling *ruling);

/* Gives a packet, made from the client (0) or the server (1), the addresses and ports that its
 * sender knows. */
void ruling_address(struct ruling *ruling, uint8_t *packet, size_t size, int from);

/* Sends one to the machine, and notes how it left. */
void ruling_send(struct ruling *ruling, struct vec_packet *packet);

#endif
