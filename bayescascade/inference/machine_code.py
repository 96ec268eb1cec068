"""Machine code of compiled models on disk: the next process loads in seconds what takes most of a minute to make.

PyTensor keeps what single operations were compiled to. The two functions that nutpie calls, around all of them,
would be rewritten and compiled anew in each process. Numba can keep compiled code, too; so these two are kept,
beside PyTensor's own files.

A file is named by all that the code hangs on: the model's structure, the source of what builds it, versions,
settings and the processor. One that is missing, damaged or from elsewhere is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayescascade._common.files import whole_file

_PACKAGES = ("nutpie", "pymc", "pytensor", "numba", "llvmlite", "numpy", "scipy")
_logger = logging.getLogger("bayescascade")


@dataclass(frozen=True)
class _Shared:
    """Stands for a shared variable of PyTensor, of which nutpie wants no more than this."""

    name: str
    ndim: int


class _Code:
    """Stands for a compiled callback of Numba: its address, and what keeps the code in memory."""

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        from numba.core.compiler import CompileResult
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
        self._result = CompileResult._rebuild(cpu_target.target_context, *reduced)
        wrapper = self._result.fndesc.llvm_cfunc_wrapper_name
        self.address = self._result.library.get_pointer_to_function(wrapper)


def compiled_model(structure: Any, model: Any, names: list[str]) -> Any:
    """A PyMC model compiled by nutpie, from disk where it was kept there.

    Parameters
    ----------
    structure : hashable
        What changes the model's graph; its ``repr`` is part of the file's name.
    model : pymc.Model
    names : list of str
        Variables that are kept of each draw.
    """
    path = _path(structure)
    found = _load(path)
    if found is not None:
        return replace(found, initial_point_func=_initial_point(model, found.shape_info))
    import nutpie

    results: list[Any] = []
    compiled = nutpie.compile_pymc_model(model, var_names=names, pipeline_class=_keeping(results))
    try:
        _save(path, compiled, results)
    except Exception as error:  # it is a convenience, and hangs on the insides of Numba
        _logger.debug("compiled code is not kept: %s", error)
    return compiled


def _keeping(results: list[Any]) -> type:
    """Numba's compiler, which also appends what it has compiled to a list."""
    from numba.core.compiler import Compiler

    class Keeping(Compiler):
        def compile_extra(self, func: Any) -> Any:
            results.append(super().compile_extra(func))
            return results[-1]

    return Keeping


def _path(structure: Any) -> Path:
    import pytensor
    from numba.core.registry import cpu_target

    parts = [
        repr(structure),
        _source(),
        platform.python_version(),
        *(f"{name} {version(name)}" for name in _PACKAGES),
        repr(cpu_target.target_context.codegen().magic_tuple()),
        pytensor.config.get_config_hash(),
        repr(sorted((k, v) for k, v in os.environ.items() if k.startswith(("NUMBA_", "PYTENSOR_")))),
    ]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return _folder() / f"{name}.bin"


def _folder() -> Path:
    import pytensor

    return Path(pytensor.config.base_compiledir) / "bayescascade"


@cache
def _source() -> str:
    """A digest of the source that builds graphs: the room ``model``, and how models are compiled."""
    here = Path(__file__)
    digest = hashlib.sha256()
    for path in [here, here.with_name("sampling.py"), *sorted((here.parents[1] / "model").rglob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _save(path: Path, compiled: Any, results: list[Any]) -> None:
    """Write the code of both functions (density, then what is kept of a draw), and the rest that nutpie knows."""
    from numba.core.serialize import dumps

    logp, expand = results
    if any(result.library.has_dynamic_globals for result in results):
        raise ValueError("it holds addresses of this process")
    rest = replace(
        compiled,
        compiled_logp_func=None,
        compiled_expand_func=None,
        initial_point_func=None,
        logp_func=None,
        expand_func=None,
        user_data=None,
        shared_var_keys={_Shared(v.name, v.ndim): key for v, key in compiled.shared_var_keys.items()},
    )
    content = dumps((rest, logp._reduce(), expand._reduce()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "compiled code") as part:
        part.write_bytes(hashlib.sha256(content).digest() + content)


def _load(path: Path) -> Any:
    """What `_save` wrote; None where it is not there or not whole."""
    from nutpie.compile_pymc import make_user_data

    with suppress(OSError):
        digest, content = (whole := path.read_bytes())[:32], whole[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        try:
            rest, logp, expand = pickle.loads(content)
            return replace(
                rest,
                compiled_logp_func=_Code(logp),
                compiled_expand_func=_Code(expand),
                user_data=make_user_data(rest.shared_var_keys, rest.shared_data),
            )
        except Exception as error:
            _logger.debug("compiled code in %s cannot be used: %s", path, error)
    return None


def _initial_point(model: Any, shape_info: Any) -> Callable[[Any], np.ndarray]:
    """Where a chain starts, by its seed, as `nutpie.compile_pymc_model` has it: each variable moved by up to 1."""
    from pymc.initial_point import make_initial_point_fn

    start = make_initial_point_fn(
        model=model, default_strategy="support_point", jitter_rvs=set(model.free_RVs), return_transformed=True
    )
    names = [name for name in shape_info[0] if name in {v.name for v in model.value_vars}]
    lock = threading.Lock()  # chains ask from threads of their own

    def initial_point(seed: Any) -> np.ndarray:
        with lock:
            point = start(seed)
        return np.concatenate([np.asarray(point[name], dtype=np.float64).ravel() for name in names])

    return initial_point
