"""Which cells there are, what they are made of, and how a user's mistakes are met."""

import pytest

from experiments.reproduction import tables
from experiments.reproduction.cells import (
    CONFIGS,
    FULL_SIZE,
    RANDOM,
    Cell,
    Recipe,
    parse_overrides,
    parse_weights,
)
from sassn_jax import data
from sassn_jax.errors import InputError
from sassn_jax.recipes import parse
from sassn_jax.weights import store
from tests.experiments.reproduction.conftest import TINY


def test_cells_of_the_papers_tables():
    counts = {
        name: len(table.cells(table.datasets[0], 3)) // 3 for name, table in tables.TABLES.items()
    }
    # Of Tables I and II: two rows at Full alone, seven of four, four of three.
    assert counts == {
        "1": 2 + 7 * 4 + 4 * 3,
        "2": 2 + 7 * 4 + 4 * 3,
        "3": 3 * 4,
        "4": 4 * 4,
        "5": 8 * 2,
        "stability": 2 * 4,
        "distance": 2,
    }
    cells = [cell for table in tables.TABLES.values() for cell in table.cells(table.datasets[0], 2)]
    assert len({cell.name for cell in cells}) == len(set(cells))


@pytest.mark.parametrize(("name", "unprinted"), [("1", "mittal"), ("2", "cutmix")])
def test_tables_i_and_ii_have_all_systems(name, unprinted):
    rows = {row.method: row for row in tables.TABLES[name].rows}
    assert rows.keys() == {
        "fcn8s",
        "dilation",
        "cutmix",
        "mittal",
        "supervised",
        "advsemiseg",
        "advsemiseg_code",
        "sa",
        "sn",
        "sassn",
        "s4gan",
        "unimatch",
        "unimatch_sassn",
    }
    printed = {"fcn8s", "dilation", "cutmix", "mittal", "supervised", "advsemiseg", "sa", "sassn"}
    assert {method for method, row in rows.items() if row.paper} == printed - {unprinted}


def test_tables_have_runs_in_common():
    """Tables III and V and half of IV cost nothing but what Table II does not have."""
    names = {
        number: {cell.name for cell in tables.TABLES[number].cells("voc", 1)} for number in "2345"
    }
    assert names["3"] < names["2"]
    assert {name for name in names["4"] - names["2"] if "deeplabv3" not in name} == set()
    assert "voc_sassn_1-2_seed0" in names["2"] & names["3"] & names["4"] & names["5"]


def test_the_ablation_has_every_subset_of_the_components():
    rows = tables.TABLES["5"].rows
    built = set()
    for row in rows:
        model = Recipe("voc").config(Cell("voc", row.method, "1/2", 0)).model
        built.add((*model.attention, model.spectral_norm))
        shown = {"SA1": "layer3" in model.attention, "SA2": "layer4" in model.attention}
        shown["SN"] = model.spectral_norm
        assert row.title == (", ".join(name for name in shown if shown[name]) or "none")
    assert len(built) == len(rows) == 8


def test_a_file_of_labels_is_named_by_what_is_in_it(tmp_path):
    paths = [tmp_path / name / "chosen.txt" for name in ("one", "two", "three")]
    for path, ids in zip(paths, ("a b", "a c", "a b"), strict=True):
        path.parent.mkdir()
        path.write_text(ids)
    one, two, three = (Cell("scenes", "sa", str(path), 0).name for path in paths)
    assert one.startswith("scenes_sa_chosen-")
    assert one.endswith("_seed0")
    assert one == three != two


def test_labels_take_the_place_of_a_tables_own():
    table = tables.TABLES["2"].with_labels(["1/32", "1"])
    cells = table.cells("camvid", 1)
    assert len(cells) == 2 * len(table.rows)
    assert cells[0].name == "camvid_fcn8s_1-32_seed0"
    stability = tables.TABLES["stability"].with_labels(["1/4"])
    assert [column.multiple for column in stability.columns] == [1, 3, 10, 30]


@pytest.mark.parametrize("dataset", CONFIGS)
def test_configs_of_cells(dataset):
    recipe = Recipe(dataset, overrides={"num_steps": 7, "eval.scales": (0.5, 1.0)})
    plain = recipe.config(Cell(dataset, "supervised", "1/4", 2))
    parse(plain)
    assert (plain.seed, plain.labels, plain.num_steps) == (2, "1/4", 7)
    assert plain.eval.scales == (0.5, 1.0)
    other = recipe.config(Cell(dataset, "sassn", "1", 0, "deeplabv3", discriminator_lr_multiple=10))
    parse(other)
    assert (other.model.head, other.model.spectral_norm) == ("deeplabv3", True)
    assert other.optimizer.discriminator_lr == pytest.approx(1e-3)
    rates = (12, 24, 36) if dataset in FULL_SIZE else plain.model.aspp_rates
    assert other.model.aspp_rates == rates


def test_weights_are_a_backbones(tmp_path):
    one, two = (tmp_path / name for name in ("one.npz", "two.npz"))
    one.touch(), two.touch()
    weights = parse_weights([str(one), f"resnet50={two}"])
    cell = Cell("camvid", "supervised", "1", 0)
    assert Recipe("camvid", weights=weights).config(cell).model.weights == str(one)
    for backbone, expected in (("resnet50", str(two)), ("resnet101", "")):
        recipe = Recipe("camvid", weights=weights, overrides={"model.backbone": backbone})
        assert recipe.config(cell).model.weights == expected


@pytest.mark.parametrize("dataset", CONFIGS)
def test_what_the_paper_compares_does_not_start_from_random_by_oversight(dataset, tmp_path):
    file = tmp_path / "some.safetensors"
    file.touch()
    own, vgg = Cell(dataset, "sassn", "1/8", 0), Cell(dataset, "fcn8s", "1", 0)
    given = {
        (): (False, False),
        (str(file),): (True, False),
        (f"vgg16={file}",): (False, True),
        ("vgg16=random",): (False, True),
        (str(file), "vgg16=random"): (True, True),
        ("random",): (True, True),
        ("random", f"vgg16={file}"): (True, True),
    }
    for words, allowed in given.items():
        recipe = Recipe(dataset, weights=parse_weights(words))
        for cell, is_allowed in zip((own, vgg), allowed, strict=True):
            config = recipe.config(cell)
            assert config.model.weights in ("", str(file))
            if is_allowed or dataset in ("camvid", "scenes"):
                recipe.require_weights([config])
                continue
            backbone = config.model.backbone
            message = f"--weights: none for {backbone}; add {backbone}=FILE, or {backbone}=random, "
            with pytest.raises(InputError, match=f"^{message}or leave such cells out by --cells$"):
                recipe.require_weights([config])


def test_all_backbones_without_weights_are_named():
    configs = [Recipe("voc").config(Cell("voc", x, "1", 0)) for x in ("fcn8s", "sassn", "sa")]
    with pytest.raises(InputError, match="none for resnet101, vgg16; add resnet101=FILE, or"):
        Recipe("voc").require_weights(configs)
    with pytest.raises(
        InputError, match=r"--weights=vgg17=random: there is no backbone vgg17; exp"
    ):
        parse_weights(["vgg17=random"])


def test_weights_of_another_trunk_are_refused_before_a_cell_runs(tmp_path):
    about = {"image": {}, "num_classes": None, "fused": False}
    for backbone in ("resnet_tiny", "resnet50"):
        model = {"backbone": backbone, "layout": "caffe"}
        store.write(tmp_path / f"{backbone}.safetensors", {}, {**about, "model": model})
    right, wrong = (str(tmp_path / f"{x}.safetensors") for x in ("resnet_tiny", "resnet50"))
    cells = [Cell("scenes", "fcn8s", "1", 0)]
    Recipe("scenes", weights={"": right}).check(cells=cells)
    for weights in ({"": wrong}, {"": right, "vgg_tiny": wrong}):
        with pytest.raises(InputError, match=r"resnet50\.safetensors are of resnet50; change one"):
            Recipe("scenes", weights=weights).check(cells=cells)


def test_changes_are_overrides_that_matter():
    overrides = {"num_steps": 5, "eval.scales": (1.0, 2.0), "checkpoint_every": 3}
    overrides |= {"loader_workers": 2}
    assert Recipe("voc", "DATA", overrides=overrides).changes == {
        "checkpoint_every": 3,
        "eval.scales": [1.0, 2.0],
        "num_steps": 5,
    }


@pytest.mark.parametrize("field", ["attention", "spectral_norm", "head", "weights"])
def test_what_methods_set_is_not_set_for_all(field):
    with pytest.raises(InputError, match="a cell is made of this"):
        parse_overrides([f"model.{field}=1"])


@pytest.mark.parametrize(
    ("field", "value", "cell"),
    [
        ("loss.discriminator_fake", "both", Cell("scenes", "advsemiseg_code", "1/8", 0)),
        ("model.aspp_rates", (1, 2), Cell("scenes", "advsemiseg_code", "1/8", 0)),
        ("model.aspp_rates", (1, 2), Cell("scenes", "sassn", "1/8", 0, head="deeplabv3")),
        ("model.backbone", "resnet50", Cell("scenes", "fcn8s", "1/8", 0)),
    ],
)
def test_what_one_method_has_of_its_own_is_set_for_others_alone(field, value, cell):
    recipe = Recipe("scenes", overrides={field: value})
    recipe.check(cells=[Cell("scenes", "sassn", "1/8", 0)])
    with pytest.raises(InputError, match=f"--set={field}: {cell.name} is made of this; leave such"):
        recipe.check(cells=[cell])


@pytest.mark.parametrize("dataset", ["folder", "voc", "scenes"])
def test_a_backbone_is_set_for_all_cells_that_have_none_of_their_own(dataset):
    overrides = parse_overrides(["model.backbone=resnet_tiny"])
    recipe = Recipe(dataset, weights={"": RANDOM}, overrides=overrides)
    config = recipe.config(Cell(dataset, "sassn", "1", 0))
    assert (parse(config).model.backbone, config.model.weights) == ("resnet_tiny", "")
    recipe.require_weights([config])


def test_overrides_are_values_or_words():
    pairs = ["num_steps=5", "crop_size=(32, 48)", "model.norm=frozen", "augment.mirror=False"]
    assert parse_overrides(pairs) == {
        "num_steps": 5,
        "crop_size": (32, 48),
        "model.norm": "frozen",
        "augment.mirror": False,
    }


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: tables.find("6", ""), "--table=6: expected one of 1, 2, 3, 4, 5, stability, "),
        (lambda: tables.find("1", "voc"), "--dataset=voc: expected one of cityscapes, camvid, "),
        (lambda: tables.find("distance", "voc"), "--dataset=voc: expected one of scenes for table"),
        (
            lambda: tables.select(tables.TABLES["5"].cells("voc", 1), ["*sa2*", "*1-8*"]),
            "--cells=*1-8*: matches none of the 16 cells, such as voc_advsemiseg_1-2_seed0",
        ),
        (
            lambda: tables.TABLES["distance"].with_labels(["1/8", "1"]),
            "--labels=1/8,1: table distance takes one fraction",
        ),
        (lambda: parse_overrides(["num_steps"]), "--set=num_steps: expected field=value"),
        (lambda: parse_overrides(["seed=3"]), "--set=seed=3: a cell is made of this"),
        (lambda: parse_weights(["none.npz"]), "--weights=none.npz: no such file"),
        (lambda: Recipe("scenes", overrides={"num_stepz": 3}).check(), "--set: there is no field"),
        (lambda: Recipe("scenes", overrides={"model.x.y": 3}).check(), "--set: there is no field"),
        (
            lambda: Recipe("scenes", overrides={"num_steps": "x"}).check(),
            "--set=num_steps=x: expected a value",
        ),
        (lambda: Recipe("scenes", overrides={"num_steps": 0}).check(), "num_steps=0: expected"),
        (lambda: Recipe("scenes", overrides=TINY).check(["1/0"]), "labels='1/0': expected"),
        (lambda: Recipe("camvid", "nowhere").check(), ""),
    ],
)
def test_mistakes_are_one_line(action, message):
    with pytest.raises(InputError) as error:
        action()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_cells_are_chosen_by_their_names():
    cells = tables.TABLES["5"].cells("voc", 2)
    chosen = tables.select(cells, ["*_sa?_sn_1/2_*", "voc_sn_1_seed1"])
    assert [cell.name for cell in chosen] == [
        "voc_sa1_sn_1-2_seed0",
        "voc_sa2_sn_1-2_seed0",
        "voc_sn_1_seed1",
        "voc_sa1_sn_1-2_seed1",
        "voc_sa2_sn_1-2_seed1",
    ]
    assert tables.select(cells, []) == cells


def test_a_dataset_without_the_split_that_is_scored_is_refused(monkeypatch):
    whole = data.load("scenes")
    splits = {name: split for name, split in whole.splits.items() if name != "test"}
    monkeypatch.setattr(data, "load", lambda *_: data.Dataset(whole.info, splits))
    with pytest.raises(InputError, match="--dataset=scenes: has no split 'test' to score runs on"):
        Recipe("scenes").check()
