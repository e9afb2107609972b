"""Paths as users write them; files that are written whole or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.errors import InputError
from sassn_jax.files import expanded, parse_json, read_json, remove_parts, replacing, write_json
from sassn_jax.weights import npz, store


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Returns the user's home folder, beside the current one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder(home):
    assert expanded("~/DATA/~") == home / "DATA" / "~"
    assert expanded(Path("~")) == home
    assert expanded("~root/DATA") == Path("/root/DATA")
    for kept in ("DATA", "/DATA", "a/~", "a~", ""):
        assert expanded(kept) == Path(kept)


def test_a_folder_may_be_called_like_that(home):
    assert expanded("./~/DATA") == expanded(expanded("./~/DATA")) == Path.cwd() / "~" / "DATA"


def test_the_home_of_nobody_is_a_mistake():
    with pytest.raises(InputError, match=r"no user has the home folder in '~no_such_user/x'; wri"):
        expanded("~no_such_user/x")


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda: data.load("camvid", "~/DATA"), "DATA"),
        (lambda: data.prepare("camvid", "~/SOURCE", "DATA"), "SOURCE"),
        (lambda: data.prepare("folder", "~/SOURCE", "DATA"), "SOURCE"),
        (lambda: data.prepare("voc2012_aug", "~/SOURCE", "DATA"), "SOURCE/VOCdevkit/VOC2012"),
        (lambda: data.prepare("cityscapes", "~/SOURCE", "DATA"), "SOURCE/leftImg8bit"),
        (lambda: store.read("~/x.safetensors"), "x.safetensors"),
        (lambda: npz.read("~/x.npz"), "x.npz"),
    ],
)
def test_what_is_not_at_home_is_looked_for_there(home, call, path):
    with pytest.raises(InputError) as missing:
        call()
    assert str(home / path) in str(missing.value)


def test_files_at_home_are_found(home):
    (home / "ids.txt").write_text("b\n")
    assert data.choose_labeled(("a", "b"), "~/ids.txt", 0).labeled == ("b",)
    model = {"backbone": "resnet_tiny", "layout": "caffe"}
    about = {"model": model, "image": {}, "num_classes": 2, "fused": False}
    arrays = {"params": {"kernel": np.ones(3, np.float32)}}
    store.write("~/x.safetensors", arrays, about)
    assert store.read("~/x.safetensors")[1]["num_classes"] == 2
    assert sorted(path.name for path in home.iterdir()) == ["ids.txt", "x.safetensors"]
    assert list(Path.cwd().iterdir()) == []


def test_writers_of_one_file_do_not_share_a_name(tmp_path):
    """Process ids are not unique across hosts and containers."""
    path = tmp_path / "result.json"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert len({one.name, other.name, path.name}) == 3
        assert all(beside.name.startswith(".result.json.") for beside in (one, other))
    assert path.read_text() == "one"  # its block ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_of_others(tmp_path):
    old = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as beside:
            beside.touch()
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_an_error_leaves_nothing(tmp_path):
    def write():
        with replacing(tmp_path / "a") as beside:
            beside.touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"\[Errno 28\] .*/a'"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "in each other more than 50 times"),
        (b"[" * 51 + b"]" * 51, "in each other more than 50 times"),
        (b'{"a":' * 51 + b"1" + b"}" * 51, "in each other more than 50 times"),
        (b"1" * 5000, "digits"),
        (b"\xff", "can't decode"),
        (b"{", "Expecting"),
        (b"", "Expecting"),
        (b"[" + b"1," * 100 + b"1]", "203 bytes; expected at most 200"),
    ],
)
def test_json_that_is_none_too_deep_or_too_large(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    largest = 200 if "200" in message else 2**20
    with pytest.raises(ValueError, match=message) as error:
        read_json(path, largest)
    assert "\n" not in str(error.value)


def test_json_is_read(tmp_path):
    value = {"a": [1, None, {"b": "ü"}], "c": True}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert parse_json("[" * 50 + "]" * 50)
    assert parse_json("1") == 1


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    left = tmp_path / f".config.json.{16 * 'a'}"
    others = [tmp_path / name for name in (".lock", ".mine.0123", "config.json")]
    for path in (left, *others):
        path.touch()
    remove_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
