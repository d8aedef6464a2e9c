// SPDX-License-Identifier: GPL-2.0
/* Never loaded: its BTF is what tools/gen_abi.py reads, so it has to mention each type of the ABI once. */
#include "rtprelay/abi.h"

struct abi_anchor {
	struct rtprelay_flow flow;
	struct rtprelay_rules rules;
	struct rtprelay_output output;
	struct rtprelay_wrap wrap;
	struct rtprelay_state state;
	struct rtprelay_source source;
	struct rtprelay_aside aside;
	struct rtprelay_sent sent;
	struct rtprelay_ssrc_key ssrc_key;
	struct rtprelay_srtp_key srtp_key;
	struct rtprelay_srtp_state srtp_state;
	struct rtprelay_srtp_stream_key srtp_stream_key;
	struct rtprelay_srtp_claim srtp_claim;
	struct rtprelay_group_entry group_entry;
	struct rtprelay_steer_address steer_address;
	struct rtprelay_steer_held steer_held;
	struct rtprelay_abi abi;
	enum rtprelay_limits limits;
	enum rtprelay_flow_flag flow_flag;
	enum rtprelay_mismatch mismatch;
	enum rtprelay_payload_rule payload_rule;
	enum rtprelay_output_flag output_flag;
	enum rtprelay_punt_class punt_class;
	enum rtprelay_srtp_limits srtp_limits;
	enum rtprelay_srtp_cipher srtp_cipher;
	enum rtprelay_reason reason;
	enum rtprelay_counter counter;
} abi_anchor;
