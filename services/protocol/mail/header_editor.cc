#include "services/protocol/mail/header_editor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "services/protocol/mail/header.h"

namespace postern::mail {
namespace {

constexpr absl::string_view kMailboxLine = "X-Mailbox-Line: ";
constexpr absl::string_view kEmptyLine = "\r\n";

// Some mailboxes have it quoted.
bool BeginsMailboxLine(absl::string_view start) {
  while (absl::ConsumePrefix(&start, ">")) {
  }
  return absl::StartsWith(start, "From ");
}

}  // namespace

HeaderEditor::HeaderEditor(HeaderEdits edits)
    : added_(std::move(edits.added)), removed_(edits.removed) {
  for (const HeaderEdits::Addition& addition : added_) added_octets_ += addition.field.size();
}

size_t HeaderEditor::max_growth() const {
  if (part_ == Part::kBody) return 0;
  return name_.size() + kMailboxLine.size() + added_octets_ + kEmptyLine.size();
}

absl::string_view HeaderEditor::Edit(absl::string_view input, std::string* out) {
  while (part_ != Part::kBody && !input.empty()) {
    if (part_ == Part::kLineStart) {
      const bool continues = IsBlank(input.front());
      if (input.front() == '\r' || (continues && !in_field_)) {
        EndSection(continues, out);
        break;
      }
      part_ = continues ? Part::kRest : Part::kName;
    }
    if (part_ == Part::kName) {
      if (!TakeName(&input)) break;
      part_ = Part::kRest;
      if (input.front() == ':' && !name_.empty()) {
        BeginField();
      } else if (first_line_ && BeginsMailboxLine(name_)) {
        out->append(kMailboxLine.data(), kMailboxLine.size());
      } else {
        EndSection(!kept_field_, out);
      }
      if (keep_) out->append(name_);
      name_.clear();
      first_line_ = false;
      continue;
    }
    const size_t end = input.find('\n');
    const size_t size = end == absl::string_view::npos ? input.size() : end + 1;
    if (keep_) out->append(input.data(), size);
    input.remove_prefix(size);
    if (end != absl::string_view::npos) part_ = Part::kLineStart;
  }
  return input;
}

void HeaderEditor::End(std::string* out) {
  if (part_ != Part::kBody) EndSection(/*empty_line=*/false, out);
}

bool HeaderEditor::TakeName(absl::string_view* input) {
  for (; !input->empty(); input->remove_prefix(1)) {
    const char c = input->front();
    // RFC 5322 4.5: white space before the colon is obsolete, and read.
    const bool blank_before = !name_.empty() && IsBlank(name_.back());
    const bool in_name = IsBlank(c) || (IsFieldNameOctet(c) && !blank_before);
    if (!in_name || name_.size() == kMaxFieldNameOctets) return true;
    name_.push_back(c);
  }
  return false;
}

void HeaderEditor::BeginField() {
  absl::string_view name = name_;
  while (IsBlank(name.back())) name.remove_suffix(1);
  const auto is_name = [name](absl::string_view other) {
    return absl::EqualsIgnoreCase(name, other);
  };
  keep_ = std::none_of(removed_.begin(), removed_.end(), is_name);
  in_field_ = true;
  kept_field_ = kept_field_ || keep_;
  for (HeaderEdits::Addition& addition : added_) {
    if (is_name(addition.name)) addition.field.clear();
  }
}

void HeaderEditor::EndSection(bool empty_line, std::string* out) {
  for (const HeaderEdits::Addition& addition : added_) out->append(addition.field);
  if (empty_line) out->append(kEmptyLine.data(), kEmptyLine.size());
  part_ = Part::kBody;
  keep_ = true;
}

}  // namespace postern::mail
