/* SPDX-License-Identifier: GPL-2.0 */
/* What a datagram is, by its first bytes: RFC 7983 section 7, RFC 5761 section 4. */
#ifndef RTPRELAY_DEMUX_H
#define RTPRELAY_DEMUX_H

#include "parse.h"

enum kind {
	KIND_RTP,
	KIND_RTCP,
	KIND_STUN,
	KIND_DTLS,
	KIND_OTHER,
};

#define RTP_VERSION_2  0x80
#define RTP_VERSION    0xc0
#define RTCP_FIRST     192
#define RTCP_LAST      223
#define RTCP_MIN_BYTES 8 /* header and the sender's SSRC */

struct rtp_header {
	__u8 flags;
	__u8 marker_type;
	__be16 sequence;
	__be32 timestamp;
	__be32 ssrc;
};

static __always_inline __u8 rtp_payload_type(const struct rtp_header *rtp)
{
	return rtp->marker_type & (RTPRELAY_PAYLOAD_TYPES - 1);
}

/* The RTP header, null where the packet has none in reach. */
static __always_inline struct rtp_header *rtp_of(const ctx_t *ctx, const struct packet *packet)
{
	struct rtp_header *rtp = ctx_start(ctx) + packet->payload;

	return (void *) (rtp + 1) <= ctx_end(ctx) && packet->payload_length >= sizeof(*rtp) ? rtp : NULL;
}

static __always_inline enum kind demux(const ctx_t *ctx, const struct packet *packet)
{
	const struct rtp_header *rtp = rtp_of(ctx, packet);
	const __u8 *first = ctx_start(ctx) + packet->payload;

	if (likely(rtp && (rtp->flags & RTP_VERSION) == RTP_VERSION_2))
		return rtp->marker_type >= RTCP_FIRST && rtp->marker_type <= RTCP_LAST ? KIND_RTCP : KIND_RTP;
	if ((void *) (first + 2) > ctx_end(ctx) || !packet->payload_length)
		return KIND_OTHER;
	if (first[0] <= 3)
		return KIND_STUN;
	if (first[0] >= 20 && first[0] <= 63)
		return KIND_DTLS;
	if ((first[0] & RTP_VERSION) == RTP_VERSION_2 && first[1] >= RTCP_FIRST && first[1] <= RTCP_LAST &&
	    packet->payload_length >= RTCP_MIN_BYTES)
		return KIND_RTCP;
	return KIND_OTHER;
}

#endif
