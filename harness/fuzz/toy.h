/* SPDX-License-Identifier: MIT */
/* toy.h - a helper besides those that there are, which does what its target says: to be included before anything else. */
#ifndef KEEPSTATE_TOY_H
#define KEEPSTATE_TOY_H

#define KST_HELPERS(X) X(ftp) X(irc) X(pptp) X(sip) X(tftp) X(toy)
#pragma push_macro("KST_IMPLEMENTATION") /* declarations first */
#undef KST_IMPLEMENTATION
#include "keepstate.h"
#pragma pop_macro("KST_IMPLEMENTATION")

enum kst_reason fuzz_toy(struct kst_help *h);

static const struct kst_helper kst_helper_toy = {
    .name = "toy", .protocols = {17, 6}, .classes = {{"a", 2, 60}, {"b", 1, 1}, {"c", 0, 300}, {"", 0, 0}}, .help = fuzz_toy};

#endif
