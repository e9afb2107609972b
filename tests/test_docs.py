"""README.md and the pages of docs/: their links, pictures, commands and examples of Python."""

import ast
import functools
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sassn_jax
from sassn_jax import recipes
from tests.training.conftest import make_networks_tiny, make_runs_small

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Returns what the page tells the reader to call: a verb and its flags."""
    found = []
    for block in blocks(page, "(?:sh|bash)?"):
        for line in block.replace("\\\n", " ").splitlines():
            call = re.search(r"(?:python -m experiments\.|sassn |make )(\w+) (.*)", line)
            if call and "--" in call[2]:
                flags = re.sub(r"^FLAGS='(.*)'$", r"\1", call[2].strip())
                found.append((call[1], shlex.split(flags.rstrip("&;"))))
    return found


def test_the_site_lists_every_page_once():
    def pages(entries) -> list[str]:
        found = []
        for entry in entries:
            for target in entry.values():
                found += [target] if isinstance(target, str) else pages(target)
        return found

    listed = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))


@each_page
def test_links_lead_to_files_that_exist(page):
    """The builder checks links between pages; README's and those to pictures it does not."""
    targets = re.findall(r"\]\(([^)\s#]+)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@functools.cache
def flags_of(verb: str) -> tuple[str, set[str]]:
    """Returns a command's help and the flags that it names."""
    command = [sys.executable, "-m", f"experiments.{verb}", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    text = result.stdout
    assert re.search(r"^  --", text, re.MULTILINE), (verb, result.stderr)
    return text, set(re.findall(r"--(?:\[no\])?(\w+)", text))


def has_field(config, name: str) -> bool:
    for part in name.split("."):
        if part not in config:
            return False
        config = config[part]
    return True


@each_page
def test_commands_have_the_flags_that_the_page_gives_them(page):
    fields = recipes.default_config()
    for verb, arguments in commands(page):
        text, known = flags_of(verb)
        for name, value in (a[2:].partition("=")[::2] for a in arguments if a.startswith("--")):
            given = (page.name, verb, name)
            if verb == "evaluate" and "." in name:  # takes only some of a config's fields
                assert f"--{name}" in text, given
            elif name.startswith("config."):
                is_field = has_field(fields, name.removeprefix("config."))
                assert is_field or f"--{name}" in text, given
            else:
                assert name in known, given
            if name == "set":
                assert has_field(fields, value.partition("=")[0]), (*given, value)
            if name == "config" and value.startswith("configs/"):
                path, _, argument = value.partition(":")
                assert (ROOT / path).exists(), given
                if argument and "path=" not in argument:  # a folder that the reader has
                    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
                    module.get_config(argument)


@each_page
def test_fields_and_targets_that_the_text_names_exist(page):
    fields, makefile = recipes.default_config(), (ROOT / "Makefile").read_text()
    text = page.read_text()
    names = set(re.findall(r"--config\.(\w+(?:\.\w+)*)", text))
    names -= {"mean_teacher.decay", "source"}  # of the method in methods.md; of `inspect` alone
    assert [name for name in names if not has_field(fields, name)] == []
    targets = re.findall(r"(?:`|^)make ([\w-]+)", text, re.MULTILINE)
    assert [name for name in targets if f"\n{name}:" not in makefile] == []


@each_page
def test_python_on_the_page_can_be_read_and_uses_names_that_exist(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sassn_jax":
                assert hasattr(sassn_jax, node.attr), node.attr


@pytest.mark.usefixtures("fast_compile")
def test_the_examples_of_the_python_page(monkeypatch, tmp_path):
    make_runs_small(monkeypatch)
    make_networks_tiny(monkeypatch)
    monkeypatch.chdir(tmp_path)
    run, own_config = blocks(DOCS / "python.md", "python")
    short = {"num_steps=200": "num_steps=2", "batch_size=8": "batch_size=2", "(96, 96)": "(32, 48)"}
    for long, other in short.items():
        assert long in run
        run = run.replace(long, other)
    scope: dict = {}
    exec(compile(run, "python.md", "exec"), scope)
    assert 0 <= scope["scores"]["miou"] <= 1
    exec(compile(own_config, "python.md", "exec"), scope)
    assert scope["get_config"]("anything").dataset == "folder"


def test_the_reference_has_every_public_name():
    described = re.findall(r"^::: sassn_jax\.(\w+)", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert set(sassn_jax.__all__) <= set(described)


def test_the_program_for_large_photos_keeps_ids_and_palettes(tmp_path, monkeypatch):
    (program,) = (x for x in blocks(DOCS / "own-data.md", "python") if "NEAREST" in x)
    ids = np.kron(np.arange(48).reshape(6, 8), np.ones((4, 4))).astype(np.uint8)  # blocks of 4x4
    for folder in ("images/a b", "labels/a b"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
    Image.fromarray(ids).save(tmp_path / "photos" / "images" / "a b" / "photo.JPG")
    mask = Image.fromarray(ids)
    mask.putpalette([*range(255, -1, -1)] * 3)
    mask.save(tmp_path / "photos" / "labels" / "a b" / "photo.png")
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    with Image.open(tmp_path / "small" / "labels" / "a b" / "photo.png") as small:
        assert small.mode == "P"
        np.testing.assert_array_equal(small, np.arange(48).reshape(6, 8))
    with Image.open(tmp_path / "small" / "images" / "a b" / "photo.JPG") as small:
        assert small.size == (8, 6)
