// Forgets delivery ids that are old enough.
#ifndef POSTERN_STORE_SVC_DOMAIN_RETENTION_H_
#define POSTERN_STORE_SVC_DOMAIN_RETENTION_H_

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/process/clock.h"
#include "store-svc/domain/mail_store.h"

namespace postern::store {

// Has a thread that looks every `interval` and deletes in small batches, each a write among others.
// `store` must outlive it.
class Retention {
 public:
  Retention(MailStore* store, process::Clock clock, absl::Duration retention,
            absl::Duration interval);
  // Ends after the batch that runs.
  ~Retention();

 private:
  void Run();
  // Until nothing is old enough.
  void ForgetAll();
  bool stopping() const;

  MailStore* const store_;
  const process::Clock clock_;
  const absl::Duration retention_;
  const absl::Duration interval_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_RETENTION_H_
