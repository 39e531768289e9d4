"""The auxiliary classifier GAN: the critic also tells classes."""

from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from medsynth.batch import Batch
from medsynth.errors import check_number
from medsynth.losses import AdversarialLoss
from medsynth.models.noise_to_image import NoiseToImage, Shared
from medsynth.networks.conditioning import AuxiliaryCritic
from medsynth.synthesis import Phase, Terms


class ACGAN(NoiseToImage):
    """Section 3 of Odena et al. 2017 (arXiv:1610.09585), L_S and L_C:

        for every batch (x, y)
            critic:     z ~ N(0, I);  minimise  loss.critic(D(x), D(G(z, y)))
                                                - class_weight (log C(y|x) + fake_class_weight log C(y|G(z, y)))
            generator:  z ~ N(0, I);  minimise  loss.generator(D(G(z, y))) - class_weight log C(y|G(z, y))

    Covariates are treated as classes are, with the squared error in place of the cross entropy. Both players gain where
    the critic tells the classes of synthetic images by a mark that the generator leaves on them, whatever they show.

    Args:
        critic: its logit, class logits and covariates come from the same features.
        class_weight: of L_C.  covariate_weight: of the covariates' squared error.
        fake_class_weight: of the synthetic images' part of both in the critic's loss. 1 is the paper's; with 0 the
            critic learns classes from real images alone, and a mark gains nothing.
    """

    critic: AuxiliaryCritic

    def __init__(
        self,
        *,
        critic: AuxiliaryCritic,
        loss: AdversarialLoss,
        class_weight: float = 1.0,
        covariate_weight: float = 1.0,
        fake_class_weight: float = 1.0,
        n_critic: int = 1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        check_number("model.class_weight", class_weight, least=0)
        check_number("model.covariate_weight", covariate_weight, least=0)
        self.loss, self.n_critic = loss, n_critic
        check_number("model.fake_class_weight", fake_class_weight, least=0)
        self.class_weight, self.covariate_weight = class_weight, covariate_weight
        self.fake_class_weight = fake_class_weight

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake: Any = self.fake(batch, "critic")
        real: Any = self.real(batch)
        real_logits, *on_real = self.critic.judge(real)
        fake_logits, *on_fake = self.critic.judge(fake)
        self.heard(real_logits, fake_logits)
        told, other = self._told(batch, *on_real), self._told(batch, *on_fake)
        return {
            "adversarial": self.loss.critic(real_logits, fake_logits),
            **{name: told[name] + self.fake_class_weight * other[name] for name in told},
        }

    def generator_loss(self, batch: Batch) -> Terms:
        fake: Any = self.fake(batch, "generator")
        logits, *on_fake = self.critic.judge(fake)
        return {
            "adversarial": self.loss.generator(logits),
            **self._told(batch, *on_fake),
            **self.feature_matching(batch, fake),
        }

    def _told(self, batch: Batch, classes: Tensor, covariates: Tensor) -> Terms:
        """How badly the critic tells the labels and covariates of the batch, of images made from them or real."""
        terms: Terms = {}
        if "label" in self.needs and "label" in batch:
            terms["class"] = self.class_weight * cross_entropy(classes, batch["label"])
        if "covariates" in self.needs and "covariates" in batch:
            terms["covariates"] = self.covariate_weight * mse_loss(covariates, batch["covariates"])
        return terms
