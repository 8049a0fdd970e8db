// What is stored before a body for one recipient.
#ifndef POSTERN_STORE_SVC_DOMAIN_ENVELOPE_H_
#define POSTERN_STORE_SVC_DOMAIN_ENVELOPE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::store {

// The header lines that differ by recipient, each with its CRLF: Return-Path (RFC 5321, 4.4; "<>"
// for the null sender), Delivered-To, X-Original-To. INVALID_ARGUMENT for an address with a control
// character (it could begin a line of its own) or over 512 octets, or an empty recipient.
absl::StatusOr<std::string> EnvelopePrefix(absl::string_view envelope_sender,
                                           absl::string_view address,
                                           absl::string_view original_recipient);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_ENVELOPE_H_
