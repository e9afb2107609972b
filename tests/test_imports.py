"""What importing the package loads, and which way its imports point."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["pallas_kernels", "sassn_jax", "configs", "experiments"]  # the lowest first
# Inside the library, from the lowest floor up: a part may import itself and lower floors.
PARTS = [
    {"errors"},
    {"devices", "fields", "files", "programs", "terminal"},
    {"processes"},
    {"weights"},
    {"data"},
    {"resampling"},
    {"models"},
    {"losses", "metrics", "optimizers"},
    {"inference"},
    {"evaluation"},
    {"conversion"},
    {"config"},
    {"methods"},
    {"recipes"},
    {"training"},
    {"prediction"},
    {"reporting"},
    {"commands"},
]
LIBRARY = ("sassn_jax.recipes", "sassn_jax.data")  # what configs may import of it
MODULES = sorted(
    path for folder in ("sassn_jax", "pallas_kernels") for path in (ROOT / folder).rglob("*.py")
)


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """Full names of the project's modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_after(code):
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_importing_the_package_loads_next_to_nothing():
    loaded = loaded_after("import sassn_jax")
    assert "sassn_jax" in loaded
    assert not loaded & {"tensorflow", "torch", "jax", "flax"}


def test_importing_the_commands_does_not_load_jax():
    loaded = loaded_after("import sassn_jax.commands, sassn_jax.commands.train")
    assert {"absl", "ml_collections"} <= loaded
    assert not loaded & {"tensorflow", "torch", "jax", "flax"}


def test_importing_all_of_it_loads_neither_tensorflow_nor_torch():
    loaded = loaded_after("\n".join(f"import {name_of(path)}" for path in MODULES))
    assert {"jax", "grain", "tensorflow_datasets"} <= loaded
    assert not loaded & {"tensorflow", "torch"}


def floor_of(part):
    return next(i for i, parts in enumerate(PARTS) if part in parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path):
    top, *inside = name_of(path).split(".")
    for imported in imports_of(path):
        other, *part = imported.split(".")
        if other not in FLOORS:
            continue
        assert other in FLOORS[: FLOORS.index(top) + 1], imported
        if top == other == "sassn_jax" and inside and part and inside[0] != part[0]:
            assert floor_of(part[0]) < floor_of(inside[0]), imported


def test_kernels_import_jax_alone():
    allowed = {"jax", "jaxtyping", "pallas_kernels", *sys.stdlib_module_names}
    for path in MODULES:
        if name_of(path).startswith("pallas_kernels"):
            tops = {name.split(".")[0] for name in imports_of(path)}
            assert tops <= allowed, path


def test_configs_import_recipes_data_and_each_other():
    for path in (ROOT / "configs").glob("*.py"):
        names = {name for name in imports_of(path) if not name.startswith(LIBRARY)}
        tops = {name.split(".")[0] for name in names}
        assert tops <= {"configs", "ml_collections", *sys.stdlib_module_names}, path


def test_imports_have_no_circles():
    graph = {name_of(path): set() for path in MODULES}
    for path in MODULES:
        name = name_of(path)
        # A package's __init__ is loaded with any of its modules, which is no circle by itself.
        graph[name] = {
            x for x in imports_of(path) if x in graph and not f"{name}.".startswith(f"{x}.")
        }
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, " -> ".join([*open_, name])
        if name not in done:
            open_.append(name)
            for other in sorted(graph[name]):
                visit(other)
            done.add(open_.pop())

    for name in graph:
        visit(name)
