// The Sender Rewriting Scheme, in the form of libsrs2 and postsrsd: what is forwarded has a sender
// in a domain of ours, so that SPF (RFC 7208 G.2) holds for us; what comes back to it goes on to
// the one who sent it.
#ifndef POSTERN_AUTH_SVC_DOMAIN_SRS_H_
#define POSTERN_AUTH_SVC_DOMAIN_SRS_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::auth {

// `sender`: of an envelope, of somebody else's domain; empty: the null sender, which stays so.
// "SRS0=HASH=TIME=DOMAIN=LOCAL-PART@`alias_domain`". Of another forwarder's SRS address:
// "SRS1=HASH=DOMAIN=REST@`alias_domain`", which leads straight to the first forwarder, so that the
// address does not grow with every hop. `key` signs it.
// The sender as it is when there is no address of this form for it: where the local part would have
// over 64 octets (RFC 5321 4.5.3.1.1), which many hosts refuse, and beyond ASCII, which a host
// without SMTPUTF8 could not answer. SPF may fail then; a sender that nobody can write to is worse.
std::string RewriteSender(absl::string_view sender, absl::string_view alias_domain,
                          absl::string_view key, absl::Time now);

// The address that stands in the local part of one of RewriteSender's, case folded or not. nullopt:
// it is none, or not signed with `key`, or older than three weeks, in which a message has long been
// delivered or given up.
std::optional<std::string> OriginalSender(absl::string_view local_part, absl::string_view key,
                                          absl::Time now);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_SRS_H_
