#include "services/protocol/smtp/reply_reader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace postern::smtp {
namespace {

// RFC 5321 4.5.3.1.5 has 512; servers that write more are understood all the same.
constexpr size_t kMaxLine = 4096;
constexpr size_t kMaxReply = 64 << 10;
constexpr size_t kMaxText = 500;

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// RFC 3463 2 at the start of `text`: its size, 0 when there is none.
size_t EnhancedCodeSize(absl::string_view text) {
  if (text.size() < 5 || absl::string_view("245").find(text[0]) == absl::string_view::npos) {
    return 0;
  }
  size_t i = 1;
  for (int part = 0; part < 2; ++part) {
    if (i >= text.size() || text[i] != '.') return 0;
    const size_t begin = ++i;
    while (i < text.size() && IsDigit(text[i])) ++i;
    if (i == begin || i > begin + 3) return 0;
  }
  return i == text.size() || text[i] == ' ' ? i : 0;
}

}  // namespace

std::string ReceivedReply::Text() const {
  std::string text = absl::StrJoin(lines, " ");
  if (text.size() > kMaxText) text.resize(kMaxText);
  return text;
}

void ReplyReader::Append(absl::string_view octets) { input_.append(octets.data(), octets.size()); }

ReplyReader::Status ReplyReader::Next(ReceivedReply& reply) {
  size_t begin = 0;
  Status status = Status::kIncomplete;
  while (status == Status::kIncomplete) {
    const size_t lf = input_.find('\n', std::max(begin, scanned_));
    if (lf == std::string::npos) {
      scanned_ = input_.size() - begin;
      if (scanned_ > kMaxLine) status = Status::kBroken;
      break;
    }
    const absl::string_view line = absl::string_view(input_).substr(begin, lf - begin);
    begin = lf + 1;
    bool last = false;
    octets_ += line.size();
    if (line.size() > kMaxLine || octets_ > kMaxReply ||
        !TakeLine(absl::StripSuffix(line, "\r"), last)) {
      status = Status::kBroken;
    } else if (last) {
      scanned_ = 0;
      octets_ = 0;
      reply = std::exchange(reply_, ReceivedReply());
      status = Status::kReply;
    }
  }
  input_ = input_.substr(begin);
  return status;
}

bool ReplyReader::TakeLine(absl::string_view line, bool& last) {
  if (line.size() < 3 || line[0] < '2' || line[0] > '5' || !IsDigit(line[1]) || !IsDigit(line[2])) {
    return false;
  }
  const int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
  last = line.size() == 3 || line[3] == ' ';
  if (!last && line[3] != '-') return false;
  if (!reply_.lines.empty() && code != reply_.code) return false;
  reply_.code = code;
  absl::string_view text = line.substr(line.size() == 3 ? 3 : 4);
  if (const size_t size = EnhancedCodeSize(text); size > 0 && text[0] == line[0]) {
    if (reply_.enhanced.empty()) reply_.enhanced = std::string(text.substr(0, size));
    text.remove_prefix(size < text.size() ? size + 1 : size);
  }
  std::string& kept = reply_.lines.emplace_back(text);
  for (char& c : kept) {
    if (c < ' ' || c > '~') c = '?';
  }
  return true;
}

}  // namespace postern::smtp
