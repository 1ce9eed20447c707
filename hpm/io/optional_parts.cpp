#include "hpm/io/optional_parts.h"

#include "hpm/io/archive.h"
#include "hpm/io/image_impl.h"

namespace hpm {

std::vector<OptionalPart> optional_parts() {
  return {{"archives", Archive::library(), "data sets as downloaded (.tar.gz, .zip), data unpack", "libarchive-dev"},
          {"JPEG", jpeg_library(), "image folders", "libturbojpeg0-dev"},
          {"PNG", png_library(), "image folders", "libpng-dev"}};
}

}  // namespace hpm
