"""rtprelay: a SIP/SFU media relay whose packets never reach userspace."""

__version__ = "0.1.0"
