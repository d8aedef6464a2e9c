// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel halves of the traffic tool: a frame generator for BPF_F_TEST_XDP_LIVE_FRAMES and a counting sink.
 *
 * Live frames come from a page pool whose pages are recycled as the last program left them, with the relay's rewriting
 * in them. So every header byte is written for every packet: a frame that is not rewritten would still carry the
 * receiver's address, bypass the relay's look-up, and look wonderfully fast.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frames.h"

#define UDP_CHECK_OFFSET (ETH_HLEN + sizeof(struct iphdr) + 6)
#define RTP_SEQUENCE_OFFSET (RTP_OFFSET + 2)
#define RTP_TIMESTAMP_OFFSET (RTP_SEQUENCE_OFFSET + 2)

const volatile struct bench_settings settings;

__u32 next_flow, next_recorded;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_FLOWS);
	__type(key, __u32);
	__type(value, struct bench_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RECORDED);
	__type(key, __u32);
	__type(value, struct bench_recorded);
} recorded SEC(".maps"); /* a ring */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PORTS);
	__type(key, __u32);
	__type(value, __u64);
} delivered SEC(".maps"); /* by destination port */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PORTS);
	__type(key, __u32);
	__type(value, __u8);
} receivers SEC(".maps"); /* 1 where a receiver listens */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TOTALS);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} samples SEC(".maps");

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

static __always_inline void add(__u32 which, __u64 amount)
{
	__u64 *value = bpf_map_lookup_elem(&totals, &which);

	if (value)
		*value += amount;
}

static __always_inline int send_off(void)
{
	return settings.out_ifindex ? bpf_redirect(settings.out_ifindex, 0) : XDP_DROP;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u32 index = next_flow;
	struct bench_flow *flow = bpf_map_lookup_elem(&flows, &index);

	next_flow = index + 1 < settings.flow_count ? index + 1 : 0;
	if (!flow || frame + HEADER_BYTES > end)
		return XDP_ABORTED;

	__builtin_memcpy(frame, flow->header, HEADER_BYTES);
	__u16 sequence = bpf_htons(flow->sequence++);
	__u32 timestamp = bpf_htonl(flow->timestamp);
	flow->timestamp += flow->step;
	__u16 check = ~fold(flow->udp_sum + sequence + (timestamp & 0xffff) + (timestamp >> 16));
	*(__u16 *)(frame + RTP_SEQUENCE_OFFSET) = sequence;
	__builtin_memcpy(frame + RTP_TIMESTAMP_OFFSET, &timestamp, sizeof(timestamp));
	*(__u16 *)(frame + UDP_CHECK_OFFSET) = check ? check : 0xffff; /* RFC 768: 0 would say "no checksum" */
	return send_off();
}

/* The same with packets made beforehand. */
SEC("xdp")
int replay(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u32 index = next_recorded;
	struct bench_recorded *packet = bpf_map_lookup_elem(&recorded, &index);
	struct bench_flow *flow = packet ? bpf_map_lookup_elem(&flows, &packet->flow) : 0;

	next_recorded = (index + 1) % MAX_RECORDED;
	if (!flow || frame + RTP_OFFSET + RECORDED_BYTES > end)
		return XDP_ABORTED;
	__builtin_memcpy(frame, flow->header, RTP_OFFSET);
	*(__u16 *)(frame + UDP_CHECK_OFFSET) = packet->udp_check;
	__builtin_memcpy(frame + RTP_OFFSET, packet->data, RECORDED_BYTES);
	return send_off();
}

/* 0 when the IPv4 header's and the UDP checksum are right. */
static __always_inline int wrong_checksums(struct iphdr *ip, struct udphdr *udp, void *end)
{
	__u32 length = settings.sink_udp_bytes;
	__s64 sum = bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0);

	if (sum < 0 || fold(sum) != 0xffff)
		return 1;
	if (!udp->check || bpf_ntohs(udp->len) != length)
		return 1;
	/* Whole words, and half a one: the traffic tool refuses other lengths. The bound is for the verifier. */
	__u32 half = length & 2, rest = 0;
	length &= 0x7fc;
	if (length < sizeof(*udp) || (void *)udp + length + half > end)
		return 1;
	sum = bpf_csum_diff(0, 0, (__be32 *)udp, length, 0);
	if (sum < 0)
		return 1;
	if (half)
		rest = *(__u16 *)((void *)udp + length);
	__u32 pseudo = rest + (ip->saddr & 0xffff) + (ip->saddr >> 16) + (ip->daddr & 0xffff) + (ip->daddr >> 16)
		     + bpf_htons(IPPROTO_UDP) + udp->len;
	return fold(fold(sum) + fold(pseudo)) != 0xffff;
}

/* Keep the payload for somebody else to look at. */
static __always_inline void keep(void *ctx, __u32 port, __u32 length, const int frames)
{
	struct bench_sample *sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
	__u32 offset = ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr);

	if (!sample)
		return;
	sample->port = port;
	sample->length = length;
	if (length < 1 || length > sizeof(sample->data)
	    || (frames ? bpf_xdp_load_bytes(ctx, offset, sample->data, length)
		       : bpf_skb_load_bytes(ctx, offset, sample->data, length)))
		bpf_ringbuf_discard(sample, 0);
	else
		bpf_ringbuf_submit(sample, 0);
}

/* 1 when the frame was media for one of the receivers, or meant to be: counted, and of no further use. */
static __always_inline int count(void *ctx, void *frame, void *end, const int frames)
{
	struct ethhdr *ethernet = frame;
	struct iphdr *ip = frame + sizeof(*ethernet);
	struct udphdr *udp = (void *)ip + sizeof(*ip);

	if ((void *)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
		return 0;
	__u32 port = bpf_ntohs(udp->dest);
	__u8 *known = bpf_map_lookup_elem(&receivers, &port);
	if (!known || !*known || ip->daddr != settings.sink_address) {
		add(TOTAL_STRAY, 1);
		return 1;
	}
	__u64 *packets = bpf_map_lookup_elem(&delivered, &port);
	if (packets)
		*packets += 1;
	add(TOTAL_BYTES, end - frame);
	__u32 which = TOTAL_PACKETS;
	__u64 *all = bpf_map_lookup_elem(&totals, &which);
	if (!all)
		return 1;
	*all += 1;
	__u64 number = *all;
	if (frames && !(number & settings.sink_check_mask)) {
		add(TOTAL_CHECKED, 1);
		if (wrong_checksums(ip, udp, end))
			add(TOTAL_BAD, 1);
	}
	if (settings.sink_sampled && !(number & settings.sink_sampled))
		keep(ctx, port, bpf_ntohs(udp->len) - sizeof(*udp), frames);
	return 1;
}

/* For relays that hand over XDP frames. */
SEC("xdp")
int sink_xdp(struct xdp_md *ctx)
{
	return count(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, 1) ? XDP_DROP : XDP_PASS;
}

/*
 * For relays that send through the socket layer: XDP would first have to copy each of their packets into a page.
 * Their checksums are left for the device to fill in (CHECKSUM_PARTIAL) and cannot be verified on veth.
 */
SEC("tc")
int sink_tc(struct __sk_buff *skb)
{
	if (bpf_skb_pull_data(skb, HEADER_BYTES))
		return TC_ACT_OK;
	return count(skb, (void *)(long)skb->data, (void *)(long)skb->data_end, 0) ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
