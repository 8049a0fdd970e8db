#include "services/rpc/call_context.h"

#include <algorithm>
#include <string>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace postern::rpc {
namespace {

constexpr size_t kTraceDigits = 32;
constexpr size_t kParentDigits = 16;
// "00-" trace "-" parent "-" flags
constexpr size_t kHeaderLength = 2 + 1 + kTraceDigits + 1 + kParentDigits + 1 + 2;

// W3C Trace Context 3.2.2: lower case only, and all zero is invalid.
bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(absl::string_view text) {
  return IsHex(text) && text.find_first_not_of('0') != absl::string_view::npos;
}

// Ids need to be distinct, not secret.
std::string RandomHex64() {
  thread_local absl::InsecureBitGen random;
  const uint64_t value = absl::Uniform<uint64_t>(absl::IntervalClosed, random, 1, ~uint64_t{0});
  return absl::StrCat(absl::Hex(value, absl::kZeroPad16));
}

}  // namespace

TraceContext TraceContext::New() {
  return {absl::StrCat(RandomHex64(), RandomHex64()), RandomHex64()};
}

TraceContext TraceContext::Within(absl::string_view trace_id) {
  return trace_id.empty() ? New() : TraceContext{std::string(trace_id), RandomHex64()};
}

TraceContext TraceContext::FromHeader(absl::string_view traceparent) {
  // W3C Trace Context 3.2: version 00 has exactly this length; a later version may append "-...",
  // version ff is invalid.
  if (traceparent.size() < kHeaderLength || !IsHex(traceparent.substr(0, 2)) ||
      traceparent.substr(0, 2) == "ff" ||
      (traceparent.substr(0, 2) == "00" && traceparent.size() != kHeaderLength) ||
      (traceparent.size() > kHeaderLength && traceparent[kHeaderLength] != '-') ||
      traceparent[2] != '-' || traceparent[3 + kTraceDigits] != '-' ||
      traceparent[4 + kTraceDigits + kParentDigits] != '-' ||
      !IsHex(traceparent.substr(kHeaderLength - 2, 2))) {
    return New();
  }
  const absl::string_view trace_id = traceparent.substr(3, kTraceDigits);
  const absl::string_view parent_id = traceparent.substr(4 + kTraceDigits, kParentDigits);
  if (!IsId(trace_id) || !IsId(parent_id)) {
    return New();
  }
  return {std::string(trace_id), std::string(parent_id)};
}

std::string TraceContext::ToHeader() const {
  return absl::StrCat("00-", trace_id, "-", parent_id, "-01");
}

}  // namespace postern::rpc
