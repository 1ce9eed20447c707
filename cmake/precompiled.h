// What nearly every source file of the library needs and what is slow to parse.
#pragma once
#include <fmt/format.h>
#include <fmt/ranges.h>
#include "hpm/core/torch_impl.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
