#include "services/protocol/smtp/command_reader.h"

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace postern::smtp {
namespace {

// All with CRLF. RFC 5321 4.5.3.1.4.
constexpr size_t kCommandLimit = 512;
// SIZE, BODY, SMTPUTF8 and AUTH lengthen it (RFC 1870 3, RFC 6152 2, RFC 6531 3.4, RFC 4954 3).
constexpr size_t kMailLimit = 1024;
// RFC 4954 4 (of its base64; the command's name is not counted closely).
constexpr size_t kAuthLimit = 12288;
constexpr size_t kSwallowLimit = 64 << 10;

size_t LineLimit(absl::string_view line, bool authenticating, bool auth) {
  if (authenticating) return kAuthLimit;
  if (absl::StartsWithIgnoreCase(line, "MAIL ")) return kMailLimit;
  if (auth && absl::StartsWithIgnoreCase(line, "AUTH ")) return kAuthLimit;
  return kCommandLimit;
}

}  // namespace

CommandReader::Result CommandReader::Read(absl::string_view input, bool authenticating, bool auth) {
  const size_t lf = input.find('\n', scanned_);
  const size_t cr = input.substr(0, lf).find('\r', scanned_);
  const bool has_lf = lf != absl::string_view::npos;
  const bool has_cr = cr != absl::string_view::npos;
  const bool crlf = has_lf && has_cr && cr + 1 == lf;
  if (!crlf && (has_lf || (has_cr && cr + 1 < input.size()))) {
    return {Status::kBroken, input.size(), {}};
  }
  const size_t octets = crlf ? lf + 1 : input.size();
  if (swallowed_ + octets > kSwallowLimit) return {Status::kBroken, input.size(), {}};
  const bool too_long = swallowed_ > 0 || octets > LineLimit(input, authenticating, auth);
  if (crlf) {
    scanned_ = 0;
    swallowed_ = 0;
    if (too_long) return {Status::kTooLong, octets, {}};
    const absl::string_view line = input.substr(0, cr);
    if (line.find('\0') != absl::string_view::npos) return {Status::kNul, octets, {}};
    return {Status::kLine, octets, line};
  }
  // A CR at the end may be half of CRLF.
  const size_t whole = has_cr ? cr : input.size();
  if (!too_long) {
    scanned_ = whole;
    return {};
  }
  scanned_ = 0;
  swallowed_ += whole;
  return {Status::kIncomplete, whole, {}};
}

}  // namespace postern::smtp
