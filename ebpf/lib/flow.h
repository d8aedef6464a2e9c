/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flows, and whose packets they take. The order of the rules is that of rtprelay/plan/flow.py.
 *
 * A port has one sender as a rule, whose packets one CPU takes: the state is written without atomic operations. Two
 * CPUs at one flow may lose a count now and then, never a packet (an atomic add costs 5 ns, there would be four for
 * each packet).
 */
#ifndef RTPRELAY_FLOW_H
#define RTPRELAY_FLOW_H

#include "demux.h"
#include "maps.h"

/* What a packet writes in the end is fetched all at once, and with it its flow. */
static __always_inline void fetch_ahead(__u64 word)
{
	const struct rtprelay_state *state = state_at(port_slot_hint(word));
	const struct rtprelay_sent *sent = sent_at(port_output_hint(word));

	if (state)
		touch(state);
	if (sent)
		touch(sent);
	fetch_output(port_output_hint(word));
	if (port_several_hint(word))
		fetch_output(port_output_hint(word) + 1);
}

/*
 * The flow of a packet, and where it is. An array over the ports, not a hash of the whole address: a lookup is two
 * loads, where the kernel's hash took 34 ns of 118 (a key of 20 bytes takes two rounds of jhash, and an element of its
 * own cache lines).
 */
static __always_inline struct rtprelay_flow *flow_find(const struct packet *packet, __u32 *index)
{
	__u64 word = port_word(packet->local.port);
	__u32 at = port_first(word);
	struct rtprelay_flow *flow;

	if (!at)
		return NULL;
	fetch_ahead(word);
	for (int i = 0; i < RTPRELAY_MAX_CHAIN && at; i++) {
		flow = flow_at(at);
		if (!flow)
			return NULL;
		if (likely(address_same(flow->local, packet->local.address))) {
			*index = at;
			return flow;
		}
		at = flow->next;
	}
	return NULL;
}

static __always_inline bool flow_expects(const struct rtprelay_flow *flow, const struct packet *packet)
{
	return flow->expected_port == packet->source.port && address_same(flow->expected, packet->source.address);
}

/* A packet from elsewhere. 0: accepted. Otherwise why not; reasons below RTPRELAY_REASON_SOURCE_MISMATCH are punts. */
static __always_inline enum rtprelay_reason flow_judge_stranger(const struct rtprelay_flow *flow,
								const struct rtprelay_rules *rules,
								const struct rtprelay_state *state,
								const struct packet *packet)
{
	/* The address the SDP named beats a learned one, whatever the policy. */
	if (endpoint_same(&rules->signalled, &packet->source))
		return RTPRELAY_REASON_SIGNALLED_SOURCE;
	switch (flow->on_mismatch) {
	case RTPRELAY_MISMATCH_ACCEPT:
		return 0;
	case RTPRELAY_MISMATCH_PUNT:
		if (flow->flags & RTPRELAY_FLOW_LOCK && state->ssrc.confirmed == flow->generation)
			return RTPRELAY_REASON_SOURCE_LOCKED;
		return RTPRELAY_REASON_UNKNOWN_SOURCE;
	default:
		return RTPRELAY_REASON_SOURCE_MISMATCH;
	}
}

/* 0: accepted, or a reason as above. */
static __always_inline enum rtprelay_reason flow_judge(const struct rtprelay_flow *flow, __u32 index,
						       struct rtprelay_state *state, const struct packet *packet,
						       enum kind kind)
{
	const struct rtprelay_rules *rules = NULL;
	bool expected;

	if (likely(kind == KIND_RTP && flow_expects(flow, packet))) {
		expected = true;
	} else {
		rules = rules_at(index);
		if (!rules)
			return RTPRELAY_REASON_SOURCE_MISMATCH;
		expected = kind == KIND_RTCP && endpoint_same(&rules->rtcp_expected, &packet->source);
	}
	if (!expected)
		return flow_judge_stranger(flow, rules, state, packet);
	/* SRTP has to be authentic first: flow_authentic. */
	if (unlikely(state->ssrc.confirmed != flow->generation) && !(flow->flags & RTPRELAY_FLOW_SRTP))
		state->ssrc.confirmed = flow->generation;
	return 0;
}

/* RTP that was accepted is authentic as well: now its source has been heard, if it is the expected one. */
static __always_inline void flow_authentic(const struct rtprelay_flow *flow, struct rtprelay_state *state,
					   const struct packet *packet)
{
	if (unlikely(state->ssrc.confirmed != flow->generation) && flow_expects(flow, packet))
		state->ssrc.confirmed = flow->generation;
}

static __always_inline __u8 rules_payload(const struct rtprelay_rules *rules, __u8 payload_type)
{
	return rules->payload[payload_type & (RTPRELAY_PAYLOAD_TYPES - 1)];
}

static __always_inline bool flow_drops(const struct rtprelay_flow *flow, __u32 index, __u8 payload_type)
{
	const struct rtprelay_rules *rules;

	if (likely(payload_type == flow->usual_type))
		return false;
	rules = rules_at(index);
	return rules && rules_payload(rules, payload_type) & RTPRELAY_PAYLOAD_DROP;
}

/* The length of a tick of this payload type, 0 where it is unknown. */
static __always_inline __u32 flow_clock(const struct rtprelay_flow *flow, __u32 index, __u8 payload_type)
{
	const struct rtprelay_rules *rules;

	if (likely(payload_type == flow->usual_type))
		return flow->usual_clock;
	rules = rules_at(index);
	return rules ? rules->clocks[rules_payload(rules, payload_type) & RTPRELAY_PAYLOAD_CLOCK_MASK] : 0;
}

/* What the payload is to be overwritten with, or -1: it stays. */
static __always_inline int flow_silence(const struct rtprelay_flow *flow, __u32 index, __u8 payload_type)
{
	const struct rtprelay_rules *rules;
	__u32 number;

	if (likely(!(flow->flags & RTPRELAY_FLOW_SILENCED)))
		return -1;
	rules = rules_at(index);
	if (!rules)
		return -1;
	number = (rules_payload(rules, payload_type) & RTPRELAY_PAYLOAD_SILENCE_MASK) >> RTPRELAY_SILENCE_SHIFT;
	return number ? rules->silences[number & (RTPRELAY_SILENCES - 1)] : -1;
}

/* Which lane a source belongs to, by number, where its payload type does not tell. Userspace writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct rtprelay_ssrc_key);
	__type(value, __u32);
} rtprelay_lanes SEC(".maps");

/*
 * The flow whose packet this is at a port with lanes (RFC 9143 section 9.2): that of the payload type's lane, or of the
 * source's where several have the type; the port's own where none has it. Null: the source is not known yet.
 */
static __always_inline struct rtprelay_flow *flow_lane(struct rtprelay_flow *flow, __u32 *index,
						       const struct rtp_header *rtp)
{
	const struct rtprelay_rules *rules = rules_at(*index);
	struct rtprelay_flow *lane;
	__u32 number, at, *known;

	if (!rules)
		return flow;
	number = rules_payload(rules, rtp_payload_type(rtp));
	if (unlikely(number == RTPRELAY_LANE_BY_SSRC)) {
		struct rtprelay_ssrc_key key = { .slot = flow->slot, .ssrc = bpf_ntohl(rtp->ssrc) };

		known = bpf_map_lookup_elem(&rtprelay_lanes, &key);
		if (!known)
			return NULL;
		number = *known;
	}
	if (!number || number > RTPRELAY_MAX_LANES)
		return flow;
	at = rules->lanes[(number - 1) & (RTPRELAY_MAX_LANES - 1)];
	lane = at ? flow_at(at) : NULL;
	if (!lane)
		return flow;
	*index = at;
	return lane;
}

static __always_inline void flow_dropped(const struct rtprelay_flow *flow)
{
	struct rtprelay_aside *aside = aside_at(flow->slot);

	if (aside)
		aside->dropped++;
}

static __always_inline void flow_accepted(struct rtprelay_state *state, const struct packet *packet)
{
	state->ssrc.packets++;
	state->ssrc.bytes += packet->received;
}

#endif
