// SPDX-License-Identifier: GPL-2.0
/*
 * What userspace cannot do to a key by reading and writing maps; it runs these programs (BPF_PROG_TEST_RUN) instead.
 *
 * Claiming an index of a key that the programs use as well: under the same lock and by the same rules as they do. What
 * it has read from the map is old by the time it sends.
 *
 * Zeroing a key: an element of a hash that is replaced or deleted stays in freed memory as it was.
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

/* 0: no key is there any more, whether or not there was one. */
SEC("syscall")
int rtprelay_forget(struct rtprelay_srtp_claim *claim)
{
	__u32 index = claim->key;
	volatile __u64 *words = bpf_map_lookup_elem(&rtprelay_srtp_keys, &index);

	if (words)
		for (unsigned int i = 0; i < sizeof(struct rtprelay_srtp_key) / sizeof(*words); i++)
			words[i] = 0;
	return 0;
}

char _license[] SEC("license") = "GPL";
