#include "services/platform/rpc_tls.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpc/grpc_security_constants.h"
#include "grpc/support/log.h"
#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/pem.h"
#include "openssl/x509.h"
#include "services/platform/access.h"
#include "services/platform/log.h"
#include "services/platform/small_file.h"

namespace postern::platform {
namespace {

constexpr size_t kMaxPemOctets = 1 << 20;
constexpr absl::string_view kIdentityPrefix = "spiffe://postern/";

// gRPC 1.51 has no public setting for the lowest TLS version. It takes TLS 1.2's cipher suites from
// the environment, though: with none but a PSK suite, for which neither end ever has a key, only a
// TLS 1.3 handshake can succeed (docs/adr/0001-tls13-only-grpc.md). Set before main(), since
// setenv is not for a process with threads.
const bool tls12_is_impossible = [] {
  return setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES128-GCM-SHA256", /*overwrite=*/1) == 0;
}();

// At most this many of gRPC's lines a second: a peer that fails its handshakes in a loop must not
// fill the disk.
constexpr int kMaxGrpcLinesPerSecond = 10;

void LogFromGrpc(gpr_log_func_args* args) {
  static std::atomic<int64_t> second{0};
  static std::atomic<int> lines{0};
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  if (second.exchange(now, std::memory_order_relaxed) != now) {
    lines.store(0, std::memory_order_relaxed);
  }
  if (lines.fetch_add(1, std::memory_order_relaxed) >= kMaxGrpcLinesPerSecond) {
    return;
  }
  // What gRPC calls an error is a failed handshake or connection more often than not.
  Log(args->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarning : LogLevel::kDebug, "grpc",
      {{"message", args->message}, {"file", args->file}, {"line", args->line}});
}

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

// Never asks on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::Status Wrong(absl::string_view setting, absl::string_view file, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("process.mtls.", setting, ": ", file, file.empty() ? "" : ": ", why));
}

absl::StatusOr<Bio> OpenPem(absl::string_view setting, const std::string& file) {
  if (file.empty()) {
    return Wrong(setting, "", "is not set");
  }
  absl::StatusOr<std::string> pem = ReadSmallFile(file, kMaxPemOctets);
  if (!pem.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("process.mtls.", setting, ": ", pem.status().message()));
  }
  Bio bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || BIO_write(bio.get(), pem->data(), static_cast<int>(pem->size())) !=
                            static_cast<int>(pem->size())) {
    return absl::ResourceExhaustedError("out of memory");
  }
  return bio;
}

absl::StatusOr<Certificate> ReadCertificate(absl::string_view setting, const std::string& file) {
  absl::StatusOr<Bio> bio = OpenPem(setting, file);
  if (!bio.ok()) {
    return bio.status();
  }
  Certificate certificate(PEM_read_bio_X509(bio->get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return Wrong(setting, file, "holds no PEM certificate");
  }
  return certificate;
}

}  // namespace

void PrepareGrpc() {
  static absl::once_flag once;
  absl::call_once(once, [] {
    if (!tls12_is_impossible) {
      std::abort();
    }
    gpr_set_log_function(LogFromGrpc);
  });
}

absl::Status CheckMutualTls(const config::v1::MutualTls& tls) {
  const absl::StatusOr<Certificate> certificate =
      ReadCertificate("certificate_file", tls.certificate_file());
  if (!certificate.ok()) {
    return certificate.status();
  }
  const absl::StatusOr<Bio> key_file = OpenPem("private_key_file", tls.private_key_file());
  if (!key_file.ok()) {
    return key_file.status();
  }
  const Key key(PEM_read_bio_PrivateKey(key_file->get(), nullptr, NoPassphrase, nullptr));
  const bool matches = key != nullptr && X509_check_private_key(certificate->get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return Wrong("private_key_file", tls.private_key_file(),
                 "holds no PEM private key without a passphrase");
  }
  if (!matches) {
    return Wrong("private_key_file", tls.private_key_file(),
                 absl::StrCat("is not the key of the certificate in ", tls.certificate_file()));
  }
  return ReadCertificate("ca_file", tls.ca_file()).status();
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> WatchCertificates(
    const config::v1::MutualTls& tls) {
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.private_key_file(), tls.certificate_file(), tls.ca_file(), kCertificateRefreshSeconds);
}

absl::string_view PeerIdentity(const grpc::AuthContext& peer) {
  static const auto& property = *new std::string(GRPC_PEER_URI_PROPERTY_NAME);
  const std::vector<grpc::string_ref> uris = peer.FindPropertyValues(property);
  if (uris.size() != 1) {
    return "";
  }
  absl::string_view uri(uris[0].data(), uris[0].size());
  if (!absl::ConsumePrefix(&uri, kIdentityPrefix)) {
    return "";
  }
  for (absl::string_view known : KnownIdentities()) {
    if (uri == known) {
      return known;
    }
  }
  return "";
}

}  // namespace postern::platform
