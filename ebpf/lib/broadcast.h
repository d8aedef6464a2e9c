/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fan-out in XDP: bpf_redirect_map(group, BPF_F_BROADCAST) makes the copies, relay_egress makes each copy a different
 * packet.
 *
 * The kernel runs one program for all frames that a device's bulk queue holds when it is flushed, whatever devmap entry
 * they came by (measured: of two entries on one device the second one's program never ran). So one program serves every
 * entry, and it has to find out by itself which copy it has in hand. The ingress program writes {outputs, serial} into
 * the MAC addresses, which are rewritten anyway (metadata in front of the frame is not supported by every driver), and
 * what it has parsed. The copies of one serial pass a device one directly after the other: the n-th of them is for the
 * n-th output on this device.
 *
 * For the same reason a packet with a single output must not be sent by bpf_redirect(): enqueued first, without a
 * program, it would make the copies behind it leave as they are; enqueued behind them, it would pass the egress
 * program. So it goes by a devmap as well (rtprelay_devices, same program), and what the egress program has to write is
 * told from what is written already by the first byte: a group address, which is nobody's next hop.
 *
 * Counting by device, not by CPU alone, because devices are flushed one after the other: with entries A B A B the
 * copies come as A A B B. Copies of one packet on one device are all alike, so whether a copy was "meant" for another
 * output does not matter; no output gets a second one, because the cursor only moves forward.
 *
 * So a group is a bag of devices, its order means nothing, and flows share it that have as many outputs on each device.
 * What userspace has to keep: at any time at least as many entries for a device as outputs that name it. Too many: the
 * surplus copies end here. Too few: the last outputs of that device miss a packet. An output becomes a hole by losing
 * PRESENT alone: entry and ifindex may stay until somebody else needs the place.
 */
#ifndef RTPRELAY_BROADCAST_H
#define RTPRELAY_BROADCAST_H

#include "output.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_DEVMAP);
			__uint(max_entries, RTPRELAY_MAX_OUTPUTS);
			__uint(key_size, sizeof(__u32));
			__uint(value_size, sizeof(struct rtprelay_group_entry));
		});
} rtprelay_groups SEC(".maps");

/* Each device that XDP sends to, by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 256);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct rtprelay_group_entry));
} rtprelay_devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} rtprelay_serial SEC(".maps");

#define NEAR_CURSORS 256

struct cursor_state {
	__u32 ifindex; /* 0: nobody's */
	__u32 serial;
	__u32 next; /* position within the group */
};

/*
 * Whoever comes first has the place of its ifindex, for good: it must not lose its position to another device. The
 * others go by hash, which takes ten times as long.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NEAR_CURSORS);
	__type(key, __u32);
	__type(value, struct cursor_state);
} rtprelay_cursor SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32); /* ifindex */
	__type(value, struct cursor_state);
} rtprelay_far_cursor SEC(".maps");

/* What the MAC addresses of a copy hold on its way from ingress to egress. */
struct carried {
	__u8 mark; /* CARRIED */
	__u8 form; /* of the packet: output_form */
	__u16 output_count;
	__u32 output_base;
	__u32 serial;
};

#define CARRIED	      0xff
#define GROUP_ADDRESS 1 /* in the first byte of a destination MAC address */

_Static_assert(sizeof(struct carried) == 2 * ETH_ALEN, "carried in two MAC addresses");

static __always_inline int broadcast(ctx_t *ctx, const struct packet *packet, const struct rtprelay_flow *flow)
{
	void *group = bpf_map_lookup_elem(&rtprelay_groups, &(__u32){ flow->group });
	__u32 *serial = bpf_map_lookup_elem(&rtprelay_serial, &(__u32){ 0 });
	struct carried *carried = ctx_start(ctx);

	if (!group || !serial || (void *) (carried + 1) > ctx_end(ctx))
		return XDP_ABORTED;
	carried->mark = CARRIED;
	carried->form = output_form(packet);
	carried->output_count = flow->output_count;
	carried->output_base = flow->output_base;
	carried->serial = ++*serial;
	return bpf_redirect_map(group, 0, BPF_F_BROADCAST);
}

/* What a copy carries. Null: the packet of a single output, written already. */
static __always_inline const struct carried *carried_by(const ctx_t *ctx)
{
	const struct carried *carried = ctx_start(ctx);

	return (void *) (carried + 1) <= ctx_end(ctx) && carried->mark & GROUP_ADDRESS ? carried : NULL;
}

static __always_inline struct cursor_state *cursor_of(__u32 ifindex)
{
	struct cursor_state *cursor = bpf_map_lookup_elem(&rtprelay_cursor, &(__u32){ ifindex % NEAR_CURSORS });

	if (likely(cursor && cursor->ifindex == ifindex))
		return cursor;
	if (cursor && !cursor->ifindex) {
		cursor->ifindex = ifindex;
		return cursor;
	}
	cursor = bpf_map_lookup_elem(&rtprelay_far_cursor, &ifindex);
	if (likely(cursor))
		return cursor;
	bpf_map_update_elem(&rtprelay_far_cursor, &ifindex, &(struct cursor_state){ .ifindex = ifindex }, BPF_NOEXIST);
	return bpf_map_lookup_elem(&rtprelay_far_cursor, &ifindex);
}

/*
 * The packet without tags that a copy is of, as far as it takes to write it as plain RTP: ingress has parsed it, and
 * taken none that is not what it says. False: it is not as long as it was.
 */
static __always_inline bool copied_packet(const ctx_t *ctx, struct packet *packet, const bool v6)
{
	const struct udphdr *udp;

	packet->tags = 0;
	packet->v6 = v6;
	packet->network = sizeof(struct ethhdr);
	packet->payload = packet->network + sizeof(*udp) + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	udp = udp_of(ctx, packet);
	if (!udp)
		return false;
	packet->payload_length = bpf_ntohs(udp->len) - sizeof(*udp);
	return true;
}

/* Which output this copy is for; null: none is left. */
static __always_inline struct rtprelay_output *broadcast_output(ctx_t *ctx, const struct carried *carried, __u32 *index)
{
	__u32 ifindex = ctx->egress_ifindex;
	struct rtprelay_output *output;
	struct cursor_state *cursor;
	__u32 base, next, count;

	cursor = cursor_of(ifindex);
	if (!cursor)
		return NULL;
	next = cursor->serial == carried->serial ? cursor->next : 0;
	cursor->serial = carried->serial;
	base = carried->output_base;
	count = carried->output_count;
	for (int i = 0; i < RTPRELAY_MAX_OUTPUTS && next < count; i++) {
		*index = base + next++;
		output = output_at(*index);
		if (output && likely(output->ifindex == ifindex)) {
			if (next < count)
				fetch_output(base + next);
			cursor->next = next;
			return output;
		}
	}
	cursor->next = count;
	return NULL;
}

#endif
