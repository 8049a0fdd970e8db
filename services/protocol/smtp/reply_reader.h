// A server's octets to replies (RFC 5321 4.2), for the client.
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_READER_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_READER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace postern::smtp {

struct ReceivedReply {
  int code = 0;
  // Of the first line that has one.
  std::string enhanced;
  // Each without code and enhanced code, octets that are not printable ASCII as '?'.
  std::vector<std::string> lines;

  // In one line of at most 500 octets.
  std::string Text() const;
};

// A bare LF ends a line too: some servers write it (RFC 5321 2.3.8 forbids it), others' clients
// read it, and no message can be smuggled in a reply. Memory: one reply of at most 64 KiB.
class ReplyReader {
 public:
  enum class Status {
    kIncomplete,
    kReply,
    // Not SMTP, or more than anyone has to listen to. Nothing can follow.
    kBroken,
  };

  void Append(absl::string_view octets);
  Status Next(ReceivedReply& reply);
  // Nothing was received but what Next gave.
  bool empty() const { return input_.empty() && reply_.lines.empty(); }

 private:
  bool TakeLine(absl::string_view line, bool& last);

  std::string input_;
  // Octets of input_ that have no line end in them.
  size_t scanned_ = 0;
  size_t octets_ = 0;
  ReceivedReply reply_;
};

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_READER_H_
