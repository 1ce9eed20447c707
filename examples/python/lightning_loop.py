"""HPM in a Lightning module. Where Lightning is not installed, a loop of a few lines stands in for its Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from networks import robust_model
from torch import Tensor, nn

import hpm

if TYPE_CHECKING:
    LightningModule = nn.Module
else:
    try:
        from lightning import LightningModule
    except ImportError:
        LightningModule = nn.Module


class DefendedModule(LightningModule):
    """Fine-tunes HPM: training_step gives the loss and moves the means; parameters are the module's own."""

    def __init__(self, defended: hpm.HpmModule) -> None:
        super().__init__()
        self.defended = defended

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        noisy = (x + 0.1 * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        return self.defended.loss(noisy, y, clean=x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def fit(module: DefendedModule, loader: list[tuple[Tensor, Tensor]]) -> None:
    """One epoch: Lightning's Trainer where it is installed."""
    try:
        from lightning import Trainer  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        optimizer = module.configure_optimizers()
        module.train()
        for number, batch in enumerate(loader):
            loss = module.training_step(batch, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return
    trainer: Any = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(module, loader)


def main(images: int = 1280, count: int = 100) -> hpm.Result:
    data, test = hpm.data("fashion-mnist", "train", count=images), hpm.data("fashion-mnist", count=count)
    loader = list(zip(torch.split(data.x, 128), torch.split(data.y, 128), strict=True))
    module = DefendedModule(hpm.attach(robust_model(), loader=loader, eps=0.1, metric_steps=100))
    fit(module, loader)
    defended = module.defended.eval()
    defended.calibrate(loader, eps=0.1)
    result = hpm.msa(defended, test.x, test.y, eps=0.1, checks="none")
    print(result)
    return result


if __name__ == "__main__":
    main()
