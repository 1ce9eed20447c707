// Run directories that somebody made to hurt: what is read of them is refused with a sentence, or shown as text.
#include <nlohmann/json.hpp>

#include <limits>

#include "hpm/core/error.h"
#include "hpm/io/safetensors.h"
#include "report/hostile.h"
#include "report/tools.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A run directory with a gallery of eight images.
class HostileRun : public testing::Test {
 protected:
  void SetUp() override { test::write_sample(run, folder.path.string()); }

  std::string page() {
    write_report({folder.path.string()}, (folder / "report.html").string());
    return test::read_text(folder / "report.html");
  }
  std::string refusal() {
    return test::message_of<Error>([&] { page(); });
  }
  /// gallery.safetensors with this header and so many bytes of zeros behind it.
  void write_gallery(const std::string& header, size_t bytes) {
    const uint64_t size = header.size();
    std::string text(sizeof size, '\0');
    for (size_t i = 0; i < sizeof size; ++i) text[i] = static_cast<char>(size >> (8 * i) & 0xFF);
    test::write_text(folder / "gallery.safetensors", text + header + std::string(bytes, '\0'));
  }
  /// Both tensors of one shape.
  void write_gallery_of(const std::vector<int64_t>& shape, size_t bytes_of_each, const std::string& type = "F32") {
    const auto entry = [&](size_t begin) {
      return Json{{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, begin + bytes_of_each}}};
    };
    write_gallery(Json{{"original", entry(0)}, {"adversarial", entry(bytes_of_each)}}.dump(), 2 * bytes_of_each);
  }

  test::TemporaryFolder folder;
  RunFiles run = test::sample_run("hpm", 60);
};

TEST_F(HostileRun, WithPixelsThatAreNoNumbersStillMakesASoundPage) {
  HPM_NEED_PYTHON();
  ASSERT_EQ(run.gallery.count, 8);
  const float values[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max(), -1e30F};
  for (size_t i = 0; i < run.gallery.original.size(); i += 3) run.gallery.original[i] = values[i % 5];
  for (size_t i = 1; i < run.gallery.adversarial.size(); i += 3) run.gallery.adversarial[i] = values[i % 5];
  test::write_sample(run, folder.path.string());
  page();
  EXPECT_EQ(test::page_check("page", folder / "report.html").substr(0, 3), "ok ");
}

TEST_F(HostileRun, WithAGalleryOfImpossibleShapesIsRefused) {
  constexpr int64_t kHuge = int64_t{1} << 32;
  const std::vector<std::vector<int64_t>> empty = {{kHuge, kHuge, 0, 1}, {8, 1, 0, 28},    {8, 1, 28, 0},
                                                   {8, 0, 28, 28},       {8, 3, 0, kHuge}, {int64_t{1} << 62, 0, 4, 4}};
  for (const auto& shape : empty) {
    write_gallery_of(shape, 0);
    const auto message = refusal();
    EXPECT_TRUE(contains(message, "gallery")) << text_of_shape(shape) << ": " << message;
  }
  write_gallery_of({8, 1, 20000, 1}, 8 * 20000 * 4);
  EXPECT_TRUE(contains(refusal(), "sides of 1 to 16384 pixels")) << "more than a PNG holds";
  write_gallery_of({8, 2, 4, 4}, 8 * 2 * 16 * 4);
  EXPECT_TRUE(contains(refusal(), "needs 1 or 3 channels"));
  write_gallery_of({7, 1, 4, 4}, 7 * 16 * 4);
  EXPECT_TRUE(contains(refusal(), "needs 8 images"));
  write_gallery_of({8, 1, 4, 4}, 8 * 16 * 8, "F64");
  EXPECT_TRUE(contains(refusal(), "needs float32 [G,C,H,W]"));
  write_gallery_of({8, 1, 16}, 8 * 16 * 4);
  EXPECT_TRUE(contains(refusal(), "needs float32 [G,C,H,W]"));
}

TEST_F(HostileRun, WithAGalleryThatLiesAboutItsSizeIsRefused) {
  write_gallery_of({int64_t{1} << 40, 3, 224, 224}, 64);
  EXPECT_TRUE(contains(refusal(), "gallery.safetensors"));
  write_gallery(R"({"original":{"dtype":"F32","shape":[8,1,4,4],"data_offsets":[0,512]},)"
                R"("adversarial":{"dtype":"F32","shape":[8,1,2,8],"data_offsets":[512,1024]}})",
                1024);
  EXPECT_TRUE(contains(refusal(), "of one shape, but they have [8, 1, 4, 4] and [8, 1, 2, 8]"));
  write_gallery(R"({"original":{"dtype":"F32","shape":[8,1,4,4],"data_offsets":[0,512]}})", 512);
  EXPECT_TRUE(contains(refusal(), "needs both"));
  test::write_text(folder / "gallery.safetensors", std::string(8, '\xff') + "{}");
  EXPECT_TRUE(contains(refusal(), "gallery.safetensors"));
}

TEST_F(HostileRun, IsNotReadBeyondWhatThePageShows) {
  const auto before = page();
  test::write_text(folder / "verdicts.safetensors", std::string(8, '\xff') + "{\"no\": [such, file");
  test::write_text(folder / "adversarial.safetensors", "nothing");
  test::write_text(folder / "events.jsonl", "<script>");
  EXPECT_EQ(page(), before);
}

TEST_F(HostileRun, NestedWithoutEndIsRefusedAndEndsNothing) {
  const auto deep = std::string(200'000, '[') + std::string(200'000, ']');
  test::write_text(folder / "environment.json", "{\"a\": " + deep + "}");
  EXPECT_TRUE(contains(refusal(), "environment.json: needs JSON of at most 64 levels"));
  auto results = run.results.dump();
  results.insert(1, "\"config\": " + deep + ",");
  test::write_text(folder / "results.json", results);
  EXPECT_TRUE(contains(refusal(), "results.json: needs JSON of at most 64 levels"));
}

TEST_F(HostileRun, WithCountsAndAccuraciesThatCannotBeIsRefused) {
  const auto with = [&](const char* pointer, const Json& value) {
    auto results = run.results;
    results[Json::json_pointer(pointer)] = value;
    test::write_text(folder / "results.json", results.dump());
    return refusal();
  };
  EXPECT_TRUE(contains(with("/model_info/classes", 9'000'000'000), "classes"));
  EXPECT_TRUE(
      contains(with("/attacks/0/forward_passes", std::numeric_limits<int64_t>::max()), "which no count of a run"));
  EXPECT_TRUE(contains(with("/contexts/0/robust_accuracy", 1e300), "needs a percentage from 0 to 100"));
  EXPECT_TRUE(contains(with("/contexts/1/control/robust_accuracy", -3), "needs a percentage from 0 to 100"));
}

TEST_F(HostileRun, WithMoreWinsThanImagesIsRefused) {
  auto results = run.results;
  for (auto& context : results["contexts"])
    context["control"]["wins"] = 900'000'000'000, context["control"]["losses"] = 900'000'000'000,
    context["control"].erase("smallest_detectable");
  test::write_text(folder / "results.json", results.dump());
  EXPECT_TRUE(contains(refusal(), "need to be of the 60 images")) << "no sum over what a file merely claims";
}

TEST_F(HostileRun, WithASeedOfSixtyFourBitsIsAnOrdinaryOne) {
  auto results = run.results;
  results["seed"] = results["company"]["seed"] = std::numeric_limits<uint64_t>::max();
  test::write_text(folder / "results.json", results.dump());
  EXPECT_TRUE(contains(page(), "18446744073709551615"));
}

TEST_F(HostileRun, WithARadiusThatIsHardlyANumberIsShown) {
  for (const double eps : {5e-324, 1e-310, 1.2345e300}) {
    auto results = run.results;
    results["eps"] = eps, results["curve"][0]["eps"] = eps;
    test::write_text(folder / "results.json", results.dump());
    EXPECT_TRUE(contains(page(), "</html>")) << eps;
  }
}

/// Pointers to the values of a document; of lists to those in the first and the last element.
void collect_pointers(const Json& json, const Json::json_pointer& at, std::vector<Json::json_pointer>& out) {
  out.push_back(at);
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) collect_pointers(value, at / key, out);
  } else if (json.is_array() && !json.empty()) {
    collect_pointers(json.front(), at / size_t{0}, out);
    if (json.size() > 1) collect_pointers(json.back(), at / (json.size() - 1), out);
  }
}

/// Puts every hostile value in every place: each run is refused with an Error or makes a page without a script.
void expect_error_or_page(const RunFiles& run) {
  const std::vector<Json> values = {nullptr, -1, 1e300, 999'999'999'999, "<script>x</script>", Json::object()};
  std::vector<Json::json_pointer> pointers;
  collect_pointers(run.results, Json::json_pointer(), pointers);
  int pages = 0, refused = 0;
  for (const auto& pointer : pointers)
    for (const auto& value : values) {
      auto damaged = run;
      damaged.results[pointer] = value;
      try {
        const auto page = make_report({damaged});
        EXPECT_FALSE(contains(page, "<script")) << pointer.to_string() << " = " << value;
        ++pages;
      } catch (const Error&) {
        ++refused;
      } catch (const std::exception& error) {
        ADD_FAILURE() << pointer.to_string() << " = " << value << ": " << error.what();
      }
    }
  EXPECT_GT(pages, 20);
  EXPECT_GT(refused, 20);
}

TEST(HostileResults, AreRefusedOrShownWhateverStandsInWhicheverPlace) {
  auto run = test::sample_run("hpm", 12);
  run.gallery = {};
  run.results["config"] = {{"run", {{"seed", 1}}}};
  // One context has everything that the others have too.
  auto& contexts = run.results["contexts"];
  contexts.erase(1), contexts.erase(1);
  expect_error_or_page(run);
}

TEST(HostileResults, OfAStudyAreRefusedOrShownLikewise) { expect_error_or_page(test::sample_study()); }

}  // namespace
}  // namespace hpm
