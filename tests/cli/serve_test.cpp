// hpm report --serve: the runs of a folder as pages for this machine alone, and the progress that they show.
#include <chrono>
#include <thread>

#include "cli/program.h"
#include "cli/server.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

using test::Answer;
using test::Child;
using test::loopback;
using test::program;
using test::Socket;
using test::text_of;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Seconds since `begin`.
double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Serve : public testing::Test {
 protected:
  void SetUp() override { test::write_sample(test::sample_run("hpm", 60), runs("finished").string()); }

  std::filesystem::path runs(const std::string& name) const { return folder / ("runs/" + name); }
  /// Starts the server; its port.
  void start(const std::vector<std::string>& more = {"--port", "0"}) {
    std::vector<std::string> arguments{"report", "--serve", (folder / "runs").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    server.emplace(arguments, folder / "err");
    const auto url = server->line();
    ASSERT_TRUE(url.starts_with("http://127.0.0.1:")) << url << text_of(folder / "err");
    port = std::atoi(url.c_str() + 17);
  }
  Answer ask(const std::string& request) const {
    const Socket socket(port);
    EXPECT_TRUE(socket.connected());
    socket.send(request);
    return socket.answer();
  }
  Answer get(const std::string& path, const std::string& host = "", const std::string& method = "GET") const {
    return ask(fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", method, path,
                           host.empty() ? fmt::format("127.0.0.1:{}", port) : host));
  }
  /// What a process says of the run that it works on.
  void write_progress(const std::string& name, int64_t pid, bool running = true) const {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    std::filesystem::create_directories(runs(name));
    test::write_text(runs(name) / "config.toml", "[run]\nseed = 0\n");
    test::write_text(runs(name) / "progress.json", nlohmann::json{{"pid", pid},
                                                                  {"host", host.data()},
                                                                  {"verb", "evaluate"},
                                                                  {"task", "apgd-ce"},
                                                                  {"unit", "images"},
                                                                  {"note", "survivors 312"},
                                                                  {"done", 430},
                                                                  {"total", 1000},
                                                                  {"time", std::time(nullptr)},
                                                                  {"running", running}}
                                                       .dump());
  }

  test::TemporaryFolder folder;
  std::optional<Child> server;
  int port = 0;
};

constexpr int64_t kNobody = 4'999'999;  // above the largest number of a process

TEST_F(Serve, ShowsEveryRunOfAFolderWithItsState) {
  write_progress("goes-on", ::getpid());
  write_progress("killed", kNobody);
  write_progress("left", ::getpid(), false);
  std::filesystem::create_directories(runs("broken"));
  test::write_text(runs("broken") / "results.json", "{\"schema\": 1, ");
  std::filesystem::create_directories(runs("no-run"));
  std::filesystem::create_directories(runs("model"));
  test::write_text(runs("model") / "config.toml", "");
  test::write_text(runs("model") / "model.safetensors", "weights");
  start();
  const auto page = get("/");
  EXPECT_EQ(page.status, 200);
  for (const char* part :
       {"<a href=\"/run/finished\">finished</a>", "msa quick on fashion-mnist, Linf 0.1", "running 43\u202F%",
        "430 of 1000 images, survivors 312", ">stopped<", ">broken<", "<small>results.json: is not JSON",
        "a model; it has no report", "1 running", "2 stopped", "1 broken", "2 finished"})
    EXPECT_TRUE(contains(page.body, part)) << part;
  EXPECT_FALSE(contains(page.body, "no-run"));
  EXPECT_TRUE(contains(page.body, "<meta http-equiv=\"refresh\" content=\"3\">")) << "live, while something runs";
  const auto going = get("/run/goes-on");
  EXPECT_EQ(going.status, 200);
  EXPECT_TRUE(contains(going.body, "running 43") && contains(going.body, "http-equiv=\"refresh\""));
  EXPECT_TRUE(contains(get("/run/killed").body, "--resume"));
  EXPECT_TRUE(contains(get("/run/broken").body, "is not JSON"));

  write_progress("goes-on", ::getpid(), false);
  EXPECT_FALSE(contains(get("/").body, "http-equiv=\"refresh\"")) << "nothing runs any more";
}

TEST_F(Serve, TellsARunThatIsBegunAgainFromTheOneThatIsThere) {
  write_progress("finished", ::getpid());
  start();
  EXPECT_TRUE(contains(get("/").body, "running 43"));
  EXPECT_FALSE(contains(get("/run/finished").body, "class=\"verdict"));
  write_progress("finished", ::getpid(), false);
  EXPECT_TRUE(contains(get("/run/finished").body, "class=\"verdict"));
}

TEST_F(Serve, ShowsTheReportOfARunAndMakesItAnewWhereTheRunHasChanged) {
  start();
  const auto first = get("/run/finished");
  EXPECT_EQ(first.status, 200);
  EXPECT_TRUE(contains(first.body, "class=\"verdict") && contains(first.body, "<h2 id=\"gallery\""));
  EXPECT_TRUE(contains(first.body, "Written by hpm 0.1.0"));
  EXPECT_EQ(get("/run/finished").body, first.body);
  auto changed = test::sample_run("hpm", 60);
  changed.results["hpm_version"] = "9.9.9";
  test::write_sample(changed, runs("finished").string());
  EXPECT_TRUE(contains(get("/run/finished").body, "Written by hpm 9.9.9"));
  changed.gallery.count = 0;
  std::filesystem::remove(runs("finished") / "gallery.safetensors");
  EXPECT_FALSE(contains(get("/run/finished").body, "<h2 id=\"gallery\""));
}

TEST_F(Serve, FindsARunThatWasBegunWhileItServes) {
  start();
  EXPECT_EQ(get("/run/new").status, 404);
  write_progress("new", ::getpid());
  EXPECT_EQ(get("/run/new").status, 200);
}

TEST_F(Serve, NamesOfRunsMayHoldAnything) {
  const std::string name = "a b&<script>\"'%2e..?#";
  std::filesystem::rename(runs("finished"), runs(name));
  start();
  const auto page = get("/").body;
  EXPECT_FALSE(contains(page, "<script>\"")) << "escaped";
  const auto begin = page.find("href=\"/run/") + 6;
  const auto link = page.substr(begin, page.find('"', begin) - begin);
  EXPECT_EQ(link, "/run/a%20b%26%3Cscript%3E%22%27%252e..%3F%23");
  EXPECT_TRUE(contains(get(link).body, "class=\"verdict"));
}

TEST_F(Serve, RefusesWhatIsNotForIt) {
  start();
  const auto own = fmt::format("Host: 127.0.0.1:{}\r\n", port);
  const std::vector<std::pair<std::string, int>> requests = {
      {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421},
      {fmt::format("GET / HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", port), 421},
      {fmt::format("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", port + 1), 421},
      {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 421},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + own + own + "\r\n", 400},
      {"POST / HTTP/1.1\r\n" + own + "Content-Length: 5\r\n\r\nhello", 405},
      {"DELETE /run/finished HTTP/1.1\r\n" + own + "\r\n", 405},
      {"GET /run/../../etc/passwd HTTP/1.1\r\n" + own + "\r\n", 404},
      {"GET /run/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\n" + own + "\r\n", 404},
      {"GET /run/.. HTTP/1.1\r\n" + own + "\r\n", 404},
      {"GET /run/ HTTP/1.1\r\n" + own + "\r\n", 404},
      {"GET /run/finished/results.json HTTP/1.1\r\n" + own + "\r\n", 404},
      {"GET /etc/passwd HTTP/1.1\r\n" + own + "\r\n", 404},
      {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n" + own + "\r\n", 431},
      {"GET / HTTP/1.1\r\n" + own + "X: " + std::string(200'000, 'a') + "\r\n\r\n", 431},
      {"hello\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n" + own + "\r\n", 400},
      {"GET / run HTTP/1.1\r\n" + own + "\r\n", 400},
      {"GET http://evil.example/ HTTP/1.1\r\n" + own + "\r\n", 400},
      {"GET / HTTP/1.1\r\n" + own + " folded\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + own + "X: a\x01\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + own + "X: a\nHost: evil\r\n\r\n", 400}};
  for (const auto& [request, status] : requests) {
    const auto answer = ask(request);
    EXPECT_EQ(answer.status, status) << request.substr(0, 100) << "\n" << answer.body.substr(0, 200);
    EXPECT_TRUE(contains(answer.head, "X-Content-Type-Options: nosniff"));
    EXPECT_FALSE(contains(answer.body, "root:"));
  }
  EXPECT_TRUE(contains(get("/", "", "POST").head, "Allow: GET, HEAD"));
}

TEST_F(Serve, AnswersGetAndHeadUnderItsTwoNamesWithItsPolicy) {
  start();
  const auto local = fmt::format("LocalHost:{}", port);
  for (const auto& answer : {get("/"), get("/", local), get("/?x=1")}) {
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(contains(answer.head, "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'"));
    EXPECT_TRUE(contains(answer.head, "frame-ancestors 'none'"));
    EXPECT_TRUE(contains(answer.head, "X-Content-Type-Options: nosniff"));
    EXPECT_TRUE(contains(answer.head, "Connection: close"));
    EXPECT_TRUE(contains(answer.head, fmt::format("Content-Length: {}\r\n", answer.body.size())));
    EXPECT_TRUE(contains(answer.body, "http-equiv=\"Content-Security-Policy\""));
  }
  const auto head = get("/", "", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_FALSE(contains(head.head, "Content-Length: 0\r\n"));
}

TEST_F(Serve, ListensOnLoopbackAlone) {
  start();
  std::ifstream table("/proc/net/tcp");
  if (!table)
    GTEST_SKIP() << "needs /proc/net/tcp to see where a port is listened on: run it on Linux with /proc mounted";
  const auto local = fmt::format(":{:04X} 00000000:0000 0A", port);
  size_t listeners = 0;
  for (std::string line; std::getline(table, line);)
    if (const auto at = line.find(local); at != std::string::npos && at >= 8) {
      EXPECT_EQ(line.substr(at - 8, 8), fmt::format("{:08X}", htonl(INADDR_LOOPBACK))) << line;
      ++listeners;
    }
  EXPECT_EQ(listeners, 1u);
}

TEST_F(Serve, FollowsNoLinkThatLeadsOutOfTheFolder) {
  test::write_sample(test::sample_run("control", 60), (folder / "outside").string());
  test::write_text(folder / "secret", "nobody must read this");
  std::filesystem::create_symlink(folder / "outside", runs("link"));
  std::filesystem::create_symlink("finished", runs("another-name"));
  test::write_sample(test::sample_run("control", 60), runs("leaking").string());
  std::filesystem::remove(runs("leaking") / "config.toml");
  std::filesystem::create_symlink("../../secret", runs("leaking") / "config.toml");
  start();
  const auto page = get("/").body;
  EXPECT_FALSE(contains(page, "/run/link\""));
  EXPECT_TRUE(contains(page, "/run/another-name\"")) << "a link within the folder is a name like others";
  EXPECT_TRUE(contains(page, "config.toml is a link that leads out of the folder"));
  EXPECT_EQ(get("/run/link").status, 404);
  EXPECT_FALSE(contains(get("/run/leaking").body, "nobody must read this"));
}

TEST_F(Serve, LetsASlowClientWaitForItselfAlone) {
  start();
  const auto begin = std::chrono::steady_clock::now();
  const Socket slow(port), silent(port);
  slow.send("GET / HT");
  EXPECT_EQ(get("/").status, 200);
  EXPECT_LT(since(begin), 4) << "answered before the slow ones were given up";
  EXPECT_EQ(slow.answer().status, 408);
  EXPECT_EQ(silent.answer().status, 408);
  EXPECT_GT(since(begin), 4);
  EXPECT_LT(since(begin), 15);
  // As many as it takes at a time, and then one more: it waits until the others are given up, and no longer.
  std::vector<std::unique_ptr<Socket>> crowd;
  for (int i = 0; i < 64; ++i) crowd.push_back(std::make_unique<Socket>(port));
  const auto later = std::chrono::steady_clock::now();
  EXPECT_EQ(get("/").status, 200);
  EXPECT_LT(since(later), 15);
}

TEST_F(Serve, EndsWithStatus0WhenAskedTo) {
  for (const int signal : {SIGINT, SIGTERM}) {
    start();
    const Socket open(port);
    EXPECT_EQ(get("/").status, 200);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(server->end(signal), 0);
    EXPECT_LT(since(begin), 3) << "a second, and what a busy machine adds";
    server.reset();
  }
}

TEST_F(Serve, SaysWhatIsWrong) {
  std::filesystem::create_directories(folder / "empty");
  const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto address = loopback(0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(taken, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(taken, 1), 0);
  ASSERT_EQ(::getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size), 0);
  struct Wrong {
    std::string flags;
    int status;
    std::string sentence;
  };
  const std::vector<Wrong> all = {
      {"--serve missing", 2, "needs a folder of runs, but there is no missing"},
      {"--serve empty", 2, "empty holds no run"},
      {"--serve runs/finished", 2, "runs/finished is one run; give the folder that holds it"},
      {"--serve runs other", 2, "takes no other ones, but got other"},
      {"--serve runs --port 70000", 2, "70000"},
      {fmt::format("--serve runs --port {}", ntohs(address.sin_port)), 1, "is in use by another program"}};
  for (const auto& [flags, status, sentence] : all) {
    const auto run = program("report " + flags, folder.path);
    EXPECT_EQ(run.status, status) << flags << run.err;
    EXPECT_TRUE(contains(run.err, sentence)) << flags << ": " << run.err;
  }
  ::close(taken);
  const auto unused = program("report runs/finished --html page.html --port 80 --reference finished", folder.path);
  EXPECT_EQ(unused.status, 0) << unused.err;
  EXPECT_TRUE(contains(unused.err, "--port had no effect: there is no --serve")) << unused.err;
  EXPECT_TRUE(contains(unused.err, "--reference had no effect: there is one run")) << unused.err;
}

TEST_F(Serve, TakesAFreePortWhereItsOwnIsInUseAndWarnsOfOptionsWithoutEffect) {
  const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto address = loopback(8000);
  const int on = 1;
  ::setsockopt(taken, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);  // as the program does
  // Where another program has it already, that does as well.
  if (::bind(taken, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    ASSERT_EQ(::listen(taken, 1), 0);
  }
  start({"--title", "unread"});
  EXPECT_NE(port, 8000);
  EXPECT_EQ(get("/").status, 200);
  EXPECT_TRUE(contains(text_of(folder / "err"), "--title had no effect: --serve writes no file"));
  ::close(taken);
}

TEST_F(Serve, ShowsARunThatGoesOnAndThatItWasKilled) {
  HPM_NEED_FASHION_MNIST();
  const auto model = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  const std::vector<std::string> evaluate = {"evaluate", "--quiet",   "--data", "fashion-mnist", "--eps",
                                             "0.1",      "--threads", "1",      "--model",       model};
  auto attack = evaluate;
  attack.insert(attack.end(),
                {"--protocol", "autoattack", "--checks", "none", "--count", "2000", "--out", runs("long").string()});
  Child run(attack, folder / "run-err");
  auto seen = nlohmann::json::object();
  const auto begin = std::chrono::steady_clock::now();
  while (seen.value("done", int64_t{0}) == 0 && since(begin) < 120) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    seen = nlohmann::json::parse(text_of(runs("long") / "progress.json"), nullptr, false);
    if (!seen.is_object()) seen = nlohmann::json::object();
  }
  EXPECT_EQ(seen.value("verb", ""), "evaluate") << text_of(folder / "run-err");
  EXPECT_EQ(seen.value("total", int64_t{0}) > 0, true) << seen;
  EXPECT_EQ(seen.value("running", false), true);
  EXPECT_LT(std::abs(seen.value("time", int64_t{0}) - static_cast<int64_t>(std::time(nullptr))), 60);
  start();
  EXPECT_TRUE(contains(get("/").body, ">running "));
  EXPECT_EQ(run.end(SIGKILL), 1000 + SIGKILL);
  EXPECT_TRUE(contains(get("/").body, ">stopped<"));

  auto clean = evaluate;
  clean.insert(clean.end(), {"--protocol", "clean", "--count", "5", "--overwrite", "--out", runs("long").string()});
  Child short_run(clean, folder / "run-err");
  EXPECT_EQ(short_run.end(0), 0) << text_of(folder / "run-err");
  EXPECT_EQ(test::read_json(runs("long") / "progress.json").value("running", true), false);
  const auto page = get("/").body;
  EXPECT_TRUE(contains(page, "clean on fashion-mnist"));
  EXPECT_TRUE(contains(get("/run/long").body, "No attack was run"));
}

TEST_F(Serve, KeepsProgressOfARunAmongItsFiles) {
  HPM_NEED_FASHION_MNIST();
  std::filesystem::create_directories(folder / "mine");
  test::write_text(folder / "mine/progress.json", "mine");
  const auto refused =
      program("evaluate --protocol clean --data fashion-mnist --count 5 --out mine --model '" +
                  (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string() + "'",
              folder.path);
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(contains(refused.err, "holds progress.json, which is of no run")) << refused.err;
  EXPECT_EQ(text_of(folder / "mine/progress.json"), "mine");
}

}  // namespace
}  // namespace hpm
