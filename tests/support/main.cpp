#include <gtest/gtest.h>

#include "hpm/core/device.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  hpm::configure_threads(1);
  return RUN_ALL_TESTS();
}
