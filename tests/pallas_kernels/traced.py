"""The kernels and matmuls in what JAX traces of a function."""

import functools

import jax
from jax.sharding import AbstractDevice, AbstractMesh

H100 = "NVIDIA H100 80GB HBM3"


def described_gpu(device_kind=H100):
    """A context in which programs are traced for such a GPU, which need not be there."""
    device = AbstractDevice(device_kind=device_kind, platform="gpu", num_cores=None)
    return jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device))


def equations(function, *arguments, name):
    """All uses of a primitive in order, also within kernels and loops."""

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == name:
                yield equation
            for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
                if is_jaxpr(parameter):
                    yield from visit(getattr(parameter, "jaxpr", parameter))

    def is_jaxpr(x):
        return hasattr(getattr(x, "jaxpr", x), "eqns")

    afresh = functools.partial(function)  # JAX caches what it traced of the same object
    yield from visit(jax.make_jaxpr(afresh)(*arguments).jaxpr)


def kernels(function, *arguments):
    """The names of the kernels, and the grid of each."""
    calls = equations(function, *arguments, name="pallas_call")
    return {call.params["name"]: call.params["grid_mapping"].grid for call in calls}


def precisions(function, *arguments):
    """The precisions of all matmuls, each a pair for both operands."""
    return {x.params["precision"] for x in equations(function, *arguments, name="dot_general")}
