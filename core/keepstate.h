/* SPDX-License-Identifier: MIT */
/* keepstate.h - connection tracking in one file, as Linux does it. C11 and C++17, no allocation,
 * no threads, no clock, no system call.
 *
 *     #define KST_IMPLEMENTATION                      in exactly one .c or .cpp file
 *     #include "keepstate.h"
 *
 *     struct kst_config config = {.max = 65536, .seed = {random, random}};
 *     struct kst *t = kst_init(memory, kst_bytes(&config), &config, NULL);
 *     kst_track(t, now_ms, packets, count, results);   a batch in, a result each
 *     kst_advance(t, now_ms, work_max);                expire in at most work_max steps
 *
 * You pass the memory, the time and the seed; so every run can be replayed. A packet gets a state
 * (NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED), a direction and, where something is amiss, a
 * reason from one list. It never makes a call fail, whatever it holds.
 *
 * What it never does: allocate, read a clock, lock, print, call the operating system, change a
 * packet that it was not given to be translated (kst_track_nat), or read outside [data, data +
 * size). One table serves one thread at a time.
 *
 * CONTENTS   1 Options and limits   2 Types   3 Calls   4 Implementation, room by room
 *
 * This text is core/keepstate.h: the order of its #include lines is the manifest that the released
 * header is made of (make header). Each room may be read, and compiled, by itself. */
#ifndef KEEPSTATE_H
#define KEEPSTATE_H

#define KST_VERSION "0.1.0"

#include "config.h"

#include "api.h"

#endif

#if defined(KST_IMPLEMENTATION) && !defined(KST_IMPLEMENTED)
#define KST_IMPLEMENTED

#ifdef __cplusplus
extern "C" {
#endif

#include "base.h"

#include "checksum.h"
#include "hash.h"
#include "tuple.h"

#include "parse.h"

#include "settings.h"
#include "pool.h"

#include "index.h"
#include "index_chain.h"
#include "index_group.h"
#include "index_cuckoo.h"
#include "index_robin.h"
#include "index_swiss.h"
#include "timer.h"
#include "timer_wheel.h"
#include "timer_hashed.h"
#include "timer_lists.h"
#include "timer_heap.h"

#include "kit.h"
#include "event.h"
#include "expect.h"
#include "limit.h"
#include "defrag.h"
#include "source.h"
#include "table.h"
#include "nat.h"

#include "adjust.h"
#include "proto.h"
#include "proto_gre.h"
#include "proto_icmp.h"
#include "proto_other.h"
#include "proto_sctp.h"
#include "proto_tcp.h"
#include "proto_udp.h"
#include "rewrite.h"

#include "line.h"
#include "help_text.h"
#include "help_ftp.h"
#include "help_irc.h"
#include "help_pptp.h"
#include "help_sip.h"
#include "help_tftp.h"
#include "help.h"

#include "track.h"

#include "calls.h"
#include "invariants.h"
#include "print.h"

#ifdef __cplusplus
}
#endif

#endif
