/* SPDX-License-Identifier: GPL-2.0 */
/* What the generator and the sink agree on with their programs in the kernel (traffic.bpf.c). */
#pragma once

#define RTP_OFFSET 42 /* Ethernet 14, IPv4 20, UDP 8 */
#define HEADER_BYTES (RTP_OFFSET + 12)
#define MAX_FLOWS 65536
#define PORTS 65536

/* One sender: its headers as they go on the wire, and what changes from packet to packet. */
struct bench_flow {
	__u8 header[56];   /* checksum, sequence number and timestamp are zero here */
	__u32 udp_sum;     /* ones' complement sum of everything the UDP checksum covers, with those three as zero */
	__u32 timestamp;
	__u16 sequence;
	__u16 step;        /* RTP clock ticks per packet */
};

#define RECORDED_BYTES 182 /* RTP header, 20 ms of G.711, a tag of 80 bits: what SRTP makes of it */
#define MAX_RECORDED 262144

/* A packet made beforehand, because its maker has the key. */
struct bench_recorded {
	__u32 flow;
	__u16 udp_check;
	__u8 data[RECORDED_BYTES];
};

enum bench_total {
	TOTAL_PACKETS,     /* UDP to one of the receivers */
	TOTAL_BYTES,       /* their whole frames */
	TOTAL_CHECKED,     /* of these, how many had both checksums verified */
	TOTAL_BAD,         /* ... and were found wrong */
	TOTAL_STRAY,       /* UDP to a port nobody listens on */
	TOTALS,
};

/* The programs' constants: all of .rodata. */
struct bench_settings {
	__u32 flow_count;
	__u32 out_ifindex;     /* 0: the generator alone, every frame is dropped once it is written */
	__u32 sink_address;    /* network order */
	__u32 sink_check_mask; /* verify the checksums when (packets & mask) == 0 */
	__u32 sink_udp_bytes;  /* UDP length of the packets whose checksums are verified */
	__u32 sink_sampled;    /* keep a packet when there are no bits of this in its number; 0: keep none */
};

#define SAMPLE_BYTES 1472

/* One packet that is kept, for somebody else to look at. */
struct bench_sample {
	__u32 port;
	__u32 length; /* of the UDP payload */
	__u8 data[SAMPLE_BYTES];
};
