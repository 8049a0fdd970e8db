// Password hashes as other systems made them, taken and checked as they are. Sources: Dovecot's
// "password schemes", crypt(5) of libxcrypt, RFC 2307 and OpenLDAP's pw-sha2 and pw-pbkdf2, RFC
// 9106.
#ifndef POSTERN_AUTH_SVC_DOMAIN_STORED_HASH_H_
#define POSTERN_AUTH_SVC_DOMAIN_STORED_HASH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::auth {

// The form in which a hash is kept: its scheme in braces only where the rest does not say it.
//   $argon2id$...                     argon2id; {ARGON2ID} before it
//   $y$... $2a$ $2b$ $2y$ $6$ $5$ $1$ crypt(5); {CRYPT}, or Dovecot's {BLF-CRYPT}, {SHA512-CRYPT},
//                                     {SHA256-CRYPT}, {MD5-CRYPT} before it
//   {SSHA} {SSHA256} {SSHA512}        base64 of a digest and its salt
//   {PBKDF2-SHA256}                   rounds$salt$key, the latter two in base64 with '.' for '+'
// INVALID_ARGUMENT, a sentence for an operator that has nothing of the hash: another scheme (those
// without a salt, DES, plain text), not well formed, or dearer than one login may be.
absl::StatusOr<std::string> CanonicalHash(absl::string_view text);

// For an operator: "argon2id", "SSHA", "crypt $6$". Of a hash in its canonical form.
std::string SchemeOf(absl::string_view hash);

// Whether the password is that of a hash in its canonical form; false for what is none.
// RESOURCE_EXHAUSTED: no memory to find that out. Takes the hash's own time and memory on the
// calling thread: up to some 2 s and 128 MiB. Thread-safe.
absl::StatusOr<bool> VerifyHash(const std::string& hash, absl::string_view password);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_STORED_HASH_H_
