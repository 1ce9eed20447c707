"""Writes reference.json: what the authors' code for AutoAttack computes on a tiny network, in double precision.

The network and its images are formulas (fill_rule in tests/support), and the runs start from given points, so that nothing is
random but Square, whose numbers come from PyTorch's generator with seed 0.

Run: git clone https://github.com/fra31/auto-attack && git -C auto-attack checkout a392200
     PYTHONPATH=auto-attack python tests/attacks/make_reference.py > tests/attacks/reference.json
"""
import json

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.Tensor.float = torch.Tensor.double  # the authors' code rounds to float32 in places

from autoattack.autopgd_base import APGDAttack, APGDAttack_targeted, L1_projection  # noqa: E402
from autoattack.fab_projections import projection_l1, projection_l2, projection_linf  # noqa: E402
from autoattack.fab_pt import FABAttack_PT  # noqa: E402
from autoattack.square import SquareAttack  # noqa: E402

EPS = {"Linf": 0.055, "L2": 0.55, "L1": 2.5}
SQUARE_EPS = {"Linf": 0.1, "L2": 1.3, "L1": 6.0}
POOL_INDEX = [1, 6, 20, 69, 71, 87, 93, 127, 132, 141, 156, 157]  # images whose margins the runs bring near zero
TRACED = 30  # passes; later a sign of a gradient that is zero may part two correct implementations


def u(n, t):
    i = torch.arange(n, dtype=torch.float64)
    v = torch.sin(i * 12.9898 + t * 78.233) * 43758.5453
    return v - torch.floor(v)


def network():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2, 1), torch.nn.ReLU(),
                              torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with torch.no_grad():
        for t, (name, p) in enumerate(net.state_dict().items()):
            r = u(p.numel(), t).view(p.shape)
            fan_in = p[0].numel() if p.dim() > 1 else 1
            value = (2 * r - 1) * (3 / fan_in) ** 0.5 if p.dim() > 1 else (2 * r - 1) * 0.1
            p.copy_(value.to(torch.float32))
        net[5].weight.mul_(4)
    return net.eval()


class Traced:
    """Notes the number of rows and the logits' first column at every pass."""

    def __init__(self, net):
        self.net, self.first = net, []

    def __call__(self, x):
        logits = self.net(x)
        self.first.append(logits[:, 0].detach().clone())
        return logits


def start(x, norm, eps):
    v = (2 * u(x.numel(), 2) - 1).view(x.shape)
    if norm == "Linf":
        return (x + eps * v).clamp(0, 1)
    if norm == "L2":
        return (x + eps * v / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(0, 1)
    return x + v + L1_projection(x, v, eps)


def length(delta, norm):
    return delta.flatten(1).norm(p={"Linf": float("inf"), "L2": 2, "L1": 1}[norm], dim=1)


def apgd(net, x, y, norm, loss, rank):
    model = Traced(net)
    kind = APGDAttack if rank is None else APGDAttack_targeted
    attack = kind(model, n_iter=100, norm=norm, eps=EPS[norm], device="cpu")
    attack.loss = loss
    attack.init_hyperparam(x)
    if rank is not None:
        attack.y_target = net(x).detach().sort(dim=1)[1][:, -rank]
    best, acc, loss_best, _ = attack.attack_single_run(x, y, x_init=start(x, norm, EPS[norm]))
    trace = torch.stack(model.first[:TRACED])
    return {"attack": "apgd", "loss": loss, "norm": norm, "eps": EPS[norm], "n_iter": 100, "target_rank": rank,
            "acc": acc.long().tolist(), "loss_best": loss_best.tolist(), "x_best_norm": length(best - x, norm).tolist(),
            "logit_0_of_sample_0_per_forward": trace[:, 0].tolist(), "logit_0_of_sample_5_per_forward": trace[:, 5].tolist()}


def fab(net, x, y, norm, rank):
    attack = FABAttack_PT(net, norm=norm, n_iter=100, eps=EPS[norm], device="cpu")
    attack.target_class = rank
    adversarial = attack.attack_single_run(x, y, is_targeted=rank is not None)
    found = (adversarial != x).flatten(1).any(1)
    distance = torch.where(found, length(adversarial - x, norm), torch.full([len(x)], 1e10))
    return {"attack": "fab", "norm": norm, "eps": EPS[norm], "n_iter": 100, "target_rank": rank, "found": found.long().tolist(),
            "distance": distance.tolist(), "x_adv_sum": adversarial.flatten(1).sum(1).tolist()}


def square(net, x, y, norm):
    model = Traced(net)
    attack = SquareAttack(model, norm=norm, n_queries=1000, eps=SQUARE_EPS[norm], loss="margin", resc_schedule=False, device="cpu")
    attack.init_hyperparam(x)
    torch.manual_seed(0)
    queries, adversarial = attack.attack_single_run(x, y)
    correct = net(adversarial).argmax(1) == y
    return {"attack": "square", "norm": norm, "eps": SQUARE_EPS[norm], "n_queries": 1000, "still_correct": correct.long().tolist(),
            "queries": queries.long().tolist(), "x_adv_sum": adversarial.flatten(1).sum(1).tolist(),
            "distance": length(adversarial - x, norm).tolist(),
            "active_rows_per_forward": [len(first) for first in model.first[:400]],
            "logit_0_of_first_active_row_per_forward": [first[0].item() for first in model.first[:200]]}


def losses(logits):
    y = torch.arange(12) % 10
    attack = APGDAttack_targeted(None, eps=0.1, device="cpu")
    attack.y_target = (y + 3) % 10
    return {"labels": y.tolist(), "dlr": attack.dlr_loss(logits, y).tolist(),
            "dlr_targeted_target=(label+3)%10": attack.dlr_loss_targeted(logits, y).tolist()}


def projections():
    points, w = u(120, 3).view(6, 20), 2 * u(120, 4).view(6, 20) - 1
    inside = u(120, 5).view(6, 20)
    b = (w * inside).sum(1)
    b[-1] = w.clamp(min=0).sum() + 2  # the last hyperplane does not meet the box
    out = {"b": b.tolist()}
    for name, project in (("linf", projection_linf), ("l2", projection_l2), ("l1", projection_l1)):
        out[name] = project(points.clone(), w.clone(), b.clone()).tolist()
    return out


def l1_ball():
    x, y = u(120, 3).view(6, 20), 2 * (2 * u(120, 6).view(6, 20) - 1)
    return {"eps": 3.0, "delta": L1_projection(x, y, 3.0).tolist()}


def schedule():
    attack = SquareAttack(None, eps=0.1, n_queries=5000, p_init=0.8, resc_schedule=True, device="cpu")
    at = [0, 1, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 4999]
    return {str(i): attack.p_selection(i) for i in at}


def main():
    net = network()
    x = u(200 * 192, 1).view(200, 3, 8, 8)[POOL_INDEX]
    logits = net(x).detach()
    y = logits.argmax(1)
    runs = []
    for norm in EPS:
        runs += [apgd(net, x, y, norm, loss, rank) for loss, rank in (("ce", None), ("dlr", None), ("dlr-targeted", 3))]
        runs += [fab(net, x, y, norm, rank) for rank in (2, 3, 4, None)]
    runs += [square(net, x, y, norm) for norm in EPS]
    json.dump({"pool_index": POOL_INDEX, "labels": y.tolist(), "logits": logits.tolist(), "runs": runs, "projections": projections(),
               "l1_ball_projection": l1_ball(), "losses": losses(logits), "square_p_selection": schedule()}, fp := open("/dev/stdout", "w"))
    fp.write("\n")


if __name__ == "__main__":
    main()
