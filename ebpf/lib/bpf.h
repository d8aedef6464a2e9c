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

/* Have a cache line fetched that will be needed soon. BPF has no prefetch, but a load nobody waits for is as good. */
static __always_inline void touch(const void *at)
{
	(void) *(const volatile __u32 *) at;
}

#endif
