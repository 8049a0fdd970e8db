#include "services/identity/certificate_stage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "openssl/bio.h"
#include "openssl/pem.h"
#include "openssl/x509.h"
#include "services/telemetry/certificate_end.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"
#include "services/telemetry/reload_failures.h"

namespace postern::identity {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);

struct Registry {
  absl::Mutex mutex;
  bool watched ABSL_GUARDED_BY(mutex) = false;
  // The process ends.
  bool ended ABSL_GUARDED_BY(mutex) = false;
  std::map<std::tuple<std::string, std::string, std::string>, std::unique_ptr<CertificateStage>>
      stages ABSL_GUARDED_BY(mutex);

  // Never freed: the watching thread uses it until the process is gone.
  static Registry& Get() {
    static auto& registry = *new Registry();
    return registry;
  }
};

absl::Status SystemError(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(errno)));
}

// The key before the certificates is passed over.
void SayWhenItEnds(const std::string& key_and_chain) {
  BIO* const bio = BIO_new_mem_buf(key_and_chain.data(), static_cast<int>(key_and_chain.size()));
  X509* const leaf = bio == nullptr ? nullptr : PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  telemetry::SetCertificateEnd("mtls", leaf);
  X509_free(leaf);
  BIO_free(bio);
}

std::string FdPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

}  // namespace

CertificateStage::CertificateStage(const config::v1::MutualTls& tls)
    : tls_(tls), reload_failures_(telemetry::ReloadFailures()) {}

absl::StatusOr<const CertificateStage*> CertificateStage::For(const config::v1::MutualTls& tls) {
  Registry& registry = Registry::Get();
  absl::MutexLock lock(&registry.mutex);
  // What the caller is told at start is about the files as they are now.
  if (absl::StatusOr<MutualTlsPem> pem = LoadMutualTls(tls); !pem.ok()) {
    return pem.status();
  }
  std::unique_ptr<CertificateStage>& stage =
      registry.stages[{tls.certificate_file(), tls.private_key_file(), tls.ca_file()}];
  if (stage != nullptr) {
    stage->Refresh();
    return stage.get();
  }
  std::unique_ptr<CertificateStage> made(new CertificateStage(tls));
  made->signature_ = made->Look();
  if (absl::Status status = made->Load(); !status.ok()) {
    return status;
  }
  if (!registry.watched) {
    registry.watched = true;
    // OpenSSL, which a look needs, cleans up at the process's end; it was used above, so this runs
    // before that, and waits for a look that is under way.
    std::atexit([] {
      absl::MutexLock at_exit(&Registry::Get().mutex);
      Registry::Get().ended = true;
    });
    std::thread(&CertificateStage::Watch).detach();
  }
  stage = std::move(made);
  return stage.get();
}

std::string CertificateStage::key_and_chain_path() const { return FdPath(key_and_chain_fd_); }
std::string CertificateStage::ca_path() const { return FdPath(ca_fd_); }

// stat follows symlinks, the `..data` of a Kubernetes Secret among them.
CertificateStage::Signature CertificateStage::Look() const {
  Signature signature{};
  size_t at = 0;
  for (const std::string& file :
       {tls_.certificate_file(), tls_.private_key_file(), tls_.ca_file()}) {
    struct stat s {};
    if (stat(file.c_str(), &s) == 0) {
      signature[at] = static_cast<int64_t>(s.st_dev);
      signature[at + 1] = static_cast<int64_t>(s.st_ino);
      signature[at + 2] = s.st_size;
      signature[at + 3] = s.st_mtim.tv_sec;
      signature[at + 4] = s.st_mtim.tv_nsec;
    }
    at += 5;
  }
  return signature;
}

absl::Status CertificateStage::Load() {
  absl::StatusOr<MutualTlsPem> pem = LoadMutualTls(tls_);
  if (!pem.ok()) {
    return pem.status();
  }
  if (*pem == pem_) {
    return absl::OkStatus();
  }
  ++generation_;
  if (absl::Status status = Publish(pem->key_and_chain, &key_and_chain_fd_); !status.ok()) {
    return status;
  }
  if (absl::Status status = Publish(pem->ca, &ca_fd_); !status.ok()) {
    return status;
  }
  pem_ = *std::move(pem);
  SayWhenItEnds(pem_.key_and_chain);
  return absl::OkStatus();
}

absl::Status CertificateStage::Publish(const std::string& contents, int* fd) {
  int made = memfd_create("postern-certificates", MFD_CLOEXEC);
  if (made < 0) {
    return SystemError("memfd_create");
  }
  const absl::Cleanup close_made = [&made] {
    if (made >= 0) {
      close(made);
    }
  };
  for (size_t written = 0; written < contents.size();) {
    const ssize_t n = write(made, contents.data() + written, contents.size() - written);
    if (n < 0 && errno != EINTR) {
      return SystemError("write to memfd");
    }
    written += n > 0 ? static_cast<size_t>(n) : 0;
  }
  // gRPC's watcher reads key and chain one after the other and knows by the modification time, in
  // whole seconds, whether they belong together: each generation has its own second.
  const timespec times[2] = {{.tv_sec = generation_, .tv_nsec = 0},
                             {.tv_sec = generation_, .tv_nsec = 0}};
  if (futimens(made, times) != 0) {
    return SystemError("futimens of memfd");
  }
  if (*fd < 0) {
    if (access(FdPath(made).c_str(), R_OK) != 0) {
      return SystemError(FdPath(made));
    }
    *fd = made;
    made = -1;
  } else if (dup3(made, *fd, O_CLOEXEC) < 0) {
    return SystemError("dup3");
  }
  return absl::OkStatus();
}

void CertificateStage::Refresh() {
  const Signature now = Look();
  if (now == signature_) {
    return;
  }
  const absl::Status status = Load();
  if (status.ok()) {
    signature_ = now;
    said_ = now;
    telemetry::Log(telemetry::LogLevel::kInfo, "certificates read again",
                   {{"file", tls_.certificate_file()}});
    return;
  }
  // Tried again each second, said once.
  if (std::exchange(said_, now) == now) {
    return;
  }
  reload_failures_.Add();
  telemetry::Log(telemetry::LogLevel::kError,
                 "certificates not read again, the old ones stay in force",
                 {{"why", status.message()}});
}

void CertificateStage::Watch() {
  Registry& registry = Registry::Get();
  while (true) {
    absl::SleepFor(kInterval);
    absl::MutexLock lock(&registry.mutex);
    if (registry.ended) return;
    for (auto& [files, stage] : registry.stages) {
      if (stage != nullptr) {
        stage->Refresh();
      }
    }
  }
}

}  // namespace postern::identity
