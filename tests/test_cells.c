/* SPDX-License-Identifier: MIT */
/* test_cells.c - property: each cell of TCP's and SCTP's tables - state, direction, flags or chunk - is what the
 * descriptions of Linux say, written down once more here in their words; a packet that a cell refuses or ignores
 * changes neither state nor time. Of no connection there is no reply: those cells nobody can reach. */
#define KST_IMPLEMENTATION
#include "support.h"

/* The word of this number in a line of them. It holds for three more. */
static const char *word_of(const char *line, uint32_t number)
{
    static char words[4][8];
    static uint32_t turn;
    char *word = words[turn++ % 4];
    size_t length = 0;
    for (;; line += length) {
        line += strspn(line, " ");
        length = strcspn(line, " ");
        must(length > 0 && length < sizeof words[0]);
        if (number-- == 0)
            break;
    }
    memcpy(word, line, length);
    word[length] = '\0';
    return word;
}

static uint8_t state_of(const char *names, const char *word)
{
    uint8_t state = 0;
    while (strncmp(names + 3 * state, word, 2) != 0)
        state++;
    return state;
}

/* ---- TCP ---- */

/* By class. IG: ignored. A star: reopened, if it was closed well, else ignored. */
static const char tcp_states[] = "NO SS SR ES FW CW LA TW CL S2";
static const char *const tcp_cells[2][5] = {
    {/* NO SS SR ES FW CW LA TW  CL  S2 */
     "SS SS IG IG IG IG IG SS* SS* S2",   /* SYN */
     "-- -- SR -- -- -- -- --  --  SR",   /* SYN/ACK */
     "-- -- FW FW LA LA LA TW  CL  --",   /* FIN */
     "ES -- ES ES CW CW TW TW  CL  --",   /* ACK */
     "-- CL CL CL CL CL CL CL  CL  CL"},  /* RST */
    {"-- S2 -- -- -- -- -- SS* --  S2",
     "-- SR IG IG IG IG IG IG  IG  SR",
     "-- -- FW FW LA LA LA TW  CL  --",
     "-- IG SR ES CW CW TW TW  CL  IG",
     "-- CL CL CL CL CL CL CL  CL  CL"},
};
static const uint32_t tcp_seconds[KST_TCP_STATES] = {0, 120, 60, 432000, 120, 60, 30, 120, 10, 120};

/* The class of each combination of flags, URG ACK PSH RST SYN FIN from the highest bit; 5: none has it. */
static uint32_t tcp_class(uint32_t flags)
{
    static const uint8_t combinations[][2] = {
        {0x02, 0}, {0x0a, 0}, {0x22, 0}, {0x2a, 0}, {0x12, 1}, {0x1a, 1}, {0x11, 2}, {0x19, 2}, {0x31, 2},
        {0x39, 2}, {0x10, 3}, {0x18, 3}, {0x30, 3}, {0x38, 3}, {0x04, 4}, {0x0c, 4}, {0x14, 4}, {0x1c, 4}};
    for (size_t i = 0; i < COUNT(combinations); i++)
        if (combinations[i][0] == (flags & 0x3f))
            return combinations[i][1];
    return 5;
}

/* A connection in this state, of whose windows nothing is known; 0: none. */
static struct kst *with_connection(struct say say, uint8_t state, kst_id *id)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    struct kst_flow flow = flow_of(say, 77000);
    flow.status = KST_SEEN_REPLY | KST_ASSURED;
    flow.state = state;
    flow.sctp_tags[0] = 11;
    flow.sctp_tags[1] = 22;
    *id = state != 0 ? kst_insert(t, &flow, NULL) : 0;
    must(state == 0 || *id != 0);
    return t;
}

START_TEST(tcp_by_flags)
{
    for (uint32_t cell = 0; cell < 2 * 2 * 256 * KST_TCP_STATES; cell++) {
        const bool reply = cell & 1, closed_well = cell & 2;
        const uint8_t flags = (uint8_t)(cell / 4), state = (uint8_t)(cell / 1024);
        const uint32_t class_ = tcp_class(flags);
        if (state == KST_TCP_NONE && reply)
            continue;
        kst_id id;
        struct kst *t = with_connection(tcp(0, 0, 0, 0, 0), state, &id);
        if (closed_well && id != 0)
            kst__entry_at(t, (uint32_t)id)->proto.tcp.flags[1] |= KST__TCP_CLOSE_INIT;
        const struct kst_result r = track(t, 0, tcp(reply, flags, 5000, 9000, 0));
        const char *expected = class_ < 5 ? word_of(tcp_cells[reply][class_], state) : "--";
        struct kst_flow flow;
        about("%s, flags %02x, %s: %s", word_of(tcp_states, state), flags, reply ? "reply" : "original", expected);
        must_be_sound(t);
        if (strcmp(expected, "--") == 0) {
            must_say(r, class_ == 5           ? KST_REASON_TCP_FLAGS
                        : state == KST_TCP_NONE ? KST_REASON_TCP_FIRST
                                                : KST_REASON_TCP_STATE);
            must_be(r.state, KST_INVALID);
        } else if (strcmp(expected, "IG") == 0 || (strcmp(expected, "SS*") == 0 && !closed_well)) {
            must_say(r, KST_REASON_TCP_IGNORED);
            must_be(r.state, KST_ESTABLISHED);
        } else {
            const bool begins = state == KST_TCP_NONE || strcmp(expected, "SS*") == 0;
            const uint8_t next = state_of(tcp_states, expected);
            must_say(r, KST_REASON_NONE);
            must_be(r.state, begins ? KST_NEW : KST_ESTABLISHED);
            must_be(r.direction, begins ? false : reply);
            must_be(r.entry != id, begins);
            must_be(kst_count(t), 1);
            must(kst_get(t, r.entry, &flow));
            must_be(flow.state, next);
            /* Picked up in the middle, it is not believed for days before an answer comes. */
            must_be(flow.timeout_ms, (begins && next == KST_TCP_ESTABLISHED ? 300 : tcp_seconds[next]) * UINT64_C(1000));
            free(t);
            continue;
        }
        must_be(kst_count(t), id != 0);
        if (id != 0) {
            must(kst_get(t, id, &flow));
            must_be(flow.state, state);
            must_be(flow.timeout_ms, 77000);
        }
        free(t);
    }
}
END_TEST

/* What decides otherwise than the table: each beside the cell that it is about. */
START_TEST(tcp_special_cases)
{
    const struct {
        const char *what;
        uint8_t state;
        struct say steps[3]; /* the last of them is judged */
        enum kst_reason reason;
        uint8_t next;
    } rows[] = {
        {"a SYN/ACK that answers an ignored SYN", KST_TCP_ESTABLISHED,
         {tcp(0, SYN, 100, 0, 0), tcp(1, SYN | ACK, 700, 101, 0)}, KST_REASON_NONE, KST_TCP_SYN_RECV},
        {"one that answers another", KST_TCP_ESTABLISHED,
         {tcp(0, SYN, 100, 0, 0), tcp(1, SYN | ACK, 700, 102, 0)}, KST_REASON_TCP_IGNORED, KST_TCP_ESTABLISHED},
        {"an ACK of the last FIN behind an ignored SYN is a challenge", KST_TCP_LAST_ACK,
         {tcp(0, SYN, 100, 0, 0), tcp(1, ACK, 700, 900, 0)}, KST_REASON_TCP_CHALLENGE, KST_TCP_LAST_ACK},
        {"a second one is not", KST_TCP_LAST_ACK,
         {tcp(0, SYN, 100, 0, 0), tcp(1, ACK, 700, 900, 0), tcp(1, ACK, 700, 900, 0)}, KST_REASON_NONE,
         KST_TCP_TIME_WAIT},
        {"nor one of the same side", KST_TCP_LAST_ACK,
         {tcp(0, SYN, 100, 0, 0), tcp(0, ACK, 700, 900, 0)}, KST_REASON_NONE, KST_TCP_TIME_WAIT},
        {"an answer's ACK after a simultaneous open", KST_TCP_SYN_SENT,
         {tcp(1, SYN, 700, 0, 0), tcp(0, SYN | ACK, 100, 701, 0), tcp(1, ACK, 701, 101, 0)}, KST_REASON_NONE,
         KST_TCP_ESTABLISHED},
        {"a SYN of the side that last sent an RST", KST_TCP_CLOSE,
         {tcp(0, RST, 100, 0, 0), tcp(0, SYN, 5000, 0, 0)}, KST_REASON_NONE, KST_TCP_SYN_SENT},
        {"a SYN of the other side", KST_TCP_CLOSE,
         {tcp(1, RST, 100, 0, 0), tcp(0, SYN, 5000, 0, 0)}, KST_REASON_TCP_IGNORED, KST_TCP_CLOSE},
        {"an answerer's SYN after its RST", KST_TCP_TIME_WAIT,
         {tcp(1, RST, 100, 0, 0), tcp(1, SYN, 5000, 0, 0)}, KST_REASON_TCP_STATE, KST_TCP_CLOSE},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        kst_id id;
        struct kst *t = with_connection(tcp(0, 0, 0, 0, 0), rows[i].state, &id);
        struct kst_result r = {0};
        struct kst_flow flow;
        for (size_t step = 0; step < 3 && rows[i].steps[step].protocol != 0; step++)
            r = track(t, 0, rows[i].steps[step]);
        about("%s", rows[i].what);
        must_say(r, rows[i].reason);
        must(kst_get(t, kst_next(t, 0), &flow));
        must_be(flow.state, rows[i].next);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* Of two sides that lost each other, both say so with segments out of window; a connection whose time is its own
 * keeps it even so. */
START_TEST(tcp_out_of_sync)
{
    for (uint32_t fixed = 0; fixed < 2; fixed++) {
        struct kst *t = table_new((struct kst_config){.max = 2});
        const struct say handshake[] = {HANDSHAKE};
        struct kst_flow flow;
        kst_id id = 0;
        for (size_t i = 0; i < COUNT(handshake); i++)
            id = track(t, 0, handshake[i]).entry;
        kst__entry_at(t, (uint32_t)id)->status |= fixed ? KST_FIXED_TIMEOUT : 0;
        must_be(track(t, 0, tcp(0, FIN | ACK, 900000, 5001, 0)).state, KST_INVALID);
        must_be(track(t, 0, tcp(1, FIN | ACK, 900000, 1001, 0)).state, KST_INVALID);
        must(kst_get(t, id, &flow));
        about("fixed %u", fixed);
        must_be(flow.state, KST_TCP_ESTABLISHED);
        must_be(flow.timeout_ms, fixed ? 432000000 : 300000);
        free(t);
    }
}
END_TEST

/* ---- SCTP ---- */

static const char sctp_states[] = "NO CL CW CE ES SS SR SA HS";
static const struct {
    uint8_t chunk;
    const char *cells[2];
} sctp_cells[] = {/* NO CL CW CE ES SS SR SA HS */
    {1, {"CL CL CW CE ES CL CL SA CW", "-- CL CW CE ES SS SR SA --"}},  /* INIT */
    {2, {"CL CL CW CE ES SS SR SA CL", "-- CW CW CE ES SS SR SA --"}},  /* INIT-ACK */
    {6, {"CL CL CL CL CL CL CL CL CL", "-- CL CL CL CL CL CL CL --"}},  /* ABORT */
    {7, {"CL CL CW CE SS SS SR SA CL", "-- CL CW CE SR SS SR SA --"}},  /* SHUTDOWN */
    {8, {"SA CL CW CE ES SA SA SA SA", "-- CL CW CE ES SA SA SA --"}},  /* SHUTDOWN-ACK */
    {9, {"CL CL CW CE ES SS SR SA CL", "-- CL CW CL ES SS SR SA --"}},  /* ERROR */
    {10, {"CL CL CE CE ES SS SR SA CL", "-- CL CE CE ES SS SR SA --"}}, /* COOKIE-ECHO */
    {11, {"CL CL CW ES ES SS SR SA CL", "-- CL CW ES ES SS SR SA --"}}, /* COOKIE-ACK */
    {14, {"CL CL CW CE ES SS SR CL CL", "-- CL CW CE ES SS SR CL --"}}, /* SHUTDOWN-COMPLETE */
    {4, {"HS CL CW CE ES SS SR SA HS", "-- CL CW CE ES SS SR SA HS"}},  /* HEARTBEAT */
    {5, {"CL CL CW CE ES SS SR SA HS", "-- CL CW CE ES SS SR SA ES"}},  /* HEARTBEAT-ACK */
};
static const uint32_t sctp_seconds[KST_SCTP_STATES] = {0, 10, 3, 3, 210, 3, 3, 3, 30};

/* A packet with this tag of chunks of 20 bytes each, of which the first 4 name `initiates`. */
static struct say sctp_chunks(bool reply, uint32_t tag, const uint8_t *chunks, uint32_t count, uint32_t initiates)
{
    static uint8_t body[60];
    struct say say = sctp(reply, tag, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *at = body + 20 * i;
        memset(at, 0, 20);
        at[0] = chunks[i];
        at[3] = 20;
        put32(at + 4, initiates);
    }
    say.body = body;
    say.bytes = (uint16_t)(20 * count);
    return say;
}

START_TEST(sctp_by_chunk)
{
    static const uint32_t tags[2] = {11, 22};
    for (uint32_t cell = 0; cell < 2 * 256 * KST_SCTP_STATES; cell++) {
        const bool reply = cell & 1;
        const uint8_t chunk = (uint8_t)(cell / 2), state = (uint8_t)(cell / 512);
        const char *expected = NULL; /* it stays as it is */
        if (state == KST_SCTP_NONE && reply)
            continue;
        for (size_t i = 0; i < COUNT(sctp_cells); i++)
            if (sctp_cells[i].chunk == chunk)
                expected = word_of(sctp_cells[i].cells[reply], state);
        const bool first = state == KST_SCTP_NONE;
        if (first && (expected == NULL || chunk == 6 || chunk == 11 || chunk == 14)) /* begins nothing */
            expected = "--";
        kst_id id;
        struct kst *t = with_connection(sctp(0, 0, 0), state, &id);
        const uint32_t tag = chunk == 1 || first ? 0 : tags[reply];
        const struct kst_result r = track(t, 0, sctp_chunks(reply, tag, &chunk, 1, tags[!reply]));
        struct kst_flow flow;
        about("%s, chunk %u, %s: %s", word_of(sctp_states, state), chunk, reply ? "reply" : "original",
              expected != NULL ? expected : "stays");
        must_be_sound(t);
        if (expected != NULL && strcmp(expected, "--") == 0) {
            must_say(r, first ? KST_REASON_SCTP_FIRST : KST_REASON_SCTP_STATE);
            must_be(r.state, KST_INVALID);
            must_be(kst_count(t), id != 0);
            if (id != 0) {
                must(kst_get(t, id, &flow));
                must_be(flow.state, state);
                must_be(flow.timeout_ms, 77000);
            }
            free(t);
            continue;
        }
        const uint8_t next = expected == NULL ? state : state_of(sctp_states, expected);
        const bool again = chunk == 1 && state == KST_SCTP_CLOSED; /* which prolongs nothing */
        must_say(r, again ? KST_REASON_SCTP_INIT_AGAIN : KST_REASON_NONE);
        must_be(r.state, first ? KST_NEW : KST_ESTABLISHED);
        must(kst_get(t, r.entry, &flow));
        must_be(flow.state, next);
        must_be(flow.timeout_ms, again ? 77000 : sctp_seconds[next] * UINT64_C(1000));
        free(t);
    }
}
END_TEST

/* A HEARTBEAT with another tag comes on a new path, or of a peer that began anew: it is let through, and its answer
 * tells the tag. One at a time, and none with data. */
START_TEST(sctp_heartbeats_with_another_tag)
{
    static const struct {
        struct {
            bool reply;
            uint32_t tag;
            uint8_t chunks[2], count;
        } steps[3]; /* the last of them is judged */
        enum kst_reason reason;
    } rows[] = {
        {{{0, 11, {4}, 1}}, KST_REASON_NONE},
        {{{0, 99, {4}, 1}}, KST_REASON_SCTP_HEARTBEAT},
        {{{0, 99, {4, 4}, 2}}, KST_REASON_SCTP_TAG},
        {{{0, 99, {4, 0}, 2}}, KST_REASON_SCTP_TAG},
        {{{0, 99, {5}, 1}}, KST_REASON_SCTP_TAG}, /* answers nothing */
        {{{0, 99, {4}, 1}, {1, 98, {5}, 1}}, KST_REASON_NONE},
        {{{0, 99, {4}, 1}, {0, 98, {5}, 1}}, KST_REASON_SCTP_TAG}, /* its own */
        {{{0, 99, {4}, 1}, {1, 98, {5}, 1}, {1, 98, {0}, 1}}, KST_REASON_NONE}, /* that is its tag now */
        {{{0, 99, {4}, 1}, {1, 98, {5}, 1}, {1, 22, {0}, 1}}, KST_REASON_SCTP_TAG},
        {{{0, 99, {4}, 1}, {1, 98, {5}, 1}, {0, 97, {4}, 1}}, KST_REASON_NONE}, /* the other's is learned */
        {{{0, 99, {4}, 1}, {0, 11, {4}, 1}, {1, 98, {5}, 1}}, KST_REASON_SCTP_TAG}, /* it was no restart */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        kst_id id;
        struct kst *t = with_connection(sctp(0, 0, 0), KST_SCTP_ESTABLISHED, &id);
        struct kst_result r = {0};
        struct kst_flow flow;
        for (size_t step = 0; step < 3 && rows[i].steps[step].count != 0; step++)
            r = track(t, 0, sctp_chunks(rows[i].steps[step].reply, rows[i].steps[step].tag,
                                        rows[i].steps[step].chunks, rows[i].steps[step].count, 0));
        about("row %zu", i);
        must_say(r, rows[i].reason);
        must(kst_get(t, id, &flow));
        must_be(flow.state, KST_SCTP_ESTABLISHED);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

SUITE("cells", tcp_by_flags, tcp_special_cases, tcp_out_of_sync, sctp_by_chunk, sctp_heartbeats_with_another_tag)
