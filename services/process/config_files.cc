#include "services/process/config_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/pem.h"
#include "openssl/x509.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/config/small_file.h"
#include "services/identity/mutual_tls_files.h"
#include "services/identity/token.h"
#include "services/net/tls_profile.h"

namespace postern::process {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxPemOctets = 1 << 20;

absl::StatusOr<absl::Time> TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InvalidArgumentError("has a broken date");
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string Day(absl::Time time) { return absl::FormatTime("%Y-%m-%d", time, absl::UTCTimeZone()); }

// Of the first certificate: a chain's leaf. What is no certificate is told by who loads it.
absl::Status CheckDates(const std::string& file, absl::Time now) {
  absl::StatusOr<std::string> pem = config::ReadSmallFile(file, kMaxPemOctets);
  if (!pem.ok()) return pem.status();
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(
      BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())), BIO_free);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(
      PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  ERR_clear_error();
  if (certificate == nullptr) return absl::OkStatus();
  const absl::StatusOr<absl::Time> begin = TimeOf(X509_get0_notBefore(certificate.get()));
  const absl::StatusOr<absl::Time> end = TimeOf(X509_get0_notAfter(certificate.get()));
  for (const absl::Status& status : {begin.status(), end.status()}) {
    if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", status.message()));
  }
  if (now > *end) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expired on ", Day(*end)));
  }
  if (now < *begin) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not valid before ", Day(*begin)));
  }
  return absl::OkStatus();
}

// Where the database is, or will be made.
absl::Status CheckDatabase(const std::string& file) {
  const auto wrong = [](const std::string& what, absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", why));
  };
  struct stat found {};
  if (stat(file.c_str(), &found) == 0) {
    if (!S_ISREG(found.st_mode)) return wrong(file, "is no file");
    if (access(file.c_str(), R_OK | W_OK) != 0) return wrong(file, std::strerror(errno));
  } else if (errno != ENOENT) {
    return wrong(file, std::strerror(errno));
  }
  // SQLite puts files beside it.
  const std::string parent = std::filesystem::path(file).parent_path().string();
  const char* const folder = parent.empty() ? "." : parent.c_str();
  if (access(folder, W_OK | X_OK) != 0) return wrong(folder, std::strerror(errno));
  return absl::OkStatus();
}

class Checker {
 public:
  explicit Checker(absl::Time now) : now_(now) {}

  void Look(const Message& message, const std::string& path) {
    if (const auto* tls = dynamic_cast<const config::v1::MutualTls*>(&message)) {
      LookAt(*tls, path);
    } else if (const auto* domain = dynamic_cast<const config::v1::SecurityDomain*>(&message)) {
      LookAt(*domain, path);
    } else if (const auto* process = dynamic_cast<const config::v1::Process*>(&message);
               process != nullptr && !process->has_mtls()) {
      faults_.push_back({Below(path, "mtls"), "is not set"});
    } else {
      LookInto(message, path);
    }
  }

  std::vector<FileFault> faults() && { return std::move(faults_); }

 private:
  static std::string Below(const std::string& path, absl::string_view key) {
    return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
  }

  void LookInto(const Message& message, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      const std::string key = Below(path, field->name());
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        if (!field->is_repeated()) Look(reflection.GetMessage(message, field), key);
        for (int i = 0; field->is_repeated() && i < reflection.FieldSize(message, field); ++i) {
          Look(reflection.GetRepeatedMessage(message, field, i), absl::StrCat(key, "[", i, "]"));
        }
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field->is_repeated()) {
        LookAt(field->name(), reflection.GetString(message, field), key);
      }
    }
  }

  void LookAt(absl::string_view name, const std::string& file, const std::string& key) {
    if (name == "database_file") Note(key, CheckDatabase(file));
    if (name == "token_signing_key_file") Note(key, identity::TokenSigner::Open(file).status());
    if (name == "token_verification_keys_file") {
      Note(key, identity::TokenVerifier::Open(file).status());
    }
    // Of databases, directories and identity providers, of which nobody here can say more.
    if (name == "ca_file" || name == "certificate_file") Note(key, CheckDates(file, now_));
    if (name == "private_key_file" || name == "password_file" || name == "bind_password_file" ||
        name == "jwks_file") {
      Note(key, config::ReadSmallFile(file, kMaxPemOctets).status());
    }
  }

  void LookAt(const config::v1::MutualTls& tls, const std::string& path) {
    const absl::Status status = identity::LoadMutualTls(tls).status();
    if (!status.ok()) {
      // "process.mtls.ca_file: FILE: why"
      const absl::string_view message = status.message();
      const size_t colon = message.find(": ");
      faults_.push_back(
          {std::string(message.substr(0, colon)), std::string(message.substr(colon + 2))});
      return;
    }
    Note(Below(path, "certificate_file"), CheckDates(tls.certificate_file(), now_));
    Note(Below(path, "ca_file"), CheckDates(tls.ca_file(), now_));
  }

  void LookAt(const config::v1::SecurityDomain& domain, const std::string& path) {
    const absl::Status status =
        net::TlsProfile::Load(domain.name(), domain.certificate_file(), domain.private_key_file())
            .status();
    absl::string_view why = status.message();
    absl::ConsumePrefix(&why, absl::StrCat("security domain \"", domain.name(), "\": "));
    const bool of_key = absl::StartsWith(why, domain.private_key_file());
    if (!status.ok()) {
      faults_.push_back(
          {Below(path, of_key ? "private_key_file" : "certificate_file"), std::string(why)});
    } else {
      Note(Below(path, "certificate_file"), CheckDates(domain.certificate_file(), now_));
    }
  }

  void Note(const std::string& key, const absl::Status& status) {
    if (!status.ok()) faults_.push_back({key, std::string(status.message())});
  }

  const absl::Time now_;
  std::vector<FileFault> faults_;
};

}  // namespace

std::vector<FileFault> CheckFiles(const Message& config, absl::Time now) {
  Checker checker(now);
  // What is not there has no fields, and is told all the same.
  if (const FieldDescriptor* process = config.GetDescriptor()->FindFieldByName("process");
      process != nullptr && !config.GetReflection()->HasField(config, process)) {
    checker.Look(config::v1::Process(), process->name());
  }
  checker.Look(config, "");
  return std::move(checker).faults();
}

}  // namespace postern::process
