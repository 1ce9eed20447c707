#include <png.h>

#include <csetjmp>
#include <cstring>
#include <vector>

#include "hpm/io/image_impl.h"

namespace hpm {
namespace {

/// What the callbacks of libpng see. It has no destructor, so that setjmp may leave through it.
struct Decoding {
  const std::byte* data = nullptr;
  size_t size = 0, offset = 0;
  char message[200] = "";
};

void on_error(png_structp png, png_const_charp text) {
  auto* state = static_cast<Decoding*>(png_get_error_ptr(png));
  std::strncpy(state->message, text, sizeof state->message - 1);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, size_t count) {
  auto* state = static_cast<Decoding*>(png_get_io_ptr(png));
  if (count > state->size - state->offset) png_error(png, "the file ends early");
  std::memcpy(out, state->data + state->offset, count);
  state->offset += count;
}

/// The header, and the conversion to RGB of 8 bits. False on an error.
bool start(png_structp png, png_infop info, Decoding& state) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_read_fn(png, &state, on_read);
  png_set_user_limits(png, kLargestSide, kLargestSide);
  png_set_chunk_malloc_max(png, 8 << 20);
  png_set_chunk_cache_max(png, 128);
  png_read_info(png, info);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

/// All rows, and the end with its checksums. False on an error.
bool finish(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

}  // namespace

Picture decode_png(const ByteSource& source, std::span<const std::byte> file) {
  Decoding state{.data = file.data(), .size = file.size()};
  Reader reader;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &state, on_error, on_warning);
  reader.info = reader.png ? png_create_info_struct(reader.png) : nullptr;
  if (!reader.info) source.fail_at(0, "libpng cannot start");
  if (!start(reader.png, reader.info, state)) source.fail_at(state.offset, "is no intact PNG file: {}", state.message);
  auto picture =
      make_picture(source, png_get_image_width(reader.png, reader.info), png_get_image_height(reader.png, reader.info));
  const size_t row = static_cast<size_t>(picture.width) * 3;
  if (png_get_rowbytes(reader.png, reader.info) != row) source.fail_at(0, "a PNG file that cannot be made RGB");
  std::vector<png_bytep> rows(static_cast<size_t>(picture.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = reinterpret_cast<png_bytep>(picture.pixels.data() + y * row);
  if (!finish(reader.png, rows.data())) source.fail_at(state.offset, "is no intact PNG file: {}", state.message);
  return picture;
}

std::string png_library() { return std::string("libpng ") + png_get_libpng_ver(nullptr); }

}  // namespace hpm
