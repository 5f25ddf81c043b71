"""Where Python code comes from: an installed package, or the user."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from types import ModuleType
from typing import Any

_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))
_SITES = ("site-packages", "dist-packages")


@cache
def origin(module_name: str) -> str | None:
    """Name what a module was installed with.

    Parameters
    ----------
    module_name : str
        Full dotted name of a module.

    Returns
    -------
    str or None
        ``"numpy 2.4.6"``, or ``"python 3.11"`` for the standard library; None for a
        module of the user's: a notebook, a script, a folder on the path, a project
        that is installed as editable.

    Examples
    --------
    >>> origin("math") == origin("json.decoder")
    True
    >>> origin("__main__") is None
    True
    """
    top = module_name.partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        # What is run may be an installed tool; what was defined there is the user's.
        return None
    if top == "barloop":
        return f"barloop {_version(top)}"
    path = _path(module_name)
    if path is None:
        return _python() if top in sys.stdlib_module_names else None
    if any(f"{os.sep}{site}{os.sep}" in path for site in _SITES):
        return f"{top} {_version(top)}"
    if path.startswith(_LIBRARY + os.sep):
        return _python()
    return None


def origin_of(value: Any) -> str | None:
    """Name what the module of a function or class was installed with.

    Parameters
    ----------
    value : function or class
        Judged by the module it was defined in, which for a wrapped function is not
        its ``__module__``.

    Returns
    -------
    str or None
        See `origin`; None also where no module is known.
    """
    names = getattr(value, "__globals__", None)
    name = getattr(value, "__module__", None)
    if isinstance(names, dict):
        name = names.get("__name__")
    return origin(name) if isinstance(name, str) else None


def is_importable(value: Any) -> bool:
    """Say whether the module of a function or class has it under its own name.

    Parameters
    ----------
    value : function or class
        What is looked for; the function inside a compiled one counts as found.
    """
    found: Any = sys.modules.get(getattr(value, "__module__", None) or "")
    for name in getattr(value, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is not None and (
        found is value
        or getattr(found, "py_func", None) is value
        or getattr(found, "__wrapped__", None) is value
    )


def _python() -> str:
    return "python " + ".".join(platform.python_version_tuple()[:2])


def _path(module_name: str) -> str | None:
    module = sys.modules.get(module_name)
    if module is None:
        # Here, because `import barloop` is to stay light.
        from importlib.util import find_spec

        try:
            spec = find_spec(module_name.partition(".")[0])
        except (ImportError, ValueError, AttributeError):
            return None
        places = (spec.origin, *(spec.submodule_search_locations or ())) if spec else ()
    else:
        places = (getattr(module, "__file__", None), *_folders(module))
    for place in places:
        if isinstance(place, str) and place not in ("built-in", "frozen"):
            return os.path.realpath(place)
    return None


def _folders(module: ModuleType) -> list[str]:
    return list(getattr(module, "__path__", ()))


@cache
def _version(top: str) -> str:
    stated = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(stated, str):
        return stated
    from importlib.metadata import packages_distributions, version

    names = sorted(set(packages_distributions().get(top, ())))
    return ", ".join(f"{name} {version(name)}" for name in names) or "of no version"
