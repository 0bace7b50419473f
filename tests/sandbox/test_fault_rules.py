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
