// defines: the parts of the Python module hpm._engine
#pragma once
#include "precompiled.h"

namespace hpm::python {

namespace py = pybind11;
using at::Tensor;

// Each declares its part of the module. Every function that computes releases the GIL; it is taken again to call a
// model, a monitor or a signal handler of Python's.
void declare_models(py::module_& module);
void declare_attacks(py::module_& module);
void declare_evaluation(py::module_& module);
void declare_head(py::module_& module);
void declare_data(py::module_& module);

}  // namespace hpm::python
