#include "hpm/models/autocast.h"

#include <ATen/autocast_mode.h>

namespace hpm {

ScopedAutocast::ScopedAutocast(at::DeviceType device, at::ScalarType type)
    : device_(device),
      before_enabled_(at::autocast::is_autocast_enabled(device)),
      before_type_(at::autocast::get_autocast_dtype(device)) {
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, type);
  at::autocast::increment_nesting();
}

ScopedAutocast::~ScopedAutocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_dtype(device_, before_type_);
  at::autocast::set_autocast_enabled(device_, before_enabled_);
}

}  // namespace hpm
