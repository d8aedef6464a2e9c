/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Internet checksum (RFC 1071), and its incremental change (RFC 1624).
 *
 * Plain RTP is never summed up as a whole: a full sum would heal a packet that was damaged on its way, and costs more.
 * Sums are kept in 64 bits, of words as they lie in memory; a sum is independent of the byte order as long as that
 * stays the same.
 */
#ifndef RTPRELAY_CSUM_H
#define RTPRELAY_CSUM_H

#include "bpf.h"

/* What changed of a packet, as new words minus old ones. */
struct csum_change {
	__u64 addresses; /* part of the pseudo-header */
	__u64 payload; /* ports and RTP header */
	__u64 header; /* of IPv6, addresses included: no checksum of its own covers it. 0 for IPv4 */
};

/* new - old, in one's complement. */
static __always_inline __u64 csum_diff32(__u32 old, __u32 new)
{
	return (__u64) (__u32) ~old + new;
}

static __always_inline __u32 csum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32) sum + (__u32) (sum >> 32);
}

/* Added to itself with its halves exchanged, a word has the sum of them in the upper half, the carry included. */
static __always_inline __u16 csum_fold16(__u64 sum)
{
	__u32 word;

	sum += sum << 32 | sum >> 32;
	word = sum >> 32;
	word += word << 16 | word >> 16;
	return word >> 16;
}

/* RFC 1624 equation 3. */
static __always_inline __u16 csum_adapt(__u16 check, __u64 change)
{
	return ~csum_fold16((__u16) ~check + change);
}

/* The same for UDP: no checksum stays none; a result of zero is sent as all ones (RFC 768, RFC 8200 section 8.1). */
static __always_inline __u16 csum_adapt_udp(__u16 check, __u64 change)
{
	__u16 adapted;

	if (!check)
		return 0;
	adapted = csum_adapt(check, change);
	return adapted ? adapted : 0xffff;
}

#endif
