from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.link.sealing.pages import (
    BODY,
    DATABASE,
    JOURNAL,
    PAGE,
    SALT,
    WAL,
    BlockCipher,
    DatabaseKeys,
    NotAuthentic,
    made_with,
    new_salt,
)

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NUMBERS = st.integers(min_value=1, max_value=2**32 - 1)


@given(kind=st.sampled_from([DATABASE, WAL, JOURNAL]), number=NUMBERS, offset=st.integers(0, 2**40), seed=st.binary(max_size=40))
def test_a_page_opens_where_it_was_sealed_and_keeps_its_size(kind, number, offset, seed):
    body, keys = seed.ljust(BODY, b"\0"), DatabaseKeys(KEY, new_salt(KEY))
    sealed = keys.seal(kind, number, offset, body)
    assert len(sealed) == PAGE
    assert keys.open(kind, number, offset, sealed) == body


@pytest.mark.parametrize("where", [(WAL, 5, 16384), (JOURNAL, 5, 16384), (DATABASE, 6, 16384), (DATABASE, 5, 20480)])
def test_a_page_opens_nowhere_else(where):
    keys = DatabaseKeys(KEY, new_salt(KEY))
    sealed = keys.seal(DATABASE, 5, 16384, bytes(BODY))
    with pytest.raises(NotAuthentic):
        keys.open(*where, sealed)


def test_a_page_opens_with_no_other_key_and_no_other_salt():
    salt = new_salt(KEY)
    sealed = DatabaseKeys(KEY, salt).seal(DATABASE, 5, 16384, bytes(BODY))
    for keys in (DatabaseKeys(OTHER, salt), DatabaseKeys(KEY, new_salt(KEY))):
        with pytest.raises(NotAuthentic):
            keys.open(DATABASE, 5, 16384, sealed)


def test_every_start_seals_under_an_epoch_of_its_own_and_reads_the_older_ones():
    salt = new_salt(KEY)
    sealed = [DatabaseKeys(KEY, salt).seal(DATABASE, 2, PAGE, bytes(BODY)) for _ in range(8)]
    assert len({page[-4:] for page in sealed}) == 8
    keys = DatabaseKeys(KEY, salt)
    assert all(keys.open(DATABASE, 2, PAGE, page) == bytes(BODY) for page in sealed)


def test_a_file_that_names_a_new_epoch_in_every_page_does_not_fill_the_memory():
    keys = DatabaseKeys(KEY, new_salt(KEY))
    mine = keys.seal(DATABASE, 2, PAGE, bytes(BODY))
    for _ in range(3000):
        with pytest.raises(NotAuthentic):
            keys.open(DATABASE, 2, PAGE, mine[:-4] + os.urandom(4))
    assert len(keys._keys) <= 1024
    assert keys.open(DATABASE, 2, PAGE, mine) == bytes(BODY)
    assert keys.open(DATABASE, 2, PAGE, keys.seal(DATABASE, 2, PAGE, bytes(BODY))) == bytes(BODY)


def test_the_salt_knows_its_key():
    salt = new_salt(KEY)
    assert len(salt) == SALT
    assert made_with(KEY, salt)
    assert not made_with(OTHER, salt)
    for at in range(SALT):
        changed = bytearray(salt)
        changed[at] ^= 1
        assert not made_with(KEY, bytes(changed))


def test_the_block_cipher_of_one_file_reads_another_connections_blocks():
    keys = DatabaseKeys(KEY, new_salt(KEY))
    one, two = BlockCipher(keys), BlockCipher(keys)
    block = bytes(range(16))
    assert one.encrypt(block) != block
    assert two.decrypt(one.encrypt(block)) == one.decrypt(two.encrypt(block)) == block


def test_many_threads_may_seal_at_once():
    keys = DatabaseKeys(KEY, new_salt(KEY))
    sealed: list[tuple[int, bytes]] = []

    def work(thread: int) -> None:
        for n in range(200):
            number = thread * 1000 + n
            sealed.append((number, keys.seal(WAL, number, 32, number.to_bytes(4, "big").ljust(BODY))))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({page[-16:-4] for _, page in sealed}) == 1600        # nonces
    assert all(keys.open(WAL, n, 32, page)[:4] == n.to_bytes(4, "big") for n, page in sealed)
