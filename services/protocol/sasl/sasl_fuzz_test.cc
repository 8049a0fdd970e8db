#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "services/protocol/sasl/base64.h"
#include "services/protocol/sasl/sasl.h"

// The input's lines are the client's answers. Credentials hold nothing that a directory or a log
// would stumble on, and base64 has one spelling.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using postern::sasl::Bearer;
  using postern::sasl::Challenge;
  using postern::sasl::Credentials;
  using postern::sasl::Mechanism;
  using postern::sasl::Step;
  using postern::sasl::VerifierWanted;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const postern::sasl::Surroundings surroundings{{"exported", "end point"}, "nonce"};
  const auto verifier = postern::sasl::MakeScramVerifier("pencil", "salt", 1);
  for (const char* name : {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER",
                           "XOAUTH2", "EXTERNAL"}) {
    for (const bool initial : {false, true}) {
      const std::unique_ptr<Mechanism> mechanism = postern::sasl::MakeMechanism(name, surroundings);
      if (!initial) mechanism->Next(std::nullopt);
      int rounds = 0;
      for (const absl::string_view line : absl::StrSplit(input, '\n')) {
        Step step = mechanism->Next(line);
        if (const Credentials* found = std::get_if<Credentials>(&step)) {
          if (found->authentication_id.empty() || found->password.empty()) std::abort();
          if (found->password.find('\0') != std::string::npos) std::abort();
        }
        if (const VerifierWanted* found = std::get_if<VerifierWanted>(&step)) {
          if (found->authentication_id.empty()) std::abort();
          step = mechanism->Provide(*verifier);
        }
        if (const Bearer* found = std::get_if<Bearer>(&step)) {
          if (found->token.empty()) std::abort();
        }
        if (!std::holds_alternative<Challenge>(step)) break;
        if (++rounds > 2) std::abort();
      }
    }
  }
  std::string octets;
  if (postern::sasl::DecodeBase64(input, octets) && postern::sasl::EncodeBase64(octets) != input) {
    std::abort();
  }
  if (!postern::sasl::DecodeBase64(postern::sasl::EncodeBase64(input), octets) || octets != input) {
    std::abort();
  }
  return 0;
}
