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
      Overloaded{
          [](std::monostate) -> std::string { return "none"; }, [](bool) -> std::string { return "bool"; },
          [](int64_t) -> std::string { return "int"; }, [](double) -> std::string { return "float"; },
          [](const std::string&) -> std::string { return "text"; },
          [](const Bytes& bytes) { return fmt::format("{} bytes", bytes.size()); },
          [](const TensorPointer& t) { return fmt::format("tensor {} {}", name_of(t->type), text_of_shape(t->shape)); },
          [](const List& list) { return fmt::format("list of {}", list.items.size()); },
          [](const Tuple& tuple) { return fmt::format("tuple of {}", tuple.items.size()); },
          [](const Dict& dict) { return fmt::format("dict of {}", dict.entries.size()); },
          [](const Opaque& opaque) { return fmt::format("an object of {}, not read", opaque.name); }},
      data);
}

std::string Value::scalar_text() const {
  return std::visit(
      Overloaded{[](std::monostate) -> std::string { return "None"; },
                 [](bool b) -> std::string { return b ? "True" : "False"; },
                 [](int64_t i) { return std::to_string(i); }, [](double d) { return fmt::format("{}", d); },
                 [](const std::string& text) { return text; }, [](const auto&) { return std::string(); }},
      data);
}

}  // namespace hpm
