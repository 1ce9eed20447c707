// Skips for builds without an optional library.
#pragma once
#include <gtest/gtest.h>

#include "hpm/io/archive.h"
#include "hpm/io/image_impl.h"

#define HPM_NEED_ARCHIVES()              \
  if (::hpm::Archive::library().empty()) \
  GTEST_SKIP() << "this build has no libarchive (apt-get install libarchive-dev, configure again)"

#define HPM_NEED_IMAGES()                                            \
  if (::hpm::jpeg_library().empty() || ::hpm::png_library().empty()) \
  GTEST_SKIP()                                                       \
      << "this build lacks libturbojpeg or libpng (apt-get install libturbojpeg0-dev libpng-dev, configure again)"
