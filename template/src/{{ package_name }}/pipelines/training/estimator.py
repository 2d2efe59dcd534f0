"""The estimator as a parameter: its class and arguments, checked before a run."""

from typing import Any

from kedro.utils import load_obj
from pydantic import BaseModel, ConfigDict, Field, field_validator


class Estimator(BaseModel):
    """A scikit-learn compatible estimator, by class path and arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_: str = Field(alias="class")
    arguments: dict[str, Any] = {}

    @field_validator("class_")
    @classmethod
    def _exists(cls, path: str) -> str:
        try:
            load_obj(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"there is no estimator class '{path}' ({error}); is its package "
                f"installed (`uv add {path.split('.')[0]}`)?"
            ) from error
        return path

    def build(self, seed: int) -> Any:
        """Return an unfitted estimator, seeded where it takes a ``random_state``."""
        model = load_obj(self.class_)(**self.arguments)
        if "random_state" in model.get_params():
            model.set_params(random_state=self.arguments.get("random_state", seed))
        return model
