/* SPDX-License-Identifier: MIT */
/* bench/kernel.bpf.c - programs that have the running kernel's connection tracker make and find UDP
 * connections, one of so many a run; and one that does all but ask. Run by peer_kernel.c. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* What the kernel calls these; their content is its own. */
struct nf_conn {
    long unused;
} __attribute__((preserve_access_index));
struct nf_conn___init {
    long unused;
} __attribute__((preserve_access_index));
struct bpf_ct_opts {
    int netns_id, error;
    __u8 l4proto, dir, reserved[2];
};

struct nf_conn___init *bpf_xdp_ct_alloc(struct xdp_md *xdp, struct bpf_sock_tuple *tuple, __u32 size,
                                        struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *xdp, struct bpf_sock_tuple *tuple, __u32 size,
                                  struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *entry) __ksym;
void bpf_ct_set_timeout(struct nf_conn___init *entry, __u32 timeout_ms) __ksym;
void bpf_ct_release(struct nf_conn *entry) __ksym;

__u32 first = 0; /* number of the first flow asked for */
__u32 flows = 1; /* a power of two */
__u32 turn = 0;
__u64 state = 1;
__u64 done = 0;  /* that worked */
int error = 0;   /* of the last that did not be made */

/* The tuple of a flow, scattered by a bijection. */
static void tuple_of(struct bpf_sock_tuple *tuple, __u32 flow)
{
    __u32 who = flow * 2654435769U;
    who = (who ^ who >> 15) * 2246822519U;
    who ^= who >> 13;
    tuple->ipv4.saddr = 0x0a | (who & 0xffffff) << 8;
    tuple->ipv4.daddr = 0x12c6 | who >> 24 << 24;
    tuple->ipv4.sport = (__u16)(1024 + (who & 0x7fff));
    tuple->ipv4.dport = 443;
}

static __u32 any(void)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return first + ((__u32)(state >> 33) & (flows - 1));
}

#define OPTS {.netns_id = -1, .l4proto = 17}

SEC("xdp")
int make(struct xdp_md *xdp)
{
    struct bpf_sock_tuple tuple = {};
    struct bpf_ct_opts opts = OPTS;
    tuple_of(&tuple, first + turn++);
    struct nf_conn___init *fresh = bpf_xdp_ct_alloc(xdp, &tuple, sizeof tuple.ipv4, &opts, sizeof opts);
    if (!fresh) {
        error = opts.error;
        return XDP_DROP;
    }
    bpf_ct_set_timeout(fresh, 3600 * 1000);
    struct nf_conn *entry = bpf_ct_insert_entry(fresh);
    if (!entry)
        return XDP_DROP;
    bpf_ct_release(entry);
    done++;
    return XDP_DROP;
}

SEC("xdp")
int find(struct xdp_md *xdp)
{
    struct bpf_sock_tuple tuple = {};
    struct bpf_ct_opts opts = OPTS;
    tuple_of(&tuple, any());
    struct nf_conn *entry = bpf_xdp_ct_lookup(xdp, &tuple, sizeof tuple.ipv4, &opts, sizeof opts);
    if (!entry)
        return XDP_DROP;
    bpf_ct_release(entry);
    done++;
    return XDP_DROP;
}

SEC("xdp")
int nothing(struct xdp_md *xdp)
{
    struct bpf_sock_tuple tuple = {};
    (void)xdp;
    tuple_of(&tuple, any());
    done += tuple.ipv4.dport == 443;
    return XDP_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL";
