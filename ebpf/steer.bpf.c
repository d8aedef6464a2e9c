// SPDX-License-Identifier: GPL-2.0
/*
 * Media ports without sockets: what comes up to a port that the daemon holds goes to one of a few sockets of its own.
 *
 * The kernel asks here for each datagram that no connected socket takes (inet_lookup_run_sk_lookup), and so does
 * bpf_sk_lookup_udp in relay_tc. A port is held by a bit; which socket serves it follows from its number, so that
 * what floods one port fills the queue of few others.
 */
#include "bpf.h"

#define FAMILY_IP6 10 /* AF_INET6 */

/* The daemon's addresses, numbered. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RTPRELAY_MAX_CHAIN);
	__type(key, struct rtprelay_steer_address);
	__type(value, __u32);
} rtprelay_homes SEC(".maps");

/* By number of the address. Written through memory, bit by bit. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RTPRELAY_MAX_CHAIN);
	__type(key, __u32);
	__type(value, struct rtprelay_steer_held);
} rtprelay_held SEC(".maps");

/* The sockets: those for IPv4, then those for IPv6. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2 * RTPRELAY_STEER_QUEUES);
	__type(key, __u32);
	__type(value, __u64);
} rtprelay_queues SEC(".maps");

static __always_inline bool held(struct bpf_sk_lookup *ctx)
{
	/* What is not of this family is zero. */
	struct rtprelay_steer_address local = {
		.words = { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] },
	};
	struct rtprelay_steer_held *ports;
	__u32 port = ctx->local_port & 0xffff, *home;

	if (ctx->family != FAMILY_IP6) {
		local.words[2] = bpf_htonl(0xffff);
		local.words[3] = ctx->local_ip4;
	}
	home = bpf_map_lookup_elem(&rtprelay_homes, &local);
	ports = home ? bpf_map_lookup_elem(&rtprelay_held, home) : NULL;
	return ports && ports->bits[port / 8] >> port % 8 & 1;
}

SEC("sk_lookup")
int rtprelay_steer(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sock;
	__u32 queue;

	if (ctx->protocol != IPPROTO_UDP || !held(ctx))
		return SK_PASS;
	queue = ctx->local_port % RTPRELAY_STEER_QUEUES + (ctx->family == FAMILY_IP6 ? RTPRELAY_STEER_QUEUES : 0);
	sock = bpf_map_lookup_elem(&rtprelay_queues, &queue);
	if (!sock)
		return SK_PASS;
	/* It is this socket that is meant, not whichever of its SO_REUSEPORT group. */
	bpf_sk_assign(ctx, sock, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sock);
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
