"""`.pth` files: written by hand, and by PyTorch where it is installed."""

import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from sassn_jax.errors import InputError
from sassn_jax.weights import pth

NUMBERS = np.arange(12, dtype=np.float32)


class Global(str):
    """A name for the reader to look up."""


class Call(tuple):
    """A function and its arguments, for the reader to call."""


class Storage(tuple):
    """A persistent id."""


def opcodes(value):
    """The pickle of a value, without its head and its last opcode."""
    if isinstance(value, Global):
        return b"c" + value.replace(":", "\n").encode() + b"\n"
    if isinstance(value, Call):
        return opcodes(value[0]) + opcodes(tuple(value[1:])) + b"R"
    if isinstance(value, Storage):
        return opcodes(tuple(value)) + b"Q"
    if isinstance(value, dict):
        return b"}(" + b"".join(opcodes(x) for pair in value.items() for x in pair) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, str):
        return b"X" + struct.pack("<i", len(value)) + value.encode()
    if isinstance(value, int):
        return b"L%dL\n" % value
    assert value is None
    return b"N"


def pickled(value):
    return b"\x80\x02" + opcodes(value) + b"."


def tensor(key="0", kind="FloatStorage", count=12, offset=0, size=(3, 4), stride=(4, 1)):
    storage = Storage(("storage", Global(f"torch:{kind}"), key, "cpu", count))
    rebuild = Global("torch._utils:_rebuild_tensor_v2")
    hooks = Call((Global("collections:OrderedDict"),))
    return Call((rebuild, storage, offset, size, stride, False, hooks))


def write_zip(path, tree, storages=(NUMBERS,), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("theirs/data.pkl", pickled(tree))
        archive.writestr("theirs/byteorder", "little")
        for key, numbers in enumerate(storages):
            archive.writestr(f"theirs/data/{key}", numbers.tobytes())


def write_legacy(path, tree, storages=(NUMBERS,)):
    heads = (pth.MAGIC, pth.PROTOCOL, {"little_endian": True}, tree)
    keys = [str(key) for key in range(len(storages))]
    data = b"".join(struct.pack("<q", len(x)) + x.tobytes() for x in storages)
    path.write_bytes(b"".join(map(pickled, (*heads, keys))) + data)


WRITERS = {"zip": write_zip, "legacy": write_legacy}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "theirs.pth"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_tensors_come_back_by_name(path, write):
    ordered = tensor(offset=2, size=(2, 3), stride=(1, 4))
    write(path, {"a.weight": tensor(), "a.bias": ordered, "count": tensor(size=(), stride=())})
    arrays = pth.read(path)
    assert list(arrays) == ["a.weight", "a.bias", "count"]
    np.testing.assert_array_equal(arrays["a.weight"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(arrays["a.bias"], [[2, 6, 10], [3, 7, 11]])
    assert arrays["count"] == 0
    arrays["a.weight"][:] = 7  # a copy, not a view of the file or of another array
    assert arrays["a.bias"][0, 0] == 2


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_tensors_among_other_things(path, key):
    write_zip(path, {"epoch": 3, key: {"a": tensor()}, "optimizer": {"lr": "no tensor"}})
    assert list(pth.read(path)) == ["a"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    "name", ["os:mkdir", "posix:mkdir", "builtins:eval", "torch:load", "torch._utils:os.mkdir"]
)
def test_no_function_that_a_file_names_is_called(path, tmp_path, write, name):
    made = tmp_path / "made"
    argument = str(made) if "mkdir" in name else f"__import__('os').mkdir({str(made)!r})"
    write(path, {"a": Call((Global(name), argument))})
    module, _, function = name.partition(":")
    with pytest.raises(InputError, match=f"refers to {module}.{function}.*save the state_dict"):
        pth.read(path)
    assert not made.exists()


def test_no_file_leaves_a_mark_on_the_next(path):
    """A pickle may set attributes of what it has looked up."""
    for name in ("collections:OrderedDict", "torch._utils:_rebuild_tensor_v2"):
        mark = opcodes({"__doc__": "marked", "mark": 1})
        body = b"\x80\x02" + opcodes(Global(name)) + mark + b"b."
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("theirs/data.pkl", body)
        with pytest.raises(InputError):
            pth.read(path)
    assert not hasattr(OrderedDict, "mark")
    write_zip(path, {"a": tensor()})
    np.testing.assert_array_equal(pth.read(path)["a"], NUMBERS.reshape(3, 4))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": tensor(size=(4, 4))}, r"size \(4, 4\) reaches past its storage"),
        ({"a": tensor(offset=1)}, "reaches past its storage"),
        ({"a": tensor(size=(2**40,), stride=(0,))}, "reaches past its storage"),
        ({"a": tensor(size=(2,), stride=(-1,))}, "stride"),
        ({"a": tensor(size=(3,))}, "stride"),
        ({"a": tensor(count=13)}, "cut short|13 announced"),
        ({"a": tensor(kind="DoubleStorage")}, "cut short"),
        ({"a": tensor(), "b": tensor(kind="IntStorage")}, "storage 0 has two types"),
        ({"a": tensor(kind="QInt8Storage")}, "torch.QInt8Storage"),
        ({"a": 3}, "'a' is no tensor"),
        ({3: tensor()}, "3 is no tensor"),
        (tensor(), "holds a _Tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(path, write, tree, message):
    write(path, tree)
    with pytest.raises(InputError, match=message) as error:
        pth.read(path)
    assert "\n" not in str(error.value)


def test_numbers_that_are_not_there_or_are_compressed(path):
    write_zip(path, {"a": tensor(key="1")})
    with pytest.raises(InputError, match="data/1"):
        pth.read(path)
    write_zip(path, {"a": tensor()}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        pth.read(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02.", b"text", pickled(pth.MAGIC)])
def test_another_file_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a state dict as torch\.save writes it"):
        pth.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.pth.*no such file"):
        pth.read(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_half_a_file_is_refused(path, write):
    write(path, {"a": tensor()})
    content = path.read_bytes()
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(InputError):
            pth.read(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_pytorch_wrote(path, is_zip):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
    base = torch.arange(24.0)
    tensors = {
        **network.state_dict(),
        "transposed": base.reshape(4, 6).T,
        "part": base[5:9],
        "parameter": torch.nn.Parameter(torch.ones(2, 0)),
        "half": torch.tensor([1.5, -2], dtype=torch.float16),
        "brain": torch.tensor([1.5, -2], dtype=torch.bfloat16),
        "bool": torch.tensor([True, False]),
        "int": torch.tensor([[1, -2]], dtype=torch.int32),
    }
    states = (tensors, {"state_dict": network.state_dict(), "epoch": 7}, network.state_dict())
    for state in states:
        torch.save(state, path, _use_new_zipfile_serialization=is_zip)
        arrays = pth.read(path)
        expected = state.get("state_dict", state)
        assert list(arrays) == list(expected)
        for name, array in arrays.items():
            np.testing.assert_array_equal(
                array.astype(np.float64), expected[name].detach().double().numpy(), err_msg=name
            )
    torch.save(network, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match=r"refers to torch\.nn"):
        pth.read(path)


READ_ALL = """
import resource, sys
from sassn_jax.weights import pth

resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        pth.read(path)
    except ValueError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_file_fills_the_memory_or_hangs(tmp_path):
    far = tmp_path / "far.pth"
    far.write_bytes(b"\x80\x02Nr\xff\xff\xff\x0f.")  # place 2^28 of a memo
    doubled = b"".join(b"(" + (b"h%c" % i) * 2 + b"tq%c" % (i + 1) for i in range(200))
    bodies = {
        "doubled": b"K\x01q\x00" + doubled + b"K\x01u.",  # the key's hash takes 2^200 steps
        "nested": b"N" + b"\x85" * 2**16 + b"Nu.",  # and this one's fills the stack of C
    }
    for name, body in bodies.items():
        with zipfile.ZipFile(tmp_path / f"{name}.pth", "w") as archive:
            archive.writestr("theirs/data.pkl", b"\x80\x02}(" + body)
    numbers = np.zeros(2**20, np.float32)
    view = tensor(count=2**20, size=(2**20,), stride=(1,))
    write_zip(tmp_path / "views.pth", {f"a{i}": view for i in range(1000)}, [numbers])
    paths = [str(tmp_path / f"{name}.pth") for name in ("far", *bodies, "views")]
    command = [sys.executable, "-c", READ_ALL, *paths]
    *said, kib = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    key = "a key of type tuple"
    views = "its arrays take 4194304000 bytes, more than 20 times the 4"
    for line, reason in zip(said, ("not a file of torch", key, key, views), strict=True):
        assert reason in line, line
    assert int(kib) < 2**18
