// A directory that somebody else keeps, in memory, for tests.
#ifndef POSTERN_AUTH_SVC_DOMAIN_TEST_EXTERNAL_H_
#define POSTERN_AUTH_SVC_DOMAIN_TEST_EXTERNAL_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "auth-svc/domain/external_directory.h"

namespace postern::auth {

// Thread-safe. Holds entries by their addresses, and counts who asks. A person's stamp is the
// password.
class TestExternal final : public ExternalDirectory {
 public:
  const std::string& name() const override { return name_; }
  absl::StatusOr<ExternalEntry> Find(const Address& address) override {
    absl::MutexLock lock(&mutex_);
    ++questions_;
    if (!away_.ok()) return away_;
    const auto found = entries_.find(address.ToString());
    return found == entries_.end() ? ExternalEntry{} : found->second;
  }
  absl::StatusOr<ExternalLogin> LogIn(const Address& address, absl::string_view password) override {
    absl::StatusOr<ExternalEntry> entry = Find(address);
    if (!entry.ok()) return entry.status();
    return ExternalLogin{
        *entry, entry->kind == ExternalEntry::Kind::kPerson && password == entry->stamp, ""};
  }

  void Person(const std::string& id, const std::vector<std::string>& addresses,
              const std::string& stamp = "1", bool enabled = true) {
    ExternalEntry entry;
    entry.kind = ExternalEntry::Kind::kPerson;
    entry.id = id;
    entry.stamp = stamp;
    entry.enabled = enabled;
    for (const std::string& a : addresses) entry.addresses.push_back(*CanonicalAddress(a));
    absl::MutexLock lock(&mutex_);
    std::erase_if(entries_, [&](const auto& e) { return e.second.id == id; });
    for (const std::string& a : addresses) entries_[a] = entry;
  }
  void Group(const std::string& address, const std::vector<std::string>& members) {
    ExternalEntry entry;
    entry.kind = ExternalEntry::Kind::kGroup;
    entry.id = absl::StrCat("group ", address);
    for (const std::string& a : members) entry.members.push_back(*CanonicalAddress(a));
    absl::MutexLock lock(&mutex_);
    entries_[address] = entry;
  }
  // Another spelling of an address.
  void Answers(const std::string& spelling, const std::string& address) {
    absl::MutexLock lock(&mutex_);
    entries_[spelling] = entries_[address];
  }
  void Remove(const std::string& address) {
    absl::MutexLock lock(&mutex_);
    entries_.erase(address);
  }
  void SetAway(absl::Status away) {
    absl::MutexLock lock(&mutex_);
    away_ = std::move(away);
  }
  int questions() const {
    absl::MutexLock lock(&mutex_);
    return questions_;
  }

 private:
  const std::string name_ = "staff";
  mutable absl::Mutex mutex_;
  std::map<std::string, ExternalEntry> entries_;
  absl::Status away_;
  int questions_ = 0;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_TEST_EXTERNAL_H_
