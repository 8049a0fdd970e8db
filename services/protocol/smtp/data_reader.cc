#include "services/protocol/smtp/data_reader.h"

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/protocol/mail/header.h"

namespace postern::smtp {
namespace {

constexpr absl::string_view kReceived = "received:";

const char* Find(const char* begin, const char* end, char c) {
  return static_cast<const char*>(memchr(begin, c, end - begin));
}

}  // namespace

// A part of one line, CR and LF excluded (but a bare LF may be in it).
void DataReader::ScanLinePart(const char* begin, const char* end) {
  if (begin == end) return;
  if (Find(begin, end, '\n') != nullptr) Note(Defect::kBareLf);
  if (in_header_ && line_octets_ == matched_ && matched_ < kReceived.size()) {
    for (const char* p = begin; p < end && matched_ < kReceived.size(); ++p) {
      if (absl::ascii_tolower(static_cast<unsigned char>(*p)) != kReceived[matched_]) break;
      ++matched_;
    }
    // Ours comes on top of them.
    if (matched_ == kReceived.size() && ++received_fields_ >= mail::kMaxReceivedFields) {
      Note(Defect::kLoop);
      in_header_ = false;
    }
  }
  CountInLine(end - begin);
}

DataReader::Result DataReader::Decode(absl::Span<char> input) {
  char* const begin = input.data();
  const char* const end = begin + input.size();
  const char* p = begin;
  // What is kept is moved down over the dots that are not: [begin, out) is done, [run, p) follows.
  char* out = begin;
  const char* run = begin;
  const auto keep_run = [&] {
    if (out != run) memmove(out, run, p - run);
    out += p - run;
  };

  Result result;
  while (p < end) {
    if (at_line_start_) {
      if (*p == '.') {
        // RFC 5321 4.5.2: a line of one dot is the end, else its first dot goes.
        if (end - p < 2 || (p[1] == '\r' && end - p < 3)) break;
        if (p[1] == '\r' && p[2] == '\n') {
          keep_run();
          p += 3;
          run = p;
          result.end = true;
          break;
        }
        keep_run();
        run = ++p;
      }
      at_line_start_ = false;
      line_octets_ = 0;
      matched_ = 0;
    }
    const char* const cr = Find(p, end, '\r');
    ScanLinePart(p, cr != nullptr ? cr : end);
    p = cr != nullptr ? cr : end;
    if (end - p < 2) break;  // All is read, or the LF is still to come.
    if (p[1] == '\n') {
      p += 2;
      at_line_start_ = true;
      if (line_octets_ == 0) in_header_ = false;
    } else {
      Note(Defect::kBareCr);
      ++p;
      CountInLine(1);
    }
  }
  if (run != p) keep_run();

  result.consumed = p - begin;
  const size_t size = out - begin;
  octets_ += size;
  if (octets_ > max_octets_) Note(Defect::kTooLarge);
  if (size != 0 && memchr(begin, '\0', size) != nullptr) Note(Defect::kNul);
  if (defect_ == Defect::kNone) result.text = absl::string_view(begin, size);
  return result;
}

}  // namespace postern::smtp
