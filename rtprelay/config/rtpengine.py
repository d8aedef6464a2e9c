"""Options rtpengine has and this relay has no use for: accepted, so that scripts carry over, and named once as ignored.

Taken from `rtpengine --help` (10.5) and the manual page of 26.0.
"""

from __future__ import annotations

_WITH_VALUE = """
    amr-dtx audio-buffer-delay audio-buffer-length audio-player b2b-url cn-payload
    codec-num-threads
    dtmf-digit-delay dtmf-log-dest dtx-buffer dtx-cn-params dtx-delay dtx-lag dtx-shift evs-lib-path graphite
    graphite-interval graphite-prefix graphite-timeout homer homer-id homer-ng-capture-proto homer-protocol http-threads
    idle-priority idle-scheduling io-uring-buffers iptables-chain janus-secret jitter-buffer
    kernel-player kernel-player-media listen-tcp listen-udp log-facility-cdr
    log-facility-dtmf log-facility-rtcp log-level-codec log-level-control log-level-core log-level-crypto log-level-dtx
    log-level-ffmpeg log-level-http log-level-ice log-level-internals log-level-rtcp log-level-spandsp log-level-srtp
    log-level-transcoding log-mark-prefix log-mark-suffix log-name max-dtx
    max-log-line-length max-recv-iters media-num-threads mqtt-cafile mqtt-capath mqtt-certfile mqtt-host mqtt-id
    mqtt-keepalive mqtt-keyfile mqtt-pass mqtt-port mqtt-publish-interval mqtt-publish-qos mqtt-publish-scope
    mqtt-publish-topic mqtt-tls-alpn mqtt-user mysql-host mysql-pass mysql-port mysql-query mysql-user
    nftables-base-chain nftables-chain nftables-family num-threads poller-size priority recording-dir recording-format
    recording-method redis redis-allowed-errors redis-cmd-timeout redis-connect-timeout redis-delete-async-interval
    redis-disable-time redis-expires redis-num-threads redis-write rtcp-interval scheduling silence-detect
    socket-cpu-affinity software-id subscribe-keyspace thread-stack xmlrpc-format
"""

_SWITCHES = """
    active-switchover debug-srtp dtmf-log-ng-tcp dtmf-no-log-injects dtmf-no-suppress
    homer-disable-rtcp-stats homer-enable-ng io-uring jb-clock-drift log-srtp-keys measure-rtp nftables-append
    no-log-timestamps no-redis-required player-cache poller-per-thread record-egress redis-delete-async
    split-logs
"""

IGNORED_WITH_VALUE = frozenset(_WITH_VALUE.split())
IGNORED_SWITCHES = frozenset(_SWITCHES.split())
IGNORED = IGNORED_WITH_VALUE | IGNORED_SWITCHES

LETTERS = {
    "k": "subscribe-keyspace",
    "l": "listen-tcp",
    "u": "listen-udp",
    "g": "graphite",
    "G": "graphite-interval",
    "r": "redis",
    "w": "redis-write",
    "q": "no-redis-required",
    "y": "redis-delete-async",
    "b": "b2b-url",
    "x": "xmlrpc-format",
}
