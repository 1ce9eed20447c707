#include "hpm/report/svg.h"

#include "hpm/report/html.h"

namespace hpm {
namespace {

std::string number(double v) {
  auto text = fmt::format("{:.2f}", v);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

constexpr double kCharacter = 7.4;  // generous for 12.5 px sans-serif, DejaVu included

}  // namespace

Svg::Svg(const ChartFrame& frame, double height) {
  head_ =
      fmt::format(R"(<svg class="chart" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">)",
                  number(frame.width), number(height), number(frame.width), number(height), escape_html(frame.title));
  body_ = fmt::format("<title>{}</title><desc>{}</desc>\n", escape_html(frame.title), escape_html(frame.description));
}

Svg& Svg::rect(double x, double y, double width, double height, std::string_view classes, double radius) {
  const auto corner = radius > 0 ? fmt::format(R"( rx="{}")", number(radius)) : "";
  body_ += fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}"{} class="{}"/>)", number(x), number(y),
                       number(std::max(width, 0.)), number(height), corner, escape_html(classes)) +
           "\n";
  return *this;
}

Svg& Svg::line(double x1, double y1, double x2, double y2, std::string_view classes) {
  body_ += fmt::format(R"(<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>)", number(x1), number(y1), number(x2),
                       number(y2), escape_html(classes)) +
           "\n";
  return *this;
}

Svg& Svg::circle(double x, double y, double radius, std::string_view classes) {
  body_ += fmt::format(R"(<circle cx="{}" cy="{}" r="{}" class="{}"/>)", number(x), number(y), number(radius),
                       escape_html(classes)) +
           "\n";
  return *this;
}

Svg& Svg::path(const std::vector<double>& coordinates, std::string_view classes, bool closed) {
  std::string d;
  for (size_t i = 0; i + 1 < coordinates.size(); i += 2)
    d += fmt::format("{}{} {}", i == 0 ? "M" : "L", number(coordinates[i]), number(coordinates[i + 1]));
  body_ += fmt::format(R"(<path d="{}{}" class="{}"/>)", d, closed ? "Z" : "", escape_html(classes)) + "\n";
  return *this;
}

Svg& Svg::text(double x, double y, std::string_view text, std::string_view classes, Anchor anchor) {
  const char* kAnchors[] = {"start", "middle", "end"};
  body_ += fmt::format(R"(<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>)", number(x), number(y),
                       kAnchors[static_cast<int>(anchor)], escape_html(classes), typeset(text)) +
           "\n";
  return *this;
}

Svg& Svg::open_group(std::string_view title) {
  body_ += fmt::format("<g><title>{}</title>\n", typeset(title));
  return *this;
}

Svg& Svg::close_group() {
  body_ += "</g>\n";
  return *this;
}

std::string Svg::inline_element() const { return head_ + body_ + "</svg>\n"; }

std::string svg_file(const std::string& inline_element) {
  auto out = inline_element;
  out.insert(4, R"( xmlns="http://www.w3.org/2000/svg")");
  out.insert(out.find('>') + 1, "<style>" + chart_style() + "</style>");
  return out;
}

std::vector<double> nice_ticks(double low, double high, int count) {
  if (!(high > low)) high = low + 1;
  const double raw = (high - low) / count, power = std::pow(10, std::floor(std::log10(raw))), f = raw / power;
  const double step = power * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
  if (!(step > 0) || !std::isfinite(step)) return {low, high};  // a range too narrow or too wide to be divided
  std::vector<double> ticks;
  const auto last = std::llround(std::ceil(high / step - 1e-9));
  for (auto i = std::llround(std::floor(low / step + 1e-9)); i <= last; ++i)
    ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

double text_width(std::string_view text) { return kCharacter * static_cast<double>(characters(text)); }

std::string fitted(const std::string& text, double width) {
  if (text_width(text) <= width) return text;
  auto out = text;
  while (!out.empty() && text_width(out) + kCharacter > width) {
    while (!out.empty() && (out.back() & 0xC0) == 0x80) out.pop_back();
    if (!out.empty()) out.pop_back();
  }
  return out + "…";
}

}  // namespace hpm
