"""WhatsApp addresses. A JID is parsed once, at the edge; inside the program a `str` is not an address.

A person has two: the phone-number JID (PN, `…@s.whatsapp.net`) and the hidden one (LID, `…@lid`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

USER, LID, GROUP, NEWSLETTER, BROADCAST = "s.whatsapp.net", "lid", "g.us", "newsletter", "broadcast"
_SERVERS = {USER, LID, GROUP, NEWSLETTER, BROADCAST}
_DIGITS = re.compile(r"[1-9][0-9]{6,14}")                 # E.164: at most 15 digits; nobody has fewer than 7
_GROUP_USER = re.compile(r"[0-9]{5,20}(-[0-9]{5,20})?")
_PUNCTUATION = str.maketrans("", "", " -().\u00a0")


@dataclass(frozen=True, slots=True)
class JID:
    """`user[:device]@server`; device 0 is the phone (the primary device)."""

    user: str
    server: str
    device: int = 0

    def __str__(self) -> str:
        device = f":{self.device}" if self.device else ""
        return f"{self.user}{device}@{self.server}"

    def non_ad(self) -> JID:
        """The person or chat, without the device."""
        return replace(self, device=0) if self.device else self

    @property
    def is_person(self) -> bool:
        return self.server in (USER, LID)

    @property
    def is_group(self) -> bool:
        return self.server == GROUP

    @property
    def phone(self) -> str | None:
        """`+` and digits for a PN, else None."""
        return f"+{self.user}" if self.server == USER else None

    @property
    def c_us(self) -> str:
        """As WhatsApp Web's own pages write it: `237612345678@c.us`."""
        jid = self.non_ad()
        return f"{jid.user}@c.us" if jid.server == USER else str(jid)

    @classmethod
    def parse(cls, text: str) -> JID:
        """`user[.agent][:device]@server`, with `c.us` read as `s.whatsapp.net`. Raises ValueError."""
        user, at, server = text.strip().partition("@")
        server = USER if server == "c.us" else server
        user, _, device = user.partition(":")
        user = user.partition(".")[0] if server in (USER, LID) else user
        if not at or server not in _SERVERS or not ((device.isascii() and device.isdigit()) or not device):
            raise ValueError(f"not a WhatsApp JID: {text[:80]!r}")
        if server == USER:
            good = _DIGITS.fullmatch(user)
        elif server == GROUP:
            good = _GROUP_USER.fullmatch(user)
        elif server == BROADCAST:
            good = re.fullmatch(r"status|[0-9]{1,20}", user)
        else:
            good = re.fullmatch(r"[0-9]{1,25}", user)
        if not good or len(device) > 5:
            raise ValueError(f"not a WhatsApp JID: {text[:80]!r}")
        return cls(user, server, int(device or 0))

    @classmethod
    def stored(cls, text: str) -> JID:
        """What `str` made of one, read back as it was: WhatsApp has kinds of addresses that `parse` lets nobody write to."""
        user, _, server = text.rpartition("@")
        user, _, device = user.partition(":")
        return cls(user, server, int(device or 0))


def parse_recipient(text: str) -> JID:
    """What people write for 'to': E.164 with or without `+` (spaces, dashes and brackets allowed), or a JID.

    Raises ValueError with a sentence."""
    if "@" in text:
        jid = JID.parse(text)
        if jid.server == BROADCAST:
            raise ValueError("messages to broadcast lists and status are not supported")
        return jid.non_ad()
    digits = text.strip().translate(_PUNCTUATION).removeprefix("+").removeprefix("00")
    if not _DIGITS.fullmatch(digits) or not digits.isascii():
        raise ValueError("not a phone number in international form (E.164, as +237612345678)")
    return JID(digits, USER)


def shorten(text: str) -> str:
    """A number or JID as logs show it: enough to recognise, not enough to call. `+237612345678` -> `+2376…78`."""
    user, at, server = text.partition("@")
    return f"{user[:4]}…{user[-2:]}{at}{server}" if len(user) > 7 else text
