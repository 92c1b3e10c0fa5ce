"""Whether the packages are there that HTTP needs: they are an extra of kvd's."""

from importlib.util import find_spec

from kvd.errors import StartError

PACKAGES = {"h11": "h11", "prometheus_client": "prometheus-client"}
"""By what they are imported as."""


def check() -> None:
    """Raises StartError that names what is missing."""
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise StartError(
            f"--http needs {' and '.join(missing)}: install kvd with its extra http, in a checkout of it with "
            "pip install '.[http]'"
        )
