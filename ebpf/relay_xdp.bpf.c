// SPDX-License-Identifier: GPL-2.0
/*
 * The fast path: native XDP forwards RTP of flows that it can serve completely (RTPRELAY_FLOW_XDP), and drops what has
 * to be dropped. All else passes untouched to relay_tc on the same interface, which knows every rule; so nothing is
 * counted twice.
 */
#include "ctx_xdp.h"

#include "broadcast.h"
#include "complete.h"
#include "punt.h"
#include "rtp.h"
#include "secure.h"

static __always_inline int drop(const struct rtprelay_flow *flow, enum rtprelay_reason reason)
{
	flow_dropped(flow);
	count_reason(reason);
	return XDP_DROP;
}

/* A flood ends here, before it costs a socket buffer; what may be punted is left to tc. */
static __always_inline int refuse(const struct rtprelay_flow *flow, enum rtprelay_reason reason)
{
	const struct rtprelay_aside *aside = aside_at(flow->slot);

	if (!reason_is_punt(reason))
		return drop(flow, reason);
	if (reason == RTPRELAY_REASON_UNKNOWN_SOURCE && aside &&
	    punt_exhausted(aside, RTPRELAY_PUNT_SOURCE, bpf_ktime_get_ns()))
		return drop(flow, RTPRELAY_REASON_SOURCE_FLOOD);
	return XDP_PASS;
}

/* Without moving a byte: the frame keeps its length, so family and number of tags have to match. */
static __always_inline bool can_send(const struct rtprelay_output *output, const struct packet *packet)
{
	return output_is(output, RTPRELAY_OUTPUT_PRESENT | RTPRELAY_OUTPUT_READY) &&
	       output_tags(output) == packet->tags && address_is_ip6(output->destination) == packet->v6;
}

/* As RTP. 0, or why it cannot be. */
static __always_inline enum rtprelay_reason write_plain(struct xdp_md *ctx, const struct packet *packet,
							const struct rtprelay_output *output)
{
	struct rtp_header *rtp = rtp_of(ctx, packet);

	return rtp && output_write(ctx, packet, output, rtp) ? 0 : RTPRELAY_REASON_SEND_FAILED;
}

/* As SRTP; `packet` follows. */
static __always_inline enum rtprelay_reason write_secured(struct xdp_md *ctx, struct packet *packet,
							  const struct rtprelay_output *output)
{
	struct rtp_header *rtp = rtp_of(ctx, packet);
	struct secured *secured = secure(packet);
	enum rtprelay_reason reason;

	if (!secured || !rtp)
		return RTPRELAY_REASON_SEND_FAILED;
	secured->rtp = *rtp;
	reason = secure_begin(ctx, secured, output);
	if (!reason && !output_write(ctx, packet, output, &secured->rtp))
		reason = RTPRELAY_REASON_SEND_FAILED;
	if (!reason)
		reason = secure_finish(ctx, secured, output->srtp_out);
	resized(packet, &secured->extent);
	return reason;
}

/* Make the packet the one that leaves by this output. */
static __always_inline enum rtprelay_reason write(struct xdp_md *ctx, struct packet *packet,
						  const struct rtprelay_output *output)
{
	return likely(output->srtp_out == RTPRELAY_NONE) ? write_plain(ctx, packet, output)
							 : write_secured(ctx, packet, output);
}

static __always_inline int failed(enum rtprelay_reason reason)
{
	count_reason(reason);
	return XDP_DROP;
}

/*
 * By a devmap even where it goes back out of the device it came in by. XDP_TX would be 15 ns cheaper, but veth does not
 * wake its peer for it unless that one runs an XDP program too (Linux 6.18): packets stay in the ring.
 */
static __always_inline int send(struct xdp_md *ctx, struct packet *packet, __u32 index,
				const struct rtprelay_output *output)
{
	enum rtprelay_reason reason = write(ctx, packet, output);

	if (!reason && bpf_redirect_map(&rtprelay_devices, output->ifindex, 0) != XDP_REDIRECT)
		reason = RTPRELAY_REASON_SEND_FAILED;
	output_sent(index, packet, !reason);
	return likely(!reason) ? XDP_REDIRECT : failed(reason);
}

static __always_inline int send_all(struct xdp_md *ctx, const struct rtprelay_flow *flow, __u32 index)
{
	const struct rtprelay_rules *rules = rules_at(index);

	return rules && broadcast(ctx, flow, rules) == XDP_REDIRECT ? XDP_REDIRECT
								    : failed(RTPRELAY_REASON_SEND_FAILED);
}

/* What a packet writes in the end is fetched all at once: reading the clock waits for every load before it. */
static __always_inline void fetch_ahead(const struct rtprelay_flow *flow, const struct rtprelay_state *state,
					const struct rtprelay_output *output)
{
	const struct rtprelay_sent *sent = sent_at(flow->output_base);

	touch(&state->ssrc.jitter);
	touch(&output->srtp_out);
	if (sent)
		touch(&sent->packets);
}

SEC("xdp")
int relay_xdp(struct xdp_md *ctx)
{
	struct rtprelay_output *output;
	struct rtprelay_state *state;
	struct rtprelay_flow *flow;
	struct rtp_header *rtp;
	struct packet packet;
	enum rtprelay_reason reason;
	__u32 index;
	__u64 now;

	if (!parse(ctx, &packet) || packet.obstacle)
		return XDP_PASS;
	flow = flow_find(&packet, &index);
	if (!flow || !(flow->flags & RTPRELAY_FLOW_XDP) || demux(ctx, &packet) != KIND_RTP)
		return XDP_PASS;
	state = state_at(flow->slot);
	output = output_at(flow->output_base);
	if (!state || !output)
		return XDP_PASS;
	if (flow->output_count == 1 && !can_send(output, &packet))
		return XDP_PASS;
	if (flow->output_count && packet.length > flow->mtu)
		return XDP_PASS;

	reason = flow_judge(flow, index, state, &packet, KIND_RTP);
	if (unlikely(reason))
		return refuse(flow, reason);
	if (flow->output_count == 1 && !secure_room(ctx, flow, index, output))
		return XDP_PASS;
	complete_checksum(ctx, &packet);
	if (flow->flags & RTPRELAY_FLOW_SRTP) {
		reason = secure_accept(ctx, flow, index, state, &packet);
		if (unlikely(reason))
			return drop(flow, reason);
	}
	rtp = rtp_of(ctx, &packet);
	if (!rtp)
		return XDP_ABORTED;
	if (unlikely(flow_drops(flow, index, rtp_payload_type(rtp))))
		return drop(flow, RTPRELAY_REASON_PAYLOAD_TYPE);
	fetch_ahead(flow, state, output);
	now = bpf_ktime_get_ns();
	flow_accepted(state, &packet, now);
	rtp_received(flow, index, state, &packet, rtp, now);
	if (unlikely(!flow->output_count)) {
		count_reason(RTPRELAY_REASON_HOLD);
		return XDP_DROP;
	}
	count(RTPRELAY_COUNTER_XDP_FORWARDED);
	return flow->output_count == 1 ? send(ctx, &packet, flow->output_base, output) : send_all(ctx, flow, index);
}

/* Runs on each frame on its way out of a device, and makes of each copy of a broadcast the packet of one output. */
SEC("xdp/devmap")
int relay_egress(struct xdp_md *ctx)
{
	struct rtprelay_output *output;
	enum rtprelay_reason reason;
	struct packet packet;
	__u32 index;

	if (!is_copy(ctx))
		return XDP_PASS;
	output = broadcast_output(ctx, &index);
	if (!output) {
		count_reason(RTPRELAY_REASON_OUTPUT_SURPLUS);
		return XDP_DROP;
	}
	if (unlikely(!(output->flags & RTPRELAY_OUTPUT_PRESENT))) {
		count_reason(RTPRELAY_REASON_OUTPUT_HOLE);
		return XDP_DROP;
	}
	if (unlikely(!parse(ctx, &packet) || !can_send(output, &packet))) {
		output_sent(index, &packet, false);
		count_reason(RTPRELAY_REASON_OUTPUT_NOT_READY);
		return XDP_DROP;
	}
	reason = write(ctx, &packet, output);
	output_sent(index, &packet, !reason);
	return likely(!reason) ? XDP_PASS : failed(reason);
}

char _license[] SEC("license") = "GPL";
