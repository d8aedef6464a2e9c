/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps that relaying and listing share; the others sit beside the code that uses them. Userspace sets their sizes before it
 * loads. Plain preallocated hash, never LRU: a flood must not evict a call.
 */
#ifndef RTPRELAY_MAPS_H
#define RTPRELAY_MAPS_H

#include "bpf.h"

/* Which ABI this set of maps speaks; only userspace looks at it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtprelay_abi);
} rtprelay_abi SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct rtprelay_endpoint);
	__type(value, struct rtprelay_flow);
} rtprelay_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct rtprelay_state);
} rtprelay_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct rtprelay_output);
} rtprelay_output SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct rtprelay_sent);
} rtprelay_sent SEC(".maps");

static __always_inline struct rtprelay_state *flow_state(const struct rtprelay_flow *flow)
{
	return bpf_map_lookup_elem(&rtprelay_state, &flow->slot);
}

static __always_inline struct rtprelay_output *output_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_output, &index);
}

static __always_inline struct rtprelay_sent *sent_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_sent, &index);
}

static __always_inline bool endpoint_is_ip6(const struct rtprelay_endpoint *endpoint)
{
	const __u32 *word = (const __u32 *) endpoint->address;

	return word[0] || word[1] || word[2] != bpf_htonl(0xffff);
}

#endif
