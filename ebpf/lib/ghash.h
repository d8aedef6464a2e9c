/* SPDX-License-Identifier: GPL-2.0 */
/*
 * GHASH (NIST SP 800-38D section 6.4): y = (y ^ x) * H in GF(2^128), one block at a time.
 *
 * A block is two 64-bit words whose most significant bit is the coefficient of the lowest power, so a right shift by n
 * multiplies by x^n. The table holds v * H and x^4 * v * H for each polynomial v of four coefficients, 512 bytes, made
 * by userspace.
 *
 * Multiplication is a comb: the same byte of both words is looked up at once, the products are added 64 positions apart
 * into an accumulator of 256 bits, and that moves on by eight. It is reduced at the end, once. The usual way (Shoup's
 * tables with 4 bits) reduces after each look-up, and each look-up waits for that: 45 ns a block; this takes 22. With 8
 * bits and 4 KiB a key it would be 19, without tables and in constant time 33 (docs/adr/0007-srtp-in-ebpf.md).
 */
#ifndef RTPRELAY_GHASH_H
#define RTPRELAY_GHASH_H

#include "bpf.h"

#define GHASH_BLOCK 16

struct ghash {
	__u64 y[2];
};

/* Add a product to the accumulator's words `high` and `low`. `selected` is the byte offset of a table's entry. */
#define GHASH_ADD(half, selected, high, low)                                                                           \
	do {                                                                                                           \
		const __u64 *entry_ = (const __u64 *) ((const __u8 *) (half) + (selected));                            \
		(high) ^= entry_[0];                                                                                   \
		(low) ^= entry_[1];                                                                                    \
	} while (0)

/* y = (y ^ x) * H */
static __always_inline void ghash_multiply(struct ghash *ghash, const struct rtprelay_srtp_key *key, __u64 x0, __u64 x1)
{
	const __u64 *first = key->table, *second = key->table + RTPRELAY_SRTP_TABLE / 2;
	__u64 a = 0, b = 0, c = 0, d = 0;

	x0 ^= ghash->y[0];
	x1 ^= ghash->y[1];
#pragma unroll
	for (int i = 0; i < 8; i++) {
		if (i) {
			d = d >> 8 | c << 56;
			c = c >> 8 | b << 56;
			b = b >> 8 | a << 56;
			a >>= 8;
		}
		GHASH_ADD(first, x0 & 0xf0, a, b);
		GHASH_ADD(second, x0 << 4 & 0xf0, a, b);
		GHASH_ADD(first, x1 & 0xf0, b, c);
		GHASH_ADD(second, x1 << 4 & 0xf0, b, c);
		x0 >>= 8;
		x1 >>= 8;
		barrier_var(x0);
		barrier_var(x1);
	}
	/* x^128 = 1 + x + x^2 + x^7 */
	b ^= d ^ d >> 1 ^ d >> 2 ^ d >> 7;
	c ^= d << 63 ^ d << 62 ^ d << 57;
	a ^= c ^ c >> 1 ^ c >> 2 ^ c >> 7;
	b ^= c << 63 ^ c << 62 ^ c << 57;
	ghash->y[0] = a;
	ghash->y[1] = b;
}

/* The same as a function: for where it does not pay to have it inline. */
__noinline int ghash_block(struct ghash *ghash, const struct rtprelay_srtp_key *key, __u64 x0, __u64 x1)
{
	if (ghash && key)
		ghash_multiply(ghash, key, x0, x1);
	return 0;
}

#endif
