#pragma once
#include <fmt/format.h>
#include <gtest/gtest.h>
#include "hpm/core/torch_impl.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>
