// POP3's TOP (RFC 1939, 7) over a message that comes in pieces.
#ifndef POSTERN_STORE_SVC_DOMAIN_TOP_CUTTER_H_
#define POSTERN_STORE_SVC_DOMAIN_TOP_CUTTER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace postern::store {

// Passes the header, the empty line and `body_lines` lines of the body. One message; one thread.
class TopCutter {
 public:
  explicit TopCutter(uint32_t body_lines) : lines_left_(body_lines) {}

  // How many octets of the next piece belong to the answer.
  size_t Pass(absl::string_view piece);
  // True: nothing that follows belongs to it.
  bool done() const { return !in_header_ && lines_left_ == 0; }

 private:
  uint32_t lines_left_;
  bool in_header_ = true;
  // Of the line that is being passed, before this piece: whether it is empty so far, but for a CR.
  bool line_is_empty_ = true;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_TOP_CUTTER_H_
