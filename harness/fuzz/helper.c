/* SPDX-License-Identifier: MIT */
/* helper.c - property: whatever the two ends of a connection say to its helper, what it then expects obeys the
 * policy below in every field: to and from whom, by which protocol, how many, for how long, for which master. Only
 * an expectation that is there makes a newcomer RELATED, and then it has that master; what is not permanent
 * comes once. What one end says in FTP, IRC and PPTP opens nothing that only the other may open, and who was called
 * asks for no calls. Of a call's packets the key is that of whose call was told of first. Of a message that is
 * well-formed just that is expected which naive_help.h says. A line of FTP that comes in two pieces opens nothing
 * that it would not have opened whole. A moved table goes on alike.
 *
 * The head chooses helper, family and settings; frames hold messages. Sequence numbers are kept right but where
 * flags say otherwise. Each payload ends its packet, which ends its allocation. */
#define _GNU_SOURCE /* strcasestr */
#include "rig.h"

#include <arpa/inet.h>

#include <ctype.h>

#include "naive_help.h"
#include "packet.h"

enum { STEPS_MAX = 200, HELPERS = 5, MESSAGE_MAX = 4096, EXPECTATIONS = 24, KEYS = 32 };

enum { /* of a frame */
    FLAG_REPLY = 1,
    FLAG_AGAIN = 2,   /* a retransmission: numbers stand still */
    FLAG_GAP = 4,     /* something was lost before it */
    FLAGS_FRONT = FLAG_AGAIN | FLAG_GAP, /* both: only the front of it is shown */
    FLAG_ERROR = 8,   /* an ICMP error about it */
    FLAG_COME = 16,   /* who is expected last comes */
    FLAG_PIECES = 32, /* FTP: tried in two pieces first */
    FLAG_OTHER = 64,  /* on another connection of the same two */
    FLAG_END = 128    /* then that connection ends */
};

/* What a helper may open. A port is never 0, but of FTP's six numbers, as in Linux. */
static const struct policy {
    const char *name;
    uint16_t port;
    uint8_t protocol;      /* of its connections, */
    uint8_t protocols[2];  /* and of those expected */
    uint8_t flags;         /* enum kst_expectation_flags that it may use */
    const char *dst;       /* setting that, at `dst_when`, lets dst be another than its two ends */
    uint32_t dst_when;
    bool only[2];          /* who speaks may open something */
    uint32_t timeout_s;    /* 0: what the message says */
} policies[HELPERS] = {
    {"ftp", 21, TCP, {TCP, 0}, KST_EXPECT_ANY_SRC_PORT, "nf_conntrack_ftp_loose", 1, {true, true}, 300},
    {"irc", 6667, TCP, {TCP, 0}, KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT, NULL, 0, {true, false}, 300},
    {"pptp", 1723, TCP, {GRE, 0}, 0, NULL, 0, {true, true}, 300},
    {"sip", 5060, UDP, {UDP, TCP}, KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT | KST_EXPECT_PERMANENT |
     KST_EXPECT_INACTIVE | KST_EXPECT_ANY_MASTER, "nf_conntrack_sip_direct_media", 0, {true, true}, 0},
    {"tftp", 69, UDP, {UDP, 0}, KST_EXPECT_ANY_SRC_PORT, NULL, 0, {true, true}, 300},
};

static struct {
    struct kst *t, *copy;
    size_t bytes;
    const struct policy *policy;
    uint8_t helper;
    uint32_t protocol;
    bool v6;
    uint64_t now_ms;
    uint64_t seq[2][2]; /* of two connections, by direction; they do not wrap here */
    uint32_t step;
    struct key { /* PPTP: a call that is expected, or was: whose, from and to whom, and what both call it; in the order of time */
        kst_id master;
        struct kst_tuple tuple;
        uint32_t call; /* the client's name for it */
        bool unsure;   /* something was said that may have ended it */
    } keys[KEYS];
    uint32_t keys_count;
    bool called, keys_lost; /* PPTP: a client has named a call, and by that name its packets may not be known any more */
    uint32_t call;
    struct naive_talk talk[2]; /* on these */
    bool hindered[2]; /* PPTP: what another connection expects was in this one's way, or may have been */
    bool narrow;      /* so may the table's size */
    bool midway;      /* PPTP: picked up in the middle; until the server speaks nobody is heard */
    bool came;        /* a call has begun: then that ends, and what expects it once more may stay, in Linux, too */
    struct fuzz_frame first;
} rig;

static uint32_t port_of(uint32_t connection)
{
    return 40000 + connection;
}

enum { OUT_REQUEST = 7, IN_REPLY = 10, DISCONNECT = 13 }; /* messages of PPTP */

enum { ONLY_FRONT = 256 }; /* besides TCP's flags */

/* One packet of a connection. */
static struct kst_result speak(struct kst *t, uint32_t connection, uint32_t dir, uint32_t flags, const uint8_t *payload,
                               uint32_t bytes)
{
    static uint8_t data[MESSAGE_MAX + 100];
    uint32_t size;
    const uint32_t client = 1, server = 2;
    const uint64_t *seq = rig.seq[connection];
    const uint32_t sport = dir ? rig.policy->port : port_of(connection), dport = dir ? port_of(connection) : rig.policy->port;
    if (rig.protocol == TCP) {
        const struct tcp_say say = {.from = dir ? server : client, .to = dir ? client : server, .sport = sport,
                                    .dport = dport, .seq = (uint32_t)seq[dir], .ack = flags & TCP_ACK ? (uint32_t)seq[!dir] : 0,
                                    .flags = flags & 255, .window = 65535, .v6 = rig.v6, .payload = payload, .bytes = bytes};
        size = packet_tcp(data, &say);
    } else {
        const uint32_t at = packet_begin(data, rig.v6, dir ? server : client, dir ? client : server, UDP);
        put16(data + at, sport);
        put16(data + at + 2, dport);
        put32(data + at + 4, 0);
        if (bytes > 0)
            memcpy(data + at + 8, payload, bytes);
        size = at + 8 + bytes;
        packet_seal(data, size, true);
    }
    const bool front = (flags & ONLY_FRONT) && bytes > 0;
    if (front)
        size -= 1 + bytes / 2;
    struct kst_packet packet = {.data = fuzz_exact(data, size), .size = size, .flags = front ? KST_PACKET_HEAD : 0};
    const struct kst_result r = rig_track(t, rig.now_ms, &packet);
    fuzz_free((void *)(uintptr_t)packet.data);
    return r;
}

/* The connection's tuple, as the client begins it. */
static struct kst_tuple tuple_of(uint32_t connection)
{
    struct kst_tuple tuple;
    memset(&tuple, 0, sizeof tuple);
    tuple.src[0] = tuple.dst[0] = rig.v6 ? 0xfd : 10;
    tuple.src[rig.v6 ? 15 : 3] = 1;
    tuple.dst[rig.v6 ? 15 : 3] = 2;
    tuple.src_port = (uint16_t)port_of(connection);
    tuple.dst_port = rig.policy->port;
    tuple.family = rig.v6 ? KST_IPV6 : KST_IPV4;
    tuple.protocol = (uint8_t)rig.protocol;
    return tuple;
}

static kst_id connection_of(uint32_t connection)
{
    const struct kst_tuple tuple = tuple_of(connection);
    return kst_find(rig.t, &tuple, NULL);
}

/* Makes sure that it is there, and answered, unless it is picked up midway. */
static void ensure(uint32_t connection)
{
    if (connection_of(connection) != 0)
        return;
    memset(&rig.talk[connection], 0, sizeof rig.talk[connection]);
    rig.hindered[connection] = false;
    rig.seq[connection][0] = 1000000 * (connection + 1);
    rig.seq[connection][1] = 0xffffff00;
    if (rig.midway) {
        speak(rig.t, connection, 0, TCP_ACK, NULL, 0);
    } else if (rig.protocol == TCP) {
        speak(rig.t, connection, 0, TCP_SYN, NULL, 0);
        rig.seq[connection][0]++;
        speak(rig.t, connection, 1, TCP_SYN | TCP_ACK, NULL, 0);
        rig.seq[connection][1]++;
        speak(rig.t, connection, 0, TCP_ACK, NULL, 0);
        if (strcmp(rig.policy->name, "ftp") == 0) { /* whose lines are read from the second on */
            for (uint32_t dir = 0; dir < 2; dir++) {
                speak(rig.t, connection, dir, TCP_ACK, (const uint8_t *)"hello\r\n", 7);
                rig.seq[connection][dir] += 7;
                naive_ftp_line(&rig.talk[connection], dir, rig.seq[connection][dir]);
            }
        }
    }
}

static bool is_end(const struct kst_tuple *master, const uint8_t *address)
{
    return memcmp(address, master->src, 16) == 0 || memcmp(address, master->dst, 16) == 0;
}

/* What is expected, one by one, against the policy. */
static void check_policy(const struct kst *t)
{
    const struct policy *policy = rig.policy;
    uint32_t there = 0, per_class[2][KST_EXPECT_CLASSES] = {{0}};
    for (kst_id id = kst_expectation_next(t, 0); id != 0; id = kst_expectation_next(t, id), there++) {
        struct kst_expectation x;
        struct kst_flow master;
        fuzz_must(kst_expectation_get(t, id, &x) && x.id == id);
        if (!kst_get(t, x.master, &master))
            fuzz_fail("an expectation outlives its master");
        const struct kst_tuple *ends = &master.tuple[0];
        fuzz_must(memcmp(&x.master_tuple, ends, sizeof *ends) == 0);
        fuzz_must(x.helper == rig.helper && master.helper == rig.helper);
        fuzz_must(x.tuple.family == ends->family && x.tuple.zone == ends->zone);
        fuzz_must(x.tuple.protocol == policy->protocols[0] || x.tuple.protocol == policy->protocols[1]);
        if (x.flags & ~policy->flags)
            fuzz_fail("an expectation with flags %x", x.flags);
        uint32_t elsewhere = !policy->dst_when;
        if (policy->dst != NULL)
            fuzz_must(kst_setting(t, policy->dst, &elsewhere));
        if (!is_end(ends, x.tuple.dst) && (policy->dst == NULL || elsewhere != policy->dst_when))
            fuzz_fail("an expectation to somebody else");
        if (x.flags & KST_EXPECT_ANY_SRC) {
            static const uint8_t none[16] = {0};
            fuzz_must(memcmp(x.tuple.src, none, 16) == 0);
        } else if (!is_end(ends, x.tuple.src)) {
            fuzz_fail("an expectation from somebody else");
        }
        if (strcmp(policy->name, "sip") == 0 && x.class_ == 0 && master.master != 0)
            fuzz_fail("who was called asks for calls");
        if (strcmp(policy->name, "irc") == 0)
            fuzz_must(memcmp(x.tuple.dst, ends->src, 16) == 0);
        if (strcmp(policy->name, "tftp") == 0)
            fuzz_must(memcmp(x.tuple.src, ends->dst, 16) == 0 && memcmp(x.tuple.dst, ends->src, 16) == 0 &&
                      x.tuple.dst_port == ends->src_port);
        fuzz_must(!(x.flags & KST_EXPECT_ANY_SRC_PORT) || x.tuple.src_port == 0);
        fuzz_must(x.tuple.dst_port != 0 || x.tuple.protocol == GRE || strcmp(policy->name, "ftp") == 0);
        if (strcmp(policy->name, "sip") == 0 && x.class_ != 0 && x.tuple.dst_port < 1024)
            fuzz_fail("media for port %u", x.tuple.dst_port);
        const struct kst_helper *helper = kst__helper(rig.helper);
        fuzz_must(x.class_ < KST_EXPECT_CLASSES);
        if (policy->timeout_s != 0)
            fuzz_must(x.timeout_ms <= policy->timeout_s * UINT64_C(1000));
        for (uint32_t i = 0; i < 2; i++)
            if (x.master == connection_of(i) && ++per_class[i][x.class_] > helper->classes[x.class_].max &&
                helper->classes[x.class_].max != 0)
                fuzz_fail("%u expectations of class %u", per_class[i][x.class_], x.class_);
        fuzz_note(x.flags);
        fuzz_note((uint64_t)x.tuple.src_port << 16 | x.tuple.dst_port);
    }
    fuzz_must(there <= kst_expectation_count(t)); /* which counts those that expired until they are collected */
    fuzz_must(there <= EXPECTATIONS);
}

/* What is expected. */
struct list {
    struct kst_expectation x[EXPECTATIONS];
    uint32_t count;
};

static void list_of(const struct kst *t, struct list *list)
{
    list->count = 0;
    for (kst_id id = kst_expectation_next(t, 0); id != 0; id = kst_expectation_next(t, id))
        fuzz_must(list->count < EXPECTATIONS && kst_expectation_get(t, id, &list->x[list->count++]));
}

static bool lists(const struct list *list, const struct kst_expectation *like)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (memcmp(&list->x[i].tuple, &like->tuple, sizeof like->tuple) == 0 && list->x[i].flags == like->flags)
            return true;
    return false;
}

/* Who was called answers with what was said first of all, or asks for calls, of another port: the one before is taken. */
static void called(const struct kst_tuple *tuple)
{
    static uint8_t data[MESSAGE_MAX + 100];
    char address[64], asks[200];
    const uint32_t at = packet_begin(data, rig.v6, 0, 0, UDP), half = rig.v6 ? 16 : 4;
    uint32_t bytes = rig.first.size < MESSAGE_MAX ? rig.first.size : MESSAGE_MAX;
    memcpy(data + (rig.v6 ? 8 : 12), tuple->dst, half);
    memcpy(data + (rig.v6 ? 24 : 16), tuple->src, half);
    put16(data + at, tuple->dst_port);
    put16(data + at + 2, tuple->src_port);
    put32(data + at + 4, 0);
    if (rig.step % 2 == 0) {
        inet_ntop(rig.v6 ? AF_INET6 : AF_INET, tuple->dst, address, sizeof address);
        bytes = (uint32_t)snprintf(asks, sizeof asks, "REGISTER sip:x SIP/2.0\r\nCSeq: 1 REGISTER\r\nContact: <sip:%s%s%s:5060>;expires=60\r\n\r\n",
                                   rig.v6 ? "[" : "", address, rig.v6 ? "]" : "");
        memcpy(data + at + 8, asks, bytes);
    } else if (bytes > 0) {
        memcpy(data + at + 8, rig.first.bytes, bytes);
    }
    for (uint32_t i = 0; i + 5 <= bytes; i++)
        if (memcmp(data + at + 8 + i, ":5060", 5) == 0)
            data[at + 8 + i + 4] = '1';
    packet_seal(data, at + 8 + bytes, true);
    const struct kst_packet packet = {.data = fuzz_exact(data, at + 8 + bytes), .size = at + 8 + bytes};
    const struct kst_result r = rig_track(rig.t, rig.now_ms, &packet);
    rig_note_result(&r);
    fuzz_free((void *)(uintptr_t)packet.data);
}

/* PPTP: the key that completes the tuple of a call's packet is that of whose call was told of first. Returns NULL if there
 * is none, or none that is known for sure. */
static const struct key *key_of(const struct kst_tuple *tuple)
{
    struct kst_flow flow;
    for (uint32_t i = 0; i < rig.keys_count; i++) {
        const struct key *key = &rig.keys[i];
        struct kst_tuple like = key->tuple;
        like.src_port = tuple->src_port;
        if (memcmp(&like, tuple, sizeof like) == 0 && kst_get(rig.t, key->master, &flow))
            return key->unsure ? NULL : key;
    }
    return NULL;
}

/* PPTP: what a message on this connection has made expected, or may have ended: the server, or another call. */
static void note_keys(kst_id master, const uint8_t *message, uint32_t bytes, const struct list *before, const struct list *after)
{
    const uint32_t type = bytes >= 14 ? get16(message + 8) : 0, call = type != 0 ? get16(message + 12) : 0;
    bool keyed = false;
    for (uint32_t i = 0; i < rig.keys_count; i++) {
        if (rig.keys[i].master != master)
            continue;
        keyed = true;
        const bool another = (type == OUT_REQUEST || type == IN_REPLY) && call != rig.keys[i].call;
        rig.keys[i].unsure = rig.keys[i].unsure || type == DISCONNECT || another;
    }
    for (uint32_t i = 0; i < after->count && rig.keys_count < KEYS && !keyed; i++) { /* a session has keys of one call */
        const struct kst_expectation *x = &after->x[i];
        const bool asks = memcmp(x->tuple.src, x->master_tuple.src, 16) == 0;
        if (x->master == master && !lists(before, x))
            rig.keys[rig.keys_count++] = (struct key){master, x->tuple, asks ? x->tuple.src_port : x->tuple.dst_port, false};
    }
}

/* The one who is expected last comes. */
static void come(void)
{
    struct kst_expectation x, newest = {0};
    struct kst_flow flow;
    uint8_t data[128];
    for (kst_id id = kst_expectation_next(rig.t, 0); id != 0; id = kst_expectation_next(rig.t, id))
        if (kst_expectation_get(rig.t, id, &x) && x.id >> 32 >= newest.id >> 32 && !(x.flags & KST_EXPECT_INACTIVE))
            newest = x;
    if (newest.id == 0)
        return;
    struct kst_tuple tuple = newest.tuple;
    if (newest.flags & KST_EXPECT_ANY_SRC)
        memcpy(tuple.src, newest.master_tuple.dst, 16);
    if (newest.flags & KST_EXPECT_ANY_SRC_PORT)
        tuple.src_port = (uint16_t)(2000 + rig.step);
    const uint32_t at = packet_begin(data, rig.v6, 0, 0, tuple.protocol), half = rig.v6 ? 16 : 4;
    memcpy(data + (rig.v6 ? 8 : 12), tuple.src, half);
    memcpy(data + (rig.v6 ? 24 : 16), tuple.dst, half);
    memset(data + at, 0, 20);
    put16(data + at, tuple.src_port);
    put16(data + at + 2, tuple.dst_port);
    if (tuple.protocol == TCP) {
        data[at + 12] = 0x50;
        data[at + 13] = TCP_SYN;
    } else if (tuple.protocol == GRE) {
        put16(data + at, 0x3001);
        put16(data + at + 2, 0x880b);
        put16(data + at + 6, tuple.dst_port);
    }
    packet_seal(data, at + 20, true);
    const struct key *key = tuple.protocol == GRE ? key_of(&tuple) : NULL;
    struct kst_tuple completed = tuple;
    bool expected = true;
    if (key != NULL && key->tuple.src_port != tuple.src_port) { /* then it is somebody else who comes */
        completed.src_port = key->tuple.src_port;
        expected = false;
        for (kst_id id = kst_expectation_next(rig.t, 0); id != 0 && !expected; id = kst_expectation_next(rig.t, id)) {
            expected = kst_expectation_get(rig.t, id, &x) && memcmp(&x.tuple, &completed, sizeof completed) == 0;
            if (expected)
                newest = x;
        }
    }
    const bool known = kst_find(rig.t, &completed, NULL) != 0;
    const uint32_t mark = 7;
    kst_set_mark(rig.t, newest.master, mark);
    const struct kst_packet packet = {.data = fuzz_exact(data, at + 20), .size = at + 20};
    const struct kst_result r = rig_track(rig.t, rig.now_ms, &packet);
    rig_note_result(&r);
    fuzz_tell("     who is expected comes: %s %s", kst_state_name((enum kst_state)r.state),
              kst_reason_name((enum kst_reason)r.reason));
    rig.came = rig.came || tuple.protocol == GRE;
    if (key != NULL && r.direction != KST_NO_DIRECTION && kst_get(rig.t, r.entry, &flow))
        fuzz_same("what its sender calls a call", flow.tuple[r.direction].src_port, key->tuple.src_port);
    const bool is_there = !(r.flags & KST_CREATED) && r.state != KST_INVALID;
    if (known || r.verdict == KST_DROP || (tuple.protocol == GRE && key == NULL && (is_there || (rig.keys_lost && r.state == KST_NEW))))
        return;
    if (!expected && r.state != KST_NEW)
        fuzz_fail("who was not expected is %s", kst_state_name((enum kst_state)r.state));
    if (!expected)
        return;
    if (r.state != KST_RELATED || !(r.flags & KST_CREATED))
        fuzz_fail("who was expected is %s", kst_state_name((enum kst_state)r.state));
    fuzz_must(kst_get(rig.t, r.entry, &flow) && (flow.status & KST_EXPECTED));
    const bool attached = tuple.protocol == rig.protocol && tuple.dst_port == rig.policy->port; /* by that port, in Linux, too */
    fuzz_must(flow.helper == (newest.child_helper == 0 && attached ? rig.helper : newest.child_helper));
    if (flow.master == newest.master)
        fuzz_same("mark of the master", flow.mark, mark);
    fuzz_same("whether it may come again", kst_expectation_get(rig.t, newest.id, &x) || flow.master != newest.master,
              (newest.flags & KST_EXPECT_PERMANENT) != 0 || flow.master != newest.master);
    for (kst_id id = kst_expectation_next(rig.t, 0); id != 0 && tuple.protocol == GRE; id = kst_expectation_next(rig.t, id))
        if (kst_expectation_get(rig.t, id, &x) && x.master == flow.master && memcmp(&x.tuple, &flow.tuple[1], sizeof x.tuple) == 0)
            fuzz_fail("the other end of a call that has begun is expected still");
    if (flow.helper != 0 && tuple.protocol == UDP)
        called(&tuple);
}

/* PPTP: a GRE packet names the call of its receiver only. What its sender calls it is known of one call, until that is
 * over: then who is still expected comes as somebody new, in Linux, too. */
static void note_call(uint32_t dir, const uint8_t *message, uint32_t bytes)
{
    const uint32_t type = bytes >= 14 ? get16(message + 8) : 0;
    if (dir == KST_REPLY && type == DISCONNECT)
        rig.keys_lost = true;
    if (dir == KST_REPLY || (type != OUT_REQUEST && type != IN_REPLY))
        return;
    const uint32_t call = get16(message + 12);
    if (rig.called && call != rig.call)
        rig.keys_lost = true;
    rig.called = true;
    rig.call = call;
}

/* FTP's line in two pieces, on a copy, must not open more than the whole, on the table, has opened. */
static void in_pieces(uint32_t connection, uint32_t dir, const uint8_t *message, uint32_t bytes, uint32_t cut)
{
    const uint64_t seq = rig.seq[connection][dir];
    memcpy(rig.copy, rig.t, rig.bytes);
    speak(rig.copy, connection, dir, TCP_ACK, message, cut);
    rig.seq[connection][dir] += cut;
    speak(rig.copy, connection, dir, TCP_ACK, message + cut, bytes - cut);
    rig.seq[connection][dir] = seq;
}

/* Whether a word is in it, in letters of any size. */
static bool contains(const uint8_t *message, uint32_t bytes, const char *word)
{
    const uint32_t length = (uint32_t)strlen(word);
    for (uint32_t at = 0; at + length <= bytes; at++) {
        uint32_t same = 0;
        while (same < length && tolower(message[at + same]) == word[same])
            same++;
        if (same == length)
            return true;
    }
    return false;
}

/* Whether a number in it is `wanted`, or two with a comma between are. Those that are too long are cut, as in Linux. */
static bool names_number(const uint8_t *message, uint32_t bytes, uint32_t wanted, uint32_t mask)
{
    uint32_t number = 0, before = 0;
    bool comma = false;
    for (uint32_t i = 0; i <= bytes; i++) { /* what has no digits counts as 0 */
        const bool digit = i < bytes && message[i] >= '0' && message[i] <= '9';
        if (digit)
            number = number * 10 + message[i] - '0';
        if ((number & mask) == wanted || (comma && ((before << 8 | number) & mask) == wanted))
            return true;
        if (digit || i == bytes)
            continue;
        comma = message[i] == ',';
        before = number;
        number = 0;
    }
    return false;
}

/* Whether the text at `at` begins with this address. Zeros in front do not count; where it ends is not known. */
static bool is_address(const uint8_t *at, const uint8_t *end, const uint8_t *address, bool v6)
{
    char text[64];
    uint32_t size = 0;
    while (at < end && size < sizeof text - 1 && (isxdigit(*at) || *at == ':' || *at == '.')) {
        const bool zero = *at == '0' && (size == 0 || !isxdigit((unsigned char)text[size - 1])) && at + 1 < end && isxdigit(at[1]);
        if (!zero)
            text[size++] = (char)*at;
        at++;
    }
    for (; size > 1; size--) {
        uint8_t said[16] = {0};
        text[size] = '\0';
        if (inet_pton(v6 ? AF_INET6 : AF_INET, text, said) == 1 && memcmp(said, address, 16) == 0)
            return true;
    }
    return false;
}

static bool names_address(const uint8_t *message, uint32_t bytes, const uint8_t *address, bool v6)
{
    for (uint32_t i = 0; i < bytes; i++)
        if ((i == 0 || !isxdigit(message[i - 1])) && is_address(message + i, message + bytes, address, v6))
            return true;
    return false;
}

/* What a message has opened stands in it. */
static void check_named(const struct kst_expectation *x, uint32_t dir, const uint8_t *message, uint32_t bytes)
{
    const char *name = rig.policy->name;
    if (strcmp(name, "ftp") == 0) {
        if (!contains(message, bytes, dir ? "227" : "port") && !contains(message, bytes, dir ? "229" : "eprt"))
            fuzz_fail("FTP: something opens without a word of that side");
        if (x->tuple.dst_port == 0 && !contains(message, bytes, dir ? "227" : "port"))
            fuzz_fail("FTP: port 0, which only PORT and 227 may name");
        if (!names_number(message, bytes, x->tuple.dst_port, UINT16_MAX))
            fuzz_fail("FTP: port %u, which nobody named", x->tuple.dst_port);
    }
    if (strcmp(name, "irc") == 0) {
        const uint32_t client = UINT32_C(10) << 24 | 1;
        if (!names_number(message, bytes, client, UINT32_MAX))
            fuzz_fail("IRC: an address that is not the client's opens something");
        if (!contains(message, bytes, "privmsg ") || !contains(message, bytes, "dcc "))
            fuzz_fail("IRC: something opens without the words for it");
        if (!names_number(message, bytes, x->tuple.dst_port, UINT16_MAX))
            fuzz_fail("IRC: port %u, which nobody named", x->tuple.dst_port);
    }
    if (strcmp(name, "sip") == 0 && x->class_ != 0 && !contains(message, bytes, "in ip"))
        fuzz_fail("SIP: media without an address");
    const bool eprt = strcmp(name, "ftp") == 0 && rig.v6 && bytes > 4 && strncasecmp((const char *)message, "eprt", 4) == 0;
    const bool by_text = eprt || (strcmp(name, "sip") == 0 && x->class_ != 0);
    if (by_text && !names_address(message, bytes, x->tuple.dst, rig.v6))
        fuzz_fail("an address that nobody named opens something");
}

static bool opens(const struct naive_opinion *o, const struct kst_expectation *x)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (memcmp(o->open[i].dst, x->tuple.dst, 16) == 0 && o->open[i].dst_port == x->tuple.dst_port &&
            o->open[i].class_ == x->class_ && o->open[i].src_port == x->tuple.src_port)
            return true;
    return false;
}

/* What the naive one makes of a message that a connection's helper was shown, and what became of it. */
static void check_opinion(uint32_t connection, const struct kst_result *r, const struct fuzz_frame *frame, uint32_t bytes,
                          const struct list *before, const struct list *after)
{
    const struct kst_helper *helper = kst__helper(rig.helper);
    struct naive_talk *talk = &rig.talk[connection];
    struct kst_flow flow;
    uint32_t elsewhere = 0, of_class[KST_EXPECT_CLASSES] = {0};
    const kst_id id = connection_of(connection);
    if (!kst_get(rig.t, id, &flow) || flow.helper != rig.helper)
        return;
    if (rig.policy->dst != NULL)
        fuzz_must(kst_setting(rig.t, rig.policy->dst, &elsewhere));
    const bool malformed = r->reason == KST_REASON_FTP_ADDRESS || r->reason == KST_REASON_FTP_PARTIAL;
    const bool dropped = r->verdict == KST_DROP, by_helper = malformed || r->reason == KST_REASON_HELPER_EXPECT ||
                         (r->reason >= KST_REASON_SIP_STATUS && r->reason <= KST_REASON_SIP_MEDIA);
    if (dropped && !by_helper)
        return;
    const struct naive_message m = {rig.seq[connection][frame->flags & FLAG_REPLY], &flow.tuple[0], frame->flags & FLAG_REPLY,
                                    elsewhere == rig.policy->dst_when, frame->bytes, bytes};
    const struct naive_opinion o = naive_hear(talk, rig.policy->name, &m, dropped, malformed);
    for (uint32_t i = 0; i < before->count; i++)
        rig.hindered[connection] = rig.hindered[connection] || before->x[i].master != id;
    if (rig.policy->port == 1723 && (rig.hindered[connection] || rig.narrow))
        return;
    for (uint32_t i = 0; i < o.count; i++)
        of_class[o.open[i].class_]++;
    for (uint32_t i = 0; i < after->count; i++) {
        const struct kst_expectation *x = &after->x[i];
        if (x->master != id)
            continue;
        if (o.sure && !lists(before, x) && !opens(&o, x))
            fuzz_fail("a message opens port %u, which it does not name", x->tuple.dst_port);
        const uint32_t from = memcmp(x->tuple.src, flow.tuple[0].src, 16) == 0 ? KST_ORIGINAL : KST_REPLY;
        const bool call = x->tuple.protocol == GRE && !rig.came && x->tuple.src_port == talk->id[from] &&
                          x->tuple.dst_port == talk->id[!from];
        if (o.sure && o.forgets && (x->class_ != 0 || call) && !opens(&o, x))
            fuzz_fail("port %u is still expected", x->tuple.dst_port);
        for (uint32_t k = 0; k < before->count && o.no_grant; k++)
            if (before->x[k].id == x->id && (before->x[k].flags & ~x->flags & KST_EXPECT_INACTIVE))
                fuzz_fail("a registration is granted by what does not answer it");
        if (o.no_grant && x->class_ == 0 && x->tuple.protocol != GRE && !(x->flags & KST_EXPECT_INACTIVE) && !lists(before, x))
            fuzz_fail("a registration opens before it is granted");
    }
    for (uint32_t i = 0; i < o.count && o.sure; i++) {
        const struct naive_open *x = &o.open[i];
        bool there = of_class[x->class_] > helper->classes[x->class_].max;
        for (uint32_t k = 0; k < after->count; k++)
            there = there || (memcmp(x->dst, after->x[k].tuple.dst, 16) == 0 && x->dst_port == after->x[k].tuple.dst_port);
        for (uint32_t k = 0; k < before->count; k++) /* then it stays what it was, and goes with that kind, in Linux, too */
            there = there || (memcmp(x->dst, before->x[k].tuple.dst, 16) == 0 && x->dst_port == before->x[k].tuple.dst_port &&
                              x->class_ != before->x[k].class_);
        if (!there)
            fuzz_fail("a message should open port %u", x->dst_port);
    }
}

static void say(const struct fuzz_frame *frame)
{
    const uint32_t connection = (frame->flags & FLAG_OTHER) != 0, dir = frame->flags & FLAG_REPLY;
    const uint32_t bytes = frame->size < MESSAGE_MAX ? frame->size : MESSAGE_MAX;
    const bool ftp = strcmp(rig.policy->name, "ftp") == 0;
    const bool one_line = bytes > 1 && memchr(frame->bytes, '\n', bytes - 1) == NULL;
    struct list before, after, other;
    const bool front = (frame->flags & FLAGS_FRONT) == FLAGS_FRONT && bytes > 0;
    const bool pieces = ftp && one_line && (frame->flags & FLAG_PIECES) && !front;
    rig.now_ms += fuzz_wait_ms(frame->wait);
    kst_advance(rig.t, rig.now_ms, 4);
    ensure(connection);
    if ((frame->flags & FLAG_GAP) && !front)
        rig.seq[connection][dir] += 10;
    struct kst_flow flow;
    const bool heard = dir == KST_REPLY || (kst_get(rig.t, connection_of(connection), &flow) && (flow.status & KST_SEEN_REPLY)) || !rig.midway;
    list_of(rig.t, &before);
    if (pieces)
        in_pieces(connection, dir, frame->bytes, bytes, 1 + frame->wait % (bytes - 1));
    const struct kst_result r = speak(rig.t, connection, dir, TCP_ACK | (front ? ONLY_FRONT : 0), frame->bytes, bytes);
    rig_note_result(&r);
    fuzz_tell("%4u %12" PRIu64 " ms  %s says %u bytes: %s %s, %u expected", rig.step, rig.now_ms, dir ? "server" : "client",
              bytes, kst_state_name((enum kst_state)r.state), kst_reason_name((enum kst_reason)r.reason),
              kst_expectation_count(rig.t));
    list_of(rig.t, &after);
    for (uint32_t i = 0; i < after.count && front; i++)
        if (!lists(&before, &after.x[i]))
            fuzz_fail("a message of which only the front is there opens something");
    for (uint32_t i = 0; i < after.count && !heard; i++)
        if (!lists(&before, &after.x[i]))
            fuzz_fail("a message that nobody has answered opens something");
    if (!front && heard)
        check_opinion(connection, &r, frame, bytes, &before, &after);
    if (!(frame->flags & FLAG_AGAIN) && r.verdict == KST_ACCEPT)
        rig.seq[connection][dir] += bytes;
    if (rig.policy->port == 1723) {
        note_call(dir, frame->bytes, front ? 0 : bytes);
        note_keys(connection_of(connection), frame->bytes, bytes, &before, &after);
    }
    list_of(rig.copy, &other);
    for (uint32_t i = 0; i < other.count && pieces; i++)
        if (!lists(&after, &other.x[i]) && !lists(&before, &other.x[i]))
            fuzz_fail("in two pieces a line opens what it does not open whole");
    for (uint32_t i = 0; i < after.count && !rig.policy->only[dir]; i++)
        if (!lists(&before, &after.x[i]))
            fuzz_fail("what the %s says opens something", dir ? "server" : "client");
    for (uint32_t i = 0; i < after.count; i++)
        if (!lists(&before, &after.x[i]))
            check_named(&after.x[i], dir, frame->bytes, bytes);
    if (frame->flags & FLAG_ERROR) {
        static uint8_t data[200];
        const uint32_t at = packet_begin(data, rig.v6, 9, 1, rig.v6 ? ICMP6 : ICMP);
        uint8_t inner[64];
        const uint32_t inner_at = packet_begin(inner, rig.v6, 1, 2, rig.protocol), expected = kst_expectation_count(rig.t);
        memset(inner + inner_at, 0, 20);
        put16(inner + inner_at, port_of(connection));
        put16(inner + inner_at + 2, rig.policy->port);
        packet_seal(inner, inner_at + 20, true);
        memset(data + at, 0, 8);
        data[at] = rig.v6 ? 1 : 3;
        memcpy(data + at + 8, inner, inner_at + 20);
        packet_seal(data, at + 28 + inner_at, true);
        const struct kst_packet packet = {.data = fuzz_exact(data, at + 28 + inner_at), .size = at + 28 + inner_at};
        const struct kst_result error = rig_track(rig.t, rig.now_ms, &packet);
        fuzz_must(!(error.flags & KST_CREATED));
        fuzz_must(kst_expectation_count(rig.t) <= expected);
    }
    if (frame->flags & FLAG_COME)
        come();
    if (frame->flags & FLAG_END)
        kst_delete(rig.t, connection_of(connection));
}

static void run(const uint8_t *data, size_t size)
{
    static const char *const switches[] = {"nf_conntrack_ftp_loose", "nf_conntrack_sip_direct_media",
                                           "nf_conntrack_sip_direct_signalling", "nf_conntrack_sip_external_media"};
    const uint8_t *at = data + (size < fuzz_target.head ? size : fuzz_target.head);
    const uint32_t what = draw8(), kind = draw8(), chosen = draw8();
    struct kst_config config = {.max = 60, .expectations = 1 + draw8() % EXPECTATIONS, .events = 2};
    struct fuzz_frame frame;
    memset(&rig, 0, sizeof rig);
    rig.policy = &policies[what % HELPERS];
    rig.helper = kst_helper_number(rig.policy->name);
    rig.protocol = rig.policy->protocol;
    if (strcmp(rig.policy->name, "sip") == 0 && (kind & 2))
        rig.protocol = TCP;
    rig.v6 = kind & 1 && strcmp(rig.policy->name, "irc") != 0 && strcmp(rig.policy->name, "pptp") != 0;
    rig.narrow = config.expectations < 8;
    rig.midway = rig.policy->port == 1723 && (kind & 4);
    rig_back_ends(&config, false);
    rig.bytes = kst_bytes(&config);
    rig.t = rig_table(&config);
    rig.copy = rig_table(&config);
    fuzz_must(kst_attach(rig.t, (uint8_t)rig.protocol, rig.policy->port, rig.helper) == KST_ERROR_OK);
    for (uint32_t i = 0; i < 4; i++) { /* as Linux has them, or the other way */
        uint32_t value;
        if ((chosen >> i & 1) && kst_setting(rig.t, switches[i], &value))
            fuzz_must(kst_set(rig.t, switches[i], !value) == KST_ERROR_OK);
    }
    while (rig.step < STEPS_MAX && fuzz_frame_next(&at, data + size, &frame)) {
        if (rig.step++ == 0)
            rig.first = frame;
        say(&frame);
        check_policy(rig.t);
        rig_check(rig.t);
        if (rig.step % 8 == 0) { /* the table goes elsewhere */
            struct kst *elsewhere = fuzz_alloc(rig.bytes, KST_ALIGN);
            memcpy(elsewhere, rig.t, rig.bytes);
            fuzz_free(rig.t);
            rig.t = elsewhere;
        }
    }
    rig_note_table(rig.t);
}

const struct fuzz_target fuzz_target = {"helper", FUZZ_MESSAGES, 4, 0, STEPS_MAX, run, false};
