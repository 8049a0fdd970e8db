// Tests only: what every Spool does. A test of an implementation instantiates it:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, SpoolContract, testing::Values(&OpenMine));
#ifndef POSTERN_RELAY_SVC_DOMAIN_SPOOL_CONTRACT_H_
#define POSTERN_RELAY_SVC_DOMAIN_SPOOL_CONTRACT_H_

#include <functional>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "relay-svc/domain/spool.h"

namespace postern::relay {

// Opens the spool kept under `name` (made when absent) with at most `max_messages`; opening it
// again after it was destroyed finds what was committed.
using OpenSpool = std::unique_ptr<Spool> (*)(const std::string& name, int64_t max_messages);

class SpoolContract : public testing::TestWithParam<OpenSpool> {
 protected:
  void SetUp() override;

  absl::StatusOr<Committed> Enqueue(NewMessage message, const std::string& body);
  void Reopen(int64_t max_messages = 100);

  std::string name_;
  std::unique_ptr<Spool> spool_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_SPOOL_CONTRACT_H_
