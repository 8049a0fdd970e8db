// What every MailStore does, as tests. An implementation instantiates them:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, MailStoreContract, testing::Values(&MakeSqliteHarness));
#ifndef POSTERN_STORE_SVC_DOMAIN_MAIL_STORE_CONTRACT_H_
#define POSTERN_STORE_SVC_DOMAIN_MAIL_STORE_CONTRACT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "services/process/clock.h"
#include "store-svc/domain/mail_store.h"

namespace postern::store {

// A fresh, empty store of the kind under test.
class MailStoreHarness {
 public:
  virtual ~MailStoreHarness() = default;
  virtual MailStore& store() = 0;
  // Ends the store and opens it again on the same data, as a restart does.
  virtual void Reopen() = 0;
  // Bodies kept, staged ones included.
  virtual int64_t CountBodies() = 0;
  // Of all mailboxes.
  virtual int32_t shard() const { return 0; }
};

struct MailStoreHarnessOptions {
  uint64_t quota_messages = 0;
  uint64_t quota_octets = 0;
  size_t max_waiting = 0;
  process::Clock clock;
};

using MakeMailStoreHarness = std::unique_ptr<MailStoreHarness> (*)(const MailStoreHarnessOptions&);

class MailStoreContract : public testing::TestWithParam<MakeMailStoreHarness> {
 protected:
  static constexpr uint64_t kQuotaMessages = 50;
  static constexpr uint64_t kQuotaOctets = 10 << 20;

  MailStoreContract();
  MailStore& store() { return harness_->store(); }

  // 16 octets from a short name.
  static std::string Id(absl::string_view name);
  MailboxId Mailbox(char last) const;

  // One message to all of `mailboxes`, each with the prefix "P: <digit>\r\n".
  absl::StatusOr<DeliveryResult> Deliver(absl::string_view id, absl::string_view mailboxes,
                                         absl::string_view body);
  Delivery MakeDelivery(absl::string_view id, absl::string_view mailboxes);
  std::vector<MessageEntry> Entries(const MailboxId& mailbox);
  // Prefix and body.
  std::string Read(const MailboxId& mailbox, uint64_t uid);
  absl::Status Delete(const MailboxId& mailbox, std::vector<uint64_t> uids);
  absl::Status Append(StagedBody& body, absl::string_view piece);
  absl::StatusOr<DeliveryResult> DeliverStaged(StagedBody& body, Delivery delivery);

  absl::Time now_ = absl::FromUnixSeconds(1700000000);
  std::unique_ptr<MailStoreHarness> harness_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_MAIL_STORE_CONTRACT_H_
