/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flows, and whose packets they take. The order of the rules is that of rtprelay/plan/flow.py.
 *
 * A port has one sender as a rule, whose packets one CPU takes: the state is written without atomic operations. Two CPUs at
 * one flow may lose a count now and then, never a packet (an atomic add costs 5 ns, there would be four for each packet).
 */
#ifndef RTPRELAY_FLOW_H
#define RTPRELAY_FLOW_H

#include "demux.h"
#include "maps.h"

static __always_inline struct rtprelay_flow *flow_find(const struct packet *packet)
{
	return bpf_map_lookup_elem(&rtprelay_flows, &packet->local);
}

/* 0: accepted. Otherwise why not; reasons below RTPRELAY_REASON_SOURCE_MISMATCH are punts. */
static __always_inline enum rtprelay_reason flow_judge(const struct rtprelay_flow *flow, struct rtprelay_state *state,
						       const struct packet *packet, enum kind kind)
{
	if (likely(endpoint_same(kind == KIND_RTCP ? &flow->rtcp_expected : &flow->expected, &packet->source))) {
		if (unlikely(state->confirmed != flow->generation))
			state->confirmed = flow->generation;
		return 0;
	}
	/* The address the SDP named beats a learned one, whatever the policy. */
	if (endpoint_same(&flow->signalled, &packet->source))
		return RTPRELAY_REASON_SIGNALLED_SOURCE;
	switch (flow->on_mismatch) {
	case RTPRELAY_MISMATCH_ACCEPT:
		return 0;
	case RTPRELAY_MISMATCH_PUNT:
		if (flow->flags & RTPRELAY_FLOW_LOCK && state->confirmed == flow->generation)
			return RTPRELAY_REASON_SOURCE_LOCKED;
		return RTPRELAY_REASON_UNKNOWN_SOURCE;
	default:
		return RTPRELAY_REASON_SOURCE_MISMATCH;
	}
}

static __always_inline bool flow_drops(const struct rtprelay_flow *flow, __u8 payload_type)
{
	return flow->payload[payload_type & (RTPRELAY_PAYLOAD_TYPES - 1)] & RTPRELAY_PAYLOAD_DROP;
}

/* The length of a tick of this payload type, 0 where it is unknown. */
static __always_inline __u32 flow_clock(const struct rtprelay_flow *flow, __u8 payload_type)
{
	return flow->clocks[flow->payload[payload_type & (RTPRELAY_PAYLOAD_TYPES - 1)] & RTPRELAY_PAYLOAD_CLOCK_MASK];
}

static __always_inline void flow_accepted(struct rtprelay_state *state, const struct packet *packet, __u64 now)
{
	state->packets++;
	state->bytes += packet->payload_length;
	state->last_seen = now;
}

#endif
