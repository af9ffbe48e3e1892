/* SPDX-License-Identifier: MIT */
/* bench/peer_kernel.c - the running kernel's own connection tracker, asked by programs in the kernel
 * (BPF test runs), in a network namespace of its own; as root, with --kernel. What the run of a program
 * costs that asks nothing is `nothing`: take it off. */
#include "bench.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* kernel.bpf.o, as it is. */
__asm__(".section .rodata\n"
        ".balign 16\n"
        "kernel_bpf:\n"
        ".incbin \"kernel.bpf.o\"\n"
        "kernel_bpf_end:\n"
        ".previous\n");
extern const char kernel_bpf[], kernel_bpf_end[];

static struct bpf_object *object;
static void *shared[2]; /* its .data and .bss */
static uint32_t in;     /* connections made */

/* Where a global of the programs lies, in .data or, if it began as 0, in .bss: that section is a map
 * of one element, which is shared memory. */
static void *global(const char *section, const char *name)
{
    const bool bss = strcmp(section, ".bss") == 0;
    const struct btf *btf = bpf_object__btf(object);
    const struct bpf_map *map;
    bpf_object__for_each_map(map, object)
        if (shared[bss] == NULL && strstr(bpf_map__name(map), section) != NULL)
            shared[bss] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

    const int32_t id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
    const struct btf_type *type = btf__type_by_id(btf, id < 0 ? 0 : (uint32_t)id);
    const struct btf_var_secinfo *var = btf_var_secinfos(type);
    for (uint32_t i = 0; i < btf_vlen(type); i++) {
        const struct btf_type *what = btf__type_by_id(btf, var[i].type);
        if (strcmp(btf__name_by_offset(btf, what->name_off), name) == 0)
            return (uint8_t *)shared[bss] + var[i].offset;
    }
    abort();
}

static int quiet(enum libbpf_print_level level, const char *format, va_list values)
{
    return level == LIBBPF_WARN ? vfprintf(stderr, format, values) : 0;
}

/* The programs, in a new namespace: without connections. */
static bool afresh(struct bench *b)
{
    const struct bpf_object_open_opts options = {.sz = sizeof options, .object_name = "kernel"};
    for (size_t i = 0; i < COUNT(shared); i++)
        if (shared[i] != NULL)
            munmap(shared[i], 4096);
    shared[0] = shared[1] = NULL;
    bpf_object__close(object);
    object = NULL;
    in = 0;
    libbpf_set_print(quiet);
    if (unshare(CLONE_NEWNET) != 0) {
        bench_fail(b, "no network namespace: %s", strerror(errno));
        return false;
    }
    object = bpf_object__open_mem(kernel_bpf, (size_t)(kernel_bpf_end - kernel_bpf), &options);
    if (object != NULL && bpf_object__load(object) == 0)
        return true;
    bench_fail(b, "the kernel does not take the programs: %s", strerror(errno));
    bpf_object__close(object);
    object = NULL;
    return false;
}

/* Has a program run so many times; returns for how many it did what it should. */
static uint64_t run_program(const char *name, uint32_t first, uint32_t flows, uint32_t count)
{
    uint8_t packet[64] = {0};
    const struct bpf_program *program = bpf_object__find_program_by_name(object, name);
    uint64_t *done = global(".bss", "done");
    *(uint32_t *)global(".bss", "first") = first;
    *(uint32_t *)global(".bss", "turn") = 0;
    *(uint32_t *)global(".data", "flows") = flows;
    *done = 0;
    struct bpf_test_run_opts options = {.sz = sizeof options,
                                        .data_in = packet,
                                        .data_size_in = sizeof packet,
                                        .repeat = (int)count};
    return bpf_prog_test_run_opts(bpf_program__fd(program), &options) == 0 ? *done : 0;
}

enum what { HIT, MISS, NEW, NOTHING };
static const struct {
    const char *subject, *what, *program;
} names[] = {[HIT] = {"lookup", "hit-v4", "find"},
             [MISS] = {"lookup", "miss-v4", "find"},
             [NEW] = {"insert", "v4", "make"},
             [NOTHING] = {"lookup", "nothing-v4", "nothing"}};

struct kernel {
    uint32_t size;
    enum what what;
};

static void run(struct bench *b, const void *argument)
{
    const struct kernel *c = argument;
    const uint32_t count = ROUND < c->size ? ROUND : c->size;
    const uint32_t beyond = UINT32_C(1) << 26; /* a flow that was never made */
    if ((object == NULL || c->what == NEW || in > c->size) && !afresh(b))
        return;
    if (c->what != NEW && in < c->size) {
        const uint32_t more = c->size - in;
        if (run_program("make", in, 1, more) != more) {
            bench_fail(b, "the kernel did not make %u connections: %s", c->size,
                       strerror(-*(int *)global(".bss", "error")));
            return;
        }
        in = c->size;
    }
    while (bench_next(b, count)) {
        if (c->what == NEW && in + count > c->size && !afresh(b))
            return;
        bench_start(b);
        const uint64_t good =
            run_program(names[c->what].program, c->what == NEW ? in : c->what == MISS ? beyond : 0, c->size, count);
        bench_stop(b);
        in += c->what == NEW ? count : 0;
        if (good != (c->what == MISS ? 0 : count))
            bench_fail(b, "%llu of %u worked", (unsigned long long)good, count);
    }
    bench_counter(b, "connections", in);
}

void add_kernel(void);
void add_kernel(void)
{
    uint32_t most = 0; /* that the system lets anybody have, less some for others */
    FILE *file = fopen("/proc/sys/net/netfilter/nf_conntrack_max", "r");
    if (file != NULL && fscanf(file, "%u", &most) == 1)
        most = most / 4 * 3;
    if (file != NULL)
        fclose(file);
    for (size_t s = 0; sizes[s] != 0 && sizes[s] <= most; s++)
        for (size_t i = 0; i < COUNT(names); i++) {
            struct kernel *c = malloc(sizeof *c);
            *c = (struct kernel){sizes[s], (enum what)i};
            bench_add(name_of(names[i].subject, names[i].what, sizes[s], "peer", "nf_conntrack", "single"),
                      run, c);
        }
}
