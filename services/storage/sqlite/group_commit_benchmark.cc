// Durable small writes per second through GroupCommit and AddBody: what store-svc and relay-svc do
// for each message, without gRPC. Run on the disk that is to be measured:
//
//   TEST_TMPDIR=/var/tmp bazel-bin/services/storage/group_commit_benchmark
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/body/piece.h"
#include "services/crypto/sha256.h"
#include "services/storage/body/body_store.h"
#include "services/storage/sqlite/group_commit.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage {
namespace {

// Half text, half base64-like noise: compresses to about two thirds, like mail.
std::string MakeBody(std::mt19937_64& random, size_t octets) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string body;
  body.reserve(octets + 80);
  while (body.size() < octets) {
    absl::StrAppend(&body, "This line stands in every message and costs little.\r\n");
    for (int i = 0; i < 72; ++i) body += kAlphabet[random() % 64];
    body += "\r\n";
  }
  body.resize(octets);
  return body;
}

class Database {
 public:
  Database() {
    const char* folder = std::getenv("TEST_TMPDIR");
    path_ = absl::StrCat(folder != nullptr ? folder : "/tmp", "/group_commit_benchmark.XXXXXX");
    if (mkdtemp(path_.data()) == nullptr) std::abort();
    std::unique_ptr<Sqlite> database = *Sqlite::Open(path_ + "/db", Sqlite::Mode::kReadWrite);
    const Migration migrations[] = {{1, BodySchema()}};
    if (!Migrate(*database, migrations).ok()) std::abort();
    writer_ = std::make_unique<GroupCommit>(std::move(database), GroupCommit::Options{});
  }
  ~Database() {
    writer_.reset();
    for (const char* suffix : {"/db", "/db-wal", "/db-shm"}) unlink((path_ + suffix).c_str());
    rmdir(path_.c_str());
  }
  GroupCommit& writer() { return *writer_; }

 private:
  std::string path_;
  std::unique_ptr<GroupCommit> writer_;
};

// range(0): messages in flight, each followed by the next when it is durable.
// range(1): octets.
void BM_DurableBodies(benchmark::State& state) {
  Database database;
  std::mt19937_64 random(1);
  const int in_flight = static_cast<int>(state.range(0));
  absl::Mutex mutex;
  int free = in_flight;
  int failed = 0;
  for (auto _ : state) {
    const std::string body = MakeBody(random, state.range(1));
    {
      absl::MutexLock lock(&mutex);
      mutex.Await(absl::Condition(
          +[](int* n) { return *n > 0; }, &free));
      --free;
    }
    database.writer().Submit(
        [sha256 = crypto::Sha256Of(body), piece = CompressPiece(body)](Sqlite& connection) {
          return AddBody(connection, sha256, piece, 1).status();
        },
        [&](absl::Status status) {
          absl::MutexLock lock(&mutex);
          ++free;
          failed += !status.ok();
        });
  }
  {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(
        +[](std::pair<int*, int>* want) { return *want->first == want->second; },
        std::make_unique<std::pair<int*, int>>(&free, in_flight).get()));
  }
  if (failed > 0) state.SkipWithError("writes failed");
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * state.range(1));
}
BENCHMARK(BM_DurableBodies)
    ->ArgsProduct({{1, 4, 20, 100}, {4 << 10}})
    ->Args({20, 64 << 10})
    ->UseRealTime();

void BM_HashAndCompress(benchmark::State& state) {
  std::mt19937_64 random(1);
  const std::string body = MakeBody(random, state.range(0));
  for (auto _ : state) {
    benchmark::DoNotOptimize(crypto::Sha256Of(body));
    benchmark::DoNotOptimize(CompressPiece(body));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_HashAndCompress)->Arg(4 << 10)->Arg(kMaxPieceOctets);

}  // namespace
}  // namespace postern::storage

BENCHMARK_MAIN();
