#!/usr/bin/env python3
"""Writes reference.json beside this file: adversarial images, losses and gradients of every training objective, by
PyTorch in float64, written as in the authors' programs (kl_div, nll_loss and all) rather than as in hpm.

    python3 tests/training/make_reference.py

The network is conv(1, 3, 3x3, padding 1) relu flatten linear(48, 4); weights, images and random draws follow the fill
rule u(n, t)[i] = frac(sin(i * 12.9898 + t * 78.233) * 43758.5453).
"""
import json
import pathlib

import torch
import torch.nn.functional as F

N, K, EPS, STEP, STEPS, BETA, SMOOTHING, GAMMA = 6, 4, 0.1, 0.04, 3, 5.0, 0.1, 0.2


def fill(n, t):
    i = torch.arange(n, dtype=torch.float64)
    value = torch.sin(i * 12.9898 + t * 78.233) * 43758.5453
    return value - value.floor()


def network():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, K)
    ).double()
    with torch.no_grad():
        for t, p in enumerate(net.parameters()):
            p.copy_((fill(p.numel(), t + 1) - 0.5).view_as(p))
    return net


net = network()
x = fill(N * 16, 5).view(N, 1, 4, 4)
y = torch.arange(N) % K
uniform, normal = fill(N * 16, 7).view_as(x), fill(N * 16, 8).view_as(x) - 0.5
shares = F.softmax(4 * fill(N * K, 9).view(N, K), dim=1)  # of mixed images


def gradient(loss_of, at):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(loss_of(at), at)[0]


def box(at, radius=EPS):
    return torch.clamp(torch.min(torch.max(at, x - radius), x + radius), 0, 1)


def climb(start, loss_of):
    at = start
    for _ in range(STEPS):
        at = box(at + STEP * gradient(loss_of, at).sign())
    return at


def ce(at):
    return F.cross_entropy(net(at), y, reduction="sum")


def soft_ce(at):
    return -(shares * F.log_softmax(net(at), dim=1)).sum()


def kl_to_clean(at):
    return F.kl_div(F.log_softmax(net(at), dim=1), F.softmax(net(x), dim=1).detach(), reduction="sum")


start = torch.clamp(x + EPS * (2 * uniform - 1), 0, 1)
near = torch.clamp(x + 0.001 * normal, 0, 1)
wide = torch.clamp(x + 2 * EPS * (2 * uniform - 1), 0, 1)
images = {
    "pgd": climb(start, ce),
    "pgd-mixed": climb(start, soft_ce),
    "trades": climb(near, kl_to_clean),
    "mart": climb(near, ce),
    "n-fgsm": torch.clamp(wide + EPS * gradient(ce, wide).sign(), 0, 1),
    "fgsm-rs": box(start + 1.25 * EPS * gradient(ce, start).sign()),
}


def smooth_ce(logits):
    return F.cross_entropy(logits, y, label_smoothing=SMOOTHING)


def trades(adv):
    logits = net(x)
    robust = F.kl_div(F.log_softmax(net(adv), dim=1), F.softmax(logits, dim=1), reduction="sum") / N
    return smooth_ce(logits) + BETA * robust


def mart(adv):
    logits, logits_adv = net(x), net(adv)
    adv_probs, nat_probs = F.softmax(logits_adv, dim=1), F.softmax(logits, dim=1)
    order = torch.argsort(adv_probs, dim=1)[:, -2:]
    new_y = torch.where(order[:, -1] == y, order[:, -2], order[:, -1])
    loss_adv = smooth_ce(logits_adv) + F.nll_loss(torch.log(1.0001 - adv_probs + 1e-12), new_y)
    true_probs = torch.gather(nat_probs, 1, y.unsqueeze(1)).squeeze(1)
    kl = F.kl_div(torch.log(adv_probs + 1e-12), nat_probs, reduction="none").sum(dim=1)
    return loss_adv + BETA / N * torch.sum(kl * (1.0000001 - true_probs))


def grad_align(adv):
    here = gradient(lambda a: F.cross_entropy(net(a), y), x).flatten(1)
    at = start.clone().requires_grad_()
    there = torch.autograd.grad(F.cross_entropy(net(at), y), at, create_graph=True)[0].flatten(1)
    cosine = (here * there).sum(1) / here.norm(dim=1) / there.norm(dim=1)
    return smooth_ce(net(adv)) + 0.2 * (1 - cosine.mean())


losses = {
    "pgd": (lambda adv: smooth_ce(net(adv)), images["pgd"]),
    "pgd-mixed": (lambda adv: soft_ce(adv) / N * (1 - SMOOTHING) - SMOOTHING / K * F.log_softmax(net(adv), 1).sum() / N,
                  images["pgd-mixed"]),
    "trades": (trades, images["trades"]),
    "mart": (mart, images["mart"]),
    "n-fgsm": (lambda adv: smooth_ce(net(adv)), images["n-fgsm"]),
    "fgsm-rs": (grad_align, images["fgsm-rs"]),
}


def gradients(loss):
    parts = torch.autograd.grad(loss, list(net.parameters()))
    return torch.cat([p.flatten() for p in parts])


def perturbed(loss_of, adv):
    """AWP: loss and gradient at w + gamma |w| g / |g|, weights of two or more dimensions alone."""
    before = [p.detach().clone() for p in net.parameters()]
    grads = torch.autograd.grad(loss_of(adv), list(net.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), grads):
            if p.dim() > 1:
                p.add_(GAMMA * p.norm() / (g.norm() + 1e-20) * g)
    loss = loss_of(adv)
    result = loss.item(), gradients(loss)
    with torch.no_grad():
        for p, b in zip(net.parameters(), before):
            p.copy_(b)
    return result


cases = {}
for name, (loss_of, adv) in losses.items():
    awp_loss, awp_gradient = perturbed(loss_of, adv)
    loss = loss_of(adv)
    cases[name] = {
        "images": images[name].flatten().tolist(),
        "loss": loss.item(),
        "gradient": gradients(loss).tolist(),
        "awp_loss": awp_loss,
        "awp_gradient": awp_gradient.tolist(),
    }
text = json.dumps({"torch": torch.__version__, "shares": shares.flatten().tolist(), "cases": cases}, indent=1)
(pathlib.Path(__file__).parent / "reference.json").write_text(text + "\n")
