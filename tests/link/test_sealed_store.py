"""The sealed store in a process of its own: the library cannot be unloaded, and its default VFS is for ever."""

from __future__ import annotations

from pathlib import Path

from tests.link.sealed.process import run

SECRET = b"PLANTED-SECRET-KEY-MATERIAL"


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def plain_text_in(folder: Path) -> list[str]:
    words = (SECRET, b"whatsmeow", b"SQLite format", b"CREATE TABLE")
    return [f"{name}: {word!r}" for name, content in files(folder).items() for word in words if word in content]


def test_whatsmeow_makes_its_schema_in_a_sealed_file(tmp_path):
    told = run("""
        store.add(here / "s.db", KEY)
        go_schema(store.dsn(here / "s.db"))
        put_device(here / "s.db")
        device = S.device(here / "s.db")
        tell(device=[device.jid, device.lid, device.push_name, device.platform, device.registration_id],
             problems=S.integrity_check(here / "s.db"), failures=failures,
             mode=(here / "s.db").stat().st_mode & 0o777, names=sorted(f.name for f in here.iterdir()))
    """, tmp_path)
    assert told["device"] == ["10000000001:7@s.whatsapp.net", "20000000002@lid", "bench", "android", 4242]
    assert told["problems"] == told["failures"] == []
    assert told["mode"] == 0o600
    assert told["names"] == ["s.db", "s.db-wal"]        # no -shm
    assert plain_text_in(tmp_path) == []


def test_a_path_without_a_key_is_refused_and_nothing_is_written(tmp_path):
    told = run("""
        answer = go_schema(store.dsn(here / "s.db"), check=False)
        tell(answer=answer, counts=dict(store.counts), failures=failures)
    """, tmp_path)
    assert "unable to open" in told["answer"]
    assert told["counts"]["no_key"] > 0
    assert "no key was given" in told["failures"][0]
    assert files(tmp_path) == {}


def test_a_name_without_the_vfs_is_sealed_too(tmp_path):
    run("""
        store.add(here / "s.db", KEY)
        go_schema(f"{here}/s.db")
        put_device(here / "s.db", SECRET)
        assert S.device(here / "s.db") is not None
        assert not failures
    """, tmp_path)
    assert len(files(tmp_path)["s.db"]) > 4096
    assert plain_text_in(tmp_path) == []
