/* SPDX-License-Identifier: MIT */
/* text.c - property: whatever text or file is read, it is read or refused, and never reads past its end: settings
 * by name, lines of the table, addresses, .vec files, captures. A setting that is taken reads back, one that is
 * refused leaves all as it was. A line that names a connection which the table takes comes out again and names
 * the same one: parse, print, parse is the identity, as /proc and conntrack print; a line that is cut is the front of the
 * whole. Addresses mean what inet_pton says they mean.
 *
 * The head chooses what the rest is. */
#define _GNU_SOURCE
#include "rig.h"

#include "../agree/vec.h"
#include "../replay/link.h"

#include <arpa/inet.h>
#include <pcap/pcap.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- settings: NAME VALUE, a line each; a word more is a policy's ---- */

static void all_settings(const struct kst *t, uint32_t *values)
{
    for (uint32_t i = 0; kst_setting_name(i) != NULL; i++)
        fuzz_must(kst_setting(t, kst_setting_name(i), &values[i]));
}

static void one_setting(struct kst *t, char *line)
{
    uint32_t before[64], after[64], low, high, read;
    char *rest = NULL, *name = strtok_r(line, " =\t", &rest), *number = name != NULL ? strtok_r(NULL, " =\t", &rest) : NULL;
    const char *policy = number != NULL ? strtok_r(NULL, " =\t", &rest) : NULL;
    if (number == NULL)
        return;
    const uint32_t value = (uint32_t)strtoull(number, NULL, 10);
    all_settings(t, before);
    const enum kst_error error = policy != NULL ? kst_set_policy(t, (uint8_t)strtoul(policy, NULL, 10), name, value)
                                                : kst_set(t, name, value);
    all_settings(t, after);
    fuzz_tell("%s = %u: %s", name, value, kst_error_text(error));
    fuzz_must(error < KST_ERRORS && *kst_error_text(error) != '\0');
    fuzz_note(error);
    const bool known = kst_setting_range(t, name, &low, &high);
    fuzz_must(known == (error != KST_ERROR_SETTING_NAME));
    if (error == KST_ERROR_OK)
        fuzz_must(value >= low && value <= high);
    if (error == KST_ERROR_OK && policy == NULL) {
        fuzz_must(kst_setting(t, name, &read) && read == value);
        for (uint32_t i = 0; kst_setting_name(i) != NULL; i++)
            if (strcmp(name, kst_setting_name(i)) != 0)
                fuzz_same("another setting", before[i], after[i]);
    } else { /* the table's own stay as they were */
        for (uint32_t i = 0; kst_setting_name(i) != NULL; i++)
            fuzz_same("a setting", before[i], after[i]);
    }
}

/* ---- lines of the table ---- */

static bool read_address(const char *text, struct kst_tuple *tuple, uint8_t *address)
{
    if (inet_pton(AF_INET, text, address) == 1)
        tuple->family = KST_IPV4;
    else if (inet_pton(AF_INET6, text, address) == 1)
        tuple->family = KST_IPV6;
    else
        return false;
    return true;
}

static uint8_t state_of(uint8_t protocol, const char *word)
{
    for (uint8_t i = 1; protocol == KST__TCP && i < KST_TCP_STATES; i++)
        if (strcmp(word, kst_tcp_state_name((enum kst_tcp_state)i)) == 0)
            return i;
    for (uint8_t i = 1; protocol == KST__SCTP && i < KST_SCTP_STATES; i++)
        if (strcmp(word, kst_sctp_state_name((enum kst_sctp_state)i)) == 0)
            return i;
    return 0;
}

/* Reads a line of PROC or CONNTRACK; false if it is none. */
static bool read_line(const char *text, struct kst_flow *flow)
{
    char copy[KST_LINE_MAX], *rest = NULL;
    int words = 0;
    uint32_t direction = 0, numbers = 0;
    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    memset(flow, 0, sizeof *flow);
    flow->status = KST_SEEN_REPLY;
    for (char *word = strtok_r(copy, " \t\r", &rest); word != NULL; word = strtok_r(NULL, " \t\r", &rest)) {
        struct kst_tuple *tuple = &flow->tuple[direction];
        char *equals = strchr(word, '=');
        if (++words == 1 && (strcmp(word, "ipv4") == 0 || strcmp(word, "ipv6") == 0)) {
            strtok_r(NULL, " \t\r", &rest); /* the family's number */
            words = 0;
        } else if (words == 1) { /* the protocol's name */
        } else if (equals == NULL && word[0] >= '0' && word[0] <= '9') {
            const uint64_t number = strtoull(word, NULL, 10);
            if (numbers++ == 0)
                flow->tuple[0].protocol = flow->tuple[1].protocol = (uint8_t)number;
            else
                flow->timeout_ms = number * 1000;
        } else if (strcmp(word, "[UNREPLIED]") == 0) {
            flow->status &= (uint16_t)~KST_SEEN_REPLY;
        } else if (strcmp(word, "[ASSURED]") == 0) {
            flow->status |= KST_ASSURED;
        } else if (equals == NULL) {
            flow->state = state_of(flow->tuple[0].protocol, word);
        } else {
            *equals++ = '\0';
            const uint64_t value = strtoull(equals, NULL, 0);
            if (strcmp(word, "src") == 0) {
                if (tuple->family != 0) { /* the second one */
                    if (direction == 1)
                        return false;
                    tuple = &flow->tuple[++direction];
                }
                if (!read_address(equals, tuple, tuple->src))
                    return false;
            } else if (strcmp(word, "dst") == 0) {
                if (!read_address(equals, tuple, tuple->dst))
                    return false;
            } else if (strcmp(word, "sport") == 0 || strcmp(word, "srckey") == 0 || strcmp(word, "id") == 0)
                tuple->src_port = (uint16_t)value;
            else if (strcmp(word, "dport") == 0 || strcmp(word, "dstkey") == 0)
                tuple->dst_port = (uint16_t)value;
            else if (strcmp(word, "type") == 0)
                tuple->dst_port = (uint16_t)((tuple->dst_port & 0xff) | (value & 0xff) << 8);
            else if (strcmp(word, "code") == 0)
                tuple->dst_port = (uint16_t)((tuple->dst_port & 0xff00) | (value & 0xff));
            else if (strcmp(word, "mark") == 0)
                flow->mark = (uint32_t)value;
            else if (strcmp(word, "zone") == 0)
                flow->tuple[0].zone = flow->tuple[1].zone = (uint16_t)value;
            else if (strcmp(word, "zone-orig") == 0)
                flow->tuple[0].zone = (uint16_t)value;
            else if (strcmp(word, "zone-reply") == 0)
                flow->tuple[1].zone = (uint16_t)value;
            else if (strcmp(word, "packets") == 0)
                flow->packets[direction] = value, flow->accounted = true;
            else if (strcmp(word, "bytes") == 0)
                flow->bytes[direction] = value, flow->accounted = true;
            else if (strcmp(word, "helper") == 0)
                flow->helper = kst_helper_number(equals);
        }
    }
    return direction == 1;
}

/* Whatever it is cut to, it is the front of the whole, and ends. */
#define cut_soundly(print, what)                                                                   \
    do {                                                                                           \
        char whole[KST_LINE_MAX], part[KST_LINE_MAX];                                              \
        const size_t length = print(what, format, whole, sizeof whole);                            \
        fuzz_must(length < KST_LINE_MAX && strlen(whole) == length);                               \
        for (size_t size = 0; size <= length + 1; size += 1 + length / 7) {                        \
            memset(part, 0x7f, sizeof part);                                                       \
            fuzz_same("length of a cut line", print(what, format, part, size), length);            \
            const size_t kept = size == 0 ? 0 : size <= length ? size - 1 : length;                \
            fuzz_must(memcmp(part, whole, kept) == 0 && (size == 0 || part[kept] == '\0'));        \
            fuzz_must(part[size] == 0x7f);                                                         \
        }                                                                                          \
    } while (0)

static void one_line(struct kst *t, const char *text)
{
    struct kst_flow flow, taken, again;
    enum kst_error why;
    char line[KST_LINE_MAX];
    if (!read_line(text, &flow))
        return;
    const kst_id id = kst_insert(t, &flow, &why);
    fuzz_tell("%s: %s", text, kst_error_text(why));
    fuzz_note(why);
    fuzz_must((id != 0) == (why == KST_ERROR_OK));
    if (id == 0)
        return;
    fuzz_must(kst_get(t, id, &taken));
    fuzz_must(memcmp(taken.tuple, flow.tuple, sizeof flow.tuple) == 0);
    for (enum kst_format format = KST_FORMAT_PROC; format <= KST_FORMAT_JSON; format++)
        cut_soundly(kst_print, &taken);
    for (enum kst_format format = KST_FORMAT_PROC; format <= KST_FORMAT_CONNTRACK; format += KST_FORMAT_CONNTRACK) {
        kst_print(&taken, format, line, sizeof line);
        if (!read_line(line, &again))
            fuzz_fail("cannot read what it printed: %s", line);
        if (memcmp(again.tuple, taken.tuple, sizeof again.tuple) != 0)
            fuzz_fail("other tuples: %s", line);
        fuzz_same("timeout", again.timeout_ms / 1000, taken.timeout_ms / 1000);
        fuzz_same("state", again.state, taken.state);
        fuzz_same("mark", again.mark, taken.mark);
        fuzz_same("answered and assured", again.status & (KST_SEEN_REPLY | KST_ASSURED),
                  taken.status & (KST_SEEN_REPLY | KST_ASSURED));
        fuzz_same("packets", again.packets[0] + again.packets[1], taken.packets[0] + taken.packets[1]);
        if (format == KST_FORMAT_CONNTRACK)
            fuzz_same("helper", again.helper, taken.helper);
    }
    fuzz_must(kst_delete(t, id));
    fuzz_must(kst_insert(t, &taken, NULL) != 0); /* what was given out is taken back */
    rig_check(t);
    if (kst_count(t) > 20)
        kst_flush(t);
}

/* ---- addresses, and numbers ---- */

static void one_address(const char *text, size_t size)
{
    uint8_t own[16] = {0}, library[16] = {0};
    const uint8_t *exact = fuzz_exact(text, size);
    struct kst__text left = {exact, exact + size};
    const bool four = kst__ipv4_read(&left, own);
    fuzz_must(left.at >= exact && left.at <= exact + size);
    const bool all4 = four && left.at == left.end;
    if (inet_pton(AF_INET, text, library) == 1) {
        fuzz_must(all4);
        fuzz_must(memcmp(own, library, 4) == 0);
    }
    left.at = exact;
    const bool six = kst__ipv6_read(&left, own);
    fuzz_must(left.at >= exact && left.at <= exact + size);
    const bool all6 = six && left.at == left.end;
    if (inet_pton(AF_INET6, text, library) == 1) {
        if (!all6)
            fuzz_fail("inet_pton reads %s, kst__ipv6_read does not", text);
        fuzz_must(memcmp(own, library, 16) == 0);
        char line[64] = "", words[INET6_ADDRSTRLEN];
        struct kst__line out = {line, sizeof line, 0};
        kst__put_ipv6_short(&out, own);
        kst__line_end(&out);
        if (strcmp(inet_ntop(AF_INET6, library, words, sizeof words), line) != 0)
            fuzz_fail("inet_ntop writes %s, kst__put_ipv6_short %s", words, line);
    }
    fuzz_note((uint64_t)four << 1 | six);
}

/* An address of more zeros than not, on lines of any length. */
static void print_address(const char *text, size_t size)
{
    uint8_t address[16] = {0};
    char words[INET6_ADDRSTRLEN];
    for (size_t i = 0; i < size && i < 16; i++)
        address[15 - i] = text[i] == 'f' ? 0xff : text[i] % 4 == 0 ? 0 : (uint8_t)text[i];
    const size_t length = strlen(inet_ntop(AF_INET6, address, words, sizeof words));
    for (size_t room = 0; room <= length + 1; room++) {
        char *line = (char *)fuzz_exact(NULL, room);
        struct kst__line out = {line, room, 0};
        kst__put_ipv6_short(&out, address);
        fuzz_same("length of an address", kst__line_end(&out), length);
        if (room > 0 && (strncmp(line, words, room - 1) != 0 || line[room - 1] != '\0'))
            fuzz_fail("inet_ntop writes %s, kst__put_ipv6_short into %zu bytes %s", words, room, line);
        fuzz_free(line);
    }
}

/* ---- files, by way of zlib and libpcap: MSan does not see what these write, so it is left out there ---- */

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define NO_FILES 1
#endif
#endif

static void read_vec(const uint8_t *data, size_t size)
{
    char path[64];
    const int file = memfd_create("vec", 0);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        exit(2);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    struct vec_file *vec = vec_open(path);
    const struct vec_case *c;
    uint32_t cases = 0;
    while ((c = vec_next(vec)) != NULL && cases++ < 100) {
        fuzz_must(c->name != NULL);
        for (size_t i = 0; i < c->packets_count; i++)
            fuzz_note(c->packets[i].size + c->packets[i].wait_ms + c->packets[i].lines_count);
    }
    const char *error = vec_error(vec);
    fuzz_must(error == NULL || strncmp(error, path, strlen(path)) == 0);
    vec_close(vec);
    close(file);
}

static void read_capture(struct kst *t, const uint8_t *data, size_t size)
{
    char error[PCAP_ERRBUF_SIZE];
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    uint32_t frames = 0;
    FILE *file = fmemopen((void *)(uintptr_t)data, size > 0 ? size : 1, "rb");
    pcap_t *pcap = file != NULL && size > 0 ? pcap_fopen_offline(file, error) : NULL;
    if (pcap == NULL) {
        if (file != NULL)
            fclose(file);
        return;
    }
    link_peel *peel = link_find(pcap_datalink(pcap));
    while (peel != NULL && pcap_next_ex(pcap, &header, &bytes) == 1 && frames++ < 200) {
        struct link_bytes rest = {fuzz_exact(bytes, header->caplen), header->caplen, 0};
        const uint8_t *begin = rest.at;
        const enum link_content content = peel(&rest);
        fuzz_must(content < LINK_CONTENTS && *link_content_text(content) != '\0');
        fuzz_must(rest.at >= begin && rest.at + rest.size == begin + header->caplen);
        fuzz_note(content);
        if (content == LINK_IP) {
            struct kst_packet packet = {.data = rest.at, .size = rest.size};
            packet.flags = header->caplen < header->len ? KST_PACKET_HEAD : 0;
            const struct kst_result r = rig_track(t, (uint64_t)header->ts.tv_sec * 1000, &packet);
            rig_note_result(&r);
        }
    }
    pcap_close(pcap);
    rig_check(t);
}

static void run(const uint8_t *data, size_t size)
{
    const size_t head = size < fuzz_target.head ? size : fuzz_target.head;
    const uint32_t kind = draw8() % 5;
    const struct kst_config config = {.max = 32, .expectations = 4, .reassembly_bytes = KST_REASSEMBLY_MIN,
                                      .features = KST_WITH_ACCOUNTING | KST_WITH_NAT | KST_WITH_TIMESTAMPS};
    struct kst *t = kind == 2 || kind == 3 ? NULL : rig_table(&config);
    data += head;
    size -= head;
#ifdef NO_FILES
    if (kind > 2)
        return;
#endif
    if (kind == 3) {
        read_vec(data, size);
        return;
    }
    if (kind == 4) {
        read_capture(t, data, size);
        return;
    }
    char *text = (char *)fuzz_exact(NULL, size + 1), *rest = NULL;
    if (size > 0)
        memcpy(text, data, size);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (kind == 0)
            one_setting(t, line);
        else if (kind == 1)
            one_line(t, line);
        else
            one_address(line, strlen(line)), print_address(line, strlen(line));
    }
}

const struct fuzz_target fuzz_target = {"text", FUZZ_TEXT, 1, 0, 0, run, false};
