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
#include <linux/pkt_cls.h>

/* Replace the VLAN tags the packet came with by the output's. */
static __always_inline bool set_tags(struct __sk_buff *skb, const struct rtprelay_output *output)
{
	if (unlikely(skb->vlan_present) && bpf_skb_vlan_pop(skb))
		return false;
	if (unlikely(skb->vlan_present) && bpf_skb_vlan_pop(skb))
		return false;
	if (unlikely(output->vlan[1]) && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), bpf_ntohs(output->vlan[1])))
		return false;
	if (unlikely(output->vlan[0]) &&
	    bpf_skb_vlan_push(skb, output->vlan[1] ? bpf_htons(ETHERTYPE_QINQ) : bpf_htons(ETH_P_8021Q),
			      bpf_ntohs(output->vlan[0])))
		return false;
	return true;
}

/* Functions of their own, for the stack of 512 bytes: callers and callbacks share it. */

/* The packet for this output of its family, payload as it is. */
static __noinline bool write_addresses(struct __sk_buff *skb, const struct packet *packet,
				       const struct rtprelay_output *output)
{
	return output_write(skb, packet, output, NULL);
}

/* Make the packet the one that leaves by this output; `packet` follows. `rtp` is its RTP header as received. */
static __noinline __attribute__((nonnull)) bool prepare(struct __sk_buff *skb, struct packet *packet,
							const struct rtprelay_output *output,
							const struct rtp_header *rtp)
{
	if (unlikely(address_is_ip6(output->destination) != packet->v6) && !change_family(skb, packet, output))
		return false;
	if (!output_write(skb, packet, output, rtp))
		return false;
	__builtin_memcpy(packet->source.address, output->source, sizeof(output->source));
	__builtin_memcpy(packet->local.address, output->destination, sizeof(output->destination));
	return set_tags(skb, output);
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
