// The gallery: image, perturbation magnified, adversarial image.
#include "hpm/core/error.h"
#include "hpm/report/html.h"
#include "hpm/report/png.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

constexpr size_t kMostImages = 24;

/// What is no number, as in a file that nobody checked, is black.
uint8_t to_byte(double value) {
  return std::isnan(value) ? 0 : static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0., 1.)));
}

/// [C,H,W] in [0,1] as a PNG; `value(i)` gives element i.
template <class F>
std::string picture(const GalleryImages& images, F value, const std::string& alt) {
  const auto pixels = static_cast<size_t>(images.height * images.width),
             channels = static_cast<size_t>(images.channels);
  std::vector<uint8_t> bytes(pixels * channels);
  for (size_t c = 0; c < channels; ++c)
    for (size_t p = 0; p < pixels; ++p) bytes[p * channels + c] = to_byte(value(c * pixels + p));
  return fmt::format(R"(<img src="{}" width="{}" height="{}" alt="{}">)",
                     png_data_uri(encode_png(bytes, images.width, images.height, images.channels)), images.width,
                     images.height, escape_html(alt));
}

size_t values_of_an_image(const GalleryImages& images) {
  return static_cast<size_t>(images.channels * images.height * images.width);
}

double largest_change(const GalleryImages& images, size_t i) {
  const size_t size = values_of_an_image(images);
  double largest = 0;
  for (size_t k = i * size; k < (i + 1) * size; ++k)
    largest = std::max(largest, std::abs(static_cast<double>(images.adversarial[k]) - images.original[k]));
  return largest;
}

/// Nothing broke it, and there is no perturbation to show.
bool survived(const ReportedRun& run, const GalleryImages& images, size_t i) {
  const auto& entry = run.gallery[i];
  return entry.adversarial_prediction == entry.label && largest_change(images, i) == 0;
}

std::string survivor_figure(const ReportedRun& run, const GalleryImages& images, size_t i) {
  const auto& entry = run.gallery[i];
  const size_t start = i * values_of_an_image(images);
  const auto label = class_name(run, entry.label);
  return fmt::format("<figure>{}<figcaption class=\"held\">{}<small>image {}</small></figcaption></figure>\n",
                     picture(
                         images, [&](size_t k) { return static_cast<double>(images.original[start + k]); },
                         fmt::format("image {}, {}, kept", entry.index, label)),
                     escape_html(label), entry.index);
}

std::string entry_figure(const ReportedRun& run, const GalleryImages& images, size_t i) {
  const auto& entry = run.gallery[i];
  const size_t start = i * values_of_an_image(images);
  const double largest = largest_change(images, i);
  const double factor = largest > 0 && std::isfinite(largest) ? .5 / largest : 1;
  const auto clean = [&](size_t k) { return static_cast<double>(images.original[start + k]); };
  const auto attacked = [&](size_t k) { return static_cast<double>(images.adversarial[start + k]); };
  const auto change = [&](size_t k) { return .5 + factor * (attacked(k) - clean(k)); };
  const bool broken = entry.adversarial_prediction != entry.label;
  const auto label = class_name(run, entry.label), after = class_name(run, entry.adversarial_prediction);
  std::string how;
  for (const auto& part : {entry.attack, entry.surrogate.empty() ? "" : "through " + entry.surrogate})
    if (!part.empty()) how += (how.empty() ? "" : " ") + part;
  return fmt::format(
      "<figure><div class=\"triple\">{}{}{}</div><figcaption><b>{}</b>, predicted {} → <span "
      "class=\"{}\">{}</span><small>{}</small>"
      "</figcaption></figure>\n",
      picture(images, clean, fmt::format("image {}, {}", entry.index, label)),
      picture(images, change, fmt::format("perturbation, magnified {:.3g} times", factor)),
      picture(images, attacked, fmt::format("adversarial image, predicted {}", after)), escape_html(label),
      escape_html(class_name(run, entry.clean_prediction)), broken ? "broken" : "held", escape_html(after),
      typeset(fmt::format("image {}{}, {} norm {:.4g}, perturbation ×{:.3g}", entry.index,
                          how.empty() ? "" : ", " + how, run.norm, entry.norm, factor)));
}

void check_images(const ReportedRun& run, const GalleryImages& images, const std::string& where) {
  constexpr int64_t kLargestSide = 1 << 14;  // of a PNG (encode_png)
  for (const auto side : {images.height, images.width})
    if (side < 1 || side > kLargestSide)
      fail("make_report: the gallery of {} needs images with sides of 1 to {} pixels, but has {} x {}", where,
           kLargestSide, images.height, images.width);
  if (images.channels != 1 && images.channels != 3)
    fail("make_report: the gallery of {} needs 1 or 3 channels, but has {}", where, images.channels);
  // Sides and channels are bounded by now, and the entries are in memory: their product cannot overflow.
  const auto size = run.gallery.size() * values_of_an_image(images);
  if (images.count != static_cast<int64_t>(run.gallery.size()) || images.original.size() != size ||
      images.adversarial.size() != size)
    fail("make_report: the gallery of {} needs {} images of {} x {} x {} in both tensors, but has {} and {} values",
         where, run.gallery.size(), images.channels, images.height, images.width, images.original.size(),
         images.adversarial.size());
}

std::string run_gallery(const ReportedRun& run, const RunFiles& files) {
  check_images(run, files.gallery, files.directory);
  const auto shown = std::min(run.gallery.size(), kMostImages);
  std::string attacked, kept, out;
  for (size_t i = 0; i < shown; ++i)
    if (survived(run, files.gallery, i)) kept += survivor_figure(run, files.gallery, i);
    else attacked += entry_figure(run, files.gallery, i);
  if (!attacked.empty()) out += "<div class=\"gallery\">\n" + attacked + "</div>\n";
  if (!kept.empty())
    out += "<p class=\"note\">Images that nothing broke:</p>\n<div class=\"kept\">\n" + kept + "</div>\n";
  if (shown < run.gallery.size())
    out += fmt::format("<p class=\"note\">The first {} of {}.</p>\n", shown, run.gallery.size());
  return out;
}

}  // namespace

std::string gallery_of(const ReportedRun& run, const RunFiles& files) {
  return run.gallery.empty() || files.gallery.count == 0 ? "" : run_gallery(run, files);
}

std::string gallery(const Comparison& c, const std::vector<RunFiles>& files) {
  std::string out, others;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run = c.runs[i];
    const auto part = gallery_of(run, files[run.source]);
    const bool subject = std::find(c.subjects.begin(), c.subjects.end(), i) != c.subjects.end();
    if (!subject) others += folded(escape_html(run.title), part);
    else if (!part.empty()) out += subject_title(c, i) + part;
  }
  if (out.empty() && others.empty()) return "";
  const bool attacked = (out + others).find("<div class=\"triple\">") != std::string::npos;
  return heading("gallery", "Gallery") +
         (attacked ? paragraph("Left the image, right the adversarial image, between them the perturbation on middle "
                               "grey, magnified so that its largest pixel has full contrast. Below: the true class, "
                               "then the prediction before and after the attack.")
                   : "") +
         out + others;
}

}  // namespace hpm::sections
