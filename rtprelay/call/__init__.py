"""The call model: call -> party -> media -> subscription. Values that know nothing of ng, SDP text or packets."""
