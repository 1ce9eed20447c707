#include "hpm/io/value.h"

#include <fmt/format.h>

namespace hpm {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// The bytes of a well-formed sequence that starts at text[0] (Unicode 15, table 3-7), 0 for an ill-formed one.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned a = byte(0), b = byte(1);
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a < 0xE0) return tail(1) ? 2 : 0;
  if (a >= 0xE0 && a < 0xF0)
    return tail(1) && tail(2) && !(a == 0xE0 && b < 0xA0) && !(a == 0xED && b >= 0xA0) ? 3 : 0;
  if (a >= 0xF0 && a < 0xF5)
    return tail(1) && tail(2) && tail(3) && !(a == 0xF0 && b < 0x90) && !(a == 0xF4 && b >= 0x90) ? 4 : 0;
  return 0;
}

}  // namespace

std::string text_of(const Key& key) {
  if (const auto* text = std::get_if<std::string>(&key)) return *text;
  return std::to_string(std::get<int64_t>(key));
}

const std::vector<Value>* Value::items() const {
  if (const auto* list = as<List>()) return &list->items;
  if (const auto* tuple = as<Tuple>()) return &tuple->items;
  return nullptr;
}

const Value* Value::find(std::string_view key) const {
  const auto* dict = as<Dict>();
  if (!dict) return nullptr;
  for (const auto& entry : dict->entries)
    if (const auto* text = std::get_if<std::string>(&entry.key); text && *text == key) return &entry.value;
  return nullptr;
}

std::string Value::description() const {
  return std::visit(
      Overloaded{[](std::monostate) -> std::string { return "none"; }, [](bool) -> std::string { return "bool"; },
                 [](int64_t) -> std::string { return "int"; }, [](double) -> std::string { return "float"; },
                 [](const std::string&) -> std::string { return "text"; },
                 [](const Bytes& bytes) { return fmt::format("{} bytes", bytes.size()); },
                 [](const TensorPointer& t) { return fmt::format("tensor {} {}", name_of(t->type), text_of_shape(t->shape)); },
                 [](const List& list) { return fmt::format("list of {}", list.items.size()); },
                 [](const Tuple& tuple) { return fmt::format("tuple of {}", tuple.items.size()); },
                 [](const Dict& dict) { return fmt::format("dict of {}", dict.entries.size()); }},
      data);
}

std::string Value::scalar_text() const {
  return std::visit(Overloaded{[](std::monostate) -> std::string { return "None"; },
                               [](bool b) -> std::string { return b ? "True" : "False"; },
                               [](int64_t i) { return std::to_string(i); },
                               [](double d) { return fmt::format("{}", d); },
                               [](const std::string& text) { return text; },
                               [](const auto&) { return std::string(); }},
                    data);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace hpm
