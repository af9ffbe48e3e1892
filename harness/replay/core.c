/* SPDX-License-Identifier: MIT */
/* core.c - the tracker itself: the one file of the command that the header's code goes into. */
#define KST_ALL_BACK_ENDS
#define KST_IMPLEMENTATION
#include "keepstate.h"
