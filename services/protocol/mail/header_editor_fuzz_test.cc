#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/protocol/mail/header.h"
#include "services/protocol/mail/header_editor.h"

namespace {

constexpr absl::string_view kRemoved[] = {"Bcc"};
constexpr absl::string_view kTrace = "Received: by us\r\n";
constexpr absl::string_view kDate = "Date: ours\r\n";

std::string Edited(absl::string_view message, size_t piece) {
  postern::mail::HeaderEdits edits;
  edits.removed = kRemoved;
  edits.added = {{"Date", std::string(kDate)}};
  postern::mail::HeaderEditor editor(std::move(edits));
  std::string out(kTrace);
  for (; !message.empty(); message.remove_prefix(std::min(piece, message.size()))) {
    const size_t before = out.size();
    const size_t growth = editor.max_growth();
    const absl::string_view input = message.substr(0, piece);
    const absl::string_view body = editor.Edit(input, &out);
    absl::StrAppend(&out, body);
    if (out.size() - before > input.size() + growth) std::abort();
  }
  editor.End(&out);
  return out;
}

}  // namespace

// The first octet says how the rest is cut, which must not matter; our field stays ours alone.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string message(reinterpret_cast<const char*>(data) + 1, size - 1);
  message += "\r\n";
  const std::string edited = Edited(message, message.size());
  if (Edited(message, data[0] + 1) != edited) std::abort();
  // Bare ones are refused before.
  for (size_t i = 0; i < message.size(); ++i) {
    if (message[i] == '\r' && message[i + 1] != '\n') return 0;
    if (message[i] == '\n' && (i == 0 || message[i - 1] != '\r')) return 0;
  }
  const auto fields = postern::mail::ParseHeader(edited);
  if (fields.empty() || fields[0].value != " by us") std::abort();
  for (const postern::mail::HeaderField& field : fields) {
    if (absl::EqualsIgnoreCase(field.name, "Bcc")) std::abort();
  }
  return 0;
}
