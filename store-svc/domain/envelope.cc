#include "store-svc/domain/envelope.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace postern::store {
namespace {

// RFC 5321, 4.5.3.1 allows 320; UTF-8 (RFC 6531) and a display of what RCPT said need some more. A
// line stays within the 998 octets of RFC 5322, 2.1.1.
constexpr size_t kMaxAddressOctets = 512;

bool Safe(absl::string_view address) {
  return address.size() <= kMaxAddressOctets &&
         std::none_of(address.begin(), address.end(),
                      [](unsigned char c) { return absl::ascii_iscntrl(c); });
}

}  // namespace

absl::StatusOr<std::string> EnvelopePrefix(absl::string_view envelope_sender,
                                           absl::string_view address,
                                           absl::string_view original_recipient) {
  if (address.empty() || original_recipient.empty()) {
    return absl::InvalidArgumentError("a recipient has no address");
  }
  if (!Safe(envelope_sender) || !Safe(address) || !Safe(original_recipient)) {
    return absl::InvalidArgumentError("an address is too long or has a control character");
  }
  return absl::StrCat("Return-Path: <", envelope_sender, ">\r\nDelivered-To: ", address,
                      "\r\nX-Original-To: ", original_recipient, "\r\n");
}

}  // namespace postern::store
