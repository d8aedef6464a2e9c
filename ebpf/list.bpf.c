// SPDX-License-Identifier: GPL-2.0
/*
 * What operators know from /proc/rtpengine/0/list, without a module: an iterator, which prints the flows when its pin
 * is read.
 *
 * It runs once for each flow, and the kernel takes no more than 32 KiB from one run. A flow with few outputs shows each
 * in the familiar layout; one with many shows each on a line, so that all 256 fit.
 */
#include "maps.h"

#include <bpf/bpf_tracing.h>

#define FEW_OUTPUTS 96

/* The kernel structures of an iterator's context, as far as needed; offsets are adjusted to the kernel at load. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
};
#pragma clang attribute pop

#define print_endpoint(seq, label, address, port)                                                                      \
	({                                                                                                             \
		if (address_is_ip6(address))                                                                           \
			BPF_SEQ_PRINTF(seq, label " inet6 [%pI6]:%u\n", address, bpf_ntohs(port));                     \
		else                                                                                                   \
			BPF_SEQ_PRINTF(seq, label " inet4 %pI4:%u\n", (address) + 12, bpf_ntohs(port));                \
	})

struct listing {
	struct seq_file *seq;
	__u32 output_base;
	__u32 media;
};

static void print_output(struct seq_file *seq, __u32 i, __u32 media, const struct rtprelay_output *output,
			 const struct rtprelay_sent *sent, __u64 errors)
{
	BPF_SEQ_PRINTF(seq, "    output #%u (media #%u)\n", i, media);
	print_endpoint(seq, "       src", output->source, output->source_port);
	print_endpoint(seq, "       dst", output->destination, output->destination_port);
	BPF_SEQ_PRINTF(seq, "       stats: %20llu bytes, %20llu packets, %20llu errors\n", sent->bytes, sent->packets,
		       errors);
	if (output->flags & RTPRELAY_OUTPUT_SSRC)
		BPF_SEQ_PRINTF(seq, "       SSRC out: %x [seq +%u]\n", output->ssrc, output->sequence_offset);
}

static long list_output(__u32 i, struct listing *listing)
{
	struct rtprelay_output *output = output_at(listing->output_base + i);
	struct rtprelay_sent *sent = sent_at(listing->output_base + i);
	__u64 *unsent = unsent_at(listing->output_base + i);

	if (output && sent && unsent && output->flags & RTPRELAY_OUTPUT_PRESENT)
		print_output(listing->seq, i, listing->media, output, sent, *unsent);
	return 0;
}

static long list_output_in_short(__u32 i, struct listing *listing)
{
	struct rtprelay_output *output = output_at(listing->output_base + i);
	struct rtprelay_sent *sent = sent_at(listing->output_base + i);
	__u64 *unsent = unsent_at(listing->output_base + i);
	__u16 port;

	if (!output || !sent || !unsent || !(output->flags & RTPRELAY_OUTPUT_PRESENT))
		return 0;
	port = bpf_ntohs(output->destination_port);
	if (output_is_ip6(output))
		BPF_SEQ_PRINTF(listing->seq, "    output #%u [%pI6]:%u %llu bytes, %llu packets, %llu errors\n", i,
			       output->destination, port, sent->bytes, sent->packets, *unsent);
	else
		BPF_SEQ_PRINTF(listing->seq, "    output #%u %pI4:%u %llu bytes, %llu packets, %llu errors\n", i,
			       output->destination + 12, port, sent->bytes, sent->packets, *unsent);
	return 0;
}

/* A port for RTCP alone has no RTP of its own: no source of it, no outputs. */
static bool is_rtcp_only(const struct rtprelay_flow *flow, const struct rtprelay_rules *rules)
{
	return !flow->expected_port && !flow->output_count && rules->rtcp_expected.port;
}

static void print_source(struct seq_file *seq, const struct rtprelay_flow *flow, const struct rtprelay_rules *rules)
{
	if (flow->expected_port)
		print_endpoint(seq, "    expect", flow->expected, flow->expected_port);
	else if (rules->rtcp_expected.port)
		print_endpoint(seq, "    expect", rules->rtcp_expected.address, rules->rtcp_expected.port);
	if (flow->on_mismatch == RTPRELAY_MISMATCH_DROP)
		BPF_SEQ_PRINTF(seq, "    src mismatch action: drop\n");
	if (flow->on_mismatch == RTPRELAY_MISMATCH_PUNT)
		BPF_SEQ_PRINTF(seq, "    src mismatch action: propagate\n");
}

static void print_state(struct seq_file *seq, const struct rtprelay_state *state, const struct rtprelay_aside *aside)
{
	const struct rtprelay_ssrc *ssrc = &state->ssrc;
	__u64 seen = ssrc->last_arrival > aside->last_seen ? ssrc->last_arrival : aside->last_seen;

	BPF_SEQ_PRINTF(seq, "    stats: %20llu bytes, %20llu packets, %20llu errors\n", ssrc->bytes, ssrc->packets,
		       aside->dropped);
	if (ssrc->window[0])
		BPF_SEQ_PRINTF(seq, "        RTP (last payload type %3u): %20llu bytes, %20llu packets\n",
			       ssrc->payload_type, ssrc->bytes - aside->rtcp_bytes - aside->further_bytes,
			       ssrc->packets - aside->rtcp_packets - aside->further_packets);
	if (seen)
		BPF_SEQ_PRINTF(seq, "    last packet: %llu ms ago\n", (bpf_ktime_get_ns() - seen) / 1000000);
	if (ssrc->window[0])
		BPF_SEQ_PRINTF(seq, "    SSRC in: %x [seq %llu/%llu]\n", ssrc->ssrc, ssrc->highest >> 16,
			       ssrc->highest & 0xffff);
}

static void print_options(struct seq_file *seq, const struct rtprelay_flow *flow, const struct rtprelay_rules *rules)
{
	BPF_SEQ_PRINTF(seq, "    options: RTP-stats SSRC-tracking");
	if (rules->rtcp_output != RTPRELAY_NONE)
		BPF_SEQ_PRINTF(seq, " forward-RTCP");
	if (!flow->output_count && !rules->rtcp_count && !(flow->flags & RTPRELAY_FLOW_LANED))
		BPF_SEQ_PRINTF(seq, " non-forwarding");
	/* RTCP goes by tc. */
	if (flow->flags & RTPRELAY_FLOW_XDP && !is_rtcp_only(flow, rules))
		BPF_SEQ_PRINTF(seq, " XDP");
	if (flow->flags & RTPRELAY_FLOW_LANED)
		BPF_SEQ_PRINTF(seq, " bundle");
	BPF_SEQ_PRINTF(seq, "\n");
}

/* The first `count` from `base` on: of a flow, or of one lane of it, which is a medium of a bundle. */
static __noinline void list_outputs(struct seq_file *seq, __u32 base, __u32 media, __u32 count, bool in_short)
{
	struct listing listing = { .seq = seq, .output_base = base, .media = media };

	if (in_short)
		bpf_loop(count, list_output_in_short, &listing, 0);
	else
		bpf_loop(count, list_output, &listing, 0);
}

static void list_lanes(struct seq_file *seq, const struct rtprelay_rules *rules)
{
	__u32 count, outputs = 0, room = RTPRELAY_MAX_OUTPUTS;
	const struct rtprelay_flow *lane;

	for (int i = 0; i < RTPRELAY_MAX_LANES; i++) {
		lane = rules->lanes[i] ? flow_at(rules->lanes[i]) : NULL;
		outputs += lane ? lane->output_count : 0;
	}
	for (int i = 0; i < RTPRELAY_MAX_LANES; i++) {
		lane = rules->lanes[i] ? flow_at(rules->lanes[i]) : NULL;
		if (!lane)
			continue;
		count = lane->output_count < room ? lane->output_count : room;
		room -= count;
		if (outputs > FEW_OUTPUTS)
			BPF_SEQ_PRINTF(seq, "    media #%u, %u of %u outputs:\n", i, count, lane->output_count);
		list_outputs(seq, lane->output_base, i, count, outputs > FEW_OUTPUTS);
	}
}

/* Whether the port leads there: a place may hold a flow that is not yet, or no longer one. */
static bool is_current(const struct rtprelay_flow *flow, __u32 index)
{
	__u32 at = port_first(port_word(flow->local_port));

	for (int i = 0; i < RTPRELAY_MAX_CHAIN && at; i++) {
		if (at == index)
			return true;
		flow = flow_at(at);
		at = flow ? flow->next : 0;
	}
	return false;
}

SEC("iter/bpf_map_elem")
int rtprelay_list(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	const __u32 *key = ctx->key;
	struct rtprelay_aside *aside;
	struct rtprelay_rules *rules;
	struct rtprelay_state *state;
	struct rtprelay_flow *flow;

	if (!key || !ctx->value)
		return 0;
	flow = flow_at(*key);
	rules = rules_at(*key);
	if (!flow || !rules || !flow->local_port || !is_current(flow, *key))
		return 0;
	state = state_at(flow->slot);
	aside = aside_at(flow->slot);
	if (!state || !aside)
		return 0;
	print_endpoint(seq, "local", flow->local, flow->local_port);
	print_source(seq, flow, rules);
	print_state(seq, state, aside);
	print_options(seq, flow, rules);
	if (flow->flags & RTPRELAY_FLOW_LANED)
		list_lanes(seq, rules);
	else if (is_rtcp_only(flow, rules))
		list_outputs(seq, rules->rtcp_base, 0, rules->rtcp_count, rules->rtcp_count > FEW_OUTPUTS);
	else
		list_outputs(seq, flow->output_base, 0, flow->output_count, flow->output_count > FEW_OUTPUTS);
	BPF_SEQ_PRINTF(seq, "\n");
	return 0;
}

char _license[] SEC("license") = "GPL";
