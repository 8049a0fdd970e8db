#include "relay-svc/dns/unbound_resolver.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unbound.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace postern::relay {
namespace {

using Addresses = std::vector<boost::asio::ip::address>;

constexpr int kTypeA = 1;
constexpr int kTypeMx = 15;
constexpr int kTypeAaaa = 28;
constexpr int kClassIn = 1;
constexpr int kRcodeNoError = 0;
constexpr int kRcodeNxDomain = 3;

// Look-ups under way; one more is UNAVAILABLE.
constexpr size_t kMaxLookups = 2000;
// What of an answer is read.
constexpr int kMaxRecords = 100;

// An uncompressed name in wire format (RFC 1035 3.1) as text without the final dot. False: it is
// none, or has octets that no host name has. In lower case: servers answer in the case of the
// question.
bool ReadName(const unsigned char* data, size_t size, std::string* name) {
  name->clear();
  size_t at = 0;
  while (at < size) {
    const size_t length = data[at++];
    if (length == 0) return at == size;
    if (length > 63 || at + length > size) return false;
    if (!name->empty()) name->push_back('.');
    for (size_t i = 0; i < length; ++i) {
      const unsigned char c = data[at + i];
      if (c <= ' ' || c >= 0x7f || c == '.') return false;
      name->push_back(absl::ascii_tolower(c));
    }
    at += length;
  }
  return false;
}

absl::Status Judge(int error, const ub_result* result) {
  if (error != 0 || result == nullptr) {
    return absl::UnavailableError(absl::StrCat("DNS: ", ub_strerror(error)));
  }
  if (result->bogus) return absl::UnavailableError("DNS: the answer fails DNSSEC validation");
  if (result->nxdomain || result->rcode == kRcodeNxDomain) {
    return absl::NotFoundError("DNS: no such name");
  }
  if (result->rcode != kRcodeNoError) {
    return absl::UnavailableError(absl::StrCat("DNS: response code ", result->rcode));
  }
  return absl::OkStatus();
}

using Answer = absl::AnyInvocable<void(int error, const ub_result* result)>;

class UnboundResolver : public Resolver {
 public:
  UnboundResolver(ub_ctx* context, int wake)
      : context_(context), wake_(wake), thread_([this] { Run(); }) {}

  ~UnboundResolver() override {
    stopping_ = true;
    const uint64_t one = 1;
    (void)!write(wake_, &one, sizeof(one));
    thread_.join();
    absl::flat_hash_map<void*, std::unique_ptr<Lookup>> left;
    {
      absl::MutexLock lock(&mutex_);
      left.swap(lookups_);
    }
    for (auto& [key, lookup] : left) {
      ub_cancel(context_, lookup->id);
      lookup->answer(UB_INITFAIL, nullptr);
    }
    ub_ctx_delete(context_);
    close(wake_);
  }

  void LookUpMx(std::string domain, async::Done<std::vector<MxRecord>> done) override {
    Start(domain, kTypeMx, [done = std::move(done)](int error, const ub_result* result) mutable {
      if (absl::Status status = Judge(error, result); !status.ok()) {
        done(std::move(status));
        return;
      }
      std::vector<MxRecord> records;
      for (int i = 0; i < kMaxRecords && result->havedata && result->data[i] != nullptr; ++i) {
        const auto* data = reinterpret_cast<const unsigned char*>(result->data[i]);
        MxRecord record;
        if (result->len[i] < 3 || !ReadName(data + 2, result->len[i] - 2, &record.host)) continue;
        record.preference = data[0] << 8 | data[1];
        records.push_back(std::move(record));
      }
      if (records.empty() && result->havedata) {
        done(absl::UnavailableError("DNS: no MX record can be read"));
        return;
      }
      done(std::move(records));
    });
  }

  void LookUpAddresses(std::string host, async::Done<Addresses> done) override {
    struct Both {
      Addresses v6, v4;
      absl::Status status6, status4;
      std::atomic<int> missing = 2;
      async::Done<Addresses> done;
    };
    auto both = std::make_shared<Both>();
    both->done = std::move(done);
    const auto finish = [](Both& b) {
      if (b.missing.fetch_sub(1) != 1) return;
      Addresses all = std::move(b.v6);
      all.insert(all.end(), b.v4.begin(), b.v4.end());
      // One family that has no answer does not spoil the other.
      if (!all.empty()) {
        b.done(std::move(all));
        return;
      }
      const bool only_v6_failed = (b.status4.ok() || absl::IsNotFound(b.status4)) &&
                                  !b.status6.ok() && !absl::IsNotFound(b.status6);
      const absl::Status& status = only_v6_failed ? b.status6 : b.status4;
      if (status.ok()) {
        b.done(Addresses());
      } else {
        b.done(status);
      }
    };
    Start(host, kTypeAaaa, [both, finish](int error, const ub_result* result) {
      both->status6 = Judge(error, result);
      if (both->status6.ok()) {
        ReadAddresses<boost::asio::ip::address_v6>(*result, &both->v6);
      }
      finish(*both);
    });
    Start(host, kTypeA, [both, finish](int error, const ub_result* result) {
      both->status4 = Judge(error, result);
      if (both->status4.ok()) {
        ReadAddresses<boost::asio::ip::address_v4>(*result, &both->v4);
      }
      finish(*both);
    });
  }

 private:
  struct Lookup {
    UnboundResolver* resolver;
    Answer answer;
    int id = 0;
  };

  template <typename Address>
  static void ReadAddresses(const ub_result& result, Addresses* addresses) {
    for (int i = 0; i < kMaxRecords && result.havedata && result.data[i] != nullptr; ++i) {
      typename Address::bytes_type bytes;
      if (result.len[i] != static_cast<int>(bytes.size())) continue;
      std::memcpy(bytes.data(), result.data[i], bytes.size());
      addresses->push_back(Address(bytes));
    }
  }

  void Start(const std::string& name, int type, Answer answer) {
    auto lookup = std::make_unique<Lookup>(Lookup{this, std::move(answer)});
    Lookup* key = lookup.get();
    int error = UB_NOERROR;
    std::unique_ptr<Lookup> refused;
    {
      // Held over ub_resolve_async, so that the answer finds its entry.
      absl::MutexLock lock(&mutex_);
      if (lookups_.size() >= kMaxLookups) {
        error = UB_NOMEM;
        refused = std::move(lookup);
      } else {
        lookups_[key] = std::move(lookup);
        error = ub_resolve_async(context_, name.c_str(), type, kClassIn, key, &Answered, &key->id);
        if (error != UB_NOERROR) {
          refused = std::move(lookups_[key]);
          lookups_.erase(key);
        }
      }
    }
    if (refused != nullptr) refused->answer(error, nullptr);
  }

  // On thread_.
  static void Answered(void* key, int error, ub_result* result) {
    UnboundResolver* self = static_cast<Lookup*>(key)->resolver;
    std::unique_ptr<Lookup> lookup;
    {
      absl::MutexLock lock(&self->mutex_);
      auto found = self->lookups_.find(key);
      if (found != self->lookups_.end()) {
        lookup = std::move(found->second);
        self->lookups_.erase(found);
      }
    }
    if (lookup != nullptr) lookup->answer(error, result);
    ub_resolve_free(result);
  }

  void Run() {
    pollfd files[] = {{ub_fd(context_), POLLIN, 0}, {wake_, POLLIN, 0}};
    while (!stopping_) {
      if (poll(files, 2, -1) > 0 && (files[0].revents & POLLIN) != 0) ub_process(context_);
    }
  }

  ub_ctx* const context_;
  const int wake_;
  std::atomic<bool> stopping_ = false;
  absl::Mutex mutex_;
  absl::flat_hash_map<void*, std::unique_ptr<Lookup>> lookups_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

absl::Status Configure(ub_ctx* context, const std::vector<std::string>& name_servers) {
  // A thread, not a forked process, does the work.
  int error = ub_ctx_async(context, 1);
  // Name servers on this host (systemd-resolved) are as good as others.
  if (error == 0) error = ub_ctx_set_option(context, "do-not-query-localhost:", "no");
  if (error == 0) error = ub_ctx_set_option(context, "unblock-lan-zones:", "yes");
  if (error != 0) return absl::InternalError(ub_strerror(error));
  if (name_servers.empty()) {
    if ((error = ub_ctx_resolvconf(context, nullptr)) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("/etc/resolv.conf: ", ub_strerror(error)));
    }
  }
  for (const std::string& server : name_servers) {
    if ((error = ub_ctx_set_fwd(context, server.c_str())) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("delivery.name_servers: \"", server,
                                                     "\": expected address or address@port"));
    }
  }
  // /etc/hosts, for next hops.
  (void)ub_ctx_hosts(context, nullptr);
  // libunbound answers NXDOMAIN for test. (RFC 6761) by itself; name servers that an operator chose
  // decide about it too. Last, since it ends the configuration.
  if (!name_servers.empty()) (void)ub_ctx_zone_remove(context, "test.");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Resolver>> OpenUnboundResolver(
    const std::vector<std::string>& name_servers) {
  ub_ctx* context = ub_ctx_create();
  if (context == nullptr) return absl::InternalError("libunbound can't start");
  if (absl::Status status = Configure(context, name_servers); !status.ok()) {
    ub_ctx_delete(context);
    return status;
  }
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    ub_ctx_delete(context);
    return absl::InternalError("eventfd failed");
  }
  return std::make_unique<UnboundResolver>(context, wake);
}

}  // namespace postern::relay
