"""A defence written in Python, for the Mixed Surrogate Attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Defence:
    """A prediction to break, and what an attacker may differentiate in its place.

    Arguments:
        target: images [N,C,H,W] in [0,1] -> logits [N,K] that decide the prediction. Where it is differentiable its own
            gradient is a surrogate too.
        surrogates: name -> images [N,C,H,W] -> logits [N,K], differentiable in the images.
        coupling: "rows" where an image's prediction depends on that image alone; "batch" where it depends on the whole
            batch, which is then attacked as one object.
        random: the target draws random numbers, from PyTorch's default generator (torch.rand and its like). A verdict
            is the vote of ten fixed draws; its own gradient (the surrogate eot) and each surrogate are averaged over
            ten.
        batch_size: with coupling="batch" the images in a batch, in the order in which they come.

    Example:
        defence = hpm.Defence(target=lambda x: model(quantise(x)), surrogates={"straight-through": model})
        result = hpm.msa(defence, x, y, eps=8/255)
        noisy = hpm.Defence(target=lambda x: model(x + 0.1 * torch.randn_like(x)), random=True)
    """

    target: Callable[[Tensor], Tensor]
    surrogates: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    coupling: str = "rows"
    random: bool = False
    batch_size: int = 128

    def check(self) -> None:
        """Raises ValueError or TypeError for a defence that cannot be judged."""
        if self.coupling not in ("rows", "batch"):
            raise ValueError(f'Defence: coupling needs to be "rows" or "batch", but is "{self.coupling}"')
        if self.batch_size < 1:
            raise ValueError(f"Defence: batch_size needs to be at least 1, but is {self.batch_size}")
        for name, call in {"target": self.target, **self.surrogates}.items():
            if not callable(call):
                raise TypeError(f"Defence: {name} needs to be callable, images -> logits, but is {type(call).__name__}")

    def options(self) -> dict[str, str]:
        """The options of an evaluation, by their names on the command line, that this defence needs."""
        needed = {"random": "true"} if self.random else {}
        if self.coupling == "batch":
            needed |= {"coupling": "batch", "context": "joint", "company": str(self.batch_size)}
        return needed
