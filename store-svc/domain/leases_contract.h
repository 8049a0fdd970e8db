// What every Leases does, as tests. An implementation instantiates them:
//
//   INSTANTIATE_TEST_SUITE_P(InMemory, LeasesContract, testing::Values(&MakeHarness));
#ifndef POSTERN_STORE_SVC_DOMAIN_LEASES_CONTRACT_H_
#define POSTERN_STORE_SVC_DOMAIN_LEASES_CONTRACT_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "store-svc/domain/leases.h"

namespace postern::store {

// Waits for every answer. The token is always the mailbox's.
class AwaitedLeases {
 public:
  explicit AwaitedLeases(Leases* leases) : leases_(*leases) {}

  absl::StatusOr<Leases::Hold> Take(const MailboxId& mailbox, absl::string_view credential);
  absl::StatusOr<Leases::Hold> Resume(const MailboxId& mailbox, uint64_t fence,
                                      absl::string_view credential);
  absl::StatusOr<Leases::Hold> ResumeFormer(const MailboxId& mailbox, uint64_t fence,
                                            absl::string_view credential);
  absl::StatusOr<MailboxId> Find(const MailboxId& mailbox, uint64_t fence,
                                 absl::string_view credential);
  absl::StatusOr<MailboxId> Pin(const MailboxId& mailbox, uint64_t fence,
                                absl::string_view credential);
  std::optional<Leases::Ended> EndSession(const Leases::Hold& hold);
  void BreakStream(const Leases::Hold& hold);
  void PutBackBroken(Leases::Ended ended);

 private:
  Leases& leases_;
};

class LeasesHarness {
 public:
  static constexpr absl::Duration kGrace = absl::Seconds(10);
  virtual ~LeasesHarness() = default;
  virtual Leases& leases() = 0;
  // Time goes by.
  virtual void Pass(absl::Duration time) = 0;
};

using MakeLeasesHarness = std::unique_ptr<LeasesHarness> (*)();

class LeasesContract : public testing::TestWithParam<MakeLeasesHarness> {
 protected:
  LeasesContract() : harness_(GetParam()()), leases_(&harness_->leases()) {}

  const std::unique_ptr<LeasesHarness> harness_;
  AwaitedLeases leases_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_LEASES_CONTRACT_H_
