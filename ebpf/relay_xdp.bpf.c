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
#include "silence.h"

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

static __always_inline bool write_tags(struct xdp_md *ctx, const struct packet *packet, __u32 index)
{
	struct vlan_tag *tag = ctx_start(ctx) + sizeof(struct ethhdr);
	const struct rtprelay_wrap *wrap = wrap_at(index);

	if (!wrap)
		return false;
#pragma unroll
	for (int i = 0; i < CTX_MAX_TAGS && i < packet->tags; i++) {
		if (!within(&tag[i], sizeof(*tag), ctx_end(ctx)))
			return false;
		tag[i].tci = wrap->vlan[i];
	}
	return true;
}

/* As RTP. */
static __always_inline enum rtprelay_reason write_plain(struct xdp_md *ctx, const struct packet *packet,
							const struct rtprelay_output *output)
{
	struct rtp_header *rtp = rtp_of(ctx, packet);

	return rtp && output_write(ctx, packet, output, rtp) ? 0 : RTPRELAY_REASON_SEND_FAILED;
}

/* As SRTP; `packet` follows. */
static __always_inline enum rtprelay_reason write_secured(struct xdp_md *ctx, struct packet *packet, __u32 index,
							  const struct rtprelay_output *output)
{
	__u32 key = output_key(index);
	struct rtp_header *rtp = rtp_of(ctx, packet);
	struct secured *secured = secure(packet);
	enum rtprelay_reason reason;

	if (!secured || !rtp)
		return RTPRELAY_REASON_SEND_FAILED;
	secured->rtp = *rtp;
	reason = secure_begin(ctx, secured, output, key);
	if (!reason && !output_write(ctx, packet, output, &secured->rtp))
		reason = RTPRELAY_REASON_SEND_FAILED;
	if (!reason)
		reason = secure_finish(ctx, secured, key);
	resized(packet, &secured->extent);
	return reason;
}

/* Make the packet the one that leaves by this output; `packet` follows. */
static __always_inline enum rtprelay_reason write(struct xdp_md *ctx, struct packet *packet, __u32 index,
						  const struct rtprelay_output *output, const bool secured)
{
	enum rtprelay_reason reason = secured && output->flags & RTPRELAY_OUTPUT_SRTP
					      ? write_secured(ctx, packet, index, output)
					      : write_plain(ctx, packet, output);

	if (unlikely(packet->tags) && !write_tags(ctx, packet, index))
		reason = RTPRELAY_REASON_SEND_FAILED;
	return reason;
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
				const struct rtprelay_output *output, const bool secured)
{
	enum rtprelay_reason reason = write(ctx, packet, index, output, secured);

	if (likely(!reason) && bpf_redirect_map(&rtprelay_devices, output->ifindex, 0) != XDP_REDIRECT)
		reason = RTPRELAY_REASON_SEND_FAILED;
	output_sent(index, packet, !reason);
	return likely(!reason) ? XDP_REDIRECT : failed(reason);
}

static __always_inline int send_all(struct xdp_md *ctx, const struct packet *packet, const struct rtprelay_flow *flow)
{
	return broadcast(ctx, packet, flow) == XDP_REDIRECT ? XDP_REDIRECT : failed(RTPRELAY_REASON_SEND_FAILED);
}

/*
 * SRTP is programs of its own, called from the others' and never attached: they begin with the stack empty, and what
 * they need costs plain RTP neither registers nor cache. Lanes, silence and tags of copies are theirs too, for the same
 * reason. Their maps are pinned like all others; unpinned, the kernel would empty them when the daemon dies.
 */
int relay_xdp_srtp(struct xdp_md *ctx);
int relay_egress_srtp(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} rtprelay_xdp_srtp SEC(".maps") = { .values = { (void *) &relay_xdp_srtp } };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} rtprelay_egress_srtp SEC(".maps") = { .values = { (void *) &relay_egress_srtp } };

/* Of flows that are not relay_xdp's own. */
#define ELABORATE (RTPRELAY_FLOW_SRTP | RTPRELAY_FLOW_SRTP_OUT | RTPRELAY_FLOW_LANED | RTPRELAY_FLOW_SILENCED)

/* `secured`: of a flow that is ELABORATE. */
static __always_inline int relay(struct xdp_md *ctx, const bool secured)
{
	struct rtprelay_output *output;
	struct rtprelay_state *state;
	struct rtprelay_flow *flow;
	struct rtp_header *rtp;
	struct packet packet;
	enum rtprelay_reason reason;
	__u8 payload_type;
	__u32 index;
	__u64 now;

	if (!parse(ctx, &packet) || packet.obstacle)
		return XDP_PASS;
	flow = flow_find(&packet, &index);
	if (!flow || !(flow->flags & RTPRELAY_FLOW_XDP) || demux(ctx, &packet) != KIND_RTP)
		return XDP_PASS;
	if (!secured && unlikely(flow->flags & ELABORATE)) {
		bpf_tail_call(ctx, &rtprelay_xdp_srtp, 0);
		return XDP_PASS;
	}
	if (secured && flow->flags & RTPRELAY_FLOW_LANED) {
		rtp = rtp_of(ctx, &packet);
		flow = rtp ? flow_lane(flow, &index, rtp) : NULL;
		if (!flow || !(flow->flags & RTPRELAY_FLOW_XDP))
			return XDP_PASS;
	}
	state = state_at(flow->slot);
	output = output_at(flow->output_base);
	if (!state || !output)
		return XDP_PASS;
	if (flow->output_count == 1 && !output_has_form(output, output_form(&packet), secured))
		return XDP_PASS;
	if (flow->output_count && packet.length > flow->mtu)
		return XDP_PASS;

	reason = flow_judge(flow, index, state, &packet, KIND_RTP);
	if (unlikely(reason))
		return refuse(flow, reason);
	if (secured) {
		if (!secure_fits(flow, &packet) || !silence_fits(flow, &packet))
			return XDP_PASS;
		if (flow->output_count == 1 && !secure_room(ctx, flow, index, output))
			return XDP_PASS;
		if (flow->output_count > 1 && flow->flags & RTPRELAY_FLOW_SRTP_OUT && !secure_room_behind(ctx))
			return XDP_PASS;
		complete_checksum(ctx, &packet);
		if (flow->flags & RTPRELAY_FLOW_SRTP)
			reason = secure_accept(ctx, flow, index, state, &packet);
		if (unlikely(reason))
			return drop(flow, reason);
	}
	rtp = rtp_of(ctx, &packet);
	if (!rtp)
		return XDP_PASS;
	payload_type = rtp_payload_type(rtp);
	if (unlikely(flow_drops(flow, index, payload_type)))
		return drop(flow, RTPRELAY_REASON_PAYLOAD_TYPE);
	now = bpf_ktime_get_ns();
	flow_accepted(state, &packet);
	rtp_received(flow, index, state, &packet, rtp, now);
	if (unlikely(!flow->output_count)) {
		count_reason(RTPRELAY_REASON_HOLD);
		return XDP_DROP;
	}
	if (secured && !silenced(ctx, &packet, flow_silence(flow, index, payload_type)))
		return failed(RTPRELAY_REASON_SEND_FAILED);
	count(RTPRELAY_COUNTER_XDP_FORWARDED);
	if (!secured)
		complete_checksum(ctx, &packet);
	return flow->output_count == 1 ? send(ctx, &packet, flow->output_base, output, secured)
				       : send_all(ctx, &packet, flow);
}

SEC("xdp")
int relay_xdp(struct xdp_md *ctx)
{
	return relay(ctx, false);
}

SEC("xdp")
int relay_xdp_srtp(struct xdp_md *ctx)
{
	return relay(ctx, true);
}

/* A copy leaves as the packet of its output; 0, or why it does not. */
static __always_inline int leave(const struct packet *packet, __u32 index, enum rtprelay_reason reason)
{
	output_sent(index, packet, !reason);
	return likely(!reason) ? XDP_PASS : failed(reason);
}

/* A copy without tags, as RTP: its offsets are constants. */
static __always_inline int leave_plain(struct xdp_md *ctx, __u32 index, const struct rtprelay_output *output,
				       const bool v6)
{
	struct packet packet;

	if (unlikely(!copied_packet(ctx, &packet, v6))) {
		output_failed(index);
		return failed(RTPRELAY_REASON_OUTPUT_NOT_READY);
	}
	return leave(&packet, index, write_plain(ctx, &packet, output));
}

/* Runs on each frame on its way out of a device, and makes of each copy of a broadcast the packet of one output. */
SEC("xdp/devmap")
int relay_egress(struct xdp_md *ctx)
{
	const struct carried *carried = carried_by(ctx);
	struct rtprelay_output *output;
	struct secured *secured;
	__u32 index;
	__u8 form;

	if (!carried)
		return XDP_PASS;
	form = carried->form;
	output = broadcast_output(ctx, carried, &index);
	if (!output)
		return failed(RTPRELAY_REASON_OUTPUT_SURPLUS);
	if (likely(output_has_form(output, form, false))) {
		if (form == OUTPUT_FORM)
			return leave_plain(ctx, index, output, false);
		if (form == (OUTPUT_FORM | RTPRELAY_OUTPUT_IP6))
			return leave_plain(ctx, index, output, true);
	}
	if (!(output->flags & RTPRELAY_OUTPUT_PRESENT))
		return failed(RTPRELAY_REASON_OUTPUT_HOLE);
	secured = secured_packet();
	if (secured) {
		secured->output = index;
		bpf_tail_call(ctx, &rtprelay_egress_srtp, 0);
	}
	return failed(RTPRELAY_REASON_SEND_FAILED);
}

SEC("xdp/devmap")
int relay_egress_srtp(struct xdp_md *ctx)
{
	struct secured *secured = secured_packet();
	struct rtprelay_output *output = secured ? output_at(secured->output) : NULL;
	struct packet packet;
	__u32 index;

	if (!output)
		return failed(RTPRELAY_REASON_SEND_FAILED);
	index = secured->output;
	if (!parse(ctx, &packet) || !output_has_form(output, output_form(&packet), true)) {
		output_failed(index);
		return failed(RTPRELAY_REASON_OUTPUT_NOT_READY);
	}
	return leave(&packet, index, write(ctx, &packet, index, output, true));
}

char _license[] SEC("license") = "GPL";
