// SPDX-License-Identifier: GPL-2.0
/*
 * Userspace's way to an index of a key that the programs use as well: it runs this (BPF_PROG_TEST_RUN), and takes the
 * index under the same lock and by the same rules as they do. By reading the map it could not: what it has read is old
 * by the time it sends.
 */
#include "srtp_stream.h"

static __always_inline int claim_to_send(struct rtprelay_srtp_stream *stream, struct rtprelay_srtp_claim *claim)
{
	__u64 index;

	if (!srtp_take_next(stream, claim->sequence, &index))
		return RTPRELAY_REASON_SRTP_REUSED;
	claim->index = index;
	return index > REPLAY_MAX_INDEX ? RTPRELAY_REASON_SRTP_EXHAUSTED : 0;
}

/* 0: the index is the caller's, nobody else will get it. Otherwise why not. */
SEC("syscall")
int rtprelay_claim(struct rtprelay_srtp_claim *claim)
{
	struct rtprelay_srtp_stream *stream = srtp_stream_of(claim->key, claim->ssrc);

	if (!stream)
		stream = srtp_stream_made(claim->key, claim->ssrc);
	if (!stream)
		return RTPRELAY_REASON_SRTP_EXHAUSTED;
	if (claim->sending)
		return claim_to_send(stream, claim);
	return srtp_take(stream, claim->index) ? 0 : RTPRELAY_REASON_SRTP_REPLAY;
}

char _license[] SEC("license") = "GPL";
