#include "services/net/tls_profile.h"

#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/pem.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include "services/telemetry/certificate_end.h"
#include "services/telemetry/log.h"
#include "services/telemetry/reload_failures.h"

namespace postern::net {
namespace {

using std::chrono::steady_clock;

// RFC 7525 / RFC 9325 4.2: forward secrecy and AEAD only.
constexpr char kTls12Ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr char kGroups[] = "X25519:P-256:P-384";
// A chain of a dozen RSA-4096 certificates fits in.
constexpr std::streamsize kMaxPemOctets = 1 << 20;
constexpr std::chrono::seconds kCheckInterval(1);
// A fresh context has fresh ticket keys: what a stolen one could open is bounded.
constexpr std::chrono::hours kTicketKeyLifetime(12);

// What says that a file is another one, or another version of it. Follows symbolic links, so that a
// swap of Kubernetes' ..data shows.
struct FileVersion {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  int64_t seconds = 0;
  int64_t nanoseconds = 0;

  friend bool operator==(const FileVersion& a, const FileVersion& b) {
    return std::tie(a.device, a.inode, a.size, a.seconds, a.nanoseconds) ==
           std::tie(b.device, b.inode, b.size, b.seconds, b.nanoseconds);
  }
};

FileVersion VersionOf(const std::string& file) {
  struct stat info;
  if (::stat(file.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
}

absl::StatusOr<std::string> ReadPem(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": ", errno != 0 ? std::strerror(errno) : "can't be opened"));
  }
  std::string text(kMaxPemOctets, '\0');
  in.read(text.data(), kMaxPemOctets);
  if (in.bad()) return absl::InvalidArgumentError(absl::StrCat(file, ": can't be read"));
  text.resize(in.gcount());
  return text;
}

// OpenSSL would ask on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<BIO> MemoryBio(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::Status UseCertificates(SSL_CTX* context, const std::string& file, absl::string_view profile) {
  absl::StatusOr<std::string> text = ReadPem(file);
  if (!text.ok()) return text.status();
  const Owned<BIO> bio = MemoryBio(*text);
  const Owned<X509> leaf(PEM_read_bio_X509_AUX(bio.get(), nullptr, NoPassphrase, nullptr));
  if (leaf == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": no PEM certificate"));
  }
  if (SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": a certificate that can't be used"));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(leaf.get())) < 0) {
    telemetry::Log(telemetry::LogLevel::kWarning, "certificate has expired",
                   {{"security_domain", profile}, {"file", file}});
  }
  while (true) {
    const Owned<X509> issuer(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
    if (issuer == nullptr) break;
    if (SSL_CTX_add1_chain_cert(context, issuer.get()) != 1) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": a chain that can't be used"));
    }
  }
  const unsigned long error = ERR_peek_last_error();
  if (error != 0 && ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": a broken certificate in the chain"));
  }
  ERR_clear_error();
  return absl::OkStatus();
}

absl::Status UsePrivateKey(SSL_CTX* context, const std::string& file,
                           const std::string& certificate_file) {
  absl::StatusOr<std::string> text = ReadPem(file);
  if (!text.ok()) return text.status();
  const Owned<BIO> bio = MemoryBio(*text);
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  OPENSSL_cleanse(text->data(), text->size());
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": no PEM private key (one with a passphrase can't be used)"));
  }
  // Checks it against the certificate as well.
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": not the key of the certificate in ", certificate_file));
  }
  return absl::OkStatus();
}

// RFC 7301 3.2: a client that asks for another protocol than mail (a browser that was sent here,
// ALPACA) gets no connection. Most mail clients ask for none.
int SelectProtocol(SSL*, const unsigned char** selected, unsigned char* size,
                   const unsigned char* asked, unsigned int asked_size, void*) {
  static constexpr unsigned char kMail[] = "\4pop3\4smtp";
  return SSL_select_next_proto(const_cast<unsigned char**>(selected), size, kMail, sizeof kMail - 1,
                               asked, asked_size) == OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_ALERT_FATAL;
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeContext(const std::string& profile,
                                                     const std::string& certificate_file,
                                                     const std::string& private_key_file,
                                                     bool request_client_certificates) {
  ERR_clear_error();
  const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr) return absl::InternalError("SSL_CTX_new failed");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_set_cipher_list(context.get(), kTls12Ciphers) != 1 ||
      SSL_CTX_set1_groups_list(context.get(), kGroups) != 1) {
    return absl::InternalError("OpenSSL lacks the ciphers");
  }
  // Sessions live in tickets, which every loop can open; nothing is kept here. One is enough for a
  // mail client.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 1);
  SSL_CTX_set_session_id_context(context.get(),
                                 reinterpret_cast<const unsigned char*>(profile.data()),
                                 std::min<size_t>(profile.size(), SSL_MAX_SID_CTX_LENGTH));
  if (request_client_certificates) {
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(
        context.get(), [](X509_STORE_CTX*, void*) { return 1; }, nullptr);
    // A resumed session does not have what the client showed but its own certificate.
    SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context.get(), 0);
  }
  SSL_CTX_set_alpn_select_cb(context.get(), &SelectProtocol, nullptr);
  absl::Status status = UseCertificates(context.get(), certificate_file, profile);
  if (status.ok()) status = UsePrivateKey(context.get(), private_key_file, certificate_file);
  ERR_clear_error();
  if (!status.ok()) return status;
  return context;
}

class FileTlsProfile : public TlsProfile {
 public:
  FileTlsProfile(absl::string_view name, absl::string_view certificate_file,
                 absl::string_view private_key_file, bool request_client_certificates)
      : name_(name),
        certificate_file_(certificate_file),
        private_key_file_(private_key_file),
        request_client_certificates_(request_client_certificates) {}

  absl::Status Load() {
    absl::MutexLock lock(&mutex_);
    NoteVersions();
    return Reload();
  }

  std::shared_ptr<SSL_CTX> context() const override {
    const int64_t now = steady_clock::now().time_since_epoch().count();
    int64_t due = next_check_.load(std::memory_order_relaxed);
    // One thread a second looks; the others go on with what there is.
    if (now >= due && next_check_.compare_exchange_strong(due, now + Ticks(kCheckInterval))) {
      Check(now);
    }
    absl::MutexLock lock(&mutex_);
    return context_;
  }

 private:
  static int64_t Ticks(steady_clock::duration duration) { return duration.count(); }

  void NoteVersions() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    certificate_version_ = VersionOf(certificate_file_);
    private_key_version_ = VersionOf(private_key_file_);
  }

  absl::Status Reload() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    absl::StatusOr<std::shared_ptr<SSL_CTX>> context =
        MakeContext(name_, certificate_file_, private_key_file_, request_client_certificates_);
    if (!context.ok()) return context.status();
    context_ = *std::move(context);
    telemetry::SetCertificateEnd(absl::StrCat("public:", name_),
                                 SSL_CTX_get0_certificate(context_.get()));
    ticket_keys_until_ = steady_clock::now().time_since_epoch().count() + Ticks(kTicketKeyLifetime);
    return absl::OkStatus();
  }

  void Check(int64_t now) const {
    const FileVersion certificate = VersionOf(certificate_file_);
    const FileVersion private_key = VersionOf(private_key_file_);
    absl::MutexLock lock(&mutex_);
    const bool changed =
        !(certificate == certificate_version_) || !(private_key == private_key_version_);
    if (!changed && now < ticket_keys_until_) return;
    // Noted even when the pair is broken, so that it is tried and logged once; a half-written pair
    // changes again.
    certificate_version_ = certificate;
    private_key_version_ = private_key;
    const absl::Status status = Reload();
    if (!status.ok()) {
      ticket_keys_until_ = now + Ticks(kTicketKeyLifetime);
      telemetry::ReloadFailures().Add();
      telemetry::Log(telemetry::LogLevel::kError, "certificate not reloaded, the old one stays",
                     {{"security_domain", name_}, {"status", std::string(status.message())}});
    } else if (changed) {
      telemetry::Log(telemetry::LogLevel::kInfo, "certificate reloaded",
                     {{"security_domain", name_}, {"file", certificate_file_}});
    }
  }

  const std::string name_;
  const std::string certificate_file_;
  const std::string private_key_file_;
  const bool request_client_certificates_;
  mutable std::atomic<int64_t> next_check_{0};
  mutable absl::Mutex mutex_;
  mutable std::shared_ptr<SSL_CTX> context_ ABSL_GUARDED_BY(mutex_);
  mutable FileVersion certificate_version_ ABSL_GUARDED_BY(mutex_);
  mutable FileVersion private_key_version_ ABSL_GUARDED_BY(mutex_);
  mutable int64_t ticket_keys_until_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

absl::StatusOr<std::shared_ptr<TlsProfile>> TlsProfile::Load(absl::string_view name,
                                                             absl::string_view certificate_file,
                                                             absl::string_view private_key_file,
                                                             bool request_client_certificates) {
  auto profile = std::make_shared<FileTlsProfile>(name, certificate_file, private_key_file,
                                                  request_client_certificates);
  const absl::Status status = profile->Load();
  if (!status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat("security domain \"", name, "\": ", status.message()));
  }
  return std::shared_ptr<TlsProfile>(std::move(profile));
}

}  // namespace postern::net
