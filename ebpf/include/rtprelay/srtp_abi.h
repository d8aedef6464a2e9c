/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SRTP's part of the ABI (RFC 3711, RFC 6188, RFC 7714): one session key, with everything calculated in advance that
 * can be.
 *
 * Userspace writes keys and zeroes them when they are given up; the programs only read them. Which indices a key has
 * been used for is state, and kept elsewhere. A place that is all zero is no key, and nothing passes there: no key, no
 * packet.
 */
#ifndef RTPRELAY_SRTP_ABI_H
#define RTPRELAY_SRTP_ABI_H

#include <linux/types.h>

enum rtprelay_srtp_limits {
	RTPRELAY_SRTP_MAX_LENGTH = 1536, /* bytes of an SRTP packet; the programs leave larger ones to userspace */
	RTPRELAY_SRTP_MAX_TAG = 16,
	RTPRELAY_SRTP_MAX_MKI = 16, /* bytes; SDES allows 128, left to userspace */
	RTPRELAY_SRTP_ROUND_KEYS = 60, /* words of AES-256's key schedule */
	RTPRELAY_SRTP_TABLE = 64,
};

/* rtprelay_srtp_key.cipher; the session parameter UNENCRYPTED_SRTP makes NULL of AES_CM and AES_F8, AES_GMAC of AES_GCM
 */
enum rtprelay_srtp_cipher {
	RTPRELAY_SRTP_NO_KEY = 0,
	RTPRELAY_SRTP_NULL = 1,
	RTPRELAY_SRTP_AES_CM = 2,
	RTPRELAY_SRTP_AES_F8 = 3,
	RTPRELAY_SRTP_AES_GCM = 4,
	RTPRELAY_SRTP_AES_GMAC = 5,
};

/*
 * An expanded AES key (FIPS 197 section 5.2): bytes in their order in memory, not numbers. It fills the array from the
 * end, so that the last round has its key at the same place for all three lengths.
 */
struct rtprelay_aes_key {
	__u32 words[RTPRELAY_SRTP_ROUND_KEYS];
	__u32 start; /* of the words in use: 16 for AES-128, 8 for AES-192, 0 for AES-256 */
};

struct rtprelay_srtp_key {
	__u32 cipher;
	__u8 tag_length; /* bytes; 0: not authenticated, whatever that is worth */
	__u8 mki_length;
	__u8 suite; /* the last four are userspace's, to read back what it wrote: a number from 1, */
	__u8 exceptions; /* session parameters of SDES, */
	__u8 master_key[32]; /* and what the session keys were derived from */
	__u8 master_salt[16];
	__u8 mki[RTPRELAY_SRTP_MAX_MKI];
	__u8 salt[16]; /* 14 bytes (AES_CM, AES_F8) or 12 (GCM), zeroes after them */
	__u32 inner[5]; /* HMAC-SHA1: the state after the first block of the inner and the outer hash (RFC 2104 section
			   4) */
	__u32 outer[5];
	struct rtprelay_aes_key aes;
	__u32 zero;
	/*
	 * GCM: products with the hash key, see lib/ghash.h. AES_F8: a struct rtprelay_aes_key, the key with which the
	 * IV is made (RFC 3711 section 4.1.2.2: the session key XOR its mask).
	 */
	__u64 table[RTPRELAY_SRTP_TABLE];
};

/*
 * The indices one source has used under one key: what must not be lost while the key is in use (RFC 3711
 * section 3.2.3). window[0] == 0: none yet.
 */
struct rtprelay_srtp_stream {
	__u64 highest;
	__u64 window[2]; /* bit i of the 128: index `highest - i` has been used */
	__u32 lock;
	__u32 restart; /* sender: 1 << 16 | the sequence number that would confirm a restart of the source; 0: none */
	__u32 bridge; /* sender: added to sequence numbers since such a restart, modulo 65536 */
	__u32 reserved;
};

/* By the same index as the key; zeroed before a key is written there. */
struct rtprelay_srtp_state {
	__u64 first; /* 1 << 32 | SSRC of `stream`; 0: unused */
	struct rtprelay_srtp_stream stream;
	__u32 count; /* of further SSRCs, whose streams are in a map of their own; may exceed RTPRELAY_MAX_SSRCS */
	__u32 further[RTPRELAY_MAX_SSRCS];
	__u32 reserved;
};

/* Key of the map of further streams. */
struct rtprelay_srtp_stream_key {
	__u32 key;
	__u32 ssrc;
};

/* What userspace asks claim.bpf.c: to use an index of a key that the programs use as well. */
struct rtprelay_srtp_claim {
	__u32 key;
	__u32 ssrc;
	__u64 index; /* received: which one. To be sent: the answer, and its low 16 bits are the number to send under */
	__u16 sequence; /* to be sent: the number that stands in the packet */
	__u8 sending;
	__u8 reserved[5];
};

#endif
