/* SPDX-License-Identifier: GPL-2.0 */
/* The context API for tc: the engine sees a packet only through these names. ctx_xdp.h has the same for XDP. */
#ifndef RTPRELAY_CTX_H
#define RTPRELAY_CTX_H

#include "bpf.h"
#include "csum.h"

typedef struct __sk_buff ctx_t;

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
	return ctx->len;
}

/* The stack has taken the outer tag off before tc; a second one is for the program on the VLAN device. */
#define CTX_MAX_TAGS 0

/* GRO has made one buffer of several datagrams. */
static __always_inline bool ctx_aggregated(const ctx_t *ctx)
{
	return ctx->gso_segs > 1;
}

/* Have the first `length` bytes in the linear part. */
static __always_inline void ctx_pull(ctx_t *ctx, __u32 length)
{
	if (unlikely(ctx_start(ctx) + length > ctx_end(ctx)))
		bpf_skb_pull_data(ctx, length);
}

/*
 * Make the frame this long, all of it in the linear part; what is added is zero. Pointers into the packet are invalid
 * afterwards.
 */
static __always_inline bool ctx_resize(ctx_t *ctx, __u32 length)
{
	if (length != ctx_length(ctx) && bpf_skb_change_tail(ctx, length, 0))
		return false;
	return bpf_skb_pull_data(ctx, length) == 0;
}

/*
 * The headers are written; adapt the UDP checksum to what changed. Pointers into the packet are invalid afterwards.
 *
 * Only the kernel knows how the checksum stands: complete (adapt to all changes), CHECKSUM_PARTIAL (the field covers
 * the pseudo-header alone, the device adds the rest) or CHECKSUM_COMPLETE (the device has summed the packet up; that
 * sum moves along). The helper does each of them right, if addresses and the rest are told apart.
 */
static __always_inline void ctx_adapt_checksum(ctx_t *ctx, __u32 offset, __be16 *check,
					       const struct csum_change *change)
{
	__u32 addresses = csum_fold32(change->addresses), payload = csum_fold32(change->payload);

	bpf_l4_csum_replace(ctx, offset, 0, addresses, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
	bpf_l4_csum_replace(ctx, offset, 0, payload, BPF_F_MARK_MANGLED_0);
	/*
	 * The helper assumes that a header checksum makes up for the addresses, as in IPv4. IPv6 has none: the device's
	 * sum changes by what changed in the header, and the helper's assumption has to be taken back. (Linux 6.16
	 * has BPF_F_IPV6 for the latter; this works on all.)
	 */
	if (change->header)
		bpf_csum_update(ctx, csum_fold32(change->header));
}

#endif
