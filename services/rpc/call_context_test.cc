#include "services/rpc/call_context.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace postern::rpc {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kParent[] = "00f067aa0ba902b7";

TEST(TraceContextTest, ReadsAndWritesTheHeader) {
  const std::string header = std::string("00-") + kTrace + "-" + kParent + "-01";
  const TraceContext trace = TraceContext::FromHeader(header);
  EXPECT_EQ(trace.trace_id, kTrace);
  EXPECT_EQ(trace.parent_id, kParent);
  EXPECT_EQ(trace.ToHeader(), header);
}

TEST(TraceContextTest, TakesALaterVersion) {
  const std::string header = std::string("cc-") + kTrace + "-" + kParent + "-00-what-comes-later";
  EXPECT_EQ(TraceContext::FromHeader(header).trace_id, kTrace);
}

TEST(TraceContextTest, MalformedStartsANewTrace) {
  const std::string good = std::string("00-") + kTrace + "-" + kParent + "-01";
  const std::string zero_trace = "00-" + std::string(32, '0') + "-" + kParent + "-01";
  const std::string zero_parent = std::string("00-") + kTrace + "-" + std::string(16, '0') + "-01";
  std::string upper = good;
  upper[3] = 'A';
  std::string newline = good;
  newline[10] = '\n';
  for (const std::string& header :
       {std::string(), std::string("00"), good.substr(1), good.substr(0, good.size() - 1),
        good + "-x", good + "x", "ff" + good.substr(2), "cc" + good.substr(2) + "x",
        "0g" + good.substr(2), zero_trace, zero_parent, upper, newline, std::string(4096, 'a')}) {
    const TraceContext trace = TraceContext::FromHeader(header);
    EXPECT_NE(trace.trace_id, kTrace) << header;
    EXPECT_EQ(TraceContext::FromHeader(trace.ToHeader()).trace_id, trace.trace_id) << header;
  }
}

TEST(TraceContextTest, NewIsValidAndDistinct) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const TraceContext trace = TraceContext::New();
    EXPECT_EQ(TraceContext::FromHeader(trace.ToHeader()).trace_id, trace.trace_id);
    EXPECT_TRUE(seen.insert(trace.trace_id).second);
  }
}

}  // namespace
}  // namespace postern::rpc
