"""Decisions: a command and a call give a changed call and the SDP to pass on (RFC 3264)."""
