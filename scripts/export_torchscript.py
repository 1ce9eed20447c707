#!/usr/bin/env python3
"""Exports a PyTorch model as TorchScript, for hpm to attack, and with --head to attach Hybrid Prototype Mixing to.

    .venv/bin/python scripts/export_torchscript.py --module vit.py:make_vit --arguments '{"depth": 4}' \\
        --weights vit.pth --head head --input-shape 3,32,32 --to vit.pt
    hpm evaluate --model vit.pt --data cifar10

The written module maps images [N,C,H,W] to (features [N,D], logits [N,K]), where the features are the input of the
linear layer --head; without --head, to logits alone. It is traced in evaluation mode with batches of 2 and of 3, and
each trace is compared with the model on a batch of 5: logits, features and the input gradient. Beside it comes its card
TO.toml with its SHA-256, which lets hpm load it. Parameters keep their names.

--module runs the Python file it names: it is your own code. --weights is read with weights_only=True.
"""
import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import sys

import torch


def stop(message):
    sys.exit(f"export_torchscript: {message}")


def factory_of(text):
    """PACKAGE.MODULE:NAME or FILE.py:NAME -> what NAME is there."""
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        stop(f'--module needs PACKAGE.MODULE:FACTORY or FILE.py:FACTORY, but is "{text}"')
    if place.endswith(".py"):
        if not os.path.isfile(place):
            stop(f"--module: there is no file {place}")
        sys.path.insert(0, os.path.dirname(os.path.abspath(place)))  # for what it imports from beside it
        spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(place))[0], place)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(place)
    if not hasattr(module, name):
        stop(f"--module: {place} has no {name}")
    return getattr(module, name)


def load_weights(model, path):
    """A state_dict, bare or under a usual key, its names perhaps under "module." or "model."."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        stop(f"--weights: {path} holds no state_dict")
    own = set(model.state_dict())
    for prefix in ("module.", "model."):
        if all(key.startswith(prefix) for key in state) and not own & set(state):
            state = {key[len(prefix):]: value for key, value in state.items()}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        stop(f"--weights: {path} does not fit the module: {error}")


def linear_layers(model):
    return [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]


def with_features(model, head_name):
    """Makes the model give (features, logits); its parameters keep their names."""
    layers = dict(model.named_modules())
    if not isinstance(layers.get(head_name), torch.nn.Linear):
        stop(f'--head: the module has no linear layer "{head_name}"; it has: {", ".join(linear_layers(model)) or "none"}')
    head = layers[head_name]
    original = type(model)

    class WithFeatures(original):
        def forward(self, x):
            seen = []
            handle = head.register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0], output)))
            try:
                logits = original.forward(self, x)
            finally:
                handle.remove()
            if len(seen) != 1:
                stop(f"--head: {head_name} runs {len(seen)} times in a pass, but needs to run once")
            features, output = seen[0]
            if features.dim() != 2:
                stop(f"--head: the input of {head_name} needs to be [N,D], but is {list(features.shape)}")
            if not torch.jit.is_tracing() and not (torch.is_tensor(logits) and torch.equal(logits, output)):
                stop(f"--head: the model's output is not that of {head_name}: name the last linear layer")
            return features, logits

    model.__class__ = WithFeatures
    return model


def images(count, shape, seed):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def outputs_and_gradient(module, x):
    x = x.clone().requires_grad_()
    out = module(x)
    out = list(out) if isinstance(out, tuple) else [out]
    if not all(torch.is_tensor(t) and t.dim() == 2 and t.shape[0] == x.shape[0] for t in out):
        stop(f"the module needs to give logits [N,K], but gives {[list(getattr(t, 'shape', [])) for t in out]} "
             f"for {list(x.shape)}")
    weights = torch.linspace(-1, 1, out[-1].shape[1], dtype=x.dtype)
    return out + [torch.autograd.grad((out[-1] * weights).sum(), x)[0]]


def check(model, traced, size, shape):
    """The trace of one batch size against the model, on another batch size."""
    x = images(5, shape, 3)
    expected = outputs_and_gradient(model, x)
    again = outputs_and_gradient(model, x)
    if any(not torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(expected, again)):
        stop("the module is random in evaluation mode: two passes over the same images differ, so no trace can be checked")
    advice = ("its forward reads the batch size, or decides by values, in a way that tracing fixes. Write it with "
              "x.shape[0] or -1 in reshape and expand, and without int(...) of sizes")
    try:
        found = outputs_and_gradient(traced, x)
    except RuntimeError as error:
        stop(f"traced with a batch of {size}, the module fails on a batch of 5: {advice}\n{str(error).strip().splitlines()[-1]}")
    names = (["features"] if len(expected) == 3 else []) + ["logits", "input gradient"]
    for name, a, b in zip(names, expected, found):
        scale = max(a.abs().max().item(), 1e-3)
        worst = (a - b).abs().max().item() if a.shape == b.shape else float("inf")
        if not worst <= 1e-4 * scale:
            stop(f"traced with a batch of {size}, the module differs from the model on a batch of 5: {name} by {worst:.3g} "
                 f"of {scale:.3g}; {advice}")


def trace(model, shape):
    outputs_and_gradient(model, images(2, shape, 1))  # says what is wrong before the trace does
    traced = {}
    for size in (2, 3):
        try:
            # Gradients are on: without them, torch takes shortcuts in attention that cannot be differentiated.
            traced[size] = torch.jit.trace(model, images(size, shape, size), check_trace=False)
        except RuntimeError as error:
            stop(f"torch.jit.trace fails: {error}")
        check(model, traced[size], size, shape)
    return traced[2]


def write_card(path, shape, classes, source):
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    with open(path + ".toml", "w", encoding="utf-8") as file:
        file.write(f'[model]\narch = "torchscript"\nclasses = {classes}\ninput-shape = {json.dumps(list(shape))}\n'
                   f"source = {json.dumps(source)}\n"
                   f'sha256 = "{digest}"\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", required=True, help="PACKAGE.MODULE:FACTORY or FILE.py:FACTORY of a torch.nn.Module")
    parser.add_argument("--arguments", default="{}", help="the factory's keyword arguments, as JSON")
    parser.add_argument("--weights", help="a state_dict to load (default: those the factory gives)")
    parser.add_argument("--head", help="name of the last linear layer, whose input is the features (default: logits alone)")
    parser.add_argument("--input-shape", default="3,32,32", help="C,H,W (default: %(default)s)")
    parser.add_argument("--to", required=True, help="the TorchScript file to write")
    options = parser.parse_args()
    try:
        shape = [int(size) for size in options.input_shape.split(",")]
        arguments = json.loads(options.arguments)
    except ValueError as error:
        stop(f"--input-shape needs C,H,W and --arguments a JSON object: {error}")
    if len(shape) != 3 or not isinstance(arguments, dict):
        stop("--input-shape needs C,H,W and --arguments a JSON object")
    if hasattr(torch.backends, "mha"):
        torch.backends.mha.set_fastpath_enabled(False)
    model = factory_of(options.module)(**arguments)
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        stop(f"--module: {options.module} needs to give a torch.nn.Module, but gives {type(model).__name__}")
    if options.weights:
        load_weights(model, options.weights)
    model = model.cpu().float().eval()
    if options.head:
        model = with_features(model, options.head)
    traced = trace(model, shape)
    torch.jit.save(traced, options.to)
    with torch.no_grad():
        out = traced(images(1, shape, 1))
    classes = (out[1] if options.head else out).shape[1]
    write_card(options.to, shape, classes, f"scripts/export_torchscript.py --module {options.module}")
    if options.head:
        print(f"{options.to}: features [N,{out[0].shape[1]}] before {options.head}, logits [N,{classes}]")
    else:
        print(f"{options.to}: logits [N,{classes}] alone, for attacks; --head NAME gives HPM the features. "
              f"Linear layers: {', '.join(linear_layers(model)) or 'none'}")


if __name__ == "__main__":
    main()
