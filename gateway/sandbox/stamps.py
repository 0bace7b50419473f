"""What every stanza the server begins is stamped with: an id and the time."""

from __future__ import annotations

import os
import time


def stanza_id() -> str:
    """A new id, in the form WhatsApp's server gives its own."""
    return f"{int.from_bytes(os.urandom(5), 'big')}-{os.urandom(2).hex()}"


def now() -> int:
    """Unix seconds, as stanzas carry them."""
    return int(time.time())
