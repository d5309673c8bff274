"""All specimens there are."""

from tests.zoo.on_keras import KERAS
from tests.zoo.on_tensorflow import TENSORFLOW
from tests.zoo.specimens import Zoo

ZOO: Zoo = KERAS | TENSORFLOW
