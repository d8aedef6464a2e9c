"""One call in words, made from the reply to `query`: `list sessions CALL-ID`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Node = Mapping[str, Any]


def session(call_id: str, reply: Node) -> str:
    lines = [
        "",
        f"callid: {call_id}",
        f"created: {reply.get('created', 0)}",
        f"last_signal: {reply.get('last signal', 0)}",
    ]
    lines.append("")
    for tag, party in reply.get("tags", {}).items():
        lines += _party(tag, party)
    return "\n".join(lines) + "\n\n"


def _party(tag: str, party: Node) -> list[str]:
    label, branch = party.get("label", ""), party.get("via-branch", "")
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
    remote, stats = stream.get("endpoint", {}), stream.get("stats", {})
    here = f"{stream.get('local address', '')}:{stream.get('local port', '')}"
    there = f"{remote.get('address', '')}:{remote.get('port', '')}"
    flags = stream.get("flags", ())
    kind = " (RTCP)" if "RTCP" in flags and "RTP" not in flags else ""
    path = ", kernel" if "kernelized" in flags else ""
    counts = f"{stats.get('packets', 0)} p, {stats.get('bytes', 0)} b, {stats.get('errors', 0)} e"
    return f"-------- Port {here:>21} <> {there:>21}{kind}, SSRC {stream.get('SSRC', 0):x}, {counts}{path}"
