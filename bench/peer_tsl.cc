// SPDX-License-Identifier: MIT
// bench/peer_tsl.cc - tsl::robin_map.
#include "peer_map.h"

#include <tsl/robin_map.h>

PEER_MAP(tsl16, "tsl", key16, tsl::robin_map)
PEER_MAP(tsl40, "tsl", key40, tsl::robin_map)
