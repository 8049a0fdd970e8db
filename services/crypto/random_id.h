// Names that nobody can guess and that are never drawn twice.
#ifndef POSTERN_SERVICES_CRYPTO_RANDOM_ID_H_
#define POSTERN_SERVICES_CRYPTO_RANDOM_ID_H_

#include <string>

namespace postern::crypto {

// 128 bits as 32 lower-case hexadecimal digits: accounts, mailboxes, Message-IDs.
std::string RandomId();

// 64 bits as 16 lower-case hexadecimal digits, for what people read aloud and type: a message in
// the queue. Whoever keeps them refuses one that is there already.
std::string ShortRandomId();

}  // namespace postern::crypto

#endif  // POSTERN_SERVICES_CRYPTO_RANDOM_ID_H_
