// SPDX-License-Identifier: GPL-2.0
/*
 * The complete path: tc ingress knows every rule of rtprelay/plan/flow.py, and each kind of output. It serves
 * interfaces without native XDP, lo, and whatever relay_xdp lets pass on its own interface.
 */
#include "ctx_skb.h"

#include "punt.h"
#include "rtp.h"
#include "silence.h"
#include "transmit.h"

/* On to the next filter: there may be another relay's. */
#define NOT_OURS TC_ACT_UNSPEC

static __always_inline int drop(const struct rtprelay_flow *flow, enum rtprelay_reason reason)
{
	flow_dropped(flow);
	count_reason(reason);
	return TC_ACT_SHOT;
}

/* Whether the daemon (or anyone) listens there: without, the stack would answer ICMP port unreachable and end calls. */
static __always_inline bool daemon_listens(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sock;

	if (packet->v6) {
		__builtin_memcpy(tuple.ipv6.saddr, packet->source.address, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, packet->local.address, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = packet->source.port;
		tuple.ipv6.dport = packet->local.port;
		sock = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.saddr = address_word(packet->source.address, 3);
		tuple.ipv4.daddr = address_word(packet->local.address, 3);
		tuple.ipv4.sport = packet->source.port;
		tuple.ipv4.dport = packet->local.port;
		sock = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sock)
		return false;
	bpf_sk_release(sock);
	return true;
}

static __always_inline int punt(struct __sk_buff *skb, const struct rtprelay_flow *flow, const struct packet *packet,
				enum rtprelay_reason reason)
{
	struct rtprelay_aside *aside = aside_at(flow->slot);

	if (!daemon_listens(skb, packet))
		return drop(flow, RTPRELAY_REASON_NO_DAEMON);
	if (aside)
		aside->punted++;
	count_reason(reason);
	return TC_ACT_OK;
}

/* For those whose sender has not been found in order: not more than the daemon can judge. */
static __always_inline int punt_some(struct __sk_buff *skb, const struct rtprelay_flow *flow,
				     const struct packet *packet, enum rtprelay_punt_class class,
				     enum rtprelay_reason reason)
{
	struct rtprelay_aside *aside = aside_at(flow->slot);

	if (!aside || !punt_take(aside, class, bpf_ktime_get_ns()))
		return drop(flow, class == RTPRELAY_PUNT_CONTROL ? RTPRELAY_REASON_CONTROL_FLOOD
								 : RTPRELAY_REASON_SOURCE_FLOOD);
	return punt(skb, flow, packet, reason);
}

static __always_inline int refuse(struct __sk_buff *skb, const struct rtprelay_flow *flow, const struct packet *packet,
				  enum rtprelay_reason reason)
{
	if (!reason_is_punt(reason))
		return drop(flow, reason);
	return punt_some(skb, flow, packet,
			 reason == RTPRELAY_REASON_SIGNALLED_SOURCE ? RTPRELAY_PUNT_SIGNALLED : RTPRELAY_PUNT_SOURCE,
			 reason);
}

static __always_inline enum rtprelay_reason reason_of(enum kind kind)
{
	switch (kind) {
	case KIND_STUN:
		return RTPRELAY_REASON_STUN;
	case KIND_DTLS:
		return RTPRELAY_REASON_DTLS;
	default:
		return RTPRELAY_REASON_NOT_RTP;
	}
}

/* Why this packet of an accepted source has to be forwarded by userspace after all, or 0. */
static __always_inline enum rtprelay_reason obstacle_of(struct __sk_buff *skb, const struct packet *packet,
							const struct rtprelay_flow *flow)
{
	if (packet->obstacle)
		return packet->obstacle;
	if (ctx_aggregated(skb))
		return RTPRELAY_REASON_GRO;
	if (unlikely(flow->output_count && packet->length > flow->mtu))
		return RTPRELAY_REASON_TOO_BIG;
	if (unlikely(!silence_fits(flow, packet)))
		return RTPRELAY_REASON_SILENCE;
	return secure_fits(flow, packet) ? 0 : RTPRELAY_REASON_SRTP;
}

/* The same for a packet with a single output. (Of several, those that can be served are.) */
static __always_inline enum rtprelay_reason obstacle_of_output(struct __sk_buff *skb, const struct packet *packet,
							       const struct rtprelay_output *output)
{
	if (!output || !output->ifindex)
		return RTPRELAY_REASON_NO_ROUTE;
	if (unlikely(output_is_ip6(output) && !packet->v6 && !has_checksum(skb, packet)))
		return RTPRELAY_REASON_NO_CHECKSUM;
	return 0;
}

struct fan_out {
	struct __sk_buff *skb;
	struct packet *packet; /* as it is by now */
	const struct rtp_header *rtp; /* as received */
	__u32 base;
	bool spoilt; /* the packet could not be made what it was: no more copies */
};

static long copy_to_output(__u32 i, struct fan_out *fan_out)
{
	__u32 index = fan_out->base + i;
	struct rtprelay_output *output = output_at(index);
	enum rtprelay_reason reason = RTPRELAY_REASON_OUTPUT_NOT_READY;
	struct undo undo = {};

	if (!output || !(output->flags & RTPRELAY_OUTPUT_PRESENT))
		return 0;
	if (can_send_copy(output)) {
		reason = write(fan_out->skb, fan_out->packet, index, output, fan_out->rtp, &undo);
		if (!reason && !send_copy(fan_out->skb, output))
			reason = RTPRELAY_REASON_SEND_FAILED;
	}
	output_sent(index, fan_out->packet, !reason);
	if (unlikely(reason))
		count_reason(reason);
	if (!can_send_copy(output) || !(output->flags & RTPRELAY_OUTPUT_SRTP) ||
	    restore(fan_out->skb, fan_out->packet, output_key(index), &undo))
		return 0;
	fan_out->spoilt = true;
	return 1;
}

/* All but the last get a copy, the last one the packet itself. */
static __always_inline int forward(struct __sk_buff *skb, const struct rtprelay_flow *flow, struct packet *packet,
				   const struct rtp_header *rtp)
{
	struct fan_out fan_out = { .skb = skb, .packet = packet, .rtp = rtp, .base = flow->output_base };
	bool v6 = packet->v6;
	__u32 last = flow->output_count - 1;
	struct rtprelay_output *output;
	enum rtprelay_reason reason;
	struct undo undo;

	count(RTPRELAY_COUNTER_TC_FORWARDED);
	if (last)
		bpf_loop(last < RTPRELAY_MAX_OUTPUTS ? last : RTPRELAY_MAX_OUTPUTS, copy_to_output, &fan_out, 0);
	last += flow->output_base;
	output = output_at(last);
	if (!output || !(output->flags & RTPRELAY_OUTPUT_PRESENT) || fan_out.spoilt)
		return TC_ACT_SHOT;
	reason = write(skb, packet, last, output, rtp, &undo);
	output_sent(last, packet, !reason);
	if (reason) {
		count_reason(reason);
		return TC_ACT_SHOT;
	}
	return send(skb, output, packet->v6 == v6);
}

/* The output that would make the packet what it is now. */
static __always_inline bool as_received(struct __sk_buff *skb, const struct packet *packet,
					struct rtprelay_output *output)
{
	const struct ethhdr *eth = ctx_start(skb);
	const __u8 *ip = ctx_start(skb) + packet->network;

	if ((void *) (ip + sizeof(struct iphdr)) > ctx_end(skb))
		return false;
	__builtin_memcpy(output->destination_mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(output->source_mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(output->source, packet->source.address, sizeof(output->source));
	__builtin_memcpy(output->destination, packet->local.address, sizeof(output->destination));
	output->source_port = packet->source.port;
	output->destination_port = packet->local.port;
	output->tos = packet->v6 ? ip[0] << 4 | ip[1] >> 4 : ip[1];
	return true;
}

static __always_inline bool can_forward_rtcp(struct __sk_buff *skb, const struct packet *packet,
					     const struct rtprelay_output *output)
{
	return output && output->flags & RTPRELAY_OUTPUT_PRESENT && can_send_copy(output) && !output_tags(output) &&
	       !skb->vlan_present && output_is_ip6(output) == packet->v6;
}

/* RTCP is sent on as a copy and then written back: the original goes up to be read. */
static __noinline int relay_rtcp(struct __sk_buff *skb, const struct rtprelay_flow *flow, __u32 index,
				 struct rtprelay_state *state, const struct packet *packet)
{
	struct rtprelay_rules *rules = rules_at(index);
	struct rtprelay_output *output = rules ? output_at(rules->rtcp_output) : NULL;
	struct rtprelay_aside *aside = aside_at(flow->slot);
	struct rtprelay_output original = {};
	bool sent;

	if (!rules || !aside || !can_forward_rtcp(skb, packet, output))
		return punt_some(skb, flow, packet, RTPRELAY_PUNT_CONTROL, RTPRELAY_REASON_RTCP);
	flow_accepted(state, packet);
	aside->last_seen = bpf_ktime_get_ns();
	aside->rtcp_packets++;
	aside->rtcp_bytes += packet->received;
	sent = as_received(skb, packet, &original) && write_addresses(skb, packet, output) && send_copy(skb, output);
	output_sent(rules->rtcp_output, packet, sent);
	count(RTPRELAY_COUNTER_RTCP_FORWARDED);
	if (!write_addresses(skb, packet, &original) || !daemon_listens(skb, packet))
		return TC_ACT_SHOT;
	skb->mark = RTPRELAY_MARK_FORWARDED;
	return TC_ACT_OK;
}

static __always_inline int relay_rtp(struct __sk_buff *skb, const struct rtprelay_flow *flow, __u32 index,
				     struct rtprelay_state *state, struct packet *packet)
{
	const struct rtp_header *header;
	enum rtprelay_reason reason;
	struct rtp_header rtp;
	__u64 now;

	reason = flow->output_count == 1 ? obstacle_of_output(skb, packet, output_at(flow->output_base)) : 0;
	if (unlikely(reason))
		return punt(skb, flow, packet, reason);
	if (flow->flags & RTPRELAY_FLOW_SRTP) {
		reason = secure_accept(skb, flow, index, state, packet);
		if (unlikely(reason))
			return drop(flow, reason);
	}
	header = rtp_of(skb, packet);
	if (!header)
		return TC_ACT_SHOT;
	rtp = *header;
	if (unlikely(flow_drops(flow, index, rtp_payload_type(&rtp))))
		return drop(flow, RTPRELAY_REASON_PAYLOAD_TYPE);
	now = bpf_ktime_get_ns();
	flow_accepted(state, packet);
	rtp_received(flow, index, state, packet, &rtp, now);
	if (unlikely(!flow->output_count)) {
		count_reason(RTPRELAY_REASON_HOLD);
		return TC_ACT_SHOT;
	}
	if (unlikely(!silenced(skb, packet, flow_silence(flow, index, rtp_payload_type(&rtp))))) {
		count_reason(RTPRELAY_REASON_SEND_FAILED);
		return TC_ACT_SHOT;
	}
	return forward(skb, flow, packet, &rtp);
}

static __always_inline struct rtprelay_flow *laned(const struct __sk_buff *skb, struct rtprelay_flow *flow,
						   __u32 *index, const struct packet *packet)
{
	const struct rtp_header *rtp = rtp_of(skb, packet);

	return rtp ? flow_lane(flow, index, rtp) : flow;
}

SEC("tc")
int relay_tc(struct __sk_buff *skb)
{
	struct rtprelay_state *state;
	struct rtprelay_flow *flow, *port;
	struct packet packet = {};
	enum rtprelay_reason reason;
	enum kind kind;
	__u32 index;

	if (!parse(skb, &packet)) {
		if (unlikely(packet.obstacle))
			count_reason(packet.obstacle);
		return NOT_OURS;
	}
	flow = flow_find(&packet, &index);
	state = flow ? state_at(flow->slot) : NULL;
	if (!state)
		return NOT_OURS;
	ctx_pull(skb, packet.payload + sizeof(struct rtp_header));
	kind = demux(skb, &packet);
	if (kind != KIND_RTP && kind != KIND_RTCP)
		return punt_some(skb, flow, &packet, RTPRELAY_PUNT_CONTROL, reason_of(kind));
	reason = flow_judge(flow, index, state, &packet, kind);
	if (unlikely(reason))
		return refuse(skb, flow, &packet, reason);
	if (unlikely(flow->flags & RTPRELAY_FLOW_LANED) && kind == KIND_RTP) {
		port = flow;
		flow = laned(skb, port, &index, &packet);
		if (!flow)
			return punt_some(skb, port, &packet, RTPRELAY_PUNT_CONTROL, RTPRELAY_REASON_LANE);
	}
	reason = obstacle_of(skb, &packet, flow);
	if (unlikely(reason))
		return punt(skb, flow, &packet, reason);
	return kind == KIND_RTCP ? relay_rtcp(skb, flow, index, state, &packet)
				 : relay_rtp(skb, flow, index, state, &packet);
}

char _license[] SEC("license") = "GPL";
