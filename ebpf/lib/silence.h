/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Muted media: the packets go on, in sequence and in time, with nothing to hear in them.
 *
 * The payload is overwritten with what its codec plays as silence; header, header extension (RFC 8285) and padding (RFC
 * 3550 section 5.1) stay. Like SRTP's passes, a function the verifier walks once, which sums up what it changes.
 */
#ifndef RTPRELAY_SILENCE_H
#define RTPRELAY_SILENCE_H

#include "resize.h"
#include "srtp.h"

#define SILENCE_MAX_LENGTH RTPRELAY_SRTP_MAX_LENGTH
#define RTP_PADDING	   0x20000000 /* in the first word */

/* False: to be silenced, but longer than is treated here. */
static __always_inline bool silence_fits(const struct rtprelay_flow *flow, const struct packet *packet)
{
	return likely(!(flow->flags & RTPRELAY_FLOW_SILENCED)) || packet->payload_length <= SILENCE_MAX_LENGTH;
}

/* How many bytes of padding end the packet. If it is said to be more than there is, it is payload like the rest. */
static __always_inline __u32 silence_padding(ctx_t *ctx, const struct srtp_packet *packet)
{
	const void *start = ctx_start(ctx), *end = ctx_end(ctx);
	__u64 last = packet->offset + packet->length - 1;
	const __u8 *padding;

	if (!(packet->first & bpf_htonl(RTP_PADDING)))
		return 0;
	barrier_var(last);
	if (last > SRTP_MAX_OFFSET)
		return 0;
	padding = start + last;
	if (!within(padding, 1, end))
		return 0;
	return packet->header + *padding <= packet->length ? *padding : 0;
}

/* Take the payload as the range to work on; false: the packet has none. */
__noinline int silence_range(ctx_t *ctx, struct srtp_scratch *scratch, const struct extent *extent)
{
	struct srtp_packet *packet;

	if (!scratch || !extent || !srtp_parse(ctx, scratch, extent->payload, extent->payload_length, 0))
		return false;
	packet = &scratch->packet;
	srtp_range(scratch, packet->offset + packet->header,
		   packet->length - packet->header - silence_padding(ctx, packet));
	return true;
}

#define SILENCE(type)                                                                                                  \
	do {                                                                                                           \
		type *piece_ = at;                                                                                     \
		if (!within(at, sizeof(type), end))                                                                    \
			return 0;                                                                                      \
		change += srtp_sum(~(__u64) *piece_);                                                                  \
		*piece_ = (type) pattern;                                                                              \
		change += srtp_sum(*piece_);                                                                           \
		at += sizeof(type);                                                                                    \
	} while (0)

/* Overwrite the range. */
__noinline int silence_fill(ctx_t *ctx, struct srtp_scratch *scratch, __u32 byte)
{
	__u64 pattern = (byte & 0xff) * 0x0101010101010101ull, change = 0;
	void *at = ctx_start(ctx), *end = ctx_end(ctx);
	__u32 left;

	if (srtp_invalid(scratch))
		return 0;
	at += scratch->at;
	left = scratch->left;
	for (int i = 0; i < SILENCE_MAX_LENGTH / 8 && left >= 8; i++) {
		SILENCE(__u64);
		left -= 8;
	}
	SRTP_PIECES(left, SILENCE);
	scratch->packet.change = change;
	return 0;
}

/* Overwrite the payload, unless `byte` is negative. False: it could not be done. Pointers into the packet are invalid
 * afterwards.
 */
static __always_inline bool silenced(ctx_t *ctx, const struct packet *packet, int byte)
{
	struct srtp_scratch *scratch;
	struct extent extent;

	if (likely(byte < 0))
		return true;
	scratch = srtp_scratch();
	if (!scratch)
		return false;
	measure(&extent, packet);
	ctx_pull(ctx, packet->payload + packet->payload_length);
	if (!silence_range(ctx, scratch, &extent))
		return true;
	silence_fill(ctx, scratch, byte);
	extent.change = csum_fold32(scratch->packet.change);
	return resize(ctx, &extent, extent.payload_length);
}

#endif
