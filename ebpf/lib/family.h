/* SPDX-License-Identifier: GPL-2.0 */
/* tc only: carry a datagram over from IPv4 to IPv6 and back. The header changes its size: never so in XDP here. */
#ifndef RTPRELAY_FAMILY_H
#define RTPRELAY_FAMILY_H

#include "output.h"

#define IP_DONT_FRAGMENT 0x4000

static __always_inline __u64 sum_address(const __u8 *address, bool v6)
{
	__u64 sum = address_word(address, 3);

	if (v6)
		sum += (__u64) address_word(address, 0) + address_word(address, 1) + address_word(address, 2);
	return sum;
}

static __always_inline void fresh_ip4(struct iphdr *ip, const struct packet *packet,
				      const struct rtprelay_output *output)
{
	__u32 *word = (__u32 *) ip;

	word[0] = bpf_htonl(0x45000000 | (__u32) output->tos << 16 | packet->length);
	word[1] = bpf_htonl(IP_DONT_FRAGMENT);
	word[2] = bpf_htonl(RTPRELAY_TTL << 24 | IPPROTO_UDP << 16);
	word[3] = address_word(output->source, 3);
	word[4] = address_word(output->destination, 3);
	ip->check = ~csum_fold16((__u64) word[0] + word[1] + word[2] + word[3] + word[4]);
}

static __always_inline void fresh_ip6(struct ipv6hdr *ip, const struct packet *packet,
				      const struct rtprelay_output *output)
{
	__u32 *word = (__u32 *) ip;

	word[0] = bpf_htonl(6u << 28 | (__u32) output->tos << 20);
	word[1] = bpf_htonl((packet->length - sizeof(*ip)) << 16 | IPPROTO_UDP << 8 | RTPRELAY_TTL);
	__builtin_memcpy(&ip->saddr, output->source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, output->destination, sizeof(ip->daddr));
}

static __always_inline bool has_checksum(const struct __sk_buff *skb, const struct packet *packet)
{
	const struct udphdr *udp = udp_of(skb, packet);

	return udp && udp->check;
}

/* To one family at a time, so that the verifier sees headers of a constant size. */
static __always_inline bool change_family_to(struct __sk_buff *skb, struct packet *packet,
					     const struct rtprelay_output *output, const bool v6)
{
	const int growth = sizeof(struct ipv6hdr) - sizeof(struct iphdr);
	const __u64 headers = sizeof(struct ethhdr) + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	const __u32 check = headers + offsetof(struct udphdr, check);
	struct ethhdr *eth;
	__u64 old;

	/* What the checksum holds now are the addresses in the packet, which may be another output's. */
	old = sum_address(packet->source.address, !v6) + sum_address(packet->local.address, !v6);
	if (bpf_skb_change_proto(skb, v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP), 0))
		return false;
	packet->v6 = v6;
	packet->length += v6 ? growth : -growth;
	packet->payload += v6 ? growth : -growth;
	ctx_pull(skb, headers + sizeof(struct udphdr) + sizeof(struct rtp_header));
	eth = ctx_start(skb);
	if ((void *) eth + headers + sizeof(struct udphdr) > ctx_end(skb))
		return false;
	eth->h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (v6)
		fresh_ip6((struct ipv6hdr *) (eth + 1), packet, output);
	else
		fresh_ip4((struct iphdr *) (eth + 1), packet, output);
	bpf_l4_csum_replace(skb, check, csum_fold32(old),
			    csum_fold32(sum_address(output->source, v6) + sum_address(output->destination, v6)),
			    BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | sizeof(__u32));
	return true;
}

/*
 * Give the packet the other family, with this output's addresses; `packet` follows. Of the pseudo-header only the
 * addresses differ between the families: length and protocol add up to the same. IPv6 cannot do without a checksum (RFC
 * 8200 section 8.1).
 */
static __always_inline bool change_family(struct __sk_buff *skb, struct packet *packet,
					  const struct rtprelay_output *output)
{
	if (packet->v6)
		return change_family_to(skb, packet, output, false);
	return has_checksum(skb, packet) && change_family_to(skb, packet, output, true);
}

#endif
