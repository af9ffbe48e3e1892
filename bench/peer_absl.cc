// SPDX-License-Identifier: MIT
// bench/peer_absl.cc - absl::flat_hash_map.
#include "peer_map.h"

#include <absl/container/flat_hash_map.h>

PEER_MAP(absl16, "absl", key16, absl::flat_hash_map)
PEER_MAP(absl40, "absl", key40, absl::flat_hash_map)
