/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SRTP on one packet, in place (RFC 3711, RFC 6188, RFC 7714).
 *
 * The caller says which packet it is and which index it has, asks for replay before and commits afterwards (replay.h).
 * A packet that is not authentic is left as it is. To protect, the frame has to have room for the trailer already;
 * after unprotecting, the trailer is still there to be cut off. packet.change is what the UDP checksum has to be
 * adapted to.
 */
#ifndef RTPRELAY_SRTP_H
#define RTPRELAY_SRTP_H

#include "srtp_pass.h"

#define SRTP_FIXED_HEADER  12
#define SRTP_VERSION_2	   0x80
#define SRTP_VERSION	   0xc0
#define SRTP_EXTENSION	   0x10
#define SRTP_SOURCES	   0x0f
#define SRTP_MAX_EXTENSION (RTPRELAY_SRTP_MAX_LENGTH / 4) /* words */

enum srtp_fault {
	SRTP_OK = 0,
	SRTP_NO_KEY,
	SRTP_MALFORMED, /* no RTP, or no room for the trailer, or longer than RTPRELAY_SRTP_MAX_LENGTH */
	SRTP_FORGED, /* tag or MKI are not what they should be */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct srtp_scratch);
} rtprelay_scratch SEC(".maps");

static __always_inline struct srtp_scratch *srtp_scratch(void)
{
	return bpf_map_lookup_elem(&rtprelay_scratch, &(__u32){ 0 });
}

/* How much longer a packet is with this key. */
static __always_inline __u32 srtp_trailer_length(const struct rtprelay_srtp_key *key)
{
	return key->mki_length + key->tag_length;
}

static __always_inline bool srtp_is_gcm(const struct rtprelay_srtp_key *key)
{
	return key->cipher == RTPRELAY_SRTP_AES_GCM || key->cipher == RTPRELAY_SRTP_AES_GMAC;
}

static __always_inline bool srtp_encrypts(const struct rtprelay_srtp_key *key)
{
	return key->cipher == RTPRELAY_SRTP_AES_CM || key->cipher == RTPRELAY_SRTP_AES_F8 ||
	       key->cipher == RTPRELAY_SRTP_AES_GCM;
}

/*
 * Take a look at the `length` bytes of (S)RTP at `offset`, of which the last `trailer` are MKI and tag: what is header,
 * what payload (RFC 3550 section 5.1). False: that is no RTP.
 */
static __always_inline bool srtp_parse(ctx_t *ctx, struct srtp_scratch *scratch, __u64 offset, __u32 length,
				       __u32 trailer)
{
	struct srtp_packet *packet = &scratch->packet;
	const __u8 *rtp = ctx_start(ctx), *extension;
	const void *end = ctx_end(ctx);
	__u64 header;

	if (offset > SRTP_MAX_OFFSET || length > RTPRELAY_SRTP_MAX_LENGTH)
		return false;
	rtp += offset;
	if (length < SRTP_FIXED_HEADER + trailer || !within(rtp, SRTP_FIXED_HEADER, end))
		return false;
	if ((rtp[0] & SRTP_VERSION) != SRTP_VERSION_2)
		return false;
	header = SRTP_FIXED_HEADER + 4 * (rtp[0] & SRTP_SOURCES);
	if (rtp[0] & SRTP_EXTENSION) {
		__u32 words;

		extension = rtp + header;
		if (!within(extension, 4, end))
			return false;
		words = extension[2] << 8 | extension[3];
		if (words > SRTP_MAX_EXTENSION)
			return false;
		header += 4 + 4 * words;
	}
	if (header + trailer > length)
		return false;
	packet->offset = offset;
	packet->change = 0;
	packet->length = length - trailer;
	packet->header = header;
	packet->first = ((const __be32 *) rtp)[0];
	packet->timestamp = ((const __be32 *) rtp)[1];
	packet->ssrc = ((const __be32 *) rtp)[2];
	return true;
}

static __always_inline __u16 srtp_sequence(const struct srtp_packet *packet)
{
	return bpf_ntohl(packet->first);
}

/* --- key stream --- */

/* RFC 3711 section 4.1.1: (salt << 16) ^ (SSRC << 64) ^ (index << 16), and the block's number. */
static __always_inline void srtp_counter(struct srtp_scratch *scratch, const __u32 *salt)
{
	const struct srtp_packet *packet = &scratch->packet;

	scratch->stream.input[0] = salt[0];
	scratch->stream.input[1] = salt[1] ^ packet->ssrc;
	scratch->stream.input[2] = salt[2] ^ bpf_htonl(packet->index >> 16);
	scratch->stream.input[3] = salt[3] ^ bpf_htonl(packet->index << 16);
}

/* RFC 7714 section 8.1: salt ^ (two bytes of zero, SSRC, index), and a counter of four bytes. */
static __always_inline void srtp_nonce(struct srtp_scratch *scratch, const __u32 *salt)
{
	const struct srtp_packet *packet = &scratch->packet;
	__u64 start = (__u64) bpf_ntohl(packet->ssrc) << 16 | packet->index >> 32;

	scratch->stream.input[0] = salt[0] ^ bpf_htonl(start >> 32);
	scratch->stream.input[1] = salt[1] ^ bpf_htonl(start);
	scratch->stream.input[2] = salt[2] ^ bpf_htonl(packet->index);
	scratch->stream.input[3] = 0;
}

/* RFC 3711 section 4.1.2.2: the header without its first byte, and the ROC, encrypted with the masked key. */
static __always_inline void srtp_f8_begin(struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	const struct rtprelay_aes_key *masked = (const struct rtprelay_aes_key *) key->table;
	const struct srtp_packet *packet = &scratch->packet;
	struct aes_stream *stream = &scratch->stream;

	stream->input[0] = packet->first & bpf_htonl(0x00ffffff);
	stream->input[1] = packet->timestamp;
	stream->input[2] = packet->ssrc;
	stream->input[3] = bpf_htonl(packet->index >> 16);
	stream->count = 1;
	aes_begin(stream, masked);
	aes_blocks(stream, masked, 0);
	__builtin_memcpy(scratch->iv, stream->block[0], sizeof(scratch->iv));
	__builtin_memset(stream->block[0], 0, AES_BLOCK);
}

/* Block `number` of F8: IV ^ number ^ the block before, encrypted. */
static __always_inline void srtp_f8_block(struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key,
					  __u32 number)
{
	struct aes_stream *stream = &scratch->stream;
	const __u32 *before = (const __u32 *) stream->block[0];

#pragma unroll
	for (int i = 0; i < 4; i++)
		stream->input[i] = scratch->iv[i] ^ before[i];
	stream->input[3] ^= bpf_htonl(number);
	stream->count = 1;
	aes_begin(stream, &key->aes);
	aes_blocks(stream, &key->aes, 0);
}

/* Set up the key stream, and make its first batch of blocks; with GCM the very first is the tag's. */
static __always_inline void srtp_stream_begin(struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	struct aes_stream *stream = &scratch->stream;
	bool gcm = srtp_is_gcm(key);
	__u32 blocks;

	switch (key->cipher) {
	case RTPRELAY_SRTP_AES_CM:
		srtp_counter(scratch, (const __u32 *) key->salt);
		break;
	case RTPRELAY_SRTP_AES_F8:
		srtp_f8_begin(scratch, key);
		srtp_f8_block(scratch, key, 0);
		return;
	default:
		srtp_nonce(scratch, (const __u32 *) key->salt);
		break;
	}
	blocks = key->cipher == RTPRELAY_SRTP_AES_GMAC
			 ? 0
			 : (scratch->packet.length - scratch->packet.header + AES_BLOCK - 1) / AES_BLOCK;
	blocks += gcm;
	stream->count = blocks < AES_BATCH ? blocks : AES_BATCH;
	aes_begin(stream, &key->aes);
	aes_blocks(stream, &key->aes, gcm);
	if (gcm)
		__builtin_memcpy(scratch->mask, stream->block[0], sizeof(scratch->mask));
}

/* The batch that starts with block `number` of the stream, where GCM counts the tag's. */
static __always_inline void srtp_stream_next(struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key,
					     __u32 number)
{
	__u32 blocks = (scratch->left + AES_BLOCK - 1) / AES_BLOCK;

	if (key->cipher == RTPRELAY_SRTP_AES_F8) {
		srtp_f8_block(scratch, key, number);
		return;
	}
	scratch->stream.count = blocks < AES_BATCH ? blocks : AES_BATCH;
	aes_blocks(&scratch->stream, &key->aes, number + srtp_is_gcm(key));
}

/* Encrypt or decrypt the payload; the first batch of key stream is there. */
static __always_inline void srtp_crypt(ctx_t *ctx, struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	const struct srtp_packet *packet = &scratch->packet;
	__u32 skipped = srtp_is_gcm(key), number = 0;

	srtp_range(scratch, packet->offset + packet->header, packet->length - packet->header);
	for (int i = 0; i <= RTPRELAY_SRTP_MAX_LENGTH / AES_BLOCK; i++) {
		srtp_xor(ctx, scratch, skipped);
		if (!scratch->left)
			break;
		number += scratch->stream.count;
		srtp_stream_next(scratch, key, number);
		skipped = 0;
	}
}

/* --- authentication --- */

/* HMAC of the packet as it stands in the frame, behind the MKI (RFC 3711 section 3.1). */
static __always_inline void srtp_hmac_trailer(ctx_t *ctx, struct srtp_scratch *scratch,
					      const struct rtprelay_srtp_key *key)
{
	__u8 *trailer = (__u8 *) scratch->trailer;
	__u32 mki_length = key->mki_length;

	if (key->tag_length)
		srtp_hmac(ctx, scratch, key);
	if (mki_length > RTPRELAY_SRTP_MAX_MKI)
		return;
	__builtin_memcpy(trailer, key->mki, sizeof(key->mki));
	trailer += mki_length;
#pragma unroll
	for (int i = 0; i < SHA1_WORDS; i++)
		((__be32 *) trailer)[i] = bpf_htonl(scratch->sha1.state[i]);
}

/* This range, filled up with zeroes to whole blocks. */
static __always_inline void srtp_ghash_padded(ctx_t *ctx, struct srtp_scratch *scratch,
					      const struct rtprelay_srtp_key *key, __u64 at, __u32 length)
{
	srtp_range(scratch, at, length);
	srtp_ghash(ctx, scratch, key);
	if (!scratch->left)
		return;
	srtp_take_tail(ctx, scratch);
	ghash_block(&scratch->ghash, key, bpf_be64_to_cpu(scratch->tail[0]), bpf_be64_to_cpu(scratch->tail[1]));
}

/* GCM's tag, and the MKI behind it (RFC 7714 section 3). GMAC has no cipher text, all is associated data (section 7.1).
 */
static __always_inline void srtp_gcm_trailer(ctx_t *ctx, struct srtp_scratch *scratch,
					     const struct rtprelay_srtp_key *key)
{
	const struct srtp_packet *packet = &scratch->packet;
	__u32 associated = key->cipher == RTPRELAY_SRTP_AES_GMAC ? packet->length : packet->header;
	__u64 encrypted = packet->length - associated;

	scratch->ghash.y[0] = 0;
	scratch->ghash.y[1] = 0;
	srtp_ghash_padded(ctx, scratch, key, packet->offset, associated);
	srtp_ghash_padded(ctx, scratch, key, packet->offset + associated, encrypted);
	ghash_block(&scratch->ghash, key, (__u64) associated * 8, encrypted * 8);
	scratch->trailer[0] = bpf_cpu_to_be64(scratch->ghash.y[0]) ^ scratch->mask[0];
	scratch->trailer[1] = bpf_cpu_to_be64(scratch->ghash.y[1]) ^ scratch->mask[1];
	__builtin_memcpy(scratch->trailer + 2, key->mki, sizeof(key->mki));
}

static __always_inline void srtp_make_trailer(ctx_t *ctx, struct srtp_scratch *scratch,
					      const struct rtprelay_srtp_key *key)
{
	if (srtp_is_gcm(key))
		srtp_gcm_trailer(ctx, scratch, key);
	else
		srtp_hmac_trailer(ctx, scratch, key);
	srtp_range(scratch, scratch->packet.offset + scratch->packet.length, srtp_trailer_length(key));
}

/* --- both ways --- */

/* RTP to SRTP. The trailer's bytes count as zero before. */
__noinline int srtp_protect(ctx_t *ctx, struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	if (!scratch || !key || key->cipher == RTPRELAY_SRTP_NO_KEY)
		return SRTP_NO_KEY;
	if (key->cipher != RTPRELAY_SRTP_NULL)
		srtp_stream_begin(scratch, key);
	if (srtp_encrypts(key))
		srtp_crypt(ctx, scratch, key);
	srtp_make_trailer(ctx, scratch, key);
	return srtp_write_trailer(ctx, scratch) ? SRTP_OK : SRTP_MALFORMED;
}

/* SRTP to RTP: first authenticate, then decrypt. */
__noinline int srtp_unprotect(ctx_t *ctx, struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	if (!scratch || !key || key->cipher == RTPRELAY_SRTP_NO_KEY)
		return SRTP_NO_KEY;
	if (srtp_is_gcm(key))
		srtp_stream_begin(scratch, key);
	srtp_make_trailer(ctx, scratch, key);
	if (!srtp_check_trailer(ctx, scratch))
		return SRTP_FORGED;
	if (!srtp_encrypts(key))
		return SRTP_OK;
	if (!srtp_is_gcm(key))
		srtp_stream_begin(scratch, key);
	srtp_crypt(ctx, scratch, key);
	return SRTP_OK;
}

/* Take back what srtp_protect did to the payload. The trailer is still there, and no part of packet.change. */
__noinline int srtp_revert(ctx_t *ctx, struct srtp_scratch *scratch, const struct rtprelay_srtp_key *key)
{
	if (!scratch || !key || !srtp_encrypts(key))
		return 0;
	srtp_stream_begin(scratch, key);
	srtp_crypt(ctx, scratch, key);
	return 0;
}

#endif
