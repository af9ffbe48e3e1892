/* SPDX-License-Identifier: MIT */
/* bench/peers.c - the peers whose packages were there when this was built. */
#include "built.h"
#include "peers.h"

#define X(name) extern const struct peer peer_##name;
PEERS
#undef X
#define X(name) extern const struct peer_timer peer_timer_##name;
PEER_TIMERS
#undef X

const struct peer *const peers[] = {
#define X(name) &peer_##name,
    PEERS
#undef X
    NULL
};

const struct peer_timer *const peer_timers[] = {
#define X(name) &peer_timer_##name,
    PEER_TIMERS
#undef X
    NULL
};

const char peers_in[] = PEERS_IN, peers_left_out[] = PEERS_LEFT_OUT;
