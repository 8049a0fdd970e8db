#include "store-svc/domain/mailbox_id.h"

#include <charconv>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace postern::store {
namespace {

constexpr size_t kIdOctets = 16;
constexpr size_t kShardOctets = 4;

absl::Status Malformed() {
  return absl::InvalidArgumentError(
      "a mailbox_id is 32 hexadecimal digits, after its shard and a '-' unless that is 0");
}

// Decimal, as absl::StrCat writes it: one name, one shard.
bool ParseShard(absl::string_view text, int32_t* shard) {
  const char* const end = text.data() + text.size();
  return std::from_chars(text.data(), end, *shard).ptr == end && *shard > 0 &&
         text == absl::StrCat(*shard);
}

}  // namespace

absl::StatusOr<MailboxId> MailboxId::Parse(absl::string_view text) {
  std::string octets;
  if (const size_t dash = text.find('-'); dash != absl::string_view::npos) {
    int32_t shard = 0;
    if (!ParseShard(text.substr(0, dash), &shard)) return Malformed();
    for (int shift = 24; shift >= 0; shift -= 8)
      octets.push_back(static_cast<char>(shard >> shift));
    text.remove_prefix(dash + 1);
  }
  if (text.size() != 2 * kIdOctets) return Malformed();
  for (size_t at = 0; at < text.size(); at += 2) {
    const char* const digits = text.data() + at;
    uint8_t octet = 0;
    if (std::from_chars(digits, digits + 2, octet, 16).ptr != digits + 2) return Malformed();
    octets.push_back(static_cast<char>(octet));
  }
  return MailboxId(std::move(octets));
}

MailboxId MailboxId::FromOctets(absl::string_view octets) { return MailboxId(std::string(octets)); }

int32_t MailboxId::shard() const {
  if (octets_.size() == kIdOctets) return 0;
  uint32_t shard = 0;
  for (size_t i = 0; i < kShardOctets; ++i) {
    shard = shard << 8 | static_cast<unsigned char>(octets_[i]);
  }
  return static_cast<int32_t>(shard);
}

std::string MailboxId::ToString() const {
  const std::string digits =
      absl::BytesToHexString(absl::string_view(octets_).substr(octets_.size() - kIdOctets));
  return shard() == 0 ? digits : absl::StrCat(shard(), "-", digits);
}

}  // namespace postern::store
