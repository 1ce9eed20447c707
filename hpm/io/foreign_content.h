// defines: foreign_content(), refuse_foreign_content()
#pragma once
#include <string>

#include "hpm/io/bytes.h"

namespace hpm {

/// What lies in the place of a checkpoint or data file, told by its first bytes, and what to do: a Git LFS, git-annex
/// or DVC pointer, a web page, an XML or JSON answer of a server, nothing at all, a packed file (unless `packed` files
/// are read). "" for anything else.
std::string foreign_content(const ByteSource& source, bool packed = false);

/// Throws Error where foreign_content() knows what it is. Readers of binary files call it before they look closer.
void refuse_foreign_content(const ByteSource& source, bool packed = false);

}  // namespace hpm
