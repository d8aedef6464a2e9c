/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many packets may go up to the daemon: the leaky bucket as a meter in its virtual scheduling form (GCRA, ITU-T
 * I.371), one timestamp for each flow and class. Garbage sent to a known port must not starve the daemon.
 */
#ifndef RTPRELAY_PUNT_H
#define RTPRELAY_PUNT_H

#include "bpf.h"

struct punt_rate {
	__u64 interval; /* ns between two packets at the sustained rate */
	__u64 burst; /* ns ahead of schedule that are tolerated */
};

static __always_inline struct punt_rate punt_rate(enum rtprelay_punt_class class)
{
	/*
	 * RTCP, STUN and T.38 are legitimate traffic. A source to be judged needs to be heard a few times; as many in a
	 * row as the daemon keeps until it has judged (PUNTED_IN_A_ROW of core/learning.py), so that video loses none.
	 */
	const __u64 per_second = class == RTPRELAY_PUNT_CONTROL ? 1000 : 50;
	const __u64 in_a_row = class == RTPRELAY_PUNT_CONTROL ? 1000 : 128;

	return (struct punt_rate){ .interval = NANOSECONDS / per_second,
				   .burst = (in_a_row - 1) * (NANOSECONDS / per_second) };
}

static __always_inline bool punt_exhausted(const struct rtprelay_aside *aside, enum rtprelay_punt_class class,
					   __u64 now)
{
	return aside->punt_at[class] > now + punt_rate(class).burst;
}

/* Take one from the allowance. False: it is used up. */
static __always_inline bool punt_take(struct rtprelay_aside *aside, enum rtprelay_punt_class class, __u64 now)
{
	if (punt_exhausted(aside, class, now))
		return false;
	aside->punt_at[class] = (aside->punt_at[class] > now ? aside->punt_at[class] : now) + punt_rate(class).interval;
	return true;
}

static __always_inline bool reason_is_punt(enum rtprelay_reason reason)
{
	return reason < RTPRELAY_REASON_SOURCE_MISMATCH;
}

#endif
