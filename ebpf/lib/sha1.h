/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The compression function of SHA-1 (FIPS 180-4 section 6.1.2), fully unrolled.
 *
 * The message schedule is a ring of 16 words in a map value: 80 of them, or 16 that the compiler would like to keep in
 * registers, do not fit on eBPF's stack.
 */
#ifndef RTPRELAY_SHA1_H
#define RTPRELAY_SHA1_H

#include "bpf.h"

#define SHA1_BLOCK 64
#define SHA1_WORDS 5

struct sha1 {
	__u32 state[SHA1_WORDS];
	__u32 word[SHA1_BLOCK / 4]; /* the next block, as numbers; used up */
};

#define SHA1_ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))

/* The first 16 words are the block, each further one is made of four before it. */
#define SHA1_GIVEN(i) word[i]
#define SHA1_MADE(i)                                                                                                   \
	(word[(i) % 16] =                                                                                              \
		 SHA1_ROTATE(word[((i) + 13) % 16] ^ word[((i) + 8) % 16] ^ word[((i) + 2) % 16] ^ word[(i) % 16], 1))

#define SHA1_CHOOSE   (d ^ (b & (c ^ d)))
#define SHA1_PARITY   (b ^ c ^ d)
#define SHA1_MAJORITY ((b & c) + (d & (b ^ c)))

/*
 * One turn. The sum comes before the rotation of `a` joins it, for that is what the next turn waits for; the barriers
 * hold clang to this order, and keep it from having too much in flight for ten registers (84 ns a block, 100 without
 * the first one).
 */
#define SHA1_TURN(function, constant, w)                                                                               \
	do {                                                                                                           \
		__u32 sum = (function) + e + (constant) + (w);                                                         \
		barrier_var(sum);                                                                                      \
		sum += SHA1_ROTATE(a, 5);                                                                              \
		e = d;                                                                                                 \
		d = c;                                                                                                 \
		c = SHA1_ROTATE(b, 30);                                                                                \
		b = a;                                                                                                 \
		a = sum;                                                                                               \
		barrier_var(a);                                                                                        \
	} while (0)

#define SHA1_TURNS_4(function, constant, w, i)                                                                         \
	SHA1_TURN(function, constant, w(i));                                                                           \
	SHA1_TURN(function, constant, w(i + 1));                                                                       \
	SHA1_TURN(function, constant, w(i + 2));                                                                       \
	SHA1_TURN(function, constant, w(i + 3))

#define SHA1_TURNS_16(function, constant, w, i)                                                                        \
	SHA1_TURNS_4(function, constant, w, i);                                                                        \
	SHA1_TURNS_4(function, constant, w, i + 4);                                                                    \
	SHA1_TURNS_4(function, constant, w, i + 8);                                                                    \
	SHA1_TURNS_4(function, constant, w, i + 12)

/* A function, and a single copy of it: its 10 KiB of machine code are a third of the instruction cache. */
__noinline int sha1_compress(struct sha1 *sha1)
{
	__u32 a, b, c, d, e;
	__u32 *word;

	if (!sha1)
		return 0;
	word = sha1->word;
	a = sha1->state[0];
	b = sha1->state[1];
	c = sha1->state[2];
	d = sha1->state[3];
	e = sha1->state[4];
	SHA1_TURNS_16(SHA1_CHOOSE, 0x5a827999, SHA1_GIVEN, 0);
	SHA1_TURNS_4(SHA1_CHOOSE, 0x5a827999, SHA1_MADE, 16);
	SHA1_TURNS_16(SHA1_PARITY, 0x6ed9eba1, SHA1_MADE, 20);
	SHA1_TURNS_4(SHA1_PARITY, 0x6ed9eba1, SHA1_MADE, 36);
	SHA1_TURNS_16(SHA1_MAJORITY, 0x8f1bbcdc, SHA1_MADE, 40);
	SHA1_TURNS_4(SHA1_MAJORITY, 0x8f1bbcdc, SHA1_MADE, 56);
	SHA1_TURNS_16(SHA1_PARITY, 0xca62c1d6, SHA1_MADE, 60);
	SHA1_TURNS_4(SHA1_PARITY, 0xca62c1d6, SHA1_MADE, 76);
	sha1->state[0] += a;
	sha1->state[1] += b;
	sha1->state[2] += c;
	sha1->state[3] += d;
	sha1->state[4] += e;
	return 0;
}

#endif
