// What every source file of the Python module needs and what is slow to parse.
#pragma once
#include <torch/csrc/python_headers.h>  // before the standard library

#include <pybind11/stl.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hpm/core/torch_impl.h"
