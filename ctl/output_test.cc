#include "ctl/output.h"

#include <sstream>
#include <string>

#include "ctl/json.h"
#include "gtest/gtest.h"
#include "proto/postern/relay/v1/queue_admin.pb.h"

namespace postern::ctl {
namespace {

TEST(Json, EveryFieldOfAMessage) {
  relay::v1::QueueEntry entry;
  entry.set_queue_id("q\"1\"");
  entry.set_size(1ULL << 63);
  relay::v1::QueueRecipient& recipient = *entry.add_recipients();
  recipient.set_address("a@b");
  recipient.set_state(relay::v1::QueueRecipient::STATE_WAITING);
  recipient.set_last_result("line\none \x1b[2J \xc3\xa9");
  EXPECT_EQ(JsonObject(entry).ToString(),
            "{\"queue_id\": \"q\\\"1\\\"\", \"envelope_sender\": \"\", \"size\": "
            "9223372036854775808, \"enqueued_at\": 0, \"held\": false, \"recipients\": "
            "[{\"address\": \"a@b\", \"state\": \"waiting\", \"attempts\": 0, "
            "\"next_attempt_at\": 0, \"last_result\": \"line\\none \\u001b[2J \xc3\xa9\"}]}");
}

TEST(Printable, NothingSteersTheTerminal) {
  EXPECT_EQ(Printable("plain \xc3\xa9"), "plain \xc3\xa9");
  EXPECT_EQ(Printable("\x1b[2J\r\n\x7f"), "?[2J???");
  // U+009B is CSI in one character.
  EXPECT_EQ(Printable("a\xc2\x9b"
                      "2Jb"),
            "a?2Jb");
}

TEST(Octets, Readable) {
  EXPECT_EQ(Octets(0), "0 B");
  EXPECT_EQ(Octets(1023), "1023 B");
  EXPECT_EQ(Octets(1536), "1.5 KiB");
  EXPECT_EQ(Octets(1ULL << 30), "1 GiB");
}

TEST(UnixTime, Utc) {
  EXPECT_EQ(UnixTime(0), "-");
  EXPECT_EQ(UnixTime(1'000'000'000), "2001-09-09 01:46:40 UTC");
}

TEST(Output, TablesAreAlignedByCharacters) {
  std::ostringstream out;
  Output(out, /*json=*/false)
      .List("things", {"NAME", "STATE"},
            {{JsonObject(), {"j\xc3\xb6rg", "x"}}, {JsonObject(), {"a\tlonger", "y"}}});
  EXPECT_EQ(out.str(),
            "NAME      STATE\n"
            "j\xc3\xb6rg      x\n"
            "a?longer  y\n");
}

}  // namespace
}  // namespace postern::ctl
