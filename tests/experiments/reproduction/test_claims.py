"""One process at a time has a claim, whatever becomes of the others."""

import json
import subprocess
import sys
import time

import pytest

from experiments.reproduction import claims
from experiments.reproduction.claims import Claims

NAME = "scenes_sassn_0.125_seed0"
OTHER = {"host": "elsewhere", "pid": 1, "machine": "elsewhere", "beats": 1}


@pytest.fixture
def now(monkeypatch):
    """A clock that the test moves."""
    time_ = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: time_[0])
    return time_


def write(folder, number, **content):
    folder.mkdir(exist_ok=True)
    (folder / f"{NAME}.{number}").write_text(json.dumps({**OTHER, **content}))


def test_one_has_it_until_it_is_released(tmp_path):
    mine, other = Claims(tmp_path), Claims(tmp_path)
    with mine.acquire(NAME):
        assert other.acquire(NAME) is None
        assert mine.acquire(NAME) is None
        with other.acquire("scenes_sassn_0.125_seed1"):
            pass
    with other.acquire(NAME):
        assert mine.acquire(NAME) is None


def test_one_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), Claims(tmp_path).acquire(NAME):
        raise KeyboardInterrupt
    assert Claims(tmp_path).acquire(NAME) is not None


def test_a_claim_that_nobody_renews_is_taken_over(tmp_path, now):
    write(tmp_path, 1)
    observer = Claims(tmp_path)
    assert observer.acquire(NAME) is None
    now[0] = claims.STALE_AFTER - 1
    assert observer.acquire(NAME) is None
    write(tmp_path, 1, beats=2)  # it lives
    now[0] = claims.STALE_AFTER + 1
    assert observer.acquire(NAME) is None
    now[0] = 2 * claims.STALE_AFTER
    assert observer.acquire(NAME) is None
    assert Claims(tmp_path).acquire(NAME) is None  # who has just come knows nothing yet
    now[0] = 2 * claims.STALE_AFTER + 1
    with observer.acquire(NAME):
        assert (tmp_path / f"{NAME}.2").exists()


def test_of_two_who_see_a_stale_claim_one_gets_it(tmp_path, now, monkeypatch):
    write(tmp_path, 1)
    observers = [Claims(tmp_path), Claims(tmp_path)]
    assert [observer.acquire(NAME) for observer in observers] == [None, None]
    now[0] = claims.STALE_AFTER
    # Both have read the folder before either of them has made a file.
    monkeypatch.setattr(claims, "_highest", lambda folder, name: 1)
    got = [observer.acquire(NAME) for observer in observers]
    assert [claim is None for claim in got] == [False, True]


def test_a_claim_cut_short_becomes_stale_like_others(tmp_path, now):
    (tmp_path / f"{NAME}.1").write_bytes(b'{"host": "a')
    observer = Claims(tmp_path)
    assert observer.acquire(NAME) is None
    now[0] = claims.STALE_AFTER
    assert observer.acquire(NAME) is not None


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(tmp_path):
    script = (
        "import os, sys, pathlib; from experiments.reproduction.claims import Claims; "
        f"Claims(pathlib.Path(sys.argv[1])).acquire({NAME!r}).__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / f"{NAME}.1").exists()
    assert Claims(tmp_path).acquire(NAME) is not None


def test_off_linux_a_claim_ends_by_its_age_alone(tmp_path, now, monkeypatch):
    """Where hosts may have one name, and another's process ids say nothing."""
    monkeypatch.setattr(claims, "_machine", lambda: None)
    write(tmp_path, 1, machine=None, pid=2**22 + 1)  # above Linux's limit
    observer = Claims(tmp_path)
    assert observer.acquire(NAME) is None
    now[0] = claims.STALE_AFTER
    assert observer.acquire(NAME) is not None


def test_a_release_tells_of_the_outcome(tmp_path):
    observer, before = Claims(tmp_path), (0, "")
    assert observer.ended(NAME) == before
    for number, outcome in enumerate(("finished", "", "finished"), 1):
        with observer.acquire(NAME) as claim:
            assert observer.ended(NAME) == before  # of those that are released
            claim.outcome = outcome
        before = (number, outcome)
        assert observer.ended(NAME) == before


@pytest.mark.parametrize("how", ["taken over", "removed"])
def test_who_loses_a_claim_is_interrupted(tmp_path, monkeypatch, how):
    monkeypatch.setattr(claims, "BEAT_EVERY", 0.02)
    claim = Claims(tmp_path).acquire(NAME)
    with pytest.raises(KeyboardInterrupt), claim:  # noqa: PT012 (it is raised in the waiting)
        time.sleep(0.1)
        assert json.loads((tmp_path / f"{NAME}.1").read_text())["beats"] > 2
        assert not claim.lost
        if how == "removed":
            (tmp_path / f"{NAME}.1").unlink()
        else:
            write(tmp_path, 2)
        time.sleep(10)
    assert claim.lost


def test_a_disk_that_is_away_for_a_while_loses_nothing(tmp_path, monkeypatch):
    claim = Claims(tmp_path).acquire(NAME)

    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    with claim:
        monkeypatch.setattr(claim, "_write", fail)
        assert not claim._is_lost()
