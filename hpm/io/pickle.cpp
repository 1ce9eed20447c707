// The stack machine. Opcodes: Lib/pickletools.py of CPython.
#include "hpm/io/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "hpm/core/text.h"
#include "hpm/io/pickle_impl.h"

namespace hpm {
namespace {

constexpr size_t line_limit = 1 << 20, integer_limit = 1 << 16;

std::string hex_of(std::string_view little_endian) {
  std::string out = "0x";
  for (size_t i = little_endian.size(); i-- > 0;)
    out += fmt::format("{:02x}", static_cast<unsigned char>(little_endian[i]));
  return out;
}

class Machine {
 public:
  Machine(PickleGraph& graph, ByteReader& in) : graph_(graph), in_(in) {}

  void run() {
    for (;;) {
      const auto op = in_.number<uint8_t>();
      if (op == '.') break;
      if (!number(op) && !string(op) && !container(op) && !memo(op) && !object(op) && !stack(op))
        in_.fail("pickle opcode 0x{:02x} is unknown or not allowed. Perhaps this is no pickle, or a corrupt one", op);
    }
    if (!marks_.empty() || stack_.size() != 1) in_.fail("the pickle ends with {} objects on its stack", stack_.size());
    graph_.root = pop();
  }

 private:
  void push(PickleNode node) { push(graph_.add(in_, std::move(node))); }
  void push(NodeId id) {
    if (stack_.size() >= graph_.limits.values) in_.fail("the pickle's stack is deeper than {}", graph_.limits.values);
    stack_.push_back(id);
  }
  void push_integer(int64_t value) { push({.kind = NodeKind::integer, .integer = value}); }
  void push_boolean(bool value) { push({.kind = NodeKind::boolean, .integer = value}); }
  void push_real(double value) { push({.kind = NodeKind::real, .real = value}); }

  NodeId top() const {
    if (stack_.size() <= floor()) in_.fail("the pickle takes from an empty stack");
    return stack_.back();
  }
  NodeId pop() {
    const NodeId id = top();
    stack_.pop_back();
    return id;
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<NodeId> pop_mark() {
    if (marks_.empty()) in_.fail("the pickle closes a group that it did not open");
    std::vector<NodeId> out(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }

  void push_tuple(size_t count) {
    std::vector<NodeId> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push({.kind = NodeKind::tuple, .items = std::move(items)});
  }
  void append(NodeKind kind, const std::vector<NodeId>& more) {
    auto& target = graph_.at(top());
    const bool opaque = target.kind == NodeKind::opaque;
    if ((target.kind != kind && !opaque) || (kind == NodeKind::dict && more.size() % 2))
      in_.fail("the pickle adds {} items to something that cannot hold them", more.size());
    if (opaque && kind == NodeKind::list) return;
    graph_.count_links(in_, more.size());
    target.items.insert(target.items.end(), more.begin(), more.end());
  }

  void push_long(uint64_t size) {
    if (size > integer_limit) in_.fail("an integer of {} bytes", size);
    const std::string digits = in_.text(size);
    if (size > 8) return push({.kind = NodeKind::text, .text = hex_of(digits)});
    uint64_t value = size > 0 && (digits.back() & 0x80) ? ~uint64_t{0} : 0;
    std::memcpy(&value, digits.data(), size);
    push_integer(static_cast<int64_t>(value));
  }
  void push_decimal(std::string text) {
    if (text == "00" || text == "01") return push_boolean(text == "01");
    if (text.ends_with('L')) text.pop_back();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc::result_out_of_range) return push({.kind = NodeKind::text, .text = text});
    if (error != std::errc() || end != text.data() + text.size()) in_.fail("\"{}\" is no integer", text.substr(0, 40));
    push_integer(value);
  }
  void push_float_line() {
    const std::string text = in_.line(line_limit);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) in_.fail("\"{}\" is no number", text.substr(0, 40));
    push_real(value);
  }

  bool number(uint8_t op) {
    switch (op) {
      case 'N': push(PickleNode{}); return true;
      case 0x88: push_boolean(true); return true;
      case 0x89: push_boolean(false); return true;
      case 'J': push_integer(in_.number<int32_t>()); return true;
      case 'K': push_integer(in_.number<uint8_t>()); return true;
      case 'M': push_integer(in_.number<uint16_t>()); return true;
      case 0x8a: push_long(in_.number<uint8_t>()); return true;
      case 0x8b: push_long(in_.number<uint32_t>()); return true;
      case 'I':
      case 'L': push_decimal(in_.line(line_limit)); return true;
      case 'F': push_float_line(); return true;
      case 'G': push_real(std::bit_cast<double>(__builtin_bswap64(in_.number<uint64_t>()))); return true;
      default: return false;
    }
  }

  std::string sized_text(uint64_t size) {
    if (size > in_.left())
      in_.fail("a string of {} bytes, but only {} are left. Perhaps an incomplete download", size, in_.left());
    if (size > graph_.limits.text) in_.fail("a string of {} bytes; at most {} are read", size, graph_.limits.text);
    return in_.text(size);
  }
  void push_text(std::string text) {
    if (!is_utf8(text)) text = with_surrogates_escaped(std::move(text));
    if (!is_utf8(text)) in_.fail("a text that is not UTF-8");
    push({.kind = NodeKind::text, .text = std::move(text)});
  }
  void push_bytes(std::string bytes) { push({.kind = NodeKind::bytes, .text = std::move(bytes)}); }
  // Python 2's str: text or bytes, nobody knows.
  void push_old_string(std::string text) {
    const auto kind = is_utf8(text) ? NodeKind::text : NodeKind::bytes;
    push({.kind = kind, .text = std::move(text)});
  }
  void push_quoted() {
    const std::string text = in_.line(line_limit);
    const bool quoted =
        text.size() >= 2 && text.front() == text.back() && (text.front() == '\'' || text.front() == '"');
    auto resolved = quoted ? unescaped_string(std::string_view(text).substr(1, text.size() - 2)) : std::nullopt;
    if (!resolved) in_.fail("a quoted string that cannot be read");
    push_old_string(std::move(*resolved));
  }
  void push_unicode_line() {
    auto text = unescaped_unicode(in_.line(line_limit));
    if (!text) in_.fail("a text with escapes that cannot be read");
    push_text(std::move(*text));
  }

  bool string(uint8_t op) {
    switch (op) {
      case 'X': push_text(sized_text(in_.number<uint32_t>())); return true;
      case 0x8c: push_text(sized_text(in_.number<uint8_t>())); return true;
      case 0x8d: push_text(sized_text(in_.number<uint64_t>())); return true;
      case 'B': push_bytes(sized_text(in_.number<uint32_t>())); return true;
      case 'C': push_bytes(sized_text(in_.number<uint8_t>())); return true;
      case 0x8e:
      case 0x96: push_bytes(sized_text(in_.number<uint64_t>())); return true;
      case 'T': push_old_string(sized_text(in_.number<uint32_t>())); return true;
      case 'U': push_old_string(sized_text(in_.number<uint8_t>())); return true;
      case 'S': push_quoted(); return true;
      case 'V': push_unicode_line(); return true;
      default: return false;
    }
  }

  bool container(uint8_t op) {
    switch (op) {
      case ']':
      case 0x8f: push({.kind = NodeKind::list}); return true;  // 0x8f: a set, kept as a list
      case '}': push({.kind = NodeKind::dict}); return true;
      case ')': push_tuple(0); return true;
      case 0x85: push_tuple(1); return true;
      case 0x86: push_tuple(2); return true;
      case 0x87: push_tuple(3); return true;
      case 't':
      case 0x91: push({.kind = NodeKind::tuple, .items = pop_mark()}); return true;
      case 'l': push({.kind = NodeKind::list, .items = pop_mark()}); return true;
      case 'd': {
        auto items = pop_mark();
        push({.kind = NodeKind::dict});
        append(NodeKind::dict, items);
        return true;
      }
      case 'a': {
        const NodeId item = pop();
        append(NodeKind::list, {item});
        return true;
      }
      case 'e':
      case 0x90: append(NodeKind::list, pop_mark()); return true;
      case 's': {
        const NodeId value = pop(), key = pop();
        append(NodeKind::dict, {key, value});
        return true;
      }
      case 'u': append(NodeKind::dict, pop_mark()); return true;
      default: return false;
    }
  }

  void put(uint64_t index) {
    if (memo_.size() >= graph_.limits.values)
      in_.fail("the pickle remembers more than {} objects", graph_.limits.values);
    memo_[index] = top();
  }
  void get(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) in_.fail("the pickle refers to object {}, which it did not define", index);
    push(found->second);
  }
  uint64_t index_line() {
    const std::string text = in_.line(20);
    uint64_t index = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size()) in_.fail("\"{}\" is no index", text);
    return index;
  }

  bool memo(uint8_t op) {
    switch (op) {
      case 'q': put(in_.number<uint8_t>()); return true;
      case 'r': put(in_.number<uint32_t>()); return true;
      case 'p': put(index_line()); return true;
      case 0x94: put(memo_.size()); return true;
      case 'h': get(in_.number<uint8_t>()); return true;
      case 'j': get(in_.number<uint32_t>()); return true;
      case 'g': get(index_line()); return true;
      default: return false;
    }
  }

  void push_stack_global() {
    const NodeId name = pop(), module = pop();
    if (graph_.at(name).kind != NodeKind::text || graph_.at(module).kind != NodeKind::text)
      in_.fail("a global whose name is no text");
    push(make_global(graph_, in_, graph_.at(module).text, graph_.at(name).text));
  }

  NodeId global_line() {
    const std::string module = in_.line(1000), name = in_.line(1000);
    return make_global(graph_, in_, module, name);
  }
  // INST and OBJ of protocols 0 and 1: what stands behind the mark are the arguments, of OBJ after the class.
  void push_instance(std::optional<NodeId> function) {
    auto items = pop_mark();
    if (!function) {
      if (items.empty()) in_.fail("an object without a class");
      function = items.front();
      items.erase(items.begin());
    }
    push({.kind = NodeKind::tuple, .items = std::move(items)});
    push(call_global(graph_, in_, *function, pop()));
  }

  bool object(uint8_t op) {
    switch (op) {
      case 'c': push(global_line()); return true;
      case 0x93: push_stack_global(); return true;
      case 'R':
      case 0x81: {
        const NodeId arguments = pop(), function = pop();
        push(call_global(graph_, in_, function, arguments));
        return true;
      }
      case 0x92: {  // with keyword arguments, which no known function takes
        if (const NodeId keywords = pop(); graph_.at(keywords).kind != NodeKind::dict)
          in_.fail("keyword arguments that are no dict");
        const NodeId arguments = pop(), function = pop();
        push(call_global(graph_, in_, function, arguments));
        return true;
      }
      case 'i': push_instance(global_line()); return true;
      case 'o': push_instance({}); return true;
      case 'b': {
        const NodeId state = pop();
        set_state(graph_, in_, top(), state);
        return true;
      }
      case 'Q': push(make_persistent(graph_, in_, pop())); return true;
      default: return false;
    }
  }

  bool stack(uint8_t op) {
    switch (op) {
      case 0x80:
        if (const auto protocol = in_.number<uint8_t>(); protocol > 5)
          in_.fail("pickle protocol {}; 0 to 5 are known", protocol);
        return true;
      case 0x95:
        if (const auto size = in_.number<uint64_t>(); size > in_.left())
          in_.fail("a frame of {} bytes, but only {} are left. Perhaps an incomplete download", size, in_.left());
        return true;
      case '(':
        if (marks_.size() >= graph_.limits.values)
          in_.fail("the pickle opens more than {} groups", graph_.limits.values);
        marks_.push_back(stack_.size());
        return true;
      case '1': pop_mark(); return true;
      case '0':
        if (!marks_.empty() && marks_.back() == stack_.size()) marks_.pop_back();
        else pop();
        return true;
      case '2': push(top()); return true;
      default: return false;
    }
  }

  PickleGraph& graph_;
  ByteReader& in_;
  std::vector<NodeId> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, NodeId> memo_;
};

}  // namespace

NodeId PickleGraph::add(const ByteReader& in, PickleNode node) {
  if (nodes.size() >= limits.values) in.fail("the pickle holds more than {} objects", limits.values);
  text_used += node.text.size();
  if (text_used > limits.text) in.fail("the pickle holds more than {} bytes of text", limits.text);
  count_links(in, node.items.size());
  node.offset = in.offset();
  nodes.push_back(std::move(node));
  return static_cast<NodeId>(nodes.size() - 1);
}

void PickleGraph::count_links(const ByteReader& in, uint64_t count) {
  links_used += count;
  if (links_used > 4 * limits.values) in.fail("the pickle's containers hold more than {} items", 4 * limits.values);
}

Pickle::Pickle(ByteReader& in, const PickleLimits& limits) : graph_(std::make_unique<PickleGraph>()) {
  graph_->name = in.source().name();
  graph_->limits = limits;
  Machine(*graph_, in).run();
}

Pickle::~Pickle() = default;

const std::vector<StorageName>& Pickle::storages() const { return graph_->storages; }

}  // namespace hpm
