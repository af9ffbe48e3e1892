/* SPDX-License-Identifier: MIT */
/* core/help_pptp.h - PPTP (RFC 2637): control messages that set up a GRE call. The call is expected
 * from both sides, and its two identifiers become the keys of its packets. */
#ifndef KST_HELP_PPTP_H
#define KST_HELP_PPTP_H

#include "help_text.h"
#include "table.h"

enum kst__pptp_message {
    KST__PPTP_START_REQUEST = 1,
    KST__PPTP_START_REPLY,
    KST__PPTP_STOP_REQUEST,
    KST__PPTP_STOP_REPLY,
    KST__PPTP_ECHO_REQUEST,
    KST__PPTP_ECHO_REPLY,
    KST__PPTP_OUT_REQUEST,
    KST__PPTP_OUT_REPLY,
    KST__PPTP_IN_REQUEST,
    KST__PPTP_IN_REPLY,
    KST__PPTP_IN_CONNECTED,
    KST__PPTP_CLEAR_REQUEST,
    KST__PPTP_DISCONNECT,
    KST__PPTP_WAN_ERROR,
    KST__PPTP_SET_LINK,
    KST__PPTP_MESSAGES
};

/* Bytes that a message must have behind its twelve bytes of header. */
static const uint8_t kst__pptp_bytes[KST__PPTP_MESSAGES] = {0,   144, 144, 4,  4,  4,   8,  156,
                                                            20,  208, 12,  16, 4,  136, 28, 12};

enum kst__pptp_session {
    KST__PPTP_NONE,
    KST__PPTP_ERROR,
    KST__PPTP_STOPPING,
    KST__PPTP_REQUESTED,
    KST__PPTP_CONFIRMED
};

enum kst__pptp_call {
    KST__PPTP_IDLE,
    KST__PPTP_OUT_REQUESTED,
    KST__PPTP_OUT_CONFIRMED,
    KST__PPTP_IN_REQUESTED,
    KST__PPTP_IN_REPLIED,
    KST__PPTP_IN_CONFIRMED,
    KST__PPTP_CLEARING
};

struct kst__pptp { /* what the two call their call stands in struct kst__help */
    uint8_t session; /* enum kst__pptp_session */
    uint8_t call;    /* enum kst__pptp_call */
    bool keyed;      /* the keys of these are known: of one call a session */
    uint16_t key[2];
};

typedef char kst__pptp_fits[sizeof(struct kst__pptp) <= KST_HELPER_STATE_BYTES ? 1 : -1];

/* Makes the keys of a call known. A session has one: of a second one only the client's name for
 * it may differ for its packets to be told apart no more, and then neither are the first one's. */
static bool kst__pptp_key(struct kst *t, struct kst__pptp *pptp, uint32_t master,
                          const struct kst_tuple *tuple, const uint16_t *id)
{
    if (pptp->keyed && pptp->key[KST_REPLY] != id[KST_REPLY])
        return false;
    if (pptp->keyed && pptp->key[KST_ORIGINAL] == id[KST_ORIGINAL])
        return true;
    const bool known = !pptp->keyed && kst__key_insert(t, master, &tuple[0]) &&
                       kst__key_insert(t, master, &tuple[1]);
    if (!known)
        kst__keys_remove(t, master);
    pptp->keyed = known;
    memcpy(pptp->key, id, sizeof pptp->key);
    return known;
}

/* Expects the call from both sides, or, if one cannot be, from none. */
static void kst__pptp_begin(struct kst_help *h, struct kst__pptp *pptp, const uint16_t *id)
{
    const uint32_t master = (uint32_t)h->connection;
    struct kst_tuple tuple[2];
    bool expected[2];
    for (uint32_t i = 0; i < 2; i++) {
        kst__call_tuple(h->t, master, i, &tuple[i]);
        expected[i] = (i == 0 || expected[0]) &&
                      kst__help_expect_exactly(h, 0, &tuple[i]) == KST_REASON_NONE;
    }
    if (expected[1] && kst__pptp_key(h->t, pptp, master, tuple, id))
        return;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t place = kst__expect_own(h->t, master, &tuple[i]);
        if (expected[i] && place != KST__NONE)
            kst__expect_remove(h->t, place);
    }
}

/* The client's messages. `m` is what follows the header. What does not fit the session is
 * ignored. */
static void kst__pptp_client(struct kst__pptp *pptp, uint16_t *id, uint32_t message,
                             const uint8_t *m)
{
    switch (message) {
    case KST__PPTP_START_REQUEST:
        if (pptp->session == KST__PPTP_NONE)
            pptp->session = KST__PPTP_REQUESTED;
        break;
    case KST__PPTP_STOP_REQUEST: pptp->session = KST__PPTP_STOPPING; break;
    case KST__PPTP_OUT_REQUEST:
        if (pptp->session != KST__PPTP_CONFIRMED)
            break;
        pptp->call = KST__PPTP_OUT_REQUESTED;
        id[KST_ORIGINAL] = kst__be16(m);
        break;
    case KST__PPTP_IN_REPLY: /* call, peer's call, result */
        if ((pptp->call != KST__PPTP_IN_REQUESTED && pptp->call != KST__PPTP_IN_REPLIED) ||
            kst__be16(m + 2) != id[KST_REPLY])
            break;
        if (m[4] == 1) {
            pptp->call = KST__PPTP_IN_REPLIED;
            id[KST_ORIGINAL] = kst__be16(m);
        } else {
            pptp->call = KST__PPTP_IDLE;
        }
        break;
    case KST__PPTP_CLEAR_REQUEST: pptp->call = KST__PPTP_CLEARING; break;
    default: break;
    }
}

/* The server's. */
static void kst__pptp_server(struct kst_help *h, struct kst__pptp *pptp, uint16_t *id,
                             uint32_t message, const uint8_t *m)
{
    switch (message) {
    case KST__PPTP_START_REPLY: /* version, result */
        if (pptp->session >= KST__PPTP_REQUESTED)
            pptp->session = m[2] == 1 ? KST__PPTP_CONFIRMED : KST__PPTP_ERROR;
        break;
    case KST__PPTP_STOP_REPLY: /* result */
        if (pptp->session <= KST__PPTP_STOPPING)
            pptp->session = m[0] == 1 ? KST__PPTP_NONE : KST__PPTP_ERROR;
        break;
    case KST__PPTP_OUT_REPLY: /* call, peer's call, result */
        if (pptp->session != KST__PPTP_CONFIRMED ||
            (pptp->call != KST__PPTP_OUT_REQUESTED && pptp->call != KST__PPTP_OUT_CONFIRMED) ||
            kst__be16(m + 2) != id[KST_ORIGINAL])
            break;
        if (m[4] != 1) {
            pptp->call = KST__PPTP_IDLE;
            break;
        }
        pptp->call = KST__PPTP_OUT_CONFIRMED;
        id[KST_REPLY] = kst__be16(m);
        kst__pptp_begin(h, pptp, id);
        break;
    case KST__PPTP_IN_REQUEST:
        if (pptp->session != KST__PPTP_CONFIRMED)
            break;
        pptp->call = KST__PPTP_IN_REQUESTED;
        id[KST_REPLY] = kst__be16(m);
        break;
    case KST__PPTP_IN_CONNECTED: /* peer's call */
        if (pptp->session != KST__PPTP_CONFIRMED ||
            (pptp->call != KST__PPTP_IN_REPLIED && pptp->call != KST__PPTP_IN_CONFIRMED) ||
            kst__be16(m) != id[KST_ORIGINAL])
            break;
        pptp->call = KST__PPTP_IN_CONFIRMED;
        kst__pptp_begin(h, pptp, id);
        break;
    case KST__PPTP_DISCONNECT:
        pptp->call = KST__PPTP_IDLE;
        pptp->keyed = false;
        kst__calls_end(h->t, (uint32_t)h->connection);
        break;
    default: break;
    }
}

static enum kst_reason kst__pptp_help(struct kst_help *h)
{
    struct kst__pptp *pptp = (struct kst__pptp *)h->state;
    if (!h->answered || h->size < 12 || kst__be16(h->payload + 2) != 1 ||
        kst__be32(h->payload + 4) != 0x1a2b3c4d)
        return KST_REASON_NONE;
    const uint32_t message = kst__be16(h->payload + 8);
    if (message >= KST__PPTP_MESSAGES || h->size - 12 < kst__pptp_bytes[message])
        return KST_REASON_NONE;
    uint16_t *id = kst__help_at(h->t, (uint32_t)h->connection)->call;
    if (h->direction == KST_ORIGINAL)
        kst__pptp_client(pptp, id, message, h->payload + 12);
    else
        kst__pptp_server(h, pptp, id, message, h->payload + 12);
    return KST_REASON_NONE;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_pptp = {
    "pptp", {KST__TCP, 0}, KST_IPV4, true, 1723, {{"", 2, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__pptp_help};

#endif
