#include "services/protocol/smtp/reply.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace postern::smtp {
namespace {

// With code and enhanced code under the 512 octets of RFC 5321 4.5.3.1.5.
constexpr size_t kMaxText = 400;

void AppendText(std::string& out, absl::string_view text) {
  for (const char c : text.substr(0, kMaxText)) {
    // RFC 5321 4.2: textstring = 1*(%d09 / %d32-126).
    out.push_back(c == '\t' || (c >= ' ' && c <= '~') ? c : '?');
  }
}

}  // namespace

std::string Reply::ToWire() const {
  std::string wire;
  AppendReply(wire, code, enhanced, text);
  return wire;
}

Reply TooManyRecipients() { return {452, "4.5.3", "Too many recipients"}; }

void AppendReply(std::string& out, int code, absl::string_view enhanced, absl::string_view text) {
  absl::StrAppend(&out, code, " ");
  if (!enhanced.empty()) {
    AppendText(out, enhanced);
    out.push_back(' ');
  }
  AppendText(out, text);
  out.append("\r\n");
}

}  // namespace postern::smtp
