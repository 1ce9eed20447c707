"""hpm: adversarial robustness of PyTorch models, judged by a C++ engine.

    import hpm
    adversary = hpm.AutoAttack(model, norm="Linf", eps=8/255)        # the official class's arguments and methods
    x_adv = adversary.run_standard_evaluation(x, y, bs=250)
    result = hpm.evaluate(model, x, y, eps=8/255, protocol="fast")   # accuracy, flags, images, checks, report

Images are float32 tensors [N,C,H,W] with values in [0,1], labels are int64 tensors [N]. A model is any callable that
gives logits [N,K]; a torch.nn.Module is expected in evaluation mode, on its device.

What is here: AutoAttack, evaluate, fast and msa (evaluations, which give a Result), Defence (a defence written in
Python, for msa), attach (Hybrid Prototype Mixing as a torch.nn.Module), native (the same network on the engine's fast
path), load and read_checkpoint (checkpoints without running code from them), analyze, report, data.
"""

from hpm._torch import require_torch

require_torch()

from hpm._build import COMMIT as __commit__  # noqa: E402
from hpm._build import VERSION as __version__  # noqa: E402
from hpm._analysis import Analysis, analyze  # noqa: E402
from hpm._attach import HpmModule, attach  # noqa: E402
from hpm._autoattack import AutoAttack  # noqa: E402
from hpm._data import Data, data  # noqa: E402
from hpm._defence import Defence  # noqa: E402
from hpm._evaluation import evaluate, fast, msa  # noqa: E402
from hpm._models import NativeModel, load, native, read_checkpoint  # noqa: E402
from hpm._report import report  # noqa: E402
from hpm._result import Check, Context, Result  # noqa: E402

__all__ = [
    "Analysis",
    "AutoAttack",
    "Check",
    "Context",
    "Data",
    "Defence",
    "HpmModule",
    "NativeModel",
    "Result",
    "analyze",
    "attach",
    "data",
    "evaluate",
    "fast",
    "load",
    "msa",
    "native",
    "read_checkpoint",
    "report",
]
