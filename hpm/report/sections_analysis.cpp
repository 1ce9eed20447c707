// The sensitivity study: what hpm analyze measured.
#include "hpm/report/analysis_impl.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

/// Headings of one study among several.
struct Headings {
  const std::string &name, &id;
  std::string operator()(const char* anchor, const char* text) const {
    return heading(anchor + id, name.empty() ? text : std::string(text) + ", " + name);
  }
};

std::string joined(const AnalysisResults& a, const std::function<std::string(const HeadResult&)>& part) {
  std::string out;
  for (size_t i = 0; i < a.heads.size(); ++i)
    out += (i == 0 ? "" : i + 1 == a.heads.size() ? " and " : ", ") + part(a.heads[i]);
  return out;
}

std::string figure(const std::function<std::string(double width)>& chart, const std::string& caption) {
  return "<figure>" + responsive(chart) + "<figcaption>" + typeset(caption) + "</figcaption></figure>\n";
}

std::string key(const AnalysisResults& a) {
  std::string out;
  for (const auto& head : a.heads) out += key_entry(head_tone(head.name), head_title(head.name));
  return "<p class=\"key\">" + out + "</p>\n";
}

std::string three_digits(double value) { return std::isnan(value) ? "–" : fmt::format("{:.3g}", value); }

double median(const HeadResult& head, const char* measure) {
  const auto found = head.measures.find(measure);
  return found == head.measures.end() ? std::numeric_limits<double>::quiet_NaN() : found->second.median;
}

std::string curves_part(const AnalysisResults& a, const Headings& title) {
  return title("against-eps", "Accuracy against eps") + key(a) +
         figure([&](double width) { return analysis::against_eps(a, width); },
                fmt::format("Each head under an attack of its own ({}). What a smaller radius breaks counts as broken "
                            "within every larger one. Bands: 95 % intervals.",
                            a.budget)) +
         title("against-iterations", "Accuracy against iterations") + key(a) +
         figure([&](double width) { return analysis::against_iterations(a, width); },
                fmt::format("{} {}. Every point is a run of APGD with so many steps in all: its step sizes are planned "
                            "from their number, so a long run is no continuation of a short one.",
                            a.norm, radius_text(a.eps)));
}

std::string distances_part(const AnalysisResults& a, const Headings& title) {
  return title("distances", "Distance to the decision boundary") +
         paragraph(
             "The distance of the features z to the boundary of their class: the smallest (l_y - l_k) / |w_y - w_k| "
             "over the other classes k. It does not depend on the scale of the logits, so heads on the same features "
             "compare.") +
         key(a) +
         figure([&](double width) { return analysis::distances(a, false, width); },
                "Clean images. At 0 the curve is accuracy.") +
         figure([&](double width) { return analysis::distances(a, true, width); },
                fmt::format("At the perturbation of largest loss that APGD found within {} {}.", a.norm,
                            radius_text(a.eps)));
}

std::string measures_table(const AnalysisResults& a) {
  HtmlTable table{.caption = typeset(fmt::format("Medians over the {} images that every head has right.",
                                                 count_text(a.common_images))),
                  .columns = {"", "Distance", "Lost to APGD", "Slope at the image", "Slope along the attack",
                              "Features moved", "Of that move, towards the boundary"}};
  for (const auto& head : a.heads) {
    std::vector<std::string> row{head_title(head.name)};
    for (const char* measure : {"distance", "change", "local_slope", "model_slope", "feature_gain", "head_slope"})
      row.push_back(typeset(three_digits(median(head, measure))));
    table.rows.push_back(row);
  }
  return html_table(table);
}

std::string slopes_part(const AnalysisResults& a, const Headings& title) {
  return title("slopes", "Local Lipschitz estimates") +
         paragraph(
             "How fast the distance falls when the image moves. At the image: the dual norm of its gradient, the exact "
             "local constant. Along the attack: what was lost over the perturbation's norm, a lower bound for the "
             "ball. The second is the product of how far the features moved (per unit of the image) and how much of "
             "that move went towards the boundary, which is at most 1: in these units every linear head has the "
             "constant 1.") +
         figure([&](double width) { return analysis::slopes(a, width); },
                "Pale: at the image. Full: along the attack. Whiskers: the middle half of the images.") +
         figure([&](double width) { return analysis::head_slopes(a, width); },
                "The head's part of the slope along the attack: what of the features' move it uses.") +
         measures_table(a);
}

std::string scatter_part(const AnalysisResults& a, const Headings& title) {
  const bool has_h = std::any_of(a.scatter.begin(), a.scatter.end(), [](const auto& s) { return s.space == "h"; });
  return title("scatter", "Scatter of the features") +
         figure([&](double width) { return analysis::scatter(a, width); },
                std::string("Lower is tighter classes. Attacked: the images of largest loss against that head; those "
                            "already wrong stay as they are.") +
                    (has_h ? " Pale: in the space of the prototypes, h." : ""));
}

std::string prototypes_part(const AnalysisResults& a, const Headings& title) {
  std::string out;
  for (const auto& head : a.heads)
    if (!head.prototype_distances.empty())
      out += figure([&](double width) { return analysis::prototypes(a, head, width); },
                    head_title(head.name) + (head.name == "fc"   ? ": rows of the FC layer's weights."
                                             : head.name == "l2" ? ": stable prototypes."
                                                                 : ": mixed prototypes of the reference context."));
  return out.empty() ? "" : title("prototypes", "Distances between prototypes") + out;
}

std::string agreement_table(const AnalysisResults& a) {
  HtmlTable table{.columns = {"Wrong", "Images, clean", "Images, under attack"}};
  for (size_t i = 0; i < a.wrong_attacked.size(); ++i) {
    const auto& wrong = a.wrong_attacked[i].wrong;
    std::string heads;
    for (const auto& head : wrong) heads += (heads.empty() ? "" : " and ") + escape_html(head_title(head));
    if (wrong.empty()) heads = "none";
    else if (wrong.size() == a.heads.size() && wrong.size() > 1) heads = "all";
    else heads += " alone";
    table.rows.push_back({heads, i < a.wrong_clean.size() ? count_text(a.wrong_clean[i].images) : "–",
                          count_text(a.wrong_attacked[i].images)});
  }
  return html_table(table);
}

std::string agreement_part(const AnalysisResults& a, const Headings& title) {
  if (a.heads.size() < 2) return "";
  return title("agreement", "Agreement of failures") +
         paragraph(
             "Whether the heads fail on the same images. Under attack each faces perturbations made against itself.") +
         agreement_table(a) +
         figure([&](double width) { return analysis::agreement(a, width); },
                "Read along a row: of the images that this head is wrong on under attack, how many the other one is "
                "wrong on as well.") +
         figure([&](double width) { return analysis::transfer(a, width); },
                fmt::format("The images of largest loss against the row's head, judged by the column's: of the {} that "
                            "every head has right.",
                            count_text(a.common_images)));
}

}  // namespace

std::string analysis_summary(const AnalysisResults& a) {
  const auto kept = joined(a, [](const HeadResult& head) {
    return fmt::format("{} keeps {} ({})", head_title(head.name), percent(head.robust_accuracy),
                       span_text(head.interval));
  });
  std::string out = fmt::format(
      "<section class=\"verdict is-no-difference\"><span class=\"chip\">Sensitivity study</span><p "
      "class=\"say\">{}</p>",
      typeset(fmt::format("Of {} images under {} within {} {}, {}.", count_text(a.n), a.budget, a.norm,
                          radius_text(a.eps), kept)));
  const auto item = [&](const std::string& text) { out += "<li>" + typeset(text) + "</li>\n"; };
  out += "<ul>\n";
  item("Clean: " +
       joined(a, [](const HeadResult& head) { return head_title(head.name) + " " + percent(head.clean_accuracy); }) +
       ".");
  if (a.common_images > 0)
    item(fmt::format("Median distance to the boundary, in units of the features, and what the attack takes of it: {}.",
                     joined(a, [](const HeadResult& head) {
                       return fmt::format("{} {} and {}", head_title(head.name), three_digits(median(head, "distance")),
                                          three_digits(median(head, "change")));
                     })));
  if (a.heads.size() > 1)
    item(
        "One attack on each head as it is deployed (HPM in the reference context): a study of sensitivity, not the "
        "worst case. For that there is hpm evaluate --protocol msa.");
  return out + "</ul></section>\n";
}

std::string analysis_parts(const AnalysisResults& a, const std::string& name, const std::string& id) {
  const Headings title{name, id};
  return curves_part(a, title) + distances_part(a, title) + slopes_part(a, title) + scatter_part(a, title) +
         prototypes_part(a, title) + agreement_part(a, title);
}

}  // namespace hpm::sections
