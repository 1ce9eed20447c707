// defines: CallableSurrogate, as_surrogate()
#pragma once
#include "hpm/surrogates/surrogate.h"
#include "python_object.h"

namespace hpm::python {

/// A differentiable stand-in written in Python: images [N,C,H,W] -> logits [N,K].
struct CallableSurrogate {
  std::string name, summary, identity;
  SharedObject call;
};
Surrogate as_surrogate(const CallableSurrogate& surrogate, int64_t classes);

}  // namespace hpm::python
