#include "services/protocol/mail/header.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/protocol/mail/address.h"
#include "services/text/utf8.h"

namespace postern::mail {
namespace {

// One line off the front of `rest`, without its CRLF.
absl::string_view TakeLine(absl::string_view& rest) {
  const size_t end = rest.find("\r\n");
  const absl::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == absl::string_view::npos ? rest.size() : end + 2);
  return line;
}

bool IsFieldName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), IsFieldNameOctet);
}

absl::Status Unclear(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("address list: ", what));
}

// The tokens of RFC 5322 3.2 that addresses are made of.
struct Token {
  enum class Kind {
    // Atoms with dots in and around them: a dot-atom, or a word of a display name ("J.").
    kAtom,
    kQuoted,
    kLiteral,
    // One of <>@,;:
    kSpecial,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  // As written, quotes and brackets included.
  absl::string_view text;
};

// Linear: every octet is looked at once. Comments nest by count, not by recursion.
class Lexer {
 public:
  explicit Lexer(absl::string_view text) : rest_(text) {}

  absl::StatusOr<Token> Next() {
    if (absl::Status status = SkipBlanksAndComments(); !status.ok()) return status;
    if (rest_.empty()) return Token{};
    const char c = rest_.front();
    if (c == '"') return Enclosed(Token::Kind::kQuoted, '"');
    if (c == '[') return Enclosed(Token::Kind::kLiteral, ']');
    if (IsSpecial(c)) return Take(Token::Kind::kSpecial, 1);
    size_t size = 0;
    while (size < rest_.size() && IsAtomOctet(rest_[size])) ++size;
    if (size == 0) return Unclear("a character that must be quoted");
    return Take(Token::Kind::kAtom, size);
  }

 private:
  static bool IsSpecial(char c) {
    return absl::string_view("<>@,;:").find(c) != absl::string_view::npos;
  }
  static bool IsAtomOctet(char c) {
    return static_cast<unsigned char>(c) >= 0x80 ||
           absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::string_view(".!#$%&'*+-/=?^_`{|}~").find(c) != absl::string_view::npos;
  }

  Token Take(Token::Kind kind, size_t size) {
    const Token token{kind, rest_.substr(0, size)};
    rest_.remove_prefix(size);
    return token;
  }

  // Folding white space at `i` (a CR there must be that of CRLF and a blank); 0: none.
  size_t BlankAt(size_t i) const {
    if (IsBlank(rest_[i])) return 1;
    const absl::string_view fold = rest_.substr(i, 3);
    return fold.size() == 3 && fold[0] == '\r' && fold[1] == '\n' && IsBlank(fold[2]) ? 3 : 0;
  }

  // What may stand within quotes and comments: no control character but folding.
  size_t ContentAt(size_t i) const {
    if (const size_t blank = BlankAt(i); blank > 0) return blank;
    return absl::ascii_iscntrl(static_cast<unsigned char>(rest_[i])) ? 0 : 1;
  }

  absl::Status SkipBlanksAndComments() {
    size_t depth = 0;
    size_t i = 0;
    while (i < rest_.size()) {
      const char c = rest_[i];
      size_t size = BlankAt(i);
      if (c == '(') {
        ++depth;
        size = 1;
      } else if (depth == 0 && size == 0) {
        break;
      } else if (c == ')') {
        --depth;
        size = 1;
      } else if (c == '\\' && ++i == rest_.size()) {
        return Unclear("a comment has no end");
      } else if (size == 0) {
        size = ContentAt(i);
        if (size == 0) return Unclear("a control character in a comment");
      }
      i += size;
    }
    if (depth > 0) return Unclear("a comment has no end");
    rest_.remove_prefix(i);
    return absl::OkStatus();
  }

  absl::StatusOr<Token> Enclosed(Token::Kind kind, char close) {
    for (size_t i = 1; i < rest_.size();) {
      if (rest_[i] == close) return Take(kind, i + 1);
      if (rest_[i] == '\\' && ++i == rest_.size()) break;
      const size_t size = ContentAt(i);
      if (size == 0) return Unclear("a control character within quotes");
      i += size;
    }
    return Unclear("a quoted part has no end");
  }

  absl::string_view rest_;
};

class AddressListParser {
 public:
  explicit AddressListParser(absl::string_view text) : lexer_(text) {}

  // address-list (RFC 5322 3.4); empty elements as in obs-addr-list are skipped.
  absl::StatusOr<std::vector<std::string>> Parse() {
    if (absl::Status status = Advance(); !status.ok()) return status;
    bool in_group = false;
    bool any = false;
    while (true) {
      if (token_.kind == Token::Kind::kEnd) {
        if (in_group) return Unclear("a group has no end");
        if (!any) return Unclear("no address");
        return std::move(addresses_);
      }
      if (Is(',')) {
        if (absl::Status status = Advance(); !status.ok()) return status;
        continue;
      }
      if (!(in_group && Is(';'))) {
        any = true;
        absl::StatusOr<bool> group = Element(in_group);
        if (!group.ok()) return group.status();
        if (*group) {
          in_group = true;
          continue;
        }
      }
      if (in_group && Is(';')) {
        in_group = false;
        if (absl::Status status = Advance(); !status.ok()) return status;
      }
      if (token_.kind != Token::Kind::kEnd && !Is(',')) {
        return Unclear("no comma between addresses");
      }
    }
  }

 private:
  bool Is(char special) const {
    return token_.kind == Token::Kind::kSpecial && token_.text.front() == special;
  }
  bool IsWord() const {
    return token_.kind == Token::Kind::kAtom || token_.kind == Token::Kind::kQuoted;
  }

  absl::Status Advance() {
    absl::StatusOr<Token> token = lexer_.Next();
    if (!token.ok()) return token.status();
    token_ = *token;
    return absl::OkStatus();
  }

  // A mailbox, or the name and colon that begin a group (true).
  absl::StatusOr<bool> Element(bool in_group) {
    size_t words = 0;
    Token word;
    for (; IsWord(); ++words) {
      word = token_;
      if (absl::Status status = Advance(); !status.ok()) return status;
    }
    if (Is('@')) {
      if (words != 1) return Unclear("words before an address without angle brackets");
      return Domain(word, /*angle=*/false);
    }
    if (Is(':')) {
      if (in_group || words == 0) return Unclear("a colon that begins no group");
      if (absl::Status status = Advance(); !status.ok()) return status;
      return true;
    }
    if (!Is('<')) return Unclear("a name without an address");
    // A route before the address (obs-route) is refused: readers differ on it.
    if (absl::Status status = Advance(); !status.ok()) return status;
    if (!IsWord()) return Unclear("no address within angle brackets");
    word = token_;
    if (absl::Status status = Advance(); !status.ok()) return status;
    if (!Is('@')) return Unclear("no @ within angle brackets");
    return Domain(word, /*angle=*/true);
  }

  // "@" domain [">"] after the local part; false (no group).
  absl::StatusOr<bool> Domain(const Token& local_part, bool angle) {
    if (absl::Status status = Advance(); !status.ok()) return status;
    if (token_.kind != Token::Kind::kAtom && token_.kind != Token::Kind::kLiteral) {
      return Unclear("no domain after @");
    }
    absl::StatusOr<Address> address =
        ParseAddress(absl::StrCat(local_part.text, "@", token_.text), /*allow_utf8=*/true);
    if (!address.ok()) return address.status();
    addresses_.push_back(address->ToString());
    if (absl::Status status = Advance(); !status.ok()) return status;
    if (angle) {
      if (!Is('>')) return Unclear("more than an address within angle brackets");
      if (absl::Status status = Advance(); !status.ok()) return status;
    }
    return false;
  }

  Lexer lexer_;
  Token token_;
  std::vector<std::string> addresses_;
};

}  // namespace

std::vector<HeaderField> ParseHeader(absl::string_view message) {
  std::vector<HeaderField> fields;
  absl::string_view rest = message;
  while (!rest.empty()) {
    const char* const begin = rest.data();
    absl::string_view line = TakeLine(rest);
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || colon > kMaxFieldNameOctets) break;
    absl::string_view name = line.substr(0, colon);
    // RFC 5322 4.5: white space before the colon is obsolete, and read.
    while (!name.empty() && IsBlank(name.back())) name.remove_suffix(1);
    if (!IsFieldName(name)) break;
    const char* end = line.data() + line.size();
    while (!rest.empty() && IsBlank(rest.front())) {
      line = TakeLine(rest);
      end = line.data() + line.size();
    }
    const char* const value = begin + colon + 1;
    fields.push_back({name, absl::string_view(value, end - value)});
  }
  return fields;
}

absl::StatusOr<std::vector<std::string>> ParseAddressList(absl::string_view value) {
  if (!text::IsUtf8(value)) return Unclear("not UTF-8");
  return AddressListParser(value).Parse();
}

}  // namespace postern::mail
