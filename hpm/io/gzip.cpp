#include "hpm/io/gzip.h"

#include <zlib.h>

#include <vector>

#include "hpm/io/file.h"

namespace hpm {

Bytes gunzip_file(const std::string& path, uint64_t limit) {
  { const FileSource exists(path); }  // its message if the file cannot be read
  gzFile file = gzopen(path.c_str(), "rb");
  if (!file) fail("{}: cannot be opened", path);
  std::unique_ptr<gzFile_s, int (*)(gzFile)> guard(file, gzclose);
  std::string content;
  std::vector<char> buffer(1 << 20);
  for (int count; (count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) != 0;) {
    int code = 0;
    if (count < 0)
      fail("{}: is no intact gzip file ({}) (at byte {}); get it anew", path, gzerror(file, &code), gzoffset(file));
    content.append(buffer.data(), static_cast<size_t>(count));
    if (content.size() > limit)
      fail("{}: holds over {} bytes; this is none of the known data sets (at byte {})", path, limit, gzoffset(file));
  }
  int code = Z_OK;
  const char* message = gzerror(file, &code);
  if (code != Z_OK && code != Z_STREAM_END)
    fail("{}: ends early ({}) (at byte {}); get it anew", path, message, gzoffset(file));
  return Bytes(std::as_bytes(std::span(content)));
}

}  // namespace hpm
