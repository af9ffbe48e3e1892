/* SPDX-License-Identifier: MIT */
/* speech.h - talks of protocols that name other connections: FTP, IRC, TFTP, SIP, PPTP. Messages
 * good and bad, and the connections that they announce. */
#ifndef KEEPSTATE_SPEECH_H
#define KEEPSTATE_SPEECH_H

#include "packet.h"

enum speech { SPEECH_NONE, SPEECH_FTP, SPEECH_IRC, SPEECH_TFTP, SPEECH_SIP, SPEECH_SIP_TCP, SPEECH_PPTP, SPEECHES };

/* Chooses one and gives the talk its ports; for TCP it adds the handshake. */
enum speech speech_begin(struct talk_state *t);

/* Adds the next packet. */
void speech_go_on(struct talk_state *t, enum speech speech);

#endif
