"""Benchmarks of rtprelay beside Debian's userspace rtpengine: `python -m bench --help`."""
