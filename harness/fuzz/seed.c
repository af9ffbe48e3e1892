/* SPDX-License-Identifier: MIT */
/* seed.c - makes first inputs of the targets that read packets and text, of vectors and captures:
 *
 *     seed FOLDER [FILE.vec.gz | FILE.pcap]...    writes FOLDER/TARGET/NAME */
#define _GNU_SOURCE
#include "../agree/vec.h"
#include "../replay/link.h"
#include "packet.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { BYTES_MAX = 6000, FRAMES_MAX = 60 };

static const char *folder;

struct seed {
    uint8_t data[BYTES_MAX + 65536];
    size_t size;
    uint32_t frames;
};

static void write_seed(const char *target, const char *name, const uint8_t *data, size_t size)
{
    char path[4096], safe[200];
    snprintf(safe, sizeof safe, "%s", name);
    for (char *at = safe; *at != '\0'; at++)
        if (strchr("/ :#*?", *at) != NULL)
            *at = '_';
    snprintf(path, sizeof path, "%s/%s", folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, target, safe);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size) {
        perror(path);
        exit(1);
    }
    fclose(file);
}

static void begin(struct seed *s, const uint8_t *head, size_t size)
{
    memcpy(s->data, head, size);
    s->size = size;
    s->frames = 0;
}

static void frame(struct seed *s, uint8_t wait, uint8_t flags, const uint8_t *bytes, uint32_t size)
{
    if (s->size + size > BYTES_MAX || s->frames >= FRAMES_MAX || size > 65535)
        return;
    s->frames++;
    s->data[s->size++] = wait;
    s->data[s->size++] = flags;
    put16(s->data + s->size, size);
    memcpy(s->data + s->size + 2, bytes, size);
    s->size += 2 + size;
}

/* So long, as a frame says it: fuzz_wait_ms. */
static uint8_t wait_of(uint64_t ms)
{
    uint8_t exponent = 0;
    while (ms > 15) {
        ms /= 4;
        exponent++;
    }
    return (uint8_t)((unsigned)exponent << 4 | (unsigned)ms);
}

/* The helper's number in the target of that name, by who listens; -1: none. */
static int helper_of(const uint8_t *packet, uint32_t size, struct packet_layout *p, uint32_t *payload_at, uint8_t *reply)
{
    static const struct {
        uint32_t protocol, port;
    } ports[] = {{TCP, 21}, {TCP, 6667}, {TCP, 1723}, {UDP, 5060}, {UDP, 69}};
    if (!packet_lay_out(packet, size, p) || p->bytes < 20 || p->fragment)
        return -1;
    const uint8_t *l4 = packet + p->l4_at;
    for (int i = 0; i < 5; i++)
        for (uint32_t side = 0; side < 2; side++)
            if (p->protocol == ports[i].protocol && get16(l4 + 2 * side) == ports[i].port) {
                *payload_at = p->l4_at + (p->protocol == TCP ? (l4[12] >> 4) * 4u : 8);
                *reply = side == 0;
                return *payload_at < size ? i : -1;
            }
    return -1;
}

/* One packet for all whom it may interest. */
static void take(struct seed *all, struct seed *cut, struct seed *said, const uint8_t *packet, uint32_t size, uint64_t wait_ms,
                 bool zone, const char *name, uint32_t number)
{
    char own[300];
    struct packet_layout p;
    uint32_t at;
    uint8_t reply;
    frame(all, wait_of(wait_ms), zone ? 16 : 0, packet, size);
    frame(cut, wait_of(wait_ms), (uint8_t)(number * 11), packet, size);
    const int helper = helper_of(packet, size, &p, &at, &reply);
    if (helper >= 0) {
        said->data[0] = (uint8_t)helper;
        said->data[1] = packet[0] >> 4 == 6;
        frame(said, wait_of(wait_ms), reply | 16, packet + at, size - at);
    }
    if (size <= 200 && number < 6) { /* the first packets of each case, alone */
        uint8_t data[204] = {0};
        memcpy(data + 4, packet, size);
        snprintf(own, sizeof own, "%s-%u", name, number);
        write_seed("parse", own, data, 4 + size);
    }
}

static void end(struct seed *all, struct seed *cut, struct seed *said, const char *name)
{
    if (all->frames > 0)
        write_seed("tcp", name, all->data, all->size);
    if (cut->frames > 0 && (strstr(name, "frag") != NULL || strstr(name, "pcap") != NULL))
        write_seed("frag", name, cut->data, cut->size);
    if (said->frames > 0)
        write_seed("helper", name, said->data, said->size);
}

static const uint8_t heads[][8] = {{0, 0, 3}, {0, 0, 30, 5}, {2, 0, 31, 3}, {3, 0, 7, 2}};

static void read_vec(const char *path, const char *base)
{
    static struct seed all, cut, said;
    struct vec_file *file = vec_open(path);
    const struct vec_case *c;
    char name[400];
    uint32_t number = 0;
    while (file != NULL && (c = vec_next(file)) != NULL) {
        const bool with_more = strstr(base, "ftp") || strstr(base, "irc") || strstr(base, "sip") || strstr(base, "pptp") ||
                               strstr(base, "helped") || strstr(base, "tftp");
        snprintf(name, sizeof name, "%.60s-%s%u", base, strstr(c->name, "frag") ? "frag-" : "", number);
        begin(&all, heads[with_more ? 3 : strstr(c->name, "frag") ? 2 : number % 2], 8);
        begin(&cut, (const uint8_t[4]){0}, 4);
        begin(&said, (const uint8_t[4]){0, 0, 0, 24}, 4);
        char *lines = NULL;
        size_t lines_size = 0;
        FILE *text = open_memstream(&lines, &lines_size);
        fputc(1, text);
        for (size_t i = 0; i < c->packets_count; i++) {
            const struct vec_packet *packet = &c->packets[i];
            take(&all, &cut, &said, packet->data, packet->size, packet->wait_ms, packet->zone != 0, name, (uint32_t)i);
            for (size_t j = 0; j < packet->lines_count && i + 1 == c->packets_count; j++)
                if (strncmp(packet->lines[j], "ct ", 3) == 0)
                    fprintf(text, "%s\n", packet->lines[j] + 3);
        }
        fclose(text);
        if (lines_size > 1 && number % 8 == 0)
            write_seed("text", name, (const uint8_t *)lines, lines_size < 2000 ? lines_size : 2000);
        free(lines);
        end(&all, &cut, &said, name);
        number++;
    }
    if (file == NULL || vec_error(file) != NULL) {
        fprintf(stderr, "seed: %s: %s\n", path, file != NULL ? vec_error(file) : "cannot be read");
        exit(1);
    }
    vec_close(file);
}

static void read_capture(const char *path, const char *base)
{
    static struct seed all, cut, said;
    char error[PCAP_ERRBUF_SIZE], name[400];
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    uint64_t before_ms = 0;
    uint32_t part = 0, number = 0;
    pcap_t *pcap = pcap_open_offline(path, error);
    if (pcap == NULL) {
        fprintf(stderr, "seed: %s\n", error);
        exit(1);
    }
    link_peel *peel = link_find(pcap_datalink(pcap));
    for (bool more = peel != NULL; more && part < 8; part++) { /* the beginning of it */
        snprintf(name, sizeof name, "%.60s-%u", base, part);
        begin(&all, heads[part % 4], 8);
        begin(&cut, (const uint8_t[4]){0}, 4);
        begin(&said, (const uint8_t[4]){0, 0, 0, 24}, 4);
        for (uint32_t i = 0; i < 40 && (more = pcap_next_ex(pcap, &header, &bytes) == 1); i++, number++) {
            struct link_bytes rest = {bytes, header->caplen, 0};
            if (header->caplen < header->len || header->caplen > 1600 || peel(&rest) != LINK_IP)
                continue;
            const uint64_t ms = (uint64_t)header->ts.tv_sec * 1000 + (uint64_t)header->ts.tv_usec / 1000;
            take(&all, &cut, &said, rest.at, rest.size, before_ms > 0 && ms > before_ms ? ms - before_ms : 0, false, name, i);
            before_ms = ms;
        }
        end(&all, &cut, &said, name);
    }
    pcap_close(pcap);
}

/* The front of a file, as one that the target `text` reads. */
static void front(const char *path, const char *base, uint8_t kind)
{
    uint8_t data[1500];
    FILE *file = fopen(path, "rb");
    data[0] = kind;
    const size_t size = file != NULL ? fread(data + 1, 1, sizeof data - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    write_seed("text", base, data, 1 + size);
}

int main(int argc, char **argv)
{
    static const char addresses[] = "\2192.0.2.1\n0.0.0.0\n255.255.255.255\n256.1.1.1\n1.2.3\nfd00::1\n::\n::1\n::ffff:192.0.2.1\n"
                                    "1:2:3:4:5:6:7:8\n2001:db8::\n1::8\n::192.0.2.1\nfe80::1:2\n1:2:3:4:5:6:7::\n::2:3:4:5:6:7:8\n";
    static const char vec[] = "\3case a\nset nf_conntrack_tcp_loose 0\nwait 1000\nzone 5 original\npkt > 45000014000000004011\n"
                              "is new original\nct ipv4 2 udp 17 29 src=1.2.3.4\nexp 1\nout 45\n\n# words\ncase b\npkt < 60\nis invalid -\n";
    static const char settings[] = "nf_conntrack_max 5\nnf_conntrack_tcp_loose=0\nnf_conntrack_udp_timeout 30 3\nnf_conntrack_acct 2\n"
                                   "nf_conntrack_count 1\nnf_conntrack_frag6_timeout 9\nkeepstate_pressure_high 90\nnone 1\n";
    if (argc < 3) {
        fputs("usage: seed FOLDER [FILE.vec.gz | FILE.pcap]...\n", stderr);
        return 2;
    }
    folder = argv[1];
    mkdir(folder, 0777);
    write_seed("text", "addresses", (const uint8_t *)addresses, sizeof addresses - 1);
    write_seed("text", "vec", (const uint8_t *)vec, sizeof vec - 1);
    uint8_t data[sizeof settings] = {0};
    memcpy(data + 1, settings, sizeof settings - 1);
    write_seed("text", "settings", data, sizeof data);
    for (int i = 2; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/'), *base = slash != NULL ? slash + 1 : argv[i];
        if (strstr(base, ".vec") != NULL) {
            read_vec(argv[i], base);
        } else {
            read_capture(argv[i], base);
            front(argv[i], base, 4);
        }
    }
    return 0;
}
