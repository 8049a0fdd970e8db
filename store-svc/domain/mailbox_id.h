// A mailbox's name: the shard that it lives in and 128 bits, which the directory (auth-svc) made.
#ifndef POSTERN_STORE_SVC_DOMAIN_MAILBOX_ID_H_
#define POSTERN_STORE_SVC_DOMAIN_MAILBOX_ID_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::store {

// A shard says what is stored together (docs/adr/0036): 0 unless the directory spreads its
// mailboxes.
class MailboxId {
 public:
  // 32 hexadecimal digits, as they stand in requests and tokens; "7-" and the digits in shard 7.
  // INVALID_ARGUMENT otherwise.
  static absl::StatusOr<MailboxId> Parse(absl::string_view text);
  // What octets() gave.
  static MailboxId FromOctets(absl::string_view octets);

  // 16, and before them the shard's 4, big-endian, when it is not 0.
  absl::string_view octets() const { return octets_; }
  int32_t shard() const;
  // As Parse takes it, in lower case.
  std::string ToString() const;

  friend bool operator==(const MailboxId& a, const MailboxId& b) { return a.octets_ == b.octets_; }
  // Shard by shard.
  friend bool operator<(const MailboxId& a, const MailboxId& b) {
    return a.octets_.size() != b.octets_.size() ? a.octets_.size() < b.octets_.size()
                                                : a.octets_ < b.octets_;
  }
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
