// A command line of SMTP (RFC 5321 4.1.1) taken apart.
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_COMMAND_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_COMMAND_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "services/protocol/smtp/reply.h"

namespace postern::smtp {

enum class Verb : uint8_t {
  kHelo,
  kEhlo,
  kMail,
  kRcpt,
  kData,
  kRset,
  kNoop,
  kQuit,
  kHelp,
  kVrfy,
  kStartTls,
  kAuth,
  // Commands that SMTP knows and we don't have (EXPN, ETRN, BDAT, ...).
  kNotImplemented,
  kUnknown,
};

struct Command {
  Verb verb = Verb::kUnknown;
  // Without white space around it (RFC 5321 4.1.1: receivers should tolerate trailing white space).
  absl::string_view argument;
};

// `line` without its CRLF.
Command ParseCommand(absl::string_view line);

inline constexpr size_t kMaxHeloOctets = 255;

// Loose, since HELO names are wrong more often than not and nothing is decided by them: 1 to 255
// octets of printable UTF-8 (phones and PCs have the names their owners gave them), without those
// that mean something in a Received field.
bool IsHeloName(absl::string_view name);

struct MailRules {
  uint64_t max_octets = 0;
  // After EHLO: all parameters are understood; SIZE is in any case.
  bool extended = false;
  // AUTH= (RFC 4954 5) is taken, and ignored.
  bool auth_parameter = false;
};

struct MailArguments {
  // Empty: <>.
  std::string sender;
  uint64_t declared_octets = 0;
  bool eight_bit = false;
  bool smtputf8 = false;
};

// The argument of MAIL, or the reply that refuses it.
std::variant<MailArguments, Reply> ParseMail(absl::string_view argument, const MailRules& rules);

// The address of RCPT, or the reply that refuses it.
std::variant<std::string, Reply> ParseRcpt(absl::string_view argument, bool allow_utf8);

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_COMMAND_H_
