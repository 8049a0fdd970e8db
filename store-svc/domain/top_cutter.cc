#include "store-svc/domain/top_cutter.h"

namespace postern::store {

size_t TopCutter::Pass(absl::string_view piece) {
  size_t passed = 0;
  while (!done() && passed < piece.size()) {
    const size_t feed = piece.find('\n', passed);
    const absl::string_view rest = piece.substr(passed, feed - passed);
    line_is_empty_ = line_is_empty_ && (rest.empty() || rest == "\r");
    if (feed == absl::string_view::npos) return piece.size();
    passed = feed + 1;
    if (!in_header_) {
      --lines_left_;
    } else if (line_is_empty_) {
      in_header_ = false;
    }
    line_is_empty_ = true;
  }
  return passed;
}

}  // namespace postern::store
