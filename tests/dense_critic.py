"""A critic that tells in which precision it was computed."""

from torch import Tensor, nn


class Dense(nn.Module):
    """f(x) = slope * sum(x) / 16 of 16x16 images by a layer that autocast would run in half precision, where this slope
    does not exist; keeps the types of its logits."""

    def __init__(self, slope: float = 3.01) -> None:
        super().__init__()
        self.layer, self.types = nn.Linear(256, 1, bias=False), []
        nn.init.constant_(self.layer.weight, slope / 16)

    def forward(self, image: Tensor) -> Tensor:
        logits = self.layer(image.flatten(1)).squeeze(1)
        self.types.append(logits.dtype)
        return logits
