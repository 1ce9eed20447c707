#include "device/measured.h"

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "support/support.h"

namespace hpm::test {
namespace {

using Json = nlohmann::ordered_json;

std::filesystem::path path() { return source_dir() / "tests/device/synchronisations.json"; }
bool asked(const char* variable) { return std::getenv(variable) != nullptr; }

Json read_table() {
  std::ifstream in(path());
  return in ? Json::parse(in) : Json::object();
}

}  // namespace

std::map<std::string, TableRow> synchronisation_table() {
  std::map<std::string, TableRow> all;
  const auto table = read_table();
  for (const auto& [name, row] : table.items()) all[name] = {row["steps"], row["synchronisations"]};
  return all;
}

void compare_with_table(const std::string& row, const DeviceCounts& cost, int64_t steps) {
  if (test_device() != emulated_device()) return;
  if (asked("HPM_TRACE_SYNCHRONISATIONS")) {
    std::cout << row << ": " << cost.synchronisations() << " in " << steps << " steps, " << cost.operations
              << " operations\n";
    for (const auto& [what, count] : WaitTrace::seen()) std::cout << "    " << count << " " << what << "\n";
  }
  auto table = read_table();
  if (asked("HPM_UPDATE_SYNCHRONISATIONS")) {
    table[row] = {{"steps", steps}, {"synchronisations", cost.synchronisations()}};
    std::ofstream out(path());
    out << "{\n";
    size_t left = table.size();
    for (const auto& [name, entry] : table.items())
      out << Json(name).dump() << ": " << entry.dump() << (--left ? ",\n" : "\n");
    out << "}\n";
    return;
  }
  ASSERT_TRUE(table.contains(row)) << "no row \"" << row << "\" in " << path()
                                   << ": run with HPM_UPDATE_SYNCHRONISATIONS=1";
  EXPECT_LE(cost.synchronisations(), table[row]["synchronisations"].get<int64_t>())
      << row
      << ": the host waits more often for the device than the table says (HPM_TRACE_SYNCHRONISATIONS=1 shows where)";
  EXPECT_EQ(steps, table[row]["steps"].get<int64_t>()) << row;
}

}  // namespace hpm::test
