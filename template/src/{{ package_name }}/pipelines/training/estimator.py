"""The estimator as a parameter: its class and arguments, checked before a run."""

from typing import Any, Self

from kedro.utils import load_obj
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .predicting import METHOD


class Estimator(BaseModel):
    """A scikit-learn compatible estimator, by class path and arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_: str = Field(alias="class")
    arguments: dict[str, Any] = {}

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        try:
            model = load_obj(self.class_)(**self.arguments)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"there is no class {self.class_} ({error}); is its package installed?"
            ) from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.class_} can't be built: {error}") from error
        if not all(hasattr(model, name) for name in ("fit", "get_params", METHOD)):
            raise ValueError(f"{self.class_} is no estimator with '{METHOD}'")
        return self

    def build(self, seed: int) -> Any:
        """Return an unfitted estimator, seeded where it takes a ``random_state``."""
        model = load_obj(self.class_)(**self.arguments)
        if "random_state" in model.get_params():
            model.set_params(random_state=self.arguments.get("random_state", seed))
        return model
