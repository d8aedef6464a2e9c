/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Outputs: what a copy of a packet looks like when it leaves.
 *
 * Every value written is absolute, and checksums are adapted to the difference from what stood there. So the same
 * packet can be written for one output after the other, and written back.
 */
#ifndef RTPRELAY_OUTPUT_H
#define RTPRELAY_OUTPUT_H

#include "count.h"
#include "demux.h"
#include "maps.h"

static __always_inline __u8 form_tags(__u8 form)
{
	return form >> RTPRELAY_TAGS_SHIFT;
}

static __always_inline __u8 output_tags(const struct rtprelay_output *output)
{
	return form_tags(output->flags);
}

#define OUTPUT_FORM (RTPRELAY_OUTPUT_PRESENT | RTPRELAY_OUTPUT_READY)

/*
 * What XDP can send a packet by as it stands: the flags of an output are this, and nothing else but SSRC and what is
 * made on the way. The headers stay where they are, so family and number of tags have to match.
 */
static __always_inline __u8 output_form(const struct packet *packet)
{
	return OUTPUT_FORM | (packet->v6 ? RTPRELAY_OUTPUT_IP6 : 0) | packet->tags << RTPRELAY_TAGS_SHIFT;
}

/* Whether an output has that form; `secured`: it may have a key. */
static __always_inline bool output_has_form(const struct rtprelay_output *output, __u8 form, const bool secured)
{
	const __u8 others = RTPRELAY_OUTPUT_SSRC | (secured ? RTPRELAY_OUTPUT_SRTP : 0);

	return (output->flags & (__u8) ~others) == form;
}

/* The key of an output that has one. */
static __always_inline __u32 output_key(__u32 index)
{
	const struct rtprelay_wrap *wrap = wrap_at(index);

	return wrap ? wrap->srtp_out : RTPRELAY_NONE;
}

static __always_inline void output_failed(__u32 index)
{
	__u64 *sum = unsent_at(index);

	if (sum)
		*sum += 1;
}

static __always_inline void output_sent(__u32 index, const struct packet *packet, bool sent)
{
	struct rtprelay_sent *sum;

	if (unlikely(!sent)) {
		output_failed(index);
		return;
	}
	sum = sent_at(index);
	if (!sum)
		return;
	sum->packets++;
	sum->bytes += packet->payload_length;
}

static __always_inline void write_link(struct ethhdr *eth, const struct rtprelay_output *output)
{
	const __u32 *addresses = (const __u32 *) output->destination_mac;
	__u32 *word = (__u32 *) eth;

	/* Both addresses follow each other here and there. */
	word[0] = addresses[0];
	word[1] = addresses[1];
	word[2] = addresses[2];
}

/* Put `to` in place of a word, and note the change. */
static __always_inline void write_word(void *at, __u32 to, __u64 *change)
{
	*change += csum_diff32(*(__u32 *) at, to);
	*(__u32 *) at = to;
}

/*
 * A relay is an endpoint of two sessions: TTL and TOS are its own, the same whether kernel or userspace sends. Packet
 * identity, length and "don't fragment" are the datagram's and stay. The header checksum is adapted, not made anew: XDP
 * comes before the stack has checked it, and a damaged header must not leave with a good checksum.
 */
static __always_inline void write_ip4(struct iphdr *ip, const struct rtprelay_output *output,
				      struct csum_change *change)
{
	__u64 rest = 0;
	__u32 *word = (__u32 *) ip;
	__u32 first = (word[0] & ~bpf_htonl(0x00ff0000)) | bpf_htonl((__u32) output->tos << 16);
	__u32 third = (word[2] & ~bpf_htonl(0xff000000)) | bpf_htonl((__u32) RTPRELAY_TTL << 24);

	write_word(&word[0], first, &rest);
	write_word(&word[2], third, &rest);
	write_word(&word[3], address_word(output->source, 3), &change->addresses);
	write_word(&word[4], address_word(output->destination, 3), &change->addresses);
	ip->check = csum_adapt(ip->check, rest + change->addresses);
}

static __always_inline void write_ip6(struct ipv6hdr *ip, const struct rtprelay_output *output,
				      struct csum_change *change)
{
	__u64 rest = 0;
	__u32 *word = (__u32 *) ip;
	__u32 second = (word[1] & ~bpf_htonl(0xff)) | bpf_htonl(RTPRELAY_TTL);

	write_word(&word[0], bpf_htonl(6u << 28 | (__u32) output->tos << 20), &rest);
	write_word(&word[1], second, &rest);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		write_word(&word[2 + i], address_word(output->source, i), &change->addresses);
		write_word(&word[6 + i], address_word(output->destination, i), &change->addresses);
	}
	change->header = rest + change->addresses;
}

/* `from` is the header as it was received. */
static __always_inline void write_rtp(struct rtp_header *rtp, const struct rtp_header *from,
				      const struct rtprelay_output *output, struct csum_change *change)
{
	__u16 sequence = bpf_ntohs(from->sequence) + output->sequence_offset;
	__u32 timestamp = bpf_ntohl(from->timestamp) + output->timestamp_offset;
	__u32 *word = (__u32 *) rtp;

	write_word(&word[0], (word[0] & bpf_htonl(0xffff0000)) | bpf_htonl(sequence), &change->payload);
	write_word(&word[1], bpf_htonl(timestamp), &change->payload);
	if (output->flags & RTPRELAY_OUTPUT_SSRC)
		write_word(&word[2], bpf_htonl(output->ssrc), &change->payload);
	else
		write_word(&word[2], from->ssrc, &change->payload);
}

/* For each family on its own, so that the verifier sees headers of a constant size. */
static __always_inline bool output_write_family(ctx_t *ctx, const struct packet *packet,
						const struct rtprelay_output *output, const struct rtp_header *rtp,
						const bool v6)
{
	struct csum_change change = {};
	struct ethhdr *eth = ctx_start(ctx);
	void *network = ctx_start(ctx) + packet_network(packet);
	struct udphdr *udp = network + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	struct rtp_header *header = (struct rtp_header *) (udp + 1);

	if ((void *) header + (rtp ? sizeof(*header) : 0) > ctx_end(ctx))
		return false;
	write_link(eth, output);
	if (v6)
		write_ip6(network, output, &change);
	else
		write_ip4(network, output, &change);
	write_word(udp, *(const __u32 *) &output->source_port, &change.payload);
	if (rtp)
		write_rtp(header, rtp, output, &change);
	ctx_adapt_checksum(ctx, (void *) &udp->check - ctx_start(ctx), &udp->check, &change);
	return true;
}

/*
 * Write the packet for this output of the same family; `rtp` is the header as received, null to leave the payload as it
 * is. False: the packet is not as long as it was. On tc, pointers into the packet are invalid afterwards.
 */
static __always_inline bool output_write(ctx_t *ctx, const struct packet *packet, const struct rtprelay_output *output,
					 const struct rtp_header *rtp)
{
	return packet->v6 ? output_write_family(ctx, packet, output, rtp, true)
			  : output_write_family(ctx, packet, output, rtp, false);
}

#endif
