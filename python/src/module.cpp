#include <torch/csrc/Exceptions.h>

#include "engine.h"
#include "hpm/core/error.h"
#include "hpm/core/progress.h"
#include "hpm/core/version.h"

namespace hpm::python {
namespace {

void set_error(PyObject* type, const std::string& text) { PyErr_SetString(type, text.c_str()); }

/// The library's exceptions as Python's. (pybind11 itself passes on the exceptions of Python code that we called.)
void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (python_error& error) {  // from a backward function written in Python
    error.restore();
  } catch (const UsageError& error) {
    set_error(PyExc_ValueError, error.what());
  } catch (const Interrupted&) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
  } catch (const Error& error) {
    set_error(PyExc_RuntimeError, error.what());
  } catch (const c10::NotImplementedError& error) {
    set_error(PyExc_NotImplementedError, error.what_without_backtrace());
  } catch (const c10::OutOfMemoryError& error) {
    set_error(PyExc_MemoryError, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    set_error(PyExc_RuntimeError, error.what_without_backtrace());
  }
}

}  // namespace

PYBIND11_MODULE(_engine, module) {
  module.doc() = "The compiled engine of hpm. Use the package hpm, which documents and checks what it passes here.";
  py::register_local_exception_translator(translate);
  const auto& build = this_build();
  module.attr("version") = build.version;
  module.attr("commit") = build.commit;
  module.attr("torch_version") = build.torch;
  declare_models(module);
  declare_attacks(module);
  declare_evaluation(module);
  declare_head(module);
  declare_data(module);
}

}  // namespace hpm::python
