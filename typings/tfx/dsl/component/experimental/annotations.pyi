"""TFX's annotations as its `@component` reads them: a parameter of the function is what stands in the brackets.

Its own are classes with a `__getitem__` of the metaclass, which no type checker follows.
"""

from typing import Annotated, TypeVar

T = TypeVar("T")

InputArtifact = Annotated[T, "input"]
OutputArtifact = Annotated[T, "output"]
Parameter = Annotated[T, "parameter"]
BeamComponentParameter = Annotated[T, "beam"]
