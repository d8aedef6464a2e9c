/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why a packet of a known port was not simply forwarded. Feeds C, Python, metrics and documentation alike.
 *
 * A number is given once and never reused, so that a dashboard keeps its meaning over upgrades. PUNT: handed up the
 * stack to the daemon's socket. DROP: ends here. The number is the index into the `rtprelay_counts` map.
 */
#ifndef RTPRELAY_REASONS_H
#define RTPRELAY_REASONS_H

#define RTPRELAY_REASONS(X)                                                                                            \
	X(1, PUNT, STUN, "STUN (RFC 7983 first byte 0..3)")                                                            \
	X(2, PUNT, DTLS, "DTLS (RFC 7983 first byte 20..63)")                                                          \
	X(3, PUNT, NOT_RTP, "neither STUN, DTLS nor RTP version 2")                                                    \
	X(4, PUNT, RTCP, "RTCP that userspace has to forward")                                                         \
	X(5, PUNT, UNKNOWN_SOURCE, "not from the expected source; to be judged")                                       \
	X(6, PUNT, SIGNALLED_SOURCE, "from the address the SDP named, which differs from the expected one")            \
	X(7, PUNT, TOO_BIG, "larger than the MTU of an output")                                                        \
	X(8, PUNT, GRO, "several datagrams aggregated into one buffer")                                                \
	X(9, PUNT, FRAGMENT, "IP fragment of a UDP datagram")                                                          \
	X(10, PUNT, IP_OPTIONS, "IPv4 header with options")                                                            \
	X(11, PUNT, EXTENSION_HEADER, "IPv6 extension header")                                                         \
	X(12, PUNT, NO_CHECKSUM, "IPv4 datagram without UDP checksum, bound for IPv6")                                 \
	X(13, PUNT, NO_ROUTE, "no device is known for the output")                                                     \
	X(14, PUNT, SRTP, "to be decrypted or encrypted, but too long for it: see srtp_abi.h")                         \
	X(15, PUNT, SILENCE, "to be silenced, but too long for it")                                                    \
	X(16, PUNT, LANE, "of a bundle, and neither payload type nor SSRC tells of which medium")                      \
	X(32, DROP, SOURCE_MISMATCH, "not from the expected source")                                                   \
	X(33, DROP, SOURCE_LOCKED, "not from the expected source, which has spoken already")                           \
	X(34, DROP, PAYLOAD_TYPE, "payload type blocked")                                                              \
	X(35, DROP, HOLD, "accepted and counted, but the flow has no outputs")                                         \
	X(36, DROP, SOURCE_FLOOD, "unexpected source over its punt rate")                                              \
	X(37, DROP, CONTROL_FLOOD, "STUN, DTLS, RTCP or other non-RTP over its punt rate")                             \
	X(38, DROP, NO_DAEMON, "to be punted, but no socket is bound: the daemon is not running")                      \
	X(39, DROP, OUTPUT_NOT_READY, "an output without a resolved next hop was skipped")                             \
	X(40, DROP, OUTPUT_SURPLUS, "a broadcast copy for which the group has no output left")                         \
	X(41, DROP, OUTPUT_HOLE, "a broadcast copy for an output removed meanwhile")                                   \
	X(42, DROP, SEND_FAILED, "the kernel refused to rewrite or send the packet")                                   \
	X(43, DROP, SRTP_NO_KEY, "SRTP is to come in or go out, but there is no key")                                  \
	X(44, DROP, SRTP_MALFORMED, "no SRTP, or too short for its tag")                                               \
	X(45, DROP, SRTP_REPLAY, "SRTP that has come already, or is too old to tell")                                  \
	X(46, DROP, SRTP_AUTH, "SRTP whose tag or MKI does not match, or plain RTP in its place")                      \
	X(47, DROP, SRTP_EXHAUSTED, "an SRTP key that is used up: 2^48 packets, or too many sources")                  \
	X(48, DROP, SRTP_REUSED, "to be sent under an SRTP index that has been used: a duplicate, or too old")

#endif
