#include "serve.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <system_error>

#include "hpm/core/error.h"
#include "hpm/core/progress.h"
#include "hpm/core/text.h"
#include "hpm/report/html.h"

namespace hpm::app {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLongestHead = 8192, kMostConnections = 64;
constexpr auto kToAsk = std::chrono::seconds(5), kToRead = std::chrono::seconds(30), kToLeave = std::chrono::seconds(1);

std::string reason() { return std::generic_category().message(errno); }

const char* name_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 421: return "Misdirected Request";
    case 431: return "Request Header Fields Too Large";
    default: return "Internal Server Error";
  }
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// What the head of a request asks for, or the status and the sentence that refuse it.
struct Head {
  int refused = 0;
  std::string why;
  bool body = true;  ///< GET; a HEAD gets none
  HttpRequest request;
};

Head refuse(int status, std::string why) { return {.refused = status, .why = std::move(why)}; }

/// The one Host of a head; none where it is missing, given twice, or the head is no HTTP.
std::optional<std::string> host_of(std::string_view lines) {
  std::optional<std::string> host;
  while (!lines.empty()) {
    const auto end = std::min(lines.find("\r\n"), lines.size());
    const auto line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 2, lines.size()));
    const auto colon = line.find(':');
    const bool sound = colon != std::string_view::npos && colon > 0 &&
                       line.substr(0, colon).find_first_of(" \t") == std::string_view::npos;
    if (!sound) return std::nullopt;
    if (lower(line.substr(0, colon)) != "host") continue;
    if (host) return std::nullopt;
    host = lower(trimmed(line.substr(colon + 1)));
  }
  return host;
}

/// `text`: everything before the empty line.
Head parse_head(std::string_view text, int port) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool end_of_line =
        (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') || (c == '\n' && i > 0 && text[i - 1] == '\r');
    if ((c < 0x20 && c != '\t' && !end_of_line) || c == 0x7F)
      return refuse(400, "the request holds control characters");
  }
  const auto end = std::min(text.find("\r\n"), text.size());
  const auto line = text.substr(0, end);
  const auto first = line.find(' '), last = line.rfind(' ');
  const bool sound = first != std::string_view::npos && first < last &&
                     line.substr(first + 1, last - first - 1).find(' ') == std::string_view::npos &&
                     (line.substr(last + 1) == "HTTP/1.1" || line.substr(last + 1) == "HTTP/1.0");
  const auto host = host_of(text.substr(std::min(end + 2, text.size())));
  if (!sound || !host) return refuse(400, "this is no request of HTTP/1.1 with a Host");
  const auto own = fmt::format(":{}", port);
  const bool known = *host == "127.0.0.1" + own || *host == "localhost" + own ||
                     (port == 80 && (*host == "127.0.0.1" || *host == "localhost"));
  if (!known)
    return refuse(421, fmt::format("hpm report --serve answers as 127.0.0.1:{} and localhost:{} alone", port, port));
  const auto method = line.substr(0, first), target = line.substr(first + 1, last - first - 1);
  if (method != "GET" && method != "HEAD") return refuse(405, "hpm report --serve answers GET and HEAD alone");
  if (!target.starts_with('/')) return refuse(400, "the request needs a path that begins with /");
  return {.body = method == "GET", .request = {std::string(target.substr(0, target.find_first_of("?#")))}};
}

std::string text_of(const HttpResponse& response, bool with_body) {
  auto out = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n"
      "Content-Security-Policy: {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
      "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"
      "Cross-Origin-Resource-Policy: same-origin\r\n{}\r\n",
      response.status, name_of(response.status), response.type, response.body.size(), page_policy(true),
      response.status == 405 ? "Allow: GET, HEAD\r\n" : "");
  return with_body ? out + response.body : out;
}

HttpResponse refusal(int status, const std::string& why) {
  return {status, fmt::format("{} {}: {}\n", status, name_of(status), printable(why)), "text/plain; charset=utf-8"};
}

using Answer = std::function<HttpResponse(const HttpRequest&)>;

/// One client: its request is read, the answer written, and the rest of what it sends thrown away, so that the answer
/// reaches it before the connection is closed.
class Connection {
 public:
  explicit Connection(int descriptor) : descriptor_(descriptor) {}
  ~Connection() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Connection(Connection&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)),
        step_(other.step_),
        until_(other.until_),
        in_(std::move(other.in_)),
        out_(std::move(other.out_)),
        sent_(other.sent_) {}
  Connection& operator=(Connection&& other) noexcept {
    std::swap(descriptor_, other.descriptor_), std::swap(step_, other.step_), std::swap(until_, other.until_);
    std::swap(in_, other.in_), std::swap(out_, other.out_), std::swap(sent_, other.sent_);
    return *this;
  }

  pollfd watched() const { return {descriptor_, static_cast<short>(step_ == Step::writing ? POLLOUT : POLLIN), 0}; }
  bool over() const { return step_ == Step::over; }

  /// The socket is ready.
  void go_on(const Answer& answer, int port) {
    if (step_ == Step::reading) read(answer, port);
    if (step_ == Step::writing) write();
    if (step_ == Step::leaving) leave();
  }

  /// Its time may be up.
  void look_at_clock() {
    if (Clock::now() < until_ || over()) return;
    if (step_ != Step::reading) step_ = Step::over;
    else say(text_of(refusal(408, "the request did not come within 5 seconds"), true));
  }

 private:
  enum class Step { reading, writing, leaving, over };

  void say(std::string text) { out_ = std::move(text), step_ = Step::writing, until_ = Clock::now() + kToRead; }

  void read(const Answer& answer, int port) {
    std::array<char, 4096> buffer{};
    while (step_ == Step::reading) {
      const auto got = ::recv(descriptor_, buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (got <= 0) {
        step_ = Step::over;
        return;
      }
      in_.append(buffer.data(), static_cast<size_t>(got));
      const auto end = in_.find("\r\n\r\n");
      if (std::min(end, in_.size()) > kLongestHead) say(text_of(refusal(431, "the request is longer than 8 kB"), true));
      else if (end != std::string::npos) respond(parse_head(std::string_view(in_).substr(0, end), port), answer);
    }
  }

  void respond(const Head& head, const Answer& answer) {
    if (head.refused != 0) return say(text_of(refusal(head.refused, head.why), head.body));
    try {
      say(text_of(answer(head.request), head.body));
    } catch (const std::exception& error) {
      say(text_of(refusal(500, error.what()), head.body));
    }
  }

  void write() {
    while (sent_ < out_.size()) {
      const auto wrote = ::send(descriptor_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (wrote <= 0) {
        step_ = Step::over;
        return;
      }
      sent_ += static_cast<size_t>(wrote);
    }
    ::shutdown(descriptor_, SHUT_WR);
    step_ = Step::leaving, until_ = Clock::now() + kToLeave;
  }

  void leave() {
    std::array<char, 4096> buffer{};
    for (int pieces = 0; pieces < 64; ++pieces) {
      const auto got = ::recv(descriptor_, buffer.data(), buffer.size(), 0);
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
      if (got > 0) continue;
      step_ = Step::over;
      return;
    }
  }

  int descriptor_;
  Step step_ = Step::reading;
  Clock::time_point until_ = Clock::now() + kToAsk;
  std::string in_, out_;
  size_t sent_ = 0;
};

}  // namespace

LoopbackServer::LoopbackServer(int64_t port) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_ < 0) fail("--serve: a socket cannot be made: {}", reason());
  const int on = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);  // a port whose server has ended is free at once
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  const bool listens = ::bind(listener_, generic, size) == 0 && ::listen(listener_, 64) == 0 &&
                       ::getsockname(listener_, generic, &size) == 0;
  if (!listens) {
    const bool taken = errno == EADDRINUSE;
    const auto why = reason();
    ::close(listener_);
    if (taken) fail("--port: {} is in use by another program; give another port, or 0 for a free one", port);
    fail("--port: 127.0.0.1:{} cannot be listened on: {}", port, why);
  }
  port_ = ntohs(address.sin_port);
}

LoopbackServer::~LoopbackServer() { ::close(listener_); }

std::string LoopbackServer::url() const { return fmt::format("http://127.0.0.1:{}/", port_); }

void LoopbackServer::serve(const Answer& answer) {
  std::vector<Connection> clients;
  while (!interrupt_requested()) {
    std::vector<pollfd> watched{{clients.size() < kMostConnections ? listener_ : -1, POLLIN, 0}};
    for (const auto& client : clients) watched.push_back(client.watched());
    if (::poll(watched.data(), watched.size(), 200) < 0) {
      if (errno == EINTR) continue;
      fail("--serve: waiting for requests failed: {}", reason());
    }
    for (size_t i = 0; i < clients.size() && !interrupt_requested(); ++i) {
      if (watched[i + 1].revents != 0) clients[i].go_on(answer, port_);
      clients[i].look_at_clock();
    }
    std::erase_if(clients, [](const Connection& client) { return client.over(); });
    while (watched[0].revents != 0 && clients.size() < kMostConnections) {
      const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (descriptor < 0) break;
      clients.emplace_back(descriptor);
    }
  }
}

}  // namespace hpm::app
