#include "services/storage/body/body_store.h"

#include <memory>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "services/body/piece.h"
#include "services/crypto/sha256.h"

namespace postern::storage {
namespace {

using crypto::Sha256Of;

std::string Noise(size_t octets) {
  std::mt19937 random(7);
  std::string noise(octets, '\0');
  for (char& octet : noise) octet = static_cast<char>(random());
  return noise;
}

class BodyStoreTest : public testing::Test {
 protected:
  BodyStoreTest() {
    const Migration migrations[] = {{1, BodySchema()}, {2, BodyIdsNeverRepeat()}};
    EXPECT_TRUE(Migrate(*database_, migrations).ok());
  }

  int64_t Count(absl::string_view sql) {
    Use use(*database_->Prepare(sql));
    EXPECT_TRUE(*use->Step());
    return use->Int(0);
  }
  int64_t Bodies() { return Count("SELECT count(*) FROM body"); }
  int64_t Pieces() { return Count("SELECT count(*) FROM body_piece"); }

  int64_t Add(absl::string_view body, int references) {
    absl::StatusOr<int64_t> id =
        AddBody(*database_, Sha256Of(body), CompressPiece(body), references);
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }

  std::string Read(int64_t body_id) {
    std::string body;
    for (int64_t index = 0;; ++index) {
      absl::StatusOr<std::string> piece = ReadPiece(*database_, body_id, index);
      if (absl::IsNotFound(piece.status())) return body;
      EXPECT_TRUE(piece.ok()) << piece.status();
      body += *piece;
    }
  }

  std::unique_ptr<Sqlite> database_ = *Sqlite::Open(":memory:", Sqlite::Mode::kReadWrite);
};

TEST(CompressPiece, ShrinksWhatItCanAndKeepsTheRestAsItIs) {
  const std::string text(100000, 'a');
  EXPECT_LT(CompressPiece(text).octets.size(), 1000u);
  const std::string noise = Noise(100000);
  EXPECT_EQ(CompressPiece(noise).octets, noise);
  EXPECT_EQ(CompressPiece("").octets, "");
  EXPECT_EQ(CompressPiece("x").octets, "x");
}

TEST_F(BodyStoreTest, GivesBackEveryKindOfBody) {
  for (const std::string& body :
       {std::string(), std::string("x"), std::string("\0\0", 2), std::string(kMaxPieceOctets, 'a'),
        Noise(kMaxPieceOctets), std::string("Subject: a\r\n\r\n.\r\n")}) {
    EXPECT_EQ(Read(Add(body, 1)), body) << body.size();
  }
}

TEST_F(BodyStoreTest, EqualBodiesAreStoredOnceAndLiveUntilTheLastReference) {
  const int64_t id = Add("body", 2);
  EXPECT_EQ(Add("body", 1), id);
  EXPECT_NE(Add("other", 1), id);
  EXPECT_EQ(Bodies(), 2);
  ASSERT_TRUE(ReleaseBody(*database_, id, 2).ok());
  EXPECT_EQ(Read(id), "body");
  ASSERT_TRUE(ReleaseBody(*database_, id, 1).ok());
  EXPECT_EQ(Bodies(), 1);
  EXPECT_EQ(Pieces(), 1);
  EXPECT_TRUE(absl::IsNotFound(ReleaseBody(*database_, id, 1)));
}

TEST_F(BodyStoreTest, StagesALargeBody) {
  const std::string first = Noise(kMaxPieceOctets);
  const std::string second(1000, 'b');
  const int64_t id = *BeginBody(*database_);
  ASSERT_TRUE(AppendPiece(*database_, id, CompressPiece(first)).ok());
  ASSERT_TRUE(AppendPiece(*database_, id, CompressPiece(second)).ok());
  const std::string hash = Sha256Of(first + second);
  absl::StatusOr<int64_t> finished = FinishBody(*database_, id, hash, 1);
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(*finished, id);
  EXPECT_EQ(Read(id), first + second);
  EXPECT_TRUE(absl::IsNotFound(AppendPiece(*database_, id, CompressPiece("more"))))
      << "a finished body does not change";
  ASSERT_TRUE(DropBody(*database_, id).ok());
  EXPECT_EQ(Read(id), first + second) << "nor is it dropped";

  // The same again, in other pieces: the first one wins.
  const int64_t again = *BeginBody(*database_);
  ASSERT_TRUE(AppendPiece(*database_, again, CompressPiece(first.substr(0, 1000))).ok());
  ASSERT_TRUE(AppendPiece(*database_, again, CompressPiece(first.substr(1000) + second)).ok());
  EXPECT_EQ(*FinishBody(*database_, again, hash, 1), id);
  EXPECT_EQ(Bodies(), 1);
  EXPECT_EQ(Pieces(), 2);
}

TEST_F(BodyStoreTest, UnfinishedBodiesAreDropped) {
  const int64_t kept = Add("kept", 1);
  for (int i = 0; i < 3; ++i) {
    const int64_t id = *BeginBody(*database_);
    ASSERT_TRUE(AppendPiece(*database_, id, CompressPiece("half")).ok());
  }
  const int64_t dropped = *BeginBody(*database_);
  ASSERT_TRUE(DropBody(*database_, dropped).ok());
  EXPECT_EQ(Bodies(), 4);
  ASSERT_TRUE(DropUnfinishedBodies(*database_).ok());
  EXPECT_EQ(Bodies(), 1);
  EXPECT_EQ(Pieces(), 1);
  EXPECT_EQ(Read(kept), "kept");
}

TEST_F(BodyStoreTest, ADamagedPieceIsAnErrorAndNoMemory) {
  const int64_t id = Add(std::string(1000, 'a'), 1);
  for (const char* damage : {"UPDATE body_piece SET octets = x'00112233'",
                             "UPDATE body_piece SET original_octets = 1 << 40",
                             "UPDATE body_piece SET original_octets = -1"}) {
    ASSERT_TRUE(database_->Execute(damage).ok());
    EXPECT_TRUE(absl::IsDataLoss(ReadPiece(*database_, id, 0).status())) << damage;
  }
}

// A reader that holds the id of a body which is gone finds nothing, whatever came after.
TEST_F(BodyStoreTest, AnIdIsNeverAnothers) {
  const int64_t gone = Add("somebody's", 1);
  ASSERT_TRUE(ReleaseBody(*database_, gone, 1).ok());
  const int64_t next = Add("somebody else's", 1);
  EXPECT_NE(next, gone);
  EXPECT_TRUE(absl::IsNotFound(ReadPiece(*database_, gone, 0).status()));
  const int64_t staged = *BeginBody(*database_);
  ASSERT_TRUE(DropBody(*database_, staged).ok());
  EXPECT_NE(*BeginBody(*database_), staged);
}

TEST(BodyMigration, BodiesKeepTheirIds) {
  std::unique_ptr<Sqlite> database = *Sqlite::Open(":memory:", Sqlite::Mode::kReadWrite);
  const Migration migrations[] = {{1, BodySchema()}, {2, BodyIdsNeverRepeat()}};
  ASSERT_TRUE(Migrate(*database, absl::MakeSpan(migrations, 1)).ok());
  const int64_t first = *AddBody(*database, Sha256Of("one"), CompressPiece("one"), 1);
  const int64_t second = *AddBody(*database, Sha256Of("two"), CompressPiece("two"), 2);
  ASSERT_TRUE(Migrate(*database, migrations).ok());
  EXPECT_EQ(*ReadPiece(*database, first, 0), "one");
  EXPECT_EQ(*AddBody(*database, Sha256Of("two"), CompressPiece("two"), 1), second);
  ASSERT_TRUE(ReleaseBody(*database, second, 3).ok());
  EXPECT_GT(*AddBody(*database, Sha256Of("three"), CompressPiece("three"), 1), second);
}

}  // namespace
}  // namespace postern::storage
