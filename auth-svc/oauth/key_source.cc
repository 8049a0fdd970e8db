#include "auth-svc/oauth/key_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "auth-svc/oauth/https_get.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::auth::oauth {
namespace {

constexpr absl::Duration kRetry = absl::Seconds(10);
constexpr absl::Duration kBetweenQuestions = absl::Seconds(10);

telemetry::Counter& Failures(const std::string& name) {
  return telemetry::GetCounter("postern_oauth_key_fetch_failures_total",
                               "Times that the keys of an identity provider could not be fetched.",
                               {{"provider", name}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileKeys>> FileKeys::Open(const std::string& file) {
  auto opened = config::ReloadedFile<KeySet>::Open(file, [](absl::string_view read) {
    absl::StatusOr<KeySet> set = KeySet::Read(read);
    if (set.ok()) {
      telemetry::Log(telemetry::LogLevel::kInfo, "keys of an identity provider read",
                     {{"file", read},
                      {"keys", set->size()},
                      {"left_out", absl::StrJoin(set->left_out(), "; ")}});
    }
    return set;
  });
  if (!opened.ok()) return opened.status();
  return std::unique_ptr<FileKeys>(new FileKeys(*std::move(opened)));
}

FetchedKeys::FetchedKeys(Options options)
    : options_(std::move(options)), thread_([this] { Run(); }) {
  Failures(options_.name);
}

FetchedKeys::~FetchedKeys() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

absl::StatusOr<FetchedKeys::Keys> FetchedKeys::Known() {
  absl::MutexLock lock(&mutex_);
  if (keys_ != nullptr) return keys_;
  return Await();
}

absl::StatusOr<FetchedKeys::Keys> FetchedKeys::Newest() {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = options_.clock();
  if (!IsWanted() && status_.ok() && absl::AbsDuration(now - asked_) >= kBetweenQuestions) {
    asked_ = now;
    // One that runs already may have the answer of before.
    wanted_ = begun_ + 1;
  }
  return Await();
}

absl::StatusOr<FetchedKeys::Keys> FetchedKeys::Await() {
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !IsWanted(); };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&over), options_.timeout)) {
    return absl::UnavailableError(
        absl::StrCat(options_.url, ": no answer within ", absl::FormatDuration(options_.timeout)));
  }
  if (!status_.ok()) return absl::UnavailableError(status_.message());
  return keys_;
}

void FetchedKeys::Run() {
  absl::MutexLock lock(&mutex_);
  const auto due = [this]()
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || IsWanted(); };
  while (!stopping_) {
    ++begun_;
    mutex_.Unlock();
    absl::StatusOr<KeySet> fetched = Fetch();
    mutex_.Lock();
    if (stopping_) return;
    Take(std::move(fetched));
    done_ = begun_;
    mutex_.AwaitWithTimeout(absl::Condition(&due),
                            status_.ok() ? options_.refresh : std::min(options_.refresh, kRetry));
  }
}

absl::StatusOr<KeySet> FetchedKeys::Fetch() {
  const absl::StatusOr<std::string> text =
      HttpsGet({options_.url, options_.ca_file, KeySet::kMaxOctets, options_.timeout}, stopping_);
  if (!text.ok()) return text.status();
  absl::StatusOr<KeySet> set = KeySet::Parse(*text);
  if (set.ok()) return set;
  return absl::UnavailableError(absl::StrCat(options_.url, ": ", set.status().message()));
}

void FetchedKeys::Take(absl::StatusOr<KeySet> fetched) {
  bool news = status_.ok() != fetched.ok() || done_ == 0;
  status_ = fetched.status();
  if (!fetched.ok()) {
    Failures(options_.name).Add();
    if (!news) return;
    telemetry::Log(telemetry::LogLevel::kWarning,
                   "keys of an identity provider not fetched, those known stay in use",
                   {{"provider", options_.name}, {"why", status_.message()}});
    return;
  }
  news = news || fetched->size() != keys_->size() || fetched->left_out() != keys_->left_out();
  keys_ = std::make_shared<const KeySet>(*std::move(fetched));
  telemetry::Log(news ? telemetry::LogLevel::kInfo : telemetry::LogLevel::kDebug,
                 "keys of an identity provider fetched",
                 {{"provider", options_.name},
                  {"keys", keys_->size()},
                  {"left_out", absl::StrJoin(keys_->left_out(), "; ")}});
}

}  // namespace postern::auth::oauth
