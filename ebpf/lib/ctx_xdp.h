/* SPDX-License-Identifier: GPL-2.0 */
/* The context API for XDP: the engine sees a packet only through these names. ctx_skb.h has the same for tc. */
#ifndef RTPRELAY_CTX_H
#define RTPRELAY_CTX_H

#include "bpf.h"
#include "csum.h"

typedef struct xdp_md ctx_t;

static __always_inline void *ctx_start(const ctx_t *ctx)
{
	return (void *) (long) ctx->data;
}

static __always_inline void *ctx_end(const ctx_t *ctx)
{
	return (void *) (long) ctx->data_end;
}

static __always_inline __u32 ctx_length(const ctx_t *ctx)
{
	return ctx_end(ctx) - ctx_start(ctx);
}

/* XDP sees the frame as it was on the wire: tags are in it. */
#define CTX_MAX_TAGS 2

/* Nothing is aggregated before XDP. */
static __always_inline bool ctx_aggregated(const ctx_t *ctx)
{
	return false;
}

/* The whole frame is linear. */
static __always_inline void ctx_pull(ctx_t *ctx, __u32 length)
{
}

/* Make the frame this long; what is added is zero. Pointers into the packet are invalid afterwards. */
static __always_inline bool ctx_resize(ctx_t *ctx, __u32 length)
{
	int change = length - ctx_length(ctx);

	return !change || bpf_xdp_adjust_tail(ctx, change) == 0;
}

/* The headers are written; adapt the UDP checksum to what changed. Pointers into the packet stay valid. */
static __always_inline void ctx_adapt_checksum(ctx_t *ctx, __u32 offset, __be16 *check,
					       const struct csum_change *change)
{
	*check = csum_adapt_udp(*check, change->addresses + change->payload);
}

#endif
