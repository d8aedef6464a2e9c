/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI between userspace and every kernel data plane (eBPF now, the module later), defined once.
 *
 * Rules of the layout: fixed width, no pointers, no enums or bit-fields as members, explicit padding; addresses are 16
 * bytes in network order (IPv4 as IPv4-mapped IPv6), ports and VLAN tags are in network order, all other numbers in
 * host order. tools/gen_abi.py turns this header (by way of BTF) into rtprelay/kernel/_abi.py.
 *
 * Who writes what: userspace writes configuration (rtprelay_flow, rtprelay_rules, rtprelay_output, groups); the
 * programs write state (rtprelay_state, rtprelay_aside, rtprelay_ssrc, rtprelay_sent, counts). So configuration can be
 * replaced without losing a count.
 *
 * Finding a flow: the local port's word in ports has the index of the first flow at that port, flow.next that of the
 * next one (at another local address), 0 ends the chain. A flow and its rules, which have the same index, are never
 * changed in place: userspace writes a new pair and then redirects the one word that leads to the old pair, which waits
 * out the programs that may be looking at it. Likewise the addresses of an output in use: write a new range of outputs,
 * and replace the flow.
 *
 * What a packet of an ordinary flow touches is kept together and small: flow, state and output are a cache line of 64
 * bytes each, sent is 16. What it does not is elsewhere (rules, aside, wrap, unsent): with tens of thousands of flows,
 * time is cache lines.
 * docs/adr/0002-data-plane.md has the measurements.
 */
#ifndef RTPRELAY_ABI_H
#define RTPRELAY_ABI_H

#include <linux/types.h>

#include "rtprelay/counters.h"
#include "rtprelay/reasons.h"

enum rtprelay_limits {
	RTPRELAY_ABI_VERSION = 10,
	RTPRELAY_PORTS = 65536,
	RTPRELAY_PORT_INDEX_BITS = 23, /* of a word of the ports map: see there */
	RTPRELAY_PORT_HINT_BITS = 20,
	RTPRELAY_MAX_CHAIN = 32, /* local addresses that can use the same port */
	RTPRELAY_MAX_OUTPUTS = 256, /* of one flow */
	RTPRELAY_MAX_SSRCS = 16, /* tracked of one flow, beside the one inside its state */
	RTPRELAY_PAYLOAD_TYPES = 128,
	RTPRELAY_CLOCKS = 8,
	RTPRELAY_CLOCK_SHIFT = 8, /* clocks[] are in 1/256 ns */
	RTPRELAY_SILENCES = 8,
	RTPRELAY_SILENCE_SHIFT = 3,
	RTPRELAY_TAGS_SHIFT = 6, /* of output.flags */
	RTPRELAY_MAX_LANES = 16, /* of one port */
	RTPRELAY_LANE_BY_SSRC = 255, /* several lanes have this payload type: see rtprelay_lanes */
	RTPRELAY_TRANSIT_SHIFT = 5, /* what jitter is made of is measured in 32 ns, */
	RTPRELAY_JITTER_SHIFT = 4, /* and jitter kept in 1/16 of that, as in RFC 3550 A.8 */
	RTPRELAY_SEQUENCE_WINDOW = 128, /* packets */
	RTPRELAY_TTL = 64, /* of every packet sent: a relay is an endpoint, see docs/adr/0002-data-plane.md */
	RTPRELAY_MARK_FORWARDED = 0x52545001, /* skb mark of RTCP the kernel has forwarded: only to be read */
	RTPRELAY_COUNTER_BASE = 128, /* of counters.h within the counts map */
	RTPRELAY_COUNTS = 256,
	RTPRELAY_STEER_QUEUES = 256, /* sockets for each family, see steer.bpf.c; a power of two */
	RTPRELAY_NO_GROUP = 0xffff,
	RTPRELAY_NONE = 0xffffffff, /* no such index */
};

/* rtprelay_flow.flags */
enum rtprelay_flow_flag {
	RTPRELAY_FLOW_XDP = 1, /* each output is READY, of this family and on a device that XDP can send to */
	RTPRELAY_FLOW_LOCK = 2, /* once the expected source has spoken, others are dropped */
	RTPRELAY_FLOW_SRTP = 4, /* what comes in is SRTP, under rules.srtp_in */
	RTPRELAY_FLOW_SRTP_OUT = 8, /* an output has a key */
	RTPRELAY_FLOW_LANED = 16, /* a bundle: RTP is its lanes', see rules.lanes */
	RTPRELAY_FLOW_SILENCED = 32, /* a payload type has a silence */
};

/* rtprelay_flow.on_mismatch; the numbers of rtprelay.plan.flow.Mismatch */
enum rtprelay_mismatch {
	RTPRELAY_MISMATCH_DROP = 0,
	RTPRELAY_MISMATCH_PUNT = 1,
	RTPRELAY_MISMATCH_ACCEPT = 2,
};

/* rtprelay_rules.payload[type]; but see rules.lanes */
enum rtprelay_payload_rule {
	RTPRELAY_PAYLOAD_CLOCK_MASK = 7, /* index into clocks[] */
	RTPRELAY_PAYLOAD_SILENCE_MASK = 56, /* index into silences[]; 0: the payload stays */
	RTPRELAY_PAYLOAD_LISTED = 64, /* there is a rule; of no interest to the programs */
	RTPRELAY_PAYLOAD_DROP = 128,
};

/* rtprelay_output.flags */
enum rtprelay_output_flag {
	RTPRELAY_OUTPUT_PRESENT = 1, /* clear: a hole, skipped (keep its ifindex: its copy may be on the way) */
	RTPRELAY_OUTPUT_READY = 2, /* ifindex and MACs are resolved */
	RTPRELAY_OUTPUT_LOCAL = 4, /* the destination is an address of this host */
	RTPRELAY_OUTPUT_SSRC = 8, /* substitute `ssrc` */
	RTPRELAY_OUTPUT_SRTP = 16, /* has a key: wrap.srtp_out */
	RTPRELAY_OUTPUT_IP6 = 32, /* what its addresses are */
	/* The tags of its packets are wrap.vlan; the highest bits, which are the number of tags. */
	RTPRELAY_OUTPUT_TAGGED = 64,
	RTPRELAY_OUTPUT_TAGGED_TWICE = 128,
};

/* rtprelay_aside.punt_at[] */
enum rtprelay_punt_class {
	RTPRELAY_PUNT_SOURCE = 0, /* unexpected sources */
	RTPRELAY_PUNT_SIGNALLED = 1, /* RTP from the signalled address: no flood may starve it */
	RTPRELAY_PUNT_CONTROL = 2, /* all else: RTCP, STUN, DTLS, T.38 */
	RTPRELAY_PUNT_CLASSES = 3,
};

enum rtprelay_reason {
#define X(number, action, name, text) RTPRELAY_REASON_##name = (number),
	RTPRELAY_REASONS(X)
#undef X
};

enum rtprelay_counter {
#define X(number, name, text) RTPRELAY_COUNTER_##name = (number),
	RTPRELAY_COUNTERS(X)
#undef X
};

/* A transport address; all zero: none. */
struct rtprelay_endpoint {
	__u8 address[16];
	__be16 port;
	__u16 zero;
} __attribute__((aligned(4)));

/* What enters at one local port. Semantics: rtprelay/plan/flow.py. */
struct rtprelay_flow {
	__u8 local[16];
	__u8 expected[16]; /* with expected_port 0: nothing is expected */
	__be16 local_port;
	__be16 expected_port;
	__u32 next; /* flow at the same port of another local address; 0: none */
	__u32 slot; /* into state and aside; kept for as long as the port is in use */
	__u32 output_base; /* RTP goes to outputs[output_base .. + output_count) */
	__u16 output_count;
	__u16 generation; /* of `expected`, never 0; a new one makes "has spoken" start anew */
	__u8 flags;
	__u8 on_mismatch;
	__u16 mtu; /* largest IP packet, as it comes in, that fits each output's link; larger ones are punted */
	__u8 usual_type; /* a payload type that is not dropped, whose rule is not looked up; above 127: none */
	__u8 reserved;
	__u16 group; /* into groups, for more than one output by XDP; or RTPRELAY_NO_GROUP */
	__u32 usual_clock; /* its clock, as in clocks[] */
};

/*
 * The rest of a flow, for packets that are not the ordinary ones.
 *
 * At a port that bundles several media (RFC 9143), each has a flow of its own, a lane: with outputs, rules and flags of
 * its own, and all else as the flow the port leads to. No chain leads to it; that flow, LANED, does: its payload[] is
 * the number of the lane, from 1, and lanes[] says where that is. RTP of no lane, and all that is no RTP, is its own;
 * it has no outputs. A payload type that several lanes have says nothing; then the map rtprelay_lanes knows the number
 * by {slot, SSRC}, or userspace has to find it out.
 */
struct rtprelay_rules {
	struct rtprelay_endpoint rtcp_expected;
	struct rtprelay_endpoint signalled;
	__u32 rtcp_output; /* into outputs, where the kernel may forward RTCP itself; or RTPRELAY_NONE */
	__u32 rtcp_base; /* userspace sends RTCP to outputs[rtcp_base .. + rtcp_count); only the list looks */
	__u16 rtcp_count; /* see rtcp_base */
	__u16 reserved;
	__u32 srtp_in; /* into srtp_keys, with RTPRELAY_FLOW_SRTP; otherwise RTPRELAY_NONE */
	__u32 lanes[RTPRELAY_MAX_LANES]; /* into flows */
	__u32 clocks[RTPRELAY_CLOCKS]; /* length of one RTP tick in 1/256 ns; [0] is 0: unknown */
	__u8 silences[RTPRELAY_SILENCES]; /* what the payload is overwritten with, byte by byte; [0] is not used */
	__u8 payload[RTPRELAY_PAYLOAD_TYPES]; /* enum rtprelay_payload_rule */
};

/* One copy: what is written into the packet, and where it leaves. All zero is a hole. */
struct rtprelay_output {
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 destination_mac[6];
	__u8 source_mac[6];
	__u32 ifindex;
	__u32 ssrc;
	__u32 timestamp_offset;
	__u16 sequence_offset;
	__u8 tos;
	__u8 flags;
};

/* What the packets of an output are wrapped in, where its flags say so; written before them. Its index is the output's.
 */
struct rtprelay_wrap {
	__be16 vlan[2]; /* TCI of the outer and the inner tag; output.ifindex is the device below the tags */
	__u32 srtp_out; /* into srtp_keys, the key of this output's SSRCs alone */
};

/* What was sent by one output. */
struct rtprelay_sent {
	__u64 packets;
	__u64 bytes; /* of UDP payload */
};

/*
 * One RTP source at one port (RFC 3550 appendix A.1, A.3, A.8): what each of its packets changes. window[0] == 0:
 * unused. lost = (highest - base + 1) - packets.
 */
struct rtprelay_ssrc {
	__u64 packets;
	__u64 bytes; /* of UDP payload */
	__u64 highest; /* extended: cycles << 16 | sequence */
	__u64 window[2]; /* bit i of the 128: packet `highest - i` has come */
	__u64 last_arrival; /* ns of CLOCK_MONOTONIC */
	__u32 ssrc;
	__u32 last_timestamp;
	__u32 jitter; /* RTPRELAY_JITTER_SHIFT */
	__u16 confirmed; /* of a flow's state: flow generation in which the expected source has spoken */
	__u8 payload_type; /* of the last packet */
	__u8 reserved;
};

/* The rest of a source. */
struct rtprelay_past {
	__u64 base; /* extended sequence number of the first packet, moved along when the source restarts */
	__u32 restart; /* 1 << 16 | the sequence number that would confirm a restart of the source; 0: none */
	__u32 reordered;
	__u32 duplicates;
	__u32 reserved;
};

/* A source beside the first one: value of the ssrcs map. */
struct rtprelay_source {
	struct rtprelay_ssrc ssrc;
	struct rtprelay_past past;
};

/*
 * What the programs know of one flow. Zeroed by userspace when the slot is given out. `packets` and `bytes` are all
 * that was accepted, RTP and RTCP; the first source's are what is left without those that aside has counted.
 */
struct rtprelay_state {
	struct rtprelay_ssrc ssrc; /* the first source */
};

/* What happened to the flow beside forwarding RTP of its first source; its index is the state's. Zeroed likewise. */
struct rtprelay_aside {
	__u64 dropped;
	__u64 punted;
	__u64 last_seen; /* as last_arrival, of what is counted here: */
	__u64 rtcp_packets;
	__u64 rtcp_bytes;
	__u64 further_packets; /* RTP of further sources */
	__u64 further_bytes;
	__u64 punt_at[RTPRELAY_PUNT_CLASSES]; /* when the rate limiter of each class runs empty, ns */
	struct rtprelay_past past; /* of the first source */
	__u32 reserved;
	__u32 ssrc_count; /* entries of this slot in ssrcs */
	__u32 further[RTPRELAY_MAX_SSRCS]; /* which; written before ssrc_count is raised */
};

/* Key of the ssrcs map, the further sources of a flow, and of the lanes map. */
struct rtprelay_ssrc_key {
	__u32 slot;
	__u32 ssrc;
};

/* Value of a devmap: a device that copies go to, once for each output on it. lib/broadcast.h says how they find theirs.
 */
struct rtprelay_group_entry {
	__u32 ifindex;
	__s32 program_fd; /* of relay_egress; reads back as its id */
};

/* A local address, as in rtprelay_endpoint: key of the homes map. */
struct rtprelay_steer_address {
	__u32 words[4];
};

/* The ports of a local address that the daemon holds without a socket: bit port % 8 of byte port / 8. */
struct rtprelay_steer_held {
	__u8 bits[8192];
};

#include "rtprelay/srtp_abi.h"

/* Written once into the `rtprelay_abi` map by whoever creates the set of maps, checked by whoever finds it pinned. */
struct rtprelay_abi {
	__u32 version;
	__u32 flow_size;
	__u32 output_size;
	__u32 state_size;
};

#endif
