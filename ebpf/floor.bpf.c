// SPDX-License-Identifier: GPL-2.0
/* Programs that do nothing: what the harness of bench/testrun.py costs by itself. */
#include "bpf.h"
#include <linux/pkt_cls.h>

SEC("xdp")
int floor_xdp(struct xdp_md *ctx)
{
	return XDP_REDIRECT;
}

SEC("tc")
int floor_tc(struct __sk_buff *skb)
{
	return TC_ACT_REDIRECT;
}

char _license[] SEC("license") = "GPL";
