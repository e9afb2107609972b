"""Files that were changed at random are read, or refused in one line, by every reader."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sassn_jax.errors import InputError
from tests.fuzzing import mutations, running
from tests.fuzzing.readers import READERS, Reader

ROOT = Path(__file__).parents[2]


def check(*arguments):
    command = [sys.executable, "-m", "tests.fuzzing.running", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    print(done.stdout)


def test_a_few_changed_files_of_each_kind():
    check("--count=20")


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_changed_files(name):
    check(name, "--count=10000")


def test_what_a_reader_does_wrong_is_noticed(tmp_path, monkeypatch):
    def read(path):
        content = path.read_text()
        if content == "0":
            return
        if content == "1":
            raise InputError("one line")
        if content == "2":
            raise InputError("two\nlines")
        if content == "3":
            raise InputError("Unable to allocate 7 TiB")
        raise KeyError("another error")

    numbers = iter("01234")
    reader = Reader(
        lambda folder: (folder / "a").write_text("0"), read, lambda *_: next(numbers).encode()
    )
    monkeypatch.setitem(READERS, "wrong", reader)
    monkeypatch.setattr(running, "limit_memory", lambda: None)  # of the process of the tests
    readable, failures = running.fuzz("wrong", range(5), tmp_path)
    assert readable == 1
    assert failures.pop(running.EXPECTED) == [1]
    lines, memory, other = failures
    assert lines.startswith("a message of 2 lines")
    assert memory.startswith("memory")
    assert other.startswith("KeyError at test_fuzzing.py")


def test_changes_depend_on_the_seed_alone_and_change_something():
    content = json.dumps({"a": [1, {"b": 2}], "c": "d"}).encode()
    for mutate in (mutations.any_bytes, mutations.any_json, mutations.any_text):
        changed = [mutate(content, random.Random(seed)) for seed in range(100)]
        assert changed == [mutate(content, random.Random(seed)) for seed in range(100)]
        assert len(set(changed)) > 50
