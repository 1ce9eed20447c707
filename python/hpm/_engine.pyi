"""The compiled engine. The package hpm documents and checks what it passes here."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

version: str
commit: str
torch_version: str

class CallableDescription:
    def __init__(self) -> None: ...
    classes: int
    input_shape: list[int]
    architecture: str
    file: str
    sha256: str
    parameters: list[Tensor]

class LastLayer:
    def __init__(self, name: str, weight: Tensor, bias: Tensor | None) -> None: ...

class Head:
    def __init__(self, metric: str, lambda_: float, temperature: float, momentum: float) -> None: ...
    @property
    def metric_kind(self) -> str: ...
    lambda_: float
    temperature: float
    momentum: float
    means: Tensor
    metric: Tensor | None
    calibration_sums: Tensor
    calibration_counts: Tensor
    log_tau: Tensor
    def logits(
        self,
        context: str,
        z: Tensor,
        o: Tensor,
        assignment: str = "ste",
        clean_z: Tensor | None = None,
        clean_o: Tensor | None = None,
    ) -> Tensor: ...
    def update_means(self, z: Tensor, y: Tensor) -> None: ...
    def fold(self) -> tuple[Tensor, Tensor]: ...

class Model:
    def run(self, x: Tensor) -> tuple[Tensor | None, Tensor]: ...
    def predict(self, x: Tensor, context: str) -> Tensor: ...
    def save(self, path: str, source: str, state_dict: bool) -> None: ...
    def state(self) -> dict[str, Tensor]: ...
    def to(self, device: str) -> None: ...
    @property
    def head_kind(self) -> str: ...
    @property
    def head(self) -> Head | None: ...
    @property
    def classes(self) -> int: ...
    @property
    def architecture(self) -> str: ...
    @property
    def input_shape(self) -> list[int]: ...
    @property
    def mean(self) -> list[float]: ...
    @property
    def std(self) -> list[float]: ...
    @property
    def parameter_count(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def normalisation_known(self) -> bool: ...

class AttackSpec:
    def __init__(self, name: str) -> None: ...
    name: str
    steps: int
    restarts: int
    targets: int
    queries: int
    eot: int
    large_radius: bool

class SequenceCall:
    def __init__(self) -> None: ...
    norm: str
    eps: float
    attacks: list[AttackSpec]
    seed: int
    batch_size: int
    conformance: bool
    random: bool
    journal: str
    fingerprint: str

class EvaluatedImages:
    def __init__(self, x: Tensor, y: Tensor, name: str, split: str, class_names: list[str]) -> None: ...

class Surrogate:
    def __init__(self, name: str, summary: str, identity: str, call: Callable[[Tensor], Tensor]) -> None: ...

class EvaluationCall:
    def __init__(self) -> None: ...
    options: dict[str, str]
    out: str
    resume: bool
    overwrite: bool
    base: Model | None
    control: Model | None
    surrogates: list[Surrogate]

class FitCall:
    def __init__(self) -> None: ...
    x: Tensor
    y: Tensor
    norm: str
    eps: float
    adversary_steps: int
    rounds: int
    metric_steps: int
    rank: int
    tau: float | None
    seed: int

def callable_model(
    call: Callable[[Tensor], Any], about: CallableDescription, last: LastLayer | None, head: Head | None
) -> Model: ...
def load_model(
    path: str, card: dict[str, str], shape: list[int], allow_torchscript: bool
) -> tuple[Model, list[str], list[str]]: ...
def read_checkpoint(path: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]: ...
def write_state_dict(path: str, tensors: list[tuple[str, Tensor]], texts: dict[str, str]) -> None: ...
def run_sequence(model: Model, x: Tensor, y: Tensor, call: SequenceCall, observer: object) -> dict[str, Any]: ...
def attack_names() -> list[str]: ...
def sha256_of_tensors(tensors: list[Tensor]) -> str: ...
def evaluate(
    model: Model, images: EvaluatedImages, call: EvaluationCall, observer: object
) -> tuple[str, dict[str, Any]]: ...
def analyze(model: Model, images: EvaluatedImages, options: dict[str, str], out: str, observer: object) -> str: ...
def option_names() -> list[tuple[str, str]]: ...
def write_report(runs: list[str], path: str, title: str, labels: list[str]) -> None: ...
def write_table(runs: list[str], path: str, labels: list[str]) -> None: ...
def attach_head(model: Model, settings: Head, call: FitCall, observer: object) -> Head: ...
def calibrate(model: Model, call: FitCall, observer: object) -> Head: ...
def load_dataset(
    name: str, split: str, root: str, first: int, count: int, sizes: dict[str, int]
) -> tuple[Tensor, Tensor, dict[str, Any]]: ...
def dataset_names() -> list[str]: ...
