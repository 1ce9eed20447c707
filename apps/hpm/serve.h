// defines: HttpRequest, HttpResponse, LoopbackServer
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace hpm::app {

struct HttpRequest {
  std::string path;  ///< as it came, without the query: "/run/a%20b"
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string type = "text/html; charset=utf-8";
};

/// A small HTTP server for pages that only this machine may see: GET and HEAD on 127.0.0.1, one request a connection,
/// no script, no file of its own. It refuses what comes under another name than 127.0.0.1 or localhost, which a page
/// elsewhere could have led a browser to (DNS rebinding). Everything happens in one thread; a client that is slow waits
/// for itself alone.
class LoopbackServer {
 public:
  /// Listens; `port` 0: one that is free. Throws Error where the port cannot be had.
  explicit LoopbackServer(int64_t port);
  ~LoopbackServer();
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  int port() const { return port_; }
  std::string url() const;
  /// Answers until interrupt_requested(). What `answer` throws becomes a page of status 500.
  void serve(const std::function<HttpResponse(const HttpRequest&)>& answer);

 private:
  int listener_ = -1, port_ = 0;
};

}  // namespace hpm::app
