/* SPDX-License-Identifier: MIT */
/* core/help_tftp.h - TFTP (RFC 1350): the server answers a request from another port of its own. */
#ifndef KST_HELP_TFTP_H
#define KST_HELP_TFTP_H

#include "help_text.h"
#include "tuple.h"

static enum kst_reason kst__tftp_help(struct kst_help *h)
{
    const uint32_t opcode = h->size >= 2 ? kst__be16(h->payload) : 0;
    if (opcode != 1 && opcode != 2) /* read, write */
        return KST_REASON_NONE;
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple = h->tuple[KST_REPLY];
    x.tuple.zone = kst__help_zone(h);
    x.tuple.src_port = 0;
    x.flags = KST_EXPECT_ANY_SRC_PORT;
    x.follows = h->translated ? KST_FOLLOWS : KST_FOLLOWS_NOT;
    x.nat_direction = KST_ORIGINAL;
    x.nat_port = h->tuple[KST_ORIGINAL].src_port;
    return kst_expect(h->t, &x) == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_tftp = {
    "tftp", {KST__UDP, 0},
    0,      false,
    69,     {{"", 1, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__tftp_help};

#endif
