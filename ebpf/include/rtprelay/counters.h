/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs did, beside reasons.h. Numbered once, never reused.
 * A counter's index into the `rtprelay_counts` map is RTPRELAY_COUNTER_BASE + its number.
 */
#ifndef RTPRELAY_COUNTERS_H
#define RTPRELAY_COUNTERS_H

#define RTPRELAY_COUNTERS(X)                                                                                           \
	X(1, XDP_FORWARDED, "packets forwarded by XDP; a broadcast counts once")                                       \
	X(2, TC_FORWARDED, "packets forwarded by tc; a fan-out counts once")                                           \
	X(3, RTCP_FORWARDED, "RTCP packets forwarded by tc, beside the copy handed up to be read")                     \
	X(4, CHECKSUM_COMPLETED, "packets of local senders whose UDP checksum had to be completed")                    \
	X(5, SSRC_UNTRACKED, "packets forwarded without RTP statistics: too many SSRCs")

#endif
