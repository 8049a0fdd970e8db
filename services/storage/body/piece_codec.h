// How a body's piece is stored, in whatever database: a zstd frame, or raw when that is not
// smaller.
#ifndef POSTERN_SERVICES_STORAGE_BODY_PIECE_CODEC_H_
#define POSTERN_SERVICES_STORAGE_BODY_PIECE_CODEC_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::storage {

// A piece made ready off the writer thread. Raw when `octets` has `original_octets`.
struct CompressedPiece {
  std::string octets;
  uint32_t original_octets = 0;
};
CompressedPiece CompressPiece(absl::string_view piece);

// What was stored, as it was. DATA_LOSS: it can't have been.
absl::StatusOr<std::string> DecompressPiece(absl::string_view stored, int64_t original_octets);

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_BODY_PIECE_CODEC_H_
