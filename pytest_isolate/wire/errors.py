"""What can go wrong between two of our processes.

Local and remote are told apart (as h11 does), because the fix differs: a local one is our bug or
a value that cannot travel, a remote one is a peer that may be hostile.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The rules of the wire were broken; the message is one line."""


class LocalProtocolError(ProtocolError):
    """Our side tried to send what may not be sent; nothing of it was sent."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what may not be sent; nothing after it can be trusted."""


class PeerGone(Exception):  # noqa: N818  # what happened, not a mistake of anybody's
    """The other side's end of the channel is closed: it has died or left."""
