// LibTorch without torch::nn, optim, data, jit and library. Their headers leave templates behind that every source file
// instantiates anew, precompiled or not: of an empty file's CPU seconds torch/torch.h takes 5.2, torch/types.h 2.2, this
// 1.5. Files that need more include it by name.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

namespace torch {
using at::manual_seed;
using NoGradGuard = at::NoGradGuard;
}  // namespace torch
