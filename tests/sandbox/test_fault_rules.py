"""Which fault applies to what, and how often."""

from __future__ import annotations

import pytest

from gateway.sandbox.faults import Faults, from_json


def test_a_fault_applies_to_whom_it_names_as_often_as_it_says() -> None:
    faults = Faults()
    from_json(faults, {"kind": "ack", "device": "+15550001111", "times": 2, "mode": "hold"})
    faults.add("receipt", type="read", mode="drop")
    somebody_else, named = frozenset({"1"}), frozenset({"15550001111", "15550001111:1@s.whatsapp.net"})
    assert faults.take("ack", device=somebody_else) is None
    assert [faults.take("ack", device=named) is not None for _ in range(3)] == [True, True, False]
    assert faults.take("receipt", type="delivered") is None
    assert faults.take("receipt", type="read") is not None
    assert [(rule["kind"], rule["hits"]) for rule in faults.describe()] == [("ack", 2), ("receipt", 1)]
    assert faults.clear("ack") == 1
    assert len(faults.describe()) == 1
    with pytest.raises(ValueError, match="unknown fault"):
        faults.add("weather")


@pytest.mark.parametrize(("rule", "says"), [
    ({"kind": "ack", "mode": "hodl"}, "ack: mode cannot be 'hodl'. after a sent message: mode hold"),
    ({"kind": "ack", "tmies": 1}, "ack: there is no tmies"),
    ({"kind": "ack", "times": "1"}, "times is a whole number"),
    ({"kind": "ack", "device": 15550001111}, "a number or a device is a string"),
    ({"kind": "upload", "seconds": float("nan")}, "upload: seconds cannot be nan"),
    ({"kind": "upload", "status": "500"}, "upload: status cannot be '500'"),
    ({"kind": "receipt", "type": "seen"}, "receipt: type cannot be 'seen'"),
    ({"kind": "decrypt", "mode": "drop"}, "decrypt: there is no mode")])
def test_a_rule_that_would_never_apply_is_refused(rule: dict[str, object], says: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=says):
        from_json(faults, rule)
    assert faults.describe() == []
