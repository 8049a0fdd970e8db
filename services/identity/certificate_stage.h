// Between the certificate files and gRPC: only what has been read whole and judged good gets
// through, so that a half-written or mistaken swap keeps the old certificates in force. (gRPC
// 1.51's own file watcher aborts the process on a broken file; docs/adr/0002.)
#ifndef POSTERN_SERVICES_IDENTITY_CERTIFICATE_STAGE_H_
#define POSTERN_SERVICES_IDENTITY_CERTIFICATE_STAGE_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/identity/mutual_tls_files.h"
#include "services/telemetry/metrics.h"

namespace postern::identity {

// Holds the good files in memory, each under a path that gRPC's file watcher can read
// (/proc/self/fd/N, a memfd). One per set of files and process, made at its first use and never
// freed; one thread for all of them looks at the files every second. Thread-safe.
class CertificateStage {
 public:
  // Errors: LoadMutualTls's.
  static absl::StatusOr<const CertificateStage*> For(const config::v1::MutualTls& tls);

  // Private key and certificate chain in one file: they can't be read apart.
  std::string key_and_chain_path() const;
  std::string ca_path() const;

 private:
  // Device, inode, size and modification of each file: changes when the file may have.
  using Signature = std::array<int64_t, 15>;

  explicit CertificateStage(const config::v1::MutualTls& tls);
  Signature Look() const;
  absl::Status Load();
  // Makes `contents` what `*fd`'s path reads, in one step.
  absl::Status Publish(const std::string& contents, int* fd);
  void Refresh();
  static void Watch();

  const config::v1::MutualTls tls_;
  telemetry::Counter& reload_failures_;
  // After For() only the watching thread uses what follows; the two descriptors keep their numbers.
  // Of the files in force, and of the last ones that were logged.
  Signature signature_{};
  Signature said_{};
  MutualTlsPem pem_;
  int64_t generation_ = 0;
  int key_and_chain_fd_ = -1;
  int ca_fd_ = -1;
};

}  // namespace postern::identity

#endif  // POSTERN_SERVICES_IDENTITY_CERTIFICATE_STAGE_H_
