// A mailbox's name: 128 bits that the directory (auth-svc) made.
#ifndef POSTERN_STORE_SVC_DOMAIN_MAILBOX_ID_H_
#define POSTERN_STORE_SVC_DOMAIN_MAILBOX_ID_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::store {

class MailboxId {
 public:
  static constexpr size_t kOctets = 16;

  // 32 hexadecimal digits, as they stand in requests and tokens. INVALID_ARGUMENT otherwise.
  static absl::StatusOr<MailboxId> Parse(absl::string_view hexadecimal);
  // Exactly kOctets.
  static MailboxId FromOctets(absl::string_view octets);

  absl::string_view octets() const { return octets_; }
  // Lower case.
  std::string ToString() const;

  friend bool operator==(const MailboxId& a, const MailboxId& b) { return a.octets_ == b.octets_; }
  friend bool operator<(const MailboxId& a, const MailboxId& b) { return a.octets_ < b.octets_; }
  template <typename H>
  friend H AbslHashValue(H state, const MailboxId& id) {
    return H::combine(std::move(state), id.octets_);
  }

 private:
  explicit MailboxId(std::string octets) : octets_(std::move(octets)) {}

  std::string octets_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_MAILBOX_ID_H_
