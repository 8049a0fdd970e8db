// SASL PLAIN (RFC 4616) and LOGIN, the server's side: bytes to credentials. Sans I/O; checks
// nothing.
#ifndef POSTERN_SERVICES_PROTOCOL_SASL_SASL_H_
#define POSTERN_SERVICES_PROTOCOL_SASL_SASL_H_

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"

namespace postern::sasl {

struct Credentials {
  // Empty, or who to act as. Postern accepts only the authentication identity itself here.
  std::string authorization_id;
  std::string authentication_id;
  std::string password;
};

struct Challenge {
  std::string octets;
};
struct Malformed {};

using Step = std::variant<Challenge, Credentials, Malformed>;

class Mechanism {
 public:
  virtual ~Mechanism() = default;
  // First with the initial response (nullopt when there is none), then with each answer. After
  // Credentials or Malformed: no more.
  virtual Step Next(std::optional<absl::string_view> response) = 0;
};

// PLAIN or LOGIN; null for any other name.
std::unique_ptr<Mechanism> MakeMechanism(absl::string_view name);

}  // namespace postern::sasl

#endif  // POSTERN_SERVICES_PROTOCOL_SASL_SASL_H_
