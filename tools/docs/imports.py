"""Tables of imports: those between packages of the agent, and the modules that import each library."""

from __future__ import annotations

import sys
from functools import lru_cache

import grimp

__all__ = ["tables"]

_ROOT = "agent"
# Libraries that every package may use.
_COMMON = {"msgspec", "numpy"}


@lru_cache(maxsize=1)
def tables() -> str:
    """Tables of packages and of libraries in Markdown; imports for type checking count, as in `make check`.

    Packages are sorted by dependency: each imports only packages above it in the table.
    """
    graph = grimp.build_graph(_ROOT, include_external_packages=True, cache_dir=None)
    packages = {module.rpartition(".")[2] for module in graph.find_children(_ROOT) if graph.find_children(module)}
    imported: dict[str, set[str]] = {package: set() for package in packages}
    libraries: dict[str, set[str]] = {}
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            root, _, rest = target.partition(".")
            package = module.split(".")[1]
            if root == _ROOT:
                other = rest.split(".")[0]
                if package in packages and other in packages and other != package:
                    imported[package].add(other)
            elif root not in sys.stdlib_module_names - {"sqlite3"} | _COMMON:
                libraries.setdefault(root, set()).add(module.partition(".")[2])
    ordered = sorted(packages, key=lambda package: (_depth(package, imported), package))
    lines = ["| package | imports |", "|---|---|"]
    lines += [f"| `{package}` | {_listed(ordered, imported[package]) or 'nothing'} |" for package in ordered]
    lines += ["", "| library | imported by |", "|---|---|"]
    lines += [f"| `{name}` | {_listed(sorted(modules), modules)} |" for name, modules in sorted(libraries.items())]
    return "\n".join(lines) + "\n"


def _depth(package: str, imported: dict[str, set[str]]) -> int:
    return 1 + max((_depth(other, imported) for other in imported[package]), default=0)


def _listed(order: list[str], which: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in order if name in which)
