"""What every critic of images has: features, and a head that reads a logit off them."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Critic(nn.Module, ABC):
    """Abstract: image -> features -> logit.

    Feature matching compares features, and conditional heads (projection, auxiliary classes) read them instead of
    `head`. Conditional critics take `label` (b,) and `covariates` (b, k) too, which `needs` then names.

    feature_count: length of the features.  head: features (b, feature_count) -> (b, 1).
    """

    feature_count: int
    head: nn.Module

    @abstractmethod
    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """What the last layer sees of each image."""

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        return self.head(self.features(image)).squeeze(1)  # (b, 1) -> (b,)
