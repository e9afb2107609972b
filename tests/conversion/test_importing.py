"""Importing without PyTorch: from arrays under its names."""

import functools
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from sassn_jax.conversion.importing import import_weights
from sassn_jax.errors import InputError
from sassn_jax.models.generator import Generator
from sassn_jax.weights import Pretrained, store
from tests.weights.test_resnet import fuse, to_file

TORCHVISION = {
    "channel_order": "rgb",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
}


@pytest.fixture
def arrays(trunk, tmp_path):
    return to_file(tmp_path / "source.npz", trunk)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "ours.safetensors"


def save(arrays, path):
    np.savez(path, **arrays)
    return path


def assert_trunk(path, expected):
    variables, _ = store.read(path)
    got = {name: tree["backbone"] for name, tree in variables.items()}
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_a_trunk(arrays, trunk, tmp_path, output):
    extra = {
        "fc.weight": np.ones((10, 512), np.float32),
        "layer1.0.bn1.num_batches_tracked": np.array(7),
        "layer1.0.bn2.num_batches_tracked": np.array(7),
    }
    source = save({**arrays, **extra}, tmp_path / "source.npz")
    imported = import_weights(source, "resnet_tiny", output)
    assert_trunk(output, trunk)
    assert imported.num_arrays == len(arrays)
    assert imported.left_out == (
        "fc.weight (10, 512)",
        "2 counters of batches, such as layer1.0.bn1.num_batches_tracked",
    )
    about = store.read_about(output)
    assert about["model"] == {"backbone": "resnet_tiny", "layout": "torchvision"}
    assert about["image"] == TORCHVISION
    assert not about["fused"]
    assert about["source"]["file"] == "source.npz"
    assert len(about["source"]["sha256"]) == 64


def test_another_convention(arrays, trunk, tmp_path, output):
    import_weights(save(arrays, tmp_path / "a.npz"), "resnet_tiny", output, convention="caffe")
    assert_trunk(output, trunk)
    about = store.read_about(output)
    assert about["model"]["layout"] == "caffe"
    assert about["image"] == {
        "channel_order": "bgr",
        "mean": [104.0, 117.0, 123.0],
        "std": [1.0, 1.0, 1.0],
    }


def test_a_fused_trunk_gets_images_divided_by_57(arrays, tmp_path, output):
    fused = fuse(arrays)
    import_weights(save(fused, tmp_path / "a.npz"), "resnet_tiny", output, convention="caffe")
    variables, about = store.read(output)
    assert about["fused"]
    assert about["image"]["std"] == [57, 57, 57]
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    expected = 57 * fused["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)
    other = variables["params"]["backbone"]["layer1_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(other, fused["layer1.0.conv1.weight"].transpose(2, 3, 1, 0))


@pytest.mark.usefixtures("fast_compile")
def test_a_fused_file_starts_a_run_as_it_did_unconverted(arrays, tmp_path, output):
    source = save(fuse(arrays), tmp_path / "a.npz")
    import_weights(source, "resnet_tiny", output, convention="caffe")
    generator = Generator(3, backbone="resnet_tiny", attention=(), aspp_rates=(1,), norm="frozen")
    images = jax.random.normal(jax.random.key(1), (2, 40, 33, 3))
    variables = jax.jit(functools.partial(generator.init, train=False))(jax.random.key(0), images)
    converted, unconverted = (
        pretrained.load(generator.make_backbone(), variables, images)
        for pretrained in (Pretrained(str(output)), Pretrained(str(source)))
    )
    jax.tree.map(np.testing.assert_array_equal, converted, unconverted)


def test_a_trunk_of_other_shapes_is_refused(trunk, tmp_path, output):
    to_file(tmp_path / "a.npz", trunk)
    import_weights(tmp_path / "a.npz", "resnet_tiny", output)
    generator = Generator(3, backbone="resnet50_thin", attention=(), aspp_rates=(1,))
    images = jnp.zeros((1, 33, 33, 3))
    shapes = jax.eval_shape(
        functools.partial(generator.init, train=False), jax.random.key(0), images
    )
    with pytest.raises(InputError, match=r"holds no trunk of the shapes of model\.backbone"):
        Pretrained(str(output)).parts(shapes)


def with_head(arrays, branches=4, classes=3):
    """A file of AdvSemiSeg's generator; each branch has numbers of its own."""
    head = {}
    for i in range(branches):
        name = f"layer5.conv2d_list.{i}"
        head[f"{name}.weight"] = np.full((classes, 512, 3, 3), i, np.float32)
        head[f"{name}.bias"] = np.full(classes, i, np.float32)
    return {**arrays, **head}


@pytest.mark.parametrize(
    ("options", "rates"), [({}, (6, 12)), ({"all_branches": True}, (6, 12, 18, 24))]
)
def test_branches_of_a_head(arrays, tmp_path, output, options, rates):
    """As AdvSemiSeg's code evaluates them, and as all of them were trained elsewhere."""
    source = save(with_head(arrays), tmp_path / "a.npz")
    imported = import_weights(source, "deeplabv2_resnet_tiny", output, **options)
    variables, about = store.read(output)
    assert about["model"]["head"] == "deeplabv2"
    assert tuple(about["model"]["aspp_rates"]) == rates
    biases = {name: x["bias"].tolist() for name, x in variables["params"]["head"].items()}
    assert biases == {f"conv{i}": [i] * 3 for i in range(len(rates))}
    dead = {f"layer5.conv2d_list.{i}.{x}" for i in range(len(rates), 4) for x in ("bias", "weight")}
    assert {line.split()[0] for line in imported.left_out} == dead
    assert all("AdvSemiSeg's code never evaluates it" in line for line in imported.left_out)

    # A run takes the head only where it computes what it did there.
    for others in ((6, 12), (6, 12, 18, 24)):
        generator = Generator(3, "resnet_tiny", attention=(), aspp_rates=others)
        init = functools.partial(generator.init, train=False)
        shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 33, 33, 3)))
        parts = Pretrained(str(output), "deeplabv2", others).parts(shapes)
        assert parts == (("backbone", "head") if others == rates else ("backbone",))


def test_a_branch_that_is_evaluated_cannot_be_left_out(arrays, tmp_path, output):
    two = save(with_head(arrays, branches=2), tmp_path / "two.npz")
    import_weights(two, "deeplabv2_resnet_tiny", output)
    with pytest.raises(InputError, match=r"4 differ: layer5\.conv2d_list\.2\..* is missing"):
        import_weights(two, "deeplabv2_resnet_tiny", output, all_branches=True)
    five = save(with_head(arrays, branches=5), tmp_path / "five.npz")
    with pytest.raises(InputError, match=r"2 differ: layer5\.conv2d_list\.4\..* has no place"):
        import_weights(five, "deeplabv2_resnet_tiny", output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.int64), "is of int64, expected floating-point numbers"),
        (lambda x: x.astype(str), "is of <U32, expected floating-point numbers"),
        (lambda x: x.astype(complex), "is of complex128, expected floating-point numbers"),
        (lambda x: np.where(np.arange(len(x)) == 3, np.nan, x), "holds NaN"),
        (lambda x: np.where(np.arange(len(x)) == 3, 1e39, x.astype(float)), ".*infinite in"),
    ],
)
def test_numbers_that_no_network_can_have_are_refused(arrays, tmp_path, output, change, message):
    arrays["layer2.0.bn1.running_var"] = change(arrays["layer2.0.bn1.running_var"])
    with pytest.raises(InputError, match=rf"1 differ: layer2\.0\.bn1\.running_var {message}"):
        import_weights(save(arrays, tmp_path / "a.npz"), "resnet_tiny", output)
    assert not output.exists()


def test_bfloat16_is_taken(arrays, tmp_path, output):
    """Written by PyTorch; NumPy does not count it among its floating-point types."""
    small = {name: np.ascontiguousarray(x).astype(ml_dtypes.bfloat16) for name, x in arrays.items()}
    safetensors.numpy.save_file(small, tmp_path / "theirs.safetensors")
    import_weights(tmp_path / "theirs.safetensors", "resnet_tiny", output)
    kernel = store.read(output)[0]["params"]["backbone"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = small["conv1.weight"].astype(np.float32)
    np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 1, 0))


def test_the_source_is_never_overwritten(arrays, tmp_path):
    source = tmp_path / "theirs.safetensors"
    contiguous = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    safetensors.numpy.save_file(contiguous, source)
    before = source.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(source)
    for name in ("theirs.safetensors", "link.safetensors", f"../{tmp_path.name}/{source.name}"):
        with pytest.raises(InputError, match=r"output=.*: is the source itself; choose another"):
            import_weights(source, "resnet_tiny", tmp_path / name)
    assert source.read_bytes() == before


def test_differences_are_counted_and_some_are_listed(arrays, tmp_path, output):
    source = save({"conv1.weight": arrays["conv1.weight"]}, tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"bn1\.running_mean .* is missing; .*\.\.\.") as error:
        import_weights(source, "resnet_tiny", output)
    *listed, rest = error.value.details
    assert rest == f"and {len(arrays) - 1 - len(listed)} more"
    assert f"{len(arrays) - 1} differ: {error.value.details[0]}; " in str(error.value)
    assert str(error.value).count(" is missing") == 6


@pytest.mark.parametrize("change", [dict, fuse])
def test_the_network_that_a_file_looks_like_is_named(arrays, tmp_path, output, change):
    source = save(change(arrays), tmp_path / "a.npz")
    message = r"of resnet101; \d+ differ.*; this file looks like architecture=resnet_tiny$"
    with pytest.raises(InputError, match=message) as error:
        import_weights(source, "resnet101", output)
    assert error.value.details == ()


@pytest.mark.parametrize(
    ("wrapper", "removed"),
    [
        ("module.", ["module"]),
        ("Scale.", ["Scale"]),
        ("_orig_mod.", ["_orig_mod"]),
        ("module.module.", ["module"]),
        ("Scale.module.", ["Scale", "module"]),
        ("module._orig_mod.", ["_orig_mod", "module"]),
        (
            "_fsdp_wrapped_module._checkpoint_wrapped_module.module.",
            ["_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module"],
        ),
    ],
)
def test_wrapped_names_in_safetensors(arrays, trunk, tmp_path, output, wrapper, removed):
    wrapped = {wrapper + name: np.asarray(x, order="C") for name, x in arrays.items()}
    safetensors.numpy.save_file(wrapped, tmp_path / "theirs.safetensors")
    imported = import_weights(tmp_path / "theirs.safetensors", "resnet_tiny", output)
    assert_trunk(output, trunk)
    assert imported.wrappers == tuple(f"{name}. from all names" for name in removed)


@pytest.mark.parametrize("outer", ["", "module."])
def test_parts_that_were_wrapped(arrays, trunk, tmp_path, output, outer):
    def wrap(name):
        name = name.replace("layer3.", "layer3._orig_mod.")
        return outer + name.replace("layer4.0.", "layer4.0._checkpoint_wrapped_module.")

    layer3, layer4 = (sum(f"layer{i}." in name for name in arrays) for i in (3, 4))
    wrapped = {wrap(name): array for name, array in arrays.items()}
    imported = import_weights(save(wrapped, tmp_path / "a.npz"), "resnet_tiny", output)
    assert_trunk(output, trunk)
    assert imported.wrappers == (
        f"_checkpoint_wrapped_module. from {layer4} of {len(arrays)} names",
        f"_orig_mod. from {layer3} of {len(arrays)} names",
        *([f"{outer} from all names"] if outer else []),
    )


def test_a_wrapper_of_all_behind_one_of_some(arrays, trunk, tmp_path, output):
    wrapped = {
        ("_orig_mod.module." if name.startswith("layer") else "module.") + name: array
        for name, array in arrays.items()
    }
    imported = import_weights(save(wrapped, tmp_path / "a.npz"), "resnet_tiny", output)
    assert_trunk(output, trunk)
    assert imported.wrappers[-1] == "module. from all names"


def test_nothing_is_taken_off_other_names(arrays, tmp_path, output):
    imported = import_weights(save(arrays, tmp_path / "a.npz"), "resnet_tiny", output)
    assert imported.wrappers == ()
    some = {**arrays, "module.steps": np.ones(2)}
    with pytest.raises(InputError, match=r"1 differ: module\.steps \(2,\) has no place"):
        import_weights(save(some, tmp_path / "b.npz"), "resnet_tiny", output)


def test_names_that_wrappers_alone_tell_apart_are_refused(arrays, tmp_path, output):
    twice = {**arrays, "layer3._orig_mod.0.conv1.weight": arrays["layer3.0.conv1.weight"]}
    both = "layer3.0.conv1.weight and layer3._orig_mod.0.conv1.weight are both layer3.0.conv1.weig"
    with pytest.raises(InputError, match=f"a.npz': {both}") as error:
        import_weights(save(twice, tmp_path / "a.npz"), "resnet_tiny", output)
    assert "\n" not in str(error.value)
    assert not output.exists()


def test_what_has_no_place_is_listed_unless_allowed(arrays, trunk, tmp_path, output):
    extra = {"layer5.conv2d_list.0.weight": np.ones((3, 512, 3, 3)), "steps": np.ones(2)}
    source = save({**arrays, **extra}, tmp_path / "a.npz")
    with pytest.raises(InputError) as error:
        import_weights(source, "resnet_tiny", output)
    assert "2 differ: layer5.conv2d_list.0.weight (3, 512, 3, 3) has no place" in str(error.value)
    assert "steps (2,) has no place" in str(error.value)
    assert "allow=REGEX" in str(error.value)
    with pytest.raises(InputError, match=r"1 differ: steps"):
        import_weights(source, "resnet_tiny", output, allow=r"layer5\..*|step")
    assert not output.exists()
    imported = import_weights(source, "resnet_tiny", output, allow=r"layer5\..*|steps")
    assert len(imported.left_out) == 2
    assert_trunk(output, trunk)


def test_a_common_prefix_is_named_and_no_list_given(arrays, tmp_path, output):
    wrapped = {f"encoder.net.{name}": array for name, array in arrays.items()}
    with pytest.raises(InputError, match=r"they all begin with encoder\.net\., which") as error:
        import_weights(save(wrapped, tmp_path / "a.npz"), "resnet_tiny", output, allow=".*")
    assert not error.value.details
    with pytest.raises(InputError, match=r"none of its names is one of the network's$"):
        import_weights(
            save({"a.b": np.ones(1), "b": np.ones(1)}, tmp_path / "b.npz"), "resnet_tiny", output
        )


def test_a_file_of_ours_is_not_imported_again(arrays, tmp_path, output):
    import_weights(save(arrays, tmp_path / "a.npz"), "resnet_tiny", output)
    with pytest.raises(InputError, match=r"already; use it as model\.weights"):
        import_weights(output, "resnet_tiny", tmp_path / "again.safetensors")


def test_what_is_missing_cannot_be_allowed(arrays, tmp_path, output):
    shape = arrays.pop("layer2.0.conv2.weight").shape
    arrays["layer2.0.conv1.weight"] = np.ones((2, 2, 1, 1))
    with pytest.raises(InputError) as error:
        import_weights(save(arrays, tmp_path / "a.npz"), "resnet_tiny", output, allow=".*")
    assert f"layer2.0.conv2.weight {shape} is missing" in str(error.value)
    assert "layer2.0.conv1.weight is (2, 2, 1, 1), expected (32, 64, 1, 1)" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"architecture": "vgg"},
            r"architecture='vgg': expected one of resnet101, .*deeplabv3_",
        ),
        ({"convention": "keras"}, r"convention='keras': expected one of advsemiseg, caffe"),
        (
            {"all_branches": True},
            r"all_branches=True: expected False for architecture=.resn",
        ),
        ({"allow": "("}, r"allow='\(': expected a regular expression"),
        ({"output": "ours.npz"}, r"expected a name that ends in \.safetensors"),
        ({"source": "theirs.h5"}, r"theirs\.h5': expected a file of \.pth, \.pt, \.npz"),
        ({"source": "theirs.pth"}, r"theirs\.pth': no such file"),
        (
            {"architecture": "deeplabv3_resnet_tiny"},
            r"npz': has no kernel classifier\.4\.weight",
        ),
        ({"architecture": "deeplabv2_resnet_tiny"}, r"no kernel layer5\.conv2d_list\.0\.weight"),
    ],
)
def test_a_mistake_is_named(arrays, tmp_path, output, options, message):
    source = save(arrays, tmp_path / "a.npz")
    given = {"source": source, "architecture": "resnet_tiny", "output": output, **options}
    with pytest.raises(InputError, match=message) as error:
        import_weights(**given)
    assert "\n" not in str(error.value)
    assert not output.exists()


def test_strides_of_an_onnx_file_must_be_the_conventions(arrays, tmp_path, output):
    onnx = pytest.importorskip("tests.weights.test_onnx", reason="onnx is not installed")
    source = tmp_path / "trunk.onnx"
    onnx.write(source, *onnx.graph_of(fuse(arrays)))
    with pytest.raises(InputError, match=r"strides are those of layout=.caffe.; choose another"):
        import_weights(source, "resnet_tiny", output)
    imported = import_weights(source, "resnet_tiny", output, convention="caffe")
    assert imported.left_out == ("fc.weight (512, 2)", "fc.bias (2,)")
    expected = tmp_path / "other.safetensors"
    fused = save(fuse(arrays), tmp_path / "a.npz")
    import_weights(fused, "resnet_tiny", expected, convention="caffe")
    assert_trunk(output, {name: x["backbone"] for name, x in store.read(expected)[0].items()})


def test_a_pth_file_that_is_called_npz_is_refused(tmp_path, output):
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as archive:
        archive.writestr("r/data.pkl", b"a pickle")
    with pytest.raises(InputError, match=r"plain arrays \(r/data\.pkl in it is no array\)"):
        import_weights(tmp_path / "r.npz", "resnet_tiny", output)
