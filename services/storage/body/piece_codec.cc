#include "services/storage/body/piece_codec.h"

#include <zstd.h>

#include <memory>

#include "absl/status/status.h"
#include "services/body/piece.h"

namespace postern::storage {
namespace {

// Higher levels gain little on mail (text and base64) and cost several times the CPU.
constexpr int kZstdLevel = 1;

// A context holds tables of some hundred KiB that are dear to make for a small piece.
template <typename Context, Context* (*Make)(), size_t (*Free)(Context*)>
Context* ThreadsContext() {
  struct Deleter {
    void operator()(Context* context) const { Free(context); }
  };
  thread_local std::unique_ptr<Context, Deleter> context(Make());
  return context.get();
}

}  // namespace

CompressedPiece CompressPiece(absl::string_view piece) {
  CompressedPiece result;
  result.original_octets = static_cast<uint32_t>(piece.size());
  ZSTD_CCtx* context = ThreadsContext<ZSTD_CCtx, &ZSTD_createCCtx, &ZSTD_freeCCtx>();
  size_t size = 0;
  if (context != nullptr && piece.size() > 1) {
    // A frame that is not smaller than the piece does not fit, which is how it is known.
    result.octets.resize(piece.size() - 1);
    size = ZSTD_compressCCtx(context, result.octets.data(), result.octets.size(), piece.data(),
                             piece.size(), kZstdLevel);
    if (ZSTD_isError(size)) size = 0;
  }
  if (size == 0) {
    result.octets.assign(piece.data(), piece.size());
  } else {
    result.octets.resize(size);
  }
  return result;
}

absl::StatusOr<std::string> DecompressPiece(absl::string_view stored, int64_t original_octets) {
  if (original_octets == static_cast<int64_t>(stored.size())) return std::string(stored);
  // What the file says is checked before memory is taken for it.
  if (original_octets < 0 || original_octets > int64_t{kMaxPieceOctets}) {
    return absl::DataLossError("a body's piece has an impossible length");
  }
  std::string piece(original_octets, '\0');
  ZSTD_DCtx* context = ThreadsContext<ZSTD_DCtx, &ZSTD_createDCtx, &ZSTD_freeDCtx>();
  if (context == nullptr) return absl::ResourceExhaustedError("no memory to decompress");
  const size_t size =
      ZSTD_decompressDCtx(context, piece.data(), piece.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) || size != piece.size()) {
    return absl::DataLossError("a body's piece does not decompress");
  }
  return piece;
}

}  // namespace postern::storage
