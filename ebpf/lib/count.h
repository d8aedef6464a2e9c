/* SPDX-License-Identifier: GPL-2.0 */
/* Numbered reasons and counters, additive and therefore per CPU. */
#ifndef RTPRELAY_COUNT_H
#define RTPRELAY_COUNT_H

#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RTPRELAY_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} rtprelay_counts SEC(".maps");

static __always_inline void count_at(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&rtprelay_counts, &index);

	if (value)
		*value += 1;
}

static __always_inline void count_reason(enum rtprelay_reason reason)
{
	count_at(reason);
}

static __always_inline void count(enum rtprelay_counter counter)
{
	count_at(RTPRELAY_COUNTER_BASE + counter);
}

#endif
