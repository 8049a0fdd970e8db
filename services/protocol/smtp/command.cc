#include "services/protocol/smtp/command.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/protocol/mail/address.h"
#include "services/text/utf8.h"

namespace postern::smtp {
namespace {

constexpr std::pair<absl::string_view, Verb> kVerbs[] = {
    {"MAIL", Verb::kMail},           {"RCPT", Verb::kRcpt},
    {"DATA", Verb::kData},           {"EHLO", Verb::kEhlo},
    {"HELO", Verb::kHelo},           {"QUIT", Verb::kQuit},
    {"RSET", Verb::kRset},           {"STARTTLS", Verb::kStartTls},
    {"AUTH", Verb::kAuth},           {"NOOP", Verb::kNoop},
    {"HELP", Verb::kHelp},           {"VRFY", Verb::kVrfy},
    {"EXPN", Verb::kNotImplemented}, {"BDAT", Verb::kNotImplemented},
    {"ETRN", Verb::kNotImplemented}, {"TURN", Verb::kNotImplemented},
    {"SEND", Verb::kNotImplemented}, {"SOML", Verb::kNotImplemented},
    {"SAML", Verb::kNotImplemented},
};

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

absl::string_view StripBlanks(absl::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// Takes an addr-spec without angle brackets off the front of `rest`: what printers, controllers and
// scripts send, and Postfix and Exim take by default. Nothing else goes without them: no source
// route, no <>, no postmaster.
bool TakeBareAddress(absl::string_view& rest, absl::string_view& path) {
  bool quoted = false;
  size_t size = 0;
  for (; size < rest.size() && (quoted || rest[size] != ' '); ++size) {
    const char c = rest[size];
    if (quoted && c == '\\') {
      ++size;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == '<' || c == '>')) {
      return false;
    }
  }
  if (quoted || size > rest.size()) return false;
  path = rest.substr(0, size);
  rest.remove_prefix(size);
  return absl::StrContains(path, '@') && !absl::StartsWith(path, "@");
}

// Takes `keyword` (FROM: or TO:) and <path> off the front of `rest`. What remains is empty or
// starts with a space. False: not of this form.
bool TakePath(absl::string_view keyword, absl::string_view& rest, absl::string_view& path) {
  if (!absl::StartsWithIgnoreCase(rest, keyword)) return false;
  rest.remove_prefix(keyword.size());
  // RFC 5321 3.3: "Since it has been a common source of errors, it is worth noting that spaces are
  // not permitted on either side of the colon". Clients send one after it nonetheless, and no
  // meaning is lost.
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (!absl::ConsumePrefix(&rest, "<")) return TakeBareAddress(rest, path);
  bool quoted = false;
  for (size_t i = 0; i < rest.size(); ++i) {
    const char c = rest[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == '>' && !quoted) {
      path = rest.substr(0, i);
      rest.remove_prefix(i + 1);
      return rest.empty() || rest.front() == ' ';
    }
  }
  return false;
}

// Drops a source route, "@a,@b:" (RFC 5321 4.1.1.3 and appendix C: accept and ignore). False: it
// has no end.
bool DropSourceRoute(absl::string_view& path) {
  if (!absl::StartsWith(path, "@")) return true;
  bool literal = false;
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '"') return false;
    if (c == '[') literal = true;
    if (c == ']') literal = false;
    if (c == ':' && !literal) {
      path.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

// RFC 5321 4.1.1.11: esmtp-keyword.
bool IsKeyword(absl::string_view text) {
  return !text.empty() && absl::ascii_isalnum(static_cast<unsigned char>(text.front())) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-';
         });
}

// The next parameter off the front of `rest`; false when there is none.
bool TakeParameter(absl::string_view& rest, absl::string_view& parameter) {
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (rest.empty()) return false;
  parameter = rest.substr(0, rest.find(' '));
  rest.remove_prefix(parameter.size());
  return true;
}

// RFC 1870 3: 1 to 20 digits.
bool ParseSize(absl::string_view value, uint64_t& octets) {
  if (value.empty() || value.size() > 20 || !std::all_of(value.begin(), value.end(), [](char c) {
        return absl::ascii_isdigit(static_cast<unsigned char>(c));
      })) {
    return false;
  }
  if (!absl::SimpleAtoi(value, &octets)) octets = UINT64_MAX;
  return true;
}

Reply SizeReply() { return {552, "5.3.4", "Message size exceeds the limit"}; }

std::variant<MailArguments, Reply> ParseMailParameters(absl::string_view rest,
                                                       const MailRules& rules) {
  MailArguments arguments;
  bool size_seen = false;
  bool body_seen = false;
  bool auth_seen = false;
  absl::string_view parameter;
  while (TakeParameter(rest, parameter)) {
    const size_t equals = parameter.find('=');
    const bool has_value = equals != absl::string_view::npos;
    const absl::string_view keyword = parameter.substr(0, equals);
    const absl::string_view value = has_value ? parameter.substr(equals + 1) : absl::string_view();
    if (!IsKeyword(keyword) || (has_value && value.empty())) {
      return Reply{501, "5.5.4", "Syntax error in parameters"};
    }
    bool* seen = nullptr;
    // Some clients say it after HELO as well.
    if (absl::EqualsIgnoreCase(keyword, "SIZE")) {
      if (!ParseSize(value, arguments.declared_octets)) {
        return Reply{501, "5.5.4", "SIZE wants a number"};
      }
      seen = &size_seen;
    } else if (rules.extended && absl::EqualsIgnoreCase(keyword, "BODY")) {
      if (absl::EqualsIgnoreCase(value, "8BITMIME")) {
        arguments.eight_bit = true;
      } else if (!absl::EqualsIgnoreCase(value, "7BIT")) {
        return Reply{501, "5.5.4", "BODY is 7BIT or 8BITMIME"};
      }
      seen = &body_seen;
    } else if (rules.extended && absl::EqualsIgnoreCase(keyword, "SMTPUTF8")) {
      if (has_value || arguments.smtputf8) {
        return Reply{501, "5.5.4", "SMTPUTF8 is given once, without a value"};
      }
      arguments.smtputf8 = true;
    } else if (rules.extended && rules.auth_parameter && absl::EqualsIgnoreCase(keyword, "AUTH")) {
      if (!has_value) return Reply{501, "5.5.4", "AUTH wants a value"};
      seen = &auth_seen;
    } else {
      return Reply{555, "5.5.4", "Parameter not recognized"};
    }
    if (seen != nullptr && std::exchange(*seen, true)) {
      return Reply{501, "5.5.4", "Parameter given twice"};
    }
  }
  return arguments;
}

}  // namespace

Command ParseCommand(absl::string_view line) {
  while (!line.empty() && IsBlank(line.back())) line.remove_suffix(1);
  const absl::string_view word = line.substr(0, line.find(' '));
  for (const auto& [name, verb] : kVerbs) {
    if (absl::EqualsIgnoreCase(word, name)) return {verb, StripBlanks(line.substr(word.size()))};
  }
  return {};
}

bool IsHeloName(absl::string_view name) {
  constexpr absl::string_view kSpecial = " ()<>@,;\\\"";
  if (name.empty() || name.size() > kMaxHeloOctets) return false;
  while (!name.empty()) {
    const int c = text::TakeCharacter(name);
    if (c < 0 || text::IsControl(c)) return false;
    if (c < 0x80 && kSpecial.find(static_cast<char>(c)) != absl::string_view::npos) return false;
  }
  return true;
}

std::variant<MailArguments, Reply> ParseMail(absl::string_view argument, const MailRules& rules) {
  absl::string_view path;
  if (!TakePath("FROM:", argument, path) || !DropSourceRoute(path)) {
    return Reply{501, "5.5.4", "Syntax: MAIL FROM:<address>"};
  }
  std::variant<MailArguments, Reply> parsed = ParseMailParameters(argument, rules);
  MailArguments* arguments = std::get_if<MailArguments>(&parsed);
  if (arguments == nullptr) return parsed;
  if (!path.empty()) {
    if (!text::IsAscii(path) && !arguments->smtputf8) {
      return Reply{553, "5.6.7", "Address wants SMTPUTF8"};
    }
    absl::StatusOr<mail::Address> address = mail::ParseAddress(path, arguments->smtputf8);
    if (!address.ok()) return Reply{501, "5.1.7", "Bad sender address syntax"};
    arguments->sender = address->ToString();
  }
  // RFC 1870 6.1 (1).
  if (arguments->declared_octets > rules.max_octets) return SizeReply();
  return parsed;
}

std::variant<std::string, Reply> ParseRcpt(absl::string_view argument, bool allow_utf8) {
  absl::string_view path;
  if (!TakePath("TO:", argument, path) || !DropSourceRoute(path)) {
    return Reply{501, "5.5.4", "Syntax: RCPT TO:<address>"};
  }
  absl::string_view parameter;
  if (TakeParameter(argument, parameter)) {
    return IsKeyword(parameter.substr(0, parameter.find('=')))
               ? Reply{555, "5.5.4", "Parameter not recognized"}
               : Reply{501, "5.5.4", "Syntax error in parameters"};
  }
  // RFC 5321 4.5.1: postmaster needs no domain, in any case of letters.
  if (absl::EqualsIgnoreCase(path, "postmaster")) return std::string(path);
  if (!text::IsAscii(path) && !allow_utf8) return Reply{553, "5.6.7", "Address wants SMTPUTF8"};
  absl::StatusOr<mail::Address> address = mail::ParseAddress(path, allow_utf8);
  if (!address.ok()) return Reply{501, "5.1.3", "Bad recipient address syntax"};
  return address->ToString();
}

}  // namespace postern::smtp
