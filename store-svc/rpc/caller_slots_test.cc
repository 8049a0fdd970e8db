#include "store-svc/rpc/caller_slots.h"

#include "gtest/gtest.h"

namespace postern::store {
namespace {

TEST(CallerSlots, EachCallerHasItsOwn) {
  CallerSlots slots(2);
  EXPECT_TRUE(slots.Take("mx"));
  EXPECT_TRUE(slots.Take("mx"));
  EXPECT_FALSE(slots.Take("mx"));
  EXPECT_TRUE(slots.Take("relay-svc"));
  slots.Give("mx");
  EXPECT_TRUE(slots.Take("mx"));
  EXPECT_FALSE(slots.Take("mx"));
}

}  // namespace
}  // namespace postern::store
