/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps that relaying and listing share; the others sit beside the code that uses them. Userspace sets their sizes
 * before it loads, and writes to them through memory.
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

/*
 * What leads from a port to its flows, 0 where there are none. From the low end: RTPRELAY_PORT_INDEX_BITS of the index
 * of the first one; a bit that says whether it has several outputs; its slot and first output, RTPRELAY_PORT_HINT_BITS
 * each. All but the index are hints what to fetch, beside the flow and not after it: cut short or out of date they cost
 * time and nothing else. The words of even ports come first, which are those of RTP: they share cache lines.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RTPRELAY_PORTS);
	__type(key, __u32);
	__type(value, __u64);
} rtprelay_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct rtprelay_flow);
} rtprelay_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct rtprelay_rules);
} rtprelay_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct rtprelay_state);
} rtprelay_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct rtprelay_aside);
} rtprelay_aside SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct rtprelay_output);
} rtprelay_output SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct rtprelay_wrap);
} rtprelay_wrap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct rtprelay_sent);
} rtprelay_sent SEC(".maps");

/* How many copies could not be sent, by output. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u64);
} rtprelay_unsent SEC(".maps");

static __always_inline __u64 port_word(__be16 port)
{
	__u32 number = bpf_ntohs(port), key = number >> 1 | (number & 1) << 15;
	const __u64 *word = bpf_map_lookup_elem(&rtprelay_ports, &key);

	return word ? READ_ONCE(*word) : 0;
}

/* The index of the first flow, 0 if there is none. */
static __always_inline __u32 port_first(__u64 word)
{
	return word & ((1 << RTPRELAY_PORT_INDEX_BITS) - 1);
}

static __always_inline bool port_several_hint(__u64 word)
{
	return word >> RTPRELAY_PORT_INDEX_BITS & 1;
}

static __always_inline __u32 port_slot_hint(__u64 word)
{
	return word >> (RTPRELAY_PORT_INDEX_BITS + 1) & ((1 << RTPRELAY_PORT_HINT_BITS) - 1);
}

static __always_inline __u32 port_output_hint(__u64 word)
{
	return word >> (RTPRELAY_PORT_INDEX_BITS + 1 + RTPRELAY_PORT_HINT_BITS);
}

static __always_inline struct rtprelay_flow *flow_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_flows, &index);
}

static __always_inline struct rtprelay_rules *rules_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_rules, &index);
}

static __always_inline struct rtprelay_state *state_at(__u32 slot)
{
	return bpf_map_lookup_elem(&rtprelay_state, &slot);
}

static __always_inline struct rtprelay_aside *aside_at(__u32 slot)
{
	return bpf_map_lookup_elem(&rtprelay_aside, &slot);
}

static __always_inline struct rtprelay_output *output_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_output, &index);
}

/* Have an output fetched that a packet will be written for soon. */
static __always_inline void fetch_output(__u32 index)
{
	const struct rtprelay_output *output = output_at(index);

	if (output)
		touch(output);
}

static __always_inline struct rtprelay_wrap *wrap_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_wrap, &index);
}

static __always_inline struct rtprelay_sent *sent_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_sent, &index);
}

static __always_inline __u64 *unsent_at(__u32 index)
{
	return bpf_map_lookup_elem(&rtprelay_unsent, &index);
}

static __always_inline bool output_is_ip6(const struct rtprelay_output *output)
{
	return output->flags & RTPRELAY_OUTPUT_IP6;
}

/* Addresses are 16 bytes, at a multiple of 4. */
static __always_inline __u32 address_word(const __u8 *address, int i)
{
	return ((const __u32 *) address)[i];
}

static __always_inline __u64 address_half(const __u8 *address, int i)
{
	return ((const __u64 *) address)[i];
}

static __always_inline bool address_same(const __u8 *a, const __u8 *b)
{
	return address_half(a, 1) == address_half(b, 1) && address_half(a, 0) == address_half(b, 0);
}

static __always_inline bool address_is_ip6(const __u8 *address)
{
	return address_half(address, 0) || address_word(address, 2) != bpf_htonl(0xffff);
}

#endif
