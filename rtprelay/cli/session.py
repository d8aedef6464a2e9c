"""One call in words, made from the reply to `query`: the lines and columns of rtpengine's `list sessions CALL-ID`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtprelay.observe.log import printable

Node = Mapping[str, Any]


def session(call_id: str, reply: Node, marks: Node) -> str:
    """`marks` are what a query does not tell."""
    lines = [
        "",
        f"callid: {printable(call_id)}",
        f"deletionmark: {'yes' if marks['deletionmark'] else 'no'}",
        f"created: {reply.get('created', 0)}",
        f"tos: {marks['tos']}",
        f"last_signal: {reply.get('last signal', 0)}",
        "foreign: no",
        "",
    ]
    for tag, party in reply.get("tags", {}).items():
        lines += party_lines(tag, party)
    return "\n".join(lines) + "\n\n"


def party_lines(tag: str, party: Node) -> list[str]:
    tag, label, branch = map(printable, (tag, party.get("label", ""), party.get("via-branch", "")))
    lines = [f"--- Tag '{tag}', label '{label}', branch '{branch}', created {party.get('created', 0)}"]
    lines += [f"---     subscribed to '{other.get('tag', '')}'" for other in party.get("subscriptions", ())]
    lines += [f"---     subscription of '{other.get('tag', '')}'" for other in party.get("subscribers", ())]
    for media in party.get("medias", ()):
        codec = media.get("codec", "unknown codec")
        lines.append(
            f"------ Media #{media.get('index')} ({media.get('type')} over {media.get('protocol')}) using {codec}"
        )
        lines += [_stream(stream) for stream in media.get("streams", ())]
    return lines


def _stream(stream: Node) -> str:
    remote, stats, flags = stream.get("endpoint", {}), stream.get("stats", {}), stream.get("flags", ())
    here = f"{stream.get('local address', ''):>15}:{stream.get('local port', ''):<5}"
    there = f"{remote.get('address', ''):>15}:{remote.get('port', ''):<5}"
    kind = " (RTCP)" if "RTCP" in flags and "RTP" not in flags else ""
    path = ", kernel" if "kernelized" in flags else ""
    counts = f"{stats.get('packets', 0)} p, {stats.get('bytes', 0)} b, {stats.get('errors', 0)} e"
    last = f"{stream.get('last packet', 0)} ts"
    return f"-------- Port {here} <> {there}{kind}, SSRC {stream.get('SSRC', 0):x}, {counts}, {last}{path}"
