/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which index a sequence number stands for, and whether that index has been used (RFC 3711 sections 3.3.1, 3.3.2,
 * appendix A).
 *
 * The window keeps the highest index and, bit by bit, the 127 before it; bit 0 of the first word is the highest, so an
 * empty first word means that nothing has come yet. Asking changes nothing: commit only what has been authenticated.
 */
#ifndef RTPRELAY_REPLAY_H
#define RTPRELAY_REPLAY_H

#include "bpf.h"

#define REPLAY_MAX_INDEX ((1ull << 48) - 1)

/* The index nearest to the highest one that ends in `sequence`. */
static __always_inline __u64 replay_guess(__u64 highest, const __u64 window[2], __u16 sequence)
{
	__s16 step = sequence - (__u16) highest;
	__u64 index = highest + step;

	if (unlikely(!window[0]))
		return sequence;
	/* Before the first cycle there is none. */
	return (__s64) index < 0 ? index + 0x10000 : index;
}

/* False: it has come, or is too old to tell. */
static __always_inline bool replay_fresh(__u64 highest, const __u64 window[2], __u64 index)
{
	__u64 behind = highest - index;

	if (likely(index > highest) || unlikely(!window[0]))
		return true;
	if (behind >= RTPRELAY_SEQUENCE_WINDOW)
		return false;
	return !((behind < 64 ? window[0] : window[1]) >> (behind & 63) & 1);
}

/* Note that this index, which was fresh, is used. */
static __always_inline void replay_commit(__u64 *highest, __u64 window[2], __u64 index)
{
	__u64 ahead = index - *highest, behind = *highest - index;

	if (unlikely(!window[0]) || (index > *highest && ahead >= RTPRELAY_SEQUENCE_WINDOW)) {
		*highest = index;
		window[0] = 1;
		window[1] = 0;
	} else if (likely(index > *highest)) {
		*highest = index;
		window[1] =
			ahead < 64 ? window[1] << ahead | window[0] >> 1 >> (63 - ahead) : window[0] << (ahead - 64);
		window[0] = (ahead < 64 ? window[0] << ahead : 0) | 1;
	} else if (behind < 64) {
		window[0] |= 1ull << behind;
	} else {
		window[1] |= 1ull << (behind & 63);
	}
}

#endif
