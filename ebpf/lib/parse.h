/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From a frame to a UDP datagram. Cursor style: each helper steps over one header and returns the protocol of the next,
 * or -1.
 *
 * Ports are never guessed: without a complete and plain UDP header the packet is not ours and takes its way through the
 * stack.
 */
#ifndef RTPRELAY_PARSE_H
#define RTPRELAY_PARSE_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "maps.h"

#define ETHERTYPE_QINQ 0x88a8
#define IP_FRAGMENT    0x3fff /* "more fragments" and the offset */
#define IP_OFFSET      0x1fff

struct vlan_tag {
	__be16 tci;
	__be16 next;
};

/* Endpoints are written in the words they are read in: reading back what was stored in parts stalls the processor. */
struct packet {
	struct rtprelay_endpoint local __attribute__((aligned(8))); /* where it was sent to */
	struct rtprelay_endpoint source __attribute__((aligned(8)));
	/* Offsets of the IP header and the UDP payload; in 64 bits, as the verifier keeps bounds of whole words only.
	 */
	__u64 network;
	__u64 payload;
	__u32 length; /* of the IP packet */
	__u32 payload_length;
	__u32 received; /* payload_length as it came: without SRTP the same */
	__u32 obstacle; /* why only userspace can forward it (a reason), or 0 */
	__u8 tags;
	bool v6;
};

/* Where the IP header is. On tc a constant, which the verifier knows of any packet; there are no tags before it. */
static __always_inline __u64 packet_network(const struct packet *packet)
{
	return CTX_MAX_TAGS ? packet->network : sizeof(struct ethhdr);
}

struct cursor {
	void *at;
	void *end;
};

/* The IPv4 address as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2). */
static __always_inline void address_ip4(struct rtprelay_endpoint *endpoint, const __be32 *address)
{
	__u64 *half = (__u64 *) endpoint->address;

	half[0] = 0;
	half[1] = bpf_cpu_to_be64(0xffff00000000ull | bpf_ntohl(*address));
}

static __always_inline void address_ip6(struct rtprelay_endpoint *endpoint, const struct in6_addr *address)
{
	const __u64 *from = (const __u64 *) address;
	__u64 *half = (__u64 *) endpoint->address;

	half[0] = from[0];
	half[1] = from[1];
}

/* `port`: a word that begins with it. */
static __always_inline void endpoint_port(struct rtprelay_endpoint *endpoint, __u32 port)
{
	*(__u32 *) &endpoint->port = port & bpf_htonl(0xffff0000);
}

static __always_inline bool endpoint_same(const struct rtprelay_endpoint *a, const struct rtprelay_endpoint *b)
{
	return a->port == b->port && address_same(a->address, b->address);
}

static __always_inline int parse_ethernet(struct cursor *cursor, struct packet *packet)
{
	struct ethhdr *eth = cursor->at;
	__be16 next;

	if ((void *) (eth + 1) > cursor->end)
		return -1;
	cursor->at = eth + 1;
	next = ((const __be16 *) cursor->at)[-1];
	packet->tags = 0;
	packet->network = sizeof(*eth);
#pragma unroll
	for (int i = 0; i < CTX_MAX_TAGS; i++) {
		struct vlan_tag *tag = cursor->at;

		if (likely(next != bpf_htons(ETH_P_8021Q) && next != bpf_htons(ETHERTYPE_QINQ)))
			break;
		if ((void *) (tag + 1) > cursor->end)
			return -1;
		cursor->at = tag + 1;
		next = tag->next;
		packet->tags++;
		packet->network += sizeof(*tag);
	}
	return bpf_ntohs(next);
}

static __always_inline int parse_ip4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr *ip = cursor->at;

	if ((void *) (ip + 1) > cursor->end || ip->version != 4 || ip->ihl < 5)
		return -1;
	if (unlikely(ip->frag_off & bpf_htons(IP_FRAGMENT) && ip->protocol == IPPROTO_UDP)) {
		packet->obstacle = RTPRELAY_REASON_FRAGMENT;
		if (ip->frag_off & bpf_htons(IP_OFFSET))
			return -1;
	}
	cursor->at = ip + 1;
	if (unlikely(ip->ihl > 5)) {
		packet->obstacle = RTPRELAY_REASON_IP_OPTIONS;
		cursor->at += (ip->ihl - 5) * 4;
	}
	packet->payload = packet->network + ip->ihl * 4;
	packet->v6 = false;
	packet->length = bpf_ntohs(ip->tot_len);
	address_ip4(&packet->source, &ip->saddr);
	address_ip4(&packet->local, &ip->daddr);
	return ip->protocol;
}

static __always_inline int parse_ip6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6hdr *ip = cursor->at;

	if ((void *) (ip + 1) > cursor->end || ip->version != 6)
		return -1;
	cursor->at = ip + 1;
	packet->payload = packet->network + sizeof(*ip);
	packet->v6 = true;
	packet->length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	address_ip6(&packet->source, &ip->saddr);
	address_ip6(&packet->local, &ip->daddr);
	if (unlikely(ip->nexthdr == IPPROTO_HOPOPTS || ip->nexthdr == IPPROTO_ROUTING ||
		     ip->nexthdr == IPPROTO_FRAGMENT || ip->nexthdr == IPPROTO_DSTOPTS))
		packet->obstacle = RTPRELAY_REASON_EXTENSION_HEADER;
	return ip->nexthdr;
}

static __always_inline int parse_udp(struct cursor *cursor, struct packet *packet)
{
	struct udphdr *udp = cursor->at;
	__u32 length, ports;

	if ((void *) (udp + 1) > cursor->end)
		return -1;
	cursor->at = udp + 1;
	length = bpf_ntohs(udp->len);
	/* No one can be answered at port 0, and an all-zero source would equal "no endpoint". */
	if (!udp->source || length < sizeof(*udp))
		return -1;
	ports = *(__u32 *) udp;
	endpoint_port(&packet->source, ports);
	endpoint_port(&packet->local, bpf_htonl(bpf_ntohl(ports) << 16));
	packet->payload += sizeof(*udp);
	packet->payload_length = length - sizeof(*udp);
	packet->received = packet->payload_length;
	return 0;
}

/* The UDP header of a packet without obstacles, null where it is not in reach. */
static __always_inline struct udphdr *udp_of(const ctx_t *ctx, const struct packet *packet)
{
	void *network = ctx_start(ctx) + packet_network(packet);
	struct udphdr *udp = network + (packet->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

	return (void *) (udp + 1) <= ctx_end(ctx) ? udp : NULL;
}

/* A length that promises more than is there: the stack will throw it away. */
static __always_inline bool truncated(const ctx_t *ctx, const struct packet *packet)
{
	__u32 headers = sizeof(struct udphdr) + (packet->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

	if (unlikely(packet->obstacle))
		return false;
	return headers + packet->payload_length > packet->length || packet->network + packet->length > ctx_length(ctx);
}

/* False: not UDP that we could have a flow for. An obstacle may be set all the same. */
static __always_inline bool parse(const ctx_t *ctx, struct packet *packet)
{
	struct cursor cursor = { .at = ctx_start(ctx), .end = ctx_end(ctx) };
	int protocol;

	packet->obstacle = 0;
	switch (parse_ethernet(&cursor, packet)) {
	case ETH_P_IP:
		protocol = parse_ip4(&cursor, packet);
		break;
	case ETH_P_IPV6:
		protocol = parse_ip6(&cursor, packet);
		break;
	default:
		return false;
	}
	return protocol == IPPROTO_UDP && parse_udp(&cursor, packet) == 0 && !truncated(ctx, packet);
}

#endif
