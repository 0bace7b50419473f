"""Sessions' files in use: by many threads of Go, by two processes, backed up, keyed anew, and put back from an old copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.link.sealed_store import SealingUnavailable, library_path
from gateway.link.sealing import capi
from tests.link.sealed.process import ROOT, begin, end, run

from .test_sealed_store import files, plain_text_in


def test_the_self_test_passes_and_leaves_nothing_behind(tmp_path):
    told = run("""
        store.self_test(here)
        tell(failures=failures, wrong=store.counts["wrong_key"], names=[f.name for f in here.iterdir()])
    """, tmp_path)
    assert told == {"failures": [], "wrong": 0, "names": []}


@pytest.mark.parametrize(("broken", "found"), [
    ("seal = lambda s, kind, n, at, body: body + bytes(32)", "found plain text"),
    ("seal = lambda s, kind, n, at, body: bytes(b ^ 85 for b in body) + bytes(32)", "failed"),
])
def test_the_self_test_notices_a_seal_that_does_not_seal(tmp_path, broken, found):
    told = run(f"""
        from gateway.link.sealing import pages, vfs
        from gateway.link.sealed_store import SealingUnavailable
        pages.DatabaseKeys.{broken}
        pages.DatabaseKeys.open = lambda s, kind, n, at, sealed: sealed[:-32]
        try: store.self_test(here)
        except SealingUnavailable as error: tell(text=str(error))
    """, tmp_path)
    assert found in told["text"]
    assert files(tmp_path) == {}


def test_the_self_test_notices_a_wrong_key_that_opens(tmp_path):
    told = run("""
        from gateway.link.sealing import pages, vfs
        from gateway.link.sealed_store import SealingUnavailable
        store._vfs._key_for = lambda path: KEY      # whatever key was given
        try: store.self_test(here)
        except SealingUnavailable as error: tell(text=str(error))
    """, tmp_path)
    assert "wrong key" in told["text"]


def test_a_folder_that_cannot_be_written_fails_the_self_test(tmp_path):
    told = run("""
        from gateway.link.sealed_store import SealingUnavailable
        try: store.self_test(here / "missing")
        except SealingUnavailable as error: tell(text=str(error))
    """, tmp_path)
    assert "self-test" in told["text"]


def test_a_library_without_sqlite_is_refused_by_name():
    libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc" in line)
    with pytest.raises(SealingUnavailable, match=r"does not export sqlite3_config, sqlite3_initialize.*Install the neonize version"):
        capi.load(Path(libc))


def test_a_file_that_is_no_library_is_refused(tmp_path):
    (tmp_path / "x.so").write_bytes(b"not a library")
    with pytest.raises(SealingUnavailable, match="cannot be loaded"):
        capi.load(tmp_path / "x.so")


def test_the_library_is_found_without_importing_neonize():
    code = "import sys; from gateway.link.sealed_store import library_path; print(library_path(), 'neonize' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [str(library_path()), "False"]


def test_installing_twice_is_installing_once(tmp_path):
    told = run("""
        from gateway.link.sealed_store import library_path
        tell(same=SealedStore.install() is store and SealedStore.install(library_path()) is store is SealedStore.installed())
    """, tmp_path)
    assert told["same"]


@pytest.mark.parametrize("name", ["a b.db", "per%cent.db", "ques?tion#hash.db", "plus+and&and=.db", "ünïcode-é.db"])
def test_any_file_name_reaches_go_and_us_alike(tmp_path, name):
    told = run(f"""
        path = here / {name!r}
        store.add(path, KEY)
        go_schema(store.dsn(path))
        put_device(path)
        tell(jid=S.device(path).jid, names=sorted(f.name for f in here.iterdir()))
    """, tmp_path)
    assert told["jid"] == "10000000001:7@s.whatsapp.net"
    assert told["names"] == [name, f"{name}-wal"]


def test_a_link_and_its_target_are_one_path(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    told = run("""
        store.add(here / "link" / "s.db", KEY)
        go_schema(store.dsn(here / "real" / "s.db"))
        tell(connections=store.connections(here / "link" / "s.db"), failures=failures)
    """, tmp_path)
    assert told["connections"] > 0
    assert told["failures"] == []


def test_forty_threads_of_go_write_without_an_error(tmp_path):
    told = run("""
        import threading
        path = here / "s.db"
        store.add(path, KEY)
        go_schema(store.dsn(path))
        put_device(path)
        go_client(store.dsn(path))
        errors, stop = [], threading.Event()
        def write(thread):
            errors.extend(filter(None, (go_put(f"1{thread:03}{n:06}") for n in range(25))))
        def look():
            while not stop.is_set():
                with S.connect(path) as c: c.query("SELECT count(*) FROM whatsmeow_chat_settings")
        threads = [threading.Thread(target=write, args=(n,)) for n in range(40)]
        reader = threading.Thread(target=look)
        for t in (reader, *threads): t.start()
        for t in threads: t.join()
        stop.set(); reader.join()
        with S.connect(path) as c: rows = c.one("SELECT sum(pinned) FROM whatsmeow_chat_settings")
        tell(errors=errors[:3], rows=rows, problems=S.integrity_check(path), failures=failures)
    """, tmp_path)
    assert told == {"errors": [], "rows": 1000, "problems": [], "failures": []}
    assert plain_text_in(tmp_path) == []


def test_a_second_process_is_told_who_is_in_the_way_and_gets_the_file_afterwards(tmp_path):
    holder = begin("""
        import sys
        store.add(here / "s.db", KEY)
        S.bump_generation(here / "s.db")
        c = sql(here / "s.db")
        c.query("CREATE TABLE t (a)")
        tell(ready=True)
        sys.stdin.readline()
        c.query("INSERT INTO t VALUES (1)")
        tell(problems=c.query("PRAGMA integrity_check"))
    """, tmp_path, stdin=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    second = """
        store.add(here / "s.db", KEY)
        try:
            with S.connect(here / "s.db", busy_ms=100) as c: tell(rows=c.one("SELECT count(*) FROM t"))
        except S.SessionFileError as error: tell(what=error.what, text=str(error))
        tell(answer=go_schema(store.dsn(here / "s.db").replace("timeout=10000", "timeout=100"), check=False))
    """
    told = run(second, tmp_path)
    assert told["what"] == "busy"
    assert "another process" in told["text"]
    assert "database is locked" in told["answer"]
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert end(holder)["problems"] == [["ok"]]
    told = run(second, tmp_path)
    assert told["rows"] == 1
    assert not told["answer"].startswith("error")


def test_errors_say_what_is_the_matter(tmp_path):
    told = run("""
        import sqlite3
        def what(path):
            try: S.integrity_check(path)
            except S.SessionFileError as error: return [error.what, str(error)]
        good, plain = here / "good.db", here / "plain.db"
        store.add(good, KEY)
        S.bump_generation(good)
        store.add(good, OTHER)
        tell(wrong=what(good))
        store.forget(good)
        tell(none=what(good))
        with sqlite3.connect(plain) as c: c.execute("CREATE TABLE t (a)")
        store.add(plain, KEY)
        tell(plain=what(plain))
        store.add(good, KEY)
        content = bytearray(good.read_bytes())
        content[4096 + 100] ^= 1
        good.write_bytes(content)
        tell(changed=what(good))
    """, tmp_path)
    assert {name: answer[0] for name, answer in told.items()} == {
        "wrong": "wrong_key", "none": "no_key", "plain": "plaintext_refused", "changed": "authentication_failed"}
    assert all(str(tmp_path) in answer[1] for answer in told.values())


def test_a_session_that_was_never_opened_is_nobody_of_generation_zero(tmp_path):
    told = run("""
        missing = here / "missing.db"
        tell(device=S.device(missing), generation=S.read_generation(missing), problems=S.integrity_check(missing),
             names=[f.name for f in here.iterdir()])
        store.add(missing, KEY)
        tell(added=[S.device(missing), S.read_generation(missing), S.integrity_check(missing)])
    """, tmp_path)
    assert told == {"device": None, "generation": 0, "problems": [], "names": [], "added": [None, 0, []]}


def test_the_generation_grows_with_every_bump_and_whatsmeow_does_not_mind(tmp_path):
    told = run("""
        path = here / "s.db"
        store.add(path, KEY)
        numbers = [S.bump_generation(path)]
        go_schema(store.dsn(path))
        numbers += [S.bump_generation(path), S.read_generation(path)]
        numbers += [S.bump_generation(path, at_least=40), S.bump_generation(path)]
        go_schema(store.dsn(path))
        tell(numbers=numbers, device=S.device(path))
    """, tmp_path)
    assert told == {"numbers": [1, 2, 2, 41, 42], "device": None}


def test_an_old_copy_that_is_put_back_is_known_by_its_generation(tmp_path):
    bump = """store.add(here / "s.db", KEY); tell(n=S.bump_generation(here / "s.db"))"""
    assert [run(bump, tmp_path)["n"] for _ in range(2)] == [1, 2]
    shutil.copy(tmp_path / "s.db", tmp_path / "old")
    assert [run(bump, tmp_path)["n"] for _ in range(2)] == [3, 4]
    for name in list(files(tmp_path)):
        if name.startswith("s.db"):
            (tmp_path / name).unlink()
    shutil.move(tmp_path / "old", tmp_path / "s.db")
    assert run("""store.add(here / "s.db", KEY); tell(n=S.read_generation(here / "s.db"))""", tmp_path)["n"] < 4


@pytest.mark.parametrize("key", ["KEY", "OTHER"])
def test_a_backup_is_taken_while_go_writes_and_opens_with_its_own_key_only(tmp_path, key):
    told = run(f"""
        import threading
        path, target = here / "s.db", here / "backup.db"
        store.add(path, KEY)
        go_schema(store.dsn(path)); put_device(path, SECRET); go_client(store.dsn(path))
        S.bump_generation(path)
        go_put("1000")
        stop, errors = threading.Event(), []
        def write():
            n = 0
            while not stop.is_set():
                n += 1
                errors.extend(filter(None, [go_put(f"2{{n:06}}")]))
        writer = threading.Thread(target=write); writer.start()
        S.backup_into(path, target, {key})
        stop.set(); writer.join()
        try: S.device(target)
        except S.SessionFileError as error: tell(forgotten=error.what)
        try: S.backup_into(path, target, KEY)
        except FileExistsError: tell(again="refused")
        tell(errors=errors[:3], mode=target.stat().st_mode & 0o777, names=sorted(f.name for f in here.iterdir()))
    """, tmp_path)
    assert told == {"forgotten": "no_key", "again": "refused", "errors": [], "mode": 0o600,
                    "names": ["backup.db", "s.db", "s.db-wal"]}
    assert plain_text_in(tmp_path) == []
    wrong = "OTHER" if key == "KEY" else "KEY"
    told = run(f"""
        target = here / "backup.db"
        store.add(target, {wrong})
        try: S.device(target)
        except S.SessionFileError as error: tell(wrong=error.what)
        store.add(target, {key})
        with S.connect(target) as c: tell(rows=c.one("SELECT count(*) FROM whatsmeow_chat_settings"))
        tell(jid=S.device(target).jid, generation=S.read_generation(target), problems=S.integrity_check(target))
        go_schema(store.dsn(target))
    """, tmp_path)
    assert told.pop("rows") >= 1
    assert told == {"wrong": "wrong_key", "jid": "10000000001:7@s.whatsapp.net", "generation": 1, "problems": []}


def test_a_failed_backup_leaves_no_half_copy(tmp_path):
    told = run("""
        path, target = here / "s.db", here / "backup.db"
        store.add(path, KEY)
        go_schema(store.dsn(path))
        store.add(path, OTHER)
        try: S.backup_into(path, target, KEY)
        except S.SessionFileError as error: tell(what=error.what)
        tell(exists=target.exists())
    """, tmp_path)
    assert told == {"what": "wrong_key", "exists": False}


def test_an_interpreter_that_ends_while_go_writes_loses_nothing(tmp_path):
    """os._exit in the middle of commits of native threads."""
    told = run("""
        import threading, time
        path = here / "s.db"
        store.add(path, KEY)
        go_schema(store.dsn(path)); put_device(path); go_client(store.dsn(path))
        done = []
        def write(thread):
            for n in range(10_000):
                if not go_put(f"{thread}{n:06}"): done.append(f"{thread}{n:06}")
        for thread in range(1, 5): threading.Thread(target=write, args=(thread,), daemon=True).start()
        while len(done) < 50: time.sleep(0.001)
        tell(done=list(done))
    """, tmp_path)
    after = run("""
        path = here / "s.db"
        store.add(path, KEY)
        with S.connect(path) as c: rows = c.query("SELECT chat_jid FROM whatsmeow_chat_settings")
        tell(chats=[row[0].split("@")[0] for row in rows], problems=S.integrity_check(path), failures=failures)
    """, tmp_path)
    assert set(told["done"]) <= set(after["chats"])
    assert after["problems"] == after["failures"] == []


def test_other_users_cannot_read_the_files_whatever_the_umask_is(tmp_path):
    run("""
        os.umask(0)
        store.add(here / "s.db", KEY)
        go_schema(store.dsn(here / "s.db"))
    """, tmp_path)
    assert {oct(os.stat(tmp_path / name).st_mode & 0o777) for name in files(tmp_path)} == {"0o600"}


def test_a_process_without_descriptors_says_nothing_about_the_file(tmp_path):
    told = run("""
        import asyncio, os, resource
        from gateway.errors import GatewayError
        from gateway.link.base import SessionFile
        from gateway.link.generations import FileGenerations
        from gateway.link.session_files import SealedFiles
        path, file = here / "s.db", SessionFile("s", here / "s.db", KEY)
        async def main():
            generations, files = FileGenerations(store), SealedFiles(store)
            await generations.bump(file, 0)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1]))
            said = []
            for work in (lambda: generations.read(file), lambda: generations.bump(file, 0), lambda: files.contents(file)):
                try: await work()
                except Exception as error: said.append(f"{type(error).__name__} {getattr(error, 'code', '')}")
            try: S.read_generation(path)
            except S.SessionFileError as error: what = error.what
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            tell(said=said, what=what, generation=await generations.read(file))
        asyncio.run(main())
    """, tmp_path)
    assert told == {"said": ["GatewayError storage_unavailable"] * 3, "what": "system", "generation": 1}


def test_a_disk_that_is_full_says_nothing_about_the_file(tmp_path):
    told = run("""
        import asyncio
        from gateway.errors import GatewayError
        from gateway.link.base import SessionFile, StoreDamaged
        from gateway.link.session_files import SealedFiles
        files, said = SealedFiles(store), []
        for what in ("full", "busy", "system", "damaged"):
            def fail(*_): raise S.SessionFileError(what, "why")
            S.backup_into = fail
            try: asyncio.run(files.copy(SessionFile("s", here / "s.db", KEY), here / "copy.db", KEY))
            except (GatewayError, StoreDamaged) as error: said.append(type(error).__name__)
        tell(said=said)
    """, tmp_path)
    assert told["said"] == ["GatewayError", "GatewayError", "GatewayError", "StoreDamaged"]
