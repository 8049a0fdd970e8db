// What a server changes in the header section of a message that it takes, as it streams by.
#ifndef POSTERN_SERVICES_PROTOCOL_MAIL_HEADER_EDITOR_H_
#define POSTERN_SERVICES_PROTOCOL_MAIL_HEADER_EDITOR_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace postern::mail {

struct HeaderEdits {
  struct Addition {
    absl::string_view name;
    // All of it, with its CRLF.
    std::string field;
  };
  // Names of the fields that go, in any case of letters, with all lines of each.
  absl::Span<const absl::string_view> removed;
  // At the end of the section, where it has no field of the name.
  std::vector<Addition> added;
};

// One message, behind trace fields that are put before it (RFC 5321 4.4). Lines end in CRLF alone;
// a message with a bare CR or LF is the caller's to refuse.
//
// The section ends at the first line that is neither a field nor the continuation of one
// (RFC 5322 2.2). Where no field of the message's own stands before that line, an empty line does
// in the end: what a stranger wrote as text is body, and continues no field of ours. Otherwise the
// line stays as it is. The line "From ..." of a Unix mailbox (RFC 4155) at the very start becomes
// the field X-Mailbox-Line, as with Postfix.
//
// Memory: a field's name, of kMaxFieldNameOctets at most; the header may be of any length. Views in
// HeaderEdits outlive this.
class HeaderEditor {
 public:
  explicit HeaderEditor(HeaderEdits edits);

  // Appends to `out` what stands for the header's octets at the start of `input`; the rest, which
  // is body and stays as it is, comes back.
  absl::string_view Edit(absl::string_view input, std::string* out);
  // The message is over, with a whole line.
  void End(std::string* out);

  // By how many octets more than its input Edit's next output may have, and End's at most; 0 in the
  // body.
  size_t max_growth() const;

 private:
  enum class Part {
    kLineStart,
    kName,
    // Of a line.
    kRest,
    kBody,
  };
  void BeginField();
  // Takes the octets of a field's name; true once it is known what the line is.
  bool TakeName(absl::string_view* input);
  void EndSection(bool empty_line, std::string* out);

  std::vector<HeaderEdits::Addition> added_;
  absl::Span<const absl::string_view> removed_;
  size_t added_octets_ = 0;
  Part part_ = Part::kLineStart;
  // Of the line in kName; not yet in the output.
  std::string name_;
  bool first_line_ = true;
  // The line goes out.
  bool keep_ = true;
  // A field has come, which a line may continue.
  bool in_field_ = false;
  // A field has gone out.
  bool kept_field_ = false;
};

}  // namespace postern::mail

#endif  // POSTERN_SERVICES_PROTOCOL_MAIL_HEADER_EDITOR_H_
