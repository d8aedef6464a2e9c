"""SRTP: suites, key derivation, replay protection, the transforms, and SDES. Sans-IO; keys never show in a repr."""
