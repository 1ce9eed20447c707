// LibTorch without torch::nn, optim, data, jit and library. The headers of these contain templates that every source
// file instantiates again, even with a precompiled header. An empty file takes 5.2 CPU seconds with torch/torch.h, 2.2
// with torch/types.h and 1.5 with this header. Files that need more include it by name.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

namespace torch {
using at::manual_seed;
using NoGradGuard = at::NoGradGuard;
}  // namespace torch
