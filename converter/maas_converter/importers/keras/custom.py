"""Classes that a model needs and Keras has not: those that a Python file of the user's defines.

Running the file is running its author's code, in the importer's process; hence ``--trust``.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from maas_agent.errors import DataError
from maas_converter.importers.refusal import first_sentence
from maas_converter.importers.task import Importing

_MODULE = "custom_objects_of_the_model"


def custom_objects(options: Importing) -> dict[str, Any]:
    """The classes and functions that the file ``options.custom`` defines, by their names; none without a file.

    What it registers with Keras (``register_keras_serializable``) is known to Keras from then on. Raises `DataError` if
    the file cannot be run.
    """
    if options.custom is None:
        return {}
    path = Path(options.custom)
    spec = spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise DataError(f"--custom {path} is no Python file: name one that ends in .py")
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module
    sys.path.insert(0, str(path.parent))  # what it imports from beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is anybody's code
        raise DataError(f"--custom {path} cannot be run: {type(error).__name__}: {first_sentence(error)}") from None
    return {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == _MODULE}
