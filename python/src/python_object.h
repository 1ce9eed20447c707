// defines: SharedObject, shared_object()
#pragma once
#include "engine.h"

namespace hpm::python {

/// A Python object held by C++ objects that may be copied and destroyed without the GIL. Read it with the GIL.
using SharedObject = std::shared_ptr<py::object>;

inline SharedObject shared_object(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) {
            const py::gil_scoped_acquire gil;
            delete held;
          }};
}

}  // namespace hpm::python
