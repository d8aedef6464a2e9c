/* SPDX-License-Identifier: GPL-2.0 */
/* Make the payload of a packet longer or shorter: its frame, the lengths in its headers, its checksums. */
#ifndef RTPRELAY_RESIZE_H
#define RTPRELAY_RESIZE_H

#include "output.h"

#define RESIZE_MAX_OFFSET 64 /* of the IP header */

/* What of struct packet that takes. */
struct extent {
	__u64 network;
	__u64 payload;
	__u32 length;
	__u32 payload_length;
	__u32 v6;
	__u32 change; /* of the payload's sum, not yet in the checksum */
};

static __always_inline void measure(struct extent *extent, const struct packet *packet)
{
	extent->network = packet->network;
	extent->payload = packet->payload;
	extent->length = packet->length;
	extent->payload_length = packet->payload_length;
	extent->v6 = packet->v6;
	extent->change = 0;
}

static __always_inline void resized(struct packet *packet, const struct extent *extent)
{
	packet->length = extent->length;
	packet->payload_length = extent->payload_length;
}

static __always_inline void write_half(__be16 *at, __be16 to, __u64 *change)
{
	*change += (__u16) ~*at + to;
	*at = to;
}

/* For each family on its own, so that the verifier sees headers of a constant size. */
static __always_inline bool write_lengths(ctx_t *ctx, const struct extent *extent, __u64 at, const bool v6)
{
	void *network = ctx_start(ctx) + at;
	struct udphdr *udp = network + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__be16 length = bpf_htons(extent->payload_length + sizeof(*udp));
	struct csum_change change = { .payload = extent->change };
	__u64 rest = 0;

	if ((void *) (udp + 1) > ctx_end(ctx))
		return false;
	if (v6) {
		struct ipv6hdr *ip = network;

		write_half(&ip->payload_len, length, &change.header);
	} else {
		struct iphdr *ip = network;

		write_half(&ip->tot_len, bpf_htons(extent->length), &rest);
		ip->check = csum_adapt(ip->check, rest);
	}
	/* It stands in the pseudo-header, and in the header itself. */
	change.addresses += (__u16) ~udp->len + length;
	write_half(&udp->len, length, &change.payload);
	ctx_adapt_checksum(ctx, (void *) &udp->check - ctx_start(ctx), &udp->check, &change);
	return true;
}

/*
 * Bytes that are to be cut off have to be taken away in extent->change; those that are added count as zero. False: the
 * frame cannot become that long. Pointers into the packet are invalid afterwards. (Global: verified once, for all
 * callers.)
 */
__noinline int resize(ctx_t *ctx, struct extent *extent, __u32 payload_length)
{
	__u64 network;
	bool written;

	if (!extent)
		return false;
	network = extent->network;

	/* The value that is checked has to be the one that is used: keep it. */
	barrier_var(network);
	if (network > RESIZE_MAX_OFFSET)
		return false;
	extent->length += payload_length - extent->payload_length;
	extent->payload_length = payload_length;
	if (!ctx_resize(ctx, network + extent->length))
		return false;
	written = extent->v6 ? write_lengths(ctx, extent, network, true) : write_lengths(ctx, extent, network, false);
	extent->change = 0;
	return written;
}

#endif
