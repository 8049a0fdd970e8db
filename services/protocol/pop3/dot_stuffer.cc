#include "services/protocol/pop3/dot_stuffer.h"

#include "absl/strings/match.h"

namespace postern::pop3 {

void DotStuffer::Append(absl::string_view piece, std::string* output) {
  if (piece.empty()) return;
  output->reserve(output->size() + piece.size() + piece.size() / 64 + 8);
  // Only a dot after CRLF needs a hand, and CRLF may be split between two pieces.
  if (after_ == After::kCrLf && piece.front() == '.') output->push_back('.');
  if (after_ == After::kCr && absl::StartsWith(piece, "\n.")) {
    output->append("\n.");
    piece.remove_prefix(1);
  }
  size_t from = 0;
  for (size_t found; (found = piece.find("\r\n.", from)) != absl::string_view::npos;) {
    output->append(piece.data() + from, found + 2 - from);
    output->push_back('.');
    from = found + 2;
  }
  output->append(piece.data() + from, piece.size() - from);
  if (piece.back() == '\r') {
    after_ = After::kCr;
  } else if (piece.back() == '\n' &&
             (piece.size() > 1 ? piece[piece.size() - 2] == '\r' : after_ == After::kCr)) {
    after_ = After::kCrLf;
  } else {
    after_ = After::kOther;
  }
}

void DotStuffer::Finish(std::string* output) {
  output->append(after_ == After::kCrLf ? ".\r\n" : "\r\n.\r\n");
}

}  // namespace postern::pop3
