// Runs LLVMFuzzerTestOneInput over every file in the given files and folders: how a fuzz target's
// corpus is replayed where there is no libFuzzer. Fails when there is no file at all.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

bool Replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string octets((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  // Named before it runs: a crash then tells which.
  std::fprintf(stderr, "replay %s (%zu octets)\n", path.c_str(), octets.size());
  // Memory of exactly this size, so that a sanitizer sees one octet too far.
  const std::vector<uint8_t> input(octets.begin(), octets.end());
  LLVMFuzzerTestOneInput(input.data(), input.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  size_t replayed = 0;
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path path = argv[i];
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      if (!Replay(path)) return 1;
      ++replayed;
      continue;
    }
    for (std::filesystem::recursive_directory_iterator it(path, error), end; it != end;
         it.increment(error)) {
      if (error) break;
      if (!it->is_regular_file()) continue;
      if (!Replay(it->path())) return 1;
      ++replayed;
    }
    if (error) {
      std::fprintf(stderr, "cannot list %s: %s\n", path.c_str(), error.message().c_str());
      return 1;
    }
  }
  if (replayed == 0) {
    std::fprintf(stderr, "nothing to replay\n");
    return 1;
  }
  return 0;
}
