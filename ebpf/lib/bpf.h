/* SPDX-License-Identifier: GPL-2.0 */
/* What every program starts from. */
#ifndef RTPRELAY_BPF_H
#define RTPRELAY_BPF_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "rtprelay/abi.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define NANOSECONDS 1000000000ull

/*
 * Load it each time it is asked for. Also for bounds of loops: what the verifier knows nothing about looks the same to
 * it on each path, so that it walks a loop once and not once for each bound.
 */
#define READ_ONCE(x) (*(const volatile typeof(x) *) &(x))

/*
 * Where paths meet, before a loop: the verifier should notice, and go on with one of them. It compares states only
 * where it keeps them, and keeps one only after eight instructions and two jumps. The jump goes nowhere.
 */
#define MEETING_POINT(pointer)                                                                                         \
	asm volatile("%0 = %0; %0 = %0; %0 = %0; %0 = %0; %0 = %0; %0 = %0; if r10 == 0 goto +0" : "+r"(pointer))

/* Have a cache line fetched that will be needed soon. BPF has no prefetch, but a load nobody waits for is as good. */
static __always_inline void touch(const void *at)
{
	(void) *(const volatile __u32 *) at;
}

/* Whether `size` bytes are there. The barrier keeps clang from calculating with the end, which the verifier forbids. */
static __always_inline bool within(const void *at, __u32 size, const void *end)
{
	barrier_var(end);
	return at + size <= end;
}

#endif
