"""What comes with the ``converter`` extra: asked for by name before minutes of work, not found missing after them."""

from importlib.util import find_spec

from maas_agent.errors import UnavailableError

INSTALL = "pip install 'maas-edge[converter]'"


def require(command: str, *modules: str) -> None:
    """Raise `UnavailableError` (exit 69) unless every module is installed; imports none of them."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UnavailableError(f"{command} needs {', '.join(missing)}, which is not installed: {INSTALL}")
