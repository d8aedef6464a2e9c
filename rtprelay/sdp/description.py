"""An SDP that has come in: its meaning at once, its lines for whoever changes them."""

from __future__ import annotations

from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import SessionView, read
from rtprelay.sdp.wording import Wording, take_apart


class Description:
    __slots__ = ("_document", "text", "view", "wording")

    def __init__(
        self, text: str, view: SessionView, wording: Wording | None = None, document: SessionDescription | None = None
    ) -> None:
        self.text = text
        self.view = view
        self.wording = wording
        self._document = document

    @property
    def document(self) -> SessionDescription:
        """Of one that has been understood by its wording the lines are mostly never asked for."""
        if self._document is None:
            self._document = SessionDescription.parse(self.text)
        return self._document


def understand(text: str) -> Description:
    """Raises MalformedSdp."""
    taken = take_apart(text)
    if taken is not None and (known := taken.wording.meaning(taken.own)) is not None:
        return Description(text, known, taken.wording)
    document = SessionDescription.parse(text)
    view = read(document)
    wording = taken.wording if taken is not None and taken.wording.learn(taken.own, document, view) else None
    return Description(text, view, wording, document)
