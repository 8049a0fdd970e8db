// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; channel bindings of RFC 5929 and RFC
// 9266), the server's side of one exchange. Sans I/O.
#ifndef POSTERN_SERVICES_PROTOCOL_SASL_SCRAM_H_
#define POSTERN_SERVICES_PROTOCOL_SASL_SCRAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::sasl {

// What a server keeps of a password (RFC 5802 3): enough to check a proof and to give one, and what
// a thief of it can guess against, at `iterations` of PBKDF2 a guess.
struct ScramVerifier {
  uint32_t iterations = 0;
  std::string salt;
  // 32 octets each.
  std::string stored_key;
  std::string server_key;

  // "iterations,salt,stored key,server key", the latter three in base64: Dovecot's form.
  std::string ToString() const;
  static std::optional<ScramVerifier> FromString(absl::string_view text);

  friend bool operator==(const ScramVerifier&, const ScramVerifier&) = default;
};

// Takes `iterations` HMACs. INVALID_ARGUMENT: a password that SASLprep (RFC 4013) forbids.
absl::StatusOr<ScramVerifier> MakeScramVerifier(absl::string_view password, std::string salt,
                                                uint32_t iterations);

// saslname of RFC 5802 7 (and of a GS2 header, RFC 5801 4): "=2C" is a comma and "=3D" an equals
// sign; nullopt: where neither stands for itself, empty, not UTF-8, or of more than 255 octets.
std::optional<std::string> ReadSaslName(absl::string_view text);

// What binds an exchange to the TLS connection that it is in, as its server end sees it.
struct ChannelBindings {
  // Empty: this connection has none.
  std::string tls_exporter;
  std::string tls_server_end_point;
};

class ScramExchange {
 public:
  // `bound`: SCRAM-SHA-256-PLUS. `nonce`: printable ASCII without a comma, unpredictable.
  // `plus_offered`: the client has seen the -PLUS form offered.
  ScramExchange(bool bound, bool plus_offered, ChannelBindings bindings, std::string nonce);

  struct ClientFirst {
    // Empty, or who to act as.
    std::string authorization_id;
    std::string authentication_id;
  };
  // nullopt: not what RFC 5802 7 has there, a binding that this connection has not, or a client
  // that was kept from seeing the -PLUS form (6).
  std::optional<ClientFirst> ReadClientFirst(absl::string_view message);
  // After it: server-first-message. For whom there is none, `verifier` is a stand-in.
  std::string ServerFirst(const ScramVerifier& verifier);

  enum class Proof { kMalformed, kWrong, kWrongBinding, kRight };
  Proof ReadClientFinal(absl::string_view message);
  // After kRight: server-final-message.
  std::string ServerFinal() const;

 private:
  const bool bound_;
  const bool plus_offered_;
  const ChannelBindings bindings_;
  const std::string nonce_;
  // Of the client's first message: what stands before the rest, and the rest.
  std::string gs2_header_;
  std::string client_first_bare_;
  std::string client_nonce_;
  std::string binding_;
  std::string server_first_;
  std::string auth_message_;
  ScramVerifier verifier_;
};

}  // namespace postern::sasl

#endif  // POSTERN_SERVICES_PROTOCOL_SASL_SCRAM_H_
