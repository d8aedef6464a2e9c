/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reception statistics of one RTP source: RFC 3550 appendix A.1 (sequence numbers), A.3 (loss), A.8 (jitter).
 *
 * Sequence numbers are extended to 64 bits on the highest one so far. By the 16-bit distance from there, a packet is
 *
 * - forward by less than MAX_DROPOUT: the packets between may be lost;
 * - backward within the window of 128: seen already, a duplicate; not seen yet, reordered;
 * - anything else: reordered for now, but if the next number follows, the source has restarted: the numbering goes on
 *   from there, and what was lost before stays lost.
 *
 * Jitter is kept in nanoseconds, not in ticks, so that a flow whose payload types have different clocks needs no
 * conversion.
 */
#ifndef RTPRELAY_RTP_H
#define RTPRELAY_RTP_H

#include "count.h"
#include "flow.h"

#define MAX_DROPOUT   3000
#define RESTART_AT(n) (0x10000 | (__u16) (n))
#define MAX_TRANSIT   (5 * NANOSECONDS) /* a larger step is a new timestamp base, not jitter */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* few streams have a second source */
	__uint(max_entries, 16384);
	__type(key, struct rtprelay_ssrc_key);
	__type(value, struct rtprelay_source);
} rtprelay_ssrcs SEC(".maps");

static const struct rtprelay_source unheard;

/* The map is written only when a source shows up, never for each packet. */
static __noinline struct rtprelay_source *rtp_further_source(struct rtprelay_aside *aside, __u32 slot, __u32 ssrc)
{
	struct rtprelay_ssrc_key key = { .slot = slot, .ssrc = ssrc };
	struct rtprelay_source *source = bpf_map_lookup_elem(&rtprelay_ssrcs, &key);

	if (source)
		return source;
	if (aside->ssrc_count >= RTPRELAY_MAX_SSRCS ||
	    bpf_map_update_elem(&rtprelay_ssrcs, &key, &unheard, BPF_NOEXIST)) {
		count(RTPRELAY_COUNTER_SSRC_UNTRACKED);
		return NULL;
	}
	aside->further[aside->ssrc_count & (RTPRELAY_MAX_SSRCS - 1)] = ssrc;
	aside->ssrc_count++;
	return bpf_map_lookup_elem(&rtprelay_ssrcs, &key);
}

/* A packet that is not of the flow's first source. */
static __always_inline struct rtprelay_source *rtp_further(__u32 slot, __u32 ssrc, const struct packet *packet,
							   __u64 now)
{
	struct rtprelay_aside *aside = aside_at(slot);
	struct rtprelay_source *source;

	if (!aside)
		return NULL;
	aside->last_seen = now;
	aside->further_packets++;
	aside->further_bytes += packet->received;
	source = rtp_further_source(aside, slot, ssrc);
	if (source) {
		source->ssrc.packets++;
		source->ssrc.bytes += packet->received;
	}
	return source;
}

/* Move the window up by `step` packets and mark the newest. */
static __always_inline void window_advance(__u64 window[2], __u32 step)
{
	if (likely(step < 64)) {
		window[1] = window[1] << step | window[0] >> 1 >> (63 - step);
		window[0] <<= step;
	} else {
		window[1] = step < RTPRELAY_SEQUENCE_WINDOW ? window[0] << (step - 64) : 0;
		window[0] = 0;
	}
	window[0] |= 1;
}

/* Mark the packet `behind` the newest. True: it had come already. */
static __always_inline bool window_mark(__u64 window[2], __u32 behind)
{
	__u64 bit = 1ull << (behind & 63);
	__u64 *word = behind < 64 ? &window[0] : &window[1];
	bool seen = *word & bit;

	*word |= bit;
	return seen;
}

static __always_inline void sequence_first(struct rtprelay_ssrc *source, struct rtprelay_past *past, __u16 sequence)
{
	past->base = sequence;
	source->highest = sequence;
	source->window[0] = 1;
}

/* A packet that is not a little ahead of the newest. */
static __always_inline void sequence_odd(struct rtprelay_ssrc *source, struct rtprelay_past *past, __u16 sequence)
{
	__u16 step = sequence - (__u16) source->highest;
	__u16 behind = -step;

	if (behind < RTPRELAY_SEQUENCE_WINDOW) {
		if (window_mark(source->window, behind))
			past->duplicates++;
		else
			past->reordered++;
	} else if (past->restart == RESTART_AT(sequence)) {
		/* Of the new numbering two packets are expected so far, and have come: keep highest - base + 1 true. */
		past->base += step - 2;
		source->highest += step;
		source->window[0] = 3;
		source->window[1] = 0;
		past->reordered--;
		past->restart = 0;
	} else {
		past->reordered++;
		past->restart = RESTART_AT(sequence + 1);
	}
}

/* RFC 3550 A.1, without its probation: a relay forwards from the first packet. `past`: null for that of the first
 * source.
 */
static __always_inline void sequence_next(struct rtprelay_ssrc *source, struct rtprelay_past *past, __u32 slot,
					  __u16 sequence)
{
	__u16 step = sequence - (__u16) source->highest;
	struct rtprelay_aside *aside;

	if (likely(source->window[0] && step && step < MAX_DROPOUT)) {
		source->highest += step;
		window_advance(source->window, step);
		return;
	}
	if (!past) {
		aside = aside_at(slot);
		if (!aside)
			return;
		past = &aside->past;
	}
	if (source->window[0])
		sequence_odd(source, past, sequence);
	else
		sequence_first(source, past, sequence);
}

/* RFC 3550 A.8: J += (|D| - J) / 16, in units of 1/16 to keep the fraction. */
static __always_inline void jitter_next(struct rtprelay_ssrc *source, __u32 timestamp, __u32 clock, __u64 now)
{
	__s64 ticks = (__s32) (timestamp - source->last_timestamp);
	__s64 transit = (__s64) (now - source->last_arrival) - (ticks * clock >> RTPRELAY_CLOCK_SHIFT);

	if (transit < 0)
		transit = -transit;
	if (transit < (__s64) MAX_TRANSIT)
		source->jitter +=
			(__u32) (transit >> RTPRELAY_TRANSIT_SHIFT) - ((source->jitter + 8) >> RTPRELAY_JITTER_SHIFT);
}

/* The packet has been counted at the flow: flow_accepted. */
static __always_inline void rtp_received(const struct rtprelay_flow *flow, __u32 index, struct rtprelay_state *state,
					 const struct packet *packet, const struct rtp_header *rtp, __u64 now)
{
	__u32 ssrc = bpf_ntohl(rtp->ssrc), timestamp = bpf_ntohl(rtp->timestamp);
	__u8 payload_type = rtp_payload_type(rtp);
	__u32 clock = flow_clock(flow, index, payload_type);
	struct rtprelay_ssrc *source = &state->ssrc;
	struct rtprelay_source *further;
	struct rtprelay_past *past = NULL;

	if (unlikely(source->ssrc != ssrc && source->window[0])) {
		further = rtp_further(flow->slot, ssrc, packet, now);
		if (!further)
			return;
		source = &further->ssrc;
		past = &further->past;
	}
	sequence_next(source, past, flow->slot, bpf_ntohs(rtp->sequence));
	/* Types have the same clock as a rule; which one the last packet had is not kept. */
	if (likely(source->last_arrival && clock) &&
	    (likely(payload_type == source->payload_type) || flow_clock(flow, index, source->payload_type) == clock))
		jitter_next(source, timestamp, clock, now);
	source->ssrc = ssrc;
	source->last_timestamp = timestamp;
	source->last_arrival = now;
	source->payload_type = payload_type;
}

#endif
