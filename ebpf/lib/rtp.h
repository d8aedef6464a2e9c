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

#define MAX_DROPOUT 3000
#define NO_RESTART  0x10000
#define MAX_TRANSIT (5 * NANOSECONDS) /* a larger step is a new timestamp base, not jitter */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* few streams have a second source */
	__uint(max_entries, 16384);
	__type(key, struct rtprelay_ssrc_key);
	__type(value, struct rtprelay_ssrc);
} rtprelay_ssrcs SEC(".maps");

static const struct rtprelay_ssrc unheard;

/* A further source. The map is written only when one shows up, never for each packet. */
static __noinline struct rtprelay_ssrc *rtp_further_source(struct rtprelay_state *state, __u32 slot, __u32 ssrc)
{
	struct rtprelay_ssrc_key key = { .slot = slot, .ssrc = ssrc };
	struct rtprelay_ssrc *source = bpf_map_lookup_elem(&rtprelay_ssrcs, &key);
	struct rtprelay_aside *aside = aside_at(slot);

	if (source)
		return source;
	if (!aside || state->ssrc_count >= RTPRELAY_MAX_SSRCS ||
	    bpf_map_update_elem(&rtprelay_ssrcs, &key, &unheard, BPF_NOEXIST)) {
		count(RTPRELAY_COUNTER_SSRC_UNTRACKED);
		return NULL;
	}
	aside->further[state->ssrc_count & (RTPRELAY_MAX_SSRCS - 1)] = ssrc;
	state->ssrc_count++;
	return bpf_map_lookup_elem(&rtprelay_ssrcs, &key);
}

static __always_inline struct rtprelay_ssrc *rtp_source(struct rtprelay_state *state, __u32 slot, __u32 ssrc)
{
	if (likely(state->ssrc.ssrc == ssrc || !state->ssrc.packets))
		return &state->ssrc;
	return rtp_further_source(state, slot, ssrc);
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

static __always_inline void sequence_first(struct rtprelay_ssrc *source, __u16 sequence)
{
	source->base = sequence;
	source->highest = sequence;
	source->window[0] = 1;
	source->restart = NO_RESTART;
}

/* RFC 3550 A.1, without its probation: a relay forwards from the first packet. */
static __always_inline void sequence_next(struct rtprelay_ssrc *source, __u16 sequence)
{
	__u16 step = sequence - (__u16) source->highest;
	__u16 behind = -step;

	if (likely(step && step < MAX_DROPOUT)) {
		source->highest += step;
		window_advance(source->window, step);
	} else if (behind < RTPRELAY_SEQUENCE_WINDOW) {
		if (window_mark(source->window, behind))
			source->duplicates++;
		else
			source->reordered++;
	} else if (sequence == source->restart) {
		/* Of the new numbering two packets are expected so far, and have come: keep highest - base + 1 true. */
		source->base += step - 2;
		source->highest += step;
		source->window[0] = 3;
		source->window[1] = 0;
		source->reordered--;
		source->restart = NO_RESTART;
	} else {
		source->reordered++;
		source->restart = (__u16) (sequence + 1);
	}
}

/* RFC 3550 A.8: J += (|D| - J) / 16, in units of 1/16 to keep the fraction. */
static __always_inline void jitter_next(struct rtprelay_ssrc *source, __u32 timestamp, __u32 clock, __u64 now)
{
	__s64 ticks = (__s32) (timestamp - source->last_timestamp);
	__s64 transit = (__s64) (now - source->last_arrival) - (ticks * clock >> RTPRELAY_CLOCK_SHIFT);

	if (transit < 0)
		transit = -transit;
	if (clock && clock == source->clock && transit < (__s64) MAX_TRANSIT)
		source->jitter += transit - ((source->jitter + 8) >> RTPRELAY_JITTER_SHIFT);
}

static __always_inline void rtp_received(const struct rtprelay_flow *flow, __u32 index, struct rtprelay_state *state,
					 const struct packet *packet, const struct rtp_header *rtp, __u64 now)
{
	__u32 ssrc = bpf_ntohl(rtp->ssrc), timestamp = bpf_ntohl(rtp->timestamp);
	__u8 payload_type = rtp_payload_type(rtp);
	__u32 clock = flow_clock(flow, index, payload_type);
	struct rtprelay_ssrc *source = rtp_source(state, flow->slot, ssrc);

	if (unlikely(!source))
		return;
	if (likely(source->packets)) {
		sequence_next(source, bpf_ntohs(rtp->sequence));
		jitter_next(source, timestamp, clock, now);
	} else {
		source->ssrc = ssrc;
		sequence_first(source, bpf_ntohs(rtp->sequence));
	}
	source->packets++;
	source->bytes += packet->received;
	source->clock = clock;
	source->last_timestamp = timestamp;
	source->last_arrival = now;
	source->payload_type = payload_type;
}

#endif
