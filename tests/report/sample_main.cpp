// report_sample FOLDER [SHIFT [N]]: writes four made-up runs and their report, to look at. HPM is SHIFT points better.
#include <cstdio>
#include <string>

#include "report/sample.h"

int main(int argc, char** argv) try {
  if (argc < 2) throw std::runtime_error("usage: report_sample FOLDER [SHIFT [N]]");
  const std::string folder = argv[1];
  std::vector<std::string> directories;
  for (const auto& run :
       hpm::test::sample_runs(argc > 3 ? std::stol(argv[3]) : 500, argc > 2 ? std::stod(argv[2]) : 0)) {
    directories.push_back(folder + "/" + run.results["role"].get<std::string>());
    hpm::test::write_sample(run, directories.back());
  }
  hpm::write_report(directories, folder + "/report.html");
  std::printf("%s/report.html\n", folder.c_str());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "report_sample: %s\n", error.what());
  return 1;
}
