#pragma once
#include <gtest/gtest.h>
#include "hpm/core/torch_impl.h"
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>
