/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tc only: send a packet, or a copy of it, by an output that is
 *
 * - LOCAL, a socket of this host: in at the loopback device, or simply on up the stack where that is where we are. The
 *   MAC addresses must be zero, or the stack takes the packet for somebody else's;
 * - READY: straight to the device, next hop known;
 * - neither: the kernel resolves the next hop (bpf_redirect_neigh), so that not even a first packet needs userspace. It
 *   cannot be done for a copy: bpf_clone_redirect has no such form.
 */
#ifndef RTPRELAY_TRANSMIT_H
#define RTPRELAY_TRANSMIT_H

#include "family.h"
#include "secure.h"
#include <linux/pkt_cls.h>

/* VLAN tags: global functions, so that the verifier does not follow each of their paths any further. */

/* Take off those the packet came with, or has been given. */
__noinline int pop_tags(struct __sk_buff *skb)
{
	if (unlikely(skb->vlan_present) && bpf_skb_vlan_pop(skb))
		return false;
	return likely(!skb->vlan_present) || bpf_skb_vlan_pop(skb) == 0;
}

/* Put on those of an output that has some. */
__noinline int push_tags(struct __sk_buff *skb, __u32 index, __u32 tags)
{
	const struct rtprelay_wrap *wrap = wrap_at(index);

	if (!wrap)
		return false;
	if (tags > 1 && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), bpf_ntohs(wrap->vlan[1])))
		return false;
	return bpf_skb_vlan_push(skb, tags > 1 ? bpf_htons(ETHERTYPE_QINQ) : bpf_htons(ETH_P_8021Q),
				 bpf_ntohs(wrap->vlan[0])) == 0;
}

/* Functions of their own, for the stack of 512 bytes: callers and callbacks share it. */

/* The packet for this output of its family, payload as it is. */
static __noinline bool write_addresses(struct __sk_buff *skb, const struct packet *packet,
				       const struct rtprelay_output *output)
{
	return output_write(skb, packet, output, NULL);
}

/* What it takes to make the payload of a packet what it was. */
struct undo {
	__u64 index;
	__u32 length;
	__u32 change;
};

/* Global functions, so that the verifier walks each once. */

__noinline int take_family(struct __sk_buff *skb, struct packet *packet, const struct rtprelay_output *output)
{
	return packet && output && change_family(skb, packet, output);
}

/* `packet` follows. */
__noinline int write_headers(struct __sk_buff *skb, struct packet *packet, const struct rtprelay_output *output,
			     const struct rtp_header *rtp)
{
	if (!packet || !output || !rtp || !output_write(skb, packet, output, rtp))
		return false;
	__builtin_memcpy(packet->source.address, output->source, sizeof(output->source));
	__builtin_memcpy(packet->local.address, output->destination, sizeof(output->destination));
	return true;
}

/* As SRTP. */
static __always_inline enum rtprelay_reason write_secured(struct __sk_buff *skb, struct packet *packet, __u32 index,
							  const struct rtprelay_output *output,
							  const struct rtp_header *rtp, struct undo *undo)
{
	struct secured *secured = secure(packet);
	__u32 key = output_key(index);
	enum rtprelay_reason reason;

	if (!secured)
		return RTPRELAY_REASON_SEND_FAILED;
	secured->rtp = *rtp;
	reason = secure_begin(skb, secured, output, key);
	resized(packet, &secured->extent);
	if (!reason && !write_headers(skb, packet, output, &secured->rtp))
		reason = RTPRELAY_REASON_SEND_FAILED;
	if (!reason)
		reason = secure_finish(skb, secured, key);
	undo->index = secured->index;
	undo->length = secured->length;
	undo->change = secured->change;
	return reason;
}

/*
 * Make the packet the one that leaves by this output; `packet` follows. `rtp` is its RTP header as received. 0, or why
 * it cannot be sent; `undo` is filled in where the output has a key.
 */
static __always_inline enum rtprelay_reason write(struct __sk_buff *skb, struct packet *packet, __u32 index,
						  const struct rtprelay_output *output, const struct rtp_header *rtp,
						  struct undo *undo)
{
	enum rtprelay_reason reason = 0;

	undo->length = packet->payload_length;
	undo->change = 0;
	if (unlikely(skb->vlan_present) && !pop_tags(skb))
		return RTPRELAY_REASON_SEND_FAILED;
	if (unlikely(output_is_ip6(output) != packet->v6) && !take_family(skb, packet, output))
		return RTPRELAY_REASON_SEND_FAILED;
	if (output->flags & RTPRELAY_OUTPUT_SRTP)
		reason = write_secured(skb, packet, index, output, rtp, undo);
	else if (!write_headers(skb, packet, output, rtp))
		reason = RTPRELAY_REASON_SEND_FAILED;
	if (!reason && unlikely(output_tags(output)) && !push_tags(skb, index, output_tags(output)))
		reason = RTPRELAY_REASON_SEND_FAILED;
	return reason;
}

/* After a copy has been sent under a key: make the payload what it was, for the next one; `packet` follows. */
__noinline int restore(struct __sk_buff *skb, struct packet *packet, __u32 key_index, const struct undo *undo)
{
	const struct rtprelay_srtp_key *key = srtp_key_at(key_index);
	struct srtp_scratch *scratch = srtp_scratch();
	struct secured *secured;
	bool done;

	if (!packet || !undo || !key || !scratch || (unlikely(skb->vlan_present) && !pop_tags(skb)))
		return false;
	secured = secure(packet);
	if (!secured)
		return false;
	if (undo->change) {
		if (!srtp_parse(skb, scratch, packet->payload, packet->payload_length, srtp_trailer_length(key)))
			return false;
		scratch->packet.index = undo->index;
		srtp_revert(skb, scratch, key);
		secured->extent.change = ~undo->change;
	}
	done = resize(skb, &secured->extent, undo->length);
	resized(packet, &secured->extent);
	return done;
}

/* The packet itself goes; the verdict. One that has changed its family must not keep its route: it starts anew. */
static __always_inline int send(struct __sk_buff *skb, const struct rtprelay_output *output, bool same_family)
{
	if (output->flags & RTPRELAY_OUTPUT_LOCAL) {
		if (skb->ifindex == output->ifindex && same_family)
			return TC_ACT_OK;
		return bpf_redirect(output->ifindex, BPF_F_INGRESS);
	}
	if (likely(output->flags & RTPRELAY_OUTPUT_READY))
		return bpf_redirect(output->ifindex, 0);
	return bpf_redirect_neigh(output->ifindex, NULL, 0, 0);
}

static __always_inline bool can_send_copy(const struct rtprelay_output *output)
{
	return output->flags & (RTPRELAY_OUTPUT_READY | RTPRELAY_OUTPUT_LOCAL);
}

static __always_inline bool send_copy(struct __sk_buff *skb, const struct rtprelay_output *output)
{
	return bpf_clone_redirect(skb, output->ifindex, output->flags & RTPRELAY_OUTPUT_LOCAL ? BPF_F_INGRESS : 0) == 0;
}

#endif
