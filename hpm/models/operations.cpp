#include "hpm/models/operations.h"

namespace hpm {
namespace {

// Initially not zero, because mold 1.10 misplaces the thread-local segment of a program in which it has zeros alone.
thread_local bool own_operations = true;
thread_local bool outside_search = true;

}  // namespace

ReferenceOperations::ReferenceOperations(bool wanted) : before_(own_operations) { own_operations = before_ && !wanted; }
ReferenceOperations::~ReferenceOperations() { own_operations = before_; }
bool ReferenceOperations::wanted() { return !own_operations; }

SearchOperations::SearchOperations() : before_(outside_search) { outside_search = false; }
SearchOperations::~SearchOperations() { outside_search = before_; }

bool fast_operations(const at::Tensor& x) {
  const bool with_gradient = at::GradMode::is_enabled() && x.requires_grad();
  return own_operations && x.is_cpu() && (with_gradient || !outside_search);
}

}  // namespace hpm
