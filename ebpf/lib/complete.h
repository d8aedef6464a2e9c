/* SPDX-License-Identifier: GPL-2.0 */
/*
 * XDP only: complete the UDP checksum of a local sender's packet.
 *
 * veth and virtio hand over packets with CHECKSUM_PARTIAL: the field holds the sum of the pseudo-header, a device would
 * have added the rest. XDP is not told, but that very value in the field tells: of the finished checksums one in 65536
 * looks the same, and is then made anew with the same result.
 */
#ifndef RTPRELAY_COMPLETE_H
#define RTPRELAY_COMPLETE_H

#include "count.h"
#include "parse.h"

#define CHUNK	   32
#define MAX_CHUNKS 128 /* 4 KiB, the most that fits a frame of one page */

static __always_inline __u64 sum_words(const __u32 *word, int count)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < count; i++)
		sum += word[i];
	return sum;
}

/* The sum of `length` bytes at `offset`, 0 where they are not all there. Global: the verifier walks its loops once. */
__noinline __u32 sum_packet(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	void *at = (void *) (long) ctx->data, *end = (void *) (long) ctx->data_end;
	__u64 sum = 0;
	__u16 last;

	if (offset > CHUNK * 4)
		return 0;
	at += offset;
	for (int i = 0; i < MAX_CHUNKS && length >= CHUNK; i++) {
		if (!within(at, CHUNK, end))
			return 0;
		sum += sum_words(at, CHUNK / 4);
		at += CHUNK;
		length -= CHUNK;
	}
	for (int i = 0; i < CHUNK / 4 && length >= 4; i++) {
		if (!within(at, 4, end))
			return 0;
		sum += *(__u32 *) at;
		at += 4;
		length -= 4;
	}
	if (length >= 2) {
		if (!within(at, 2, end))
			return 0;
		sum += *(__u16 *) at;
		at += 2;
		length -= 2;
	}
	if (length) {
		if (length > 1 || !within(at, 1, end))
			return 0;
		last = *(__u8 *) at;
		sum += bpf_htons(last << 8);
	}
	return csum_fold32(sum);
}

static __always_inline void complete_checksum(ctx_t *ctx, const struct packet *packet)
{
	void *network = ctx_start(ctx) + packet->network;
	struct udphdr *udp = udp_of(ctx, packet);
	__u64 pseudo;
	__u32 sum;

	if (!udp)
		return;
	pseudo = packet->v6 ? sum_words(network + offsetof(struct ipv6hdr, saddr), 8)
			    : sum_words(network + offsetof(struct iphdr, saddr), 2);
	pseudo += bpf_htons(IPPROTO_UDP) + udp->len;
	if (likely(udp->check != csum_fold16(pseudo)))
		return;
	/* The field itself holds the pseudo-header's sum, so this is the sum of all there is to sum. */
	sum = sum_packet(ctx, (void *) udp - ctx_start(ctx), packet->payload_length + sizeof(*udp));
	if (!sum)
		return;
	udp->check = ~csum_fold16(sum);
	if (!udp->check)
		udp->check = 0xffff;
	count(RTPRELAY_COUNTER_CHECKSUM_COMPLETED);
}

#endif
