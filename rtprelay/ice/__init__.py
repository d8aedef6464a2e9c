"""Interactive Connectivity Establishment (RFC 8445): full and lite, trickle (RFC 8838), consent (RFC 7675). Sans-IO."""
