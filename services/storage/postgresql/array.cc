#include "services/storage/postgresql/array.h"

#include <cstddef>

namespace postern::storage::postgresql {
namespace {

// array_recv (src/backend/utils/adt/arrayfuncs.c): dimensions, whether NULLs are among them, the
// elements' type, then size and lower bound of each dimension.
constexpr size_t kSizeAt = 12;

template <typename Number>
void AppendBigEndian(Number number, std::string* to) {
  for (int shift = static_cast<int>(sizeof(Number)) * 8 - 8; shift >= 0; shift -= 8) {
    to->push_back(static_cast<char>(number >> shift));
  }
}

}  // namespace

Array::Array(int32_t element_type) {
  for (const int32_t number : {1, 0, element_type, 0, 1}) AppendBigEndian(number, &octets_);
}

void Array::Add(absl::string_view octets) {
  AppendBigEndian(static_cast<int32_t>(octets.size()), &octets_);
  octets_.append(octets.data(), octets.size());
  std::string size;
  AppendBigEndian(++size_, &size);
  octets_.replace(kSizeAt, size.size(), size);
}

void Array::Add(int64_t number) {
  std::string octets;
  AppendBigEndian(number, &octets);
  Add(octets);
}

}  // namespace postern::storage::postgresql
