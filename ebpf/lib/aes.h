/* SPDX-License-Identifier: GPL-2.0 */
/*
 * AES key stream (FIPS 197) with look-up tables, a batch of blocks at a time.
 *
 * One table of 8-byte entries holds each T-table word twice: read at byte offset 0, 3, 2 or 1 it gives the four tables
 * of the textbook, and its second byte is the S-box. That takes 2 KiB of cache instead of 4, and one base register
 * instead of four.
 *
 * The blocks of a batch stand in memory and go through each round side by side: a block by itself is bound by latency,
 * and its 16 bytes plus a round key do not fit into the ten registers of eBPF. Bytes are picked by loading them from
 * there, which saves a shift and a mask each. Measured figures: docs/adr/0007-srtp-in-ebpf.md, and what was tried
 * beside this.
 *
 * In counter mode only the last byte of the input differs within 256 blocks. So of the first round one look-up per
 * block remains, of the second four; the rest is calculated once per packet ("counter mode caching", Bernstein and
 * Schwabe 2008).
 *
 * Table look-ups depend on key and data: someone who shares a core's cache may learn from their timing. Known and
 * accepted; docs/adr/0007-srtp-in-ebpf.md says why and what the alternatives cost.
 */
#ifndef RTPRELAY_AES_H
#define RTPRELAY_AES_H

#include "bpf.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read and written as they lie in memory");

#define AES_BLOCK 16
#define AES_BATCH 16 /* blocks */

struct aes_stream {
	__u32 input[4]; /* of the first block; its last byte is the counter's last byte */
	/* What is the same for all blocks of the next 256: see above. */
	__u32 column; /* first column after round 1, without the counter's byte */
	__u32 counter; /* first XOR of that byte */
	__u32 partial[4]; /* columns after round 2, without the contribution of that first column */
	__u32 count; /* of the batch */
	__u8 block[AES_BATCH][AES_BLOCK];
};

#define AES_DOUBLE(s) ((((s) << 1) ^ (((s) >> 7) * 0x1b)) & 0xff)
#define AES_WORD(s)   ((__u64) AES_DOUBLE(s) | (__u64) (s) << 8 | (__u64) (s) << 16 | (__u64) (AES_DOUBLE(s) ^ (s)) << 24)
#define E(s)	      (AES_WORD(s) | AES_WORD(s) << 32)
#define ROW(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                            \
	E(0x##a), E(0x##b), E(0x##c), E(0x##d), E(0x##e), E(0x##f), E(0x##g), E(0x##h), E(0x##i), E(0x##j), E(0x##k),  \
		E(0x##l), E(0x##m), E(0x##n), E(0x##o), E(0x##p)

/* The S-box (FIPS 197 figure 7) and its multiples. */
static const __u64 aes_table[256] = {
	ROW(63, 7c, 77, 7b, f2, 6b, 6f, c5, 30, 01, 67, 2b, fe, d7, ab, 76),
	ROW(ca, 82, c9, 7d, fa, 59, 47, f0, ad, d4, a2, af, 9c, a4, 72, c0),
	ROW(b7, fd, 93, 26, 36, 3f, f7, cc, 34, a5, e5, f1, 71, d8, 31, 15),
	ROW(04, c7, 23, c3, 18, 96, 05, 9a, 07, 12, 80, e2, eb, 27, b2, 75),
	ROW(09, 83, 2c, 1a, 1b, 6e, 5a, a0, 52, 3b, d6, b3, 29, e3, 2f, 84),
	ROW(53, d1, 00, ed, 20, fc, b1, 5b, 6a, cb, be, 39, 4a, 4c, 58, cf),
	ROW(d0, ef, aa, fb, 43, 4d, 33, 85, 45, f9, 02, 7f, 50, 3c, 9f, a8),
	ROW(51, a3, 40, 8f, 92, 9d, 38, f5, bc, b6, da, 21, 10, ff, f3, d2),
	ROW(cd, 0c, 13, ec, 5f, 97, 44, 17, c4, a7, 7e, 3d, 64, 5d, 19, 73),
	ROW(60, 81, 4f, dc, 22, 2a, 90, 88, 46, ee, b8, 14, de, 5e, 0b, db),
	ROW(e0, 32, 3a, 0a, 49, 06, 24, 5c, c2, d3, ac, 62, 91, 95, e4, 79),
	ROW(e7, c8, 37, 6d, 8d, d5, 4e, a9, 6c, 56, f4, ea, 65, 7a, ae, 08),
	ROW(ba, 78, 25, 2e, 1c, a6, b4, c6, e8, dd, 74, 1f, 4b, bd, 8b, 8a),
	ROW(70, 3e, b5, 66, 48, 03, f6, 0e, 61, 35, 57, b9, 86, c1, 1d, 9e),
	ROW(e1, f8, 98, 11, 69, d9, 8e, 94, 9b, 1e, 87, e9, ce, 55, 28, df),
	ROW(8c, a1, 89, 0d, bf, e6, 42, 68, 41, 99, 2d, 0f, b0, 54, bb, 16),
};

#undef ROW
#undef E

/* The table in a register: left to itself, clang loads its 64-bit address anew for each look-up. */
static __always_inline const __u8 *aes_table_base(void)
{
	const __u8 *table = (const __u8 *) aes_table;

	barrier_var(table);
	return table;
}

/* The column that one byte of the state, in row 0..3, contributes to. */
static __always_inline __u32 aes_row0(const __u8 *table, __u64 byte)
{
	return *(const __u32 *) (table + (byte << 3));
}

static __always_inline __u32 aes_row1(const __u8 *table, __u64 byte)
{
	return *(const __u32 *) (table + (byte << 3) + 3);
}

static __always_inline __u32 aes_row2(const __u8 *table, __u64 byte)
{
	return *(const __u32 *) (table + (byte << 3) + 2);
}

static __always_inline __u32 aes_row3(const __u8 *table, __u64 byte)
{
	return *(const __u32 *) (table + (byte << 3) + 1);
}

static __always_inline __u64 aes_sbox(const __u8 *table, __u64 byte)
{
	return table[(byte << 3) + 1];
}

/* Byte `row` of a column. */
static __always_inline __u64 aes_byte(__u32 column, int row)
{
	return column >> 8 * row & 0xff;
}

/* One round, in place (FIPS 197 section 5.1). The barriers keep the bytes in memory, to be loaded one by one. */
static __always_inline void aes_round(const __u8 *table, __u8 *state, const __u32 *key)
{
	__u32 *column = (__u32 *) state;
	__u32 a, b, c, d;

	a = aes_row0(table, state[0]) ^ aes_row1(table, state[5]) ^ aes_row2(table, state[10]) ^
	    aes_row3(table, state[15]) ^ key[0];
	b = aes_row0(table, state[4]) ^ aes_row1(table, state[9]) ^ aes_row2(table, state[14]) ^
	    aes_row3(table, state[3]) ^ key[1];
	c = aes_row0(table, state[8]) ^ aes_row1(table, state[13]) ^ aes_row2(table, state[2]) ^
	    aes_row3(table, state[7]) ^ key[2];
	d = aes_row0(table, state[12]) ^ aes_row1(table, state[1]) ^ aes_row2(table, state[6]) ^
	    aes_row3(table, state[11]) ^ key[3];
	barrier();
	column[0] = a;
	column[1] = b;
	column[2] = c;
	column[3] = d;
	barrier();
}

/* The last round: without MixColumns. */
static __always_inline void aes_last_round(const __u8 *table, __u8 *state, const __u64 *key)
{
	__u64 *half = (__u64 *) state;
	__u64 a, b;

	a = aes_sbox(table, state[0]) | aes_sbox(table, state[5]) << 8 | aes_sbox(table, state[10]) << 16 |
	    aes_sbox(table, state[15]) << 24 | aes_sbox(table, state[4]) << 32 | aes_sbox(table, state[9]) << 40 |
	    aes_sbox(table, state[14]) << 48 | aes_sbox(table, state[3]) << 56;
	b = aes_sbox(table, state[8]) | aes_sbox(table, state[13]) << 8 | aes_sbox(table, state[2]) << 16 |
	    aes_sbox(table, state[7]) << 24 | aes_sbox(table, state[12]) << 32 | aes_sbox(table, state[1]) << 40 |
	    aes_sbox(table, state[6]) << 48 | aes_sbox(table, state[11]) << 56;
	barrier();
	half[0] = a ^ key[0];
	half[1] = b ^ key[1];
	barrier();
}

/*
 * These functions are global, so that the verifier walks each of them once, whoever calls them; so their arguments have
 * to be checked, and each returns a number.
 */

/* What all blocks that start from `input` have in common. */
__noinline int aes_begin(struct aes_stream *stream, const struct rtprelay_aes_key *key)
{
	const __u8 *t = aes_table_base();
	__u32 a, b, c, d, f, g, h;
	const __u32 *k;

	if (!stream || !key || key->start > 16)
		return 0;
	k = key->words + key->start;
	a = stream->input[0] ^ k[0];
	b = stream->input[1] ^ k[1];
	c = stream->input[2] ^ k[2];
	d = stream->input[3] ^ k[3];
	stream->counter = aes_byte(d, 3);
	stream->column = aes_row0(t, aes_byte(a, 0)) ^ aes_row1(t, aes_byte(b, 1)) ^ aes_row2(t, aes_byte(c, 2)) ^ k[4];
	f = aes_row0(t, aes_byte(b, 0)) ^ aes_row1(t, aes_byte(c, 1)) ^ aes_row2(t, aes_byte(d, 2)) ^
	    aes_row3(t, aes_byte(a, 3)) ^ k[5];
	g = aes_row0(t, aes_byte(c, 0)) ^ aes_row1(t, aes_byte(d, 1)) ^ aes_row2(t, aes_byte(a, 2)) ^
	    aes_row3(t, aes_byte(b, 3)) ^ k[6];
	h = aes_row0(t, aes_byte(d, 0)) ^ aes_row1(t, aes_byte(a, 1)) ^ aes_row2(t, aes_byte(b, 2)) ^
	    aes_row3(t, aes_byte(c, 3)) ^ k[7];
	stream->partial[0] =
		aes_row1(t, aes_byte(f, 1)) ^ aes_row2(t, aes_byte(g, 2)) ^ aes_row3(t, aes_byte(h, 3)) ^ k[8];
	stream->partial[1] =
		aes_row0(t, aes_byte(f, 0)) ^ aes_row1(t, aes_byte(g, 1)) ^ aes_row2(t, aes_byte(h, 2)) ^ k[9];
	stream->partial[2] =
		aes_row0(t, aes_byte(g, 0)) ^ aes_row1(t, aes_byte(h, 1)) ^ aes_row3(t, aes_byte(f, 3)) ^ k[10];
	stream->partial[3] =
		aes_row0(t, aes_byte(h, 0)) ^ aes_row2(t, aes_byte(f, 2)) ^ aes_row3(t, aes_byte(g, 3)) ^ k[11];
	return 0;
}

/*
 * All blocks through one round. Written out round by round, with meeting points: of a loop around this loop, the
 * verifier would walk each combination of their counters.
 */
#define AES_TURN(key)                                                                                                  \
	do {                                                                                                           \
		state = stream->block[0];                                                                              \
		MEETING_POINT(stream);                                                                                 \
		for (__u64 i = 0; i < AES_BATCH && i < READ_ONCE(stream->count); i++, state += AES_BLOCK)              \
			aes_round(t, state, key);                                                                      \
	} while (0)

/* Encrypt `input` with `first`, `first + 1`, ... XORed into its last byte: `count` blocks of key stream. */
__noinline int aes_blocks(struct aes_stream *stream, const struct rtprelay_aes_key *key, __u32 first)
{
	const __u8 *t = aes_table_base();
	const __u32 *k;
	__u8 *state;

	if (!stream || !key)
		return 0;
	k = key->words;
	state = stream->block[0];
	for (__u64 i = 0; i < AES_BATCH && i < READ_ONCE(stream->count); i++, state += AES_BLOCK) {
		__u32 column = stream->column ^ aes_row3(t, (stream->counter ^ (first + i)) & 0xff);
		__u32 *columns = (__u32 *) state;

		columns[0] = stream->partial[0] ^ aes_row0(t, aes_byte(column, 0));
		columns[1] = stream->partial[1] ^ aes_row3(t, aes_byte(column, 3));
		columns[2] = stream->partial[2] ^ aes_row2(t, aes_byte(column, 2));
		columns[3] = stream->partial[3] ^ aes_row1(t, aes_byte(column, 1));
	}
	barrier();
	if (key->start == 0) {
		AES_TURN(k + 12);
		AES_TURN(k + 16);
	}
	if (key->start <= 8) {
		AES_TURN(k + 20);
		AES_TURN(k + 24);
	}
	AES_TURN(k + 28);
	AES_TURN(k + 32);
	AES_TURN(k + 36);
	AES_TURN(k + 40);
	AES_TURN(k + 44);
	AES_TURN(k + 48);
	AES_TURN(k + 52);
	state = stream->block[0];
	for (__u64 i = 0; i < AES_BATCH && i < READ_ONCE(stream->count); i++, state += AES_BLOCK)
		aes_last_round(t, state, (const __u64 *) (k + 56));
	return 0;
}

#endif
