/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SRTP's passes over a packet, in place and the same for XDP and tc: XOR key stream into it, feed it to SHA-1 or GHASH,
 * write the trailer behind it or compare what is there.
 *
 * They are global functions: the verifier walks each of them once, whatever the paths to it. They take their arguments
 * from the scratch, a per-CPU map value; nothing in it outlives the treatment of one packet. What they change is summed
 * up for the UDP checksum, which is adapted and not made anew: a packet that came damaged must not leave with a good
 * one.
 */
#ifndef RTPRELAY_SRTP_PASS_H
#define RTPRELAY_SRTP_PASS_H

#include "aes.h"
#include "ghash.h"
#include "sha1.h"

#define SRTP_MAX_OFFSET	 0xfff /* of a byte within its frame */
#define SRTP_MAX_TRAILER (RTPRELAY_SRTP_MAX_MKI + RTPRELAY_SRTP_MAX_TAG)

/* One packet under treatment. */
struct srtp_packet {
	__u64 offset; /* of the RTP header within the frame */
	__u64 index; /* 48 bits: ROC and sequence number */
	__u64 change; /* of the UDP payload's sum */
	__u32 length; /* of the RTP packet, without MKI and tag */
	__u32 header; /* the part of it that stays in the clear */
	__be32 first; /* words of the fixed header */
	__be32 timestamp;
	__be32 ssrc;
	__u32 zero;
};

struct srtp_scratch {
	struct srtp_packet packet;
	/* What a pass works on: a range of the frame, which moves on with what is done. */
	__u64 at;
	__u32 left;
	__u32 trailer_length;
	struct aes_stream stream;
	__u32 iv[4]; /* AES_F8 */
	__u64 mask[2]; /* GCM: the block of key stream for the tag */
	struct sha1 sha1;
	struct ghash ghash;
	__u64 tail[2 * SHA1_BLOCK / 8]; /* the last bytes of a range, padded */
	__u64 trailer[SRTP_MAX_TRAILER / 8 +
		      1]; /* MKI and tag as they should be; longer, for a SHA-1 that is cut afterwards */
};

/*
 * For each piece of 8, 4, 2 and 1 bytes that `length` is made of below 16: DO(type), which moves on by that much.
 * A packet's bytes behind the last block are not guessed at one by one.
 */
#define SRTP_PIECES(length, DO)                                                                                        \
	do {                                                                                                           \
		if (length & 8)                                                                                        \
			DO(__u64);                                                                                     \
		if (length & 4)                                                                                        \
			DO(__u32);                                                                                     \
		if (length & 2)                                                                                        \
			DO(__u16);                                                                                     \
		if (length & 1)                                                                                        \
			DO(__u8);                                                                                      \
	} while (0)

/* What a word contributes to a checksum. To take it away, add its complement's sum. */
static __always_inline __u64 srtp_sum(__u64 word)
{
	return (__u32) word + (word >> 32);
}

static __always_inline void srtp_range(struct srtp_scratch *scratch, __u64 at, __u32 length)
{
	scratch->at = at;
	scratch->left = length;
}

static __always_inline bool srtp_invalid(const struct srtp_scratch *scratch)
{
	return !scratch || scratch->at > SRTP_MAX_OFFSET;
}

static __always_inline void srtp_moved(struct srtp_scratch *scratch, __u32 left)
{
	scratch->at += scratch->left - left;
	scratch->left = left;
}

#define SRTP_XOR(type)                                                                                                 \
	do {                                                                                                           \
		type *piece_ = at;                                                                                     \
		if (!within(at, sizeof(type), end))                                                                    \
			return 0;                                                                                      \
		change += srtp_sum(~(__u64) *piece_);                                                                  \
		*piece_ ^= *(const type *) stream;                                                                     \
		change += srtp_sum(*piece_);                                                                           \
		at += sizeof(type);                                                                                    \
		stream += sizeof(type);                                                                                \
	} while (0)

/* XOR the batch of key stream into the range, leaving out its first `skipped` blocks (one at most). */
__noinline int srtp_xor(ctx_t *ctx, struct srtp_scratch *scratch, __u32 skipped)
{
	void *at = ctx_start(ctx), *end = ctx_end(ctx);
	const __u8 *stream;
	__u64 change = 0;
	__u32 i, left;

	if (srtp_invalid(scratch))
		return 0;
	at += scratch->at;
	stream = skipped ? scratch->stream.block[1] : scratch->stream.block[0];
	left = scratch->left;
	for (i = 0; i < AES_BATCH && i + skipped < READ_ONCE(scratch->stream.count) && left >= AES_BLOCK; i++) {
		SRTP_XOR(__u64);
		SRTP_XOR(__u64);
		left -= AES_BLOCK;
	}
	if (left < AES_BLOCK && i + skipped < READ_ONCE(scratch->stream.count)) {
		SRTP_PIECES(left, SRTP_XOR);
		left = 0;
	}
	srtp_moved(scratch, left);
	scratch->packet.change += change;
	return 0;
}

#define SRTP_COPY(type)                                                                                                \
	do {                                                                                                           \
		if (!within(at, sizeof(type), end))                                                                    \
			return 0;                                                                                      \
		*(type *) to = *(const type *) at;                                                                     \
		at += sizeof(type);                                                                                    \
		to += sizeof(type);                                                                                    \
	} while (0)

/* Take what is left of the range, less than a block of SHA-1, into the tail, with zeroes behind it. */
__noinline int srtp_take_tail(ctx_t *ctx, struct srtp_scratch *scratch)
{
	const void *at = ctx_start(ctx), *end = ctx_end(ctx);
	void *to;

	if (srtp_invalid(scratch))
		return 0;
	at += scratch->at;
	to = scratch->tail;
#pragma unroll
	for (int i = 0; i < 2 * SHA1_BLOCK / 8; i++)
		scratch->tail[i] = 0;
	for (__u32 i = 0; i < SHA1_BLOCK / AES_BLOCK - 1 && i < READ_ONCE(scratch->left) / AES_BLOCK; i++) {
		SRTP_COPY(__u64);
		SRTP_COPY(__u64);
	}
	SRTP_PIECES(scratch->left, SRTP_COPY);
	srtp_moved(scratch, 0);
	return 0;
}

/* --- HMAC-SHA1 (RFC 2104) --- */

/* Feed the range's whole blocks. */
__noinline int srtp_sha1(ctx_t *ctx, struct srtp_scratch *scratch)
{
	const __u32 *at = ctx_start(ctx);
	const void *end = ctx_end(ctx);
	__u32 left;

	if (srtp_invalid(scratch))
		return 0;
	at = (const void *) at + scratch->at;
	left = scratch->left;
	for (int i = 0; i < RTPRELAY_SRTP_MAX_LENGTH / SHA1_BLOCK && left >= SHA1_BLOCK; i++) {
		if (!within(at, SHA1_BLOCK, end))
			return 0;
#pragma unroll
		for (int j = 0; j < SHA1_BLOCK / 4; j++)
			scratch->sha1.word[j] = bpf_ntohl(at[j]);
		sha1_compress(&scratch->sha1);
		at += SHA1_BLOCK / 4;
		left -= SHA1_BLOCK;
	}
	srtp_moved(scratch, left);
	return 0;
}

/* Feed one block of the tail. */
static __always_inline void srtp_sha1_tail(struct srtp_scratch *scratch, int block)
{
	const __u32 *word = (const __u32 *) scratch->tail + block * SHA1_BLOCK / 4;

#pragma unroll
	for (int i = 0; i < SHA1_BLOCK / 4; i++)
		scratch->sha1.word[i] = bpf_ntohl(word[i]);
	sha1_compress(&scratch->sha1);
}

/*
 * HMAC over the RTP packet and its ROC (RFC 3711 section 4.2), written into the trailer behind the MKI.
 * A message ends with a bit of one and, at the end of a block, its length (FIPS 180-4 section 5.1.1).
 */
__noinline int srtp_hmac(ctx_t *ctx, struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	__u32 rest, fed, end;
	__u8 *tail;

	if (!scratch || !key)
		return 0;
	srtp_range(scratch, scratch->packet.offset, scratch->packet.length);
	__builtin_memcpy(scratch->sha1.state, key->inner, sizeof(key->inner));
	srtp_sha1(ctx, scratch);
	rest = scratch->left;
	srtp_take_tail(ctx, scratch);
	if (rest >= SHA1_BLOCK)
		return 0;
	tail = (__u8 *) scratch->tail + rest;
	*(__be32 *) tail = bpf_htonl(scratch->packet.index >> 16);
	tail[4] = 0x80;
	fed = SHA1_BLOCK + scratch->packet.length + 4;
	end = rest + 5 + sizeof(__be64) > SHA1_BLOCK;
	((__be32 *) scratch->tail)[(end + 1) * SHA1_BLOCK / 4 - 1] = bpf_htonl(fed * 8);
	srtp_sha1_tail(scratch, 0);
	if (end)
		srtp_sha1_tail(scratch, 1);
	/* The outer hash: over the inner one, which is a single block with its padding. */
	__builtin_memcpy(scratch->sha1.word, scratch->sha1.state, sizeof(scratch->sha1.state));
	__builtin_memcpy(scratch->sha1.state, key->outer, sizeof(key->outer));
	scratch->sha1.word[5] = 1u << 31;
#pragma unroll
	for (int i = 6; i < 15; i++)
		scratch->sha1.word[i] = 0;
	scratch->sha1.word[15] = (SHA1_BLOCK + sizeof(key->inner)) * 8;
	sha1_compress(&scratch->sha1);
	return 0;
}

/* --- GHASH --- */

/* Feed the range's whole blocks. */
__noinline int srtp_ghash(ctx_t *ctx, struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	const __be64 *at = ctx_start(ctx);
	const void *end = ctx_end(ctx);
	__u32 left;

	if (srtp_invalid(scratch) || !key)
		return 0;
	at = (const void *) at + scratch->at;
	left = scratch->left;
	for (int i = 0; i < RTPRELAY_SRTP_MAX_LENGTH / GHASH_BLOCK && left >= GHASH_BLOCK; i++) {
		if (!within(at, GHASH_BLOCK, end))
			return 0;
		ghash_multiply(&scratch->ghash, key, bpf_be64_to_cpu(at[0]), bpf_be64_to_cpu(at[1]));
		at += 2;
		left -= GHASH_BLOCK;
	}
	srtp_moved(scratch, left);
	return 0;
}

/* --- trailer --- */

#define SRTP_WRITE(type)                                                                                               \
	do {                                                                                                           \
		if (!within(at, sizeof(type), end))                                                                    \
			return 0;                                                                                      \
		*(type *) at = *(const type *) from;                                                                   \
		sum += srtp_sum(*(const type *) from);                                                                 \
		at += sizeof(type);                                                                                    \
		from += sizeof(type);                                                                                  \
	} while (0)

#define SRTP_COMPARE(type)                                                                                             \
	do {                                                                                                           \
		if (!within(at, sizeof(type), end))                                                                    \
			return 0;                                                                                      \
		difference |= *(const type *) at ^ *(const type *) from;                                               \
		sum += srtp_sum(~(__u64) * (const type *) from);                                                       \
		at += sizeof(type);                                                                                    \
		from += sizeof(type);                                                                                  \
	} while (0)

/* The trailer may start at an odd byte; then its sum has the two bytes of each word the other way round (RFC 1071
 * section 2 B). */
static __always_inline void srtp_add_trailer(struct srtp_scratch *scratch, __u64 sum)
{
	__u16 folded = csum_fold16(sum);

	scratch->packet.change += scratch->packet.length & 1 ? __builtin_bswap16(folded) : folded;
}

/* Behind the packet. 1: done. */
__noinline int srtp_write_trailer(ctx_t *ctx, struct srtp_scratch *scratch)
{
	void *at = ctx_start(ctx), *end = ctx_end(ctx);
	const void *from;
	__u64 sum = 0;

	if (srtp_invalid(scratch))
		return 0;
	at += scratch->at;
	from = scratch->trailer;
	for (__u32 i = 0; i < SRTP_MAX_TRAILER / 8 && i < READ_ONCE(scratch->left) / 8; i++)
		SRTP_WRITE(__u64);
	SRTP_PIECES((scratch->left & 7), SRTP_WRITE);
	srtp_add_trailer(scratch, sum);
	return 1;
}

/* Whether the bytes behind the packet are the trailer: 1, they are. Takes as long either way. */
__noinline int srtp_check_trailer(ctx_t *ctx, struct srtp_scratch *scratch)
{
	const void *at = ctx_start(ctx), *end = ctx_end(ctx);
	const void *from;
	__u64 difference = 0;
	__u64 sum = 0;

	if (srtp_invalid(scratch))
		return 0;
	at += scratch->at;
	from = scratch->trailer;
	for (__u32 i = 0; i < SRTP_MAX_TRAILER / 8 && i < READ_ONCE(scratch->left) / 8; i++)
		SRTP_COMPARE(__u64);
	SRTP_PIECES((scratch->left & 7), SRTP_COMPARE);
	if (difference)
		return 0;
	srtp_add_trailer(scratch, sum);
	return 1;
}

#endif
