"""Writes reference.json: the HPM head, straight from its formulas, by PyTorch's autograd in double precision.

Everything the library avoids is done here: prototypes per sample are formed as [N,K,R], distances by subtraction.
Run: python tests/prototypes/make_reference.py > tests/prototypes/reference.json
"""
import json

import torch

torch.set_default_dtype(torch.float64)
N, D, R, K, B = 6, 4, 3, 3, 5


def u(n, t):
    i = torch.arange(n)
    v = torch.sin(i * 12.9898 + t * 78.233) * 43758.5453
    return v - torch.floor(v)


def tensors():
    z = 2 * u(N * D, 1).view(N, D) - 1
    w = 2 * u(K * D, 2).view(K, D) - 1
    b = (2 * u(K, 3) - 1) * 0.1
    mu = 2 * u(K * D, 4).view(K, D) - 1
    p = 2 * u(R * D, 5).view(R, D) - 1
    cotangent = 2 * u(N * K, 6).view(N, K) - 1
    neighbours = 2 * u(B * D, 7).view(B, D) - 1
    return z, w, b, mu, p, cotangent, neighbours


def one_hot(o):
    return torch.nn.functional.one_hot(o.argmax(1), K).to(o.dtype)


def assignment(o, kind, temperature):
    q = torch.softmax(o / temperature, 1)
    return {"hard": one_hot(o), "soft": q, "ste": one_hot(o) + q - q.detach()}[kind]


def missing(n, hard, kind):
    return torch.relu(1 - n) if kind == "soft" else (1 - n) * (hard == 0)


def embed(z, p, metric):
    if metric == "learned":
        return z @ p.T
    return z / z.norm(dim=1, keepdim=True) if metric == "l2norm" else z


def prototypes(h, a, hard, u_k, c_k, own, s, kind):
    """[N,K,R] for given neighbours; own = 1 when the sample counts itself."""
    n = c_k + own * a
    r = missing(n, c_k + own * hard, kind)
    top = u_k + own * a[:, :, None] * h[:, None, :] + r[:, :, None] * s
    return top / (n + r)[:, :, None]


def case(context, kind, metric, lam, tau, temperature, detached):
    z, w, b, mu, p, cotangent, neighbours = tensors()
    z.requires_grad_()
    p.requires_grad_()
    h, s = embed(z, p, metric), embed(mu, p, metric) if metric == "learned" else mu
    o = z @ w.T + b
    a, hard = assignment(o, kind, temperature), one_hot(o)
    if context == "joint":
        n = a.sum(0)
        r = missing(n, hard.sum(0), kind)
        d = ((a.T @ h + r[:, None] * s) / (n + r)[:, None]).expand(N, K, -1)
    else:
        g = embed(neighbours, p, metric)
        g_hard = one_hot(neighbours @ w.T + b)
        zero = torch.zeros(K, h.shape[1])
        u_k, c_k = (zero, torch.zeros(K)) if context == "alone" else (g_hard.T @ g, g_hard.sum(0))
        d = prototypes(h, a, hard, u_k, c_k, 0.0 if context == "reference" else 1.0, s, kind)
    m = lam * s + (1 - lam) * d
    if detached:
        m = m.detach()
    logits = -((h[:, None, :] - m) ** 2).sum(2) / tau
    gradients = torch.autograd.grad((cotangent * logits).sum(), [z, p], allow_unused=True)
    return {
        "context": context, "assignment": kind, "metric": metric, "lambda": lam, "tau": tau,
        "temperature": temperature, "detached": detached, "logits": logits.tolist(), "gradient_z": gradients[0].tolist(),
        "gradient_metric": gradients[1].tolist() if gradients[1] is not None else None,
    }


cases = []
for context in ("joint", "alone", "solo", "reference"):
    for kind in ("ste", "hard", "soft"):
        cases.append(case(context, kind, "learned", 0.7, 1.5, 1.0, False))
    cases.append(case(context, "soft", "none", 0.3, 2.0, 0.25, False))
    cases.append(case(context, "ste", "l2norm", 0.5, 0.2, 4.0, False))
    cases.append(case(context, "hard", "none", 0.0, 1.0, 1.0, False))
    cases.append(case(context, "hard", "learned", 0.6, 1.0, 1.0, True))
print(json.dumps({"N": N, "D": D, "R": R, "K": K, "B": B, "cases": cases}, indent=None))
