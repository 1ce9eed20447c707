// Compiles parts of fmt once for the whole library instead of in every file; empty where fmt is header-only.
#include <fmt/format.h>
#ifndef FMT_HEADER_ONLY
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template char decimal_point_impl<char>(locale_ref);
template thousands_sep_result<char> thousands_sep_impl<char>(locale_ref);
}  // namespace detail
FMT_END_NAMESPACE
#endif
