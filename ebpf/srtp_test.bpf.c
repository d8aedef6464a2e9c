// SPDX-License-Identifier: GPL-2.0
/*
 * For tests and benchmarks only, never installed: SRTP on one packet given to BPF_PROG_TEST_RUN. The frame is a fixed
 * number of bytes that stand for its headers, then RTP or SRTP. The index is guessed, checked and committed as for a
 * real flow.
 */
#include "ctx_xdp.h"

#include "replay.h"
#include "srtp.h"

#define HEADERS 42 /* Ethernet, IPv4, UDP */

struct srtp_test_source {
	__u64 highest;
	__u64 window[2];
};

struct srtp_test_result {
	__u64 change;
	__u64 index; /* of the last run of srtp_test_..._again */
	__u32 fault;
	__u32 zero;
};

/* fault, beside enum srtp_fault */
#define REPLAYED 16
#define NO_ROOM	 17

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtprelay_srtp_key);
} srtp_test_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct srtp_test_source);
} srtp_test_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct srtp_test_result);
} srtp_test_result SEC(".maps");

static __always_inline int treat(struct xdp_md *ctx, const bool protect, struct srtp_test_result *result)
{
	const struct rtprelay_srtp_key *key = bpf_map_lookup_elem(&srtp_test_key, &(__u32){ 0 });
	struct srtp_scratch *scratch = srtp_scratch();
	struct srtp_test_source *known, source = {};
	__u32 ssrc, trailer, length = ctx_length(ctx) - HEADERS;
	int fault;

	if (!key || !scratch)
		return NO_ROOM;
	trailer = srtp_trailer_length(key);
	if (protect && bpf_xdp_adjust_tail(ctx, trailer))
		return NO_ROOM;
	if (!srtp_parse(ctx, scratch, HEADERS, length, protect ? 0 : trailer))
		return SRTP_MALFORMED;
	ssrc = bpf_ntohl(scratch->packet.ssrc);
	known = bpf_map_lookup_elem(&srtp_test_sources, &ssrc);
	if (known)
		source = *known;
	scratch->packet.index = replay_guess(source.highest, source.window, srtp_sequence(&scratch->packet));
	if (scratch->packet.index > REPLAY_MAX_INDEX ||
	    !replay_fresh(source.highest, source.window, scratch->packet.index))
		return REPLAYED;
	fault = protect ? srtp_protect(ctx, scratch, key) : srtp_unprotect(ctx, scratch, key);
	if (fault)
		return fault;
	replay_commit(&source.highest, source.window, scratch->packet.index);
	bpf_map_update_elem(&srtp_test_sources, &ssrc, &source, BPF_ANY);
	result->change = scratch->packet.change;
	if (!protect && bpf_xdp_adjust_tail(ctx, -(int) trailer))
		return NO_ROOM;
	return SRTP_OK;
}

static __always_inline int run(struct xdp_md *ctx, const bool protect)
{
	struct srtp_test_result *result = bpf_map_lookup_elem(&srtp_test_result, &(__u32){ 0 });

	if (!result)
		return XDP_ABORTED;
	result->fault = treat(ctx, protect, result);
	return result->fault ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int srtp_test_protect(struct xdp_md *ctx)
{
	return run(ctx, true);
}

SEC("xdp")
int srtp_test_unprotect(struct xdp_md *ctx)
{
	return run(ctx, false);
}

/*
 * To be run over the same frame many times, which has the trailer's room already and keeps its length; each time under
 * another index. What was protected may be unprotected again, in the same run: nothing else would be authentic.
 */
static __always_inline int again(struct xdp_md *ctx, const bool both)
{
	const struct rtprelay_srtp_key *key = bpf_map_lookup_elem(&srtp_test_key, &(__u32){ 0 });
	struct srtp_test_result *result = bpf_map_lookup_elem(&srtp_test_result, &(__u32){ 0 });
	struct srtp_scratch *scratch = srtp_scratch();

	if (!key || !result || !scratch)
		return XDP_ABORTED;
	if (!srtp_parse(ctx, scratch, HEADERS, ctx_length(ctx) - HEADERS, srtp_trailer_length(key)))
		return XDP_ABORTED;
	scratch->packet.index = ++result->index & REPLAY_MAX_INDEX;
	if (srtp_protect(ctx, scratch, key))
		return XDP_ABORTED;
	return both && srtp_unprotect(ctx, scratch, key) ? XDP_ABORTED : XDP_PASS;
}

SEC("xdp")
int srtp_test_protect_again(struct xdp_md *ctx)
{
	return again(ctx, false);
}

SEC("xdp")
int srtp_test_both_again(struct xdp_md *ctx)
{
	return again(ctx, true);
}

char _license[] SEC("license") = "GPL";
