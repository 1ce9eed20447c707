// Each file: a header, then rows of comma-separated numbers and names without commas.
#include "hpm/evaluation/analysis/analysis_csv_impl.h"
#include "hpm/evaluation/analysis/analysis_summary.h"

namespace hpm {
namespace {

std::vector<double> list_of(const Tensor& values) {
  const auto all = values.to(at::kCPU, at::kDouble).contiguous();
  return {all.data_ptr<double>(), all.data_ptr<double>() + all.numel()};
}

std::string csv_value(double value) { return std::isfinite(value) ? fmt::format("{:.6g}", value) : ""; }

std::string curves_csv(const Analysis& a, bool eps) {
  std::string out = fmt::format("head,{},accuracy,low,high\n", eps ? "eps" : "iterations");
  for (const auto& h : a.heads) {
    const auto line = [&](const std::string& place, const Tensor& flags) {
      const auto i = wilson(flags.sum().item<int64_t>(), flags.numel());
      out += fmt::format("{},{},{:.6g},{:.6g},{:.6g}\n", h.head.name, place, percent(flags), i.low, i.high);
    };
    line("0", h.clean_correct);
    const auto& flags = eps ? h.robust_eps : h.robust_iterations;
    for (int64_t p = 0; p < flags.size(0); ++p) {
      const auto place = static_cast<size_t>(p);
      line(eps ? fmt::format("{}", a.radii[place]) : fmt::format("{}", a.iterations[place]), flags.select(0, p));
    }
  }
  return out;
}

std::string images_csv(const AnalysisInput& in) {
  std::string out = "index,label,head,clean_correct,robust";
  for (const auto& [name, values] : measures(in.analysis.heads.front())) out += "," + name;
  out += "\n";
  const auto index = in.index.contiguous(), labels = in.labels.to(at::kCPU).contiguous();
  for (const auto& h : in.analysis.heads) {
    const auto correct = list_of(h.clean_correct), robust = list_of(h.robust(in.analysis.own_radius));
    std::vector<std::vector<double>> columns;
    for (const auto& [name, values] : measures(h)) columns.push_back(list_of(values));
    for (size_t i = 0; i < correct.size(); ++i) {
      out += fmt::format("{},{},{},{:.0f},{:.0f}", index.data_ptr<int64_t>()[i], labels.data_ptr<int64_t>()[i],
                         h.head.name, correct[i], robust[i]);
      for (const auto& column : columns) out += "," + csv_value(column[i]);
      out += "\n";
    }
  }
  return out;
}

std::string distances_csv(const Analysis& a) {
  std::string out = "head,distance,clean,attacked\n";
  const auto grid = distance_grid(a);
  for (const auto& h : a.heads) {
    const auto at = list_of(grid), clean = list_of(share_beyond(h.distance, grid)),
               attacked = list_of(share_beyond(h.attacked_distance, grid));
    for (size_t i = 0; i < at.size(); ++i)
      out += fmt::format("{},{:.6g},{:.6g},{:.6g}\n", h.head.name, at[i], clean[i], attacked[i]);
  }
  return out;
}

std::string measures_csv(const Analysis& a) {
  std::string out = "head,measure,mean,p5,p25,median,p75,p95,max\n";
  const auto common = common_images(a);
  for (const auto& h : a.heads)
    for (const auto& [name, values] : measures(h)) {
      const auto q = quantiles(values.index({common}));
      out += fmt::format("{},{}", h.head.name, name);
      for (double value : {q.mean, q.p5, q.p25, q.median, q.p75, q.p95, q.max}) out += "," + csv_value(value);
      out += "\n";
    }
  return out;
}

std::string scatter_csv(const Analysis& a) {
  std::string out = "images,space,within,between,ratio\n";
  const auto add = [&](const std::string& images, const char* space, const ClassScatter& s) {
    if (s.sums.defined())
      out += fmt::format("{},{},{},{},{}\n", images, space, csv_value(s.within()), csv_value(s.between()),
                         csv_value(s.within() / s.between()));
  };
  for (const auto& row : a.scatter) add(row.images, "z", row.z), add(row.images, "h", row.h);
  return out;
}

std::string prototypes_csv(const LinearHead& head) {
  std::string out;
  for (const auto& row : head.prototype_distances().unbind(0)) {
    std::string line;
    for (double value : list_of(row)) line += (line.empty() ? "" : ",") + csv_value(value);
    out += line + "\n";
  }
  return out;
}

std::string agreement_csv(const Analysis& a) {
  std::string out = "images";
  for (const auto& h : a.heads) out += "," + h.head.name;
  out += ",count\n";
  for (bool attacked : {false, true}) {
    const auto counts = failure_patterns(wrong_flags(a, attacked));
    for (size_t pattern = 0; pattern < counts.size(); ++pattern) {
      out += attacked ? "attacked" : "clean";
      for (size_t h = 0; h < a.heads.size(); ++h) out += pattern >> h & 1 ? ",wrong" : ",right";
      out += fmt::format(",{}\n", counts[pattern]);
    }
  }
  return out;
}

std::string transfer_csv(const Analysis& a) {
  std::string out = "made_against,judged_by,accuracy\n";
  const auto matrix = transfer_matrix(a);
  for (size_t made = 0; made < a.heads.size(); ++made)
    for (size_t by = 0; by < a.heads.size(); ++by)
      out += fmt::format("{},{},{:.6g}\n", a.heads[made].head.name, a.heads[by].head.name,
                         matrix[static_cast<int64_t>(made)][static_cast<int64_t>(by)].item<double>());
  return out;
}

}  // namespace

void write_csv_files(const RunDirectory& run, const AnalysisInput& in) {
  const auto& a = in.analysis;
  run.write("against-eps.csv", curves_csv(a, true));
  run.write("against-iterations.csv", curves_csv(a, false));
  run.write("images.csv", images_csv(in));
  run.write("distances.csv", distances_csv(a));
  run.write("measures.csv", measures_csv(a));
  run.write("scatter.csv", scatter_csv(a));
  for (const auto& h : a.heads) run.write("prototypes-" + h.head.name + ".csv", prototypes_csv(h.head));
  run.write("agreement.csv", agreement_csv(a));
  run.write("transfer.csv", transfer_csv(a));
}

}  // namespace hpm
