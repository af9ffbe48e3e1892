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
    return kst__help_expect(h, 0, KST__UDP, KST_EXPECT_ANY_SRC_PORT, &h->tuple[KST_REPLY],
                            h->tuple[KST_REPLY].dst, h->tuple[KST_REPLY].dst_port);
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_tftp = {
    "tftp", {KST__UDP, 0},
    0,      false,
    69,     {{"", 1, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__tftp_help};

#endif
