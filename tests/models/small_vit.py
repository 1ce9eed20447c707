"""A small vision transformer of torch.nn, for small images, and modules that an exporter must refuse."""
import torch
from torch import nn


class SmallViT(nn.Module):
    def __init__(self, classes=4, width=24, depth=2, channels=3, size=16):
        super().__init__()
        self.head = nn.Linear(width, classes)  # first, so that no order of keys tells which layer is the last
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 4, stride=4), nn.BatchNorm2d(width))
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (size // 4) ** 2 + 1, width) * .2)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], 1) + self.position
        return self.head(self.norm(self.encoder(tokens))[:, 0])


def make(seed=0, **arguments):
    torch.manual_seed(seed)
    model = SmallViT(**arguments)
    for name, value in model.named_buffers():  # as after training
        if name.endswith("running_mean"):
            value.normal_(0, .1)
        elif name.endswith("running_var"):
            value.uniform_(.5, 2)
    return model


class FixedBatch(nn.Module):
    """Reads the batch size in a way that tracing makes a constant."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(768, 4)

    def forward(self, x):
        return self.head(x.reshape(int(x.shape[0]), 768) * torch.ones(int(x.shape[0]), 1))


class Doubled(nn.Module):
    """Its output is not that of its last linear layer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(768, 4)

    def forward(self, x):
        return 2 * self.head(x.flatten(1))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(768, 768, bias=False)
        self.second = nn.Linear(768, 768, bias=False)
        self.second.weight = self.first.weight
        self.head = nn.Linear(768, 4)

    def forward(self, x):
        return self.head(self.second(torch.relu(self.first(x.flatten(1)))))
