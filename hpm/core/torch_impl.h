// LibTorch without torch::nn, optim, data and jit. Their headers leave templates behind that every source file
// instantiates anew, precompiled or not: 3.6 of 5.2 CPU seconds of an empty file. Files that need them include them by
// name.
#pragma once
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>
