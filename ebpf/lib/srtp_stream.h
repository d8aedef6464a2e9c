/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Keys, and the indices each source has used under a key (RFC 3711 section 3.2.3).
 *
 * Sources of one key may come by different flows, on different CPUs. A source's first packet makes its stream, by a
 * compare-and-swap or an insertion that fails if somebody else was faster. An index is taken under the stream's lock:
 * held for a few instructions, never while a packet is encrypted. (bpf_spin_lock would cost 42 ns a packet; this
 * takes 5.)
 *
 * Userspace takes its indices here too, by claim.bpf.c: as long as a key is in these maps, they alone say what has been
 * used. Should that one be interrupted while it holds the lock, packets of this source are refused until it goes on:
 * lost, but never sent under an index of somebody else.
 */
#ifndef RTPRELAY_SRTP_STREAM_H
#define RTPRELAY_SRTP_STREAM_H

#include "replay.h"

#define SRTP_FIRST_OF(ssrc) (1ull << 32 | (ssrc))
#define SRTP_LOCK_TRIES	    32
#define SRTP_RESTART_AT(n)  (0x10000 | (__u16) (n))

/*
 * Root's alone, like every map; not to be mapped into memory, so that no copy of a key stays behind. A hash that grows
 * with the keys in use: an array of as many as there could be would take 2 KiB a flow from the start, for calls without
 * SRTP as well, and finding a key is next to nothing beside using it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct rtprelay_srtp_key);
} rtprelay_srtp_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct rtprelay_srtp_state);
} rtprelay_srtp_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct rtprelay_srtp_stream_key);
	__type(value, struct rtprelay_srtp_stream);
} rtprelay_srtp_streams SEC(".maps");

static const struct rtprelay_srtp_stream unused_stream;

static __always_inline const struct rtprelay_srtp_key *srtp_key_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_srtp_keys, &index);
}

/* The stream of a source that is known, or null. */
static __always_inline struct rtprelay_srtp_stream *srtp_stream_of(__u32 index, __u32 ssrc)
{
	struct rtprelay_srtp_state *state = bpf_map_lookup_elem(&rtprelay_srtp_state, &index);
	struct rtprelay_srtp_stream_key key = { .key = index, .ssrc = ssrc };

	if (!state)
		return NULL;
	if (likely(READ_ONCE(state->first) == SRTP_FIRST_OF(ssrc)))
		return &state->stream;
	return bpf_map_lookup_elem(&rtprelay_srtp_streams, &key);
}

/* The same of any source; null if there are too many. */
static __noinline struct rtprelay_srtp_stream *srtp_stream_made(__u32 index, __u32 ssrc)
{
	struct rtprelay_srtp_state *state = bpf_map_lookup_elem(&rtprelay_srtp_state, &index);
	struct rtprelay_srtp_stream_key key = { .key = index, .ssrc = ssrc };
	__u32 number;
	__u64 first;

	if (!state)
		return NULL;
	first = __sync_val_compare_and_swap(&state->first, 0, SRTP_FIRST_OF(ssrc));
	if (!first || first == SRTP_FIRST_OF(ssrc))
		return &state->stream;
	if (state->count < RTPRELAY_MAX_SSRCS &&
	    bpf_map_update_elem(&rtprelay_srtp_streams, &key, &unused_stream, BPF_NOEXIST) == 0) {
		number = __sync_fetch_and_add(&state->count, 1);
		if (number < RTPRELAY_MAX_SSRCS)
			state->further[number & (RTPRELAY_MAX_SSRCS - 1)] = ssrc;
	}
	return bpf_map_lookup_elem(&rtprelay_srtp_streams, &key);
}

/* False: somebody else has held it for very long, or his CPU was taken away meanwhile. */
static __always_inline bool srtp_lock(struct rtprelay_srtp_stream *stream)
{
	for (int i = 0; i < SRTP_LOCK_TRIES; i++)
		if (likely(!__sync_val_compare_and_swap(&stream->lock, 0, 1)))
			return true;
	return false;
}

static __always_inline void srtp_unlock(struct rtprelay_srtp_stream *stream)
{
	__sync_lock_test_and_set(&stream->lock, 0);
}

/* Use an index up. False: it has been used, or is too old to tell. */
static __always_inline bool srtp_take(struct rtprelay_srtp_stream *stream, __u64 index)
{
	bool fresh;

	if (!srtp_lock(stream))
		return false;
	fresh = replay_fresh(stream->highest, stream->window, index);
	if (likely(fresh))
		replay_commit(&stream->highest, stream->window, index);
	srtp_unlock(stream);
	return fresh;
}

/*
 * A packet too old to be sent may be the first after its source has started anew. SRTP cannot go back; so if the next
 * number follows (RFC 3550 appendix A.1), the numbers from there on are bridged to continue where the old ones ended.
 * Costs one packet.
 */
static __always_inline bool srtp_restarted(struct rtprelay_srtp_stream *stream, __u16 sequence)
{
	if (stream->restart != SRTP_RESTART_AT(sequence)) {
		stream->restart = SRTP_RESTART_AT(sequence + 1);
		return false;
	}
	stream->bridge = (__u16) (stream->highest + 1 - sequence);
	stream->restart = 0;
	return true;
}

/*
 * Use up the index that a packet to be sent stands for. The same index is never used for two packets: with GCM that
 * would give the key away (RFC 7714 section 10). False: it has been used, or is too old to tell.
 */
static __always_inline bool srtp_take_next(struct rtprelay_srtp_stream *stream, __u16 sequence, __u64 *index)
{
	bool fresh;

	if (!srtp_lock(stream))
		return false;
	*index = replay_guess(stream->highest, stream->window, sequence + stream->bridge);
	fresh = replay_fresh(stream->highest, stream->window, *index);
	if (unlikely(!fresh) && stream->highest - *index >= RTPRELAY_SEQUENCE_WINDOW &&
	    srtp_restarted(stream, sequence)) {
		*index = stream->highest + 1;
		fresh = true;
	}
	if (likely(fresh) && *index <= REPLAY_MAX_INDEX)
		replay_commit(&stream->highest, stream->window, *index);
	srtp_unlock(stream);
	return fresh;
}

#endif
