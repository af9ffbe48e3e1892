/* SPDX-License-Identifier: MIT */
/* bench/main.c - the benchmarks' own flags; everything else is Google Benchmark's. */
#include "bench.h"
#include "built.h"
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t sizes[16] = {1 << 16, 1 << 20, 1 << 23};
bool tiny, huge;
static bool ask_kernel;
static const char *capture_file;
size_t memory_max = (size_t)4 << 30;

static const char help[] =
    "bench [--sizes=64k,1M,8M] [--huge] [--memory=GiB] [--capture=FILE] [--tiny] [--broken]\n"
    "      [Google Benchmark's flags, --help=... lists them]\n"
    "  --kernel  as root: the running kernel's tracker among the peers, nf_conntrack\n"
    "  --capture a file of libpcap's to replay, beside all else: capture/...\n"
    "  --sizes   of tables, in connections: powers of two\n"
    "  --tiny    everything once with 1k, to see that it works; no figure means anything then\n"
    "  --huge    tables of ours and floors in pages of 2 MiB\n"
    "  --broken  adds two that must fail: one whose loop the compiler removes, one that finds nothing\n"
    "  --memory  of all tables that are kept for the next benchmark, 4\n";

void add_kernel(void) __attribute__((weak)); /* peer_kernel.c, if libbpf was there */

static bool read_sizes(const char *list)
{
    size_t count = 0;
    memset(sizes, 0, sizeof sizes);
    while (*list != '\0' && count + 1 < COUNT(sizes)) {
        char *end;
        const unsigned long number = strtoul(list, &end, 10);
        const uint64_t size = (uint64_t)number << (*end == 'M' ? 20 : 10);
        if ((*end != 'k' && *end != 'M') || size < 1024 || size > KST_ENTRIES_MAX ||
            (size & (size - 1)) != 0)
            return false;
        sizes[count++] = (uint32_t)size;
        list = end + 1 + (end[1] == ',');
    }
    return count > 0 && *list == '\0';
}

/* ---- --broken: benchmarks that must fail ---- */

static void do_nothing(struct bench *b, const void *argument)
{
    const uint64_t many = (uint64_t)1 << 30; /* if done, seconds: no pause of the machine passes for it */
    (void)argument;
    while (bench_next(b, many)) {
        uint64_t sum = 0;
        bench_start(b);
        for (uint64_t i = 0; i < many; i++)
            sum += i; /* nobody asks for it: the compiler removes it */
        bench_stop(b);
    }
}

static void find_nobody(struct bench *b, const void *argument)
{
    const struct kit *kit = kits[0];
    struct table *w = table_of(b, &(struct shape){.kit = kit, .kind = {.protocol = TCP}, .max = 1024});
    const struct kst_tuple tuple = flow_tuple(&w->shape.kind, 1);
    (void)argument;
    while (bench_next(b, 1)) {
        bench_start(b);
        const uint64_t hits = kit->find_each(w->t, &tuple, 1);
        bench_stop(b);
        if (hits != 1)
            bench_fail(b, "it was not found");
    }
}

/* Takes our flags out of the arguments. */
static bool read_flags(int *count, char **arguments)
{
    int left = 1;
    for (int i = 1; i < *count; i++) {
        char *flag = arguments[i];
        bool good = true;
        if (strncmp(flag, "--sizes=", 8) == 0)
            good = read_sizes(flag + 8);
        else if (strncmp(flag, "--memory=", 9) == 0)
            good = (memory_max = (size_t)strtoul(flag + 9, NULL, 10) << 30) > 0;
        else if (strncmp(flag, "--capture=", 10) == 0)
            capture_file = flag + 10;
        else if (strcmp(flag, "--kernel") == 0)
            good = ask_kernel = add_kernel != NULL;
        else if (strcmp(flag, "--huge") == 0)
            huge = true;
        else if (strcmp(flag, "--broken") == 0) {
            bench_add("broken/nothing/1k/none/none/all", do_nothing, NULL);
            bench_add("broken/nobody/1k/none/none/all", find_nobody, NULL);
        } else if (strcmp(flag, "--tiny") == 0)
            good = tiny = read_sizes("1k");
        else
            arguments[left++] = flag;
        if (!good)
            return false;
    }
    *count = left;
    return true;
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++)
        if (strcmp(arguments[i], "-h") == 0 || strcmp(arguments[i], "--help") == 0)
            fputs(help, stdout);
    bench_begin(&count, arguments);
    if (!read_flags(&count, arguments)) {
        fputs(help, stderr);
        return 2;
    }
    bench_context("keepstate_version", KST_VERSION);
    bench_context("commit", COMMIT);
    bench_context("compiler", COMPILER);
    bench_context("flags", FLAGS);
    bench_context("pages", huge ? "2M" : "4k");
    bench_context("peers", peers_in);
    bench_context("peers_left_out", peers_left_out);
#define SUBJECT__X(name) add_##name();
    SUBJECTS(SUBJECT__X)
#undef SUBJECT__X
    if (ask_kernel)
        add_kernel();
    if (capture_file != NULL && !add_capture(capture_file))
        return 1;
    return bench_all(count, arguments) < 0;
}
