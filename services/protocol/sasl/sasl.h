// The server's side of SASL mechanisms (RFC 4422): bytes to what must be checked. Sans I/O; looks
// nothing up.
#ifndef POSTERN_SERVICES_PROTOCOL_SASL_SASL_H_
#define POSTERN_SERVICES_PROTOCOL_SASL_SASL_H_

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "services/protocol/sasl/scram.h"

namespace postern::sasl {

// Who wants to be let in.
struct Identity {
  // Empty, or who to act as. Postern accepts only the authentication identity itself here.
  std::string authorization_id;
  // Empty where the proof says who it is of (OAUTHBEARER, EXTERNAL).
  std::string authentication_id;
};

struct Challenge {
  std::string octets;
};
// PLAIN, LOGIN: a password to be checked.
struct Credentials : Identity {
  std::string password;
};
// SCRAM: Provide() this one's verifier, or a stand-in.
struct VerifierWanted : Identity {};
// SCRAM, after it. kRight: `server_final` is the last challenge, and its answer is empty.
struct Proof {
  ScramExchange::Proof proof = ScramExchange::Proof::kMalformed;
  std::string server_final;
};
// OAUTHBEARER, XOAUTH2: a bearer token to be checked. Not a good one: a last challenge says why in
// JSON (BearerError), and its answer does not matter.
struct Bearer : Identity {
  std::string token;
};
// EXTERNAL: who the TLS connection's client certificate is of is to be found out.
struct External : Identity {};
struct Malformed {};

using Step =
    std::variant<Challenge, Credentials, VerifierWanted, Proof, Bearer, External, Malformed>;

class Mechanism {
 public:
  virtual ~Mechanism() = default;
  // First with the initial response (nullopt when there is none), then with each answer to a
  // challenge. After anything but a Challenge: no more.
  virtual Step Next(std::optional<absl::string_view> response) = 0;
  // After VerifierWanted.
  virtual Step Provide(const ScramVerifier& verifier);
};

// What a mechanism knows of the connection.
struct Surroundings {
  ChannelBindings bindings;
  // Printable ASCII without a comma, unpredictable.
  std::string nonce;
};

// PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 7677), OAUTHBEARER (RFC 7628),
// XOAUTH2 (Google's and Microsoft's form of it) or EXTERNAL (RFC 4422 A); null for any other name.
std::unique_ptr<Mechanism> MakeMechanism(absl::string_view name, Surroundings surroundings);

// RFC 7628 3.2.2. `status`: of RFC 6750 3.1 ("invalid_token").
std::string BearerError(absl::string_view status);

}  // namespace postern::sasl

#endif  // POSTERN_SERVICES_PROTOCOL_SASL_SASL_H_
