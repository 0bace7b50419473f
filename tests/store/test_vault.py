from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.vault import Sealer, Vault, VaultError, new_data_key

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def key_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refused(call, *args, **named) -> VaultError:
    with pytest.raises(VaultError) as caught:
        call(*args, **named)
    assert KEY.hex() not in str(caught.value)
    return caught.value


# -- where the key comes from


def test_the_first_start_makes_a_key_for_the_owner_alone_and_the_next_one_reads_it(tmp_path):
    first = Vault.load(tmp_path / "state")
    path = tmp_path / "state" / "master.key"
    assert first.created
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    second = Vault.load(tmp_path / "state")
    assert not second.created
    assert second.fingerprint == first.fingerprint
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]


def test_a_credential_of_the_service_manager_comes_before_the_key_file(tmp_path, monkeypatch):
    key_file(tmp_path / "master-key", KEY, 0o440)       # systemd's own mode: with an ACL the group bits show
    file = key_file(tmp_path / "k", OTHER)
    assert Vault.load(tmp_path, file, tmp_path).fingerprint == Vault(KEY).fingerprint
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Vault.load(tmp_path, file).fingerprint == Vault(KEY).fingerprint
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert Vault.load(tmp_path, file).fingerprint == Vault(OTHER).fingerprint


def test_a_named_key_file_that_is_missing_is_not_made(tmp_path):
    assert refused(Vault.load, tmp_path, tmp_path / "k").code == "key_missing"
    assert not (tmp_path / "k").exists()


def test_no_new_key_is_made_beside_data_whose_key_is_gone(tmp_path):
    (tmp_path / "gateway.db").write_bytes(b"x")
    assert refused(Vault.load, tmp_path).code == "key_missing"
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_a_key_file_that_others_can_read_is_refused(tmp_path, mode):
    error = refused(Vault.load, tmp_path, key_file(tmp_path / "k", KEY, mode))
    assert error.code == "key_permissions"
    assert "chmod 600" in error.text


def test_a_key_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "k").mkdir()
    assert refused(Vault.load, tmp_path, tmp_path / "k").code == "key_unreadable"


@pytest.mark.parametrize("content", [
    KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\n", b"  " + KEY.hex().encode() + b"\r\n",
    base64.b64encode(KEY), base64.b64encode(KEY) + b"\n", base64.b64encode(KEY).rstrip(b"=")])
def test_a_key_is_read_raw_as_hex_or_as_base64(tmp_path, content):
    assert Vault.load(tmp_path, key_file(tmp_path / "k", content)).fingerprint == Vault(KEY).fingerprint


def test_the_url_alphabet_of_base64_is_read(tmp_path):
    key = b"\xff\xfb\xfe" * 10 + b"ab"
    path = key_file(tmp_path / "k", base64.urlsafe_b64encode(key))
    assert Vault.load(tmp_path, path).fingerprint == Vault(key).fingerprint


@pytest.mark.parametrize("content", [
    b"", b"\n", b"CHANGE-ME", KEY[:31], KEY + b"\n", KEY.hex()[:62].encode(), KEY.hex()[:32].encode(),
    base64.b64encode(KEY[:16]), base64.b64encode(KEY * 2), bytes(32), b"00" * 32,
    b"44 characters, but not one key in base64!!!!"])
def test_anything_else_is_no_key(tmp_path, content):
    assert refused(Vault.load, tmp_path, key_file(tmp_path / "k", content)).code == "key_malformed"


def test_the_constructor_wants_32_bytes():
    assert refused(Vault, KEY[:16]).code == "key_malformed"
    assert refused(Sealer, b"").code == "key_malformed"
    assert refused(Vault(KEY).wrap, KEY[:31], "p").code == "key_malformed"


# -- which key


def test_a_check_value_recognises_its_key_and_no_other():
    check = Vault(KEY).check_value()
    assert Vault(KEY).matches(check)
    assert not Vault(OTHER).matches(check)
    assert check != Vault(KEY).check_value()
    assert KEY not in check
    for wrong in (b"", check[:-1], check + b"x", b"\x02" + check[1:], check[:-1] + bytes([check[-1] ^ 1])):
        assert not Vault(KEY).matches(wrong)


# -- sealing


@given(plain=st.binary(max_size=300), place=st.text(max_size=40))
def test_what_is_sealed_opens_in_its_place(plain, place):
    sealer = Sealer(OTHER)
    assert sealer.open(sealer.seal(plain, place), place) == plain


def test_it_opens_in_no_other_place_and_with_no_other_key():
    vault = Vault(KEY)
    wrapped = vault.wrap(OTHER, "session/a")
    assert refused(vault.unwrap, wrapped, "session/b").code == "damaged"
    assert refused(Vault(OTHER).unwrap, wrapped, "session/a").code == "wrong_key"
    row = Sealer(KEY).seal(b"secret", "message/a/1")
    assert refused(Sealer(KEY).open, row, "message/a/2").code == "damaged"
    assert refused(Sealer(OTHER).open, row, "message/a/1").code == "damaged"


@pytest.mark.parametrize("make", [lambda: (Vault(KEY).wrap, Vault(KEY).unwrap), lambda: (Sealer(KEY).seal, Sealer(KEY).open)])
def test_every_changed_bit_and_every_cut_is_noticed(make):
    seal, open_ = make()
    sealed = seal(b"thirty-two bytes" * 2, "p")
    assert b"thirty" not in sealed
    for at in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        assert refused(open_, bytes(changed), "p").code in {"damaged", "wrong_key"}
    for length in range(len(sealed)):
        assert refused(open_, sealed[:length], "p").code in {"damaged", "wrong_key"}


def test_two_seals_of_one_value_differ():
    assert len({Sealer(KEY).seal(b"same", "p") for _ in range(50)}) == 50


def test_an_envelope_opens_to_the_same_sealer():
    vault, data_key = Vault(KEY), Vault.new_data_key()
    wrapped = vault.wrap(data_key, "store")
    assert data_key not in wrapped
    assert vault.unwrap(wrapped, "store") == data_key
    sealed = vault.open_envelope(wrapped, "store").seal(b"row", "payload/1")
    assert Vault(KEY).open_envelope(wrapped, "store").open(sealed, "payload/1") == b"row"
    assert refused(vault.open_envelope, wrapped, "session/1").code == "damaged"


# -- rotation


def test_a_rotation_rewraps_data_keys_and_leaves_rows_alone(tmp_path):
    old = Vault.load(tmp_path)
    data_key, check = new_data_key(), old.check_value()
    wrapped, row = old.wrap(data_key, "store"), Sealer(data_key).seal(b"row", "payload/1")

    both = old.rotate()
    assert both.rotating
    assert both.fingerprint != old.fingerprint
    assert both.matches(check)
    assert both.needs_rewrap(wrapped)
    fresh = both.rewrap(wrapped, "store")
    assert not both.needs_rewrap(fresh)
    assert both.rewrap(fresh, "store") == fresh
    check = both.check_value()

    done = both.finish_rotation()
    assert not done.rotating
    assert [p.name for p in tmp_path.iterdir()] == ["master.key"]
    new = Vault.load(tmp_path)
    assert new.fingerprint == done.fingerprint == both.fingerprint
    assert new.matches(check)
    assert new.open_envelope(fresh, "store").open(row, "payload/1") == b"row"
    assert refused(new.unwrap, wrapped, "store").code == "wrong_key"


def test_a_crash_in_the_middle_of_a_rotation_loses_no_key(tmp_path, monkeypatch):
    old = Vault.load(tmp_path)
    wrapped = old.wrap(KEY, "store")
    real, calls = os.fsync, []

    class Crash(Exception):
        pass

    for survive in range(5):
        calls.clear()

        def fsync(fd, limit=survive):
            calls.append(fd)
            if len(calls) > limit:
                raise Crash
            real(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                Vault.load(tmp_path).rotate()
            except Crash:
                pass
        after = Vault.load(tmp_path)
        assert after.unwrap(wrapped, "store") == KEY, survive
        if after.rotating:
            wrapped = after.rewrap(wrapped, "store")
            after.finish_rotation()
    assert Vault.load(tmp_path).unwrap(wrapped, "store") == KEY
    assert Vault.load(tmp_path).fingerprint != old.fingerprint


def test_a_second_rotation_waits_for_the_first(tmp_path):
    both = Vault.load(tmp_path).rotate()
    assert refused(both.rotate).code == "rotation_unfinished"
    assert Vault.load(tmp_path).rotating
    both.finish_rotation()
    assert Vault.load(tmp_path).rotate().rotating


def test_a_credential_is_rotated_by_its_owner(tmp_path):
    key_file(tmp_path / "master-key", OTHER)
    key_file(tmp_path / "master-key.previous", KEY)
    wrapped = Vault(KEY).wrap(KEY, "store")
    both = Vault.load(tmp_path, credentials_dir=tmp_path)
    assert both.unwrap(wrapped, "store") == KEY
    assert refused(Vault.load(tmp_path, credentials_dir=tmp_path).rotate).code == "rotation_unfinished"
    (tmp_path / "master-key.previous").unlink()
    assert refused(Vault.load(tmp_path, credentials_dir=tmp_path).rotate).code == "key_missing"
