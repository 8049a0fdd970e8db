// Certificates for tests: a CA in a directory, and what it signs.
#ifndef POSTERN_SERVICES_IDENTITY_TEST_PKI_H_
#define POSTERN_SERVICES_IDENTITY_TEST_PKI_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "openssl/types.h"
#include "proto/postern/config/v1/process.pb.h"

namespace postern::identity {

// Aborts when anything fails. P-256, good for a day.
class TestPki {
 public:
  // What a certificate says of its owner.
  struct Names {
    std::vector<std::string> uris;
    std::vector<std::string> dns;
    std::vector<std::string> addresses;
    // Seconds from now.
    long not_before = -3600;
    long not_after = 24 * 3600;
  };

  // Makes the directory if need be, and a new CA: DIRECTORY/ca.pem.
  explicit TestPki(absl::string_view directory);
  ~TestPki();

  // DIRECTORY/NAME.pem and DIRECTORY/NAME.key; an existing pair is replaced, each file by a rename.
  config::v1::MutualTls Issue(absl::string_view name, const Names& names) const;

  // The certificate of an identity: its URI SAN, and the identity as DNS SAN.
  config::v1::MutualTls IssueIdentity(absl::string_view identity) const;

  std::string ca_file() const;
  const std::string& directory() const { return directory_; }

 private:
  const std::string directory_;
  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
  std::unique_ptr<X509, void (*)(X509*)> certificate_;
};

}  // namespace postern::identity

#endif  // POSTERN_SERVICES_IDENTITY_TEST_PKI_H_
