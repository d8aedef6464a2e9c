/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SRTP in the engine: what comes in becomes RTP before anything looks at it, what goes out under a key becomes SRTP
 * last.
 *
 * In, the order is that of RFC 3711 section 3.3: guess the index, ask for replay, authenticate, decrypt, and only then
 * note the index. Out, the index is used up first: a packet that is lost afterwards is a gap, a packet sent twice under
 * one index would be a leak.
 *
 * The steps are done one after the other and not one by the other, for the stack of 512 bytes. They are global
 * functions: the verifier walks each once, whatever the paths to it. Pointers into the packet are invalid after each of
 * them. Their results are reasons, 0 is success.
 */
#ifndef RTPRELAY_SECURE_H
#define RTPRELAY_SECURE_H

#include "flow.h"
#include "resize.h"
#include "srtp.h"
#include "srtp_stream.h"

/* A packet on its way in or out. Nothing in there outlives the sending of one packet. */
struct secured {
	struct extent extent;
	__u64 index;
	__u32 length; /* of the payload before it was protected */
	__u32 change; /* of its sum since */
	struct rtp_header rtp; /* as received, but for its number */
	__u32 output; /* of a copy: where it goes */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct secured);
} rtprelay_secured SEC(".maps");

static __always_inline struct secured *secured_packet(void)
{
	return bpf_map_lookup_elem(&rtprelay_secured, &(__u32){ 0 });
}

static __always_inline struct secured *secure(const struct packet *packet)
{
	struct secured *secured = secured_packet();

	if (secured)
		measure(&secured->extent, packet);
	return secured;
}

static __always_inline enum rtprelay_reason reason_of_fault(int fault)
{
	switch (fault) {
	case SRTP_OK:
		return 0;
	case SRTP_NO_KEY:
		return RTPRELAY_REASON_SRTP_NO_KEY;
	case SRTP_MALFORMED:
		return RTPRELAY_REASON_SRTP_MALFORMED;
	default:
		return RTPRELAY_REASON_SRTP_AUTH;
	}
}

/* False: with keys, but longer than the programs treat. */
static __always_inline bool secure_fits(const struct rtprelay_flow *flow, const struct packet *packet)
{
	return likely(!(flow->flags & (RTPRELAY_FLOW_SRTP | RTPRELAY_FLOW_SRTP_OUT))) ||
	       packet->payload_length <= RTPRELAY_SRTP_MAX_LENGTH - SRTP_MAX_TRAILER;
}

/* Make RTP of SRTP. Otherwise nothing has changed. */
__noinline int secure_receive(ctx_t *ctx, struct secured *secured, __u32 key_index)
{
	const struct rtprelay_srtp_key *key = srtp_key_at(key_index);
	struct srtp_scratch *scratch = srtp_scratch();
	struct rtprelay_srtp_stream *stream;
	struct extent *extent;
	__u32 trailer, ssrc;
	__u64 index;
	int fault;

	if (!secured || !key || !scratch)
		return RTPRELAY_REASON_SRTP_NO_KEY;
	extent = &secured->extent;
	trailer = srtp_trailer_length(key);
	if (!srtp_parse(ctx, scratch, extent->payload, extent->payload_length, trailer))
		return RTPRELAY_REASON_SRTP_MALFORMED;
	ssrc = bpf_ntohl(scratch->packet.ssrc);
	index = srtp_sequence(&scratch->packet);
	stream = srtp_stream_of(key_index, ssrc);
	if (likely(stream)) {
		index = replay_guess(stream->highest, stream->window, index);
		if (unlikely(!replay_fresh(stream->highest, stream->window, index)))
			return RTPRELAY_REASON_SRTP_REPLAY;
		if (unlikely(index > REPLAY_MAX_INDEX))
			return RTPRELAY_REASON_SRTP_EXHAUSTED;
	}
	scratch->packet.index = index;
	fault = srtp_unprotect(ctx, scratch, key);
	if (unlikely(fault))
		return reason_of_fault(fault);
	if (unlikely(!stream))
		stream = srtp_stream_made(key_index, ssrc);
	if (unlikely(!stream))
		return RTPRELAY_REASON_SRTP_EXHAUSTED;
	if (unlikely(!srtp_take(stream, index)))
		return RTPRELAY_REASON_SRTP_REPLAY;
	extent->change = csum_fold32(scratch->packet.change);
	return resize(ctx, extent, extent->payload_length - trailer) ? 0 : RTPRELAY_REASON_SEND_FAILED;
}

/* The same for a flow, whose source is heard now; `packet` follows. */
static __always_inline enum rtprelay_reason secure_accept(ctx_t *ctx, const struct rtprelay_flow *flow, __u32 index,
							  struct rtprelay_state *state, struct packet *packet)
{
	const struct rtprelay_rules *rules = rules_at(index);
	struct secured *secured = secure(packet);
	enum rtprelay_reason reason;

	if (!rules || !secured)
		return RTPRELAY_REASON_SRTP_NO_KEY;
	reason = secure_receive(ctx, secured, rules->srtp_in);
	if (unlikely(reason))
		return reason;
	resized(packet, &secured->extent);
	flow_authentic(flow, state, packet);
	return 0;
}

/*
 * Make room for the trailer of this output, before anything has happened to the packet. False: the driver has left
 * none; the stack can.
 */
static __always_inline bool secure_room(ctx_t *ctx, const struct rtprelay_flow *flow, __u32 index,
					const struct rtprelay_output *output)
{
	__u32 needed, spare = 0;
	const struct rtprelay_srtp_key *key, *key_in;
	const struct rtprelay_rules *rules;

	if (likely(!(output->flags & RTPRELAY_OUTPUT_SRTP)))
		return true;
	key = srtp_key_at(output_key(flow->output_base));
	if (!key)
		return true;
	needed = srtp_trailer_length(key);
	/* The trailer that goes makes room for the one that comes. */
	if (flow->flags & RTPRELAY_FLOW_SRTP) {
		rules = rules_at(index);
		key_in = rules ? srtp_key_at(rules->srtp_in) : NULL;
		spare = key_in ? srtp_trailer_length(key_in) : 0;
	}
	return needed <= spare || ctx_resize(ctx, ctx_length(ctx) + needed - spare);
}

/* The same where there will be copies: the kernel gives each a page of its own but the last, which is this frame. */
static __always_inline bool secure_room_behind(ctx_t *ctx)
{
	__u32 length = ctx_length(ctx);

	/* Or clang keeps the pointers it is made of, in half a word each. */
	barrier_var(length);
	return ctx_resize(ctx, length + SRTP_MAX_TRAILER) && ctx_resize(ctx, length);
}

/*
 * Before the packet is written for this output: use an index up, and let the packet grow. secured->rtp gets the number
 * under which it is sent.
 */
__noinline int secure_begin(ctx_t *ctx, struct secured *secured, const struct rtprelay_output *output, __u32 key_index)
{
	const struct rtprelay_srtp_key *key;
	struct rtprelay_srtp_stream *stream;
	struct rtp_header *rtp;
	__u16 sequence;
	__u32 ssrc;

	if (!secured || !output)
		return RTPRELAY_REASON_SRTP_NO_KEY;
	key = srtp_key_at(key_index);
	rtp = &secured->rtp;
	sequence = bpf_ntohs(rtp->sequence) + output->sequence_offset;
	ssrc = output->flags & RTPRELAY_OUTPUT_SSRC ? output->ssrc : bpf_ntohl(rtp->ssrc);
	secured->length = secured->extent.payload_length;
	secured->change = 0;
	if (!key || key->cipher == RTPRELAY_SRTP_NO_KEY)
		return RTPRELAY_REASON_SRTP_NO_KEY;
	stream = srtp_stream_of(key_index, ssrc);
	if (unlikely(!stream))
		stream = srtp_stream_made(key_index, ssrc);
	if (unlikely(!stream))
		return RTPRELAY_REASON_SRTP_EXHAUSTED;
	if (unlikely(!srtp_take_next(stream, sequence, &secured->index)))
		return RTPRELAY_REASON_SRTP_REUSED;
	if (unlikely(secured->index > REPLAY_MAX_INDEX))
		return RTPRELAY_REASON_SRTP_EXHAUSTED;
	rtp->sequence = bpf_htons(secured->index - output->sequence_offset);
	return resize(ctx, &secured->extent, secured->length + srtp_trailer_length(key)) ? 0
											 : RTPRELAY_REASON_SEND_FAILED;
}

/* Once it is written: protect it. */
__noinline int secure_finish(ctx_t *ctx, struct secured *secured, __u32 key_index)
{
	const struct rtprelay_srtp_key *key = srtp_key_at(key_index);
	struct srtp_scratch *scratch = srtp_scratch();
	struct extent *extent;
	int fault;

	if (!secured || !key || !scratch)
		return RTPRELAY_REASON_SRTP_NO_KEY;
	extent = &secured->extent;
	if (!srtp_parse(ctx, scratch, extent->payload, extent->payload_length, srtp_trailer_length(key)))
		return RTPRELAY_REASON_SRTP_MALFORMED;
	scratch->packet.index = secured->index;
	fault = srtp_protect(ctx, scratch, key);
	if (unlikely(fault))
		return reason_of_fault(fault);
	extent->change = secured->change = csum_fold32(scratch->packet.change);
	return resize(ctx, extent, extent->payload_length) ? 0 : RTPRELAY_REASON_SEND_FAILED;
}

#endif
