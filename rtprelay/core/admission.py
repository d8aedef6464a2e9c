"""Whether one more call is taken: the limits an operator set, and what the relay and its host bear at the moment.

Only calls that are new are refused: a call that is there may change as it likes, whatever the load.
"""

from __future__ import annotations

from rtprelay.core.settings import Settings
from rtprelay.core.totals import Totals

SESSION_LIMIT = "Parallel session limit reached"
"""Kamailio and OpenSIPS compare this text to fail over to another node."""
DRAINING = "Draining, no new sessions"


class Admission:
    def __init__(self) -> None:
        self.load_average = 0.0
        """Of the host, over one minute."""
        self.cpu = 0.0
        """Percent of all the host's cores that was busy lately."""
        self.draining = False
        """This relay is about to stop and waits for its last call."""

    def refusal(self, settings: Settings, sessions: int, totals: Totals) -> str | None:
        """Why a new call is not taken; None: it is. A limit of 0 is none, of sessions it is -1."""
        if self.draining:
            return DRAINING
        if 0 <= settings.max_sessions <= sessions:
            return SESSION_LIMIT
        if 0 < settings.max_load < self.load_average:
            return "Load limit exceeded"
        if 0 < settings.max_cpu < self.cpu:
            return "CPU usage limit exceeded"
        if 0 < settings.max_bandwidth < totals.bandwidth:
            return "Bandwidth limit exceeded"
        return None
